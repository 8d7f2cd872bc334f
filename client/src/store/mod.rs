//! The sealed store of a native device: one redb file, every value sealed to its key, one process at a time.
//!
//! Seals values, not keys; the core's keys hold no names of people. Never decides anything.

mod key;

use crate::error::Error;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use roost_crypto::group::WriteSet;
use roost_crypto::sealing::{NONCE_BYTES, SealError, StoreKey};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub(crate) use key::random;

/// The file in the directory.
pub const FILE: &str = "device.redb";
/// Version of the rows; another one is refused.
pub const VERSION: u8 = 2;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, u8> = TableDefinition::new("meta");
/// How long another process may still hold the directory.
const LOCK_WAIT_MS_MAX: u64 = 5_000;
const LOCK_PAUSE_MS: u64 = 50;

/// An open store; it holds the directory's lock until it is dropped.
pub struct Store {
    database: Database,
    key: StoreKey,
}

impl Store {
    /// Makes a store in a directory that has none, with its key file, or a salt for the passphrase in `passphrase_file`.
    /// The passphrase is hashed once: until a slow hash (Argon2) is built in, it must be long and random itself.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Exists`].
    pub fn create(dir: &Path, passphrase_file: Option<&Path>) -> Result<Self, Error> {
        let path = dir.join(FILE);
        if path.exists() {
            return Err(Error::Exists(dir.display().to_string()));
        }
        let key = key::create(dir, passphrase_file)?;
        let database = Database::create(&path).map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        transaction.open_table(ROWS).map_err(failed)?;
        transaction.open_table(META).map_err(failed)?.insert("version", VERSION).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Self { database, key })
    }

    /// Opens the store of a directory. Blocks up to five seconds while another process holds it.
    ///
    /// # Errors
    /// [`Error::NoAccount`], [`Error::Busy`], [`Error::StoreVersion`], [`Error::Store`].
    pub fn open(dir: &Path, passphrase_file: Option<&Path>) -> Result<Self, Error> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(Error::NoAccount(dir.display().to_string()));
        }
        let key = key::open(dir, passphrase_file)?;
        let mut waited_ms = 0;
        let database = loop {
            match Database::open(&path) {
                Ok(database) => break database,
                Err(DatabaseError::DatabaseAlreadyOpen) if waited_ms >= LOCK_WAIT_MS_MAX => return Err(Error::Busy),
                Err(DatabaseError::DatabaseAlreadyOpen) => {
                    std::thread::sleep(Duration::from_millis(LOCK_PAUSE_MS));
                    waited_ms += LOCK_PAUSE_MS;
                }
                Err(error) => return Err(failed(error)),
            }
        };
        let store = Self { database, key };
        store.check_version()?;
        Ok(store)
    }

    /// All rows, opened.
    ///
    /// # Errors
    /// [`Error::WrongKey`], [`Error::Store`].
    pub fn load(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let table = transaction.open_table(ROWS).map_err(failed)?;
        let mut rows = BTreeMap::new();
        for row in table.iter().map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            let opened = self.key.open(key.value(), value.value()).map_err(|error| match error {
                SealError::Refused => Error::WrongKey,
                other => failed(other),
            })?;
            rows.insert(key.value().to_vec(), opened.to_vec());
        }
        Ok(rows)
    }

    /// Applies a write set in one durable transaction.
    ///
    /// # Errors
    /// [`Error::Store`]: nothing of it may be relied on; open the store again.
    pub fn commit(&self, writes: &WriteSet) -> Result<(), Error> {
        if writes.0.is_empty() {
            return Ok(());
        }
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut table = transaction.open_table(ROWS).map_err(failed)?;
            for (key, value) in &writes.0 {
                match value {
                    Some(value) => {
                        let mut nonce = [0; NONCE_BYTES];
                        random(&mut nonce)?;
                        let sealed = self.key.seal(key, value, nonce);
                        table.insert(key.as_slice(), sealed.as_slice()).map_err(failed)?;
                    }
                    None => {
                        table.remove(key.as_slice()).map_err(failed)?;
                    }
                }
            }
        }
        transaction.commit().map_err(failed)
    }

    fn check_version(&self) -> Result<(), Error> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let table = transaction.open_table(META).map_err(failed)?;
        let got = table.get("version").map_err(failed)?.map_or(0, |version| version.value());
        if got == VERSION { Ok(()) } else { Err(Error::StoreVersion { expected: VERSION, got }) }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Store(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(rows: &[(&str, Option<&str>)]) -> WriteSet {
        let row = |(key, value): &(&str, Option<&str>)| {
            (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()))
        };
        WriteSet(rows.iter().map(row).collect())
    }

    #[test]
    fn alices_store_keeps_its_rows_and_shows_them_to_nobody_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(dir.path(), None).expect("a new store");
        store.commit(&writes(&[("a", Some("hello bob")), ("b", Some("gone"))])).expect("committed");
        store.commit(&writes(&[("b", None)])).expect("committed");
        drop(store);
        let raw = std::fs::read(dir.path().join(FILE)).expect("the file");
        assert!(!raw.windows(9).any(|window| window == b"hello bob"), "values are sealed on disk");
        let rows = Store::open(dir.path(), None).expect("opened").load().expect("loaded");
        assert_eq!(rows, BTreeMap::from([(b"a".to_vec(), b"hello bob".to_vec())]), "what was committed is there");
        std::fs::write(dir.path().join("store.key"), [7; 32]).expect("eve's key");
        let eve = Store::open(dir.path(), None).expect("the file opens");
        assert_eq!(eve.load().err(), Some(Error::WrongKey), "another key opens nothing");
    }

    #[test]
    fn a_second_opener_is_told_that_the_directory_is_busy() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Store::create(dir.path(), None).expect("a new store");
        assert_eq!(Store::open(dir.path(), None).err(), Some(Error::Busy), "one process at a time");
        drop(first);
        assert!(Store::open(dir.path(), None).is_ok(), "and the next one when it is free");
    }

    #[test]
    fn a_passphrase_opens_what_it_sealed_and_another_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
        std::fs::write(&right, "correct horse\n").expect("written");
        std::fs::write(&wrong, "battery staple\n").expect("written");
        let store = Store::create(dir.path(), Some(&right)).expect("a new store");
        store.commit(&writes(&[("a", Some("1"))])).expect("committed");
        drop(store);
        assert!(!dir.path().join("store.key").exists(), "the key is not on disk");
        let opened = Store::open(dir.path(), Some(&wrong)).expect("the file opens").load().err();
        assert_eq!(opened, Some(Error::WrongKey), "the wrong passphrase is refused");
        assert_eq!(Store::open(dir.path(), None).err(), Some(Error::WrongKey), "and so is none");
        assert_eq!(
            Store::open(dir.path(), Some(&right)).expect("opened").load().expect("loaded").len(),
            1,
            "the right one opens"
        );
    }
}
