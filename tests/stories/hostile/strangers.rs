//! A node that speaks the real wire and breaks a rule: each request is refused with a code, and nobody's talk suffers.

use crate::nodes::{Device, node};
use roost_crypto::group::GroupEngine as _;
use roost_node::network::{self, NetworkConfig};
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, payload_hash};
use roost_protocol::ids::{ConversationId, FeedId, GroupId, Hash, Incarnation, MessageId};
use roost_protocol::peer::{Deliver, NodeHello, NodeRequest, NodeResponse};
use roost_protocol::records::{NodeAddress, OrgRecord, SignedOrgRecord};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use roost_protocol::{AccountId, Bytes, DeviceId, NodeId, SecretKey, VERSION, limits};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

fn entry(feed: FeedId, seq: u64, author: AccountId) -> Entry {
    let payload = Bytes(b"not sealed at all".to_vec());
    let header = EntryHeader {
        feed,
        seq,
        prev: Hash([0; 32]),
        kind: EntryKind::Message,
        epoch: 1,
        account: author,
        device: DeviceId([1; 32]),
        message: MessageId([1; 16]),
        attempt: 0,
        payload_hash: payload_hash(payload.as_slice()),
    };
    Entry { header, payload, silent: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn eves_node_breaks_a_rule_at_a_time_and_is_refused_each_time() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 110, &[]).await;
    let birch = node(root.path(), "birch", 120, &[&acme]).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 130).await;
    let mut bob = Device::sign_up(&birch.handle(), "birch", "bob", 140).await;
    let (_, creation) = alice.start_conversation("bob@birch").await;
    let group = creation.group;
    bob.entry().await;

    let (org_key, node_key) = (SecretKey::from_seed(&[150; 32]), SecretKey::from_seed(&[151; 32]));
    let eve = NodeId::of(node_key.public_key());
    let target = acme.handle().node();
    let (network, _asked, listen) = network::start(NetworkConfig {
        key: [151; 32],
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        bootstrap: vec![format!("{}/p2p/{target}", acme.listen()[0]).parse().unwrap()],
        records: None,
        pins: BTreeMap::new(),
        rates: Default::default(),
    })
    .await
    .unwrap();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let address = NodeAddress { node: eve, addrs: listen, web: String::new(), region: String::new(), weight: 1 };
    let record = OrgRecord {
        root: org_key.public_key(),
        name: "eve".into(),
        nodes: vec![address],
        seq: 1,
        expires: now_s + 3600,
    };
    let incarnation = Incarnation([9; 16]);
    let org = SignedOrgRecord::sign(&record, &org_key, &[&node_key]);
    network.set_hello(NodeHello { versions: vec![VERSION], features: vec![], org, incarnation }).unwrap();

    network.add_addresses(target, acme.listen().to_vec());

    let own = FeedId { group, node: eve, incarnation };
    let foreign = FeedId { group, node: birch.handle().node(), incarnation };
    let nowhere = FeedId { group: GroupId([7; 32]), node: eve, incarnation };
    let conversation = creation.state.conversation;
    let deliver = |entries: Vec<Entry>, account: AccountId| {
        NodeRequest::Deliver(Deliver {
            conversation,
            entries,
            accounts: vec![account],
            begins: false,
            log: None,
            blobs: Vec::new(),
        })
    };
    let (for_alice, from_bob) = (alice.account(), bob.account());
    let too_many = (1..=limits::DELIVER_ENTRIES_MAX as u64 + 1).map(|seq| entry(own, seq, from_bob)).collect();
    let mut other_place = entry(own, 1, from_bob);
    other_place.header.kind = EntryKind::Creation;
    let stranger = AccountId([3; 32]);
    let cases = [
        ("no entries", deliver(vec![], for_alice), Code::Malformed),
        ("more entries than a batch holds", deliver(too_many, for_alice), Code::TooLarge),
        ("another node's feed", deliver(vec![entry(foreign, 1, from_bob)], for_alice), Code::Malformed),
        ("an account that lives elsewhere", deliver(vec![entry(own, 1, from_bob)], stranger), Code::NotHome),
        (
            "a group that nobody introduced",
            deliver(vec![entry(nowhere, 1, from_bob)], for_alice),
            Code::UnknownConversation,
        ),
        (
            "bob's name from a node that is not his home",
            deliver(vec![entry(own, 1, from_bob)], for_alice),
            Code::NotHome,
        ),
        ("a stranger's message in a conversation", deliver(vec![entry(own, 1, stranger)], for_alice), Code::NotMember),
        ("a creation that is none", deliver(vec![other_place], for_alice), Code::Malformed),
        (
            "another conversation's name over a known group",
            NodeRequest::Deliver(Deliver {
                conversation: ConversationId([5; 32]),
                entries: vec![entry(own, 1, from_bob)],
                accounts: vec![for_alice],
                begins: false,
                log: None,
                blobs: Vec::new(),
            }),
            Code::NotMember,
        ),
        (
            "a conversation's entries, as no home of a member",
            NodeRequest::Fetch { feed: own, from: 1, limit: 10 },
            Code::NotMember,
        ),
        ("key packages of nobody", NodeRequest::KeyPackages { account: stranger, requester: stranger }, Code::NotHome),
        ("the log of nobody", NodeRequest::Log { account: stranger }, Code::NotHome),
        ("a creation whose hub was changed on the way", NodeRequest::Create(moved(&creation, eve)), Code::Malformed),
    ];
    for (what, request, code) in cases {
        match network.request(target, request).await {
            Ok(NodeResponse::Refused(Refusal { code: refused, message, hint, .. })) => {
                assert_eq!(refused, code, "{what}: {message}");
                assert!(!message.is_empty() && !hint.is_empty(), "{what}: a refusal explains itself");
            }
            other => panic!("{what} must be refused, got {other:?}"),
        }
    }

    let answer = bob_writes(&mut bob, &creation, group).await;
    assert!(matches!(answer, ServerFrame::Accepted { .. }), "bob still writes: {answer:?}");
    let shown = loop {
        let entry = alice.entry().await;
        if entry.header.kind == EntryKind::Message {
            break entry;
        }
    };
    assert_eq!(shown.header.account, from_bob, "alice's first message is bob's: nothing of eve's came through");
    network.shutdown().await;
    acme.stop().await;
    birch.stop().await;
}

fn moved(creation: &roost_protocol::conversation::Creation, hub: NodeId) -> roost_protocol::conversation::Creation {
    let mut moved = creation.clone();
    moved.state.hub = hub;
    moved.operation = roost_protocol::ids::OperationId([77; 16]);
    moved
}

async fn bob_writes(
    bob: &mut Device,
    creation: &roost_protocol::conversation::Creation,
    group: GroupId,
) -> ServerFrame {
    let (_, writes) = bob.engine.join(&bob.rows, creation.welcome.as_slice(), creation.tree.as_slice()).unwrap();
    writes.apply_to(&mut bob.rows);
    bob.submit(group, b"still here").await
}
