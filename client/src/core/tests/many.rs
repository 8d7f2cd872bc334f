//! Conversations of many, as far as a device decides alone.

use super::*;
use crate::core::many::ConversationRow;
use crate::core::people::Settings;
use crate::core::rows;
use roost_protocol::content::About;
use roost_protocol::conversation::{ConversationState, Participant, Policy, Role};

/// A conversation in which alice is an admin and bob a member, as bob's device knows it.
pub(super) fn conversation(world: &mut World) -> (GroupId, ConversationId) {
    let group = GroupId([9; 32]);
    let conversation = ConversationId::of_group(&group);
    let (alice, bob) = (world.sides[ALICE].account, world.sides[BOB].account);
    let mut participants =
        vec![Participant { account: alice, role: Role::Admin }, Participant { account: bob, role: Role::Member }];
    participants.sort_by_key(|participant| participant.account);
    let state = ConversationState {
        conversation,
        generation: 1,
        term: 1,
        hub: NodeId::of(world.home.node.public_key()),
        successors: Vec::new(),
        participants,
        policy: Policy::Admins,
    };
    let row = ConversationRow { group, state, epoch: 1, head: None, over: false, leaving: false };
    world.sides[BOB].device.table.put(rows::conversation(&conversation), &row);
    (group, conversation)
}

#[test]
fn a_member_cannot_name_a_conversation() {
    let mut world = both_online();
    let (group, conversation) = conversation(&mut world);
    let (alice, bob) = (world.sides[ALICE].account, world.sides[BOB].account);
    let says = |world: &mut World, author: AccountId, title: &str, changed_at: u64| {
        let from = (author, DeviceId([7; 32]), MessageId([1; 16]), 0);
        let entry = world.home.append(group, EntryKind::Message, 1, from, Bytes(b"sealed".to_vec()));
        let about = About { title: title.into(), description: String::new(), changed_at };
        world.sides[BOB].device.learn_about(conversation, &entry.header, about).expect("taken");
        let known = world.sides[BOB].device.about(&conversation).expect("readable");
        (known.map(|about| about.title), world.sides[BOB].device.staged.pop())
    };
    let (title, output) = says(&mut world, bob, "mine", 5);
    assert_eq!(title, None, "a member's word does not count");
    assert!(matches!(output, Some(Output::Gap { .. })), "and shows as a gap");
    let (title, output) = says(&mut world, alice, "Friends", 5);
    assert_eq!(title.as_deref(), Some("Friends"), "an admin's does");
    assert!(matches!(output, Some(Output::Named(_))), "and is told");
    let (title, _) = says(&mut world, alice, "Before", 4);
    assert_eq!(title.as_deref(), Some("Friends"), "what was said before and comes late changes nothing");
}

#[test]
fn a_conversation_that_a_stranger_took_us_into_waits_until_it_is_accepted() {
    let mut world = both_online();
    let (group, conversation) = conversation(&mut world);
    let alice = world.sides[ALICE].account;
    let bob = &mut world.sides[BOB].device;
    let settings = Settings { accept_strangers: false, ..bob.settings().clone() };
    bob.set_settings(settings).expect("valid");
    let row: ConversationRow = bob.table.get(&rows::conversation(&conversation)).expect("readable").expect("there");
    let head = ConversationHead { group, state: row.state, epoch: 1, made_by: Hash([1; 32]), ordered_by: None };
    bob.invited(&head, alice, NOW_MS).expect("taken");
    assert!(bob.is_invitation(&conversation), "alice is a stranger");
    let place = crate::core::recipient::Place::of_many(conversation);
    assert_eq!(bob.target_of_marks(&place), Ok(None), "nobody there hears of bob");
    assert_eq!(bob.accept_conversation(&conversation), Ok(true), "bob takes part");
    assert!(!bob.is_invitation(&conversation), "and it waits no more");
    bob.accept(&alice).expect("taken");
    bob.invited(&head, alice, NOW_MS).expect("taken");
    assert!(!bob.is_invitation(&conversation), "whom bob knows needs no further word");
    let mut other = head.clone();
    other.state.participants.iter_mut().for_each(|one| one.role = Role::Member);
    bob.invited(&other, alice, NOW_MS).expect("taken");
    assert!(bob.is_invitation(&conversation), "the word for an inviter who is no admin is not believed");
}
