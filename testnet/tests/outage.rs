//! A day's outage of one node, in virtual time: elsewhere the group is changed again and again and much is said in it, and when
//! the node is back its people read everything, each once. `ROOST_OUTAGE` raises the number of changes; there are ten messages to each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use roost_testnet::sim::{Engine, Options, Report, run};

/// A day, seconds.
const DAY_S: u64 = 24 * 3600;

/// Runs a day without a node: so many changes of the group elsewhere, and ten messages for each.
fn a_day_without_a_node(seed: u64, changes: u64, engine: Engine) -> Report {
    let text = format!(
        r#"{{"name": "outage", "nodes": 3, "accounts": 4, "messages": 0, "outage_s": {DAY_S}, "groups": 1, "group_messages": {},
        "changes": {changes}, "safety_s": {}, "liveness_s": 3600, "faults": {{"drop": 0, "duplicate": 0, "reorder": 0, "delay": 0,
        "partitions": 0, "one_way": 0, "kills": 0, "start_kills": 0, "pauses": 0, "node_clocks": 0, "device_clocks": 0,
        "full_disks": 0, "slow_disks": 0, "lost_stores": 0, "device_kills": 0, "offline": 0, "hangups": 0, "lie": null}}}}"#,
        changes * 10,
        DAY_S + 600,
    );
    let options = Options { engine, scenario: Some((text, "outage.json".into())), ..Options::default() };
    let report = run(seed, &options).expect("the world can be set up");
    let violations = serde_json::to_string_pretty(&report.violations).unwrap();
    assert!(report.ok, "a promise was broken:\n{violations}\nreached: {:?}", report.reached);
    assert_eq!(report.faults.get("outage"), Some(&1), "one node was down");
    assert!(report.reached["epochs_of_groups"] >= changes, "the group was changed meanwhile: {:?}", report.reached);
    assert_eq!(report.accepted, changes * 10, "everything written was accepted");
    assert_eq!(report.shown, changes * 10, "and is read");
    for gap in ["gaps_unopened", "gaps_asked", "gaps_other"] {
        assert_eq!(report.reached.get(gap), None, "everything opens when the node is back: {gap}");
    }
    report
}

#[test]
fn a_days_outage_of_one_node_leaves_nothing_unread() {
    let changes = std::env::var("ROOST_OUTAGE").ok().map_or(100, |changes| changes.parse().unwrap());
    let report = a_day_without_a_node(1, changes, Engine::Symbolic);
    println!("{} changes, {} messages, {} steps", changes, report.shown, report.operations);
}

#[test]
fn a_days_outage_with_real_mls_leaves_nothing_unread() {
    a_day_without_a_node(2, 20, Engine::Mls);
}
