//! How much one peer may ask of this node: what each kind of work allows at once, and how much of it comes back a second.
//!
//! A peer's allowance outlives its connection, so reconnecting refills nothing. Memory is bounded: peers that have their
//! whole allowance again are forgotten first, and while too many are known a new one is refused, and no known one. Implements
//! `docs/protocol.md`, sections "Directory records" and "Between nodes".

use governor::clock::{Clock, MonotonicClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use libp2p::PeerId;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Peers whose allowances are remembered: four times the connections that a node has.
const PEERS_MAX: usize = 4_096;
/// One cell of [`Rates::bytes_kib`], bytes.
const KIB: usize = 1024;

/// What is allowed at once, and how much of it comes back a second. Zero counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Comes back a second.
    pub per_s: u32,
    /// At once.
    pub burst: u32,
}

/// The rates of a node, each for one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Directory records put to us that are news: each costs signature checks.
    pub puts: Rate,
    /// Kademlia requests of any kind on one connection; beyond it the connection is read more slowly.
    pub kademlia: Rate,
    /// `Hello`: each costs signature checks.
    pub hellos: Rate,
    /// Requests between nodes.
    pub requests: Rate,
    /// Bytes of such requests, KiB.
    pub bytes_kib: Rate,
    /// Half-open connections of one IPv4 address or IPv6 /64: with 10 s each, so many peers behind one address may begin
    /// at the same moment.
    pub pending_of_address: usize,
    /// A record that nobody put for so long is handed on to the closest nodes, seconds.
    pub replicate_after_s: u64,
}

impl Rates {
    /// For people. A home with 100,000 conversations that are talked in daily stays below these at every peer.
    pub const PRODUCTION: Self = Self {
        puts: Rate { per_s: 20, burst: 200 },
        kademlia: Rate { per_s: 100, burst: 500 },
        hellos: Rate { per_s: 1, burst: 20 },
        requests: Rate { per_s: 200, burst: 400 },
        bytes_kib: Rate { per_s: 5 * 1024, burst: 10 * 1024 },
        pending_of_address: 16,
        replicate_after_s: 6 * 3600,
    };

    /// For a testnet, whose few nodes carry the load of many: a hundred times as much, and no size differs. All of them live at
    /// one address, which may hold a quarter of the half-open connections.
    pub const TESTNET: Self = Self {
        puts: Self::PRODUCTION.puts.times(100),
        kademlia: Self::PRODUCTION.kademlia.times(100),
        hellos: Self::PRODUCTION.hellos.times(100),
        requests: Self::PRODUCTION.requests.times(100),
        bytes_kib: Self::PRODUCTION.bytes_kib.times(100),
        pending_of_address: 128,
        ..Self::PRODUCTION
    };
}

impl Default for Rates {
    fn default() -> Self {
        Self::PRODUCTION
    }
}

impl Rate {
    const fn times(self, factor: u32) -> Self {
        Self { per_s: self.per_s.saturating_mul(factor), burst: self.burst.saturating_mul(factor) }
    }

    /// As the limiter takes it.
    pub(super) fn quota(self) -> Quota {
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Quota::per_second(at_least_one(self.per_s)).allow_burst(at_least_one(self.burst))
    }
}

/// One kind of work, and what each peer has left of it.
#[derive(Debug)]
pub(super) struct Allowance<C: Clock = MonotonicClock> {
    limiter: RateLimiter<PeerId, HashMapStateStore<PeerId>, C, NoOpMiddleware<C::Instant>>,
    /// When each peer last asked. The limiter does not tell whom it knows.
    asked: Mutex<HashMap<PeerId, C::Instant>>,
    /// After such a pause a peer has its whole allowance again.
    refill: Duration,
    clock: C,
    peers_max: usize,
}

impl Allowance {
    pub(super) fn new(rate: Rate) -> Self {
        Self::with_clock(rate, MonotonicClock, PEERS_MAX)
    }
}

impl<C: Clock + Clone> Allowance<C> {
    fn with_clock(rate: Rate, clock: C, peers_max: usize) -> Self {
        let limiter = RateLimiter::new(rate.quota(), HashMapStateStore::default(), clock.clone());
        let refill = rate.quota().burst_size_replenished_in();
        Self { limiter, asked: Mutex::default(), refill, clock, peers_max }
    }

    /// Takes one from what a peer has left; `false` when nothing is.
    pub(super) fn take(&self, peer: &PeerId) -> bool {
        self.knows(peer) && self.limiter.check_key(peer).is_ok()
    }

    /// Takes the KiB of `bytes`, begun ones whole; `false`, and nothing is taken, when fewer are left.
    pub(super) fn take_bytes(&self, peer: &PeerId, bytes: usize) -> bool {
        let cells = u32::try_from(bytes.div_ceil(KIB)).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        self.knows(peer) && matches!(self.limiter.check_key_n(peer, cells), Ok(Ok(())))
    }

    /// Forgets the peers that have their whole allowance again.
    pub(super) fn tend(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        let now = self.clock.now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| now.duration_since(*at) < self.refill.into());
        asked.shrink_to_fit();
    }

    /// `false` for a stranger while too many are known.
    fn knows(&self, peer: &PeerId) -> bool {
        let now = self.clock.now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= self.peers_max && !asked.contains_key(peer) {
            asked.retain(|_, at| now.duration_since(*at) < self.refill.into());
            self.limiter.retain_recent();
            if asked.len() >= self.peers_max {
                return false;
            }
        }
        asked.insert(*peer, now);
        true
    }
}

/// What the peers have left.
#[derive(Debug)]
pub(super) struct Allowances {
    pub(super) puts: Allowance,
    pub(super) hellos: Allowance,
    pub(super) requests: Allowance,
    pub(super) bytes: Allowance,
}

impl Allowances {
    pub(super) fn new(rates: &Rates) -> Self {
        Self {
            puts: Allowance::new(rates.puts),
            hellos: Allowance::new(rates.hellos),
            requests: Allowance::new(rates.requests),
            bytes: Allowance::new(rates.bytes_kib),
        }
    }

    /// As [`Allowance::tend`].
    pub(super) fn tend(&self) {
        for allowance in [&self.puts, &self.hellos, &self.requests, &self.bytes] {
            allowance.tend();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use std::time::Duration;

    fn allowance(peers_max: usize) -> (Allowance<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Allowance::with_clock(Rate { per_s: 20, burst: 200 }, clock.clone(), peers_max), clock)
    }

    #[test]
    fn a_peer_has_its_burst_then_its_rate_and_takes_nothing_from_another() {
        let (puts, clock) = allowance(8);
        let (eve, bob) = (PeerId::random(), PeerId::random());
        let taken = |peer| (0..1000).filter(|_| puts.take(peer)).count();
        assert_eq!(taken(&eve), 200, "the burst is what there is");
        assert_eq!(taken(&bob), 200, "eve's flood costs bob nothing");
        clock.advance(Duration::from_secs(1));
        assert_eq!(taken(&eve), 20, "a second brings twenty back");
    }

    #[test]
    fn bytes_are_taken_whole_or_not_at_all() {
        let (bytes, clock) = allowance(8);
        let eve = PeerId::random();
        assert!(bytes.take_bytes(&eve, 150 * KIB), "150 of 200 KiB are there");
        assert!(!bytes.take_bytes(&eve, 51 * KIB), "51 more are not");
        assert!(bytes.take_bytes(&eve, 50 * KIB), "and the refusal took nothing");
        clock.advance(Duration::from_secs(10));
        assert!(!bytes.take_bytes(&eve, 201 * KIB), "more than the burst never passes");
    }

    #[test]
    fn ten_thousand_peers_cost_bounded_memory_and_the_known_ones_keep_their_allowance() {
        let (puts, clock) = allowance(100);
        let bob = PeerId::random();
        assert!(puts.take(&bob), "bob comes first");
        let admitted = (0..10_000).filter(|_| puts.take(&PeerId::random())).count();
        assert_eq!((admitted, puts.limiter.len()), (99, 100), "so many peers are known, the next are refused");
        assert!(puts.take(&bob), "and bob, who is known, is not");
        clock.advance(Duration::from_secs(60));
        assert!(puts.take(&PeerId::random()), "peers with their whole allowance make room");
        assert_eq!(puts.limiter.len(), 1, "and are forgotten");
    }
}
