//! Key packages: when new ones are made, and when private halves go.

use super::*;
use crate::core::key_packages::MadeRow;
use crate::core::rows::MADE;

const HOUR_MS: u64 = 3600 * 1_000;
const DAY_MS: u64 = 24 * HOUR_MS;

impl World {
    /// Packages of last resort that bob's device has put.
    fn last_resorts(&self) -> usize {
        self.home.last_resorts.get(&self.sides[BOB].account).map_or(0, Vec::len)
    }

    /// How often bob's device put some in vain.
    fn refused(&self) -> usize {
        self.home.key_packages_refused.iter().filter(|account| **account == self.sides[BOB].account).count()
    }

    /// Time passes; the organisation signs its handles anew, as it does before their time is over.
    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        let expires = self.now_ms / 1000 + 1000;
        for (_, record, _) in self.home.accounts.values_mut() {
            let known = named(record).expect("a record");
            *record = HandleRecord { seq: known.seq + 1, expires, ..known }.sign(&self.home.org);
        }
        self.input(BOB, Input::Tick);
        self.settle();
    }

    /// Private halves of key packages on bob's disk that were put `days` ago or longer.
    fn halves(&self, days: u64) -> usize {
        let kept_until = (self.now_ms - days * DAY_MS) + 115 * DAY_MS;
        let made = self.sides[BOB].device.table.scan::<MadeRow>(&[MADE]).expect("readable");
        let old = made.iter().filter(|(_, row)| row.until <= kept_until);
        old.flat_map(|(_, row)| &row.halves)
            .filter(|half| self.sides[BOB].disk.contains_key(&[b"m", half.as_slice()].concat()))
            .count()
    }
}

#[test]
fn the_package_of_last_resort_is_replaced_after_four_weeks_and_an_hour_after_it_was_used() {
    let mut world = both_online();
    assert_eq!(world.last_resorts(), 1, "one is there from the beginning");
    world.wait(27 * DAY_MS);
    assert_eq!(world.last_resorts(), 1, "it is good for four weeks");
    world.wait(DAY_MS);
    assert_eq!(world.last_resorts(), 2, "then there is another one");
    world.wait(DAY_MS);
    assert_eq!(world.last_resorts(), 2, "which is new");

    world.home.gives_last_resort = true;
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "hi")], "she begins a conversation by it");
    assert_eq!(world.last_resorts(), 3, "used, and older than an hour: it is replaced at once");
    world.wait(HOUR_MS);
    assert_eq!(world.last_resorts(), 3, "the new one was not used");
}

#[test]
fn a_package_of_the_pool_that_is_used_up_replaces_nothing() {
    let mut world = both_online();
    world.wait(DAY_MS);
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    world.wait(60_000);
    assert_eq!(world.shown(BOB), [("alice@acme", "hi")], "she begins a conversation");
    assert_eq!(world.last_resorts(), 1, "what she used is of the pool");
}

#[test]
fn a_home_that_does_not_take_one_is_asked_again_later() {
    let mut world = both_online();
    world.home.takes_no_key_packages = true;
    world.wait(29 * DAY_MS);
    assert_eq!(world.refused(), 1, "it is asked once");
    world.wait(60_000);
    assert_eq!(world.refused(), 1, "and not again with each frame");
    world.home.takes_no_key_packages = false;
    world.wait(10 * 60_000);
    assert_eq!(world.last_resorts(), 2, "but after a while");
}

#[test]
fn private_halves_are_kept_while_a_welcome_may_come_and_then_go() {
    let mut world = both_online();
    let made = world.halves(0);
    assert_eq!(made, 21, "twenty and one of last resort");
    world.wait(114 * DAY_MS);
    world.input(BOB, Input::Closed);
    world.connect(BOB);
    world.settle();
    assert_eq!(world.halves(114), made, "a day before a Welcome could still come");
    world.wait(2 * DAY_MS);
    world.input(BOB, Input::Closed);
    world.connect(BOB);
    world.settle();
    assert_eq!(world.halves(115), 0, "then they are gone from the disk");
    world.home.pools.clear();
    world.home.gives_last_resort = true;
    world.send(ALICE, "bob@acme", "hi").expect("written");
    world.settle();
    assert_eq!(world.shown(BOB), [("alice@acme", "hi")], "and the newest still serves");
}
