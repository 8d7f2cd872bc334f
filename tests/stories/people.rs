//! A stranger is accepted, and both correct, react to and take back what they wrote, through the real binary.

use crate::roost::{Node, Person};
use serde_json::Value;

/// The newest messages of a history, once the newest is as wanted: what changes it arrives while a command is connected.
fn newest(person: &Person, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = std::time::Instant::now();
    loop {
        // Receives whatever is on its way; changes are no messages, so this ends by its time.
        person.chat(&["recv", "--count", "1", "--wait", "1s"]);
        let item = person.chat(&["history", "--limit", "1"]).ok();
        if wanted(&item) {
            return item;
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "the history never became so: {item}");
    }
}

#[test]
fn chat_with_a_stranger_who_is_accepted_and_changes_what_was_said() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let (alice, bob) = (acme.person("alice"), acme.person("bob"));
    let off = bob.chat(&["settings", "--accept-strangers", "off"]).ok();
    assert_eq!(off["accept_strangers"], false, "the setting is told back");

    let sent = alice.chat(&["send", &bob.handle, "helo bob", "--wait", "custody"]).ok();
    let id = sent["id"].as_str().unwrap();
    assert_eq!(bob.receive(1, "3s"), [""; 0], "a stranger's message is not shown");
    let request = bob.chat(&["requests"]).ok();
    assert_eq!(request["from"], "alice@acme", "it is a request");
    assert_eq!(request["text"], "helo bob", "with its first text");
    let evidence = bob.chat(&["report", &alice.handle]).ok();
    assert_eq!(evidence["messages"][0]["id"], id, "it could be reported");
    assert!(evidence["messages"][0]["payload_hash"].is_string(), "by the hash of what was sealed");
    bob.chat(&["accept", &alice.handle]).ok();
    assert_eq!(bob.receive(1, "10s"), ["helo bob"], "accepted, it is shown");

    alice.chat(&["edit", &bob.handle, id, "hello bob"]).ok();
    bob.chat(&["react", &alice.handle, id, "👍"]).ok();
    let at_bob = newest(&bob, |item| item["edited"] == true);
    assert_eq!(at_bob["text"], "hello bob", "the correction arrives");
    let at_alice = newest(&alice, |item| item["reactions"][0]["emoji"] == "👍");
    assert_eq!(at_alice["reactions"][0]["from"], "bob@acme", "so does the reaction, with its author");
    let not_his = bob.chat(&["edit", &alice.handle, id, "mine"]);
    assert_eq!((not_his.code, not_his.error_code().as_str()), (2, "not_yours"), "nobody edits another's message");
    alice.chat(&["delete", &bob.handle, id]).ok();
    let gone = newest(&bob, |item| item["deleted"] == true);
    assert_eq!(gone["text"], "", "what is taken back is gone");

    let number = bob.chat(&["safety-number", &alice.handle]).ok();
    assert_eq!(number["verified"], false, "nobody compared it");
    let wrong = bob.chat(&["verify", &alice.handle, "--digits", "0000"]);
    assert_eq!((wrong.code, wrong.error_code().as_str()), (1, "digits_differ"), "wrong digits verify nothing");
    bob.chat(&["verify", &alice.handle, "--digits", number["digits"].as_str().unwrap()]).ok();
    assert_eq!(bob.chat(&["safety-number", &alice.handle]).ok()["verified"], true, "the right ones do");
    bob.chat(&["block", &alice.handle]).ok();
    let blocked = bob.chat(&["send", &alice.handle, "hi"]);
    assert_eq!((blocked.code, blocked.error_code().as_str()), (1, "blocked"), "nothing goes to a blocked account");
}
