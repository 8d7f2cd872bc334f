//! What waits for one node: in which order, how many at a time, and when again.

use roost_crypto::ids::AccountId;
use roost_protocol::ids::FeedId;
use roost_protocol::limits;
use std::collections::{BTreeMap, BTreeSet};

/// Longest pause that a node may ask of us, milliseconds: a rate may give one in ten minutes, and no node shall stop us for longer.
const RETRY_AFTER_MS_MAX: u64 = 10 * 60 * 1_000;

/// One feed, for one account.
pub(super) type Item = (FeedId, AccountId);

/// What waits for one node: the longest due first. What is due of one feed goes together, for all of its accounts there, unless one
/// of them was refused. A refusal holds back its own feed, silence the whole node.
#[derive(Default)]
pub struct Destination {
    queue: BTreeSet<(u64, FeedId, AccountId)>,
    due: BTreeMap<Item, u64>,
    pub(super) in_flight: BTreeSet<Item>,
    /// Requests that are not answered, each for one feed.
    requests: usize,
    refusals: BTreeMap<Item, u32>,
    /// Items that were refused together with others: which of them it was for, shows when each goes alone.
    alone: BTreeSet<Item>,
    silences: u32,
    not_before_ms: u64,
}

impl Destination {
    /// When it wants to be tried again; an answer that is awaited wakes the relay by itself.
    pub fn wake_at(&self) -> Option<u64> {
        let (due, _, _) = self.queue.first()?;
        (self.requests < self.window()).then_some(self.not_before_ms.max(*due))
    }

    /// Items that wait or are in flight.
    pub fn len(&self) -> usize {
        self.due.len() + self.in_flight.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty() && self.in_flight.is_empty()
    }

    /// Whether something waits that is not on its way, or the node was silent.
    pub(super) fn has_waiting(&self) -> bool {
        !self.due.is_empty() || self.silences > 0
    }

    /// A node that is silent is tried with one batch; one that answers gets the window.
    fn window(&self) -> usize {
        if self.silences > 0 { 1 } else { limits::DELIVER_WINDOW }
    }

    /// Queues an item; one that waits already keeps its time, one in flight is looked at again with its answer.
    pub(super) fn enqueue(&mut self, item: Item, at_ms: u64) {
        if !self.in_flight.contains(&item) && !self.due.contains_key(&item) {
            self.due.insert(item, at_ms);
            self.queue.insert((at_ms, item.0, item.1));
        }
    }

    /// The feed that is longest due, and its accounts that go in one request.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<(FeedId, Vec<AccountId>)> {
        if now_ms < self.not_before_ms || self.requests >= self.window() {
            return None;
        }
        let (_, feed, first) = *self.queue.first().filter(|(due, _, _)| *due <= now_ms)?;
        let mut accounts = vec![first];
        if self.goes_with_others(&(feed, first)) {
            let of_feed = self.due.range((feed, AccountId([0; 32]))..=(feed, AccountId([0xff; 32])));
            let due = of_feed.filter(|(_, due)| **due <= now_ms).map(|(item, _)| item);
            let others = due.filter(|item| item.1 != first && self.goes_with_others(item)).map(|(_, account)| *account);
            accounts.extend(others.take(limits::DELIVER_ENTRIES_MAX - 1));
        }
        for account in &accounts {
            if let Some(due) = self.due.remove(&(feed, *account)) {
                self.queue.remove(&(due, feed, *account));
            }
            self.in_flight.insert((feed, *account));
        }
        self.requests += 1;
        Some((feed, accounts))
    }

    fn goes_with_others(&self, item: &Item) -> bool {
        !self.refusals.contains_key(item) && !self.alone.contains(item)
    }

    /// A request is answered, or was not sent: its items may be queued again.
    pub(super) fn answered(&mut self, items: &[Item]) {
        self.requests = self.requests.saturating_sub(1);
        for item in items {
            self.in_flight.remove(item);
        }
    }

    /// An item did not go with the others of its feed: it is due as it was.
    pub(super) fn left_behind(&mut self, item: Item, now_ms: u64) {
        self.in_flight.remove(&item);
        self.enqueue(item, now_ms);
    }

    /// Everything that waits is due at once: the node was met, or the clock was set back.
    pub(super) fn due_at_once(&mut self) {
        self.silences = 0;
        self.not_before_ms = 0;
        self.refusals.clear();
        self.alone.clear();
        let items: Vec<Item> = self.due.keys().copied().collect();
        self.queue = items.iter().map(|(feed, account)| (0, *feed, *account)).collect();
        self.due = items.into_iter().map(|item| (item, 0)).collect();
    }

    /// What waits of a feed is due at once, unless it was refused.
    pub(super) fn due_of_feed(&mut self, feed: &FeedId) {
        let of_feed = (*feed, AccountId([0; 32]))..=(*feed, AccountId([0xff; 32]));
        for (item, due) in self.due.range_mut(of_feed).filter(|(item, _)| !self.refusals.contains_key(item)) {
            self.queue.remove(&(std::mem::take(due), item.0, item.1));
            self.queue.insert((0, item.0, item.1));
        }
    }

    /// An item waits for this node no longer.
    pub(super) fn withdraw(&mut self, item: &Item) {
        if let Some(due) = self.due.remove(item) {
            self.queue.remove(&(due, item.0, item.1));
        }
        self.refusals.remove(item);
        self.alone.remove(item);
    }

    pub(super) fn silent(&mut self, items: &[Item], now_ms: u64, salt: u64) {
        self.not_before_ms = now_ms + back_off(self.silences, salt);
        self.silences = self.silences.saturating_add(1);
        items.iter().for_each(|item| self.enqueue(*item, now_ms));
    }

    /// Several items were refused as one: each goes alone.
    pub(super) fn part(&mut self, items: &[Item], now_ms: u64) {
        self.silences = 0;
        self.not_before_ms = 0;
        for item in items {
            self.alone.insert(*item);
            self.enqueue(*item, now_ms);
        }
    }

    /// `asked_ms` is the pause that the refusal asks for: it may lengthen ours, never shorten it.
    pub(super) fn refused(&mut self, item: Item, asked_ms: u64, now_ms: u64, salt: u64) {
        self.silences = 0;
        self.not_before_ms = 0;
        let refusals = self.refusals.entry(item).or_default();
        let delay = back_off(*refusals, salt).max(asked_ms.min(RETRY_AFTER_MS_MAX));
        *refusals = refusals.saturating_add(1);
        self.enqueue(item, now_ms.saturating_add(delay));
    }

    pub(super) fn took(&mut self, item: Item) {
        self.silences = 0;
        self.not_before_ms = 0;
        self.refusals.remove(&item);
        self.alone.remove(&item);
    }
}

/// Exponential, with jitter of up to a quarter made from what is at hand: the rules draw no randomness.
fn back_off(failures: u32, salt: u64) -> u64 {
    let delay = limits::RETRY_DELAY_MS_MIN.saturating_mul(1 << failures.min(16)).min(limits::RETRY_DELAY_MS_MAX);
    delay + (salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % (delay / 4 + 1)
}
