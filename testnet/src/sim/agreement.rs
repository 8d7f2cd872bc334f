//! What must hold of conversations of many, beside what holds of every message.
//!
//! I4 no fork: of an epoch a hub has signed one head, of which there is one state on all devices and one membership; nobody follows a
//! successor that it knows to be begun by who was no admin any more. I7 audience:
//! what is sealed in an epoch is served and shown to its participants only. L3 whatever somebody wanted of a group is done or
//! refused, and all members end on one branch, in its hub's newest epoch.

use super::groups::Wish;
use super::world::World;
use roost_client::core::{ConversationReport, IntentReport};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::signed::Signed;
use roost_node::relay::audit;
use roost_protocol::conversation::{ConversationHead, Participant, Role};
use roost_protocol::epoch;
use roost_protocol::feed::{Entry, EntryKind, NextEpoch};
use roost_protocol::ids::ConversationId;
use roost_protocol::peer::Deliver;
use roost_protocol::succession::{Precedence, Succession};
use roost_protocol::wide::Entries;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// A conversation of many.
#[derive(Default)]
pub(super) struct Group {
    pub creator: usize,
    /// Whom it begins with.
    pub members: Vec<usize>,
    /// Once it is durable as a wish of its creator.
    pub conversation: Option<ConversationId>,
    /// What its hubs have signed, by epoch: two successors of one term have the same epochs.
    heads: BTreeMap<u64, Vec<ConversationHead>>,
    /// The successions by which terms began, by what decides between two of them.
    forks: BTreeMap<Precedence, Fork>,
    /// What the devices derived, by epoch and hub.
    authenticators: BTreeMap<(u64, String), Bytes>,
    /// Where each device has been.
    visited: BTreeMap<usize, BTreeSet<(u64, String)>>,
}

/// A succession.
struct Fork {
    from: ConversationHead,
    first: ConversationHead,
    author: AccountId,
}

/// On which branch somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Branch {
    epoch: u64,
    pub hub: NodeId,
    /// The succession of its term; none before the first.
    root: Option<Precedence>,
}

impl Branch {
    /// Whether one of both follows the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.order().0 == other.order().0 && self.root == other.root
    }

    fn order(&self) -> (u32, Option<Precedence>, u64) {
        (epoch::term(self.epoch), self.root, self.epoch)
    }
}

impl Group {
    /// One that `creator` is to begin with `members`.
    pub fn planned(creator: usize, members: Vec<usize>) -> Self {
        Self { creator, members, ..Self::default() }
    }

    fn all_heads(&self) -> impl Iterator<Item = &ConversationHead> {
        self.heads.values().flatten()
    }

    fn heads_of(&self, epoch: u64) -> impl Iterator<Item = &ConversationHead> {
        self.heads.get(&epoch).into_iter().flatten()
    }

    /// The head of an epoch with this hub, by its PeerId.
    fn head_at(&self, epoch: u64, hub: &str) -> Option<&ConversationHead> {
        self.heads_of(epoch).find(|head| head.state.hub.to_string() == hub)
    }

    /// The newest head of a branch; of the only one there is.
    fn last(&self, standing: Option<Branch>) -> Option<&ConversationHead> {
        let Some(branch) = standing.filter(|_| self.is_forked()) else {
            return self.heads.last_key_value().and_then(|(_, heads)| heads.first());
        };
        self.all_heads().filter(|head| self.branch_of_head(head).is_same(&branch)).max_by_key(|head| head.epoch)
    }

    /// Whether a successor ever followed a hub.
    fn is_forked(&self) -> bool {
        self.heads.last_key_value().is_some_and(|(epoch, _)| epoch::term(*epoch) > 0)
    }

    fn branch_of_head(&self, head: &ConversationHead) -> Branch {
        Branch { epoch: head.epoch, hub: head.state.hub, root: self.root_of(head) }
    }

    /// The succession with which the branch of a head began its term.
    fn root_of(&self, head: &ConversationHead) -> Option<Precedence> {
        let begins = |fork: &Fork| fork.first == *head;
        if let Some((precedence, _)) = self.forks.iter().find(|(_, fork)| begins(fork)) {
            return Some(*precedence);
        }
        let before = head.epoch.checked_sub(1)?;
        self.heads_of(before).find(|before| before.state.hub == head.orderer()).and_then(|before| self.root_of(before))
    }

    fn takes_part(&self, epoch: u64, account: &AccountId) -> bool {
        self.heads_of(epoch).any(|head| head.state.has(account))
    }

    /// Everybody who ever took part.
    fn people(&self) -> BTreeSet<AccountId> {
        self.all_heads().flat_map(|head| &head.state.participants).map(|one| one.account).collect()
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
    /// The devices with a leaf, by the state that they are in.
    leaves: BTreeMap<Bytes, BTreeSet<DeviceId>>,
    /// Batches of devices so far, and which branches stood when they were looked at last: for each of them once.
    pub batches: u64,
    stood: RefCell<BTreeMap<usize, (u64, Option<Branch>)>>,
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
    pub(super) fn person_of(&self, account: &AccountId) -> Option<usize> {
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
        if let Some(standing) = self.standing(group).filter(|_| target.is_forked()) {
            return self.is_emptied(&standing.hub);
        }
        let creator = self.people.get(target.creator);
        creator.is_some_and(|creator| self.ledger.emptied.contains(&creator.home))
            || target.all_heads().any(|head| self.is_emptied(&head.state.hub))
    }

    /// Whether a group's hub could move: a successor in a new life is never given the state again in its term, and where there is no
    /// other one the last account at the hub can't leave.
    fn can_move(&self, group: usize) -> bool {
        let Some(target) = self.agreement.groups.get(group) else { return false };
        let last = target.last(self.standing(group));
        last.is_some_and(|head| {
            head.state.successors.is_empty() || head.state.successors.iter().any(|node| !self.is_emptied(node))
        })
    }

    fn is_emptied(&self, node: &NodeId) -> bool {
        let number = self.nodes.iter().position(|one| one.id == *node);
        number.is_some_and(|number| self.ledger.emptied.contains(&number))
    }

    pub(super) fn is_bound(&self, group: usize) -> bool {
        !self.is_tainted_group(group) && !self.is_sealed(group)
    }

    /// Whether every group that stands is one of which everything is promised. A node in a new life is no successor in its term: a
    /// hub that is to move there waits for it.
    pub(super) fn all_groups_bound(&self) -> bool {
        let waits = self.scenario.hub_changes > 0 && !self.ledger.emptied.is_empty();
        let waits = waits || self.agreement.leaving.iter().any(|leaving| !self.can_move(leaving.group));
        !waits && (0..self.agreement.groups.len()).all(|group| self.is_bound(group))
    }

    /// Who is to see what was sealed in these epochs: whoever takes part in all of them, but the author.
    pub(super) fn readers(&self, group: usize, epochs: &BTreeSet<u64>, from: usize) -> Vec<usize> {
        let Some(target) = self.agreement.groups.get(group) else { return Vec::new() };
        let Some(first) = epochs.first().and_then(|epoch| target.heads_of(*epoch).next()) else { return Vec::new() };
        let stays = target.last(self.standing(group)).filter(|_| target.is_forked());
        let in_all = |account: &AccountId| {
            let mut heads = epochs.iter().flat_map(|epoch| target.heads_of(*epoch));
            heads.all(|head| head.state.has(account)) && stays.is_none_or(|last| last.state.has(account))
        };
        let readers = first.state.participants.iter().filter(|one| in_all(&one.account));
        readers.filter_map(|one| self.person_of(&one.account)).filter(|person| *person != from).collect()
    }

    pub(super) fn may_see(&self, group: usize, epochs: &BTreeSet<u64>, person: usize) -> bool {
        let Some(target) = self.agreement.groups.get(group) else { return false };
        let Some(person) = self.people.get(person) else { return false };
        epochs.iter().any(|epoch| target.takes_part(*epoch, &person.account))
    }

    /// The branch that stands: of the latest term, of the succession with precedence, as far as any device is.
    pub(super) fn standing(&self, group: usize) -> Option<Branch> {
        let target = self.agreement.groups.get(group)?;
        let conversation = target.conversation?;
        if !target.is_forked() {
            return target.last(None).map(|head| target.branch_of_head(head));
        }
        let batches = self.agreement.batches;
        if let Some((at, stood)) = self.agreement.stood.borrow().get(&group)
            && *at == batches
        {
            return *stood;
        }
        let devices = self.people.iter().enumerate().filter(|(device, _)| self.is_living(*device));
        let reports = devices.filter_map(|(_, person)| {
            let reports = person.device.as_ref()?.conversations().ok()?;
            reports.into_iter().find(|report| report.conversation == conversation && report.standing && !report.over)
        });
        let stood = reports.filter_map(|report| self.branch_of(group, &report)).max_by_key(Branch::order);
        self.agreement.stood.borrow_mut().insert(group, (batches, stood));
        stood
    }

    /// On which branch a device is that reports this.
    pub(super) fn branch_of(&self, group: usize, report: &ConversationReport) -> Option<Branch> {
        let target = self.agreement.groups.get(group)?;
        target.head_at(epoch::of(report.term, report.epoch), &report.hub).map(|head| target.branch_of_head(head))
    }

    /// Whether somebody takes part in the branch of a group that stands; where there is but one, who wrote is not asked.
    pub(super) fn is_on_standing_branch(&self, group: usize, person: usize) -> bool {
        let Some(target) = self.agreement.groups.get(group).filter(|target| target.is_forked()) else { return true };
        let account = self.people.get(person).map(|person| person.account);
        let last = target.last(self.standing(group));
        last.zip(account).is_some_and(|(last, account)| last.state.has(&account))
    }

    pub(super) fn is_forked(&self, group: usize) -> bool {
        self.agreement.groups.get(group).is_some_and(Group::is_forked)
    }

    /// A head leaves a node: its hub has signed no other one of the epoch.
    pub(super) fn check_signed_head(&mut self, signed: &Signed) {
        let Ok(head) = ConversationHead::verify(signed) else { return };
        let Some(group) = self.agreement.number_of(&head.state.conversation) else { return };
        let Some(target) = self.agreement.groups.get_mut(group) else { return };
        let known = target.heads_of(head.epoch).find(|known| known.orderer() == head.orderer());
        match known {
            Some(before) if *before != head => {
                self.violated("I4", format!("of epoch {} of group {group} two heads are signed", head.epoch));
            }
            Some(_) => {}
            None => {
                let before = head.epoch.checked_sub(1).and_then(|epoch| target.heads_of(epoch).next());
                let gone = before.map_or(0, |before| count_missing(&before.state.participants, &head));
                let moved = head.ordered_by.is_some();
                target.heads.entry(head.epoch).or_default().push(head);
                self.counters.reach("epochs_of_groups");
                self.counters.reached_times("removals", gone);
                self.counters.reached_times("hub_moves", u64::from(moved));
            }
        }
    }

    /// A commit leaves a node: it may begin a term.
    fn check_succession(&mut self, next: &NextEpoch, author: &AccountId) {
        let (Some(from), Ok(head)) = (&next.from, ConversationHead::verify(&next.head)) else { return };
        let Some(group) = self.agreement.number_of(&head.state.conversation).filter(|_| next.begins_term(&head)) else {
            return;
        };
        let Ok(succession) = Succession::verify(from, &next.head) else { return };
        let Some(target) = self.agreement.groups.get_mut(group) else { return };
        let of_term = target.forks.values().filter(|fork| fork.first.state.term == head.state.term).count();
        let fork = Fork { from: succession.from().clone(), first: head, author: *author };
        if target.forks.insert(succession.precedence(), fork).is_none() {
            self.counters.reach("successors");
            self.counters.reached_times("two_successors_of_a_term", u64::from(of_term == 1));
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
                    self.check_succession(&next, &entry.header.account);
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
                if !target.all_heads().any(|head| wish.is_true(head)) && self.is_bound(group) {
                    self.violated("L3", format!("{wish:?} of person {person} in group {group} is said to be true"));
                }
            }
        }
    }

    /// What a device holds of its groups is what the others and the hubs say.
    pub(super) fn check_device(&mut self, person: usize) {
        if !self.is_living(person) {
            return;
        }
        let Some(device) = self.people.get(person).and_then(|person| person.device.as_ref()) else { return };
        let mut found = Vec::new();
        // Who has a leaf follows from the state: it is compared where it may differ from one device each.
        let leaves = if self.devices.changed.is_empty() { Vec::new() } else { device.leaves().unwrap_or_default() };
        for report in leaves {
            let known = self.agreement.leaves.entry(report.authenticator).or_insert_with(|| report.devices.clone());
            if *known != report.devices {
                let detail =
                    format!("device {person} sees other leaves in epoch {} of {:?}", report.epoch, report.group);
                found.push(("I4", detail));
            }
        }
        let one_each = self.devices.changed.is_empty();
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
            let epoch = epoch::of(report.term, report.epoch);
            let Some(target) = self.agreement.groups.get_mut(group) else { continue };
            match target.head_at(epoch, &report.hub) {
                None => found.push(("I4", format!("person {person} is in epoch {epoch} of group {group}, nobody's"))),
                Some(head) if !is_membership(report, &head.state.participants, one_each) => {
                    let detail = format!("person {person} sees other people in epoch {epoch} of group {group}");
                    found.push(("I4", detail));
                }
                Some(_) => {}
            }
            let place = (epoch, report.hub.clone());
            let known = target.authenticators.entry(place.clone()).or_insert_with(|| authenticator.clone());
            if *known != authenticator {
                found.push(("I4", format!("person {person} is in a fork of epoch {epoch} of group {group}")));
            }
            if target.follows_void(person, &place) {
                let detail = format!("device {person} follows a successor of group {group} begun by who was removed");
                found.push(("I4", detail));
            }
            target.visited.entry(person).or_default().insert(place);
        }
        for (invariant, detail) in found {
            self.violated(invariant, detail);
        }
    }

    /// Whether nobody waits for anything in a group any more.
    pub(super) fn groups_rest(&self) -> bool {
        (0..self.people.len()).filter(|device| self.is_living(*device)).all(|device| self.unsettled(device) == 0)
            && (0..self.agreement.groups.len()).all(|group| self.unagreed(group).is_empty())
    }

    /// What a device still waits for. One of several may keep entries of a conversation in which it never gets a leaf, because all
    /// who could add it are gone: there only what its person wishes for counts, and what is not agreed is found otherwise.
    fn unsettled(&self, device: usize) -> usize {
        if self.has_one_device(self.owner(device)) {
            let core = self.people.get(device).and_then(|person| person.device.as_ref());
            return core.map_or(0, |core| core.unsettled());
        }
        self.open_wishes(device).len()
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
            for number in (0..self.people.len()).filter(|number| self.is_living(*number)) {
                let unsettled = self.unsettled(number);
                if unsettled > 0 {
                    let open = self.open_wishes(number);
                    let detail = format!("{unsettled} wishes, commits or joins of person {number} never end: {open:?}");
                    found.push(("L3", detail));
                }
            }
        }
        for Leaving { person, group, epoch } in &self.agreement.leaving {
            let (Some(target), Some(one)) = (self.agreement.groups.get(*group), self.people.get(*person)) else {
                continue;
            };
            let mut later = target.heads.range(epoch + 1..).flat_map(|(_, heads)| heads);
            let last = target.last(self.standing(*group));
            let alone = last.is_some_and(|head| head.state.participants.len() == 1);
            if self.is_living(*person)
                && self.is_bound(*group)
                && self.can_move(*group)
                && !alone
                && later.all(|head| head.state.has(&one.account))
            {
                found.push(("L3", format!("person {person} wished to leave group {group} and never does")));
            }
        }
        for (invariant, detail) in found {
            self.violated(invariant, detail);
        }
    }

    /// What a device wishes for and why it waits.
    fn open_wishes(&self, device: usize) -> Vec<String> {
        let core = self.people.get(device).and_then(|person| person.device.as_ref());
        let own = self.agreement.wishes.iter().filter(|((of, _), _)| *of == device);
        own.map(|((_, intent), (group, wish))| {
            let error = core.and_then(|core| core.intent_error(*intent)).map(|error| error.message);
            format!("{wish:?} of group {group}: {error:?}")
        })
        .collect()
    }

    /// What of a group is not yet as its hub has decided.
    fn unagreed(&self, group: usize) -> Vec<String> {
        let Some(target) = self.agreement.groups.get(group).filter(|_| self.is_bound(group)) else { return Vec::new() };
        let last = target.last(self.standing(group));
        let (Some(last), Some(conversation)) = (last, target.conversation) else { return Vec::new() };
        let hub = last.state.hub.to_string();
        let mut found = Vec::new();
        let one_each = self.devices.changed.is_empty();
        for account in target.people() {
            let Some(person) = self.person_of(&account) else { continue };
            for person in self.devices_of(person) {
                let Some(device) = self.people.get(person).and_then(|person| person.device.as_ref()) else { continue };
                let reports = device.conversations().unwrap_or_default();
                let report = reports.into_iter().find(|report| report.conversation == conversation);
                let member = last.state.has(&account);
                match report {
                    Some(report)
                        if member
                            && (report.over
                                || epoch::of(report.term, report.epoch) != last.epoch
                                || report.hub != hub) =>
                    {
                        let over = if report.over { ", which it takes for the last" } else { "" };
                        let (term, ours) = (report.term, report.epoch);
                        let (theirs, newest) = (last.state.term, epoch::mls(last.epoch));
                        found.push(format!(
                            "person {person} is in epoch {ours} of term {term}{over}, the hub in {newest} of {theirs}"
                        ));
                    }
                    Some(report) if member && !is_membership(&report, &last.state.participants, one_each) => {
                        found.push(format!("person {person} sees other people than the hub"));
                    }
                    None if member => found.push(format!("person {person} takes part and does not know it")),
                    // Who was added on a branch that does not stand is out, and not told so.
                    Some(report) if !member && !report.over && !target.is_forked() => {
                        found.push(format!("person {person} was removed and does not know it"));
                    }
                    _ => {}
                }
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

impl Group {
    /// Whether a device that is at a place knows that the succession of this branch was begun by who was no admin any more.
    fn follows_void(&self, device: usize, (epoch, hub): &(u64, String)) -> bool {
        let Some(head) = self.head_at(*epoch, hub) else { return false };
        let Some(fork) = self.root_of(head).and_then(|root| self.forks.get(&root)) else { return false };
        let was = self.visited.get(&device).into_iter().flatten();
        was.filter_map(|(epoch, hub)| self.head_at(*epoch, hub)).any(|head| {
            head.epoch > fork.from.epoch
                && head.state.term == fork.from.state.term
                && self.root_of(head) == self.root_of(&fork.from)
                && head.state.role(&fork.author) != Some(Role::Admin)
        })
    }
}

fn count_missing(before: &[Participant], after: &ConversationHead) -> u64 {
    before.iter().filter(|one| !after.state.has(&one.account)).count() as u64
}

/// `one_each`: nobody has ever changed its devices.
fn is_membership(report: &ConversationReport, participants: &[Participant], one_each: bool) -> bool {
    let shown = report.participants.iter().map(|one| (one.account, one.role));
    let devices = report.participants.iter().all(|one| one.devices == 1 || !one_each);
    shown.eq(participants.iter().map(|one| (one.account, one.role))) && devices
}
