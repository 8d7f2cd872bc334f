//! `roost chat presence`: whether somebody is there now, if that is told to us.

use crate::output::{Failure, Printer, rfc3339};
use roost_client::Session;
use roost_client::core::{Recipient, Seen};
use serde_json::json;
use std::time::Duration;

pub(super) async fn run(session: &Session, to: Recipient, wait: Duration, out: Printer) -> Result<(), Failure> {
    let report = session.look_for(&to, wait).await?;
    let name = match &to {
        Recipient::Handle(handle) => handle.to_string(),
        Recipient::Id(id) => id.to_string(),
    };
    let last_active_at = report.last_active_at.map(rfc3339);
    let words = match (report.state, &last_active_at) {
        (Seen::Online, _) => format!("{name} is there"),
        (Seen::Away, Some(at)) => format!("{name} is away since {at}"),
        (Seen::Away, None) => format!("{name} is away"),
        (Seen::Unknown, Some(at)) => format!("{name} is not there, or does not tell; last seen {at}"),
        (Seen::Unknown, None) => format!("{name} is not there, or does not tell"),
    };
    let value = json!({
        "peer": name, "state": report.state, "last_active_at": last_active_at,
        "heard_at": report.heard_at.map(rfc3339),
    });
    out.print(&value, words)
}
