//! The publisher: records of this node on their way into the directory, a bounded number at a time, until each has arrived.
//!
//! News (sign-ups, changed records) goes first and at once; what is only published again follows at a steady rate, which
//! stays below what a peer takes of news. A refusal for want of room, or silence, is tried again later; a newer version of a
//! record takes the place of the waiting one. Never decides what is published, and forgets everything when the process ends:
//! the next start publishes all accounts again. Implements `docs/protocol.md`, section "Directory records".

use crate::network::{NetworkError, Rate};
use futures::stream::{FuturesUnordered, StreamExt as _};
use roost_protocol::gossip::DirectoryChange;
use roost_protocol::records::RecordKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// Records being published at once. With 16, 100,000 accounts are through in six hours where one takes up to 1.7 s.
const UNDER_WAY_MAX: usize = 16;
/// Records that wait. An offer over it is dropped: the next round brings it.
const WAITING_MAX: usize = 65_536;
/// More routine records are asked for when fewer than this wait.
const LOW: usize = 128;
/// Pause before a record is tried again: doubled from the first to the last.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(15);
/// A round never slows below this many records a second.
const PER_S_MIN: u32 = 1;
/// Nor runs faster: an interval has a millisecond.
const PER_S_MAX: u32 = 1_000;

/// A record on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Where it belongs.
    pub(crate) key: RecordKey,
    /// Its bytes.
    pub(crate) value: Vec<u8>,
    /// It is new, so it goes before those that are published again.
    pub(crate) news: bool,
    /// What others are told once it is out.
    pub(crate) change: Option<Box<DirectoryChange>>,
}

/// What waits and what is under way; each key once in each.
#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<RecordKey, Offer>,
    news: VecDeque<RecordKey>,
    routine: VecDeque<RecordKey>,
    under_way: BTreeSet<RecordKey>,
}

impl Queue {
    /// `false` when there is no room.
    fn offer(&mut self, mut offer: Offer) -> bool {
        match self.waiting.get(&offer.key) {
            None if self.waiting.len() >= WAITING_MAX => return false,
            None => {}
            // What was to be told is told with the newer version, and its place in the queue is not lost.
            Some(old) => {
                offer.change = offer.change.or_else(|| old.change.clone());
                if old.news || !offer.news {
                    offer.news = old.news;
                    self.waiting.insert(offer.key.clone(), offer);
                    return true;
                }
                self.routine.retain(|key| *key != offer.key);
            }
        }
        if !self.under_way.contains(&offer.key) {
            self.line(offer.news).push_back(offer.key.clone());
        }
        self.waiting.insert(offer.key.clone(), offer);
        true
    }

    fn take(&mut self, news: bool) -> Option<Offer> {
        let key = self.line(news).pop_front()?;
        let offer = self.waiting.remove(&key)?;
        self.under_way.insert(key);
        Some(offer)
    }

    /// An attempt has ended; what came meanwhile under the same key is next, else the same again where it `failed`.
    fn ended(&mut self, key: &RecordKey, failed: Option<Offer>) {
        self.under_way.remove(key);
        match (self.waiting.get_mut(key), failed) {
            (Some(newer), failed) => {
                newer.change = newer.change.take().or_else(|| failed.and_then(|failed| failed.change));
                let news = newer.news;
                self.line(news).push_front(key.clone());
            }
            (None, Some(failed)) => {
                self.line(failed.news).push_front(key.clone());
                self.waiting.insert(key.clone(), failed);
            }
            (None, None) => {}
        }
    }

    fn line(&mut self, news: bool) -> &mut VecDeque<RecordKey> {
        if news { &mut self.news } else { &mut self.routine }
    }
}

/// A handle; clones share the queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Publisher(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    came: Notify,
    went: Notify,
}

impl Publisher {
    /// Queues a record, in the place of an older version that waits.
    pub(crate) fn offer(&self, offer: Offer) {
        if self.queue().offer(offer) {
            self.0.came.notify_one();
        } else {
            tracing::warn!("a record was not published: too many wait; it follows in a later round");
        }
    }

    /// Waits until there is room for more routine records. One waiter at a time.
    pub(crate) async fn room(&self) {
        while self.queue().routine.len() >= LOW {
            self.0.went.notified().await;
        }
    }

    /// Records that wait or are under way.
    pub(crate) fn waiting(&self) -> usize {
        let queue = self.queue();
        queue.waiting.len() + queue.under_way.len()
    }

    /// Publishes until the network is closed: `publish` takes a record to its holders, `announce` tells others of a change,
    /// `puts` is what a peer takes of news from this node.
    pub(crate) async fn run<P: Future<Output = Result<(), NetworkError>>>(
        self,
        puts: Rate,
        publish: impl Fn(RecordKey, Vec<u8>) -> P,
        announce: impl Fn(DirectoryChange),
        count: impl Fn(usize),
    ) {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_s(puts));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let start = |offer: Offer, pauses: &BTreeMap<RecordKey, Duration>| {
            let pause = pauses.get(&offer.key).copied();
            let publication = publish(offer.key.clone(), offer.value.clone());
            attempt(offer, pause, publication)
        };
        let mut under_way = FuturesUnordered::new();
        let mut pauses: BTreeMap<RecordKey, Duration> = BTreeMap::new();
        loop {
            while under_way.len() < UNDER_WAY_MAX
                && let Some(offer) = self.queue().take(true)
            {
                under_way.push(start(offer, &pauses));
            }
            count(self.waiting());
            let room = under_way.len() < UNDER_WAY_MAX;
            let routine = room && !self.queue().routine.is_empty();
            tokio::select! {
                Some((offer, outcome)) = under_way.next(), if !under_way.is_empty() => match outcome {
                    Ok(()) => {
                        pauses.remove(&offer.key);
                        self.queue().ended(&offer.key, None);
                        if let Some(change) = offer.change {
                            announce(*change);
                        }
                    }
                    Err(NetworkError::Closed) => return,
                    Err(NetworkError::Busy | NetworkError::Timeout) => {
                        let pause = pauses.get(&offer.key).map_or(*PAUSES.start(), |pause| *pause * 2);
                        pauses.insert(offer.key.clone(), pause.min(*PAUSES.end()));
                        self.queue().ended(&offer.key.clone(), Some(offer));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a record was not published");
                        pauses.remove(&offer.key);
                        self.queue().ended(&offer.key, None);
                    }
                },
                _ = pace.tick(), if routine => {
                    if let Some(offer) = self.queue().take(false) {
                        under_way.push(start(offer, &pauses));
                    }
                    self.0.went.notify_one();
                }
                () = self.0.came.notified() => {}
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Routine records a second: three fifths of what comes back leave room for news. In production that is 259,200 records in six
/// hours.
fn per_s(puts: Rate) -> u32 {
    (puts.per_s.saturating_mul(3) / 5).clamp(PER_S_MIN, PER_S_MAX)
}

/// One attempt. After a failed one the pause comes first, and holds its place among those under way: a full network is asked
/// more slowly as a whole.
async fn attempt(
    offer: Offer,
    pause: Option<Duration>,
    publication: impl Future<Output = Result<(), NetworkError>>,
) -> (Offer, Result<(), NetworkError>) {
    if let Some(pause) = pause {
        tokio::time::sleep(pause).await;
    }
    let outcome = publication.await;
    (offer, outcome)
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
