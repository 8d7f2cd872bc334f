//! Leaves: every active device of an account is to have one in each of its conversations, and no ended device any.
//!
//! Conversations are joined one after the other, the newest first, at most one commit under way: a new device in a hundred
//! conversations is no storm. Devices of one account add each other; a device that its account has ended is removed by whoever
//! notices, and a new one of that account takes its place.
//!
//! Implements `docs/protocol.md`, sections "Commits" and "Devices of an account".

use super::link::Pending;
use super::many::{ConversationRow, GroupChange};
use super::rows::{self, CONVERSATION, GROUP, GroupRow};
use super::{Device, DeviceError};
use crate::core::history::place;
use crate::core::history::row::MessageRow;
use roost_crypto::bytes::Bytes;
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_protocol::conversation::{Policy, Role};
use roost_protocol::ids::{ConversationId, GroupId};
use roost_protocol::membership;
use roost_protocol::socket::ClientFrame;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Pause between two conversations that are put right, milliseconds.
const PACE_MS: u64 = 200;
/// How long an admin, and a member, leave it to the account itself to remove its ended devices, milliseconds.
const ADMIN_WAITS_MS: u64 = 2_000;
const MEMBER_WAITS_MS: u64 = 10_000;
/// Between two who could do the same, milliseconds.
const PLACE_MS: u64 = 500;
/// The logs of others are asked for again on a connection after this long, milliseconds, when something else happens.
const ASK_AGAIN_MS: u64 = 10 * 60 * 1_000;

/// What is known of leaves on this connection.
#[derive(Default)]
pub(super) struct Leaves {
    /// Something has changed since all conversations were looked through.
    due: bool,
    not_before_ms: u64,
    /// Conversations whose participants' logs are to be asked for, newest first.
    to_ask: VecDeque<GroupId>,
    /// The one that is asked for now.
    asked: Option<GroupId>,
    asked_at_ms: Option<u64>,
    /// The ages of all our leaves are to be looked at; else the first is due then.
    pub(super) ages_due: bool,
    pub(super) renew_at_ms: Option<u64>,
}

impl Leaves {
    /// All conversations are to be looked through.
    pub fn look(&mut self) {
        (self.due, self.ages_due) = (true, true);
    }

    /// The logs of who takes part in a group are to be asked for next.
    pub fn ask(&mut self, group: GroupId) {
        if self.asked != Some(group) {
            self.to_ask.retain(|waiting| *waiting != group);
            self.to_ask.push_front(group);
        }
    }

    /// Nothing that was asked on the connection is answered any more.
    pub fn disconnected(&mut self) {
        *self = Self { due: true, ages_due: true, ..Self::default() };
    }
}

/// A group that a device follows, and who has a leaf in it: for whoever compares devices from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavesReport {
    /// The group.
    pub group: GroupId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its epoch, with its term: see [`roost_protocol::epoch`].
    pub epoch: u64,
    /// The node that orders its commits.
    pub hub: NodeId,
    /// Equal on devices that are in the same state.
    pub authenticator: Bytes,
    /// Each device with a leaf.
    pub devices: BTreeSet<DeviceId>,
}

/// What is wrong with the leaves of a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Active devices without a leaf that this device may add, by account.
    pub missing: BTreeMap<AccountId, BTreeSet<DeviceId>>,
    /// Leaves of devices that their account has ended.
    pub ended: BTreeMap<AccountId, BTreeSet<DeviceId>>,
}

impl Difference {
    /// Whether nothing is.
    pub fn is_none(&self) -> bool {
        self.missing.is_empty() && self.ended.is_empty()
    }
}

impl Device {
    /// A group of either kind, as it is followed here.
    pub(super) fn followed(&self, group: &GroupId) -> Result<Option<ConversationRow>, DeviceError> {
        match self.table.look::<GroupRow>(&rows::group(group))? {
            Some(row) => Ok(Some(row.into_conversation(*group))),
            None => self.conversation(&ConversationId::of_group(group)),
        }
    }

    /// Keeps what a commit has changed of a group.
    pub(super) fn keep_followed(&mut self, row: &ConversationRow) -> Result<(), DeviceError> {
        let key = rows::group(&row.group);
        match self.table.get::<GroupRow>(&key)? {
            Some(mut known) => {
                (known.epoch, known.head, known.over) = (row.epoch, row.head.clone(), row.over);
                if known.over
                    && let Some(groups) = self.groups.get_mut(&known.peer)
                {
                    groups.remove(&row.group);
                }
                self.table.put(key, &known);
            }
            None => self.table.put(rows::conversation(&row.state.conversation), row),
        }
        Ok(())
    }

    /// Asks for logs, and puts the next conversation right.
    pub(super) fn pump_leaves(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.is_ready() || self.devices.ended {
            return Ok(());
        }
        self.ask_for_logs(now_ms)?;
        if !self.leaves.due || self.leaves.not_before_ms > now_ms || self.intents.is_renewing() {
            return Ok(());
        }
        let mut plain = BTreeMap::new();
        for row in self.followed_newest_first()? {
            let waits = self.intents.renews(&row.group)
                || self.table.has(&rows::pending(&row.group))
                || self.is_astray(&row.group);
            if waits || self.is_plain(&row, &mut plain)? {
                continue;
            }
            let Some(pause_ms) = self.turn(&row)? else { continue };
            let (conversation, group) = (row.state.conversation, row.group);
            self.renew(conversation, group, GroupChange::Leaves, now_ms + pause_ms);
            self.leaves.not_before_ms = now_ms + PACE_MS;
            return Ok(());
        }
        self.leaves.due = false;
        self.leaves.not_before_ms = 0;
        Ok(())
    }

    /// Whether no account of a group ever changed its devices: then there is nothing to compare.
    fn is_plain(&self, row: &ConversationRow, known: &mut BTreeMap<AccountId, bool>) -> Result<bool, DeviceError> {
        for participant in &row.state.participants {
            let plain = match known.get(&participant.account) {
                Some(plain) => *plain,
                None => {
                    // Genesis and handle.
                    let plain = self.log_of(&participant.account)?.is_none_or(|log| log.head().seq <= 1);
                    known.insert(participant.account, plain);
                    plain
                }
            };
            if !plain {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn leaves_wake_at(&self) -> Option<u64> {
        let waits = self.leaves.due && self.link.is_ready() && self.leaves.not_before_ms > 0;
        waits.then_some(self.leaves.not_before_ms)
    }

    /// Whether nothing is to be sealed in a group now: an ended device could read it, or this device has not asked yet.
    pub(super) fn is_held(&mut self, group: &GroupId) -> Result<bool, DeviceError> {
        if self.leaves.asked.as_ref() == Some(group) || self.is_lost(group) {
            return Ok(true);
        }
        if let Some(at) = self.leaves.to_ask.iter().position(|waiting| waiting == group) {
            // Somebody waits for this one.
            self.leaves.to_ask.remove(at);
            self.leaves.to_ask.push_front(*group);
            return Ok(true);
        }
        if !self.intents.renews(group) {
            return Ok(false);
        }
        let Some(row) = self.followed(group)? else { return Ok(false) };
        Ok(!self.difference(&row)?.ended.is_empty())
    }

    /// What is wrong with the leaves of a group, as far as this device may put it right.
    pub(super) fn difference(&self, row: &ConversationRow) -> Result<Difference, DeviceError> {
        let members = self.engine.groups.members(&self.table, row.group.as_bytes())?;
        let mut difference = Difference::default();
        for participant in &row.state.participants {
            let account = participant.account;
            let own = account == self.me.account;
            let Some(log) = self.log_of(&account)? else { continue };
            let of_account = || members.iter().filter(|member| member.credential.account == account);
            let ended: BTreeSet<DeviceId> = of_account()
                .filter(|member| membership::has_revoked(&log, member))
                .map(|member| member.credential.device)
                .filter(|device| *device != self.me.device)
                .collect();
            let missing: BTreeSet<DeviceId> = log
                .device_keys()
                .keys()
                .filter(|device| !of_account().any(|member| member.credential.device == **device))
                .copied()
                .collect();
            // Somebody with a device left adds the others without our help.
            let last = of_account().count() == ended.len();
            if !missing.is_empty() && (own || last) {
                difference.missing.insert(account, missing);
            }
            // Whoever has nobody else stays until there is a device to take the place.
            if !(ended.is_empty() || last && log.device_keys().is_empty()) {
                difference.ended.insert(account, ended);
            }
        }
        Ok(difference)
    }

    /// How long this device leaves it to others to put a group right, milliseconds; `None` where nothing is wrong.
    fn turn(&self, row: &ConversationRow) -> Result<Option<u64>, DeviceError> {
        let difference = self.difference(row)?;
        if difference.is_none() {
            return Ok(None);
        }
        let own = difference.missing.contains_key(&self.me.account) || difference.ended.contains_key(&self.me.account);
        if own {
            let members = self.engine.groups.members(&self.table, row.group.as_bytes())?;
            let ours = members.iter().filter(|member| member.credential.account == self.me.account);
            let place = ours.take_while(|member| member.credential.device != self.me.device).count() as u64;
            return Ok(Some(place * PLACE_MS));
        }
        let people = row.state.participants.iter();
        let place = people.take_while(|participant| participant.account != self.me.account).count() as u64;
        let admin = row.state.role(&self.me.account) == Some(Role::Admin);
        Ok(Some(place * PLACE_MS + if admin { ADMIN_WAITS_MS } else { MEMBER_WAITS_MS }))
    }

    /// The groups that this device follows, of both kinds; without those whose state it lacks.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn leaves(&self) -> Result<Vec<LeavesReport>, DeviceError> {
        let mut reports = Vec::new();
        for row in self.followed_newest_first()? {
            let group = row.group.as_bytes();
            let Ok(members) = self.engine.groups.members(&self.table, group) else { continue };
            reports.push(LeavesReport {
                group: row.group,
                conversation: row.state.conversation,
                epoch: row.epoch,
                hub: row.state.hub,
                authenticator: self.engine.groups.authenticator(&self.table, group)?,
                devices: members.iter().map(|member| member.credential.device).collect(),
            });
        }
        Ok(reports)
    }

    /// Groups that stand, whose hub can change them, and in which this device has a leaf.
    pub(super) fn followed_groups(&self) -> Result<Vec<ConversationRow>, DeviceError> {
        let mut rows = Vec::new();
        for (key, row) in self.table.scan::<GroupRow>(&[GROUP])? {
            if let Some(group) = key.get(1..).and_then(GroupId::from_slice).filter(|_| !row.sealed) {
                rows.push(row.into_conversation(group));
            }
        }
        rows.extend(self.table.scan::<ConversationRow>(&[CONVERSATION])?.into_iter().map(|(_, row)| row));
        rows.retain(|row| row.head.is_some() && !row.over);
        Ok(rows)
    }

    /// The same, the one with the newest message first.
    pub(super) fn followed_newest_first(&self) -> Result<Vec<ConversationRow>, DeviceError> {
        let mut dated = Vec::new();
        for row in self.followed_groups()? {
            let newest = self.table.newest::<MessageRow>(&rows::history_of(&row.state.conversation), None, 1)?;
            dated.push((newest.first().and_then(|(key, _)| place(key)).map(|(_, id)| id), row));
        }
        dated.sort_by(|(one, _), (other, _)| other.cmp(one));
        Ok(dated.into_iter().map(|(_, row)| row).collect())
    }

    /// The home knows newer logs of those who take part: only by them ended devices are noticed.
    fn ask_for_logs(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        let due = self.leaves.asked_at_ms.is_none_or(|at| at.saturating_add(ASK_AGAIN_MS) <= now_ms);
        if due {
            self.leaves.asked_at_ms = Some(now_ms);
            self.leaves.to_ask = self.followed_newest_first()?.iter().map(|row| row.group).collect();
        }
        if self.leaves.asked.is_some() {
            return Ok(());
        }
        if let Some(group) = self.leaves.to_ask.pop_front() {
            self.ask_for_logs_of(group, None);
        }
        Ok(())
    }

    fn ask_for_logs_of(&mut self, group: GroupId, behind: Option<AccountId>) {
        self.leaves.asked = Some(group);
        self.request(Pending::FollowLogs(group), |id| ClientFrame::FetchParticipants {
            id,
            group,
            epoch: None,
            behind,
        });
    }

    /// The home told logs of participants.
    pub(super) fn logs_told(&mut self, group: GroupId, logs: &[IdentityLog]) -> Result<(), DeviceError> {
        self.leaves.asked = None;
        let Some(row) = self.followed(&group)? else { return Ok(()) };
        let mut last = None;
        for log in logs {
            if let Ok(verified) = VerifiedLog::verify(log)
                && row.state.has(&verified.account())
            {
                last = Some(verified.account());
                self.learn_log(log)?;
            }
        }
        // A direct conversation is one page.
        match last {
            Some(behind) if row.state.policy != Policy::Direct => self.ask_for_logs_of(group, Some(behind)),
            _ => {}
        }
        Ok(())
    }

    /// The home told nothing: the next connection asks again.
    pub(super) fn logs_refused(&mut self) {
        self.leaves.asked = None;
    }
}
