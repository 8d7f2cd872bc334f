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
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.write(key.into(), Some(value.into()));
    }

    /// Removes `key`; removing what is absent is no error.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.write(key.into(), None);
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
        for (key, value) in other.writes {
            self.write(key, value);
        }
        self.preconditions.extend(other.preconditions);
    }

    /// Whether there is nothing to write and nothing to check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.preconditions.is_empty()
    }

    /// Keys and values together, bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
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
        for (key, value) in &self.writes {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(StoreError::KeySize { got: key.len() });
            }
            let value_bytes = value.as_ref().map_or(0, Vec::len);
            if value_bytes > VALUE_BYTES_MAX {
                return Err(StoreError::ValueSize { got: value_bytes });
            }
        }
        if self.bytes > BATCH_BYTES_MAX {
            return Err(StoreError::BatchSize { got: self.bytes });
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

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let (key_bytes, value_bytes) = (key.len(), value.as_ref().map_or(0, Vec::len));
        self.bytes += match self.writes.insert(key, value) {
            None => key_bytes + value_bytes,
            Some(before) => {
                self.bytes -= before.map_or(0, |before| before.len());
                value_bytes
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_what_it_will_write_and_not_what_was_replaced_in_it() {
        let mut batch = Batch::new();
        batch.put(*b"key", *b"12345");
        batch.put(*b"other", *b"1");
        assert_eq!(batch.bytes(), 14, "keys and values");
        batch.put(*b"key", *b"123");
        assert_eq!(batch.bytes(), 12, "the later value alone");
        batch.delete(*b"key");
        assert_eq!(batch.bytes(), 9, "a removal writes its key");
        let mut later = Batch::new();
        later.put(*b"key", *b"1234567");
        batch.extend(later);
        assert_eq!(batch.bytes(), 16, "what another batch replaces does not count either");
    }
}
