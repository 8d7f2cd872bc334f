//! A wide conversation over real nodes: messages come by gossip, custody of them in a request, and nothing is said twice.

use crate::nodes::{Device, node_with};
use roost_node::relay::Limits;
use roost_protocol::feed::EntryKind;
use roost_protocol::socket::ServerFrame;
use std::time::Duration;

/// How often a node was asked, or asked, for something that was done.
fn requests(node: &roost_node::NodeHandle, direction: &str, kind: &str) -> u64 {
    let text = node.metrics().text(std::path::Path::new("/nowhere"), 0, 0, 0);
    let of = |line: &&str| {
        line.starts_with("roost_node_requests_total{")
            && line.contains(&format!("direction=\"{direction}\""))
            && line.contains(&format!("kind=\"{kind}\""))
    };
    text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_by_gossip_and_their_custody_in_a_request() {
    let root = tempfile::tempdir().unwrap();
    // One other home is enough here.
    let limits = Limits { wide_homes_min: 1, ..Limits::TESTNET };
    let acme = node_with(root.path(), "acme", 10, &[], limits).await;
    let birch = node_with(root.path(), "birch", 20, &[&acme], limits).await;
    let mut alice = Device::sign_up(&acme.handle(), "acme", "alice", 30).await;
    let mut bob = Device::sign_up(&birch.handle(), "birch", "bob", 40).await;
    let (_, creation) = alice.start_conversation("bob@birch").await;
    assert_eq!(bob.entry().await.header.kind, EntryKind::Creation, "the beginning is delivered");
    let mut seqs = Vec::new();
    for number in 0..100 {
        let answer = alice.submit(creation.group, format!("message {number}").as_bytes()).await;
        assert!(matches!(answer, ServerFrame::Accepted { .. }), "accepted: {answer:?}");
        let entry = bob.entry().await;
        seqs.push(entry.header.seq);
        if requests(&acme.handle(), "in", "held") >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let held = requests(&acme.handle(), "in", "held");
    assert!(held >= 3, "bob's home says that it holds what it heard by gossip: {held} of {}", seqs.len());
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "each message came once and in order: {seqs:?}");
    let before = requests(&acme.handle(), "out", "deliver");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let after = requests(&acme.handle(), "out", "deliver");
    assert!(after <= before + 1, "what is held is not delivered: {before}, {after}");
    acme.stop().await;
    birch.stop().await;
}
