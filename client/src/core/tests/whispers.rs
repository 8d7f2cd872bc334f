//! What is said in passing: typing, and who is there.

use super::*;
use crate::core::Recipient;
use crate::core::rows::SEEN;
use crate::core::whispers::Seen;
use roost_protocol::content::{Typing, Watch, Whisper, WhisperBody};
use roost_protocol::limits;

const MINUTE: u64 = 60_000;

/// Alice and bob have written to each other; nothing was said in passing yet.
fn acquainted(accept_strangers: bool) -> World {
    let mut world = World::with(accept_strangers);
    world.connect(ALICE);
    world.connect(BOB);
    world.settle();
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    world
}

fn name(side: usize) -> &'static str {
    if side == ALICE { "alice@acme" } else { "bob@acme" }
}

impl World {
    fn types(&mut self, side: usize, on: bool) {
        let to = name(1 - side).parse().expect("a handle");
        self.sides[side].device.typing(&to, on, &mut draw(&mut self.draws), self.now_ms).expect("known");
        self.settle();
    }

    fn watches(&mut self, side: usize) -> bool {
        let whom = name(1 - side).parse().expect("a handle");
        let may = self.sides[side].device.watch(&whom, self.now_ms).expect("known");
        self.settle();
        may
    }

    fn typists(&self, side: usize) -> usize {
        self.sides[side].device.typists(&name(1 - side).parse().expect("a handle")).expect("known").len()
    }

    /// What a side knows of the other.
    fn seen(&self, side: usize) -> Seen {
        self.sides[side].device.presence_of(&self.sides[1 - side].account, self.now_ms).state
    }

    /// Whispers of a side that came to the home.
    fn whispers_of(&self, side: usize) -> usize {
        self.home.whispers.iter().filter(|(from, _)| *from == self.sides[side].account).count()
    }

    /// Time goes by; each device is woken when it wants to be.
    fn elapse(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        for _ in 0..500 {
            self.settle();
            let wakes = self.sides.iter().filter(|side| side.online).filter_map(|side| side.device.wake_at());
            let next = wakes.min().map_or(end, |at| at.max(self.now_ms + 1)).min(end);
            self.now_ms = next;
            for side in [ALICE, BOB] {
                self.input(side, Input::Tick);
            }
            if next == end {
                return self.settle();
            }
        }
        panic!("the devices are woken all the time");
    }

    fn set_presence(&mut self, side: usize, presence: bool) {
        let settings = super::super::people::Settings { presence, ..self.sides[side].device.settings().clone() };
        self.sides[side].device.set_settings(settings).expect("set");
        self.settle();
    }

    /// A whisper of bob's device, as his home would pass it on to alice.
    fn whisper_of_bob(&mut self, whisper: &Whisper) -> ServerFrame {
        let alice = self.sides[ALICE].account;
        let device = &self.sides[BOB].device;
        let group = device.standing_group(&alice).expect("they have a group");
        let groups = &device.engine.groups;
        let nonce = [9; roost_crypto::group::WHISPER_NONCE_BYTES];
        let sealed = groups.seal_whisper(&device.table, group.as_bytes(), nonce, &whisper.encode()).expect("sealed");
        let account = self.sides[BOB].account;
        ServerFrame::Whisper { group, epoch: sealed.epoch, account, payload: sealed.ciphertext }
    }

    fn hear(&mut self, side: usize, frame: &ServerFrame) {
        self.input(side, Input::Frame(Box::new(frame.clone())));
        self.settle();
    }
}

fn typing(sent_at: u64, on: bool) -> Whisper {
    Whisper { sent_at, body: WhisperBody::Typing(Typing { on }) }
}

#[test]
fn bob_sees_that_alice_types_until_she_stops_writes_or_is_silent() {
    let mut world = acquainted(true);
    world.types(ALICE, true);
    assert_eq!((world.typists(BOB), world.typists(ALICE)), (1, 0), "bob sees it, alice does not see herself");
    world.types(ALICE, false);
    assert_eq!(world.typists(BOB), 0, "she stopped");
    world.types(ALICE, true);
    world.elapse(limits::TYPING_MS - 1);
    assert_eq!(world.typists(BOB), 1, "for a while a silent one is believed");
    world.elapse(1);
    assert_eq!(world.typists(BOB), 0, "then no more");
    world.types(ALICE, true);
    world.send(ALICE, "bob@acme", "there").expect("written");
    world.settle();
    assert_eq!(world.typists(BOB), 0, "who has written types no more");
    let told: Vec<bool> = world.typing.iter().filter(|(side, _)| *side == BOB).map(|(_, on)| *on).collect();
    assert_eq!(told, [true, false, true, false, true, false], "each beginning and each end is told once");
}

#[test]
fn a_key_a_millisecond_is_said_every_four_seconds() {
    let mut world = acquainted(true);
    for _ in 0..50 {
        world.types(ALICE, true);
        world.now_ms += 100;
    }
    assert_eq!(world.whispers_of(ALICE), 2, "in five seconds it is said twice");
    world.types(ALICE, false);
    world.types(ALICE, false);
    assert_eq!(world.whispers_of(ALICE), 3, "the end is said once");
    assert!(world.home.whispers.iter().all(|(_, bytes)| *bytes == 256), "and all have one length");
}

#[test]
fn whispers_leave_nothing_on_either_disk() {
    let mut world = acquainted(true);
    // What was written before goes to the archive first.
    world.collect();
    // When somebody was last seen is kept, and nothing else.
    let rows = |world: &World| -> Vec<Disk> {
        let kept = |side: &Side| side.disk.clone().into_iter().filter(|(key, _)| key.first() != Some(&SEEN)).collect();
        world.sides.iter().map(kept).collect()
    };
    let before = rows(&world);
    world.types(ALICE, true);
    world.watches(BOB);
    world.elapse(10 * MINUTE);
    assert!(world.whispers_of(ALICE) > 2 && world.whispers_of(BOB) > 2, "much was said");
    assert!(before == rows(&world), "no row was written, none changed");
}

#[test]
fn alice_sees_bob_come_be_away_come_back_and_go() {
    let mut world = acquainted(true);
    assert_eq!(world.seen(ALICE), Seen::Unknown, "nobody is told who does not ask");
    assert!(world.watches(ALICE), "she may ask");
    let report = world.sides[ALICE].device.presence_of(&world.sides[BOB].account, world.now_ms);
    assert_eq!((report.state, report.heard_at), (Seen::Online, Some(world.now_ms)), "he answers at once");
    let active_at = report.last_active_at.expect("told");
    assert!(
        active_at.is_multiple_of(MINUTE) && active_at <= world.now_ms,
        "to the minute, and not in the future: {active_at}"
    );
    world.elapse(limits::AWAY_AFTER_MS - 1);
    assert_eq!(world.seen(ALICE), Seen::Online, "a connected device that was used stays so");
    world.elapse(1);
    assert_eq!(world.seen(ALICE), Seen::Away, "until nobody used it for five minutes");
    world.elapse(10 * MINUTE);
    assert_eq!(world.seen(ALICE), Seen::Away, "however long");
    world.sides[BOB].device.active(world.now_ms);
    world.settle();
    assert_eq!(world.seen(ALICE), Seen::Online, "and it says at once that he is back");
    let heard_at = world.now_ms;
    world.crash(BOB);
    world.elapse(limits::PRESENCE_MS_MAX);
    let report = world.sides[ALICE].device.presence_of(&world.sides[BOB].account, world.now_ms);
    assert_eq!(report.state, Seen::Unknown, "who goes says nothing and is believed for a while only");
    assert_eq!(report.heard_at, Some(heard_at), "when he was last heard of stays known");
    world.connect(BOB);
    world.elapse(limits::WATCH_AGAIN_MS);
    assert_eq!(world.seen(ALICE), Seen::Online, "she asks again, so he is found when he comes back");
    assert_eq!(world.presences, [Seen::Online, Seen::Away, Seen::Online, Seen::Unknown, Seen::Online], "each was told");
}

#[test]
fn who_looks_away_is_told_nothing_more_after_three_minutes() {
    let mut world = acquainted(true);
    world.watches(ALICE);
    world.sides[ALICE].device.unwatch(&name(BOB).parse().expect("a handle")).expect("known");
    world.elapse(limits::WATCH_MS);
    let told = world.whispers_of(BOB);
    assert!((1..=3).contains(&told), "an answer and a heartbeat a minute: {told}");
    world.elapse(20 * MINUTE);
    assert_eq!(world.whispers_of(BOB), told, "then nothing");
    assert_eq!(world.whispers_of(ALICE), 1, "she asked once");
}

#[test]
fn a_stranger_a_blocked_account_and_everybody_hears_nothing_of_who_does_not_want_it() {
    let mut stranger = acquainted(false);
    assert!(stranger.watches(ALICE), "alice wrote to bob, so she may ask");
    stranger.types(ALICE, true);
    stranger.elapse(MINUTE);
    assert_eq!((stranger.seen(ALICE), stranger.whispers_of(BOB)), (Seen::Unknown, 0), "she is a stranger to bob");
    assert_eq!(stranger.typists(BOB), 0, "and he does not hear her type");
    assert!(!stranger.watches(BOB), "nor asks for a stranger");
    let alice = stranger.sides[ALICE].account;
    stranger.sides[BOB].device.accept(&alice).expect("accepted");
    stranger.elapse(limits::WATCH_AGAIN_MS);
    assert_eq!(stranger.seen(ALICE), Seen::Online, "accepted, she is answered");

    stranger.sides[BOB].device.block(&alice).expect("blocked");
    let told = stranger.whispers_of(BOB);
    stranger.types(BOB, true);
    stranger.elapse(10 * MINUTE);
    assert_eq!((stranger.whispers_of(BOB), stranger.seen(ALICE)), (told, Seen::Unknown), "blocked, she is not");

    let mut off = acquainted(true);
    off.watches(ALICE);
    off.set_presence(BOB, false);
    let told = off.whispers_of(BOB);
    off.types(BOB, true);
    assert!(!off.watches(BOB), "who tells nothing is told nothing");
    off.types(ALICE, true);
    assert_eq!(off.typists(BOB), 0, "not even who types");
    off.elapse(10 * MINUTE);
    assert_eq!((off.whispers_of(BOB), off.seen(ALICE)), (told, Seen::Unknown), "switched off, it says nothing more");
    off.set_presence(BOB, true);
    off.elapse(limits::WATCH_AGAIN_MS);
    assert_eq!(off.seen(ALICE), Seen::Away, "switched on again, it does: he did nothing for ten minutes");
}

#[test]
fn a_question_that_was_lost_is_asked_again_soon_and_then_ever_more_seldom() {
    let mut world = acquainted(true);
    world.home.loses_whispers = true;
    world.watches(ALICE);
    world.elapse(2 * MINUTE);
    let asked = world.whispers_of(ALICE);
    assert!((5..=8).contains(&asked), "within two minutes a few times: {asked}");
    world.elapse(20 * MINUTE);
    assert!(world.whispers_of(ALICE) <= asked + 11, "later every two minutes");
    world.home.loses_whispers = false;
    world.elapse(limits::WATCH_AGAIN_MS);
    assert_eq!(world.seen(ALICE), Seen::Away, "and is answered when it gets through: he did nothing meanwhile");
}

#[test]
fn a_whisper_that_is_repeated_old_or_of_another_account_is_not_believed() {
    let mut world = acquainted(true);
    let now = world.now_ms + 1_000;
    let (on, off) = (world.whisper_of_bob(&typing(now, true)), world.whisper_of_bob(&typing(now + 1, false)));
    world.hear(ALICE, &on);
    assert_eq!(world.typists(ALICE), 1, "bob types");
    world.hear(ALICE, &off);
    world.hear(ALICE, &on);
    assert_eq!(world.typists(ALICE), 0, "what came before is not news any more");
    for sent_at in [world.now_ms - limits::WHISPER_AGE_MS_MAX - 1, world.now_ms + limits::WHISPER_AGE_MS_MAX + 1] {
        let old = world.whisper_of_bob(&typing(sent_at, true));
        world.hear(ALICE, &old);
        assert_eq!(world.typists(ALICE), 0, "too old, or too far ahead");
    }
    let ServerFrame::Whisper { group, epoch, payload, .. } = world.whisper_of_bob(&typing(now + 2, true)) else {
        panic!("a whisper")
    };
    let account = AccountId([66; 32]);
    world.hear(ALICE, &ServerFrame::Whisper { group, epoch, account, payload: payload.clone() });
    assert_eq!(world.typists(ALICE), 0, "of somebody else than it names");
    let (bob, mut damaged) = (world.sides[BOB].account, payload.clone());
    *damaged.0.last_mut().expect("bytes") ^= 1;
    world.hear(ALICE, &ServerFrame::Whisper { group, epoch, account: bob, payload: damaged });
    world.hear(ALICE, &ServerFrame::Whisper { group, epoch: epoch + 1, account: bob, payload: payload.clone() });
    world.hear(ALICE, &ServerFrame::Whisper { group: GroupId([7; 32]), epoch, account: bob, payload: payload.clone() });
    assert_eq!(world.typists(ALICE), 0, "damaged, of another epoch, of no conversation: dropped without a word");
    let later = Whisper { sent_at: now + 3, body: WhisperBody::Unknown { kind: "later".into() } };
    let later = world.whisper_of_bob(&later);
    world.hear(ALICE, &later);
    world.hear(ALICE, &ServerFrame::Whisper { group, epoch, account: bob, payload });
    assert_eq!(world.typists(ALICE), 0, "a kind that nobody knows is passed over, and what came before it is old");
    let next = world.whisper_of_bob(&typing(now + 4, true));
    world.hear(ALICE, &next);
    assert_eq!(world.typists(ALICE), 1, "the next one is believed");
}

#[test]
fn who_asks_all_the_time_is_answered_once_a_second() {
    let mut world = acquainted(true);
    let start = world.now_ms;
    for number in 0..100 {
        let watch = Whisper { sent_at: start + number + 1, body: WhisperBody::Watch(Watch {}) };
        let watch = world.whisper_of_bob(&watch);
        world.hear(ALICE, &watch);
    }
    assert_eq!(world.whispers_of(ALICE), 1, "of a hundred at once one is answered");
    world.elapse(2_000);
    assert_eq!(world.whispers_of(ALICE), 2, "and the rest together");
}

#[test]
fn a_home_that_passes_no_whispers_on_is_told_none_and_one_that_refuses_them_is_kept() {
    let mut world = acquainted(true);
    let error = Refusal::never(Code::NotMember, "not a participant", "ask a member");
    world.input(ALICE, Input::Frame(Box::new(ServerFrame::Refused { id: None, error })));
    world.settle();
    world.types(ALICE, true);
    assert_eq!(world.whispers_of(ALICE), 1, "the connection stands: `settle` fails at a disconnect");
    world.home.features.clear();
    world.input(ALICE, Input::Closed);
    world.connect(ALICE);
    world.settle();
    world.types(ALICE, true);
    world.watches(ALICE);
    world.elapse(MINUTE);
    assert_eq!(world.whispers_of(ALICE), 1, "nobody uses what the other did not name");
}

#[test]
fn who_is_gone_was_last_seen_when_they_said_so_also_after_a_restart_and_not_once_that_is_switched_off() {
    let mut world = acquainted(true);
    let bob: Recipient = name(BOB).parse().expect("a handle");
    world.watches(ALICE);
    let at = world.now_ms;
    let seen = |world: &World| world.sides[ALICE].device.presence(&bob, world.now_ms).expect("known");
    assert_eq!(seen(&world).state, Seen::Online, "he is there");
    world.sides[BOB].online = false;
    world.input(BOB, Input::Closed);
    world.elapse(10 * MINUTE);
    world.crash(ALICE);
    world.connect(ALICE);
    world.settle();
    let report = seen(&world);
    assert_eq!(report.state, Seen::Unknown, "he is gone");
    assert_eq!(report.last_active_at, Some(at / MINUTE * MINUTE), "and was there last in that minute");
    world.watches(ALICE);
    assert_eq!(
        seen(&world).last_active_at,
        report.last_active_at,
        "asking him anew, the old word stands until he answers"
    );
    world.set_presence(ALICE, false);
    assert_eq!(seen(&world).last_active_at, None, "who does not tell, knows nothing of others either");
}
