//! What a session offers of what is said in passing: who is typing, who is there.
//!
//! [`Session::changed`] tells that something of it has changed.

use super::Session;
use crate::core::{PresenceReport, Recipient, Seen};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use std::time::Duration;

impl Session {
    /// The person types to somebody or in a conversation, or stopped. May be called with every key: it is said now and then.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn typing(&self, to: &Recipient, on: bool) -> Result<(), Error> {
        let to = to.clone();
        self.with(move |device, random, now_ms| device.typing(&to, on, random, now_ms)).await
    }

    /// Who types there now.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn typists(&self, of: &Recipient) -> Result<Vec<AccountId>, Error> {
        let of = of.clone();
        self.with(move |device, _, _| device.typists(&of)).await
    }

    /// The person did something: this device is not away for five minutes.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn active(&self) -> Result<(), Error> {
        self.with(|device, _, now_ms| {
            device.active(now_ms);
            Ok(())
        })
        .await
    }

    /// A conversation of two is shown: whether the other is there is asked for until [`Self::unwatch`]. `false` where that
    /// can't be.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn watch(&self, whom: &Recipient) -> Result<bool, Error> {
        let whom = whom.clone();
        self.with(move |device, _, now_ms| device.watch(&whom, now_ms)).await
    }

    /// It is not shown any more.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn unwatch(&self, whom: &Recipient) -> Result<(), Error> {
        let whom = whom.clone();
        self.with(move |device, _, _| device.unwatch(&whom)).await
    }

    /// What is known of somebody who is watched.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn presence(&self, whom: &Recipient) -> Result<PresenceReport, Error> {
        let whom = whom.clone();
        self.with(move |device, _, now_ms| device.presence(&whom, now_ms)).await
    }

    /// Watches somebody until something is known, `wait` at most, and tells what is.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Closed`].
    pub async fn look_for(&self, whom: &Recipient, wait: Duration) -> Result<PresenceReport, Error> {
        let mut changes = self.changes.clone();
        if self.watch(whom).await? {
            let known = async {
                loop {
                    changes.borrow_and_update();
                    if self.presence(whom).await?.state != Seen::Unknown {
                        return Ok::<_, Error>(());
                    }
                    changes.changed().await.map_err(|_| Error::Closed)?;
                }
            };
            // The time being over is no failure: then nothing is known.
            tokio::time::timeout(wait, known).await.unwrap_or(Ok(()))?;
        }
        self.presence(whom).await
    }
}
