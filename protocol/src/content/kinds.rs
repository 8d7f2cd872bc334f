//! The values of the kinds that are more than a text: each with its bound, checked when it is made or read.
//!
//! Implements `docs/protocol.md`, section "Content". Whether an author may change a message is the device's to decide.

use crate::ids::MessageId;
use crate::limits;
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, DeviceId};
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation as _;

/// Why a value of a kind is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// More bytes than the kind may have.
    #[error("expected at most {max} bytes of {what}, got {got}")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// More items than the kind may have.
    #[error("expected 1 to {max} {what}, got {got}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// Not one grapheme cluster that can be seen.
    #[error("expected one emoji: one visible grapheme cluster")]
    NoEmoji,
    /// A rich text that says nothing which a plain text does not.
    #[error("expected a reply, mentions or a timer: this is a plain text")]
    PlainText,
    /// A timer of no time, or of more than the limit.
    #[error("expected a timer of 1 to {max} seconds, got {got}")]
    Timer {
        /// The bound, seconds.
        max: u64,
        /// What was given, seconds.
        got: u64,
    },
    /// An account that is mentioned twice, or out of order.
    #[error("expected mentions in ascending order, each once")]
    Mentions,
    /// No public key.
    #[error("expected a public key of 32 bytes, got {got}")]
    Key {
        /// What was given, bytes.
        got: usize,
    },
    /// A name with characters that cannot be seen.
    #[error("expected a name without control characters")]
    Name,
    /// A name that is none of a file: empty, a path, or with characters that cannot be seen.
    #[error("expected the name of a file, without a path and without control characters")]
    FileName,
    /// No media type.
    #[error("expected a media type such as image/jpeg, in lower case and without parameters")]
    MediaType,
    /// A file over the limit.
    #[error("expected a file of at most {max} bytes, got {got}")]
    FileTooLong {
        /// The bound.
        max: u64,
        /// What was given.
        got: u64,
    },
    /// A picture without width or height.
    #[error("expected a width and a height of at least one point")]
    Dimensions,
    /// Bytes of no kind of picture that every screen shows.
    #[error("expected a JPEG, PNG or WebP picture")]
    NoPicture,
}

/// A text that answers, mentions or disappears. A plain text has a kind of its own, so each text has one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RichText {
    /// The text.
    pub text: String,
    /// The message that it answers.
    pub reply: Option<MessageId>,
    /// Accounts that it mentions, ascending.
    pub mentions: Vec<AccountId>,
    /// Seconds after which it goes: at its author since it was sent, at a reader since it was read.
    pub expires_after_s: Option<u64>,
}

/// A reaction to a message, or its taking back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// The message.
    pub message: MessageId,
    /// One grapheme cluster.
    pub emoji: String,
    /// Whether it is taken back.
    pub remove: bool,
}

/// Another text for a message of the same author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The message.
    pub message: MessageId,
    /// All of its new text.
    pub text: String,
}

/// A message of the same author goes, for everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The message.
    pub message: MessageId,
}

/// These messages were read on the author's device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Their ids.
    pub messages: Vec<MessageId>,
}

/// What the author wants to be called. It is the author's word, never proof of who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// A name for people.
    pub name: String,
}

/// What an admin wants a conversation of many to be called. Of two, the one changed later counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// A name for people; empty for none.
    pub title: String,
    /// What the conversation is for; empty for nothing.
    pub description: String,
    /// When an admin said so first, milliseconds since 1970: it is told again, unchanged, to who joins.
    pub changed_at: u64,
}

/// Messages of one device that the author's device could not open: it asks that device to seal them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reseal {
    /// The device that said them.
    pub device: DeviceId,
    /// Their ids, at most [`limits::RECEIPT_MESSAGES_MAX`].
    pub messages: Vec<MessageId>,
    /// X25519 public key that the answer is to be sealed to.
    pub key: Bytes,
}

/// The answer to [`Reseal`], for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resealed {
    /// The device that asked.
    pub to: DeviceId,
    /// A sealed box with pairs of message id and [`Again`].
    pub sealed: Bytes,
}

/// What the device that said a message has to give of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// The canonical bytes of its content.
    Content(Bytes),
    /// It was a receipt: nobody misses it.
    Nothing,
    /// It was deleted, its time is over, it is not kept any more, or it was never for who asks.
    Gone,
}

/// For how long what is said in a conversation from now on is to be seen. Of two, the one changed later counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// What each text carries as its timer, seconds; `None` for none.
    pub expires_after_s: Option<u64>,
    /// When somebody said so first, milliseconds since 1970: it is told again, unchanged, to who joins.
    pub changed_at: u64,
}

impl RichText {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        text(&self.text)?;
        if self.reply.is_none() && self.mentions.is_empty() && self.expires_after_s.is_none() {
            return Err(KindError::PlainText);
        }
        mentions(&self.mentions)?;
        timer(self.expires_after_s)
    }
}

impl Reaction {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        bounded("emoji", &self.emoji, limits::EMOJI_BYTES_MAX)?;
        let seen = |character: char| !character.is_control() && !character.is_whitespace();
        let one = self.emoji.graphemes(true).count() == 1 && self.emoji.chars().all(seen);
        if one { Ok(()) } else { Err(KindError::NoEmoji) }
    }
}

impl Edit {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        text(&self.text)
    }
}

impl Read {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        let (max, got) = (limits::RECEIPT_MESSAGES_MAX, self.messages.len());
        if got == 0 || got > max { Err(KindError::TooMany { what: "messages", max, got }) } else { Ok(()) }
    }
}

impl Reseal {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        let (max, got) = (limits::RECEIPT_MESSAGES_MAX, self.messages.len());
        if got == 0 || got > max {
            return Err(KindError::TooMany { what: "messages", max, got });
        }
        if self.key.len() == 32 { Ok(()) } else { Err(KindError::Key { got: self.key.len() }) }
    }
}

impl Profile {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        bounded("name", &self.name, limits::PROFILE_NAME_BYTES_MAX)?;
        if self.name.chars().any(char::is_control) { Err(KindError::Name) } else { Ok(()) }
    }
}

impl About {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        bounded("title", &self.title, limits::TITLE_BYTES_MAX)?;
        bounded("description", &self.description, limits::DESCRIPTION_BYTES_MAX)?;
        if self.title.chars().any(char::is_control) { Err(KindError::Name) } else { Ok(()) }
    }
}

impl Timer {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        timer(self.expires_after_s)
    }
}

pub(super) fn mentions(mentions: &[AccountId]) -> Result<(), KindError> {
    if mentions.len() > limits::MENTIONS_MAX {
        let (max, got) = (limits::MENTIONS_MAX, mentions.len());
        return Err(KindError::TooMany { what: "mentions", max, got });
    }
    if mentions.is_sorted_by(|one, next| one < next) { Ok(()) } else { Err(KindError::Mentions) }
}

pub(super) fn timer(expires_after_s: Option<u64>) -> Result<(), KindError> {
    match expires_after_s {
        Some(got) if got == 0 || got > limits::EXPIRES_AFTER_S_MAX => {
            Err(KindError::Timer { max: limits::EXPIRES_AFTER_S_MAX, got })
        }
        _ => Ok(()),
    }
}

fn text(text: &str) -> Result<(), KindError> {
    bounded("text", text, limits::TEXT_BYTES_MAX)
}

pub(super) fn bounded(what: &'static str, text: &str, max: usize) -> Result<(), KindError> {
    if text.len() > max { Err(KindError::TooLong { what, max, got: text.len() }) } else { Ok(()) }
}
