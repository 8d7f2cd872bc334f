//! `bench open`: a client with many conversations is opened: what the list of conversations waits for, and what signing in.

use super::fsync::Probe;
use super::measure::{median, ms};
use super::nodes::Nodes;
use super::person::{Person, write_all};
use super::{BenchConfig, BenchError, Figures, Measured, check, machine};
use crate::process;
use roost_client::store::FILE;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Messages of a conversation that nobody has read.
const UNREAD: usize = 3;
/// Messages that fill the first page of an application.
const FIRST: usize = 50;
/// How long signing in may take.
const WAIT: Duration = Duration::from_secs(60);
/// Conversations at most: the accounts that one home takes in a benchmark.
const CONVERSATIONS_MAX: usize = 5_000;

/// What was measured; milliseconds, medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Open {
    /// Conversations of the account.
    pub conversations: usize,
    /// Messages in them.
    pub messages: usize,
    /// Bytes of the client's store.
    pub store_bytes: u64,
    /// From opening the directory until all conversations are known, with what is unread in each, and the newest fifty messages.
    pub listed_ms: f64,
    /// From the same moment until the home knows the device and holds its key packages.
    pub signed_in_ms: f64,
    /// A whole process of `roost chat status`, from its start to its end: it waits for the home as well.
    pub process_ms: f64,
}

#[derive(Deserialize)]
struct Status {
    conversations: usize,
    connected: bool,
}

pub(super) async fn run(config: &BenchConfig) -> Result<Measured, BenchError> {
    let (conversations, rounds) = (config.conversations.unwrap_or(500), config.rounds.unwrap_or(5));
    check("conversations", 1, CONVERSATIONS_MAX, conversations)?;
    check("rounds", 1, 1_000, rounds)?;
    machine::allow_descriptors(2 * conversations as u64)?;
    let nodes = Nodes::start(&config.binary, 2).await?;
    let (from, to) = (nodes.door(0, conversations).await?, nodes.door(1, 1).await?);
    let person = Person::sign_up("person", &to, nodes.path()).await?;
    let writers = person.meet(0, conversations, &from).await?;
    let unread = write_all(writers, UNREAD * conversations).await?;
    let messages = unread.len() + conversations;
    person.resume(unread).await?;

    let probe = Probe::start(nodes.path()).await?;
    let (mut listed, mut signed_in, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = machine::instant();
        let session = person.open().await?;
        let (views, page) = async {
            let views = session.conversation_views().await?;
            session.conversations().await?;
            session.requests().await?;
            Ok::<_, roost_client::Error>((views, session.history(None, None, FIRST).await?))
        }
        .await
        .map_err(BenchError::wire)?;
        listed.push(ms(start.elapsed()));
        session.connected(WAIT).await.map_err(BenchError::wire)?;
        signed_in.push(ms(start.elapsed()));
        session.close().await.map_err(BenchError::wire)?;
        let counted: usize = views.iter().map(|view| view.unread).sum();
        if views.len() != conversations || counted != messages || page.items.len() != FIRST.min(messages) {
            return Err(BenchError::wire("the client lists other conversations than were made"));
        }
        let dir = person.dir.to_string_lossy().into_owned();
        let start = machine::instant();
        let status: Status = process::run(&config.binary, &["chat", "--dir", &dir, "status"]).await?;
        whole.push(ms(start.elapsed()));
        if status.conversations != conversations || !status.connected {
            return Err(BenchError::wire("the client does not know its conversations, or its home not the client"));
        }
    }
    let probe = probe.again().await?;
    let store_bytes = std::fs::metadata(person.dir.join(FILE)).map_err(BenchError::io("looking at the store"))?.len();
    nodes.end().await?;
    let open = Open {
        conversations,
        messages,
        store_bytes,
        listed_ms: median(listed).unwrap_or_default(),
        signed_in_ms: median(signed_in).unwrap_or_default(),
        process_ms: median(whole).unwrap_or_default(),
    };
    let params = serde_json::json!({ "orgs": 2, "conversations": conversations, "rounds": rounds });
    Ok(Measured { params, fsync_ms: probe.disk(), complete: true, figures: Figures::Open(open) })
}
