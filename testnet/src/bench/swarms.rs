//! The nodes of `bench lookup`: swarms, many in one process, which does what the lines on its stdin say.
//!
//! Real TCP, Noise and yamux over loopback, real records, kept in memory; no relays: requests between nodes other than the
//! directory's are not answered. One process alone would run out of descriptors: nodes meet nearly all others.

use super::device::seed;
use super::{BenchError, machine};
use roost_crypto::identity_log::{Operation, Signer};
use roost_node::network::{self, InboundRequest, Multiaddr, Network, NetworkConfig, NetworkError, Rates};
use roost_protocol::handle::Handle;
use roost_protocol::ids::Incarnation;
use roost_protocol::peer::NodeHello;
use roost_protocol::records::{
    HandleRecord, NameClaim, NameClaims, NodeAddress, OrgRecord, RecordKey, SignedOrgRecord,
};
use roost_protocol::{FEATURES, NodeId, OrgId, SecretKey, VERSION, VerifiedLog, codec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;

/// A node has somebody within this time.
const JOIN_WAIT: Duration = Duration::from_secs(20);
/// Between two looks whether it has.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// Times that an account is asked for before it counts as not found.
const TRIES: u32 = 50;
/// Between them.
const TRY_PAUSE: Duration = Duration::from_millis(100);
/// Seconds that the records are good for: a week.
const RECORD_LIFE_S: u64 = 7 * 24 * 3600;

/// A line to the process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Start a node.
    Join {
        /// Its number among all.
        number: u32,
        /// Whom it meets first.
        bootstrap: Vec<Multiaddr>,
    },
    /// Publish an account of this node and all that leads to it.
    Publish {
        /// The node.
        number: u32,
    },
    /// Look an account up, and again.
    Resolve {
        /// By this node.
        number: u32,
        /// Whom.
        handle: Handle,
    },
    /// Count the connections.
    Count,
}

/// A line from it: one to each order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The node runs and is connected.
    Joined {
        /// Where it is met.
        addresses: Vec<Multiaddr>,
    },
    /// The records are out.
    Published {
        /// What leads to them.
        handle: Handle,
    },
    /// The account was found.
    Found(Found),
    /// Connections of all nodes here, each counted at this end.
    Connected(usize),
    /// It was not done.
    Failed(String),
}

/// What a lookup cost.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    /// Rounds of the longest query.
    pub(super) hops: u32,
    /// Requests.
    pub(super) messages: u32,
    /// How long it took.
    pub(super) took: Duration,
    /// Lookups before it that found nothing.
    pub(super) misses: u32,
    /// Requests of the same lookup again.
    pub(super) repeat_messages: u32,
}

/// Runs swarms as stdin says, until it ends.
///
/// # Errors
/// [`BenchError::Io`] when stdin or stdout fail.
pub async fn host_swarms() -> Result<(), BenchError> {
    machine::allow_most_descriptors();
    let mut swarms = BTreeMap::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut stdout = tokio::io::stdout();
    while let Some(line) = lines.next_line().await.map_err(BenchError::io("reading an order"))? {
        let answer = match serde_json::from_str(&line) {
            Ok(order) => carry_out(order, &mut swarms).await.unwrap_or_else(|error| Answer::Failed(error.to_string())),
            Err(error) => Answer::Failed(error.to_string()),
        };
        let mut line = serde_json::to_vec(&answer).map_err(BenchError::wire)?;
        line.push(b'\n');
        stdout.write_all(&line).await.map_err(BenchError::io("writing an answer"))?;
        stdout.flush().await.map_err(BenchError::io("writing an answer"))?;
    }
    Ok(())
}

async fn carry_out(order: Order, swarms: &mut BTreeMap<u32, Swarm>) -> Result<Answer, BenchError> {
    let unknown = |number: u32| BenchError::wire(format!("node {number} is not here"));
    match order {
        Order::Join { number, bootstrap } => {
            let swarm = Swarm::join(number, bootstrap).await?;
            let addresses = swarm.bootstrap();
            swarms.insert(number, swarm);
            Ok(Answer::Joined { addresses })
        }
        Order::Publish { number } => {
            let handle = swarms.get(&number).ok_or_else(|| unknown(number))?.publish().await?;
            Ok(Answer::Published { handle })
        }
        Order::Resolve { number, handle } => {
            let swarm = swarms.get(&number).ok_or_else(|| unknown(number))?;
            Ok(Answer::Found(swarm.look_up(&handle).await?))
        }
        Order::Count => Ok(Answer::Connected(swarms.values().map(|swarm| swarm.network.peers_connected()).sum())),
    }
}

/// A node of an organisation of its own.
struct Swarm {
    number: u32,
    network: Network,
    addresses: Vec<Multiaddr>,
}

impl Swarm {
    /// Starts, and returns when somebody is connected; the first node meets nobody.
    async fn join(number: u32, bootstrap: Vec<Multiaddr>) -> Result<Self, BenchError> {
        let listen = "/ip4/127.0.0.1/tcp/0".parse().map_err(BenchError::wire)?;
        let alone = bootstrap.is_empty();
        let pins = BTreeMap::new();
        let config = NetworkConfig {
            key: seed(3, number),
            listen: vec![listen],
            bootstrap,
            records: None,
            pins,
            rates: Rates::TESTNET,
        };
        let (network, inbound, addresses) = network::start(config).await?;
        tokio::spawn(refuse(inbound));
        let swarm = Self { number, network, addresses };
        swarm.network.set_hello(swarm.hello())?;
        let start = machine::instant();
        while !alone && swarm.network.peers_connected() == 0 {
            if start.elapsed() > JOIN_WAIT {
                return Err(BenchError::TimedOut(format!("node {number} met nobody")));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(swarm)
    }

    async fn look_up(&self, handle: &Handle) -> Result<Found, BenchError> {
        for misses in 0..TRIES {
            let start = machine::instant();
            match self.network.resolve_handle(handle).await {
                Ok(found) => {
                    let took = start.elapsed();
                    let again = self.network.resolve_handle(handle).await?;
                    return Ok(Found {
                        hops: found.report.hops,
                        messages: found.report.messages,
                        took,
                        misses,
                        repeat_messages: again.report.messages,
                    });
                }
                Err(NetworkError::NotFound) => self.network.forget_handle(handle),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
        Err(BenchError::TimedOut(format!("an account is not found after {TRIES} lookups")))
    }

    /// Where others meet it first.
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
