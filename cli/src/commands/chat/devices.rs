//! `roost chat devices`, `link`, `revoke`: which devices the account has, and who becomes one.

use super::ARCHIVE_WAIT;
use crate::commands::account::spaced;
use crate::output::{Failure, Printer};
use crate::qr;
use roost_client::Session;
use roost_crypto::ids::DeviceId;
use roost_protocol::limits;
use serde_json::json;
use std::io::IsTerminal as _;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// The home takes a log and passes an answer on within this.
const HOME_WAIT: Duration = Duration::from_secs(30);

/// What to do with the list of devices.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Call this device otherwise
    Name {
        /// At most 64 bytes
        name: String,
    },
}

/// How a device is linked.
#[derive(Debug, clap::Args)]
pub struct LinkArgs {
    /// How long to wait for the new device
    #[arg(long, default_value = "2m", value_parser = crate::output::duration)]
    wait: Duration,
    /// Ask nobody: link whoever has the digits given, or with --yes-without-comparing whoever has the code
    #[arg(long, requires = "comparison")]
    yes: bool,
    /// The digits that the new device shows
    #[arg(long, group = "comparison")]
    digits: Option<String>,
    /// Link whoever has the code
    #[arg(long, group = "comparison")]
    yes_without_comparing: bool,
    /// Draw no QR code of the code on stderr
    #[arg(long)]
    no_qr: bool,
}

pub(super) async fn run(session: &Session, args: Args, out: Printer) -> Result<(), Failure> {
    if let Some(Command::Name { name }) = args.command {
        session.name_device(&name).await?;
        // The others hear of it by the archive.
        wait_for_archive(session).await?;
    }
    for device in session.devices().await? {
        let name: String = device.name.chars().map(super::visible).collect();
        let current = if device.current { "  this one" } else { "" };
        let words = format!("{}  {name}{current}", device.device);
        let value = json!({
            "device": device.device, "name": device.name, "current": device.current, "since_seq": device.since_seq,
        });
        out.print(&value, words)?;
    }
    Ok(())
}

pub(super) async fn revoke(session: &Session, device: DeviceId, out: Printer) -> Result<(), Failure> {
    session.revoke(device, HOME_WAIT).await?;
    let words = format!("{device} is no device of the account any more");
    out.print(&json!({ "device": device, "revoked": true }), words)
}

pub(super) async fn link(session: &Session, args: LinkArgs, out: Printer) -> Result<(), Failure> {
    session.connected(HOME_WAIT).await?;
    // What the new device is to find is put before it comes.
    wait_for_archive(session).await?;
    let code = session.offer_link().await?;
    let words = format!("on the new device:\n\nroost account link {code} --dir DIR\n\nNobody else may see this line.");
    // For a camera; what stdout holds is for whoever copies it.
    let stderr = std::io::stderr();
    if !out.json && !args.no_qr && stderr.is_terminal() {
        eprint!("{}", qr::printed(&code.to_string(), &stderr));
    }
    out.print(&json!({ "type": "link_code", "code": code.to_string() }), words)?;
    let wait = args.wait.min(Duration::from_millis(limits::LINK_MS) * 5);
    let asked = session.link_asked(wait).await?;
    let agreed = match (args.yes, &args.digits, args.yes_without_comparing) {
        (true, _, true) => true,
        (true, Some(digits), false) => digits.chars().filter(char::is_ascii_digit).eq(asked.digits.chars()),
        _ => {
            let name: String = asked.name.chars().map(super::visible).collect();
            eprintln!(
                "{name} asks to be linked\ndigits  {}\nAre these the digits there? yes/no",
                spaced(&asked.digits)
            );
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            let line = lines.next_line().await.map_err(Failure::io("reading stdin"))?;
            line.is_some_and(|line| line.trim().eq_ignore_ascii_case("yes"))
        }
    };
    if !agreed {
        let hint = "somebody else may have seen the code: nothing was linked; begin again with a new one";
        return Err(Failure::failed("digits_differ", "the digits are not those of the other device", hint));
    }
    session.accept_link(HOME_WAIT).await?;
    let value = json!({ "type": "linked", "device": asked.device, "name": asked.name, "digits": asked.digits });
    out.print(&value, format_args!("{} is linked", asked.device))
}

async fn wait_for_archive(session: &Session) -> Result<(), Failure> {
    match session.archived(ARCHIVE_WAIT).await {
        Ok(()) | Err(roost_client::Error::TimedOut) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
