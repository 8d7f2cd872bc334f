//! Which epochs of which groups are kept to open late messages, and which of them must go.
//!
//! Bookkeeping for both engines; the copies themselves are the engine's rows. A group's copies go by age and by number
//! when it merges; when all copies of the device together are too large, the group that holds most gives its oldest.
//! Nothing expires by itself: a group without a commit keeps its copies until its next one.

use super::{GroupError, Rows, WriteSet};
use crate::bytes::Bytes;
use crate::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a past epoch is kept, in milliseconds: 7 days. Whoever was offline longer asks for the message again.
pub const PAST_EPOCH_MS: u64 = 7 * 24 * 3600 * 1000;
/// Past epochs that are kept of one group.
pub const PAST_EPOCHS_MAX: usize = 64;
/// Copies of past epochs of all groups of a device, in bytes: one of a group of 300 leaves has about 468 KiB.
pub const PAST_EPOCHS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One row of this, in bytes.
const ROW_MAX_BYTES: usize = 1024 * 1024;
/// Row with what each group holds, in bytes; one row a device.
const HOLDINGS: &[u8] = b"past-epochs/holdings";

/// When copies go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub age_ms: u64,
    pub copies: usize,
    pub bytes: u64,
}

impl Bounds {
    /// The bounds of the product.
    pub(super) const PRODUCT: Self =
        Self { age_ms: PAST_EPOCH_MS, copies: PAST_EPOCHS_MAX, bytes: PAST_EPOCHS_BYTES_MAX };
}

/// A copy, as its group's row lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub epoch: u64,
    pub kept_ms: u64,
    pub bytes: u64,
}

/// A copy whose rows the engine deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dropped {
    pub group_id: Vec<u8>,
    pub epoch: u64,
}

/// Lists a new copy of a group and drops what exceeds the bounds, the new one included.
pub(super) fn keep(
    rows: &dyn Rows,
    writes: &mut WriteSet,
    bounds: Bounds,
    group_id: &[u8],
    new: Kept,
) -> Result<Vec<Dropped>, GroupError> {
    let mut dropped = Vec::new();
    let mut holdings: BTreeMap<Bytes, u64> = read(rows, HOLDINGS)?.unwrap_or_default();
    let mut lists = BTreeMap::from([(Bytes(group_id.to_vec()), list(rows, group_id)?)]);
    for kept in lists.values_mut() {
        kept.retain(|copy| copy.epoch != new.epoch);
        kept.push(new);
        while kept.first().is_some_and(|oldest| {
            kept.len() > bounds.copies || new.kept_ms.saturating_sub(oldest.kept_ms) > bounds.age_ms
        }) {
            dropped.push(Dropped { group_id: group_id.to_vec(), epoch: kept.remove(0).epoch });
        }
        holdings.insert(Bytes(group_id.to_vec()), size(kept));
    }
    while holdings.values().sum::<u64>() > bounds.bytes {
        let Some(most) = holdings.iter().max_by_key(|(_, bytes)| **bytes).map(|(group, _)| group.clone()) else {
            break;
        };
        let kept = match lists.remove(&most) {
            Some(kept) => kept,
            None => list(rows, most.as_slice())?,
        };
        if let Some(oldest) = kept.first() {
            dropped.push(Dropped { group_id: most.0.clone(), epoch: oldest.epoch });
        }
        let kept: Vec<Kept> = kept.into_iter().skip(1).collect();
        holdings.insert(most.clone(), size(&kept));
        lists.insert(most, kept);
    }
    for (group, kept) in lists {
        write_list(writes, group.as_slice(), &kept);
    }
    write_holdings(writes, holdings);
    Ok(dropped)
}

/// Whether a copy of the epoch is kept.
pub(super) fn is_kept(rows: &dyn Rows, group_id: &[u8], epoch: u64) -> Result<bool, GroupError> {
    Ok(list(rows, group_id)?.iter().any(|kept| kept.epoch == epoch))
}

/// Notes that opening a message has changed the size of a copy, in bytes: keys of messages that are still missing stay.
pub(super) fn resize(
    rows: &dyn Rows,
    writes: &mut WriteSet,
    group_id: &[u8],
    epoch: u64,
    (before, after): (u64, u64),
) -> Result<(), GroupError> {
    let mut kept = list(rows, group_id)?;
    for copy in kept.iter_mut().filter(|copy| copy.epoch == epoch) {
        copy.bytes = copy.bytes.saturating_sub(before).saturating_add(after);
    }
    let mut holdings: BTreeMap<Bytes, u64> = read(rows, HOLDINGS)?.unwrap_or_default();
    holdings.insert(Bytes(group_id.to_vec()), size(&kept));
    write_list(writes, group_id, &kept);
    write_holdings(writes, holdings);
    Ok(())
}

/// Drops all copies of a group.
pub(super) fn forget(rows: &dyn Rows, writes: &mut WriteSet, group_id: &[u8]) -> Result<Vec<Dropped>, GroupError> {
    let kept = list(rows, group_id)?;
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let mut holdings: BTreeMap<Bytes, u64> = read(rows, HOLDINGS)?.unwrap_or_default();
    holdings.insert(Bytes(group_id.to_vec()), 0);
    write_list(writes, group_id, &[]);
    write_holdings(writes, holdings);
    Ok(kept.iter().map(|copy| Dropped { group_id: group_id.to_vec(), epoch: copy.epoch }).collect())
}

fn size(kept: &[Kept]) -> u64 {
    kept.iter().map(|copy| copy.bytes).sum()
}

/// Copies of a group, oldest first.
fn list(rows: &dyn Rows, group_id: &[u8]) -> Result<Vec<Kept>, GroupError> {
    Ok(read(rows, &list_row(group_id))?.unwrap_or_default())
}

fn list_row(group_id: &[u8]) -> Vec<u8> {
    [b"past-epochs/list/", group_id].concat()
}

fn write_list(writes: &mut WriteSet, group_id: &[u8], kept: &[Kept]) {
    writes.0.insert(list_row(group_id), (!kept.is_empty()).then(|| codec::encode(&kept)));
}

fn write_holdings(writes: &mut WriteSet, mut holdings: BTreeMap<Bytes, u64>) {
    holdings.retain(|_, bytes| *bytes > 0);
    writes.0.insert(HOLDINGS.to_vec(), (!holdings.is_empty()).then(|| codec::encode(&holdings)));
}

fn read<T: DeserializeOwned>(rows: &dyn Rows, key: &[u8]) -> Result<Option<T>, GroupError> {
    rows.row(key).map(|bytes| codec::decode(&bytes, ROW_MAX_BYTES).map_err(|_| GroupError::BadRow)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Store = BTreeMap<Vec<u8>, Vec<u8>>;

    const BOUNDS: Bounds = Bounds { age_ms: 100, copies: 3, bytes: 50 };

    /// Keeps a copy of `bytes` at `now` and tells which (group, epoch) went.
    fn keep_one(rows: &mut Store, group: &[u8], epoch: u64, bytes: u64, now: u64) -> Vec<(Vec<u8>, u64)> {
        let mut writes = WriteSet::default();
        let dropped = keep(rows, &mut writes, BOUNDS, group, Kept { epoch, kept_ms: now, bytes }).unwrap();
        writes.apply_to(rows);
        dropped.into_iter().map(|copy| (copy.group_id, copy.epoch)).collect()
    }

    #[test]
    fn a_group_keeps_so_many_copies() {
        let mut rows = Store::new();
        for epoch in 1..=3 {
            assert!(keep_one(&mut rows, b"g", epoch, 1, epoch).is_empty(), "within the bounds nothing goes");
        }
        assert_eq!(keep_one(&mut rows, b"g", 4, 1, 4), [(b"g".to_vec(), 1)], "one more takes the place of the oldest");
        assert!(!is_kept(&rows, b"g", 1).unwrap() && is_kept(&rows, b"g", 2).unwrap(), "the list says the same");
    }

    #[test]
    fn copies_go_by_age() {
        let mut rows = Store::new();
        keep_one(&mut rows, b"g", 1, 1, 0);
        assert!(keep_one(&mut rows, b"g", 2, 1, 100).is_empty(), "a copy lives its whole time");
        assert_eq!(keep_one(&mut rows, b"g", 3, 1, 101), [(b"g".to_vec(), 1)], "and no longer");
        assert!(keep_one(&mut rows, b"g", 4, 1, 7).is_empty(), "a clock that was set back drops nothing");
    }

    #[test]
    fn the_group_that_holds_most_gives_its_oldest() {
        let mut rows = Store::new();
        keep_one(&mut rows, b"large", 1, 20, 0);
        keep_one(&mut rows, b"large", 2, 20, 0);
        keep_one(&mut rows, b"small", 1, 10, 0);
        let gone = keep_one(&mut rows, b"small", 2, 5, 0);
        assert_eq!(gone, [(b"large".to_vec(), 1)], "a small group does not pay for a large one");
        assert_eq!(keep_one(&mut rows, b"huge", 1, 51, 0), [(b"huge".to_vec(), 1)], "what never fits is not kept");
        assert!(is_kept(&rows, b"small", 1).unwrap(), "and pushes nobody else out");
        let mut writes = WriteSet::default();
        resize(&rows, &mut writes, b"small", 1, (10, 45)).unwrap();
        writes.apply_to(&mut rows);
        let gone = keep_one(&mut rows, b"large", 3, 1, 0);
        assert_eq!(gone, [(b"small".to_vec(), 1)], "what grew when it was used counts as it is");
    }

    #[test]
    fn a_forgotten_group_leaves_no_row() {
        let mut rows = Store::new();
        keep_one(&mut rows, b"g", 1, 1, 0);
        keep_one(&mut rows, b"g", 2, 1, 0);
        let mut writes = WriteSet::default();
        assert_eq!(forget(&rows, &mut writes, b"g").unwrap().len(), 2, "all copies are named");
        writes.apply_to(&mut rows);
        assert!(rows.is_empty(), "and no list stays");
    }
}
