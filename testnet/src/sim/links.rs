//! Links between nodes: dialling, `Hello` first on every connection, requests with a time-out, and what a bad network does.
//!
//! A model of `node/src/network/links.rs`; the check of a `Hello` is the real one.

use super::rumours::Rumour;
use super::schedule::{Event, Millis};
use super::world::World;
use roost_crypto::identity_log::IdentityLog;
use roost_node::network::check_hello;
use roost_node::relay::{Input, RequestToken};
use roost_protocol::codec;
use roost_protocol::handle::Handle;
use roost_protocol::peer::{NodeHello, NodeRequest, NodeResponse};
use roost_protocol::records::RecordKey;
use roost_protocol::refusal::{Code, Refusal};
use std::collections::BTreeMap;

/// As the real network: an answer is waited for so long.
const REQUEST_TIMEOUT_MS: Millis = 5_000;
/// As the real network: a `Hello` refused for now is repeated after this.
const HELLO_RETRY_MS: Millis = 2_000;
/// As the real network.
const WAITING_MAX: usize = 64;
/// As the real network.
const IN_FLIGHT_MAX: usize = 16;

/// Something on its way between two nodes.
#[derive(Clone)]
pub(super) struct Parcel {
    pub from: usize,
    pub to: usize,
    /// The connection it belongs to; `None` for the directory.
    pub connection: Option<u64>,
    /// It was held up somewhere so long that its connection may be gone; it arrives all the same.
    pub stale: bool,
    pub body: Body,
}

/// What is in it.
#[derive(Clone)]
pub(super) enum Body {
    Ask {
        request: u64,
        what: NodeRequest,
    },
    Answer {
        request: u64,
        what: NodeResponse,
    },
    Get {
        lookup: u64,
        handle: Handle,
    },
    Got {
        lookup: u64,
        handle_record: Option<Vec<u8>>,
        log: Option<Vec<u8>>,
    },
    Put {
        key: RecordKey,
        value: Vec<u8>,
    },
    /// What gossip tells of an account.
    Hint {
        log: IdentityLog,
    },
    /// Entries of a wide conversation.
    Rumour(Box<Rumour>),
}

/// A request that has no answer yet.
struct Request {
    from: usize,
    to: usize,
    process: u64,
    /// The rules' name for it; `None` for a `Hello`.
    token: Option<RequestToken>,
    /// Until it is sent.
    body: Option<NodeRequest>,
}

/// One side of a connection.
#[derive(Default)]
struct Side {
    hello_in_flight: bool,
    /// Not before is it repeated.
    hello_at: Millis,
    /// The other has answered our `Hello`.
    answered: bool,
    /// The other's `Hello`.
    greeted: Option<NodeHello>,
    waiting: Vec<u64>,
    in_flight: usize,
}

/// A pair of nodes.
#[derive(Default)]
struct Link {
    connection: Option<u64>,
    dialling: bool,
    lower: Side,
    higher: Side,
}

/// All links.
#[derive(Default)]
pub(super) struct Links {
    pairs: BTreeMap<usize, Link>,
    requests: BTreeMap<u64, Request>,
    numbers: u64,
    /// Who is not heard by whom, and by how many faults.
    deaf: BTreeMap<(usize, usize), u32>,
}

impl Links {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn side(&mut self, of: usize, to: usize) -> &mut Side {
        let link = self.pairs.entry(pair(of, to)).or_default();
        if of < to { &mut link.lower } else { &mut link.higher }
    }

    /// The connection of a pair.
    pub fn connection_of(&self, one: usize, other: usize) -> Option<u64> {
        self.pairs.get(&pair(one, other)).and_then(|link| link.connection)
    }

    /// Nothing of `from` reaches `to` until it is allowed again.
    pub fn block(&mut self, from: usize, to: usize) {
        *self.deaf.entry((from, to)).or_default() += 1;
    }

    pub fn unblock(&mut self, from: usize, to: usize) {
        if let Some(count) = self.deaf.get_mut(&(from, to)) {
            *count = count.saturating_sub(1);
        }
    }

    pub fn unblock_all(&mut self) {
        self.deaf.clear();
    }

    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.deaf.get(&(from, to)).is_some_and(|count| *count > 0)
    }
}

/// Names a pair, whoever asks: at most eight nodes.
fn pair(one: usize, other: usize) -> usize {
    one.min(other) * 64 + one.max(other)
}

impl World {
    /// The rules of a node ask another node.
    pub(super) fn ask(&mut self, from: usize, token: RequestToken, to: usize, what: NodeRequest) {
        let process = self.process_of(from);
        let request = self.links.number();
        self.links.requests.insert(request, Request { from, to, process, token: Some(token), body: Some(what) });
        if self.links.side(from, to).waiting.len() >= WAITING_MAX {
            self.schedule.at(self.now, Event::Unanswered { request });
            return;
        }
        self.schedule.at(self.now + REQUEST_TIMEOUT_MS, Event::Unanswered { request });
        self.links.side(from, to).waiting.push(request);
        let link = self.links.pairs.entry(pair(from, to)).or_default();
        if link.connection.is_some() {
            self.pump_link(from, to);
        } else if !link.dialling {
            link.dialling = true;
            let at = self.now + self.latency();
            self.schedule.at(at, Event::Dialled { link: pair(from, to) });
        }
    }

    /// A dial came to an end, or a link wants to be looked after.
    pub(super) fn dialled(&mut self, link: usize) {
        let (lower, higher) = (link / 64, link % 64);
        let reachable = self.is_up(lower) && self.is_up(higher);
        let heard = !self.links.is_blocked(lower, higher) && !self.links.is_blocked(higher, lower);
        let number = self.links.number();
        let state = self.links.pairs.entry(link).or_default();
        if state.connection.is_none() && reachable && heard {
            state.connection = Some(number);
            self.counters.reach("connections");
        }
        let connected = state.connection.is_some();
        state.dialling = false;
        if connected {
            self.say_hello(lower, higher);
            self.say_hello(higher, lower);
        } else if !reachable {
            // A dead process refuses at once; behind a partition it is the request that times out.
            let waiting = [std::mem::take(&mut state.lower.waiting), std::mem::take(&mut state.higher.waiting)];
            for request in waiting.into_iter().flatten() {
                self.schedule.at(self.now, Event::Unanswered { request });
            }
        }
    }

    /// A connection ends: both sides notice, unless they cannot hear each other.
    pub(super) fn break_link(&mut self, one: usize, other: usize) {
        let Some(link) = self.links.pairs.get_mut(&pair(one, other)) else { return };
        if link.connection.take().is_none() {
            return;
        }
        (link.lower, link.higher) = (Side::default(), Side::default());
        let open: Vec<u64> = self
            .links
            .requests
            .iter()
            .filter(|(_, request)| pair(request.from, request.to) == pair(one, other))
            .map(|(id, _)| *id)
            .collect();
        let at = self.now + self.latency();
        if !self.links.is_blocked(one, other) && !self.links.is_blocked(other, one) {
            for request in open {
                self.schedule.at(at, Event::Unanswered { request });
            }
        }
    }

    /// No answer came in time, or its connection is gone.
    pub(super) fn unanswered(&mut self, request: u64) {
        let Some(Request { from, to, process, token, body }) = self.links.requests.remove(&request) else { return };
        let side = self.links.side(from, to);
        side.waiting.retain(|waiting| *waiting != request);
        match token {
            None => {
                side.hello_in_flight = false;
                side.hello_at = self.now + HELLO_RETRY_MS;
                self.schedule.at(self.now + HELLO_RETRY_MS, Event::Dialled { link: pair(from, to) });
            }
            Some(token) => {
                if body.is_none() {
                    side.in_flight = side.in_flight.saturating_sub(1);
                }
                self.counters.reach("requests_unanswered");
                if self.process_of(from) == process {
                    self.feed(from, Input::Answered { token, response: None });
                }
                self.pump_link(from, to);
            }
        }
    }

    /// Puts a parcel on its way, through whatever is wrong with the network.
    pub(super) fn transmit(&mut self, mut parcel: Parcel) {
        let faults = self.scenario.faults.clone();
        if self.links.is_blocked(parcel.from, parcel.to) {
            self.counters.fault("unheard");
            return;
        }
        let mut at = self.now + self.latency();
        if !self.healed {
            if self.dice.chance(faults.drop) {
                self.counters.fault("drop");
                return;
            }
            if self.dice.chance(faults.reorder) {
                self.counters.fault("reorder");
                at += self.dice.between(50, 2_000);
            }
            if self.dice.chance(faults.delay) {
                self.counters.fault("delay");
                at += self.dice.between(10_000, 3_600_000);
                parcel.stale = true;
            }
            if matches!(parcel.body, Body::Ask { .. } | Body::Put { .. } | Body::Rumour(_))
                && self.dice.chance(faults.duplicate)
            {
                self.counters.fault("duplicate");
                let again = at + self.dice.between(0, 3_000);
                self.schedule.at(again, Event::Arrive(Box::new(parcel.clone())));
            }
        }
        self.schedule.at(at, Event::Arrive(Box::new(parcel)));
    }

    /// A parcel arrives.
    pub(super) fn arrive(&mut self, parcel: Parcel) {
        let Parcel { from, to, connection, stale, body } = parcel;
        if !self.is_up(to) {
            return;
        }
        let standing = self.links.pairs.get(&pair(from, to)).and_then(|link| link.connection);
        if connection.is_some() && connection != standing && !stale {
            return;
        }
        match body {
            Body::Ask { request, what: NodeRequest::Hello(hello) } => {
                self.note(format_args!("node {to} hears hello of {from}"), &hello.incarnation.0);
                let what = match self.learn(to, from, hello) {
                    Ok(()) => match self.hello_of(to) {
                        Some(hello) => NodeResponse::Hello(hello),
                        None => NodeResponse::Refused(starting()),
                    },
                    Err(refusal) => NodeResponse::Refused(refusal),
                };
                self.transmit(Parcel { from: to, to: from, connection, stale, body: Body::Answer { request, what } });
            }
            Body::Ask { request, what } => {
                self.note(format_args!("node {to} is asked by {from} to {}", what.name()), &codec::encode(&what));
                if self.links.side(to, from).greeted.is_none() {
                    let what = NodeResponse::Refused(Refusal::later(Code::Version, "no Hello", "send Hello first"));
                    let body = Body::Answer { request, what };
                    self.transmit(Parcel { from: to, to: from, connection, stale, body });
                } else if let Some(what) = self.lie_about(to, &what) {
                    let body = Body::Answer { request, what };
                    self.transmit(Parcel { from: to, to: from, connection, stale, body });
                } else {
                    self.asked_by(to, from, connection, request, what);
                }
            }
            Body::Answer { request, what } => {
                self.note(format_args!("node {to} is answered by {from}"), &codec::encode(&what));
                if let NodeResponse::Refused(error) = &what {
                    self.note(format_args!("node {to} is refused: {}", error.message), &[]);
                }
                self.answered(request, what);
            }
            Body::Get { lookup, handle } => self.looked_up_at(to, from, lookup, &handle),
            Body::Got { lookup, handle_record, log } => self.found_at(lookup, from, handle_record, log),
            Body::Put { key, value } => self.admit(to, &key, &value),
            Body::Rumour(rumour) => {
                self.note(format_args!("node {to} hears gossip of {from}"), &rumour.entries.encoded());
                self.hear_rumour(to, from, *rumour);
            }
            Body::Hint { log } => {
                self.counters.reach("hints");
                self.feed(to, Input::LogLearned(log));
            }
        }
    }

    fn answered(&mut self, request: u64, what: NodeResponse) {
        let Some(Request { from, to, process, token, .. }) = self.links.requests.remove(&request) else { return };
        if self.process_of(from) != process {
            return;
        }
        let Some(token) = token else {
            self.links.side(from, to).hello_in_flight = false;
            let learned = match what {
                NodeResponse::Hello(hello) => self.learn(from, to, hello),
                _ => Err(starting()),
            };
            if learned.is_ok() {
                self.links.side(from, to).answered = true;
                self.pump_link(from, to);
            } else {
                self.counters.reach("hello_refused");
                self.links.side(from, to).hello_at = self.now + HELLO_RETRY_MS;
                self.schedule.at(self.now + HELLO_RETRY_MS, Event::Dialled { link: pair(from, to) });
            }
            return;
        };
        let side = self.links.side(from, to);
        side.in_flight = side.in_flight.saturating_sub(1);
        self.feed(from, Input::Answered { token, response: Some(what) });
        self.pump_link(from, to);
    }

    fn say_hello(&mut self, from: usize, to: usize) {
        let Some(hello) = self.hello_of(from) else { return };
        let connection = self.links.pairs.get(&pair(from, to)).and_then(|link| link.connection);
        let process = self.process_of(from);
        let request = self.links.number();
        let side = self.links.side(from, to);
        if side.answered || side.hello_in_flight || side.hello_at > self.now || connection.is_none() {
            return;
        }
        side.hello_in_flight = true;
        self.links.requests.insert(request, Request { from, to, process, token: None, body: None });
        self.schedule.at(self.now + REQUEST_TIMEOUT_MS, Event::Unanswered { request });
        let body = Body::Ask { request, what: NodeRequest::Hello(hello) };
        self.transmit(Parcel { from, to, connection, stale: false, body });
    }

    /// Checks a peer's `Hello`, and tells the rules what is new in it.
    fn learn(&mut self, node: usize, peer: usize, hello: NodeHello) -> Result<(), Refusal> {
        if self.links.side(node, peer).greeted.as_ref() == Some(&hello) {
            return Ok(());
        }
        let id = self.id_of(peer);
        check_hello(&id, &hello, self.node_clock(node) / 1000)?;
        self.links.side(node, peer).greeted = Some(hello.clone());
        self.announce(node, peer, hello);
        Ok(())
    }

    fn pump_link(&mut self, from: usize, to: usize) {
        let Some(connection) = self.links.pairs.get(&pair(from, to)).and_then(|link| link.connection) else { return };
        loop {
            let side = self.links.side(from, to);
            if !side.answered || side.in_flight >= IN_FLIGHT_MAX || side.waiting.is_empty() {
                return;
            }
            let request = side.waiting.remove(0);
            let Some(what) = self.links.requests.get_mut(&request).and_then(|request| request.body.take()) else {
                continue;
            };
            self.links.side(from, to).in_flight += 1;
            let body = Body::Ask { request, what };
            self.transmit(Parcel { from, to, connection: Some(connection), stale: false, body });
        }
    }
}

fn starting() -> Refusal {
    Refusal::later(Code::Busy, "this node is starting", "send Hello again in a moment")
}
