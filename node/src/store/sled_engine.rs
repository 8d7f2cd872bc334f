//! The store on sled 0.34.7, with a guard for each of its known hazards.
//!
//! * A commit is one `apply_batch` on one tree, then `flush` (on Linux `sync_file_range`, no fsync), then `sync_data` on our own descriptor of
//!   sled's file, opened before the first write, so that it sees every write-back error; only then is it acknowledged.
//! * No background flusher: its errors would only be logged.
//! * Any engine or I/O error poisons the store: nothing is retried, the caller aborts the process.
//! * Opening runs on a thread of its own with a deadline; a panic of the engine over a damaged file becomes [`StoreError::Corrupt`].
//! * At open the database must hold at least the commits the `tail` file says were acknowledged, and rows at both ends must pass their
//!   checksums. Up to [`FULL_CHECK_BYTES_MAX`] all rows are read and must come to the summary that the last batch wrote: sled skips a
//!   damaged message of its log in silence, and with it rows that were acknowledged.
//!
//! It never acknowledges before the fsync and never keeps a value in sled that sled would move to an unsynced file (see `row.rs`).

use std::fs::{File, OpenOptions};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::cache::{Cache, Known};
use super::row::{self, Stored, Summary};
use super::sled_guard::{self, Prepared};
use super::{Batch, Pair, Read, RowKey, Space, Store, StoreError, stream};

/// How long a node waits for the directory's lock: a predecessor that is told to stop needs a moment to.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long opening may take: 28.7 s were measured on a busy disk.
const OPEN_WAIT: Duration = Duration::from_secs(60);
/// Time between two attempts while sled's own lock is still held by a handle that is just closing.
const OPEN_RETRY: Duration = Duration::from_millis(20);
/// The tree of all rows.
const TREE: &str = "roost";
/// The note with the summary of all rows.
const SUMMARY: &str = "summary";
/// Rows checked at each end of the key space at open: a few pages, a few milliseconds.
const VERIFIED_ROWS: usize = 256;
/// Size of the database up to which every row is read at open.
pub const FULL_CHECK_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A store in a directory. Dropped, it releases the lock, unless a tree of [`SledStore::raw_tree`] still lives.
pub struct SledStore {
    tree: sled::Tree,
    database: sled::Db,
    /// Our descriptor of sled's file, the one that is fsynced.
    data: File,
    tail: File,
    summary: Summary,
    /// What was read and written last.
    cache: Cache,
    incarnation: [u8; 16],
    poisoned: AtomicBool,
    dir: PathBuf,
    /// Declared last, so released after sled has closed.
    _lock: File,
}

/// Accepts that a directory was rolled back (restored from a file copy, truncated): gives it a new incarnation and forgets the count of
/// acknowledged commits. The store must be closed. Returns the new incarnation.
///
/// # Errors
/// [`StoreError::Locked`], [`StoreError::Newer`], [`StoreError::VersionMissing`], [`StoreError::VersionUnreadable`], [`StoreError::Io`].
pub fn renew_incarnation(dir: &Path, lock_wait: Duration) -> Result<[u8; 16], StoreError> {
    let _lock = sled_guard::lock(dir, lock_wait)?;
    sled_guard::renew(dir)
}

impl SledStore {
    /// Opens or creates the store in `dir`, waiting up to `lock_wait` ([`LOCK_WAIT`] in a node) for another process to let go.
    ///
    /// # Errors
    /// All of [`StoreError`] that speak of opening; none of them has changed a row.
    pub fn open(dir: &Path, lock_wait: Duration) -> Result<Self, StoreError> {
        let lock = sled_guard::lock(dir, lock_wait)?;
        let prepared = sled_guard::prepare(dir)?;
        let store = Self::open_engine(dir, lock_wait, lock, prepared)?;
        // The engine panics over some pages that it cannot read, and when it closes over a failing disk.
        match std::panic::catch_unwind(AssertUnwindSafe(|| store.verify())).unwrap_or(Err(StoreError::damaged())) {
            Ok(()) => {
                sled_guard::found(dir)?;
                Ok(store)
            }
            Err(error) => {
                drop(std::panic::catch_unwind(AssertUnwindSafe(move || drop(store))));
                Err(error)
            }
        }
    }

    /// A further tree of the same database for rows that may be lost in a crash (DHT records): its writes are on disk with the
    /// next commit at the latest, and carry no checksum of ours. Values must stay at or below 4 KiB, and the handle must be
    /// dropped before the directory is opened again.
    ///
    /// # Errors
    /// [`StoreError::ReservedTree`] for the store's own name; [`StoreError::Poisoned`]; engine errors.
    pub fn raw_tree(&self, name: &str) -> Result<sled::Tree, StoreError> {
        self.check_alive()?;
        if name == TREE || name.as_bytes() == self.database.name().as_ref() {
            return Err(StoreError::ReservedTree);
        }
        self.watch(self.database.open_tree(name).map_err(from_sled))
    }

    /// Room on the disk that holds the store.
    ///
    /// # Errors
    /// [`StoreError::Io`], which poisons nothing.
    pub fn space(&self) -> Result<Space, StoreError> {
        Space::of(&self.dir).map_err(StoreError::io("asking for free space"))
    }

    fn open_engine(dir: &Path, lock_wait: Duration, lock: File, prepared: Prepared) -> Result<Self, StoreError> {
        // The lock travels with the thread: if the deadline passes, the directory stays locked for as long as sled works on it.
        let (sender, receiver) = sync_channel(1);
        let path = dir.to_path_buf();
        std::thread::Builder::new()
            .name("store-open".to_owned())
            .spawn(move || {
                let opened = open_sled(&path, lock_wait);
                // A send fails only if the deadline has passed; then everything is dropped here.
                drop(sender.send((opened, lock)));
            })
            .map_err(StoreError::io("starting the opening thread"))?;
        let (opened, lock) = receiver.recv_timeout(OPEN_WAIT).map_err(|error| match error {
            RecvTimeoutError::Timeout => StoreError::OpenTimedOut { seconds: OPEN_WAIT.as_secs() },
            RecvTimeoutError::Disconnected => StoreError::damaged(),
        })?;
        let (database, tree) = opened?;
        match Self::check_engine(dir, &tree, &prepared) {
            Ok((data, summary)) => Ok(Self {
                tree,
                database,
                data,
                tail: prepared.tail,
                summary,
                cache: Cache::default(),
                incarnation: prepared.incarnation,
                poisoned: AtomicBool::new(false),
                dir: dir.to_path_buf(),
                _lock: lock,
            }),
            Err(error) => {
                // sled syncs once more when it closes, and panics if that fails; our error says more than its panic.
                drop(std::panic::catch_unwind(AssertUnwindSafe(move || drop((tree, database)))));
                Err(error)
            }
        }
    }

    /// Makes durable what the engine found and compares it with what was acknowledged. Gives our descriptor and the summary.
    fn check_engine(dir: &Path, tree: &sled::Tree, prepared: &Prepared) -> Result<(File, Summary), StoreError> {
        let data = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join("db"))
            .map_err(StoreError::io("opening the data file"))?;
        data.sync_all().map_err(StoreError::io("syncing the data file"))?;
        File::open(dir.join("conf"))
            .and_then(|conf| conf.sync_all())
            .map_err(StoreError::io("syncing the engine's settings"))?;
        sled_guard::sync_dir(dir)?;

        let stored = tree.get(row::note_key(SUMMARY)).map_err(from_sled)?;
        let summary = stored.map_or(Ok(Summary::default()), |stored| Summary::decode(SUMMARY, &stored))?;
        if summary.commits < prepared.commits {
            return Err(StoreError::RolledBack { expected: prepared.commits, found: summary.commits });
        }
        Ok((data, summary))
    }

    /// Reads rows at both ends of the key space, and all of them if they are not too many; damage is an error.
    fn verify(&self) -> Result<(), StoreError> {
        let rows = || self.tree.range(row::ROWS.0..row::ROWS.1);
        for found in rows().take(VERIFIED_ROWS).chain(rows().rev().take(VERIFIED_ROWS)) {
            self.resolve(found)?;
        }
        if self.database.size_on_disk().map_err(from_sled)? > FULL_CHECK_BYTES_MAX {
            tracing::info!("the database is too large to be read at start; its rows are checked when they are read");
            return Ok(());
        }
        let mut found = Summary { commits: self.summary.commits, ..Summary::default() };
        for row in self.tree.range(row::PARTS_AND_ROWS.0..row::PARTS_AND_ROWS.1) {
            let (physical, stored) = row.map_err(from_sled)?;
            row::check(&physical, &stored)?;
            found.add(&stored);
        }
        if found == self.summary { Ok(()) } else { Err(StoreError::damaged()) }
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        let mut summary = self.summary;
        summary.commits = summary.commits.saturating_add(1);
        let mut rows = sled::Batch::default();
        let mut learnt = Vec::with_capacity(batch.len());
        for (key, written) in batch.into_writes() {
            let parts_before = match self.cache.fingerprint(&key) {
                Some(fingerprint) => {
                    fingerprint.into_iter().for_each(|fingerprint| summary.forget(fingerprint));
                    0
                }
                None => self.stored_parts(&key, &mut summary)?,
            };
            let mut parts_after = 0;
            let known = match written {
                Some(value) => {
                    let mut fingerprint = None;
                    for (physical, sealed) in row::encode(&key, &value)? {
                        summary.add(&sealed);
                        fingerprint = Some(row::fingerprint(&sealed));
                        rows.insert(physical, sealed);
                        parts_after += 1;
                    }
                    // The first row is the head.
                    parts_after -= 1;
                    Known::Row { value, fingerprint: fingerprint.filter(|_| parts_after == 0) }
                }
                None => {
                    rows.remove(row::row_key(&key));
                    Known::Absent
                }
            };
            for number in parts_after..parts_before {
                rows.remove(row::part_key(&key, number));
            }
            learnt.push((key, known));
        }
        let (physical, sealed) = summary.encode(SUMMARY);
        rows.insert(physical, sealed);

        self.tree.apply_batch(rows).map_err(from_sled)?;
        self.database.flush().map_err(from_sled)?;
        self.data.sync_data().map_err(StoreError::io("syncing a commit"))?;
        self.summary = summary;
        learnt.into_iter().for_each(|(key, known)| self.cache.learn(key, known));
        sled_guard::write_tail(&self.tail, summary.commits).map_err(StoreError::io("noting a commit"))
    }

    /// The number of parts the stored value of `key` has; its rows leave the summary.
    fn stored_parts(&self, key: &[u8], summary: &mut Summary) -> Result<u16, StoreError> {
        let Some(stored) = self.tree.get(row::row_key(key)).map_err(from_sled)? else { return Ok(0) };
        summary.remove(&stored);
        let Stored::Split(head) = row::decode(key, &stored)? else { return Ok(0) };
        for number in 0..head.parts {
            let part = self.tree.get(row::part_key(key, number)).map_err(from_sled)?;
            summary.remove(&part.ok_or_else(|| StoreError::Corrupt { key: Some(RowKey(key.to_vec())) })?);
        }
        Ok(head.parts)
    }

    /// A physical row as a pair, its parts joined.
    fn resolve(&self, found: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Pair, StoreError> {
        let (physical, stored) = found.map_err(from_sled)?;
        let key = row::logical_key(&physical)?;
        Ok((key.to_vec(), self.value(key, &stored)?))
    }

    fn value(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        match row::decode(key, stored)? {
            Stored::Whole(value) => Ok(value.to_vec()),
            Stored::Split(head) => {
                row::join(key, head, |part| Ok(self.tree.get(part).map_err(from_sled)?.map(|bytes| bytes.to_vec())))
            }
        }
    }

    fn range(&self, from: &[u8], to: &[u8]) -> sled::Iter {
        self.tree.range(row::row_key(from)..row::row_key(to.max(from)))
    }

    fn check_alive(&self) -> Result<(), StoreError> {
        if self.poisoned.load(Ordering::Acquire) { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    /// Passes a result on and poisons the store if it is a fatal error.
    fn watch<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && error.is_fatal()
        {
            self.poisoned.store(true, Ordering::Release);
        }
        result
    }
}

impl Read for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_alive()?;
        if let Some(value) = self.cache.value(key) {
            return Ok(value);
        }
        let Some(stored) = self.watch(self.tree.get(row::row_key(key)).map_err(from_sled))? else {
            self.cache.learn(key.to_vec(), Known::Absent);
            return Ok(None);
        };
        let value = self.watch(self.value(key, &stored))?;
        let whole = matches!(row::decode(key, &stored), Ok(Stored::Whole(_)));
        let fingerprint = whole.then(|| row::fingerprint(&stored));
        self.cache.learn(key.to_vec(), Known::Row { value: value.clone(), fingerprint });
        Ok(Some(value))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.check_alive()?;
        self.watch(self.range(from, to).take(limit).map(|found| self.resolve(found)).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError> {
        self.check_alive()?;
        self.watch(self.range(from, to).next_back().map(|found| self.resolve(found)).transpose())
    }
}

impl Store for SledStore {
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.check_alive()?;
        batch.check(self)?;
        if batch.writes().is_empty() {
            return Ok(());
        }
        let applied = self.apply(batch);
        self.watch(applied)
    }

    fn incarnation(&self) -> [u8; 16] {
        self.incarnation
    }

    fn export(&self, out: &mut dyn io::Write) -> Result<u64, StoreError> {
        stream::export_rows(self, out)
    }

    fn import(&mut self, input: &mut dyn io::Read) -> Result<u64, StoreError> {
        self.check_alive()?;
        if self.tree.range(row::ROWS.0..row::ROWS.1).next().is_some() {
            return Err(StoreError::NotEmpty);
        }
        sled_guard::begin_import(&self.dir)?;
        let imported = stream::import_rows(input, &mut |batch| self.commit(batch)).and_then(|rows| {
            sled_guard::end_import(&self.dir)?;
            Ok(rows)
        });
        if imported.is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
        imported
    }
}

/// Opens sled and our tree. A handle that is just being dropped holds sled's own lock a little longer than ours, hence the retries.
fn open_sled(dir: &Path, lock_wait: Duration) -> Result<(sled::Db, sled::Tree), StoreError> {
    let mut waited = Duration::ZERO;
    let database = loop {
        match sled::Config::new().path(dir).flush_every_ms(None).open() {
            Ok(database) => break database,
            // sled gives its lock error no kind of its own.
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                if waited >= lock_wait {
                    return Err(StoreError::Locked);
                }
                std::thread::sleep(OPEN_RETRY);
                waited = waited.saturating_add(OPEN_RETRY);
            }
            Err(error) => return Err(from_sled(error)),
        }
    };
    let tree = database.open_tree(TREE).map_err(from_sled)?;
    Ok((database, tree))
}

fn from_sled(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => StoreError::Io { doing: "using the engine", source },
        sled::Error::Corruption { .. } => StoreError::damaged(),
        sled::Error::CollectionNotFound(_) => StoreError::Engine { what: "a tree is missing".to_owned() },
        sled::Error::Unsupported(what) | sled::Error::ReportableBug(what) => StoreError::Engine { what },
    }
}

#[cfg(test)]
impl SledStore {
    /// Makes the next fsync fail: a pipe cannot be synced.
    pub(super) fn break_fsync_for_test(&mut self) {
        if let Ok((_, writer)) = io::pipe() {
            self.data = File::from(std::os::fd::OwnedFd::from(writer));
        }
    }

    /// Flips a bit of a physical row.
    pub(super) fn flip_for_test(&self, physical: &[u8]) {
        if let Ok(Some(stored)) = self.tree.get(physical) {
            let mut stored = stored.to_vec();
            if let Some(last) = stored.last_mut() {
                *last ^= 1;
            }
            drop(self.tree.insert(physical, stored));
            self.cache.forget();
        }
    }
}
