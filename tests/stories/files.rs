//! Files from person to person, with the real binary: sealed on one device, kept by nodes that cannot read them, opened on another.

use crate::roost::{Node, Person, binary, roost};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;

/// Bytes that compress badly and differ from place to place.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

fn file(root: &Path, name: &str, bytes: &[u8]) -> String {
    let path = root.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// The blobs of a node, whole or coming.
fn blobs(node: &Node, which: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut places = vec![node.dir.join("blobs").join(which)];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { places.push(path) } else { found.push(path) }
        }
    }
    found
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not come true within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `recv` shows next.
fn receive(person: &Person) -> Value {
    person.chat(&["recv", "--count", "1", "--wait", "30s"]).ok()
}

fn configure(node: &mut Node, table: &str, key: &str, value: toml::Value) {
    node.terminate();
    let path = node.dir.join("config.toml");
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let table = config.entry(table).or_insert_with(|| toml::Table::new().into());
    table.as_table_mut().unwrap().insert(key.into(), value);
    std::fs::write(&path, config.to_string()).unwrap();
    node.serve();
}

#[test]
fn a_file_of_three_mib_goes_to_another_organisation_and_is_saved_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let content = bytes(3 * MIB + 17);
    let path = file(root.path(), "plans.tar", &content);
    let sent = alice.chat(&["send", &bob.handle, "the plans", "--file", &path, "--wait", "custody"]).ok();
    assert_eq!(sent["state"], "custody", "the message is at bob's home");
    let shown = receive(&bob);
    assert_eq!((&shown["kind"], &shown["text"]), (&"file".into(), &"the plans".into()), "with what is said about it");
    assert_eq!(shown["file"]["name"], "plans.tar", "its name");
    assert_eq!(shown["file"]["bytes"], content.len(), "its length");
    assert_eq!(shown["file"]["media_type"], "application/x-tar", "its kind");
    let id = shown["id"].as_str().unwrap();
    let to = root.path().join("saved.tar");
    let to_text = to.display().to_string();
    let saved = bob.chat(&["save", id, "--to", &to_text]).ok();
    assert_eq!(saved["path"], to_text.as_str(), "it says where");
    assert_eq!(std::fs::read(&to).unwrap(), content, "byte by byte");
    assert_eq!(bob.chat(&["save", id, "--to", &to_text]).error_code(), "exists", "nothing is written over");
    let kept = std::fs::read_dir(bob.dir.join("files")).map_or(0, Iterator::count);
    assert_eq!(kept, 0, "nothing of it is left beside");
    // Alice herself has it again, from her own home.
    let own = root.path().join("own.tar").display().to_string();
    alice.chat(&["save", sent["id"].as_str().unwrap(), "--to", &own]).ok();
    assert_eq!(std::fs::read(own).unwrap(), content, "what was sent can be saved by its author");
    assert_eq!(std::fs::read_dir(alice.dir.join("files")).unwrap().count(), 0, "nor at alice, once bob's home has it");
    let padded = blobs(&acme, "whole").iter().map(|path| path.metadata().unwrap().len()).collect::<Vec<_>>();
    assert_eq!(padded.len(), 1, "one blob at its home");
    assert!(padded[0] > content.len() as u64 + 16, "whose length is not the file's: {padded:?}");
}

#[test]
fn the_senders_node_is_gone_and_the_file_comes_from_the_recipients_own() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let content = bytes(3 * MIB);
    let path = file(root.path(), "film.mp4", &content);
    alice.chat(&["send", &bob.handle, "--file", &path, "--wait", "custody"]).ok();
    wait_until("birch has fetched the file unasked", || blobs(&birch, "whole").len() == 1);
    acme.kill();
    let shown = receive(&bob);
    let to = root.path().join("saved.mp4");
    bob.chat(&["save", shown["id"].as_str().unwrap(), "--to", &to.display().to_string()]).ok();
    assert_eq!(std::fs::read(&to).unwrap(), content, "although alice's home and device are gone");
}

#[test]
fn an_upload_goes_on_after_the_node_was_killed_and_after_the_device_was_closed() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.fix_ports();
    let (alice, bob) = (acme.person("alice"), acme.person("bob"));
    let content = bytes(48 * MIB);
    let path = file(root.path(), "long.bin", &content);
    let mut sending = Command::new(binary())
        .args(["--json", "chat", "--dir"])
        .arg(&alice.dir)
        .args(["send", &bob.handle, "--file", &path, "--wait", "accepted", "--timeout", "80s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let coming =
        |node: &Node| blobs(node, "partial").first().map_or(0, |path| path.metadata().map_or(0, |of| of.len()));
    wait_until("some of it is at the node", || coming(&acme) > 4 * MIB as u64);
    acme.kill();
    let before = coming(&acme);
    assert!(before > 4 * MIB as u64 && before < content.len() as u64, "the kill came in between: {before}");
    acme.serve();
    wait_until("it goes on from there", || coming(&acme) > before || !blobs(&acme, "whole").is_empty());
    let ended = sending.wait().unwrap();
    assert!(ended.success(), "the message is accepted in the end");
    let shown = receive(&bob);
    let to = root.path().join("long.saved");
    bob.chat(&["save", shown["id"].as_str().unwrap(), "--to", &to.display().to_string()]).ok();
    assert!(std::fs::read(&to).unwrap() == content, "byte by byte, although a kill lay in between");

    // The node is down, the device closes: whatever opens the directory next brings it there.
    acme.kill();
    let path = file(root.path(), "later.bin", &content[..MIB]);
    let queued = alice.chat(&["send", &bob.handle, "--file", &path, "--wait", "queued"]).ok();
    assert_eq!(queued["state"], "queued", "it is on disk here");
    std::fs::remove_file(&path).unwrap();
    acme.serve();
    alice.chat(&["send", &bob.handle, "and a word", "--wait", "accepted"]).ok();
    let mut kinds = Vec::new();
    wait_until("the file came, too", || {
        let _ = alice.chat(&["recv", "--wait", "1s"]);
        let outcome = bob.chat(&["recv", "--wait", "1s"]);
        kinds.extend(
            outcome.lines.iter().filter_map(|line| Some((line["kind"].as_str()?.to_owned(), line["id"].clone()))),
        );
        kinds.iter().any(|(kind, _)| kind == "file")
    });
    let id = kinds.iter().find(|(kind, _)| kind == "file").map(|(_, id)| id.as_str().unwrap()).unwrap();
    let to = root.path().join("later.saved");
    bob.chat(&["save", id, "--to", &to.display().to_string()]).ok();
    assert!(std::fs::read(&to).unwrap() == content[..MIB], "although the file itself is gone");
}

#[test]
fn a_file_over_the_quota_is_refused_in_words_and_text_still_goes() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.fix_ports();
    configure(&mut acme, "blobs", "account_bytes", toml::Value::Integer(2 * MIB as i64));
    let (alice, bob) = (acme.person("alice"), acme.person("bob"));
    let small = file(root.path(), "small.bin", &bytes(MIB));
    alice.chat(&["send", &bob.handle, "--file", &small]).ok();
    let large = file(root.path(), "large.bin", &bytes(2 * MIB));
    let refused = alice.chat(&["send", &bob.handle, "--file", &large]);
    assert_eq!(refused.error_code(), "quota", "{}", refused.errors);
    assert!(refused.errors.contains("your files fill"), "in words: {}", refused.errors);
    assert_ne!(refused.code, 0, "and the command says so");
    let sent = alice.chat(&["send", &bob.handle, "then in words", "--wait", "accepted"]).ok();
    assert!(sent["accepted_at"].is_string(), "what comes behind it is not held up: {sent}");
    assert_eq!(std::fs::read_dir(alice.dir.join("files")).unwrap().count(), 0, "nothing of the refused one waits");
}

#[test]
fn a_blob_that_was_altered_on_disk_is_refused_by_the_device_and_seen_by_check() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let path = file(root.path(), "contract.pdf", &bytes(MIB));
    alice.chat(&["send", &bob.handle, "--file", &path, "--wait", "custody"]).ok();
    wait_until("birch has fetched the file", || blobs(&birch, "whole").len() == 1);
    let blob = blobs(&birch, "whole").remove(0);
    let mut sealed = std::fs::read(&blob).unwrap();
    sealed[700_000] ^= 1;
    std::fs::write(&blob, sealed).unwrap();
    let shown = receive(&bob);
    let to = root.path().join("saved.pdf");
    let refused = bob.chat(&["save", shown["id"].as_str().unwrap(), "--to", &to.display().to_string()]);
    assert_eq!(refused.error_code(), "bad_file", "one bit is another: {}", refused.errors);
    assert!(!to.exists(), "nothing of it is shown to anybody");
    let left = std::fs::read_dir(root.path()).unwrap().flatten().map(|entry| entry.file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().ends_with(".half")), "nor left beside");
    let checked = roost(&["check", "--dir", &birch.dir.display().to_string()]);
    let checks = checked.lines[0]["checks"].as_array().unwrap().clone();
    let blobs = checks.iter().find(|check| check["name"] == "blobs").unwrap();
    assert_eq!(blobs["status"], "failed", "the operator is told: {blobs}");
}
