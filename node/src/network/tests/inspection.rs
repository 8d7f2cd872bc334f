//! What a test sees of a running swarm task.

use super::super::Network;
use super::super::addresses::peer_of;
use super::super::swarm_task::{Command, SwarmTask};
use libp2p::PeerId;
use libp2p::gossipsub::IdentTopic;
use roost_protocol::NodeId;
use roost_protocol::gossip::TOPICS;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// A moment of a swarm task.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// Score of every connected peer.
    pub(crate) scores: BTreeMap<PeerId, f64>,
    /// The same, of the gossip of entries.
    pub(crate) scores_of_entries: BTreeMap<PeerId, f64>,
    /// Members of meshes of entries.
    pub(crate) meshed: usize,
    /// Members of either mesh.
    pub(crate) mesh: BTreeSet<PeerId>,
    /// Connected peers that take part in both topics.
    pub(crate) subscribed: BTreeSet<PeerId>,
    /// Topics that gossipsub keeps of all peers.
    pub(crate) topics: usize,
    /// Connections, by peer.
    pub(crate) connections: BTreeMap<PeerId, u32>,
    /// Lookups under way or done since the start.
    pub(crate) lookups: u64,
}

impl SwarmTask {
    pub(crate) fn inspect(&self) -> Inspection {
        let (gossip, entries) = (&self.swarm.behaviour().gossip, &self.swarm.behaviour().entries);
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        Inspection {
            scores: peers.iter().filter_map(|peer| Some((*peer, gossip.peer_score(peer)?))).collect(),
            scores_of_entries: peers.iter().filter_map(|peer| Some((*peer, entries.peer_score(peer)?))).collect(),
            meshed: entries.all_mesh_peers().count(),
            mesh: TOPICS
                .iter()
                .flat_map(|topic| gossip.mesh_peers(&IdentTopic::new(*topic).hash()).copied().collect::<Vec<_>>())
                .collect(),
            subscribed: gossip.all_peers().filter(|(_, topics)| topics.len() == 2).map(|(peer, _)| *peer).collect(),
            topics: gossip.all_peers().map(|(_, topics)| topics.len()).sum(),
            connections: peers.iter().map(|peer| (*peer, self.links.connections_of(peer))).collect(),
            lookups: self.queries.started(),
        }
    }
}

impl Network {
    pub(crate) async fn inspect(&self) -> Inspection {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Inspect(reply)).unwrap();
        answer.await.unwrap()
    }

    /// Waits until the two take part in gossip with each other.
    pub(crate) async fn until_subscribed(&self, nodes: &[NodeId]) {
        for _ in 0..1200 {
            let subscribed = self.inspect().await.subscribed;
            if nodes.iter().all(|node| subscribed.contains(&peer_of(node).unwrap())) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the nodes never take part in gossip with each other");
    }
}
