//! What the person does to what was said: reply, react, correct, take back.
//!
//! Each is a message of its own in the outbox, and counts here at once. Whether it may is checked here and by every receiver.

use super::history::row::{Change, ChangeRow};
use super::recipient::Recipient;
use super::rows::Target;
use super::{Device, DeviceError, Random};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_protocol::content::{Body, Delete, Edit, Reaction, RichText};
use roost_protocol::ids::MessageId;

/// What a text may have beside its words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// The message that it answers.
    pub reply: Option<MessageId>,
    /// Accounts that it mentions.
    pub mentions: Vec<AccountId>,
    /// Seconds after which it disappears: here since it was sent, at a reader since it was read.
    pub expires_after_s: Option<u64>,
}

impl Extras {
    /// The body of a text with these.
    pub(super) fn body(mut self, text: &str) -> Body {
        if self == Self::default() {
            return Body::Text(text.to_owned());
        }
        self.mentions.sort_unstable();
        self.mentions.dedup();
        let Self { reply, mentions, expires_after_s } = self;
        Body::RichText(RichText { text: text.to_owned(), reply, mentions, expires_after_s })
    }
}

impl Device {
    /// Reacts to a message, or takes the reaction back.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::NoSuchMessage`], [`Error::MessageGone`],
    /// [`Error::Content`], [`Error::Blocked`], [`Error::KeyChanged`] change nothing; after [`Error::Device`] drop the device.
    pub fn react(
        &mut self,
        to: &Recipient,
        message: MessageId,
        emoji: &str,
        remove: bool,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        self.alter(to, message, Body::Reaction(Reaction { message, emoji: emoji.to_owned(), remove }), random, now_ms)
    }

    /// Gives a message of ours another text.
    ///
    /// # Errors
    /// Those of [`Self::react`], and [`Error::NotYours`].
    pub fn edit(
        &mut self,
        to: &Recipient,
        message: MessageId,
        text: &str,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        self.alter(to, message, Body::Edit(Edit { message, text: text.to_owned() }), random, now_ms)
    }

    /// Takes a message of ours back, for everyone.
    ///
    /// # Errors
    /// Those of [`Self::edit`].
    pub fn delete(
        &mut self,
        to: &Recipient,
        message: MessageId,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        self.alter(to, message, Body::Delete(Delete { message }), random, now_ms)
    }

    fn alter(
        &mut self,
        to: &Recipient,
        message: MessageId,
        body: Body,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        body.check()?;
        let address = self.address(to)?;
        let place = address.place.ok_or(Error::UnknownPerson)?;
        let mut row = self.changeable(&place, &message)?;
        let author = self.me.account;
        if matches!(body, Body::Edit(_) | Body::Delete(_)) && row.author != author {
            return Err(Error::NotYours);
        }
        // The higher id counts, so a second change within a millisecond, or after the clock was set back, must not be below.
        let earliest = row.newest_change_of(&author).map_or(0, |newest| newest.at_ms() + 1);
        let change = match &body {
            Body::Edit(edit) => Change::Edit(edit.text.clone()),
            Body::Reaction(one) => Change::Reaction { emoji: one.emoji.clone(), remove: one.remove },
            _ => Change::Delete,
        };
        let tried = ChangeRow { id: MessageId([0xff; 16]), author, change };
        row.apply(&tried).map_err(|reason| Error::NotPossible(reason.to_owned()))?;
        Ok(self.write(address.target, place.peer, body, random, now_ms.max(earliest))?)
    }

    /// Writes something that leaves no report to an account.
    pub(super) fn write_to_account(
        &mut self,
        account: &AccountId,
        body: Body,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, DeviceError> {
        self.write(Target::Account(*account), Some(*account), body, random, now_ms)
    }
}
