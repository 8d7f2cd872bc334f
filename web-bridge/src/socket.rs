//! One device's WebSocket: from the handshake to the close frame.
//!
//! Carries frames between the device and its home and enforces the bounds of the door. Never decides what a frame means,
//! never holds a key. Implements `docs/protocol.md`, section "Between device and home".
//!
//! Nearly all connections are idle at any moment, so what a connection does now and then is in a box of its own and takes
//! memory only while it does it.

use crate::config::BridgeConfig;
use crate::frames::SubProtocol;
use crate::gate::Gate;
use crate::home::Home;
use crate::limits::{BLOCKED_WRITE_CHECK, FRAMES_A_WRITE, UNREADABLE_IN_A_ROW_MAX};
use crate::listener::Marks;
use crate::rate::{Bucket, Place};
use crate::replies::Replies;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use roost_node::metrics::Refuser;
use roost_node::{Metrics, ToDevice};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::Error as SocketError;

/// A connection after its handshake.
pub(crate) struct Session<H> {
    /// The node.
    pub(crate) home: H,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// The bounds.
    pub(crate) config: Arc<BridgeConfig>,
    /// What the device speaks.
    pub(crate) sub_protocol: SubProtocol,
    /// Of the connection below.
    pub(crate) marks: Arc<Marks>,
    /// Given back at sign-in.
    pub(crate) place: Place,
    /// Given back with the connection.
    pub(crate) _socket: Place,
    /// What its address may try.
    pub(crate) gate: Gate,
    /// True from the moment the bridge drains.
    pub(crate) draining: watch::Receiver<bool>,
    /// Dropped with the session: the bridge waits for all of them.
    pub(crate) _alive: mpsc::Sender<()>,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The other side closed or vanished.
    Gone,
    /// A message over the bound.
    TooLarge,
    /// Text that is not UTF-8.
    NotText,
    /// Not WebSocket.
    Violation,
    /// No device signed in, in time.
    NotSignedIn,
    /// Unreadable frames in a row.
    Unreadable,
    /// Nothing heard, not even a pong.
    Silent,
    /// The device reads too slowly.
    Slow,
    /// The node stops.
    Restart,
    /// The node ends this connection.
    ByHome,
    /// A bug of ours.
    Internal,
}

impl End {
    /// The close code (RFC 6455 section 7.4.1 and its registry) and a reason for people; `None` where nobody listens.
    fn close(self, pause_ms: u64) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Gone => return None,
            Self::TooLarge => (1009, "message too large".to_owned()),
            Self::NotText => (1007, "text is not UTF-8".to_owned()),
            Self::Violation => (1002, "not WebSocket".to_owned()),
            Self::NotSignedIn => (1008, "not signed in in time".to_owned()),
            Self::Unreadable => (1008, "too many malformed frames".to_owned()),
            Self::Silent => (1008, "no pong".to_owned()),
            Self::ByHome => (1008, "closed by the node".to_owned()),
            Self::Internal => (1011, "internal error".to_owned()),
            Self::Restart => (1012, format!("restarting; retry_after_ms={pause_ms}")),
            Self::Slow => (1013, "reads too slowly; resume later".to_owned()),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

impl End {
    /// Its name in the metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::TooLarge => "too_large",
            Self::NotText => "not_text",
            Self::Violation => "violation",
            Self::NotSignedIn => "not_signed_in",
            Self::Unreadable => "unreadable",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Restart => "restart",
            Self::ByHome => "by_home",
            Self::Internal => "internal",
        }
    }
}

/// A connection as the metrics see it: counted once as ended, whatever way its task ends.
struct Counted {
    metrics: Arc<Metrics>,
    end: End,
    signed_in: AtomicBool,
}

impl Counted {
    fn open(metrics: Arc<Metrics>) -> Self {
        metrics.bridge_opened();
        Self { metrics, end: End::Internal, signed_in: AtomicBool::new(false) }
    }

    fn signed_in(&self) {
        if !self.signed_in.swap(true, Ordering::Relaxed) {
            self.metrics.bridge_signed_in();
        }
    }

    fn ended(&mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.bridge_closed(self.end.name(), self.signed_in.load(Ordering::Relaxed));
    }
}

type Sink = SplitSink<WebSocket, Message>;
type Stream = SplitStream<WebSocket>;

impl<H: Home> Session<H> {
    /// Runs the connection to its end. It is taken apart at once: an argument keeps its place as long as the task lives.
    pub(crate) fn run(self, socket: WebSocket) -> impl Future<Output = ()> + Send {
        let (sink, stream) = socket.split();
        self.run_parts(sink, stream)
    }

    async fn run_parts(mut self, mut sink: Sink, mut stream: Stream) {
        let mut counted = Counted::open(Arc::clone(&self.metrics));
        let replies = Replies::default();
        let (config, sub_protocol) = (&self.config, self.sub_protocol);
        let Ok(challenge) = draw_challenge() else {
            tracing::error!("the system gives no randomness");
            counted.ended(End::Internal);
            return Box::pin(part(config, sub_protocol, &mut sink, &mut stream, &replies, End::Internal, 0)).await;
        };
        // Devices of one node come back spread over five seconds; the challenge is public and random.
        let pause_ms = 500 + u64::from(challenge.first().copied().unwrap_or(0)) * 18;
        let end = match Box::pin(self.home.connect(challenge)).await {
            Err(_) => End::Restart,
            Ok((connection, mut from_home)) => {
                let (signed_in, linking) = (Notify::new(), Notify::new());
                let mut writer = Writer {
                    home: &self.home,
                    counted: &counted,
                    config,
                    gate: &self.gate,
                    sub_protocol,
                    sink: &mut sink,
                    from_home: &mut from_home,
                    replies: &replies,
                };
                let mut reader = Reader {
                    home: &self.home,
                    metrics: &counted.metrics,
                    config,
                    gate: &self.gate,
                    sub_protocol,
                    stream: &mut stream,
                    replies: &replies,
                    linking: &linking,
                };
                let end = tokio::select! {
                    end = writer.run(self.place, &signed_in) => end,
                    end = reader.run(connection) => end,
                    end = unless_signed_in(config, &signed_in, &linking) => end,
                    _ = self.draining.wait_for(|draining| *draining) => End::Restart,
                };
                Box::pin(self.home.closed(connection)).await;
                end
            }
        };
        if end == End::TooLarge {
            self.marks.linger();
        }
        tracing::debug!(?end, "a connection ends");
        counted.ended(end);
        Box::pin(part(config, sub_protocol, &mut sink, &mut stream, &replies, end, pause_ms)).await;
    }
}

/// From the home and the door to the device.
struct Writer<'a, H> {
    home: &'a H,
    counted: &'a Counted,
    config: &'a BridgeConfig,
    gate: &'a Gate,
    sub_protocol: SubProtocol,
    sink: &'a mut Sink,
    from_home: &'a mut mpsc::Receiver<ToDevice>,
    replies: &'a Replies,
}

impl<H: Home> Writer<'_, H> {
    async fn run(&mut self, place: Place, signed_in: &Notify) -> End {
        let mut place = Some(place);
        let mut pings = interval_at(Instant::now() + self.config.ping_every, self.config.ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut waiting = Vec::new();
            let of_the_door = tokio::select! {
                count = self.from_home.recv_many(&mut waiting, FRAMES_A_WRITE) => match count {
                    0 => return given_up(self.home),
                    _ => None,
                },
                frame = self.replies.next() => Some(self.sub_protocol.encode(&frame)),
                _ = pings.tick() => Some(Some(Message::Ping(Default::default()))),
            };
            let mut messages = Vec::from_iter(of_the_door);
            let mut end = None;
            for next in waiting {
                let ToDevice::Frame(frame) = next else {
                    end = Some(if self.home.is_ready() { End::ByHome } else { End::Restart });
                    break;
                };
                if matches!(*frame, ServerFrame::SignedIn { .. }) {
                    drop(place.take());
                    self.counted.signed_in();
                    signed_in.notify_one();
                }
                self.gate.answered(&frame, Instant::now());
                messages.push(self.sub_protocol.encode(&frame));
            }
            let Some(messages) = messages.into_iter().collect() else {
                tracing::error!("a frame cannot be encoded");
                return End::Internal;
            };
            if let Err(end) = Box::pin(self.write(messages)).await {
                return end;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Writes messages, unless the device reads so slowly that the node gives it up or the time is over. Those that wait
    /// together leave together: a system call a frame costs more than the frame.
    async fn write(&mut self, messages: Vec<Message>) -> Result<(), End> {
        let Self { sink, from_home, config, home, counted, .. } = self;
        let mut send = pin!(async {
            for message in messages {
                let is_frame = !matches!(message, Message::Ping(_));
                sink.feed(message).await?;
                if is_frame {
                    counted.metrics.bridge_frame_out();
                }
            }
            sink.flush().await
        });
        let mut late = pin!(sleep(config.write_within));
        loop {
            tokio::select! {
                biased;
                sent = &mut send => return sent.map_err(end_of),
                () = &mut late => return Err(End::Slow),
                () = sleep(BLOCKED_WRITE_CHECK) => if from_home.is_closed() {
                    return Err(given_up(*home));
                },
            }
        }
    }
}

/// The node dropped the connection's queue: because it stops, or because the queue ran over.
fn given_up<H: Home>(home: &H) -> End {
    if home.is_ready() { End::Slow } else { End::Restart }
}

/// From the device to the home.
struct Reader<'a, H> {
    home: &'a H,
    metrics: &'a Metrics,
    config: &'a BridgeConfig,
    gate: &'a Gate,
    sub_protocol: SubProtocol,
    stream: &'a mut Stream,
    replies: &'a Replies,
    linking: &'a Notify,
}

impl<H: Home> Reader<'_, H> {
    async fn run(&mut self, connection: u64) -> End {
        let mut bucket = Bucket::full(self.config.frames_burst, self.config.frames_per_s, Instant::now());
        let mut unreadable_in_a_row = 0;
        loop {
            let message = match timeout(self.config.silence_max, self.stream.next()).await {
                Err(_) => return End::Silent,
                Ok(None) => return End::Gone,
                Ok(Some(Err(error))) => return end_of(error),
                Ok(Some(Ok(message))) => message,
            };
            // Whoever is too fast is read later, frame by frame: a refusal would change the order of what was sent.
            while let Err(wait) = bucket.take(Instant::now()) {
                sleep(wait).await;
            }
            match message {
                Message::Close(_) => return End::Gone,
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Text(_) | Message::Binary(_) => self.metrics.bridge_frame_in(),
            }
            match Box::pin(self.heard(connection, message)).await {
                Ok(true) => unreadable_in_a_row = 0,
                Ok(false) => unreadable_in_a_row += 1,
                Err(end) => return end,
            }
            if unreadable_in_a_row >= UNREADABLE_IN_A_ROW_MAX {
                return End::Unreadable;
            }
        }
    }

    /// Hands one frame to the home; `false` when it could not be read.
    async fn heard(&self, connection: u64, message: Message) -> Result<bool, End> {
        let frame = match self.sub_protocol.decode(&message) {
            Ok(frame) => frame,
            Err(error) => {
                let hint = "send one frame of docs/protocol.md a message, in the sub-protocol that was agreed";
                let refusal = Refusal::never(Code::Malformed, error.to_string(), hint);
                self.refuse(None, refusal).await;
                return Ok(false);
            }
        };
        match self.gate.pass(&frame, Instant::now()) {
            Ok(()) => {
                if let ClientFrame::LinkRequest { .. } = frame {
                    self.linking.notify_one();
                }
                self.home.frame(connection, frame).await.map_err(|_| End::Restart)?;
            }
            Err(refusal) => self.refuse(frame.id(), refusal).await,
        }
        Ok(true)
    }

    async fn refuse(&self, id: Option<u64>, error: Refusal) {
        self.metrics.refused(Refuser::Bridge, error.code);
        self.replies.push(ServerFrame::Refused { id, error }).await;
    }
}

/// Ends after the time for sign-in; never, once a device has signed in. Whoever asks to be linked has, once, the time that a
/// person needs to answer.
async fn unless_signed_in(config: &BridgeConfig, signed_in: &Notify, linking: &Notify) -> End {
    let either = async {
        tokio::select! {
            () = signed_in.notified() => true,
            () = linking.notified() => false,
        }
    };
    let in_time = match Box::pin(timeout(config.sign_in_within, either)).await {
        Ok(true) => true,
        Ok(false) => Box::pin(timeout(config.link_within, signed_in.notified())).await.is_ok(),
        Err(_) => false,
    };
    if in_time { std::future::pending().await } else { End::NotSignedIn }
}

/// Says what is left to say, then why the connection ends, and waits a bounded time for the other side's close frame.
async fn part(
    config: &BridgeConfig,
    sub_protocol: SubProtocol,
    sink: &mut Sink,
    stream: &mut Stream,
    replies: &Replies,
    end: End,
    pause_ms: u64,
) {
    let farewell = async {
        let Some(close) = end.close(pause_ms) else {
            return sink.close().await;
        };
        while let Some(reply) = replies.take() {
            if let Some(message) = sub_protocol.encode(&reply) {
                sink.send(message).await?;
            }
        }
        sink.send(Message::Close(Some(close))).await?;
        while let Some(Ok(message)) = stream.next().await {
            if matches!(message, Message::Close(_)) {
                break;
            }
        }
        Ok(())
    };
    // A failure here means that nobody is left to hear it.
    let _ = timeout(config.close_within, farewell).await;
}

/// What an error of the WebSocket below means for the connection.
fn end_of(error: axum::Error) -> End {
    match error.into_inner().downcast_ref::<SocketError>() {
        Some(SocketError::Capacity(_)) => End::TooLarge,
        Some(SocketError::Utf8(_)) => End::NotText,
        Some(SocketError::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        )) => End::Gone,
        Some(SocketError::Protocol(_)) => End::Violation,
        Some(SocketError::WriteBufferFull(_)) => End::Slow,
        _ => End::Gone,
    }
}

/// 32 bytes that no other connection has.
#[expect(clippy::disallowed_methods, reason = "the door is an edge: a challenge is made where its connection begins")]
fn draw_challenge() -> Result<[u8; 32], getrandom::Error> {
    let mut challenge = [0; 32];
    getrandom::fill(&mut challenge)?;
    Ok(challenge)
}
