//! Which epochs of which groups are kept to open late messages, and which of them must go.
//!
//! Bookkeeping for both engines; the copies themselves are the engine's rows. A group's copies go by age and by number
//! when it merges; when all copies of the device together are too large, the group that holds most gives its oldest.
//! Nothing expires by itself: a group without a commit keeps its copies until its next one.
//!
//! A group's list is cut into pages, so that a merge or a late message writes one of them and not the whole list.

use super::{GroupError, Rows, WriteSet};
use crate::bytes::Bytes;
use crate::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a past epoch is kept, in milliseconds: 7 days. Whoever was offline longer asks for the message again.
pub const PAST_EPOCH_MS: u64 = 7 * 24 * 3600 * 1000;
/// Past epochs that are kept of one group: two commits a minute for a day's outage. What a large group may keep is
/// bounded by [`PAST_EPOCHS_BYTES_MAX`] before that.
pub const PAST_EPOCHS_MAX: usize = 2_048;
/// Copies of past epochs of all groups of a device, in bytes.
pub const PAST_EPOCHS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One row of this, in bytes.
const ROW_MAX_BYTES: usize = 1024 * 1024;
/// Epochs of one page of a group's list.
const PAGE_EPOCHS: u64 = 64;
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

/// A copy, as a page of its group's list has it.
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

/// What a group's index says of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Page {
    copies: u64,
    bytes: u64,
    oldest_ms: u64,
}

/// The list of one group: its index, and the pages that were looked at.
struct List<'a> {
    rows: &'a dyn Rows,
    group_id: Vec<u8>,
    index: BTreeMap<u64, Page>,
    pages: BTreeMap<u64, Vec<Kept>>,
}

impl<'a> List<'a> {
    fn read(rows: &'a dyn Rows, group_id: &[u8]) -> Result<Self, GroupError> {
        let index = read(rows, &index_row(group_id))?.unwrap_or_default();
        Ok(Self { rows, group_id: group_id.to_vec(), index, pages: BTreeMap::new() })
    }

    fn copies(&self) -> u64 {
        self.index.values().map(|page| page.copies).sum()
    }

    fn bytes(&self) -> u64 {
        self.index.values().map(|page| page.bytes).sum()
    }

    /// The copies of a page, by epoch.
    fn page(&mut self, number: u64) -> Result<&mut Vec<Kept>, GroupError> {
        let page = match self.pages.remove(&number) {
            Some(page) => page,
            None => read(self.rows, &page_row(&self.group_id, number))?.unwrap_or_default(),
        };
        Ok(self.pages.entry(number).or_insert(page))
    }

    fn insert(&mut self, new: Kept) -> Result<(), GroupError> {
        let number = new.epoch / PAGE_EPOCHS;
        let page = self.page(number)?;
        page.retain(|copy| copy.epoch != new.epoch);
        page.push(new);
        page.sort_by_key(|copy| copy.epoch);
        self.count(number);
        Ok(())
    }

    /// Takes the oldest epoch out.
    fn pop(&mut self) -> Result<Option<Dropped>, GroupError> {
        let Some(number) = self.index.keys().next().copied() else { return Ok(None) };
        let page = self.page(number)?;
        // A page that the index names and that is empty is damage; it must not be asked for again and again.
        let dropped = if page.is_empty() { None } else { Some(page.remove(0).epoch) };
        self.count(number);
        Ok(dropped.map(|epoch| Dropped { group_id: self.group_id.clone(), epoch }))
    }

    /// Takes out what was kept for longer than `age_ms`.
    fn expire(&mut self, age_ms: u64, now_ms: u64) -> Result<Vec<Dropped>, GroupError> {
        let is_old = |kept_ms: u64| now_ms.saturating_sub(kept_ms) > age_ms;
        let numbers: Vec<u64> =
            self.index.iter().filter(|(_, page)| is_old(page.oldest_ms)).map(|(number, _)| *number).collect();
        let mut dropped = Vec::new();
        for number in numbers {
            let group_id = self.group_id.clone();
            let page = self.page(number)?;
            let old = page.iter().filter(|copy| is_old(copy.kept_ms));
            dropped.extend(old.map(|copy| Dropped { group_id: group_id.clone(), epoch: copy.epoch }));
            page.retain(|copy| !is_old(copy.kept_ms));
            self.count(number);
        }
        Ok(dropped)
    }

    /// Makes the index say what the page holds.
    fn count(&mut self, number: u64) {
        let page = self.pages.get(&number).map(Vec::as_slice).unwrap_or_default();
        match page.iter().map(|copy| copy.kept_ms).min() {
            Some(oldest_ms) => {
                let bytes = page.iter().map(|copy| copy.bytes).sum();
                self.index.insert(number, Page { copies: page.len() as u64, bytes, oldest_ms });
            }
            None => drop(self.index.remove(&number)),
        }
    }

    /// Writes what was looked at.
    fn write(self, writes: &mut WriteSet) {
        let index = (!self.index.is_empty()).then(|| codec::encode(&self.index));
        writes.0.insert(index_row(&self.group_id), index);
        for (number, page) in self.pages {
            let row = (!page.is_empty()).then(|| codec::encode(&page));
            writes.0.insert(page_row(&self.group_id, number), row);
        }
    }
}

/// Lists a new copy of a group and drops what exceeds the bounds, the new one included.
pub(super) fn keep(
    rows: &dyn Rows,
    writes: &mut WriteSet,
    bounds: Bounds,
    group_id: &[u8],
    new: Kept,
) -> Result<Vec<Dropped>, GroupError> {
    let mut holdings: BTreeMap<Bytes, u64> = read(rows, HOLDINGS)?.unwrap_or_default();
    let mut list = List::read(rows, group_id)?;
    list.insert(new)?;
    let mut dropped = list.expire(bounds.age_ms, new.kept_ms)?;
    while list.copies() > bounds.copies as u64 {
        dropped.extend(list.pop()?);
    }
    holdings.insert(Bytes(group_id.to_vec()), list.bytes());
    let mut lists = BTreeMap::from([(Bytes(group_id.to_vec()), list)]);
    while holdings.values().sum::<u64>() > bounds.bytes {
        let Some(most) = holdings.iter().max_by_key(|(_, bytes)| **bytes).map(|(group, _)| group.clone()) else {
            break;
        };
        let mut list = match lists.remove(&most) {
            Some(list) => list,
            None => List::read(rows, most.as_slice())?,
        };
        dropped.extend(list.pop()?);
        holdings.insert(most.clone(), list.bytes());
        lists.insert(most, list);
    }
    for (_, list) in lists {
        list.write(writes);
    }
    write_holdings(writes, holdings);
    Ok(dropped)
}

/// Whether a copy of the epoch is kept.
pub(super) fn is_kept(rows: &dyn Rows, group_id: &[u8], epoch: u64) -> Result<bool, GroupError> {
    let page: Option<Vec<Kept>> = read(rows, &page_row(group_id, epoch / PAGE_EPOCHS))?;
    Ok(page.is_some_and(|page| page.iter().any(|kept| kept.epoch == epoch)))
}

/// Notes that opening a message has changed the size of a copy, in bytes: keys of messages that are still missing stay.
pub(super) fn resize(
    rows: &dyn Rows,
    writes: &mut WriteSet,
    group_id: &[u8],
    epoch: u64,
    (before, after): (u64, u64),
) -> Result<(), GroupError> {
    let (mut list, number) = (List::read(rows, group_id)?, epoch / PAGE_EPOCHS);
    for copy in list.page(number)?.iter_mut().filter(|copy| copy.epoch == epoch) {
        copy.bytes = copy.bytes.saturating_sub(before).saturating_add(after);
    }
    list.count(number);
    let mut holdings: BTreeMap<Bytes, u64> = read(rows, HOLDINGS)?.unwrap_or_default();
    holdings.insert(Bytes(group_id.to_vec()), list.bytes());
    list.write(writes);
    write_holdings(writes, holdings);
    Ok(())
}

/// Drops all copies of a group.
pub(super) fn forget(rows: &dyn Rows, writes: &mut WriteSet, group_id: &[u8]) -> Result<Vec<Dropped>, GroupError> {
    let mut list = List::read(rows, group_id)?;
    let mut dropped = Vec::new();
    while !list.index.is_empty() {
        dropped.extend(list.pop()?);
    }
    if dropped.is_empty() {
        return Ok(dropped);
    }
    list.write(writes);
    let mut holdings: BTreeMap<Bytes, u64> = read(rows, HOLDINGS)?.unwrap_or_default();
    holdings.insert(Bytes(group_id.to_vec()), 0);
    write_holdings(writes, holdings);
    Ok(dropped)
}

fn index_row(group_id: &[u8]) -> Vec<u8> {
    [b"past-epochs/index/", group_id].concat()
}

/// Length before id: no group's pages have the name of another's.
fn page_row(group_id: &[u8], number: u64) -> Vec<u8> {
    let length = (group_id.len() as u64).to_be_bytes();
    [b"past-epochs/page/".as_slice(), &length, group_id, &number.to_be_bytes()].concat()
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
    fn a_long_list_is_kept_in_pages_and_goes_from_its_beginning() {
        let mut rows = Store::new();
        let bounds = Bounds { age_ms: 1_000, copies: 300, bytes: 10_000 };
        for epoch in 0..1_000_u64 {
            let mut writes = WriteSet::default();
            let new = Kept { epoch, kept_ms: epoch, bytes: 1 };
            let dropped = keep(&rows, &mut writes, bounds, b"g", new).unwrap();
            let gone: Vec<u64> = dropped.iter().map(|copy| copy.epoch).collect();
            let expected: Vec<u64> = epoch.checked_sub(300).into_iter().collect();
            assert_eq!(gone, expected, "the oldest makes room, epoch {epoch}");
            let largest = writes.0.values().flatten().map(Vec::len).max().unwrap();
            assert!(largest < 4_000, "no row grows with the list, has {largest} bytes");
            assert!(writes.0.len() <= 4, "and few are written");
            writes.apply_to(&mut rows);
        }
        for epoch in [0, 699] {
            assert!(!is_kept(&rows, b"g", epoch).unwrap(), "{epoch} is gone");
        }
        for epoch in [700, 831, 999] {
            assert!(is_kept(&rows, b"g", epoch).unwrap(), "{epoch} is kept");
        }
        let mut writes = WriteSet::default();
        let new = Kept { epoch: 1_000, kept_ms: 1_900, bytes: 1 };
        let dropped = keep(&rows, &mut writes, bounds, b"g", new).unwrap();
        assert_eq!(dropped.len(), 200, "those from before 900 are too old, across pages");
        writes.apply_to(&mut rows);
        let mut writes = WriteSet::default();
        assert_eq!(forget(&rows, &mut writes, b"g").unwrap().len(), 101, "the rest is named when the group goes");
        writes.apply_to(&mut rows);
        assert!(rows.is_empty(), "and no page stays");
    }

    #[test]
    fn a_copy_of_a_branch_goes_by_its_age_though_its_epoch_is_high() {
        let mut rows = Store::new();
        keep_one(&mut rows, b"g", 90, 1, 0);
        keep_one(&mut rows, b"g", 5, 1, 60);
        assert_eq!(keep_one(&mut rows, b"g", 6, 1, 101), [(b"g".to_vec(), 90)], "the one kept first is too old");
        assert!(is_kept(&rows, b"g", 5).unwrap(), "the other is not");
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
