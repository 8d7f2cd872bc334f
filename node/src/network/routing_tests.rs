//! Stories of the routing table: who gets in when eve has a thousand names and one address.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::record_store::Bounds;
use super::*;
use libp2p::StreamProtocol;

fn kademlia() -> Kademlia {
    let local = PeerId::random();
    let config = kad::Config::new(StreamProtocol::new("/roost/kad/1"));
    let mut config = config;
    config.set_kbucket_inserts(kad::BucketInserts::Manual);
    kad::Behaviour::with_config(local, RecordStore::open(local, None, Bounds::default(), 1), config)
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

/// Puts a stranger in who was seen at `at`.
fn join(routing: &mut Routing, kademlia: &mut Kademlia, at: &str) -> (PeerId, bool) {
    let peer = PeerId::random();
    routing.met(peer, &address(at));
    (peer, routing.insert(kademlia, peer, vec![address("/ip4/203.0.113.9/tcp/4001")]))
}

fn largest_share(routing: &Routing, kademlia: &mut Kademlia, block: Block) -> usize {
    let of_block = |bucket: kad::KBucketRef<'_, kad::KBucketKey<PeerId>, kad::Addresses>| {
        bucket.iter().filter(|entry| routing.seen_at.get(entry.node.key.preimage()) == Some(&block)).count()
    };
    kademlia.kbuckets().map(of_block).max().unwrap_or(0)
}

#[test]
fn a_thousand_names_at_one_network_get_two_places_a_bucket_and_leave_the_rest_to_others() {
    let (mut routing, mut kademlia) = (Routing::default(), kademlia());
    for host in 0..1000_u32 {
        join(&mut routing, &mut kademlia, &format!("/ip4/198.51.100.{}/tcp/4001", host % 250 + 1));
    }
    assert_eq!(largest_share(&routing, &mut kademlia, Block::V4([198, 51, 100])), 2, "two of the /24 a bucket");
    for host in 0..1000_u32 {
        join(&mut routing, &mut kademlia, &format!("/ip6/2001:db8:7:{host:x}::1/tcp/4001"));
    }
    let block = Block::V6([0x20, 0x01, 0x0d, 0xb8, 0, 7]);
    assert_eq!(largest_share(&routing, &mut kademlia, block), 2, "two of the /48 a bucket");
    let honest = (1..=100_u32).filter(|net| join(&mut routing, &mut kademlia, &format!("/ip4/10.1.{net}.1/tcp/1")).1);
    assert!(honest.count() >= 40, "peers of other networks still find places");
}

#[test]
fn what_a_peer_claims_does_not_change_the_network_it_was_seen_at_and_loopback_is_exempt() {
    let (mut routing, mut kademlia) = (Routing::default(), kademlia());
    let taken = (0..19).filter(|_| join(&mut routing, &mut kademlia, "/ip4/127.0.0.1/tcp/4001").1).count();
    assert_eq!(taken, 19, "on one machine all are taken, whatever they claim");
    assert_eq!(block_of(&address("/ip6/::ffff:198.51.100.7/tcp/1")), Some(Block::V4([198, 51, 100])), "a mapped v4");
    assert_eq!(block_of(&address("/ip6/::1/tcp/1")), None, "loopback of IPv6");
}

#[test]
fn a_node_that_was_looked_up_takes_the_place_of_a_stranger_and_comes_back_when_it_has_left() {
    let (mut routing, mut kademlia) = (Routing::default(), kademlia());
    for net in 0..3000_u32 {
        join(&mut routing, &mut kademlia, &format!("/ip4/10.{}.{}.1/tcp/1", net / 250, net % 250));
    }
    let fullest = kademlia.kbuckets().max_by_key(|bucket| bucket.num_entries()).unwrap();
    assert_eq!(fullest.num_entries(), K_VALUE.get(), "strangers have filled a bucket");
    let range = fullest.range();
    let home = loop {
        let peer = PeerId::random();
        if kademlia.kbucket(peer).unwrap().range() == range {
            break peer;
        }
    };
    let at = vec![address("/ip4/198.51.100.1/tcp/4001")];
    routing.vouch(home);
    assert!(routing.insert(&mut kademlia, home, at.clone()), "the known node has a place");
    let is_there = |kademlia: &mut Kademlia| {
        kademlia.kbucket(home).unwrap().iter().any(|entry| *entry.node.key.preimage() == home)
    };
    assert!(is_there(&mut kademlia), "in the full bucket");
    kademlia.remove_peer(&home);
    assert!(!is_there(&mut kademlia), "it leaves");
    routing.tend(&mut kademlia, |_| at.clone(), |_| false);
    assert!(!is_there(&mut kademlia), "while it is away it stays out");
    routing.tend(&mut kademlia, |_| at.clone(), |_| true);
    assert!(is_there(&mut kademlia), "and once it is connected it is put back");
}

#[test]
fn where_strangers_were_seen_is_forgotten_once_they_are_gone() {
    let (mut routing, mut kademlia) = (Routing::default(), kademlia());
    for _ in 0..100 {
        routing.met(PeerId::random(), &address("/ip4/198.51.100.7/tcp/1"));
    }
    let (stayed, taken) = join(&mut routing, &mut kademlia, "/ip4/198.51.100.7/tcp/1");
    assert!(taken, "one is in the table");
    routing.tend(&mut kademlia, |_| Vec::new(), |_| false);
    assert_eq!(routing.seen_at.keys().collect::<Vec<_>>(), [&stayed], "only it is remembered");
}
