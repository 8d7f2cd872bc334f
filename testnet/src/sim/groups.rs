//! What people do with conversations of many: they begin them, write to them, and change who takes part, often two at once.

use super::agreement::Group;
use super::dice::Dice;
use super::invariants::To;
use super::person::Task;
use super::schedule::{Event, Millis};
use super::world::World;
use roost_client::core::GroupChange;
use roost_crypto::ids::AccountId;
use roost_protocol::conversation::{ConversationHead, Role};
use roost_protocol::handle::Handle;

/// The fewest and the most people of a group when it begins, its creator included.
const PEOPLE_MIN: u64 = 3;
const PEOPLE_MAX: u64 = 8;
/// Groups begin before this, so that there is time for something to happen in them.
const BEGIN_MS: Millis = 120_000;
/// Pause before somebody whose device is not running tries again.
const AGAIN_MS: Millis = 5_000;

/// What somebody wants of a group.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    Begin,
    Add(AccountId),
    Remove(AccountId),
    Role(AccountId, Role),
    /// Another hub than this one, by its PeerId.
    Move(String),
    /// A hub that follows the one of this term.
    Succeed(u32),
}

impl Wish {
    /// Whether it is true in an epoch.
    pub fn is_true(&self, head: &ConversationHead) -> bool {
        match self {
            Self::Begin => true,
            Self::Add(account) => head.state.has(account),
            Self::Remove(account) => !head.state.has(account),
            Self::Move(hub) => head.state.hub.to_string() != *hub,
            Self::Succeed(term) => head.state.term > *term,
            Self::Role(account, role) => head.state.role(account).is_none_or(|is| is == *role),
        }
    }
}

/// Somebody who takes part, as its own device sees it.
struct Decider {
    person: usize,
    admin: bool,
    /// Everybody, with roles.
    participants: Vec<(AccountId, Role)>,
}

impl World {
    /// Plans groups, what is written to them, and changes of their people.
    pub(super) fn plan_groups(&mut self) {
        let (groups, people) = (self.scenario.groups, self.people.len());
        let end = self.now + self.scenario.safety_s * 1000;
        for group in 0..groups {
            let creator = self.dice.index(people);
            let count = usize::try_from(self.dice.between(PEOPLE_MIN, PEOPLE_MAX)).unwrap_or(people).min(people);
            let mut others: Vec<usize> = (0..people).filter(|person| *person != creator).collect();
            while others.len() + 1 > count {
                let gone = self.dice.index(others.len());
                others.swap_remove(gone);
            }
            self.agreement.groups.push(Group::planned(creator, others));
            let at = self.now + 21_000 + self.dice.below(BEGIN_MS);
            self.schedule.at(at, Event::Begin { group });
        }
        if groups == 0 {
            return;
        }
        for _ in 0..self.scenario.group_messages {
            let (group, from) = (self.dice.index(groups), self.dice.index(people));
            let at = (self.now + 30_000 + self.dice.below(self.scenario.safety_s * 1000)).min(end);
            // A burst of one person: its order is seen best when an epoch ends in the middle of it.
            for place in 0..=self.dice.below(3) {
                let message = self.ledger.plan(from, To::Group(group), None);
                self.schedule.at((at + place * self.dice.below(200)).min(end), Event::Write { message });
            }
        }
        let mut at = end;
        for _ in 0..self.scenario.changes {
            let group = self.dice.index(groups);
            at = match self.dice.below(10) {
                // Two at the same moment, or while the first is under way.
                0..=2 => (at + self.dice.below(300)).min(end),
                _ => (self.now + 60_000 + self.dice.below(self.scenario.safety_s * 1000)).min(end),
            };
            self.schedule.at(at, Event::Change { group });
        }
    }

    /// A person begins a group.
    pub(super) fn begin_group(&mut self, group: usize) {
        let Some(Group { creator, members, .. }) = self.agreement.groups.get(group) else { return };
        let creator = *creator;
        let handles: Vec<Handle> =
            members.iter().filter_map(|member| self.people.get(*member)).map(|person| person.handle.clone()).collect();
        let device = self.some_device(creator);
        if device.is_some_and(|device| self.give(device, Task::Begin(group, handles))) {
            self.counters.reach("groups");
        } else if !self.healed {
            self.schedule.at(self.now + AGAIN_MS, Event::Begin { group });
        }
    }

    /// Somebody changes a group; now and then two admins at once.
    pub(super) fn change_group(&mut self, group: usize) {
        let deciders = self.deciders(group);
        if deciders.is_empty() {
            if !self.healed {
                self.schedule.at(self.now + AGAIN_MS, Event::Change { group });
            }
            return;
        }
        let admins: Vec<&Decider> = deciders.iter().filter(|one| one.admin).collect();
        if admins.len() > 1 && self.dice.chance(400) {
            self.counters.reach("changes_at_once");
            let first = self.dice.index(admins.len());
            let second = (first + 1 + self.dice.index(admins.len() - 1)) % admins.len();
            for decider in [first, second].into_iter().filter_map(|place| admins.get(place)) {
                self.decide(group, decider);
            }
            return;
        }
        // Others try as well: they may leave, and what they may not is refused.
        let among = if admins.is_empty() || self.dice.chance(200) { deciders.iter().collect() } else { admins };
        if let Some(decider) = among.get(self.dice.index(among.len())) {
            self.decide(group, decider);
        }
    }

    fn deciders(&self, group: usize) -> Vec<Decider> {
        let Some(conversation) = self.agreement.groups.get(group).and_then(|target| target.conversation) else {
            return Vec::new();
        };
        let mut deciders = Vec::new();
        for (person, one) in self.people.iter().enumerate().filter(|(person, _)| self.is_living(*person)) {
            let Some(device) = &one.device else { continue };
            let reports = device.conversations().unwrap_or_default();
            let known = reports.into_iter().find(|report| report.conversation == conversation);
            let Some(report) = known.filter(|report| report.standing && !report.over) else { continue };
            let participants: Vec<_> = report.participants.iter().map(|one| (one.account, one.role)).collect();
            let admin = participants.contains(&(one.account, Role::Admin));
            deciders.push(Decider { person, admin, participants });
        }
        deciders
    }

    fn decide(&mut self, group: usize, Decider { person, admin, participants }: &Decider) {
        let Some(me) = self.people.get(*person).map(|person| person.account) else { return };
        let others: Vec<(AccountId, Role)> =
            participants.iter().filter(|(account, _)| *account != me).copied().collect();
        let strangers: Vec<(AccountId, Handle)> = self
            .people
            .iter()
            .enumerate()
            .filter(|(number, one)| one.owner == *number)
            .map(|(_, one)| one)
            .filter(|one| participants.iter().all(|(account, _)| *account != one.account))
            .map(|one| (one.account, one.handle.clone()))
            .collect();
        let choice = self.dice.below(10);
        let task = match choice {
            0 => Some(Task::Leave(group)),
            1..=3 => some(&mut self.dice, &others).map(|(account, role)| {
                let role = if role == Role::Admin && choice == 1 { Role::Member } else { Role::Admin };
                Task::Change(group, GroupChange::Role(account, role), Wish::Role(account, role))
            }),
            4..=6 if others.len() > 1 => some(&mut self.dice, &others)
                .map(|(account, _)| Task::Change(group, GroupChange::Remove(vec![account]), Wish::Remove(account))),
            _ => some(&mut self.dice, &strangers)
                .map(|(account, handle)| Task::Change(group, GroupChange::Add(vec![handle]), Wish::Add(account))),
        };
        if let Some(task) = task {
            self.counters.reach(if *admin { "changes_by_admins" } else { "changes_by_others" });
            self.give(*person, task);
        }
    }
}

fn some<T: Clone>(dice: &mut Dice, among: &[T]) -> Option<T> {
    among.get(dice.index(among.len())).cloned()
}
