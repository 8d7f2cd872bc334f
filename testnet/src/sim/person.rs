//! A device of a person: the real device core, and around it a model of the runner that owns it.

use super::devices::Life;
use super::disk::DeviceDisk;
use super::groups::Wish;
use super::invariants::Wanted;
use super::scenario::Engine;
use super::schedule::{Event, Millis};
use super::world::World;
use roost_client::core::devices::LogChange;
use roost_client::core::linking::LinkCode;
use roost_client::core::message::{ReceivedMessage, State};
use roost_client::core::{Device, Engine as DeviceEngine, Extras, GroupChange, Input, Output};
use roost_crypto::group::{OpenMlsEngine, SymbolicEngine, inspect_key_package, symbolic};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::planted;
use roost_crypto::sabotage::Sabotage;
use roost_node::relay::ConnectionId;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// As the real runner.
const BATCH_INPUTS: usize = 64;
/// As the real runner.
pub(super) const RECONNECT_MS_MIN: Millis = 250;
const RECONNECT_MS_MAX: Millis = 10_000;

/// What waits for a device.
pub(super) enum Task {
    Connected,
    Closed,
    Frame(Box<ServerFrame>),
    Tick,
    /// The person writes message number so-and-so.
    Write(usize),
    /// The screen has it.
    Shown(MessageId),
    /// The person begins group number so-and-so with these people.
    Begin(usize, Vec<Handle>),
    /// The person changes a group.
    Change(usize, GroupChange, Wish),
    /// The person leaves a group.
    Leave(usize),
    /// The person lets it show a code for another device.
    OfferLink,
    /// The digits of both devices were the same.
    AcceptLink,
    /// They were not, or nobody asked.
    EndLink,
    /// The person ends another of its devices.
    Revoke(DeviceId),
}

/// What is true once the batch is on disk.
#[derive(Default)]
struct Told {
    written: Vec<(usize, MessageId)>,
    begun: Vec<(usize, u64, ConversationId)>,
    wished: Vec<(usize, u64, Wish)>,
    leaving: Vec<(usize, u64)>,
    codes: Vec<LinkCode>,
    shown: Vec<ReceivedMessage>,
    outputs: Vec<Output>,
}

/// A device of a person; the number of the person is that of its first one.
pub(super) struct Person {
    pub owner: usize,
    pub life: Life,
    /// Of the account's recovery code; the first device has it.
    pub recovery: [u8; 16],
    pub handle: Handle,
    pub account: AccountId,
    pub device_id: DeviceId,
    pub home: usize,
    pub disk: DeviceDisk,
    pub process: u64,
    pub device: Option<Device>,
    pub skew_ms: i64,
    pub connection: Option<ConnectionId>,
    /// It does not start before.
    pub away_until: Millis,
    pub pause_ms: Millis,
    /// It dies while its next batch is on the way to the disk.
    pub dies_at_commit: bool,
    pub attempts: u64,
    queue: VecDeque<Task>,
    screen: BTreeMap<MessageId, ReceivedMessage>,
    batch_planned: bool,
    syncing: bool,
    batches: u64,
    told: BTreeMap<u64, Told>,
    ticks: u64,
}

impl Person {
    pub fn new(handle: Handle, account: AccountId, device_id: DeviceId, home: usize) -> Self {
        Self {
            owner: 0,
            life: Life::Living,
            recovery: [0; 16],
            handle,
            account,
            device_id,
            home,
            disk: DeviceDisk::default(),
            process: 0,
            device: None,
            skew_ms: 0,
            connection: None,
            away_until: 0,
            pause_ms: RECONNECT_MS_MIN,
            dies_at_commit: false,
            attempts: 0,
            queue: VecDeque::new(),
            screen: BTreeMap::new(),
            batch_planned: false,
            syncing: false,
            batches: 0,
            told: BTreeMap::new(),
            ticks: 0,
        }
    }

    fn open(&self, engine: Engine, sabotage: Sabotage) -> Result<Device, roost_client::core::DeviceError> {
        Device::open_with(self.disk.durable.clone(), |key, identity| match engine {
            Engine::Mls => DeviceEngine {
                groups: Box::new(OpenMlsEngine::new(key, identity.credential)),
                inspect: inspect_key_package,
                sabotage,
            },
            Engine::Symbolic => DeviceEngine {
                groups: Box::new(SymbolicEngine::new(identity.credential, identity.key, 0).sabotaged(sabotage)),
                inspect: symbolic::inspect_key_package,
                sabotage,
            },
        })
    }

    /// It is no more, with all that was on it.
    pub fn end(&mut self) {
        self.stop();
        self.disk = DeviceDisk::default();
        self.life = Life::Gone;
    }

    fn stop(&mut self) {
        self.process += 1;
        self.device = None;
        self.queue.clear();
        self.screen.clear();
        self.batch_planned = false;
        self.syncing = false;
        self.told.clear();
    }
}

impl World {
    pub(super) fn device_clock(&self, person: usize) -> u64 {
        self.now.saturating_add_signed(self.people.get(person).map_or(0, |person| person.skew_ms))
    }

    /// Queues a task of a device; `false` if the device is not running.
    pub(super) fn give(&mut self, person: usize, task: Task) -> bool {
        let Some(target) = self.people.get_mut(person) else { return false };
        if target.device.is_none() {
            return false;
        }
        target.queue.push_back(task);
        self.plan_device_batch(person);
        true
    }

    fn plan_device_batch(&mut self, person: usize) {
        let Some(target) = self.people.get_mut(person) else { return };
        if target.batch_planned || target.syncing || target.queue.is_empty() {
            return;
        }
        target.batch_planned = true;
        let process = target.process;
        self.schedule.at(self.now, Event::DeviceBatch { person, process });
    }

    /// Takes what is queued: handle, finish, commit; the outputs leave when the batch is on disk.
    pub(super) fn device_batch(&mut self, person: usize, process: u64) {
        let now_ms = self.device_clock(person);
        let sabotage = self.options.sabotage();
        self.agreement.batches += 1;
        let World { people, dice, ledger, agreement, .. } = self;
        let Some(target) = people.get_mut(person).filter(|target| target.process == process) else { return };
        target.batch_planned = false;
        if target.syncing {
            return;
        }
        let Person { device: Some(device), queue, screen, .. } = target else { return };
        let mut told = Told::default();
        let mut random = |bytes: &mut [u8]| dice.fill(bytes);
        let tasks: Vec<_> = queue.drain(..queue.len().min(BATCH_INPUTS)).collect();
        let worked = catch_unwind(AssertUnwindSafe(|| {
            for task in tasks {
                match task {
                    Task::Connected => device.handle(Input::Connected, &mut random, now_ms)?,
                    Task::Closed => device.handle(Input::Closed, &mut random, now_ms)?,
                    Task::Frame(frame) => device.handle(Input::Frame(frame), &mut random, now_ms)?,
                    Task::Tick => device.handle(Input::Tick, &mut random, now_ms)?,
                    Task::Write(number) => {
                        let written = match ledger.wanted(number) {
                            Some((Wanted::Person(to), text)) => device.send(&to, &text, &mut random, now_ms),
                            Some((Wanted::Group(group), text)) => {
                                let Some(conversation) = agreement.conversation_of(group) else { continue };
                                device.send_with(&conversation.into(), &text, Extras::default(), &mut random, now_ms)
                            }
                            None => continue,
                        };
                        match written {
                            Ok(id) => told.written.push((number, id)),
                            Err(roost_client::Error::Device(error)) => return Err(error),
                            Err(_) => {}
                        }
                    }
                    Task::Shown(id) => {
                        device.mark_shown(&id)?;
                        told.shown.extend(screen.remove(&id));
                    }
                    Task::Begin(group, handles) => match device.create_group(handles, &mut random) {
                        Ok((intent, conversation)) => told.begun.push((group, intent, conversation)),
                        Err(roost_client::Error::Device(error)) => return Err(error),
                        Err(_) => {}
                    },
                    Task::Change(group, change, wish) => {
                        let Some(conversation) = agreement.conversation_of(group) else { continue };
                        match device.change_group(conversation, change) {
                            Ok(intent) => told.wished.push((group, intent, wish)),
                            Err(roost_client::Error::Device(error)) => return Err(error),
                            Err(_) => {}
                        }
                    }
                    Task::Leave(group) => {
                        let Some(conversation) = agreement.conversation_of(group) else { continue };
                        let reports = device.conversations()?;
                        let epoch = reports.iter().find(|report| report.conversation == conversation);
                        let epoch = epoch.map_or(0, |report| report.epoch);
                        match device.leave_group(conversation, &mut random, now_ms) {
                            Ok(()) => told.leaving.push((group, epoch)),
                            Err(roost_client::Error::Device(error)) => return Err(error),
                            Err(_) => {}
                        }
                    }
                    Task::OfferLink => told.codes.push(device.offer_link(&mut random)),
                    // What is not possible any more is tried again, or was done.
                    Task::AcceptLink => {
                        let _ = device.accept_link();
                    }
                    Task::EndLink => device.end_link(),
                    Task::Revoke(other) => {
                        let _ = device.change_log(LogChange::Revoke(other));
                    }
                }
            }
            let writes = device.finish(&mut random, now_ms)?;
            while let Some(output) = device.poll_output() {
                told.outputs.push(output);
            }
            Ok(writes)
        }));
        let writes = match worked {
            Ok(Ok(writes)) => writes,
            Ok(Err(error)) => {
                self.violated("I9", format!("the device of person {person} failed: {error}"));
                return self.crash_device(person, 1_000);
            }
            Err(_) => {
                self.violated("I9", format!("the device of person {person} panicked"));
                return self.crash_device(person, 1_000);
            }
        };
        target.disk.write(writes);
        target.batches += 1;
        target.syncing = true;
        let batch = target.batches;
        let mut pause = self.dice.between(1, 8);
        if planted!(sabotage, CursorBeforeFsync) {
            pause = self.dice.between(50, 3_000);
            let early =
                |output: &Output| matches!(output, Output::Send(frame) if matches!(**frame, ClientFrame::Ack { .. }));
            let (early, late): (Vec<_>, Vec<_>) = std::mem::take(&mut told.outputs).into_iter().partition(early);
            told.outputs = late;
            self.carry_out(person, early);
        }
        if let Some(target) = self.people.get_mut(person) {
            target.told.insert(batch, told);
        }
        self.schedule.at(self.now + pause, Event::DeviceSynced { person, process, batch });
        let dies = self.people.get_mut(person).is_some_and(|target| std::mem::take(&mut target.dies_at_commit));
        if dies && !self.healed {
            let restart = self.dice.between(100, 20_000);
            self.crash_device(person, restart);
            return;
        }
        self.plan_device_tick(person);
    }

    /// The batch is on disk.
    pub(super) fn device_synced(&mut self, person: usize, process: u64, batch: u64) {
        let Some(target) = self.people.get_mut(person).filter(|target| target.process == process) else { return };
        target.disk.sync();
        target.syncing = false;
        let Some(told) = target.told.remove(&batch) else { return };
        let outputs = self.believe(person, told);
        self.carry_out(person, outputs);
        self.plan_device_batch(person);
    }

    /// What a durable batch says goes into the ledger.
    fn believe(&mut self, person: usize, told: Told) -> Vec<Output> {
        let Told { written, begun, wished, leaving, codes, shown, outputs } = told;
        for code in codes {
            self.code_shown(person, &code);
        }
        for (group, intent, conversation) in begun {
            self.note(format_args!("person {person} begins group {group}"), conversation.as_bytes());
            self.agreement.begun(group, conversation);
            self.agreement.wished(person, intent, group, Wish::Begin);
        }
        for (group, intent, wish) in wished {
            self.note(format_args!("person {person} wants {wish:?} of group {group}"), &[]);
            self.agreement.wished(person, intent, group, wish);
        }
        for (group, epoch) in leaving {
            self.note(format_args!("person {person} wishes to leave group {group}"), &[]);
            self.agreement.leaves(person, group, epoch);
        }
        for (number, id) in written {
            self.ledger.written(number, person, id);
            self.note(format_args!("person {person} wrote {number}"), &id.0);
        }
        for message in shown {
            self.note(format_args!("person {person} sees"), &message.id.0);
            self.shown(person, &message);
        }
        outputs
    }

    fn carry_out(&mut self, person: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(frame) => {
                    self.note_sealed(person, &frame);
                    self.send_to_node(person, *frame);
                }
                Output::Disconnect(_) => {
                    self.counters.reach("device_disconnects");
                    self.hang_up(person);
                }
                Output::Message(message) => {
                    let id = message.id;
                    if let Some(target) = self.people.get_mut(person) {
                        target.screen.insert(id, message);
                    }
                    self.give(person, Task::Shown(id));
                }
                Output::Report(report) => match report.state {
                    State::Queued | State::Delivered => {}
                    State::Accepted => self.ledger.accepted(&report.id),
                    State::Custody => {
                        self.ledger.accepted(&report.id);
                        self.ledger.dropped_by_device(&report.id);
                    }
                    State::Refused => {
                        let why = report.error.map_or_else(String::new, |error| error.message);
                        self.ledger.refused(&report.id, why);
                    }
                },
                // What a conversation is called is a message like others; nobody types here.
                Output::Named(_) | Output::Typing { .. } | Output::Presence(_) => {}
                Output::DevicesChanged => self.own_log_changed(person),
                Output::Revoked => self.counters.reach("devices_told_that_they_are_revoked"),
                Output::LinkRequested => {
                    let at = self.now + self.dice.between(500, 15_000);
                    self.schedule.at(at, Event::Compare { by: person });
                }
                Output::Equivocation(_) => self.counters.reach("equivocations"),
                // Nobody begins anew under a handle here.
                Output::KeyChanged { .. } => self.counters.reach("keys_changed"),
                Output::BadArchive { .. } => self.counters.reach("bad_archive"),
                Output::Intent(report) => self.wish_ended(person, &report),
                Output::Membership(report) => {
                    let (epoch, group) = (report.epoch, self.agreement.number_of(&report.conversation));
                    self.note(format_args!("person {person} is in epoch {epoch} of group {group:?}"), &[]);
                    self.counters.reach(if report.over { "memberships_over" } else { "memberships" });
                    self.check_device(person);
                }
                Output::Gap { reason, message, .. } => {
                    if reason.starts_with("the message cannot be opened yet") {
                        self.ledger.missed(person, message);
                    }
                    self.ledger.gaps.insert((person, message));
                    self.note(format_args!("person {person} has a gap: {reason}"), &message.0);
                    let counter = match reason {
                        "the feed's chain is broken" => "gaps_chain",
                        "the conversation cannot be entered" => "gaps_entry",
                        "the message cannot be opened" => "gaps_unopened",
                        "the message cannot be opened yet: its author is asked for it" => "gaps_asked",
                        _ => "gaps_other",
                    };
                    self.counters.reach(counter);
                }
                Output::StateLost(_) => self.counters.reach("states_lost"),
                Output::GapClosed { .. } => self.counters.reach("gaps_closed"),
                Output::Warned(_) => self.counters.reach("warnings"),
                Output::SignedIn => {
                    if let Some(target) = self.people.get_mut(person) {
                        target.pause_ms = RECONNECT_MS_MIN;
                    }
                }
                // Nobody sends files here.
                Output::Upload { .. } | Output::Download { .. } | Output::Transferred(_) => {}
                Output::Fetched(..) | Output::Unstage(_) => {}
                Output::LookedUp(..) | Output::KeyPackagesHeld | Output::PushChanged => {}
            }
        }
    }

    fn plan_device_tick(&mut self, person: usize) {
        let now_ms = self.device_clock(person);
        let Some(target) = self.people.get_mut(person) else { return };
        target.ticks += 1;
        let Some(at) = target.device.as_ref().and_then(Device::wake_at) else { return };
        let (process, plan) = (target.process, target.ticks);
        let pause = at.saturating_sub(now_ms).max(1);
        self.schedule.at(self.now + pause, Event::DeviceTick { person, process, plan });
    }

    pub(super) fn device_tick(&mut self, person: usize, process: u64, plan: u64) {
        if self.people.get(person).is_some_and(|target| target.process == process && target.ticks == plan) {
            self.give(person, Task::Tick);
        }
    }

    /// The device's process ends without warning.
    pub(super) fn crash_device(&mut self, person: usize, restart_ms: Millis) {
        if !self.people.get(person).is_some_and(|target| matches!(target.life, Life::Living)) {
            return;
        }
        let keep = self.dice.chance(500);
        let Some(target) = self.people.get_mut(person) else { return };
        let survived = target.told.pop_first().map(|(_, told)| told);
        let crash = target.disk.crash(keep);
        target.stop();
        let process = target.process;
        self.counters.faults("lost_device_write", crash.lost);
        if crash.survived > 0
            && let Some(told) = survived
        {
            self.believe(person, told);
        }
        self.device_is_gone(person);
        self.schedule.at(self.now + restart_ms, Event::DeviceStart { person, process });
    }

    pub(super) fn device_starts(&mut self, person: usize, process: u64) {
        let (engine, sabotage, now) = (self.options.engine, self.options.sabotage(), self.now);
        let Some(target) = self.people.get_mut(person).filter(|target| target.process == process) else { return };
        if !matches!(target.life, Life::Living) {
            return;
        }
        if target.away_until > now {
            let at = target.away_until;
            self.schedule.at(at, Event::DeviceStart { person, process });
            return;
        }
        self.agreement.batches += 1;
        match target.open(engine, sabotage) {
            Ok(device) => {
                target.process += 1;
                target.device = Some(device);
                target.pause_ms = RECONNECT_MS_MIN;
                self.check_device(person);
                // The runner settles once before it waits for anything.
                self.give(person, Task::Tick);
                self.plan_connect(person, 0);
            }
            Err(error) => self.violated("I9", format!("the device of person {person} does not open: {error}")),
        }
    }

    pub(super) fn plan_connect(&mut self, person: usize, pause_ms: Millis) {
        let Some(target) = self.people.get_mut(person) else { return };
        target.attempts += 1;
        let (process, attempt) = (target.process, target.attempts);
        self.schedule.at(self.now + pause_ms, Event::Connect { person, process, attempt });
    }

    /// The connection is gone: the next attempt comes after a pause that grows.
    pub(super) fn lost_connection(&mut self, person: usize) {
        let Some(target) = self.people.get_mut(person) else { return };
        target.connection = None;
        let pause = target.pause_ms;
        target.pause_ms = (pause * 2).min(RECONNECT_MS_MAX);
        self.give(person, Task::Closed);
        self.plan_connect(person, pause);
    }
}
