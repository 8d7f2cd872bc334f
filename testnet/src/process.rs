//! The processes: started detached, recognised by their command line, ended by their id.
//!
//! It never signals a process whose command line is not `serve` of the very directory.

use crate::TestnetError;
use crate::manifest::Org;
use serde::Deserialize;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// A node opens its store and its ports within this.
const READY_WAIT: Duration = Duration::from_secs(30);
/// A node drains within ten seconds by contract; after that it is killed.
const STOP_WAIT: Duration = Duration::from_secs(12);
/// Between two looks at a process.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The line that `serve` prints once it is ready.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) pid: u32,
    pub(crate) peer_id: String,
    pub(crate) listen: Vec<String>,
    pub(crate) web: String,
}

/// Runs a command of the binary to its end and reads the one object that it prints.
pub(crate) async fn run<T: serde::de::DeserializeOwned>(binary: &Path, args: &[&str]) -> Result<T, TestnetError> {
    let command = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    let output = tokio::process::Command::new(binary)
        .arg("--json")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(TestnetError::io(format!("running `roost {command}`")))?;
    let failed = |stderr: String| TestnetError::Command { command: command.clone(), stderr };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(format!("unexpected output: {error}")))
}

/// Starts a node of its own process group, which outlives this process, and waits until it is ready.
pub(crate) async fn serve(binary: &Path, dir: &Path) -> Result<Ready, TestnetError> {
    let log_path = dir.join("serve.log");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(TestnetError::io("opening the node's log"))?;
    let mut child = tokio::process::Command::new(binary)
        .args(["--json", "serve", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(TestnetError::io("starting a node"))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(READY_WAIT, stdout.read_line(&mut line)).await;
        if read.is_err() {
            let _ = child.kill().await;
            return Err(TestnetError::TimedOut(format!("a node is not ready after 30 s; see {}", log_path.display())));
        }
    }
    serde_json::from_str(&line).map_err(|_| {
        let log = fs::read_to_string(&log_path).unwrap_or_default();
        TestnetError::Command {
            command: "serve".into(),
            stderr: log.lines().last().unwrap_or("it ended without a word").into(),
        }
    })
}

/// Whether the organisation's process runs.
pub(crate) fn runs(org: &Org) -> bool {
    let Some((stat, command)) = look(org.pid) else { return false };
    stat != 'Z' && command.contains("serve") && command.contains(&*org.dir.to_string_lossy())
}

/// State letter and command line of a process.
fn look(pid: u32) -> Option<(char, String)> {
    if Path::new("/proc/self/stat").exists() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, also parentheses.
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some((state, String::from_utf8_lossy(&command).replace('\0', " ")));
    }
    let output =
        std::process::Command::new("ps").args(["-ww", "-o", "stat=,args=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some((text.chars().next()?, text))
}

/// Sends `TERM` or `KILL` to the organisation's process, if it is still that, and waits until it is gone.
pub(crate) async fn end(org: &Org, signal: &str) -> Result<(), TestnetError> {
    if !runs(org) {
        return Ok(());
    }
    send(org, signal).await?;
    let gone = async {
        while runs(org) {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    if tokio::time::timeout(STOP_WAIT, gone).await.is_ok() {
        return Ok(());
    }
    send(org, "KILL").await?;
    Err(TestnetError::TimedOut(format!("{} did not end within 12 s and was killed", org.name)))
}

async fn send(org: &Org, signal: &str) -> Result<(), TestnetError> {
    let status = tokio::process::Command::new("kill")
        .args([format!("-{signal}"), org.pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .await
        .map_err(TestnetError::io("sending a signal"))?;
    if !status.success() && runs(org) {
        return Err(TestnetError::TimedOut(format!("{} (process {}) takes no signal from us", org.name, org.pid)));
    }
    Ok(())
}
