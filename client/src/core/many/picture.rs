//! What a conversation of many is shown as: sealed, the newest word of an admin, told again to who joins.

use super::super::recipient::Recipient;
use super::super::rows::{self, Target};
use super::super::{Device, DeviceError, Output, Random};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_protocol::content::{AboutPicture, Body};
use roost_protocol::conversation::Role;
use roost_protocol::feed::EntryHeader;
use roost_protocol::ids::{ConversationId, MessageId};
use serde::{Deserialize, Serialize};

/// What is known of a conversation's picture, and whether somebody who joined by our commit is to be told.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct AboutPictureRow {
    pub picture: AboutPicture,
    pub due: bool,
}

impl Device {
    /// What a conversation of many is shown as.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn about_picture(&self, conversation: &ConversationId) -> Result<Option<Bytes>, DeviceError> {
        let row: Option<AboutPictureRow> = self.table.get(&rows::about_picture(conversation))?;
        Ok(row.and_then(|row| row.picture.picture))
    }

    /// Shows a conversation as something else, or as nothing.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`], [`Error::NotAdmin`] and [`Error::Content`] change nothing; after
    /// [`Error::Device`] drop the device.
    pub fn set_about_picture(
        &mut self,
        conversation: ConversationId,
        picture: Option<Bytes>,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        let address = self.address(&Recipient::Id(conversation))?;
        let row = self.conversation(&conversation)?.ok_or(Error::UnknownConversation)?;
        if row.state.role(&self.me.account) != Some(Role::Admin) {
            return Err(Error::NotAdmin);
        }
        let key = rows::about_picture(&conversation);
        let known: Option<AboutPictureRow> = self.table.get(&key)?;
        // The clock may have been set back since the last word.
        let changed_at = known.map_or(0, |known| known.picture.changed_at + 1).max(now_ms);
        let picture = AboutPicture { picture, changed_at };
        let body = Body::AboutPicture(picture.clone());
        body.check()?;
        self.table.put(key, &AboutPictureRow { picture, due: false });
        self.staged.push(Output::Named(conversation));
        Ok(self.write(address.target, None, body, random, now_ms)?)
    }

    /// An admin says what the conversation is shown as.
    pub(in super::super) fn learn_about_picture(
        &mut self,
        conversation: ConversationId,
        header: &EntryHeader,
        picture: AboutPicture,
    ) -> Result<(), DeviceError> {
        let role = self.conversation(&conversation)?.and_then(|row| row.state.role(&header.account));
        if role != Some(Role::Admin) {
            self.gap(Some(conversation), header, "somebody who is no admin gives the conversation a picture");
            return Ok(());
        }
        let key = rows::about_picture(&conversation);
        let newest = |picture: &AboutPicture| (picture.changed_at, picture.picture.clone().map(|bytes| bytes.0));
        let known: Option<AboutPictureRow> = self.table.get(&key)?;
        if known.as_ref().is_none_or(|known| newest(&known.picture) < newest(&picture)) {
            self.table.put(key, &AboutPictureRow { picture, due: false });
            self.staged.push(Output::Named(conversation));
        }
        Ok(())
    }

    /// Tells who joined, if that is due.
    pub(super) fn tell_about_picture(
        &mut self,
        conversation: ConversationId,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let key = rows::about_picture(&conversation);
        let Some(row) = self.table.get::<AboutPictureRow>(&key)?.filter(|row| row.due) else { return Ok(()) };
        if self.group_of(&conversation)?.is_some() {
            let body = Body::AboutPicture(row.picture.clone());
            self.write(Target::Conversation(conversation), None, body, random, now_ms)?;
        }
        self.table.put(key, &AboutPictureRow { due: false, ..row });
        Ok(())
    }
}
