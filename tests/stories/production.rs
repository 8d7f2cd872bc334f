//! Production rates on the real binary: they slow honest people down at times, and lose nothing.

use crate::roost::Node;
use std::time::Instant;

/// On loopback, with free ports.
const PRODUCTION: &[&str] = &["--profile", "production", "--listen", "/ip4/127.0.0.1/tcp/0", "--web", "127.0.0.1:0"];

fn lines(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix} {number}")).collect()
}

#[test]
fn a_burst_of_80_messages_over_a_rate_of_60_arrives_in_order_and_once() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start_as(root.path(), "acme", &[], PRODUCTION);
    let birch = Node::start_as(root.path(), "birch", &[&acme], PRODUCTION);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let texts = lines("burst", 80);
    let start = Instant::now();
    let arguments = ["send", &bob.handle, "--lines", "--wait", "accepted", "--timeout", "1s"];
    let hurried = alice.chat_with_input(&arguments, &texts.join("\n"));
    assert_eq!(hurried.lines.len(), 80, "every message is reported: {}", hurried.errors);
    let states = |state: &str| hurried.lines.iter().filter(|line| line["state"] == state).count();
    let (queued, gone) = (states("queued"), 80 - states("queued"));
    assert!(queued > 0 && hurried.code != 0, "the sender is told that some wait: {queued} queued");
    assert_eq!(hurried.error_code(), "timed_out", "and that they go later");
    let first_queued = hurried.lines.iter().position(|line| line["state"] == "queued").unwrap();
    assert!(hurried.lines[first_queued..].iter().all(|line| line["state"] == "queued"), "what waits is the end");
    eprintln!("{gone} of 80 went at once, {queued} waited: {}", hurried.errors.trim());

    // The next use of the directory sends the rest, and then what is new.
    let last = alice.chat(&["send", &bob.handle, "last", "--wait", "custody", "--timeout", "80s"]).ok();
    assert_eq!(last["state"], "custody", "the rate lets all of it through in the end");
    let all = start.elapsed();
    let received = bob.receive(81, "60s");
    let expected: Vec<_> = texts.into_iter().chain(["last".to_owned()]).collect();
    assert_eq!(received, expected, "bob has all of it, in order, once");
    eprintln!("81 messages were in custody after {all:?}");
    let nothing = bob.receive(1, "1s");
    assert!(nothing.is_empty(), "and nothing twice: {nothing:?}");
}

#[test]
fn a_node_that_was_away_gets_the_2000_messages_that_waited_at_production_rates() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let mut birch = Node::start_as(root.path(), "birch", &[&acme], PRODUCTION);
    let senders = [acme.person("alice"), acme.person("carol")];
    let bob = birch.person("bob");
    for alice in &senders {
        alice.chat(&["send", &bob.handle, "hello", "--wait", "custody", "--timeout", "30s"]).ok();
    }
    assert_eq!(bob.receive(2, "20s"), ["hello", "hello"], "they talk");
    birch.fix_ports();
    birch.terminate();
    std::thread::scope(|scope| {
        for alice in &senders {
            let arguments = ["send", &bob.handle, "--lines", "--wait", "accepted", "--timeout", "80s"];
            let texts = lines(&alice.handle, 1_000).join("\n");
            scope.spawn(move || {
                let sent = alice.chat_with_input(&arguments, &texts);
                assert_eq!(sent.code, 0, "their home takes all of it: {}", sent.errors);
            });
        }
    });
    birch.serve();
    let start = Instant::now();
    let received = bob.receive(2_000, "80s");
    eprintln!("2,000 messages of two senders were read {:?} after the node was back", start.elapsed());
    assert_eq!(received.len(), 2_000, "nothing is missing");
    for alice in &senders {
        let of_one: Vec<_> = received.iter().filter(|text| text.starts_with(&alice.handle)).cloned().collect();
        assert_eq!(of_one, lines(&alice.handle, 1_000), "each sender's arrive in order, once");
    }
}
