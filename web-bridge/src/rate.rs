//! Bounds on what one client or one address may cost: frames, connections, handshakes, sign-ups and failed sign-ins.
//!
//! Memory is bounded by the connections that are open and by the quota's own bound. Never decides what a frame means.

use roost_node::relay::{Quota, Rate};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A token bucket: `burst` at once, `per_s` over time. Time is an input.
#[derive(Debug)]
pub(crate) struct Bucket {
    burst: f64,
    per_s: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full one; zeros count as one.
    pub(crate) fn full(burst: u32, per_s: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self { burst, per_s: f64::from(per_s.max(1)), tokens: burst, filled_at: now }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + since * self.per_s).min(self.burst);
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_s))
        }
    }
}

/// How many connections of a kind each address has. Holds only addresses that have one.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    max: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of an address's places, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    /// At most `max` an address.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, counts: Arc::default() }
    }

    /// A place for a new connection; `None` where the address has them all.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = block(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&address).copied().unwrap_or(0);
        if count >= self.max {
            return None;
        }
        counts.insert(address, count + 1);
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.address);
            }
        }
    }
}

/// One rate, by address. Its clock is the runtime's.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    since: Instant,
    quota: Arc<Mutex<Quota<IpAddr>>>,
}

impl Rates {
    /// Nobody owes anything.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { since: now, quota: Arc::new(Mutex::new(Quota::new(rate))) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How many milliseconds until there is one.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        self.with(|quota| quota.take(&block(address), 1, self.ms(now)))
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn check(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        self.with(|quota| quota.check(&block(address), self.ms(now)))
    }

    /// Gives one back.
    pub(crate) fn give_back(&self, address: IpAddr, now: Instant) {
        self.with(|quota| quota.give_back(&block(address), self.ms(now)));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Quota<IpAddr>) -> T) -> T {
        act(&mut self.quota.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX)
    }
}

/// The address block that one subscriber has: an IPv4 address, an IPv6 /64.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_gives_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(3, 10, start);
        for _ in 0..3 {
            assert!(bucket.take(start).is_ok(), "the burst is there at once");
        }
        let wait = bucket.take(start).expect_err("the burst is used up");
        assert_eq!(wait.as_millis(), 100, "a token comes every 100 ms");
        assert!(bucket.take(start + Duration::from_millis(101)).is_ok(), "and it came");
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| bucket.take(much_later).is_ok()).count(), 3, "never more than the burst");
    }

    #[test]
    fn a_subscriber_gets_its_places_back_and_never_more() {
        let pending = Places::new(2);
        let eve = |host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host));
        let first = pending.enter(eve(1)).expect("the first fits");
        let _second = pending.enter(eve(2)).expect("the second fits");
        assert!(pending.enter(eve(3)).is_none(), "a /64 is one subscriber");
        assert!(pending.enter([192, 0, 2, 1].into()).is_some(), "others are not concerned");
        drop(first);
        assert!(pending.enter(eve(3)).is_some(), "a place given back is free");
        assert_eq!(pending.counts.lock().expect("not poisoned").len(), 1, "no address is kept without a connection");
    }
}
