//! A batch: the writes of one drain of the rules, applied as one whole, with the conditions under which they hold.
//!
//! It never touches an engine; the last write to a key wins.

use std::collections::BTreeMap;

use super::{BATCH_BYTES_MAX, KEY_BYTES_MAX, Read, RowKey, StoreError, VALUE_BYTES_MAX};

/// What must hold in the store *before* the batch for it to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The key has no value.
    Absent(Vec<u8>),
    /// The key has exactly this value.
    Equals(Vec<u8>, Vec<u8>),
}

/// Writes and preconditions, not yet applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    preconditions: Vec<Precondition>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.insert(key.into(), Some(value.into()));
    }

    /// Removes `key`; removing what is absent is no error.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.writes.insert(key.into(), None);
    }

    /// The batch applies only if `key` has no value in the store.
    pub fn require_absent(&mut self, key: impl Into<Vec<u8>>) {
        self.preconditions.push(Precondition::Absent(key.into()));
    }

    /// The batch applies only if `key` has exactly `value` in the store.
    pub fn require_equals(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.preconditions.push(Precondition::Equals(key.into(), value.into()));
    }

    /// Adds another batch; its writes win.
    pub fn extend(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.preconditions.extend(other.preconditions);
    }

    /// Whether there is nothing to write and nothing to check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.preconditions.is_empty()
    }

    /// The number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// The writes by ascending key; `None` deletes.
    #[must_use]
    pub const fn writes(&self) -> &BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        &self.writes
    }

    /// The preconditions in the order they were added.
    #[must_use]
    pub fn preconditions(&self) -> &[Precondition] {
        &self.preconditions
    }

    /// The writes, by value.
    pub(super) fn into_writes(self) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        self.writes
    }

    /// Checks sizes, then the preconditions against `store`: what every engine does before it changes anything.
    ///
    /// # Errors
    /// The size errors, [`StoreError::Precondition`], or what reading `store` gives.
    pub(super) fn check(&self, store: &dyn Read) -> Result<(), StoreError> {
        let mut batch_bytes = 0_usize;
        for (key, value) in &self.writes {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(StoreError::KeySize { got: key.len() });
            }
            let value_bytes = value.as_ref().map_or(0, Vec::len);
            if value_bytes > VALUE_BYTES_MAX {
                return Err(StoreError::ValueSize { got: value_bytes });
            }
            batch_bytes = batch_bytes.saturating_add(key.len()).saturating_add(value_bytes);
        }
        if batch_bytes > BATCH_BYTES_MAX {
            return Err(StoreError::BatchSize { got: batch_bytes });
        }
        for precondition in &self.preconditions {
            let (key, expected) = match precondition {
                Precondition::Absent(key) => (key, None),
                Precondition::Equals(key, value) => (key, Some(value)),
            };
            if store.get(key)?.as_ref() != expected {
                return Err(StoreError::Precondition { key: RowKey(key.clone()) });
            }
        }
        Ok(())
    }
}
