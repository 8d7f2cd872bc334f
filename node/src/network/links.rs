//! Links to peers: dialling, one connection a pair, `Hello`, requests in both directions.
//!
//! A request leaves only after the peer has answered our `Hello`; a peer is heard only after we have its. Time is counted
//! in the task's ticks of half a second.

use super::addresses::{is_loopback, node_of, of_org, peer_of};
use super::codec::Asked;
use super::selection::Candidate;
use super::swarm_task::{Reply, SwarmTask};
use super::{InboundRequest, NetworkError, clock, hello};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::request_response::{Event, Message, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::DialOpts;
use roost_protocol::codec;
use roost_protocol::peer::{NodeHello, NodeRequest, NodeResponse};
use roost_protocol::records::VerifiedRecord;
use roost_protocol::refusal::{Code, Refusal};
use std::collections::{BTreeMap, HashMap, VecDeque};
use tokio::sync::oneshot;

/// Peers that are connected or waited for.
const PEERS_MAX: usize = 4_096;
/// Requests that wait for one peer.
const WAITING_MAX: usize = 64;
/// Requests in flight to one peer.
const IN_FLIGHT_MAX: usize = 16;
/// Requests of one peer that the relay works on.
const INBOUND_OF_PEER_MAX: usize = 32;
/// Ticks before the second connection of a pair is closed: 5 s, in which what is in flight comes home.
const GRACE_TICKS: u64 = 10;
/// Ticks after which it is closed whatever is in flight: 30 s.
const GRACE_TICKS_MAX: u64 = 60;
/// Ticks before a `Hello` that was refused for now is repeated: 2 s.
const HELLO_RETRY_TICKS: u64 = 4;
/// Whispers that wait for one peer: the one that it is dialled for.
const WHISPERS_WAITING_MAX: usize = 1;
/// The feature of nodes that pass on what is said in passing.
const WHISPERS: &str = "whispers";
/// Ticks that a refusal has to reach the peer before it is disconnected: 1 s.
const FAREWELL_TICKS: u64 = 2;

/// All links.
#[derive(Default)]
pub(super) struct Links {
    peers: BTreeMap<PeerId, Link>,
    sent: HashMap<OutboundRequestId, (PeerId, Sent)>,
    hello: Option<NodeHello>,
    /// Answers that the relay is working on.
    pub(super) answers: FuturesUnordered<BoxFuture<'static, Answer>>,
}

/// The relay's answer to a peer.
pub(super) struct Answer {
    peer: PeerId,
    channel: ResponseChannel<NodeResponse>,
    response: NodeResponse,
    kind: &'static str,
}

enum Sent {
    Hello,
    Request(Reply),
}

#[derive(Default)]
struct Link {
    connections: BTreeMap<ConnectionId, Connection>,
    /// Our `Hello` is on its way.
    hello_in_flight: bool,
    /// The peer has answered our `Hello`.
    answered: bool,
    /// Not before this tick is `Hello` repeated.
    hello_at: u64,
    /// The peer's verified `Hello`.
    greeted: Option<NodeHello>,
    /// The relay was not yet told of it.
    announce: bool,
    waiting: VecDeque<(NodeRequest, Reply)>,
    in_flight: usize,
    inbound: usize,
    dial: Option<ConnectionId>,
    dial_repeated: bool,
    disconnect_at: Option<u64>,
}

struct Connection {
    dialled_by_us: bool,
    loopback: bool,
    since: u64,
}

impl Links {
    /// Peers with a connection.
    pub(super) fn connected(&self) -> usize {
        self.peers.values().filter(|link| !link.connections.is_empty()).count()
    }

    /// Whether a peer is connected over this machine's loopback.
    pub(super) fn is_over_loopback(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|link| link.connections.values().any(|connection| connection.loopback))
    }

    /// Whether a peer has shown by its `Hello` that an organisation lists it.
    pub(super) fn is_greeted(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|link| link.greeted.is_some())
    }

    /// Greeted peers whose connections are older than `tick` and carry no request now.
    pub(super) fn quiet_since(&self, tick: u64) -> Vec<PeerId> {
        let quiet = |link: &Link| {
            let idle = link.in_flight == 0 && link.inbound == 0 && link.waiting.is_empty() && !link.hello_in_flight;
            idle && link.greeted.is_some() && link.connections.values().all(|connection| connection.since <= tick)
        };
        self.peers.iter().filter(|(_, link)| quiet(link)).map(|(peer, _)| *peer).collect()
    }

    /// Connections to a peer.
    #[cfg(test)]
    pub(super) fn connections_of(&self, peer: &PeerId) -> u32 {
        self.peers.get(peer).map_or(0, |link| link.connections.len() as u32)
    }

    /// Whether a peer said just this already.
    fn has_greeted(&self, peer: &PeerId, hello: &NodeHello) -> bool {
        self.peers.get(peer).is_some_and(|link| link.greeted.as_ref() == Some(hello))
    }
}

impl SwarmTask {
    /// Sends a request, or queues it until the peer is connected and has answered `Hello`.
    pub(super) fn request(&mut self, peer: PeerId, request: NodeRequest, reply: Reply) {
        let known = self.links.peers.contains_key(&peer);
        if peer == *self.swarm.local_peer_id() {
            tell(reply, Err(NetworkError::Unreachable));
        } else if !known && self.links.peers.len() >= PEERS_MAX {
            tell(reply, Err(NetworkError::Busy));
        } else {
            let link = self.links.peers.entry(peer).or_default();
            // What is said in passing waits behind nothing, not even its like.
            let waiting_max = if is_whisper(&request) { WHISPERS_WAITING_MAX } else { WAITING_MAX };
            if link.waiting.len() >= waiting_max {
                return tell(reply, Err(NetworkError::Busy));
            }
            link.waiting.push_back((request, reply));
            if link.connections.is_empty() {
                self.dial(peer);
            } else {
                self.pump(peer);
            }
        }
    }

    /// Sets what this node says of itself, and says it to everybody.
    pub(super) fn set_hello(&mut self, hello: NodeHello) {
        self.links.hello = Some(hello);
        let peers: Vec<_> = self.links.peers.keys().copied().collect();
        for peer in peers {
            if let Some(link) = self.links.peers.get_mut(&peer) {
                link.hello_at = 0;
                link.hello_in_flight = false;
            }
            self.say_hello(peer);
        }
    }

    pub(super) fn connection_opened(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let since = self.tick;
        self.routing.met(peer, endpoint.get_remote_address());
        let link = self.links.peers.entry(peer).or_default();
        let loopback = is_loopback(endpoint.get_remote_address());
        link.connections.insert(connection, Connection { dialled_by_us: endpoint.is_dialer(), loopback, since });
        link.dial = None;
        link.dial_repeated = false;
        if link.connections.len() == 1 {
            self.say_hello(peer);
        }
    }

    pub(super) fn connection_closed(&mut self, peer: PeerId, connection: ConnectionId, left: u32) {
        if let Some(link) = self.links.peers.get_mut(&peer) {
            link.connections.remove(&connection);
            if left == 0
                && let Some(link) = self.links.peers.remove(&peer)
            {
                for (_, reply) in link.waiting {
                    tell(reply, Err(NetworkError::Unreachable));
                }
            }
        }
    }

    /// Another behaviour may have dialled the peer with fewer addresses: then ours is tried once.
    pub(super) fn dial_failed(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(link) = self.links.peers.get_mut(&peer) else { return };
        if !link.connections.is_empty() {
            return;
        }
        match link.dial {
            Some(dial) if dial != connection => {}
            None if !link.dial_repeated && !link.waiting.is_empty() => {
                link.dial_repeated = true;
                self.dial(peer);
            }
            _ => self.give_up(peer),
        }
    }

    pub(super) fn request_event(&mut self, event: Event<Asked, NodeResponse>) {
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.heard(peer, request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                match self.links.sent.remove(&request_id) {
                    Some((peer, Sent::Hello)) => self.hello_answered(peer, response),
                    Some((peer, Sent::Request(reply))) => self.came_home(peer, reply, Ok(response)),
                    None => {}
                }
            }
            Event::OutboundFailure { request_id, error, .. } => match self.links.sent.remove(&request_id) {
                Some((peer, Sent::Hello)) => self.hello_failed(peer, &error),
                Some((peer, Sent::Request(reply))) => {
                    let timeout = matches!(error, OutboundFailure::Timeout);
                    let error = if timeout { NetworkError::Timeout } else { NetworkError::Unreachable };
                    self.came_home(peer, reply, Err(error));
                }
                None => {}
            },
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    /// Hands the relay's answer to the peer.
    pub(super) fn answer(&mut self, answer: Answer) {
        if let Some(link) = self.links.peers.get_mut(&answer.peer) {
            link.inbound = link.inbound.saturating_sub(1);
        }
        self.respond(answer.channel, answer.kind, answer.response);
    }

    pub(super) fn tend_links(&mut self) {
        let now = self.tick;
        let local = *self.swarm.local_peer_id();
        let peers: Vec<_> = self.links.peers.keys().copied().collect();
        for peer in peers {
            let Some(link) = self.links.peers.get_mut(&peer) else { continue };
            link.waiting.retain(|(_, reply)| !reply.is_closed());
            if link.connections.is_empty() && link.waiting.is_empty() {
                self.links.peers.remove(&peer);
                continue;
            }
            let superfluous = superfluous(link, peer, local, now);
            if link.disconnect_at.is_some_and(|at| at <= now) {
                // An error means that it is disconnected already.
                let _ = self.swarm.disconnect_peer_id(peer);
                continue;
            }
            for connection in superfluous {
                self.swarm.close_connection(connection);
            }
            self.say_hello(peer);
            self.announce(peer);
        }
    }

    fn dial(&mut self, peer: PeerId) {
        let options =
            DialOpts::peer_id(peer).addresses(self.book.of(&peer)).extend_addresses_through_behaviour().build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                if let Some(link) = self.links.peers.get_mut(&peer) {
                    link.dial = Some(connection);
                }
            }
            // Somebody is dialling it already; that attempt decides.
            Err(libp2p::swarm::DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "a node was not dialled");
                self.give_up(peer);
            }
        }
    }

    /// Dials a peer that was disconnected on purpose.
    pub(super) fn dial_again(&mut self, peer: PeerId) {
        let options =
            DialOpts::peer_id(peer).addresses(self.book.of(&peer)).extend_addresses_through_behaviour().build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%error, "a node was not dialled again");
        }
    }

    fn give_up(&mut self, peer: PeerId) {
        for (_, reply) in self.links.peers.remove(&peer).into_iter().flat_map(|link| link.waiting) {
            tell(reply, Err(NetworkError::Unreachable));
        }
    }

    fn say_hello(&mut self, peer: PeerId) {
        let Some(hello) = self.links.hello.clone() else { return };
        let Some(link) = self.links.peers.get_mut(&peer) else { return };
        let due = link.hello_at <= self.tick && !link.hello_in_flight && link.disconnect_at.is_none();
        if due && !link.connections.is_empty() {
            link.hello_in_flight = true;
            // Once answered it is not due again, unless it changes or a new connection comes.
            link.hello_at = u64::MAX;
            let id = self.swarm.behaviour_mut().requests.send_request(&peer, NodeRequest::Hello(hello).into());
            self.links.sent.insert(id, (peer, Sent::Hello));
        }
    }

    fn hello_answered(&mut self, peer: PeerId, response: NodeResponse) {
        let retry_at = self.tick + HELLO_RETRY_TICKS;
        let learned = match response {
            NodeResponse::Hello(hello) => self.learn(peer, hello),
            NodeResponse::Refused(refusal) => Err(refusal),
            _ => Err(Refusal::never(Code::Malformed, "another answer than Hello", "speak the protocol")),
        };
        let Some(link) = self.links.peers.get_mut(&peer) else { return };
        link.hello_in_flight = false;
        match learned {
            Ok(()) => {
                link.answered = true;
                self.pump(peer);
            }
            Err(refusal) if refusal.later => link.hello_at = retry_at,
            Err(_) => link.disconnect_at = Some(self.tick),
        }
    }

    fn hello_failed(&mut self, peer: PeerId, error: &OutboundFailure) {
        let retry_at = self.tick + HELLO_RETRY_TICKS;
        let Some(link) = self.links.peers.get_mut(&peer) else { return };
        link.hello_in_flight = false;
        if matches!(error, OutboundFailure::UnsupportedProtocols) {
            // A node that only takes part in the directory may stay; nothing is asked of it.
            for (_, reply) in link.waiting.drain(..) {
                tell(reply, Err(NetworkError::Unreachable));
            }
        } else {
            link.hello_at = retry_at;
        }
    }

    /// Checks a peer's `Hello`, keeps it, and takes the addresses of its organisation.
    fn learn(&mut self, peer: PeerId, hello: NodeHello) -> Result<(), Refusal> {
        let other_key = || Refusal::never(Code::Malformed, "the peer's key is not Ed25519", "use an Ed25519 key");
        let node = node_of(&peer).ok_or_else(other_key)?;
        if self.links.has_greeted(&peer, &hello) {
            return Ok(());
        }
        let now_s = clock::now_s();
        let record = hello::check(&node, &hello, now_s)?;
        if let Some(metrics) = &self.metrics {
            metrics.peer_signed(record.seq, now_s);
        }
        for (node, addresses) in of_org(&record) {
            if let Some(peer) = peer_of(&node) {
                self.book.add(peer, addresses);
            }
        }
        let value = codec::encode(&hello.org);
        self.changes.lookups.refresh(&Candidate { value, record: VerifiedRecord::Org(record) });
        if let Some(link) = self.links.peers.get_mut(&peer) {
            link.announce |= link.greeted.as_ref() != Some(&hello);
            link.greeted = Some(hello);
        }
        self.score(&peer);
        self.announce(peer);
        Ok(())
    }

    /// Tells the relay of a peer's `Hello`; repeated at the next tick while its queue is full.
    fn announce(&mut self, peer: PeerId) {
        let Some(link) = self.links.peers.get_mut(&peer).filter(|link| link.announce) else { return };
        let (Some(node), Some(hello)) = (node_of(&peer), link.greeted.clone()) else { return };
        let (respond, _) = oneshot::channel();
        let request = InboundRequest { peer: node, request: NodeRequest::Hello(hello), respond };
        link.announce = self.inbound.try_send(request).is_err();
    }

    fn heard(&mut self, peer: PeerId, asked: Asked, channel: ResponseChannel<NodeResponse>) {
        let kind = asked.request.name();
        let response = match asked.request {
            _ if !self.allowances.requests.take(&peer) || !self.allowances.bytes.take_bytes(&peer, asked.bytes) => {
                NodeResponse::Refused(busy())
            }
            NodeRequest::Hello(hello)
                if !self.links.has_greeted(&peer, &hello) && !self.allowances.hellos.take(&peer) =>
            {
                NodeResponse::Refused(busy())
            }
            NodeRequest::Hello(hello) => match self.learn(peer, hello) {
                Ok(()) => {
                    // A peer that refused ours for now, because it was starting, is ready to hear it.
                    if let Some(link) = self.links.peers.get_mut(&peer).filter(|link| !link.answered) {
                        link.hello_at = 0;
                    }
                    self.say_hello(peer);
                    self.own_hello()
                }
                Err(refusal) => {
                    if let Some(link) = self.links.peers.get_mut(&peer)
                        && !refusal.later
                    {
                        link.disconnect_at = Some(self.tick + FAREWELL_TICKS);
                    }
                    NodeResponse::Refused(refusal)
                }
            },
            request => match self.pass_on(peer, request) {
                Ok(answer) => {
                    let answer = answer.map(move |answer| Answer {
                        peer,
                        channel,
                        kind,
                        response: answer.unwrap_or_else(|_| NodeResponse::Refused(unanswered())),
                    });
                    return self.links.answers.push(answer.boxed());
                }
                Err(refusal) => NodeResponse::Refused(refusal),
            },
        };
        self.respond(channel, kind, response);
    }

    fn pass_on(&mut self, peer: PeerId, request: NodeRequest) -> Result<oneshot::Receiver<NodeResponse>, Refusal> {
        let link = self.links.peers.get_mut(&peer).filter(|link| link.greeted.is_some()).ok_or_else(hello::first)?;
        let node = node_of(&peer).ok_or_else(hello::first)?;
        if link.inbound >= INBOUND_OF_PEER_MAX {
            return Err(busy());
        }
        let (respond, answer) = oneshot::channel();
        self.inbound.try_send(InboundRequest { peer: node, request, respond }).map_err(|_| busy())?;
        link.inbound += 1;
        Ok(answer)
    }

    fn own_hello(&self) -> NodeResponse {
        match self.links.hello.clone() {
            Some(hello) => NodeResponse::Hello(hello),
            None => {
                let refusal = Refusal::later(Code::Busy, "this node is starting", "send Hello again in a moment");
                NodeResponse::Refused(refusal)
            }
        }
    }

    /// Sends what waits for a peer, as far as its window allows.
    fn pump(&mut self, peer: PeerId) {
        let Some(link) = self.links.peers.get_mut(&peer) else { return };
        while link.answered && link.in_flight < IN_FLIGHT_MAX {
            let Some((request, reply)) = link.waiting.pop_front() else { break };
            if reply.is_closed() {
                continue;
            }
            let hears = |hello: &NodeHello| hello.features.iter().any(|feature| feature == WHISPERS);
            if is_whisper(&request) && !link.greeted.as_ref().is_some_and(hears) {
                tell(reply, Err(NetworkError::Unreachable));
                continue;
            }
            link.in_flight += 1;
            let id = self.swarm.behaviour_mut().requests.send_request(&peer, request.into());
            self.links.sent.insert(id, (peer, Sent::Request(reply)));
        }
    }

    fn came_home(&mut self, peer: PeerId, reply: Reply, result: Result<NodeResponse, NetworkError>) {
        tell(reply, result);
        if let Some(link) = self.links.peers.get_mut(&peer) {
            link.in_flight = link.in_flight.saturating_sub(1);
        }
        self.pump(peer);
    }

    fn respond(&mut self, channel: ResponseChannel<NodeResponse>, kind: &'static str, response: NodeResponse) {
        if let Some(metrics) = &self.metrics {
            metrics.answered(kind, &response);
        }
        if self.swarm.behaviour_mut().requests.send_response(channel, response).is_err() {
            tracing::debug!("an answer came after its connection had ended");
        }
    }
}

/// The connections of a pair to close: of two, the one that the node with the lower PeerId dialled stays. Where one side
/// dialled both, that side keeps the older; the other side leaves it to it.
fn superfluous(link: &Link, peer: PeerId, local: PeerId, now: u64) -> Vec<ConnectionId> {
    let youngest = link.connections.values().map(|connection| connection.since).max().unwrap_or(now);
    let age = now.saturating_sub(youngest);
    let quiet = link.in_flight == 0 && link.inbound == 0 && !link.hello_in_flight;
    if link.connections.len() < 2 || age < GRACE_TICKS || (!quiet && age < GRACE_TICKS_MAX) {
        return Vec::new();
    }
    let by_us = |ours: bool| link.connections.iter().filter(move |(_, connection)| connection.dialled_by_us == ours);
    let we_are_lower = local < peer;
    if by_us(we_are_lower).next().is_some() && by_us(!we_are_lower).next().is_some() {
        by_us(!we_are_lower).map(|(id, _)| *id).collect()
    } else {
        by_us(true).skip(1).map(|(id, _)| *id).collect()
    }
}

fn is_whisper(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::Whisper { .. })
}

/// Whoever asked may have given up; then the answer has no reader.
fn tell(reply: Reply, result: Result<NodeResponse, NetworkError>) {
    let _ = reply.send(result);
}

fn busy() -> Refusal {
    let refusal = Refusal::later(Code::Busy, "too many requests wait here", "send it again later");
    Refusal { retry_after_ms: Some(roost_protocol::limits::RETRY_DELAY_MS_MIN), ..refusal }
}

fn unanswered() -> Refusal {
    Refusal::later(Code::Internal, "the request was dropped", "send it again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(connections: &[(usize, bool)]) -> Link {
        let connection = |dialled_by_us| Connection { dialled_by_us, loopback: true, since: 5 };
        let connections = connections.iter().map(|(id, ours)| (ConnectionId::new_unchecked(*id), connection(*ours)));
        Link { connections: connections.collect(), ..Link::default() }
    }

    #[test]
    fn of_two_connections_both_sides_close_the_one_that_the_higher_peer_id_dialled() {
        let mut peers = [PeerId::random(), PeerId::random()];
        peers.sort();
        let [lower, higher] = peers;
        let late = 5 + GRACE_TICKS;
        // At the lower, connection 1 is its own; at the higher, connection 1 is the same one, dialled by the lower.
        let at_lower = superfluous(&link(&[(1, true), (2, false)]), higher, lower, late);
        let at_higher = superfluous(&link(&[(1, false), (2, true)]), lower, higher, late);
        assert_eq!(at_lower, [ConnectionId::new_unchecked(2)], "the lower closes the higher's");
        assert_eq!(at_higher, at_lower, "and the higher closes the same");
        let early = superfluous(&link(&[(1, true), (2, false)]), higher, lower, late - 1);
        assert_eq!(early, [], "within the grace both stay");
        assert_eq!(superfluous(&link(&[(1, true)]), higher, lower, late), [], "a single one always stays");
    }

    #[test]
    fn two_connections_of_one_dialler_are_its_own_to_close_and_requests_in_flight_hold_them_open() {
        let (us, peer) = (PeerId::random(), PeerId::random());
        let late = 5 + GRACE_TICKS;
        let ours = link(&[(1, true), (2, true)]);
        assert_eq!(superfluous(&ours, peer, us, late), [ConnectionId::new_unchecked(2)], "the older of ours stays");
        assert_eq!(superfluous(&link(&[(1, false), (2, false)]), peer, us, late), [], "the peer's are the peer's");
        let working = Link { in_flight: 1, ..link(&[(1, true), (2, true)]) };
        assert_eq!(superfluous(&working, peer, us, late), [], "what is in flight comes home first");
        let stuck = superfluous(&working, peer, us, 5 + GRACE_TICKS_MAX);
        assert_eq!(stuck.len(), 1, "but not for ever");
    }
}
