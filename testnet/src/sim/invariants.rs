//! What must hold: the ledger of what people wrote and saw, and checks at the moments at which a promise is made.
//!
//! I1 accepted is not lost. I2 nothing is shown or admitted twice. I3 a sender's messages are shown in order. I6 nothing
//! reaches, or is shown to, whom it is not for; nothing is forged. I8 bounds. I9 no panic, no failure. L1 everything is
//! shown in the end. L2 queues drain.

use super::world::World;
use roost_client::core::message::{ReceivedMessage, State};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_node::relay::{ConnectionId, audit};
use roost_protocol::feed::EntryHeader;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{FeedId, MessageId};
use roost_protocol::limits;
use roost_protocol::peer::{Held, NodeResponse};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use serde::Serialize;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Violations after which a run ends: the first ones tell enough.
pub(super) const VIOLATIONS_MAX: usize = 4;
/// Outputs of one batch: a window for each device, and what 256 inputs cause.
const OUTPUTS_MAX: usize = 8192;
/// Rows a message may cost on a node, and what a node holds anyhow.
const ROWS_PER_MESSAGE: usize = 24;
const ROWS_BASE: usize = 3_000;
/// Requests of a relay without an answer.
const PENDING_MAX: usize = 1024;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub invariant: String,
    /// After how many steps.
    pub step: u64,
    /// What was seen.
    pub detail: String,
    /// The command that repeats it.
    pub repeat: String,
}

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum To {
    Person(usize),
    /// Whoever takes part in the epochs in which it is sealed.
    Group(usize),
}

impl std::fmt::Display for To {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Person(person) => write!(formatter, "{person}"),
            Self::Group(group) => write!(formatter, "group {group}"),
        }
    }
}

/// What a device is told to send to.
pub(super) enum Wanted {
    Person(Handle),
    Group(usize),
}

/// A message of a person.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub from: usize,
    pub to: To,
    handle: Option<Handle>,
    text: String,
    /// Epochs in which nodes have admitted it: one, unless a store was lost. Of a group only.
    pub epochs: BTreeSet<u64>,
    /// Once it is durable in the outbox of its device.
    pub id: Option<MessageId>,
    /// Its place in the order of writing.
    order: usize,
    pub accepted: bool,
    /// The sender's device does not keep it any more.
    dropped: bool,
    refused: Option<String>,
    /// The device that it was written on.
    by: Option<usize>,
    /// Devices with a leaf in each epoch in which its device has sealed it, and in any of them. Where devices change only.
    leaves: Option<(BTreeSet<DeviceId>, BTreeSet<DeviceId>)>,
    /// How often, by the device of the reader.
    pub shown: BTreeMap<usize, u32>,
    /// A disk was lost that was the only one to hold it for these readers: promised to them no more.
    excused: BTreeSet<usize>,
}

/// What was written and shown.
#[derive(Default)]
pub(super) struct Ledger {
    pub messages: Vec<Message>,
    by_id: BTreeMap<MessageId, usize>,
    /// Last message shown of each sender to each reader, in each conversation.
    order: BTreeMap<(usize, usize, To), usize>,
    /// Messages written so far.
    written: usize,
    /// Position at which each message was admitted, by feed.
    admitted: BTreeMap<(FeedId, MessageId), u64>,
    /// Messages that a device said it cannot show.
    pub gaps: BTreeSet<(usize, MessageId)>,
    /// Nodes whose store was lost.
    pub emptied: BTreeSet<usize>,
    /// What somebody was told as missing: it is shown when its author has given it again, and stands where it belongs.
    missed: BTreeSet<(usize, MessageId)>,
    /// All messages before this one were seen by everybody, when that was last looked at.
    seen_up_to: Cell<usize>,
}

impl Ledger {
    /// `handle` is the name of a person that a message is for.
    pub fn plan(&mut self, from: usize, to: To, handle: Option<Handle>) -> usize {
        let number = self.messages.len();
        self.messages.push(Message {
            from,
            to,
            handle,
            text: format!("message {number} from {from} to {to}"),
            epochs: BTreeSet::new(),
            id: None,
            order: 0,
            accepted: false,
            dropped: false,
            refused: None,
            by: None,
            leaves: None,
            shown: BTreeMap::new(),
            excused: BTreeSet::new(),
        });
        number
    }

    pub fn wanted(&self, number: usize) -> Option<(Wanted, String)> {
        let message = self.messages.get(number)?;
        let to = match message.to {
            To::Person(_) => Wanted::Person(message.handle.clone()?),
            To::Group(group) => Wanted::Group(group),
        };
        Some((to, message.text.clone()))
    }

    pub fn written(&mut self, number: usize, by: usize, id: MessageId) {
        if let Some(message) = self.messages.get_mut(number) {
            self.written += 1;
            message.id = Some(id);
            message.by = Some(by);
            message.order = self.written;
            self.by_id.insert(id, number);
        }
    }

    fn get_mut(&mut self, id: &MessageId) -> Option<&mut Message> {
        self.by_id.get(id).and_then(|number| self.messages.get_mut(*number))
    }

    /// A device submits a message that these devices can open.
    pub fn sealed_for(&mut self, id: &MessageId, devices: &BTreeSet<DeviceId>) {
        if let Some(message) = self.get_mut(id) {
            let (in_all, in_any) = message.leaves.get_or_insert_with(|| (devices.clone(), BTreeSet::new()));
            in_all.retain(|device| devices.contains(device));
            in_any.extend(devices);
        }
    }

    /// A node has admitted a message of a group in an epoch.
    pub fn admitted_in(&mut self, id: &MessageId, epoch: u64) {
        if let Some(message) = self.get_mut(id).filter(|message| matches!(message.to, To::Group(_))) {
            message.epochs.insert(epoch);
        }
    }

    pub fn accepted(&mut self, id: &MessageId) {
        if let Some(message) = self.get_mut(id) {
            message.accepted = true;
        }
    }

    pub fn dropped_by_device(&mut self, id: &MessageId) {
        if let Some(message) = self.get_mut(id) {
            message.dropped = true;
        }
    }

    pub fn missed(&mut self, person: usize, id: MessageId) {
        self.missed.insert((person, id));
    }

    pub fn refused(&mut self, id: &MessageId, why: String) {
        if let Some(message) = self.get_mut(id) {
            message.refused = Some(why);
        }
    }
}

impl World {
    /// Notes a broken promise.
    pub(super) fn violated(&mut self, invariant: &str, detail: String) {
        let step = self.trace.steps();
        self.trace.step(self.now, format_args!("VIOLATED {invariant}: {detail}"));
        if self.violations.len() < VIOLATIONS_MAX {
            let repeat = self.options.repeat(self.seed);
            self.violations.push(Violation { invariant: invariant.to_owned(), step, detail, repeat });
        }
    }

    /// Whether a liar is the home of one of those concerned: then messages may be withheld.
    fn is_tainted(&self, from: usize, to: To) -> bool {
        let is_at_liar = |person: usize| {
            let home = self.people.get(person).map(|person| person.home);
            home.and_then(|home| self.nodes.get(home)).is_some_and(|node| node.lie.is_some())
        };
        match to {
            To::Person(to) => is_at_liar(from) || is_at_liar(to),
            To::Group(group) => is_at_liar(from) || self.is_tainted_group(group),
        }
    }

    /// The devices that are to see a message and did not yet.
    fn lacking(&self, message: &Message) -> Vec<usize> {
        let people = match message.to {
            To::Person(to) => vec![to],
            To::Group(group) => self.readers(group, &message.epochs, message.from),
        };
        let mut readers =
            people.into_iter().flat_map(|person| self.reading_devices(message, person)).collect::<Vec<_>>();
        readers.retain(|reader| !message.shown.contains_key(reader) && !message.excused.contains(reader));
        // What was said on a branch that does not stand may be a gap, but a shown one.
        if matches!(message.to, To::Group(group) if self.is_forked(group))
            && let Some(id) = message.id
        {
            readers.retain(|reader| !self.ledger.gaps.contains(&(*reader, id)));
        }
        readers
    }

    /// The devices of a person that are to see a message themselves; the archive brings it to the others.
    fn reading_devices(&self, message: &Message, person: usize) -> Vec<usize> {
        if self.has_one_device(person) {
            return vec![person];
        }
        // Not sealed yet: somebody is to see it.
        let Some((in_all, _)) = &message.leaves else {
            let seen = message.shown.keys().any(|device| self.owner(*device) == person);
            return if seen { Vec::new() } else { vec![person] };
        };
        let has_leaf = |device: &usize| self.people.get(*device).is_some_and(|one| in_all.contains(&one.device_id));
        self.devices_of(person).into_iter().filter(has_leaf).collect()
    }

    /// What is submitted was sealed for the devices that its author has in the group now, if it is in that epoch still.
    pub(super) fn note_sealed(&mut self, person: usize, frame: &ClientFrame) {
        let ClientFrame::Submit { group, epoch, message, .. } = frame else { return };
        if self.scenario.device_changes == 0 || self.ledger.get_mut(message).is_none() {
            return;
        }
        let device = self.people.get(person).and_then(|person| person.device.as_ref());
        let reports = device.and_then(|device| device.leaves().ok()).unwrap_or_default();
        if let Some(report) = reports.into_iter().find(|report| report.group == *group && report.epoch == *epoch) {
            self.ledger.sealed_for(message, &report.devices);
        }
    }

    /// Whether the device that a message was written on is one no more.
    fn is_author_gone(&self, message: &Message) -> bool {
        message.by.is_some_and(|by| !self.is_living(by))
    }

    /// Whether a message is promised to be shown: a liar withholds what it will, a hub without its store decides nothing.
    fn is_promised(&self, message: &Message) -> bool {
        let sealed = matches!(message.to, To::Group(group)
            if self.is_sealed(group) || !self.is_on_standing_branch(group, message.from));
        // What has not left a device is gone with it.
        message.id.is_some()
            && (message.accepted || !self.is_author_gone(message))
            && !sealed
            && !self.is_tainted(message.from, message.to)
    }

    /// A message is on the screen of a person, and marked so on disk.
    pub(super) fn shown(&mut self, person: usize, message: &ReceivedMessage) {
        let Some(number) = self.ledger.by_id.get(&message.id).copied() else {
            return self.violated("I6", format!("person {person} is shown a message that nobody wrote"));
        };
        let Some(entry) = self.ledger.messages.get_mut(number) else { return };
        let shown = entry.shown.entry(person).or_default();
        *shown += 1;
        let (from, to, shown, order) = (entry.from, entry.to, *shown, entry.order);
        let by = entry.by.unwrap_or(from);
        let can_open = entry.leaves.as_ref().map(|(_, in_any)| in_any.clone());
        let author_fits = self.people.get(by).is_some_and(|author| {
            author.device_id == message.device
                && (message.from == author.handle.to_string() || message.from == author.account.to_string())
        });
        let text_fits = self.ledger.messages.get(number).is_some_and(|entry| entry.text == message.text);
        let reader = self.owner(person);
        let id = self.people.get(person).map(|one| one.device_id);
        // What was missed is given again by its author, to whoever's account took part.
        let is_given = self.ledger.missed.contains(&(person, message.id));
        let has_no_leaf = can_open.zip(id).is_some_and(|(devices, id)| !devices.contains(&id));
        if has_no_leaf && !is_given && !self.is_tainted(from, to) {
            self.violated("I7", format!("message {number} is shown on device {person}, which had no leaf"));
        }
        match to {
            To::Person(to) if to != reader => {
                self.violated("I6", format!("message {number} is for person {to} and shown to person {person}"));
            }
            To::Group(group) => {
                let epochs = self.ledger.messages.get(number).map(|entry| entry.epochs.clone()).unwrap_or_default();
                self.counters.reach("shown_in_groups");
                if !self.may_see(group, &epochs, reader) {
                    let detail = format!("message {number} of epochs {epochs:?} of group {group} is shown to {person}");
                    self.violated("I7", detail);
                }
            }
            To::Person(_) => {}
        }
        if !author_fits || !text_fits {
            self.violated("I6", format!("message {number} is shown with another author or text"));
        }
        if shown > 1 {
            self.violated("I2", format!("message {number} is shown {shown} times to person {person}"));
        }
        if self.ledger.missed.contains(&(person, message.id)) {
            return;
        }
        let last = self.ledger.order.insert((by, person, to), order);
        if last.is_some_and(|last| last > order) && !self.is_tainted(from, to) {
            self.violated("I3", format!("message {number} of person {from} is shown after a later one"));
        }
    }

    /// A frame leaves an honest node: what it says must be durable there.
    pub(super) fn check_frame(&mut self, node: usize, connection: ConnectionId, frame: &ServerFrame) {
        match frame {
            ServerFrame::Entry { entry, .. } => {
                let account = self.person_at(connection).and_then(|person| self.people.get(person));
                let accounts: Vec<AccountId> = account.map(|person| person.account).into_iter().collect();
                self.check_entry_leaves(node, entry, &accounts);
            }
            ServerFrame::Committed { head, .. } | ServerFrame::Created { head, .. } => self.check_signed_head(head),
            _ => {}
        }
        let Some(target) = self.nodes.get(node).filter(|target| target.lie.is_none()) else { return };
        if let ServerFrame::Accepted { feed, seq, .. } = frame {
            match audit::header_at(&target.disk.durable, feed, *seq) {
                Ok(Some(EntryHeader { message, epoch, .. })) => {
                    self.ledger.admitted_in(&message, epoch);
                    let before = *self.ledger.admitted.entry((*feed, message)).or_insert(*seq);
                    if before != *seq {
                        let detail = format!("node {node} admitted one message at {before} and at {seq}");
                        self.violated("I2", detail);
                    }
                }
                Ok(None) => {
                    self.violated("I1", format!("node {node} accepts what is not on its disk"));
                }
                Err(error) => self.violated("I9", format!("node {node}: {error}")),
            }
        }
    }

    /// An answer leaves an honest node: custody must be durable there.
    pub(super) fn check_answer(&mut self, node: usize, what: &NodeResponse) {
        if let NodeResponse::Committed(head) | NodeResponse::Created { head, .. } = what {
            self.check_signed_head(head);
        }
        if let NodeResponse::KeyPackages { packages, .. } = what {
            self.note_key_packages(node, packages, "last_resorts_told");
        }
        let Some(target) = self.nodes.get(node).filter(|target| target.lie.is_none()) else { return };
        let NodeResponse::Custody(custodies) = what else { return };
        let mut short = None;
        for custody in custodies {
            match audit::held(&target.disk.durable, &custody.account, &custody.feed) {
                Ok(held) if held >= custody.seq => {}
                Ok(held) => short = Some(format!("node {node} gives custody up to {}, holds {held}", custody.seq)),
                Err(error) => short = Some(format!("node {node}: {error}")),
            }
        }
        self.counters.reach("custodies");
        if let Some(detail) = short {
            self.violated("I1", detail);
        }
    }

    /// A node says custody of what it heard by gossip: it must hold it.
    pub(super) fn check_held(&mut self, node: usize, held: &Held) {
        let Some(target) = self.nodes.get(node).filter(|target| target.lie.is_none()) else { return };
        let mut short = None;
        for account in &held.accounts {
            match audit::held(&target.disk.durable, account, &held.feed) {
                Ok(up_to) if up_to >= held.seq => {}
                Ok(up_to) => short = Some(format!("node {node} says custody up to {}, holds {up_to}", held.seq)),
                Err(error) => short = Some(format!("node {node}: {error}")),
            }
        }
        self.counters.reach("gossip_custodies");
        if let Some(detail) = short {
            self.violated("I1", detail);
        }
    }

    /// A frame reaches a device: an entry must be for its account.
    pub(super) fn check_heard(&mut self, person: usize, frame: &ServerFrame) {
        let ServerFrame::Entry { entry, .. } = frame else { return };
        let Some(number) = self.ledger.by_id.get(&entry.header.message) else { return };
        let Some(message) = self.ledger.messages.get(*number) else { return };
        let reader = self.owner(person);
        if matches!(message.to, To::Person(to) if to != reader) && message.from != reader {
            self.violated("I6", format!("message {number} reaches person {person}, who takes no part"));
        }
    }

    /// Bounds, after every batch of a node.
    pub(super) fn check_bounds(&mut self, node: usize, outputs: usize) {
        let pending = self.nodes.get(node).and_then(|target| target.relay.as_ref()).map(|relay| relay.backlog());
        if outputs > OUTPUTS_MAX {
            self.violated("I8", format!("one batch of node {node} has {outputs} outputs, at most {OUTPUTS_MAX}"));
        }
        if let Some(backlog) = pending.filter(|backlog| backlog.pending > PENDING_MAX) {
            self.violated("I8", format!("node {node} awaits {} answers, at most {PENDING_MAX}", backlog.pending));
        }
    }

    /// A store was lost: what only it held, by our own rules, is promised to nobody any more.
    pub(super) fn store_was_lost(&mut self, node: usize) {
        self.ledger.emptied.insert(node);
        let lost =
            |person: usize| self.people.get(person).is_some_and(|person| self.ledger.emptied.contains(&person.home));
        let excused: Vec<(usize, Vec<usize>)> = self
            .ledger
            .messages
            .iter()
            .enumerate()
            .filter(|(_, message)| (message.dropped || self.is_author_gone(message)) && lost(message.from))
            .map(|(number, message)| (number, self.lacking(message).into_iter().filter(|to| lost(*to)).collect()))
            .collect();
        for (number, readers) in excused {
            if let Some(message) = self.ledger.messages.get_mut(number) {
                message.excused.extend(readers);
            }
        }
    }

    /// A device was lost: what only it still held is promised to nobody any more.
    pub(super) fn device_was_lost(&mut self, device: usize) {
        let home = self.people.get(device).map_or(0, |person| person.home);
        if !self.ledger.emptied.contains(&home) {
            return;
        }
        let kept = |message: &Message| message.by == Some(device) && !message.dropped;
        let excused: Vec<(usize, Vec<usize>)> = (self.ledger.messages.iter().enumerate())
            .filter(|(_, message)| kept(message))
            .map(|(number, message)| (number, self.lacking(message)))
            .collect();
        for (number, readers) in excused {
            if let Some(message) = self.ledger.messages.get_mut(number) {
                message.excused.extend(readers);
            }
        }
    }

    /// After a loss: every accepted message that was not shown is still somewhere.
    pub(super) fn check_kept(&mut self, after: &str) {
        let mut held: BTreeMap<MessageId, (AccountId, DeviceId)> = BTreeMap::new();
        for node in &self.nodes {
            if let Ok(audit) = audit::audit(&node.disk.durable) {
                held.extend(audit.messages);
            }
        }
        let mut lost = Vec::new();
        for (number, message) in self.ledger.messages.iter().enumerate() {
            let promised = message.accepted && self.is_promised(message) && !self.lacking(message).is_empty();
            let Some(id) = message.id.filter(|_| promised) else { continue };
            let by = message.by.unwrap_or(message.from);
            let device = self.people.get(by).and_then(|person| person.device.as_ref());
            // A device that is not running keeps what its disk holds; it is looked at when it runs.
            let in_outbox = self.is_living(by)
                && device.is_none_or(|device| {
                    matches!(device.report(&id), Ok(Some(report)) if matches!(report.state, State::Queued | State::Accepted))
                });
            if !in_outbox && !held.contains_key(&id) {
                lost.push(number);
            }
        }
        for number in lost {
            self.violated("I1", format!("after {after} message {number} is nowhere"));
        }
    }

    /// Whether everybody has seen everything and nothing waits.
    pub(super) fn is_at_rest(&self) -> bool {
        // It is looked at with each step: what was seen once is not looked at again before the end.
        let seen = self.ledger.seen_up_to.get();
        let settled = |message: &&Message| {
            !self.is_promised(message) || message.refused.is_some() || self.lacking(message).is_empty()
        };
        let seen = seen + self.ledger.messages.iter().skip(seen).take_while(settled).count();
        self.ledger.seen_up_to.set(seen);
        let all_shown = seen == self.ledger.messages.len();
        let lies = self.nodes.iter().any(|node| node.lie.is_some()) || !self.all_groups_bound();
        all_shown
            && self.nodes.iter().all(|node| {
                lies || node.queue.is_empty()
                    && node.relay.as_ref().is_some_and(|relay| {
                        let backlog = relay.backlog();
                        backlog.pending == 0 && backlog.deliveries == 0
                    })
            })
            && self
                .people
                .iter()
                .enumerate()
                .filter(|(number, _)| self.is_living(*number))
                .all(|(_, person)| person.device.as_ref().is_some_and(|device| device.status().outbox == 0))
            && self.groups_rest()
            && self.devices_rest()
    }

    /// At the end: everything was shown, nothing waits, nothing is held that should not be.
    pub(super) fn check_end(&mut self) {
        let mut found = Vec::new();
        for (number, message) in self.ledger.messages.iter().enumerate() {
            if !self.is_promised(message) {
                continue;
            }
            let (from, to) = (message.from, message.to);
            let lacking = self.lacking(message);
            let never = matches!(to, To::Group(_)) && message.epochs.is_empty();
            match &message.refused {
                // Whoever takes part no more is told so, of what no node had admitted.
                Some(_) if never => {}
                Some(why) => found.push(("L1", format!("message {number} of {from} to {to} is refused: {why}"))),
                None if never || !lacking.is_empty() => {
                    let state = self
                        .people
                        .get(message.by.unwrap_or(from))
                        .and_then(|person| person.device.as_ref())
                        .and_then(|device| device.report(&message.id?).ok().flatten())
                        .map(|report| format!("{:?} {:?}", report.state, report.error.map(|error| error.message)));
                    let state = state.unwrap_or_default();
                    let detail = format!("message {number} of {from} to {to} is never shown to {lacking:?}: {state}");
                    found.push(("L1", detail));
                }
                None => {}
            }
        }
        let lies = self.nodes.iter().any(|node| node.lie.is_some()) || !self.all_groups_bound();
        // What is said in a group is said to each of its members.
        let of_groups = self.ledger.messages.iter().filter(|message| matches!(message.to, To::Group(_))).count();
        let changes = self.scenario.changes * 4 + self.scenario.device_changes * 8;
        let written = self.ledger.messages.len() + (of_groups + changes) * self.people.len();
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.lie.is_none()) {
            let audit = match audit::audit(&node.disk.durable) {
                Ok(audit) => audit,
                Err(error) => {
                    found.push(("I9", format!("node {index}: {error}")));
                    continue;
                }
            };
            for (what, count) in [
                ("conversations whose head nobody signed", audit.unsigned_heads),
                ("entries of an epoch that it does not know", audit.unknown_epochs),
                ("entries that break their feed's chain", audit.broken_entries),
            ] {
                if count > 0 {
                    found.push(("I6", format!("node {index} holds {count} {what}")));
                }
            }
            // Each text causes a receipt, and a lost store has everything sent again.
            let rows_max = ROWS_BASE + written * ROWS_PER_MESSAGE;
            if audit.rows > rows_max {
                found.push(("I8", format!("node {index} holds {} rows, at most {rows_max}", audit.rows)));
            }
            if audit.unread as u64 > limits::INBOX_ENTRIES_MAX {
                found.push(("I8", format!("an inbox of node {index} is over its bound")));
            }
            if !lies && audit.undelivered > 0 {
                found.push(("L2", format!("{} entries of node {index} have no custody", audit.undelivered)));
            }
            let backlog = node.relay.as_ref().map(|relay| relay.backlog());
            if !lies && backlog.is_some_and(|backlog| backlog.pending + backlog.deliveries > 0) {
                found.push(("L2", format!("node {index} still waits: {backlog:?}")));
            }
        }
        if !lies && self.scenario.faults.lost_stores == 0 {
            found.extend(self.warned_in_vain());
        }
        for (invariant, detail) in found {
            self.violated(invariant, detail);
        }
        self.check_groups_end();
        self.check_devices_end();
    }

    /// Where nobody lies and nothing is lost, nobody is told that something is withheld or broken.
    fn warned_in_vain(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (number, person) in self.people.iter().enumerate() {
            let warnings = person.device.as_ref().and_then(|device| device.warnings().ok()).unwrap_or_default();
            found.extend(
                warnings.iter().map(|one| ("L3", format!("person {number} is warned in vain: {:?}", one.cause))),
            );
        }
        found
    }
}
