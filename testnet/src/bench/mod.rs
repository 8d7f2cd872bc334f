//! Benchmarks: what Roost costs on this machine, measured with real processes, real sockets and a real disk.
//!
//! The measuring devices are cheap on purpose: messages are sealed and encoded before the clock starts, and nothing that
//! arrives is opened behind it. Aims, peers and how to read the figures: `docs/benchmarks.md`. It never judges a figure.

mod device;
mod fanout;
mod fsync;
mod group;
mod idle;
mod latency;
mod lookup;
mod machine;
mod measure;
mod membership;
mod nodes;
mod open;
mod person;
mod resume;
mod start;
mod swarms;
mod throughput;
mod wire;

pub use fanout::Fanout;
pub use group::Group;
pub use idle::Idle;
pub use latency::Latency;
pub use lookup::Lookup;
pub use measure::{Counts, Disk, Durations, Spread};
pub use membership::{Compared, Membership, Size};
pub use open::Open;
pub use person::PersonResumed;
pub use resume::Resume;
pub use start::Start;
pub use swarms::host_swarms;
pub use throughput::Throughput;

use crate::TestnetError;
use roost_crypto::group::GroupError;
use roost_node::network::NetworkError;
use roost_node::store::StoreError;
use roost_protocol::refusal::Refusal;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bench {
    /// One message at a time between two nodes.
    Latency,
    /// Many pairs at once between nodes.
    Throughput,
    /// One message at a time to a conversation of many.
    Group,
    /// The same conversation over many homes, delivered and gossiped.
    Fanout,
    /// Memory of idle connections.
    Idle,
    /// Finding an account among many nodes.
    Lookup,
    /// A device that comes back.
    Resume,
    /// A node that starts.
    Start,
    /// Adding, removing, following and joining, against OpenMLS alone.
    Membership,
    /// A client with many conversations that is opened.
    Open,
}

/// How it is measured; what is absent takes the benchmark's own default.
#[derive(Debug, Clone)]
pub struct BenchConfig {
    /// The binary whose processes the nodes will be.
    pub binary: PathBuf,
    /// The commit that it is built from.
    pub commit: String,
    /// Organisations, a node each.
    pub orgs: Option<usize>,
    /// Messages.
    pub messages: Option<usize>,
    /// Pairs of devices.
    pub pairs: Option<usize>,
    /// Accounts of a conversation.
    pub members: Option<usize>,
    /// Idle connections.
    pub connections: Option<usize>,
    /// Nodes of a lookup.
    pub nodes: Option<usize>,
    /// Homes of a conversation.
    pub homes: Option<usize>,
    /// Conversations of one account.
    pub conversations: Option<usize>,
    /// Sizes of a group, in leaves; none are the benchmark's own.
    pub leaves: Vec<usize>,
    /// How often each operation on a group is measured.
    pub rounds: Option<usize>,
}

/// What was measured, and on what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Which benchmark.
    pub bench: Bench,
    /// The commit that the binary is built from.
    pub commit: String,
    /// `debug` or `release`.
    pub profile: &'static str,
    /// What it was run with.
    pub params: serde_json::Value,
    /// Processors.
    pub cores: usize,
    /// fdatasync of 4 KiB appends in the same directory and run, milliseconds.
    pub fsync_ms: Disk,
    /// Whether it came to its end; else the figures tell how far it came.
    pub complete: bool,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The figures of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figures {
    /// Of [`Bench::Latency`].
    Latency(Latency),
    /// Of [`Bench::Throughput`].
    Throughput(Throughput),
    /// Of [`Bench::Group`].
    Group(Group),
    /// Of [`Bench::Fanout`].
    Fanout(Fanout),
    /// Of [`Bench::Idle`].
    Idle(Idle),
    /// Of [`Bench::Lookup`].
    Lookup(Lookup),
    /// Of [`Bench::Resume`].
    Resume(Resume),
    /// Of [`Bench::Start`].
    Start(Start),
    /// Of [`Bench::Membership`].
    Membership(Membership),
    /// Of [`Bench::Open`].
    Open(Open),
}

/// What a benchmark gives to its report.
struct Measured {
    params: serde_json::Value,
    fsync_ms: Disk,
    complete: bool,
    figures: Figures,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The nodes do not run.
    #[error(transparent)]
    Testnet(#[from] TestnetError),
    /// More or less than makes sense.
    #[error("expected {min} to {max} {what}, got {got}")]
    Size {
        /// Of what.
        what: &'static str,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
        /// What was asked.
        got: usize,
    },
    /// The system does not let a process have so many files and sockets.
    #[error("expected {wanted} open descriptors a process, the system allows {allowed}")]
    Descriptors {
        /// What is needed.
        wanted: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// The system does not tell.
    #[error("this system does not tell {what}")]
    Unknown {
        /// What.
        what: &'static str,
    },
    /// A file or a socket could not be used.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// A node or the measuring device said something that does not fit.
    #[error("{0}")]
    Wire(String),
    /// A node refused what the measuring device asked.
    #[error("a node refused: {}", .0.message)]
    Refused(Refusal),
    /// What was waited for did not come.
    #[error("{0}")]
    TimedOut(String),
    /// The measuring device's conversation failed.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The store that is filled failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A swarm failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The bounds of a histogram are wrong.
    #[error("a histogram: {0}")]
    Histogram(#[from] hdrhistogram::errors::CreationError),
}

impl BenchError {
    fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    fn wire(what: impl fmt::Display) -> Self {
        Self::Wire(what.to_string())
    }
}

/// Measures. The nodes are gone when this returns, and when it is dropped.
///
/// # Errors
/// [`BenchError`]. What was measured in part is a report that is not `complete`.
pub async fn bench(bench: Bench, config: &BenchConfig) -> Result<Report, BenchError> {
    let measured = match bench {
        Bench::Latency => latency::run(config).await,
        Bench::Throughput => throughput::run(config).await,
        Bench::Group => group::run(config).await,
        Bench::Fanout => fanout::run(config).await,
        Bench::Idle => idle::run(config).await,
        Bench::Lookup => lookup::run(config).await,
        Bench::Resume => resume::run(config).await,
        Bench::Start => start::run(config).await,
        Bench::Membership => membership::run(config).await,
        Bench::Open => open::run(config).await,
    }?;
    Ok(Report {
        bench,
        commit: config.commit.clone(),
        profile: machine::profile(),
        params: measured.params,
        cores: machine::cores(),
        fsync_ms: measured.fsync_ms,
        complete: measured.complete,
        figures: measured.figures,
    })
}

fn check(what: &'static str, min: usize, max: usize, got: usize) -> Result<(), BenchError> {
    if (min..=max).contains(&got) { Ok(()) } else { Err(BenchError::Size { what, min, max, got }) }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { profile, commit, cores, fsync_ms, .. } = self;
        let commit = commit.get(..12).unwrap_or(commit);
        writeln!(formatter, "{profile} build of {commit}, {cores} cores, {}", self.params)?;
        writeln!(formatter, "fdatasync of 4 KiB  p50 {:.3} ms   p99 {:.3} ms", fsync_ms.p50, fsync_ms.p99)?;
        write!(formatter, "{}", self.figures)?;
        if self.complete { Ok(()) } else { write!(formatter, "\nNOT COMPLETE: it ended before its end") }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(latency) => write!(
                formatter,
                "accepted   ms  {}\ncustody    ms  {}\ndelivered  ms  {}\n\
                 accepted is {:.2} fdatasyncs; delivered {:.3} ms after it; {} lost, {} twice",
                latency.accepted_ms,
                latency.custody_ms,
                latency.delivered_ms,
                latency.accepted_by_fsync,
                latency.delivered_after_accepted_ms,
                latency.lost,
                latency.duplicates
            ),
            Self::Throughput(throughput) => write!(
                formatter,
                "{:.0} messages/s, {} messages a core-second of the nodes; {} delivered in {:.2} s, {} lost, {} twice",
                throughput.messages_per_s,
                throughput.per_core_second.map_or_else(|| "unknown".to_owned(), |rate| format!("{rate:.0}")),
                throughput.delivered,
                throughput.seconds,
                throughput.lost,
                throughput.duplicates
            ),
            Self::Group(group) => write!(
                formatter,
                "accepted         ms  {}\nfirst delivered  ms  {}\nlast delivered   ms  {}\n\
                 {} ms of processor time a message in all nodes; {} lost, {} twice",
                group.accepted_ms,
                group.first_delivered_ms,
                group.last_delivered_ms,
                group.nodes_cpu_ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms:.2}")),
                group.lost,
                group.duplicates
            ),
            Self::Fanout(fanout) => {
                for (how, sizes) in [("delivered", &fanout.direct), ("gossiped", &fanout.gossip)] {
                    for (size, way) in [("short", &sizes.short), ("long", &sizes.long)] {
                        writeln!(
                            formatter,
                            "{how:9} {size:5}  bytes of the writer's node {:>9.0}, of all {:>9.0}; first ms {}; last ms {}; {} lost",
                            way.origin_bytes, way.all_bytes, way.first_delivered_ms, way.last_delivered_ms, way.lost
                        )?;
                    }
                }
                write!(formatter, "of one message, without what nodes say anyway")
            }
            Self::Idle(idle) => write!(
                formatter,
                "{} idle connections: {:.0} bytes each ({:.0} of them anonymous); \
                 at rest {:.1} MiB without accounts, {:.1} MiB with these",
                idle.connections,
                idle.rss_bytes_per_connection,
                idle.anonymous_bytes_per_connection,
                mib(idle.rss_empty_bytes),
                mib(idle.rss_base_bytes)
            ),
            Self::Lookup(lookup) => write!(
                formatter,
                "{} lookups among {} nodes\nhops          {}\nmessages      {}\nms            {}\n\
                 asked again: {} messages; {:.1} connections a node; joined in {:.1} s",
                lookup.lookups,
                lookup.nodes,
                lookup.hops,
                lookup.messages,
                lookup.ms,
                lookup.repeat_messages,
                lookup.connections_per_node,
                lookup.join_seconds
            ),
            Self::Resume(resume) => write!(
                formatter,
                "{} waiting messages: the first 50 in {:.1} ms, the last in {:.1} ms; {} lost, {} twice\n\
                 a person's device, from the start: the first 50 in {:.1} ms, the last in {:.1} ms; {:.3} ms a message, \
                 {} ms of them processor time",
                resume.waiting,
                resume.first_50_ms,
                resume.last_ms,
                resume.lost,
                resume.duplicates,
                resume.person.first_50_ms,
                resume.person.last_ms,
                resume.person.per_message_ms,
                resume.person.cpu_ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms:.3}"))
            ),
            Self::Start(start) => write!(
                formatter,
                "ready in {:.0} ms with {} stored messages ({:.1} MiB), in {:.0} ms with an empty store",
                start.ready_ms,
                start.stored,
                mib(start.store_bytes),
                start.empty_ready_ms
            ),
            Self::Membership(membership) => membership::in_words(membership, formatter),
            Self::Open(open) => write!(
                formatter,
                "{} conversations, {} messages, {:.1} MiB on disk: the list in {:.1} ms, signed in after {:.1} ms; \
                 a process that tells how it stands: {:.1} ms",
                open.conversations,
                open.messages,
                mib(open.store_bytes),
                open.listed_ms,
                open.signed_in_ms,
                open.process_ms
            ),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
