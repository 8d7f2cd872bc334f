//! Cursors: how far each device of an account has its inbox, and what the inbox keeps for the slowest of them.
//!
//! One inbox an account, one cursor a device. A device that was not seen for 30 days holds nothing back; when it returns it is
//! told what is gone. Implements `docs/protocol.md`, section "Between device and home".

use super::accounts::known_log;
use super::inbox::Extent;
use super::{Failure, Note, Relay, Step, rows};
use crate::store::StoreError;
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
        let Extent { head, .. } = Extent::read(step.rows, account)?;
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
        let gone = Extent::read(step.rows, account)?.trim(step.rows, account, slowest)?;
        if gone > 0 {
            self.notes.push(Note::Acknowledged(gone));
        }
        Ok(())
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
