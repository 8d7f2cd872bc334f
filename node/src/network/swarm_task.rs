//! The task that owns the swarm: takes commands, hears libp2p's events, ticks twice a second.
//!
//! Never waits for anybody: answers of the relay come back as futures, full queues are refusals. What it does with links is
//! in `links.rs`, with the directory in `directory.rs`.

use super::addresses::{AddressBook, is_dialable, is_loopback, split_peer};
use super::behaviour::{Behaviour, BehaviourEvent};
use super::changes::Changes;
use super::directory::Queries;
use super::judge::Judge;
use super::links::Links;
use super::rates::{Allowances, Rates};
use super::routing::Routing;
use super::wide::WideTopics;
use super::{InboundRequest, Lookup, NetworkError};
use crate::metrics::Metrics;
use crate::relay::{GossipToken, Hearsay};
use futures::{FutureExt as _, StreamExt as _};
use libp2p::core::transport::ListenerId;
use libp2p::kad::Event as KadEvent;
use libp2p::metrics::Recorder as _;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, PeerId, Swarm, identify};
use roost_protocol::KADEMLIA_PROTOCOL;
use roost_protocol::NodeId;
use roost_protocol::gossip::DirectoryChange;
use roost_protocol::peer::{NodeHello, NodeRequest, NodeResponse};
use roost_protocol::records::RecordKey;
use roost_protocol::wide::{Entries, Topic};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The task's own clock: ages are counted in ticks.
const TICK: Duration = Duration::from_millis(500);
/// How long a listener may take.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Ticks between two attempts to reach the bootstrap nodes: 1 s at first, doubled up to a minute.
const BOOTSTRAP_TICKS: std::ops::RangeInclusive<u64> = 2..=120;
/// Ticks between two attempts while others are connected: 10 s. A bootstrap node that restarts may know nobody to dial.
const BOOTSTRAP_IDLE_TICKS: u64 = 20;
/// Ticks between two looks after the routing table and the allowances: 10 s.
const TEND_TICKS: u64 = 20;
/// Listen addresses taken from one peer.
const IDENTIFY_ADDRESSES_MAX: usize = 8;

/// The reply of a request.
pub(super) type Reply = oneshot::Sender<Result<NodeResponse, NetworkError>>;

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Command {
    /// Ask a node.
    Request { peer: PeerId, request: Box<NodeRequest>, reply: Reply },
    /// Where a node is.
    AddAddresses { peer: PeerId, addresses: Vec<Multiaddr> },
    /// What this node says of itself.
    SetHello(Box<NodeHello>),
    /// Store a record in the directory.
    Publish { key: RecordKey, value: Vec<u8>, reply: oneshot::Sender<Result<(), NetworkError>> },
    /// Tell others that a record of ours changed.
    Announce(Box<DirectoryChange>),
    /// Take part in the gossip of a conversation's entries.
    JoinTopic { topic: Topic, nodes: BTreeSet<NodeId> },
    /// Take part no longer.
    LeaveTopic(Topic),
    /// Gossip entries of ours.
    Gossip(Topic, Box<Entries>),
    /// What becomes of entries that were heard.
    Judged(GossipToken, Hearsay),
    /// Find a record.
    Get { key: RecordKey, reply: oneshot::Sender<Result<Lookup, NetworkError>> },
    /// What is the newest that was seen under a key.
    NewestSeq { key: RecordKey, reply: oneshot::Sender<u64> },
    /// Find where a node is, by the routing tables of others.
    FindNode { peer: PeerId, reply: oneshot::Sender<u32> },
    /// What a test wants to see.
    #[cfg(test)]
    Inspect(oneshot::Sender<super::tests::inspection::Inspection>),
    /// End.
    Shutdown(oneshot::Sender<()>),
}

/// The task.
pub(super) struct SwarmTask {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) links: Links,
    pub(super) queries: Queries,
    pub(super) book: AddressBook,
    pub(super) changes: Changes,
    pub(super) wide: WideTopics,
    pub(super) judge: Judge,
    pub(super) routing: Routing,
    pub(super) rates: Rates,
    pub(super) allowances: Allowances,
    pub(super) inbound: mpsc::Sender<InboundRequest>,
    pub(super) tick: u64,
    connected: Arc<AtomicUsize>,
    listening: HashMap<ListenerId, Vec<Multiaddr>>,
    bootstrap: Vec<(PeerId, Multiaddr)>,
    bootstrap_at: u64,
    was_alone: bool,
    bootstrap_pause: u64,
    pub(super) metrics: Option<Arc<Metrics>>,
    swarm_metrics: Option<libp2p::metrics::Metrics>,
}

impl SwarmTask {
    /// Around a built swarm.
    ///
    /// # Errors
    /// [`NetworkError::Bootstrap`].
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        inbound: mpsc::Sender<InboundRequest>,
        connected: Arc<AtomicUsize>,
        bootstrap: &[Multiaddr],
        (changes, wide): (Changes, WideTopics),
        rates: Rates,
    ) -> Result<Self, NetworkError> {
        let bootstrap = bootstrap
            .iter()
            .map(|address| split_peer(address).ok_or_else(|| NetworkError::Bootstrap(address.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        let (mut book, mut routing) = (AddressBook::default(), Routing::default());
        for (peer, address) in &bootstrap {
            book.add(*peer, [address.clone()]);
            routing.vouch(*peer);
        }
        Ok(Self {
            swarm,
            links: Links::default(),
            queries: Queries::default(),
            book,
            changes,
            wide,
            judge: Judge::default(),
            routing,
            rates,
            allowances: Allowances::new(&rates),
            inbound,
            tick: 0,
            connected,
            listening: HashMap::new(),
            bootstrap,
            bootstrap_at: 0,
            was_alone: true,
            bootstrap_pause: *BOOTSTRAP_TICKS.start(),
            metrics: None,
            swarm_metrics: None,
        })
    }

    /// Counts from here on.
    pub(super) fn measure(&mut self, metrics: Arc<Metrics>, swarm_metrics: libp2p::metrics::Metrics) {
        (self.metrics, self.swarm_metrics) = (Some(metrics), Some(swarm_metrics));
    }

    /// Listens, and gives the addresses once every listener has one.
    ///
    /// # Errors
    /// [`NetworkError::Transport`].
    pub(super) async fn listen(&mut self, addresses: &[Multiaddr]) -> Result<Vec<Multiaddr>, NetworkError> {
        for address in addresses {
            let listener = self
                .swarm
                .listen_on(address.clone())
                .map_err(|error| NetworkError::Transport(format!("cannot listen on {address}: {error}")))?;
            self.listening.insert(listener, Vec::new());
        }
        let all_listen = async {
            while self.listening.values().any(Vec::is_empty) {
                let event = self.swarm.select_next_some().await;
                if let SwarmEvent::ListenerClosed { reason, .. } = &event {
                    let text = reason.as_ref().err().map_or_else(|| "closed".into(), ToString::to_string);
                    return Err(NetworkError::Transport(format!("a listener ended: {text}")));
                }
                self.event(event);
            }
            Ok(())
        };
        tokio::time::timeout(LISTEN_TIMEOUT, all_listen)
            .await
            .map_err(|_| NetworkError::Transport("a listener has no address after 5 s".into()))??;
        // A wildcard address stands for several, which come in one go.
        while let Some(event) = self.swarm.select_next_some().now_or_never() {
            self.event(event);
        }
        Ok(self.listening.values().flatten().cloned().collect())
    }

    /// Runs until it is told to end or every handle is gone.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None => break,
                    Some(Command::Shutdown(done)) => {
                        drop(self);
                        drop(commands);
                        // Whoever asked may be gone; the task ends all the same.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                },
                Some(answer) = self.links.answers.next(), if !self.links.answers.is_empty() => self.answer(answer),
                Some(batch) = self.judge.running.next(), if !self.judge.running.is_empty() => self.judged(batch),
                event = self.swarm.select_next_some() => self.event(event),
                _ = ticks.tick() => self.on_tick(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Request { peer, request, reply } => self.request(peer, *request, reply),
            Command::AddAddresses { peer, addresses } => {
                self.routing.vouch(peer);
                self.book.add(peer, addresses);
            }
            Command::SetHello(hello) => self.set_hello(*hello),
            Command::Publish { key, value, reply } => self.publish(&key, &value, reply),
            Command::Announce(change) => self.announce_change(*change),
            Command::JoinTopic { topic, nodes } => self.join_topic(topic, &nodes),
            Command::LeaveTopic(topic) => self.leave_topic(&topic),
            Command::Gossip(topic, entries) => self.gossip_entries(topic, &entries),
            Command::Judged(token, hearsay) => self.judged_by_rules(token, hearsay),
            Command::Get { key, reply } => self.get(key, reply),
            Command::NewestSeq { key, reply } => {
                let store = self.swarm.behaviour_mut().kademlia.store_mut();
                // Whoever asked may be gone.
                let _ = reply.send(store.newest_seq(&key.to_bytes()));
            }
            Command::FindNode { peer, reply } => self.find_node(peer, reply),
            #[cfg(test)]
            Command::Inspect(reply) => drop(reply.send(self.inspect())),
            // Taken by the loop, which ends with it.
            Command::Shutdown(done) => drop(done),
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.record(&event);
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.listening.entry(listener_id).or_default().push(address);
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connection_opened(peer_id, connection_id, &endpoint);
                self.count_connected();
                self.flush_unsent_soon();
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.connection_closed(peer_id, connection_id, num_established);
                self.count_connected();
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), connection_id, .. } => {
                self.dial_failed(peer, connection_id);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.heard_protocols(peer_id, &info);
                self.identified(peer_id, &info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) => self.request_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Kademlia(event)) => self.kademlia_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.gossip_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Entries(event)) => self.entries_event(event),
            _ => {}
        }
    }

    /// identify's families are left out: their labels are what peers say of themselves.
    fn record(&self, event: &SwarmEvent<BehaviourEvent>) {
        let Some(metrics) = &self.swarm_metrics else { return };
        metrics.record(event);
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Kademlia(event)) => metrics.record(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => metrics.record(event),
            _ => {}
        }
    }

    fn kademlia_event(&mut self, event: KadEvent) {
        match event {
            KadEvent::InboundRequest { request } => self.put_by_peer(request),
            KadEvent::OutboundQueryProgressed { id, result, stats, step } => {
                self.progressed(id, result, &stats, step.last)
            }
            KadEvent::RoutingUpdated { is_new_peer: true, .. } => self.flush_unsent_soon(),
            _ => {}
        }
    }

    /// A peer's own listen addresses are hearsay: only dialable ones are taken, and loopback ones over loopback only.
    fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        if !info.protocols.iter().any(|protocol| protocol.as_ref() == KADEMLIA_PROTOCOL) {
            return;
        }
        let over_loopback = self.links.is_over_loopback(&peer);
        let addresses = info.listen_addrs.iter().filter_map(|address| match split_peer(address) {
            None => Some(address.clone()),
            Some((named, address)) => (named == peer).then_some(address),
        });
        let taken: Vec<_> = addresses
            .filter(|address| is_dialable(address) && (over_loopback || !is_loopback(address)))
            .take(IDENTIFY_ADDRESSES_MAX)
            .collect();
        self.routing.insert(&mut self.swarm.behaviour_mut().kademlia, peer, taken);
    }

    fn on_tick(&mut self) {
        self.tick += 1;
        self.tend_links();
        self.tend_directory();
        if let Some(metrics) = &self.metrics {
            let held = self.swarm.behaviour_mut().kademlia.store_mut().len();
            metrics.records_held.set(i64::try_from(held).unwrap_or(i64::MAX));
        }
        self.tend_changes();
        self.tend_topics();
        if self.tick.is_multiple_of(TEND_TICKS) {
            self.allowances.tend();
            self.tend_routing();
        }
        let alone = self.links.connected() == 0;
        if self.was_alone != alone {
            self.was_alone = alone;
            self.bootstrap_pause = *BOOTSTRAP_TICKS.start();
            self.bootstrap_at = self.tick + if alone { 0 } else { BOOTSTRAP_IDLE_TICKS };
        }
        if self.tick >= self.bootstrap_at {
            self.dial_bootstrap();
            self.bootstrap_at = self.tick + if alone { self.bootstrap_pause } else { BOOTSTRAP_IDLE_TICKS };
            self.bootstrap_pause = (self.bootstrap_pause * 2).min(*BOOTSTRAP_TICKS.end());
        }
    }

    fn tend_routing(&mut self) {
        let connected: BTreeSet<PeerId> = self.swarm.connected_peers().copied().collect();
        let kademlia = &mut self.swarm.behaviour_mut().kademlia;
        self.routing.tend(kademlia, |peer| self.book.of(peer), |peer| connected.contains(peer));
    }

    fn dial_bootstrap(&mut self) {
        let local = *self.swarm.local_peer_id();
        for (peer, address) in self.bootstrap.clone() {
            if peer == local || self.swarm.is_connected(&peer) {
                continue;
            }
            let options = DialOpts::peer_id(peer).addresses(vec![address]).build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%error, "a bootstrap node was not dialled");
            }
        }
    }

    fn count_connected(&self) {
        self.connected.store(self.links.connected(), Ordering::Relaxed);
    }
}
