//! Feeds: ours to append to, theirs to hold; both only ever grow.

use super::rows;
use super::{Failure, Step};
use crate::store::{Overlay, Read as _, StoreError};
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
    put(step.rows, &Entry { header, payload });
    Ok(head.seq + 1)
}

/// Holds an entry of a foreign feed: only the next one, with the chain intact; one that is held already is fine.
pub(super) fn hold(step: &mut Step<'_, '_>, entry: &Entry) -> Result<(), Failure> {
    entry.check().map_err(|error| {
        Failure::from(Refusal::never(Code::Malformed, error.to_string(), "send the entry as its writer appended it"))
    })?;
    let head = head(step.rows, &entry.header.feed)?;
    if entry.header.seq <= head.seq {
        // Held already, or its writer's store went back in time and says something else at the same place.
        let held = get(step.rows, &entry.header.feed, entry.header.seq)?;
        return match held {
            Some(held) if held.header != entry.header => Err(rolled_back()),
            _ => Ok(()),
        };
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
    rows::put(rows, rows::entry(&feed, seq), entry);
    rows::put(rows, rows::feed_head(&feed), &FeedHead { feed, seq, hash: entry.header.hash() });
}

/// Entries from `from` on, bounded by number and bytes.
pub(super) fn read(rows: &Overlay<'_>, feed: &FeedId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
    let end = rows::end_of(&rows::key(rows::ENTRY, &[&rows::feed(feed)]));
    let mut bytes = 0;
    let mut entries = Vec::new();
    for (key, value) in rows.scan(&rows::entry(feed, from), &end, limit.min(limits::DELIVER_ENTRIES_MAX))? {
        bytes += value.len();
        if bytes > limits::DELIVER_BYTES_MAX && !entries.is_empty() {
            break;
        }
        entries.push(rows::decode(&key, &value)?);
    }
    Ok(entries)
}

pub(super) fn get(rows: &Overlay<'_>, feed: &FeedId, seq: u64) -> Result<Option<Entry>, StoreError> {
    rows::get(rows, &rows::entry(feed, seq))
}
