//! Nodes die, stores are lost, people are away: nothing accepted is lost, nothing is shown twice.

use crate::roost::{Node, Person};
use std::time::Duration;

fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("message {number}")).collect()
}

fn introduce(alice: &Person, bob: &Person) {
    alice.chat(&["send", &bob.handle, "first", "--wait", "custody", "--timeout", "30s"]).ok();
    assert_eq!(bob.receive(1, "20s"), ["first"], "the conversation exists on both sides");
}

fn pair(root: &std::path::Path) -> (Node, Node, Person, Person) {
    let acme = Node::start(root, "acme", &[]);
    let birch = Node::start(root, "birch", &[&acme]);
    acme.fix_ports();
    birch.fix_ports();
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    (acme, birch, alice, bob)
}

#[test]
fn a_thousand_messages_wait_for_a_recipient_who_is_away_though_the_senders_side_stops() {
    let root = tempfile::tempdir().unwrap();
    let (mut acme, birch, alice, bob) = pair(root.path());
    introduce(&alice, &bob);
    let texts = numbered(0, 1000);
    let sent = alice.chat_with_input(
        &["send", &bob.handle, "--lines", "--wait", "accepted", "--timeout", "60s"],
        &texts.join("\n"),
    );
    assert_eq!(sent.code, 0, "all are accepted: {}", sent.errors);
    acme.kill();
    acme.serve();
    let shown = bob.receive(1000, "60s");
    assert_eq!(shown.len(), 1000, "all arrive");
    assert_eq!(shown, texts, "in order, once each");
    assert!(bob.receive(1, "1s").is_empty(), "and nothing more");
    drop(birch);
}

#[test]
fn a_thousand_messages_wait_for_a_recipients_node_that_is_down_and_delay_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    let (mut acme, mut birch, alice, bob) = pair(root.path());
    let cedar = Node::start(root.path(), "cedar", &[&acme]);
    let carol = cedar.person("carol");
    introduce(&alice, &bob);
    introduce(&alice, &carol);
    birch.kill();
    let texts = numbered(0, 1000);
    let sent = alice.chat_with_input(
        &["send", &bob.handle, "--lines", "--wait", "accepted", "--timeout", "60s"],
        &texts.join("\n"),
    );
    assert_eq!(sent.code, 0, "a node that is down stops nobody from sending: {}", sent.errors);
    alice.chat(&["send", &carol.handle, "meanwhile", "--wait", "custody", "--timeout", "10s"]).ok();
    assert_eq!(carol.receive(1, "10s"), ["meanwhile"], "the talk with a third node is not delayed");
    acme.kill();
    acme.serve();
    birch.serve();
    assert_eq!(bob.receive(1000, "80s"), texts, "all arrive after its return, in order, once each");
}

#[test]
fn a_senders_node_that_loses_its_store_before_delivery_gets_the_messages_back_from_the_device() {
    let root = tempfile::tempdir().unwrap();
    let (mut acme, mut birch, alice, bob) = pair(root.path());
    introduce(&alice, &bob);
    birch.kill();
    let texts = numbered(0, 20);
    let sent = alice.chat_with_input(
        &["send", &bob.handle, "--lines", "--wait", "accepted", "--timeout", "30s"],
        &texts.join("\n"),
    );
    assert_eq!(sent.code, 0, "accepted: {}", sent.errors);
    acme.kill();
    std::fs::remove_dir_all(acme.dir.join("store")).unwrap();
    acme.serve();
    birch.serve();
    let last = alice.chat(&["send", &bob.handle, "after the loss", "--wait", "custody", "--timeout", "60s"]).ok();
    assert_eq!(last["state"], "custody", "the device registered again by itself");
    let mut expected = texts;
    expected.push("after the loss".into());
    assert_eq!(bob.receive(21, "60s"), expected, "every message, once");
    assert!(bob.receive(1, "1s").is_empty(), "and none twice");
}

#[test]
fn either_node_killed_twenty_times_under_load_and_at_start_loses_nothing_and_shows_nothing_twice() {
    let root = tempfile::tempdir().unwrap();
    let (mut acme, mut birch, alice, bob) = pair(root.path());
    introduce(&alice, &bob);
    let mut expected = Vec::new();
    for round in 0..40_u64 {
        let texts: Vec<String> = (0..10).map(|number| format!("round {round} message {number}")).collect();
        let sender = std::thread::scope(|scope| {
            let send = scope.spawn(|| {
                alice.chat_with_input(
                    &["send", &bob.handle, "--lines", "--wait", "accepted", "--timeout", "60s"],
                    &texts.join("\n"),
                )
            });
            let node = if round % 2 == 0 { &mut acme } else { &mut birch };
            // Under load, later in each round; and while it starts, from before it opens its store to after it listens.
            std::thread::sleep(Duration::from_millis(5 + 9 * round));
            node.kill();
            node.serve_and_kill(Duration::from_millis(2 + 2 * round));
            let ready = node.serve();
            assert!(ready < Duration::from_secs(5), "ready without repair, took {ready:?}");
            send.join().unwrap()
        });
        assert_eq!(sender.code, 0, "round {round}: all are accepted in the end: {}", sender.errors);
        expected.extend(texts);
    }
    let mut shown = bob.receive(expected.len(), "80s");
    assert_eq!(shown.len(), expected.len(), "nothing accepted is lost, nothing is shown twice");
    assert_eq!(shown, expected, "and the order of the sender is kept");
    shown.dedup();
    assert_eq!(shown.len(), expected.len(), "no text twice");
}
