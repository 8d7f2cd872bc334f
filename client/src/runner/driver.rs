//! The loop that owns a device: gather inputs, commit what they changed, then let the outputs leave.

use super::files::Carrier;
use super::open::Gap;
use super::socket::Socket;
use super::{Command, IntentState, now_ms};
use crate::core::message::ReceivedMessage;
use crate::core::{Device, Input, IntentReport, Output, Random};
use crate::error::Error;
use crate::store::{Store, random};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use roost_crypto::ids::AccountId;
use roost_crypto::safety_number::SafetyNumber;
use roost_protocol::handle::Handle;
use roost_protocol::ids::MessageId;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Inputs that one commit may cover.
const BATCH_MAX: usize = 64;
/// First and longest pause between two attempts to connect.
const RECONNECT_MIN: Duration = Duration::from_millis(250);
const RECONNECT_MAX: Duration = Duration::from_secs(10);
/// After this long without a frame a sign of life is asked for; after twice as long the connection is given up.
const SILENCE: Duration = Duration::from_secs(20);

/// Gaps kept for a screen.
const GAPS_MAX: usize = 256;

/// Where the connection stands.
enum Connection {
    Waiting(Instant),
    Connecting(BoxFuture<'static, Result<Socket, Error>>),
    Open { socket: Box<Socket>, silent_since: Instant, pinged: bool },
}

/// What woke the loop.
enum Event {
    Command(Option<Command>),
    Connected(Result<Socket, Error>),
    Frame(Result<Option<ServerFrame>, Error>),
    Shown,
    Carried(Input),
    Silence,
    Tick,
}

/// Who is to be woken by what.
pub(super) struct Bells {
    /// About a message, an intent or a conversation that somebody waits for.
    pub change: watch::Sender<u64>,
    /// About anything that a screen shows.
    pub alter: watch::Sender<u64>,
}

type SafetyReply = oneshot::Sender<Result<SafetyNumber, Error>>;

/// Answers that may leave once the batch is durable.
type Reply = Box<dyn FnOnce() + Send>;

/// The owner of a device.
pub(super) struct Driver {
    device: Device,
    store: Arc<Store>,
    commands: mpsc::Receiver<Command>,
    received: mpsc::Sender<ReceivedMessage>,
    bells: Bells,
    /// Something that a screen shows is another than before.
    altered: bool,
    gaps: VecDeque<Gap>,
    connection: Connection,
    pause: Duration,
    backlog: VecDeque<ReceivedMessage>,
    replies: Vec<Reply>,
    lookups: BTreeMap<Handle, Vec<SafetyReply>>,
    /// Intents that ended in this session, and why those that did not come true.
    ended: BTreeMap<u64, Option<Refusal>>,
    carrier: Carrier,
    /// What came of parts of files.
    carried: mpsc::Receiver<Input>,
    /// Files that were fetched in this session, or will never be.
    pub fetched: BTreeMap<MessageId, Result<(), Refusal>>,
    closing: bool,
}

impl Driver {
    pub fn new(
        device: Device,
        store: Store,
        commands: mpsc::Receiver<Command>,
        received: mpsc::Sender<ReceivedMessage>,
        bells: Bells,
        (carrier, carried): (Carrier, mpsc::Receiver<Input>),
    ) -> Self {
        Self {
            device,
            store: Arc::new(store),
            commands,
            received,
            bells,
            altered: false,
            gaps: VecDeque::new(),
            connection: Connection::Waiting(now()),
            pause: RECONNECT_MIN,
            backlog: VecDeque::new(),
            replies: Vec::new(),
            lookups: BTreeMap::new(),
            ended: BTreeMap::new(),
            carrier,
            carried,
            fetched: BTreeMap::new(),
            closing: false,
        }
    }

    pub async fn run(mut self) -> Result<(), Error> {
        self.settle().await?;
        while !self.closing {
            let event = self.next().await;
            self.take(event)?;
            // What is there already shares the commit.
            for _ in 1..BATCH_MAX {
                let Some(event) = self.at_hand() else { break };
                self.take(event)?;
            }
            self.settle().await?;
        }
        if let Connection::Open { socket, .. } = self.connection {
            socket.close().await;
        }
        Ok(())
    }

    async fn next(&mut self) -> Event {
        let wake_at = self.device.wake_at();
        let tick = async {
            match wake_at {
                Some(at) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(now_ms()).max(1))).await,
                None => std::future::pending().await,
            }
        };
        let has_backlog = !self.backlog.is_empty();
        let (received, backlog) = (&self.received, &mut self.backlog);
        let hand_out = async {
            match received.reserve().await {
                Ok(permit) => {
                    if let Some(message) = backlog.pop_front() {
                        permit.send(message);
                    }
                }
                Err(_) => std::future::pending().await,
            }
        };
        let server = self.device.server().to_owned();
        let connection = &mut self.connection;
        let network = async {
            loop {
                match connection {
                    Connection::Waiting(until) => {
                        tokio::time::sleep_until(*until).await;
                        let server = server.clone();
                        *connection = Connection::Connecting(async move { Socket::connect(&server).await }.boxed());
                    }
                    Connection::Connecting(connecting) => return Event::Connected(connecting.await),
                    Connection::Open { socket, silent_since, .. } => {
                        let deadline = *silent_since + SILENCE;
                        return match tokio::time::timeout_at(deadline, socket.next()).await {
                            Ok(frame) => Event::Frame(frame),
                            Err(_) => Event::Silence,
                        };
                    }
                }
            }
        };
        tokio::select! {
            command = self.commands.recv() => Event::Command(command),
            Some(carried) = self.carried.recv() => Event::Carried(carried),
            event = network => event,
            () = hand_out, if has_backlog => Event::Shown,
            () = tick => Event::Tick,
        }
    }

    /// An event that needs no waiting.
    fn at_hand(&mut self) -> Option<Event> {
        if let Ok(command) = self.commands.try_recv() {
            return Some(Event::Command(Some(command)));
        }
        match &mut self.connection {
            Connection::Open { socket, .. } => socket.next().now_or_never().map(Event::Frame),
            _ => None,
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Command(command) => self.command(command.unwrap_or(Command::Close))?,
            Event::Connected(Ok(socket)) => {
                self.connection = Connection::Open { socket: Box::new(socket), silent_since: now(), pinged: false };
                self.input(Input::Connected)?;
            }
            Event::Connected(Err(error)) => self.lost(&error)?,
            Event::Frame(Ok(frame)) => {
                if let Connection::Open { silent_since, pinged, .. } = &mut self.connection {
                    (*silent_since, *pinged) = (now(), false);
                }
                if let Some(frame) = frame {
                    self.input(Input::Frame(Box::new(frame)))?;
                }
            }
            Event::Frame(Err(error)) => self.lost(&error)?,
            Event::Silence => match &mut self.connection {
                Connection::Open { silent_since, pinged, .. } if !*pinged => (*silent_since, *pinged) = (now(), true),
                _ => self.lost(&Error::Unreachable("the home is silent".into()))?,
            },
            Event::Shown => {}
            Event::Carried(carried) => self.input(carried)?,
            Event::Tick => self.input(Input::Tick)?,
        }
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Send { to, text, reply } => {
                let sent = self.device.send(&to, &text, &mut draw, now_ms());
                self.answer(reply, sent)
            }
            Command::Intent { number, reply } => {
                let state = match self.ended.get(&number) {
                    Some(None) => IntentState::Done,
                    Some(Some(refusal)) => IntentState::Never(refusal.clone()),
                    None => IntentState::Open(self.device.intent_error(number)),
                };
                self.answer(reply, Ok(state))
            }
            Command::Report { id, reply } => {
                let report = self.device.report(&id).map_err(Error::from);
                self.answer(reply, report)
            }
            Command::MarkShown { id, reply } => {
                let marked = self.device.mark_shown(&id).map_err(Error::from);
                self.backlog.retain(|message| message.id != id);
                self.answer(reply, marked)
            }
            Command::Status { reply } => {
                let status = self.device.status();
                self.answer(reply, Ok(status))
            }
            Command::SafetyNumber { with, reply } => {
                self.lookups.entry(with.clone()).or_default().push(reply);
                self.input(Input::Lookup(with))
            }
            Command::With(act) => act(self),
            Command::Close => {
                self.device.hurry();
                self.closing = true;
                Ok(())
            }
        }
    }

    /// Gaps that were told in this session, oldest first.
    pub fn gaps(&self) -> Vec<Gap> {
        self.gaps.iter().cloned().collect()
    }

    /// Lets the device do something and answers once that is durable.
    pub fn act<T: Send + 'static>(
        &mut self,
        reply: oneshot::Sender<Result<T, Error>>,
        act: impl FnOnce(&mut Device, Random<'_>, u64) -> Result<T, Error>,
    ) -> Result<(), Error> {
        let done = act(&mut self.device, &mut draw, now_ms());
        self.answer(reply, done)
    }

    /// Answers once the batch is durable; a device that failed ends the loop.
    fn answer<T: Send + 'static>(
        &mut self,
        reply: oneshot::Sender<Result<T, Error>>,
        result: Result<T, Error>,
    ) -> Result<(), Error> {
        let failure = match &result {
            Err(error @ Error::Device(_)) => Err(error.clone()),
            _ => Ok(()),
        };
        self.replies.push(Box::new(move || {
            let _ = reply.send(result);
        }));
        failure
    }

    fn input(&mut self, input: Input) -> Result<(), Error> {
        Ok(self.device.handle(input, &mut draw, now_ms())?)
    }

    /// Ends the batch: commit, then answer, then send.
    async fn settle(&mut self) -> Result<(), Error> {
        loop {
            let writes = self.device.finish(&mut draw, now_ms())?;
            if !writes.0.is_empty() {
                let store = Arc::clone(&self.store);
                let committed = tokio::task::spawn_blocking(move || store.commit(&writes)).await;
                committed.map_err(|error| Error::Store(error.to_string()))??;
                self.altered = true;
            }
            self.replies.drain(..).for_each(|reply| reply());
            // A connection that was lost while sending is one more input.
            if !self.let_out().await? {
                return Ok(());
            }
        }
    }

    /// Carries out what the device wants done; `true` if the connection was lost over it.
    async fn let_out(&mut self) -> Result<bool, Error> {
        let (mut frames, mut changed, mut reason) = (Vec::new(), false, None);
        while let Some(output) = self.device.poll_output() {
            match output {
                Output::Send(frame) => frames.push(*frame),
                Output::Disconnect(why) => reason = Some(Error::BadAnswer(why)),
                Output::Message(message) => self.backlog.push_back(message),
                Output::Report(_)
                | Output::KeyPackagesHeld
                | Output::Membership(_)
                | Output::Named(_)
                | Output::DevicesChanged
                | Output::LinkRequested
                | Output::PushChanged
                | Output::Transferred(_)
                | Output::Typing { .. }
                | Output::Presence(_) => changed = true,
                Output::Intent(IntentReport { intent, error, .. }) => {
                    self.ended.insert(intent, error);
                    changed = true;
                }
                Output::Upload { of, offset, ticket } => self.carrier.upload(of, offset, ticket),
                Output::Download { message, of, offset, ticket } => {
                    self.carrier.download(message, of, offset, ticket);
                }
                Output::Unstage(blob) => self.carrier.unstage(&blob),
                Output::Fetched(message, ended) => {
                    self.fetched.insert(message, ended);
                    changed = true;
                }
                Output::LookedUp(handle, found) => self.looked_up(&handle, found.map_err(Error::Refused))?,
                Output::Revoked => {
                    let message = "another device of the account, or its recovery code, has ended this one";
                    let hint = "link this machine anew, with another directory";
                    return Err(Error::Refused(Refusal::never(Code::Revoked, message, hint)));
                }
                Output::KeyChanged { .. } => tracing::warn!("another account was found behind a handle"),
                Output::BadArchive { .. } => tracing::warn!("a chunk of the archive does not open"),
                Output::Gap { conversation, message, reason } => {
                    tracing::warn!(reason, "an entry cannot be shown");
                    self.remember_gap(Gap { conversation, message, reason });
                }
                Output::StateLost(_) => {
                    tracing::warn!("this device has an older state than it had: it comes back to its conversations");
                    changed = true;
                }
                Output::GapClosed { message } => {
                    self.gaps.retain(|gap| gap.message != message);
                    self.altered = true;
                }
                Output::Equivocation(_) => {
                    tracing::warn!("the hub of a conversation has signed two heads for one epoch");
                    changed = true;
                }
                Output::Warned(_) => {
                    tracing::warn!("what is wrong with a conversation has changed");
                    changed = true;
                }
                Output::SignedIn => {
                    self.pause = RECONNECT_MIN;
                    changed = true;
                }
            }
        }
        if changed {
            self.bells.change.send_modify(|count| *count += 1);
        }
        if std::mem::take(&mut self.altered) | changed {
            self.bells.alter.send_modify(|count| *count += 1);
        }
        if let Connection::Open { socket, pinged, .. } = &mut self.connection {
            let mut sent = if frames.is_empty() { Ok(()) } else { socket.send(frames).await };
            if sent.is_ok() && *pinged {
                sent = socket.ping().await;
            }
            if let Some(error) = reason.or(sent.err()) {
                self.lost(&error)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The oldest goes: a screen that shows so many has shown it.
    fn remember_gap(&mut self, gap: Gap) {
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
        self.altered = true;
    }

    fn looked_up(&mut self, handle: &Handle, found: Result<AccountId, Error>) -> Result<(), Error> {
        let root = match found {
            Ok(account) if account == self.device.account() => Err(Error::ToSelf),
            Ok(account) => {
                let newest = self.device.newest_account_of(handle)?.unwrap_or(account);
                self.device.root_of(&newest)?.ok_or(Error::Closed)
            }
            Err(error) => Err(error),
        };
        let number = root.map(|root| SafetyNumber::of(self.device.root(), &root));
        for reply in self.lookups.remove(handle).unwrap_or_default() {
            let _ = reply.send(number.clone());
        }
        Ok(())
    }

    /// The connection is gone: the next attempt comes after a pause that grows.
    fn lost(&mut self, error: &Error) -> Result<(), Error> {
        tracing::debug!(%error, "not connected");
        self.altered = true;
        self.connection = Connection::Waiting(now() + self.pause);
        self.pause = (self.pause * 2).min(RECONNECT_MAX);
        self.input(Input::Closed)
    }
}

/// Randomness of the system for the core. Without it nothing may be sealed, so its absence ends the task.
#[expect(clippy::expect_used, reason = "a device that goes on without randomness would reuse keys and nonces")]
fn draw(bytes: &mut [u8]) {
    random(bytes).expect("the system has randomness");
}

/// A pause of up to ten seconds and the silence of a peer are measured by tokio's clock.
fn now() -> Instant {
    Instant::now()
}
