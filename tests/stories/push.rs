//! Being woken: the real binary pushes to a push service on this machine, and to nowhere that it must not.

pub mod service;
pub mod subscriber;

use crate::roost::{Node, Person, roost_with_input};
use roost_protocol::ids::{ConversationId, PushTag};
use serde_json::Value;
use service::{Posted, PushService};
use std::time::Duration;
use subscriber::{Subscriber, base64url, decode, vapid};

/// A push that is to come.
const SOON: Duration = Duration::from_secs(20);
/// None comes for so long.
const QUIET: Duration = Duration::from_millis(1_500);

fn subscribe(person: &Person, endpoint: &str, keys: &Subscriber) -> Value {
    let [p256dh, auth] = keys.keys();
    person.chat(&["push", "subscribe", endpoint, &p256dh, &auth]).ok()
}

fn send(from: &Person, to: &Person, text: &str) -> Value {
    from.chat(&["send", &to.handle, text, "--wait", "custody"]).ok()
}

/// What a push says, once it is opened.
fn said(keys: &Subscriber, posted: &Posted) -> Value {
    let opened = keys.open(&posted.body).expect("it is sealed for the subscription");
    assert_eq!(opened.len(), 64, "its length says nothing");
    serde_json::from_slice(&opened).unwrap()
}

fn configure(node: &mut Node, key: &str, value: toml::Value) {
    node.fix_ports();
    let path = node.dir.join("config.toml");
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    config["push"].as_table_mut().unwrap().insert(key.into(), value);
    std::fs::write(&path, config.to_string()).unwrap();
    node.terminate();
    node.serve();
}

#[test]
fn who_is_away_is_woken_and_the_push_says_only_that_something_is_new() {
    let (root, service, keys) = (tempfile::tempdir().unwrap(), PushService::start(), Subscriber::new(7));
    let acme = Node::start(root.path(), "acme", &[]);
    let mut birch = Node::start(root.path(), "birch", &[&acme]);
    configure(&mut birch, "contact", "mailto:op@birch.example".into());
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let standing = subscribe(&bob, &service.endpoint("/bob"), &keys);
    assert_eq!((&standing["known"], &standing["offered"]), (&true.into(), &true.into()), "the home knows: {standing}");
    let key = bob.chat(&["push", "key"]).ok();

    let sent = send(&alice, &bob, "a secret that no push service may see");
    let first = service.next(SOON).expect("bob is woken");
    assert_eq!(first.path, "/bob", "where he said");
    let conversation: ConversationId = sent["conversation"].as_str().unwrap().parse().unwrap();
    let tag = PushTag::of(&keys.auth, &conversation);
    assert_eq!(said(&keys, &first), serde_json::json!({ "roost": 1, "tag": tag.to_string() }), "that is all it says");
    assert_eq!(Subscriber::new(8).open(&first.body), None, "and to nobody else");
    assert_eq!(first.header("topic"), base64url(tag.as_bytes()), "one conversation is one topic");
    assert_eq!(first.header("content-encoding"), "aes128gcm", "RFC 8188");
    assert_eq!((first.header("ttl"), first.header("urgency")), ("604800", "high"), "for a week, at once");
    let (claims, signer) = vapid(first.header("authorization"));
    assert_eq!(claims["aud"], format!("http://localhost:{}", service.port), "a token for this service alone");
    assert_eq!(claims["sub"], "mailto:op@birch.example", "and whom it can write to");
    let (expires, now) = (claims["exp"].as_u64().unwrap(), std::time::UNIX_EPOCH.elapsed().unwrap().as_secs());
    assert!(expires > now && expires <= now + 24 * 3600, "for less than a day: {expires}");
    assert_eq!(signer, decode(key["key"].as_str().unwrap()), "by the key that the home shows");
    for known in ["alice", "bob@", "secret", &conversation.to_string(), sent["id"].as_str().unwrap()] {
        assert!(!first.head.contains(known), "the head does not hold {known:?}: {}", first.head);
    }

    send(&alice, &bob, "and another");
    let second = service.next(SOON).expect("bob is woken again");
    assert_eq!(second.header("topic"), first.header("topic"), "the push service keeps the last of a conversation only");
    assert_ne!(second.body, first.body, "sealed anew");
    assert_eq!(bob.receive(2, "20s").len(), 2, "what it was about is there");

    let test = bob.chat(&["push", "test"]).ok();
    assert_eq!((&test["leg"], &test["status"]), (&"ok".into(), &201.into()), "a test arrives: {test}");
    let posted = service.next(SOON).unwrap();
    assert_eq!(said(&keys, &posted), serde_json::json!({ "roost": 1, "test": true }), "and says that it is one");
    bob.chat(&["push", "off"]).ok();
    send(&alice, &bob, "he does not want to be woken");
    assert!(service.next(QUIET).is_none(), "nobody is woken who does not want to be");
    assert_eq!(bob.chat(&["push", "test"]).error_code(), "not_found", "and there is nothing to test");
}

#[test]
fn nobody_is_woken_who_is_there_or_for_what_wants_no_attention() {
    let (root, service) = (tempfile::tempdir().unwrap(), PushService::start());
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let (hers, his) = (Subscriber::new(9), Subscriber::new(7));
    subscribe(&alice, &service.endpoint("/alice"), &hers);
    subscribe(&bob, &service.endpoint("/bob"), &his);
    let sent = send(&alice, &bob, "one");
    assert_eq!(service.next(SOON).unwrap().path, "/bob", "what is said wakes");
    let id = sent["id"].as_str().unwrap();

    // His receipt, his reaction and that he has read it wake nobody.
    assert_eq!(bob.receive(1, "20s"), ["one"]);
    bob.chat(&["react", &alice.handle, id, "👍"]).ok();
    bob.chat(&["read", &alice.handle]).ok();
    assert!(service.next(QUIET).is_none(), "what is done to what was said wakes nobody");
    alice.chat(&["edit", &bob.handle, id, "one, better"]).ok();
    assert!(service.next(QUIET).is_none(), "nor does an edit");

    // While he is there, nothing is pushed; his acknowledgement is all that is needed.
    std::thread::scope(|scope| {
        // Not until the second message: a connection that ends before its acknowledgement may be pushed to.
        let waiting = scope.spawn(|| bob.chat(&["recv", "--wait", "10s"]));
        let deadline = std::time::Instant::now() + SOON;
        while !is_connected(&birch) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        send(&alice, &bob, "two");
        send(&alice, &bob, "three");
        let texts: Vec<_> = waiting.join().unwrap().lines.iter().map(|line| line["text"].clone()).collect();
        assert_eq!(texts, ["two", "three"], "he sees both");
    });
    assert!(service.next(QUIET).is_none(), "who is there is not woken");

    let muted = bob.chat(&["push", "mute", &alice.handle]).ok();
    assert_eq!(muted["muted"], serde_json::json!([sent["conversation"]]), "the home knows: {muted}");
    send(&alice, &bob, "four");
    assert!(service.next(QUIET).is_none(), "a muted conversation wakes nobody");
    bob.chat(&["push", "unmute", &alice.handle]).ok();
    assert_eq!(bob.receive(1, "20s"), ["four"]);
    send(&alice, &bob, "five");
    assert_eq!(service.next(SOON).unwrap().path, "/bob", "until it is not muted any more");
}

/// Whether a device is signed in at a node.
fn is_connected(node: &Node) -> bool {
    let fds = format!("/proc/{}/fd", node.ready["pid"]);
    let port = node.url().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let local = format!(":{port:04X}");
    let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    // 01: a connection that stands.
    std::path::Path::new(&fds).exists()
        && tcp.lines().any(|line| {
            let mut fields = line.split_whitespace();
            fields.nth(1).is_some_and(|at| at.ends_with(&local)) && fields.nth(1) == Some("01")
        })
}

#[test]
fn a_subscription_outlives_its_home_waits_as_it_is_told_and_goes_when_it_is_gone() {
    let (root, service, keys) = (tempfile::tempdir().unwrap(), PushService::start(), Subscriber::new(7));
    let acme = Node::start(root.path(), "acme", &[]);
    let mut birch = Node::start(root.path(), "birch", &[&acme]);
    birch.fix_ports();
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    subscribe(&bob, &service.endpoint("/bob"), &keys);
    let vapid_key = std::fs::read(birch.dir.join("keys/vapid.key")).unwrap();
    birch.kill();
    birch.serve();
    send(&alice, &bob, "one");
    let first = service.next(SOON).expect("the subscription is a row, and outlives a killed node");
    assert_eq!(std::fs::read(birch.dir.join("keys/vapid.key")).unwrap(), vapid_key, "so does the key");

    // 429: not before what it asks for, then the same.
    service.answer("/bob", &["429 Too Many Requests\r\nretry-after: 3", "201 Created"]);
    send(&alice, &bob, "two");
    let refused = service.next(SOON).unwrap();
    let again = service.next(SOON).expect("it is tried again");
    let pause = again.at - refused.at;
    assert!(pause >= Duration::from_millis(2_900), "not before it was asked for: {pause:?}");
    assert_eq!(again.header("topic"), first.header("topic"), "of the same conversation");

    // 410: gone, here and, when it is there again, at the device.
    service.answer("/bob", &["410 Gone"]);
    send(&alice, &bob, "three");
    service.next(SOON).expect("tried once");
    send(&alice, &bob, "four");
    assert!(service.next(QUIET).is_none(), "and never again");
    let standing = bob.chat(&["push"]).ok();
    assert_eq!(standing["endpoint"], Value::Null, "the device was told: {standing}");
    assert_eq!(standing["error"]["code"], "not_found", "and why: {standing}");

    // An ended device's subscription ends with it.
    let other = root.path().join("bob-other");
    let (url, dir) = (birch.url(), other.display().to_string());
    let arguments = ["account", "restore", "--server", &url, "--dir", &dir, "--name", "other"];
    roost_with_input(&arguments, &bob.recovery_code).ok();
    let second = Person { dir: other, handle: bob.handle.clone(), recovery_code: bob.recovery_code.clone() };
    subscribe(&bob, &service.endpoint("/anew"), &Subscriber::new(11));
    send(&alice, &bob, "five");
    assert_eq!(service.next(SOON).expect("the first device is woken").path, "/anew");
    let device = bob.chat(&["status"]).ok()["device"].as_str().unwrap().to_owned();
    second.chat(&["revoke", &device]).ok();
    send(&alice, &bob, "six");
    assert!(service.next(QUIET).is_none(), "not after it was ended");
}

#[test]
fn a_home_connects_to_no_private_address() {
    let (root, service, keys) = (tempfile::tempdir().unwrap(), PushService::start(), Subscriber::new(7));
    let flags = ["--profile", "production", "--listen", "/ip4/127.0.0.1/tcp/0", "--web", "127.0.0.1:0"];
    let mut acme = Node::start_as(root.path(), "acme", &[], &flags);
    configure(&mut acme, "ports", vec![i64::from(service.port)].into());
    let alice = acme.person("alice");
    let [p256dh, auth] = keys.keys();
    let port = service.port;
    for endpoint in [
        format!("http://localhost:{port}/a"),
        format!("https://127.0.0.1:{port}/a"),
        format!("https://[::1]:{port}/a"),
        format!("https://[::ffff:127.0.0.1]:{port}/a"),
        "https://169.254.169.254/latest/meta-data".into(),
        "https://10.0.0.1/a".into(),
        "https://push.example.com:22/a".into(),
        "https://user@push.example.com/a".into(),
        "ftp://push.example.com/a".into(),
        "nonsense".into(),
    ] {
        let refused = alice.chat(&["push", "subscribe", &endpoint, &p256dh, &auth]);
        assert_eq!((refused.code, refused.error_code().as_str()), (1, "malformed"), "{endpoint}");
    }
    // A name is judged by where it leads, when it is connected to.
    for host in ["localhost", "127.1", "2130706433", "0x7f000001"] {
        let standing = subscribe(&alice, &format!("https://{host}:{port}/a"), &keys);
        assert_eq!(standing["known"], true, "a name may be anything: {standing}");
        let test = alice.chat(&["push", "test"]);
        let leg = test.lines.first().map(|line| line["leg"].as_str().unwrap_or_default().to_owned());
        assert!(matches!(leg.as_deref(), Some("address" | "resolve")), "{host}: {leg:?} {}", test.errors);
    }
    assert_eq!(service.connections(), 0, "nobody ever connected");
}

#[test]
fn a_test_names_the_leg_that_failed() {
    let (root, keys) = (tempfile::tempdir().unwrap(), Subscriber::new(7));
    let (plain, tls) = (PushService::start(), PushService::start_with_tls());
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.fix_ports();
    let alice = acme.person("alice");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    plain.answer("/no", &["403 Forbidden"]);
    plain.answer("/moved", &[&format!("307 Temporary Redirect\r\nlocation: {}", plain.endpoint("/ok"))]);
    plain.answer("/silent", &["hang up"]);
    let leg_of = |endpoint: &str| {
        subscribe(&alice, endpoint, &keys);
        let test = alice.chat(&["push", "test"]);
        let line = test.lines.first().unwrap_or_else(|| panic!("{endpoint}: {}", test.errors)).clone();
        assert_eq!(test.code == 0, line["leg"] == "ok", "a test that failed is a failure: {line}");
        (line["leg"].as_str().unwrap().to_owned(), line["status"].as_u64())
    };
    assert_eq!(leg_of(&plain.endpoint("/ok")), ("ok".into(), Some(201)));
    assert_eq!(leg_of(&plain.endpoint("/no")), ("status".into(), Some(403)));
    assert_eq!(leg_of(&plain.endpoint("/moved")), ("status".into(), Some(307)), "no redirect is followed");
    assert_eq!(leg_of(&plain.endpoint("/silent")), ("answer".into(), None));
    assert_eq!(leg_of(&format!("http://localhost:{closed}/a")), ("connect".into(), None));
    assert_eq!(leg_of("https://nobody.invalid/a"), ("resolve".into(), None));
    assert_eq!(leg_of(&format!("https://localhost:{}/a", plain.port)), ("tls".into(), None), "who speaks no TLS");
    assert_eq!(leg_of(&tls.endpoint("/a")), ("tls".into(), None), "a certificate that nobody believes");

    let file = root.path().join("certificates.pem");
    std::fs::write(&file, tls.certificate.as_ref().unwrap()).unwrap();
    configure(&mut acme, "certificates", file.display().to_string().into());
    assert_eq!(leg_of(&tls.endpoint("/a")), ("ok".into(), Some(201)), "one that the operator believes");
}
