#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Stories of one node's rules: what must not be lost, swapped, or written at once.

use super::*;
use crate::store::{BATCH_BYTES_MAX, MemoryStore, Read as _, Store as _};
use roost_crypto::group::{Credential, GroupError, Member, PublicView};
use roost_crypto::identity_log::{Operation, Signer, VerifiedLog};
use roost_crypto::keys::PublicKey;
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{ConversationHead, ConversationState, Creation, Participant, Policy, Role};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, FeedId, Hash, OperationId};
use roost_protocol::records::{HandleRecord, NodeAddress, OrgRecord};

mod archive;
mod blobs;
mod commits;
mod devices;
mod inboxes;
mod push;
mod successors;
mod whispers;
mod wide;

const NOW_MS: u64 = 1_795_000_000_000;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn node(seed: u8) -> NodeId {
    NodeId::of(key(seed).public_key())
}

fn log_of(root: u8, home: NodeId) -> VerifiedLog {
    VerifiedLog::create(&key(root), &key(root + 1).public_key(), vec![home]).unwrap()
}

fn device_of(root: u8) -> DeviceId {
    DeviceId::of(&key(root + 1).public_key())
}

/// A GroupInfo that is a list of what a hub wants to know of it.
fn read_plain(group_info: &[u8], _: &[u8]) -> Result<PublicView, GroupError> {
    type Plain = (Bytes, Bytes, Vec<(AccountId, DeviceId, PublicKey)>);
    let (group, conv_state, leaves): Plain =
        roost_crypto::codec::decode(group_info, 1 << 20).map_err(|_| GroupError::Engine)?;
    let member = |(account, device, key)| Member { credential: Credential { account, device, log_seq: 0 }, key };
    Ok(PublicView { group_id: group.0, epoch: 1, conv_state, members: leaves.into_iter().map(member).collect() })
}

struct World {
    store: MemoryStore,
    relay: Relay,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let store = MemoryStore::new([1; 16]);
        let relay = Relay::open(Self::identity(), &mut Overlay::new(&store)).unwrap();
        Self { store, relay, now_ms: NOW_MS }
    }

    fn identity() -> Identity {
        Identity {
            org_key: key(200),
            node_key: key(1),
            name: "acme.example".into(),
            open: true,
            limits: Limits::PRODUCTION,
            push: None,
            incarnation: Incarnation([1; 16]),
            inspector: Inspector { creation: read_plain, ..Inspector::default() },
            sabotage: Sabotage::NONE,
        }
    }

    /// One batch; gives its outputs and how many bytes it wrote.
    fn batch(&mut self, inputs: Vec<Input>) -> (Vec<Output>, usize) {
        let mut rows = Overlay::new(&self.store);
        let mut outputs = Vec::new();
        for input in inputs {
            outputs.extend(self.relay.handle(input, &mut rows, self.now_ms).unwrap());
        }
        outputs.extend(self.relay.settle(&mut rows, self.now_ms).unwrap());
        let batch = rows.into_batch();
        let bytes = batch.bytes();
        self.store.commit(batch).unwrap();
        (outputs, bytes)
    }

    fn write(&mut self, write: impl FnOnce(&mut Overlay<'_>)) {
        let mut rows = Overlay::new(&self.store);
        write(&mut rows);
        let batch = rows.into_batch();
        self.store.commit(batch).unwrap();
    }

    fn row<T: serde::de::DeserializeOwned>(&self, key: &[u8]) -> Option<T> {
        self.store.get(key).unwrap().map(|value| rows::decode(key, &value).unwrap())
    }

    /// A connection on which alice, who lives here, is signed in.
    fn alice(&mut self) -> AccountId {
        let log = log_of(10, node(1));
        let account = log.account();
        self.write(|rows| {
            let row =
                AccountRow { log: log.log().clone(), handle_record: handle_record(account, NOW_MS / 1000 + 1_000) };
            rows::put(rows, rows::account(&account), &row);
        });
        self.batch(vec![Input::Connected { connection: 1, challenge: [7; 32] }]);
        self.relay.connections.get_mut(&1).unwrap().device = Some((account, device_of(10)));
        account
    }

    fn submit(&mut self, group: GroupId, number: u8) -> Result<u64, Refusal> {
        let payload = Bytes(vec![number; 100]);
        let (id, message) = (u64::from(number), MessageId([number; 16]));
        let frame =
            ClientFrame::Submit { id, group, epoch: 1, message, attempt: 0, payload, silent: false, blobs: Vec::new() };
        let (outputs, _) = self.batch(vec![Input::Frame { connection: 1, frame }]);
        outputs
            .into_iter()
            .find_map(|output| match output {
                Output::Send(1, ServerFrame::Accepted { seq, .. }) => Some(Ok(seq)),
                Output::Send(1, ServerFrame::Refused { error, .. }) => Some(Err(error)),
                _ => None,
            })
            .expect("a submission is answered")
    }
}

fn handle_record(account: AccountId, expires: u64) -> Signed {
    let (root, handle) = (key(200).public_key(), Handle::new("alice", "acme.example").unwrap());
    HandleRecord { root, handle, account, seq: 1, expires }.sign(&key(200))
}

/// The state of a conversation of two accounts whose hub is `hub`.
fn state(mut accounts: [AccountId; 2], hub: NodeId) -> ConversationState {
    accounts.sort();
    let [low, high] = accounts;
    ConversationState {
        conversation: ConversationId::direct(&low, &high),
        generation: 0,
        term: 0,
        hub,
        successors: vec![],
        participants: [low, high].map(|account| Participant { account, role: Role::Member }).to_vec(),
        policy: Policy::Direct,
    }
}

/// A conversation of alice, who lives at node 1, and bob by the log given; with the head that its hub signs.
fn conversation(group: GroupId, bob: &VerifiedLog) -> (Signed, Creation) {
    let alice = log_of(10, node(1));
    // Whoever has the smaller id is the one whose home must be the hub, as the logs in the creation say.
    let low = if alice.account() < bob.account() { &alice } else { bob };
    let state = state([alice.account(), bob.account()], low.homes()[0]);
    let leaves = [(alice.account(), 10), (bob.account(), 30)]
        .map(|(account, root)| (account, device_of(root), key(root + 1).public_key()));
    let plain = (Bytes(group.as_bytes().to_vec()), Bytes(roost_crypto::codec::encode(&state)), leaves.to_vec());
    let creation = Creation {
        operation: OperationId([8; 16]),
        group,
        state: state.clone(),
        logs: vec![alice.log().clone(), bob.log().clone()],
        commit: Bytes(vec![]),
        welcome: Bytes(vec![]),
        group_info: Bytes(roost_crypto::codec::encode(&plain)),
        tree: Bytes(vec![]),
    };
    let hub_key = (1..=3).map(key).find(|key| NodeId::of(key.public_key()) == state.hub).unwrap();
    let head = ConversationHead { group, state, epoch: 1, made_by: creation.hash(), ordered_by: None };
    (head.sign(&hub_key), creation)
}

fn own_record() -> Input {
    let address = NodeAddress { node: node(1), addrs: vec![], web: String::new(), region: String::new(), weight: 1 };
    let record = OrgRecord {
        root: key(200).public_key(),
        name: "acme.example".into(),
        nodes: vec![address],
        seq: 1,
        expires: NOW_MS / 1000 + 1_000,
    };
    Input::OwnRecord(SignedOrgRecord::sign(&record, &key(200), &[&key(1)]))
}

/// The nodes that are greeted, and the numbers of the requests.
fn greeted(outputs: &[Output]) -> Vec<(RequestToken, NodeId)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Ask(token, node, NodeRequest::Hello(_)) => Some((*token, *node)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_home_to_which_a_forgotten_conversation_is_shown_greets_who_takes_part_until_it_is_heard() {
    let mut world = World::new();
    world.alice();
    world.batch(vec![own_record()]);
    let bob = log_of(30, node(2));
    let (head, creation) = conversation(GroupId([6; 32]), &bob);
    let frame = ClientFrame::Introduce { id: 9, head, creation, lineage: vec![] };
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    let [(_, asked)] = greeted(&outputs)[..] else { panic!("one node is greeted at once: {outputs:?}") };
    assert_eq!(asked, node(2), "the home of the other");

    // Nobody hears it, and this node starts anew: it is not forgotten.
    world.relay = Relay::open(World::identity(), &mut Overlay::new(&world.store)).unwrap();
    world.now_ms += 60_000;
    let (outputs, _) = world.batch(vec![own_record()]);
    let [(token, asked)] = greeted(&outputs)[..] else { panic!("it is greeted again: {outputs:?}") };
    assert_eq!(asked, node(2), "after a restart");

    let response = Some(NodeResponse::Refused(Refusal::later(Code::Busy, "starting", "later")));
    let (outputs, _) = world.batch(vec![Input::Answered { token, response }]);
    assert_eq!(greeted(&outputs), vec![], "whoever answered has heard it");
    assert!(world.relay.wake_at().is_some_and(|at| at >= world.now_ms + limits::CONTACT_MS * 3 / 4), "and has a pause");
    world.now_ms += limits::CONTACT_MS * 5 / 4;
    assert_eq!(greeted(&world.batch(vec![Input::Tick]).0).len(), 1, "then it is greeted all the same");
}

#[test]
fn a_node_is_shown_a_forgotten_conversation_by_another_that_takes_part() {
    let mut world = World::new();
    world.alice();
    let bob = log_of(30, node(2));
    let (head, creation) = conversation(GroupId([6; 32]), &bob);
    let mut shown = |peer: u8, head: &Signed, creation: &Creation| {
        let request = NodeRequest::Introduce { head: head.clone(), creation: creation.clone(), lineage: vec![] };
        let (outputs, _) = world.batch(vec![Input::Asked { token: 5, peer: node(peer), request }]);
        let answer = outputs.into_iter().find_map(|output| match output {
            Output::Answer(5, NodeResponse::Refused(refusal)) => Some(Err(refusal.code)),
            Output::Answer(5, NodeResponse::Done) => Some(Ok(())),
            _ => None,
        });
        (answer.expect("it is answered"), world.row::<ConversationHead>(&rows::group(&creation.group)).is_some())
    };
    assert_eq!(shown(3, &head, &creation), (Err(Code::NotMember), false), "a node that serves nobody of it");
    let by_another = ConversationHead::verify(&head).unwrap().sign(&key(3));
    assert_eq!(shown(2, &by_another, &creation), (Err(Code::Malformed), false), "a head that the hub did not sign");
    let dave = log_of(70, node(2));
    let (foreign_head, foreign) = {
        let (_, mut foreign) = conversation(GroupId([7; 32]), &bob);
        foreign.state = state([bob.account(), dave.account()], node(2));
        let (group, made_by) = (foreign.group, foreign.hash());
        (
            ConversationHead { group, state: foreign.state.clone(), epoch: 1, made_by, ordered_by: None }.sign(&key(2)),
            foreign,
        )
    };
    assert_eq!(shown(2, &foreign_head, &foreign), (Err(Code::NotMember), false), "a conversation of nobody here");
    assert_eq!(shown(2, &head, &creation), (Ok(()), true), "its own");
    assert_eq!(shown(2, &head, &creation), (Ok(()), true), "and again");
    // A second group that the hub let stand in another life: what was said in it is read, so it is known beside the first.
    let (head, creation) = conversation(GroupId([4; 32]), &bob);
    assert_eq!(shown(2, &head, &creation), (Ok(()), true), "another group of the same two");
}

#[test]
fn a_move_that_a_creation_tells_takes_along_what_waits_for_the_account() {
    let mut world = World::new();
    world.alice();
    let bob = log_of(30, node(2));
    let moved = bob.append(Operation::SetHomes { homes: vec![node(3)] }, Signer::Root, &key(30)).unwrap();
    let feed = FeedId { group: GroupId([5; 32]), node: node(1), incarnation: Incarnation([1; 16]) };
    let (peer_log, outbox) = (rows::peer_log(&bob.account()), rows::outbox(&feed, &bob.account()));
    world.write(|rows| {
        rows::put(rows, peer_log, bob.log());
        rows::put(rows, outbox.clone(), &7_u64);
    });

    let (head, creation) = conversation(GroupId([6; 32]), &moved);
    let frame = ClientFrame::Introduce { id: 9, head, creation, lineage: vec![] };
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Send(1, ServerFrame::Done { id: 9 }))),
        "the conversation is taken: {outputs:?}"
    );
    assert_eq!(world.row::<u64>(&outbox), Some(0), "the new home has custody of nothing yet");
}

#[test]
fn a_new_life_voids_custody_page_by_page_and_is_believed_with_the_last() {
    const FEEDS: u32 = 5_000;
    let mut world = World::new();
    let bob = log_of(30, node(2));
    let feed = |number: u32| {
        let mut group = [0; 32];
        group[..4].copy_from_slice(&number.to_be_bytes());
        FeedId { group: GroupId(group), node: node(1), incarnation: Incarnation([1; 16]) }
    };
    world.write(|rows| {
        rows::put(rows, rows::peer_log(&bob.account()), bob.log());
        rows::put(rows, rows::peer_life(&node(2)), &Incarnation([2; 16]));
        for number in 0..FEEDS {
            rows::put(rows, rows::outbox(&feed(number), &bob.account()), &7_u64);
        }
    });
    let mut bytes = Vec::new();
    let mut rows = Overlay::new(&world.store);
    world
        .relay
        .met(&mut Step { rows: &mut rows, now_ms: NOW_MS, memo: &Mutex::default() }, node(2), Incarnation([3; 16]))
        .unwrap();
    drop(rows);
    while world.row::<Incarnation>(&rows::peer_life(&node(2))) != Some(Incarnation([3; 16])) {
        assert!(bytes.len() < 10, "the walk ends");
        assert_eq!(world.relay.wake_at(), Some(0), "the rules want to go on at once");
        bytes.push(world.batch(vec![Input::Tick]).1);
    }
    assert_eq!(bytes.len(), 3, "5,000 rows are three pages of 2,000");
    assert!(bytes.iter().all(|bytes| *bytes < BATCH_BYTES_MAX / 16), "and no batch is large: {bytes:?}");
    let left =
        (0..FEEDS).filter(|number| world.row(&rows::outbox(&feed(*number), &bob.account())) != Some(0_u64)).count();
    assert_eq!(left, 0, "nothing of the earlier life counts any more");
}

#[test]
fn a_message_behind_one_that_was_refused_for_want_of_space_waits_for_it() {
    let mut world = World::new();
    let alice = world.alice();
    let carol = log_of(50, node(1));
    let group = GroupId([5; 32]);
    let head = ConversationHead {
        group,
        state: state([alice, carol.account()], node(1)),
        epoch: 1,
        made_by: Hash([0; 32]),
        ordered_by: None,
    };
    world.write(|rows| {
        rows::put(rows, rows::group(&group), &head);
        let row = AccountRow {
            log: carol.log().clone(),
            handle_record: handle_record(carol.account(), NOW_MS / 1000 + 1_000),
        };
        rows::put(rows, rows::account(&carol.account()), &row);
    });
    world.batch(vec![Input::LowSpace(true)]);
    let refused = world.submit(group, 1).unwrap_err();
    assert!(refused.later, "there is no room now: {refused:?}");
    world.batch(vec![Input::LowSpace(false)]);
    assert!(world.submit(group, 2).is_err_and(|refusal| refusal.later), "the second does not pass the first");
    assert_eq!(world.submit(group, 1), Ok(1), "the first comes again and is taken");
    assert_eq!(world.submit(group, 2), Ok(2), "then the second");
}

#[test]
fn a_handle_record_that_a_clock_far_ahead_has_signed_is_signed_anew() {
    let mut world = World::new();
    let log = log_of(10, node(1));
    let ahead = handle_record(log.account(), NOW_MS / 1000 + 2 * limits::RECORD_LIFE_S_MAX);
    let row = AccountRow { log: log.log().clone(), handle_record: ahead };
    world.write(|rows| rows::put(rows, rows::account(&log.account()), &row));
    let mut rows = Overlay::new(&world.store);
    world.relay.publish_accounts(&mut rows, NOW_MS, None, 10).unwrap();
    let row: AccountRow = rows::get(&rows, &rows::account(&log.account())).unwrap().unwrap();
    let record = HandleRecord::verify(&row.handle_record, NOW_MS / 1000).expect("it is believed now");
    assert!(record.seq > 1, "and newer than the one before");
}

#[test]
fn who_asked_for_key_packages_too_early_gets_them_once_they_are_there() {
    let mut world = World::new();
    let alice = world.alice();
    let asked = |world: &mut World| {
        let mut rows = Overlay::new(&world.store);
        let mut step = Step { rows: &mut rows, now_ms: NOW_MS, memo: &Mutex::default() };
        match world.relay.hand_out_key_packages(&mut step, node(2), AccountId([9; 32]), alice) {
            Err(Failure::Refused(refusal)) => Some(refusal.code),
            _ => None,
        }
    };
    for time in 0..20 {
        assert_eq!(asked(&mut world), Some(Code::NoKeyPackage), "attempt {time} costs nothing of the allowance");
    }
}

#[test]
fn a_key_package_whose_life_is_over_is_neither_counted_nor_handed_out() {
    /// Of bytes that begin with a zero the life is over.
    fn inspect(bytes: &[u8]) -> Result<KeyPackageInfo, GroupError> {
        if bytes.first() == Some(&0) {
            return Err(GroupError::InvalidKeyPackage);
        }
        let credential = Credential { account: AccountId([1; 32]), device: device_of(10), log_seq: 0 };
        let member = Member { credential, key: key(10).public_key() };
        Ok(KeyPackageInfo { member, reference: [0; 32], last_resort: false })
    }
    let mut world = World::new();
    let alice = world.alice();
    world.relay.identity.inspector.key_package = inspect;
    let pool = rows::key(rows::KEY_PACKAGE, &[alice.as_bytes(), device_of(10).as_bytes()]);
    let place = |number| [&pool[..], &rows::position(number)].concat();
    let last_resort = rows::key(rows::LAST_RESORT, &[alice.as_bytes(), device_of(10).as_bytes()]);
    world.write(|rows| {
        for (number, package) in [(1, [0, 1]), (2, [0, 2]), (3, [1, 3])] {
            rows.put(place(number), package.to_vec());
        }
        rows.put(last_resort.clone(), vec![0, 9]);
    });
    let mut ask = |requester: u8| {
        let mut rows = Overlay::new(&world.store);
        let mut step = Step { rows: &mut rows, now_ms: NOW_MS, memo: &Mutex::default() };
        let given = world.relay.hand_out_key_packages(&mut step, node(2), AccountId([requester; 32]), alice);
        world.store.commit(rows.into_batch()).unwrap();
        match given {
            Ok((_, packages)) => Ok(packages.into_iter().map(|(_, package)| package.0).collect::<Vec<_>>()),
            Err(Failure::Refused(refusal)) => Err(refusal.code),
            Err(Failure::Store(error)) => panic!("{error:?}"),
        }
    };
    assert_eq!(ask(8), Ok(vec![vec![1, 3]]), "the first that is good is given");
    assert_eq!(ask(9), Err(Code::NoKeyPackage), "then there is none: that of last resort is over, too");
    assert_eq!(world.store.scan(&pool, &rows::end_of(&pool), 9).unwrap(), [], "nothing of them is kept");
    assert_eq!(world.store.get(&last_resort).unwrap(), None, "so that her device hears that there is room");
}

#[test]
fn a_fetch_from_the_end_of_the_numbers_finds_nothing() {
    let store = MemoryStore::new([1; 16]);
    let feed = FeedId { group: GroupId([5; 32]), node: node(1), incarnation: Incarnation([1; 16]) };
    let found = feeds::read(&Overlay::new(&store), &feed, u64::MAX, 10).unwrap();
    assert!(found.is_empty(), "and does not overflow");
}

#[test]
fn a_message_to_somebody_known_asks_the_directory_for_nothing() {
    let mut world = World::new();
    world.alice();
    let bob = log_of(30, node(2));
    let group = GroupId([6; 32]);
    let (head, creation) = conversation(group, &bob);
    let frame = ClientFrame::Introduce { id: 4, head, creation, lineage: vec![] };
    let (mut outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    let (payload, message) = (Bytes(vec![7; 100]), MessageId([7; 16]));
    let frame =
        ClientFrame::Submit { id: 7, group, epoch: 1, message, attempt: 0, payload, silent: false, blobs: Vec::new() };
    outputs.extend(world.batch(vec![Input::Frame { connection: 1, frame }]).0);
    let accepted = |output: &Output| matches!(output, Output::Send(1, ServerFrame::Accepted { id: 7, .. }));
    assert!(outputs.iter().any(accepted), "the message is taken");
    let asks = |output: &&Output| matches!(output, Output::Ask(_, to, _) if *to == node(2));
    assert!(outputs.iter().filter(asks).count() > 0, "bob's home is asked directly");
    let looked_up = outputs.iter().filter(|output| matches!(output, Output::Resolve(..))).count();
    assert_eq!(looked_up, 0, "and nobody is looked up");
}
