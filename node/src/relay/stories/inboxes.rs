//! Stories of an inbox: where early entries have their places, and what is told of it.

use super::*;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, payload_hash};
use roost_protocol::peer::Deliver;

/// What node 2 writes for a conversation of alice, who lives here, and bob, who lives there.
pub(super) struct Writer {
    pub creation: Creation,
    group: GroupId,
    bob: AccountId,
    seq: u64,
    prev: Hash,
}

impl Writer {
    /// Alice is here and has everything; her home knows the conversation.
    pub fn with_alice(world: &mut World) -> Self {
        let alice = world.alice();
        world.relay.present.entry(alice).or_default().insert(1);
        let (group, bob) = (GroupId([6; 32]), log_of(30, node(2)));
        let (head, creation) = conversation(group, &bob);
        let frame = ClientFrame::Introduce { id: 1, head, creation: creation.clone(), lineage: vec![] };
        let incarnation = Incarnation([1; 16]);
        let resume = ClientFrame::Resume { id: 2, incarnation, after: 0 };
        world.batch([frame, resume].map(|frame| Input::Frame { connection: 1, frame }).into());
        Self { creation, group, bob: bob.account(), seq: 0, prev: Hash([0; 32]) }
    }

    /// Brings so many entries; gives what alice is told.
    fn brings(&mut self, world: &mut World, count: usize) -> Vec<ServerFrame> {
        told(&self.delivers(world, count, false))
    }

    /// Brings so many entries, silent or not; gives everything that leaves.
    pub fn delivers(&mut self, world: &mut World, count: usize, silent: bool) -> Vec<Output> {
        let entries = (0..count).map(|_| Entry { silent, ..self.next() }).collect();
        let (conversation, accounts) = (self.creation.state.conversation, vec![log_of(10, node(1)).account()]);
        let deliver = Deliver { conversation, entries, accounts, begins: false, log: None, blobs: Vec::new() };
        let request = NodeRequest::Deliver(deliver);
        let (outputs, _) = world.batch(vec![Input::Asked { token: 5, peer: node(2), request }]);
        let custody = outputs.iter().find_map(|output| match output {
            Output::Answer(5, NodeResponse::Custody(custodies)) => Some(custodies[0].seq),
            _ => None,
        });
        assert_eq!(custody, Some(self.seq), "custody of all is given at once: {outputs:?}");
        outputs
    }

    fn next(&mut self) -> Entry {
        let payload = Bytes(vec![7; 50]);
        self.seq += 1;
        let header = EntryHeader {
            feed: FeedId { group: self.group, node: node(2), incarnation: Incarnation([2; 16]) },
            seq: self.seq,
            prev: self.prev,
            kind: EntryKind::Message,
            epoch: 1,
            account: self.bob,
            device: device_of(30),
            message: MessageId::of(NOW_MS, &self.seq.to_be_bytes()),
            attempt: 0,
            payload_hash: payload_hash(payload.as_slice()),
        };
        self.prev = header.hash();
        Entry { header, payload, silent: false }
    }
}

fn told(outputs: &[Output]) -> Vec<ServerFrame> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send(1, frame) | Output::Early(1, frame) => Some(frame.clone()),
            _ => None,
        })
        .collect()
}

/// First inbox position and number of what is placed.
fn placed(frames: &[ServerFrame]) -> Vec<(u64, u64)> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            ServerFrame::Placed { inbox, count, .. } => Some((*inbox, *count)),
            _ => None,
        })
        .collect()
}

fn pushed(frames: &[ServerFrame]) -> usize {
    frames.iter().filter(|frame| matches!(frame, ServerFrame::Entry { inbox: None, .. })).count()
}

#[test]
fn the_places_of_early_entries_are_told_of_several_at_once_and_soon() {
    let mut world = World::new();
    let mut writer = Writer::with_alice(&mut world);
    let frames = writer.brings(&mut world, 1);
    assert_eq!((pushed(&frames), placed(&frames)), (1, vec![]), "the entry is there before its place is told");
    let due = world.now_ms + 20;
    assert!(world.relay.wake_at().is_some_and(|at| at <= due), "which is not forgotten");
    world.now_ms += 10;
    assert_eq!(pushed(&writer.brings(&mut world, 2)), 2, "two more go the same way");
    world.now_ms = due;
    let (outputs, _) = world.batch(vec![Input::Tick]);
    assert_eq!(placed(&told(&outputs)), [(1, 3)], "one frame tells the places of all three");

    let frames = writer.brings(&mut world, 32);
    assert_eq!((pushed(&frames), placed(&frames)), (32, vec![(4, 32)]), "many do not wait for more");
    writer.brings(&mut world, 1);
    world.batch(vec![Input::Closed { connection: 1 }]);
    world.now_ms += 20;
    let (outputs, _) = world.batch(vec![Input::Tick]);
    assert_eq!(placed(&told(&outputs)), [], "nobody is told who has gone");
}

#[test]
fn what_comes_behind_early_entries_comes_behind_their_places() {
    let mut world = World::new();
    let mut writer = Writer::with_alice(&mut world);
    for count in [64, 64, 64, 62] {
        assert_eq!(pushed(&writer.brings(&mut world, count)), count, "all of them go early");
    }
    let frames = writer.brings(&mut world, 10);
    assert_eq!((pushed(&frames), placed(&frames)), (2, vec![]), "a window is full of what she has not acknowledged");
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame: ClientFrame::Ack { inbox: 254 } }]);
    let places: Vec<_> = told(&outputs)
        .iter()
        .map(|frame| match frame {
            ServerFrame::Placed { inbox, count, .. } => (*inbox, *count),
            ServerFrame::Entry { inbox: Some(inbox), .. } => (*inbox, 1),
            other => panic!("expected places and entries, got {other:?}"),
        })
        .collect();
    let expected: Vec<_> = std::iter::once((255, 2)).chain((257..=264).map(|inbox| (inbox, 1))).collect();
    assert_eq!(places, expected, "the places of the two come before the entries behind them");
    let cursor = rows::cursor(&log_of(10, node(1)).account(), &device_of(10));
    assert_eq!(world.row::<u64>(&cursor), Some(254), "and what she has is noted");
}
