//! Quotas: how often somebody may cost this node something. Every rate of the rules stands here.
//!
//! Pure: time is an input, nothing is stored, a restart forgives. Memory is bounded: a key that has all of its burst again is
//! forgotten, and of too many the one that owes least. Implements `docs/protocol.md`, section "Rates".

use super::{Code, Failure, Refusal};
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_protocol::limits::{RETENTION_MS, WIDE_HOMES_MIN};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that one quota remembers: about 2 MiB. Whoever floods it with new keys owes little under each, so what is
/// forgotten is the flood, not the one who owes much.
const KEYS_MAX: usize = 16_384;
/// The last key packages of a device, of which a node gets one a day, if it has taken none of the account's that day: half of what
/// a device keeps at its home.
pub(super) const KEY_PACKAGES_RESERVE: usize = 10;
/// How much faster a testnet may be.
const TESTNET_FACTOR: u32 = 10_000;

/// So many at once, then one every so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    every_us: u64,
}

impl Rate {
    /// `burst` at once, then `count` in `period_ms` milliseconds. Zeros count as one.
    pub const fn new(burst: u32, count: u32, period_ms: u64) -> Self {
        let count = if count == 0 { 1 } else { count as u64 };
        let every_us = period_ms * 1_000 / count;
        Self { burst: if burst == 0 { 1 } else { burst }, every_us: if every_us == 0 { 1 } else { every_us } }
    }

    /// The same, so many times faster.
    pub const fn raised(self, factor: u32) -> Self {
        let every_us = self.every_us / factor as u64;
        Self { burst: self.burst.saturating_mul(factor), every_us: if every_us == 0 { 1 } else { every_us } }
    }

    /// What a key that used its whole burst owes, microseconds.
    const fn span_us(self) -> u64 {
        self.every_us * self.burst as u64
    }
}

/// One rate, for many keys: the generic cell rate algorithm (ITU-T I.371). A key is remembered by the time at which it
/// has all of its burst again.
#[derive(Debug, Clone)]
pub struct Quota<K> {
    rate: Rate,
    full_at_us: BTreeMap<K, u64>,
    by_time: BTreeSet<(u64, K)>,
}

impl<K: Ord + Clone> Quota<K> {
    /// Nobody owes anything.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, full_at_us: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// Takes `count` at `now_ms`, milliseconds since any fixed moment. More than the burst at once counts as the burst.
    ///
    /// # Errors
    /// How many milliseconds until it would be given; nothing is taken.
    pub fn take(&mut self, key: &K, count: u32, now_ms: u64) -> Result<(), u64> {
        let now = now_ms.saturating_mul(1_000);
        let owed_until = self.owed_until(key, now);
        let full_at = owed_until.saturating_add(self.rate.every_us * u64::from(count.min(self.rate.burst)));
        let over = full_at.saturating_sub(now).saturating_sub(self.rate.span_us());
        if over > 0 {
            self.set(key, owed_until, now);
            return Err(over.div_ceil(1_000));
        }
        self.set(key, full_at, now);
        Ok(())
    }

    /// Whether one would be given.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn check(&self, key: &K, now_ms: u64) -> Result<(), u64> {
        let now = now_ms.saturating_mul(1_000);
        let over = (self.owed_until(key, now) + self.rate.every_us - now).saturating_sub(self.rate.span_us());
        if over > 0 { Err(over.div_ceil(1_000)) } else { Ok(()) }
    }

    /// Gives one back: what it was taken for did not happen.
    pub fn give_back(&mut self, key: &K, now_ms: u64) {
        let now = now_ms.saturating_mul(1_000);
        let full_at = self.owed_until(key, now).saturating_sub(self.rate.every_us);
        self.set(key, full_at, now);
    }

    /// How many keys owe something.
    pub fn len(&self) -> usize {
        self.full_at_us.len()
    }

    /// Whether nobody owes anything.
    pub fn is_empty(&self) -> bool {
        self.full_at_us.is_empty()
    }

    /// Never before now; and never longer than a whole burst takes, so that a clock that was set back locks nobody out.
    fn owed_until(&self, key: &K, now: u64) -> u64 {
        let known = self.full_at_us.get(key).copied().unwrap_or(now);
        known.clamp(now, now.saturating_add(self.rate.span_us()))
    }

    fn set(&mut self, key: &K, full_at: u64, now: u64) {
        if let Some(before) = self.full_at_us.remove(key) {
            self.by_time.remove(&(before, key.clone()));
        }
        while self.by_time.first().is_some_and(|(at, _)| *at <= now || self.by_time.len() >= KEYS_MAX) {
            if let Some((_, key)) = self.by_time.pop_first() {
                self.full_at_us.remove(&key);
            }
        }
        if full_at > now {
            self.full_at_us.insert(key.clone(), full_at);
            self.by_time.insert((full_at, key.clone()));
        }
    }
}

/// Every rate of a node's rules. Those of the door, by address, stand in the bridge's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New messages of an account.
    pub submit: Rate,
    /// Handles that an account looks up.
    pub resolve: Rate,
    /// Accounts whose key packages an account asks for.
    pub fetch: Rate,
    /// Conversations that an account creates.
    pub create: Rate,
    /// Conversations that an account shows to a home that lost its store.
    pub introduce: Rate,
    /// Commits of an account, at the hub.
    pub commit: Rate,
    /// Changes of an account's identity log by its devices.
    pub append_log: Rate,
    /// Key packages that an account uploads.
    pub put_key_packages: Rate,
    /// Chunks that an account puts into its archive, or requests to trim it.
    pub archive: Rate,
    /// How often an account reads its inbox anew.
    pub resume: Rate,
    /// Key packages of one account for one requester.
    pub key_packages_pair: Rate,
    /// One-time key packages of one device for one node, whoever asks there.
    pub key_packages_node: Rate,
    /// One-time key packages out of the reserve of one device for one node.
    pub key_packages_reserve: Rate,
    /// One-time key packages of one device for all.
    pub key_packages_device: Rate,
    /// Requests for key packages by one node.
    pub key_package_requests: Rate,
    /// Conversations that one node brings.
    pub conversations_node: Rate,
    /// Conversations that one node brings to one account.
    pub conversations_pair: Rate,
    /// New lives of one node's store.
    pub lives: Rate,
    /// Whispers of a device: typing in one conversation, and a hundred who watch.
    pub whisper: Rate,
    /// Whispers of one node, and to it: a quarter of the requests that it may send.
    pub whispers_node: Rate,
    /// Push subscriptions of an account's devices.
    pub push_subscribe: Rate,
    /// Pushes that an account tests: each is a connection to where it says.
    pub push_test: Rate,
    /// Parts of blobs that an account puts or reads.
    pub blob_parts: Rate,
    /// Bytes of blobs that this node keeps of an account's own: no rate, and the same for everybody.
    pub blobs_own_bytes: u64,
    /// Bytes of others' blobs that it keeps for an account, likewise.
    pub blobs_kept_bytes: u64,
    /// How long it keeps a blob, milliseconds, likewise.
    pub blobs_keep_ms: u64,
    /// Homes other than this node from which on a conversation's entries are gossiped: no rate, and the same for everybody.
    pub wide_homes_min: usize,
}

impl Limits {
    /// For people.
    pub const PRODUCTION: Self = Self {
        submit: Rate::new(60, 1, SECOND),
        resolve: Rate::new(100, 1, SECOND),
        fetch: Rate::new(20, 1, 10 * MINUTE),
        create: Rate::new(20, 1, 10 * MINUTE),
        introduce: Rate::new(2_000, 1, 10 * SECOND),
        commit: Rate::new(60, 1, 10 * SECOND),
        append_log: Rate::new(20, 1, 10 * MINUTE),
        put_key_packages: Rate::new(300, 1, 30 * SECOND),
        archive: Rate::new(1_500, 1, 2 * SECOND),
        resume: Rate::new(60, 1, SECOND),
        key_packages_pair: Rate::new(6, 1, 10 * MINUTE),
        key_packages_node: Rate::new(4, 1, HOUR),
        key_packages_reserve: Rate::new(1, 1, 24 * HOUR),
        key_packages_device: Rate::new(8, 1, 10 * MINUTE),
        key_package_requests: Rate::new(300, 10, MINUTE),
        conversations_node: Rate::new(300, 10, MINUTE),
        conversations_pair: Rate::new(5, 5, HOUR),
        lives: Rate::new(3, 1, MINUTE),
        whisper: Rate::new(60, 2, SECOND),
        whispers_node: Rate::new(100, 50, SECOND),
        push_subscribe: Rate::new(30, 1, MINUTE),
        push_test: Rate::new(5, 1, MINUTE),
        blob_parts: Rate::new(1_000, 20, SECOND),
        blobs_own_bytes: 1024 * 1024 * 1024,
        blobs_kept_bytes: 1024 * 1024 * 1024,
        blobs_keep_ms: RETENTION_MS,
        wide_homes_min: WIDE_HOMES_MIN,
    };

    /// For programs on one machine: the same sizes, ten thousand times the rates.
    pub const TESTNET: Self = {
        let Self {
            submit,
            resolve,
            fetch,
            create,
            introduce,
            commit,
            append_log,
            put_key_packages,
            archive,
            resume,
            key_packages_pair,
            key_packages_node,
            key_packages_reserve,
            key_packages_device,
            key_package_requests,
            conversations_node,
            conversations_pair,
            lives,
            whisper,
            whispers_node,
            push_subscribe,
            push_test,
            blob_parts,
            blobs_own_bytes,
            blobs_kept_bytes,
            blobs_keep_ms,
            wide_homes_min,
        } = Self::PRODUCTION;
        Self {
            submit: submit.raised(TESTNET_FACTOR),
            resolve: resolve.raised(TESTNET_FACTOR),
            fetch: fetch.raised(TESTNET_FACTOR),
            create: create.raised(TESTNET_FACTOR),
            introduce: introduce.raised(TESTNET_FACTOR),
            commit: commit.raised(TESTNET_FACTOR),
            append_log: append_log.raised(TESTNET_FACTOR),
            put_key_packages: put_key_packages.raised(TESTNET_FACTOR),
            archive: archive.raised(TESTNET_FACTOR),
            resume: resume.raised(TESTNET_FACTOR),
            key_packages_pair: key_packages_pair.raised(TESTNET_FACTOR),
            key_packages_node: key_packages_node.raised(TESTNET_FACTOR),
            key_packages_reserve: key_packages_reserve.raised(TESTNET_FACTOR),
            key_packages_device: key_packages_device.raised(TESTNET_FACTOR),
            key_package_requests: key_package_requests.raised(TESTNET_FACTOR),
            conversations_node: conversations_node.raised(TESTNET_FACTOR),
            conversations_pair: conversations_pair.raised(TESTNET_FACTOR),
            lives: lives.raised(TESTNET_FACTOR),
            whisper: whisper.raised(TESTNET_FACTOR),
            whispers_node: whispers_node.raised(TESTNET_FACTOR),
            push_subscribe: push_subscribe.raised(TESTNET_FACTOR),
            push_test: push_test.raised(TESTNET_FACTOR),
            blob_parts: blob_parts.raised(TESTNET_FACTOR),
            blobs_own_bytes,
            blobs_kept_bytes,
            blobs_keep_ms,
            wide_homes_min,
        }
    };
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// What a node remembers of who cost it what.
pub(super) struct Quotas {
    pub submit: Quota<AccountId>,
    pub resolve: Quota<AccountId>,
    pub fetch: Quota<AccountId>,
    pub create: Quota<AccountId>,
    pub introduce: Quota<AccountId>,
    pub commit: Quota<AccountId>,
    pub append_log: Quota<AccountId>,
    pub put_key_packages: Quota<AccountId>,
    pub archive: Quota<AccountId>,
    pub resume: Quota<AccountId>,
    pub key_packages_pair: Quota<(NodeId, AccountId, AccountId)>,
    pub key_packages_node: Quota<(NodeId, DeviceId)>,
    pub key_packages_reserve: Quota<(NodeId, DeviceId)>,
    pub key_packages_device: Quota<DeviceId>,
    pub key_package_requests: Quota<NodeId>,
    pub conversations_node: Quota<NodeId>,
    pub conversations_pair: Quota<(NodeId, AccountId)>,
    pub lives: Quota<NodeId>,
    pub whisper: Quota<DeviceId>,
    pub whispers_from: Quota<NodeId>,
    pub whispers_to: Quota<NodeId>,
    pub push_subscribe: Quota<AccountId>,
    pub push_test: Quota<AccountId>,
    pub blob_parts: Quota<AccountId>,
}

impl Quotas {
    pub const fn new(limits: &Limits) -> Self {
        Self {
            submit: Quota::new(limits.submit),
            resolve: Quota::new(limits.resolve),
            fetch: Quota::new(limits.fetch),
            create: Quota::new(limits.create),
            introduce: Quota::new(limits.introduce),
            commit: Quota::new(limits.commit),
            append_log: Quota::new(limits.append_log),
            put_key_packages: Quota::new(limits.put_key_packages),
            archive: Quota::new(limits.archive),
            resume: Quota::new(limits.resume),
            key_packages_pair: Quota::new(limits.key_packages_pair),
            key_packages_node: Quota::new(limits.key_packages_node),
            key_packages_reserve: Quota::new(limits.key_packages_reserve),
            key_packages_device: Quota::new(limits.key_packages_device),
            key_package_requests: Quota::new(limits.key_package_requests),
            conversations_node: Quota::new(limits.conversations_node),
            conversations_pair: Quota::new(limits.conversations_pair),
            lives: Quota::new(limits.lives),
            whisper: Quota::new(limits.whisper),
            whispers_from: Quota::new(limits.whispers_node),
            whispers_to: Quota::new(limits.whispers_node),
            push_subscribe: Quota::new(limits.push_subscribe),
            push_test: Quota::new(limits.push_test),
            blob_parts: Quota::new(limits.blob_parts),
        }
    }

    /// Whether a node may bring one more conversation, for these accounts here.
    pub fn conversation(&mut self, peer: &NodeId, accounts: &[AccountId], now_ms: u64) -> Result<(), Failure> {
        let what = "this node brings too many new conversations";
        for account in accounts {
            self.conversations_pair.check(&(*peer, *account), now_ms).map_err(|wait| busy(what, wait))?;
        }
        self.conversations_node.take(peer, 1, now_ms).map_err(|wait| busy(what, wait))?;
        for account in accounts {
            self.conversations_pair.take(&(*peer, *account), 1, now_ms).map_err(|wait| busy(what, wait))?;
        }
        Ok(())
    }

    /// Whether the next key package of `device` may be a one-time one; otherwise the last-resort package is given.
    /// `held` is its pool, `peer` the node that asks, unless it is this one. Takes from the budgets only what is given.
    pub fn one_time_key_package(&mut self, peer: Option<NodeId>, device: &DeviceId, held: usize, now_ms: u64) -> bool {
        let Some(peer) = peer else { return self.key_packages_device.take(device, 1, now_ms).is_ok() };
        let pair = (peer, *device);
        let fresh = held > KEY_PACKAGES_RESERVE || self.key_packages_reserve.check(&pair, now_ms).is_ok();
        let given = fresh
            && self.key_packages_device.check(device, now_ms).is_ok()
            && self.key_packages_node.take(&pair, 1, now_ms).is_ok()
            && self.key_packages_device.take(device, 1, now_ms).is_ok();
        if given {
            // Whatever it was given from counts; an error means that the day is not over.
            let _ = self.key_packages_reserve.take(&pair, 1, now_ms);
        }
        given
    }
}

/// `busy`, with the time after which it is worth trying again.
pub(super) fn busy(message: &str, retry_after_ms: u64) -> Failure {
    let mut refusal = Refusal::later(Code::Busy, message, "send the same again after the pause");
    refusal.retry_after_ms = Some(retry_after_ms.max(1));
    refusal.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_burst_then_one_a_period_and_never_more_than_the_burst() {
        let mut quota = Quota::new(Rate::new(3, 1, 1_000));
        for _ in 0..3 {
            assert_eq!(quota.take(&"alice", 1, 5_000), Ok(()), "the burst is there at once");
        }
        assert_eq!(quota.take(&"alice", 1, 5_000), Err(1_000), "then it says how long to wait");
        assert_eq!(quota.check(&"alice", 5_400), Err(600), "which gets shorter");
        assert_eq!(quota.take(&"bob", 1, 5_000), Ok(()), "others are not concerned");
        assert_eq!(quota.take(&"alice", 1, 6_000), Ok(()), "one came back");
        let later = 10_000_000;
        assert_eq!((0..9).filter(|_| quota.take(&"alice", 1, later).is_ok()).count(), 3, "never more than the burst");
    }

    #[test]
    fn what_is_given_back_may_be_taken_again() {
        let mut quota = Quota::new(Rate::new(2, 1, 1_000));
        assert_eq!((quota.take(&1, 1, 0), quota.take(&1, 1, 0)), (Ok(()), Ok(())), "the burst");
        quota.give_back(&1, 0);
        assert_eq!(quota.take(&1, 1, 0), Ok(()), "one came back");
        quota.give_back(&1, 0);
        quota.give_back(&1, 0);
        quota.give_back(&1, 0);
        assert!(quota.is_empty(), "nobody gets more than the burst back, or is kept");
        assert_eq!(quota.take(&1, 9, 0), Ok(()), "more than a burst at once counts as the burst");
        assert_eq!(quota.take(&1, 2, 1_000), Err(1_000), "and is owed");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut quota = Quota::new(Rate::new(2, 1, 1_000));
        assert_eq!(quota.take(&1, 2, 9_000_000), Ok(()), "the burst, in the far future");
        assert_eq!(quota.take(&1, 1, 1_000), Err(1_000), "an hour back, one period is to be waited for, not an hour");
        assert_eq!(quota.take(&1, 1, 2_000), Ok(()), "measured from the new time");
    }

    #[test]
    fn a_flood_of_keys_is_forgotten_before_the_one_who_owes_much() {
        let mut quota = Quota::new(Rate::new(10, 1, 1_000_000));
        assert_eq!(quota.take(&u64::MAX, 10, 0), Ok(()), "eve uses all she has");
        for key in 0..200_000_u64 {
            assert_eq!(quota.take(&key, 1, 1), Ok(()), "the flood is let in");
        }
        assert!(quota.len() <= KEYS_MAX, "memory is bounded, holds {}", quota.len());
        assert!(quota.take(&u64::MAX, 1, 1).is_err(), "eve still owes");
        assert_eq!(quota.take(&3, 1, u64::MAX / 2_000), Ok(()), "much later");
        assert_eq!(quota.len(), 1, "all who owe nothing are forgotten");
    }

    #[test]
    fn a_testnet_raises_each_rate() {
        let (people, programs) = (Limits::PRODUCTION, Limits::TESTNET);
        assert!(programs.submit.every_us < people.submit.every_us && programs.submit.burst > people.submit.burst);
        let mut quota = Quota::new(programs.submit);
        assert!((0..100_000).all(|_| quota.take(&1, 1, 7).is_ok()), "a hundred thousand messages at once pass");
    }

    #[test]
    fn fifty_nodes_that_ask_ten_thousand_times_leave_half_of_a_pool_and_a_newcomer_still_gets_one_later() {
        let mut quotas = Quotas::new(&Limits::PRODUCTION);
        let node = |number: u8| {
            let seed = [number; 32];
            NodeId::of(roost_crypto::keys::SecretKey::from_seed(&seed).public_key())
        };
        let alice = DeviceId([1; 32]);
        let mut held = 20_usize;
        let nodes: Vec<_> = (0..50).map(node).collect();
        for peer in nodes.iter().cycle().take(10_000) {
            held -= usize::from(quotas.one_time_key_package(Some(*peer), &alice, held, 1_000));
        }
        assert_eq!(held, 12, "eight are given at once, whoever asks");
        let mut quotas = Quotas::new(&Limits::PRODUCTION);
        let mut held = 20_usize;
        let one = node(1);
        for _ in 0..10_000 {
            held -= usize::from(quotas.one_time_key_package(Some(one), &alice, held, 1_000));
        }
        assert_eq!(held, 16, "one node gets four");
        for hour in 1..100 {
            for _ in 0..100 {
                let now_ms = 1_000 + hour * HOUR;
                held -= usize::from(quotas.one_time_key_package(Some(one), &alice, held, now_ms));
            }
        }
        assert!(
            (6..=KEY_PACKAGES_RESERVE).contains(&held),
            "then one a day of the last ten, in four days {held} are left"
        );
        let now_ms = 1_000 + 100 * HOUR;
        assert!(quotas.one_time_key_package(Some(node(2)), &alice, held, now_ms), "another node gets one of them");
        assert!(quotas.one_time_key_package(None, &alice, held - 1, now_ms), "and people of the same home do");
    }
}
