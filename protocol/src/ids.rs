//! Ids of what is said: conversations, groups, feeds, messages.
//!
//! Implements `docs/protocol.md`, section "Keys and ids".

pub use roost_crypto::blobs::BlobId;
use roost_crypto::fixed_bytes;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::labels;
use serde::{Deserialize, Serialize};

fixed_bytes! {
    /// A conversation: for a 1:1 derived from its two accounts, for a group random.
    ConversationId, 32
}
fixed_bytes! {
    /// One MLS group of a conversation: random, so that two creators never share one.
    GroupId, 32
}
fixed_bytes! {
    /// A life of a node's store: random, made with the store. Positions of another life mean nothing.
    Incarnation, 16
}
fixed_bytes! {
    /// Names one attempt to change a conversation; its verdict is recorded under it.
    OperationId, 16
}
fixed_bytes! {
    /// A hash of this protocol (SHA-256 under a label).
    Hash, 32
}
fixed_bytes! {
    /// A message: 48 bits of milliseconds since 1970, then 80 bits of hash(content, salt). Sorts by time.
    MessageId, 16
}

fixed_bytes! {
    /// Lets its holder carry one part of one blob over HTTP, once: random, drawn by the node.
    BlobTicket, 32
}

fixed_bytes! {
    /// A device's try to be linked to an account: random, drawn by the new device.
    LinkSession, 16
}
fixed_bytes! {
    /// A conversation in pushes: what the device of one subscription can tell, and nobody else.
    PushTag, 16
}

impl ConversationId {
    /// The 1:1 conversation of two accounts, whoever asks.
    pub fn direct(one: &AccountId, other: &AccountId) -> Self {
        let (low, high) = if one < other { (one, other) } else { (other, one) };
        Self(labels::hash(labels::DIRECT_CONVERSATION, &[low.as_bytes(), high.as_bytes()]))
    }

    /// The conversation of many that begins with an MLS group.
    pub fn of_group(first: &GroupId) -> Self {
        Self(labels::hash(labels::GROUP_CONVERSATION, &[first.as_bytes()]))
    }
}

impl MessageId {
    /// The id of `content` (canonical CBOR, salt inside) written at `at_ms`.
    pub fn of(at_ms: u64, content: &[u8]) -> Self {
        let hash = labels::hash(labels::MESSAGE_ID, &[content]);
        let mut id = [0; 16];
        let time = at_ms.to_be_bytes();
        for (to, from) in id.iter_mut().zip(time.iter().skip(2).chain(hash.iter())) {
            *to = *from;
        }
        Self(id)
    }

    /// When its author says it was written, milliseconds since 1970.
    pub fn at_ms(&self) -> u64 {
        self.0.iter().take(6).fold(0, |value, byte| (value << 8) | u64::from(*byte))
    }

    /// Whether this is the id of `content`: checked after decryption.
    pub fn fits(&self, content: &[u8]) -> bool {
        Self::of(self.at_ms(), content) == *self
    }
}

/// The append-only log that one node writes for one group, in one life of its store. Sequence numbers start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FeedId {
    /// The group it belongs to.
    pub group: GroupId,
    /// Its only writer.
    pub node: NodeId,
    /// The life of the writer's store.
    pub incarnation: Incarnation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_carries_its_time_and_fits_one_content() {
        let id = MessageId::of(1_795_000_000_123, b"hello");
        assert_eq!(id.at_ms(), 1_795_000_000_123, "the first 48 bits are the time");
        assert!(id.fits(b"hello"), "the id fits its content");
        assert!(!id.fits(b"hallo"), "another content has another id");
        assert!(id < MessageId::of(1_795_000_000_124, b"hello"), "ids sort by time");
    }

    #[test]
    fn both_sides_derive_the_same_direct_conversation() {
        let (alice, bob) = (AccountId([1; 32]), AccountId([2; 32]));
        assert_eq!(
            ConversationId::direct(&alice, &bob),
            ConversationId::direct(&bob, &alice),
            "who starts must not matter"
        );
    }
}
