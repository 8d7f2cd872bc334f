//! Carries out what the model wants of the session: quick things in their order, slow ones beside them.

use super::model::{Effect, Input, Notice};
use super::snapshot::{self, MyDevice};
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use roost_client::core::people::Whom;
use roost_client::core::{Extras, GroupChange};
use roost_client::{Error, Session};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::{DeviceId, limits};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// An account is found within this.
const LOOKUP_WAIT: Duration = Duration::from_secs(30);
/// A change of a conversation of many is true within this, or told as not done yet.
const GROUP_WAIT: Duration = Duration::from_secs(60);
/// The home takes a log, or passes something on, within this.
const HOME_WAIT: Duration = Duration::from_secs(30);
/// Slow things under way: each was asked for by hand.
const SLOW_MAX: usize = 16;

type Done = Result<Vec<Input>, Error>;

/// What is to be done and what is under way.
pub struct Work<'a> {
    session: &'a Session,
    /// As many as keys were pressed since the session last answered.
    queue: VecDeque<Effect>,
    running: Option<BoxFuture<'a, Done>>,
    slow: FuturesUnordered<BoxFuture<'a, Done>>,
    /// Received, and not on the screen yet.
    unshown: BTreeMap<ConversationId, Vec<MessageId>>,
}

impl<'a> Work<'a> {
    pub fn new(session: &'a Session) -> Self {
        let slow = FuturesUnordered::new();
        Self { session, queue: VecDeque::new(), running: None, slow, unshown: BTreeMap::new() }
    }

    /// A message came; it counts as shown once its conversation is read.
    pub fn received(&mut self, conversation: ConversationId, id: MessageId) {
        self.unshown.entry(conversation).or_default().push(id);
    }

    /// Takes an effect on; what is said at once about it.
    pub fn begin(&mut self, effect: Effect) -> Option<Notice> {
        let session = self.session;
        let slow = match effect {
            Effect::LookUp(handle) => look_up(session, handle).boxed(),
            Effect::SafetyNumber(with) => safety_number(session, with).boxed(),
            Effect::Group(members) => group(session, members).boxed(),
            Effect::Change(conversation, change) => change_group(session, conversation, change).boxed(),
            Effect::NameDevice(name) => name_device(session, name).boxed(),
            Effect::Revoke(device) => revoke(session, device).boxed(),
            Effect::Link => link(session).boxed(),
            Effect::AwaitLink => await_link(session).boxed(),
            Effect::AcceptLink => accept_link(session).boxed(),
            quick => {
                if matches!(quick, Effect::Refresh(_)) {
                    self.queue.retain(|effect| !matches!(effect, Effect::Refresh(_)));
                }
                self.queue.push_back(quick);
                return None;
            }
        };
        if self.slow.len() >= SLOW_MAX {
            return Some(Notice::failed("Too much is under way. Try again in a moment."));
        }
        self.slow.push(slow);
        None
    }

    /// What comes of it, as it ends. May be cancelled without losing anything; never ends while there is nothing to do.
    ///
    /// # Errors
    /// Those that end a session.
    pub async fn next(&mut self) -> Done {
        if self.running.is_none()
            && let Some(effect) = self.queue.pop_front()
        {
            let shown = match &effect {
                Effect::MarkRead(conversation, _) => self.unshown.remove(conversation).unwrap_or_default(),
                _ => Vec::new(),
            };
            self.running = Some(carry_out(self.session, effect, shown).boxed());
        }
        let running = async {
            match &mut self.running {
                Some(running) => running.await,
                None => std::future::pending().await,
            }
        };
        let slow = async {
            match self.slow.next().await {
                Some(done) => done,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = running => {
                self.running = None;
                done
            }
            done = slow => done,
        }
    }

    /// Does what is left of the quick things.
    ///
    /// # Errors
    /// Those that end a session.
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.slow.clear();
        while self.running.is_some() || !self.queue.is_empty() {
            self.next().await?;
        }
        Ok(())
    }
}

async fn carry_out(session: &Session, effect: Effect, shown: Vec<MessageId>) -> Done {
    match effect {
        Effect::Refresh(wanted) => Ok(vec![Input::Snapshot(Box::new(snapshot::load(session, wanted).await?))]),
        Effect::MarkRead(_, place) => {
            let read = session.mark_read(place).await;
            for id in shown {
                session.mark_shown(id).await?;
            }
            told(read.map(|_| None))
        }
        Effect::Send { conversation, to, text, reply } => {
            let mentions = session.mentioned(&to, &text).await?;
            let extras = Extras { reply, mentions, ..Extras::default() };
            match told(session.send_with(&to, &text, extras).await.map(|_| None))?.pop() {
                Some(Input::Notice(notice)) => Ok(vec![Input::NotWritten { conversation, text, why: notice.text }]),
                _ => Ok(Vec::new()),
            }
        }
        Effect::Edit { to, message, text } => told(session.edit(&to, message, &text).await.map(|_| None)),
        Effect::Delete { to, message } => told(session.delete(&to, message).await.map(|_| None)),
        Effect::React { to, message, emoji, remove } => {
            told(session.react(&to, message, &emoji, remove).await.map(|_| None))
        }
        Effect::LoadDraft(conversation) => {
            let draft = session.draft(conversation).await?.unwrap_or_default();
            Ok(vec![Input::Draft(conversation, draft)])
        }
        Effect::SaveDraft(conversation, text) => told(session.set_draft(conversation, text).await.map(|()| None)),
        Effect::Accept(whom) => {
            let words = format!("{} may write to you.", name(&whom));
            told(session.accept(whom).await.map(|()| Some(words)))
        }
        Effect::Block(whom, blocked) => {
            let words = format!("{} is {}.", name(&whom), if blocked { "blocked" } else { "not blocked any more" });
            told(session.set_blocked(whom, blocked).await.map(|()| Some(words)))
        }
        Effect::Verify(with, digits) => {
            let words = format!("{with} is verified.");
            told(session.verify(Whom::Handle(with), Some(digits)).await.map(|_| Some(words)))
        }
        Effect::AcceptKey(handle) => told(session.accept_key(&handle).await.map(|changed| {
            let words = if changed { "new key is taken over, not verified" } else { "key had not changed" };
            Some(format!("{handle}'s {words}."))
        })),
        Effect::KeyChangeShown(handle) => told(session.key_change_shown(&handle).await.map(|()| None)),
        Effect::Leave(conversation) => {
            let words = "The others are told; one of them takes you out.";
            told(session.leave_group(conversation).await.map(|()| Some(words.to_owned())))
        }
        Effect::Title(conversation, title) => {
            told(session.set_about(conversation, Some(title), None).await.map(|_| Some("It is called so now.".into())))
        }
        Effect::Timer(to, seconds) => told(session.set_timer(&to, seconds).await.map(|_| None)),
        Effect::Devices => Ok(vec![Input::Devices(devices(session).await?)]),
        Effect::AskToRevoke(which) => ask_to_revoke(session, &which).await,
        Effect::EndLink => told(session.end_link().await.map(|()| None)),
        // What is said in passing may go nowhere.
        Effect::Active => passing(session.active().await),
        Effect::Typing(to, on) => passing(session.typing(&to, on).await),
        Effect::Watch(whom) => passing(session.watch(&whom).await.map(drop)),
        Effect::Unwatch(whom) => passing(session.unwatch(&whom).await),
        // Slow ones are begun elsewhere.
        Effect::LookUp(_) | Effect::SafetyNumber(_) | Effect::Group(_) | Effect::Change(..) => Ok(Vec::new()),
        Effect::NameDevice(_) | Effect::Revoke(_) | Effect::Link | Effect::AwaitLink | Effect::AcceptLink => {
            Ok(Vec::new())
        }
    }
}

async fn look_up(session: &Session, handle: Handle) -> Done {
    let found = async {
        session.safety_number(&handle.to_string(), LOOKUP_WAIT).await?;
        Ok((session.account().await?, session.account_of(&handle).await?))
    };
    match found.await {
        Ok((me, account)) => {
            let conversation = ConversationId::direct(&me, &account);
            Ok(vec![Input::Found(handle, account, conversation)])
        }
        Err(error) => not_found(&handle, error),
    }
}

async fn safety_number(session: &Session, with: Handle) -> Done {
    match session.safety_number(&with.to_string(), LOOKUP_WAIT).await {
        Ok(number) => {
            let code = session.safety_code(&with).await.map_or_else(|_| String::new(), |code| code.to_string());
            Ok(vec![Input::SafetyNumber { with, number, code }])
        }
        Err(error) => not_found(&with, error),
    }
}

async fn devices(session: &Session) -> Result<Vec<MyDevice>, Error> {
    let devices = session.devices().await?.into_iter().zip(1..);
    Ok(devices.map(|(one, number)| MyDevice { number, id: one.device, name: one.name, current: one.current }).collect())
}

async fn ask_to_revoke(session: &Session, which: &str) -> Done {
    let found = devices(session)
        .await?
        .into_iter()
        .find(|one| one.number.to_string() == which || (which.len() >= 6 && one.id.to_string().starts_with(which)));
    let failed = |words: &str| Ok(vec![Input::Notice(Notice::failed(words))]);
    match found {
        None => failed("There is no such device: /devices lists them."),
        Some(device) if device.current => failed("This is the device that you are at: end it from another one."),
        Some(device) => Ok(vec![Input::RevokeAsked(device)]),
    }
}

async fn name_device(session: &Session, name: String) -> Done {
    told(session.name_device(&name).await.map(|()| Some("This device is called so now.".to_owned())))
}

async fn revoke(session: &Session, device: DeviceId) -> Done {
    told(session.revoke(device, HOME_WAIT).await.map(|()| Some("It is no device of yours any more.".to_owned())))
}

async fn link(session: &Session) -> Done {
    let offered = async {
        session.connected(HOME_WAIT).await?;
        session.offer_link().await
    };
    match offered.await {
        Ok(code) => Ok(vec![Input::Linking(code.to_string())]),
        Err(error) => told(Err(error)),
    }
}

async fn await_link(session: &Session) -> Done {
    match session.link_asked(Duration::from_millis(limits::LINK_MS)).await {
        Ok(report) => Ok(vec![Input::LinkAsked(Some(report))]),
        Err(Error::TimedOut) => Ok(vec![Input::LinkAsked(None)]),
        Err(error) => told(Err(error)),
    }
}

async fn accept_link(session: &Session) -> Done {
    told(session.accept_link(HOME_WAIT).await.map(|()| Some("It is one of your devices now.".to_owned())))
}

/// What may be said to nobody is no failure.
fn passing(said: Result<(), Error>) -> Done {
    match said {
        Err(error @ (Error::Closed | Error::Device(_) | Error::Store(_))) => Err(error),
        Ok(()) | Err(_) => Ok(Vec::new()),
    }
}

fn not_found(handle: &Handle, error: Error) -> Done {
    match error {
        Error::TimedOut => Ok(vec![Input::Notice(Notice::failed(format!("{handle} was not found in time.")))]),
        error => told(Err(error)),
    }
}

async fn group(session: &Session, members: Vec<Handle>) -> Done {
    let members: Vec<String> = members.iter().map(Handle::to_string).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let (intent, conversation) = match session.create_group(&members).await {
        Ok(begun) => begun,
        Err(error) => return told(Err(error)),
    };
    let mut inputs = ended(session, intent, "The conversation stands.").await?;
    if matches!(inputs.as_slice(), [Input::Notice(notice)] if !notice.failed) {
        inputs.push(Input::Begun(conversation));
    }
    Ok(inputs)
}

async fn change_group(session: &Session, conversation: ConversationId, change: GroupChange) -> Done {
    match session.change_group(conversation, change).await {
        Ok(intent) => ended(session, intent, "It is done.").await,
        Err(error) => told(Err(error)),
    }
}

async fn ended(session: &Session, intent: u64, words: &str) -> Done {
    match session.intent(intent, GROUP_WAIT).await {
        Err(Error::TimedOut) => {
            let why = session.intent_error(intent).await?.map(|error| format!(" ({})", error.message));
            let why = why.unwrap_or_default();
            Ok(vec![Input::Notice(Notice::failed(format!("Not done yet{why}; it goes on by itself.")))])
        }
        ended => told(ended.map(|()| Some(words.to_owned()))),
    }
}

/// What is told of it; what ends a session is passed on.
fn told(done: Result<Option<String>, Error>) -> Done {
    match done {
        Ok(words) => Ok(words.map(|words| Input::Notice(Notice::done(words))).into_iter().collect()),
        Err(error @ (Error::Closed | Error::Device(_) | Error::Store(_))) => Err(error),
        Err(error) => Ok(vec![Input::Notice(Notice::failed(words(&error)))]),
    }
}

fn words(error: &Error) -> String {
    let mut words = error.to_string();
    if matches!(error, Error::Blocked(_)) {
        words.push_str(": /unblock first");
    }
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    // A handle stays as it is written.
    if words.split(' ').next().is_some_and(|word| word.contains('@')) {
        return format!("{words}.");
    }
    format!("{first}{}.", letters.as_str())
}

fn name(whom: &Whom) -> String {
    match whom {
        Whom::Handle(handle) => handle.to_string(),
        Whom::Account(account) => account.to_string(),
    }
}
