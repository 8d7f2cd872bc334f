//! A file that is said: what it is and where its sealed bytes are. The bytes themselves are a blob, which nodes keep.
//!
//! Everything here is its author's word: a name is no path, a media type is no promise, and what a thumbnail shows need not be what
//! the file is. Implements `docs/protocol.md`, sections "Content" and "Files".

use super::KindError;
use super::picture::MediaType;
use crate::ids::MessageId;
use crate::limits;
use roost_crypto::blobs::{self, BlobId};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::AccountId;
use serde::{Deserialize, Serialize};

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// What it is called: one part of a path, for people.
    pub name: String,
    /// What kind of file it is, as in a header of HTTP: `image/jpeg`.
    pub media_type: String,
    /// Its length, bytes.
    pub size: u64,
    /// Where its sealed bytes are.
    pub blob: BlobId,
    /// What they are sealed under.
    pub key: Bytes,
    /// How it looks: a small picture.
    pub thumbnail: Option<Bytes>,
    /// Of a picture or a film.
    pub dimensions: Option<Dimensions>,
    /// Of something to be heard or watched, milliseconds.
    pub duration_ms: Option<u64>,
    /// What is said about it; empty for nothing.
    pub caption: String,
    /// The message that it answers.
    pub reply: Option<MessageId>,
    /// Accounts that the caption mentions, ascending.
    pub mentions: Vec<AccountId>,
    /// As of a text.
    pub expires_after_s: Option<u64>,
}

/// Width and height of a picture, points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimensions {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

/// What a node knows of a blob: it is named beside the message that is about it, in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlobRef {
    /// Its name.
    pub blob: BlobId,
    /// Its length, bytes.
    pub bytes: u64,
}

impl BlobRef {
    /// Whether a node may be asked to keep one of this length.
    pub fn is_possible(&self) -> bool {
        self.bytes > 0 && self.bytes <= limits::BLOB_BYTES_MAX
    }
}

impl File {
    /// Its sealed bytes.
    pub fn blob_ref(&self) -> BlobRef {
        BlobRef { blob: self.blob, bytes: blobs::sealed_bytes(self.size) }
    }

    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        check_name(&self.name)?;
        check_media_type(&self.media_type)?;
        if self.size > limits::FILE_BYTES_MAX {
            return Err(KindError::FileTooLong { max: limits::FILE_BYTES_MAX, got: self.size });
        }
        if self.key.len() != 32 {
            return Err(KindError::Key { got: self.key.len() });
        }
        if let Some(thumbnail) = &self.thumbnail {
            let (max, got) = (limits::THUMBNAIL_BYTES_MAX, thumbnail.len());
            if got > max {
                return Err(KindError::TooLong { what: "thumbnail", max, got });
            }
            if MediaType::of(thumbnail.as_slice()).is_none() {
                return Err(KindError::NoPicture);
            }
        }
        if self.dimensions.is_some_and(|of| of.width == 0 || of.height == 0) {
            return Err(KindError::Dimensions);
        }
        super::kinds::bounded("caption", &self.caption, limits::CAPTION_BYTES_MAX)?;
        super::kinds::mentions(&self.mentions)?;
        super::kinds::timer(self.expires_after_s)
    }
}

/// Whether a text can be the name of a file: one part of a path on every system, that nobody takes for another place.
///
/// # Errors
/// [`KindError::TooLong`], [`KindError::FileName`].
pub fn check_name(name: &str) -> Result<(), KindError> {
    super::kinds::bounded("file name", name, limits::FILE_NAME_BYTES_MAX)?;
    let bad = |character: char| character.is_control() || matches!(character, '/' | '\\');
    if name.is_empty() || name == "." || name == ".." || name.chars().any(bad) {
        return Err(KindError::FileName);
    }
    Ok(())
}

/// `type/subtype` of RFC 6838, section 4.2, without parameters, in lower case.
fn check_media_type(text: &str) -> Result<(), KindError> {
    let name = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$&-^_.+".contains(&byte))
    };
    let fits = text.len() <= limits::MEDIA_TYPE_BYTES_MAX
        && text.split_once('/').is_some_and(|(kind, subtype)| name(kind) && name(subtype));
    if fits { Ok(()) } else { Err(KindError::MediaType) }
}
