//! The simulator: whole networks in one thread, in virtual time, from one seed.
//!
//! The relay and the device core are the real ones; stores, links, sockets, the directory's routing and time are models.
//! Faults are data ([`Scenario`]); invariants are checked as it runs; equal seeds give equal traces with the symbolic
//! engine. Never touches a socket, a file, a clock or the system's randomness; with OpenMLS, which draws its own, only
//! outcomes can be compared.

mod agreement;
mod devices;
mod dice;
mod directory;
mod disk;
mod drains;
mod faults;
mod groups;
mod hubs;
mod invariants;
mod liar;
mod links;
mod node;
mod outage;
mod person;
mod report;
mod rumours;
mod scenario;
mod schedule;
mod sockets;
mod trace;
mod world;

pub use invariants::Violation;
pub use report::{Counts, Report, Summary};
pub use scenario::{Engine, Faults, Lie, Scenario, ScenarioError};

#[cfg(feature = "sabotage")]
pub use roost_crypto::sabotage::Defect;

use roost_crypto::sabotage::Sabotage;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reports that wait for an earlier seed's.
const WAITING_REPORTS_MAX: usize = 64;

/// How seeds are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The group engine.
    pub engine: Engine,
    /// The text of a scenario file, TOML or JSON, and its path for the command that repeats a violation.
    pub scenario: Option<(String, String)>,
    /// Every step goes to standard error.
    pub aloud: bool,
    /// A rule that is broken on purpose.
    #[cfg(feature = "sabotage")]
    pub defect: Option<Defect>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: Engine::Symbolic,
            scenario: None,
            aloud: false,
            #[cfg(feature = "sabotage")]
            defect: None,
        }
    }
}

/// Why a simulation cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The scenario file.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The world could not be set up: a bug of the simulator.
    #[error("the world cannot be set up: {0}")]
    SetUp(String),
}

impl Options {
    #[cfg(feature = "sabotage")]
    fn sabotage(&self) -> Sabotage {
        self.defect.map_or(Sabotage::NONE, Sabotage::of)
    }

    #[cfg(not(feature = "sabotage"))]
    fn sabotage(&self) -> Sabotage {
        Sabotage::NONE
    }

    /// The command that runs a seed again.
    fn repeat(&self, seed: u64) -> String {
        let mut command = format!("roost testnet sim --seed {seed}");
        if let Some((_, path)) = &self.scenario {
            command.push_str(" --scenario ");
            command.push_str(path);
        }
        if self.engine == Engine::Mls {
            command.push_str(" --engine mls");
        }
        #[cfg(feature = "sabotage")]
        if let Some(name) = self.defect.and_then(|defect| serde_json::to_value(defect).ok()) {
            command.push_str(" --defect ");
            command.push_str(name.as_str().unwrap_or_default());
        }
        command
    }
}

/// Runs one seed.
///
/// # Errors
/// [`SimError`]; a broken promise is no error but in the report.
pub fn run(seed: u64, options: &Options) -> Result<Report, SimError> {
    let mut scenario = Scenario::of_seed(seed);
    if let Some((text, _)) = &options.scenario {
        scenario = scenario.overridden(text)?;
    }
    Ok(world::World::new(seed, scenario, options.clone())?.run())
}

/// Runs a range of seeds on `threads` threads; `each` gets the reports in the order of the seeds.
///
/// # Errors
/// [`SimError`] of the first seed that cannot be run.
pub fn run_range(
    seeds: std::ops::Range<u64>,
    options: &Options,
    threads: usize,
    mut each: impl FnMut(&Report),
) -> Result<Summary, SimError> {
    let next = AtomicU64::new(seeds.start);
    let (sender, done) = std::sync::mpsc::sync_channel(WAITING_REPORTS_MAX);
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sender.send((seed, run(seed, options))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut expected = seeds.start;
        for (seed, report) in done {
            early.insert(seed, report);
            while let Some(report) = early.remove(&expected) {
                expected += 1;
                let report = report?;
                each(&report);
                reports.push(report);
            }
        }
        Ok::<_, SimError>(())
    })?;
    Ok(Summary::of(&reports, options.scenario.is_none()))
}
