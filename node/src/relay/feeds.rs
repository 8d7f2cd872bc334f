//! Feeds: ours to append to, theirs to hold; both only ever grow.

use super::rows;
use super::{Failure, Step};
use crate::store::{Overlay, Read as _, RowKey, StoreError};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, FeedHead, payload_hash};
use roost_protocol::ids::{FeedId, Hash, MessageId};
use roost_protocol::limits;
use roost_protocol::refusal::{Code, Refusal};

/// Who submitted an entry.
#[derive(Clone, Copy)]
pub(super) struct Author {
    pub account: AccountId,
    pub device: DeviceId,
    pub message: MessageId,
    pub attempt: u32,
    /// Nobody need be woken for it.
    pub silent: bool,
}

pub(super) fn head(rows: &Overlay<'_>, feed: &FeedId) -> Result<FeedHead, StoreError> {
    Ok(rows::get(rows, &rows::feed_head(feed))?.unwrap_or(FeedHead { feed: *feed, seq: 0, hash: Hash([0; 32]) }))
}

/// Appends to a feed that this node writes.
pub(super) fn append(
    step: &mut Step<'_, '_>,
    feed: FeedId,
    kind: EntryKind,
    epoch: u64,
    author: Author,
    payload: Bytes,
) -> Result<u64, StoreError> {
    let head = head(step.rows, &feed)?;
    let header = EntryHeader {
        feed,
        seq: head.seq + 1,
        prev: head.hash,
        kind,
        epoch,
        account: author.account,
        device: author.device,
        message: author.message,
        attempt: author.attempt,
        payload_hash: payload_hash(payload.as_slice()),
    };
    put(step.rows, &Entry { header, payload, silent: author.silent });
    Ok(head.seq + 1)
}

/// Holds an entry of a foreign feed: only the next one, with the chain intact; one that is held already is fine. Where it `begins`,
/// what lies before concerns nobody here, and the chain begins anew.
pub(super) fn hold(step: &mut Step<'_, '_>, entry: &Entry, begins: bool) -> Result<(), Failure> {
    entry.check().map_err(|error| {
        Failure::from(Refusal::never(Code::Malformed, error.to_string(), "send the entry as its writer appended it"))
    })?;
    let head = head(step.rows, &entry.header.feed)?;
    if entry.header.seq <= head.seq {
        // Held already, or its writer's store went back in time and says something else at the same place.
        let held = get(step.rows, &entry.header.feed, entry.header.seq)?;
        return match held {
            Some(held) if held.header != entry.header => Err(rolled_back()),
            Some(_) => Ok(()),
            None => fill(step, entry),
        };
    }
    if begins && entry.header.seq > head.seq + 1 {
        rows::put(step.rows, rows::feed_start(&entry.header.feed), &entry.header.seq);
        put(step.rows, entry);
        return Ok(());
    }
    if entry.header.seq != head.seq + 1 {
        let message = format!("expected position {}, got {}", head.seq + 1, entry.header.seq);
        return Err(Refusal::later(Code::OutOfOrder, message, "send the missing entries first").into());
    }
    if entry.header.prev != head.hash {
        return Err(rolled_back());
    }
    put(step.rows, entry);
    Ok(())
}

/// Nothing else may be held where an entry stands.
pub(super) fn check_standing(step: &Step<'_, '_>, entry: &Entry) -> Result<(), Failure> {
    let held = get(step.rows, &entry.header.feed, entry.header.seq)?;
    if held.is_some_and(|held| held.header != entry.header) { Err(rolled_back()) } else { Ok(()) }
}

/// Holds an entry of the part that a beginning had left out: it concerns somebody else here. It must fit what lies on either side.
fn fill(step: &mut Step<'_, '_>, entry: &Entry) -> Result<(), Failure> {
    let EntryHeader { feed, seq, prev, .. } = entry.header;
    let before = seq.checked_sub(1).map(|seq| get(step.rows, &feed, seq)).transpose()?.flatten();
    let after = get(step.rows, &feed, seq.saturating_add(1))?;
    if before.is_some_and(|before| before.header.hash() != prev)
        || after.is_some_and(|after| after.header.prev != entry.header.hash())
    {
        return Err(rolled_back());
    }
    step.rows.require_absent(rows::entry(&feed, seq));
    rows::put(step.rows, rows::entry(&feed, seq), entry);
    Ok(())
}

fn rolled_back() -> Failure {
    Refusal::never(
        Code::OutOfOrder,
        "the entry does not continue the feed's chain",
        "a feed never rolls back; write under a new incarnation",
    )
    .into()
}

fn put(rows: &mut Overlay<'_>, entry: &Entry) {
    let EntryHeader { feed, seq, .. } = entry.header;
    // A position is written once. If the head lies behind the entries, the store has lost a row: nothing may be appended.
    rows.require_absent(rows::entry(&feed, seq));
    rows::put(rows, rows::entry(&feed, seq), entry);
    rows::put(rows, rows::feed_head(&feed), &FeedHead { feed, seq, hash: entry.header.hash() });
}

/// Entries from `from` on, bounded by number and bytes. A hole is damage: a feed has every position up to its head.
pub(super) fn read(rows: &Overlay<'_>, feed: &FeedId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
    let end = rows::end_of(&rows::key(rows::ENTRY, &[&rows::feed(feed)]));
    let start: u64 = rows::get(rows, &rows::feed_start(feed))?.unwrap_or(1);
    let from = from.max(start);
    let mut bytes = 0;
    let mut entries = Vec::new();
    let found = rows.scan(&rows::entry(feed, from), &end, limit.min(limits::DELIVER_ENTRIES_MAX))?;
    for (next, (key, value)) in (from.clamp(1, u64::MAX / 2)..).zip(found) {
        bytes += value.len();
        if bytes > limits::DELIVER_BYTES_MAX && !entries.is_empty() {
            break;
        }
        let entry: Entry = rows::decode(&key, &value)?;
        if entry.header.seq != next {
            return Err(StoreError::Corrupt { key: Some(RowKey(key)) });
        }
        entries.push(entry);
    }
    Ok(entries)
}

pub(super) fn get(rows: &Overlay<'_>, feed: &FeedId, seq: u64) -> Result<Option<Entry>, StoreError> {
    rows::get(rows, &rows::entry(feed, seq))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::store::{MemoryStore, Store as _};
    use roost_crypto::ids::NodeId;
    use roost_crypto::keys::SecretKey;
    use roost_protocol::ids::{GroupId, Incarnation};

    fn feed() -> FeedId {
        let node = NodeId::of(SecretKey::from_seed(&[7; 32]).public_key());
        FeedId { group: GroupId([1; 32]), node, incarnation: Incarnation([2; 16]) }
    }

    fn append_one(store: &mut MemoryStore) -> Result<(), StoreError> {
        let mut rows = Overlay::new(&*store);
        let author = Author {
            account: AccountId([3; 32]),
            device: DeviceId([4; 32]),
            message: MessageId([5; 16]),
            attempt: 0,
            silent: false,
        };
        let memo = std::sync::Mutex::default();
        let mut step = Step { rows: &mut rows, now_ms: 0, memo: &memo };
        append(&mut step, feed(), EntryKind::Message, 1, author, Bytes(vec![6; 10]))?;
        let batch = rows.into_batch();
        store.commit(batch)
    }

    fn with_three() -> MemoryStore {
        let mut store = MemoryStore::new([0; 16]);
        for _ in 0..3 {
            append_one(&mut store).unwrap();
        }
        store
    }

    #[test]
    fn a_hole_in_a_feed_is_damage_and_is_never_skipped() {
        let mut store = with_three();
        assert_eq!(read(&Overlay::new(&store), &feed(), 1, 9).unwrap().len(), 3, "a whole feed is read");
        let mut batch = crate::store::Batch::new();
        batch.delete(rows::entry(&feed(), 2));
        store.commit(batch).unwrap();
        for from in [1, 2] {
            let found = read(&Overlay::new(&store), &feed(), from, 9);
            assert!(matches!(found, Err(StoreError::Corrupt { .. })), "the hole is noticed from {from}: {found:?}");
        }
        assert_eq!(read(&Overlay::new(&store), &feed(), 3, 9).unwrap().len(), 1, "behind it the feed is read");
    }

    #[test]
    fn what_a_beginning_left_out_is_held_when_it_comes_for_somebody_else() {
        let written = with_three();
        let entry = |seq| get(&Overlay::new(&written), &feed(), seq).unwrap().unwrap();
        let mut store = MemoryStore::new([0; 16]);
        let memo = std::sync::Mutex::default();
        let mut take = |entry: &Entry, begins: bool| {
            let mut rows = Overlay::new(&store);
            let held = hold(&mut Step { rows: &mut rows, now_ms: 0, memo: &memo }, entry, begins);
            let batch = rows.into_batch();
            store.commit(batch).unwrap();
            held.is_ok()
        };
        assert!(take(&entry(3), true), "somebody here begins at the third");
        let mut other = entry(2);
        other.header.attempt += 1;
        assert!(!take(&other, false), "what does not fit the third is refused");
        assert!(take(&entry(2), false) && take(&entry(1), true), "somebody else here is brought what lies before");
        assert!(take(&entry(2), false), "and brought it again");
        let rows = Overlay::new(&store);
        assert!((1..=3).all(|seq| get(&rows, &feed(), seq).unwrap() == Some(entry(seq))), "all of it is held");
        assert_eq!(super::head(&rows, &feed()).unwrap().seq, 3, "and the head is where it was");
    }

    #[test]
    fn a_head_that_lies_behind_its_entries_is_never_appended_to() {
        let mut store = with_three();
        let before = read(&Overlay::new(&store), &feed(), 3, 1).unwrap();
        let mut batch = crate::store::Batch::new();
        batch.delete(rows::feed_head(&feed()));
        store.commit(batch).unwrap();
        assert!(
            matches!(append_one(&mut store), Err(StoreError::Precondition { .. })),
            "no position is written a second time"
        );
        assert_eq!(read(&Overlay::new(&store), &feed(), 3, 1).unwrap(), before, "the entries are what they were");
    }
}
