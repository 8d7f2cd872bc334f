//! Blobs in files: what is coming in `partial/`, what is whole in `whole/`, each under its name.
//!
//! The name of a file is the hash of its bytes in hex, never anything that somebody said. A blob is whole once it was compared with its
//! name, fsynced, renamed, and its directory fsynced; so a file in `whole/` that a kill left behind is what it is called.

use super::PartError;
use roost_crypto::blobs::BlobHasher;
use roost_protocol::content::BlobRef;
use roost_protocol::ids::BlobId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Bytes that are hashed at once.
const HASHED_AT_ONCE: usize = 64 * 1024;

/// The two directories.
pub(super) struct Files {
    partial: PathBuf,
    whole: PathBuf,
}

impl Files {
    /// Makes what is absent, for its owner only.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let files = Self { partial: dir.join("partial"), whole: dir.join("whole") };
        for path in [dir, &files.partial, &files.whole] {
            make_private_dir(path)?;
        }
        sync_dir(dir)?;
        Ok(files)
    }

    /// Bytes that are here, whole or not.
    pub fn have(&self, of: &BlobRef) -> io::Result<u64> {
        if self.path(&of.blob).try_exists()? {
            return Ok(of.bytes);
        }
        match fs::metadata(self.coming(&of.blob)) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Appends a part that begins at `offset`; gives the bytes that are here then.
    pub fn append(&self, of: &BlobRef, offset: u64, part: &[u8]) -> Result<u64, PartError> {
        let have = self.have(of)?;
        if have != offset {
            return Err(PartError::Offset { have });
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        private(&mut options);
        let mut file = options.open(self.coming(&of.blob))?;
        if let Err(error) = file.write_all(part) {
            // What came of it is no part: the next one begins where this one did.
            file.set_len(offset)?;
            return Err(if error.kind() == io::ErrorKind::StorageFull { PartError::Full } else { error.into() });
        }
        Ok(offset + part.len() as u64)
    }

    /// Whether what has come is what its name says; it is removed if not. Gives where it is, on disk.
    pub fn verify(&self, of: &BlobRef) -> Result<PathBuf, PartError> {
        let path = self.coming(&of.blob);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PartError::Gone),
            opened => opened?,
        };
        if hash(&mut file, of.bytes)? != (of.bytes, of.blob) {
            fs::remove_file(&path)?;
            return Err(PartError::Name);
        }
        file.sync_all()?;
        Ok(path)
    }

    /// Makes what has come whole; it may be already.
    pub fn keep(&self, of: &BlobRef) -> Result<(), PartError> {
        let to = self.path(&of.blob);
        if to.try_exists()? {
            return Ok(());
        }
        let from = self.verify(of)?;
        if let Some(shelf) = to.parent() {
            make_private_dir(shelf)?;
            sync_dir(&self.whole)?;
            fs::rename(from, &to)?;
            sync_dir(shelf)?;
        }
        Ok(())
    }

    /// Up to `max` bytes of a whole one; `None` if it is not here.
    pub fn read(&self, blob: &BlobId, offset: u64, max: usize) -> Result<Option<Vec<u8>>, PartError> {
        let mut file = match File::open(self.path(blob)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(max);
        file.take(max as u64).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Removes what is here.
    pub fn delete(&self, blob: &BlobId) -> io::Result<()> {
        for path in [self.coming(blob), self.path(blob)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn coming(&self, blob: &BlobId) -> PathBuf {
        self.partial.join(blob.to_string())
    }

    /// On one of 256 shelves: a directory of a million files is slow on some systems.
    fn path(&self, blob: &BlobId) -> PathBuf {
        let name = blob.to_string();
        self.whole.join(name.get(..2).unwrap_or("00")).join(name)
    }
}

/// What lies in a directory of blobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whole ones.
    pub whole: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are not whole.
    pub coming: u64,
    /// Whole ones that were compared with their names.
    pub compared: u64,
    /// Those of them that are not what they are called.
    pub damaged: u64,
}

/// Looks at a directory of blobs, also while a node uses it, and compares as many as have about `sample_bytes` with their names.
///
/// # Errors
/// The system's.
pub fn look(dir: &Path, sample_bytes: u64) -> io::Result<Seen> {
    let mut seen = Seen { coming: fs::read_dir(dir.join("partial"))?.count() as u64, ..Seen::default() };
    let mut read = 0;
    for shelf in fs::read_dir(dir.join("whole"))? {
        for found in fs::read_dir(shelf?.path())? {
            let found = found?;
            // One that goes at this moment is none.
            let Ok(metadata) = found.metadata() else { continue };
            seen.whole += 1;
            seen.bytes += metadata.len();
            if read >= sample_bytes {
                continue;
            }
            read += metadata.len();
            let name = found.file_name().to_string_lossy().parse::<BlobId>().ok();
            match (File::open(found.path()).and_then(|mut file| hash(&mut file, metadata.len())), name) {
                (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {}
                (Ok((_, is)), Some(name)) if is == name => seen.compared += 1,
                _ => {
                    seen.compared += 1;
                    seen.damaged += 1;
                }
            }
        }
    }
    Ok(seen)
}

/// Length and name of what a file holds, as a blob of `bytes`.
fn hash(file: &mut File, bytes: u64) -> io::Result<(u64, BlobId)> {
    let mut hasher = BlobHasher::new(bytes);
    let mut buffer = vec![0; HASHED_AT_ONCE];
    let mut length = 0_u64;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((length, hasher.finish()));
        }
        length += read as u64;
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
