//! Renewal: the keys of this device's leaf are made anew now and then, so that what was taken from it opens nothing that comes.
//!
//! Every commit of ours does it. Where there is none, one that changes nothing else is made: within a day of joining, for the leaf
//! is then that of a key package that lay at the home, and every 30 days. Devices spread over the day, each by its own place in it,
//! so that fifty who join at once are no storm of commits.
//!
//! Implements `docs/protocol.md`, section "Commits".

use super::leaves::Leaves;
use super::many::GroupChange;
use super::rows;
use super::{Device, DeviceError};
use roost_crypto::ids::DeviceId;
use roost_protocol::ids::GroupId;
use roost_protocol::limits;
use serde::{Deserialize, Serialize};

/// Nobody renews sooner after joining, milliseconds: a conversation that has just begun is talked in, and changed by people.
const FIRST_MS: u64 = 60 * 60 * 1_000;

/// Since when our leaf of a group is as it is, milliseconds since 1970, and whether it came with a key package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct LeafRow {
    since_ms: u64,
    of_key_package: bool,
}

impl LeafRow {
    fn due_at_ms(self, device: &DeviceId, group: &GroupId) -> u64 {
        let number = |id: &[u8]| id.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        let place = (number(device.as_bytes()) ^ number(group.as_bytes())) % (limits::LEAF_JOINED_MS - FIRST_MS);
        let age_ms = if self.of_key_package { FIRST_MS + place } else { limits::LEAF_RENEW_MS + place };
        self.since_ms.saturating_add(age_ms)
    }
}

impl Device {
    /// A commit of ours stands, or we have joined: from now on the leaf is another one.
    pub(super) fn leaf_is_new(&mut self, group: &GroupId, of_key_package: bool, now_ms: u64) {
        self.table.put(rows::leaf(group), &LeafRow { since_ms: now_ms, of_key_package });
        self.leaves.look();
    }

    /// Renews the leaves whose time has come.
    pub(super) fn pump_renewals(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.is_ready() || !self.leaves.renewals_are_due(now_ms) {
            return Ok(());
        }
        let mut next = None;
        for row in self.followed_groups()? {
            let known: Option<LeafRow> = self.table.get(&rows::leaf(&row.group))?;
            // One that says it is of the future was noted by a clock that has been set back since.
            let leaf = match known.filter(|leaf| leaf.since_ms <= now_ms) {
                Some(leaf) => leaf,
                None => {
                    let leaf =
                        LeafRow { since_ms: now_ms, of_key_package: known.is_some_and(|leaf| leaf.of_key_package) };
                    self.table.put(rows::leaf(&row.group), &leaf);
                    leaf
                }
            };
            let at_ms = leaf.due_at_ms(&self.me.device, &row.group);
            if at_ms > now_ms {
                next = Some(next.map_or(at_ms, |next: u64| next.min(at_ms)));
            } else if !self.intents.renews(&row.group) && !self.is_astray(&row.group) {
                self.renew(row.state.conversation, row.group, GroupChange::Renew, now_ms);
            }
        }
        self.leaves.renewals_seen(next);
        Ok(())
    }

    pub(super) fn renewals_wake_at(&self) -> Option<u64> {
        if self.link.is_ready() { self.leaves.renew_at_ms() } else { None }
    }
}

impl Leaves {
    fn renewals_are_due(&self, now_ms: u64) -> bool {
        self.ages_due || self.renew_at_ms.is_some_and(|at| at <= now_ms)
    }

    fn renewals_seen(&mut self, next_ms: Option<u64>) {
        (self.ages_due, self.renew_at_ms) = (false, next_ms);
    }

    fn renew_at_ms(&self) -> Option<u64> {
        self.renew_at_ms
    }
}
