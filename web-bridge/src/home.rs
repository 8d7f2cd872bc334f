//! What the bridge needs of the node behind it.
//!
//! A trait because the stories of this crate run against a node that misbehaves on purpose; never decides anything.

use roost_node::blobs::{Part, PartError};
use roost_node::{Discovery, Metrics, NodeHandle, Stopped, ToDevice};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{BlobId, BlobTicket};
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::ClientFrame;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;

/// The node, as seen from its door.
pub(crate) trait Home: Clone + Send + Sync + 'static {
    /// A device connected; `challenge` is what it must sign. Gives the connection's number and what goes to the device.
    fn connect(&self, challenge: [u8; 32]) -> impl Future<Output = Result<(u64, Receiver<ToDevice>), Stopped>> + Send;
    /// The device said this.
    fn frame(&self, connection: u64, frame: ClientFrame) -> impl Future<Output = Result<(), Stopped>> + Send;
    /// The device is gone.
    fn closed(&self, connection: u64) -> impl Future<Output = ()> + Send;
    /// Where an account lives.
    fn discover(&self, handle: Handle) -> impl Future<Output = Result<Discovery, Refusal>> + Send;
    /// A part of a blob that a device brings; gives how much is here with it.
    fn put_blob(
        &self,
        blob: BlobId,
        ticket: BlobTicket,
        part: Vec<u8>,
    ) -> impl Future<Output = Result<u64, PartError>> + Send;
    /// A part of a blob for a device.
    fn get_blob(
        &self,
        blob: BlobId,
        ticket: BlobTicket,
        offset: u64,
    ) -> impl Future<Output = Result<Part, PartError>> + Send;
    /// Whether the node serves.
    fn is_ready(&self) -> bool;
    /// What is counted.
    fn metrics(&self) -> Arc<Metrics>;
}

impl Home for NodeHandle {
    async fn connect(&self, challenge: [u8; 32]) -> Result<(u64, Receiver<ToDevice>), Stopped> {
        NodeHandle::connect(self, challenge).await
    }

    async fn frame(&self, connection: u64, frame: ClientFrame) -> Result<(), Stopped> {
        NodeHandle::frame(self, connection, frame).await
    }

    async fn closed(&self, connection: u64) {
        NodeHandle::closed(self, connection).await;
    }

    async fn discover(&self, handle: Handle) -> Result<Discovery, Refusal> {
        NodeHandle::discover(self, handle).await
    }

    async fn put_blob(&self, blob: BlobId, ticket: BlobTicket, part: Vec<u8>) -> Result<u64, PartError> {
        NodeHandle::put_blob(self, blob, ticket, part).await
    }

    async fn get_blob(&self, blob: BlobId, ticket: BlobTicket, offset: u64) -> Result<Part, PartError> {
        NodeHandle::get_blob(self, blob, ticket, offset).await
    }

    fn is_ready(&self) -> bool {
        NodeHandle::is_ready(self)
    }

    fn metrics(&self) -> Arc<Metrics> {
        NodeHandle::metrics(self)
    }
}
