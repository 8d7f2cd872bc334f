//! A life of a store that two processes know: what the batch number `n` writes, and what the rows are after it.
//!
//! The writer (`examples/store_writer.rs`) commits these batches in a process of its own; a story compares what it finds after a crash with
//! [`rows_after`]. Equal seeds give equal lives.

use std::collections::BTreeMap;

/// Key of the row that counts the batches: each batch writes its own number there.
pub const COUNT: &[u8] = b"count";

/// Rows by key.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers by seed (the constants of Knuth's MMIX), the high bits only.
#[derive(Debug, Clone)]
pub struct Seeded(pub u64);

impl Seeded {
    /// A number in `0..bound`; `bound` is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// That many bytes.
    pub fn bytes(&mut self, length: u64) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length + 3);
        while bytes.len() < length {
            let four = u32::try_from(self.below(1 << 31)).unwrap_or_default();
            bytes.extend_from_slice(&four.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// What batch `number` (from 1) writes; `None` deletes. Small rows and, now and then, values that are split and batches that fill
/// whole segments of the log; rows that are written over and rows that go, so that the engine has space to reuse.
pub fn batch(seed: u64, number: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut seeded = Seeded(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut writes = vec![(COUNT.to_vec(), Some(number.to_be_bytes().to_vec()))];
    let length = 50 + seeded.below(1_500);
    writes.push((format!("row {number:06}").into_bytes(), Some(seeded.bytes(length))));
    writes.push((format!("hot {}", number % 7).into_bytes(), Some(seeded.bytes(300))));
    if number > 12 && seeded.below(2) == 0 {
        writes.push((format!("row {:06}", number - 12).into_bytes(), None));
    }
    if seeded.below(8) == 0 {
        let length = 5_000 + seeded.below(90_000);
        writes.push((format!("long {}", number % 5).into_bytes(), Some(seeded.bytes(length))));
    }
    if seeded.below(30) == 0 {
        for part in 0..30 {
            writes.push((format!("bulk {part}").into_bytes(), Some(seeded.bytes(20_000))));
        }
    }
    writes
}

/// The rows after the batches `1..=last`.
pub fn rows_after(seed: u64, last: u64) -> Rows {
    let mut rows = Rows::new();
    for number in 1..=last {
        apply(&mut rows, seed, number);
    }
    rows
}

/// Applies batch `number` to `rows`.
pub fn apply(rows: &mut Rows, seed: u64, number: u64) {
    for (key, written) in batch(seed, number) {
        match written {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_depends_on_its_seed_alone() {
        assert_eq!(rows_after(1, 40), rows_after(1, 40), "equal seeds give equal rows");
        assert_ne!(rows_after(1, 40), rows_after(2, 40), "another seed gives others");
        assert_eq!(rows_after(3, 9).get(COUNT), Some(&9_u64.to_be_bytes().to_vec()), "the count is the last batch");
    }
}
