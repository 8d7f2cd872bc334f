//! The hub of a conversation moves while it lives, and is followed when it is lost, over the real binary.

use crate::groups::{follow, people};
use crate::roost::{Node, Person};
use std::time::{Duration, Instant};

struct Town {
    nodes: [Node; 3],
    /// Alice at the hub, bob, an admin at another home, carol at a third, and dave, who takes no part yet, at bob's.
    people: [Person; 4],
    conversation: String,
}

fn town(root: &std::path::Path) -> Town {
    let acme = Node::start(root, "acme", &[]);
    let birch = Node::start(root, "birch", &[&acme]);
    let cedar = Node::start(root, "cedar", &[&acme, &birch]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let (carol, dave) = (cedar.person("carol"), birch.person("dave"));
    let group = alice.chat(&["group", "create", &bob.handle, &carol.handle]).ok();
    let conversation = group["conversation"].as_str().unwrap().to_owned();
    let grown = alice.chat(&["group", "role", &conversation, &bob.handle, "admin"]).ok();
    let epoch = grown["epoch"].as_u64().unwrap();
    for person in [&bob, &carol] {
        let info = follow(person, &conversation, epoch);
        assert_eq!(info["successors"].as_array().unwrap().len(), 2, "two nodes may follow the hub");
    }
    Town { nodes: [acme, birch, cedar], people: [alice, bob, carol, dave], conversation }
}

/// Somebody writes, and others read it in the end.
fn talks(from: &Person, to: &[&Person], conversation: &str, text: &str) {
    from.chat(&["send", conversation, text, "--wait", "accepted", "--timeout", "30s"]).ok();
    for reader in to {
        let start = Instant::now();
        while !reader.receive(1, "2s").contains(&text.to_owned()) {
            assert!(start.elapsed() < Duration::from_secs(60), "{} never reads {text:?}", reader.handle);
        }
    }
}

/// Whether a person's history has all of it.
fn has_read(person: &Person, conversation: &str, texts: &[&str]) -> bool {
    let history = person.chat(&["history", conversation, "--limit", "500"]).lines;
    texts.iter().all(|text| history.iter().any(|item| item["text"] == *text))
}

#[test]
fn a_hub_that_hands_over_is_followed_by_everybody() {
    let root = tempfile::tempdir().unwrap();
    let Town { nodes, people: [alice, bob, carol, dave], conversation } = town(root.path());
    let before = alice.chat(&["group", "info", &conversation]).ok();
    let moved = alice.chat(&["group", "move", &conversation]).ok();
    assert_eq!(moved["hub"], before["successors"][0], "the first of the successors is the hub now");
    assert_eq!(moved["term"], 0, "which is no other term");
    let epoch = moved["epoch"].as_u64().unwrap();
    for person in [&bob, &carol] {
        assert_eq!(follow(person, &conversation, epoch)["hub"], moved["hub"], "{} follows", person.handle);
    }
    talks(&alice, &[&bob, &carol], &conversation, "we have moved");
    let grown = bob.chat(&["group", "add", &conversation, &dave.handle]).ok();
    assert_eq!(people(&grown), ["alice", "bob", "carol", "dave"], "the new hub takes changes");
    follow(&dave, &conversation, grown["epoch"].as_u64().unwrap());
    talks(&dave, &[&alice, &carol], &conversation, "hello from the new one");
    drop(nodes);
}

#[test]
fn people_talk_on_without_their_hub_and_an_admin_lets_another_follow_it() {
    let root = tempfile::tempdir().unwrap();
    let Town { nodes: [mut acme, birch, cedar], people: [alice, bob, carol, dave], conversation } = town(root.path());
    let before = bob.chat(&["group", "info", &conversation]).ok();
    acme.fix_ports();
    acme.kill();
    talks(&bob, &[&carol], &conversation, "acme is down");
    let refused = carol.chat(&["group", "move", &conversation, "--hub-is-lost", "--timeout", "20s"]);
    assert_ne!(refused.code, 0, "carol, no admin, may not say so: {}", refused.errors);
    let followed = bob.chat(&["group", "move", &conversation, "--hub-is-lost"]).ok();
    assert_eq!((&followed["hub"], &followed["term"]), (&before["successors"][0], &1.into()), "the first successor is");
    let grown = bob.chat(&["group", "add", &conversation, &dave.handle]).ok();
    let epoch = grown["epoch"].as_u64().unwrap();
    for person in [&carol, &dave] {
        assert_eq!(
            people(&follow(person, &conversation, epoch)),
            ["alice", "bob", "carol", "dave"],
            "and takes changes"
        );
    }
    talks(&carol, &[&bob, &dave], &conversation, "we go on");

    acme.serve();
    let back = follow(&alice, &conversation, epoch);
    assert_eq!((&back["hub"], &back["term"]), (&followed["hub"], &1.into()), "who comes back with the old hub follows");
    let start = Instant::now();
    while !has_read(&alice, &conversation, &["acme is down", "we go on"]) {
        assert!(start.elapsed() < Duration::from_secs(60), "what was said meanwhile never comes");
        let _ = alice.chat(&["recv", "--wait", "500ms"]);
    }
    talks(&alice, &[&bob, &carol, &dave], &conversation, "I am back");
    drop((birch, cedar));
}

/// Adds somebody and removes them again and again; the last change adds them.
fn change_again_and_again(admin: &Person, conversation: &str, newcomer: &str, changes: usize) {
    for number in 0..changes {
        let change = if (changes - number) % 2 == 1 { "add" } else { "remove" };
        let done = admin.chat(&["group", change, conversation, newcomer, "--timeout", "120s"]);
        assert_eq!(done.code, 0, "change {number} of {}, {change}: {}", admin.handle, done.errors);
    }
}

#[test]
fn two_admins_change_a_group_at_once_while_its_hub_is_killed() {
    let changes: usize = std::env::var("ROOST_CHANGES").map_or(5, |count| count.parse().unwrap()) | 1;
    let root = tempfile::tempdir().unwrap();
    let Town { nodes: [mut acme, birch, cedar], people: [alice, bob, carol, dave], conversation } = town(root.path());
    let erin = cedar.person("erin");
    acme.fix_ports();
    let finished = std::sync::atomic::AtomicUsize::new(0);
    let said = std::thread::scope(|scope| {
        for (admin, newcomer) in [(&alice, &dave), (&bob, &erin)] {
            let (conversation, finished) = (&conversation, &finished);
            scope.spawn(move || {
                change_again_and_again(admin, conversation, &newcomer.handle, changes);
                finished.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        let (mut said, start) = (Vec::new(), Instant::now());
        while finished.load(std::sync::atomic::Ordering::SeqCst) < 2 {
            assert!(start.elapsed() < Duration::from_secs(120 * changes as u64), "the changes never end");
            let text = format!("message {}", said.len());
            carol.chat(&["send", &conversation, &text, "--wait", "accepted", "--timeout", "30s"]).ok();
            said.push(text);
            if said.len() % 3 == 0 {
                acme.kill();
                carol.chat(&["send", &conversation, "the hub is down", "--wait", "accepted", "--timeout", "30s"]).ok();
                acme.serve();
            }
        }
        said
    });
    let epoch = alice.chat(&["group", "info", &conversation]).ok()["epoch"].as_u64().unwrap();
    let epoch = epoch.max(bob.chat(&["group", "info", &conversation]).ok()["epoch"].as_u64().unwrap());
    for person in [&alice, &bob, &carol, &dave, &erin] {
        let told = follow(person, &conversation, epoch);
        assert_eq!(told["epoch"], epoch, "{} is in the last epoch", person.handle);
        assert_eq!(people(&told), ["alice", "bob", "carol", "dave", "erin"], "as {} sees it", person.handle);
    }
    talks(&erin, &[&alice, &bob, &carol, &dave], &conversation, "all of us");
    for reader in [&alice, &bob] {
        let history = reader.chat(&["history", &conversation, "--limit", "500"]).lines;
        for text in &said {
            let times = history.iter().filter(|item| item["text"] == text.as_str()).count();
            assert_eq!(times, 1, "{} reads {text:?} once", reader.handle);
        }
    }
    drop((birch, cedar));
}
