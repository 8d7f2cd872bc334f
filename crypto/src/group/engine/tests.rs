//! What the trait does not let an engine do, done by a member that breaks the rules.
#![allow(clippy::unwrap_used)]

use super::super::{Created, GroupEngine as _, hub};
use super::*;
use crate::ids::{AccountId, DeviceId};
use openmls::prelude::{
    CommitMessageBundle, Extension, ExtensionType, Extensions, GroupContext, RequiredCapabilitiesExtension,
};
use std::collections::BTreeMap;

pub(super) type Store = BTreeMap<Vec<u8>, Vec<u8>>;

fn engine(seed: u8) -> OpenMlsEngine {
    let key = SecretKey::from_seed(&[seed; 32]);
    let device = DeviceId::of(&key.public_key());
    OpenMlsEngine::new(key, Credential { account: AccountId([seed; 32]), device, log_seq: 1 })
}

/// Bob's engine and rows in a group with alice, and commits of alice that lead on from there.
pub(super) fn bob_and_commits(count: usize) -> (OpenMlsEngine, Store, Vec<Vec<u8>>) {
    let (mut alice, mut bob) = (engine(1), engine(2));
    let (mut alices, mut bobs) = (Store::new(), Store::new());
    let (packages, writes) = bob.key_packages(&bobs, 1, false).unwrap();
    writes.apply_to(&mut bobs);
    let (created, writes) = alice.create(&alices, b"group", b"state", &packages).unwrap();
    writes.apply_to(&mut alices);
    let (_, writes) = bob.join(&bobs, created.welcome.as_slice(), created.tree.as_slice()).unwrap();
    writes.apply_to(&mut bobs);
    let mut commits = Vec::new();
    for _ in 0..count {
        let (committed, writes) = alice.commit(&alices, b"group", &Change::default()).unwrap();
        writes.apply_to(&mut alices);
        let (_, writes) = alice.merge(&alices, b"group", committed.commit.as_slice(), 0).unwrap();
        writes.apply_to(&mut alices);
        commits.push(committed.commit.0);
    }
    (bob, bobs, commits)
}

/// Alice in a group with bob, and what she sent to its hub.
fn alice_and_hub() -> (OpenMlsEngine, Store, Created, Bytes) {
    let (mut alice, mut bob, mut alices) = (engine(1), engine(2), Store::new());
    let (packages, _) = bob.key_packages(&Store::new(), 1, false).unwrap();
    let (created, writes) = alice.create(&alices, b"group", b"state", &packages).unwrap();
    writes.apply_to(&mut alices);
    let (_, state) = hub::begin(created.group_info.as_slice(), created.tree.as_slice()).unwrap();
    (alice, alices, created, state)
}

/// The hub's verdict on what a rule-breaker built.
fn verdict(state: &Bytes, bundle: CommitMessageBundle) -> Option<GroupError> {
    let (commit, welcome, group_info) = bundle.into_messages();
    let welcome = welcome.map(|welcome| encode(&welcome).unwrap());
    let (commit, group_info) = (encode(&commit).unwrap(), encode(&group_info.unwrap()).unwrap());
    let welcome = welcome.as_ref().map(Bytes::as_slice);
    hub::judge(state.as_slice(), commit.as_slice(), welcome, group_info.as_slice()).err()
}

#[test]
fn a_commit_without_a_path_is_refused() {
    let (alice, alices, _, state) = alice_and_hub();
    let (packages, _) = engine(3).key_packages(&Store::new(), 1, false).unwrap();
    let (key_package, _) = public::validate_key_package(packages.first().unwrap().as_slice()).unwrap();
    for path in [true, false] {
        let provider = Provider::new(&alices);
        let bundle = load(&provider, b"group")
            .unwrap()
            .commit_builder()
            .propose_adds([key_package.clone()])
            .force_self_update(path)
            .load_psks(provider.storage())
            .unwrap()
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &alice.signer(), |_| true)
            .unwrap()
            .stage_commit(&provider)
            .unwrap();
        let expected = if path { None } else { Some(GroupError::InvalidCommit) };
        assert_eq!(verdict(&state, bundle), expected, "every commit renews its author's leaf (path: {path})");
    }
}

#[test]
fn a_commit_that_takes_requirements_away_is_refused() {
    let (alice, alices, _, state) = alice_and_hub();
    // One that keeps the extension, which OpenMLS would miss itself, and asks for no kind of credential any more.
    let state_type = ExtensionType::Unknown(super::super::CONV_STATE_EXTENSION);
    let less: Extensions<GroupContext> = Extensions::from_vec(vec![
        Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(&[state_type], &[], &[])),
        configuration::conv_state_extension(b"new"),
    ])
    .unwrap();
    for (extensions, expected) in
        [(context_extensions(b"new").unwrap(), None), (less, Some(GroupError::ForbiddenChange))]
    {
        let provider = Provider::new(&alices);
        let bundle = load(&provider, b"group")
            .unwrap()
            .commit_builder()
            .force_self_update(true)
            .propose_group_context_extensions(extensions)
            .unwrap()
            .load_psks(provider.storage())
            .unwrap()
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &alice.signer(), |_| true)
            .unwrap()
            .stage_commit(&provider)
            .unwrap();
        assert_eq!(verdict(&state, bundle), expected, "the context changes in conv_state alone");
    }
}

#[test]
fn a_member_that_gives_its_leaf_away_is_refused() {
    let (_, alices, _, state) = alice_and_hub();
    let (alice, carol) = (engine(1), engine(3));
    let provider = Provider::new(&alices);
    let signer = carol.signer();
    let bundle = load(&provider, b"group")
        .unwrap()
        .commit_builder()
        .load_psks(provider.storage())
        .unwrap()
        .create_group_info(true)
        .build_with_new_signer(
            provider.rand(),
            provider.crypto(),
            &alice.signer(),
            openmls::credentials::NewSignerBundle { signer: &signer, credential_with_key: carol.credential_with_key() },
            |_| true,
        )
        .unwrap()
        .stage_commit(&provider)
        .unwrap();
    assert_eq!(verdict(&state, bundle), Some(GroupError::DeviceMismatch), "a leaf stays with its device");
}

/// Alice's engine and rows in a group of so many leaves, in an epoch in which nobody spoke.
fn alice_among(leaves: usize) -> (OpenMlsEngine, Store) {
    let (mut alice, mut alices) = (engine(1), Store::new());
    let packages: Vec<Bytes> = (0..leaves - 1)
        .map(|number| {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let key = SecretKey::from_seed(&seed);
            let device = DeviceId::of(&key.public_key());
            let credential = Credential { account: AccountId(seed), device, log_seq: 1 };
            let (mut packages, _) = OpenMlsEngine::new(key, credential).key_packages(&Store::new(), 1, false).unwrap();
            packages.remove(0)
        })
        .collect();
    let mut batches = packages.chunks(super::super::ADDS_MAX);
    let (_, writes) = alice.create(&alices, b"group", b"state", batches.next().unwrap()).unwrap();
    writes.apply_to(&mut alices);
    for add in batches.map(<[Bytes]>::to_vec).chain([Vec::new()]) {
        let change = Change { add, ..Change::default() };
        let (committed, writes) = alice.commit(&alices, b"group", &change).unwrap();
        writes.apply_to(&mut alices);
        let (_, writes) = alice.merge(&alices, b"group", committed.commit.as_slice(), 0).unwrap();
        writes.apply_to(&mut alices);
    }
    (alice, alices)
}

#[test]
fn a_thousand_epochs_of_an_ordinary_group_fit_among_the_copies_of_a_device() {
    // Bytes of a copy, at most, and so the epochs that fit: a copy grows with the leaves.
    for (leaves, bytes_max) in [(3, 16 * 1024), (8, 24 * 1024), (32, 64 * 1024), (100, 192 * 1024)] {
        let (_, alices) = alice_among(leaves);
        let epoch = load(&Provider::new(&alices), b"group").unwrap().epoch().as_u64();
        let mut writes = WriteSet::default();
        let bytes = past_copy::copy(&alices, &mut writes, b"group", epoch).unwrap();
        let fit = super::super::PAST_EPOCHS_BYTES_MAX / bytes;
        println!("{leaves} leaves: a copy has {bytes} bytes, {fit} fit");
        assert!(bytes <= bytes_max, "a copy of {leaves} leaves has {bytes} bytes");
    }
}

/// What a device tells of its group.
fn told(engine: &OpenMlsEngine, rows: &Store) -> (u64, bool, Bytes, Vec<Member>) {
    let pending = engine.has_pending(rows, b"group").unwrap();
    let authenticator = engine.authenticator(rows, b"group").unwrap();
    (engine.epoch(rows, b"group").unwrap(), pending, authenticator, engine.members(rows, b"group").unwrap())
}

/// An engine that has held its group all along says the same as one that reads it from the rows.
fn agrees(engine_of: u8, held: &OpenMlsEngine, rows: &Store) {
    assert_eq!(told(held, rows), told(&engine(engine_of), rows), "what is held is what the rows say");
}

/// A commit as its hub reads it, by the public state alone.
fn publicly(rows: &Store, commit: &[u8]) -> Result<super::super::CommitView, GroupError> {
    let provider = Provider::new(rows);
    let group = openmls::prelude::PublicGroup::load(provider.storage(), &GroupId::from_slice(b"group"));
    super::super::commit_view::advance(&mut group.unwrap().unwrap(), provider.storage(), commit)
        .map(|judged| judged.view)
}

#[test]
fn a_group_that_is_held_is_never_ahead_of_its_rows() {
    let (mut bob, mut bobs, commits) = bob_and_commits(2);
    agrees(2, &bob, &bobs);
    let (first, second) = (commits[0].as_slice(), commits[1].as_slice());
    bob.inspect_commit(&bobs, b"group", first).unwrap();
    let (lost, _) = bob.merge(&bobs, b"group", first, 0).unwrap();
    agrees(2, &bob, &bobs);
    assert_eq!((lost.epoch, bob.epoch(&bobs, b"group")), (2, Ok(1)), "a merge whose writes were lost did not happen");
    let (_, writes) = bob.commit(&bobs, b"group", &Change::default()).unwrap();
    assert_eq!(bob.has_pending(&bobs, b"group"), Ok(false), "nor did a commit");
    writes.apply_to(&mut bobs);
    agrees(2, &bob, &bobs);
    let (_, writes) = bob.merge(&bobs, b"group", first, 0).unwrap();
    writes.apply_to(&mut bobs);
    agrees(2, &bob, &bobs);
    let before = bobs.clone();
    bob.inspect_commit(&bobs, b"group", second).unwrap();
    let (_, writes) = bob.seal(&bobs, b"group", b"between reading a commit and merging it").unwrap();
    writes.apply_to(&mut bobs);
    agrees(2, &bob, &bobs);
    let (_, writes) = bob.merge(&bobs, b"group", second, 0).unwrap();
    writes.apply_to(&mut bobs);
    agrees(2, &bob, &bobs);
    assert_eq!(bob.epoch(&before, b"group"), Ok(2), "rows of an earlier moment are read as they are");
    agrees(2, &bob, &bobs);
    bob.forget(&bobs, b"group").unwrap();
    agrees(2, &bob, &bobs);
}

#[test]
fn members_read_a_commit_as_its_hub_does() {
    let (mut alice, mut bob, mut carol) = (engine(1), engine(2), engine(3));
    let (mut alices, mut bobs, mut carols) = (Store::new(), Store::new(), Store::new());
    let (packages, writes) = bob.key_packages(&bobs, 1, false).unwrap();
    writes.apply_to(&mut bobs);
    let (created, writes) = alice.create(&alices, b"group", b"state", &packages).unwrap();
    writes.apply_to(&mut alices);
    let (_, writes) = bob.join(&bobs, created.welcome.as_slice(), created.tree.as_slice()).unwrap();
    writes.apply_to(&mut bobs);
    let (packages, writes) = carol.key_packages(&carols, 1, false).unwrap();
    writes.apply_to(&mut carols);
    let state = Some(Bytes(b"another state".to_vec()));
    let bobs_device = bob.credential.device;
    for change in [
        Change { add: packages, ..Change::default() },
        Change { conv_state: state, ..Change::default() },
        Change { remove: vec![engine(3).credential.device], ..Change::default() },
        Change { remove: vec![bobs_device], ..Change::default() },
    ] {
        // A leaf may name a later entry of the log.
        alice.credential.log_seq += 1;
        let (made, writes) = alice.commit(&alices, b"group", &change).unwrap();
        let commit = made.commit.as_slice();
        writes.apply_to(&mut alices);
        for (engine, rows, whose) in [(&mut alice, &mut alices, "ours"), (&mut bob, &mut bobs, "another's")] {
            let expected = publicly(rows, commit);
            assert!(expected.is_ok(), "an honest commit stands: {expected:?}");
            assert_eq!(engine.inspect_commit(rows, b"group", commit), expected, "{whose} is read as the hub reads it");
            assert!(
                engine.held.borrow_mut().prepared(rows, b"group", commit).is_some(),
                "without a second look at all of it"
            );
            let (_, writes) = engine.merge(rows, b"group", commit, 0).unwrap();
            writes.apply_to(rows);
        }
        agrees(1, &alice, &alices);
    }
    assert_eq!(bob.authenticator(&bobs, b"group"), Err(GroupError::Removed), "who was removed knows it");
}
