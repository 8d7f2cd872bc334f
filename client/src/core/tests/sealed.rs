//! What is sealed about accounts and conversations: pictures, timers, mentions; and who hears of what arrived.

use super::*;
use crate::core::people::{Settings, Whom};
use crate::core::recipient::Place;
use crate::core::{Extras, Recipient};
use roost_crypto::safety_number::SafetyCode;
use roost_protocol::content::{AboutPicture, Timer};

const HOUR_S: u64 = 3_600;

fn to(side: usize) -> Recipient {
    ["alice@acme", "bob@acme"][side].parse().expect("a handle")
}

fn png(tail: u8) -> Bytes {
    Bytes([&b"\x89PNG\r\n\x1a\n"[..], &[tail; 20]].concat())
}

/// Alice has written to bob.
fn acquainted() -> World {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "hello").expect("written");
    world.settle();
    world
}

impl World {
    fn act<T>(&mut self, side: usize, act: impl FnOnce(&mut Device, crate::core::Random<'_>, u64) -> T) -> T {
        act(&mut self.sides[side].device, &mut draw(&mut self.draws), self.now_ms)
    }

    fn set_timer(&mut self, side: usize, seconds: Option<u64>) {
        self.now_ms += 1;
        let set = self.act(side, |device, random, now_ms| device.set_timer(&to(1 - side), seconds, random, now_ms));
        set.expect("theirs to say");
        self.settle();
    }

    fn newest(&self, side: usize) -> crate::core::history::HistoryItem {
        self.sides[side].device.history(None, None, 1).expect("readable").items.remove(0)
    }

    fn picture_of(&self, side: usize) -> Option<Bytes> {
        self.sides[1 - side].device.picture_of(&self.sides[side].account).expect("readable")
    }

    fn chooses(&mut self, side: usize, picture: Option<Bytes>) {
        self.now_ms += 1;
        self.sides[side].device.set_own_picture(picture, self.now_ms).expect("a picture");
        self.settle();
    }
}

#[test]
fn a_timer_of_a_conversation_goes_with_everything_that_both_say_from_then_on() {
    let mut world = acquainted();
    world.set_timer(ALICE, Some(HOUR_S));
    let told = world.newest(BOB);
    assert_eq!((told.kind.as_str(), told.timer_s, told.unread), ("timer", Some(HOUR_S), false), "bob sees the change");
    assert_eq!(world.sides[BOB].device.timer(&to(ALICE)), Ok(Some(HOUR_S)), "and that it stands");
    world.now_ms += 1;
    world.send(BOB, "alice@acme", "gone in an hour").expect("written");
    world.settle();
    for side in [ALICE, BOB] {
        assert_eq!(world.newest(side).expires_at, Some(world.now_ms + HOUR_S * 1_000), "his text carries it");
    }
    world.now_ms += HOUR_S * 1_000;
    world.settle();
    assert!(world.newest(ALICE).expired && world.newest(BOB).expired, "and goes on both sides");
    let shorter = Extras { expires_after_s: Some(5), ..Extras::default() };
    let sent = world.act(ALICE, |device, random, now| device.send_with(&to(BOB), "sooner", shorter, random, now));
    sent.expect("written");
    world.settle();
    assert_eq!(world.newest(BOB).expires_at, Some(world.now_ms + 5_000), "a timer of its own counts instead");
    world.set_timer(BOB, None);
    world.now_ms += 1;
    world.send(ALICE, "bob@acme", "stays").expect("written");
    world.settle();
    assert_eq!(world.newest(BOB).expires_at, None, "taken off by either, nothing goes any more");
}

#[test]
fn of_two_timers_the_one_said_later_stands_at_both() {
    let mut world = acquainted();
    for (side, seconds) in [(ALICE, HOUR_S), (BOB, 60)] {
        world.now_ms += 1;
        let set = world.act(side, |device, random, now| device.set_timer(&to(1 - side), Some(seconds), random, now));
        set.expect("written");
    }
    world.settle();
    for side in [ALICE, BOB] {
        assert_eq!(world.sides[side].device.timer(&to(1 - side)), Ok(Some(60)), "bob's word was the later one");
    }
}

#[test]
fn a_member_gives_a_conversation_neither_picture_nor_timer() {
    let mut world = both_online();
    let (group, conversation) = many::conversation(&mut world);
    let (alice, bob) = (world.sides[ALICE].account, world.sides[BOB].account);
    for (author, allowed) in [(bob, false), (alice, true)] {
        let from = (author, DeviceId([7; 32]), MessageId([1; 16]), 0);
        let entry = world.home.append(group, EntryKind::Message, 1, from, Bytes(b"sealed".to_vec()));
        let device = &mut world.sides[BOB].device;
        let picture = AboutPicture { picture: Some(png(1)), changed_at: 5 };
        device.learn_about_picture(conversation, &entry.header, picture).expect("taken");
        let arrived = crate::core::history::Arrived { header: &entry.header, place: Place::of_many(conversation) };
        let timer = Timer { expires_after_s: Some(60), changed_at: 5 };
        assert_eq!(device.learn_timer(&arrived, &timer), Ok(allowed), "an admin's word alone is news");
        assert_eq!(device.learn_timer(&arrived, &timer), Ok(false), "and only once");
        assert_eq!(device.about_picture(&conversation).expect("readable").is_some(), allowed, "so is a picture");
        assert_eq!(device.timer(&conversation.into()), Ok(allowed.then_some(60)), "and the timer stands");
        let gaps = device.staged.drain(..).filter(|output| matches!(output, Output::Gap { .. })).count();
        assert_eq!(gaps, if allowed { 0 } else { 3 }, "a member's words are gaps");
    }
    let before = AboutPicture { picture: None, changed_at: 4 };
    let from = (alice, DeviceId([7; 32]), MessageId([2; 16]), 0);
    let entry = world.home.append(group, EntryKind::Message, 1, from, Bytes(b"sealed".to_vec()));
    let device = &mut world.sides[BOB].device;
    device.learn_about_picture(conversation, &entry.header, before).expect("taken");
    assert!(device.about_picture(&conversation).expect("readable").is_some(), "what was said before changes nothing");
    let mine = device.set_about_picture(conversation, None, &mut |bytes| bytes.fill(1), NOW_MS);
    assert_eq!(mine, Err(Error::NotAdmin), "bob's own device refuses it at once");
    let mine = device.set_timer(&conversation.into(), None, &mut |bytes| bytes.fill(1), NOW_MS);
    assert_eq!(mine, Err(Error::NotAdmin), "likewise");
}

#[test]
fn a_picture_reaches_whoever_is_no_stranger_and_goes_when_it_is_taken_away() {
    let mut world = acquainted();
    for tail in [1, 2] {
        world.chooses(ALICE, Some(png(tail)));
        assert_eq!(world.picture_of(ALICE), Some(png(tail)), "bob sees it, and each that follows");
    }
    let submissions = world.home.submissions;
    world.chooses(ALICE, Some(png(2)));
    world.crash(ALICE);
    world.connect(ALICE);
    world.settle();
    assert_eq!(world.home.submissions, submissions, "nobody is told the same twice");
    world.chooses(ALICE, None);
    assert_eq!(world.picture_of(ALICE), None, "taken away, bob does not see it any more");
    let none = world.sides[ALICE].device.set_own_picture(Some(Bytes(b"GIF89a".to_vec())), NOW_MS);
    assert!(matches!(none, Err(Error::Content(_))), "what is no picture is not taken");
}

#[test]
fn a_stranger_is_shown_no_picture_until_accepted() {
    let mut world = World::with(false);
    world.connect(ALICE);
    world.connect(BOB);
    world.settle();
    world.chooses(BOB, Some(png(1)));
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    assert_eq!(world.picture_of(BOB), None, "she is a stranger to him");
    let alice = world.sides[ALICE].account;
    world.sides[BOB].device.accept(&alice).expect("accepted");
    world.settle();
    assert_eq!(world.picture_of(BOB), Some(png(1)), "now she is not");
}

#[test]
fn pictures_and_timers_follow_to_a_device_that_has_nothing_but_its_keys() {
    let mut world = acquainted();
    world.chooses(ALICE, Some(png(1)));
    world.chooses(BOB, Some(png(2)));
    world.set_timer(ALICE, Some(HOUR_S));
    world.collect();
    world.lose_disk(ALICE);
    let device = &world.sides[ALICE].device;
    assert_eq!(device.own_picture(), Ok(Some(png(1))), "her own");
    assert_eq!(world.picture_of(BOB), Some(png(2)), "bob's");
    assert_eq!(device.timer(&to(BOB)), Ok(Some(HOUR_S)), "and for how long things are seen");
}

#[test]
fn drafts_settings_and_read_marks_follow_to_another_device_by_the_archive() {
    let mut world = acquainted();
    let (alice, bob) = (world.sides[ALICE].account, world.sides[BOB].account);
    let place = world.sides[BOB].device.place_with(&alice).conversation;
    assert_eq!(world.sides[BOB].device.conversation_views().expect("readable")[0].unread, 1, "not read yet");
    // Without receipts nothing but the archive tells another device of his what he read.
    let settings = Settings { read_receipts: false, ..world.sides[BOB].device.settings().clone() };
    world.sides[BOB].device.set_settings(settings).expect("set");
    world.act(BOB, |device, random, now| device.mark_read(&to(ALICE), random, now)).expect("known");
    world.sides[BOB].device.set_draft(&place, "half a").expect("short");
    world.settle();
    world.now_ms += 1_000;
    world.sides[BOB].device.set_draft(&place, "half an answer").expect("short");
    world.settle();
    world.collect();
    world.lose_disk(BOB);
    let device = &world.sides[BOB].device;
    assert_eq!(device.draft(&place), Ok(Some("half an answer".into())), "the last draft");
    assert!(!device.settings().read_receipts, "the settings");
    assert_eq!(device.conversation_views().expect("readable")[0].unread, 0, "and what was read");
    assert_eq!(device.account(), bob, "on a device of the same account");
}

#[test]
fn who_is_named_in_a_text_and_takes_part_is_mentioned() {
    let mut world = acquainted();
    let (alice, bob) = (world.sides[ALICE].account, world.sides[BOB].account);
    let mentioned = |text: &str| world.sides[ALICE].device.mentioned(&to(BOB), text).expect("readable");
    let mut both = vec![alice, bob];
    both.sort_unstable();
    assert_eq!(mentioned("@bob@acme and @alice@acme, and @eve@acme"), both, "those who are there, each once");
    assert_eq!(mentioned("bob@acme"), Vec::new(), "a handle alone mentions nobody");
    let mentions = mentioned("@bob@acme look");
    world.now_ms += 1;
    let extras = Extras { mentions, ..Extras::default() };
    let text = "@bob@acme look";
    world.act(ALICE, |device, random, now| device.send_with(&to(BOB), text, extras, random, now)).expect("sent");
    world.settle();
    let view = |world: &World| world.sides[BOB].device.conversation_views().expect("readable").remove(0);
    assert_eq!((view(&world).unread, view(&world).mentioned), (2, 1), "one of two unread ones names bob");
    world.act(BOB, |device, random, now| device.mark_read(&to(ALICE), random, now)).expect("known");
    assert_eq!((view(&world).unread, view(&world).mentioned), (0, 0), "read is read");
}

#[test]
fn without_delivery_receipts_an_author_learns_that_it_is_at_the_home_and_no_more() {
    let mut world = acquainted();
    let off = Settings { delivery_receipts: false, ..world.sides[BOB].device.settings().clone() };
    world.sides[BOB].device.set_settings(off).expect("set");
    world.now_ms += 1;
    let id = world.send(ALICE, "bob@acme", "are you there?").expect("written");
    world.settle();
    assert_eq!(world.state(ALICE, &id), State::Custody, "his home has it");
    assert!(world.newest(ALICE).delivered.is_empty(), "of his device she hears nothing");
    assert!(world.sides[BOB].device.nothing_queued(), "and nothing waits to tell her");
    let on = Settings { delivery_receipts: true, ..world.sides[BOB].device.settings().clone() };
    world.sides[BOB].device.set_settings(on).expect("set");
    world.now_ms += 1;
    let id = world.send(ALICE, "bob@acme", "and now?").expect("written");
    world.settle();
    assert_eq!(world.state(ALICE, &id), State::Delivered, "switched on, she does");
}

#[test]
fn a_code_of_another_account_is_no_verification() {
    let mut world = acquainted();
    let (alice, bob) = (*world.sides[ALICE].device.root(), *world.sides[BOB].device.root());
    let eve = SecretKey::from_seed(&[77; 32]).public_key();
    let whom = Whom::Account(world.sides[BOB].account);
    let device = &mut world.sides[ALICE].device;
    for wrong in [SafetyCode::of(&eve, &alice), SafetyCode::of(&bob, &eve), SafetyCode::of(&alice, &bob)] {
        assert_eq!(device.verify_code(&whom, &wrong).err(), Some(Error::DigitsDiffer), "another pair of keys");
        assert_eq!(device.is_verified(&AccountId::of(&bob)), Ok(false), "nothing counts as compared");
    }
    let shown = world.sides[BOB].device.safety_code(&Whom::Account(AccountId::of(&alice))).expect("known");
    let device = &mut world.sides[ALICE].device;
    let number = device.verify_code(&whom, &shown.to_string().parse().expect("a code")).expect("the same");
    assert_eq!(device.is_verified(&AccountId::of(&bob)), Ok(true), "what bob's device shows is what alice's knows");
    assert_eq!(number, roost_crypto::safety_number::SafetyNumber::of(&alice, &bob), "it stands for the number");
}
