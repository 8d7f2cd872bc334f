//! The public log of a group: where the commit of each epoch lies, for devices that lost their state and replay it.
//!
//! Implements `docs/protocol.md`, section "Lost state".

use super::commits::participants_at;
use super::conversations::{group_head, not_member};
use super::{Failure, Relay, Step, feeds, rows};
use crate::store::{Read as _, RowKey, StoreError};
use roost_crypto::ids::AccountId;
use roost_protocol::feed::Entry;
use roost_protocol::ids::{FeedId, GroupId};
use roost_protocol::limits;

/// Commits that are looked at for one page.
const PAGE_COMMITS: usize = 64;

/// Remembers where the commit of an epoch lies.
pub(super) fn note(step: &mut Step<'_, '_>, group: &GroupId, epoch: u64, feed: &FeedId, seq: u64) {
    rows::put(step.rows, rows::commit_at(group, epoch), &(*feed, seq));
}

impl Relay {
    /// The commits behind an epoch in which an account takes part, a page at a time.
    pub(super) fn commits_behind(
        &self,
        step: &Step<'_, '_>,
        account: &AccountId,
        group: &GroupId,
        behind: u64,
    ) -> Result<Vec<Entry>, Failure> {
        if !group_head(step, group)?.state.has(account) {
            return Err(not_member());
        }
        let (from, end) = (rows::commit_at(group, behind.saturating_add(1)), rows::commit_at(group, u64::MAX));
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (key, value) in step.rows.scan(&from, &end, PAGE_COMMITS)? {
            let corrupt = || StoreError::Corrupt { key: Some(RowKey(key.clone())) };
            let (feed, seq): (FeedId, u64) = rows::decode(&key, &value)?;
            let epoch = rows::parse_commit_epoch(&key).ok_or_else(corrupt)?;
            // What the others changed before it came is none of its business.
            let takes_part = participants_at(step, group, epoch)?.iter().any(|one| one.account == *account);
            if !takes_part {
                continue;
            }
            let entry = feeds::get(step.rows, &feed, seq)?.ok_or_else(corrupt)?;
            bytes += entry.payload.len();
            if bytes > limits::TREE_PART_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}
