//! Who is woken, and for what: devices that said where, while they are not connected, for what wants attention.
//!
//! The rules say whom and the opaque tag of the conversation; whether and when it leaves is the edge's business. A device that is
//! connected is woken when its connection ends before it has acknowledged what came. Implements `docs/protocol.md`, section "Push".

use super::conversations::group_head;
use super::quotas::busy;
use super::{ConnectionId, Failure, Output, Relay, Step, rows};
use crate::push::{Endpoint, Policy, Tested, check_keys};
use crate::store::{Overlay, Read as _, StoreError};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::ids::{ConversationId, GroupId, PushTag};
use roost_protocol::limits;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Conversations with something new that one connection has not acknowledged: of more, one is as good as another.
const UNSEEN_MAX: usize = 32;
/// Rows that are read at once when a node starts.
const PAGE: usize = 1024;

/// What a node that pushes offers its devices.
#[derive(Clone)]
pub struct PushOffer {
    /// The public key that it proves itself with.
    pub key: Bytes,
    /// Where it connects to.
    pub policy: Policy,
}

/// Where a device is woken.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Of whom.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// The push service's address for it.
    pub endpoint: String,
    /// Its public key.
    pub p256dh: Bytes,
    /// Its secret.
    pub auth: Bytes,
}

/// Whoever has address and secret can wake the device: they are in no log.
impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Subscription(..)")
    }
}

/// What is kept of it.
#[derive(Serialize, Deserialize)]
struct SubscriptionRow {
    endpoint: String,
    p256dh: Bytes,
    auth: Bytes,
    muted: BTreeSet<ConversationId>,
    /// The push service knows it no more; the device is told when it comes.
    ended: bool,
}

/// What came on a connection and was not acknowledged: where, and up to which position of the inbox.
pub(super) type Unseen = BTreeMap<ConversationId, u64>;

/// What is remembered of subscriptions: which devices have one. A row decides.
#[derive(Default)]
pub(super) struct Pushes(BTreeMap<AccountId, BTreeSet<DeviceId>>);

/// The content of a `PushSubscribe`.
pub(super) struct Wanted {
    pub endpoint: String,
    pub p256dh: Bytes,
    pub auth: Bytes,
    pub muted: Vec<ConversationId>,
}

impl Relay {
    pub(super) fn load_pushes(&mut self, rows: &Overlay<'_>) -> Result<(), StoreError> {
        let end = rows::end_of(&[rows::PUSH]);
        let mut from = vec![rows::PUSH];
        loop {
            let page = rows.scan(&from, &end, PAGE)?;
            for (key, _) in &page {
                if let Some((account, device)) = rows::parse_push(key) {
                    self.pushes.0.entry(account).or_default().insert(device);
                }
            }
            match page.into_iter().next_back() {
                Some((last, _)) => from = [&last[..], &[0]].concat(),
                None => return Ok(()),
            }
        }
    }

    pub(super) fn push_key(&mut self, connection: ConnectionId, id: u64) -> Result<(), Failure> {
        let key = self.offer()?.key.clone();
        self.send(connection, ServerFrame::PushKey { id, key });
        Ok(())
    }

    pub(super) fn push_subscribe(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        (account, device): (AccountId, DeviceId),
        wanted: Wanted,
    ) -> Result<(), Failure> {
        let policy = self.offer()?.policy.clone();
        let Wanted { endpoint, p256dh, auth, muted } = wanted;
        if endpoint.len() > limits::PUSH_ENDPOINT_BYTES_MAX || muted.len() > limits::PUSH_MUTED_MAX {
            let message = format!(
                "expected an address of at most {} bytes and at most {} muted conversations",
                limits::PUSH_ENDPOINT_BYTES_MAX,
                limits::PUSH_MUTED_MAX
            );
            return Err(Refusal::never(Code::TooLarge, message, "mute fewer conversations").into());
        }
        let never = |message: String| {
            Failure::from(Refusal::never(Code::Malformed, message, "send the subscription as the push service gave it"))
        };
        Endpoint::parse(&endpoint, &policy).map_err(|error| never(error.to_string()))?;
        check_keys(p256dh.as_slice(), auth.as_slice()).map_err(|error| never(error.to_string()))?;
        self.may_subscribe(step, &account)?;
        let row = SubscriptionRow { endpoint, p256dh, auth, muted: muted.into_iter().collect(), ended: false };
        rows::put(step.rows, rows::push(&account, &device), &row);
        self.pushes.0.entry(account).or_default().insert(device);
        self.outputs.push(Output::PushForget(device));
        self.send(connection, ServerFrame::Done { id });
        Ok(())
    }

    pub(super) fn push_unsubscribe(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        (account, device): (AccountId, DeviceId),
    ) {
        step.rows.delete(rows::push(&account, &device));
        self.outputs.push(Output::PushForget(device));
        self.send(connection, ServerFrame::Done { id });
    }

    pub(super) fn push_test(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        (account, device): (AccountId, DeviceId),
    ) -> Result<(), Failure> {
        self.offer()?;
        let Some((to, _)) = subscription(step.rows, account, device)? else {
            let message = "this device has no push subscription";
            return Err(Refusal::never(Code::NotFound, message, "subscribe first").into());
        };
        self.may_test_push(step, &account)?;
        self.outputs.push(Output::PushTest(connection, id, to));
        Ok(())
    }

    /// A test has ended; `None`: too many were under way.
    pub(super) fn push_tested(&mut self, connection: ConnectionId, id: u64, report: Option<Tested>) {
        let frame = match report {
            Some(Tested { leg, status, message }) => ServerFrame::PushTested { id, leg, status, message },
            None => {
                let Failure::Refused(error) = busy("too many pushes are being tested", TEST_PAUSE_MS) else { return };
                ServerFrame::Refused { id: Some(id), error }
            }
        };
        self.send(connection, frame);
    }

    /// The push service does not know a subscription any more: it goes, unless there is another one by now.
    pub(super) fn push_gone(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        device: DeviceId,
        endpoint: &str,
    ) -> Result<(), StoreError> {
        let key = rows::push(&account, &device);
        let row: Option<SubscriptionRow> = rows::get(step.rows, &key)?;
        if row.is_some_and(|row| row.endpoint == endpoint) {
            // Of its keys nothing stays.
            let (p256dh, auth, muted) = (Bytes(Vec::new()), Bytes(Vec::new()), BTreeSet::new());
            let row = SubscriptionRow { endpoint: endpoint.to_owned(), p256dh, auth, muted, ended: true };
            rows::put(step.rows, key, &row);
            self.tell_ended(step, account, device)?;
        }
        Ok(())
    }

    /// Tells a device that is here that its subscription is over, once.
    fn tell_ended(&mut self, step: &mut Step<'_, '_>, account: AccountId, device: DeviceId) -> Result<(), StoreError> {
        let key = rows::push(&account, &device);
        let is_its = |connection: &&ConnectionId| {
            self.connections.get(connection).is_some_and(|state| state.device == Some((account, device)))
        };
        let Some(connection) = self.present.get(&account).into_iter().flatten().find(is_its).copied() else {
            return Ok(());
        };
        let row: Option<SubscriptionRow> = rows::get(step.rows, &key)?;
        if let Some(SubscriptionRow { endpoint, ended: true, .. }) = row {
            step.rows.delete(key);
            self.send(connection, ServerFrame::PushEnded { endpoint });
        }
        Ok(())
    }

    /// Something that wants attention came into an account's inbox.
    pub(super) fn wake(
        &mut self,
        step: &Step<'_, '_>,
        account: &AccountId,
        group: &GroupId,
        inbox: u64,
    ) -> Result<(), Failure> {
        let Some(devices) = self.pushes.0.get(account).filter(|_| self.identity.push.is_some()) else {
            return Ok(());
        };
        let conversation = group_head(step, group)?.state.conversation;
        let mut away = devices.clone();
        for connection in self.present.get(account).into_iter().flatten() {
            let Some(state) = self.connections.get_mut(connection) else { continue };
            if state.device.is_some_and(|(_, device)| away.remove(&device))
                && (state.unseen.len() < UNSEEN_MAX || state.unseen.contains_key(&conversation))
            {
                state.unseen.insert(conversation, inbox);
            }
        }
        for device in away {
            self.push(step.rows, *account, device, conversation)?;
        }
        Ok(())
    }

    /// A device is here: what waits to wake it need not. What an earlier connection of it had not acknowledged is this one's.
    pub(super) fn is_here(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        (account, device): (AccountId, DeviceId),
        unseen: Unseen,
    ) -> Result<(), StoreError> {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.unseen.extend(unseen);
        }
        if self.pushes.0.get(&account).is_some_and(|devices| devices.contains(&device)) {
            self.outputs.push(Output::PushForget(device));
            self.tell_ended(step, account, device)?;
        }
        Ok(())
    }

    /// A connection ends: its device is woken for what it has not acknowledged, for nobody knows whether that arrived.
    pub(super) fn goes_away(&mut self, rows: &Overlay<'_>, connection: ConnectionId) -> Result<(), StoreError> {
        let Some(state) = self.connections.get_mut(&connection) else { return Ok(()) };
        let (Some((account, device)), unseen) = (state.device, std::mem::take(&mut state.unseen)) else {
            return Ok(());
        };
        for conversation in unseen.into_keys() {
            self.push(rows, account, device, conversation)?;
        }
        Ok(())
    }

    /// What was refused has not happened.
    pub(super) fn wake_nobody(&mut self) {
        self.outputs.retain(|output| !matches!(output, Output::Push(..)));
    }

    fn push(
        &mut self,
        rows: &Overlay<'_>,
        account: AccountId,
        device: DeviceId,
        conversation: ConversationId,
    ) -> Result<(), StoreError> {
        if let Some((to, muted)) = subscription(rows, account, device)?
            && !muted.contains(&conversation)
        {
            let tag = PushTag::of(to.auth.as_slice(), &conversation);
            self.outputs.push(Output::Push(to, tag));
        }
        Ok(())
    }

    fn offer(&self) -> Result<&PushOffer, Failure> {
        self.identity.push.as_ref().ok_or_else(|| {
            Refusal::never(Code::Unsupported, "this home does not push", "keep the client open, or ask the operator")
                .into()
        })
    }
}

/// Pause before a test that was refused because of too many, milliseconds: as long as one takes at most.
const TEST_PAUSE_MS: u64 = 20_000;

/// Where a device is woken, and for which conversations it is not.
fn subscription(
    rows: &Overlay<'_>,
    account: AccountId,
    device: DeviceId,
) -> Result<Option<(Subscription, BTreeSet<ConversationId>)>, StoreError> {
    let row: Option<SubscriptionRow> = rows::get(rows, &rows::push(&account, &device))?;
    Ok(row.filter(|row| !row.ended).map(|SubscriptionRow { endpoint, p256dh, auth, muted, .. }| {
        (Subscription { account, device, endpoint, p256dh, auth }, muted)
    }))
}
