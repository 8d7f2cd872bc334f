//! The native runner: joins the core to a socket, a clock and the sealed store.
//!
//! Decides nothing about messages. One task owns the device; a [`Session`] talks to it through bounded queues.

mod devices;
mod driver;
mod files;
mod groups;
mod open;
mod people;
mod push;
mod sign_up;
mod socket;
mod staging;
mod whispers;

pub use devices::{Joined, NewDirectory, link_account, restore_account};
pub use files::OutgoingFile;
pub use open::{Alterations, Gap};
pub use sign_up::{Created, create_account};
pub use staging::Source;

use crate::core::message::{MessageReport, ReceivedMessage, State, Status};
use crate::core::{Device, Random};
use crate::error::Error;
use crate::store::Store;
use driver::{Bells, Driver};
use files::Carrier;
use roost_crypto::safety_number::SafetyNumber;
use roost_protocol::handle::Handle;
use roost_protocol::ids::MessageId;
use roost_protocol::refusal::Refusal;
use staging::Staging;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Commands that wait for the driver: a caller that is faster waits itself.
const COMMANDS_MAX: usize = 256;
/// Received messages handed to the caller and not taken yet.
const RECEIVED_MAX: usize = 256;

/// Parts of files whose fate the driver has not taken yet.
const CARRIED_MAX: usize = 16;

/// Something to do with the device, which answers for itself.
type Act = Box<dyn FnOnce(&mut Driver) -> Result<(), Error> + Send>;

/// What a caller asks of the driver.
enum Command {
    Send {
        to: Handle,
        text: String,
        reply: oneshot::Sender<Result<MessageId, Error>>,
    },
    Report {
        id: MessageId,
        reply: oneshot::Sender<Result<Option<MessageReport>, Error>>,
    },
    /// How an intent ended: `None` while it has not.
    Intent {
        number: u64,
        reply: oneshot::Sender<Result<IntentState, Error>>,
    },
    MarkShown {
        id: MessageId,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    SafetyNumber {
        with: Handle,
        reply: oneshot::Sender<Result<SafetyNumber, Error>>,
    },
    With(Act),
    Status {
        reply: oneshot::Sender<Result<Status, Error>>,
    },
    Close,
}

/// How an intent stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentState {
    /// It waits, for this reason if there is one.
    Open(Option<Refusal>),
    /// It is true.
    Done,
    /// It never will be.
    Never(Refusal),
}

/// An open directory and its connection, which comes back by itself.
pub struct Session {
    commands: mpsc::Sender<Command>,
    received: Mutex<mpsc::Receiver<ReceivedMessage>>,
    changes: watch::Receiver<u64>,
    altered: watch::Receiver<u64>,
    staging: Staging,
    driver: JoinHandle<Result<(), Error>>,
}

impl Session {
    /// Opens a directory and begins to connect. Nothing waits for the connection.
    ///
    /// # Errors
    /// [`Error::NoAccount`], [`Error::Busy`] after five seconds, [`Error::WrongKey`], [`Error::Store`].
    pub async fn open(dir: &Path, passphrase_file: Option<&Path>) -> Result<Self, Error> {
        let (dir, passphrase_file) = (dir.to_owned(), passphrase_file.map(Path::to_owned));
        let staging = Staging::new(&dir);
        let tidied = staging.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&dir, passphrase_file.as_deref())?;
            let device = Device::open(store.load()?)?;
            tidied.tidy(&device.staged_blobs()?);
            Ok::<_, Error>((store, device))
        });
        let (store, device) = opened.await.map_err(|error| Error::Store(error.to_string()))??;
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (received_queue, received) = mpsc::channel(RECEIVED_MAX);
        let (change, changes) = watch::channel(0);
        let (alter, altered) = watch::channel(0);
        let (carried, inputs) = mpsc::channel(CARRIED_MAX);
        let carrier = Carrier::new(device.server(), staging.clone(), carried)?;
        let driver =
            Driver::new(device, store, command_queue, received_queue, Bells { change, alter }, (carrier, inputs));
        let driver = tokio::spawn(driver.run());
        Ok(Self { commands, received: Mutex::new(received), changes, altered, staging, driver })
    }

    /// Writes a message into the outbox; returns once it is on disk.
    ///
    /// # Errors
    /// [`Error::Handle`], [`Error::TextTooLong`], [`Error::ToSelf`], [`Error::Closed`].
    pub async fn send(&self, to: &str, text: &str) -> Result<MessageId, Error> {
        let (to, text) = (to.parse()?, text.to_owned());
        self.ask(|reply| Command::Send { to, text, reply }).await
    }

    /// Waits until something about a message, an intent, a conversation or who is there has changed.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn changed(&self) -> Result<(), Error> {
        let mut changes = self.changes.clone();
        changes.borrow_and_update();
        changes.changed().await.map_err(|_| Error::Closed)
    }

    /// Waits until a message has come as far as `state`.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Refused`] if it never will, [`Error::UnknownMessage`], [`Error::Closed`].
    pub async fn wait(&self, id: MessageId, state: State, timeout: Duration) -> Result<MessageReport, Error> {
        let mut changes = self.changes.clone();
        let reached = async {
            loop {
                changes.borrow_and_update();
                let report = self.report(id).await?;
                match (&report.error, report.state) {
                    (Some(error), State::Refused) => return Err(Error::Refused(error.clone())),
                    (_, now) if now.reached(state) => return Ok(report),
                    _ => changes.changed().await.map_err(|_| Error::Closed)?,
                }
            }
        };
        tokio::time::timeout(timeout, reached).await.unwrap_or(Err(Error::TimedOut))
    }

    /// How far a message came.
    ///
    /// # Errors
    /// [`Error::UnknownMessage`], [`Error::Closed`].
    pub async fn report(&self, id: MessageId) -> Result<MessageReport, Error> {
        self.ask(|reply| Command::Report { id, reply }).await?.ok_or(Error::UnknownMessage)
    }

    /// The next message that was not marked as shown. May be cancelled without losing one.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn recv(&self) -> Result<ReceivedMessage, Error> {
        self.received.lock().await.recv().await.ok_or(Error::Closed)
    }

    /// The message was shown: no later session of this directory receives it again. Durable on return.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn mark_shown(&self, id: MessageId) -> Result<(), Error> {
        self.ask(|reply| Command::MarkShown { id, reply }).await
    }

    /// The safety number with somebody; looks the account up if it is not known.
    ///
    /// # Errors
    /// [`Error::Handle`], [`Error::Refused`], [`Error::TimedOut`], [`Error::Closed`].
    pub async fn safety_number(&self, with: &str, timeout: Duration) -> Result<SafetyNumber, Error> {
        let with = with.parse()?;
        let asked = self.ask(|reply| Command::SafetyNumber { with, reply });
        tokio::time::timeout(timeout, asked).await.unwrap_or(Err(Error::TimedOut))
    }

    /// What the device says of itself.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn status(&self) -> Result<Status, Error> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// Waits until the home knows this device and holds its key packages.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Closed`].
    pub async fn connected(&self, timeout: Duration) -> Result<(), Error> {
        let mut changes = self.changes.clone();
        let connected = async {
            loop {
                changes.borrow_and_update();
                if self.status().await?.connected {
                    return Ok(());
                }
                changes.changed().await.map_err(|_| Error::Closed)?;
            }
        };
        tokio::time::timeout(timeout, connected).await.unwrap_or(Err(Error::TimedOut))
    }

    /// Ends the connection and frees the directory.
    ///
    /// # Errors
    /// What ended the session before, if something did.
    pub async fn close(self) -> Result<(), Error> {
        let _ = self.commands.send(Command::Close).await;
        self.driver.await.map_err(|error| Error::Store(error.to_string()))?
    }

    /// Does something with the device; returns once what it changed is durable.
    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Device, Random<'_>, u64) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.ask(|reply| Command::With(Box::new(move |driver| driver.act(reply, act)))).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the edge: the core takes its time from here")]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
