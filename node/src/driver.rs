//! The driver: where rules, network, store and clock meet. It decides nothing.
//!
//! One thread owns the relay and the store. It takes what queued while the last batch was made durable, lets the rules
//! handle it over one overlay, commits once, and only then lets the outputs leave. It never lingers for more.
//! A store that fails ends the process: what is not durable must not be acknowledged.

use crate::metrics::{Metrics, Stopwatch};
use crate::network::{self, InboundRequest, Network, NetworkConfig, NetworkError};
use crate::publisher::{Offer, Publisher};
use crate::relay::{ConnectionId, Identity, InboundToken, Input, Inspector, Limits, Output, Relay};
use crate::store::{Overlay, SledStore, Store as _, StoreError, sled_engine::LOCK_WAIT};
use crate::way;
use libp2p::Multiaddr;
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, NodeId, OrgId};
use roost_crypto::keys::{PublicKey, SecretKey};
use roost_crypto::sabotage::Sabotage;
use roost_crypto::signed::Signed;
use roost_protocol::codec;
use roost_protocol::gossip::DirectoryChange;
use roost_protocol::handle::Handle;
use roost_protocol::ids::Incarnation;
use roost_protocol::limits;
use roost_protocol::peer::{NodeHello, NodeRequest, NodeResponse};
use roost_protocol::records::{
    HandleRecord, NameClaim, NameClaims, NodeAddress, OrgRecord, RecordKey, SignedOrgRecord, VerifiedRecord,
};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, LookupReport, LookupSource, ServerFrame};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument as _;

/// Commands waiting for the relay: about a second of full load.
const QUEUE: usize = 4096;
/// Commands of one batch: more would make the first of them wait.
const BATCH_COMMANDS: usize = 256;
/// Bytes to be written after which a batch is closed: a quarter of what the store takes at once, for the last one may be large.
const BATCH_BYTES: usize = crate::store::BATCH_BYTES_MAX / 4;
/// Frames waiting for one connection; a device that reads slower is disconnected and resumes.
const CONNECTION_QUEUE: usize = 1024;
/// Pause between two publications of the node's own records and its accounts' logs.
const REPUBLISH: Duration = Duration::from_secs(6 * 3600);
/// Accounts of one page of such a round: the next is read when the publisher has room.
const PAGE_ACCOUNTS: usize = 128;

/// What a node is started with.
pub struct NodeConfig {
    /// The organisation's root key.
    pub org_key: SecretKey,
    /// The node's key.
    pub node_key: SecretKey,
    /// The organisation's name.
    pub name: String,
    /// Whether sign-up needs no invite.
    pub open_registration: bool,
    /// Directory of the store; made when absent.
    pub store: PathBuf,
    /// libp2p addresses to listen on.
    pub listen: Vec<Multiaddr>,
    /// Nodes to meet first, each with its `/p2p/` part.
    pub bootstrap: Vec<Multiaddr>,
    /// Names whose organisation the operator has fixed.
    pub pins: BTreeMap<String, OrgId>,
    /// A hint for clients that choose the nearest bridge.
    pub region: String,
    /// How much another node may ask of this one.
    pub peer_rates: network::Rates,
    /// How often accounts and other nodes may cost it something.
    pub limits: Limits,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network does not start.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The operating system gives no thread.
    #[error("no thread for the relay: {0}")]
    Thread(std::io::Error),
    /// The node ended while it started.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The node has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

/// What leaves for a device.
#[expect(clippy::large_enum_variant, reason = "nearly every one is a frame; a box would cost an allocation a message")]
#[derive(Debug)]
pub enum ToDevice {
    /// A frame.
    Frame(ServerFrame),
    /// Close the connection.
    Close,
}

/// Where an account's bridges are.
#[derive(Debug, Clone, Serialize)]
pub struct Discovery {
    /// The handle.
    pub handle: Handle,
    /// The account.
    pub account: AccountId,
    /// Its homes' bridges, best first.
    pub bridges: Vec<Bridge>,
    /// Ask again after this, milliseconds since 1970.
    pub fresh_until_ms: u64,
}

/// One bridge.
#[derive(Debug, Clone, Serialize)]
pub struct Bridge {
    /// Base URL.
    pub url: String,
    /// The organisation.
    pub org_id: OrgId,
    /// The node.
    pub peer_id: NodeId,
    /// A hint for the nearest.
    pub region: String,
    /// 0 idle, 1 full.
    pub load: f32,
}

/// What `lookup` tells.
#[derive(Debug, Clone)]
pub struct Found {
    /// The account.
    pub account: AccountId,
    /// Its homes.
    pub homes: Vec<NodeId>,
    /// Last position of its identity log.
    pub seq: u64,
    /// How it was found.
    pub report: LookupReport,
}

/// A node's place in the network, as far as it can tell itself.
#[derive(Debug, Clone)]
pub struct Health {
    /// Nodes connected.
    pub peers: usize,
    /// The organisation's own record was found, by so many requests to others; `None`: it was not.
    pub own_record: Option<u32>,
    /// Who claims the organisation's name in the directory.
    pub claimants: Vec<OrgId>,
    /// How far a peer's record was signed ahead of this machine's clock, seconds, at most.
    pub peer_clock_ahead_s: u64,
    /// Where it listens.
    pub listen: Vec<String>,
}

enum Command {
    Input(Input),
    Frame {
        connection: ConnectionId,
        frame: ClientFrame,
        since: Stopwatch,
    },
    Connect {
        challenge: [u8; 32],
        reply: oneshot::Sender<(ConnectionId, mpsc::Receiver<ToDevice>)>,
    },
    Asked(InboundRequest),
    /// A page of accounts, from where the last one ended; the reply is where this one does.
    Republish {
        from: Option<Vec<u8>>,
        next: oneshot::Sender<Option<Vec<u8>>>,
    },
    Flush(oneshot::Sender<()>),
    Stop,
}

/// A running node.
pub struct Node {
    handle: NodeHandle,
    listen: Vec<Multiaddr>,
    thread: std::thread::JoinHandle<()>,
}

/// What the bridge holds of a node.
#[derive(Clone)]
pub struct NodeHandle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

struct Shared {
    config: NodeConfig,
    incarnation: Incarnation,
    network: Network,
    publisher: Publisher,
    listen: Vec<Multiaddr>,
    ready: AtomicBool,
}

impl Node {
    /// Opens the store, joins the network, starts the relay. Not ready before [`NodeHandle::announce`].
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let store = SledStore::open(&config.store, LOCK_WAIT)?;
        let incarnation = Incarnation(store.incarnation());
        let records = store.raw_tree("dht")?;
        let seed = config.node_key.seed();
        let mut pins = config.pins.clone();
        pins.insert(config.name.clone(), OrgId::of(&config.org_key.public_key()));
        let (network, asked, listen) = network::start(NetworkConfig {
            key: *seed,
            listen: config.listen.clone(),
            bootstrap: config.bootstrap.clone(),
            records: Some(records),
            pins,
            rates: config.peer_rates,
        })
        .await?;
        let identity = Identity {
            org_key: SecretKey::from_seed(&config.org_key.seed()),
            node_key: SecretKey::from_seed(&config.node_key.seed()),
            name: config.name.clone(),
            open: config.open_registration,
            incarnation,
            limits: config.limits,
            inspector: Inspector::default(),
            sabotage: Sabotage::NONE,
        };
        let metrics = network.metrics();
        let relay = {
            let mut rows = Overlay::new(&store);
            Relay::open(identity, &mut rows)?
        };
        let (commands, queue) = mpsc::channel(QUEUE);
        let (wake, woken) = watch::channel(relay.wake_at());
        let publisher = Publisher::default();
        let (puts, counted) = (config.peer_rates.puts, Arc::clone(&metrics));
        let shared = Shared {
            config,
            incarnation,
            network: network.clone(),
            publisher: publisher.clone(),
            listen: listen.clone(),
            ready: AtomicBool::new(false),
        };
        let handle = NodeHandle { commands: commands.clone(), shared: Arc::new(shared) };
        let runtime = tokio::runtime::Handle::current();
        let (publishing, announcing) = (network.clone(), network.clone());
        runtime.spawn(publisher.clone().run(
            puts,
            move |key, value| {
                let network = publishing.clone();
                async move { network.publish(key, value).await }
            },
            move |change| announce(&announcing, change),
            move |waiting| {
                counted.publications_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
            },
        ));
        let worker = Worker {
            relay,
            store,
            network,
            publisher,
            runtime: runtime.clone(),
            commands: commands.clone(),
            connections: HashMap::new(),
            asked: HashMap::new(),
            next_connection: 1,
            next_asked: 1,
            metrics,
            batches: 0,
            space_is_low: false,
        };
        worker.metrics.notes(worker.relay.notes(), now_ms());
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || {
                let guard = AbortOnPanic;
                worker.run(queue, &wake);
                std::mem::forget(guard);
            })
            .map_err(NodeError::Thread)?;
        runtime.spawn(forward(asked, commands.clone()));
        runtime.spawn(learn(handle.shared.network.learned_logs(), commands.clone()));
        runtime.spawn(ticks(woken, commands.clone()));
        Ok(Self { handle, listen, thread })
    }

    /// For the bridge.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// The addresses it listens on.
    pub fn listen(&self) -> &[Multiaddr] {
        &self.listen
    }

    /// Takes no more commands, finishes those that wait, leaves the network.
    pub async fn stop(self) {
        self.handle.shared.ready.store(false, Ordering::Relaxed);
        let _ = self.handle.commands.send(Command::Stop).await;
        self.handle.shared.network.shutdown().await;
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

impl NodeHandle {
    /// Tells the network where this node's bridge is, publishes the organisation and the accounts; then the node is ready.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn announce(&self, web: &str) -> Result<(), Stopped> {
        self.renew(web).await?;
        let (flushed, flush) = oneshot::channel();
        self.send(Command::Flush(flushed)).await?;
        flush.await.map_err(|_| Stopped)?;
        self.shared.ready.store(true, Ordering::Relaxed);
        let (handle, web) = (self.clone(), web.to_owned());
        tokio::spawn(async move {
            loop {
                handle.publish_org(&handle.own_record(&web).await);
                // The next round comes after this one and no sooner than its time.
                let time = tokio::time::sleep(REPUBLISH);
                if handle.publish_accounts().await.is_err() {
                    break;
                }
                time.await;
                if handle.renew(&web).await.is_err() {
                    break;
                }
            }
        });
        Ok(())
    }

    /// Publishes all accounts, page by page, as the publisher has room.
    async fn publish_accounts(&self) -> Result<(), Stopped> {
        let mut from = None;
        loop {
            let (next, page) = oneshot::channel();
            self.send(Command::Republish { from, next }).await?;
            from = page.await.map_err(|_| Stopped)?;
            if from.is_none() {
                return Ok(());
            }
            self.shared.publisher.room().await;
        }
    }

    /// Signs the organisation's record anew and says it to peers and to the rules.
    async fn renew(&self, web: &str) -> Result<(), Stopped> {
        let record = self.own_record(web).await;
        let hello = NodeHello {
            versions: vec![roost_protocol::VERSION],
            features: roost_protocol::FEATURES.iter().map(|name| (*name).to_owned()).collect(),
            org: record.clone(),
            incarnation: self.shared.incarnation,
        };
        self.shared.network.set_hello(hello).map_err(|_| Stopped)?;
        self.input(Input::OwnRecord(record)).await
    }

    /// A device connected; the challenge is 32 random bytes. The receiver ends when the device must go.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn connect(&self, challenge: [u8; 32]) -> Result<(ConnectionId, mpsc::Receiver<ToDevice>), Stopped> {
        let (reply, connected) = oneshot::channel();
        self.send(Command::Connect { challenge, reply }).await?;
        connected.await.map_err(|_| Stopped)
    }

    /// A frame of a device. Waits while the relay's queue is full: the device feels it as backpressure.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn frame(&self, connection: ConnectionId, frame: ClientFrame) -> Result<(), Stopped> {
        let span = way::bridge(&frame);
        self.send(Command::Frame { connection, frame, since: Stopwatch::start() }).instrument(span).await
    }

    /// A device is gone.
    pub async fn closed(&self, connection: ConnectionId) {
        let _ = self.input(Input::Closed { connection }).await;
    }

    /// Makes an invite known, durable when this returns.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn invite(&self, key: PublicKey, uses: u32, expires_ms: u64) -> Result<(), Stopped> {
        self.input(Input::Invite { key, uses, expires_ms }).await?;
        let (flushed, flush) = oneshot::channel();
        self.send(Command::Flush(flushed)).await?;
        flush.await.map_err(|_| Stopped)
    }

    /// Finds an account as the node's own devices would.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is missing.
    pub async fn lookup(&self, handle: &Handle) -> Result<Found, Refusal> {
        let resolution = self.shared.network.resolve_handle(handle).await.map_err(|error| refusal(&error))?;
        let log = roost_crypto::identity_log::VerifiedLog::verify(&resolution.log)
            .map_err(|error| Refusal::later(Code::BadLog, error.to_string(), "try again"))?;
        let mut report = resolution.report;
        if resolution.home == self.node() {
            report.source = LookupSource::Local;
        }
        Ok(Found { account: log.account(), homes: log.homes().to_vec(), seq: log.head().seq, report })
    }

    /// The bridges of an account's homes.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is missing.
    pub async fn discover(&self, handle: Handle) -> Result<Discovery, Refusal> {
        let resolution = self.shared.network.resolve_handle(&handle).await.map_err(|error| refusal(&error))?;
        let log = roost_crypto::identity_log::VerifiedLog::verify(&resolution.log)
            .map_err(|error| Refusal::later(Code::BadLog, error.to_string(), "try again"))?;
        let bridges = resolution.home_org.iter().flat_map(|org| {
            let org_id = OrgId::of(&org.root);
            org.nodes.iter().filter(|node| log.homes().contains(&node.node)).map(move |node| Bridge {
                url: node.web.clone(),
                org_id,
                peer_id: node.node,
                region: node.region.clone(),
                load: 0.0,
            })
        });
        let bridges = bridges.collect();
        let fresh_until_ms = now_ms() + 600_000;
        Ok(Discovery { handle, account: log.account(), bridges, fresh_until_ms })
    }

    /// All metrics in the OpenMetrics text format.
    pub async fn scrape(&self) -> String {
        let handle = self.clone();
        let look = move || {
            let (commands, shared) = (&handle.commands, &handle.shared);
            let waiting = commands.max_capacity().saturating_sub(commands.capacity());
            let peers = shared.network.peers_connected();
            handle.metrics().text(&shared.config.store, waiting, peers, now_ms())
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// What is counted, for the bridge to feed.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.network.metrics()
    }

    /// What the operator is told of the node's place in the network; asks the directory.
    pub async fn health(&self) -> Health {
        let network = &self.shared.network;
        let name = &self.shared.config.name;
        let (own, claims) = tokio::join!(
            network.get(RecordKey::Org(self.org())),
            // The name's key has every claim to it, also those that a pin hides from lookups.
            network.get(RecordKey::of_name(name)),
        );
        let claimants = match claims.map(|found| found.record) {
            Ok(VerifiedRecord::Name(claims)) => claims.iter().map(|(claim, _)| OrgId::of(&claim.root)).collect(),
            _ => Vec::new(),
        };
        Health {
            peers: network.peers_connected(),
            own_record: own.ok().map(|found| found.messages),
            claimants,
            peer_clock_ahead_s: self.metrics().peer_clock_ahead_s(),
            listen: self.shared.listen.iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether devices are served.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed)
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        NodeId::of(self.shared.config.node_key.public_key())
    }

    /// Its organisation.
    pub fn org(&self) -> OrgId {
        OrgId::of(&self.shared.config.org_key.public_key())
    }

    async fn input(&self, input: Input) -> Result<(), Stopped> {
        self.send(Command::Input(input)).await
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    async fn own_record(&self, web: &str) -> SignedOrgRecord {
        let config = &self.shared.config;
        let now_s = now_ms() / 1000;
        // A clock that was ahead has signed with a number that is still to come; what follows must be newer all the same.
        let newest = self.shared.network.newest_seq(RecordKey::Org(self.org())).await.unwrap_or(0);
        let record = OrgRecord {
            root: config.org_key.public_key(),
            name: config.name.clone(),
            nodes: vec![NodeAddress {
                node: self.node(),
                addrs: self.shared.listen.iter().take(limits::NODE_ADDRESSES_MAX).cloned().collect(),
                web: web.to_owned(),
                region: config.region.clone(),
                weight: 100,
            }],
            seq: now_s.max(newest.saturating_add(1)),
            expires: now_s + limits::RECORD_LIFE_S,
        };
        SignedOrgRecord::sign(&record, &config.org_key, &[&config.node_key])
    }

    fn publish_org(&self, record: &SignedOrgRecord) {
        let config = &self.shared.config;
        let now_s = now_ms() / 1000;
        let claim = NameClaim {
            root: config.org_key.public_key(),
            name: config.name.clone(),
            seq: now_s,
            expires: now_s + limits::RECORD_LIFE_S,
        };
        let claim = claim.sign(&config.org_key);
        let change = DirectoryChange::Org { record: Some(record.clone()), claim: Some(claim.clone()) };
        let claims = NameClaims(vec![claim]);
        for (key, value, change) in [
            (RecordKey::Org(self.org()), codec::encode(record), None),
            (RecordKey::of_name(&config.name), codec::encode(&claims), Some(Box::new(change))),
        ] {
            self.shared.publisher.offer(Offer { key, value, news: true, change });
        }
    }
}

struct Worker {
    relay: Relay,
    store: SledStore,
    network: Network,
    publisher: Publisher,
    runtime: tokio::runtime::Handle,
    commands: mpsc::Sender<Command>,
    connections: HashMap<ConnectionId, mpsc::Sender<ToDevice>>,
    asked: HashMap<InboundToken, oneshot::Sender<NodeResponse>>,
    next_connection: ConnectionId,
    next_asked: InboundToken,
    metrics: Arc<Metrics>,
    /// Batches so far: what the steps of one commit have in common.
    batches: u64,
    space_is_low: bool,
}

/// A panic of the relay's thread ends the process: a node without rules must not look alive.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

impl Worker {
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
            let at = self.relay.wake_at();
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
        let mut rows = Overlay::new(&self.store);
        if low != self.space_is_low {
            let (free, floor) = space.map_or((0, 0), |space| (space.free, space.floor()));
            tracing::warn!(free, floor, low, "free space on the store's disk");
            self.space_is_low = low;
            outputs.extend(self.relay.handle(Input::LowSpace(low), &mut rows, now_ms())?);
        }
        let mut next = Some(first);
        let mut taken = 0;
        let mut notes = Vec::new();
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
        let batch = rows.into_batch();
        let outputs = self.leave_early(outputs);
        if !batch.is_empty() {
            let (_step, time) = (way::commit(self.batches, taken).entered(), Stopwatch::start());
            self.store.commit(batch)?;
            self.metrics.commit_seconds.observe(time.seconds());
        }
        self.metrics.committed(taken, &notes, now_ms());
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

    /// Lets out what need not wait for the commit, unless something before it on the same connection must; gives the rest.
    fn leave_early(&mut self, outputs: Vec<Output>) -> Vec<Output> {
        let mut waiting = HashSet::new();
        let mut rest = Vec::with_capacity(outputs.len());
        for output in outputs {
            match output {
                Output::Early(connection, _) if !waiting.contains(&connection) => self.leave(output),
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
            Output::Send(connection, frame) | Output::Early(connection, frame) => {
                self.metrics.frame_leaves(&frame);
                way::leaves(&frame);
                let full = self
                    .connections
                    .get(&connection)
                    .is_some_and(|sender| sender.try_send(ToDevice::Frame(frame)).is_err());
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
        }
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
            if silent {
                network.find_again(peer).await;
            }
        };
        self.runtime.spawn(asked.instrument(span));
    }
}

/// A hint that is lost costs a lookup.
fn announce(network: &Network, change: DirectoryChange) {
    if let Err(error) = network.announce(change) {
        tracing::debug!(%error, "a change was not told to other nodes");
    }
}

async fn forward(mut asked: mpsc::Receiver<InboundRequest>, commands: mpsc::Sender<Command>) {
    while let Some(request) = asked.recv().await {
        if commands.send(Command::Asked(request)).await.is_err() {
            break;
        }
    }
}

/// What other nodes tell of accounts goes to the rules, which know whether the account matters here.
async fn learn(logs: Option<mpsc::Receiver<IdentityLog>>, commands: mpsc::Sender<Command>) {
    let Some(mut logs) = logs else { return };
    while let Some(log) = logs.recv().await {
        if commands.send(Command::Input(Input::LogLearned(log))).await.is_err() {
            break;
        }
    }
}

async fn ticks(mut wake: watch::Receiver<Option<u64>>, commands: mpsc::Sender<Command>) {
    loop {
        let at = *wake.borrow_and_update();
        let pause =
            at.map_or(Duration::from_secs(3600), |at| Duration::from_millis(at.saturating_sub(now_ms()).max(20)));
        tokio::select! {
            changed = wake.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(pause) => {
                if commands.send(Command::Input(Input::Tick)).await.is_err() {
                    break;
                }
            }
        }
    }
}

fn refusal(error: &NetworkError) -> Refusal {
    match error {
        NetworkError::NameConflict { .. } => {
            Refusal::later(Code::NameConflict, error.to_string(), "pin the right organisation in the node's config")
        }
        NetworkError::NotFound => Refusal::later(
            Code::NotFound,
            "nobody of this name was found",
            "check the spelling, or wait until the other node is up",
        ),
        other => Refusal::later(Code::Unreachable, other.to_string(), "it can be tried again"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver is the edge where the rules get their clock")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
