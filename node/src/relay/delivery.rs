//! Delivery: what other homes must hold, asked for until their custody is received; and what we hold for ours.
//!
//! One destination that is down delays no other: each has its own queue, one batch a feed in flight, and its own back-off
//! (`destination.rs`).

use super::commits::participants_at;
use super::conversations::{group_head, not_member};
use super::destination::Item;
use super::feeds;
use super::inbox::Reference;
use super::quotas::busy;
use super::requests::Pending;
use super::rows;
use super::spans::{self, Due};
use super::{Failure, Note, Output, Relay, Step, accounts};
use crate::store::{Overlay, Read as _, RowKey, StoreError};
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::planted;
use roost_protocol::content::BlobRef;
use roost_protocol::conversation::ConversationState;
use roost_protocol::feed::{Entry, EntryKind};
use roost_protocol::ids::{FeedId, GroupId, Incarnation, MessageId};
use roost_protocol::limits;
use roost_protocol::peer::{Custody, Deliver, NodeRequest, NodeResponse};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use std::collections::BTreeMap;

/// A `Deliver` on its way.
pub(super) struct Asked {
    peer: NodeId,
    accounts: Vec<AccountId>,
    feed: FeedId,
    /// The last entry that it holds: a receipt for more is none.
    last: u64,
    /// The receiver's store when it was asked: a receipt of an earlier life is void.
    life: Option<Incarnation>,
}

impl Relay {
    /// Queues an entry of our feed for everybody, its author if there are several devices: into the inbox of an account here, for
    /// others to their home. Gives the accounts here.
    pub(super) fn spread(
        &mut self,
        step: &mut Step<'_, '_>,
        state: &ConversationState,
        reference: Reference,
        author: Option<&AccountId>,
    ) -> Result<Vec<AccountId>, Failure> {
        let Reference { feed, seq, bytes, wakes } = reference;
        self.wide.touch(feed.group);
        let mut here = Vec::new();
        for account in state.participants.iter().map(|participant| participant.account) {
            // One's own messages are for one's other devices.
            if author == Some(&account) && !has_several_devices(step, &account)? {
                continue;
            }
            let home = match accounts::home_of(step, &account) {
                Err(Failure::Refused(refusal)) if refusal.code == Code::NotFound => {
                    self.ask_participants(step, &group_head(step, &feed.group)?)?;
                    return Err(refusal.into());
                }
                home => home?,
            };
            if home == self.node {
                let mut filling = self.begin_filling(step, account, feed)?;
                if !filling.has_room() {
                    return Err(busy("the recipient's inbox is full", limits::RETRY_DELAY_MS_MAX));
                }
                let placed = filling.put(step.rows, seq, bytes);
                self.filled(step, &filling);
                if let Some(inbox) = placed.filter(|_| wakes && author != Some(&account)) {
                    self.wake(step, &account, &feed.group, inbox)?;
                }
                here.push(account);
            } else {
                let key = rows::outbox(&feed, &account);
                if step.rows.get(&key)?.is_none() {
                    rows::put(step.rows, key, &0_u64);
                }
                let at_ms = self.wide.due(&home, &feed, seq, step.now_ms);
                self.destinations.entry(home).or_default().enqueue((feed, account), at_ms);
                self.notes.push(Note::Owed { feed, account, from: seq, to: seq });
            }
        }
        Ok(here)
    }

    pub(super) fn load_outbox(&mut self, rows: &mut Overlay<'_>) -> Result<(), StoreError> {
        let prefix = [rows::OUTBOX];
        for (key, value) in rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            let custody: u64 = rows::decode(&key, &value)?;
            let corrupt = || StoreError::Corrupt { key: Some(RowKey(key.clone())) };
            let (feed, account) = parse_outbox_key(&key).ok_or_else(corrupt)?;
            let head = feeds::head(rows, &feed)?.seq;
            let Some(due) = spans::due(rows, &feed, &account, custody, head)? else { continue };
            let owed = spans::owed(rows, &feed, &account, custody)?;
            self.notes.push(Note::Owed { feed, account, from: due.from, to: due.from + owed - 1 });
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
        for (node, (feed, accounts)) in ready {
            self.deliver(step, node, feed, accounts)?;
        }
        Ok(())
    }

    /// Asks a node to hold what is next of a feed for those of the accounts for whom the same is next.
    fn deliver(
        &mut self,
        step: &mut Step<'_, '_>,
        node: NodeId,
        feed: FeedId,
        accounts: Vec<AccountId>,
    ) -> Result<(), StoreError> {
        let (mut together, mut next) = (Vec::new(), None);
        let head = feeds::head(step.rows, &feed)?.seq;
        for account in accounts {
            let custody: u64 = rows::get(step.rows, &rows::outbox(&feed, &account))?.unwrap_or(0);
            let due = spans::due(step.rows, &feed, &account, custody, head)?;
            if due.is_some() && (next.is_none() || next == due) {
                next = due;
                together.push(account);
            } else if let Some(destination) = self.destinations.get_mut(&node) {
                match due {
                    Some(_) => destination.left_behind((feed, account), step.now_ms),
                    None => drop(destination.in_flight.remove(&(feed, account))),
                }
            }
        }
        let entries = match next {
            Some(Due { from, until, .. }) => {
                let mut entries = feeds::read(step.rows, &feed, from, limits::DELIVER_ENTRIES_MAX)?;
                entries.retain(|entry| entry.header.seq <= until);
                entries
            }
            None => Vec::new(),
        };
        let conversation = match group_head(step, &feed.group) {
            Ok(head) if !entries.is_empty() => head.state.conversation,
            Ok(_) | Err(Failure::Refused(_)) => {
                if let Some(destination) = self.destinations.get_mut(&node) {
                    destination.answered(&items_of(feed, &together));
                }
                return Ok(());
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
        self.wide.delivering(node, &feed, last, step.now_ms);
        let begins = next.is_some_and(|due| due.begins);
        let blobs = self.blobs_of(step, &feed, entries.iter().map(|entry: &Entry| entry.header.seq))?;
        let deliver = Deliver { conversation, entries, accounts: together.clone(), begins, log: None, blobs };
        let asked = Asked { peer: node, accounts: together, feed, last, life };
        self.ask(Pending::Deliver(asked), node, NodeRequest::Deliver(deliver));
        Ok(())
    }

    pub(super) fn delivery_answered(
        &mut self,
        step: &mut Step<'_, '_>,
        asked: Asked,
        response: Option<NodeResponse>,
    ) -> Result<(), StoreError> {
        let Asked { peer, accounts, feed, last, life } = asked;
        let destination = self.destinations.entry(peer).or_default();
        destination.answered(&items_of(feed, &accounts));
        let mut here = Vec::new();
        for account in accounts {
            match accounts::home_of(step, &account) {
                // The account moved while this was on its way: only its present home's custody counts.
                Ok(home) if home != peer => {
                    if home != self.node {
                        self.destinations.entry(home).or_default().enqueue((feed, account), step.now_ms);
                    }
                }
                _ => here.push(account),
            }
        }
        if here.is_empty() {
            return Ok(());
        }
        let items = items_of(feed, &here);
        let salt = self.next_token;
        let destination = self.destinations.entry(peer).or_default();
        let custodies = match response {
            None => {
                destination.silent(&items, step.now_ms, salt);
                self.notes.push(Note::Silent);
                return Ok(());
            }
            Some(NodeResponse::Custody(custodies)) => custodies,
            Some(NodeResponse::Refused(_)) if items.len() > 1 => {
                destination.part(&items, step.now_ms);
                self.notes.push(Note::Refused);
                return Ok(());
            }
            Some(NodeResponse::Refused(refusal)) => {
                let asked_ms = refusal.retry_after_ms.unwrap_or(0);
                items.iter().for_each(|item| destination.refused(*item, asked_ms, step.now_ms, salt));
                self.notes.push(Note::Refused);
                let unknown = refusal.code == Code::UnknownConversation;
                return if unknown { self.show_conversation(step, peer, &feed.group) } else { Ok(()) };
            }
            Some(_) => Vec::new(),
        };
        let life_now: Option<Incarnation> = rows::get(step.rows, &rows::peer_life(&peer))?;
        let of_this_life = life == life_now && !self.voiding.contains_key(&peer);
        let head = feeds::head(step.rows, &feed)?.seq;
        let mut told = BTreeMap::<_, Vec<AccountId>>::new();
        for account in here {
            let custody = custodies.iter().find(|custody| custody.account == account && custody.feed == feed);
            // A receipt for what was not sent is no receipt.
            let custody = custody.map(|custody| custody.seq.min(last));
            if !of_this_life {
                self.destinations.entry(peer).or_default().enqueue((feed, account), step.now_ms);
            } else if let Some(range) = self.took_custody(step, peer, (feed, account), custody, head)? {
                told.entry(range).or_default().push(account);
            }
        }
        for ((from, to), accounts) in told {
            self.tell_custody(step, &feed, &accounts, from, to)?;
        }
        Ok(())
    }

    /// A home answered with its custody of a feed for an account, or without one. Gives the first and last position that are new
    /// in its custody.
    fn took_custody(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        (feed, account): (FeedId, AccountId),
        custody: Option<u64>,
        head: u64,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let item = (feed, account);
        let key = rows::outbox(&feed, &account);
        let before: u64 = rows::get(step.rows, &key)?.unwrap_or(0);
        let salt = self.next_token;
        let custody = match custody {
            Some(_) if planted!(self.identity.sabotage, CustodyOfHead) => Some(head),
            custody => custody,
        };
        let destination = self.destinations.entry(peer).or_default();
        match custody {
            Some(custody) if custody > before => {
                destination.took(item);
                if let Some(next) = spans::due(step.rows, &feed, &account, custody, head)? {
                    destination.enqueue(item, self.wide.due(&peer, &feed, next.from, step.now_ms).max(step.now_ms));
                }
                rows::put(step.rows, key, &custody);
                self.notes.push(Note::Custody { feed, account, to: custody });
                Ok(Some((before + 1, custody)))
            }
            // It was said already, of what the node heard by gossip meanwhile.
            Some(custody) if custody == before && spans::due(step.rows, &feed, &account, custody, head)?.is_none() => {
                destination.took(item);
                Ok(None)
            }
            _ => {
                destination.refused(item, 0, step.now_ms, salt);
                self.notes.push(Note::Refused);
                Ok(None)
            }
        }
    }

    pub(super) fn moved(
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
        mut deliver: Deliver,
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
        Self::check_delivered_blobs(&deliver)?;
        if let Some(log) = &deliver.log {
            self.learn_log(step, log)?;
        }
        for account in &deliver.accounts {
            accounts::check_at_home(step, account)?;
        }
        self.wide.touch(feed.group);
        let mut taken = 0;
        for entry in &deliver.entries {
            let state = match self.admit(step, peer, &deliver, entry) {
                // Its author's home, or commits that it builds on, are being asked for, which needs what comes before: that is
                // taken by itself.
                Err(Failure::Refused(refusal))
                    if taken > 0 && matches!(refusal.code, Code::NotFound | Code::WrongEpoch) =>
                {
                    break;
                }
                admitted => admitted?,
            };
            if !deliver.accounts.iter().all(|account| state.has(account)) {
                return Err(not_member());
            }
            feeds::hold(step, entry, deliver.begins)?;
            taken += 1;
        }
        deliver.entries.truncate(taken);
        let first = deliver.entries.first().map_or(0, |entry| entry.header.seq);
        let last = deliver.entries.last().map_or(0, |entry| entry.header.seq);
        let named = std::mem::take(&mut deliver.blobs).into_iter().filter(|one| (first..=last).contains(&one.seq));
        let named: Vec<BlobRef> = named.flat_map(|one| one.blobs).collect();
        let for_whom = deliver.accounts.clone();
        let mut places = Vec::new();
        for account in deliver.accounts {
            let held: u64 = rows::get(step.rows, &rows::held(&account, &feed))?.unwrap_or(0);
            // The writer says where what concerns the account begins; what it withholds shows in the heads that members have seen.
            let held = held.max(if held == 0 || deliver.begins { first.saturating_sub(1) } else { 0 });
            check_whole(step, &feed, held, first)?;
            places.push((account, held));
        }
        let mut custodies = Vec::new();
        for (account, mut held) in places {
            let mut filling = self.begin_filling(step, account, feed)?;
            while held < last && filling.has_room() {
                held += 1;
                let brought = held.checked_sub(first).and_then(|at| usize::try_from(at).ok());
                let entry = brought.and_then(|at| deliver.entries.get(at));
                let bytes = match entry {
                    Some(entry) => entry.payload.len(),
                    None => feeds::get(step.rows, &feed, held)?.map_or(0, |entry| entry.payload.len()),
                };
                let placed = filling.put(step.rows, held, bytes);
                if let (Some(inbox), Some(entry)) = (placed, entry) {
                    self.push_early(&account, entry, inbox);
                    if entry.wakes(&account) {
                        self.wake(step, &account, &feed.group, inbox)?;
                    }
                }
            }
            self.filled(step, &filling);
            if planted!(self.identity.sabotage, CustodyForMore) {
                held += 2;
            }
            custodies.push(Custody { account, feed, seq: held });
        }
        self.want_delivered(step, peer, &for_whom, named)?;
        Ok(custodies)
    }

    /// Whether an entry may be held here; a creation makes its conversation known.
    pub(super) fn admit(
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
                let head = self.check_head(&contact.head, &[], &contact.creation)?;
                if head.state.hub != peer || head.group != entry.header.feed.group {
                    return Err(never(Code::NotHub, "only the hub's feed holds a creation, of its own group"));
                }
                if head.state.conversation != deliver.conversation {
                    return Err(never(Code::Malformed, "the creation is of another conversation than the delivery"));
                }
                self.check_creation(step, &contact.creation)?;
                self.know(step, &head, &contact.head, &contact.creation)?;
                super::log::note(step, &head.group, head.epoch, &entry.header.feed, entry.header.seq);
                Ok(head.state)
            }
            EntryKind::Commit => self.admit_commit(step, peer, deliver, entry),
            EntryKind::Message => {
                let head = group_head(step, &entry.header.feed.group)?;
                let participants = participants_at(step, &head.group, entry.header.epoch.min(head.epoch))?;
                let takes_part = head.state.has(&entry.header.account);
                let state = ConversationState { participants, ..head.state };
                if state.conversation != deliver.conversation || !state.has(&entry.header.account) {
                    return Err(not_member());
                }
                if accounts::known_log(step, &entry.header.account)?.is_none() {
                    if takes_part {
                        // Whoever it is takes part by the hub's word: it is asked where that is, until it has answered.
                        self.ask_participants(step, &group_head(step, &entry.header.feed.group)?)?;
                    } else {
                        // Who has left since: the hub speaks of it no more, the node that delivers what it wrote is its home.
                        self.ask_log(entry.header.account, peer);
                    }
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
                Ok(state)
            }
        }
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

    /// Tells the authors' devices that are connected; others ask by submitting again. What another home holds is true whatever
    /// becomes of our row of it, which is asked for again where it is lost: nobody need wait for our disk.
    pub(super) fn tell_custody(
        &mut self,
        step: &Step<'_, '_>,
        feed: &FeedId,
        accounts: &[AccountId],
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
        for ((author, device), messages) in by_author {
            for connection in self.present.get(&author).into_iter().flatten() {
                if self.connections.get(connection).is_some_and(|state| state.device == Some((author, device))) {
                    self.outputs.extend(accounts.iter().map(|account| {
                        let frame = ServerFrame::Custody { account: *account, group, messages: messages.clone() };
                        Output::Early(*connection, frame)
                    }));
                }
            }
        }
        Ok(())
    }
}

fn items_of(feed: FeedId, accounts: &[AccountId]) -> Vec<Item> {
    accounts.iter().map(|account| (feed, *account)).collect()
}

/// Nothing may lead from an inbox to where nothing is: what lies behind `held` and before `first` must be here.
fn check_whole(step: &Step<'_, '_>, feed: &FeedId, held: u64, first: u64) -> Result<(), Failure> {
    for seq in held.saturating_add(1)..first {
        if feeds::get(step.rows, feed, seq)?.is_none() {
            let message = format!("position {seq} is neither held here nor brought");
            return Err(Refusal::later(Code::OutOfOrder, message, "send the missing entries first").into());
        }
    }
    Ok(())
}

/// Whether what one device of an account writes is for others of it.
fn has_several_devices(step: &Step<'_, '_>, account: &AccountId) -> Result<bool, Failure> {
    Ok(accounts::known_log(step, account)?.is_some_and(|log| log.device_keys().len() > 1))
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
