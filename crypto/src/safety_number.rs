//! The safety number: 60 digits that two people compare to know that nobody stands between them.
//!
//! Over the two account root keys and nothing else: devices and homes may change, the number stays. It holds no secret.
//! After Signal's numeric fingerprint (`libsignal`, `NumericFingerprintGenerator`): 30 digits a side from an iterated
//! SHA-512, sorted; the number of rounds makes a look-alike key, found by trying, 5,200 times dearer.
//!
//! Implements `docs/protocol.md`, section "Safety number".

use crate::code::{self, CodeError};
use crate::keys::PublicKey;
use crate::labels;
use sha2::{Digest, Sha512};
use std::fmt;
use std::str::FromStr;

/// Rounds of the hash.
const ROUNDS: usize = 5_200;
/// Digits of a group.
const GROUP_DIGITS: usize = 5;
/// Bytes of the hash that give a group: 40 bits modulo 100,000, nearly without bias.
const GROUP_BYTES: usize = 5;
/// Groups of one side.
const SIDE_GROUPS: usize = 6;

/// What a code of a safety number begins with.
const CODE_PREFIX: &str = "ROOST-VERIFY-";
/// Of the code; the safety number itself has none, and never changes.
const CODE_VERSION: u8 = 1;
/// A version, two keys and a checksum, 5 bits a character.
const CODE_CHARACTERS_MAX: usize = 111;

/// What a QR code holds so that another device need not be read out: both roots as one device knows them, its own first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafetyCode {
    shown_by: PublicKey,
    shown_to: PublicKey,
}

impl SafetyCode {
    /// As the device of the first shows it to the second's.
    pub fn of(shown_by: &PublicKey, shown_to: &PublicKey) -> Self {
        Self { shown_by: *shown_by, shown_to: *shown_to }
    }
}

impl fmt::Display for SafetyCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[CODE_VERSION][..], self.shown_by.as_bytes(), self.shown_to.as_bytes()].concat();
        formatter.write_str(&code::write(CODE_PREFIX, &bytes))
    }
}

impl FromStr for SafetyCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let bytes = code::read(CODE_PREFIX, text, CODE_CHARACTERS_MAX)?;
        let (version, keys) = bytes.split_first().ok_or(CodeError::Version)?;
        let key = |bytes: &[u8]| bytes.try_into().ok().map(PublicKey);
        match keys.split_at_checked(32).map(|(by, to)| (key(by), key(to))) {
            Some((Some(shown_by), Some(shown_to))) if *version == CODE_VERSION => Ok(Self { shown_by, shown_to }),
            _ => Err(CodeError::Version),
        }
    }
}

/// 60 digits over two accounts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SafetyNumber(String);

impl SafetyNumber {
    /// The number of two accounts, whichever comes first. Takes milliseconds: compute it when it is shown.
    pub fn of(a: &PublicKey, b: &PublicKey) -> Self {
        let mut sides = [side(a), side(b)];
        sides.sort();
        Self(sides.concat())
    }

    /// The 60 digits without spaces.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafetyNumber {
    /// Twelve groups of five digits, one space between them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, digit) in self.0.chars().enumerate() {
            if index > 0 && index % GROUP_DIGITS == 0 {
                formatter.write_str(" ")?;
            }
            write!(formatter, "{digit}")?;
        }
        Ok(())
    }
}

/// The 30 digits of one account: `h = SHA-512(label, 0, key)`, then 5,200 times `h = SHA-512(h, key)`, of which the first
/// 30 bytes are six big-endian numbers modulo 100,000.
fn side(root: &PublicKey) -> String {
    let mut hash: [u8; 64] = Sha512::digest(labels::labelled(labels::SAFETY_NUMBER, root.as_bytes())).into();
    for _ in 0..ROUNDS {
        hash = Sha512::new().chain_update(hash).chain_update(root.as_bytes()).finalize().into();
    }
    hash.chunks_exact(GROUP_BYTES)
        .take(SIDE_GROUPS)
        .map(|chunk| chunk.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)))
        .map(|number| format!("{:05}", number % 100_000))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn root(seed: u8) -> PublicKey {
        SecretKey::from_seed(&[seed; 32]).public_key()
    }

    #[test]
    fn alice_and_bob_read_the_same_number_to_each_other() {
        let (alice, bob) = (root(1), root(2));
        let at_alice = SafetyNumber::of(&alice, &bob);
        assert_eq!(at_alice, SafetyNumber::of(&bob, &alice), "the order of the two does not matter");
        assert_eq!(at_alice.digits().len(), 60, "there are sixty digits");
        assert!(at_alice.digits().bytes().all(|byte| byte.is_ascii_digit()), "and nothing but digits");

        let shown = at_alice.to_string();
        let groups: Vec<_> = shown.split(' ').collect();
        assert_eq!(groups.len(), 12, "shown in twelve groups");
        assert!(groups.iter().all(|group| group.len() == 5), "of five digits");
        assert_eq!(groups.concat(), at_alice.digits(), "the same digits");
    }

    #[test]
    fn eve_between_them_changes_the_number() {
        let (alice, bob, eve) = (root(1), root(2), root(3));
        let honest = SafetyNumber::of(&alice, &bob);
        assert_ne!(SafetyNumber::of(&alice, &eve), honest, "alice sees that it is not bob");
        assert_ne!(SafetyNumber::of(&eve, &bob), honest, "bob sees that it is not alice");
    }

    #[test]
    fn bob_reads_the_code_that_alice_shows_and_no_other() {
        let (alice, bob, eve) = (root(1), root(2), root(3));
        let shown = SafetyCode::of(&alice, &bob).to_string();
        assert_eq!(shown.len(), 124, "it fits a QR code of 37 modules: {shown}");
        let read: SafetyCode = shown.to_lowercase().parse().expect("a code is read however it was copied");
        assert_eq!(read, SafetyCode::of(&alice, &bob), "both roots, alice's first");
        assert_ne!(read, SafetyCode::of(&bob, &alice), "whoever shows it back shows another");
        assert_ne!(read, SafetyCode::of(&alice, &eve), "it is for bob alone");
        let newer = code::write(CODE_PREFIX, &[&[2][..], &[7; 64]].concat());
        assert_eq!(newer.parse::<SafetyCode>(), Err(CodeError::Version), "a later version is told as such");
        let short = code::write(CODE_PREFIX, &[1; 20]);
        assert_eq!(short.parse::<SafetyCode>(), Err(CodeError::Version), "and so is what has no two keys");
        assert_eq!(shown[1..].parse::<SafetyCode>(), Err(CodeError::Prefix { expected: CODE_PREFIX }), "or is cut");
    }

    #[test]
    fn the_number_never_changes_between_versions() {
        let number = SafetyNumber::of(&PublicKey([1; 32]), &PublicKey([2; 32]));
        // Computed by a second program (Python, standard library only) from the description above.
        let expected = "289705980187320482628858773163882635446328220585540261705920";
        assert_eq!(number.digits(), expected, "a new version must not look like an attack");
    }

    #[test]
    fn each_account_has_its_half_of_the_number() {
        let (alice, bob) = (root(1), root(2));
        let number = SafetyNumber::of(&alice, &bob);
        let (first, second) = number.digits().split_at(30);
        assert!(first <= second, "the halves are sorted");
        let sides = [side(&alice), side(&bob)];
        assert!(sides.iter().all(|side| side == first || side == second), "each half is one account's");
    }
}
