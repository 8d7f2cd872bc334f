//! Stories of changes that are told by gossip, and of those who would rather have it otherwise.

use super::super::addresses::peer_of;
use super::super::gossip::{CERTIFIED_SCORE, GRAYLIST, scores};
use super::attacker::{Attacker, control, field, number, subscription};
use super::inspection::Inspection;
use super::people::{key, log_of, node};
use super::*;
use libp2p::PeerId;
use roost_crypto::identity_log::{Operation, Signer};
use roost_protocol::gossip::{ACCOUNTS_TOPIC, DirectoryChange, ORGS_TOPIC, TOPICS};
use roost_protocol::limits;

const NEW_ADDRESS: &str = "/ip4/127.0.0.1/tcp/4242";

/// Acme, where alice lives, and bob's node, which has looked her up and remembers.
struct Story {
    acme: Node,
    bob: Node,
    alice: Handle,
}

impl Story {
    async fn begin() -> Self {
        let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
        let bob = start_node(2, "bob.example", &acme.bootstrap(1), BTreeMap::new()).await;
        bob.network.until_subscribed(&[node(1)]).await;
        acme.network.until_subscribed(&[node(2)]).await;
        acme.publish_user(1, "alice").await;
        let alice: Handle = "alice@acme.example".parse().unwrap();
        resolve_once_known(&bob.network, &alice).await;
        let story = Self { acme, bob, alice };
        story.until_one_connection().await;
        story
    }

    /// Both may have dialled the other at once. Then one connection is closed after the grace, and what is told in that moment
    /// may be lost with it.
    async fn until_one_connection(&self) {
        let acme = peer_of(&node(1)).unwrap();
        for _ in 0..400 {
            if self.bob.network.inspect().await.connections.get(&acme) == Some(&1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("two connections stay");
    }

    fn bob_address(&self) -> Multiaddr {
        self.bob.bootstrap(2).remove(0)
    }

    /// Acme's change `seq`: its node is at another address.
    fn moved_org(&self, seq: u64) -> DirectoryChange {
        let record = self.acme.org.record_at(seq, &[NEW_ADDRESS.into()], life());
        DirectoryChange::Org { record: Some(record), claim: None }
    }

    /// What bob's node remembers of acme; it must not ask anybody for it.
    async fn seq_known_to_bob(&self) -> u64 {
        let found = self.bob.network.resolve_handle(&self.alice).await.unwrap();
        assert_eq!(found.report.source, LookupSource::Cache, "bob's node answers from memory");
        found.home_org.map_or(0, |org| org.seq)
    }

    /// Tells newer and newer changes, from `seq` on. What is told in the moment in which a connection is closed may be lost with
    /// it, as everything in gossip may; what is told afterwards is heard.
    async fn tell_until_bob_hears(&self, seq: u64, what: &str) {
        for told in seq..seq + 10 {
            self.acme.network.announce(self.moved_org(told)).unwrap();
            for _ in 0..40 {
                if self.seq_known_to_bob().await == told {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        panic!("{what}");
    }

    async fn until_bob_hears(&self, seq: u64, what: &str) {
        for _ in 0..400 {
            if self.seq_known_to_bob().await >= seq {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}");
    }

    async fn score(&self, attacker: &Attacker) -> f64 {
        self.bob.network.inspect().await.scores.get(&attacker.peer).copied().unwrap_or(0.0)
    }

    async fn until_graylisted(&self, attacker: &Attacker, what: &str) {
        let mut score = 0.0;
        for _ in 0..600 {
            score = self.score(attacker).await;
            if score < GRAYLIST {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}: its score is {score}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_changed_is_heard_by_whoever_remembers_the_old_one_without_a_lookup() {
    let story = Story::begin().await;
    let before = story.bob.network.inspect().await.lookups;
    story.acme.network.announce(story.moved_org(2)).unwrap();
    story.until_bob_hears(2, "the change reaches bob's node").await;
    let found = story.bob.network.resolve_handle(&story.alice).await.unwrap();
    let addresses = found.home_org.map(|org| org.nodes[0].addrs.clone()).unwrap();
    assert_eq!(addresses, [NEW_ADDRESS.parse().unwrap()], "bob's node remembers the new address");
    assert_eq!(story.bob.network.inspect().await.lookups, before, "and nobody was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_on_another_port_is_reached_there_by_those_who_knew_the_old_one() {
    let story = Story::begin().await;
    let carol = start_node(3, "carol.example", &[story.bob_address()], BTreeMap::new()).await;
    carol.network.until_subscribed(&[node(2)]).await;
    resolve_once_known(&carol.network, &story.alice).await;
    let Story { acme, bob, alice } = story;
    let old = acme.addresses.clone();
    acme.network.shutdown().await;
    until("bob's node notices", || bob.network.peers_connected() == 1).await;

    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let bootstrap = bob.bootstrap(2);
    let (pins, rates) = (BTreeMap::new(), Rates::default());
    let config = NetworkConfig { key: [1; 32], listen, bootstrap, records: None, pins, rates };
    let (again, _inbound, addresses) = start(config).await.unwrap();
    assert_ne!(addresses, old, "acme's node comes back elsewhere");
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let record = acme.org.record_at(2, &texts, life());
    let mut hello = acme.org.hello(&texts, life());
    hello.org = record.clone();
    again.set_hello(hello).unwrap();
    again.announce(DirectoryChange::Org { record: Some(record), claim: None }).unwrap();
    for (name, other) in [("bob", &bob), ("carol", &carol)] {
        let mut seq = 0;
        for _ in 0..400 {
            let found = other.network.resolve_handle(&alice).await.unwrap();
            assert_eq!(found.report.source, LookupSource::Cache, "{name}'s node never asks the directory");
            seq = found.home_org.map_or(0, |org| org.seq);
            if seq == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(seq, 2, "{name}'s node hears of the new port");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_moved_is_told_to_the_relay_and_its_old_home_is_forgotten() {
    let story = Story::begin().await;
    let mut learned = story.bob.network.learned_logs().expect("the logs are given once");
    assert!(story.bob.network.learned_logs().is_none(), "and only once");
    while learned.try_recv().is_ok() {}
    let moved = Operation::SetHomes { homes: vec![node(9)] };
    let log = log_of(1, node(1)).append(moved, Signer::Root, &key(101)).unwrap();
    let change = DirectoryChange::Account { log: Some(log.log().clone()), handle: None };
    story.acme.network.announce(change).unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(20), learned.recv()).await.expect("the relay is told");
    assert_eq!(heard.as_ref(), Some(log.log()), "the whole newer log");
    let found = story.bob.network.resolve_handle(&story.alice).await.unwrap();
    assert_eq!(found.home, node(9), "the next question finds the new home");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_found_is_forgotten_when_the_handle_is_told() {
    let story = Story::begin().await;
    let dave: Handle = "dave@acme.example".parse().unwrap();
    let outcome = story.bob.network.resolve_handle(&dave).await;
    assert_eq!(outcome, Err(NetworkError::NotFound), "dave has not signed up");
    let log = log_of(4, node(1));
    let handle = story.acme.org.handle("dave", log.account(), 1, life());
    let started = clock::instant();
    story.acme.network.publish(story.acme.org.handle_key("dave"), codec::encode(&handle)).await.unwrap();
    story.acme.network.publish(RecordKey::Account(log.account()), log.encoded()).await.unwrap();
    let change = DirectoryChange::Account { log: Some(log.log().clone()), handle: Some(handle) };
    story.acme.network.announce(change).unwrap();
    for _ in 0..80 {
        if story.bob.network.resolve_handle(&dave).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let waited = clock::instant().saturating_duration_since(started);
    assert!(waited < Duration::from_secs(4), "not found is believed for five seconds, dave is found after {waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_heard_nothing_finds_a_node_again_when_it_does_not_answer() {
    let Story { acme, bob, alice } = Story::begin().await;
    // The change is published and never told; bob's node holds it in its store and remembers the old one.
    let record = acme.org.record_at(2, &[NEW_ADDRESS.into()], life());
    acme.network.publish(RecordKey::Org(acme.org.id()), codec::encode(&record)).await.unwrap();
    bob.network.find_again(node(1)).await;
    let found = bob.network.resolve_handle(&alice).await.unwrap();
    assert_eq!(found.home_org.map(|org| org.seq), Some(2), "a lookup after a failure brings the newer record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_connections_one_is_closed_and_changes_are_heard_before_and_after() {
    let mut acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let mut bob = start_node(2, "bob.example", &[], BTreeMap::new()).await;
    for node in [&mut acme, &mut bob] {
        // A relay that refuses everything: a request that waits would keep both connections open.
        let mut inbound = std::mem::replace(&mut node.inbound, mpsc::channel(1).1);
        tokio::spawn(async move { while inbound.recv().await.is_some() {} });
    }
    acme.network.add_addresses(node(2), bob.addresses.clone());
    bob.network.add_addresses(node(1), acme.addresses.clone());
    let ask = NodeRequest::Log { account: AccountId([7; 32]) };
    let _ = tokio::join!(acme.network.request(node(2), ask.clone()), bob.network.request(node(1), ask));
    acme.publish_user(1, "alice").await;
    let alice: Handle = "alice@acme.example".parse().unwrap();
    resolve_once_known(&bob.network, &alice).await;
    acme.network.until_subscribed(&[node(2)]).await;
    let story = Story { acme, bob, alice };
    story.acme.network.announce(story.moved_org(2)).unwrap();
    story.until_bob_hears(2, "a change is heard within the grace").await;
    story.until_one_connection().await;
    story.tell_until_bob_hears(3, "changes are heard over the connection that stays").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_speaks_gossip_and_takes_no_part_is_connected_anew_once() {
    let story = Story::begin().await;
    let deaf = Attacker::connect(20, &story.bob_address(), true).await;
    let mut part = Attacker::connect(21, &story.bob_address(), true).await;
    part.join(&TOPICS).await;
    for _ in 0..900 {
        if deaf.connections.load(std::sync::atomic::Ordering::Relaxed) > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let connections = |attacker: &Attacker| attacker.connections.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(connections(&deaf), 2, "whoever lost our subscription hears it again over a new connection");
    assert_eq!(connections(&part), 1, "whoever takes part is left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_members_of_the_mesh_keep_nothing_from_anybody_and_earn_no_credit() {
    let story = Story::begin().await;
    let mut silent = Vec::new();
    for seed in 30..38 {
        let mut attacker = Attacker::connect(seed, &story.bob_address(), true).await;
        attacker.join(&TOPICS).await;
        let mut other = Attacker::connect(seed + 20, &story.acme.bootstrap(1)[0], true).await;
        other.join(&TOPICS).await;
        silent.extend([attacker, other]);
    }
    let mut inspection = Inspection::default();
    for _ in 0..200 {
        inspection = story.bob.network.inspect().await;
        if silent.iter().any(|attacker| inspection.mesh.contains(&attacker.peer)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let meshed = silent.iter().filter(|attacker| inspection.mesh.contains(&attacker.peer)).count();
    assert!(meshed > 0, "silent peers are in the mesh of bob's node");
    story.acme.network.announce(story.moved_org(2)).unwrap();
    story.until_bob_hears(2, "the change passes sixteen silent peers").await;
    // Longer than time in the mesh counts.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let scores = story.bob.network.inspect().await.scores;
    for attacker in &silent {
        let score = scores.get(&attacker.peer).copied().unwrap_or(0.0);
        assert!(score <= silence_earns_at_most(), "a silent peer has {score}");
    }
}

fn silence_earns_at_most() -> f64 {
    CERTIFIED_SCORE + 0.03
}

proptest::proptest! {
    /// Gossipsub's score of a certified peer that is in every mesh for any time and delivers nothing.
    #[test]
    fn a_peer_that_never_forwards_earns_no_more_than_its_certificate(seconds in 0_u32..1_000_000_000) {
        let params = scores();
        let of_topics: f64 = params
            .topics
            .values()
            .map(|topic| {
                let quanta = f64::from(seconds) / topic.time_in_mesh_quantum.as_secs_f64();
                topic.topic_weight * topic.time_in_mesh_weight * quanta.min(topic.time_in_mesh_cap)
            })
            .sum();
        let score = of_topics + params.app_specific_weight * CERTIFIED_SCORE;
        proptest::prop_assert!(score <= silence_earns_at_most(), "{score} after {seconds} s");
        proptest::prop_assert!(params.topics.values().all(|topic| topic.mesh_message_deliveries_weight == 0.0), "silence is no fault");
    }
}

/// An organisation record under acme's root that acme never signed.
fn forged(story: &Story, seq: u64) -> Vec<u8> {
    let DirectoryChange::Org { record: Some(mut record), .. } = story.moved_org(seq) else { unreachable!() };
    record.record.signature.0[7] ^= 1;
    DirectoryChange::Org { record: Some(record), claim: None }.encoded()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn liars_are_not_believed_and_end_in_the_graylist() {
    let story = Story::begin().await;
    story.acme.network.announce(story.moved_org(5)).unwrap();
    story.until_bob_hears(5, "an honest change is heard").await;
    let good = story.moved_org(6).encoded();
    let log = DirectoryChange::Account { log: Some(log_of(1, node(1)).log().clone()), handle: None }.encoded();
    let mut broken_envelope = Vec::new();
    let kinds: [(&str, u8); 6] =
        [("forger", 60), ("signer", 61), ("misplacer", 62), ("talker", 63), ("gibberer", 64), ("trailer", 65)];
    let mut liars = Vec::new();
    for (name, seed) in kinds {
        let mut liar = Attacker::connect(seed, &story.bob_address(), true).await;
        liar.join(&TOPICS).await;
        for number in 0..5 {
            let frame = match name {
                "forger" => liar.message(ORGS_TOPIC, &forged(&story, 100 + number), number),
                "signer" => {
                    let mut frame = liar.message(ORGS_TOPIC, &good, number);
                    let last = frame.len() - 1;
                    frame[last] ^= 1;
                    broken_envelope.clone_from(&frame);
                    frame
                }
                "misplacer" => liar.message(ORGS_TOPIC, &log, number),
                "talker" => liar.message(ORGS_TOPIC, &vec![7; limits::GOSSIP_MESSAGE_BYTES_MAX + 1], number),
                "gibberer" => liar.message(ACCOUNTS_TOPIC, &number.to_be_bytes(), number),
                _ => liar.message(ORGS_TOPIC, &[good.clone(), vec![0]].concat(), number),
            };
            liar.send(&frame).await;
        }
        liars.push((name, liar));
    }
    for (name, liar) in &liars {
        story.until_graylisted(liar, &format!("the {name} is graylisted")).await;
    }
    assert_eq!(story.seq_known_to_bob().await, 5, "nothing of what they said is believed");
    let (_, liar) = &mut liars[0];
    let frame = liar.message(ORGS_TOPIC, &good, 99);
    liar.send(&frame).await;
    story.acme.network.announce(story.moved_org(7)).unwrap();
    story.until_bob_hears(7, "the honest change arrives, six liars to one honest node").await;
    let acme = story.bob.network.inspect().await.scores[&peer_of(&node(1)).unwrap()];
    assert!(acme > 0.0, "and the honest node is none the worse: {acme}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_replays_and_other_topics_change_nothing_and_blame_nobody() {
    let story = Story::begin().await;
    story.acme.network.announce(story.moved_org(5)).unwrap();
    story.until_bob_hears(5, "an honest change is heard").await;
    let mut eve = Attacker::connect(70, &story.bob_address(), true).await;
    eve.join(&TOPICS).await;
    for number in 0..20 {
        let old = eve.message(ORGS_TOPIC, &story.moved_org(2 + number % 3).encoded(), number);
        let replay = eve.message(ORGS_TOPIC, &story.moved_org(5).encoded(), 100 + number);
        let elsewhere = eve.message("/roost/directory/gossip/1", &story.moved_org(9).encoded(), 200 + number);
        for frame in [old, replay, elsewhere] {
            assert!(eve.send(&frame).await, "the frame is taken");
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(story.seq_known_to_bob().await, 5, "what is held stays");
    // Bob may have learnt of the change by acme's Hello: then whoever tells it first on the topic brings news, once.
    let one_delivery = 0.5;
    let score = story.score(&eve).await;
    assert!((0.0..=silence_earns_at_most() + one_delivery).contains(&score), "old records are nobody's fault: {score}");
    // The bytes of another topic were not remembered as heard.
    story.acme.network.announce(story.moved_org(9)).unwrap();
    story.until_bob_hears(9, "a change that was first told on another topic is heard on its own").await;
}

fn rss_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Organisations that nobody knows, each with a valid record: the cheapest valid message there is.
fn minted(number: u64) -> Vec<u8> {
    let root = roost_protocol::SecretKey::from_seed(&{
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        seed
    });
    let claim = roost_protocol::records::NameClaim {
        root: root.public_key(),
        name: format!("minted{number}.example"),
        seq: 1,
        expires: life(),
    };
    DirectoryChange::Org { record: None, claim: Some(claim.sign(&root)) }.encoded()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_messages_end_in_the_graylist_and_honest_changes_pass() {
    let story = Story::begin().await;
    let before = rss_bytes();
    let mut attackers = Vec::new();
    for seed in 80..84 {
        let mut attacker = Attacker::connect(seed, &story.bob_address(), true).await;
        attacker.join(&TOPICS).await;
        attackers.push(attacker);
    }
    let floods = attackers.iter_mut().enumerate().map(|(index, attacker)| async move {
        for number in 0..1_000_u64 {
            let frame = attacker.message(ORGS_TOPIC, &minted(index as u64 * 1_000 + number), number);
            attacker.send(&frame).await;
        }
    });
    let honest = async {
        for seq in 2..6 {
            story.acme.network.announce(story.moved_org(seq)).unwrap();
            story.until_bob_hears(seq, "an honest change arrives in the middle of the flood").await;
        }
    };
    tokio::join!(futures::future::join_all(floods), honest);
    for attacker in &attackers {
        story.until_graylisted(attacker, "who floods is graylisted").await;
    }
    let grown = rss_bytes().saturating_sub(before);
    assert!(grown < 128 << 20, "4,000 messages leave {grown} bytes");
    story.acme.network.announce(story.moved_org(7)).unwrap();
    story.until_bob_hears(7, "and afterwards too").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_tells_a_change_first_can_not_silence_it() {
    let story = Story::begin().await;
    let mut eve = Attacker::connect(90, &story.bob_address(), true).await;
    eve.join(&TOPICS).await;
    // Enough to be over the rate, not enough to be graylisted.
    for number in 0..120 {
        let frame = eve.message(ORGS_TOPIC, &minted(5_000 + number), number);
        eve.send(&frame).await;
    }
    let frame = eve.message(ORGS_TOPIC, &story.moved_org(2).encoded(), 1_000);
    eve.send(&frame).await;
    story.until_bob_hears(2, "the record certifies itself, whoever brings it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_once_brought_nodes_down_leave_this_one_standing() {
    let story = Story::begin().await;
    let before = rss_bytes();
    let mut attackers = Vec::new();
    for seed in 100..104 {
        let mut attacker = Attacker::connect(seed, &story.bob_address(), true).await;
        attacker.join(&TOPICS).await;
        attackers.push(attacker);
    }
    let prune = |topic: &str, backoff: u64| control(4, &[field(1, topic.as_bytes()), number(3, backoff)].concat());
    let graft = |topic: &str| control(3, &field(1, topic.as_bytes()));
    let floods = attackers.iter_mut().map(|attacker| async move {
        for round in 0..200_u64 {
            let unknown = format!("/roost/unknown/{round}");
            let ids: Vec<u8> = (0..200_u64)
                .flat_map(|id| field(2, &[[round as u8; 12].as_slice(), &id.to_be_bytes()].concat()))
                .collect();
            let many: Vec<u8> =
                (0..100).flat_map(|topic| subscription(true, &format!("/flood/{round}/{topic}"))).collect();
            let frames = [
                prune(ORGS_TOPIC, u64::MAX - round % 3),
                prune(ORGS_TOPIC, u64::MAX / 1_000),
                prune(&unknown, u64::MAX),
                graft(&unknown),
                graft(ORGS_TOPIC),
                control(1, &[field(1, ORGS_TOPIC.as_bytes()), ids.clone()].concat()),
                control(2, &(0..200_u64).flat_map(|id| field(1, &id.to_be_bytes())).collect::<Vec<_>>()),
                control(
                    5,
                    &(0..200_u64)
                        .flat_map(|id| field(1, &[round, id].map(u64::to_be_bytes).concat()))
                        .collect::<Vec<_>>(),
                ),
                many,
                subscription(round % 2 == 0, ORGS_TOPIC),
            ];
            for frame in frames {
                attacker.send(&frame).await;
            }
        }
    });
    let honest = async {
        for seq in 2..5 {
            story.acme.network.announce(story.moved_org(seq)).unwrap();
            story.until_bob_hears(seq, "an honest change arrives between the frames").await;
        }
    };
    tokio::join!(futures::future::join_all(floods), honest);
    // A heartbeat and more, in which backoffs are looked at.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let inspection = story.bob.network.inspect().await;
    let peers = inspection.scores.len();
    assert!(inspection.topics <= 2 * peers, "unknown topics leave no trace: {} of {peers} peers", inspection.topics);
    let grown = rss_bytes().saturating_sub(before);
    assert!(grown < 128 << 20, "8,000 frames leave {grown} bytes");
    for attacker in &attackers {
        story.until_graylisted(attacker, "who grafts in the backoff and promises what never comes is graylisted").await;
    }
    story.acme.network.announce(story.moved_org(6)).unwrap();
    story.until_bob_hears(6, "the node stands and hears").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_over_the_limit_cost_their_sender_its_stream_and_nobody_else() {
    let story = Story::begin().await;
    let mut eve = Attacker::connect(110, &story.bob_address(), true).await;
    eve.join(&TOPICS).await;
    for number in 0..8 {
        let frame = eve.message(ORGS_TOPIC, &vec![1; limits::GOSSIP_FRAME_BYTES_MAX + 1], number);
        eve.send(&frame).await;
        let control = control(2, &field(1, &vec![2; limits::GOSSIP_CONTROL_BYTES_MAX + 1]));
        eve.send(&control).await;
    }
    story.acme.network.announce(story.moved_org(2)).unwrap();
    story.until_bob_hears(2, "others are heard").await;
    assert!(story.bob.network.inspect().await.connections.contains_key(&eve.peer), "requests of that node still pass");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_organisation_is_not_passed_on() {
    let story = Story::begin().await;
    let carol = start_node(3, "carol.example", &[story.bob_address()], BTreeMap::new()).await;
    carol.network.until_subscribed(&[node(2)]).await;
    let mut eve = Attacker::connect(120, &story.bob_address(), true).await;
    eve.join(&TOPICS).await;
    let ear = Attacker::connect(121, &story.bob_address(), true).await;
    let mut ear = ear;
    ear.join(&TOPICS).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let quiet = ear.heard.load(std::sync::atomic::Ordering::Relaxed);
    for number in 0..40 {
        let frame = eve.message(ORGS_TOPIC, &minted(9_000 + number), number);
        eve.send(&frame).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let heard = ear.heard.load(std::sync::atomic::Ordering::Relaxed) - quiet;
    assert!(heard < 40 * 150, "40 minted organisations are not amplified: {heard} bytes");
    story.tell_until_bob_hears(2, "what is known is passed on").await;
    let peers: Vec<PeerId> = story.bob.network.inspect().await.scores.keys().copied().collect();
    assert!(peers.contains(&ear.peer), "the listener is still there");
}
