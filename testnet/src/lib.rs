//! Many organisations on one machine: real processes of the one binary, real ports, real directories.
//!
//! It starts, ends and watches processes and drives clients through the same door as anybody; it never reaches into a node.

pub mod bench;
pub mod demo;
pub mod manifest;
pub mod process;
pub mod sim;
pub mod up;

pub use bench::{Bench, BenchConfig, BenchError, Report, bench};
pub use demo::{DemoEvent, demo};
pub use manifest::{Manifest, Org, User};
pub use up::{UpConfig, down, kill, start, stop, up};

use std::path::PathBuf;

/// Why a testnet does not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum TestnetError {
    /// A file or a process could not be used.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file of ours that does not read.
    #[error("{path}: {what}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The directory holds something already.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// More organisations or users than a machine should run.
    #[error("expected 1 to {max} {what}, got {got}")]
    Size {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
        /// What was asked.
        got: usize,
    },
    /// No organisation has this name.
    #[error("no organisation {got:?}; there are {known}")]
    NoOrg {
        /// The name.
        got: String,
        /// The names.
        known: String,
    },
    /// The organisation's process runs already.
    #[error("{org} runs already, process {pid}")]
    Running {
        /// Which.
        org: String,
        /// Its process.
        pid: u32,
    },
    /// A command of the binary failed.
    #[error("`roost {command}` failed: {stderr}")]
    Command {
        /// Its first words.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// A process did not start or end in time.
    #[error("{0}")]
    TimedOut(String),
    /// A client failed.
    #[error("{0}")]
    Client(#[from] roost_client::Error),
}

impl TestnetError {
    fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
