//! The address book: where nodes can be dialled, by the word of organisation records and of the operator.
//!
//! Bounded; never holds an address that cannot be dialled over TCP.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use roost_protocol::NodeId;
use roost_protocol::records::{NodeAddress, OrgRecord};
use std::collections::BTreeMap;

/// Nodes in the book.
const NODES_MAX: usize = 10_000;
/// Addresses of one node: two organisation records' worth.
const ADDRESSES_MAX: usize = 16;

/// The book.
#[derive(Debug, Default)]
pub(super) struct AddressBook(BTreeMap<PeerId, Vec<Multiaddr>>);

impl AddressBook {
    /// Adds addresses, which are tried before the older ones.
    pub(super) fn add(&mut self, peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) {
        let mut all: Vec<_> = addresses.into_iter().map(without_peer).filter(is_dialable).take(ADDRESSES_MAX).collect();
        if all.is_empty() {
            return;
        }
        if !self.0.contains_key(&peer) && self.0.len() >= NODES_MAX {
            self.0.pop_first();
        }
        let known = self.0.entry(peer).or_default();
        for address in known.drain(..) {
            if all.len() < ADDRESSES_MAX && !all.contains(&address) {
                all.push(address);
            }
        }
        *known = all;
    }

    /// The addresses of a node, newest first.
    pub(super) fn of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.0.get(peer).cloned().unwrap_or_default()
    }
}

/// The node of a libp2p peer; `None` for a key that is not Ed25519.
pub(super) fn node_of(peer: &PeerId) -> Option<NodeId> {
    NodeId::from_peer_id_bytes(&peer.to_bytes())
}

/// The libp2p peer of a node.
pub(super) fn peer_of(node: &NodeId) -> Option<PeerId> {
    PeerId::from_bytes(&node.to_peer_id_bytes()).ok()
}

/// Every node of an organisation with its addresses.
pub(super) fn of_org(record: &OrgRecord) -> impl Iterator<Item = (NodeId, Vec<Multiaddr>)> {
    record.nodes.iter().map(|node| (node.node, of_node(node)))
}

/// The addresses of a listed node.
pub(super) fn of_node(node: &NodeAddress) -> Vec<Multiaddr> {
    // The crates may use two versions of multiaddr; the bytes are the same.
    node.addrs.iter().filter_map(|address| Multiaddr::try_from(address.to_vec()).ok()).collect()
}

/// The peer that an address ends with, and the address without it.
pub(super) fn split_peer(address: &Multiaddr) -> Option<(PeerId, Multiaddr)> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some((peer, without_peer(address.clone()))),
        _ => None,
    }
}

/// Whether an address is of this machine only.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

/// Whether an address is a host and a TCP port.
pub(super) fn is_dialable(address: &Multiaddr) -> bool {
    let host = address.iter().next().is_some_and(|part| match part {
        Protocol::Ip4(ip) => !ip.is_unspecified(),
        Protocol::Ip6(ip) => !ip.is_unspecified(),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) => true,
        _ => false,
    });
    host && matches!(address.iter().nth(1), Some(Protocol::Tcp(port)) if port != 0) && address.iter().count() == 2
}

fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}
