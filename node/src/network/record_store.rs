//! The directory records that this node holds: verified, bounded, on disk.
//!
//! Never stores a record that does not verify under its key, and never replaces a record by an older one. Provider records
//! are not part of the protocol and are refused. Implements `docs/protocol.md`, section "Directory records".

use super::clock;
use super::selection::{Candidate, Choice, choose};
use libp2p::PeerId;
use libp2p::kad::store::{Error as KadError, RecordStore as KadRecordStore, Result as KadResult};
use libp2p::kad::{ProviderRecord, Record, RecordKey as KadKey};
use roost_protocol::records::{RecordError, RecordKey};
use roost_protocol::{Bytes, codec, limits};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A record is held so long after it was last put, seconds: 48 hours. The home republishes every few hours.
pub(super) const FRESH_S: u64 = 48 * 3600;
/// Records of others that are held: 4 KiB each, so 64 MiB at most. Our own are kept beyond.
const FOREIGN_RECORDS_MAX: usize = 16 * 1024;
/// Bytes of a record on disk: the value and its envelope.
const ON_DISK_BYTES_MAX: usize = limits::DHT_VALUE_BYTES_MAX + 64;

/// Why a record is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It does not verify.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A newer record of the same signer is held.
    #[error("a newer record is held")]
    Older,
    /// The held identity log and this one contradict each other.
    #[error("the identity log branches from the one that is held")]
    Branched,
    /// The store is full of unexpired records.
    #[error("expected at most {0} records of others")]
    Full(usize),
}

/// Whose record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Published by this node; not counted against the bound.
    Own,
    /// Put by another node, or found at one.
    Foreign,
}

/// The store.
#[derive(Debug)]
pub(super) struct RecordStore {
    records: BTreeMap<Vec<u8>, Held>,
    disk: Option<sled::Tree>,
    foreign_records_max: usize,
}

#[derive(Debug, Clone)]
struct Held {
    value: Vec<u8>,
    fresh_until_s: u64,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    value: Bytes,
    expires_s: u64,
}

impl RecordStore {
    /// Opens the store: `None` keeps records in memory only. What is on disk and no longer verifies is dropped.
    pub(super) fn open(disk: Option<sled::Tree>, now_s: u64) -> Self {
        let mut store = Self { records: BTreeMap::new(), disk, foreign_records_max: FOREIGN_RECORDS_MAX };
        let entries: Vec<_> = store.disk.iter().flat_map(|tree| tree.iter()).filter_map(Result::ok).collect();
        for (key, bytes) in entries {
            match read(&key, &bytes, now_s) {
                Some(held) => drop(store.records.insert(key.to_vec(), held)),
                None => store.forget(&key),
            }
        }
        store
    }

    /// Verifies and stores a record if it is not older than the held one; the same bytes refresh it.
    ///
    /// `fresh_until_s` (seconds since 1970) is cut to [`FRESH_S`] from now and to the record's own end, and never
    /// shortens what is held: it comes over an unauthenticated field.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn admit(
        &mut self,
        key: &[u8],
        value: &[u8],
        fresh_until_s: u64,
        origin: Origin,
        now_s: u64,
    ) -> Result<(), StoreError> {
        if value.len() > limits::DHT_VALUE_BYTES_MAX {
            let error = codec::CodecError::TooLong { max: limits::DHT_VALUE_BYTES_MAX, got: value.len() };
            return Err(RecordError::Codec(error).into());
        }
        let parsed = RecordKey::parse(key)?;
        let held = self.records.get(key);
        let offered = Candidate::verify(&parsed, value, now_s)?;
        let valid = held.and_then(|held| Candidate::verify(&parsed, &held.value, now_s).ok());
        let chosen = match valid.as_ref().map(|held| choose(held, &offered)) {
            None | Some(Choice::Offered) => offered,
            Some(Choice::Merged(merged)) => *merged,
            Some(Choice::Equal) => valid.unwrap_or(offered),
            Some(Choice::Held) => return Err(StoreError::Older),
            Some(Choice::Branched) => return Err(StoreError::Branched),
        };
        let known_until_s = held.map_or(0, |held| held.fresh_until_s);
        if held.is_none() && origin == Origin::Foreign && self.records.len() >= self.foreign_records_max {
            self.sweep(now_s);
            if self.records.len() >= self.foreign_records_max {
                return Err(StoreError::Full(self.foreign_records_max));
            }
        }
        let fresh_until_s = fresh_until_s
            .max(known_until_s)
            .min(now_s.saturating_add(FRESH_S))
            .min(chosen.expires_s().map_or(u64::MAX, |end| end.saturating_add(limits::CLOCK_SKEW_MS_MAX / 1000)));
        self.write(key, Held { value: chosen.value, fresh_until_s });
        Ok(())
    }

    /// Drops what is no longer fresh.
    pub(super) fn sweep(&mut self, now_s: u64) {
        let stale: Vec<_> =
            self.records.iter().filter(|(_, held)| held.fresh_until_s < now_s).map(|(key, _)| key.clone()).collect();
        for key in stale {
            self.forget(&key);
        }
    }

    /// The held bytes of a key.
    pub(super) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.get(key).map(|held| held.value.as_slice())
    }

    fn write(&mut self, key: &[u8], held: Held) {
        if let Some(tree) = &self.disk {
            let on_disk = OnDisk { value: Bytes(held.value.clone()), expires_s: held.fresh_until_s };
            if let Err(error) = tree.insert(key, codec::encode(&on_disk)) {
                // The record is still served from memory, and its home republishes it.
                tracing::error!(%error, "a directory record was not written to disk");
            }
        }
        self.records.insert(key.to_vec(), held);
    }

    fn forget(&mut self, key: &[u8]) {
        self.records.remove(key);
        if let Some(Err(error)) = self.disk.as_ref().map(|tree| tree.remove(key)) {
            tracing::error!(%error, "a directory record was not removed from disk");
        }
    }
}

fn read(key: &[u8], bytes: &[u8], now_s: u64) -> Option<Held> {
    let on_disk: OnDisk = codec::decode(bytes, ON_DISK_BYTES_MAX).ok()?;
    let parsed = RecordKey::parse(key).ok()?;
    let candidate = Candidate::verify(&parsed, on_disk.value.as_slice(), now_s).ok()?;
    (on_disk.expires_s >= now_s).then_some(Held { value: candidate.value, fresh_until_s: on_disk.expires_s })
}

fn to_record(key: &[u8], held: &Held) -> Record {
    let left_s = held.fresh_until_s.saturating_sub(clock::now_s());
    Record {
        key: KadKey::new(&key),
        value: held.value.clone(),
        // A record that names us as its publisher is acknowledged by libp2p and then ignored when it comes back.
        publisher: None,
        expires: Some(clock::instant_in(left_s)),
    }
}

/// When a record of libp2p ends, seconds since 1970.
pub(super) fn fresh_until_s(record: &Record, now_s: u64) -> u64 {
    let left_s = record.expires.map_or(FRESH_S, |end| end.saturating_duration_since(clock::instant()).as_secs());
    now_s.saturating_add(left_s)
}

impl KadRecordStore for RecordStore {
    type RecordsIter<'a> = std::vec::IntoIter<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &KadKey) -> Option<Cow<'_, Record>> {
        self.records.get(key.as_ref()).map(|held| Cow::Owned(to_record(key.as_ref(), held)))
    }

    /// libp2p calls it for our own puts only; its error type has no fitting cause, so callers use `admit` first.
    fn put(&mut self, record: Record) -> KadResult<()> {
        let now_s = clock::now_s();
        let fresh_until_s = fresh_until_s(&record, now_s);
        self.admit(record.key.as_ref(), &record.value, fresh_until_s, Origin::Own, now_s).map_err(|error| {
            if matches!(error, StoreError::Full(_)) { KadError::MaxRecords } else { KadError::ValueTooLarge }
        })
    }

    fn remove(&mut self, key: &KadKey) {
        self.forget(key.as_ref());
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        let records: Vec<_> = self.records.iter().map(|(key, held)| Cow::Owned(to_record(key, held))).collect();
        records.into_iter()
    }

    fn add_provider(&mut self, _: ProviderRecord) -> KadResult<()> {
        Err(KadError::MaxProvidedKeys)
    }

    fn providers(&self, _: &KadKey) -> Vec<ProviderRecord> {
        Vec::new()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, _: &KadKey, _: &PeerId) {}
}

#[cfg(test)]
#[path = "record_store_tests.rs"]
mod tests;
