//! `bench throughput`: many pairs at once, each with a window of submissions under way, until all is delivered and in custody.

use super::device::{Pair, Submission};
use super::fsync::Probe;
use super::measure::round;
use super::nodes::Nodes;
use super::wire::{Glance, Kind, Socket};
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_protocol::codec;
use roost_protocol::ids::MessageId;
use roost_protocol::socket::ClientFrame;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Submissions of one sender that are not in custody yet.
const WINDOW: usize = 256;
/// Frames that a recipient takes before it acknowledges: what a real one commits at once.
const TAKE_MAX: usize = 64;
/// A side that hears nothing for so long waits in vain.
const STALL: Duration = Duration::from_secs(20);
/// How long a second arrival is waited for.
const REPEAT_WAIT: Duration = Duration::from_millis(500);
/// Messages and pairs at most.
const MESSAGES_MAX: usize = 10_000_000;
const PAIRS_MAX: usize = 256;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Throughput {
    /// From the first written frame to the last arrival or custody.
    pub messages_per_s: f64,
    /// By processor time of the nodes alone; absent where the system does not tell it.
    pub per_core_second: Option<f64>,
    /// Messages that did not arrive.
    pub lost: u64,
    /// Arrivals of a message beyond its first.
    pub duplicates: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Messages whose custody the sender was told.
    pub in_custody: u64,
    /// How long it took.
    pub seconds: f64,
    /// Processor time of the nodes.
    pub nodes_core_seconds: Option<f64>,
    /// Processor time of the measuring devices, which share the cores.
    pub devices_core_seconds: Option<f64>,
}

/// What one side saw.
pub(super) struct Side {
    socket: Socket,
    /// Messages, and how often each came.
    seen: HashMap<MessageId, Seen>,
    expected: usize,
    done: usize,
    /// Arrivals of what was not sent now.
    strays: u64,
    finished: Instant,
    failed: Option<BenchError>,
}

#[derive(Default)]
struct Seen {
    times: u64,
    counted: bool,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let (orgs, pairs) = (config.orgs.unwrap_or(2), config.pairs.unwrap_or(8));
    let messages = config.messages.unwrap_or(20_000);
    check("organisations", 2, 64, orgs)?;
    check("pairs", 1, PAIRS_MAX, pairs)?;
    check("messages", pairs, MESSAGES_MAX, messages)?;
    let nodes = Nodes::start(&config.binary, orgs).await?;
    let pids: Vec<u32> = nodes.orgs()?.iter().map(|org| org.pid).collect();
    let mut doors = Vec::new();
    for org in 0..orgs {
        doors.push(nodes.door(org, 2 * pairs).await?);
    }
    let mut met = Vec::new();
    for (number, pair) in (0..).zip(0..pairs) {
        // Pair after pair goes round the organisations, so that every node sends and receives.
        let ends = (doors.get(pair % orgs), doors.get((pair + 1) % orgs));
        let (Some(from), Some(to)) = ends else { break };
        let mut pair = Pair::meet(number, from, to).await?;
        let share = messages / pairs + usize::from((number as usize) < messages % pairs);
        let sealed = tokio::task::block_in_place(|| pair.seal_many(share))?;
        met.push((pair, sealed));
    }
    let probe = Probe::start(nodes.path()).await?;
    for (pair, _) in &mut met {
        // Sealing may take longer than a node waits for a sign of life.
        pair.sender.come_back().await?;
        pair.recipient.come_back().await?;
    }

    let (nodes_before, devices_before) = (all(&pids), machine::processor_time(std::process::id()));
    let start = machine::instant();
    let (mut senders, mut recipients) = (JoinSet::new(), JoinSet::new());
    for (pair, sealed) in met {
        let expected: Vec<MessageId> = sealed.iter().map(|submission| submission.message).collect();
        let (sender, recipient) = (pair.sender.socket, pair.recipient.socket);
        recipients.spawn(Side::receive(recipient, expected));
        senders.spawn(Side::send(sender, sealed));
    }
    let (sent, received) = (senders.join_all().await, recipients.join_all().await);
    let (nodes_after, devices_after) = (all(&pids), machine::processor_time(std::process::id()));
    let end = sent.iter().chain(&received).map(|side| side.finished).max().unwrap_or(start);
    let probe = probe.again().await?;

    let complete = sent.iter().chain(&received).all(|side| side.failed.is_none());
    let refused = sent.iter().chain(&received).find_map(|side| match &side.failed {
        Some(BenchError::Refused(refusal)) => Some(refusal.clone()),
        _ => None,
    });
    if let Some(refusal) = refused {
        return Err(BenchError::Refused(refusal));
    }
    let in_custody: usize = sent.iter().map(|side| side.done).sum();
    let delivered: usize = received.iter().map(|side| side.done).sum();
    let mut duplicates = 0;
    for mut side in received {
        side.listen_on().await;
        duplicates += side.duplicates();
    }
    nodes.end().await?;
    let seconds = end.saturating_duration_since(start).as_secs_f64();
    let used = |before: Option<Duration>, after: Option<Duration>| Some((after? - before?).as_secs_f64());
    let nodes_core_seconds = used(nodes_before, nodes_after);
    let count = f64::from(u32::try_from(delivered).unwrap_or(u32::MAX));
    let throughput = Throughput {
        messages_per_s: round(count / seconds),
        per_core_second: nodes_core_seconds.filter(|used| *used > 0.0).map(|used| round(count / used)),
        lost: messages.saturating_sub(delivered) as u64,
        duplicates,
        delivered: delivered as u64,
        in_custody: in_custody as u64,
        seconds: round(seconds),
        nodes_core_seconds,
        devices_core_seconds: used(devices_before, devices_after),
    };
    let params = serde_json::json!({ "orgs": orgs, "messages": messages, "pairs": pairs, "window": WINDOW });
    Ok(Measured { params, fsync_ms: probe.disk(), complete, figures: Figures::Throughput(throughput) })
}

/// Processor time of all nodes.
fn all(pids: &[u32]) -> Option<Duration> {
    pids.iter().map(|pid| machine::processor_time(*pid)).sum()
}

impl Side {
    /// Submits everything, with a window; ends when all is in custody.
    pub(super) async fn send(socket: Socket, sealed: Vec<Submission>) -> Self {
        let mut side = Self::new(socket, sealed.iter().map(|submission| submission.message));
        let outcome = side.submit_all(sealed.into_iter().map(|submission| submission.frame).collect()).await;
        side.end(outcome)
    }

    /// Takes everything; ends when all has arrived.
    async fn receive(socket: Socket, expected: Vec<MessageId>) -> Self {
        let mut side = Self::new(socket, expected.into_iter());
        let outcome = side.take_all().await;
        side.end(outcome)
    }

    /// Whether it came to its end.
    pub(super) fn all_done(self) -> Result<(), BenchError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn new(socket: Socket, messages: impl Iterator<Item = MessageId>) -> Self {
        let seen: HashMap<_, _> = messages.map(|message| (message, Seen::default())).collect();
        Self { socket, expected: seen.len(), seen, done: 0, strays: 0, finished: machine::instant(), failed: None }
    }

    fn end(mut self, outcome: Result<(), BenchError>) -> Self {
        self.finished = machine::instant();
        self.failed = outcome.err();
        self
    }

    async fn submit_all(&mut self, mut frames: VecDeque<Vec<u8>>) -> Result<(), BenchError> {
        let mut under_way = 0;
        while self.done < self.expected {
            while under_way < WINDOW
                && let Some(frame) = frames.pop_front()
            {
                self.socket.feed(frame).await?;
                under_way += 1;
            }
            self.socket.flush().await?;
            let before = self.done;
            let mut next = Some(self.heard().await?);
            while let Some(glance) = next {
                if glance.kind == Kind::Custody {
                    glance.messages.iter().for_each(|message| self.count(*message));
                }
                next = self.socket.glance_at_hand()?;
            }
            under_way -= self.done - before;
        }
        Ok(())
    }

    async fn take_all(&mut self) -> Result<(), BenchError> {
        while self.done < self.expected {
            let first = self.heard().await?;
            self.take(first).await?;
        }
        Ok(())
    }

    /// Takes a frame and those at hand, and acknowledges them together.
    async fn take(&mut self, first: Glance) -> Result<(), BenchError> {
        let (mut next, mut last, mut taken) = (Some(first), None, 0);
        while let Some(glance) = next {
            if let Some(message) = glance.message() {
                match self.seen.get_mut(&message) {
                    Some(seen) => seen.times += 1,
                    None => self.strays += 1,
                }
                self.count(message);
            }
            last = last.max(glance.held());
            taken += 1;
            next = if taken < TAKE_MAX { self.socket.glance_at_hand()? } else { None };
        }
        match last {
            Some(inbox) => self.socket.write(codec::encode(&ClientFrame::Ack { inbox })).await,
            None => Ok(()),
        }
    }

    fn count(&mut self, message: MessageId) {
        if let Some(seen) = self.seen.get_mut(&message).filter(|seen| !seen.counted) {
            seen.counted = true;
            self.done += 1;
        }
    }

    async fn heard(&mut self) -> Result<Glance, BenchError> {
        super::wire::within(STALL, "waiting for a frame", self.socket.glance()).await
    }

    /// Waits for what must not come.
    async fn listen_on(&mut self) {
        while let Ok(Ok(glance)) = tokio::time::timeout(REPEAT_WAIT, self.socket.glance()).await {
            if self.take(glance).await.is_err() {
                break;
            }
        }
    }

    fn duplicates(&self) -> u64 {
        self.strays + self.seen.values().map(|seen| seen.times.saturating_sub(1)).sum::<u64>()
    }
}
