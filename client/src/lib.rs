//! Roost's device: a pure core that also builds for the browser, a sealed store, and a native runner.
//!
//! The core decides, the store keeps, the runner joins them to a socket and a clock. Nothing here serves others.

pub mod core;
pub mod error;

#[cfg(feature = "native")]
pub mod runner;
#[cfg(feature = "native")]
pub mod store;

pub use error::Error;
#[cfg(feature = "native")]
pub use runner::{Created, Joined, NewDirectory, Session, create_account, link_account, restore_account};
