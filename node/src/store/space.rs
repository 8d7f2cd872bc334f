//! Free space: whether the disk still has room for what a node may be asked to keep.
//!
//! A node that stops taking new messages while it can still write goes on delivering, and comes back by itself when there is room; a disk
//! that is really full is a failed write, which ends the process. It never deletes anything and reserves no file: the floor does
//! what a reserved file would, and needs none of it written. See docs/decisions/0004.

use std::io;
use std::path::Path;

use super::BATCH_BYTES_MAX;

/// Below this many free bytes nothing is taken in: four of the largest batches, which also cover what the engine writes for its own sake.
pub const FREE_BYTES_MIN: u64 = 4 * BATCH_BYTES_MAX as u64;
/// Of a larger disk this share must be free, one part in that many: 5 %.
const FREE_SHARE: u64 = 20;
/// But no more than this is asked of a very large disk: 4 GiB.
const FREE_BYTES_ENOUGH: u64 = 4 * 1024 * 1024 * 1024;
/// Room beyond the floor before new messages are taken again, so that one batch does not end it at once.
const MARGIN: u64 = BATCH_BYTES_MAX as u64;

/// Free and all bytes of the file system that holds a directory, as an unprivileged process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes of the whole.
    pub total: u64,
}

impl Space {
    /// Asks the file system (`statvfs`, about a microsecond). On a system without that call there is always room.
    ///
    /// # Errors
    /// The system's.
    pub fn of(dir: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        {
            let found = rustix::fs::statvfs(dir)?;
            Ok(Self {
                free: found.f_bavail.saturating_mul(found.f_frsize),
                total: found.f_blocks.saturating_mul(found.f_frsize),
            })
        }
        #[cfg(not(unix))]
        {
            let _ = dir;
            Ok(Self { free: u64::MAX, total: u64::MAX })
        }
    }

    /// The free bytes below which nothing new is taken in.
    #[must_use]
    pub fn floor(&self) -> u64 {
        (self.total / FREE_SHARE).clamp(FREE_BYTES_MIN, FREE_BYTES_ENOUGH)
    }

    /// Whether new things must be refused; `was_low` is what the last look gave.
    #[must_use]
    pub fn is_low(&self, was_low: bool) -> bool {
        let margin = if was_low { MARGIN } else { 0 };
        self.free < self.floor().saturating_add(margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const GIB: u64 = 1024 * MIB;

    #[test]
    fn the_floor_is_five_percent_between_64_mib_and_4_gib() {
        let floor = |total| Space { free: 0, total }.floor();
        assert_eq!(floor(100 * MIB), 64 * MIB, "a small disk needs room for four batches");
        assert_eq!(floor(10 * GIB), 512 * MIB, "a usual one five percent");
        assert_eq!(floor(20_000 * GIB), 4 * GIB, "a very large one does not leave a terabyte unused");
    }

    #[test]
    fn what_was_low_needs_a_margin_to_be_well_again() {
        let space = |free| Space { free, total: GIB };
        assert!(space(64 * MIB - 1).is_low(false), "below the floor is low");
        assert!(!space(64 * MIB).is_low(false), "the floor itself is enough");
        assert!(space(79 * MIB).is_low(true), "just above it is not enough to go back");
        assert!(!space(80 * MIB).is_low(true), "a batch above it is");
    }

    #[test]
    fn this_disk_has_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::of(dir.path()).unwrap();
        assert!(space.total > 0 && space.free <= space.total, "the file system answers: {space:?}");
        assert!(Space::of(Path::new("/nowhere/at/all")).is_err(), "a directory that is not there has none");
    }
}
