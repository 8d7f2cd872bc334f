//! What accounts want to be shown as: our picture, told to whoever is no stranger, and theirs. It proves nothing.
//!
//! A row of its own each: a picture is larger than all else that is known of a person, which changes more often.

use super::rows::{self, PERSON, PersonRow};
use super::{Device, DeviceError, Random};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::AccountId;
use roost_protocol::content::{Body, ProfilePicture};
use roost_protocol::ids::MessageId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Our picture, and since when, milliseconds since 1970.
#[derive(Serialize, Deserialize)]
pub(super) struct OwnPictureRow {
    pub picture: Option<Bytes>,
    pub changed_at: u64,
}

/// The picture of somebody, and the message that brought it.
#[derive(Serialize, Deserialize)]
pub(super) struct PictureRow {
    pub by: MessageId,
    pub picture: Option<Bytes>,
}

/// Who was told our picture; rebuilt from rows.
#[derive(Default)]
pub(super) struct Pictures {
    /// When ours was changed; `None` if we never had one.
    changed_at: Option<u64>,
    told: BTreeSet<AccountId>,
}

impl Device {
    /// What we want to be shown as.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn own_picture(&self) -> Result<Option<Bytes>, DeviceError> {
        Ok(self.table.get::<OwnPictureRow>(&rows::own_picture())?.and_then(|row| row.picture))
    }

    /// What somebody wants to be shown as.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn picture_of(&self, account: &AccountId) -> Result<Option<Bytes>, DeviceError> {
        Ok(self.table.get::<PictureRow>(&rows::picture(account))?.and_then(|row| row.picture))
    }

    /// Chooses a picture, or none; it goes to everybody who is no stranger.
    ///
    /// # Errors
    /// [`Error::Content`] for bytes that are none; after [`Error::Device`] drop the device.
    pub fn set_own_picture(&mut self, picture: Option<Bytes>, now_ms: u64) -> Result<(), Error> {
        Body::ProfilePicture(ProfilePicture { picture: picture.clone() }).check()?;
        if self.own_picture()? == picture {
            return Ok(());
        }
        let changed_at = self.pictures.changed_at.map_or(0, |before| before + 1).max(now_ms);
        self.table.put(rows::own_picture(), &OwnPictureRow { picture, changed_at });
        self.pictures = Pictures { changed_at: Some(changed_at), told: BTreeSet::new() };
        Ok(())
    }

    pub(super) fn load_pictures(&mut self) -> Result<(), DeviceError> {
        self.pictures = Pictures::default();
        let Some(row) = self.table.get::<OwnPictureRow>(&rows::own_picture())? else { return Ok(()) };
        self.pictures.changed_at = Some(row.changed_at);
        for (key, person) in self.table.scan::<PersonRow>(&[PERSON])? {
            let account = key.get(1..).and_then(AccountId::from_slice);
            if let Some(account) = account.filter(|_| person.picture_told == Some(row.changed_at)) {
                self.pictures.told.insert(account);
            }
        }
        Ok(())
    }

    /// Tells our picture to whom it is due.
    pub(super) fn tell_picture(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        let Some(changed_at) = self.pictures.changed_at else { return Ok(()) };
        let due = |account: &&AccountId| !self.pictures.told.contains(account);
        for account in self.groups.keys().filter(due).copied().collect::<Vec<_>>() {
            if self.standing_group(&account).is_none() || !self.may_hear_of_us(&account)? {
                continue;
            }
            self.pictures.told.insert(account);
            let person = self.person(&account)?;
            let Some(OwnPictureRow { picture, .. }) = self.table.get(&rows::own_picture())? else { return Ok(()) };
            // Whoever never had one needs not hear that there is none.
            if person.picture_told == Some(changed_at) || (picture.is_none() && person.picture_told.is_none()) {
                continue;
            }
            self.put_person(&account, PersonRow { picture_told: Some(changed_at), ..person });
            let body = Body::ProfilePicture(ProfilePicture { picture });
            self.write_to_account(&account, body, &mut *random, now_ms)?;
        }
        Ok(())
    }

    /// Another device of ours chose a picture.
    pub(super) fn own_picture_joined(&mut self) -> Result<(), DeviceError> {
        let told = std::mem::take(&mut self.pictures.told);
        self.load_pictures()?;
        // That device tells it; this one tells whoever comes later.
        self.pictures.told.extend(told);
        Ok(())
    }

    pub(super) fn learn_picture(
        &mut self,
        account: &AccountId,
        id: MessageId,
        picture: Option<Bytes>,
    ) -> Result<(), DeviceError> {
        let key = rows::picture(account);
        let known: Option<PictureRow> = self.table.get(&key)?;
        if known.is_none_or(|known| known.by < id) {
            self.table.put(key, &PictureRow { by: id, picture });
        }
        Ok(())
    }
}
