//! The outbox: every message is an intent on disk until the recipient's home has custody, whatever happens in between.
//!
//! A target that cannot be reached now delays no other. Submissions are repeated byte by byte, so the home sees them once.

use super::changes::Extras;
use super::link::Pending;
use super::message::{MessageReport, State};
use super::recipient::{Address, Place, Recipient};
use super::rows::{self, OUTBOX, OutboxRow, SealedRow, Target};
use super::{Device, DeviceError, Output, Random};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::AccountId;
use roost_crypto::planted;
use roost_protocol::content::{Body, Content};
use roost_protocol::epoch;
use roost_protocol::feed::FeedHead;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, GroupId, MessageId};
use roost_protocol::limits;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;
use std::collections::{BTreeMap, BTreeSet};

/// Submissions without `Accepted` at a time: hides the round trip, bounds what a slow home must hold.
const IN_FLIGHT_MAX: usize = 64;
/// Longest pause before a target is tried again, milliseconds: a person waits for it.
pub(super) const RETRY_DELAY_MS_MAX: u64 = 10_000;

/// Longest pause that a home may ask for, milliseconds: a rate may give one in ten minutes.
const RETRY_AFTER_MS_MAX: u64 = 10 * 60 * 1_000;

/// How long receipts of a conversation of many are collected, milliseconds: each goes to all of its homes.
const MARKS_DELAY_MS: u64 = 1_000;

/// How a target stands on this connection.
#[derive(Default)]
pub(super) struct Route {
    /// An answer is awaited before anything more can be done.
    pub busy: bool,
    /// A message was refused for now: it goes alone, and what comes behind it waits until it is accepted.
    refused: bool,
    failures: u32,
    not_before_ms: u64,
    error: Option<Refusal>,
}

impl Route {
    pub fn not_before_ms(&self) -> u64 {
        self.not_before_ms
    }

    pub fn error(&self) -> Option<Refusal> {
        self.error.clone()
    }

    pub fn freed(&mut self) {
        self.busy = false;
    }

    /// Nothing goes there until the person decides.
    pub fn is_held(&mut self, why: Refusal) {
        self.error = Some(why);
    }

    /// The person decided.
    pub fn is_free(&mut self) {
        self.error = None;
    }

    fn failed(&mut self, error: Refusal, random: Random<'_>, now_ms: u64) {
        let asked = error.retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
        if self.not_before_ms > now_ms {
            // One of many that were on their way together: they are one failure.
            self.not_before_ms = self.not_before_ms.max(now_ms + asked);
            return;
        }
        let delay = limits::RETRY_DELAY_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_DELAY_MS_MAX);
        let delay = delay.max(asked);
        let mut jitter = [0];
        random(&mut jitter);
        self.failures = self.failures.saturating_add(1);
        self.not_before_ms = now_ms + delay + delay * u64::from(jitter[0]) / 1024;
        self.error = Some(error);
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.refused = false;
        self.error = None;
    }
}

/// A message without custody.
struct Open {
    id: MessageId,
    target: Target,
    receipt: bool,
    /// It waits for its blobs, and lets others pass.
    parked: bool,
}

/// What is to be sent; all of it but the back-off can be rebuilt from rows.
#[derive(Default)]
pub(super) struct Outbox {
    next_order: u64,
    open: BTreeMap<u64, Open>,
    queues: BTreeMap<Target, BTreeMap<u64, MessageId>>,
    in_flight: BTreeMap<MessageId, Target>,
    routes: BTreeMap<Target, Route>,
    busy: BTreeSet<AccountId>,
    /// Receipts that are about to be written, and the account that they go to in a conversation of two.
    due_receipts: BTreeMap<Target, (Option<AccountId>, Vec<MessageId>)>,
    /// Until when receipts of a conversation of many are collected.
    held_marks: BTreeMap<Target, u64>,
    /// The session ends: nothing is collected any more.
    hurried: bool,
}

impl Outbox {
    pub fn route(&mut self, target: &Target) -> &mut Route {
        self.routes.entry(target.clone()).or_default()
    }

    pub fn targets(&self) -> Vec<Target> {
        self.queues.keys().cloned().collect()
    }

    pub fn is_hurried(&self) -> bool {
        self.hurried
    }

    pub fn texts(&self) -> usize {
        self.open.values().filter(|open| !open.receipt).count()
    }

    pub fn occupy(&mut self, account: &AccountId) {
        self.busy.insert(*account);
    }

    pub fn free(&mut self, account: &AccountId) {
        self.busy.remove(account);
    }

    pub fn receipt_due(&mut self, target: Target, account: Option<AccountId>, id: MessageId) {
        self.due_receipts.entry(target).or_insert((account, Vec::new())).1.push(id);
    }

    pub fn disconnected(&mut self) {
        self.in_flight.clear();
        self.busy.clear();
        self.routes.clear();
    }

    /// Every pause is over: the clock was set back.
    pub fn due_at_once(&mut self) {
        self.routes.values_mut().for_each(|route| route.not_before_ms = 0);
        self.held_marks.clear();
    }

    /// Everything without custody is submitted again.
    pub fn requeue_all(&mut self) {
        self.queues.clear();
        for (order, open) in self.open.iter().filter(|(_, open)| !open.parked) {
            self.queues.entry(open.target.clone()).or_default().insert(*order, open.id);
        }
    }

    fn opened(&mut self, order: u64, open: Open) {
        if !open.parked {
            self.queues.entry(open.target.clone()).or_default().insert(order, open.id);
        }
        self.open.insert(order, open);
    }

    /// Its blobs are at the home, or are not any more.
    fn parks(&mut self, order: u64, parked: bool) {
        let Some(open) = self.open.get_mut(&order) else { return };
        open.parked = parked;
        let (id, target) = (open.id, open.target.clone());
        if parked {
            self.unqueue(&target, order);
        } else {
            self.queues.entry(target).or_default().insert(order, id);
        }
    }

    fn closed(&mut self, row: &OutboxRow, id: &MessageId) {
        self.open.remove(&row.order);
        self.in_flight.remove(id);
        self.unqueue(&row.target, row.order);
    }

    fn unqueue(&mut self, target: &Target, order: u64) {
        if let Some(queue) = self.queues.get_mut(target) {
            queue.remove(&order);
            if queue.is_empty() {
                self.queues.remove(target);
            }
        }
    }
}

impl Device {
    /// Writes a text into the outbox.
    ///
    /// # Errors
    /// Those of [`Self::send_with`].
    pub fn send(&mut self, to: &Handle, text: &str, random: Random<'_>, now_ms: u64) -> Result<MessageId, Error> {
        self.send_with(&to.clone().into(), text, Extras::default(), random, now_ms)
    }

    /// Writes a text into the outbox that answers, mentions or disappears. Whom we write to is no stranger any more.
    ///
    /// # Errors
    /// [`Error::TextTooLong`], [`Error::ToSelf`], [`Error::Content`], [`Error::Blocked`], [`Error::KeyChanged`] and
    /// [`Error::UnknownConversation`] change nothing; after [`Error::Device`] drop the device.
    pub fn send_with(
        &mut self,
        to: &Recipient,
        text: &str,
        extras: Extras,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        if text.len() > limits::TEXT_BYTES_MAX {
            return Err(Error::TextTooLong { max: limits::TEXT_BYTES_MAX, got: text.len() });
        }
        let address = self.address(to)?;
        let body = self.with_timer(extras, address.place.as_ref())?.body(text);
        self.write_said(address, body, random, now_ms)
    }

    /// Writes what a person says into the outbox.
    pub(super) fn write_said(
        &mut self,
        address: Address,
        body: Body,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        body.check()?;
        let account = address.account();
        self.active(now_ms);
        if let Some(place) = &address.place {
            self.stops_typing(&place.conversation);
        }
        match (&account, &address.place) {
            (Some(account), _) => self.accept(account)?,
            (None, Some(place)) => self.accept_conversation(&place.conversation).map(|_| ())?,
            (None, None) => {}
        }
        Ok(self.write(address.target, account, body, random, now_ms)?)
    }

    /// How far a message of ours came.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn report(&self, id: &MessageId) -> Result<Option<MessageReport>, DeviceError> {
        let row: Option<OutboxRow> = self.table.get(&rows::outbox(id))?;
        Ok(row.map(|row| self.report_of(id, &row)))
    }

    /// Whether everything written is with our home.
    pub fn nothing_queued(&self) -> bool {
        let empty = self.outbox.queues.is_empty() && self.outbox.in_flight.is_empty();
        empty && self.outbox.due_receipts.is_empty() && !self.files.is_uploading()
    }

    /// The session is about to end: what is collected goes now.
    pub fn hurry(&mut self) {
        self.outbox.hurried = true;
    }

    pub(super) fn load_outbox(&mut self) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<OutboxRow>(&[OUTBOX])? {
            self.outbox.next_order = self.outbox.next_order.max(row.order + 1);
            let id = key.get(1..).and_then(MessageId::from_slice);
            if let (Some(id), State::Queued | State::Accepted) = (id, row.state) {
                let parked = row.is_parked();
                if parked {
                    row.blobs.iter().for_each(|of| self.files.park(id, *of));
                }
                self.outbox.opened(row.order, Open { id, target: row.target, receipt: row.receipt, parked });
            }
        }
        Ok(())
    }

    pub(super) fn make_receipts(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        if !self.settings().delivery_receipts {
            self.outbox.due_receipts.clear();
        }
        for (target, (account, mut ids)) in std::mem::take(&mut self.outbox.due_receipts) {
            // A receipt that waits unsealed takes the new ones along: two people who write fast cost one submission.
            if let Some((id, row, mut earlier)) = self.waiting_receipt(&target)?
                && earlier.len() + ids.len() <= limits::RECEIPT_MESSAGES_MAX
            {
                self.outbox.closed(&row, &id);
                self.table.delete(rows::outbox(&id));
                earlier.append(&mut ids);
                ids = earlier;
            }
            for ids in ids.chunks(limits::RECEIPT_MESSAGES_MAX) {
                let body = Body::Delivered(ids.to_vec());
                self.write(target.clone(), account, body, &mut *random, now_ms)?;
            }
        }
        Ok(())
    }

    /// A receipt for a target that was not sealed yet, and the ids in it.
    fn waiting_receipt(&self, target: &Target) -> Result<Option<(MessageId, OutboxRow, Vec<MessageId>)>, DeviceError> {
        let queue = self.outbox.queues.get(target);
        let Some(id) = queue.and_then(|queue| queue.last_key_value()).map(|(_, id)| *id) else { return Ok(None) };
        let Some(row) = self.table.get::<OutboxRow>(&rows::outbox(&id))? else { return Ok(None) };
        let content = Content::decode(row.content.as_slice()).map(|content| content.body);
        Ok(match content {
            Ok(Body::Delivered(ids)) if row.receipt && row.sealed.is_none() => Some((id, row, ids)),
            _ => None,
        })
    }

    /// What waits for an account and answers nothing that a person wrote, goes.
    pub(super) fn drop_receipts(&mut self, account: &AccountId) -> Result<(), DeviceError> {
        self.outbox.due_receipts.remove(&Target::Account(*account));
        let waiting = self.outbox.open.values().filter(|open| open.receipt && open.target == Target::Account(*account));
        for id in waiting.map(|open| open.id).collect::<Vec<_>>() {
            if let Some(row) = self.table.get::<OutboxRow>(&rows::outbox(&id))? {
                self.close(&id, row);
            }
        }
        Ok(())
    }

    pub(super) fn pump_outbox(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.is_ready() {
            return Ok(());
        }
        for handle in self.wanted.clone() {
            let route = self.outbox.route(&Target::Handle(handle.clone()));
            if !route.busy && route.not_before_ms <= now_ms {
                self.ask_for(&handle);
            }
        }
        for target in self.outbox.targets() {
            self.pump_target(&target, now_ms)?;
        }
        Ok(())
    }

    pub(super) fn outbox_wake_at(&self) -> Option<u64> {
        if !self.link.is_ready() {
            return None;
        }
        let waits = |target: &Target, route: &Route| !route.busy && self.outbox.queues.contains_key(target);
        let due = |(target, route): (&Target, &Route)| waits(target, route).then_some(route.not_before_ms);
        let routes = self.outbox.routes.iter().filter_map(due).filter(|at| *at > 0);
        routes.chain(self.outbox.held_marks.values().copied()).min()
    }

    pub(super) fn accepted(&mut self, id: &MessageId, now_ms: u64) -> Result<(), DeviceError> {
        self.outbox.in_flight.remove(id);
        let Some(mut row) = self.table.get::<OutboxRow>(&rows::outbox(id))? else { return Ok(()) };
        self.outbox.route(&row.target).succeeded();
        if row.state == State::Queued {
            row.state = State::Accepted;
            row.accepted_at = Some(now_ms);
            row.error = None;
            if matches!(row.target, Target::Conversation(_)) && row.waiting.is_empty() {
                // Nobody else takes part: there is no home whose custody could come.
                row.state = State::Custody;
                row.custody_at = Some(now_ms);
                self.close(id, row);
                return Ok(());
            }
            if planted!(self.engine.sabotage, ForgottenAtAccepted) {
                self.close(id, row);
                return Ok(());
            }
            self.put_outbox(id, &row);
        }
        Ok(())
    }

    pub(super) fn custody(
        &mut self,
        account: &AccountId,
        group: &GroupId,
        ids: &[MessageId],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        for id in ids {
            let Some(mut row) = self.table.get::<OutboxRow>(&rows::outbox(id))? else { continue };
            let sealed_there = row.sealed.as_ref().is_some_and(|sealed| sealed.group == *group);
            let of_many = matches!(row.target, Target::Conversation(_));
            if sealed_there && of_many && row.state < State::Custody {
                let is_news = row.waiting.remove(account);
                if !row.waiting.is_empty() {
                    // Said again of one home, it says nothing of the others.
                    if is_news {
                        self.put_outbox(id, &row);
                    }
                    continue;
                }
            }
            let ours = sealed_there && (row.account.as_ref() == Some(account) || of_many);
            if ours && row.state < State::Custody {
                row.state = State::Custody;
                row.accepted_at = row.accepted_at.or(Some(now_ms));
                row.custody_at = Some(now_ms);
                self.close(id, row);
            }
        }
        Ok(())
    }

    /// The recipient's device says that it stored these.
    pub(super) fn delivered(
        &mut self,
        place: &Place,
        by: &AccountId,
        ids: &[MessageId],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.held_by(&place.conversation, *by, ids, now_ms)?;
        for id in ids.iter().take(limits::RECEIPT_MESSAGES_MAX) {
            let Some(mut row) = self.table.get::<OutboxRow>(&rows::outbox(id))? else { continue };
            let by_all = match place.peer {
                Some(_) => row.account.as_ref() == Some(by),
                None => row.conversation == Some(place.conversation) && self.all_hold(&place.conversation, id)?,
            };
            if by_all && row.state < State::Delivered && !row.receipt {
                row.state = State::Delivered;
                row.delivered_at = Some(now_ms);
                self.close(id, row);
            }
        }
        Ok(())
    }

    pub(super) fn submit_refused(
        &mut self,
        id: &MessageId,
        error: Refusal,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.outbox.in_flight.remove(id);
        let Some(mut row) = self.table.get::<OutboxRow>(&rows::outbox(id))? else { return Ok(()) };
        if row.state >= State::Custody {
            return Ok(());
        }
        match (error.code, row.account, &row.sealed) {
            (Code::UnknownConversation, Some(account), Some(sealed)) => {
                if self.outbox.busy.insert(account) && !self.introduce(account, &sealed.group)? {
                    self.outbox.busy.remove(&account);
                    self.outbox.route(&row.target).failed(error, random, now_ms);
                }
            }
            // The home has lost what it had of the file, or does not keep it any more: it is put there again.
            (Code::NotFound, _, _) if !row.blobs.is_empty() && !error.later => {
                row.uploaded = false;
                self.table.put(rows::outbox(id), &row);
                row.blobs.iter().for_each(|of| self.files.park(*id, *of));
                self.outbox.parks(row.order, true);
                return Ok(());
            }
            (Code::WrongEpoch, _, _) => {
                row.sealed = None;
                row.attempt += 1;
                self.outbox.route(&row.target).failed(error, random, now_ms);
                self.table.put(rows::outbox(id), &row);
            }
            _ if helps_later(&error) => self.outbox.route(&row.target).failed(error, random, now_ms),
            _ => {
                self.refuse_message(id, row, error);
                return Ok(());
            }
        }
        self.outbox.route(&row.target).refused = true;
        self.outbox.queues.entry(row.target).or_default().insert(row.order, *id);
        Ok(())
    }

    /// It will never be sent.
    pub(super) fn refuse_message(&mut self, id: &MessageId, mut row: OutboxRow, error: Refusal) {
        row.state = State::Refused;
        row.error = Some(error);
        self.close(id, row);
    }

    /// All blobs of a message are at the home: it is sent in its turn.
    pub(super) fn blob_is_home(&mut self, id: &MessageId) -> Result<(), DeviceError> {
        let Some(mut row) = self.table.get::<OutboxRow>(&rows::outbox(id))? else { return Ok(()) };
        row.blobs.iter().for_each(|of| self.files.unpark(of));
        row.uploaded = true;
        self.table.put(rows::outbox(id), &row);
        self.outbox.parks(row.order, false);
        Ok(())
    }

    /// What was asked for a target's sake is refused: its messages wait, or will never go.
    pub(super) fn target_refused(
        &mut self,
        target: &Target,
        error: Refusal,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        if helps_later(&error) {
            self.outbox.route(target).failed(error, random, now_ms);
            return Ok(());
        }
        for id in self.outbox.queues.remove(target).unwrap_or_default().into_values() {
            if let Some(mut row) = self.table.get::<OutboxRow>(&rows::outbox(&id))? {
                row.state = State::Refused;
                row.error = Some(error.clone());
                self.close(&id, row);
            }
        }
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        target: Target,
        account: Option<AccountId>,
        body: Body,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, DeviceError> {
        let mut salt = vec![0; 16];
        random(&mut salt);
        let receipt = body.is_receipt();
        let seen = match (&target, account) {
            (Target::Conversation(id), _) => {
                self.group_of(id)?.map_or(Ok(Vec::new()), |row| self.seen_in(&row.group))?
            }
            (_, Some(account)) => self.seen(&account)?,
            (_, None) => Vec::new(),
        };
        let blobs = body.blobs();
        let place = match (&target, account) {
            (Target::Conversation(id), _) => Some(Place::of_many(*id)),
            (_, Some(account)) => Some(self.place_with(&account)),
            (_, None) => None,
        };
        let content = Content { salt: Bytes(salt), body, seen, log: self.me.log.head() };
        let bytes = content.encode();
        let id = MessageId::of(now_ms, &bytes);
        if let Some(place) = &place {
            self.remember_sent(id, place, &content.body, now_ms)?;
        }
        let order = self.outbox.next_order;
        self.outbox.next_order += 1;
        let row = OutboxRow {
            order,
            target: target.clone(),
            receipt,
            account,
            waiting: BTreeSet::new(),
            conversation: place.map(|place| place.conversation),
            content: Bytes(bytes),
            sealed: None,
            attempt: 0,
            state: State::Queued,
            submitted_at: now_ms,
            accepted_at: None,
            custody_at: None,
            delivered_at: None,
            error: None,
            blobs,
            uploaded: false,
        };
        let parked = row.is_parked();
        row.blobs.iter().for_each(|of| self.files.park(id, *of));
        self.outbox.opened(order, Open { id, target, receipt, parked });
        self.put_outbox(&id, &row);
        Ok(id)
    }

    /// Heads of the feeds of the group that takes new messages.
    fn seen(&self, account: &AccountId) -> Result<Vec<FeedHead>, DeviceError> {
        let Some(group) = self.standing_group(account) else { return Ok(Vec::new()) };
        self.seen_in(&group)
    }

    /// Of more feeds than one message names, the next message names the following ones: none is withheld for ever unseen.
    pub(super) fn seen_in(&self, group: &GroupId) -> Result<Vec<FeedHead>, DeviceError> {
        let heads = self.table.scan::<FeedHead>(&rows::feeds_of(group))?;
        let (count, max) = (heads.len(), limits::FEED_HEADS_MAX);
        let order = usize::try_from(self.outbox.next_order).unwrap_or(0);
        let from = if count > max { order.wrapping_mul(max).checked_rem(count).unwrap_or(0) } else { 0 };
        Ok(heads.into_iter().map(|(_, head)| head).cycle().skip(from).take(count.min(max)).collect())
    }

    fn pump_target(&mut self, target: &Target, now_ms: u64) -> Result<(), DeviceError> {
        let route = self.outbox.route(target);
        if route.busy || route.not_before_ms > now_ms {
            return Ok(());
        }
        if let Target::Handle(handle) = target
            && self.held_by_key(handle)
        {
            return Ok(());
        }
        let route = self.outbox.route(target);
        // A pause that is over must not wake the device again.
        route.not_before_ms = 0;
        let account = match target {
            Target::Conversation(id) => {
                // Until it stands, and while a commit of ours is under way, what is written waits.
                return match self.conversation(id)? {
                    Some(row) if row.over => {
                        self.refuse_unsealed(target)?;
                        self.pump_queue(target, None, row.group)
                    }
                    Some(row) if self.is_astray(&row.group) => Ok(()),
                    Some(row) if self.is_held(&row.group)? => Ok(()),
                    Some(row) if row.head.is_some() && !self.collects_marks(target, now_ms) => {
                        self.pump_queue(target, None, row.group)
                    }
                    Some(_) | None => Ok(()),
                };
            }
            Target::Account(account) => *account,
            Target::Handle(handle) => match self.account_of(handle)? {
                Some(account) => account,
                None => {
                    self.ask_for(handle);
                    return Ok(());
                }
            },
        };
        if self.outbox.busy.contains(&account) {
            return Ok(());
        }
        let Some(group) = self.standing_group(&account) else { return self.make_group(account) };
        if self.is_held(&group)? {
            return Ok(());
        }
        self.pump_queue(target, Some(account), group)
    }

    /// We take no part any more: what was not sealed never will be. The rest may have been admitted, and asks about that.
    fn refuse_unsealed(&mut self, target: &Target) -> Result<(), DeviceError> {
        let waiting: Vec<MessageId> =
            self.outbox.queues.get(target).map(|queue| queue.values().copied().collect()).unwrap_or_default();
        for id in waiting {
            let Some(mut row) = self.table.get::<OutboxRow>(&rows::outbox(&id))? else { continue };
            if row.sealed.is_none() {
                let message = "you take no part in the conversation any more";
                row.state = State::Refused;
                row.error = Some(Refusal::never(Code::NotMember, message, "ask a member to add you"));
                self.close(&id, row);
            }
        }
        Ok(())
    }

    /// Whether only receipts wait for a conversation of many, and more may join them.
    fn collects_marks(&mut self, target: &Target, now_ms: u64) -> bool {
        let queue = self.outbox.queues.get(target);
        let is_receipt = |order: &u64| self.outbox.open.get(order).is_some_and(|open| open.receipt);
        if self.outbox.hurried || !queue.is_some_and(|queue| queue.keys().all(is_receipt)) {
            self.outbox.held_marks.remove(target);
            return false;
        }
        let until = *self.outbox.held_marks.entry(target.clone()).or_insert(now_ms + MARKS_DELAY_MS);
        if until <= now_ms {
            self.outbox.held_marks.remove(target);
        }
        until > now_ms
    }

    fn pump_queue(&mut self, target: &Target, account: Option<AccountId>, group: GroupId) -> Result<(), DeviceError> {
        let refused = self.outbox.route(target).refused;
        if refused && self.outbox.in_flight.values().any(|other| other == target) {
            return Ok(());
        }
        let room = IN_FLIGHT_MAX.saturating_sub(self.outbox.in_flight.len());
        for _ in 0..if refused { room.min(1) } else { room } {
            let next = self.outbox.queues.get(target).and_then(BTreeMap::first_key_value);
            let Some((order, id)) = next.map(|(order, id)| (*order, *id)) else { break };
            self.outbox.unqueue(target, order);
            self.submit(id, account, group)?;
        }
        Ok(())
    }

    fn submit(&mut self, id: MessageId, account: Option<AccountId>, group: GroupId) -> Result<(), DeviceError> {
        let Some(mut row) = self.table.get::<OutboxRow>(&rows::outbox(&id))? else { return Ok(()) };
        if row.sealed.is_none() {
            let sealed = self.engine.groups.seal(&self.table, group.as_bytes(), row.content.as_slice());
            let (sealed, writes) = sealed?;
            self.table.apply_mls(writes);
            let mut epoch = sealed.epoch;
            if let Some(account) = account {
                if row.account.is_none()
                    && let Ok(content) = Content::decode(row.content.as_slice())
                {
                    self.remember_sent(id, &self.place_with(&account), &content.body, row.submitted_at)?;
                    self.accept(&account)?;
                }
                row.account = Some(account);
                row.conversation = Some(ConversationId::direct(&self.me.account, &account));
                self.keep_audience(&group, epoch, vec![self.me.account, account]);
            } else if let Target::Conversation(conversation) = &row.target
                && let Some(known) = self.conversation(conversation)?
            {
                let others = known.state.participants.iter().map(|participant| participant.account);
                row.waiting = others.filter(|account| *account != self.me.account).collect();
                epoch = epoch::of(known.state.term, sealed.epoch);
                let all = known.state.participants.iter().map(|participant| participant.account).collect();
                self.keep_audience(&group, epoch, all);
            }
            self.keep_sent(id, (group, epoch), &row.content);
            row.sealed = Some(SealedRow { group, epoch, payload: sealed.ciphertext });
            self.table.put(rows::outbox(&id), &row);
        }
        let Some(SealedRow { group, epoch, payload }) = row.sealed else { return Ok(()) };
        let (attempt, blobs) = (row.attempt, row.blobs);
        // What is sealed cannot tell; a home that cannot read is told whether somebody is to be woken.
        let wakes = Content::decode(row.content.as_slice()).is_ok_and(|content| content.body.wakes());
        self.outbox.in_flight.insert(id, row.target);
        self.request(Pending::Submit(id), |request| ClientFrame::Submit {
            id: request,
            group,
            epoch,
            message: id,
            attempt,
            payload,
            silent: !wakes,
            blobs,
        });
        Ok(())
    }

    /// A message that need not be sent any more: its bytes go, and a receipt leaves no trace.
    fn close(&mut self, id: &MessageId, mut row: OutboxRow) {
        self.outbox.closed(&row, id);
        for of in &row.blobs {
            self.files.unpark(of);
            self.staged.push(Output::Unstage(of.blob));
        }
        if row.receipt {
            self.table.delete(rows::outbox(id));
        } else {
            row.content = Bytes(Vec::new());
            if let Some(sealed) = &mut row.sealed {
                sealed.payload = Bytes(Vec::new());
            }
            self.put_outbox(id, &row);
        }
    }

    fn put_outbox(&mut self, id: &MessageId, row: &OutboxRow) {
        self.table.put(rows::outbox(id), row);
        if !row.receipt {
            let report = self.report_of(id, row);
            self.staged.push(Output::Report(report));
        }
    }

    fn report_of(&self, id: &MessageId, row: &OutboxRow) -> MessageReport {
        let to = match &row.target {
            Target::Handle(handle) => handle.to_string(),
            Target::Account(account) => account.to_string(),
            Target::Conversation(id) => id.to_string(),
        };
        let waits = || self.outbox.routes.get(&row.target).and_then(|route| route.error.clone());
        let error = if row.state == State::Queued { waits() } else { row.error.clone() };
        MessageReport {
            id: *id,
            conversation: row.conversation,
            to,
            state: row.state,
            submitted_at: row.submitted_at,
            accepted_at: row.accepted_at,
            custody_at: row.custody_at,
            delivered_at: row.delivered_at,
            error,
        }
    }
}

/// Whether trying again can help. A home or a hub may come back to what it refuses now.
fn helps_later(error: &Refusal) -> bool {
    error.later
        || matches!(error.code, Code::NotHome | Code::NotHub | Code::Sealed | Code::Internal | Code::NotSignedIn)
}
