//! The relay's thread: takes what queued, lets the rules handle it, commits once, lets the outputs leave.
//!
//! Rows of which nobody is told anything (a device's acknowledgement, another home's custody) need no fsync of their own: they
//! wait a moment for a batch that has one. What is durable is at every time all that happened up to some batch, and a crash
//! forgets nothing that anybody was told of.

use super::blobs::{self, Carrier};
use super::{Command, ToDevice, now_ms, refusal};
use crate::blobs::Blobs;
use crate::metrics::{Metrics, Stopwatch};
use crate::network::{InboundRequest, Network, NetworkError};
use crate::publisher::{Offer, Publisher};
use crate::push::{Order, Pusher};
use crate::relay::{BlobOrder, ConnectionId, InboundToken, Input, Note, Output, Relay};
use crate::store::{Batch, Overlay, SledStore, Store as _, StoreError};
use crate::way;
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{NodeId, OrgId};
use roost_crypto::signed::Signed;
use roost_protocol::codec;
use roost_protocol::gossip::DirectoryChange;
use roost_protocol::limits;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::records::{HandleRecord, RecordKey};
use roost_protocol::socket::ServerFrame;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument as _;

/// Commands of one batch: more would make the first of them wait.
const BATCH_COMMANDS: usize = 256;
/// Bytes to be written after which a batch is closed: a quarter of what the store takes at once, for the last one may be large.
const BATCH_BYTES: usize = crate::store::BATCH_BYTES_MAX / 4;
/// Frames waiting for one connection; a device that reads slower is disconnected and resumes.
const CONNECTION_QUEUE: usize = 1024;
/// How long rows wait for a batch of which somebody is told, milliseconds: some tens of them share one fsync while people talk,
/// and a crash forgets no more than what is said again within a moment.
const UNTOLD_MS: u64 = 50;
/// Accounts of one page of such a round: the next is read when the publisher has room.
const PAGE_ACCOUNTS: usize = 128;

/// What the relay's thread owns.
pub(super) struct Worker {
    pub(super) relay: Relay,
    pub(super) store: SledStore,
    pub(super) network: Network,
    pub(super) blobs: Blobs,
    pub(super) publisher: Publisher,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) connections: HashMap<ConnectionId, mpsc::Sender<ToDevice>>,
    pub(super) asked: HashMap<InboundToken, oneshot::Sender<NodeResponse>>,
    pub(super) next_connection: ConnectionId,
    pub(super) next_asked: InboundToken,
    pub(super) metrics: Arc<Metrics>,
    /// Batches so far: what the steps of one commit have in common.
    pub(super) batches: u64,
    pub(super) space_is_low: bool,
    pub(super) untold: Untold,
    pub(super) pusher: Option<Pusher>,
}

/// What batches wrote and noted of which nobody was told anything yet.
#[derive(Default)]
pub(super) struct Untold {
    rows: Batch,
    notes: Vec<Note>,
    /// When it must be on disk, milliseconds since 1970.
    until_ms: Option<u64>,
}

impl Untold {
    fn is_due(&self, now_ms: u64) -> bool {
        // A clock that was set back must not keep it from the disk.
        self.until_ms.is_some_and(|until| until <= now_ms || until > now_ms.saturating_add(UNTOLD_MS))
    }
}

/// A panic of the relay's thread ends the process: a node without rules must not look alive.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

impl Worker {
    /// Runs on a thread of its own until [`Command::Stop`]; `wake` is told when the rules want to be called again.
    ///
    /// # Errors
    /// What the operating system says when it gives no thread.
    pub(super) fn spawn(
        self,
        queue: mpsc::Receiver<Command>,
        wake: watch::Sender<Option<u64>>,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        std::thread::Builder::new().name("relay".into()).spawn(move || {
            let guard = AbortOnPanic;
            self.run(queue, &wake);
            std::mem::forget(guard);
        })
    }

    fn run(mut self, mut queue: mpsc::Receiver<Command>, wake: &watch::Sender<Option<u64>>) {
        while let Some(first) = queue.blocking_recv() {
            match self.batch(first, &mut queue) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "the store failed; the node stops before it acknowledges anything more");
                    std::process::abort();
                }
            }
            let at = self.relay.wake_at().into_iter().chain(self.untold.until_ms).min();
            wake.send_if_modified(|known| std::mem::replace(known, at) != at);
        }
    }

    /// One batch: handle, commit, let leave. `false` ends the node.
    fn batch(&mut self, first: Command, queue: &mut mpsc::Receiver<Command>) -> Result<bool, StoreError> {
        let space = self.store.space();
        // Not to know for a moment how much is free is no reason to stop; a disk that is full says so itself.
        let low = space.as_ref().map_or(self.space_is_low, |space| space.is_low(self.space_is_low));
        let mut outputs = Vec::new();
        let mut round = Vec::new();
        let mut flushed = Vec::new();
        let mut pages = Vec::new();
        let mut running = true;
        let Untold { rows, mut notes, until_ms } = std::mem::take(&mut self.untold);
        let mut rows = Overlay::resume(&self.store, rows);
        if low != self.space_is_low {
            let (free, floor) = space.map_or((0, 0), |space| (space.free, space.floor()));
            tracing::warn!(free, floor, low, "free space on the store's disk");
            self.space_is_low = low;
            outputs.extend(self.relay.handle(Input::LowSpace(low), &mut rows, now_ms())?);
        }
        let mut next = Some(first);
        let mut taken = 0;
        self.batches += 1;
        while let Some(command) = next {
            let input = match command {
                Command::Input(input) => {
                    if let Input::Closed { connection } = &input {
                        self.connections.remove(connection);
                    }
                    Some(input)
                }
                Command::Frame { connection, frame, since } => {
                    self.metrics.relay_wait_seconds.observe(since.seconds());
                    Some(Input::Frame { connection, frame })
                }
                Command::Connect { challenge, reply } => {
                    let (sender, receiver) = mpsc::channel(CONNECTION_QUEUE);
                    let connection = self.next_connection;
                    self.next_connection += 1;
                    self.connections.insert(connection, sender);
                    let _ = reply.send((connection, receiver));
                    Some(Input::Connected { connection, challenge })
                }
                Command::Asked(InboundRequest { peer, request, respond }) => {
                    let token = self.next_asked;
                    self.next_asked += 1;
                    self.asked.insert(token, respond);
                    Some(Input::Asked { token, peer, request })
                }
                Command::Republish { from, next } => {
                    let (page, end) = self.relay.publish_accounts(&mut rows, now_ms(), from, PAGE_ACCOUNTS)?;
                    round.extend(page);
                    pages.push((next, end));
                    None
                }
                Command::Flush(done) => {
                    flushed.push(done);
                    None
                }
                Command::Stop => {
                    running = false;
                    None
                }
            };
            if let Some(input) = input {
                self.metrics.input(&input);
                let _step = way::relay(&input, self.batches).entered();
                outputs.extend(self.relay.handle(input, &mut rows, now_ms())?);
                notes.extend_from_slice(self.relay.notes());
            }
            taken += 1;
            next = if taken < BATCH_COMMANDS && rows.batch().bytes() < BATCH_BYTES && running {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        outputs.extend(self.relay.settle(&mut rows, now_ms())?);
        notes.extend_from_slice(self.relay.notes());
        let rows = rows.into_batch();
        let outputs = self.leave_early(outputs);
        self.metrics.taken(taken);
        let untold = outputs.is_empty() && round.is_empty() && pages.is_empty() && flushed.is_empty() && running;
        let now_ms = now_ms();
        self.untold = Untold { until_ms: until_ms.or(Some(now_ms + UNTOLD_MS)), rows, notes };
        let Untold { rows, .. } = &self.untold;
        if !untold || rows.is_empty() || rows.bytes() >= BATCH_BYTES || self.untold.is_due(now_ms) {
            self.commit(taken, now_ms)?;
        }
        for output in outputs {
            self.leave(output);
        }
        for output in round {
            match output {
                Output::Publish { log, handle_record, changed } => self.publish(log, handle_record, changed, false),
                output => self.leave(output),
            }
        }
        for (next, end) in pages {
            let _ = next.send(end);
        }
        for done in flushed {
            let _ = done.send(());
        }
        Ok(running)
    }

    /// Makes durable what was written since the last commit.
    fn commit(&mut self, taken: usize, now_ms: u64) -> Result<(), StoreError> {
        let Untold { rows, notes, .. } = std::mem::take(&mut self.untold);
        if !rows.is_empty() {
            let (_step, time) = (way::commit(self.batches, taken).entered(), Stopwatch::start());
            self.store.commit(rows)?;
            self.metrics.commit_seconds.observe(time.seconds());
        }
        self.metrics.notes(&notes, now_ms);
        Ok(())
    }

    /// Lets out what need not wait for the commit, unless something before it on the same connection must; gives the rest.
    fn leave_early(&mut self, outputs: Vec<Output>) -> Vec<Output> {
        let mut waiting = HashSet::new();
        let mut rest = Vec::with_capacity(outputs.len());
        for output in outputs {
            match output {
                Output::Early(connection, _) if !waiting.contains(&connection) => self.leave(output),
                Output::Judged(..) => self.leave(output),
                _ => {
                    if let Output::Send(connection, _) | Output::Early(connection, _) | Output::Close(connection) =
                        &output
                    {
                        waiting.insert(*connection);
                    }
                    rest.push(output);
                }
            }
        }
        rest
    }

    fn leave(&mut self, output: Output) {
        match output {
            Output::Send(connection, ServerFrame::Whisper { .. }) if self.is_half_full(connection) => {}
            Output::Send(connection, frame) | Output::Early(connection, frame) => {
                self.metrics.frame_leaves(&frame);
                way::leaves(&frame);
                let full = self
                    .connections
                    .get(&connection)
                    .is_some_and(|sender| sender.try_send(ToDevice::Frame(Box::new(frame))).is_err());
                if full {
                    // The device reads too slowly or is gone: the inbox keeps what it has not acknowledged.
                    self.connections.remove(&connection);
                }
            }
            Output::Close(connection) => {
                if let Some(sender) = self.connections.remove(&connection) {
                    let _ = sender.try_send(ToDevice::Close);
                }
            }
            Output::Answer(token, response) => {
                if let Some(respond) = self.asked.remove(&token) {
                    let _ = respond.send(response);
                }
            }
            Output::Ask(token, peer, request) => self.ask(token, peer, request),
            Output::Resolve(token, handle) => {
                let (network, commands) = (self.network.clone(), self.commands.clone());
                self.runtime.spawn(async move {
                    let result = network
                        .resolve_handle(&handle)
                        .await
                        .map(|found| (found.handle_record, found.log, found.report))
                        .map_err(|error| refusal(&error));
                    let _ = commands.send(Command::Input(Input::Resolved { token, result })).await;
                });
            }
            Output::Publish { log, handle_record, changed } => {
                self.publish(log, handle_record, changed, true);
            }
            Output::Blob(order) => self.carry_out(order),
            Output::Join { topic, nodes } => gossip(self.network.join(topic, nodes)),
            Output::Leave(topic) => gossip(self.network.leave(topic)),
            Output::Gossip(topic, entries) => gossip(self.network.gossip(topic, entries)),
            Output::Push(to, tag) => self.order(Order::Push(to, tag)),
            Output::PushForget(device) => self.order(Order::Forget(device)),
            Output::PushTest(connection, id, to) => self.order(Order::Test(connection, id, to)),
            Output::Judged(token, hearsay) => gossip(self.network.judged(token, hearsay)),
        }
    }

    fn order(&self, order: Order) {
        if let Some(Order::Test(connection, id, _)) = self.pusher.as_ref().and_then(|pusher| pusher.order(order)) {
            let _ = self.commands.try_send(Command::Input(Input::PushTested { connection, id, report: None }));
        }
    }

    /// Bytes move beside the rules.
    fn carry_out(&mut self, order: BlobOrder) {
        let connection = blobs::connection_of(&order);
        let carrier = Carrier {
            blobs: self.blobs.clone(),
            network: self.network.clone(),
            commands: self.commands.clone(),
            metrics: Arc::clone(&self.metrics),
            device: connection.and_then(|connection| self.connections.get(&connection)).cloned(),
            respond: match order {
                BlobOrder::Give { token, .. } => self.asked.remove(&token),
                _ => None,
            },
        };
        self.runtime.spawn(carrier.carry_out(order));
    }

    /// Whether more than half of what may wait for a connection does: then it gets nothing that is only said in passing.
    fn is_half_full(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_some_and(|sender| sender.capacity() < CONNECTION_QUEUE / 2)
    }

    /// Hands the two records of an account to the publisher; `changed` is told to others once both are out.
    fn publish(&self, log: IdentityLog, handle_record: Signed, changed: bool, news: bool) {
        let account = VerifiedLog::verify(&log).map(|log| log.account());
        let handle = handle_record.peek::<HandleRecord>(limits::DHT_VALUE_BYTES_MAX);
        let (Ok(account), Ok(handle)) = (account, handle) else { return };
        let change =
            changed.then(|| DirectoryChange::Account { log: Some(log.clone()), handle: Some(handle_record.clone()) });
        for (key, value, change) in [
            (RecordKey::Account(account), codec::encode(&log), None),
            (
                RecordKey::Handle(handle.handle.key(&OrgId::of(&handle.root))),
                codec::encode(&handle_record),
                change.map(Box::new),
            ),
        ] {
            self.publisher.offer(Offer { key, value, news, change });
        }
    }

    fn ask(&self, token: u64, peer: NodeId, request: NodeRequest) {
        let (network, commands) = (self.network.clone(), self.commands.clone());
        let span = way::deliver(&request);
        let in_passing = matches!(request, NodeRequest::Whisper { .. });
        let flight = matches!(request, NodeRequest::Deliver(_)).then(|| self.metrics.in_flight());
        let asked = network.ask(peer, request);
        let asked = async move {
            let answer = match asked {
                Ok(asked) => asked.answer().await,
                Err(error) => Err(error),
            };
            way::answered(&answer);
            drop(flight);
            let response = match answer {
                Ok(response) => Some(response),
                Err(error) => {
                    tracing::debug!(%error, "a node did not answer");
                    None
                }
            };
            let silent = response.is_none();
            let _ = commands.send(Command::Input(Input::Answered { token, response })).await;
            // Nobody is looked for in the directory over a whisper.
            if silent && !in_passing {
                network.find_again(peer).await;
            }
        };
        self.runtime.spawn(asked.instrument(span));
    }
}

/// What gossip misses is delivered.
fn gossip(said: Result<(), NetworkError>) {
    if let Err(error) = said {
        tracing::debug!(%error, "the network was not told about gossip of entries");
    }
}
