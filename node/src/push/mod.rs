//! Push: wakes devices that are away through the push services that their subscriptions name. The rules say whom and for what;
//! here it is sealed, sent, collapsed and tried again.
//!
//! `queue` is pure and knows what waits and when; `endpoint` and `address` say where a node connects to and where never; `seal` and
//! `vapid` are RFC 8291 and RFC 8292; `post` is one request. Never knows what a message says, and logs neither addresses nor accounts.
//!
//! Implements `docs/protocol.md`, section "Push".

mod address;
mod endpoint;
mod post;
mod queue;
mod seal;
mod vapid;

pub use endpoint::{Endpoint, EndpointError, Policy};
pub use seal::check_keys;
pub use vapid::{KeyError, VapidKey};

use crate::metrics::{Metrics, Stopwatch};
use crate::relay::{ConnectionId, Rate, Subscription};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use post::{Answer, Client, Post};
use queue::{Job, Offered, Queue, Verdict};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::ids::PushTag;
use roost_protocol::limits;
use roost_protocol::push::{PushLeg, Wake};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Orders of the rules that wait for the task: what does not fit is dropped, the inbox keeps what it was about.
const ORDERS_MAX: usize = 1024;
/// Pushes on their way at a time.
const IN_FLIGHT_MAX: usize = 16;
/// Tests on their way at a time; more are refused.
const TESTS_MAX: usize = 8;
/// How long a push service keeps a test, seconds: who waits for it looks at the screen.
const TEST_TTL_S: u64 = 60;

/// What a node pushes with.
#[derive(Debug)]
pub struct PushConfig {
    /// What it proves itself with to push services.
    pub key: VapidKey,
    /// Whom a push service can write to: `mailto:` or `https:`.
    pub contact: Option<String>,
    /// Where it connects to.
    pub policy: Policy,
    /// A file of certificates, PEM, that are believed beside the public ones.
    pub certificates: Option<PathBuf>,
    /// Pushes of a device.
    pub device: Rate,
    /// Pushes of an account.
    pub account: Rate,
}

/// Why a node does not push.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The file of certificates does not read.
    #[error("the certificates of [push] do not read: {0}")]
    Certificates(String),
    /// The library of TLS.
    #[error("TLS for pushes: {0}")]
    Tls(String),
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Which leg failed.
    pub leg: PushLeg,
    /// What the push service answered.
    pub status: Option<u16>,
    /// The same in words.
    pub message: String,
}

/// What the rules want done.
pub(crate) enum Order {
    /// Something is new.
    Push(Subscription, PushTag),
    /// The device is here again, or has another subscription: what waits for it is not needed.
    Forget(DeviceId),
    /// The person wants to see one.
    Test(ConnectionId, u64, Subscription),
}

/// What happened, for the rules.
pub(crate) enum Event {
    /// The push service knows the subscription no more.
    Gone { account: AccountId, device: DeviceId, endpoint: String },
    /// A test has ended; `None`: there are too many.
    Tested { connection: ConnectionId, id: u64, report: Option<Tested> },
}

/// What the driver holds.
pub(crate) struct Pusher(mpsc::Sender<Order>, Arc<Metrics>);

impl Pusher {
    /// Starts the task; it ends with this.
    ///
    /// # Errors
    /// [`PushError`].
    pub fn start<F>(
        config: PushConfig,
        metrics: &Arc<Metrics>,
        clock: fn() -> u64,
        tell: impl Fn(Event) -> F + Send + Sync + 'static,
    ) -> Result<Self, PushError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let client = Client::new(config.certificates.as_deref())?;
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let task = Task {
            queue: Queue::new(config.device, config.account),
            sender: Arc::new(Sender { client, config }),
            metrics: Arc::clone(metrics),
            clock,
            in_flight: FuturesUnordered::new(),
            tests: FuturesUnordered::new(),
        };
        tokio::spawn(task.run(queue, tell));
        Ok(Self(orders, Arc::clone(metrics)))
    }

    /// Takes an order, or drops it where too many wait: a push is a courtesy, the inbox keeps what it is about. Gives a test back,
    /// which somebody waits for.
    pub fn order(&self, order: Order) -> Option<Order> {
        let dropped = self.0.try_send(order).err()?.into_inner();
        if let Order::Push(..) = dropped {
            self.1.pushed("dropped");
        }
        matches!(dropped, Order::Test(..)).then_some(dropped)
    }
}

/// Seals and sends.
struct Sender {
    client: Client,
    config: PushConfig,
}

impl Sender {
    async fn send(&self, to: &Subscription, wake: Wake, now_ms: u64) -> Result<Answer, (PushLeg, String)> {
        let policy = &self.config.policy;
        let endpoint = Endpoint::parse(&to.endpoint, policy).map_err(|error| (error.leg(), error.to_string()))?;
        let unusable = |error: seal::SealError| (PushLeg::Endpoint, error.to_string());
        let body = seal::seal(&wake.payload(), to.p256dh.as_slice(), to.auth.as_slice()).map_err(unusable)?;
        let authorization = self.config.key.authorization(
            &endpoint.origin(),
            now_ms / 1000,
            self.config.contact.as_deref().filter(|contact| !contact.is_empty()),
        );
        let (ttl_s, topic) = match wake {
            Wake::News(tag) => (limits::PUSH_TTL_S, Some(vapid::base64url(tag.as_bytes()))),
            Wake::Test => (TEST_TTL_S, None),
        };
        self.client.post(&endpoint, policy, Post { body, authorization, ttl_s, topic }, now_ms).await
    }
}

type Sent = (Job, Result<Answer, (PushLeg, String)>, Stopwatch);
type TestSent = (ConnectionId, u64, Tested);

struct Task {
    queue: Queue,
    sender: Arc<Sender>,
    metrics: Arc<Metrics>,
    clock: fn() -> u64,
    in_flight: FuturesUnordered<BoxFuture<'static, Sent>>,
    tests: FuturesUnordered<BoxFuture<'static, TestSent>>,
}

impl Task {
    async fn run<F: Future<Output = ()>>(mut self, mut orders: mpsc::Receiver<Order>, tell: impl Fn(Event) -> F) {
        loop {
            while self.in_flight.len() < IN_FLIGHT_MAX
                && let Some(job) = self.queue.next((self.clock)())
            {
                self.begin(job);
            }
            self.metrics.pushes_waiting.set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
            let at = self.queue.wake_at().filter(|_| self.in_flight.len() < IN_FLIGHT_MAX);
            let pause = at.map(|at| Duration::from_millis(at.saturating_sub((self.clock)()).max(1)));
            let due = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    None => break,
                    Some(order) => if let Some(event) = self.take(order) {
                        tell(event).await;
                    },
                },
                Some((job, result, time)) = self.in_flight.next() => {
                    self.metrics.push_seconds.observe(time.seconds());
                    if let Some(event) = self.ended(&job, &result) {
                        tell(event).await;
                    }
                }
                Some((connection, id, report)) = self.tests.next() => {
                    tell(Event::Tested { connection, id, report: Some(report) }).await;
                }
                () = due => {}
            }
        }
    }

    fn take(&mut self, order: Order) -> Option<Event> {
        match order {
            Order::Push(to, tag) => match self.queue.offer(to, tag, (self.clock)()) {
                Offered::Queued => {}
                Offered::Collapsed => self.metrics.pushed("collapsed"),
                Offered::Full => self.metrics.pushed("dropped"),
            },
            Order::Forget(device) => {
                for _ in 0..self.queue.forget(&device) {
                    self.metrics.pushed("not_needed");
                }
            }
            Order::Test(connection, id, _) if self.tests.len() >= TESTS_MAX => {
                return Some(Event::Tested { connection, id, report: None });
            }
            Order::Test(connection, id, to) => {
                let (sender, now_ms) = (Arc::clone(&self.sender), (self.clock)());
                self.tests.push(Box::pin(async move {
                    let result = sender.send(&to, Wake::Test, now_ms).await;
                    (connection, id, tested(result))
                }));
            }
        }
        None
    }

    fn begin(&self, job: Job) {
        let (sender, now_ms, time) = (Arc::clone(&self.sender), (self.clock)(), Stopwatch::start());
        self.in_flight.push(Box::pin(async move {
            let result = sender.send(&job.to, Wake::News(job.tag), now_ms).await;
            (job, result, time)
        }));
    }

    /// What is to be made of an answer.
    fn ended(&mut self, job: &Job, result: &Result<Answer, (PushLeg, String)>) -> Option<Event> {
        let (verdict, outcome) = match result {
            Ok(answer) if answer.is_taken() => (Verdict::Over, "ok"),
            Ok(answer) if answer.is_gone() => (Verdict::Over, "gone"),
            Ok(answer) if answer.is_later() => (Verdict::Later(answer.retry_after_ms), "later"),
            Ok(_) => (Verdict::Over, "status"),
            // What is wrong with the address itself does not get better.
            Err((leg @ (PushLeg::Endpoint | PushLeg::Address), _)) => (Verdict::Over, leg.name()),
            Err((leg, _)) => (Verdict::Later(None), leg.name()),
        };
        tracing::debug!(outcome, "a push has ended");
        self.metrics.pushed(outcome);
        if self.queue.ended(job, verdict, (self.clock)()) {
            self.metrics.pushed("given_up");
        }
        let gone = matches!(result, Ok(answer) if answer.is_gone());
        gone.then(|| Event::Gone { account: job.to.account, device: job.to.device, endpoint: job.to.endpoint.clone() })
    }
}

fn tested(result: Result<Answer, (PushLeg, String)>) -> Tested {
    match result {
        Ok(answer) if answer.is_taken() => {
            Tested { leg: PushLeg::Ok, status: Some(answer.status), message: "the push service took it".into() }
        }
        Ok(answer) => Tested {
            leg: PushLeg::Status,
            status: Some(answer.status),
            message: match answer.status {
                404 | 410 => "the push service does not know this subscription any more: subscribe anew".into(),
                401 | 403 => "the push service does not believe this home: subscribe anew".into(),
                429 => "the push service wants fewer pushes for a while".into(),
                status => format!("the push service answered with status {status}"),
            },
        },
        Err((leg, message)) => Tested { leg, status: None, message },
    }
}
