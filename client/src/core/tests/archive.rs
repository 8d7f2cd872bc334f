//! The archive: what an account knows comes to a device that has nothing but its keys, and goes when it is to go.

use super::*;
use crate::core::history::HistoryItem;
use crate::core::people::{Settings, Whom};
use crate::core::rows;

const HOUR_MS: u64 = 60 * 60 * 1_000;

impl World {
    /// Long enough that what has changed is put.
    pub(super) fn collect(&mut self) {
        for _ in 0..4 {
            self.now_ms += 5_000;
            for side in [ALICE, BOB] {
                self.input(side, Input::Tick);
            }
            self.settle();
        }
    }

    /// The side's disk is lost, all but what a linked or restored device starts with.
    pub(super) fn lose_disk(&mut self, side: usize) {
        let account = self.sides[side].disk[&rows::account()].clone();
        self.sides[side].disk = Disk::from([(rows::account(), account)]);
        self.crash(side);
        self.connect(side);
        self.settle();
    }

    fn history(&self, side: usize) -> Vec<HistoryItem> {
        self.sides[side].device.history(None, None, 100).expect("readable").items
    }

    fn archive_holds(&self, side: usize) -> usize {
        self.home.archives.get(&self.sides[side].account).map_or(0, Vec::len)
    }
}

/// Both talked, bob reacted, and all of it is archived.
fn talked() -> (World, MessageId) {
    let mut world = both_online();
    let id = world.send(ALICE, "bob@acme", "a word to keep").expect("written");
    world.settle();
    world.send(BOB, "alice@acme", "and an answer").expect("written");
    let alice = "alice@acme".parse().expect("a handle");
    world.sides[BOB].device.react(&alice, id, "👍", false, &mut draw(&mut world.draws), world.now_ms).expect("there");
    world.settle();
    world.collect();
    (world, id)
}

#[test]
fn a_device_that_lost_its_disk_has_history_contacts_and_verification_again() {
    let (mut world, id) = talked();
    let bob = world.sides[BOB].account;
    world.sides[ALICE].device.verify(&Whom::Account(bob), None).expect("known");
    let place = world.sides[ALICE].device.place_with(&bob).conversation;
    world.sides[ALICE].device.set_draft(&place, "not finished").expect("short");
    world.settle();
    world.collect();
    let before = world.history(ALICE);
    assert!(world.sides[ALICE].device.is_archived(), "all of it is at the home");

    world.lose_disk(ALICE);
    assert!(world.sides[ALICE].device.has_caught_up(), "the archive was read");
    let after = world.history(ALICE);
    let texts = |items: &[HistoryItem]| items.iter().map(|item| (item.id, item.text.clone())).collect::<Vec<_>>();
    assert_eq!(texts(&after), texts(&before), "both messages, in their order");
    let first = after.iter().find(|item| item.id == id).expect("the first");
    assert_eq!(first.reactions.len(), 1, "with what was said about it");
    assert!(first.own, "whose it is");
    assert!(!first.delivered.is_empty(), "and that bob has it");
    let device = &world.sides[ALICE].device;
    assert_eq!(device.is_verified(&bob), Ok(true), "nobody compares again");
    assert_eq!(device.account_of(&"bob@acme".parse().expect("a handle")), Ok(Some(bob)), "the contact is known");
    assert_eq!(device.draft(&place), Ok(Some("not finished".into())), "the draft follows");
}

#[test]
fn nothing_that_was_said_can_be_read_at_the_home() {
    let (world, _) = talked();
    let chunks = world.home.archives.values().flatten();
    let words = b"a word to keep";
    for ArchiveChunk { chunk, .. } in chunks {
        assert!(!chunk.as_slice().windows(words.len()).any(|bytes| bytes == words), "the words are sealed");
    }
}

#[test]
fn what_was_taken_back_leaves_the_archive_within_two_hours() {
    let (mut world, id) = talked();
    let held = world.archive_holds(ALICE);
    assert!(held > 0, "something is there");
    let bob = "bob@acme".parse().expect("a handle");
    world.sides[ALICE].device.delete(&bob, id, &mut draw(&mut world.draws), world.now_ms).expect("hers");
    world.settle();
    let last = world.home.archived;
    world.now_ms += HOUR_MS;
    world.collect();
    for side in [ALICE, BOB] {
        let chunks = &world.home.archives[&world.sides[side].account];
        assert!(chunks.iter().all(|chunk| chunk.seq > last), "every chunk that could hold the word is gone");
    }
    world.lose_disk(ALICE);
    let item = world.history(ALICE).into_iter().find(|item| item.id == id).expect("its place is known");
    assert_eq!((item.text.as_str(), item.deleted), ("", true), "and it comes back as what is gone");
}

#[test]
fn without_a_backup_only_the_word_for_it_stays() {
    let (mut world, _) = talked();
    world.send(ALICE, "bob@acme", "not archived yet").expect("written");
    let off = Settings { backup: false, ..world.sides[ALICE].device.settings().clone() };
    world.sides[ALICE].device.set_settings(off).expect("valid");
    world.settle();
    world.collect();
    assert_eq!(world.archive_holds(ALICE), 1, "one small chunk");
    let chunk = world.home.archives[&world.sides[ALICE].account][0].chunk.len();
    assert!(chunk < 2_048, "in which there is no message: {chunk} bytes");
    world.send(BOB, "alice@acme", "later").expect("written");
    world.settle();
    world.collect();
    assert_eq!(world.archive_holds(ALICE), 1, "nothing is added");
    world.lose_disk(ALICE);
    assert!(!world.sides[ALICE].device.settings().backup, "another device keeps to it");
    assert_eq!(world.history(ALICE).len(), 0, "and what was said is gone with the disk");
}

#[test]
fn a_chunk_that_does_not_open_is_told_and_passed() {
    let (mut world, _) = talked();
    let bobs = world.home.archives[&world.sides[BOB].account][0].chunk.clone();
    let alice = world.sides[ALICE].account;
    let archive = world.home.archives.get_mut(&alice).expect("hers");
    archive.iter_mut().for_each(|chunk| chunk.seq += 1);
    let first = archive[0].seq - 1;
    archive.insert(0, ArchiveChunk { seq: first, chunk: bobs });
    world.home.archived += 1;
    let account = world.sides[ALICE].disk[&rows::account()].clone();
    world.sides[ALICE].disk = Disk::from([(rows::account(), account)]);
    world.crash(ALICE);
    world.connect(ALICE);
    let mut told = Vec::new();
    for _ in 0..50 {
        while let Some(frame) = world.sides[ALICE].arrived.pop_front() {
            world.input(ALICE, Input::Frame(Box::new(frame)));
        }
        world.commit(ALICE);
        let mut out = Vec::new();
        while let Some(output) = world.sides[ALICE].device.poll_output() {
            match output {
                Output::Send(frame) => world.home.handle(alice, *frame, &mut out),
                Output::BadArchive { seq } => told.push(seq),
                _ => {}
            }
        }
        world.sides[ALICE].arrived.extend(out.into_iter().map(|(_, frame)| frame));
    }
    assert_eq!(told, [first], "the foreign chunk is told, once");
    assert_eq!(world.history(ALICE).len(), 2, "what is behind it is read");
}

#[test]
fn two_versions_of_a_message_become_one_whichever_comes_first() {
    let (world, id) = talked();
    let place = world.sides[ALICE].device.place_with(&world.sides[BOB].account);
    let row =
        |side: usize| world.sides[side].device.standing(&place.conversation, &id).expect("readable").expect("there");
    let (mut one, mut other) = (row(ALICE), row(ALICE));
    one.read = false;
    one.text = "edited here".into();
    one.edit = Some(MessageId([2; 16]));
    other.text = "edited there".into();
    other.edit = Some(MessageId([3; 16]));
    other.delivered_to.iter_mut().for_each(|mark| mark.at += 5);
    other.reactions.clear();
    assert_eq!(one.clone().join(other.clone()), other.clone().join(one.clone()), "joining does not care for the order");
    let joined = one.clone().join(other.clone());
    assert_eq!(joined.text, "edited there", "the newer edit");
    assert_eq!(joined.reactions.len(), 1, "what either knows");
    assert_eq!(joined.clone().join(one), joined, "joining again changes nothing");
    let mut gone = other.clone();
    gone.goes(crate::core::history::row::Gone::Deleted);
    assert_eq!(joined.clone().join(gone.clone()), gone.join(joined), "what is gone is gone on both sides");
}

#[test]
fn a_message_that_the_archive_brought_first_is_shown_when_it_comes() {
    let (mut world, _) = talked();
    world.input(BOB, Input::Closed);
    world.sides[BOB].online = false;
    let id = world.send(ALICE, "bob@acme", "while you were away").expect("written");
    world.settle();
    let alice = world.sides[ALICE].account;
    let entry = world.home.inboxes[&world.sides[BOB].account].last().expect("it waits").clone();
    let place = world.sides[BOB].device.place_with(&alice);
    let row = crate::core::history::row::MessageRow {
        read: false,
        author: alice,
        device: entry.header.device,
        ..world.sides[ALICE].device.standing(&place.conversation, &id).expect("readable").expect("there")
    };
    let row = crate::core::history::row::MessageRow { peer: Some(alice), delivered_to: Vec::new(), ..row };
    world.sides[BOB].device.keep(place.conversation, id, row).expect("kept");
    world.connect(BOB);
    world.settle();
    assert!(world.shown(BOB).contains(&("alice@acme", "while you were away")), "shown once, and no gap");
}
