//! What is inside the encryption: typed, unknown kinds kept, feed heads seen.
//!
//! Implements `docs/protocol.md`, section "Content".

mod file;
mod kinds;
mod picture;
#[cfg(test)]
mod tests;
mod whisper;

pub use file::{BlobRef, Dimensions, File, check_name};
pub use kinds::{About, Again, Delete, Edit, KindError, Profile, Reaction, Read, Reseal, Resealed, RichText, Timer};
pub use picture::{AboutPicture, MediaType, ProfilePicture};
pub use whisper::{Presence, PresenceState, Typing, Watch, Whisper, WhisperBody};

use crate::feed::FeedHead;
use crate::ids::MessageId;
use crate::limits;
use roost_crypto::bytes::Bytes;
use roost_crypto::codec::{self, CodecError};
use roost_crypto::identity_log::LogHead;
use roost_crypto::signed::Signed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why opened bytes are no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Not canonical, or another type.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A value over the bounds of its kind.
    #[error(transparent)]
    Kind(#[from] KindError),
}

/// The sealed content of one message. Its canonical bytes give the message's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// 16 random bytes: equal texts have different ids.
    pub salt: Bytes,
    /// What it is.
    pub body: Body,
    /// Heads of the conversation's feeds that the author had seen: causal order, and a withheld entry shows.
    pub seen: Vec<FeedHead>,
    /// Head of the author's identity log: contacts cross-check their nodes for free.
    pub log: LogHead,
}

/// The kinds. A kind that this version does not know is kept as it is and shown as such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Text, at most [`limits::TEXT_BYTES_MAX`] bytes of UTF-8.
    Text(String),
    /// These messages arrived on the author's device and are stored there.
    Delivered(Vec<MessageId>),
    /// A text with more than its words.
    RichText(RichText),
    /// A file.
    File(Box<File>),
    /// A reaction to a message.
    Reaction(Reaction),
    /// Another text for a message.
    Edit(Edit),
    /// A message goes.
    Delete(Delete),
    /// Messages were read.
    Read(Read),
    /// What the author wants to be called.
    Profile(Profile),
    /// What the author wants to be shown as.
    ProfilePicture(ProfilePicture),
    /// What a conversation of many is called and is for.
    About(About),
    /// What a conversation of many is shown as.
    AboutPicture(AboutPicture),
    /// For how long what is said from now on is to be seen.
    Timer(Timer),
    /// Its account wishes to leave: a [`crate::conversation::Leave`], signed by the device.
    Leave(Signed),
    /// The author could not open messages of a device and asks that device for them.
    Reseal(Reseal),
    /// What a device was asked for, sealed for the device that asked.
    Resealed(Resealed),
    /// Anything newer.
    Unknown {
        /// Its name.
        kind: String,
        /// CBOR of its value.
        value: Bytes,
    },
}

/// On the wire a body is its kind and the CBOR of its value, so that unknown ones survive.
#[derive(Serialize, Deserialize)]
struct WireBody {
    kind: String,
    value: Bytes,
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, value) = match self {
            Self::Text(text) => ("text", Bytes(codec::encode(text))),
            Self::Delivered(ids) => ("delivered", Bytes(codec::encode(ids))),
            Self::RichText(value) => ("rich_text", Bytes(codec::encode(value))),
            Self::File(value) => ("file", Bytes(codec::encode(value))),
            Self::Reaction(value) => ("reaction", Bytes(codec::encode(value))),
            Self::Edit(value) => ("edit", Bytes(codec::encode(value))),
            Self::Delete(value) => ("delete", Bytes(codec::encode(value))),
            Self::Read(value) => ("read", Bytes(codec::encode(value))),
            Self::Profile(value) => ("profile", Bytes(codec::encode(value))),
            Self::ProfilePicture(value) => ("profile_picture", Bytes(codec::encode(value))),
            Self::About(value) => ("about", Bytes(codec::encode(value))),
            Self::AboutPicture(value) => ("about_picture", Bytes(codec::encode(value))),
            Self::Timer(value) => ("timer", Bytes(codec::encode(value))),
            Self::Leave(value) => ("leave", Bytes(codec::encode(value))),
            Self::Reseal(value) => ("reseal", Bytes(codec::encode(value))),
            Self::Resealed(value) => ("resealed", Bytes(codec::encode(value))),
            Self::Unknown { kind, value } => (kind.as_str(), value.clone()),
        };
        WireBody { kind: kind.into(), value }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireBody { kind, value } = WireBody::deserialize(deserializer)?;
        let body = match kind.as_str() {
            "text" => read(&value).map(Self::Text),
            "delivered" => read(&value).map(Self::Delivered),
            "rich_text" => read(&value).map(Self::RichText),
            "file" => read(&value).map(|file| Self::File(Box::new(file))),
            "reaction" => read(&value).map(Self::Reaction),
            "edit" => read(&value).map(Self::Edit),
            "delete" => read(&value).map(Self::Delete),
            "read" => read(&value).map(Self::Read),
            "profile" => read(&value).map(Self::Profile),
            "profile_picture" => read(&value).map(Self::ProfilePicture),
            "about" => read(&value).map(Self::About),
            "about_picture" => read(&value).map(Self::AboutPicture),
            "timer" => read(&value).map(Self::Timer),
            "leave" => read(&value).map(Self::Leave),
            "reseal" => read(&value).map(Self::Reseal),
            "resealed" => read(&value).map(Self::Resealed),
            _ => return Ok(Self::Unknown { kind, value }),
        };
        body.map_err(serde::de::Error::custom)
    }
}

fn read<T: Serialize + DeserializeOwned>(value: &Bytes) -> Result<T, CodecError> {
    codec::decode_canonical(value.as_slice(), limits::PAYLOAD_BYTES_MAX)
}

impl Body {
    /// The name of the kind.
    pub fn kind(&self) -> &str {
        match self {
            Self::Text(_) => "text",
            Self::Delivered(_) => "delivered",
            Self::RichText(_) => "rich_text",
            Self::File(_) => "file",
            Self::Reaction(_) => "reaction",
            Self::Edit(_) => "edit",
            Self::Delete(_) => "delete",
            Self::Read(_) => "read",
            Self::Profile(_) => "profile",
            Self::ProfilePicture(_) => "profile_picture",
            Self::About(_) => "about",
            Self::AboutPicture(_) => "about_picture",
            Self::Timer(_) => "timer",
            Self::Leave(_) => "leave",
            Self::Reseal(_) => "reseal",
            Self::Resealed(_) => "resealed",
            Self::Unknown { kind, .. } => kind,
        }
    }

    /// Whether it is only a sign between devices, that something arrived, was read or is missing: no person waits for it, and
    /// none is told if it is lost.
    pub fn is_receipt(&self) -> bool {
        let receipt = matches!(self, Self::Delivered(_) | Self::Read(_) | Self::Profile(_) | Self::ProfilePicture(_));
        receipt || matches!(self, Self::Reseal(_) | Self::Resealed(_))
    }

    /// Whether people who are away are to be woken for it: for what somebody says, and for nothing that is done to what was said.
    pub fn wakes(&self) -> bool {
        matches!(self, Self::Text(_) | Self::RichText(_) | Self::Unknown { .. })
    }

    /// The blobs that it is about.
    pub fn blobs(&self) -> Vec<BlobRef> {
        match self {
            Self::File(file) => vec![file.blob_ref()],
            _ => Vec::new(),
        }
    }

    /// Whether it keeps the bounds of its kind.
    ///
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        match self {
            Self::Text(text) if text.len() > limits::TEXT_BYTES_MAX => {
                Err(KindError::TooLong { what: "text", max: limits::TEXT_BYTES_MAX, got: text.len() })
            }
            Self::RichText(value) => value.check(),
            Self::File(value) => value.check(),
            Self::Reaction(value) => value.check(),
            Self::Edit(value) => value.check(),
            Self::Read(value) => value.check(),
            Self::Profile(value) => value.check(),
            Self::ProfilePicture(value) => value.check(),
            Self::About(value) => value.check(),
            Self::AboutPicture(value) => value.check(),
            Self::Timer(value) => value.check(),
            Self::Reseal(value) => value.check(),
            Self::Text(_) | Self::Delivered(_) | Self::Delete(_) | Self::Leave(_) | Self::Unknown { .. } => Ok(()),
            Self::Resealed(_) => Ok(()),
        }
    }
}

impl Content {
    /// The canonical bytes: what MLS seals and what the message id is computed of.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads opened bytes.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let content: Self = codec::decode_canonical(bytes, limits::PAYLOAD_BYTES_MAX)?;
        content.body.check()?;
        Ok(content)
    }
}
