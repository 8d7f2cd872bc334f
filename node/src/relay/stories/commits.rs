//! What a hub and the homes that follow it do with commits. The MLS objects are plain lists here: their checks are the engine's.

use super::*;
use roost_crypto::group::CommitView;
use roost_protocol::conversation::Commit;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, NextEpoch, payload_hash};
use roost_protocol::peer::Deliver;

type Leaf = (AccountId, DeviceId, PublicKey);

fn begin_plain(info: &[u8], tree: &[u8]) -> Result<(PublicView, Bytes), GroupError> {
    Ok((read_plain(info, tree)?, Bytes(info.to_vec())))
}

/// A commit is the committer and the GroupInfo that it leads to; any epoch but the next is the rules' to refuse.
fn judge_plain(_: &[u8], commit: &[u8], _: Option<&[u8]>, info: &[u8]) -> Result<(CommitView, Bytes), GroupError> {
    let (committer, added): (Leaf, Vec<Leaf>) =
        roost_crypto::codec::decode(commit, 1 << 20).map_err(|_| GroupError::Engine)?;
    let view = read_plain(info, &[])?;
    let member = |(account, device, key)| Member { credential: Credential { account, device, log_seq: 0 }, key };
    let view = CommitView {
        epoch: 2,
        committer: member(committer),
        external: false,
        added: added.into_iter().map(member).collect(),
        removed: vec![],
        updated: vec![],
        conv_state: view.conv_state,
        members: view.members,
    };
    Ok((view, Bytes(info.to_vec())))
}

fn tree_plain(state: &[u8]) -> Result<Bytes, GroupError> {
    Ok(Bytes(state.to_vec()))
}

fn hub() -> World {
    let mut world = World::new();
    let inspector = Inspector {
        creation: read_plain,
        begin: begin_plain,
        judge: judge_plain,
        tree: tree_plain,
        ..Inspector::default()
    };
    let identity = Identity { inspector, ..World::identity() };
    world.relay = Relay::open(identity, &mut Overlay::new(&world.store)).unwrap();
    world.alice();
    world
}

fn leaf(log: &VerifiedLog, root: u8) -> Leaf {
    (log.account(), device_of(root), key(root + 1).public_key())
}

fn info(group: GroupId, state: &ConversationState, leaves: &[Leaf]) -> Bytes {
    let conv_state = Bytes(roost_crypto::codec::encode(state));
    Bytes(roost_crypto::codec::encode(&(Bytes(group.as_bytes().to_vec()), conv_state, leaves.to_vec())))
}

fn group_state(group: GroupId, hub: NodeId, people: &[(&VerifiedLog, Role)]) -> ConversationState {
    let mut participants: Vec<Participant> =
        people.iter().map(|(log, role)| Participant { account: log.account(), role: *role }).collect();
    participants.sort_by_key(|participant| participant.account);
    let conversation = ConversationId::of_group(&group);
    ConversationState {
        conversation,
        generation: 0,
        term: 0,
        hub,
        successors: vec![],
        participants,
        policy: Policy::Admins,
    }
}

/// Alice's group with bob, of which node 1 is the hub.
fn creation(group: GroupId, bob: &VerifiedLog) -> Creation {
    let alice = log_of(10, node(1));
    let state = group_state(group, node(1), &[(&alice, Role::Admin), (bob, Role::Member)]);
    Creation {
        operation: OperationId([8; 16]),
        group,
        state: state.clone(),
        logs: vec![alice.log().clone(), bob.log().clone()],
        commit: Bytes(vec![]),
        welcome: Bytes(vec![]),
        group_info: info(group, &state, &[leaf(&alice, 10), leaf(bob, 30)]),
        tree: Bytes(vec![]),
    }
}

/// Alice adds carol.
fn addition(group: GroupId, operation: u8, bob: &VerifiedLog, carol: &VerifiedLog) -> Commit {
    let alice = log_of(10, node(1));
    let people = [(&alice, Role::Admin), (bob, Role::Member), (carol, Role::Member)];
    let state = group_state(group, node(1), &people);
    Commit {
        operation: OperationId([operation; 16]),
        group,
        epoch: 2,
        commit: Bytes(roost_crypto::codec::encode(&(leaf(&alice, 10), vec![leaf(carol, 50)]))),
        welcome: Some(Bytes(vec![1])),
        group_info: info(group, &state, &[leaf(&alice, 10), leaf(bob, 30), leaf(carol, 50)]),
        logs: vec![carol.log().clone()],
        leaves: vec![],
    }
}

fn committed(world: &mut World, commit: Commit) -> Result<Signed, Refusal> {
    let frame = ClientFrame::Commit { id: 5, commit };
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    let answer = outputs.into_iter().find_map(|output| match output {
        Output::Send(1, ServerFrame::Committed { id: 5, head }) => Some(Ok(head)),
        Output::Send(1, ServerFrame::Refused { id: Some(5), error }) => Some(Err(error)),
        _ => None,
    });
    answer.expect("a commit is answered")
}

#[test]
fn of_two_commits_of_an_epoch_the_hub_takes_one_and_tells_its_verdict_again() {
    let mut world = hub();
    let (bob, carol) = (log_of(30, node(2)), log_of(50, node(3)));
    let group = GroupId([6; 32]);
    let frame = ClientFrame::Create { id: 4, creation: creation(group, &bob) };
    world.batch(vec![Input::Frame { connection: 1, frame }]);

    let stranger = Commit { logs: vec![log_of(90, node(3)).log().clone()], ..addition(group, 19, &bob, &carol) };
    assert_eq!(committed(&mut world, stranger).unwrap_err().code, Code::Malformed, "the log of a stranger");
    let large = Commit { welcome: Some(Bytes(vec![0; 90_000])), ..addition(group, 18, &bob, &carol) };
    assert_eq!(committed(&mut world, large).unwrap_err().code, Code::TooLarge, "more than an entry holds");
    let head = committed(&mut world, addition(group, 20, &bob, &carol)).expect("the first stands");
    let verified = ConversationHead::verify(&head).unwrap();
    assert_eq!((verified.epoch, verified.state.participants.len()), (2, 3), "carol takes part in epoch 2");

    let late = committed(&mut world, addition(group, 21, &bob, &carol)).unwrap_err();
    assert_eq!((late.code, late.later), (Code::WrongEpoch, false), "the second comes too late");
    world.relay.connections.get_mut(&1).unwrap().sent = None;
    assert_eq!(committed(&mut world, addition(group, 20, &bob, &carol)), Ok(head), "who asks again hears the same yes");
    assert_eq!(committed(&mut world, addition(group, 21, &bob, &carol)), Err(late), "and the same no");

    let feed = world.relay.own_feed(&group);
    let rows = Overlay::new(&world.store);
    assert_eq!(feeds::head(&rows, &feed).unwrap().seq, 2, "one entry for the creation, one for the commit");
    let due = |log: &VerifiedLog| spans::due(&rows, &feed, &log.account(), 0, 2).unwrap().unwrap();
    assert_eq!((due(&bob).from, due(&bob).until), (1, 2), "bob gets both");
    assert_eq!((due(&carol).from, due(&carol).begins), (2, true), "carol begins with the commit that added her");
}

#[test]
fn a_member_is_given_the_log_of_commits_and_nobody_else() {
    let mut world = hub();
    let (bob, carol) = (log_of(30, node(2)), log_of(50, node(3)));
    let group = GroupId([6; 32]);
    let frame = ClientFrame::Create { id: 4, creation: creation(group, &bob) };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    committed(&mut world, addition(group, 20, &bob, &carol)).expect("carol is added");
    let fetched = |world: &mut World, group: GroupId, behind: u64| {
        let frame = ClientFrame::FetchCommits { id: 9, group, behind };
        let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
        let answer = outputs.into_iter().find_map(|output| match output {
            Output::Send(1, ServerFrame::Commits { entries, .. }) => {
                Some(Ok(entries.iter().map(|entry| (entry.header.kind, entry.header.epoch)).collect::<Vec<_>>()))
            }
            Output::Send(1, ServerFrame::Refused { error, .. }) => Some(Err(error.code)),
            _ => None,
        });
        answer.expect("it is answered")
    };
    let all = vec![(EntryKind::Creation, 1), (EntryKind::Commit, 2)];
    assert_eq!(fetched(&mut world, group, 0), Ok(all.clone()), "alice has been there from the beginning");
    assert_eq!(fetched(&mut world, group, 1), Ok(all[1..].to_vec()), "and may begin where she is");
    assert_eq!(fetched(&mut world, group, 2), Ok(vec![]), "behind the newest there is none");
    assert_eq!(fetched(&mut world, GroupId([7; 32]), 0), Err(Code::UnknownConversation), "of nothing there is nothing");

    let alice = log_of(10, node(1)).account();
    world.write(|rows| {
        rows::put(
            rows,
            rows::participants(&group, 1),
            &vec![Participant { account: bob.account(), role: Role::Admin }],
        );
    });
    assert_eq!(fetched(&mut world, group, 0), Ok(all[1..].to_vec()), "what was before one came is not one's business");
    world.write(|rows| {
        let mut head: ConversationHead = rows::get(rows, &rows::group(&group)).unwrap().unwrap();
        head.state.participants.retain(|participant| participant.account != alice);
        rows::put(rows, rows::group(&group), &head);
    });
    assert_eq!(fetched(&mut world, group, 0), Err(Code::NotMember), "who takes no part is given none");
}

#[test]
fn a_hub_that_lost_its_store_gives_no_verdict() {
    let mut world = hub();
    let (bob, carol) = (log_of(30, node(2)), log_of(50, node(3)));
    let group = GroupId([6; 32]);
    let creation = creation(group, &bob);
    let made_by = creation.hash();
    let head =
        ConversationHead { group, state: creation.state.clone(), epoch: 1, made_by, ordered_by: None }.sign(&key(1));
    let frame = ClientFrame::Introduce { id: 4, head, creation, lineage: vec![] };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    let refusal = committed(&mut world, addition(group, 20, &bob, &carol)).unwrap_err();
    assert_eq!((refusal.code, refusal.later), (Code::Sealed, true), "it may have judged this epoch in its other life");
}

#[test]
fn a_home_follows_its_hub_and_nobody_else() {
    // Node 1 is alice's home here, node 2 the hub.
    let mut world = World::new();
    let alice = world.alice();
    let (bob, carol) = (log_of(30, node(2)), log_of(50, node(3)));
    let group = GroupId([6; 32]);
    let own = log_of(10, node(1));
    let state = group_state(group, node(2), &[(&own, Role::Member), (&bob, Role::Admin), (&carol, Role::Member)]);
    let entry = |epoch: u64, seq: u64, signer: u8| {
        let mut commit = addition(group, 20, &bob, &carol);
        commit.epoch = epoch;
        let head = ConversationHead { group, state: state.clone(), epoch, made_by: commit.hash(), ordered_by: None };
        let payload =
            Bytes(roost_crypto::codec::encode(&NextEpoch { head: head.sign(&key(signer)), commit, from: None }));
        let header = EntryHeader {
            feed: FeedId { group, node: node(2), incarnation: Incarnation([2; 16]) },
            seq,
            prev: Hash([0; 32]),
            kind: EntryKind::Commit,
            epoch,
            account: bob.account(),
            device: device_of(30),
            message: MessageId([9; 16]),
            attempt: 0,
            payload_hash: payload_hash(payload.as_slice()),
        };
        Entry { header, payload, silent: false }
    };
    let mut asked = false;
    let mut delivered = |peer: u8, entry: Entry, begins: bool| {
        let conversation = state.conversation;
        let deliver =
            Deliver { conversation, entries: vec![entry], accounts: vec![alice], begins, log: None, blobs: Vec::new() };
        let request = NodeRequest::Deliver(deliver);
        let (outputs, _) = world.batch(vec![Input::Asked { token: 7, peer: node(peer), request }]);
        asked |= outputs.iter().any(|output| matches!(output, Output::Ask(_, _, NodeRequest::Participants { .. })));
        let answer = outputs.into_iter().find_map(|output| match output {
            Output::Answer(7, NodeResponse::Custody(custody)) => Some(Ok(custody[0].seq)),
            Output::Answer(7, NodeResponse::Refused(refusal)) => Some(Err(refusal.code)),
            _ => None,
        });
        answer.expect("it is answered")
    };
    assert_eq!(delivered(2, entry(4, 9, 3), true), Err(Code::Malformed), "a head that another signed");
    assert_eq!(
        delivered(2, entry(4, 9, 2), false),
        Err(Code::OutOfOrder),
        "a feed does not begin in its middle by itself"
    );
    assert_eq!(delivered(2, entry(4, 9, 2), true), Ok(9), "who was added begins there");
    let (mut earlier, mut begun) = (entry(3, 8, 2), entry(4, 9, 2));
    earlier.header.prev = Hash([1; 32]);
    assert_eq!(delivered(2, earlier, true), Err(Code::OutOfOrder), "what lies before must lead to it");
    begun.header.attempt += 1;
    assert_eq!(delivered(2, begun, true), Err(Code::OutOfOrder), "and what is held stays what it is");
    let mut skipped = entry(6, 10, 2);
    skipped.header.prev = entry(4, 9, 2).header.hash();
    assert_eq!(delivered(2, skipped, false), Err(Code::WrongEpoch), "an epoch is missing between");
    let mut foreign = entry(5, 1, 2);
    foreign.header.feed.node = node(3);
    assert_eq!(delivered(3, foreign, true), Err(Code::NotHub), "only the hub's feed holds commits");
    assert!(asked, "the hub is asked where the others live");
}

#[test]
fn who_was_removed_is_told_again_what_it_had_sent_before_and_no_more() {
    let mut world = hub();
    let alice = world.alice();
    let bob = log_of(30, node(2));
    let group = GroupId([6; 32]);
    let frame = ClientFrame::Create { id: 4, creation: creation(group, &bob) };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    let seq = world.submit(group, 9).expect("alice takes part");
    let feed = world.relay.own_feed(&group);
    world.write(|rows| {
        let mut head: ConversationHead = rows::get(rows, &rows::group(&group)).unwrap().unwrap();
        head.epoch = 2;
        head.state.participants.retain(|participant| participant.account != alice);
        rows::put(rows, rows::group(&group), &head);
        rows::put(rows, rows::outbox(&feed, &bob.account()), &seq);
    });
    let payload = Bytes(vec![9; 100]);
    let frame = ClientFrame::Submit {
        id: 9,
        group,
        epoch: 1,
        message: MessageId([9; 16]),
        attempt: 0,
        payload,
        silent: false,
        blobs: Vec::new(),
    };
    let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
    let told = |of: AccountId| {
        outputs
            .iter()
            .any(|output| matches!(output, Output::Send(1, ServerFrame::Custody { account, .. }) if *account == of))
    };
    let again =
        |output: &Output| matches!(output, Output::Send(1, ServerFrame::Accepted { seq: at, .. }) if *at == seq);
    assert!(outputs.iter().any(again), "what was admitted stays admitted");
    assert!(told(bob.account()), "and she hears that bob's home has it");
    assert_eq!(world.submit(group, 10).unwrap_err().code, Code::NotMember, "nothing new is taken");
}

#[test]
fn what_comes_behind_a_message_of_a_past_epoch_waits_for_it() {
    let mut world = hub();
    let (bob, carol) = (log_of(30, node(2)), log_of(50, node(3)));
    let group = GroupId([6; 32]);
    let frame = ClientFrame::Create { id: 4, creation: creation(group, &bob) };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    committed(&mut world, addition(group, 20, &bob, &carol)).expect("carol is added");
    let mut submit = |number: u8, epoch: u64, attempt: u32| {
        let (id, message) = (u64::from(number), MessageId([number; 16]));
        let frame = ClientFrame::Submit {
            id,
            group,
            epoch,
            message,
            attempt,
            payload: Bytes(vec![number; 100]),
            silent: false,
            blobs: Vec::new(),
        };
        let (outputs, _) = world.batch(vec![Input::Frame { connection: 1, frame }]);
        let answer = outputs.into_iter().find_map(|output| match output {
            Output::Send(1, ServerFrame::Accepted { .. }) => Some(Ok(())),
            Output::Send(1, ServerFrame::Refused { error, .. }) => Some(Err(error.code)),
            _ => None,
        });
        answer.expect("it is answered")
    };
    assert_eq!(submit(11, 1, 0), Err(Code::WrongEpoch), "sealed before carol came");
    assert_eq!(submit(12, 2, 0), Err(Code::Busy), "the next, sealed after, must not pass it");
    assert_eq!(submit(11, 2, 1), Ok(()), "sealed again it is taken");
    assert_eq!(submit(12, 2, 0), Ok(()), "and then the next");
}

/// A commit that changes nobody, signed by one of alice and bob.
fn renewal(group: GroupId, operation: u8, epoch: u64, bob: &VerifiedLog, committer: Leaf) -> Commit {
    let alice = log_of(10, node(1));
    let state = group_state(group, node(1), &[(&alice, Role::Admin), (bob, Role::Member)]);
    Commit {
        operation: OperationId([operation; 16]),
        group,
        epoch,
        commit: Bytes(roost_crypto::codec::encode(&(committer, Vec::<Leaf>::new()))),
        welcome: None,
        group_info: info(group, &state, &[leaf(&alice, 10), leaf(bob, 30)]),
        logs: vec![],
        leaves: vec![],
    }
}

#[test]
fn a_hub_counts_the_commits_of_each_member_itself_whoever_brings_them() {
    let mut world = hub();
    let (alice, bob) = (log_of(10, node(1)), log_of(30, node(2)));
    let group = GroupId([6; 32]);
    let frame = ClientFrame::Create { id: 4, creation: creation(group, &bob) };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    // Bob's home brings whatever he wants, and counts nothing.
    let brought = |world: &mut World, commit: Commit| {
        let request = NodeRequest::Commit(commit);
        let (outputs, _) = world.batch(vec![Input::Asked { token: 7, peer: node(2), request }]);
        let answer = outputs.into_iter().find_map(|output| match output {
            Output::Answer(7, NodeResponse::Committed(_)) => Some(Ok(())),
            Output::Answer(7, NodeResponse::Refused(refusal)) => Some(Err(refusal)),
            _ => None,
        });
        answer.expect("it is answered")
    };
    let by_bob = |operation: u8, epoch: u64| renewal(group, operation, epoch, &bob, leaf(&bob, 30));
    for number in 0..60 {
        assert_eq!(brought(&mut world, by_bob(20 + number, 2 + u64::from(number))), Ok(()), "his burst, {number}");
    }
    let refusal = brought(&mut world, by_bob(80, 62)).unwrap_err();
    assert_eq!((refusal.code, refusal.later), (Code::Busy, true), "the hub has counted");
    assert!(refusal.retry_after_ms.is_some_and(|wait| wait > 0 && wait <= 10_000), "and says how long to wait");
    let refusal = committed(&mut world, by_bob(80, 62)).unwrap_err();
    assert_eq!(refusal.code, Code::Busy, "it is his leaf that counts: another way leads no further");
    let by_alice = renewal(group, 81, 62, &bob, leaf(&alice, 10));
    assert!(committed(&mut world, by_alice).is_ok(), "alice is not concerned");
    world.now_ms += 10_000;
    assert_eq!(brought(&mut world, by_bob(82, 63)), Ok(()), "after the pause one more of his is taken");
    let refusal = brought(&mut world, by_bob(83, 64)).unwrap_err();
    assert_eq!(refusal.code, Code::Busy, "and no second one");
}

#[test]
fn a_member_that_commits_without_end_is_told_to_wait_and_another_is_not() {
    let mut world = hub();
    let (bob, carol) = (log_of(30, node(2)), log_of(50, node(3)));
    let group = GroupId([6; 32]);
    let frame = ClientFrame::Create { id: 4, creation: creation(group, &bob) };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    let broken = |number: u8| {
        let logs = vec![log_of(90, node(3)).log().clone()];
        Commit { logs, ..addition(group, number, &bob, &carol) }
    };
    for number in 100..160 {
        let refusal = committed(&mut world, broken(number)).unwrap_err();
        assert_eq!(refusal.code, Code::Malformed, "commit {number} is judged, and refused for what it is");
    }
    let over = committed(&mut world, broken(200)).unwrap_err();
    assert_eq!((over.code, over.later), (Code::Busy, true), "beyond sixty at once none is looked at");
    assert!(over.retry_after_ms.is_some_and(|pause| pause > 0), "and she is told when to come back");
    let by_bob = Commit {
        commit: Bytes(roost_crypto::codec::encode(&(leaf(&bob, 30), vec![leaf(&carol, 50)]))),
        ..addition(group, 201, &bob, &carol)
    };
    let asked = Input::Asked { token: 7, peer: node(2), request: NodeRequest::Commit(by_bob) };
    let (outputs, _) = world.batch(vec![asked]);
    let judged = outputs.iter().any(
        |output| matches!(output, Output::Answer(7, NodeResponse::Refused(refusal)) if refusal.code == Code::Malformed),
    );
    assert!(judged, "bob, who is no admin, is refused for that and for nothing that alice did");
    world.now_ms += 10_000;
    let again = committed(&mut world, broken(200)).unwrap_err();
    assert_eq!(again.code, Code::Malformed, "what was put off was no verdict");
}

#[test]
fn what_a_removed_account_says_behind_its_removal_is_void_and_what_it_said_before_is_not() {
    let mut world = hub();
    let alice = world.alice();
    let (own, bob, carol) = (log_of(10, node(1)), log_of(30, node(2)), log_of(50, node(3)));
    let group = GroupId([6; 32]);
    let frame = ClientFrame::Create { id: 4, creation: creation(group, &bob) };
    world.batch(vec![Input::Frame { connection: 1, frame }]);
    committed(&mut world, addition(group, 20, &bob, &carol)).expect("carol is added");
    let state = group_state(group, node(1), &[(&own, Role::Admin), (&bob, Role::Member)]);
    let removal = Commit {
        operation: OperationId([21; 16]),
        epoch: 3,
        commit: Bytes(roost_crypto::codec::encode(&(leaf(&own, 10), Vec::<Leaf>::new()))),
        welcome: None,
        group_info: info(group, &state, &[leaf(&own, 10), leaf(&bob, 30)]),
        logs: vec![],
        ..addition(group, 21, &bob, &carol)
    };
    committed(&mut world, removal).expect("and removed");
    let mut said = |epoch: u64| {
        let payload = Bytes(vec![7; 100]);
        let header = EntryHeader {
            feed: FeedId { group, node: node(3), incarnation: Incarnation([3; 16]) },
            seq: 1,
            prev: Hash([0; 32]),
            kind: EntryKind::Message,
            epoch,
            account: carol.account(),
            device: device_of(50),
            message: MessageId([9; 16]),
            attempt: 0,
            payload_hash: payload_hash(payload.as_slice()),
        };
        let entries = vec![Entry { header, payload, silent: false }];
        let conversation = state.conversation;
        let deliver =
            Deliver { conversation, entries, accounts: vec![alice], begins: true, log: None, blobs: Vec::new() };
        let asked = Input::Asked { token: 7, peer: node(3), request: NodeRequest::Deliver(deliver) };
        let (outputs, _) = world.batch(vec![asked]);
        let answer = outputs.into_iter().find_map(|output| match output {
            Output::Answer(7, NodeResponse::Custody(_)) => Some(Ok(())),
            Output::Answer(7, NodeResponse::Refused(refusal)) => Some(Err((refusal.code, refusal.later))),
            _ => None,
        });
        answer.expect("it is answered")
    };
    assert_eq!(said(3), Err((Code::NotMember, false)), "of an epoch in which she takes no part nothing is taken");
    assert_eq!(said(2), Ok(()), "of one in which she did it is, however late");
}
