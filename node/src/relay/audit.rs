//! What a node's rows and queues hold, for whoever checks a node from outside: simulations and tests.
//!
//! Only reads. Tells numbers and positions, never a payload.

use super::conversations::CreationRow;
use super::requests::Pending;
use super::{Relay, feeds, rows};
use crate::store::{Overlay, Read, StoreError};
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::conversation::ConversationHead;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, FeedHead};
use roost_protocol::ids::{FeedId, GroupId, MessageId};
use std::collections::BTreeMap;

/// What the rows of a node say.
#[derive(Debug, Default)]
pub struct Audit {
    /// Every message that is held, and who sealed it.
    pub messages: BTreeMap<MessageId, (AccountId, DeviceId)>,
    /// Rows of all kinds.
    pub rows: usize,
    /// Entries that other homes have not given custody for.
    pub undelivered: u64,
    /// Inbox references that no device has acknowledged.
    pub unread: usize,
    /// Heads of conversations that do not verify under the hub that they name.
    pub unsigned_heads: usize,
    /// Entries of an epoch that their conversation has not reached.
    pub unknown_epochs: usize,
    /// Entries that do not continue the chain of their feed, or whose payload is another.
    pub broken_entries: usize,
}

/// What waits in a relay's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Requests without an answer that somebody waits for: greetings aside.
    pub pending: usize,
    /// Deliveries that wait or are in flight, over all destinations.
    pub deliveries: usize,
    /// Device connections.
    pub connections: usize,
}

impl Relay {
    /// What waits in memory.
    pub fn backlog(&self) -> Backlog {
        Backlog {
            pending: self.pending.values().filter(|pending| !matches!(pending, Pending::Greeting(_))).count(),
            deliveries: self.destinations.values().map(super::Destination::len).sum(),
            connections: self.connections.len(),
        }
    }
}

/// Reads all rows of a store.
///
/// # Errors
/// [`StoreError`].
pub fn audit(store: &dyn Read) -> Result<Audit, StoreError> {
    let view = Overlay::new(store);
    let all = store.scan(&[0], &[u8::MAX], usize::MAX)?;
    let mut audit = Audit { rows: all.len(), ..Audit::default() };
    let mut epochs = BTreeMap::new();
    let mut chain: Option<FeedHead> = None;
    let mut entries = Vec::new();
    for (key, value) in &all {
        match key.first().copied() {
            Some(rows::ENTRY) => {
                let entry: Entry = rows::decode(key, value)?;
                audit.messages.insert(entry.header.message, (entry.header.account, entry.header.device));
                let feed = entry.header.feed;
                let continues = match &chain {
                    Some(last) if last.feed == feed && entry.header.seq == last.seq + 1 => {
                        entry.header.prev == last.hash
                    }
                    // Before its last beginning a feed is held as far as it concerns somebody here.
                    _ => entry.header.seq == 1 || starts(&view, &feed)?.is_some_and(|start| entry.header.seq <= start),
                };
                audit.broken_entries += usize::from(!continues || entry.check().is_err());
                chain = Some(FeedHead { feed, seq: entry.header.seq, hash: entry.header.hash() });
                // A hub that was shown its conversation begins its feed anew with the epoch that it was shown.
                if entry.header.kind != EntryKind::Creation {
                    entries.push((feed.group, entry.header.epoch));
                }
            }
            Some(rows::GROUP) => {
                let head: ConversationHead = rows::decode(key, value)?;
                epochs.insert(head.group, head.epoch);
            }
            Some(rows::CREATION) => {
                let row: CreationRow = rows::decode(key, value)?;
                audit.unsigned_heads += usize::from(ConversationHead::verify(&row.signed).is_err());
            }
            Some(rows::INBOX) => audit.unread += 1,
            Some(rows::OUTBOX) => {
                let custody: u64 = rows::decode(key, value)?;
                if let Some((feed, account)) = super::delivery::parse_outbox_key(key) {
                    audit.undelivered += super::spans::owed(&view, &feed, &account, custody)?;
                }
            }
            _ => {}
        }
    }
    audit.unknown_epochs =
        entries.iter().filter(|(group, epoch)| epochs.get(group).is_none_or(|known| epoch > known)).count();
    Ok(audit)
}

/// Where a foreign feed begins anew.
fn starts(rows: &Overlay<'_>, feed: &FeedId) -> Result<Option<u64>, StoreError> {
    rows::get(rows, &rows::feed_start(feed))
}

/// Position up to which an account has a feed in its inbox.
///
/// # Errors
/// [`StoreError`].
pub fn held(store: &dyn Read, account: &AccountId, feed: &FeedId) -> Result<u64, StoreError> {
    Ok(rows::get(&Overlay::new(store), &rows::held(account, feed))?.unwrap_or(0))
}

/// The header at a position of a feed.
///
/// # Errors
/// [`StoreError`].
pub fn header_at(store: &dyn Read, feed: &FeedId, seq: u64) -> Result<Option<EntryHeader>, StoreError> {
    Ok(feeds::get(&Overlay::new(store), feed, seq)?.map(|entry| entry.header))
}

/// The identity log of an account that lives at a node, as that holds it.
///
/// # Errors
/// [`StoreError`].
pub fn log_at_home(store: &dyn Read, account: &AccountId) -> Result<Option<IdentityLog>, StoreError> {
    let row: Option<super::accounts::AccountRow> = rows::get(&Overlay::new(store), &rows::account(account))?;
    Ok(row.map(|row| row.log))
}

/// How many one-time key packages of a device a node holds, and the last-resort package.
///
/// # Errors
/// [`StoreError`].
pub fn key_packages(
    store: &dyn Read,
    account: &AccountId,
    device: &DeviceId,
) -> Result<(usize, Option<Vec<u8>>), StoreError> {
    let pool = rows::key(rows::KEY_PACKAGE, &[account.as_bytes(), device.as_bytes()]);
    let held = store.scan(&pool, &rows::end_of(&pool), usize::MAX)?.len();
    Ok((held, store.get(&rows::key(rows::LAST_RESORT, &[account.as_bytes(), device.as_bytes()]))?))
}

/// What a node knows of a group.
///
/// # Errors
/// [`StoreError`].
pub fn group_head(store: &dyn Read, group: &GroupId) -> Result<Option<ConversationHead>, StoreError> {
    rows::get(&Overlay::new(store), &rows::group(group))
}
