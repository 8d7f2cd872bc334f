//! Key packages of the real binary, asked for while it is killed again and again.

use super::Eve;
use crate::roost::Node;
use roost_crypto::group::inspect_key_package;
use roost_protocol::ids::Incarnation;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::{AccountId, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

fn at(node: &Node) -> (NodeId, Vec<roost_node::network::Multiaddr>) {
    let peer: libp2p::PeerId = node.ready["peer_id"].as_str().unwrap().parse().unwrap();
    let listen = node.ready["listen"].as_array().unwrap();
    let addresses = listen.iter().map(|text| text.as_str().unwrap().split("/p2p/").next().unwrap().parse().unwrap());
    (NodeId::from_peer_id_bytes(&peer.to_bytes()).unwrap(), addresses.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_one_time_key_package_is_handed_out_twice_though_the_node_is_killed_while_it_hands_them_out() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.fix_ports();
    let (node, addresses) = at(&acme);
    let eve = Eve::meet_at(node, &addresses, "eve", 10).await;
    eve.live(Incarnation([9; 16]));
    let mut seen = BTreeSet::new();
    let (mut last_resort, mut unanswered, mut number) = (0, 0, 0_u64);
    for round in 0..8_u64 {
        let account: AccountId = tokio::task::block_in_place(|| {
            let alice = acme.person(&format!("alice{round}"));
            let status = alice.chat(&["status"]).ok();
            status["account"].as_str().unwrap().parse().unwrap()
        });
        let mut ask = || {
            number += 1;
            let mut requester = [0; 32];
            requester[..8].copy_from_slice(&number.to_be_bytes());
            eve.network.request(node, NodeRequest::KeyPackages { account, requester: AccountId(requester) })
        };
        let mut take = |answer: NodeResponse| {
            let NodeResponse::KeyPackages { packages, .. } = answer else { panic!("round {round}: {answer:?}") };
            for (_, package) in packages {
                let info = inspect_key_package(package.as_slice()).unwrap();
                last_resort += usize::from(info.last_resort);
                assert!(info.last_resort || seen.insert(info.reference), "round {round}: a package came twice");
            }
        };
        // Some are answered, some are on their way when the node dies, the rest come after its return.
        for _ in 0..2 {
            take(ask().await.expect("the node is there"));
        }
        let asked = futures::future::join_all((0..6).map(|_| ask()));
        let (answers, ()) = tokio::join!(asked, async {
            tokio::time::sleep(Duration::from_millis(2 * round)).await;
            tokio::task::block_in_place(|| acme.kill());
        });
        unanswered += answers.iter().filter(|answer| answer.is_err()).count();
        answers.into_iter().flatten().for_each(&mut take);
        tokio::task::block_in_place(|| acme.serve());
        let start = std::time::Instant::now();
        loop {
            match ask().await {
                Ok(answer) => break take(answer),
                Err(error) => assert!(start.elapsed() < super::PATIENCE, "round {round}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..10 {
            take(ask().await.expect("the node is back"));
        }
    }
    eprintln!("{} one-time packages, {last_resort} times the last resort, {unanswered} lost in a kill", seen.len());
    assert!(seen.len() >= 40, "packages were handed out at all, got {}", seen.len());
    eve.network.shutdown().await;
}
