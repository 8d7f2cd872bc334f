//! The libp2p behaviours of a node and their configuration.
//!
//! Never holds state of our own: that is the event loop's.

use super::NetworkError;
use super::codec::NodeCodec;
use super::directory::ANSWERS_ENOUGH;
use super::gossip::{self, Gossip};
use super::paced::Paced;
use super::pending::Pending;
use super::rates::Rates;
use super::record_store::{FRESH_S, RecordStore};
use super::transport;
use super::unheld::Unheld;
use super::wide::{self, EntriesGossip};
use libp2p::core::upgrade::Version;
use libp2p::kad::{self, BucketInserts, Caching, Mode, StoreInserts};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, connection_limits, identify, identity, ping};
use roost_protocol::{KADEMLIA_PROTOCOL, NODE_PROTOCOL};
use std::num::NonZeroUsize;
use std::time::Duration;

/// An idle connection is kept so long: Go and JavaScript peers race a shorter one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// A request between nodes, from the open stream to the answer.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// TCP, Noise and yamux of one connection: an honest peer needs four round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Half-open connections of all addresses: what one address may hold, many times. One costs a few KiB.
const PENDING_INCOMING_MAX: u32 = 512;
/// A Kademlia query as a whole.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests between nodes on one connection, both directions together.
const REQUEST_STREAMS_MAX: usize = 64;
/// Disjoint paths of a query, and servers that one waits for before it asks another. As many as there must be valid answers:
/// after as many answers that lead no closer libp2p asks all of the k closest at once, which with three came before the fourth
/// answer and cost up to twenty requests.
const PATHS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(ANSWERS_ENOUGH - 1);
/// Servers that lacked a record at a lookup and get it.
const CACHE_PEERS_MAX: u16 = 4;

/// What a node speaks. `limits` comes first, so that a denied connection is denied before the others learn of it.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// Caps on connections, pending and established.
    pub(super) limits: connection_limits::Behaviour,
    /// The cap on half-open connections of one address.
    pub(super) pending: Pending,
    /// Tells addresses and protocols; the routing table lives on it.
    pub(super) identify: identify::Behaviour,
    /// Notices dead peers.
    pub(super) ping: ping::Behaviour,
    /// The directory, heard at a bounded rate.
    pub(super) kademlia: Paced<kad::Behaviour<RecordStore>>,
    /// Requests between nodes.
    pub(super) requests: request_response::Behaviour<NodeCodec>,
    /// Hints that a record of the directory changed. Holds a connection only while the peer is in a mesh.
    pub(super) gossip: Unheld<Gossip>,
    /// Entries of wide conversations, apart from the directory: a flood of one costs the other nothing.
    pub(super) entries: Unheld<EntriesGossip>,
}

/// Builds the swarm: TCP (and DNS names), Noise, yamux. The seed is wiped.
///
/// # Errors
/// [`NetworkError::Transport`].
pub(super) fn build(
    key: &mut [u8; 32],
    store: RecordStore,
    rates: &Rates,
    traffic: transport::Traffic,
) -> Result<Swarm<Behaviour>, NetworkError> {
    let failed = |error: &dyn std::fmt::Display| NetworkError::Transport(error.to_string());
    let keypair = identity::Keypair::ed25519_from_bytes(key).map_err(|error| failed(&error))?;
    let transport = transport::encrypted(&keypair, traffic)?;
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|_| transport)
        .map_err(|error| failed(&error))?
        .with_dns()
        .map_err(|error| failed(&error))?
        .with_behaviour(|keypair| Ok(behaviour(keypair, store, rates)?))
        .map_err(|error| failed(&error))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE_TIMEOUT)
                .with_per_connection_event_buffer_size(64)
                // Where a stream has one protocol its first bytes leave with the proposal: a request costs one round trip, not two.
                .with_substream_upgrade_protocol_override(Version::V1Lazy)
        })
        .with_connection_timeout(HANDSHAKE_TIMEOUT)
        .build();
    Ok(swarm)
}

fn behaviour(keypair: &identity::Keypair, store: RecordStore, rates: &Rates) -> Result<Behaviour, String> {
    let local = PeerId::from(keypair.public());
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_INCOMING_MAX))
        .with_max_pending_outgoing(Some(32))
        .with_max_established(Some(1_000))
        .with_max_established_per_peer(Some(2));
    let identify = identify::Config::new("/roost/1".into(), keypair.public())
        .with_agent_version(concat!("roost/", env!("CARGO_PKG_VERSION")).into())
        .with_push_listen_addr_updates(true);
    let protocols = [(StreamProtocol::new(NODE_PROTOCOL), ProtocolSupport::Full)];
    let requests = request_response::Config::default()
        .with_request_timeout(REQUEST_TIMEOUT)
        .with_max_concurrent_streams(REQUEST_STREAMS_MAX);
    let mut kademlia = kad::Behaviour::with_config(local, store, kademlia_config());
    // Without it a node stays a client until an address is confirmed, answers nobody and is in no routing table.
    kademlia.set_mode(Some(Mode::Server));
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        pending: Pending::new(rates.pending_of_address),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::default(),
        kademlia: Paced::new(kademlia, rates.kademlia),
        requests: request_response::Behaviour::with_codec(NodeCodec, protocols, requests),
        gossip: Unheld(gossip::behaviour(keypair)?),
        entries: Unheld(wide::behaviour(keypair)?),
    })
}

fn kademlia_config() -> kad::Config {
    let mut config = kad::Config::new(StreamProtocol::new(KADEMLIA_PROTOCOL));
    config
        .set_query_timeout(QUERY_TIMEOUT)
        .disjoint_query_paths(true)
        .set_parallelism(PATHS)
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_record_ttl(Some(Duration::from_secs(FRESH_S)))
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        // Its job would remember every key that anybody puts until it runs, and copy all records at once when it does:
        // `directory.rs` hands records on.
        .set_replication_interval(None)
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_caching(Caching::Enabled { max_peers: CACHE_PEERS_MAX });
    config
}
