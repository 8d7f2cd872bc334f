//! What nodes tell each other unasked: that a record of the directory has changed. A hint; nothing depends on it.
//!
//! A change carries the changed records themselves, which certify themselves under their keys as in the directory. Nothing
//! here verifies a signature: [`DirectoryChange::read`] gives claims, [`RecordKey::verify`] judges them. Implements
//! `docs/protocol.md`, section "Gossip".

use crate::limits;
use crate::records::{HandleRecord, NameClaim, NameClaims, OrgRecord, RecordKey, SignedOrgRecord};
use roost_crypto::codec::{self, CodecError};
use roost_crypto::identity_log::{IdentityLog, LOG_BYTES_MAX, LogEntry, Operation};
use roost_crypto::ids::{AccountId, OrgId};
use roost_crypto::signed::Signed;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Topic of accounts: a log or a handle record changed.
pub const ACCOUNTS_TOPIC: &str = "/roost/directory/accounts/1";
/// Topic of organisations: a record or a claim to a name changed.
pub const ORGS_TOPIC: &str = "/roost/directory/orgs/1";
/// Every topic; a node takes part in no other.
pub const TOPICS: [&str; 2] = [ACCOUNTS_TOPIC, ORGS_TOPIC];

/// The payload of a gossip message, canonical CBOR of at most [`limits::GOSSIP_MESSAGE_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryChange {
    /// On [`ACCOUNTS_TOPIC`]. At least one of the two; both are of one account.
    Account {
        /// The account's whole identity log.
        log: Option<IdentityLog>,
        /// A [`HandleRecord`].
        handle: Option<Signed>,
    },
    /// On [`ORGS_TOPIC`]. At least one of the two; both are of one organisation.
    Org {
        /// Where its nodes are.
        record: Option<SignedOrgRecord>,
        /// A [`NameClaim`].
        claim: Option<Signed>,
    },
}

/// A record that a change carries: its key and value in the directory. Nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRecord {
    /// The key it claims to belong under.
    pub key: RecordKey,
    /// The value, at most [`limits::DHT_VALUE_BYTES_MAX`].
    pub value: Vec<u8>,
}

/// Why a gossip message is no change: whoever passes it on must have known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// Not one of [`TOPICS`].
    #[error("not a topic of the directory")]
    Topic,
    /// Too long, or not the canonical bytes of the type.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A change of an account among those of organisations, or the other way round.
    #[error("the change belongs on the other topic")]
    OtherTopic,
    /// It carries nothing.
    #[error("expected a record, got none")]
    Empty,
    /// An identity log that begins with neither a genesis nor a reset.
    #[error("expected a genesis or a reset first")]
    GenesisMissing,
    /// Two records of two accounts, or of two organisations.
    #[error("the two records are not of one owner")]
    Apart,
}

impl DirectoryChange {
    /// The topic it belongs on.
    pub fn topic(&self) -> &'static str {
        match self {
            Self::Account { .. } => ACCOUNTS_TOPIC,
            Self::Org { .. } => ORGS_TOPIC,
        }
    }

    /// The bytes of the message.
    pub fn encoded(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a message of `topic` without computing a signature.
    ///
    /// # Errors
    /// [`GossipError`], one variant a rule.
    pub fn read(topic: &str, bytes: &[u8]) -> Result<Vec<ClaimedRecord>, GossipError> {
        if !TOPICS.contains(&topic) {
            return Err(GossipError::Topic);
        }
        let change: Self = codec::decode_canonical(bytes, limits::GOSSIP_MESSAGE_BYTES_MAX)?;
        if change.topic() != topic {
            return Err(GossipError::OtherTopic);
        }
        change.records()
    }

    /// The records it carries, as the directory keeps them.
    ///
    /// # Errors
    /// [`GossipError`].
    pub fn records(&self) -> Result<Vec<ClaimedRecord>, GossipError> {
        let max = limits::DHT_VALUE_BYTES_MAX;
        let mut records = Vec::new();
        match self {
            Self::Account { log, handle } => {
                let account = log.as_ref().map(claimed_account).transpose()?;
                if let (Some(log), Some(account)) = (log, account) {
                    records.push(claimed(RecordKey::Account(account), codec::encode(log))?);
                }
                if let Some(handle) = handle {
                    let record: HandleRecord = handle.peek(max)?;
                    if account.is_some_and(|account| account != record.account) {
                        return Err(GossipError::Apart);
                    }
                    let key = RecordKey::Handle(record.handle.key(&OrgId::of(&record.root)));
                    records.push(claimed(key, codec::encode(handle))?);
                }
            }
            Self::Org { record, claim } => {
                let org: Option<OrgRecord> = record.as_ref().map(|record| record.record.peek(max)).transpose()?;
                if let (Some(record), Some(org)) = (record, &org) {
                    records.push(claimed(RecordKey::Org(OrgId::of(&org.root)), codec::encode(record))?);
                }
                if let Some(signed) = claim {
                    let claim: NameClaim = signed.peek(max)?;
                    if org.is_some_and(|org| (org.root, &org.name) != (claim.root, &claim.name)) {
                        return Err(GossipError::Apart);
                    }
                    let value = codec::encode(&NameClaims(vec![signed.clone()]));
                    records.push(claimed(RecordKey::of_name(&claim.name), value)?);
                }
            }
        }
        if records.is_empty() { Err(GossipError::Empty) } else { Ok(records) }
    }
}

/// The id of a message: the first 20 bytes of SHA-256 over the topic's length (8 bytes, big-endian), the topic and the data.
/// Who publishes does not enter, so one change that comes from two nodes is one message.
pub fn message_id(topic: &str, data: &[u8]) -> [u8; 20] {
    let hash = Sha256::new()
        .chain_update((topic.len() as u64).to_be_bytes())
        .chain_update(topic.as_bytes())
        .chain_update(data)
        .finalize();
    let mut id = [0; 20];
    id.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    id
}

/// Whether a value claims to be newer than the one that is held under the same key, by what both say and without a
/// signature: resets and entries of a log, `(seq, expires)` of the others. Says which of many messages are worth verifying; it proves
/// nothing.
pub fn claims_newer(key: &RecordKey, held: &[u8], offered: &[u8]) -> bool {
    match key {
        RecordKey::Name(_) => {
            let held = claims(held);
            claims(offered).iter().any(|(org, age)| held.iter().all(|(other, held)| other != org || age > held))
        }
        _ => match (age(key, held), age(key, offered)) {
            (Some(held), Some(offered)) => offered > held,
            (None, offered) => offered.is_some(),
            (Some(_), None) => false,
        },
    }
}

/// The age that a value claims: resets and entries of a log, `(seq, expires)` of a handle or organisation record. Names have one for
/// each claimant, so none.
pub fn age(key: &RecordKey, value: &[u8]) -> Option<(u64, u64)> {
    let max = limits::DHT_VALUE_BYTES_MAX;
    match key {
        RecordKey::Account(_) => codec::decode::<IdentityLog>(value, max).ok().map(|log| age_of_log(&log)),
        RecordKey::Handle(_) => {
            let record: HandleRecord = codec::decode::<Signed>(value, max).ok()?.peek(max).ok()?;
            Some((record.seq, record.expires))
        }
        RecordKey::Org(_) => {
            let record: OrgRecord = codec::decode::<SignedOrgRecord>(value, max).ok()?.record.peek(max).ok()?;
            Some((record.seq, record.expires))
        }
        RecordKey::Name(_) => None,
    }
}

/// Of two logs of an account the one with more resets is newer, then the longer one.
pub fn age_of_log(log: &IdentityLog) -> (u64, u64) {
    (log.claimed_count(), log.0.len() as u64)
}

fn claims(value: &[u8]) -> Vec<(OrgId, (u64, u64))> {
    let max = limits::DHT_VALUE_BYTES_MAX;
    let claims = codec::decode::<NameClaims>(value, max).map_or_else(|_| Vec::new(), |claims| claims.0);
    let claims = claims.iter().filter_map(|signed| signed.peek::<NameClaim>(max).ok());
    claims.map(|claim| (OrgId::of(&claim.root), (claim.seq, claim.expires))).collect()
}

fn claimed(key: RecordKey, value: Vec<u8>) -> Result<ClaimedRecord, GossipError> {
    let max = limits::DHT_VALUE_BYTES_MAX;
    if value.len() > max {
        return Err(CodecError::TooLong { max, got: value.len() }.into());
    }
    Ok(ClaimedRecord { key, value })
}

fn claimed_account(log: &IdentityLog) -> Result<AccountId, GossipError> {
    let genesis = log.0.first().ok_or(GossipError::GenesisMissing)?;
    match genesis.peek::<LogEntry>(LOG_BYTES_MAX)?.op {
        Operation::Genesis { root, .. } | Operation::Reset { root, .. } => Ok(AccountId::of(&root)),
        _ => Err(GossipError::GenesisMissing),
    }
}

#[cfg(test)]
#[path = "gossip_tests.rs"]
mod tests;
