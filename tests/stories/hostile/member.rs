//! Eve is the home of carol, who really talks with alice: what such a node may not do in her name, or in others'.

use super::{Carol, Eve, code_of, deliver, entry, honest_talk_goes_on};
use crate::nodes::{Device, node};
use roost_crypto::group::GroupError;
use roost_crypto::identity_log::{LogEntry, Operation, Signer};
use roost_crypto::labels;
use roost_node::Node;
use roost_protocol::conversation::Creation;
use roost_protocol::feed::{Entry, EntryKind, payload_hash};
use roost_protocol::ids::{FeedId, GroupId, Hash, Incarnation, MessageId};
use roost_protocol::peer::{Custody, Deliver, NodeRequest, NodeResponse};
use roost_protocol::refusal::Code;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{Bytes, IdentityLog, SecretKey, Signed, limits};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// acme with alice, birch with bob, and eve with carol; alice talks with both.
struct World {
    _root: tempfile::TempDir,
    acme: Node,
    birch: Node,
    eve: Eve,
    alice: Device,
    bob: Device,
    carol: Carol,
    with_bob: Creation,
    with_carol: Creation,
}

impl World {
    async fn new(seed: u8) -> Self {
        let root = tempfile::tempdir().unwrap();
        let acme = node(root.path(), "acme", seed, &[]).await;
        let birch = node(root.path(), "birch", seed + 10, &[&acme]).await;
        let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", seed + 20).await;
        let mut bob = Device::sign_up(&birch.handle(), "birch", "bob", seed + 22).await;
        let (_, with_bob) = alice.start_conversation("bob@birch").await;
        while bob.entry().await.header.kind != EntryKind::Creation {}
        bob.join(&with_bob);

        let eve = Eve::meet(&acme, "eve", seed + 30).await;
        let mut carol = Carol::of(&eve, "carol", alice.account());
        eve.publish(&carol).await;
        let answer = Mutex::new(Some(carol.package_answer()));
        eve.answers(move |request| match request {
            NodeRequest::KeyPackages { .. } => answer.lock().unwrap().take(),
            NodeRequest::Deliver(deliver) => Some(custody(deliver)),
            _ => None,
        });
        alice.next_group();
        let (_, with_carol) = alice.start_conversation("carol@eve").await;
        assert_eq!(with_carol.state.hub, acme.handle().node(), "alice's id is lower: her home is the hub");
        carol.join(&with_carol);
        Self { _root: root, acme, birch, eve, alice, bob, carol, with_bob, with_carol }
    }

    fn message(&mut self, seq: u64, prev: Hash, text: &[u8]) -> Entry {
        let group = self.with_carol.group;
        let payload = self.carol.seal(group, text);
        entry(self.eve.feed(group), seq, prev, &self.carol, payload)
    }

    async fn end(self) {
        self.eve.network.shutdown().await;
        self.acme.stop().await;
        self.birch.stop().await;
    }
}

/// What an honest home answers.
fn custody(deliver: &Deliver) -> NodeResponse {
    let last = deliver.entries.last().unwrap();
    let (feed, seq) = (last.header.feed, last.header.seq);
    NodeResponse::Custody(deliver.accounts.iter().map(|account| Custody { account: *account, feed, seq }).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_lies_in_its_own_persons_conversation_is_refused_line_by_line() {
    let mut world = World::new(20).await;
    let (group, conversation) = (world.with_carol.group, world.with_carol.state.conversation);
    let (alice, bob) = (world.alice.account(), world.bob.account());
    let first = world.message(1, Hash([0; 32]), b"hello alice");
    let hash = first.header.hash();
    let taken = world.eve.says(&world.acme, deliver(conversation, vec![first.clone()], alice)).await;
    assert!(matches!(taken, NodeResponse::Custody(_)), "an honest entry is taken: {taken:?}");

    let good = world.message(2, hash, b"second");
    let other = world.message(1, Hash([0; 32]), b"another first");
    let changed = |change: &dyn Fn(&mut Entry)| {
        let mut entry = good.clone();
        change(&mut entry);
        deliver(conversation, vec![entry], alice)
    };
    let with_payload = |payload: Vec<u8>| {
        changed(&|entry: &mut Entry| {
            entry.payload = Bytes(payload.clone());
            entry.header.payload_hash = payload_hash(&payload);
        })
    };
    let bobs_group = world.with_bob.group;
    let bobs_conversation = world.with_bob.state.conversation;
    let dave = Device::sign_up(&world.acme.handle(), "acme", "dave", 64).await;
    let own = world.eve.feed(bobs_group);
    let forged = |text: &[u8]| entry(own, 1, Hash([0; 32]), &world.carol, Bytes(text.to_vec()));
    let cases: Vec<(&str, NodeRequest, Code, bool)> = vec![
        (
            "16 a store gone back: another entry at a held position",
            deliver(conversation, vec![other], alice),
            Code::OutOfOrder,
            false,
        ),
        ("16 another chain", changed(&|entry| entry.header.prev = Hash([7; 32])), Code::OutOfOrder, false),
        ("a gap", changed(&|entry| entry.header.seq = 5), Code::OutOfOrder, true),
        ("45 the end of the numbers", changed(&|entry| entry.header.seq = u64::MAX), Code::OutOfOrder, true),
        ("45 position 0", changed(&|entry| entry.header.seq = 0), Code::Malformed, false),
        ("11 alice's own name on it", changed(&|entry| entry.header.account = alice), Code::NotHome, true),
        ("11 bob's name, who is elsewhere", changed(&|entry| entry.header.account = bob), Code::NotMember, false),
        (
            "a payload that is not the header's",
            changed(&|entry| entry.payload = Bytes(vec![1])),
            Code::Malformed,
            false,
        ),
        ("23 a payload over 24 KiB", with_payload(vec![1; limits::PAYLOAD_BYTES_MAX + 1]), Code::Malformed, false),
        (
            "23 a payload that is no first contact",
            {
                let mut entry = good.clone();
                entry.header.kind = EntryKind::Creation;
                entry.payload = Bytes(vec![0x9f; 20_000]);
                entry.header.payload_hash = payload_hash(entry.payload.as_slice());
                deliver(conversation, vec![entry], alice)
            },
            Code::Malformed,
            false,
        ),
        ("an epoch of the future", changed(&|entry| entry.header.epoch = u64::MAX), Code::WrongEpoch, true),
        (
            "22 an entry under another conversation's name",
            deliver(bobs_conversation, vec![good.clone()], alice),
            Code::NotMember,
            false,
        ),
        (
            "22 a group in which carol takes no part",
            deliver(bobs_conversation, vec![forged(b"hi")], alice),
            Code::NotMember,
            false,
        ),
        (
            "for dave, who takes no part",
            deliver(conversation, vec![good.clone()], dave.account()),
            Code::NotMember,
            false,
        ),
        ("for bob, who lives elsewhere", deliver(conversation, vec![good.clone()], bob), Code::NotHome, false),
        (
            "another writer's feed",
            changed(&|entry| entry.header.feed.node = world.birch.handle().node()),
            Code::Malformed,
            false,
        ),
        (
            "two feeds in one delivery",
            deliver(conversation, vec![good.clone(), forged(b"x")], alice),
            Code::Malformed,
            false,
        ),
        (
            "the same position twice",
            deliver(
                conversation,
                vec![good.clone(), {
                    let mut twice = good.clone();
                    twice.header.attempt = 1;
                    twice
                }],
                alice,
            ),
            Code::OutOfOrder,
            false,
        ),
        (
            "23 for more accounts than a batch holds",
            NodeRequest::Deliver(Deliver {
                conversation,
                entries: vec![good.clone()],
                accounts: vec![alice; limits::DELIVER_ENTRIES_MAX + 1],
                begins: false,
                log: None,
                blobs: Vec::new(),
            }),
            Code::TooLarge,
            false,
        ),
        (
            "for nobody",
            NodeRequest::Deliver(Deliver {
                conversation,
                entries: vec![good.clone()],
                accounts: vec![],
                begins: false,
                log: None,
                blobs: Vec::new(),
            }),
            Code::Malformed,
            false,
        ),
    ];
    for (what, request, code, later) in cases {
        let refusal = world.eve.is_refused(&world.acme, what, request).await;
        assert_eq!((refusal.code, refusal.later), (code, later), "{what}: {refusal}");
    }
    let held = world.eve.says(&world.acme, deliver(conversation, vec![first, good.clone()], alice)).await;
    let NodeResponse::Custody(held) = held else { panic!("the honest batch is taken after all: {held:?}") };
    assert_eq!(
        held,
        [Custody { account: alice, feed: world.eve.feed(group), seq: 2 }],
        "the state is as before the lies"
    );
    let mut texts = Vec::new();
    while texts.len() < 2 {
        let entry = world.alice.entry().await;
        if entry.header.kind == EntryKind::Message {
            texts.push(world.alice.open(group, &entry).expect("carol's words open"));
        }
    }
    assert_eq!(texts, [b"hello alice".to_vec(), b"second".to_vec()], "alice has carol's two messages, once each");
    honest_talk_goes_on(&mut world.alice, &mut world.bob, &world.with_bob, b"and bob?").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_under_a_new_outer_id_or_another_devices_name_is_seen_through_by_the_device() {
    let mut world = World::new(70).await;
    let (group, conversation) = (world.with_carol.group, world.with_carol.state.conversation);
    let first = world.message(1, Hash([0; 32]), b"once");
    let mut again = first.clone();
    (again.header.seq, again.header.prev, again.header.attempt) = (2, first.header.hash(), 9);
    again.header.message = MessageId([0xee; 16]);
    let mut as_alice = world.message(3, again.header.hash(), b"who wrote this?");
    as_alice.header.device = world.bob.device();
    let entries = vec![first, again, as_alice];
    let taken = world.eve.says(&world.acme, deliver(conversation, entries, world.alice.account())).await;
    assert!(matches!(taken, NodeResponse::Custody(_)), "a node cannot see it: {taken:?}");
    let mut got = Vec::new();
    while got.len() < 3 {
        let entry = world.alice.entry().await;
        if entry.header.kind == EntryKind::Message {
            got.push((world.alice.open(group, &entry), entry.header.device));
        }
    }
    assert_eq!(got[0].0.as_deref(), Ok(&b"once"[..]), "20 the first is read");
    assert_eq!(got[1].0, Err(GroupError::AlreadyOpened), "20 its repetition under another id is not");
    let (opened, sender) = (world.alice.last_sender.unwrap(), got[2].1);
    assert_ne!(opened, sender, "11 the sealed sender is not the header's: the device shows a gap");
    world.end().await;
}

/// Carol's log with an entry more, signed by whom eve likes.
fn forged(log: &IdentityLog, op: Operation, signer: Signer, key: &SecretKey) -> IdentityLog {
    let last = log.0.last().unwrap();
    let (seq, prev) = (log.0.len() as u64, roost_crypto::identity_log::LogHash::of(last));
    let mut forged = log.clone();
    forged.0.push(Signed::new(labels::SIGN_LOG_ENTRY, &LogEntry { seq, prev, signer, op }, key));
    forged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_injected_into_a_log_a_branch_and_foreign_logs_are_refused() {
    let mut world = World::new(100).await;
    let (conversation, alice) = (world.with_carol.state.conversation, world.alice.account());
    let message = world.message(1, Hash([0; 32]), b"hello");
    let eves_key = SecretKey::from_seed(&[66; 32]);
    let carols = world.carol.log.log().clone();
    let device = Signer::Device(world.carol.device());
    let add = Operation::AddDevice { device: eves_key.public_key() };
    let again = Operation::AddDevice { device: world.carol.key.public_key() };
    let homes = Operation::SetHomes { homes: vec![world.eve.node] };
    let genesis = IdentityLog(vec![carols.0[0].clone()]);
    let cases = [
        ("7 a device of eve's, signed by eve", forged(&carols, add, device, &eves_key)),
        ("7 carol's device once more, with its own key", forged(&carols, again, device, &world.carol.key)),
        ("7 new homes, signed by eve as R", forged(&carols, homes.clone(), Signer::Root, &eves_key)),
        ("7 a branch, with carol's own key", forged(&genesis, homes, device, &world.carol.key)),
        ("an empty log", IdentityLog(vec![])),
        ("a log of 200 entries", IdentityLog(vec![carols.0[0].clone(); 200])),
    ];
    for (what, log) in cases {
        let accounts = vec![alice];
        let entries = vec![message.clone()];
        let request = NodeRequest::Deliver(Deliver {
            conversation,
            entries,
            accounts,
            begins: false,
            log: Some(log),
            blobs: Vec::new(),
        });
        let refusal = world.eve.is_refused(&world.acme, what, request).await;
        assert_eq!((refusal.code, refusal.later), (Code::BadLog, false), "{what}: {refusal}");
    }
    // 26: a creation is no way to make a hub keep logs of anybody.
    let mut flood = world.with_carol.clone();
    flood.operation.0 = [99; 16];
    for number in 0..100 {
        let stranger = Carol::of(&world.eve, &format!("stranger{number}"), roost_protocol::AccountId([0; 32]));
        flood.logs.push(stranger.log.log().clone());
    }
    flood.state.conversation.0[0] ^= 1;
    let refusal = world.eve.is_refused(&world.acme, "26 a hundred logs", NodeRequest::Create(flood.clone())).await;
    assert_eq!(refusal.code, Code::Malformed, "26 not the state of a conversation: {refusal}");
    flood.state.conversation = conversation;
    let refusal = world.eve.is_refused(&world.acme, "26 a hundred logs", NodeRequest::Create(flood)).await;
    assert_eq!(refusal.code, Code::Malformed, "26 only the participants' logs: {refusal}");
    let taken = world.eve.says(&world.acme, deliver(conversation, vec![message], alice)).await;
    assert!(matches!(taken, NodeResponse::Custody(_)), "carol's log is as it was: {taken:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custody_for_what_was_never_sent_is_none_and_a_new_life_gets_everything_again() {
    let mut world = World::new(130).await;
    let group = world.with_carol.group;
    world.eve.answers(|request| match request {
        NodeRequest::Deliver(deliver) => {
            let feed = deliver.entries[0].header.feed;
            let account = deliver.accounts[0];
            // 12: far beyond what was sent, and for others.
            let elsewhere = FeedId { group: GroupId([1; 32]), ..feed };
            Some(NodeResponse::Custody(vec![
                Custody { account: roost_protocol::AccountId([1; 32]), feed, seq: u64::MAX },
                Custody { account, feed: elsewhere, seq: u64::MAX },
                Custody { account, feed, seq: u64::MAX },
            ]))
        }
        _ => None,
    });
    let accepted = world.alice.submit(group, b"one").await;
    assert!(matches!(accepted, ServerFrame::Accepted { .. }), "alice's home has it: {accepted:?}");
    let told = world.alice.custody().await;
    assert_eq!(
        (told.0, told.1.len()),
        (world.carol.account(), 1),
        "one message is called delivered, the one that was sent"
    );
    // What eve has not seen is still sent to her, whatever she signed for before.
    world.alice.submit(group, b"two").await;
    world.alice.submit(group, b"three").await;
    world.eve.hears("the third message", |request| last_of(request) == Some(4)).await;

    // 28: she took it, and then it is gone.
    let deliveries = || world.eve.heard().iter().filter(|request| last_of(request).is_some()).count();
    let before = deliveries();
    world.eve.answers(|request| match request {
        NodeRequest::Deliver(deliver) => Some(custody(deliver)),
        _ => None,
    });
    world.eve.live(Incarnation([10; 16]));
    let start = tokio::time::Instant::now();
    while deliveries() == before {
        assert!(start.elapsed() < super::PATIENCE, "a new life of her store is given everything again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = world.eve.heard().into_iter().skip(before).find_map(|request| match request {
        NodeRequest::Deliver(deliver) if deliver.entries[0].header.seq == 1 => Some(deliver.entries.len()),
        _ => None,
    });
    assert!(again.is_some(), "from the first entry on");
    world.end().await;
}

fn last_of(request: &NodeRequest) -> Option<u64> {
    match request {
        NodeRequest::Deliver(deliver) => deliver.entries.last().map(|entry| entry.header.seq),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_withholds_denies_or_drips_delays_nobody_else_and_its_silence_shows() {
    let mut world = World::new(160).await;
    let group = world.with_carol.group;
    for (what, answer) in [
        ("2 refuses", Some(NodeResponse::Refused(roost_protocol::refusal::Refusal::later(Code::Busy, "no", "no")))),
        ("2 answers something else", Some(NodeResponse::Entries(vec![]))),
        ("28 denies", Some(NodeResponse::Custody(vec![]))),
        ("27 never answers", None),
    ] {
        let asked = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&asked);
        world.eve.answers(move |request| {
            seen.fetch_or(matches!(request, NodeRequest::Deliver(_)), Ordering::SeqCst);
            answer.clone()
        });
        let accepted = world.alice.submit(group, what.as_bytes()).await;
        assert!(matches!(accepted, ServerFrame::Accepted { .. }), "{what}: her home keeps it: {accepted:?}");
        let start = tokio::time::Instant::now();
        while !asked.load(Ordering::SeqCst) {
            assert!(start.elapsed() < super::PATIENCE, "{what}: it is tried");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        honest_talk_goes_on(&mut world.alice, &mut world.bob, &world.with_bob, what.as_bytes()).await;
    }
    // Submitted again, as a device does that heard nothing: accepted, and no custody, for there is none.
    let message = MessageId::of(1_795_000_000_000, b"27 never answers");
    let again = ClientFrame::Submit {
        id: 77,
        group,
        epoch: 1,
        message,
        attempt: 0,
        payload: Bytes(vec![1]),
        silent: false,
        blobs: Vec::new(),
    };
    assert!(matches!(world.alice.ask(again).await, ServerFrame::Accepted { .. }), "known, and waiting");
    assert!(world.alice.has_no_custody_for(&message), "nothing that eve withholds is called delivered");
    world.eve.answers(|request| match request {
        NodeRequest::Deliver(deliver) => Some(custody(deliver)),
        _ => None,
    });
    let start = tokio::time::Instant::now();
    while world.alice.has_no_custody_for(&message) {
        assert!(start.elapsed() < Duration::from_secs(60), "once she takes it, alice hears of it");
        world.alice.custody().await;
    }
    assert_eq!(code_of(&world.alice.submit(group, b"and on").await), None, "the talk goes on");
    world.end().await;
}
