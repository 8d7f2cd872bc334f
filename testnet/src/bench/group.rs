//! `bench group`: one message to a conversation of many, one at a time, from the written frame to acceptance, the first
//! and the last arrival, and what all nodes together compute for it.
//!
//! The sender's device makes a real MLS group of all; the others take their entries, say that they hold them, and open
//! nothing, so that what is measured is the nodes.

use super::device::{Device, Submission, ask, unexpected};
use super::fsync::Probe;
use super::measure::{Durations, Spread, round};
use super::nodes::Nodes;
use super::wire::Kind;
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_crypto::group::{Change, GroupEngine as _};
use roost_crypto::identity_log::IdentityLog;
use roost_protocol::conversation::{Commit, ConversationState, Creation, Participant, Policy, Role};
use roost_protocol::ids::{ConversationId, GroupId, MessageId, OperationId};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{Bytes, codec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Newcomers of one commit: as many as fit one submission with their logs.
const BATCH: usize = 25;
/// Messages before the clock.
const WARM_UP: usize = 10;
/// A message that takes longer to reach all is lost.
const MESSAGE_WAIT: Duration = Duration::from_secs(30);
/// Arrivals that wait to be counted.
pub(super) const ARRIVALS_MAX: usize = 4_096;
/// Messages at most.
const MESSAGES_MAX: usize = 1_000_000;

/// What was measured; milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// From the written frame to `accepted`: on disk at the sender's node.
    pub accepted_ms: Spread,
    /// To the first recipient's socket.
    pub first_delivered_ms: Spread,
    /// To the last recipient's socket.
    pub last_delivered_ms: Spread,
    /// Processor time of all nodes, for one message; absent where the system does not tell it.
    pub nodes_cpu_ms: Option<f64>,
    /// Arrivals that did not come.
    pub lost: u64,
    /// Arrivals of a message at one recipient beyond its first.
    pub duplicates: u64,
}

/// A message came to a recipient.
pub(super) struct Arrival {
    at: usize,
    message: MessageId,
    when: Instant,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let (orgs, members) = (config.orgs.unwrap_or(10), config.members.unwrap_or(100));
    let messages = config.messages.unwrap_or(200);
    check("organisations", 1, 64, orgs)?;
    check("members", 2, 100, members)?;
    check("messages", 1, MESSAGES_MAX, messages)?;
    let nodes = Nodes::start(&config.binary, orgs).await?;
    let pids: Vec<u32> = nodes.orgs()?.iter().map(|org| org.pid).collect();
    let mut doors = Vec::new();
    for org in 0..orgs {
        doors.push(nodes.door(org, members).await?);
    }
    let mut devices = Vec::new();
    for number in 0..members {
        let Some(door) = doors.get(number % orgs) else { break };
        let count = u32::try_from(number).unwrap_or(u32::MAX);
        devices.push(Device::sign_up(count, &format!("member{number}"), door).await?);
    }
    let mut sender = devices.remove(0);
    let group = sender.gather(&devices).await?;
    let (arrive, mut arrivals) = mpsc::channel(ARRIVALS_MAX);
    let mut listening = JoinSet::new();
    for (at, mut device) in devices.into_iter().enumerate() {
        device.come_back().await?;
        listening.spawn(listen(device, at, arrive.clone()));
    }
    drop(arrive);
    sender.come_back().await?;

    let mut unwatched = Figure::new()?;
    for number in 0..WARM_UP {
        let submission = sender.seal_text(group, number as u64, &format!("message {number}"))?;
        one(&mut sender, submission, members - 1, &mut arrivals, &mut unwatched).await?;
    }
    let mut probe = Probe::start(nodes.path()).await?;
    let mut figure = Figure::new()?;
    let sealed: Vec<Submission> = (0..messages)
        .map(|number| WARM_UP + number)
        .map(|number| sender.seal_text(group, number as u64, &format!("message {number}")))
        .collect::<Result<_, _>>()?;
    let before = all(&pids);
    for submission in sealed {
        one(&mut sender, submission, members - 1, &mut arrivals, &mut figure).await?;
    }
    let used = all(&pids).zip(before).map(|(after, before)| after.saturating_sub(before));
    probe = probe.again().await?;
    listening.abort_all();
    nodes.end().await?;
    let count = f64::from(u32::try_from(messages).unwrap_or(u32::MAX));
    let measured = Group {
        accepted_ms: figure.accepted.spread(),
        first_delivered_ms: figure.first.spread(),
        last_delivered_ms: figure.last.spread(),
        nodes_cpu_ms: used.map(|used| round(used.as_secs_f64() * 1_000.0 / count)),
        lost: (messages as u64).saturating_sub(figure.last.len()),
        duplicates: figure.duplicates,
    };
    let params = serde_json::json!({ "orgs": orgs, "members": members, "messages": messages, "warm_up": WARM_UP });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures: Figures::Group(measured) })
}

pub(super) struct Figure {
    accepted: Durations,
    pub(super) first: Durations,
    pub(super) last: Durations,
    duplicates: u64,
}

impl Figure {
    pub(super) fn new() -> Result<Self, BenchError> {
        Ok(Self { accepted: Durations::new()?, first: Durations::new()?, last: Durations::new()?, duplicates: 0 })
    }
}

/// Sends one message and waits until it has come to all.
pub(super) async fn one(
    sender: &mut Device,
    submission: Submission,
    recipients: usize,
    arrivals: &mut mpsc::Receiver<Arrival>,
    figure: &mut Figure,
) -> Result<(), BenchError> {
    let message = submission.message;
    let (mut came, mut accepted, mut first, mut last) = (BTreeMap::new(), false, None, None);
    let deadline = tokio::time::sleep(MESSAGE_WAIT);
    tokio::pin!(deadline);
    let start = machine::instant();
    sender.socket.write(submission.frame).await?;
    while !accepted || came.len() < recipients {
        tokio::select! {
            glance = sender.socket.glance() => {
                let (glance, since) = (glance?, start.elapsed());
                if glance.kind == Kind::Accepted && !accepted {
                    accepted = true;
                    figure.accepted.record(since);
                }
            }
            arrival = arrivals.recv() => {
                let Some(arrival) = arrival else { return Err(BenchError::wire("every recipient's connection ended")) };
                if arrival.message == message {
                    let times: &mut u64 = came.entry(arrival.at).or_default();
                    *times += 1;
                    if *times == 1 {
                        first.get_or_insert(arrival.when);
                        last = last.max(Some(arrival.when));
                    }
                }
            }
            () = &mut deadline => {
                let limit = MESSAGE_WAIT.as_secs();
                let (got, accepted) = (came.len(), if accepted { "accepted" } else { "not accepted" });
                let what = format!("a message is {accepted} and at {got} of {recipients} after {limit} s");
                return Err(BenchError::TimedOut(what));
            }
        }
    }
    figure.duplicates += came.values().map(|times| times.saturating_sub(1)).sum::<u64>();
    for (durations, when) in [(&mut figure.first, first), (&mut figure.last, last)] {
        if let Some(when) = when {
            durations.record(when.saturating_duration_since(start));
        }
    }
    Ok(())
}

/// Takes whatever comes and says that it is held; ends with the connection.
pub(super) async fn listen(mut device: Device, at: usize, arrive: mpsc::Sender<Arrival>) {
    while let Ok(glance) = device.socket.glance().await {
        if let Some(message) = glance.message()
            && arrive.send(Arrival { at, message, when: machine::instant() }).await.is_err()
        {
            return;
        }
        if let Some(inbox) = glance.held()
            && device.acknowledge(inbox).await.is_err()
        {
            return;
        }
    }
}

/// Processor time of all nodes.
fn all(pids: &[u32]) -> Option<Duration> {
    pids.iter().map(|pid| machine::processor_time(*pid)).sum()
}

impl Device {
    /// Makes a conversation with all of these, some of them a commit.
    pub(super) async fn gather(&mut self, others: &[Self]) -> Result<GroupId, BenchError> {
        let group = GroupId(*self.identity.account().as_bytes());
        let mut state = ConversationState {
            conversation: ConversationId::of_group(&group),
            generation: 0,
            term: 0,
            hub: self.identity.home()?,
            successors: Vec::new(),
            participants: vec![Participant { account: self.identity.account(), role: Role::Admin }],
            policy: Policy::Admins,
        };
        for (number, batch) in others.chunks(BATCH).enumerate() {
            let (mut logs, mut packages) = (Vec::new(), Vec::new());
            for other in batch {
                let log = self.find(&other.identity.handle()?).await?;
                packages.extend(self.packages_of(log.account()).await?);
                state.participants.push(Participant { account: log.account(), role: Role::Member });
                logs.push(log.log().clone());
            }
            state.participants.sort_by_key(|participant| participant.account);
            let mut operation = OperationId(*b"gather a group 0");
            operation.0[15] = u8::try_from(number).unwrap_or(u8::MAX);
            if number == 0 {
                logs.push(self.identity.log().clone());
                self.found(group, &state, operation, logs, &packages).await?;
            } else {
                self.enlarge(group, &state, operation, logs, packages).await?;
            }
        }
        Ok(group)
    }

    async fn found(
        &mut self,
        group: GroupId,
        state: &ConversationState,
        operation: OperationId,
        logs: Vec<IdentityLog>,
        packages: &[Bytes],
    ) -> Result<(), BenchError> {
        let (created, writes) = self.engine.create(&self.rows, group.as_bytes(), &codec::encode(state), packages)?;
        writes.apply_to(&mut self.rows);
        let creation = Creation {
            operation,
            group,
            state: state.clone(),
            logs,
            commit: created.commit,
            welcome: created.welcome,
            group_info: created.group_info,
            tree: created.tree,
        };
        match ask(&mut self.socket, &ClientFrame::Create { id: 7, creation }).await? {
            ServerFrame::Created { .. } => Ok(()),
            other => Err(unexpected("created", &other)),
        }
    }

    async fn enlarge(
        &mut self,
        group: GroupId,
        state: &ConversationState,
        operation: OperationId,
        logs: Vec<IdentityLog>,
        add: Vec<Bytes>,
    ) -> Result<(), BenchError> {
        let conv_state = Some(Bytes(codec::encode(state)));
        let change = Change { add, conv_state, ..Change::default() };
        let (made, writes) = self.engine.commit(&self.rows, group.as_bytes(), &change)?;
        writes.apply_to(&mut self.rows);
        let commit = Commit {
            operation,
            group,
            epoch: made.epoch,
            commit: made.commit.clone(),
            welcome: made.welcome,
            group_info: made.group_info,
            logs,
            leaves: Vec::new(),
        };
        match ask(&mut self.socket, &ClientFrame::Commit { id: 8, commit }).await? {
            ServerFrame::Committed { .. } => {}
            other => return Err(unexpected("committed", &other)),
        }
        let (_, writes) = self.engine.merge(&self.rows, group.as_bytes(), made.commit.as_slice(), machine::now_ms())?;
        writes.apply_to(&mut self.rows);
        Ok(())
    }
}
