//! Wide conversations: their entries are gossiped, which spares the writer's upload; who gave no custody is delivered to.
//!
//! Gossip moves nothing by itself. What is heard is admitted and held by the rules of a delivery, and only where it continues what an
//! account has; custody of it is said in a request, after the rows are durable. Implements `docs/protocol.md`, section "Gossip of
//! entries".

use super::conversations::group_head;
use super::feeds;
use super::inputs::Hearsay;
use super::requests::Pending;
use super::{Failure, GossipToken, Note, Output, Relay, Step, accounts, rows, spans};
use crate::store::{Overlay, Read as _, StoreError};
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::planted;
use roost_protocol::conversation::ConversationHead;
use roost_protocol::feed::Entry;
use roost_protocol::ids::{FeedId, GroupId, Hash, Incarnation};
use roost_protocol::limits;
use roost_protocol::peer::{Deliver, Held, NodeRequest};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::wide::{Entries, Topic};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Conversations of which is remembered whether they are wide; one that is forgotten is looked at again.
const LOOKED_MAX: usize = 4_096;
/// Feeds of ours whose gossiped entries wait for custody; one that is forgotten is delivered.
const TOLD_FEEDS_MAX: usize = 1_024;
/// Batches of one feed that wait so.
const TOLD_BATCHES_MAX: usize = 64;
/// After so long a custody of what was gossiped is not taken any more: it has long been delivered, milliseconds.
const TOLD_MS: u64 = 60_000;
/// Entries of one feed that one batch of the relay gossips; the rest is delivered.
const TELL_ENTRIES_MAX: usize = 256;

/// Deliveries of what was gossiped after which a home counts as deaf to gossip, and for how long, milliseconds: meanwhile it need not
/// wait in vain.
const DEAF_MISSES: u32 = 4;
const DEAF_MS: u64 = 60_000;
/// Homes of which that is remembered.
const DEAF_MAX: usize = 1_024;

/// What is remembered of wide conversations. All of it can be forgotten: then entries are delivered.
#[derive(Default)]
pub(super) struct Wide {
    /// What was found of a conversation, and by which head.
    looked: BTreeMap<GroupId, Looked>,
    /// Of those that are gossiped.
    by_topic: BTreeMap<Topic, GroupId>,
    /// Conversations in which something happened in this batch.
    touched: BTreeSet<GroupId>,
    /// The first entry of a feed that this batch is to tell.
    fresh: BTreeMap<FeedId, u64>,
    told: BTreeMap<FeedId, VecDeque<Told>>,
    deaf: BTreeMap<NodeId, Deaf>,
    /// Of which feeds custody is to be said at the end of this batch.
    owed: BTreeMap<FeedId, BTreeSet<AccountId>>,
    /// Counts what is touched: who was quiet longest has the smallest number.
    clock: u64,
}

struct Looked {
    /// What made the epoch that was looked at; `None`: somebody's home may have changed since.
    made_by: Option<Hash>,
    /// Where it is wide and gossiped.
    joined: Option<(Topic, BTreeSet<NodeId>)>,
    used: u64,
}

/// A home that does not hear gossip.
#[derive(Default)]
struct Deaf {
    /// In a row.
    misses: u32,
    /// Until then it is delivered to at once.
    until_ms: u64,
}

/// Neighbouring entries of a feed that were gossiped at once.
#[derive(Debug, Clone, Copy)]
struct Told {
    first: u64,
    last: u64,
    at_ms: u64,
}

impl Wide {
    /// When an entry of ours is to be delivered to a home that has given no custody: at once, or after what gossip is given.
    pub(super) fn due(&self, home: &NodeId, feed: &FeedId, seq: u64, now_ms: u64) -> u64 {
        if self.deaf.get(home).is_some_and(|deaf| deaf.until_ms > now_ms) {
            return 0;
        }
        if self.fresh.get(feed).is_some_and(|first| *first <= seq) {
            return now_ms.saturating_add(limits::GOSSIP_CUSTODY_MS);
        }
        let told = self.told.get(feed).and_then(|told| told.iter().find(|told| told.last >= seq));
        match told {
            Some(told) if told.first <= seq => told.at_ms.saturating_add(limits::GOSSIP_CUSTODY_MS).min(
                // A clock that was set back makes nothing wait for the time to come round again.
                now_ms.saturating_add(limits::GOSSIP_CUSTODY_MS),
            ),
            _ => 0,
        }
    }

    /// Entries are delivered to a home: where they were gossiped, it has not heard them.
    pub(super) fn delivering(&mut self, home: NodeId, feed: &FeedId, last: u64, now_ms: u64) {
        let told =
            self.told.get(feed).is_some_and(|told| told.iter().any(|told| told.first <= last && last <= told.last));
        if !told {
            return;
        }
        if !self.deaf.contains_key(&home) && self.deaf.len() >= DEAF_MAX {
            self.deaf.pop_first();
        }
        let deaf = self.deaf.entry(home).or_default();
        deaf.misses += 1;
        if deaf.misses >= DEAF_MISSES {
            *deaf = Deaf { misses: 0, until_ms: now_ms.saturating_add(DEAF_MS) };
        }
    }

    /// Something happens in a conversation: at the end of the batch it is looked at.
    pub(super) fn touch(&mut self, group: GroupId) {
        self.touched.insert(group);
    }

    /// Somebody's home has changed: who hears what is found anew, where something happens.
    pub(super) fn homes_changed(&mut self) {
        self.looked.values_mut().for_each(|looked| looked.made_by = None);
    }

    /// Topics that this node takes part in.
    #[cfg(test)]
    pub(super) fn topics(&self) -> usize {
        self.by_topic.len()
    }

    fn joined(&self, group: &GroupId) -> Option<&(Topic, BTreeSet<NodeId>)> {
        self.looked.get(group).and_then(|looked| looked.joined.as_ref())
    }

    /// How far a feed was gossiped lately.
    fn told_up_to(&self, feed: &FeedId, now_ms: u64) -> Option<u64> {
        let last = self.told.get(feed)?.back()?;
        (last.at_ms.saturating_add(TOLD_MS) >= now_ms).then_some(last.last)
    }

    fn tell(&mut self, feed: FeedId, told: Told) {
        if !self.told.contains_key(&feed) && self.told.len() >= TOLD_FEEDS_MAX {
            self.told.retain(|_, of_feed| of_feed.back().is_some_and(|last| last.at_ms + TOLD_MS >= told.at_ms));
            if self.told.len() >= TOLD_FEEDS_MAX {
                self.told.pop_first();
            }
        }
        let of_feed = self.told.entry(feed).or_default();
        if of_feed.len() >= TOLD_BATCHES_MAX {
            of_feed.pop_front();
        }
        of_feed.push_back(told);
    }
}

impl Relay {
    /// A message is about to be appended to our feed at `seq`: where its conversation is gossiped, so is the message.
    pub(super) fn tell_widely(&mut self, group: &GroupId, feed: FeedId, seq: u64) {
        if self.wide.joined(group).is_some() {
            self.wide.fresh.entry(feed).or_insert(seq);
        }
    }

    /// Looks after the conversations in which something happened: which are wide now, and among which nodes.
    pub(super) fn look_at_wide(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        for group in std::mem::take(&mut self.wide.touched) {
            self.wide.clock += 1;
            let used = self.wide.clock;
            let head = match group_head(step, &group) {
                Ok(head) => head,
                Err(Failure::Refused(_)) => continue,
                Err(Failure::Store(error)) => return Err(error),
            };
            if let Some(looked) = self.wide.looked.get_mut(&group) {
                looked.used = used;
                if looked.made_by == Some(head.made_by) {
                    continue;
                }
            }
            let nodes = self.wide_among(step, &head)?;
            let before = self.wide.looked.remove(&group).and_then(|looked| looked.joined);
            let joined = nodes.map(|nodes| (Topic::of(&group, &head.made_by), nodes));
            if let Some((topic, _)) = &before
                && joined.as_ref().is_none_or(|(now, _)| now != topic)
            {
                self.leave_topic(topic.clone());
            }
            if let Some((topic, nodes)) = &joined
                && before != joined
            {
                self.make_room_for_topic(topic);
                self.wide.by_topic.insert(topic.clone(), group);
                self.outputs.push(Output::Join { topic: topic.clone(), nodes: nodes.clone() });
            }
            self.remember(group, Looked { made_by: Some(head.made_by), joined, used });
        }
        Ok(())
    }

    /// The homes of a conversation's participants, if this node is one and there are enough others.
    fn wide_among(&self, step: &Step<'_, '_>, head: &ConversationHead) -> Result<Option<BTreeSet<NodeId>>, StoreError> {
        let enough = self.identity.limits.wide_homes_min;
        if head.state.participants.len() <= enough {
            return Ok(None);
        }
        let mut nodes = BTreeSet::new();
        for participant in &head.state.participants {
            match accounts::home_of(step, &participant.account) {
                Ok(home) => drop(nodes.insert(home)),
                // Of whom nothing is known here yet: told of the log, it is looked at again.
                Err(Failure::Refused(_)) => {}
                Err(Failure::Store(error)) => return Err(error),
            }
        }
        Ok((nodes.contains(&self.node) && nodes.len() > enough).then_some(nodes))
    }

    fn make_room_for_topic(&mut self, topic: &Topic) {
        while self.wide.by_topic.len() >= limits::WIDE_CONVERSATIONS_MAX && !self.wide.by_topic.contains_key(topic) {
            let of_topic = |group: &GroupId| self.wide.looked.get(group).map_or(0, |looked| looked.used);
            let quietest = self.wide.by_topic.iter().min_by_key(|(_, group)| of_topic(group));
            let Some((topic, group)) = quietest.map(|(topic, group)| (topic.clone(), *group)) else { return };
            self.wide.looked.remove(&group);
            self.leave_topic(topic);
        }
    }

    fn leave_topic(&mut self, topic: Topic) {
        if self.wide.by_topic.remove(&topic).is_some() {
            self.outputs.push(Output::Leave(topic));
        }
    }

    fn remember(&mut self, group: GroupId, looked: Looked) {
        if self.wide.looked.len() >= LOOKED_MAX {
            let quiet = self.wide.looked.iter().filter(|(_, looked)| looked.joined.is_none());
            let quietest = quiet.min_by_key(|(_, looked)| looked.used).map(|(group, _)| *group);
            quietest.map(|group| self.wide.looked.remove(&group));
        }
        self.wide.looked.insert(group, looked);
    }

    /// Gossips what this batch has appended in wide conversations.
    pub(super) fn gossip_entries(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        for (feed, first) in std::mem::take(&mut self.wide.fresh) {
            let Some((topic, _)) = self.wide.joined(&feed.group).cloned() else { continue };
            let mut next = first;
            while next < first + TELL_ENTRIES_MAX as u64 {
                let mut waiting = feeds::read(step.rows, &feed, next, limits::DELIVER_ENTRIES_MAX)?;
                let Some(entries) = Entries::take_from(&mut waiting) else { break };
                next += entries.entries().len() as u64;
                self.outputs.push(Output::Gossip(topic.clone(), entries));
            }
            if next > first {
                self.wide.tell(feed, Told { first, last: next - 1, at_ms: step.now_ms });
            }
        }
        Ok(())
    }

    /// Nobody has heard what was gossiped: whoever is owed it is delivered to at once.
    pub(super) fn untold(&mut self, topic: &Topic) {
        let Some(group) = self.wide.by_topic.get(topic) else { return };
        let feed = self.own_feed(group);
        self.wide.told.remove(&feed);
        self.destinations.values_mut().for_each(|destination| destination.due_of_feed(&feed));
    }

    /// Entries came by gossip: they are held where a delivery of them would be, and nowhere else.
    pub(super) fn gossiped(
        &mut self,
        step: &mut Step<'_, '_>,
        token: GossipToken,
        source: NodeId,
        topic: &Topic,
        entries: &Entries,
    ) -> Result<(), StoreError> {
        let mut above = Overlay::new(&*step.rows);
        let mut inner = Step { rows: &mut above, now_ms: step.now_ms, memo: step.memo };
        let result = self.hear(&mut inner, source, topic, entries);
        let batch = above.into_batch();
        let hearsay = match result {
            Ok(hearsay) => {
                step.rows.absorb(batch);
                hearsay
            }
            Err(Failure::Refused(refusal)) => {
                self.notes.clear();
                judged(&refusal)
            }
            Err(Failure::Store(error)) => return Err(error),
        };
        self.outputs.push(Output::Judged(token, hearsay));
        Ok(())
    }

    fn hear(
        &mut self,
        step: &mut Step<'_, '_>,
        source: NodeId,
        topic: &Topic,
        entries: &Entries,
    ) -> Result<Hearsay, Failure> {
        let stranger = |message: &str| Failure::from(Refusal::never(Code::NotMember, message, "deliver it"));
        let group = *self.wide.by_topic.get(topic).ok_or_else(|| stranger("the topic is not known here"))?;
        let feed = entries.feed().ok_or_else(|| stranger("no entries"))?;
        let among = self.wide.joined(&group).is_some_and(|(_, nodes)| nodes.contains(&source));
        if feed.node != source || feed.group != group || !among {
            return Err(stranger("a home of a participant gossips its own feed, under its conversation's topic"));
        }
        self.check_space()?;
        self.wide.touch(group);
        let conversation = group_head(step, &group)?.state.conversation;
        let deliver = Deliver {
            conversation,
            entries: Vec::new(),
            accounts: Vec::new(),
            begins: false,
            log: None,
            blobs: Vec::new(),
        };
        for (number, entry) in entries.entries().iter().enumerate() {
            match self.hear_one(step, source, &deliver, entry) {
                // What came before it is held, and may have left for a device.
                Err(Failure::Refused(refusal)) if number > 0 => return Ok(judged(&refusal)),
                heard => heard?,
            }
        }
        Ok(Hearsay::PassOn)
    }

    fn hear_one(
        &mut self,
        step: &mut Step<'_, '_>,
        source: NodeId,
        deliver: &Deliver,
        entry: &Entry,
    ) -> Result<(), Failure> {
        let state = self.admit(step, source, deliver, entry)?;
        feeds::check_standing(step, entry)?;
        for participant in &state.participants {
            let account = participant.account;
            if account != entry.header.account && step.rows.get(&rows::account(&account))?.is_some() {
                self.hear_for(step, &account, entry)?;
            }
        }
        Ok(())
    }

    /// Holds an entry for an account, if it is the next one for it: what lies before must be held, and where an account's part of a
    /// feed begins, only its writer can say, in a delivery.
    fn hear_for(&mut self, step: &mut Step<'_, '_>, account: &AccountId, entry: &Entry) -> Result<(), Failure> {
        let (feed, seq) = (entry.header.feed, entry.header.seq);
        let held: u64 = rows::get(step.rows, &rows::held(account, &feed))?.unwrap_or(0);
        let skips = planted!(self.identity.sabotage, CursorMovedByGossip);
        if seq <= held || (seq != held + 1 && !skips) {
            return Ok(());
        }
        let mut filling = self.begin_filling(step, *account, feed)?;
        if !filling.has_room() {
            return Ok(());
        }
        feeds::hold(step, entry, skips)?;
        let placed = filling.put(step.rows, seq, entry.payload.len());
        self.filled(step, &filling);
        if let Some(inbox) = placed {
            self.push_early(account, entry, inbox);
            if entry.wakes(account) {
                self.wake(step, account, &feed.group, inbox)?;
            }
            self.wide.owed.entry(feed).or_default().insert(*account);
        }
        Ok(())
    }

    /// Says custody of what was held of gossip in this batch. It leaves when the rows are durable; if it is lost, the writer delivers
    /// and is answered.
    pub(super) fn say_custody(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        for (feed, accounts) in std::mem::take(&mut self.wide.owed) {
            let mut by_seq: BTreeMap<u64, Vec<AccountId>> = BTreeMap::new();
            for account in accounts {
                let held: u64 = rows::get(step.rows, &rows::held(&account, &feed))?.unwrap_or(0);
                by_seq.entry(held).or_default().push(account);
            }
            let incarnation = self.identity.incarnation;
            for (seq, accounts) in by_seq {
                for some in accounts.chunks(limits::DELIVER_ENTRIES_MAX) {
                    let held = Held { feed, seq, accounts: some.to_vec(), incarnation };
                    self.ask(Pending::Told, feed.node, NodeRequest::Held(held));
                }
            }
        }
        Ok(())
    }

    /// A home holds what it heard of our feed by gossip.
    pub(super) fn held_by(&mut self, step: &mut Step<'_, '_>, peer: NodeId, held: Held) -> Result<(), Failure> {
        let Held { feed, seq, accounts: of, incarnation } = held;
        let never = |code, message: &str| Failure::from(Refusal::never(code, message, "see the protocol's Held"));
        if of.is_empty() || feed != self.own_feed(&feed.group) {
            return Err(never(Code::Malformed, "expected accounts, and a feed of the receiver"));
        }
        if of.len() > limits::DELIVER_ENTRIES_MAX {
            return Err(never(Code::TooLarge, "at most 64 accounts"));
        }
        self.check_member_node(step, &feed.group, &peer)?;
        for account in &of {
            if accounts::home_of(step, account)? != peer {
                return Err(never(Code::NotHome, "the account lives at another node"));
            }
        }
        // A receipt for what was not sent is no receipt, and one of another life is void.
        let life: Option<Incarnation> = rows::get(step.rows, &rows::peer_life(&peer))?;
        let told = self.wide.told_up_to(&feed, step.now_ms);
        let (Some(told), true) = (told, life == Some(incarnation) && !self.voiding.contains_key(&peer)) else {
            return Err(Refusal::later(Code::OutOfOrder, "nothing of it was gossiped to this life", "wait").into());
        };
        self.wide.deaf.remove(&peer);
        for account in of {
            self.held_for(step, peer, (feed, account), seq.min(told))?;
        }
        Ok(())
    }

    fn held_for(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        item: (FeedId, AccountId),
        seq: u64,
    ) -> Result<(), StoreError> {
        let (feed, account) = item;
        let key = rows::outbox(&feed, &account);
        let Some(before) = rows::get::<u64>(step.rows, &key)? else { return Ok(()) };
        let head = feeds::head(step.rows, &feed)?.seq;
        let Some(due) = spans::due(step.rows, &feed, &account, before, head)? else { return Ok(()) };
        let custody = seq.min(due.until);
        // Where a part of the feed begins, gossip leads nowhere: that is delivered.
        if custody < due.from || due.begins {
            return Ok(());
        }
        rows::put(step.rows, key, &custody);
        self.notes.push(Note::Custody { feed, account, to: custody });
        self.tell_custody(step, &feed, &[account], before + 1, custody)?;
        let next = match spans::due(step.rows, &feed, &account, custody, head)? {
            Some(next) => Some(self.wide.due(&peer, &feed, next.from, step.now_ms)),
            None => None,
        };
        let destination = self.destinations.entry(peer).or_default();
        destination.withdraw(&item);
        if let Some(at_ms) = next {
            destination.enqueue(item, at_ms);
        }
        Ok(())
    }
}

/// What cannot be held here yet may be held by others; what never can be, by nobody.
fn judged(refusal: &Refusal) -> Hearsay {
    if refusal.later { Hearsay::PassOn } else { Hearsay::Drop }
}
