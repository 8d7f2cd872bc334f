//! Reads through uncommitted writes: what the pure rules see while they build a batch.
//!
//! It never writes to the store below it; [`Overlay::into_batch`] hands the writes to whoever commits them.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Batch, Pair, Read, StoreError};

/// A store with a batch laid over it: a put hides the value below, a delete hides the row below.
pub struct Overlay<'a> {
    base: &'a dyn Read,
    batch: Batch,
}

impl<'a> Overlay<'a> {
    /// An overlay without writes.
    #[must_use]
    pub fn new(base: &'a dyn Read) -> Self {
        Self { base, batch: Batch::new() }
    }

    /// An overlay that goes on from writes which were collected before and are not committed yet.
    #[must_use]
    pub fn resume(base: &'a dyn Read, batch: Batch) -> Self {
        Self { base, batch }
    }

    /// Sets `key` to `value` above the store.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.batch.put(key, value);
    }

    /// Removes `key` above the store.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.batch.delete(key);
    }

    /// Adds a precondition on the store *below*: `key` is absent there.
    pub fn require_absent(&mut self, key: impl Into<Vec<u8>>) {
        self.batch.require_absent(key);
    }

    /// Adds a precondition on the store *below*: `key` has `value` there.
    pub fn require_equals(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.batch.require_equals(key, value);
    }

    /// Takes over the writes of an overlay that lay above this one: a step that succeeded.
    pub fn absorb(&mut self, batch: Batch) {
        self.batch.extend(batch);
    }

    /// The writes so far, to be committed.
    #[must_use]
    pub fn into_batch(self) -> Batch {
        self.batch
    }

    /// The writes so far.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    fn writes(&self, from: &[u8], to: &[u8]) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        // `BTreeMap::range` panics on an inverted or doubly excluded empty range; an empty `[from, from)` is allowed.
        self.batch.writes().range::<[u8], _>((Bound::Included(from), Bound::Excluded(to.max(from))))
    }
}

impl Read for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.batch.writes().get(key) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let mut found = Vec::new();
        let mut cursor = from.to_vec();
        // Each round merges one page of the store with the writes in the same stretch of keys. A page has room for what deletes
        // take away from it, so that there is rarely a second round; each moves the cursor forward by at least one stored row.
        while found.len() < limit && cursor.as_slice() < to {
            let hidden = self.writes(&cursor, to).filter(|(_, written)| written.is_none()).count();
            let page_rows = limit.saturating_add(hidden);
            let page = self.base.scan(&cursor, to, page_rows)?;
            let page_end = match page.last() {
                Some((key, _)) if page.len() >= page_rows => successor(key),
                _ => to.to_vec(),
            };
            let room = limit.saturating_sub(found.len());
            let page_to = page_end.as_slice().min(to);
            if self.writes(&cursor, page_to).next().is_none() {
                found.extend(page.into_iter().take(room));
            } else {
                let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = page.into_iter().collect();
                for (key, written) in self.writes(&cursor, page_to) {
                    match written {
                        Some(value) => merged.insert(key.clone(), value.clone()),
                        None => merged.remove(key),
                    };
                }
                found.extend(merged.into_iter().take(room));
            }
            cursor = page_end;
        }
        Ok(found)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError> {
        if from >= to {
            return Ok(None);
        }
        let written = self
            .writes(from, to)
            .rev()
            .find_map(|(key, value)| value.as_ref().map(|value| (key.clone(), value.clone())));
        let mut end = to.to_vec();
        let stored = loop {
            match self.base.last(from, &end)? {
                Some((key, _)) if matches!(self.batch.writes().get(&key), Some(None)) => end = key,
                other => break other,
            }
        };
        Ok(match (written, stored) {
            (Some(written), Some(stored)) if stored.0 > written.0 => Some(stored),
            (Some(written), _) => Some(written),
            (None, stored) => stored,
        })
    }
}

/// The least key after `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::{MemoryStore, Store as _};

    #[test]
    fn an_overlay_goes_on_from_writes_that_are_not_committed_yet() {
        let mut store = MemoryStore::new([0; 16]);
        let mut first = Batch::new();
        for key in 1..=5_u8 {
            first.put([key], [key]);
        }
        store.commit(first).unwrap();
        let mut rows = Overlay::new(&store);
        (1..=3_u8).for_each(|key| rows.delete([key]));
        rows.put([9], [9]);
        let mut rows = Overlay::resume(&store, rows.into_batch());
        rows.put([8], [8]);
        assert_eq!(rows.get(&[2]).unwrap(), None, "what was deleted before is not there");
        let keys =
            |limit| rows.scan(&[0], &[10], limit).unwrap().into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>();
        assert_eq!(keys(1), [4], "the first row is behind the deleted ones");
        assert_eq!(keys(9), [4, 5, 8, 9], "old and new writes are seen together");
        let batch = rows.into_batch();
        store.commit(batch).unwrap();
        assert_eq!(store.scan(&[0], &[10], 9).unwrap().len(), 4, "and are committed together");
    }
}
