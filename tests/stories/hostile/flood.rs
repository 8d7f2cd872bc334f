//! Strangers and clients that mean to exhaust the door of the real binary, each from an address of its own, at production rates: its
//! memory stays bounded and honest people hardly notice.

use crate::roost::{Node, roost};
use futures::{SinkExt as _, StreamExt as _};
use roost_crypto::identity_log::{Operation, Signer};
use roost_protocol::invite::InviteProof;
use roost_protocol::socket::{ClientFrame, ServerFrame, sign_in_signature};
use roost_protocol::{DeviceId, NodeId, OrgId, SOCKET_CBOR, SecretKey, VerifiedLog, codec, limits};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{WebSocketStream, client_async};

type Socket = WebSocketStream<TcpStream>;

/// Memory that the node may use whatever is done to it, KiB: a quarter of a small server, debug build and all.
const RSS_KIB_MAX: u64 = 512 * 1024;
/// Devices that never read.
const SLOW: u8 = 100;
/// What each of them asks for: more frames than a connection's queue holds.
const ASKED: u64 = 1_500;
/// Ports that were used so far.
static PORTS: AtomicU16 = AtomicU16::new(0);

fn rss_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.ready["pid"])).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A connection from one of loopback's many addresses, with a small window to receive. Its port is below the ephemeral ones: a node
/// dials from its listen port at every local address, which must be free, whichever story's node it is.
async fn connect(node: &Node, from: [u8; 4]) -> TcpStream {
    let address: SocketAddr = node.url().trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((from, 10_000 + PORTS.fetch_add(1, Ordering::Relaxed) % 20_000).into()).unwrap();
    tokio::time::timeout(super::PATIENCE, socket.connect(address)).await.expect("connected in time").unwrap()
}

async fn dial(node: &Node, from: [u8; 4]) -> Socket {
    let mut request = format!("{}/v1/socket", node.url().replace("http", "ws")).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", SOCKET_CBOR.parse().unwrap());
    let upgraded = client_async(request, connect(node, from).await);
    tokio::time::timeout(super::PATIENCE, upgraded).await.expect("answered in time").expect("upgraded").0
}

async fn frame(socket: &mut Socket) -> ServerFrame {
    loop {
        let message = tokio::time::timeout(super::PATIENCE, socket.next()).await.expect("a frame in time");
        if let Message::Binary(bytes) = message.unwrap().unwrap() {
            return codec::decode(&bytes, limits::SOCKET_MESSAGE_BYTES_MAX).unwrap();
        }
    }
}

/// The code with which the door closes; `None` where it only hangs up.
async fn closed(socket: &mut Socket) -> Option<u16> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(close))) => return close.map(|close| close.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

fn log_of(number: u8, home: NodeId, org: OrgId) -> VerifiedLog {
    let (root, key) = (SecretKey::from_seed(&[number + 100; 32]), SecretKey::from_seed(&[number; 32]));
    let device = DeviceId::of(&key.public_key());
    let log = VerifiedLog::create(&root, &key.public_key(), vec![home]).unwrap();
    let operation = Operation::SetHandle { handle: format!("reader{number}@acme"), org };
    log.append(operation, Signer::Device(device), &key).unwrap()
}

/// Signs up and in as `reader<number>`; three an address, as the door allows.
async fn reader(node: &Node, number: u8) -> Socket {
    let mut socket = dial(node, [127, 0, 1, number / 3 + 1]).await;
    let ServerFrame::Hello { node: home, org, challenge, .. } = frame(&mut socket).await else { panic!("Hello") };
    let log = log_of(number, home, org);
    let (account, key) = (log.account(), SecretKey::from_seed(&[number; 32]));
    let (handle, device) = (format!("reader{number}"), DeviceId::of(&key.public_key()));
    let invite = Some(InviteProof::new(&node.invite, &home, challenge.as_slice(), &account));
    let up = ClientFrame::SignUp { id: 1, handle, invite, log: log.log().clone() };
    let signature = sign_in_signature(&key, &home, challenge.as_slice(), &account, &device);
    for (asked, what) in [(up, "signed up"), (ClientFrame::SignIn { id: 2, account, device, signature }, "signed in")] {
        socket.send(Message::binary(codec::encode(&asked))).await.unwrap();
        let answer = frame(&mut socket).await;
        assert!(!matches!(answer, ServerFrame::Refused { .. }), "reader {number} is {what}: {answer:?}");
    }
    socket
}

/// Asks for much and reads nothing.
async fn ask_without_reading(number: u8, mut socket: Socket) -> Socket {
    let asks = async {
        for id in 3..ASKED {
            let handle = format!("reader{number}@acme").parse().unwrap();
            let resolve = ClientFrame::Resolve { id, handle };
            if socket.send(Message::binary(codec::encode(&resolve))).await.is_err() {
                break;
            }
        }
    };
    // A door that reads no further is as good as one that closes.
    let _ = tokio::time::timeout(Duration::from_secs(5), asks).await;
    socket
}

/// Over the bound, in one frame or in two fragments that are each below it.
async fn oversize(node: &Node, fragments: bool) -> Option<u16> {
    let mut eve = dial(node, [127, 0, 4, 1]).await;
    let parts = if fragments {
        let half = vec![0; limits::SOCKET_MESSAGE_BYTES_MAX / 2 + 1];
        let part = |data, last| Message::Frame(Frame::message(half.clone(), OpCode::Data(data), last));
        vec![part(Data::Binary, false), part(Data::Continue, true)]
    } else {
        vec![Message::binary(vec![0; limits::SOCKET_MESSAGE_BYTES_MAX + 1])]
    };
    for part in parts {
        let _ = tokio::time::timeout(Duration::from_secs(5), eve.send(part)).await;
    }
    tokio::time::timeout(super::PATIENCE, closed(&mut eve)).await.expect("an oversize message ends the connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_half_open_sockets_drips_and_oversize_frames_leave_memory_bounded_and_talk_quick() {
    let root = tempfile::tempdir().unwrap();
    let production = ["--profile", "production", "--listen", "/ip4/127.0.0.1/tcp/0", "--web", "127.0.0.1:0"];
    let mut acme = Node::start_as(root.path(), "acme", &[], &production);
    let (alice, bob) = (acme.person("alice"), acme.person("bob"));
    let send = |text: &str| {
        let start = Instant::now();
        tokio::task::block_in_place(|| {
            alice.chat(&["send", &bob.handle, text, "--wait", "custody", "--timeout", "60s"]).ok()
        });
        start.elapsed()
    };
    send("first");
    let calm = send("calm");
    let dir = acme.dir.display().to_string();
    let invite = tokio::task::block_in_place(|| roost(&["invite", "--dir", &dir, "--uses", "200"]).ok());
    acme.invite = invite["invite"].as_str().unwrap().to_owned();
    let before = rss_kib(&acme);
    let began = Instant::now();

    let mut half_open = Vec::new();
    for number in 0..240_u8 {
        let mut stream = connect(&acme, [127, 0, 2, number / 80 + 1]).await;
        if number % 2 == 0 {
            stream.write_all(b"GET /v1/socket HTTP/1.1\r\nX-Drip: ").await.unwrap();
        }
        half_open.push(stream);
    }
    let signing_in = futures::stream::iter(0..SLOW).map(async |number| (number, reader(&acme, number).await));
    let signed_in: Vec<_> = signing_in.buffer_unordered(4).collect().await;
    eprintln!("{SLOW} readers signed in after {:?}", began.elapsed());
    let flood = tokio::spawn(futures::future::join_all(
        signed_in.into_iter().map(|(number, socket)| ask_without_reading(number, socket)),
    ));
    let stormy = send("in the storm");
    let during = rss_kib(&acme);
    let readers = flood.await.unwrap();
    let flooded = rss_kib(&acme);
    eprintln!("the flood was written after {:?}", began.elapsed());
    for stream in &mut half_open {
        let _ = stream.write_all(b"drip").await;
    }
    for number in 0..20 {
        let code = oversize(&acme, number % 2 == 1).await;
        assert_eq!(code, Some(1009), "an oversize message closes with 1009, whole or in fragments ({number})");
    }
    for _ in 0..1_000 {
        drop(connect(&acme, [127, 0, 3, 1]).await);
    }
    let churned = send("after the storm");
    let after = rss_kib(&acme);
    eprintln!(
        "RSS {before} KiB before, {during} in the flood, {flooded} with {SLOW} slow readers, {after} after; a message took \
         {calm:?} calm, {stormy:?} in the storm, {churned:?} behind it"
    );
    for (when, rss) in [("in the flood", during), ("with slow readers", flooded), ("after", after)] {
        assert!(rss < RSS_KIB_MAX, "{when} the node uses {rss} KiB");
    }
    for (when, took) in [("in the storm", stormy), ("behind it", churned)] {
        assert!(took < calm * 3 + Duration::from_secs(8), "alice's message took {took:?} {when}, {calm:?} when calm");
    }

    let ends = readers.into_iter().map(async |mut reader| {
        tokio::time::timeout(Duration::from_secs(3), closed(&mut reader)).await.map_err(|_| "served")
    });
    let mut codes = BTreeMap::new();
    for end in futures::future::join_all(ends).await {
        *codes.entry(end).or_insert(0) += 1;
    }
    eprintln!("how slow readers ended: {codes:?}");
    // Some are served still: what they asked for fitted into buffers.
    let told = codes.keys().all(|end| matches!(end, Err("served") | Ok(None | Some(1013))));
    assert!(told, "who reads too slowly hears 1013 or nothing: {codes:?}");
    let ends = half_open.into_iter().map(async |mut stream| {
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(25), stream.read_to_end(&mut answer)).await.is_ok()
    });
    let ended = futures::future::join_all(ends).await.into_iter().filter(|ended| *ended).count();
    assert_eq!(ended, 240, "a connection that does not become a WebSocket ends by itself");
    let texts = tokio::task::block_in_place(|| bob.receive(4, "20s"));
    assert_eq!(texts, ["first", "calm", "in the storm", "after the storm"], "and bob has all of it");
    eprintln!("the story took {:?}", began.elapsed());
}
