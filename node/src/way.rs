//! Following one message through this process: spans at debug level under the target `roost::way`.
//!
//! A message goes under a number that is a keyed hash of its id; the key is random, made once a process, and never shown. So
//! the steps of one message can be put together while nobody learns whose it is, and two processes name it differently. Off
//! (the default), a step costs one check of a flag. `docs/architecture.md`, "Following one message", names the spans.

use crate::network::NetworkError;
use crate::relay::Input;
use roost_protocol::ids::MessageId;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use tracing::Span;
use tracing::field::Empty;

/// The target of every span here: `ROOST_LOG=roost::way=debug` shows them.
pub const TARGET: &str = "roost::way";

/// What this process calls a message.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way(u64);

impl fmt::Debug for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

fn way(message: &MessageId) -> Way {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    Way(KEY.get_or_init(RandomState::new).hash_one(message))
}

fn ways<'a>(messages: impl Iterator<Item = &'a MessageId>) -> Vec<Way> {
    messages.map(way).collect()
}

/// A frame goes from the bridge to the relay; disabled for all but messages.
pub fn bridge(frame: &ClientFrame) -> Span {
    match frame {
        ClientFrame::Submit { message, .. } => tracing::debug_span!(target: TARGET, "bridge", ways = ?[way(message)]),
        _ => Span::none(),
    }
}

/// The rules handle an input; disabled for all but messages and deliveries.
pub(crate) fn relay(input: &Input, batch: u64) -> Span {
    match input {
        Input::Frame { frame: ClientFrame::Submit { message, .. }, .. } => {
            tracing::debug_span!(target: TARGET, "relay", ways = ?[way(message)], batch)
        }
        Input::Asked { request: NodeRequest::Deliver(deliver), .. } => {
            let messages = deliver.entries.iter().map(|entry| &entry.header.message);
            tracing::debug_span!(target: TARGET, "relay", ways = ?ways(messages), batch)
        }
        _ => Span::none(),
    }
}

/// A batch is made durable.
pub(crate) fn commit(batch: u64, commands: usize) -> Span {
    tracing::debug_span!(target: TARGET, "commit", batch, commands)
}

/// A request goes to another node; `outcome` is recorded by [`answered`].
pub(crate) fn deliver(request: &NodeRequest) -> Span {
    match request {
        NodeRequest::Deliver(deliver) => {
            let messages = deliver.entries.iter().map(|entry| &entry.header.message);
            tracing::debug_span!(target: TARGET, "deliver", ways = ?ways(messages), outcome = Empty)
        }
        _ => Span::none(),
    }
}

/// How a delivery ended.
pub(crate) fn answered(result: &Result<NodeResponse, NetworkError>) {
    let outcome = match result {
        Ok(NodeResponse::Custody(_)) => "custody",
        Ok(NodeResponse::Refused(_)) => "refused",
        Ok(_) => "other",
        Err(error) => error.name(),
    };
    Span::current().record("outcome", outcome);
}

/// A frame leaves for a device: an entry for its reader, custody for its author.
pub(crate) fn leaves(frame: &ServerFrame) {
    match frame {
        ServerFrame::Entry { entry, .. } => {
            tracing::debug_span!(target: TARGET, "entry", ways = ?[way(&entry.header.message)]).in_scope(|| {});
        }
        ServerFrame::Custody { messages, .. } => {
            tracing::debug_span!(target: TARGET, "custody", ways = ?ways(messages.iter())).in_scope(|| {});
        }
        _ => {}
    }
}
