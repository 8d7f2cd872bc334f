//! `roost chat requests`, `accept`, `block`, `report`, `profile`, `settings`, `verify`: who may write, and who is who.

use super::{ARCHIVE_WAIT, LEAVE_WAIT, LOOKUP_WAIT, history, visible};
use crate::output::{Failure, Printer, rfc3339};
use crate::picture;
use roost_client::Session;
use roost_client::core::Recipient;
use roost_client::core::people::{Settings, Whom};
use roost_crypto::safety_number::SafetyCode;
use roost_protocol::handle::Handle;
use serde_json::{Value, json};
use std::path::PathBuf;

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// What may be chosen.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// Whether authors hear that you read their messages
    #[arg(long, value_enum)]
    read_receipts: Option<Switch>,
    /// Whether authors hear that their messages are on this device
    #[arg(long, value_enum)]
    delivery_receipts: Option<Switch>,
    /// Whether anybody may write without being accepted first
    #[arg(long, value_enum)]
    accept_strangers: Option<Switch>,
    /// Whether contacts hear that you are there or type, and you of them
    #[arg(long, value_enum)]
    presence: Option<Switch>,
}

pub(super) async fn read(session: &Session, of: Recipient, out: Printer) -> Result<(), Failure> {
    let read = session.mark_read(of.clone()).await?;
    leave(session).await?;
    let name = match &of {
        Recipient::Handle(handle) => handle.to_string(),
        Recipient::Id(id) => id.to_string(),
    };
    out.print(&json!({ "peer": name, "read": read }), format_args!("{read} read"))
}

pub(super) async fn requests(session: &Session, out: Printer) -> Result<(), Failure> {
    let requests = session.requests().await?;
    for request in &requests {
        let value = json!({
            "type": "request", "account": request.account, "conversation": request.conversation, "from": request.from, "name": request.name,
            "text": request.text, "messages": request.messages, "received_at": rfc3339(request.received_at),
        });
        let text: String = request.text.chars().map(visible).collect();
        out.print(&value, format_args!("{} ({} messages): {text}", request.from, request.messages))?;
    }
    if requests.is_empty() && !out.json { out.print(&Value::Null, "nobody waits") } else { Ok(()) }
}

pub(super) async fn accept(session: &Session, to: Whom, out: Printer) -> Result<(), Failure> {
    session.accept(to.clone()).await?;
    leave(session).await?;
    out.print(&json!({ "peer": name(&to), "accepted": true }), format_args!("{} may write to you", name(&to)))
}

pub(super) async fn block(session: &Session, to: Whom, blocked: bool, out: Printer) -> Result<(), Failure> {
    session.set_blocked(to.clone(), blocked).await?;
    let words = if blocked { "is blocked" } else { "is not blocked any more" };
    out.print(&json!({ "peer": name(&to), "blocked": blocked }), format_args!("{} {words}", name(&to)))
}

/// Evidence is for programs and people who judge: one JSON object, also without `--json`.
pub(super) async fn report(session: &Session, to: Whom, _: Printer) -> Result<(), Failure> {
    let evidence = session.evidence(to).await?;
    let messages: Vec<Value> = evidence.messages.iter().map(history::value).collect();
    let value = json!({
        "type": "report", "account": evidence.account, "from": evidence.from, "root": evidence.root, "messages": messages,
    });
    Printer { json: true }.print(&value, "")
}

/// Whose profile, and what is to become of it.
#[derive(Debug, clap::Args)]
pub struct ProfileArgs {
    /// Somebody else: like bob@birch, or an account id
    #[arg(value_name = "TO", conflicts_with_all = ["name", "picture", "no_picture"])]
    to: Option<Whom>,
    /// Tell it to everybody you know
    #[arg(long)]
    name: Option<String>,
    /// A JPEG, PNG or WebP file, which is scaled down until it fits a message
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Take your picture away
    #[arg(long, conflicts_with = "picture")]
    no_picture: bool,
    /// Write the picture to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(super) async fn profile(session: &Session, args: ProfileArgs, out: Printer) -> Result<(), Failure> {
    let ProfileArgs { to, name, picture: file, no_picture, save } = args;
    if let Some(file) = &file {
        session.set_own_picture(Some(picture::read(file)?)).await?;
    } else if no_picture {
        session.set_own_picture(None).await?;
    }
    if let Some(name) = &name {
        let name = name.clone();
        session.change_settings(move |settings| settings.profile = Some(name)).await?;
    }
    if name.is_some() || file.is_some() || no_picture {
        leave(session).await?;
    }
    let (whose, name, picture) = match to {
        Some(whom) => {
            let (theirs, picture) = session.profile_of(whom.clone()).await?;
            (self::name(&whom), theirs, picture)
        }
        None => (session.status().await?.handle, session.settings().await?.profile, session.own_picture().await?),
    };
    if let Some(path) = &save {
        picture::save(picture.as_ref(), path)?;
    }
    let shown = name.as_deref().unwrap_or("no name").chars().map(visible).collect::<String>();
    let value = json!({ "peer": whose, "name": name, "picture": picture::value(picture.as_ref()) });
    out.print(&value, format_args!("{shown}\n{}", picture::words(picture.as_ref())))
}

pub(super) async fn settings(session: &Session, args: SettingsArgs, out: Printer) -> Result<(), Failure> {
    let change = move |settings: &mut Settings| {
        if let Some(switch) = args.read_receipts {
            settings.read_receipts = switch == Switch::On;
        }
        if let Some(switch) = args.delivery_receipts {
            settings.delivery_receipts = switch == Switch::On;
        }
        if let Some(switch) = args.accept_strangers {
            settings.accept_strangers = switch == Switch::On;
        }
        if let Some(switch) = args.presence {
            settings.presence = switch == Switch::On;
        }
    };
    let settings = session.change_settings(change).await?;
    let word = |on: bool| if on { "on" } else { "off" };
    let value = json!({
        "read_receipts": settings.read_receipts, "delivery_receipts": settings.delivery_receipts, "accept_strangers": settings.accept_strangers,
        "presence": settings.presence, "profile": settings.profile,
    });
    let (receipts, strangers) = (word(settings.read_receipts), word(settings.accept_strangers));
    let (delivery, presence) = (word(settings.delivery_receipts), word(settings.presence));
    out.print(
        &value,
        format_args!(
            "read receipts      {receipts}\ndelivery receipts  {delivery}\naccept strangers   {strangers}\npresence           {presence}"
        ),
    )
}

/// Turns the archive on or off, and gives what is to be put the time to arrive.
pub(super) async fn backup(session: &Session, switch: Option<Switch>, out: Printer) -> Result<(), Failure> {
    let settings = match switch {
        Some(switch) => session.change_settings(move |settings| settings.backup = switch == Switch::On).await?,
        None => session.settings().await?,
    };
    let archived = match session.archived(ARCHIVE_WAIT).await {
        Ok(()) => true,
        Err(roost_client::Error::TimedOut) => false,
        Err(error) => return Err(error.into()),
    };
    let words = match (settings.backup, archived) {
        (true, true) => "on; everything is in the archive",
        (true, false) => "on; not everything is in the archive yet, the rest goes when this directory is next in use",
        (false, true) => "off; nothing is kept",
        (false, false) => "off; what was kept goes when this directory is next in use",
    };
    out.print(&json!({ "backup": settings.backup, "archived": archived }), words)
}

pub(super) async fn verify(
    session: &Session,
    to: Handle,
    digits: Option<String>,
    code: Option<SafetyCode>,
    out: Printer,
) -> Result<(), Failure> {
    // Looks the account up where it is not known yet.
    session.safety_number(&to.to_string(), LOOKUP_WAIT).await?;
    let number = match code {
        Some(code) => session.verify_code(Whom::Handle(to.clone()), code).await?,
        None => session.verify(Whom::Handle(to.clone()), digits).await?,
    };
    let value = json!({ "peer": to, "digits": number.digits(), "verified": true });
    out.print(&value, format_args!("{to}\n{number}\nmarked as compared"))
}

pub(super) async fn accept_key(session: &Session, to: &Handle, out: Printer) -> Result<(), Failure> {
    let changed = session.accept_key(to).await?;
    let words = if changed { "the new key is taken over, not compared" } else { "the key had not changed" };
    out.print(&json!({ "peer": to, "changed": changed, "verified": session.is_verified(to).await? }), words)
}

/// Gives receipts and profiles, which no report tells of, the time to leave; what does not goes with the next command.
async fn leave(session: &Session) -> Result<(), Failure> {
    match session.settled(LEAVE_WAIT).await {
        Ok(()) | Err(roost_client::Error::TimedOut) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn name(whom: &Whom) -> String {
    match whom {
        Whom::Handle(handle) => handle.to_string(),
        Whom::Account(account) => account.to_string(),
    }
}
