//! Roost's secrets: keys, signatures, the identity log, sealing, and the MLS engine.
//!
//! Everything that computes with a key is here and nothing that travels or stores is: the crate reads no clock, opens no
//! socket and no file. Without the feature `device` it can verify but neither decrypt nor hold a user's secret, which is
//! how a node is built.
//!
//! Implements `docs/protocol.md`, sections "Encoding", "Keys and ids" and "Identity log".

pub mod blobs;
pub mod bytes;
pub mod codec;
pub mod group;
pub mod identity_log;
pub mod ids;
pub mod keys;
pub mod labels;
pub mod sabotage;
pub mod signed;

#[cfg(feature = "device")]
pub mod code;
#[cfg(feature = "device")]
pub mod files;
#[cfg(feature = "device")]
pub mod recovery;
#[cfg(feature = "device")]
pub mod safety_number;
#[cfg(feature = "device")]
pub mod sealing;
