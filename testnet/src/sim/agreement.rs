//! What must hold of conversations of many, beside what holds of every message.
//!
//! I4 no fork: of an epoch there is one head that a hub has signed, one state on all devices, one membership. I7 audience:
//! what is sealed in an epoch is served and shown to its participants only. L3 whatever somebody wanted of a group is done or
//! refused, and all members end in the hub's newest epoch.

use super::groups::Wish;
use super::world::World;
use roost_client::core::{ConversationReport, IntentReport};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::signed::Signed;
use roost_node::relay::audit;
use roost_protocol::conversation::{ConversationHead, Participant};
use roost_protocol::feed::{Entry, EntryKind};
use roost_protocol::ids::ConversationId;
use roost_protocol::peer::Deliver;
use roost_protocol::wide::Entries;
use std::collections::{BTreeMap, BTreeSet};

/// A conversation of many.
#[derive(Default)]
pub(super) struct Group {
    pub creator: usize,
    /// Whom it begins with.
    pub members: Vec<usize>,
    /// Once it is durable as a wish of its creator.
    pub conversation: Option<ConversationId>,
    /// What its hub has signed, by epoch.
    heads: BTreeMap<u64, ConversationHead>,
    /// What the devices derived, by epoch.
    authenticators: BTreeMap<u64, Bytes>,
}

impl Group {
    /// One that `creator` is to begin with `members`.
    pub fn planned(creator: usize, members: Vec<usize>) -> Self {
        Self { creator, members, ..Self::default() }
    }

    fn last(&self) -> Option<&ConversationHead> {
        self.heads.last_key_value().map(|(_, head)| head)
    }

    fn takes_part(&self, epoch: u64, account: &AccountId) -> bool {
        self.heads.get(&epoch).is_some_and(|head| head.state.has(account))
    }

    /// Everybody who ever took part.
    fn people(&self) -> BTreeSet<AccountId> {
        self.heads.values().flat_map(|head| &head.state.participants).map(|one| one.account).collect()
    }
}

/// Somebody's wish to leave: in which group, and after which epoch.
struct Leaving {
    person: usize,
    group: usize,
    epoch: u64,
}

/// What was decided and wished for.
#[derive(Default)]
pub(super) struct Agreement {
    pub groups: Vec<Group>,
    by_conversation: BTreeMap<ConversationId, usize>,
    wishes: BTreeMap<(usize, u64), (usize, Wish)>,
    leaving: Vec<Leaving>,
}

impl Agreement {
    /// A group is wished for, on its creator's disk.
    pub fn begun(&mut self, group: usize, conversation: ConversationId) {
        if let Some(target) = self.groups.get_mut(group) {
            target.conversation = Some(conversation);
            self.by_conversation.insert(conversation, group);
        }
    }

    /// A change is wished for, on somebody's disk.
    pub fn wished(&mut self, person: usize, intent: u64, group: usize, wish: Wish) {
        self.wishes.insert((person, intent), (group, wish));
    }

    /// Somebody wishes to leave, on its disk.
    pub fn leaves(&mut self, person: usize, group: usize, epoch: u64) {
        self.leaving.push(Leaving { person, group, epoch });
    }

    pub fn conversation_of(&self, group: usize) -> Option<ConversationId> {
        self.groups.get(group).and_then(|group| group.conversation)
    }

    pub fn number_of(&self, conversation: &ConversationId) -> Option<usize> {
        self.by_conversation.get(conversation).copied()
    }
}

impl World {
    fn person_of(&self, account: &AccountId) -> Option<usize> {
        self.people.iter().position(|person| person.account == *account)
    }

    fn is_liar(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.lie.is_some())
    }

    /// Whether a liar is the home of anybody in a group: then messages and commits may be withheld.
    pub(super) fn is_tainted_group(&self, group: usize) -> bool {
        let Some(target) = self.agreement.groups.get(group) else { return false };
        let planned = target.members.iter().chain([&target.creator]).copied();
        let came = target.people().into_iter().filter_map(|account| self.person_of(&account));
        planned.chain(came).filter_map(|person| self.people.get(person)).any(|person| self.is_liar(person.home))
    }

    /// Whether a hub of a group has lost its store: it says no more yes or no, so nothing is promised but safety.
    pub(super) fn is_sealed(&self, group: usize) -> bool {
        let Some(target) = self.agreement.groups.get(group) else { return false };
        let creator = self.people.get(target.creator);
        creator.is_some_and(|creator| self.ledger.emptied.contains(&creator.home))
            || target.heads.values().any(|head| self.is_emptied(&head.state.hub))
    }

    fn is_emptied(&self, node: &NodeId) -> bool {
        let number = self.nodes.iter().position(|one| one.id == *node);
        number.is_some_and(|number| self.ledger.emptied.contains(&number))
    }

    pub(super) fn is_bound(&self, group: usize) -> bool {
        !self.is_tainted_group(group) && !self.is_sealed(group)
    }

    /// Whether every group that stands is one of which everything is promised.
    pub(super) fn all_groups_bound(&self) -> bool {
        (0..self.agreement.groups.len()).all(|group| self.is_bound(group))
    }

    /// Who is to see what was sealed in these epochs: whoever takes part in all of them, but the author.
    pub(super) fn readers(&self, group: usize, epochs: &BTreeSet<u64>, from: usize) -> Vec<usize> {
        let Some(target) = self.agreement.groups.get(group) else { return Vec::new() };
        let Some(first) = epochs.first().and_then(|epoch| target.heads.get(epoch)) else { return Vec::new() };
        let in_all = |account: &AccountId| epochs.iter().all(|epoch| target.takes_part(*epoch, account));
        let readers = first.state.participants.iter().filter(|one| in_all(&one.account));
        readers.filter_map(|one| self.person_of(&one.account)).filter(|person| *person != from).collect()
    }

    pub(super) fn may_see(&self, group: usize, epochs: &BTreeSet<u64>, person: usize) -> bool {
        let Some(target) = self.agreement.groups.get(group) else { return false };
        let Some(person) = self.people.get(person) else { return false };
        epochs.iter().any(|epoch| target.takes_part(*epoch, &person.account))
    }

    /// A head leaves a node: its hub has signed no other one of the epoch.
    pub(super) fn check_signed_head(&mut self, signed: &Signed) {
        let Ok(head) = ConversationHead::verify(signed) else { return };
        let Some(group) = self.agreement.number_of(&head.state.conversation) else { return };
        let Some(target) = self.agreement.groups.get_mut(group) else { return };
        match target.heads.get(&head.epoch) {
            Some(before) if *before != head => {
                self.violated("I4", format!("of epoch {} of group {group} two heads are signed", head.epoch));
            }
            Some(_) => {}
            None => {
                let before = head.epoch.checked_sub(1).and_then(|epoch| target.heads.get(&epoch));
                let gone = before.map_or(0, |before| count_missing(&before.state.participants, &head));
                target.heads.insert(head.epoch, head);
                self.counters.reach("epochs_of_groups");
                self.counters.reached_times("removals", gone);
            }
        }
    }

    /// An entry leaves a node, for these accounts: what it says becomes known, and it may be for nobody else.
    pub(super) fn check_entry_leaves(&mut self, node: usize, entry: &Entry, accounts: &[AccountId]) {
        match entry.header.kind {
            EntryKind::Creation => {
                if let Ok(contact) = entry.first_contact() {
                    self.check_signed_head(&contact.head);
                }
            }
            EntryKind::Commit => {
                if let Ok(next) = entry.next_epoch() {
                    self.check_signed_head(&next.head);
                }
            }
            EntryKind::Message => self.ledger.admitted_in(&entry.header.message, entry.header.epoch),
        }
        if self.is_liar(node) {
            return;
        }
        let conversation = ConversationId::of_group(&entry.header.feed.group);
        let Some(group) = self.agreement.number_of(&conversation) else { return };
        let Some(target) = self.agreement.groups.get(group) else { return };
        let (epoch, kind) = (entry.header.epoch, entry.header.kind);
        // Whoever is removed sees the commit that does it as the last.
        let may = |account: &AccountId| {
            target.takes_part(epoch, account)
                || (kind == EntryKind::Commit && target.takes_part(epoch.saturating_sub(1), account))
        };
        if target.heads.contains_key(&epoch)
            && let Some(account) = accounts.iter().find(|account| !may(account))
        {
            let detail = format!("node {node} serves a {kind:?} of epoch {epoch} of group {group} to {account}");
            self.violated("I7", detail);
        }
    }

    /// A delivery leaves a node.
    pub(super) fn check_deliver(&mut self, node: usize, deliver: &Deliver) {
        for entry in &deliver.entries {
            self.check_entry_leaves(node, entry, &deliver.accounts);
        }
    }

    /// Entries leave a node by gossip, for whoever takes part.
    pub(super) fn check_gossip(&mut self, node: usize, entries: &Entries) {
        for entry in entries.entries() {
            self.check_entry_leaves(node, entry, &[]);
        }
    }

    /// A device says that something wished for is true, or never will be.
    pub(super) fn wish_ended(&mut self, person: usize, report: &IntentReport) {
        let Some((group, wish)) = self.agreement.wishes.remove(&(person, report.intent)) else { return };
        let Some(target) = self.agreement.groups.get(group) else { return };
        match &report.error {
            Some(refusal) => {
                self.counters.reach("wishes_refused");
                if refusal.message.is_empty() {
                    self.violated("L3", format!("a wish of person {person} in group {group} ends without a cause"));
                }
            }
            None => {
                self.counters.reach("wishes_fulfilled");
                if !target.heads.values().any(|head| wish.is_true(head)) && self.is_bound(group) {
                    self.violated("L3", format!("{wish:?} of person {person} in group {group} is said to be true"));
                }
            }
        }
    }

    /// What a device holds of its groups is what the others and the hubs say.
    pub(super) fn check_device(&mut self, person: usize) {
        let Some(device) = self.people.get(person).and_then(|person| person.device.as_ref()) else { return };
        let mut found = Vec::new();
        let reports = match device.conversations() {
            Ok(reports) => reports,
            Err(error) => return self.violated("I9", format!("the device of person {person}: {error}")),
        };
        for report in reports.iter().filter(|report| report.standing && !report.over) {
            let Some(group) = self.agreement.number_of(&report.conversation) else { continue };
            let authenticator = match device.authenticator(&report.conversation) {
                Ok(Some(authenticator)) => authenticator,
                Ok(None) => continue,
                Err(error) => {
                    found.push(("I4", format!("person {person} has lost its state of group {group}: {error}")));
                    continue;
                }
            };
            let epoch = report.epoch;
            let Some(target) = self.agreement.groups.get_mut(group) else { continue };
            match target.heads.get(&epoch) {
                None => found.push(("I4", format!("person {person} is in epoch {epoch} of group {group}, nobody's"))),
                Some(head) if !is_membership(report, &head.state.participants) => {
                    let detail = format!("person {person} sees other people in epoch {epoch} of group {group}");
                    found.push(("I4", detail));
                }
                Some(_) => {}
            }
            if *target.authenticators.entry(epoch).or_insert_with(|| authenticator.clone()) != authenticator {
                found.push(("I4", format!("person {person} is in a fork of epoch {epoch} of group {group}")));
            }
        }
        for (invariant, detail) in found {
            self.violated(invariant, detail);
        }
    }

    /// Whether nobody waits for anything in a group any more.
    pub(super) fn groups_rest(&self) -> bool {
        let settled = |person: &super::person::Person| person.device.as_ref().is_none_or(|one| one.unsettled() == 0);
        self.people.iter().all(settled) && (0..self.agreement.groups.len()).all(|group| self.unagreed(group).is_empty())
    }

    /// At the end: all members are where the hub is, and nothing wished for is left.
    pub(super) fn check_groups_end(&mut self) {
        for person in 0..self.people.len() {
            self.check_device(person);
        }
        let mut found = Vec::new();
        for group in (0..self.agreement.groups.len()).filter(|group| self.is_bound(*group)) {
            found.extend(self.unagreed(group).into_iter().map(|detail| ("L3", format!("group {group}: {detail}"))));
        }
        if self.all_groups_bound() {
            for (number, person) in self.people.iter().enumerate() {
                let unsettled = person.device.as_ref().map_or(0, |device| device.unsettled());
                if unsettled > 0 {
                    found.push(("L3", format!("{unsettled} wishes, commits or joins of person {number} never end")));
                }
            }
        }
        for Leaving { person, group, epoch } in &self.agreement.leaving {
            let (Some(target), Some(one)) = (self.agreement.groups.get(*group), self.people.get(*person)) else {
                continue;
            };
            let mut later = target.heads.range(epoch + 1..).map(|(_, head)| head);
            let alone = target.last().is_some_and(|head| head.state.participants.len() == 1);
            if self.is_bound(*group) && !alone && later.all(|head| head.state.has(&one.account)) {
                found.push(("L3", format!("person {person} wished to leave group {group} and never does")));
            }
        }
        for (invariant, detail) in found {
            self.violated(invariant, detail);
        }
    }

    /// What of a group is not yet as its hub has decided.
    fn unagreed(&self, group: usize) -> Vec<String> {
        let Some(target) = self.agreement.groups.get(group).filter(|_| self.is_bound(group)) else { return Vec::new() };
        let (Some(last), Some(conversation)) = (target.last(), target.conversation) else { return Vec::new() };
        let mut found = Vec::new();
        for account in target.people() {
            let Some(person) = self.person_of(&account) else { continue };
            let Some(device) = self.people.get(person).and_then(|person| person.device.as_ref()) else { continue };
            let reports = device.conversations().unwrap_or_default();
            let report = reports.into_iter().find(|report| report.conversation == conversation);
            let member = last.state.has(&account);
            match report {
                Some(report) if member && (report.over || report.epoch != last.epoch) => {
                    let over = if report.over { ", which it takes for the last" } else { "" };
                    found
                        .push(format!("person {person} is in epoch {}{over}, the hub in {}", report.epoch, last.epoch));
                }
                Some(report) if member && !is_membership(&report, &last.state.participants) => {
                    found.push(format!("person {person} sees other people than the hub"));
                }
                None if member => found.push(format!("person {person} takes part and does not know it")),
                Some(report) if !member && !report.over => {
                    found.push(format!("person {person} was removed and does not know it"));
                }
                _ => {}
            }
        }
        let mut nodes: BTreeSet<usize> = last
            .state
            .participants
            .iter()
            .filter_map(|one| self.person_of(&one.account).and_then(|person| self.people.get(person)))
            .map(|person| person.home)
            .collect();
        nodes.extend(self.nodes.iter().position(|node| node.id == last.state.hub));
        for node in nodes {
            let store = self.nodes.get(node).map(|node| &node.disk.durable);
            let held = store.and_then(|store| audit::group_head(store, &last.group).ok().flatten());
            if held.as_ref() != Some(last) {
                let held = held.map_or(0, |head| head.epoch);
                found.push(format!("node {node} is in epoch {held}, the hub in {}", last.epoch));
            }
        }
        found
    }
}

fn count_missing(before: &[Participant], after: &ConversationHead) -> u64 {
    before.iter().filter(|one| !after.state.has(&one.account)).count() as u64
}

fn is_membership(report: &ConversationReport, participants: &[Participant]) -> bool {
    let shown = report.participants.iter().map(|one| (one.account, one.role, one.devices));
    shown.eq(participants.iter().map(|one| (one.account, one.role, 1)))
}
