//! Feeds: the append-only log that one node writes for one group; a chain over headers with payload hashes.
//!
//! Implements `docs/protocol.md`, section "Feeds and entries".

use crate::conversation::{Commit, Creation};
use crate::ids::{FeedId, Hash, MessageId};
use crate::limits;
use roost_crypto::bytes::Bytes;
use roost_crypto::codec::{self, CodecError};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::labels;
use roost_crypto::signed::Signed;
use serde::{Deserialize, Serialize};

/// What an entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A [`FirstContact`]: makes epoch 1.
    Creation,
    /// An MLS PrivateMessage.
    Message,
    /// A [`NextEpoch`]: makes the epoch after the one before.
    Commit,
}

/// What is chained: payloads can be trimmed and the chain still verifies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EntryHeader {
    /// The feed.
    pub feed: FeedId,
    /// Position, from 1.
    pub seq: u64,
    /// Hash of the previous header; zero at position 1.
    pub prev: Hash,
    /// What the payload is.
    pub kind: EntryKind,
    /// The epoch that opens it (for a creation: that it makes).
    pub epoch: u64,
    /// Who submitted it.
    pub account: AccountId,
    /// The device that submitted it.
    pub device: DeviceId,
    /// The author's id of the message.
    pub message: MessageId,
    /// 0, and one more each time the same message is sealed again.
    pub attempt: u32,
    /// SHA-256 of the payload under the entry's label.
    pub payload_hash: Hash,
}

/// One entry, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entry {
    /// The header.
    pub header: EntryHeader,
    /// The payload.
    pub payload: Bytes,
    /// By its author's word nobody need be woken for it. A hint beside the chain: whoever passes it on could change it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

/// The payload of a creation entry: the hub's word and everything a joiner needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstContact {
    /// [`crate::conversation::ConversationHead`], signed by the hub.
    pub head: Signed,
    /// What it is about.
    pub creation: Creation,
}

/// The payload of a commit entry: the hub's word and everything that members and joiners need but the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextEpoch {
    /// [`crate::conversation::ConversationHead`], signed by the hub.
    pub head: Signed,
    /// What it is about.
    pub commit: Commit,
    /// The head from which the hub's term began, signed by the hub before: with the successor's first commit, and with commits
    /// that add, so that everybody sees why this node is the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Signed>,
}

/// A position in a feed, with the hash of the header there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedHead {
    /// The feed.
    pub feed: FeedId,
    /// The last position.
    pub seq: u64,
    /// Hash of the header at it.
    pub hash: Hash,
}

/// Why an entry does not continue its feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The payload is over its limit.
    #[error("payload of {got} bytes, at most {max}")]
    PayloadTooLarge {
        /// The bound for this kind.
        max: usize,
        /// What was found.
        got: usize,
    },
    /// The payload is not the one of the header.
    #[error("the payload does not fit its hash")]
    PayloadHash,
    /// Position 0.
    #[error("sequence numbers start at 1")]
    SeqZero,
}

/// SHA-256 of a payload.
pub fn payload_hash(payload: &[u8]) -> Hash {
    Hash(labels::hash(labels::ENTRY_HASH, &[b"payload", payload]))
}

impl EntryHeader {
    /// The link of the chain.
    pub fn hash(&self) -> Hash {
        Hash(labels::hash(labels::ENTRY_HASH, &[b"header", &codec::encode(self)]))
    }
}

impl Entry {
    /// Checks what an entry says of itself; whether it continues its feed is its holder's question.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn check(&self) -> Result<(), EntryError> {
        let max = match self.header.kind {
            EntryKind::Creation | EntryKind::Commit => limits::COMMIT_BYTES_MAX,
            EntryKind::Message => limits::PAYLOAD_BYTES_MAX,
        };
        if self.payload.len() > max {
            Err(EntryError::PayloadTooLarge { max, got: self.payload.len() })
        } else if self.header.seq == 0 {
            Err(EntryError::SeqZero)
        } else if payload_hash(self.payload.as_slice()) != self.header.payload_hash {
            Err(EntryError::PayloadHash)
        } else {
            Ok(())
        }
    }

    /// Whether the devices of an account that are away are to be woken for it.
    pub fn wakes(&self, account: &AccountId) -> bool {
        self.header.kind == EntryKind::Message && !self.silent && self.header.account != *account
    }

    /// The first contact of a creation entry.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn first_contact(&self) -> Result<FirstContact, CodecError> {
        codec::decode_canonical(self.payload.as_slice(), limits::COMMIT_BYTES_MAX)
    }

    /// What a commit entry carries.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn next_epoch(&self) -> Result<NextEpoch, CodecError> {
        codec::decode_canonical(self.payload.as_slice(), limits::COMMIT_BYTES_MAX)
    }
}
