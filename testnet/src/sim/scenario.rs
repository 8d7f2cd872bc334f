//! What one simulation is made of, as data: derived from the seed, and overridden by a file.

use super::dice::Dice;
use super::outage::DOWN_MS;
use roost_protocol::limits;
use serde::{Deserialize, Serialize};

/// From this seed on devices come and go, hubs are lost and key packages are drained; what a seed below is made of stays as it is.
pub(super) const LATER_SEEDS: u64 = 1_000_000;

/// Which group engine the devices have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The twin without mathematics: equal seeds give equal traces.
    Symbolic,
    /// OpenMLS: outcomes are compared, not traces.
    Mls,
}

/// How a node lies. It is the real relay, and what passes its door is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// Its entries name another author.
    ForgedAuthor,
    /// Its entries carry an altered payload, with the hash that fits.
    AlteredPayload,
    /// It delivers an entry a second time under a new position and a new message id.
    Replay,
    /// Its entries name a later epoch.
    WrongEpoch,
    /// It gives custody for what it never held.
    FalseCustody,
    /// It gives custody beyond what it was sent.
    CustodyBeyond,
    /// It answers lookups with an older record.
    OlderRecord,
    /// It delivers nothing.
    Withhold,
    /// Its conversations' heads bear a signature that does not fit.
    ForgedHead,
    /// It sends its devices entries that it made up.
    InventedEntry,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ForgedAuthor,
        Self::AlteredPayload,
        Self::Replay,
        Self::WrongEpoch,
        Self::FalseCustody,
        Self::CustodyBeyond,
        Self::OlderRecord,
        Self::Withhold,
        Self::ForgedHead,
        Self::InventedEntry,
    ];
}

/// What may go wrong in the safety phase. Chances are per mille of messages between nodes, counts are events of the phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Messages that never arrive.
    pub drop: u32,
    /// Requests that arrive twice.
    pub duplicate: u32,
    /// Messages that others overtake: up to two seconds late.
    pub reorder: u32,
    /// Messages that come up to an hour late.
    pub delay: u32,
    /// Two nodes that do not hear each other.
    pub partitions: u32,
    /// A node that is heard by another but does not hear it.
    pub one_way: u32,
    /// Nodes that are killed.
    pub kills: u32,
    /// Nodes that are killed while they start.
    pub start_kills: u32,
    /// Nodes that stand still for 1 to 120 s.
    pub pauses: u32,
    /// Nodes whose clock is set wrong for a while, forward or back, up to an hour.
    pub node_clocks: u32,
    /// Devices whose clock is set wrong for a while.
    pub device_clocks: u32,
    /// Nodes whose disk is full for a while.
    pub full_disks: u32,
    /// Nodes whose disk takes up to two seconds for a commit, for a while.
    pub slow_disks: u32,
    /// Nodes whose store is lost.
    pub lost_stores: u32,
    /// Devices that are killed and start again.
    pub device_kills: u32,
    /// Devices that are away for up to an hour.
    pub offline: u32,
    /// Connections of devices that break.
    pub hangups: u32,
    /// How one node lies.
    pub lie: Option<Lie>,
}

/// One simulation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name in reports.
    pub name: String,
    /// Organisations with a node each, 2 to 8.
    pub nodes: usize,
    /// Accounts, 2 to 20; each begins with one device.
    pub accounts: usize,
    /// Messages that people write.
    pub messages: usize,
    /// The node at which the last account lives is down for so long, virtual seconds, while the others go on in one group: its
    /// messages and changes are those of groups below, and nothing else happens. 0 for none. See `outage`.
    #[serde(default)]
    pub outage_s: u64,
    /// Conversations of many.
    pub groups: usize,
    /// Times at which somebody writes to one of them, once or in a burst.
    pub group_messages: usize,
    /// Changes of their people.
    pub changes: usize,
    /// Homes other than a writer's own from which on a group's entries are gossiped.
    pub wide_homes: usize,
    /// Times at which somebody links, revokes or loses a device, or comes back by the recovery code.
    #[serde(default)]
    pub device_changes: usize,
    /// Times at which the hub of a group moves, or is lost and followed.
    #[serde(default)]
    pub hub_changes: usize,
    /// Times at which a node asks for somebody's key packages until only the last resort is left.
    #[serde(default)]
    pub drains: usize,
    /// Length of the safety phase, virtual seconds.
    pub safety_s: u64,
    /// After the heal everything accepted is shown within this, virtual seconds.
    pub liveness_s: u64,
    /// What goes wrong.
    pub faults: Faults,
}

/// Why a scenario is refused.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Neither TOML nor JSON, or a field that is none.
    #[error("the scenario does not read: {0}")]
    Malformed(String),
    /// A size that a simulation does not take.
    #[error("expected {expected}, got {got}")]
    Size {
        /// What is taken.
        expected: &'static str,
        /// What was given.
        got: usize,
    },
}

impl Scenario {
    /// The scenario of a seed. Engines and defects do not change it.
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5ce0_a210_0000_0000);
        let big = dice.chance(100);
        let nodes = dice.between(2, if big { 8 } else { 4 });
        let accounts = dice.between(2, if big { 20 } else { 5 });
        let messages = dice.between(4, if big { 60 } else { 24 });
        let size = |drawn: u64| usize::try_from(drawn).unwrap_or(2);
        let (nodes, accounts) = (size(nodes), size(accounts));
        let calm = dice.chance(50);
        let mut some = |per_mille: u32, from: u64, to: u64| {
            let drawn = u32::try_from(dice.between(from, to)).unwrap_or(0);
            if dice.chance(per_mille) && !calm { drawn } else { 0 }
        };
        let faults = Faults {
            drop: some(500, 10, 150),
            duplicate: some(500, 10, 200),
            reorder: some(500, 50, 300),
            delay: some(300, 5, 40),
            partitions: some(400, 1, 4),
            one_way: some(300, 1, 3),
            kills: some(600, 1, 6),
            start_kills: some(300, 1, 2),
            pauses: some(300, 1, 3),
            node_clocks: some(400, 1, 4),
            device_clocks: some(400, 1, 4),
            full_disks: some(250, 1, 2),
            slow_disks: some(300, 1, 3),
            lost_stores: some(350, 1, 1),
            device_kills: some(500, 1, 5),
            offline: some(500, 1, 3),
            hangups: some(500, 1, 6),
            lie: None,
        };
        let liar = some(350, 0, Lie::ALL.len() as u64 - 1);
        let lies = some(350, 1, 1) == 1 && faults.lost_stores == 0;
        let lie = if lies { Lie::ALL.get(usize::try_from(liar).unwrap_or(0)).copied() } else { None };
        let safety_s = dice.between(600, 5400);
        // Drawn last: what a seed without groups is made of stays as it is.
        let groups = if dice.chance(400) { dice.between(1, 2) } else { 0 };
        let (group_messages, changes) = (dice.between(4, 16), dice.between(2, 16));
        let accounts = if groups > 0 { accounts.max(size(dice.between(4, 9))) } else { accounts };
        let wide_homes = if dice.chance(500) { size(dice.between(1, 2)) } else { limits::WIDE_HOMES_MIN };
        let of_groups = |count: u64| if groups > 0 { size(count) } else { 0 };
        let later = seed >= LATER_SEEDS;
        let device_changes = if later && dice.chance(250) { dice.between(2, 10) } else { 0 };
        let hub_changes = if later && dice.chance(500) { dice.between(1, 4) } else { 0 };
        let drains = if later && dice.chance(150) { dice.between(1, 4) } else { 0 };
        Self {
            name: format!("seed-{seed}"),
            nodes,
            accounts,
            messages: size(messages),
            outage_s: 0,
            groups: of_groups(groups),
            group_messages: of_groups(group_messages),
            changes: of_groups(changes),
            wide_homes,
            device_changes: size(device_changes),
            hub_changes: of_groups(hub_changes),
            drains: size(drains),
            safety_s,
            liveness_s: 900,
            faults: Faults { lie, ..faults },
        }
    }

    /// Takes over the fields of a file, TOML or JSON; the others stay as derived.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn overridden(self, file: &str) -> Result<Self, ScenarioError> {
        let malformed = |error: &dyn std::fmt::Display| ScenarioError::Malformed(error.to_string());
        let given: serde_json::Value = match serde_json::from_str(file) {
            Ok(value) => value,
            Err(_) => toml::from_str(file).map_err(|error| malformed(&error))?,
        };
        let mut value = serde_json::to_value(&self).map_err(|error| malformed(&error))?;
        merge(&mut value, given);
        let scenario: Self = serde_json::from_value(value).map_err(|error| malformed(&error))?;
        scenario.checked()
    }

    fn checked(self) -> Result<Self, ScenarioError> {
        let size = |expected, got| Err(ScenarioError::Size { expected, got });
        let of_groups = self
            .groups
            .max(self.group_messages)
            .max(self.changes)
            .max(self.device_changes)
            .max(self.hub_changes)
            .max(self.drains);
        if self.outage_s > 0 {
            return match (self.nodes, self.accounts) {
                (3..=8, 3..=20) if of_groups <= 10_000 && self.safety_s > self.outage_s + DOWN_MS / 1_000 => Ok(self),
                (3..=8, 3..=20) if of_groups <= 10_000 => {
                    size("a safety phase that is longer than the outage", usize::try_from(self.safety_s).unwrap_or(0))
                }
                (3..=8, 3..=20) => size("at most 10000 of anything in groups", of_groups),
                (_, got) => size("3 to 8 nodes and 3 to 20 accounts for an outage", got),
            };
        }
        match (self.nodes, self.accounts, self.messages) {
            (2..=8, 2..=20, 0..=1000) if self.groups > 0 && self.accounts < 3 => {
                size("at least 3 accounts for a group", self.accounts)
            }
            (2..=8, 2..=20, 0..=1000) if of_groups <= 1000 => Ok(self),
            (2..=8, 2..=20, 0..=1000) => size("at most 1000 changes of anything", of_groups),
            (2..=8, 2..=20, got) => size("at most 1000 messages", got),
            (2..=8, got, _) => size("2 to 20 accounts", got),
            (got, ..) => size("2 to 8 nodes", got),
        }
    }
}

fn merge(into: &mut serde_json::Value, given: serde_json::Value) {
    match (into, given) {
        (serde_json::Value::Object(into), serde_json::Value::Object(given)) => {
            for (key, value) in given {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, given) => *into = given,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_file_overrides_what_it_names_and_nothing_else() {
        let derived = Scenario::of_seed(7);
        let toml = derived.clone().overridden("nodes = 5\n[faults]\nlie = \"withhold\"\n").expect("it reads");
        assert_eq!((toml.nodes, toml.faults.lie), (5, Some(Lie::Withhold)), "what the file names is taken");
        assert_eq!(toml.faults.kills, derived.faults.kills, "the rest follows from the seed");
        let json = derived.clone().overridden("{\"nodes\": 5, \"faults\": {\"lie\": \"withhold\"}}").expect("it reads");
        assert_eq!(json, toml, "JSON says the same");
        assert!(derived.clone().overridden("nodse = 5").is_err(), "an unknown field is refused");
        assert!(derived.overridden("nodes = 9").is_err(), "and so is a size beyond the bounds");
    }
}
