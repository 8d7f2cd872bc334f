//! What the bridge and the tools hold of a node: connections, frames, invites, lookups and health.

use super::{Command, Shared, Stopped, ToDevice, now_ms, refusal};
use crate::metrics::{Metrics, Stopwatch};
use crate::relay::{ConnectionId, Input};
use crate::way;
use roost_crypto::ids::{AccountId, NodeId, OrgId};
use roost_crypto::keys::PublicKey;
use roost_protocol::handle::Handle;
use roost_protocol::records::{RecordKey, VerifiedRecord};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, LookupReport, LookupSource};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

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

/// What the bridge holds of a node.
#[derive(Clone)]
pub struct NodeHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
}

impl NodeHandle {
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

    pub(super) async fn input(&self, input: Input) -> Result<(), Stopped> {
        self.send(Command::Input(input)).await
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
