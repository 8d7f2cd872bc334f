//! Several devices of one account, over the real binary: linked, named, revoked, and brought back by the recovery code.

use crate::roost::{Node, Outcome, Person, binary, roost, roost_with_input};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What must become true within this does, or the story fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// `roost chat link` on a person's device, and the code that it shows.
fn offer(person: &Person, arguments: &[&str]) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let mut child = Command::new(binary())
        .args(["--json", "chat", "--dir", &person.dir.display().to_string(), "link"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let shown: Value = serde_json::from_str(&line).unwrap();
    let code = shown["code"].as_str().unwrap().to_owned();
    (child, output, code)
}

fn join(code: &str, dir: &Path) -> Outcome {
    roost(&["account", "link", code, "--dir", &dir.display().to_string(), "--name", "laptop"])
}

/// Another device of somebody, in a directory beside the first one.
fn beside(person: &Person, name: &str) -> Person {
    Person {
        dir: person.dir.with_extension(name),
        handle: person.handle.clone(),
        recovery_code: person.recovery_code.clone(),
    }
}

/// All that somebody's device holds of what was said with another.
fn texts(person: &Person, with: &str) -> Vec<String> {
    let history = person.chat(&["history", with, "--limit", "50"]);
    history.lines.iter().filter_map(|line| line["text"].as_str()).map(ToOwned::to_owned).collect()
}

/// Whether a device has a leaf in its conversation with somebody: then what is written there leaves.
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < DEADLINE, "it never becomes true: {what}");
    }
}

/// People's devices are in use for some seconds, all at once.
fn online(devices: &[&Person]) {
    std::thread::scope(|scope| {
        for device in devices {
            scope.spawn(|| device.chat(&["recv", "--wait", "4s"]));
        }
    });
}

#[test]
fn a_second_device_is_linked_talks_and_is_revoked() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    alice.chat(&["send", &bob.handle, "before the laptop", "--wait", "custody"]).ok();
    assert_eq!(bob.receive(1, "20s"), ["before the laptop"], "they talk");
    alice.chat(&["verify", &bob.handle]).ok();

    let laptop = beside(&alice, "laptop");
    let (mut old, mut rest, code) = offer(&alice, &["--yes", "--digits", "not the digits"]);
    let mut new = Command::new(binary())
        .args(["account", "link", &code, "--dir", &laptop.dir.display().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_ne!(old.wait().unwrap().code(), Some(0), "other digits than the new device shows link nothing");
    // It is told nothing, and would wait for the time of a request.
    new.kill().unwrap();
    new.wait().unwrap();
    assert_eq!(alice.chat(&["devices"]).lines.len(), 1, "the account has one device");
    assert!(!laptop.dir.exists(), "and no directory was made");
    rest.read_to_string(&mut String::new()).unwrap();

    let (mut old, mut rest, code) = offer(&alice, &["--yes", "--yes-without-comparing"]);
    let joined = join(&code, &laptop.dir).ok();
    assert_eq!(old.wait().unwrap().code(), Some(0), "the old device has linked it");
    let mut linked = String::new();
    rest.read_to_string(&mut linked).unwrap();
    let linked: Value = serde_json::from_str(&linked).unwrap();
    assert_eq!(linked["device"], joined["device"], "both speak of one device");
    assert_eq!(joined["handle"], alice.handle.as_str(), "it is alice's");
    assert_eq!(texts(&laptop, &bob.handle), ["before the laptop"], "what was said is there");
    assert_eq!(laptop.chat(&["safety-number", &bob.handle]).ok()["verified"], true, "nobody compares again");
    let devices = alice.chat(&["devices"]).lines;
    assert_eq!(devices.len(), 2, "the account has two devices");
    let device = joined["device"].as_str().unwrap();
    let named = devices.iter().find(|one| one["device"] == device).unwrap();
    assert_eq!((&named["name"], &named["current"]), (&"laptop".into(), &false.into()), "with its name, by the archive");

    until("bob reads what the laptop writes", || {
        online(&[&alice, &laptop]);
        laptop.chat(&["send", &bob.handle, "from the laptop", "--wait", "custody", "--timeout", "5s"]).code == 0
    });
    until("bob has it", || {
        online(&[&bob]);
        texts(&bob, &alice.handle).contains(&"from the laptop".to_owned())
    });
    online(&[&alice]);
    assert!(texts(&alice, &bob.handle).contains(&"from the laptop".to_owned()), "her first device has it as hers");
    bob.chat(&["send", &alice.handle, "to both", "--wait", "custody"]).ok();
    let shown = |person: &Person| person.receive(1, "20s");
    assert_eq!(shown(&alice), ["to both"], "the first device shows it");
    assert_eq!(shown(&laptop), ["to both"], "and the laptop");

    alice.chat(&["revoke", device]).ok();
    assert_eq!(alice.chat(&["devices"]).lines.len(), 1, "the account has one device again");
    let ended = laptop.chat(&["recv", "--wait", "20s"]);
    assert_eq!(ended.error_code(), "revoked", "the laptop is signed out, and told why");
    online(&[&alice, &bob]);
    bob.chat(&["send", &alice.handle, "not for the laptop", "--wait", "custody"]).ok();
    assert_eq!(shown(&alice), ["not for the laptop"], "the talk goes on");
    assert_eq!(laptop.chat(&["recv", "--wait", "5s"]).error_code(), "revoked", "the laptop hears nothing more");
    assert!(!texts(&laptop, &bob.handle).contains(&"not for the laptop".to_owned()), "and holds nothing of it");
}

#[test]
fn an_account_comes_back_by_its_recovery_code_when_all_devices_are_lost() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    alice.chat(&["send", &bob.handle, "remember this", "--wait", "custody"]).ok();
    assert_eq!(bob.receive(1, "20s"), ["remember this"], "they talk");
    bob.chat(&["send", &alice.handle, "I do", "--wait", "custody"]).ok();
    assert_eq!(alice.receive(1, "20s"), ["I do"], "both ways");
    alice.chat(&["verify", &bob.handle]).ok();
    assert_eq!(alice.chat(&["backup"]).ok()["archived"], true, "all of it is in the archive");
    std::fs::remove_dir_all(&alice.dir).unwrap();

    let restore = |code: &str, dir: &Path| {
        let (url, dir) = (acme.url(), dir.display().to_string());
        let arguments =
            ["account", "restore", "--server", &url, "--dir", &dir, "--revoke-others", "--name", "new phone"];
        roost_with_input(&arguments, code)
    };
    let wrong = restore("C5P6-JRV5", &alice.dir);
    assert_eq!((wrong.code, wrong.error_code().as_str()), (2, "bad_recovery_code"), "a cut code is none");
    let foreign = restore("C5P6-JRV5-4XSJ-0C9P-41H7-JX35-EEFZ-2CN7", &alice.dir);
    assert_ne!(foreign.code, 0, "another account's code finds nobody here");
    assert!(!alice.dir.exists(), "and makes no directory");
    let back = restore(&alice.recovery_code, &alice.dir).ok();
    assert_eq!(back["handle"], alice.handle.as_str(), "the code brings alice back");
    let mut said = texts(&alice, &bob.handle);
    said.sort();
    assert_eq!(said, ["I do", "remember this"], "with all that was said");
    assert_eq!(alice.chat(&["safety-number", &bob.handle]).ok()["verified"], true, "and what she compared");
    let devices = alice.chat(&["devices"]).lines;
    assert_eq!(devices.len(), 1, "the lost device is none of hers any more");
    assert_eq!(devices[0]["name"], "new phone", "the new one has its name");
    assert_eq!(bob.chat(&["safety-number", &alice.handle]).ok()["digits"].as_str().map(str::len), Some(60), "one key");

    until("bob's device has put the new one in the place of the lost", || {
        online(&[&alice, &bob]);
        alice.chat(&["send", &bob.handle, "I am back", "--wait", "custody", "--timeout", "5s"]).code == 0
    });
    until("bob reads it", || {
        online(&[&bob]);
        texts(&bob, &alice.handle).contains(&"I am back".to_owned())
    });
    assert!(bob.chat(&["requests"]).lines.is_empty(), "she is no stranger");
    bob.chat(&["send", &alice.handle, "welcome back", "--wait", "custody"]).ok();
    until("alice reads the answer", || {
        online(&[&alice]);
        texts(&alice, &bob.handle).contains(&"welcome back".to_owned())
    });
}
