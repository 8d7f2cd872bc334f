//! A log that survived every check, and what it says.
//!
//! Verifying, appending and founding go through one function, [`VerifiedLog::admit`]: what we would refuse from others
//! we never write.

use super::entry::{IdentityLog, LogEntry, LogHash, LogHead, Operation, Signer};
use super::{HOMES_ACCEPTED, HOMES_MAX, HomesError, LOG_BYTES_MAX, LogError, check_handle};
use crate::ids::{AccountId, DeviceId, NodeId, OrgId};
use crate::keys::{PublicKey, SecretKey};
use crate::labels;
use crate::signed::{Signed, SignedError};
use std::collections::BTreeMap;
use std::fmt;

/// How a second log of somebody stands to the one that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Both have the same entries.
    Same,
    /// The second has all entries of the first and more.
    Extended,
    /// The second is a prefix of the first.
    Behind,
    /// One account, and entries that contradict each other.
    Branched,
    /// Another account.
    OtherAccount,
}

/// A verified log and the state that its entries lead to.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedLog {
    log: IdentityLog,
    /// Hash of each entry; never empty.
    hashes: Vec<LogHash>,
    head: LogHead,
    state: State,
}

/// What the entries lead to.
#[derive(Clone, PartialEq, Eq)]
struct State {
    account: AccountId,
    root: PublicKey,
    devices: BTreeMap<DeviceId, (PublicKey, u64)>,
    homes: Vec<NodeId>,
    handle: Option<(String, OrgId)>,
}

impl VerifiedLog {
    /// Checks a log from its genesis on. The size is checked before the first signature.
    ///
    /// # Errors
    /// Any [`LogError`] but `Branched` and `OtherAccount`.
    pub fn verify(log: &IdentityLog) -> Result<Self, LogError> {
        check_size(log)?;
        let (genesis, later) = log.0.split_first().ok_or(LogError::Empty)?;
        later.iter().try_fold(Self::found(genesis)?, |verified, signed| verified.admit(signed))
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
        let entry = LogEntry { seq: 0, prev: LogHash::ZERO, signer: Signer::Root, op };
        Self::verify(&IdentityLog(vec![Signed::new(labels::SIGN_LOG_ENTRY, &entry, root)]))
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

    /// How `newer` stands to this log.
    pub fn relation(&self, newer: &Self) -> Relation {
        if self.account() != newer.account() {
            return Relation::OtherAccount;
        }
        if self.first_difference(newer).is_some() {
            return Relation::Branched;
        }
        match newer.hashes.len().cmp(&self.hashes.len()) {
            std::cmp::Ordering::Equal => Relation::Same,
            std::cmp::Ordering::Greater => Relation::Extended,
            std::cmp::Ordering::Less => Relation::Behind,
        }
    }

    /// The log to keep of the two: the candidate only if it extends this one.
    ///
    /// # Errors
    /// [`LogError::Branched`] and [`LogError::OtherAccount`]; the held log stays.
    pub fn supersede(&self, candidate: &Self) -> Result<Self, LogError> {
        match self.relation(candidate) {
            Relation::Same | Relation::Behind => Ok(self.clone()),
            Relation::Extended => Ok(candidate.clone()),
            Relation::OtherAccount => Err(LogError::OtherAccount),
            Relation::Branched => Err(LogError::Branched { seq: self.first_difference(candidate).unwrap_or(0) }),
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

    /// Checks a genesis.
    fn found(signed: &Signed) -> Result<Self, LogError> {
        let claimed = peek(signed, 0)?;
        let Operation::Genesis { root, device, homes } = claimed.op else {
            return Err(LogError::GenesisMissing { got: claimed.op.name() });
        };
        if claimed.signer != Signer::Root {
            return Err(LogError::GenesisSigner);
        }
        let entry = open(signed, &root, 0)?;
        check_place(&entry, 0, LogHash::ZERO)?;
        check_homes(&homes)?;
        if device == root {
            return Err(LogError::DeviceIsRoot);
        }
        let hash = LogHash::of(signed);
        Ok(Self {
            log: IdentityLog(vec![signed.clone()]),
            hashes: vec![hash],
            head: LogHead { seq: 0, hash },
            state: State {
                account: AccountId::of(&root),
                root,
                devices: BTreeMap::from([(DeviceId::of(&device), (device, 0))]),
                homes,
                handle: None,
            },
        })
    }

    /// Checks the entry behind the genesis or a later one, and carries it out.
    fn admit(mut self, signed: &Signed) -> Result<Self, LogError> {
        let seq = self.next_seq();
        let key = match peek(signed, seq)?.signer {
            Signer::Root => self.state.root,
            Signer::Device(device) => self.state.devices.get(&device).ok_or(LogError::SignerNotActive { seq })?.0,
        };
        let entry = open(signed, &key, seq)?;
        check_place(&entry, seq, self.head.hash)?;
        let operation = entry.op.name();
        match entry.op {
            Operation::Genesis { .. } => return Err(LogError::GenesisRepeated { seq }),
            Operation::SetHomes { homes } => {
                check_homes(&homes)?;
                self.state.homes = homes;
            }
            Operation::SetHandle { handle, org } => {
                check_handle(&handle)?;
                self.state.handle = Some((handle, org));
            }
            Operation::AddDevice { .. } | Operation::RevokeDevice { .. } | Operation::Reset { .. } => {
                return Err(LogError::Unsupported { operation });
            }
        }
        let hash = LogHash::of(signed);
        self.log.0.push(signed.clone());
        self.hashes.push(hash);
        self.head = LogHead { seq, hash };
        Ok(self)
    }

    fn next_seq(&self) -> u64 {
        // A log has at most LOG_BYTES_MAX bytes, so the number of its entries is far from the end of u64.
        self.head.seq.saturating_add(1)
    }

    /// Seq of the first entry that both have and that differs.
    fn first_difference(&self, other: &Self) -> Option<u64> {
        (0..).zip(self.hashes.iter().zip(&other.hashes)).find(|(_, (ours, theirs))| ours != theirs).map(|(seq, _)| seq)
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
