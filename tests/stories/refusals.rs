//! Bad input at each gate: a clear error with a code and a hint, and nothing lost.

use crate::roost::{Node, roost};

#[test]
fn init_refuses_bad_names_and_leaves_an_existing_directory_untouched() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("there");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("mine"), "precious").unwrap();
    let at = dir.display().to_string();
    let refused = roost(&["init", "--dir", &at, "--name", "acme"]);
    assert_eq!(refused.code, 2, "an existing directory is a usage error");
    refused.error_code();
    assert_eq!(std::fs::read_to_string(dir.join("mine")).unwrap(), "precious", "nothing was touched");
    let new = root.path().join("new").display().to_string();
    let refused = roost(&["init", "--dir", &new, "--name", "Not A Name"]);
    assert_eq!(refused.code, 2, "a bad name is a usage error");
    refused.error_code();
    assert!(!root.path().join("new").exists(), "nothing was made");
}

#[test]
fn an_unknown_config_key_is_refused_with_a_suggestion() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("acme");
    let at = dir.display().to_string();
    roost(&["init", "--dir", &at, "--name", "acme", "--profile", "testnet"]).ok();
    let path = dir.join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("bootstrp = []\n{config}")).unwrap();
    let refused = roost(&["serve", "--dir", &at]);
    assert_eq!(refused.code, 2, "a typing mistake in the config is an input error: {}", refused.errors);
    refused.error_code();
    assert!(refused.errors.contains("bootstrap"), "the error suggests the right key: {}", refused.errors);
}

#[test]
fn two_nodes_cannot_serve_one_directory() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let refused = roost(&["serve", "--dir", &acme.dir.display().to_string()]);
    assert_eq!(refused.code, 4, "busy has its own exit code: {}", refused.errors);
    refused.error_code();
}

#[test]
fn sign_up_needs_a_good_invite_and_a_free_name() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    acme.person("alice");
    let create = |handle: &str, invite: &str, dir: &str| {
        let dir = root.path().join(dir);
        let outcome = roost(&[
            "account",
            "create",
            "--server",
            &acme.url(),
            "--handle",
            handle,
            "--invite",
            invite,
            "--dir",
            &dir.display().to_string(),
        ]);
        assert!(!dir.exists(), "a refused sign-up leaves no directory");
        outcome
    };
    let bad_invite = create("bob", "nonsense", "one");
    assert_ne!(bad_invite.code, 0, "an unknown invite is refused");
    assert_eq!(bad_invite.error_code(), "bad_invite");
    let taken = create("alice", &acme.invite, "two");
    assert_ne!(taken.code, 0, "a taken name is refused");
    assert_eq!(taken.error_code(), "handle_taken");
    let form = create("Al Ice", &acme.invite, "three");
    assert_eq!(form.code, 2, "a bad name is an input error");
    form.error_code();
}

#[test]
fn a_message_to_nobody_is_kept_and_said_to_be_waiting_until_the_time_out() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let alice = acme.person("alice");
    let waiting = alice.chat(&["send", "bob@nowhere", "hello", "--wait", "accepted", "--timeout", "2s"]);
    assert_eq!(waiting.code, 3, "time-out has its own exit code: {}", waiting.errors);
    let status = alice.chat(&["status"]).ok();
    assert_eq!(status["outbox"], 1, "the message stays queued");
    let malformed = alice.chat(&["send", "not a handle", "hello"]);
    assert_eq!(malformed.code, 2, "a malformed handle is an input error");
    malformed.error_code();
}

#[test]
fn a_drained_node_exits_with_zero() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.terminate();
    acme.serve();
}
