//! What holds MLS objects: they are random, and their lifetimes end after 84 days, so a vector names the fault and the harness
//! makes them anew at each run.

use super::Outcome;
use super::cast::{ACME, ALICE, BIRCH, BOB, CAROL, EVIL, GROUP, NOW_S, OPERATION, Person, fixed};
use super::relay::{Home, answered, framed};
use roost_crypto::group::GroupEngine as _;
use roost_crypto::labels;
use roost_protocol::conversation::{ConversationHead, ConversationState, Creation, Participant, Policy, Role};
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, FirstContact, payload_hash};
use roost_protocol::ids::{ConversationId, FeedId, GroupId, Hash, MessageId, OperationId};
use roost_protocol::peer::{Deliver, NodeRequest};
use roost_protocol::socket::ClientFrame;
use roost_protocol::{AccountId, Bytes, DeviceId, NodeId, Signed, codec, limits};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The state of the 1:1 of two people, with a hub.
pub fn state(one: &Person, other: &Person, hub: NodeId) -> ConversationState {
    let mut accounts = [one.account(), other.account()];
    accounts.sort();
    ConversationState {
        conversation: ConversationId::direct(&accounts[0], &accounts[1]),
        generation: 0,
        term: 0,
        hub,
        successors: vec![],
        participants: accounts.map(|account| Participant { account, role: Role::Admin }).to_vec(),
        policy: Policy::Direct,
    }
}

/// A real group of two people whose context says `state`.
fn create(one: &Person, other: &Person, group: GroupId, state: &ConversationState) -> Creation {
    let (packages, _) = other.engine().key_packages(&BTreeMap::new(), 1, false).unwrap();
    let conv_state = codec::encode(state);
    let (created, _) = one.engine().create(&BTreeMap::new(), group.as_bytes(), &conv_state, &packages).unwrap();
    Creation {
        operation: OPERATION,
        group,
        state: state.clone(),
        logs: vec![one.log().log().clone(), other.log().log().clone()],
        commit: created.commit,
        welcome: created.welcome,
        group_info: created.group_info,
        tree: created.tree,
    }
}

fn honest() -> Creation {
    create(&ALICE, &BOB, GROUP, &state(&ALICE, &BOB, ACME.node()))
}

/// The step that makes the conversation of alice and bob known at its hub.
pub fn make(home: &mut Home, step: &Value) -> Outcome {
    let mut creation = honest();
    creation.operation = OperationId(fixed(&step["operation"]));
    creation.group = GroupId(fixed(&step["group"]));
    assert_eq!(creation.group, GROUP, "the vectors know one group");
    answered(&home.peer(BIRCH.node(), NodeRequest::Create(creation)))
}

/// A creation with a fault, on one of its ways.
pub fn creation(given: &Map<String, Value>) -> Outcome {
    let mut home = Home::of(given);
    for step in given["before"].as_array().unwrap() {
        let outcome = home.step(step);
        assert!(matches!(outcome, Outcome::Accept(_)), "what came before is accepted: {step}: {outcome:?}");
    }
    let fault = given["fault"].as_str().unwrap();
    let creation = with_fault(fault);
    match given["way"].as_str().unwrap() {
        "create" => answered(&home.peer(BIRCH.node(), NodeRequest::Create(creation))),
        "frame" => framed(home.frame(1, ClientFrame::Create { id: 9, creation })),
        "introduce" => {
            let head = signed_head(fault, &creation);
            let creation = shown(fault, creation);
            framed(home.frame(1, ClientFrame::Introduce { id: 9, head, creation, lineage: vec![] }))
        }
        "introduce_by_node" => {
            let head = signed_head(fault, &creation);
            let peer = if fault == "from_another_node" { EVIL.node() } else { BIRCH.node() };
            answered(&home.peer(peer, NodeRequest::Introduce { head, creation, lineage: vec![] }))
        }
        "deliver" => {
            let (peer, request) = first_contact(fault, &creation);
            answered(&home.peer(peer, request))
        }
        other => panic!("{other} is no way of a creation"),
    }
}

fn with_fault(fault: &str) -> Creation {
    let mut creation = honest();
    let changed = |change: fn(&mut ConversationState)| {
        let mut state = state(&ALICE, &BOB, ACME.node());
        change(&mut state);
        create(&ALICE, &BOB, GROUP, &state)
    };
    match fault {
        "none"
        | "head_forged"
        | "head_of_another_creation"
        | "from_another_node"
        | "feed_of_another_group"
        | "delivered_as_another_conversation"
        | "first_contact_trailing" => {}
        "one_participant" => return changed(|state| state.participants.truncate(1)),
        "participants_unsorted" => return changed(|state| state.participants.reverse()),
        "participant_twice" => return changed(|state| state.participants[1] = state.participants[0].clone()),
        "generation" => return changed(|state| state.generation = 1),
        "term" => return changed(|state| state.term = 1),
        "policy" => return changed(|state| state.policy = Policy::Admins),
        "conversation" => return changed(|state| state.conversation = ConversationId([7; 32])),
        "hub" => return changed(|state| state.hub = BIRCH.node()),
        "group" => creation.group = GroupId([0x12; 32]),
        "roles" => creation.state.participants[0].role = Role::Member,
        "group_info_cut" => drop(creation.group_info.0.pop()),
        "group_info_trailing" => creation.group_info.0.push(0),
        "group_info_of_another_group" => creation.group_info = honest().group_info,
        "tree_of_another_group" => creation.tree = honest().tree,
        "tree_trailing" => creation.tree.0.push(0),
        "log_missing" => drop(creation.logs.pop()),
        "log_of_another_person" => creation.logs[1] = CAROL.log().log().clone(),
        "log_forged" => creation.logs[1].0[1].signature.0[0] ^= 1,
        "log_branched" => creation.logs[1] = BOB.log_as("robert").log().clone(),
        "leaf_of_no_participant" => {
            creation = create(&ALICE, &CAROL, GROUP, &state(&ALICE, &BOB, ACME.node()));
            creation.logs.push(BOB.log().log().clone());
        }
        "operation_of_another_conversation" => {
            creation = create(&ALICE, &CAROL, GroupId([0x13; 32]), &state(&ALICE, &CAROL, ACME.node()));
        }
        "too_large" => creation.commit = Bytes(vec![0; limits::COMMIT_BYTES_MAX - 4096]),
        "not_mine" => creation = create(&CAROL, &BOB, GROUP, &state(&CAROL, &BOB, ACME.node())),
        other => panic!("{other} is no fault of a creation"),
    }
    creation
}

fn signed_head(fault: &str, creation: &Creation) -> Signed {
    let head = ConversationHead {
        group: creation.group,
        state: creation.state.clone(),
        epoch: 1,
        made_by: creation.hash(),
        ordered_by: None,
    };
    let signer = if fault == "head_forged" { EVIL } else { ACME };
    Signed::new(labels::SIGN_CONVERSATION_HEAD, &head, &signer.node_key())
}

/// The creation that is shown beside a head.
fn shown(fault: &str, mut creation: Creation) -> Creation {
    if fault == "head_of_another_creation" {
        creation.operation = OperationId([0x23; 16]);
    }
    creation
}

fn first_contact(fault: &str, creation: &Creation) -> (NodeId, NodeRequest) {
    let writer = if fault == "from_another_node" { EVIL.node() } else { ACME.node() };
    let group = if fault == "feed_of_another_group" { GroupId([0x14; 32]) } else { creation.group };
    let contact = FirstContact { head: signed_head(fault, creation), creation: shown(fault, creation.clone()) };
    let mut payload = codec::encode(&contact);
    if fault == "first_contact_trailing" {
        payload.push(0);
    }
    let header = EntryHeader {
        feed: FeedId { group, node: writer, incarnation: super::cast::LIFE },
        seq: 1,
        prev: Hash([0; 32]),
        kind: EntryKind::Creation,
        epoch: 1,
        account: AccountId([0; 32]),
        device: DeviceId([0; 32]),
        message: MessageId::of(NOW_S * 1000, creation.hash().as_bytes()),
        attempt: 0,
        payload_hash: payload_hash(&payload),
    };
    let entries = vec![Entry { header, payload: Bytes(payload), silent: false }];
    let conversation = match fault {
        "delivered_as_another_conversation" => ConversationId([7; 32]),
        _ => creation.state.conversation,
    };
    (
        writer,
        NodeRequest::Deliver(Deliver {
            conversation,
            entries,
            accounts: vec![BOB.account()],
            begins: false,
            log: None,
            blobs: Vec::new(),
        }),
    )
}

/// The step that puts key packages of alice's device, who is signed in on connection 1.
pub fn put_key_packages(home: &mut Home, step: &Value) -> Outcome {
    assert_eq!(step["of"], "alice", "the vectors know alice's key packages");
    let count = usize::try_from(step["count"].as_u64().unwrap()).unwrap();
    let (packages, _) = ALICE.engine().key_packages(&BTreeMap::new(), count, false).unwrap();
    framed(home.frame(1, ClientFrame::PutKeyPackages { id: 9, packages, last_resort: None }))
}

/// Key packages of alice's device, with a fault.
pub fn key_package(given: &Map<String, Value>) -> Outcome {
    let mut home = Home::of(given);
    for step in given["before"].as_array().unwrap() {
        let outcome = home.step(step);
        assert!(matches!(outcome, Outcome::Accept(_)), "what came before is accepted: {step}: {outcome:?}");
    }
    let of = |person: &Person, count| person.engine().key_packages(&BTreeMap::new(), count, false).unwrap().0;
    let mut packages = of(&ALICE, 1);
    match given["fault"].as_str().unwrap() {
        "none" => {}
        "of_another_device" => packages = of(&BOB, 1),
        "cut" => drop(packages[0].0.pop()),
        "trailing" => packages[0].0.push(0),
        "changed" => {
            let middle = packages[0].len() / 2;
            packages[0].0[middle] ^= 1;
        }
        "over_100" => packages = [of(&ALICE, 100), packages].concat(),
        other => panic!("{other} is no fault of a key package"),
    }
    framed(home.frame(1, ClientFrame::PutKeyPackages { id: 9, packages, last_resort: None }))
}
