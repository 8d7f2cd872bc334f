//! A device comes back by an external commit.

use super::membership::three;
use super::*;

fn a_device_that_lost_its_state_comes_back(kind: Kind) {
    let (mut alice, mut bob, mut carol, mut hub) = three(kind);
    bob.rows.clear();
    let committed = bob.rejoin(&hub.group_info, &hub.tree()).unwrap();
    assert!(bob.has_pending(), "it waits for the hub");
    assert_eq!(bob.epoch(), Err(GroupError::UnknownGroup), "until then there is no state");
    let again = bob.rejoin(&hub.group_info, &hub.tree());
    assert_eq!(again.err(), Some(GroupError::PendingCommit), "one attempt at a time");
    let view = hub.take(&committed).unwrap();
    assert_eq!((view.external, view.epoch), (true, 3), "the hub sees how he came");
    assert_eq!((&view.committer, &view.removed), (&bob.member, &vec![bob.member.clone()]), "in place of his old leaf");
    assert_eq!(bob.inspect(&committed.commit).as_ref(), Ok(&view), "bob reads it himself");
    for device in [&mut alice, &mut bob, &mut carol] {
        let merged = device.merge(&committed.commit);
        assert_eq!(merged, Ok(Merged { epoch: 3, removed_us: false }), "everybody follows");
    }
    assert_eq!(bob.members(), alice.members(), "all see the same members");
    assert_eq!(bob.members().unwrap().len(), 3, "bob is there once");
    let sealed = bob.seal(b"group", b"here again");
    assert_eq!(carol.open(b"group", &sealed).unwrap().plaintext, b"here again", "bob is heard");
    let next = bob.commit(&Change::default());
    hub.take(&next).unwrap();
    for device in [&mut alice, &mut bob, &mut carol] {
        device.merge(&next.commit).expect("and commits as any member");
    }
}

fn a_device_that_is_behind_comes_back(kind: Kind) {
    let (mut alice, mut bob, mut carol, mut hub) = three(kind);
    let early = alice.seal(b"group", b"early");
    for device in [&mut alice, &mut carol] {
        device.drop_pending();
    }
    let missed = alice.commit(&Change::default());
    hub.take(&missed).unwrap();
    alice.merge(&missed.commit).unwrap();
    carol.merge(&missed.commit).unwrap();
    let between = alice.seal(b"group", b"between");
    let committed = bob.rejoin(&hub.group_info, &hub.tree()).unwrap();
    assert_eq!(bob.epoch(), Ok(2), "what there is stays until the hub has answered");
    assert_eq!(bob.try_commit(&Change::default()).err(), Some(GroupError::PendingCommit), "and commits nothing");
    hub.take(&committed).unwrap();
    alice.merge(&committed.commit).unwrap();
    assert_eq!(bob.merge(&committed.commit), Ok(Merged { epoch: 4, removed_us: false }), "bob jumps");
    assert_eq!(bob.open(b"group", &early).unwrap().plaintext, b"early", "his old epoch is kept");
    assert_eq!(bob.open(b"group", &between), Err(GroupError::EpochGone { epoch: 3 }), "what he jumped over is closed");
    let sealed = alice.seal(b"group", b"now");
    assert_eq!(bob.open(b"group", &sealed).unwrap().plaintext, b"now", "and he reads on");
}

fn a_rejoin_that_lost_its_race_is_made_anew(kind: Kind) {
    let (mut alice, mut bob, mut carol, mut hub) = three(kind);
    bob.rows.clear();
    bob.rejoin(&hub.group_info, &hub.tree()).unwrap();
    let winner = alice.commit(&Change::default());
    hub.take(&winner).unwrap();
    alice.merge(&winner.commit).unwrap();
    carol.merge(&winner.commit).unwrap();
    assert_eq!(bob.merge(&winner.commit), Err(GroupError::RejoinNeeded), "without state no commit can be followed");
    bob.drop_pending();
    let committed = bob.rejoin(&hub.group_info, &hub.tree()).unwrap();
    let attempt = carol.rejoin(&hub.group_info, &hub.tree());
    assert!(attempt.is_ok(), "carol believes that she cannot follow");
    hub.take(&committed).unwrap();
    bob.merge(&committed.commit).unwrap();
    alice.merge(&committed.commit).unwrap();
    assert_eq!(bob.epoch(), alice.epoch(), "the second attempt stands");
    carol.merge(&committed.commit).expect("yet carol can follow after all");
    assert!(!carol.has_pending(), "which ends her attempt");
    assert_eq!(carol.members(), bob.members(), "and brings her to the others");
}

fn an_external_commit_of_ours_that_is_not_pending_asks_again(kind: Kind) {
    let (_, mut bob, _, hub) = three(kind);
    let committed = bob.rejoin(&hub.group_info, &hub.tree()).unwrap();
    bob.drop_pending();
    assert_eq!(bob.merge(&committed.commit), Err(GroupError::RejoinNeeded), "its keys are gone: not a removal");
}

fn nobody_comes_back_by_a_wrong_tree(kind: Kind) {
    let (_, mut bob, created, _) = pair(kind, b"group");
    let mut eve = Device::new(kind, 9);
    let foreign = eve.create(b"group", &[Device::new(kind, 8).key_package(false)]);
    let mixed = bob.rejoin(&created.group_info, &foreign.tree);
    assert_eq!(mixed.err(), Some(GroupError::InvalidGroupInfo), "GroupInfo and tree belong together");
    for copy in damaged(&created.group_info) {
        assert!(bob.rejoin(&Bytes(copy), &created.tree).is_err(), "a damaged GroupInfo leads nowhere");
    }
    assert!(!bob.has_pending(), "and leaves nothing behind");
}

on_both! {
    a_device_that_lost_its_state_comes_back
    a_device_that_is_behind_comes_back
    a_rejoin_that_lost_its_race_is_made_anew
    an_external_commit_of_ours_that_is_not_pending_asks_again
    nobody_comes_back_by_a_wrong_tree
}
