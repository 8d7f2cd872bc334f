//! Key packages drained: a node asks for those of an account until it is given none but the last resort. Others get in all the same.

use super::schedule::{Event, Millis};
use super::world::World;
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_node::relay::audit;
use roost_protocol::peer::NodeRequest;

/// Requests at once, and how often: a device keeps 20 packages, and fills up.
const ASKS: u64 = 12;
const ROUNDS: u64 = 4;
const ROUND_MS: Millis = 1_500;
/// Names of these requests begin here: the rules of the node know nothing of them.
const TOKENS: u64 = 1 << 60;

impl World {
    /// Plans which nodes ask for whose key packages; most of it before anybody is added anywhere.
    pub(super) fn plan_drains(&mut self) {
        let (nodes, people, length) = (self.nodes.len(), self.people.len(), self.scenario.safety_s * 1000);
        for _ in 0..self.scenario.drains {
            let (node, owner) = (self.dice.index(nodes), self.dice.index(people));
            let at = if self.dice.chance(600) { 20_000 + self.dice.below(30_000) } else { self.dice.below(length) };
            for round in 0..ROUNDS {
                self.schedule.at(self.now + at + round * ROUND_MS, Event::Drain { node, owner });
            }
        }
    }

    /// A node asks for an account's key packages for people that it makes up.
    pub(super) fn drain(&mut self, node: usize, owner: usize) {
        let Some((account, home)) = self.people.get(owner).map(|person| (person.account, person.home)) else { return };
        if home == node || !self.is_up(node) || self.healed {
            return;
        }
        self.counters.fault("drain");
        for _ in 0..ASKS {
            self.numbers += 1;
            let token = TOKENS + self.numbers;
            let requester = AccountId(self.dice.bytes());
            self.ask(node, token, home, NodeRequest::KeyPackages { account, requester });
        }
    }

    /// Key packages are told: those of the last resort count.
    pub(super) fn note_key_packages(&mut self, node: usize, packages: &[(DeviceId, Bytes)], state: &'static str) {
        if self.scenario.drains == 0 {
            return;
        }
        let Some(store) = self.nodes.get(node).map(|node| &node.disk.durable) else { return };
        let mut last_resorts = 0;
        for (device, package) in packages {
            let account = self.people.iter().find(|person| person.device_id == *device).map(|person| person.account);
            let held = account.and_then(|account| audit::key_packages(store, &account, device).ok());
            last_resorts += u64::from(held.is_some_and(|(_, last)| last.as_deref() == Some(package.as_slice())));
        }
        self.counters.reached_times(state, last_resorts);
    }
}
