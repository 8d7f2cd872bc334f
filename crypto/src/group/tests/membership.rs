//! Members come, go and renew themselves; commits race.

use super::*;

/// Alice, bob and carol in one group at epoch 2, and its hub.
pub(super) fn three(kind: Kind) -> (Device, Device, Device, Hub) {
    let (mut alice, mut bob, created, _) = pair(kind, b"group");
    let mut hub = Hub::new(kind, &created);
    let mut carol = Device::new(kind, 3);
    let package = carol.key_package(false);
    let committed = alice.commit(&adding(&[package]));
    hub.take(&committed).unwrap();
    alice.merge(&committed.commit).unwrap();
    bob.merge(&committed.commit).unwrap();
    carol.enter(committed.welcome.as_ref().unwrap(), &hub.tree()).unwrap();
    (alice, bob, carol, hub)
}

fn every_change_reaches_everybody(kind: Kind) {
    let (mut alice, mut bob, mut carol, mut hub) = three(kind);
    assert_eq!(carol.epoch(), Ok(2), "carol enters at a later epoch than the first");
    let everybody = vec![alice.member.clone(), bob.member.clone(), carol.member.clone()];
    assert_eq!(carol.members(), Ok(everybody.clone()), "and sees everybody");

    let renewed = bob.commit(&Change::default());
    let view = hub.take(&renewed).unwrap();
    assert_eq!((view.epoch, &view.committer), (3, &bob.member), "an empty change renews its author");
    assert_eq!((view.added.len(), view.removed.len(), view.updated.len()), (0, 0, 0), "and changes nobody");
    for device in [&mut alice, &mut bob, &mut carol] {
        assert_eq!(device.inspect(&renewed.commit).as_ref(), Ok(&view), "members read what the hub read");
        let merged = device.merge(&renewed.commit);
        assert_eq!(merged, Ok(Merged { epoch: 3, removed_us: false }), "everybody follows");
    }

    let state = Change { conv_state: Some(Bytes(b"another state".to_vec())), ..Change::default() };
    let committed = carol.commit(&state);
    assert_eq!(hub.take(&committed).unwrap().conv_state.as_slice(), b"another state", "the hub sees the new state");
    for device in [&mut alice, &mut bob, &mut carol] {
        device.merge(&committed.commit).unwrap();
        let agreed = device.engine.conv_state(&device.rows, b"group").unwrap();
        assert_eq!(agreed.as_slice(), b"another state", "all agree on the new state");
    }

    let mut dave = Device::new(kind, 4);
    let change = Change { remove: vec![bob.id()], ..adding(&[dave.key_package(false)]) };
    let committed = alice.commit(&change);
    let view = hub.take(&committed).unwrap();
    assert_eq!((view.added, view.removed), (vec![dave.member.clone()], vec![bob.member.clone()]), "both in one commit");
    for device in [&mut alice, &mut carol] {
        device.merge(&committed.commit).unwrap();
    }
    dave.enter(committed.welcome.as_ref().unwrap(), &hub.tree()).unwrap();
    let left = vec![alice.member.clone(), dave.member.clone(), carol.member.clone()];
    assert_eq!(dave.members(), Ok(left), "dave has bob's leaf");
    let sealed = dave.seal(b"group", b"hello");
    for device in [&mut alice, &mut carol] {
        assert_eq!(device.open(b"group", &sealed).unwrap().plaintext, b"hello", "those who stayed read dave");
    }
}

fn of_two_commits_the_loser_drops_its_own(kind: Kind) {
    let (mut alice, mut bob, mut carol, mut hub) = three(kind);
    let (first, second) = (alice.commit(&Change::default()), bob.commit(&removing(&[carol.id()])));
    assert!(alice.has_pending() && bob.has_pending(), "both wait for the hub");
    hub.take(&first).unwrap();
    let late = hub.judge(&second).map(|(view, _)| view);
    assert_eq!(late, Err(GroupError::WrongEpoch { expected: 3, got: 2 }), "the second is too late");
    for device in [&mut alice, &mut bob, &mut carol] {
        device.merge(&first.commit).unwrap();
        assert!(!device.has_pending(), "the winner's is merged, the loser's dropped");
    }
    let again = bob.commit(&removing(&[carol.id()]));
    hub.take(&again).unwrap();
    alice.merge(&again.commit).unwrap();
    bob.merge(&again.commit).unwrap();
    assert_eq!(carol.merge(&again.commit), Ok(Merged { epoch: 4, removed_us: true }), "built anew it stands");
}

fn a_pending_commit_survives_a_restart(kind: Kind) {
    let (mut alice, bob, _, mut hub) = three(kind);
    let committed = alice.commit(&removing(&[bob.id()]));
    hub.take(&committed).unwrap();
    let again = alice.try_commit(&Change::default());
    assert_eq!(again.map(|committed| committed.epoch), Err(GroupError::PendingCommit), "one at a time");
    let sealed = alice.seal(b"group", b"meanwhile");
    let mut restarted = Device { rows: alice.rows, ..Device::new(kind, 1) };
    assert_eq!(restarted.epoch(), Ok(2), "until it is merged its author stays in the old epoch");
    let mut bob = bob;
    assert_eq!(bob.open(b"group", &sealed).unwrap().epoch, 2, "and talks in it");
    restarted.merge(&committed.commit).expect("another process knows its own commit again");
    assert_eq!(restarted.epoch(), Ok(3), "and follows it");
}

fn a_lost_pending_commit_asks_for_a_rejoin(kind: Kind) {
    let (mut alice, mut bob, _, mut hub) = three(kind);
    let committed = alice.commit(&Change::default());
    alice.drop_pending();
    assert!(!alice.has_pending(), "the commit was given up");
    assert!(
        alice.engine.drop_pending(&alice.rows, b"group").unwrap().0.is_empty(),
        "nothing to drop, nothing to write"
    );
    hub.take(&committed).unwrap();
    bob.merge(&committed.commit).expect("the others follow it");
    assert!(alice.inspect(&committed.commit).is_ok(), "it can still be read");
    let before = alice.rows.clone();
    assert_eq!(alice.merge(&committed.commit), Err(GroupError::RejoinNeeded), "its author cannot follow any more");
    assert_eq!(alice.rows, before, "and is told so before anything changes");
}

fn a_removed_device_keeps_what_it_had(kind: Kind) {
    let (mut alice, mut bob, mut carol, mut hub) = three(kind);
    let late = alice.seal(b"group", b"before you go");
    let committed = alice.commit(&removing(&[bob.id()]));
    hub.take(&committed).unwrap();
    alice.merge(&committed.commit).unwrap();
    carol.merge(&committed.commit).unwrap();
    let newer = alice.seal(b"group", b"after you went");
    assert_eq!(bob.merge(&committed.commit), Ok(Merged { epoch: 3, removed_us: true }), "bob learns it");
    assert_eq!(bob.open(b"group", &newer), Err(GroupError::Removed), "bob opens nothing newer");
    assert_eq!(bob.open(b"group", &late).unwrap().plaintext, b"before you go", "but late messages of his time");
    assert_eq!(bob.open(b"group", &late), Err(GroupError::AlreadyOpened), "each once");
    assert_eq!(bob.members(), Ok(vec![alice.member.clone(), carol.member.clone()]), "he knows who is left");
    assert_eq!(bob.engine.seal(&bob.rows, b"group", b"x").err(), Some(GroupError::Removed), "he cannot talk");
    assert_eq!(bob.try_commit(&Change::default()).err(), Some(GroupError::Removed), "nor commit");
    let next = carol.commit(&adding(&[bob.key_package(false)]));
    hub.take(&next).unwrap();
    assert_eq!(bob.merge(&next.commit), Err(GroupError::Removed), "nor follow");
    carol.merge(&next.commit).unwrap();
    alice.merge(&next.commit).unwrap();
    bob.enter(next.welcome.as_ref().unwrap(), &hub.tree()).expect("he may be added again");
    let back = bob.seal(b"group", b"back");
    assert_eq!(alice.open(b"group", &back).unwrap().plaintext, b"back", "and is heard");
    assert_eq!(bob.open(b"group", &newer), Err(GroupError::EpochGone { epoch: 3 }), "the time between stays closed");
    let writes = bob.engine.forget(&bob.rows, b"group").unwrap();
    writes.apply_to(&mut bob.rows);
    let left: Vec<_> = bob.rows.keys().filter(|key| !key.starts_with(b"symbolic/counter")).collect();
    assert!(left.is_empty(), "a forgotten group leaves no row, kept epochs included, found {left:?}");
}

fn a_change_that_cannot_be_is_refused(kind: Kind) {
    let (mut alice, mut bob, ..) = three(kind);
    let (own, stranger) = (alice.id(), Device::new(kind, 9).id());
    assert_eq!(alice.try_commit(&removing(&[own])).err(), Some(GroupError::RemovesSelf), "nobody removes itself");
    assert_eq!(alice.try_commit(&removing(&[stranger])).err(), Some(GroupError::NotMember), "nor who is not there");
    let package = bob.key_package(false);
    let refused = alice.try_commit(&adding(std::slice::from_ref(&package))).err();
    assert_eq!(refused, Some(GroupError::DuplicateMember), "a device is in a group once");
    let exchange = Change { remove: vec![bob.id()], ..adding(&[package]) };
    assert_eq!(alice.try_commit(&exchange).err(), Some(GroupError::DuplicateMember), "also within one commit");
    let many = adding(&vec![Bytes::default(); ADDS_MAX + 1]);
    let refused = alice.try_commit(&many).err();
    assert_eq!(refused, Some(GroupError::TooMany { max: ADDS_MAX, got: ADDS_MAX + 1 }), "fifty at a time");
    let long = Change { conv_state: Some(Bytes(vec![0; CONV_STATE_MAX_BYTES + 1])), ..Change::default() };
    let (part, max, got) = (Part::ConvState, CONV_STATE_MAX_BYTES, CONV_STATE_MAX_BYTES + 1);
    assert_eq!(alice.try_commit(&long).err(), Some(GroupError::TooLong { part, max, got }), "the state has a bound");
    assert!(!alice.has_pending(), "what is refused leaves nothing behind");
    let sealed = alice.seal(b"group", b"no commit");
    assert!(bob.merge(&sealed).is_err(), "a message is no commit");
}

fn a_commit_brings_a_newer_credential(kind: Kind) {
    let (alice, mut bob, ..) = three(kind);
    let mut later = Device { rows: alice.rows, ..Device::with(kind, [1; 32], 7, Bounds::PRODUCT) };
    let committed = later.commit(&Change::default());
    let view = bob.inspect(&committed.commit).unwrap();
    assert_eq!(view.updated, vec![later.member.clone()], "the leaf names a later log entry");
    assert_eq!(view.committer.credential.log_seq, 7, "so does the committer");
    bob.merge(&committed.commit).unwrap();
    assert!(bob.members().unwrap().contains(&later.member), "and the group from then on");
}

on_both! {
    every_change_reaches_everybody
    of_two_commits_the_loser_drops_its_own
    a_pending_commit_survives_a_restart
    a_lost_pending_commit_asks_for_a_rejoin
    a_removed_device_keeps_what_it_had
    a_change_that_cannot_be_is_refused
    a_commit_brings_a_newer_credential
}

#[test]
fn three_hundred_leaves() {
    let kind = Kind::OpenMls;
    let device = |n: usize| {
        let mut seed = [0xA5; 32];
        seed[..2].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
        Device::with(kind, seed, 1, Bounds::PRODUCT)
    };
    let packages: Vec<Bytes> = (1..=MEMBERS_MAX).map(|n| device(n).key_package(false)).collect();
    let (mut alice, mut bob) = (Device::new(kind, 1), Device::new(kind, 2));
    let created = alice.create(b"group", &[bob.key_package(false)]);
    bob.join(&created);
    let mut hub = Hub::new(kind, &created);
    for chunk in packages[..MEMBERS_MAX - 2].chunks(ADDS_MAX) {
        let committed = alice.commit(&adding(chunk));
        assert!(committed.welcome.is_some(), "fifty joiners fit one Welcome");
        hub.take(&committed).unwrap();
        alice.merge(&committed.commit).unwrap();
        bob.merge(&committed.commit).unwrap();
    }
    assert_eq!(bob.members().unwrap().len(), MEMBERS_MAX, "the group is full");
    let one_more = alice.try_commit(&adding(&packages[MEMBERS_MAX - 1..])).err();
    assert_eq!(one_more, Some(GroupError::TooMany { max: MEMBERS_MAX, got: MEMBERS_MAX + 1 }), "and takes no more");
    let late = alice.seal(b"group", b"late");
    let committed = bob.commit(&Change::default());
    hub.take(&committed).unwrap();
    bob.merge(&committed.commit).unwrap();
    alice.merge(&committed.commit).unwrap();
    assert_eq!(bob.open(b"group", &late).unwrap().plaintext, b"late", "its copies open late messages, too");
}
