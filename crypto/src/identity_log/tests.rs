//! Stories of the identity log: what alice may write, and each thing that eve may not.

use super::*;
use crate::bytes::Bytes;
use crate::codec;
use crate::ids::{AccountId, DeviceId, NodeId, OrgId};
use crate::keys::SecretKey;
use crate::labels::SIGN_LOG_ENTRY;
use crate::signed::Signed;
use proptest::prelude::*;

mod devices;

const ORG: OrgId = OrgId([9; 32]);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn root() -> SecretKey {
    key(1)
}

fn phone() -> SecretKey {
    key(2)
}

fn eve() -> SecretKey {
    key(66)
}

fn node(seed: u8) -> NodeId {
    NodeId::of(key(seed).public_key())
}

fn by_phone() -> Signer {
    Signer::Device(DeviceId::of(&phone().public_key()))
}

fn set_homes(seed: u8) -> Operation {
    Operation::SetHomes { homes: vec![node(seed)] }
}

fn set_handle(handle: &str) -> Operation {
    Operation::SetHandle { handle: handle.to_owned(), org: ORG }
}

/// Genesis only.
fn founded() -> VerifiedLog {
    VerifiedLog::create(&root(), &phone().public_key(), vec![node(10)]).expect("alice can found her account")
}

/// Genesis, a handle by the phone, other homes by the root key.
fn lived_in() -> VerifiedLog {
    founded()
        .append(set_handle("alice@acme.example"), by_phone(), &phone())
        .and_then(|log| log.append(set_homes(11), Signer::Root, &root()))
        .expect("alice can take a handle and move")
}

fn genesis() -> LogEntry {
    let op = Operation::Genesis { root: root().public_key(), device: phone().public_key(), homes: vec![node(10)] };
    LogEntry { seq: 0, prev: LogHash::ZERO, signer: Signer::Root, op }
}

/// An honest second entry, for eve to bend.
fn second() -> LogEntry {
    LogEntry { seq: 1, prev: founded().head().hash, signer: by_phone(), op: set_homes(11) }
}

fn sign(entry: &LogEntry, key: &SecretKey) -> Signed {
    Signed::new(SIGN_LOG_ENTRY, entry, key)
}

fn refusal(entries: Vec<Signed>) -> LogError {
    VerifiedLog::verify(&IdentityLog(entries)).expect_err("the log must be refused")
}

/// The refusal of a bent entry behind an honest genesis.
fn refusal_behind_genesis(entry: &LogEntry, key: &SecretKey) -> LogError {
    refusal(vec![sign(&genesis(), &root()), sign(entry, key)])
}

#[test]
fn alice_founds_an_account_takes_a_handle_and_moves() {
    let log = lived_in();
    assert_eq!(log.account(), AccountId::of(&root().public_key()), "the account is the hash of the root key");
    assert_eq!(log.root(), &root().public_key(), "the root key is the one of the genesis");
    let devices: Vec<_> = log.device_keys().iter().map(|(id, (key, seq))| (*id, *key, *seq)).collect();
    let phone_key = phone().public_key();
    assert_eq!(devices, [(DeviceId::of(&phone_key), phone_key, 0)], "the genesis admitted the one device");
    assert_eq!(log.homes(), [node(11)], "the last homes count");
    assert_eq!(log.handle(), Some(("alice@acme.example", ORG)), "the handle is claimed of its organisation");
    assert_eq!(log.head().seq, 2, "there are three entries");

    let read = VerifiedLog::decode(&log.encoded()).expect("bob verifies what alice wrote");
    assert_eq!(read, log, "bob sees what alice sees");
    assert_eq!(founded().handle(), None, "a new account claims no handle");
    assert_eq!(format!("{log:?}"), "VerifiedLog(seq 2)", "no id of a person reaches a log file");
}

#[test]
fn the_parts_of_a_log_survive_the_wire() {
    let log = lived_in();
    let entry = codec::decode::<LogEntry>(log.log().0[1].bytes.as_slice(), LOG_BYTES_MAX).expect("an entry is CBOR");
    assert_eq!(entry.op, set_handle("alice@acme.example"), "the entry says what was signed");
    assert_eq!(entry.signer, by_phone(), "the signer is part of the signed bytes");
    let head = codec::decode::<LogHead>(&codec::encode(&log.head()), 128).expect("a head is CBOR");
    assert_eq!(head, log.head(), "a head survives the wire");
}

#[test]
fn refused_empty() {
    assert_eq!(refusal(vec![]), LogError::Empty, "an empty log belongs to nobody");
}

#[test]
fn refused_too_long() {
    let mut log = founded();
    let full = loop {
        match log.append(set_handle("alice@acme.example"), by_phone(), &phone()) {
            Ok(longer) => log = longer,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LogError::TooLong { max: LOG_BYTES_MAX, .. }), "a full log says so, got {full:?}");
    assert!(log.encoded().len() <= LOG_BYTES_MAX, "what was appended stays within the bound");
    assert!(log.head().seq >= 10, "a log holds at least ten changes, got {}", log.head().seq);

    let entry = LogEntry {
        seq: log.head().seq + 1,
        prev: log.head().hash,
        signer: by_phone(),
        op: set_handle("alice@acme.example"),
    };
    let mut entries = log.log().0.clone();
    entries.push(sign(&entry, &phone()));
    let error = refusal(entries.clone());
    assert!(
        matches!(error, LogError::TooLong { .. }),
        "a log that is too long is refused when verified, got {error:?}"
    );
    let bytes = IdentityLog(entries).encoded();
    assert!(matches!(IdentityLog::decode(&bytes), Err(LogError::TooLong { .. })), "and before it is read");
}

#[test]
fn refused_trailing_bytes_behind_the_log() {
    let mut bytes = lived_in().encoded();
    bytes.push(0);
    let error = VerifiedLog::decode(&bytes).expect_err("trailing bytes must be refused");
    assert_eq!(error, LogError::Malformed(codec::CodecError::Trailing(1)), "one byte too many is one too many");
}

#[test]
fn refused_second_spelling_of_the_log() {
    let bytes = founded().encoded();
    assert_eq!(bytes[0], 0x81, "a log of one entry is an array of one");
    let respelled = [&[0x98, 0x01], &bytes[1..]].concat();
    let error = VerifiedLog::decode(&respelled).expect_err("a longer array header must be refused");
    assert_eq!(error, LogError::Malformed(codec::CodecError::NotCanonical), "one log has one spelling");
}

#[test]
fn refused_second_spelling_of_an_entry() {
    let bytes = codec::encode(&genesis());
    assert_eq!(bytes[0], 0xa4, "an entry is a map of four");
    for (respelled, expected) in [
        ([&[0xb8, 0x04], &bytes[1..]].concat(), codec::CodecError::NotCanonical),
        ([&bytes[..], &[0]].concat(), codec::CodecError::Trailing(1)),
    ] {
        let signature = root().sign(SIGN_LOG_ENTRY, &respelled);
        let error = refusal(vec![Signed { bytes: Bytes(respelled), signature }]);
        assert_eq!(
            error,
            LogError::MalformedEntry { seq: 0, error: expected },
            "even alice herself can't sign a second spelling"
        );
    }
}

#[test]
fn refused_entry_that_is_no_entry() {
    let signature = root().sign(SIGN_LOG_ENTRY, b"hello");
    let error = refusal(vec![Signed { bytes: Bytes(b"hello".to_vec()), signature }]);
    assert!(matches!(error, LogError::MalformedEntry { seq: 0, .. }), "signed nonsense is nonsense, got {error:?}");
}

#[test]
fn refused_genesis_missing() {
    let entry = LogEntry { seq: 0, prev: LogHash::ZERO, signer: Signer::Root, op: set_homes(10) };
    let error = refusal(vec![sign(&entry, &root())]);
    assert_eq!(error, LogError::GenesisMissing { got: "set_homes" }, "an account starts with its genesis");
}

#[test]
fn refused_genesis_repeated() {
    let entry = LogEntry { op: genesis().op, signer: Signer::Root, ..second() };
    let error = refusal_behind_genesis(&entry, &root());
    assert_eq!(error, LogError::GenesisRepeated { seq: 1 }, "an account is founded once");
    let appended = founded().append(genesis().op, Signer::Root, &root());
    assert_eq!(appended, Err(LogError::GenesisRepeated { seq: 1 }), "and alice does not write a second one");
}

#[test]
fn refused_genesis_signed_by_a_device() {
    let entry = LogEntry { signer: by_phone(), ..genesis() };
    let error = refusal(vec![sign(&entry, &phone())]);
    assert_eq!(error, LogError::GenesisSigner, "a device can't found an account");
}

#[test]
fn refused_genesis_forged_for_another_root() {
    let error = refusal(vec![sign(&genesis(), &eve())]);
    assert_eq!(error, LogError::Signature { seq: 0 }, "eve can't found an account under alice's root key");
}

#[test]
fn refused_genesis_whose_device_is_the_root() {
    let error = VerifiedLog::create(&root(), &root().public_key(), vec![node(10)]).expect_err("must be refused");
    assert_eq!(error, LogError::DeviceIsRoot, "the root key stays offline");
}

#[test]
fn refused_genesis_with_wrong_place() {
    let late = LogEntry { seq: 1, ..genesis() };
    assert_eq!(refusal(vec![sign(&late, &root())]), LogError::Seq { expected: 0, got: 1 }, "a genesis is entry 0");
    let child = LogEntry { prev: LogHash([1; 32]), ..genesis() };
    assert_eq!(refusal(vec![sign(&child, &root())]), LogError::Prev { seq: 0 }, "nothing comes before a genesis");
}

#[test]
fn refused_seq_gap_and_seq_repeated() {
    for got in [0, 2, u64::MAX] {
        let error = refusal_behind_genesis(&LogEntry { seq: got, ..second() }, &phone());
        assert_eq!(error, LogError::Seq { expected: 1, got }, "numbers have no gap and no repetition");
    }
}

#[test]
fn refused_prev_of_something_else() {
    let error = refusal_behind_genesis(&LogEntry { prev: LogHash::ZERO, ..second() }, &phone());
    assert_eq!(error, LogError::Prev { seq: 1 }, "an entry names the one before it");
    let mut entries = lived_in().log().0.clone();
    entries.remove(1);
    assert_eq!(refusal(entries), LogError::Seq { expected: 1, got: 2 }, "an entry can't be left out");
}

#[test]
fn refused_entry_of_another_account() {
    let bobs = VerifiedLog::create(&key(3), &key(4).public_key(), vec![node(10)]).expect("bob has an account");
    let moved = bobs.append(set_homes(11), Signer::Root, &key(3)).expect("bob moves");
    let error = refusal(vec![sign(&genesis(), &root()), moved.log().0[1].clone()]);
    assert_eq!(error, LogError::Signature { seq: 1 }, "bob's root does not speak for alice");
}

#[test]
fn refused_signature_of_another_key() {
    assert_eq!(
        refusal_behind_genesis(&second(), &eve()),
        LogError::Signature { seq: 1 },
        "eve can't sign in the phone's name"
    );
    assert_eq!(
        refusal_behind_genesis(&LogEntry { signer: Signer::Root, ..second() }, &phone()),
        LogError::Signature { seq: 1 },
        "the phone can't sign in the root's name"
    );
    assert_eq!(
        founded().append(set_homes(11), by_phone(), &root()),
        Err(LogError::Signature { seq: 1 }),
        "appending checks the key, too"
    );
}

#[test]
fn refused_signature_under_another_label() {
    let signed = Signed::new(crate::labels::SIGN_IN, &genesis(), &root());
    assert_eq!(refusal(vec![signed]), LogError::Signature { seq: 0 }, "a sign-in is no log entry");
}

#[test]
fn refused_signer_not_active() {
    let signer = Signer::Device(DeviceId::of(&eve().public_key()));
    let error = refusal_behind_genesis(&LogEntry { signer, ..second() }, &eve());
    assert_eq!(error, LogError::SignerNotActive { seq: 1 }, "a device that was never admitted has no say");
}

#[test]
fn refused_unknown_operation() {
    // The same bytes with another name of the same length: an operation of a later version.
    let mut bytes = codec::encode(&second());
    let at = bytes.windows(9).position(|window| window == b"set_homes").expect("the operation has its name");
    bytes[at..at + 9].copy_from_slice(b"set_motto");
    let signature = phone().sign(SIGN_LOG_ENTRY, &bytes);
    let error = refusal(vec![sign(&genesis(), &root()), Signed { bytes: Bytes(bytes), signature }]);
    assert!(matches!(error, LogError::MalformedEntry { seq: 1, .. }), "an unknown name is refused, got {error:?}");
}

#[test]
fn refused_homes() {
    for (homes, expected) in [
        (vec![], HomesError::Count { got: 0 }),
        (vec![node(10), node(10)], HomesError::Repeated),
        (vec![node(10), node(11)], HomesError::Unsupported { got: 2 }),
        (vec![node(10), node(11), node(12)], HomesError::Count { got: 3 }),
    ] {
        let created = VerifiedLog::create(&root(), &phone().public_key(), homes.clone());
        assert_eq!(created, Err(LogError::Homes(expected)), "a genesis has exactly one home");
        let appended = founded().append(Operation::SetHomes { homes }, by_phone(), &phone());
        assert_eq!(appended, Err(LogError::Homes(expected)), "an account moves to exactly one home");
    }
}

#[test]
fn refused_handle() {
    let appended = founded().append(set_handle("Alice@acme.example"), by_phone(), &phone());
    assert_eq!(appended, Err(LogError::Handle(HandleError::Character { got: 'A' })), "the syntax is checked");
}

#[test]
fn bob_keeps_the_longer_log_and_never_a_second_branch() {
    let old = founded();
    let new = old.append(set_homes(11), by_phone(), &phone()).expect("alice moves");
    let stolen = old.append(set_homes(66), by_phone(), &phone()).expect("a thief with the phone can sign as well");
    let other = VerifiedLog::create(&eve(), &key(67).public_key(), vec![node(10)]).expect("eve has an account");
    let refounded = VerifiedLog::create(&root(), &key(5).public_key(), vec![node(10)]).expect("R can sign it");

    for (candidate, relation, kept) in [
        (&new, Relation::Same, Ok(&new)),
        (&old, Relation::Behind, Ok(&new)),
        (&stolen, Relation::Branched, Err(LogError::Branched { seq: 1 })),
        (&refounded, Relation::Branched, Err(LogError::Branched { seq: 0 })),
        (&other, Relation::OtherAccount, Err(LogError::OtherAccount)),
    ] {
        assert_eq!(new.relation(candidate), relation, "bob sees how the two logs stand");
        assert_eq!(new.supersede(candidate), kept.cloned(), "bob keeps the right log");
    }
    assert_eq!(old.relation(&new), Relation::Extended, "more entries extend");
    assert_eq!(old.supersede(&new), Ok(new.clone()), "an extension replaces its prefix");

    let longer = stolen.append(set_homes(67), by_phone(), &phone()).expect("the thief goes on");
    assert_eq!(new.relation(&longer), Relation::Branched, "a longer branch is a branch");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_flipped_byte_never_verifies(position in 0_usize..4096, mask in 1_u8..=255) {
        let mut bytes = lived_in().encoded();
        let position = position % bytes.len();
        bytes[position] ^= mask;
        let verified = VerifiedLog::decode(&bytes);
        prop_assert!(verified.is_err(), "byte {} flipped by {:#04x} still verifies", position, mask);
    }

    #[test]
    fn any_bytes_are_refused_without_a_crash(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(VerifiedLog::decode(&bytes).is_err(), "nobody's log came out of noise");
    }
}
