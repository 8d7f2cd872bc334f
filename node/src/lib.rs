//! Roost's node: one server process of an organisation. Pure rules inside (`relay`), libp2p (`network`) and the store at the
//! edge, joined by `driver`, which decides nothing.
//!
//! Never decrypts: it is built without the crypto crate's feature `device` and never imports the client.

pub mod blobs;
pub mod driver;
pub mod metrics;
pub mod network;
mod publisher;
pub mod push;
pub mod relay;
pub mod store;
pub mod way;

pub use driver::{Bridge, Discovery, Health, Node, NodeConfig, NodeError, NodeHandle, Stopped, ToDevice};
pub use metrics::Metrics;
