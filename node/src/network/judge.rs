//! Puts of peers on their way through signature checks, away from the task that owns the swarm.
//!
//! One batch is judged at a time, on a blocking thread: whatever is put to us costs one core at most, and no delivery waits
//! for it. Each peer has a queue of its own and they are served in turn, so a flood delays its sender. What a queue can't
//! hold is dropped, as it would be over its rate: the home puts it again. When all queues together are full, the peer with
//! the longest gives way. Implements `docs/protocol.md`, section
//! "Directory records".

use super::record_store::{StoreError, judge};
use super::selection::Candidate;
use futures::stream::FuturesUnordered;
use libp2p::PeerId;
use roost_protocol::records::RecordKey;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use tokio::task::JoinHandle;

/// Puts that wait, of all peers: 8 MiB with what is held against them.
const WAITING_MAX: usize = 1_024;
/// Of one peer: the burst that it may send.
const WAITING_OF_PEER_MAX: usize = 256;
/// Puts judged in one go: some 20 ms at worst.
const BATCH: usize = 16;

/// A put, and what was held under its key when it was queued.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) source: PeerId,
    pub(super) key: RecordKey,
    pub(super) value: Vec<u8>,
    pub(super) fresh_until_s: u64,
    pub(super) held: Option<Vec<u8>>,
}

/// A put and what is to be stored of it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) put: Put,
    pub(super) chosen: Result<Candidate, StoreError>,
}

/// The queues, and the batch under way.
#[derive(Debug, Default)]
pub(super) struct Judge {
    waiting: BTreeMap<PeerId, VecDeque<Put>>,
    count: usize,
    served: Option<PeerId>,
    /// At most one.
    pub(super) running: FuturesUnordered<JoinHandle<Vec<Judged>>>,
}

impl Judge {
    /// Queues a put; `false` when its peer's queue is full, or all together are and nobody has a longer one.
    pub(super) fn push(&mut self, put: Put) -> bool {
        let own = self.waiting.get(&put.source).map_or(0, VecDeque::len);
        if own >= WAITING_OF_PEER_MAX || (self.count >= WAITING_MAX && !self.shorten_longest(own + 1)) {
            return false;
        }
        self.waiting.entry(put.source).or_default().push_back(put);
        self.count += 1;
        true
    }

    /// Drops the latest put of the peer that has most of them waiting, if those are more than `than`.
    fn shorten_longest(&mut self, than: usize) -> bool {
        let longest = self.waiting.values_mut().max_by_key(|queue| queue.len()).filter(|queue| queue.len() > than);
        let dropped = longest.and_then(VecDeque::pop_back).is_some();
        self.count -= usize::from(dropped);
        dropped
    }

    /// Starts the next batch at `now_s` (seconds since 1970) unless one is under way.
    pub(super) fn start(&mut self, now_s: u64) {
        if !self.running.is_empty() || self.count == 0 {
            return;
        }
        let batch: Vec<_> = (0..BATCH).map_while(|_| self.pop()).collect();
        self.running.push(tokio::task::spawn_blocking(move || {
            let judged = batch.into_iter().map(|put| {
                let chosen = judge(&put.key, put.held.as_deref(), &put.value, now_s);
                Judged { put, chosen }
            });
            judged.collect()
        }));
    }

    /// The first put of the peer whose turn it is.
    fn pop(&mut self) -> Option<Put> {
        let after = self.served.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((after, Bound::Unbounded)).next().or_else(|| self.waiting.iter().next());
        let peer = *next?.0;
        self.served = Some(peer);
        let queue = self.waiting.get_mut(&peer)?;
        let put = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&peer);
        }
        self.count = self.count.saturating_sub(1);
        put
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_protocol::AccountId;

    fn put(source: PeerId) -> Put {
        Put { source, key: RecordKey::Account(AccountId([7; 32])), value: vec![1], fresh_until_s: 0, held: None }
    }

    #[test]
    fn peers_are_served_in_turn_and_a_flood_fills_only_its_own_queue() {
        let mut judge = Judge::default();
        let (eve, bob) = (PeerId::random(), PeerId::random());
        let taken = (0..10_000).filter(|_| judge.push(put(eve))).count();
        assert_eq!(taken, WAITING_OF_PEER_MAX, "eve's queue is bounded");
        assert!(judge.push(put(bob)), "bob's put finds room");
        let first_two = [judge.pop().unwrap().source, judge.pop().unwrap().source];
        assert!(first_two.contains(&bob), "and its turn comes after one of eve's, not after all");
    }

    #[test]
    fn many_peers_together_fill_no_more_than_the_whole_queue() {
        let mut judge = Judge::default();
        let taken = (0..10 * WAITING_MAX).filter(|_| judge.push(put(PeerId::random()))).count();
        assert_eq!((taken, judge.count), (WAITING_MAX, WAITING_MAX), "the sum is bounded");
        assert_eq!(judge.waiting.len(), WAITING_MAX, "and a refused peer leaves nothing behind");
        let drained = std::iter::from_fn(|| judge.pop()).count();
        assert_eq!((drained, judge.count, judge.waiting.len()), (WAITING_MAX, 0, 0), "all are served in the end");
    }

    #[test]
    fn a_few_floods_that_fill_the_whole_queue_give_way_to_whoever_has_less_waiting() {
        let mut judge = Judge::default();
        let floods: Vec<_> = (0..4).map(|_| PeerId::random()).collect();
        for at in 0..WAITING_MAX {
            assert!(judge.push(put(floods[at % 4])), "four bursts fill it");
        }
        let bob = PeerId::random();
        let taken = (0..1_000).filter(|_| judge.push(put(bob))).count();
        assert_eq!(judge.count, WAITING_MAX, "the sum keeps its bound");
        assert_eq!(taken, WAITING_MAX / 5, "bob has his fifth");
        let longest = judge.waiting.values().map(VecDeque::len).max();
        assert_eq!(longest, Some(WAITING_MAX / 5 + 1), "and so have the others");
    }
}
