//! The clocks of the network edge: the only place here that reads them.
//!
//! Never decides anything; the rules take the time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 on a machine whose clock stands before.
#[expect(clippy::disallowed_methods, reason = "the network is an edge: records end at a wall-clock time")]
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Monotonic time, for ages of cache entries and for Kademlia's record expiry.
#[expect(clippy::disallowed_methods, reason = "the network is an edge: libp2p takes monotonic instants")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// The instant that lies `from_now_s` seconds ahead.
pub(super) fn instant_in(from_now_s: u64) -> Instant {
    let now = instant();
    now.checked_add(Duration::from_secs(from_now_s)).unwrap_or(now)
}
