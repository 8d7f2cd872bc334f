//! Safety numbers that were compared, and handles behind which another account was found.
//!
//! An account never changes its root key: its id is the key's hash. What can change is which account a handle means, when a person
//! lost the recovery code and began anew, or when a node lies. Then nothing goes there until the person decided.

use super::people::Whom;
use super::rows::{self, KEY_CHANGE, KeyChangeRow, PeerRow, PersonRow, Target};
use super::{Device, DeviceError, Output};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_crypto::keys::PublicKey;
use roost_crypto::safety_number::{SafetyCode, SafetyNumber};
use roost_protocol::handle::Handle;
use roost_protocol::refusal::{Code, Refusal};
use serde::Serialize;

/// Another account was found behind a handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// Which handle.
    pub handle: Handle,
    /// The account that it means now.
    pub account: AccountId,
    /// When that was seen, milliseconds since 1970.
    pub seen_at: u64,
}

impl Device {
    /// Whether the safety number with an account was compared.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn is_verified(&self, account: &AccountId) -> Result<bool, DeviceError> {
        Ok(self.person(account)?.verified)
    }

    /// The account whose safety number is to be compared: the newest that was found behind the handle.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn newest_account_of(&self, handle: &Handle) -> Result<Option<AccountId>, DeviceError> {
        match self.table.get::<KeyChangeRow>(&rows::key_change(handle))? {
            Some(change) => Ok(Some(change.account)),
            None => self.account_of(handle),
        }
    }

    /// The safety number was compared, in words or by its `digits`; a changed key is taken over with it.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::DigitsDiffer`] change nothing; after [`Error::Device`] drop the device.
    pub fn verify(&mut self, whom: &Whom, digits: Option<&str>) -> Result<SafetyNumber, Error> {
        let (account, root) = self.compared(whom)?;
        let number = SafetyNumber::of(self.root(), &root);
        let squeezed = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
        if digits.is_some_and(|digits| squeezed(digits) != number.digits()) {
            return Err(Error::DigitsDiffer);
        }
        self.is_the_same(whom, account)?;
        Ok(number)
    }

    /// The code that the other device shows was read here: it has the same two roots, or somebody stands between.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_code(&mut self, whom: &Whom, code: &SafetyCode) -> Result<SafetyNumber, Error> {
        let (account, root) = self.compared(whom)?;
        if *code != SafetyCode::of(&root, self.root()) {
            return Err(Error::DigitsDiffer);
        }
        self.is_the_same(whom, account)?;
        Ok(SafetyNumber::of(self.root(), &root))
    }

    /// The code that the other device is to read.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::Device`].
    pub fn safety_code(&self, whom: &Whom) -> Result<SafetyCode, Error> {
        let (_, root) = self.compared(whom)?;
        Ok(SafetyCode::of(self.root(), &root))
    }

    /// Takes the account over that is now behind a handle, unverified. `false` if it never changed.
    ///
    /// # Errors
    /// [`DeviceError`]: drop the device.
    pub fn accept_key(&mut self, handle: &Handle) -> Result<bool, DeviceError> {
        let key = rows::key_change(handle);
        let Some(change) = self.table.get::<KeyChangeRow>(&key)? else { return Ok(false) };
        if let Some(before) = self.account_of(handle)? {
            self.name(&before, None)?;
        }
        self.name(&change.account, Some(handle))?;
        self.table.put(rows::contact(handle), &change.account);
        self.table.delete(key);
        self.outbox.route(&Target::Handle(handle.clone())).is_free();
        self.accept(&change.account)?;
        Ok(true)
    }

    /// Changed keys about which the person has not decided.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn key_changes(&self) -> Result<Vec<KeyChange>, DeviceError> {
        let rows = self.table.scan::<KeyChangeRow>(&[KEY_CHANGE])?.into_iter();
        Ok(rows
            .map(|(_, KeyChangeRow { handle, account, seen_at, .. })| KeyChange { handle, account, seen_at })
            .collect())
    }

    /// Those that were not shown yet.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn unshown_key_changes(&self) -> Result<Vec<KeyChange>, DeviceError> {
        let rows = self.table.scan::<KeyChangeRow>(&[KEY_CHANGE])?.into_iter().filter(|(_, row)| !row.shown);
        Ok(rows
            .map(|(_, KeyChangeRow { handle, account, seen_at, .. })| KeyChange { handle, account, seen_at })
            .collect())
    }

    /// The person saw that a key changed.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn key_change_shown(&mut self, handle: &Handle) -> Result<(), DeviceError> {
        let key = rows::key_change(handle);
        if let Some(row) = self.table.get::<KeyChangeRow>(&key)?.filter(|row| !row.shown) {
            self.table.put(key, &KeyChangeRow { shown: true, ..row });
        }
        Ok(())
    }

    /// A handle was resolved: `true` if it means another account than the person knows, which then waits for a decision.
    pub(super) fn watch_key(&mut self, handle: &Handle, account: AccountId, now_ms: u64) -> Result<bool, DeviceError> {
        let Some(known) = self.account_of(handle)?.filter(|known| *known != account) else { return Ok(false) };
        let key = rows::key_change(handle);
        let seen: Option<KeyChangeRow> = self.table.get(&key)?;
        if seen.is_none_or(|seen| seen.account != account) {
            let person = PersonRow { verified: false, ..self.person(&known)? };
            self.put_person(&known, person);
            let row = KeyChangeRow { handle: handle.clone(), account, seen_at: now_ms, shown: false };
            self.table.put(key, &row);
            self.staged.push(Output::KeyChanged { handle: handle.clone(), account });
        }
        Ok(true)
    }

    /// Whether messages to a handle wait until the person decided about its changed key.
    pub(super) fn held_by_key(&mut self, handle: &Handle) -> bool {
        if !self.table.has(&rows::key_change(handle)) {
            return false;
        }
        let message = format!("the account behind {handle} is another one");
        let hint = "compare safety numbers, then `roost chat verify` or `roost chat accept-key`";
        self.outbox.route(&Target::Handle(handle.clone())).is_held(Refusal::later(Code::BadLog, message, hint));
        true
    }

    /// Whose safety number is meant, and its root.
    fn compared(&self, whom: &Whom) -> Result<(AccountId, PublicKey), Error> {
        let account = match whom {
            Whom::Handle(handle) => self.newest_account_of(handle)?.ok_or(Error::UnknownPerson)?,
            Whom::Account(account) => *account,
        };
        Ok((account, self.root_of(&account)?.ok_or(Error::UnknownPerson)?))
    }

    /// What was compared is the same; a changed key is taken over with it.
    fn is_the_same(&mut self, whom: &Whom, account: AccountId) -> Result<(), DeviceError> {
        if let Whom::Handle(handle) = whom {
            self.accept_key(handle)?;
        }
        let person = PersonRow { verified: true, ..self.person(&account)? };
        self.put_person(&account, person);
        Ok(())
    }

    fn name(&mut self, account: &AccountId, handle: Option<&Handle>) -> Result<(), DeviceError> {
        if let Some(mut row) = self.table.get::<PeerRow>(&rows::peer(account))? {
            row.handle = handle.cloned();
            self.table.put(rows::peer(account), &row);
        }
        Ok(())
    }
}
