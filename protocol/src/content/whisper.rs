//! What is said in passing: who is typing, who is there. Nobody keeps it.
//!
//! Implements `docs/protocol.md`, section "Whispers".

use crate::limits;
use roost_crypto::bytes::Bytes;
use roost_crypto::codec::{self, CodecError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a device whispers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whisper {
    /// By its author's clock, milliseconds since 1970: above that of everything it whispered before.
    pub sent_at: u64,
    /// What it is.
    pub body: WhisperBody,
}

/// The kinds. One that this version does not know is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhisperBody {
    /// Somebody is typing, or stopped.
    Typing(Typing),
    /// Whether somebody is there.
    Presence(Presence),
    /// The author looks at the conversation and wants to know whether the other is there.
    Watch(Watch),
    /// Anything newer.
    Unknown {
        /// Its name.
        kind: String,
    },
}

/// Somebody is typing, or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// Whether it goes on.
    pub on: bool,
}

/// Whether somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// How.
    pub state: PresenceState,
    /// How long it may be believed, seconds since it came: clocks differ.
    pub valid_s: u64,
    /// When the person last did something on the device, seconds since 1970, a whole minute.
    pub last_active_at_s: u64,
}

/// Whether somebody is there, on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// The device is connected; the person did nothing on it for a while.
    Away,
    /// The person is at the device.
    Online,
}

/// Somebody wants to know whether the other is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {}

/// On the wire a whisper is its time, its kind and the CBOR of its value.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    sent_at: u64,
    kind: String,
    value: Bytes,
}

impl Whisper {
    /// The canonical bytes: what is sealed.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, value) = match &self.body {
            WhisperBody::Typing(value) => ("typing", codec::encode(value)),
            WhisperBody::Presence(value) => ("presence", codec::encode(value)),
            WhisperBody::Watch(value) => ("watch", codec::encode(value)),
            WhisperBody::Unknown { kind } => (kind.as_str(), Vec::new()),
        };
        codec::encode(&Wire { sent_at: self.sent_at, kind: kind.to_owned(), value: Bytes(value) })
    }

    /// Reads opened bytes.
    ///
    /// # Errors
    /// [`CodecError`] for what is not canonical, or another type than its kind's.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let Wire { sent_at, kind, value } = codec::decode_canonical(bytes, limits::WHISPER_BYTES_MAX)?;
        let body = match kind.as_str() {
            "typing" => WhisperBody::Typing(read(&value)?),
            "presence" => WhisperBody::Presence(read(&value)?),
            "watch" => WhisperBody::Watch(read(&value)?),
            _ => WhisperBody::Unknown { kind },
        };
        Ok(Self { sent_at, body })
    }
}

fn read<T: Serialize + DeserializeOwned>(value: &Bytes) -> Result<T, CodecError> {
    codec::decode_canonical(value.as_slice(), limits::WHISPER_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_000_000_123;

    fn whisper(body: WhisperBody) -> Whisper {
        Whisper { sent_at: NOW_MS, body }
    }

    #[test]
    fn each_kind_is_read_as_it_was_written_and_fits_a_whisper() {
        let presence = Presence { state: PresenceState::Away, valid_s: u64::MAX, last_active_at_s: u64::MAX };
        for body in [
            WhisperBody::Typing(Typing { on: true }),
            WhisperBody::Presence(presence),
            WhisperBody::Watch(Watch {}),
            WhisperBody::Unknown { kind: "later".into() },
        ] {
            let bytes = whisper(body.clone()).encode();
            // 195 are the engine's bound: the length of a whisper, less its envelope.
            assert!(bytes.len() <= 195, "{body:?} has {} bytes", bytes.len());
            assert_eq!(Whisper::decode(&bytes), Ok(whisper(body)), "it comes back");
        }
    }

    #[test]
    fn a_whisper_that_is_not_canonical_or_not_of_its_kind_is_refused() {
        let wire = |kind: &str, value: Vec<u8>| {
            let wire = Wire { sent_at: NOW_MS, kind: kind.into(), value: Bytes(value) };
            Whisper::decode(&codec::encode(&wire))
        };
        assert!(wire("typing", codec::encode(&Typing { on: true })).is_ok(), "this one is fine");
        assert!(wire("typing", codec::encode(&Watch {})).is_err(), "another kind's value");
        assert!(wire("watch", codec::encode(&Typing { on: true })).is_err(), "a field too many");
        assert!(wire("typing", Vec::new()).is_err(), "no value");
        let mut bytes = whisper(WhisperBody::Watch(Watch {})).encode();
        bytes.push(0);
        assert!(Whisper::decode(&bytes).is_err(), "bytes behind it");
        assert!(Whisper::decode(&[0; limits::WHISPER_BYTES_MAX + 1]).is_err(), "more than a whisper has");
    }
}
