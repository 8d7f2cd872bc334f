//! The libp2p edge: connections to other nodes, requests between them, and the directory.
//!
//! One task owns the swarm; everything else talks to it through [`Network`], which is cheap to clone, over bounded queues.
//! Decides nothing about messages or accounts: it carries requests, and finds records that certify themselves. Implements
//! `docs/protocol.md`, sections "Between nodes" and "Directory records".

mod addresses;
mod behaviour;
mod changes;
pub(crate) mod clock;
pub mod codec;
mod directory;
mod gossip;
mod guests;
pub mod hello;
mod judge;
mod links;
mod lookup;
mod marks;
mod paced;
mod pending;
mod rates;
mod record_store;
mod routing;
pub mod selection;
mod swarm_task;
mod transport;
mod unheld;
mod wide;

#[cfg(test)]
mod tests;

pub use hello::check as check_hello;
pub use libp2p::Multiaddr;
pub use lookup::Resolution;
pub use rates::{Rate, Rates};
pub use record_store::StoreError;
pub use selection::{Candidate, Choice, choose};
pub(crate) use transport::Traffic;
pub use wide::Wide;

use crate::metrics::{Metrics, Stopwatch};
use addresses::peer_of;
use lookup::Lookups;
use roost_protocol::gossip::DirectoryChange;
use roost_protocol::peer::{NodeHello, NodeRequest, NodeResponse};
use roost_protocol::records::{RecordKey, VerifiedRecord};
use roost_protocol::{IdentityLog, NodeId, OrgId, SecretKey};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use swarm_task::Command;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for the swarm task; beyond it callers are told [`NetworkError::Busy`].
const COMMANDS_MAX: usize = 1024;
/// Requests of peers that wait for the relay; beyond it peers are told `busy`.
const INBOUND_MAX: usize = 256;
/// A publication or a directory query, beyond the query's own time-out: only a stuck task takes so long.
const DIRECTORY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// What the network needs to start.
pub struct NetworkConfig {
    /// Seed of the node's Ed25519 key.
    pub key: [u8; 32],
    /// Where to listen; TCP port 0 takes a free one.
    pub listen: Vec<Multiaddr>,
    /// Nodes to join the network by, each ending with `/p2p/<PeerId>`.
    pub bootstrap: Vec<Multiaddr>,
    /// Where directory records are kept; `None`: in memory.
    pub records: Option<sled::Tree>,
    /// Which organisation a name means, by the operator's word. The node's own name belongs here too.
    pub pins: BTreeMap<String, OrgId>,
    /// How much a peer may ask.
    pub rates: Rates,
}

impl fmt::Debug for NetworkConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NetworkConfig")
            .field("listen", &self.listen)
            .field("bootstrap", &self.bootstrap)
            .field("pins", &self.pins.len())
            .field("rates", &self.rates)
            .finish_non_exhaustive()
    }
}

/// A request of another node, waiting for its answer.
///
/// A `Hello` comes once a connection, and whenever the peer's changes, *after* the network has verified and answered it:
/// only its incarnation is news, and `respond` leads nowhere.
#[derive(Debug)]
pub struct InboundRequest {
    /// Who asks, proven by the Noise handshake.
    pub peer: NodeId,
    /// What.
    pub request: NodeRequest,
    /// The answer; dropping it tells the peer `internal`.
    pub respond: oneshot::Sender<NodeResponse>,
}

/// What a directory lookup found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The bytes.
    pub value: Vec<u8>,
    /// What they say, verified.
    pub record: VerifiedRecord,
    /// This node's own store answered and nobody was asked.
    pub from_cache: bool,
    /// Kademlia rounds: libp2p does not count them, so 1 when anybody was asked.
    pub hops: u32,
    /// Requests sent.
    pub messages: u32,
}

/// The end of a directory query.
#[derive(Debug)]
struct Lookup {
    /// The best record, where one was found.
    found: Option<Found>,
    /// Requests sent.
    messages: u32,
    /// Somebody answered with what does not verify or is older than what is known: that nothing was found says little.
    doubtful: bool,
}

/// Why the network can't do what is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The transport could not be built, or a listen address is not to be had.
    #[error("transport: {0}")]
    Transport(String),
    /// A bootstrap address without `/p2p/<PeerId>` at its end.
    #[error("expected a bootstrap address that ends with /p2p/<PeerId>, got {0}")]
    Bootstrap(Multiaddr),
    /// A queue is full; try later.
    #[error("a queue of the network is full")]
    Busy,
    /// The network was shut down.
    #[error("the network was shut down")]
    Closed,
    /// No connection to the peer, or it broke; whether a request was carried out is open.
    #[error("the node cannot be reached")]
    Unreachable,
    /// No answer in time; whether a request was carried out is open.
    #[error("no answer in time")]
    Timeout,
    /// A record that may not be published.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody asked has a valid record.
    #[error("not found in the directory")]
    NotFound,
    /// Two organisations claim one name, and no pin decides.
    #[error("{} organisations claim the name {name}: {}; pin one of them", orgs.len(), list(orgs))]
    NameConflict {
        /// The name.
        name: String,
        /// Who claims it.
        orgs: Vec<OrgId>,
    },
}

impl NetworkError {
    /// A name for whoever counts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Transport(_) => "transport",
            Self::Bootstrap(_) => "bootstrap",
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Store(_) => "store",
            Self::NotFound => "not_found",
            Self::NameConflict { .. } => "name_conflict",
        }
    }
}

fn list(orgs: &[OrgId]) -> String {
    orgs.iter().map(OrgId::to_string).collect::<Vec<_>>().join(", ")
}

/// A handle to the network; clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    commands: mpsc::Sender<Command>,
    connected: Arc<AtomicUsize>,
    lookups: Arc<Lookups>,
    metrics: Arc<Metrics>,
    learned: Arc<Mutex<Option<mpsc::Receiver<IdentityLog>>>>,
    wide: Arc<Mutex<Option<mpsc::Receiver<Wide>>>>,
}

/// A request on its way.
#[derive(Debug)]
pub struct Asked {
    answer: oneshot::Receiver<Result<NodeResponse, NetworkError>>,
    metrics: Arc<Metrics>,
    kind: &'static str,
    time: Stopwatch,
}

impl Asked {
    /// The answer; 5 s for it, from the call.
    ///
    /// # Errors
    /// [`NetworkError::Closed`], [`NetworkError::Unreachable`], [`NetworkError::Timeout`].
    pub async fn answer(self) -> Result<NodeResponse, NetworkError> {
        let result = wait(self.answer, behaviour::REQUEST_TIMEOUT).await.and_then(|answer| answer);
        self.metrics.asked(self.kind, &result, &self.time);
        result
    }
}

/// Starts the network and returns once it listens: the handle, the requests of peers, and the listen addresses with their
/// real ports.
///
/// # Errors
/// [`NetworkError::Transport`], [`NetworkError::Bootstrap`].
pub async fn start(
    mut config: NetworkConfig,
) -> Result<(Network, mpsc::Receiver<InboundRequest>, Vec<Multiaddr>), NetworkError> {
    let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
    let (inbound, inbound_queue) = mpsc::channel(INBOUND_MAX);
    let connected = Arc::new(AtomicUsize::new(0));
    let lookups = Arc::new(Lookups::new(config.pins));
    let local = peer_of(&NodeId::of(SecretKey::from_seed(&config.key).public_key()))
        .ok_or_else(|| NetworkError::Transport("the node's key has no PeerId".into()))?;
    let bounds = record_store::Bounds::default();
    let store = record_store::RecordStore::open(local, config.records, bounds, clock::now_s());
    let (metrics, swarm_metrics) = Metrics::new();
    let swarm = behaviour::build(&mut config.key, store, &config.rates, metrics.traffic())?;
    let (learned, learned_logs) = mpsc::channel(changes::LEARNED_MAX);
    let changes = changes::Changes::new(Arc::clone(&lookups), learned);
    let (told, heard) = mpsc::channel(wide::HEARD_MAX);
    let hearsay = (changes, wide::WideTopics::new(told));
    let connected_count = Arc::clone(&connected);
    let mut task =
        swarm_task::SwarmTask::new(swarm, inbound, connected_count, &config.bootstrap, hearsay, config.rates)?;
    task.measure(Arc::clone(&metrics), swarm_metrics);
    let addresses = task.listen(&config.listen).await?;
    tokio::spawn(task.run(command_queue));
    let learned = Arc::new(Mutex::new(Some(learned_logs)));
    let wide = Arc::new(Mutex::new(Some(heard)));
    Ok((Network { commands, connected, lookups, metrics, learned, wide }, inbound_queue, addresses))
}

impl Network {
    /// Asks a node, connecting to it and exchanging `Hello` first where needed; 5 s for all of it.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`], [`NetworkError::Unreachable`], [`NetworkError::Timeout`]. A
    /// refusal of the peer is an answer, not an error.
    pub async fn request(&self, peer: NodeId, request: NodeRequest) -> Result<NodeResponse, NetworkError> {
        self.ask(peer, request)?.answer().await
    }

    /// As [`Self::request`], but the request is on its way when this returns.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`], [`NetworkError::Unreachable`].
    pub fn ask(&self, peer: NodeId, request: NodeRequest) -> Result<Asked, NetworkError> {
        let (kind, time) = (request.name(), Stopwatch::start());
        let (reply, answer) = oneshot::channel();
        let sent = match peer_of(&peer) {
            Some(peer) => self.command(Command::Request { peer, request: Box::new(request), reply }),
            None => Err(NetworkError::Unreachable),
        };
        let metrics = self.metrics();
        match sent {
            Ok(()) => Ok(Asked { answer, metrics, kind, time }),
            Err(error) => {
                let result = Err(error.clone());
                metrics.asked(kind, &result, &time);
                Err(error)
            }
        }
    }

    /// Tells where a node can be reached.
    pub fn add_addresses(&self, peer: NodeId, addresses: Vec<Multiaddr>) {
        if let Some(peer) = peer_of(&peer)
            && self.command(Command::AddAddresses { peer, addresses }).is_err()
        {
            tracing::debug!("addresses were dropped: the network is busy or closed");
        }
    }

    /// Sets what this node says in `Hello`, and says it to everybody connected. Until it is set, requests wait.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`].
    pub fn set_hello(&self, hello: NodeHello) -> Result<(), NetworkError> {
        self.command(Command::SetHello(Box::new(hello)))
    }

    /// Stores a record here and at the nodes closest to its key. Alone it is stored here, and put out when others come.
    ///
    /// # Errors
    /// [`NetworkError::Store`] for what does not verify or is older than what is held; [`NetworkError::Busy`],
    /// [`NetworkError::Closed`], [`NetworkError::Timeout`].
    pub async fn publish(&self, key: RecordKey, value: Vec<u8>) -> Result<(), NetworkError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.command(Command::Publish { key, value, reply });
        let outcome = match sent {
            Ok(()) => wait(answer, DIRECTORY_TIMEOUT).await.and_then(|outcome| outcome),
            Err(error) => Err(error),
        };
        self.metrics.published(outcome)
    }

    /// Tells other nodes, by gossip, that a record of ours changed. A hint: it may be lost, and costs nothing then but a
    /// lookup by whoever did not hear it.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`].
    pub fn announce(&self, change: DirectoryChange) -> Result<(), NetworkError> {
        self.command(Command::Announce(Box::new(change)))
    }

    /// The identity logs of which this node learns that they changed, by gossip or by a put. Given once.
    pub fn learned_logs(&self) -> Option<mpsc::Receiver<IdentityLog>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The best record of four valid answers, or of all servers where there are fewer; holders of older ones get it.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], [`NetworkError::Busy`], [`NetworkError::Closed`], [`NetworkError::Timeout`].
    pub async fn get(&self, key: RecordKey) -> Result<Found, NetworkError> {
        self.find(key).await?.found.ok_or(NetworkError::NotFound)
    }

    /// What is counted of this node.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// The highest sequence number seen under the key of a handle or an organisation; 0 where none was.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`], [`NetworkError::Timeout`].
    pub async fn newest_seq(&self, key: RecordKey) -> Result<u64, NetworkError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::NewestSeq { key, reply })?;
        wait(answer, DIRECTORY_TIMEOUT).await
    }

    /// Nodes connected now.
    pub fn peers_connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Closes every connection and ends the task.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown(reply)).await.is_ok() {
            // An error means that the task has ended, which is what is asked for.
            let _ = done.await;
        }
    }

    /// As [`Self::get`]; what was not found still tells its cost.
    async fn find(&self, key: RecordKey) -> Result<Lookup, NetworkError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Get { key, reply })?;
        wait(answer, DIRECTORY_TIMEOUT).await?
    }

    fn command(&self, command: Command) -> Result<(), NetworkError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NetworkError::Busy,
            mpsc::error::TrySendError::Closed(_) => NetworkError::Closed,
        })
    }
}

async fn wait<T>(answer: oneshot::Receiver<T>, timeout: std::time::Duration) -> Result<T, NetworkError> {
    match tokio::time::timeout(timeout, answer).await {
        Err(_) => Err(NetworkError::Timeout),
        Ok(Err(_)) => Err(NetworkError::Closed),
        Ok(Ok(answer)) => Ok(answer),
    }
}
