//! Commits the batches of `chronicle` to the store in a directory and prints what a node would tell others: `opened N` (what it found, and
//! would serve) and `committed N`. A story runs it under a tracer and cuts its life short.
//!
//! `store_writer DIR SEED BATCHES (close|abort)`: `close` ends it properly, `abort` kills it in the middle of a further batch.

use roost_node::store::{Batch, Read, SledStore, Store, StoreError};
use roost_tests::chronicle::{COUNT, batch};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Why it did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The arguments are not the four above.
    #[error("usage: store_writer DIR SEED BATCHES (close|abort)")]
    Usage,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Standard output failed.
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, seed, batches, end] = arguments.as_slice() else { return Err(Failure::Usage) };
    let (Ok(seed), Ok(batches)) = (seed.parse::<u64>(), batches.parse::<u64>()) else { return Err(Failure::Usage) };
    let mut store = SledStore::open(Path::new(dir), Duration::from_secs(5))?;
    let mut last = store.get(COUNT)?.and_then(|count| count.try_into().ok()).map_or(0, u64::from_be_bytes);
    tell("opened", last)?;
    for _ in 0..batches {
        last += 1;
        commit(&mut store, seed, last)?;
        tell("committed", last)?;
    }
    if end == "abort" {
        // Another thread dies while this one commits: the batches after the last word may be there in part, on disk or not.
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(1 + seed % 7));
            std::process::abort();
        });
        loop {
            last += 1;
            commit(&mut store, seed, last)?;
            tell("committed", last)?;
            if killer.is_finished() {
                break;
            }
        }
    }
    Ok(())
}

fn commit(store: &mut SledStore, seed: u64, number: u64) -> Result<(), StoreError> {
    let mut next = Batch::new();
    for (key, written) in batch(seed, number) {
        match written {
            Some(value) => next.put(key, value),
            None => next.delete(key),
        }
    }
    store.commit(next)
}

/// One system call a line, so that its place in the trace is the moment at which others know.
fn tell(what: &str, number: u64) -> Result<(), Failure> {
    Ok(std::io::stdout().write_all(format!("{what} {number}\n").as_bytes())?)
}
