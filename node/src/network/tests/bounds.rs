//! Bounds of what one peer may hold: requests at work, connections.

use super::super::codec::{Asked, NodeCodec};
use super::people::{Org, account, log_of, node};
use super::*;
use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Event, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use roost_protocol::NODE_PROTOCOL;
use roost_protocol::refusal::Refusal;
use std::sync::atomic::AtomicUsize;

type Requests = request_response::Behaviour<NodeCodec>;

/// A peer without the window that our own nodes keep to.
fn greedy(seed: u8) -> Swarm<Requests> {
    let protocols = [(StreamProtocol::new(NODE_PROTOCOL), ProtocolSupport::Full)];
    let config = request_response::Config::default().with_request_timeout(Duration::from_secs(20));
    SwarmBuilder::with_existing_identity(Keypair::ed25519_from_bytes([seed; 32]).unwrap())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| Requests::with_codec(NodeCodec, protocols, config))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

fn dial(swarm: &mut Swarm<Requests>, victim: &Node, seed: u8) -> PeerId {
    let peer = super::super::addresses::peer_of(&node(seed)).unwrap();
    let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(victim.addresses.clone());
    swarm.dial(options.build()).unwrap();
    peer
}

/// Runs the swarm until it has heard so many answers, saying `Hello` to whoever says it.
async fn answers(swarm: &mut Swarm<Requests>, hello: &NodeHello, count: usize) -> Vec<NodeResponse> {
    let mut heard = Vec::new();
    let listening = async {
        while heard.len() < count {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(Event::Message { message: Message::Request { channel, .. }, .. }) => {
                    let _ = swarm.behaviour_mut().send_response(channel, NodeResponse::Hello(hello.clone()));
                }
                SwarmEvent::Behaviour(Event::Message { message: Message::Response { response, .. }, .. }) => {
                    heard.push(response);
                }
                SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => panic!("each is answered: {error}"),
                _ => {}
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(15), listening).await.is_ok();
    assert!(done, "{count} answers come in time, got {}", heard.len());
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_33rd_request_of_one_peer_at_work_is_busy_and_the_32_are_answered() {
    let mut bob = start_node(1, "bob.example", &[], BTreeMap::new()).await;
    let hello = Org::new(2, "eve.example").hello(&[], life());
    let mut eve = greedy(2);
    let victim = dial(&mut eve, &bob, 1);
    eve.behaviour_mut().send_request(&victim, Asked::from(NodeRequest::Hello(hello.clone())));
    let greeted = answers(&mut eve, &hello, 1).await;
    assert!(matches!(greeted[..], [NodeResponse::Hello(_)]), "eve is heard: {greeted:?}");
    for _ in 0..40 {
        eve.behaviour_mut().send_request(&victim, Asked::from(NodeRequest::Log { account: account(7) }));
    }
    let refused = answers(&mut eve, &hello, 8).await;
    for response in &refused {
        let NodeResponse::Refused(Refusal { code, later, retry_after_ms, .. }) = response else {
            panic!("what is beyond 32 is refused while those are at work: {response:?}")
        };
        assert_eq!((*code, *later, *retry_after_ms), (Code::Busy, true, Some(500)), "as `busy`, for half a second");
    }
    let answer = NodeResponse::Log(log_of(7, node(1)).log().clone());
    let expected = answer.clone();
    let relay = tokio::spawn(async move {
        let mut at_work = Vec::new();
        while at_work.len() < 32 {
            let request = bob.inbound.recv().await.unwrap();
            if !matches!(request.request, NodeRequest::Hello(_)) {
                at_work.push(request);
            }
        }
        assert!(bob.inbound.try_recv().is_err(), "the relay got no 33rd");
        for request in at_work {
            request.respond.send(answer.clone()).unwrap();
        }
        bob
    });
    let answered = answers(&mut eve, &hello, 32).await;
    assert!(answered.iter().all(|response| *response == expected), "the 32 are answered: {answered:?}");
    let mut bob = relay.await.unwrap();
    eve.behaviour_mut().send_request(&victim, Asked::from(NodeRequest::Log { account: account(7) }));
    let relay = tokio::spawn(async move {
        let request = bob.inbound.recv().await.unwrap();
        request.respond.send(NodeResponse::Log(log_of(7, node(1)).log().clone())).unwrap();
    });
    assert_eq!(answers(&mut eve, &hello, 1).await, [expected], "and then there is room again");
    relay.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_connection_of_a_pair_is_closed_and_the_two_stay() {
    let bob = start_node(1, "bob.example", &[], BTreeMap::new()).await;
    let mut eve = greedy(2);
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    let dialling = async {
        while opened.len() < 3 || closed.is_empty() {
            if opened.len() < 3 && eve.network_info().connection_counters().num_pending_outgoing() == 0 {
                dial(&mut eve, &bob, 1);
            }
            match eve.select_next_some().await {
                SwarmEvent::ConnectionEstablished { connection_id, .. } => opened.push(connection_id),
                SwarmEvent::ConnectionClosed { connection_id, .. } => closed.push(connection_id),
                _ => {}
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(15), dialling).await.is_ok();
    assert!(done, "of three connections one is closed in time: opened {opened:?}, closed {closed:?}");
    assert_eq!(closed, [opened[2]], "it is the third, and the two stay");
    let peer = super::super::addresses::peer_of(&node(2)).unwrap();
    let held = bob.network.inspect().await.connections.get(&peer).copied();
    assert_eq!(held, Some(2), "the node holds two");
}

/// Opens connections from one address and says nothing; whatever is closed is opened again.
struct HalfOpen(Vec<tokio::task::JoinHandle<()>>);

impl HalfOpen {
    async fn from(address: [u8; 4], count: usize, victim: &Multiaddr) -> Self {
        let port = victim.iter().find_map(|part| match part {
            libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        let victim = std::net::SocketAddr::from(([127, 0, 0, 1], port.unwrap()));
        let opened = Arc::new(AtomicUsize::new(0));
        let hold = move |opened: Arc<AtomicUsize>, port: u16| async move {
            // Bounded: a minute is longer than any story holds it.
            for round in 0..60 {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                // Below the ephemeral ports: a node dials from its listen port at every local address, which must be free.
                socket.set_reuseaddr(true).unwrap();
                socket.bind((address, port).into()).unwrap();
                if let Ok(mut stream) = socket.connect(victim).await {
                    opened.fetch_add(usize::from(round == 0), Ordering::Relaxed);
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let tasks = (10_000..).take(count).map(|port| tokio::spawn(hold(Arc::clone(&opened), port))).collect();
        until("the half-open connections are there", || opened.load(Ordering::Relaxed) == count).await;
        Self(tasks)
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// How long somebody waits who has never been here.
async fn newcomer_waits(seed: u8, victim: &Node) -> Duration {
    let newcomer = start_node(seed, "newcomer.example", &[], BTreeMap::new()).await;
    newcomer.network.add_addresses(node(1), victim.addresses.clone());
    let start = tokio::time::Instant::now();
    let answer = newcomer.network.request(node(1), NodeRequest::Log { account: account(7) }).await;
    let waited = start.elapsed();
    assert!(matches!(answer, Ok(NodeResponse::Log(_))), "the newcomer is answered: {answer:?}");
    newcomer.network.shutdown().await;
    waited
}

fn answering(mut inbound: mpsc::Receiver<InboundRequest>) {
    let answer = NodeResponse::Log(log_of(7, node(1)).log().clone());
    tokio::spawn(async move {
        while let Some(request) = inbound.recv().await {
            let _ = request.respond.send(answer.clone());
        }
    });
}

async fn newcomers_beside(rates: Rates, attacker: [u8; 4], count: usize) {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let (records, pins) = (None, BTreeMap::new());
    let config = NetworkConfig { key: [1; 32], listen, bootstrap: vec![], records, pins, rates };
    let (network, inbound, addresses) = start(config).await.unwrap();
    let org = Org::new(1, "bob.example");
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    network.set_hello(org.hello(&texts, life())).unwrap();
    answering(inbound);
    let (_, unused) = mpsc::channel(1);
    let bob = Node { network, inbound: unused, org, addresses };
    let quiet = newcomer_waits(2, &bob).await;
    let half_open = HalfOpen::from(attacker, count, &bob.addresses[0]).await;
    for seed in 3..8 {
        let waited = newcomer_waits(seed, &bob).await;
        eprintln!("a newcomer waited {waited:?} beside {count} half-open connections, {quiet:?} without");
        assert!(waited < Duration::from_secs(2), "beside {count} half-open ones a newcomer waited {waited:?}");
    }
    drop(half_open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_of_one_address_delay_no_newcomer() {
    newcomers_beside(Rates::PRODUCTION, [127, 0, 0, 2], 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_testnet_even_newcomers_of_the_same_address_get_past_a_hundred_half_open_connections() {
    newcomers_beside(Rates::TESTNET, [127, 0, 0, 1], 100).await;
}
