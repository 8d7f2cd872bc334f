//! The world: nodes, people, what connects them, and the loop that moves time from one event to the next.

use super::agreement::Agreement;
use super::devices::Devices;
use super::dice::Dice;
use super::directory::Lookup;
use super::faults::Fault;
use super::invariants::{Ledger, To, VIOLATIONS_MAX, Violation};
use super::liar::Told;
use super::links::Links;
use super::node::Node;
use super::person::{Person, Task};
use super::report::{Counters, Report};
use super::rumours::Rumours;
use super::scenario::Scenario;
use super::schedule::{Event, Millis, Schedule};
use super::sockets::Socket;
use super::trace::Trace;
use super::{Options, SimError};
use roost_client::core::account::NewAccount;
use roost_crypto::keys::SecretKey;
use roost_node::relay::{ConnectionId, Input, Output, Relay};
use roost_node::store::Overlay;
use roost_protocol::handle::Handle;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// When every simulation begins, milliseconds since 1970.
const BEGIN_MS: Millis = 1_795_000_000_000;
/// After everything was shown it is watched for so long that nothing is shown again.
const WATCH_MS: Millis = 90_000;
/// Steps after which a run is ended: two orders beyond an ordinary one.
const STEPS_MAX: u64 = 2_000_000;

/// Everything.
pub(super) struct World {
    pub options: Options,
    pub seed: u64,
    pub scenario: Scenario,
    pub now: Millis,
    pub schedule: Schedule,
    pub dice: Dice,
    pub trace: Trace,
    pub counters: Counters,
    pub ledger: Ledger,
    pub agreement: Agreement,
    pub violations: Vec<Violation>,
    pub nodes: Vec<Node>,
    pub people: Vec<Person>,
    pub devices: Devices,
    pub links: Links,
    pub rumours: Rumours,
    pub sockets: BTreeMap<ConnectionId, Socket>,
    pub lookups: BTreeMap<u64, Lookup>,
    pub faults: Vec<Fault>,
    pub told: Told,
    pub healed: bool,
    /// Numbers for whatever needs one.
    pub numbers: u64,
}

impl World {
    /// Nodes that run, accounts that are signed up, and everything that will go wrong planned.
    pub fn new(seed: u64, scenario: Scenario, options: Options) -> Result<Self, SimError> {
        let mut world = Self {
            trace: Trace::new(options.aloud),
            options,
            seed,
            now: BEGIN_MS,
            schedule: Schedule::default(),
            dice: Dice::new(seed),
            counters: Counters::default(),
            ledger: Ledger::default(),
            agreement: Agreement::default(),
            violations: Vec::new(),
            nodes: Vec::new(),
            people: Vec::new(),
            devices: Devices::default(),
            links: Links::default(),
            rumours: Rumours::default(),
            sockets: BTreeMap::new(),
            lookups: BTreeMap::new(),
            faults: Vec::new(),
            told: Told::default(),
            healed: false,
            numbers: 0,
            scenario,
        };
        for number in 0..world.scenario.nodes {
            let (org, key) = (SecretKey::from_seed(&world.dice.bytes()), SecretKey::from_seed(&world.dice.bytes()));
            let incarnation = world.dice.bytes();
            world.nodes.push(Node::new(format!("org{number}"), org, key, incarnation));
        }
        for number in 0..world.scenario.accounts {
            // The first two are at home at different nodes, so that something always crosses the network.
            let home = match number {
                0 | 1 => number,
                _ if world.scenario.outage_s > 0 && number + 1 == world.scenario.accounts => world.scenario.nodes - 1,
                _ => world.dice.index(world.scenario.nodes),
            };
            world.sign_up(number, home)?;
        }
        if let Some(lie) = world.scenario.faults.lie {
            let liar = world.dice.index(world.nodes.len());
            if let Some(node) = world.nodes.get_mut(liar) {
                node.lie = Some(lie);
            }
        }
        for node in 0..world.nodes.len() {
            world.schedule.at(world.now, Event::NodeStart { node, process: 0 });
        }
        for person in 0..world.people.len() {
            let at = world.now + world.dice.between(1_000, 20_000);
            world.schedule.at(at, Event::DeviceStart { person, process: 0 });
        }
        world.plan_messages();
        world.plan_faults();
        let heal = world.now + world.scenario.safety_s * 1000;
        world.schedule.at(heal, Event::Heal);
        // Last, so that a seed without groups draws what it always drew.
        if world.scenario.outage_s > 0 {
            world.plan_outage();
        } else {
            world.plan_groups();
        }
        world.plan_devices();
        world.plan_hubs();
        world.plan_drains();
        Ok(world)
    }

    /// Runs to the end.
    pub fn run(mut self) -> Report {
        let heal_at = BEGIN_MS + self.scenario.safety_s * 1000;
        let end_at = heal_at + self.scenario.liveness_s * 1000;
        let mut rest_since = None;
        let mut unseen_at_heal = 0;
        while let Some((at, event)) = self.schedule.next() {
            if at > end_at || self.violations.len() >= VIOLATIONS_MAX || self.trace.steps() > STEPS_MAX {
                break;
            }
            self.now = self.now.max(at);
            if matches!(event, Event::Heal) {
                unseen_at_heal = self.unseen();
            }
            self.happen(event);
            if self.healed && self.schedule.next_at() != Some(self.now) {
                if !self.is_at_rest() {
                    rest_since = None;
                } else if self.now > *rest_since.get_or_insert(self.now) + WATCH_MS {
                    break;
                }
            }
        }
        if self.trace.steps() > STEPS_MAX {
            self.violated("L2", format!("the world does not come to rest within {STEPS_MAX} steps"));
        }
        if self.violations.is_empty() {
            self.check_end();
        }
        let unseen = self.unseen();
        self.counters.reached.insert("shown_after_heal", unseen_at_heal.saturating_sub(unseen) as u64);
        self.counters.reached.retain(|_, count| *count > 0);
        let count = |test: &dyn Fn(&super::invariants::Message) -> bool| {
            self.ledger.messages.iter().filter(|message| test(message)).count() as u64
        };
        Report {
            seed: self.seed,
            scenario: self.scenario.name.clone(),
            trace_hash: self.trace.hash(),
            virtual_seconds: (self.now - BEGIN_MS) / 1000,
            operations: self.trace.steps(),
            accepted: count(&|message| message.accepted),
            shown: count(&|message| !message.shown.is_empty()),
            ok: self.violations.is_empty(),
            faults: self.counters.faults,
            reached: self.counters.reached,
            violations: self.violations,
        }
    }

    fn unseen(&self) -> usize {
        self.ledger.messages.iter().filter(|message| message.shown.is_empty()).count()
    }

    /// Time that a message between two processes takes.
    pub(super) fn latency(&mut self) -> Millis {
        self.dice.between(1, 40)
    }

    /// A step of the trace, with the bytes that it is about.
    pub(super) fn note(&mut self, what: std::fmt::Arguments<'_>, bytes: &[u8]) {
        self.trace.step(self.now, what);
        self.trace.bytes(bytes);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::NodeBatch { node, process } => self.node_batch(node, process),
            Event::NodeSynced { node, process, batch } => self.node_synced(node, process, batch),
            Event::NodeTick { node, process, plan } => self.node_tick(node, process, plan),
            Event::NodeStart { node, process } => {
                self.trace.step(self.now, format_args!("node {node} starts"));
                self.node_starts(node, process);
            }
            Event::NodeReady { node, process } => self.node_is_ready(node, process),
            Event::Dialled { link } => self.dialled(link),
            Event::Arrive(parcel) => {
                let paused = self.nodes.get(parcel.to).map_or(0, |node| node.paused_until);
                if paused > self.now {
                    self.schedule.at(paused, Event::Arrive(parcel));
                } else {
                    self.arrive(*parcel);
                }
            }
            Event::Unanswered { request } => self.unanswered(request),
            Event::LookupEnds { lookup } => self.lookup_ends(lookup),
            Event::DeviceBatch { person, process } => self.device_batch(person, process),
            Event::DeviceSynced { person, process, batch } => self.device_synced(person, process, batch),
            Event::DeviceTick { person, process, plan } => self.device_tick(person, process, plan),
            Event::DeviceStart { person, process } => {
                self.trace.step(self.now, format_args!("device {person} starts"));
                self.device_starts(person, process);
            }
            Event::Connect { person, process, attempt } => self.connect(person, process, attempt),
            Event::ToNode { connection, frame } => self.at_node(connection, *frame),
            Event::ToDevice { connection, frame } => self.at_device(connection, *frame),
            Event::NodeHangup { connection } => self.node_hangup(connection),
            Event::DeviceHangup { connection } => self.device_hangup(connection),
            Event::Write { message } => {
                let from = self.ledger.messages.get(message).map_or(0, |message| message.from);
                let device = self.some_device(from);
                if !device.is_some_and(|device| self.give(device, Task::Write(message))) {
                    self.schedule.at(self.now + 5_000, Event::Write { message });
                }
            }
            Event::Begin { group } => self.begin_group(group),
            Event::Change { group } => self.change_group(group),
            Event::Role { group, role } => self.give_role(group, role),
            Event::Devices { owner } => self.change_devices(owner),
            Event::Come { device } => self.come(device),
            Event::ComesNot { device } => self.comes_not(device),
            Event::Compare { by } => self.compare_digits(by),
            Event::Revoke { by, device } => self.revoke(by, device),
            Event::Tidy { owner } => self.tidy_devices(owner),
            Event::SignInAgain => self.sign_in_again(),
            Event::Hub { group } => self.change_hub(group),
            Event::Succeed { group } => self.succeed(group),
            Event::Rejoin { one, other } => self.rejoin_nodes(one, other),
            Event::Look { group } => self.look_at_hub(group),
            Event::Drain { node, owner } => self.drain(node, owner),
            Event::Fault { fault } => {
                let kind = self.faults.get(fault).copied();
                self.trace.step(self.now, format_args!("fault {fault} {kind:?}"));
                self.fault(fault);
            }
            Event::Relief { fault } => {
                self.trace.step(self.now, format_args!("relief {fault}"));
                self.relief(fault);
            }
            Event::Heal => {
                self.trace.step(self.now, format_args!("heal"));
                self.heal();
            }
        }
    }

    /// Signs an account up at its home, through the relay, before anything goes wrong.
    fn sign_up(&mut self, number: usize, home: usize) -> Result<(), SimError> {
        let impossible = |what: &dyn std::fmt::Display| SimError::SetUp(what.to_string());
        let (entropy, seed) = (self.dice.bytes(), Zeroizing::new(self.dice.bytes()));
        let (engine, now, wide_homes) = (self.options.engine, self.now, self.scenario.wide_homes);
        let node = self.nodes.get_mut(home).ok_or_else(|| impossible(&"no such node"))?;
        let handle = Handle::new(&format!("p{number}"), &node.name).map_err(|error| impossible(&error))?;
        let mut account =
            NewAccount::found(entropy, seed, node.id, node.org_id(), handle.clone()).map_err(|e| impossible(&e))?;
        account.settings.accept_strangers = true;
        let identity = node.identity(engine, roost_crypto::sabotage::Sabotage::NONE, wide_homes);
        let record = node.own_record(now);
        let mut rows = Overlay::new(&node.disk.visible);
        let mut relay = Relay::open(identity, &mut rows).map_err(|error| impossible(&error))?;
        let frame = ClientFrame::SignUp {
            id: 1,
            handle: handle.local().to_owned(),
            invite: None,
            log: account.log.log().clone(),
        };
        let mut answer = None;
        for input in [
            Input::OwnRecord(record),
            Input::Connected { connection: 1, challenge: [0; 32] },
            Input::Frame { connection: 1, frame },
        ] {
            let mut outputs = relay.handle(input, &mut rows, now).map_err(|error| impossible(&error))?;
            outputs.extend(relay.settle(&mut rows, now).map_err(|error| impossible(&error))?);
            for output in outputs {
                if let Output::Send(_, ServerFrame::SignedUp { handle_record, org, .. }) = output {
                    answer = Some((handle_record, org));
                }
            }
        }
        let batch = rows.into_batch();
        node.disk.write(batch).and_then(|()| node.disk.sync()).map_err(|error| impossible(&error))?;
        let (handle_record, org) = answer.ok_or_else(|| impossible(&"the sign-up was refused"))?;
        let writes = account.signed_up("sim", handle_record, org, now).map_err(|error| impossible(&error))?;
        let mut person = Person::new(handle, account.account(), account.device(), home);
        (person.owner, person.recovery) = (number, entropy);
        person.disk.write(writes);
        person.disk.sync();
        self.people.push(person);
        Ok(())
    }

    fn plan_messages(&mut self) {
        let people = self.people.len();
        let mut pairs = vec![(0, 1)];
        for _ in 0..people {
            let from = self.dice.index(people);
            pairs.push((from, (from + 1 + self.dice.index(people - 1)) % people));
        }
        let mut times: Vec<Millis> = (0..self.scenario.messages)
            .map(|_| self.now + 21_000 + self.dice.below(self.scenario.safety_s * 1000))
            .collect();
        times.sort_unstable();
        let mut at = 0;
        for time in times {
            // People write in bursts.
            at = if self.dice.chance(400) { at + self.dice.below(200) } else { time.max(at) };
            at = at.max(self.now + 21_000).min(self.now + self.scenario.safety_s * 1000);
            let (from, to) = pairs.get(self.dice.index(pairs.len())).copied().unwrap_or((0, 1));
            let (from, to) = if self.dice.chance(500) { (from, to) } else { (to, from) };
            let Some(handle) = self.people.get(to).map(|person| person.handle.clone()) else { continue };
            let message = self.ledger.plan(from, To::Person(to), Some(handle));
            self.schedule.at(at, Event::Write { message });
        }
    }
}
