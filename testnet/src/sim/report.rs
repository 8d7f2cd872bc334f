//! What a run tells: one object a seed, and one for a range.

use super::invariants::Violation;
use super::scenario::LATER_SEEDS;
use serde::Serialize;
use std::collections::BTreeMap;

/// How often something happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// Counters of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    pub faults: Counts,
    pub reached: Counts,
}

impl Counters {
    /// A fault fired.
    pub fn fault(&mut self, name: &'static str) {
        self.faults(name, 1);
    }

    /// A fault fired so many times.
    pub fn faults(&mut self, name: &'static str, times: u64) {
        if times > 0 {
            *self.faults.entry(name).or_default() += times;
        }
    }

    /// A state was reached so many times.
    pub fn reached_times(&mut self, name: &'static str, times: u64) {
        if times > 0 {
            *self.reached.entry(name).or_default() += times;
        }
    }

    /// A state was reached.
    pub fn reach(&mut self, name: &'static str) {
        *self.reached.entry(name).or_default() += 1;
    }
}

/// One simulation.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The scenario's name.
    pub scenario: String,
    /// SHA-256 over every event, in hex: equal for equal seeds and the symbolic engine.
    pub trace_hash: String,
    /// Virtual time that passed.
    pub virtual_seconds: u64,
    /// Steps.
    pub operations: u64,
    /// How often each fault fired.
    pub faults: Counts,
    /// How often each state was reached.
    pub reached: Counts,
    /// Messages that a home accepted.
    pub accepted: u64,
    /// Messages that were shown.
    pub shown: u64,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
    /// No promise was broken.
    pub ok: bool,
}

/// Faults and states that a long range must have seen: a harness that never does what it says proves nothing.
const EXPECTED_FAULTS: [&str; 23] = [
    "delay",
    "device_clock",
    "device_kill",
    "drop",
    "duplicate",
    "failed_commit",
    "full_disk",
    "hangup",
    "kill",
    "lie",
    "lost_device_write",
    "lost_store",
    "lost_unsynced_write",
    "node_clock",
    "offline",
    "one_way",
    "partition",
    "pause",
    "reorder",
    "slow_disk",
    "start_kill",
    "survived_unsynced_write",
    "torn_write",
];
const EXPECTED_STATES: [&str; 15] = [
    "changes_at_once",
    "connections",
    "custodies",
    "early_pushes",
    "epochs_of_groups",
    "lookups_found",
    "lookups_not_found",
    "memberships_over",
    "older_records_refused",
    "removals",
    "requests_unanswered",
    "shown_after_heal",
    "shown_in_groups",
    "wishes_fulfilled",
    "wishes_refused",
];
/// What seeds from [`LATER_SEEDS`] on must have seen as well.
const EXPECTED_LATER_FAULTS: [&str; 3] = ["drain", "lost_device", "lost_hub"];
const EXPECTED_LATER_STATES: [&str; 10] = [
    "accounts_restored",
    "accounts_without_device",
    "devices_linked",
    "devices_revoked",
    "hub_moves",
    "last_resorts_told",
    "links_refused",
    "successors",
    "successors_apart",
    "two_successors_of_a_term",
];
/// A range of so many seeds must have seen all of them.
const LONG_RANGE: u64 = 100;

/// A range of seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Always `summary`.
    pub event: &'static str,
    /// How many.
    pub seeds: u64,
    /// Virtual time of all.
    pub virtual_seconds: u64,
    /// Steps of all.
    pub operations: u64,
    /// Faults of all.
    pub faults: Counts,
    /// States of all.
    pub reached: Counts,
    /// Messages accepted in all.
    pub accepted: u64,
    /// Messages shown in all.
    pub shown: u64,
    /// Seeds with a broken promise.
    pub violated: Vec<u64>,
    /// What never happened in a range that is long enough for it.
    pub never: Vec<&'static str>,
    /// No promise was broken, and everything that should happen did.
    pub ok: bool,
}

impl Summary {
    /// Sums up. `whole` if the scenarios were those of the seeds: then all faults are expected in a long range.
    pub fn of<'a>(reports: impl IntoIterator<Item = &'a Report>, whole: bool) -> Self {
        let mut summary = Self {
            event: "summary",
            seeds: 0,
            virtual_seconds: 0,
            operations: 0,
            faults: Counts::new(),
            reached: Counts::new(),
            accepted: 0,
            shown: 0,
            violated: Vec::new(),
            never: Vec::new(),
            ok: true,
        };
        let mut later = 0;
        for report in reports {
            later += u64::from(report.seed >= LATER_SEEDS);
            summary.seeds += 1;
            summary.virtual_seconds += report.virtual_seconds;
            summary.operations += report.operations;
            summary.accepted += report.accepted;
            summary.shown += report.shown;
            for (name, count) in &report.faults {
                *summary.faults.entry(name).or_default() += count;
            }
            for (name, count) in &report.reached {
                *summary.reached.entry(name).or_default() += count;
            }
            if !report.ok {
                summary.violated.push(report.seed);
            }
        }
        if whole && summary.seeds >= LONG_RANGE {
            let missing = |expected: &[&'static str], seen: &Counts| -> Vec<&'static str> {
                expected.iter().filter(|name| !seen.contains_key(*name)).copied().collect()
            };
            summary.never = missing(&EXPECTED_FAULTS, &summary.faults);
            summary.never.extend(missing(&EXPECTED_STATES, &summary.reached));
            if later >= LONG_RANGE {
                summary.never.extend(missing(&EXPECTED_LATER_FAULTS, &summary.faults));
                summary.never.extend(missing(&EXPECTED_LATER_STATES, &summary.reached));
            }
        }
        summary.ok = summary.violated.is_empty() && summary.never.is_empty();
        summary
    }
}
