//! `bench idle`: what a node's memory pays for a device that is signed in and says nothing.

use super::device::{Door, Identity, ask, greet, unexpected};
use super::fsync::Probe;
use super::machine::Memory;
use super::measure::round;
use super::nodes::Nodes;
use super::wire::{READ_IDLE, Socket};
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use serde::Serialize;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The bridge takes 16,000.
const CONNECTIONS_MAX: usize = 16_000;
/// Accounts that sign up, and connections that are made, at the same time.
const AT_ONCE: usize = 64;
/// Connections from one loopback address: far below its ports.
const PER_ADDRESS: usize = 4_000;
/// Nobody connects for so long: it will not come any more.
const STALL: Duration = Duration::from_secs(30);
/// Between two looks at the node's memory.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Looks in a row that must show the same, to half a percent.
const STEADY_LOOKS: u32 = 4;
/// Looks at most.
const LOOKS_MAX: u32 = 60;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Idle {
    /// Connections that were open when the memory was read.
    pub connections: usize,
    /// RSS with them less RSS before, by connection.
    pub rss_bytes_per_connection: f64,
    /// RSS before: the accounts exist, the node was started again, nobody is connected.
    pub rss_base_bytes: u64,
    /// RSS with the connections.
    pub rss_bytes: u64,
    /// RSS of a new node: no account, nobody connected.
    pub rss_empty_bytes: u64,
    /// The same per connection, counting only memory that no file backs.
    pub anonymous_bytes_per_connection: f64,
    /// Memory before that no file backs.
    pub anonymous_base_bytes: u64,
    /// How long it took to open all of them, with sign-in.
    pub open_seconds: f64,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let connections = config.connections.unwrap_or(10_000);
    check("connections", 1, CONNECTIONS_MAX, connections)?;
    machine::allow_descriptors(connections as u64)?;
    let nodes = Nodes::start(&config.binary, 1).await?;
    let probe = Probe::start(nodes.path()).await?;
    let empty = settled(nodes.org(0)?.pid).await?;
    let identities = sign_up_all(connections, &nodes.door(0, connections).await?).await?;
    // What signing up cost is not what idling costs: the node begins anew.
    nodes.stop(0).await?;
    let org = nodes.start_again(0).await?;
    let before = settled(org.pid).await?;
    let start = machine::instant();
    let open = Arc::new(AtomicUsize::new(0));
    let mut devices = connect_all(identities, &org.web, &open);
    all_open(&mut devices, &open, connections).await?;
    let open_seconds = round(start.elapsed().as_secs_f64());
    let after = settled(org.pid).await?;
    let still_open = open.load(Ordering::Relaxed);
    devices.abort_all();
    let probe = probe.again().await?;
    nodes.end().await?;
    if still_open < connections {
        let lost = connections - still_open;
        return Err(BenchError::wire(format!("{lost} of {connections} connections ended while they were idle")));
    }
    let idle = Idle {
        connections: still_open,
        rss_bytes_per_connection: per(before.rss, after.rss, still_open),
        rss_base_bytes: before.rss,
        rss_bytes: after.rss,
        rss_empty_bytes: empty.rss,
        anonymous_bytes_per_connection: per(before.anonymous, after.anonymous, still_open),
        anonymous_base_bytes: before.anonymous,
        open_seconds,
    };
    let params = serde_json::json!({ "orgs": 1, "connections": connections });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures: Figures::Idle(idle) })
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a machine's memory are far below 2^53")]
fn per(before: u64, after: u64, connections: usize) -> f64 {
    round((after as f64 - before as f64) / connections as f64)
}

/// The memory of a process once it no longer changes, or after half a minute.
async fn settled(pid: u32) -> Result<Memory, BenchError> {
    let mut memory = machine::memory(pid)?;
    let mut steady = 0;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK_PAUSE).await;
        let now = machine::memory(pid)?;
        steady = if now.rss.abs_diff(memory.rss) <= now.rss / 200 { steady + 1 } else { 0 };
        memory = now;
        if steady >= STEADY_LOOKS {
            break;
        }
    }
    Ok(memory)
}

async fn sign_up_all(count: usize, door: &Door) -> Result<Vec<Identity>, BenchError> {
    let (mut signing, mut identities) = (JoinSet::new(), Vec::new());
    for (number, _) in (0..).zip(0..count) {
        if signing.len() >= AT_ONCE
            && let Some(signed_up) = signing.join_next().await
        {
            identities.push(joined(signed_up)?);
        }
        signing.spawn(sign_up(number, door.clone()));
    }
    while let Some(signed_up) = signing.join_next().await {
        identities.push(joined(signed_up)?);
    }
    Ok(identities)
}

fn joined<T>(result: Result<Result<T, BenchError>, tokio::task::JoinError>) -> Result<T, BenchError> {
    result.unwrap_or_else(|error| Err(BenchError::wire(error)))
}

async fn sign_up(number: u32, door: Door) -> Result<Identity, BenchError> {
    let local = format!("idle{number}");
    let (mut socket, greeting) = greet(&door.web, None, READ_IDLE).await?;
    let identity = Identity::found(number, &local, &greeting)?;
    match ask(&mut socket, &identity.sign_up(&local, &door.invite, &greeting)).await? {
        ServerFrame::SignedUp { .. } => socket.close().await,
        other => return Err(unexpected("signed_up", &other)),
    }
    Ok(identity)
}

/// A task a connection: it answers the node's pings and ends with the connection.
fn connect_all(identities: Vec<Identity>, web: &str, open: &Arc<AtomicUsize>) -> JoinSet<Result<(), BenchError>> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut devices = JoinSet::new();
    for (number, identity) in identities.into_iter().enumerate() {
        let (web, open, places) = (web.to_owned(), Arc::clone(open), Arc::clone(&places));
        devices.spawn(async move {
            let place = places.acquire().await.map_err(BenchError::wire)?;
            let mut socket = enter(&identity, &web, address(number)).await?;
            drop((place, identity));
            open.fetch_add(1, Ordering::Relaxed);
            let ended = loop {
                if let Err(error) = socket.next().await {
                    break error;
                }
            };
            open.fetch_sub(1, Ordering::Relaxed);
            Err(ended)
        });
    }
    devices
}

async fn enter(identity: &Identity, web: &str, from: Option<Ipv4Addr>) -> Result<Socket, BenchError> {
    let (mut socket, greeting) = identity.enter(web, from, READ_IDLE).await?;
    let resume = ClientFrame::Resume { id: 4, incarnation: greeting.incarnation, after: 0 };
    match ask(&mut socket, &resume).await? {
        ServerFrame::Done { .. } => Ok(socket),
        other => Err(unexpected("done", &other)),
    }
}

/// Where a connection comes from: Linux has all of 127/8, others only its first address.
fn address(number: usize) -> Option<Ipv4Addr> {
    let block = u8::try_from(number / PER_ADDRESS).unwrap_or(u8::MAX - 1);
    (cfg!(target_os = "linux") && block > 0).then(|| Ipv4Addr::new(127, 0, 0, block + 1))
}

async fn all_open(
    devices: &mut JoinSet<Result<(), BenchError>>,
    open: &AtomicUsize,
    wanted: usize,
) -> Result<(), BenchError> {
    let (mut last, mut since) = (0, machine::instant());
    loop {
        let now = open.load(Ordering::Relaxed);
        if now >= wanted {
            return Ok(());
        }
        if now > last {
            (last, since) = (now, machine::instant());
        } else if since.elapsed() > STALL {
            return Err(BenchError::TimedOut(format!("{now} of {wanted} connections are open, and no more come")));
        }
        // A device ends only by a failure.
        match tokio::time::timeout(Duration::from_millis(20), devices.join_next()).await {
            Ok(Some(ended)) => return joined(ended),
            Ok(None) => return Err(BenchError::wire("no device is left")),
            Err(_) => {}
        }
    }
}
