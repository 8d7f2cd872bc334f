//! Carries out what the rules order of blobs: tickets to devices, parts to nodes, fetches from them. It decides nothing.

use super::{Command, NodeHandle, Stopped, ToDevice};
use crate::blobs::{Blobs, Part, PartError, Way};
use crate::metrics::Metrics;
use crate::network::Network;
use crate::relay::{BlobOrder, ConnectionId, Fetched, Input};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::NodeId;
use roost_protocol::content::BlobRef;
use roost_protocol::ids::{BlobId, BlobTicket};
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What an order needs beside the bytes.
pub(super) struct Carrier {
    pub blobs: Blobs,
    pub network: Network,
    pub commands: mpsc::Sender<Command>,
    pub metrics: Arc<Metrics>,
    /// The queue of the connection that an order is for.
    pub device: Option<mpsc::Sender<ToDevice>>,
    /// Who waits for the answer that an order is for.
    pub respond: Option<oneshot::Sender<NodeResponse>>,
}

/// The connection that an order answers.
pub(super) fn connection_of(order: &BlobOrder) -> Option<ConnectionId> {
    match order {
        BlobOrder::Upload { connection, .. }
        | BlobOrder::Download { connection, .. }
        | BlobOrder::Progress { connection, .. } => Some(*connection),
        BlobOrder::Give { .. } | BlobOrder::Fetch { .. } | BlobOrder::Delete(_) => None,
    }
}

impl Carrier {
    /// Carries an order out.
    pub async fn carry_out(self, order: BlobOrder) {
        match order {
            BlobOrder::Upload { id, of, .. } => {
                let answer = self.upload(id, of).await;
                self.tell(answer);
            }
            BlobOrder::Download { id, of, .. } => {
                let answer = match self.blobs.ticket(of, Way::Get) {
                    Some(ticket) => ServerFrame::Blob { id, have: of.bytes, ticket: Some(ticket) },
                    None => refused(id, too_many()),
                };
                self.tell(answer);
            }
            BlobOrder::Progress { id, of, .. } => {
                let answer = match self.blobs.have(of).await {
                    // All of it, yet not whole: it is about to be compared with its name.
                    Ok(have) => ServerFrame::Blob { id, have, ticket: None },
                    Err(error) => refused(id, failed(&error)),
                };
                self.tell(answer);
            }
            BlobOrder::Give { of, offset, .. } => {
                let answer = match self.blobs.read(of, offset).await {
                    Ok(Part { total, bytes }) => {
                        self.metrics.blob_part("given", bytes.len());
                        NodeResponse::Blob { total, part: Bytes(bytes) }
                    }
                    Err(error) => {
                        self.lost(of, &error).await;
                        NodeResponse::Refused(refusal(&error))
                    }
                };
                if let Some(respond) = self.respond {
                    let _ = respond.send(answer);
                }
            }
            BlobOrder::Fetch { of, node } => {
                let fetched = self.fetch(of, node).await;
                self.metrics.blob_fetched(fetched);
                let _ = self.commands.send(Command::Input(Input::BlobFetched(of.blob, fetched))).await;
            }
            BlobOrder::Delete(blob) => {
                if let Err(error) = self.blobs.delete(blob).await {
                    tracing::warn!(%error, "a blob was not removed");
                }
            }
        }
    }

    async fn upload(&self, id: u64, of: BlobRef) -> ServerFrame {
        let have = match self.blobs.have(of).await {
            Ok(have) => have,
            Err(error) => return refused(id, failed(&error)),
        };
        if have < of.bytes {
            return match self.blobs.ticket(of, Way::Put { offset: have }) {
                Some(ticket) => ServerFrame::Blob { id, have, ticket: Some(ticket) },
                None => refused(id, too_many()),
            };
        }
        // All of it came before the process ended, or before anybody told the rules.
        match self.blobs.finish(of).await {
            Ok(()) if is_put(&self.commands, of.blob).await.is_ok() => ServerFrame::Blob { id, have, ticket: None },
            Ok(()) => refused(id, too_many()),
            Err(error) => refused(id, refusal(&error)),
        }
    }

    /// Fetches part by part, from where the last try ended.
    async fn fetch(&self, of: BlobRef, node: NodeId) -> Fetched {
        loop {
            let have = match self.blobs.have(of).await {
                Ok(have) if have < of.bytes => have,
                Ok(_) => return self.blobs.finish(of).await.map_or_else(|error| ended(&error), |()| Fetched::Whole),
                Err(error) => return ended(&error.into()),
            };
            let asked = self.network.ask(node, NodeRequest::Blob { blob: of.blob, offset: have });
            let answer = match asked {
                Ok(asked) => asked.answer().await,
                Err(error) => Err(error),
            };
            let part = match answer {
                Ok(NodeResponse::Blob { total, part }) if total == of.bytes && !part.is_empty() => part,
                Ok(NodeResponse::Refused(refusal)) if !refusal.later => return Fetched::Never,
                Ok(_) => return Fetched::NotNow,
                Err(error) => {
                    tracing::debug!(%error, "a node did not give a part of a blob");
                    self.network.find_again(node).await;
                    return Fetched::NotNow;
                }
            };
            self.metrics.blob_part("fetched", part.len());
            match self.blobs.append(of, have, part.0).await {
                Ok(have) if have == of.bytes => return Fetched::Whole,
                // Somebody else brings it at the same time.
                Ok(_) | Err(PartError::Offset { .. }) => {}
                Err(error) => return ended(&error),
            }
        }
    }

    /// What the rules take for whole is not on the disk any more.
    async fn lost(&self, of: BlobRef, error: &PartError) {
        if matches!(error, PartError::Gone) {
            tracing::warn!("a blob is not where it was put");
            let _ = self.commands.send(Command::Input(Input::BlobLost(of.blob))).await;
        }
    }

    fn tell(&self, frame: ServerFrame) {
        self.metrics.frame_leaves(&frame);
        // A queue that is full belongs to a device that reads too slowly: it asks again.
        if let Some(device) = &self.device {
            let _ = device.try_send(ToDevice::Frame(Box::new(frame)));
        }
    }
}

impl NodeHandle {
    /// A part of a blob that a device brings with a ticket. Gives how much is here with it; once all of it is, that is durable.
    ///
    /// # Errors
    /// [`PartError`].
    pub async fn put_blob(&self, blob: BlobId, ticket: BlobTicket, part: Vec<u8>) -> Result<u64, PartError> {
        let (of, have) = self.shared.blobs.put(&blob, &ticket, part).await?;
        if have == of.bytes {
            is_put(&self.commands, blob).await.map_err(std::io::Error::other)?;
        }
        Ok(have)
    }

    /// A part of a blob for a device with a ticket.
    ///
    /// # Errors
    /// [`PartError`].
    pub async fn get_blob(&self, blob: BlobId, ticket: BlobTicket, offset: u64) -> Result<Part, PartError> {
        let part = self.shared.blobs.get(&blob, &ticket, offset).await;
        if let Err(PartError::Gone) = part {
            tracing::warn!("a blob is not where it was put");
            let _ = self.input(Input::BlobLost(blob)).await;
        }
        part
    }
}

/// Tells the rules that a blob is whole, and returns once that is durable.
async fn is_put(commands: &mpsc::Sender<Command>, blob: BlobId) -> Result<(), Stopped> {
    commands.send(Command::Input(Input::BlobPut(blob))).await.map_err(|_| Stopped)?;
    let (flushed, flush) = oneshot::channel();
    commands.send(Command::Flush(flushed)).await.map_err(|_| Stopped)?;
    flush.await.map_err(|_| Stopped)
}

fn ended(error: &PartError) -> Fetched {
    match error {
        // What the node has is not what was said: it will be no other.
        PartError::Name => Fetched::Never,
        _ => {
            tracing::warn!(%error, "a blob that was fetched was not kept");
            Fetched::NotNow
        }
    }
}

fn refused(id: u64, error: Refusal) -> ServerFrame {
    ServerFrame::Refused { id: Some(id), error }
}

fn too_many() -> Refusal {
    let mut refusal = Refusal::later(Code::Busy, "too many parts of files are on their way", "ask again in a moment");
    refusal.retry_after_ms = Some(1_000);
    refusal
}

fn failed(error: &std::io::Error) -> Refusal {
    tracing::error!(%error, "the place of blobs failed");
    Refusal::later(Code::Internal, "the node cannot read its blobs", "tell its operator")
}

/// What a remote is told.
fn refusal(error: &PartError) -> Refusal {
    match error {
        PartError::Name => {
            Refusal::never(Code::Malformed, "the bytes are not those of the blob", "put it again from the beginning")
        }
        PartError::Gone => Refusal::never(Code::NotFound, "the blob is not kept here", "ask nobody for it again"),
        PartError::Full => Refusal::later(
            Code::Busy,
            "this node's disk is nearly full",
            "it is taken later; the node's operator has to make room",
        ),
        PartError::Io(error) => failed(error),
        PartError::Ticket | PartError::Offset { .. } | PartError::Length { .. } => {
            Refusal::later(Code::Malformed, error.to_string(), "ask for a ticket and go on from what is here")
        }
    }
}
