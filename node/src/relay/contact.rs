//! Keeping in touch: nodes with which something was exchanged are greeted now and then, whatever else there is to say.
//!
//! A home that lost its store has nothing to send, and who writes to nobody there never hears of it: what its people had not
//! read would stay at nodes that believe it in custody. A `Hello` tells either side the other's new life.

use super::requests::Pending;
use super::{Relay, Step, rows};
use crate::store::{Read as _, StoreError};
use roost_crypto::ids::NodeId;
use roost_protocol::ids::Incarnation;
use roost_protocol::limits;
use roost_protocol::peer::NodeRequest;
use std::collections::{BTreeMap, BTreeSet};

/// In the row of a node that is to be met for the first time: no store has this life.
const NEVER_MET: Incarnation = Incarnation([0; 16]);
/// Greetings of one batch; the others have their turn in the next.
const GREETINGS_OF_BATCH: usize = 32;
/// How long an answer may take: until then nobody is greeted again, milliseconds.
const ANSWER_MS: u64 = 5_000;
/// Pause while this node cannot say who it is, milliseconds.
const STARTING_MS: u64 = 1_000;

/// Whom to greet, and when.
#[derive(Default)]
pub(super) struct Contacts {
    is_loaded: bool,
    queue: BTreeSet<(u64, NodeId)>,
    known: BTreeMap<NodeId, Contact>,
}

struct Contact {
    at_ms: u64,
    silences: u32,
}

impl Contacts {
    pub(super) fn wake_at(&self) -> Option<u64> {
        self.queue.first().map(|(at, _)| *at)
    }

    fn plan(&mut self, node: NodeId, at_ms: u64, silences: u32) {
        if let Some(before) = self.known.insert(node, Contact { at_ms, silences }) {
            self.queue.remove(&(before.at_ms, node));
        }
        self.queue.insert((at_ms, node));
    }

    /// A node that matters from now on, and was met just now.
    pub(super) fn met(&mut self, node: NodeId, now_ms: u64) {
        if !self.known.contains_key(&node) {
            self.plan(node, now_ms.saturating_add(pause(&node)), 0);
        }
    }

    /// The clock was set back: nobody shall be greeted only when the time has come round again.
    pub(super) fn clock_set_back(&mut self, now_ms: u64) {
        let nodes: Vec<NodeId> = self.known.keys().copied().collect();
        for node in nodes {
            self.plan(node, now_ms.saturating_add(pause(&node)), 0);
        }
    }
}

/// Between three and five quarters of the usual pause, the same for a node every time: not all are greeted at once.
fn pause(node: &NodeId) -> u64 {
    let salt = node.public_key().as_bytes().iter().fold(0_u64, |salt, byte| salt.wrapping_mul(31) + u64::from(*byte));
    limits::CONTACT_MS * 3 / 4 + salt % (limits::CONTACT_MS / 2)
}

impl Relay {
    /// A node that may hold something for accounts of ours, or of ours for its own, without having met this life of our store.
    pub(super) fn must_meet(&mut self, step: &mut Step<'_, '_>, node: NodeId) -> Result<(), StoreError> {
        let row = rows::peer_life(&node);
        if node != self.node && step.rows.get(&row)?.is_none() {
            rows::put(step.rows, row, &self.strangers.remove(&node).unwrap_or(NEVER_MET));
            self.contacts.plan(node, step.now_ms, 0);
        }
        Ok(())
    }

    /// Greets whom it is time for.
    pub(super) fn keep_in_touch(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        if !self.contacts.is_loaded {
            self.load_contacts(step)?;
        }
        for _ in 0..GREETINGS_OF_BATCH {
            let Some((_, node)) = self.contacts.queue.first().filter(|(at, _)| *at <= step.now_ms).copied() else {
                break;
            };
            let Ok(hello) = self.own_hello() else {
                self.contacts.plan(node, step.now_ms + STARTING_MS, 0);
                continue;
            };
            // Until it has answered it counts as silent.
            let silences = self.contacts.known.get(&node).map_or(0, |contact| contact.silences);
            let back_off = limits::RETRY_DELAY_MS_MIN.saturating_mul(1 << silences.min(16));
            let at_ms = step.now_ms.saturating_add(back_off.max(ANSWER_MS).min(pause(&node)));
            self.contacts.plan(node, at_ms, silences.saturating_add(1));
            self.ask(Pending::Greeting(node), node, NodeRequest::Hello(hello));
        }
        Ok(())
    }

    /// A node has heard who we are.
    pub(super) fn greeted(&mut self, node: NodeId, now_ms: u64) {
        self.contacts.plan(node, now_ms.saturating_add(pause(&node)), 0);
    }

    fn load_contacts(&mut self, step: &Step<'_, '_>) -> Result<(), StoreError> {
        let prefix = [rows::PEER_LIFE];
        for (key, value) in step.rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            let life: Incarnation = rows::decode(&key, &value)?;
            let Some(node) = rows::parse_peer_life(&key) else { continue };
            let first = if life == NEVER_MET { 0 } else { pause(&node) };
            self.contacts.plan(node, step.now_ms.saturating_add(first), 0);
        }
        self.contacts.is_loaded = true;
        Ok(())
    }
}
