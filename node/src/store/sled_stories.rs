//! What only the engine on disk can go through: locks, versions, damage, failing disks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use super::sled_engine::renew_incarnation;
use super::{Batch, Read, SledStore, Store, StoreError, row};

const SOON: Duration = Duration::from_millis(60);
const PATIENT: Duration = Duration::from_secs(5);

fn open(dir: &Path) -> SledStore {
    SledStore::open(dir, PATIENT).unwrap()
}

fn refusal(dir: &Path) -> StoreError {
    SledStore::open(dir, SOON).map(|_| ()).expect_err("opening must be refused")
}

fn put(store: &mut SledStore, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.put(key, value);
    store.commit(batch)
}

/// A closed store with 300 rows of 1 KiB and one long row.
fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for number in 0..30_u32 {
        let mut batch = Batch::new();
        for row in 0..10_u32 {
            batch.put([number.to_be_bytes(), row.to_be_bytes()].concat(), vec![number as u8; 1024]);
        }
        store.commit(batch).unwrap();
    }
    put(&mut store, b"long", &[5; 20_000]).unwrap();
    dir
}

/// Changes the database behind the store's back.
fn behind_its_back(dir: &Path, change: impl FnOnce(&sled::Tree)) {
    // A handle that is just closing holds sled's own lock a moment longer than ours.
    let mut attempts = 0;
    let database = loop {
        match sled::Config::new().path(dir).flush_every_ms(None).open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("lock") && attempts < 100 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => break opened.unwrap(),
        }
    };
    change(&database.open_tree("roost").unwrap());
    database.flush().unwrap();
}

#[test]
fn a_second_process_is_kept_out_until_the_first_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let mut alice = open(dir.path());
    put(&mut alice, b"k", b"v").unwrap();
    assert!(matches!(refusal(dir.path()), StoreError::Locked), "the directory is in use");
    assert!(
        matches!(renew_incarnation(dir.path(), SOON), Err(StoreError::Locked)),
        "nor can its incarnation be renewed"
    );
    drop(alice);
    assert_eq!(open(dir.path()).get(b"k").unwrap().unwrap(), b"v", "after alice has left, bob finds her row");
}

#[test]
fn an_emptied_directory_is_a_new_life() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut store = open(&path);
    put(&mut store, b"k", b"v").unwrap();
    let before = store.incarnation();
    drop(store);
    std::fs::remove_dir_all(&path).unwrap();
    let store = open(&path);
    assert_ne!(store.incarnation(), before, "a new directory has a new incarnation");
    assert_eq!(store.get(b"k").unwrap(), None, "and no rows");
}

#[test]
fn a_half_written_snapshot_does_not_stop_opening() {
    let dir = written();
    let leftover = dir.path().join("snap.FFFFFFFF00000000.generating");
    std::fs::write(&leftover, b"").unwrap();
    assert_eq!(open(dir.path()).get(b"long").unwrap().unwrap(), [5; 20_000], "the rows are there");
    assert!(!leftover.exists(), "the leftover is gone");
}

#[test]
fn versions_guard_the_directory() {
    let dir = written();
    let version = dir.path().join("version");
    std::fs::write(&version, "2\n").unwrap();
    assert!(matches!(refusal(dir.path()), StoreError::Newer { found: 2, known: 1 }), "a newer format is refused");
    std::fs::write(&version, "").unwrap();
    assert!(matches!(refusal(dir.path()), StoreError::VersionUnreadable), "an empty version is refused");
    std::fs::remove_file(&version).unwrap();
    assert!(matches!(refusal(dir.path()), StoreError::VersionMissing), "a database without version is no new store");
    std::fs::write(&version, "1\n").unwrap();
    assert!(open(dir.path()).get(b"long").unwrap().is_some(), "nothing was touched meanwhile");
}

#[test]
fn a_lost_incarnation_is_not_made_up() {
    let dir = written();
    std::fs::remove_file(dir.path().join("incarnation")).unwrap();
    assert!(matches!(refusal(dir.path()), StoreError::IncarnationUnreadable), "the store does not invent a name");
    let renewed = renew_incarnation(dir.path(), SOON).unwrap();
    assert_eq!(open(dir.path()).incarnation(), renewed, "the operator gives it a new one");
}

#[test]
fn an_older_copy_of_the_database_is_refused() {
    let dir = written();
    let old = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), old.path().join(entry.file_name())).unwrap();
    }
    let mut store = open(dir.path());
    let before = store.incarnation();
    put(&mut store, b"alice", b"acknowledged").unwrap();
    drop(store);
    std::fs::copy(dir.path().join("tail"), old.path().join("tail")).unwrap();
    assert!(
        matches!(refusal(old.path()), StoreError::RolledBack { expected: 32, found: 31 }),
        "an acknowledged commit is missing"
    );
    assert!(matches!(refusal(old.path()), StoreError::RolledBack { .. }), "and stays missing");
    assert_ne!(renew_incarnation(old.path(), PATIENT).unwrap(), before, "accepting the loss is a new life");
    assert_eq!(open(old.path()).get(b"alice").unwrap(), None, "without the lost row");
}

#[test]
fn a_missing_or_truncated_database_is_refused() {
    for keep in [None, Some(0), Some(2), Some(10)] {
        let dir = written();
        let path = dir.path().join("db");
        match keep {
            None => std::fs::remove_file(&path).unwrap(),
            Some(tenths) => {
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                let length = file.metadata().unwrap().len();
                file.set_len((length * tenths / 10).saturating_sub(200 * 1024)).unwrap();
            }
        }
        let error = refusal(dir.path());
        assert!(
            matches!(
                error,
                StoreError::RolledBack { .. }
                    | StoreError::Corrupt { .. }
                    | StoreError::Engine { .. }
                    | StoreError::Io { .. }
            ),
            "a cut database is not opened, kept {keep:?}: {error}"
        );
    }
}

#[test]
fn a_flipped_bit_is_never_served() {
    let long_row = row::row_key(b"long");
    let victims = [long_row.clone(), row::part_key(b"long", 2)];
    for physical in &victims {
        for byte in [0, 3, 9] {
            let dir = written();
            behind_its_back(dir.path(), |tree| {
                let mut stored = tree.get(physical).unwrap().unwrap().to_vec();
                stored[byte] ^= 0x10;
                tree.insert(physical, stored).unwrap();
            });
            assert!(
                matches!(refusal(dir.path()), StoreError::Corrupt { key: Some(key) } if key.0 == b"long"),
                "the check at open names the damaged row, byte {byte}"
            );
        }
    }
    let dir = written();
    let store = open(dir.path());
    let tree = store.raw_tree("dht").unwrap();
    drop(tree);
    let mut store = store;
    store.flip_for_test(&long_row);
    assert!(matches!(store.get(b"long"), Err(StoreError::Corrupt { key: Some(_) })), "get does not serve it");
    assert!(store.scan(b"l", b"m", 9).is_err(), "nor does scan");
    assert!(store.last(b"l", b"m").is_err(), "nor last");
    assert!(store.export(&mut Vec::new()).is_err(), "nor export");
    assert!(put(&mut store, b"other", b"v").is_ok(), "other rows go on");
}

#[test]
fn a_row_moved_to_another_key_is_never_served() {
    let dir = written();
    behind_its_back(dir.path(), |tree| {
        let stored = tree.get(row::row_key(&[0; 8])).unwrap().unwrap();
        tree.insert(row::row_key(b"moved"), stored).unwrap();
    });
    assert!(
        matches!(refusal(dir.path()), StoreError::Corrupt { key: Some(key) } if key.0 == b"moved"),
        "the checksum covers the key"
    );
}

#[test]
fn a_failed_fsync_poisons_the_store_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    put(&mut store, b"alice", b"1").unwrap();
    store.break_fsync_for_test();
    assert!(
        matches!(put(&mut store, b"alice", b"2"), Err(StoreError::Io { doing: "syncing a commit", .. })),
        "the failure is reported once"
    );
    assert!(matches!(put(&mut store, b"alice", b"3"), Err(StoreError::Poisoned)), "and nothing is retried");
    assert!(matches!(store.get(b"alice"), Err(StoreError::Poisoned)), "nothing is served");
    assert!(matches!(store.scan(b"", b"z", 1), Err(StoreError::Poisoned)), "nothing is listed");
    assert!(matches!(store.raw_tree("dht"), Err(StoreError::Poisoned)), "no tree is given out");
}

#[test]
fn a_dead_import_is_not_mistaken_for_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let broken = b"{\"roost_store_export\":1}\n{\"k\":\"61\",\"v\":\"62\"}\n";
    assert!(
        matches!(store.import(&mut &broken[..]), Err(StoreError::Format { line: 3 })),
        "the export has no last line"
    );
    assert!(matches!(store.get(b"a"), Err(StoreError::Poisoned)), "the half-filled store serves nothing");
    drop(store);
    assert!(matches!(refusal(dir.path()), StoreError::ImportUnfinished), "nor does it open again");
}

/// sled never fsyncs the files it makes of large pages, so there must be none, however large the values are.
#[test]
fn sled_makes_no_unsynced_files_of_large_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for round in 0..3_u8 {
        for number in 0..60_u32 {
            let mut batch = Batch::new();
            let mut key = vec![b'k'; 240];
            key.extend(number.to_be_bytes());
            batch.put(key, vec![round; 4096]);
            batch.put(
                [&b"long"[..], &number.to_be_bytes()].concat(),
                vec![round; 8_000 * (1 + (number as usize + round as usize) % 5)],
            );
            store.commit(batch).unwrap();
        }
    }
    drop(store);
    drop(open(dir.path()));
    let files = std::fs::read_dir(dir.path().join("blobs")).map_or(0, Iterator::count);
    assert_eq!(files, 0, "every page is small enough for the log");
}

#[test]
fn other_trees_are_apart_from_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let records = store.raw_tree("dht").unwrap();
    records.insert(b"rk", b"record").unwrap();
    put(&mut store, b"k", b"v").unwrap();
    assert!(matches!(store.raw_tree("roost"), Err(StoreError::ReservedTree)), "the store's own tree is not given out");
    assert_eq!(store.scan(b"", &[0xFF; 9], 9).unwrap().len(), 1, "records are no rows");
    drop(records);
    drop(store);
    let store = open(dir.path());
    assert_eq!(
        store.raw_tree("dht").unwrap().get(b"rk").unwrap().unwrap(),
        b"record",
        "they came to disk with the commit"
    );
}

#[test]
fn a_database_that_a_power_cut_left_unfinished_is_begun_anew_and_one_with_a_commit_never() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledStore::open(dir.path(), SOON).unwrap());
    std::fs::remove_file(dir.path().join("founded")).unwrap();
    std::fs::write(dir.path().join("snap.0000000000000001"), b"torn").unwrap();
    let mut store = SledStore::open(dir.path(), SOON).expect("nothing was acknowledged from it: it is begun anew");
    assert!(dir.path().join("founded").exists(), "and founded");
    let mut batch = Batch::new();
    batch.put("key", "value");
    store.commit(batch).unwrap();
    drop(store);
    std::fs::remove_file(dir.path().join("founded")).unwrap();
    let store = SledStore::open(dir.path(), SOON).unwrap();
    assert_eq!(store.get(b"key").unwrap().as_deref(), Some(&b"value"[..]), "what was committed stays, mark or no mark");
}
