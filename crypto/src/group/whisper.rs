//! Whispers: what members say in passing (who is typing, who is there) and nobody keeps.
//!
//! Sealed with ChaCha20-Poly1305 (RFC 8439) under a key that the MLS exporter (RFC 9420 section 8.5) gives all members of an
//! epoch, so that a whisper moves no ratchet and its loss harms nothing. It proves that a member said it, not which one:
//! every member has the key. Never draws randomness, never writes a row. Implements `docs/protocol.md`, section "Whispers".

use super::{Credential, GroupError, Member, Part};
use crate::bytes::Bytes;
use crate::codec;
use crate::ids::DeviceId;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use std::fmt;
use zeroize::Zeroizing;

/// A sealed whisper, in bytes: always as many, so that its size tells nothing of what it says.
pub const WHISPER_BYTES: usize = 256;
/// What a whisper may say, in bytes.
pub const WHISPER_PLAINTEXT_MAX_BYTES: usize = BLOCK_BYTES - 1;
/// The nonce of a whisper, in bytes.
pub const WHISPER_NONCE_BYTES: usize = 12;

/// What the exporter is told beside the label.
pub(super) const CONTEXT: &[u8] = b"whisper";
/// The exported key, in bytes.
pub(super) const KEY_BYTES: usize = 32;

const DEVICE_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// One byte of length, what is said, zeros.
const BLOCK_BYTES: usize = WHISPER_BYTES - DEVICE_BYTES - WHISPER_NONCE_BYTES - TAG_BYTES;

/// An opened whisper.
#[derive(Clone, PartialEq, Eq)]
pub struct Whisper {
    /// The member that it names: any member of the group could have named it.
    pub sender: Credential,
    /// What was said.
    pub plaintext: Vec<u8>,
}

impl fmt::Debug for Whisper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Whisper({} bytes)", self.plaintext.len())
    }
}

/// The key of an epoch's whispers.
pub(super) struct WhisperKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for WhisperKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WhisperKey(…)")
    }
}

impl WhisperKey {
    /// From what the exporter gave.
    pub(super) fn new(exported: &Zeroizing<Vec<u8>>) -> Result<Self, GroupError> {
        let bytes = <[u8; KEY_BYTES]>::try_from(exported.as_slice()).map_err(|_| GroupError::Engine)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// `device ‖ nonce ‖ ciphertext ‖ tag`, [`WHISPER_BYTES`] in all. `nonce` is random.
    pub(super) fn seal(
        &self,
        (group_id, epoch): (&[u8], u64),
        device: &DeviceId,
        nonce: [u8; WHISPER_NONCE_BYTES],
        plaintext: &[u8],
    ) -> Result<Bytes, GroupError> {
        let block = pad(plaintext)?;
        let payload = Payload { msg: &block[..], aad: &associated(group_id, epoch, device) };
        let ciphertext = ChaCha20Poly1305::new((&*self.0).into())
            .encrypt((&nonce).into(), payload)
            .map_err(|_| GroupError::Engine)?;
        Ok(Bytes([device.as_bytes(), &nonce[..], &ciphertext].concat()))
    }

    /// The device that a whisper names, and what it says.
    pub(super) fn open(
        &self,
        (group_id, epoch): (&[u8], u64),
        sealed: &[u8],
    ) -> Result<(DeviceId, Vec<u8>), GroupError> {
        check_length(sealed)?;
        let malformed = GroupError::Malformed(Part::Whisper);
        let (device, rest) = sealed.split_at_checked(DEVICE_BYTES).ok_or(malformed.clone())?;
        let device = DeviceId::from_slice(device).ok_or(malformed.clone())?;
        let (nonce, ciphertext) = rest.split_first_chunk::<WHISPER_NONCE_BYTES>().ok_or(malformed.clone())?;
        let payload = Payload { msg: ciphertext, aad: &associated(group_id, epoch, &device) };
        let block = ChaCha20Poly1305::new((&*self.0).into())
            .decrypt(nonce.into(), payload)
            .map_err(|_| GroupError::Undecryptable)?;
        Ok((device, unpad(&Zeroizing::new(block)).ok_or(malformed)?))
    }
}

/// Checks the length, before anything else is done with it.
pub(super) fn check_length(sealed: &[u8]) -> Result<(), GroupError> {
    if sealed.len() > WHISPER_BYTES {
        return Err(GroupError::TooLong { part: Part::Whisper, max: WHISPER_BYTES, got: sealed.len() });
    }
    if sealed.len() < WHISPER_BYTES { Err(GroupError::Malformed(Part::Whisper)) } else { Ok(()) }
}

/// Whose whisper it is: a member's, and not our own.
pub(super) fn of_member(
    members: Vec<Member>,
    own: &DeviceId,
    (device, plaintext): (DeviceId, Vec<u8>),
) -> Result<Whisper, GroupError> {
    if device == *own {
        return Err(GroupError::OwnMessage);
    }
    let sender = members.into_iter().find(|member| member.credential.device == device).ok_or(GroupError::NotMember)?;
    Ok(Whisper { sender: sender.credential, plaintext })
}

/// What a whisper is bound to: moved to another group, epoch or device it does not open.
fn associated(group_id: &[u8], epoch: u64, device: &DeviceId) -> Vec<u8> {
    codec::encode(&(Bytes(group_id.to_vec()), epoch, device))
}

fn pad(plaintext: &[u8]) -> Result<Zeroizing<[u8; BLOCK_BYTES]>, GroupError> {
    let got = plaintext.len();
    let too_long = GroupError::TooLong { part: Part::Whisper, max: WHISPER_PLAINTEXT_MAX_BYTES, got };
    let mut block = Zeroizing::new([0; BLOCK_BYTES]);
    let (length, said) = block.split_first_mut().ok_or(GroupError::Engine)?;
    *length = u8::try_from(got).map_err(|_| too_long.clone())?;
    said.get_mut(..got).ok_or(too_long)?.copy_from_slice(plaintext);
    Ok(block)
}

/// `None` for a length beyond the block, and for padding that is not zero.
fn unpad(block: &[u8]) -> Option<Vec<u8>> {
    let (length, said) = block.split_first()?;
    let (said, padding) = said.split_at_checked(usize::from(*length))?;
    padding.iter().all(|byte| *byte == 0).then(|| said.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: DeviceId = DeviceId([1; 32]);

    fn key() -> WhisperKey {
        WhisperKey::new(&Zeroizing::new(vec![3; KEY_BYTES])).unwrap()
    }

    #[test]
    fn a_whisper_has_one_length_and_opens_in_its_place_only() {
        let place = (&b"group"[..], 7);
        for plaintext in [vec![], vec![9; 20], vec![9; WHISPER_PLAINTEXT_MAX_BYTES]] {
            let sealed = key().seal(place, &ALICE, [4; WHISPER_NONCE_BYTES], &plaintext).unwrap();
            assert_eq!(sealed.len(), WHISPER_BYTES, "its size tells nothing");
            assert_eq!(key().open(place, sealed.as_slice()), Ok((ALICE, plaintext)), "what goes in comes out");
            for elsewhere in [(&b"other"[..], 7), (&b"group"[..], 8)] {
                assert_eq!(key().open(elsewhere, sealed.as_slice()), Err(GroupError::Undecryptable), "moved");
            }
            let mut renamed = sealed.0.clone();
            renamed[0] ^= 1;
            assert_eq!(key().open(place, &renamed), Err(GroupError::Undecryptable), "another device's name");
            let other = WhisperKey::new(&Zeroizing::new(vec![4; KEY_BYTES])).unwrap();
            assert_eq!(other.open(place, sealed.as_slice()), Err(GroupError::Undecryptable), "another epoch's key");
        }
    }

    #[test]
    fn a_whisper_of_another_length_or_with_padding_that_says_something_is_refused() {
        let place = (&b"group"[..], 7);
        let (max, got) = (WHISPER_PLAINTEXT_MAX_BYTES, WHISPER_PLAINTEXT_MAX_BYTES + 1);
        let long = key().seal(place, &ALICE, [4; WHISPER_NONCE_BYTES], &vec![9; got]);
        assert_eq!(long, Err(GroupError::TooLong { part: Part::Whisper, max, got }), "one byte too many");
        let mut sealed = key().seal(place, &ALICE, [4; WHISPER_NONCE_BYTES], b"hi").unwrap().0;
        let malformed = Err(GroupError::Malformed(Part::Whisper));
        assert_eq!(key().open(place, &sealed[1..]), malformed, "shorter than any");
        sealed.push(0);
        let long = Err(GroupError::TooLong { part: Part::Whisper, max: WHISPER_BYTES, got: WHISPER_BYTES + 1 });
        assert_eq!(key().open(place, &sealed), long, "longer than any, refused before it is opened");
        assert_eq!(unpad(&[1, 7, 0]), Some(vec![7]), "padding is zero");
        assert_eq!((unpad(&[1, 7, 1]), unpad(&[3, 7, 0]), unpad(&[])), (None, None, None), "or refused");
    }

    #[test]
    fn debug_of_a_whisper_and_its_key_shows_nothing() {
        assert_eq!(format!("{:?}", key()), "WhisperKey(…)", "a key must never reach a log");
        let sender = Credential { account: crate::ids::AccountId([1; 32]), device: ALICE, log_seq: 0 };
        let whisper = Whisper { sender, plaintext: vec![1, 2, 3] };
        assert_eq!(format!("{whisper:?}"), "Whisper(3 bytes)", "nor what was said, or by whom");
    }
}
