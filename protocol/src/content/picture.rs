//! A picture as small as a message: of an account or of a conversation of many, inline. Larger ones would be blobs.
//!
//! Nothing here decodes an image: what a picture is, its first bytes say, and only those kinds are let through that every screen
//! shows. Implements `docs/protocol.md`, section "Content".

use super::KindError;
use crate::limits;
use roost_crypto::bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What the author wants to be shown as. As with a name: its word, never proof of who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfilePicture {
    /// A picture; `None` for none any more.
    pub picture: Option<Bytes>,
}

/// What an admin wants a conversation of many to be shown as. Of two, the one changed later counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutPicture {
    /// A picture; `None` for none any more.
    pub picture: Option<Bytes>,
    /// When an admin said so first, milliseconds since 1970: it is told again, unchanged, to who joins.
    pub changed_at: u64,
}

/// What the first bytes of a picture say that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
}

impl MediaType {
    /// Of a file's first bytes; `None` for anything else.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::Webp),
            _ => None,
        }
    }

    /// Its name, as in a header of HTTP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }
}

impl ProfilePicture {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        check(self.picture.as_ref())
    }
}

impl AboutPicture {
    /// # Errors
    /// [`KindError`].
    pub fn check(&self) -> Result<(), KindError> {
        check(self.picture.as_ref())
    }
}

fn check(picture: Option<&Bytes>) -> Result<(), KindError> {
    let Some(picture) = picture else { return Ok(()) };
    let (max, got) = (limits::PICTURE_BYTES_MAX, picture.len());
    if got > max {
        return Err(KindError::TooLong { what: "picture", max, got });
    }
    if MediaType::of(picture.as_slice()).is_none() { Err(KindError::NoPicture) } else { Ok(()) }
}
