//! Inboxes: per account, references to feed entries in the order in which its devices must see them.

use super::feeds;
use super::rows;
use super::{ConnectionId, Failure, Note, Output, Relay, Step};
use crate::store::{Overlay, Read as _, RowKey, StoreError};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::feed::Entry;
use roost_protocol::ids::{FeedId, Incarnation};
use roost_protocol::limits;
use roost_protocol::socket::ServerFrame;

/// An entry of a feed, as an inbox refers to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    pub feed: FeedId,
    pub seq: u64,
    /// Of its payload.
    pub bytes: usize,
}

/// What still fits into an inbox: while there is any of both, an entry does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    entries: u64,
    bytes: u64,
}

impl Room {
    pub(super) const fn is_none(&self) -> bool {
        self.entries == 0 || self.bytes == 0
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// Entries pushed without a position: neighbours both in their feed and in the inbox.
pub(super) struct Run {
    feed: FeedId,
    seq: u64,
    inbox: u64,
    count: u64,
}

impl Run {
    fn continues(&self, entry: &Entry, inbox: u64) -> bool {
        self.feed == entry.header.feed && self.seq + self.count == entry.header.seq && self.inbox + self.count == inbox
    }
}

/// Rows that are counted at once.
const COUNT_PAGE: usize = 1024;

impl Relay {
    /// Puts an entry that is held into an account's inbox, once; gives its position if it is new there.
    pub(super) fn put_into_inbox(
        &mut self,
        step: &mut Step<'_, '_>,
        account: &AccountId,
        Reference { feed, seq, bytes }: Reference,
    ) -> Result<Option<u64>, StoreError> {
        let held_key = rows::held(account, &feed);
        let held: u64 = rows::get(step.rows, &held_key)?.unwrap_or(0);
        if seq <= held {
            return Ok(None);
        }
        let head_key = rows::inbox_head(account);
        let next = rows::get::<u64>(step.rows, &head_key)?.unwrap_or(0) + 1;
        let bytes_key = rows::inbox_bytes(account);
        let before: u64 = rows::get(step.rows, &bytes_key)?.unwrap_or(0);
        rows::put(step.rows, rows::inbox(account, next), &(feed, seq, before));
        rows::put(step.rows, bytes_key, &(before + u64::try_from(bytes).unwrap_or(0)));
        rows::put(step.rows, head_key, &next);
        rows::put(step.rows, held_key, &seq);
        self.stirred.extend(self.present.get(account).into_iter().flatten());
        self.notes.push(Note::Inboxed(1));
        Ok(Some(next))
    }

    /// Pushes an entry of another node at once to the devices that have everything before it: its writer keeps it until our
    /// custody, so a crash before the fsync loses nothing, and the device knows what it has seen.
    pub(super) fn push_early(&mut self, account: &AccountId, entry: &Entry, inbox: u64) {
        for connection in self.present.get(account).into_iter().flatten() {
            let Some(state) = self.connections.get_mut(connection) else { continue };
            if state.sent.map(|sent| sent + 1) != Some(inbox) || inbox > state.acked + limits::INBOX_WINDOW {
                continue;
            }
            state.sent = Some(inbox);
            match state.early.last_mut() {
                Some(run) if run.continues(entry, inbox) => run.count += 1,
                _ => state.early.push(Run { feed: entry.header.feed, seq: entry.header.seq, inbox, count: 1 }),
            }
            self.outputs.push(Output::Early(*connection, ServerFrame::Entry { inbox: None, entry: entry.clone() }));
        }
    }

    /// Counts what waits in all inboxes, a page at a time.
    pub(super) fn note_waiting(&mut self, rows: &Overlay<'_>) -> Result<(), StoreError> {
        let end = rows::end_of(&[rows::INBOX]);
        let mut from = vec![rows::INBOX];
        let mut waiting = 0;
        loop {
            let page = rows.scan(&from, &end, COUNT_PAGE)?;
            waiting += page.len() as u64;
            match page.into_iter().next_back() {
                Some((last, _)) => from = [&last[..], &[0]].concat(),
                None => break,
            }
        }
        self.notes.push(Note::Waiting(waiting));
        Ok(())
    }

    pub(super) fn inbox_room(&self, step: &Step<'_, '_>, account: &AccountId) -> Result<Room, StoreError> {
        let head: u64 = rows::get(step.rows, &rows::inbox_head(account))?.unwrap_or(0);
        let start = rows::inbox(account, 0);
        let first = step.rows.scan(&start, &rows::inbox(account, u64::MAX), 1)?.into_iter().next();
        let Some((key, value)) = first else {
            return Ok(Room { entries: limits::INBOX_ENTRIES_MAX, bytes: limits::INBOX_BYTES_MAX });
        };
        let oldest = position_of(&key).unwrap_or(head + 1);
        let (_, _, before): (FeedId, u64, u64) = rows::decode(&key, &value)?;
        let bytes: u64 = rows::get(step.rows, &rows::inbox_bytes(account))?.unwrap_or(0);
        Ok(Room {
            entries: limits::INBOX_ENTRIES_MAX.saturating_sub((head + 1).saturating_sub(oldest)),
            bytes: limits::INBOX_BYTES_MAX.saturating_sub(bytes.saturating_sub(before)),
        })
    }

    pub(super) fn resume(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        account: AccountId,
        device: DeviceId,
        incarnation: Incarnation,
        after: u64,
    ) -> Result<(), Failure> {
        // A position of another life means nothing: everything that is held is sent, the device knows what it has.
        let after = if incarnation == self.identity.incarnation { after } else { 0 };
        let head: u64 = rows::get(step.rows, &rows::inbox_head(&account))?.unwrap_or(0);
        // What others of the account still wait for is not sent again; a device that was added later has its beginning here.
        let cursor: u64 = rows::get(step.rows, &rows::cursor(&account, &device))?.unwrap_or(0);
        let asked = after;
        let mut after = after.max(cursor).min(head);
        // Who asks for what it had acknowledged has lost it since.
        let mut is_short = asked > 0 && after > asked;
        let start = self.inbox_start(step, &account)?;
        if after + 1 < start {
            after = start - 1;
            is_short = true;
        }
        if is_short {
            self.send(connection, ServerFrame::Trimmed { inbox: after });
        }
        self.ack(step, connection, account, device, after)?;
        self.trim_inbox(step, &account)?;
        if let Some(state) = self.connections.get_mut(&connection) {
            state.sent = Some(after);
            state.acked = after;
            self.stirred.insert(connection);
        }
        Ok(())
    }

    /// The device durably holds the inbox up to `inbox`: for it the references up to there are not needed any more.
    pub(super) fn ack(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        account: AccountId,
        device: DeviceId,
        inbox: u64,
    ) -> Result<(), Failure> {
        let head: u64 = rows::get(step.rows, &rows::inbox_head(&account))?.unwrap_or(0);
        let inbox = inbox.min(head);
        if let Some(state) = self.connections.get_mut(&connection) {
            state.acked = state.acked.max(inbox);
            self.stirred.insert(connection);
        }
        let key = rows::cursor(&account, &device);
        if rows::get::<u64>(step.rows, &key)?.unwrap_or(0) < inbox {
            rows::put(step.rows, key, &inbox);
            self.saw(step, &account, &device)?;
            self.trim_inbox(step, &account)?;
        }
        Ok(())
    }

    /// Sends what resumed connections may get: in order, and no more than a window ahead of what they acknowledged.
    pub(super) fn pump_inboxes(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let mut frames = Vec::new();
        for connection in std::mem::take(&mut self.stirred) {
            let Some(state) = self.connections.get_mut(&connection) else { continue };
            let (Some((account, _)), Some(sent)) = (state.device, state.sent) else { continue };
            for Run { feed, seq, inbox, count } in std::mem::take(&mut state.early) {
                frames.push((connection, ServerFrame::Placed { feed, seq, inbox, count }));
            }
            let room = (state.acked + limits::INBOX_WINDOW).saturating_sub(sent);
            if room == 0 {
                continue;
            }
            let end = rows::inbox(&account, u64::MAX);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let mut previous = None;
            for (key, value) in step.rows.scan(&rows::inbox(&account, sent + 1), &end, room)? {
                let (feed, seq, _): (FeedId, u64, u64) = rows::decode(&key, &value)?;
                let corrupt = || StoreError::Corrupt { key: Some(RowKey(key.clone())) };
                let inbox = position_of(&key).ok_or_else(corrupt)?;
                // Only a beginning is ever deleted, so a hole is a row that the store has lost.
                if previous.is_some_and(|previous| previous + 1 != inbox) {
                    return Err(corrupt());
                }
                previous = Some(inbox);
                let entry = feeds::get(step.rows, &feed, seq)?.ok_or_else(corrupt)?;
                frames.push((connection, ServerFrame::Entry { inbox: Some(inbox), entry }));
                state.sent = Some(inbox);
            }
        }
        for (connection, frame) in frames {
            self.send(connection, frame);
        }
        Ok(())
    }
}

/// The position of a row of an inbox.
pub(super) fn position_of(key: &[u8]) -> Option<u64> {
    key.get(33..).and_then(|tail| tail.try_into().ok()).map(u64::from_be_bytes)
}
