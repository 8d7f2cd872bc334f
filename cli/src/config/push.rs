//! `[push]` of the config: whether and how a node wakes devices that are away.

use super::{Config, Profile, create_vapid_key, read_vapid_key, sync_dir};
use crate::output::Failure;
use roost_node::push::{Policy, PushConfig};
use roost_node::relay::Rate;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Devices of an account: it may have so many times what a device has.
const DEVICES: u32 = 5;
/// A testnet's rates.
const TESTNET: Rate = Rate::new(100_000, 100_000, 1_000);

/// How devices that are away are woken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Push {
    /// Whether they are.
    pub on: bool,
    /// Whom a push service can write to, like `mailto:op@acme.example`; empty takes a `public_url` with https.
    pub contact: String,
    /// Ports of push services beside 443.
    pub ports: Vec<u16>,
    /// A file of certificates, PEM, that are believed beside the public ones; empty: none.
    pub certificates: PathBuf,
    /// Pushes of a device at once.
    pub burst: u32,
    /// After that one in so many seconds.
    pub pause_s: u32,
}

impl Default for Push {
    fn default() -> Self {
        Self {
            on: true,
            contact: String::new(),
            ports: Vec::new(),
            certificates: PathBuf::new(),
            burst: 10,
            pause_s: 10,
        }
    }
}

impl Push {
    /// Values that cannot work.
    pub(super) fn faults(&self) -> Vec<Failure> {
        let mut faults = Vec::new();
        if !self.contact.is_empty() && !self.contact.starts_with("mailto:") && !self.contact.starts_with("https://") {
            let message = format_args!("push.contact: expected mailto:… or https://…, got {:?}", self.contact);
            faults.push(Failure::usage("push", message, "like mailto:op@acme.example"));
        }
        if self.burst == 0 || self.pause_s == 0 {
            let message = "push.burst and push.pause_s: expected at least 1";
            faults.push(Failure::usage("push", message, "to push to nobody, write on = false"));
        }
        faults
    }

    /// Whom a push service can write to, if that is known.
    pub fn contact<'a>(&'a self, config: &'a Config) -> Option<&'a str> {
        let url = config.public_url.starts_with("https://").then_some(config.public_url.as_str());
        Some(self.contact.as_str()).filter(|contact| !contact.is_empty()).or(url)
    }

    /// What the node is started with; its key is made where there is none.
    ///
    /// # Errors
    /// [`Failure`] for a key that cannot be used or made.
    pub fn of_node(&self, config: &Config, keys: &Path) -> Result<Option<PushConfig>, Failure> {
        if !self.on {
            return Ok(None);
        }
        let path = keys.join("vapid.key");
        let key = if path.exists() {
            read_vapid_key(&path)?
        } else {
            let key = create_vapid_key(&path)?;
            sync_dir(keys)?;
            key
        };
        let testnet = config.profile == Profile::Testnet;
        let device = Rate::new(self.burst, 1, u64::from(self.pause_s) * 1_000);
        let account = Rate::new(self.burst.saturating_mul(DEVICES), DEVICES, u64::from(self.pause_s) * 1_000);
        Ok(Some(PushConfig {
            key,
            contact: self.contact(config).map(str::to_owned),
            policy: Policy { loopback: testnet, ports: self.ports.clone() },
            certificates: Some(self.certificates.clone()).filter(|path| !path.as_os_str().is_empty()),
            device: if testnet { TESTNET } else { device },
            account: if testnet { TESTNET } else { account },
        }))
    }
}
