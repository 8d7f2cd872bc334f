//! What an operator sees: metrics that are right, and a check that says what is wrong and what to do.

use crate::roost::{Node, Outcome, roost};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What a scrape gave: `name{labels}` → value.
type Scrape = BTreeMap<String, f64>;

/// Restarts a node with its metrics on a free port.
fn show_metrics(node: &mut Node) {
    node.terminate();
    node.fix_ports();
    set(node, "metrics", "127.0.0.1:0");
    node.serve();
}

fn set(node: &Node, key: &str, value: impl Into<toml::Value>) {
    let path = node.dir.join("config.toml");
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    config.insert(key.into(), value.into());
    std::fs::write(&path, config.to_string()).unwrap();
}

fn http(node: &Node, request_line: &str) -> String {
    let at = node.ready["metrics"].as_str().expect("the ready line names the metrics");
    let address = at.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{request_line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn text(node: &Node) -> String {
    let answer = http(node, "GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200"), "the metrics are shown: {answer:.200}");
    assert!(answer.trim_end().ends_with("# EOF"), "and whole");
    answer
}

fn scrape(node: &Node) -> Scrape {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text(node)
        .lines()
        .filter(|text| text.starts_with("roost_") || text.starts_with("process_"))
        .filter_map(line)
        .collect()
}

fn value(scrape: &Scrape, name: &str) -> f64 {
    scrape.get(name).copied().unwrap_or(0.0)
}

/// Scrapes until it is so.
fn wait_until(node: &Node, what: &str, so: impl Fn(&Scrape) -> bool) -> Scrape {
    let start = Instant::now();
    loop {
        let seen = scrape(node);
        if so(&seen) {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{what}: {seen:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_metrics_say_what_was_accepted_what_waits_and_what_arrived_and_name_nobody() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    show_metrics(&mut acme);
    let mut birch = Node::start(root.path(), "birch", &[&acme]);
    show_metrics(&mut birch);
    let (alice, bob) = (acme.person("alice"), birch.person("bob"));
    let before = scrape(&acme);
    assert_eq!(value(&before, "roost_accepted_total"), 0.0, "nobody has written yet");

    for number in 0..3 {
        alice
            .chat(&["send", &bob.handle, &format!("guten tag {number}"), "--wait", "custody", "--timeout", "30s"])
            .ok();
    }
    let after = scrape(&acme);
    assert_eq!(value(&after, "roost_accepted_total"), 3.0, "three messages were accepted");
    assert_eq!(
        value(&after, r#"roost_inputs_total{kind="submit"}"#),
        3.0 + value(&after, "roost_repeated_total"),
        "each was submitted"
    );
    assert_eq!(value(&after, "roost_outbox_entries"), 0.0, "nothing waits for custody");
    assert!(value(&after, "roost_custody_seconds_count") >= 3.0, "the way to custody was timed");
    assert!(value(&after, "roost_commit_seconds_count") > value(&before, "roost_commit_seconds_count"), "on disk");
    assert!(value(&after, r#"roost_lookups_total{source="dht",outcome="found"}"#) >= 1.0, "bob was looked up");
    assert!(
        value(&after, r#"roost_node_requests_total{direction="out",kind="deliver",outcome="ok"}"#) >= 3.0,
        "delivered"
    );
    assert!(value(&after, r#"roost_bridge_frames_total{direction="in"}"#) > 0.0, "frames came in");
    assert!(value(&after, "roost_store_bytes") > 0.0, "the store has a size");
    assert!(value(&after, "process_resident_memory_bytes") > 1e6, "the process has memory");
    assert_eq!(value(&after, "roost_peers_connected"), 1.0, "one other node");
    assert!(value(&after, "roost_records_held") > 0.0, "records are held");

    let waiting = scrape(&birch);
    assert_eq!(value(&waiting, "roost_inbox_entries_total"), 4.0, "the first contact and three messages");
    assert_eq!(value(&waiting, "roost_inbox_waiting"), 4.0, "wait for bob");
    assert_eq!(bob.receive(3, "20s").len(), 3, "bob reads");
    let read = wait_until(&birch, "what bob holds waits no longer", |seen| value(seen, "roost_inbox_waiting") == 0.0);
    assert!(value(&read, "roost_entries_delivered_total") >= 4.0, "all went to bob's device");

    birch.terminate();
    for number in 0..2 {
        alice.chat(&["send", &bob.handle, &format!("away {number}"), "--wait", "accepted", "--timeout", "20s"]).ok();
    }
    let late = wait_until(&acme, "the backlog is seen", |seen| value(seen, "roost_outbox_entries") == 2.0);
    assert_eq!(value(&late, "roost_accepted_total"), 5.0, "they are accepted all the same");
    let older = wait_until(&acme, "its age grows", |seen| value(seen, "roost_custody_lag_seconds") > 0.5);
    assert!(value(&older, "roost_outbox_entries") == 2.0, "while both wait");
    birch.serve();
    wait_until(&acme, "the backlog goes", |seen| {
        value(seen, "roost_outbox_entries") == 0.0 && value(seen, "roost_custody_lag_seconds") == 0.0
    });

    let dir = root.path().join("eve").display().to_string();
    let url = acme.url();
    let eve = ["account", "create", "--server", &url, "--handle", "eve", "--invite", "nonsense", "--dir", &dir];
    assert_ne!(roost(&eve).code, 0, "eve has no invite");
    let refused = scrape(&acme);
    let refusals = r#"roost_refusals_total{by="relay",to="device",code="bad_invite"}"#;
    assert_eq!(value(&refused, refusals), 1.0, "her refusal is counted by its code");

    let shown = text(&acme);
    let account = |person: &crate::roost::Person| person.chat(&["status"]).ok()["account"].as_str().unwrap().to_owned();
    let peer_ids = [&acme, &birch].map(|node| node.ready["peer_id"].as_str().unwrap().to_owned());
    let ids = [account(&alice), account(&bob), "alice".into(), "bob".into(), "guten tag".into(), "127.0.0.1".into()];
    for secret in ids.iter().chain(&peer_ids) {
        let body = shown.split_once("\r\n\r\n").unwrap().1;
        assert!(!body.contains(secret.as_str()), "the metrics name {secret}");
    }
}

#[test]
fn the_metrics_listener_answers_get_metrics_alone_and_is_off_unless_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    assert!(acme.ready["metrics"].is_null(), "off unless the config names an address");
    show_metrics(&mut acme);
    text(&acme);
    for (line, status) in [
        ("GET /", 404),
        ("GET /metrics/", 404),
        ("GET /readyz", 404),
        ("GET /v1/discover?handle=a@acme", 404),
        ("POST /metrics", 405),
        ("HEAD /metrics", 405),
        ("DELETE /metrics", 405),
    ] {
        let answer = http(&acme, line);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line} is refused: {answer:.100}");
    }
    let checked = check(&acme);
    assert_eq!(status(&checked, "metrics"), "ok", "check asks it: {checked:#}");
}

fn check(node: &Node) -> Value {
    let outcome: Outcome = roost(&["check", "--dir", &node.dir.display().to_string()]);
    let report = outcome.lines.first().cloned().unwrap_or_else(|| panic!("check says something: {}", outcome.errors));
    let worst = |wanted: &str| report["checks"].as_array().unwrap().iter().any(|check| check["status"] == wanted);
    let code = if worst("failed") { 2 } else { i32::from(worst("warning")) };
    assert_eq!(outcome.code, code, "the exit code is the worst of all: {report:#}");
    assert_eq!(report["ok"], code == 0, "and so is ok");
    for check in report["checks"].as_array().unwrap() {
        let fine = check["status"] == "ok" || check["status"] == "skipped";
        assert!(fine || check["hint"] != "", "what is not ok has a hint: {check}");
    }
    report
}

fn all<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    report["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name).collect()
}

fn status(report: &Value, name: &str) -> String {
    let found = all(report, name);
    assert_eq!(found.len(), 1, "one check of this name: {name}");
    found[0]["status"].as_str().unwrap().to_owned()
}

#[test]
fn check_finds_a_node_among_others_well_while_it_serves() {
    let root = tempfile::tempdir().unwrap();
    let acme = Node::start(root.path(), "acme", &[]);
    let birch = Node::start(root.path(), "birch", &[&acme]);
    let start = Instant::now();
    let report = loop {
        let report = check(&birch);
        // How full this machine's disk is says nothing of the node.
        let mut others = report["checks"].as_array().unwrap().iter().filter(|check| check["name"] != "disk");
        if others.all(|check| check["status"] == "ok" || check["status"] == "skipped") {
            break report;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "a healthy node becomes well: {report:#}");
        std::thread::sleep(Duration::from_millis(200));
    };
    for name in ["directory", "config", "org_key", "node_key", "invites", "clock", "descriptors", "store"] {
        assert_eq!(status(&report, name), "ok", "{name}: {report:#}");
    }
    for name in ["node", "peers", "record", "name", "skew", "bridge", "bootstrap"] {
        assert_eq!(status(&report, name), "ok", "{name}: {report:#}");
    }
    assert_eq!(status(&report, "metrics"), "skipped", "metrics are off");
}

#[test]
fn check_tells_what_is_wrong_with_a_node_that_is_down_and_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.terminate();
    let fine = check(&acme);
    assert_eq!(status(&fine, "node"), "skipped", "it does not serve");
    assert_eq!(status(&fine, "store"), "ok", "its store opens: {fine:#}");
    let detail = all(&fine, "store")[0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("format 1") && detail.contains("incarnation"), "with its facts: {detail}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    set(&acme, "web", taken.local_addr().unwrap().to_string());
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let peer = acme.ready["peer_id"].as_str().unwrap();
    set(&acme, "bootstrap", vec![format!("/ip4/127.0.0.1/tcp/{dead}/p2p/{peer}")]);
    roost(&["invite", "--dir", &acme.dir.display().to_string(), "--expires", "1ms"]).ok();
    std::fs::write(acme.dir.join("invites/left.half"), "").unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let report = check(&acme);
    assert_eq!(status(&report, "ports"), "failed", "the web port is in use: {report:#}");
    assert_eq!(status(&report, "bootstrap"), "warning", "nobody listens there");
    assert_eq!(status(&report, "invites"), "warning", "an invite has expired");
    assert_eq!(status(&report, "leftovers"), "warning", "half a file is left");

    let mode = |path: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(acme.dir.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("keys/node.key", 0o644);
    mode("", 0o755);
    let report = check(&acme);
    assert_eq!(status(&report, "node_key"), "failed", "others can read the key");
    assert_eq!(status(&report, "directory"), "warning", "and look into the directory");

    let database = acme.dir.join("store/version");
    std::fs::write(database, "99\n").unwrap();
    let report = check(&acme);
    assert_eq!(status(&report, "store"), "failed", "a newer version wrote the store");
    assert!(all(&report, "store")[0]["hint"].as_str().unwrap().contains("newer"), "{report:#}");
}

#[test]
fn check_tells_every_fault_of_a_config_at_once_and_what_is_doubtful() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    acme.terminate();
    let path = acme.dir.join("config.toml");
    std::fs::write(&path, "name = \"acme\"\nlisen = []\nprofil = \"testnet\"\nweb = 1\n").unwrap();
    let report = check(&acme);
    let faults = all(&report, "config");
    assert_eq!(faults.len(), 3, "each fault is told: {report:#}");
    for key in ["listen", "profile", "quotes"] {
        assert!(faults.iter().any(|fault| fault["hint"].as_str().unwrap().contains(key)), "{key}: {faults:#?}");
    }
    let config = "name = \"acme\"\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nweb = \"127.0.0.1:0\"\n\
                  public_url = \"http://chat.acme.example\"\nmetrics = \"0.0.0.0:0\"\n";
    std::fs::write(&path, config).unwrap();
    let report = check(&acme);
    let doubts = all(&report, "config").into_iter().filter(|check| check["status"] == "warning").count();
    assert_eq!(doubts, 2, "plain HTTP, and metrics for everybody: {report:#}");
    assert_eq!(status(&report, "addresses"), "warning", "a production node that nobody can reach");
}
