//! Blobs: who may leave how much of them here, what is fetched for whom, and what makes way.

use super::*;
use roost_protocol::content::BlobRef;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, payload_hash};
use roost_protocol::ids::BlobId;
use roost_protocol::peer::{Deliver, EntryBlobs};

const GROUP: GroupId = GroupId([6; 32]);

fn of(number: u8, bytes: u64) -> BlobRef {
    BlobRef { blob: BlobId([number; 32]), bytes }
}

fn with(limits: Limits) -> World {
    let store = MemoryStore::new([1; 16]);
    let identity = Identity { limits, ..World::identity() };
    let relay = Relay::open(identity, &mut Overlay::new(&store)).unwrap();
    World { store, relay, now_ms: NOW_MS }
}

/// What a frame leads to: an order, or an answer.
fn ask(world: &mut World, frame: ClientFrame) -> Result<BlobOrder, Box<ServerFrame>> {
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    let answer = outputs.into_iter().find_map(|output| match output {
        Output::Blob(order @ (BlobOrder::Upload { .. } | BlobOrder::Download { .. } | BlobOrder::Progress { .. })) => {
            Some(Ok(order))
        }
        Output::Send(1, frame) => Some(Err(Box::new(frame))),
        _ => None,
    });
    answer.expect("every request is answered")
}

fn put(world: &mut World, of: BlobRef) -> Result<BlobOrder, Box<ServerFrame>> {
    ask(world, ClientFrame::PutBlob { id: 7, blob: of.blob, bytes: of.bytes })
}

fn fetch(world: &mut World, of: BlobRef, from: u8) -> Result<BlobOrder, Box<ServerFrame>> {
    ask(world, ClientFrame::FetchBlob { id: 7, blob: of.blob, bytes: of.bytes, node: node(from) })
}

/// Puts a blob to its end.
fn put_whole(world: &mut World, of: BlobRef) {
    assert_eq!(put(world, of), Ok(BlobOrder::Upload { connection: 1, id: 7, of }), "a device may bring it");
    world.batch(vec![Input::BlobPut(of.blob)]);
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Box<ServerFrame>>) -> (Code, bool) {
    match *answer.expect_err("a refusal") {
        ServerFrame::Refused { error, .. } => (error.code, error.later),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The blobs that are to be fetched, and those that are removed.
fn moved(outputs: &[Output]) -> (Vec<BlobRef>, Vec<BlobId>) {
    let mut fetched = Vec::new();
    let mut deleted = Vec::new();
    for output in outputs {
        match output {
            Output::Blob(BlobOrder::Fetch { of, .. }) => fetched.push(*of),
            Output::Blob(BlobOrder::Delete(blob)) => deleted.push(*blob),
            _ => {}
        }
    }
    (fetched, deleted)
}

fn given(world: &mut World, of: BlobRef) -> Result<BlobOrder, Refusal> {
    let request = NodeRequest::Blob { blob: of.blob, offset: 0 };
    let (outputs, _) = world.batch(vec![Input::Asked { token: 5, peer: node(2), request }]);
    let answer = outputs.into_iter().find_map(|output| match output {
        Output::Blob(order @ BlobOrder::Give { token: 5, .. }) => Some(Ok(order)),
        Output::Answer(5, NodeResponse::Refused(refusal)) => Some(Err(refusal)),
        _ => None,
    });
    answer.expect("a node is answered")
}

#[test]
fn a_blob_keeps_its_bounds_and_its_name() {
    let mut world = World::new();
    world.alice();
    for bytes in [0, limits::BLOB_BYTES_MAX + 1] {
        assert_eq!(refusal(put(&mut world, of(1, bytes))), (Code::TooLarge, false), "{bytes} bytes are no blob");
        assert_eq!(refusal(fetch(&mut world, of(1, bytes), 2)), (Code::TooLarge, false), "nor to be asked for");
    }
    put_whole(&mut world, of(1, 5_000));
    let there = ServerFrame::Blob { id: 7, have: 5_000, ticket: None };
    assert_eq!(put(&mut world, of(1, 5_000)), Err(Box::new(there)), "put again, it is there");
    for other in [4_999, 5_001] {
        assert_eq!(refusal(put(&mut world, of(1, other))), (Code::Malformed, false), "{other} bytes have another name");
        assert_eq!(refusal(fetch(&mut world, of(1, other), 2)), (Code::Malformed, false), "{other}, asked for");
    }
    world.batch(vec![Input::LowSpace(true)]);
    assert_eq!(refusal(put(&mut world, of(2, 5_000))), (Code::Busy, true), "nothing new where the disk is nearly full");
    assert!(fetch(&mut world, of(1, 5_000), 1).is_ok(), "what is there is given all the same");
}

#[test]
fn an_account_has_so_much_room_and_what_is_kept_for_it_makes_way() {
    let mut world = with(Limits { blobs_own_bytes: 10_000, blobs_kept_bytes: 10_000, ..Limits::PRODUCTION });
    world.alice();
    put_whole(&mut world, of(1, 6_000));
    assert_eq!(refusal(put(&mut world, of(2, 6_000))), (Code::Quota, false), "both have no room");
    put_whole(&mut world, of(3, 4_000));
    assert_eq!(refusal(put(&mut world, of(4, 1))), (Code::Quota, false), "now nothing has");

    for (number, bytes) in [(11, 6_000), (12, 4_000)] {
        assert!(fetch(&mut world, of(number, bytes), 2).is_ok(), "what others said has room of its own");
        world.batch(vec![Input::BlobFetched(BlobId([number; 32]), Fetched::Whole)]);
        world.now_ms += 1;
    }
    let frame = ClientFrame::FetchBlob { id: 7, blob: BlobId([13; 32]), bytes: 3_000, node: node(2) };
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    assert_eq!(moved(&outputs), (vec![of(13, 3_000)], vec![BlobId([11; 32])]), "the oldest makes way, and no other");
    assert_eq!(refusal(fetch(&mut world, of(14, 10_001), 2)), (Code::Quota, false), "nothing makes room for too much");

    // A month later everything has gone, and the account has all of its room again.
    world.now_ms += Limits::PRODUCTION.blobs_keep_ms + 3_600_000;
    let (outputs, _) = world.batch(vec![Input::Tick]);
    assert_eq!(moved(&outputs).1.len(), 4, "own ones and kept ones go with their time: {outputs:?}");
    put_whole(&mut world, of(2, 10_000));
}

#[test]
fn an_upload_that_does_not_go_on_gives_its_place_back_after_a_day() {
    let mut world = with(Limits { blobs_own_bytes: 10_000, ..Limits::PRODUCTION });
    world.alice();
    assert!(put(&mut world, of(1, 6_000)).is_ok(), "it begins");
    world.now_ms += 23 * 3_600_000;
    assert!(put(&mut world, of(1, 6_000)).is_ok(), "it goes on");
    world.now_ms += 23 * 3_600_000;
    world.batch(vec![Input::Tick]);
    assert_eq!(refusal(put(&mut world, of(2, 6_000))), (Code::Quota, false), "and has its place");
    world.now_ms += 3 * 3_600_000;
    let (outputs, _) = world.batch(vec![Input::Tick]);
    assert_eq!(moved(&outputs).1, [BlobId([1; 32])], "nothing came for a day");
    assert!(put(&mut world, of(2, 6_000)).is_ok(), "others have the room");
}

#[test]
fn a_message_is_about_blobs_that_are_here() {
    let mut world = World::new();
    world.alice();
    let bob = log_of(30, node(2));
    let (head, creation) = conversation(GROUP, &bob);
    let frame = ClientFrame::Introduce { id: 1, head, creation, lineage: vec![] };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    let submit = |world: &mut World, number: u8, blobs: Vec<BlobRef>| {
        let (message, payload) = (MessageId([number; 16]), Bytes(vec![number; 100]));
        let frame =
            ClientFrame::Submit { id: 3, group: GROUP, epoch: 1, message, attempt: 0, payload, silent: false, blobs };
        world.batch(vec![Input::Frame { connection: 1, frame }]).0
    };
    let told = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match output {
            Output::Send(1, frame) => Some(frame.clone()),
            _ => None,
        })
    };
    let none = told(&submit(&mut world, 1, vec![of(1, 5_000)])).unwrap();
    assert_eq!(refusal::<()>(Err(Box::new(none))), (Code::NotFound, false), "nobody has put it");
    assert!(put(&mut world, of(1, 5_000)).is_ok(), "a device begins to");
    let part = told(&submit(&mut world, 1, vec![of(1, 5_000)])).unwrap();
    assert_eq!(refusal::<()>(Err(Box::new(part))), (Code::NotFound, false), "it is not whole");
    world.batch(vec![Input::BlobPut(BlobId([1; 32]))]);
    let five = told(&submit(&mut world, 1, vec![of(1, 5_000); 5])).unwrap();
    assert_eq!(refusal::<()>(Err(Box::new(five))), (Code::TooLarge, false), "five are too many");
    let outputs = submit(&mut world, 1, vec![of(1, 5_000)]);
    assert!(matches!(told(&outputs), Some(ServerFrame::Accepted { seq: 1, .. })), "now it is here: {outputs:?}");
    let delivered = outputs.iter().find_map(|output| match output {
        Output::Ask(_, peer, NodeRequest::Deliver(deliver)) if *peer == node(2) => Some(deliver.blobs.clone()),
        _ => None,
    });
    let named = vec![EntryBlobs { seq: 1, blobs: vec![of(1, 5_000)] }];
    assert_eq!(delivered, Some(named), "bob's home is told what to fetch");
}

/// What bob's home delivers to alice's, with blobs named.
fn delivery(creation: &Creation, bob: AccountId, blobs: Vec<EntryBlobs>) -> Input {
    let payload = Bytes(vec![7; 50]);
    let header = EntryHeader {
        feed: FeedId { group: GROUP, node: node(2), incarnation: Incarnation([2; 16]) },
        seq: 1,
        prev: Hash([0; 32]),
        kind: EntryKind::Message,
        epoch: 1,
        account: bob,
        device: device_of(30),
        message: MessageId::of(NOW_MS, b"about a file"),
        attempt: 0,
        payload_hash: payload_hash(payload.as_slice()),
    };
    let (conversation, accounts) = (creation.state.conversation, vec![log_of(10, node(1)).account()]);
    let entries = vec![Entry { header, payload, silent: false }];
    let deliver = Deliver { conversation, entries, accounts, begins: false, log: None, blobs };
    Input::Asked { token: 5, peer: node(2), request: NodeRequest::Deliver(deliver) }
}

fn with_bob() -> (World, Creation, AccountId) {
    let mut world = World::new();
    world.alice();
    let bob = log_of(30, node(2));
    let (head, creation) = conversation(GROUP, &bob);
    let frame = ClientFrame::Introduce { id: 1, head, creation: creation.clone(), lineage: vec![] };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    (world, creation, bob.account())
}

#[test]
fn a_blob_is_fetched_once_and_given_to_who_knows_its_name() {
    let (mut world, creation, bob) = with_bob();
    let file = of(1, 5_000);
    let named = vec![EntryBlobs { seq: 1, blobs: vec![file] }];
    let (outputs, _) = world.batch(vec![delivery(&creation, bob, named.clone())]);
    assert!(matches!(outputs[0], Output::Answer(5, NodeResponse::Custody(_))), "custody does not wait for it");
    assert_eq!(moved(&outputs).0, [file], "it is fetched unasked");
    let (outputs, _) = world.batch(vec![delivery(&creation, bob, named)]);
    assert_eq!(moved(&outputs).0, [], "once, however often it is named");
    assert_eq!(
        fetch(&mut world, file, 2),
        Ok(BlobOrder::Progress { connection: 1, id: 7, of: file }),
        "a device waits"
    );
    let not_whole = given(&mut world, file).unwrap_err();
    assert_eq!((not_whole.code, not_whole.later), (Code::NotFound, true), "half of it is given to nobody");

    world.batch(vec![Input::BlobFetched(file.blob, Fetched::NotNow)]);
    assert_eq!(moved(&world.batch(vec![Input::Tick]).0).0, [], "what failed is tried again after a pause");
    world.now_ms += 1_000;
    assert_eq!(moved(&world.batch(vec![Input::Tick]).0).0, [file], "and then again");
    // A restart forgets nothing of it.
    world.relay = Relay::open(World::identity(), &mut Overlay::new(&world.store)).unwrap();
    assert_eq!(moved(&world.batch(vec![Input::Tick]).0).0, [file], "after a restart at once");
    world.batch(vec![Input::BlobFetched(file.blob, Fetched::Whole)]);
    assert_eq!(given(&mut world, file), Ok(BlobOrder::Give { token: 5, of: file, offset: 0 }), "now it is given");
    world.alice();
    assert_eq!(fetch(&mut world, file, 2), Ok(BlobOrder::Download { connection: 1, id: 7, of: file }), "and read");

    let never = given(&mut world, of(9, 1)).unwrap_err();
    assert_eq!((never.code, never.later), (Code::NotFound, false), "what is not here is told to be");
    assert_eq!(refusal(fetch(&mut world, of(9, 1), 1)), (Code::NotFound, false), "also to who put it here once");
    world.batch(vec![Input::BlobLost(file.blob)]);
    assert!(given(&mut world, file).is_err(), "what the disk has lost is not claimed");
    assert_eq!(
        fetch(&mut world, file, 2),
        Ok(BlobOrder::Progress { connection: 1, id: 7, of: file }),
        "it is fetched anew"
    );
}

#[test]
fn a_delivery_names_blobs_as_it_may() {
    let (mut world, creation, bob) = with_bob();
    for (what, blobs) in [
        ("five with one entry", vec![EntryBlobs { seq: 1, blobs: vec![of(1, 5); 5] }]),
        ("more lists than entries", vec![EntryBlobs { seq: 1, blobs: vec![] }; 2]),
        ("an empty one", vec![EntryBlobs { seq: 1, blobs: vec![of(1, 0)] }]),
        ("one that is too long", vec![EntryBlobs { seq: 1, blobs: vec![of(1, u64::MAX)] }]),
    ] {
        let (outputs, _) = world.batch(vec![delivery(&creation, bob, blobs)]);
        let Output::Answer(5, NodeResponse::Refused(refusal)) = &outputs[0] else { panic!("{what}: {outputs:?}") };
        assert_eq!((refusal.code, refusal.later), (Code::Malformed, false), "{what}");
    }
    let elsewhere = vec![EntryBlobs { seq: 7, blobs: vec![of(1, 5)] }];
    let (outputs, _) = world.batch(vec![delivery(&creation, bob, elsewhere)]);
    assert_eq!(moved(&outputs).0, [], "what belongs to no entry of the delivery is not fetched");
}
