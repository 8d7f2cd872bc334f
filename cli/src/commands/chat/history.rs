//! `roost chat history`: what was said, newest first.

use super::{files, timer, visible};
use crate::commands::group::warning;
use crate::output::{Failure, Printer, rfc3339};
use roost_client::Session;
use roost_client::core::Recipient;
use roost_client::core::history::HistoryItem;
use roost_protocol::ids::MessageId;
use serde_json::{Value, json};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Like bob@birch, or the id of an account or a conversation; all without it
    #[arg(value_name = "TO")]
    to: Option<Recipient>,
    /// Messages of one page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// The cursor that the page before ended with
    #[arg(long, value_name = "CURSOR")]
    before: Option<MessageId>,
}

pub(super) async fn run(session: &Session, args: Args, out: Printer) -> Result<(), Failure> {
    if args.before.is_none() {
        for one in session.warnings(args.to.clone()).await? {
            let line = format!("WARNING {}", one.cause.text());
            let mut value = warning(&one);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("type".into(), json!("warning"));
            }
            out.print(&value, format_args!("{line}"))?;
        }
    }
    let page = session.history(args.to, args.before, usize::from(args.limit)).await?;
    for item in &page.items {
        let text: String = match item.timer_s.filter(|_| !item.deleted && !item.expired) {
            Some(seconds) => timer::words(seconds),
            None => item.text.chars().map(visible).collect(),
        };
        let file = files::words(item.file.as_ref(), &item.id);
        let line = format!("{}  {}: {file}{text}{}", rfc3339(item.sent_at), item.from, words(item));
        out.print(&value(item), line)?;
    }
    match page.before {
        Some(before) => {
            out.print(&json!({ "type": "cursor", "before": before }), format_args!("more with --before {before}"))
        }
        None => Ok(()),
    }
}

/// What programs read of a message.
pub(super) fn value(item: &HistoryItem) -> Value {
    let marks = |marks: &[roost_client::core::history::Mark]| -> Vec<Value> {
        marks.iter().map(|mark| json!({ "by": mark.by, "at": rfc3339(mark.at) })).collect()
    };
    json!({
        "type": "message", "id": item.id, "conversation": item.conversation, "with": item.with, "from": item.from,
        "own": item.own, "kind": item.kind, "text": item.text, "reply_to": item.reply, "mentions": item.mentions,
        "edited": item.edited, "deleted": item.deleted, "expired": item.expired,
        "expires_at": item.expires_at.map(rfc3339), "timer_s": item.timer_s, "reactions": item.reactions, "unread": item.unread,
        "file": files::value(item.file.as_ref()),
        "sent_at": rfc3339(item.sent_at), "received_at": rfc3339(item.received_at), "state": item.state,
        "delivered": marks(&item.delivered), "read": marks(&item.read), "payload_hash": item.payload_hash,
    })
}

fn words(item: &HistoryItem) -> String {
    let mut words = String::new();
    for (holds, word) in [(item.edited, " (edited)"), (item.deleted, "(deleted)"), (item.expired, "(expired)")] {
        words.push_str(if holds { word } else { "" });
    }
    for reaction in &item.reactions {
        words.push_str(&format!("  {} {}", reaction.emoji, reaction.from));
    }
    words
}
