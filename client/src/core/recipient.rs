//! To whom something goes, and the conversation that it is then said in.

use super::rows::Target;
use super::{Device, DeviceError};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_protocol::handle::Handle;
use roost_protocol::ids::ConversationId;
use std::str::FromStr;

/// Somebody or a conversation, as people and programs name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A person, by handle.
    Handle(Handle),
    /// A conversation of many, or an account that has no verified handle: both ids are 32 bytes, and the device knows which.
    Id(ConversationId),
}

impl From<Handle> for Recipient {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

impl From<ConversationId> for Recipient {
    fn from(conversation: ConversationId) -> Self {
        Self::Id(conversation)
    }
}

impl From<AccountId> for Recipient {
    fn from(account: AccountId) -> Self {
        Self::Id(ConversationId(account.0))
    }
}

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Ok(Self::Handle(text.parse()?)),
        }
    }
}

/// A conversation, and the other member if there is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub conversation: ConversationId,
    pub peer: Option<AccountId>,
}

impl Place {
    pub fn of_many(conversation: ConversationId) -> Self {
        Self { conversation, peer: None }
    }
}

/// Where something that is written goes.
pub(super) struct Address {
    pub target: Target,
    /// Absent while the account behind a handle is not known.
    pub place: Option<Place>,
}

impl Address {
    pub fn account(&self) -> Option<AccountId> {
        self.place.and_then(|place| place.peer)
    }
}

impl Device {
    /// The conversation with an account.
    pub(super) fn place_with(&self, account: &AccountId) -> Place {
        Place { conversation: ConversationId::direct(&self.me.account, account), peer: Some(*account) }
    }

    /// Where a recipient's words are to be found.
    pub(super) fn place_of(&self, recipient: &Recipient) -> Result<Place, Error> {
        match recipient {
            Recipient::Handle(handle) => Ok(self.place_with(&self.account_of(handle)?.ok_or(Error::UnknownPerson)?)),
            Recipient::Id(id) if self.conversation(id)?.is_some() => Ok(Place::of_many(*id)),
            Recipient::Id(id) => Ok(self.place_with(&self.known_account(id)?.ok_or(Error::UnknownConversation)?)),
        }
    }

    /// Where something for a recipient goes, if it may.
    pub(super) fn address(&self, recipient: &Recipient) -> Result<Address, Error> {
        match recipient {
            Recipient::Handle(handle) => {
                self.may_write_to(handle)?;
                let place = self.account_of(handle)?.map(|account| self.place_with(&account));
                Ok(Address { target: Target::Handle(handle.clone()), place })
            }
            Recipient::Id(id) => match self.conversation(id)? {
                Some(row) if row.over => Err(Error::UnknownConversation),
                Some(_) => Ok(Address { target: Target::Conversation(*id), place: Some(Place::of_many(*id)) }),
                None => {
                    let account = self.known_account(id)?.ok_or(Error::UnknownConversation)?;
                    if self.person(&account)?.blocked {
                        return Err(Error::Blocked(account.to_string()));
                    }
                    Ok(Address { target: Target::Account(account), place: Some(self.place_with(&account)) })
                }
            },
        }
    }

    fn known_account(&self, id: &ConversationId) -> Result<Option<AccountId>, DeviceError> {
        let account = AccountId(id.0);
        Ok(if account == self.me.account { None } else { self.root_of(&account)?.map(|_| account) })
    }
}
