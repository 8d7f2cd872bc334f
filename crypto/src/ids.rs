//! Ids of who takes part: accounts, devices, organisations, nodes.
//!
//! All but the node's are hashes of a public key; a node's id *is* its Ed25519 public key and is shown as libp2p's PeerId.

use crate::fixed_bytes;
use crate::keys::PublicKey;
use crate::labels;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

fixed_bytes! {
    /// An account: hash of the public key of R. Never changes.
    AccountId, 32
}
fixed_bytes! {
    /// A device: hash of its public key.
    DeviceId, 32
}
fixed_bytes! {
    /// An organisation: hash of its root public key.
    OrgId, 32
}

impl AccountId {
    /// The account of a root key.
    pub fn of(root: &PublicKey) -> Self {
        Self(labels::hash(labels::ACCOUNT_ID, &[root.as_bytes()]))
    }
}

impl DeviceId {
    /// The device of a key.
    pub fn of(key: &PublicKey) -> Self {
        Self(labels::hash(labels::DEVICE_ID, &[key.as_bytes()]))
    }
}

impl OrgId {
    /// The organisation of a root key.
    pub fn of(root: &PublicKey) -> Self {
        Self(labels::hash(labels::ORG_ID, &[root.as_bytes()]))
    }
}

/// A node: its Ed25519 public key. As text it is the PeerId that libp2p prints (base58btc of the identity multihash).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct NodeId(PublicKey);

/// Protobuf `PublicKey{type: Ed25519, data: 32 bytes}` within an identity multihash (libp2p peer-ids specification).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl NodeId {
    /// The node of a key.
    pub fn of(key: PublicKey) -> Self {
        Self(key)
    }

    /// The key that the node proves in its Noise handshake and signs heads with.
    pub fn public_key(&self) -> &PublicKey {
        &self.0
    }

    /// The bytes of the PeerId (multihash, 38 bytes).
    pub fn to_peer_id_bytes(&self) -> Vec<u8> {
        [&PEER_ID_PREFIX[..], self.0.as_bytes()].concat()
    }

    /// From the bytes of a PeerId; `None` for other key types.
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Option<Self> {
        let key = bytes.strip_prefix(&PEER_ID_PREFIX)?;
        PublicKey::from_slice(key).map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&bs58::encode(self.to_peer_id_bytes()).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NodeId({self})")
    }
}

/// Text that is no PeerId of an Ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a PeerId of an Ed25519 key (12D3Koo…)")]
pub struct BadPeerId;

impl FromStr for NodeId {
    type Err = BadPeerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = bs58::decode(text).into_vec().map_err(|_| BadPeerId)?;
        Self::from_peer_id_bytes(&bytes).ok_or(BadPeerId)
    }
}
