//! What must hold: the ledger of what people wrote and saw, and checks at the moments at which a promise is made.
//!
//! I1 accepted is not lost. I2 nothing is shown or admitted twice. I3 a sender's messages are shown in order. I6 nothing
//! reaches, or is shown to, whom it is not for; nothing is forged. I8 bounds. I9 no panic, no failure. L1 everything is
//! shown in the end. L2 queues drain.

use super::world::World;
use roost_client::core::message::{ReceivedMessage, State};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_node::relay::{ConnectionId, audit};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{FeedId, MessageId};
use roost_protocol::limits;
use roost_protocol::peer::NodeResponse;
use roost_protocol::socket::ServerFrame;
use serde::Serialize;
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

/// A message of a person.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub from: usize,
    pub to: usize,
    handle: Handle,
    text: String,
    /// Once it is durable in the outbox of its device.
    pub id: Option<MessageId>,
    /// Its place in the order of writing.
    order: usize,
    pub accepted: bool,
    /// The sender's device does not keep it any more.
    dropped: bool,
    refused: Option<String>,
    pub shown: u32,
    /// A disk was lost that was the only one to hold it: promised to nobody.
    excused: bool,
}

/// What was written and shown.
#[derive(Default)]
pub(super) struct Ledger {
    pub messages: Vec<Message>,
    by_id: BTreeMap<MessageId, usize>,
    /// Last message shown of each sender to each reader.
    order: BTreeMap<(usize, usize), usize>,
    /// Messages written so far.
    written: usize,
    /// Position at which each message was admitted, by feed.
    admitted: BTreeMap<(FeedId, MessageId), u64>,
    /// Nodes whose store was lost.
    pub emptied: BTreeSet<usize>,
}

impl Ledger {
    pub fn plan(&mut self, from: usize, to: usize, handle: Handle) -> usize {
        let number = self.messages.len();
        self.messages.push(Message {
            from,
            to,
            handle,
            text: format!("message {number} from {from} to {to}"),
            id: None,
            order: 0,
            accepted: false,
            dropped: false,
            refused: None,
            shown: 0,
            excused: false,
        });
        number
    }

    pub fn wanted(&self, number: usize) -> Option<(Handle, String)> {
        self.messages.get(number).map(|message| (message.handle.clone(), message.text.clone()))
    }

    pub fn written(&mut self, number: usize, id: MessageId) {
        if let Some(message) = self.messages.get_mut(number) {
            self.written += 1;
            message.id = Some(id);
            message.order = self.written;
            self.by_id.insert(id, number);
        }
    }

    fn get_mut(&mut self, id: &MessageId) -> Option<&mut Message> {
        self.by_id.get(id).and_then(|number| self.messages.get_mut(*number))
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

    /// Whether a liar is the home of one of the two: then messages may be withheld.
    fn is_tainted(&self, from: usize, to: usize) -> bool {
        [from, to].iter().any(|person| {
            let home = self.people.get(*person).map(|person| person.home);
            home.and_then(|home| self.nodes.get(home)).is_some_and(|node| node.lie.is_some())
        })
    }

    /// A message is on the screen of a person, and marked so on disk.
    pub(super) fn shown(&mut self, person: usize, message: &ReceivedMessage) {
        let Some(number) = self.ledger.by_id.get(&message.id).copied() else {
            return self.violated("I6", format!("person {person} is shown a message that nobody wrote"));
        };
        let Some(entry) = self.ledger.messages.get_mut(number) else { return };
        entry.shown += 1;
        let (from, to, shown, order) = (entry.from, entry.to, entry.shown, entry.order);
        let author_fits = self.people.get(from).is_some_and(|author| {
            author.device_id == message.device
                && (message.from == author.handle.to_string() || message.from == author.account.to_string())
        });
        let text_fits = self.ledger.messages.get(number).is_some_and(|entry| entry.text == message.text);
        if to != person {
            self.violated("I6", format!("message {number} is for person {to} and shown to person {person}"));
        }
        if !author_fits || !text_fits {
            self.violated("I6", format!("message {number} is shown with another author or text"));
        }
        if shown > 1 {
            self.violated("I2", format!("message {number} is shown {shown} times to person {person}"));
        }
        let last = self.ledger.order.insert((from, to), order);
        if last.is_some_and(|last| last > order) && !self.is_tainted(from, to) {
            self.violated("I3", format!("message {number} of person {from} is shown after a later one"));
        }
    }

    /// A frame leaves an honest node: what it says must be durable there.
    pub(super) fn check_frame(&mut self, node: usize, connection: ConnectionId, frame: &ServerFrame) {
        let Some(target) = self.nodes.get(node).filter(|target| target.lie.is_none()) else { return };
        match frame {
            ServerFrame::Accepted { feed, seq, .. } => match audit::message_at(&target.disk.durable, feed, *seq) {
                Ok(Some(message)) => {
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
            },
            ServerFrame::Entry { inbox: Some(position), .. } => {
                let _ = (connection, position);
            }
            _ => {}
        }
    }

    /// An answer leaves an honest node: custody must be durable there.
    pub(super) fn check_answer(&mut self, node: usize, what: &NodeResponse) {
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

    /// A frame reaches a device: an entry must be for its account.
    pub(super) fn check_heard(&mut self, person: usize, frame: &ServerFrame) {
        let ServerFrame::Entry { entry, .. } = frame else { return };
        let Some(number) = self.ledger.by_id.get(&entry.header.message) else { return };
        let Some(message) = self.ledger.messages.get(*number) else { return };
        if message.to != person && message.from != person {
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
        let homes: Vec<usize> = self.people.iter().map(|person| person.home).collect();
        for message in &mut self.ledger.messages {
            let lost = |person: usize| homes.get(person).is_some_and(|home| self.ledger.emptied.contains(home));
            if message.dropped && message.shown == 0 && lost(message.from) && lost(message.to) {
                message.excused = true;
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
            let Some(id) = message.id.filter(|_| message.accepted && message.shown == 0 && !message.excused) else {
                continue;
            };
            let device = self.people.get(message.from).and_then(|person| person.device.as_ref());
            // A device that is not running keeps what its disk holds; it is looked at when it runs.
            let in_outbox = device.is_none_or(|device| {
                matches!(device.report(&id), Ok(Some(report)) if matches!(report.state, State::Queued | State::Accepted))
            });
            if !in_outbox && !held.contains_key(&id) && !self.is_tainted(message.from, message.to) {
                lost.push(number);
            }
        }
        for number in lost {
            self.violated("I1", format!("after {after} message {number} is nowhere"));
        }
    }

    /// Whether everybody has seen everything and nothing waits.
    pub(super) fn is_at_rest(&self) -> bool {
        let all_shown = self.ledger.messages.iter().all(|message| {
            message.id.is_none()
                || message.shown > 0
                || message.excused
                || message.refused.is_some()
                || self.is_tainted(message.from, message.to)
        });
        let lies = self.nodes.iter().any(|node| node.lie.is_some());
        all_shown
            && self.nodes.iter().all(|node| {
                lies || node.queue.is_empty()
                    && node.relay.as_ref().is_some_and(|relay| {
                        let backlog = relay.backlog();
                        backlog.pending == 0 && backlog.deliveries == 0
                    })
            })
            && self.people.iter().all(|person| person.device.as_ref().is_some_and(|device| device.status().outbox == 0))
    }

    /// At the end: everything was shown, nothing waits, nothing is held that should not be.
    pub(super) fn check_end(&mut self) {
        let mut found = Vec::new();
        for (number, message) in self.ledger.messages.iter().enumerate() {
            if message.id.is_none() || message.excused || self.is_tainted(message.from, message.to) {
                continue;
            }
            let (from, to) = (message.from, message.to);
            match &message.refused {
                Some(why) => found.push(("L1", format!("message {number} of {from} to {to} is refused: {why}"))),
                None if message.shown == 0 => {
                    let state = self
                        .people
                        .get(from)
                        .and_then(|person| person.device.as_ref())
                        .and_then(|device| device.report(&message.id?).ok().flatten())
                        .map(|report| format!("{:?} {:?}", report.state, report.error.map(|error| error.message)));
                    let state = state.unwrap_or_default();
                    found.push(("L1", format!("message {number} of {from} to {to} is never shown: {state}")));
                }
                None => {}
            }
        }
        let lies = self.nodes.iter().any(|node| node.lie.is_some());
        let written = self.ledger.messages.len();
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
        for (invariant, detail) in found {
            self.violated(invariant, detail);
        }
    }
}
