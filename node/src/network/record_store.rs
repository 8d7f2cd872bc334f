//! The directory records that this node holds: verified, bounded, on disk.
//!
//! Never stores a record that does not verify under its key, and never replaces a record by an older one, even when the
//! newer one is gone. What this node publishes or has looked up is never evicted for what others put; among those the
//! farthest from this node goes first. Provider records are not part of the protocol and are refused. Implements
//! `docs/protocol.md`, section "Directory records".

use super::clock;
use super::marks::Mark;
use super::selection::{Candidate, Choice, choose};
use hashlink::LruCache;
use libp2p::PeerId;
use libp2p::kad::store::{Error as KadError, RecordStore as KadRecordStore, Result as KadResult};
use libp2p::kad::{KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey as KadKey};
use roost_protocol::records::{RecordError, RecordKey, VerifiedRecord};
use roost_protocol::{Bytes, OrgId, codec, limits};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A record with an end is held so long after it was last put, seconds: 48 hours. The home republishes every few hours.
pub(super) const FRESH_S: u64 = 48 * 3600;
/// The end of an identity log: it has none, because users go away for months. Only the bounds below evict it.
const NEVER_S: u64 = u64::MAX;
/// Seconds by which a put must lengthen a record's time for it to be written to disk again.
const REFRESH_S: u64 = 3600;
/// Seconds between two sweeps of a full store.
const SWEEP_S: u64 = 60;
/// Bytes of a record on disk: the value and its envelope.
const ON_DISK_BYTES_MAX: usize = limits::DHT_VALUE_BYTES_MAX + 512;

/// How many records are held. What this node publishes is beyond these.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Put by others: 4 KiB each, so 64 MiB at most.
    pub(super) foreign: usize,
    /// Of those, put by one peer: no peer fills more than a quarter.
    pub(super) of_source: usize,
    /// Of those, signed by one organisation.
    pub(super) of_signer: usize,
    /// Looked up by this node; beyond it the one not asked for longest may be evicted.
    pub(super) wanted: usize,
    /// Marks, some 150 bytes each.
    pub(super) marks: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { foreign: 16 * 1024, of_source: 4 * 1024, of_signer: 4 * 1024, wanted: 4 * 1024, marks: 16 * 1024 }
    }
}

/// Why a record is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It does not verify.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A newer record of the same signer is held, or was.
    #[error("a newer record is known")]
    Older,
    /// The known identity log and this one contradict each other.
    #[error("the identity log branches from the one that is known")]
    Branched,
    /// The store is full of unexpired records that are nearer to this node.
    #[error("expected at most {0} records of others")]
    Full(usize),
    /// One peer, or one organisation, has as many records here as it may.
    #[error("expected at most {0} records of one peer or organisation")]
    Quota(usize),
}

/// Whose record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Published by this node.
    Own,
    /// Looked up by this node: its last known good record.
    Wanted,
    /// Put by this peer.
    Foreign(PeerId),
}

/// The store.
#[derive(Debug)]
pub(super) struct RecordStore {
    local: KBucketKey<PeerId>,
    records: BTreeMap<Vec<u8>, Held>,
    /// What may be evicted, nearest first.
    foreign: BTreeMap<KBucketDistance, Vec<u8>>,
    wanted: LruCache<Vec<u8>, ()>,
    marks: LruCache<Vec<u8>, Mark>,
    of_source: HashMap<PeerId, usize>,
    of_signer: HashMap<OrgId, usize>,
    disk: Option<sled::Tree>,
    bounds: Bounds,
    swept_at_s: u64,
    /// Where the search for records to hand on goes on.
    cursor: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Held {
    value: Vec<u8>,
    fresh_until_s: u64,
    kept: Kept,
    source: Option<PeerId>,
    signer: Option<OrgId>,
    /// Last put, here or by us elsewhere, seconds since 1970.
    put_at_s: u64,
}

/// Why a record is kept; a stronger reason replaces a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Foreign,
    Wanted,
    Own,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    /// Empty when only the mark is left.
    value: Bytes,
    expires_s: u64,
    #[serde(default = "foreign")]
    kept: Kept,
    #[serde(default)]
    source: Option<Bytes>,
    #[serde(default)]
    mark: Option<Mark>,
}

fn foreign() -> Kept {
    Kept::Foreign
}

impl RecordStore {
    /// Opens the store of the node `local`: `None` keeps records in memory only. What is on disk and no longer verifies is
    /// dropped; what was seen of it is remembered.
    pub(super) fn open(local: PeerId, disk: Option<sled::Tree>, bounds: Bounds, now_s: u64) -> Self {
        let mut store = Self {
            local: KBucketKey::from(local),
            records: BTreeMap::new(),
            foreign: BTreeMap::new(),
            wanted: LruCache::new_unbounded(),
            marks: LruCache::new_unbounded(),
            of_source: HashMap::new(),
            of_signer: HashMap::new(),
            disk,
            bounds,
            swept_at_s: now_s,
            cursor: Vec::new(),
        };
        let entries = store.disk.iter().flat_map(sled::Tree::iter).filter_map(Result::ok);
        for (key, bytes) in entries.collect::<Vec<_>>() {
            let Ok(on_disk) = codec::decode::<OnDisk>(&bytes, ON_DISK_BYTES_MAX) else {
                store.remove_from_disk(&key);
                continue;
            };
            if let Some(mark) = on_disk.mark {
                store.marks.insert(key.to_vec(), mark);
            }
            match read(&key, &on_disk, now_s) {
                Some(held) => store.link(&key, held),
                None if !on_disk.value.as_slice().is_empty() => store.forget(&key),
                None => {}
            }
        }
        store.keep_bounds();
        store
    }

    /// Verifies and stores a record if it is not older than the known one; the same bytes refresh it.
    ///
    /// `fresh_until_s` (seconds since 1970) is cut to [`FRESH_S`] from now and to the record's own end, and never
    /// shortens what is held: it comes over an unauthenticated field. An identity log has no end.
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
        let parsed = check_shape(key, value)?;
        let candidate = judge(&parsed, self.value(key), value, now_s)?;
        self.take(key, candidate, fresh_until_s, origin, now_s)
    }

    /// Stores what [`judge`] chose against the value that is held now.
    ///
    /// # Errors
    /// [`StoreError`], but no [`StoreError::Record`].
    pub(super) fn take(
        &mut self,
        key: &[u8],
        chosen: Candidate,
        fresh_until_s: u64,
        origin: Origin,
        now_s: u64,
    ) -> Result<(), StoreError> {
        self.is_news(key, &chosen)?;
        let signer = signer(&chosen.record);
        let (kept, source) = match origin {
            Origin::Own => (Kept::Own, None),
            Origin::Wanted => (Kept::Wanted, None),
            Origin::Foreign(peer) => (Kept::Foreign, Some(peer)),
        };
        let (known_until_s, kept, source) = match self.records.get(key) {
            Some(held) => (held.fresh_until_s, held.kept.max(kept), held.source.or(source)),
            None => {
                if kept == Kept::Foreign {
                    self.make_room(key, source, signer, now_s)?;
                }
                (0, kept, source)
            }
        };
        let end_s = chosen.expires_s().map(|end| end.saturating_add(limits::CLOCK_SKEW_MS_MAX / 1000));
        let fresh_until_s = match end_s {
            None => NEVER_S,
            Some(end_s) if kept == Kept::Wanted => end_s,
            Some(end_s) => fresh_until_s.max(known_until_s).min(now_s.saturating_add(FRESH_S)).min(end_s),
        };
        if kept > Kept::Foreign
            && let Some(mark) = Mark::of(&chosen)
        {
            self.marks.insert(key.to_vec(), mark);
        }
        let held = Held { value: chosen.value, fresh_until_s, kept, source, signer, put_at_s: now_s };
        self.write_to_disk(key, &held);
        self.link(key, held);
        self.keep_bounds();
        Ok(())
    }

    /// Whether a record is no older than what was ever seen under its key, held or not.
    ///
    /// # Errors
    /// [`StoreError::Older`], [`StoreError::Branched`].
    pub(super) fn is_news(&self, key: &[u8], candidate: &Candidate) -> Result<(), StoreError> {
        self.marks.peek(key).map_or(Ok(()), |mark| mark.check(candidate))
    }

    /// The highest sequence number that was seen under a key, where it is remembered; else 0.
    pub(super) fn newest_seq(&self, key: &[u8]) -> u64 {
        match self.marks.peek(key) {
            Some(Mark::Signed { seq, .. }) => *seq,
            _ => 0,
        }
    }

    /// Refreshes a record that is put again with the bytes that are held: no signature is checked. `false` for others.
    pub(super) fn refresh(&mut self, key: &[u8], value: &[u8], fresh_until_s: u64, now_s: u64) -> bool {
        let Some(held) = self.records.get_mut(key).filter(|held| held.value == value) else { return false };
        held.put_at_s = now_s;
        let until_s = fresh_until_s.min(now_s.saturating_add(FRESH_S));
        if until_s >= held.fresh_until_s.saturating_add(REFRESH_S) {
            // The record's own end is in its bytes; only a longer life has to be read out of them.
            let end_s = RecordKey::parse(key).and_then(|key| Candidate::verify(&key, value, now_s));
            let end_s = end_s.ok().and_then(|candidate| candidate.expires_s()).unwrap_or(0);
            held.fresh_until_s = until_s.min(end_s.saturating_add(limits::CLOCK_SKEW_MS_MAX / 1000));
            let held = held.clone();
            self.write_to_disk(key, &held);
        }
        true
    }

    /// Whether a put of a peer can be stored at all; asked before its signatures are checked.
    pub(super) fn has_room(&self, key: &[u8], source: PeerId) -> bool {
        let of_source = self.of_source.get(&source).copied().unwrap_or(0);
        let is_nearer = || self.foreign.last_key_value().is_some_and(|(farthest, _)| self.distance(key) < *farthest);
        self.records.contains_key(key)
            || (of_source < self.bounds.of_source && (self.foreign.len() < self.bounds.foreign || is_nearer()))
    }

    /// Keys of records that were not put for `after_s` seconds, at most `most`; they count as put now.
    pub(super) fn take_due(&mut self, after_s: u64, most: usize, now_s: u64) -> Vec<Vec<u8>> {
        const LOOKED_AT_MAX: usize = 512;
        let mut keys = Vec::new();
        let mut looked_at = 0;
        let from = (std::ops::Bound::Excluded(std::mem::take(&mut self.cursor)), std::ops::Bound::Unbounded);
        for (key, held) in self.records.range_mut::<Vec<u8>, _>(from).take(LOOKED_AT_MAX) {
            if keys.len() == most {
                return keys;
            }
            looked_at += 1;
            self.cursor.clone_from(key);
            if held.put_at_s.saturating_add(after_s) <= now_s && held.fresh_until_s > now_s {
                held.put_at_s = now_s;
                keys.push(key.clone());
            }
        }
        if looked_at < LOOKED_AT_MAX {
            self.cursor.clear();
        }
        keys
    }

    /// Drops what is no longer fresh.
    pub(super) fn sweep(&mut self, now_s: u64) {
        self.swept_at_s = now_s;
        let stale: Vec<_> =
            self.records.iter().filter(|(_, held)| held.fresh_until_s < now_s).map(|(key, _)| key.clone()).collect();
        for key in stale {
            self.forget(&key);
        }
    }

    /// Records held.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The held bytes of a key.
    pub(super) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.get(key).map(|held| held.value.as_slice())
    }

    fn distance(&self, key: &[u8]) -> KBucketDistance {
        KBucketKey::new(key.to_vec()).distance(&self.local)
    }

    fn make_room(
        &mut self,
        key: &[u8],
        source: Option<PeerId>,
        signer: Option<OrgId>,
        now_s: u64,
    ) -> Result<(), StoreError> {
        let Bounds { foreign, of_source, of_signer, .. } = self.bounds;
        if source.is_some_and(|source| self.of_source.get(&source).is_some_and(|count| *count >= of_source)) {
            return Err(StoreError::Quota(of_source));
        }
        if signer.is_some_and(|signer| self.of_signer.get(&signer).is_some_and(|count| *count >= of_signer)) {
            return Err(StoreError::Quota(of_signer));
        }
        if self.foreign.len() >= foreign && now_s >= self.swept_at_s.saturating_add(SWEEP_S) {
            self.sweep(now_s);
        }
        if self.foreign.len() < foreign {
            return Ok(());
        }
        let distance = self.distance(key);
        match self.foreign.last_key_value() {
            Some((farthest, victim)) if distance < *farthest => {
                let victim = victim.clone();
                self.forget(&victim);
                Ok(())
            }
            _ => Err(StoreError::Full(foreign)),
        }
    }

    /// Looked-up records beyond the bound become as others; marks beyond it are dropped.
    fn keep_bounds(&mut self) {
        while self.wanted.len() > self.bounds.wanted {
            let Some((key, ())) = self.wanted.remove_lru() else { break };
            if let Some(held) = self.records.get(&key).cloned() {
                self.link(&key, Held { kept: Kept::Foreign, ..held });
            }
        }
        while self.foreign.len() > self.bounds.foreign {
            let Some((_, farthest)) = self.foreign.last_key_value() else { break };
            let farthest = farthest.clone();
            self.forget(&farthest);
        }
        while self.marks.len() > self.bounds.marks {
            let Some((key, _)) = self.marks.remove_lru() else { break };
            if !self.records.contains_key(&key) {
                self.remove_from_disk(&key);
            }
        }
    }

    /// Puts a record into the map and every index, in place of the one under its key.
    fn link(&mut self, key: &[u8], held: Held) {
        self.unlink(key);
        match held.kept {
            Kept::Foreign => {
                self.foreign.insert(self.distance(key), key.to_vec());
                count_up(&mut self.of_source, held.source);
                count_up(&mut self.of_signer, held.signer);
            }
            Kept::Wanted => drop(self.wanted.insert(key.to_vec(), ())),
            Kept::Own => {}
        }
        self.records.insert(key.to_vec(), held);
    }

    fn unlink(&mut self, key: &[u8]) {
        let Some(held) = self.records.remove(key) else { return };
        match held.kept {
            Kept::Foreign => {
                self.foreign.remove(&self.distance(key));
                count_down(&mut self.of_source, held.source);
                count_down(&mut self.of_signer, held.signer);
            }
            Kept::Wanted => drop(self.wanted.remove(key)),
            Kept::Own => {}
        }
    }

    fn write_to_disk(&self, key: &[u8], held: &Held) {
        self.insert_on_disk(key, Bytes(held.value.clone()), held.fresh_until_s, held.kept, held.source);
    }

    fn insert_on_disk(&self, key: &[u8], value: Bytes, expires_s: u64, kept: Kept, source: Option<PeerId>) {
        let Some(tree) = &self.disk else { return };
        let source = source.map(|source| Bytes(source.to_bytes()));
        let on_disk = OnDisk { value, expires_s, kept, source, mark: self.marks.peek(key).copied() };
        if let Err(error) = tree.insert(key, codec::encode(&on_disk)) {
            // The record is still served from memory, and its home republishes it.
            tracing::error!(%error, "a directory record was not written to disk");
        }
    }

    /// Drops a record; its mark stays.
    fn forget(&mut self, key: &[u8]) {
        self.unlink(key);
        if self.marks.contains_key(key) {
            self.insert_on_disk(key, Bytes(Vec::new()), 0, Kept::Foreign, None);
        } else {
            self.remove_from_disk(key);
        }
    }

    fn remove_from_disk(&self, key: &[u8]) {
        if let Some(Err(error)) = self.disk.as_ref().map(|tree| tree.remove(key)) {
            tracing::error!(%error, "a directory record was not removed from disk");
        }
    }
}

/// What costs nothing to check: the value's size, then the key.
///
/// # Errors
/// [`RecordError::Codec`], [`RecordError::Key`].
pub(super) fn check_shape(key: &[u8], value: &[u8]) -> Result<RecordKey, RecordError> {
    if value.len() > limits::DHT_VALUE_BYTES_MAX {
        let error = codec::CodecError::TooLong { max: limits::DHT_VALUE_BYTES_MAX, got: value.len() };
        return Err(RecordError::Codec(error));
    }
    RecordKey::parse(key)
}

/// Verifies a record and chooses between it and the one that is held. Costly: an identity log has dozens of signatures.
///
/// # Errors
/// [`StoreError::Record`], [`StoreError::Older`], [`StoreError::Branched`].
pub(super) fn judge(key: &RecordKey, held: Option<&[u8]>, offered: &[u8], now_s: u64) -> Result<Candidate, StoreError> {
    let offered = Candidate::verify(key, offered, now_s)?;
    let held = held.filter(|held| *held != offered.value).and_then(|held| Candidate::verify(key, held, now_s).ok());
    match held.as_ref().map(|held| choose(held, &offered)) {
        None | Some(Choice::Offered) => Ok(offered),
        Some(Choice::Merged(merged)) => Ok(*merged),
        Some(Choice::Equal) => Ok(held.unwrap_or(offered)),
        Some(Choice::Held) => Err(StoreError::Older),
        Some(Choice::Branched) => Err(StoreError::Branched),
    }
}

/// The organisation that may have many records; an account has one, and a name's few claims are bounded.
fn signer(record: &VerifiedRecord) -> Option<OrgId> {
    match record {
        VerifiedRecord::Handle(record) => Some(OrgId::of(&record.root)),
        VerifiedRecord::Org(record) => Some(OrgId::of(&record.root)),
        VerifiedRecord::Account(_) | VerifiedRecord::Name(_) => None,
    }
}

fn count_up<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: Option<K>) {
    if let Some(key) = key {
        *counts.entry(key).or_default() += 1;
    }
}

fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: Option<K>) {
    let Some(key) = key else { return };
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

fn read(key: &[u8], on_disk: &OnDisk, now_s: u64) -> Option<Held> {
    let parsed = RecordKey::parse(key).ok()?;
    let candidate = Candidate::verify(&parsed, on_disk.value.as_slice(), now_s).ok()?;
    let is_log = matches!(candidate.record, VerifiedRecord::Account(_));
    let fresh_until_s = if is_log { NEVER_S } else { on_disk.expires_s };
    let source = on_disk.source.as_ref().and_then(|source| PeerId::from_bytes(source.as_slice()).ok());
    let signer = signer(&candidate.record);
    let held = Held { value: candidate.value, fresh_until_s, kept: on_disk.kept, source, signer, put_at_s: now_s };
    (fresh_until_s >= now_s).then_some(held)
}

fn to_record(key: &[u8], held: &Held) -> Record {
    let left_s = held.fresh_until_s.saturating_sub(clock::now_s()).min(FRESH_S);
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

    /// libp2p calls it for our own puts only, and those are stored by [`RecordStore::admit`] before they are put.
    fn put(&mut self, record: Record) -> KadResult<()> {
        let is_held = self.value(record.key.as_ref()).is_some_and(|held| held == record.value);
        if is_held { Ok(()) } else { Err(KadError::MaxRecords) }
    }

    fn remove(&mut self, key: &KadKey) {
        self.forget(key.as_ref());
    }

    /// libp2p hands on nothing by itself, see `behaviour.rs`; so nothing is copied here.
    fn records(&self) -> Self::RecordsIter<'_> {
        Vec::new().into_iter()
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
