//! Cursors: how far each device of an account has its inbox, and what the inbox keeps for the slowest of them.
//!
//! One inbox an account, one cursor a device. A device that was not seen for 30 days holds nothing back; when it returns it is
//! told what is gone. Implements `docs/protocol.md`, section "Between device and home".

use super::accounts::known_log;
use super::inbox::{Room, position_of};
use super::{Failure, Note, Relay, Step, rows};
use crate::store::{Read as _, StoreError};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::limits;

/// How exactly it is known when a device was seen, milliseconds: a row a day, not one a frame.
const SEEN_STEP_MS: u64 = 24 * 3600 * 1000;

impl Relay {
    /// A device that was added later begins at the end of the inbox.
    pub(super) fn begin_cursor(
        &mut self,
        step: &mut Step<'_, '_>,
        account: &AccountId,
        device: &DeviceId,
    ) -> Result<(), StoreError> {
        let head: u64 = rows::get(step.rows, &rows::inbox_head(account))?.unwrap_or(0);
        rows::put(step.rows, rows::cursor(account, device), &head);
        rows::put(step.rows, rows::seen(account, device), &step.now_ms);
        Ok(())
    }

    /// A device is here.
    pub(super) fn saw(
        &mut self,
        step: &mut Step<'_, '_>,
        account: &AccountId,
        device: &DeviceId,
    ) -> Result<(), StoreError> {
        let key = rows::seen(account, device);
        let seen: Option<u64> = rows::get(step.rows, &key)?;
        // Also one that a clock far ahead has written.
        if seen.is_none_or(|seen| seen.abs_diff(step.now_ms) >= SEEN_STEP_MS) {
            rows::put(step.rows, key, &step.now_ms);
        }
        Ok(())
    }

    /// The first position that is still there, or the one behind the last.
    pub(super) fn inbox_start(&self, step: &Step<'_, '_>, account: &AccountId) -> Result<u64, StoreError> {
        let head: u64 = rows::get(step.rows, &rows::inbox_head(account))?.unwrap_or(0);
        let first = step.rows.scan(&rows::inbox(account, 0), &rows::inbox(account, u64::MAX), 1)?;
        Ok(first.first().and_then(|(key, _)| position_of(key)).unwrap_or(head + 1))
    }

    /// Deletes the references that no device waits for.
    pub(super) fn trim_inbox(&mut self, step: &mut Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let Some(log) = known_log(step, account)? else { return Ok(()) };
        let mut slowest: Option<u64> = None;
        for device in log.device_keys().keys() {
            if !self.is_away(step, account, device)? {
                let cursor = rows::get(step.rows, &rows::cursor(account, device))?.unwrap_or(0);
                slowest = Some(slowest.map_or(cursor, |slowest| slowest.min(cursor)));
            }
        }
        // Where nobody reads, nobody has read.
        let Some(slowest) = slowest else { return Ok(()) };
        let end = rows::inbox(account, slowest.saturating_add(1));
        let done = step.rows.scan(&rows::inbox(account, 0), &end, usize::MAX)?;
        if !done.is_empty() {
            self.notes.push(Note::Acknowledged(done.len() as u64));
        }
        for (key, _) in done {
            step.rows.delete(key);
        }
        Ok(())
    }

    /// What still fits into an inbox, after what nobody waits for any more has gone.
    pub(super) fn room_for(&mut self, step: &mut Step<'_, '_>, account: &AccountId) -> Result<Room, Failure> {
        let room = self.inbox_room(step, account)?;
        if !room.is_none() {
            return Ok(room);
        }
        self.trim_inbox(step, account)?;
        Ok(self.inbox_room(step, account)?)
    }

    /// Whether a device was not seen for so long that nothing is kept for it.
    fn is_away(&self, step: &Step<'_, '_>, account: &AccountId, device: &DeviceId) -> Result<bool, StoreError> {
        let mut here = self.present.get(account).into_iter().flatten().filter_map(|id| self.connections.get(id));
        if here.any(|state| state.device == Some((*account, *device))) {
            return Ok(false);
        }
        let seen: Option<u64> = rows::get(step.rows, &rows::seen(account, device))?;
        Ok(seen.is_some_and(|seen| seen.saturating_add(limits::DEVICE_UNSEEN_MS) < step.now_ms))
    }
}
