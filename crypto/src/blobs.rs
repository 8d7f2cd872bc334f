//! Blobs: what a node keeps of a file that only devices can open. Their names, and how long they are.
//!
//! A blob is named by the hash of its bytes, so whoever has the name can tell whether it got the right ones. Holds no secret: nodes
//! are built with it. Implements `docs/protocol.md`, section "Files".

use crate::fixed_bytes;
use crate::labels;
use sha2::{Digest as _, Sha256};

/// Bytes of a file that are sealed together.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that sealing adds to each chunk: the tag of the AEAD.
pub const TAG_BYTES: usize = 16;
/// Bytes of a sealed chunk, but for the last one.
pub const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
/// What the shortest file is filled up to, bytes: below it nothing shows.
pub const PADDED_BYTES_MIN: u64 = 4 * 1024;

fixed_bytes! {
    /// A blob: hash of its bytes.
    BlobId, 32
}

/// The hash of a blob whose bytes come in parts.
#[derive(Debug, Clone)]
pub struct BlobHasher(Sha256);

impl BlobHasher {
    /// Of a blob of so many bytes: its length goes into the hash, as that of every part does.
    pub fn new(bytes: u64) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((labels::BLOB_ID.len() as u64).to_be_bytes());
        hasher.update(labels::BLOB_ID.as_bytes());
        hasher.update(bytes.to_be_bytes());
        Self(hasher)
    }

    /// The next bytes.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The name of the blob.
    pub fn finish(self) -> BlobId {
        BlobId(self.0.finalize().into())
    }
}

impl BlobId {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(labels::hash(labels::BLOB_ID, &[bytes]))
    }
}

/// What a file of `size` bytes is filled up to with zeros: PADMÉ (Nikitin and others, "Reducing Metadata Leakage from Encrypted
/// Files", PETS 2019, section 4), at least [`PADDED_BYTES_MIN`]. At most 12 % more, and a length tells O(log log n) bits.
pub fn padded_bytes(size: u64) -> u64 {
    if size <= PADDED_BYTES_MIN {
        return PADDED_BYTES_MIN;
    }
    // The highest bit of the length, and how many bits its place takes: so many of the highest bits stay as they are.
    let exponent = size.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1_u64 << (exponent - kept)) - 1;
    size.checked_add(mask).map_or(u64::MAX, |size| size & !mask)
}

/// Bytes of the blob of a file of `size` bytes.
pub fn sealed_bytes(size: u64) -> u64 {
    let padded = padded_bytes(size);
    let chunks = padded.div_ceil(CHUNK_BYTES as u64);
    padded.saturating_add(chunks.saturating_mul(TAG_BYTES as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_parts_is_that_of_the_whole() {
        let bytes = [7_u8; 1_000];
        let mut hasher = BlobHasher::new(1_000);
        bytes.chunks(33).for_each(|part| hasher.update(part));
        assert_eq!(hasher.finish(), BlobId::of(&bytes), "however it is cut");
        assert_ne!(BlobId::of(&bytes), BlobId::of(&bytes[..999]), "another blob has another name");
    }

    #[test]
    fn a_length_tells_little_and_costs_little() {
        assert_eq!([0, 1, 4_095, 4_096].map(padded_bytes), [4_096; 4], "short ones are all the same");
        assert_eq!(padded_bytes(4_097), 4_352, "twelve bits, of which four stay");
        assert_eq!(padded_bytes(1_000_000), 1_015_808, "about a million");
        let mut before = 0;
        for size in (1..40_000_u64).map(|n| n * 997) {
            let padded = padded_bytes(size);
            assert!(padded >= size && padded >= before, "{size}: never less than it is, and in order");
            assert!(size < PADDED_BYTES_MIN || (padded - size) * 100 <= size * 12, "{size}: at most 12 % more");
            assert_eq!(padded_bytes(padded), padded, "{size}: filled up once");
            before = padded;
        }
        let mut lengths: Vec<u64> = (1..1024 * 1024).map(padded_bytes).collect();
        lengths.dedup();
        assert_eq!(lengths.len(), 193, "a million lengths look like so few");
    }

    #[test]
    fn a_blob_is_a_tag_a_chunk_longer() {
        assert_eq!(sealed_bytes(0), 4_096 + 16, "one chunk");
        assert_eq!(sealed_bytes(65_536), 65_536 + 16, "exactly one");
        assert_eq!(sealed_bytes(65_537), 67_584 + 32, "one and a bit");
    }
}
