//! `bench fanout`: the same messages to one conversation over many homes, delivered, and gossiped: what the writer's node uploads, what
//! all of them upload together, and when the first and the last recipient has them.
//!
//! The nodes are whole ones (relay, store, bridge, TCP with Noise and yamux) in this process: so each can be given its own threshold,
//! and tells its bytes. They share the processor and the disk, which makes times longer than on machines of their own, and changes no
//! byte.

use super::device::{Device, Door, Submission, seed};
use super::fsync::Probe;
use super::group::{ARRIVALS_MAX, Arrival, Figure, listen, one};
use super::measure::{Spread, round};
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_node::network::{Multiaddr, Rates};
use roost_node::relay::Limits;
use roost_node::{Node, NodeConfig, NodeHandle};
use roost_protocol::SecretKey;
use roost_protocol::ids::GroupId;
use roost_protocol::invite::invite_key;
use roost_web_bridge::{BridgeConfig, serve};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Messages before the clock: the mesh has formed, every home is connected.
const WARM_UP: usize = 10;
/// Messages at most.
const MESSAGES_MAX: usize = 10_000;
/// Bytes of a short and of a long text.
const SHORT: usize = 100;
const LONG: usize = 8_000;
/// After the last message: what is still said of it is said.
const QUIET: Duration = Duration::from_secs(3);
/// For so long the bytes of nodes that say nothing are counted, to be taken off.
const IDLE: Duration = Duration::from_secs(10);
/// Between two messages.
const PAUSE: Duration = Duration::from_millis(50);
/// So long a mesh has to form.
const MESH_WAIT: Duration = Duration::from_secs(4);
/// Admits all accounts of this benchmark; the nodes are gone with it.
const TOKEN: &str = "fanout";

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fanout {
    /// Each home is delivered to.
    pub direct: Sizes,
    /// Gossiped, and delivered to whoever gave no custody.
    pub gossip: Sizes,
}

/// For texts of 100 bytes and of 8,000.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sizes {
    /// A sentence or two.
    pub short: Way,
    /// A page.
    pub long: Way,
}

/// One message on its way; bytes are those of TCP connections between nodes, without TCP's own and what nodes say anyway.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Way {
    /// Bytes that the writer's node sends for a message.
    pub origin_bytes: f64,
    /// Bytes that all nodes send for it.
    pub all_bytes: f64,
    /// From the written frame to the first recipient's socket, milliseconds.
    pub first_delivered_ms: Spread,
    /// To the last recipient's.
    pub last_delivered_ms: Spread,
    /// Arrivals that did not come.
    pub lost: u64,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let (homes, messages) = (config.homes.unwrap_or(10), config.messages.unwrap_or(100));
    check("homes", 3, 64, homes)?;
    check("messages", 1, MESSAGES_MAX, messages)?;
    machine::allow_descriptors(u64::try_from(homes * homes * 4 + homes * 128).unwrap_or(u64::MAX))?;
    let dir = tempfile::Builder::new().prefix("roost-bench-").tempdir();
    let dir = dir.map_err(BenchError::io("making a directory"))?;
    let mut probe = Probe::start(dir.path()).await?;
    let direct = by(&dir.path().join("direct"), homes, messages, usize::MAX).await?;
    let gossip = by(&dir.path().join("gossip"), homes, messages, 1).await?;
    probe = probe.again().await?;
    let params = serde_json::json!({
        "homes": homes, "messages": messages, "warm_up": WARM_UP, "short_bytes": SHORT, "long_bytes": LONG,
    });
    let figures = Figures::Fanout(Fanout { direct, gossip });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures })
}

/// One node in this process.
struct Home {
    node: Node,
    web: String,
    stop: oneshot::Sender<()>,
}

impl Home {
    async fn start(dir: &Path, number: usize, bootstrap: Vec<Multiaddr>, wide: usize) -> Result<Self, BenchError> {
        let of = |tag| SecretKey::from_seed(&seed(tag, u32::try_from(number).unwrap_or(u32::MAX)));
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().map_err(BenchError::wire)?];
        let node = Node::start(NodeConfig {
            org_key: of(11),
            node_key: of(12),
            name: format!("org{number}.example"),
            open_registration: false,
            store: dir.join(format!("org{number}")),
            listen,
            bootstrap,
            pins: BTreeMap::default(),
            region: String::new(),
            peer_rates: Rates::TESTNET,
            limits: Limits { wide_homes_min: wide, ..Limits::TESTNET },
            push: None,
            blobs: dir.join(format!("blobs{number}")),
        })
        .await
        .map_err(BenchError::wire)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let listen = "127.0.0.1:0".parse().map_err(BenchError::wire)?;
        let served = serve(BridgeConfig::new(listen), node.handle(), shutdown).await;
        let (address, _) = served.map_err(BenchError::wire)?;
        let web = format!("http://{address}");
        node.handle().announce(&web).await.map_err(BenchError::wire)?;
        let expires_ms = machine::now_ms() + 3_600_000;
        node.handle().invite(invite_key(TOKEN), 8, expires_ms).await.map_err(BenchError::wire)?;
        Ok(Self { node, web, stop })
    }

    fn addresses(&self) -> Vec<Multiaddr> {
        let id = self.node.handle().node();
        self.node.listen().iter().filter_map(|address| format!("{address}/p2p/{id}").parse().ok()).collect()
    }

    fn door(&self) -> Door {
        Door { web: self.web.clone(), invite: TOKEN.to_owned() }
    }
}

/// Bytes that each node has sent so far, the writer's first.
fn sent(nodes: &[NodeHandle]) -> Vec<u64> {
    nodes.iter().map(|node| node.metrics().node_bytes().1).collect()
}

/// Bytes of the writer's node and of all.
#[derive(Clone, Copy)]
struct Bytes {
    origin: f64,
    all: f64,
}

impl Bytes {
    fn since(nodes: &[NodeHandle], before: &[u64]) -> Self {
        let after = sent(nodes);
        let each: Vec<u64> = after.iter().zip(before).map(|(after, before)| after.saturating_sub(*before)).collect();
        Self { origin: float(each.first().copied().unwrap_or(0)), all: float(each.iter().sum()) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a benchmark are far below 2^52")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

async fn by(dir: &Path, homes: usize, messages: usize, wide: usize) -> Result<Sizes, BenchError> {
    std::fs::create_dir_all(dir).map_err(BenchError::io("making a directory"))?;
    let mut running: Vec<Home> = Vec::new();
    for number in 0..homes {
        let bootstrap = running.iter().take(2).flat_map(Home::addresses).collect();
        running.push(Home::start(dir, number, bootstrap, wide).await?);
    }
    let mut devices = Vec::new();
    for (number, home) in running.iter().enumerate() {
        let count = u32::try_from(number).unwrap_or(u32::MAX);
        devices.push(Device::sign_up(count, &format!("member{number}"), &home.door()).await?);
    }
    let nodes: Vec<NodeHandle> = running.iter().map(|home| home.node.handle()).collect();
    let mut sender = devices.remove(0);
    let group = sender.gather(&devices).await?;
    let (arrive, arrivals) = mpsc::channel(ARRIVALS_MAX);
    let mut listening = JoinSet::new();
    for (at, mut device) in devices.into_iter().enumerate() {
        device.come_back().await?;
        listening.spawn(listen(device, at, arrive.clone()));
    }
    drop(arrive);
    sender.come_back().await?;
    let mut course = Course { nodes, sender, group, arrivals, recipients: homes - 1, number: 0 };
    course.send(WARM_UP, SHORT).await?;
    tokio::time::sleep(MESH_WAIT).await;
    course.send(WARM_UP, SHORT).await?;
    tokio::time::sleep(QUIET).await;
    let before = sent(&course.nodes);
    tokio::time::sleep(IDLE).await;
    let idle = Bytes::since(&course.nodes, &before);
    let short = course.measure(messages, SHORT, idle).await?;
    let long = course.measure(messages, LONG, idle).await?;
    listening.abort_all();
    for home in running {
        drop(home.stop);
        home.node.stop().await;
    }
    Ok(Sizes { short, long })
}

/// The conversation.
struct Course {
    nodes: Vec<NodeHandle>,
    sender: Device,
    group: GroupId,
    arrivals: mpsc::Receiver<Arrival>,
    recipients: usize,
    number: u64,
}

impl Course {
    async fn send(&mut self, messages: usize, bytes: usize) -> Result<Figure, BenchError> {
        let mut figure = Figure::new()?;
        let mut sealed: Vec<Submission> = Vec::new();
        for _ in 0..messages {
            self.number += 1;
            let text = format!("{:>bytes$}", format!("message {}", self.number));
            sealed.push(self.sender.seal_text(self.group, self.number, &text)?);
        }
        for submission in sealed {
            one(&mut self.sender, submission, self.recipients, &mut self.arrivals, &mut figure).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(figure)
    }

    async fn measure(&mut self, messages: usize, bytes: usize, idle: Bytes) -> Result<Way, BenchError> {
        let (before, start) = (sent(&self.nodes), machine::instant());
        let figure = self.send(messages, bytes).await?;
        tokio::time::sleep(QUIET).await;
        let used = Bytes::since(&self.nodes, &before);
        let idles = start.elapsed().as_secs_f64() / IDLE.as_secs_f64();
        let count = f64::from(u32::try_from(messages).unwrap_or(u32::MAX));
        let each = |used: f64, idle: f64| round((used - idle * idles).max(0.0) / count);
        Ok(Way {
            origin_bytes: each(used.origin, idle.origin),
            all_bytes: each(used.all, idle.all),
            first_delivered_ms: figure.first.spread(),
            last_delivered_ms: figure.last.spread(),
            lost: (messages as u64).saturating_sub(figure.last.len()),
        })
    }
}
