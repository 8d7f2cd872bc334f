//! Stories over real sockets: loopback TCP, free ports, one process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attacker;
mod bounds;
mod forger;
mod gossip;
mod hostile_records;
pub(super) mod inspection;
pub(super) mod people;
mod wide;

use super::*;
use people::{Org, log_of, node};
use roost_protocol::handle::Handle;
use roost_protocol::records::NameClaims;
use roost_protocol::refusal::Code;
use roost_protocol::socket::LookupSource;
use roost_protocol::{AccountId, codec};
use std::time::Duration;

/// One running node of a story.
struct Node {
    network: Network,
    inbound: mpsc::Receiver<InboundRequest>,
    org: Org,
    addresses: Vec<Multiaddr>,
}

fn life() -> u64 {
    clock::now_s() + 7 * 24 * 3600
}

async fn start_node(seed: u8, name: &str, bootstrap: &[Multiaddr], pins: BTreeMap<String, OrgId>) -> Node {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let rates = Rates::default();
    let config = NetworkConfig { key: [seed; 32], listen, bootstrap: bootstrap.to_vec(), records: None, pins, rates };
    let (network, inbound, addresses) = start(config).await.unwrap();
    let org = Org::new(seed, name);
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    network.set_hello(org.hello(&texts, life())).unwrap();
    Node { network, inbound, org, addresses }
}

impl Node {
    fn bootstrap(&self, seed: u8) -> Vec<Multiaddr> {
        self.addresses.iter().map(|address| format!("{address}/p2p/{}", node(seed)).parse().unwrap()).collect()
    }

    /// Publishes everything that leads to `local` of this node's organisation.
    async fn publish_user(&self, seed: u8, local: &str) -> AccountId {
        let texts: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let log = log_of(seed, node(seed));
        let record = self.org.record(&texts, life());
        self.network.publish(RecordKey::Org(self.org.id()), codec::encode(&record)).await.unwrap();
        self.publish_claim().await;
        let handle = self.org.handle(local, log.account(), 1, life());
        self.network.publish(self.org.handle_key(local), codec::encode(&handle)).await.unwrap();
        self.network.publish(RecordKey::Account(log.account()), log.encoded()).await.unwrap();
        log.account()
    }

    async fn publish_claim(&self) {
        let name = self.org.record(&[], life()).verify(clock::now_s()).unwrap().name;
        let claims = NameClaims(vec![self.org.claim(1, life())]);
        self.network.publish(RecordKey::of_name(&name), codec::encode(&claims)).await.unwrap();
    }
}

/// Waits for a condition, with a deadline.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "{what}");
}

/// Asks until the directory knows: a node that has just connected is in no routing table yet.
async fn resolve_once_known(network: &Network, handle: &Handle) -> Resolution {
    for _ in 0..400 {
        match network.resolve_handle(handle).await {
            Ok(resolution) => return resolution,
            Err(NetworkError::NotFound) => network.forget_handle(handle),
            Err(error) => panic!("the lookup must not fail otherwise: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the handle is not found");
}

async fn look_up_among(count: u8) {
    let first = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let bootstrap = first.bootstrap(1);
    let mut others = Vec::new();
    for seed in 2..=count {
        others.push(start_node(seed, &format!("org{seed}.example"), &bootstrap, BTreeMap::new()).await);
    }
    for other in &others {
        until("every node joins", || other.network.peers_connected() > 0).await;
    }
    let account = first.publish_user(1, "alice").await;
    let asker = others.last().unwrap_or(&first);
    let handle: Handle = "alice@acme.example".parse().unwrap();

    let found = resolve_once_known(&asker.network, &handle).await;
    let log = roost_protocol::VerifiedLog::verify(&found.log).unwrap();
    assert_eq!(log.account(), account, "the log is alice's");
    assert_eq!(found.home, node(1), "she lives at the first node");
    assert!(found.home_org.is_some(), "and its organisation lists it");
    assert_eq!(found.report.source, LookupSource::Dht, "the first answer comes from the directory");
    assert_eq!(found.report.messages > 0, count > 1, "others are asked exactly where there are others");

    let again = asker.network.resolve_handle(&handle).await.unwrap();
    assert_eq!(again.report.source, LookupSource::Cache, "the repeat is answered from memory");
    assert_eq!((again.report.hops, again.report.messages), (0, 0), "and sends nothing");
    assert_eq!(again.log, found.log, "with the same log");
    println!("{count} nodes: {} hops, {} messages, {} ms", found.report.hops, found.report.messages, found.report.ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alice_is_found_by_a_node_alone() {
    look_up_among(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alice_is_found_among_two_nodes() {
    look_up_among(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alice_is_found_among_three_nodes() {
    look_up_among(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alice_is_found_among_five_nodes() {
    look_up_among(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_among_many_nodes_asks_hardly_more_of_them_than_must_answer() {
    const NODES: u8 = 26;
    let first = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let bootstrap = first.bootstrap(1);
    let mut others = Vec::new();
    for seed in 2..=NODES {
        others.push(start_node(seed, &format!("org{seed}.example"), &bootstrap, BTreeMap::new()).await);
    }
    let asker = others.last().unwrap();
    until("the asker meets more than hold a record", || asker.network.peers_connected() > 20).await;
    first.publish_user(1, "alice").await;
    let handle: Handle = "alice@acme.example".parse().unwrap();
    let found = resolve_once_known(&asker.network, &handle).await;
    // Four queries of four answers each. Three more are on their way when the fourth comes, and a few hold no record.
    let messages = found.report.messages;
    assert!((16..=40).contains(&messages), "few are asked, yet four for every record: {messages}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_cost_one_lookup() {
    let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    acme.publish_user(1, "alice").await;
    let handle: Handle = "alice@acme.example".parse().unwrap();
    let asked = (0..10).map(|_| acme.network.resolve_handle(&handle));
    let sources: Vec<_> =
        futures::future::join_all(asked).await.into_iter().map(|found| found.unwrap().report.source).collect();
    let looked_up = sources.iter().filter(|source| **source == LookupSource::Dht).count();
    assert_eq!(looked_up, 1, "one of the ten goes to the directory, the others wait for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_alone_reaches_a_node_that_comes_later_and_outlives_its_publisher() {
    let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    acme.publish_user(1, "alice").await;
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("records").unwrap();
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let (key, bootstrap) = ([2; 32], acme.bootstrap(1));
    let config = NetworkConfig {
        key,
        listen,
        bootstrap,
        records: Some(tree.clone()),
        pins: BTreeMap::new(),
        rates: Rates::default(),
    };
    let (other, _inbound, _) = start(config).await.unwrap();
    until("all four records reach the second node", || tree.len() == 4).await;

    acme.network.shutdown().await;
    let found = other.resolve_handle(&"alice@acme.example".parse().unwrap()).await;
    assert_eq!(found.map(|found| found.home), Ok(node(1)), "the records outlive their publisher");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_claims_to_one_name_are_a_conflict_until_a_pin_decides() {
    let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let eve = start_node(2, "acme.example", &acme.bootstrap(1), BTreeMap::new()).await;
    let pins = BTreeMap::from([("acme.example".to_owned(), acme.org.id())]);
    let asker = start_node(3, "asker.example", &acme.bootstrap(1), BTreeMap::new()).await;
    let pinned = start_node(4, "pinned.example", &acme.bootstrap(1), pins).await;
    for other in [&eve, &asker, &pinned] {
        until("every node joins", || other.network.peers_connected() > 0).await;
    }
    acme.publish_user(1, "alice").await;
    eve.publish_claim().await;

    let handle: Handle = "alice@acme.example".parse().unwrap();
    let mut outcome = asker.network.resolve_handle(&handle).await;
    for _ in 0..50 {
        if matches!(outcome, Err(NetworkError::NameConflict { .. })) {
            break;
        }
        asker.network.forget_handle(&handle);
        tokio::time::sleep(Duration::from_millis(100)).await;
        outcome = asker.network.resolve_handle(&handle).await;
    }
    let error = outcome.expect_err("two claims must not be a guess");
    let NetworkError::NameConflict { name, orgs } = &error else { panic!("expected a conflict, got {error}") };
    assert_eq!(name, "acme.example", "the conflict names the name");
    assert!(orgs.contains(&acme.org.id()) && orgs.contains(&eve.org.id()), "and both claimants");
    assert!(error.to_string().contains("pin"), "and says what to do: {error}");

    let found = resolve_once_known(&pinned.network, &handle).await;
    assert_eq!(found.home, node(1), "the pin decides for acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_round_after_hello() {
    let mut bob = start_node(1, "bob.example", &[], BTreeMap::new()).await;
    let alice = start_node(2, "alice.example", &[], BTreeMap::new()).await;
    alice.network.add_addresses(node(1), bob.addresses.clone());
    let log = log_of(7, node(1));
    let (answered, sent) = (NodeResponse::Log(log.log().clone()), NodeRequest::Log { account: log.account() });
    let (expected, answer) = (sent.clone(), answered.clone());
    let relay = tokio::spawn(async move {
        let mut hellos = 0;
        while let Some(request) = bob.inbound.recv().await {
            assert_eq!(request.peer, node(2), "the peer is proven");
            if matches!(request.request, NodeRequest::Hello(_)) {
                hellos += 1;
                continue;
            }
            assert_eq!(request.request, expected, "the request arrives as it was sent");
            request.respond.send(answer).unwrap();
            return (hellos, bob);
        }
        panic!("the request never came");
    });
    let response = alice.network.request(node(1), sent.clone()).await;
    assert_eq!(response, Ok(answered), "the answer comes home");
    let (hellos, bob) = relay.await.unwrap();
    assert_eq!(hellos, 1, "the relay hears of the peer's Hello once, before its request");

    drop(bob.inbound);
    let refused = alice.network.request(node(1), sent).await.unwrap();
    let NodeResponse::Refused(refusal) = refused else { panic!("a node without a relay must refuse") };
    assert!(refusal.code == Code::Busy && refusal.later, "and ask to come again: {refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_there_is_unreachable_and_a_dead_one_too() {
    let alice = start_node(1, "alice.example", &[], BTreeMap::new()).await;
    let request = NodeRequest::Log { account: AccountId([7; 32]) };
    let nobody = alice.network.request(node(9), request.clone()).await;
    assert_eq!(nobody, Err(NetworkError::Unreachable), "nobody knows where it is");
    let bob = start_node(2, "bob.example", &[], BTreeMap::new()).await;
    alice.network.add_addresses(node(2), bob.addresses.clone());
    bob.network.shutdown().await;
    let dead = alice.network.request(node(2), request).await;
    assert_eq!(dead, Err(NetworkError::Unreachable), "its port is closed");
    alice.network.shutdown().await;
    let closed = alice.network.set_hello(alice.org.hello(&[], life()));
    assert_eq!(closed, Err(NetworkError::Closed), "after shutdown everything says so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_common_version_or_with_anothers_organisation_is_not_heard() {
    let mut bob = start_node(1, "bob.example", &[], BTreeMap::new()).await;
    let eve = start_node(66, "eve.example", &[], BTreeMap::new()).await;
    eve.network.add_addresses(node(1), bob.addresses.clone());
    let request = NodeRequest::Log { account: AccountId([7; 32]) };
    eve.network.set_hello(bob.org.hello(&[], life())).unwrap();
    let disguised = eve.network.request(node(1), request.clone()).await;
    assert!(disguised.is_err(), "a record that lists bob's node does not let eve's speak: {disguised:?}");

    let mut future = eve.org.hello(&[], life());
    future.versions = vec![99];
    eve.network.set_hello(future).unwrap();
    until("the connection is ended", || eve.network.peers_connected() == 0).await;
    assert!(bob.inbound.try_recv().is_err(), "bob's relay never hears of eve");
}
