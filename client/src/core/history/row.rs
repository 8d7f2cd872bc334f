//! A message as the device keeps it, and what edits, deletes and reactions do to it, in whichever order they come.
//!
//! Implements `docs/protocol.md`, section "Content". Pure: the same set of changes gives the same row.

use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_protocol::content::{Body, File};
use roost_protocol::ids::{Hash, MessageId};
use roost_protocol::limits;
use serde::{Deserialize, Serialize};

/// Why a message has no text any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::core) enum Gone {
    Deleted,
    Expired,
}

/// An emoji of an account, also one that was taken back: what came before must not bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) struct ReactionRow {
    pub account: AccountId,
    pub emoji: String,
    /// The newest message about it.
    pub by: MessageId,
    pub stands: bool,
}

/// What a member's device said of a message of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) struct MarkRow {
    pub account: AccountId,
    pub at: u64,
}

/// A file, and where its sealed bytes were put first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    /// What its author says of it.
    pub file: File,
    /// The home of who said it.
    pub node: NodeId,
}

/// A message of a conversation, received or our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) struct MessageRow {
    /// The other member of a conversation of two.
    pub peer: Option<AccountId>,
    pub author: AccountId,
    pub device: DeviceId,
    pub kind: String,
    pub text: String,
    pub reply: Option<MessageId>,
    pub mentions: Vec<AccountId>,
    pub expires_after_s: Option<u64>,
    /// What it says of the conversation's timer, seconds, 0 for none; absent for all other kinds.
    pub timer_s: Option<u64>,
    /// The file that it is about.
    #[serde(default)]
    pub file: Option<FileRow>,
    pub stored_at: u64,
    /// Hash of the sealed payload of a received one: evidence.
    pub payload: Option<Hash>,
    /// The edit that gave it its text.
    pub edit: Option<MessageId>,
    pub gone: Option<Gone>,
    pub expires_at: Option<u64>,
    pub reactions: Vec<ReactionRow>,
    /// Ours, or read here.
    pub read: bool,
    pub delivered_to: Vec<MarkRow>,
    pub read_by: Vec<MarkRow>,
}

/// What is done to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) enum Change {
    Edit(String),
    Delete,
    Reaction { emoji: String, remove: bool },
}

/// A change, who made it, and the message that brought it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) struct ChangeRow {
    pub id: MessageId,
    pub author: AccountId,
    pub change: Change,
}

/// What a body says.
pub(in crate::core) enum Said {
    Message { text: String, reply: Option<MessageId>, mentions: Vec<AccountId>, expires_after_s: Option<u64> },
    Change(MessageId, Change),
    Receipt,
}

impl Said {
    pub fn of(body: &Body) -> Self {
        let plain =
            |text: &str| Self::Message { text: text.into(), reply: None, mentions: Vec::new(), expires_after_s: None };
        match body {
            Body::Text(text) => plain(text),
            Body::Unknown { .. } | Body::Timer(_) => plain(""),
            Body::File(file) => Self::Message {
                text: file.caption.clone(),
                reply: file.reply,
                mentions: file.mentions.clone(),
                expires_after_s: file.expires_after_s,
            },
            Body::RichText(rich) => Self::Message {
                text: rich.text.clone(),
                reply: rich.reply,
                mentions: rich.mentions.clone(),
                expires_after_s: rich.expires_after_s,
            },
            Body::Edit(edit) => Self::Change(edit.message, Change::Edit(edit.text.clone())),
            Body::Delete(delete) => Self::Change(delete.message, Change::Delete),
            Body::Reaction(reaction) => {
                let change = Change::Reaction { emoji: reaction.emoji.clone(), remove: reaction.remove };
                Self::Change(reaction.message, change)
            }
            Body::Delivered(_) | Body::Read(_) | Body::Profile(_) | Body::ProfilePicture(_) => Self::Receipt,
            Body::Leave(_) | Body::About(_) | Body::AboutPicture(_) => Self::Receipt,
            Body::Reseal(_) | Body::Resealed(_) => Self::Receipt,
        }
    }
}

/// What a body says of its conversation's timer.
pub(in crate::core) fn timer_s(body: &Body) -> Option<u64> {
    match body {
        Body::Timer(timer) => Some(timer.expires_after_s.unwrap_or(0)),
        _ => None,
    }
}

/// The file that a body is about, said through a node.
pub(in crate::core) fn file_of(body: &Body, node: Option<NodeId>) -> Option<FileRow> {
    match (body, node) {
        (Body::File(file), Some(node)) => Some(FileRow { file: File::clone(file), node }),
        _ => None,
    }
}

impl MessageRow {
    /// Takes a change over, or says why it must not count.
    pub fn apply(&mut self, change: &ChangeRow) -> Result<(), &'static str> {
        match &change.change {
            Change::Edit(_) | Change::Delete if change.author != self.author => {
                return Err("somebody changes a message of another author");
            }
            Change::Edit(_) if !matches!(self.kind.as_str(), "text" | "rich_text") => {
                return Err("an edit of a message that is no text");
            }
            Change::Edit(text) => {
                if self.gone.is_none() && self.edit.is_none_or(|newest| newest < change.id) {
                    self.text.clone_from(text);
                    self.edit = Some(change.id);
                }
            }
            Change::Delete => self.goes(Gone::Deleted),
            Change::Reaction { emoji, remove } => return self.react(change, emoji, !remove),
        }
        Ok(())
    }

    /// What two devices know of one message; the same whichever is asked first.
    pub fn join(mut self, other: Self) -> Self {
        if (other.author, other.device) != (self.author, self.device) {
            return self;
        }
        if other.edit > self.edit {
            self.edit = other.edit;
            self.text = other.text;
        }
        for theirs in other.reactions {
            let key = (theirs.account, theirs.emoji.as_str());
            match self.reactions.binary_search_by(|one| (one.account, one.emoji.as_str()).cmp(&key)) {
                Ok(at) => {
                    if let Some(ours) = self.reactions.get_mut(at).filter(|ours| ours.by < theirs.by) {
                        *ours = theirs;
                    }
                }
                Err(at) => self.reactions.insert(at, theirs),
            }
        }
        for (ours, theirs) in [(&mut self.delivered_to, other.delivered_to), (&mut self.read_by, other.read_by)] {
            for one in theirs {
                earlier(ours, one);
            }
        }
        self.expires_at = self.expires_at.into_iter().chain(other.expires_at).min();
        self.stored_at = self.stored_at.min(other.stored_at);
        self.payload = self.payload.or(other.payload);
        self.file = self.file.or(other.file);
        self.read |= other.read;
        match self.gone.into_iter().chain(other.gone).min() {
            Some(why) => {
                self.gone = None;
                self.goes(why);
                self
            }
            None => self,
        }
    }

    /// The text goes, with all that was said about it. A deleted message does not become an expired one.
    pub fn goes(&mut self, why: Gone) {
        if self.gone != Some(Gone::Deleted) {
            self.gone = Some(why);
        }
        self.text.clear();
        self.file = None;
        self.edit = None;
        self.mentions.clear();
        self.reactions.clear();
        self.expires_at = None;
    }

    /// The newest change of an author: its next one must have a higher id.
    pub fn newest_change_of(&self, author: &AccountId) -> Option<MessageId> {
        let reactions = self.reactions.iter().filter(|reaction| reaction.account == *author).map(|one| one.by);
        let edit = self.edit.filter(|_| *author == self.author);
        reactions.chain(edit).max()
    }

    fn react(&mut self, change: &ChangeRow, emoji: &str, stands: bool) -> Result<(), &'static str> {
        if self.gone.is_some() {
            return Ok(());
        }
        let key = (change.author, emoji);
        match self.reactions.binary_search_by(|one| (one.account, one.emoji.as_str()).cmp(&key)) {
            Ok(at) => {
                if let Some(known) = self.reactions.get_mut(at).filter(|known| known.by < change.id) {
                    known.by = change.id;
                    known.stands = stands;
                }
            }
            Err(at) => {
                let of_author = self.reactions.iter().filter(|one| one.account == change.author).count();
                if of_author >= limits::REACTIONS_MAX {
                    return Err("an account has too many reactions on a message");
                }
                let row = ReactionRow { account: change.author, emoji: emoji.to_owned(), by: change.id, stands };
                self.reactions.insert(at, row);
            }
        }
        Ok(())
    }
}

/// Notes the first time of a mark.
pub(in crate::core) fn mark(marks: &mut Vec<MarkRow>, account: AccountId, at: u64) -> bool {
    match marks.binary_search_by_key(&account, |mark| mark.account) {
        Ok(_) => false,
        Err(place) => {
            marks.insert(place, MarkRow { account, at });
            true
        }
    }
}

/// Keeps the earlier of two marks of one account.
fn earlier(marks: &mut Vec<MarkRow>, one: MarkRow) {
    match marks.binary_search_by_key(&one.account, |mark| mark.account) {
        Ok(place) => {
            if let Some(known) = marks.get_mut(place) {
                known.at = known.at.min(one.at);
            }
        }
        Err(place) => marks.insert(place, one),
    }
}
