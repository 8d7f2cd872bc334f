//! `kill -9`, again and again, while people talk: nothing accepted is lost, nothing is shown twice, the order stands, and each start is
//! ready within five seconds without repair.
//!
//! Two windows: under load, and 2 to 80 ms after a start. Both homes in turn; now and then a device as well. `ROOST_KILLS` raises
//! the number (`make proof`: 1,000); then rounds are kept in `target/proof/kills.json`, and an interrupted run goes on from there.

use crate::load::{Load, Reader, numbers, wait_for};
use crate::roost::{Node, Person, binary};
use roost_tests::chronicle::Seeded;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Kills of one chapter: fresh nodes, fresh people.
const CHAPTER: u64 = 50;

/// What a chapter, or all of them, came to.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    under_load: u64,
    at_start: u64,
    devices: u64,
    accepted: u64,
    shown: u64,
    ready_ms_max: u64,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            under_load: self.under_load + other.under_load,
            at_start: self.at_start + other.at_start,
            devices: self.devices + other.devices,
            accepted: self.accepted + other.accepted,
            shown: self.shown + other.shown,
            ready_ms_max: self.ready_ms_max.max(other.ready_ms_max),
        }
    }

    fn json(self, chapters: u64) -> Value {
        json!({ "chapters": chapters, "under_load": self.under_load, "at_start": self.at_start, "devices": self.devices,
                "accepted": self.accepted, "shown": self.shown, "ready_ms_max": self.ready_ms_max })
    }

    fn read(value: &Value) -> Self {
        let number = |name: &str| value[name].as_u64().unwrap_or_default();
        Self {
            under_load: number("under_load"),
            at_start: number("at_start"),
            devices: number("devices"),
            accepted: number("accepted"),
            shown: number("shown"),
            ready_ms_max: number("ready_ms_max"),
        }
    }
}

#[test]
fn nodes_killed_under_load_and_at_start_lose_nothing_and_show_nothing_twice() {
    let wanted: Option<u64> = std::env::var("ROOST_KILLS").ok().map(|kills| kills.parse().unwrap());
    let chapters = wanted.unwrap_or(CHAPTER).div_ceil(CHAPTER);
    let progress = wanted.map(|_| {
        let target = binary().parent().unwrap().parent().unwrap().join("proof");
        std::fs::create_dir_all(&target).unwrap();
        target.join("kills.json")
    });
    let start = Instant::now();
    let (mut done, mut tally) = progress.as_ref().map_or((0, Tally::default()), resume);
    if done >= chapters {
        // The last proof was finished: this is a new one.
        (done, tally) = (0, Tally::default());
    }
    while done < chapters {
        tally = tally.add(chapter(1 + done));
        done += 1;
        if let Some(path) = &progress {
            std::fs::write(path, tally.json(done).to_string()).unwrap();
        }
    }
    assert_eq!(tally.under_load, chapters * CHAPTER / 2, "half of the kills fell under load");
    assert_eq!(tally.at_start, chapters * CHAPTER / 2, "half of them at a start");
    println!(
        "kills: {} under load, {} at start, {} of devices; {} accepted, {} shown, 0 lost, 0 twice; ready within {} ms; {} s",
        tally.under_load,
        tally.at_start,
        tally.devices,
        tally.accepted,
        tally.shown,
        tally.ready_ms_max,
        start.elapsed().as_secs()
    );
}

fn resume(path: &PathBuf) -> (u64, Tally) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    (value["chapters"].as_u64().unwrap_or_default(), Tally::read(&value))
}

/// One story of 50 kills.
fn chapter(seed: u64) -> Tally {
    println!("kills: chapter with seed {seed}");
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
    let mut birch = Node::start(root.path(), "birch", &[&acme]);
    acme.fix_ports();
    birch.fix_ports();
    let (alice, erin, bob) = (acme.person("alice"), acme.person("erin"), birch.person("bob"));
    let mut reader = Reader::start(&bob);
    alice.chat(&["send", &bob.handle, "alice 0", "--wait", "custody", "--timeout", "30s"]).ok();
    erin.chat(&["send", &bob.handle, "erin 0", "--wait", "custody", "--timeout", "30s"]).ok();
    let load = Load::start(&alice, &bob.handle, "alice ");
    let mut seeded = Seeded(seed);
    let mut tally = Tally::default();
    let mut erins = Erin { person: &erin, bob: &bob.handle, next: 1, sure: BTreeSet::from([0]) };
    for round in 0..CHAPTER / 2 {
        // Under load: something must have been accepted, and shown, since the last kill.
        let (accepted, shown) = (load.accepted(), reader.count());
        wait_for("messages flow again", || load.accepted() > accepted + 2 && reader.count() > shown + 2);
        if round % 5 == 2 {
            reader.kill_and_start(&bob);
            tally.devices += 1;
        }
        if round % 5 == 4 {
            erins.send_and_die(Duration::from_millis(20 + seeded.below(150)));
            tally.devices += 1;
        }
        let node = if round % 2 == 0 { &mut acme } else { &mut birch };
        std::thread::sleep(Duration::from_millis(seeded.below(60)));
        node.kill();
        tally.under_load += 1;
        node.serve_and_kill(Duration::from_millis(2 + seeded.below(79)));
        tally.at_start += 1;
        let ready = node.serve();
        assert!(ready < Duration::from_secs(5), "seed {seed}, round {round}: ready without repair, took {ready:?}");
        tally.ready_ms_max = tally.ready_ms_max.max(u64::try_from(ready.as_millis()).unwrap());
    }
    let sent = load.stop();
    erins.finish();
    let last = [format!("alice {sent}"), format!("erin {}", erins.next)];
    wait_for("the last messages are shown", || last.iter().all(|text| reader.has(text)));
    let texts = reader.stop();
    let from_alice = numbers(&texts, "alice ");
    assert_eq!(from_alice, (0..=sent).collect::<Vec<_>>(), "seed {seed}: each of alice's messages, once, in order");
    let from_erin = numbers(&texts, "erin ");
    assert!(from_erin.is_sorted_by(|a, b| a < b), "seed {seed}: erin's in order, none twice: {from_erin:?}");
    let missing: Vec<&u64> = erins.sure.iter().filter(|number| !from_erin.contains(number)).collect();
    assert!(missing.is_empty(), "seed {seed}: what erin's device had queued when it died is shown: {missing:?}");
    tally.accepted = sent + 1 + erins.sure.len() as u64;
    tally.shown = (from_alice.len() + from_erin.len()) as u64;
    tally
}

/// Erin, whose device dies while it sends.
struct Erin<'a> {
    person: &'a Person,
    bob: &'a str,
    next: u64,
    /// What her device had on its disk when it said so.
    sure: BTreeSet<u64>,
}

impl Erin<'_> {
    fn send_and_die(&mut self, after: Duration) {
        let mut child = Command::new(binary())
            .args(["--json", "chat", "--dir"])
            .arg(&self.person.dir)
            .args(["send", self.bob, "--lines", "--wait", "queued"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let first = self.next;
        self.next += 10;
        let lines: String = (first..self.next).map(|number| format!("erin {number}\n")).collect();
        // Dropping it ends the input; the device then reports, and goes on delivering until it is killed.
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        std::thread::sleep(after);
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        let reported =
            String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.ends_with('}')).count() as u64;
        self.sure.extend(first..first + reported);
    }

    /// What still waits goes when the directory is next in use.
    fn finish(&mut self) {
        let last = format!("erin {}", self.next);
        let sent = self.person.chat(&["send", self.bob, &last, "--wait", "custody", "--timeout", "60s"]).ok();
        // Bob reads along, so his receipt may be there before the command looks.
        let state = sent["state"].as_str().unwrap_or_default();
        assert!(matches!(state, "custody" | "delivered"), "erin's device lives after its deaths: {sent}");
        self.sure.insert(self.next);
    }
}
