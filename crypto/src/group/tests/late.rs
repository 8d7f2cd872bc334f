//! Late messages, and when they come too late.

use super::membership::three;
use super::*;

/// Alice commits without change, and both merge at `now`.
fn next_epoch(alice: &mut Device, bob: &mut Device, now: u64) {
    let committed = alice.commit(&Change::default());
    alice.merge_at(&committed.commit, now).unwrap();
    bob.merge_at(&committed.commit, now).unwrap();
}

fn late_messages_open_by_copies(kind: Kind) {
    let (mut alice, mut bob, ..) = pair(kind, b"group");
    let mut sealed = Vec::new();
    for n in 0..8_u8 {
        sealed.push(alice.seal(b"group", &[n, 0]));
        sealed.push(alice.seal(b"group", &[n, 1]));
        next_epoch(&mut alice, &mut bob, 0);
    }
    let own = bob.seal(b"group", b"own");
    next_epoch(&mut alice, &mut bob, 0);
    for (index, message) in sealed.iter().enumerate().rev() {
        let opened = bob.open(b"group", message).unwrap();
        let n = u8::try_from(index).unwrap();
        assert_eq!(opened.plaintext, vec![n / 2, n % 2], "a message opens however many epochs back it is");
        assert_eq!((opened.epoch, &opened.sender), (u64::from(n / 2) + 1, &alice.member.credential), "and says when");
        assert_eq!(bob.open(b"group", message), Err(GroupError::AlreadyOpened), "a copy opens each once");
    }
    assert_eq!(bob.open(b"group", &own), Err(GroupError::OwnMessage), "own messages stay closed in copies, too");
    let mut damaged = sealed[0].0.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(bob.open(b"group", &Bytes(damaged)).is_err(), "damage is refused in copies, too");
}

fn before_the_join_nothing_opens(kind: Kind) {
    let (mut alice, mut bob, mut hub) = {
        let (alice, bob, created, _) = pair(kind, b"group");
        let hub = Hub::new(kind, &created);
        (alice, bob, hub)
    };
    let early = alice.seal(b"group", b"early");
    let mut carol = Device::new(kind, 3);
    let committed = alice.commit(&adding(&[carol.key_package(false)]));
    hub.take(&committed).unwrap();
    alice.merge(&committed.commit).unwrap();
    let ahead = alice.seal(b"group", b"ahead");
    let refused = bob.open(b"group", &ahead);
    assert_eq!(refused, Err(GroupError::WrongEpoch { expected: 1, got: 2 }), "a later epoch waits for its commit");
    bob.merge(&committed.commit).unwrap();
    carol.enter(committed.welcome.as_ref().unwrap(), &hub.tree()).unwrap();
    assert_eq!(carol.open(b"group", &early), Err(GroupError::EpochGone { epoch: 1 }), "what was before is closed");
    assert_eq!(bob.open(b"group", &early).unwrap().plaintext, b"early", "bob was there");
}

fn copies_go_by_age(kind: Kind) {
    let (mut alice, mut bob, ..) = pair(kind, b"group");
    let first = alice.seal(b"group", b"1");
    next_epoch(&mut alice, &mut bob, 1_000);
    let second = alice.seal(b"group", b"2");
    next_epoch(&mut alice, &mut bob, 1_000 + PAST_EPOCH_MS);
    bob.rows = {
        let kept = bob.rows.clone();
        assert!(bob.open(b"group", &first).is_ok(), "to the last moment a copy opens");
        kept
    };
    next_epoch(&mut alice, &mut bob, 1_001 + PAST_EPOCH_MS);
    assert_eq!(bob.open(b"group", &first), Err(GroupError::EpochGone { epoch: 1 }), "then it is gone");
    assert!(bob.open(b"group", &second).is_ok(), "the younger one is not");
}

fn copies_go_by_number_and_by_bytes(kind: Kind) {
    let few = Bounds { copies: 2, ..Bounds::PRODUCT };
    let small = Bounds { bytes: 1, ..Bounds::PRODUCT };
    for (bounds, kept) in [(few, 2), (small, 0)] {
        let (mut alice, mut bob) = (Device::new(kind, 1), Device::with(kind, [2; 32], 1, bounds));
        let package = bob.key_package(false);
        bob.join(&alice.create(b"group", &[package]));
        let mut sealed = Vec::new();
        let mut sizes = Vec::new();
        for _ in 0..4 {
            sealed.push(alice.seal(b"group", b"late"));
            next_epoch(&mut alice, &mut bob, 0);
            sizes.push(bob.rows.len());
        }
        let opened: Vec<bool> = sealed.iter().map(|message| bob.open(b"group", message).is_ok()).collect();
        let expected: Vec<bool> = (0..4).map(|n| n >= 4 - kept).collect();
        assert_eq!(opened, expected, "the newest {kept} copies are kept");
        assert_eq!(sizes[2], sizes[3], "and no row of the others stays");
    }
}

fn a_late_message_of_a_removed_member_opens(kind: Kind) {
    let (mut alice, mut bob, mut carol, _) = three(kind);
    let last = carol.seal(b"group", b"my last words");
    let committed = alice.commit(&removing(&[carol.id()]));
    bob.merge(&committed.commit).unwrap();
    assert_eq!(bob.open(b"group", &last).unwrap().sender, carol.member.credential, "she was a member when she spoke");
    let after = carol.seal(b"group", b"she does not know yet");
    assert!(bob.open(b"group", &after).is_ok(), "the epoch decides, not the time");
}

on_both! {
    late_messages_open_by_copies
    before_the_join_nothing_opens
    copies_go_by_age
    copies_go_by_number_and_by_bytes
    a_late_message_of_a_removed_member_opens
}
