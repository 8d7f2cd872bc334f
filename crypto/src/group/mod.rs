//! MLS groups (RFC 9420): what a device does with them, and what a hub checks without being a member.
//!
//! A [`GroupEngine`] keeps nothing between calls that its caller could notice: it reads the device's rows, computes, and
//! returns what it made together with one [`WriteSet`]. The caller applies that set in the same transaction as its own rows, *before* any bytes leave;
//! dropping it undoes the call. [`OpenMlsEngine`] is the real one, [`SymbolicEngine`] its twin without mathematics, for
//! simulations that must repeat byte by byte.
//!
//! Never compares a member with its identity log, never opens a store or a socket. Implements `docs/protocol.md`,
//! section "Conversations".

use crate::bytes::Bytes;
use crate::codec;
use crate::ids::{AccountId, DeviceId};
use crate::keys::PublicKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

mod change;
mod commit_view;
#[cfg(feature = "device")]
mod engine;
mod error;
#[cfg(feature = "device")]
mod former;
mod hub;
#[cfg(feature = "device")]
mod overlay;
mod packed;
#[cfg(feature = "device")]
mod past_epochs;
mod public;
mod public_state;
#[cfg(feature = "device")]
pub mod symbolic;
#[cfg(all(test, feature = "device"))]
mod tests;
#[cfg(feature = "device")]
mod whisper;

pub use change::{Change, CommitView, Committed, Merged};
#[cfg(feature = "device")]
pub use engine::OpenMlsEngine;
pub use error::{GroupError, Part};
pub use hub::{begin, judge, tree_of};
#[cfg(feature = "device")]
pub use past_epochs::{PAST_EPOCH_MS, PAST_EPOCHS_BYTES_MAX, PAST_EPOCHS_MAX};
pub use public::{KeyPackageInfo, PublicView, inspect_creation, inspect_key_package};
#[cfg(feature = "device")]
pub use symbolic::SymbolicEngine;
#[cfg(feature = "device")]
pub use whisper::{WHISPER_BYTES, WHISPER_NONCE_BYTES, WHISPER_PLAINTEXT_MAX_BYTES, Whisper};

/// A key package, in bytes. An honest one has about 700.
pub const KEY_PACKAGE_MAX_BYTES: usize = 8 * 1024;
/// A Welcome, in bytes: fifty joiners need about 10 KiB, the rest is room for `conv_state`.
pub const WELCOME_MAX_BYTES: usize = 96 * 1024;
/// A commit, in bytes: fifty adds take about 35 KiB, the path of a tree of 300 leaves at worst 30 KiB.
pub const COMMIT_MAX_BYTES: usize = 96 * 1024;
/// A GroupInfo, in bytes: it carries `conv_state` and no tree.
pub const GROUP_INFO_MAX_BYTES: usize = 32 * 1024;
/// A ratchet tree, in bytes: 300 leaves need about 200 KiB.
pub const TREE_MAX_BYTES: usize = 1024 * 1024;
/// A sealed application message, in bytes.
pub const CIPHERTEXT_MAX_BYTES: usize = 32 * 1024;
/// What may be sealed, in bytes: leaves room for padding (256), signature and framing (about 200).
pub const PLAINTEXT_MAX_BYTES: usize = 30 * 1024;
/// `conv_state`, in bytes: 100 participants need about 5 KiB.
pub const CONV_STATE_MAX_BYTES: usize = 16 * 1024;
/// A group id, in bytes.
pub const GROUP_ID_MAX_BYTES: usize = 64;
/// Members that one commit adds: keeps the Welcome and the commit within one entry.
pub const ADDS_MAX: usize = 50;
/// Leaves of a group.
pub const MEMBERS_MAX: usize = 300;
/// Key packages made in one call.
pub const KEY_PACKAGES_MAX: usize = 100;
/// How far behind the newest message of a sender one may arrive and still be opened, in messages. With 64, one feed that
/// arrives before another loses messages.
pub const OUT_OF_ORDER_TOLERANCE: u32 = 4096;
/// How far ahead of the newest message of a sender one may be, in messages: bounds the work of one hostile message.
pub const FORWARD_DISTANCE_MAX: u32 = 4096;
/// GroupContext extension that carries `conv_state` (private use range, RFC 9420 section 17.3).
pub const CONV_STATE_EXTENSION: u16 = 0xF1C0;

/// A credential, in bytes.
const CREDENTIAL_MAX_BYTES: usize = 256;

/// Read-only view of the device's MLS rows.
pub trait Rows {
    /// The value of `key`, if there is one.
    fn row(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Whether the value of `key` is this one, or there is none where none is expected.
    fn holds(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        self.row(key).as_deref() == value
    }
}

impl Rows for BTreeMap<Vec<u8>, Vec<u8>> {
    fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key).cloned()
    }

    fn holds(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        self.get(key).map(Vec::as_slice) == value
    }
}

/// What one call changes: a value for each row to be written, `None` for each to be deleted. Values are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WriteSet(pub BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl WriteSet {
    /// Applies the set to rows in memory.
    pub fn apply_to(&self, rows: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        for (key, value) in &self.0 {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
    }
}

impl fmt::Debug for WriteSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "WriteSet({} rows)", self.0.len())
    }
}

/// Content of a leaf's BasicCredential, as canonical CBOR. Holds no times, so that merging never depends on a clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Whose device it is.
    pub account: AccountId,
    /// The device: the hash of the leaf's signature key.
    pub device: DeviceId,
    /// Sequence number of the identity log entry that admitted the device.
    pub log_seq: u64,
}

impl Credential {
    /// Reads a credential and checks that it names the device of `key`.
    ///
    /// # Errors
    /// [`GroupError::BadCredential`], [`GroupError::DeviceMismatch`].
    fn parse(bytes: &[u8], key: &PublicKey) -> Result<Self, GroupError> {
        let credential: Self =
            codec::decode_canonical(bytes, CREDENTIAL_MAX_BYTES).map_err(|_| GroupError::BadCredential)?;
        if credential.device == DeviceId::of(key) { Ok(credential) } else { Err(GroupError::DeviceMismatch) }
    }
}

/// A leaf of a group. Not yet compared with the account's identity log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What the leaf claims; `credential.device` is the hash of `key`.
    pub credential: Credential,
    /// The leaf's signature key: the device's.
    pub key: PublicKey,
}

/// A new group, all that goes to its hub in one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Id of the group.
    pub group_id: Vec<u8>,
    /// Epoch after the first commit: 1.
    pub epoch: u64,
    /// MLSMessage with the PublicMessage of the commit that adds the others.
    pub commit: Bytes,
    /// MLSMessage with the Welcome, without tree.
    pub welcome: Bytes,
    /// MLSMessage with the signed GroupInfo of `epoch`, without tree, with `external_pub`.
    pub group_info: Bytes,
    /// The ratchet tree of `epoch` (`optional<Node> ratchet_tree<V>`).
    pub tree: Bytes,
}

/// A group that was entered by a Welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Id of the group.
    pub group_id: Vec<u8>,
    /// Epoch of the Welcome.
    pub epoch: u64,
    /// `conv_state` of the GroupContext, agreed by the key schedule.
    pub conv_state: Bytes,
    /// Members in leaf order, ourselves among them.
    pub members: Vec<Member>,
}

/// A sealed application message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Epoch that it is sealed in.
    pub epoch: u64,
    /// MLSMessage with a PrivateMessage.
    pub ciphertext: Bytes,
}

/// An opened application message.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who sealed it: authenticated by the leaf's signature.
    pub sender: Credential,
    /// Epoch that it was sealed in.
    pub epoch: u64,
    /// What was sealed.
    pub plaintext: Vec<u8>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Opened(epoch {}, {} bytes)", self.epoch, self.plaintext.len())
    }
}

/// Groups of one device. See the module header for how rows are read and written.
///
/// Any error leaves everything as it was: nothing to write is returned.
pub trait GroupEngine {
    /// Makes `count` key packages, each an MLSMessage, and keeps their private halves. One marked as last resort may
    /// serve several joins.
    ///
    /// # Errors
    /// [`GroupError::TooMany`] beyond [`KEY_PACKAGES_MAX`].
    fn key_packages(
        &mut self,
        rows: &dyn Rows,
        count: usize,
        last_resort: bool,
    ) -> Result<(Vec<Bytes>, WriteSet), GroupError>;

    /// Makes a group of ourselves and the holders of `key_packages`, with `conv_state` in GroupContext extension
    /// [`CONV_STATE_EXTENSION`]. The pending commit is merged at once: nobody else is in the group before the hub takes
    /// the whole of it.
    ///
    /// # Errors
    /// [`GroupError::NoAdds`], [`GroupError::TooMany`], [`GroupError::TooLong`], [`GroupError::GroupExists`],
    /// [`GroupError::DuplicateMember`], and those of [`inspect_key_package`].
    fn create(
        &mut self,
        rows: &dyn Rows,
        group_id: &[u8],
        conv_state: &[u8],
        key_packages: &[Bytes],
    ) -> Result<(Created, WriteSet), GroupError>;

    /// Enters the group of a Welcome, also one that we were removed from. The write set deletes the key package's private
    /// half, unless it is of last resort. Lifetimes of leaves are not checked: a member who was silent for long must not
    /// keep others out.
    ///
    /// # Errors
    /// [`GroupError::NoKeyPackage`], [`GroupError::InvalidWelcome`], [`GroupError::GroupExists`],
    /// [`GroupError::NoConvState`], [`GroupError::TooLong`], [`GroupError::Malformed`], [`GroupError::BadCredential`],
    /// [`GroupError::DeviceMismatch`].
    fn join(&mut self, rows: &dyn Rows, welcome: &[u8], tree: &[u8]) -> Result<(Joined, WriteSet), GroupError>;

    /// Makes a commit of the group's epoch. It is pending, and its author still in the old epoch, until [`Self::merge`]
    /// sees it or [`Self::drop_pending`] gives it up.
    ///
    /// # Errors
    /// [`GroupError::PendingCommit`], [`GroupError::UnknownGroup`], [`GroupError::Removed`], [`GroupError::RemovesSelf`],
    /// [`GroupError::NotMember`], [`GroupError::DuplicateMember`], [`GroupError::TooMany`], [`GroupError::TooLong`], and
    /// those of [`inspect_key_package`].
    fn commit(
        &mut self,
        rows: &dyn Rows,
        group_id: &[u8],
        change: &Change,
    ) -> Result<(Committed, WriteSet), GroupError>;

    /// Gives up our pending commit, or external commit. Only after a recorded *no*: should it stand after all, nothing
    /// but [`Self::rejoin`] leads on. Writes nothing if none is pending.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    fn drop_pending(&mut self, rows: &dyn Rows, group_id: &[u8]) -> Result<WriteSet, GroupError>;

    /// Whether a commit of ours, or an external one, is pending.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    fn has_pending(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<bool, GroupError>;

    /// The group's epoch; of one that we were removed from, the epoch that began without us.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    fn epoch(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<u64, GroupError>;

    /// `conv_state` of the group's epoch.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    fn conv_state(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError>;

    /// Reads a commit against the present state, our own as well, so that its policy is checked before [`Self::merge`].
    /// Our pending external commit is read against the GroupInfo that it was made from.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Removed`], [`GroupError::WrongGroup`], [`GroupError::WrongEpoch`],
    /// [`GroupError::NotCommit`], [`GroupError::Malformed`], [`GroupError::TooLong`], [`GroupError::InvalidCommit`],
    /// [`GroupError::ForbiddenChange`], [`GroupError::BadCredential`], [`GroupError::DeviceMismatch`],
    /// [`GroupError::DuplicateMember`], [`GroupError::TooMany`]; [`GroupError::RejoinNeeded`] for one that adds by a key
    /// package whose lifetime is over by now.
    fn inspect_commit(&self, rows: &dyn Rows, group_id: &[u8], commit: &[u8]) -> Result<CommitView, GroupError>;

    /// Merges a commit of the next epoch: our pending one, or another's, which drops ours. Keeps a copy of the present
    /// epoch that opens its late messages and nothing later, and drops copies beyond [`PAST_EPOCH_MS`],
    /// [`PAST_EPOCHS_MAX`] and [`PAST_EPOCHS_BYTES_MAX`]. Our pending external commit replaces the group's state, whatever
    /// its epoch was.
    ///
    /// # Errors
    /// As [`Self::inspect_commit`]; [`GroupError::RejoinNeeded`] for our own commit that is not pending any more, and for
    /// one that stands and whose keys do not open with ours.
    fn merge(
        &mut self,
        rows: &dyn Rows,
        group_id: &[u8],
        commit: &[u8],
        now_ms: u64,
    ) -> Result<(Merged, WriteSet), GroupError>;

    /// Makes an external commit to the epoch of a GroupInfo, which removes our old leaf if there is one: for a device
    /// whose state is lost or cannot follow. The caller has made sure that the GroupInfo is of the chain of commits. What
    /// there is of the group stays as it is until the commit is merged.
    ///
    /// # Errors
    /// [`GroupError::PendingCommit`], [`GroupError::InvalidGroupInfo`], [`GroupError::NoConvState`],
    /// [`GroupError::WrongSuite`], [`GroupError::DuplicateMember`], [`GroupError::TooMany`], [`GroupError::TooLong`],
    /// [`GroupError::Malformed`], [`GroupError::BadCredential`], [`GroupError::DeviceMismatch`].
    fn rejoin(&mut self, rows: &dyn Rows, group_info: &[u8], tree: &[u8]) -> Result<(Committed, WriteSet), GroupError>;

    /// What everybody can see of the group's epoch, from which [`Self::replay`] goes on.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Removed`], [`GroupError::BadRow`].
    fn public_state(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError>;

    /// Goes one commit on from a public state, as a hub judges it ([`judge`]): for a device that cannot follow as a member.
    ///
    /// # Errors
    /// Those of [`judge`].
    fn replay(
        &self,
        state: &[u8],
        commit: &[u8],
        welcome: Option<&[u8]>,
        group_info: &[u8],
    ) -> Result<(CommitView, Bytes), GroupError>;

    /// Seals an application message of at most [`PLAINTEXT_MAX_BYTES`] in the group's epoch.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Removed`], [`GroupError::TooLong`].
    fn seal(&mut self, rows: &dyn Rows, group_id: &[u8], plaintext: &[u8]) -> Result<(Sealed, WriteSet), GroupError>;

    /// Opens an application message of another member, once: one of the group's epoch, or of a past one that is kept.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Removed`] (of an epoch without us), [`GroupError::WrongGroup`],
    /// [`GroupError::WrongEpoch`] (a later one), [`GroupError::EpochGone`], [`GroupError::OwnMessage`],
    /// [`GroupError::AlreadyOpened`], [`GroupError::TooOld`], [`GroupError::TooFarAhead`], [`GroupError::Undecryptable`],
    /// [`GroupError::NotApplication`], [`GroupError::Malformed`], [`GroupError::TooLong`].
    fn open(&mut self, rows: &dyn Rows, group_id: &[u8], ciphertext: &[u8]) -> Result<(Opened, WriteSet), GroupError>;

    /// The epoch authenticator (RFC 9420 section 8.7): equal on two devices if and only if they are in the same state.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Removed`].
    fn authenticator(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError>;

    /// Seals what is said in passing, at most [`WHISPER_PLAINTEXT_MAX_BYTES`], in the group's epoch. Moves no ratchet and writes
    /// nothing. `nonce` is random and used once.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Removed`], [`GroupError::TooLong`].
    #[cfg(feature = "device")]
    fn seal_whisper(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        nonce: [u8; WHISPER_NONCE_BYTES],
        plaintext: &[u8],
    ) -> Result<Sealed, GroupError>;

    /// Opens a whisper of the group's epoch, as often as it comes. That a member sealed it is certain; which one is that
    /// member's word.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Removed`], [`GroupError::WrongEpoch`] (any other one),
    /// [`GroupError::OwnMessage`], [`GroupError::NotMember`], [`GroupError::Undecryptable`], [`GroupError::Malformed`],
    /// [`GroupError::TooLong`].
    #[cfg(feature = "device")]
    fn open_whisper(&self, rows: &dyn Rows, group_id: &[u8], epoch: u64, sealed: &[u8]) -> Result<Whisper, GroupError>;

    /// Members in leaf order.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    fn members(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Vec<Member>, GroupError>;

    /// Deletes every row of the group, kept epochs included: its messages can no longer be opened.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    fn forget(&mut self, rows: &dyn Rows, group_id: &[u8]) -> Result<WriteSet, GroupError>;
}

/// Checks a length.
fn bounded(part: Part, bytes: &[u8], max: usize) -> Result<(), GroupError> {
    if bytes.len() > max { Err(GroupError::TooLong { part, max, got: bytes.len() }) } else { Ok(()) }
}

/// Checks what [`GroupEngine::create`] is given, all but the key packages themselves.
#[cfg(feature = "device")]
fn check_creation(group_id: &[u8], conv_state: &[u8], key_packages: &[Bytes]) -> Result<(), GroupError> {
    bounded(Part::GroupId, group_id, GROUP_ID_MAX_BYTES)?;
    bounded(Part::ConvState, conv_state, CONV_STATE_MAX_BYTES)?;
    match key_packages.len() {
        0 => Err(GroupError::NoAdds),
        got if got > ADDS_MAX => Err(GroupError::TooMany { max: ADDS_MAX, got }),
        _ => Ok(()),
    }
}

/// Refuses two leaves of one device.
fn check_distinct(members: &[Member]) -> Result<(), GroupError> {
    if members.len() > MEMBERS_MAX {
        return Err(GroupError::TooMany { max: MEMBERS_MAX, got: members.len() });
    }
    let devices: std::collections::BTreeSet<_> = members.iter().map(|member| member.credential.device).collect();
    if devices.len() == members.len() { Ok(()) } else { Err(GroupError::DuplicateMember) }
}
