//! A home that says *later*: nothing is forgotten, swapped or asked too often.

use super::*;

#[test]
fn a_burst_that_the_home_refuses_for_now_arrives_in_order_and_the_first_refused_goes_alone() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "0").expect("written");
    world.settle();
    world.home.allowance = 3;
    for number in 1..20 {
        world.send(ALICE, "bob@acme", &number.to_string()).expect("written");
    }
    world.settle();
    let shown = |world: &World| world.sides[BOB].shown.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
    assert_eq!(shown(&world), ["0", "1", "2", "3"], "what was within the rate arrived");
    // Bob's receipts use the same home.
    for round in 0..3 {
        world.home.allowance = 0;
        let before = world.home.submissions;
        world.now_ms = world.sides[ALICE].device.outbox_wake_at().expect("alice tries again");
        world.settle();
        assert!(
            world.home.submissions - before <= 2,
            "round {round}: one message is tried, not all, got {}",
            world.home.submissions - before
        );
    }
    let wake_at = world.sides[ALICE].device.outbox_wake_at().expect("alice tries again");
    assert!(wake_at >= world.now_ms + 3_000, "not before the home wants to hear of it");
    world.home.allowance = usize::MAX;
    world.now_ms = wake_at;
    world.settle();
    let all: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(shown(&world), all, "all of them arrive, once, in the order in which they were written");
}

#[test]
fn a_conversation_that_the_home_did_not_take_is_shown_to_it_again_after_a_pause() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "before").expect("written");
    world.settle();
    world.home.takes_no_introduction = true;
    world.empty_home();
    world.settle();
    assert!(world.home.heads.is_empty(), "the home knows no conversation");
    let wake_at = world.sides[BOB].device.link_wake_at().expect("bob tries again");
    assert!(wake_at >= world.now_ms + 5_000, "not at once");
    world.crash(BOB);
    world.connect(BOB);
    world.settle();
    assert!(world.home.heads.is_empty(), "a device that starts again shows it again, and is refused");

    world.home.takes_no_introduction = false;
    world.now_ms = world.sides[BOB].device.link_wake_at().expect("bob tries again");
    // Only bob's clock: alice says nothing, so it is he who brings it.
    world.commit(BOB);
    world.let_out(BOB);
    assert_eq!(world.home.heads.len(), 1, "the home has the conversation, before anybody writes in it");
    world.settle();
    world.send(ALICE, "bob@acme", "after").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "before"), ("alice@acme", "after")], "the talk goes on");
}

#[test]
fn receipts_that_wait_are_joined_into_one() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "0").expect("written");
    world.settle();
    world.sides[ALICE].online = false;
    world.input(ALICE, Input::Closed);
    let ids: Vec<_> =
        (1..9).map(|number| world.send(ALICE, "bob@acme", &number.to_string()).expect("written")).collect();
    world.connect(ALICE);
    world.home.allowance = ids.len();
    world.settle();
    assert_eq!(world.shown(BOB).len(), 9, "all are shown to bob, whose receipts the home refuses for now");
    assert!(ids.iter().all(|id| world.state(ALICE, id) != State::Delivered), "so alice does not know it");
    let before = world.home.submissions;
    world.home.allowance = usize::MAX;
    world.now_ms = world.sides[BOB].device.outbox_wake_at().expect("bob tries again");
    world.settle();
    assert!(ids.iter().all(|id| world.state(ALICE, id) == State::Delivered), "then she hears of each");
    let receipts = world.home.submissions - before;
    assert!(receipts <= 2, "the one that was refused, and one for all that came meanwhile: {receipts}");
}
