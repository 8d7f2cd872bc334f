//! Conversations of many people at several organisations, over the real binary.

use crate::roost::{Node, Person};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The names of who takes part, as a person sees them.
pub fn people(group: &Value) -> Vec<String> {
    let mut names: Vec<String> = group["participants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap().split('@').next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Waits until a person's device has come to an epoch of a conversation; gives what it says of it.
pub fn follow(person: &Person, conversation: &str, epoch: u64) -> Value {
    let start = Instant::now();
    loop {
        // A device works while its directory is in use.
        let _ = person.chat(&["recv", "--wait", "300ms"]);
        let info = person.chat(&["group", "info", conversation]);
        if info.code == 0 && info.lines[0]["epoch"].as_u64().unwrap() >= epoch {
            return info.ok();
        }
        assert!(start.elapsed() < Duration::from_secs(40), "epoch {epoch} is never reached: {}", info.errors);
    }
}

/// Bob reads and carol reacts to what alice wrote first; gives it as alice's history has it then.
fn react_and_read(alice: &Person, bob: &Person, carol: &Person, conversation: &str) -> Value {
    let history = |person: &Person| person.chat(&["history", conversation, "--limit", "10"]).lines;
    let first = |person: &Person| history(person).into_iter().find(|item| item["text"] == "welcome").unwrap();
    let id = first(bob)["id"].as_str().unwrap().to_owned();
    bob.chat(&["read", conversation]).ok();
    carol.chat(&["react", conversation, &id, "🎉"]).ok();
    let start = Instant::now();
    loop {
        let _ = alice.chat(&["recv", "--wait", "500ms"]);
        let item = first(alice);
        let read = item["read"].as_array().unwrap().iter().any(|mark| mark["by"] == bob.handle.as_str());
        if read && item["reactions"][0]["emoji"] == "🎉" && item["state"] == "delivered" {
            return item;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "alice never hears of it: {item}");
    }
}

#[test]
fn people_at_three_organisations_talk_add_remove_and_leave() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let cedar = Node::start(root.path(), "cedar", &[&acme]);
    let (alice, bob, carol, dave) =
        (acme.person("alice"), birch.person("bob"), cedar.person("carol"), birch.person("dave"));

    let group = alice.chat(&["group", "create", &bob.handle, &carol.handle]).ok();
    let conversation = group["conversation"].as_str().unwrap().to_owned();
    let conversation = conversation.as_str();
    assert_eq!(group["standing"], true, "the hub let it stand");
    alice.chat(&["send", conversation, "welcome", "--wait", "custody", "--timeout", "30s"]).ok();
    assert_eq!(bob.receive(1, "20s"), ["welcome"], "bob reads it at birch");
    assert_eq!(carol.receive(1, "20s"), ["welcome"], "carol at cedar");
    bob.chat(&["send", conversation, "hello all", "--wait", "custody", "--timeout", "30s"]).ok();
    assert_eq!(alice.receive(1, "20s"), ["hello all"], "whoever takes part may talk");
    assert_eq!(carol.receive(1, "20s"), ["hello all"], "and everybody reads it");

    let said = react_and_read(&alice, &bob, &carol, conversation);
    assert_eq!(said["state"], "delivered", "on a device of everybody");

    let refused = bob.chat(&["group", "add", conversation, &dave.handle, "--timeout", "20s"]);
    assert_ne!(refused.code, 0, "bob is no admin: {}", refused.errors);
    assert_eq!(bob.chat(&["group", "title", conversation, "Mine"]).error_code(), "not_admin", "nor may he name it");
    alice.chat(&["group", "title", conversation, "Friends", "--description", "of the house"]).ok();
    let grown = alice.chat(&["group", "add", conversation, &dave.handle]).ok();
    assert_eq!(grown["epoch"], 2, "an admin adds dave with one commit");
    alice.chat(&["send", conversation, "hi dave", "--wait", "custody", "--timeout", "30s"]).ok();
    assert_eq!(dave.receive(1, "30s"), ["hi dave"], "dave reads what was written since, and nothing before");
    let told = dave.chat(&["group", "info", conversation]).ok();
    assert_eq!((&told["title"], &told["description"]), (&"Friends".into(), &"of the house".into()), "and what it is");
    assert_eq!(follow(&bob, conversation, 2)["participants"].as_array().unwrap().len(), 4, "bob sees him");
    dave.chat(&["send", conversation, "thanks", "--wait", "custody", "--timeout", "30s"]).ok();
    assert_eq!(carol.receive(2, "20s"), ["hi dave", "thanks"], "carol reads both, in order");

    let shrunk = alice.chat(&["group", "remove", conversation, &carol.handle]).ok();
    assert_eq!(shrunk["epoch"], 3, "carol is removed");
    alice.chat(&["send", conversation, "without carol", "--wait", "custody", "--timeout", "30s"]).ok();
    let over = follow(&carol, conversation, 3);
    assert_eq!(over["over"], true, "carol is told that she takes no part any more");
    assert_ne!(carol.chat(&["recv", "--wait", "1s"]).code, 0, "and gets nothing of what came after");
    let left = carol.chat(&["send", conversation, "still here"]);
    assert_eq!(left.error_code(), "unknown_conversation", "nor can she write");

    let renewed = bob.chat(&["group", "renew", conversation]).ok();
    assert_eq!(renewed["epoch"], 4, "whoever takes part may make the own keys anew");
    follow(&alice, conversation, 4);

    // Leaving needs somebody who commits it: alice is online meanwhile.
    std::thread::scope(|scope| {
        let online = scope.spawn(|| alice.chat(&["recv", "--count", "50", "--wait", "15s"]));
        dave.chat(&["group", "leave", conversation, "--timeout", "30s"]).ok();
        online.join().unwrap();
    });
    assert_eq!(people(&follow(&bob, conversation, 5)), ["alice", "bob"], "those who stay are two, by their names");
}
