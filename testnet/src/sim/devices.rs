//! Several devices of an account: a second one is linked while both sides compare digits, one is revoked, one is lost for good, an
//! account comes back by its recovery code.
//!
//! The number of a person is that of its first device; every further device is one more process of that person. A device that
//! is not one yet has no core: here stands what it says until its account has taken it in.

use super::person::{Person, Task};
use super::schedule::{Event, Millis};
use super::world::World;
use roost_client::core::linking::{LinkCode, NewDevice};
use roost_client::core::restore::RestoredAccount;
use roost_crypto::bytes::Bytes;
use roost_crypto::group::WriteSet;
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::keys::SecretKey;
use roost_crypto::recovery::RecoveryCode;
use roost_crypto::signed::Signed;
use roost_node::relay::{ConnectionId, audit};
use roost_protocol::codec;
use roost_protocol::ids::MessageId;
use roost_protocol::limits;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::{BTreeMap, BTreeSet};

/// Devices that an account has at a time here.
const DEVICES_MAX: usize = 3;
/// How soon a person looks at the list of its devices once one did not come.
const TIDY_MS: Millis = 20_000;
/// Pause before a person whose device is not running tries again.
const AGAIN_MS: Millis = 5_000;

/// What a process of a person is.
pub(super) enum Life {
    /// It asks to be a device of its account.
    Coming(Box<Coming>),
    /// It is one, or was until it is revoked.
    Living,
    /// Lost for good, or it never came to be.
    Gone,
}

/// How it comes.
#[expect(clippy::large_enum_variant, reason = "few devices come at once, each in a box of its own")]
pub(super) enum Coming {
    /// By the code that another device shows; `intruder` is somebody who has seen the code.
    Link { device: NewDevice, shown_by: usize, intruder: bool },
    /// By the recovery code, with the others revoked or not.
    Restore { device: SecretKey, alone: bool, restored: Option<RestoredAccount> },
}

/// What is known of the devices of all accounts.
#[derive(Default)]
pub(super) struct Devices {
    /// Accounts whose devices ever changed.
    pub changed: BTreeSet<usize>,
    /// Devices that their account's log has ended.
    pub revoked: BTreeSet<usize>,
    /// Devices that did not come: the log may have taken them in all the same.
    ghosts: BTreeSet<usize>,
    /// Who has seen a code and is no device of the account.
    intruders: BTreeSet<DeviceId>,
    /// What was in the archive of an account when a device of it was lost.
    archived: BTreeMap<usize, BTreeSet<MessageId>>,
}

impl World {
    /// Plans when somebody's devices change.
    pub(super) fn plan_devices(&mut self) {
        let people = self.people.len();
        let length = self.scenario.safety_s * 1000;
        for _ in 0..self.scenario.device_changes {
            let owner = self.dice.index(people);
            let at = self.now + 25_000 + self.dice.below(length);
            self.schedule.at(at, Event::Devices { owner });
        }
    }

    /// The person whose device a process is.
    pub(super) fn owner(&self, device: usize) -> usize {
        self.people.get(device).map_or(device, |person| person.owner)
    }

    /// Whether it is an active device that somebody has.
    pub(super) fn is_living(&self, device: usize) -> bool {
        let living = self.people.get(device).is_some_and(|person| matches!(person.life, Life::Living));
        living && !self.devices.revoked.contains(&device)
    }

    /// The active devices that a person has.
    pub(super) fn devices_of(&self, owner: usize) -> Vec<usize> {
        if !self.devices.changed.contains(&owner) {
            return vec![owner];
        }
        let own = |device: &usize| self.owner(*device) == owner && self.is_living(*device);
        (0..self.people.len()).filter(own).collect()
    }

    /// One of them.
    pub(super) fn some_device(&mut self, owner: usize) -> Option<usize> {
        let devices = self.devices_of(owner);
        match devices.as_slice() {
            [device] => Some(*device),
            _ => devices.get(self.dice.index(devices.len())).copied(),
        }
    }

    /// Whether a person had the same device all the time.
    pub(super) fn has_one_device(&self, owner: usize) -> bool {
        !self.devices.changed.contains(&owner)
    }

    /// A person changes its devices. After the heal only who has none left gets one.
    pub(super) fn change_devices(&mut self, owner: usize) {
        let under_way = self
            .people
            .iter()
            .any(|person| person.owner == owner && matches!(person.life, Life::Coming(_)) && !person.is_intruder());
        let devices = self.devices_of(owner);
        if under_way || (self.healed && !devices.is_empty()) {
            return;
        }
        let choice = self.dice.below(100);
        let running: Vec<usize> = devices.iter().copied().filter(|one| self.runs(*one)).collect();
        let some = running.get(self.dice.index(running.len())).copied();
        match (devices.len(), some) {
            (0, _) => {
                let alone = self.healed || self.dice.chance(500);
                self.restore_account(owner, alone);
            }
            (_, None) => self.schedule.at(self.now + AGAIN_MS, Event::Devices { owner }),
            (1, Some(by)) if choice < 65 => self.offer_link(by),
            (1, Some(_)) if choice < 80 => self.restore_account(owner, false),
            (1, Some(by)) => {
                self.counters.reach("accounts_without_device");
                self.lose_device(by);
                let at = self.now + self.dice.between(2_000, 300_000);
                self.schedule.at(at, Event::Devices { owner });
            }
            (count, Some(by)) if choice < 25 && count < DEVICES_MAX => self.offer_link(by),
            (_, Some(by)) if choice < 60 => {
                let others: Vec<usize> = devices.into_iter().filter(|one| *one != by).collect();
                if let Some(other) = others.get(self.dice.index(others.len())) {
                    self.revoke(by, *other);
                }
            }
            (_, Some(by)) if choice < 85 => {
                self.lose_device(by);
                // Most people notice, and end what they have lost.
                let others: Vec<usize> = devices.into_iter().filter(|one| *one != by).collect();
                if let Some(other) = others.first().filter(|_| self.dice.chance(700)) {
                    let at = self.now + self.dice.between(1_000, 120_000);
                    self.schedule.at(at, Event::Revoke { by: *other, device: by });
                }
            }
            _ => {
                let alone = self.dice.chance(500);
                self.restore_account(owner, alone);
            }
        }
    }

    fn runs(&self, device: usize) -> bool {
        self.people.get(device).is_some_and(|person| person.device.is_some() && person.connection.is_some())
    }

    fn offer_link(&mut self, by: usize) {
        self.give(by, Task::OfferLink);
    }

    /// A person ends another of its devices.
    pub(super) fn revoke(&mut self, by: usize, device: usize) {
        if self.is_living(by) && !self.devices.revoked.contains(&device) {
            let Some(id) = self.people.get(device).map(|person| person.device_id) else { return };
            self.devices.changed.insert(self.owner(by));
            self.give(by, Task::Revoke(id));
        }
    }

    /// A device is lost for good: stolen, broken, at the bottom of the sea.
    fn lose_device(&mut self, device: usize) {
        self.note(format_args!("device {device} is lost"), &[]);
        self.counters.fault("lost_device");
        let owner = self.owner(device);
        self.devices.changed.insert(owner);
        let archived = self.people.get(device).and_then(|person| person.device.as_ref());
        let archived = archived.filter(|one| one.is_archived() && one.has_caught_up());
        let ids: Option<Vec<MessageId>> = archived
            .and_then(|one| one.history(None, None, usize::MAX).ok())
            .map(|page| page.items.into_iter().map(|item| item.id).collect());
        // A home that lost its store later has lost the archive with it.
        self.devices.archived.entry(owner).or_default().extend(ids.unwrap_or_default());
        if let Some(person) = self.people.get_mut(device) {
            person.end();
        }
        self.device_is_gone(device);
        self.device_was_lost(device);
    }

    /// A code is shown: the new device is given it, and now and then somebody else has seen it and asks first.
    pub(super) fn code_shown(&mut self, by: usize, code: &LinkCode) {
        let intruder = self.dice.chance(200);
        if intruder {
            self.counters.reach("intruders");
            self.link_comes(by, code.clone(), true);
        }
        self.link_comes(by, code.clone(), false);
    }

    fn link_comes(&mut self, by: usize, code: LinkCode, intruder: bool) {
        let dice = &mut self.dice;
        let Ok(device) = NewDevice::new(code, "another", &mut |bytes| dice.fill(bytes)) else { return };
        let id = device.device();
        if intruder {
            self.devices.intruders.insert(id);
        }
        let coming = Coming::Link { device, shown_by: by, intruder };
        // Whoever has only seen the code is quick.
        let (from, to) = if intruder { (10, 500) } else { (1_000, 10_000) };
        self.comes(self.owner(by), id, coming, (from, to));
    }

    fn restore_account(&mut self, owner: usize, alone: bool) {
        let device = SecretKey::from_seed(&self.dice.bytes());
        let id = DeviceId::of(&device.public_key());
        self.comes(owner, id, Coming::Restore { device, alone, restored: None }, (200, 5_000));
    }

    fn comes(&mut self, owner: usize, id: DeviceId, coming: Coming, (from, to): (Millis, Millis)) {
        let Some(first) = self.people.get(owner) else { return };
        let mut person = Person::new(first.handle.clone(), first.account, id, first.home);
        (person.owner, person.life) = (owner, Life::Coming(Box::new(coming)));
        let number = self.people.len();
        self.people.push(person);
        self.devices.changed.insert(owner);
        self.trace.step(self.now, format_args!("device {number} of person {owner} wants to come"));
        let at = self.now + self.dice.between(from, to);
        self.schedule.at(at, Event::Come { device: number });
        self.schedule.at(at + limits::LINK_MS + 5_000, Event::ComesNot { device: number });
    }

    /// It connects to its home.
    pub(super) fn come(&mut self, device: usize) {
        if !self.is_coming(device) {
            return;
        }
        let home = self.people.get(device).map_or(0, |person| person.home);
        if self.is_up(home) {
            self.open_socket(device, home);
        } else {
            self.schedule.at(self.now + AGAIN_MS, Event::Come { device });
        }
    }

    pub(super) fn is_coming(&self, device: usize) -> bool {
        self.people.get(device).is_some_and(|person| matches!(person.life, Life::Coming(_)))
    }

    /// Its try has come to nothing: the connection broke, nobody answered, or it was refused.
    pub(super) fn comes_not(&mut self, device: usize) {
        if !self.is_coming(device) {
            return;
        }
        self.trace.step(self.now, format_args!("device {device} does not come"));
        self.hang_up(device);
        let owner = self.owner(device);
        let Some(person) = self.people.get_mut(device) else { return };
        let before = std::mem::replace(&mut person.life, Life::Gone);
        self.devices.ghosts.insert(device);
        self.schedule.at(self.now + TIDY_MS, Event::Tidy { owner });
        if let Life::Coming(coming) = before
            && let Coming::Link { shown_by, intruder: false, .. } = *coming
        {
            self.give(shown_by, Task::EndLink);
        }
        if self.devices_of(owner).is_empty() {
            self.schedule.at(self.now + AGAIN_MS, Event::Devices { owner });
        }
    }

    /// A frame reaches a device that is none yet.
    pub(super) fn coming_hears(&mut self, device: usize, connection: ConnectionId, frame: ServerFrame) {
        let now = self.now;
        let Some(person) = self.people.get_mut(device) else { return };
        let (account, home) = (person.account, person.home);
        let Some(node) = self.nodes.get(home).map(|node| node.id) else { return };
        let Life::Coming(coming) = &mut person.life else { return };
        let dice = &mut self.dice;
        match (&mut **coming, frame) {
            (Coming::Link { device: new, .. }, ServerFrame::Hello { .. }) => {
                let request = new.request(1, &mut |bytes| dice.fill(bytes));
                self.send_over(connection, request);
            }
            (Coming::Link { device: new, .. }, ServerFrame::LinkAnswered { session, sealed })
                if session == new.session =>
            {
                match new.linked(&sealed, &node, now) {
                    Ok((rows, _)) => self.came(device, rows, "linked"),
                    // The answer was for somebody else.
                    Err(_) => self.comes_not(device),
                }
            }
            (Coming::Restore { .. }, ServerFrame::Hello { .. }) => {
                self.send_over(connection, ClientFrame::FetchAccount { id: 1, account });
            }
            (Coming::Restore { .. }, ServerFrame::Account { log, handle_record, .. }) => {
                self.restores(device, connection, &log, handle_record);
            }
            // A home that lost its store knows the account no more; the directory does.
            (Coming::Restore { restored: None, .. }, ServerFrame::Refused { id: Some(1), .. }) => {
                match self.in_directory(device) {
                    Some((log, handle_record)) => self.restores(device, connection, &log, handle_record),
                    None => self.comes_not(device),
                }
            }
            (Coming::Restore { restored: Some(restored), .. }, ServerFrame::SignedUp { handle_record, org, .. }) => {
                match restored.rows("sim", handle_record, org, now) {
                    Ok(rows) => {
                        let after = restored.log.clone();
                        self.log_stands(self.owner(device), &after);
                        self.came(device, rows, "restored");
                    }
                    Err(_) => self.comes_not(device),
                }
            }
            (_, ServerFrame::Refused { .. }) => self.comes_not(device),
            _ => {}
        }
    }

    /// The account's root key signs the new device in.
    fn restores(&mut self, device: usize, connection: ConnectionId, log: &IdentityLog, handle_record: Signed) {
        let owner = self.owner(device);
        let Some(entropy) = self.people.get(owner).map(|person| person.recovery) else { return };
        let Some(node) = self.people.get(device).and_then(|one| self.nodes.get(one.home)).map(|node| node.id) else {
            return;
        };
        let Some(person) = self.people.get_mut(device) else { return };
        let Life::Coming(coming) = &mut person.life else { return };
        let Coming::Restore { device: key, alone, restored } = &mut **coming else { return };
        let code = RecoveryCode::from_entropy(entropy);
        match RestoredAccount::new(&code, &key.seed(), log, &node, *alone) {
            Ok(account) => {
                let log = account.log.log().clone();
                *restored = Some(account);
                self.send_over(connection, ClientFrame::Restore { id: 2, handle_record, log });
            }
            Err(_) => self.comes_not(device),
        }
    }

    fn in_directory(&self, device: usize) -> Option<(IdentityLog, Signed)> {
        let handle = &self.people.get(device)?.handle;
        let records = (0..self.nodes.len()).map(|node| self.records_of(node, handle));
        records.into_iter().find_map(|(record, log)| {
            let record = codec::decode(&record?, limits::DHT_VALUE_BYTES_MAX).ok()?;
            Some((codec::decode(&log?, limits::DHT_VALUE_BYTES_MAX).ok()?, record))
        })
    }

    /// It is a device now: its rows are on its disk, and it starts.
    fn came(&mut self, device: usize, rows: WriteSet, how: &'static str) {
        self.trace.step(self.now, format_args!("device {device} is {how}"));
        self.counters.reach(if how == "linked" { "devices_linked" } else { "accounts_restored" });
        self.hang_up(device);
        let at = self.now + self.dice.between(10, 500);
        let Some(person) = self.people.get_mut(device) else { return };
        person.disk.write(rows);
        person.disk.sync();
        person.life = Life::Living;
        let (process, id) = (person.process, person.device_id);
        self.schedule.at(at, Event::DeviceStart { person: device, process });
        if self.devices.intruders.contains(&id) {
            self.violated("I6", format!("device {device} came in by a code that it had only seen"));
        }
    }

    /// A device asks by the code that a device shows: the person looks at both screens.
    pub(super) fn compare_digits(&mut self, by: usize) {
        let Some(asked) =
            self.people.get(by).and_then(|person| person.device.as_ref()).and_then(|device| device.link_asked())
        else {
            return;
        };
        // What the new device in the person's hand shows, not what an intruder's does.
        let mine = self.people.iter().find_map(|person| match &person.life {
            Life::Coming(coming) => match &**coming {
                Coming::Link { device, shown_by, intruder: false } if *shown_by == by => Some(device.digits()),
                _ => None,
            },
            _ => None,
        });
        if mine == Some(asked.digits) {
            self.give(by, Task::AcceptLink);
        } else {
            self.counters.reach("links_refused");
            self.give(by, Task::EndLink);
        }
    }

    /// A device knows a newer log of its account: whoever it has ended is none any more.
    pub(super) fn own_log_changed(&mut self, device: usize) {
        let Some(log) =
            self.people.get(device).and_then(|person| person.device.as_ref()).map(|one| one.own_log().clone())
        else {
            return;
        };
        self.log_stands(self.owner(device), &log);
    }

    fn log_stands(&mut self, owner: usize, log: &VerifiedLog) {
        let active = log.device_keys();
        if let Some(intruder) = self.devices.intruders.iter().find(|device| active.contains_key(*device)) {
            let detail = format!("the log of person {owner} admits {intruder}, which has only seen a code");
            self.violated("I6", detail);
        }
        let ended: Vec<usize> = self
            .people
            .iter()
            .enumerate()
            .filter(|(_, person)| person.owner == owner && matches!(person.life, Life::Living | Life::Gone))
            .filter(|(_, person)| ended_by(log, &person.device_id))
            .map(|(number, _)| number)
            .collect();
        for device in ended {
            if self.devices.revoked.insert(device) {
                self.counters.reach("devices_revoked");
                self.trace.step(self.now, format_args!("device {device} is revoked"));
            }
        }
    }

    /// Whether the home of a device has on its disk that the device was ended.
    pub(super) fn is_ended_at(&self, node: usize, account: &AccountId, device: &DeviceId) -> bool {
        let store = self.nodes.get(node).map(|node| &node.disk.durable);
        let log = store.and_then(|store| audit::log_at_home(store, account).ok().flatten());
        log.and_then(|log| VerifiedLog::verify(&log).ok()).is_some_and(|log| ended_by(&log, device))
    }

    /// The heal: who has no device left gets one by the recovery code.
    pub(super) fn heal_devices(&mut self) {
        for owner in self.devices.changed.clone() {
            self.schedule.at(self.now + 1, Event::Devices { owner });
            for times in 1..=8 {
                self.schedule.at(self.now + times * TIDY_MS, Event::Tidy { owner });
            }
        }
        if self.scenario.device_changes > 0 {
            // Only who signs in asks which devices the others have now.
            for times in [4, 10, 16] {
                self.schedule.at(self.now + times * TIDY_MS + 5_000, Event::SignInAgain);
            }
        }
    }

    /// Everybody's connection breaks, and is made again.
    pub(super) fn sign_in_again(&mut self) {
        let open: Vec<ConnectionId> = self.people.iter().filter_map(|person| person.connection).collect();
        for connection in open {
            let (device_ms, node_ms) = (self.dice.between(1, 3_000), self.dice.between(1, 500));
            self.cut(connection, device_ms, node_ms);
        }
    }

    /// A person finds devices in its list that never came, and ends them: nobody has their keys. In the end also those that are
    /// lost: where the only one of before is lost and stays in the list, nobody may take the new one in.
    pub(super) fn tidy_devices(&mut self, owner: usize) {
        let by = self.devices_of(owner).into_iter().find(|device| self.runs(*device));
        let lost = |device: &usize| self.people.get(*device).is_some_and(|one| matches!(one.life, Life::Gone));
        let gone = (0..self.people.len())
            .filter(|device| lost(device) && (self.healed || self.devices.ghosts.contains(device)));
        // One at a time: a wish of a device gives way to its next one.
        let ghost = gone.filter(|device| !self.devices.revoked.contains(device)).find(|one| self.owner(*one) == owner);
        if let Some((by, ghost)) = by.zip(ghost) {
            self.revoke(by, ghost);
        }
    }

    fn is_at_risk(&self, owner: usize) -> bool {
        let home = self.people.get(owner).map_or(0, |person| person.home);
        self.ledger.emptied.contains(&home) || self.nodes.get(home).is_some_and(|node| node.lie.is_some())
    }

    /// Whether all devices of an account know what one of them does, and all are in the same groups.
    pub(super) fn devices_rest(&self) -> bool {
        self.devices.changed.iter().filter(|owner| !self.is_at_risk(**owner)).all(|owner| {
            let devices = self.devices_of(*owner);
            let ready = |one: &usize| {
                let device = self.people.get(*one).and_then(|person| person.device.as_ref());
                device.is_some_and(|device| device.is_archived() && device.has_caught_up())
            };
            !devices.is_empty() && devices.iter().all(ready)
        }) && (self.devices.changed.is_empty() || self.leaves_apart().is_empty())
    }

    /// At the end: each device of an account has what the others have, and what a lost one had left in the archive.
    pub(super) fn check_devices_end(&mut self) {
        let mut found: Vec<(&'static str, String)> =
            self.leaves_apart().into_iter().map(|detail| ("L3", detail)).collect();
        for owner in self.devices.changed.iter().copied().filter(|owner| !self.is_at_risk(*owner)) {
            let devices = self.devices_of(owner);
            let mut histories = Vec::new();
            for device in devices {
                let page = self.people.get(device).and_then(|person| person.device.as_ref());
                let page = page.and_then(|device| device.history(None, None, usize::MAX).ok());
                let ids: BTreeSet<MessageId> =
                    page.map(|page| page.items.into_iter().map(|item| item.id).collect()).unwrap_or_default();
                histories.push((device, ids));
            }
            let mut all = self.devices.archived.get(&owner).cloned().unwrap_or_default();
            all.extend(histories.iter().flat_map(|(_, ids)| ids));
            for (device, ids) in histories {
                let missing = all.difference(&ids).count();
                if missing > 0 {
                    found.push(("L1", format!("device {device} of person {owner} lacks {missing} messages of others")));
                }
            }
        }
        for (invariant, detail) in found {
            self.violated(invariant, detail);
        }
    }

    /// Groups of two in which not every device of both has its leaf, or not all are in one state.
    fn leaves_apart(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut groups = BTreeMap::<_, BTreeMap<usize, Standing>>::new();
        for (number, person) in self.people.iter().enumerate().filter(|(number, _)| self.is_living(*number)) {
            let Some(device) = &person.device else { continue };
            for report in device.leaves().unwrap_or_default() {
                if self.agreement.number_of(&report.conversation).is_none() {
                    let state = (report.epoch, report.authenticator, report.devices);
                    groups.entry(report.group).or_default().insert(number, state);
                }
            }
        }
        for (group, states) in groups {
            let owners: BTreeSet<usize> = states.keys().map(|device| self.owner(*device)).collect();
            if owners.iter().any(|owner| self.is_at_risk(*owner)) || owners.len() < 2 {
                continue;
            }
            let first = states.first_key_value();
            for device in owners.iter().flat_map(|owner| self.devices_of(*owner)) {
                match (states.get(&device), first) {
                    (None, _) => found.push(format!("device {device} has no leaf in {group:?} of {owners:?}")),
                    (Some(state), Some((other, known))) if state != known => {
                        let (ours, theirs) = (state.0, known.0);
                        found.push(format!("device {device} is in epoch {ours} of {group:?}, {other} in {theirs}"));
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

impl Person {
    fn is_intruder(&self) -> bool {
        matches!(&self.life, Life::Coming(coming) if matches!(**coming, Coming::Link { intruder: true, .. }))
    }
}

/// Whether a log says that a device is none any more; a reset says it of all that it does not list.
fn ended_by(log: &VerifiedLog, device: &DeviceId) -> bool {
    !log.device_keys().contains_key(device) && (log.revoked_key(device).is_some() || log.count() > 0)
}

/// A device's epoch of a group, its authenticator, and the devices in it.
type Standing = (u64, Bytes, BTreeSet<DeviceId>);
