//! How the hub of a conversation changes, over three nodes: alice lives at node 1, which is the hub, bob at 2, carol at 3. The MLS
//! objects are plain lists: their checks are the engine's.

use super::*;
use roost_crypto::group::CommitView;
use roost_protocol::conversation::Commit;
use roost_protocol::epoch;
use roost_protocol::equivocation::EquivocationProof;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, NextEpoch, payload_hash};
use roost_protocol::peer::Deliver;
use roost_protocol::succession::Successor;
use std::collections::VecDeque;

type Leaf = (AccountId, DeviceId, PublicKey);
/// Group, `conv_state`, leaves, MLS epoch: GroupInfo and public state at once.
type Info = (Bytes, Bytes, Vec<Leaf>, u64);
/// Author, whom it adds, whom it removes, the MLS epoch that it is made from.
type PlainCommit = (Leaf, Vec<Leaf>, Vec<Leaf>, u64);

const GROUP: GroupId = GroupId([6; 32]);
const ALICE: u8 = 10;
const BOB: u8 = 30;
const CAROL: u8 = 50;
const DAVE: u8 = 70;
/// Nobody's home goes on alone for longer.
const STEPS_MAX: usize = 10_000;

fn read_info(bytes: &[u8]) -> Result<Info, GroupError> {
    roost_crypto::codec::decode(bytes, 1 << 20).map_err(|_| GroupError::Engine)
}

fn member((account, device, key): Leaf) -> Member {
    Member { credential: Credential { account, device, log_seq: 0 }, key }
}

fn creation_of(info: &[u8], _: &[u8]) -> Result<PublicView, GroupError> {
    let (group, conv_state, leaves, epoch) = read_info(info)?;
    Ok(PublicView { group_id: group.0, epoch, conv_state, members: leaves.into_iter().map(member).collect() })
}

fn begin(info: &[u8], tree: &[u8]) -> Result<(PublicView, Bytes), GroupError> {
    Ok((creation_of(info, tree)?, Bytes(info.to_vec())))
}

fn judge(state: &[u8], commit: &[u8], _: Option<&[u8]>, info: &[u8]) -> Result<(CommitView, Bytes), GroupError> {
    let (committer, added, removed, got): PlainCommit =
        roost_crypto::codec::decode(commit, 1 << 20).map_err(|_| GroupError::Engine)?;
    let (_, _, _, expected) = read_info(state)?;
    let (_, conv_state, leaves, epoch) = read_info(info)?;
    if got != expected || epoch != expected + 1 {
        return Err(GroupError::WrongEpoch { expected, got });
    }
    let members = |leaves: Vec<Leaf>| leaves.into_iter().map(member).collect();
    let view = CommitView {
        epoch,
        committer: member(committer),
        external: false,
        added: members(added),
        removed: members(removed),
        updated: vec![],
        conv_state,
        members: members(leaves),
    };
    Ok((view, Bytes(info.to_vec())))
}

fn tree(state: &[u8]) -> Result<Bytes, GroupError> {
    Ok(Bytes(state.to_vec()))
}

fn home_of(root: u8) -> u8 {
    match root {
        ALICE => 1,
        BOB => 2,
        _ => 3,
    }
}

fn log(root: u8) -> VerifiedLog {
    log_of(root, node(home_of(root)))
}

fn leaf(root: u8) -> Leaf {
    (log(root).account(), device_of(root), key(root + 1).public_key())
}

/// The group's state: who takes part, the hub and the successors by their numbers.
fn state(people: &[(u8, Role)], term: u32, hub: u8, successors: &[u8]) -> ConversationState {
    let mut participants: Vec<Participant> =
        people.iter().map(|(root, role)| Participant { account: log(*root).account(), role: *role }).collect();
    participants.sort_by_key(|participant| participant.account);
    ConversationState {
        conversation: ConversationId::of_group(&GROUP),
        generation: 0,
        term,
        hub: node(hub),
        successors: successors.iter().map(|seed| node(*seed)).collect(),
        participants,
        policy: Policy::Admins,
    }
}

/// Alice and bob are admins, carol is not.
fn three() -> Vec<(u8, Role)> {
    vec![(ALICE, Role::Admin), (BOB, Role::Admin), (CAROL, Role::Member)]
}

fn info(state: &ConversationState, people: &[u8], mls_epoch: u64) -> Bytes {
    let leaves: Vec<Leaf> = people.iter().map(|root| leaf(*root)).collect();
    let conv_state = Bytes(roost_crypto::codec::encode(state));
    Bytes(roost_crypto::codec::encode(&(Bytes(GROUP.as_bytes().to_vec()), conv_state, leaves, mls_epoch)))
}

/// A commit of `by` that leads to a state; `epoch` is the one that it makes.
fn commit(
    operation: u8,
    by: u8,
    epoch: u64,
    before: &[(u8, Role)],
    after: (&ConversationState, &[(u8, Role)]),
) -> Commit {
    let (state, people) = after;
    let roots = |people: &[(u8, Role)]| -> Vec<u8> { people.iter().map(|(root, _)| *root).collect() };
    let (before, after) = (roots(before), roots(people));
    let new: Vec<Leaf> = after.iter().filter(|root| !before.contains(root)).map(|root| leaf(*root)).collect();
    let gone: Vec<Leaf> = before.iter().filter(|root| !after.contains(root)).map(|root| leaf(*root)).collect();
    let logs = after.iter().filter(|root| !before.contains(root)).map(|root| log(*root).log().clone()).collect();
    let mls_epoch = epoch::mls(epoch);
    Commit {
        operation: OperationId([operation; 16]),
        group: GROUP,
        epoch,
        commit: Bytes(roost_crypto::codec::encode(&(leaf(by), &new, gone, mls_epoch - 1))),
        welcome: (!new.is_empty()).then(|| Bytes(vec![1])),
        group_info: info(state, &after, mls_epoch),
        logs,
        leaves: vec![],
    }
}

/// Nodes that ask each other; who is down hears and says nothing.
struct Net {
    worlds: BTreeMap<u8, World>,
    down: BTreeSet<u8>,
    asked: BTreeMap<u64, (u8, RequestToken)>,
    next: u64,
    /// What devices were told.
    told: Vec<(u8, ServerFrame)>,
    waiting: VecDeque<(u8, Input)>,
}

impl Net {
    /// Three nodes with a person each, and alice's group.
    fn new() -> Self {
        let mut net = Self {
            worlds: BTreeMap::new(),
            down: BTreeSet::new(),
            asked: BTreeMap::new(),
            next: 0,
            told: Vec::new(),
            waiting: VecDeque::new(),
        };
        for seed in 1..=3 {
            let store = MemoryStore::new([seed; 16]);
            let relay = Relay::open(Self::identity(seed, seed), &mut Overlay::new(&store)).unwrap();
            net.worlds.insert(seed, World { store, relay, now_ms: NOW_MS });
        }
        for root in [ALICE, BOB, CAROL] {
            net.sign_up(root);
        }
        net
    }

    fn identity(seed: u8, life: u8) -> Identity {
        let inspector = Inspector { creation: creation_of, begin, judge, tree, ..Inspector::default() };
        Identity { node_key: key(seed), incarnation: Incarnation([life; 16]), inspector, ..World::identity() }
    }

    fn sign_up(&mut self, root: u8) {
        let (log, seed) = (log(root), home_of(root));
        let world = self.worlds.get_mut(&seed).unwrap();
        let handle_record = handle_record(log.account(), NOW_MS / 1000 + 1_000);
        let row = AccountRow { log: log.log().clone(), handle_record };
        world.write(|rows| rows::put(rows, rows::account(&log.account()), &row));
        world.batch(vec![Input::Connected { connection: 1, challenge: [7; 32] }]);
        world.relay.connections.get_mut(&1).unwrap().device = Some((log.account(), device_of(root)));
        world.relay.present.entry(log.account()).or_default().insert(1);
    }

    /// The group begins at node 1 with nodes 2 and 3 as successors.
    fn created(mut self) -> Self {
        let people = three();
        let state = state(&people, 0, 1, &[2, 3]);
        let roots = [ALICE, BOB, CAROL];
        let creation = Creation {
            operation: OperationId([8; 16]),
            group: GROUP,
            state: state.clone(),
            logs: roots.iter().map(|root| log(*root).log().clone()).collect(),
            commit: Bytes(vec![]),
            welcome: Bytes(vec![]),
            group_info: info(&state, &roots, 1),
            tree: Bytes(vec![]),
        };
        self.say(1, ClientFrame::Create { id: 4, creation });
        self
    }

    fn say(&mut self, seed: u8, frame: ClientFrame) {
        self.waiting.push_back((seed, Input::Frame { connection: 1, frame }));
        self.settle();
    }

    /// A device commits at its home; what its home answers.
    fn commit(&mut self, seed: u8, commit: Commit) -> Result<ConversationHead, Refusal> {
        self.say(seed, ClientFrame::Commit { id: 5, commit });
        self.answer(seed)
    }

    fn succeed(&mut self, seed: u8, hub: u8, from: &Signed, commit: Commit) -> Result<ConversationHead, Refusal> {
        let successor = Successor { hub: node(hub), from: from.clone(), commit };
        self.say(seed, ClientFrame::Succeed { id: 5, successor });
        self.answer(seed)
    }

    fn answer(&mut self, seed: u8) -> Result<ConversationHead, Refusal> {
        let place = self.told.iter().rposition(|(at, frame)| {
            *at == seed && matches!(frame, ServerFrame::Committed { .. } | ServerFrame::Refused { id: Some(5), .. })
        });
        match self.told.remove(place.expect("it is answered")) {
            (_, ServerFrame::Committed { head, .. }) => Ok(ConversationHead::verify(&head).expect("a head")),
            (_, ServerFrame::Refused { error, .. }) => Err(error),
            other => panic!("no answer: {other:?}"),
        }
    }

    /// A node asks another; what that one answers.
    fn ask(&mut self, peer: u8, of: u8, request: NodeRequest) -> NodeResponse {
        let input = Input::Asked { token: u64::MAX, peer: node(peer), request };
        let (outputs, _) = self.worlds.get_mut(&of).unwrap().batch(vec![input]);
        let mut answer = None;
        for output in outputs {
            match output {
                Output::Answer(u64::MAX, response) => answer = Some(response),
                other => self.route(of, other),
            }
        }
        self.settle();
        answer.expect("it is answered")
    }

    fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let Some((seed, input)) = self.waiting.pop_front() else { return };
            if self.down.contains(&seed) {
                if let Input::Asked { token, .. } = input {
                    self.return_to(token, None);
                }
                continue;
            }
            let (outputs, _) = self.worlds.get_mut(&seed).unwrap().batch(vec![input]);
            for output in outputs {
                self.route(seed, output);
            }
        }
        panic!("the nodes do not come to rest");
    }

    fn return_to(&mut self, token: u64, response: Option<NodeResponse>) {
        if let Some((asker, token)) = self.asked.remove(&token) {
            self.waiting.push_back((asker, Input::Answered { token, response }));
        }
    }

    fn route(&mut self, from: u8, output: Output) {
        match output {
            Output::Ask(token, to, request) => {
                self.next += 1;
                self.asked.insert(self.next, (from, token));
                let to = (1..=3).find(|seed| node(*seed) == to).expect("a node of the net");
                self.waiting.push_back((to, Input::Asked { token: self.next, peer: node(from), request }));
            }
            Output::Answer(token, response) => self.return_to(token, Some(response)),
            Output::Send(_, frame) | Output::Early(_, frame) => self.told.push((from, frame)),
            Output::Resolve(..)
            | Output::Publish { .. }
            | Output::Close(_)
            | Output::Join { .. }
            | Output::Leave(_)
            | Output::Gossip(..)
            | Output::Push(..)
            | Output::PushForget(_)
            | Output::PushTest(..)
            | Output::Blob(_)
            | Output::Judged(..) => {}
        }
    }

    /// A minute passes, and every pause is over.
    fn elapse(&mut self) {
        for _ in 0..3 {
            for (seed, world) in &mut self.worlds {
                world.now_ms += 60_000;
                self.waiting.push_back((*seed, Input::Tick));
            }
            self.settle();
        }
    }

    /// A node stops and starts anew with its store.
    fn restart(&mut self, seed: u8) {
        let world = self.worlds.get_mut(&seed).unwrap();
        world.relay = Relay::open(Self::identity(seed, seed), &mut Overlay::new(&world.store)).unwrap();
    }

    fn head(&self, seed: u8) -> ConversationHead {
        self.worlds[&seed].row(&rows::group(&GROUP)).expect("the conversation is known")
    }

    fn signed(&self, seed: u8) -> Signed {
        let epoch = self.head(seed).epoch;
        self.worlds[&seed].row(&rows::head(&GROUP, epoch)).expect("the head is kept")
    }

    fn keeps_state(&self, seed: u8) -> bool {
        self.worlds[&seed].row::<Bytes>(&rows::public_state(&GROUP)).is_some()
    }

    /// The hubs and terms that nodes 1 to 3 follow.
    fn followed(&self) -> Vec<(NodeId, u32, u64)> {
        (1..=3)
            .map(|seed| {
                let head = self.head(seed);
                (head.state.hub, head.state.term, epoch::mls(head.epoch))
            })
            .collect()
    }
}

fn succession(operation: u8, by: u8, from: u64, hub: u8, others: &[u8], people: &[(u8, Role)]) -> Commit {
    let state = state(people, epoch::term(from) + 1, hub, others);
    commit(operation, by, epoch::succeeding(from), people, (&state, people))
}

#[test]
fn a_hub_moves_to_a_successor_that_keeps_the_state_and_orders_no_more() {
    let mut net = Net::new();
    net.down.extend([2, 3]);
    let mut net = net.created();
    assert!(!net.keeps_state(2) && !net.keeps_state(3), "who is not there fetches nothing");
    let people = three();
    let moved = state(&people, 0, 2, &[1, 3]);
    let early = net.commit(1, commit(20, ALICE, 2, &people, (&moved, &people))).unwrap_err();
    assert_eq!((early.code, early.later), (Code::Busy, true), "no hub moves to a node that could not go on");
    net.down.clear();
    net.elapse();
    assert!(net.keeps_state(2), "it fetches the state when it is back");

    let by_carol = net.commit(3, commit(21, CAROL, 2, &people, (&moved, &people))).unwrap_err();
    assert_eq!(by_carol.code, Code::Malformed, "who is no admin moves nothing");
    let head = net.commit(1, commit(20, ALICE, 2, &people, (&moved, &people))).expect("alice moves it");
    assert_eq!((head.ordered_by, head.state.term), (Some(node(1)), 0), "the old hub orders the move, in its own term");
    assert_eq!(net.followed(), vec![(node(2), 0, 2); 3], "everybody follows");

    let update = commit(22, CAROL, 3, &people, (&moved, &people));
    let head = net.commit(3, update).expect("the new hub goes on at once");
    assert_eq!((head.epoch, head.orderer()), (3, node(2)), "with the next epoch");
    assert_eq!(net.followed(), vec![(node(2), 0, 3); 3], "and the old one follows as any other home");
    let late = net.ask(3, 1, NodeRequest::Commit(commit(23, CAROL, 3, &people, (&moved, &people))));
    let NodeResponse::Refused(refusal) = late else { panic!("it orders nothing: {late:?}") };
    assert_eq!(refusal.code, Code::NotHub, "it is the hub no more");
    assert!(net.keeps_state(1), "it is a successor now");
}

#[test]
fn a_hub_does_not_wait_for_a_successor_in_a_new_life_where_another_has_the_state() {
    let mut net = Net::new();
    net.down.insert(2);
    let mut net = net.created();
    assert!(!net.keeps_state(2) && net.keeps_state(3), "who is there fetches the state");
    let people = three();
    let to_two = state(&people, 0, 2, &[1, 3]);
    let no = net.commit(1, commit(20, ALICE, 2, &people, (&to_two, &people))).unwrap_err();
    assert_eq!((no.code, no.later), (Code::Sealed, false), "another could go on at once");
    net.down.clear();
    net.elapse();
    let again = net.commit(1, commit(20, ALICE, 2, &people, (&to_two, &people))).unwrap_err();
    assert_eq!((again.code, again.later), (Code::Sealed, false), "its author may have named another by now");
    let to_three = state(&people, 0, 3, &[1, 2]);
    let head = net.commit(1, commit(21, ALICE, 2, &people, (&to_three, &people))).expect("the other has the state");
    assert_eq!(head.state.hub, node(3));
}

#[test]
fn a_hub_that_was_told_of_its_move_by_nobody_fetches_it_from_whoever_asks_it() {
    let mut net = Net::new().created();
    let people = three();
    let moved = state(&people, 0, 2, &[1, 3]);
    net.down.insert(2);
    net.commit(1, commit(20, ALICE, 2, &people, (&moved, &people)))
        .expect("it has the state, though it does not answer");
    net.down = BTreeSet::from([1]);
    net.elapse();
    let update = commit(21, CAROL, 3, &people, (&moved, &people));
    let early = net.commit(3, update.clone()).unwrap_err();
    assert_eq!(early.code, Code::NotHub, "it does not know yet");
    net.commit(3, update).expect("carol's home had what it lacked");
    assert_eq!(net.followed()[1..], [(node(2), 0, 3); 2], "and it goes on");
}

#[test]
fn a_successor_without_the_state_cannot_follow_and_one_that_starts_anew_fetches_it() {
    let mut net = Net::new();
    net.down.insert(2);
    let mut net = net.created();
    net.down.clear();
    net.elapse();
    let from = net.signed(2);
    net.worlds.get_mut(&2).unwrap().write(|rows| rows.delete(rows::public_state(&GROUP)));
    let people = three();
    let refusal = net.succeed(2, 2, &from, succession(30, BOB, 1, 2, &[1, 3], &people)).unwrap_err();
    assert_eq!((refusal.code, refusal.later), (Code::Sealed, true), "it must not judge what it cannot see");

    net.worlds.get_mut(&2).unwrap().write(|rows| {
        rows::put(rows, rows::wanted_state(&GROUP), &standby::WantedRow { node: node(1), epoch: 1 });
    });
    net.restart(2);
    net.elapse();
    assert!(net.keeps_state(2), "what it wanted before it stopped, it wants afterwards");
}

#[test]
fn a_commit_after_which_nobody_would_live_at_the_hub_must_move_it() {
    let mut net = Net::new().created();
    let people = three();
    let left = [(BOB, Role::Admin), (CAROL, Role::Member)];
    let stays = state(&left, 0, 1, &[2, 3]);
    let refusal = net.commit(2, commit(20, BOB, 2, &people, (&stays, &left))).unwrap_err();
    assert_eq!((refusal.code, refusal.later), (Code::Malformed, false), "the hub would serve nobody");
    let moves = state(&left, 0, 2, &[3]);
    net.commit(2, commit(21, BOB, 2, &people, (&moves, &left))).expect("it moves with the last who lived there");
    assert_eq!(net.head(3).state.hub, node(2), "and the others follow");
}

#[test]
fn a_successor_follows_a_dead_hub_which_seals_its_chain_when_it_hears_of_it() {
    let mut net = Net::new().created();
    let (people, from) = (three(), net.signed(2));
    net.down.insert(1);
    let dead = net.commit(3, commit(20, CAROL, 2, &people, (&net.head(3).state.clone(), &people))).unwrap_err();
    assert_eq!((dead.code, dead.later), (Code::Unreachable, true), "the hub is gone");

    let by_carol = net.succeed(3, 2, &from, succession(30, CAROL, 1, 2, &[1, 3], &people)).unwrap_err();
    assert_eq!(by_carol.code, Code::Malformed, "an admin has to say so");
    let stranger = net.succeed(2, 3, &from, succession(31, BOB, 1, 2, &[1, 3], &people)).unwrap_err();
    assert_eq!(stranger.code, Code::Malformed, "to the node that is to be the hub");
    let wish = succession(32, BOB, 1, 3, &[1, 2], &people);
    let head = net.succeed(2, 3, &from, wish.clone()).expect("node 3 follows");
    assert_eq!((head.epoch, head.state.hub), (epoch::of(1, 2), node(3)), "with the next term");
    assert_eq!(net.succeed(2, 3, &from, wish), Ok(head), "who asks again hears the same");
    assert_eq!(net.followed()[1..], [(node(3), 1, 2); 2], "those who live follow");
    let grown = state(&people, 1, 3, &[2]);
    net.commit(2, commit(33, BOB, epoch::of(1, 3), &people, (&grown, &people))).expect("and change it again");

    // It still believes to be the hub.
    net.down.clear();
    assert_eq!(net.head(1).state.term, 0, "the old hub has heard nothing");
    net.elapse();
    assert_eq!(net.followed(), vec![(node(3), 1, 3); 3], "it follows when it is told");
    let late = net.ask(3, 1, NodeRequest::Commit(commit(34, CAROL, 2, &people, (&grown, &people))));
    let NodeResponse::Refused(refusal) = late else { panic!("it orders nothing: {late:?}") };
    assert_eq!((refusal.code, refusal.later), (Code::Sealed, true), "its chain is sealed");
}

#[test]
fn what_the_old_hub_ordered_behind_the_fork_is_held_and_followed_no_more() {
    let mut net = Net::new().created();
    let (people, from) = (three(), net.signed(2));
    net.down.insert(2);
    let with_dave = [three(), vec![(DAVE, Role::Member)]].concat();
    let grown = state(&with_dave, 0, 1, &[2, 3]);
    net.commit(1, commit(20, ALICE, 2, &people, (&grown, &with_dave))).expect("dave is added, which bob does not hear");
    assert_eq!(net.head(3).epoch, 2, "carol's home does");
    net.down = BTreeSet::from([1]);
    net.elapse();
    assert_eq!(net.head(2).epoch, 1, "the hub died before it told node 2");

    net.succeed(2, 2, &from, succession(30, BOB, 1, 2, &[1, 3], &people)).expect("node 2 follows from where it was");
    net.elapse();
    assert_eq!(net.followed()[1..], [(node(2), 1, 2); 2], "carol's home comes over");
    assert_eq!(net.head(3).state.participants.len(), 3, "with the members of the fork");
    net.down.clear();
    net.elapse();
    assert_eq!(net.followed(), vec![(node(2), 1, 2); 3], "so does the hub");
    let feed = net.worlds[&1].relay.own_feed(&GROUP);
    let custody: u64 = net.worlds[&1].row(&rows::outbox(&feed, &log(BOB).account())).unwrap();
    assert_eq!(custody, 2, "and node 2 holds what it had ordered, though nobody goes on from it");
    let again = state(&with_dave, 1, 2, &[1, 3]);
    let added = net.commit(2, commit(31, BOB, epoch::of(1, 3), &people, (&again, &with_dave)));
    added.expect("dave is added anew");
    net.elapse();
    assert_eq!(net.followed(), vec![(node(2), 1, 3); 3], "on the branch that stands");
}

#[test]
fn a_successor_whose_author_was_demoted_is_void_to_whoever_knows_it() {
    let mut net = Net::new().created();
    let (people, from) = (three(), net.signed(2));
    net.down.insert(2);
    let demoted = [(ALICE, Role::Admin), (BOB, Role::Member), (CAROL, Role::Member)];
    let after = state(&demoted, 0, 1, &[2, 3]);
    net.commit(1, commit(20, ALICE, 2, &people, (&after, &demoted))).expect("bob is no admin any more");
    net.down = BTreeSet::from([1]);
    net.succeed(2, 2, &from, succession(30, BOB, 1, 2, &[1, 3], &people)).expect("his own home has not heard of it");
    net.elapse();
    assert_eq!(net.followed()[2], (node(1), 0, 2), "carol's home has, and follows nobody whom he names");
    net.down.clear();
    net.elapse();
    assert_eq!(net.followed()[0], (node(1), 0, 2), "nor does the hub");
}

#[test]
fn of_two_successors_all_follow_the_one_that_the_state_names_first() {
    let mut net = Net::new().created();
    let (people, from) = (three(), net.signed(2));
    net.down = BTreeSet::from([1, 3]);
    net.succeed(2, 2, &from, succession(30, BOB, 1, 2, &[1, 3], &people)).expect("node 2 follows");
    net.down = BTreeSet::from([1, 2]);
    let other = Successor { hub: node(3), from: from.clone(), commit: succession(31, ALICE, 1, 3, &[1, 2], &people) };
    let answer = net.ask(1, 3, NodeRequest::Succeed(other));
    assert!(matches!(answer, NodeResponse::Committed(_)), "node 3 follows at the same time: {answer:?}");
    let further = state(&people, 1, 3, &[1, 2]);
    let on = commit(32, CAROL, epoch::of(1, 3), &people, (&further, &people));
    net.commit(3, on).expect("and has gone further");
    net.down.clear();
    net.elapse();
    net.elapse();
    assert_eq!(net.followed(), vec![(node(2), 1, 2); 3], "the lower index stands, though the other was faster");
    let update = state(&people, 1, 2, &[1, 3]);
    net.commit(3, commit(33, CAROL, epoch::of(1, 3), &people, (&update, &people))).expect("it goes on");
    net.elapse();
    assert_eq!(net.followed(), vec![(node(2), 1, 3); 3], "with everybody");
}

#[test]
fn a_home_that_lacks_commits_of_the_dead_hub_fetches_them_from_its_successor() {
    let mut net = Net::new().created();
    let people = three();
    net.down.insert(2);
    let update = state(&people, 0, 1, &[2, 3]);
    for (operation, epoch) in [(20, 2), (21, 3)] {
        net.commit(1, commit(operation, ALICE, epoch, &people, (&update, &people))).expect("the hub goes on");
    }
    net.down = BTreeSet::from([1]);
    let early = net.succeed(2, 3, &net.signed(2), succession(30, BOB, 1, 3, &[1, 2], &people)).unwrap_err();
    assert_eq!((early.code, early.later), (Code::WrongEpoch, false), "node 3 knows more than bob");
    net.elapse();
    assert_eq!(net.head(2).epoch, 3, "and his home fetches it from there");
    net.succeed(2, 3, &net.signed(2), succession(31, BOB, 3, 3, &[1, 2], &people)).expect("nothing is lost");

    // Node 1 was told nothing of it, and comes back with all that it ordered.
    net.down.clear();
    net.elapse();
    assert_eq!(net.followed(), vec![(node(3), 1, 4); 3], "all follow from the last epoch of the old hub");
}

#[test]
fn a_home_that_missed_a_move_and_the_death_of_the_hub_after_it_fetches_both() {
    let mut net = Net::new().created();
    let people = three();
    net.down.insert(3);
    let moved = state(&people, 0, 2, &[1, 3]);
    net.commit(1, commit(20, ALICE, 2, &people, (&moved, &people))).expect("the hub moves");
    net.commit(2, commit(21, BOB, 3, &people, (&moved, &people))).expect("and goes on");
    net.down = BTreeSet::from([2, 3]);
    let from = net.signed(1);
    net.succeed(1, 1, &from, succession(30, ALICE, 3, 1, &[3], &people)).expect("it is lost, and node 1 follows");
    net.down = BTreeSet::from([2]);
    net.elapse();
    net.elapse();
    assert_eq!(net.followed()[2], (node(1), 1, 4), "carol's home never heard of the hub between");
}

#[test]
fn a_home_whose_people_come_back_follows_whoever_adds_them() {
    let mut net = Net::new().created();
    let (people, two) = (three(), three()[..2].to_vec());
    let (there, back) = (state(&people, 0, 2, &[1, 3]), state(&two, 0, 1, &[2]));
    net.commit(1, commit(20, ALICE, 2, &people, (&there, &people))).expect("the hub moves to node 2");
    let without = state(&two, 0, 2, &[1]);
    net.commit(2, commit(21, BOB, 3, &people, (&without, &two))).expect("carol is removed");
    assert_eq!(net.followed(), vec![(node(2), 0, 3); 3], "which her home still hears");
    net.elapse();
    net.commit(2, commit(22, BOB, 4, &two, (&back, &two))).expect("the hub moves back, which it does not");
    let again = state(&people, 0, 1, &[2, 3]);
    net.commit(1, commit(23, ALICE, 5, &two, (&again, &people))).expect("carol is added again");
    net.elapse();
    assert_eq!(net.followed(), vec![(node(1), 0, 5); 3], "by a node that was the hub before the one it knew");
}

#[test]
fn the_state_is_given_to_one_life_of_a_store_only() {
    let mut net = Net::new().created();
    let asked = |net: &mut Net, peer: u8, life: u8, epoch: u64| {
        let request = NodeRequest::PublicState { group: GROUP, epoch, incarnation: Incarnation([life; 16]) };
        match net.ask(peer, 1, request) {
            NodeResponse::PublicState { .. } => Ok(()),
            NodeResponse::Refused(refusal) => Err((refusal.code, refusal.later)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked(&mut net, 2, 2, 1), Ok(()), "the same life may ask again");
    assert_eq!(asked(&mut net, 2, 9, 1), Err((Code::Sealed, false)), "another one may have begun a term before");
    assert_eq!(asked(&mut net, 2, 2, 7), Err((Code::WrongEpoch, true)), "an epoch that is not the newest");
    let people = three();
    let fewer = state(&people, 0, 1, &[2]);
    net.commit(1, commit(20, ALICE, 2, &people, (&fewer, &people))).unwrap();
    assert_eq!(asked(&mut net, 3, 3, 2), Err((Code::NotMember, false)), "a node that is none of the successors");
    assert!(!net.keeps_state(3), "which keeps nothing any more");
}

#[test]
fn a_home_that_lost_its_store_believes_a_hub_that_followed_by_its_lineage() {
    let mut net = Net::new().created();
    let (people, from) = (three(), net.signed(2));
    net.down.insert(1);
    net.succeed(2, 2, &from, succession(30, BOB, 1, 2, &[3], &people)).expect("node 2 follows");
    net.elapse();
    let lineage: Vec<Signed> = net.worlds[&3].row(&rows::lineage(&GROUP)).unwrap();
    let creation: conversations::CreationRow = net.worlds[&3].row(&rows::creation(&GROUP)).unwrap();
    let (head, creation) = (net.signed(3), creation.creation().clone());
    let store = MemoryStore::new([9; 16]);
    let relay = Relay::open(Net::identity(3, 9), &mut Overlay::new(&store)).unwrap();
    net.worlds.insert(3, World { store, relay, now_ms: NOW_MS });
    net.sign_up(CAROL);
    let shown = |net: &mut Net, lineage: Vec<Signed>| {
        let (head, creation) = (head.clone(), creation.clone());
        net.say(3, ClientFrame::Introduce { id: 6, head, creation, lineage });
        net.worlds[&3].row::<ConversationHead>(&rows::group(&GROUP)).map(|head| head.state.hub)
    };
    assert_eq!(shown(&mut net, vec![]), None, "the creation names another hub");
    assert_eq!(shown(&mut net, lineage[1..].to_vec()), None, "half of the proof is none");
    assert_eq!(shown(&mut net, lineage), Some(node(2)), "what leads from the one to the other is believed");
}

#[test]
fn a_hub_that_tells_two_stories_is_proven_a_liar_and_asked_nothing_more() {
    let mut net = Net::new().created();
    let people = three();
    let one = commit(20, ALICE, 2, &people, (&state(&people, 0, 1, &[2, 3]), &people));
    net.commit(1, one).expect("the first story");
    let other = commit(21, ALICE, 2, &people, (&state(&people, 0, 1, &[3, 2]), &people));
    let head = ConversationHead {
        group: GROUP,
        state: state(&people, 0, 1, &[3, 2]),
        epoch: 2,
        made_by: other.hash(),
        ordered_by: None,
    };
    let signed = head.sign(&key(1));
    let payload = Bytes(roost_crypto::codec::encode(&NextEpoch { head: signed.clone(), commit: other, from: None }));
    let header = EntryHeader {
        feed: FeedId { group: GROUP, node: node(1), incarnation: Incarnation([99; 16]) },
        seq: 1,
        prev: Hash([0; 32]),
        kind: EntryKind::Commit,
        epoch: 2,
        account: log(ALICE).account(),
        device: device_of(ALICE),
        message: MessageId([9; 16]),
        attempt: 0,
        payload_hash: payload_hash(payload.as_slice()),
    };
    let deliver = Deliver {
        conversation: head.state.conversation,
        entries: vec![Entry { header, payload, silent: false }],
        accounts: vec![log(BOB).account()],
        begins: false,
        log: None,
        blobs: Vec::new(),
    };
    let held = net.ask(1, 2, NodeRequest::Deliver(deliver));
    assert!(matches!(held, NodeResponse::Custody(_)), "the second story is held, for what it proves: {held:?}");
    let proof = EquivocationProof::of(&net.signed(2), &signed).unwrap();
    for seed in 2..=3 {
        let kept = net.worlds[&seed].row::<EquivocationProof>(&rows::equivocation(&GROUP));
        assert_eq!(kept.as_ref(), Some(&proof), "node {seed} keeps the proof");
        let told = net.told.iter().any(|(at, frame)| {
            *at == seed && matches!(frame, ServerFrame::Equivocation { proof: told } if *told == proof)
        });
        assert!(told, "and tells its people");
    }
    let refused = net.commit(3, commit(22, CAROL, 3, &people, (&head.state, &people))).unwrap_err();
    assert_eq!((refused.code, refused.later), (Code::Sealed, true), "nothing is asked of the liar");
    let forged = EquivocationProof { head_a: signed.clone(), head_b: signed };
    let refused = net.ask(3, 2, NodeRequest::Equivocation(forged));
    assert!(matches!(refused, NodeResponse::Refused(refusal) if refusal.code == Code::Malformed), "a proof must prove");
    let succession = succession(30, BOB, 2, 2, &[3], &people);
    net.succeed(2, 2, &net.signed(2), succession).expect("and a successor follows it");
}
