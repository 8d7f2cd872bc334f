//! Codes that a person copies, or that a screen shows to a camera: bytes and their checksum in Crockford's base32.
//!
//! Digits and capitals only, so that a QR code holds two characters in 11 bits. The checksum finds typing errors, not people.
//!
//! Implements `docs/protocol.md`, sections "Recovery code", "Safety number" and "Devices of an account".

use zeroize::Zeroizing;

/// Crockford's base32: no I, L, O, U.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
pub(crate) const BITS_A_CHARACTER: usize = 5;
const CHECKSUM_BYTES: usize = 4;

/// Why a text is no code. Repeats nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Another beginning, thus another thing.
    #[error("expected a code that begins with {expected}")]
    Prefix {
        /// What it begins with.
        expected: &'static str,
    },
    /// More characters than any such code has.
    #[error("expected at most {max} characters, got {got}")]
    TooLong {
        /// The bound.
        max: usize,
        /// What was found, without spaces and dashes.
        got: usize,
    },
    /// A character that no code has.
    #[error("character {position} behind the beginning is not one of a code")]
    Character {
        /// Which one, from 1, without spaces and dashes.
        position: usize,
    },
    /// Characters are missing, or wrong, or in another order.
    #[error("the code has a typing error, or a part of it is missing")]
    Checksum,
    /// Well copied, and not what this version reads.
    #[error("the code is of another version")]
    Version,
}

/// The prefix, then the bytes and their checksum.
pub fn write(prefix: &str, bytes: &[u8]) -> Zeroizing<String> {
    let checked = Zeroizing::new([bytes, &crc32(bytes).to_be_bytes()].concat());
    let characters = (checked.len() * 8).div_ceil(BITS_A_CHARACTER);
    // Allocated once at its full length, so that no copy stays behind in the heap.
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + characters));
    text.push_str(prefix);
    let mut bits = BitCursor::default();
    for _ in 0..characters {
        let value = usize::from(bits.read(&checked));
        text.extend(ALPHABET.get(value).copied().map(char::from));
    }
    text
}

/// Reads what a person copied: either case, any spaces and dashes, `O` for `0`, `I` and `L` for `1`; at most `max` characters
/// behind the prefix.
///
/// # Errors
/// [`CodeError`], but for [`CodeError::Version`].
pub fn read(prefix: &'static str, text: &str, max: usize) -> Result<Zeroizing<Vec<u8>>, CodeError> {
    let wrong = CodeError::Prefix { expected: prefix };
    let typed = || text.chars().filter(|letter| !letter.is_whitespace() && !is_dash(*letter));
    let expected = prefix.chars().filter(|letter| !is_dash(*letter));
    let prefix_characters = expected.clone().count();
    if !typed().map(|letter| letter.to_ascii_uppercase()).take(prefix_characters).eq(expected) {
        return Err(wrong);
    }
    let code = || typed().skip(prefix_characters);
    let got = code().count();
    if got > max {
        return Err(CodeError::TooLong { max, got });
    }
    let bits = got * BITS_A_CHARACTER;
    let mut bytes = Zeroizing::new(vec![0; bits.div_ceil(8)]);
    let mut cursor = BitCursor::default();
    for (index, letter) in code().enumerate() {
        let value = value_of(letter).ok_or(CodeError::Character { position: index + 1 })?;
        cursor.write(&mut bytes, value);
    }
    // What fills the last character up is no byte of its own, and zero.
    let filling = bytes.get(bits / 8..).is_none_or(|rest| rest.iter().all(|byte| *byte == 0));
    bytes.truncate(bits / 8);
    let (content, checksum) =
        bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM_BYTES)).ok_or(CodeError::Checksum)?;
    if !filling || bits % 8 >= BITS_A_CHARACTER || crc32(content).to_be_bytes() != checksum {
        return Err(CodeError::Checksum);
    }
    Ok(Zeroizing::new(content.to_vec()))
}

/// A place in a byte string, in bits from the first byte's highest.
#[derive(Default)]
pub(crate) struct BitCursor(usize);

impl BitCursor {
    /// The next 5 bits; zeros behind the end.
    pub fn read(&mut self, bytes: &[u8]) -> u8 {
        (0..BITS_A_CHARACTER).fold(0, |value, _| {
            let byte = bytes.get(self.0 / 8).copied().unwrap_or(0);
            let bit = (byte >> (7 - self.0 % 8)) & 1;
            self.0 += 1;
            (value << 1) | bit
        })
    }

    /// Sets the next 5 bits of zeroed bytes; behind the end nothing is written.
    pub fn write(&mut self, bytes: &mut [u8], value: u8) {
        for shift in (0..BITS_A_CHARACTER).rev() {
            if let Some(byte) = bytes.get_mut(self.0 / 8) {
                *byte |= ((value >> shift) & 1) << (7 - self.0 % 8);
            }
            self.0 += 1;
        }
    }
}

/// What phones and word processors make of a dash.
pub(crate) fn is_dash(character: char) -> bool {
    matches!(character, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

pub(crate) fn value_of(character: char) -> Option<u8> {
    let canonical = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let position = ALPHABET.iter().position(|letter| char::from(*letter) == canonical)?;
    u8::try_from(position).ok()
}

/// CRC-32 (ISO-HDLC, as in zip): against typing errors, not against people.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let register = bytes.iter().fold(u32::MAX, |register, byte| {
        (0..8).fold(register ^ u32::from(*byte), |register, _| {
            (register >> 1) ^ if register & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    });
    !register
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str = "ROOST-TEST-";

    fn refusal(text: &str) -> CodeError {
        read(PREFIX, text, 64).expect_err("the text must be refused")
    }

    #[test]
    fn a_code_is_read_however_it_was_copied() {
        let code = write(PREFIX, b"twenty bytes of this");
        assert!(code.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '-'));
        for copied in [
            code.to_string(),
            code.to_lowercase(),
            format!("  {} \n", code.as_str()),
            code.replace('-', " "),
            code.replace("ROOST", "roost\u{2013}").replace('0', "o").replace('1', "l"),
        ] {
            let bytes = read(PREFIX, &copied, 64).expect("a code is read however it is written");
            assert_eq!(bytes.as_slice(), b"twenty bytes of this", "{copied}");
        }
    }

    #[test]
    fn every_wrong_character_swap_and_cut_is_noticed() {
        let code = write(PREFIX, b"twenty bytes of this");
        let start = PREFIX.len();
        for at in start..code.len() {
            let mut letters: Vec<char> = code.chars().collect();
            letters[at] = if letters[at] == 'A' { 'B' } else { 'A' };
            assert_eq!(refusal(&letters.iter().collect::<String>()), CodeError::Checksum, "a wrong character at {at}");
            let mut letters: Vec<char> = code.chars().collect();
            if at > start && letters[at - 1] != letters[at] {
                letters.swap(at - 1, at);
                assert_eq!(refusal(&letters.iter().collect::<String>()), CodeError::Checksum, "a swap at {at}");
            }
            assert_eq!(refusal(&code[..at]), CodeError::Checksum, "the end from {at} on is missing");
        }
        assert_eq!(refusal(&format!("{}0", code.as_str())), CodeError::Checksum, "a character too many");
    }

    #[test]
    fn what_is_no_code_is_refused_by_its_fault() {
        let prefix = CodeError::Prefix { expected: PREFIX };
        for other in ["", "hello", "ROOST-VERIFY-00000", "C5P6-JRV5-4XSJ-0C9P-41H7-JX35-EEFZ-2CN7"] {
            assert_eq!(refusal(other), prefix, "{other:?} is another thing");
        }
        assert_eq!(refusal("ROOST-TEST-AU"), CodeError::Character { position: 2 }, "codes have no U");
        let long = format!("{PREFIX}{}", "0".repeat(65));
        assert_eq!(refusal(&long), CodeError::TooLong { max: 64, got: 65 }, "longer than any");
    }

    #[test]
    fn the_checksum_is_the_crc_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "check value of CRC-32/ISO-HDLC");
    }

    proptest! {
        #[test]
        fn every_code_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let code = write(PREFIX, &bytes);
            let read = read(PREFIX, &code, 200);
            let read = read.expect("a written code is read");
            prop_assert_eq!(read.as_slice(), bytes.as_slice(), "no bit gets lost");
        }

        #[test]
        fn any_text_is_read_without_a_crash(text in ".{0,80}") {
            let _ = read(PREFIX, &text, 64);
            let _ = read(PREFIX, &format!("ROOST-TEST-{text}"), 64);
        }
    }
}
