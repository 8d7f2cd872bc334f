//! The newest state seen of a record, remembered after the record itself is gone.
//!
//! Pure. Without it a once valid record could be played back as soon as the newer one has ended. Claims to names need no
//! mark: an older claim says what the newer one says. Implements `docs/protocol.md`, section "Directory records".

use super::record_store::StoreError;
use super::selection::Candidate;
use roost_crypto::identity_log::LogHash;
use roost_protocol::records::VerifiedRecord;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The newest state seen under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// Of a handle or an organisation.
    Signed {
        /// Its sequence number.
        seq: u64,
        /// Its end, seconds since 1970.
        expires: u64,
    },
    /// Of an identity log.
    Log {
        /// How often it was reset.
        #[serde(default)]
        count: u64,
        /// Number of its newest entry.
        seq: u64,
        /// That entry's hash.
        hash: LogHash,
    },
}

impl Mark {
    /// The mark that a record leaves.
    pub(super) fn of(candidate: &Candidate) -> Option<Self> {
        match &candidate.record {
            VerifiedRecord::Account(log) => {
                let head = log.head();
                Some(Self::Log { count: log.count(), seq: head.seq, hash: head.hash })
            }
            VerifiedRecord::Handle(record) => Some(Self::Signed { seq: record.seq, expires: record.expires }),
            VerifiedRecord::Org(record) => Some(Self::Signed { seq: record.seq, expires: record.expires }),
            VerifiedRecord::Name(_) => None,
        }
    }

    /// Whether a record is at least as new as the one that left the mark, and no branch of it.
    ///
    /// # Errors
    /// [`StoreError::Older`], [`StoreError::Branched`].
    pub(super) fn check(&self, candidate: &Candidate) -> Result<(), StoreError> {
        match (self, &candidate.record) {
            (Self::Signed { seq, expires }, VerifiedRecord::Handle(record)) => {
                not_older((*seq, *expires), (record.seq, record.expires))
            }
            (Self::Signed { seq, expires }, VerifiedRecord::Org(record)) => {
                not_older((*seq, *expires), (record.seq, record.expires))
            }
            (Self::Log { count, seq, hash }, VerifiedRecord::Account(log)) => match log.count().cmp(count) {
                Ordering::Less => Err(StoreError::Older),
                Ordering::Greater => Ok(()),
                Ordering::Equal if log.head().seq < *seq => Err(StoreError::Older),
                Ordering::Equal if log.hash_at(*seq) != Some(*hash) => Err(StoreError::Branched),
                Ordering::Equal => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn not_older(seen: (u64, u64), offered: (u64, u64)) -> Result<(), StoreError> {
    if offered < seen { Err(StoreError::Older) } else { Ok(()) }
}
