//! The WebSocket to the home: whole frames in and out, bounded in size and time.

use crate::error::Error;
use futures::{SinkExt as _, StreamExt as _};
use roost_protocol::codec;
use roost_protocol::limits::SOCKET_MESSAGE_BYTES_MAX;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// How long a connection may take to stand, and a write to finish.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that may wait to be written.
const WRITE_BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// A connection to the home.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects to `http://HOST:PORT`.
    pub async fn connect(server: &str) -> Result<Self, Error> {
        let bad = |what: &str| Error::ServerUrl(format!("{server}: {what}"));
        let host = server.strip_prefix("http://").ok_or_else(|| bad("only http:// is supported by this version"))?;
        let uri = format!("ws://{}/v1/socket", host.trim_end_matches('/')).parse().map_err(|_| bad("no URL"))?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(roost_protocol::SOCKET_CBOR);
        let config = WebSocketConfig::default()
            .max_message_size(Some(SOCKET_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(SOCKET_MESSAGE_BYTES_MAX))
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX);
        let connecting = connect_async_with_config(request, Some(config), true);
        match tokio::time::timeout(TIMEOUT, connecting).await {
            Ok(Ok((stream, _))) => Ok(Self(stream)),
            Ok(Err(error)) => Err(Error::Unreachable(error.to_string())),
            Err(_) => Err(Error::Unreachable("no answer in time".into())),
        }
    }

    /// The next frame; `None` for a sign of life that is no frame. May be cancelled.
    pub async fn next(&mut self) -> Result<Option<ServerFrame>, Error> {
        match self.0.next().await {
            Some(Ok(Message::Binary(bytes))) => codec::decode(&bytes, SOCKET_MESSAGE_BYTES_MAX)
                .map(Some)
                .map_err(|error| Error::BadAnswer(error.to_string())),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
            Some(Ok(Message::Close(_))) | None => Err(Error::Unreachable("the home closed the connection".into())),
            Some(Ok(_)) => Err(Error::BadAnswer("not a binary message".into())),
            Some(Err(error)) => Err(Error::Unreachable(error.to_string())),
        }
    }

    /// Writes frames; they have left when this returns. Each has its own time: a slow line may take long for many.
    pub async fn send(&mut self, frames: Vec<ClientFrame>) -> Result<(), Error> {
        for frame in frames {
            bounded(self.0.feed(Message::Binary(codec::encode(&frame).into()))).await?;
        }
        bounded(self.0.flush()).await
    }

    /// Asks for a sign of life.
    pub async fn ping(&mut self) -> Result<(), Error> {
        bounded(self.0.send(Message::Ping(Bytes::new()))).await
    }

    /// Says good-bye; whether it arrives does not matter.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.close(None)).await;
    }
}

async fn bounded(
    writing: impl Future<Output = Result<(), tokio_tungstenite::tungstenite::Error>>,
) -> Result<(), Error> {
    match tokio::time::timeout(TIMEOUT, writing).await {
        Ok(written) => written.map_err(|error| Error::Unreachable(error.to_string())),
        Err(_) => Err(Error::Unreachable("the home does not read".into())),
    }
}
