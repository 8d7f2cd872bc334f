//! `roost account`: a user's account.

use crate::output::{Failure, Printer};
use roost_client::core::people::Settings;
use std::path::PathBuf;

/// Its subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an account at an organisation
    Create {
        /// The organisation's bridge
        #[arg(long, value_name = "URL")]
        server: String,
        /// The wanted part before the @
        #[arg(long)]
        handle: String,
        /// From the operator; needed where registration is not open
        #[arg(long, default_value = "")]
        invite: String,
        /// Directory to keep the account in
        #[arg(long)]
        dir: PathBuf,
        /// File whose first line seals the directory, instead of a key file beside it
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Let anybody write without being accepted first: for test networks
        #[arg(long)]
        accept_strangers: bool,
    },
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub async fn run(args: Args, out: Printer) -> Result<(), Failure> {
    let Command::Create { server, handle, invite, dir, passphrase_file, accept_strangers } = args.command;
    let settings = Settings { accept_strangers, ..Settings::default() };
    let made =
        roost_client::create_account(&server, &handle, &invite, &dir, passphrase_file.as_deref(), settings).await?;
    let value = serde_json::json!({
        "account": made.account, "handle": made.handle, "device": made.device, "recovery_code": made.recovery_code.as_str(),
    });
    let words = format!(
        "you are {}\nrecovery code  {}\nWrite the code down now: it is shown once and brings the account back if this machine is lost.",
        made.handle,
        made.recovery_code.as_str()
    );
    out.print(&value, words)
}
