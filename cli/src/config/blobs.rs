//! `[blobs]` of the config: how much a node keeps of files, and for how long.

use crate::output::Failure;
use roost_node::relay::Limits;
use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobsConfig {
    /// Bytes that are kept of the files that an account sends.
    #[serde(default = "account_bytes")]
    pub account_bytes: u64,
    /// Bytes that are kept for an account of what others send to it; of more, the oldest is fetched again when it is asked for.
    #[serde(default = "account_bytes")]
    pub kept_bytes: u64,
    /// Days for which a file is kept.
    #[serde(default = "keep_days")]
    pub keep_days: u64,
}

fn account_bytes() -> u64 {
    Limits::PRODUCTION.blobs_own_bytes
}

fn keep_days() -> u64 {
    Limits::PRODUCTION.blobs_keep_ms / DAY_MS
}

impl Default for BlobsConfig {
    fn default() -> Self {
        Self { account_bytes: account_bytes(), kept_bytes: account_bytes(), keep_days: keep_days() }
    }
}

impl BlobsConfig {
    /// What cannot work.
    pub(super) fn faults(&self) -> Vec<Failure> {
        let mut faults = Vec::new();
        if !(1..=3_650).contains(&self.keep_days) {
            let message = format_args!("blobs.keep_days: expected 1 to 3650, got {}", self.keep_days);
            faults.push(Failure::usage("blobs", message, "30 is as long as messages are kept"));
        }
        faults
    }

    /// The node's limits with what the operator says of files.
    pub fn limits(&self, limits: Limits) -> Limits {
        Limits {
            blobs_own_bytes: self.account_bytes,
            blobs_kept_bytes: self.kept_bytes,
            blobs_keep_ms: self.keep_days.saturating_mul(DAY_MS),
            ..limits
        }
    }
}
