//! `bench lookup`: what finding an account costs among so many nodes: rounds, messages, time; and what asking again costs.
//!
//! The nodes are swarms in a few processes of their own (see `swarms`), which end with their stdin, at the latest when the
//! benchmark is dropped.

use super::fsync::Probe;
use super::measure::{Counts, Durations, Spread, round};
use super::swarms::{Answer, Found, Order};
use super::wire::within;
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use futures::future::try_join_all;
use roost_node::network::Multiaddr;
use roost_protocol::handle::Handle;
use serde::Serialize;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// Nodes that one machine should run as swarms.
const NODES_MAX: usize = 1_000;
/// Nodes of one process at most.
const HOST_NODES_MAX: usize = 50;
/// Descriptors of a process that are no connections.
const DESCRIPTORS_SPARE: u64 = 256;
/// Accounts that are looked for, each at another node.
const ACCOUNTS: usize = 10;
/// Lookups at most, each by another node or of another account.
const LOOKUPS: usize = 100;
/// An order is carried out within this time.
const ORDER_WAIT: Duration = Duration::from_secs(60);
/// Between two looks at the connections.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// They must stay as many, to a hundredth, for so many looks, and are waited for so many at most: a second, a minute.
const STEADY_LOOKS: u32 = 5;
const LOOKS_MAX: u32 = 300;
/// A process that has nothing more to do ends within this time.
const END_WAIT: Duration = Duration::from_secs(10);

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lookup {
    /// Nodes.
    pub nodes: usize,
    /// Rounds of a lookup's longest query, as the node counts them.
    pub hops: Spread,
    /// Requests of a lookup: name, organisation, handle and log together.
    pub messages: Spread,
    /// Their mean.
    pub messages_mean: f64,
    /// Milliseconds of a lookup.
    pub ms: Spread,
    /// Requests of the same lookup at the same node again; the largest.
    pub repeat_messages: u32,
    /// Lookups.
    pub lookups: usize,
    /// Of these, found at once.
    pub found_at_once: usize,
    /// Connections of a node, the mean.
    pub connections_per_node: f64,
    /// How long the nodes took to join.
    pub join_seconds: f64,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let nodes = config.nodes.unwrap_or(10);
    check("nodes", 2, NODES_MAX, nodes)?;
    let dir = tempfile::Builder::new().prefix("roost-bench-").tempdir();
    let dir = dir.map_err(BenchError::io("making a directory"))?;
    let probe = Probe::start(dir.path()).await?;
    let per_host = nodes_per_host(nodes)?;
    let mut hosts = Hosts::start(&config.binary, nodes.div_ceil(per_host))?;
    let start = machine::instant();
    hosts.join_all(nodes).await?;
    let connections = hosts.settled().await?;
    let join_seconds = round(start.elapsed().as_secs_f64());
    let tally = hosts.look_up_all(nodes).await?;
    let processes = hosts.0.len();
    hosts.end().await?;
    let probe = probe.again().await?;
    let lookup = Lookup {
        nodes,
        hops: tally.hops.spread(),
        messages: tally.messages.spread(),
        messages_mean: tally.messages.mean(),
        ms: tally.ms.spread(),
        repeat_messages: tally.repeat_messages,
        lookups: tally.lookups,
        found_at_once: tally.found_at_once,
        connections_per_node: round(mean(connections, nodes)),
        join_seconds,
    };
    let params = serde_json::json!({ "nodes": nodes, "accounts": ACCOUNTS.min(nodes), "processes": processes });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures: Figures::Lookup(lookup) })
}

/// As many as one process has descriptors for, should each of them meet all others.
fn nodes_per_host(nodes: usize) -> Result<usize, BenchError> {
    let allowed = machine::allow_most_descriptors();
    let wanted = nodes as u64 + DESCRIPTORS_SPARE;
    let fit = allowed.saturating_sub(DESCRIPTORS_SPARE) / nodes as u64;
    match usize::try_from(fit).unwrap_or(usize::MAX) {
        0 => Err(BenchError::Descriptors { wanted, allowed }),
        fit => Ok(fit.min(HOST_NODES_MAX)),
    }
}

fn mean(sum: usize, count: usize) -> f64 {
    let number = |value: usize| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    number(sum) / number(count)
}

struct Tally {
    hops: Counts,
    messages: Counts,
    ms: Durations,
    repeat_messages: u32,
    lookups: usize,
    found_at_once: usize,
}

impl Tally {
    fn new() -> Result<Self, BenchError> {
        let (hops, messages, ms) = (Counts::new()?, Counts::new()?, Durations::new()?);
        Ok(Self { hops, messages, ms, repeat_messages: 0, lookups: 0, found_at_once: 0 })
    }

    fn add(&mut self, found: &Found) {
        self.hops.record(found.hops);
        self.messages.record(found.messages);
        self.ms.record(found.took);
        self.repeat_messages = self.repeat_messages.max(found.repeat_messages);
        self.lookups += 1;
        self.found_at_once += usize::from(found.misses == 0);
    }
}

/// A process with swarms.
struct Host {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Host {
    fn start(binary: &Path) -> Result<Self, BenchError> {
        let mut child = tokio::process::Command::new(binary)
            .args(["bench", "swarms"])
            .env("ROOST_LOG", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(BenchError::io("starting a process of nodes"))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::wire("a process of nodes has no stdin or stdout"));
        };
        Ok(Self { child, orders, answers: BufReader::new(answers).lines() })
    }

    async fn tell(&mut self, order: &Order) -> Result<Answer, BenchError> {
        let asking = async {
            let mut line = serde_json::to_vec(order).map_err(BenchError::wire)?;
            line.push(b'\n');
            self.orders.write_all(&line).await.map_err(BenchError::io("ordering nodes"))?;
            let line = self.answers.next_line().await.map_err(BenchError::io("hearing from nodes"))?;
            let line = line.ok_or_else(|| BenchError::wire("a process of nodes ended"))?;
            match serde_json::from_str(&line).map_err(BenchError::wire)? {
                Answer::Failed(why) => Err(BenchError::Wire(why)),
                answer => Ok(answer),
            }
        };
        within(ORDER_WAIT, "nodes of the directory", asking).await
    }

    async fn join(&mut self, number: u32, bootstrap: Vec<Multiaddr>) -> Result<Vec<Multiaddr>, BenchError> {
        match self.tell(&Order::Join { number, bootstrap }).await? {
            Answer::Joined { addresses } => Ok(addresses),
            _ => Err(mixed_up()),
        }
    }

    async fn end(self) -> Result<(), BenchError> {
        let Self { mut child, orders, .. } = self;
        drop(orders);
        let ended = async { child.wait().await.map(drop).map_err(BenchError::io("ending nodes")) };
        within(END_WAIT, "ending nodes", ended).await
    }
}

fn mixed_up() -> BenchError {
    BenchError::wire("a process of nodes answered another order")
}

/// All of them; node `n` lives in the process `n` modulo their number.
struct Hosts(Vec<Host>);

impl Hosts {
    fn start(binary: &Path, count: usize) -> Result<Self, BenchError> {
        (0..count).map(|_| Host::start(binary)).collect::<Result<_, _>>().map(Self)
    }

    /// Wave after wave, one node a process: each meets the first node and one of those that came before it.
    async fn join_all(&mut self, nodes: usize) -> Result<(), BenchError> {
        let width = self.0.len();
        let mut known: Vec<Multiaddr> = Vec::new();
        let mut number = 0;
        while number < nodes {
            // The first node comes alone: nobody is there to be met.
            let wave = if number == 0 { 1 } else { width - number % width }.min(nodes - number);
            let joins = self.0.iter_mut().skip(number % width).take(wave).zip(number..).map(|(host, number)| {
                let first = known.first().cloned();
                let other = known.get(number / 2).filter(|other| Some(*other) != first.as_ref()).cloned();
                let bootstrap = first.into_iter().chain(other).collect();
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                host.join(number, bootstrap)
            });
            known.extend(try_join_all(joins).await?.into_iter().filter_map(|addresses| addresses.into_iter().next()));
            number += wave;
        }
        Ok(())
    }

    /// Waits until the connections do not change; gives their number, each counted at both ends.
    async fn settled(&mut self) -> Result<usize, BenchError> {
        let (mut last, mut steady) = (0_usize, 0);
        for _ in 0..LOOKS_MAX {
            let mut now = 0;
            for host in &mut self.0 {
                match host.tell(&Order::Count).await? {
                    Answer::Connected(count) => now += count,
                    _ => return Err(mixed_up()),
                }
            }
            steady = if now.abs_diff(last) <= now / 100 { steady + 1 } else { 0 };
            last = now;
            if steady >= STEADY_LOOKS {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(last)
    }

    async fn look_up_all(&mut self, nodes: usize) -> Result<Tally, BenchError> {
        let mut handles: Vec<(usize, Handle)> = Vec::new();
        for number in (0..nodes).step_by((nodes / ACCOUNTS).max(1)).take(ACCOUNTS) {
            match self.tell(number, |number| Order::Publish { number }).await? {
                Answer::Published { handle } => handles.push((number, handle)),
                _ => return Err(mixed_up()),
            }
        }
        let mut tally = Tally::new()?;
        // By nodes all over the ring: ids of nodes are hashes, so any spread of numbers is one of ids.
        let others = nodes - 1;
        let rounds = others.min(LOOKUPS / handles.len().max(1));
        for round in 0..rounds {
            for (home, handle) in &handles {
                let asker = (home + 1 + round * others / rounds) % nodes;
                let order = |number| Order::Resolve { number, handle: handle.clone() };
                match self.tell(asker, order).await? {
                    Answer::Found(found) => tally.add(&found),
                    _ => return Err(mixed_up()),
                }
            }
        }
        Ok(tally)
    }

    async fn tell(&mut self, node: usize, order: impl FnOnce(u32) -> Order) -> Result<Answer, BenchError> {
        let width = self.0.len();
        let host = self.0.get_mut(node % width).ok_or_else(|| BenchError::wire("no process has this node"))?;
        host.tell(&order(u32::try_from(node).unwrap_or(u32::MAX))).await
    }

    async fn end(self) -> Result<(), BenchError> {
        try_join_all(self.0.into_iter().map(Host::end)).await.map(drop)
    }
}
