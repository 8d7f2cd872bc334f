//! What a session offers beside sending and receiving: the history, changes of messages, people.

use super::Session;
use crate::core::history::{ConversationView, HistoryPage};
use crate::core::people::{Evidence, Request, Settings, Whom};
use crate::core::{Extras, KeyChange, Recipient, Warning};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::AccountId;
use roost_crypto::safety_number::{SafetyCode, SafetyNumber};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use std::time::Duration;

/// Between two looks at what is queued.
const SETTLE_LOOK: Duration = Duration::from_millis(50);

impl Session {
    /// Writes a text that answers, mentions or disappears into the outbox.
    ///
    /// # Errors
    /// Those of [`Device::send_with`], and [`Error::Closed`].
    pub async fn send_with(&self, to: &Recipient, text: &str, extras: Extras) -> Result<MessageId, Error> {
        let (to, text) = (to.clone(), text.to_owned());
        self.with(move |device, random, now_ms| device.send_with(&to, &text, extras, random, now_ms)).await
    }

    /// The accounts that a text for a conversation names and that take part in it.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn mentioned(&self, to: &Recipient, text: &str) -> Result<Vec<AccountId>, Error> {
        let (to, text) = (to.clone(), text.to_owned());
        self.with(move |device, _, _| Ok(device.mentioned(&to, &text)?)).await
    }

    /// Seconds after which what is said in a conversation goes; `None` for never.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn timer(&self, of: &Recipient) -> Result<Option<u64>, Error> {
        let of = of.clone();
        self.with(move |device, _, _| device.timer(&of)).await
    }

    /// Gives everything that is said in a conversation from now on a timer, or takes it off.
    ///
    /// # Errors
    /// Those of [`Device::set_timer`], and [`Error::Closed`].
    pub async fn set_timer(&self, to: &Recipient, expires_after_s: Option<u64>) -> Result<MessageId, Error> {
        let to = to.clone();
        self.with(move |device, random, now_ms| device.set_timer(&to, expires_after_s, random, now_ms)).await
    }

    /// What we want to be shown as.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn own_picture(&self) -> Result<Option<Bytes>, Error> {
        self.with(|device, _, _| Ok(device.own_picture()?)).await
    }

    /// Chooses a picture, or none.
    ///
    /// # Errors
    /// [`Error::Content`], [`Error::Closed`].
    pub async fn set_own_picture(&self, picture: Option<Bytes>) -> Result<(), Error> {
        self.with(move |device, _, now_ms| device.set_own_picture(picture, now_ms)).await
    }

    /// What somebody wants to be called and shown as.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Closed`].
    pub async fn profile_of(&self, whom: Whom) -> Result<(Option<String>, Option<Bytes>), Error> {
        self.with(move |device, _, _| {
            let account = device.whom(&whom)?;
            Ok((device.profile_of(&account)?, device.picture_of(&account)?))
        })
        .await
    }

    /// Reacts to a message, or takes the reaction back.
    ///
    /// # Errors
    /// Those of [`Device::react`], and [`Error::Closed`].
    pub async fn react(
        &self,
        to: &Recipient,
        message: MessageId,
        emoji: &str,
        remove: bool,
    ) -> Result<MessageId, Error> {
        let (to, emoji) = (to.clone(), emoji.to_owned());
        self.with(move |device, random, now_ms| device.react(&to, message, &emoji, remove, random, now_ms)).await
    }

    /// Gives a message of ours another text.
    ///
    /// # Errors
    /// Those of [`Device::edit`], and [`Error::Closed`].
    pub async fn edit(&self, to: &Recipient, message: MessageId, text: &str) -> Result<MessageId, Error> {
        let (to, text) = (to.clone(), text.to_owned());
        self.with(move |device, random, now_ms| device.edit(&to, message, &text, random, now_ms)).await
    }

    /// Takes a message of ours back.
    ///
    /// # Errors
    /// Those of [`Device::delete`], and [`Error::Closed`].
    pub async fn delete(&self, to: &Recipient, message: MessageId) -> Result<MessageId, Error> {
        let to = to.clone();
        self.with(move |device, random, now_ms| device.delete(&to, message, random, now_ms)).await
    }

    /// Messages, newest first.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn history(
        &self,
        of: Option<Recipient>,
        before: Option<MessageId>,
        max: usize,
    ) -> Result<HistoryPage, Error> {
        self.with(move |device, _, _| device.history(of.as_ref(), before, max)).await
    }

    /// What is wrong with one conversation, or with all.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn warnings(&self, of: Option<Recipient>) -> Result<Vec<Warning>, Error> {
        self.with(move |device, _, _| device.warnings_for(of.as_ref())).await
    }

    /// Conversations, and what is unread in them.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn conversation_views(&self) -> Result<Vec<ConversationView>, Error> {
        self.with(|device, _, _| Ok(device.conversation_views()?)).await
    }

    /// Everything of a conversation counts as read. Returns how many messages were unread.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn mark_read(&self, of: Recipient) -> Result<usize, Error> {
        self.with(move |device, random, now_ms| device.mark_read(&of, random, now_ms)).await
    }

    /// Strangers who wrote.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn requests(&self) -> Result<Vec<Request>, Error> {
        self.with(|device, _, _| Ok(device.requests()?)).await
    }

    /// Lets somebody write to us, or takes part in a conversation that a stranger took us into.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Closed`].
    pub async fn accept(&self, whom: Whom) -> Result<(), Error> {
        self.with(move |device, _, _| {
            if let Whom::Account(id) = &whom
                && device.accept_conversation(&ConversationId(id.0))?
            {
                return Ok(());
            }
            let account = device.whom(&whom)?;
            Ok(device.accept(&account)?)
        })
        .await
    }

    /// Blocks somebody, or ends that.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Closed`].
    pub async fn set_blocked(&self, whom: Whom, blocked: bool) -> Result<(), Error> {
        self.with(move |device, _, _| {
            let account = device.whom(&whom)?;
            let done = if blocked { device.block(&account) } else { device.unblock(&account) };
            Ok(done?)
        })
        .await
    }

    /// What somebody wrote, as evidence.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Closed`].
    pub async fn evidence(&self, whom: Whom) -> Result<Evidence, Error> {
        self.with(move |device, _, _| {
            let account = device.whom(&whom)?;
            Ok(device.evidence(&account)?)
        })
        .await
    }

    /// What the person chose.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn settings(&self) -> Result<Settings, Error> {
        self.with(|device, _, _| Ok(device.settings().clone())).await
    }

    /// Changes settings.
    ///
    /// # Errors
    /// [`Error::Content`], [`Error::Closed`].
    pub async fn change_settings(
        &self,
        change: impl FnOnce(&mut Settings) + Send + 'static,
    ) -> Result<Settings, Error> {
        self.with(move |device, _, _| {
            let mut settings = device.settings().clone();
            change(&mut settings);
            device.set_settings(settings)?;
            Ok(device.settings().clone())
        })
        .await
    }

    /// Whether the safety number with somebody was compared.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Closed`].
    pub async fn is_verified(&self, handle: &Handle) -> Result<bool, Error> {
        let handle = handle.clone();
        self.with(move |device, _, _| {
            let account = device.newest_account_of(&handle)?.ok_or(Error::UnknownPerson)?;
            Ok(device.is_verified(&account)?)
        })
        .await
    }

    /// The safety number was compared.
    ///
    /// # Errors
    /// Those of [`Device::verify`], and [`Error::Closed`].
    pub async fn verify(&self, whom: Whom, digits: Option<String>) -> Result<SafetyNumber, Error> {
        self.with(move |device, _, _| device.verify(&whom, digits.as_deref())).await
    }

    /// The code of the safety number was read on the other device.
    ///
    /// # Errors
    /// Those of [`Device::verify_code`], and [`Error::Closed`].
    pub async fn verify_code(&self, whom: Whom, code: SafetyCode) -> Result<SafetyNumber, Error> {
        self.with(move |device, _, _| device.verify_code(&whom, &code)).await
    }

    /// What the other device is to read for the safety number with somebody.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Closed`].
    pub async fn safety_code(&self, handle: &Handle) -> Result<SafetyCode, Error> {
        let whom = Whom::Handle(handle.clone());
        self.with(move |device, _, _| device.safety_code(&whom)).await
    }

    /// Takes the account over that is now behind a handle; `false` if it never changed.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn accept_key(&self, handle: &Handle) -> Result<bool, Error> {
        let handle = handle.clone();
        self.with(move |device, _, _| Ok(device.accept_key(&handle)?)).await
    }

    /// Changed keys that were not shown yet.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn unshown_key_changes(&self) -> Result<Vec<KeyChange>, Error> {
        self.with(|device, _, _| Ok(device.unshown_key_changes()?)).await
    }

    /// A changed key was shown.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn key_change_shown(&self, handle: &Handle) -> Result<(), Error> {
        let handle = handle.clone();
        self.with(move |device, _, _| Ok(device.key_change_shown(&handle)?)).await
    }

    /// Waits until the archive is as this device is.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Closed`].
    pub async fn archived(&self, timeout: Duration) -> Result<(), Error> {
        let archived = async {
            while !self.with(|device, _, _| Ok(device.has_caught_up() && device.is_archived())).await? {
                tokio::time::sleep(SETTLE_LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(timeout, archived).await.unwrap_or(Err(Error::TimedOut))
    }

    /// Waits until everything written is with our home, also what no report tells of.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Closed`].
    pub async fn settled(&self, timeout: Duration) -> Result<(), Error> {
        let mut changes = self.changes.clone();
        let settled = async {
            loop {
                changes.borrow_and_update();
                if self.with(|device, _, _| Ok(device.nothing_queued())).await? {
                    return Ok(());
                }
                // A receipt leaves no report, so it is looked for now and then.
                let _ = tokio::time::timeout(SETTLE_LOOK, changes.changed()).await;
            }
        };
        tokio::time::timeout(timeout, settled).await.unwrap_or(Err(Error::TimedOut))
    }
}
