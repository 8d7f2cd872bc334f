//! Stories of the record store: what eve puts and what stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::tests::people::{Org, account, key, log_of, node, with_handle};
use super::*;
use roost_protocol::records::{NameClaims, VerifiedRecord};
use roost_protocol::{PublicKey, Signed};

const NOW: u64 = 1_800_000_000;

fn store() -> RecordStore {
    RecordStore::open(None, NOW)
}

fn put(store: &mut RecordStore, key: &RecordKey, value: &[u8]) -> Result<(), StoreError> {
    store.admit(&key.to_bytes(), value, NOW + FRESH_S, Origin::Foreign, NOW)
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
    store.admit(&key, &value, NOW + 10, Origin::Foreign, NOW).unwrap();
    store.admit(&key, &value, NOW + 1000, Origin::Foreign, NOW).unwrap();
    store.admit(&key, &value, NOW + 1, Origin::Foreign, NOW).unwrap();
    assert_eq!(store.records[&key].fresh_until_s, NOW + 1000, "the longest life told stands");
    store.admit(&key, &value, u64::MAX, Origin::Foreign, NOW).unwrap();
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
        let mut store = RecordStore::open(Some(database.open_tree("records").unwrap()), NOW);
        store.admit(&alice, &value, NOW + 9000, Origin::Own, NOW).unwrap();
        let short = codec::encode(&acme.handle("bob", account(4), 1, NOW + 1000));
        store.admit(&bob, &short, NOW + 1000, Origin::Own, NOW).unwrap();
        database.flush().unwrap();
    }
    let database = sled::open(directory.path()).unwrap();
    let tree = database.open_tree("records").unwrap();
    let reopened = RecordStore::open(Some(tree.clone()), NOW + 5000);
    assert_eq!(reopened.value(&alice), Some(value.as_slice()), "alice's record is still there");
    assert_eq!(reopened.value(&bob), None, "bob's has ended meanwhile");
    assert_eq!(tree.len(), 1, "and is gone from the disk too");
}

#[test]
fn a_full_store_refuses_others_and_still_takes_our_own() {
    let acme = Org::new(1, "acme.example");
    let mut store = RecordStore { foreign_records_max: 1, ..store() };
    let value = |name| codec::encode(&acme.handle(name, account(3), 1, NOW + 100));
    put(&mut store, &acme.handle_key("alice"), &value("alice")).unwrap();
    assert_eq!(put(&mut store, &acme.handle_key("bob"), &value("bob")), Err(StoreError::Full(1)), "the bound holds");
    let own = store.admit(&acme.handle_key("bob").to_bytes(), &value("bob"), NOW + 100, Origin::Own, NOW);
    assert_eq!(own, Ok(()), "what this node publishes has room");
}
