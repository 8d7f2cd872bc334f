//! Sealed bytes of files on this machine: those that go, until nobody may ask for them again, and those that come, until they are opened.
//!
//! Everything here is sealed; the keys are in the store. Names are those of blobs, never anything that somebody said.

use super::now_ms;
use crate::error::Error;
use crate::store::random;
use roost_crypto::blobs::{self, BlobHasher, BlobId};
use roost_crypto::bytes::Bytes;
use roost_crypto::files::{FILE_KEY_BYTES, FileError, FileKey, FileOpener, FileSealer};
use roost_protocol::content::{BlobRef, File as SaidFile};
use roost_protocol::limits::{BLOB_PART_BYTES_MAX, FILE_BYTES_MAX};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long what was fetched in part is kept for another try, milliseconds: a week.
const PART_MS: u64 = 7 * 24 * 3600 * 1000;

/// Where the bytes of a file are.
pub enum Source {
    /// In a file of this machine.
    Path(PathBuf),
    /// Here: a picture that was drawn anew.
    Bytes(Vec<u8>),
}

/// A file that was sealed.
pub(super) struct Staged {
    pub blob: BlobId,
    pub key: Bytes,
    pub size: u64,
}

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Staging(PathBuf);

impl Staging {
    pub fn new(dir: &Path) -> Self {
        Self(dir.join("files"))
    }

    /// Removes what a session left behind that nobody needs.
    pub fn tidy(&self, needed: &[BlobId]) {
        for found in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let name = found.file_name().to_string_lossy().into_owned();
            let needed = match name.split_once('.') {
                None => name.parse().is_ok_and(|blob| needed.contains(&blob)),
                Some((_, "part")) => found.metadata().and_then(|of| of.modified()).is_ok_and(|at| {
                    let at = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
                    at.saturating_add(u128::from(PART_MS)) > u128::from(now_ms())
                }),
                Some(_) => false,
            };
            if !needed && let Err(error) = fs::remove_file(found.path()) {
                tracing::warn!(%error, "a file that is not needed any more was not removed");
            }
        }
    }

    /// Seals a file under a new key; on disk when this returns.
    pub fn seal(&self, source: Source) -> Result<Staged, Error> {
        let (mut from, size): (Box<dyn Read>, u64) = match source {
            Source::Path(path) => {
                let opened = File::open(&path).and_then(|file| file.metadata().map(|of| (file, of)));
                let (file, of) = opened.map_err(|error| Error::File(format!("{}: {error}", path.display())))?;
                if !of.is_file() {
                    return Err(Error::File(format!("{}: this is no file", path.display())));
                }
                (Box::new(file), of.len())
            }
            Source::Bytes(bytes) => {
                let size = bytes.len() as u64;
                (Box::new(io::Cursor::new(bytes)), size)
            }
        };
        if size > FILE_BYTES_MAX {
            return Err(Error::FileTooLong { max: FILE_BYTES_MAX, got: size });
        }
        make_private_dir(&self.0).map_err(failed)?;
        let mut key = Zeroizing::new([0; FILE_KEY_BYTES]);
        random(key.as_mut_slice())?;
        let mut name = [0; 16];
        random(&mut name)?;
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let half = self.0.join(format!("{name}.half"));
        let sealed = seal_into(&mut from, &FileKey::from_bytes(&key), size, &half);
        let staged = sealed.and_then(|blob| {
            fs::rename(&half, self.path(&blob)).map_err(failed)?;
            sync_dir(&self.0).map_err(failed)?;
            Ok(Staged { blob, key: Bytes(key.to_vec()), size })
        });
        if staged.is_err() {
            let _ = fs::remove_file(&half);
        }
        staged
    }

    /// The next part of what goes; `None` if it is not here as it was.
    pub fn part(&self, of: &BlobRef, offset: u64) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(self.path(&of.blob)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if file.metadata()?.len() != of.bytes {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut part = Vec::new();
        file.take(BLOB_PART_BYTES_MAX as u64).read_to_end(&mut part)?;
        Ok(Some(part))
    }

    /// Whether what goes is still what was sealed.
    pub fn is_whole(&self, of: &BlobRef) -> io::Result<bool> {
        let mut file = File::open(self.path(&of.blob))?;
        let mut hasher = BlobHasher::new(of.bytes);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(hasher.finish() == of.blob);
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
    }

    /// What went need not be kept.
    pub fn remove(&self, blob: &BlobId) {
        match fs::remove_file(self.path(blob)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a file that was sent was not removed from the directory");
            }
            _ => {}
        }
    }

    /// Bytes that have come of a blob.
    pub fn have(&self, of: &BlobRef) -> io::Result<u64> {
        match fs::metadata(self.coming(&of.blob)) {
            Ok(found) if found.len() <= of.bytes => Ok(found.len()),
            Ok(_) => fs::remove_file(self.coming(&of.blob)).map(|()| 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Appends what came; gives how much is here.
    pub fn append(&self, of: &BlobRef, offset: u64, part: &[u8]) -> io::Result<u64> {
        make_private_dir(&self.0)?;
        let have = self.have(of)?;
        if have != offset {
            return Ok(have);
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        private(&mut options);
        options.open(self.coming(&of.blob))?.write_all(part)?;
        Ok(have + part.len() as u64)
    }

    /// Opens what has come into a file that is not there yet. What does not open is removed, so that it is fetched anew.
    pub fn open_into(&self, said: &SaidFile, to: &Path) -> Result<(), Error> {
        let from = self.coming(&said.blob);
        let key = <[u8; FILE_KEY_BYTES]>::try_from(said.key.as_slice()).map_err(|_| Error::BadFile(FileError::Name))?;
        let opener = FileOpener::new(&FileKey::from_bytes(&key), said.size, said.blob);
        let mut name = [0; 8];
        random(&mut name)?;
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let half = to.with_file_name(format!(".roost-{name}.half"));
        let opened = open_from(opener, &from, &half).and_then(|()| place(&half, to));
        let _ = fs::remove_file(&half);
        if !matches!(opened, Err(Error::File(_) | Error::FileExists(_))) {
            let _ = fs::remove_file(&from);
        }
        opened
    }

    fn path(&self, blob: &BlobId) -> PathBuf {
        self.0.join(blob.to_string())
    }

    fn coming(&self, blob: &BlobId) -> PathBuf {
        self.0.join(format!("{blob}.part"))
    }
}

fn seal_into(from: &mut dyn Read, key: &FileKey, size: u64, to: &Path) -> Result<BlobId, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    let mut to = options.open(to).map_err(failed)?;
    let mut sealer = FileSealer::new(key, size);
    let mut buffer = Zeroizing::new(vec![0; READ_BYTES]);
    let mut sealed = Vec::with_capacity(blobs::SEALED_CHUNK_BYTES);
    let changed = |error: FileError| Error::File(format!("the file changed while it was read: {error}"));
    loop {
        let read = from.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        sealer.write(buffer.get(..read).unwrap_or_default(), &mut sealed).map_err(changed)?;
        to.write_all(&sealed).map_err(failed)?;
        sealed.clear();
    }
    let blob = sealer.finish(&mut sealed).map_err(changed)?;
    to.write_all(&sealed).map_err(failed)?;
    to.sync_all().map_err(failed)?;
    Ok(blob)
}

fn open_from(mut opener: FileOpener, from: &Path, to: &Path) -> Result<(), Error> {
    let mut from = File::open(from).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    let mut to = options.open(to).map_err(failed)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut opened = Zeroizing::new(Vec::new());
    loop {
        let read = from.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        opener.write(buffer.get(..read).unwrap_or_default(), &mut opened).map_err(Error::BadFile)?;
        to.write_all(&opened).map_err(failed)?;
        opened.clear();
    }
    opener.finish().map_err(Error::BadFile)?;
    to.sync_all().map_err(failed)
}

/// Gives a finished file its name, unless another has it.
fn place(half: &Path, to: &Path) -> Result<(), Error> {
    let exists = || Error::FileExists(to.display().to_string());
    match fs::hard_link(half, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
        // A file system without hard links.
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(exists()),
        Err(_) => fs::rename(half, to).map_err(failed),
    }
}

fn failed(error: io::Error) -> Error {
    Error::File(error.to_string())
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
