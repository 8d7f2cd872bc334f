//! `roost invite`: lets people sign up. Works with and without a running node.

use crate::config::{Config, Flags, Invite};
use crate::control::{Request, ask};
use crate::output::{Failure, Printer, duration, now_ms, rfc3339};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's directory
    #[arg(long)]
    dir: PathBuf,
    /// How many people can sign up with it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// How long it works
    #[arg(long, default_value = "7d", value_parser = duration)]
    expires: Duration,
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub async fn run(args: Args, out: Printer) -> Result<(), Failure> {
    let expires_ms = now_ms().saturating_add(u64::try_from(args.expires.as_millis()).unwrap_or(u64::MAX));
    let invite = make(&args.dir, args.uses, expires_ms).await?;
    let expires_at = rfc3339(expires_ms);
    let value = serde_json::json!({ "invite": invite.token, "uses": invite.waiting.uses, "expires_at": expires_at });
    out.print(&value, format_args!("{}  ({} uses, until {expires_at})", invite.token, invite.waiting.uses))
}

/// A new invite of the node in `dir`, which it knows on return if it serves.
///
/// # Errors
/// [`Failure`].
pub async fn make(dir: &Path, uses: u32, expires_ms: u64) -> Result<Invite, Failure> {
    Config::load(dir, &Flags::default())?;
    let invite = Invite::draw(uses, expires_ms)?;
    // On disk first: a node that starts right now imports it, one that runs is told, one that is down finds it later.
    invite.lay_down(dir)?;
    ask(dir, &Request::Import).await?;
    Ok(invite)
}
