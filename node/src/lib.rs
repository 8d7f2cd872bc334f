//! Roost's node: one server process of an organisation. Pure rules inside (`relay`), the store at the edge.
//!
//! Never decrypts: it is built without the crypto crate's feature `device` and never imports the client.

pub mod relay;
pub mod store;
