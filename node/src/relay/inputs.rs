//! What goes into a node's rules and what comes out.

use super::blobs::{BlobOrder, Fetched};
use super::{ConnectionId, GossipToken, InboundToken, RequestToken, Subscription};
use crate::push::Tested;
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::keys::PublicKey;
use roost_crypto::signed::Signed;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{BlobId, PushTag};
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::records::SignedOrgRecord;
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::{ClientFrame, LookupReport, ServerFrame};
use roost_protocol::wide::{Entries, Topic};
use std::collections::BTreeSet;

/// What happens to a node.
pub enum Input {
    /// A device connected; `challenge` is 32 random bytes.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// To be signed by the device.
        challenge: [u8; 32],
    },
    /// A frame of a device.
    Frame {
        /// The connection.
        connection: ConnectionId,
        /// The frame.
        frame: ClientFrame,
    },
    /// A connection ended.
    Closed {
        /// The connection.
        connection: ConnectionId,
    },
    /// Another node asks.
    Asked {
        /// To answer under.
        token: InboundToken,
        /// Who.
        peer: NodeId,
        /// What.
        request: NodeRequest,
    },
    /// Another node answered, or could not be reached.
    Answered {
        /// The request.
        token: RequestToken,
        /// The answer; `None` for a time-out or a lost connection.
        response: Option<NodeResponse>,
    },
    /// The directory answered for a handle.
    Resolved {
        /// The request.
        token: RequestToken,
        /// Record, log, report; or why not.
        result: Result<(Signed, IdentityLog, LookupReport), Refusal>,
    },
    /// Another node tells the newer log of an account; nothing of it is believed.
    LogLearned(IdentityLog),
    /// The node's own record, made anew.
    OwnRecord(SignedOrgRecord),
    /// An invite for sign-ups, made by the operator.
    Invite {
        /// By [`roost_protocol::invite::invite_key`].
        key: PublicKey,
        /// How many accounts it admits.
        uses: u32,
        /// End of validity, milliseconds since 1970.
        expires_ms: u64,
    },
    /// Entries of a wide conversation came by gossip; they have passed [`Entries::read`], and their envelope is signed by the source.
    Gossiped {
        /// To be judged under.
        token: GossipToken,
        /// Who published them, proven by the envelope's signature.
        source: NodeId,
        /// The topic.
        topic: Topic,
        /// What came.
        entries: Entries,
    },
    /// What was to be gossiped reached nobody.
    Untold(Topic),
    /// A test push has ended; `None`: too many were under way.
    PushTested {
        /// The connection that asked.
        connection: ConnectionId,
        /// Of the request.
        id: u64,
        /// How far it came.
        report: Option<Tested>,
    },
    /// A push service knows a subscription no more.
    PushGone {
        /// Of whom.
        account: AccountId,
        /// Which device's.
        device: DeviceId,
        /// The address that it was.
        endpoint: String,
    },
    /// All of a blob that a device has put is here, durably.
    BlobPut(BlobId),
    /// A fetch of a blob has ended.
    BlobFetched(BlobId, Fetched),
    /// A blob that was whole is not on the disk any more.
    BlobLost(BlobId),
    /// The disk has no room for new things, or has it again.
    LowSpace(bool),
    /// Time passed.
    Tick,
}

impl Input {
    /// A name for whoever counts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Frame { frame, .. } => frame.name(),
            Self::Closed { .. } => "closed",
            Self::Asked { request, .. } => match request {
                NodeRequest::Hello(_) => "asked_hello",
                NodeRequest::Deliver(_) => "asked_deliver",
                NodeRequest::Fetch { .. } => "asked_fetch",
                NodeRequest::Feeds { .. } => "asked_feeds",
                NodeRequest::Create(_) => "asked_create",
                NodeRequest::Commit(_) => "asked_commit",
                NodeRequest::Succeed(_) => "asked_succeed",
                NodeRequest::PublicState { .. } => "asked_public_state",
                NodeRequest::Equivocation(_) => "asked_equivocation",
                NodeRequest::Tree { .. } => "asked_tree",
                NodeRequest::Participants { .. } => "asked_participants",
                NodeRequest::Introduce { .. } => "asked_introduce",
                NodeRequest::KeyPackages { .. } => "asked_key_packages",
                NodeRequest::Log { .. } => "asked_log",
                NodeRequest::Blob { .. } => "asked_blob",
                NodeRequest::Held(_) => "asked_held",
                NodeRequest::Whisper { .. } => "asked_whisper",
            },
            Self::Answered { .. } => "answered",
            Self::Resolved { .. } => "resolved",
            Self::OwnRecord(_) => "own_record",
            Self::Invite { .. } => "invite",
            Self::LogLearned(_) => "log_learned",
            Self::Gossiped { .. } => "gossiped",
            Self::Untold(_) => "untold",
            Self::PushTested { .. } => "push_tested",
            Self::PushGone { .. } => "push_gone",
            Self::BlobPut(_) => "blob_put",
            Self::BlobFetched(..) => "blob_fetched",
            Self::BlobLost(_) => "blob_lost",
            Self::LowSpace(_) => "low_space",
            Self::Tick => "tick",
        }
    }
}

/// What a node does, after its rows are durable; [`Output::Early`] and [`Output::Judged`] need not wait for them.
#[derive(Debug)]
pub enum Output {
    /// To a device, an entry that its writer keeps until our custody, or the word of another home that it has custody: it may leave
    /// before the rows are durable, but not before what the same connection is to get first.
    Early(ConnectionId, ServerFrame),
    /// To a device.
    Send(ConnectionId, ServerFrame),
    /// A new connection of the same device replaces this one, or it broke the protocol.
    Close(ConnectionId),
    /// To a node that asked.
    Answer(InboundToken, NodeResponse),
    /// To another node.
    Ask(RequestToken, NodeId, NodeRequest),
    /// To the directory.
    Resolve(RequestToken, Handle),
    /// Into the directory: an account of ours and its handle record.
    Publish {
        /// The log.
        log: IdentityLog,
        /// The handle record.
        handle_record: Signed,
        /// One of the two is new, so others are told.
        changed: bool,
    },
    /// Takes part in the gossip of a conversation from now on, or its nodes have changed.
    Join {
        /// The topic.
        topic: Topic,
        /// The homes of its participants, this node's included: nobody else is heard or told.
        nodes: BTreeSet<NodeId>,
    },
    /// Takes part in it no longer.
    Leave(Topic),
    /// Tells entries of ours by gossip.
    Gossip(Topic, Entries),
    /// Wakes a device that is away.
    Push(Subscription, PushTag),
    /// What waits to wake a device need not any more.
    PushForget(DeviceId),
    /// Pushes once, for who asks on a connection under an id.
    PushTest(ConnectionId, u64, Subscription),
    /// Moves bytes of a blob.
    Blob(BlobOrder),
    /// What became of what was heard by gossip. It says nothing of what is held, so it need not wait for the rows.
    Judged(GossipToken, Hearsay),
}

/// What becomes of entries that were heard by gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearsay {
    /// It is passed on: whether it could be held here or not, it may be for others.
    PassOn,
    /// It is not passed on, and nobody is to blame: what others know may differ.
    Drop,
}
