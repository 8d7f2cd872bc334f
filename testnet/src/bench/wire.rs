//! The measuring device's socket: real WebSocket, real frames, read at a glance.
//!
//! A frame under the clock is encoded before and only glanced at behind: on a machine that also runs the nodes, what the
//! device costs is taken from them. It never decides what is said.

use super::BenchError;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use roost_protocol::feed::EntryKind;
use roost_protocol::ids::MessageId;
use roost_protocol::limits::SOCKET_MESSAGE_BYTES_MAX;
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{SOCKET_CBOR, codec};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// How long a connection may take to stand, and an answer to come.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// Bytes read at once by a device that talks; as a client has it.
pub(super) const READ_TALKING: usize = 64 * 1024;
/// Bytes read at once by one that is idle: ten thousand of them live in one process.
pub(super) const READ_IDLE: usize = 2 * 1024;

/// A connection to a node.
pub(super) struct Socket(WebSocketStream<TcpStream>);

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// To a submission.
    Accepted,
    /// A message is held for its recipient.
    Custody,
    /// An inbox entry.
    Entry,
    /// Entries that came without a position have one now.
    Placed,
    /// Something was refused.
    Refused,
    /// Everything else.
    #[serde(other)]
    Other,
}

/// A frame, read as far as a measurement needs. Unlike [`ServerFrame`] it is no tagged enum, which would be buffered whole.
#[derive(Debug, Deserialize)]
pub(super) struct Glance {
    /// What it is.
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// Position of an inbox entry, once on disk; of several that are placed, the first one's.
    #[serde(default)]
    inbox: Option<u64>,
    /// How many are placed.
    #[serde(default)]
    count: u64,
    /// The entry.
    #[serde(default)]
    pub(super) entry: Option<EntryGlance>,
    /// Messages of a custody.
    #[serde(default)]
    pub(super) messages: Vec<MessageId>,
    /// Why something was refused.
    #[serde(default)]
    pub(super) error: Option<Refusal>,
}

/// An entry's header, as far as needed.
#[derive(Debug, Deserialize)]
pub(super) struct EntryGlance {
    header: HeaderGlance,
}

#[derive(Debug, Deserialize)]
struct HeaderGlance {
    kind: EntryKind,
    message: MessageId,
}

impl Glance {
    /// The message that an entry frame carries.
    pub(super) fn message(&self) -> Option<MessageId> {
        let header = &self.entry.as_ref()?.header;
        (header.kind == EntryKind::Message).then_some(header.message)
    }

    /// The inbox position up to which the device may acknowledge now.
    pub(super) fn held(&self) -> Option<u64> {
        match self.kind {
            Kind::Entry => self.inbox,
            Kind::Placed => Some(self.inbox? + self.count.saturating_sub(1)),
            _ => None,
        }
    }

    /// Refusals end a measurement: what they would measure is another path.
    pub(super) fn unless_refused(self) -> Result<Self, BenchError> {
        match self.error {
            Some(refusal) if self.kind == Kind::Refused => Err(BenchError::Refused(refusal)),
            _ => Ok(self),
        }
    }
}

impl Socket {
    /// Connects to `http://IP:PORT`, from the loopback address `from` where the ports of one do not suffice.
    pub(super) async fn connect(web: &str, from: Option<Ipv4Addr>, read_bytes: usize) -> Result<Self, BenchError> {
        let connecting = async {
            let host = web.strip_prefix("http://").unwrap_or(web);
            let to: SocketAddr = host.parse().map_err(|_| BenchError::wire(format!("{web} is no address")))?;
            let stream = match from {
                Some(from) => {
                    let socket = TcpSocket::new_v4().map_err(BenchError::io("making a socket"))?;
                    socket.bind((from, 0).into()).map_err(BenchError::io("binding a socket"))?;
                    socket.connect(to).await
                }
                None => TcpStream::connect(to).await,
            };
            let stream = stream.map_err(BenchError::io("connecting to a node"))?;
            stream.set_nodelay(true).map_err(BenchError::io("connecting to a node"))?;
            let uri = format!("ws://{host}/v1/socket").parse().map_err(BenchError::wire)?;
            let request = ClientRequestBuilder::new(uri).with_sub_protocol(SOCKET_CBOR);
            let config = WebSocketConfig::default()
                .read_buffer_size(read_bytes)
                .max_message_size(Some(SOCKET_MESSAGE_BYTES_MAX))
                .max_frame_size(Some(SOCKET_MESSAGE_BYTES_MAX));
            let shaken = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
            Ok(Self(shaken.map_err(BenchError::wire)?.0))
        };
        within(ANSWER_WAIT, "connecting", connecting).await
    }

    /// Writes an encoded frame; it has left when this returns.
    pub(super) async fn write(&mut self, encoded: Vec<u8>) -> Result<(), BenchError> {
        self.0.send(Message::Binary(encoded.into())).await.map_err(BenchError::wire)
    }

    /// Puts an encoded frame behind those that [`Self::flush`] lets leave.
    pub(super) async fn feed(&mut self, encoded: Vec<u8>) -> Result<(), BenchError> {
        self.0.feed(Message::Binary(encoded.into())).await.map_err(BenchError::wire)
    }

    /// Lets leave what was fed.
    pub(super) async fn flush(&mut self) -> Result<(), BenchError> {
        self.0.flush().await.map_err(BenchError::wire)
    }

    /// Says a frame.
    pub(super) async fn say(&mut self, frame: &ClientFrame) -> Result<(), BenchError> {
        self.write(codec::encode(frame)).await
    }

    /// The next frame's bytes. May be cancelled.
    pub(super) async fn next(&mut self) -> Result<Bytes, BenchError> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(close))) => {
                    let why = close.map(|close| close.reason.to_string()).unwrap_or_default();
                    return Err(BenchError::wire(format!("the node closed the connection: {why}")));
                }
                Some(Ok(_)) => return Err(BenchError::wire("not a binary message")),
                Some(Err(error)) => return Err(BenchError::wire(error)),
                None => return Err(BenchError::wire("the connection ended")),
            }
        }
    }

    /// The next frame, at a glance. May be cancelled.
    pub(super) async fn glance(&mut self) -> Result<Glance, BenchError> {
        decode::<Glance>(&self.next().await?)?.unless_refused()
    }

    /// A frame that has arrived already, at a glance.
    pub(super) fn glance_at_hand(&mut self) -> Result<Option<Glance>, BenchError> {
        match self.next().now_or_never() {
            Some(bytes) => decode::<Glance>(&bytes?)?.unless_refused().map(Some),
            None => Ok(None),
        }
    }

    /// The next frame, whole.
    pub(super) async fn frame(&mut self) -> Result<ServerFrame, BenchError> {
        let next = within(ANSWER_WAIT, "waiting for a frame", self.next()).await?;
        decode(&next)
    }

    /// Says good-bye.
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.close(None)).await;
    }
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, BenchError> {
    codec::decode(bytes, SOCKET_MESSAGE_BYTES_MAX).map_err(BenchError::wire)
}

/// Bounds a wait.
pub(super) async fn within<T>(
    limit: Duration,
    doing: &str,
    waiting: impl Future<Output = Result<T, BenchError>>,
) -> Result<T, BenchError> {
    match tokio::time::timeout(limit, waiting).await {
        Ok(result) => result,
        Err(_) => Err(BenchError::TimedOut(format!("{doing}: nothing for {} s", limit.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_protocol::feed::{Entry, EntryHeader, payload_hash};
    use roost_protocol::ids::{FeedId, GroupId, Hash, Incarnation};
    use roost_protocol::refusal::Code;
    use roost_protocol::{AccountId, DeviceId, NodeId, SecretKey};

    #[test]
    fn a_glance_sees_the_same_as_the_whole_frame() {
        let message = MessageId([7; 16]);
        let group = GroupId([1; 32]);
        let node = NodeId::of(SecretKey::from_seed(&[3; 32]).public_key());
        let feed = FeedId { group, node, incarnation: Incarnation([2; 16]) };
        let header = EntryHeader {
            feed,
            seq: 9,
            prev: Hash([0; 32]),
            kind: EntryKind::Message,
            epoch: 1,
            account: AccountId([4; 32]),
            device: DeviceId([5; 32]),
            message,
            attempt: 0,
            payload_hash: payload_hash(b"sealed"),
        };
        let entry = Entry { header, payload: b"sealed".to_vec().into(), silent: false };
        let read = |frame: &ServerFrame| decode::<Glance>(&codec::encode(frame)).unwrap();

        let seen = read(&ServerFrame::Entry { inbox: Some(3), entry: entry.clone() });
        assert_eq!((seen.kind, seen.held(), seen.message()), (Kind::Entry, Some(3), Some(message)), "an entry");
        let early = read(&ServerFrame::Entry { inbox: None, entry });
        assert_eq!((early.held(), early.message()), (None, Some(message)), "an entry that has no position yet");
        let placed = read(&ServerFrame::Placed { feed, seq: 9, inbox: 4, count: 3 });
        assert_eq!((placed.held(), placed.message()), (Some(6), None), "three of them are placed, 4 to 6");
        let signed_in = read(&ServerFrame::SignedIn { id: 1, inbox: 9, key_packages: 0, last_resort: false });
        assert_eq!(signed_in.held(), None, "a position that is told is none that is held");
        let custody = read(&ServerFrame::Custody { account: AccountId([4; 32]), group, messages: vec![message] });
        assert_eq!((custody.kind, custody.messages.as_slice()), (Kind::Custody, &[message][..]), "a custody");
        assert_eq!(read(&ServerFrame::Accepted { id: 1, feed, seq: 9 }).kind, Kind::Accepted, "an acceptance");
        assert_eq!(read(&ServerFrame::Done { id: 1 }).kind, Kind::Other, "everything else");
        let error = Refusal::later(Code::Busy, "full", "wait");
        let refused = read(&ServerFrame::Refused { id: None, error }).unless_refused();
        assert!(matches!(refused, Err(BenchError::Refused(_))), "a refusal ends the measurement");
    }
}
