//! `roost testnet sim`: whole networks in virtual time, by seed.

use crate::output::{Failure, Printer};
use roost_testnet::sim::{self, Engine, Options, Report, SimError, Summary};
use std::path::PathBuf;

/// Its flags.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["seed", "seeds"])))]
pub struct Args {
    /// One seed
    #[arg(long)]
    seed: Option<u64>,
    /// Many: `A..B`, without B
    #[arg(long, value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// TOML or JSON whose fields override what the seed gives
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// Which group engine the devices have
    #[arg(long, value_enum, default_value_t = EngineName::Symbolic)]
    engine: EngineName,
    /// Every step goes to stderr
    #[arg(long)]
    trace: bool,
    /// A rule to break on purpose
    #[cfg(feature = "sabotage")]
    #[arg(long, value_parser = defect)]
    defect: Option<sim::Defect>,
}

/// As on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum EngineName {
    /// The twin without mathematics
    Symbolic,
    /// OpenMLS
    Mls,
}

/// Runs it; the number is the exit code: 1 when a promise was broken.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: Printer) -> Result<u8, Failure> {
    let scenario = match &args.scenario {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage("scenario", error, "name a readable TOML or JSON file"))?;
            Some((text, path.display().to_string()))
        }
        None => None,
    };
    let options = Options {
        engine: match args.engine {
            EngineName::Symbolic => Engine::Symbolic,
            EngineName::Mls => Engine::Mls,
        },
        scenario,
        aloud: args.trace,
        #[cfg(feature = "sabotage")]
        defect: args.defect,
    };
    if let Some(seed) = args.seed {
        let report = sim::run(seed, &options)?;
        out.print(&report, words(&report))?;
        return Ok(u8::from(!report.ok));
    }
    let (from, to) = args.seeds.unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut unprinted = None;
    let summary = sim::run_range(from..to, &options, threads, |report| {
        if let Err(failure) = out.print(report, words(report)) {
            unprinted.get_or_insert(failure);
        }
    })?;
    if let Some(failure) = unprinted {
        return Err(failure);
    }
    out.print(&summary, sum(&summary))?;
    Ok(u8::from(!summary.ok))
}

fn words(report: &Report) -> String {
    let faults: u64 = report.faults.values().sum();
    let mut words = format!(
        "seed {}: {} steps, {} s, {faults} faults, {} accepted, {} shown, {}",
        report.seed,
        report.operations,
        report.virtual_seconds,
        report.accepted,
        report.shown,
        if report.ok { "ok" } else { "VIOLATED" }
    );
    for violation in &report.violations {
        words.push_str(&format!(
            "\n  {} at step {}: {}\n  {}",
            violation.invariant, violation.step, violation.detail, violation.repeat
        ));
    }
    words
}

fn sum(summary: &Summary) -> String {
    let faults: u64 = summary.faults.values().sum();
    format!(
        "{} seeds: {} steps, {} virtual hours, {faults} faults, {} accepted, {} shown; violated: {:?}; never happened: {:?}",
        summary.seeds,
        summary.operations,
        summary.virtual_seconds / 3600,
        summary.accepted,
        summary.shown,
        summary.violated,
        summary.never
    )
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match numbers {
        Some((from, to)) if from < to => Ok((from, to)),
        _ => Err("expected A..B with A < B".into()),
    }
}

#[cfg(feature = "sabotage")]
fn defect(name: &str) -> Result<sim::Defect, String> {
    let known = || {
        let names = sim::Defect::ALL.iter().filter_map(|defect| serde_json::to_value(defect).ok());
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect::<Vec<_>>().join(", ")
    };
    serde_json::from_value(name.into()).map_err(|_| format!("expected one of {}", known()))
}

impl From<SimError> for Failure {
    fn from(error: SimError) -> Self {
        match error {
            SimError::Scenario(error) => Self::usage("scenario", error, "see the fields of a scenario in the docs"),
            SimError::SetUp(_) => Self::failed("sim", error, "report this with the seed"),
        }
    }
}
