#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Stories of one node's rules: what must not be lost, swapped, or written at once.

use super::*;
use crate::store::{BATCH_BYTES_MAX, MemoryStore, Read as _, Store as _};
use roost_crypto::group::{Credential, GroupError, Member, PublicView};
use roost_crypto::identity_log::{Operation, Signer, VerifiedLog};
use roost_protocol::conversation::{ConversationHead, ConversationState, Participant, Policy, Role};
use roost_protocol::ids::{ConversationId, FeedId, Hash, OperationId};
use roost_protocol::records::HandleRecord;

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
        let frame = ClientFrame::Submit { id, group, epoch: 1, message, attempt: 0, payload };
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

#[test]
fn a_move_that_a_creation_tells_takes_along_what_waits_for_the_account() {
    let mut world = World::new();
    let alice = world.alice();
    let bob = log_of(30, node(2));
    let moved = bob.append(Operation::SetHomes { homes: vec![node(3)] }, Signer::Root, &key(30)).unwrap();
    let feed = FeedId { group: GroupId([5; 32]), node: node(1), incarnation: Incarnation([1; 16]) };
    let (peer_log, outbox) = (rows::peer_log(&bob.account()), rows::outbox(&feed, &bob.account()));
    world.write(|rows| {
        rows::put(rows, peer_log, bob.log());
        rows::put(rows, outbox.clone(), &7_u64);
    });

    // Whoever has the smaller id is the one whose home must be the hub, as the logs in the creation say.
    let hub = if alice < bob.account() { node(1) } else { node(3) };
    let (group, state) = (GroupId([6; 32]), state([alice, bob.account()], hub));
    let leaves = [(alice, 10), (bob.account(), 30)]
        .map(|(account, root)| (account, device_of(root), key(root + 1).public_key()));
    let plain = (Bytes(group.as_bytes().to_vec()), Bytes(roost_crypto::codec::encode(&state)), leaves.to_vec());
    let creation = Creation {
        operation: OperationId([8; 16]),
        group,
        state,
        logs: vec![log_of(10, node(1)).log().clone(), moved.log().clone()],
        commit: Bytes(vec![]),
        welcome: Bytes(vec![]),
        group_info: Bytes(roost_crypto::codec::encode(&plain)),
        tree: Bytes(vec![]),
    };
    let hub_key = if hub == node(1) { key(1) } else { key(3) };
    let head = ConversationHead { group, state: creation.state.clone(), epoch: 1, made_by: creation.hash() };
    let frame = ClientFrame::Introduce { id: 9, head: head.sign(&hub_key), creation };
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
    let head =
        ConversationHead { group, state: state([alice, carol.account()], node(1)), epoch: 1, made_by: Hash([0; 32]) };
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
fn a_fetch_from_the_end_of_the_numbers_finds_nothing() {
    let store = MemoryStore::new([1; 16]);
    let feed = FeedId { group: GroupId([5; 32]), node: node(1), incarnation: Incarnation([1; 16]) };
    let found = feeds::read(&Overlay::new(&store), &feed, u64::MAX, 10).unwrap();
    assert!(found.is_empty(), "and does not overflow");
}
