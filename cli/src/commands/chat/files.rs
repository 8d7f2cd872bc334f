//! `roost chat send --file` and `roost chat save`: files.

use crate::outgoing;
use crate::output::{Failure, Printer};
use crate::picture;
use roost_client::Session;
use roost_client::core::{Extras, FileView, Recipient, Transfer};
use roost_protocol::ids::MessageId;
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// `roost chat save`.
#[derive(Debug, clap::Args)]
pub struct SaveArgs {
    /// The id of the message with the file
    message: MessageId,
    /// Where to; without it into this directory, under the file's name. It must not exist
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// How long to wait; what came by then is kept for another try
    #[arg(long, default_value = "10m", value_parser = crate::output::duration)]
    timeout: Duration,
}

/// Seals a file and queues its message.
pub(super) async fn send(
    session: &Session,
    to: &Recipient,
    (path, caption, as_is): (PathBuf, String, bool),
    extras: Extras,
) -> Result<MessageId, Failure> {
    let read = tokio::task::spawn_blocking(move || outgoing::read(&path, caption, as_is)).await;
    let file = read.map_err(|error| Failure::failed("io", error, "try again"))??;
    Ok(session.send_file(to, file, extras).await?)
}

/// Shows on a terminal how far a transfer is, while something is waited for.
pub(super) async fn watched<T>(session: &Session, message: MessageId, waited: impl Future<Output = T>) -> T {
    let shown = std::io::stderr().is_terminal();
    let mut waited = std::pin::pin!(waited);
    loop {
        tokio::select! {
            waited = &mut waited => {
                if shown {
                    let _ = write!(std::io::stderr(), "\r{:40}\r", "");
                }
                return waited;
            }
            () = tokio::time::sleep(LOOK), if shown => show(session, message).await,
        }
    }
}

async fn show(session: &Session, message: MessageId) {
    let Ok(transfers) = session.transfers().await else { return };
    for Transfer { done, total, .. } in transfers.iter().filter(|one| one.message == message) {
        let percent = done.saturating_mul(100).checked_div(*total).unwrap_or(0);
        let _ = write!(std::io::stderr(), "\r{percent:3} % of {total} bytes ");
    }
}

pub(super) async fn save(session: &Session, args: SaveArgs, out: Printer) -> Result<(), Failure> {
    let row = session.file_of(args.message).await?;
    let to = args.to.unwrap_or_else(|| outgoing::place(&row.file.name));
    let to = std::path::absolute(&to).map_err(Failure::io("finding the directory"))?;
    let saved = watched(session, args.message, session.save_file(args.message, &to, args.timeout)).await;
    let file = saved.map_err(|error| match error {
        roost_client::Error::TimedOut => {
            let hint = "what came is kept: the same command goes on from there";
            Failure::timed_out("the file did not come in time", hint)
        }
        error => error.into(),
    })?;
    let value = json!({
        "message": args.message, "path": to, "name": file.file.name, "media_type": file.file.media_type,
        "bytes": file.file.size,
    });
    out.print(&value, format_args!("{} bytes in {}", file.file.size, to.display()))
}

/// What programs read of a file; `null` for none.
pub(super) fn value(file: Option<&FileView>) -> Value {
    let Some(file) = file else { return Value::Null };
    json!({
        "name": file.name, "media_type": file.media_type, "bytes": file.size, "width": file.width,
        "height": file.height, "duration_ms": file.duration_ms, "thumbnail": picture::value(file.thumbnail.as_ref()),
    })
}

/// What people read of it, before its caption.
pub(super) fn words(file: Option<&FileView>, id: &MessageId) -> String {
    let Some(file) = file else { return String::new() };
    let name: String = file.name.chars().map(super::visible).collect();
    format!("[{name}, {} bytes; roost chat save {id}] ", file.size)
}
