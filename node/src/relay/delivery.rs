//! Delivery: what other homes must hold, asked for until their custody is received; and what we hold for ours.
//!
//! One destination that is down delays no other: each has its own queue, one batch a feed in flight, and its own back-off.

use super::conversations::{check_creation, check_head, group_row, not_member};
use super::feeds;
use super::rows;
use super::{Failure, Output, Pending, Relay, Step, accounts};
use crate::store::{Overlay, Read as _, RowKey, StoreError};
use roost_crypto::ids::{AccountId, NodeId};
use roost_protocol::conversation::ConversationState;
use roost_protocol::feed::{Entry, EntryKind};
use roost_protocol::ids::{FeedId, GroupId, Incarnation, MessageId};
use roost_protocol::limits;
use roost_protocol::peer::{Custody, Deliver, NodeRequest, NodeResponse};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use std::collections::{BTreeMap, BTreeSet};

/// What waits for one node.
#[derive(Default)]
pub struct Destination {
    waiting: BTreeSet<(FeedId, AccountId)>,
    in_flight: BTreeSet<(FeedId, AccountId)>,
    failures: u32,
    not_before_ms: u64,
}

impl Destination {
    /// When it wants to be tried again; an answer that is awaited wakes the relay by itself.
    pub fn wake_at(&self) -> Option<u64> {
        (!self.waiting.is_empty() && self.in_flight.len() < self.window()).then_some(self.not_before_ms)
    }

    /// A node that failed is tried with one batch; one that answers gets the window.
    fn window(&self) -> usize {
        if self.failures > 0 { 1 } else { limits::DELIVER_WINDOW }
    }

    fn failed(&mut self, now_ms: u64, salt: u64) {
        let delay =
            limits::RETRY_DELAY_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(limits::RETRY_DELAY_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        // Jitter of up to a quarter, from what is at hand: the rules draw no randomness.
        self.not_before_ms = now_ms + delay + (salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % (delay / 4 + 1);
    }
}

impl Relay {
    /// Queues an entry of our feed for everybody but its author: into the inbox of an account here, for others to their home.
    pub(super) fn spread(
        &mut self,
        step: &mut Step<'_, '_>,
        state: &ConversationState,
        feed: FeedId,
        seq: u64,
        author: Option<&AccountId>,
    ) -> Result<(), Failure> {
        for account in state.participants.iter().map(|participant| participant.account) {
            if author == Some(&account) {
                continue;
            }
            let home = accounts::home_of(step, &account)?;
            if home == self.node {
                self.put_into_inbox(step, &account, &feed, seq)?;
            } else {
                let key = rows::outbox(&feed, &account);
                if step.rows.get(&key)?.is_none() {
                    rows::put(step.rows, key, &0_u64);
                }
                self.destinations.entry(home).or_default().waiting.insert((feed, account));
            }
        }
        Ok(())
    }

    pub(super) fn load_outbox(&mut self, rows: &mut Overlay<'_>) -> Result<(), StoreError> {
        let prefix = [rows::OUTBOX];
        for (key, value) in rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            let custody: u64 = rows::decode(&key, &value)?;
            let corrupt = || StoreError::Corrupt { key: Some(RowKey(key.clone())) };
            let (feed, account) = parse_outbox_key(&key).ok_or_else(corrupt)?;
            if custody >= feeds::head(rows, &feed)?.seq {
                continue;
            }
            let step = Step { rows, now_ms: 0 };
            match accounts::home_of(&step, &account) {
                Ok(home) => {
                    self.destinations.entry(home).or_default().waiting.insert((feed, account));
                }
                Err(Failure::Refused(_)) => return Err(corrupt()),
                Err(Failure::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what may be sent now.
    pub(super) fn pump_deliveries(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let mut ready = Vec::new();
        for (node, destination) in &mut self.destinations {
            let window = destination.window();
            while step.now_ms >= destination.not_before_ms && destination.in_flight.len() < window {
                let Some(next) = destination.waiting.pop_first() else { break };
                if destination.in_flight.insert(next) {
                    ready.push((*node, next));
                }
            }
        }
        for (node, (feed, account)) in ready {
            let custody: u64 = rows::get(step.rows, &rows::outbox(&feed, &account))?.unwrap_or(0);
            let entries = feeds::read(step.rows, &feed, custody + 1, limits::DELIVER_ENTRIES_MAX)?;
            let conversation = match group_row(step, &feed.group) {
                Ok(row) if !entries.is_empty() => row.head.state.conversation,
                Ok(_) | Err(Failure::Refused(_)) => {
                    if let Some(destination) = self.destinations.get_mut(&node) {
                        destination.in_flight.remove(&(feed, account));
                    }
                    continue;
                }
                Err(Failure::Store(error)) => return Err(error),
            };
            let token = self.expect(Pending::Deliver { peer: node, account, feed });
            let deliver = Deliver { conversation, entries, accounts: vec![account], log: None };
            self.outputs.push(Output::Ask(token, node, NodeRequest::Deliver(deliver)));
        }
        Ok(())
    }

    pub(super) fn delivery_answered(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        account: AccountId,
        feed: FeedId,
        response: Option<NodeResponse>,
    ) -> Result<(), StoreError> {
        let head = feeds::head(step.rows, &feed)?.seq;
        let key = rows::outbox(&feed, &account);
        let before: u64 = rows::get(step.rows, &key)?.unwrap_or(0);
        let destination = self.destinations.entry(peer).or_default();
        destination.in_flight.remove(&(feed, account));
        let custody = match response {
            Some(NodeResponse::Custody(custodies)) => custodies
                .into_iter()
                .find(|custody| custody.account == account && custody.feed == feed)
                // A receipt for what was never written is no receipt.
                .map(|custody| custody.seq.min(head)),
            _ => None,
        };
        match custody {
            Some(custody) if custody > before => {
                destination.failures = 0;
                destination.not_before_ms = 0;
                if custody < head {
                    destination.waiting.insert((feed, account));
                }
                rows::put(step.rows, key, &custody);
                self.tell_custody(step, &feed, &account, before + 1, custody)?;
            }
            _ => {
                destination.failed(step.now_ms, self.next_token);
                destination.waiting.insert((feed, account));
            }
        }
        Ok(())
    }

    /// Another home delivers: all of it is checked, held and in the inboxes, or refused.
    pub(super) fn delivered(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        deliver: Deliver,
    ) -> Result<Vec<Custody>, Failure> {
        let never =
            |message: &str| Failure::from(Refusal::never(Code::Malformed, message, "see the protocol's Deliver"));
        let feed = deliver.entries.first().map(|entry| entry.header.feed).ok_or_else(|| never("no entries"))?;
        if deliver.entries.len() > limits::DELIVER_ENTRIES_MAX || deliver.accounts.len() > limits::DELIVER_ENTRIES_MAX {
            return Err(
                Refusal::never(Code::TooLarge, "at most 64 entries and accounts", "send smaller batches").into()
            );
        }
        if feed.node != peer || deliver.entries.iter().any(|entry| entry.header.feed != feed) {
            return Err(never("a node delivers its own feed, one at a time"));
        }
        if let Some(log) = &deliver.log {
            accounts::learn_log(step, log)?;
        }
        for account in &deliver.accounts {
            accounts::home_log(step, account)?;
        }
        for entry in &deliver.entries {
            let state = self.admit(step, peer, &deliver, entry)?;
            if !deliver.accounts.iter().all(|account| state.has(account)) {
                return Err(not_member());
            }
            feeds::hold(step, entry)?;
        }
        let mut custodies = Vec::new();
        for account in deliver.accounts {
            let last = deliver.entries.last().map_or(0, |entry| entry.header.seq);
            let mut held: u64 = rows::get(step.rows, &rows::held(&account, &feed))?.unwrap_or(0);
            while held < last {
                if self.inbox_is_full(step, &account)? {
                    break;
                }
                held += 1;
                self.put_into_inbox(step, &account, &feed, held)?;
            }
            custodies.push(Custody { account, feed, seq: held });
        }
        Ok(custodies)
    }

    /// Whether an entry may be held here; a creation makes its conversation known.
    fn admit(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        deliver: &Deliver,
        entry: &Entry,
    ) -> Result<ConversationState, Failure> {
        let never = |code, message: &str| Failure::from(Refusal::never(code, message, "see the protocol's Deliver"));
        match entry.header.kind {
            EntryKind::Creation => {
                let contact = entry.first_contact().map_err(|error| never(Code::Malformed, &error.to_string()))?;
                let head = check_head(&contact.head, &contact.creation)?;
                if head.state.hub != peer || head.group != entry.header.feed.group {
                    return Err(never(Code::NotHub, "only the hub's feed holds a creation, of its own group"));
                }
                check_creation(step, &contact.creation)?;
                self.know(step, &head, &contact.head, &contact.creation)?;
                Ok(head.state)
            }
            EntryKind::Message => {
                let row = group_row(step, &entry.header.feed.group)?;
                if row.head.state.conversation != deliver.conversation || !row.head.state.has(&entry.header.account) {
                    return Err(not_member());
                }
                if accounts::home_of(step, &entry.header.account)? != peer {
                    return Err(Refusal::later(
                        Code::NotHome,
                        "the author lives at another node",
                        "send the newer identity log",
                    )
                    .into());
                }
                if entry.header.epoch > row.head.epoch {
                    return Err(Refusal::later(
                        Code::WrongEpoch,
                        "the entry's epoch is not known here yet",
                        "deliver the commit first",
                    )
                    .into());
                }
                Ok(row.head.state)
            }
        }
    }

    /// A node was met: a new life of its store has nothing of what an earlier one gave custody for.
    pub(super) fn met(&mut self, step: &mut Step<'_, '_>, peer: NodeId, life: Incarnation) -> Result<(), StoreError> {
        let key = rows::peer_life(&peer);
        let known: Option<Incarnation> = rows::get(step.rows, &key)?;
        if known != Some(life) {
            rows::put(step.rows, key, &life);
        }
        if known.is_some_and(|known| known != life) {
            let prefix = [rows::OUTBOX];
            for (key, _) in step.rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
                let Some((feed, account)) = parse_outbox_key(&key) else { continue };
                if matches!(accounts::home_of(step, &account), Ok(home) if home == peer) {
                    rows::put(step.rows, key, &0_u64);
                    self.destinations.entry(peer).or_default().waiting.insert((feed, account));
                }
            }
        }
        if let Some(destination) = self.destinations.get_mut(&peer) {
            destination.failures = 0;
            destination.not_before_ms = 0;
        }
        Ok(())
    }

    pub(super) fn custody_of(
        &self,
        step: &Step<'_, '_>,
        feed: &FeedId,
        account: &AccountId,
    ) -> Result<u64, StoreError> {
        let elsewhere: u64 = rows::get(step.rows, &rows::outbox(feed, account))?.unwrap_or(0);
        let here: u64 = rows::get(step.rows, &rows::held(account, feed))?.unwrap_or(0);
        Ok(elsewhere.max(here))
    }

    /// Tells the authors' devices that are connected; others ask by submitting again.
    pub(super) fn tell_custody(
        &mut self,
        step: &Step<'_, '_>,
        feed: &FeedId,
        account: &AccountId,
        from: u64,
        to: u64,
    ) -> Result<(), StoreError> {
        let mut by_author: BTreeMap<_, Vec<MessageId>> = BTreeMap::new();
        for seq in from..=to {
            if let Some(entry) = feeds::get(step.rows, feed, seq)? {
                by_author.entry((entry.header.account, entry.header.device)).or_default().push(entry.header.message);
            }
        }
        let group: GroupId = feed.group;
        let mut frames = Vec::new();
        for ((author, device), messages) in by_author {
            for connection in self.present.get(&author).into_iter().flatten() {
                if self.connections.get(connection).is_some_and(|state| state.device == Some((author, device))) {
                    let frame = ServerFrame::Custody { account: *account, group, messages: messages.clone() };
                    frames.push((*connection, frame));
                }
            }
        }
        for (connection, frame) in frames {
            self.send(connection, frame);
        }
        Ok(())
    }
}

fn parse_outbox_key(key: &[u8]) -> Option<(FeedId, AccountId)> {
    let rest = key.get(1..)?;
    let (group, rest) = rest.split_at_checked(32)?;
    let (node, rest) = rest.split_at_checked(32)?;
    let (incarnation, account) = rest.split_at_checked(16)?;
    let feed = FeedId {
        group: GroupId::from_slice(group)?,
        node: NodeId::of(roost_crypto::keys::PublicKey::from_slice(node)?),
        incarnation: Incarnation::from_slice(incarnation)?,
    };
    Some((feed, AccountId::from_slice(account)?))
}
