//! What the entries of a log lead to: devices, homes, a handle.
//!
//! Knows no signature and no chain: [`super::VerifiedLog`] has checked who speaks and where the entry stands.

use super::entry::{HandleClaim, Operation, Signer};
use super::{DEVICES_MAX, HOMES_ACCEPTED, HOMES_MAX, HomesError, LogError, RESET_NUMBER_MAX, check_handle};
use crate::ids::{AccountId, DeviceId, NodeId, OrgId};
use crate::keys::PublicKey;
use std::collections::BTreeMap;

/// What a log says of an account.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) account: AccountId,
    pub(super) root: PublicKey,
    /// Resets so far.
    pub(super) count: u64,
    /// The active devices: key, and number of the entry that admitted it.
    pub(super) devices: BTreeMap<DeviceId, (PublicKey, u64)>,
    /// The same of devices that were revoked.
    pub(super) former: BTreeMap<DeviceId, (PublicKey, u64)>,
    pub(super) homes: Vec<NodeId>,
    pub(super) handle: Option<(String, OrgId)>,
}

impl State {
    /// What a genesis or a reset begins with; both are signed by the root key that they name.
    pub(super) fn begin(op: Operation, seq: u64) -> Result<Self, LogError> {
        let (root, count, devices, homes, handle) = match op {
            Operation::Genesis { root, device, homes } => (root, 0, vec![device], homes, None),
            Operation::Reset { root, count, devices, homes, handle } => {
                for got in [count, seq] {
                    if !(1..=RESET_NUMBER_MAX).contains(&got) {
                        return Err(LogError::ResetNumber { got });
                    }
                }
                (root, count, devices, homes, handle)
            }
            other => return Err(LogError::GenesisMissing { got: other.name() }),
        };
        let account = AccountId::of(&root);
        let (devices_then, former) = (BTreeMap::new(), BTreeMap::new());
        let mut state = Self { account, root, count, devices: devices_then, former, homes: vec![], handle: None };
        state.set_homes(homes)?;
        for device in devices {
            state.add_device(device, seq)?;
        }
        if let Some(HandleClaim { handle, org }) = handle {
            state.set_handle(handle, org)?;
        }
        Ok(state)
    }

    /// Carries out a later entry.
    pub(super) fn apply(&mut self, op: Operation, signer: Signer, seq: u64) -> Result<(), LogError> {
        match op {
            Operation::Genesis { .. } => Err(LogError::GenesisRepeated { seq }),
            Operation::Reset { .. } => Err(LogError::ResetRepeated { seq }),
            Operation::SetHomes { homes } => self.set_homes(homes),
            Operation::SetHandle { handle, org } => self.set_handle(handle, org),
            Operation::AddDevice { device } => self.add_device(device, seq),
            Operation::RevokeDevice { device } => self.revoke_device(device, signer, seq),
        }
    }

    fn add_device(&mut self, key: PublicKey, seq: u64) -> Result<(), LogError> {
        if key == self.root {
            return Err(LogError::DeviceIsRoot);
        }
        let device = DeviceId::of(&key);
        if self.devices.contains_key(&device) || self.former.contains_key(&device) {
            return Err(LogError::DeviceRepeated { seq });
        }
        self.devices.insert(device, (key, seq));
        let got = self.devices.len();
        if got > DEVICES_MAX { Err(LogError::DeviceCount { max: DEVICES_MAX, got }) } else { Ok(()) }
    }

    fn revoke_device(&mut self, device: DeviceId, signer: Signer, seq: u64) -> Result<(), LogError> {
        let ended = self.devices.remove(&device).ok_or(LogError::DeviceNotActive { seq })?;
        if self.devices.is_empty() && signer != Signer::Root {
            return Err(LogError::LastDevice { seq });
        }
        self.former.insert(device, ended);
        Ok(())
    }

    fn set_homes(&mut self, homes: Vec<NodeId>) -> Result<(), LogError> {
        check_homes(&homes)?;
        self.homes = homes;
        Ok(())
    }

    fn set_handle(&mut self, handle: String, org: OrgId) -> Result<(), LogError> {
        check_handle(&handle)?;
        self.handle = Some((handle, org));
        Ok(())
    }
}

fn check_homes(homes: &[NodeId]) -> Result<(), HomesError> {
    let got = homes.len();
    match homes {
        [_] => Ok(()),
        [first, second] if first == second => Err(HomesError::Repeated),
        [_, _] => Err(HomesError::Unsupported { got }),
        _ => Err(HomesError::Count { got }),
    }
}

/// The match in [`check_homes`] spells these two out.
const _: () = assert!(HOMES_ACCEPTED == 1 && HOMES_MAX == 2);
