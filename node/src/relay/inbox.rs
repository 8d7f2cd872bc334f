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
    /// Whether devices that are away are woken for it, but for its author's.
    pub wakes: bool,
}

/// How far an inbox goes, and what it has taken in: one small row, read for every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Last position.
    pub head: u64,
    /// First position that is still there, or the one behind the last.
    pub first: u64,
    /// Bytes of payload ever put in.
    bytes: u64,
    /// Of them, before the first position.
    before: u64,
}

impl Extent {
    pub(super) fn read(rows: &Overlay<'_>, account: &AccountId) -> Result<Self, StoreError> {
        match rows::get(rows, &rows::inbox_extent(account))? {
            Some((head, first, bytes, before)) => Ok(Self { head, first, bytes, before }),
            None => Self::read_parts(rows, account),
        }
    }

    /// From the rows that earlier versions kept it in.
    fn read_parts(rows: &Overlay<'_>, account: &AccountId) -> Result<Self, StoreError> {
        let head: u64 = rows::get(rows, &rows::inbox_head(account))?.unwrap_or(0);
        let bytes: u64 = rows::get(rows, &rows::inbox_bytes(account))?.unwrap_or(0);
        let behind = Self { head, first: head + 1, bytes, before: bytes };
        if head == 0 {
            return Ok(behind);
        }
        let oldest = rows.scan(&rows::inbox(account, 0), &rows::inbox(account, u64::MAX), 1)?.into_iter().next();
        let Some((key, value)) = oldest else { return Ok(behind) };
        let (_, _, before): (FeedId, u64, u64) = rows::decode(&key, &value)?;
        let first = position_of(&key).ok_or(StoreError::Corrupt { key: Some(RowKey(key)) })?;
        Ok(Self { first, before, ..behind })
    }

    pub(super) fn write(&self, rows: &mut Overlay<'_>, account: &AccountId) {
        rows::put(rows, rows::inbox_extent(account), &(self.head, self.first, self.bytes, self.before));
    }

    /// Whether an entry still fits: while there is any room for entries and for bytes, one does.
    pub(super) const fn has_room(&self) -> bool {
        (self.head + 1).saturating_sub(self.first) < limits::INBOX_ENTRIES_MAX
            && self.bytes.saturating_sub(self.before) < limits::INBOX_BYTES_MAX
    }

    /// Takes out what lies up to and including `last`; gives how many positions that were.
    pub(super) fn trim(&mut self, rows: &mut Overlay<'_>, account: &AccountId, last: u64) -> Result<u64, StoreError> {
        let end = last.min(self.head).saturating_add(1);
        let gone = end.saturating_sub(self.first);
        if gone == 0 {
            return Ok(0);
        }
        self.before = if end > self.head {
            self.bytes
        } else {
            let key = rows::inbox(account, end);
            let next: Option<(FeedId, u64, u64)> = rows::get(rows, &key)?;
            next.ok_or(StoreError::Corrupt { key: Some(RowKey(key)) })?.2
        };
        for position in self.first..end {
            rows.delete(rows::inbox(account, position));
        }
        self.first = end;
        self.write(rows, account);
        Ok(gone)
    }
}

/// An inbox while entries of a feed are put into it: what it says of itself is read once and written once.
pub(super) struct Filling {
    account: AccountId,
    feed: FeedId,
    extent: Extent,
    held: u64,
    added: u64,
}

impl Filling {
    pub(super) fn begin(rows: &Overlay<'_>, account: AccountId, feed: FeedId) -> Result<Self, StoreError> {
        let extent = Extent::read(rows, &account)?;
        let held: u64 = rows::get(rows, &rows::held(&account, &feed))?.unwrap_or(0);
        Ok(Self { account, feed, extent, held, added: 0 })
    }

    /// Position up to which the account has the feed in its inbox.
    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    pub(super) const fn has_room(&self) -> bool {
        self.extent.has_room()
    }

    /// Puts an entry that is held into the inbox, once; gives its position if it is new there.
    pub(super) fn put(&mut self, rows: &mut Overlay<'_>, seq: u64, bytes: usize) -> Option<u64> {
        if seq <= self.held {
            return None;
        }
        let Extent { head, bytes: before, .. } = &mut self.extent;
        *head += 1;
        rows::put(rows, rows::inbox(&self.account, *head), &(self.feed, seq, *before));
        *before = before.saturating_add(u64::try_from(bytes).unwrap_or(0));
        self.held = seq;
        self.added += 1;
        Some(*head)
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

/// How long it is waited for more early entries before their places are told, milliseconds: an acknowledgement that comes so much
/// later costs nobody anything, and while people talk one stands for many.
const PLACED_PAUSE_MS: u64 = 20;
/// Early entries of a connection whose places are told at once, whatever comes: an eighth of what may go ahead of acknowledgements.
const PLACED_TOGETHER: u64 = limits::INBOX_WINDOW / 8;
/// Rows that are counted at once.
const COUNT_PAGE: usize = 1024;

impl Relay {
    /// Begins to fill an account's inbox; where it is full, what nobody waits for any more goes first.
    pub(super) fn begin_filling(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        feed: FeedId,
    ) -> Result<Filling, Failure> {
        let filling = Filling::begin(step.rows, account, feed)?;
        if filling.has_room() {
            return Ok(filling);
        }
        self.trim_inbox(step, &account)?;
        Ok(Filling::begin(step.rows, account, feed)?)
    }

    /// Writes what was put into an inbox.
    pub(super) fn filled(&mut self, step: &mut Step<'_, '_>, filling: &Filling) {
        let Filling { account, feed, extent, held, added } = filling;
        if *added > 0 {
            extent.write(step.rows, account);
            rows::put(step.rows, rows::held(account, feed), held);
            self.stirred.extend(self.present.get(account).into_iter().flatten());
            self.notes.push(Note::Inboxed(*added));
        }
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
        let Extent { head, first, .. } = Extent::read(step.rows, &account)?;
        // What others of the account still wait for is not sent again; a device that was added later has its beginning here.
        let cursor: u64 = rows::get(step.rows, &rows::cursor(&account, &device))?.unwrap_or(0);
        let asked = after;
        let mut after = after.max(cursor).min(head);
        // Who asks for what it had acknowledged has lost it since.
        let mut is_short = asked > 0 && after > asked;
        if after + 1 < first {
            after = first - 1;
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
        let inbox = inbox.min(Extent::read(step.rows, &account)?.head);
        if let Some(state) = self.connections.get_mut(&connection) {
            state.acked = state.acked.max(inbox);
            let acked = state.acked;
            state.unseen.retain(|_, at| *at > acked);
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

    /// Sends what resumed connections may get: in order, and no more than a window ahead of what they acknowledged. Where early
    /// entries have their places is told a moment later, of several at once, unless something behind them goes now.
    pub(super) fn pump_inboxes(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let is_due = self.place_at_ms.is_some_and(|at| at <= step.now_ms);
        if is_due {
            self.place_at_ms = None;
            self.stirred.append(&mut self.unplaced);
        }
        let mut frames = Vec::new();
        for connection in std::mem::take(&mut self.stirred) {
            let Some(state) = self.connections.get_mut(&connection) else { continue };
            let (Some((account, _)), Some(sent)) = (state.device, state.sent) else { continue };
            let room = (state.acked + limits::INBOX_WINDOW).saturating_sub(sent);
            let behind = room > 0 && Extent::read(step.rows, &account)?.head > sent;
            let early: u64 = state.early.iter().map(|run| run.count).sum();
            if early > 0 && !is_due && !behind && early < PLACED_TOGETHER {
                self.unplaced.insert(connection);
                self.place_at_ms.get_or_insert(step.now_ms + PLACED_PAUSE_MS);
                continue;
            }
            for Run { feed, seq, inbox, count } in std::mem::take(&mut state.early) {
                frames.push((connection, ServerFrame::Placed { feed, seq, inbox, count }));
            }
            if !behind {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::MemoryStore;
    use roost_crypto::ids::NodeId;
    use roost_crypto::keys::SecretKey;
    use roost_protocol::ids::GroupId;

    #[test]
    fn an_inbox_of_an_earlier_version_goes_on_where_it_was() {
        let store = MemoryStore::new([0; 16]);
        let mut rows = Overlay::new(&store);
        let account = AccountId([3; 32]);
        let node = NodeId::of(SecretKey::from_seed(&[7; 32]).public_key());
        let feed = FeedId { group: GroupId([1; 32]), node, incarnation: Incarnation([2; 16]) };
        rows::put(&mut rows, rows::inbox_head(&account), &5_u64);
        rows::put(&mut rows, rows::inbox_bytes(&account), &500_u64);
        for (position, before) in [(4_u64, 300_u64), (5, 400)] {
            rows::put(&mut rows, rows::inbox(&account, position), &(feed, position, before));
        }
        let extent = Extent::read(&rows, &account).unwrap();
        assert_eq!(extent, Extent { head: 5, first: 4, bytes: 500, before: 300 }, "two of five wait");

        let mut filling = Filling::begin(&rows, account, feed).unwrap();
        assert_eq!(filling.put(&mut rows, 6, 100), Some(6), "the next has the next place");
        let mut extent = filling.extent;
        assert_eq!(extent.trim(&mut rows, &account, 5).unwrap(), 2, "two are read");
        assert_eq!(Extent::read(&rows, &account).unwrap(), extent, "which is kept");
        assert_eq!(extent, Extent { head: 6, first: 6, bytes: 600, before: 500 }, "one waits");
        assert_eq!(extent.trim(&mut rows, &account, 5).unwrap(), 0, "nothing goes twice");
        assert_eq!(extent.trim(&mut rows, &account, 9).unwrap(), 1, "no more can be read than there is");
        assert_eq!(extent, Extent { head: 6, first: 7, bytes: 600, before: 600 }, "and nothing is left");
    }
}
