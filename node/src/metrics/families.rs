//! The families: what each metric is called, what it means, which labels it has.

use super::backlog::Backlog;
use super::process::Process;
use crate::network::clock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Cause {
    pub(super) cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct State {
    pub(super) state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Direction {
    pub(super) direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Way {
    pub(super) way: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Refusal {
    pub(super) by: &'static str,
    pub(super) to: &'static str,
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) direction: &'static str,
    pub(super) kind: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Lookup {
    pub(super) source: &'static str,
    pub(super) outcome: &'static str,
}

type Histograms = Family<Kind, Histogram, fn() -> Histogram>;

/// All families of one node; clones of a family share their numbers.
pub struct Metrics {
    pub(super) registry: Registry,
    pub(super) backlog: Mutex<Backlog>,
    pub(super) relay_queue: Gauge,
    pub(crate) relay_wait_seconds: Histogram,
    pub(crate) batch_commands: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(super) store_bytes: Gauge,
    pub(super) inputs: Family<Kind, Counter>,
    pub(super) refusals: Family<Refusal, Counter>,
    pub(super) accepted: Counter,
    pub(super) repeated: Counter,
    pub(super) entries_delivered: Counter,
    pub(super) outbox_entries: Gauge,
    pub(super) custody_lag_seconds: Gauge<f64, AtomicU64>,
    pub(super) custody_seconds: Histogram,
    pub(crate) deliveries_in_flight: Gauge,
    pub(super) retries: Family<Cause, Counter>,
    pub(super) inbox_entries: Counter,
    pub(super) inbox_waiting: Gauge,
    pub(super) lookups: Family<Lookup, Counter>,
    pub(super) lookup_hops: Histogram,
    pub(super) lookup_messages: Histogram,
    pub(super) lookup_seconds: Histogram,
    pub(super) publications: Family<Outcome, Counter>,
    pub(crate) publications_waiting: Gauge,
    pub(crate) records_held: Gauge,
    pub(super) peers_connected: Gauge,
    pub(crate) peer_clock_ahead_seconds: Gauge,
    pub(super) requests: Family<Request, Counter>,
    pub(super) request_seconds: Histograms,
    pub(super) node_bytes: Family<Direction, Counter>,
    pub(super) bridge_connections: Family<State, Gauge>,
    pub(super) bridge_frames: Family<Direction, Counter>,
    pub(super) bridge_closes: Family<Cause, Counter>,
    pub(super) pushes: Family<Outcome, Counter>,
    pub(crate) pushes_waiting: Gauge,
    pub(crate) push_seconds: Histogram,
    pub(super) blobs_held: Gauge,
    pub(super) blob_bytes_held: Gauge,
    pub(super) blob_parts: Family<Way, Counter>,
    pub(super) blob_part_bytes: Family<Way, Counter>,
    pub(super) blob_fetches: Family<Outcome, Counter>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Metrics(…)")
    }
}

/// From 0.1 ms to 13 s.
fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

/// From 1 ms to 35 minutes: another organisation's node may be down for long.
fn long() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 22))
}

/// Small numbers, to 512.
fn small() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 10))
}

struct Register<'a>(&'a mut Registry);

impl Register<'_> {
    fn add<M: prometheus_client::registry::Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

impl Metrics {
    /// A new registry, with libp2p's families beside ours, which the swarm's task feeds.
    pub(crate) fn new() -> (Arc<Self>, libp2p::metrics::Metrics) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let swarm = libp2p::metrics::Metrics::new(&mut registry);
        let mut roost = Register(registry.sub_registry_with_prefix("roost"));
        roost.0.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let relay_queue = roost.add("relay_queue", "Commands that wait for the relay", Gauge::default());
        let relay_wait_seconds = roost.add("relay_wait_seconds", "Time a device's frame waited for the relay", short());
        let batch_commands = roost.add("batch_commands", "Commands handled over one commit", small());
        let commit_seconds = roost.add("commit_seconds", "Time to make a batch durable", short());
        let store_bytes = roost.add("store_bytes", "Size of the store on disk", Gauge::default());
        let inputs = roost.add("inputs", "Inputs of the relay by kind", Family::default());
        let refusals =
            roost.add("refusals", "Refusals by who refused, to whom, and their stable code", Family::default());
        let accepted = roost.add("accepted", "Messages that are durable here for the first time", Counter::default());
        let repeated = roost.add("repeated", "Messages that were submitted again", Counter::default());
        let entries_delivered =
            roost.add("entries_delivered", "Entries handed to the connections of devices", Counter::default());
        let outbox_entries = roost.add(
            "outbox_entries",
            "Entries, one an account, that other homes have not given custody for",
            Gauge::default(),
        );
        let custody_lag_seconds = roost.add(
            "custody_lag_seconds",
            "Age of the oldest entry without custody, since this process knows it",
            Gauge::<f64, AtomicU64>::default(),
        );
        let custody_seconds =
            roost.add("custody_seconds", "Time from an entry's commit to the other home's custody", long());
        let deliveries_in_flight =
            roost.add("deliveries_in_flight", "Deliveries that other homes have not answered", Gauge::default());
        let retries = roost.add("delivery_failures", "Deliveries to be tried again, by cause", Family::default());
        let inbox_entries = roost.add("inbox_entries", "Entries put into inboxes", Counter::default());
        let inbox_waiting =
            roost.add("inbox_waiting", "Inbox entries that no device has acknowledged", Gauge::default());
        let lookups =
            roost.add("lookups", "Lookups of handles by where the answer came from and outcome", Family::default());
        let lookup_hops = roost.add("lookup_hops", "Rounds of a lookup in the directory", small());
        let lookup_messages = roost.add("lookup_messages", "Requests of a lookup in the directory", small());
        let lookup_seconds = roost.add("lookup_seconds", "Time of a lookup in the directory", long());
        let publications = roost.add("publications", "Publications of records by outcome", Family::default());
        let publications_waiting =
            roost.add("publications_waiting", "Records that wait to be published or are", Gauge::default());
        let records_held = roost.add("records_held", "Directory records held here", Gauge::default());
        let peers_connected = roost.add("peers_connected", "Nodes connected", Gauge::default());
        let peer_clock_ahead_seconds = roost.add(
            "peer_clock_ahead_seconds",
            "How far the signing time of a peer's record was ahead of this machine's clock, at most",
            Gauge::default(),
        );
        let requests = roost.add(
            "node_requests",
            "Requests between nodes by direction, kind and outcome; Hello is not counted outwards",
            Family::default(),
        );
        let request_seconds = roost.add(
            "node_request_seconds",
            "Time of a request to another node, with its connection",
            Histograms::new_with_constructor(short),
        );
        let node_bytes = roost.add(
            "node_bytes",
            "Bytes of connections between nodes by direction, without TCP's own",
            Family::default(),
        );
        let bridge_connections =
            roost.add("bridge_connections", "WebSockets that are open, and signed in", Family::default());
        let bridge_frames = roost.add("bridge_frames", "Frames of devices by direction", Family::default());
        let bridge_closes = roost.add("bridge_closes", "WebSockets that ended, by cause", Family::default());
        let pushes = roost.add("pushes", "Pushes to devices that are away, by outcome", Family::default());
        let pushes_waiting = roost.add("pushes_waiting", "Pushes that wait to leave", Gauge::default());
        let push_seconds = roost.add("push_seconds", "Time of a request to a push service", long());
        let blobs_held = roost.add("blobs_held", "Blobs that are whole here", Gauge::default());
        let blob_bytes_held = roost.add("blob_bytes_held", "Bytes of the blobs that are whole here", Gauge::default());
        let ways = "by whether a device put or read them, or they were fetched from or given to a node";
        let blob_parts = roost.add("blob_parts", &format!("Parts of blobs {ways}"), Family::default());
        let blob_part_bytes = roost.add("blob_part_bytes", &format!("Bytes of such parts {ways}"), Family::default());
        let blob_fetches =
            roost.add("blob_fetches", "Fetches of blobs from other nodes that ended, by outcome", Family::default());
        let metrics = Self {
            registry,
            backlog: Mutex::default(),
            relay_queue,
            relay_wait_seconds,
            batch_commands,
            commit_seconds,
            store_bytes,
            inputs,
            refusals,
            accepted,
            repeated,
            entries_delivered,
            outbox_entries,
            custody_lag_seconds,
            custody_seconds,
            deliveries_in_flight,
            retries,
            inbox_entries,
            inbox_waiting,
            lookups,
            lookup_hops,
            lookup_messages,
            lookup_seconds,
            publications,
            publications_waiting,
            records_held,
            peers_connected,
            peer_clock_ahead_seconds,
            requests,
            request_seconds,
            node_bytes,
            bridge_connections,
            bridge_frames,
            bridge_closes,
            pushes,
            pushes_waiting,
            push_seconds,
            blobs_held,
            blob_bytes_held,
            blob_parts,
            blob_part_bytes,
            blob_fetches,
        };
        (Arc::new(metrics), swarm)
    }

    /// Families of a bridge without a node: its own stories.
    pub fn detached() -> Arc<Self> {
        Self::new().0
    }
}

/// Since when.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now.
    pub fn start() -> Self {
        Self(clock::instant())
    }

    /// Until now.
    pub fn seconds(&self) -> f64 {
        clock::instant().saturating_duration_since(self.0).as_secs_f64()
    }
}
