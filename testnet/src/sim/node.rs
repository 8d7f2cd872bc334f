//! A node: the real relay, and around it a model of the driver: a batch of inputs over one overlay, a commit, then the outputs.

use super::disk::NodeDisk;
use super::links::{Body, Parcel};
use super::scenario::{Engine, Lie};
use super::schedule::{Event, Millis};
use super::world::World;
use roost_crypto::group::symbolic;
use roost_crypto::ids::{NodeId, OrgId};
use roost_crypto::keys::SecretKey;
use roost_crypto::planted;
use roost_crypto::sabotage::Sabotage;
use roost_node::relay::{Identity, InboundToken, Input, Inspector, Limits, Output, Relay};
use roost_node::store::{Batch, Overlay, Store as _};
use roost_protocol::ids::Incarnation;
use roost_protocol::limits;
use roost_protocol::peer::{NodeHello, NodeRequest};
use roost_protocol::records::{NodeAddress, OrgRecord, RecordKey, SignedOrgRecord};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// As the real driver.
const BATCH_INPUTS: usize = 256;
/// Inputs that wait: the real driver's queue holds as many.
pub(super) const QUEUE_MAX: usize = 4096;
/// As the real driver: how often the rules are woken at most.
const TICK_MS_MIN: Millis = 20;
/// As the real driver: how long rows of which nobody is told wait for a batch of which somebody is.
const UNTOLD_MS: u64 = 50;
/// As the real driver: bytes after which they wait no longer.
const UNTOLD_BYTES: usize = 4 * 1024 * 1024;

/// A node.
pub(super) struct Node {
    pub name: String,
    pub org: SecretKey,
    pub key: SecretKey,
    pub id: NodeId,
    pub disk: NodeDisk,
    /// What it holds of the directory; kept with the store.
    pub records: BTreeMap<RecordKey, Vec<u8>>,
    /// Counts starts and ends.
    pub process: u64,
    /// The rules, while the process lives.
    pub relay: Option<Relay>,
    /// Whether it takes connections.
    pub up: bool,
    pub queue: VecDeque<Input>,
    pub paused_until: Millis,
    pub skew_ms: i64,
    pub slow: bool,
    /// It dies during its next start.
    pub dies_at_start: bool,
    /// It dies while its next batch is on the way to the disk.
    pub dies_at_commit: bool,
    pub lie: Option<Lie>,
    hello: Option<NodeHello>,
    batch_planned: bool,
    syncing: bool,
    batches: u64,
    leaving: BTreeMap<u64, Vec<Output>>,
    /// Rows of which nobody was told anything, and when by the node's clock they go to the disk.
    untold: Batch,
    untold_until: Option<u64>,
    ticks: u64,
    asked: BTreeMap<InboundToken, Asker>,
    asks: InboundToken,
}

/// Who waits for an answer.
struct Asker {
    from: usize,
    connection: Option<u64>,
    request: u64,
}

/// Outputs that may leave before the batch is on disk, unless something before them on the same connection must wait: the
/// rule of the real driver. The second list is what waits.
fn split_early(outputs: Vec<Output>) -> (Vec<Output>, Vec<Output>) {
    let mut waiting = BTreeSet::new();
    outputs.into_iter().partition(|output| match output {
        Output::Early(connection, _) if !waiting.contains(connection) => true,
        Output::Send(connection, _) | Output::Early(connection, _) | Output::Close(connection) => {
            waiting.insert(*connection);
            false
        }
        Output::Judged(..) => true,
        _ => false,
    })
}

impl Node {
    pub fn new(name: String, org: SecretKey, key: SecretKey, incarnation: [u8; 16]) -> Self {
        let id = NodeId::of(key.public_key());
        Self {
            name,
            org,
            key,
            id,
            disk: NodeDisk::new(incarnation),
            records: BTreeMap::new(),
            process: 0,
            relay: None,
            up: false,
            queue: VecDeque::new(),
            paused_until: 0,
            skew_ms: 0,
            slow: false,
            dies_at_start: false,
            dies_at_commit: false,
            lie: None,
            hello: None,
            batch_planned: false,
            syncing: false,
            batches: 0,
            leaving: BTreeMap::new(),
            untold: Batch::new(),
            untold_until: None,
            ticks: 0,
            asked: BTreeMap::new(),
            asks: 0,
        }
    }

    /// Who the relay is told to be.
    pub fn identity(&self, engine: Engine, sabotage: Sabotage, wide_homes: usize) -> Identity {
        let inspector = match engine {
            Engine::Mls => Inspector::default(),
            Engine::Symbolic => Inspector {
                key_package: symbolic::inspect_key_package,
                creation: symbolic::inspect_creation,
                begin: symbolic::begin,
                judge: symbolic::judge,
                tree: symbolic::tree_of,
            },
        };
        Identity {
            org_key: SecretKey::from_seed(&self.org.seed()),
            node_key: SecretKey::from_seed(&self.key.seed()),
            name: self.name.clone(),
            open: true,
            incarnation: Incarnation(self.disk.durable.incarnation()),
            limits: Limits { wide_homes_min: wide_homes, ..Limits::TESTNET },
            push: None,
            inspector,
            sabotage,
        }
    }

    pub fn org_id(&self) -> OrgId {
        OrgId::of(&self.org.public_key())
    }

    /// The organisation's record, signed now by the node's clock, as the driver signs it.
    pub fn own_record(&self, now_ms: u64) -> SignedOrgRecord {
        let now_s = now_ms / 1000;
        let address =
            NodeAddress { node: self.id, addrs: Vec::new(), web: String::new(), region: String::new(), weight: 100 };
        let record = OrgRecord {
            root: self.org.public_key(),
            name: self.name.clone(),
            nodes: vec![address],
            seq: now_s,
            expires: now_s + limits::RECORD_LIFE_S,
        };
        SignedOrgRecord::sign(&record, &self.org, &[&self.key])
    }

    fn stop(&mut self) {
        self.process += 1;
        self.relay = None;
        self.up = false;
        self.queue.clear();
        self.asked.clear();
        self.leaving.clear();
        self.untold = Batch::new();
        self.untold_until = None;
        self.batch_planned = false;
        self.syncing = false;
        self.hello = None;
        self.paused_until = 0;
    }
}

impl World {
    pub(super) fn is_up(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.up)
    }

    pub(super) fn process_of(&self, node: usize) -> u64 {
        self.nodes.get(node).map_or(0, |node| node.process)
    }

    pub(super) fn id_of(&self, node: usize) -> NodeId {
        self.nodes.get(node).map_or_else(|| NodeId::of(SecretKey::from_seed(&[0; 32]).public_key()), |node| node.id)
    }

    pub(super) fn hello_of(&self, node: usize) -> Option<NodeHello> {
        self.nodes.get(node).and_then(|node| node.hello.clone())
    }

    /// What a node's clock shows.
    pub(super) fn node_clock(&self, node: usize) -> u64 {
        self.now.saturating_add_signed(self.nodes.get(node).map_or(0, |node| node.skew_ms))
    }

    /// Queues an input of a node.
    pub(super) fn feed(&mut self, node: usize, input: Input) {
        let Some(target) = self.nodes.get_mut(node) else { return };
        if target.relay.is_none() {
            return;
        }
        target.queue.push_back(input);
        let waiting = target.queue.len();
        self.plan_batch(node);
        if waiting > QUEUE_MAX {
            self.violated("I8", format!("{waiting} inputs wait for node {node}, at most {QUEUE_MAX}"));
        }
    }

    fn plan_batch(&mut self, node: usize) {
        let Some(target) = self.nodes.get_mut(node) else { return };
        if target.batch_planned || target.syncing || target.queue.is_empty() {
            return;
        }
        target.batch_planned = true;
        let process = target.process;
        let at = self.now.max(target.paused_until);
        self.schedule.at(at, Event::NodeBatch { node, process });
    }

    /// A peer's verified `Hello` goes to the rules; its answer leads nowhere.
    pub(super) fn announce(&mut self, node: usize, peer: usize, hello: NodeHello) {
        let id = self.id_of(peer);
        let Some(target) = self.nodes.get_mut(node) else { return };
        target.asks += 1;
        let token = target.asks;
        self.feed(node, Input::Asked { token, peer: id, request: NodeRequest::Hello(hello) });
    }

    /// Another node's request goes to the rules.
    pub(super) fn asked_by(
        &mut self,
        node: usize,
        from: usize,
        connection: Option<u64>,
        request: u64,
        what: NodeRequest,
    ) {
        let peer = self.id_of(from);
        let Some(target) = self.nodes.get_mut(node) else { return };
        target.asks += 1;
        let token = target.asks;
        target.asked.insert(token, Asker { from, connection, request });
        self.feed(node, Input::Asked { token, peer, request: what });
    }

    /// Takes what is queued: handle, commit; the outputs leave when the batch is on disk.
    pub(super) fn node_batch(&mut self, node: usize, process: u64) {
        let now_ms = self.node_clock(node);
        let (now, sabotage) = (self.now, self.options.sabotage());
        let Some(target) = self.nodes.get_mut(node).filter(|target| target.process == process) else { return };
        target.batch_planned = false;
        if target.syncing {
            return;
        }
        if target.paused_until > now {
            self.plan_batch(node);
            return;
        }
        let Node { relay: Some(relay), disk, queue, untold, untold_until, .. } = target else { return };
        let mut outputs = Vec::new();
        let mut failure = None;
        let mut rows = Overlay::resume(&disk.visible, std::mem::take(untold));
        let inputs: Vec<_> = queue.drain(..queue.len().min(BATCH_INPUTS)).map(Some).collect();
        // After the last input the batch is settled.
        for input in inputs.into_iter().chain([None]) {
            let decide = || match input {
                Some(input) => relay.handle(input, &mut rows, now_ms),
                None => relay.settle(&mut rows, now_ms),
            };
            match catch_unwind(AssertUnwindSafe(decide)) {
                Ok(Ok(more)) => outputs.extend(more),
                Ok(Err(error)) => failure = Some(format!("the relay of node {node} failed: {error}")),
                Err(_) => failure = Some(format!("the relay of node {node} panicked")),
            }
        }
        if let Some(failure) = failure {
            self.violated("I9", failure);
            self.crash_node(node, 1_000);
            return;
        }
        let batch = rows.into_batch();
        let (early, late) = split_early(outputs);
        let until = *untold_until.get_or_insert(now_ms + UNTOLD_MS);
        let is_due = until <= now_ms || until > now_ms + UNTOLD_MS || batch.bytes() >= UNTOLD_BYTES;
        if late.is_empty() && !batch.is_empty() && !is_due {
            *untold = batch;
            self.counters.reach("untold_batches");
            self.plan_tick(node);
            self.check_bounds(node, early.len());
            self.counters.reached_times("early_pushes", early.len() as u64);
            self.let_out(node, early);
            self.plan_batch(node);
            return;
        }
        *untold_until = None;
        let wrote = !batch.is_empty();
        if wrote && disk.write(batch).is_err() {
            // What the driver does: it aborts before it acknowledges anything.
            self.counters.fault("failed_commit");
            self.crash_node(node, 5_000);
            return;
        }
        if wrote && std::mem::take(&mut target.dies_at_commit) && !self.healed {
            let restart = self.dice.between(100, 30_000);
            self.crash_node(node, restart);
            return;
        }
        self.plan_tick(node);
        self.check_bounds(node, early.len() + late.len());
        self.counters.reached_times("early_pushes", early.len() as u64);
        self.let_out(node, early);
        if !wrote {
            self.let_out(node, late);
            self.plan_batch(node);
            return;
        }
        let careless = planted!(sabotage, AcknowledgeBeforeFsync);
        let pause = match self.nodes.get(node) {
            Some(target) if target.slow => self.dice.between(100, 2_000),
            _ if careless => self.dice.between(50, 2_000),
            _ => self.dice.between(1, 6),
        };
        let Some(target) = self.nodes.get_mut(node) else { return };
        target.batches += 1;
        let batch = target.batches;
        self.schedule.at(self.now + pause, Event::NodeSynced { node, process, batch });
        if careless {
            self.let_out(node, late);
            self.plan_batch(node);
        } else if let Some(target) = self.nodes.get_mut(node) {
            target.syncing = true;
            target.leaving.insert(batch, late);
        }
    }

    /// The batch is on disk: its outputs leave.
    pub(super) fn node_synced(&mut self, node: usize, process: u64, batch: u64) {
        let Some(target) = self.nodes.get_mut(node).filter(|target| target.process == process) else { return };
        if target.paused_until > self.now {
            let at = target.paused_until;
            self.schedule.at(at, Event::NodeSynced { node, process, batch });
            return;
        }
        if target.disk.sync().is_err() {
            self.violated("I9", format!("node {node} cannot sync a batch that it wrote"));
            return;
        }
        let Some(target) = self.nodes.get_mut(node) else { return };
        target.syncing = false;
        let outputs = target.leaving.remove(&batch).unwrap_or_default();
        self.let_out(node, outputs);
        self.plan_batch(node);
    }

    fn plan_tick(&mut self, node: usize) {
        let now_ms = self.node_clock(node);
        let Some(target) = self.nodes.get_mut(node) else { return };
        target.ticks += 1;
        let wakes = target.relay.as_ref().and_then(Relay::wake_at);
        let Some(at) = wakes.into_iter().chain(target.untold_until).min() else { return };
        let (process, plan) = (target.process, target.ticks);
        let pause = at.saturating_sub(now_ms).max(TICK_MS_MIN);
        self.schedule.at(self.now + pause, Event::NodeTick { node, process, plan });
    }

    pub(super) fn node_tick(&mut self, node: usize, process: u64, plan: u64) {
        if self.nodes.get(node).is_some_and(|target| target.process == process && target.ticks == plan) {
            self.feed(node, Input::Tick);
        }
    }

    fn let_out(&mut self, node: usize, outputs: Vec<Output>) {
        for output in outputs {
            for output in self.lie_in(node, output) {
                self.leave(node, output);
            }
        }
    }

    fn leave(&mut self, node: usize, output: Output) {
        match output {
            Output::Send(connection, frame) | Output::Early(connection, frame) => {
                self.check_frame(node, connection, &frame);
                self.send_to_device(connection, frame);
            }
            Output::Close(connection) => self.close_from_node(connection),
            Output::Answer(token, what) => {
                self.check_answer(node, &what);
                let asker = self.nodes.get_mut(node).and_then(|target| target.asked.remove(&token));
                if let Some(Asker { from, connection, request }) = asker {
                    let body = Body::Answer { request, what };
                    self.transmit(Parcel { from: node, to: from, connection, stale: false, body });
                }
            }
            Output::Ask(token, peer, request) => {
                match &request {
                    NodeRequest::Deliver(deliver) => self.check_deliver(node, deliver),
                    NodeRequest::Held(held) => self.check_held(node, held),
                    _ => {}
                }
                match self.nodes.iter().position(|other| other.id == peer) {
                    Some(to) if to != node => self.ask(node, token, to, request),
                    _ => self.feed(node, Input::Answered { token, response: None }),
                }
            }
            Output::Resolve(token, handle) => self.look_up(node, token, &handle),
            Output::Publish { log, handle_record, changed } => self.publish(node, &log, &handle_record, changed),
            Output::Join { topic, nodes } => self.rumours.join(node, topic, nodes),
            Output::Leave(topic) => self.rumours.leave(node, &topic),
            Output::Gossip(topic, entries) => {
                self.check_gossip(node, &entries);
                self.tell_rumour(node, topic, entries);
            }
            // People here send no files.
            Output::Blob(_) => {}
            Output::Judged(token, hearsay) => self.rumour_judged(node, token, hearsay),
            // Nobody is woken here: people look by themselves.
            Output::Push(..) | Output::PushForget(_) | Output::PushTest(..) => {}
        }
    }

    /// The process ends without warning; it is started again after `restart_ms`.
    pub(super) fn crash_node(&mut self, node: usize, restart_ms: Millis) {
        let keep = self.dice.index(3);
        let torn = self.dice.chance(500);
        let Some(target) = self.nodes.get_mut(node) else { return };
        let unsynced = target.disk.unsynced();
        let untold = u64::from(!target.untold.is_empty());
        let crash = target.disk.crash(keep.min(unsynced), torn);
        target.stop();
        let process = target.process;
        self.rumours.forget(node);
        match crash {
            Ok(crash) => {
                self.counters.faults("lost_unsynced_write", crash.lost);
                self.counters.faults("lost_untold_rows", untold);
                self.counters.faults("torn_write", crash.torn);
                self.counters.faults("survived_unsynced_write", crash.survived);
            }
            Err(error) => self.violated("I9", format!("the disk of node {node} failed: {error}")),
        }
        for other in 0..self.nodes.len() {
            if other != node {
                self.break_link(node, other);
            }
        }
        self.node_is_gone(node);
        self.schedule.at(self.now + restart_ms, Event::NodeStart { node, process });
        self.check_kept("a node was killed");
    }

    /// The process starts; it takes nothing before it is ready.
    pub(super) fn node_starts(&mut self, node: usize, process: u64) {
        let (engine, sabotage) = (self.options.engine, self.options.sabotage());
        let wide_homes = self.scenario.wide_homes;
        let Some(target) = self.nodes.get_mut(node).filter(|target| target.process == process) else { return };
        target.process += 1;
        let process = target.process;
        let identity = target.identity(engine, sabotage, wide_homes);
        let opened = {
            let mut rows = Overlay::new(&target.disk.visible);
            catch_unwind(AssertUnwindSafe(|| Relay::open(identity, &mut rows)))
        };
        match opened {
            Ok(Ok(relay)) => target.relay = Some(relay),
            Ok(Err(error)) => return self.violated("I9", format!("node {node} does not start: {error}")),
            Err(_) => return self.violated("I9", format!("node {node} panicked while it started")),
        }
        let pause = self.dice.between(30, 500);
        self.schedule.at(self.now + pause, Event::NodeReady { node, process });
    }

    /// The process is ready: it says who it is and publishes its accounts.
    pub(super) fn node_is_ready(&mut self, node: usize, process: u64) {
        let now_ms = self.node_clock(node);
        let Some(target) = self.nodes.get_mut(node).filter(|target| target.process == process) else { return };
        if std::mem::take(&mut target.dies_at_start) && !self.healed {
            self.counters.fault("start_kill");
            let restart = self.dice.between(200, 20_000);
            self.crash_node(node, restart);
            return;
        }
        let record = target.own_record(now_ms);
        target.hello = Some(NodeHello {
            versions: vec![roost_protocol::VERSION],
            features: roost_protocol::FEATURES.iter().map(|name| (*name).to_owned()).collect(),
            org: record.clone(),
            incarnation: Incarnation(target.disk.durable.incarnation()),
        });
        target.up = true;
        let published = {
            let mut rows = Overlay::new(&target.disk.visible);
            match &target.relay {
                Some(relay) => relay.publish_accounts(&mut rows, now_ms, None, usize::MAX).unwrap_or_default().0,
                None => Vec::new(),
            }
        };
        self.feed(node, Input::OwnRecord(record));
        self.plan_tick(node);
        self.let_out(node, published);
    }
}
