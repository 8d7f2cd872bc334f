//! `roost check`: what can be seen to be wrong with a node's directory, also while it serves. It changes nothing.
//!
//! `disk` looks at what is there while the node may be down, `serving` asks a node that runs, `reach` looks at the network.

mod disk;
mod reach;
mod serving;

use crate::config::{Config, Flags, Profile};
use crate::control::{Answer, Request, ask};
use crate::output::{Failure, Printer};
use serde::Serialize;
use std::fmt::Display;
use std::path::PathBuf;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's directory
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Skipped,
    Ok,
    Warning,
    Failed,
}

/// One thing that was looked at. What is not ok has a hint.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    hint: String,
}

impl Check {
    fn new(name: &'static str, status: Status, detail: impl Display, hint: impl Display) -> Self {
        Self { name, status, detail: detail.to_string(), hint: hint.to_string() }
    }

    fn ok(name: &'static str, detail: impl Display) -> Self {
        Self::new(name, Status::Ok, detail, "")
    }

    fn warning(name: &'static str, detail: impl Display, hint: impl Display) -> Self {
        Self::new(name, Status::Warning, detail, hint)
    }

    fn failed(name: &'static str, detail: impl Display, hint: impl Display) -> Self {
        Self::new(name, Status::Failed, detail, hint)
    }

    fn skipped(name: &'static str, detail: impl Display, hint: impl Display) -> Self {
        Self::new(name, Status::Skipped, detail, hint)
    }

    fn of<T>(name: &'static str, result: Result<T, Failure>, fine: impl FnOnce(T) -> String) -> Self {
        match result {
            Ok(value) => Self::ok(name, fine(value)),
            Err(failure) => Self::failed(name, failure.message, failure.hint),
        }
    }
}

/// Runs it; the number is the exit code: 0 ok, 1 warnings, 2 failures.
///
/// # Errors
/// [`Failure`] when the result cannot be printed.
pub async fn run(args: Args, out: Printer) -> Result<u8, Failure> {
    let dir = args.dir;
    let (config, mut checks) = config(&dir);
    checks.splice(0..0, [disk::directory(&dir)]);
    checks.extend(disk::keys(&dir));
    checks.extend(config.as_ref().map(|config| disk::push(&dir, config)));
    checks.push(disk::invites(&dir));
    checks.push(disk::clock());
    checks.push(disk::descriptors(config.as_ref().map_or(Profile::Production, |config| config.profile)));
    checks.push(disk::space(&dir));
    checks.push(disk::page());
    checks.push(disk::blobs(&dir).await);
    match ask(&dir, &Request::Status).await {
        Ok(Some(Answer::Status { pid, ready, web, metrics })) => {
            checks.push(disk::store_in_use(&dir.join("store"), pid));
            checks.extend(serving::node(&dir, ready).await);
            checks.push(serving::bridge(web).await);
            checks.push(serving::metrics(metrics).await);
        }
        Ok(_) => {
            checks.push(disk::store(&dir.join("store")).await);
            checks.push(disk::leftovers(&dir));
            let hint = format!("roost serve --dir {}", dir.display());
            checks.push(Check::skipped("node", "does not serve", hint));
            checks.push(Check::skipped("bridge", "the node does not serve", ""));
            if let Some(config) = &config {
                checks.extend(reach::ports(config));
            }
        }
        Err(failure) => checks.push(Check::failed("node", failure.message, failure.hint)),
    }
    if let Some(config) = &config {
        checks.extend(reach::bootstrap(config).await);
        checks.push(reach::addresses(config));
    }
    report(&checks, out)
}

/// Every fault of the config on its own, or the config and what is doubtful in it.
fn config(dir: &std::path::Path) -> (Option<Config>, Vec<Check>) {
    match Config::examine(dir, &Flags::default()) {
        Ok(config) => {
            let mut checks = vec![Check::ok("config", format_args!("organisation {}", config.name))];
            checks.extend(reach::doubtful(&config));
            (Some(config), checks)
        }
        Err(faults) => {
            (None, faults.into_iter().map(|fault| Check::failed("config", fault.message, fault.hint)).collect())
        }
    }
}

fn report(checks: &[Check], out: Printer) -> Result<u8, Failure> {
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    let code = match worst {
        Status::Skipped | Status::Ok => 0,
        Status::Warning => 1,
        Status::Failed => 2,
    };
    let words: Vec<String> = checks
        .iter()
        .map(|check| {
            let status = format!("{:?}", check.status).to_lowercase();
            let hint = if check.hint.is_empty() { String::new() } else { format!("  ({})", check.hint) };
            format!("{status:8} {:11} {}{hint}", check.name, check.detail)
        })
        .collect();
    out.print(&serde_json::json!({ "ok": code == 0, "checks": checks }), words.join("\n"))?;
    Ok(code)
}
