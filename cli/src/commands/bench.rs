//! `roost bench`: what Roost costs on this machine.

use crate::output::{Failure, Printer};
use roost_testnet::{Bench, BenchConfig, BenchError};

/// Its flags. Each benchmark takes those that it knows; the others have no meaning for it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is measured
    #[arg(value_enum)]
    bench: Which,
    /// Organisations, a node each (latency, throughput, resume: 2, group: 10)
    #[arg(long)]
    orgs: Option<usize>,
    /// Messages (latency 1,000, group 200, fanout 100, throughput 20,000, resume 10,000, start 100,000)
    #[arg(long)]
    messages: Option<usize>,
    /// Pairs of devices (throughput: 8)
    #[arg(long)]
    pairs: Option<usize>,
    /// Accounts of the conversation (group: 100)
    #[arg(long)]
    members: Option<usize>,
    /// Idle connections (idle: 10,000)
    #[arg(long)]
    connections: Option<usize>,
    /// Nodes of the directory (lookup: 10)
    #[arg(long)]
    nodes: Option<usize>,
    /// Homes of the conversation (fanout: 10)
    #[arg(long)]
    homes: Option<usize>,
    /// Conversations of one account (resume: 1, open: 500)
    #[arg(long)]
    conversations: Option<usize>,
    /// Sizes of the group, in leaves (membership: 2,10,50,100,300)
    #[arg(long, value_delimiter = ',')]
    leaves: Vec<usize>,
    /// How often each operation is measured (membership: 50, open: 5)
    #[arg(long)]
    rounds: Option<usize>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Which {
    /// One message at a time between two nodes: accepted, custody, delivered
    Latency,
    /// Many pairs at once between nodes, until all is delivered and in custody
    Throughput,
    /// One message at a time to a conversation of many: accepted, first and last arrival
    Group,
    /// One message at a time to a conversation over many homes: delivered, and gossiped
    Fanout,
    /// What a node's memory pays for a connection that says nothing
    Idle,
    /// What finding an account costs among so many nodes
    Lookup,
    /// A device comes back and takes what waited for it
    Resume,
    /// A node starts, with an empty and with a full store
    Start,
    /// Adding, removing, following and joining, against OpenMLS alone
    Membership,
    /// A client with many conversations is opened
    Open,
    /// The nodes of `lookup`, as its lines on stdin say
    #[value(hide = true)]
    Swarms,
}

/// Runs it; the number is the exit code.
///
/// # Errors
/// [`Failure`]: exit 3 where something did not come in time.
pub async fn run(args: Args, out: Printer) -> Result<u8, Failure> {
    let bench = match args.bench {
        Which::Latency => Bench::Latency,
        Which::Throughput => Bench::Throughput,
        Which::Group => Bench::Group,
        Which::Fanout => Bench::Fanout,
        Which::Idle => Bench::Idle,
        Which::Lookup => Bench::Lookup,
        Which::Resume => Bench::Resume,
        Which::Start => Bench::Start,
        Which::Membership => Bench::Membership,
        Which::Open => Bench::Open,
        Which::Swarms => return Ok(roost_testnet::bench::host_swarms().await.map(|()| 0)?),
    };
    let config = BenchConfig {
        binary: std::env::current_exe().map_err(Failure::io("finding this binary"))?,
        commit: env!("BUILD_COMMIT").into(),
        orgs: args.orgs,
        messages: args.messages,
        pairs: args.pairs,
        members: args.members,
        connections: args.connections,
        nodes: args.nodes,
        homes: args.homes,
        conversations: args.conversations,
        leaves: args.leaves,
        rounds: args.rounds,
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(Failure::io("listening for signals"))?;
    // Dropped, the benchmark ends its nodes.
    let report = tokio::select! {
        report = roost_testnet::bench(bench, &config) => report?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::failed("interrupted", "interrupted", "")),
        _ = terminate.recv() => return Err(Failure::failed("interrupted", "interrupted", "")),
    };
    out.print(&report, &report)?;
    if report.complete {
        Ok(0)
    } else {
        Err(Failure::timed_out("the benchmark ended before its end; the figures say how far it came", "run it alone"))
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Testnet(error) => error.into(),
            BenchError::Refused(refusal) => refusal.into(),
            BenchError::Size { .. } => Self::usage("size", error, ""),
            BenchError::TimedOut(_) => Self::timed_out(error, "is the machine busy? run it alone"),
            BenchError::Descriptors { .. } => {
                Self::failed("descriptors", error, "raise it (`ulimit -Hn` as root, limits.conf), or ask for less")
            }
            error => Self::failed("bench", error, ""),
        }
    }
}
