//! Signed things travel as the exact bytes that were signed: verify, then parse.
//!
//! Implements `docs/protocol.md`, section "Signed values".

use crate::bytes::Bytes;
use crate::codec::{self, CodecError};
use crate::keys::{BadSignature, PublicKey, SecretKey, Signature};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes and a signature over them, nothing believed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Signed {
    /// CBOR of the signed value.
    pub bytes: Bytes,
    /// Signature over the label and `bytes`.
    pub signature: Signature,
}

/// Why a signed value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The signature does not fit.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The signature fits, the bytes are no value of the type.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Signed {
    /// Signs the canonical bytes of `value`.
    pub fn new<T: Serialize>(label: &str, value: &T, key: &SecretKey) -> Self {
        let bytes = codec::encode(value);
        let signature = key.sign(label, &bytes);
        Self { bytes: Bytes(bytes), signature }
    }

    /// Verifies under `key`, then parses.
    ///
    /// # Errors
    /// [`SignedError`]; more than `max` bytes are refused before the signature is computed.
    pub fn open<T: DeserializeOwned + Serialize>(
        &self,
        label: &str,
        key: &PublicKey,
        max: usize,
    ) -> Result<T, SignedError> {
        if self.bytes.len() > max {
            return Err(CodecError::TooLong { max, got: self.bytes.len() }.into());
        }
        key.verify(label, self.bytes.as_slice(), &self.signature)?;
        Ok(codec::decode_canonical(self.bytes.as_slice(), max)?)
    }

    /// Parses without believing: to learn which key must verify it. Call [`Self::open`] before use.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn peek<T: DeserializeOwned + Serialize>(&self, max: usize) -> Result<T, CodecError> {
        codec::decode_canonical(self.bytes.as_slice(), max)
    }
}
