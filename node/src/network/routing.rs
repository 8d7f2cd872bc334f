//! Who may be in the routing table: of one network few peers a bucket, and the nodes that this node was told of always.
//!
//! PeerIds cost nothing, addresses do: at most two peers of one /24 (IPv4) or /48 (IPv6) stand in a bucket. The address is
//! the one that the peer was seen at, never one that it claims, and loopback is exempt. Bootstrap nodes and nodes of
//! organisations that were looked up are exempt too, and take the place of a stranger when their bucket is full.
//! Implements `docs/protocol.md`, section "Directory records".

use super::record_store::RecordStore;
use libp2p::kad::{self, K_VALUE, NodeStatus};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

/// Strangers of one network in a bucket.
const OF_NETWORK_MAX: usize = 2;
/// Nodes that keep their place: bootstrap nodes and those of organisations looked up.
const KNOWN_MAX: usize = 4_096;

/// The Kademlia of a node.
pub(super) type Kademlia = kad::Behaviour<RecordStore>;

/// The part of an address that costs money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    V4([u8; 3]),
    V6([u8; 6]),
}

/// What is known of peers beyond the table itself.
#[derive(Debug, Default)]
pub(super) struct Routing {
    seen_at: BTreeMap<PeerId, Block>,
    known: BTreeSet<PeerId>,
}

impl Routing {
    /// A peer was connected from or to an address.
    pub(super) fn met(&mut self, peer: PeerId, remote: &Multiaddr) {
        match block_of(remote) {
            Some(block) => drop(self.seen_at.insert(peer, block)),
            None => drop(self.seen_at.remove(&peer)),
        }
    }

    /// A node that the operator or an organisation looked up tells of; it keeps its place.
    pub(super) fn vouch(&mut self, peer: PeerId) {
        if self.known.len() < KNOWN_MAX || self.known.contains(&peer) {
            self.known.insert(peer);
        }
    }

    /// Puts a peer into the table, or more of its addresses; `false` when its bucket has no place for it.
    pub(super) fn insert(&self, kademlia: &mut Kademlia, peer: PeerId, addresses: Vec<Multiaddr>) -> bool {
        let Some(bucket) = kademlia.kbucket(peer) else { return false };
        let members: Vec<_> = bucket.iter().map(|entry| (*entry.node.key.preimage(), entry.status)).collect();
        let is_known = self.known.contains(&peer);
        if !members.iter().any(|(member, _)| *member == peer) {
            let block = self.seen_at.get(&peer);
            let of_block = members.iter().filter(|(member, _)| self.seen_at.get(member) == block).count();
            if !is_known && block.is_some() && of_block >= OF_NETWORK_MAX {
                tracing::debug!("a peer was not taken into the routing table: its network has its share of the bucket");
                return false;
            }
            if is_known && members.len() >= K_VALUE.get() {
                let mut strangers = members.iter().filter(|(member, _)| !self.known.contains(member));
                let gone = strangers.clone().find(|(_, status)| *status == NodeStatus::Disconnected);
                if let Some((stranger, _)) = gone.or_else(|| strangers.next()) {
                    kademlia.remove_peer(stranger);
                }
            }
        }
        addresses.into_iter().map(|address| kademlia.add_address(&peer, address)).fold(false, |taken, update| {
            taken | matches!(update, kad::RoutingUpdate::Success | kad::RoutingUpdate::Pending)
        })
    }

    /// Puts known nodes back that are connected and have left the table, and forgets where strangers outside it were seen.
    /// One that is not connected is not put back: a lookup would wait for a dead one.
    pub(super) fn tend(
        &mut self,
        kademlia: &mut Kademlia,
        addresses: impl Fn(&PeerId) -> Vec<Multiaddr>,
        is_connected: impl Fn(&PeerId) -> bool,
    ) {
        let in_table: BTreeSet<PeerId> = kademlia
            .kbuckets()
            .flat_map(|bucket| bucket.iter().map(|entry| *entry.node.key.preimage()).collect::<Vec<_>>())
            .collect();
        self.seen_at.retain(|peer, _| in_table.contains(peer) || is_connected(peer));
        for peer in self.known.difference(&in_table).filter(|peer| is_connected(peer)) {
            self.insert(kademlia, *peer, addresses(peer));
        }
    }
}

/// `None` for loopback and for names.
fn block_of(address: &Multiaddr) -> Option<Block> {
    let v6 = |ip: Ipv6Addr| match ip.octets() {
        [a, b, c, d, e, f, ..] => Block::V6([a, b, c, d, e, f]),
    };
    match address.iter().next()? {
        Protocol::Ip4(ip) if !ip.is_loopback() => {
            let [a, b, c, _] = ip.octets();
            Some(Block::V4([a, b, c]))
        }
        Protocol::Ip6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) if ip.is_loopback() => None,
            Some(ip) => {
                let [a, b, c, _] = ip.octets();
                Some(Block::V4([a, b, c]))
            }
            None => (!ip.is_loopback()).then(|| v6(ip)),
        },
        _ => None,
    }
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
