//! Handles: `alice@acme.example`, a name that an organisation gives to an account.

use roost_crypto::ids::OrgId;
use roost_crypto::labels;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A checked handle: lower case, one `@`, one spelling.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handle {
    local: String,
    org: String,
}

/// Why text is no handle or no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Not exactly one `@`.
    #[error("expected name@organisation, got {0:?}")]
    Form(String),
    /// An empty or too long part.
    #[error("expected 1 to {max} characters before or after the @, got {got}")]
    Length {
        /// The bound.
        max: usize,
        /// What was found.
        got: usize,
    },
    /// A character outside a-z, 0-9, `.`, `-`, `_`, or one of `.-_` at an end.
    #[error("only a-z, 0-9, '.', '-' and '_', beginning and ending with a letter or digit; got {0:?}")]
    Characters(String),
}

impl Handle {
    /// From its parts.
    ///
    /// # Errors
    /// [`HandleError::Length`], [`HandleError::Characters`].
    pub fn new(local: &str, org: &str) -> Result<Self, HandleError> {
        check(local, 32)?;
        check(org, 64)?;
        Ok(Self { local: local.into(), org: org.into() })
    }

    /// The part before the `@`.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The organisation's name.
    pub fn org(&self) -> &str {
        &self.org
    }

    /// The DHT key hash of this handle at an organisation.
    pub fn key(&self, org: &OrgId) -> [u8; 32] {
        labels::hash(labels::HANDLE_KEY, &[org.as_bytes(), self.local.as_bytes()])
    }
}

/// Checks an organisation's name: up to 64 characters of the handle alphabet.
///
/// # Errors
/// [`HandleError::Length`], [`HandleError::Characters`].
pub fn check_org_name(name: &str) -> Result<(), HandleError> {
    check(name, 64)
}

fn check(part: &str, max: usize) -> Result<(), HandleError> {
    if part.is_empty() || part.len() > max {
        return Err(HandleError::Length { max, got: part.len() });
    }
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    if part.bytes().all(inner) && edge(part.bytes().next()) && edge(part.bytes().last()) {
        Ok(())
    } else {
        Err(HandleError::Characters(part.into()))
    }
}

impl FromStr for Handle {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Self, HandleError> {
        match text.split_once('@') {
            Some((local, org)) if !org.contains('@') => Self::new(local, org),
            _ => Err(HandleError::Form(text.into())),
        }
    }
}

impl TryFrom<String> for Handle {
    type Error = HandleError;

    fn try_from(text: String) -> Result<Self, HandleError> {
        text.parse()
    }
}

impl From<Handle> for String {
    fn from(handle: Handle) -> Self {
        handle.to_string()
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.local, self.org)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_has_one_spelling() {
        assert_eq!(
            "alice@acme.example".parse::<Handle>().map(|handle| handle.to_string()).as_deref(),
            Ok("alice@acme.example")
        );
        for bad in ["alice", "a@b@c", "@acme", "alice@", "Alice@acme", "alice @acme", "-a@acme", "a.@acme", "ä@acme"] {
            assert!(bad.parse::<Handle>().is_err(), "{bad:?} must be refused");
        }
    }
}
