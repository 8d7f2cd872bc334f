//! One suite for every engine: the contract of [`Store`], told as stories. redb takes part as the control: a second, unrelated
//! engine that the suite must fit too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::{
    BATCH_BYTES_MAX, Batch, KEY_BYTES_MAX, MemoryStore, Overlay, Pair, Read, SledStore, Store, StoreError,
    VALUE_BYTES_MAX, stream,
};

/// An engine under test in its own directory.
trait Bench: Sized {
    fn fresh() -> Self;
    fn store(&mut self) -> &mut dyn Store;
    /// Closes and opens again.
    fn reopen(self) -> Self;
    /// Dies without closing and opens what is left.
    fn crash(self) -> Self {
        self.reopen()
    }
}

struct MemoryBench(MemoryStore);

impl Bench for MemoryBench {
    fn fresh() -> Self {
        Self(MemoryStore::new([7; 16]))
    }
    fn store(&mut self) -> &mut dyn Store {
        &mut self.0
    }
    fn reopen(self) -> Self {
        Self(self.0.clone())
    }
}

struct SledBench(SledStore, tempfile::TempDir);

impl Bench for SledBench {
    fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self(SledStore::open(dir.path(), Duration::from_secs(5)).unwrap(), dir)
    }
    fn store(&mut self) -> &mut dyn Store {
        &mut self.0
    }
    fn reopen(self) -> Self {
        let Self(store, dir) = self;
        drop(store);
        Self(SledStore::open(dir.path(), Duration::from_secs(5)).unwrap(), dir)
    }
    fn crash(self) -> Self {
        let left = tempfile::tempdir().unwrap();
        // What the files hold while the store is open is what a killed process leaves.
        super::damage::copy(self.1.path(), left.path());
        Self(SledStore::open(left.path(), Duration::from_secs(5)).unwrap(), left)
    }
}

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

struct RedbStore(redb::Database);

impl RedbStore {
    fn open(dir: &Path) -> Self {
        let database = redb::Database::create(dir.join("control.redb")).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(ROWS).unwrap();
        write.commit().unwrap();
        Self(database)
    }

    fn pairs(&self, from: &[u8], to: &[u8], limit: usize, backwards: bool) -> Vec<Pair> {
        let table = self.0.begin_read().unwrap().open_table(ROWS).unwrap();
        let range = table.range::<&[u8]>(from..to.max(from)).unwrap().map(|found| {
            let (key, value) = found.unwrap();
            (key.value().to_vec(), value.value().to_vec())
        });
        if backwards { range.rev().take(limit).collect() } else { range.take(limit).collect() }
    }
}

impl Read for RedbStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.0.begin_read().unwrap().open_table(ROWS).unwrap();
        Ok(table.get(key).unwrap().map(|value| value.value().to_vec()))
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        Ok(self.pairs(from, to, limit, false))
    }
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError> {
        Ok(self.pairs(from, to, 1, true).pop())
    }
}

impl Store for RedbStore {
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        batch.check(self)?;
        let write = self.0.begin_write().unwrap();
        {
            let mut table = write.open_table(ROWS).unwrap();
            for (key, written) in batch.writes() {
                match written {
                    Some(value) => drop(table.insert(key.as_slice(), value.as_slice()).unwrap()),
                    None => drop(table.remove(key.as_slice()).unwrap()),
                }
            }
        }
        write.commit().unwrap();
        Ok(())
    }
    fn incarnation(&self) -> [u8; 16] {
        [9; 16]
    }
    fn export(&self, out: &mut dyn io::Write) -> Result<u64, StoreError> {
        stream::export_rows(self, out)
    }
    fn import(&mut self, input: &mut dyn io::Read) -> Result<u64, StoreError> {
        if self.0.begin_read().unwrap().open_table(ROWS).unwrap().first().unwrap().is_some() {
            return Err(StoreError::NotEmpty);
        }
        stream::import_rows(input, &mut |batch| self.commit(batch))
    }
}

struct RedbBench(RedbStore, tempfile::TempDir);

impl Bench for RedbBench {
    fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self(RedbStore::open(dir.path()), dir)
    }
    fn store(&mut self) -> &mut dyn Store {
        &mut self.0
    }
    fn reopen(self) -> Self {
        let Self(store, dir) = self;
        drop(store);
        Self(RedbStore::open(dir.path()), dir)
    }
}

/// Numbers by seed (Knuth's MMIX constants), the high bits only.
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
    pub(super) fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
    /// Short keys over a small alphabet with 0x00 and 0xFF, so that prefixes and neighbours are common.
    fn key(&mut self) -> Vec<u8> {
        (0..=self.below(3)).map(|_| [0x00, 0x01, b'a', b'p', b'r', 0xFF][self.below(6) as usize]).collect()
    }
    fn value(&mut self) -> Vec<u8> {
        let length = match self.below(8) {
            0 => 4_096 + self.below(3) - 1,
            1 => self.below(40_000),
            _ => self.below(40),
        };
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

fn put(store: &mut dyn Store, pairs: &[(&[u8], &[u8])]) {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(*key, *value);
    }
    store.commit(batch).unwrap();
}

fn everything(store: &dyn Read) -> Vec<Pair> {
    store.scan(b"", &[0xFF; KEY_BYTES_MAX + 1], usize::MAX).unwrap()
}

fn keys(pairs: &[Pair]) -> Vec<&[u8]> {
    pairs.iter().map(|(key, _)| key.as_slice()).collect()
}

fn order_bounds_and_limits<B: Bench>() {
    let mut bench = B::fresh();
    let store = bench.store();
    put(store, &[(b"b", b"2"), (b"a\xff", b"1"), (b"a", b"0"), (b"c", b""), (b"a\x00", b"z")]);

    assert_eq!(keys(&everything(store)), [&b"a"[..], b"a\x00", b"a\xff", b"b", b"c"], "keys ascend bytewise");
    assert_eq!(keys(&store.scan(b"a\x00", b"b", 9).unwrap()), [&b"a\x00"[..], b"a\xff"], "from is included, to is not");
    assert_eq!(keys(&store.scan(b"a", b"z", 2).unwrap()), [&b"a"[..], b"a\x00"], "at most limit pairs");
    assert!(store.scan(b"a", b"z", 0).unwrap().is_empty(), "a limit of zero gives nothing");
    assert!(store.scan(b"b", b"b", 9).unwrap().is_empty(), "an empty range gives nothing");
    assert!(store.scan(b"c", b"a", 9).unwrap().is_empty(), "an inverted range gives nothing");
    assert_eq!(store.last(b"a", b"b").unwrap(), Some((b"a\xff".to_vec(), b"1".to_vec())), "last excludes to");
    assert_eq!(store.last(b"d", b"e").unwrap(), None, "last of nothing is nothing");
    assert_eq!(store.last(b"c", b"a").unwrap(), None, "last of an inverted range is nothing");
    assert_eq!(store.get(b"c").unwrap(), Some(Vec::new()), "an empty value is a value");
    assert_eq!(store.get(b"missing").unwrap(), None, "an absent key has none");
}

fn a_failed_precondition_changes_nothing<B: Bench>() {
    let mut bench = B::fresh();
    let store = bench.store();
    put(store, &[(b"alice", b"1")]);

    let mut claim = Batch::new();
    claim.put(*b"bob", *b"1");
    claim.delete(*b"alice");
    claim.require_absent(*b"alice");
    assert!(
        matches!(store.commit(claim), Err(StoreError::Precondition { key }) if key.0 == b"alice"),
        "alice is not absent"
    );
    let mut stale = Batch::new();
    stale.put(*b"bob", *b"1");
    stale.require_absent(*b"bob");
    stale.require_equals(*b"alice", *b"0");
    assert!(matches!(store.commit(stale), Err(StoreError::Precondition { .. })), "alice has another value");
    let mut absent = Batch::new();
    absent.require_equals(*b"eve", *b"");
    assert!(store.commit(absent).is_err(), "absent is not the empty value");
    assert_eq!(everything(store), [(b"alice".to_vec(), b"1".to_vec())], "nothing was changed by refused batches");

    let mut swap = Batch::new();
    swap.require_equals(*b"alice", *b"1");
    swap.require_absent(*b"bob");
    swap.put(*b"alice", *b"2");
    swap.put(*b"bob", *b"1");
    swap.delete(*b"nobody");
    store.commit(swap).unwrap();
    assert_eq!(store.get(b"alice").unwrap().unwrap(), b"2", "a batch whose conditions hold is applied");
    assert_eq!(keys(&everything(store)), [&b"alice"[..], b"bob"], "as one whole");
}

fn sizes_are_bounded_before_anything_changes<B: Bench>() {
    let mut bench = B::fresh();
    let store = bench.store();
    let mut long_key = Batch::new();
    long_key.put(*b"ok", *b"");
    long_key.put(vec![1; KEY_BYTES_MAX + 1], *b"");
    assert!(
        matches!(store.commit(long_key), Err(StoreError::KeySize { got }) if got == KEY_BYTES_MAX + 1),
        "a key has a longest length"
    );
    let mut no_key = Batch::new();
    no_key.put(*b"", *b"");
    assert!(matches!(store.commit(no_key), Err(StoreError::KeySize { got: 0 })), "a key is not empty");
    let mut large = Batch::new();
    large.put(*b"ok", vec![0; VALUE_BYTES_MAX + 1]);
    assert!(matches!(store.commit(large), Err(StoreError::ValueSize { .. })), "a value has a longest length");
    let mut many = Batch::new();
    for number in 0..=(BATCH_BYTES_MAX / VALUE_BYTES_MAX) {
        many.put([number as u8], vec![0; VALUE_BYTES_MAX]);
    }
    assert!(matches!(store.commit(many), Err(StoreError::BatchSize { .. })), "a batch has a largest size");
    assert!(everything(store).is_empty(), "nothing was changed");
}

fn long_values_come_back_whole<B: Bench>() {
    let mut bench = B::fresh();
    let mut seeded = Seeded(3);
    for length in [4_095, 4_096, 4_097, 32_768, 32_769, 98_304, 1_048_576, 5, 40_000, 0] {
        let value: Vec<u8> = (0..length).map(|_| seeded.below(256) as u8).collect();
        put(bench.store(), &[(b"long", &value), (b"long\x00\x01", b"neighbour")]);
        bench = bench.reopen();
        let store = bench.store();
        assert!(store.get(b"long").unwrap().unwrap() == value, "{length} bytes come back by get");
        assert!(store.last(b"a", b"long\x00").unwrap().unwrap().1 == value, "{length} bytes come back by last");
        let pairs = everything(store);
        assert_eq!(keys(&pairs), [&b"long"[..], b"long\x00\x01"], "parts are hidden at {length} bytes");
        assert!(pairs[0].1 == value, "{length} bytes come back by scan");
    }
    let store = bench.store();
    put(store, &[(b"long", &[1; 50_000])]);
    let mut delete = Batch::new();
    delete.delete(*b"long");
    store.commit(delete).unwrap();
    assert_eq!(store.get(b"long").unwrap(), None, "a deleted long value is gone");
    put(store, &[(b"long", b"short")]);
    assert_eq!(store.get(b"long").unwrap().unwrap(), b"short", "its key can be used again");
}

/// Random batches against a `BTreeMap`; each is first read through an overlay, then committed and read again.
fn a_random_life_matches_the_model<B: Bench>() {
    for seed in [1, 2] {
        let mut seeded = Seeded(seed);
        let mut bench = B::fresh();
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for round in 0..60 {
            let mut overlay = Overlay::new(&*bench.store());
            for _ in 0..seeded.below(12) {
                let key = seeded.key();
                if seeded.below(3) == 0 {
                    overlay.delete(key.clone());
                    model.remove(&key);
                } else {
                    let value = seeded.value();
                    overlay.put(key.clone(), value.clone());
                    model.insert(key, value);
                }
            }
            compare(&overlay, &model, &mut seeded, &format!("seed {seed}, round {round}, overlay"));
            let batch = overlay.into_batch();
            bench.store().commit(batch).unwrap();
            compare(bench.store(), &model, &mut seeded, &format!("seed {seed}, round {round}, committed"));
            if seeded.below(12) == 0 {
                bench = bench.reopen();
                compare(bench.store(), &model, &mut seeded, &format!("seed {seed}, round {round}, reopened"));
            }
        }
    }
}

fn compare(store: &dyn Read, model: &BTreeMap<Vec<u8>, Vec<u8>>, seeded: &mut Seeded, when: &str) {
    let all: Vec<Pair> = model.clone().into_iter().collect();
    assert!(everything(store) == all, "{when}: a full scan gives the model");
    for _ in 0..10 {
        let (from, to, limit) = (seeded.key(), seeded.key(), seeded.below(6) as usize);
        let in_range: Vec<Pair> = all.iter().filter(|(key, _)| *key >= from && *key < to).cloned().collect();
        assert!(store.last(&from, &to).unwrap() == in_range.last().cloned(), "{when}: last in {from:?}..{to:?}");
        let expected: Vec<Pair> = in_range.into_iter().take(limit).collect();
        assert!(store.scan(&from, &to, limit).unwrap() == expected, "{when}: scan {from:?}..{to:?} limit {limit}");
        assert!(store.get(&from).unwrap() == model.get(&from).cloned(), "{when}: get {from:?}");
    }
}

/// One step in the life of a store.
#[derive(Debug, Clone)]
enum Deed {
    /// Sets (or deletes) keys, if the first of them is absent, or has the value that the model has, or without a condition.
    Commit(Vec<(u8, Option<(u16, u8)>)>, u8),
    Reopen,
    Crash,
    /// Exports, and goes on with another store that took the export.
    Move,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let value = prop::option::weighted(
        0.7,
        (prop_oneof![4 => 0..60_u16, 1 => 4_090..4_100_u16, 1 => 0..30_000_u16], 0..=255_u8),
    );
    let commit = (prop::collection::vec((0..12_u8, value), 0..6), 0..6_u8).prop_map(|(w, c)| Deed::Commit(w, c));
    let deed = prop_oneof![12 => commit, 1 => Just(Deed::Reopen), 2 => Just(Deed::Crash), 1 => Just(Deed::Move)];
    prop::collection::vec(deed, 1..25)
}

/// Any life, with closes, crashes and moves, gives what a `BTreeMap` gives. A failing one is shrunk and printed.
fn any_life_matches_the_model<B: Bench>() {
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(deeds in deeds())| {
        let mut bench = B::fresh();
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for deed in deeds {
            match deed {
                Deed::Commit(writes, condition) => {
                    let mut batch = Batch::new();
                    let mut after = model.clone();
                    let mut holds = true;
                    if let Some((first, _)) = writes.first() {
                        let first = vec![b'k', *first];
                        match (condition, model.get(&first)) {
                            (0, known) => {
                                batch.require_absent(first);
                                holds = known.is_none();
                            }
                            (1, Some(known)) => batch.require_equals(first, known.clone()),
                            (2, known) => {
                                batch.require_equals(first, *b"never written");
                                holds = known.is_some_and(|known| known == b"never written");
                            }
                            _ => {}
                        }
                    }
                    for (key, value) in writes {
                        let key = vec![b'k', key];
                        match value {
                            Some((length, byte)) => {
                                batch.put(key.clone(), vec![byte; length.into()]);
                                after.insert(key, vec![byte; length.into()]);
                            }
                            None => {
                                batch.delete(key.clone());
                                after.remove(&key);
                            }
                        }
                    }
                    let committed = bench.store().commit(batch);
                    prop_assert_eq!(committed.is_ok(), holds, "a batch is applied if and only if its condition holds");
                    if holds {
                        model = after;
                    }
                }
                Deed::Reopen => bench = bench.reopen(),
                Deed::Crash => bench = bench.crash(),
                Deed::Move => {
                    let mut export = Vec::new();
                    bench.store().export(&mut export).unwrap();
                    bench = B::fresh();
                    bench.store().import(&mut export.as_slice()).unwrap();
                }
            }
            let all: Vec<Pair> = model.clone().into_iter().collect();
            prop_assert!(everything(bench.store()) == all, "a scan gives the model");
            prop_assert!(bench.store().last(b"k", b"l").unwrap() == all.last().cloned(), "last gives the model's last");
        }
    });
}

fn reopening_keeps_rows_and_incarnation<B: Bench>() {
    let mut bench = B::fresh();
    put(bench.store(), &[(b"alice", b"1")]);
    let before = bench.store().incarnation();
    bench = bench.reopen();
    assert_eq!(bench.store().get(b"alice").unwrap().unwrap(), b"1", "the row is still there");
    assert_eq!(bench.store().incarnation(), before, "it is the same life of the store");
}

fn an_export_fills_an_empty_store_only<B: Bench>() {
    let mut seeded = Seeded(11);
    let mut bench = B::fresh();
    for _ in 0..8 {
        let mut batch = Batch::new();
        for _ in 0..20 {
            batch.put(seeded.key(), seeded.value());
        }
        bench.store().commit(batch).unwrap();
    }
    let all = everything(bench.store());
    let mut export = Vec::new();
    assert_eq!(bench.store().export(&mut export).unwrap(), all.len() as u64, "every row is counted");

    let mut twin = MemoryStore::new([1; 16]);
    assert_eq!(twin.import(&mut export.as_slice()).unwrap(), all.len() as u64, "another engine reads it");
    let mut other = B::fresh();
    other.store().import(&mut export.as_slice()).unwrap();
    other = other.reopen();
    assert!(everything(other.store()) == all, "the copy equals the original");
    assert!(everything(&twin) == all, "so does the twin");
    assert!(
        matches!(other.store().import(&mut export.as_slice()), Err(StoreError::NotEmpty)),
        "a second import is refused"
    );
    assert!(everything(other.store()) == all, "and changes nothing");

    let mut flipped = export.clone();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'0' { b'1' } else { b'0' };
    assert!(B::fresh().store().import(&mut flipped.as_slice()).is_err(), "a changed export is refused");
    let cut = &export[..export.len() - 40];
    assert!(
        matches!(B::fresh().store().import(&mut &*cut), Err(StoreError::Format { .. })),
        "an export cut short is refused"
    );
    export.push(b'\n');
    assert!(B::fresh().store().import(&mut export.as_slice()).is_err(), "trailing bytes are refused");
}

macro_rules! suite {
    ($engine:ident, $bench:ty, $($story:ident),* $(,)?) => {
        mod $engine {
            $(#[test] fn $story() { super::$story::<$bench>(); })*
        }
    };
}

macro_rules! suites {
    ($($engine:ident: $bench:ty),*) => { $(suite!($engine, $bench,
        order_bounds_and_limits,
        a_failed_precondition_changes_nothing,
        sizes_are_bounded_before_anything_changes,
        long_values_come_back_whole,
        a_random_life_matches_the_model,
        any_life_matches_the_model,
        reopening_keeps_rows_and_incarnation,
        an_export_fills_an_empty_store_only,
    );)* };
}

suites!(memory: super::MemoryBench, sled: super::SledBench, redb_control: super::RedbBench);

#[test]
fn a_planted_failure_poisons_the_twin() {
    let mut store = MemoryStore::new([0; 16]);
    put(&mut store, &[(b"alice", b"1")]);
    let snapshot = store.clone();
    store.fail_next_commit();
    let mut batch = Batch::new();
    batch.put(*b"alice", *b"2");
    assert!(matches!(store.commit(batch), Err(StoreError::Io { .. })), "the planted failure shows as a disk failure");
    assert!(matches!(store.get(b"alice"), Err(StoreError::Poisoned)), "nothing is served afterwards");
    assert_eq!(snapshot.get(b"alice").unwrap().unwrap(), b"1", "a restart finds the state before");
}
