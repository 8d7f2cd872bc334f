//! Pictures, timers, mentions and codes to compare go between people, and into a conversation of many, through the real binary.

use crate::roost::{Node, Person};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// A PNG of one point.
const POINT: &str = "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da6364f8cf500f00038601805a347d\
                     6b0000000049454e44ae426082";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What a command tells once it is as wanted; what changes it arrives while a command is connected.
fn until(person: &Person, command: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        person.chat(&["recv", "--count", "1", "--wait", "1s"]);
        let told = person.chat(command);
        if let Some(line) = told.lines.iter().find(|line| wanted(line)) {
            return line.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{command:?} never told so: {:?}", told.lines);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn pictures_timers_mentions_and_codes_go_between_two_and_to_who_joins() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob, carol) = (acme.person("alice"), birch.person("bob"), acme.person("carol"));
    alice.chat(&["send", &bob.handle, "hello", "--wait", "custody"]).ok();
    assert_eq!(bob.receive(1, "20s"), ["hello"], "they talk");

    let file = root.path().join("point.png");
    std::fs::write(&file, unhex(POINT)).unwrap();
    let own = alice.chat(&["profile", "--name", "Alice", "--picture", &shown(&file)]).ok();
    assert_eq!(own["picture"]["media_type"], "image/png", "it is drawn anew as what it was: {own}");
    let told = until(&bob, &["profile", &alice.handle], |told| told["picture"] == own["picture"]);
    assert_eq!(told["name"], "Alice", "bob knows name and picture");
    let saved = root.path().join("alice.png");
    bob.chat(&["profile", &alice.handle, "--save", &shown(&saved)]).ok();
    assert_eq!(std::fs::read(&saved).unwrap().len() as u64, own["picture"]["bytes"].as_u64().unwrap(), "and has it");
    let again = bob.chat(&["profile", &alice.handle, "--save", &shown(&saved)]);
    assert_eq!((again.code, again.error_code().as_str()), (2, "exists"), "no file is written over");
    let text = root.path().join("text.png");
    std::fs::write(&text, "no picture").unwrap();
    let bad = alice.chat(&["profile", "--picture", &shown(&text)]);
    assert_eq!((bad.code, bad.error_code().as_str()), (2, "bad_picture"), "what is none is refused");

    let timer = alice.chat(&["expires", &bob.handle, "1h"]).ok();
    assert_eq!(timer["expires_after_s"], 3_600, "from now on what both say goes");
    until(&bob, &["expires", &alice.handle], |told| told["expires_after_s"] == 3_600);
    bob.chat(&["send", &alice.handle, "see you, @alice@acme", "--wait", "custody"]).ok();
    let came = until(&alice, &["history", &bob.handle], |item| item["text"] == "see you, @alice@acme");
    assert!(came["expires_at"].is_string(), "bob's text carries it: {came}");
    let account = alice.chat(&["status"]).ok()["account"].clone();
    assert_eq!(came["mentions"], json!([account]), "and mentions her whom it names");
    assert_eq!(alice.chat(&["expires", &bob.handle, "off"]).ok()["expires_after_s"], Value::Null, "it is taken off");

    let code = bob.chat(&["safety-number", &alice.handle]).ok()["code"].as_str().unwrap().to_owned();
    let own_code = alice.chat(&["safety-number", &bob.handle]).ok()["code"].as_str().unwrap().to_owned();
    let wrong = alice.chat(&["verify", &bob.handle, "--code", &own_code]);
    assert_eq!((wrong.code, wrong.error_code().as_str()), (1, "digits_differ"), "her own code compares nothing");
    let cut = alice.chat(&["verify", &bob.handle, "--code", &code[..40]]);
    assert_eq!(cut.code, 2, "a cut code is a mistake of the person");
    assert_eq!(
        alice.chat(&["verify", &bob.handle, "--code", &code.to_lowercase()]).ok()["verified"],
        true,
        "bob's does"
    );

    let group = alice.chat(&["group", "create", &bob.handle]).ok();
    let conversation = group["conversation"].as_str().unwrap();
    alice.chat(&["group", "title", conversation, "Friends", "--description", "of the house"]).ok();
    let shows = alice.chat(&["group", "picture", conversation, &shown(&file)]).ok();
    alice.chat(&["expires", conversation, "2h"]).ok();
    until(&bob, &["group", "info", conversation], |told| told["picture"] == shows["picture"]);
    let no_admin = bob.chat(&["group", "picture", conversation, "--remove"]);
    assert_eq!(no_admin.error_code(), "not_admin", "a member does not change it");
    alice.chat(&["group", "add", conversation, &carol.handle]).ok();
    // Title, picture and timer are told one after the other.
    until(&carol, &["group", "info", conversation], |told| {
        told["picture"] == shows["picture"] && told["title"] == "Friends" && told["expires_after_s"] == 7_200
    });
    alice.chat(&["group", "picture", conversation, "--remove"]).ok();
    until(&carol, &["group", "info", conversation], |told| told["picture"].is_null());
}
