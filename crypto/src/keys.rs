//! Ed25519 (RFC 8032): theirs to verify, ours to sign.
//!
//! Secret keys are wiped on drop, have no `Clone`, and their `Debug` shows nothing.

use crate::fixed_bytes;
use crate::labels;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

fixed_bytes! {
    /// Somebody's Ed25519 public key. Whether it is a point of the curve shows at the first verification.
    PublicKey, 32
}
fixed_bytes! {
    /// An Ed25519 signature.
    Signature, 64
}

/// A signature that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit the key and the bytes")]
pub struct BadSignature;

impl PublicKey {
    /// Verifies `signature` over `message` under a label of [`crate::labels`], strictly (no malleability, no small-order keys).
    ///
    /// # Errors
    /// [`BadSignature`], also for a key that is no point of the curve.
    pub fn verify(&self, label: &str, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&labels::labelled(label, message), &signature).map_err(|_| BadSignature)
    }
}

/// Our secret key: of an organisation, a node, an account (R) or a device.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be stored sealed or in a file that only its owner reads.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` under a label of [`crate::labels`].
    pub fn sign(&self, label: &str, message: &[u8]) -> Signature {
        self.sign_raw(&labels::labelled(label, message))
    }

    /// Signs bytes that carry their own label (MLS, RFC 9420 section 5.1.2).
    pub(crate) fn sign_raw(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_one_label_one_message_and_one_key() {
        let alice = SecretKey::from_seed(&[1; 32]);
        let eve = SecretKey::from_seed(&[2; 32]);
        let signature = alice.sign("a", b"hello");
        assert_eq!(alice.public_key().verify("a", b"hello", &signature), Ok(()), "the honest signature verifies");
        assert!(alice.public_key().verify("b", b"hello", &signature).is_err(), "another label is another signature");
        assert!(alice.public_key().verify("a", b"hallo", &signature).is_err(), "another message is refused");
        assert!(eve.public_key().verify("a", b"hello", &signature).is_err(), "another key is refused");
    }

    #[test]
    fn debug_of_a_secret_key_shows_nothing() {
        assert_eq!(format!("{:?}", SecretKey::from_seed(&[7; 32])), "SecretKey(…)", "a key must never reach a log");
    }
}
