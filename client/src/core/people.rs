//! People: who may write to this device, what strangers asked, who is blocked, what everybody wants to be called, settings.
//!
//! A stranger hears nothing of us before it is accepted, a blocked account never. Implements `docs/protocol.md`, section "Content".

use super::history::HistoryItem;
use super::rows::{self, DraftRow, PERSON, PersonRow, ReceivedRow, SettingsRow, Target};
use super::{Device, DeviceError, Random};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_crypto::keys::PublicKey;
use roost_protocol::content::{Body, Profile};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// Somebody, as people and programs name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// By handle.
    Handle(Handle),
    /// By account id, which a stranger without a verified handle has only.
    Account(AccountId),
}

impl FromStr for Whom {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse::<AccountId>() {
            Ok(account) => Ok(Self::Account(account)),
            Err(_) => Ok(Self::Handle(text.parse()?)),
        }
    }
}

/// What the person chose for this directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether anybody may write without being accepted: for test networks.
    pub accept_strangers: bool,
    /// Whether authors hear that their messages were read.
    pub read_receipts: bool,
    /// Whether authors hear that their messages are on this device.
    #[serde(default = "on")]
    pub delivery_receipts: bool,
    /// What we want to be called.
    pub profile: Option<String>,
    /// Whether an archive is kept at the home, sealed, for devices to come.
    pub backup: bool,
    /// Whether others hear that we are there or type, and we of them.
    pub presence: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accept_strangers: false,
            read_receipts: true,
            delivery_receipts: true,
            profile: None,
            backup: true,
            presence: true,
        }
    }
}

/// What a row of before there was the choice means.
fn on() -> bool {
    true
}

/// A stranger who wants to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Who.
    pub account: AccountId,
    /// The conversation of many that they took us into; none for one of two.
    pub conversation: Option<ConversationId>,
    /// The verified handle, else the account id.
    pub from: String,
    /// What they want to be called; proves nothing.
    pub name: Option<String>,
    /// The title of the conversation, or the beginning of the first text, [`limits::REQUEST_TEXT_BYTES_MAX`] bytes at most.
    pub text: String,
    /// Messages that wait.
    pub messages: usize,
    /// When the first came, milliseconds since 1970.
    pub received_at: u64,
}

/// What can be shown to whoever judges a complaint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Whose messages.
    pub account: AccountId,
    /// The verified handle, else the account id.
    pub from: String,
    /// The key that the account id is the hash of.
    pub root: Option<PublicKey>,
    /// The newest messages of the account, newest first.
    pub messages: Vec<HistoryItem>,
}

/// Settings, and who was told our profile.
#[derive(Default)]
pub(super) struct People {
    settings: Settings,
    told: BTreeSet<AccountId>,
}

impl People {
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Device {
    /// What the person chose.
    pub fn settings(&self) -> &Settings {
        &self.people.settings
    }

    /// Chooses anew. A new profile goes to everybody who is no stranger.
    ///
    /// # Errors
    /// [`Error::Content`] for a profile that is none; after [`Error::Device`] drop the device.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), Error> {
        if let Some(name) = &settings.profile {
            Body::Profile(Profile { name: name.clone() }).check()?;
        }
        if settings.profile != self.people.settings.profile {
            self.people.told.clear();
        }
        if settings.accept_strangers {
            for request in self.invitations()? {
                if let Some(conversation) = request.conversation {
                    self.accept_conversation(&conversation)?;
                }
            }
        }
        if self.people.settings.presence && !settings.presence {
            self.presence_ends();
        }
        let opened = settings.accept_strangers && !self.people.settings.accept_strangers;
        let renew = settings.backup != self.people.settings.backup;
        let row = SettingsRow { settings, changed_at: self.last_now_ms };
        self.table.put(rows::settings(), &row);
        self.people.settings = row.settings;
        if renew {
            self.renew_archive()?;
        }
        if opened {
            for account in self.waiting_accounts() {
                self.receipts_for_waiting(&account)?;
            }
        }
        Ok(())
    }

    /// The account that is meant, if it is known.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Device`].
    pub fn whom(&self, whom: &Whom) -> Result<AccountId, Error> {
        let known = match whom {
            Whom::Account(account) => Some(*account),
            Whom::Handle(handle) => self.account_of(handle)?,
        };
        known.ok_or(Error::UnknownPerson)
    }

    /// Strangers who wrote, in the order of their first messages.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn requests(&self) -> Result<Vec<Request>, DeviceError> {
        let mut requests: BTreeMap<AccountId, (u64, Request)> = BTreeMap::new();
        for (order, account) in self.inbox.waiting() {
            if self.is_accepted(&account)? || self.person(&account)?.blocked {
                continue;
            }
            if let Some((_, request)) = requests.get_mut(&account) {
                request.messages += 1;
                continue;
            }
            let Some(queued) = self.table.get::<ReceivedRow>(&rows::received(order))? else { continue };
            // What its author took back is not shown; the next one is.
            let Some(row) = self.standing(&queued.conversation, &queued.id)? else { continue };
            let request = Request {
                account,
                conversation: None,
                from: self.name_of(&account)?,
                name: self.profile_of(&account)?,
                text: beginning(&row.text, limits::REQUEST_TEXT_BYTES_MAX).to_owned(),
                messages: 1,
                received_at: row.stored_at,
            };
            requests.insert(account, (order, request));
        }
        let mut requests: Vec<_> = requests.into_values().collect();
        requests.sort_by_key(|(order, _)| *order);
        let of_two = requests.into_iter().map(|(_, request)| request);
        Ok(of_two.chain(self.invitations()?).collect())
    }

    /// Lets an account write to us; what waited is shown and answered with receipts.
    ///
    /// # Errors
    /// [`DeviceError`]: drop the device.
    pub fn accept(&mut self, account: &AccountId) -> Result<(), DeviceError> {
        let mut person = self.person(account)?;
        if person.accepted {
            return Ok(());
        }
        let heard = self.is_accepted(account)?;
        person.accepted = true;
        let blocked = person.blocked;
        self.put_person(account, person);
        if heard || blocked { Ok(()) } else { self.receipts_for_waiting(account) }
    }

    /// From now on nothing of the account is shown or answered; what waited of it is dropped.
    ///
    /// # Errors
    /// [`DeviceError`]: drop the device.
    pub fn block(&mut self, account: &AccountId) -> Result<(), DeviceError> {
        let person = PersonRow { blocked: true, ..self.person(account)? };
        self.put_person(account, person);
        self.presence_ends_with(account);
        self.drop_waiting(account)?;
        self.drop_receipts(account)
    }

    /// The account is again what it was before.
    ///
    /// # Errors
    /// [`DeviceError`]: drop the device.
    pub fn unblock(&mut self, account: &AccountId) -> Result<(), DeviceError> {
        let person = PersonRow { blocked: false, ..self.person(account)? };
        self.put_person(account, person);
        Ok(())
    }

    /// Whether nothing of an account is shown.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn is_blocked(&self, account: &AccountId) -> Result<bool, DeviceError> {
        Ok(self.person(account)?.blocked)
    }

    /// The accounts of which nothing is shown, with their verified handles, else their ids.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn blocked(&self) -> Result<Vec<(AccountId, String)>, DeviceError> {
        let people = self.table.scan::<PersonRow>(&[PERSON])?.into_iter().filter(|(_, person)| person.blocked);
        let accounts = people.filter_map(|(key, _)| key.get(1..).and_then(AccountId::from_slice));
        accounts.map(|account| Ok((account, self.name_of(&account)?))).collect()
    }

    /// What the account wrote, as evidence. It is shown to nobody by this.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn evidence(&self, account: &AccountId) -> Result<Evidence, DeviceError> {
        Ok(Evidence {
            account: *account,
            from: self.name_of(account)?,
            root: self.root_of(account)?,
            messages: self.received_from(account, limits::REPORT_MESSAGES_MAX)?,
        })
    }

    /// What an account wants to be called.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn profile_of(&self, account: &AccountId) -> Result<Option<String>, DeviceError> {
        Ok(self.person(account)?.profile.map(|(_, name)| name))
    }

    /// Keeps the text that is not finished in a conversation; an empty one leaves nothing.
    ///
    /// # Errors
    /// [`Error::TextTooLong`], [`Error::Device`].
    pub fn set_draft(&mut self, conversation: &ConversationId, text: &str) -> Result<(), Error> {
        if text.len() > limits::TEXT_BYTES_MAX {
            return Err(Error::TextTooLong { max: limits::TEXT_BYTES_MAX, got: text.len() });
        }
        if self.draft(conversation)?.unwrap_or_default() != text {
            let row = DraftRow { text: text.to_owned(), changed_at: self.last_now_ms };
            self.table.put(rows::draft(conversation), &row);
        }
        Ok(())
    }

    /// The text that was not finished.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn draft(&self, conversation: &ConversationId) -> Result<Option<String>, DeviceError> {
        let row: Option<DraftRow> = self.table.get(&rows::draft(conversation))?;
        Ok(row.map(|row| row.text).filter(|text| !text.is_empty()))
    }

    pub(super) fn load_people(&mut self) -> Result<(), DeviceError> {
        self.load_settings()?;
        for (key, person) in self.table.scan::<PersonRow>(&[PERSON])? {
            let account = key.get(1..).and_then(AccountId::from_slice);
            if let Some(account) = account.filter(|_| person.told == self.people.settings.profile) {
                self.people.told.insert(account);
            }
        }
        Ok(())
    }

    pub(super) fn load_settings(&mut self) -> Result<(), DeviceError> {
        let row: SettingsRow = self.table.get(&rows::settings())?.unwrap_or_default();
        self.people.settings = row.settings;
        Ok(())
    }

    pub(super) fn put_person(&mut self, account: &AccountId, person: PersonRow) {
        self.table.put(rows::person(account), &PersonRow { changed_at: self.last_now_ms, ..person });
    }

    /// Tells our profile to whom it is due.
    pub(super) fn tell_profile(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        let Some(name) = self.people.settings.profile.clone() else { return Ok(()) };
        let due = |account: &&AccountId| !self.people.told.contains(account);
        for account in self.groups.keys().filter(due).copied().collect::<Vec<_>>() {
            if self.standing_group(&account).is_none() || !self.may_hear_of_us(&account)? {
                continue;
            }
            self.people.told.insert(account);
            let person = PersonRow { told: Some(name.clone()), ..self.person(&account)? };
            self.put_person(&account, person);
            self.write_to_account(&account, Body::Profile(Profile { name: name.clone() }), &mut *random, now_ms)?;
        }
        Ok(())
    }

    pub(super) fn learn_profile(
        &mut self,
        account: &AccountId,
        id: MessageId,
        name: String,
    ) -> Result<(), DeviceError> {
        let mut person = self.person(account)?;
        if person.profile.as_ref().is_none_or(|(newest, _)| *newest < id) {
            person.profile = Some((id, name));
            self.put_person(account, person);
        }
        Ok(())
    }

    pub(super) fn person(&self, account: &AccountId) -> Result<PersonRow, DeviceError> {
        Ok(self.table.get(&rows::person(account))?.unwrap_or_default())
    }

    /// Whether an account is no stranger.
    pub(super) fn is_accepted(&self, account: &AccountId) -> Result<bool, DeviceError> {
        Ok(self.people.settings.accept_strangers || self.person(account)?.accepted)
    }

    /// Whether an account may learn that this device is there and what it holds.
    pub(super) fn may_hear_of_us(&self, account: &AccountId) -> Result<bool, DeviceError> {
        Ok(self.is_accepted(account)? && !self.person(account)?.blocked)
    }

    pub(super) fn may_write_to(&self, to: &Handle) -> Result<(), Error> {
        if *to == self.me.row.handle {
            return Err(Error::ToSelf);
        }
        if self.table.has(&rows::key_change(to)) {
            return Err(Error::KeyChanged(to.to_string()));
        }
        match self.account_of(to)? {
            Some(account) if self.person(&account)?.blocked => Err(Error::Blocked(to.to_string())),
            _ => Ok(()),
        }
    }

    /// Receipts for what a stranger wrote before it was accepted.
    fn receipts_for_waiting(&mut self, account: &AccountId) -> Result<(), DeviceError> {
        for (order, _) in self.inbox.waiting().filter(|(_, of)| of == account).collect::<Vec<_>>() {
            if let Some(row) = self.table.get::<ReceivedRow>(&rows::received(order))? {
                self.outbox.receipt_due(Target::Account(*account), Some(*account), row.id);
            }
        }
        Ok(())
    }

    fn drop_waiting(&mut self, account: &AccountId) -> Result<(), DeviceError> {
        for (order, _) in self.inbox.waiting().filter(|(_, of)| of == account).collect::<Vec<_>>() {
            if let Some(row) = self.table.get::<ReceivedRow>(&rows::received(order))? {
                self.mark_shown(&row.id)?;
                self.begin_timer(&row.conversation, &row.id, self.last_now_ms, true)?;
            }
        }
        Ok(())
    }

    fn waiting_accounts(&self) -> BTreeSet<AccountId> {
        self.inbox.waiting().map(|(_, account)| account).collect()
    }
}

/// At most `max` bytes of a text, whole characters.
fn beginning(text: &str, max: usize) -> &str {
    let end = text.char_indices().map(|(at, character)| at + character.len_utf8()).take_while(|end| *end <= max).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
