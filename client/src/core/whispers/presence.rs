//! Presence: whom we watch, who watches us, and what is believed of whom.

use crate::core::recipient::Recipient;
use crate::core::rows::{self, SEEN, SeenRow};
use crate::core::{Device, DeviceError, Output, Random};
use crate::error::Error;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::content::{Presence, PresenceState, Watch, WhisperBody};
use roost_protocol::limits;
use serde::Serialize;
use std::collections::BTreeMap;

/// Accounts that are watched at once: more than a screen shows. Of more the one that was shown first is given up.
const WATCHED_MAX: usize = 64;
/// Accounts that may watch us at once; more are not answered.
const WATCHERS_MAX: usize = 256;
/// Devices of one account whose presence is remembered.
const DEVICES_MAX: usize = limits::DEVICES_MAX;
/// Shortest pause between two answers to one account, milliseconds: whoever asks all the time hears it once a second.
const ANSWER_PAUSE_MS: u64 = 1_000;
/// Pause before a `watch` that nobody answered is repeated, milliseconds; it doubles up to [`limits::WATCH_AGAIN_MS`].
const UNANSWERED_MS: u64 = 2_000;

/// How somebody is, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The person is at a device.
    Online,
    /// A device is connected; the person did nothing on it for a while.
    Away,
    /// Not there, not telling, or not heard.
    Unknown,
}

/// What is known of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PresenceReport {
    /// Whose.
    pub account: AccountId,
    /// How it is.
    pub state: Seen,
    /// When the person last did something, by its own word, milliseconds since 1970, a whole minute.
    pub last_active_at: Option<u64>,
    /// When this device last heard of it, milliseconds since 1970.
    pub heard_at: Option<u64>,
}

/// An account that is shown.
pub(in crate::core) struct Watched {
    since_ms: u64,
    /// When it is asked for next.
    again_at: u64,
    /// Times that nobody answered.
    unanswered: u32,
    devices: BTreeMap<DeviceId, Believed>,
    /// What was heard before this was shown.
    before: Option<SeenRow>,
    told: Seen,
}

/// What one device said last.
struct Believed {
    state: PresenceState,
    until: u64,
    last_active_at_s: u64,
    heard_at: u64,
}

/// An account that watches us.
pub(in crate::core) struct Watcher {
    until: u64,
    again_at: u64,
    told_at: u64,
    told: Option<PresenceState>,
}

impl Watched {
    fn new(before: Option<SeenRow>, now_ms: u64) -> Self {
        Self { since_ms: now_ms, again_at: 0, unanswered: 0, devices: BTreeMap::new(), before, told: Seen::Unknown }
    }

    /// Asks as soon as that can be.
    pub(super) fn again(&mut self) {
        (self.again_at, self.unanswered) = (0, 0);
    }

    fn seen(&self, now_ms: u64) -> Seen {
        let fresh = self.devices.values().filter(|device| device.until > now_ms);
        match fresh.map(|device| device.state).max() {
            Some(PresenceState::Online) => Seen::Online,
            Some(PresenceState::Away) => Seen::Away,
            None => Seen::Unknown,
        }
    }

    /// When what is believed may change by itself, after `now_ms`.
    fn changes_at(&self, now_ms: u64) -> Option<u64> {
        self.devices.values().map(|device| device.until).filter(|until| *until > now_ms).min()
    }

    fn report(&self, account: AccountId, now_ms: u64) -> PresenceReport {
        let before = self.before.as_ref();
        let said = self.devices.values().map(|device| device.last_active_at_s.saturating_mul(1_000));
        let last_active = said.chain(before.map(|before| before.last_active_at)).max();
        let heard_at = self.devices.values().map(|device| device.heard_at);
        let heard_at = heard_at.chain(before.map(|before| before.heard_at)).max();
        PresenceReport { account, state: self.seen(now_ms), last_active_at: last_active, heard_at }
    }
}

impl Watcher {
    pub(super) fn due_at_once(&mut self, now_ms: u64) {
        (self.again_at, self.told_at) = (now_ms, 0);
        self.until = self.until.min(now_ms.saturating_add(limits::WATCH_MS));
    }
}

impl Device {
    /// A conversation of two is shown: whether the other is there is asked for until [`Self::unwatch`]. `false` where that
    /// can't be: the person does not want it, or the other is a stranger or blocked.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`]; after [`Error::Device`] drop the device.
    pub fn watch(&mut self, whom: &Recipient, now_ms: u64) -> Result<bool, Error> {
        let peer = self.place_of(whom)?.peer.ok_or(Error::UnknownPerson)?;
        if !self.settings().presence || !self.may_hear_of_us(&peer)? {
            return Ok(false);
        }
        if self.whispers.watched.len() >= WATCHED_MAX && !self.whispers.watched.contains_key(&peer) {
            let first = self.whispers.watched.iter().min_by_key(|(_, watched)| watched.since_ms);
            if let Some(first) = first.map(|(account, _)| *account) {
                self.whispers.watched.remove(&first);
            }
        }
        let before: Option<SeenRow> = self.table.get(&rows::seen(&peer))?;
        self.whispers.watched.entry(peer).or_insert_with(|| Watched::new(before, now_ms));
        Ok(true)
    }

    /// It is not shown any more.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Device`].
    pub fn unwatch(&mut self, whom: &Recipient) -> Result<(), Error> {
        let peer = self.place_of(whom)?.peer.ok_or(Error::UnknownPerson)?;
        self.whispers.watched.remove(&peer);
        Ok(())
    }

    /// Whether somebody who is watched is there, as far as is known.
    pub fn presence_of(&self, account: &AccountId, now_ms: u64) -> PresenceReport {
        match self.whispers.watched.get(account) {
            Some(watched) => watched.report(*account, now_ms),
            None => PresenceReport { account: *account, state: Seen::Unknown, last_active_at: None, heard_at: None },
        }
    }

    /// As [`Self::presence_of`], of a person by any name.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Device`].
    pub fn presence(&self, whom: &Recipient, now_ms: u64) -> Result<PresenceReport, Error> {
        let peer = self.place_of(whom)?.peer.ok_or(Error::UnknownPerson)?;
        let report = self.presence_of(&peer, now_ms);
        if report.heard_at.is_some() {
            return Ok(report);
        }
        let before: Option<SeenRow> = self.table.get(&rows::seen(&peer))?;
        let (last_active_at, heard_at) = before.map(|row| (row.last_active_at, row.heard_at)).unzip();
        Ok(PresenceReport { last_active_at, heard_at, ..report })
    }

    /// The person does not want anybody to know any more, or to know of anybody.
    pub(in crate::core) fn presence_ends(&mut self) {
        self.whispers.watchers.clear();
        self.whispers.typing.clear();
        self.whispers.typists.values_mut().for_each(|until| *until = 0);
        self.forget_presence(|_| true);
        for key in self.table.keys_of(&[SEEN]) {
            self.table.delete(key);
        }
    }

    /// An account is neither told nor asked any more.
    pub(in crate::core) fn presence_ends_with(&mut self, account: &AccountId) {
        self.whispers.watchers.remove(account);
        let of_it = self.whispers.typists.iter_mut().filter(|((_, typist), _)| typist == account);
        of_it.for_each(|(_, until)| *until = 0);
        self.forget_presence(|watched| watched == account);
        self.table.delete(rows::seen(account));
    }

    fn forget_presence(&mut self, forgotten: impl Fn(&AccountId) -> bool) {
        let accounts: Vec<AccountId> = self.whispers.watched.keys().filter(|one| forgotten(one)).copied().collect();
        for account in accounts {
            let told = self.whispers.watched.remove(&account).map(|watched| watched.told);
            if told.is_some_and(|told| told != Seen::Unknown) {
                let report = self.presence_of(&account, 0);
                self.staged.push(Output::Presence(report));
            }
        }
    }

    /// A device of somebody says how it is; believed of whom we watch only.
    pub(super) fn presence_heard(&mut self, account: AccountId, device: DeviceId, presence: &Presence, now_ms: u64) {
        let Some(watched) = self.whispers.watched.get_mut(&account) else { return };
        if watched.devices.len() >= DEVICES_MAX && !watched.devices.contains_key(&device) {
            watched.devices.retain(|_, known| known.until > now_ms);
            if watched.devices.len() >= DEVICES_MAX {
                return;
            }
        }
        let valid_ms = presence.valid_s.saturating_mul(1_000).min(limits::PRESENCE_MS_MAX);
        let believed = Believed {
            state: presence.state,
            until: now_ms.saturating_add(valid_ms),
            // Nobody was active in a minute that has not begun.
            last_active_at_s: presence.last_active_at_s.min(now_ms / 1_000),
            heard_at: now_ms,
        };
        let last_active_at = believed.last_active_at_s.saturating_mul(1_000);
        watched.devices.insert(device, believed);
        // It is what is left once they are gone. A minute is as exact as it gets, so a row changes once a minute at most.
        let before = watched.before.as_ref().map_or(0, |before| before.last_active_at);
        if last_active_at > before {
            let row = SeenRow { last_active_at, heard_at: now_ms };
            self.table.put(rows::seen(&account), &row);
            watched.before = Some(row);
        }
        if watched.unanswered > 0 {
            // Somebody answers: the next question has its usual time, counted from the last one.
            let asked_at = watched.again_at.saturating_sub(unanswered_pause(watched.unanswered - 1));
            watched.again_at = asked_at.saturating_add(limits::WATCH_AGAIN_MS);
            watched.unanswered = 0;
        }
    }

    /// Somebody looks at the conversation with us.
    pub(super) fn watched_by(
        &mut self,
        account: AccountId,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        if !self.whispers.watchers.contains_key(&account) && self.whispers.watchers.len() >= WATCHERS_MAX {
            return Ok(());
        }
        let until = now_ms.saturating_add(limits::WATCH_MS);
        let new = Watcher { until, again_at: now_ms, told_at: 0, told: None };
        let watcher = self.whispers.watchers.entry(account).or_insert(new);
        watcher.until = until;
        watcher.again_at = watcher.again_at.min(watcher.told_at.saturating_add(ANSWER_PAUSE_MS).max(now_ms));
        self.answer_watchers(random, now_ms)
    }

    /// Asks for whom is shown, tells who watches, and notices whom nothing was heard of.
    pub(super) fn pump_presence(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        if self.whispers.active_at == 0 && self.link.is_ready() {
            // Somebody has opened the directory just now.
            self.whispers.active_at = now_ms;
        }
        self.ask_for_watched(&mut *random, now_ms)?;
        self.answer_watchers(random, now_ms)?;
        let mut changed = Vec::new();
        for (account, watched) in &mut self.whispers.watched {
            let seen = watched.seen(now_ms);
            if watched.told != seen {
                watched.told = seen;
                changed.push(watched.report(*account, now_ms));
            }
        }
        self.staged.extend(changed.into_iter().map(Output::Presence));
        Ok(())
    }

    pub(super) fn presence_wake_at(&self) -> Option<u64> {
        let now_ms = self.last_now_ms;
        let changes = self.whispers.watched.values().filter_map(|watched| watched.changes_at(now_ms));
        let ready = self.link.hears_whispers();
        let asks = self.whispers.watched.values().map(|watched| watched.again_at).filter(|_| ready);
        let tells = self.whispers.watchers.values().map(|watcher| watcher.again_at.min(watcher.until));
        let away = self.away_at().filter(|at| *at > now_ms && !self.whispers.watchers.is_empty());
        changes.chain(asks).chain(tells.chain(away).filter(|_| ready)).min()
    }

    fn ask_for_watched(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.hears_whispers() {
            return Ok(());
        }
        let due = self.whispers.watched.iter().filter(|(_, watched)| watched.again_at <= now_ms);
        for account in due.map(|(account, _)| *account).collect::<Vec<_>>() {
            if let Some(watched) = self.whispers.watched.get_mut(&account) {
                // The first answers come within a second; what is lost is asked for again, ever more seldom.
                watched.again_at = now_ms.saturating_add(unanswered_pause(watched.unanswered));
                watched.unanswered = watched.unanswered.saturating_add(1);
            }
            if let Some(group) = self.group_for_whispers(&self.place_with(&account))? {
                self.say(&group, WhisperBody::Watch(Watch {}), &mut *random, now_ms)?;
            }
        }
        Ok(())
    }

    fn answer_watchers(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        self.whispers.watchers.retain(|_, watcher| watcher.until > now_ms);
        if !self.link.hears_whispers() {
            return Ok(());
        }
        let state = self.own_state(now_ms);
        let is_due = |watcher: &Watcher| watcher.again_at <= now_ms || watcher.told != Some(state);
        let due = self.whispers.watchers.iter().filter(|(_, watcher)| is_due(watcher));
        for account in due.map(|(account, _)| *account).collect::<Vec<_>>() {
            if let Some(watcher) = self.whispers.watchers.get_mut(&account) {
                watcher.again_at = now_ms.saturating_add(limits::PRESENCE_AGAIN_MS);
                (watcher.told_at, watcher.told) = (now_ms, Some(state));
            }
            if let Some(group) = self.group_for_whispers(&self.place_with(&account))? {
                let minute = self.whispers.active_at / 60_000;
                let presence = Presence {
                    state,
                    valid_s: limits::PRESENCE_MS_MAX / 1_000,
                    last_active_at_s: minute.saturating_mul(60),
                };
                self.say(&group, WhisperBody::Presence(presence), &mut *random, now_ms)?;
            }
        }
        Ok(())
    }

    fn own_state(&self, now_ms: u64) -> PresenceState {
        match self.away_at() {
            Some(away_at) if now_ms < away_at => PresenceState::Online,
            Some(_) | None => PresenceState::Away,
        }
    }

    /// When we are away, unless the person does something.
    fn away_at(&self) -> Option<u64> {
        let active_at = self.whispers.active_at;
        (active_at > 0).then(|| active_at.saturating_add(limits::AWAY_AFTER_MS))
    }
}

fn unanswered_pause(unanswered: u32) -> u64 {
    UNANSWERED_MS.saturating_mul(1 << unanswered.min(16)).min(limits::WATCH_AGAIN_MS)
}
