//! Damage to the files: bits flipped, files cut short, leftovers of a crash. Each store either refuses, at open or at the row, or gives exactly
//! what was written; it never gives something else, and never less without a word.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conformance::Seeded;
use super::{Batch, KEY_BYTES_MAX, Read, SledStore, Store, StoreError};

const PATIENT: Duration = Duration::from_secs(5);
/// Places that are damaged, one at a time; `make proof` takes more.
const PLACES: u64 = 150;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// Names and contents.
type Files<'a> = Vec<(&'a str, Vec<u8>)>;

/// A store with a history: rows written over, rows deleted, long values, several segments of the log, an engine's snapshot from an earlier
/// life and much that is younger than it. Left as a killed process leaves it, and what it holds.
fn history(dir: &Path) -> Rows {
    let mut seeded = Seeded(5);
    let mut rows = Rows::new();
    let live = tempfile::tempdir().unwrap();
    for (life, batches) in [(0, 60), (1, 120)] {
        let mut store = SledStore::open(live.path(), PATIENT).unwrap();
        for number in 0..batches {
            let mut batch = Batch::new();
            for row in 0..6_u32 {
                let key = format!("row {life} {number:04} {row}").into_bytes();
                let value = seeded.bytes(300 + u64::from(row) * 200);
                batch.put(key.clone(), value.clone());
                rows.insert(key, value);
            }
            let hot = format!("hot {}", number % 5).into_bytes();
            let value = seeded.bytes(100);
            batch.put(hot.clone(), value.clone());
            rows.insert(hot, value);
            if number % 9 == 0 {
                let long = format!("long {}", number % 4).into_bytes();
                let value = seeded.bytes(30_000);
                batch.put(long.clone(), value.clone());
                rows.insert(long, value);
            }
            if number > 10 && number % 3 == 0 {
                let gone = format!("row {life} {:04} 0", number - 10).into_bytes();
                batch.delete(gone.clone());
                rows.remove(&gone);
            }
            store.commit(batch).unwrap();
        }
        if life == 1 {
            // The store is still open: no goodbye of the engine's.
            copy(live.path(), dir);
        }
    }
    rows
}

pub(super) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files that hold something.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0))
        .collect();
    files.sort();
    files
}

/// What became of a damaged store.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Verdict {
    /// It does not open, and says why.
    RefusedAtOpen,
    /// It opens, and refuses the damaged rows.
    RefusedAtRow,
    /// The damage hit nothing that is used.
    Whole,
}

/// Reads everything there is; an error text for what must not be.
fn verdict(dir: &Path, rows: &Rows) -> Result<Verdict, String> {
    let store = match SledStore::open(dir, PATIENT) {
        Ok(store) => store,
        Err(StoreError::Locked | StoreError::OpenTimedOut { .. }) => return Err("it hangs".into()),
        Err(_) => return Ok(Verdict::RefusedAtOpen),
    };
    // The engine may panic over a page that it can't read; in a node that ends the process.
    let mut verdict = Verdict::Whole;
    for (key, value) in rows {
        let name = String::from_utf8_lossy(key);
        match catch_unwind(AssertUnwindSafe(|| store.get(key))) {
            Ok(Ok(Some(found))) if found == *value => {}
            Ok(Ok(Some(_))) => return Err(format!("{name} is served with another value")),
            Ok(Ok(None)) => return Err(format!("{name} is gone without a word")),
            Ok(Err(StoreError::Corrupt { .. } | StoreError::Io { .. } | StoreError::Engine { .. })) | Err(_) => {
                verdict = Verdict::RefusedAtRow;
            }
            Ok(Err(StoreError::Poisoned)) if verdict == Verdict::RefusedAtRow => {}
            Ok(Err(error)) => return Err(format!("{name}: {error}")),
        }
    }
    match catch_unwind(AssertUnwindSafe(|| store.scan(b"", &[0xFF; KEY_BYTES_MAX + 1], usize::MAX))) {
        Ok(Ok(found)) => {
            let found: Rows = found.into_iter().collect();
            if found != *rows {
                let missing = rows.keys().filter(|key| !found.contains_key(*key)).count();
                let more = found.keys().filter(|key| !rows.contains_key(*key)).count();
                return Err(format!("a scan misses {missing} rows and shows {more} that were deleted"));
            }
        }
        Ok(Err(_)) | Err(_) => verdict = Verdict::RefusedAtRow,
    }
    // Closing may panic as well, and the directory is thrown away.
    drop(catch_unwind(AssertUnwindSafe(|| drop(store))));
    Ok(verdict)
}

fn places() -> u64 {
    std::env::var("ROOST_PLACES").map_or(PLACES, |places| places.parse().unwrap())
}

/// Damages one copy a place; prints what became of all of them.
fn damaged_in_many_places(seed: u64, damage: impl Fn(&Path, &mut Seeded) -> String) -> BTreeMap<Verdict, u64> {
    let whole = tempfile::tempdir().unwrap();
    let rows = history(whole.path());
    assert_eq!(verdict_of_copy(whole.path(), &rows, |_| String::new()).1, Ok(Verdict::Whole), "undamaged it is whole");
    let mut seeded = Seeded(seed);
    let mut verdicts: BTreeMap<Verdict, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for place in 0..places() {
        let (what, found) = verdict_of_copy(whole.path(), &rows, |dir| damage(dir, &mut seeded));
        match found {
            Ok(verdict) => *verdicts.entry(verdict).or_default() += 1,
            Err(why) => failures.push(format!("seed {seed}, place {place}, {what}: {why}")),
        }
    }
    println!("damage: seed {seed}, {} places, {verdicts:?}", places());
    assert!(failures.is_empty(), "{} of {} were not noticed:\n{}", failures.len(), places(), failures.join("\n"));
    verdicts
}

fn verdict_of_copy(
    whole: &Path,
    rows: &Rows,
    damage: impl FnOnce(&Path) -> String,
) -> (String, Result<Verdict, String>) {
    let dir = tempfile::tempdir().unwrap();
    copy(whole, dir.path());
    let what = damage(dir.path());
    (what, verdict(dir.path(), rows))
}

/// A file of the directory and its bytes: the database in two of three cases, any other in the rest.
fn victim(dir: &Path, seeded: &mut Seeded) -> (PathBuf, String, Vec<u8>) {
    let all = files(dir);
    let path = match seeded.below(3) {
        0 => all[usize::try_from(seeded.below(all.len() as u64)).unwrap()].clone(),
        _ => dir.join("db"),
    };
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let bytes = std::fs::read(&path).unwrap();
    (path, name, bytes)
}

#[test]
fn a_bit_flipped_anywhere_is_refused_or_harmless() {
    let verdicts = damaged_in_many_places(11, |dir, seeded| {
        let (path, name, mut bytes) = victim(dir, seeded);
        let at = usize::try_from(seeded.below(bytes.len() as u64)).unwrap();
        let bit = seeded.below(8);
        bytes[at] ^= 1 << bit;
        std::fs::write(path, bytes).unwrap();
        format!("bit {bit} of byte {at} of {name}")
    });
    assert!(verdicts.contains_key(&Verdict::RefusedAtOpen), "some damage is noticed at open: {verdicts:?}");
}

#[test]
fn a_sector_of_zeroes_anywhere_is_refused_or_harmless() {
    let verdicts = damaged_in_many_places(13, |dir, seeded| {
        let (path, name, mut bytes) = victim(dir, seeded);
        let sector = usize::try_from(seeded.below(bytes.len().div_ceil(512) as u64)).unwrap();
        let end = bytes.len().min((sector + 1) * 512);
        bytes[sector * 512..end].fill(0);
        std::fs::write(path, bytes).unwrap();
        format!("sector {sector} of {name}")
    });
    assert!(verdicts.contains_key(&Verdict::RefusedAtOpen), "some damage is noticed at open: {verdicts:?}");
}

#[test]
fn a_file_cut_anywhere_is_refused_or_harmless() {
    let verdicts = damaged_in_many_places(12, |dir, seeded| {
        let (path, name, bytes) = victim(dir, seeded);
        let length = usize::try_from(seeded.below(bytes.len() as u64)).unwrap();
        std::fs::write(path, &bytes[..length]).unwrap();
        format!("{name} cut from {} to {length} bytes", bytes.len())
    });
    assert!(verdicts.contains_key(&Verdict::RefusedAtOpen), "some damage is noticed at open: {verdicts:?}");
}

#[test]
fn leftovers_of_a_crash_are_opened_over_without_repair() {
    let whole = tempfile::tempdir().unwrap();
    let rows = history(whole.path());
    let snapshot = files(whole.path()).into_iter().find(|path| path.to_string_lossy().contains("snap.")).unwrap();
    let snapshot = std::fs::read(snapshot).unwrap();
    let torn = snapshot[..snapshot.len() / 2].to_vec();
    let leftovers: &[(&str, Files<'_>)] = &[
        ("an empty snapshot", vec![("snap.FFFFFFFF00000000.generating", Vec::new())]),
        ("half a snapshot", vec![("snap.0000000000FFFFFF.generating", torn.clone())]),
        ("a whole one before its rename", vec![("snap.0000000000FFFFFF.generating", snapshot.clone())]),
        (
            "several",
            vec![
                ("snap.0000000000000001.generating", torn.clone()),
                ("snap.0000000000FFFFFF.generating", Vec::new()),
                ("snap.FFFFFFFF00000000.generating", vec![0; 4096]),
            ],
        ),
        (
            "guard files before their rename",
            vec![("version.tmp", b"9".to_vec()), ("incarnation.tmp", vec![1; 3]), ("tail.tmp", Vec::new())],
        ),
    ];
    for (what, names) in leftovers {
        let (_, found) = verdict_of_copy(whole.path(), &rows, |dir| {
            for (name, bytes) in names {
                std::fs::write(dir.join(name), bytes).unwrap();
            }
            String::new()
        });
        assert_eq!(found, Ok(Verdict::Whole), "{what}: every row is there");
    }
}
