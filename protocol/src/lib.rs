//! Roost's words: everything that travels between devices, nodes and the directory, as checked types.
//!
//! Never does anything: no clock, no randomness, no socket, no store. Implements the whole of `docs/protocol.md`; where the
//! two disagree, the document is right and this crate has a bug.

pub mod content;
pub mod conversation;
pub mod epoch;
pub mod equivocation;
pub mod feed;
pub mod gossip;
pub mod handle;
pub mod ids;
pub mod invite;
pub mod limits;
pub mod membership;
pub mod peer;
pub mod push;
pub mod records;
pub mod refusal;
pub mod socket;
pub mod succession;
pub mod wide;

pub use roost_crypto::bytes::{BadHex, Bytes};
pub use roost_crypto::codec;
pub use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
pub use roost_crypto::ids::{AccountId, DeviceId, NodeId, OrgId};
pub use roost_crypto::keys::{PublicKey, SecretKey, Signature};
pub use roost_crypto::signed::{Signed, SignedError};

/// The major version of every protocol name below; a peer that speaks none of ours is refused with `version`.
pub const VERSION: u32 = 1;
/// libp2p request-response between nodes.
pub const NODE_PROTOCOL: &str = "/roost/node/1";
/// Kademlia among nodes.
pub const KADEMLIA_PROTOCOL: &str = "/roost/kad/1";
/// Prefix of the protocol names of gossipsub for entries of wide conversations.
pub const ENTRIES_PROTOCOL: &str = "/roost/entries/1";
/// WebSocket sub-protocol of our clients: one CBOR frame a binary message.
pub const SOCKET_CBOR: &str = "roost.v1.cbor";
/// WebSocket sub-protocol of people and scripts: one JSON frame a text message.
pub const SOCKET_JSON: &str = "roost.v1.json";
/// What this version can do beyond the bare protocol, told in `Hello`; unknown names are ignored.
pub const FEATURES: &[&str] = &["direct", "whispers"];
