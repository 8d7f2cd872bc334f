//! Connections of devices to their homes: ordered, whole frames, and gone together with what was under way.

use super::person::Task;
use super::schedule::{Event, Millis};
use super::world::World;
use roost_node::relay::{ConnectionId, Input};
use roost_protocol::codec;
use roost_protocol::socket::{ClientFrame, ServerFrame};

/// A device notices a dead connection at the latest after this: two silences of the real runner.
const SILENCE_MS: Millis = 40_000;

/// One connection.
pub(super) struct Socket {
    person: usize,
    node: usize,
    to_node_at: Millis,
    to_device_at: Millis,
    open_at_node: bool,
    open_at_device: bool,
    /// Nothing passes any more, whether the ends know or not.
    broken: bool,
    /// Its node had on disk that the device was ended when the connection began.
    ended: bool,
}

impl World {
    /// Whose device is at the other end of a connection.
    pub(super) fn person_at(&self, connection: ConnectionId) -> Option<usize> {
        self.sockets.get(&connection).map(|socket| socket.person)
    }

    /// A device tries to connect.
    pub(super) fn connect(&mut self, person: usize, process: u64, attempt: u64) {
        let Some(target) = self.people.get(person) else { return };
        let current = target.process == process && target.attempts == attempt && target.device.is_some();
        if !current || target.connection.is_some() {
            return;
        }
        let node = target.home;
        if !self.is_up(node) {
            return self.lost_connection(person);
        }
        self.open_socket(person, node);
        self.give(person, Task::Connected);
    }

    /// A connection stands.
    pub(super) fn open_socket(&mut self, person: usize, node: usize) {
        let changed = !self.has_one_device(self.owner(person));
        let ended =
            changed && self.people.get(person).is_some_and(|one| self.is_ended_at(node, &one.account, &one.device_id));
        self.numbers += 1;
        let connection = self.numbers;
        let challenge = self.dice.bytes();
        let socket = Socket {
            person,
            node,
            to_node_at: self.now,
            to_device_at: self.now,
            open_at_node: true,
            open_at_device: true,
            broken: false,
            ended,
        };
        self.sockets.insert(connection, socket);
        if let Some(target) = self.people.get_mut(person) {
            target.connection = Some(connection);
        }
        self.note(format_args!("person {person} connects to node {node}"), &challenge);
        self.feed(node, Input::Connected { connection, challenge });
    }

    pub(super) fn send_to_node(&mut self, person: usize, frame: ClientFrame) {
        if let Some(connection) = self.people.get(person).and_then(|target| target.connection) {
            self.send_over(connection, frame);
        }
    }

    pub(super) fn send_over(&mut self, connection: ConnectionId, frame: ClientFrame) {
        let latency = self.latency();
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        socket.to_node_at = socket.to_node_at.max(self.now + latency);
        let at = socket.to_node_at;
        self.schedule.at(at, Event::ToNode { connection, frame: Box::new(frame) });
    }

    pub(super) fn send_to_device(&mut self, connection: ConnectionId, frame: ServerFrame) {
        let latency = self.latency();
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        socket.to_device_at = socket.to_device_at.max(self.now + latency);
        let at = socket.to_device_at;
        self.schedule.at(at, Event::ToDevice { connection, frame: Box::new(frame) });
    }

    pub(super) fn at_node(&mut self, connection: ConnectionId, frame: ClientFrame) {
        let Some(socket) = self.sockets.get(&connection) else { return };
        if socket.broken || !socket.open_at_node {
            return;
        }
        let node = socket.node;
        self.note(
            format_args!("node {node} hears {} on connection {connection}", frame.name()),
            &codec::encode(&frame),
        );
        self.feed(node, Input::Frame { connection, frame });
    }

    pub(super) fn at_device(&mut self, connection: ConnectionId, frame: ServerFrame) {
        let Some(socket) = self.sockets.get(&connection) else { return };
        if socket.broken || !socket.open_at_device {
            return;
        }
        let (person, ended) = (socket.person, socket.ended);
        self.note(format_args!("person {person} hears connection {connection}"), &codec::encode(&frame));
        if let ServerFrame::Refused { error, .. } = &frame {
            self.note(format_args!("person {person} is refused: {}", error.message), &[]);
        }
        if self.is_coming(person) {
            return self.coming_hears(person, connection, frame);
        }
        if ended && matches!(frame, ServerFrame::SignedIn { .. }) {
            self.violated("I7", format!("a home lets device {person} in, which its account has ended"));
        }
        self.check_heard(person, &frame);
        self.give(person, Task::Frame(Box::new(frame)));
    }

    /// The node closes a connection: another one of the same device took its place.
    pub(super) fn close_from_node(&mut self, connection: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        socket.open_at_node = false;
        let at = socket.to_device_at.max(self.now) + 1;
        self.schedule.at(at, Event::DeviceHangup { connection });
    }

    /// The device closes its connection.
    pub(super) fn hang_up(&mut self, person: usize) {
        let Some(connection) = self.people.get(person).and_then(|target| target.connection) else { return };
        self.cut(connection, 0, 30);
    }

    /// A connection breaks: the ends notice after a while.
    pub(super) fn cut(&mut self, connection: ConnectionId, device_ms: Millis, node_ms: Millis) {
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        socket.broken = true;
        self.schedule.at(self.now + device_ms, Event::DeviceHangup { connection });
        self.schedule.at(self.now + node_ms, Event::NodeHangup { connection });
    }

    pub(super) fn device_hangup(&mut self, connection: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(&connection).filter(|socket| socket.open_at_device) else { return };
        socket.open_at_device = false;
        let person = socket.person;
        if self.people.get(person).is_some_and(|target| target.connection == Some(connection)) {
            if self.is_coming(person) {
                self.comes_not(person);
            } else {
                self.lost_connection(person);
            }
        }
        self.forget_socket(connection);
    }

    pub(super) fn node_hangup(&mut self, connection: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(&connection).filter(|socket| socket.open_at_node) else { return };
        socket.open_at_node = false;
        let node = socket.node;
        self.feed(node, Input::Closed { connection });
        self.forget_socket(connection);
    }

    /// A node's process is gone: its devices are told by the system, or notice the silence.
    pub(super) fn node_is_gone(&mut self, node: usize) {
        let open: Vec<_> = self.sockets.iter().filter(|(_, socket)| socket.node == node).map(|(id, _)| *id).collect();
        for connection in open {
            let notice = if self.dice.chance(800) { self.latency() } else { SILENCE_MS };
            let Some(socket) = self.sockets.get_mut(&connection) else { continue };
            // What it had sent still arrives.
            socket.open_at_node = false;
            let at = socket.to_device_at.max(self.now + notice) + 1;
            self.schedule.at(at, Event::DeviceHangup { connection });
        }
    }

    /// A device's process is gone: its home is told by the system, or never while the connection looks alive.
    pub(super) fn device_is_gone(&mut self, person: usize) {
        let Some(connection) = self.people.get_mut(person).and_then(|target| target.connection.take()) else { return };
        let notice = if self.dice.chance(700) { self.latency() } else { SILENCE_MS };
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        // What it had sent still arrives.
        socket.open_at_device = false;
        let at = socket.to_node_at.max(self.now + notice) + 1;
        self.schedule.at(at, Event::NodeHangup { connection });
    }

    fn forget_socket(&mut self, connection: ConnectionId) {
        if self.sockets.get(&connection).is_some_and(|socket| !socket.open_at_node && !socket.open_at_device) {
            self.sockets.remove(&connection);
        }
    }
}
