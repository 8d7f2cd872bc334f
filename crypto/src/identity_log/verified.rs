//! A log that survived every check, and what it says.
//!
//! Verifying, appending and founding go through one function, [`VerifiedLog::admit`]: what we would refuse from others
//! we never write.

use super::entry::{HandleClaim, IdentityLog, LogEntry, LogHash, LogHead, Operation, Signer};
use super::state::State;
use super::{LOG_BYTES_MAX, LogError};
use crate::ids::{AccountId, DeviceId, NodeId, OrgId};
use crate::keys::{PublicKey, SecretKey};
use crate::labels;
use crate::signed::{Signed, SignedError};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// How a second log of somebody stands to the one that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Both have the same entries.
    Same,
    /// The second has all entries of the first and more.
    Extended,
    /// The second was reset more often: whatever the first says, it ends.
    Reset,
    /// The second is a prefix of the first, or was reset less often.
    Behind,
    /// One account, equally many resets, and entries that contradict each other.
    Branched,
    /// Another account.
    OtherAccount,
}

impl Relation {
    /// Whether the second log takes the place of the first.
    pub fn replaces(self) -> bool {
        matches!(self, Self::Extended | Self::Reset)
    }
}

/// A verified log and the state that its entries lead to.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedLog {
    log: IdentityLog,
    /// Number of the first entry: 0 of a genesis, more of a reset.
    first_seq: u64,
    /// Hash of each entry; never empty.
    hashes: Vec<LogHash>,
    head: LogHead,
    state: State,
}

impl VerifiedLog {
    /// Checks a log from its genesis or its last reset on. The size is checked before the first signature.
    ///
    /// # Errors
    /// Any [`LogError`] but `Branched` and `OtherAccount`.
    pub fn verify(log: &IdentityLog) -> Result<Self, LogError> {
        check_size(log)?;
        let (first, later) = log.0.split_first().ok_or(LogError::Empty)?;
        later.iter().try_fold(Self::begin(first)?, |verified, signed| verified.admit(signed))
    }

    /// Reads and checks an encoded log.
    ///
    /// # Errors
    /// As [`IdentityLog::decode`] and [`Self::verify`].
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        Self::verify(&IdentityLog::decode(bytes)?)
    }

    /// Founds an account: a log of one genesis, signed by the root key.
    ///
    /// # Errors
    /// [`LogError::Homes`], [`LogError::DeviceIsRoot`].
    pub fn create(root: &SecretKey, device: &PublicKey, homes: Vec<NodeId>) -> Result<Self, LogError> {
        let op = Operation::Genesis { root: root.public_key(), device: *device, homes };
        Self::signed_first(0, op, root)
    }

    /// The log with one entry more, signed by `key`, after the same checks as for an entry of somebody else.
    ///
    /// # Errors
    /// Any [`LogError`] of an entry: a key that is not the signer's gives [`LogError::Signature`], a full log
    /// [`LogError::TooLong`].
    pub fn append(&self, op: Operation, signer: Signer, key: &SecretKey) -> Result<Self, LogError> {
        let entry = LogEntry { seq: self.next_seq(), prev: self.head.hash, signer, op };
        let appended = self.clone().admit(&Signed::new(labels::SIGN_LOG_ENTRY, &entry, key))?;
        check_size(&appended.log)?;
        Ok(appended)
    }

    /// A log that ends this one and every branch of it that is no longer: one reset, which keeps the claim to the handle.
    ///
    /// # Errors
    /// [`LogError::OtherAccount`] where `root` is another account's, and those of an entry.
    pub fn reset(&self, root: &SecretKey, devices: Vec<PublicKey>, homes: Vec<NodeId>) -> Result<Self, LogError> {
        if root.public_key() != self.state.root {
            return Err(LogError::OtherAccount);
        }
        let handle = self.state.handle.clone().map(|(handle, org)| HandleClaim { handle, org });
        let count = self.state.count.saturating_add(1);
        let op = Operation::Reset { root: self.state.root, count, devices, homes, handle };
        Self::signed_first(self.next_seq(), op, root)
    }

    /// How `newer` stands to this log.
    pub fn relation(&self, newer: &Self) -> Relation {
        if self.account() != newer.account() {
            return Relation::OtherAccount;
        }
        match newer.count().cmp(&self.count()) {
            Ordering::Greater => return Relation::Reset,
            Ordering::Less => return Relation::Behind,
            Ordering::Equal => {}
        }
        if self.first_difference(newer).is_some() {
            return Relation::Branched;
        }
        match newer.hashes.len().cmp(&self.hashes.len()) {
            Ordering::Equal => Relation::Same,
            Ordering::Greater => Relation::Extended,
            Ordering::Less => Relation::Behind,
        }
    }

    /// The log to keep of the two: the candidate only if it extends this one, or was reset more often.
    ///
    /// # Errors
    /// [`LogError::Branched`] and [`LogError::OtherAccount`]; the held log stays.
    pub fn supersede(&self, candidate: &Self) -> Result<Self, LogError> {
        match self.relation(candidate) {
            Relation::Same | Relation::Behind => Ok(self.clone()),
            Relation::Extended | Relation::Reset => Ok(candidate.clone()),
            Relation::OtherAccount => Err(LogError::OtherAccount),
            Relation::Branched => {
                Err(LogError::Branched { seq: self.first_difference(candidate).unwrap_or(self.first_seq) })
            }
        }
    }

    /// Whose log it is.
    pub fn account(&self) -> AccountId {
        self.state.account
    }

    /// Public half of R.
    pub fn root(&self) -> &PublicKey {
        &self.state.root
    }

    /// The active devices: key, and seq of the entry that admitted it.
    pub fn device_keys(&self) -> &BTreeMap<DeviceId, (PublicKey, u64)> {
        &self.state.devices
    }

    /// Whether the log admits a leaf of this device now. `log_seq` is what its credential names: the entry that admitted it,
    /// or, where a reset lists the device again, one that the reset ended.
    pub fn admits(&self, device: &DeviceId, key: &PublicKey, log_seq: u64) -> bool {
        self.state.devices.get(device).is_some_and(|held| self.fits(held, key, log_seq))
    }

    /// As [`Self::admits`], of devices that were revoked since as well.
    pub fn has_admitted(&self, device: &DeviceId, key: &PublicKey, log_seq: u64) -> bool {
        let held = self.state.devices.get(device).or_else(|| self.state.former.get(device));
        held.is_some_and(|held| self.fits(held, key, log_seq))
    }

    /// Whether the log has ended a device that was admitted by entry `log_seq`: by a revocation, or by a reset that does not
    /// list it. A log that ends before that entry says nothing of the device.
    pub fn has_revoked(&self, device: &DeviceId, log_seq: u64) -> bool {
        let listed = || self.state.devices.get(device).is_some_and(|(_, admitted)| *admitted == self.first_seq);
        self.state.former.contains_key(device) || (log_seq < self.first_seq && !listed())
    }

    /// The key of a device that the log has revoked.
    pub fn revoked_key(&self, device: &DeviceId) -> Option<&PublicKey> {
        self.state.former.get(device).map(|(key, _)| key)
    }

    /// How often the account was reset.
    pub fn count(&self) -> u64 {
        self.state.count
    }

    /// The hash of entry `seq`, unless it lies before the log or behind it.
    pub fn hash_at(&self, seq: u64) -> Option<LogHash> {
        let at = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        self.hashes.get(at).copied()
    }

    /// The homes, in the account's order.
    pub fn homes(&self) -> &[NodeId] {
        &self.state.homes
    }

    /// The claimed handle and the organisation that has to confirm it.
    pub fn handle(&self) -> Option<(&str, OrgId)> {
        self.state.handle.as_ref().map(|(handle, org)| (handle.as_str(), *org))
    }

    /// The newest entry.
    pub fn head(&self) -> LogHead {
        self.head
    }

    /// The log as it travels.
    pub fn log(&self) -> &IdentityLog {
        &self.log
    }

    /// The encoded log, at most [`LOG_BYTES_MAX`] bytes.
    pub fn encoded(&self) -> Vec<u8> {
        self.log.encoded()
    }

    fn signed_first(seq: u64, op: Operation, root: &SecretKey) -> Result<Self, LogError> {
        let entry = LogEntry { seq, prev: LogHash::ZERO, signer: Signer::Root, op };
        Self::verify(&IdentityLog(vec![Signed::new(labels::SIGN_LOG_ENTRY, &entry, root)]))
    }

    /// Checks the first entry: a genesis or a reset.
    fn begin(signed: &Signed) -> Result<Self, LogError> {
        let claimed = peek(signed, 0)?;
        let (root, seq, by_a_device) = match claimed.op {
            Operation::Genesis { root, .. } => (root, 0, LogError::GenesisSigner),
            Operation::Reset { root, .. } => (root, claimed.seq, LogError::ResetSigner),
            other => return Err(LogError::GenesisMissing { got: other.name() }),
        };
        if claimed.signer != Signer::Root {
            return Err(by_a_device);
        }
        let entry = open(signed, &root, seq)?;
        check_place(&entry, seq, LogHash::ZERO)?;
        let state = State::begin(entry.op, seq)?;
        let hash = LogHash::of(signed);
        let head = LogHead { seq, hash };
        Ok(Self { log: IdentityLog(vec![signed.clone()]), first_seq: seq, hashes: vec![hash], head, state })
    }

    /// Checks an entry behind the first, and carries it out.
    fn admit(mut self, signed: &Signed) -> Result<Self, LogError> {
        let seq = self.next_seq();
        let signer = peek(signed, seq)?.signer;
        let key = match signer {
            Signer::Root => self.state.root,
            Signer::Device(device) => self.state.devices.get(&device).ok_or(LogError::SignerNotActive { seq })?.0,
        };
        let entry = open(signed, &key, seq)?;
        check_place(&entry, seq, self.head.hash)?;
        self.state.apply(entry.op, signer, seq)?;
        let hash = LogHash::of(signed);
        self.log.0.push(signed.clone());
        self.hashes.push(hash);
        self.head = LogHead { seq, hash };
        Ok(self)
    }

    fn next_seq(&self) -> u64 {
        // A log begins at RESET_NUMBER_MAX or below and has at most LOG_BYTES_MAX bytes: far from the end of u64.
        self.head.seq.saturating_add(1)
    }

    /// Whether a device that the log holds is the one of a credential.
    fn fits(&self, (held, admitted): &(PublicKey, u64), key: &PublicKey, log_seq: u64) -> bool {
        let listed_again = *admitted == self.first_seq && log_seq < self.first_seq;
        held == key && (*admitted == log_seq || listed_again)
    }

    /// Number of the first entry that differs, of two logs that were reset equally often.
    fn first_difference(&self, other: &Self) -> Option<u64> {
        let pairs = self.hashes.iter().zip(&other.hashes);
        (self.first_seq..).zip(pairs).find(|(_, (ours, theirs))| ours != theirs).map(|(seq, _)| seq)
    }
}

impl fmt::Debug for VerifiedLog {
    /// Shows no id of a person: a verified log is passed around everywhere, and logs are kept.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifiedLog(seq {})", self.head.seq)
    }
}

fn check_size(log: &IdentityLog) -> Result<(), LogError> {
    let got = log.encoded().len();
    if got > LOG_BYTES_MAX { Err(LogError::TooLong { max: LOG_BYTES_MAX, got }) } else { Ok(()) }
}

fn check_place(entry: &LogEntry, seq: u64, prev: LogHash) -> Result<(), LogError> {
    if entry.seq != seq {
        return Err(LogError::Seq { expected: seq, got: entry.seq });
    }
    if entry.prev != prev { Err(LogError::Prev { seq }) } else { Ok(()) }
}

/// What an entry claims, to learn which key must have signed it.
fn peek(signed: &Signed, seq: u64) -> Result<LogEntry, LogError> {
    signed.peek(LOG_BYTES_MAX).map_err(|error| LogError::MalformedEntry { seq, error })
}

fn open(signed: &Signed, key: &PublicKey, seq: u64) -> Result<LogEntry, LogError> {
    signed.open(labels::SIGN_LOG_ENTRY, key, LOG_BYTES_MAX).map_err(|error| match error {
        SignedError::Signature(_) => LogError::Signature { seq },
        SignedError::Codec(error) => LogError::MalformedEntry { seq, error },
    })
}
