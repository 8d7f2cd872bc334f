//! What a session offers of conversations of many.

use super::{Command, IntentState, Session};
use crate::core::{ConversationReport, Extras, GroupChange};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::refusal::Refusal;
use std::time::Duration;

impl Session {
    /// Writes a text into the outbox, for a conversation of many; returns once it is on disk.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`], [`Error::TextTooLong`], [`Error::Closed`].
    pub async fn send_to(&self, conversation: ConversationId, text: &str) -> Result<MessageId, Error> {
        self.send_with(&conversation.into(), text, Extras::default()).await
    }

    /// Wants a conversation with these people; gives the number of the intent and the conversation's id.
    ///
    /// # Errors
    /// [`Error::Handle`], [`Error::GroupSize`], [`Error::Closed`].
    pub async fn create_group(&self, members: &[&str]) -> Result<(u64, ConversationId), Error> {
        let members = members.iter().map(|member| member.parse()).collect::<Result<_, _>>()?;
        self.with(move |device, random, _| device.create_group(members, random)).await
    }

    /// Wants a change of a conversation; gives the number of the intent.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn change_group(&self, conversation: ConversationId, change: GroupChange) -> Result<u64, Error> {
        self.with(move |device, _, _| device.change_group(conversation, change)).await
    }

    /// Tells the others that we leave; one of them commits it.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn leave_group(&self, conversation: ConversationId) -> Result<(), Error> {
        self.with(move |device, random, now_ms| device.leave_group(conversation, random, now_ms)).await
    }

    /// Calls a conversation otherwise; what is `None` stays.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`], [`Error::NotAdmin`], [`Error::Content`], [`Error::Closed`].
    pub async fn set_about(
        &self,
        conversation: ConversationId,
        title: Option<String>,
        description: Option<String>,
    ) -> Result<MessageId, Error> {
        self.with(move |device, random, now_ms| device.set_about(conversation, title, description, random, now_ms))
            .await
    }

    /// Shows a conversation as something else, or as nothing.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`], [`Error::NotAdmin`], [`Error::Content`], [`Error::Closed`].
    pub async fn set_about_picture(
        &self,
        conversation: ConversationId,
        picture: Option<Bytes>,
    ) -> Result<MessageId, Error> {
        self.with(move |device, random, now_ms| device.set_about_picture(conversation, picture, random, now_ms)).await
    }

    /// The conversations of many that this device knows.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn conversations(&self) -> Result<Vec<ConversationReport>, Error> {
        self.with(|device, _, _| Ok(device.conversations()?)).await
    }

    /// What of conversations of many is under way and has not ended.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn unsettled(&self) -> Result<usize, Error> {
        self.with(|device, _, _| Ok(device.unsettled())).await
    }

    /// The epoch authenticator of a conversation of many: equal on devices that are in the same state; `None` where this one takes
    /// no part.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn authenticator(&self, conversation: ConversationId) -> Result<Option<Vec<u8>>, Error> {
        self.with(move |device, _, _| Ok(device.authenticator(&conversation)?.map(|bytes| bytes.0))).await
    }

    /// Waits until an intent is true.
    ///
    /// # Errors
    /// [`Error::Refused`] if it never will be, [`Error::TimedOut`], [`Error::Closed`].
    pub async fn intent(&self, number: u64, timeout: Duration) -> Result<(), Error> {
        let mut changes = self.changes.clone();
        let ended = async {
            loop {
                changes.borrow_and_update();
                match self.ask(|reply| Command::Intent { number, reply }).await? {
                    IntentState::Done => return Ok(()),
                    IntentState::Never(refusal) => return Err(Error::Refused(refusal)),
                    IntentState::Open(_) => changes.changed().await.map_err(|_| Error::Closed)?,
                }
            }
        };
        tokio::time::timeout(timeout, ended).await.unwrap_or(Err(Error::TimedOut))
    }

    /// Why an intent waits, if it is known.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn intent_error(&self, number: u64) -> Result<Option<Refusal>, Error> {
        Ok(match self.ask(|reply| Command::Intent { number, reply }).await? {
            IntentState::Open(error) => error,
            IntentState::Done => None,
            IntentState::Never(error) => Some(error),
        })
    }
}
