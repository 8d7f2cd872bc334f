//! The trace: a hash over everything that happened, so that two runs can be compared, and the last lines for people.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What happened so far.
pub(super) struct Trace {
    hash: Sha256,
    steps: u64,
    /// Whether every line goes to standard error.
    aloud: bool,
    line: String,
}

impl Trace {
    pub fn new(aloud: bool) -> Self {
        Self { hash: Sha256::new(), steps: 0, aloud, line: String::new() }
    }

    /// Notes a step.
    pub fn step(&mut self, at_ms: u64, what: std::fmt::Arguments<'_>) {
        self.steps += 1;
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{at_ms} {what}");
        self.hash.update(self.line.as_bytes());
        self.hash.update(b"\n");
        if self.aloud {
            eprintln!("{:>6} {}", self.steps, self.line);
        }
    }

    /// Notes the bytes of the step.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash so far, in hex.
    pub fn hash(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }
}
