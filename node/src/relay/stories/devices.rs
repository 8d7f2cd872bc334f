//! Stories of an account with several devices: who speaks for it, what each of them gets, and how a new one comes.

use super::*;
use roost_protocol::ids::LinkSession;
use roost_protocol::socket::sign_in_signature;

/// Seeds: alice's root, and her devices.
const ROOT: u8 = 10;
const PHONE: u8 = 11;
const LAPTOP: u8 = 60;
const DAY_MS: u64 = 24 * 3600 * 1000;

fn id_of(seed: u8) -> DeviceId {
    DeviceId::of(&key(seed).public_key())
}

fn add(seed: u8) -> Operation {
    Operation::AddDevice { device: key(seed).public_key() }
}

fn revoke(seed: u8) -> Operation {
    Operation::RevokeDevice { device: id_of(seed) }
}

fn by(log: &VerifiedLog, op: Operation, seed: u8) -> VerifiedLog {
    let signer = if seed == ROOT { Signer::Root } else { Signer::Device(id_of(seed)) };
    log.append(op, signer, &key(seed)).unwrap()
}

fn alone() -> VerifiedLog {
    log_of(ROOT, node(1))
}

/// The phone has linked the laptop.
fn linked() -> VerifiedLog {
    by(&alone(), add(LAPTOP), PHONE)
}

impl World {
    /// An account that lives here, under the local name `alice`.
    fn lives_here(&mut self, log: &VerifiedLog) {
        let account = log.account();
        self.write(|rows| {
            let handle_record = handle_record(account, NOW_MS / 1000 + 1_000_000);
            rows::put(rows, rows::account(&account), &AccountRow { log: log.log().clone(), handle_record });
            rows::put(rows, rows::key(rows::HANDLE, &[b"alice"]), &account);
        });
    }

    fn says(&mut self, connection: ConnectionId, frame: ClientFrame) -> Vec<Output> {
        self.batch(vec![Input::Frame { connection, frame }]).0
    }

    fn connects(&mut self, connection: ConnectionId) {
        self.batch(vec![Input::Connected { connection, challenge: [7; 32] }]);
    }

    /// The answer to a sign-in of a device of key `device`, signed by the key `signer`.
    fn tries_to_sign_in(
        &mut self,
        connection: ConnectionId,
        account: AccountId,
        device: u8,
        signer: u8,
    ) -> ServerFrame {
        self.connects(connection);
        let signature = sign_in_signature(&key(signer), &node(1), &[7; 32], &account, &id_of(device));
        let frame = ClientFrame::SignIn { id: 1, account, device: id_of(device), signature };
        told(&self.says(connection, frame), connection).remove(0)
    }

    fn signs_in(&mut self, connection: ConnectionId, account: AccountId, device: u8) {
        let answer = self.tries_to_sign_in(connection, account, device, device);
        assert!(matches!(answer, ServerFrame::SignedIn { .. }), "device {device} signs in: {answer:?}");
    }

    fn resumes(&mut self, connection: ConnectionId, after: u64) -> Vec<ServerFrame> {
        let frame = ClientFrame::Resume { id: 2, incarnation: Incarnation([1; 16]), after };
        told(&self.says(connection, frame), connection)
    }

    /// Alice's phone on connection 1, her laptop on connection 2.
    fn both(&mut self) -> AccountId {
        let log = linked();
        self.lives_here(&log);
        self.signs_in(1, log.account(), PHONE);
        self.signs_in(2, log.account(), LAPTOP);
        log.account()
    }

    /// Both, and a conversation with bob, who lives elsewhere; nothing of it is in the inbox any more.
    fn both_with_bob(&mut self, group: GroupId) -> AccountId {
        let account = self.both();
        let (head, creation) = conversation(group, &log_of(30, node(2)));
        let answer =
            told(&self.says(1, ClientFrame::Introduce { id: 3, head, creation, lineage: Vec::new() }), 1).remove(0);
        assert!(matches!(answer, ServerFrame::Done { .. }), "the conversation is known: {answer:?}");
        let head = self.inbox_head(&account);
        for connection in [1, 2] {
            self.resumes(connection, 0);
            self.says(connection, ClientFrame::Ack { inbox: head });
        }
        account
    }

    /// Last position of an account's inbox.
    fn inbox_head(&self, account: &AccountId) -> u64 {
        inbox::Extent::read(&Overlay::new(&self.store), account).unwrap().head
    }

    /// Positions that an account's inbox still holds.
    fn kept(&self, account: &AccountId) -> usize {
        self.store.scan(&rows::inbox(account, 0), &rows::inbox(account, u64::MAX), usize::MAX).unwrap().len()
    }
}

/// What a connection is told, in order.
fn told(outputs: &[Output], to: ConnectionId) -> Vec<ServerFrame> {
    let frame = |output: &Output| match output {
        Output::Send(connection, frame) | Output::Early(connection, frame) if *connection == to => Some(frame.clone()),
        _ => None,
    };
    outputs.iter().filter_map(frame).collect()
}

fn refusal(frame: &ServerFrame) -> Option<Code> {
    match frame {
        ServerFrame::Refused { error, .. } => Some(error.code),
        _ => None,
    }
}

fn closes(outputs: &[Output], connection: ConnectionId) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Close(closed) if *closed == connection))
}

fn publishes(outputs: &[Output], log: &VerifiedLog) -> bool {
    outputs.iter().any(|output| match output {
        Output::Publish { log: published, changed, .. } => published == log.log() && *changed,
        _ => false,
    })
}

/// Inbox positions of the entries told.
fn positions(frames: &[ServerFrame]) -> Vec<u64> {
    let position = |frame: &ServerFrame| match frame {
        ServerFrame::Entry { inbox, .. } => *inbox,
        _ => None,
    };
    frames.iter().filter_map(position).collect()
}

#[test]
fn a_device_links_another_that_signs_in_and_each_change_is_told_to_the_others_and_the_directory() {
    let mut world = World::new();
    world.lives_here(&alone());
    let account = alone().account();
    assert_eq!(refusal(&world.tries_to_sign_in(2, account, LAPTOP, LAPTOP)), Some(Code::BadSignIn), "not linked yet");
    world.signs_in(1, account, PHONE);
    let outputs = world.says(1, ClientFrame::AppendLog { id: 5, log: linked().log().clone() });
    assert_eq!(told(&outputs, 1), [ServerFrame::Done { id: 5 }], "the phone is answered and told nothing else");
    assert!(publishes(&outputs, &linked()), "the directory and contacts' nodes hear of it");
    assert_eq!(world.row::<AccountRow>(&rows::account(&account)).unwrap().log, *linked().log(), "and it is kept");
    world.signs_in(2, account, LAPTOP);

    let again = world.says(1, ClientFrame::AppendLog { id: 6, log: linked().log().clone() });
    assert_eq!(told(&again, 1), [ServerFrame::Done { id: 6 }], "a repetition is answered");
    assert!(!publishes(&again, &linked()), "and changes nothing");
    let claimed =
        by(&linked(), Operation::SetHandle { handle: "alice@acme.example".into(), org: OrgId([9; 32]) }, LAPTOP);
    let outputs = world.says(2, ClientFrame::AppendLog { id: 7, log: claimed.log().clone() });
    assert_eq!(told(&outputs, 1), [ServerFrame::LogChanged { log: claimed.log().clone() }], "the phone hears of it");
}

#[test]
fn of_two_changes_at_once_the_first_stands_and_the_second_is_shown_what_stands() {
    let mut world = World::new();
    let account = world.both();
    let (first, second) = (by(&linked(), add(61), PHONE), by(&linked(), add(62), LAPTOP));
    world.says(1, ClientFrame::AppendLog { id: 5, log: first.log().clone() });
    for (what, log) in [("a branch", &second), ("what is behind", &alone())] {
        let frames = told(&world.says(2, ClientFrame::AppendLog { id: 6, log: log.log().clone() }), 2);
        assert_eq!(frames[0], ServerFrame::LogChanged { log: first.log().clone() }, "{what}: the log that stands");
        assert_eq!(refusal(&frames[1]), Some(Code::BadLog), "{what} is refused");
    }
    let bobs = log_of(30, node(1));
    let frames = told(&world.says(2, ClientFrame::AppendLog { id: 7, log: bobs.log().clone() }), 2);
    assert_eq!(refusal(&frames[0]), Some(Code::BadLog), "nobody appends for another");
    let moved = by(&first, Operation::SetHomes { homes: vec![node(2)] }, PHONE);
    let frames = told(&world.says(1, ClientFrame::AppendLog { id: 8, log: moved.log().clone() }), 1);
    assert_eq!(refusal(&frames[0]), Some(Code::NotHome), "a log that names another home");
    assert_eq!(world.row::<AccountRow>(&rows::account(&account)).unwrap().log, *first.log(), "the first stands");
    let third = by(&first, add(62), LAPTOP);
    let frames = told(&world.says(2, ClientFrame::AppendLog { id: 9, log: third.log().clone() }), 2);
    assert_eq!(frames, [ServerFrame::Done { id: 9 }], "planned anew, the second change is taken");
}

#[test]
fn a_revoked_device_is_closed_with_the_cause_its_keys_go_and_it_never_signs_in_again() {
    /// Whatever lies there is good.
    fn inspect(bytes: &[u8]) -> Result<KeyPackageInfo, GroupError> {
        let device = bytes.first().copied().unwrap_or(PHONE);
        let credential = Credential { account: AccountId([1; 32]), device: id_of(device), log_seq: 0 };
        let member = Member { credential, key: key(device).public_key() };
        Ok(KeyPackageInfo { member, reference: [0; 32], last_resort: false })
    }
    let mut world = World::new();
    world.relay.identity.inspector.key_package = inspect;
    let account = world.both();
    let package = |device: u8| rows::key(rows::KEY_PACKAGE, &[account.as_bytes(), id_of(device).as_bytes(), &[0; 8]]);
    let last = |device: u8| rows::key(rows::LAST_RESORT, &[account.as_bytes(), id_of(device).as_bytes()]);
    world.write(|rows| {
        for device in [PHONE, LAPTOP] {
            rows.put(package(device), vec![device]);
            rows.put(last(device), vec![device]);
        }
    });
    let request = || NodeRequest::KeyPackages { account, requester: AccountId([9; 32]) };
    let devices_of = |outputs: &[Output]| match outputs {
        [Output::Answer(_, NodeResponse::KeyPackages { packages, .. }), ..] => {
            packages.iter().map(|(device, _)| *device).collect::<BTreeSet<_>>()
        }
        other => panic!("expected key packages, got {other:?}"),
    };
    let asked = world.batch(vec![Input::Asked { token: 1, peer: node(2), request: request() }]).0;
    assert_eq!(devices_of(&asked), BTreeSet::from([id_of(PHONE), id_of(LAPTOP)]), "one of each device");

    let lost = by(&linked(), revoke(LAPTOP), PHONE);
    let outputs = world.says(1, ClientFrame::AppendLog { id: 5, log: lost.log().clone() });
    assert_eq!(told(&outputs, 2).iter().filter_map(refusal).collect::<Vec<_>>(), [Code::Revoked], "it is told why");
    assert!(closes(&outputs, 2) && !closes(&outputs, 1), "and closed, the phone is not");
    assert_eq!(refusal(&told(&world.says(2, ClientFrame::Ack { inbox: 1 }), 2)[0]), Some(Code::NotSignedIn), "at once");
    assert_eq!((world.row::<u8>(&package(LAPTOP)), world.row::<u8>(&last(LAPTOP))), (None, None), "its keys are gone");
    let asked = world.batch(vec![Input::Asked { token: 2, peer: node(2), request: request() }]).0;
    assert_eq!(devices_of(&asked), BTreeSet::from([id_of(PHONE)]), "nobody is given any");

    assert_eq!(refusal(&world.tries_to_sign_in(3, account, LAPTOP, LAPTOP)), Some(Code::Revoked), "it is told again");
    assert_eq!(refusal(&world.tries_to_sign_in(4, account, LAPTOP, 66)), Some(Code::BadSignIn), "eve is told nothing");
    assert_eq!(refusal(&world.tries_to_sign_in(5, account, 66, 66)), Some(Code::BadSignIn), "nor of herself");
}

#[test]
fn a_reset_ends_what_it_does_not_list_though_the_log_knows_nothing_of_it() {
    let mut world = World::new();
    let account = world.both();
    let reset = linked().reset(&key(ROOT), vec![key(PHONE).public_key()], vec![node(1)]).unwrap();
    let outputs = world.batch(vec![Input::LogLearned(reset.log().clone())]).0;
    assert!(closes(&outputs, 2), "whoever brings the log, the laptop's connection ends");
    assert_eq!(told(&outputs, 1), [ServerFrame::LogChanged { log: reset.log().clone() }], "the phone is told");
    assert!(publishes(&outputs, &reset), "and the directory");
    assert_eq!(refusal(&world.tries_to_sign_in(3, account, LAPTOP, LAPTOP)), Some(Code::Revoked), "it stays out");
}

#[test]
fn who_has_the_recovery_code_alone_fetches_the_account_and_comes_in_beside_or_instead_of_the_others() {
    let mut world = World::new();
    let account = world.both();
    world.batch(vec![own_record()]);
    world.connects(3);
    let frame = told(&world.says(3, ClientFrame::FetchAccount { id: 1, account }), 3).remove(0);
    let ServerFrame::Account { id: 1, log, handle_record } = frame else { panic!("an account, got {frame:?}") };
    assert_eq!(log, *linked().log(), "the log that stands, though nobody is signed in");
    let stranger = told(&world.says(3, ClientFrame::FetchAccount { id: 2, account: AccountId([9; 32]) }), 3).remove(0);
    assert_eq!(refusal(&stranger), Some(Code::NotHome), "of nobody else");

    let beside = by(&linked(), add(61), ROOT);
    let frame = ClientFrame::Restore { id: 3, handle_record: handle_record.clone(), log: beside.log().clone() };
    let outputs = world.says(3, frame);
    assert!(matches!(told(&outputs, 3)[0], ServerFrame::SignedUp { id: 3, .. }), "the home takes the root key's word");
    assert_eq!(told(&outputs, 1), [ServerFrame::LogChanged { log: beside.log().clone() }], "the others see who came");
    world.signs_in(3, account, 61);

    let instead = [PHONE, LAPTOP, 61].into_iter().fold(beside, |log, lost| by(&log, revoke(lost), ROOT));
    let instead = by(&instead, add(62), ROOT);
    world.connects(4);
    let frame = ClientFrame::Restore { id: 4, handle_record: handle_record.clone(), log: instead.log().clone() };
    let outputs = world.says(4, frame);
    assert!([1, 2, 3].iter().all(|connection| closes(&outputs, *connection)), "all others are lost and closed");
    world.signs_in(4, account, 62);
    let branch = by(&linked(), add(63), ROOT);
    world.connects(5);
    let frame = ClientFrame::Restore { id: 5, handle_record, log: branch.log().clone() };
    assert_eq!(refusal(&told(&world.says(5, frame), 5)[0]), Some(Code::BadLog), "a branch brings nobody in");
}

#[test]
fn what_a_device_writes_reaches_the_other_and_the_inbox_waits_for_the_slower_one() {
    let (mut world, group) = (World::new(), GroupId([6; 32]));
    let account = world.both_with_bob(group);
    let kept = world.kept(&account);
    assert_eq!(kept, 0, "both have everything");
    let start = world.inbox_head(&account);
    for number in 1..=3 {
        world.submit(group, number).expect("the phone writes");
    }
    let frames = world.resumes(2, start);
    assert_eq!(positions(&frames), [start + 1, start + 2, start + 3], "the laptop sees what the phone wrote");
    world.says(1, ClientFrame::Ack { inbox: start + 3 });
    assert_eq!(world.kept(&account), 3, "the phone has it, the laptop may not");
    world.says(2, ClientFrame::Ack { inbox: start + 2 });
    assert_eq!(world.kept(&account), 1, "two are on both");
    assert!(positions(&world.resumes(1, 0)).is_empty(), "what a device has acknowledged it is not sent again");
    world.says(2, ClientFrame::Ack { inbox: start + 3 });
    assert_eq!(world.kept(&account), 0, "and all are");
}

#[test]
fn a_device_that_asks_again_for_what_it_had_acknowledged_is_told() {
    let (mut world, group) = (World::new(), GroupId([6; 32]));
    let account = world.both_with_bob(group);
    let start = world.inbox_head(&account);
    for number in 1..=3 {
        world.submit(group, number).expect("the phone writes");
    }
    let told = |frames: &[ServerFrame]| {
        frames.iter().find_map(|frame| if let ServerFrame::Trimmed { inbox } = frame { Some(*inbox) } else { None })
    };
    assert_eq!(told(&world.resumes(2, start)), None, "the laptop asks for what is new");
    world.says(2, ClientFrame::Ack { inbox: start + 3 });
    assert_eq!(told(&world.resumes(2, start + 3)), None, "and goes on from there");
    let frames = world.resumes(2, start + 1);
    assert_eq!(told(&frames), Some(start + 3), "restored from an old copy, it is told that it had more");
    assert!(positions(&frames).is_empty(), "which it does not get again");
}

#[test]
fn a_device_that_was_added_later_begins_at_the_end_of_the_inbox() {
    let (mut world, group) = (World::new(), GroupId([6; 32]));
    let account = world.both_with_bob(group);
    let start = world.inbox_head(&account);
    world.submit(group, 1).expect("the phone writes");
    let tablet = by(&linked(), add(61), PHONE);
    world.says(1, ClientFrame::AppendLog { id: 5, log: tablet.log().clone() });
    world.signs_in(3, account, 61);
    let frames = world.resumes(3, 0);
    assert!(positions(&frames).is_empty(), "what was before is history, not inbox");
    let trimmed = frames.iter().any(|frame| matches!(frame, ServerFrame::Trimmed { .. }));
    assert!(!trimmed, "and nothing that it misses");
    world.submit(group, 2).expect("the phone writes");
    assert_eq!(positions(&world.resumes(3, start + 1)), [start + 2], "what comes then is for all three");

    for connection in [1, 2] {
        world.says(connection, ClientFrame::Ack { inbox: start + 2 });
    }
    assert_eq!(world.kept(&account), 1, "the new device holds back what it has not acknowledged");
    world.says(1, ClientFrame::AppendLog { id: 6, log: by(&tablet, revoke(61), PHONE).log().clone() });
    assert_eq!(world.kept(&account), 0, "once it is revoked nothing waits for it");
}

#[test]
fn a_device_unseen_for_a_month_holds_nothing_back_and_is_told_what_is_gone() {
    let (mut world, group) = (World::new(), GroupId([6; 32]));
    let account = world.both_with_bob(group);
    let start = world.inbox_head(&account);
    world.batch(vec![Input::Closed { connection: 2 }]);
    world.submit(group, 1).expect("the phone writes");
    world.now_ms += 29 * DAY_MS;
    world.says(1, ClientFrame::Ack { inbox: start + 1 });
    assert_eq!(world.kept(&account), 1, "for 29 days the laptop is waited for");
    world.now_ms += 2 * DAY_MS;
    world.submit(group, 2).expect("the phone writes");
    world.says(1, ClientFrame::Ack { inbox: start + 2 });
    assert_eq!(world.kept(&account), 0, "for 31 it is not");
    world.submit(group, 3).expect("the phone writes");
    world.signs_in(2, account, LAPTOP);
    let frames = world.resumes(2, start);
    assert!(frames.contains(&ServerFrame::Trimmed { inbox: start + 2 }), "the laptop is told of the gap: {frames:?}");
    assert_eq!(positions(&frames), [start + 3], "and goes on behind it");
    world.says(1, ClientFrame::Ack { inbox: start + 3 });
    assert_eq!(world.kept(&account), 1, "now it is waited for again");
}

#[test]
fn a_new_device_and_an_old_one_find_each_other_and_the_home_keeps_nothing() {
    let mut world = World::new();
    let account = world.both();
    world.connects(3);
    let session = LinkSession([5; 16]);
    let ask = |id, session| ClientFrame::LinkRequest { id, account, session, sealed: Bytes(vec![1, 2]) };
    let rows_before = world.store.scan(&[], &[0xff; 40], usize::MAX).unwrap();
    let outputs = world.says(3, ask(1, session));
    assert_eq!(told(&outputs, 3), [ServerFrame::Done { id: 1 }], "it was passed on");
    for connection in [1, 2] {
        let requested = ServerFrame::LinkRequested { session, sealed: Bytes(vec![1, 2]) };
        assert_eq!(told(&outputs, connection), [requested], "to each device of the account");
    }
    let second = told(&world.says(3, ask(2, LinkSession([6; 16]))), 3).remove(0);
    assert_eq!(refusal(&second), Some(Code::Busy), "one at a time");

    let answer = |id, sealed: usize| ClientFrame::LinkAnswer { id, session, sealed: Bytes(vec![3; sealed]) };
    assert_eq!(
        refusal(&told(&world.says(1, answer(3, limits::LINK_ANSWER_BYTES_MAX + 1)), 1)[0]),
        Some(Code::TooLarge),
        "an answer has its bound"
    );
    let outputs = world.says(1, answer(4, limits::LINK_ANSWER_BYTES_MAX));
    assert_eq!(told(&outputs, 1), [ServerFrame::Done { id: 4 }], "the phone's answer is passed on");
    assert!(matches!(told(&outputs, 3)[..], [ServerFrame::LinkAnswered { session: LinkSession([5, ..]), .. }]), "once");
    assert_eq!(refusal(&told(&world.says(2, answer(5, 1)), 2)[0]), Some(Code::NotFound), "a second answer is late");
    let rows_after = world.store.scan(&[], &[0xff; 40], usize::MAX).unwrap();
    assert_eq!(rows_after, rows_before, "nothing of it is stored");
}

#[test]
fn a_request_to_link_is_bounded_in_size_number_and_time() {
    let mut world = World::new();
    let account = world.both();
    let ask = |number: u8, bytes: usize| {
        let (session, sealed) = (LinkSession([number; 16]), Bytes(vec![0; bytes]));
        ClientFrame::LinkRequest { id: 1, account, session, sealed }
    };
    let answered = |world: &mut World, connection, frame| told(&world.says(connection, frame), connection).remove(0);
    for connection in 3..9 {
        world.connects(connection);
    }
    let large = answered(&mut world, 3, ask(1, limits::LINK_REQUEST_BYTES_MAX + 1));
    assert_eq!(refusal(&large), Some(Code::TooLarge), "two kibibytes");
    assert_eq!(refusal(&answered(&mut world, 1, ask(1, 1))), Some(Code::Malformed), "not from a signed-in device");
    for connection in 3..7_u8 {
        let taken = answered(&mut world, connection.into(), ask(connection, limits::LINK_REQUEST_BYTES_MAX));
        assert_eq!(taken, ServerFrame::Done { id: 1 }, "four wait at once");
    }
    assert_eq!(refusal(&answered(&mut world, 7, ask(7, 1))), Some(Code::Busy), "a fifth does not");
    world.batch(vec![Input::Closed { connection: 6 }]);
    assert_eq!(refusal(&answered(&mut world, 7, ask(3, 1))), Some(Code::Malformed), "a session is one connection's");
    assert_eq!(answered(&mut world, 7, ask(7, 1)), ServerFrame::Done { id: 1 }, "who hangs up waits no more");

    let bobs = log_of(30, node(1));
    world.write(|rows| {
        let row = AccountRow { log: bobs.log().clone(), handle_record: handle_record(bobs.account(), NOW_MS) };
        rows::put(rows, rows::account(&bobs.account()), &row);
    });
    world.signs_in(20, bobs.account(), 31);
    let session = LinkSession([3; 16]);
    let theft = answered(&mut world, 20, ClientFrame::LinkAnswer { id: 2, session, sealed: Bytes(vec![]) });
    assert_eq!(refusal(&theft), Some(Code::NotFound), "nobody answers for another account");
    world.now_ms += limits::LINK_MS + 1;
    let late = answered(&mut world, 1, ClientFrame::LinkAnswer { id: 2, session, sealed: Bytes(vec![]) });
    assert_eq!(refusal(&late), Some(Code::NotFound), "after two minutes nobody waits");
    assert_eq!(answered(&mut world, 8, ask(8, 1)), ServerFrame::Done { id: 1 }, "and there is room again");
    for connection in [1, 2] {
        world.batch(vec![Input::Closed { connection }]);
    }
    let alone = answered(&mut world, 7, ask(9, 1));
    assert_eq!(refusal(&alone), Some(Code::Unreachable), "with no device there is nobody to ask");
}

/// As [`read_plain`], of leaves with the entries of their logs that admitted them.
fn read_leaves(group_info: &[u8], _: &[u8]) -> Result<PublicView, GroupError> {
    type Plain = (Bytes, Bytes, Vec<(Credential, PublicKey)>);
    let (group, conv_state, leaves): Plain =
        roost_crypto::codec::decode(group_info, 1 << 20).map_err(|_| GroupError::Engine)?;
    let members = leaves.into_iter().map(|(credential, key)| Member { credential, key }).collect();
    Ok(PublicView { group_id: group.0, epoch: 1, conv_state, members })
}

fn begin_leaves(group_info: &[u8], tree: &[u8]) -> Result<(PublicView, Bytes), GroupError> {
    Ok((read_leaves(group_info, tree)?, Bytes(group_info.to_vec())))
}

/// A conversation of two people with one device each, by the seeds of their keys.
fn began(group: GroupId, operation: u8, people: [(&VerifiedLog, u8); 2]) -> Creation {
    let state = state(people.map(|(log, _)| log.account()), node(1));
    let leaf = |(log, seed): (&VerifiedLog, u8)| {
        let (key, log_seq) = log.device_keys()[&id_of(seed)];
        (Credential { account: log.account(), device: id_of(seed), log_seq }, key)
    };
    let plain =
        (Bytes(group.as_bytes().to_vec()), Bytes(roost_crypto::codec::encode(&state)), people.map(leaf).to_vec());
    Creation {
        operation: OperationId([operation; 16]),
        group,
        state,
        logs: people.map(|(log, _)| log.log().clone()).to_vec(),
        commit: Bytes(vec![]),
        welcome: Bytes(vec![]),
        group_info: Bytes(roost_crypto::codec::encode(&plain)),
        tree: Bytes(vec![]),
    }
}

/// A hub that reads leaves, at which `people` live.
fn hub_of(people: [&VerifiedLog; 2]) -> World {
    let store = MemoryStore::new([1; 16]);
    let tree: fn(&[u8]) -> Result<Bytes, GroupError> = |_| Ok(Bytes(vec![]));
    let inspector = Inspector { creation: read_leaves, begin: begin_leaves, tree, ..Inspector::default() };
    let identity = Identity { inspector, ..World::identity() };
    let relay = Relay::open(identity, &mut Overlay::new(&store)).unwrap();
    let mut world = World { store, relay, now_ms: NOW_MS };
    for log in people {
        world.lives_here(log);
    }
    world
}

/// The group that stands once a device has wished for one.
fn stands(
    world: &mut World,
    (account, device): (AccountId, u8),
    connection: ConnectionId,
    creation: Creation,
) -> GroupId {
    world.connects(connection);
    world.relay.connections.get_mut(&connection).unwrap().device = Some((account, id_of(device)));
    match told(&world.says(connection, ClientFrame::Create { id: 1, creation }), connection).remove(0) {
        ServerFrame::Created { creation, .. } => creation.group,
        other => panic!("expected Created, got {other:?}"),
    }
}

#[test]
fn two_whose_hub_has_lost_their_groups_state_begin_another_one() {
    let (alice, bob) = (alone(), log_of(30, node(1)));
    let mut world = hub_of([&bob, &alice]);
    let ours = (alice.account(), PHONE);
    let group = |id| began(GroupId([id; 32]), id, [(&alice, PHONE), (&bob, 31)]);
    assert_eq!(stands(&mut world, ours, 1, group(5)), GroupId([5; 32]), "they begin");
    assert_eq!(stands(&mut world, ours, 1, group(6)), GroupId([5; 32]), "what stands is told");
    world.write(|rows| rows.delete(rows::public_state(&GroupId([5; 32]))));
    assert_eq!(stands(&mut world, ours, 1, group(7)), GroupId([7; 32]), "nobody can be added to the first any more");
    assert_eq!(stands(&mut world, ours, 1, group(4)), GroupId([7; 32]), "and that one stands now");
}

#[test]
fn two_who_have_lost_all_their_devices_begin_anew() {
    let (alice, bob) = (alone(), log_of(30, node(1)));
    let mut world = hub_of([&bob, &alice]);
    let mut create = |connection, device, creation| stands(&mut world, (alice.account(), device), connection, creation);
    let first = began(GroupId([5; 32]), 1, [(&alice, PHONE), (&bob, 31)]);
    assert_eq!(create(1, PHONE, first), GroupId([5; 32]), "they begin");

    // Alice has lost her phone and come back with a laptop; bob, whose device is in the group, can add it.
    let after = by(&by(&alice, revoke(PHONE), ROOT), add(LAPTOP), ROOT);
    let second = began(GroupId([6; 32]), 2, [(&after, LAPTOP), (&bob, 31)]);
    assert_eq!(create(2, LAPTOP, second), GroupId([5; 32]), "what stands is told: a member adds her");

    // Bob has lost his, too: nobody who is left can add anybody.
    let gone = Operation::RevokeDevice { device: id_of(31) };
    let bob = bob.append(gone, Signer::Root, &key(30)).unwrap();
    let bob = bob.append(add(70), Signer::Root, &key(30)).unwrap();
    let third = began(GroupId([7; 32]), 3, [(&after, LAPTOP), (&bob, 70)]);
    assert_eq!(create(3, LAPTOP, third.clone()), GroupId([7; 32]), "another group begins");
    assert_eq!(create(3, LAPTOP, third), GroupId([7; 32]), "and its verdict is told again");
    let fourth = began(GroupId([4; 32]), 4, [(&after, LAPTOP), (&bob, 70)]);
    assert_eq!(create(3, LAPTOP, fourth), GroupId([7; 32]), "as the one that stands now");
}
