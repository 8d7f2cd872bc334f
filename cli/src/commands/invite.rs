//! `roost invite`: lets people sign up. Works with and without a running node.

use crate::config::{Config, Flags, Invite};
use crate::control::{Request, ask};
use crate::output::{Failure, Printer, duration, now_ms, rfc3339};
use std::path::PathBuf;
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
    Config::load(&args.dir, &Flags::default())?;
    let expires_ms = now_ms().saturating_add(u64::try_from(args.expires.as_millis()).unwrap_or(u64::MAX));
    let invite = Invite::draw(args.uses, expires_ms)?;
    // On disk first: a node that starts right now imports it, one that runs is told, one that is down finds it later.
    invite.lay_down(&args.dir)?;
    ask(&args.dir, &Request::Import).await?;
    let expires_at = rfc3339(expires_ms);
    let value = serde_json::json!({ "invite": invite.token, "uses": invite.waiting.uses, "expires_at": expires_at });
    out.print(&value, format_args!("{}  ({} uses, until {expires_at})", invite.token, invite.waiting.uses))
}
