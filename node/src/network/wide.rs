//! Gossip of entries: a gossipsub of its own, on the topics that the rules name and among the nodes that they name.
//!
//! Never decides what is held: what passes the gate goes to the rules, and what they say of it decides whether it is passed on. Nobody's
//! custody rests on it. Implements `docs/protocol.md`, section "Gossip of entries".

use super::NetworkError;
use super::addresses::{node_of, peer_of};
use super::gossip::{scores_of_topic, thresholds};
use super::guests::{Guests, Invited};
use super::swarm_task::SwarmTask;
use crate::relay::{GossipToken, Hearsay};
use libp2p::PeerId;
use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, DataTransform, Event, IdentTopic, MaxCountSubscriptionFilter, Message, MessageAcceptance,
    MessageAuthenticity, MessageId, RawMessage, TopicHash, ValidationMode,
};
use libp2p::identity::Keypair;
use roost_protocol::gossip::message_id;
use roost_protocol::limits::{
    GOSSIP_CONTROL_BYTES_MAX, GOSSIP_ENTRIES_BYTES_MAX, GOSSIP_FRAME_BYTES_MAX, WIDE_CONVERSATIONS_MAX,
};
use roost_protocol::wide::{Entries, Topic};
use roost_protocol::{ENTRIES_PROTOCOL, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// The behaviour.
pub(super) type EntriesGossip = Invited<Behaviour<EntriesGate, MaxCountSubscriptionFilter<Guests>>>;

/// Peers to whom a message is passed on, ideally; and the bounds within which their number is left alone. Each costs every node of the
/// conversation a copy of every message.
const MESH_LOW: usize = 3;
const MESH: usize = 4;
const MESH_HIGH: usize = 6;
/// Messages that wait for one peer: 256 of 32 KiB are 8 MiB.
const QUEUE_OF_PEER_MAX: usize = 256;
/// How long one may wait for a slow peer: by then its writer has delivered it.
const FORWARD_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Messages of one frame, and message ids of one announcement.
const MESSAGES_OF_FRAME_MAX: usize = 64;
const IDS_OF_IHAVE_MAX: usize = 256;
/// Topics of one peer, and entries of one list of them: what it takes part in, and as much on the way from one epoch to the next.
const SUBSCRIPTIONS_MAX: usize = 2 * WIDE_CONVERSATIONS_MAX;
/// Messages that wait for the rules; more are not passed on.
pub(super) const HEARD_MAX: usize = 256;
/// Messages that wait for the rules' word, those in its queue included; the oldest is dropped.
const JUDGED_MAX: usize = 1_024;
/// Ticks between two looks whether a topic has enough peers: 10 s.
const LOOK_TICKS: u64 = 20;

/// What the rules are told.
#[derive(Debug)]
pub enum Wide {
    /// Entries came. The envelope's signature is the source's, and they are of a feed that it writes.
    Heard {
        /// To be judged under.
        token: GossipToken,
        /// Who published them.
        source: NodeId,
        /// The topic.
        topic: Topic,
        /// What came.
        entries: Entries,
    },
    /// What was to be told reached nobody.
    Untold(Topic),
}

/// The gate in front of every cache: what is no entries, or of another feed than its publisher's, costs whoever passes it on a penalty
/// and leaves no trace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EntriesGate;

impl DataTransform for EntriesGate {
    fn inbound_transform(&self, message: RawMessage) -> Result<Message, io::Error> {
        let RawMessage { source, data, sequence_number, topic, .. } = message;
        let node = source.as_ref().and_then(node_of).ok_or(io::ErrorKind::InvalidData)?;
        match Entries::of_message(topic.as_str(), &node, &data) {
            Ok(_) => Ok(Message { source, data, sequence_number, topic }),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, io::Error> {
        if data.len() <= GOSSIP_ENTRIES_BYTES_MAX { Ok(data) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

/// Builds the behaviour, which takes part in nothing yet.
///
/// # Errors
/// What gossipsub says of a configuration that contradicts itself.
pub(super) fn behaviour(keypair: &Keypair) -> Result<EntriesGossip, String> {
    let config = ConfigBuilder::default()
        .protocol_id_prefix(ENTRIES_PROTOCOL)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(|message: &Message| MessageId::from(message_id(message.topic.as_str(), &message.data).to_vec()))
        .max_transmit_size(GOSSIP_FRAME_BYTES_MAX)
        .max_control_message_size(GOSSIP_CONTROL_BYTES_MAX)
        .max_publish_messages(MESSAGES_OF_FRAME_MAX)
        .max_control_messages_sent(IDS_OF_IHAVE_MAX)
        .connection_handler_queue_len(QUEUE_OF_PEER_MAX)
        .forward_queue_duration(FORWARD_TIMEOUT)
        .publish_queue_duration(FORWARD_TIMEOUT)
        .mesh_outbound_min(1)
        .mesh_n_low(MESH_LOW)
        .mesh_n(MESH)
        .mesh_n_high(MESH_HIGH)
        .gossip_lazy(MESH_LOW)
        // A writer that told everybody would spare itself nothing.
        .flood_publish(false)
        .build()
        .map_err(|error| error.to_string())?;
    let guests = Guests::default();
    let filter = MaxCountSubscriptionFilter {
        filter: guests.clone(),
        max_subscribed_topics: SUBSCRIPTIONS_MAX,
        max_subscriptions_per_request: SUBSCRIPTIONS_MAX,
    };
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let mut inner = Behaviour::new_with_subscription_filter_and_transform(signed, config, filter, EntriesGate)?;
    inner.with_peer_score(super::gossip::scores_of([]), thresholds())?;
    Ok(Invited { inner, guests })
}

/// What is remembered of it beside gossipsub.
pub(super) struct WideTopics {
    told: mpsc::Sender<Wide>,
    topics: BTreeMap<Topic, BTreeSet<PeerId>>,
    /// What the rules have not judged yet.
    waiting: BTreeMap<GossipToken, (MessageId, PeerId)>,
    next: GossipToken,
    /// Peers whose subscription is to be heard anew.
    redial: BTreeSet<PeerId>,
}

impl WideTopics {
    pub(super) fn new(told: mpsc::Sender<Wide>) -> Self {
        Self { told, topics: BTreeMap::new(), waiting: BTreeMap::new(), next: 1, redial: BTreeSet::new() }
    }
}

fn ident(topic: &Topic) -> IdentTopic {
    IdentTopic::new(topic.to_string())
}

impl SwarmTask {
    fn entries(&mut self) -> &mut EntriesGossip {
        &mut self.swarm.behaviour_mut().entries
    }

    /// Takes part in a topic, with these nodes and nobody else.
    pub(super) fn join_topic(&mut self, topic: Topic, nodes: &BTreeSet<NodeId>) {
        let local = *self.swarm.local_peer_id();
        let peers: BTreeSet<PeerId> = nodes.iter().filter_map(peer_of).filter(|peer| *peer != local).collect();
        let name = ident(&topic);
        let entries = self.entries();
        entries.guests.invite(name.hash(), peers.clone());
        let joined =
            entries.set_topic_params(name.clone(), scores_of_topic()).is_ok() && entries.subscribe(&name).is_ok();
        if !joined {
            tracing::warn!("gossip of a conversation was not joined");
        }
        // Whoever said before we knew the topic that it takes part, and may not: without a connection it has said nothing.
        let hash = name.hash();
        let uninvited = |(peer, topics): (&PeerId, Vec<&TopicHash>)| {
            (topics.contains(&&hash) && !peers.contains(peer)).then_some(*peer)
        };
        let uninvited: Vec<PeerId> = self.entries().all_peers().filter_map(uninvited).collect();
        for peer in uninvited {
            // An error means that it is disconnected already.
            let _ = self.swarm.disconnect_peer_id(peer);
            self.wide.redial.insert(peer);
        }
        self.wide.topics.insert(topic.clone(), peers);
        self.meet_guests(&topic);
    }

    pub(super) fn leave_topic(&mut self, topic: &Topic) {
        self.wide.topics.remove(topic);
        let name = ident(topic);
        let entries = self.entries();
        entries.unsubscribe(&name);
        entries.guests.forget(&name.hash());
    }

    pub(super) fn gossip_entries(&mut self, topic: Topic, entries: &Entries) {
        if let Err(error) = self.entries().publish(ident(&topic), entries.encoded()) {
            tracing::debug!(%error, "entries were not gossiped");
            // A full queue means that the rules are behind: then the writer waits in vain for custody, and delivers.
            let _ = self.wide.told.try_send(Wide::Untold(topic));
        }
    }

    pub(super) fn entries_event(&mut self, event: Event) {
        if let Event::Message { propagation_source, message_id, message } = event
            && !self.pass_to_rules(propagation_source, &message_id, &message)
        {
            self.report(&message_id, &propagation_source, MessageAcceptance::Ignore);
        }
    }

    /// Whether the rules will judge it.
    fn pass_to_rules(&mut self, from: PeerId, id: &MessageId, message: &Message) -> bool {
        let Some(source) = message.source else { return false };
        let guests = &self.entries().guests;
        let among = guests.is_invited(&message.topic, &source) && guests.is_invited(&message.topic, &from);
        // What a node gossips is what it would else deliver: one allowance covers both.
        if !among || !self.allowances.bytes.take_bytes(&source, message.data.len()) {
            return false;
        }
        let Some(source) = node_of(&source) else { return false };
        let Ok((topic, entries)) = Entries::of_message(message.topic.as_str(), &source, &message.data) else {
            return false;
        };
        let token = self.wide.next;
        if self.wide.told.try_send(Wide::Heard { token, source, topic, entries }).is_err() {
            return false;
        }
        self.wide.next += 1;
        self.wide.waiting.insert(token, (id.clone(), from));
        if self.wide.waiting.len() > JUDGED_MAX
            && let Some((_, (id, from))) = self.wide.waiting.pop_first()
        {
            self.report(&id, &from, MessageAcceptance::Ignore);
        }
        true
    }

    pub(super) fn judged_by_rules(&mut self, token: GossipToken, hearsay: Hearsay) {
        if let Some((id, from)) = self.wide.waiting.remove(&token) {
            let acceptance = match hearsay {
                Hearsay::PassOn => MessageAcceptance::Accept,
                Hearsay::Drop => MessageAcceptance::Ignore,
            };
            self.report(&id, &from, acceptance);
        }
    }

    fn report(&mut self, id: &MessageId, from: &PeerId, acceptance: MessageAcceptance) {
        self.entries().report_message_validation_result(id, from, acceptance);
    }

    pub(super) fn tend_topics(&mut self) {
        for peer in std::mem::take(&mut self.wide.redial) {
            if !self.swarm.is_connected(&peer) {
                self.dial_again(peer);
            }
        }
        if self.tick.is_multiple_of(LOOK_TICKS) {
            let topics: Vec<Topic> = self.wide.topics.keys().cloned().collect();
            topics.iter().for_each(|topic| self.meet_guests(topic));
        }
    }

    /// Dials some of a topic's nodes where too few are connected. Each node dials the next ones behind it in the order of all, near and
    /// far, so that all hang together whoever else they meet.
    fn meet_guests(&mut self, topic: &Topic) {
        let Some(peers) = self.wide.topics.get(topic) else { return };
        let connected = peers.iter().filter(|peer| self.swarm.is_connected(peer)).count();
        if connected >= MESH.min(peers.len()) {
            return;
        }
        let some = next_in_ring(peers, self.swarm.local_peer_id());
        let some: Vec<PeerId> = some.into_iter().filter(|peer| !self.swarm.is_connected(peer)).collect();
        some.into_iter().for_each(|peer| self.dial_again(peer));
    }
}

/// Peers behind us in the order of all: the next one, one about the root of their number away, one half-way round.
fn next_in_ring(peers: &BTreeSet<PeerId>, local: &PeerId) -> BTreeSet<PeerId> {
    let ring: Vec<&PeerId> = peers.range(*local..).chain(peers.range(..*local)).collect();
    let distances = [0, ring.len().isqrt(), ring.len() / 2];
    distances.into_iter().filter_map(|at| ring.get(at).map(|peer| **peer)).collect()
}

impl super::Network {
    /// Takes part in the gossip of a conversation, with these nodes and nobody else. Where too few are connected some are dialled.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`].
    pub fn join(&self, topic: Topic, nodes: BTreeSet<NodeId>) -> Result<(), NetworkError> {
        self.command(super::Command::JoinTopic { topic, nodes })
    }

    /// Takes part no longer.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`].
    pub fn leave(&self, topic: Topic) -> Result<(), NetworkError> {
        self.command(super::Command::LeaveTopic(topic))
    }

    /// Gossips entries of this node's own feed; [`Wide::Untold`] where nobody is there to hear them.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`].
    pub fn gossip(&self, topic: Topic, entries: Entries) -> Result<(), NetworkError> {
        self.command(super::Command::Gossip(topic, Box::new(entries)))
    }

    /// What becomes of what was heard.
    ///
    /// # Errors
    /// [`NetworkError::Busy`], [`NetworkError::Closed`].
    pub fn judged(&self, token: GossipToken, hearsay: Hearsay) -> Result<(), NetworkError> {
        self.command(super::Command::Judged(token, hearsay))
    }

    /// What the rules are told of the gossip of entries. Given once.
    pub fn wide(&self) -> Option<mpsc::Receiver<Wide>> {
        self.wide.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}
