//! Rows as they are on disk, those read and written last: what the rules ask for at every message is found without the engine.
//!
//! It is told what is durable and nothing else, so it never knows more than the disk; also that a key has no row is worth knowing.
//! A row that stands here has passed its checksum.

use lru::LruCache;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of all rows here, with what it takes to keep one: a few thousand rows, the neighbourhood of some dozen conversations of many.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest value kept: the head of a group of a hundred; what is longer is rarely read.
const VALUE_BYTES_MAX: usize = 8 * 1024;
/// What a row takes beside key and value.
const ROW_OVERHEAD: usize = 128;

/// What a key has on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// No row.
    Absent,
    /// A row, with what it counts for in the summary; `None` where its value lies in parts.
    Row { value: Vec<u8>, fingerprint: Option<u64> },
}

/// What is known of some keys.
pub(super) struct Cache(Mutex<Rows>);

struct Rows {
    known: LruCache<Vec<u8>, Known>,
    bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(Rows { known: LruCache::unbounded(), bytes: 0 }))
    }
}

impl Cache {
    /// The value of a key, if anything is known of it.
    pub(super) fn value(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        match self.rows().known.get(key)? {
            Known::Absent => Some(None),
            Known::Row { value, .. } => Some(Some(value.clone())),
        }
    }

    /// What a key's row counts for in the summary: nothing where there is none; `None` where the engine must be asked.
    pub(super) fn fingerprint(&self, key: &[u8]) -> Option<Option<u64>> {
        match self.rows().known.peek(key)? {
            Known::Absent => Some(None),
            Known::Row { fingerprint, .. } => fingerprint.map(Some),
        }
    }

    /// What a key has on disk now.
    pub(super) fn learn(&self, key: Vec<u8>, known: Known) {
        let mut rows = self.rows();
        if matches!(&known, Known::Row { value, .. } if value.len() > VALUE_BYTES_MAX) {
            if let Some((key, before)) = rows.known.pop_entry(&key) {
                rows.bytes = rows.bytes.saturating_sub(size(&key, &before));
            }
            return;
        }
        let added = size(&key, &known);
        let length = key.len();
        // The key before is as long.
        let before = rows.known.put(key, known).map_or(0, |before| length + weight(&before));
        rows.bytes = (rows.bytes + added).saturating_sub(before);
        while rows.bytes > BYTES_MAX
            && let Some((key, known)) = rows.known.pop_lru()
        {
            rows.bytes = rows.bytes.saturating_sub(size(&key, &known));
        }
    }

    /// Nothing is known any more.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        let mut rows = self.rows();
        rows.known.clear();
        rows.bytes = 0;
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(key: &[u8], known: &Known) -> usize {
    key.len() + weight(known)
}

fn weight(known: &Known) -> usize {
    ROW_OVERHEAD
        + match known {
            Known::Absent => 0,
            Known::Row { value, .. } => value.len(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: usize) -> Known {
        Known::Row { value: vec![7; bytes], fingerprint: Some(1) }
    }

    #[test]
    fn it_keeps_what_was_used_last_within_its_bound() {
        let cache = Cache::default();
        let key = |number: u32| number.to_be_bytes().to_vec();
        for number in 0..10_000 {
            cache.learn(key(number), row(1_000));
            assert!(cache.value(&key(0)).is_some(), "what is asked for all the time stays");
        }
        let kept = cache.rows().known.len();
        let bytes = cache.rows().bytes;
        assert!(bytes <= BYTES_MAX && kept < 4_000, "{kept} rows of {bytes} bytes are within the bound");
        assert!(cache.value(&key(9_999)).is_some() && cache.value(&key(1)).is_none(), "the oldest have gone");
        let counted: usize = cache.rows().known.iter().map(|(key, known)| size(key, known)).sum();
        assert_eq!(counted, bytes, "and the count is true");
    }

    #[test]
    fn a_row_that_is_replaced_removed_or_grows_too_long_is_never_remembered_as_it_was() {
        let cache = Cache::default();
        cache.learn(vec![1], row(10));
        cache.learn(vec![1], row(20));
        assert_eq!(cache.value(&[1]), Some(Some(vec![7; 20])), "the later value counts");
        cache.learn(vec![1], Known::Absent);
        assert_eq!((cache.value(&[1]), cache.fingerprint(&[1])), (Some(None), Some(None)), "it is known to be gone");
        cache.learn(vec![1], row(VALUE_BYTES_MAX + 1));
        assert_eq!(cache.value(&[1]), None, "of a long one the engine is asked");
        assert_eq!(cache.rows().bytes, 0, "and nothing is left of it");
    }
}
