//! What other homes owe custody for, with times: kept for the numbers alone, the rules have their own rows.
//!
//! Never decides anything. Entries that the process found at its start count from then.

use roost_crypto::ids::AccountId;
use roost_protocol::ids::FeedId;
use std::collections::{BTreeMap, VecDeque};

/// Times kept of one feed and account; entries beyond are counted without a time of their own.
const TIMES_MAX: usize = 256;

/// One feed, for one account.
pub(super) type Item = (FeedId, AccountId);

/// All of it.
#[derive(Default)]
pub(super) struct Backlog {
    items: BTreeMap<Item, Owed>,
    entries: u64,
}

struct Owed {
    /// The first position without custody.
    from: u64,
    /// The last position.
    to: u64,
    /// Positions and when they became known, ascending.
    times: VecDeque<(u64, u64)>,
}

impl Backlog {
    /// Positions `from..=to` wait for custody since `now_ms`; those that wait already keep their time.
    pub(super) fn owed(&mut self, item: Item, from: u64, to: u64, now_ms: u64) {
        if from > to {
            return;
        }
        let owed = self.items.entry(item).or_insert_with(|| Owed { from, to: from - 1, times: VecDeque::new() });
        let before = owed.len();
        if from < owed.from {
            owed.from = from;
            owed.times.push_front((from, now_ms));
        }
        if to > owed.to {
            if owed.times.len() < TIMES_MAX {
                owed.times.push_back((to, now_ms));
            }
            owed.to = to;
        }
        self.entries = self.entries.saturating_add(owed.len() - before.min(owed.len()));
    }

    /// Custody up to `to`: gives the milliseconds that the entries of which times are kept have waited.
    pub(super) fn custody(&mut self, item: Item, to: u64, now_ms: u64) -> Vec<u64> {
        let Some(owed) = self.items.get_mut(&item) else { return Vec::new() };
        let before = owed.len();
        let mut waited = Vec::new();
        while let Some((seq, at_ms)) = owed.times.front().copied().filter(|(seq, _)| *seq <= to) {
            owed.times.pop_front();
            if seq >= owed.from {
                waited.push(now_ms.saturating_sub(at_ms));
            }
        }
        owed.from = owed.from.max(to.saturating_add(1));
        let left = owed.len();
        if left == 0 {
            self.items.remove(&item);
        } else if owed.times.is_empty() {
            owed.times.push_back((owed.to, now_ms));
        }
        self.entries = self.entries.saturating_sub(before.saturating_sub(left));
        waited
    }

    /// How many wait.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Since when the oldest waits.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.items.values().filter_map(|owed| owed.times.front().map(|(_, at_ms)| *at_ms)).min()
    }
}

impl Owed {
    fn len(&self) -> u64 {
        (self.to + 1).saturating_sub(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_crypto::ids::NodeId;
    use roost_crypto::keys::PublicKey;
    use roost_protocol::ids::{GroupId, Incarnation};

    fn item(of: u8) -> Item {
        let node = NodeId::of(PublicKey([1; 32]));
        (FeedId { group: GroupId([of; 32]), node, incarnation: Incarnation([2; 16]) }, AccountId([3; 32]))
    }

    #[test]
    fn custody_ends_the_wait_of_what_it_covers_and_of_nothing_else() {
        let mut backlog = Backlog::default();
        for (seq, at) in [(1, 1_000), (2, 2_000), (3, 3_000)] {
            backlog.owed(item(1), seq, seq, at);
        }
        backlog.owed(item(2), 1, 4, 5_000);
        assert_eq!((backlog.entries(), backlog.oldest_ms()), (7, Some(1_000)), "all wait, the first longest");
        assert_eq!(backlog.custody(item(1), 2, 10_000), [9_000, 8_000], "two have waited nine and eight seconds");
        assert_eq!((backlog.entries(), backlog.oldest_ms()), (5, Some(3_000)), "the third still waits");
        assert_eq!(backlog.custody(item(1), 2, 11_000), [] as [u64; 0], "the same custody again changes nothing");
        backlog.custody(item(1), 3, 11_000);
        backlog.custody(item(2), 4, 11_000);
        assert_eq!((backlog.entries(), backlog.oldest_ms()), (0, None), "nothing waits");
    }

    #[test]
    fn a_peer_that_lost_its_store_owes_custody_for_everything_again() {
        let mut backlog = Backlog::default();
        backlog.owed(item(1), 1, 3, 1_000);
        backlog.custody(item(1), 2, 1_500);
        backlog.owed(item(1), 1, 3, 9_000);
        assert_eq!(backlog.entries(), 3, "each once, although the third waited all along");
        backlog.custody(item(1), 3, 9_500);
        assert_eq!(backlog.entries(), 0, "and all are held again");
    }

    #[test]
    fn times_are_bounded_and_the_count_stays_right() {
        let mut backlog = Backlog::default();
        for seq in 1..=1_000 {
            backlog.owed(item(1), seq, seq, seq);
        }
        assert_eq!(backlog.entries(), 1_000, "all are counted");
        assert_eq!(backlog.custody(item(1), 999, 2_000).len(), TIMES_MAX, "so many times were kept");
        assert_eq!(backlog.entries(), 1, "one is left");
        assert!(backlog.oldest_ms().is_some(), "and it has an age");
    }
}
