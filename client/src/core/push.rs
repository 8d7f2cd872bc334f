//! Where this device wants to be woken while it is away, and whether its home knows.
//!
//! What the person chose is a row; the home is told on each connection until it has said yes, and again in a new life of its store.
//! Never talks to a push service. Implements `docs/protocol.md`, section "Push".

use super::link::Pending;
use super::rows;
use super::{Device, DeviceError, Output, Recipient};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_protocol::ids::{ConversationId, Incarnation, PushTag};
use roost_protocol::limits;
use roost_protocol::push::{AUTH_BYTES, POINT_BYTES, PushLeg};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Shortest pause before a home that refused for now is told again, milliseconds.
const PAUSE_MS: u64 = 5_000;

/// What a push service gave: a browser's `PushSubscription`, or a UnifiedPush endpoint with keys of the app's own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSubscription {
    /// The address.
    pub endpoint: String,
    /// An uncompressed point of P-256.
    pub p256dh: Bytes,
    /// 16 bytes.
    pub auth: Bytes,
}

/// Whoever has the address can wake the device.
impl fmt::Debug for PushSubscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PushSubscription(..)")
    }
}

/// What the person chose.
#[derive(Clone, Default, Serialize, Deserialize)]
struct PushRow {
    subscription: Option<PushSubscription>,
    muted: BTreeSet<ConversationId>,
    /// The life of the home's store that knows all of it.
    told: Option<Incarnation>,
}

/// How the home stands to being asked to wake this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushReport {
    /// Where it is woken; absent: nowhere.
    pub endpoint: Option<String>,
    /// The home knows.
    pub known: bool,
    /// Whether the home wakes anybody; absent while that is not known.
    pub offered: Option<bool>,
    /// Conversations that it is not woken for.
    pub muted: Vec<ConversationId>,
    /// Why it is not woken, though it should be.
    pub error: Option<Refusal>,
}

/// How far a test came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushTestReport {
    /// Which leg failed.
    pub leg: PushLeg,
    /// What the push service answered.
    pub status: Option<u16>,
    /// The same in words.
    pub message: String,
}

/// What is asked of the home; nothing of it outlives a connection.
#[derive(Default)]
pub(super) struct Push {
    /// Counts changes, so that an answer to an older one is known.
    change: u64,
    telling: bool,
    not_before_ms: u64,
    error: Option<Refusal>,
    key: Asked<Bytes>,
    test: Asked<PushTestReport>,
}

/// Something that is asked once.
#[derive(Default)]
enum Asked<T> {
    #[default]
    No,
    Wanted,
    Sent,
    Answered(Result<T, Refusal>),
}

impl<T> Asked<T> {
    /// The answer, once.
    fn take(&mut self) -> Option<Result<T, Refusal>> {
        match std::mem::take(self) {
            Self::Answered(answer) => Some(answer),
            other => {
                *self = other;
                None
            }
        }
    }

    fn is_wanted(&self) -> bool {
        matches!(self, Self::Wanted)
    }

    /// What was on its way is lost with its connection.
    fn lost(&mut self) {
        if matches!(self, Self::Sent) {
            *self = Self::Answered(Err(Refusal::later(
                Code::Unreachable,
                "the connection ended before the home answered",
                "try again",
            )));
        }
    }
}

impl Push {
    pub fn disconnected(&mut self) {
        self.telling = false;
        self.not_before_ms = 0;
        self.key.lost();
        self.test.lost();
    }

    /// No pause outlives a clock that was set back.
    pub fn due_at_once(&mut self) {
        self.not_before_ms = 0;
    }
}

impl PushSubscription {
    /// Checks what can be checked here; the home looks at the address.
    ///
    /// # Errors
    /// [`Error::NotPossible`].
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::NotPossible(what));
        if self.endpoint.is_empty() || self.endpoint.len() > limits::PUSH_ENDPOINT_BYTES_MAX {
            return wrong(format!("expected an address of at most {} bytes", limits::PUSH_ENDPOINT_BYTES_MAX));
        }
        if self.p256dh.len() != POINT_BYTES || self.p256dh.as_slice().first() != Some(&4) {
            return wrong(format!("p256dh: expected {POINT_BYTES} bytes, an uncompressed point of P-256"));
        }
        if self.auth.len() != AUTH_BYTES {
            return wrong(format!("auth: expected {AUTH_BYTES} bytes, got {}", self.auth.len()));
        }
        Ok(())
    }
}

impl Device {
    /// Where this device is to be woken while it is away; `None`: nowhere. The home is told as soon as it can be.
    ///
    /// # Errors
    /// [`Error::NotPossible`] changes nothing; after [`Error::Device`] drop the device.
    pub fn set_push(&mut self, subscription: Option<PushSubscription>) -> Result<(), Error> {
        subscription.as_ref().map_or(Ok(()), PushSubscription::check)?;
        let row = PushRow { subscription, ..self.push_row()? };
        self.put_push(row);
        Ok(())
    }

    /// Whether this device is not woken for a conversation.
    ///
    /// # Errors
    /// [`Error::NotPossible`] for too many, those of [`Self::history`], [`Error::Device`].
    pub fn set_push_muted(&mut self, of: &Recipient, muted: bool) -> Result<(), Error> {
        let place = self.address(of)?.place.ok_or(Error::UnknownConversation)?;
        let mut row = self.push_row()?;
        let changed = if muted { row.muted.insert(place.conversation) } else { row.muted.remove(&place.conversation) };
        if row.muted.len() > limits::PUSH_MUTED_MAX {
            return Err(Error::NotPossible(format!("at most {} conversations are muted", limits::PUSH_MUTED_MAX)));
        }
        if changed {
            self.put_push(row);
        }
        Ok(())
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn push_report(&self) -> Result<PushReport, DeviceError> {
        let row = self.push_row()?;
        Ok(PushReport {
            known: row.told.is_some() || !self.has_push_row()?,
            endpoint: row.subscription.map(|subscription| subscription.endpoint),
            offered: self.link.is_ready().then(|| self.link.offers_push()),
            muted: row.muted.into_iter().collect(),
            error: self.push.error.clone(),
        })
    }

    /// The conversation of a tag in a push.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn conversation_of_push(&self, tag: &PushTag) -> Result<Option<ConversationId>, DeviceError> {
        let Some(PushSubscription { auth, .. }) = self.push_row()?.subscription else { return Ok(None) };
        let direct = self.groups.keys().map(|peer| ConversationId::direct(&self.me.account, peer));
        let many = self.conversations()?.into_iter().map(|report| report.conversation);
        Ok(direct.chain(many).find(|conversation| PushTag::of(auth.as_slice(), conversation) == *tag))
    }

    /// Asks the home for the key that it proves itself with to push services: [`Self::push_key`] is the answer.
    pub fn want_push_key(&mut self) {
        self.push.key = Asked::Wanted;
    }

    /// The answer, once.
    pub fn push_key(&mut self) -> Option<Result<Bytes, Refusal>> {
        self.push.key.take()
    }

    /// Has the home push once: [`Self::push_tested`] is the answer.
    pub fn test_push(&mut self) {
        self.push.test = Asked::Wanted;
    }

    /// The answer, once.
    pub fn push_tested(&mut self) -> Option<Result<PushTestReport, Refusal>> {
        self.push.test.take()
    }

    pub(super) fn pump_push(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.is_ready() {
            return Ok(());
        }
        let offered = self.link.offers_push();
        if self.push.key.is_wanted() {
            if offered {
                self.push.key = Asked::Sent;
                self.request(Pending::PushKey, |id| ClientFrame::PushKey { id });
            } else {
                self.push_key_told(Err(not_offered()));
            }
        }
        let row = self.push_row()?;
        let known = row.told.is_some_and(|life| self.link.is_of(&life));
        let news = if row.subscription.is_some() { !known } else { row.told.is_none() && self.has_push_row()? };
        if !offered {
            self.push.error = row.subscription.is_some().then(not_offered);
        } else if news && !self.push.telling && self.push.not_before_ms <= now_ms {
            self.push.telling = true;
            self.push.not_before_ms = 0;
            let change = self.push.change;
            self.request(Pending::PushSubscribe(change), |id| match row.subscription {
                Some(PushSubscription { endpoint, p256dh, auth }) => {
                    ClientFrame::PushSubscribe { id, endpoint, p256dh, auth, muted: row.muted.into_iter().collect() }
                }
                None => ClientFrame::PushUnsubscribe { id },
            });
        }
        // What was chosen goes first.
        if self.push.test.is_wanted() && !self.push.telling {
            if offered {
                self.push.test = Asked::Sent;
                self.request(Pending::PushTest, |id| ClientFrame::PushTest { id });
            } else {
                self.push_test_told(Err(not_offered()));
            }
        }
        Ok(())
    }

    pub(super) fn push_wake_at(&self) -> Option<u64> {
        (self.link.is_ready() && self.push.not_before_ms > 0).then_some(self.push.not_before_ms)
    }

    pub(super) fn push_told(&mut self, change: u64) -> Result<(), DeviceError> {
        self.push.telling = false;
        if change == self.push.change {
            let row = PushRow { told: self.link.life(), ..self.push_row()? };
            if row.subscription.is_some() {
                self.push.error = None;
            }
            self.table.put(rows::push(), &row);
        }
        self.staged.push(Output::PushChanged);
        Ok(())
    }

    /// What a home refuses for good is no subscription: the person chooses another one, and the one before is over as well.
    pub(super) fn push_refused(&mut self, error: Refusal, now_ms: u64) -> Result<(), DeviceError> {
        self.push.telling = false;
        if error.later {
            self.push.not_before_ms = now_ms.saturating_add(error.retry_after_ms.unwrap_or(0).max(PAUSE_MS));
        } else {
            let row = self.push_row()?;
            // A home that refuses even that is not asked again on this connection.
            let asks_on = row.subscription.is_some();
            self.put_push(PushRow { subscription: None, ..row });
            self.push.telling = !asks_on;
        }
        self.push.error = Some(error);
        self.staged.push(Output::PushChanged);
        Ok(())
    }

    pub(super) fn push_key_told(&mut self, answer: Result<Bytes, Refusal>) {
        self.push.key = Asked::Answered(answer);
        self.staged.push(Output::PushChanged);
    }

    pub(super) fn push_test_told(&mut self, answer: Result<PushTestReport, Refusal>) {
        self.push.test = Asked::Answered(answer);
        self.staged.push(Output::PushChanged);
    }

    /// The push service has ended the subscription: another one is needed.
    pub(super) fn push_ended(&mut self, endpoint: &str) -> Result<(), DeviceError> {
        let row = self.push_row()?;
        if row.subscription.as_ref().is_some_and(|known| known.endpoint == endpoint) {
            let told = row.told;
            self.table.put(rows::push(), &PushRow { subscription: None, told, ..row });
            let message = "the push service has ended the subscription";
            self.push.error = Some(Refusal::never(Code::NotFound, message, "subscribe anew"));
            self.staged.push(Output::PushChanged);
        }
        Ok(())
    }

    fn put_push(&mut self, row: PushRow) {
        self.push.change += 1;
        self.push.telling = false;
        self.push.not_before_ms = 0;
        self.push.error = None;
        self.table.put(rows::push(), &PushRow { told: None, ..row });
    }

    fn push_row(&self) -> Result<PushRow, DeviceError> {
        Ok(self.table.get(&rows::push())?.unwrap_or_default())
    }

    fn has_push_row(&self) -> Result<bool, DeviceError> {
        Ok(self.table.get::<PushRow>(&rows::push())?.is_some())
    }
}

fn not_offered() -> Refusal {
    Refusal::never(Code::Unsupported, "the home does not push", "keep the client open, or ask the operator")
}
