//! The benchmarks, small: each runs the real binary, tells every field of the contract, and loses and repeats nothing.

use crate::roost::roost;
use serde_json::Value;

/// Runs one and checks what every report has.
fn bench(name: &str, arguments: &[&str]) -> Value {
    let mut all = vec!["bench", name];
    all.extend(arguments);
    let report = roost(&all).ok();
    assert_eq!(report["bench"], name, "the report says what was measured");
    let commit = report["commit"].as_str().unwrap();
    let is_hash = commit.len() >= 40 && commit.chars().all(|digit| digit.is_ascii_hexdigit());
    assert!(is_hash || commit == "unknown", "the report names the commit: {commit}");
    assert!(["debug", "release"].contains(&report["profile"].as_str().unwrap()), "and the build");
    assert!(report["params"].is_object(), "and what it was run with");
    assert!(report["cores"].as_u64().unwrap() >= 1, "and the cores");
    assert_eq!(report["complete"], true, "it came to its end");
    let (p50, p99) = (number(&report, "/fsync_ms/p50"), number(&report, "/fsync_ms/p99"));
    assert!(p50 > 0.0 && p99 >= p50, "and what the disk takes: {p50}, {p99}");
    report
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is missing in {report}"))
}

fn ascends(report: &Value, field: &str) {
    let of = |name: &str| number(report, &format!("/{field}/{name}"));
    let all = ["p50", "p90", "p99", "max"].map(of);
    assert!(all.is_sorted() && all[0] > 0.0, "the percentiles of {field} ascend: {all:?}");
}

#[test]
fn latency_tells_acceptance_custody_and_arrival() {
    let report = bench("latency", &["--messages", "10"]);
    for field in ["accepted_ms", "custody_ms", "delivered_ms"] {
        ascends(&report, field);
    }
    let custody = number(&report, "/custody_ms/p50");
    assert!(custody > number(&report, "/accepted_ms/p50"), "custody comes after acceptance: {report}");
    assert_eq!((&report["lost"], &report["duplicates"]), (&0.into(), &0.into()), "nothing is lost or comes twice");
}

#[test]
fn throughput_counts_what_arrived_once() {
    let report = bench("throughput", &["--messages", "61", "--pairs", "3"]);
    assert!(number(&report, "/messages_per_s") > 0.0, "a rate: {report}");
    assert_eq!(report["delivered"], 61, "every message arrived: {report}");
    assert_eq!(report["in_custody"], 61, "and is held, and its sender knows");
    assert_eq!((&report["lost"], &report["duplicates"]), (&0.into(), &0.into()), "nothing is lost or comes twice");
    assert!(report.get("per_core_second").is_some(), "the figure is there, or null where the system does not tell");
}

#[test]
fn group_tells_acceptance_and_the_first_and_last_arrival() {
    let report = bench("group", &["--orgs", "2", "--members", "30", "--messages", "5"]);
    for field in ["accepted_ms", "first_delivered_ms", "last_delivered_ms"] {
        ascends(&report, field);
    }
    let last = number(&report, "/last_delivered_ms/p50");
    assert!(last >= number(&report, "/first_delivered_ms/p50"), "the last comes after the first: {report}");
    assert_eq!((&report["lost"], &report["duplicates"]), (&0.into(), &0.into()), "nothing is lost or comes twice");
    assert!(report.get("nodes_cpu_ms").is_some(), "the figure is there, or null where the system does not tell");
}

#[test]
fn idle_tells_memory_by_connection() {
    if !std::path::Path::new("/proc/self/status").exists() {
        eprintln!("SKIPPED: this system does not tell a process's memory");
        return;
    }
    let report = bench("idle", &["--connections", "20"]);
    assert_eq!(report["connections"], 20, "all of them are open when the memory is read");
    assert!(number(&report, "/rss_base_bytes") > 1_000_000.0, "a process has megabytes: {report}");
    assert!(report["rss_bytes_per_connection"].is_number(), "by connection: {report}");
}

#[test]
fn a_lookup_costs_messages_once() {
    let report = bench("lookup", &["--nodes", "5"]);
    assert_eq!(report["nodes"], 5, "as many as were asked for");
    for field in ["hops", "messages", "ms"] {
        ascends(&report, field);
    }
    assert_eq!(report["repeat_messages"], 0, "the same node asks nobody a second time");
}

#[test]
fn resume_brings_what_waited_once() {
    let report = bench("resume", &["--messages", "300"]);
    assert_eq!(report["waiting"], 300, "more than a window waited");
    let (first, last) = (number(&report, "/first_50_ms"), number(&report, "/last_ms"));
    assert!(first > 0.0 && last >= first, "the first page comes before the rest: {report}");
    assert_eq!((&report["lost"], &report["duplicates"]), (&0.into(), &0.into()), "nothing is lost or comes twice");
}

#[test]
fn resume_over_many_conversations_brings_all_of_them() {
    let report = bench("resume", &["--messages", "60", "--conversations", "3"]);
    assert_eq!(report["params"]["conversations"], 3, "as many as were asked for");
    assert_eq!((&report["lost"], &report["duplicates"]), (&0.into(), &0.into()), "nothing is lost or comes twice");
    let (first, last) = (number(&report, "/person/first_50_ms"), number(&report, "/person/last_ms"));
    assert!(first > 0.0 && last >= first, "a person's device shows the first page before the rest: {report}");
    assert!(number(&report, "/person/per_message_ms") * 60.0 >= last * 0.99, "a message's share is of all of it");
}

#[test]
fn open_tells_when_the_list_is_there_and_when_the_home_is() {
    let report = bench("open", &["--conversations", "4", "--rounds", "2"]);
    assert_eq!((&report["conversations"], &report["messages"]), (&4.into(), &16.into()), "a greeting and three unread");
    let (listed, signed_in) = (number(&report, "/listed_ms"), number(&report, "/signed_in_ms"));
    assert!(listed > 0.0 && signed_in >= listed, "the list does not wait for the home: {report}");
    assert!(
        number(&report, "/process_ms") > 0.0 && number(&report, "/store_bytes") > 0.0,
        "the rest is told: {report}"
    );
}

#[test]
fn membership_is_compared_with_openmls_alone() {
    let report = bench("membership", &["--leaves", "2,4", "--rounds", "2"]);
    let sizes = report["sizes"].as_array().unwrap();
    assert_eq!(sizes.iter().map(|size| size["leaves"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(4)], "in order");
    for size in sizes {
        for operation in ["add", "remove", "follow", "join", "judge"] {
            ascends(size, &format!("{operation}/ours_ms"));
            ascends(size, &format!("{operation}/bare_ms"));
            assert!(number(size, &format!("/{operation}/ratio")) > 0.0, "the quotient is told: {size}");
        }
        ascends(size, "stored_ms");
    }
}

#[test]
fn start_is_measured_with_an_empty_and_a_full_store() {
    let report = bench("start", &["--messages", "600"]);
    assert_eq!(report["stored"], 600, "as many as were asked for");
    assert!(number(&report, "/ready_ms") > 0.0 && number(&report, "/empty_ready_ms") > 0.0, "both are told: {report}");
    assert_eq!(report["all_ready_ms"].as_array().unwrap().len(), 5, "the median of five starts");
}

#[test]
fn fanout_tells_what_gossip_spares_the_writer_and_costs_all() {
    let report = bench("fanout", &["--homes", "3", "--messages", "3"]);
    for way in ["direct", "gossip"] {
        for size in ["short", "long"] {
            let of = |field: &str| number(&report, &format!("/{way}/{size}/{field}"));
            assert!(
                of("origin_bytes") > 0.0 && of("all_bytes") >= of("origin_bytes"),
                "bytes of {way} {size}: {report}"
            );
            assert_eq!(of("lost"), 0.0, "nothing is lost: {report}");
            ascends(&report, &format!("{way}/{size}/last_delivered_ms"));
        }
        let long = number(&report, &format!("/{way}/long/origin_bytes"));
        assert!(long > 8_000.0, "a text of 8,000 bytes leaves the writer's node at least once: {report}");
    }
}

#[test]
fn a_benchmark_that_makes_no_sense_is_refused_before_it_starts() {
    let outcome = roost(&["bench", "latency", "--orgs", "1"]);
    assert_eq!(outcome.code, 2, "one organisation has no other to write to: {}", outcome.errors);
    let outcome = roost(&["bench", "resume", "--messages", "10001"]);
    assert_eq!(outcome.code, 2, "an inbox takes 10,000: {}", outcome.errors);
    let outcome = roost(&["bench", "membership", "--leaves", "301"]);
    assert_eq!(outcome.code, 2, "a group has 300 leaves: {}", outcome.errors);
    let outcome = roost(&["bench", "throughput", "--messages", "3", "--pairs", "4"]);
    assert_eq!(outcome.code, 2, "a pair without a message: {}", outcome.errors);
}
