//! What goes to a push service, sealed for the device alone: RFC 8291 over RFC 8188.

use roost_protocol::push::{AUTH_BYTES, POINT_BYTES};
use web_push_native::Auth;
use web_push_native::p256::PublicKey;

/// Why nothing can be sealed for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// `p256dh` is no point of the curve.
    #[error("p256dh: expected {POINT_BYTES} bytes, an uncompressed point of P-256")]
    Point,
    /// `auth` has another length.
    #[error("auth: expected {AUTH_BYTES} bytes")]
    Auth,
    /// The library refused.
    #[error("the push was not sealed")]
    Sealing,
}

/// Whether something can be sealed for a subscription.
///
/// # Errors
/// [`SealError`].
pub fn check_keys(p256dh: &[u8], auth: &[u8]) -> Result<(), SealError> {
    keys(p256dh, auth).map(|_| ())
}

fn keys(p256dh: &[u8], auth: &[u8]) -> Result<(PublicKey, Auth), SealError> {
    if p256dh.len() != POINT_BYTES {
        return Err(SealError::Point);
    }
    let point = PublicKey::from_sec1_bytes(p256dh).map_err(|_| SealError::Point)?;
    let auth: [u8; AUTH_BYTES] = auth.try_into().map_err(|_| SealError::Auth)?;
    Ok((point, Auth::from(auth)))
}

/// Seals a payload; salt and sender's key are drawn by the library, anew for each.
///
/// # Errors
/// [`SealError`].
pub(super) fn seal(payload: &[u8], p256dh: &[u8], auth: &[u8]) -> Result<Vec<u8>, SealError> {
    let (point, auth) = keys(p256dh, auth)?;
    web_push_native::encrypt(payload.to_vec(), &point, &auth).map_err(|_| SealError::Sealing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use web_push_native::p256::SecretKey;
    use web_push_native::p256::elliptic_curve::sec1::ToEncodedPoint as _;

    #[test]
    fn what_is_sealed_opens_for_the_subscription_alone() {
        let device = SecretKey::from_slice(&[7; 32]).unwrap();
        let point = device.public_key().to_encoded_point(false);
        let sealed = seal(b"something is new", point.as_bytes(), &[9; 16]).unwrap();
        let opened = web_push_native::decrypt(sealed.clone(), &device, &Auth::from([9; 16])).unwrap();
        assert_eq!(opened, b"something is new", "it opens");
        assert!(
            web_push_native::decrypt(sealed.clone(), &device, &Auth::from([8; 16])).is_err(),
            "not without the secret"
        );
        let other = SecretKey::from_slice(&[6; 32]).unwrap();
        assert!(
            web_push_native::decrypt(sealed.clone(), &other, &Auth::from([9; 16])).is_err(),
            "nor with another key"
        );
        assert_ne!(sealed, seal(b"something is new", point.as_bytes(), &[9; 16]).unwrap(), "no two are the same");
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let device = SecretKey::from_slice(&[7; 32]).unwrap();
        let point = device.public_key().to_encoded_point(false).as_bytes().to_vec();
        assert_eq!(check_keys(&point, &[9; 16]), Ok(()), "these fit");
        assert_eq!(check_keys(&point, &[9; 15]), Err(SealError::Auth), "a short secret");
        assert_eq!(check_keys(&[4; 65], &[9; 16]), Err(SealError::Point), "no point of the curve");
        let compressed = device.public_key().to_encoded_point(true).as_bytes().to_vec();
        assert_eq!(check_keys(&compressed, &[9; 16]), Err(SealError::Point), "another form");
        assert_eq!(check_keys(&[0], &[9; 16]), Err(SealError::Point), "the point at infinity");
    }
}
