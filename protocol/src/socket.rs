//! What a device and its home say over the WebSocket, the same types in CBOR and JSON.
//!
//! A request carries an `id` of the client's choice, echoed in its one answer. Frames without an `id` are events.
//!
//! Implements `docs/protocol.md`, section "Between device and home".

use crate::content::BlobRef;
use crate::conversation::{Commit, Creation};
use crate::equivocation::EquivocationProof;
use crate::feed::Entry;
use crate::handle::Handle;
use crate::ids::{
    BlobId, BlobTicket, ConversationId, FeedId, GroupId, Incarnation, LinkSession, MessageId, OperationId,
};
use crate::invite::InviteProof;
use crate::push::PushLeg;
use crate::records::SignedOrgRecord;
use crate::refusal::Refusal;
use crate::succession::Successor;
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, DeviceId, NodeId, OrgId};
use roost_crypto::keys::{PublicKey, SecretKey, Signature};
use roost_crypto::labels;
use roost_crypto::signed::Signed;
use serde::{Deserialize, Serialize};

/// From a device to its home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Makes the account of `log` known here and gives it a handle. Before `SignIn`.
    SignUp {
        /// Echoed.
        id: u64,
        /// The wanted part before the `@`.
        handle: String,
        /// That the invite's token is known; not asked for where registration is open.
        invite: Option<InviteProof>,
        /// The log whose genesis names this node as home.
        log: IdentityLog,
    },
    /// Makes an account known again to a home that lost its store, by the home's own word.
    Restore {
        /// Echoed.
        id: u64,
        /// The handle record that this organisation signed.
        handle_record: Signed,
        /// The account's log.
        log: IdentityLog,
    },
    /// The log and the handle record of an account of this home: what a device that has nothing but the recovery code begins
    /// with. May come before `SignIn`.
    FetchAccount {
        /// Echoed.
        id: u64,
        /// Whose.
        account: AccountId,
    },
    /// Asks the signed-in devices of an account to link this one. Before `SignIn`; the answer comes as `LinkAnswered`.
    LinkRequest {
        /// Echoed.
        id: u64,
        /// Whose device it wants to be.
        account: AccountId,
        /// Names this try.
        session: LinkSession,
        /// For the account's devices; the home can't read it.
        sealed: Bytes,
    },
    /// Answers a `LinkRequested`.
    LinkAnswer {
        /// Echoed.
        id: u64,
        /// Which.
        session: LinkSession,
        /// For the new device; the home can't read it.
        sealed: Bytes,
    },
    /// The next log of the device's account: taken if it extends the one that the home holds, or was reset more often.
    AppendLog {
        /// Echoed.
        id: u64,
        /// The whole of it.
        log: IdentityLog,
    },
    /// Answers the challenge of `Hello`.
    SignIn {
        /// Echoed.
        id: u64,
        /// The account.
        account: AccountId,
        /// The device.
        device: DeviceId,
        /// By [`sign_in_signature`].
        signature: Signature,
    },
    /// Adds key packages to the device's pool.
    PutKeyPackages {
        /// Echoed.
        id: u64,
        /// One-time packages.
        packages: Vec<Bytes>,
        /// Handed out when the pool is empty; replaces the previous one.
        last_resort: Option<Bytes>,
    },
    /// Finds an account by its handle.
    Resolve {
        /// Echoed.
        id: u64,
        /// The handle.
        handle: Handle,
    },
    /// One key package of each device of an account.
    FetchKeyPackages {
        /// Echoed.
        id: u64,
        /// Whose.
        account: AccountId,
    },
    /// Creates a conversation if absent; the answer holds the creation that stands.
    Create {
        /// Echoed.
        id: u64,
        /// The whole of it.
        creation: Creation,
    },
    /// Changes a group: the hub puts it in order, or refuses it for good.
    Commit {
        /// Echoed.
        id: u64,
        /// The whole of it.
        commit: Commit,
    },
    /// Lets another node follow a hub that is lost.
    Succeed {
        /// Echoed.
        id: u64,
        /// The whole of it.
        successor: Successor,
    },
    /// Shows that a hub has signed two heads for one epoch.
    Accuse {
        /// Echoed.
        id: u64,
        /// The two.
        proof: EquivocationProof,
    },
    /// A part of the ratchet tree of the hub's newest epoch, or of one that a Welcome leads to.
    FetchTree {
        /// Echoed.
        id: u64,
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: u64,
        /// First byte wanted.
        offset: u64,
    },
    /// The commits of a group that made the epochs behind one, in their order: what a device that lost its state replays.
    FetchCommits {
        /// Echoed.
        id: u64,
        /// The group.
        group: GroupId,
        /// The epoch; 0 for all, with the creation.
        behind: u64,
    },
    /// The identity logs of who takes part in a conversation, in the order of their account ids.
    FetchParticipants {
        /// Echoed.
        id: u64,
        /// The group.
        group: GroupId,
        /// Of an earlier epoch; absent: the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// Behind whom to go on; absent for the first page.
        behind: Option<AccountId>,
    },
    /// Shows a conversation to a home that lacks it.
    Introduce {
        /// Echoed.
        id: u64,
        /// [`crate::conversation::ConversationHead`], signed by the hub.
        head: Signed,
        /// The creation the head is about.
        creation: Creation,
        /// How the hub changed since: each a [`crate::conversation::ConversationHead`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lineage: Vec<Signed>,
    },
    /// Submits a sealed message.
    Submit {
        /// Echoed.
        id: u64,
        /// The group.
        group: GroupId,
        /// The epoch it is sealed in.
        epoch: u64,
        /// Its id.
        message: MessageId,
        /// How often it was sealed before.
        attempt: u32,
        /// MLS PrivateMessage.
        payload: Bytes,
        /// Nobody need be woken for it: a receipt, a reaction, a change of what is there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        silent: bool,
        /// The blobs that it is about, which are here already; other homes fetch them. At most
        /// [`crate::limits::BLOBS_OF_MESSAGE_MAX`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        blobs: Vec<BlobRef>,
    },
    /// Wants to leave a blob at the home: the answer says how much of it is there, and has a ticket for the next part.
    PutBlob {
        /// Echoed.
        id: u64,
        /// Its name.
        blob: BlobId,
        /// Its length.
        bytes: u64,
    },
    /// Wants a blob: the answer has a ticket for a part, or says how much the home has fetched by now.
    FetchBlob {
        /// Echoed.
        id: u64,
        /// Its name.
        blob: BlobId,
        /// Its length.
        bytes: u64,
        /// Where it was put first: the home of who said it.
        node: NodeId,
    },
    /// Asks for the inbox behind `after`, and for live entries from then on.
    Resume {
        /// Echoed.
        id: u64,
        /// The life of the store that `after` belongs to.
        incarnation: Incarnation,
        /// The last inbox position that the device holds; 0 for all.
        after: u64,
    },
    /// Leaves a sealed chunk for the account's other devices.
    ArchivePut {
        /// Echoed.
        id: u64,
        /// Random: put again under the same name, it has the same place.
        name: OperationId,
        /// At most [`crate::limits::ARCHIVE_CHUNK_BYTES_MAX`].
        chunk: Bytes,
    },
    /// Asks for the chunks behind a position.
    FetchArchive {
        /// Echoed.
        id: u64,
        /// The last one that was read; 0 for all.
        after: u64,
    },
    /// Removes chunks from the beginning.
    TrimArchive {
        /// Echoed.
        id: u64,
        /// The last one that goes.
        up_to: u64,
    },
    /// Asks for the key that the home proves itself with to push services; what a browser subscribes with.
    PushKey {
        /// Echoed.
        id: u64,
    },
    /// Where this device is to be woken while it is not connected; in the place of what was said before.
    PushSubscribe {
        /// Echoed.
        id: u64,
        /// The address that the push service gave, at most [`crate::limits::PUSH_ENDPOINT_BYTES_MAX`].
        endpoint: String,
        /// The subscription's public key: an uncompressed point of P-256.
        p256dh: Bytes,
        /// Its secret, 16 bytes.
        auth: Bytes,
        /// Conversations that it is not woken for, at most [`crate::limits::PUSH_MUTED_MAX`].
        muted: Vec<ConversationId>,
    },
    /// It is to be woken no more.
    PushUnsubscribe {
        /// Echoed.
        id: u64,
    },
    /// Pushes once, now, and says how far that came.
    PushTest {
        /// Echoed.
        id: u64,
    },
    /// The device durably holds the inbox up to here.
    Ack {
        /// Inbox position.
        inbox: u64,
    },
    /// Says something in passing to who takes part and is there. Nobody keeps or answers it.
    Whisper {
        /// The group.
        group: GroupId,
        /// The epoch it is sealed in.
        epoch: u64,
        /// At most [`crate::limits::WHISPER_BYTES_MAX`].
        payload: Bytes,
    },
}

/// From a home to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// First on every connection.
    Hello {
        /// Protocol majors.
        versions: Vec<u32>,
        /// Feature names.
        features: Vec<String>,
        /// The node.
        node: NodeId,
        /// The organisation.
        org: OrgId,
        /// Its name.
        name: String,
        /// To be signed: random, for this connection only.
        challenge: Bytes,
        /// The life of the store.
        incarnation: Incarnation,
    },
    /// To `SignUp` and `Restore`.
    SignedUp {
        /// Echoed.
        id: u64,
        /// The handle record, signed by the organisation: keep it, it brings the account back after a lost store.
        handle_record: Signed,
        /// The organisation's record.
        org: SignedOrgRecord,
    },
    /// To `SignIn`.
    SignedIn {
        /// Echoed.
        id: u64,
        /// The last inbox position given out.
        inbox: u64,
        /// Key packages left in the device's pool.
        key_packages: u32,
        /// Whether a last-resort package is there.
        last_resort: bool,
    },
    /// To `FetchAccount`.
    Account {
        /// Echoed.
        id: u64,
        /// The newest log that the home holds.
        log: IdentityLog,
        /// The handle record, signed by the organisation.
        handle_record: Signed,
    },
    /// To requests that have nothing more to say.
    Done {
        /// Echoed.
        id: u64,
    },
    /// To `Resolve`.
    Resolved {
        /// Echoed.
        id: u64,
        /// The record that binds the handle to the account.
        handle_record: Signed,
        /// The account's log.
        log: IdentityLog,
        /// How it was found.
        lookup: LookupReport,
    },
    /// To `FetchKeyPackages`.
    KeyPackages {
        /// Echoed.
        id: u64,
        /// The newest log that the account's home holds.
        log: IdentityLog,
        /// One a device.
        packages: Vec<(DeviceId, Bytes)>,
    },
    /// To `Create`: what stands, ours or another's.
    Created {
        /// Echoed.
        id: u64,
        /// [`crate::conversation::ConversationHead`], signed by the hub.
        head: Signed,
        /// The creation that it is about.
        creation: Creation,
    },
    /// To `Commit` and `Succeed`: it stands; its entry comes through the inbox.
    Committed {
        /// Echoed.
        id: u64,
        /// [`crate::conversation::ConversationHead`] of the epoch that it makes, signed by the hub.
        head: Signed,
    },
    /// To `FetchTree`.
    Tree {
        /// Echoed.
        id: u64,
        /// Bytes of the whole tree.
        total: u64,
        /// From `offset` on, at most [`crate::limits::TREE_PART_BYTES_MAX`].
        part: Bytes,
    },
    /// To `FetchCommits`: a page of about [`crate::limits::TREE_PART_BYTES_MAX`], or one; none behind the newest.
    Commits {
        /// Echoed.
        id: u64,
        /// Entries of kind `commit`, or `creation`.
        entries: Vec<Entry>,
    },
    /// To `FetchParticipants`: those that the home knows.
    Participants {
        /// Echoed.
        id: u64,
        /// At most [`crate::limits::PARTICIPANT_LOGS_BYTES_MAX`]; none behind the last.
        logs: Vec<IdentityLog>,
    },
    /// To `Submit`: on disk at this node.
    Accepted {
        /// Echoed.
        id: u64,
        /// The feed it is in.
        feed: FeedId,
        /// Its position.
        seq: u64,
    },
    /// To `PutBlob` and `FetchBlob`.
    Blob {
        /// Echoed.
        id: u64,
        /// Bytes of it that are here.
        have: u64,
        /// For one part over HTTP: to be sent from `have` on, or to be read from anywhere. Absent where there is nothing to be
        /// carried: what was to be put is here, or what was asked for is not here yet.
        ticket: Option<BlobTicket>,
    },
    /// To `ArchivePut`.
    Archived {
        /// Echoed.
        id: u64,
        /// Its position, from 1.
        seq: u64,
        /// Bytes of all chunks that are held.
        bytes: u64,
    },
    /// To `FetchArchive`: a page of at most [`crate::limits::ARCHIVE_PAGE_BYTES_MAX`], or one chunk; empty at the end.
    Archive {
        /// Echoed.
        id: u64,
        /// In order.
        chunks: Vec<ArchiveChunk>,
        /// The last position that was removed.
        removed: u64,
        /// The last position that was given.
        last: u64,
    },
    /// To `TrimArchive`: how far it went; ask again for the rest.
    ArchiveTrimmed {
        /// Echoed.
        id: u64,
        /// The last position that was removed.
        removed: u64,
    },
    /// To `PushKey`.
    PushKey {
        /// Echoed.
        id: u64,
        /// An uncompressed point of P-256 (RFC 8292).
        key: Bytes,
    },
    /// To `PushTest`.
    PushTested {
        /// Echoed.
        id: u64,
        /// Which leg failed.
        leg: PushLeg,
        /// What the push service answered, if it did: an HTTP status.
        status: Option<u16>,
        /// The same for people, in no fixed words.
        message: String,
    },
    /// The push service knows this device's subscription no more: it is woken nowhere.
    PushEnded {
        /// Which it was.
        endpoint: String,
    },
    /// Another device of the account put a chunk.
    ArchiveGrew {
        /// The last position that was given.
        last: u64,
    },
    /// To anything that is refused.
    Refused {
        /// Echoed; absent where the frame could not be read.
        id: Option<u64>,
        /// Why.
        error: Refusal,
    },
    /// An inbox entry; comes after `Resume`.
    Entry {
        /// Inbox position. `None`: pushed before it is durable here, its writer keeps it; [`Self::Placed`] follows.
        inbox: Option<u64>,
        /// The entry.
        entry: Entry,
    },
    /// Entries that were pushed without a position are durable now.
    Placed {
        /// Their feed.
        feed: FeedId,
        /// The first one's position in the feed.
        seq: u64,
        /// The first one's inbox position; the others follow it, in both.
        inbox: u64,
        /// How many.
        count: u64,
    },
    /// What the inbox held up to here is gone: this device was away for too long, or asks again for what it had acknowledged.
    Trimmed {
        /// Inbox position; entries go on behind it.
        inbox: u64,
    },
    /// The log of the device's account that stands: another device, or the root key, changed it.
    LogChanged {
        /// The whole of it.
        log: IdentityLog,
    },
    /// Somebody asks to be linked as a device of the account.
    LinkRequested {
        /// To be named in the answer.
        session: LinkSession,
        /// As it came.
        sealed: Bytes,
    },
    /// A device of the account answered.
    LinkAnswered {
        /// The try.
        session: LinkSession,
        /// As it came.
        sealed: Bytes,
    },
    /// The hub of a conversation has signed two heads for one epoch: it cannot be believed any more.
    Equivocation {
        /// The two.
        proof: EquivocationProof,
    },
    /// A message of this device is durably held for `account`.
    Custody {
        /// For whom.
        account: AccountId,
        /// Of which group.
        group: GroupId,
        /// Which messages.
        messages: Vec<MessageId>,
    },
    /// Somebody said something in passing.
    Whisper {
        /// The group.
        group: GroupId,
        /// The epoch it is sealed in.
        epoch: u64,
        /// Whose device it was, by its home's word.
        account: AccountId,
        /// At most [`crate::limits::WHISPER_BYTES_MAX`].
        payload: Bytes,
    },
}

/// A chunk of an account's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArchiveChunk {
    /// Its position, from 1.
    pub seq: u64,
    /// As it was put.
    pub chunk: Bytes,
}

/// How an account was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LookupReport {
    /// Where the answer came from.
    pub source: LookupSource,
    /// Rounds of the longest Kademlia query.
    pub hops: u32,
    /// Requests sent for it.
    pub messages: u32,
    /// How long it took.
    pub ms: u64,
}

/// Where a lookup's answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LookupSource {
    /// The directory.
    Dht,
    /// An earlier answer.
    Cache,
    /// The account lives here.
    Local,
}

impl ClientFrame {
    /// Its `type` on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SignUp { .. } => "sign_up",
            Self::Restore { .. } => "restore",
            Self::FetchAccount { .. } => "fetch_account",
            Self::LinkRequest { .. } => "link_request",
            Self::LinkAnswer { .. } => "link_answer",
            Self::AppendLog { .. } => "append_log",
            Self::SignIn { .. } => "sign_in",
            Self::PutKeyPackages { .. } => "put_key_packages",
            Self::Resolve { .. } => "resolve",
            Self::FetchKeyPackages { .. } => "fetch_key_packages",
            Self::Create { .. } => "create",
            Self::Commit { .. } => "commit",
            Self::Succeed { .. } => "succeed",
            Self::Accuse { .. } => "accuse",
            Self::FetchTree { .. } => "fetch_tree",
            Self::FetchCommits { .. } => "fetch_commits",
            Self::FetchParticipants { .. } => "fetch_participants",
            Self::Introduce { .. } => "introduce",
            Self::Submit { .. } => "submit",
            Self::PutBlob { .. } => "put_blob",
            Self::FetchBlob { .. } => "fetch_blob",
            Self::Resume { .. } => "resume",
            Self::ArchivePut { .. } => "archive_put",
            Self::FetchArchive { .. } => "fetch_archive",
            Self::TrimArchive { .. } => "trim_archive",
            Self::PushKey { .. } => "push_key",
            Self::PushSubscribe { .. } => "push_subscribe",
            Self::PushUnsubscribe { .. } => "push_unsubscribe",
            Self::PushTest { .. } => "push_test",
            Self::Ack { .. } => "ack",
            Self::Whisper { .. } => "whisper",
        }
    }

    /// The id to echo.
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::SignUp { id, .. }
            | Self::Restore { id, .. }
            | Self::FetchAccount { id, .. }
            | Self::LinkRequest { id, .. }
            | Self::LinkAnswer { id, .. }
            | Self::AppendLog { id, .. }
            | Self::SignIn { id, .. }
            | Self::PutKeyPackages { id, .. }
            | Self::Resolve { id, .. }
            | Self::FetchKeyPackages { id, .. }
            | Self::Create { id, .. }
            | Self::Commit { id, .. }
            | Self::Succeed { id, .. }
            | Self::Accuse { id, .. }
            | Self::FetchTree { id, .. }
            | Self::FetchCommits { id, .. }
            | Self::FetchParticipants { id, .. }
            | Self::Introduce { id, .. }
            | Self::Submit { id, .. }
            | Self::PutBlob { id, .. }
            | Self::FetchBlob { id, .. }
            | Self::ArchivePut { id, .. }
            | Self::FetchArchive { id, .. }
            | Self::TrimArchive { id, .. }
            | Self::PushKey { id }
            | Self::PushSubscribe { id, .. }
            | Self::PushUnsubscribe { id }
            | Self::PushTest { id }
            | Self::Resume { id, .. } => Some(*id),
            Self::Ack { .. } | Self::Whisper { .. } => None,
        }
    }
}

/// What a device signs to sign in: bound to the node and to this connection's challenge.
pub fn sign_in_bytes(node: &NodeId, challenge: &[u8], account: &AccountId, device: &DeviceId) -> Vec<u8> {
    codec::encode(&(node, Bytes(challenge.to_vec()), account, device))
}

/// Signs in.
pub fn sign_in_signature(
    key: &SecretKey,
    node: &NodeId,
    challenge: &[u8],
    account: &AccountId,
    device: &DeviceId,
) -> Signature {
    key.sign(labels::SIGN_IN, &sign_in_bytes(node, challenge, account, device))
}

/// Whether a sign-in answer fits.
pub fn verify_sign_in(
    key: &PublicKey,
    node: &NodeId,
    challenge: &[u8],
    account: &AccountId,
    device: &DeviceId,
    signature: &Signature,
) -> bool {
    key.verify(labels::SIGN_IN, &sign_in_bytes(node, challenge, account, device), signature).is_ok()
}
