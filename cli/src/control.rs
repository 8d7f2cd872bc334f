//! The control socket: how `invite`, `lookup` and `check` speak to a node that runs. One JSON line each way.
//!
//! Only who may enter the directory (mode 0600) can use it; it never carries a key.

use crate::config::{Invite, sync_dir};
use crate::output::Failure;
use roost_node::NodeHandle;
use roost_protocol::handle::Handle;
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::LookupReport;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// A line longer than this is no request and no answer.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// A lookup may walk the directory; nothing else takes long.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// The system's bound on a socket's path is 108 bytes, on some 104.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Import the invites that wait on disk.
    Import,
    /// Find an account.
    Lookup {
        /// By this handle.
        handle: Handle,
    },
    /// How the node is.
    Status,
    /// Its place in the network; asks the directory.
    Health,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To `Import`, durable.
    Imported,
    /// To `Lookup`.
    Found {
        /// The account.
        account: String,
        /// Organisation of the asked node.
        org_id: String,
        /// The first home.
        peer_id: String,
        /// All homes.
        homes: Vec<String>,
        /// Last position of the identity log.
        seq: u64,
        /// How it was found.
        lookup: LookupReport,
    },
    /// To `Status`.
    Status {
        /// Process.
        pid: u32,
        /// Serves devices.
        ready: bool,
        /// The bridge's address, once it listens.
        web: Option<String>,
        /// The metrics' address, where they are shown.
        #[serde(default)]
        metrics: Option<String>,
    },
    /// To `Health`.
    Health {
        /// The organisation.
        org_id: String,
        /// Nodes connected.
        peers: usize,
        /// Requests to others that it took to find our own record; absent: it was not found.
        own_record: Option<u32>,
        /// Organisations that claim the node's name.
        claimants: Vec<String>,
        /// How far a peer's clock was seen ahead, seconds.
        peer_clock_ahead_s: u64,
        /// libp2p addresses.
        listen: Vec<String>,
    },
    /// Not done.
    Refused {
        /// Why.
        error: Refusal,
    },
    /// Not done, by the node's own fault.
    Failed {
        /// Stable.
        code: String,
        /// Why.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// The served socket; its file goes when this is dropped.
pub struct Control {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

/// What the socket's answers are made of.
pub struct Context {
    /// The node's directory.
    pub dir: PathBuf,
    /// The node.
    pub node: NodeHandle,
    /// Set once the bridge listens.
    pub web: std::sync::OnceLock<String>,
    /// Set once the metrics are shown.
    pub metrics: std::sync::OnceLock<String>,
    /// One import at a time.
    pub importing: tokio::sync::Mutex<()>,
}

impl Control {
    /// Serves the socket of a directory whose store this process has locked: a socket file found there is left over.
    ///
    /// # Errors
    /// [`Failure`], exit 1.
    pub fn serve(context: Arc<Context>) -> Result<Self, Failure> {
        let path = context.dir.join("control.sock");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::io("removing the old control socket")(error));
            }
            _ => {}
        }
        let (short, _dir) = reachable(&context.dir).map_err(Failure::io("opening the directory"))?;
        let listener = UnixListener::bind(short).map_err(Failure::io("making the control socket"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(Failure::io("protecting the control socket"))?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let context = context.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &context).await {
                        tracing::debug!(%error, "a control connection ended early");
                    }
                });
            }
        });
        Ok(Self { path, task })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, context: &Context) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => decide(request, context).await,
        Err(error) => Failure::usage("malformed", error, "").into(),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

async fn decide(request: Request, context: &Context) -> Answer {
    match request {
        Request::Import => match import(context).await {
            Ok(()) => Answer::Imported,
            Err(failure) => failure.into(),
        },
        Request::Status => Answer::Status {
            pid: std::process::id(),
            ready: context.node.is_ready(),
            web: context.web.get().cloned(),
            metrics: context.metrics.get().cloned(),
        },
        Request::Health => {
            let health = context.node.health().await;
            Answer::Health {
                org_id: context.node.org().to_string(),
                peers: health.peers,
                own_record: health.own_record,
                claimants: health.claimants.iter().map(ToString::to_string).collect(),
                peer_clock_ahead_s: health.peer_clock_ahead_s,
                listen: health.listen,
            }
        }
        Request::Lookup { handle } => match context.node.lookup(&handle).await {
            Ok(found) => Answer::Found {
                account: found.account.to_string(),
                org_id: context.node.org().to_string(),
                peer_id: found.homes.first().map(ToString::to_string).unwrap_or_default(),
                homes: found.homes.iter().map(ToString::to_string).collect(),
                seq: found.seq,
                lookup: found.report,
            },
            Err(error) => Answer::Refused { error },
        },
    }
}

/// Takes over the invites that wait on disk; each file goes once its invite is durable, before anybody could use it twice.
///
/// # Errors
/// [`Failure`], exit 1.
pub async fn import(context: &Context) -> Result<(), Failure> {
    let _one = context.importing.lock().await;
    for (path, invite) in Invite::waiting(&context.dir)? {
        context
            .node
            .invite(invite.key, invite.uses, invite.expires_ms)
            .await
            .map_err(|error| Failure::failed("stopped", error, "start it again with `roost serve`"))?;
        fs::remove_file(&path).map_err(Failure::io("removing a taken invite"))?;
        sync_dir(&context.dir.join("invites"))?;
    }
    Ok(())
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failed { code: failure.code, message: failure.message, hint: failure.hint }
    }
}

/// Asks the node of a directory; `None` when none runs.
///
/// # Errors
/// What the node answered.
pub async fn ask(dir: &Path, request: &Request) -> Result<Option<Answer>, Failure> {
    let Ok((path, _dir)) = reachable(dir) else { return Ok(None) };
    let Ok(stream) = UnixStream::connect(path).await else { return Ok(None) };
    let exchange = async {
        let (read, mut write) = stream.into_split();
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        write.write_all(&line).await?;
        let mut line = String::new();
        BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(serde_json::from_str(&line)?)
    };
    let answered = tokio::time::timeout(ANSWER_WAIT, exchange)
        .await
        .map_err(|_| Failure::timed_out("the node does not answer", "look at its log"))?
        .map_err(Failure::io("asking the node"))?;
    match answered {
        Answer::Refused { error } => Err(error.into()),
        Answer::Failed { code, message, hint } => Err(Failure::failed(&code, message, hint)),
        answer => Ok(Some(answer)),
    }
}

/// The socket's path, made short where the system would refuse it; the file keeps the short path alive.
fn reachable(dir: &Path) -> std::io::Result<(PathBuf, Option<File>)> {
    let path = dir.join("control.sock");
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((path, None));
    }
    let dir = File::open(dir)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/control.sock", dir.as_raw_fd())), Some(dir)))
}
