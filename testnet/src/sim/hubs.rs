//! What happens to the hubs of conversations: they move, they are lost for a while or for good, an admin lets a successor follow, and
//! where a partition keeps two admins apart, both do.
//!
//! Whoever says that a hub is lost may be wrong, and may have been removed meanwhile without having heard it: that is what is tried.

use super::agreement::Branch;
use super::groups::Wish;
use super::person::Task;
use super::schedule::{Event, Millis};
use super::world::World;
use roost_client::core::{ConversationReport, GroupChange};
use roost_crypto::ids::NodeId;
use roost_protocol::conversation::Role;

/// Pause before an admin who is not connected is asked again.
const AGAIN_MS: Millis = 20_000;
/// After the heal people see that they are apart; the last time they say by hand which hub it is.
const LOOK_MS: Millis = 60_000;
const LOOKS: u64 = 8;

/// An admin's device, and what it sees of a group.
struct Admin {
    device: usize,
    report: ConversationReport,
}

impl World {
    /// Plans when something happens to a hub.
    pub(super) fn plan_hubs(&mut self) {
        let (groups, length) = (self.agreement.groups.len(), self.scenario.safety_s * 1000);
        for _ in 0..if groups > 0 { self.scenario.hub_changes } else { 0 } {
            let group = self.dice.index(groups);
            let at = self.now + 60_000 + self.dice.below(length);
            self.schedule.at(at, Event::Hub { group });
        }
    }

    /// Admins of a group whose devices are connected.
    fn admins(&self, group: usize) -> Vec<Admin> {
        let Some(conversation) = self.agreement.conversation_of(group) else { return Vec::new() };
        let mut admins = Vec::new();
        for (device, person) in self.people.iter().enumerate() {
            let Some(core) = person.device.as_ref().filter(|_| self.is_living(device) && person.connection.is_some())
            else {
                continue;
            };
            let reports = core.conversations().unwrap_or_default();
            let report = reports.into_iter().find(|report| report.conversation == conversation);
            let leads = |report: &ConversationReport| {
                report.participants.iter().any(|one| one.account == person.account && one.role == Role::Admin)
            };
            if let Some(report) = report.filter(|report| report.standing && !report.over && leads(report)) {
                admins.push(Admin { device, report });
            }
        }
        admins
    }

    fn node_named(&self, peer: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id.to_string() == peer)
    }

    /// Something happens to the hub of a group: it moves, or it is gone.
    pub(super) fn change_hub(&mut self, group: usize) {
        if self.healed {
            return;
        }
        let admins = self.admins(group);
        let Some(admin) = admins.get(self.dice.index(admins.len())) else {
            self.schedule.at(self.now + AGAIN_MS, Event::Hub { group });
            return;
        };
        if self.dice.chance(350) {
            let hub = admin.report.hub.clone();
            let device = admin.device;
            self.counters.reach("hub_moves_wished");
            self.give(device, Task::Change(group, GroupChange::Move(None), Wish::Move(hub)));
            return;
        }
        let Some(hub) = self.node_named(&admin.report.hub) else { return };
        self.lose_hub(hub);
        let at = self.now + self.dice.between(2_000, 90_000);
        self.schedule.at(at, Event::Succeed { group });
    }

    /// A hub is gone: cut off from all others, down for long, or for good, and then it comes back at the heal; now and then empty.
    fn lose_hub(&mut self, hub: usize) {
        self.counters.fault("lost_hub");
        let length = self.dice.between(60_000, 900_000);
        let kind = self.dice.below(100);
        let others: Vec<usize> = (0..self.nodes.len()).filter(|node| *node != hub).collect();
        if kind < 35 {
            // It goes on with whoever is at home there.
            for other in others {
                self.cut_off(hub, other, length);
            }
            return;
        }
        let empty = kind >= 80 && self.scenario.faults.lie.is_none();
        let restart = if kind < 60 { length } else { self.scenario.safety_s * 1000 };
        self.trace.step(self.now, format_args!("node {hub} is gone, empty {empty}"));
        if empty {
            self.counters.reach("hubs_back_empty");
            self.lose_store_until(hub, restart);
        } else {
            self.crash_node(hub, restart);
        }
    }

    fn cut_off(&mut self, one: usize, other: usize, length: Millis) {
        self.counters.fault("partition");
        self.links.block(one, other);
        self.links.block(other, one);
        self.schedule.at(self.now + length, Event::Rejoin { one, other });
    }

    /// A partition ends.
    pub(super) fn rejoin_nodes(&mut self, one: usize, other: usize) {
        if !self.healed {
            self.links.unblock(one, other);
            self.links.unblock(other, one);
        }
    }

    /// Admins say that the hub is lost: one of them, or two who cannot hear each other and name different successors.
    pub(super) fn succeed(&mut self, group: usize) {
        let admins = self.admins(group);
        if admins.is_empty() {
            if !self.healed {
                self.schedule.at(self.now + AGAIN_MS, Event::Succeed { group });
            }
            return;
        }
        let first = self.dice.index(admins.len());
        let second = (first + 1) % admins.len();
        let two = admins.len() > 1 && !self.healed && self.dice.chance(400);
        let places = if two { vec![first, second] } else { vec![first] };
        let homes: Vec<usize> = places
            .iter()
            .filter_map(|place| admins.get(*place))
            .map(|admin| self.people.get(admin.device).map_or(0, |person| person.home))
            .collect();
        if let [one, other] = homes.as_slice()
            && one != other
        {
            let length = self.dice.between(30_000, 600_000);
            self.counters.reach("successors_apart");
            // Each has some of the others on its side.
            let sides: Vec<bool> = (0..self.nodes.len())
                .map(|node| if node == *one { true } else { node != *other && self.dice.chance(500) })
                .collect();
            for left in 0..sides.len() {
                for right in 0..left {
                    if sides.get(left) != sides.get(right) {
                        self.cut_off(left, right, length);
                    }
                }
            }
        }
        for place in places {
            let Some(Admin { device, report }) = admins.get(place) else { continue };
            // Whoever is at home at one of them names that one: it is there.
            let home = self.people.get(*device).and_then(|person| self.nodes.get(person.home)).map(|node| node.id);
            let near = home.filter(|home| report.successors.contains(&home.to_string()));
            let successors: Vec<NodeId> = report
                .successors
                .iter()
                .filter_map(|peer| self.node_named(peer).and_then(|node| self.nodes.get(node)))
                .map(|node| node.id)
                .collect();
            let any = successors.get(self.dice.index(successors.len())).copied();
            let to = if self.dice.chance(700) { near.or(any) } else { any };
            self.counters.reach("successors_wished");
            let wish = Wish::Succeed(report.term);
            self.give(*device, Task::Change(group, GroupChange::Succeed { to, term: None }, wish));
        }
    }

    /// The heal: people look whether they are together.
    pub(super) fn heal_hubs(&mut self) {
        if self.scenario.hub_changes == 0 {
            return;
        }
        for look in 1..=LOOKS {
            for group in 0..self.agreement.groups.len() {
                self.schedule.at(self.now + look * LOOK_MS, Event::Look { group });
            }
        }
    }

    /// Where the hub is empty, or people are on branches of which neither follows the other, an admin says by hand who follows.
    pub(super) fn look_at_hub(&mut self, group: usize) {
        let Some(standing) = self.standing(group) else { return };
        let hub = standing.hub;
        let emptied =
            self.nodes.iter().position(|node| node.id == hub).is_some_and(|hub| self.ledger.emptied.contains(&hub));
        if emptied {
            return self.succeed(group);
        }
        let apart = |admin: &Admin| {
            let branch: Option<Branch> = self.branch_of(group, &admin.report);
            branch.is_some_and(|branch| !branch.is_same(&standing))
        };
        let admins: Vec<Admin> = self.admins(group).into_iter().filter(apart).collect();
        if let Some(Admin { device, report }) = admins.first() {
            self.counters.reach("ended_by_hand");
            let wish = Wish::Succeed(report.term);
            self.give(*device, Task::Change(group, GroupChange::Succeed { to: None, term: None }, wish));
        }
    }
}
