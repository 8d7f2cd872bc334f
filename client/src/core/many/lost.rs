//! A device whose state is older than it was, or cannot be read: it replays the public log of commits and comes back.
//!
//! A store that was restored from an old copy has ratchets that have moved on elsewhere: what it sealed with them nobody could
//! open. So it seals nothing, follows the log from the last state that it has, believes no GroupInfo that the log does not lead
//! to, and takes its own place anew by an external commit. Implements `docs/protocol.md`, section "Lost state".

use super::super::link::Pending;
use super::super::rows::{self, CursorRow, INTENT, LOST, PENDING};
use super::super::{Device, DeviceError, Output, Random};
use super::ConversationRow;
use super::intents::{GroupChange, IntentRow, PendingRow};
use roost_crypto::bytes::Bytes;
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{Commit, ConversationHead};
use roost_protocol::feed::{Entry, EntryKind, NextEpoch};
use roost_protocol::ids::GroupId;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;
use roost_protocol::succession::Succession;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// External commits of one group that a device sends in a day, at most.
const TRIES_MAX: usize = 3;
/// The day.
const TRIES_MS: u64 = 24 * 3_600 * 1_000;
/// Longest pause before the first, milliseconds: devices that were restored together do not come at once.
const JITTER_MS: u64 = 4_000;
/// Pause while another group comes back, or the log is asked for again, milliseconds.
const PAUSE_MS: u64 = 1_000;

/// A group whose state this device has lost.
#[derive(Default, Serialize, Deserialize)]
struct LostRow {
    /// When it tried to come back, milliseconds since 1970.
    tries: Vec<u64>,
}

/// How far the log was replayed. Asked for anew on the next connection.
pub(in super::super) struct Replay {
    state: Bytes,
    /// What the members agreed on where the replay is.
    before: ConversationRow,
    newest: Option<NextEpoch>,
    asked: bool,
    /// The log is at its end.
    done: bool,
}

/// What is under way; nothing of it outlives a connection.
#[derive(Default)]
pub(in super::super) struct Lost {
    replays: BTreeMap<GroupId, Replay>,
    not_before_ms: BTreeMap<GroupId, u64>,
}

impl Lost {
    /// Nothing that was asked on the connection is answered any more.
    pub fn disconnected(&mut self) {
        *self = Self::default();
    }

    /// Every pause is over: the clock was set back.
    pub fn due_at_once(&mut self) {
        self.not_before_ms.clear();
    }
}

impl Device {
    /// The home says that this device had acknowledged what it asks for again, or was away for too long: it lacks entries.
    pub(in super::super) fn trimmed(&mut self, inbox: u64) -> Result<(), DeviceError> {
        let known: Option<CursorRow> = self.table.get(&rows::cursor())?;
        let Some(mut cursor) = known.filter(|known| self.link.is_of(&known.incarnation) && known.after < inbox) else {
            return Ok(());
        };
        cursor.after = inbox;
        self.table.put(rows::cursor(), &cursor);
        for row in self.followed_newest_first()? {
            if !self.is_lost(&row.group) {
                self.table.put(rows::lost(&row.group), &LostRow::default());
                self.drop_pending_of(&row.group)?;
                self.staged.push(Output::StateLost(row.state.conversation));
            }
        }
        Ok(())
    }

    /// Whether this device must not use what it has of a group.
    pub(in super::super) fn is_lost(&self, group: &GroupId) -> bool {
        self.table.has(&rows::lost(group))
    }

    /// It is back.
    pub(super) fn found_again(&mut self, group: &GroupId) {
        self.table.delete(rows::lost(group));
        self.lost.replays.remove(group);
    }

    /// A commit's entry in a group whose state is lost: the log has grown.
    pub(super) fn lost_commit(
        &mut self,
        mut row: ConversationRow,
        head: &ConversationHead,
        next: &NextEpoch,
        entry: &Entry,
    ) -> Result<(), DeviceError> {
        if head.epoch <= row.epoch {
            return Ok(());
        }
        self.lost.replays.remove(&head.group);
        if !head.state.has(&self.me.account) && head.orderer() == row.state.hub {
            self.found_again(&head.group);
            (row.state, row.epoch, row.over) = (head.state.clone(), head.epoch, true);
            row.head = Some(next.head.clone());
            self.keep_followed(&row)?;
            return self.report_branch(&row, entry);
        }
        Ok(())
    }

    /// Asks for logs, and wishes to come back where one is at its end.
    pub(in super::super) fn pump_lost(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.is_ready() {
            return Ok(());
        }
        for key in self.table.keys_under(&[LOST]) {
            let Some(group) = key.get(1..).and_then(GroupId::from_slice) else { continue };
            let waits = self.lost.not_before_ms.get(&group).is_some_and(|at| *at > now_ms);
            if waits || self.is_astray(&group) {
                continue;
            }
            self.lost.not_before_ms.remove(&group);
            match self.lost.replays.get(&group) {
                Some(replay) if replay.done => self.come_back(group, &mut *random, now_ms)?,
                Some(replay) if replay.asked => {}
                Some(replay) => {
                    let behind = replay.before.epoch;
                    self.ask_for_commits(group, behind);
                }
                None => self.begin_replay(group, now_ms)?,
            }
        }
        Ok(())
    }

    pub(in super::super) fn lost_wake_at(&self) -> Option<u64> {
        self.lost.not_before_ms.values().min().copied().filter(|_| self.link.is_ready())
    }

    fn begin_replay(&mut self, group: GroupId, now_ms: u64) -> Result<(), DeviceError> {
        let Some(before) = self.followed(&group)?.filter(|row| !row.over) else {
            self.found_again(&group);
            return Ok(());
        };
        let Ok(state) = self.engine.groups.public_state(&self.table, group.as_bytes()) else {
            // Nothing is left to begin from: somebody has to add this device anew.
            self.lost.not_before_ms.insert(group, now_ms.saturating_add(TRIES_MS));
            return Ok(());
        };
        // The commit that made our own epoch comes with its GroupInfo, should there be no later one.
        let behind = before.epoch.saturating_sub(1);
        self.lost.replays.insert(group, Replay { state, before, newest: None, asked: true, done: false });
        self.ask_for_commits(group, behind);
        Ok(())
    }

    fn ask_for_commits(&mut self, group: GroupId, behind: u64) {
        if let Some(replay) = self.lost.replays.get_mut(&group) {
            replay.asked = true;
        }
        self.request(Pending::FetchCommits(group), |id| ClientFrame::FetchCommits { id, group, behind });
    }

    /// A page of the log; an empty one ends it.
    pub(in super::super) fn commits_told(
        &mut self,
        group: GroupId,
        entries: &[Entry],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let Some(mut replay) = self.lost.replays.remove(&group) else { return Ok(()) };
        replay.asked = false;
        replay.done = entries.is_empty();
        for entry in entries {
            if !self.replay(&mut replay, group, entry)? {
                let conversation = replay.before.state.conversation;
                self.gap(Some(conversation), &entry.header, "the log of commits does not lead on");
                self.lost.not_before_ms.insert(group, now_ms.saturating_add(TRIES_MS));
                return Ok(());
            }
        }
        if replay.done && replay.newest.is_none() {
            // The home lacks it for now.
            self.lost.not_before_ms.insert(group, now_ms.saturating_add(PAUSE_MS));
            return Ok(());
        }
        self.lost.replays.insert(group, replay);
        Ok(())
    }

    pub(in super::super) fn commits_refused(&mut self, group: GroupId, error: &Refusal, now_ms: u64) {
        self.lost.replays.remove(&group);
        let pause = if error.code == Code::NotMember { TRIES_MS } else { error.retry_after_ms.unwrap_or(PAUSE_MS) };
        self.lost.not_before_ms.insert(group, now_ms.saturating_add(pause));
    }

    /// Goes one epoch on by what everybody can check: signatures, MLS, the rules of the conversation. `false` where it leads nowhere.
    fn replay(&mut self, replay: &mut Replay, group: GroupId, entry: &Entry) -> Result<bool, DeviceError> {
        let next = match entry.header.kind {
            EntryKind::Creation => entry.first_contact().ok().map(|contact| {
                let creation = contact.creation;
                let commit = Commit {
                    operation: creation.operation,
                    group: creation.group,
                    epoch: 1,
                    commit: creation.commit,
                    welcome: None,
                    group_info: creation.group_info,
                    logs: Vec::new(),
                    leaves: Vec::new(),
                };
                NextEpoch { head: contact.head, commit, from: None }
            }),
            EntryKind::Commit => entry.next_epoch().ok(),
            EntryKind::Message => None,
        };
        let Some(next) = next else { return Ok(false) };
        let head = match ConversationHead::verify(&next.head) {
            Ok(head) if head.group == group && head.orderer() == entry.header.feed.node => head,
            _ => return Ok(false),
        };
        if head.epoch == replay.before.epoch {
            // Ours, or not ours: of one epoch there is one head.
            let same = replay.before.head.as_ref().and_then(|signed| ConversationHead::verify(signed).ok());
            replay.newest = Some(next);
            return Ok(same == Some(head));
        }
        let fits =
            head.made_by == next.commit.hash() && (follows(&replay.before, &head) || succeeds(replay, &head, &next));
        let welcome = next.commit.welcome.as_ref().map(Bytes::as_slice);
        let (commit, info) = (next.commit.commit.as_slice(), next.commit.group_info.as_slice());
        let judged = self.engine.groups.replay(replay.state.as_slice(), commit, welcome, info);
        let (true, Ok((view, after))) = (fits, judged) else { return Ok(false) };
        if self.check_view(&replay.before.state, &head, &next.commit, &view)?.is_err() {
            return Ok(false);
        }
        replay.state = after;
        (replay.before.state, replay.before.epoch) = (head.state, head.epoch);
        replay.before.head = Some(next.head.clone());
        replay.newest = Some(next);
        Ok(true)
    }

    /// The log was replayed: an external commit to its end is wished for.
    fn come_back(&mut self, group: GroupId, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        let Some(Replay { before, newest: Some(newest), .. }) = self.lost.replays.remove(&group) else { return Ok(()) };
        self.table.put(rows::astray(&group), &newest);
        self.intents.trees.retain(|(of, _), _| *of != group);
        let comes = |row: &IntentRow| row.group == group && row.change == GroupChange::Rejoin;
        if self.table.scan::<IntentRow>(&[INTENT])?.iter().any(|(_, row)| comes(row)) {
            return Ok(());
        }
        let number = self.intend(before.state.conversation, group, GroupChange::Rejoin);
        let mut jitter = [0];
        random(&mut jitter);
        if let Some(attempt) = self.intents.open.get_mut(&number) {
            attempt.not_before_ms = now_ms + JITTER_MS * u64::from(jitter[0]) / 256;
        }
        Ok(())
    }

    /// Whether an external commit of a group may be made now; if not, when. One at a time, and three a day.
    pub(in super::super) fn may_come_back(
        &mut self,
        group: &GroupId,
        now_ms: u64,
    ) -> Result<Result<(), u64>, DeviceError> {
        let Some(mut lost) = self.table.get::<LostRow>(&rows::lost(group))? else { return Ok(Ok(())) };
        lost.tries.retain(|at| now_ms.saturating_sub(*at) < TRIES_MS);
        if lost.tries.len() >= TRIES_MAX {
            return Ok(Err(lost.tries.first().copied().unwrap_or(now_ms).saturating_add(TRIES_MS)));
        }
        for (_, pending) in self.table.scan::<PendingRow>(&[PENDING])? {
            let other = pending.commit.group != *group && self.is_lost(&pending.commit.group);
            if other {
                return Ok(Err(now_ms.saturating_add(PAUSE_MS)));
            }
        }
        lost.tries.push(now_ms);
        self.table.put(rows::lost(group), &lost);
        Ok(Ok(()))
    }

    /// Another's commit came first: the log is followed once more from where we were.
    pub(super) fn log_has_grown(&mut self, group: &GroupId) -> Result<(), DeviceError> {
        self.drop_pending_of(group)?;
        self.table.delete(rows::astray(group));
        self.lost.replays.remove(group);
        Ok(())
    }
}

/// Whether a head is its hub's next one.
fn follows(before: &ConversationRow, head: &ConversationHead) -> bool {
    head.epoch == before.epoch + 1 && head.state.term == before.state.term && head.orderer() == before.state.hub
}

/// Whether a head begins a term where the replay is.
fn succeeds(replay: &Replay, head: &ConversationHead, next: &NextEpoch) -> bool {
    let from = |from: &Signed| {
        Succession::verify(from, &next.head).is_ok_and(|succession| {
            succession.from().epoch == replay.before.epoch && replay.before.head.as_ref() == Some(from)
        })
    };
    head.state.term > replay.before.state.term && next.from.as_ref().is_some_and(from)
}
