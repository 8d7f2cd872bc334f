//! A disk that lost its power: of what was not synced, any part may be there.
//!
//! The model: the bytes of a file are safe once an fsync or fdatasync of it that began after the write has returned; `sync_file_range` is
//! worth nothing. Of younger writes each 512-byte sector is there or not, independently of all others. Names (create, rename, unlink) are safe
//! after an fsync of the directory; of the younger ones a prefix is there, as on a journalling file system.

use super::trace::{Inode, Operation};
use roost_tests::chronicle::Seeded;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const SECTOR: usize = 512;

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// Nothing is there.
    Lost,
    /// All is there: as after the death of the process alone.
    Kept,
    /// Each write is there or not.
    Some,
    /// Each sector of each write is there or not.
    Torn,
}

/// The directory as it is found after a cut, and the last word that the process had said.
pub struct Remains {
    pub files: BTreeMap<String, Vec<u8>>,
    pub directories: BTreeSet<String>,
    pub told: u64,
}

/// Cuts the power after the first `count` operations.
pub fn cut(operations: &[Operation], count: usize, fate: Fate, seeded: &mut Seeded) -> Remains {
    let before = &operations[..count];
    let mut synced: BTreeMap<Inode, usize> = BTreeMap::new();
    let mut directory_synced = 0;
    let mut told = 0;
    for operation in before {
        match operation {
            Operation::SyncFile { inode, began } => {
                let safe = synced.entry(*inode).or_default();
                *safe = (*began).max(*safe);
            }
            Operation::SyncDirectory { began } => directory_synced = directory_synced.max(*began),
            Operation::Told(number) => told = *number,
            _ => {}
        }
    }
    let mut contents: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
    let mut names: BTreeMap<String, Inode> = BTreeMap::new();
    let mut directories = BTreeSet::new();
    // How many of the younger changes of names are there.
    let young = before[directory_synced.min(count)..].iter().filter(|operation| is_name(operation)).count() as u64;
    let mut kept_names = match fate {
        Fate::Lost => 0,
        Fate::Kept => young,
        Fate::Some | Fate::Torn => seeded.below(young + 1),
    };
    for (number, operation) in before.iter().enumerate() {
        if is_name(operation) && number >= directory_synced {
            if kept_names == 0 {
                continue;
            }
            kept_names -= 1;
        }
        match operation {
            Operation::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Operation::Mkdir { name } => {
                directories.insert(name.clone());
            }
            Operation::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Operation::Unlink { name } => {
                names.remove(name);
            }
            Operation::Write { inode, offset, bytes } => {
                let safe = number < synced.get(inode).copied().unwrap_or(0);
                let content = contents.entry(*inode).or_default();
                let offset = usize::try_from(*offset).unwrap();
                if safe || survives(fate, seeded) {
                    put(content, offset, bytes);
                } else if matches!(fate, Fate::Torn) {
                    tear(content, offset, bytes, seeded);
                }
            }
            Operation::Truncate { inode, length } => {
                let safe = number < synced.get(inode).copied().unwrap_or(0);
                if safe || survives(fate, seeded) {
                    contents.entry(*inode).or_default().resize(usize::try_from(*length).unwrap(), 0);
                }
            }
            Operation::SyncFile { .. } | Operation::SyncDirectory { .. } | Operation::Told(_) => {}
        }
    }
    let files =
        names.into_iter().map(|(name, inode)| (name, contents.get(&inode).cloned().unwrap_or_default())).collect();
    Remains { files, directories, told }
}

/// Lays the remains down in an empty directory.
pub fn lay_down(remains: &Remains, root: &Path) {
    for name in &remains.directories {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    for (name, content) in &remains.files {
        std::fs::write(root.join(name), content).unwrap();
    }
}

const fn is_name(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Create { .. } | Operation::Mkdir { .. } | Operation::Rename { .. } | Operation::Unlink { .. }
    )
}

fn survives(fate: Fate, seeded: &mut Seeded) -> bool {
    match fate {
        Fate::Lost => false,
        Fate::Kept => true,
        Fate::Some => seeded.below(2) == 0,
        Fate::Torn => seeded.below(4) == 0,
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// Writes some sectors; sectors are those of the file, not of the write.
fn tear(content: &mut Vec<u8>, offset: usize, bytes: &[u8], seeded: &mut Seeded) {
    let mut at = 0;
    while at < bytes.len() {
        let next = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
        if seeded.below(2) == 0 {
            put(content, offset + at, &bytes[at..at + next]);
        }
        at += next;
    }
}
