//! Sealing: with a key of our own ([`StoreKey`], values at rest) and to somebody's public key ([`SealedBox`]).
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), X25519 (RFC 7748), HKDF-SHA256 (RFC 5869). Never draws randomness:
//! nonces and seeds are inputs, and the caller takes each from the system's randomness and uses it once. Secret keys and
//! opened plaintext are wiped on drop; `Debug` of a secret shows nothing.
//!
//! Implements `docs/protocol.md`, section "Sealing".

use crate::bytes::Bytes;
use crate::fixed_bytes;
use crate::labels;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// First byte of a sealed value.
pub const STORE_VERSION: u8 = 1;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// Bytes of the authentication tag.
pub const TAG_BYTES: usize = 16;
/// Bytes that sealing adds to a stored value: version, nonce, tag.
pub const STORE_OVERHEAD: usize = 1 + NONCE_BYTES + TAG_BYTES;

/// Why something can't be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Fewer bytes than an empty sealed value has.
    #[error("expected at least {min} bytes, got {got}")]
    TooShort {
        /// The fewest.
        min: usize,
        /// What there is.
        got: usize,
    },
    /// Sealed by another version.
    #[error("expected version {STORE_VERSION}, got {got}")]
    Version {
        /// The first byte.
        got: u8,
    },
    /// Another key, another context, or changed bytes; which of them can't be told.
    #[error("the sealed bytes do not fit the key and the context")]
    Refused,
    /// A public key of small order: the shared secret would be all zero, known to everybody.
    #[error("the public key has small order")]
    SmallOrder,
}

/// The key that seals the values of a device's store.
pub struct StoreKey(Zeroizing<[u8; 32]>);

impl StoreKey {
    /// From 32 bytes that are a key already (a key store of the system).
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// Derived from a secret of the device that may serve other purposes, too.
    pub fn derive(secret: &[u8; 32]) -> Self {
        Self(derive_key(secret, labels::DERIVE_STORE_KEY, &[]))
    }

    /// Seals a value to its context (say, table and key of the store): version, nonce, ciphertext, tag.
    ///
    /// `nonce` is 24 random bytes, never used twice with one key.
    pub fn seal(&self, context: &[u8], plaintext: &[u8], nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let ciphertext = encrypt(&self.0, &nonce, context, plaintext);
        [&[STORE_VERSION], &nonce[..], &ciphertext].concat()
    }

    /// Opens what [`Self::seal`] sealed to the same context.
    ///
    /// # Errors
    /// [`SealError::TooShort`], [`SealError::Version`], [`SealError::Refused`].
    pub fn open(&self, context: &[u8], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let too_short = SealError::TooShort { min: STORE_OVERHEAD, got: bytes.len() };
        let (version, rest) = bytes.split_first().ok_or(too_short)?;
        if *version != STORE_VERSION {
            return Err(SealError::Version { got: *version });
        }
        if bytes.len() < STORE_OVERHEAD {
            return Err(too_short);
        }
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(too_short)?;
        decrypt(&self.0, nonce, context, ciphertext)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StoreKey(…)")
    }
}

fixed_bytes! {
    /// Somebody's X25519 public key: what a [`SealedBox`] is sealed to.
    BoxPublicKey, 32
}

/// Our X25519 secret key: opens boxes that were sealed to its public half.
pub struct BoxSecretKey(StaticSecret);

impl BoxSecretKey {
    /// From a 32-byte seed (clamped as RFC 7748 section 5 says).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*seed))
    }

    /// The public half.
    pub fn public_key(&self) -> BoxPublicKey {
        BoxPublicKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// The shared secret with `other`.
    fn agree(&self, other: &BoxPublicKey) -> Result<Zeroizing<[u8; 32]>, SealError> {
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(other.0));
        // RFC 7748 section 6.1: an all-zero result means that the other side contributed nothing.
        if !shared.was_contributory() {
            return Err(SealError::SmallOrder);
        }
        Ok(Zeroizing::new(shared.to_bytes()))
    }
}

impl fmt::Debug for BoxSecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BoxSecretKey(…)")
    }
}

/// Bytes sealed to a public key by somebody unnamed: whoever opens it learns nothing about the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedBox {
    /// Public half of a key that lived for this box only.
    pub ephemeral: BoxPublicKey,
    /// Ciphertext and tag.
    pub ciphertext: Bytes,
}

impl SealedBox {
    /// Seals `plaintext` to the holder of `recipient`, bound to `context`.
    ///
    /// `ephemeral_seed` is 32 random bytes for this box alone: a second box to the same recipient under the same seed
    /// would give away both plaintexts, because the key follows from it and the nonce is zero.
    ///
    /// # Errors
    /// [`SealError::SmallOrder`] for a public key that everybody can open.
    pub fn seal(
        recipient: &BoxPublicKey,
        context: &[u8],
        plaintext: &[u8],
        ephemeral_seed: Zeroizing<[u8; 32]>,
    ) -> Result<Self, SealError> {
        let secret = BoxSecretKey::from_seed(&ephemeral_seed);
        let ephemeral = secret.public_key();
        let key = box_key(&*secret.agree(recipient)?, &ephemeral, recipient);
        let ciphertext = encrypt(&key, &[0; NONCE_BYTES], context, plaintext);
        Ok(Self { ephemeral, ciphertext: Bytes(ciphertext) })
    }

    /// Opens a box that was sealed to the public half of `key` and to the same context.
    ///
    /// # Errors
    /// [`SealError::SmallOrder`], [`SealError::TooShort`], [`SealError::Refused`].
    pub fn open(&self, key: &BoxSecretKey, context: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if self.ciphertext.len() < TAG_BYTES {
            return Err(SealError::TooShort { min: TAG_BYTES, got: self.ciphertext.len() });
        }
        let key = box_key(&*key.agree(&self.ephemeral)?, &self.ephemeral, &key.public_key());
        decrypt(&key, &[0; NONCE_BYTES], context, self.ciphertext.as_slice())
    }
}

/// The key of one box. Both public keys enter as bytes, so a second spelling of a point gives another key.
fn box_key(shared: &[u8; 32], ephemeral: &BoxPublicKey, recipient: &BoxPublicKey) -> Zeroizing<[u8; 32]> {
    derive_key(shared, labels::DERIVE_SEALED_BOX, &[ephemeral.as_bytes(), recipient.as_bytes()])
}

/// HKDF-SHA256 (RFC 5869) without salt; `info` is the label, followed by the parts, each of a fixed length.
#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8,160 bytes; a silent zero key would be worse")]
pub fn derive_key(secret: &[u8], label: &str, parts: &[&[u8; 32]]) -> Zeroizing<[u8; 32]> {
    let info: Vec<u8> = label.bytes().chain(parts.iter().flat_map(|part| part.iter().copied())).collect();
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, secret).expand(&info, &mut key[..]).expect("32 bytes are within HKDF-SHA256's bound");
    key
}

#[expect(clippy::expect_used, reason = "fails beyond 256 GiB only; returning nothing would lose the value silently")]
fn encrypt(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    XChaCha20Poly1305::new(key.into())
        .encrypt(nonce.into(), Payload { msg: plaintext, aad: context })
        .expect("a value in memory is shorter than the cipher's bound")
}

fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    context: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    XChaCha20Poly1305::new(key.into())
        .decrypt(nonce.into(), Payload { msg: ciphertext, aad: context })
        .map(Zeroizing::new)
        .map_err(|_| SealError::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).expect("hex").try_into().expect("the length of the vector")
    }

    fn store_key() -> StoreKey {
        StoreKey::from_bytes(&[3; 32])
    }

    fn bob() -> BoxSecretKey {
        BoxSecretKey::from_seed(&[2; 32])
    }

    fn to_bob() -> SealedBox {
        SealedBox::seal(&bob().public_key(), b"invite", b"hello bob", Zeroizing::new([5; 32]))
            .expect("bob's key is good")
    }

    #[test]
    fn alice_seals_a_value_and_opens_it_in_its_place_only() {
        let sealed = store_key().seal(b"messages/1", b"hello", NONCE);
        assert_eq!(sealed.len(), 5 + STORE_OVERHEAD, "sealing adds a fixed number of bytes");
        let opened = store_key().open(b"messages/1", &sealed).expect("alice opens her own value");
        assert_eq!(opened.as_slice(), b"hello", "what goes in comes out");
        assert_eq!(
            store_key().open(b"messages/2", &sealed),
            Err(SealError::Refused),
            "a value moved to another place is refused"
        );
        assert_eq!(
            StoreKey::from_bytes(&[4; 32]).open(b"messages/1", &sealed),
            Err(SealError::Refused),
            "another key opens nothing"
        );
        let derived = StoreKey::derive(&[3; 32]).open(b"messages/1", &sealed);
        assert_eq!(derived, Err(SealError::Refused), "a derived key is not the secret itself");
    }

    #[test]
    fn a_value_of_another_version_or_cut_short_is_refused_by_its_fault() {
        let mut sealed = store_key().seal(b"", b"", NONCE);
        assert_eq!(store_key().open(b"", &sealed).expect("an empty value").as_slice(), b"", "empty values exist");
        let min = STORE_OVERHEAD;
        assert_eq!(store_key().open(b"", &[]), Err(SealError::TooShort { min, got: 0 }), "nothing is no value");
        let cut = &sealed[..min - 1];
        assert_eq!(store_key().open(b"", cut), Err(SealError::TooShort { min, got: min - 1 }), "the tag is cut");
        sealed[0] = 2;
        assert_eq!(store_key().open(b"", &sealed), Err(SealError::Version { got: 2 }), "a later version says so");
    }

    #[test]
    fn alice_seals_to_bob_and_eve_opens_nothing() {
        assert_eq!(to_bob().open(&bob(), b"invite").expect("bob opens").as_slice(), b"hello bob", "bob reads it");
        assert_eq!(to_bob().open(&bob(), b"other"), Err(SealError::Refused), "another context is refused");
        let eve = BoxSecretKey::from_seed(&[66; 32]);
        assert_eq!(to_bob().open(&eve, b"invite"), Err(SealError::Refused), "eve's key opens nothing");
        let other_seed = SealedBox::seal(&bob().public_key(), b"invite", b"hello bob", Zeroizing::new([6; 32]));
        assert_ne!(other_seed.expect("sealed").ciphertext, to_bob().ciphertext, "each box has its own key");
    }

    #[test]
    fn a_box_to_a_key_of_small_order_is_refused_on_both_sides() {
        for point in [
            [0; 32],
            bytes("0100000000000000000000000000000000000000000000000000000000000000"),
            bytes("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            bytes("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        ] {
            let weak = BoxPublicKey(point);
            let sealed = SealedBox::seal(&weak, b"", b"secret", Zeroizing::new([5; 32]));
            assert_eq!(sealed, Err(SealError::SmallOrder), "alice does not seal to everybody");
            let from_eve = SealedBox { ephemeral: weak, ..to_bob() };
            assert_eq!(from_eve.open(&bob(), b"invite"), Err(SealError::SmallOrder), "bob does not open it");
        }
    }

    #[test]
    fn a_box_cut_short_is_refused() {
        let cut = SealedBox { ciphertext: Bytes(vec![0; 15]), ..to_bob() };
        assert_eq!(
            cut.open(&bob(), b"invite"),
            Err(SealError::TooShort { min: TAG_BYTES, got: 15 }),
            "there is no room for a tag"
        );
    }

    #[test]
    fn debug_of_secrets_shows_nothing() {
        assert_eq!(format!("{:?}", store_key()), "StoreKey(…)", "a store key must never reach a log");
        assert_eq!(format!("{:?}", bob()), "BoxSecretKey(…)", "a box key must never reach a log");
    }

    #[test]
    fn stored_values_are_xchacha20_poly1305_of_draft_irtf_cfrg_xchacha_a_3_1() {
        let key = StoreKey::from_bytes(&bytes("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"));
        let nonce = bytes("404142434445464748494a4b4c4d4e4f5051525354555657");
        let context: [u8; 12] = bytes("50515253c0c1c2c3c4c5c6c7");
        let plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                          sunscreen would be it.";
        let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
                        ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                        21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";
        let sealed = key.seal(&context, plaintext, nonce);
        assert_eq!(hex::encode(&sealed[25..]), expected, "ciphertext and tag of the draft");
    }

    #[test]
    fn agreement_is_x25519_of_rfc_7748_section_6_1() {
        let alice = BoxSecretKey::from_seed(&bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        let bob = BoxSecretKey::from_seed(&bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        assert_eq!(alice.public_key().to_string(), public, "alice's public key of the RFC");
        let shared = alice.agree(&bob.public_key()).expect("both contribute");
        assert_eq!(
            hex::encode(&shared[..]),
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
            "the shared secret of the RFC"
        );
    }

    #[test]
    fn derivation_is_hkdf_sha256_of_rfc_5869_a_3() {
        let key = derive_key(&[0x0b; 22], "", &[]);
        assert_eq!(
            hex::encode(&key[..]),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d",
            "the first 32 bytes of test case 3"
        );
    }

    proptest! {
        #[test]
        fn a_changed_byte_opens_nothing(position in 0_usize..64, mask in 1_u8..=255) {
            let mut sealed = store_key().seal(b"place", b"a value", NONCE);
            let position = position % sealed.len();
            sealed[position] ^= mask;
            prop_assert!(store_key().open(b"place", &sealed).is_err(), "byte {} is not protected", position);
        }

        #[test]
        fn a_changed_ephemeral_key_opens_nothing(position in 0_usize..32, mask in 1_u8..=255) {
            let mut sealed = to_bob();
            sealed.ephemeral.0[position] ^= mask;
            prop_assert!(sealed.open(&bob(), b"invite").is_err(), "byte {} of the key is not protected", position);
        }
    }
}
