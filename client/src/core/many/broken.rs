//! A change that the hub put in order and that this device does not follow: it broke a rule, or nothing leads to it.
//!
//! The device stays at its epoch, and people are told until it follows something again: nobody else can judge for it. Implements
//! `docs/protocol.md`, section "Commits".

use super::super::rows::{self, BROKEN};
use super::super::warnings::{Cause, Warning};
use super::super::{Device, DeviceError};
use super::ConversationRow;
use roost_crypto::ids::{AccountId, NodeId};
use roost_protocol::epoch;
use roost_protocol::feed::EntryHeader;
use roost_protocol::ids::GroupId;
use serde::{Deserialize, Serialize};

/// The first change that was not followed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BrokenRow {
    group: GroupId,
    hub: NodeId,
    /// The epoch that it was to make.
    epoch: u64,
    /// Who made it, by the hub's word.
    by: AccountId,
    reason: String,
    since_ms: u64,
}

impl Device {
    /// A change of a conversation is not followed: this device stays where it is.
    pub(super) fn stays(&mut self, row: &ConversationRow, header: &EntryHeader, reason: &str) {
        let key = rows::broken(&row.group);
        if self.table.has(&key) {
            return;
        }
        let broken = BrokenRow {
            group: row.group,
            hub: header.feed.node,
            epoch: header.epoch,
            by: header.account,
            reason: reason.to_owned(),
            since_ms: self.last_now_ms,
        };
        self.table.put(key, &broken);
        self.warned(row.state.conversation);
    }

    /// It follows something again, or takes no part any more.
    pub(super) fn goes_on(&mut self, row: &ConversationRow) {
        let key = rows::broken(&row.group);
        if self.table.has(&key) {
            self.table.delete(key);
            self.warned(row.state.conversation);
        }
    }

    /// What people are told of it.
    pub(in super::super) fn broken_rules(&self) -> Result<Vec<Warning>, DeviceError> {
        let mut warnings = Vec::new();
        for (_, broken) in self.table.scan::<BrokenRow>(&[BROKEN])? {
            let Some(row) = self.followed(&broken.group)?.filter(|row| !row.over) else { continue };
            let cause = Cause::RuleBroken {
                hub: broken.hub.to_string(),
                epoch: epoch::mls(row.epoch),
                by: self.name_of(&broken.by)?,
                reason: broken.reason,
            };
            warnings.push(Warning { conversation: row.state.conversation, since: broken.since_ms, cause });
        }
        Ok(warnings)
    }
}
