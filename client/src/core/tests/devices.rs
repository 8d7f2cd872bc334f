//! Devices of one account, as far as one of them decides: linked, revoked, and come back by the recovery code.

use super::*;
use crate::core::devices::LogChange;
use crate::core::linking::{LinkCode, LinkError, NewDevice};
use crate::core::restore::{RestoreError, RestoredAccount};
use roost_crypto::identity_log::{Operation, Signer, VerifiedLog};
use roost_crypto::recovery::RecoveryCode;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

impl World {
    fn log_of(&self, side: usize) -> VerifiedLog {
        VerifiedLog::verify(&self.home.accounts[&self.sides[side].account].0).expect("a log")
    }

    /// Another device of alice's puts the next log, before hers hears of it.
    fn append_elsewhere(&mut self, op: Operation) {
        let alice = self.sides[ALICE].account;
        // Alice's first device signs as what it is in the stories: the one of seed 11.
        let device = key(11);
        let signer = Signer::Device(DeviceId::of(&device.public_key()));
        let next = self.log_of(ALICE).append(op, signer, &device).expect("allowed");
        self.home.accounts.get_mut(&alice).expect("hers").0 = next.log().clone();
    }

    /// A new device asks alice's with a code that she has shown.
    fn ask(&mut self, new: &NewDevice) {
        let ClientFrame::LinkRequest { session, sealed, .. } = new.request(1, &mut draw(&mut self.draws)) else {
            panic!("a request to be linked")
        };
        self.sides[ALICE].arrived.push_back(ServerFrame::LinkRequested { session, sealed });
        self.settle();
    }
}

fn new_device(world: &mut World, code: &LinkCode) -> NewDevice {
    let code = code.to_string().parse().expect("a code is read as it was shown");
    NewDevice::new(code, "laptop", &mut draw(&mut world.draws)).expect("a short name")
}

#[test]
fn a_new_device_shows_the_same_digits_and_begins_with_the_account() {
    let mut world = both_online();
    let code = world.sides[ALICE].device.offer_link(&mut draw(&mut world.draws));
    let new = new_device(&mut world, &code);
    world.ask(&new);
    let asked = world.sides[ALICE].device.link_asked().expect("it asks");
    assert_eq!((asked.digits.as_str(), asked.name.as_str()), (new.digits().as_str(), "laptop"), "both show the same");
    assert_eq!(world.sides[ALICE].device.link_done(), Ok(None), "nothing happens before the person says yes");
    assert_eq!(world.log_of(ALICE).device_keys().len(), 1, "nor is anybody admitted");

    world.sides[ALICE].device.accept_link().expect("there is room");
    world.settle();
    assert_eq!(world.sides[ALICE].device.link_done(), Ok(Some(())), "it was admitted and answered");
    let sealed = world.home.link_answers.pop().expect("an answer");
    let home = NodeId::of(world.home.node.public_key());
    let (rows, handle) = new.linked(&sealed, &home, NOW_MS).expect("it verifies");
    assert_eq!(handle.to_string(), "alice@acme", "whose it is");
    let mut disk = Disk::new();
    rows.apply_to(&mut disk);
    let device = Device::open(disk).expect("it opens");
    assert_eq!(device.account(), world.sides[ALICE].account, "a device of the same account");
    let devices = device.devices().expect("readable");
    assert_eq!(devices.iter().map(|one| one.current).collect::<Vec<_>>(), [false, true], "the second of two");
    assert_eq!(devices[1].name, "laptop", "under its name");
    let elsewhere = NodeId::of(key(99).public_key());
    assert_eq!(new.linked(&sealed, &elsewhere, NOW_MS).err(), Some(LinkError::NotAdmitted), "at its home only");
}

#[test]
fn without_the_secret_nobody_is_heard_and_nothing_opens() {
    let mut world = both_online();
    let code = world.sides[ALICE].device.offer_link(&mut draw(&mut world.draws));
    let later = world.sides[ALICE].device.offer_link(&mut draw(&mut world.draws));
    let eve = new_device(&mut world, &code);
    world.ask(&eve);
    assert_eq!(world.sides[ALICE].device.link_asked(), None, "a code that was given up lets nobody ask");
    let laptop = new_device(&mut world, &later);
    world.ask(&laptop);
    let second = new_device(&mut world, &later);
    world.ask(&second);
    let asked = world.sides[ALICE].device.link_asked().expect("the first that asks");
    assert_eq!(asked.device, laptop.device(), "who comes second is not heard");
    assert_ne!(second.digits(), asked.digits, "and shows other digits");
    world.sides[ALICE].device.accept_link().expect("there is room");
    world.settle();
    let sealed = world.home.link_answers.pop().expect("an answer");
    let home = NodeId::of(world.home.node.public_key());
    assert_eq!(eve.linked(&sealed, &home, NOW_MS).err(), Some(LinkError::Sealed), "the answer opens under one secret");
    assert_eq!(second.linked(&sealed, &home, NOW_MS).err(), Some(LinkError::NotAdmitted), "and is one device's");
}

#[test]
fn a_link_code_is_short_and_says_what_is_wrong_with_it() {
    let mut world = both_online();
    let code = world.sides[ALICE].device.offer_link(&mut draw(&mut world.draws)).to_string();
    // 37 modules at the lowest level of correction: with its margin it fits 24 rows of a terminal.
    assert!(code.len() <= 154, "{} characters fit a QR code of version 5: {code}", code.len());
    let copied = code.to_lowercase().replace('0', "o");
    assert_eq!(copied.parse::<LinkCode>().map(|code| code.to_string()), Ok(code.clone()), "however it was copied");
    let refused = |text: &str| text.parse::<LinkCode>().expect_err("no code").to_string();
    let other = if &code[40..41] == "Z" { 'Y' } else { 'Z' };
    for (text, why) in [
        ("hello".to_owned(), "begins with ROOST-LINK-"),
        (code[..code.len() - 1].to_owned(), "typing error, or a part of it is missing"),
        (format!("{}{other}{}", &code[..40], &code[41..]), "typing error"),
        (format!("{}U{}", &code[..40], &code[41..]), "character 30"),
        ("ROOST-VERIFY-0123".to_owned(), "begins with ROOST-LINK-"),
    ] {
        assert!(refused(&text).contains(why), "{text}: {}", refused(&text));
    }
}

#[test]
fn a_change_that_was_overtaken_is_planned_anew_from_the_log_that_stands() {
    let mut world = both_online();
    world.append_elsewhere(Operation::AddDevice { device: key(12).public_key() });
    let change = LogChange::Add(key(13).public_key());
    world.sides[ALICE].device.change_log(change).expect("there is room");
    world.settle();
    assert_eq!(world.sides[ALICE].device.log_change(&change), Ok(Some(())), "it is true after all");
    assert_eq!(world.log_of(ALICE).device_keys().len(), 3, "and nothing of the other change is lost");
    let other = DeviceId::of(&key(12).public_key());
    let change = LogChange::Revoke(other);
    world.sides[ALICE].device.change_log(change).expect("it is there");
    world.settle();
    assert!(world.log_of(ALICE).has_revoked(&other, 2), "another device is revoked by an entry of this one");
    assert_eq!(world.sides[ALICE].device.devices().expect("readable").len(), 2, "and listed no more");
    let own = DeviceId::of(&key(11).public_key());
    let refused = world.sides[ALICE].device.change_log(LogChange::Revoke(own));
    assert!(matches!(refused, Err(Error::NotPossible(_))), "no device ends itself");
    let refused = world.sides[ALICE].device.change_log(LogChange::Revoke(other));
    assert_eq!(refused, Err(Error::UnknownDevice), "nor one that is none");
    world.crash(ALICE);
    assert_eq!(world.sides[ALICE].device.devices().expect("readable").len(), 2, "the log is on its disk");
}

#[test]
fn a_revoked_device_sends_nothing_more_and_keeps_what_it_has() {
    let mut world = both_online();
    world.send(ALICE, "bob@acme", "before").expect("written");
    world.settle();
    let code = RecoveryCode::from_entropy([10; 16]);
    let seed = Zeroizing::new([15; 32]);
    let home = NodeId::of(world.home.node.public_key());
    let restored = RestoredAccount::new(&code, &seed, world.log_of(ALICE).log(), &home, true).expect("hers");
    world.sides[ALICE].arrived.push_back(ServerFrame::LogChanged { log: restored.log.log().clone() });
    let submissions = world.home.submissions;
    world.settle();
    world.send(ALICE, "bob@acme", "after").expect("written");
    world.settle();
    assert_eq!(world.home.submissions, submissions, "what is written then does not leave");
    world.crash(ALICE);
    let history = world.sides[ALICE].device.history(None, None, 10).expect("readable").items;
    assert_eq!(history.len(), 2, "it opens, and what was said can be read");
}

#[test]
fn the_recovery_code_admits_a_device_beside_or_instead_of_the_others() {
    let world = World::new();
    let code = RecoveryCode::from_entropy([10; 16]);
    let home = NodeId::of(world.home.node.public_key());
    let log = world.log_of(ALICE);
    let restore = |code: &RecoveryCode, log: &VerifiedLog, seed: u8, alone: bool| {
        RestoredAccount::new(code, &Zeroizing::new([seed; 32]), log.log(), &home, alone)
    };
    let beside = restore(&code, &log, 30, false).expect("hers");
    assert_eq!(beside.log.device_keys().len(), 2, "beside the first");
    assert_eq!(log.relation(&beside.log), roost_crypto::identity_log::Relation::Extended, "by the next entry");
    let alone = restore(&code, &beside.log, 31, true).expect("hers");
    assert_eq!(alone.log.device_keys().keys().copied().collect::<Vec<_>>(), [alone.device()], "instead of both");
    let foreign = RecoveryCode::from_entropy([77; 16]);
    assert_eq!(restore(&foreign, &log, 30, false).err(), Some(RestoreError::OtherAccount), "by its own code only");

    let mut full = log;
    for seed in 40..44 {
        full = restore(&code, &full, seed, false).expect("there is room").log;
    }
    assert_eq!(restore(&code, &full, 44, false).err(), Some(RestoreError::Full), "five are the most");
    let (mut long, mut seed) = (full, 50);
    while long.count() == 0 {
        long = restore(&code, &long, seed, true).expect("a log without room begins anew").log;
        seed += 1;
    }
    assert_eq!(long.device_keys().len(), 1, "with the new device alone");
    assert_eq!(long.handle().map(|(handle, _)| handle), Some("alice@acme"), "and the handle");
}
