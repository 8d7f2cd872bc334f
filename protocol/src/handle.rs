//! Handles: `alice@acme.example`, a name that an organisation gives to an account.
//!
//! Implements `docs/protocol.md`, section "Handles".

use roost_crypto::identity_log::split_handle;
pub use roost_crypto::identity_log::{HandleError, check_org_name};
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

impl Handle {
    /// From its parts.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn new(local: &str, org: &str) -> Result<Self, HandleError> {
        format!("{local}@{org}").parse()
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

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Handle {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Handle".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^[a-z0-9._-]+@[a-z0-9._-]+$", "description": "name@organisation, lower case",
        })
    }
}

impl FromStr for Handle {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Self, HandleError> {
        let (local, org) = split_handle(text)?;
        Ok(Self { local: local.into(), org: org.into() })
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
