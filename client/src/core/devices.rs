//! The devices of the account: the newest log says which, and what this one wants of it goes to the home as the next log.
//!
//! A change is compared and swapped: where the home's log is longer, it is taken and the change is planned anew. The names of
//! devices are the person's own business and travel in the archive only.
//!
//! Implements `docs/protocol.md`, section "Devices of an account".

use super::link::Pending;
use super::rows::{self, DeviceNameRow};
use super::{Device, DeviceError, Output};
use crate::error::Error;
use roost_crypto::identity_log::{LogError, Operation, Signer, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::keys::PublicKey;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;
use serde::Serialize;

/// Longest name of a device, bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// A device of the account, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// Its id.
    pub device: DeviceId,
    /// What the person calls it; empty for nothing.
    pub name: String,
    /// Whether it is this one.
    pub current: bool,
    /// The entry of the log that admitted it.
    pub since_seq: u64,
}

/// A change of the account's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogChange {
    /// This device is to be one of the account's.
    Add(PublicKey),
    /// This one not any more.
    Revoke(DeviceId),
}

/// What this device wants of the account's log; nothing of it outlives the process.
#[derive(Default)]
pub(super) struct Devices {
    wanted: Option<LogChange>,
    /// Whether the home was asked on this connection.
    asked: bool,
    /// Why the last change did not come true; `None` once it did.
    failed: Option<Refusal>,
    /// The newer log has ended this device.
    pub ended: bool,
}

impl Devices {
    /// Nothing that was asked on the connection is answered any more.
    pub fn disconnected(&mut self) {
        self.asked = false;
    }
}

impl Device {
    /// How many active devices somebody has, by the newest log that is known here.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn known_devices(&self, account: &AccountId) -> Result<Option<usize>, DeviceError> {
        Ok(self.log_of(account)?.map(|log| log.device_keys().len()))
    }

    /// The active devices of the account, in the order in which they were admitted.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn devices(&self) -> Result<Vec<DeviceReport>, DeviceError> {
        let mut reports = Vec::new();
        for (device, (_, since_seq)) in self.me.log.device_keys() {
            let row: Option<DeviceNameRow> = self.table.get(&rows::device_name(device))?;
            let name = row.map(|row| row.name).unwrap_or_default();
            let (device, since_seq) = (*device, *since_seq);
            reports.push(DeviceReport { device, name, current: device == self.me.device, since_seq });
        }
        reports.sort_by_key(|report| (report.since_seq, report.device));
        Ok(reports)
    }

    /// Calls this device otherwise.
    ///
    /// # Errors
    /// [`Error::TextTooLong`] changes nothing.
    pub fn name_device(&mut self, name: &str, now_ms: u64) -> Result<(), Error> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Error::TextTooLong { max: NAME_BYTES_MAX, got: name.len() });
        }
        let row = DeviceNameRow { name: name.to_owned(), changed_at: now_ms };
        self.table.put(rows::device_name(&self.me.device), &row);
        Ok(())
    }

    /// Wants a change of the account's log. [`Self::log_change`] tells how it stands; a wish of before is given up.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`], [`Error::NotPossible`] change nothing.
    pub fn change_log(&mut self, change: LogChange) -> Result<(), Error> {
        match change {
            LogChange::Revoke(device) if device == self.me.device => {
                return Err(Error::NotPossible("a device does not revoke itself: do it on another one".into()));
            }
            LogChange::Revoke(device) if !self.me.log.device_keys().contains_key(&device) => {
                return Err(Error::UnknownDevice);
            }
            LogChange::Revoke(_) | LogChange::Add(_) => {}
        }
        if !self.is_true(&change) {
            self.next_log(&change).map_err(|error| Error::NotPossible(error.to_string()))?;
        }
        self.devices.wanted = Some(change);
        self.devices.failed = None;
        Ok(())
    }

    /// Whether a change that was wanted is true now; `None` while it is under way.
    ///
    /// # Errors
    /// [`Error::Refused`]: it will not come true by itself.
    pub fn log_change(&self, change: &LogChange) -> Result<Option<()>, Error> {
        match &self.devices.failed {
            _ if self.is_true(change) => Ok(Some(())),
            Some(error) => Err(Error::Refused(error.clone())),
            None => Ok(None),
        }
    }

    /// The account's own log as it stands.
    pub fn own_log(&self) -> &VerifiedLog {
        &self.me.log
    }

    /// Asks the home for what is wanted of the log.
    pub(super) fn pump_devices(&mut self) {
        let Some(change) = self.devices.wanted.filter(|_| self.link.is_ready() && !self.devices.asked) else { return };
        if self.is_true(&change) {
            self.devices.wanted = None;
            return;
        }
        match self.next_log(&change) {
            Ok(next) => {
                let log = next.log().clone();
                self.devices.asked = true;
                self.request(Pending::AppendLog(Box::new(next)), |id| ClientFrame::AppendLog { id, log });
            }
            Err(error) => {
                let hint = "restore the account with its recovery code: that begins the log anew";
                self.log_change_failed(Refusal::never(Code::BadLog, error.to_string(), hint));
            }
        }
    }

    /// The home has taken the log that we signed.
    pub(super) fn log_appended(&mut self, log: &VerifiedLog) -> Result<(), DeviceError> {
        self.devices.asked = false;
        self.learn_own_log(log)?;
        Ok(())
    }

    /// The home has not: if its log is longer, it has told it before.
    pub(super) fn append_refused(&mut self, refused: &VerifiedLog, error: Refusal) {
        self.devices.asked = false;
        let moved_on = self.me.log.relation(refused) != roost_crypto::identity_log::Relation::Extended;
        if !(error.code == Code::BadLog && moved_on) {
            self.log_change_failed(error);
        }
    }

    fn log_change_failed(&mut self, error: Refusal) {
        self.devices.wanted = None;
        self.devices.failed = Some(error);
        self.staged.push(Output::DevicesChanged);
    }

    /// Takes over a newer log of the account itself; `None` if it contradicts ours.
    pub(super) fn learn_own_log(&mut self, log: &VerifiedLog) -> Result<Option<VerifiedLog>, DeviceError> {
        let Ok(newer) = self.me.log.supersede(log) else { return Ok(None) };
        if newer == self.me.log {
            return Ok(Some(newer));
        }
        if newer.device_keys().contains_key(&self.me.device) {
            self.me.log = newer.clone();
            self.me.row.log = newer.log().clone();
            self.table.put(rows::account(), &self.me.row);
            self.leaves.look();
            self.staged.push(Output::DevicesChanged);
        } else {
            // The row keeps the last log that has this device: what was received stays readable here.
            self.end_device();
        }
        Ok(Some(newer))
    }

    /// The account has ended this device: nothing more is sent from here.
    pub(super) fn end_device(&mut self) {
        if !std::mem::replace(&mut self.devices.ended, true) {
            self.staged.push(Output::Revoked);
        }
    }

    fn is_true(&self, change: &LogChange) -> bool {
        let devices = self.me.log.device_keys();
        match change {
            LogChange::Add(key) => devices.contains_key(&DeviceId::of(key)),
            LogChange::Revoke(device) => !devices.contains_key(device),
        }
    }

    fn next_log(&self, change: &LogChange) -> Result<VerifiedLog, LogError> {
        let op = match change {
            LogChange::Add(device) => Operation::AddDevice { device: *device },
            LogChange::Revoke(device) => Operation::RevokeDevice { device: *device },
        };
        self.me.log.append(op, Signer::Device(self.me.device), &self.me.key)
    }
}
