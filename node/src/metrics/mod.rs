//! What an operator can measure of a node, in one registry: the relay, deliveries, the directory, the bridge, the process.
//!
//! Fed at the edges (driver, network, bridge), never by the rules, which only expose [`Note`]s. No label holds an id, a handle
//! or an address; every label's values are names in the code, so the number of series is bounded.

mod backlog;
mod families;
mod process;

pub use families::{Metrics, Stopwatch};

use crate::network::{NetworkError, Resolution, Traffic};
use crate::relay::{Fetched, Input, Note};
use backlog::Backlog;
use roost_protocol::peer::NodeResponse;
use roost_protocol::refusal::Code;
use roost_protocol::socket::{LookupSource, ServerFrame};
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// Files of the store that are looked at: sled keeps a handful, and large values are not files.
const STORE_FILES_MAX: usize = 10_000;

/// A delivery without an answer yet.
pub(crate) struct Flight(Arc<Metrics>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.deliveries_in_flight.dec();
    }
}

/// Who refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuser {
    /// The rules, to a device.
    ToDevice,
    /// The rules or the network, to a node.
    ToNode,
    /// The bridge, to a device.
    Bridge,
}

impl Metrics {
    /// The whole in the OpenMetrics text format; the gauges that only a look can tell are renewed first.
    pub fn text(&self, store: &Path, queue: usize, peers: usize, now_ms: u64) -> String {
        self.relay_queue.set(count(queue));
        self.peers_connected.set(count(peers));
        self.store_bytes.set(directory_bytes(store));
        let (entries, oldest_ms) = {
            let backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
            (backlog.entries(), backlog.oldest_ms())
        };
        self.outbox_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        let lag_ms = oldest_ms.map_or(0, |at| now_ms.saturating_sub(at));
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a process's life are far below 2^52")]
        self.custody_lag_seconds.set(lag_ms as f64 / 1000.0);
        let mut text = String::new();
        // Writing into a string does not fail; a partial text lacks its `# EOF`, which scrapers refuse.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics were not written");
        }
        text
    }

    /// An input goes to the rules.
    pub(crate) fn input(&self, input: &Input) {
        self.inputs.get_or_create(&families::Kind { kind: input.name() }).inc();
    }

    /// The rules have handled a batch.
    pub(crate) fn taken(&self, commands: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most some hundred commands")]
        self.batch_commands.observe(commands as f64);
    }

    /// A part of a blob went this way.
    pub(crate) fn blob_part(&self, way: &'static str, bytes: usize) {
        self.blob_parts.get_or_create(&families::Way { way }).inc();
        self.blob_part_bytes.get_or_create(&families::Way { way }).inc_by(bytes as u64);
    }

    /// A fetch of a blob has ended.
    pub(crate) fn blob_fetched(&self, fetched: Fetched) {
        let outcome = match fetched {
            Fetched::Whole => "whole",
            Fetched::NotNow => "not_now",
            Fetched::Never => "never",
        };
        self.blob_fetches.get_or_create(&families::Outcome { outcome }).inc();
    }

    /// What counts the bytes between this node and others.
    pub(crate) fn traffic(&self) -> Traffic {
        let of = |direction| self.node_bytes.get_or_create(&families::Direction { direction }).clone();
        Traffic { inbound: of("in"), outbound: of("out") }
    }

    /// Bytes that came from other nodes, and that went to them, without TCP's own.
    pub fn node_bytes(&self) -> (u64, u64) {
        let traffic = self.traffic();
        (traffic.inbound.get(), traffic.outbound.get())
    }

    /// A delivery is on its way until the guard is dropped.
    pub(crate) fn in_flight(self: &Arc<Self>) -> Flight {
        self.deliveries_in_flight.inc();
        Flight(Arc::clone(self))
    }

    /// A peer's record was signed at `signed_s`.
    pub(crate) fn peer_signed(&self, signed_s: u64, now_s: u64) {
        let ahead = i64::try_from(signed_s.saturating_sub(now_s)).unwrap_or(i64::MAX);
        self.peer_clock_ahead_seconds.set(ahead.max(self.peer_clock_ahead_seconds.get()));
    }

    /// The most of what [`Self::peer_signed`] saw, seconds.
    pub(crate) fn peer_clock_ahead_s(&self) -> u64 {
        u64::try_from(self.peer_clock_ahead_seconds.get()).unwrap_or(0)
    }

    /// What the rules did with what is durable now.
    pub(crate) fn notes(&self, notes: &[Note], now_ms: u64) {
        if notes.is_empty() {
            return;
        }
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        for note in notes {
            self.note(note, now_ms, &mut backlog);
        }
    }

    fn note(&self, note: &Note, now_ms: u64, backlog: &mut Backlog) {
        match note {
            Note::Accepted => drop(self.accepted.inc()),
            Note::Repeated => drop(self.repeated.inc()),
            Note::Owed { feed, account, from, to } => backlog.owed((*feed, *account), *from, *to, now_ms),
            Note::Custody { feed, account, to } => {
                for waited_ms in backlog.custody((*feed, *account), *to, now_ms) {
                    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a process's life")]
                    self.custody_seconds.observe(waited_ms as f64 / 1000.0);
                }
            }
            Note::Inboxed(entries) => {
                self.inbox_entries.inc_by(*entries);
                self.inbox_waiting.inc_by(i64::try_from(*entries).unwrap_or(i64::MAX));
            }
            Note::Waiting(entries) => {
                self.inbox_waiting.inc_by(i64::try_from(*entries).unwrap_or(i64::MAX));
            }
            Note::Acknowledged(entries) => {
                self.inbox_waiting.dec_by(i64::try_from(*entries).unwrap_or(i64::MAX));
            }
            Note::BlobHeld { bytes } => {
                self.blobs_held.inc();
                self.blob_bytes_held.inc_by(i64::try_from(*bytes).unwrap_or(i64::MAX));
            }
            Note::BlobGone { bytes: 0 } => {}
            Note::BlobGone { bytes } => {
                self.blobs_held.dec();
                self.blob_bytes_held.dec_by(i64::try_from(*bytes).unwrap_or(i64::MAX));
            }
            Note::BlobsFound { blobs, bytes } => {
                self.blobs_held.set(i64::try_from(*blobs).unwrap_or(i64::MAX));
                self.blob_bytes_held.set(i64::try_from(*bytes).unwrap_or(i64::MAX));
            }
            Note::Silent => drop(self.retries.get_or_create(&families::Cause { cause: "silent" }).inc()),
            Note::Refused => drop(self.retries.get_or_create(&families::Cause { cause: "refused" }).inc()),
        }
    }

    /// A frame goes to a device's connection.
    pub(crate) fn frame_leaves(&self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Entry { .. } => drop(self.entries_delivered.inc()),
            ServerFrame::Refused { error, .. } => self.refused(Refuser::ToDevice, error.code),
            _ => {}
        }
    }

    /// Something was refused.
    pub fn refused(&self, by: Refuser, code: Code) {
        let (by, to) = match by {
            Refuser::ToDevice => ("relay", "device"),
            Refuser::ToNode => ("relay", "node"),
            Refuser::Bridge => ("bridge", "device"),
        };
        self.refusals.get_or_create(&families::Refusal { by, to, code: code.name() }).inc();
    }

    /// A request to another node has ended.
    pub(crate) fn asked(&self, kind: &'static str, result: &Result<NodeResponse, NetworkError>, time: &Stopwatch) {
        let outcome = match result {
            Ok(NodeResponse::Refused(_)) => "refused",
            Ok(_) => "ok",
            Err(error) => error.name(),
        };
        self.requests.get_or_create(&families::Request { direction: "out", kind, outcome }).inc();
        self.request_seconds.get_or_create(&families::Kind { kind }).observe(time.seconds());
    }

    /// A request of another node was answered.
    pub(crate) fn answered(&self, kind: &'static str, response: &NodeResponse) {
        let outcome = match response {
            NodeResponse::Refused(refusal) => {
                self.refused(Refuser::ToNode, refusal.code);
                "refused"
            }
            _ => "ok",
        };
        self.requests.get_or_create(&families::Request { direction: "in", kind, outcome }).inc();
    }

    /// A lookup of a handle has ended; gives its outcome on.
    pub(crate) fn looked_up(
        &self,
        outcome: Result<Resolution, NetworkError>,
        cached: bool,
    ) -> Result<Resolution, NetworkError> {
        let source = match &outcome {
            Ok(found) => match found.report.source {
                LookupSource::Dht => "dht",
                LookupSource::Cache => "cache",
                LookupSource::Local => "local",
            },
            Err(_) if cached => "cache",
            Err(_) => "dht",
        };
        let name = outcome.as_ref().map_or_else(NetworkError::name, |_| "found");
        self.lookups.get_or_create(&families::Lookup { source, outcome: name }).inc();
        if let Ok(found) = &outcome
            && !cached
        {
            self.lookup_hops.observe(f64::from(found.report.hops));
            self.lookup_messages.observe(f64::from(found.report.messages));
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of one lookup")]
            self.lookup_seconds.observe(found.report.ms as f64 / 1000.0);
        }
        outcome
    }

    /// A publication has ended; gives its outcome on.
    pub(crate) fn published(&self, outcome: Result<(), NetworkError>) -> Result<(), NetworkError> {
        let name = outcome.as_ref().map_or_else(NetworkError::name, |()| "ok");
        self.publications.get_or_create(&families::Outcome { outcome: name }).inc();
        outcome
    }

    /// Something became of a push; `outcome` is a name in the code.
    pub(crate) fn pushed(&self, outcome: &'static str) {
        self.pushes.get_or_create(&families::Outcome { outcome }).inc();
    }

    /// A WebSocket opened.
    pub fn bridge_opened(&self) {
        self.bridge_connections.get_or_create(&families::State { state: "open" }).inc();
    }

    /// Its device signed in.
    pub fn bridge_signed_in(&self) {
        self.bridge_connections.get_or_create(&families::State { state: "signed_in" }).inc();
    }

    /// It ended; `cause` is a name in the code.
    pub fn bridge_closed(&self, cause: &'static str, signed_in: bool) {
        self.bridge_connections.get_or_create(&families::State { state: "open" }).dec();
        if signed_in {
            self.bridge_connections.get_or_create(&families::State { state: "signed_in" }).dec();
        }
        self.bridge_closes.get_or_create(&families::Cause { cause }).inc();
    }

    /// A frame came in from a device.
    pub fn bridge_frame_in(&self) {
        self.bridge_frames.get_or_create(&families::Direction { direction: "in" }).inc();
    }

    /// A frame was written to a device.
    pub fn bridge_frame_out(&self) {
        self.bridge_frames.get_or_create(&families::Direction { direction: "out" }).inc();
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Bytes of all files below a directory; what vanishes meanwhile is not counted.
fn directory_bytes(path: &Path) -> i64 {
    let mut bytes: u64 = 0;
    let mut seen = 0;
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            seen += 1;
            if seen > STORE_FILES_MAX {
                return i64::try_from(bytes).unwrap_or(i64::MAX);
            }
            match entry.metadata() {
                Ok(found) if found.is_dir() => directories.push(entry.path()),
                Ok(found) => bytes = bytes.saturating_add(found.len()),
                Err(_) => {}
            }
        }
    }
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
