//! What a conversation of many is called and is for: sealed, the newest word of an admin, told again to who joins.

use super::super::recipient::Recipient;
use super::super::rows::{self, ABOUT, ABOUT_PICTURE, Target};
use super::super::timer::TimerRow;
use super::super::{Device, DeviceError, Output, Random};
use super::picture::AboutPictureRow;
use crate::error::Error;
use roost_protocol::content::{About, Body};
use roost_protocol::conversation::Role;
use roost_protocol::feed::EntryHeader;
use roost_protocol::ids::{ConversationId, MessageId};
use serde::{Deserialize, Serialize};

/// What is known of a conversation, and whether somebody who joined by our commit is to be told.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct AboutRow {
    pub about: About,
    pub due: bool,
}

impl Device {
    /// What a conversation is called and is for.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn about(&self, conversation: &ConversationId) -> Result<Option<About>, DeviceError> {
        Ok(self.table.get::<AboutRow>(&rows::about(conversation))?.map(|row| row.about))
    }

    /// Calls a conversation otherwise; what is `None` stays.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`], [`Error::NotAdmin`] and [`Error::Content`] change nothing; after
    /// [`Error::Device`] drop the device.
    pub fn set_about(
        &mut self,
        conversation: ConversationId,
        title: Option<String>,
        description: Option<String>,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        let address = self.address(&Recipient::Id(conversation))?;
        let row = self.conversation(&conversation)?.ok_or(Error::UnknownConversation)?;
        if row.state.role(&self.me.account) != Some(Role::Admin) {
            return Err(Error::NotAdmin);
        }
        let known = self.about(&conversation)?;
        // The clock may have been set back since the last word.
        let changed_at = known.as_ref().map_or(0, |known| known.changed_at + 1).max(now_ms);
        let (known_title, known_description) = known.map(|known| (known.title, known.description)).unwrap_or_default();
        let about = About {
            title: title.unwrap_or(known_title),
            description: description.unwrap_or(known_description),
            changed_at,
        };
        let body = Body::About(about.clone());
        body.check()?;
        self.table.put(rows::about(&conversation), &AboutRow { about, due: false });
        Ok(self.write(address.target, None, body, random, now_ms)?)
    }

    /// An admin says what the conversation is called.
    pub(in super::super) fn learn_about(
        &mut self,
        conversation: ConversationId,
        header: &EntryHeader,
        about: About,
    ) -> Result<(), DeviceError> {
        let role = self.conversation(&conversation)?.and_then(|row| row.state.role(&header.account));
        if role != Some(Role::Admin) {
            self.gap(Some(conversation), header, "somebody who is no admin names the conversation");
            return Ok(());
        }
        let newest = |about: &About| (about.changed_at, about.title.clone(), about.description.clone());
        let known: Option<AboutRow> = self.table.get(&rows::about(&conversation))?;
        if known.as_ref().is_none_or(|known| newest(&known.about) < newest(&about)) {
            self.table.put(rows::about(&conversation), &AboutRow { about, due: false });
            self.staged.push(Output::Named(conversation));
        }
        Ok(())
    }

    /// Who joined by a commit of ours has not heard what the conversation is called, what it is shown as, and how long things
    /// are seen.
    pub(super) fn about_is_due(&mut self, conversation: &ConversationId) -> Result<(), DeviceError> {
        let key = rows::about(conversation);
        if let Some(row) = self.table.get::<AboutRow>(&key)? {
            self.table.put(key, &AboutRow { due: true, ..row });
            self.intents.about_due.insert(*conversation);
        }
        let key = rows::about_picture(conversation);
        if let Some(row) = self.table.get::<AboutPictureRow>(&key)? {
            self.table.put(key, &AboutPictureRow { due: true, ..row });
            self.intents.about_due.insert(*conversation);
        }
        let key = rows::timer(conversation);
        if let Some(row) = self.table.get::<TimerRow>(&key)? {
            self.table.put(key, &TimerRow { due: true, ..row });
            self.intents.about_due.insert(*conversation);
        }
        Ok(())
    }

    pub(in super::super) fn load_about(&mut self) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<AboutRow>(&[ABOUT])? {
            let conversation = key.get(1..).and_then(ConversationId::from_slice);
            self.intents.about_due.extend(conversation.filter(|_| row.due));
        }
        for (key, row) in self.table.scan::<AboutPictureRow>(&[ABOUT_PICTURE])? {
            let conversation = key.get(1..).and_then(ConversationId::from_slice);
            self.intents.about_due.extend(conversation.filter(|_| row.due));
        }
        let due = self.timers_due()?;
        self.intents.about_due.extend(due);
        Ok(())
    }

    pub(in super::super) fn tell_about(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        for conversation in std::mem::take(&mut self.intents.about_due) {
            self.tell_about_picture(conversation, &mut *random, now_ms)?;
            self.tell_timer(conversation, &mut *random, now_ms)?;
            let key = rows::about(&conversation);
            let Some(row) = self.table.get::<AboutRow>(&key)?.filter(|row| row.due) else { continue };
            if self.group_of(&conversation)?.is_some() {
                let body = Body::About(row.about.clone());
                self.write(Target::Conversation(conversation), None, body, &mut *random, now_ms)?;
            }
            self.table.put(key, &AboutRow { due: false, ..row });
        }
        Ok(())
    }
}
