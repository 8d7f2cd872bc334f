//! What a session offers to a client that stays open: when to look again, and what only a screen shows.

use super::{Command, Session};
use crate::core::KeyChange;
use crate::core::people::Whom;
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// An entry of this session that cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where, if that is known.
    pub conversation: Option<ConversationId>,
    /// Which message.
    pub message: MessageId,
    /// Why.
    pub reason: &'static str,
}

/// Wakes whoever shows what a session holds. Nothing is missed between two waits; many alterations are one.
pub struct Alterations(watch::Receiver<u64>);

impl Alterations {
    /// Waits until rows of the device, its connection or its gaps are others than at the last return.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn next(&mut self) -> Result<(), Error> {
        self.0.changed().await.map_err(|_| Error::Closed)
    }
}

impl Session {
    /// Tells of alterations from now on.
    pub fn alterations(&self) -> Alterations {
        let mut altered = self.altered.clone();
        altered.borrow_and_update();
        Alterations(altered)
    }

    /// Entries of this session that cannot be shown, oldest first; the newest 256.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn gaps(&self) -> Result<Vec<Gap>, Error> {
        self.ask(|reply| {
            Command::With(Box::new(move |driver| {
                let gaps = driver.gaps();
                driver.act(reply, |_, _, _| Ok(gaps))
            }))
        })
        .await
    }

    /// Changed keys about which the person has not decided.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn key_changes(&self) -> Result<Vec<KeyChange>, Error> {
        self.with(|device, _, _| Ok(device.key_changes()?)).await
    }

    /// Those of these accounts whose safety number was compared.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn verified(&self, accounts: Vec<AccountId>) -> Result<BTreeSet<AccountId>, Error> {
        self.with(move |device, _, _| {
            let mut verified = BTreeSet::new();
            for account in accounts {
                if device.is_verified(&account)? {
                    verified.insert(account);
                }
            }
            Ok(verified)
        })
        .await
    }

    /// How many devices those of these accounts have whose logs are known here.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn known_devices(&self, accounts: Vec<AccountId>) -> Result<BTreeMap<AccountId, usize>, Error> {
        self.with(move |device, _, _| {
            let mut known = BTreeMap::new();
            for account in accounts {
                if let Some(devices) = device.known_devices(&account)? {
                    known.insert(account, devices);
                }
            }
            Ok(known)
        })
        .await
    }

    /// Who types now, and where.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn typists_everywhere(&self) -> Result<Vec<(ConversationId, String)>, Error> {
        self.with(|device, _, _| Ok(device.typists_everywhere()?)).await
    }

    /// The account behind a handle, if it is known here.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Closed`].
    pub async fn account_of(&self, handle: &Handle) -> Result<AccountId, Error> {
        let whom = Whom::Handle(handle.clone());
        self.with(move |device, _, _| device.whom(&whom)).await
    }

    /// Our own account.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn account(&self) -> Result<AccountId, Error> {
        self.with(|device, _, _| Ok(device.account())).await
    }

    /// The text that is not finished in a conversation.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn draft(&self, conversation: ConversationId) -> Result<Option<String>, Error> {
        self.with(move |device, _, _| Ok(device.draft(&conversation)?)).await
    }

    /// Keeps it; an empty one leaves nothing.
    ///
    /// # Errors
    /// [`Error::TextTooLong`], [`Error::Closed`].
    pub async fn set_draft(&self, conversation: ConversationId, text: String) -> Result<(), Error> {
        self.with(move |device, _, _| device.set_draft(&conversation, &text)).await
    }
}
