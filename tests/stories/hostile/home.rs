//! What a hostile node may not take or pretend: key packages, invites, other names, other lives, connections.

use super::{Carol, Eve, honest_talk_goes_on, now_s};
use crate::nodes::{Device, node, node_with};
use roost_crypto::group::{GroupEngine as _, inspect_key_package};
use roost_node::relay::Limits;
use roost_protocol::feed::EntryKind;
use roost_protocol::ids::Incarnation;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::refusal::Code;
use roost_protocol::{AccountId, Bytes, VERSION};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

fn requester(number: u64) -> AccountId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    AccountId(id)
}

/// The packages that were handed out, and how often `busy` was said.
async fn fetch(
    eve: &Eve,
    target: &roost_node::Node,
    of: AccountId,
    requesters: std::ops::Range<u64>,
) -> (Vec<Bytes>, usize) {
    let (mut packages, mut busy) = (Vec::new(), 0);
    for number in requesters {
        let request = NodeRequest::KeyPackages { account: of, requester: requester(number) };
        match eve.says(target, request).await {
            NodeResponse::KeyPackages { packages: given, .. } => packages.extend(given.into_iter().map(|(_, one)| one)),
            NodeResponse::Refused(refusal) => {
                assert_eq!((refusal.code, refusal.later), (Code::Busy, true), "over a budget it is busy: {refusal}");
                busy += 1;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    (packages, busy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_many_identities_drains_less_than_half_of_a_pool_and_gets_no_package_twice() {
    let root = tempfile::tempdir().unwrap();
    let acme = node_with(root.path(), "acme", 10, &[], Limits::PRODUCTION).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 20).await;
    alice.put_key_packages(15, true).await;
    let eve = Eve::meet(&acme, "eve", 30).await;
    let (given, busy) = fetch(&eve, &acme, alice.account(), 0..250).await;
    assert_eq!((given.len(), busy), (250, 0), "10 each requester gets one: of last resort where need be");
    let (given_more, busy) = fetch(&eve, &acme, alice.account(), 250..400).await;
    assert!(busy > 0, "10 beyond that the node is told to wait, got {}", given_more.len());
    let mut one_time = BTreeSet::new();
    for package in given.iter().chain(&given_more) {
        let info = inspect_key_package(package.as_slice()).unwrap();
        assert!(info.last_resort || one_time.insert(info.reference), "9 a one-time package is handed out once");
    }
    assert_eq!(one_time.len(), 4, "10 eve got her share");
    let left = alice.reconnect([99; 32]).await;
    assert_eq!(left, 16, "10 and at least half is left for others");

    let other = Eve::meet(&acme, "frank", 40).await;
    let (given, _) = fetch(&other, &acme, alice.account(), 0..1).await;
    let info = inspect_key_package(given[0].as_slice()).unwrap();
    assert!(!info.last_resort && one_time.insert(info.reference), "10 another node gets a fresh one");

    // The same requester, again and again; and all at once.
    let (given, busy) = fetch(&other, &acme, alice.account(), 7..8).await;
    assert_eq!((given.len(), busy), (1, 0), "one more requester");
    let races = (0..40)
        .map(|_| other.says(&acme, NodeRequest::KeyPackages { account: alice.account(), requester: requester(7) }));
    let answers = futures::future::join_all(races).await;
    let given = answers.iter().filter(|answer| matches!(answer, NodeResponse::KeyPackages { .. })).count();
    assert_eq!(given, 5, "44 six for a pair, one was given before, however many ask at once");
    eve.network.shutdown().await;
    other.network.shutdown().await;
    acme.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_invites_by_many_identities_of_one_node_reaches_a_victim_five_times_an_hour() {
    let root = tempfile::tempdir().unwrap();
    let acme = node_with(root.path(), "acme", 50, &[], Limits::PRODUCTION).await;
    let birch = node(root.path(), "birch", 60, &[&acme]).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 70).await;
    let mut bob = Device::sign_up(&birch.handle(), "birch", "bob", 72).await;
    let (_, with_bob) = alice.start_conversation("bob@birch").await;
    while bob.entry().await.header.kind != EntryKind::Creation {}
    bob.join(&with_bob);
    alice.put_key_packages(15, true).await;
    let eve = Eve::meet(&acme, "eve", 80).await;
    let (packages, _) = fetch(&eve, &acme, alice.account(), 0..12).await;
    let mut outcomes = Vec::new();
    for (number, package) in packages.into_iter().enumerate() {
        let mut carol = Carol::of(&eve, &format!("carol{number}"), alice.account());
        let creation = carol.creation(alice.log(), package);
        outcomes.push(match eve.says(&acme, NodeRequest::Create(creation.clone())).await {
            NodeResponse::Created { .. } => {
                let again = eve.says(&acme, NodeRequest::Create(creation)).await;
                assert!(matches!(again, NodeResponse::Created { .. }), "24 what stands may be asked for again");
                true
            }
            NodeResponse::Refused(refusal) => {
                let told = (refusal.code, refusal.later, refusal.retry_after_ms.is_some_and(|pause| pause > 60_000));
                assert_eq!(told, (Code::Busy, true, true), "24 the rest are told when to come back: {refusal}");
                false
            }
            other => panic!("unexpected: {other:?}"),
        });
    }
    assert_eq!(outcomes.iter().filter(|made| **made).count(), 5, "24 five reach alice: {outcomes:?}");
    honest_talk_goes_on(&mut alice, &mut bob, &with_bob, b"still here").await;
    eve.network.shutdown().await;
    acme.stop().await;
    birch.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_speaks_for_another_organisation_or_with_an_impossible_time_is_not_heard() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 90, &[]).await;
    let honest = Eve::meet(&acme, "honest", 100).await;
    let mut forged = honest.org_record(now_s() + 3600);
    forged.record.signature = honest.org_record(now_s() + 7200).record.signature;
    for (number, (what, org)) in [
        ("21 another organisation's record", honest.org_record(now_s() + 3600)),
        ("21 a signature of other bytes", forged),
        ("29 expired an hour ago", honest.org_record(now_s() - 3600)),
        ("29 valid for ever", honest.org_record(u64::MAX)),
    ]
    .into_iter()
    .enumerate()
    {
        let eve = Eve::meet(&acme, "eve", 110 + 2 * u8::try_from(number).unwrap()).await;
        let own = match what {
            what if what.starts_with("29 expired") => eve.org_record(now_s() - 3600),
            what if what.starts_with("29 valid") => eve.org_record(u64::MAX),
            _ => org,
        };
        // A peer that was greeted properly stays greeted: a new connection must begin with the lie.
        eve.network.shutdown().await;
        let liar =
            Eve::meet_with(&acme, "eve", 110 + 2 * u8::try_from(number).unwrap(), Some((vec![VERSION], own))).await;
        let asked = NodeRequest::Log { account: AccountId([1; 32]) };
        let answer =
            tokio::time::timeout(Duration::from_secs(7), liar.network.request(acme.handle().node(), asked)).await;
        let heard = matches!(&answer, Ok(Ok(answer)) if !matches!(answer, NodeResponse::Refused(refusal) if refusal.code == Code::Version));
        assert!(!heard, "{what}: nothing it asks is looked at, got {answer:?}");
        liar.network.shutdown().await;
    }
    let log = honest.says(&acme, NodeRequest::Log { account: AccountId([1; 32]) }).await;
    assert!(
        matches!(&log, NodeResponse::Refused(refusal) if refusal.code == Code::NotHome),
        "honest ones are: {log:?}"
    );
    honest.network.shutdown().await;
    acme.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_lives_half_open_connections_and_churn_cost_honest_people_nothing() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 130, &[]).await;
    let birch = node(root.path(), "birch", 140, &[&acme]).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 150).await;
    let mut bob = Device::sign_up(&birch.handle(), "birch", "bob", 152).await;
    let (_, creation) = alice.start_conversation("bob@birch").await;
    while bob.entry().await.header.kind != EntryKind::Creation {}
    bob.join(&creation);
    let port = acme.listen()[0].iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let address = format!("127.0.0.1:{}", port.unwrap());
    let mut half_open = Vec::new();
    for number in 0..200_u16 {
        // From another address than the newcomers': an address has its own places. Below the ephemeral ports: a node dials
        // from its listen port at every local address, which must be free.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 2], 10_000 + number).into()).unwrap();
        let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"\x13/multistream/1.0.0\n").await.unwrap();
        }
        half_open.push(stream);
    }
    honest_talk_goes_on(&mut alice, &mut bob, &creation, b"35 half-open").await;
    let mut longest = Duration::ZERO;
    for round in 0..10 {
        let eve = Eve::meet(&acme, "eve", 160).await;
        eve.live(Incarnation([round; 16]));
        let start = tokio::time::Instant::now();
        loop {
            let asked = NodeRequest::Log { account: AccountId([1; 32]) };
            match eve.network.request(acme.handle().node(), asked).await {
                Ok(answer) => {
                    let refused = matches!(&answer, NodeResponse::Refused(refusal) if refusal.code == Code::NotHome);
                    assert!(refused, "35 round {round}: she is answered: {answer:?}");
                    break;
                }
                Err(error) => assert!(start.elapsed() < super::PATIENCE, "35 round {round}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        longest = longest.max(start.elapsed());
        eve.network.shutdown().await;
    }
    assert!(longest < Duration::from_secs(2), "35 half-open connections keep no newcomer out, one waited {longest:?}");
    eprintln!("a newcomer waited at most {longest:?} beside 200 half-open connections");
    honest_talk_goes_on(&mut alice, &mut bob, &creation, b"35 churn").await;
    drop(half_open);
    acme.stop().await;
    birch.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_key_package_handed_out_again_opens_no_second_group() {
    let root = tempfile::tempdir().unwrap();
    let acme = node(root.path(), "acme", 170, &[]).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 180).await;
    let mut dave = Device::sign_up(&acme.handle(), "acme", "dave", 182).await;
    let eve = Eve::meet(&acme, "eve", 190).await;
    let mut carol = Carol::of(&eve, "carol", alice.account().max(dave.account()));
    eve.publish(&carol).await;
    let used = carol.package_answer();
    eve.answers(move |request| matches!(request, NodeRequest::KeyPackages { .. }).then(|| used.clone()));
    let (_, first) = alice.start_conversation("carol@eve").await;
    dave.next_group();
    let (_, second) = dave.start_conversation("carol@eve").await;
    carol.join(&first);
    let joined = carol.engine.join(&carol.rows, second.welcome.as_slice(), second.tree.as_slice());
    assert!(joined.is_err(), "9 the private half is gone: carol's device shows that it cannot enter");
    eve.network.shutdown().await;
    acme.stop().await;
}
