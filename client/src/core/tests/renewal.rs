//! Renewal of leaves: when a device makes its keys anew by itself, and that it is no news to anybody.

use super::hubs::{CAROL, Town};
use super::*;
use crate::core::GroupChange;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Lets whole hours pass; gives how many epochs began.
fn pass(town: &mut Town, conversation: ConversationId, hours: u64) -> u64 {
    let before = town.at(ALICE, conversation).2;
    for _ in 0..hours {
        town.now_ms += DAY_MS / 24;
        town.settle();
    }
    town.at(ALICE, conversation).2 - before
}

#[test]
fn who_joined_makes_its_keys_anew_within_a_day_and_then_every_month() {
    let (mut town, conversation) = Town::with_group();
    assert_eq!(pass(&mut town, conversation, 25), 2, "bob and carol have joined by key packages: each renews once");
    assert_eq!(pass(&mut town, conversation, 48), 0, "then nobody does");
    town.now_ms += 27 * DAY_MS;
    assert_eq!(pass(&mut town, conversation, 49), 3, "after thirty days all three do, within a day");
    assert_eq!(pass(&mut town, conversation, 24), 0, "once");
    let ended = town.people.iter().map(|one| one.ended.len()).sum::<usize>();
    assert_eq!(ended, 2, "no person is told of it: what ended is the creation, and bob's role");
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}

#[test]
fn whoever_commits_something_needs_no_renewal_and_a_person_may_wish_for_one() {
    let (mut town, conversation) = Town::with_group();
    let epoch = town.at(CAROL, conversation).2;
    let number = town.change(CAROL, conversation, GroupChange::Renew);
    town.settle();
    assert!(town.people[CAROL].ended.contains(&(number, None)), "carol, who is no admin, is told that it is done");
    assert_eq!(town.at(BOB, conversation).2, epoch + 1, "by one epoch");
    assert_eq!(pass(&mut town, conversation, 25), 1, "within the day only bob's leaf is still that of a key package");
    town.talks(conversation, &[ALICE, BOB, CAROL]);
}
