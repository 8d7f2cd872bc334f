//! Who is there is seen by who asks and may, at another organisation, through the real binary.

use crate::roost::{Node, Person};
use serde_json::Value;

/// What alice sees of bob, who is connected meanwhile; a message to him ends that early where he reads it.
fn seen_while_there(alice: &Person, bob: &Person, wait: &str, there: &str) -> Value {
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| bob.chat(&["recv", "--count", "1", "--wait", there]));
        let seen = alice.chat(&["presence", &bob.handle, "--wait", wait]).ok();
        alice.chat(&["send", &bob.handle, "bye", "--wait", "custody", "--timeout", "30s"]).ok();
        reader.join().unwrap();
        seen
    })
}

#[test]
fn who_is_there_is_seen_at_another_organisation_and_only_where_it_is_told() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let nobody = alice.chat(&["presence", &bob.handle, "--wait", "1s"]);
    assert_eq!((nobody.code, nobody.error_code().as_str()), (2, "unknown_person"), "she has never heard of him");
    alice.chat(&["send", &bob.handle, "hi", "--wait", "custody", "--timeout", "30s"]).ok();
    assert_eq!(bob.receive(1, "20s"), ["hi"], "they have a conversation");

    let gone = alice.chat(&["presence", &bob.handle, "--wait", "1s"]).ok();
    assert_eq!((&gone["state"], &gone["heard_at"]), (&"unknown".into(), &Value::Null), "he is not there: {gone}");
    let there = seen_while_there(&alice, &bob, "25s", "60s");
    assert_eq!((&there["state"], &there["peer"]), (&"online".into(), &"bob@birch".into()), "he is: {there}");
    assert!(there["heard_at"].is_string(), "with the time at which she heard it: {there}");
    let active_at = there["last_active_at"].as_str().unwrap();
    assert!(active_at.ends_with(":00.000Z"), "and when he was active, to the minute: {active_at}");

    let off = bob.chat(&["settings", "--presence", "off"]).ok();
    assert_eq!(off["presence"], false, "the setting is told back");
    let told = seen_while_there(&alice, &bob, "4s", "60s");
    assert_eq!(told["state"], "unknown", "switched off, nobody sees him: {told}");
    let own = bob.chat(&["presence", &alice.handle, "--wait", "60s"]).ok();
    assert_eq!(own["state"], "unknown", "nor does he see anybody, and he is told so at once");

    bob.chat(&["settings", "--presence", "on", "--accept-strangers", "off"]).ok();
    let told = seen_while_there(&alice, &bob, "4s", "8s");
    assert_eq!(told["state"], "unknown", "a stranger does not see him: {told}");
    bob.chat(&["accept", &alice.handle]).ok();
    bob.receive(1, "10s");
    let there = seen_while_there(&alice, &bob, "25s", "60s");
    assert_eq!(there["state"], "online", "accepted, she does: {there}");
    bob.chat(&["block", &alice.handle]).ok();
    let told = seen_while_there(&alice, &bob, "4s", "8s");
    assert_eq!(told["state"], "unknown", "blocked, she does not: {told}");
}
