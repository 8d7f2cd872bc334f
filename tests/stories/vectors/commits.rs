//! Commits of a conversation of many, with real MLS: a vector names the fault, the harness makes the group and the commit anew.
//!
//! Alice is the admin and lives at the hub, bob is a member and lives at birch; the honest commit is alice's and adds carol.

use super::Outcome;
use super::cast::{ACME, ALICE, BIRCH, BOB, CAROL, EVIL, GROUP, LIFE, NOW_S, OPERATION, Person, STRANGER};
use super::relay::{Home, answered, framed};
use roost_crypto::group::{Change, GroupEngine as _, OpenMlsEngine};
use roost_crypto::ids::AccountId;
use roost_protocol::conversation::{
    Commit, ConversationHead, ConversationState, Creation, Leave, Participant, Policy, Role,
};
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, FirstContact, NextEpoch, payload_hash};
use roost_protocol::ids::{ConversationId, FeedId, GroupId, Hash, MessageId, OperationId};
use roost_protocol::peer::{Deliver, NodeRequest};
use roost_protocol::socket::ClientFrame;
use roost_protocol::{Bytes, DeviceId, Signed, codec, limits};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A member's device and its MLS state.
struct Seat {
    engine: OpenMlsEngine,
    rows: Rows,
}

/// The group in its first epoch.
struct Group {
    creation: Creation,
    alice: Seat,
    bob: Seat,
}

/// What a commit is made of.
struct Plan<'a> {
    by: &'a mut Seat,
    change: Change,
    after: ConversationState,
    logs: Vec<roost_protocol::IdentityLog>,
    leaves: Vec<Signed>,
}

/// The state of the conversation that alice begins with bob.
pub fn state() -> ConversationState {
    let mut participants = vec![
        Participant { account: ALICE.account(), role: Role::Admin },
        Participant { account: BOB.account(), role: Role::Member },
    ];
    participants.sort_by_key(|one| one.account);
    ConversationState {
        conversation: ConversationId::of_group(&GROUP),
        generation: 0,
        term: 0,
        hub: ACME.node(),
        successors: vec![BIRCH.node()],
        participants,
        policy: Policy::Admins,
    }
}

/// A device's wish to leave that conversation.
pub fn leave(person: &Person) -> Leave {
    Leave {
        conversation: state().conversation,
        generation: 0,
        account: person.account(),
        epoch: 1,
        device: person.device(),
    }
}

fn key_package(seat: &mut Seat) -> Bytes {
    let (packages, writes) = seat.engine.key_packages(&seat.rows, 1, false).unwrap();
    writes.apply_to(&mut seat.rows);
    packages.into_iter().next().unwrap()
}

fn seat(person: Person) -> Seat {
    Seat { engine: person.engine(), rows: Rows::new() }
}

impl Group {
    fn new() -> Self {
        let (mut alice, mut bob) = (seat(ALICE), seat(BOB));
        let package = key_package(&mut bob);
        let context = codec::encode(&state());
        let (made, writes) = alice.engine.create(&alice.rows, GROUP.as_bytes(), &context, &[package]).unwrap();
        writes.apply_to(&mut alice.rows);
        let (_, writes) = bob.engine.join(&bob.rows, made.welcome.as_slice(), made.tree.as_slice()).unwrap();
        writes.apply_to(&mut bob.rows);
        let creation = Creation {
            operation: OPERATION,
            group: GROUP,
            state: state(),
            logs: vec![ALICE.log().log().clone(), BOB.log().log().clone()],
            commit: made.commit,
            welcome: made.welcome,
            group_info: made.group_info,
            tree: made.tree,
        };
        Self { creation, alice, bob }
    }

    fn head(&self) -> ConversationHead {
        let (group, made_by) = (GROUP, self.creation.hash());
        ConversationHead { group, state: state(), epoch: 1, made_by, ordered_by: None }
    }
}

/// The state once carol takes part.
fn with_carol() -> ConversationState {
    let mut after = state();
    after.participants.push(Participant { account: CAROL.account(), role: Role::Member });
    after.participants.sort_by_key(|one| one.account);
    after
}

fn with_role(account: &AccountId, role: Role) -> ConversationState {
    let mut after = state();
    after.participants.iter_mut().filter(|one| one.account == *account).for_each(|one| one.role = role);
    after
}

fn without(account: &AccountId) -> ConversationState {
    let mut after = state();
    after.participants.retain(|one| one.account != *account);
    after
}

/// The commit as an honest device makes it of a plan.
fn made(plan: Plan<'_>) -> Commit {
    let Plan { by, mut change, after, logs, leaves } = plan;
    change.conv_state = (after != state()).then(|| Bytes(codec::encode(&after)));
    let (made, _) = by.engine.commit(&by.rows, GROUP.as_bytes(), &change).unwrap();
    Commit {
        operation: OperationId([0x44; 16]),
        group: GROUP,
        epoch: made.epoch,
        commit: made.commit,
        welcome: made.welcome,
        group_info: made.group_info,
        logs,
        leaves,
    }
}

/// Plans that break a rule of the conversation; all others are the honest one, changed afterwards.
fn commit(group: &mut Group, fault: &str) -> Commit {
    let (logs, leaves) = (Vec::new(), Vec::new());
    let adds = |by, after| {
        let change = Change { add: vec![key_package(&mut seat(CAROL))], ..Change::default() };
        Plan { by, change, after, logs: vec![CAROL.log().log().clone()], leaves: Vec::new() }
    };
    let removes = |by, person: Person, after, leaves| {
        let change = Change { remove: vec![person.device()], ..Change::default() };
        Plan { by, change, after, logs: vec![person.log().log().clone()], leaves }
    };
    let (alice, bob) = (ALICE.account(), BOB.account());
    let plan = match fault {
        "adds_by_a_member" => adds(&mut group.bob, with_carol()),
        "role_by_a_member" => {
            let (by, after) = (&mut group.bob, with_role(&bob, Role::Admin));
            Plan { by, change: Change::default(), after, logs, leaves }
        }
        "removes_by_a_member" => removes(&mut group.bob, ALICE, with_role_alone(&bob), leaves),
        "leave_of_another" => {
            removes(&mut group.bob, ALICE, with_role_alone(&bob), vec![leave(&BOB).sign(&BOB.device_key())])
        }
        "leave_forged" => {
            removes(&mut group.bob, ALICE, with_role_alone(&bob), vec![leave(&ALICE).sign(&BOB.device_key())])
        }
        "no_admin" => {
            let (by, after) = (&mut group.alice, with_role(&alice, Role::Member));
            Plan { by, change: Change::default(), after, logs, leaves }
        }
        "participant_without_a_leaf" => {
            let (by, after) = (&mut group.alice, with_carol());
            Plan { by, change: Change::default(), after, logs: vec![CAROL.log().log().clone()], leaves }
        }
        "leaf_of_no_participant" => adds(&mut group.alice, state()),
        "leaf_left_behind" => {
            let (by, after) = (&mut group.alice, without(&bob));
            Plan { by, change: Change::default(), after, logs, leaves }
        }
        "device_that_was_not_revoked" => removes(&mut group.alice, BOB, state(), leaves),
        "generation" => adds(&mut group.alice, ConversationState { generation: 1, ..with_carol() }),
        "another_conversation" => {
            adds(&mut group.alice, ConversationState { conversation: ConversationId([7; 32]), ..with_carol() })
        }
        "hub_that_is_no_successor" => {
            let (by, after) = (&mut group.alice, ConversationState { hub: EVIL.node(), ..state() });
            Plan { by, change: Change::default(), after, logs, leaves }
        }
        "moves_and_adds" => {
            let after = ConversationState { hub: BIRCH.node(), successors: vec![ACME.node()], ..with_carol() };
            adds(&mut group.alice, after)
        }
        "hub_among_the_successors" => {
            let (by, after) = (&mut group.alice, ConversationState { successors: vec![ACME.node()], ..state() });
            Plan { by, change: Change::default(), after, logs, leaves }
        }
        "welcome_without_adds" => {
            let (by, after) = (&mut group.alice, with_role(&bob, Role::Admin));
            Plan { by, change: Change::default(), after, logs, leaves }
        }
        _ => adds(&mut group.alice, with_carol()),
    };
    let mut commit = made(plan);
    match fault {
        "welcome_without_adds" => commit.welcome = Some(group.creation.welcome.clone()),
        "adds_without_welcome" => commit.welcome = None,
        "epoch_gap" => commit.epoch += 1,
        "epoch_past" => commit.epoch -= 1,
        "commit_cut" => drop(commit.commit.0.pop()),
        "commit_trailing" => commit.commit.0.push(0),
        "commit_changed" => {
            let middle = commit.commit.len() / 2;
            commit.commit.0[middle] ^= 1;
        }
        "commit_of_another_group" => {
            let mut other = Group::new();
            commit.commit = self::commit(&mut other, "none").commit;
        }
        "the_creations_commit" => commit.commit = group.creation.commit.clone(),
        "group_info_of_before" => commit.group_info = group.creation.group_info.clone(),
        "group_info_cut" => drop(commit.group_info.0.pop()),
        "log_of_nobody" => commit.logs.push(STRANGER.log().log().clone()),
        "log_missing" => commit.logs.clear(),
        "log_forged" => commit.logs[0].0[1].signature.0[0] ^= 1,
        "log_branched" => commit.logs.push(BOB.log_as("robert").log().clone()),
        "too_large" => commit.commit.0.extend(vec![0; limits::COMMIT_BYTES_MAX]),
        "another_group" => commit.group = GroupId([0x12; 32]),
        _ => {}
    }
    commit
}

/// Who is left alone becomes the admin.
fn with_role_alone(account: &AccountId) -> ConversationState {
    let mut after = with_role(account, Role::Admin);
    after.participants.retain(|one| one.account == *account);
    after
}

/// Runs a vector of kind `commit`.
pub fn run(given: &Map<String, Value>) -> Outcome {
    let mut home = Home::of(given);
    for step in given["before"].as_array().unwrap() {
        let outcome = home.step(step);
        assert!(matches!(outcome, Outcome::Accept(_)), "what came before is accepted: {step}: {outcome:?}");
    }
    let fault = given["fault"].as_str().unwrap();
    let mut group = Group::new();
    match given["way"].as_str().unwrap() {
        "ask" => {
            known_at_hub(&mut home, &group);
            if fault == "second_of_an_epoch" {
                let mut first = commit(&mut group, "none");
                first.operation = OperationId([0x45; 16]);
                let answer = answered(&home.peer(BIRCH.node(), NodeRequest::Commit(first)));
                assert!(matches!(answer, Outcome::Accept(_)), "the first is taken: {answer:?}");
            }
            let commit = commit(&mut group, fault);
            answered(&home.peer(BIRCH.node(), NodeRequest::Commit(commit)))
        }
        "frame" => {
            known_at_hub(&mut home, &group);
            let commit = commit(&mut group, fault);
            framed(home.frame(1, ClientFrame::Commit { id: 9, commit }))
        }
        "deliver" => {
            let first = first_entry(&group);
            let begun = deliver(vec![first.clone()], state().conversation);
            let answer = answered(&home.peer(ACME.node(), begun));
            assert!(matches!(answer, Outcome::Accept(_)), "the first contact is taken: {answer:?}");
            let entry = next_entry(&mut group, fault, &first);
            let writer = entry.header.feed.node;
            let conversation = match fault {
                "delivered_as_another_conversation" => ConversationId([7; 32]),
                _ => state().conversation,
            };
            answered(&home.peer(writer, deliver(vec![entry], conversation)))
        }
        other => panic!("{other} is no way of a commit"),
    }
}

fn known_at_hub(home: &mut Home, group: &Group) {
    let answer = answered(&home.peer(BIRCH.node(), NodeRequest::Create(group.creation.clone())));
    assert!(matches!(answer, Outcome::Accept(_)), "the hub lets the group stand: {answer:?}");
}

fn deliver(entries: Vec<Entry>, conversation: ConversationId) -> NodeRequest {
    let accounts = vec![BOB.account()];
    NodeRequest::Deliver(Deliver { conversation, entries, accounts, begins: false, log: None, blobs: Vec::new() })
}

fn first_entry(group: &Group) -> Entry {
    let head = group.head().sign(&ACME.node_key());
    let payload = codec::encode(&FirstContact { head, creation: group.creation.clone() });
    let header = EntryHeader {
        feed: FeedId { group: GROUP, node: ACME.node(), incarnation: LIFE },
        seq: 1,
        prev: Hash([0; 32]),
        kind: EntryKind::Creation,
        epoch: 1,
        account: AccountId([0; 32]),
        device: DeviceId([0; 32]),
        message: MessageId::of(NOW_S * 1000, group.creation.hash().as_bytes()),
        attempt: 0,
        payload_hash: payload_hash(&payload),
    };
    Entry { header, payload: Bytes(payload), silent: false }
}

/// The hub's word for the next epoch, as the second entry of its feed.
fn next_entry(group: &mut Group, fault: &str, first: &Entry) -> Entry {
    let mut commit = commit(group, fault);
    let mut head =
        ConversationHead { state: with_carol(), epoch: commit.epoch, made_by: commit.hash(), ..group.head() };
    match fault {
        "head_of_another_commit" => commit.operation = OperationId([0x46; 16]),
        "head_of_another_epoch" => head.epoch += 1,
        _ => {}
    }
    let signer = if fault == "head_forged" { EVIL } else { ACME };
    let signed = Signed::new(roost_crypto::labels::SIGN_CONVERSATION_HEAD, &head, &signer.node_key());
    let mut payload = codec::encode(&NextEpoch { head: signed, commit: commit.clone(), from: None });
    if fault == "entry_trailing" {
        payload.push(0);
    }
    let writer = if fault == "from_another_node" { EVIL.node() } else { ACME.node() };
    let epoch = if fault == "entry_of_another_epoch" { commit.epoch + 1 } else { commit.epoch };
    let header = EntryHeader {
        feed: FeedId { node: writer, ..first.header.feed },
        seq: if writer == ACME.node() { 2 } else { 1 },
        prev: if writer == ACME.node() { first.header.hash() } else { Hash([0; 32]) },
        kind: EntryKind::Commit,
        epoch,
        account: ALICE.account(),
        device: ALICE.device(),
        message: MessageId::of(NOW_S * 1000, commit.hash().as_bytes()),
        attempt: 0,
        payload_hash: payload_hash(&payload),
    };
    Entry { header, payload: Bytes(payload), silent: false }
}
