//! The identity log of an account: a hash chain of signed entries that says which devices and homes the account has.
//!
//! [`IdentityLog`] is what travels, nothing believed; [`VerifiedLog`] is what survived every check. The module never
//! decides by a clock, never asks anybody, and never replaces an entry that it holds: a second branch is an error.
//!
//! Implements `docs/protocol.md`, section "Identity log". This version keeps one home an account.

mod entry;
mod handle;
mod state;
mod verified;

pub use entry::{HandleClaim, IdentityLog, LogEntry, LogHash, LogHead, Operation, Signer};
pub use handle::{HandleError, check_handle, check_org_name, split_handle};
pub use verified::{Relation, VerifiedLog};

use crate::codec::CodecError;

/// Bytes of an encoded log. It is the value of a DHT key, and those have at most 4 KiB.
pub const LOG_BYTES_MAX: usize = 4096;
/// Active devices of an account.
pub const DEVICES_MAX: usize = 5;
/// Highest count and number of a reset: nobody resets so often, and what comes behind it can still be counted.
pub const RESET_NUMBER_MAX: u64 = u32::MAX as u64;
/// Homes that an entry may list on the wire.
pub const HOMES_MAX: usize = 2;
/// Homes that this version accepts: it has one inbox an account.
pub const HOMES_ACCEPTED: usize = 1;
/// Characters of a handle before the `@`.
pub const HANDLE_LOCAL_MAX: usize = 32;
/// Characters of an organisation's name.
pub const ORG_NAME_MAX: usize = 64;

/// Why a log, an entry or a candidate is refused. Carries no id of a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The encoded log is too long; when appending, the log is full and needs a reset.
    #[error("expected a log of at most {max} bytes, got {got}")]
    TooLong {
        /// The bound, [`LOG_BYTES_MAX`].
        max: usize,
        /// What it would take.
        got: usize,
    },
    /// The bytes are no list of signed entries, or not its one spelling.
    #[error("malformed log: {0}")]
    Malformed(CodecError),
    /// A log without entries belongs to nobody.
    #[error("expected a genesis or a reset, got an empty log")]
    Empty,
    /// The signed bytes of an entry are no entry, or not its one spelling.
    #[error("entry {seq} is malformed: {error}")]
    MalformedEntry {
        /// Position in the log.
        seq: u64,
        /// What is wrong.
        error: CodecError,
    },
    /// The signature of an entry does not fit the signer that it names.
    #[error("entry {seq} is not signed by the signer that it names")]
    Signature {
        /// Position in the log.
        seq: u64,
    },
    /// The first entry is neither a genesis nor a reset.
    #[error("expected a genesis or a reset first, got {got}")]
    GenesisMissing {
        /// Name of the operation found.
        got: &'static str,
    },
    /// A genesis behind the first entry.
    #[error("entry {seq} is a second genesis")]
    GenesisRepeated {
        /// Position in the log.
        seq: u64,
    },
    /// A genesis names a device as its signer; only the root key can found an account.
    #[error("expected a genesis signed by the root key, got one signed by a device")]
    GenesisSigner,
    /// A reset behind the first entry: it begins a log anew.
    #[error("entry {seq} is a reset behind the first entry")]
    ResetRepeated {
        /// Position in the log.
        seq: u64,
    },
    /// A reset names a device as its signer; only the root key can end a conflict.
    #[error("expected a reset signed by the root key, got one signed by a device")]
    ResetSigner,
    /// A reset that counts or numbers itself 0, or too high.
    #[error("expected a reset with a count and a number of 1 to {RESET_NUMBER_MAX}, got {got}")]
    ResetNumber {
        /// Its count or its number.
        got: u64,
    },
    /// A device is the root key itself, which has to stay offline.
    #[error("expected a device key of its own, got the root key")]
    DeviceIsRoot,
    /// A device that the log held before: a key is admitted once.
    #[error("entry {seq} admits a device that the log held before")]
    DeviceRepeated {
        /// Position in the log.
        seq: u64,
    },
    /// More active devices than an account has.
    #[error("expected at most {max} devices, got {got}")]
    DeviceCount {
        /// The bound, [`DEVICES_MAX`].
        max: usize,
        /// Devices that there would be.
        got: usize,
    },
    /// A device is ended that is not active at that point of the log.
    #[error("entry {seq} revokes a device that is not active there")]
    DeviceNotActive {
        /// Position in the log.
        seq: u64,
    },
    /// The last device ends itself; only the root key may.
    #[error("entry {seq} revokes the last device without the root key")]
    LastDevice {
        /// Position in the log.
        seq: u64,
    },
    /// An entry carries another number than its position.
    #[error("expected entry {expected}, got number {got}")]
    Seq {
        /// Position in the log.
        expected: u64,
        /// Number in the entry.
        got: u64,
    },
    /// An entry does not name the hash of the entry before it (all zero in the first).
    #[error("entry {seq} does not follow from the entry before it")]
    Prev {
        /// Position in the log.
        seq: u64,
    },
    /// An entry names as its signer a device that is not active at that point of the log.
    #[error("entry {seq} is signed by a device that is not active there")]
    SignerNotActive {
        /// Position in the log.
        seq: u64,
    },
    /// A list of homes that is refused.
    #[error(transparent)]
    Homes(#[from] HomesError),
    /// A handle that is refused.
    #[error(transparent)]
    Handle(#[from] HandleError),
    /// Two logs of one account contradict each other; both are shown as a conflict and neither replaces the other.
    #[error("the logs contradict each other from entry {seq} on")]
    Branched {
        /// First entry that differs.
        seq: u64,
    },
    /// The candidate belongs to another account.
    #[error("expected a log of the same account, got one of another account")]
    OtherAccount,
}

/// Why a list of homes is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HomesError {
    /// None, or more than the wire allows.
    #[error("expected 1 to {HOMES_MAX} homes, got {got}")]
    Count {
        /// Homes listed.
        got: usize,
    },
    /// One home listed twice.
    #[error("expected distinct homes, got one twice")]
    Repeated,
    /// Allowed on the wire, more than this version serves.
    #[error("this version supports {HOMES_ACCEPTED} home, got {got}")]
    Unsupported {
        /// Homes listed.
        got: usize,
    },
}

#[cfg(test)]
mod tests;
