//! A home that lies to its own people: it stands between honest devices and an honest node, over real sockets, and changes what
//! the node says. It has the node's key, as a node that was taken over has.

use futures::{SinkExt as _, StreamExt as _};
use roost_protocol::feed::{Entry, NextEpoch, payload_hash};
use roost_protocol::socket::{ClientFrame, ServerFrame};
use roost_protocol::{Bytes, codec, limits};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

type Script = Box<dyn FnMut(ServerFrame) -> Vec<ServerFrame> + Send>;

/// What lies between a device and its node.
pub struct Liar {
    /// What devices take for the address of their home.
    pub url: String,
    script: Arc<Mutex<Script>>,
    heard: Arc<Mutex<Vec<ClientFrame>>>,
    told: Arc<Mutex<Vec<ServerFrame>>>,
    says: broadcast::Sender<ServerFrame>,
}

impl Liar {
    /// In front of the node at `target`; honest until it is told otherwise.
    pub async fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|frame| vec![frame])));
        let (heard, told) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (says, _) = broadcast::channel(64);
        let liar = Self { url, script, heard, told, says };
        let (script, heard, told) = (Arc::clone(&liar.script), Arc::clone(&liar.heard), Arc::clone(&liar.told));
        let (says, target) = (liar.says.clone(), target.replace("http://", "ws://") + "/v1/socket");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, heard, told) = (Arc::clone(&script), Arc::clone(&heard), Arc::clone(&told));
                let (said, target) = (says.subscribe(), target.clone());
                tokio::spawn(async move { stand_between(stream, &target, said, &script, &heard, &told).await });
            }
        });
        liar
    }

    /// What it makes of each frame of the node.
    pub fn makes(&self, script: impl FnMut(ServerFrame) -> Vec<ServerFrame> + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub fn is_honest(&self) {
        self.makes(|frame| vec![frame]);
    }

    /// Says something of its own to every device that is connected.
    pub fn says(&self, frame: ServerFrame) {
        self.says.send(frame).expect("a device is connected");
    }

    /// What devices have said to it.
    pub fn heard(&self, wanted: impl Fn(&ClientFrame) -> bool) -> usize {
        self.heard.lock().unwrap().iter().filter(|frame| wanted(frame)).count()
    }

    /// Entries of the node, in the order in which it gave them.
    pub fn entries(&self) -> Vec<Entry> {
        let told = self.told.lock().unwrap();
        let entry = |frame: &ServerFrame| match frame {
            ServerFrame::Entry { entry, .. } => Some(entry.clone()),
            _ => None,
        };
        told.iter().filter_map(entry).collect()
    }
}

/// The same entry with another hub's word in it.
pub fn with_next(entry: &Entry, next: &NextEpoch, epoch: u64) -> Entry {
    let payload = Bytes(codec::encode(next));
    let mut header = entry.header.clone();
    (header.epoch, header.payload_hash) = (epoch, payload_hash(payload.as_slice()));
    Entry { header, payload, silent: false }
}

async fn stand_between(
    stream: TcpStream,
    target: &str,
    mut said: broadcast::Receiver<ServerFrame>,
    script: &Mutex<Script>,
    heard: &Mutex<Vec<ClientFrame>>,
    told: &Mutex<Vec<ServerFrame>>,
) {
    #[allow(clippy::result_large_err)]
    let agree = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(roost_protocol::SOCKET_CBOR));
        Ok(response)
    };
    let Ok(mut device) = tokio_tungstenite::accept_hdr_async(stream, agree).await else { return };
    let request = ClientRequestBuilder::new(target.parse().unwrap()).with_sub_protocol(roost_protocol::SOCKET_CBOR);
    let Ok((mut node, _)) = tokio_tungstenite::connect_async(request).await else { return };
    let max = limits::SOCKET_MESSAGE_BYTES_MAX;
    loop {
        tokio::select! {
            message = device.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    heard.lock().unwrap().push(codec::decode(&bytes, max).unwrap());
                    if node.send(Message::Binary(bytes)).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
            message = node.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let frame: ServerFrame = codec::decode(&bytes, max).unwrap();
                    told.lock().unwrap().push(frame.clone());
                    let frames = script.lock().unwrap()(frame);
                    for frame in frames {
                        if device.send(Message::Binary(codec::encode(&frame).into())).await.is_err() {
                            return;
                        }
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
            frame = said.recv() => {
                let Ok(frame) = frame else { return };
                if device.send(Message::Binary(codec::encode(&frame).into())).await.is_err() {
                    return;
                }
            }
        }
    }
}
