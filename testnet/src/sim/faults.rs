//! What goes wrong and when: planned from the scenario before the run, so that it is data.

use super::devices::Life;
use super::schedule::{Event, Millis};
use super::world::World;

/// A fault with a beginning and an end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Partition(usize, usize),
    OneWay(usize, usize),
    Kill(usize),
    /// A node is down for as long as the scenario says.
    Outage(usize),
    StartKill(usize),
    Pause(usize),
    NodeClock(usize, i64),
    DeviceClock(usize, i64),
    FullDisk(usize),
    SlowDisk(usize),
    LostStore(usize),
    DeviceKill(usize),
    Offline(usize),
    Hangup(usize),
}

/// The longest a fault lasts.
const LONGEST_MS: Millis = 3_600_000;

impl World {
    /// Plans the scenario's faults within the safety phase.
    pub(super) fn plan_faults(&mut self) {
        let faults = self.scenario.faults.clone();
        let (nodes, people) = (self.nodes.len(), self.people.len());
        let mut planned = Vec::new();
        for _ in 0..faults.partitions {
            let one = self.dice.index(nodes);
            planned.push(Fault::Partition(one, (one + 1 + self.dice.index(nodes - 1)) % nodes));
        }
        for _ in 0..faults.one_way {
            let one = self.dice.index(nodes);
            planned.push(Fault::OneWay(one, (one + 1 + self.dice.index(nodes - 1)) % nodes));
        }
        planned.extend((0..faults.kills).map(|_| Fault::Kill(self.dice.index(nodes))));
        planned.extend((0..faults.start_kills).map(|_| Fault::StartKill(self.dice.index(nodes))));
        planned.extend((0..faults.pauses).map(|_| Fault::Pause(self.dice.index(nodes))));
        for _ in 0..faults.node_clocks {
            let skew = self.skew();
            planned.push(Fault::NodeClock(self.dice.index(nodes), skew));
        }
        for _ in 0..faults.device_clocks {
            let skew = self.skew();
            planned.push(Fault::DeviceClock(self.dice.index(people), skew));
        }
        planned.extend((0..faults.full_disks).map(|_| Fault::FullDisk(self.dice.index(nodes))));
        planned.extend((0..faults.slow_disks).map(|_| Fault::SlowDisk(self.dice.index(nodes))));
        planned.extend((0..faults.lost_stores).map(|_| Fault::LostStore(self.dice.index(nodes))));
        planned.extend((0..faults.device_kills).map(|_| Fault::DeviceKill(self.dice.index(people))));
        planned.extend((0..faults.offline).map(|_| Fault::Offline(self.dice.index(people))));
        planned.extend((0..faults.hangups).map(|_| Fault::Hangup(self.dice.index(people))));
        for fault in planned {
            let at = self.now + self.dice.below(self.scenario.safety_s * 1000);
            let number = self.faults.len();
            self.faults.push(fault);
            self.schedule.at(at, Event::Fault { fault: number });
        }
    }

    fn skew(&mut self) -> i64 {
        let size = i64::try_from(self.dice.between(1_000, LONGEST_MS)).unwrap_or(0);
        if self.dice.chance(500) { size } else { -size }
    }

    /// How long a fault lasts: short ones are more frequent than long ones.
    fn duration(&mut self) -> Millis {
        match self.dice.below(10) {
            0 => self.dice.between(300_000, LONGEST_MS),
            1..=3 => self.dice.between(30_000, 300_000),
            _ => self.dice.between(500, 30_000),
        }
    }

    /// A fault begins.
    pub(super) fn fault(&mut self, number: usize) {
        let Some(fault) = self.faults.get(number).copied() else { return };
        if self.healed {
            return;
        }
        let duration = self.duration();
        match fault {
            Fault::Partition(one, other) => {
                self.counters.fault("partition");
                let breaks = self.dice.chance(500);
                if breaks {
                    self.break_link(one, other);
                }
                self.links.block(one, other);
                self.links.block(other, one);
            }
            Fault::OneWay(from, to) => {
                self.counters.fault("one_way");
                self.links.block(from, to);
            }
            Fault::Kill(node) => {
                self.counters.fault("kill");
                let restart = self.dice.between(100, 30_000);
                // Most kills hit a process that does nothing: half of them wait for a commit.
                match self.nodes.get_mut(node).filter(|_| self.dice.chance(500)) {
                    Some(target) => target.dies_at_commit = true,
                    None => self.crash_node(node, restart),
                }
                return;
            }
            Fault::Outage(node) => {
                self.counters.fault("outage");
                let outage_ms = self.scenario.outage_s * 1_000;
                return self.crash_node(node, outage_ms);
            }
            Fault::StartKill(node) => {
                if let Some(target) = self.nodes.get_mut(node) {
                    target.dies_at_start = true;
                }
                self.crash_node(node, 500);
                return;
            }
            Fault::Pause(node) => {
                self.counters.fault("pause");
                let until = self.now + self.dice.between(1_000, 120_000);
                if let Some(target) = self.nodes.get_mut(node) {
                    target.paused_until = until;
                }
                return;
            }
            Fault::NodeClock(node, skew) => {
                self.counters.fault("node_clock");
                if let Some(target) = self.nodes.get_mut(node) {
                    target.skew_ms = skew;
                }
            }
            Fault::DeviceClock(person, skew) => {
                self.counters.fault("device_clock");
                if let Some(target) = self.people.get_mut(person) {
                    target.skew_ms = skew;
                }
            }
            Fault::FullDisk(node) => {
                self.counters.fault("full_disk");
                if let Some(target) = self.nodes.get_mut(node) {
                    target.disk.full = true;
                }
            }
            Fault::SlowDisk(node) => {
                self.counters.fault("slow_disk");
                if let Some(target) = self.nodes.get_mut(node) {
                    target.slow = true;
                }
            }
            Fault::LostStore(node) => {
                self.counters.fault("lost_store");
                self.lose_store(node);
                return;
            }
            Fault::DeviceKill(person) => {
                let Some(person) = self.some_device(person) else { return };
                self.counters.fault("device_kill");
                let restart = self.dice.between(100, 20_000);
                match self.people.get_mut(person).filter(|_| self.dice.chance(500)) {
                    Some(target) => target.dies_at_commit = true,
                    None => self.crash_device(person, restart),
                }
                return;
            }
            Fault::Offline(person) => {
                let Some(person) = self.some_device(person) else { return };
                self.counters.fault("offline");
                let until = self.now + duration;
                if let Some(target) = self.people.get_mut(person) {
                    target.away_until = until;
                }
                self.crash_device(person, duration);
                return;
            }
            Fault::Hangup(person) => {
                let Some(person) = self.some_device(person) else { return };
                let Some(connection) = self.people.get(person).and_then(|target| target.connection) else { return };
                self.counters.fault("hangup");
                // Half-open: the node may believe in the connection long after the device has a new one.
                let node_ms = if self.dice.chance(300) { 60_000 } else { self.latency() };
                let device_ms = if self.dice.chance(300) { 40_000 } else { self.latency() };
                self.cut(connection, device_ms, node_ms);
                return;
            }
        }
        self.schedule.at(self.now + duration, Event::Relief { fault: number });
    }

    /// A fault ends.
    pub(super) fn relief(&mut self, number: usize) {
        if self.healed {
            return;
        }
        match self.faults.get(number).copied() {
            Some(Fault::Partition(one, other)) => {
                self.links.unblock(one, other);
                self.links.unblock(other, one);
            }
            Some(Fault::OneWay(from, to)) => self.links.unblock(from, to),
            Some(Fault::NodeClock(node, _)) => self.set_node_clock(node),
            Some(Fault::DeviceClock(person, _)) => self.set_device_clock(person),
            Some(Fault::FullDisk(node)) => {
                if let Some(target) = self.nodes.get_mut(node) {
                    target.disk.full = false;
                }
            }
            Some(Fault::SlowDisk(node)) => {
                if let Some(target) = self.nodes.get_mut(node) {
                    target.slow = false;
                }
            }
            _ => {}
        }
    }

    /// All faults end: the network hears, clocks are right, disks have room, nobody is away. What was down starts.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.links.unblock_all();
        for node in 0..self.nodes.len() {
            self.set_node_clock(node);
            if let Some(target) = self.nodes.get_mut(node) {
                target.disk.full = false;
                target.slow = false;
                target.paused_until = 0;
                target.dies_at_start = false;
                target.dies_at_commit = false;
            }
        }
        if self.scenario.hub_changes > 0 {
            // A hub that was gone for good comes back after all.
            for node in 0..self.nodes.len() {
                let process = self.process_of(node);
                if self.nodes.get(node).is_some_and(|target| target.relay.is_none()) {
                    self.schedule.at(self.now + 1, Event::NodeStart { node, process });
                }
            }
        }
        for person in 0..self.people.len() {
            self.set_device_clock(person);
            let Some(target) = self.people.get_mut(person) else { continue };
            target.away_until = 0;
            target.dies_at_commit = false;
            if target.device.is_none() && matches!(target.life, Life::Living) {
                // Whatever start was planned for later is void: this one comes first.
                let process = target.process;
                self.schedule.at(self.now + 1, Event::DeviceStart { person, process });
            }
        }
        self.heal_devices();
        self.heal_hubs();
    }

    fn set_node_clock(&mut self, node: usize) {
        if let Some(target) = self.nodes.get_mut(node) {
            target.skew_ms = 0;
        }
    }

    fn set_device_clock(&mut self, person: usize) {
        if let Some(target) = self.people.get_mut(person) {
            target.skew_ms = 0;
        }
    }

    /// A node's disk is replaced by an empty one: a new life.
    fn lose_store(&mut self, node: usize) {
        let restart = self.dice.between(500, 10_000);
        self.lose_store_until(node, restart);
    }

    /// As [`Self::lose_store`]; it starts again after `restart` milliseconds.
    pub(super) fn lose_store_until(&mut self, node: usize, restart: Millis) {
        let incarnation = self.dice.bytes();
        self.crash_node(node, restart);
        if let Some(target) = self.nodes.get_mut(node) {
            target.disk = super::disk::NodeDisk::new(incarnation);
            target.records.clear();
        }
        self.store_was_lost(node);
        self.check_kept("a store was lost");
    }
}
