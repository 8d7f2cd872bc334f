//! Stories of the record store: what eve puts and what stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::tests::people::{Org, account, key, log_of, node, reset_of, with_handle};
use super::*;
use roost_protocol::records::{NameClaims, VerifiedRecord};
use roost_protocol::{PublicKey, Signed};

const NOW: u64 = 1_800_000_000;

fn store() -> RecordStore {
    store_of(Bounds::default())
}

fn store_of(bounds: Bounds) -> RecordStore {
    RecordStore::open(local(), None, bounds, NOW)
}

fn local() -> PeerId {
    PeerId::from_bytes(&node(1).to_peer_id_bytes()).unwrap()
}

fn bob() -> Origin {
    Origin::Foreign(PeerId::from_bytes(&node(2).to_peer_id_bytes()).unwrap())
}

fn put(store: &mut RecordStore, key: &RecordKey, value: &[u8]) -> Result<(), StoreError> {
    store.admit(&key.to_bytes(), value, NOW + FRESH_S, bob(), NOW)
}

fn claims(signed: &[&Signed]) -> Vec<u8> {
    codec::encode(&NameClaims(signed.iter().map(|signed| (*signed).clone()).collect()))
}

#[test]
fn a_newer_record_replaces_an_older_one_and_never_the_other_way_round() {
    let acme = Org::new(1, "acme.example");
    let mut store = store();
    let record_key = acme.handle_key("alice");
    let at = |seq, expires| codec::encode(&acme.handle("alice", account(3), seq, expires));
    assert_eq!(put(&mut store, &record_key, &at(2, NOW + 100)), Ok(()), "the first is stored");
    assert_eq!(put(&mut store, &record_key, &at(1, NOW + 900)), Err(StoreError::Older), "a lower seq is refused");
    assert_eq!(put(&mut store, &record_key, &at(2, NOW + 50)), Err(StoreError::Older), "an earlier end is refused");
    assert_eq!(put(&mut store, &record_key, &at(2, NOW + 200)), Ok(()), "a later end of one seq is taken");
    assert_eq!(put(&mut store, &record_key, &at(3, NOW + 60)), Ok(()), "a higher seq is taken");
    assert_eq!(store.value(&record_key.to_bytes()), Some(at(3, NOW + 60).as_slice()), "the highest seq is held");
}

#[test]
fn equal_bytes_refresh_and_no_put_shortens_what_is_held() {
    let acme = Org::new(1, "acme.example");
    let mut store = store();
    let key = acme.handle_key("alice").to_bytes();
    let value = codec::encode(&acme.handle("alice", account(3), 1, NOW + 20 * 24 * 3600));
    store.admit(&key, &value, NOW + 10, bob(), NOW).unwrap();
    store.admit(&key, &value, NOW + 1000, bob(), NOW).unwrap();
    store.admit(&key, &value, NOW + 1, bob(), NOW).unwrap();
    assert_eq!(store.records[&key].fresh_until_s, NOW + 1000, "the longest life told stands");
    store.admit(&key, &value, u64::MAX, bob(), NOW).unwrap();
    assert_eq!(store.records[&key].fresh_until_s, NOW + FRESH_S, "and it is 48 hours at most");
    store.sweep(NOW + FRESH_S + 1);
    assert_eq!(store.value(&key), None, "what nobody republishes is dropped");
}

#[test]
fn forged_expired_foreign_and_oversized_records_are_not_stored() {
    let (acme, eve) = (Org::new(1, "acme.example"), Org::new(66, "acme.example"));
    let mut store = store();
    let record_key = acme.handle_key("alice");
    let mut forged = acme.handle("alice", account(3), 1, NOW + 100);
    forged.signature.0[0] ^= 1;
    let theirs = codec::encode(&eve.handle("alice", account(66), 9, NOW + 100));
    let expired = codec::encode(&acme.handle("alice", account(3), 1, NOW - 3600));
    let endless = codec::encode(&acme.handle("alice", account(3), 1, NOW + 90 * 24 * 3600));
    let cases = [
        ("a bent signature", codec::encode(&forged)),
        ("another organisation's record", theirs),
        ("an expired record", expired),
        ("a record that lives too long", endless),
        ("bytes that are no record", vec![1, 2, 3]),
        ("more than 4 KiB", vec![0; limits::DHT_VALUE_BYTES_MAX + 1]),
    ];
    for (what, value) in cases {
        assert!(put(&mut store, &record_key, &value).is_err(), "{what} must be refused");
    }
    let honest = codec::encode(&acme.handle("alice", account(3), 1, NOW + 100));
    for foreign in [b"/pk/0123456789".to_vec(), b"/roost-handle/short".to_vec(), Vec::new()] {
        let outcome = store.admit(&foreign, &honest, NOW + 100, Origin::Own, NOW);
        assert_eq!(outcome, Err(StoreError::Record(RecordError::Key)), "a foreign namespace is refused, even our own");
    }
    assert!(store.records.is_empty(), "nothing of it is stored");
}

#[test]
fn an_identity_log_is_replaced_by_its_extension_only() {
    let alice = log_of(3, node(1));
    let extended = with_handle(&alice, 3, "alice@acme.example");
    let branch = with_handle(&alice, 3, "eve@acme.example");
    let record_key = RecordKey::Account(alice.account());
    let mut store = store();
    assert_eq!(put(&mut store, &record_key, &alice.encoded()), Ok(()), "the genesis is stored");
    assert_eq!(put(&mut store, &record_key, &extended.encoded()), Ok(()), "an extension replaces it");
    assert_eq!(put(&mut store, &record_key, &alice.encoded()), Err(StoreError::Older), "the prefix comes too late");
    assert_eq!(put(&mut store, &record_key, &branch.encoded()), Err(StoreError::Branched), "a branch never replaces");
    let other = log_of(4, node(1));
    assert!(put(&mut store, &record_key, &other.encoded()).is_err(), "another account's log does not fit the key");
    assert_eq!(store.value(&record_key.to_bytes()), Some(extended.encoded().as_slice()), "the extension is held");

    let reset = reset_of(&alice, 3);
    assert_eq!(put(&mut store, &record_key, &reset.encoded()), Ok(()), "a reset ends whatever was");
    for (old, what) in [(&alice, "the genesis"), (&extended, "a longer log"), (&branch, "a branch")] {
        assert_eq!(put(&mut store, &record_key, &old.encoded()), Err(StoreError::Older), "{what} comes too late");
    }
    let another = reset_of(&extended, 3);
    assert_eq!(
        put(&mut store, &record_key, &another.encoded()),
        Err(StoreError::Branched),
        "two resets of one count contradict each other"
    );
    assert_eq!(put(&mut store, &record_key, &reset_of(&another, 3).encoded()), Ok(()), "the next one ends that");
}

#[test]
fn an_organisation_record_without_its_nodes_signatures_is_refused() {
    let acme = Org::new(1, "acme.example");
    let mut store = store();
    let mut unsigned = acme.record(&[], NOW + 100);
    unsigned.countersignatures[0] = key(66).sign("another", b"thing");
    assert!(put(&mut store, &RecordKey::Org(acme.id()), &codec::encode(&unsigned)).is_err(), "the node did not agree");
    let honest = codec::encode(&acme.record(&[], NOW + 100));
    assert_eq!(put(&mut store, &RecordKey::Org(acme.id()), &honest), Ok(()), "the counter-signed record is stored");
}

#[test]
fn claims_to_a_name_are_merged_up_to_four_and_none_is_evicted() {
    let orgs: Vec<_> = (1..=5).map(|seed| Org::new(seed, "acme.example")).collect();
    let signed: Vec<_> = orgs.iter().map(|org| org.claim(1, NOW + 100)).collect();
    let record_key = RecordKey::of_name("acme.example");
    let mut store = store();
    for claim in &signed[..4] {
        assert_eq!(put(&mut store, &record_key, &claims(&[claim])), Ok(()), "each of four claims finds room");
    }
    assert_eq!(put(&mut store, &record_key, &claims(&[&signed[4]])), Err(StoreError::Older), "the fifth does not");
    let held = record_key.verify(store.value(&record_key.to_bytes()).unwrap(), NOW).unwrap();
    let VerifiedRecord::Name(held) = held else { panic!("a name key holds claims") };
    let roots: Vec<PublicKey> = held.iter().map(|(claim, _)| claim.root).collect();
    for org in &orgs[..4] {
        assert!(roots.contains(&org.root.public_key()), "the first four claims are held");
    }
    let renewed = orgs[0].claim(2, NOW + 200);
    assert_eq!(put(&mut store, &record_key, &claims(&[&renewed])), Ok(()), "an organisation may renew its own claim");
}

#[test]
fn records_survive_reopening_the_tree_and_stale_ones_do_not() {
    let acme = Org::new(1, "acme.example");
    let directory = tempfile::tempdir().unwrap();
    let (alice, bob) = (acme.handle_key("alice").to_bytes(), acme.handle_key("bob").to_bytes());
    let value = codec::encode(&acme.handle("alice", account(3), 1, NOW + 9000));
    {
        let database = sled::open(directory.path()).unwrap();
        let mut store =
            RecordStore::open(local(), Some(database.open_tree("records").unwrap()), Bounds::default(), NOW);
        store.admit(&alice, &value, NOW + 9000, Origin::Own, NOW).unwrap();
        let short = codec::encode(&acme.handle("bob", account(4), 1, NOW + 1000));
        store.admit(&bob, &short, NOW + 1000, Origin::Own, NOW).unwrap();
        database.flush().unwrap();
    }
    let database = sled::open(directory.path()).unwrap();
    let tree = database.open_tree("records").unwrap();
    let reopened = RecordStore::open(local(), Some(tree.clone()), Bounds::default(), NOW + 5000);
    assert_eq!(reopened.value(&alice), Some(value.as_slice()), "alice's record is still there");
    assert_eq!(reopened.value(&bob), None, "bob's has ended meanwhile");
    assert_eq!(reopened.newest_seq(&bob), 1, "but what follows it must be newer than that");
    assert_eq!(reopened.newest_seq(&junk(1)), 0, "where nothing was seen anything is");
    let left = codec::decode::<OnDisk>(&tree.get(&bob).unwrap().unwrap(), ON_DISK_BYTES_MAX).unwrap();
    assert!(left.value.as_slice().is_empty(), "and is gone from the disk too");
    assert_eq!(left.mark, Some(Mark::Signed { seq: 1, expires: NOW + 1000 }), "but for what was seen of it");
}

fn value_of(acme: &Org, name: &str) -> Vec<u8> {
    codec::encode(&acme.handle(name, account(3), 1, NOW + 9000))
}

/// A key of nobody's.
fn junk(at: u32) -> Vec<u8> {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&at.to_be_bytes());
    RecordKey::Handle(id).to_bytes()
}

fn stranger(at: u32) -> PeerId {
    let mut seed = [5; 32];
    seed[..4].copy_from_slice(&at.to_be_bytes());
    libp2p::identity::Keypair::ed25519_from_bytes(seed).unwrap().public().to_peer_id()
}

#[test]
fn a_full_store_keeps_the_nearest_of_others_and_always_what_is_ours_or_wanted() {
    let acme = Org::new(1, "acme.example");
    let mut store = store_of(Bounds { foreign: 10, ..Bounds::default() });
    let names: Vec<_> = (0..40).map(|at| format!("user{at}")).collect();
    let (own, wanted) = (acme.handle_key("own").to_bytes(), acme.handle_key("wanted").to_bytes());
    store.admit(&own, &value_of(&acme, "own"), NOW + 9000, Origin::Own, NOW).unwrap();
    store.admit(&wanted, &value_of(&acme, "wanted"), NOW + 9000, Origin::Wanted, NOW).unwrap();
    let mut refused = 0;
    for name in &names {
        match put(&mut store, &acme.handle_key(name), &value_of(&acme, name)) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, StoreError::Full(10), "the bound refuses, nothing else");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && refused < 30, "some were farther than all that are held, {refused}, and some were nearer");
    assert!(store.value(&own).is_some() && store.value(&wanted).is_some(), "ours and the wanted one stay");
    let mut keys: Vec<_> = names.iter().map(|name| acme.handle_key(name).to_bytes()).collect();
    keys.sort_by_key(|key| store.distance(key));
    let held: Vec<_> = keys.iter().filter(|key| store.value(key).is_some()).collect();
    assert_eq!(held, keys[..10].iter().collect::<Vec<_>>(), "the ten nearest of the forty are held");
}

#[test]
fn one_peer_and_one_organisation_fill_no_more_than_their_share() {
    let (acme, eve) = (Org::new(1, "acme.example"), Org::new(66, "eve.example"));
    let mut store = store_of(Bounds { of_source: 5, of_signer: 8, ..Bounds::default() });
    let mut put_by = |peer: u32, org: &Org, name: &str| {
        let (key, value) = (org.handle_key(name).to_bytes(), value_of(org, name));
        store.admit(&key, &value, NOW + 9000, Origin::Foreign(stranger(peer)), NOW)
    };
    for at in 0..5 {
        assert_eq!(put_by(1, &eve, &format!("user{at}")), Ok(()), "five of a peer");
    }
    assert_eq!(put_by(1, &eve, "user5"), Err(StoreError::Quota(5)), "not a sixth");
    for at in 5..8 {
        assert_eq!(put_by(2, &eve, &format!("user{at}")), Ok(()), "by another peer eight of an organisation");
    }
    assert_eq!(put_by(2, &eve, "user8"), Err(StoreError::Quota(8)), "not a ninth");
    assert_eq!(put_by(2, &acme, "alice"), Ok(()), "another organisation has its own share");
    assert_eq!(put_by(1, &eve, "user0"), Ok(()), "and what is held may be put again");
    store.sweep(NOW + FRESH_S + 1);
    assert!(store.of_source.is_empty() && store.of_signer.is_empty(), "what is gone is no longer counted");
}

#[test]
fn a_hundred_thousand_junk_records_of_a_thousand_peers_leave_the_store_bounded() {
    let acme = Org::new(1, "acme.example");
    let mut store = store();
    let own = acme.handle_key("own").to_bytes();
    store.admit(&own, &value_of(&acme, "own"), NOW + 9000, Origin::Own, NOW).unwrap();
    let peers: Vec<_> = (0..1000).map(stranger).collect();
    // What a record says is no question of room, so all are one.
    let log = log_of(3, node(1));
    let candidate = Candidate { value: log.encoded(), record: VerifiedRecord::Account(log) };
    let (mut stored, mut turned_away) = (0, 0);
    for at in 0..100_000_u32 {
        let key = junk(at);
        let source = peers[at as usize % peers.len()];
        if store.has_room(&key, source) {
            store.take(&key, candidate.clone(), NOW + FRESH_S, Origin::Foreign(source), NOW).unwrap();
            stored += 1;
        } else {
            turned_away += 1;
        }
    }
    let Bounds { foreign, .. } = Bounds::default();
    assert_eq!(store.foreign.len(), foreign, "the bound is reached and holds");
    assert_eq!(store.records.len(), foreign + 1, "and the map holds no more than it and our own");
    assert_eq!(store.of_source.values().sum::<usize>(), foreign, "each is counted for its peer");
    assert!(store.of_source.len() <= peers.len() && store.of_signer.is_empty(), "the counts are bounded too");
    assert_eq!(store.marks.len(), 1, "junk leaves no marks");
    assert!(turned_away > stored, "most are turned away before a signature is checked: {turned_away} of 100,000");
    assert!(store.value(&own).is_some(), "our own is there");
}

#[test]
fn an_identity_log_is_held_until_there_is_no_room_and_other_records_end() {
    let acme = Org::new(1, "acme.example");
    let mut store = store();
    let log = log_of(3, node(1));
    let (log_key, handle_key) = (RecordKey::Account(log.account()), acme.handle_key("alice"));
    put(&mut store, &log_key, &log.encoded()).unwrap();
    put(&mut store, &handle_key, &value_of(&acme, "alice")).unwrap();
    let in_a_year_s = NOW + 365 * 24 * 3600;
    store.sweep(in_a_year_s);
    assert_eq!(store.value(&handle_key.to_bytes()), None, "a handle that nobody puts again ends");
    assert_eq!(store.value(&log_key.to_bytes()), Some(log.encoded().as_slice()), "a log does not");
    let served = KadRecordStore::get(&store, &KadKey::new(&log_key.to_bytes())).unwrap();
    assert!(!served.is_expired(clock::instant()), "and it is served");
    assert_eq!(store.take_due(6 * 3600, 10, in_a_year_s), [log_key.to_bytes()], "and handed on");
}

#[test]
fn every_record_is_handed_on_once_in_a_while_and_what_was_just_put_is_not() {
    let acme = Org::new(1, "acme.example");
    let mut store = store();
    let keys: Vec<_> = (0..9).map(|at| acme.handle_key(&format!("user{at}"))).collect();
    for (at, key) in keys.iter().enumerate() {
        put(&mut store, key, &value_of(&acme, &format!("user{at}"))).unwrap();
    }
    assert!(store.take_due(60, 100, NOW + 59).is_empty(), "all were put a moment ago");
    assert!(store.refresh(&keys[0].to_bytes(), &value_of(&acme, "user0"), NOW, NOW + 50), "one is put again");
    let mut handed_on = Vec::new();
    for _ in 0..10 {
        handed_on.extend(store.take_due(60, 2, NOW + 60));
    }
    handed_on.sort();
    let mut expected: Vec<_> = keys[1..].iter().map(RecordKey::to_bytes).collect();
    expected.sort();
    assert_eq!(handed_on, expected, "the others are handed on, each once, two at a time");
}

#[test]
fn an_older_record_is_refused_after_the_newer_one_has_ended_even_after_a_restart() {
    let acme = Org::new(1, "acme.example");
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::open(directory.path()).unwrap().open_tree("records").unwrap();
    let key = acme.handle_key("alice").to_bytes();
    let older = codec::encode(&acme.handle("alice", account(66), 1, NOW + 20 * 24 * 3600));
    let newer = codec::encode(&acme.handle("alice", account(3), 2, NOW + 3600));
    let later = NOW + 2 * 24 * 3600;
    let open = |now_s| RecordStore::open(local(), Some(tree.clone()), Bounds::default(), now_s);
    let mut store = open(NOW);
    store.admit(&key, &newer, NOW + 3600, Origin::Wanted, NOW).unwrap();
    store.sweep(later);
    assert_eq!(store.value(&key), None, "the newer one has ended");
    let replay = |store: &mut RecordStore| store.admit(&key, &older, later + FRESH_S, bob(), later);
    assert_eq!(replay(&mut store), Err(StoreError::Older), "the older one does not come back");
    drop(store);
    let mut reopened = open(later);
    assert_eq!(replay(&mut reopened), Err(StoreError::Older), "nor after a restart");
    let renewed = codec::encode(&acme.handle("alice", account(3), 3, later + 3600));
    assert_eq!(reopened.admit(&key, &renewed, later + 3600, bob(), later), Ok(()), "a newer one is welcome");
}

#[test]
fn a_branch_or_a_prefix_of_a_log_is_refused_after_the_log_is_gone() {
    let alice = log_of(3, node(1));
    let (key, extended) =
        (RecordKey::Account(alice.account()).to_bytes(), with_handle(&alice, 3, "alice@acme.example"));
    let mut store = store();
    store.admit(&key, &extended.encoded(), NOW, Origin::Wanted, NOW).unwrap();
    store.forget(&key);
    let branch = with_handle(&alice, 3, "mallory@acme.example");
    let mut offer = |log: &roost_protocol::VerifiedLog| store.admit(&key, &log.encoded(), NOW, bob(), NOW);
    assert_eq!(offer(&alice), Err(StoreError::Older), "a prefix is older");
    assert_eq!(offer(&branch), Err(StoreError::Branched), "a branch contradicts");
    assert_eq!(
        offer(&with_handle(&branch, 3, "mallory@acme.example")),
        Err(StoreError::Branched),
        "however long it is"
    );
    let ally = with_handle(&extended, 3, "ally@acme.example");
    assert_eq!(offer(&ally), Ok(()), "an extension is welcome");

    store.forget(&key);
    let reset = reset_of(&branch, 3);
    let wanted = store.admit(&key, &reset.encoded(), NOW, Origin::Wanted, NOW);
    assert_eq!(wanted, Ok(()), "so is a reset, whichever branch it ends");
    store.forget(&key);
    let mut offer = |log: &roost_protocol::VerifiedLog| store.admit(&key, &log.encoded(), NOW, bob(), NOW);
    assert_eq!(offer(&ally), Err(StoreError::Older), "what it ended never comes back");
    assert_eq!(offer(&reset_of(&ally, 3)), Err(StoreError::Branched), "nor another reset of its count");
}

#[test]
fn what_is_no_longer_asked_for_may_be_evicted_and_wanted_records_and_marks_are_bounded() {
    let acme = Org::new(1, "acme.example");
    let mut store = store_of(Bounds { foreign: 3, wanted: 4, marks: 6, ..Bounds::default() });
    let key = |at: usize| acme.handle_key(&format!("user{at}")).to_bytes();
    for at in 0..20 {
        let value = value_of(&acme, &format!("user{at}"));
        store.admit(&key(at), &value, NOW + 9000, Origin::Wanted, NOW).unwrap();
    }
    assert_eq!((store.wanted.len(), store.foreign.len(), store.marks.len()), (4, 3, 6), "the bounds hold");
    assert_eq!(store.records.len(), 7, "and nothing is held beyond them");
    for at in 16..20 {
        assert!(store.value(&key(at)).is_some(), "what was looked up last is held");
    }
}
