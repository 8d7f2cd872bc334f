//! Bounds the half-open connections of one address, so that whoever opens many and says nothing leaves the others their places.
//!
//! A behaviour that only counts: from the accepted TCP connection until Noise and yamux have agreed, or failed. Never looks at who
//! the peer is, and never holds a connection that stands. Implements `docs/protocol.md`, section "Node network".

use libp2p::core::Endpoint;
use libp2p::core::multiaddr::Protocol;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};

/// The low half of an IPv6 address is its owner's to choose.
const IPV6_NETWORK: u128 = !0 << 64;

/// An address has as many half-open connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected at most {0} half-open connections of one address")]
pub(super) struct TooManyPending(usize);

/// Half-open connections of each address. As many are counted as are open in all, which `connection_limits` bounds.
#[derive(Debug)]
pub(super) struct Pending {
    of_address_max: usize,
    connections: BTreeMap<ConnectionId, Option<IpAddr>>,
    /// `None` is whatever has no IP address; together it counts as one.
    addresses: BTreeMap<Option<IpAddr>, usize>,
}

impl Pending {
    /// Nobody is at the door. Zero counts as one.
    pub(super) fn new(of_address_max: usize) -> Self {
        Self { of_address_max: of_address_max.max(1), connections: BTreeMap::new(), addresses: BTreeMap::new() }
    }

    fn enter(&mut self, connection: ConnectionId, remote: &Multiaddr) -> Result<(), TooManyPending> {
        let network = network_of(remote);
        let held = self.addresses.get(&network).copied().unwrap_or(0);
        if held >= self.of_address_max {
            return Err(TooManyPending(self.of_address_max));
        }
        self.addresses.insert(network, held + 1);
        self.connections.insert(connection, network);
        Ok(())
    }

    fn leave(&mut self, connection: ConnectionId) {
        let Some(network) = self.connections.remove(&connection) else { return };
        if let Some(held) = self.addresses.get_mut(&network) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.addresses.remove(&network);
            }
        }
    }
}

/// What one owner has: an IPv4 address, or an IPv6 /64.
fn network_of(address: &Multiaddr) -> Option<IpAddr> {
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    })?;
    Some(match ip {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & IPV6_NETWORK)),
        ip @ IpAddr::V4(_) => ip,
    })
}

impl NetworkBehaviour for Pending {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.enter(connection, remote).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.leave(connection);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) = event {
            self.leave(connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_places_and_what_ends_gives_one_back() {
        let mut pending = Pending::new(2);
        let (eve, bob) = (at("/ip4/192.0.2.66/tcp/1"), at("/ip4/192.0.2.2/tcp/1"));
        assert_eq!(pending.enter(id(1), &eve), Ok(()), "eve has a first place");
        assert_eq!(pending.enter(id(2), &at("/ip4/192.0.2.66/tcp/2")), Ok(()), "and a second, from another port");
        assert_eq!(pending.enter(id(3), &eve), Err(TooManyPending(2)), "and no third");
        assert_eq!(pending.enter(id(4), &bob), Ok(()), "bob does not notice");
        // What was denied leaves too, and took nothing.
        pending.leave(id(3));
        assert_eq!(pending.enter(id(5), &eve), Err(TooManyPending(2)), "a denied one gives nothing back");
        pending.leave(id(1));
        assert_eq!(pending.enter(id(6), &eve), Ok(()), "one that ended does");
        for number in [2, 4, 6] {
            pending.leave(id(number));
        }
        assert!(pending.addresses.is_empty() && pending.connections.is_empty(), "of those gone nothing is kept");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_address_and_a_mapped_ipv4_address_is_itself() {
        let same = |one: &str, other: &str| network_of(&at(one)) == network_of(&at(other));
        assert!(same("/ip6/2001:db8::1/tcp/1", "/ip6/2001:db8::ffff:2/tcp/9"), "one /64 has one owner");
        assert!(!same("/ip6/2001:db8::1/tcp/1", "/ip6/2001:db8:0:1::1/tcp/1"), "another /64 another");
        assert!(same("/ip6/::ffff:192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1"), "a mapped address is the IPv4 address");
        assert!(!same("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"), "each IPv4 address is its own");
    }
}
