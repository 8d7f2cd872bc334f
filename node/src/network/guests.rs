//! Who takes part in the gossip of a conversation: the homes of its participants, and nobody else who has learnt its topic.
//!
//! Gossipsub asks a filter whether a subscription is let in, and does not say whose it is. This wraps the behaviour and notes whose
//! word it hears. A peer that is not let in has no subscription here: it is in no mesh and is sent nothing. Never looks into a message.

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::gossipsub::{TopicHash, TopicSubscriptionFilter};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use roost_protocol::wide::Topic;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Who may take part in what. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests(Arc<Mutex<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    /// Whose word is heard at this moment; `None`: our own.
    speaking: Option<PeerId>,
    topics: BTreeMap<TopicHash, BTreeSet<PeerId>>,
}

impl Guests {
    fn lists<T>(&self, look: impl FnOnce(&mut Lists) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these and nobody else.
    pub(super) fn invite(&self, topic: TopicHash, peers: BTreeSet<PeerId>) {
        self.lists(|lists| lists.topics.insert(topic, peers));
    }

    /// The topic is not ours any more.
    pub(super) fn forget(&self, topic: &TopicHash) {
        self.lists(|lists| lists.topics.remove(topic));
    }

    /// Whether a peer may take part in one of our topics.
    pub(super) fn is_invited(&self, topic: &TopicHash, peer: &PeerId) -> bool {
        self.lists(|lists| lists.topics.get(topic).is_some_and(|peers| peers.contains(peer)))
    }
}

impl TopicSubscriptionFilter for Guests {
    /// A topic that is not ours may become ours in a moment, and its subscription is said once: so it is kept, within a bound.
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        self.lists(|lists| match (lists.topics.get(topic), lists.speaking) {
            (Some(peers), Some(peer)) => peers.contains(&peer),
            (Some(_), None) => true,
            (None, Some(_)) => Topic::parse(topic.as_str()).is_ok(),
            (None, None) => false,
        })
    }
}

/// The behaviour, with its guests.
pub(super) struct Invited<B> {
    pub(super) inner: B,
    pub(super) guests: Guests,
}

impl<B> Deref for Invited<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for Invited<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Invited<B> {
    type ConnectionHandler = THandler<B>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.guests.lists(|lists| lists.speaking = Some(peer));
        self.inner.on_connection_handler_event(peer, connection, event);
        self.guests.lists(|lists| lists.speaking = None);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_protocol::ids::{GroupId, Hash};

    fn hash(group: u8) -> TopicHash {
        TopicHash::from_raw(Topic::of(&GroupId([group; 32]), &Hash([0; 32])).to_string())
    }

    #[test]
    fn only_the_invited_subscribe_to_what_is_ours_and_anybody_to_what_may_become_ours() {
        let (bob, eve) = (PeerId::random(), PeerId::random());
        let mut guests = Guests::default();
        guests.invite(hash(1), BTreeSet::from([bob]));
        assert!(guests.can_subscribe(&hash(1)), "we take part");
        assert!(!guests.can_subscribe(&hash(2)), "in nothing else");
        let mut says = |peer: PeerId, topic: &TopicHash| {
            guests.lists(|lists| lists.speaking = Some(peer));
            guests.can_subscribe(topic)
        };
        assert!(says(bob, &hash(1)), "bob's node is a home");
        assert!(!says(eve, &hash(1)), "eve's is none");
        assert!(says(bob, &hash(2)), "bob's may know before us that a conversation is ours as well");
        assert!(!says(bob, &TopicHash::from_raw("anything")), "what is no topic of entries is not kept");
    }
}
