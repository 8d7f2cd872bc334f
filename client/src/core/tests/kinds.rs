//! What happens to messages: edits, deletes, reactions, timers, marks, and the history that shows them.

use super::*;
use crate::core::history::HistoryItem;
use crate::core::history::row::{Change, ChangeRow, MessageRow};
use crate::core::people::Settings;
use crate::core::rows;
use crate::core::{Extras, Recipient};
use roost_protocol::limits;

fn history(world: &World, side: usize) -> Vec<HistoryItem> {
    world.sides[side].device.history(None, None, 100).expect("readable").items
}

fn bob() -> Recipient {
    "bob@acme".parse().expect("a handle")
}

fn alice() -> Recipient {
    "alice@acme".parse().expect("a handle")
}

/// Both have one message of alice.
fn talk() -> (World, MessageId) {
    let mut world = both_online();
    let id = world.send(ALICE, "bob@acme", "hello").expect("written");
    world.settle();
    (world, id)
}

fn conversation(world: &World) -> ConversationId {
    ConversationId::direct(&world.sides[ALICE].account, &world.sides[BOB].account)
}

fn row_of(world: &World, id: MessageId) -> MessageRow {
    world.sides[BOB].device.standing(&conversation(world), &id).expect("readable").expect("there")
}

/// Whether a row on the disk of a side holds these words.
fn holds(world: &World, side: usize, words: &str) -> bool {
    world.sides[side].disk.values().any(|row| row.windows(words.len()).any(|bytes| bytes == words.as_bytes()))
}

macro_rules! act {
    ($world:ident, $side:expr, $call:ident ( $($argument:expr),* )) => {{
        let mut random = draw(&mut $world.draws);
        $world.sides[$side].device.$call($($argument,)* &mut random, $world.now_ms)
    }};
}

#[test]
fn an_edit_a_reaction_and_a_delete_reach_the_other_and_show() {
    let (mut world, id) = talk();
    act!(world, ALICE, edit(&bob(), id, "hello bob")).expect("hers");
    act!(world, BOB, react(&alice(), id, "👍", false)).expect("there");
    world.settle();
    for side in [ALICE, BOB] {
        let item = &history(&world, side)[0];
        assert_eq!((item.text.as_str(), item.edited), ("hello bob", true), "the new text, shown as edited");
        let reacted: Vec<_> = item.reactions.iter().map(|one| (one.from.as_str(), one.emoji.as_str())).collect();
        assert_eq!(reacted, [("bob@acme", "👍")], "whose reaction it is");
    }
    act!(world, BOB, react(&alice(), id, "👍", true)).expect("there");
    world.settle();
    assert!(history(&world, ALICE)[0].reactions.is_empty(), "taken back");
    act!(world, ALICE, delete(&bob(), id)).expect("hers");
    world.settle();
    for side in [ALICE, BOB] {
        let item = &history(&world, side)[0];
        assert_eq!((item.text.as_str(), item.deleted), ("", true), "the text is gone on both sides");
        assert!(!holds(&world, side, "hello bob"), "and in no row");
    }
    assert_eq!(act!(world, ALICE, edit(&bob(), id, "again")), Err(Error::MessageGone), "what is gone stays gone");
}

#[test]
fn nobody_changes_the_message_of_another() {
    let (mut world, id) = talk();
    assert_eq!(act!(world, BOB, edit(&alice(), id, "mine")), Err(Error::NotYours), "bob's device does not try");
    assert_eq!(act!(world, BOB, delete(&alice(), id)), Err(Error::NotYours), "nor to delete");
    let before = row_of(&world, id);
    let (conversation, author) = (conversation(&world), world.sides[BOB].account);
    for change in [Change::Edit("forged".into()), Change::Delete] {
        let forged = ChangeRow { id: MessageId([9; 16]), author, change };
        world.sides[BOB].device.change(conversation, id, forged).expect("taken");
        let gap = world.sides[BOB].device.staged.pop();
        assert!(matches!(gap, Some(Output::Gap { .. })), "what a changed client sends is a gap");
    }
    assert_eq!(before, row_of(&world, id), "nothing of the message changed");
}

#[test]
fn whatever_the_order_of_arrival_the_message_ends_the_same() {
    let (mut world, id) = talk();
    let (alice, bob) = (world.sides[ALICE].account, world.sides[BOB].account);
    let conversation = conversation(&world);
    let react = |emoji: &str, remove| Change::Reaction { emoji: emoji.into(), remove };
    let changes = |with_delete: bool| {
        let mut changes = vec![
            (1, alice, Change::Edit("first".into())),
            (2, alice, Change::Edit("second".into())),
            (3, bob, react("❤", false)),
            (4, bob, react("❤", true)),
            (5, bob, react("😀", false)),
            (6, alice, react("😀", true)),
            (7, alice, react("😀", false)),
        ];
        if with_delete {
            changes.push((8, alice, Change::Delete));
        }
        let row = |(id, author, change)| ChangeRow { id: MessageId([id; 16]), author, change };
        changes.into_iter().map(row).collect::<Vec<_>>()
    };
    let honest = row_of(&world, id);
    let (mut ends, mut seed) = ([None, None], 1_u64);
    for round in 0..400_u64 {
        let with_delete = round % 2 == 1;
        // The message itself is one of the things that arrive: what comes before it waits in the device's rows.
        let mut order: Vec<Option<ChangeRow>> = changes(with_delete).into_iter().map(Some).collect();
        order.push(None);
        for place in (1..order.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(place, (seed >> 33) as usize % (place + 1));
        }
        let device = &mut world.sides[BOB].device;
        let target = MessageId::of(round, b"shuffled");
        for one in order {
            match one {
                Some(change) => device.change(conversation, target, change).expect("taken"),
                None => device.keep(conversation, target, honest.clone()).expect("kept"),
            }
        }
        let end: MessageRow =
            device.table.get(&rows::history(&conversation, &target)).expect("readable").expect("there");
        assert_eq!(device.table.count(&rows::waiting_of(&conversation)), 0, "nothing waits any more");
        let expected = ends[usize::from(with_delete)].get_or_insert(end.clone());
        assert_eq!(end, *expected, "round {round}: every order ends in one state");
    }
    let [Some(edited), Some(deleted)] = ends else { panic!("both were tried") };
    assert_eq!(edited.text, "second", "the newest edit stands");
    let standing: Vec<_> = edited.reactions.iter().filter(|one| one.stands).map(|one| one.emoji.as_str()).collect();
    assert_eq!(standing, ["😀", "😀"], "one of each person; what was taken back last does not stand");
    assert!(deleted.text.is_empty() && deleted.reactions.is_empty(), "of a deleted one nothing stands");
}

#[test]
fn changes_that_wait_for_a_message_are_bounded() {
    let (mut world, _) = talk();
    let (author, conversation) = (world.sides[ALICE].account, conversation(&world));
    let device = &mut world.sides[BOB].device;
    for number in 0..=limits::WAITING_CHANGES_MAX as u64 {
        let change = ChangeRow { id: MessageId::of(number, b"change"), author, change: Change::Delete };
        device.change(conversation, MessageId::of(number, b"nowhere"), change).expect("taken");
    }
    let waiting = device.table.count(&rows::waiting_of(&conversation));
    assert_eq!(waiting, limits::WAITING_CHANGES_MAX, "no more than the bound waits");
    let told = |output: &Output| matches!(output, Output::Gap { reason, .. } if reason.contains("too many"));
    assert_eq!(device.staged.iter().filter(|output| told(output)).count(), 1, "the one over it is told");
}

#[test]
fn a_disappearing_text_goes_on_both_sides_when_its_time_is_over() {
    let mut world = both_online();
    let extras = Extras { expires_after_s: Some(60), ..Extras::default() };
    act!(world, ALICE, send_with(&bob(), "burn this", extras)).expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "burn this")], "it is shown");
    let at = world.sides[BOB].device.history_wake_at();
    assert_eq!(at, Some(world.now_ms + 60_000), "shown is read: the device says when it goes");
    world.now_ms += 59_000;
    world.settle();
    assert_eq!(history(&world, BOB)[0].text, "burn this", "a second before it is there");
    world.now_ms += 1_000;
    world.settle();
    for side in [ALICE, BOB] {
        let item = &history(&world, side)[0];
        assert_eq!((item.text.as_str(), item.expired), ("", true), "then it is gone");
        assert!(!holds(&world, side, "burn this"), "from every row");
    }
    assert_eq!(world.sides[BOB].device.history_wake_at(), None, "and wakes nobody again");
}

#[test]
fn read_marks_reach_the_author_unless_they_are_switched_off() {
    let (mut world, _) = talk();
    let account = world.sides[ALICE].account;
    let unread = |world: &World| world.sides[BOB].device.conversation_views().expect("readable")[0].unread;
    assert_eq!(unread(&world), 1, "one is unread");
    assert_eq!(act!(world, BOB, mark_read(&account.into())), Ok(1), "it was");
    world.settle();
    let item = history(&world, ALICE).remove(0);
    let readers: Vec<_> = item.read.iter().map(|mark| mark.by.as_str()).collect();
    assert_eq!(readers, ["bob@acme"], "she sees that he read it");
    assert_eq!(item.delivered.len(), 1, "and that his device has it");
    let off = Settings { read_receipts: false, ..world.sides[BOB].device.settings().clone() };
    world.sides[BOB].device.set_settings(off).expect("set");
    world.now_ms += 1;
    world.send(ALICE, "bob@acme", "and this?").expect("written");
    world.settle();
    world.crash(BOB);
    world.connect(BOB);
    world.settle();
    assert_eq!(unread(&world), 1, "unread survives a restart");
    assert_eq!(act!(world, BOB, mark_read(&account.into())), Ok(1), "the second");
    world.settle();
    assert!(history(&world, ALICE)[0].read.is_empty(), "switched off, she is not told");
    assert_eq!(unread(&world), 0, "though it is read here");
}

#[test]
fn the_history_has_pages_of_both_sides_newest_first() {
    let (mut world, first) = talk();
    for number in 0..5 {
        world.now_ms += 1_000;
        let (side, to) = if number % 2 == 0 { (BOB, "alice@acme") } else { (ALICE, "bob@acme") };
        world.send(side, to, &number.to_string()).expect("written");
        world.settle();
    }
    let page = world.sides[ALICE].device.history(None, None, 4).expect("readable");
    let texts: Vec<_> = page.items.iter().map(|item| (item.text.as_str(), item.own)).collect();
    assert_eq!(texts, [("4", false), ("3", true), ("2", false), ("1", true)], "newest first, both sides");
    let rest = world.sides[ALICE].device.history(None, page.before, 4).expect("readable");
    let texts: Vec<_> = rest.items.iter().map(|item| item.text.as_str()).collect();
    assert_eq!((texts.as_slice(), rest.before), (["0", "hello"].as_slice(), None), "then the rest, and no more");
    assert_eq!(rest.items[1].id, first, "down to the first");
    assert_eq!(rest.items[1].state, Some(State::Delivered), "ours say how far they came");
}

#[test]
fn a_reply_names_its_message_and_a_draft_is_kept() {
    let (mut world, id) = talk();
    let extras = Extras { reply: Some(id), mentions: vec![world.sides[ALICE].account; 2], ..Extras::default() };
    world.now_ms += 1;
    act!(world, BOB, send_with(&alice(), "yes", extras)).expect("written");
    world.settle();
    let item = history(&world, ALICE).remove(0);
    assert_eq!((item.kind.as_str(), item.reply, item.mentions.len()), ("rich_text", Some(id), 1), "each mention once");
    let with = ConversationId::direct(&world.sides[ALICE].account, &world.sides[BOB].account);
    world.sides[ALICE].device.set_draft(&with, "not yet").expect("kept");
    world.commit(ALICE);
    world.crash(ALICE);
    assert_eq!(
        world.sides[ALICE].device.draft(&with).expect("readable").as_deref(),
        Some("not yet"),
        "after a restart"
    );
    world.commit(ALICE);
    world.sides[ALICE].device.set_draft(&with, "not yet").expect("kept already");
    let now_ms = world.now_ms;
    let writes = world.sides[ALICE].device.finish(&mut |bytes| bytes.fill(1), now_ms).expect("finished");
    assert!(writes.0.is_empty(), "and keeping it again writes nothing, which a screen relies on");
}

#[test]
fn one_account_cannot_pile_up_reactions() {
    let (mut world, id) = talk();
    let react = |number: usize| char::from_u32(0x1f600 + number as u32).expect("an emoji").to_string();
    for number in 0..limits::REACTIONS_MAX {
        act!(world, BOB, react(&alice(), id, &react(number), number % 2 == 0)).expect("within the bound");
    }
    let more = act!(world, BOB, react(&alice(), id, &react(limits::REACTIONS_MAX), false));
    assert!(matches!(more, Err(Error::NotPossible(_))), "bob's device does not try a 17th: {more:?}");
    let (conversation, author) = (conversation(&world), world.sides[BOB].account);
    let change = Change::Reaction { emoji: react(limits::REACTIONS_MAX), remove: false };
    let change = ChangeRow { id: MessageId([9; 16]), author, change };
    world.sides[BOB].device.change(conversation, id, change).expect("taken");
    let gap = world.sides[BOB].device.staged.pop();
    assert!(matches!(gap, Some(Output::Gap { .. })), "and one of a changed client is a gap");
    assert_eq!(row_of(&world, id).reactions.len(), limits::REACTIONS_MAX, "the row keeps its bound");
}

#[test]
fn a_message_with_the_id_of_another_is_a_gap_and_replaces_nothing() {
    let (mut world, id) = talk();
    let before = row_of(&world, id);
    let (group, author) = (*world.home.heads.keys().next().expect("one group"), world.sides[ALICE].account);
    let from = (author, DeviceId([7; 32]), id, 0);
    let entry = world.home.append(group, EntryKind::Message, 1, from, Bytes(b"sealed".to_vec()));
    let (conversation, peer) = (conversation(&world), author);
    let arrived = crate::core::history::Arrived {
        header: &entry.header,
        place: crate::core::recipient::Place { conversation, peer: Some(peer) },
    };
    let body = roost_protocol::content::Body::Text("instead".into());
    world.sides[BOB].device.received(&arrived, &body, NOW_MS).expect("taken");
    let gap = world.sides[BOB].device.staged.pop();
    assert!(matches!(gap, Some(Output::Gap { message, .. }) if message == id), "it is told");
    assert_eq!(row_of(&world, id), before, "the first stays as it was");
}
