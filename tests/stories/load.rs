//! Load that does not stop: one who writes, each message told apart; one who reads, in a process that can be killed.

use crate::roost::{Person, binary};
use roost_client::Session;
use roost_client::core::message::State;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Messages that the writer has on the way at once.
const WINDOW: usize = 16;
/// How long anything may take to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who writes as long as she may, in one session.
pub struct Load {
    stopping: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<u64>,
}

impl Load {
    /// Writes `prefix` and a number from 1, again and again.
    pub fn start(alice: &Person, to: &str, prefix: &'static str) -> Self {
        Self::with_window(alice, to, prefix, WINDOW)
    }

    /// The same, each message once the one before it was accepted: whatever is accepted is so by the newest batch.
    pub fn one_by_one(alice: &Person, to: &str, prefix: &'static str) -> Self {
        Self::with_window(alice, to, prefix, 1)
    }

    fn with_window(alice: &Person, to: &str, prefix: &'static str, window: usize) -> Self {
        let (stopping, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (dir, to) = (alice.dir.clone(), to.to_owned());
        let (stop, count) = (stopping.clone(), accepted.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async move {
                let session = Session::open(&dir, None).await.unwrap();
                let mut on_the_way = std::collections::VecDeque::new();
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) || !on_the_way.is_empty() {
                    if on_the_way.len() < window && !stop.load(Ordering::Relaxed) {
                        sent += 1;
                        on_the_way.push_back(session.send(&to, &format!("{prefix}{sent}")).await.unwrap());
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    } else if let Some(first) = on_the_way.pop_front() {
                        session.wait(first, State::Accepted, PATIENCE).await.expect("a message is accepted in the end");
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                session.close().await.unwrap();
                sent
            })
        });
        Self { stopping, accepted, thread }
    }

    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The number of messages, all accepted.
    pub fn stop(self) -> u64 {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Bob, who reads all the time, in a process of its own, so that it can be killed.
pub struct Reader {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Texts printed before the last death of the device.
    before: Vec<String>,
}

impl Reader {
    pub fn start(bob: &Person) -> Self {
        let mut child = Command::new(binary())
            .args(["--json", "chat", "--dir"])
            .arg(&bob.dir)
            .args(["recv", "--wait", "1h"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let thread = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // A line that was cut by the death of the process was not shown.
                if let Ok(message) = serde_json::from_str::<Value>(&line) {
                    sink.lock().unwrap().push(message["text"].as_str().unwrap_or_default().to_owned());
                }
            }
        });
        Self { child, lines, thread: Some(thread), before: Vec::new() }
    }

    pub fn count(&self) -> usize {
        self.before.len() + self.lines.lock().unwrap().len()
    }

    pub fn has(&self, text: &str) -> bool {
        let lines = self.lines.lock().unwrap();
        lines.iter().chain(&self.before).any(|line| line == text)
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        let printed = std::mem::take(&mut *self.lines.lock().unwrap());
        // Marked after stdout was flushed: what was printed in the very last moment is printed again, and nothing else. The repetition
        // is the beginning of what the new process prints and the end of what the old one did.
        let again = printed.iter().take_while(|text| self.before.contains(text)).count();
        assert_eq!(
            printed[..again],
            self.before[self.before.len() - again..],
            "only what was printed last, before it could be marked, is printed again"
        );
        self.before.extend(printed.into_iter().skip(again));
    }

    pub fn kill_and_start(&mut self, bob: &Person) {
        self.end();
        let mut next = Self::start(bob);
        next.before = std::mem::take(&mut self.before);
        *self = next;
    }

    pub fn stop(mut self) -> Vec<String> {
        self.end();
        std::mem::take(&mut self.before)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers of one writer, in the order in which they were shown.
pub fn numbers(texts: &[String], prefix: &str) -> Vec<u64> {
    texts.iter().filter_map(|text| text.strip_prefix(prefix)?.parse().ok()).collect()
}

/// Waits for a condition; the story fails when it does not come.
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
