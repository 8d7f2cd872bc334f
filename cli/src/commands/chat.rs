//! `roost chat`: messages of the account in a directory.

mod devices;
mod files;
mod history;
mod people;
mod presence;
mod push;
pub mod timer;

use super::group;
use crate::interactive;
use crate::output::{Failure, Printer, duration, now_ms, rfc3339};
use crate::qr;
use futures::future::{join_all, try_join_all};
use roost_client::Session;
use roost_client::core::message::{MessageReport, ReceivedMessage, State, Status};
use roost_client::core::people::Whom;
use roost_client::core::{Extras, Recipient};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::safety_number::SafetyCode;
use roost_protocol::handle::Handle;
use roost_protocol::ids::MessageId;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// An account that is not known yet is looked up.
const LOOKUP_WAIT: Duration = Duration::from_secs(30);
/// A change of a message is at our home within this, or stays queued.
const CHANGE_WAIT: Duration = Duration::from_secs(30);
/// What a command that sends without a report waits for at the end.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// What is to be put into the archive arrives within this, or goes with the next command.
const ARCHIVE_WAIT: Duration = Duration::from_secs(20);
/// Messages that share one commit of the directory.
const BATCH: usize = 64;
/// A home that is up is connected within this.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Between two looks at the connection.
const CONNECT_LOOK: Duration = Duration::from_millis(50);

/// Its flags and subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The account's directory
    #[arg(long)]
    dir: PathBuf,
    /// File whose first line the directory is sealed under, where the account was made so
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// How far to wait for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wait {
    /// On disk here
    Queued,
    /// On disk at our node
    Accepted,
    /// On disk at the recipient's node
    Custody,
    /// On disk at the recipient's device
    Delivered,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a message
    Send {
        /// Like bob@birch, or a conversation's id
        #[arg(value_name = "TO")]
        to: Recipient,
        /// The message; beside a file what is said about it
        #[arg(required_unless_present_any = ["lines", "file"], conflicts_with = "lines")]
        text: Option<String>,
        /// A file to send; a picture is drawn anew, without what a camera wrote beside it
        #[arg(long, value_name = "PATH", conflicts_with = "lines")]
        file: Option<PathBuf>,
        /// Send a picture as it is, with everything that is in its file
        #[arg(long, requires = "file")]
        as_is: bool,
        /// A message for each line of stdin
        #[arg(long)]
        lines: bool,
        /// The message that it answers
        #[arg(long, value_name = "ID", conflicts_with = "lines")]
        reply_to: Option<MessageId>,
        /// Whom it mentions, beside those whom the text names like @bob@birch
        #[arg(long, value_name = "WHOM")]
        mention: Vec<Whom>,
        /// Disappear after this time: here since it was sent, at the reader since it was read. Without it, as `expires` says
        #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "lines")]
        expires: Option<Duration>,
        /// How far to wait
        #[arg(long, value_enum, default_value = "accepted")]
        wait: Wait,
        /// How long to wait; the message stays queued after that
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// After which time what is said in a conversation from now on disappears
    Expires {
        /// Like bob@birch, or a conversation's id
        #[arg(value_name = "TO")]
        to: Recipient,
        /// Like 7d, or off; without it nothing changes
        #[arg(value_name = "TIME")]
        time: Option<timer::Time>,
        /// How long to wait until it is at our node
        #[arg(long, default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Conversations of many
    #[command(subcommand)]
    Group(group::Command),
    /// Print messages that came, each once
    Recv {
        /// How long to wait for them
        #[arg(long, default_value = "10s", value_parser = duration)]
        wait: Duration,
        /// Stop after this many; else after the time
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Save the file of a message
    Save(files::SaveArgs),
    /// React to a message, or take the reaction back
    React {
        /// Like bob@birch, or a conversation's id
        #[arg(value_name = "TO")]
        to: Recipient,
        /// Its id
        message: MessageId,
        /// One emoji
        emoji: String,
        /// Take it back
        #[arg(long)]
        remove: bool,
    },
    /// Give a message of yours another text
    Edit {
        /// Like bob@birch, or a conversation's id
        #[arg(value_name = "TO")]
        to: Recipient,
        /// Its id
        message: MessageId,
        /// All of the new text
        text: String,
    },
    /// Take a message of yours back, for everyone
    Delete {
        /// Like bob@birch, or a conversation's id
        #[arg(value_name = "TO")]
        to: Recipient,
        /// Its id
        message: MessageId,
    },
    /// What was said, newest first
    History(history::Args),
    /// Everything of a conversation counts as read
    Read {
        /// Like bob@birch, or the id of an account or a conversation
        #[arg(value_name = "TO")]
        to: Recipient,
    },
    /// Strangers who wrote
    Requests,
    /// Let a stranger write to you
    Accept {
        /// Like bob@birch, or an account id
        #[arg(value_name = "TO")]
        to: Whom,
    },
    /// Show and answer nothing of somebody any more
    Block {
        /// Like bob@birch, or an account id
        #[arg(value_name = "TO")]
        to: Whom,
    },
    /// End that
    Unblock {
        /// Like bob@birch, or an account id
        #[arg(value_name = "TO")]
        to: Whom,
    },
    /// Print what somebody wrote as evidence; it is sent to nobody
    Report {
        /// Like bob@birch, or an account id
        #[arg(value_name = "TO")]
        to: Whom,
    },
    /// Whether somebody is there now, if that is told to you
    Presence {
        /// Like bob@birch, or an account id
        #[arg(value_name = "TO")]
        to: Recipient,
        /// How long to wait for an answer
        #[arg(long, default_value = "10s", value_parser = duration)]
        wait: Duration,
    },
    /// What you want to be called and shown as, or what somebody else does
    Profile(people::ProfileArgs),
    /// What you chose for this directory
    Settings(people::SettingsArgs),
    /// Whether an archive is kept, sealed, at your node, for devices that are linked or restored later
    Backup {
        /// On or off; without it nothing changes
        #[arg(value_enum)]
        switch: Option<people::Switch>,
    },
    /// The number to compare with the other, by another way
    SafetyNumber {
        /// Like bob@birch
        #[arg(value_name = "TO")]
        to: Handle,
        /// Draw the code that the other's device can read
        #[arg(long)]
        qr: bool,
    },
    /// You compared the safety number; takes a changed key over
    Verify {
        /// Like bob@birch
        #[arg(value_name = "TO")]
        to: Handle,
        /// What the other reads out, to be compared here
        #[arg(long)]
        digits: Option<String>,
        /// What the other's `safety-number` shows as a QR code, to be compared here
        #[arg(long, conflicts_with = "digits", value_parser = safety_code)]
        code: Option<SafetyCode>,
    },
    /// Take a changed key over without comparing
    AcceptKey {
        /// Like bob@birch
        #[arg(value_name = "TO")]
        to: Handle,
    },
    /// The devices of the account
    Devices(devices::Args),
    /// Show a code by which another machine becomes a device of the account
    Link(devices::LinkArgs),
    /// End another device of the account
    Revoke {
        /// Its id, as `devices` shows it
        device: DeviceId,
    },
    /// Where this device is woken while nothing is connected
    Push(push::Args),
    /// Who this is and how it stands
    Status,
}

impl Args {
    /// Whether it takes the terminal over.
    pub fn is_interactive(&self) -> bool {
        self.command.is_none()
    }
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub async fn run(args: Args, out: Printer) -> Result<(), Failure> {
    let Some(command) = args.command else {
        return interactive::run(&args.dir, args.passphrase_file.as_deref(), out.json).await;
    };
    let session = Session::open(&args.dir, args.passphrase_file.as_deref()).await?;
    let done = match command {
        Command::Send { to, text, file: Some(path), as_is, reply_to, mention, expires, wait, timeout, .. } => {
            let caption = text.unwrap_or_default();
            let sending = async {
                let mentions = mentions(&session, &to, &caption, mention).await?;
                let expires_after_s = expires.map(|expires| expires.as_secs());
                let extras = Extras { reply: reply_to, mentions, expires_after_s };
                let id = files::send(&session, &to, (path, caption, as_is), extras).await?;
                files::watched(&session, id, await_and_print(&session, id, wait, timeout, out)).await
            };
            sending.await
        }
        Command::Send { to, text: Some(text), reply_to, mention, expires, wait, timeout, .. } => {
            let expires_after_s = expires.map(|expires| expires.as_secs());
            match mentions(&session, &to, &text, mention).await {
                Ok(mentions) => {
                    let extras = Extras { reply: reply_to, mentions, expires_after_s };
                    sent(&session, session.send_with(&to, &text, extras).await, wait, timeout, out).await
                }
                Err(failure) => Err(failure),
            }
        }
        Command::Send { to, mention, wait, timeout, .. } => {
            send_lines(&session, &to, mention, wait, timeout, out).await
        }
        Command::Expires { to, time, timeout } => timer::run(&session, &to, time, timeout, out).await,
        Command::Group(command) => group::run(&session, command, out).await,
        Command::React { to, message, emoji, remove } => {
            let written = session.react(&to, message, &emoji, remove).await;
            sent(&session, written, Wait::Accepted, CHANGE_WAIT, out).await
        }
        Command::Edit { to, message, text } => {
            let written = session.edit(&to, message, &text).await;
            sent(&session, written, Wait::Accepted, CHANGE_WAIT, out).await
        }
        Command::Delete { to, message } => {
            let written = session.delete(&to, message).await;
            sent(&session, written, Wait::Accepted, CHANGE_WAIT, out).await
        }
        Command::History(args) => history::run(&session, args, out).await,
        Command::Read { to } => people::read(&session, to, out).await,
        Command::Requests => people::requests(&session, out).await,
        Command::Accept { to } => people::accept(&session, to, out).await,
        Command::Block { to } => people::block(&session, to, true, out).await,
        Command::Unblock { to } => people::block(&session, to, false, out).await,
        Command::Report { to } => people::report(&session, to, out).await,
        Command::Presence { to, wait } => presence::run(&session, to, wait, out).await,
        Command::Profile(args) => people::profile(&session, args, out).await,
        Command::Settings(args) => people::settings(&session, args, out).await,
        Command::Backup { switch } => people::backup(&session, switch, out).await,
        Command::Verify { to, digits, code } => people::verify(&session, to, digits, code, out).await,
        Command::AcceptKey { to } => people::accept_key(&session, &to, out).await,
        Command::Save(args) => files::save(&session, args, out).await,
        Command::Recv { wait, count } => recv(&session, wait, count, out).await,
        Command::SafetyNumber { to, qr } => safety_number(&session, &to, qr, out).await,
        Command::Devices(args) => devices::run(&session, args, out).await,
        Command::Link(args) => devices::link(&session, args, out).await,
        Command::Revoke { device } => devices::revoke(&session, device, out).await,
        Command::Push(args) => push::run(&session, args, out).await,
        Command::Status => status(&session, out).await,
    };
    let closed = session.close().await;
    match done {
        // What ended the session says more than that it ended.
        Err(failure) if failure.code == "closed" => Err(closed.err().map_or(failure, Failure::from)),
        Err(failure) => Err(failure),
        Ok(()) => Ok(closed?),
    }
}

async fn sent(
    session: &Session,
    written: Result<MessageId, roost_client::Error>,
    wait: Wait,
    timeout: Duration,
    out: Printer,
) -> Result<(), Failure> {
    await_and_print(session, written?, wait, timeout, out).await
}

/// Whom a text mentions: those that are named beside it, and those that it names itself.
async fn mentions(session: &Session, to: &Recipient, text: &str, named: Vec<Whom>) -> Result<Vec<AccountId>, Failure> {
    let mut accounts = session.mentioned(to, text).await?;
    for whom in named {
        accounts.push(match whom {
            Whom::Handle(handle) => session.account_of(&handle).await?,
            Whom::Account(account) => account,
        });
    }
    Ok(accounts)
}

/// Reads the code of a safety number.
fn safety_code(text: &str) -> Result<SafetyCode, String> {
    text.parse().map_err(|error: roost_crypto::code::CodeError| {
        format!("{error}; copy the whole of what `roost chat safety-number` shows on the other device")
    })
}

/// All are queued as they come, then waited for in order: one slow recipient costs one time-out, not one a line.
async fn send_lines(
    session: &Session,
    to: &Recipient,
    mention: Vec<Whom>,
    wait: Wait,
    timeout: Duration,
    out: Printer,
) -> Result<(), Failure> {
    let named = mentions(session, to, "", mention).await?;
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut queued = Vec::new();
    // What goes wrong is told at the end: what is queued by then is reported first.
    let mut first: Option<Failure> = None;
    let mut reading = true;
    while reading {
        let mut lines = Vec::new();
        match input.next_line().await {
            Ok(Some(line)) => lines.push(line),
            Ok(None) => break,
            Err(error) => {
                first.get_or_insert(Failure::io("reading stdin")(error));
                break;
            }
        }
        // What stdin holds already goes with it: one commit for all of them, in their order.
        while lines.len() < BATCH {
            match tokio::time::timeout(Duration::ZERO, input.next_line()).await {
                Ok(Ok(Some(line))) => lines.push(line),
                Ok(Err(error)) => {
                    first.get_or_insert(Failure::io("reading stdin")(error));
                    reading = false;
                    break;
                }
                Ok(Ok(None)) | Err(_) => break,
            }
        }
        let sends = lines.iter().filter(|line| !line.is_empty()).map(|line| async {
            let mentions = [named.as_slice(), &session.mentioned(to, line).await?].concat();
            session.send_with(to, line, Extras { mentions, ..Extras::default() }).await
        });
        for sent in join_all(sends).await {
            match sent {
                Ok(id) => queued.push(id),
                Err(error) => {
                    first.get_or_insert(error.into());
                }
            }
        }
    }
    let deadline_ms = now_ms().saturating_add(millis(timeout));
    for id in queued {
        let left = Duration::from_millis(deadline_ms.saturating_sub(now_ms()));
        if let Err(failure) = await_and_print(session, id, wait, left, out).await {
            first.get_or_insert(failure);
        }
    }
    first.map_or(Ok(()), Err)
}

async fn await_and_print(
    session: &Session,
    id: MessageId,
    wait: Wait,
    timeout: Duration,
    out: Printer,
) -> Result<(), Failure> {
    let wanted = match wait {
        Wait::Queued => State::Queued,
        Wait::Accepted => State::Accepted,
        Wait::Custody => State::Custody,
        Wait::Delivered => State::Delivered,
    };
    let waited = session.wait(id, wanted, timeout).await;
    let report = session.report(id).await?;
    print_report(&report, out)?;
    match (waited, report.error) {
        (Ok(_), _) => Ok(()),
        (Err(roost_client::Error::TimedOut), error) => {
            let why = error.map(|refusal| format!(": {}", refusal.message)).unwrap_or_default();
            let hint = "the message stays queued and goes when this directory is next in use";
            Err(Failure::timed_out(format_args!("{} was not reached in time{why}", name(wanted)), hint))
        }
        (Err(error), _) => Err(error.into()),
    }
}

fn print_report(report: &MessageReport, out: Printer) -> Result<(), Failure> {
    let at = |ms: Option<u64>| ms.map(rfc3339);
    let value = json!({
        "id": report.id, "conversation": report.conversation, "to": report.to, "state": report.state,
        "submitted_at": rfc3339(report.submitted_at), "accepted_at": at(report.accepted_at),
        "custody_at": at(report.custody_at), "delivered_at": at(report.delivered_at),
    });
    out.print(&value, format_args!("{} to {}", name(report.state), report.to))
}

fn name(state: State) -> String {
    json!(state).as_str().unwrap_or_default().to_owned()
}

async fn recv(session: &Session, wait: Duration, count: Option<u64>, out: Printer) -> Result<(), Failure> {
    let deadline_ms = now_ms().saturating_add(millis(wait));
    let mut printed = 0;
    print_key_changes(session, out).await?;
    while count.is_none_or(|count| printed < count) {
        let left = Duration::from_millis(deadline_ms.saturating_sub(now_ms()));
        let Ok(message) = tokio::time::timeout(left, session.recv()).await else { break };
        let mut messages = vec![message?];
        let wanted = count.map_or(BATCH, |count| usize::try_from(count - printed).unwrap_or(BATCH).min(BATCH));
        while messages.len() < wanted
            && let Ok(Ok(message)) = tokio::time::timeout(Duration::ZERO, session.recv()).await
        {
            messages.push(message);
        }
        let (mut shown, mut failed) = (Vec::new(), None);
        for message in &messages {
            match print_message(message, out) {
                Ok(()) => shown.push(message.id),
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
        }
        // Only now: what was not flushed is printed again by the next run.
        try_join_all(shown.iter().map(|id| session.mark_shown(*id))).await?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        printed += shown.len() as u64;
    }
    print_key_changes(session, out).await?;
    if printed >= count.unwrap_or(1) {
        return Ok(());
    }
    Err(Failure::timed_out(
        format_args!("{printed} of {} messages came in time", count.unwrap_or(1)),
        "wait longer with --wait, or check that the node runs",
    ))
}

/// A changed key is an event, never silent; it counts as no message.
async fn print_key_changes(session: &Session, out: Printer) -> Result<(), Failure> {
    for change in session.unshown_key_changes().await? {
        let value = json!({
            "type": "key_changed", "peer": change.handle, "account": change.account, "seen_at": rfc3339(change.seen_at),
        });
        let hint = "nothing is sent there until you `verify` or `accept-key`";
        out.print(&value, format_args!("the account behind {} is another one: {hint}", change.handle))?;
        session.key_change_shown(&change.handle).await?;
    }
    Ok(())
}

fn print_message(message: &ReceivedMessage, out: Printer) -> Result<(), Failure> {
    let value = json!({
        "type": "message", "id": message.id, "conversation": message.conversation, "from": message.from,
        "name": message.name, "reply_to": message.reply, "expires_after_s": message.expires_after_s,
        "mentions": message.mentions, "timer_s": message.timer_s, "file": files::value(message.file.as_ref()),
        "device": message.device, "kind": message.kind, "text": message.text,
        "sent_at": rfc3339(message.sent_at), "received_at": rfc3339(message.received_at),
    });
    let text: String = match message.timer_s {
        Some(seconds) => timer::words(seconds),
        None => message.text.chars().map(visible).collect(),
    };
    let file = files::words(message.file.as_ref(), &message.id);
    out.print(&value, format_args!("{}  {}: {file}{text}", rfc3339(message.sent_at), message.from))
}

/// A stranger's text must not steer the terminal.
pub(super) fn visible(character: char) -> char {
    if character.is_control() && character != '\n' && character != '\t' { '\u{fffd}' } else { character }
}

async fn safety_number(session: &Session, to: &Handle, drawn: bool, out: Printer) -> Result<(), Failure> {
    let number = session.safety_number(&to.to_string(), LOOKUP_WAIT).await?;
    let digits = number.digits();
    let verified = session.is_verified(to).await?;
    let code = session.safety_code(to).await?.to_string();
    let value = json!({ "peer": to, "digits": digits, "code": code, "verified": verified });
    let drawn = if drawn { format!("{}{code}\n", qr::printed(&code, &std::io::stdout())) } else { String::new() };
    let words = if verified {
        "You compared it."
    } else {
        "Compare it with theirs by another way; it must be the same. Then `roost chat verify`."
    };
    out.print(&value, format_args!("{to}\n{number}\n{drawn}{words}"))
}

/// The status once the home knows us, or how it stands after a while without that.
///
/// # Errors
/// [`Failure`] when the session ended.
pub async fn connected_status(session: &Session) -> Result<Status, Failure> {
    let mut status = session.status().await?;
    let deadline_ms = now_ms().saturating_add(millis(CONNECT_WAIT));
    while !status.connected && now_ms() < deadline_ms {
        tokio::time::sleep(CONNECT_LOOK).await;
        status = session.status().await?;
    }
    Ok(status)
}

async fn status(session: &Session, out: Printer) -> Result<(), Failure> {
    let status = connected_status(session).await?;
    let unread: usize = session.conversation_views().await?.iter().map(|conversation| conversation.unread).sum();
    let requests = session.requests().await?.len();
    let value: Value = json!({
        "unread": unread, "requests": requests,
        "handle": status.handle, "account": status.account, "device": status.device, "connected": status.connected,
        "homes": status.homes, "outbox": status.outbox, "conversations": status.conversations,
    });
    let connected = if status.connected { "connected" } else { "not connected" };
    out.print(
        &value,
        format_args!(
            "{}  {connected}\nhome           {}\nin the outbox  {}\nconversations  {}\nunread         {unread}\nrequests       {requests}",
            status.handle,
            status.homes.join(", "),
            status.outbox,
            status.conversations
        ),
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_steer_the_terminal() {
        let shown: String = "hi\u{1b}[2J\nthere".chars().map(visible).collect();
        assert_eq!(shown, "hi\u{fffd}[2J\nthere", "escape is replaced, the line break stays");
    }
}
