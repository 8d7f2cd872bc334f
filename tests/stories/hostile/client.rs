//! Hostile clients: devices that are signed in, or want to be, and break a rule of the socket.

use super::{code_of, honest_talk_goes_on};
use crate::nodes::{Device, node, node_with};
use roost_crypto::identity_log::{Operation, Signer};
use roost_node::relay::{Limits, Rate};
use roost_protocol::conversation::ConversationHead;
use roost_protocol::feed::EntryKind;
use roost_protocol::ids::{GroupId, Incarnation, MessageId};
use roost_protocol::invite::{InviteProof, invite_key};
use roost_protocol::records::HandleRecord;
use roost_protocol::refusal::Code;
use roost_protocol::socket::{ClientFrame, ServerFrame, sign_in_signature};
use roost_protocol::{AccountId, Bytes, DeviceId, IdentityLog, SecretKey, VerifiedLog, limits};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_means_harm_is_refused_each_time_and_the_talk_of_others_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 10, &[]).await;
    let birch = node(root.path(), "birch", 20, &[&acme]).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 30).await;
    let mut bob = Device::sign_up(&birch.handle(), "birch", "bob", 32).await;
    let mut eve = Device::sign_up(&acme.handle(), "acme", "eve", 34).await;
    let (head, creation) = alice.start_conversation("bob@birch").await;
    while bob.entry().await.header.kind != EntryKind::Creation {}
    bob.join(&creation);

    let group = creation.group;
    let submit = |payload: usize, epoch| ClientFrame::Submit {
        id: 50,
        group,
        epoch,
        message: MessageId([3; 16]),
        attempt: 0,
        payload: Bytes(vec![1; payload]),
        silent: false,
        blobs: Vec::new(),
    };
    let unknown = ClientFrame::Submit {
        id: 50,
        group: GroupId([9; 32]),
        epoch: 1,
        message: MessageId([3; 16]),
        attempt: u32::MAX,
        payload: Bytes(vec![1]),
        silent: false,
        blobs: Vec::new(),
    };
    let mut moved = creation.clone();
    moved.state.hub = birch.handle().node();
    let forged =
        ConversationHead { group, state: moved.state.clone(), epoch: 1, made_by: moved.hash(), ordered_by: None };
    let forged = forged.sign(&SecretKey::from_seed(&[66; 32]));
    let (packages, _) = {
        use roost_crypto::group::GroupEngine as _;
        alice.engine.key_packages(&alice.rows, 1, false).unwrap()
    };
    let own = {
        use roost_crypto::group::GroupEngine as _;
        let (own, _) = eve.engine.key_packages(&eve.rows, 1, false).unwrap();
        vec![own[0].clone(); limits::KEY_PACKAGES_MAX]
    };
    let cases = [
        ("a message in a talk of others", submit(10, 1), Code::NotMember, false),
        ("the same at the end of the epochs", submit(10, u64::MAX), Code::NotMember, false),
        ("a message over 24 KiB", submit(limits::PAYLOAD_BYTES_MAX + 1, 1), Code::TooLarge, false),
        ("a group that nobody knows", unknown, Code::UnknownConversation, true),
        (
            "a conversation of two others",
            ClientFrame::Create { id: 50, creation: creation.clone() },
            Code::NotMember,
            false,
        ),
        (
            "a conversation of two others, shown",
            ClientFrame::Introduce { id: 50, head: head.clone(), creation: creation.clone(), lineage: vec![] },
            Code::NotMember,
            false,
        ),
        (
            "a head of another hub, forged",
            ClientFrame::Introduce { id: 50, head: forged, creation: moved, lineage: vec![] },
            Code::Malformed,
            false,
        ),
        (
            "key packages of alice's device",
            ClientFrame::PutKeyPackages { id: 50, packages, last_resort: None },
            Code::Malformed,
            false,
        ),
        (
            "more key packages than a pool holds",
            ClientFrame::PutKeyPackages { id: 50, packages: own, last_resort: None },
            Code::TooLarge,
            false,
        ),
        (
            "key packages of an account that nobody resolved",
            ClientFrame::FetchKeyPackages { id: 50, account: AccountId([5; 32]) },
            Code::NotFound,
            true,
        ),
    ];
    for (what, frame, code, later) in cases {
        let answer = eve.ask(frame).await;
        assert_eq!(code_of(&answer), Some((code, later)), "{what}: {answer:?}");
    }
    honest_talk_goes_on(&mut alice, &mut bob, &creation, b"still here").await;
    // 45: positions at the end of the numbers lose nothing that comes later.
    alice.say(ClientFrame::Ack { inbox: u64::MAX }).await;
    let resume = ClientFrame::Resume { id: 51, incarnation: Incarnation([0; 16]), after: u64::MAX };
    assert!(matches!(alice.ask(resume).await, ServerFrame::Done { id: 51 }), "45 a position beyond the end is the end");
    honest_talk_goes_on(&mut alice, &mut bob, &creation, b"and still").await;
    acme.stop().await;
    birch.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_of_another_device_replayed_or_relayed_from_another_node_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 40, &[]).await;
    let birch = node(root.path(), "birch", 42, &[&acme]).await;
    let alice = Device::sign_up(&acme.handle(), "acme", "alice", 44).await;
    let mut eve = Device::sign_up(&acme.handle(), "acme", "eve", 46).await;
    let (account, device, key) = (alice.account(), alice.device(), alice.key());
    let challenge = [71; 32];
    let sign = |node, challenge: &[u8], account: &AccountId| sign_in_signature(&key, node, challenge, account, &device);
    let (here, elsewhere) = (acme.handle().node(), birch.handle().node());
    eve.fresh_connection(challenge).await;
    for (what, signature) in [
        ("39 alice's answer to eve's node, relayed", sign(&elsewhere, &challenge, &account)),
        ("39 alice's answer to an earlier challenge", sign(&here, &[44; 32], &account)),
        ("39 alice's answer as another account", sign(&here, &challenge, &eve.account())),
        ("39 eve's own answer in alice's name", sign_in_signature(&eve.key(), &here, &challenge, &account, &device)),
    ] {
        let answer = eve.ask(ClientFrame::SignIn { id: 60, account, device, signature }).await;
        assert_eq!(code_of(&answer), Some((Code::BadSignIn, false)), "{what}: {answer:?}");
    }
    let answer = eve.ask(ClientFrame::SignIn {
        id: 60,
        account,
        device: DeviceId([8; 32]),
        signature: sign(&here, &challenge, &account),
    });
    assert_eq!(code_of(&answer.await), Some((Code::BadSignIn, false)), "a device that the log does not hold");
    let signature = sign_in_signature(&eve.key(), &here, &challenge, &eve.account(), &eve.device());
    let own = ClientFrame::SignIn { id: 61, account: eve.account(), device: eve.device(), signature };
    assert!(matches!(eve.ask(own).await, ServerFrame::SignedIn { .. }), "her own she may");
    let signature = sign(&here, &challenge, &account);
    let answer = eve.ask(ClientFrame::SignIn { id: 62, account, device, signature }).await;
    assert_eq!(code_of(&answer), Some((Code::BadSignIn, false)), "one device a connection, be it with a good answer");
    acme.stop().await;
    birch.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ups_that_lie_about_name_home_or_invite_make_no_account_and_one_invite_makes_one() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 80, &[]).await;
    let alice = Device::sign_up(&acme.handle(), "acme", "alice", 82).await;
    acme.handle().invite(invite_key("single"), 1, u64::MAX).await.unwrap();
    let log = |seed: u8, home| {
        let (root, key) = (SecretKey::from_seed(&[seed; 32]), SecretKey::from_seed(&[seed + 100; 32]));
        let device = DeviceId::of(&key.public_key());
        let log = VerifiedLog::create(&root, &key.public_key(), vec![home]).unwrap();
        let operation = Operation::SetHandle { handle: format!("eve{seed}@acme"), org: acme.handle().org() };
        log.append(operation, Signer::Device(device), &key).unwrap().log().clone()
    };
    let here = acme.handle().node();
    let nowhere = roost_protocol::NodeId::of(SecretKey::from_seed(&[1; 32]).public_key());
    let eve_org = SecretKey::from_seed(&[5; 32]);
    let record = |key: &SecretKey| {
        let (root, handle) = (key.public_key(), "eve1@acme".parse().unwrap());
        let account = VerifiedLog::verify(&log(1, here)).unwrap().account();
        HandleRecord { root, handle, account, seq: 1, expires: super::now_s() + 1000 }.sign(key)
    };
    let up = |handle: &str, invite: Option<(&str, [u8; 32])>, log: IdentityLog| {
        let account = VerifiedLog::verify(&log).unwrap().account();
        let invite = invite.map(|(token, challenge)| InviteProof::new(token, &here, &challenge, &account));
        ClientFrame::SignUp { id: 70, handle: handle.into(), invite, log }
    };
    let single = Some(("single", [9; 32]));
    let stolen = alice.handle_record.clone().unwrap();
    let mut door = alice;
    door.fresh_connection([9; 32]).await;
    for (what, frame, code) in [
        ("a guessed invite", up("eve1", Some(("guess", [9; 32])), log(1, here)), Code::BadInvite),
        ("a proof of another connection", up("eve1", Some(("single", [8; 32])), log(1, here)), Code::BadInvite),
        ("no invite", up("eve1", None, log(1, here)), Code::BadInvite),
        ("alice's name", up("alice", single, log(1, here)), Code::HandleTaken),
        ("a home elsewhere", up("eve1", single, log(1, nowhere)), Code::NotHome),
        ("a name of markup", up("<img src=x>", single, log(1, here)), Code::Malformed),
        ("a name of another organisation", up("eve@birch", single, log(1, here)), Code::Malformed),
        (
            "a record that eve's organisation signed",
            ClientFrame::Restore { id: 70, handle_record: record(&eve_org), log: log(1, here) },
            Code::BadInvite,
        ),
        (
            "alice's record for eve's log",
            ClientFrame::Restore { id: 70, handle_record: stolen, log: log(1, here) },
            Code::BadInvite,
        ),
    ] {
        let answer = door.ask(frame).await;
        assert_eq!(code_of(&answer), Some((code, false)), "{what}: {answer:?}");
    }
    // 44: many at once, on many connections.
    let mut races = Vec::new();
    for number in 2..12_u8 {
        let (connection, mut frames) = acme.handle().connect([number; 32]).await.unwrap();
        let (handle, frame) =
            (acme.handle(), up(&format!("eve{number}"), Some(("single", [number; 32])), log(number, here)));
        races.push(tokio::spawn(async move {
            handle.frame(connection, frame).await.unwrap();
            loop {
                match tokio::time::timeout(super::PATIENCE, frames.recv()).await {
                    Ok(Some(roost_node::ToDevice::Frame(frame))) => match *frame {
                        ServerFrame::Hello { .. } => {}
                        frame => return frame,
                    },
                    other => panic!("expected an answer, got {other:?}"),
                }
            }
        }));
    }
    let mut made = 0;
    for race in races {
        match race.await.unwrap() {
            ServerFrame::SignedUp { .. } => made += 1,
            other => assert_eq!(code_of(&other), Some((Code::BadInvite, false)), "44 the others are refused"),
        }
    }
    assert_eq!(made, 1, "44 an invite for one makes one account, however many use it at once");
    acme.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_over_the_rate_is_told_to_wait_and_what_is_behind_a_refused_message_waits_for_it() {
    let root = tempfile::tempdir().unwrap();
    let limits = Limits { submit: Rate::new(10, 5, 1_000), ..Limits::PRODUCTION };
    let acme = node_with(root.path(), "acme", 100, &[], limits).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 110).await;
    let mut bob = Device::sign_up(&acme.handle(), "acme", "bob", 112).await;
    let creation = {
        let answer = alice.ask(ClientFrame::Resolve { id: 10, handle: "bob@acme".parse().unwrap() }).await;
        let ServerFrame::Resolved { log, .. } = answer else { panic!("not resolved: {answer:?}") };
        let creation = alice.creation(&VerifiedLog::verify(&log).unwrap()).await;
        assert!(matches!(
            alice.ask(ClientFrame::Create { id: 11, creation: creation.clone() }).await,
            ServerFrame::Created { .. }
        ));
        creation
    };
    while bob.entry().await.header.kind != EntryKind::Creation {}
    bob.join(&creation);
    let mut number = 0_u64;
    let (mut accepted, mut waiting) = (Vec::new(), std::collections::VecDeque::new());
    let start = tokio::time::Instant::now();
    while accepted.len() < 30 {
        assert!(start.elapsed() < super::PATIENCE, "all are accepted in the end, {} are", accepted.len());
        // A device that does not wait: forty at once, then all that was refused again, in order.
        while waiting.len() < 40 {
            let text = number.to_string();
            let payload = alice.sealed(creation.group, text.as_bytes());
            waiting.push_back((number, MessageId::of(1_795_000_000_000 + number, text.as_bytes()), payload));
            number += 1;
        }
        let mut refused = 0;
        for (number, message, payload) in &waiting {
            let (group, message, payload) = (creation.group, *message, payload.clone());
            alice
                .say(ClientFrame::Submit {
                    id: 5_000 + number,
                    group,
                    epoch: 1,
                    message,
                    attempt: 0,
                    payload,
                    silent: false,
                    blobs: Vec::new(),
                })
                .await;
        }
        for (number, message, payload) in std::mem::take(&mut waiting) {
            match alice.answer(5_000 + number).await {
                ServerFrame::Accepted { .. } => accepted.push(number),
                other => {
                    assert_eq!(code_of(&other), Some((Code::Busy, true)), "over the rate: {other:?}");
                    let ServerFrame::Refused { error, .. } = other else { panic!("a refusal") };
                    assert!(error.retry_after_ms.is_some(), "with a pause");
                    refused += 1;
                    waiting.push_back((number, message, payload));
                }
            }
        }
        assert!(refused > 0, "forty are over the rate");
        tokio::time::sleep(std::time::Duration::from_millis(70)).await;
    }
    let all: Vec<u64> = (0..u64::try_from(accepted.len()).unwrap()).collect();
    assert_eq!(accepted, all, "accepted in the order in which they were written");
    assert!(start.elapsed() >= std::time::Duration::from_millis(3_000), "at the rate, took {:?}", start.elapsed());
    let mut shown = Vec::new();
    while shown.len() < accepted.len() {
        let entry = bob.entry().await;
        if entry.header.kind == EntryKind::Message {
            shown.push(String::from_utf8(bob.open(creation.group, &entry).unwrap()).unwrap());
        }
    }
    let expected: Vec<String> = all.iter().map(u64::to_string).collect();
    assert_eq!(shown, expected, "and bob reads them so");
    acme.stop().await;
}
