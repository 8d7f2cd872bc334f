//! The history of the device: what was said in each conversation, as it stands now, and what nobody read yet.
//!
//! It never shows what was deleted or has expired: the text leaves the row. Implements `docs/protocol.md`, section "Content".

mod listing;
pub mod row;

pub use listing::{ConversationView, HistoryItem, HistoryPage, Mark, Reacted};

use self::row::{ChangeRow, Gone, MessageRow, Said, file_of, mark, timer_s};
use super::recipient::{Place, Recipient};
use super::rows::{self, HISTORY, Target};
use super::{Device, DeviceError, Output, Random};
use crate::error::Error;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_protocol::content::{Body, Read};
use roost_protocol::feed::EntryHeader;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::limits;
use std::collections::{BTreeMap, BTreeSet};

/// What is looked up often; rebuilt from rows.
#[derive(Default)]
pub(super) struct History {
    /// The conversations that have a message, with the other account of those of two.
    peers: BTreeMap<ConversationId, Option<AccountId>>,
    unread: BTreeMap<ConversationId, BTreeSet<MessageId>>,
    /// Those of them that mention us.
    mentioned: BTreeMap<ConversationId, BTreeSet<MessageId>>,
    /// When texts disappear, milliseconds since 1970.
    expiries: BTreeSet<(u64, ConversationId, MessageId)>,
}

/// What came, of whom.
pub(super) struct Arrived<'a> {
    pub header: &'a EntryHeader,
    pub place: Place,
}

impl Device {
    /// Everything that was received in a conversation counts as read: timers start, and read marks go if they may.
    /// Returns how many messages were unread.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`] and [`Error::UnknownConversation`] change nothing; after [`Error::Device`] drop the device.
    pub fn mark_read(&mut self, of: &Recipient, random: Random<'_>, now_ms: u64) -> Result<usize, Error> {
        let place = self.place_of(of)?;
        let conversation = place.conversation;
        let unread: Vec<MessageId> =
            self.history.unread.remove(&conversation).unwrap_or_default().into_iter().collect();
        self.history.mentioned.remove(&conversation);
        for id in &unread {
            self.begin_timer(&conversation, id, now_ms, true)?;
        }
        if let Some(target) = self.target_of_marks(&place)?
            && self.settings().read_receipts
        {
            for messages in unread.chunks(limits::RECEIPT_MESSAGES_MAX) {
                let body = Body::Read(Read { messages: messages.to_vec() });
                self.write(target.clone(), place.peer, body, &mut *random, now_ms)?;
            }
        }
        Ok(unread.len())
    }

    /// Words of ours that came from another device of ours.
    pub(super) fn said_elsewhere(
        &mut self,
        arrived: &Arrived<'_>,
        body: &Body,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let Arrived { header, place } = arrived;
        match body {
            Body::Read(read) => {
                for id in read.messages.iter().take(limits::RECEIPT_MESSAGES_MAX) {
                    self.begin_timer(&place.conversation, id, now_ms, true)?;
                }
                Ok(())
            }
            Body::About(about) if place.peer.is_none() => self.learn_about(place.conversation, header, about.clone()),
            Body::AboutPicture(about) if place.peer.is_none() => {
                self.learn_about_picture(place.conversation, header, about.clone())
            }
            Body::Timer(timer) if !self.learn_timer(arrived, timer)? => Ok(()),
            _ if self.table.has(&rows::history(&place.conversation, &header.message)) => Ok(()),
            _ => {
                let author = (header.account, header.device);
                self.remember(header.message, place, author, (body, Some(header.feed.node)), now_ms)
            }
        }
    }

    pub(super) fn load_history(&mut self) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<MessageRow>(&[HISTORY])? {
            if let Some((conversation, id)) = place(&key) {
                self.index(conversation, id, &row);
            }
        }
        Ok(())
    }

    /// Keeps a message of ours, or applies a change of ours, once the recipient's account is known.
    pub(super) fn remember_sent(
        &mut self,
        id: MessageId,
        place: &Place,
        body: &Body,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let home = self.me.log.homes().first().copied();
        self.remember(id, place, (self.me.account, self.me.device), (body, home), now_ms)
    }

    fn remember(
        &mut self,
        id: MessageId,
        place: &Place,
        (author, device): (AccountId, DeviceId),
        (body, node): (&Body, Option<NodeId>),
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let Place { conversation, peer } = *place;
        match Said::of(body) {
            Said::Message { text, reply, mentions, expires_after_s } => {
                let row = MessageRow {
                    expires_at: expires_after_s.map(|timer| now_ms.saturating_add(timer.saturating_mul(1_000))),
                    read: true,
                    timer_s: timer_s(body),
                    file: file_of(body, node),
                    ..message(peer, author, device, body.kind(), text, (reply, mentions, expires_after_s), now_ms)
                };
                self.keep(conversation, id, row)
            }
            Said::Change(target, change) => self.change(conversation, target, ChangeRow { id, author, change }),
            Said::Receipt => Ok(()),
        }
    }

    /// Keeps a received message; `false` if its id is another message's.
    pub(super) fn remember_received(
        &mut self,
        arrived: &Arrived<'_>,
        body: &Body,
        now_ms: u64,
    ) -> Result<bool, DeviceError> {
        let Arrived { header, place: Place { conversation, peer } } = arrived;
        let Said::Message { text, reply, mentions, expires_after_s } = Said::of(body) else { return Ok(false) };
        if let Some(mut row) = self.said(conversation, &header.message)? {
            // Another device of ours may have put it into the archive before it came here.
            let same = row.author == header.account && row.device == header.device && row.payload.is_none();
            let same = same || row.payload == Some(header.payload_hash);
            if same && row.payload.is_none() {
                row.payload = Some(header.payload_hash);
                self.put_said(*conversation, header.message, &row);
            }
            return Ok(same);
        }
        let extras = (reply, mentions, expires_after_s);
        let row = MessageRow {
            payload: Some(header.payload_hash),
            // A word about the conversation itself does not wait to be read.
            read: matches!(body, Body::Timer(_)),
            timer_s: timer_s(body),
            file: file_of(body, Some(header.feed.node)),
            ..message(*peer, header.account, header.device, body.kind(), text, extras, now_ms)
        };
        self.keep(*conversation, header.message, row)?;
        Ok(true)
    }

    /// A change came: it is applied, or waits for its message. What must not count is told as a gap.
    pub(super) fn change(
        &mut self,
        conversation: ConversationId,
        target: MessageId,
        change: ChangeRow,
    ) -> Result<(), DeviceError> {
        let id = change.id;
        let refused = match self.said(&conversation, &target)? {
            Some(mut row) => {
                let applied = row.apply(&change);
                self.put_said(conversation, target, &row);
                applied.err()
            }
            None if self.table.count(&rows::waiting_of(&conversation)) >= limits::WAITING_CHANGES_MAX => {
                Some("too many changes wait for their messages")
            }
            None => {
                self.table.put(rows::waiting(&conversation, &target, &id), &change);
                None
            }
        };
        if let Some(reason) = refused {
            self.staged.push(Output::Gap { conversation: Some(conversation), message: id, reason });
        }
        Ok(())
    }

    /// A member's device read messages of ours.
    pub(super) fn read_by(
        &mut self,
        conversation: &ConversationId,
        by: AccountId,
        ids: &[MessageId],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.mark_sent(conversation, ids, |row| mark(&mut row.read_by, by, now_ms))
    }

    /// A member's device holds messages of ours.
    pub(super) fn held_by(
        &mut self,
        conversation: &ConversationId,
        by: AccountId,
        ids: &[MessageId],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.mark_sent(conversation, ids, |row| mark(&mut row.delivered_to, by, now_ms))
    }

    /// Whether devices of everybody who takes part now hold a message of ours.
    pub(super) fn all_hold(&self, conversation: &ConversationId, id: &MessageId) -> Result<bool, DeviceError> {
        let (Some(row), Some(known)) = (self.said(conversation, id)?, self.conversation(conversation)?) else {
            return Ok(false);
        };
        let others = known.state.participants.iter().filter(|one| one.account != self.me.account);
        let holds = |account: &AccountId| row.delivered_to.iter().any(|mark| mark.account == *account);
        Ok(others.map(|one| one.account).all(|account| holds(&account)))
    }

    /// A message was read or shown here: from now on its timer runs.
    pub(super) fn begin_timer(
        &mut self,
        conversation: &ConversationId,
        id: &MessageId,
        now_ms: u64,
        read: bool,
    ) -> Result<(), DeviceError> {
        let Some(mut row) = self.said(conversation, id)? else { return Ok(()) };
        row.read |= read;
        if let (None, None, Some(timer)) = (row.gone, row.expires_at, row.expires_after_s) {
            row.expires_at = Some(now_ms.saturating_add(timer.saturating_mul(1_000)));
        }
        self.put_said(*conversation, *id, &row);
        Ok(())
    }

    /// What a message says now; `None` once it is gone.
    pub(super) fn standing(
        &self,
        conversation: &ConversationId,
        id: &MessageId,
    ) -> Result<Option<MessageRow>, DeviceError> {
        Ok(self.said(conversation, id)?.filter(|row| row.gone.is_none()))
    }

    /// The message of ours or theirs that the person wants to change.
    pub(super) fn changeable(&self, place: &Place, id: &MessageId) -> Result<MessageRow, Error> {
        let row = self.said(&place.conversation, id)?.ok_or(Error::NoSuchMessage)?;
        if row.gone.is_some() { Err(Error::MessageGone) } else { Ok(row) }
    }

    /// Removes the texts whose time is over.
    pub(super) fn expire(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        while let Some((at, conversation, id)) = self.history.expiries.first().copied() {
            if at > now_ms {
                break;
            }
            self.history.expiries.remove(&(at, conversation, id));
            if let Some(mut row) = self.said(&conversation, &id)? {
                row.goes(Gone::Expired);
                self.put_said(conversation, id, &row);
            }
        }
        Ok(())
    }

    pub(super) fn history_wake_at(&self) -> Option<u64> {
        self.history.expiries.first().map(|(at, ..)| *at)
    }

    /// Where receipts and read marks for a conversation go; `None` if nobody there may hear of us.
    pub(super) fn target_of_marks(&self, place: &Place) -> Result<Option<Target>, DeviceError> {
        Ok(match place.peer {
            Some(peer) => self.may_hear_of_us(&peer)?.then_some(Target::Account(peer)),
            None => {
                let row = self.group_of(&place.conversation)?;
                let few =
                    |row: &super::many::ConversationRow| row.state.participants.len() <= limits::MARKS_ACCOUNTS_MAX;
                row.filter(few)
                    .filter(|_| !self.is_invitation(&place.conversation))
                    .map(|_| Target::Conversation(place.conversation))
            }
        })
    }

    fn mark_sent(
        &mut self,
        conversation: &ConversationId,
        ids: &[MessageId],
        mut mark: impl FnMut(&mut MessageRow) -> bool,
    ) -> Result<(), DeviceError> {
        for id in ids.iter().take(limits::RECEIPT_MESSAGES_MAX) {
            let ours = self.said(conversation, id)?.filter(|row| row.author == self.me.account);
            if let Some(mut row) = ours
                && mark(&mut row)
            {
                self.put_said(*conversation, *id, &row);
            }
        }
        Ok(())
    }

    /// Writes a new message, with the changes that waited for it.
    pub(super) fn keep(
        &mut self,
        conversation: ConversationId,
        id: MessageId,
        mut row: MessageRow,
    ) -> Result<(), DeviceError> {
        for (key, change) in self.table.scan::<ChangeRow>(&rows::waiting_for(&conversation, &id))? {
            self.table.delete(key);
            if let Err(reason) = row.apply(&change) {
                self.staged.push(Output::Gap { conversation: Some(conversation), message: change.id, reason });
            }
        }
        self.put_said(conversation, id, &row);
        Ok(())
    }

    /// A message, whatever its conversation.
    pub(super) fn find_message(&self, id: &MessageId) -> Result<(ConversationId, MessageRow), Error> {
        for conversation in self.history.peers.keys() {
            if let Some(row) = self.said(conversation, id)? {
                return Ok((*conversation, row));
            }
        }
        Err(Error::NoSuchMessage)
    }

    fn said(&self, conversation: &ConversationId, id: &MessageId) -> Result<Option<MessageRow>, DeviceError> {
        self.table.get(&rows::history(conversation, id))
    }

    fn put_said(&mut self, conversation: ConversationId, id: MessageId, row: &MessageRow) {
        if row.gone.is_some() {
            self.something_went(self.last_now_ms);
            self.reseals.goes(id);
        }
        self.table.put(rows::history(&conversation, &id), row);
        self.index(conversation, id, row);
    }

    fn index(&mut self, conversation: ConversationId, id: MessageId, row: &MessageRow) {
        self.history.peers.insert(conversation, row.peer);
        if let Some(at) = row.expires_at {
            self.history.expiries.insert((at, conversation, id));
        }
        if row.read || row.gone.is_some() {
            for kind in [&mut self.history.unread, &mut self.history.mentioned] {
                if let Some(ids) = kind.get_mut(&conversation) {
                    ids.remove(&id);
                }
            }
        } else {
            self.history.unread.entry(conversation).or_default().insert(id);
            if row.mentions.contains(&self.me.account) {
                self.history.mentioned.entry(conversation).or_default().insert(id);
            }
        }
    }
}

/// A message that nothing happened to yet.
fn message(
    peer: Option<AccountId>,
    author: AccountId,
    device: DeviceId,
    kind: &str,
    text: String,
    (reply, mentions, expires_after_s): (Option<MessageId>, Vec<AccountId>, Option<u64>),
    stored_at: u64,
) -> MessageRow {
    MessageRow {
        peer,
        author,
        device,
        kind: kind.to_owned(),
        text,
        reply,
        mentions,
        expires_after_s,
        timer_s: None,
        file: None,
        stored_at,
        payload: None,
        edit: None,
        gone: None,
        expires_at: None,
        reactions: Vec::new(),
        read: false,
        delivered_to: Vec::new(),
        read_by: Vec::new(),
    }
}

/// The conversation and message of a history row's key.
pub(super) fn place(key: &[u8]) -> Option<(ConversationId, MessageId)> {
    Some((ConversationId::from_slice(key.get(1..33)?)?, MessageId::from_slice(key.get(33..)?)?))
}
