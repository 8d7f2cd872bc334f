//! Strangers and clients that mean to exhaust the door of the real binary: its memory stays bounded and honest people hardly notice.

use crate::roost::{Node, roost};
use futures::{SinkExt as _, StreamExt as _};
use roost_crypto::identity_log::{Operation, Signer};
use roost_protocol::invite::InviteProof;
use roost_protocol::socket::{ClientFrame, ServerFrame, sign_in_signature};
use roost_protocol::{DeviceId, NodeId, OrgId, SOCKET_CBOR, SecretKey, VerifiedLog, codec, limits};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Memory that the node may use whatever is done to it, KiB: a quarter of a small server, debug build and all.
const RSS_KIB_MAX: u64 = 512 * 1024;
/// Connections that never read.
const SLOW: u8 = 100;
/// What each of them asks for: more than every queue holds.
const ASKED: u64 = 4_000;

fn rss_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.ready["pid"])).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn dial(node: &Node) -> Socket {
    let mut request = format!("{}/v1/socket", node.url().replace("http", "ws")).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", SOCKET_CBOR.parse().unwrap());
    connect_async(request).await.expect("upgraded").0
}

async fn frame(socket: &mut Socket) -> ServerFrame {
    loop {
        match tokio::time::timeout(super::PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(bytes) => return codec::decode(&bytes, limits::SOCKET_MESSAGE_BYTES_MAX).unwrap(),
            _ => continue,
        }
    }
}

/// The code with which the door closes; `None` where it only hangs up.
async fn closed(socket: &mut Socket) -> Option<u16> {
    loop {
        match tokio::time::timeout(super::PATIENCE, socket.next()).await.expect("the door closes in time") {
            Some(Ok(Message::Close(close))) => return close.map(|close| close.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

/// Signs up and in as `reader<number>`, then asks for much and reads nothing.
async fn slow_reader(node: &Node, number: u8) -> Socket {
    let mut socket = dial(node).await;
    let ServerFrame::Hello { node: home, org, challenge, .. } = frame(&mut socket).await else { panic!("Hello") };
    let log = log_of(number, home, org);
    let (account, key) = (log.account(), SecretKey::from_seed(&[number; 32]));
    let (handle, device) = (format!("reader{number}"), DeviceId::of(&key.public_key()));
    let invite = Some(InviteProof::new(&node.invite, &home, challenge.as_slice(), &account));
    let up = ClientFrame::SignUp { id: 1, handle: handle.clone(), invite, log: log.log().clone() };
    let signature = sign_in_signature(&key, &home, challenge.as_slice(), &account, &device);
    for (frame_out, what) in
        [(up, "signed up"), (ClientFrame::SignIn { id: 2, account, device, signature }, "signed in")]
    {
        socket.send(Message::binary(codec::encode(&frame_out))).await.unwrap();
        let answer = frame(&mut socket).await;
        assert!(!matches!(answer, ServerFrame::Refused { .. }), "{what}: {answer:?}");
    }
    let asks = async {
        for id in 3..ASKED {
            let resolve = ClientFrame::Resolve { id, handle: format!("{handle}@{}", node.name).parse().unwrap() };
            if socket.feed(Message::binary(codec::encode(&resolve))).await.is_err() {
                break;
            }
        }
        let _ = socket.flush().await;
    };
    // A door that reads no further is as good as one that closes.
    let _ = tokio::time::timeout(Duration::from_secs(3), asks).await;
    socket
}

fn log_of(number: u8, home: NodeId, org: OrgId) -> VerifiedLog {
    let (root, key) = (SecretKey::from_seed(&[number + 100; 32]), SecretKey::from_seed(&[number; 32]));
    let device = DeviceId::of(&key.public_key());
    let log = VerifiedLog::create(&root, &key.public_key(), vec![home]).unwrap();
    let operation = Operation::SetHandle { handle: format!("reader{number}@acme"), org };
    log.append(operation, Signer::Device(device), &key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_half_open_sockets_drips_and_oversize_frames_leave_memory_bounded_and_talk_quick() {
    let root = tempfile::tempdir().unwrap();
    let mut acme = Node::start(root.path(), "acme", &[]);
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

    let address = acme.url().trim_start_matches("http://").to_owned();
    let mut half_open = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /v1/socket HTTP/1.1\r\nX-Drip: ").await.unwrap();
        }
        half_open.push(stream);
    }
    let readers: Vec<_> =
        futures::stream::iter(0..SLOW).map(|number| slow_reader(&acme, number)).buffer_unordered(20).collect().await;
    let flooded = rss_kib(&acme);
    for stream in &mut half_open {
        let _ = stream.write_all(b"drip").await;
    }
    let mut oversize = Vec::new();
    for _ in 0..20 {
        let mut eve = dial(&acme).await;
        let _ = eve.send(Message::binary(vec![0; limits::SOCKET_MESSAGE_BYTES_MAX + 1])).await;
        oversize.push(closed(&mut eve).await);
    }
    assert!(oversize.iter().all(|code| *code == Some(1009)), "an oversize message closes with 1009: {oversize:?}");
    for _ in 0..1_000 {
        drop(TcpStream::connect(&address).await.unwrap());
    }
    let stormy = send("in the storm");
    let after = rss_kib(&acme);
    eprintln!(
        "RSS {before} KiB before, {flooded} with {SLOW} slow readers, {after} after; a message {calm:?} calm, {stormy:?} in the storm"
    );
    for (when, rss) in [("with slow readers", flooded), ("after", after)] {
        assert!(rss < RSS_KIB_MAX, "{when} the node uses {rss} KiB");
    }
    assert!(stormy < calm + Duration::from_secs(10), "alice's message took {stormy:?}, {calm:?} when calm");

    let mut codes = std::collections::BTreeMap::new();
    for mut reader in readers {
        *codes.entry(tokio::time::timeout(super::PATIENCE, closed(&mut reader)).await.ok().flatten()).or_insert(0) += 1;
    }
    eprintln!("slow readers were closed with {codes:?}");
    assert!(
        codes.keys().all(|code| matches!(code, None | Some(1013))),
        "who reads too slowly hears 1013 or nothing: {codes:?}"
    );
    let mut drips = 0;
    for mut stream in half_open {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
        drips += usize::from(ended.is_ok());
    }
    assert_eq!(drips, 300, "a connection that does not become a WebSocket ends by itself");
    let texts = tokio::task::block_in_place(|| bob.receive(3, "20s"));
    assert_eq!(texts, ["first", "calm", "in the storm"], "and bob has all of it");
}
