//! Devices of an account that lives here: its log grows, and what rests on it follows.
//!
//! The log decides, by its signatures; this home only keeps the newest. Whoever brings it, a device, another node or a commit,
//! the same comes of it: keys of an ended device go, its connection ends, the others and the directory are told. Implements
//! `docs/protocol.md`, section "Devices of an account".

use super::accounts::{AccountRow, check_at_home, home_row, known_log, verified};
use super::{ConnectionId, Failure, Output, Relay, Step, rows};
use crate::store::{Read as _, StoreError};
use roost_crypto::identity_log::{IdentityLog, Relation, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::keys::PublicKey;
use roost_crypto::signed::Signed;
use roost_protocol::limits;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;

/// A log of this home that took the place of another one, to be told once the input stands.
pub(super) struct ChangedLog {
    account: AccountId,
    log: IdentityLog,
    handle_record: Signed,
    ended: Vec<DeviceId>,
    /// The connection that brought it and needs no telling.
    by: Option<ConnectionId>,
}

impl Relay {
    /// A device brings the next log of its account: compare and swap.
    pub(super) fn append_log(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        log: &IdentityLog,
    ) -> Result<(), Failure> {
        check_at_home(step, &account)?;
        let next = verified(log)?;
        if next.account() != account {
            return Err(Refusal::never(Code::BadLog, "the log is another account's", "send your own account's").into());
        }
        self.check_home(&next)?;
        let held = known_log(step, &account)?;
        match held.as_ref().map_or(Relation::Extended, |held| held.relation(&next)) {
            Relation::Same => {}
            Relation::Extended | Relation::Reset => {
                self.may_append_log(step, &account)?;
                self.learn_log(step, log)?;
                if let Some(changed) = self.changed_logs.last_mut() {
                    changed.by = Some(connection);
                }
            }
            Relation::Behind | Relation::Branched | Relation::OtherAccount => {
                // What stands comes first: the device plans its change anew from it.
                if let Some(held) = held {
                    self.send(connection, ServerFrame::LogChanged { log: held.log().clone() });
                }
                let message = "the log does not extend the one that stands";
                return Err(Refusal::never(Code::BadLog, message, "append to the log that stands").into());
            }
        }
        self.send(connection, ServerFrame::Done { id });
        Ok(())
    }

    /// What a device begins with that has nothing but the recovery code.
    pub(super) fn fetch_account(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: &AccountId,
    ) -> Result<(), Failure> {
        let AccountRow { log, handle_record } = home_row(step, account)?;
        self.send(connection, ServerFrame::Account { id, log, handle_record });
        Ok(())
    }

    /// The newer log of an account that lives here stands: rows of ended devices go, new devices begin at the inbox's end.
    pub(super) fn devices_changed(
        &mut self,
        step: &mut Step<'_, '_>,
        before: &VerifiedLog,
        after: &VerifiedLog,
    ) -> Result<(), Failure> {
        let account = after.account();
        let row: Option<AccountRow> = rows::get(step.rows, &rows::account(&account))?;
        let Some(AccountRow { log, handle_record }) = row else { return Ok(()) };
        let mut ended = Vec::new();
        for (device, (key, _)) in before.device_keys() {
            if !after.device_keys().contains_key(device) {
                end_device(step, &account, device, key)?;
                self.outputs.push(Output::PushForget(*device));
                ended.push(*device);
            }
        }
        for device in after.device_keys().keys().filter(|device| !before.device_keys().contains_key(device)) {
            step.rows.delete(rows::ended(&account, device));
            self.begin_cursor(step, &account, device)?;
        }
        self.trim_inbox(step, &account)?;
        self.changed_logs.push(ChangedLog { account, log, handle_record, ended, by: None });
        Ok(())
    }

    /// Tells of the logs that changed in an input that stands.
    pub(super) fn tell_changed_logs(&mut self) {
        for ChangedLog { account, log, handle_record, ended, by } in std::mem::take(&mut self.changed_logs) {
            self.outputs.push(Output::Publish { log: log.clone(), handle_record, changed: true });
            let present: Vec<ConnectionId> = self.present.get(&account).into_iter().flatten().copied().collect();
            for connection in present {
                let device = self.connections.get(&connection).and_then(|state| state.device).map(|(_, device)| device);
                if device.is_some_and(|device| ended.contains(&device)) {
                    self.send(connection, ServerFrame::Refused { id: None, error: revoked() });
                    self.forget(connection);
                    self.outputs.push(Output::Close(connection));
                } else if by != Some(connection) {
                    self.send(connection, ServerFrame::LogChanged { log: log.clone() });
                }
            }
        }
    }
}

/// The key of a device that was ended, by the log or by a reset that this home has seen.
pub(super) fn ended_key(
    step: &Step<'_, '_>,
    log: &VerifiedLog,
    device: &DeviceId,
) -> Result<Option<PublicKey>, StoreError> {
    match log.revoked_key(device) {
        Some(key) => Ok(Some(*key)),
        None => rows::get(step.rows, &rows::ended(&log.account(), device)),
    }
}

/// To a device that the log has ended.
pub(super) fn revoked() -> Refusal {
    Refusal::never(Code::Revoked, "the account's log has ended this device", "link it anew, with a new key")
}

fn end_device(
    step: &mut Step<'_, '_>,
    account: &AccountId,
    device: &DeviceId,
    key: &PublicKey,
) -> Result<(), StoreError> {
    let pool = rows::key(rows::KEY_PACKAGE, &[account.as_bytes(), device.as_bytes()]);
    for (package, _) in step.rows.scan(&pool, &rows::end_of(&pool), limits::KEY_PACKAGES_MAX)? {
        step.rows.delete(package);
    }
    step.rows.delete(rows::key(rows::LAST_RESORT, &[account.as_bytes(), device.as_bytes()]));
    step.rows.delete(rows::cursor(account, device));
    step.rows.delete(rows::seen(account, device));
    step.rows.delete(rows::push(account, device));
    rows::put(step.rows, rows::ended(account, device), key);
    Ok(())
}
