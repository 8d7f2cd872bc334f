//! `bench latency`: one message at a time between two nodes, from the written frame to acceptance, custody and arrival.

use super::device::Pair;
use super::fsync::Probe;
use super::measure::{Durations, Spread, round};
use super::nodes::Nodes;
use super::wire::Kind;
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_protocol::ids::MessageId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Messages before the clock: connections, caches and branch predictors are warm then.
const WARM_UP: usize = 20;
/// A message that takes longer is lost.
const MESSAGE_WAIT: Duration = Duration::from_secs(20);
/// Parts of a run between which the disk is measured again.
const PARTS: usize = 4;
/// Messages at most.
const MESSAGES_MAX: usize = 1_000_000;

/// What was measured; milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// From the written frame to `accepted`: on disk at the sender's node.
    pub accepted_ms: Spread,
    /// To `custody`: on disk at the recipient's node, and the sender knows.
    pub custody_ms: Spread,
    /// To the recipient's socket: the first arrival of the entry.
    pub delivered_ms: Spread,
    /// Arrivals of a message beyond its first.
    pub duplicates: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// `accepted_ms.p50` by `fsync_ms.p50`.
    pub accepted_by_fsync: f64,
    /// `delivered_ms.p50` less `accepted_ms.p50`.
    pub delivered_after_accepted_ms: f64,
}

/// How often each message came.
type Arrivals = BTreeMap<MessageId, u64>;

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let (orgs, messages) = (config.orgs.unwrap_or(2), config.messages.unwrap_or(1_000));
    check("organisations", 2, 64, orgs)?;
    check("messages", 1, MESSAGES_MAX, messages)?;
    let nodes = Nodes::start(&config.binary, orgs).await?;
    let (from, to) = (nodes.door(0, 1).await?, nodes.door(orgs - 1, 1).await?);
    let mut pair = Pair::meet(0, &from, &to).await?;
    let mut arrivals = Arrivals::new();
    let mut unwatched = Figure::new()?;
    for _ in 0..WARM_UP {
        one(&mut pair, &mut unwatched, &mut arrivals).await?;
    }
    let mut figure = Figure::new()?;
    let mut probe = Probe::start(nodes.path()).await?;
    for part in 0..PARTS {
        for _ in (part * messages / PARTS)..((part + 1) * messages / PARTS) {
            one(&mut pair, &mut figure, &mut arrivals).await?;
        }
        probe = probe.again().await?;
    }
    pair.part().await;
    nodes.end().await?;
    let fsync_ms = probe.disk();
    let (accepted_ms, delivered_ms) = (figure.accepted.spread(), figure.delivered.spread());
    let latency = Latency {
        accepted_ms,
        custody_ms: figure.custody.spread(),
        delivered_ms,
        duplicates: arrivals.values().map(|times| times.saturating_sub(1)).sum(),
        lost: (messages as u64).saturating_sub(figure.delivered.len()),
        accepted_by_fsync: round(accepted_ms.p50 / fsync_ms.p50),
        delivered_after_accepted_ms: round(delivered_ms.p50 - accepted_ms.p50),
    };
    let params = serde_json::json!({ "orgs": orgs, "messages": messages, "warm_up": WARM_UP });
    Ok(Measured { params, fsync_ms, complete: true, figures: Figures::Latency(latency) })
}

struct Figure {
    accepted: Durations,
    custody: Durations,
    delivered: Durations,
}

impl Figure {
    fn new() -> Result<Self, BenchError> {
        Ok(Self { accepted: Durations::new()?, custody: Durations::new()?, delivered: Durations::new()? })
    }
}

/// Sends one message and waits for all that comes of it.
async fn one(pair: &mut Pair, figure: &mut Figure, arrivals: &mut Arrivals) -> Result<(), BenchError> {
    let submission = pair.seal()?;
    let message = submission.message;
    arrivals.insert(message, 0);
    let deadline = tokio::time::sleep(MESSAGE_WAIT);
    tokio::pin!(deadline);
    let (mut accepted, mut custody, mut delivered, mut placed) = (false, false, false, None);
    let start = machine::instant();
    pair.sender.socket.write(submission.frame).await?;
    while !(accepted && custody && delivered && placed.is_some()) {
        tokio::select! {
            glance = pair.sender.socket.glance() => {
                let (glance, since) = (glance?, start.elapsed());
                if glance.kind == Kind::Accepted && !accepted {
                    accepted = true;
                    figure.accepted.record(since);
                } else if glance.kind == Kind::Custody && glance.messages.contains(&message) && !custody {
                    custody = true;
                    figure.custody.record(since);
                }
            }
            glance = pair.recipient.socket.glance() => {
                let (glance, since) = (glance?, start.elapsed());
                if let Some(arrived) = glance.message() {
                    if arrived == message && !delivered {
                        delivered = true;
                        figure.delivered.record(since);
                    }
                    *arrivals.entry(arrived).or_default() += 1;
                }
                // As a real device: what has its position is acknowledged.
                if let Some(inbox) = glance.held() {
                    pair.recipient.acknowledge(inbox).await?;
                    placed = Some(inbox);
                }
            }
            () = &mut deadline => {
                let missing = [(accepted, "accepted"), (custody, "custody"), (delivered, "delivered")];
                let missing: Vec<_> = missing.iter().filter(|(seen, _)| !seen).map(|(_, name)| *name).collect();
                let limit = MESSAGE_WAIT.as_secs();
                return Err(BenchError::TimedOut(format!("a message is not {} after {limit} s", missing.join(", "))));
            }
        }
    }
    Ok(())
}
