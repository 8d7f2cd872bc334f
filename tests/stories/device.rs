//! A device inside a story: a session on its real store, in a runtime of its own. A story has hundreds of them; a process for each
//! command would be too slow. Ending the runtime is the device's crash: nothing of it runs any more, wherever it was.

use roost_client::core::message::{MessageReport, State};
use roost_client::core::people::Settings;
use roost_client::core::{ConversationReport, GroupChange};
use roost_client::{Error, NewDirectory, Session, create_account, link_account};
use roost_protocol::AccountId;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// What a device is asked for takes no longer.
const DEADLINE: Duration = Duration::from_secs(120);
/// A page of the history.
const PAGE: usize = 500;

/// What a device's person has seen.
#[derive(Default)]
pub struct Screen {
    /// How often each was handed out.
    pub handed: BTreeMap<MessageId, u32>,
    /// Those of which the device was told that they were shown.
    pub marked: BTreeSet<MessageId>,
    /// Handed out again after that, by their texts.
    pub again: Vec<String>,
    /// Why entries could not be shown.
    pub gaps: BTreeSet<String>,
}

/// A device of somebody.
pub struct Device {
    pub dir: PathBuf,
    pub handle: String,
    pub screen: Arc<Mutex<Screen>>,
    /// Counts its sessions.
    pub life: u64,
    /// The network namespace that it lives in, if it is not the story's.
    namespace: Option<PathBuf>,
    running: Option<(Runtime, Arc<Session>)>,
}

/// A runtime whose threads are in a network namespace.
pub fn runtime(namespace: Option<&Path>) -> Runtime {
    let namespace = namespace.map(|path| std::fs::File::open(path).expect("a namespace"));
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(1))
        .enable_all()
        .on_thread_start(move || {
            if let Some(namespace) = &namespace {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).expect("entered");
            }
        })
        .build()
        .unwrap()
}

/// Runs something on the threads of a runtime.
pub fn run<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    runtime
        .block_on(async { tokio::time::timeout(DEADLINE, tokio::spawn(work)).await })
        .expect("what a device is asked for is done in time")
        .expect("it does not panic")
}

impl Device {
    /// Signs an account up and opens its first device.
    pub fn sign_up(
        root: &Path,
        namespace: Option<&Path>,
        (url, invite): (&str, &str),
        handle: &str,
    ) -> (Self, AccountId) {
        let dir = root.join(handle.replace('@', "-"));
        let making = runtime(namespace);
        let (url, invite, name, at) = (url.to_owned(), invite.to_owned(), handle.to_owned(), dir.clone());
        let created = run(&making, async move {
            let settings = Settings { accept_strangers: true, ..Settings::default() };
            create_account(&url, &name, &invite, &at, None, settings).await
        });
        let created = created.unwrap_or_else(|error| panic!("{handle} cannot sign up: {error}"));
        making.shutdown_background();
        let mut device = Self {
            dir,
            handle: created.handle.to_string(),
            screen: Arc::default(),
            life: 0,
            namespace: namespace.map(Path::to_owned),
            running: None,
        };
        device.open();
        (device, created.account)
    }

    /// Links another device of the same account.
    pub fn link(&self, name: &str) -> Self {
        let code = self.ask(async |session| session.offer_link().await).unwrap();
        let dir = self.dir.with_extension(name);
        let (at, name) = (dir.clone(), name.to_owned());
        let making = runtime(self.namespace.as_deref());
        let joining = making.spawn(async move {
            link_account(code, NewDirectory { dir: &at, passphrase_file: None }, &name, |_| {}).await
        });
        self.ask(async |session| session.link_asked(DEADLINE).await).expect("the new device asks");
        self.ask(async |session| session.accept_link(DEADLINE).await).expect("it is admitted");
        making.block_on(async { tokio::time::timeout(DEADLINE, joining).await }).unwrap().unwrap().expect("it joins");
        making.shutdown_background();
        let mut device = Self {
            dir,
            handle: self.handle.clone(),
            screen: Arc::default(),
            life: 0,
            namespace: self.namespace.clone(),
            running: None,
        };
        device.open();
        device
    }

    /// Opens its directory; from now on its screen shows what comes.
    pub fn open(&mut self) {
        assert!(self.running.is_none(), "the device runs already");
        let runtime = runtime(self.namespace.as_deref());
        let dir = self.dir.clone();
        let session = run(&runtime, async move { Session::open(&dir, None).await });
        let session = Arc::new(session.unwrap_or_else(|error| panic!("{} does not open: {error}", self.handle)));
        let (reading, screen) = (Arc::clone(&session), Arc::clone(&self.screen));
        runtime.spawn(async move {
            while let Ok(message) = reading.recv().await {
                {
                    let mut screen = screen.lock().unwrap();
                    *screen.handed.entry(message.id).or_default() += 1;
                    if screen.marked.contains(&message.id) {
                        screen.again.push(message.text.clone());
                    }
                }
                if reading.mark_shown(message.id).await.is_err() {
                    break;
                }
                screen.lock().unwrap().marked.insert(message.id);
            }
        });
        self.life += 1;
        self.running = Some((runtime, session));
    }

    /// Ends it between two of its steps, as a killed process would be.
    pub fn crash(&mut self) {
        self.keep_gaps();
        if let Some((runtime, session)) = self.running.take() {
            runtime.shutdown_background();
            drop(session);
        }
    }

    /// Something that goes on until the device ends.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Arc<Session>) -> F) {
        let (runtime, session) = self.running.as_ref().expect("the device runs");
        runtime.spawn(work(Arc::clone(session)));
    }

    /// Asks its session for something; the story fails if that takes too long.
    pub fn ask<T>(&self, work: impl AsyncFnOnce(&Session) -> T) -> T {
        let (runtime, session) = self.running.as_ref().expect("the device runs");
        // Only the session's own task uses the network, on the runtime's thread.
        let answer = runtime.block_on(async { tokio::time::timeout(2 * DEADLINE, work(session)).await });
        answer.unwrap_or_else(|_| panic!("a device of {} does not answer", self.handle))
    }

    pub fn report(&self, conversation: ConversationId) -> Option<ConversationReport> {
        let reports = self.ask(async |session| session.conversations().await).expect("the session lives");
        reports.into_iter().find(|report| report.conversation == conversation)
    }

    pub fn change(&self, conversation: ConversationId, change: GroupChange) -> Result<u64, Error> {
        self.ask(async |session| session.change_group(conversation, change).await)
    }

    pub fn add(&self, conversation: ConversationId, handles: &[&str]) -> Result<u64, Error> {
        let handles: Vec<Handle> = handles.iter().map(|handle| handle.parse().unwrap()).collect();
        self.change(conversation, GroupChange::Add(handles))
    }

    /// Waits until a change is true, or never will be.
    pub fn ended(&self, intent: u64, timeout: Duration) -> Result<(), Error> {
        self.ask(async |session| session.intent(intent, timeout).await)
    }

    pub fn send(&self, conversation: ConversationId, text: &str) -> Result<MessageId, Error> {
        self.ask(async |session| session.send_to(conversation, text).await)
    }

    pub fn reached(&self, id: MessageId, state: State, timeout: Duration) -> Result<MessageReport, Error> {
        self.ask(async |session| session.wait(id, state, timeout).await)
    }

    /// Everything that it holds of a conversation: id, author, text.
    pub fn history(&self, conversation: ConversationId) -> Vec<(MessageId, String, String)> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = self.ask(async |session| session.history(Some(conversation.into()), before, PAGE).await);
            // A conversation that this device never heard of holds nothing.
            let Ok(page) = page else { return found };
            found.extend(page.items.into_iter().map(|item| (item.id, item.from, item.text)));
            before = page.before;
            if before.is_none() {
                return found;
            }
        }
    }

    /// The gaps of a session go with it.
    pub fn keep_gaps(&self) {
        if self.running.is_some() {
            let gaps = self.ask(async |session| session.gaps().await).unwrap_or_default();
            let told = gaps.into_iter().map(|gap| format!("{}: {}", gap.message, gap.reason));
            self.screen.lock().unwrap().gaps.extend(told);
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}
