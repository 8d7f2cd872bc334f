//! Gossip of entries between nodes: a model of `node/src/network/wide.rs`. Each node passes a message on to some of those that it is
//! connected to and that take part, once; on the way it is lost, doubled and overtaken like everything else.

use super::links::{Body, Parcel};
use super::world::World;
use roost_node::relay::{GossipToken, Hearsay, Input};
use roost_protocol::NodeId;
use roost_protocol::gossip::message_id;
use roost_protocol::wide::{Entries, Topic};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes that one passes a message on to: fewer than there are, so that it needs others.
const MESH: usize = 2;

/// One message of gossip.
#[derive(Clone)]
pub(super) struct Rumour {
    /// Whose envelope it is.
    pub source: NodeId,
    pub topic: Topic,
    pub entries: Entries,
}

/// What the nodes remember of it; a process that ends has forgotten it.
#[derive(Default)]
pub(super) struct Rumours {
    joined: BTreeMap<usize, BTreeMap<Topic, BTreeSet<NodeId>>>,
    seen: BTreeMap<usize, BTreeSet<[u8; 20]>>,
    waiting: BTreeMap<(usize, GossipToken), (usize, Rumour)>,
    tokens: GossipToken,
}

impl Rumours {
    pub fn join(&mut self, node: usize, topic: Topic, nodes: BTreeSet<NodeId>) {
        self.joined.entry(node).or_default().insert(topic, nodes);
    }

    pub fn leave(&mut self, node: usize, topic: &Topic) {
        self.joined.entry(node).or_default().remove(topic);
    }

    pub fn forget(&mut self, node: usize) {
        self.joined.remove(&node);
        self.seen.remove(&node);
        self.waiting.retain(|(of, _), _| *of != node);
    }

    /// Whether a node takes part in a topic together with another.
    fn is_among(&self, node: usize, topic: &Topic, other: &NodeId) -> bool {
        self.joined.get(&node).and_then(|topics| topics.get(topic)).is_some_and(|nodes| nodes.contains(other))
    }

    /// Whether it is new to a node.
    fn is_new(&mut self, node: usize, rumour: &Rumour) -> bool {
        let id = message_id(&rumour.topic.to_string(), &rumour.entries.encoded());
        self.seen.entry(node).or_default().insert(id)
    }
}

impl World {
    /// A node tells entries of its own.
    pub(super) fn tell_rumour(&mut self, node: usize, topic: Topic, entries: Entries) {
        let rumour = Rumour { source: self.id_of(node), topic, entries };
        self.rumours.is_new(node, &rumour);
        self.counters.reach("gossip_told");
        if self.spread_rumour(node, None, &rumour) == 0 {
            self.feed(node, Input::Untold(rumour.topic));
        }
    }

    /// The rules have said what becomes of one.
    pub(super) fn rumour_judged(&mut self, node: usize, token: GossipToken, hearsay: Hearsay) {
        let Some((from, rumour)) = self.rumours.waiting.remove(&(node, token)) else { return };
        if hearsay == Hearsay::PassOn {
            self.spread_rumour(node, Some(from), &rumour);
        }
    }

    fn spread_rumour(&mut self, node: usize, from: Option<usize>, rumour: &Rumour) -> usize {
        let own = self.id_of(node);
        let mut takers: Vec<(usize, u64)> = (0..self.nodes.len())
            .filter(|to| *to != node && Some(*to) != from && self.id_of(*to) != rumour.source)
            .filter(|to| {
                let other = self.id_of(*to);
                self.rumours.is_among(node, &rumour.topic, &other) && self.rumours.is_among(*to, &rumour.topic, &own)
            })
            .filter_map(|to| Some((to, self.links.connection_of(node, to)?)))
            .collect();
        let mut told = 0;
        while told < MESH && !takers.is_empty() {
            let (to, connection) = takers.swap_remove(self.dice.index(takers.len()));
            let body = Body::Rumour(Box::new(rumour.clone()));
            self.transmit(Parcel { from: node, to, connection: Some(connection), stale: false, body });
            told += 1;
        }
        told
    }

    /// One arrives.
    pub(super) fn hear_rumour(&mut self, node: usize, from: usize, rumour: Rumour) {
        let teller = self.id_of(from);
        let among = |who: &NodeId| self.rumours.is_among(node, &rumour.topic, who);
        if !among(&teller) || !among(&rumour.source) || !self.rumours.is_new(node, &rumour) {
            return;
        }
        self.counters.reach("gossip_heard");
        self.rumours.tokens += 1;
        let token = self.rumours.tokens;
        let Rumour { source, topic, entries } = rumour.clone();
        self.rumours.waiting.insert((node, token), (from, rumour));
        self.feed(node, Input::Gossiped { token, source, topic, entries });
    }
}
