//! The inbox: entries of the home become messages, each shown once, however often they arrive.
//!
//! What cannot be opened is a gap that is told, never a silent loss. An entry is acknowledged with the commit that holds it.

use super::files::FileView;
use super::history::Arrived;
use super::history::row::{ChangeRow, Said};
use super::message::ReceivedMessage;
use super::recipient::Place;
use super::rows::{self, CursorRow, GroupRow, PeerRow, RECEIVED, ReceivedRow, Target};
use super::{Device, DeviceError, Output};
use roost_crypto::group::GroupError;
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::planted;
use roost_protocol::content::{Body, Content};
use roost_protocol::conversation::Policy;
use roost_protocol::feed::{Entry, EntryHeader, EntryKind, FeedHead};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, FeedId, MessageId};
use roost_protocol::limits;
use roost_protocol::socket::ClientFrame;
use std::collections::{BTreeMap, BTreeSet};

/// How long a first message waits for its author's handle to be verified, milliseconds; then the account id is shown.
const NAMING_MS_MAX: u64 = 2_000;
/// Entries that a home may push before it places them: four times what it sends ahead of an acknowledgement.
const UNPLACED_MAX: usize = 1_024;

/// Whose a message is that was not handed out.
#[derive(Clone, Copy)]
struct Waiting {
    account: AccountId,
    /// Said in the conversation of two, where a stranger is a request.
    direct: bool,
    conversation: ConversationId,
}

/// What was received and not shown yet; rebuilt from rows.
#[derive(Default)]
pub(super) struct Inbox {
    next_order: u64,
    unemitted: BTreeMap<u64, Waiting>,
    unshown: BTreeMap<(MessageId, DeviceId), u64>,
    /// Accounts whose handle is being verified, and until when their messages wait for it.
    naming: BTreeMap<AccountId, (Handle, u64)>,
    asked: BTreeSet<AccountId>,
    ack: Option<u64>,
    /// Entries that the home pushed before they were durable there, and has not placed in the inbox yet.
    unplaced: BTreeSet<(FeedId, u64)>,
}

impl Inbox {
    pub fn named(&mut self, account: &AccountId) {
        self.naming.remove(account);
    }

    /// What was not handed out in conversations of two, in order, and of whom.
    pub fn waiting(&self) -> impl Iterator<Item = (u64, AccountId)> + '_ {
        self.unemitted.iter().filter(|(_, one)| one.direct).map(|(order, one)| (*order, one.account))
    }

    /// How many messages of a conversation were not handed out.
    pub fn waiting_in(&self, conversation: &ConversationId) -> usize {
        self.unemitted.values().filter(|one| one.conversation == *conversation).count()
    }

    /// Nobody's messages wait for a name any more: the clock was set back.
    pub fn name_no_longer(&mut self) {
        self.naming.clear();
    }

    pub fn unnamed(&mut self, handle: &Handle) {
        self.naming.retain(|_, (asked, _)| asked != handle);
    }

    /// What was not placed comes again on the next connection.
    pub fn disconnected(&mut self) {
        self.unplaced.clear();
    }
}

impl Device {
    /// The message was shown and will not be shown again.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn mark_shown(&mut self, id: &MessageId) -> Result<(), DeviceError> {
        let found: Vec<_> = self
            .inbox
            .unshown
            .range((*id, DeviceId([0; 32]))..=(*id, DeviceId([0xff; 32])))
            .map(|(key, order)| (*key, *order))
            .collect();
        for (key, order) in found {
            self.inbox.unshown.remove(&key);
            self.inbox.unemitted.remove(&order);
            if let Some(mut row) = self.table.get::<ReceivedRow>(&rows::received(order))? {
                row.shown = true;
                self.table.put(rows::received(order), &row);
                self.start_shown_timer(&row.conversation, &row.id)?;
            }
        }
        Ok(())
    }

    /// What was shown was read, as far as its timer is concerned.
    fn start_shown_timer(&mut self, conversation: &ConversationId, id: &MessageId) -> Result<(), DeviceError> {
        let timed = self.standing(conversation, id)?.is_some_and(|row| row.expires_after_s.is_some());
        if timed { self.begin_timer(conversation, id, self.last_now_ms, false) } else { Ok(()) }
    }

    pub(super) fn load_inbox(&mut self) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<ReceivedRow>(&[RECEIVED])? {
            let order = key.get(1..).and_then(|tail| tail.try_into().ok()).map_or(0, u64::from_be_bytes);
            self.inbox.next_order = self.inbox.next_order.max(order + 1);
            if !row.shown {
                let direct = self.place_with(&row.account).conversation == row.conversation;
                self.inbox
                    .unemitted
                    .insert(order, Waiting { account: row.account, direct, conversation: row.conversation });
                self.inbox.unshown.insert((row.id, row.device), order);
            }
        }
        Ok(())
    }

    pub(super) fn entry(&mut self, inbox: Option<u64>, entry: Entry, now_ms: u64) -> Result<(), DeviceError> {
        if entry.check().is_err() {
            self.gap(None, &entry.header, "the entry contradicts itself");
        } else {
            self.follow_feed(&entry.header, now_ms)?;
            match entry.header.kind {
                _ if self.park(&entry)? => {}
                EntryKind::Creation => self.first_contact(&entry, now_ms)?,
                EntryKind::Message => self.message(&entry, now_ms)?,
                EntryKind::Commit => self.commit_entry(&entry, now_ms)?,
            }
        }
        match inbox {
            Some(inbox) => self.hold_up_to(inbox)?,
            None if self.inbox.unplaced.len() < UNPLACED_MAX => {
                self.inbox.unplaced.insert((entry.header.feed, entry.header.seq));
            }
            None => self.disconnect("the home pushes entries and does not place them"),
        }
        Ok(())
    }

    /// The home has `count` entries of a feed durable, in the inbox from `inbox` on: now they can be acknowledged.
    pub(super) fn placed(&mut self, feed: FeedId, seq: u64, inbox: u64, count: u64) -> Result<(), DeviceError> {
        let have = |place: u64| seq.checked_add(place).is_some_and(|seq| self.inbox.unplaced.contains(&(feed, seq)));
        // More than were pushed cannot be placed: the loop ends with the first that is missing.
        if count == 0 || !(0..count).all(have) {
            self.disconnect("the home places an entry that it did not push");
            return Ok(());
        }
        for place in 0..count {
            self.inbox.unplaced.remove(&(feed, seq.saturating_add(place)));
        }
        self.hold_up_to(inbox.saturating_add(count - 1))
    }

    /// Everything up to an inbox position is about to be durable here.
    fn hold_up_to(&mut self, inbox: u64) -> Result<(), DeviceError> {
        let Some(mut cursor) = self.table.get::<CursorRow>(&rows::cursor())? else { return Ok(()) };
        if inbox > cursor.after {
            cursor.after = inbox;
            self.table.put(rows::cursor(), &cursor);
        }
        self.inbox.ack = Some(cursor.after);
        Ok(())
    }

    /// Hands out what may be shown and acknowledges what is about to be durable.
    pub(super) fn pump_inbox(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        self.inbox.naming.retain(|_, (_, until)| *until > now_ms);
        if self.link.is_ready() {
            if let Some(inbox) = self.inbox.ack.take() {
                self.staged.push(Output::Send(Box::new(ClientFrame::Ack { inbox })));
            }
        } else {
            self.inbox.ack = None;
            self.inbox.naming.clear();
        }
        let due: Vec<(u64, bool)> = self
            .inbox
            .unemitted
            .iter()
            .filter_map(|(order, one)| (!self.inbox.naming.contains_key(&one.account)).then_some((*order, one.direct)))
            .collect();
        for (order, direct) in due {
            let Some(row) = self.table.get::<ReceivedRow>(&rows::received(order))? else { continue };
            // A stranger's message waits as a request.
            let waits = if direct { !self.is_accepted(&row.account)? } else { self.is_invitation(&row.conversation) };
            if waits {
                continue;
            }
            self.inbox.unemitted.remove(&order);
            let Some(said) = self.standing(&row.conversation, &row.id)? else {
                // Its author took it back, or its time is over.
                self.mark_shown(&row.id)?;
                continue;
            };
            let message = ReceivedMessage {
                id: row.id,
                conversation: row.conversation,
                from: self.name_of(&row.account)?,
                name: self.profile_of(&row.account)?,
                device: row.device,
                kind: said.kind,
                text: said.text,
                reply: said.reply,
                mentions: said.mentions,
                expires_after_s: said.expires_after_s,
                timer_s: said.timer_s,
                file: said.file.as_ref().map(|row| FileView::of(&row.file)),
                sent_at: row.id.at_ms(),
                received_at: said.stored_at,
            };
            self.staged.push(Output::Message(message));
        }
        Ok(())
    }

    pub(super) fn inbox_wake_at(&self) -> Option<u64> {
        self.inbox.naming.values().map(|(_, until)| *until).min()
    }

    /// Keeps the newest position of a feed. Positions may be missing: an inbox holds only what is for its account.
    fn follow_feed(&mut self, header: &EntryHeader, now_ms: u64) -> Result<(), DeviceError> {
        let key = rows::feed(&header.feed);
        let known: Option<FeedHead> = self.table.get(&key)?;
        let known_seq = known.map_or(0, |head| head.seq);
        if known_seq.checked_add(1) == Some(header.seq) && known.is_some_and(|head| head.hash != header.prev) {
            self.gap(None, header, "the feed's chain is broken");
        }
        if header.seq > known_seq {
            self.table.put(key, &FeedHead { feed: header.feed, seq: header.seq, hash: header.hash() });
        }
        self.reach(header.feed, known_seq, header.seq, now_ms)
    }

    fn first_contact(&mut self, entry: &Entry, now_ms: u64) -> Result<(), DeviceError> {
        let entered = match entry.first_contact() {
            Ok(contact) if contact.creation.group == entry.header.feed.group => {
                let conversation = contact.creation.state.conversation;
                let entered = match contact.creation.state.policy {
                    Policy::Direct => self.enter(&contact.head, contact.creation)?,
                    Policy::Admins => self.enter_group(&contact.head, contact.creation, now_ms)?,
                };
                if entered { None } else { Some(Some(conversation)) }
            }
            _ => Some(None),
        };
        match entered {
            Some(conversation) => self.gap(conversation, &entry.header, "the conversation cannot be entered"),
            None => self.read_early(&entry.header.feed.group, now_ms)?,
        }
        Ok(())
    }

    pub(super) fn message(&mut self, entry: &Entry, now_ms: u64) -> Result<(), DeviceError> {
        let header = &entry.header;
        let dedupe = rows::dedupe(&header.device, &header.message);
        let known = self.table.has(&dedupe) && !planted!(self.engine.sabotage, NoDeviceDedupe);
        if header.device == self.me.device || known {
            return Ok(());
        }
        let group = header.feed.group;
        let of_many = ConversationId::of_group(&group);
        let known = match self.table.look::<GroupRow>(&rows::group(&group))? {
            Some(row) => Some(Place { conversation: row.conversation, peer: Some(row.peer) }),
            None => self.table.has(&rows::conversation(&of_many)).then(|| Place::of_many(of_many)),
        };
        let Some(place) = known else {
            // What leads into it may come behind: then it is read after all.
            self.park_early(entry)?;
            self.gap(None, header, "the conversation is not known");
            return Ok(());
        };
        let conversation = place.conversation;
        let opened = self.engine.groups.open(&self.table, group.as_bytes(), entry.payload.as_slice());
        let opened = match opened {
            Ok((opened, writes)) => {
                self.table.apply_mls(writes);
                opened
            }
            Err(GroupError::AlreadyOpened | GroupError::OwnMessage) => return Ok(()),
            Err(error @ (GroupError::BadRow | GroupError::Engine)) => return Err(error.into()),
            Err(GroupError::WrongEpoch { .. } | GroupError::Removed)
                if self.is_ahead(header)? && self.park_early(entry)? =>
            {
                return Ok(());
            }
            Err(GroupError::EpochGone { .. }) => {
                self.missed(&place, header, now_ms);
                return Ok(());
            }
            Err(_) => {
                self.gap(Some(conversation), header, "the message cannot be opened");
                return Ok(());
            }
        };
        // Who may seal in an epoch is in its group, by the key schedule.
        let author_fits = opened.sender.account == header.account && opened.sender.device == header.device;
        if !author_fits {
            self.gap(Some(conversation), header, "the message is not what its header says");
            return Ok(());
        }
        self.opened(header, place, &opened.plaintext, now_ms)
    }

    /// What the device that a header names has said takes effect, once.
    pub(super) fn opened(
        &mut self,
        header: &EntryHeader,
        place: Place,
        plaintext: &[u8],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let content = Content::decode(plaintext);
        let (true, Ok(content)) = (header.message.fits(plaintext), content) else {
            self.gap(Some(place.conversation), header, "the message is not what its header says");
            return Ok(());
        };
        self.table.put(rows::dedupe(&header.device, &header.message), &());
        self.heads_seen(&header.feed.group, header.account, &content.seen, now_ms)?;
        self.log_head_seen(header.feed.group, header.account, content.log, now_ms)?;
        match content.body {
            // A wish to leave is the conversation's business, also of somebody whom the person does not want to hear.
            Body::Leave(leave) => return self.leave_wished(&header.feed.group, leave),
            Body::Reseal(reseal) => return self.asked_again(header, place, reseal),
            Body::Resealed(resealed) => return self.sealed_again(header, place, &resealed, now_ms),
            _ => {}
        }
        if header.account == self.me.account {
            return self.said_elsewhere(&Arrived { header, place }, &content.body, now_ms);
        }
        if self.person(&header.account)?.blocked {
            return Ok(());
        }
        match &content.body {
            Body::Delivered(ids) => return self.delivered(&place, &header.account, ids, now_ms),
            Body::Read(read) => return self.read_by(&place.conversation, header.account, &read.messages, now_ms),
            Body::Profile(profile) => {
                return self.learn_profile(&header.account, header.message, profile.name.clone());
            }
            Body::ProfilePicture(profile) => {
                return self.learn_picture(&header.account, header.message, profile.picture.clone());
            }
            Body::About(about) if place.peer.is_none() => {
                return self.learn_about(place.conversation, header, about.clone());
            }
            Body::AboutPicture(about) if place.peer.is_none() => {
                return self.learn_about_picture(place.conversation, header, about.clone());
            }
            Body::Timer(timer) if !self.learn_timer(&Arrived { header, place }, timer)? => return Ok(()),
            _ => {}
        }
        if let Said::Change(target, change) = Said::of(&content.body) {
            let change = ChangeRow { id: header.message, author: header.account, change };
            self.change(place.conversation, target, change)?;
            return self.answer_receipt(&place, header.account, header.message);
        }
        self.received(&Arrived { header, place }, &content.body, now_ms)
    }

    /// Whether a message is of an epoch whose commit has not come.
    fn is_ahead(&self, header: &EntryHeader) -> Result<bool, DeviceError> {
        let known = self.followed(&header.feed.group)?;
        Ok(known.is_some_and(|row| header.epoch > row.epoch))
    }

    /// A receipt, unless the author must not hear of us.
    fn answer_receipt(&mut self, place: &Place, account: AccountId, id: MessageId) -> Result<(), DeviceError> {
        if let Some(target) = self.target_of_marks(place)? {
            let account = place.peer.map(|_| account);
            self.outbox.receipt_due(target, account, id);
        }
        Ok(())
    }

    pub(super) fn received(&mut self, arrived: &Arrived<'_>, body: &Body, now_ms: u64) -> Result<(), DeviceError> {
        let Arrived { header, place } = arrived;
        let (conversation, direct) = (place.conversation, place.peer.is_some());
        let EntryHeader { account, device, message: id, .. } = **header;
        let held = self.inbox.waiting().filter(|(_, of)| *of == account).count();
        if direct && held >= limits::REQUEST_MESSAGES_MAX && !self.is_accepted(&account)? {
            self.gap(Some(conversation), header, "a stranger wrote more than is kept of one");
            return Ok(());
        }
        if !self.remember_received(arrived, body, now_ms)? {
            self.gap(Some(conversation), header, "the message has the id of another");
            return Ok(());
        }
        let order = self.inbox.next_order;
        self.inbox.next_order += 1;
        let row = ReceivedRow { id, conversation, account, device, shown: false };
        self.table.put(rows::received(order), &row);
        self.inbox.unemitted.insert(order, Waiting { account, direct, conversation });
        self.inbox.unshown.insert((id, device), order);
        self.said_it(conversation, account, now_ms);
        self.answer_receipt(place, account, id)?;
        self.verify_name(account, now_ms)
    }

    /// Asks once for the handle that a new contact claims.
    pub(super) fn verify_name(&mut self, account: AccountId, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.is_ready() || !self.inbox.asked.insert(account) {
            return Ok(());
        }
        let row: Option<PeerRow> = self.table.get(&rows::peer(&account))?;
        let Some(row) = row.filter(|row| row.handle.is_none()) else { return Ok(()) };
        let log = VerifiedLog::verify(&row.log)?;
        let claimed = log.handle().and_then(|(handle, _)| handle.parse::<Handle>().ok());
        if let Some(handle) = claimed {
            self.inbox.naming.insert(account, (handle.clone(), now_ms + NAMING_MS_MAX));
            if !self.outbox.route(&Target::Handle(handle.clone())).busy {
                self.ask_for(&handle);
            }
        }
        Ok(())
    }

    pub(super) fn gap(&mut self, conversation: Option<ConversationId>, header: &EntryHeader, reason: &'static str) {
        self.staged.push(Output::Gap { conversation, message: header.message, reason });
    }
}
