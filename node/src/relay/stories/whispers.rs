//! What is said in passing: passed on to who is there, kept by nobody, dropped before anything else.

use super::*;
use roost_protocol::limits::{INBOX_WINDOW, MARKS_ACCOUNTS_MAX, WHISPER_BYTES_MAX};

const GROUP: GroupId = GroupId([5; 32]);

/// Alice and carol live here and are there, each on a connection (1 and 2); bob lives at node 2; all three are in a group.
struct Three {
    world: World,
    alice: AccountId,
    bob: VerifiedLog,
    carol: AccountId,
}

fn three() -> Three {
    let mut world = World::new();
    let alice = world.alice();
    let (bob, carol) = (log_of(30, node(2)), log_of(50, node(1)));
    let (_, mut creation) = conversation(GROUP, &bob);
    let mut participants: Vec<Participant> =
        [alice, bob.account(), carol.account()].map(|account| Participant { account, role: Role::Member }).to_vec();
    participants.sort_by_key(|one| one.account);
    creation.state.participants = participants;
    let head =
        ConversationHead { group: GROUP, state: creation.state, epoch: 1, made_by: Hash([0; 32]), ordered_by: None };
    world.write(|rows| {
        rows::put(rows, rows::group(&GROUP), &head);
        rows::put(rows, rows::peer_log(&bob.account()), bob.log());
        let handle_record = handle_record(carol.account(), NOW_MS / 1000 + 1_000);
        let row = AccountRow { log: carol.log().clone(), handle_record };
        rows::put(rows, rows::account(&carol.account()), &row);
    });
    world.batch(vec![Input::Connected { connection: 2, challenge: [8; 32] }]);
    for (connection, account, root) in [(1, alice, 10), (2, carol.account(), 50)] {
        let state = world.relay.connections.get_mut(&connection).unwrap();
        (state.device, state.sent) = (Some((account, device_of(root))), Some(0));
        world.relay.present.entry(account).or_default().insert(connection);
    }
    Three { world, alice, bob, carol: carol.account() }
}

/// What became of a whisper: the connections and nodes that got it, and what its author was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passed {
    devices: Vec<ConnectionId>,
    nodes: Vec<(NodeId, Vec<AccountId>)>,
    refused: Vec<Code>,
    tokens: Vec<RequestToken>,
}

fn passed(outputs: &[Output]) -> Passed {
    let mut passed = Passed::default();
    for output in outputs {
        match output {
            Output::Send(connection, ServerFrame::Whisper { .. }) => passed.devices.push(*connection),
            Output::Send(_, ServerFrame::Refused { id: None, error }) => passed.refused.push(error.code),
            Output::Ask(token, node, NodeRequest::Whisper { accounts, .. }) => {
                passed.nodes.push((*node, accounts.clone()));
                passed.tokens.push(*token);
            }
            Output::Answer(5, NodeResponse::Refused(refusal)) => passed.refused.push(refusal.code),
            _ => {}
        }
    }
    passed
}

fn whisper(epoch: u64, bytes: usize) -> ClientFrame {
    ClientFrame::Whisper { group: GROUP, epoch, payload: Bytes(vec![7; bytes]) }
}

impl Three {
    fn says(&mut self, frame: ClientFrame) -> Passed {
        let (outputs, written) = self.world.batch(vec![Input::Frame { connection: 1, frame }]);
        assert_eq!(written, 0, "whatever becomes of a whisper, no row is written");
        passed(&outputs)
    }

    fn brings(&mut self, peer: u8, account: AccountId, accounts: Vec<AccountId>, epoch: u64, bytes: usize) -> Passed {
        let request = NodeRequest::Whisper { group: GROUP, accounts, epoch, account, payload: Bytes(vec![7; bytes]) };
        let (outputs, written) = self.world.batch(vec![Input::Asked { token: 5, peer: node(peer), request }]);
        assert_eq!(written, 0, "whatever becomes of a whisper, no row is written");
        passed(&outputs)
    }
}

#[test]
fn a_whisper_goes_once_to_who_is_there_and_leaves_no_row() {
    let mut three = three();
    let heard = three.says(whisper(1, WHISPER_BYTES_MAX));
    assert_eq!(heard.devices, [2], "carol, who is there; not alice's own connection");
    assert_eq!(heard.nodes, [(node(2), vec![three.bob.account()])], "and bob's home");
    let token = heard.tokens[0];
    let (outputs, written) = three.world.batch(vec![Input::Answered { token, response: None }]);
    assert_eq!((outputs.len(), written), (0, 0), "nobody heard it: it is not tried again");
    assert_eq!(three.world.batch(vec![Input::Tick]).0.len(), 0, "nor later");

    let bob = three.bob.account();
    let heard = three.brings(2, bob, vec![three.alice, three.carol], 1, 100);
    assert_eq!((heard.devices, heard.nodes.len()), (vec![1, 2], 0), "bob's goes to both, and to no other node");
    three.world.batch(vec![Input::Closed { connection: 2 }]);
    let heard = three.brings(2, bob, vec![three.alice, three.carol], 1, 100);
    assert_eq!(heard.devices, [1], "who has gone hears nothing, also later");
}

#[test]
fn another_device_of_the_same_person_hears_it() {
    let mut three = three();
    three.world.batch(vec![Input::Connected { connection: 3, challenge: [9; 32] }]);
    let state = three.world.relay.connections.get_mut(&3).unwrap();
    (state.device, state.sent) = (Some((three.alice, DeviceId([99; 32]))), Some(0));
    three.world.relay.present.entry(three.alice).or_default().insert(3);
    let mut heard = three.says(whisper(1, 100)).devices;
    heard.sort_unstable();
    assert_eq!(heard, [2, 3], "all but the one that said it");
}

#[test]
fn who_takes_no_part_and_what_is_too_long_or_for_too_many_is_refused() {
    let mut three = three();
    let refused = |codes: &[Code]| Passed { refused: codes.to_vec(), ..Passed::default() };
    assert_eq!(three.says(whisper(1, WHISPER_BYTES_MAX + 1)), refused(&[Code::TooLarge]), "a byte too long");
    let unknown = ClientFrame::Whisper { group: GroupId([6; 32]), epoch: 1, payload: Bytes(vec![7; 100]) };
    assert_eq!(three.says(unknown), refused(&[Code::UnknownConversation]), "of no conversation");
    assert_eq!(three.says(whisper(2, 100)), Passed::default(), "of another epoch: dropped, nobody could open it");

    let (alice, bob, carol) = (three.alice, three.bob.account(), three.carol);
    let long = three.brings(2, bob, vec![alice], 1, WHISPER_BYTES_MAX + 1);
    assert_eq!(long, refused(&[Code::TooLarge]), "also by a node");
    assert_eq!(three.brings(2, bob, vec![], 1, 100), refused(&[Code::Malformed]), "for nobody");
    let many = vec![alice; MARKS_ACCOUNTS_MAX + 1];
    assert_eq!(three.brings(2, bob, many, 1, 100), refused(&[Code::Malformed]), "for more than can take part");
    assert_eq!(three.brings(3, bob, vec![alice], 1, 100), refused(&[Code::NotHome]), "by a node that is not his home");
    assert_eq!(three.brings(2, carol, vec![alice], 1, 100), refused(&[Code::NotHome]), "in the name of one of ours");
    assert_eq!(three.brings(2, bob, vec![bob], 1, 100), refused(&[Code::NotHome]), "for one who does not live here");
    let stranger = log_of(70, node(2));
    let account = stranger.account();
    assert_eq!(three.brings(2, account, vec![alice], 1, 100), refused(&[Code::NotMember]), "of who takes no part");

    let mut head: ConversationHead = three.world.row(&rows::group(&GROUP)).unwrap();
    head.state.participants.retain(|one| one.account != alice);
    three.world.write(|rows| rows::put(rows, rows::group(&GROUP), &head));
    assert_eq!(three.says(whisper(1, 100)), refused(&[Code::NotMember]), "who takes no part any more says nothing");
    assert_eq!(three.brings(2, bob, vec![alice], 1, 100), refused(&[Code::NotMember]), "and hears nothing");

    let others = (0..MARKS_ACCOUNTS_MAX as u8).map(|number| AccountId([number; 32]));
    let participants = others.chain([alice]).map(|account| Participant { account, role: Role::Member });
    head.state.participants = participants.collect();
    three.world.write(|rows| rows::put(rows, rows::group(&GROUP), &head));
    assert_eq!(three.says(whisper(1, 100)), refused(&[Code::TooLarge]), "in a conversation of more than 32");
}

#[test]
fn a_whisper_is_dropped_where_anything_else_waits() {
    let mut three = three();
    // Carol's device has not acknowledged what it was sent, and more waits.
    three.world.relay.connections.get_mut(&2).unwrap().sent = Some(INBOX_WINDOW);
    let feed = FeedId { group: GROUP, node: node(1), incarnation: Incarnation([1; 16]) };
    let item = (feed, three.bob.account());
    let destination = three.world.relay.destinations.entry(node(2)).or_default();
    destination.enqueue(item, NOW_MS + 60_000);
    assert_eq!(three.says(whisper(1, 100)), Passed::default(), "neither carol's device nor bob's home gets it");
    three.world.relay.connections.get_mut(&2).unwrap().acked = 1;
    three.world.relay.destinations.get_mut(&node(2)).unwrap().withdraw(&item);
    let heard = three.says(whisper(1, 100));
    assert_eq!((heard.devices, heard.nodes.len()), (vec![2], 1), "the next one passes: nothing waits any more");
    three.world.relay.connections.get_mut(&2).unwrap().sent = None;
    assert_eq!(
        three.says(whisper(1, 100)).devices,
        Vec::<ConnectionId>::new(),
        "a device that has not asked for its inbox has that to do first"
    );
}

#[test]
fn whispers_over_the_rate_of_a_device_are_dropped_and_of_a_node_refused() {
    let mut three = three();
    let (alice, bob) = (three.alice, three.bob.account());
    let passed = (0..100).filter(|_| !three.says(whisper(1, 100)).devices.is_empty()).count();
    assert_eq!(passed, 60, "a burst, then nothing, without a word");
    three.world.now_ms += 1_000;
    let passed = (0..100).filter(|_| !three.says(whisper(1, 100)).devices.is_empty()).count();
    assert_eq!(passed, 2, "two a second");
    assert!(three.world.submit(GROUP, 1).is_ok(), "messages have a rate of their own");

    let heard: Vec<Passed> = (0..200).map(|_| three.brings(2, bob, vec![alice], 1, 100)).collect();
    let (passed, busy) = heard.split_at(100);
    assert!(passed.iter().all(|one| one.devices == [1]), "of a node a hundred at once");
    assert!(busy.iter().all(|one| one.refused == [Code::Busy] && one.devices.is_empty()), "more are refused");
}

#[test]
fn a_whisper_leaves_behind_what_the_same_batch_has_to_say() {
    let mut three = three();
    let said = Input::Frame { connection: 1, frame: whisper(1, 100) };
    let payload = Bytes(vec![1; 100]);
    let message = ClientFrame::Submit {
        id: 9,
        group: GROUP,
        epoch: 1,
        message: MessageId([9; 16]),
        attempt: 0,
        payload,
        silent: false,
        blobs: Vec::new(),
    };
    let (outputs, _) = three.world.batch(vec![said, Input::Frame { connection: 1, frame: message }]);
    let place = |wanted: fn(&Output) -> bool| outputs.iter().position(wanted).expect("it leaves");
    let entry = place(|output| matches!(output, Output::Send(2, ServerFrame::Entry { .. })));
    let deliver = place(|output| matches!(output, Output::Ask(_, _, NodeRequest::Deliver(_))));
    let whispers: Vec<usize> = (0..outputs.len())
        .filter(|at| {
            let output = &outputs[*at];
            matches!(output, Output::Send(_, ServerFrame::Whisper { .. }))
                || matches!(output, Output::Ask(_, _, NodeRequest::Whisper { .. }))
        })
        .collect();
    assert_eq!(whispers.len(), 2, "it was said to both: {outputs:?}");
    assert!(whispers.iter().all(|at| *at > entry && *at > deliver), "the message goes first");
}
