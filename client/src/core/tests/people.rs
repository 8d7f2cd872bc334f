//! Strangers, blocked accounts, changed keys, profiles.

use super::*;
use crate::core::people::{Settings, Whom};
use roost_protocol::limits;

fn strangers() -> World {
    let mut world = World::with(false);
    world.connect(ALICE);
    world.connect(BOB);
    world.settle();
    world
}

fn account(world: &World, side: usize) -> AccountId {
    world.sides[side].account
}

#[test]
fn a_stranger_waits_as_a_request_and_hears_nothing_until_accepted() {
    let mut world = strangers();
    let long = "x".repeat(2_000);
    let first = world.send(ALICE, "bob@acme", &long).expect("written");
    world.now_ms += 1;
    let second = world.send(ALICE, "bob@acme", "are you there?").expect("written");
    world.settle();
    let alice = account(&world, ALICE);
    assert!(world.shown(BOB).is_empty(), "a stranger's message is not shown");
    assert_eq!(world.state(ALICE, &first), State::Custody, "she hears that his home has it, no more");
    let requests = world.sides[BOB].device.requests().expect("readable");
    assert_eq!(requests.len(), 1, "one request of one stranger");
    let request = &requests[0];
    assert_eq!((request.from.as_str(), request.messages), ("alice@acme", 2), "it says who and how much");
    assert_eq!(request.text.len(), limits::REQUEST_TEXT_BYTES_MAX, "the first text only, cut to its bound");
    assert!(world.sides[BOB].device.history(None, None, 10).expect("readable").items.is_empty(), "no history yet");
    world.crash(BOB);
    world.connect(BOB);
    world.settle();
    assert!(world.shown(BOB).is_empty(), "a restart is no acceptance");
    world.sides[BOB].device.accept(&alice).expect("accepted");
    world.settle();
    assert_eq!(world.shown(BOB).len(), 2, "both are shown now, each once");
    assert_eq!(world.state(ALICE, &second), State::Delivered, "and she hears of it");
    assert!(world.sides[BOB].device.requests().expect("readable").is_empty(), "no request is left");
}

#[test]
fn whoever_we_wrote_to_is_no_stranger() {
    let mut world = strangers();
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    world.send(BOB, "alice@acme", "hello").expect("written");
    world.settle();
    assert_eq!(world.shown(ALICE), [("bob@acme", "hello")], "she wrote first, so he may answer");
    assert_eq!(world.shown(BOB), [("alice@acme", "hi")], "by answering he accepted her");
}

#[test]
fn a_stranger_cannot_fill_the_device() {
    let mut world = strangers();
    for number in 0..limits::REQUEST_MESSAGES_MAX {
        world.send(ALICE, "bob@acme", &number.to_string()).expect("written");
    }
    world.settle();
    let request = world.sides[BOB].device.requests().expect("readable").remove(0);
    assert_eq!(request.messages, limits::REQUEST_MESSAGES_MAX, "all up to the bound are kept");
    world.send(ALICE, "bob@acme", "one more").expect("written");
    world.gaps_are_fine = true;
    world.settle();
    assert_eq!(world.gaps, ["a stranger wrote more than is kept of one"], "the next is told as a gap");
    let request = world.sides[BOB].device.requests().expect("readable").remove(0);
    assert_eq!(request.messages, limits::REQUEST_MESSAGES_MAX, "and not kept");
}

#[test]
fn a_blocked_account_is_not_shown_and_not_answered() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    let alice = account(&world, ALICE);
    world.sides[BOB].device.block(&alice).expect("blocked");
    let id = world.send(ALICE, "bob@acme", "again").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "hi")], "what a blocked account writes is dropped");
    assert_eq!(world.state(ALICE, &id), State::Custody, "no receipt tells her of his device");
    let refused = world.send(BOB, "alice@acme", "no").err();
    assert_eq!(refused, Some(Error::Blocked("alice@acme".into())), "he unblocks first");
    world.sides[BOB].device.unblock(&alice).expect("unblocked");
    world.send(ALICE, "bob@acme", "third").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "hi"), ("alice@acme", "third")], "then she is heard again");
}

#[test]
fn evidence_names_each_message_by_its_sealed_hash() {
    let mut world = both_online();
    let id = world.send(ALICE, "bob@acme", "nasty").expect("written");
    world.settle();
    let evidence = world.sides[BOB].device.evidence(&account(&world, ALICE)).expect("readable");
    assert_eq!(evidence.from, "alice@acme", "whose");
    let [message] = evidence.messages.as_slice() else { panic!("one message: {evidence:?}") };
    assert_eq!((message.id, message.text.as_str()), (id, "nasty"), "which, and what it said");
    assert!(message.payload_hash.is_some(), "the hash that the feed's chain holds");
}

#[test]
fn a_profile_reaches_whoever_is_no_stranger_and_later_ones_replace_it() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    for name in ["Alice", "Alice B."] {
        let settings = Settings { profile: Some(name.into()), accept_strangers: true, ..Settings::default() };
        world.sides[ALICE].device.set_settings(settings).expect("a name");
        world.now_ms += 10;
        world.settle();
        let heard = world.sides[BOB].device.profile_of(&account(&world, ALICE)).expect("readable");
        assert_eq!(heard.as_deref(), Some(name), "bob knows what she wants to be called");
    }
    let submissions = world.home.submissions;
    world.crash(ALICE);
    world.connect(ALICE);
    world.settle();
    assert_eq!(world.home.submissions, submissions, "nobody is told twice");
}

#[test]
fn another_account_behind_a_handle_stops_messages_until_the_person_decides() {
    let mut world = both_online();
    let bob: Handle = "bob@acme".parse().expect("a handle");
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    let known = Whom::Handle(bob.clone());
    let before = world.sides[ALICE].device.verify(&known, None).expect("known");
    assert!(world.sides[ALICE].device.is_verified(&account(&world, BOB)).expect("readable"), "she compared it");
    // Somebody begins anew under the handle; the organisation signs that.
    let (node, org) = (NodeId::of(world.home.node.public_key()), OrgId::of(&world.home.org.public_key()));
    let new = NewAccount::found([99; 16], Zeroizing::new([98; 32]), node, org, bob.clone()).expect("an account");
    let (root, expires) = (world.home.org.public_key(), NOW_MS / 1000 + 1000);
    let record =
        HandleRecord { root, handle: bob.clone(), account: new.account(), seq: 2, expires }.sign(&world.home.org);
    let World { sides, draws, .. } = &mut world;
    let device = &mut sides[ALICE].device;
    device.resolved(&bob, &record, new.log.log(), &mut draw(draws), NOW_MS).expect("taken");
    let mut write = |device: &mut Device| device.send(&bob, "still you?", &mut draw(draws), NOW_MS);
    assert_eq!(write(device), Err(Error::KeyChanged("bob@acme".into())), "nothing is written to it");
    assert!(!device.is_verified(&account_of(device, &bob)).expect("readable"), "what was compared counts no more");
    assert_eq!(device.key_changes().expect("readable")[0].account, new.account(), "the change is there to be shown");
    let wrong = device.verify(&known, Some(before.digits()));
    assert_eq!(wrong.err(), Some(Error::DigitsDiffer), "the old number does not verify the new key");
    let number = roost_crypto::safety_number::SafetyNumber::of(device.root(), new.log.root());
    device.verify(&known, Some(&number.to_string())).expect("the new number, with its spaces, does");
    assert_eq!(account_of(device, &bob), new.account(), "the new account is taken over");
    assert!(write(device).is_ok(), "and can be written to");
}

fn account_of(device: &Device, handle: &Handle) -> AccountId {
    device.account_of(handle).expect("readable").expect("known")
}
