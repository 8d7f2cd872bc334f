//! Files sealed in chunks: neither side need hold one whole, and what was cut, moved or taken from another file does not open.
//!
//! STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015) over ChaCha20-Poly1305 (RFC 8439), as `aead::stream` has it. Each file
//! has a random key of its own, which is an input and travels inside sealed content alone. Implements `docs/protocol.md`, section
//! "Files".

use crate::blobs::{self, BlobHasher, BlobId, CHUNK_BYTES, SEALED_CHUNK_BYTES};
use crate::labels;
use chacha20poly1305::aead::stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::aead::{KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const FILE_KEY_BYTES: usize = 32;

/// Why a file can't be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// More or fewer bytes came than were announced.
    #[error("expected {expected} bytes, got {got}")]
    Length {
        /// Announced.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// A chunk that was changed, moved, cut, or belongs to another file.
    #[error("chunk {chunk} is not what was sealed")]
    Chunk {
        /// Which, from 0.
        chunk: u64,
    },
    /// What fills the file up is not zero.
    #[error("the file is not filled up with zeros")]
    Padding,
    /// Its bytes have another name than was asked for.
    #[error("these are the bytes of another blob")]
    Name,
    /// More chunks than one key may seal.
    #[error("the file is too long to be sealed")]
    TooLong,
}

/// The key of one file.
#[derive(Clone)]
pub struct FileKey(Zeroizing<[u8; FILE_KEY_BYTES]>);

impl FileKey {
    /// From 32 random bytes that seal nothing else.
    pub fn from_bytes(bytes: &[u8; FILE_KEY_BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// As it stands in sealed content.
    pub fn as_bytes(&self) -> &[u8; FILE_KEY_BYTES] {
        &self.0
    }

    fn aead(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(Key::from_slice(self.0.as_slice()))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FileKey(…)")
    }
}

/// The nonce of STREAM without its counter: each file has its own key, so it may be the same in all.
const NONCE: [u8; 7] = [0; 7];

/// Seals a file whose length is known, in parts of any length.
pub struct FileSealer {
    stream: Option<EncryptorBE32<ChaCha20Poly1305>>,
    hasher: BlobHasher,
    size: u64,
    padded: u64,
    taken: u64,
    sealed: u64,
    chunk: Zeroizing<Vec<u8>>,
}

impl FileSealer {
    /// For a file of `size` bytes under a key that seals nothing else.
    pub fn new(key: &FileKey, size: u64) -> Self {
        Self {
            stream: Some(EncryptorBE32::from_aead(key.aead(), &NONCE.into())),
            hasher: BlobHasher::new(blobs::sealed_bytes(size)),
            size,
            padded: blobs::padded_bytes(size),
            taken: 0,
            sealed: 0,
            chunk: Zeroizing::new(Vec::with_capacity(CHUNK_BYTES)),
        }
    }

    /// Takes the next bytes of the file and appends the chunks that they complete to `out`.
    ///
    /// # Errors
    /// [`FileError::Length`] for more bytes than were announced, [`FileError::TooLong`].
    pub fn write(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), FileError> {
        self.taken = self.taken.saturating_add(part.len() as u64);
        if self.taken > self.size {
            return Err(FileError::Length { expected: self.size, got: self.taken });
        }
        self.fill(part, out)
    }

    /// Fills the file up, seals the rest, and names the blob.
    ///
    /// # Errors
    /// [`FileError::Length`] for fewer bytes than were announced, [`FileError::TooLong`].
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<BlobId, FileError> {
        if self.taken != self.size {
            return Err(FileError::Length { expected: self.size, got: self.taken });
        }
        let zeros = [0; 4 * 1024];
        let mut left = self.padded - self.size;
        while left > 0 {
            let part = zeros.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(&zeros);
            left -= part.len() as u64;
            self.fill(part, out)?;
        }
        Ok(self.hasher.finish())
    }

    fn fill(&mut self, mut part: &[u8], out: &mut Vec<u8>) -> Result<(), FileError> {
        while !part.is_empty() {
            let (now, rest) = part.split_at(part.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            part = rest;
            let all = self.sealed + self.chunk.len() as u64 == self.padded;
            if all || self.chunk.len() == CHUNK_BYTES {
                self.seal(all, out)?;
            }
        }
        Ok(())
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) -> Result<(), FileError> {
        let payload = Payload { msg: &self.chunk, aad: labels::FILE.as_bytes() };
        let sealed = match (self.stream.take(), last) {
            (Some(stream), true) => stream.encrypt_last(payload),
            (Some(mut stream), false) => {
                let sealed = stream.encrypt_next(payload);
                self.stream = Some(stream);
                sealed
            }
            (None, _) => return Err(FileError::TooLong),
        };
        let sealed = sealed.map_err(|_| FileError::TooLong)?;
        self.sealed += self.chunk.len() as u64;
        self.hasher.update(&sealed);
        out.extend_from_slice(&sealed);
        self.chunk.clear();
        Ok(())
    }
}

/// Opens a file whose blob comes in parts of any length. Nothing leaves it that was not sealed so, at its place; but only
/// [`Self::finish`] says that it is whole.
pub struct FileOpener {
    stream: Option<DecryptorBE32<ChaCha20Poly1305>>,
    hasher: BlobHasher,
    blob: BlobId,
    size: u64,
    sealed: u64,
    taken: u64,
    chunks: u64,
    opened: u64,
    chunk: Vec<u8>,
}

impl FileOpener {
    /// For the file of `size` bytes in a blob.
    pub fn new(key: &FileKey, size: u64, blob: BlobId) -> Self {
        let sealed = blobs::sealed_bytes(size);
        Self {
            stream: Some(DecryptorBE32::from_aead(key.aead(), &NONCE.into())),
            hasher: BlobHasher::new(sealed),
            blob,
            size,
            sealed,
            taken: 0,
            chunks: 0,
            opened: 0,
            chunk: Vec::with_capacity(SEALED_CHUNK_BYTES),
        }
    }

    /// Takes the next bytes of the blob and appends what they open to `out`.
    ///
    /// # Errors
    /// [`FileError`]; nothing more may be written then.
    pub fn write(&mut self, mut part: &[u8], out: &mut Vec<u8>) -> Result<(), FileError> {
        let got = self.taken.saturating_add(part.len() as u64);
        if got > self.sealed {
            return Err(FileError::Length { expected: self.sealed, got });
        }
        self.hasher.update(part);
        while !part.is_empty() {
            let (now, rest) = part.split_at(part.len().min(SEALED_CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            self.taken += now.len() as u64;
            part = rest;
            let all = self.taken == self.sealed;
            if all || self.chunk.len() == SEALED_CHUNK_BYTES {
                self.open(all, out)?;
            }
        }
        Ok(())
    }

    /// Bytes of the blob that were taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Says whether it was the whole of the right blob.
    ///
    /// # Errors
    /// [`FileError::Length`], [`FileError::Name`].
    pub fn finish(self) -> Result<(), FileError> {
        if self.taken != self.sealed {
            return Err(FileError::Length { expected: self.sealed, got: self.taken });
        }
        if self.hasher.finish() == self.blob { Ok(()) } else { Err(FileError::Name) }
    }

    fn open(&mut self, last: bool, out: &mut Vec<u8>) -> Result<(), FileError> {
        let refused = FileError::Chunk { chunk: self.chunks };
        let payload = Payload { msg: &self.chunk, aad: labels::FILE.as_bytes() };
        let plain = match (self.stream.take(), last) {
            (Some(stream), true) => stream.decrypt_last(payload),
            (Some(mut stream), false) => {
                let plain = stream.decrypt_next(payload);
                self.stream = Some(stream);
                plain
            }
            (None, _) => return Err(refused),
        };
        let Ok(plain) = plain.map(Zeroizing::new) else {
            self.stream = None;
            return Err(refused);
        };
        self.chunks += 1;
        self.chunk.clear();
        let left = usize::try_from(self.size - self.opened).unwrap_or(usize::MAX);
        let (file, padding) = plain.split_at(plain.len().min(left));
        if padding.iter().any(|byte| *byte != 0) {
            self.stream = None;
            return Err(FileError::Padding);
        }
        self.opened += file.len() as u64;
        out.extend_from_slice(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key() -> FileKey {
        FileKey::from_bytes(&[3; 32])
    }

    fn file(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 31 % 251) as u8).collect()
    }

    fn seal(key: &FileKey, file: &[u8], part: usize) -> (BlobId, Vec<u8>) {
        let (mut sealer, mut sealed) = (FileSealer::new(key, file.len() as u64), Vec::new());
        file.chunks(part).for_each(|part| sealer.write(part, &mut sealed).unwrap());
        (sealer.finish(&mut sealed).unwrap(), sealed)
    }

    fn open(key: &FileKey, size: u64, blob: BlobId, sealed: &[u8], part: usize) -> Result<Vec<u8>, FileError> {
        let (mut opener, mut opened) = (FileOpener::new(key, size, blob), Vec::new());
        for part in sealed.chunks(part) {
            opener.write(part, &mut opened)?;
        }
        opener.finish().map(|()| opened)
    }

    #[test]
    fn a_file_comes_back_however_it_is_cut() {
        for size in [0, 1, 4_096, 65_535, 65_536, 65_537, 200_000] {
            let file = file(size);
            let (blob, sealed) = seal(&key(), &file, 7_919);
            assert_eq!(sealed.len() as u64, blobs::sealed_bytes(size as u64), "{size}: as long as was said");
            assert_eq!(blob, BlobId::of(&sealed), "{size}: named by its bytes");
            assert_eq!(seal(&key(), &file, 1_000_000), (blob, sealed.clone()), "{size}: the parts do not show");
            for part in [1_000, 65_552, 1_000_000] {
                assert_eq!(
                    open(&key(), size as u64, blob, &sealed, part),
                    Ok(file.clone()),
                    "{size} in parts of {part}"
                );
            }
        }
    }

    #[test]
    fn what_was_changed_moved_cut_or_is_anothers_does_not_open() {
        let size = 200_000;
        let (blob, sealed) = seal(&key(), &file(size), size);
        let whole = |sealed: &[u8]| open(&key(), size as u64, blob, sealed, 10_000);
        let chunk = SEALED_CHUNK_BYTES;
        let mut changed = sealed.clone();
        changed[chunk + 5] ^= 1;
        assert_eq!(whole(&changed), Err(FileError::Chunk { chunk: 1 }), "one bit");
        let moved = [&sealed[chunk..2 * chunk], &sealed[..chunk], &sealed[2 * chunk..]].concat();
        assert_eq!(whole(&moved), Err(FileError::Chunk { chunk: 0 }), "two chunks in another order");
        let cut = &sealed[..3 * chunk];
        let got = cut.len() as u64;
        assert_eq!(whole(cut), Err(FileError::Length { expected: sealed.len() as u64, got }), "the end is missing");
        // Whoever may also lie about the length gets no further: the last chunk is sealed as the last.
        let shorter = open(&key(), 3 * CHUNK_BYTES as u64, BlobId::of(cut), cut, 10_000);
        assert_eq!(shorter, Err(FileError::Chunk { chunk: 2 }), "the end is missing, and the length says so");
        let longer = [&sealed[..], &[0]].concat();
        assert!(matches!(whole(&longer), Err(FileError::Length { .. })), "a byte more");
        let (_, other) = seal(&FileKey::from_bytes(&[4; 32]), &file(size), size);
        let mixed = [&sealed[..chunk], &other[chunk..]].concat();
        assert_eq!(whole(&mixed), Err(FileError::Chunk { chunk: 1 }), "a chunk of another file");
        let named = open(&key(), size as u64, BlobId([1; 32]), &sealed, size);
        assert_eq!(named, Err(FileError::Name), "the right bytes under another name");
    }

    #[test]
    fn what_fills_a_file_up_is_nothing() {
        // A sender that lies about the size hides nothing behind it.
        let (blob, sealed) = seal(&key(), &file(4_000), 4_000);
        assert_eq!(
            open(&key(), 3_000, blob, &sealed, 10_000),
            Err(FileError::Padding),
            "a thousand bytes behind the end"
        );
    }

    #[test]
    fn a_file_that_grows_or_shrinks_under_the_hand_is_not_sealed() {
        let (mut sealer, mut sealed) = (FileSealer::new(&key(), 10), Vec::new());
        assert_eq!(sealer.write(&[0; 11], &mut sealed), Err(FileError::Length { expected: 10, got: 11 }), "it grew");
        let mut sealer = FileSealer::new(&key(), 10);
        sealer.write(&[0; 9], &mut sealed).unwrap();
        assert_eq!(sealer.finish(&mut sealed), Err(FileError::Length { expected: 10, got: 9 }), "it shrank");
    }

    #[test]
    fn a_key_shows_nothing() {
        assert_eq!(format!("{:?}", key()), "FileKey(…)", "a log never has it");
    }
}
