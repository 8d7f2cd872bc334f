//! Push: how a home wakes a device that is not connected, by Web Push (RFC 8030, RFC 8291, RFC 8292).
//!
//! What goes to the push service says that something is new and names a tag that only the device can read a conversation into.
//!
//! Implements `docs/protocol.md`, section "Push".

use crate::ids::{ConversationId, PushTag};
use crate::limits;
use roost_crypto::labels;
use serde::{Deserialize, Serialize};

/// A home that pushes names this beside its features in `Hello`.
pub const FEATURE: &str = "push";
/// Bytes of an uncompressed point of P-256: `p256dh` of a subscription, and the key of a home.
pub const POINT_BYTES: usize = 65;
/// Bytes of the secret of a subscription.
pub const AUTH_BYTES: usize = 16;

/// Which leg of a push failed, in the order of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PushLeg {
    /// None: the push service took it.
    Ok,
    /// The address of the subscription cannot be used: no `https`, another port, or no URL.
    Endpoint,
    /// Its host was not found.
    Resolve,
    /// Its host is where a home never connects to: this machine, a private network.
    Address,
    /// No connection came about.
    Connect,
    /// The certificate does not fit, or there is no TLS.
    Tls,
    /// The connection stood and no answer came.
    Answer,
    /// The push service refused.
    Status,
}

impl PushLeg {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Endpoint => "endpoint",
            Self::Resolve => "resolve",
            Self::Address => "address",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Answer => "answer",
            Self::Status => "status",
        }
    }
}

/// What a push says, sealed for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something is new in the conversation of this tag.
    News(PushTag),
    /// The person asked whether pushes arrive.
    Test,
}

impl Wake {
    /// The bytes to be sealed: JSON, which a service worker reads without the device core, with spaces up to the one length that all
    /// have.
    pub fn payload(&self) -> Vec<u8> {
        let text = match self {
            Self::News(tag) => format!("{{\"roost\":1,\"tag\":\"{tag}\"}}"),
            Self::Test => "{\"roost\":1,\"test\":true}".to_owned(),
        };
        let mut bytes = text.into_bytes();
        bytes.resize(limits::PUSH_PAYLOAD_BYTES, b' ');
        bytes
    }
}

impl PushTag {
    /// Of a conversation, for the subscription with this secret: nobody without the secret can tell which conversation it is, or that
    /// two devices have the same.
    pub fn of(auth: &[u8], conversation: &ConversationId) -> Self {
        let hash = labels::hash(labels::PUSH_TAG, &[auth, conversation.as_bytes()]);
        let mut tag = [0; 16];
        tag.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        Self(tag)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_payloads_have_one_length_and_are_json() {
        let tag = PushTag::of(&[7; AUTH_BYTES], &ConversationId([1; 32]));
        for wake in [Wake::News(tag), Wake::Test] {
            let payload = wake.payload();
            assert_eq!(payload.len(), limits::PUSH_PAYLOAD_BYTES, "its length says nothing");
            let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(value["roost"], 1, "it says whose it is: {value}");
        }
        let value: serde_json::Value = serde_json::from_slice(&Wake::News(tag).payload()).unwrap();
        assert_eq!(value["tag"], tag.to_string(), "news names the tag");
    }

    #[test]
    fn a_tag_is_of_one_subscription() {
        let (talk, other) = (ConversationId([1; 32]), ConversationId([2; 32]));
        let tag = PushTag::of(&[7; AUTH_BYTES], &talk);
        assert_eq!(tag, PushTag::of(&[7; AUTH_BYTES], &talk), "the device finds it again");
        assert_ne!(tag, PushTag::of(&[7; AUTH_BYTES], &other), "each conversation has its own");
        assert_ne!(tag, PushTag::of(&[8; AUTH_BYTES], &talk), "and each subscription");
    }
}
