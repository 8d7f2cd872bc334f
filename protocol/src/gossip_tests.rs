#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::handle::Handle;
use crate::records::NodeAddress;
use roost_crypto::identity_log::{Signer, VerifiedLog};
use roost_crypto::ids::NodeId;
use roost_crypto::keys::SecretKey;

const NOW_S: u64 = 1_795_000_000;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn alice() -> VerifiedLog {
    let home = NodeId::of(key(3).public_key());
    VerifiedLog::create(&key(12), &key(2).public_key(), vec![home]).unwrap()
}

fn handle(account: AccountId, seq: u64) -> Signed {
    let handle: Handle = "alice@acme.example".parse().unwrap();
    HandleRecord { root: key(4).public_key(), handle, account, seq, expires: NOW_S + 1000 }.sign(&key(4))
}

fn org(seq: u64) -> SignedOrgRecord {
    let node = NodeAddress {
        node: NodeId::of(key(3).public_key()),
        addrs: vec!["/ip4/192.0.2.7/tcp/4001".parse().unwrap()],
        web: String::new(),
        region: String::new(),
        weight: 1,
    };
    let (root, name) = (key(4).public_key(), "acme.example".to_owned());
    let record = OrgRecord { root, name, nodes: vec![node], seq, expires: NOW_S + 1000 };
    SignedOrgRecord::sign(&record, &key(4), &[&key(3)])
}

fn claim(root: u8, seq: u64) -> Signed {
    let (root_key, name) = (key(root).public_key(), "acme.example".to_owned());
    NameClaim { root: root_key, name, seq, expires: NOW_S + 1000 }.sign(&key(root))
}

#[test]
fn a_change_carries_records_that_verify_under_the_keys_they_claim() {
    let log = alice();
    let account = DirectoryChange::Account { log: Some(log.log().clone()), handle: Some(handle(log.account(), 1)) };
    let org = DirectoryChange::Org { record: Some(org(1)), claim: Some(claim(4, 1)) };
    for change in [account, org] {
        let records = DirectoryChange::read(change.topic(), &change.encoded()).unwrap();
        assert_eq!(records.len(), 2, "both records are found in {}", change.topic());
        for record in records {
            let verified = record.key.verify(&record.value, NOW_S);
            assert!(verified.is_ok(), "each verifies as the directory's own value: {verified:?}");
        }
    }
}

#[test]
fn the_example_of_the_protocol_is_what_the_code_makes() {
    let change = DirectoryChange::Org { record: None, claim: Some(claim(4, NOW_S)) };
    let (bytes, id) = (change.encoded(), message_id(ORGS_TOPIC, &change.encoded()));
    let document = include_str!("../../docs/protocol.md");
    let section = document.split("\n## ").find(|section| section.starts_with("Gossip")).unwrap();
    let hex: String = section.chars().filter(|character| !character.is_whitespace()).collect();
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(hex.contains(&text(&bytes)), "the message of the document is {}", text(&bytes));
    assert!(hex.contains(&text(&id)), "the id of the document is {}", text(&id));
}

#[test]
fn what_the_sender_must_have_known_is_told_by_its_cause() {
    let log = alice();
    let account = DirectoryChange::Account { log: Some(log.log().clone()), handle: None };
    let read = |topic: &str, change: &DirectoryChange| DirectoryChange::read(topic, &change.encoded());
    assert_eq!(read("/roost/directory/other/1", &account), Err(GossipError::Topic), "another topic");
    assert_eq!(read(ORGS_TOPIC, &account), Err(GossipError::OtherTopic), "an account among organisations");
    let empty = DirectoryChange::Account { log: None, handle: None };
    assert_eq!(read(ACCOUNTS_TOPIC, &empty), Err(GossipError::Empty), "a change of nothing");
    let nobody = DirectoryChange::Account { log: Some(IdentityLog(Vec::new())), handle: None };
    assert_eq!(read(ACCOUNTS_TOPIC, &nobody), Err(GossipError::GenesisMissing), "a log without entries");
    let other = VerifiedLog::create(&key(77), &key(2).public_key(), log.homes().to_vec()).unwrap();
    let apart = DirectoryChange::Account { log: Some(log.log().clone()), handle: Some(handle(other.account(), 1)) };
    assert_eq!(read(ACCOUNTS_TOPIC, &apart), Err(GossipError::Apart), "a log and another account's handle");
    let strangers = DirectoryChange::Org { record: Some(org(1)), claim: Some(claim(5, 1)) };
    assert_eq!(read(ORGS_TOPIC, &strangers), Err(GossipError::Apart), "two organisations in one message");
    let mut trailing = account.encoded();
    trailing.push(0);
    let trailing = DirectoryChange::read(ACCOUNTS_TOPIC, &trailing);
    assert!(matches!(trailing, Err(GossipError::Codec(CodecError::Trailing(1)))), "trailing bytes: {trailing:?}");
    let long = DirectoryChange::read(ACCOUNTS_TOPIC, &vec![0; limits::GOSSIP_MESSAGE_BYTES_MAX + 1]);
    assert!(matches!(long, Err(GossipError::Codec(CodecError::TooLong { .. }))), "one byte too many: {long:?}");
}

#[test]
fn newer_is_claimed_by_a_longer_log_a_higher_seq_or_a_claimant_not_seen_before() {
    let log = alice();
    let moved = Operation::SetHomes { homes: vec![NodeId::of(key(9).public_key())] };
    let longer = log.append(moved, Signer::Root, &key(12)).unwrap();
    let account = RecordKey::Account(log.account());
    assert!(claims_newer(&account, &log.encoded(), &longer.encoded()), "a longer log");
    assert!(!claims_newer(&account, &longer.encoded(), &log.encoded()), "not a shorter one");
    assert!(!claims_newer(&account, &log.encoded(), &log.encoded()), "not the same");
    let reset = longer.reset(&key(12), vec![key(2).public_key()], log.homes().to_vec()).unwrap();
    assert!(claims_newer(&account, &longer.encoded(), &reset.encoded()), "a log that was reset, however short");
    assert!(!claims_newer(&account, &reset.encoded(), &longer.encoded()), "not what it ended");
    let change = DirectoryChange::Account { log: Some(reset.log().clone()), handle: None };
    let records = DirectoryChange::read(ACCOUNTS_TOPIC, &change.encoded()).unwrap();
    assert_eq!(records[0].key, account, "a reset names its account");
    let key_of_org = RecordKey::Org(OrgId::of(&key(4).public_key()));
    assert!(claims_newer(&key_of_org, &codec::encode(&org(1)), &codec::encode(&org(2))), "a higher seq");
    assert!(!claims_newer(&key_of_org, &codec::encode(&org(2)), &codec::encode(&org(1))), "not a lower one");
    let name = RecordKey::of_name("acme.example");
    let claims = |signed: Vec<Signed>| codec::encode(&NameClaims(signed));
    assert!(claims_newer(&name, &claims(vec![claim(4, 1)]), &claims(vec![claim(5, 1)])), "another claimant");
    assert!(!claims_newer(&name, &claims(vec![claim(4, 2), claim(5, 1)]), &claims(vec![claim(4, 1)])), "an old claim");
}

#[test]
fn the_id_of_a_message_depends_on_topic_and_data_and_not_on_where_one_ends() {
    assert_ne!(message_id("ab", b"c"), message_id("a", b"bc"), "the length of the topic separates the two");
    assert_ne!(message_id(ORGS_TOPIC, b"x"), message_id(ACCOUNTS_TOPIC, b"x"), "topics are apart");
}
