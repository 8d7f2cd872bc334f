//! What a node proves itself with to push services: one key of its own, and a short-lived token for each of them (RFC 8292).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use web_push_native::p256::ecdsa::signature::Signer as _;
use web_push_native::p256::ecdsa::{Signature, SigningKey};

/// Life of a token, seconds: RFC 8292 allows a day, and clocks differ.
const TOKEN_LIFE_S: u64 = 12 * 3600;

/// The bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key of P-256")]
pub struct KeyError;

/// The key; overwritten when it goes.
pub struct VapidKey(SigningKey);

impl std::fmt::Debug for VapidKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("VapidKey(..)")
    }
}

impl VapidKey {
    /// From 32 random bytes; one of some four billion is no key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        SigningKey::from_slice(seed).map(Self).map_err(|_| KeyError)
    }

    /// What a browser subscribes with: an uncompressed point.
    pub fn public_key(&self) -> Vec<u8> {
        self.0.verifying_key().to_encoded_point(false).as_bytes().to_vec()
    }

    /// The value of `Authorization` for one push service.
    pub(super) fn authorization(&self, audience: &str, now_s: u64, contact: Option<&str>) -> String {
        let expires = now_s.saturating_add(TOKEN_LIFE_S);
        let contact = contact.map(|contact| format!(",\"sub\":{}", quoted(contact))).unwrap_or_default();
        let claims = format!("{{\"aud\":{},\"exp\":{expires}{contact}}}", quoted(audience));
        let header = base64url(b"{\"typ\":\"JWT\",\"alg\":\"ES256\"}");
        let signed = format!("{header}.{}", base64url(claims.as_bytes()));
        let signature: Signature = self.0.sign(signed.as_bytes());
        let signature = base64url(&signature.to_bytes());
        format!("vapid t={signed}.{signature}, k={}", base64url(&self.public_key()))
    }
}

/// Base64 of URLs without padding.
pub(super) fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// As a string of JSON: what a config and a parsed URL hold has no control characters.
fn quoted(text: &str) -> String {
    let escaped: String = text.chars().filter(|char| !char.is_control()).flat_map(escape).collect();
    format!("\"{escaped}\"")
}

fn escape(char: char) -> Vec<char> {
    if matches!(char, '"' | '\\') { vec!['\\', char] } else { vec![char] }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use web_push_native::p256::ecdsa::VerifyingKey;
    use web_push_native::p256::ecdsa::signature::Verifier as _;

    #[test]
    fn a_token_is_signed_for_one_push_service_and_ends() {
        let key = VapidKey::from_seed(&[5; 32]).unwrap();
        let value = key.authorization("https://push.example.com", 1_000, Some("mailto:op@acme.example"));
        let (token, public) = value.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        assert_eq!(decode(public), key.public_key(), "the key stands beside it");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let verifier = VerifyingKey::from_sec1_bytes(&decode(public)).unwrap();
        let signature = Signature::from_slice(&decode(signature)).unwrap();
        assert!(verifier.verify(signed.as_bytes(), &signature).is_ok(), "the signature fits");
        let claims = decode(signed.split_once('.').unwrap().1);
        let expected = "{\"aud\":\"https://push.example.com\",\"exp\":44200,\"sub\":\"mailto:op@acme.example\"}";
        assert_eq!(String::from_utf8(claims).unwrap(), expected, "for whom, until when, from whom");
        assert!(!key.authorization("https://a", 0, None).is_empty(), "a contact need not be");
    }

    #[test]
    fn the_key_is_in_no_log_and_zeros_are_none() {
        let key = VapidKey::from_seed(&[5; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "VapidKey(..)");
        assert!(VapidKey::from_seed(&[0; 32]).is_err(), "zero");
        assert!(VapidKey::from_seed(&[255; 32]).is_err(), "over the order of the curve");
    }

    #[test]
    fn text_is_quoted() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\"");
    }
}
