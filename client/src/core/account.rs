//! A new account: its recovery code, its first device, its identity log, and the rows that a device starts with.

use super::people::Settings;
use super::rows::{self, AccountRow, SettingsRow};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::group::WriteSet;
use roost_crypto::identity_log::{LogError, Operation, Signer, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId, NodeId, OrgId};
use roost_crypto::keys::SecretKey;
use roost_crypto::recovery::{ENTROPY_BYTES, RecoveryCode};
use roost_crypto::signed::Signed;
use roost_protocol::handle::Handle;
use roost_protocol::records::{HandleRecord, RecordError, SignedOrgRecord};
use zeroize::Zeroizing;

/// An account that no home knows yet.
pub struct NewAccount {
    /// To be written down.
    pub code: RecoveryCode,
    /// Genesis and handle.
    pub log: VerifiedLog,
    /// The handle asked for.
    pub handle: Handle,
    /// What the new directory starts with.
    pub settings: Settings,
    org: OrgId,
    device: SecretKey,
}

/// Why a home's answer to a sign-up is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignUpError {
    /// A record that does not verify.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record is about another account or handle, or of another organisation.
    #[error("the handle record is not the one asked for")]
    OtherRecord,
    /// The organisation's record does not list the home.
    #[error("the organisation's record does not list its node")]
    NodeNotListed,
}

impl NewAccount {
    /// Founds an account at `home`. Both secrets are fresh system randomness.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn found(
        entropy: [u8; ENTROPY_BYTES],
        device_seed: Zeroizing<[u8; 32]>,
        home: NodeId,
        org: OrgId,
        handle: Handle,
    ) -> Result<Self, LogError> {
        let code = RecoveryCode::from_entropy(entropy);
        let root = code.account_key();
        let device = SecretKey::from_seed(&device_seed);
        let claim = Operation::SetHandle { handle: handle.to_string(), org };
        let log = VerifiedLog::create(&root, &device.public_key(), vec![home])?.append(claim, Signer::Root, &root)?;
        Ok(Self { code, log, handle, settings: Settings::default(), org, device })
    }

    /// The account.
    pub fn account(&self) -> AccountId {
        self.log.account()
    }

    /// Its first device.
    pub fn device(&self) -> DeviceId {
        DeviceId::of(&self.device.public_key())
    }

    /// Checks the home's answer and gives the rows of the new device.
    ///
    /// # Errors
    /// [`SignUpError`].
    pub fn signed_up(
        &self,
        server: &str,
        handle_record: Signed,
        org: SignedOrgRecord,
        now_ms: u64,
    ) -> Result<WriteSet, SignUpError> {
        let asked = (&self.handle, self.org);
        check_records(&self.log, asked, &handle_record, &org, now_ms)?;
        let row = AccountRow {
            server: server.to_owned(),
            device_seed: self.device.seed().to_vec().into(),
            log: self.log.log().clone(),
            handle: self.handle.clone(),
            handle_record,
            org,
            archive_key: Some(Bytes(self.code.archive_key().to_vec())),
        };
        let mut writes = WriteSet::default();
        writes.0.insert(rows::account(), Some(codec::encode(&row)));
        writes.0.insert(
            rows::settings(),
            Some(codec::encode(&SettingsRow { settings: self.settings.clone(), changed_at: 0 })),
        );
        Ok(writes)
    }
}

/// Whether a home's records are those of an account's log: its handle, by its organisation, which lists its homes.
pub(super) fn check_records(
    log: &VerifiedLog,
    (handle, org_id): (&Handle, OrgId),
    handle_record: &Signed,
    org: &SignedOrgRecord,
    now_ms: u64,
) -> Result<(), SignUpError> {
    let record = HandleRecord::verify(handle_record, now_ms / 1000)?;
    if record.account != log.account() || record.handle != *handle || OrgId::of(&record.root) != org_id {
        return Err(SignUpError::OtherRecord);
    }
    let org_record = org.verify(now_ms / 1000)?;
    let listed = |home: &NodeId| org_record.nodes.iter().any(|node| node.node == *home);
    if OrgId::of(&org_record.root) != org_id || !log.homes().iter().all(listed) {
        return Err(SignUpError::NodeNotListed);
    }
    Ok(())
}

/// The rows that a device begins with which joins an account that exists: all else is in the archive.
pub(super) fn joining_rows(row: &AccountRow) -> WriteSet {
    let mut writes = WriteSet::default();
    writes.0.insert(rows::account(), Some(codec::encode(row)));
    writes
}
