//! Whether messages are withheld: positions of feeds that a member has seen, or that lie before one that came, and that did not come.
//!
//! Members seal the heads of the feeds that they had seen into each message; a node can neither read nor forge them. A home may be
//! late, so it is asked again; people are told where a member has another entry than we have. A member's word is a member's: it is
//! told as such, and makes nobody else be disbelieved. Implements `docs/protocol.md`, section "Withholding".

use super::link::Pending;
use super::many::ConversationRow;
use super::rows::{self, CursorRow, FOLLOWED};
use super::warnings::{Cause, Warning};
use super::{Device, DeviceError};
use roost_crypto::ids::AccountId;
use roost_protocol::feed::FeedHead;
use roost_protocol::ids::{FeedId, GroupId};
use roost_protocol::limits;
use roost_protocol::socket::ClientFrame;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long something may be missing before people are told, milliseconds: longer than the longest pause between two deliveries,
/// with its jitter, so that a node that was away for a moment alarms nobody.
pub(super) const LATE_MS: u64 = 45_000;
/// After how long our home is asked for what is missing, milliseconds: most of it is on its way.
const ASK_MS: u64 = 5_000;
/// Longest pause between two such questions, milliseconds.
const ASK_MS_MAX: u64 = 10 * 60 * 1_000;
/// Runs of missing positions of one feed that are told apart; beyond that the last ones are one.
const HOLES_MAX: usize = 32;
/// Members whose word about one feed is kept.
const CLAIMS_MAX: usize = 8;
/// Feeds of which something is missing, or of which a member has said something: beyond that nothing new is noted.
const FEEDS_MAX: usize = 1_024;

/// Positions that are missing, bounds included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hole {
    from: u64,
    until: u64,
    since_ms: u64,
}

/// How far a member has seen a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    account: AccountId,
    seq: u64,
    /// The first position of it that was missing, and since when.
    first: u64,
    since_ms: u64,
    /// It has another entry where ours is.
    otherwise: bool,
}

/// What is known of a feed beside the newest entry that came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FollowedRow {
    feed: FeedId,
    /// The highest position that came, or that our home gave a message of ours.
    top: u64,
    holes: Vec<Hole>,
    claims: Vec<Claim>,
}

/// Since when something is wrong with a feed, milliseconds since 1970.
#[derive(Clone, Copy)]
struct Since {
    /// Of another entry that a member has where ours is, which people are told. What is missing is asked for and not told: after a
    /// home was killed, a place may stay empty that nobody withholds.
    tell_ms: Option<u64>,
    /// Of what may still come.
    missing_ms: Option<u64>,
}

impl FollowedRow {
    fn at(feed: FeedId, top: u64) -> Self {
        Self { feed, top, holes: Vec::new(), claims: Vec::new() }
    }

    fn since(&self) -> Option<Since> {
        let holes = self.holes.iter().map(|hole| hole.since_ms);
        let awaited = self.claims.iter().filter(|claim| !claim.otherwise).map(|claim| claim.since_ms);
        let missing_ms = holes.chain(awaited).min();
        let tell_ms = self.claims.iter().filter(|claim| claim.otherwise).map(|claim| claim.since_ms).min();
        tell_ms.or(missing_ms).map(|_| Since { tell_ms, missing_ms })
    }

    /// A position is here. `whole`: the feed concerns us from its first position on.
    fn reach(&mut self, seq: u64, whole: bool, now_ms: u64) {
        if seq > self.top {
            if seq - self.top > 1 && (self.top > 0 || whole) {
                self.miss(Hole { from: self.top + 1, until: seq - 1, since_ms: now_ms });
            }
            self.top = seq;
        } else {
            self.fill(seq);
        }
        let top = self.top;
        self.claims.retain(|claim| claim.otherwise || claim.seq > top);
        for claim in self.claims.iter_mut().filter(|claim| !claim.otherwise && claim.first <= top) {
            (claim.first, claim.since_ms) = (top + 1, now_ms);
        }
    }

    fn miss(&mut self, hole: Hole) {
        let full = self.holes.len() >= HOLES_MAX;
        match self.holes.last_mut() {
            Some(last) if full => last.until = hole.until,
            _ => self.holes.push(hole),
        }
    }

    fn fill(&mut self, seq: u64) {
        let Some(at) = self.holes.iter().position(|hole| (hole.from..=hole.until).contains(&seq)) else { return };
        let hole = self.holes.remove(at);
        if hole.until > seq {
            self.holes.insert(at, Hole { from: seq + 1, ..hole.clone() });
        }
        if hole.from < seq {
            self.holes.insert(at, Hole { until: seq - 1, ..hole });
        }
        self.holes.truncate(HOLES_MAX);
    }

    /// A member has seen the feed up to `seq`, which is above all that came.
    fn claim(&mut self, account: AccountId, seq: u64, now_ms: u64) {
        let first = self.top + 1;
        match self.claims.iter_mut().find(|claim| claim.account == account && !claim.otherwise) {
            Some(claim) => claim.seq = claim.seq.max(seq),
            None => self.claims.push(Claim { account, seq, first, since_ms: now_ms, otherwise: false }),
        }
    }
}

/// What is missing; rebuilt from rows.
#[derive(Default)]
pub(super) struct Withheld {
    wrong: BTreeMap<FeedId, Since>,
    /// Those of which people were told.
    told: BTreeSet<FeedId>,
    /// When our home is asked again, and the pause after that.
    ask_at_ms: u64,
    pause_ms: u64,
}

impl Withheld {
    /// What was asked on the connection is not answered any more; a new one begins with a question of its own.
    pub fn disconnected(&mut self) {
        (self.ask_at_ms, self.pause_ms) = (0, 0);
    }

    /// The clock was set back.
    pub fn due_at_once(&mut self) {
        self.disconnected();
    }

    fn missing_since_ms(&self) -> Option<u64> {
        self.wrong.values().filter_map(|since| since.missing_ms).min()
    }
}

impl Device {
    pub(super) fn load_withheld(&mut self) -> Result<(), DeviceError> {
        for (_, row) in self.table.scan::<FollowedRow>(&[FOLLOWED])? {
            if let Some(since) = row.since() {
                self.withheld.wrong.insert(row.feed, since);
            }
        }
        Ok(())
    }

    /// A position of a feed is here, whose newest entry was `newest` before: its entry came, or our home gave it to a message of
    /// ours.
    pub(super) fn reach(&mut self, feed: FeedId, newest: u64, seq: u64, now_ms: u64) -> Result<(), DeviceError> {
        let known: Option<FollowedRow> = self.table.get(&rows::followed(&feed))?;
        let mut row = known.clone().unwrap_or_else(|| FollowedRow::at(feed, newest));
        let whole = self.concerns_us_whole(&feed.group);
        row.top = row.top.max(newest);
        row.reach(seq, whole, now_ms);
        self.keep_row(known.as_ref(), &row)
    }

    /// Our home gave a message of ours a position: no entry of it comes to the device that wrote it.
    pub(super) fn reach_own(&mut self, feed: FeedId, seq: u64, now_ms: u64) -> Result<(), DeviceError> {
        if self.followed(&feed.group)?.is_none() {
            return Ok(());
        }
        let newest = self.newest_of(&feed)?;
        self.reach(feed, newest, seq, now_ms)
    }

    /// A member has sealed these heads into a message.
    pub(super) fn heads_seen(
        &mut self,
        group: &GroupId,
        by: AccountId,
        heads: &[FeedHead],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        if by == self.me.account {
            return Ok(());
        }
        for head in heads.iter().take(limits::FEED_HEADS_MAX).filter(|head| head.feed.group == *group) {
            self.head_seen(head, by, now_ms)?;
        }
        Ok(())
    }

    fn head_seen(&mut self, head: &FeedHead, by: AccountId, now_ms: u64) -> Result<(), DeviceError> {
        let ours: Option<FeedHead> = self.table.get(&rows::feed(&head.feed))?;
        let newest = ours.as_ref().map_or(0, |ours| ours.seq);
        let known: Option<FollowedRow> = self.table.get(&rows::followed(&head.feed))?;
        let mut row = known.clone().unwrap_or_else(|| FollowedRow::at(head.feed, newest));
        row.top = row.top.max(newest);
        let otherwise = ours.is_some_and(|ours| ours.seq == head.seq && ours.hash != head.hash);
        let ahead = head.seq > row.top && (row.top > 0 || self.concerns_us_whole(&head.feed.group));
        if otherwise && !row.claims.iter().any(|claim| claim.otherwise) {
            let (seq, first) = (head.seq, head.seq);
            row.claims.push(Claim { account: by, seq, first, since_ms: now_ms, otherwise });
        } else if ahead {
            row.claim(by, head.seq, now_ms);
        } else {
            return Ok(());
        }
        let room = known.is_some() || self.table.count(&[FOLLOWED]) < FEEDS_MAX;
        if row.claims.len() > CLAIMS_MAX || !room {
            return Ok(());
        }
        self.keep_row(known.as_ref(), &row)
    }

    /// What came before does not count any more: positions of the group's feeds concern us from some later one on. So it is where
    /// we were added, where another branch stands, and where the home has dropped what we did not fetch in time.
    pub(super) fn begin_feeds_anew(&mut self, group: &GroupId) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<FollowedRow>(&rows::followed_of(group))? {
            self.table.delete(key);
            self.is_right(&row.feed)?;
        }
        for (key, _) in self.table.scan::<FeedHead>(&rows::feeds_of(group))? {
            self.table.delete(key);
        }
        self.table.put(rows::later(group), &());
        Ok(())
    }

    /// The home has dropped what this device did not fetch in time: nobody withholds it.
    pub(super) fn inbox_trimmed(&mut self) -> Result<(), DeviceError> {
        let heads = self.table.scan::<FeedHead>(&[rows::FEED])?;
        let groups: BTreeSet<GroupId> = heads.into_iter().map(|(_, head)| head.feed.group).collect();
        groups.iter().try_for_each(|group| self.begin_feeds_anew(group))
    }

    /// Asks for what is missing, and tells people of what does not come.
    pub(super) fn pump_withheld(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        let wrong: Vec<(FeedId, Option<u64>)> =
            self.withheld.wrong.iter().map(|(feed, since)| (*feed, since.tell_ms)).collect();
        for (feed, since_ms) in wrong {
            let (late, told) =
                (since_ms.is_some_and(|since_ms| is_late(since_ms, now_ms)), self.withheld.told.contains(&feed));
            if late && !told && self.keep_members_word(&feed)? {
                self.withheld.told.insert(feed);
                self.tell_of_feed(&feed)?;
            } else if told && !late {
                self.withheld.told.remove(&feed);
                self.tell_of_feed(&feed)?;
            }
        }
        let asked = self.withheld.missing_since_ms().map(|oldest| oldest.saturating_add(ASK_MS));
        if self.link.is_ready() && asked.is_some_and(|at| at.max(self.withheld.ask_at_ms) <= now_ms) {
            self.withheld.pause_ms = (self.withheld.pause_ms * 2).clamp(ASK_MS, ASK_MS_MAX);
            self.withheld.ask_at_ms = now_ms.saturating_add(self.withheld.pause_ms);
            if let Some(CursorRow { incarnation, after }) = self.table.get(&rows::cursor())? {
                self.request(Pending::AskAgain, |id| ClientFrame::Resume { id, incarnation, after });
            }
        }
        Ok(())
    }

    pub(super) fn withheld_wake_at(&self) -> Option<u64> {
        let withheld = &self.withheld;
        let untold = withheld.wrong.iter().filter(|(feed, _)| !withheld.told.contains(feed));
        let tell = untold.filter_map(|(_, since)| Some(since.tell_ms?.saturating_add(LATE_MS))).min();
        let oldest = withheld.missing_since_ms().filter(|_| self.link.is_ready());
        let ask = oldest.map(|oldest| oldest.saturating_add(ASK_MS).max(withheld.ask_at_ms));
        tell.into_iter().chain(ask).min()
    }

    /// What people are told of it.
    pub(super) fn withheld(&self) -> Result<Vec<Warning>, DeviceError> {
        let (mut warnings, now_ms) = (Vec::new(), self.last_now_ms);
        for feed in &self.withheld.told {
            let Some(row) = self.table.get::<FollowedRow>(&rows::followed(feed))? else { continue };
            let Some(group) = self.followed(&feed.group)?.filter(|group| !group.over) else { continue };
            let (conversation, node) = (group.state.conversation, feed.node.to_string());
            let otherwise = |claim: &&Claim| claim.otherwise && is_late(claim.since_ms, now_ms);
            for claim in row.claims.iter().filter(otherwise) {
                let Some((_, said_by)) = self.name_of_member(&feed.group, &claim.account)? else { continue };
                let cause = Cause::ToldOtherwise { node: node.clone(), said_by };
                warnings.push(Warning { conversation, since: claim.since_ms, cause });
            }
        }
        Ok(warnings)
    }

    /// Whether the feeds of a group concern us from their first positions on.
    fn concerns_us_whole(&self, group: &GroupId) -> bool {
        self.table.has(&rows::creation(group)) && !self.table.has(&rows::later(group))
    }

    fn newest_of(&self, feed: &FeedId) -> Result<u64, DeviceError> {
        let newest: Option<FeedHead> = self.table.get(&rows::feed(feed))?;
        Ok(newest.map_or(0, |head| head.seq))
    }

    /// Forgets what members have said who take no part any more; whether something is wrong without them.
    fn keep_members_word(&mut self, feed: &FeedId) -> Result<bool, DeviceError> {
        let known: Option<FollowedRow> = self.table.get(&rows::followed(feed))?;
        let Some(known) = known else {
            self.is_right(feed)?;
            return Ok(false);
        };
        // Where one hub has followed another, what is missing may be of the branch that does not stand: nobody is alarmed.
        let told_of = |group: &ConversationRow| !group.over && group.state.term == 0;
        let Some(group) = self.followed(&feed.group)?.filter(told_of) else {
            self.table.delete(rows::followed(feed));
            self.is_right(feed)?;
            return Ok(false);
        };
        let mut row = known.clone();
        row.claims.retain(|claim| group.state.has(&claim.account));
        self.keep_row(Some(&known), &row)?;
        let tell_ms = row.since().and_then(|since| since.tell_ms);
        Ok(tell_ms.is_some_and(|tell_ms| is_late(tell_ms, self.last_now_ms)))
    }

    /// A row stands only where there is something to say: in the usual course none is written.
    fn keep_row(&mut self, known: Option<&FollowedRow>, row: &FollowedRow) -> Result<(), DeviceError> {
        let key = rows::followed(&row.feed);
        let since = row.since();
        if known != Some(row) {
            if since.is_some() || row.top > self.newest_of(&row.feed)? {
                self.table.put(key, row);
            } else if known.is_some() {
                self.table.delete(key);
            }
        }
        match since {
            Some(since) => {
                self.withheld.wrong.insert(row.feed, since);
                if known != Some(row) && self.withheld.told.contains(&row.feed) {
                    self.tell_of_feed(&row.feed)?;
                }
                Ok(())
            }
            None => self.is_right(&row.feed),
        }
    }

    /// Nothing of a feed is missing any more.
    fn is_right(&mut self, feed: &FeedId) -> Result<(), DeviceError> {
        self.withheld.wrong.remove(feed);
        if self.withheld.wrong.is_empty() {
            self.withheld.disconnected();
        }
        if self.withheld.told.remove(feed) { self.tell_of_feed(feed) } else { Ok(()) }
    }

    fn tell_of_feed(&mut self, feed: &FeedId) -> Result<(), DeviceError> {
        if let Some(row) = self.followed(&feed.group)? {
            self.warned(row.state.conversation);
        }
        Ok(())
    }
}

/// Whether something is missing for so long that people are told. A clock that was set back makes nothing late.
fn is_late(since_ms: u64, now_ms: u64) -> bool {
    since_ms.saturating_add(LATE_MS) <= now_ms
}
