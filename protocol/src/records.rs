//! What the directory holds: organisation, handle and name records, and the account's identity log.
//!
//! Every record certifies itself: its key is a hash of who signed it. The directory is a locator, never an authority.
//!
//! Implements `docs/protocol.md`, section "Directory records".

use crate::handle::{Handle, check_org_name};
use crate::limits;
use multiaddr::Multiaddr;
use roost_crypto::codec::{self, CodecError};
use roost_crypto::identity_log::{IdentityLog, LogError, VerifiedLog};
use roost_crypto::ids::{AccountId, NodeId, OrgId};
use roost_crypto::keys::{BadSignature, PublicKey, SecretKey, Signature};
use roost_crypto::labels;
use roost_crypto::signed::{Signed, SignedError};
use serde::{Deserialize, Serialize};

/// Where an organisation's nodes are. Signed by the root key; each node counter-signs the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgRecord {
    /// The root key whose hash is the organisation's id.
    pub root: PublicKey,
    /// The name it goes by.
    pub name: String,
    /// Its nodes, at most [`limits::ORG_NODES_MAX`].
    pub nodes: Vec<NodeAddress>,
    /// Counts up within this signer.
    pub seq: u64,
    /// End of validity, seconds since 1970.
    pub expires: u64,
}

/// One node of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// The node.
    pub node: NodeId,
    /// Its libp2p addresses, at most [`limits::NODE_ADDRESSES_MAX`].
    pub addrs: Vec<Multiaddr>,
    /// The base URL of its bridge.
    pub web: String,
    /// A hint for choosing the nearest.
    pub region: String,
    /// A hint for choosing the strongest.
    pub weight: u32,
}

/// An organisation record as it travels: the signed bytes and every node's signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignedOrgRecord {
    /// Signed by the root.
    pub record: Signed,
    /// One signature a node, in the order of `nodes`.
    pub countersignatures: Vec<Signature>,
}

/// Which account a handle means. Signed by the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleRecord {
    /// The organisation's root key.
    pub root: PublicKey,
    /// The handle.
    pub handle: Handle,
    /// The account.
    pub account: AccountId,
    /// Counts up within this signer.
    pub seq: u64,
    /// End of validity, seconds since 1970.
    pub expires: u64,
}

/// One organisation's claim to a name. Signed by its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameClaim {
    /// The claimant's root key.
    pub root: PublicKey,
    /// The name.
    pub name: String,
    /// Counts up within this signer.
    pub seq: u64,
    /// End of validity, seconds since 1970.
    pub expires: u64,
}

/// The value of a name key: up to [`limits::NAME_CLAIMS_MAX`] claims, sorted by organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NameClaims(pub Vec<Signed>);

/// A key of the directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// `/roost-account/<AccountId>`: an identity log.
    Account(AccountId),
    /// `/roost-handle/<H(OrgId, handle)>`: a [`HandleRecord`].
    Handle([u8; 32]),
    /// `/roost-org/<OrgId>`: a [`SignedOrgRecord`].
    Org(OrgId),
    /// `/roost-name/<H(name)>`: [`NameClaims`].
    Name([u8; 32]),
}

/// A record that was verified and fits its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifiedRecord {
    /// An account's log.
    Account(VerifiedLog),
    /// A handle.
    Handle(HandleRecord),
    /// An organisation.
    Org(OrgRecord),
    /// The claims to a name, expired ones left out.
    Name(Vec<(NameClaim, Signed)>),
}

/// Why a record is neither stored nor believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The key is in no namespace of ours.
    #[error("the key is not /roost-account, -handle, -org or -name with 32 bytes")]
    Key,
    /// Value over [`limits::DHT_VALUE_BYTES_MAX`], or bytes of another type.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A signature that does not fit.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// An identity log that breaks a rule.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Honest bytes under a key that is not theirs.
    #[error("the record belongs under another key")]
    OtherKey,
    /// Past its end.
    #[error("expired at {expires} s, now {now} s")]
    Expired {
        /// End of validity.
        expires: u64,
        /// The reader's clock.
        now: u64,
    },
    /// Valid for longer than a record may be.
    #[error("expires later than {0} s from now")]
    LivesTooLong(u64),
    /// Sequence number 0, which stands for nothing known.
    #[error("sequence number 0")]
    SeqZero,
    /// Too many nodes, addresses or claims, or none.
    #[error("expected {expected}, got {got}")]
    Count {
        /// What is allowed.
        expected: &'static str,
        /// What was found.
        got: usize,
    },
    /// A name or handle outside the alphabet.
    #[error("not a name of the handle alphabet")]
    Name,
}

impl From<SignedError> for RecordError {
    fn from(error: SignedError) -> Self {
        match error {
            SignedError::Signature(error) => Self::Signature(error),
            SignedError::Codec(error) => Self::Codec(error),
        }
    }
}

const NAMESPACES: [&str; 4] = ["/roost-account/", "/roost-handle/", "/roost-org/", "/roost-name/"];

impl RecordKey {
    /// The key of a name.
    pub fn of_name(name: &str) -> Self {
        Self::Name(labels::hash(labels::NAME_KEY, &[name.as_bytes()]))
    }

    /// The bytes in the DHT: the namespace as text, then 32 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let [account, handle, org, name] = NAMESPACES;
        let (namespace, id) = match self {
            Self::Account(id) => (account, id.as_bytes()),
            Self::Handle(id) => (handle, id),
            Self::Org(id) => (org, id.as_bytes()),
            Self::Name(id) => (name, id),
        };
        [namespace.as_bytes(), id].concat()
    }

    /// From the bytes in the DHT.
    ///
    /// # Errors
    /// [`RecordError::Key`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let tail =
            |namespace: &str| bytes.strip_prefix(namespace.as_bytes()).and_then(|id| <[u8; 32]>::try_from(id).ok());
        let [account, handle, org, name] = NAMESPACES;
        None.or_else(|| tail(account).map(|id| Self::Account(AccountId(id))))
            .or_else(|| tail(handle).map(Self::Handle))
            .or_else(|| tail(org).map(|id| Self::Org(OrgId(id))))
            .or_else(|| tail(name).map(Self::Name))
            .ok_or(RecordError::Key)
    }

    /// Verifies that `value` is a valid record of this key at `now_s` (seconds since 1970).
    ///
    /// # Errors
    /// [`RecordError`], one variant a rule.
    pub fn verify(&self, value: &[u8], now_s: u64) -> Result<VerifiedRecord, RecordError> {
        match self {
            Self::Account(id) => {
                let log: IdentityLog = codec::decode_canonical(value, limits::DHT_VALUE_BYTES_MAX)?;
                let log = VerifiedLog::verify(&log)?;
                if log.account() == *id { Ok(VerifiedRecord::Account(log)) } else { Err(RecordError::OtherKey) }
            }
            Self::Handle(id) => {
                let signed: Signed = codec::decode_canonical(value, limits::DHT_VALUE_BYTES_MAX)?;
                let record = HandleRecord::verify(&signed, now_s)?;
                let fits = record.handle.key(&OrgId::of(&record.root)) == *id;
                if fits { Ok(VerifiedRecord::Handle(record)) } else { Err(RecordError::OtherKey) }
            }
            Self::Org(id) => {
                let signed: SignedOrgRecord = codec::decode_canonical(value, limits::DHT_VALUE_BYTES_MAX)?;
                let record = signed.verify(now_s)?;
                if OrgId::of(&record.root) == *id {
                    Ok(VerifiedRecord::Org(record))
                } else {
                    Err(RecordError::OtherKey)
                }
            }
            Self::Name(_) => {
                let claims: NameClaims = codec::decode_canonical(value, limits::DHT_VALUE_BYTES_MAX)?;
                let claims = claims.verify(now_s)?;
                let fits = claims.iter().all(|(claim, _)| Self::of_name(&claim.name) == *self);
                if fits { Ok(VerifiedRecord::Name(claims)) } else { Err(RecordError::OtherKey) }
            }
        }
    }
}

impl HandleRecord {
    /// Signs.
    pub fn sign(&self, root: &SecretKey) -> Signed {
        Signed::new(labels::SIGN_HANDLE_RECORD, self, root)
    }

    /// Verifies under the root key it names; whether that root is the organisation meant is the caller's question.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn verify(signed: &Signed, now_s: u64) -> Result<Self, RecordError> {
        let claimed: Self = signed.peek(limits::DHT_VALUE_BYTES_MAX)?;
        let record: Self = signed.open(labels::SIGN_HANDLE_RECORD, &claimed.root, limits::DHT_VALUE_BYTES_MAX)?;
        check_life(record.seq, record.expires, now_s)?;
        Ok(record)
    }
}

impl SignedOrgRecord {
    /// Signs by the root and by the nodes, whose keys are given in the order of `record.nodes`.
    pub fn sign(record: &OrgRecord, root: &SecretKey, nodes: &[&SecretKey]) -> Self {
        let signed = Signed::new(labels::SIGN_ORG_RECORD, record, root);
        let countersignatures =
            nodes.iter().map(|node| node.sign(labels::SIGN_ORG_RECORD, signed.bytes.as_slice())).collect();
        Self { record: signed, countersignatures }
    }

    /// Verifies the root's and every node's signature.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn verify(&self, now_s: u64) -> Result<OrgRecord, RecordError> {
        let max = limits::DHT_VALUE_BYTES_MAX;
        let claimed: OrgRecord = self.record.peek(max)?;
        let record: OrgRecord = self.record.open(labels::SIGN_ORG_RECORD, &claimed.root, max)?;
        check_org_name(&record.name).map_err(|_| RecordError::Name)?;
        if record.nodes.is_empty() || record.nodes.len() > limits::ORG_NODES_MAX {
            return Err(RecordError::Count { expected: "1 to 8 nodes", got: record.nodes.len() });
        }
        if self.countersignatures.len() != record.nodes.len() {
            return Err(RecordError::Count { expected: "one signature a node", got: self.countersignatures.len() });
        }
        check_life(record.seq, record.expires, now_s)?;
        for (node, signature) in record.nodes.iter().zip(&self.countersignatures) {
            if node.addrs.len() > limits::NODE_ADDRESSES_MAX {
                return Err(RecordError::Count { expected: "at most 8 addresses", got: node.addrs.len() });
            }
            node.node.public_key().verify(labels::SIGN_ORG_RECORD, self.record.bytes.as_slice(), signature)?;
        }
        Ok(record)
    }
}

impl NameClaim {
    /// Signs.
    pub fn sign(&self, root: &SecretKey) -> Signed {
        Signed::new(labels::SIGN_NAME_CLAIM, self, root)
    }
}

impl NameClaims {
    /// The valid claims; expired ones are left out, a forged one refuses the whole value.
    ///
    /// # Errors
    /// [`RecordError`]; [`RecordError::Expired`] when none is left.
    pub fn verify(&self, now_s: u64) -> Result<Vec<(NameClaim, Signed)>, RecordError> {
        if self.0.is_empty() || self.0.len() > limits::NAME_CLAIMS_MAX {
            return Err(RecordError::Count { expected: "1 to 4 claims", got: self.0.len() });
        }
        let mut valid: Vec<(NameClaim, Signed)> = Vec::new();
        let mut expired = None;
        for signed in &self.0 {
            let claimed: NameClaim = signed.peek(limits::DHT_VALUE_BYTES_MAX)?;
            let claim: NameClaim = signed.open(labels::SIGN_NAME_CLAIM, &claimed.root, limits::DHT_VALUE_BYTES_MAX)?;
            check_org_name(&claim.name).map_err(|_| RecordError::Name)?;
            match check_life(claim.seq, claim.expires, now_s) {
                Err(error @ RecordError::Expired { .. }) => expired = Some(error),
                Err(error) => return Err(error),
                Ok(()) if valid.iter().any(|(other, _)| other.root == claim.root) => {
                    return Err(RecordError::Count { expected: "one claim an organisation", got: 2 });
                }
                Ok(()) => valid.push((claim, signed.clone())),
            }
        }
        match expired {
            Some(error) if valid.is_empty() => Err(error),
            _ => Ok(valid),
        }
    }
}

fn check_life(seq: u64, expires: u64, now_s: u64) -> Result<(), RecordError> {
    let skew_s = limits::CLOCK_SKEW_MS_MAX / 1000;
    if seq == 0 {
        Err(RecordError::SeqZero)
    } else if expires.saturating_add(skew_s) < now_s {
        Err(RecordError::Expired { expires, now: now_s })
    } else if expires > now_s + limits::RECORD_LIFE_S_MAX + skew_s {
        Err(RecordError::LivesTooLong(limits::RECORD_LIFE_S_MAX))
    } else {
        Ok(())
    }
}
