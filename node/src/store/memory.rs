//! The deterministic twin: the same contract in memory, for simulation and tests.
//!
//! It never survives the process; a clone is a snapshot, which is how a simulation models a crash and a restart.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use super::{Batch, Pair, Read, Store, StoreError, stream};

/// A store in memory.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    incarnation: [u8; 16],
    fails_next_commit: bool,
    poisoned: bool,
}

impl MemoryStore {
    /// An empty store; its incarnation is an input, so that equal seeds give equal runs.
    #[must_use]
    pub const fn new(incarnation: [u8; 16]) -> Self {
        Self { rows: BTreeMap::new(), incarnation, fails_next_commit: false, poisoned: false }
    }

    /// Misbehaves on purpose: the next commit fails as if the disk did, changes nothing and poisons the store.
    pub const fn fail_next_commit(&mut self) {
        self.fails_next_commit = true;
    }

    const fn check_alive(&self) -> Result<(), StoreError> {
        if self.poisoned { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    fn range(&self, from: &[u8], to: &[u8]) -> impl DoubleEndedIterator<Item = Pair> {
        self.rows
            .range::<[u8], _>((Bound::Included(from), Bound::Excluded(to.max(from))))
            .map(|(key, value)| (key.clone(), value.clone()))
    }
}

impl Read for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_alive()?;
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.check_alive()?;
        Ok(self.range(from, to).take(limit).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError> {
        self.check_alive()?;
        Ok(self.range(from, to).next_back())
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.check_alive()?;
        batch.check(self)?;
        if self.fails_next_commit {
            self.poisoned = true;
            return Err(StoreError::Io { doing: "failing on purpose", source: io::Error::other("planted") });
        }
        for (key, written) in batch.into_writes() {
            match written {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        Ok(())
    }

    fn incarnation(&self) -> [u8; 16] {
        self.incarnation
    }

    fn export(&self, out: &mut dyn io::Write) -> Result<u64, StoreError> {
        stream::export_rows(self, out)
    }

    fn import(&mut self, input: &mut dyn io::Read) -> Result<u64, StoreError> {
        self.check_alive()?;
        if !self.rows.is_empty() {
            return Err(StoreError::NotEmpty);
        }
        let imported = stream::import_rows(input, &mut |batch| self.commit(batch));
        self.poisoned |= imported.is_err();
        imported
    }
}
