//! The recovery code: 128 random bits, shown once at sign-up, from which R and the archive key follow.
//!
//! It never leaves the device but on paper, is wiped on drop, and its `Debug` shows nothing; there is no `Display`, so
//! that no log line prints it by accident.
//!
//! Implements `docs/protocol.md`, section "Recovery code".

use crate::code::{ALPHABET, BitCursor, crc32, is_dash, value_of};
use crate::keys::SecretKey;
use crate::labels;
use crate::sealing::derive_key;
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of randomness in a code.
pub const ENTROPY_BYTES: usize = 16;
/// Characters of a code without its dashes: 128 bits and a checksum of 32 bits, 5 bits a character.
pub const CODE_CHARACTERS: usize = 32;
/// Characters between two dashes.
const GROUP_CHARACTERS: usize = 4;

/// Why a text is no recovery code. Repeats nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// Too few or too many characters.
    #[error("expected {CODE_CHARACTERS} letters and digits, got {got}")]
    Length {
        /// Characters found, without spaces and dashes.
        got: usize,
    },
    /// A character that no code has.
    #[error("character {position} is not one of a recovery code")]
    Character {
        /// Which one, from 1, without spaces and dashes.
        position: usize,
    },
    /// All characters are possible and one or more are wrong.
    #[error("the recovery code has a typing error")]
    Checksum,
}

/// A recovery code.
pub struct RecoveryCode(Zeroizing<[u8; ENTROPY_BYTES]>);

impl RecoveryCode {
    /// From 16 bytes of the system's randomness.
    pub fn from_entropy(mut entropy: [u8; ENTROPY_BYTES]) -> Self {
        let code = Self(Zeroizing::new(entropy));
        entropy.zeroize();
        code
    }

    /// Reads what a person typed: either case, any spaces and dashes, `O` for `0`, `I` and `L` for `1`.
    ///
    /// # Errors
    /// [`RecoveryError`]; the checksum detects every error within six neighbouring characters, thus every wrong
    /// character and every swap of two neighbours, and all but one in 2^32 of the others.
    pub fn parse(text: &str) -> Result<Self, RecoveryError> {
        let typed = || text.chars().filter(|character| !character.is_whitespace() && !is_dash(*character));
        let got = typed().count();
        if got != CODE_CHARACTERS {
            return Err(RecoveryError::Length { got });
        }
        let mut bytes = Zeroizing::new([0_u8; ENTROPY_BYTES + 4]);
        let mut bits = BitCursor::default();
        for (index, character) in typed().enumerate() {
            let value = value_of(character).ok_or(RecoveryError::Character { position: index + 1 })?;
            bits.write(&mut bytes[..], value);
        }
        let (entropy, checksum) = bytes.split_at(ENTROPY_BYTES);
        if crc32(entropy).to_be_bytes() != checksum {
            return Err(RecoveryError::Checksum);
        }
        let mut code = Zeroizing::new([0; ENTROPY_BYTES]);
        code.copy_from_slice(entropy);
        Ok(Self(code))
    }

    /// The text to write down: 8 groups of 4 characters with dashes between them.
    pub fn text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0_u8; ENTROPY_BYTES + 4]);
        let (entropy, checksum) = bytes.split_at_mut(ENTROPY_BYTES);
        entropy.copy_from_slice(&self.0[..]);
        checksum.copy_from_slice(&crc32(&self.0[..]).to_be_bytes());

        // Allocated once at its full length, so that no copy stays behind in the heap.
        let mut text = Zeroizing::new(String::with_capacity(CODE_CHARACTERS + CODE_CHARACTERS / GROUP_CHARACTERS));
        let mut bits = BitCursor::default();
        for index in 0..CODE_CHARACTERS {
            if index > 0 && index % GROUP_CHARACTERS == 0 {
                text.push('-');
            }
            let value = usize::from(bits.read(&bytes[..]));
            text.extend(ALPHABET.get(value).copied().map(char::from));
        }
        text
    }

    /// R, the account's root key. Used at sign-up and recovery, then dropped.
    pub fn account_key(&self) -> SecretKey {
        SecretKey::from_seed(&derive_key(&self.0[..], labels::DERIVE_ACCOUNT_KEY, &[]))
    }

    /// The key of the account's archive.
    pub fn archive_key(&self) -> Zeroizing<[u8; 32]> {
        derive_key(&self.0[..], labels::DERIVE_ARCHIVE_KEY, &[])
    }
}

impl FromStr for RecoveryCode {
    type Err = RecoveryError;

    fn from_str(text: &str) -> Result<Self, RecoveryError> {
        Self::parse(text)
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RecoveryCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{PublicKey, Signature};
    use proptest::prelude::*;

    fn alices() -> RecoveryCode {
        RecoveryCode::from_entropy(*b"alice's 16 bytes")
    }

    fn refusal(text: &str) -> RecoveryError {
        RecoveryCode::parse(text).expect_err("the text must be refused")
    }

    #[test]
    fn alice_writes_her_code_down_and_gets_her_account_back() {
        let text = alices().text();
        assert_eq!(text.len(), 39, "eight groups of four and seven dashes");
        assert!(text.split('-').all(|group| group.len() == 4), "groups are short enough to read aloud");

        for typed in [
            text.to_string(),
            text.to_lowercase(),
            text.replace('-', ""),
            text.replace('-', " \u{2013} "),
            format!("\n {} ", text.replace('-', "  ")),
            text.replace('0', "o").replace('1', "l"),
            text.replace('1', "I"),
        ] {
            let read: RecoveryCode = typed.parse().expect("a code is read however it is typed");
            assert_eq!(
                read.account_key().public_key(),
                alices().account_key().public_key(),
                "the same code gives the same account"
            );
        }
    }

    #[test]
    fn the_text_and_the_keys_never_change_between_versions() {
        // Computed by a second program (Python, standard library only) from the description above.
        assert_eq!(alices().text().as_str(), "C5P6-JRV5-4XSJ-0C9P-41H7-JX35-EEFZ-2CN7", "people hold this on paper");
        let seed = "79ca502fb9a28aff5feb84aaf6159f2063d6ad14958ae021896153f49403bc73";
        assert_eq!(hex::encode(&alices().account_key().seed()[..]), seed, "the root key follows from the paper");
        let archive = "77e76cf2e2de1079040e76bc08443704c15706ae0f81da8461318e656cb5d826";
        assert_eq!(hex::encode(&alices().archive_key()[..]), archive, "the archive opens with the paper");
    }

    #[test]
    fn the_two_keys_differ_and_follow_the_code() {
        let code = alices();
        assert_ne!(code.account_key().seed(), code.archive_key(), "two labels give two keys");
        let other = RecoveryCode::from_entropy(*b"bob's sixteen by");
        assert_ne!(code.archive_key(), other.archive_key(), "two codes give two keys");
    }

    #[test]
    fn every_wrong_character_and_every_swap_is_noticed() {
        let text = alices().text().replace('-', "");
        for position in 0..CODE_CHARACTERS {
            for letter in ALPHABET.iter().copied().map(char::from) {
                let mut typed: Vec<char> = text.chars().collect();
                if typed[position] != letter {
                    typed[position] = letter;
                    let typed: String = typed.into_iter().collect();
                    assert_eq!(refusal(&typed), RecoveryError::Checksum, "a wrong character {position} is noticed");
                }
            }
            let mut typed: Vec<char> = text.chars().collect();
            if position > 0 && typed[position - 1] != typed[position] {
                typed.swap(position - 1, position);
                let typed: String = typed.into_iter().collect();
                assert_eq!(refusal(&typed), RecoveryError::Checksum, "a swap at {position} is noticed");
            }
        }
    }

    #[test]
    fn what_is_no_code_is_refused_by_its_fault() {
        let text = alices().text();
        assert_eq!(refusal(""), RecoveryError::Length { got: 0 }, "nothing is no code");
        assert_eq!(refusal(&text[1..]), RecoveryError::Length { got: 31 }, "a character is missing");
        assert_eq!(refusal(&format!("{}A", *text)), RecoveryError::Length { got: 33 }, "a character too many");
        let with_u = format!("U{}", &text[1..]);
        assert_eq!(refusal(&with_u), RecoveryError::Character { position: 1 }, "codes have no U");
        let with_umlaut = format!("{}ä", &text[..text.len() - 1]);
        assert_eq!(refusal(&with_umlaut), RecoveryError::Character { position: 32 }, "codes have no umlaut");
    }

    #[test]
    fn debug_of_a_code_shows_nothing() {
        assert_eq!(format!("{:?}", alices()), "RecoveryCode(…)", "a code must never reach a log");
    }

    #[test]
    fn root_keys_sign_as_rfc_8032_test_1_says() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
                         d25bf5f0595bbe24655141438e7a100b";
        let seed: [u8; 32] = hex::decode(seed).expect("hex").try_into().expect("32 bytes");
        let key = SecretKey::from_seed(&seed);
        assert_eq!(key.public_key(), public.parse::<PublicKey>().expect("hex"), "public key of RFC 8032 test 1");
        assert_eq!(key.sign_raw(b""), signature.parse::<Signature>().expect("hex"), "signature of RFC 8032 test 1");
    }

    proptest! {
        #[test]
        fn every_code_is_read_back(entropy: [u8; 16]) {
            let read = RecoveryCode::parse(&RecoveryCode::from_entropy(entropy).text());
            prop_assert_eq!(*read.expect("a written code is read").0, entropy, "no bit gets lost on paper");
        }

        #[test]
        fn any_text_is_read_without_a_crash(text in ".{0,80}") {
            let _ = RecoveryCode::parse(&text);
        }
    }
}
