//! The key of a store: 32 random bytes in a file that only its owner reads, or the hash of a passphrase.

use crate::error::Error;
use roost_crypto::labels;
use roost_crypto::sealing::StoreKey;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use zeroize::Zeroizing;

const KEY_FILE: &str = "store.key";
const SALT_FILE: &str = "store.salt";

pub(super) fn create(dir: &Path, passphrase_file: Option<&Path>) -> Result<StoreKey, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    random(&mut bytes[..])?;
    match passphrase_file {
        None => {
            write_private(&dir.join(KEY_FILE), &bytes[..])?;
            Ok(StoreKey::derive(&bytes))
        }
        Some(file) => {
            write_private(&dir.join(SALT_FILE), &bytes[..])?;
            from_passphrase(&bytes, file)
        }
    }
}

pub(super) fn open(dir: &Path, passphrase_file: Option<&Path>) -> Result<StoreKey, Error> {
    let read = |name: &str| -> Result<Zeroizing<[u8; 32]>, Error> {
        let bytes = Zeroizing::new(fs::read(dir.join(name)).map_err(|_| Error::WrongKey)?);
        Ok(Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| Error::WrongKey)?))
    };
    match passphrase_file {
        None => Ok(StoreKey::derive(&*read(KEY_FILE)?)),
        Some(file) => from_passphrase(&*read(SALT_FILE)?, file),
    }
}

/// Randomness of the system.
#[expect(clippy::disallowed_methods, reason = "the edge: the core takes its randomness from here")]
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| Error::Store(format!("no randomness: {error}")))
}

fn from_passphrase(salt: &[u8; 32], file: &Path) -> Result<StoreKey, Error> {
    let text = Zeroizing::new(fs::read(file).map_err(|error| Error::Store(format!("passphrase file: {error}")))?);
    let passphrase = text.trim_ascii_end();
    if passphrase.is_empty() {
        return Err(Error::Store("the passphrase file is empty".into()));
    }
    Ok(StoreKey::derive(&Zeroizing::new(labels::hash(labels::STORE_PASSPHRASE, &[salt, passphrase]))))
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| Error::Store(error.to_string()))
}
