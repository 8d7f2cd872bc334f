//! `roost account`: a user's account, and the directories of its devices.

use crate::output::{Failure, Printer};
use roost_client::core::linking::LinkCode;
use roost_client::core::people::Settings;
use roost_client::{Joined, NewDirectory};
use roost_crypto::recovery::RecoveryCode;
use std::path::PathBuf;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

/// More than a code is on stdin by mistake.
const CODE_INPUT_BYTES_MAX: u64 = 1024;

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
    /// Make this machine one more device of an account; the code is shown by `roost chat link` on another one
    Link {
        /// The line that the other device shows
        code: LinkCode,
        /// Directory to keep the account in
        #[arg(long)]
        dir: PathBuf,
        /// File whose first line seals the directory, instead of a key file beside it
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// What this device is called
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Bring an account back by its recovery code, which is read from stdin
    Restore {
        /// The bridge of the account's organisation
        #[arg(long, value_name = "URL")]
        server: String,
        /// Directory to keep the account in
        #[arg(long)]
        dir: PathBuf,
        /// File whose first line seals the directory, instead of a key file beside it
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// End all other devices: they are lost, or somebody has them
        #[arg(long)]
        revoke_others: bool,
        /// What this device is called
        #[arg(long, default_value = "")]
        name: String,
    },
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub async fn run(args: Args, out: Printer) -> Result<(), Failure> {
    match args.command {
        Command::Create { server, handle, invite, dir, passphrase_file, accept_strangers } => {
            let settings = Settings { accept_strangers, ..Settings::default() };
            let passphrase_file = passphrase_file.as_deref();
            let made = roost_client::create_account(&server, &handle, &invite, &dir, passphrase_file, settings).await?;
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
        Command::Link { code, dir, passphrase_file, name } => {
            let at = NewDirectory { dir: &dir, passphrase_file: passphrase_file.as_deref() };
            // On stderr: what stdout holds is the result.
            let compare = |digits: &str| {
                eprintln!("digits  {}\nThe other device must show the same ones.", spaced(digits));
            };
            joined(&roost_client::link_account(code, at, &name, compare).await?, out)
        }
        Command::Restore { server, dir, passphrase_file, revoke_others, name } => {
            let code = recovery_code().await?;
            let at = NewDirectory { dir: &dir, passphrase_file: passphrase_file.as_deref() };
            joined(&roost_client::restore_account(&server, &code, at, revoke_others, &name).await?, out)
        }
    }
}

/// Digits in two groups, for people.
pub(super) fn spaced(digits: &str) -> String {
    let (first, second) = digits.split_at_checked(3).unwrap_or((digits, ""));
    format!("{first} {second}")
}

fn joined(joined: &Joined, out: Printer) -> Result<(), Failure> {
    let value = serde_json::json!({ "account": joined.account, "handle": joined.handle, "device": joined.device });
    out.print(&value, format_args!("you are {} on one more device", joined.handle))
}

/// Never an argument: those are seen by every process of the machine and kept by shells.
async fn recovery_code() -> Result<RecoveryCode, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = tokio::io::stdin().take(CODE_INPUT_BYTES_MAX).read_to_string(&mut text).await;
    read.map_err(Failure::io("reading the recovery code from stdin"))?;
    RecoveryCode::parse(&text)
        .map_err(|error| Failure::usage("bad_recovery_code", error, "type it as it was written down"))
}
