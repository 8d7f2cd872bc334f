//! The door in front of a real node: what the fake home of the unit stories cannot show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::StreamExt;
use roost_node::{Node, NodeConfig};
use roost_protocol::limits::SOCKET_MESSAGE_BYTES_MAX;
use roost_protocol::socket::ServerFrame;
use roost_protocol::{SOCKET_CBOR, SecretKey, codec};
use roost_web_bridge::{BridgeConfig, serve};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_greets_a_device_and_says_goodbye_at_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(NodeConfig {
        org_key: SecretKey::from_seed(&[1; 32]),
        node_key: SecretKey::from_seed(&[2; 32]),
        name: "acme.example".into(),
        open_registration: true,
        store: directory.path().join("store"),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        bootstrap: vec![],
        pins: Default::default(),
        region: "eu".into(),
        peer_rates: Default::default(),
        limits: roost_node::relay::Limits::PRODUCTION,
        push: None,
        blobs: directory.path().join("blobs"),
    })
    .await
    .expect("the node starts");
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let config = BridgeConfig::new("127.0.0.1:0".parse().unwrap());
    let (address, task) = serve(config, node.handle(), shutdown).await.expect("the door opens");
    node.handle().announce(&format!("http://{address}")).await.expect("announced");

    let mut request = format!("ws://{address}/v1/socket").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", SOCKET_CBOR.parse().unwrap());
    let (mut alice, _) = connect_async(request).await.expect("upgraded");
    let Some(Ok(Message::Binary(bytes))) = alice.next().await else { panic!("a binary message comes first") };
    let hello: ServerFrame = codec::decode(&bytes, SOCKET_MESSAGE_BYTES_MAX).expect("a frame");
    let ServerFrame::Hello { node: greeted, name, challenge, .. } = hello else { panic!("Hello comes first") };
    assert_eq!((greeted, name.as_str()), (node.handle().node(), "acme.example"), "the node says who it is");
    assert_eq!(challenge.len(), 32, "the challenge is there to be signed");

    stop.send(()).unwrap();
    let Some(Ok(Message::Close(Some(close)))) = alice.next().await else { panic!("a close frame comes last") };
    assert_eq!(u16::from(close.code), 1012, "a restart is told as one");
    assert!(alice.next().await.is_none(), "and the connection ends");
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the door ends in time").unwrap();
    node.stop().await;
}
