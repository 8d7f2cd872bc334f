//! The bytes of blobs: parts that come and go, tickets that let them, and the place where they are kept.
//!
//! It knows no accounts and decides nothing: which blob is kept, for whom and how long, the rules say (`relay/blobs.rs`). What is
//! whole here has been compared with its name and is on disk. Implements `docs/protocol.md`, section "Files".

mod files;
mod tickets;

pub use files::{Seen, look};
pub use tickets::Way;

use crate::metrics::Metrics;
use crate::store::space::Space;
use files::Files;
use roost_protocol::content::BlobRef;
use roost_protocol::ids::{BlobId, BlobTicket};
use roost_protocol::limits::BLOB_PART_BYTES_MAX;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tickets::Tickets;

/// Blobs that are written at the same time, at most one part of each: which, the first bits of their names say.
const LOCKS: usize = 64;

/// Why the place of blobs does not open.
#[derive(Debug, thiserror::Error)]
pub enum BlobsError {
    /// The directory can't be used.
    #[error("the directory of blobs {}: {source}", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// Why a part is not taken or given.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// No such ticket: it was never given, was used, is over, or is for something else.
    #[error("the ticket is unknown, used or over")]
    Ticket,
    /// The part does not continue what is here.
    #[error("the part does not continue the {have} bytes that are here")]
    Offset {
        /// Bytes that are here.
        have: u64,
    },
    /// More than a part, or than the blob has left; or nothing.
    #[error("expected a part of 1 to {max} bytes, got {got}")]
    Length {
        /// The bound.
        max: u64,
        /// What was given.
        got: u64,
    },
    /// All bytes are here and are not what the blob's name says: they were removed.
    #[error("the bytes are not those of the blob")]
    Name,
    /// The disk has no room.
    #[error("the disk is nearly full")]
    Full,
    /// It is not kept here any more.
    #[error("the blob is not kept here")]
    Gone,
    /// The disk failed.
    #[error("blobs: {0}")]
    Io(#[from] io::Error),
}

/// A part that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Bytes of the whole blob.
    pub total: u64,
    /// From where it was asked for.
    pub bytes: Vec<u8>,
}

struct Shared {
    dir: PathBuf,
    files: Files,
    tickets: Mutex<Tickets>,
    locks: Vec<tokio::sync::Mutex<()>>,
    metrics: Arc<Metrics>,
}

/// The bytes of a node's blobs.
#[derive(Clone)]
pub struct Blobs(Arc<Shared>);

impl Blobs {
    /// Opens the place; `dir` is made when absent.
    ///
    /// # Errors
    /// [`BlobsError`].
    pub fn open(dir: &Path, metrics: Arc<Metrics>) -> Result<Self, BlobsError> {
        let failed = |source| BlobsError::Directory { path: dir.to_owned(), source };
        let files = Files::open(dir).map_err(failed)?;
        let locks = std::iter::repeat_with(tokio::sync::Mutex::default).take(LOCKS).collect();
        let tickets = Mutex::default();
        Ok(Self(Arc::new(Shared { dir: dir.to_owned(), files, tickets, locks, metrics })))
    }

    /// A ticket; `None` if too many are out, or the system gives no randomness.
    pub fn ticket(&self, of: BlobRef, way: Way) -> Option<BlobTicket> {
        self.tickets().give(of, way)
    }

    /// Bytes that are here of a blob that may not be whole.
    ///
    /// # Errors
    /// The disk's.
    pub async fn have(&self, of: BlobRef) -> io::Result<u64> {
        self.with_files(move |files| files.have(&of)).await
    }

    /// Takes a part for a ticket. Gives how much is here with it; all of it is durable and what the name says.
    ///
    /// # Errors
    /// [`PartError`].
    pub async fn put(&self, blob: &BlobId, ticket: &BlobTicket, part: Vec<u8>) -> Result<(BlobRef, u64), PartError> {
        let Some((of, Way::Put { offset })) = self.tickets().take(blob, ticket) else {
            return Err(PartError::Ticket);
        };
        let bytes = part.len();
        let have = self.append(of, offset, part).await?;
        self.0.metrics.blob_part("put", bytes);
        Ok((of, have))
    }

    /// Gives a part for a ticket.
    ///
    /// # Errors
    /// [`PartError`]; [`PartError::Gone`] if what should be here is not.
    pub async fn get(&self, blob: &BlobId, ticket: &BlobTicket, offset: u64) -> Result<Part, PartError> {
        let Some((of, Way::Get)) = self.tickets().take(blob, ticket) else { return Err(PartError::Ticket) };
        let part = self.read(of, offset).await?;
        self.0.metrics.blob_part("read", part.bytes.len());
        Ok(part)
    }

    /// Appends a part that comes from a device or another node; the last one makes the blob whole.
    ///
    /// # Errors
    /// [`PartError`].
    pub async fn append(&self, of: BlobRef, offset: u64, part: Vec<u8>) -> Result<u64, PartError> {
        let max = (BLOB_PART_BYTES_MAX as u64).min(of.bytes.saturating_sub(offset));
        let got = part.len() as u64;
        if got == 0 || got > max {
            return Err(PartError::Length { max, got });
        }
        let _one = self.lock(&of.blob).await;
        let dir = self.0.dir.clone();
        let have = self
            .with_files(move |files| {
                if Space::of(&dir)?.is_low(false) {
                    return Err(PartError::Full);
                }
                files.append(&of, offset, &part)
            })
            .await?;
        if have == of.bytes {
            self.finish_locked(of).await?;
        }
        Ok(have)
    }

    /// Compares a blob of which all bytes are here with its name, and keeps it. It may be kept already.
    ///
    /// # Errors
    /// [`PartError`].
    pub async fn finish(&self, of: BlobRef) -> Result<(), PartError> {
        let _one = self.lock(&of.blob).await;
        self.finish_locked(of).await
    }

    async fn finish_locked(&self, of: BlobRef) -> Result<(), PartError> {
        self.with_files(move |files| files.keep(&of)).await
    }

    /// A part of a whole blob.
    ///
    /// # Errors
    /// [`PartError::Gone`] and that of the disk.
    pub async fn read(&self, of: BlobRef, offset: u64) -> Result<Part, PartError> {
        let left = of.bytes.saturating_sub(offset);
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(BLOB_PART_BYTES_MAX);
        let bytes = self.with_files(move |files| files.read(&of.blob, offset, max)).await?;
        bytes.map(|bytes| Part { total: of.bytes, bytes }).ok_or(PartError::Gone)
    }

    /// Removes what is here of a blob.
    ///
    /// # Errors
    /// The disk's.
    pub async fn delete(&self, blob: BlobId) -> io::Result<()> {
        let _one = self.lock(&blob).await;
        self.with_files(move |files| files.delete(&blob)).await
    }

    fn tickets(&self) -> std::sync::MutexGuard<'_, Tickets> {
        self.0.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lock(&self, blob: &BlobId) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let of = usize::from(blob.as_bytes().first().copied().unwrap_or(0)) % LOCKS;
        match self.0.locks.get(of) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        }
    }

    /// Files are read and written on a thread that may wait.
    async fn with_files<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        act: impl FnOnce(&Files) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || act(&shared.files)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }
}

#[cfg(test)]
mod tests;
