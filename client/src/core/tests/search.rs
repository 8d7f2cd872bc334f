//! What was said is found again, as it stands now.

use super::*;
use crate::core::Recipient;
use crate::core::rows;

fn found(world: &mut World, side: usize, text: &str) -> Vec<String> {
    let found = world.sides[side].device.search(text, None, 10).expect("readable");
    found.items.into_iter().map(|item| item.text).collect()
}

fn ready(world: &mut World, side: usize) {
    while !world.sides[side].device.prepare_search(1).expect("readable") {}
}

/// Alice writes, each message in a millisecond of its own: only then their order is certain.
fn write(world: &mut World, text: &str) -> MessageId {
    world.now_ms += 1;
    world.send(ALICE, "bob@acme", text).expect("written")
}

fn act(world: &mut World, id: MessageId, text: Option<&str>) {
    let to: Recipient = "bob@acme".parse().expect("a handle");
    let mut random = draw(&mut world.draws);
    let device = &mut world.sides[ALICE].device;
    match text {
        Some(text) => device.edit(&to, id, text, &mut random, world.now_ms).map(drop).expect("hers"),
        None => device.delete(&to, id, &mut random, world.now_ms).map(drop).expect("hers"),
    }
}

#[test]
fn a_message_is_found_by_its_words_as_they_stand_now() {
    let mut world = both_online();
    write(&mut world, "The Heron nests again");
    let second = write(&mut world, "a heron, by the river");
    world.settle();
    ready(&mut world, BOB);
    assert_eq!(found(&mut world, BOB, "HERON"), ["a heron, by the river", "The Heron nests again"], "newest first");
    assert_eq!(found(&mut world, BOB, "nest heron"), ["The Heron nests again"], "every word, in whatever order");
    assert!(found(&mut world, BOB, "again a").len() == 1, "no word reaches from one message into the next");
    assert!(found(&mut world, BOB, "owl").is_empty(), "what nobody said is not found");
    assert!(found(&mut world, BOB, "  ").is_empty(), "nothing is no question");

    act(&mut world, second, Some("an owl, by the river"));
    write(&mut world, "and a third heron");
    world.settle();
    assert_eq!(
        found(&mut world, BOB, "heron"),
        ["and a third heron", "The Heron nests again"],
        "a new one is, an old text is not"
    );
    assert_eq!(found(&mut world, BOB, "owl"), ["an owl, by the river"], "the new text is");
    act(&mut world, second, None);
    world.settle();
    assert!(found(&mut world, BOB, "owl").is_empty(), "what was taken back is found no more");
}

#[test]
fn a_search_before_everything_was_read_finds_what_was_and_misses_nothing_later() {
    let mut world = both_online();
    let ids: Vec<_> = (0..6).map(|number| write(&mut world, &format!("word {number}"))).collect();
    world.settle();
    assert!(!world.sides[BOB].device.prepare_search(3).expect("readable"), "three of six");
    assert_eq!(found(&mut world, BOB, "word").len(), 3, "what was read is found");
    act(&mut world, ids[0], Some("else 0"));
    act(&mut world, ids[5], Some("else 5"));
    world.settle();
    assert_eq!(found(&mut world, BOB, "else"), ["else 0"], "a change of what was read counts at once");
    ready(&mut world, BOB);
    assert_eq!(found(&mut world, BOB, "else"), ["else 5", "else 0"], "and of the others once they are read");
    assert_eq!(found(&mut world, BOB, "word").len(), 4, "each once");
}

#[test]
fn a_stretch_of_the_history_begins_where_it_is_asked_to() {
    let mut world = both_online();
    let ids: Vec<_> = (0..5).map(|number| write(&mut world, &format!("{number}"))).collect();
    world.settle();
    let alice: Recipient = "alice@acme".parse().expect("a handle");
    let from = |id, max| world.sides[BOB].device.history_from(&alice, id, max).expect("readable");
    let texts =
        |items: Vec<crate::core::history::HistoryItem>| items.into_iter().map(|item| item.text).collect::<Vec<_>>();
    let (items, more) = from(ids[1], 3);
    assert_eq!(
        (texts(items), more),
        (vec!["3".to_owned(), "2".into(), "1".into()], true),
        "newest first, and there is one more"
    );
    let (items, more) = from(ids[2], 3);
    assert_eq!((texts(items), more), (vec!["4".to_owned(), "3".into(), "2".into()], false), "up to the newest");
    let row = rows::history(&ConversationId::direct(&world.sides[ALICE].account, &world.sides[BOB].account), &ids[0]);
    assert!(world.sides[BOB].disk.contains_key(&row), "the one before it is only not asked for");
}
