//! The node's store: ordered byte keys to byte values, one atomic durable batch at a time.
//!
//! One thread owns the store and is the only writer, so the traits are synchronous: [`Store::commit`] returns only when the
//! batch would survive a crash, and only then may its effects become visible ("durable before visible").
//!
//! It never interprets keys or values, never retries a failed write or fsync (a retry reports success after the pages were
//! dropped), never opens an empty database beside an old one, and never serves a row whose checksum does not match.
//!
//! Engines: [`memory::MemoryStore`] (the deterministic twin for simulation) and [`sled_engine::SledStore`] (on disk).
//! Not built here: offline compaction (export into a new directory does it).

pub mod batch;
pub mod memory;
pub mod overlay;
pub mod sled_engine;
pub mod space;

mod cache;
mod row;
mod sled_guard;
mod stream;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod sled_stories;

use std::fmt;
use std::io;

pub use batch::{Batch, Precondition};
pub use memory::MemoryStore;
pub use overlay::Overlay;
pub use sled_engine::SledStore;
pub use space::Space;

/// Longest key, in bytes. sled keeps up to 256 keys in one index page, and a page above 131,052 bytes becomes a file that sled
/// never fsyncs; 256 keys of this size stay at half of that.
pub const KEY_BYTES_MAX: usize = 256;

/// Longest value, in bytes: four times the largest request on the wire; larger things are files, not rows.
pub const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most bytes (keys and values together) in one batch: what one fsync should have to wait for, with room for the largest value.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Ordered byte keys → byte values, read side.
pub trait Read {
    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the stored row fails its checksum; [`StoreError::Poisoned`]; [`StoreError::Io`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The pairs with keys in `[from, to)`, ascending, at most `limit`. An empty or inverted range gives nothing.
    ///
    /// # Errors
    /// As [`Read::get`].
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;

    /// The pair with the greatest key in `[from, to)`.
    ///
    /// # Errors
    /// As [`Read::get`].
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError>;
}

/// A durable store with one writer.
pub trait Store: Read + Send {
    /// Applies `batch` as one whole: all of it or nothing, durable when this returns `Ok`. A batch without writes only checks its
    /// preconditions.
    ///
    /// # Errors
    /// [`StoreError::Precondition`], [`StoreError::KeySize`], [`StoreError::ValueSize`] and [`StoreError::BatchSize`] change
    /// nothing. After [`StoreError::Io`] or [`StoreError::Engine`] the outcome is unknown, the store is poisoned and the caller
    /// aborts the process.
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError>;

    /// The random name of this life of the store: new when the directory is created, when an export is imported into a new
    /// directory, and after [`sled_engine::renew_incarnation`].
    fn incarnation(&self) -> [u8; 16];

    /// Writes every row as lines of hex JSON with a counted and checksummed last line; returns the number of rows.
    /// What must not come back after a restore (one-time prekeys) is the caller's to leave out: the store knows no meanings.
    ///
    /// # Errors
    /// [`StoreError::Stream`] if `out` fails, else as [`Read::get`].
    fn export(&self, out: &mut dyn io::Write) -> Result<u64, StoreError>;

    /// Reads what [`Store::export`] wrote into this store, which must be empty; returns the number of rows. The incarnation stays this
    /// store's own. After an error the store is unusable and its directory is to be deleted.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] (nothing changed), [`StoreError::Format`], [`StoreError::Stream`], or as [`Store::commit`].
    fn import(&mut self, input: &mut dyn io::Read) -> Result<u64, StoreError>;
}

/// The key of a row named in an error. `Debug` shows its length only, because keys may hold ids of people.
#[derive(Clone, PartialEq, Eq)]
pub struct RowKey(pub Vec<u8>);

impl fmt::Debug for RowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RowKey({} bytes)", self.0.len())
    }
}

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading, writing or syncing failed; the store is poisoned and the process must abort.
    #[error("the store failed while {doing}: {source}")]
    Io {
        /// What the store was about to do.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The engine reported misuse or a bug of its own; the store is poisoned.
    #[error("the store's engine failed: {what}")]
    Engine {
        /// The engine's words; they name no key.
        what: String,
    },
    /// An earlier failure made the outcome of a write unknown; nothing works any more until the process restarts.
    #[error("the store is poisoned by an earlier failure; the process must restart")]
    Poisoned,
    /// Another process (or another handle in this one) has the directory open.
    #[error("the store directory is in use by another process")]
    Locked,
    /// The directory was written by a newer version of the software.
    #[error("the store has format {found}, this program knows up to {known}: downgrade refused")]
    Newer {
        /// The format in the `version` file.
        found: u32,
        /// The format this program writes.
        known: u32,
    },
    /// There is a database but no `version` file, so nothing says how to read it.
    #[error("a database exists without its version file: restore the last export into a new directory")]
    VersionMissing,
    /// The `version` file is no known number.
    #[error("the version file is unreadable: restore the last export into a new directory")]
    VersionUnreadable,
    /// The `incarnation` file is missing or damaged beside an existing store.
    #[error("the incarnation file is missing or damaged: renew the incarnation or restore the last export")]
    IncarnationUnreadable,
    /// An import into this directory did not finish.
    #[error("an import into this directory did not finish: delete the directory and import again")]
    ImportUnfinished,
    /// The engine did not open in time; it may still be busy, so the process should end rather than try again.
    #[error("the database did not open within {seconds} s")]
    OpenTimedOut {
        /// How long it was waited for.
        seconds: u64,
    },
    /// Stored bytes do not match their checksum or the engine found its file damaged.
    #[error("stored data is damaged: keep the directory for study and restore the last export into a new one")]
    Corrupt {
        /// The row, if the damage lies in one.
        key: Option<RowKey>,
    },
    /// The database is older than commits this directory has acknowledged: it was truncated, restored or lost.
    #[error(
        "the database holds {found} commits, {expected} were acknowledged: restore, or accept the loss by renewing the incarnation"
    )]
    RolledBack {
        /// Commits acknowledged as durable.
        expected: u64,
        /// Commits found.
        found: u64,
    },
    /// A precondition of the batch does not hold; nothing was changed.
    #[error("a precondition of the batch does not hold")]
    Precondition {
        /// The key it was about.
        key: RowKey,
    },
    /// A key is empty or too long; nothing was changed.
    #[error("expected a key of 1 to {KEY_BYTES_MAX} bytes, got {got}")]
    KeySize {
        /// Its length in bytes.
        got: usize,
    },
    /// A value is too long; nothing was changed.
    #[error("expected a value of at most {VALUE_BYTES_MAX} bytes, got {got}")]
    ValueSize {
        /// Its length in bytes.
        got: usize,
    },
    /// A batch is too large; nothing was changed.
    #[error("expected a batch of at most {BATCH_BYTES_MAX} bytes, got {got}")]
    BatchSize {
        /// Its size in bytes, keys and values.
        got: usize,
    },
    /// The tree name is the store's own.
    #[error("the tree name is reserved for the store")]
    ReservedTree,
    /// Import is only for an empty store; nothing was changed.
    #[error("import needs an empty store")]
    NotEmpty,
    /// The export being read is malformed, out of order or cut short.
    #[error("the export is malformed at line {line}")]
    Format {
        /// The line, from 1.
        line: u64,
    },
    /// The stream given to export or import failed; the store itself did not.
    #[error("the export stream failed: {source}")]
    Stream {
        /// The stream's error.
        source: io::Error,
    },
}

impl StoreError {
    /// Damage without a row.
    const fn damaged() -> Self {
        Self::Corrupt { key: None }
    }

    /// Turns a system error into [`StoreError::Io`].
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Whether the state on disk is unknown or damaged beyond one row, so that nothing may be acknowledged any more.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Engine { .. } | Self::Poisoned | Self::Corrupt { key: None })
    }
}
