//! The commands, a file each.

pub mod account;
pub mod bench;
pub mod chat;
pub mod check;
mod group;
pub mod init;
pub mod invite;
pub mod lookup;
pub mod serve;
pub mod sim;
pub mod testnet;
