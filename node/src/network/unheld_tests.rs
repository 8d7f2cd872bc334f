#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::gossip::{self, Gossip};
use super::*;
use futures::StreamExt as _;
use libp2p::gossipsub::IdentTopic;
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Swarm, SwarmBuilder, noise, tcp, yamux};
use roost_protocol::gossip::TOPICS;
use std::time::Duration;

const IDLE: Duration = Duration::from_millis(300);

fn swarm(seed: u8, in_topics: bool) -> Swarm<Unheld<Gossip>> {
    let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    let mut gossip = gossip::behaviour(&keypair).unwrap();
    for topic in TOPICS.iter().filter(|_| !in_topics) {
        gossip.unsubscribe(&IdentTopic::new(*topic));
    }
    SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| Unheld(gossip))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build()
}

/// Connects the two; whether the connection ends within `wait`.
async fn ends_within(wait: Duration, both_in_topics: bool) -> bool {
    let (mut alice, mut bob) = (swarm(1, true), swarm(2, both_in_topics));
    alice.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = alice.select_next_some().await {
            break address;
        }
    };
    bob.dial(address).unwrap();
    let ended = async {
        loop {
            tokio::select! {
                _ = alice.select_next_some() => {}
                event = bob.select_next_some() => match event {
                    SwarmEvent::ConnectionClosed { .. } => return,
                    SwarmEvent::OutgoingConnectionError { error, .. } => panic!("bob reaches alice: {error}"),
                    _ => {}
                },
            }
        }
    };
    tokio::time::timeout(wait, ended).await.is_ok()
}

#[tokio::test]
async fn a_connection_that_only_gossip_has_streams_on_idles_out() {
    assert!(ends_within(Duration::from_secs(20), false).await, "bob is in no mesh with alice, so it ends");
}

#[tokio::test]
async fn a_connection_of_a_mesh_stays() {
    assert!(!ends_within(Duration::from_secs(4), true).await, "both are in the mesh, so it stays beyond the idle time");
}
