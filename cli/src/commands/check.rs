//! `roost check`: what can be seen to be wrong with a node's directory, also while it serves. It changes nothing.

use crate::config::{Config, Flags, Invite, read_key};
use crate::control::{Answer, Request, ask};
use crate::output::{Failure, Printer};
use roost_node::store::{SledStore, StoreError};
use serde::Serialize;
use std::fmt::Display;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The bridge is on this machine.
const BRIDGE_WAIT: Duration = Duration::from_secs(3);

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's directory
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Skipped,
    Ok,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    hint: String,
}

impl Check {
    fn new(name: &'static str, status: Status, detail: impl Display, hint: impl Display) -> Self {
        Self { name, status, detail: detail.to_string(), hint: hint.to_string() }
    }

    fn of<T>(name: &'static str, result: Result<T, Failure>, fine: impl FnOnce(T) -> String) -> Self {
        match result {
            Ok(value) => Self::new(name, Status::Ok, fine(value), ""),
            Err(failure) => Self::new(name, Status::Failed, failure.message, failure.hint),
        }
    }
}

/// Runs it; the number is the exit code: 0 ok, 1 warnings, 2 failures.
///
/// # Errors
/// [`Failure`] when the result cannot be printed.
pub async fn run(args: Args, out: Printer) -> Result<u8, Failure> {
    let dir = args.dir;
    let config = Config::load(&dir, &Flags::default());
    let keys = dir.join("keys");
    let mut checks = vec![
        directory(&dir),
        Check::of("config", config, |config| format!("organisation {}", config.name)),
        Check::of("org_key", read_key(&keys.join("org.key")), |_| "readable by its owner only".into()),
        Check::of("node_key", read_key(&keys.join("node.key")), |_| "readable by its owner only".into()),
        Check::of("invites", Invite::waiting(&dir), |waiting| format!("{} wait for the node", waiting.len())),
    ];
    match ask(&dir, &Request::Status).await {
        Ok(Some(Answer::Status { pid, ready, web })) => {
            checks.push(Check::new("store", Status::Ok, format_args!("in use by the node, process {pid}"), ""));
            let status = if ready { Status::Ok } else { Status::Warning };
            checks.push(Check::new(
                "node",
                status,
                if ready { "serves" } else { "starts" },
                if ready { "" } else { "wait, then check again" },
            ));
            checks.push(bridge(web).await);
        }
        Ok(_) => {
            checks.push(store(&dir.join("store")).await);
            checks.push(Check::new(
                "node",
                Status::Skipped,
                "does not serve",
                format_args!("roost serve --dir {}", dir.display()),
            ));
            checks.push(Check::new("bridge", Status::Skipped, "the node does not serve", ""));
        }
        Err(failure) => checks.push(Check::new("node", Status::Failed, failure.message, failure.hint)),
    }
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    let code = match worst {
        Status::Skipped | Status::Ok => 0,
        Status::Warning => 1,
        Status::Failed => 2,
    };
    let words: Vec<String> = checks
        .iter()
        .map(|check| {
            let status = format!("{:?}", check.status).to_lowercase();
            let hint = if check.hint.is_empty() { String::new() } else { format!("  ({})", check.hint) };
            format!("{status:8} {:10} {}{hint}", check.name, check.detail)
        })
        .collect();
    out.print(&serde_json::json!({ "ok": code == 0, "checks": checks }), words.join("\n"))?;
    Ok(code)
}

fn directory(dir: &Path) -> Check {
    let name = "directory";
    match std::fs::metadata(dir) {
        Err(error) => Check::new(name, Status::Failed, error, "make it with `roost init`"),
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            Check::new(name, Status::Warning, "others can look into it", format_args!("chmod 700 {}", dir.display()))
        }
        Ok(_) => Check::new(name, Status::Ok, dir.display(), ""),
    }
}

async fn store(path: &Path) -> Check {
    let name = "store";
    if !path.exists() {
        return Check::new(name, Status::Skipped, "the node has never served", "");
    }
    let path = path.to_owned();
    let opened =
        tokio::task::spawn_blocking(move || SledStore::open(&path, Duration::from_millis(500)).map(drop)).await;
    match opened {
        Ok(Ok(())) => Check::new(name, Status::Ok, "opens", ""),
        Ok(Err(StoreError::Locked)) => Check::new(
            name,
            Status::Warning,
            "in use by a process that does not answer",
            "is a node starting or stopping?",
        ),
        Ok(Err(error)) => Check::new(name, Status::Failed, error, "restore the last export into a new directory"),
        Err(error) => Check::new(name, Status::Failed, error, ""),
    }
}

async fn bridge(web: Option<String>) -> Check {
    let name = "bridge";
    let Some(web) = web else {
        return Check::new(name, Status::Warning, "does not listen yet", "wait, then check again");
    };
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(&web).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {web}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&start).into_owned())
    };
    match tokio::time::timeout(BRIDGE_WAIT, exchange).await {
        Ok(Ok(start)) if start == "HTTP/1.1 200" => Check::new(name, Status::Ok, format_args!("answers at {web}"), ""),
        Ok(Ok(start)) => {
            Check::new(name, Status::Failed, format_args!("/readyz answers {start:?}"), "look at the node's log")
        }
        Ok(Err(error)) => Check::new(name, Status::Failed, error, "look at the node's log"),
        Err(_) => Check::new(name, Status::Failed, "does not answer within 3 s", "look at the node's log"),
    }
}
