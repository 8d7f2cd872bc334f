//! A peer that breaks rules on purpose: it answers `Hello` as a certified node would, and writes raw gossip frames.

use super::super::behaviour::REQUEST_TIMEOUT;
use super::super::codec::NodeCodec;
use super::life;
use super::people::Org;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Event, Message, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, identify, noise, tcp, yamux};
use roost_protocol::NODE_PROTOCOL;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MESHSUB: StreamProtocol = StreamProtocol::new("/meshsub/1.1.0");

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    requests: request_response::Behaviour<NodeCodec>,
    streams: libp2p_stream::Behaviour,
}

/// The attacker, connected to one victim.
pub(super) struct Attacker {
    pub(super) peer: PeerId,
    keypair: Keypair,
    victim: PeerId,
    gossip: StreamProtocol,
    streams: libp2p_stream::Control,
    stream: Option<Stream>,
    /// Bytes of gossip that the victim sent.
    pub(super) heard: Arc<AtomicUsize>,
    /// Connections so far.
    pub(super) connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Attacker {
    /// Connects; `certified` ones exchange `Hello` under an organisation of their own.
    pub(super) async fn connect(seed: u8, victim: &Multiaddr, certified: bool) -> Self {
        Self::connect_over(seed, victim, certified, MESHSUB).await
    }

    /// As [`Self::connect`], with gossip of another protocol name.
    pub(super) async fn connect_over(seed: u8, victim: &Multiaddr, certified: bool, gossip: StreamProtocol) -> Self {
        let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let (victim, address) = super::super::addresses::split_peer(victim).unwrap();
        let protocols = [(StreamProtocol::new(NODE_PROTOCOL), ProtocolSupport::Full)];
        let config = request_response::Config::default().with_request_timeout(REQUEST_TIMEOUT);
        let mut swarm = SwarmBuilder::with_existing_identity(keypair.clone())
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|keypair| Behaviour {
                identify: identify::Behaviour::new(identify::Config::new("/roost/1".into(), keypair.public())),
                requests: request_response::Behaviour::with_codec(NodeCodec, protocols, config),
                streams: libp2p_stream::Behaviour::new(),
            })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        let mut streams = swarm.behaviour().streams.new_control();
        let mut incoming = streams.accept(gossip.clone()).unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&heard);
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = Arc::clone(&connections);
        let hello = Org::new(seed, &format!("evil{seed}.example")).hello(&[], life());
        let address = address.with_p2p(victim).unwrap();
        swarm.dial(address.clone()).unwrap();
        let (connected, connection) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut connected = Some(connected);
            loop {
                tokio::select! {
                    Some((_, mut stream)) = incoming.next() => {
                        let counted = Arc::clone(&counted);
                        tokio::spawn(async move {
                            let mut bytes = [0; 4096];
                            while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                                counted.fetch_add(read, Ordering::Relaxed);
                            }
                        });
                    }
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionEstablished { .. } => {
                            opened.fetch_add(1, Ordering::Relaxed);
                            if certified {
                                let requests = &mut swarm.behaviour_mut().requests;
                                requests.send_request(&victim, NodeRequest::Hello(hello.clone()).into());
                            }
                            connected.take().map(|connected| connected.send(()));
                        }
                        SwarmEvent::Behaviour(BehaviourEvent::Requests(Event::Message {
                            message: Message::Request { channel, .. }, ..
                        })) if certified => {
                            let answer = NodeResponse::Hello(hello.clone());
                            let _ = swarm.behaviour_mut().requests.send_response(channel, answer);
                        }
                        SwarmEvent::ConnectionClosed { num_established: 0, .. } => {
                            let _ = swarm.dial(address.clone());
                        }
                        _ => {}
                    }
                }
            }
        });
        tokio::time::timeout(Duration::from_secs(20), connection).await.expect("the attacker connects").unwrap();
        let peer = keypair.public().to_peer_id();
        Self { peer, keypair, victim, gossip, streams, stream: None, heard, connections, task }
    }

    /// Writes one frame; opens the stream again when the victim has closed it. `false` when it takes none any more.
    pub(super) async fn send(&mut self, frame: &[u8]) -> bool {
        let wire = [varint(frame.len() as u64), frame.to_vec()].concat();
        for _ in 0..2 {
            if self.stream.is_none() {
                let opened = tokio::time::timeout(
                    Duration::from_secs(5),
                    self.streams.open_stream(self.victim, self.gossip.clone()),
                );
                self.stream = opened.await.ok().and_then(Result::ok);
            }
            let Some(stream) = &mut self.stream else { return false };
            let written = async {
                stream.write_all(&wire).await?;
                stream.flush().await
            };
            match tokio::time::timeout(Duration::from_secs(10), written).await {
                Ok(Ok(())) => return true,
                _ => self.stream = None,
            }
        }
        false
    }

    /// Takes part in topics and in their meshes, as every member does.
    pub(super) async fn join(&mut self, topics: &[&str]) {
        let subscribed: Vec<u8> = topics.iter().flat_map(|topic| subscription(true, topic)).collect();
        assert!(self.send(&subscribed).await, "the victim hears a subscription");
        let grafts: Vec<u8> = topics.iter().flat_map(|topic| field(3, &field(1, topic.as_bytes()))).collect();
        assert!(self.send(&field(3, &grafts)).await, "and a GRAFT");
    }

    /// A message signed by this peer, as one frame.
    pub(super) fn message(&self, topic: &str, data: &[u8], number: u64) -> Vec<u8> {
        let unsigned = [
            field(1, &self.peer.to_bytes()),
            field(2, data),
            field(3, &number.to_be_bytes()),
            field(4, topic.as_bytes()),
        ]
        .concat();
        let signature = self.keypair.sign(&[b"libp2p-pubsub:", unsigned.as_slice()].concat()).unwrap();
        field(2, &[unsigned, field(5, &signature)].concat())
    }
}

/// A subscription, or its end, as part of a frame.
pub(super) fn subscription(subscribe: bool, topic: &str) -> Vec<u8> {
    field(1, &[number(1, u64::from(subscribe)), field(2, topic.as_bytes())].concat())
}

/// A frame of one control message: 1 IHAVE, 2 IWANT, 3 GRAFT, 4 PRUNE, 5 IDONTWANT.
pub(super) fn control(kind: u64, content: &[u8]) -> Vec<u8> {
    field(3, &field(kind, content))
}

/// A length-delimited field of protobuf.
pub(super) fn field(tag: u64, content: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// A number field of protobuf.
pub(super) fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
