//! Stories of entries that are gossiped among the homes of a conversation, and of those who are none.

use super::super::gossip::GRAYLIST;
use super::super::wide::Wide;
use super::attacker::{Attacker, field, subscription};
use super::people::node;
use super::*;
use crate::relay::Hearsay;
use libp2p::StreamProtocol;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, payload_hash};
use roost_protocol::ids::{FeedId, GroupId, Hash, Incarnation, MessageId};
use roost_protocol::wide::{Entries, Topic};
use roost_protocol::{Bytes, DeviceId};
use std::collections::BTreeSet;

const ENTRIES: StreamProtocol = StreamProtocol::new("/roost/entries/1/1.1.0");

fn topic() -> Topic {
    Topic::of(&GroupId([1; 32]), &Hash([2; 32]))
}

/// A message of the feed that a node writes.
fn said(writer: u8, number: u8, bytes: usize) -> Entry {
    let payload = Bytes(vec![number; bytes]);
    let header = EntryHeader {
        feed: FeedId { group: GroupId([1; 32]), node: node(writer), incarnation: Incarnation([3; 16]) },
        seq: u64::from(number),
        prev: Hash([0; 32]),
        kind: EntryKind::Message,
        epoch: 1,
        account: AccountId([4; 32]),
        device: DeviceId([5; 32]),
        message: MessageId([number; 16]),
        attempt: 0,
        payload_hash: payload_hash(payload.as_slice()),
    };
    Entry { header, payload, silent: false }
}

fn entries(entry: &Entry) -> Entries {
    Entries::new(vec![entry.clone()]).unwrap()
}

/// A node whose rules let everything pass, and what they heard.
struct Home {
    node: Node,
    heard: mpsc::Receiver<(NodeId, u64)>,
}

impl Home {
    async fn start(seed: u8, bootstrap: &[Multiaddr], among: &[u8], rates: Rates) -> Self {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let (key, pins) = ([seed; 32], BTreeMap::new());
        let config = NetworkConfig { key, listen, bootstrap: bootstrap.to_vec(), records: None, pins, rates };
        let (network, inbound, addresses) = start(config).await.unwrap();
        let org = Org::new(seed, &format!("org{seed}.example"));
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        network.set_hello(org.hello(&texts, life())).unwrap();
        let mut wide = network.wide().expect("it is given once");
        let (tell, heard) = mpsc::channel(1_024);
        let judging = network.clone();
        tokio::spawn(async move {
            while let Some(told) = wide.recv().await {
                if let Wide::Heard { token, source, entries, .. } = told {
                    let _ = tell.try_send((source, entries.entries()[0].header.seq));
                    judging.judged(token, Hearsay::PassOn).unwrap();
                }
            }
        });
        network.join(topic(), among.iter().map(|seed| node(*seed)).collect()).unwrap();
        Self { node: Node { network, inbound, org, addresses }, heard }
    }

    async fn hears(&mut self) -> (NodeId, u64) {
        tokio::time::timeout(Duration::from_secs(20), self.heard.recv()).await.expect("it is heard").unwrap()
    }

    async fn until_meshed(&self, peers: usize) {
        for _ in 0..600 {
            if self.node.network.inspect().await.meshed >= peers {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the homes never find each other");
    }
}

async fn attacker(seed: u8, victim: &Node, victim_seed: u8) -> Attacker {
    let address = victim.bootstrap(victim_seed).remove(0);
    let mut attacker = Attacker::connect_over(seed, &address, true, ENTRIES).await;
    let topic = topic().to_string();
    assert!(attacker.send(&subscription(true, &topic)).await, "the victim hears a subscription");
    assert!(attacker.send(&field(3, &field(3, &field(1, topic.as_bytes())))).await, "and a GRAFT");
    attacker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_reach_every_home_of_a_conversation() {
    let among = [1, 2, 3, 4, 5, 6];
    let mut first = Home::start(1, &[], &among, Rates::default()).await;
    let bootstrap = first.node.bootstrap(1);
    let mut others = Vec::new();
    for seed in &among[1..] {
        others.push(Home::start(*seed, &bootstrap, &among, Rates::default()).await);
    }
    for home in &others {
        home.until_meshed(2).await;
    }
    first.until_meshed(2).await;
    first.node.network.gossip(topic(), entries(&said(1, 7, 100))).unwrap();
    for home in &mut others {
        assert_eq!(home.hears().await, (node(1), 7), "the entry comes, by whatever way");
    }
    assert!(first.heard.try_recv().is_err(), "and does not come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_no_home_is_neither_heard_nor_told() {
    let among = [1, 2];
    let acme = Home::start(1, &[], &among, Rates::default()).await;
    let mut bob = Home::start(2, &acme.node.bootstrap(1), &among, Rates::default()).await;
    acme.until_meshed(1).await;
    let mut eve = attacker(20, &bob.node, 2).await;
    let mut sent = 0;
    for number in 1..=5 {
        let data = entries(&said(20, number, 100)).encoded();
        sent += usize::from(eve.send(&eve.message(&topic().to_string(), &data, u64::from(number))).await);
    }
    assert!(sent > 0, "eve knows the topic's name and publishes there");
    let before = eve.heard.load(std::sync::atomic::Ordering::Relaxed);
    acme.node.network.gossip(topic(), entries(&said(1, 7, 5_000))).unwrap();
    assert_eq!(bob.hears().await, (node(1), 7), "bob's node hears who is a home, and nobody before");
    assert!(bob.heard.try_recv().is_err(), "nothing of eve's reaches the rules");
    let told = eve.heard.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert!(told < 1_000, "and the entry of 5,000 bytes is not told to eve, who hears {told} bytes");
    assert_eq!(bob.node.network.inspect().await.meshed, 1, "acme's node alone is in the mesh");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_floods_is_heard_at_its_rate_and_another_is_heard() {
    let among = [1, 2, 20];
    let few = Rates { bytes_kib: Rate { per_s: 1, burst: 100 }, ..Rates::default() };
    let acme = Home::start(1, &[], &among, Rates::default()).await;
    let mut bob = Home::start(2, &acme.node.bootstrap(1), &among, few).await;
    acme.until_meshed(1).await;
    let mut eve = attacker(20, &bob.node, 2).await;
    for number in 1..=50 {
        let data = entries(&said(20, number, 20_000)).encoded();
        if !eve.send(&eve.message(&topic().to_string(), &data, u64::from(number))).await {
            break;
        }
    }
    assert_eq!(bob.hears().await.0, node(20), "eve's node is a home and is heard");
    acme.node.network.gossip(topic(), entries(&said(1, 7, 100))).unwrap();
    let mut of_eve = 1;
    while bob.hears().await != (node(1), 7) {
        of_eve += 1;
    }
    assert!((1..=5).contains(&of_eve), "of a megabyte five entries are within what eve's node may say: {of_eve}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_home_may_publish_ends_in_the_graylist() {
    let among = [1, 2, 20];
    let acme = Home::start(1, &[], &among, Rates::default()).await;
    let mut bob = Home::start(2, &acme.node.bootstrap(1), &among, Rates::default()).await;
    let mut eve = attacker(20, &bob.node, 2).await;
    let mut commit = said(20, 3, 10);
    commit.header.kind = EntryKind::Commit;
    let raw = |entry: &Entry| codec::encode(&BTreeMap::from([("entries", vec![entry.clone()])]));
    let lies = [raw(&said(1, 1, 10)), raw(&said(20, 2, 30_000)), raw(&commit), b"nothing".to_vec()];
    for (number, data) in lies.iter().enumerate() {
        eve.send(&eve.message(&topic().to_string(), data, number as u64)).await;
    }
    let mut score = 0.0;
    for _ in 0..200 {
        score = bob.node.network.inspect().await.scores_of_entries.get(&eve.peer).copied().unwrap_or(0.0);
        if score < GRAYLIST {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(score < GRAYLIST, "another's feed, too many bytes, a commit and no entries at all: {score}");
    assert!(bob.heard.try_recv().is_err(), "and the rules heard of none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_to_nobody_is_said_to_the_rules() {
    let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let mut wide = acme.network.wide().expect("it is given once");
    acme.network.join(topic(), BTreeSet::from([1, 2].map(node))).unwrap();
    acme.network.gossip(topic(), entries(&said(1, 1, 10))).unwrap();
    let told = tokio::time::timeout(Duration::from_secs(20), wide.recv()).await.expect("at once").unwrap();
    assert!(matches!(told, Wide::Untold(of) if of == topic()), "so that they deliver");
}
