//! The driver: where rules, network, store and clock meet. It decides nothing.
//!
//! One thread owns the relay and the store. It takes what queued while the last batch was made durable, lets the rules
//! handle it over one overlay, commits once, and only then lets the outputs leave. It never lingers for more.
//! A store that fails ends the process: what is not durable must not be acknowledged.

use crate::blobs::{Blobs, BlobsError};
use crate::metrics::Stopwatch;
use crate::network::{self, InboundRequest, Network, NetworkConfig, NetworkError, Wide};
use crate::publisher::Publisher;
use crate::push::{self, PushConfig, PushError, Pusher};
use crate::relay::{ConnectionId, Identity, Input, Inspector, Limits, PushOffer, Relay};
use crate::store::{Overlay, SledStore, Store as _, StoreError, sled_engine::LOCK_WAIT};
use futures::future::BoxFuture;
use libp2p::Multiaddr;
use roost_crypto::bytes::Bytes;
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::OrgId;
use roost_crypto::keys::SecretKey;
use roost_crypto::sabotage::Sabotage;
use roost_protocol::ids::Incarnation;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

mod blobs;
mod handle;
mod records;
mod worker;

use records::announce;
use worker::Worker;

pub use handle::{Bridge, Discovery, Found, Health, NodeHandle};

/// Commands waiting for the relay: about a second of full load.
const QUEUE: usize = 4096;

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
    /// With what it wakes devices that are away, if it does; taken when the node starts.
    pub push: Option<PushConfig>,
    /// Directory of what is kept of files; made when absent.
    pub blobs: PathBuf,
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
    /// Pushes cannot be sent.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The place of blobs does not open.
    #[error(transparent)]
    Blobs(#[from] BlobsError),
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
#[derive(Debug)]
pub enum ToDevice {
    /// A frame. Boxed: a channel holds room for 32 of them, empty or not, and there is one a connection.
    Frame(Box<ServerFrame>),
    /// Close the connection.
    Close,
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

struct Shared {
    config: NodeConfig,
    incarnation: Incarnation,
    network: Network,
    blobs: Blobs,
    publisher: Publisher,
    listen: Vec<Multiaddr>,
    ready: AtomicBool,
}

impl Node {
    /// Opens the store, joins the network, starts the relay. Not ready before [`NodeHandle::announce`].
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn start(mut config: NodeConfig) -> Result<Self, NodeError> {
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
        let push = config.push.take();
        let offer = |push: &PushConfig| PushOffer { key: Bytes(push.key.public_key()), policy: push.policy.clone() };
        let identity = Identity {
            org_key: SecretKey::from_seed(&config.org_key.seed()),
            node_key: SecretKey::from_seed(&config.node_key.seed()),
            name: config.name.clone(),
            open: config.open_registration,
            incarnation,
            limits: config.limits,
            push: push.as_ref().map(offer),
            inspector: Inspector::default(),
            sabotage: Sabotage::NONE,
        };
        let metrics = network.metrics();
        let blobs = Blobs::open(&config.blobs, Arc::clone(&metrics))?;
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
            blobs: blobs.clone(),
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
        let pusher =
            push.map(|push| Pusher::start(push, &metrics, now_ms, told_of_pushes(commands.clone()))).transpose()?;
        let worker = Worker {
            relay,
            store,
            network,
            blobs,
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
            untold: worker::Untold::default(),
            pusher,
        };
        worker.metrics.notes(worker.relay.notes(), now_ms());
        let thread = worker.spawn(queue, wake).map_err(NodeError::Thread)?;
        runtime.spawn(forward(asked, commands.clone()));
        runtime.spawn(learn(handle.shared.network.learned_logs(), commands.clone()));
        runtime.spawn(hear(handle.shared.network.wide(), commands.clone()));
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

/// What happens to pushes goes to the rules.
fn told_of_pushes(commands: mpsc::Sender<Command>) -> impl Fn(push::Event) -> BoxFuture<'static, ()> {
    move |event| {
        let commands = commands.clone();
        Box::pin(async move {
            let input = match event {
                push::Event::Gone { account, device, endpoint } => Input::PushGone { account, device, endpoint },
                push::Event::Tested { connection, id, report } => Input::PushTested { connection, id, report },
            };
            let _ = commands.send(Command::Input(input)).await;
        })
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

/// What comes by gossip of entries goes to the rules.
async fn hear(wide: Option<mpsc::Receiver<Wide>>, commands: mpsc::Sender<Command>) {
    let Some(mut wide) = wide else { return };
    while let Some(told) = wide.recv().await {
        let input = match told {
            Wide::Heard { token, source, topic, entries } => Input::Gossiped { token, source, topic, entries },
            Wide::Untold(topic) => Input::Untold(topic),
        };
        if commands.send(Command::Input(input)).await.is_err() {
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
