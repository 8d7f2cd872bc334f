//! Whether our home shows the identity logs by which their owners go: each message carries the head of its author's own log, sealed.
//!
//! A home that is behind is asked again, first for the logs of the conversation, then by a lookup; people are told of one that
//! stays behind, and at once of a branch. Never replaces a log: that is `learn_log`'s. Implements `docs/protocol.md`, section
//! "Withholding".

use super::rows::{self, OLD_LOG, PeerRow};
use super::warnings::{Cause, Warning};
use super::{Device, DeviceError};
use roost_crypto::identity_log::{LogHead, VerifiedLog};
use roost_crypto::ids::AccountId;
use roost_protocol::ids::GroupId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long our home may be behind before people are told, milliseconds: longer than a node remembers what it has looked up, so
/// that one that heard nothing has asked the directory again.
pub(super) const LATE_MS: u64 = 15 * 60 * 1_000;
/// Pause before the home is asked again, milliseconds, doubled each time.
const ASK_MS: u64 = 5_000;
const ASK_MS_MAX: u64 = 10 * 60 * 1_000;
/// Accounts whose newest head is remembered, so that a message costs one comparison.
const CHECKED_MAX: usize = 1_024;

/// An account goes by a log that we do not have.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OldLogRow {
    /// The head that it has sealed.
    head: LogHead,
    /// Where it said so.
    group: GroupId,
    since_ms: u64,
    /// The log that is known here has another entry at that place.
    branched: bool,
}

/// What is asked for; rebuilt from rows.
#[derive(Default)]
pub(super) struct CrossCheck {
    /// The head that each account's messages carried, where it is that of the log that is known.
    checked: BTreeMap<AccountId, LogHead>,
    /// Accounts whose log here is not theirs: when the home is asked for it, and the pause after that.
    asks: BTreeMap<AccountId, (u64, u64)>,
    /// Those of which people were told.
    told: BTreeSet<AccountId>,
}

impl CrossCheck {
    /// Nothing that was asked on the connection is answered any more.
    pub fn disconnected(&mut self) {
        self.asks.values_mut().for_each(|ask| *ask = (0, ASK_MS));
    }
}

impl Device {
    pub(super) fn load_cross_check(&mut self) -> Result<(), DeviceError> {
        for (key, _) in self.table.scan::<OldLogRow>(&[OLD_LOG])? {
            if let Some(account) = key.get(1..).and_then(AccountId::from_slice) {
                self.cross_check.asks.insert(account, (0, ASK_MS));
            }
        }
        Ok(())
    }

    /// The author of a message has sealed the head of its own log into it.
    pub(super) fn log_head_seen(
        &mut self,
        group: GroupId,
        account: AccountId,
        head: LogHead,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        if account == self.me.account || self.cross_check.checked.get(&account) == Some(&head) {
            return Ok(());
        }
        let Some(log) = self.peer_log(&account)? else { return Ok(()) };
        let key = rows::old_log(&account);
        let known: Option<OldLogRow> = self.table.get(&key)?;
        match Standing::of(&log, &head) {
            Standing::Known => {
                if self.cross_check.checked.len() >= CHECKED_MAX {
                    self.cross_check.checked.clear();
                }
                self.cross_check.checked.insert(account, head);
                return Ok(());
            }
            // What it sealed later counts: it may have come late.
            Standing::Ahead if known.as_ref().is_some_and(|known| known.head.seq >= head.seq) => return Ok(()),
            standing => {
                let branched = standing == Standing::Branched;
                let since_ms = known.map_or(now_ms, |known| known.since_ms);
                self.table.put(key, &OldLogRow { head, group, since_ms, branched });
            }
        }
        self.cross_check.asks.entry(account).or_insert((now_ms, ASK_MS));
        Ok(())
    }

    /// Another log of an account is known now.
    pub(super) fn log_learnt(&mut self, log: &VerifiedLog) -> Result<(), DeviceError> {
        let account = log.account();
        self.cross_check.checked.remove(&account);
        let key = rows::old_log(&account);
        let Some(row) = self.table.get::<OldLogRow>(&key)? else { return Ok(()) };
        match Standing::of(log, &row.head) {
            Standing::Ahead => return Ok(()),
            Standing::Branched => self.table.put(key, &OldLogRow { branched: true, ..row.clone() }),
            Standing::Known => {
                self.table.delete(key);
                self.cross_check.asks.remove(&account);
            }
        }
        if self.cross_check.told.remove(&account)
            && let Some(known) = self.followed(&row.group)?
        {
            self.warned(known.state.conversation);
        }
        Ok(())
    }

    /// Asks for what the home is behind with, and tells people of what does not come.
    pub(super) fn pump_cross_check(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        let accounts: Vec<AccountId> = self.cross_check.asks.keys().copied().collect();
        for account in accounts {
            let Some(row) = self.table.get::<OldLogRow>(&rows::old_log(&account))? else {
                self.cross_check.asks.remove(&account);
                continue;
            };
            let Some((conversation, _)) = self.name_of_member(&row.group, &account)? else {
                // One of us takes no part any more.
                self.table.delete(rows::old_log(&account));
                self.cross_check.asks.remove(&account);
                continue;
            };
            if row.is_told(now_ms) && self.cross_check.told.insert(account) {
                self.warned(conversation);
            }
            let due = self.cross_check.asks.get(&account).is_some_and(|(at, _)| *at <= now_ms);
            if due && self.link.is_ready() {
                self.ask_for_newer_log(account, row.group, now_ms)?;
            }
        }
        Ok(())
    }

    fn ask_for_newer_log(&mut self, account: AccountId, group: GroupId, now_ms: u64) -> Result<(), DeviceError> {
        let Some((at, pause)) = self.cross_check.asks.get_mut(&account) else { return Ok(()) };
        let again = *pause > ASK_MS;
        *at = now_ms.saturating_add(*pause);
        *pause = (*pause * 2).min(ASK_MS_MAX);
        self.leaves.ask(group);
        let known: Option<PeerRow> = self.table.get(&rows::peer(&account))?;
        // What the home does not have the directory may have.
        if again && let Some(handle) = known.and_then(|known| known.handle) {
            let busy = self.outbox.route(&super::rows::Target::Handle(handle.clone())).busy;
            if !busy {
                self.ask_for(&handle);
            }
        }
        Ok(())
    }

    pub(super) fn cross_check_wake_at(&self) -> Option<u64> {
        let asks = self.cross_check.asks.values().filter(|_| self.link.is_ready()).map(|(at, _)| *at).min();
        let untold = self.cross_check.asks.keys().filter(|account| !self.cross_check.told.contains(account));
        let rows = untold.filter_map(|account| self.table.get::<OldLogRow>(&rows::old_log(account)).ok().flatten());
        rows.map(|row| row.told_at_ms()).chain(asks).min()
    }

    /// What people are told of it.
    pub(super) fn old_logs(&self) -> Result<Vec<Warning>, DeviceError> {
        let mut warnings = Vec::new();
        for account in &self.cross_check.told {
            let Some(row) = self.table.get::<OldLogRow>(&rows::old_log(account))? else { continue };
            let Some((conversation, of)) = self.name_of_member(&row.group, account)? else { continue };
            let cause = if row.branched { Cause::BranchedLog { of } } else { Cause::OldLog { of } };
            warnings.push(Warning { conversation, since: row.since_ms, cause });
        }
        Ok(warnings)
    }
}

impl OldLogRow {
    fn told_at_ms(&self) -> u64 {
        if self.branched { self.since_ms } else { self.since_ms.saturating_add(LATE_MS) }
    }

    fn is_told(&self, now_ms: u64) -> bool {
        self.told_at_ms() <= now_ms
    }
}

/// How a head stands to a log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is in it, or before the reset that it begins with.
    Known,
    /// It lies behind its end. Numbers go on over a reset.
    Ahead,
    /// Another entry is at its place.
    Branched,
}

impl Standing {
    fn of(log: &VerifiedLog, head: &LogHead) -> Self {
        if head.seq > log.head().seq {
            return Self::Ahead;
        }
        match log.hash_at(head.seq) {
            Some(hash) if hash != head.hash => Self::Branched,
            _ => Self::Known,
        }
    }
}
