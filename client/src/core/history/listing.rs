//! The history as people see it: pages, newest first, and conversations with what is unread in them.

use super::place;
use super::row::{Gone, MarkRow, MessageRow};
use crate::core::files::FileView;
use crate::core::message::State;
use crate::core::rows::{self, OutboxRow};
use crate::core::{Device, DeviceError, Recipient};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_protocol::ids::{ConversationId, Hash, MessageId};
use serde::Serialize;

/// One message as it stands; times in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryItem {
    /// Its id.
    pub id: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The other member: verified handle, else account id; of a conversation of many its id.
    pub with: String,
    /// The author, likewise.
    pub from: String,
    /// Whether we wrote it.
    pub own: bool,
    /// Its kind.
    pub kind: String,
    /// The text as it is now; empty once deleted or expired, and for an unknown kind.
    pub text: String,
    /// The message that it answers.
    pub reply: Option<MessageId>,
    /// Accounts that it mentions.
    pub mentions: Vec<AccountId>,
    /// Whether the text is not the first.
    pub edited: bool,
    /// Whether its author took it back.
    pub deleted: bool,
    /// Whether its time was over.
    pub expired: bool,
    /// When its text goes.
    pub expires_at: Option<u64>,
    /// Of a `timer`: seconds after which what is said from then on goes, 0 for never.
    pub timer_s: Option<u64>,
    /// The file that it is about.
    pub file: Option<FileView>,
    /// Reactions that stand.
    pub reactions: Vec<Reacted>,
    /// Whether nobody read it here yet.
    pub unread: bool,
    /// When its author says it was written.
    pub sent_at: u64,
    /// When it was stored here.
    pub received_at: u64,
    /// How far one of ours came.
    pub state: Option<State>,
    /// On whose devices one of ours is.
    pub delivered: Vec<Mark>,
    /// Who read one of ours.
    pub read: Vec<Mark>,
    /// Hash of the sealed payload of a received one.
    pub payload_hash: Option<Hash>,
}

/// A reaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reacted {
    /// Whose.
    pub from: String,
    /// Which.
    pub emoji: String,
}

/// That a member's device said something of a message, and when we heard it, milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Whose device.
    pub by: String,
    /// When.
    pub at: u64,
}

/// Messages, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryPage {
    /// The messages.
    pub items: Vec<HistoryItem>,
    /// What to ask for next; `None` at the beginning of the history.
    pub before: Option<MessageId>,
}

/// A conversation as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConversationView {
    /// Which.
    pub conversation: ConversationId,
    /// The other member's account; none in a conversation of many.
    pub account: Option<AccountId>,
    /// Their verified handle, else the account id; of a conversation of many its id.
    pub with: String,
    /// What they want to be called.
    pub name: Option<String>,
    /// Received and not read.
    pub unread: usize,
    /// Those of them that mention us.
    pub mentioned: usize,
    /// Seconds after which what is said there goes.
    pub expires_after_s: Option<u64>,
    /// The newest message.
    pub newest: Option<MessageId>,
}

impl Device {
    /// Up to `max` messages of one conversation or of all, older than `before`. Strangers' messages are not among them.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Device`].
    pub fn history(&self, of: Option<&Recipient>, before: Option<MessageId>, max: usize) -> Result<HistoryPage, Error> {
        let wanted = of.map(|of| self.place_of(of)).transpose()?;
        let mut found: Vec<(ConversationId, MessageId, MessageRow)> = Vec::new();
        for (conversation, peer) in &self.history.peers {
            if wanted.is_some_and(|wanted| wanted.conversation != *conversation)
                || self.is_request(conversation, peer)?
            {
                continue;
            }
            let end = before.map(|before| rows::history(conversation, &before));
            let newest = self.table.newest(&rows::history_of(conversation), end, max.saturating_add(1))?;
            found.extend(newest.into_iter().filter_map(|(key, row)| place(&key).map(|(place, id)| (place, id, row))));
        }
        found.sort_by_key(|(_, id, _)| std::cmp::Reverse(*id));
        let more = found.len() > max;
        found.truncate(max);
        let before = found.last().filter(|_| more).map(|(_, id, _)| *id);
        let items = found.into_iter().map(|(conversation, id, row)| self.item(conversation, id, row));
        Ok(HistoryPage { items: items.collect::<Result<_, _>>()?, before })
    }

    /// Up to `max` messages of one conversation from `from` on, newest first; whether there are newer ones.
    ///
    /// # Errors
    /// As [`Self::history`].
    pub fn history_from(&self, of: &Recipient, from: MessageId, max: usize) -> Result<(Vec<HistoryItem>, bool), Error> {
        let conversation = self.place_of(of)?.conversation;
        let peer = self.history.peers.get(&conversation).copied().flatten();
        if self.is_request(&conversation, &peer)? {
            return Ok((Vec::new(), false));
        }
        let prefix = rows::history_of(&conversation);
        let first = self.table.get::<MessageRow>(&rows::history(&conversation, &from))?.map(|row| (from, row));
        let wanted = max.saturating_add(1).saturating_sub(usize::from(first.is_some()));
        let after = self.table.next::<MessageRow>(&prefix, Some(&rows::history(&conversation, &from)), wanted)?;
        let after = after.into_iter().filter_map(|(key, row)| place(&key).map(|(_, id)| (id, row)));
        let mut found: Vec<(MessageId, MessageRow)> = first.into_iter().chain(after).collect();
        let more = found.len() > max;
        found.truncate(max);
        let items = found.into_iter().rev().map(|(id, row)| self.item(conversation, id, row));
        Ok((items.collect::<Result<_, _>>()?, more))
    }

    /// Whether a conversation is among those of [`Self::conversation_views`].
    pub(in crate::core) fn is_shown(&self, conversation: &ConversationId) -> Result<bool, DeviceError> {
        let peer = self.history.peers.get(conversation);
        peer.map_or(Ok(false), |peer| Ok(!self.is_request(conversation, peer)?))
    }

    /// Conversations that have a message, but for those with strangers; in no order that means something.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn conversation_views(&self) -> Result<Vec<ConversationView>, DeviceError> {
        let mut views = Vec::new();
        for (conversation, account) in &self.history.peers {
            if !self.is_request(conversation, account)? {
                let newest = self.table.newest::<MessageRow>(&rows::history_of(conversation), None, 1)?;
                views.push(ConversationView {
                    conversation: *conversation,
                    account: *account,
                    with: self.with(conversation, account.as_ref())?,
                    name: account.map_or(Ok(None), |account| self.profile_of(&account))?,
                    unread: self.history.unread.get(conversation).map_or(0, std::collections::BTreeSet::len),
                    mentioned: self.history.mentioned.get(conversation).map_or(0, std::collections::BTreeSet::len),
                    expires_after_s: self.timer_in(conversation)?,
                    newest: newest.first().and_then(|(key, _)| place(key)).map(|(_, id)| id),
                });
            }
        }
        Ok(views)
    }

    /// The newest messages of an account in all conversations, newest first, whatever it is to us.
    pub(in crate::core) fn received_from(
        &self,
        account: &AccountId,
        max: usize,
    ) -> Result<Vec<HistoryItem>, DeviceError> {
        let mut theirs: Vec<(ConversationId, MessageId, MessageRow)> = Vec::new();
        for conversation in self.history.peers.keys() {
            let rows = self.table.newest::<MessageRow>(&rows::history_of(conversation), None, usize::MAX)?;
            let of_account = rows.into_iter().filter(|(_, row)| row.author == *account).take(max);
            theirs.extend(of_account.filter_map(|(key, row)| place(&key).map(|(at, id)| (at, id, row))));
        }
        theirs.sort_by_key(|(_, id, _)| std::cmp::Reverse(*id));
        theirs.into_iter().take(max).map(|(at, id, row)| self.item(at, id, row)).collect()
    }

    pub(in crate::core) fn item(
        &self,
        conversation: ConversationId,
        id: MessageId,
        row: MessageRow,
    ) -> Result<HistoryItem, DeviceError> {
        let own = row.author == self.me.account;
        let sent: Option<OutboxRow> = if own { self.table.get(&rows::outbox(&id))? } else { None };
        let standing = row.reactions.into_iter().filter(|reaction| reaction.stands);
        let reactions = standing.map(|one| Ok(Reacted { from: self.name_of(&one.account)?, emoji: one.emoji }));
        Ok(HistoryItem {
            id,
            conversation,
            with: self.with(&conversation, row.peer.as_ref())?,
            from: self.name_of(&row.author)?,
            own,
            kind: row.kind,
            text: row.text,
            reply: row.reply,
            mentions: row.mentions,
            edited: row.edit.is_some(),
            deleted: row.gone == Some(Gone::Deleted),
            expired: row.gone == Some(Gone::Expired),
            expires_at: row.expires_at,
            timer_s: row.timer_s,
            file: row.file.as_ref().map(|row| FileView::of(&row.file)),
            reactions: reactions.collect::<Result<_, DeviceError>>()?,
            unread: !row.read && row.gone.is_none(),
            sent_at: id.at_ms(),
            received_at: row.stored_at,
            state: sent.map(|sent| sent.state),
            delivered: self.marks(row.delivered_to)?,
            read: self.marks(row.read_by)?,
            payload_hash: row.payload,
        })
    }

    /// Whether a conversation is one with a stranger, or one that a stranger took us into.
    fn is_request(&self, conversation: &ConversationId, peer: &Option<AccountId>) -> Result<bool, DeviceError> {
        peer.map_or(Ok(self.is_invitation(conversation)), |peer| Ok(!self.is_accepted(&peer)?))
    }

    fn with(&self, conversation: &ConversationId, peer: Option<&AccountId>) -> Result<String, DeviceError> {
        peer.map_or_else(|| Ok(conversation.to_string()), |peer| self.name_of(peer))
    }

    fn marks(&self, marks: Vec<MarkRow>) -> Result<Vec<Mark>, DeviceError> {
        marks.into_iter().map(|mark| Ok(Mark { by: self.name_of(&mark.account)?, at: mark.at })).collect()
    }
}
