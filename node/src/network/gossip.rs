//! Gossipsub as this network speaks it: what it lets in, how its mesh is kept, how members of it are scored.
//!
//! Carries hints that a record of the directory changed; nobody's custody ever rests on it. What a message means is
//! `changes.rs`'s. Implements `docs/protocol.md`, section "Gossip".

use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, DataTransform, IdentTopic, MaxCountSubscriptionFilter, Message, MessageAuthenticity,
    MessageId, PeerScoreParams, PeerScoreThresholds, RawMessage, TopicHash, TopicScoreParams, ValidationMode,
    WhitelistSubscriptionFilter, score_parameter_decay,
};
use libp2p::identity::Keypair;
use roost_protocol::gossip::{DirectoryChange, TOPICS, message_id};
use roost_protocol::limits::{GOSSIP_CONTROL_BYTES_MAX, GOSSIP_FRAME_BYTES_MAX, GOSSIP_MESSAGE_BYTES_MAX};
use std::collections::HashMap;
use std::io;
use std::time::Duration;

/// The behaviour: only our topics, only messages that pass the gate.
pub(super) type Gossip = Behaviour<Gate, MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>>;

/// Messages that wait for one peer: 512 of 32 KiB are 16 MiB, where the default of 5,000 would be 160.
const QUEUE_OF_PEER_MAX: usize = 512;
/// How long a message that is passed on may wait for a slow peer; a hint that is older is worth little.
const FORWARD_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Messages of one frame.
const MESSAGES_OF_FRAME_MAX: usize = 64;
/// Message ids of one announcement of ours: with 20 bytes each it stays below what a frame's control part may have.
const IDS_OF_IHAVE_MAX: usize = 256;
/// Entries of one list of subscriptions, and topics of one peer. A list over it is ignored as a whole.
const SUBSCRIPTIONS_MAX: usize = 16;
/// What a peer whose organisation is certified by its `Hello` is worth.
pub(super) const CERTIFIED_SCORE: f64 = 10.0;
/// What a peer is worth that floods: far below the graylist whatever else it did.
pub(super) const BANNED_SCORE: f64 = -1_000.0;
/// Below it nothing of a peer is heard. Three messages that must have been known to be bad lead there.
#[cfg(test)]
pub(super) const GRAYLIST: f64 = -400.0;

/// The gate in front of every cache: another topic, too many bytes, or bytes that are no change cost their sender a
/// penalty and leave no trace. It computes no signature.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gate;

impl DataTransform for Gate {
    fn inbound_transform(&self, message: RawMessage) -> Result<Message, io::Error> {
        let RawMessage { source, data, sequence_number, topic, .. } = message;
        match DirectoryChange::read(topic.as_str(), &data) {
            Ok(_) => Ok(Message { source, data, sequence_number, topic }),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, io::Error> {
        if data.len() <= GOSSIP_MESSAGE_BYTES_MAX { Ok(data) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

/// Builds the behaviour, subscribed to the topics.
///
/// # Errors
/// What gossipsub says of a configuration that contradicts itself.
pub(super) fn behaviour(keypair: &Keypair) -> Result<Gossip, String> {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(|message: &Message| MessageId::from(message_id(message.topic.as_str(), &message.data).to_vec()))
        .max_transmit_size(GOSSIP_FRAME_BYTES_MAX)
        .max_control_message_size(GOSSIP_CONTROL_BYTES_MAX)
        .max_publish_messages(MESSAGES_OF_FRAME_MAX)
        .max_control_messages_sent(IDS_OF_IHAVE_MAX)
        .connection_handler_queue_len(QUEUE_OF_PEER_MAX)
        .forward_queue_duration(FORWARD_TIMEOUT)
        .heartbeat_initial_delay(Duration::from_secs(1))
        .mesh_n_low(4)
        .mesh_n(6)
        .mesh_n_high(12)
        .mesh_outbound_min(2)
        .flood_publish(true)
        .build()
        .map_err(|error| error.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(TOPICS.iter().map(|topic| IdentTopic::new(*topic).hash()).collect()),
        max_subscribed_topics: SUBSCRIPTIONS_MAX,
        max_subscriptions_per_request: SUBSCRIPTIONS_MAX,
    };
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = Behaviour::new_with_subscription_filter_and_transform(signed, config, filter, Gate)?;
    gossip.with_peer_score(scores(), thresholds())?;
    for topic in TOPICS {
        gossip.subscribe(&IdentTopic::new(topic)).map_err(|error| error.to_string())?;
    }
    Ok(gossip)
}

/// Scores for a network of a few nodes that is silent most of the time: silence is no fault (no P3), many nodes on one
/// address are no attack (no P6), and time in the mesh is worth next to nothing (P1), so that being there earns no credit.
pub(super) fn scores() -> PeerScoreParams {
    scores_of(TOPICS)
}

/// What a topic adds to a score.
pub(super) fn scores_of_topic() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 0.5,
        time_in_mesh_weight: 0.0027,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 10.0,
        first_message_deliveries_weight: 1.0,
        first_message_deliveries_decay: score_parameter_decay(Duration::from_secs(600)),
        first_message_deliveries_cap: 20.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -100.0,
        invalid_message_deliveries_decay: score_parameter_decay(Duration::from_secs(3_600)),
        ..TopicScoreParams::default()
    }
}

/// As [`scores`], for topics that are known from the start.
pub(super) fn scores_of<const N: usize>(topics: [&str; N]) -> PeerScoreParams {
    let topics = topics.map(|name| (IdentTopic::new(name).hash(), scores_of_topic()));
    PeerScoreParams {
        topics: HashMap::from(topics),
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -10.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: score_parameter_decay(Duration::from_secs(600)),
        slow_peer_weight: -0.2,
        ..PeerScoreParams::default()
    }
}

pub(super) fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -100.0,
        publish_threshold: -200.0,
        graylist_threshold: -400.0,
        accept_px_threshold: 1_000.0,
        opportunistic_graft_threshold: 5.0,
    }
}
