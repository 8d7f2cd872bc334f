//! The power goes: what was called durable is there, whole, and the store opens without repair.
//!
//! Nothing here pulls a plug. A writer runs under `strace`, which records every byte it writes and every sync; then the directory is built
//! anew as a disk could hold it after a cut at a random moment (see `disk.rs`), and the store is opened on it.

mod disk;
mod trace;

use disk::{Fate, cut, lay_down};
use roost_node::store::{Read as _, SledStore};
use roost_tests::chronicle::{Rows, Seeded, apply, rows_after};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use trace::{CALLS, Operation, Recorder};

const PATIENCE: Duration = Duration::from_secs(5);
/// About as many operations does it take to open a store and to commit a first batch.
const OPENING: u64 = 40;
/// Cuts of one life.
const CUTS: u64 = 100;

/// A life of four processes: one ends properly, three are killed. Gives the operations, and where each process but the first begins.
fn record(seed: u64, root: &Path) -> (Vec<Operation>, Vec<usize>) {
    let store = root.join("store");
    std::fs::create_dir(&store).unwrap();
    let mut recorder = Recorder::new(&store);
    let writer = crate::roost::binary().with_file_name("examples").join("store_writer");
    assert!(writer.exists(), "{} is missing: build the workspace with all targets first", writer.display());
    let mut starts = Vec::new();
    for (life, (batches, end)) in [(60, "close"), (40, "abort"), (20, "abort"), (20, "abort")].into_iter().enumerate() {
        let trace = root.join(format!("trace {life}"));
        let output = Command::new("strace")
            .args(["-f", "-y", "-xx", "-s", "20000000", "-e", CALLS, "-o"])
            .arg(&trace)
            .arg(&writer)
            .arg(&store)
            .args([seed.to_string(), batches.to_string(), end.to_owned()])
            .output()
            .unwrap();
        assert_eq!(output.status.success(), end == "close", "a life ends as it should: {output:?}");
        if life > 0 {
            starts.push(recorder.operations.len());
        }
        recorder.read(&std::fs::read_to_string(&trace).unwrap());
        std::fs::remove_file(trace).unwrap();
    }
    (recorder.operations, starts)
}

/// Opens what a cut left; the rows must be those after the last batch told, or after one more.
fn check(operations: &[Operation], at: usize, fate: Fate, seed: u64, seeded: &mut Seeded) -> Result<(), String> {
    let remains = cut(operations, at, fate, seeded);
    let dir = tempfile::tempdir().unwrap();
    lay_down(&remains, dir.path());
    let store = SledStore::open(dir.path(), PATIENCE).map_err(|error| format!("it does not open: {error}"))?;
    let found = store.scan(b"", &[0xFF; 257], usize::MAX).map_err(|error| format!("it does not read: {error}"))?;
    let found: Rows = found.into_iter().collect();
    let mut expected = rows_after(seed, remains.told);
    if found == expected {
        return Ok(());
    }
    apply(&mut expected, seed, remains.told + 1);
    if found == expected {
        return Ok(());
    }
    let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
    let other = found.iter().filter(|(key, value)| expected.get(*key) != Some(value)).count();
    Err(format!("{} were durable; against one more, {missing} rows miss and {other} differ", remains.told))
}

#[test]
fn a_power_cut_at_any_moment_loses_no_batch_that_was_called_durable() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing: `make setup` installs it");
        eprintln!("SKIPPED: strace is not installed; nothing was shown about power cuts");
        return;
    }
    let cuts = std::env::var("ROOST_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let start = std::time::Instant::now();
    for life in 0..cuts.div_ceil(CUTS) {
        let seed = 1 + life;
        let root = tempfile::tempdir().unwrap();
        let (operations, starts) = record(seed, root.path());
        let syncs = operations.iter().filter(|operation| matches!(operation, Operation::SyncFile { .. })).count();
        assert!(syncs >= 140, "seed {seed}: each batch was synced, or the trace was not understood: {syncs} syncs");
        let last = operations.iter().rev().find_map(|operation| match operation {
            Operation::Told(number) => Some(*number),
            _ => None,
        });
        assert!(last.is_some_and(|last| last >= 140), "seed {seed}: the life was told: {last:?}");
        // The whole trace, all of it kept, is what really lies on this disk: the model understands the calls.
        let mut seeded = Seeded(seed);
        let end = operations.len();
        assert_eq!(check(&operations, end, Fate::Kept, seed, &mut seeded), Ok(()), "seed {seed}: the end of the life");
        let mut failures = Vec::new();
        for number in 0..CUTS {
            // A third of the cuts while a store is opened after a kill: then sled reads what was never synced.
            let at = match number % 3 {
                0 => starts[seeded.below(starts.len() as u64) as usize] + seeded.below(OPENING) as usize,
                _ => seeded.below(end as u64 + 1) as usize,
            };
            let fate = [Fate::Torn, Fate::Some, Fate::Torn, Fate::Lost][(number % 4) as usize];
            if let Err(why) = check(&operations, at, fate, seed, &mut seeded) {
                failures.push(format!("seed {seed}, cut {number} after operation {at} of {end}, {fate:?}: {why}"));
            }
        }
        assert!(failures.is_empty(), "{} of {CUTS} cuts lost something:\n{}", failures.len(), failures.join("\n"));
    }
    println!("power: {cuts} cuts, 0 lost, {} s", start.elapsed().as_secs());
}

/// The same life, but nothing is ever synced: the harness must see the loss, or it would see none.
#[test]
fn a_life_without_fsync_is_seen_to_lose_batches() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing: `make setup` installs it");
        eprintln!("SKIPPED: strace is not installed; nothing was shown about power cuts");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let seed = 7;
    let mut opened = false;
    let without: Vec<Operation> = record(seed, root.path())
        .0
        .into_iter()
        .map(|operation| match operation {
            // Opening may sync; no commit does.
            Operation::Told(number) => {
                opened = true;
                Operation::Told(number)
            }
            Operation::SyncFile { inode, .. } if opened => Operation::SyncFile { inode, began: 0 },
            other => other,
        })
        .collect();
    let mut seeded = Seeded(seed);
    let lost = (0..20)
        .filter(|_| {
            let at = without.len() / 2 + seeded.below(without.len() as u64 / 2) as usize;
            check(&without, at, Fate::Lost, seed, &mut seeded).is_err()
        })
        .count();
    assert_eq!(lost, 20, "every cut loses what was never synced");
}
