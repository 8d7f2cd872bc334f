//! Disks: what was written, and what of it would survive a crash.

use roost_crypto::group::WriteSet;
use roost_node::store::{Batch, MemoryStore, Store as _, StoreError};
use std::collections::{BTreeMap, VecDeque};

/// What a crash did to writes that were not synced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Crash {
    /// Batches that are gone.
    pub lost: u64,
    /// Batches that had reached the disk though nobody was told.
    pub survived: u64,
    /// A batch of which a part had reached the disk: its checksum drops it.
    pub torn: u64,
}

/// The store of a node.
pub(super) struct NodeDisk {
    /// What the process sees.
    pub visible: MemoryStore,
    /// What would be there after a crash.
    pub durable: MemoryStore,
    unsynced: VecDeque<Batch>,
    /// Every commit fails.
    pub full: bool,
}

impl NodeDisk {
    pub fn new(incarnation: [u8; 16]) -> Self {
        let store = MemoryStore::new(incarnation);
        Self { visible: store.clone(), durable: store, unsynced: VecDeque::new(), full: false }
    }

    /// Writes a batch; a crash may still lose it.
    pub fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        if self.full {
            self.visible.fail_next_commit();
        }
        self.visible.commit(batch.clone())?;
        self.unsynced.push_back(batch);
        Ok(())
    }

    /// The oldest unsynced batch is on disk.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        match self.unsynced.pop_front() {
            Some(batch) => self.durable.commit(batch),
            None => Ok(()),
        }
    }

    /// Power is gone: the first `keep` unsynced batches had reached the disk by chance, of the next one perhaps a part.
    pub fn crash(&mut self, keep: usize, torn: bool) -> Result<Crash, StoreError> {
        let mut crash = Crash::default();
        for _ in 0..keep.min(self.unsynced.len()) {
            self.sync()?;
            crash.survived += 1;
        }
        crash.torn = u64::from(torn && !self.unsynced.is_empty());
        crash.lost = self.unsynced.len() as u64;
        self.unsynced.clear();
        self.visible = self.durable.clone();
        Ok(crash)
    }

    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }
}

/// The store of a device.
#[derive(Default)]
pub(super) struct DeviceDisk {
    /// What would be there after a crash.
    pub durable: BTreeMap<Vec<u8>, Vec<u8>>,
    unsynced: VecDeque<WriteSet>,
}

impl DeviceDisk {
    pub fn write(&mut self, writes: WriteSet) {
        self.unsynced.push_back(writes);
    }

    pub fn sync(&mut self) {
        if let Some(writes) = self.unsynced.pop_front() {
            writes.apply_to(&mut self.durable);
        }
    }

    /// As [`NodeDisk::crash`]; a device has one batch under way.
    pub fn crash(&mut self, keep: bool) -> Crash {
        let mut crash = Crash::default();
        if keep && !self.unsynced.is_empty() {
            self.sync();
            crash.survived = 1;
        }
        crash.lost = self.unsynced.len() as u64;
        self.unsynced.clear();
        crash
    }
}
