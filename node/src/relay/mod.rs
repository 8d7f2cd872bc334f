//! The relay: every rule of a node, pure. Time, randomness, network answers and the store's rows are inputs.
//!
//! Contract: call [`Relay::handle`] with each input of a batch and an overlay over the store, then [`Relay::settle`]; commit what
//! the overlay collected, and only then let the outputs leave. Never reads a clock, never touches a socket or a file.
//!
//! Implements `docs/protocol.md`, sections "Between device and home" and "Between nodes".

mod accounts;
mod admission;
mod archive;
pub mod audit;
mod blobs;
mod commits;
mod contact;
mod conversations;
mod cursors;
mod delivery;
mod destination;
mod devices;
mod directory;
mod feeds;
mod inbox;
mod inputs;
mod linking;
mod lives;
mod log;
mod memo;
mod note;
mod push;
mod quotas;
mod requests;
mod rows;
mod spans;
mod standby;
mod successors;
mod whispers;
mod wide;

pub use accounts::AccountRow;
pub use blobs::{BlobOrder, Fetched};
pub use destination::Destination;
pub use inputs::{Hearsay, Input, Output};
pub use note::Note;
pub use push::{PushOffer, Subscription};
pub use quotas::{Limits, Quota, Rate};

use crate::store::{Overlay, StoreError};
use memo::Memo;
use requests::Pending;
use roost_crypto::bytes::Bytes;
use roost_crypto::group::{CommitView, GroupError, KeyPackageInfo, PublicView};
use roost_crypto::ids::{AccountId, DeviceId, NodeId, OrgId};
use roost_crypto::keys::SecretKey;
use roost_crypto::planted;
use roost_crypto::sabotage::Sabotage;
use roost_protocol::content::BlobRef;
use roost_protocol::ids::{FeedId, GroupId, Incarnation, MessageId};
use roost_protocol::limits;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::records::SignedOrgRecord;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One WebSocket connection, numbered by the bridge.
pub type ConnectionId = u64;
/// One request to another node or the directory, numbered by the relay.
pub type RequestToken = u64;
/// One request of another node, numbered by the driver.
pub type InboundToken = u64;

/// One message of gossip that waits to be judged, numbered by the network.
pub type GossipToken = u64;

/// What the relay checks MLS objects with: the real checks, but for simulations with the symbolic twin.
#[derive(Clone, Copy)]
pub struct Inspector {
    /// Validates a key package.
    pub key_package: fn(&[u8]) -> Result<KeyPackageInfo, GroupError>,
    /// Validates a GroupInfo with its tree.
    pub creation: fn(&[u8], &[u8]) -> Result<PublicView, GroupError>,
    /// Makes the public state of a group that begins.
    pub begin: BeginGroup,
    /// Judges a commit with its Welcome and GroupInfo by the public state; gives what it does and the state after it.
    pub judge: JudgeCommit,
    /// The ratchet tree of a public state.
    pub tree: fn(&[u8]) -> Result<Bytes, GroupError>,
}

/// GroupInfo, tree; what they say, and the state.
pub type BeginGroup = fn(&[u8], &[u8]) -> Result<(PublicView, Bytes), GroupError>;
/// State, commit, Welcome, GroupInfo; what the commit does, and the state after it.
pub type JudgeCommit = fn(&[u8], &[u8], Option<&[u8]>, &[u8]) -> Result<(CommitView, Bytes), GroupError>;

impl Default for Inspector {
    fn default() -> Self {
        Self {
            key_package: roost_crypto::group::inspect_key_package,
            creation: roost_crypto::group::inspect_creation,
            begin: roost_crypto::group::begin,
            judge: roost_crypto::group::judge,
            tree: roost_crypto::group::tree_of,
        }
    }
}

/// Who this node is.
pub struct Identity {
    /// The organisation's root key.
    pub org_key: SecretKey,
    /// The node's key.
    pub node_key: SecretKey,
    /// The organisation's name.
    pub name: String,
    /// Whether sign-up needs no invite.
    pub open: bool,
    /// The life of the store.
    pub incarnation: Incarnation,
    /// How often somebody may cost it something.
    pub limits: Limits,
    /// With what it wakes devices that are away, if it does.
    pub push: Option<PushOffer>,
    /// What checks MLS objects.
    pub inspector: Inspector,
    /// A rule that is broken on purpose.
    pub sabotage: Sabotage,
}

/// A device's connection.
struct Connection {
    challenge: [u8; 32],
    device: Option<(AccountId, DeviceId)>,
    /// Inbox position sent so far; `None` before `Resume`.
    sent: Option<u64>,
    acked: u64,
    /// What was pushed early and is to be placed in the inbox.
    early: Vec<inbox::Run>,
    /// Where a refused message must come first, and until when that is waited for.
    held: BTreeMap<GroupId, (MessageId, u64)>,
    /// What wants attention and was not acknowledged.
    unseen: push::Unseen,
}

/// A node's rules and what they remember between inputs; all of it can be rebuilt from the store.
pub struct Relay {
    identity: Identity,
    node: NodeId,
    org: OrgId,
    own_record: Option<SignedOrgRecord>,
    /// Nothing new is taken in; what is held goes on.
    space_is_low: bool,
    connections: BTreeMap<ConnectionId, Connection>,
    /// The signed-in connections of each account.
    present: BTreeMap<AccountId, BTreeSet<ConnectionId>>,
    /// Connections that may have something to get from their inbox.
    stirred: BTreeSet<ConnectionId>,
    /// Connections that were pushed entries early and not told their places yet.
    unplaced: BTreeSet<ConnectionId>,
    /// When they are told.
    place_at_ms: Option<u64>,
    pending: BTreeMap<RequestToken, Pending>,
    destinations: BTreeMap<NodeId, Destination>,
    next_token: RequestToken,
    /// What the clock showed last.
    last_now_ms: u64,
    outputs: Vec<Output>,
    memo: Arc<Mutex<Memo>>,
    /// Of the last input.
    notes: Vec<Note>,
    quotas: quotas::Quotas,
    /// New lives of nodes that had too many of them, and from when on each is believed.
    late_lives: BTreeMap<NodeId, (Incarnation, u64)>,
    /// Lives of nodes for which nothing was written yet.
    strangers: BTreeMap<NodeId, Incarnation>,
    /// Nodes in a new life whose earlier custody is being voided, a page of rows a batch.
    voiding: BTreeMap<NodeId, lives::Voiding>,
    contacts: contact::Contacts,
    /// Groups whose hub is being asked who takes part.
    asking_participants: BTreeSet<GroupId>,
    /// Accounts whose log a node is being asked for.
    asking_logs: BTreeSet<AccountId>,
    /// Whispers of this batch.
    passing: Vec<whispers::Passing>,
    /// Logs of this home that changed in the input under way.
    changed_logs: Vec<devices::ChangedLog>,
    links: linking::Links,
    /// Groups whose public state this node wants.
    standby: standby::Standby,
    /// Feeds of hubs whose missing entries are being fetched.
    fetching: BTreeSet<FeedId>,
    wide: wide::Wide,
    pushes: push::Pushes,
    blobs: blobs::Blobs,
}

/// One input's view of time and store.
pub(crate) struct Step<'a, 'b> {
    pub(crate) rows: &'a mut Overlay<'b>,
    pub(crate) now_ms: u64,
    /// What rows mean, so that no signature is verified and no long row read twice.
    memo: &'a Mutex<Memo>,
}

impl Step<'_, '_> {
    /// What was believed of rows.
    fn memo(&self) -> MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a frame or request has no positive answer: told, or the disk's fault.
pub(crate) enum Failure {
    Refused(Refusal),
    Store(StoreError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Relay {
    /// Rebuilds what is to be delivered from the rows.
    ///
    /// # Errors
    /// [`StoreError`] of the engine.
    pub fn open(identity: Identity, rows: &mut Overlay<'_>) -> Result<Self, StoreError> {
        let node = NodeId::of(identity.node_key.public_key());
        let org = OrgId::of(&identity.org_key.public_key());
        let mut relay = Self {
            quotas: quotas::Quotas::new(&identity.limits),
            late_lives: BTreeMap::new(),
            strangers: BTreeMap::new(),
            voiding: BTreeMap::new(),
            contacts: contact::Contacts::default(),
            asking_participants: BTreeSet::new(),
            asking_logs: BTreeSet::new(),
            passing: Vec::new(),
            changed_logs: Vec::new(),
            links: linking::Links::default(),
            standby: standby::Standby::default(),
            fetching: BTreeSet::new(),
            wide: wide::Wide::default(),
            pushes: push::Pushes::default(),
            blobs: blobs::Blobs::default(),
            identity,
            node,
            org,
            own_record: None,
            space_is_low: false,
            connections: BTreeMap::new(),
            present: BTreeMap::new(),
            stirred: BTreeSet::new(),
            unplaced: BTreeSet::new(),
            place_at_ms: None,
            pending: BTreeMap::new(),
            destinations: BTreeMap::new(),
            next_token: 1,
            last_now_ms: 0,
            outputs: Vec::new(),
            memo: Arc::default(),
            notes: Vec::new(),
        };
        if !planted!(relay.identity.sabotage, NodeOutboxNotLoaded) {
            relay.load_outbox(rows)?;
        }
        relay.note_waiting(rows)?;
        relay.load_standby(rows)?;
        relay.load_pushes(rows)?;
        relay.load_blobs(rows)?;
        Ok(relay)
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Takes one input; after the last of a batch comes [`Self::settle`]. The outputs may leave once `rows` is durable.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of this input may be acknowledged; the node stops.
    pub fn handle(&mut self, input: Input, rows: &mut Overlay<'_>, now_ms: u64) -> Result<Vec<Output>, StoreError> {
        self.notes.clear();
        let memo = Arc::clone(&self.memo);
        self.decide(input, rows, now_ms, &memo)
    }

    fn decide(
        &mut self,
        input: Input,
        rows: &mut Overlay<'_>,
        now_ms: u64,
        memo: &Mutex<Memo>,
    ) -> Result<Vec<Output>, StoreError> {
        self.watch_clock(now_ms);
        match input {
            Input::Connected { connection, challenge } => self.connected(connection, challenge),
            Input::Frame { connection, frame } => {
                let id = frame.id();
                let submitted = match &frame {
                    ClientFrame::Submit { group, message, .. } => Some((*group, *message)),
                    _ => None,
                };
                // What is refused leaves no row: the step works above the overlay and is taken over when it succeeds.
                let mut above = Overlay::new(&*rows);
                let result = self.frame(&mut Step { rows: &mut above, now_ms, memo }, connection, frame);
                let batch = above.into_batch();
                match result {
                    Ok(()) => rows.absorb(batch),
                    Err(Failure::Refused(error)) => {
                        self.wake_nobody();
                        self.notes.clear();
                        self.changed_logs.clear();
                        // Whatever the cause: a message behind this one must not pass it.
                        if let Some((group, message)) =
                            submitted.filter(|_| error.later || error.code == Code::WrongEpoch)
                        {
                            self.hold_turn(connection, group, message, now_ms);
                        }
                        self.send(connection, ServerFrame::Refused { id, error });
                    }
                    Err(Failure::Store(error)) => return Err(error),
                }
            }
            Input::Closed { connection } => {
                self.goes_away(rows, connection)?;
                self.forget(connection);
            }
            Input::Asked { token, request: NodeRequest::Blob { blob, offset }, .. } => {
                self.give_blob(&Step { rows, now_ms, memo }, token, blob, offset)?;
            }
            Input::Asked { token, peer, request } => {
                let mut above = Overlay::new(&*rows);
                let result = self.asked(&mut Step { rows: &mut above, now_ms, memo }, peer, request);
                let batch = above.into_batch();
                let response = match result {
                    Ok(response) => {
                        rows.absorb(batch);
                        response
                    }
                    Err(Failure::Refused(refusal)) => {
                        self.wake_nobody();
                        self.notes.clear();
                        self.changed_logs.clear();
                        NodeResponse::Refused(refusal)
                    }
                    Err(Failure::Store(error)) => return Err(error),
                };
                self.outputs.push(Output::Answer(token, response));
            }
            Input::Answered { token, response } => self.answered(&mut Step { rows, now_ms, memo }, token, response)?,
            Input::Resolved { token, result } => self.resolved(&mut Step { rows, now_ms, memo }, token, result)?,
            Input::LogLearned(log) => self.log_learned(&mut Step { rows, now_ms, memo }, &log)?,
            Input::OwnRecord(record) => self.own_record = Some(record),
            Input::Invite { key, uses, expires_ms } => {
                accounts::put_invite(&mut Step { rows, now_ms, memo }, &key, uses, expires_ms)
            }
            Input::Gossiped { token, source, topic, entries } => {
                self.gossiped(&mut Step { rows, now_ms, memo }, token, source, &topic, &entries)?;
            }
            Input::Untold(topic) => self.untold(&topic),
            Input::PushTested { connection, id, report } => self.push_tested(connection, id, report),
            Input::PushGone { account, device, endpoint } => {
                self.push_gone(&mut Step { rows, now_ms, memo }, account, device, &endpoint)?;
            }
            Input::BlobPut(blob) => self.blob_held(&mut Step { rows, now_ms, memo }, blob)?,
            Input::BlobFetched(blob, fetched) => {
                self.blob_fetched(&mut Step { rows, now_ms, memo }, blob, fetched)?;
            }
            Input::BlobLost(blob) => self.forget_blob(&mut Step { rows, now_ms, memo }, &blob)?,
            Input::LowSpace(low) => self.space_is_low = low,
            Input::Tick => {}
        }
        self.tell_changed_logs();
        Ok(std::mem::take(&mut self.outputs))
    }

    /// Ends a batch of inputs: what they brought is delivered and pushed together.
    ///
    /// # Errors
    /// As [`Self::handle`].
    pub fn settle(&mut self, rows: &mut Overlay<'_>, now_ms: u64) -> Result<Vec<Output>, StoreError> {
        let memo = Arc::clone(&self.memo);
        let mut step = Step { rows, now_ms, memo: &memo };
        self.notes.clear();
        self.meet_late(&mut step)?;
        self.void_custody(&mut step)?;
        self.keep_in_touch(&mut step)?;
        self.pump_standby(&mut step)?;
        self.look_at_wide(&mut step)?;
        self.gossip_entries(&mut step)?;
        self.say_custody(&mut step)?;
        self.pump_deliveries(&mut step)?;
        self.pump_inboxes(&mut step)?;
        self.pump_blobs(&mut step)?;
        self.let_whispers_pass(now_ms);
        Ok(std::mem::take(&mut self.outputs))
    }

    /// What the last input, the end of the batch, or opening did.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// When a delivery wants to be tried again, milliseconds since 1970.
    pub fn wake_at(&self) -> Option<u64> {
        let late = self.late_lives.values().map(|(_, at)| *at);
        let voiding = self.voiding.keys().map(|_| 0);
        self.destinations
            .values()
            .filter_map(Destination::wake_at)
            .chain(late)
            .chain(voiding)
            .chain(self.contacts.wake_at())
            .chain(self.standby.wake_at())
            .chain(self.place_at_ms)
            .chain(self.blobs.wake_at())
            .min()
    }

    /// A clock that was set back by more than a pause must not make anything wait for the time to come round again.
    fn watch_clock(&mut self, now_ms: u64) {
        let set_back = now_ms.saturating_add(limits::RETRY_DELAY_MS_MAX) < self.last_now_ms;
        if set_back && !planted!(self.identity.sabotage, ClockBelieved) {
            self.destinations.values_mut().for_each(Destination::due_at_once);
            self.late_lives.values_mut().for_each(|(_, at)| *at = now_ms);
            self.contacts.clock_set_back(now_ms);
            self.links.clock_set_back(now_ms);
            self.standby.due_at_once();
            self.blobs.due_at_once();
            self.place_at_ms = self.place_at_ms.map(|_| now_ms);
            self.connections.values_mut().for_each(|connection| connection.held.clear());
        }
        self.last_now_ms = now_ms;
    }

    fn connected(&mut self, connection: ConnectionId, challenge: [u8; 32]) {
        let (early, held, unseen) = (Vec::new(), BTreeMap::new(), push::Unseen::new());
        let state = Connection { challenge, device: None, sent: None, acked: 0, early, held, unseen };
        self.connections.insert(connection, state);
        let hello = ServerFrame::Hello {
            versions: vec![roost_protocol::VERSION],
            features: roost_protocol::FEATURES
                .iter()
                .copied()
                .chain(self.identity.push.is_some().then_some(roost_protocol::push::FEATURE))
                .map(str::to_owned)
                .collect(),
            node: self.node,
            org: self.org,
            name: self.identity.name.clone(),
            challenge: Bytes(challenge.to_vec()),
            incarnation: self.identity.incarnation,
        };
        self.send(connection, hello);
    }

    fn frame(&mut self, step: &mut Step<'_, '_>, connection: ConnectionId, frame: ClientFrame) -> Result<(), Failure> {
        if let ClientFrame::SignUp { .. }
        | ClientFrame::Restore { .. }
        | ClientFrame::Create { .. }
        | ClientFrame::Commit { .. }
        | ClientFrame::Succeed { .. }
        | ClientFrame::Introduce { .. }
        | ClientFrame::ArchivePut { .. }
        | ClientFrame::AppendLog { .. }
        | ClientFrame::Submit { .. } = frame
        {
            self.check_space()?;
        }
        match frame {
            ClientFrame::SignUp { id, handle, invite, log } => {
                self.sign_up(step, connection, id, &handle, invite.as_ref(), &log)
            }
            ClientFrame::Restore { id, handle_record, log } => self.restore(step, connection, id, handle_record, &log),
            ClientFrame::SignIn { id, account, device, signature } => {
                self.sign_in(step, connection, id, account, device, &signature)
            }
            ClientFrame::FetchAccount { id, account } => self.fetch_account(step, connection, id, &account),
            ClientFrame::LinkRequest { id, account, session, sealed } => {
                self.link_request(step, connection, id, account, (session, sealed))
            }
            other => {
                let device = self.device_of(connection)?;
                self.device_frame(step, connection, device, other)
            }
        }
    }

    fn device_frame(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        (account, device): (AccountId, DeviceId),
        frame: ClientFrame,
    ) -> Result<(), Failure> {
        match frame {
            ClientFrame::PutKeyPackages { id, packages, last_resort } => {
                self.may_put_key_packages(step, &account, packages.len())?;
                let inspect = self.identity.inspector.key_package;
                accounts::put_key_packages(step, inspect, account, device, &packages, last_resort.as_ref())?;
                self.send(connection, ServerFrame::Done { id });
                Ok(())
            }
            ClientFrame::Resolve { id, handle } => {
                self.may_resolve(step, &account)?;
                self.resolve(step, connection, id, handle)
            }
            ClientFrame::FetchKeyPackages { id, account: of } => {
                self.fetch_key_packages(step, connection, id, of, account)
            }
            ClientFrame::AppendLog { id, log } => self.append_log(step, connection, id, account, &log),
            ClientFrame::LinkAnswer { id, session, sealed } => {
                self.link_answer(step, connection, id, account, (session, sealed))
            }
            ClientFrame::Create { id, creation } => {
                self.may_create(step, &account, &creation)?;
                self.create(step, connection, id, account, creation)
            }
            ClientFrame::Commit { id, commit } => self.commit(step, connection, id, account, commit),
            ClientFrame::Succeed { id, successor } => self.succeed(step, connection, id, account, successor),
            ClientFrame::Accuse { id, proof } => {
                let group = successors::group_of_proof(&proof)?;
                if !conversations::group_head(step, &group)?.state.has(&account) {
                    return Err(conversations::not_member());
                }
                self.accused(step, &proof)?;
                self.send(connection, ServerFrame::Done { id });
                Ok(())
            }
            ClientFrame::FetchTree { id, group, epoch, offset } => {
                self.fetch_tree(step, connection, id, account, (group, epoch, offset))
            }
            ClientFrame::FetchCommits { id, group, behind } => {
                self.may_resume(step, &account)?;
                let entries = self.commits_behind(step, &account, &group, behind)?;
                self.send(connection, ServerFrame::Commits { id, entries });
                Ok(())
            }
            ClientFrame::FetchParticipants { id, group, epoch, behind } => {
                let logs = self.fetch_participants(step, account, (group, epoch), behind)?;
                self.send(connection, ServerFrame::Participants { id, logs });
                Ok(())
            }
            ClientFrame::Introduce { id, head, creation, lineage } => {
                self.may_introduce(step, &account, &creation)?;
                self.introduce(step, account, (&head, &lineage), &creation)?;
                self.send(connection, ServerFrame::Done { id });
                Ok(())
            }
            ClientFrame::Submit { id, group, epoch, message, attempt, payload, silent, blobs } => {
                let author = feeds::Author { account, device, message, attempt, silent };
                self.submit(step, connection, id, group, epoch, author, (payload, blobs))
            }
            ClientFrame::PutBlob { id, blob, bytes } => {
                self.put_blob(step, connection, account, (id, BlobRef { blob, bytes }))
            }
            ClientFrame::FetchBlob { id, blob, bytes, node } => {
                self.fetch_blob(step, connection, account, (id, BlobRef { blob, bytes }, node))
            }
            ClientFrame::Resume { id, incarnation, after } => {
                self.may_resume(step, &account)?;
                self.resume(step, connection, account, device, incarnation, after)?;
                self.send(connection, ServerFrame::Done { id });
                self.tell_equivocations(step, connection, &account)?;
                Ok(())
            }
            ClientFrame::ArchivePut { id, name, chunk } => {
                self.may_archive(step, &account)?;
                self.archive_put(step, connection, (account, device), (id, name, chunk))
            }
            ClientFrame::FetchArchive { id, after } => self.archive_page(step, connection, account, (id, after)),
            ClientFrame::TrimArchive { id, up_to } => {
                self.may_archive(step, &account)?;
                self.archive_trim(step, connection, account, (id, up_to))
            }
            ClientFrame::Whisper { group, epoch, payload } => {
                self.whisper(step, connection, &device, whispers::Whisper { group, epoch, account, payload })
            }
            ClientFrame::PushKey { id } => self.push_key(connection, id),
            ClientFrame::PushSubscribe { id, endpoint, p256dh, auth, muted } => {
                let wanted = push::Wanted { endpoint, p256dh, auth, muted };
                self.push_subscribe(step, connection, id, (account, device), wanted)
            }
            ClientFrame::PushUnsubscribe { id } => {
                self.push_unsubscribe(step, connection, id, (account, device));
                Ok(())
            }
            ClientFrame::PushTest { id } => self.push_test(step, connection, id, (account, device)),
            ClientFrame::Ack { inbox } => self.ack(step, connection, account, device, inbox),
            ClientFrame::SignUp { .. }
            | ClientFrame::Restore { .. }
            | ClientFrame::FetchAccount { .. }
            | ClientFrame::LinkRequest { .. }
            | ClientFrame::SignIn { .. } => Ok(()),
        }
    }

    /// Refuses what would fill the disk: later, because its sender keeps it.
    fn check_space(&self) -> Result<(), Failure> {
        if !self.space_is_low {
            return Ok(());
        }
        let mut refusal = Refusal::later(
            Code::Busy,
            "this node's disk is nearly full",
            "it is taken later; the node's operator has to make room",
        );
        refusal.retry_after_ms = Some(limits::LOW_SPACE_RETRY_MS);
        Err(refusal.into())
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.links.forget(connection);
        self.unplaced.remove(&connection);
        let account = self.connections.remove(&connection).and_then(|state| state.device).map(|(account, _)| account);
        if let Some(account) = account
            && let Some(present) = self.present.get_mut(&account)
        {
            present.remove(&connection);
            if present.is_empty() {
                self.present.remove(&account);
            }
        }
    }

    fn device_of(&self, connection: ConnectionId) -> Result<(AccountId, DeviceId), Failure> {
        self.connections.get(&connection).and_then(|connection| connection.device).ok_or_else(|| {
            Refusal::never(
                Code::NotSignedIn,
                "this needs a signed-in device",
                "answer the challenge with sign_in first",
            )
            .into()
        })
    }

    fn send(&mut self, connection: ConnectionId, frame: ServerFrame) {
        self.outputs.push(Output::Send(connection, frame));
    }
}

#[cfg(test)]
mod stories;
