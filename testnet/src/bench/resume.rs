//! `bench resume`: a device comes back and takes what waited for it.

use super::device::{Device, Door, Pair, Submission};
use super::fsync::Probe;
use super::measure::ms;
use super::nodes::Nodes;
use super::person::{Person, PersonResumed, write_all};
use super::throughput::Side;
use super::wire::within;
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_protocol::ids::GroupId;
use roost_protocol::limits::INBOX_ENTRIES_MAX;
use serde::Serialize;
use std::collections::HashSet;
use std::time::Duration;
use tokio::task::JoinSet;

/// Messages that fill the first page of an application.
const FIRST: usize = 50;
/// Frames that the device takes before it acknowledges: what a real one commits at once.
const TAKE_MAX: usize = 64;
/// Conversations at most: an account more for each.
const CONVERSATIONS_MAX: usize = 1_000;
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
    /// As many messages in as many conversations, at a real device: opened, kept, answered.
    pub person: PersonResumed,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let (orgs, waiting) = (config.orgs.unwrap_or(2), config.messages.unwrap_or(10_000));
    check("organisations", 2, 64, orgs)?;
    check("waiting messages", 1, usize::try_from(INBOX_ENTRIES_MAX).unwrap_or(usize::MAX), waiting)?;
    let conversations = config.conversations.unwrap_or(1);
    check("conversations", 1, waiting.min(CONVERSATIONS_MAX), conversations)?;
    machine::allow_descriptors(4 * conversations as u64)?;
    let nodes = Nodes::start(&config.binary, orgs).await?;
    let (from, to) = (nodes.door(0, 2 * conversations).await?, nodes.door(orgs - 1, 2).await?);
    let (mut recipient, senders) = meet(conversations, &from, &to).await?;
    recipient.leave().await?;
    let (mut missing, mut sending) = (HashSet::new(), JoinSet::new());
    for (number, (mut sender, group)) in senders.into_iter().enumerate() {
        let share = waiting / conversations + usize::from(number < waiting % conversations);
        let seal = |count| sender.seal_text(group, count, &format!("message {count} of sender {number}"));
        let sealed: Vec<Submission> =
            tokio::task::block_in_place(|| (1..).take(share).map(seal).collect::<Result<_, _>>())?;
        missing.extend(sealed.iter().map(|submission| submission.message));
        sender.come_back().await?;
        sending.spawn(Side::send(sender.socket, sealed));
    }
    for side in sending.join_all().await {
        side.all_done()?;
    }
    if missing.len() != waiting {
        return Err(BenchError::wire("two messages have one id"));
    }

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
    recipient.socket.close().await;
    let person = Person::sign_up("person", &to, nodes.path()).await?;
    let first_writer = u32::try_from(conversations + 1).unwrap_or(u32::MAX);
    let writers = person.meet(first_writer, conversations, &from).await?;
    let waits = write_all(writers, waiting).await?;
    let person = person.resume(waits).await?;
    let probe = probe.again().await?;
    nodes.end().await?;
    let resume = Resume {
        waiting,
        first_50_ms: ms(first.unwrap_or(last)),
        last_ms: ms(last),
        sign_in_ms: ms(sign_in),
        lost: missing.len(),
        duplicates,
        person,
    };
    let params = serde_json::json!({ "orgs": orgs, "messages": waiting, "conversations": conversations });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures: Figures::Resume(resume) })
}

/// One who is written to by so many, in a conversation each, of which one message was opened.
async fn meet(conversations: usize, from: &Door, to: &Door) -> Result<(Device, Vec<(Device, GroupId)>), BenchError> {
    let mut recipient = Device::sign_up(0, "recipient", to).await?;
    recipient.be_found_by_many().await?;
    let mut senders = Vec::new();
    for number in (1..).take(conversations) {
        let sender = Device::sign_up(number, &format!("sender{number}"), from).await?;
        let pair = Pair::begin(number, sender, recipient).await?;
        senders.push((pair.sender, pair.group));
        recipient = pair.recipient;
    }
    Ok((recipient, senders))
}
