//! What is inside the encryption: typed, unknown kinds kept, feed heads seen.
//!
//! Implements `docs/protocol.md`, section "Content".

use crate::feed::FeedHead;
use crate::ids::MessageId;
use crate::limits;
use roost_crypto::bytes::Bytes;
use roost_crypto::codec::{self, CodecError};
use roost_crypto::identity_log::LogHead;
use roost_crypto::signed::Signed;
use serde::{Deserialize, Serialize};

/// The sealed content of one message. Its canonical bytes give the message's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// 16 random bytes: equal texts have different ids.
    pub salt: Bytes,
    /// What it is.
    pub body: Body,
    /// Heads of the conversation's feeds that the author had seen: causal order, and a withheld entry shows.
    pub seen: Vec<FeedHead>,
    /// Head of the author's identity log: contacts cross-check their nodes for free.
    pub log: LogHead,
}

/// The kinds. A kind that this version does not know is kept as it is and shown as such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Text, at most [`limits::TEXT_BYTES_MAX`] bytes of UTF-8.
    Text(String),
    /// These messages arrived on the author's device and are stored there.
    Delivered(Vec<MessageId>),
    /// Its account wishes to leave: a [`crate::conversation::Leave`], signed by the device.
    Leave(Signed),
    /// Anything newer.
    Unknown {
        /// Its name.
        kind: String,
        /// CBOR of its value.
        value: Bytes,
    },
}

/// On the wire a body is its kind and the CBOR of its value, so that unknown ones survive.
#[derive(Serialize, Deserialize)]
struct WireBody {
    kind: String,
    value: Bytes,
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, value) = match self {
            Self::Text(text) => ("text", Bytes(codec::encode(text))),
            Self::Delivered(ids) => ("delivered", Bytes(codec::encode(ids))),
            Self::Leave(leave) => ("leave", Bytes(codec::encode(leave))),
            Self::Unknown { kind, value } => (kind.as_str(), value.clone()),
        };
        WireBody { kind: kind.into(), value }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireBody { kind, value } = WireBody::deserialize(deserializer)?;
        let max = limits::PAYLOAD_BYTES_MAX;
        match kind.as_str() {
            "text" => codec::decode_canonical(value.as_slice(), max).map(Self::Text).map_err(serde::de::Error::custom),
            "delivered" => {
                codec::decode_canonical(value.as_slice(), max).map(Self::Delivered).map_err(serde::de::Error::custom)
            }
            "leave" => {
                codec::decode_canonical(value.as_slice(), max).map(Self::Leave).map_err(serde::de::Error::custom)
            }
            _ => Ok(Self::Unknown { kind, value }),
        }
    }
}

impl Body {
    /// The name of the kind.
    pub fn kind(&self) -> &str {
        match self {
            Self::Text(_) => "text",
            Self::Delivered(_) => "delivered",
            Self::Leave(_) => "leave",
            Self::Unknown { kind, .. } => kind,
        }
    }
}

impl Content {
    /// The canonical bytes: what MLS seals and what the message id is computed of.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads opened bytes.
    ///
    /// # Errors
    /// [`CodecError`], also for a text over its limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let content: Self = codec::decode_canonical(bytes, limits::PAYLOAD_BYTES_MAX)?;
        match &content.body {
            Body::Text(text) if text.len() > limits::TEXT_BYTES_MAX => {
                Err(CodecError::TooLong { max: limits::TEXT_BYTES_MAX, got: text.len() })
            }
            _ => Ok(content),
        }
    }
}
