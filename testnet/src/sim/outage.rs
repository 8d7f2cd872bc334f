//! A day without one node: it is down from soon after a group began, and the group goes on without it.
//!
//! Elsewhere people write in bursts and an admin changes the group, as many times as the scenario says; the node comes back, and
//! everything is to be read by the people who live there.

use super::agreement::Group;
use super::faults::Fault;
use super::groups::Wish;
use super::invariants::To;
use super::person::Task;
use super::schedule::{Event, Millis};
use super::world::World;
use roost_client::core::GroupChange;
use roost_protocol::conversation::Role;

/// When the group begins, and when the node goes down: by then everybody has joined.
const BEGINS_MS: Millis = 30_000;
pub(super) const DOWN_MS: Millis = 300_000;
/// How long before its return the others have said and done everything.
const QUIET_MS: Millis = 60_000;
/// Messages that somebody writes in one go.
const BURST: usize = 10;

impl World {
    /// Plans the outage of the node at which the last person lives, and what happens elsewhere meanwhile.
    pub(super) fn plan_outage(&mut self) {
        let begin = self.now;
        let (last, outage_ms) = (self.people.len().saturating_sub(1), self.scenario.outage_s * 1_000);
        let Some(down) = self.people.get(last).map(|person| person.home) else { return };
        self.agreement.groups.push(Group::planned(0, (1..self.people.len()).collect()));
        self.schedule.at(begin + BEGINS_MS, Event::Begin { group: 0 });
        let fault = self.faults.len();
        self.faults.push(Fault::Outage(down));
        self.schedule.at(begin + DOWN_MS, Event::Fault { fault });

        let writers: Vec<usize> =
            (0..=last).filter(|person| self.people.get(*person).is_some_and(|one| one.home != down)).collect();
        let span = outage_ms.saturating_sub(2 * QUIET_MS);
        let at = |place: usize, of: usize| begin + DOWN_MS + QUIET_MS + span * place as u64 / of.max(1) as u64;
        let bursts = self.scenario.group_messages.div_ceil(BURST);
        for burst in 0..bursts {
            let Some(from) = writers.get(burst % writers.len().max(1)).copied() else { return };
            for place in 0..BURST.min(self.scenario.group_messages - burst * BURST) {
                let message = self.ledger.plan(from, To::Group(0), None);
                self.schedule.at(at(burst, bursts) + place as u64 * 20, Event::Write { message });
            }
        }
        let changes = self.scenario.changes;
        for change in 0..changes {
            let role = if change % 2 == 0 { Role::Admin } else { Role::Member };
            self.schedule.at(at(change, changes), Event::Role { group: 0, role });
        }
    }

    /// The first person, who began the group, gives the second one another role.
    pub(super) fn give_role(&mut self, group: usize, role: Role) {
        let Some(account) = self.people.get(1).map(|person| person.account) else { return };
        self.give(0, Task::Change(group, GroupChange::Role(account, role), Wish::Role(account, role)));
    }
}
