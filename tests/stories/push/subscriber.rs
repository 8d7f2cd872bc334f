//! A subscription as its device has it: keys, and how a push is opened. Written from RFC 8291 and RFC 8188, of no code that the
//! node uses for sealing, and held to the example of RFC 8291.

use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{Aes128Gcm, Nonce};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use p256::ecdsa::signature::Verifier as _;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{PublicKey, SecretKey};
use sha2::Sha256;

pub fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Keys of one subscription.
pub struct Subscriber {
    secret: SecretKey,
    pub auth: Vec<u8>,
}

impl Subscriber {
    pub fn new(seed: u8) -> Self {
        Self { secret: SecretKey::from_slice(&[seed; 32]).unwrap(), auth: vec![seed.wrapping_add(1); 16] }
    }

    pub fn public_key(&self) -> Vec<u8> {
        self.secret.public_key().to_encoded_point(false).as_bytes().to_vec()
    }

    /// What is given to a home behind the address.
    pub fn keys(&self) -> [String; 2] {
        [base64url(&self.public_key()), base64url(&self.auth)]
    }

    /// RFC 8291, section 3; `None` where it is not for us.
    pub fn open(&self, body: &[u8]) -> Option<Vec<u8>> {
        // RFC 8188, section 2.1: salt, record size, length of the key id, key id.
        let (salt, rest) = body.split_at_checked(16)?;
        let (size, rest) = rest.split_at_checked(4)?;
        let (length, rest) = rest.split_first()?;
        let (sender, record) = rest.split_at_checked(usize::from(*length))?;
        assert!(record.len() <= u32::from_be_bytes(size.try_into().unwrap()) as usize, "one record");
        let shared = p256::ecdh::diffie_hellman(
            self.secret.to_nonzero_scalar(),
            PublicKey::from_sec1_bytes(sender).ok()?.as_affine(),
        );
        let info = [b"WebPush: info\0", self.public_key().as_slice(), sender].concat();
        let ikm = derive::<32>(&self.auth, shared.raw_secret_bytes(), &info);
        let key = derive::<16>(salt, &ikm, b"Content-Encoding: aes128gcm\0");
        let nonce = derive::<12>(salt, &ikm, b"Content-Encoding: nonce\0");
        let mut plain = Aes128Gcm::new(&key.into()).decrypt(&Nonce::from(nonce), record).ok()?;
        // The last record ends with 2 and zeros.
        while plain.last() == Some(&0) {
            plain.pop();
        }
        (plain.pop() == Some(2)).then_some(plain)
    }
}

fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut out).unwrap();
    out
}

/// Checks the value of `Authorization` (RFC 8292) and gives the claims and the key.
pub fn vapid(authorization: &str) -> (serde_json::Value, Vec<u8>) {
    let (token, key) = authorization.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: serde_json::Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(header["alg"], "ES256", "the algorithm of RFC 8292");
    let key = decode(key);
    let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&key).unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&decode(signature)).unwrap();
    verifier.verify(signed.as_bytes(), &signature).expect("the token is signed by the key beside it");
    (serde_json::from_slice(&decode(claims)).unwrap(), key)
}

#[test]
fn the_example_of_rfc_8291_opens() {
    let subscriber = Subscriber {
        secret: SecretKey::from_slice(&decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).unwrap(),
        auth: decode("BTBZMqHH6r4Tts7J_aSIgg"),
    };
    let body = decode(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
    );
    assert_eq!(subscriber.open(&body).unwrap(), b"When I grow up, I want to be a watermelon", "RFC 8291, section 5");
    assert_eq!(Subscriber::new(7).open(&body), None, "and for nobody else");
}
