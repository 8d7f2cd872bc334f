//! How a value lies in sled: sealed with a checksum, and split when it is long.
//!
//! Physical keys: `r` + key holds the value or the head of a split value, `p` + key + number (u16, big endian) holds a part,
//! `m` + name holds the store's own notes. Each stored value is `kind (1) | crc32 (4, big endian) | body`; the checksum covers kind, physical
//! key and body, so a row served under another key is found too. A head's body is `total bytes (4) | parts (2) | crc32 of the whole (4)`.
//!
//! Why parts are small: sled puts up to 16 rows (20 around a merge) on one leaf page whatever their size, and writes a page above
//! 131,052 bytes (`segment_size` / 4 - 20) to a file of its own that it never fsyncs. Rows of at most [`PART_BYTES_MAX`] keep every page below.

use super::{Pair, RowKey, StoreError};

/// Longest body of one stored row, in bytes: 20 rows with their keys are 90 KB, below sled's 131,052.
pub(super) const PART_BYTES_MAX: usize = 4 * 1024;

const SEAL_BYTES: usize = 5;
const KIND_WHOLE: u8 = 1;
const KIND_HEAD: u8 = 2;
const KIND_PART: u8 = 3;
const KIND_NOTE: u8 = 4;

/// The first physical key of the rows and the first key after them.
pub(super) const ROWS: (&[u8], &[u8]) = (b"r", b"s");

/// The first physical key of parts and rows, and the first key after them.
pub(super) const PARTS_AND_ROWS: (&[u8], &[u8]) = (b"p", b"s");

/// What a row holds.
pub(super) enum Stored<'a> {
    /// The value itself.
    Whole(&'a [u8]),
    /// The value lies in parts.
    Split(Head),
}

/// The head of a split value.
#[derive(Clone, Copy)]
pub(super) struct Head {
    total_bytes: u32,
    pub(super) parts: u16,
    whole_crc: u32,
}

/// The physical key of `key`'s row.
pub(super) fn row_key(key: &[u8]) -> Vec<u8> {
    [b"r", key].concat()
}

/// The key of a physical row key.
pub(super) fn logical_key(physical: &[u8]) -> Result<&[u8], StoreError> {
    physical.strip_prefix(b"r").ok_or(StoreError::damaged())
}

/// The physical key of part `number` of `key`'s value. The number has a fixed width, so two keys never share a part.
pub(super) fn part_key(key: &[u8], number: u16) -> Vec<u8> {
    [b"p", key, &number.to_be_bytes()].concat()
}

/// The physical rows of `key` = `value`: the row first, then its parts.
pub(super) fn encode(key: &[u8], value: &[u8]) -> Result<Vec<Pair>, StoreError> {
    let physical = row_key(key);
    if value.len() <= PART_BYTES_MAX {
        let sealed = seal(KIND_WHOLE, &physical, value);
        return Ok(vec![(physical, sealed)]);
    }
    let too_large = || StoreError::ValueSize { got: value.len() };
    let total_bytes = u32::try_from(value.len()).map_err(|_| too_large())?;
    let parts = u16::try_from(value.len().div_ceil(PART_BYTES_MAX)).map_err(|_| too_large())?;
    let head =
        [&total_bytes.to_be_bytes()[..], &parts.to_be_bytes()[..], &crc32fast::hash(value).to_be_bytes()[..]].concat();
    let sealed = seal(KIND_HEAD, &physical, &head);
    let mut rows = vec![(physical, sealed)];
    for (number, part) in (0..parts).zip(value.chunks(PART_BYTES_MAX)) {
        let physical = part_key(key, number);
        let sealed = seal(KIND_PART, &physical, part);
        rows.push((physical, sealed));
    }
    Ok(rows)
}

/// Opens the row of `key`.
pub(super) fn decode<'a>(key: &[u8], stored: &'a [u8]) -> Result<Stored<'a>, StoreError> {
    let corrupt = || StoreError::Corrupt { key: Some(RowKey(key.to_vec())) };
    match open(&row_key(key), stored) {
        Some((KIND_WHOLE, body)) => Ok(Stored::Whole(body)),
        Some((KIND_HEAD, body)) => decode_head(body).map(Stored::Split).ok_or_else(corrupt),
        _ => Err(corrupt()),
    }
}

/// Joins a split value; `part` gives the stored bytes of a physical key.
pub(super) fn join(
    key: &[u8],
    head: Head,
    mut part: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Vec<u8>, StoreError> {
    let corrupt = || StoreError::Corrupt { key: Some(RowKey(key.to_vec())) };
    let mut value = Vec::new();
    for number in 0..head.parts {
        let physical = part_key(key, number);
        let stored = part(&physical)?.ok_or_else(corrupt)?;
        match open(&physical, &stored) {
            Some((KIND_PART, body)) => value.extend_from_slice(body),
            _ => return Err(corrupt()),
        }
    }
    if u32::try_from(value.len()) != Ok(head.total_bytes) || crc32fast::hash(&value) != head.whole_crc {
        return Err(corrupt());
    }
    Ok(value)
}

/// What all rows come to: written in every batch, so that at open a row that the engine has lost, or brought back, is noticed although
/// every row that is there passes its checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Batches since the store was founded.
    pub(super) commits: u64,
    /// Physical rows, without notes.
    pub(super) rows: u64,
    /// Sum, modulo 2^64, of a number that is made of each row's checksum and length: the order of the rows does not matter.
    pub(super) sum: u64,
}

impl Summary {
    /// A row comes.
    pub(super) fn add(&mut self, stored: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(fingerprint(stored));
    }

    /// A row goes.
    pub(super) fn remove(&mut self, stored: &[u8]) {
        self.forget(fingerprint(stored));
    }

    /// A row goes of which only the fingerprint is known.
    pub(super) fn forget(&mut self, fingerprint: u64) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(fingerprint);
    }

    /// The summary as a note: its physical key and its sealed value, `commits (8) | rows (8) | sum (8)`.
    pub(super) fn encode(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let physical = note_key(name);
        let body = [self.commits, self.rows, self.sum].map(u64::to_be_bytes).concat();
        let sealed = seal(KIND_NOTE, &physical, &body);
        (physical, sealed)
    }

    /// Opens the note.
    pub(super) fn decode(name: &str, stored: &[u8]) -> Result<Self, StoreError> {
        let Some((KIND_NOTE, body)) = open(&note_key(name), stored) else { return Err(StoreError::damaged()) };
        let (numbers, []) = body.as_chunks::<8>() else { return Err(StoreError::damaged()) };
        let [commits, rows, sum] = numbers else { return Err(StoreError::damaged()) };
        let [commits, rows, sum] = [commits, rows, sum].map(|number| u64::from_be_bytes(*number));
        Ok(Self { commits, rows, sum })
    }
}

/// The checksum covers the physical key, so equal values under two keys count apart. Spread over 64 bits (the finalizer of MurmurHash3), so
/// that two changes do not cancel out.
pub(super) fn fingerprint(stored: &[u8]) -> u64 {
    let crc = stored.get(1..SEAL_BYTES).and_then(|crc| crc.try_into().ok()).map_or(0, u32::from_be_bytes);
    let mut mixed = (u64::try_from(stored.len()).unwrap_or(u64::MAX) << 32) ^ u64::from(crc);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    mixed ^ (mixed >> 33)
}

/// Whether a physical row passes its checksum; an error names the key that it belongs to.
pub(super) fn check(physical: &[u8], stored: &[u8]) -> Result<(), StoreError> {
    match open(physical, stored) {
        Some((KIND_WHOLE | KIND_HEAD | KIND_PART, _)) => Ok(()),
        _ => {
            let part = usize::from(physical.starts_with(b"p")) * 2;
            let key = physical.get(1..physical.len().saturating_sub(part)).unwrap_or_default();
            Err(StoreError::Corrupt { key: Some(RowKey(key.to_vec())) })
        }
    }
}

/// The physical key of a note.
pub(super) fn note_key(name: &str) -> Vec<u8> {
    [b"m", name.as_bytes()].concat()
}

fn decode_head(body: &[u8]) -> Option<Head> {
    let (total_bytes, rest) = body.split_first_chunk::<4>()?;
    let (parts, rest) = rest.split_first_chunk::<2>()?;
    let whole_crc: [u8; 4] = rest.try_into().ok()?;
    Some(Head {
        total_bytes: u32::from_be_bytes(*total_bytes),
        parts: u16::from_be_bytes(*parts),
        whole_crc: u32::from_be_bytes(whole_crc),
    })
}

fn seal(kind: u8, physical: &[u8], body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SEAL_BYTES + body.len());
    sealed.push(kind);
    sealed.extend_from_slice(&checksum(kind, physical, body).to_be_bytes());
    sealed.extend_from_slice(body);
    sealed
}

/// The kind and body, if the checksum holds.
fn open<'a>(physical: &[u8], stored: &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (kind, rest) = stored.split_first()?;
    let (crc, body) = rest.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*crc) == checksum(*kind, physical, body)).then_some((*kind, body))
}

fn checksum(kind: u8, physical: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(physical);
    hasher.update(body);
    hasher.finalize()
}
