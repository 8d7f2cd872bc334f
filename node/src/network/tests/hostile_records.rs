//! What eve puts into the directory, and what she answers: neither is stored or believed, however few honest nodes are.

use super::forger::Forger;
use super::people::{account, key, with_handle};
use super::*;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use roost_crypto::identity_log::{Operation, Signer};
use roost_protocol::records::HandleRecord;
use roost_protocol::{Bytes, IdentityLog, Signed};
use serde::Deserialize;

/// One lie.
struct Lie {
    what: String,
    key: Vec<u8>,
    value: Vec<u8>,
    /// It verifies, so only who knows better refuses it.
    verifies: bool,
}

/// What is true: the records under the four keys.
struct Truth {
    org: Org,
    records: Vec<(RecordKey, Vec<u8>)>,
}

impl Truth {
    /// Of acme, whose node has seed 1, and alice, who lives there.
    fn new(addresses: &[Multiaddr]) -> Self {
        let org = Org::new(1, "acme.example");
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let log = with_handle(&log_of(1, node(1)), 1, "alice@acme.example");
        let records = vec![
            (RecordKey::Org(org.id()), codec::encode(&org.record_at(5, &texts, life()))),
            (RecordKey::of_name("acme.example"), codec::encode(&NameClaims(vec![org.claim(5, life())]))),
            (org.handle_key("alice"), codec::encode(&org.handle("alice", log.account(), 5, life()))),
            (RecordKey::Account(log.account()), log.encoded()),
        ];
        Self { org, records }
    }

    fn of(&self, key: &RecordKey) -> &[u8] {
        &self.records.iter().find(|(known, _)| known == key).unwrap().1
    }

    fn lies(&self) -> Vec<Lie> {
        let now_s = clock::now_s();
        let (acme, eve) = (&self.org, Org::new(66, "acme.example"));
        let lie = |what: &str, key: &RecordKey, value: Vec<u8>| Lie {
            what: format!("{what} under {}", name_of(key)),
            key: key.to_bytes(),
            value,
            verifies: false,
        };
        let mut lies = Vec::new();
        // What is wrong with the bytes, whatever they say.
        for (key, value) in &self.records {
            let mut forged = value.clone();
            *forged.last_mut().unwrap() ^= 1;
            let mut trailing = value.clone();
            trailing.push(0);
            let mut oversized = value.clone();
            oversized.resize(roost_protocol::limits::DHT_VALUE_BYTES_MAX + 1, 0);
            lies.push(lie("a bent signature", key, forged));
            lies.push(lie("a trailing byte", key, trailing));
            lies.push(lie("more than 4 KiB", key, oversized));
            lies.push(lie("a second spelling", key, second_spelling(value)));
            lies.push(lie("no bytes", key, Vec::new()));
            for (other, value) in self.records.iter().filter(|(other, _)| other != key) {
                lies.push(lie(&format!("the record of {}", name_of(other)), key, value.clone()));
            }
            let mut foreign = lie("a true record in a foreign namespace, not", key, value.clone());
            foreign.key = [b"/ipns/", &foreign.key[foreign.key.len() - 32..]].concat();
            lies.push(foreign);
            let mut longer = lie("a true record at a longer key, not", key, value.clone());
            longer.key.push(0);
            lies.push(longer);
        }
        // What is wrong with what they say.
        let [org, name, handle, account_key] = [0, 1, 2, 3].map(|at| &self.records[at].0);
        let (past, far) = (now_s - 3600, now_s + 90 * 24 * 3600);
        lies.push(lie("eve's organisation", org, codec::encode(&eve.record_at(9, &[], life()))));
        lies.push(lie("an expired one", org, codec::encode(&acme.record_at(9, &[], past))));
        lies.push(lie("one from the far future", org, codec::encode(&acme.record_at(9, &[], far))));
        let mut unsigned = acme.record_at(9, &[], life());
        unsigned.countersignatures.clear();
        lies.push(lie("one that its node did not sign", org, codec::encode(&unsigned)));
        let claims = |claims: &[Signed]| codec::encode(&NameClaims(claims.to_vec()));
        let mut disguised = eve.claim(9, life());
        disguised.signature = acme.claim(5, life()).signature;
        lies.push(lie("eve's claim with acme's signature", name, claims(&[disguised])));
        lies.push(lie("an expired claim", name, claims(&[acme.claim(9, past)])));
        lies.push(lie("a claim from the far future", name, claims(&[acme.claim(9, far)])));
        let five: Vec<_> = (70..75).map(|seed| Org::new(seed, "acme.example").claim(9, life())).collect();
        lies.push(lie("five claims", name, claims(&five)));
        lies.push(lie("no claim", name, claims(&[])));
        lies.push(lie("one claim twice", name, claims(&[acme.claim(9, life()), acme.claim(8, life())])));
        let mut with_forged = acme.claim(9, life());
        with_forged.signature.0[0] ^= 1;
        lies.push(lie("a true claim beside a forged one", name, claims(&[acme.claim(9, life()), with_forged])));
        let at = |seq, expires| codec::encode(&acme.handle("alice", account(66), seq, expires));
        lies.push(lie("eve's word", handle, codec::encode(&eve.handle("alice", account(66), 9, life()))));
        lies.push(lie("an expired one", handle, at(9, past)));
        lies.push(lie("one from the far future", handle, at(9, far)));
        lies.push(lie("one of seq 0", handle, at(0, life())));
        lies.push(lie("another's handle", handle, codec::encode(&acme.handle("bob", account(66), 9, life()))));
        let log = log_of(1, node(1));
        let mut repeated = log.log().clone();
        repeated.0.push(repeated.0[0].clone());
        lies.push(lie("a log with two beginnings", account_key, repeated.encoded()));
        let headless = with_handle(&log, 1, "alice@acme.example").log().0[1..].to_vec();
        lies.push(lie("a log without its beginning", account_key, IdentityLog(headless).encoded()));
        lies.push(lie("eve's log", account_key, log_of(66, node(66)).encoded()));

        // What once was true, or contradicts what is.
        let mut old = vec![
            lie("an older one", org, codec::encode(&acme.record_at(4, &[], life()))),
            lie("an older one that lives longer", handle, at(4, life() + 7 * 24 * 3600)),
            lie("an equal seq with other bytes", handle, self.loser(5)),
            lie("an older claim", name, claims(&[acme.claim(4, life() + 7 * 24 * 3600)])),
            lie("a prefix", account_key, log.encoded()),
            lie("a branch", account_key, with_handle(&log, 1, "mallory@acme.example").encoded()),
        ];
        let move_away = Operation::SetHomes { homes: vec![node(66)] };
        let longer = with_handle(&log.append(move_away, Signer::Root, &key(101)).unwrap(), 1, "mallory@acme.example");
        old.push(lie("a longer branch", account_key, longer.encoded()));
        lies.extend(old.into_iter().map(|lie| Lie { verifies: true, ..lie }));
        lies
    }

    /// A handle record of acme's own with the seq and the end of the true one, of which the true one is the one to keep.
    fn loser(&self, seq: u64) -> Vec<u8> {
        let handle = self.org.handle_key("alice");
        let signed: Signed = codec::decode_canonical(self.of(&handle), 4096).unwrap();
        let expires = HandleRecord::verify(&signed, clock::now_s()).unwrap().expires;
        let other = |seed| codec::encode(&self.org.handle("alice", account(seed), seq, expires));
        (0..=255).map(other).find(|value| value.as_slice() > self.of(&handle)).unwrap()
    }
}

fn name_of(key: &RecordKey) -> &'static str {
    match key {
        RecordKey::Account(_) => "the account's key",
        RecordKey::Handle(_) => "the handle's key",
        RecordKey::Org(_) => "the organisation's key",
        RecordKey::Name(_) => "the name's key",
    }
}

/// The same value with its outermost length written in one byte more.
fn second_spelling(value: &[u8]) -> Vec<u8> {
    let (major, count) = (value[0] & 0xe0, value[0] & 0x1f);
    assert!(count < 24, "the outermost length stands in the first byte");
    [&[major | 24, count], &value[1..]].concat()
}

fn peer(seed: u8) -> PeerId {
    PeerId::from_bytes(&node(seed).to_peer_id_bytes()).unwrap()
}

async fn forger(seed: u8) -> Forger {
    Forger::start(Keypair::ed25519_from_bytes([seed; 32]).unwrap()).await
}

/// A node of a story, and its disk.
async fn start_kept(seed: u8, bootstrap: &[Multiaddr], records: &sled::Tree, rates: Rates) -> Node {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let records = Some(records.clone());
    let (key, bootstrap) = ([seed; 32], bootstrap.to_vec());
    let config = NetworkConfig { key, listen, bootstrap, records, pins: BTreeMap::new(), rates };
    let (network, inbound, addresses) = start(config).await.unwrap();
    let org = Org::new(seed, &format!("org{seed}.example"));
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    network.set_hello(org.hello(&texts, life())).unwrap();
    Node { network, inbound, org, addresses }
}

/// What a node has on disk under a key.
fn on_disk(tree: &sled::Tree, key: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct OnDisk {
        value: Bytes,
    }
    let bytes = tree.get(key).unwrap()?;
    let on_disk: OnDisk = codec::decode(&bytes, 8192).unwrap();
    Some(on_disk.value.as_slice().to_vec()).filter(|value| !value.is_empty())
}

async fn lies_among(count: u8) {
    let directory = tempfile::tempdir().unwrap();
    let database = sled::open(directory.path()).unwrap();
    let trees: Vec<_> = (1..=count).map(|seed| database.open_tree(format!("node {seed}")).unwrap()).collect();
    let first = start_kept(1, &[], &trees[0], Rates::default()).await;
    let mut nodes = vec![first];
    for seed in 2..=count {
        let bootstrap = nodes[0].bootstrap(1);
        nodes.push(start_kept(seed, &bootstrap, &trees[usize::from(seed) - 1], Rates::default()).await);
    }
    let truth = Truth::new(&nodes[0].addresses);
    let everybody_has = |key: &RecordKey, value: &[u8]| {
        trees.iter().all(|tree| on_disk(tree, &key.to_bytes()).as_deref() == Some(value))
    };
    for (key, value) in &truth.records {
        for _ in 0..200 {
            nodes[0].network.publish(key.clone(), value.clone()).await.unwrap();
            if everybody_has(key, value) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(everybody_has(key, value), "the truth reaches every node first");
    }

    let eve = forger(99).await;
    for (seed, node) in (1..).zip(&nodes) {
        eve.meet(peer(seed), &node.addresses[0]).await;
    }
    let peers: Vec<_> = (1..=count).map(peer).collect();
    let asker = &nodes.last().unwrap().network;
    for lie in truth.lies() {
        let mut acknowledged = 0;
        // A put that ran into its time-out on a busy machine is repeated.
        for _ in 0..5 {
            acknowledged = eve.put(&lie.key, &lie.value, &peers).await;
            if acknowledged == usize::from(count) {
                break;
            }
        }
        assert_eq!(acknowledged, usize::from(count), "every node hears of {}", lie.what);
        eve.answer(&lie.key, &lie.value).await;
        if let Some((key, value)) = truth.records.iter().find(|(key, _)| key.to_bytes() == lie.key) {
            let found = asker.get(key.clone()).await.map(|found| found.value);
            assert_eq!(found.as_ref(), Ok(value), "{}: the truth is found", lie.what);
        }
    }
    // Puts of one peer are judged in order: when the last is stored, all before were judged.
    let last = Org::new(99, "eve.example");
    let handle = last.handle_key("eve");
    eve.put(&handle.to_bytes(), &codec::encode(&last.handle("eve", account(99), 1, life())), &peers).await;
    for tree in &trees {
        until("the true record at the end is stored", || on_disk(tree, &handle.to_bytes()).is_some()).await;
        for lie in truth.lies() {
            let held = on_disk(tree, &lie.key);
            assert_ne!(held.as_deref(), Some(lie.value.as_slice()), "{} is not stored", lie.what);
        }
        assert_eq!(tree.len(), 5, "and nothing is under any key of eve's making");
    }
    for (key, value) in &truth.records {
        assert!(everybody_has(key, value), "every node holds the truth under {}", name_of(key));
    }
    let resolved = resolve_once_known(asker, &"alice@acme.example".parse().unwrap()).await;
    assert_eq!(resolved.home, node(1), "and alice is found at her home");
    evicting_claims(&eve, &truth, &peers, &trees).await;
}

/// Four claims of eve's put beside acme's: three find room, acme's stays.
async fn evicting_claims(eve: &Forger, truth: &Truth, peers: &[PeerId], trees: &[sled::Tree]) {
    let four: Vec<_> = (70..74).map(|seed| Org::new(seed, "acme.example").claim(99, life())).collect();
    let name = RecordKey::of_name("acme.example");
    eve.put(&name.to_bytes(), &codec::encode(&NameClaims(four)), peers).await;
    for tree in trees {
        let held = || on_disk(tree, &name.to_bytes()).unwrap();
        until("eve's claims are merged", || held() != truth.of(&name)).await;
        let claims: NameClaims = codec::decode_canonical(&held(), 4096).unwrap();
        let claimants: Vec<_> =
            claims.verify(clock::now_s()).unwrap().iter().map(|(claim, _)| OrgId::of(&claim.root)).collect();
        assert!(claimants.contains(&truth.org.id()), "the claim that was first is not evicted");
        assert_eq!(claimants.len(), 4, "and no more than four stand");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_with_eve_keeps_the_truth() {
    lies_among(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_and_eve_keep_the_truth() {
    lies_among(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_and_eve_keep_the_truth() {
    lies_among(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_and_eve_keep_the_truth() {
    lies_among(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_nodes_and_eve_keep_the_truth() {
    lies_among(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_only_eve_finds_nothing_and_remembers_nothing_of_it() {
    let bob = start_node(2, "bob.example", &[], BTreeMap::new()).await;
    let eve = forger(99).await;
    eve.meet(peer(2), &bob.addresses[0]).await;
    let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let truth = Truth::new(&acme.addresses);
    let (witness, said) = (truth.records[0].0.clone(), truth.records[0].1.clone());
    eve.answer(&witness.to_bytes(), &said).await;
    for _ in 0..200 {
        if bob.network.get(witness.clone()).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(bob.network.get(witness.clone()).await.is_ok(), "bob asks eve, and believes what certifies itself");

    let known = witness.to_bytes();
    for lie in truth.lies().into_iter().filter(|lie| !lie.verifies && lie.key != known) {
        let Some((key, _)) = truth.records.iter().find(|(key, _)| key.to_bytes() == lie.key) else { continue };
        eve.answer(&lie.key, &lie.value).await;
        let found = bob.network.get(key.clone()).await;
        assert_eq!(found, Err(NetworkError::NotFound), "{}: nothing is found", lie.what);
    }
    let handle: Handle = "alice@acme.example".parse().unwrap();
    let name = RecordKey::of_name("acme.example");
    let forged = codec::encode(&NameClaims(vec![{
        let mut claim = truth.org.claim(9, life());
        claim.signature.0[0] ^= 1;
        claim
    }]));
    eve.answer(&name.to_bytes(), &forged).await;
    let resolved = bob.network.resolve_handle(&handle).await;
    assert_eq!(resolved.err(), Some(NetworkError::NotFound), "alice is not found by eve's word");
    assert!(!bob.network.lookups.remembers(&handle).await, "and that she was not is not remembered: eve is no witness");

    for (key, value) in &truth.records {
        acme.network.publish(key.clone(), value.clone()).await.unwrap();
    }
    bob.network.add_addresses(node(1), acme.addresses.clone());
    let _ = bob.network.request(node(1), NodeRequest::Log { account: account(1) }).await;
    let mut found = Err(NetworkError::NotFound);
    for _ in 0..200 {
        found = bob.network.resolve_handle(&handle).await;
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(found.map(|found| found.home), Ok(node(1)), "as soon as an honest node is there, alice is found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_what_was_true_is_not_believed_by_who_has_seen_better_not_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("bob").unwrap();
    let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let truth = Truth::new(&acme.addresses);
    for (key, value) in &truth.records {
        acme.network.publish(key.clone(), value.clone()).await.unwrap();
    }
    let bob = start_kept(2, &acme.bootstrap(1), &tree, Rates::default()).await;
    let found = resolve_once_known(&bob.network, &"alice@acme.example".parse().unwrap()).await;
    assert_eq!(found.home, node(1), "bob has looked alice up");
    acme.network.shutdown().await;
    bob.network.shutdown().await;

    let eve = forger(99).await;
    let replays: Vec<_> = truth.lies().into_iter().filter(|lie| lie.verifies).collect();
    assert!(replays.len() >= 6, "there are replays of every kind");
    let bob = start_kept(2, std::slice::from_ref(&eve.address), &tree, Rates::default()).await;
    until("bob knows only eve", || bob.network.peers_connected() > 0).await;
    for lie in replays {
        eve.answer(&lie.key, &lie.value).await;
        eve.put(&lie.key, &lie.value, &[peer(2)]).await;
        let (key, value) = truth.records.iter().find(|(key, _)| key.to_bytes() == lie.key).unwrap();
        let found = bob.network.get(key.clone()).await.map(|found| found.value);
        assert_eq!(found.as_ref(), Ok(value), "{}: the last known good record answers", lie.what);
    }
}

/// The keys closest to a record's, of many that were ground.
fn ground(key: &RecordKey, tries: u32, count: usize) -> Vec<Keypair> {
    let target = libp2p::kad::KBucketKey::new(key.to_bytes());
    let mut pairs: Vec<_> = (0..tries)
        .map(|at| {
            let mut seed = [77; 32];
            seed[..4].copy_from_slice(&at.to_be_bytes());
            let pair = Keypair::ed25519_from_bytes(seed).unwrap();
            let distance = libp2p::kad::KBucketKey::from(PeerId::from(pair.public())).distance(&target);
            (distance, pair)
        })
        .collect();
    pairs.sort_by_key(|(distance, _)| *distance);
    pairs.into_iter().take(count).map(|(_, pair)| pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_that_is_surrounded_by_sybils_is_still_found_and_no_wrong_key_is_believed() {
    const HONEST: u8 = 8;
    const SYBILS: usize = 24;
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("asker").unwrap();
    let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let mut others = Vec::new();
    for seed in 2..HONEST {
        others.push(start_node(seed, &format!("org{seed}.example"), &acme.bootstrap(1), BTreeMap::new()).await);
    }
    let asker = start_kept(HONEST, &acme.bootstrap(1), &tree, Rates::default()).await;
    until("the asker joins", || asker.network.peers_connected() > 0).await;
    let truth = Truth::new(&acme.addresses);
    for (key, value) in &truth.records {
        acme.network.publish(key.clone(), value.clone()).await.unwrap();
    }
    resolve_once_known(&asker.network, &"alice@acme.example".parse().unwrap()).await;

    let (org, record) = (&truth.records[0].0, &truth.records[0].1);
    let wrong = codec::encode(&Org::new(66, "acme.example").record_at(99, &[], life()));
    let mut sybils = Vec::new();
    for pair in ground(org, 4_000, SYBILS) {
        let sybil = Forger::start(pair).await;
        sybil.answer(&org.to_bytes(), &wrong).await;
        sybils.push(sybil);
    }
    let honest = || [(1, &acme), (HONEST, &asker)].into_iter().chain((2..).zip(&others));
    for (seed, node) in honest() {
        let meets = sybils.iter().map(|sybil| sybil.meet(peer(seed), &node.addresses[0]));
        futures::future::join_all(meets).await;
    }
    let (mut right, mut wrongs) = (0, 0);
    for _ in 0..5 {
        match asker.network.get(org.clone()).await {
            Ok(found) if found.value == *record => right += 1,
            Ok(_) => wrongs += 1,
            Err(error) => panic!("the organisation is not found: {error}"),
        }
    }
    assert_eq!((right, wrongs), (5, 0), "among {SYBILS} sybils every lookup is right");

    acme.network.shutdown().await;
    for other in &others {
        other.network.shutdown().await;
    }
    asker.network.shutdown().await;
    let surrounded: Vec<_> = sybils.iter().map(|sybil| sybil.address.clone()).collect();
    let asker = start_kept(HONEST, &surrounded, &tree, Rates::default()).await;
    until("only sybils are left", || asker.network.peers_connected() >= SYBILS / 2).await;
    for (key, value) in &truth.records {
        let found = asker.network.get(key.clone()).await.map(|found| found.value);
        assert_eq!(found.as_ref(), Ok(value), "the last known good record answers under {}", name_of(key));
    }
}

/// A log of as many entries as fit, which costs as many signature checks.
fn costly_log(seed: u32) -> (RecordKey, Vec<u8>) {
    let mut root = [9; 32];
    root[..4].copy_from_slice(&seed.to_be_bytes());
    let root = roost_protocol::SecretKey::from_seed(&root);
    let mut log = roost_protocol::VerifiedLog::create(&root, &key(1).public_key(), vec![node(1)]).unwrap();
    for at in 0..12_u8 {
        log = log.append(Operation::SetHomes { homes: vec![node(at)] }, Signer::Root, &root).unwrap();
    }
    (RecordKey::Account(log.account()), log.encoded())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_costly_puts_does_not_hold_up_requests() {
    const PUTS: usize = 400;
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("bob").unwrap();
    let mut bob = start_kept(1, &[], &tree, Rates::TESTNET).await;
    let alice = start_node(2, "alice.example", &[], BTreeMap::new()).await;
    alice.network.add_addresses(node(1), bob.addresses.clone());
    let answer = NodeResponse::Log(log_of(7, node(1)).log().clone());
    let relay = tokio::spawn(async move {
        while let Some(request) = bob.inbound.recv().await {
            let _ = request.respond.send(answer.clone());
        }
    });
    let request = NodeRequest::Log { account: account(7) };
    let median_ms = async |rounds: usize| {
        let mut took = Vec::new();
        for _ in 0..rounds {
            let started = clock::instant();
            alice.network.request(node(1), request.clone()).await.unwrap();
            took.push(clock::instant().duration_since(started).as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        took[rounds / 2]
    };
    let quiet = median_ms(100).await;

    let logs: Vec<_> = (0..PUTS as u32).map(costly_log).collect();
    let flood = async {
        let mut floods = Vec::new();
        for (at, part) in logs.chunks(PUTS / 2).enumerate() {
            let eve = forger(90 + at as u8).await;
            eve.meet(peer(1), &bob.addresses[0]).await;
            floods.push(async move {
                for part in part.chunks(20) {
                    let puts = part.iter().map(async |(key, value)| eve.put(&key.to_bytes(), value, &[peer(1)]).await);
                    futures::future::join_all(puts).await;
                }
            });
        }
        futures::future::join_all(floods).await;
    };
    let (busy, _) = tokio::join!(median_ms(100), flood);
    println!("a request takes {quiet:.1} ms when quiet and {busy:.1} ms in a flood of {PUTS} puts");
    assert!(busy <= quiet * 20.0 + 100.0, "requests pass the flood: {quiet:.1} ms quiet, {busy:.1} ms busy");
    until("the flood is judged and stored, so it was one", || tree.len() > PUTS / 2).await;
    relay.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eve_over_her_rate_is_acknowledged_and_not_stored_and_bobs_put_is() {
    const PUTS: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("acme").unwrap();
    let rates = Rates { puts: Rate { per_s: 1, burst: 20 }, ..Rates::TESTNET };
    let acme = start_kept(1, &[], &tree, rates).await;
    let (eve, bob) = (forger(98).await, forger(99).await);
    eve.meet(peer(1), &acme.addresses[0]).await;
    bob.meet(peer(1), &acme.addresses[0]).await;
    let org = Org::new(66, "eve.example");
    for at in 0..PUTS {
        let local = format!("user{at}");
        let value = codec::encode(&org.handle(&local, account(3), 1, life()));
        assert_eq!(eve.put(&org.handle_key(&local).to_bytes(), &value, &[peer(1)]).await, 1, "acknowledged");
    }
    let log = log_of(3, node(9));
    let record = RecordKey::Account(log.account());
    bob.put(&record.to_bytes(), &log.encoded(), &[peer(1)]).await;
    until("bob's put is stored", || on_disk(&tree, &record.to_bytes()).is_some()).await;
    assert!(tree.len() < PUTS / 2, "of eve's {PUTS} few are stored, got {}", tree.len());
    assert!(tree.len() > 10, "her burst was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_that_it_provides_a_key_is_forgotten_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("acme").unwrap();
    let acme = start_kept(1, &[], &tree, Rates::TESTNET).await;
    let key = RecordKey::Account(account(3)).to_bytes();
    let eve = forger(98).await;
    eve.meet(peer(1), &acme.addresses[0]).await;
    let mut told = 0;
    for _ in 0..200 {
        told = eve.provide(&key).await;
        if told > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(told > 0, "acme's node is told");
    assert_eq!(eve.providers(&key).await, 1, "eve believes herself");
    drop(eve);
    let bob = forger(99).await;
    bob.meet(peer(1), &acme.addresses[0]).await;
    assert_eq!(bob.providers(&key).await, 0, "acme's node does not tell of her");
    assert!(tree.is_empty(), "and keeps nothing of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_asks_too_much_is_told_to_come_later_and_another_is_heard() {
    let rates = Rates { requests: Rate { per_s: 1, burst: 10 }, ..Rates::default() };
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("bob").unwrap();
    let mut bob = start_kept(1, &[], &tree, rates).await;
    let (eve, carol) = (
        start_node(2, "eve.example", &[], BTreeMap::new()).await,
        start_node(3, "carol.example", &[], BTreeMap::new()).await,
    );
    let answer = NodeResponse::Log(log_of(7, node(1)).log().clone());
    let relay = tokio::spawn(async move {
        while let Some(request) = bob.inbound.recv().await {
            let _ = request.respond.send(answer.clone());
        }
    });
    let ask = async |asker: &Node| asker.network.request(node(1), NodeRequest::Log { account: account(7) }).await;
    for asker in [&eve, &carol] {
        asker.network.add_addresses(node(1), bob.addresses.clone());
    }
    let mut refused = 0;
    for _ in 0..50 {
        if let NodeResponse::Refused(refusal) = ask(&eve).await.unwrap() {
            assert!(refusal.code == Code::Busy && refusal.later, "over the rate it is `busy`: {refusal:?}");
            refused += 1;
        }
    }
    assert!((30..50).contains(&refused), "eve has her burst and little more: {refused} of 50 refused");
    assert!(matches!(ask(&carol).await, Ok(NodeResponse::Log(_))), "carol is heard meanwhile");
    relay.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_hands_a_record_on_when_its_publisher_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let database = sled::open(directory.path()).unwrap();
    let (bobs, carols) = (database.open_tree("bob").unwrap(), database.open_tree("carol").unwrap());
    let rates = Rates { replicate_after_s: 1, ..Rates::default() };
    let acme = start_node(1, "acme.example", &[], BTreeMap::new()).await;
    let bob = start_kept(2, &acme.bootstrap(1), &bobs, rates).await;
    let log = log_of(3, node(1));
    let record = RecordKey::Account(log.account());
    acme.network.publish(record.clone(), log.encoded()).await.unwrap();
    until("bob holds the log", || on_disk(&bobs, &record.to_bytes()).is_some()).await;
    acme.network.shutdown().await;
    let _carol = start_kept(3, &bob.bootstrap(2), &carols, Rates::default()).await;
    until("carol, who came later and asked for nothing, has it too", || on_disk(&carols, &record.to_bytes()).is_some())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_over_its_kademlia_rate_is_read_more_slowly_and_no_other_notices() {
    let rates = Rates { kademlia: Rate { per_s: 5, burst: 5 }, ..Rates::default() };
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("acme").unwrap();
    let acme = start_kept(1, &[], &tree, rates).await;
    let (eve, bob) = (forger(98).await, forger(99).await);
    eve.meet(peer(1), &acme.addresses[0]).await;
    bob.meet(peer(1), &acme.addresses[0]).await;
    let junk = RecordKey::Handle([7; 32]).to_bytes();
    let started = clock::instant();
    for _ in 0..20 {
        assert_eq!(eve.put(&junk, b"junk", &[peer(1)]).await, 1, "each is served in the end");
    }
    let took_s = clock::instant().duration_since(started).as_secs_f64();
    // Her burst, what came back meanwhile, and the one that passes before the pause.
    assert!(took_s >= 2.0, "twenty at five a second, five of them at once, took {took_s:.1} s");

    let flood = async {
        for _ in 0..20 {
            eve.put(&junk, b"junk", &[peer(1)]).await;
        }
    };
    let log = log_of(3, node(9));
    let record = RecordKey::Account(log.account());
    let put = async {
        bob.put(&record.to_bytes(), &log.encoded(), &[peer(1)]).await;
        until("bob's put is stored", || on_disk(&tree, &record.to_bytes()).is_some()).await;
    };
    let first = tokio::select! {
        biased;
        () = put => "bob",
        () = flood => "eve",
    };
    assert_eq!(first, "bob", "bob's put passes eve's");
}
