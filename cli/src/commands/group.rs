//! `roost chat group`: conversations of many.

use super::chat::{timer, visible};
use crate::output::{Failure, Printer, duration, rfc3339};
use crate::picture;
use roost_client::core::message::State;
use roost_client::core::{ConversationReport, GroupChange, ParticipantReport, Warning};
use roost_client::{Error, Session};
use roost_protocol::conversation::Role;
use roost_protocol::handle::Handle;
use roost_protocol::ids::ConversationId;
use roost_protocol::{AccountId, NodeId};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Begin a conversation with these people
    Create {
        /// Like bob@birch carol@cedar
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<Handle>,
        /// How long to wait until it stands
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Add people
    Add {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: ConversationId,
        /// Like dave@birch
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<Handle>,
        /// How long to wait until they are in
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Remove people
    Remove {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: ConversationId,
        /// Like dave@birch, or an account id
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<String>,
        /// How long to wait until they are out
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Make somebody an admin, or not
    Role {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: ConversationId,
        /// Like dave@birch, or an account id
        member: String,
        /// What they may do
        #[arg(value_parser = role)]
        role: Role,
        /// How long to wait until it is so
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Say what it is called and is for
    Title {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: ConversationId,
        /// Its name; empty for none
        title: String,
        /// What it is for; without it that stays
        #[arg(long)]
        description: Option<String>,
        /// How long to wait until it is at our node
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// What it is shown as
    Picture {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: ConversationId,
        /// A JPEG, PNG or WebP file, which is scaled down until it fits a message
        file: Option<PathBuf>,
        /// Take the picture away
        #[arg(long, conflicts_with = "file")]
        remove: bool,
        /// Write it to a file that is not there yet
        #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "remove"])]
        save: Option<PathBuf>,
        /// How long to wait until it is at our node
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Let another node put changes in order: by handing over, or in place of one that is lost
    Move {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: ConversationId,
        /// One of the nodes that `info` lists as successors; without it, the first
        #[arg(long, value_name = "NODE")]
        to: Option<NodeId>,
        /// The hub is gone for good: a successor follows without it. What it alone knows is lost
        #[arg(long)]
        hub_is_lost: bool,
        /// How long to wait until it is so
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Make the keys of this device there anew: what was copied from it opens nothing that comes
    Renew {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: ConversationId,
        /// How long to wait until it is so
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Leave; one of the others takes you out
    Leave {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: ConversationId,
        /// How long to wait until you are out
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Who takes part; all conversations without an id
    Info {
        /// The conversation's id
        #[arg(value_parser = conversation)]
        conversation: Option<ConversationId>,
    },
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub async fn run(session: &Session, command: Command, out: Printer) -> Result<(), Failure> {
    match command {
        Command::Create { members, timeout } => {
            let members: Vec<String> = members.iter().map(Handle::to_string).collect();
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            let (intent, conversation) = session.create_group(&members).await?;
            await_intent(session, intent, timeout).await?;
            info(session, Some(conversation), out).await
        }
        Command::Add { conversation, members, timeout } => {
            change(session, conversation, GroupChange::Add(members), timeout, out).await
        }
        Command::Remove { conversation, members, timeout } => {
            let mut accounts = Vec::new();
            for member in &members {
                accounts.push(account_of(session, conversation, member).await?);
            }
            change(session, conversation, GroupChange::Remove(accounts), timeout, out).await
        }
        Command::Role { conversation, member, role, timeout } => {
            let account = account_of(session, conversation, &member).await?;
            change(session, conversation, GroupChange::Role(account, role), timeout, out).await
        }
        Command::Title { conversation, title, description, timeout } => {
            let told = session.set_about(conversation, Some(title), description).await?;
            session.wait(told, State::Accepted, timeout).await?;
            info(session, Some(conversation), out).await
        }
        Command::Picture { conversation, file, remove, save, timeout } => {
            let drawn = file.map(|file| picture::read(&file)).transpose()?;
            if drawn.is_some() || remove {
                let told = session.set_about_picture(conversation, drawn).await?;
                session.wait(told, State::Accepted, timeout).await?;
            }
            if let Some(path) = save {
                let reports = session.conversations().await?;
                let report = reports.into_iter().find(|report| report.conversation == conversation);
                picture::save(report.ok_or(Error::UnknownConversation)?.picture.as_ref(), &path)?;
            }
            info(session, Some(conversation), out).await
        }
        Command::Move { conversation, to, hub_is_lost, timeout } => {
            let wanted = if hub_is_lost { GroupChange::Succeed { to, term: None } } else { GroupChange::Move(to) };
            change(session, conversation, wanted, timeout, out).await
        }
        Command::Renew { conversation, timeout } => {
            change(session, conversation, GroupChange::Renew, timeout, out).await
        }
        Command::Leave { conversation, timeout } => leave(session, conversation, timeout, out).await,
        Command::Info { conversation } => info(session, conversation, out).await,
    }
}

/// Reads a conversation's id.
///
/// # Errors
/// What is wrong with it.
pub fn conversation(text: &str) -> Result<ConversationId, String> {
    text.parse().map_err(|_| "expected 64 hexadecimal digits, as `roost chat group info` prints them".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "admin" => Ok(Role::Admin),
        "member" => Ok(Role::Member),
        _ => Err("expected admin or member".into()),
    }
}

async fn change(
    session: &Session,
    conversation: ConversationId,
    change: GroupChange,
    timeout: Duration,
    out: Printer,
) -> Result<(), Failure> {
    let intent = session.change_group(conversation, change).await?;
    await_intent(session, intent, timeout).await?;
    info(session, Some(conversation), out).await
}

async fn await_intent(session: &Session, intent: u64, timeout: Duration) -> Result<(), Failure> {
    match session.intent(intent, timeout).await {
        Err(Error::TimedOut) => {
            let why = session.intent_error(intent).await?.map(|error| format!(": {}", error.message));
            let why = why.unwrap_or_default();
            let hint = "it is kept and goes on when this directory is next in use";
            Err(Failure::timed_out(format_args!("it did not come true in time{why}"), hint))
        }
        ended => Ok(ended?),
    }
}

async fn leave(
    session: &Session,
    conversation: ConversationId,
    timeout: Duration,
    out: Printer,
) -> Result<(), Failure> {
    session.leave_group(conversation).await?;
    let gone = async {
        loop {
            let known = session.conversations().await?;
            if known.iter().any(|report| report.conversation == conversation && report.over) {
                return Ok::<_, Error>(());
            }
            session.changed().await?;
        }
    };
    match tokio::time::timeout(timeout, gone).await {
        Ok(gone) => gone?,
        Err(_) => {
            let hint = "it is told to the others when this directory is next in use; one of them has to be online";
            return Err(Failure::timed_out(format_args!("nobody took you out in time"), hint));
        }
    }
    info(session, Some(conversation), out).await
}

/// The account that a name means among those who take part.
async fn account_of(session: &Session, conversation: ConversationId, name: &str) -> Result<AccountId, Failure> {
    let reports = session.conversations().await?;
    let report = reports.iter().find(|report| report.conversation == conversation).ok_or(Error::UnknownConversation)?;
    let found = report.participants.iter().find(|one| one.name == name || one.account.to_string() == name);
    found.map(|one| one.account).ok_or_else(|| {
        Failure::usage("not_member", format!("{name} takes no part"), "see `roost chat group info` for who does")
    })
}

async fn info(session: &Session, wanted: Option<ConversationId>, out: Printer) -> Result<(), Failure> {
    let reports = session.conversations().await?;
    let mut printed = 0;
    for report in reports.iter().filter(|report| wanted.is_none_or(|wanted| wanted == report.conversation)) {
        print(report, out)?;
        printed += 1;
    }
    if printed == 0 && wanted.is_some() {
        return Err(Error::UnknownConversation.into());
    }
    Ok(())
}

fn print(report: &ConversationReport, out: Printer) -> Result<(), Failure> {
    let value = json!({
        "conversation": report.conversation, "title": report.title, "description": report.description,
        "picture": picture::value(report.picture.as_ref()), "expires_after_s": report.expires_after_s,
        "epoch": report.epoch, "term": report.term, "hub": report.hub, "successors": report.successors,
        "standing": report.standing, "over": report.over, "participants": report.participants,
        "warnings": report.warnings.iter().map(warning).collect::<Vec<_>>(),
    });
    let line = |one: &ParticipantReport| {
        let role = if one.role == Role::Admin { "admin" } else { "member" };
        format!("\n  {}  {role}, {} devices", one.name, one.devices)
    };
    let people: String = report.participants.iter().map(line).collect();
    let state = match (report.over, report.standing) {
        (true, _) => "you take no part any more",
        (false, true) => "standing",
        (false, false) => "waiting for its hub",
    };
    let title = if report.title.is_empty() {
        String::new()
    } else {
        format!("{}  ", report.title.chars().map(visible).collect::<String>())
    };
    let description: String = report.description.lines().map(|line| format!("\n  {line}")).collect();
    let description: String = description.chars().map(visible).collect();
    let picture = report.picture.as_ref().map(|one| format!("\n  picture {}", picture::words(Some(one))));
    let picture = picture.unwrap_or_default();
    let timer = report.expires_after_s.map(|seconds| format!("\n  {}", timer::words(seconds))).unwrap_or_default();
    let hub = format!("\n  hub {}", report.hub);
    let successors: String = report.successors.iter().map(|node| format!("\n  successor {node}")).collect();
    let (conversation, epoch) = (report.conversation, report.epoch);
    let warnings: String = report.warnings.iter().map(|one| format!("\n  WARNING {}", one.cause.text())).collect();
    out.print(
        &value,
        format_args!(
            "{title}{conversation}  epoch {epoch}, {state}{description}{picture}{timer}{people}{hub}{successors}{warnings}"
        ),
    )
}

/// What programs read of a warning: its cause, and the words for people.
pub fn warning(warning: &Warning) -> serde_json::Value {
    let mut value = json!(warning);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("since".into(), json!(rfc3339(warning.since)));
        fields.insert("text".into(), json!(warning.cause.text()));
    }
    value
}
