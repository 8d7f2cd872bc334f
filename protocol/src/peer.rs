//! What nodes ask each other, one request-response exchange each: CBOR, preceded by its length (4 bytes, big-endian).
//!
//! A time-out leaves open whether a request was carried out, so every one of them is idempotent.
//!
//! Implements `docs/protocol.md`, section "Between nodes".

use crate::content::BlobRef;
use crate::conversation::{Commit, Creation};
use crate::equivocation::EquivocationProof;
use crate::feed::Entry;
use crate::ids::{BlobId, ConversationId, FeedId, GroupId, Incarnation};
use crate::records::SignedOrgRecord;
use crate::refusal::Refusal;
use crate::succession::Successor;
use roost_crypto::bytes::Bytes;
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::signed::Signed;
use serde::{Deserialize, Serialize};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRequest {
    /// First on every connection, from both sides.
    Hello(NodeHello),
    /// Entries of one feed, contiguous, for accounts whose home is the receiver.
    Deliver(Deliver),
    /// Entries of a feed, asked of any holder.
    Fetch {
        /// The feed.
        feed: FeedId,
        /// First position wanted.
        from: u64,
        /// At most so many.
        limit: u32,
    },
    /// Which feeds of a group's hub the receiver holds: the hub is lost, and the sender never heard of it.
    Feeds {
        /// The group.
        group: GroupId,
        /// The writer.
        node: NodeId,
    },
    /// To the hub: create if absent.
    Create(Creation),
    /// To the hub: the next epoch of a group.
    Commit(Commit),
    /// To the node that is to follow a hub that is lost.
    Succeed(Successor),
    /// To the hub, by a successor: the group's public state, for one life of the successor's store a term.
    PublicState {
        /// The group.
        group: GroupId,
        /// The epoch, which the successor has followed the hub to.
        epoch: u64,
        /// The life of the asker's store.
        incarnation: Incarnation,
    },
    /// Two heads of one epoch that a hub has signed.
    Equivocation(EquivocationProof),
    /// To the hub: the ratchet tree of its newest epoch, or of one that a Welcome leads to.
    Tree {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: u64,
    },
    /// To the hub: the identity logs of a group's participants, in the order of their ids.
    Participants {
        /// The group.
        group: GroupId,
        /// Of an earlier epoch; absent: the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// Behind whom to go on; absent for the first page.
        behind: Option<AccountId>,
    },
    /// A conversation that the receiver lacks because its store was lost: what its hub let stand.
    Introduce {
        /// [`crate::conversation::ConversationHead`], signed by the hub.
        head: Signed,
        /// The creation that the head is about.
        creation: Creation,
        /// How the hub changed since: each a [`crate::conversation::ConversationHead`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lineage: Vec<Signed>,
    },
    /// One key package of each device of an account, handed out once each.
    KeyPackages {
        /// Whose.
        account: AccountId,
        /// For whom.
        requester: AccountId,
    },
    /// The newest identity log of an account whose home is the receiver.
    Log {
        /// Whose.
        account: AccountId,
    },
    /// A part of a blob.
    Blob {
        /// Its name: who knows it may have it.
        blob: BlobId,
        /// First byte wanted.
        offset: u64,
    },
    /// Custody, unasked, of entries of the receiver's feed that came by gossip.
    Held(Held),
    /// Something said in passing, for devices of the receiver that are there. Nobody keeps or repeats it.
    Whisper {
        /// The group.
        group: GroupId,
        /// For whom, at most [`crate::limits::MARKS_ACCOUNTS_MAX`]: participants whose home is the receiver.
        accounts: Vec<AccountId>,
        /// The epoch it is sealed in.
        epoch: u64,
        /// Whose device it was: its home is the sender.
        account: AccountId,
        /// At most [`crate::limits::WHISPER_BYTES_MAX`].
        payload: Bytes,
    },
}

/// Who speaks, in which version, in which life of its store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    /// Protocol majors that it speaks.
    pub versions: Vec<u32>,
    /// Feature names; unknown ones are ignored.
    pub features: Vec<String>,
    /// The organisation record that lists it.
    pub org: SignedOrgRecord,
    /// A new one voids every custody that an earlier life gave.
    pub incarnation: Incarnation,
}

/// A batch of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// The conversation, so that an unknown one is named in the answer.
    pub conversation: ConversationId,
    /// The entries, at most [`crate::limits::DELIVER_ENTRIES_MAX`], ascending and contiguous.
    pub entries: Vec<Entry>,
    /// For whom custody is asked.
    pub accounts: Vec<AccountId>,
    /// The positions between what the receiver holds of the feed and the first entry concern nobody there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begins: bool,
    /// The sender's identity log, when the receiver may lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<IdentityLog>,
    /// The blobs that entries are about: the receiver fetches them from the sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<EntryBlobs>,
}

/// The blobs that one entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryBlobs {
    /// The entry's position in the feed.
    pub seq: u64,
    /// At most [`crate::limits::BLOBS_OF_MESSAGE_MAX`].
    pub blobs: Vec<BlobRef>,
}

/// Custody of entries that were not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// A feed of the receiver.
    pub feed: FeedId,
    /// Everything up to here is durably held.
    pub seq: u64,
    /// For whom, at most [`crate::limits::DELIVER_ENTRIES_MAX`]: accounts whose home is the sender.
    pub accounts: Vec<AccountId>,
    /// The life of the sender's store in which it is held.
    pub incarnation: Incarnation,
}

/// An answer.
#[expect(clippy::large_enum_variant, reason = "answers are moved once, from the rules into the codec")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeResponse {
    /// To `Hello`.
    Hello(NodeHello),
    /// To `Deliver`: durably held.
    Custody(Vec<Custody>),
    /// To `Fetch`.
    Entries(Vec<Entry>),
    /// To `Feeds`.
    Feeds(Vec<FeedId>),
    /// To `Create`: the hub's head and the creation that stands, ours or another's.
    Created {
        /// [`crate::conversation::ConversationHead`], signed by the hub.
        head: Signed,
        /// The creation that the head is about.
        creation: Creation,
    },
    /// To `Commit` and `Succeed`: the hub's head, of the epoch that the commit makes.
    Committed(Signed),
    /// To `PublicState`.
    PublicState {
        /// GroupInfo of the epoch.
        group_info: Bytes,
        /// Its ratchet tree.
        tree: Bytes,
    },
    /// To `Tree`.
    Tree(Bytes),
    /// To `Participants`: none behind the last.
    Participants(Vec<IdentityLog>),
    /// To `Introduce`, `Whisper` and `Equivocation`.
    Done,
    /// To `KeyPackages`.
    KeyPackages {
        /// The newest log.
        log: IdentityLog,
        /// One a device.
        packages: Vec<(DeviceId, Bytes)>,
    },
    /// To `Log`.
    Log(IdentityLog),
    /// To `Blob`.
    Blob {
        /// Bytes of the whole.
        total: u64,
        /// From `offset` on, at most [`crate::limits::BLOB_PART_BYTES_MAX`].
        part: Bytes,
    },
    /// To anything.
    Refused(Refusal),
}

/// Entries of `feed` up to `seq` are durably held for `account`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody {
    /// For whom.
    pub account: AccountId,
    /// Of which feed.
    pub feed: FeedId,
    /// Up to and including.
    pub seq: u64,
}

impl NodeRequest {
    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Deliver(_) => "deliver",
            Self::Fetch { .. } => "fetch",
            Self::Feeds { .. } => "feeds",
            Self::Create(_) => "create",
            Self::Commit(_) => "commit",
            Self::Succeed(_) => "succeed",
            Self::PublicState { .. } => "public_state",
            Self::Equivocation(_) => "equivocation",
            Self::Tree { .. } => "tree",
            Self::Participants { .. } => "participants",
            Self::Introduce { .. } => "introduce",
            Self::KeyPackages { .. } => "key_packages",
            Self::Log { .. } => "log",
            Self::Blob { .. } => "blob",
            Self::Held(_) => "held",
            Self::Whisper { .. } => "whisper",
        }
    }
}
