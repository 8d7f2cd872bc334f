//! Key packages: a pool at the home of which each serves one join, and one of last resort for when the pool is empty.
//!
//! One of last resort serves many, so whoever learns its private half opens many Welcomes: it is replaced soon after it was used,
//! and long before its life of 84 days is over. Private halves are kept until no Welcome to them can come any more, then they go.
//!
//! Implements `docs/protocol.md`, section "Between device and home".

use super::link::Pending;
use super::rows::{self, MADE};
use super::{Device, DeviceError};
use roost_crypto::bytes::Bytes;
use roost_crypto::group::WriteSet;
use roost_protocol::limits;
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::ClientFrame;
use serde::{Deserialize, Serialize};

/// Below this many key packages at the home, new ones are made.
pub(super) const KEY_PACKAGES_LOW: u32 = 10;
/// So many are there afterwards.
pub(super) const KEY_PACKAGES_FULL: u32 = 20;
/// How old one of last resort becomes, milliseconds: a third of its life.
const LAST_RESORT_MS_MAX: u64 = 28 * 24 * 3600 * 1_000;
/// How old one becomes that was used, milliseconds: whoever uses each up at once has a new one made once an hour.
const LAST_RESORT_MS_MIN: u64 = 3600 * 1_000;
/// Pause after the home did not take one, milliseconds, unless it asks for a longer one.
const PAUSE_MS: u64 = 10 * 60 * 1_000;
/// How long private halves are kept, milliseconds: their life of 84 days, then as long as a Welcome may be on its way, and a day.
const KEPT_MS: u64 = 85 * 24 * 3600 * 1_000 + limits::RETENTION_MS;

/// The key package of last resort that the home holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastResortRow {
    /// Milliseconds since 1970; 0 where that is not known.
    pub made_at: u64,
    /// Somebody began a conversation with it.
    pub used: bool,
}

/// Private halves that were made at once.
#[derive(Serialize, Deserialize)]
pub(super) struct MadeRow {
    /// Milliseconds since 1970: then they go.
    pub until: u64,
    pub last_resort: bool,
    /// The engine's keys of their rows.
    pub halves: Vec<Bytes>,
}

impl Device {
    /// Makes new key packages when many were used up on a long connection, and one of last resort when that is due.
    pub(super) fn refill_key_packages(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.is_ready() {
            return Ok(());
        }
        if self.link.joined >= KEY_PACKAGES_LOW {
            let count = std::mem::take(&mut self.link.joined);
            self.put_key_packages(count, false)?;
        }
        let row: LastResortRow = self.table.get(&rows::last_resort())?.unwrap_or_default();
        let age = if row.used { LAST_RESORT_MS_MIN } else { LAST_RESORT_MS_MAX };
        let due = row.made_at.saturating_add(age).max(self.link.last_resort_not_before_ms);
        if due <= now_ms && !self.link.is_putting_last_resort() {
            self.put_key_packages(0, true)?;
        }
        Ok(())
    }

    /// Makes key packages and lets the home hold them.
    pub(super) fn put_key_packages(&mut self, count: u32, last_resort: bool) -> Result<(), DeviceError> {
        let count = usize::try_from(count).unwrap_or(0);
        let packages = self.make_key_packages(count, false)?;
        let of_last_resort = if last_resort { self.make_key_packages(1, true)?.into_iter().next() } else { None };
        let made_at = last_resort.then_some(self.last_now_ms);
        self.request(Pending::KeyPackages(made_at), |id| ClientFrame::PutKeyPackages {
            id,
            packages,
            last_resort: of_last_resort,
        });
        Ok(())
    }

    /// The home holds them; if one was of last resort, it is this one from now on.
    pub(super) fn key_packages_held(&mut self, made_at: Option<u64>) {
        if let Some(made_at) = made_at {
            self.table.put(rows::last_resort(), &LastResortRow { made_at, used: false });
        }
    }

    /// The home does not hold them: the old one serves until it does.
    pub(super) fn key_packages_refused(&mut self, error: &Refusal, now_ms: u64) {
        let pause = error.retry_after_ms.unwrap_or(0).max(PAUSE_MS);
        self.link.last_resort_not_before_ms = now_ms.saturating_add(pause);
    }

    /// A group was entered by what these writes of the engine use up.
    pub(super) fn joined_by(&mut self, writes: &WriteSet) -> Result<(), DeviceError> {
        self.link.joined = self.link.joined.saturating_add(1);
        let gone = |half: &Bytes| writes.0.get(half.as_slice()).is_some_and(Option::is_none);
        let made = self.table.scan::<MadeRow>(&[MADE])?;
        let of_pool = made.iter().any(|(_, row)| !row.last_resort && row.halves.iter().any(gone));
        // Where none is known they are of before this was noted.
        if !of_pool && !made.is_empty() {
            let row: LastResortRow = self.table.get(&rows::last_resort())?.unwrap_or_default();
            self.table.put(rows::last_resort(), &LastResortRow { used: true, ..row });
        }
        Ok(())
    }

    /// Private halves go to which no Welcome can come any more.
    pub(super) fn forget_key_packages(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<MadeRow>(&[MADE])? {
            if row.until <= now_ms {
                let halves = row.halves.into_iter().map(|half| (half.0, None));
                self.table.apply_mls(WriteSet(halves.collect()));
                self.table.delete(key);
            }
        }
        Ok(())
    }

    fn make_key_packages(&mut self, count: usize, last_resort: bool) -> Result<Vec<Bytes>, DeviceError> {
        let (packages, writes) = self.engine.groups.key_packages(&self.table, count, last_resort)?;
        let halves: Vec<Bytes> = writes.0.keys().map(|key| Bytes(key.clone())).collect();
        if let Some(first) = halves.first() {
            let until = self.last_now_ms.saturating_add(KEPT_MS);
            let key = rows::made(until, first.as_slice());
            self.table.put(key, &MadeRow { until, last_resort, halves });
        }
        self.table.apply_mls(writes);
        Ok(packages)
    }
}
