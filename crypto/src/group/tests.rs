//! One suite of stories for both engines, through the trait.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::past_epochs::Bounds;
use super::*;
use crate::keys::SecretKey;
use devices::*;

mod devices;

fn both_talk(kind: Kind) {
    let (mut alice, mut bob, created, joined) = pair(kind, b"group");
    assert_eq!((joined.epoch, &joined.group_id), (created.epoch, &created.group_id), "bob enters what alice made");
    assert_eq!(joined.conv_state.as_slice(), b"conv state", "the conversation's state is part of the group");
    assert_eq!(joined.members, vec![alice.member.clone(), bob.member.clone()], "members are in leaf order");
    let hello = alice.seal(b"group", b"hello bob");
    let opened = bob.open(b"group", &hello).unwrap();
    assert_eq!(
        (opened.plaintext.as_slice(), &opened.sender),
        (&b"hello bob"[..], &alice.member.credential),
        "bob reads alice"
    );
    let answer = bob.seal(b"group", b"hello alice");
    let opened = alice.open(b"group", &answer).unwrap();
    assert_eq!((opened.plaintext.as_slice(), opened.epoch), (&b"hello alice"[..], 1), "alice reads bob");
}

fn a_hundred_out_of_order(kind: Kind) {
    let (mut alice, mut bob, ..) = pair(kind, b"group");
    let sealed: Vec<Bytes> = (0..100_u8).map(|n| alice.seal(b"group", &[n])).collect();
    // 37 has no common divisor with 100: every message once, in a fixed disorder.
    for step in 0..100_usize {
        let n = (step * 37 + 99) % 100;
        let opened = bob.open(b"group", &sealed[n]).unwrap();
        assert_eq!(opened.plaintext, vec![u8::try_from(n).unwrap()], "a message opens wherever it comes in the order");
    }
}

fn the_window_has_two_ends(kind: Kind) {
    let (mut alice, mut bob, ..) = pair(kind, b"group");
    let last = usize::try_from(FORWARD_DISTANCE_MAX).unwrap() + 1;
    let sealed: Vec<Bytes> = (0..=last).map(|_| alice.seal(b"group", b"x")).collect();
    assert_eq!(bob.open(b"group", &sealed[last]), Err(GroupError::TooFarAhead), "one beyond the window waits");
    bob.open(b"group", &sealed[last - 1]).expect("the last of the window opens");
    bob.open(b"group", &sealed[1]).expect("as far behind as tolerated opens");
    assert_eq!(bob.open(b"group", &sealed[0]), Err(GroupError::TooOld), "one further behind is lost");
    bob.open(b"group", &sealed[last]).expect("what was too far ahead opens once the window has moved");
}

fn a_repeated_message_is_refused(kind: Kind) {
    let (mut alice, mut bob, ..) = pair(kind, b"group");
    let first = alice.seal(b"group", b"first");
    let second = alice.seal(b"group", b"second");
    bob.open(b"group", &first).unwrap();
    let before = bob.rows.clone();
    assert_eq!(bob.open(b"group", &first), Err(GroupError::AlreadyOpened), "the newest message opens once");
    assert_eq!(bob.rows, before, "a refusal changes nothing");
    bob.open(b"group", &second).unwrap();
    assert_eq!(bob.open(b"group", &first), Err(GroupError::AlreadyOpened), "an older message opens once, too");
    assert_eq!(alice.open(b"group", &first), Err(GroupError::OwnMessage), "a sender does not open its own message");
}

fn a_message_belongs_to_one_group(kind: Kind) {
    let (mut alice, mut bob, ..) = pair(kind, b"group");
    let package = bob.key_package(false);
    let other = alice.create(b"other", &[package]);
    bob.join(&other);
    let sealed = alice.seal(b"group", b"for the group");
    assert_eq!(bob.open(b"other", &sealed), Err(GroupError::WrongGroup), "a message is of one group");
    assert_eq!(bob.open(b"third", &sealed), Err(GroupError::UnknownGroup), "a group without rows is unknown");
    let mut eve = Device::new(kind, 9);
    assert_eq!(eve.open(b"group", &sealed), Err(GroupError::UnknownGroup), "eve is no member");
    let twin = Device::new(kind, 8).key_package(false);
    eve.create(b"group", &[twin]);
    let foreign = eve.seal(b"group", b"from another group of the same id");
    assert_eq!(bob.open(b"group", &foreign), Err(GroupError::Undecryptable), "the id alone does not make a member");
    bob.open(b"group", &sealed).expect("refusals did not spoil the honest message");
}

fn a_forgotten_group_leaves_no_row(kind: Kind) {
    let (mut alice, mut bob, ..) = pair(kind, b"group");
    let sealed = alice.seal(b"group", b"too late");
    let writes = bob.engine.forget(&bob.rows, b"group").unwrap();
    writes.apply_to(&mut bob.rows);
    assert_eq!(bob.open(b"group", &sealed), Err(GroupError::UnknownGroup), "what is forgotten opens nothing");
    let left: Vec<_> = bob.rows.keys().filter(|key| !key.starts_with(b"symbolic/counter")).collect();
    assert!(left.is_empty(), "no secret of the group stays behind, found {} rows", left.len());
    assert_eq!(bob.engine.forget(&bob.rows, b"group"), Err(GroupError::UnknownGroup), "forgetting twice is told");
}

fn a_dropped_write_set_undoes_the_call(kind: Kind) {
    let (mut alice, mut bob) = (Device::new(kind, 1), Device::new(kind, 2));
    let package = bob.key_package(false);
    let dropped = alice.engine.create(&alice.rows, b"group", b"conv state", std::slice::from_ref(&package));
    assert!(dropped.is_ok() && alice.rows.is_empty(), "a creation writes nothing by itself");
    let created = alice.create(b"group", &[package]);
    let (first, _) = bob.engine.join(&bob.rows, created.welcome.as_slice(), created.tree.as_slice()).unwrap();
    assert_eq!(bob.join(&created), first, "a join whose writes were lost can be repeated");
    let sealed = alice.seal(b"group", b"once");
    let (lost, _) = bob.engine.open(&bob.rows, b"group", sealed.as_slice()).unwrap();
    let kept = bob.open(b"group", &sealed).expect("a message whose writes were lost can be opened again");
    assert_eq!(lost, kept, "and says the same");
    assert_eq!(bob.open(b"group", &sealed), Err(GroupError::AlreadyOpened), "once the writes are kept, it is gone");
}

fn a_key_package_serves_once_unless_last_resort(kind: Kind) {
    let (mut alice, mut bob) = (Device::new(kind, 1), Device::new(kind, 2));
    let (once, last) = (bob.key_package(false), bob.key_package(true));
    let info = kind.inspect_key_package(last.as_slice()).unwrap();
    assert_eq!((&info.member, info.last_resort), (&bob.member, true), "a key package says whose it is");
    assert!(!kind.inspect_key_package(once.as_slice()).unwrap().last_resort, "and whether it serves several joins");
    bob.join(&alice.create(b"one", std::slice::from_ref(&once)));
    let again = alice.create(b"two", &[once]);
    let refused = bob.engine.join(&bob.rows, again.welcome.as_slice(), again.tree.as_slice());
    assert_eq!(refused.map(|(joined, _)| joined), Err(GroupError::NoKeyPackage), "a key package serves one join");
    bob.join(&alice.create(b"three", std::slice::from_ref(&last)));
    bob.join(&alice.create(b"four", &[last]));
    let sealed = alice.seal(b"four", b"still here");
    assert_eq!(bob.open(b"four", &sealed).unwrap().plaintext, b"still here", "one of last resort serves several");
}

fn a_hub_sees_what_the_members_see(kind: Kind) {
    let (alice, bob, created, joined) = pair(kind, b"group");
    let view = kind.inspect_creation(created.group_info.as_slice(), created.tree.as_slice()).unwrap();
    assert_eq!((view.group_id.as_slice(), view.epoch), (&b"group"[..], created.epoch), "the hub reads id and epoch");
    assert_eq!(view.conv_state, joined.conv_state, "the hub reads the state that members agree on");
    assert_eq!(view.members, alice.engine.members(&alice.rows, b"group").unwrap(), "the hub sees alice's members");
    assert_eq!(view.members, bob.engine.members(&bob.rows, b"group").unwrap(), "and bob's");
    let mut alice = alice;
    let package = Device::new(kind, 3).key_package(false);
    let other = alice.create(b"other", &[package]);
    let mixed = kind.inspect_creation(created.group_info.as_slice(), other.tree.as_slice());
    assert_eq!(mixed, Err(GroupError::InvalidGroupInfo), "a GroupInfo goes with its own tree only");
}

/// Every tenth byte, damaged in turn.
fn damaged(bytes: &Bytes) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len()).step_by(10).map(|at| {
        let mut copy = bytes.0.clone();
        copy[at] ^= 0x01;
        copy
    })
}

fn damage_is_refused(kind: Kind) {
    let (mut alice, mut bob) = (Device::new(kind, 1), Device::new(kind, 2));
    let package = bob.key_package(false);
    for copy in damaged(&package) {
        assert!(kind.inspect_key_package(&copy).is_err(), "a damaged key package is refused");
        assert!(alice.engine.create(&alice.rows, b"g", b"", &[Bytes(copy)]).is_err(), "and never added");
    }
    let created = alice.create(b"group", &[package]);
    for copy in damaged(&created.group_info) {
        // The confirmation tag is within the signed part; so no byte of a GroupInfo is free.
        assert!(kind.inspect_creation(&copy, created.tree.as_slice()).is_err(), "a damaged GroupInfo is refused");
    }
    for copy in damaged(&created.tree) {
        assert!(kind.inspect_creation(created.group_info.as_slice(), &copy).is_err(), "a damaged tree is refused");
        assert!(bob.engine.join(&bob.rows, created.welcome.as_slice(), &copy).is_err(), "and by the joiner, too");
    }
    for copy in damaged(&created.welcome) {
        assert!(bob.engine.join(&bob.rows, &copy, created.tree.as_slice()).is_err(), "a damaged Welcome is refused");
    }
    bob.join(&created);
    let sealed = alice.seal(b"group", b"hello");
    for copy in damaged(&sealed) {
        assert!(bob.open(b"group", &Bytes(copy)).is_err(), "a damaged message is refused");
    }
    bob.open(b"group", &sealed).expect("damaged copies do not spoil the honest message");
    let mut longer = sealed.0.clone();
    longer.push(0);
    let trailing = bob.open(b"group", &Bytes(longer));
    assert_eq!(trailing, Err(GroupError::Malformed(Part::Ciphertext)), "nothing may follow a message");
}

fn bounds_hold(kind: Kind) {
    let (mut alice, mut bob, created, _) = pair(kind, b"group");
    let long = |part, max, got| Some(GroupError::TooLong { part, max, got });
    let most = vec![7; PLAINTEXT_MAX_BYTES];
    let sealed = alice.seal(b"group", &most);
    assert!(sealed.len() <= CIPHERTEXT_MAX_BYTES, "the longest plaintext fits, got {} bytes", sealed.len());
    assert_eq!(bob.open(b"group", &sealed).unwrap().plaintext, most, "and opens");
    let refused = alice.engine.seal(&alice.rows, b"group", &vec![7; PLAINTEXT_MAX_BYTES + 1]).err();
    assert_eq!(refused, long(Part::Plaintext, PLAINTEXT_MAX_BYTES, PLAINTEXT_MAX_BYTES + 1), "one byte more does not");
    let refused = bob.open(b"group", &Bytes(vec![0; CIPHERTEXT_MAX_BYTES + 1])).err();
    assert_eq!(refused, long(Part::Ciphertext, CIPHERTEXT_MAX_BYTES, CIPHERTEXT_MAX_BYTES + 1), "length comes first");
    let refused = kind.inspect_key_package(&vec![0; KEY_PACKAGE_MAX_BYTES + 1]).err();
    assert_eq!(refused, long(Part::KeyPackage, KEY_PACKAGE_MAX_BYTES, KEY_PACKAGE_MAX_BYTES + 1), "key packages, too");
    let refused = kind.inspect_creation(created.group_info.as_slice(), &vec![0; TREE_MAX_BYTES + 1]).err();
    assert_eq!(refused, long(Part::Tree, TREE_MAX_BYTES, TREE_MAX_BYTES + 1), "trees, too");
    let refused = bob.engine.join(&bob.rows, &vec![0; WELCOME_MAX_BYTES + 1], &[]).err();
    assert_eq!(refused, long(Part::Welcome, WELCOME_MAX_BYTES, WELCOME_MAX_BYTES + 1), "Welcomes, too");
    let refused = alice.engine.create(&alice.rows, b"alone", b"", &[]).err();
    assert_eq!(refused, Some(GroupError::NoAdds), "a group of one is not made");
    let (one, two, three) = (bob.key_package(false), bob.key_package(false), bob.key_package(false));
    let refused = alice.engine.create(&alice.rows, b"twice", b"", &[one, two]).err();
    assert_eq!(refused, Some(GroupError::DuplicateMember), "a device is in a group once");
    let refused = alice.engine.create(&alice.rows, b"group", b"", &[three]).err();
    assert_eq!(refused, Some(GroupError::GroupExists), "a group is made once");
}

/// Runs each story on both engines.
macro_rules! on_both {
    ($($story:ident)+) => {
        mod openmls_engine {
            $(#[test] fn $story() { super::$story(super::Kind::OpenMls); })+
        }
        mod symbolic_engine {
            $(#[test] fn $story() { super::$story(super::Kind::Symbolic); })+
        }
    };
}

on_both! {
    both_talk
    a_hundred_out_of_order
    the_window_has_two_ends
    a_repeated_message_is_refused
    a_message_belongs_to_one_group
    a_forgotten_group_leaves_no_row
    a_dropped_write_set_undoes_the_call
    a_key_package_serves_once_unless_last_resort
    a_hub_sees_what_the_members_see
    damage_is_refused
    bounds_hold
}

mod agreement;
mod hub;
mod late;
mod membership;
mod rejoin;
mod whispers;

#[test]
fn the_symbolic_twin_repeats_byte_by_byte() {
    let run = || {
        let (mut alice, bob, created, _) = pair(Kind::Symbolic, b"group");
        (alice.seal(b"group", b"hello"), created, alice.rows, bob.rows)
    };
    assert!(run() == run(), "equal seeds and calls give equal bytes and rows");
}

#[test]
fn a_real_hub_refuses_the_twins_objects() {
    let (.., created, _) = pair(Kind::Symbolic, b"group");
    let refused = inspect_creation(created.group_info.as_slice(), created.tree.as_slice());
    assert!(refused.is_err(), "objects without mathematics never pass for real ones");
    let package = Device::new(Kind::Symbolic, 3).key_package(false);
    let refused = inspect_key_package(package.as_slice());
    assert_eq!(refused, Err(GroupError::Malformed(Part::KeyPackage)), "nor do its key packages");
}

#[test]
fn a_credential_that_names_another_device_is_refused() {
    let mut eve = Device::new(Kind::OpenMls, 9);
    let bob = Device::new(Kind::OpenMls, 2);
    eve.engine = Box::new(OpenMlsEngine::new(SecretKey::from_seed(&[9; 32]), bob.member.credential));
    let package = eve.key_package(false);
    let refused = inspect_key_package(package.as_slice());
    assert_eq!(refused, Err(GroupError::DeviceMismatch), "eve signs with her key and claims to be bob's device");
}
