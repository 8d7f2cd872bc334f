//! The one cipher suite, as OpenMLS asks for its parts: every call is RustCrypto's, with the algorithm of the suite as a constant.
//!
//! RustCrypto serves all suites of MLS by a value at run time; given constants, the compiler can leave the other curves, ciphers
//! and KEMs out of what a page loads. Any other algorithm is refused before it is called.

use super::public::SUITE;
use hpke_rs::{Hpke, HpkeError, Mode};
use hpke_rs_crypto::HpkeCrypto;
use hpke_rs_crypto::error::Error;
use hpke_rs_crypto::types::{AeadAlgorithm, KdfAlgorithm, KemAlgorithm};
use hpke_rs_rust_crypto::HpkeRustCrypto;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeAeadType, HpkeCiphertext, HpkeConfig,
    HpkeKdfType, HpkeKemType, HpkeKeyPair, SignatureScheme,
};
use tls_codec::SecretVLBytes;

const HASH: HashType = HashType::Sha2_256;
const AEAD: AeadType = AeadType::ChaCha20Poly1305;
const SIGNATURE: SignatureScheme = SignatureScheme::ED25519;
const HPKE: HpkeConfig = HpkeConfig(HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::ChaCha20Poly1305);
const KEM: KemAlgorithm = KemAlgorithm::DhKem25519;
const KDF: KdfAlgorithm = KdfAlgorithm::HkdfSha256;
const HPKE_AEAD: AeadAlgorithm = AeadAlgorithm::ChaCha20Poly1305;

/// The suite's cryptography, and randomness for it.
#[derive(Debug, Default)]
pub(super) struct Suite(RustCrypto);

fn only<T: PartialEq, E>(given: T, ours: T, error: E) -> Result<(), E> {
    if given == ours { Ok(()) } else { Err(error) }
}

fn hash(given: HashType) -> Result<(), CryptoError> {
    only(given, HASH, CryptoError::UnsupportedHashAlgorithm)
}

fn aead(given: AeadType) -> Result<(), CryptoError> {
    only(given, AEAD, CryptoError::UnsupportedAeadAlgorithm)
}

fn signature(given: SignatureScheme) -> Result<(), CryptoError> {
    only(given, SIGNATURE, CryptoError::UnsupportedSignatureScheme)
}

fn hpke(given: HpkeConfig) -> Result<Hpke<Parts>, CryptoError> {
    let same = given.0 == HPKE.0 && given.1 == HPKE.1 && given.2 == HPKE.2;
    if !same {
        return Err(CryptoError::UnsupportedCiphersuite);
    }
    Ok(Hpke::new(Mode::Base, KEM, KDF, HPKE_AEAD))
}

fn failed(error: HpkeError) -> CryptoError {
    match error {
        HpkeError::InvalidInput => CryptoError::InvalidLength,
        _ => CryptoError::CryptoLibraryError,
    }
}

impl OpenMlsCrypto for Suite {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        only(ciphersuite, SUITE, CryptoError::UnsupportedCiphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        vec![SUITE]
    }

    fn hkdf_extract(&self, hash_type: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        hash(hash_type)?;
        self.0.hkdf_extract(HASH, salt, ikm)
    }

    fn hmac(&self, hash_type: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        hash(hash_type)?;
        self.0.hmac(HASH, key, message)
    }

    fn hkdf_expand(
        &self,
        hash_type: HashType,
        prk: &[u8],
        info: &[u8],
        okm_len: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        hash(hash_type)?;
        self.0.hkdf_expand(HASH, prk, info, okm_len)
    }

    fn hash(&self, hash_type: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        hash(hash_type)?;
        self.0.hash(HASH, data)
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        aead(alg)?;
        self.0.aead_encrypt(AEAD, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        aead(alg)?;
        self.0.aead_decrypt(AEAD, key, ct_tag, nonce, aad)
    }

    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        signature(alg)?;
        self.0.signature_key_gen(SIGNATURE)
    }

    fn verify_signature(&self, alg: SignatureScheme, data: &[u8], pk: &[u8], signed: &[u8]) -> Result<(), CryptoError> {
        signature(alg)?;
        self.0.verify_signature(SIGNATURE, data, pk, signed)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        signature(alg)?;
        self.0.sign(SIGNATURE, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        let sealed = hpke(config)?.seal(&pk_r.into(), info, aad, ptxt, None, None, None);
        let (kem_output, ciphertext) = sealed.map_err(failed)?;
        Ok(HpkeCiphertext { kem_output: kem_output.into(), ciphertext: ciphertext.into() })
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let (kem_output, ciphertext) = (input.kem_output.as_slice(), input.ciphertext.as_slice());
        let opened = hpke(config)?.open(kem_output, &sk_r.into(), info, aad, ciphertext, None, None, None);
        opened.map_err(|_| CryptoError::HpkeDecryptionError)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<(Vec<u8>, ExporterSecret), CryptoError> {
        let begun = hpke(config)?.setup_sender(&pk_r.into(), info, None, None, None);
        let (kem_output, context) = begun.map_err(|_| CryptoError::SenderSetupError)?;
        let exported = context.export(exporter_context, exporter_length).map_err(|_| CryptoError::ExporterError)?;
        Ok((kem_output, exported.into()))
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        sk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        let begun = hpke(config)?.setup_receiver(enc, &sk_r.into(), info, None, None, None);
        let context = begun.map_err(|_| CryptoError::ReceiverSetupError)?;
        let exported = context.export(exporter_context, exporter_length).map_err(|_| CryptoError::ExporterError)?;
        Ok(exported.into())
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        let (private, public) = hpke(config)?.derive_key_pair(ikm).map_err(failed)?.into_keys();
        Ok(HpkeKeyPair { private: private.as_slice().into(), public: public.as_slice().into() })
    }
}

impl OpenMlsRand for Suite {
    type Error = <RustCrypto as OpenMlsRand>::Error;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], Self::Error> {
        self.0.random_array()
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, Self::Error> {
        self.0.random_vec(len)
    }
}

/// What HPKE of the suite is made of.
#[derive(Debug)]
struct Parts;

fn kem(given: KemAlgorithm) -> Result<(), Error> {
    only(given, KEM, Error::UnknownKemAlgorithm)
}

fn kdf(given: KdfAlgorithm) -> Result<(), Error> {
    only(given, KDF, Error::UnknownKdfAlgorithm)
}

fn hpke_aead(given: AeadAlgorithm) -> Result<(), Error> {
    only(given, HPKE_AEAD, Error::UnknownAeadAlgorithm)
}

impl HpkeCrypto for Parts {
    type HpkePrng = <HpkeRustCrypto as HpkeCrypto>::HpkePrng;

    fn name() -> String {
        HpkeRustCrypto::name()
    }

    fn supports_kdf(alg: KdfAlgorithm) -> Result<(), Error> {
        kdf(alg)
    }

    fn supports_kem(alg: KemAlgorithm) -> Result<(), Error> {
        kem(alg)
    }

    fn supports_aead(alg: AeadAlgorithm) -> Result<(), Error> {
        hpke_aead(alg)
    }

    fn prng() -> Self::HpkePrng {
        HpkeRustCrypto::prng()
    }

    fn kdf_extract(alg: KdfAlgorithm, salt: &[u8], ikm: &[u8]) -> Result<Vec<u8>, Error> {
        kdf(alg)?;
        HpkeRustCrypto::kdf_extract(KDF, salt, ikm)
    }

    fn kdf_expand(alg: KdfAlgorithm, prk: &[u8], info: &[u8], output_size: usize) -> Result<Vec<u8>, Error> {
        kdf(alg)?;
        HpkeRustCrypto::kdf_expand(KDF, prk, info, output_size)
    }

    fn dh(alg: KemAlgorithm, pk: &[u8], sk: &[u8]) -> Result<Vec<u8>, Error> {
        kem(alg)?;
        HpkeRustCrypto::dh(KEM, pk, sk)
    }

    fn secret_to_public(alg: KemAlgorithm, sk: &[u8]) -> Result<Vec<u8>, Error> {
        kem(alg)?;
        HpkeRustCrypto::secret_to_public(KEM, sk)
    }

    fn kem_key_gen(alg: KemAlgorithm, prng: &mut Self::HpkePrng) -> Result<(Vec<u8>, Vec<u8>), Error> {
        kem(alg)?;
        HpkeRustCrypto::kem_key_gen(KEM, prng)
    }

    // These three belong to KEMs that are no Diffie-Hellman.
    fn kem_key_gen_derand(_: KemAlgorithm, _: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
        Err(Error::UnsupportedKemOperation)
    }

    fn kem_encaps(_: KemAlgorithm, _: &[u8], _: &mut Self::HpkePrng) -> Result<(Vec<u8>, Vec<u8>), Error> {
        Err(Error::UnsupportedKemOperation)
    }

    fn kem_decaps(_: KemAlgorithm, _: &[u8], _: &[u8]) -> Result<Vec<u8>, Error> {
        Err(Error::UnsupportedKemOperation)
    }

    fn dh_validate_sk(alg: KemAlgorithm, sk: &[u8]) -> Result<Vec<u8>, Error> {
        kem(alg)?;
        HpkeRustCrypto::dh_validate_sk(KEM, sk)
    }

    fn aead_seal(alg: AeadAlgorithm, key: &[u8], nonce: &[u8], aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, Error> {
        hpke_aead(alg)?;
        HpkeRustCrypto::aead_seal(HPKE_AEAD, key, nonce, aad, msg)
    }

    fn aead_open(alg: AeadAlgorithm, key: &[u8], nonce: &[u8], aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, Error> {
        hpke_aead(alg)?;
        HpkeRustCrypto::aead_open(HPKE_AEAD, key, nonce, aad, msg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_what_the_full_provider_seals_and_the_other_way_round_and_refuses_other_suites() {
        let (ours, theirs) = (Suite::default(), RustCrypto::default());
        let of_suite = SUITE.hpke_config();
        assert_eq!((HPKE.0, HPKE.1, HPKE.2), (of_suite.0, of_suite.1, of_suite.2), "the suite's own");
        let keys = ours.derive_hpke_keypair(HPKE, &[7; 32]).unwrap();
        let same = theirs.derive_hpke_keypair(HPKE, &[7; 32]).unwrap();
        assert_eq!((keys.public.clone(), keys.private.to_vec()), (same.public, same.private.to_vec()), "same keys");
        let sealed = ours.hpke_seal(HPKE, &keys.public, b"info", b"aad", b"words").unwrap();
        assert_eq!(theirs.hpke_open(HPKE, &sealed, &keys.private, b"info", b"aad").unwrap(), b"words", "ours there");
        let sealed = theirs.hpke_seal(HPKE, &keys.public, b"info", b"aad", b"words").unwrap();
        assert_eq!(ours.hpke_open(HPKE, &sealed, &keys.private, b"info", b"aad").unwrap(), b"words", "theirs here");
        assert!(ours.hpke_open(HPKE, &sealed, &keys.private, b"info", b"other").is_err(), "under its own aad only");
        assert!(ours.hash(HashType::Sha2_512, b"").is_err(), "another hash");
        assert!(ours.signature_key_gen(SignatureScheme::ECDSA_SECP256R1_SHA256).is_err(), "another curve");
        let other = HpkeConfig(HpkeKemType::DhKemP256, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128);
        assert!(ours.derive_hpke_keypair(other, &[7; 32]).is_err(), "another KEM");
        assert_eq!(ours.supported_ciphersuites(), [SUITE], "one suite");
    }
}
