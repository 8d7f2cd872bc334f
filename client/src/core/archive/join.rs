//! Two versions of one row become one: whoever joins the same versions, in whichever order, ends with the same row.
//!
//! What the result says more than what came is put again, so that all devices end with it.

use super::super::many::{AboutPictureRow, AboutRow};
use super::super::pictures::{OwnPictureRow, PictureRow};
use super::super::rows::{
    self, ABOUT, ABOUT_PICTURE, ARCHIVED, CONTACT, DEVICE_NAME, DRAFT, DeviceNameRow, DraftRow, HISTORY, ORG,
    OWN_PICTURE, PEER, PERSON, PICTURE, PeerRow, PersonRow, SETTINGS, SettingsRow, TIMER,
};
use super::super::timer::TimerRow;
use super::super::{Device, DeviceError};
use super::ArchivedRow;
use crate::core::history::row::MessageRow;
use roost_crypto::codec;
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::{AccountId, OrgId};
use roost_protocol::limits;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Device {
    /// Whether rows with this key are for the account's other devices.
    pub(super) fn is_archivable(&self, key: &[u8]) -> bool {
        // The word that there is no archive is all that is in it.
        let kinds = if self.settings().backup { ARCHIVED } else { &[SETTINGS] };
        key.first().is_some_and(|kind| kinds.contains(kind))
    }

    pub(super) fn join_row(&mut self, row: &ArchivedRow, now_ms: u64) -> Result<(), DeviceError> {
        let (key, value) = (row.key.as_slice(), row.value.as_slice());
        if !self.is_archivable(key) {
            return Ok(());
        }
        match key.first().copied().unwrap_or_default() {
            HISTORY => {
                let (Some((conversation, id)), Some(theirs)) =
                    (super::super::history::place(key), read::<MessageRow>(value))
                else {
                    return Ok(());
                };
                let joined = match self.table.get::<MessageRow>(key)? {
                    Some(ours) => ours.join(theirs),
                    None => theirs,
                };
                self.keep(conversation, id, joined)?;
            }
            PERSON => self.join_newest(key, value, |row: &PersonRow| row.changed_at)?,
            DEVICE_NAME => self.join_newest(key, value, |row: &DeviceNameRow| row.changed_at)?,
            DRAFT => self.join_newest(key, value, |row: &DraftRow| row.changed_at)?,
            SETTINGS => {
                self.join_newest(key, value, |row: &SettingsRow| row.changed_at)?;
                self.load_settings()?;
            }
            ABOUT => self.join_newest(key, value, |row: &AboutRow| row.about.changed_at)?,
            ABOUT_PICTURE => self.join_newest(key, value, |row: &AboutPictureRow| row.picture.changed_at)?,
            TIMER => self.join_newest(key, value, |row: &TimerRow| row.timer.changed_at)?,
            PICTURE => self.join_newest(key, value, |row: &PictureRow| row.by)?,
            OWN_PICTURE => {
                self.join_newest(key, value, |row: &OwnPictureRow| row.changed_at)?;
                self.own_picture_joined()?;
            }
            CONTACT => self.join_first::<AccountId>(key, value)?,
            ORG => self.join_first::<OrgId>(key, value)?,
            PEER => self.join_peer(key, value)?,
            _ => {}
        }
        self.note_joined(key, value, now_ms)
    }

    /// The later word counts; of two of one moment, the one with the greater bytes.
    fn join_newest<T: DeserializeOwned + Serialize, O: Ord>(
        &mut self,
        key: &[u8],
        theirs: &[u8],
        at: impl Fn(&T) -> O,
    ) -> Result<(), DeviceError> {
        let Some(row) = read::<T>(theirs) else { return Ok(()) };
        let newer = match self.table.get::<T>(key)? {
            Some(ours) => (at(&ours), self.table.raw(key).unwrap_or_default().to_vec()) < (at(&row), theirs.to_vec()),
            None => true,
        };
        if newer {
            self.table.put(key.to_vec(), &row);
        }
        Ok(())
    }

    /// What is known here stays: another account behind a handle is for the person to decide.
    fn join_first<T: DeserializeOwned + Serialize>(&mut self, key: &[u8], theirs: &[u8]) -> Result<(), DeviceError> {
        match read::<T>(theirs) {
            Some(row) if !self.table.has(key) => self.table.put(key.to_vec(), &row),
            _ => {}
        }
        Ok(())
    }

    /// The log that extends the other counts, and a handle that either verified.
    fn join_peer(&mut self, key: &[u8], theirs: &[u8]) -> Result<(), DeviceError> {
        let Some(row) = read::<PeerRow>(theirs) else { return Ok(()) };
        let Ok(log) = VerifiedLog::verify(&row.log) else { return Ok(()) };
        if rows::peer(&log.account()) != key || self.learn_log(&row.log)?.is_none() {
            return Ok(());
        }
        if let Some(mut ours) = self.table.get::<PeerRow>(key)?
            && ours.handle.is_none()
            && row.handle.is_some()
        {
            ours.handle = row.handle;
            self.table.put(key.to_vec(), &ours);
        }
        Ok(())
    }

    /// What is now as it came needs not be put by us.
    fn note_joined(&mut self, key: &[u8], theirs: &[u8], now_ms: u64) -> Result<(), DeviceError> {
        self.note_changes(now_ms)?;
        if self.table.raw(key) == Some(theirs) {
            self.clean(key);
        }
        Ok(())
    }
}

/// A row of another device; what cannot be read is a later version's, and left alone.
fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    codec::decode(value, limits::ARCHIVE_CHUNK_BYTES_MAX).ok()
}
