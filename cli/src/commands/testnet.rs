//! `roost testnet`: many organisations on this machine, as processes of this binary.

use super::invite;
use crate::output::{Failure, Printer, now_ms};
use roost_testnet::{DemoEvent, Manifest, TestnetError, UpConfig};
use std::path::{Path, PathBuf};

/// Its subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start organisations and sign their users up
    Up {
        /// How many organisations
        #[arg(long)]
        orgs: usize,
        /// How many users each
        #[arg(long)]
        users: usize,
        /// Where
        #[arg(long)]
        dir: PathBuf,
        /// Return once all is ready; `down` ends it
        #[arg(long)]
        detach: bool,
    },
    /// End all nodes
    Down {
        /// The testnet's directory
        #[arg(long)]
        dir: PathBuf,
    },
    /// Kill an organisation's node without warning
    Kill(One),
    /// End an organisation's node orderly
    Stop(One),
    /// Start an organisation's node again
    Start(One),
    /// Simulate whole networks in virtual time (exit 1 when a promise was broken)
    Sim(super::sim::Args),
    /// Three organisations talk to each other before your eyes
    Demo {
        /// Take everything down at the end
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// The organisation's name
    #[arg(value_name = "ORG")]
    org: String,
    /// The testnet's directory
    #[arg(long)]
    dir: PathBuf,
}

/// People who can sign up by a link of the demo, and for how long, milliseconds.
const INVITE_USES: u32 = 10;
const INVITE_MS: u64 = 7 * 24 * 3_600_000;

/// Runs it; the number is the exit code.
///
/// # Errors
/// [`Failure`].
pub async fn run(args: Args, out: Printer) -> Result<u8, Failure> {
    match args.command {
        Command::Up { orgs, users, dir, detach } => up(orgs, users, &dir, detach, out).await?,
        Command::Down { dir } => {
            let manifest = roost_testnet::down(&dir).await?;
            let names: Vec<_> = manifest.orgs.iter().map(|org| org.name.as_str()).collect();
            out.print(
                &serde_json::json!({ "event": "down", "orgs": names }),
                format_args!("down: {}", names.join(", ")),
            )?;
        }
        Command::Kill(one) => ended("killed", &roost_testnet::kill(&one.dir, &one.org).await?, out)?,
        Command::Stop(one) => ended("stopped", &roost_testnet::stop(&one.dir, &one.org).await?, out)?,
        Command::Start(one) => {
            let org = roost_testnet::start(&binary()?, &one.dir, &one.org).await?;
            let value = serde_json::json!({ "event": "started", "org": org.name, "pid": org.pid, "web": org.web });
            out.print(&value, format_args!("{} is ready again at {}, process {}", org.name, org.web, org.pid))?;
        }
        Command::Sim(args) => return tokio::task::block_in_place(|| super::sim::run(&args, out)),
        Command::Demo { once } => return demo(once, out).await,
    }
    Ok(0)
}

async fn up(orgs: usize, users: usize, dir: &Path, detach: bool, out: Printer) -> Result<(), Failure> {
    let config = UpConfig::numbered(binary()?, dir.to_owned(), orgs, users);
    let manifest = tokio::select! {
        manifest = roost_testnet::up(&config) => manifest?,
        _ = tokio::signal::ctrl_c() => {
            let _ = roost_testnet::down(dir).await;
            return Err(Failure::failed("interrupted", "interrupted while starting", ""));
        }
    };
    let value = serde_json::json!({ "event": "ready", "orgs": manifest.orgs });
    out.print(&value, words(&manifest))?;
    if detach {
        return Ok(());
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(Failure::io("listening for signals"))?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    roost_testnet::down(dir).await?;
    Ok(())
}

fn words(manifest: &Manifest) -> String {
    let mut lines = Vec::new();
    for org in &manifest.orgs {
        lines.push(format!("{:8} {}  process {}  {}", org.name, org.web, org.pid, org.dir.display()));
        lines.extend(org.users.iter().map(|user| format!("         {:20} {}", user.handle, user.dir.display())));
    }
    lines.join("\n")
}

fn ended(how: &str, org: &roost_testnet::Org, out: Printer) -> Result<(), Failure> {
    let value = serde_json::json!({ "event": how, "org": org.name, "pid": org.pid });
    out.print(&value, format_args!("{how} {}, process {}", org.name, org.pid))
}

async fn demo(once: bool, out: Printer) -> Result<u8, Failure> {
    let dir = std::env::temp_dir().join(format!("roost-demo-{}", std::process::id()));
    let mut unprinted = None;
    let print = |event: &DemoEvent| {
        if let Err(failure) = out.print(event, event) {
            unprinted.get_or_insert(failure);
        }
    };
    let done = tokio::select! {
        done = roost_testnet::demo(binary()?, dir.clone(), print) => done.map_err(Failure::from),
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted", "interrupted", "")),
    };
    let keep = !once && done.is_ok();
    if !keep {
        let down = if dir.join("testnet.json").exists() { roost_testnet::down(&dir).await.map(drop) } else { Ok(()) };
        let removed = std::fs::remove_dir_all(&dir);
        if done.is_ok() {
            down?;
            removed.map_err(Failure::io("removing the demo's directory"))?;
        }
    }
    let ok = done?;
    if keep && !out.json {
        let manifest = Manifest::load(&dir)?;
        out.print(&(), try_it(&manifest, &dir)?)?;
        out.print(&(), pages(&manifest).await?)?;
    }
    unprinted.map_or(Ok(if ok { 0 } else { 1 }), Err)
}

/// The lines to type next.
fn try_it(manifest: &Manifest, dir: &Path) -> Result<String, Failure> {
    let binary = binary()?;
    let (binary, dir) = (binary.display(), dir.display());
    let mut users = manifest.orgs.iter().filter_map(|org| Some((org, org.users.first()?)));
    let (Some((org, alice)), Some((_, bob))) = (users.next(), users.next()) else { return Ok(String::new()) };
    Ok(format!(
        "\nThe organisations are still up. Try it:\n  \
         {binary} chat --dir {alice_dir} send {bob} 'hello'\n  \
         {binary} chat --dir {bob_dir} recv\n  \
         {binary} chat --dir {alice_dir} safety-number {bob}\n  \
         {binary} lookup {bob} --dir {org_dir}\n  \
         {binary} testnet kill {org} --dir {dir}\n  \
         {binary} testnet start {org} --dir {dir}\n  \
         {binary} testnet down --dir {dir}",
        alice_dir = alice.dir.display(),
        bob = bob.handle,
        bob_dir = bob.dir.display(),
        org_dir = org.dir.display(),
        org = org.name,
    ))
}

/// Where to open the page: links by which anybody signs up, an organisation each.
async fn pages(manifest: &Manifest) -> Result<String, Failure> {
    if roost_web_bridge::page_files().is_empty() {
        return Ok("\nThis build has no page; `make web` makes it.".to_owned());
    }
    let mut lines =
        vec!["\nOr open these, each in a browser or a profile of its own, and write to the others:".to_owned()];
    for org in &manifest.orgs {
        let invite = invite::make(&org.dir, INVITE_USES, now_ms().saturating_add(INVITE_MS)).await?;
        let people: Vec<_> = org.users.iter().map(|user| user.handle.as_str()).collect();
        lines.push(format!(
            "  {}/#invite={}  ({} is there)",
            org.web.trim_end_matches('/'),
            invite.token,
            people.join(", ")
        ));
    }
    Ok(lines.join("\n"))
}

fn binary() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(Failure::io("finding this binary"))
}

impl From<TestnetError> for Failure {
    fn from(error: TestnetError) -> Self {
        match error {
            TestnetError::Exists(_) => {
                Self::usage("exists", error, "name another directory, or take that one down and remove it")
            }
            TestnetError::Size { .. } => Self::usage("size", error, ""),
            TestnetError::NoOrg { .. } => Self::usage("no_org", error, "name one of these"),
            TestnetError::File { .. } => Self::usage("file", error, "is this a testnet's directory?"),
            TestnetError::Running { .. } => Self::busy(error, "stop or kill it first"),
            TestnetError::TimedOut(_) => Self::timed_out(error, "look at the node's serve.log"),
            TestnetError::Client(error) => error.into(),
            TestnetError::Io { .. } | TestnetError::Command { .. } => {
                Self::failed("testnet", error, "the nodes' logs are serve.log in their directories")
            }
        }
    }
}
