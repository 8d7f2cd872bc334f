//! Stories of the whole door over real sockets, in front of a home that does as it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::config::{BridgeConfig, BridgeError};
use crate::home::Home;
use crate::open;
use futures::{SinkExt, StreamExt};
use roost_node::blobs::{Part, PartError};
use roost_node::relay::Rate;
use roost_node::{Bridge, Discovery, Metrics, Stopped, ToDevice};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{BlobId, BlobTicket, Incarnation, LinkSession};
use roost_protocol::limits::SOCKET_MESSAGE_BYTES_MAX;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{ClientFrame, ServerFrame, sign_in_signature};
use roost_protocol::{AccountId, Bytes, DeviceId, NodeId, OrgId, SOCKET_CBOR, SOCKET_JSON, SecretKey, codec};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as ClientError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longer than any of these stories; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// A home that answers `SignIn` with `SignedIn`, `Resume` with more than fits its queue, `Ack` with a close, all else with
/// `Done`.
#[derive(Clone)]
struct FakeHome(Arc<Fake>);

struct Fake {
    ready: AtomicBool,
    connections: Mutex<HashMap<u64, mpsc::Sender<ToDevice>>>,
    next: AtomicU64,
    closed: watch::Sender<u64>,
    overflowed: watch::Sender<bool>,
    forwarded: AtomicU64,
    metrics: Arc<Metrics>,
}

impl FakeHome {
    fn new() -> Self {
        Self(Arc::new(Fake {
            ready: AtomicBool::new(true),
            connections: Mutex::default(),
            next: AtomicU64::new(1),
            closed: watch::Sender::new(0),
            overflowed: watch::Sender::new(false),
            forwarded: AtomicU64::new(0),
            metrics: Metrics::detached(),
        }))
    }

    fn node() -> NodeId {
        NodeId::of(SecretKey::from_seed(&[1; 32]).public_key())
    }
}

impl Home for FakeHome {
    async fn connect(&self, challenge: [u8; 32]) -> Result<(u64, mpsc::Receiver<ToDevice>), Stopped> {
        let (sender, receiver) = mpsc::channel(256);
        let hello = ServerFrame::Hello {
            versions: vec![1],
            features: vec![],
            node: Self::node(),
            org: OrgId([3; 32]),
            name: "acme".into(),
            challenge: Bytes(challenge.to_vec()),
            incarnation: Incarnation([4; 16]),
        };
        sender.try_send(ToDevice::Frame(Box::new(hello))).unwrap();
        let connection = self.0.next.fetch_add(1, Ordering::SeqCst);
        self.0.connections.lock().unwrap().insert(connection, sender);
        Ok((connection, receiver))
    }

    async fn frame(&self, connection: u64, frame: ClientFrame) -> Result<(), Stopped> {
        self.0.forwarded.fetch_add(1, Ordering::SeqCst);
        let mut connections = self.0.connections.lock().unwrap();
        let Some(sender) = connections.get(&connection) else { return Ok(()) };
        let answer = match frame {
            ClientFrame::SignIn { id, .. } => {
                ToDevice::Frame(Box::new(ServerFrame::SignedIn { id, inbox: 7, key_packages: 0, last_resort: false }))
            }
            ClientFrame::Ack { .. } => ToDevice::Close,
            ClientFrame::SignUp { id, handle, .. } if handle == "guess" => {
                let error = Refusal::never(Code::BadInvite, "no such invite", "ask for one");
                ToDevice::Frame(Box::new(ServerFrame::Refused { id: Some(id), error }))
            }
            ClientFrame::SignUp { id, handle, .. } if handle == "taken" => {
                let error = Refusal::never(Code::HandleTaken, "taken", "choose another");
                ToDevice::Frame(Box::new(ServerFrame::Refused { id: Some(id), error }))
            }
            ClientFrame::Resume { .. } => {
                let large = Refusal::never(Code::Internal, "x".repeat(100_000), "");
                let large = ServerFrame::Refused { id: None, error: large };
                while sender.try_send(ToDevice::Frame(Box::new(large.clone()))).is_ok() {}
                connections.remove(&connection);
                self.0.overflowed.send_replace(true);
                return Ok(());
            }
            frame => ToDevice::Frame(Box::new(ServerFrame::Done { id: frame.id().unwrap() })),
        };
        sender.try_send(answer).unwrap();
        Ok(())
    }

    async fn closed(&self, connection: u64) {
        self.0.connections.lock().unwrap().remove(&connection);
        self.0.closed.send_modify(|count| *count += 1);
    }

    async fn discover(&self, handle: Handle) -> Result<Discovery, Refusal> {
        if handle.local() != "alice" {
            return Err(Refusal::never(Code::NotFound, "no such handle", "check the spelling"));
        }
        let bridge = Bridge {
            url: "https://chat.acme.example".into(),
            org_id: OrgId([3; 32]),
            peer_id: Self::node(),
            region: "eu".into(),
            load: 0.0,
        };
        let fresh_until_ms = 1_700_000_000_000;
        Ok(Discovery { handle, account: AccountId([5; 32]), bridges: vec![bridge], fresh_until_ms })
    }

    async fn put_blob(&self, _: BlobId, ticket: BlobTicket, part: Vec<u8>) -> Result<u64, PartError> {
        if ticket == BlobTicket([7; 32]) { Ok(part.len() as u64) } else { Err(PartError::Ticket) }
    }

    async fn get_blob(&self, _: BlobId, ticket: BlobTicket, offset: u64) -> Result<Part, PartError> {
        let bytes = b"sealed".get(usize::try_from(offset).unwrap()..).unwrap_or_default().to_vec();
        if ticket == BlobTicket([7; 32]) { Ok(Part { total: 6, bytes }) } else { Err(PartError::Ticket) }
    }

    fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::SeqCst)
    }

    fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.0.metrics)
    }
}

/// A door in front of a fake home; dropping `stop` shuts it down.
struct Opened {
    address: SocketAddr,
    home: FakeHome,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn opened(change: impl FnOnce(&mut BridgeConfig)) -> Opened {
    let mut config = BridgeConfig::new("127.0.0.1:0".parse().unwrap());
    config.origins = vec!["https://chat.acme.example".into()];
    change(&mut config);
    let home = FakeHome::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let (address, task) = open(config, home.clone(), shutdown).await.expect("the door opens");
    Opened { address, home, stop, task }
}

/// Connects; the status of the answer where there is no upgrade.
async fn dial(
    address: SocketAddr,
    protocol: Option<&'static str>,
    origin: Option<&'static str>,
) -> Result<Client, u16> {
    let mut request = format!("ws://{address}/v1/socket").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    }
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", HeaderValue::from_static(origin));
    }
    match connect_async(request).await {
        Ok((client, response)) => {
            let agreed = response.headers().get("sec-websocket-protocol").map(|name| name.to_str().unwrap().to_owned());
            assert_eq!(agreed.as_deref(), protocol, "the offered sub-protocol is agreed");
            Ok(client)
        }
        Err(ClientError::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("neither upgrade nor HTTP error: {error}"),
    }
}

fn write(protocol: &str, frame: &ClientFrame) -> Message {
    if protocol == SOCKET_CBOR {
        Message::binary(codec::encode(frame))
    } else {
        Message::text(serde_json::to_string(frame).unwrap())
    }
}

async fn next(client: &mut Client) -> Message {
    tokio::time::timeout(PATIENCE, client.next())
        .await
        .expect("something comes")
        .expect("not closed")
        .expect("no error")
}

async fn next_frame(client: &mut Client) -> ServerFrame {
    loop {
        match next(client).await {
            Message::Binary(bytes) => return codec::decode(&bytes, SOCKET_MESSAGE_BYTES_MAX).expect("a CBOR frame"),
            Message::Text(text) => return serde_json::from_str(&text).expect("a JSON frame"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("expected a frame, got {other:?}"),
        }
    }
}

/// Reads on until the close frame.
async fn close_code(client: &mut Client) -> (u16, String) {
    loop {
        if let Message::Close(frame) = next(client).await {
            let frame = frame.expect("the close frame has a code");
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

fn resolve(id: u64) -> ClientFrame {
    ClientFrame::Resolve { id, handle: "bob@beta.example".parse().unwrap() }
}

async fn sign_in(client: &mut Client, protocol: &str) {
    let ServerFrame::Hello { challenge, node, .. } = next_frame(client).await else { panic!("Hello comes first") };
    let (account, device) = (AccountId([5; 32]), DeviceId([6; 32]));
    let signature = sign_in_signature(&SecretKey::from_seed(&[9; 32]), &node, challenge.as_slice(), &account, &device);
    let frame = ClientFrame::SignIn { id: 1, account, device, signature };
    client.send(write(protocol, &frame)).await.unwrap();
    let answer = next_frame(client).await;
    assert!(matches!(answer, ServerFrame::SignedIn { id: 1, inbox: 7, .. }), "signed in, got {answer:?}");
}

/// One HTTP/1.1 request as bytes; the whole answer.
async fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.replace("HOST", &format!("HTTP/1.1\r\nHost: {address}")).as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
    answer
}

#[tokio::test]
async fn alice_signs_in_and_asks_in_both_sub_protocols() {
    let door = opened(|_| ()).await;
    for protocol in [SOCKET_CBOR, SOCKET_JSON] {
        let mut alice = dial(door.address, Some(protocol), None).await.expect("upgraded");
        sign_in(&mut alice, protocol).await;
        alice.send(write(protocol, &resolve(2))).await.unwrap();
        assert_eq!(next_frame(&mut alice).await, ServerFrame::Done { id: 2 }, "the answer echoes the id in {protocol}");
        alice.close(None).await.unwrap();
    }
    let mut closed = door.home.0.closed.subscribe();
    tokio::time::timeout(PATIENCE, closed.wait_for(|count| *count == 2))
        .await
        .expect("the home hears of both")
        .unwrap();
}

#[tokio::test]
async fn two_connections_never_share_a_challenge() {
    let door = opened(|_| ()).await;
    let mut challenges = Vec::new();
    for _ in 0..2 {
        let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
        let ServerFrame::Hello { challenge, .. } = next_frame(&mut alice).await else { panic!("Hello comes first") };
        challenges.push(challenge);
    }
    assert_eq!(challenges[0].len(), 32, "a challenge has 32 bytes");
    assert_ne!(challenges[0], challenges[1], "each connection has its own");
}

#[tokio::test]
async fn a_foreign_page_is_refused_and_the_listed_ones_are_not() {
    let door = opened(|_| ()).await;
    for (origin, refused) in [
        (None, None),
        (Some("https://chat.acme.example"), None),
        (Some("https://eve.example"), Some(403)),
        (Some("null"), Some(403)),
    ] {
        let status = dial(door.address, Some(SOCKET_JSON), origin).await.err();
        assert_eq!(status, refused, "origin {origin:?}");
    }
}

#[tokio::test]
async fn a_part_needs_a_ticket_and_a_listed_origin() {
    let door = opened(|_| ()).await;
    let (blob, ticket) = ("01".repeat(32), "07".repeat(32));
    let ask = async |method: &str, headers: &str, body: &str| {
        http(door.address, &format!("{method} /v1/blobs/{blob} HOST\r\n{headers}\r\n{body}")).await
    };
    let good = format!("Authorization: Roost-Ticket {ticket}\r\n");
    let taken = ask("PUT", &format!("{good}Content-Length: 5\r\n"), "bytes").await;
    assert!(taken.starts_with("HTTP/1.1 200") && taken.contains("{\"have\":5}"), "with a ticket: {taken}");
    let given = ask("GET", &format!("{good}Range: bytes=2-\r\n"), "").await;
    assert!(given.starts_with("HTTP/1.1 206") && given.ends_with("aled"), "from where it was asked for: {given}");
    assert!(given.contains("content-range: bytes 2-5/6"), "it says which part: {given}");
    assert!(given.contains("content-disposition: attachment"), "nothing that a browser would show: {given}");
    let behind = ask("GET", &format!("{good}Range: bytes=6-\r\n"), "").await;
    assert!(behind.starts_with("HTTP/1.1 416"), "there is nothing behind the end: {behind}");
    let other = format!("Authorization: Roost-Ticket {}\r\n", "08".repeat(32));
    for (what, method, headers, status) in [
        ("no ticket", "GET", String::new(), 403),
        ("another ticket", "GET", other.clone(), 403),
        ("another scheme", "GET", format!("Authorization: Bearer {ticket}\r\n"), 403),
        ("two tickets", "GET", format!("{good}{other}"), 403),
        ("no range", "GET", format!("{good}Range: items=2-\r\n"), 400),
        ("a foreign page", "GET", format!("{good}Origin: https://eve.example\r\n"), 403),
        ("no length", "PUT", good.clone(), 400),
        ("no length, in chunks", "PUT", format!("{good}Transfer-Encoding: chunked\r\n"), 400),
        ("too much", "PUT", format!("{good}Content-Length: 524289\r\n"), 413),
        ("another method", "DELETE", good.clone(), 405),
    ] {
        let answer = ask(method, &headers, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
    }
    let bad_name = http(door.address, &format!("GET /v1/blobs/..%2Fetc HOST\r\n{good}\r\n")).await;
    assert!(bad_name.starts_with("HTTP/1.1 400"), "a name is hex: {bad_name}");
    let elsewhere = http(door.address, "PUT /v1/discover HOST\r\nContent-Length: 1\r\n\r\nx").await;
    assert!(elsewhere.starts_with("HTTP/1.1 413"), "no other path takes a body: {elsewhere}");

    let page = "Origin: https://chat.acme.example\r\n";
    let asked = ask("OPTIONS", &format!("{page}Access-Control-Request-Method: PUT\r\n"), "").await;
    assert!(asked.starts_with("HTTP/1.1 204"), "a listed page may ask first: {asked}");
    for header in ["allow-origin: https://chat.acme.example", "allow-methods: GET, PUT", "allow-headers: authorization"]
    {
        assert!(asked.contains(&format!("access-control-{header}")), "{header}: {asked}");
    }
    let read = ask("GET", &format!("{good}{page}"), "").await;
    assert!(read.contains("access-control-allow-origin: https://chat.acme.example"), "and read the answer: {read}");
    assert!(read.contains("vary: origin"), "which is for it alone: {read}");
    let foreign = ask("OPTIONS", "Origin: https://eve.example\r\n", "").await;
    assert!(
        foreign.starts_with("HTTP/1.1 403") && !foreign.contains("allow-origin"),
        "another page may not: {foreign}"
    );
}

#[tokio::test]
async fn no_common_sub_protocol_is_400_and_no_upgrade_is_426() {
    let door = opened(|_| ()).await;
    assert_eq!(dial(door.address, None, None).await.err(), Some(400), "nothing offered");
    assert_eq!(dial(door.address, Some("chat"), None).await.err(), Some(400), "nothing in common");
    let answer = http(door.address, "GET /v1/socket HOST\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 426"), "a plain GET needs an upgrade: {answer}");
}

#[tokio::test]
async fn an_oversize_message_closes_with_1009() {
    let door = opened(|_| ()).await;
    for protocol in [SOCKET_CBOR, SOCKET_JSON] {
        let mut eve = dial(door.address, Some(protocol), None).await.expect("upgraded");
        let _ = next_frame(&mut eve).await;
        eve.send(Message::binary(vec![0; SOCKET_MESSAGE_BYTES_MAX + 1])).await.unwrap();
        assert_eq!(close_code(&mut eve).await.0, 1009, "one byte over the bound in {protocol}");
    }
}

#[tokio::test]
async fn malformed_frames_are_refused_and_eight_in_a_row_close() {
    let door = opened(|_| ()).await;
    let mut eve = dial(door.address, Some(SOCKET_JSON), None).await.expect("upgraded");
    let _ = next_frame(&mut eve).await;
    let malformed = async |eve: &mut Client, message: Message| {
        eve.send(message).await.unwrap();
        let answer = next_frame(eve).await;
        let ServerFrame::Refused { id: None, error } = answer else { panic!("expected a refusal, got {answer:?}") };
        assert_eq!(error.code, Code::Malformed, "the cause is told");
    };
    for _ in 0..7 {
        malformed(&mut eve, Message::text("{}")).await;
    }
    eve.send(write(SOCKET_JSON, &resolve(5))).await.unwrap();
    assert_eq!(next_frame(&mut eve).await, ServerFrame::Done { id: 5 }, "seven are forgiven by a good one");
    for _ in 0..8 {
        malformed(&mut eve, Message::binary(codec::encode(&resolve(6)))).await;
    }
    assert_eq!(close_code(&mut eve).await.0, 1008, "the eighth in a row closes");
    assert_eq!(door.home.0.forwarded.load(Ordering::SeqCst), 1, "the home saw the good one only");
}

#[tokio::test]
async fn who_does_not_sign_in_is_closed_with_1008_and_who_does_stays() {
    let door = opened(|config| config.sign_in_within = Duration::from_secs(1)).await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut alice, SOCKET_CBOR).await;
    let mut eve = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    eve.send(write(SOCKET_CBOR, &resolve(2))).await.unwrap();
    assert_eq!(close_code(&mut eve).await.0, 1008, "other frames are no sign-in");
    alice.send(write(SOCKET_CBOR, &resolve(3))).await.unwrap();
    assert_eq!(next_frame(&mut alice).await, ServerFrame::Done { id: 3 }, "alice outlived the time for sign-in");
}

#[tokio::test]
async fn requests_to_link_are_counted_by_address_and_give_their_connection_time() {
    let door = opened(|config| {
        config.sign_in_within = Duration::from_secs(1);
        config.link_within = Duration::from_secs(2);
        config.link_requests = Rate::new(2, 1, 60_000);
    })
    .await;
    let link = |id: u8| ClientFrame::LinkRequest {
        id: id.into(),
        account: AccountId([3; 32]),
        session: LinkSession([id; 16]),
        sealed: Bytes(vec![1]),
    };
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    let _ = next_frame(&mut alice).await;
    assert_eq!(refusal(&mut alice, &link(1)).await, None, "alice's new phone asks");
    let mut eve = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    assert_eq!(close_code(&mut eve).await.0, 1008, "eve, who came later and asks nothing, is closed");
    assert_eq!(refusal(&mut alice, &resolve(2)).await, None, "the phone has time for an answer");
    assert_eq!(refusal(&mut alice, &link(3)).await, None, "another request gives no more of it");
    let mut eve = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    let _ = next_frame(&mut eve).await;
    assert_eq!(refusal(&mut eve, &link(4)).await, Some((Code::Busy, true)), "the address has asked twice");
    assert_eq!(close_code(&mut alice).await.0, 1008, "who is not answered is closed in the end");
}

#[tokio::test]
async fn an_address_has_a_bounded_number_of_connections_that_are_not_signed_in() {
    let door = opened(|config| config.pending_per_address_max = 2).await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("the first fits");
    let _bob = dial(door.address, Some(SOCKET_CBOR), None).await.expect("the second fits");
    assert_eq!(dial(door.address, Some(SOCKET_CBOR), None).await.err(), Some(429), "the third does not");
    sign_in(&mut alice, SOCKET_CBOR).await;
    assert!(dial(door.address, Some(SOCKET_CBOR), None).await.is_ok(), "alice's sign-in gave her place back");
}

#[tokio::test]
async fn frames_over_the_rate_are_read_later_in_their_order_and_none_is_refused() {
    let door = opened(|config| (config.frames_burst, config.frames_per_s) = (3, 20)).await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut alice, SOCKET_CBOR).await;
    let start = tokio::time::Instant::now();
    for id in 2..=14 {
        alice.feed(write(SOCKET_CBOR, &resolve(id))).await.unwrap();
    }
    alice.flush().await.unwrap();
    for id in 2..=14 {
        assert_eq!(next_frame(&mut alice).await, ServerFrame::Done { id }, "answered in the order of asking");
    }
    // Three were free at most, ten were let in at 20 a second.
    assert!(start.elapsed() >= Duration::from_millis(450), "slowed down, took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_flood_of_pings_slows_down_whoever_sends_it_and_nobody_else() {
    let door = opened(|config| (config.frames_burst, config.frames_per_s) = (5, 50)).await;
    let mut eve = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut eve, SOCKET_CBOR).await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut alice, SOCKET_CBOR).await;
    for _ in 0..50 {
        eve.feed(Message::Ping(vec![0; 100].into())).await.unwrap();
    }
    eve.feed(write(SOCKET_CBOR, &resolve(2))).await.unwrap();
    eve.flush().await.unwrap();
    alice.send(write(SOCKET_CBOR, &resolve(3))).await.unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(next_frame(&mut alice).await, ServerFrame::Done { id: 3 }, "alice is answered");
    assert!(start.elapsed() < Duration::from_millis(700), "at once, took {:?}", start.elapsed());
    assert_eq!(next_frame(&mut eve).await, ServerFrame::Done { id: 2 }, "eve is answered behind her pings");
    assert!(start.elapsed() >= Duration::from_millis(700), "later, took {:?}", start.elapsed());
}

#[tokio::test]
async fn an_address_has_a_bounded_number_of_sockets_though_they_have_signed_in() {
    let door = opened(|config| config.sockets_per_address_max = 2).await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("the first fits");
    sign_in(&mut alice, SOCKET_CBOR).await;
    let mut bob = dial(door.address, Some(SOCKET_CBOR), None).await.expect("the second fits");
    sign_in(&mut bob, SOCKET_CBOR).await;
    assert_eq!(dial(door.address, Some(SOCKET_CBOR), None).await.err(), Some(429), "the third does not");
    alice.close(None).await.unwrap();
    let mut closed = door.home.0.closed.subscribe();
    tokio::time::timeout(PATIENCE, closed.wait_for(|count| *count == 1)).await.expect("alice leaves").unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while dial(door.address, Some(SOCKET_CBOR), None).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "alice's place is free again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn handshakes_over_the_rate_are_told_to_come_back() {
    let door = opened(|config| config.handshakes = Rate::new(2, 1, 60_000)).await;
    for _ in 0..2 {
        dial(door.address, Some(SOCKET_CBOR), None).await.expect("within the burst").close(None).await.unwrap();
    }
    assert_eq!(dial(door.address, Some(SOCKET_CBOR), None).await.err(), Some(429), "over it");
    let answer = http(door.address, "GET /livez HOST\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "what is no handshake is not concerned: {answer}");
}

fn sign_up(id: u64, handle: &str) -> ClientFrame {
    // The door does not look into a log; an empty one is a frame all the same.
    let log = serde_json::from_str("[]").unwrap();
    ClientFrame::SignUp { id, handle: handle.into(), invite: None, log }
}

async fn refusal(client: &mut Client, frame: &ClientFrame) -> Option<(Code, bool)> {
    client.send(write(SOCKET_CBOR, frame)).await.unwrap();
    match next_frame(client).await {
        ServerFrame::Refused { id, error } => {
            assert_eq!(id, frame.id(), "the refusal names the frame");
            Some((error.code, error.retry_after_ms.is_some()))
        }
        _ => None,
    }
}

#[tokio::test]
async fn failed_sign_ins_of_an_address_are_counted_over_its_connections() {
    let door = opened(|config| config.sign_in_failures = Rate::new(3, 1, 60_000)).await;
    let mut eve = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    let _ = next_frame(&mut eve).await;
    for id in 1..=3 {
        let refused = refusal(&mut eve, &sign_up(id, "guess")).await;
        assert_eq!(refused, Some((Code::BadInvite, false)), "guess {id} reaches the home");
    }
    let mut again = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    let _ = next_frame(&mut again).await;
    let refused = refusal(&mut again, &sign_up(4, "eve")).await;
    assert_eq!(refused, Some((Code::Busy, true)), "another connection of hers does not help");
    assert_eq!(door.home.0.forwarded.load(Ordering::SeqCst), 3, "the home saw three guesses");
}

#[tokio::test]
async fn an_address_makes_a_bounded_number_of_accounts_and_a_taken_name_costs_nothing() {
    let door = opened(|config| config.sign_ups = Rate::new(2, 1, 60_000)).await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    let _ = next_frame(&mut alice).await;
    for id in 1..=5 {
        let refused = refusal(&mut alice, &sign_up(id, "taken")).await;
        assert_eq!(refused, Some((Code::HandleTaken, false)), "choosing a name may take a few tries");
    }
    for id in 6..=7 {
        assert_eq!(refusal(&mut alice, &sign_up(id, "free")).await, None, "account {id} is made");
    }
    let refused = refusal(&mut alice, &sign_up(8, "free")).await;
    assert_eq!(refused, Some((Code::Busy, true)), "no third");
}

#[tokio::test]
async fn a_slow_reader_is_told_to_come_back_with_1013() {
    let door = opened(|_| ()).await;
    let mut bob = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut bob, SOCKET_CBOR).await;
    bob.send(write(SOCKET_CBOR, &ClientFrame::Resume { id: 2, incarnation: Incarnation([4; 16]), after: 0 }))
        .await
        .unwrap();
    let mut overflowed = door.home.0.overflowed.subscribe();
    tokio::time::timeout(PATIENCE, overflowed.wait_for(|done| *done)).await.expect("the queue runs over").unwrap();
    assert_eq!(close_code(&mut bob).await.0, 1013, "bob reads on and learns that he was too slow");
}

#[tokio::test]
async fn who_never_reads_is_let_go() {
    let door = opened(|config| config.close_within = Duration::from_millis(100)).await;
    let mut eve = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut eve, SOCKET_CBOR).await;
    eve.send(write(SOCKET_CBOR, &ClientFrame::Resume { id: 2, incarnation: Incarnation([4; 16]), after: 0 }))
        .await
        .unwrap();
    let mut closed = door.home.0.closed.subscribe();
    tokio::time::timeout(PATIENCE, closed.wait_for(|count| *count == 1)).await.expect("the session ends").unwrap();
}

#[tokio::test]
async fn a_silent_device_is_pinged_and_then_closed() {
    let door = opened(|config| {
        config.ping_every = Duration::from_millis(100);
        config.silence_max = Duration::from_millis(700);
    })
    .await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut alice, SOCKET_CBOR).await;
    for _ in 0..8 {
        assert!(
            matches!(next(&mut alice).await, Message::Ping(_)),
            "who answers pings stays beyond the time of silence"
        );
    }
    let mut closed = door.home.0.closed.subscribe();
    tokio::time::timeout(PATIENCE, closed.wait_for(|count| *count == 1))
        .await
        .expect("who stops answering goes")
        .unwrap();
}

#[tokio::test]
async fn a_close_by_the_home_follows_its_last_frame() {
    let door = opened(|_| ()).await;
    let mut alice = dial(door.address, Some(SOCKET_JSON), None).await.expect("upgraded");
    sign_in(&mut alice, SOCKET_JSON).await;
    alice.feed(write(SOCKET_JSON, &resolve(2))).await.unwrap();
    alice.feed(write(SOCKET_JSON, &ClientFrame::Ack { inbox: 1 })).await.unwrap();
    alice.flush().await.unwrap();
    assert_eq!(next_frame(&mut alice).await, ServerFrame::Done { id: 2 }, "what was said before the close arrives");
    assert_eq!(close_code(&mut alice).await.0, 1008, "then the close");
}

#[tokio::test]
async fn a_restart_closes_with_1012_and_the_door_ends() {
    let door = opened(|_| ()).await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut alice, SOCKET_CBOR).await;
    door.stop.send(()).unwrap();
    let (code, reason) = close_code(&mut alice).await;
    assert_eq!(code, 1012, "a restart is told as one");
    assert!(reason.contains("retry_after_ms="), "with a pause of its own: {reason}");
    let _ = alice.next().await;
    tokio::time::timeout(PATIENCE, door.task).await.expect("the door ends before its limit").unwrap();
    assert!(TcpStream::connect(door.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_node_that_stops_closes_with_1012() {
    let door = opened(|_| ()).await;
    let mut alice = dial(door.address, Some(SOCKET_CBOR), None).await.expect("upgraded");
    sign_in(&mut alice, SOCKET_CBOR).await;
    door.home.0.ready.store(false, Ordering::SeqCst);
    door.home.0.connections.lock().unwrap().clear();
    assert_eq!(close_code(&mut alice).await.0, 1012, "a node that is not ready did not drop a slow reader");
}

#[tokio::test]
async fn readiness_follows_the_node_and_liveness_does_not() {
    let door = opened(|_| ()).await;
    door.home.0.ready.store(false, Ordering::SeqCst);
    let answer = http(door.address, "GET /readyz HOST\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "not ready yet: {answer}");
    assert!(http(door.address, "GET /livez HOST\r\n\r\n").await.starts_with("HTTP/1.1 200"), "but alive");
    door.home.0.ready.store(true, Ordering::SeqCst);
    assert!(http(door.address, "GET /readyz HOST\r\n\r\n").await.starts_with("HTTP/1.1 200"), "ready now");
}

#[tokio::test]
async fn every_error_is_a_problem_and_every_answer_has_the_headers() {
    let door = opened(|_| ()).await;
    let long = format!("GET /?{} HOST\r\n\r\n", "a".repeat(3000));
    let heavy = format!("GET / HOST\r\nX-Heavy: {}\r\n\r\n", "a".repeat(20_000));
    for (request, status, code) in [
        ("GET /nowhere HOST\r\n\r\n", 404, "not_found"),
        ("DELETE /livez HOST\r\n\r\n", 405, "method"),
        ("POST / HOST\r\nContent-Length: 2\r\n\r\n{}", 413, "too_large"),
        ("GET /v1/discover HOST\r\n\r\n", 400, "malformed"),
        ("GET /v1/discover?handle=Alice HOST\r\n\r\n", 400, "malformed"),
        ("GET /v1/discover?handle=eve@acme.example HOST\r\n\r\n", 404, "not_found"),
        (long.as_str(), 414, "too_large"),
        (heavy.as_str(), 431, "too_large"),
    ] {
        let answer = http(door.address, request).await;
        let line = request.lines().next().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line:.60}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/problem+json"), "RFC 9457: {head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], code, "{line:.60}");
        assert_eq!(body["type"], format!("urn:roost:problem:{code}"), "{line:.60}");
        assert_eq!(body["status"], status, "{line:.60}");
        assert!(!body["hint"].as_str().unwrap().is_empty(), "a hint says what to do: {line:.60}");
        for header in ["x-content-type-options: nosniff", "referrer-policy: no-referrer", "default-src 'none'"] {
            assert!(head.contains(header), "{header} is missing: {head}");
        }
        assert!(status != 405 || head.contains("allow: GET"), "405 names the methods: {head}");
    }
    let front = http(door.address, "GET / HOST\r\n\r\n").await;
    let is_page = front.contains("<title>Roost</title>");
    assert!(is_page || front.contains("/v1/socket"), "the front page is the page, or says what is here: {front}");
}

#[tokio::test]
async fn a_stranger_finds_alices_bridge() {
    let door = opened(|_| ()).await;
    let answer = http(door.address, "GET /v1/discover?handle=alice%40acme.example HOST\r\n\r\n").await;
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).expect("JSON");
    assert_eq!(body["handle"], "alice@acme.example", "the handle that was asked for");
    assert_eq!(body["fresh_until"], "2023-11-14T22:13:20Z", "as RFC 3339");
    assert_eq!(body["bridges"][0]["url"], "https://chat.acme.example", "where to connect");
    assert_eq!(body["bridges"][0]["peer_id"], FakeHome::node().to_string(), "as libp2p prints it");
}

#[tokio::test]
async fn plain_http_beyond_loopback_needs_a_proxy() {
    let mut config = BridgeConfig::new("0.0.0.0:0".parse().unwrap());
    let refused = open(config.clone(), FakeHome::new(), async {}).await;
    assert!(matches!(refused, Err(BridgeError::PlainHttp(_))), "refused without a proxy");
    config.trusted_proxy = true;
    assert!(open(config, FakeHome::new(), async {}).await.is_ok(), "allowed behind one");
}

#[tokio::test]
async fn behind_a_proxy_the_last_forwarded_address_counts() {
    let door = opened(|config| (config.trusted_proxy, config.pending_per_address_max) = (true, 1)).await;
    let dial_for = async |forwarded: &'static str| {
        let mut request = format!("ws://{}/v1/socket", door.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SOCKET_CBOR));
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static(forwarded));
        connect_async(request).await
    };
    let _alice = dial_for("192.0.2.1").await.expect("alice's place");
    let _bob = dial_for("192.0.2.2").await.expect("bob has one of his own");
    assert!(dial_for("192.0.2.9, 192.0.2.1").await.is_err(), "what the client claims in front does not count");
}

#[test]
fn an_idle_connection_holds_little_memory() {
    fn size<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }
    let task = size(crate::socket::Session::<FakeHome>::run);
    assert!(task <= 2_304, "the task of a connection, of which there are hundreds of thousands, takes {task} bytes");
}
