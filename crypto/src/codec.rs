//! The one encoding of Roost: CBOR (RFC 8949) of serde types, read strictly.
//!
//! Refuses trailing bytes always and, where bytes are signed or hashed, any second spelling of the same value.
//!
//! Implements `docs/protocol.md`, section "Encoding".

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not the value they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the type may have; checked before anything is read.
    #[error("expected at most {max} bytes, got {got}")]
    TooLong {
        /// The bound.
        max: usize,
        /// What arrived.
        got: usize,
    },
    /// Not CBOR of this type.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Bytes behind the value.
    #[error("{0} bytes behind the value")]
    Trailing(usize),
    /// The value, written again, gives other bytes.
    #[error("not the canonical spelling")]
    NotCanonical,
}

/// Encodes a value. Types of this project always encode; a failure would be a bug in a `Serialize` and gives no bytes,
/// which every decoder refuses.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    match ciborium::into_writer(value, &mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Decodes a value of at most `max` bytes; nothing may follow it.
///
/// # Errors
/// [`CodecError::TooLong`], [`CodecError::Malformed`], [`CodecError::Trailing`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, CodecError> {
    if bytes.len() > max {
        return Err(CodecError::TooLong { max, got: bytes.len() });
    }
    let mut rest = bytes;
    // 32 levels: no type of the protocol nests deeper, and a hostile one must not exhaust the stack.
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, 32)
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::Trailing(rest.len())) }
}

/// Decodes a value whose bytes are signed or hashed: they must be exactly what [`encode`] writes.
///
/// # Errors
/// As [`decode`], and [`CodecError::NotCanonical`].
pub fn decode_canonical<T: DeserializeOwned + Serialize>(bytes: &[u8], max: usize) -> Result<T, CodecError> {
    let value: T = decode(bytes, max)?;
    if encode(&value) == bytes { Ok(value) } else { Err(CodecError::NotCanonical) }
}
