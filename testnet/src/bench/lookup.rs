//! `bench lookup`: what finding an account costs among so many nodes: rounds, messages, time; and what asking again costs.
//!
//! The nodes are swarms in this process: real TCP, Noise and yamux over loopback, real records, kept in memory. They have no
//! relay: requests between nodes other than the directory's are not answered.

use super::device::seed;
use super::fsync::Probe;
use super::measure::{Counts, Durations, Spread};
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_crypto::identity_log::{Operation, Signer};
use roost_node::network::{self, InboundRequest, Multiaddr, Network, NetworkConfig, NetworkError};
use roost_protocol::handle::Handle;
use roost_protocol::ids::Incarnation;
use roost_protocol::peer::NodeHello;
use roost_protocol::records::{
    HandleRecord, NameClaim, NameClaims, NodeAddress, OrgRecord, RecordKey, SignedOrgRecord,
};
use roost_protocol::{FEATURES, NodeId, OrgId, SecretKey, VERSION, VerifiedLog, codec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// Nodes that one machine should run as swarms.
const NODES_MAX: usize = 1_000;
/// Accounts that are looked for, each at another node.
const ACCOUNTS: usize = 10;
/// Lookups, each by another node or of another account.
const LOOKUPS: usize = 100;
/// A node that joins meets these many; the first is the same for all.
const BOOTSTRAPS: usize = 2;
/// A node has somebody within this time.
const JOIN_WAIT: Duration = Duration::from_secs(20);
/// Between two looks at the swarms.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// The connections of all must stay as many for so many looks, and are waited for so many at most: a second, a minute.
const STEADY_LOOKS: u32 = 20;
const LOOKS_MAX: u32 = 1_200;
/// Times that an account is asked for before it counts as not found.
const TRIES: u32 = 50;
/// Between them.
const TRY_PAUSE: Duration = Duration::from_millis(100);
/// Seconds that the records are good for: a week.
const RECORD_LIFE_S: u64 = 7 * 24 * 3600;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lookup {
    /// Nodes.
    pub nodes: usize,
    /// Rounds of a lookup's longest query, as the node counts them.
    pub hops: Spread,
    /// Requests of a lookup: name, organisation, handle and log together.
    pub messages: Spread,
    /// Their mean.
    pub messages_mean: f64,
    /// Milliseconds of a lookup.
    pub ms: Spread,
    /// Requests of the same lookup at the same node again; the largest.
    pub repeat_messages: u32,
    /// Lookups.
    pub lookups: usize,
    /// Of these, found at once.
    pub found_at_once: usize,
    /// Connections of a node, the mean.
    pub connections_per_node: f64,
    /// How long the nodes took to join.
    pub join_seconds: f64,
}

/// A node of an organisation of its own.
struct Swarm {
    number: u32,
    network: Network,
    addresses: Vec<Multiaddr>,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let nodes = config.nodes.unwrap_or(10);
    check("nodes", 2, NODES_MAX, nodes)?;
    let dir = tempfile::Builder::new().prefix("roost-bench-").tempdir();
    let dir = dir.map_err(BenchError::io("making a directory"))?;
    let probe = Probe::start(dir.path()).await?;
    let descriptors = machine::allow_most_descriptors();
    let start = machine::instant();
    let mut swarms: Vec<Swarm> = Vec::new();
    for (number, _) in (0..).zip(0..nodes) {
        let swarm = Swarm::join(number, &swarms).await?;
        swarms.push(swarm);
    }
    let connections = settled(&swarms).await;
    let join_seconds = super::measure::round(start.elapsed().as_secs_f64());
    let measured = look_up_all(&swarms).await;
    for swarm in &swarms {
        swarm.network.shutdown().await;
    }
    let tally = measured?;
    let probe = probe.again().await?;
    let lookup = Lookup {
        nodes,
        hops: tally.hops.spread(),
        messages: tally.messages.spread(),
        messages_mean: tally.messages.mean(),
        ms: tally.ms.spread(),
        repeat_messages: tally.repeat_messages,
        lookups: tally.lookups,
        found_at_once: tally.found_at_once,
        connections_per_node: super::measure::round(mean(connections, nodes)),
        join_seconds,
    };
    let params = serde_json::json!({
        "nodes": nodes, "lookups": LOOKUPS, "accounts": ACCOUNTS.min(nodes), "in_process": true,
        "descriptors_max": descriptors,
    });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures: Figures::Lookup(lookup) })
}

fn mean(sum: usize, count: usize) -> f64 {
    let number = |value: usize| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    number(sum) / number(count)
}

struct Tally {
    hops: Counts,
    messages: Counts,
    ms: Durations,
    repeat_messages: u32,
    lookups: usize,
    found_at_once: usize,
}

async fn look_up_all(swarms: &[Swarm]) -> Result<Tally, BenchError> {
    let homes: Vec<&Swarm> = swarms.iter().step_by((swarms.len() / ACCOUNTS).max(1)).take(ACCOUNTS).collect();
    let mut handles = Vec::new();
    for home in &homes {
        handles.push((home.number, home.publish().await?));
    }
    let mut tally = Tally {
        hops: Counts::new()?,
        messages: Counts::new()?,
        ms: Durations::new()?,
        repeat_messages: 0,
        lookups: 0,
        found_at_once: 0,
    };
    // Every account is asked for by nodes all over the ring, which follow each other in no order that the directory knows:
    // the ids of nodes are hashes of their keys.
    let askers = swarms.iter().cycle().step_by(swarms.len() / 3 + 1);
    let pairs = handles.iter().cycle().zip(askers).filter(|((home, _), asker)| *home != asker.number);
    let mut asked = std::collections::BTreeSet::new();
    for ((_, handle), asker) in pairs.take(20 * LOOKUPS) {
        if tally.lookups >= LOOKUPS {
            break;
        }
        if !asked.insert((asker.number, handle.clone())) {
            continue;
        }
        tally.add(asker, handle).await?;
    }
    Ok(tally)
}

impl Tally {
    async fn add(&mut self, asker: &Swarm, handle: &Handle) -> Result<(), BenchError> {
        for attempt in 0..TRIES {
            let start = machine::instant();
            match asker.network.resolve_handle(handle).await {
                Ok(found) => {
                    self.ms.record(start.elapsed());
                    self.hops.record(found.report.hops);
                    self.messages.record(found.report.messages);
                    self.lookups += 1;
                    self.found_at_once += usize::from(attempt == 0);
                    let again = asker.network.resolve_handle(handle).await?;
                    self.repeat_messages = self.repeat_messages.max(again.report.messages);
                    return Ok(());
                }
                Err(NetworkError::NotFound) => asker.network.forget_handle(handle),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
        Err(BenchError::TimedOut(format!("an account is not found after {TRIES} lookups")))
    }
}

/// Waits until the connections are as many for a second; gives their number, each counted at both ends.
async fn settled(swarms: &[Swarm]) -> usize {
    let count = || swarms.iter().map(|swarm| swarm.network.peers_connected()).sum::<usize>();
    let (mut last, mut steady) = (count(), 0);
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK_PAUSE).await;
        let now = count();
        steady = if now == last { steady + 1 } else { 0 };
        last = now;
        if steady >= STEADY_LOOKS {
            break;
        }
    }
    last
}

impl Swarm {
    /// Starts and meets the first node and one in the middle of those before it, and returns when somebody is connected.
    async fn join(number: u32, before: &[Self]) -> Result<Self, BenchError> {
        let listen = "/ip4/127.0.0.1/tcp/0".parse().map_err(BenchError::wire)?;
        let known = [before.first(), before.get(before.len() / 2)];
        let bootstrap = known.into_iter().flatten().take(BOOTSTRAPS).flat_map(Self::bootstrap).collect();
        let config = NetworkConfig {
            key: seed(3, number),
            listen: vec![listen],
            bootstrap,
            records: None,
            pins: BTreeMap::new(),
        };
        let (network, inbound, addresses) = network::start(config).await?;
        tokio::spawn(refuse(inbound));
        let swarm = Self { number, network, addresses };
        swarm.network.set_hello(swarm.hello())?;
        let start = machine::instant();
        while !before.is_empty() && swarm.network.peers_connected() == 0 {
            if start.elapsed() > JOIN_WAIT {
                return Err(BenchError::TimedOut(format!("node {number} met nobody")));
            }
            tokio::time::sleep(LOOK_PAUSE / 5).await;
        }
        Ok(swarm)
    }

    fn bootstrap(&self) -> Vec<Multiaddr> {
        let node = self.node();
        self.addresses.iter().filter_map(|address| format!("{address}/p2p/{node}").parse().ok()).collect()
    }

    fn key(&self) -> SecretKey {
        SecretKey::from_seed(&seed(3, self.number))
    }

    fn root(&self) -> SecretKey {
        SecretKey::from_seed(&seed(4, self.number))
    }

    fn node(&self) -> NodeId {
        NodeId::of(self.key().public_key())
    }

    fn org(&self) -> OrgId {
        OrgId::of(&self.root().public_key())
    }

    fn name(&self) -> String {
        format!("org{}.example", self.number)
    }

    fn record(&self) -> SignedOrgRecord {
        let own = NodeAddress {
            node: self.node(),
            addrs: self.addresses.clone(),
            web: String::new(),
            region: String::new(),
            weight: 100,
        };
        let record = OrgRecord {
            root: self.root().public_key(),
            name: self.name(),
            nodes: vec![own],
            seq: 1,
            expires: expires(),
        };
        SignedOrgRecord::sign(&record, &self.root(), &[&self.key()])
    }

    fn hello(&self) -> NodeHello {
        NodeHello {
            versions: vec![VERSION],
            features: FEATURES.iter().map(|feature| (*feature).to_owned()).collect(),
            org: self.record(),
            incarnation: Incarnation([1; 16]),
        }
    }

    /// Publishes an account of this node and all that leads to it.
    async fn publish(&self) -> Result<Handle, BenchError> {
        let handle = Handle::new("alice", &self.name()).map_err(BenchError::wire)?;
        let (root, device) = (SecretKey::from_seed(&seed(5, self.number)), SecretKey::from_seed(&seed(6, self.number)));
        let log = VerifiedLog::create(&root, &device.public_key(), vec![self.node()]);
        let operation = Operation::SetHandle { handle: handle.to_string(), org: self.org() };
        let log = log.and_then(|log| log.append(operation, Signer::Root, &root)).map_err(BenchError::wire)?;
        let organisation = self.root();
        let claim = NameClaim { root: organisation.public_key(), name: self.name(), seq: 1, expires: expires() };
        let record = HandleRecord {
            root: organisation.public_key(),
            handle: handle.clone(),
            account: log.account(),
            seq: 1,
            expires: expires(),
        };
        for (key, value) in [
            (RecordKey::Org(self.org()), codec::encode(&self.record())),
            (RecordKey::of_name(&self.name()), codec::encode(&NameClaims(vec![claim.sign(&organisation)]))),
            (RecordKey::Account(log.account()), log.encoded()),
            (RecordKey::Handle(handle.key(&self.org())), codec::encode(&record.sign(&organisation))),
        ] {
            self.network.publish(key, value).await?;
        }
        Ok(handle)
    }
}

fn expires() -> u64 {
    machine::now_ms() / 1000 + RECORD_LIFE_S
}

/// There is no relay behind a swarm: what is asked of it is dropped.
async fn refuse(mut inbound: mpsc::Receiver<InboundRequest>) {
    while inbound.recv().await.is_some() {}
}
