//! Accounts of this home: sign-up by invite, return after a lost store, sign-in, key packages.

use super::devices::{ended_key, revoked};
use super::inbox::Extent;
use super::quotas::{KEY_PACKAGES_RESERVE, busy};
use super::rows;
use super::{ConnectionId, Failure, Output, Relay, Step};
use crate::store::{Overlay, Read as _, StoreError};
use roost_crypto::bytes::Bytes;
use roost_crypto::group::{GroupError, KeyPackageInfo};
use roost_crypto::identity_log::{IdentityLog, Relation, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId, NodeId, OrgId};
use roost_crypto::keys::{PublicKey, Signature};
use roost_crypto::labels;
use roost_crypto::planted;
use roost_crypto::signed::Signed;
use roost_protocol::handle::Handle;
use roost_protocol::invite::InviteProof;
use roost_protocol::limits;
use roost_protocol::records::HandleRecord;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ServerFrame, verify_sign_in};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Pause before an account without a last-resort package is asked for again, milliseconds: a budget grows by one in ten minutes.
const KEY_PACKAGE_PAUSE_MS: u64 = 10 * 60 * 1_000;

/// What a home keeps of an account.
#[derive(Serialize, Deserialize)]
pub struct AccountRow {
    /// Its newest identity log.
    pub log: IdentityLog,
    /// The handle record, signed by this organisation.
    pub handle_record: Signed,
}

#[derive(Serialize, Deserialize)]
struct InviteRow {
    uses: u32,
    expires_ms: u64,
}

pub(super) fn put_invite(step: &mut Step<'_, '_>, key: &PublicKey, uses: u32, expires_ms: u64) {
    rows::put(step.rows, rows::key(rows::INVITE, &[key.as_bytes()]), &InviteRow { uses, expires_ms });
}

impl Relay {
    pub(super) fn sign_up(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        local: &str,
        invite: Option<&InviteProof>,
        log: &IdentityLog,
    ) -> Result<(), Failure> {
        let log = verified(log)?;
        self.check_home(&log)?;
        let handle = Handle::new(local, &self.identity.name)
            .map_err(|error| Refusal::never(Code::Malformed, error.to_string(), "choose another name"))?;
        let account = log.account();
        let handle_key = rows::key(rows::HANDLE, &[handle.local().as_bytes()]);
        match rows::get::<AccountId>(step.rows, &handle_key)? {
            Some(owner) if owner == account => {}
            Some(_) => {
                return Err(Refusal::never(Code::HandleTaken, "the name is taken", "choose another name").into());
            }
            None => self.use_invite(step, connection, &account, invite)?,
        }
        let new = rows::get::<AccountRow>(step.rows, &rows::account(&account))?.is_none();
        if new {
            let record = HandleRecord {
                root: self.identity.org_key.public_key(),
                handle,
                account,
                seq: step.now_ms / 1000,
                expires: step.now_ms / 1000 + limits::RECORD_LIFE_S,
            };
            let handle_record = record.sign(&self.identity.org_key);
            rows::put(step.rows, handle_key, &account);
            rows::put(step.rows, rows::account(&account), &AccountRow { log: log.log().clone(), handle_record });
        }
        self.signed_up(step, connection, id, &account, new)
    }

    pub(super) fn restore(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        handle_record: Signed,
        log: &IdentityLog,
    ) -> Result<(), Failure> {
        let log = verified(log)?;
        self.check_home(&log)?;
        let account = log.account();
        let bad =
            || Refusal::never(Code::BadInvite, "this record is not of this organisation and account", "sign up anew");
        // Its end is not asked for: the record proves that this organisation admitted the account, not that it is fresh.
        let root = self.identity.org_key.public_key();
        let record: HandleRecord =
            handle_record.open(labels::SIGN_HANDLE_RECORD, &root, limits::DHT_VALUE_BYTES_MAX).map_err(|_| bad())?;
        if record.account != account || OrgId::of(&record.root) != self.org {
            return Err(bad().into());
        }
        let handle_key = rows::key(rows::HANDLE, &[record.handle.local().as_bytes()]);
        let known = rows::get::<AccountId>(step.rows, &handle_key)?;
        match known {
            Some(owner) if owner != account => {
                return Err(Refusal::never(Code::HandleTaken, "the name is taken", "ask the operator").into());
            }
            // A device that came by the recovery code shows a log that has it.
            Some(_) => drop(self.learn_log(step, log.log())?),
            None => {
                // This node may have heard a newer one while the account was forgotten here.
                let log = self.learn_log(step, log.log())?;
                self.check_home(&log)?;
                let renewed = HandleRecord {
                    seq: record.seq.max(step.now_ms / 1000) + 1,
                    expires: step.now_ms / 1000 + limits::RECORD_LIFE_S,
                    ..record
                };
                let handle_record = renewed.sign(&self.identity.org_key);
                rows::put(step.rows, handle_key, &account);
                rows::put(step.rows, rows::account(&account), &AccountRow { log: log.log().clone(), handle_record });
            }
        }
        self.signed_up(step, connection, id, &account, known.is_none())
    }

    pub(super) fn sign_in(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        device: DeviceId,
        signature: &Signature,
    ) -> Result<(), Failure> {
        let log = verified(&home_log(step, &account)?)?;
        let bad = || {
            Refusal::never(
                Code::BadSignIn,
                "the answer to the challenge does not fit",
                "sign this connection's challenge with an active device key",
            )
        };
        let active = log.device_keys().get(&device).map(|(key, _)| *key);
        let key = match active {
            Some(key) => key,
            None => ended_key(step, &log, &device)?.ok_or_else(bad)?,
        };
        let known = self.connections.get_mut(&connection).ok_or_else(bad)?;
        if !verify_sign_in(&key, &self.node, &known.challenge, &account, &device, signature) {
            return Err(bad().into());
        }
        // Only whoever has the key learns that it was ended.
        if active.is_none() && !planted!(self.identity.sabotage, RevokedAdmitted) {
            return Err(revoked().into());
        }
        if known.device.is_some_and(|signed_in| signed_in != (account, device)) {
            let message = "another device signed in on this connection";
            return Err(Refusal::never(Code::BadSignIn, message, "open a connection for each device").into());
        }
        known.device = Some((account, device));
        self.links.forget(connection);
        self.saw(step, &account, &device)?;
        // One connection a device: the newest wins, a half-open one does not hold it up.
        let present = self.present.entry(account).or_default();
        present.insert(connection);
        let older: Vec<_> = present
            .iter()
            .filter(|other| **other != connection)
            .filter(|other| self.connections.get(other).is_some_and(|state| state.device == Some((account, device))))
            .copied()
            .collect();
        let mut unseen = super::push::Unseen::new();
        for other in older {
            unseen.extend(
                self.connections.get_mut(&other).map(|state| std::mem::take(&mut state.unseen)).unwrap_or_default(),
            );
            self.forget(other);
            self.outputs.push(Output::Close(other));
        }
        drop_lapsed(step, self.identity.inspector.key_package, &account, &device)?;
        let pool = rows::key(rows::KEY_PACKAGE, &[account.as_bytes(), device.as_bytes()]);
        let key_packages = step.rows.scan(&pool, &rows::end_of(&pool), limits::KEY_PACKAGES_MAX)?.len();
        let last_resort = step.rows.get(&rows::key(rows::LAST_RESORT, &[account.as_bytes(), device.as_bytes()]))?;
        let Extent { head: inbox, .. } = Extent::read(step.rows, &account)?;
        let frame = ServerFrame::SignedIn {
            id,
            inbox,
            key_packages: u32::try_from(key_packages).unwrap_or(u32::MAX),
            last_resort: last_resort.is_some(),
        };
        self.send(connection, frame);
        self.is_here(step, connection, (account, device), unseen)?;
        Ok(())
    }

    fn signed_up(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: &AccountId,
        changed: bool,
    ) -> Result<(), Failure> {
        let Some(AccountRow { log, handle_record }) = rows::get(step.rows, &rows::account(account))? else {
            return Err(Refusal::never(Code::NotHome, "the account is not known here", "sign up first").into());
        };
        let org = self.own_hello()?.org;
        self.outputs.push(Output::Publish { log, handle_record: handle_record.clone(), changed });
        self.send(connection, ServerFrame::SignedUp { id, handle_record, org });
        Ok(())
    }

    /// Publishes `limit` accounts again, from the first or from where a page before ended; gives where this one does, `None`
    /// at the end. Called when the node starts and every few hours. A handle record in the second half of its life is signed
    /// anew.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn publish_accounts(
        &self,
        rows: &mut Overlay<'_>,
        now_ms: u64,
        from: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<(Vec<Output>, Option<Vec<u8>>), StoreError> {
        let prefix = [rows::ACCOUNT];
        let now_s = now_ms / 1000;
        let mut outputs = Vec::new();
        let page = rows.scan(&from.unwrap_or_else(|| prefix.to_vec()), &rows::end_of(&prefix), limit)?;
        let next = page.last().filter(|_| page.len() >= limit).map(|(key, _)| [key.as_slice(), &[0]].concat());
        for (key, value) in page {
            let mut row: AccountRow = rows::decode(&key, &value)?;
            let record: Option<HandleRecord> = row.handle_record.peek(limits::DHT_VALUE_BYTES_MAX).ok();
            // Also one that a clock far ahead has signed: nobody believes it until its time has come.
            let fits = now_s + limits::RECORD_LIFE_S_MAX / 2..=now_s + limits::RECORD_LIFE_S_MAX;
            let due = record.filter(|record| !fits.contains(&record.expires));
            let changed = due.is_some();
            if let Some(record) = due {
                let renewed =
                    HandleRecord { seq: now_s.max(record.seq + 1), expires: now_s + limits::RECORD_LIFE_S, ..record };
                row.handle_record = renewed.sign(&self.identity.org_key);
                rows::put(rows, key, &row);
            }
            outputs.push(Output::Publish { log: row.log, handle_record: row.handle_record, changed });
        }
        Ok((outputs, next))
    }

    pub(super) fn check_home(&self, log: &VerifiedLog) -> Result<(), Failure> {
        if log.homes().contains(&self.node) {
            Ok(())
        } else {
            Err(Refusal::never(Code::NotHome, "the identity log names another home", "name this node in the log")
                .into())
        }
    }

    fn use_invite(
        &self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        account: &AccountId,
        invite: Option<&InviteProof>,
    ) -> Result<(), Failure> {
        if self.identity.open {
            return Ok(());
        }
        let bad = || {
            Refusal::never(
                Code::BadInvite,
                "the invite is unknown, used up or expired",
                "ask the operator for a new one",
            )
        };
        let challenge = &self.connections.get(&connection).ok_or_else(bad)?.challenge;
        let invite = invite.filter(|invite| invite.fits(&self.node, challenge, account)).ok_or_else(bad)?;
        let key = rows::key(rows::INVITE, &[invite.key.as_bytes()]);
        let mut row: InviteRow = rows::get(step.rows, &key)?.ok_or_else(bad)?;
        if row.uses == 0 || row.expires_ms < step.now_ms {
            return Err(bad().into());
        }
        row.uses -= 1;
        rows::put(step.rows, key, &row);
        Ok(())
    }
}

pub(super) fn put_key_packages(
    step: &mut Step<'_, '_>,
    inspect: fn(&[u8]) -> Result<KeyPackageInfo, GroupError>,
    account: AccountId,
    device: DeviceId,
    packages: &[Bytes],
    last_resort: Option<&Bytes>,
) -> Result<(), Failure> {
    let log = verified(&home_log(step, &account)?)?;
    let bad = |what: &str| Refusal::never(Code::Malformed, what.to_owned(), "make key packages with this device's key");
    for package in packages.iter().chain(last_resort) {
        let info = inspect(package.as_slice()).map_err(|error| bad(&error.to_string()))?;
        let fits = info.member.credential.account == account
            && info.member.credential.device == device
            && log.device_keys().get(&device).is_some_and(|(key, _)| *key == info.member.key);
        if !fits {
            return Err(bad("the key package is of another device").into());
        }
    }
    drop_lapsed(step, inspect, &account, &device)?;
    let pool = rows::key(rows::KEY_PACKAGE, &[account.as_bytes(), device.as_bytes()]);
    let held = step.rows.scan(&pool, &rows::end_of(&pool), limits::KEY_PACKAGES_MAX)?.len();
    if held + packages.len() > limits::KEY_PACKAGES_MAX {
        return Err(Refusal::never(Code::TooLarge, "the pool holds at most 100 key packages", "upload fewer").into());
    }
    let next = match step.rows.last(&pool, &rows::end_of(&pool))? {
        Some((key, _)) => key.get(pool.len()..).and_then(|tail| tail.try_into().ok()).map_or(0, u64::from_be_bytes) + 1,
        None => step.now_ms << 8,
    };
    for (number, package) in (next..).zip(packages) {
        step.rows.put([&pool[..], &rows::position(number)].concat(), package.0.clone());
    }
    if let Some(package) = last_resort {
        step.rows.put(rows::key(rows::LAST_RESORT, &[account.as_bytes(), device.as_bytes()]), package.0.clone());
    }
    Ok(())
}

/// What does not verify any more, because its life is over, goes: nobody could begin a conversation with it, and its device is
/// to hear that there is room. The pool is in the order in which it was put, so its oldest are looked at only.
fn drop_lapsed(
    step: &mut Step<'_, '_>,
    inspect: fn(&[u8]) -> Result<KeyPackageInfo, GroupError>,
    account: &AccountId,
    device: &DeviceId,
) -> Result<(), Failure> {
    let pool = rows::key(rows::KEY_PACKAGE, &[account.as_bytes(), device.as_bytes()]);
    while let Some((key, package)) = step.rows.scan(&pool, &rows::end_of(&pool), 1)?.into_iter().next() {
        if inspect(&package).is_ok() {
            break;
        }
        step.rows.delete(key);
    }
    let key = rows::key(rows::LAST_RESORT, &[account.as_bytes(), device.as_bytes()]);
    if step.rows.get(&key)?.is_some_and(|package| inspect(&package).is_err()) {
        step.rows.delete(key);
    }
    Ok(())
}

/// One package of each device; a one-time package leaves the store in the same batch, so it is never handed out twice.
/// `one_time` decides, from how many the device has left (at most one more than the reserve), whether one of them is given; else
/// the last-resort package is.
pub(super) fn take_key_packages(
    step: &mut Step<'_, '_>,
    inspect: fn(&[u8]) -> Result<KeyPackageInfo, GroupError>,
    account: AccountId,
    mut one_time: impl FnMut(&DeviceId, usize) -> bool,
) -> Result<(IdentityLog, Vec<(DeviceId, Bytes)>), Failure> {
    let log = verified(&home_log(step, &account)?)?;
    let mut packages = Vec::new();
    let mut over_budget = false;
    for device in log.device_keys().keys() {
        drop_lapsed(step, inspect, &account, device)?;
        let pool = rows::key(rows::KEY_PACKAGE, &[account.as_bytes(), device.as_bytes()]);
        let held = step.rows.scan(&pool, &rows::end_of(&pool), KEY_PACKAGES_RESERVE + 1)?;
        let given = !held.is_empty() && one_time(device, held.len());
        over_budget |= !held.is_empty() && !given;
        let last_resort = rows::key(rows::LAST_RESORT, &[account.as_bytes(), device.as_bytes()]);
        if let Some((key, package)) = held.into_iter().next().filter(|_| given) {
            step.rows.delete(key);
            packages.push((*device, Bytes(package)));
        } else if let Some(package) = step.rows.get(&last_resort)? {
            packages.push((*device, Bytes(package)));
        }
    }
    if packages.is_empty() && over_budget {
        return Err(busy("too many key packages of this account were asked for", KEY_PACKAGE_PAUSE_MS));
    }
    if packages.is_empty() {
        return Err(Refusal::later(
            Code::NoKeyPackage,
            "no device of the account has a key package here",
            "wait until it has been online",
        )
        .into());
    }
    Ok((log.log().clone(), packages))
}

/// Whether an account lives here.
pub(super) fn check_at_home(step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
    if step.rows.get(&rows::account(account))?.is_some() { Ok(()) } else { Err(not_here()) }
}

fn not_here() -> Failure {
    Refusal::never(Code::NotHome, "the account is not known here", "look its home up again; its own device restores it")
        .into()
}

/// What is kept of an account that lives here.
pub(super) fn home_row(step: &Step<'_, '_>, account: &AccountId) -> Result<AccountRow, Failure> {
    rows::get(step.rows, &rows::account(account))?.ok_or_else(not_here)
}

/// The log of an account that lives here.
pub(super) fn home_log(step: &Step<'_, '_>, account: &AccountId) -> Result<IdentityLog, Failure> {
    Ok(home_row(step, account)?.log)
}

/// The account of a handle of this organisation, where it is known here.
pub(super) fn local_handle(step: &Step<'_, '_>, handle: &Handle) -> Result<Option<AccountRow>, StoreError> {
    let key = rows::key(rows::HANDLE, &[handle.local().as_bytes()]);
    match rows::get::<AccountId>(step.rows, &key)? {
        Some(account) => rows::get(step.rows, &rows::account(&account)),
        None => Ok(None),
    }
}

/// Keeps the newer of the known and the given log of an account, wherever it lives.
pub(super) fn learn_log(step: &mut Step<'_, '_>, log: &IdentityLog) -> Result<Arc<VerifiedLog>, Failure> {
    let log = Arc::new(verified(log)?);
    match known_log(step, &log.account())? {
        None => {
            rows::put(step.rows, rows::peer_log(&log.account()), log.log());
            Ok(log)
        }
        Some(known) => match known.relation(&log) {
            Relation::Extended | Relation::Reset => {
                let at_home = rows::account(&log.account());
                if let Some(mut row) = rows::get::<AccountRow>(step.rows, &at_home)? {
                    row.log = log.log().clone();
                    rows::put(step.rows, at_home, &row);
                } else {
                    rows::put(step.rows, rows::peer_log(&log.account()), log.log());
                }
                Ok(log)
            }
            Relation::Same | Relation::Behind => Ok(known),
            Relation::Branched | Relation::OtherAccount => Err(Refusal::never(
                Code::BadLog,
                "the identity log branches from the one known here",
                "compare safety numbers; the account's recovery code resets its log",
            )
            .into()),
        },
    }
}

/// The newest log known of an account, wherever it lives; verified once for each content of its row.
pub(super) fn known_log(step: &Step<'_, '_>, account: &AccountId) -> Result<Option<Arc<VerifiedLog>>, Failure> {
    let (at_home, elsewhere) = (rows::account(account), rows::peer_log(account));
    let read = |value: Vec<u8>, decode: &dyn Fn(&[u8]) -> Result<IdentityLog, StoreError>| {
        step.memo().logs.of(*account, value, |value| verified(&decode(value)?)).map(Some)
    };
    if let Some(value) = step.rows.get(&at_home)? {
        read(value, &|value| Ok(rows::decode::<AccountRow>(&at_home, value)?.log))
    } else if let Some(value) = step.rows.get(&elsewhere)? {
        read(value, &|value| rows::decode(&elsewhere, value))
    } else {
        Ok(None)
    }
}

/// The first home of an account whose log is known.
pub(super) fn home_of(step: &Step<'_, '_>, account: &AccountId) -> Result<NodeId, Failure> {
    known_log(step, account)?.and_then(|log| log.homes().first().copied()).ok_or_else(|| {
        Refusal::later(Code::NotFound, "the account's home is not known here", "resolve its handle first").into()
    })
}

pub(super) fn verified(log: &IdentityLog) -> Result<VerifiedLog, Failure> {
    VerifiedLog::verify(log).map_err(|error| {
        Refusal::never(Code::BadLog, error.to_string(), "send the whole identity log, unchanged").into()
    })
}
