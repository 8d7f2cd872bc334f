//! `bench resume`: a device comes back and takes what waited for it.

use super::device::Pair;
use super::fsync::Probe;
use super::measure::ms;
use super::nodes::Nodes;
use super::throughput::Side;
use super::wire::within;
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_protocol::ids::MessageId;
use roost_protocol::limits::INBOX_ENTRIES_MAX;
use serde::Serialize;
use std::collections::HashSet;
use std::time::Duration;

/// Messages that fill the first page of an application.
const FIRST: usize = 50;
/// Frames that the device takes before it acknowledges: what a real one commits at once.
const TAKE_MAX: usize = 64;
/// Nothing for so long is a loss.
const STALL: Duration = Duration::from_secs(20);
/// How long a second arrival is waited for.
const REPEAT_WAIT: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resume {
    /// Messages that waited.
    pub waiting: usize,
    /// From the written `resume` frame to the fiftieth message, or the last where there are fewer.
    pub first_50_ms: f64,
    /// To the last message.
    pub last_ms: f64,
    /// Connecting and signing in before it, not counted above.
    pub sign_in_ms: f64,
    /// Messages that did not come.
    pub lost: usize,
    /// Arrivals of a message beyond its first.
    pub duplicates: usize,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let (orgs, waiting) = (config.orgs.unwrap_or(2), config.messages.unwrap_or(10_000));
    check("organisations", 2, 64, orgs)?;
    check("waiting messages", 1, usize::try_from(INBOX_ENTRIES_MAX).unwrap_or(usize::MAX), waiting)?;
    let nodes = Nodes::start(&config.binary, orgs).await?;
    let (from, to) = (nodes.door(0, 1).await?, nodes.door(orgs - 1, 1).await?);
    let mut pair = Pair::meet(0, &from, &to).await?;
    pair.recipient.leave().await?;
    let sealed = tokio::task::block_in_place(|| pair.seal_many(waiting))?;
    let mut missing: HashSet<MessageId> = sealed.iter().map(|submission| submission.message).collect();
    pair.sender.come_back().await?;
    let Pair { sender, mut recipient, .. } = pair;
    Side::send(sender.socket, sealed).await.all_done()?;

    let probe = Probe::start(nodes.path()).await?;
    let start = machine::instant();
    recipient.enter_again().await?;
    let sign_in = start.elapsed();
    let start = machine::instant();
    recipient.socket.say(&recipient.resume()).await?;
    let (mut first, mut duplicates) = (None, 0);
    let first_page = waiting - FIRST.min(waiting);
    while !missing.is_empty() {
        let (mut next, mut last, mut taken) =
            (Some(within(STALL, "resuming", recipient.socket.glance()).await?), None, 0);
        while let Some(glance) = next {
            if let Some(message) = glance.message() {
                duplicates += usize::from(!missing.remove(&message));
            }
            if missing.len() <= first_page {
                first.get_or_insert_with(|| start.elapsed());
            }
            last = last.max(glance.held());
            taken += 1;
            next = if taken < TAKE_MAX && !missing.is_empty() { recipient.socket.glance_at_hand()? } else { None };
        }
        if let Some(inbox) = last.filter(|_| !missing.is_empty()) {
            recipient.acknowledge(inbox).await?;
        }
    }
    let last = start.elapsed();
    while let Ok(Ok(glance)) = tokio::time::timeout(REPEAT_WAIT, recipient.socket.glance()).await {
        duplicates += usize::from(glance.message().is_some());
    }
    let probe = probe.again().await?;
    recipient.socket.close().await;
    nodes.end().await?;
    let resume = Resume {
        waiting,
        first_50_ms: ms(first.unwrap_or(last)),
        last_ms: ms(last),
        sign_in_ms: ms(sign_in),
        lost: missing.len(),
        duplicates,
    };
    let params = serde_json::json!({ "orgs": orgs, "messages": waiting });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures: Figures::Resume(resume) })
}
