//! `roost chat push`: where this device is woken while nothing is connected.

use crate::output::{Failure, Printer, duration};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use roost_client::Session;
use roost_client::core::Recipient;
use roost_client::core::push::{PushReport, PushSubscription};
use roost_protocol::Bytes;
use roost_protocol::push::PushLeg;
use serde_json::json;
use std::time::Duration;

/// Its flags and subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// How long to wait for the home
    #[arg(long, global = true, default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Be woken at an address of a push service, by Web Push or UnifiedPush
    Subscribe {
        /// Its address for this device
        endpoint: String,
        /// The subscription's public key, base64url: an uncompressed point of P-256
        #[arg(value_parser = base64url)]
        p256dh: Bytes,
        /// Its secret, base64url: 16 bytes
        #[arg(value_parser = base64url)]
        auth: Bytes,
    },
    /// Have the home push once, and say how far that came
    Test,
    /// Be woken no more
    Off,
    /// Not to be woken for a conversation
    Mute {
        /// Like bob@birch, or a conversation's id
        #[arg(value_name = "TO")]
        to: Recipient,
    },
    /// To be woken for it again
    Unmute {
        /// Like bob@birch, or a conversation's id
        #[arg(value_name = "TO")]
        to: Recipient,
    },
    /// The key that the home proves itself with to push services
    Key,
}

fn base64url(text: &str) -> Result<Bytes, String> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map(Bytes)
        .map_err(|error| format!("{error}; expected base64url, as a browser or a distributor gives it"))
}

/// Runs it.
///
/// # Errors
/// [`Failure`]; exit 1 for a test that did not arrive at the push service.
pub async fn run(session: &Session, args: Args, out: Printer) -> Result<(), Failure> {
    let timeout = args.timeout;
    match args.command {
        Some(Command::Subscribe { endpoint, p256dh, auth }) => {
            let subscription = PushSubscription { endpoint, p256dh, auth };
            print(&session.set_push(Some(subscription), timeout).await?, out)
        }
        Some(Command::Off) => print(&session.set_push(None, timeout).await?, out),
        Some(Command::Mute { to }) => print(&session.set_push_muted(&to, true, timeout).await?, out),
        Some(Command::Unmute { to }) => print(&session.set_push_muted(&to, false, timeout).await?, out),
        Some(Command::Test) => test(session, timeout, out).await,
        Some(Command::Key) => {
            let key = BASE64_URL_SAFE_NO_PAD.encode(session.push_key(timeout).await?.as_slice());
            out.print(&json!({ "key": key }), &key)
        }
        None => {
            super::connected_status(session).await?;
            print(&session.push_report().await?, out)
        }
    }
}

async fn test(session: &Session, timeout: Duration, out: Printer) -> Result<(), Failure> {
    let report = session.test_push(timeout).await?;
    let status = report.status.map(|status| format!(" ({status})")).unwrap_or_default();
    let value = json!({ "leg": report.leg, "status": report.status, "message": report.message });
    out.print(&value, format_args!("{}{status}: {}", report.leg.name(), report.message))?;
    if report.leg == PushLeg::Ok {
        return Ok(());
    }
    Err(Failure::failed("push", format_args!("{}: {}", report.leg.name(), report.message), hint(report.leg)))
}

const fn hint(leg: PushLeg) -> &'static str {
    match leg {
        PushLeg::Ok => "",
        PushLeg::Endpoint | PushLeg::Address => "subscribe at a push service of the public internet",
        PushLeg::Resolve | PushLeg::Connect => "is the push service up, and can the home reach it?",
        PushLeg::Tls => "the push service needs a certificate that the home believes: [push] certificates",
        PushLeg::Answer => "try again later",
        PushLeg::Status => "subscribe anew",
    }
}

fn print(report: &PushReport, out: Printer) -> Result<(), Failure> {
    let value = json!({
        "endpoint": report.endpoint, "known": report.known, "offered": report.offered, "muted": report.muted,
        "error": report.error.as_ref().map(|error| json!({ "code": error.code, "message": error.message })),
    });
    let mut words = match (&report.endpoint, report.known) {
        (None, true) => "this device is woken nowhere".to_owned(),
        (None, false) => "this device is to be woken no more; the home does not know yet".to_owned(),
        (Some(endpoint), true) => format!("woken at {endpoint}"),
        (Some(endpoint), false) => format!("to be woken at {endpoint}; the home does not know yet"),
    };
    if report.offered == Some(false) {
        words.push_str("\nthe home does not push");
    }
    for conversation in &report.muted {
        words.push_str(&format!("\nnot for {conversation}"));
    }
    if let Some(error) = &report.error {
        words.push_str(&format!("\n{}: {}", error.message, error.hint));
    }
    out.print(&value, words)
}
