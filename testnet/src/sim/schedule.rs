//! Virtual time: what happens next. Events of one millisecond happen in the order in which they were planned.

use super::links::Parcel;
use roost_node::relay::ConnectionId;
use roost_protocol::conversation::Role;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::BTreeMap;

/// Virtual milliseconds since 1970.
pub(super) type Millis = u64;

/// What happens. A process is one run of a node or device between start and end; events of an earlier one are void.
pub(super) enum Event {
    /// A node takes what is queued.
    NodeBatch { node: usize, process: u64 },
    /// A node's batch is on disk.
    NodeSynced { node: usize, process: u64, batch: u64 },
    /// A node's rules wanted to be woken.
    NodeTick { node: usize, process: u64, plan: u64 },
    /// A node starts.
    NodeStart { node: usize, process: u64 },
    /// A starting node is ready.
    NodeReady { node: usize, process: u64 },
    /// A connection of two nodes stands, or could not be made.
    Dialled { link: usize },
    /// Something of a node reached another.
    Arrive(Box<Parcel>),
    /// A request was not answered in time, or its connection ended.
    Unanswered { request: u64 },
    /// A directory lookup has waited long enough.
    LookupEnds { lookup: u64 },
    /// A device takes what is queued.
    DeviceBatch { person: usize, process: u64 },
    /// A device's batch is on disk.
    DeviceSynced { person: usize, process: u64, batch: u64 },
    /// A device's rules wanted to be woken.
    DeviceTick { person: usize, process: u64, plan: u64 },
    /// A device starts.
    DeviceStart { person: usize, process: u64 },
    /// A device connects.
    Connect { person: usize, process: u64, attempt: u64 },
    /// A frame reaches a node.
    ToNode { connection: ConnectionId, frame: Box<ClientFrame> },
    /// A frame reaches a device.
    ToDevice { connection: ConnectionId, frame: Box<ServerFrame> },
    /// A node notices that a connection ended.
    NodeHangup { connection: ConnectionId },
    /// A device notices that a connection ended.
    DeviceHangup { connection: ConnectionId },
    /// A person writes a message.
    Write { message: usize },
    /// A person begins a conversation of many.
    Begin { group: usize },
    /// Somebody changes the people of one.
    Change { group: usize },
    /// An admin gives somebody of a group a role.
    Role { group: usize, role: Role },
    /// A person changes its devices.
    Devices { owner: usize },
    /// A device that is none yet connects.
    Come { device: usize },
    /// It has waited for long enough.
    ComesNot { device: usize },
    /// The person compares what a device shows with what the one that asks it shows.
    Compare { by: usize },
    /// A person ends a device of its account on another one.
    Revoke { by: usize, device: usize },
    /// A person looks at the list of its devices.
    Tidy { owner: usize },
    /// All devices sign in anew.
    SignInAgain,
    /// Something happens to the hub of a group.
    Hub { group: usize },
    /// An admin says that the hub of a group is lost.
    Succeed { group: usize },
    /// Two nodes that were cut off from each other are so no more.
    Rejoin { one: usize, other: usize },
    /// People look whether all of a group are together.
    Look { group: usize },
    /// A node asks for the key packages of somebody who lives elsewhere, for nobody.
    Drain { node: usize, owner: usize },
    /// A fault begins.
    Fault { fault: usize },
    /// A fault ends.
    Relief { fault: usize },
    /// All faults end for good.
    Heal,
}

/// What is planned.
#[derive(Default)]
pub(super) struct Schedule {
    events: BTreeMap<(Millis, u64), Event>,
    planned: u64,
}

impl Schedule {
    /// Plans an event.
    pub fn at(&mut self, at: Millis, event: Event) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// Takes the next event.
    pub fn next(&mut self) -> Option<(Millis, Event)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }

    /// When the next event is.
    pub fn next_at(&self) -> Option<Millis> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }
}
