//! What stands in an identity log, as it travels.
//!
//! Nothing here is believed: a value of these types says what somebody claims.

use super::{LOG_BYTES_MAX, LogError};
use crate::codec;
use crate::fixed_bytes;
use crate::ids::{DeviceId, NodeId, OrgId};
use crate::keys::PublicKey;
use crate::labels;
use crate::signed::Signed;
use serde::{Deserialize, Serialize};

fixed_bytes! {
    /// Hash of an entry's signed bytes, without the signature: what the next entry names as `prev`.
    LogHash, 32
}

impl LogHash {
    /// The `prev` of a genesis or a reset.
    pub const ZERO: Self = Self([0; 32]);

    /// Hash of a signed entry.
    pub fn of(signed: &Signed) -> Self {
        Self(labels::hash(labels::LOG_ENTRY_HASH, &[signed.bytes.as_slice()]))
    }
}

/// A log as it travels: CBOR array of signed [`LogEntry`], a genesis or a reset first. Unverified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct IdentityLog(pub Vec<Signed>);

impl IdentityLog {
    /// Reads the encoded form, nothing believed.
    ///
    /// # Errors
    /// [`LogError::TooLong`] before anything is read; [`LogError::Malformed`], also for trailing bytes and second
    /// spellings.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        if bytes.len() > LOG_BYTES_MAX {
            return Err(LogError::TooLong { max: LOG_BYTES_MAX, got: bytes.len() });
        }
        codec::decode_canonical(bytes, LOG_BYTES_MAX).map_err(LogError::Malformed)
    }

    /// The encoded form.
    pub fn encoded(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// How often it claims to have been reset: what its first entry says, nothing believed.
    pub fn claimed_count(&self) -> u64 {
        match self.0.first().and_then(|first| first.peek::<LogEntry>(LOG_BYTES_MAX).ok()).map(|first| first.op) {
            Some(Operation::Reset { count, .. }) => count,
            _ => 0,
        }
    }
}

/// The newest entry of a log. Equal heads mean equal logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// Number of the newest entry. It grows over resets, too.
    pub seq: u64,
    /// Its hash.
    pub hash: LogHash,
}

/// One entry: the bytes that are signed under `SIGN_LOG_ENTRY`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// From 0, one more with each entry; a reset begins above everything that it ends.
    pub seq: u64,
    /// Hash of the entry before; [`LogHash::ZERO`] in the first.
    pub prev: LogHash,
    /// Whose signature it is.
    pub signer: Signer,
    /// What it changes.
    pub op: Operation,
}

/// Who signs an entry. Part of the signed bytes, so an entry can't be passed off as another signer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signer {
    /// The account's root key R.
    Root,
    /// A device that is active just before the entry.
    Device(DeviceId),
}

/// What an entry changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Founds the account; first and only once, signed by the root key that it names.
    Genesis {
        /// Public half of R; the account id is its hash.
        root: PublicKey,
        /// The first device.
        device: PublicKey,
        /// Where the inbox is.
        homes: Vec<NodeId>,
    },
    /// Admits a device.
    AddDevice {
        /// Its key, which the log never held before.
        device: PublicKey,
    },
    /// Ends a device, for good.
    RevokeDevice {
        /// Its id.
        device: DeviceId,
    },
    /// Moves the account to other homes.
    SetHomes {
        /// The homes from here on.
        homes: Vec<NodeId>,
    },
    /// The account's claim to a handle. It counts only together with the organisation's handle record.
    SetHandle {
        /// `local@org`.
        handle: String,
        /// The organisation that the name of the handle means.
        org: OrgId,
    },
    /// Ends a conflict, or a log that is full: a checkpoint that begins a log anew, signed by the root key. Of two logs of an
    /// account the one with the higher count stands.
    Reset {
        /// Public half of R; the account id is its hash.
        root: PublicKey,
        /// Resets so far, this one included.
        count: u64,
        /// The devices from here on.
        devices: Vec<PublicKey>,
        /// The homes from here on.
        homes: Vec<NodeId>,
        /// The claim from here on.
        handle: Option<HandleClaim>,
    },
}

/// What `set_handle` claims, as a reset repeats it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleClaim {
    /// `local@org`.
    pub handle: String,
    /// The organisation that the name of the handle means.
    pub org: OrgId,
}

impl Operation {
    /// The name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Genesis { .. } => "genesis",
            Self::AddDevice { .. } => "add_device",
            Self::RevokeDevice { .. } => "revoke_device",
            Self::SetHomes { .. } => "set_homes",
            Self::SetHandle { .. } => "set_handle",
            Self::Reset { .. } => "reset",
        }
    }
}
