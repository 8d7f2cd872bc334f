//! What the disk below a benchmark takes: fdatasync of 4 KiB appends, in the same directory and the same run.
//!
//! The yardstick of every durable figure. It never writes into a node's files.

use super::BenchError;
use super::machine;
use super::measure::{Disk, Durations};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

/// Appends at a time.
const APPENDS: usize = 200;
/// Bytes of one.
const APPEND_BYTES: usize = 4096;

/// A file of its own, and the samples so far.
pub(super) struct Probe {
    file: File,
    samples: Durations,
}

impl Probe {
    /// Measures the disk below `dir` for the first time.
    pub(super) async fn start(dir: &Path) -> Result<Self, BenchError> {
        let file = OpenOptions::new().create(true).append(true).open(dir.join("fsync-probe"));
        let file = file.map_err(BenchError::io("opening the file of the fsync probe"))?;
        Self { file, samples: Durations::new()? }.again().await
    }

    /// Measures once more: between the parts of a benchmark and behind the last.
    pub(super) async fn again(mut self) -> Result<Self, BenchError> {
        let measured = tokio::task::spawn_blocking(move || {
            for _ in 0..APPENDS {
                self.file.write_all(&[0x5a; APPEND_BYTES])?;
                let start = machine::instant();
                self.file.sync_data()?;
                self.samples.record(start.elapsed());
            }
            Ok(self)
        });
        let measured = measured.await.map_err(std::io::Error::other).and_then(|result| result);
        measured.map_err(BenchError::io("measuring fdatasync"))
    }

    /// Milliseconds.
    pub(super) fn disk(&self) -> Disk {
        self.samples.disk()
    }
}
