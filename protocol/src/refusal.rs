//! Refusals: what went wrong, whether trying again can help, and what to do.
//!
//! Implements `docs/protocol.md`, section "Refusals".

use serde::{Deserialize, Serialize};

/// The cause, stable for programs. New ones may come; an unknown one reads as [`Code::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No common protocol version.
    Version,
    /// Bytes that are no frame or request of this protocol.
    Malformed,
    /// Over a size limit.
    TooLarge,
    /// Needs a signed-in device.
    NotSignedIn,
    /// The answer to the challenge does not verify.
    BadSignIn,
    /// The account's log has ended this device.
    Revoked,
    /// The invite is unknown, used up or expired.
    BadInvite,
    /// The handle belongs to another account.
    HandleTaken,
    /// No such handle, account or organisation was found.
    NotFound,
    /// Two organisations claim one name; the operator has to pin one.
    NameConflict,
    /// The account has no home here.
    NotHome,
    /// An identity log that breaks a rule or branches from the known one.
    BadLog,
    /// The account's device has no key package left.
    NoKeyPackage,
    /// The conversation is not known here; introduce it.
    UnknownConversation,
    /// This node is not the conversation's hub.
    NotHub,
    /// The hub gives no verdict any more: its store was lost, or a successor follows it.
    Sealed,
    /// The account takes no part in the conversation.
    NotMember,
    /// More devices of an account, or of all, than a conversation has.
    GroupFull,
    /// The epoch is not the current one.
    WrongEpoch,
    /// Sequence number or chain does not continue the feed.
    OutOfOrder,
    /// A queue or an inbox is full, a rate is exceeded, or the disk has no room for new things.
    Busy,
    /// The account has no room left for files at its home.
    Quota,
    /// The peer cannot be reached now.
    Unreachable,
    /// The operation exists on the wire but not in this version.
    Unsupported,
    /// A bug or a lost disk at the one who answers.
    Internal,
    /// A cause that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// Every cause.
    pub const ALL: &[Self] = &[
        Self::Version,
        Self::Malformed,
        Self::TooLarge,
        Self::NotSignedIn,
        Self::BadSignIn,
        Self::Revoked,
        Self::BadInvite,
        Self::HandleTaken,
        Self::NotFound,
        Self::NameConflict,
        Self::NotHome,
        Self::BadLog,
        Self::NoKeyPackage,
        Self::UnknownConversation,
        Self::NotHub,
        Self::Sealed,
        Self::NotMember,
        Self::GroupFull,
        Self::WrongEpoch,
        Self::OutOfOrder,
        Self::Busy,
        Self::Quota,
        Self::Unreachable,
        Self::Unsupported,
        Self::Internal,
        Self::Unknown,
    ];

    /// Its spelling on every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::NotSignedIn => "not_signed_in",
            Self::BadSignIn => "bad_sign_in",
            Self::Revoked => "revoked",
            Self::BadInvite => "bad_invite",
            Self::HandleTaken => "handle_taken",
            Self::NotFound => "not_found",
            Self::NameConflict => "name_conflict",
            Self::NotHome => "not_home",
            Self::BadLog => "bad_log",
            Self::NoKeyPackage => "no_key_package",
            Self::UnknownConversation => "unknown_conversation",
            Self::NotHub => "not_hub",
            Self::Sealed => "sealed",
            Self::NotMember => "not_member",
            Self::GroupFull => "group_full",
            Self::WrongEpoch => "wrong_epoch",
            Self::OutOfOrder => "out_of_order",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::Unreachable => "unreachable",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }
}

/// A refusal, the same on every interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[error("{message}")]
pub struct Refusal {
    /// The cause.
    pub code: Code,
    /// Whether the same bytes may be accepted later; otherwise never.
    pub later: bool,
    /// What happened, for people.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Not before this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// The same bytes will never be accepted.
    pub fn never(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, later: false, message: message.into(), hint: hint.into(), retry_after_ms: None }
    }

    /// The same bytes may be accepted later.
    pub fn later(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, later: true, message: message.into(), hint: hint.into(), retry_after_ms: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_spelt_in_one_way() {
        for code in Code::ALL {
            let on_the_wire = serde_json::to_value(code).ok();
            assert_eq!(on_the_wire, Some(code.name().into()), "logs, metrics and frames say the same");
        }
    }
}
