//! An account comes back by its recovery code alone: the root key admits a new device, and may end the others.
//!
//! Knows no device of before. Implements `docs/protocol.md`, sections "Recovery code" and "Devices of an account".

use super::account::{SignUpError, check_records, joining_rows};
use super::rows::AccountRow;
use roost_crypto::bytes::Bytes;
use roost_crypto::group::WriteSet;
use roost_crypto::identity_log::{IdentityLog, LogError, Operation, Signer, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::keys::{PublicKey, SecretKey};
use roost_crypto::recovery::RecoveryCode;
use roost_crypto::signed::Signed;
use roost_protocol::handle::Handle;
use roost_protocol::limits;
use roost_protocol::records::SignedOrgRecord;
use zeroize::Zeroizing;

/// Why an account cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The home's log, or the one that follows, breaks a rule.
    #[error("the account's log: {0}")]
    Log(#[from] LogError),
    /// The log is not of the account that the code is for.
    #[error("the log is another account's")]
    OtherAccount,
    /// The account has moved.
    #[error("the account does not live at this node")]
    OtherHome,
    /// The account claims no handle.
    #[error("the account has no handle")]
    NoHandle,
    /// There are as many devices as an account may have.
    #[error("the account has {max} devices already; restore it with the others revoked", max = limits::DEVICES_MAX)]
    Full,
    /// What the home says of the account does not verify.
    #[error(transparent)]
    Records(#[from] SignUpError),
}

/// An account with its new device, before the home has taken the log.
pub struct RestoredAccount {
    /// The log that admits the new device, signed by the root key.
    pub log: VerifiedLog,
    /// The account's handle.
    pub handle: Handle,
    archive_key: Bytes,
    device: SecretKey,
}

impl RestoredAccount {
    /// Which account a recovery code is for.
    pub fn account_of(code: &RecoveryCode) -> AccountId {
        AccountId::of(&code.account_key().public_key())
    }

    /// Signs a new device into the account's `log`, at `home`. A log without room begins anew.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn new(
        code: &RecoveryCode,
        device_seed: &Zeroizing<[u8; 32]>,
        log: &IdentityLog,
        home: &NodeId,
        revoke_others: bool,
    ) -> Result<Self, RestoreError> {
        let root = code.account_key();
        let device = SecretKey::from_seed(device_seed);
        let log = VerifiedLog::verify(log)?;
        if log.account() != Self::account_of(code) {
            return Err(RestoreError::OtherAccount);
        }
        if !log.homes().contains(home) {
            return Err(RestoreError::OtherHome);
        }
        let handle = log.handle().and_then(|(handle, _)| handle.parse().ok()).ok_or(RestoreError::NoHandle)?;
        if !revoke_others && log.device_keys().len() >= limits::DEVICES_MAX {
            return Err(RestoreError::Full);
        }
        let log = match admit(&log, &root, &device.public_key(), revoke_others) {
            Err(LogError::TooLong { .. }) => {
                let kept = log.device_keys().values().map(|(key, _)| *key).filter(|_| !revoke_others);
                let devices = kept.chain([device.public_key()]).collect();
                log.reset(&root, devices, log.homes().to_vec())?
            }
            appended => appended?,
        };
        Ok(Self { log, handle, archive_key: Bytes(code.archive_key().to_vec()), device })
    }

    /// The new device.
    pub fn device(&self) -> DeviceId {
        DeviceId::of(&self.device.public_key())
    }

    /// Checks the home's answer and gives the rows of the new device.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn rows(
        &self,
        server: &str,
        handle_record: Signed,
        org: SignedOrgRecord,
        now_ms: u64,
    ) -> Result<WriteSet, RestoreError> {
        let (_, org_id) = self.log.handle().ok_or(RestoreError::NoHandle)?;
        check_records(&self.log, (&self.handle, org_id), &handle_record, &org, now_ms)?;
        Ok(joining_rows(&AccountRow {
            server: server.to_owned(),
            device_seed: self.device.seed().to_vec().into(),
            log: self.log.log().clone(),
            handle: self.handle.clone(),
            handle_record,
            org,
            archive_key: Some(self.archive_key.clone()),
        }))
    }
}

/// The log with the new device, and without the others if they are lost.
fn admit(
    log: &VerifiedLog,
    root: &SecretKey,
    device: &PublicKey,
    revoke_others: bool,
) -> Result<VerifiedLog, LogError> {
    let mut next = log.clone();
    if revoke_others {
        for other in log.device_keys().keys() {
            next = next.append(Operation::RevokeDevice { device: *other }, Signer::Root, root)?;
        }
    }
    next.append(Operation::AddDevice { device: *device }, Signer::Root, root)
}
