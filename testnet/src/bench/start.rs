//! `bench start`: from the spawned process to its ready line, with an empty store and with one that holds many messages.
//!
//! The messages are written by the node's own rules and store, in this process and while no node runs: the same rows in
//! the same batches as over a socket, without the socket. All carry one really sealed payload; a node does not look inside.

use super::device::{Device, Pair};
use super::fsync::Probe;
use super::measure::{median, ms};
use super::nodes::Nodes;
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use roost_crypto::bytes::parse_hex;
use roost_crypto::sabotage::Sabotage;
use roost_node::relay::{Identity, Input, Inspector, Limits, Output, Relay};
use roost_node::store::{Overlay, SledStore, Store as _, sled_engine::LOCK_WAIT};
use roost_protocol::ids::{Incarnation, MessageId};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{NodeId, SecretKey, codec, limits};
use serde::Serialize;
use std::path::Path;

/// Starts whose median is told.
const STARTS: usize = 5;
/// Submissions of one batch of the store.
const BATCH: usize = 256;
/// The two connections of the filling devices.
const SENDER: u64 = 1;
const RECIPIENT: u64 = 2;
/// Messages at most.
const MESSAGES_MAX: usize = 10_000_000;

/// What was measured; milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Start {
    /// Messages in the store.
    pub stored: usize,
    /// From the spawned process to its ready line, the median.
    pub ready_ms: f64,
    /// The same with an empty store.
    pub empty_ready_ms: f64,
    /// Every start with the full store.
    pub all_ready_ms: Vec<f64>,
    /// Every start with the empty store.
    pub all_empty_ready_ms: Vec<f64>,
    /// Bytes of the full store on disk.
    pub store_bytes: u64,
    /// How long it took to fill it.
    pub fill_seconds: f64,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let messages = config.messages.unwrap_or(100_000);
    check("messages", 0, MESSAGES_MAX, messages)?;
    let nodes = Nodes::start(&config.binary, 1).await?;
    let probe = Probe::start(nodes.path()).await?;
    nodes.stop(0).await?;
    let all_empty_ready_ms = starts(&nodes).await?;

    nodes.start_again(0).await?;
    let door = nodes.door(0, 2).await?;
    let mut pair = Pair::meet(0, &door, &door).await?;
    let payload = pair.seal()?.frame;
    let org = nodes.stop(0).await?;
    let start = machine::instant();
    tokio::task::block_in_place(|| fill(&org.dir, &org.name, &pair, &payload, messages))?;
    let fill_seconds = super::measure::round(start.elapsed().as_secs_f64());
    let store_bytes = size_of(&org.dir.join("store"));
    let all_ready_ms = starts(&nodes).await?;
    let probe = probe.again().await?;
    nodes.end().await?;
    let start = Start {
        stored: messages,
        ready_ms: median(all_ready_ms.clone()).unwrap_or_default(),
        empty_ready_ms: median(all_empty_ready_ms.clone()).unwrap_or_default(),
        all_ready_ms,
        all_empty_ready_ms,
        store_bytes,
        fill_seconds,
    };
    let params = serde_json::json!({ "orgs": 1, "messages": messages, "starts": STARTS });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures: Figures::Start(start) })
}

/// Starts the stopped node several times and leaves it stopped.
async fn starts(nodes: &Nodes) -> Result<Vec<f64>, BenchError> {
    let mut all = Vec::new();
    for _ in 0..STARTS {
        let start = machine::instant();
        nodes.start_again(0).await?;
        all.push(ms(start.elapsed()));
        nodes.stop(0).await?;
    }
    Ok(all)
}

/// A node without sockets: its rules over its store.
struct Stopped {
    relay: Relay,
    store: SledStore,
}

/// Submits `count` messages from one device to another of the same node, which takes and acknowledges them.
fn fill(dir: &Path, name: &str, pair: &Pair, frame: &[u8], count: usize) -> Result<(), BenchError> {
    let submit = codec::decode(frame, limits::SOCKET_MESSAGE_BYTES_MAX).map_err(BenchError::wire)?;
    let ClientFrame::Submit { group, epoch, payload, .. } = submit else {
        return Err(BenchError::wire("a submission was expected"));
    };
    let mut node = Stopped::open(dir, name)?;
    node.enter(SENDER, &pair.sender)?;
    node.enter(RECIPIENT, &pair.recipient)?;
    let mut inbox = node.say(vec![(RECIPIENT, pair.recipient.resume())])?;
    let mut left = count;
    let mut number = 0_u64;
    while left > 0 {
        let batch = left.min(BATCH);
        left -= batch;
        let mut frames = Vec::with_capacity(batch + 1);
        for _ in 0..batch {
            number += 1;
            let message = MessageId::of(machine::now_ms(), &number.to_be_bytes());
            let payload = payload.clone();
            frames.push((
                SENDER,
                ClientFrame::Submit {
                    id: number,
                    group,
                    epoch,
                    message,
                    attempt: 0,
                    payload,
                    silent: false,
                    blobs: Vec::new(),
                },
            ));
        }
        // What the batch before brought.
        frames.extend(inbox.map(|inbox| (RECIPIENT, ClientFrame::Ack { inbox })));
        inbox = node.say(frames)?.or(inbox);
    }
    node.say(inbox.map(|inbox| (RECIPIENT, ClientFrame::Ack { inbox })).into_iter().collect())?;
    Ok(())
}

impl Stopped {
    fn open(dir: &Path, name: &str) -> Result<Self, BenchError> {
        let store = SledStore::open(&dir.join("store"), LOCK_WAIT)?;
        let identity = Identity {
            org_key: read_key(&dir.join("keys/org.key"))?,
            node_key: read_key(&dir.join("keys/node.key"))?,
            name: name.to_owned(),
            open: false,
            limits: Limits::TESTNET,
            push: None,
            inspector: Inspector::default(),
            sabotage: Sabotage::NONE,
            incarnation: Incarnation(store.incarnation()),
        };
        let relay = Relay::open(identity, &mut Overlay::new(&store))?;
        Ok(Self { relay, store })
    }

    fn enter(&mut self, connection: u64, device: &Device) -> Result<(), BenchError> {
        let challenge = [7; 32];
        let node: NodeId = self.relay.node();
        self.take(vec![
            Input::Connected { connection, challenge },
            Input::Frame { connection, frame: device.identity.sign_in(&node, &challenge) },
        ])?;
        Ok(())
    }

    fn say(&mut self, frames: Vec<(u64, ClientFrame)>) -> Result<Option<u64>, BenchError> {
        self.take(frames.into_iter().map(|(connection, frame)| Input::Frame { connection, frame }).collect())
    }

    /// One batch as the node's driver makes it; gives the last inbox position that was sent.
    fn take(&mut self, inputs: Vec<Input>) -> Result<Option<u64>, BenchError> {
        let mut rows = Overlay::new(&self.store);
        let mut last = None;
        let mut outputs = Vec::new();
        for input in inputs {
            outputs.extend(self.relay.handle(input, &mut rows, machine::now_ms())?);
        }
        outputs.extend(self.relay.settle(&mut rows, machine::now_ms())?);
        for output in outputs {
            match output {
                Output::Send(_, ServerFrame::Entry { inbox, .. }) => last = last.max(inbox),
                Output::Send(_, ServerFrame::Refused { error, .. }) => return Err(BenchError::Refused(error)),
                _ => {}
            }
        }
        let batch = rows.into_batch();
        self.store.commit(batch)?;
        Ok(last)
    }
}

/// A key of a node's directory: 64 hex digits.
fn read_key(path: &Path) -> Result<SecretKey, BenchError> {
    let text = std::fs::read_to_string(path).map_err(BenchError::io("reading a node's key"))?;
    let seed = parse_hex(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    seed.map(|seed| SecretKey::from_seed(&seed)).ok_or_else(|| BenchError::wire("a node's key does not read"))
}

/// Bytes of the files of a directory and those below it.
fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
