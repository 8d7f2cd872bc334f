//! Eve at the wire: a raw libp2p peer of the directory that puts, and answers with, whatever it is told.
//!
//! It speaks what an honest node speaks (TCP, Noise, yamux, identify, Kademlia) and none of our code decides for it.

use super::*;
use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore as _};
use libp2p::kad::{self, GetProvidersOk, Mode, QueryId, QueryResult, Quorum, Record, StoreInserts};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, noise, tcp, yamux};
use std::collections::{HashMap, HashSet};

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kademlia: kad::Behaviour<MemoryStore>,
}

enum Order {
    Dial(PeerId, Multiaddr),
    Put { key: Vec<u8>, value: Vec<u8>, to: Vec<PeerId>, done: oneshot::Sender<usize> },
    Answer { key: Vec<u8>, value: Vec<u8>, done: oneshot::Sender<()> },
    Provide { key: Vec<u8>, done: oneshot::Sender<usize> },
    Providers { key: Vec<u8>, done: oneshot::Sender<usize> },
    IsConnected(PeerId, oneshot::Sender<bool>),
}

/// A running forger; it ends with this handle.
pub(super) struct Forger {
    pub(super) address: Multiaddr,
    orders: mpsc::Sender<Order>,
}

impl Forger {
    /// Listens on a free port.
    pub(super) async fn start(keypair: Keypair) -> Self {
        let mut swarm = swarm(keypair);
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let peer = *swarm.local_peer_id();
        let (orders, queue) = mpsc::channel(64);
        tokio::spawn(run(swarm, queue));
        Self { address: address.with_p2p(peer).unwrap(), orders }
    }

    /// Connects to a node and waits until it is.
    pub(super) async fn meet(&self, peer: PeerId, address: &Multiaddr) {
        for round in 0..3000 {
            // A dial may fail on a busy machine: it is repeated every two seconds.
            if round % 100 == 0 {
                self.orders.send(Order::Dial(peer, address.clone())).await.unwrap();
            }
            let (reply, connected) = oneshot::channel();
            self.orders.send(Order::IsConnected(peer, reply)).await.unwrap();
            if connected.await.unwrap() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the forger is not connected");
    }

    /// Puts bytes under a key to nodes; how many acknowledged, which says nothing of what they think of it.
    pub(super) async fn put(&self, key: &[u8], value: &[u8], to: &[PeerId]) -> usize {
        let (done, acknowledged) = oneshot::channel();
        self.orders.send(Order::Put { key: key.into(), value: value.into(), to: to.into(), done }).await.unwrap();
        acknowledged.await.unwrap()
    }

    /// Whoever asks for the key from now on gets these bytes.
    pub(super) async fn answer(&self, key: &[u8], value: &[u8]) {
        let (done, told) = oneshot::channel();
        self.orders.send(Order::Answer { key: key.into(), value: value.into(), done }).await.unwrap();
        told.await.unwrap();
    }

    /// Tells the closest nodes that it provides a key; how many it told.
    pub(super) async fn provide(&self, key: &[u8]) -> usize {
        let (done, told) = oneshot::channel();
        self.orders.send(Order::Provide { key: key.into(), done }).await.unwrap();
        told.await.unwrap()
    }

    /// How many are said to provide a key.
    pub(super) async fn providers(&self, key: &[u8]) -> usize {
        let (done, found) = oneshot::channel();
        self.orders.send(Order::Providers { key: key.into(), done }).await.unwrap();
        found.await.unwrap()
    }
}

fn swarm(keypair: Keypair) -> Swarm<Behaviour> {
    let behaviour = |keypair: &Keypair| {
        let local = PeerId::from(keypair.public());
        let store = MemoryStore::with_config(
            local,
            MemoryStoreConfig { max_records: 100_000, max_value_bytes: 64 * 1024, ..MemoryStoreConfig::default() },
        );
        let mut config = kad::Config::new(StreamProtocol::new(roost_protocol::KADEMLIA_PROTOCOL));
        // What honest nodes put is not taken, so that its lies are not corrected.
        config.set_record_filtering(StoreInserts::FilterBoth).set_replication_interval(None);
        let mut kademlia = kad::Behaviour::with_config(local, store, config);
        kademlia.set_mode(Some(Mode::Server));
        let identify = identify::Behaviour::new(identify::Config::new("/roost/1".into(), keypair.public()));
        Behaviour { identify, kademlia }
    };
    SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(120)))
        .build()
}

async fn run(mut swarm: Swarm<Behaviour>, mut orders: mpsc::Receiver<Order>) {
    let mut queries: HashMap<QueryId, oneshot::Sender<usize>> = HashMap::new();
    let mut found: HashSet<PeerId> = HashSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Dial(peer, address)) => {
                    // An error means that it is connected, or about to be.
                    let _ = swarm.dial(DialOpts::peer_id(peer).addresses(vec![address]).build());
                }
                Some(Order::Put { key, value, to, done }) => {
                    let record = Record::new(key, value);
                    let quorum = Quorum::N(to.len().try_into().unwrap());
                    queries.insert(swarm.behaviour_mut().kademlia.put_record_to(record, to.into_iter(), quorum), done);
                }
                Some(Order::Answer { key, value, done }) => {
                    swarm.behaviour_mut().kademlia.store_mut().put(Record::new(key, value)).unwrap();
                    let _ = done.send(());
                }
                Some(Order::Provide { key, done }) => {
                    queries.insert(swarm.behaviour_mut().kademlia.start_providing(key.into()).unwrap(), done);
                }
                Some(Order::Providers { key, done }) => {
                    found.clear();
                    queries.insert(swarm.behaviour_mut().kademlia.get_providers(key.into()), done);
                }
                Some(Order::IsConnected(peer, reply)) => drop(reply.send(swarm.is_connected(&peer))),
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                    for address in info.listen_addrs {
                        swarm.behaviour_mut().kademlia.add_address(&peer_id, address);
                    }
                }
                SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                    id,
                    result: QueryResult::PutRecord(_) | QueryResult::StartProviding(_),
                    stats,
                    ..
                })) => {
                    if let Some(done) = queries.remove(&id) {
                        let _ = done.send(stats.num_successes() as usize);
                    }
                }
                SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                    id,
                    result: QueryResult::GetProviders(answer),
                    step,
                    ..
                })) => {
                    if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = answer {
                        found.extend(providers);
                    }
                    if step.last && let Some(done) = queries.remove(&id) {
                        let _ = done.send(found.len());
                    }
                }
                _ => {}
            },
        }
    }
}
