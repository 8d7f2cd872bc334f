//! Two organisations talk: found over Kademlia, sealed, delivered, shown once.

use crate::roost::{Node, roost};

#[test]
fn alice_writes_to_bob_at_another_organisation_who_is_found_by_his_handle() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));

    let sent = alice.chat(&["send", &bob.handle, "hello bob", "--wait", "custody", "--timeout", "30s"]).ok();
    assert_eq!(sent["state"], "custody", "bob's home holds the message although bob is away");
    assert!(sent["accepted_at"].is_string() && sent["custody_at"].is_string(), "each step has its time");

    let shown = bob.chat(&["recv", "--count", "1", "--wait", "20s"]).ok();
    assert_eq!(shown["text"], "hello bob", "the text arrives as it was written");
    assert_eq!(shown["from"], "alice@acme", "and says who wrote it");
    assert_eq!(shown["id"], sent["id"], "under the id that the sender was told");
    let again = bob.chat(&["recv", "--count", "1", "--wait", "1s"]);
    assert_ne!(again.code, 0, "a shown message is not shown again");

    let answer = bob.chat(&["send", &alice.handle, "hello alice", "--wait", "custody", "--timeout", "30s"]).ok();
    assert_eq!(answer["conversation"], sent["conversation"], "both talk in one conversation");
    assert_eq!(alice.receive(1, "20s"), ["hello alice"], "the answer arrives");

    let digits = |person: &crate::roost::Person, to: &str| person.chat(&["safety-number", to]).ok()["digits"].clone();
    assert_eq!(digits(&alice, &bob.handle), digits(&bob, &alice.handle), "both compute one safety number");
}

/// Looks up until somebody who has just signed up is published: that happens in the background.
fn find(handle: &str, dir: &str) -> serde_json::Value {
    let start = std::time::Instant::now();
    loop {
        let outcome = roost(&["lookup", handle, "--dir", dir]);
        if outcome.code == 0 {
            return outcome.ok();
        }
        assert_eq!(outcome.error_code(), "not_found", "a lookup can only be too early: {}", outcome.errors);
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "the account was never published");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn a_lookup_is_repeated_from_the_cache_without_a_message_at_two_three_and_five_nodes() {
    for nodes in [2, 3, 5] {
        let root = tempfile::tempdir().unwrap();
        let first = Node::start(root.path(), "org0", &[]);
        let mut others: Vec<Node> = Vec::new();
        for number in 1..nodes {
            others.push(Node::start(root.path(), &format!("org{number}"), &[&first]));
        }
        let person = others.last().unwrap().person("zoe");
        let dir = first.dir.display().to_string();
        let found = find(&person.handle, &dir);
        assert_eq!(found["peer_id"], others.last().unwrap().ready["peer_id"], "{nodes} nodes: the home is found");
        let again = roost(&["lookup", &person.handle, "--dir", &dir]).ok();
        assert_eq!(again["source"], "cache", "{nodes} nodes: the second lookup comes from the cache");
        assert_eq!(again["messages"], 0, "{nodes} nodes: and sends nothing");
    }
}

#[test]
fn a_node_alone_serves_two_people_and_finds_both() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let (alice, carol) = (acme.person("alice"), acme.person("carol"));
    let sent = alice.chat(&["send", &carol.handle, "hi", "--wait", "custody", "--timeout", "20s"]).ok();
    assert_eq!(sent["state"], "custody", "the same node is both homes");
    assert_eq!(carol.receive(1, "10s"), ["hi"], "carol gets it");
    let found = roost(&["lookup", &carol.handle, "--dir", &acme.dir.display().to_string()]).ok();
    assert_eq!(found["source"], "local", "an account of this node needs no directory");
}
