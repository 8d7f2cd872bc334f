//! The files around the database that make opening it safe.
//!
//! | File | Holds | Why |
//! |---|---|---|
//! | `store.lock` | nothing | one process at a time |
//! | `version` | `1` | refuses a downgrade; its absence beside a database refuses a silent new start |
//! | `incarnation` | 16 random bytes, CRC-32 | names this life of the store |
//! | `tail` | number of acknowledged commits (u64), CRC-32 | a database that holds fewer was truncated or rolled back |
//! | `founded` | nothing | the empty database is durable; before that a power cut may leave one that does not open |
//! | `importing` | nothing | an import is under way or has died |
//!
//! It never opens sled and never deletes anything but what is left of a database that was never founded, which nothing was ever acknowledged
//! from, and `snap.*.generating`, sled's half-written snapshots: sled 0.34.7 takes a leftover for its newest snapshot and then fails every open
//! (spacejam/sled#1527).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::StoreError;

/// The format this program reads and writes.
pub(super) const FORMAT: u32 = 1;
/// Time between two attempts at the lock.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// What stands in the directory before sled opens.
pub(super) struct Prepared {
    pub(super) incarnation: [u8; 16],
    /// Commits acknowledged so far.
    pub(super) commits: u64,
    /// Our handle on the tail file.
    pub(super) tail: File,
}

/// Creates the directory (for the owner only) if it is missing and takes its lock, trying for `lock_wait`.
pub(super) fn lock(dir: &Path, lock_wait: Duration) -> Result<File, StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(StoreError::io("creating the directory"))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("store.lock"))
        .map_err(StoreError::io("opening the lock file"))?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if waited < lock_wait => {
                std::thread::sleep(LOCK_RETRY);
                waited = waited.saturating_add(LOCK_RETRY);
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked),
            Err(TryLockError::Error(source)) => return Err(StoreError::Io { doing: "locking the directory", source }),
        }
    }
}

/// Checks or creates the files and removes half-written snapshots. Needs the lock.
pub(super) fn prepare(dir: &Path) -> Result<Prepared, StoreError> {
    if exists(&dir.join("importing"))? {
        return Err(StoreError::ImportUnfinished);
    }
    match read(&dir.join("version"))? {
        Some(version) => check_version(&version)?,
        None if has_database(dir)? => return Err(StoreError::VersionMissing),
        None => {
            // The version comes last: without it and without a database the next start begins again here.
            write_whole(dir, "incarnation", &sealed(&random_incarnation()?))?;
            write_whole(dir, "tail", &sealed(&0_u64.to_be_bytes()))?;
            write_whole(dir, "version", format!("{FORMAT}\n").as_bytes())?;
        }
    }
    let incarnation = read(&dir.join("incarnation"))?
        .and_then(|bytes| unsealed::<16>(&bytes))
        .ok_or(StoreError::IncarnationUnreadable)?;
    let commits = match read(&dir.join("tail"))? {
        Some(bytes) => unsealed::<8>(&bytes).map(u64::from_be_bytes).ok_or(StoreError::damaged())?,
        None => return Err(StoreError::damaged()),
    };
    if commits > 0 && !exists(&dir.join("db"))? {
        return Err(StoreError::RolledBack { expected: commits, found: 0 });
    }
    if commits == 0 && !exists(&dir.join("founded"))? {
        remove_unfounded(dir)?;
    }
    remove_half_snapshots(dir)?;
    let tail =
        OpenOptions::new().write(true).open(dir.join("tail")).map_err(StoreError::io("opening the tail file"))?;
    Ok(Prepared { incarnation, commits, tail })
}

/// Notes that `commits` commits are durable. Written in place after the database's fsync and not synced itself: after a power cut it may
/// be older than the database, never newer, and twelve bytes do not straddle a sector.
pub(super) fn write_tail(mut tail: &File, commits: u64) -> io::Result<()> {
    tail.seek(SeekFrom::Start(0))?;
    tail.write_all(&sealed(&commits.to_be_bytes()))
}

/// Marks the database as durable, once: from here on it is never begun anew.
pub(super) fn found(dir: &Path) -> Result<(), StoreError> {
    if exists(&dir.join("founded"))? { Ok(()) } else { write_whole(dir, "founded", b"") }
}

/// Gives the directory a new incarnation and forgets how many commits were acknowledged. Needs the lock.
pub(super) fn renew(dir: &Path) -> Result<[u8; 16], StoreError> {
    match read(&dir.join("version"))? {
        Some(version) => check_version(&version)?,
        None => return Err(StoreError::VersionMissing),
    }
    let incarnation = random_incarnation()?;
    // The incarnation first: dying in between leaves a store that still refuses to open, never an old name on a rolled-back database.
    write_whole(dir, "incarnation", &sealed(&incarnation))?;
    write_whole(dir, "tail", &sealed(&0_u64.to_be_bytes()))?;
    Ok(incarnation)
}

/// Marks an import as begun, durably.
pub(super) fn begin_import(dir: &Path) -> Result<(), StoreError> {
    write_whole(dir, "importing", b"")
}

/// Marks an import as done, durably.
pub(super) fn end_import(dir: &Path) -> Result<(), StoreError> {
    std::fs::remove_file(dir.join("importing")).map_err(StoreError::io("removing the import mark"))?;
    sync_dir(dir)
}

/// fsyncs the directory itself: its entries.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("syncing the directory"))
}

fn check_version(bytes: &[u8]) -> Result<(), StoreError> {
    let found: u32 = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.trim_end().parse().ok())
        .ok_or(StoreError::VersionUnreadable)?;
    match found {
        FORMAT => Ok(()),
        newer if newer > FORMAT => Err(StoreError::Newer { found, known: FORMAT }),
        _ => Err(StoreError::VersionUnreadable),
    }
}

/// Whether anything of sled's lies in the directory.
fn has_database(dir: &Path) -> Result<bool, StoreError> {
    for name in ["db", "conf", "blobs"] {
        if exists(&dir.join(name))? {
            return Ok(true);
        }
    }
    Ok(!names_with(dir, |name| name.starts_with("snap."))?.is_empty())
}

/// Removes what is left of a database that was never founded.
fn remove_unfounded(dir: &Path) -> Result<(), StoreError> {
    let doing = "removing an unfinished database";
    for name in names_with(dir, |name| name == "db" || name == "conf" || name.starts_with("snap."))? {
        std::fs::remove_file(dir.join(name)).map_err(StoreError::io(doing))?;
        tracing::warn!("removed a file of a database that was never finished");
    }
    match std::fs::remove_dir_all(dir.join("blobs")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::Io { doing, source: error }),
        _ => Ok(()),
    }
}

fn remove_half_snapshots(dir: &Path) -> Result<(), StoreError> {
    for name in names_with(dir, |name| name.starts_with("snap.") && name.ends_with(".generating"))? {
        std::fs::remove_file(dir.join(name)).map_err(StoreError::io("removing a half-written snapshot"))?;
        tracing::warn!("removed a half-written snapshot of the database");
    }
    Ok(())
}

fn names_with(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, StoreError> {
    let doing = "listing the directory";
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(StoreError::io(doing))? {
        if let Ok(name) = entry.map_err(StoreError::io(doing))?.file_name().into_string()
            && wanted(&name)
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(StoreError::io("looking for a file"))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io { doing: "reading a guard file", source }),
    }
}

/// Writes a file so that after a crash it is whole or absent: temporary, fsync, rename, fsync of the directory.
fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let doing = "writing a guard file";
    let temporary = dir.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary).map_err(StoreError::io(doing))?;
    file.write_all(bytes).map_err(StoreError::io(doing))?;
    file.sync_all().map_err(StoreError::io(doing))?;
    std::fs::rename(&temporary, dir.join(name)).map_err(StoreError::io(doing))?;
    sync_dir(dir)
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc32fast::hash(bytes).to_be_bytes()].concat()
}

fn unsealed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let (body, crc) = bytes.split_first_chunk::<N>()?;
    (crc == crc32fast::hash(body).to_be_bytes()).then_some(*body)
}

#[expect(
    clippy::disallowed_methods,
    reason = "an edge: the incarnation is drawn once, when the directory is created or renewed"
)]
fn random_incarnation() -> Result<[u8; 16], StoreError> {
    let mut incarnation = [0_u8; 16];
    getrandom::fill(&mut incarnation).map_err(|error| StoreError::Io {
        doing: "drawing the incarnation",
        source: io::Error::other(error.to_string()),
    })?;
    Ok(incarnation)
}
