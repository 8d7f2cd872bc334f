//! Delivery: what other homes must hold, asked for until their custody is received; and what we hold for ours.
//!
//! One destination that is down delays no other: each has its own queue, one batch a feed in flight, and its own back-off.

use super::conversations::{group_head, not_member};
use super::feeds;
use super::inbox::Reference;
use super::quotas::busy;
use super::rows;
use super::{Failure, Note, Pending, Relay, Step, accounts};
use crate::store::{Overlay, Read as _, RowKey, StoreError};
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::planted;
use roost_protocol::conversation::ConversationState;
use roost_protocol::feed::{Entry, EntryKind};
use roost_protocol::ids::{FeedId, GroupId, Incarnation, MessageId};
use roost_protocol::limits;
use roost_protocol::peer::{Custody, Deliver, NodeRequest, NodeResponse};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Nodes whose new life is believed later; more are believed at once.
const LATE_LIVES_MAX: usize = 1_024;
/// Nodes whose life is remembered before anything is written to them; one that is forgotten is delivered to once more.
const STRANGERS_MAX: usize = 4_096;

/// Longest pause that a node may ask of us, milliseconds: a rate may give one in ten minutes, and no node shall stop us for longer.
const RETRY_AFTER_MS_MAX: u64 = 10 * 60 * 1_000;

/// One feed, for one account.
type Item = (FeedId, AccountId);

/// What waits for one node: the longest due first. A refusal holds back its own feed, silence the whole node.
#[derive(Default)]
pub struct Destination {
    queue: BTreeSet<(u64, FeedId, AccountId)>,
    due: BTreeMap<Item, u64>,
    in_flight: BTreeSet<Item>,
    refusals: BTreeMap<Item, u32>,
    silences: u32,
    not_before_ms: u64,
}

/// Outbox rows looked at in one batch while custody is voided: about a quarter of a megabyte to write.
const VOIDED_ROWS: usize = 2_000;

/// A node in a new life, and how far the rows of its earlier ones were walked.
pub(super) struct Voiding {
    life: Incarnation,
    /// Where the walk goes on.
    from: Vec<u8>,
    /// Whether anything was ever delivered to it, or is to be.
    matters: bool,
}

/// A `Deliver` on its way.
pub(super) struct Asked {
    peer: NodeId,
    account: AccountId,
    feed: FeedId,
    /// The last entry that it holds: a receipt for more is none.
    last: u64,
    /// The receiver's store when it was asked: a receipt of an earlier life is void.
    life: Option<Incarnation>,
}

impl Destination {
    /// When it wants to be tried again; an answer that is awaited wakes the relay by itself.
    pub fn wake_at(&self) -> Option<u64> {
        let (due, _, _) = self.queue.first()?;
        (self.in_flight.len() < self.window()).then_some(self.not_before_ms.max(*due))
    }

    /// Items that wait or are in flight.
    pub fn len(&self) -> usize {
        self.due.len() + self.in_flight.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty() && self.in_flight.is_empty()
    }

    /// A node that is silent is tried with one batch; one that answers gets the window.
    fn window(&self) -> usize {
        if self.silences > 0 { 1 } else { limits::DELIVER_WINDOW }
    }

    /// Queues an item; one that waits already keeps its time, one in flight is looked at again with its answer.
    fn enqueue(&mut self, item: Item, at_ms: u64) {
        if !self.in_flight.contains(&item) && !self.due.contains_key(&item) {
            self.due.insert(item, at_ms);
            self.queue.insert((at_ms, item.0, item.1));
        }
    }

    fn next(&mut self, now_ms: u64) -> Option<Item> {
        if now_ms < self.not_before_ms || self.in_flight.len() >= self.window() {
            return None;
        }
        let (due, feed, account) = *self.queue.first().filter(|(due, _, _)| *due <= now_ms)?;
        self.queue.remove(&(due, feed, account));
        self.due.remove(&(feed, account));
        self.in_flight.insert((feed, account));
        Some((feed, account))
    }

    /// Everything that waits is due at once: the node was met, or the clock was set back.
    pub(super) fn due_at_once(&mut self) {
        self.silences = 0;
        self.not_before_ms = 0;
        self.refusals.clear();
        let items: Vec<Item> = self.due.keys().copied().collect();
        self.queue = items.iter().map(|(feed, account)| (0, *feed, *account)).collect();
        self.due = items.into_iter().map(|item| (item, 0)).collect();
    }

    /// An item waits for this node no longer.
    fn withdraw(&mut self, item: &Item) {
        if let Some(due) = self.due.remove(item) {
            self.queue.remove(&(due, item.0, item.1));
        }
        self.refusals.remove(item);
    }

    fn silent(&mut self, item: Item, now_ms: u64, salt: u64) {
        self.not_before_ms = now_ms + back_off(self.silences, salt);
        self.silences = self.silences.saturating_add(1);
        self.enqueue(item, now_ms);
    }

    /// `asked_ms` is the pause that the refusal asks for: it may lengthen ours, never shorten it.
    fn refused(&mut self, item: Item, asked_ms: u64, now_ms: u64, salt: u64) {
        self.silences = 0;
        self.not_before_ms = 0;
        let refusals = self.refusals.entry(item).or_default();
        let delay = back_off(*refusals, salt).max(asked_ms.min(RETRY_AFTER_MS_MAX));
        *refusals = refusals.saturating_add(1);
        self.enqueue(item, now_ms.saturating_add(delay));
    }

    fn took(&mut self, item: Item) {
        self.silences = 0;
        self.not_before_ms = 0;
        self.refusals.remove(&item);
    }
}

/// Exponential, with jitter of up to a quarter made from what is at hand: the rules draw no randomness.
fn back_off(failures: u32, salt: u64) -> u64 {
    let delay = limits::RETRY_DELAY_MS_MIN.saturating_mul(1 << failures.min(16)).min(limits::RETRY_DELAY_MS_MAX);
    delay + (salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % (delay / 4 + 1)
}

impl Relay {
    /// Queues an entry of our feed for everybody but its author: into the inbox of an account here, for others to their home.
    pub(super) fn spread(
        &mut self,
        step: &mut Step<'_, '_>,
        state: &ConversationState,
        reference: Reference,
        author: Option<&AccountId>,
    ) -> Result<(), Failure> {
        let Reference { feed, seq, .. } = reference;
        for account in state.participants.iter().map(|participant| participant.account) {
            if author == Some(&account) {
                continue;
            }
            let home = accounts::home_of(step, &account)?;
            if home == self.node {
                if self.inbox_room(step, &account)?.is_none() {
                    return Err(busy("the recipient's inbox is full", limits::RETRY_DELAY_MS_MAX));
                }
                self.put_into_inbox(step, &account, reference)?;
            } else {
                let key = rows::outbox(&feed, &account);
                if step.rows.get(&key)?.is_none() {
                    rows::put(step.rows, key, &0_u64);
                }
                self.destinations.entry(home).or_default().enqueue((feed, account), 0);
                self.notes.push(Note::Owed { feed, account, from: seq, to: seq });
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
            let head = feeds::head(rows, &feed)?.seq;
            if custody >= head {
                continue;
            }
            self.notes.push(Note::Owed { feed, account, from: custody + 1, to: head });
            let step = Step { rows, now_ms: 0, memo: &self.memo };
            let home = accounts::home_of(&step, &account);
            match home {
                Ok(home) => {
                    self.destinations.entry(home).or_default().enqueue((feed, account), 0);
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
            while let Some(item) = destination.next(step.now_ms) {
                ready.push((*node, item));
            }
        }
        for (node, (feed, account)) in ready {
            let custody: u64 = rows::get(step.rows, &rows::outbox(&feed, &account))?.unwrap_or(0);
            let entries = feeds::read(step.rows, &feed, custody + 1, limits::DELIVER_ENTRIES_MAX)?;
            let conversation = match group_head(step, &feed.group) {
                Ok(head) if !entries.is_empty() => head.state.conversation,
                Ok(_) | Err(Failure::Refused(_)) => {
                    if let Some(destination) = self.destinations.get_mut(&node) {
                        destination.in_flight.remove(&(feed, account));
                    }
                    continue;
                }
                Err(Failure::Store(error)) => return Err(error),
            };
            let mut life = rows::get(step.rows, &rows::peer_life(&node))?;
            if life.is_none()
                && let Some(met) = self.strangers.remove(&node)
            {
                rows::put(step.rows, rows::peer_life(&node), &met);
                self.contacts.met(node, step.now_ms);
                life = Some(met);
            }
            let last = entries.last().map_or(0, |entry: &Entry| entry.header.seq);
            let deliver = Deliver { conversation, entries, accounts: vec![account], log: None };
            let asked = Asked { peer: node, account, feed, last, life };
            self.ask(Pending::Deliver(asked), node, NodeRequest::Deliver(deliver));
        }
        Ok(())
    }

    pub(super) fn delivery_answered(
        &mut self,
        step: &mut Step<'_, '_>,
        asked: Asked,
        response: Option<NodeResponse>,
    ) -> Result<(), StoreError> {
        let Asked { peer, account, feed, last, life } = asked;
        let item = (feed, account);
        if let Ok(home) = accounts::home_of(step, &account)
            && home != peer
        {
            // The account moved while this was on its way: only its present home's custody counts.
            self.destinations.entry(peer).or_default().in_flight.remove(&item);
            if home != self.node {
                self.destinations.entry(home).or_default().enqueue(item, step.now_ms);
            }
            return Ok(());
        }
        let head = feeds::head(step.rows, &feed)?.seq;
        let key = rows::outbox(&feed, &account);
        let before: u64 = rows::get(step.rows, &key)?.unwrap_or(0);
        let life_now: Option<Incarnation> = rows::get(step.rows, &rows::peer_life(&peer))?;
        let salt = self.next_token;
        let destination = self.destinations.entry(peer).or_default();
        destination.in_flight.remove(&item);
        let asked_ms = match &response {
            Some(NodeResponse::Refused(refusal)) => refusal.retry_after_ms.unwrap_or(0),
            _ => 0,
        };
        let unknown =
            matches!(&response, Some(NodeResponse::Refused(refusal)) if refusal.code == Code::UnknownConversation);
        let custody = match response {
            None => {
                destination.silent(item, step.now_ms, salt);
                self.notes.push(Note::Silent);
                return Ok(());
            }
            Some(NodeResponse::Custody(custodies)) => custodies
                .into_iter()
                .find(|custody| custody.account == account && custody.feed == feed)
                // A receipt for what was not sent is no receipt.
                .map(|custody| custody.seq.min(last)),
            Some(_) => None,
        };
        match custody {
            _ if life != life_now || self.voiding.contains_key(&peer) => destination.enqueue(item, step.now_ms),
            Some(custody) if custody > before => {
                destination.took(item);
                if custody < head {
                    destination.enqueue(item, step.now_ms);
                }
                rows::put(step.rows, key, &custody);
                self.notes.push(Note::Custody { feed, account, to: custody });
                self.tell_custody(step, &feed, &account, before + 1, custody)?;
            }
            _ => {
                destination.refused(item, asked_ms, step.now_ms, salt);
                self.notes.push(Note::Refused);
            }
        }
        if unknown { self.show_conversation(step, peer, &feed.group) } else { Ok(()) }
    }

    /// As [`accounts::learn_log`]; what waits for the account goes to its new home, which has custody of nothing yet.
    pub(super) fn learn_log(
        &mut self,
        step: &mut Step<'_, '_>,
        log: &IdentityLog,
    ) -> Result<Arc<VerifiedLog>, Failure> {
        let account = accounts::verified(log)?.account();
        let first_home = |log: Option<Arc<VerifiedLog>>| log.and_then(|log| log.homes().first().copied());
        let before = first_home(accounts::known_log(step, &account)?);
        let known = accounts::learn_log(step, log)?;
        let after = known.homes().first().copied();
        if let (Some(before), Some(after)) = (before, after)
            && before != after
        {
            self.moved(step, account, before, after)?;
        }
        Ok(known)
    }

    /// A hint of the network: only an account that is known from elsewhere is of interest, and a bad log of nobody's.
    pub(super) fn log_learned(&mut self, step: &mut Step<'_, '_>, log: &IdentityLog) -> Result<(), StoreError> {
        let outcome = accounts::verified(log).and_then(|verified| {
            if step.rows.get(&rows::peer_log(&verified.account()))?.is_some() {
                self.learn_log(step, log)?;
            }
            Ok(())
        });
        match outcome {
            Err(Failure::Store(error)) => Err(error),
            Ok(()) | Err(Failure::Refused(_)) => Ok(()),
        }
    }

    fn moved(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        before: NodeId,
        after: NodeId,
    ) -> Result<(), StoreError> {
        let prefix = [rows::OUTBOX];
        for (key, _) in step.rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            let Some((feed, of)) = parse_outbox_key(&key) else { continue };
            if of == account {
                rows::put(step.rows, key, &0_u64);
                if let Some(destination) = self.destinations.get_mut(&before) {
                    destination.withdraw(&(feed, account));
                }
                if after != self.node {
                    self.destinations.entry(after).or_default().enqueue((feed, account), 0);
                }
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
        if deliver.accounts.is_empty() {
            return Err(never("no accounts"));
        }
        if deliver.entries.len() > limits::DELIVER_ENTRIES_MAX || deliver.accounts.len() > limits::DELIVER_ENTRIES_MAX {
            return Err(
                Refusal::never(Code::TooLarge, "at most 64 entries and accounts", "send smaller batches").into()
            );
        }
        if feed.node != peer || deliver.entries.iter().any(|entry| entry.header.feed != feed) {
            return Err(never("a node delivers its own feed, one at a time"));
        }
        if let Some(log) = &deliver.log {
            self.learn_log(step, log)?;
        }
        for account in &deliver.accounts {
            accounts::check_at_home(step, account)?;
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
            let first = deliver.entries.first().map_or(0, |entry| entry.header.seq);
            let last = deliver.entries.last().map_or(0, |entry| entry.header.seq);
            let mut held: u64 = rows::get(step.rows, &rows::held(&account, &feed))?.unwrap_or(0);
            let mut room = self.inbox_room(step, &account)?;
            while held < last && !room.is_none() {
                held += 1;
                let brought = held.checked_sub(first).and_then(|at| usize::try_from(at).ok());
                let entry = brought.and_then(|at| deliver.entries.get(at));
                let bytes = match entry {
                    Some(entry) => entry.payload.len(),
                    None => feeds::get(step.rows, &feed, held)?.map_or(0, |entry| entry.payload.len()),
                };
                room.take(bytes);
                let placed = self.put_into_inbox(step, &account, Reference { feed, seq: held, bytes })?;
                if let (Some(inbox), Some(entry)) = (placed, entry) {
                    self.push_early(&account, entry, inbox);
                }
            }
            if planted!(self.identity.sabotage, CustodyForMore) {
                held += 2;
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
                self.may_begin(step, &peer, &entry.header.feed.group, &deliver.accounts)?;
                let contact = entry.first_contact().map_err(|error| never(Code::Malformed, &error.to_string()))?;
                let head = self.check_head(&contact.head, &contact.creation)?;
                if head.state.hub != peer || head.group != entry.header.feed.group {
                    return Err(never(Code::NotHub, "only the hub's feed holds a creation, of its own group"));
                }
                if head.state.conversation != deliver.conversation {
                    return Err(never(Code::Malformed, "the creation is of another conversation than the delivery"));
                }
                self.check_creation(step, &contact.creation)?;
                self.know(step, &head, &contact.head, &contact.creation)?;
                Ok(head.state)
            }
            EntryKind::Message => {
                let head = group_head(step, &entry.header.feed.group)?;
                if head.state.conversation != deliver.conversation || !head.state.has(&entry.header.account) {
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
                if entry.header.epoch > head.epoch && !planted!(self.identity.sabotage, EpochUnchecked) {
                    return Err(Refusal::later(
                        Code::WrongEpoch,
                        "the entry's epoch is not known here yet",
                        "deliver the commit first",
                    )
                    .into());
                }
                Ok(head.state)
            }
        }
    }

    /// A node was met: a new life of its store has nothing of what an earlier one gave custody for.
    pub(super) fn met(&mut self, step: &mut Step<'_, '_>, peer: NodeId, life: Incarnation) -> Result<(), StoreError> {
        let key = rows::peer_life(&peer);
        let row: Option<Incarnation> = rows::get(step.rows, &key)?;
        let voiding = self.voiding.get(&peer).map(|voiding| voiding.life);
        let known = voiding.or(row).or_else(|| self.strangers.get(&peer).copied());
        self.late_lives.remove(&peer);
        if known != Some(life)
            && self.late_lives.len() < LATE_LIVES_MAX
            && let Err(wait) = self.quotas.lives.take(&peer, 1, step.now_ms)
        {
            // Each new life is a walk through the outbox: a node that has too many is believed later.
            self.late_lives.insert(peer, (life, step.now_ms + wait));
        } else if known != Some(life) && !planted!(self.identity.sabotage, EarlierLifeBelieved) {
            // A custody that was given under no known life is void too.
            self.voiding.insert(peer, Voiding { life, from: vec![rows::OUTBOX], matters: row.is_some() });
        }
        if let Some(destination) = self.destinations.get_mut(&peer) {
            destination.due_at_once();
        }
        Ok(())
    }

    /// Goes on with voiding what nodes gave custody for in earlier lives. A page a batch: a commit is bounded, and there may be
    /// very many rows; the new life is written with the last page, so a crash in between begins again.
    pub(super) fn void_custody(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let end = rows::end_of(&[rows::OUTBOX]);
        for (peer, mut voiding) in std::mem::take(&mut self.voiding) {
            let page = step.rows.scan(&voiding.from, &end, VOIDED_ROWS)?;
            let last = page.last().filter(|_| page.len() >= VOIDED_ROWS).map(|(key, _)| key.clone());
            for (key, _) in page {
                let Some((feed, account)) = parse_outbox_key(&key) else { continue };
                if matches!(accounts::home_of(step, &account), Ok(home) if home == peer) {
                    voiding.matters = true;
                    rows::put(step.rows, key, &0_u64);
                    self.destinations.entry(peer).or_default().enqueue((feed, account), 0);
                    let to = feeds::head(step.rows, &feed)?.seq;
                    self.notes.push(Note::Owed { feed, account, from: 1, to });
                }
            }
            if let Some(mut last) = last {
                last.push(0);
                voiding.from = last;
                self.voiding.insert(peer, voiding);
            } else if voiding.matters {
                rows::put(step.rows, rows::peer_life(&peer), &voiding.life);
                self.contacts.met(peer, step.now_ms);
            } else {
                // A node to which nothing was ever written leaves no row, for there is no end of such nodes.
                if self.strangers.len() >= STRANGERS_MAX {
                    self.strangers.pop_first();
                }
                self.strangers.insert(peer, voiding.life);
            }
        }
        Ok(())
    }

    /// Believes the lives whose time has come.
    pub(super) fn meet_late(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let due = self.late_lives.iter().filter(|(_, (_, at))| *at <= step.now_ms);
        let due: Vec<_> = due.map(|(peer, (life, _))| (*peer, *life)).collect();
        for (peer, life) in due {
            self.met(step, peer, life)?;
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

pub(super) fn parse_outbox_key(key: &[u8]) -> Option<(FeedId, AccountId)> {
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

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
