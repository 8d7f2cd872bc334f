//! Which of two valid records of one key stands.
//!
//! Pure: no clock, no store. Sequence numbers are compared only within one signer, which the key itself fixes. Implements
//! `docs/protocol.md`, section "Directory records".

use roost_crypto::identity_log::Relation;
use roost_protocol::codec;
use roost_protocol::limits::NAME_CLAIMS_MAX;
use roost_protocol::records::{NameClaim, NameClaims, RecordError, RecordKey, VerifiedRecord};
use roost_protocol::{OrgId, Signed};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A record and the bytes it is kept as. For a name these are its valid claims, sorted by organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The bytes.
    pub value: Vec<u8>,
    /// What they say.
    pub record: VerifiedRecord,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Both say the same.
    Equal,
    /// The one held is newer.
    Held,
    /// The one offered is newer.
    Offered,
    /// Both hold claims to the name; this is all of them.
    Merged(Box<Candidate>),
    /// Two branches of one identity log: neither replaces the other.
    Branched,
}

impl Candidate {
    /// Verifies `value` under `key` at `now_s` (seconds since 1970).
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn verify(key: &RecordKey, value: &[u8], now_s: u64) -> Result<Self, RecordError> {
        match key.verify(value, now_s)? {
            VerifiedRecord::Name(claims) => Ok(Self::of_claims(by_org(claims))),
            record => Ok(Self { value: value.to_vec(), record }),
        }
    }

    /// End of validity by the record's own word, seconds since 1970; an identity log has none.
    pub fn expires_s(&self) -> Option<u64> {
        match &self.record {
            VerifiedRecord::Account(_) => None,
            VerifiedRecord::Handle(record) => Some(record.expires),
            VerifiedRecord::Org(record) => Some(record.expires),
            VerifiedRecord::Name(claims) => claims.iter().map(|(claim, _)| claim.expires).max(),
        }
    }

    fn of_claims(claims: BTreeMap<OrgId, (NameClaim, Signed)>) -> Self {
        let claims: Vec<_> = claims.into_values().collect();
        let signed = NameClaims(claims.iter().map(|(_, signed)| signed.clone()).collect());
        Self { value: codec::encode(&signed), record: VerifiedRecord::Name(claims) }
    }
}

/// Compares two records of one key.
pub fn choose(held: &Candidate, offered: &Candidate) -> Choice {
    if held.value == offered.value {
        return Choice::Equal;
    }
    match (&held.record, &offered.record) {
        (VerifiedRecord::Account(ours), VerifiedRecord::Account(theirs)) => match ours.relation(theirs) {
            Relation::Same => Choice::Equal,
            Relation::Extended | Relation::Reset => Choice::Offered,
            Relation::Behind | Relation::OtherAccount => Choice::Held,
            Relation::Branched => Choice::Branched,
        },
        (VerifiedRecord::Handle(ours), VerifiedRecord::Handle(theirs)) => {
            newer((ours.seq, ours.expires, Reverse(&held.value)), (theirs.seq, theirs.expires, Reverse(&offered.value)))
        }
        (VerifiedRecord::Org(ours), VerifiedRecord::Org(theirs)) => {
            newer((ours.seq, ours.expires, Reverse(&held.value)), (theirs.seq, theirs.expires, Reverse(&offered.value)))
        }
        (VerifiedRecord::Name(ours), VerifiedRecord::Name(theirs)) => merge(held, ours, offered, theirs),
        // One key has one kind of record, so this does not happen; what is held stays.
        _ => Choice::Held,
    }
}

fn newer<T: Ord>(held: T, offered: T) -> Choice {
    if offered > held { Choice::Offered } else { Choice::Held }
}

/// All claims of both, each organisation's newest; an unexpired claim is never evicted for another organisation's.
fn merge(
    held: &Candidate,
    ours: &[(NameClaim, Signed)],
    offered: &Candidate,
    theirs: &[(NameClaim, Signed)],
) -> Choice {
    let rank = |claim: &(NameClaim, Signed)| (claim.0.seq, claim.0.expires, Reverse(codec::encode(&claim.1)));
    let mut claims = by_org(ours.to_vec());
    for (org, claim) in by_org(theirs.to_vec()) {
        let stands = match claims.get(&org) {
            Some(known) => rank(&claim) > rank(known),
            None => claims.len() < NAME_CLAIMS_MAX,
        };
        if stands {
            claims.insert(org, claim);
        }
    }
    let merged = Candidate::of_claims(claims);
    if merged.value == held.value {
        Choice::Held
    } else if merged.value == offered.value {
        Choice::Offered
    } else {
        Choice::Merged(Box::new(merged))
    }
}

fn by_org(claims: Vec<(NameClaim, Signed)>) -> BTreeMap<OrgId, (NameClaim, Signed)> {
    claims.into_iter().map(|claim| (OrgId::of(&claim.0.root), claim)).collect()
}
