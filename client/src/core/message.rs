//! What people see of messages: how far a sent one came, and what was received.

use super::files::FileView;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::refusal::Refusal;
use serde::{Deserialize, Serialize};

/// How far a sent message came. Ordered, but for `Refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// On disk here.
    Queued,
    /// On disk at our home.
    Accepted,
    /// On disk at the recipient's home.
    Custody,
    /// On disk at the recipient's device.
    Delivered,
    /// It will never be sent; the report says why.
    Refused,
}

impl State {
    /// Whether a message in this state has come as far as `wanted`.
    pub fn reached(self, wanted: Self) -> bool {
        self != Self::Refused && self >= wanted
    }
}

/// How far a sent message came; times in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageReport {
    /// Its id.
    pub id: MessageId,
    /// Its conversation, once the recipient's account is known.
    pub conversation: Option<ConversationId>,
    /// The recipient's handle.
    pub to: String,
    /// How far it came.
    pub state: State,
    /// When it was written.
    pub submitted_at: u64,
    /// When our home had it.
    pub accepted_at: Option<u64>,
    /// When the recipient's home had it.
    pub custody_at: Option<u64>,
    /// When we heard that the recipient's device has it.
    pub delivered_at: Option<u64>,
    /// Why it is refused, or why it waits.
    pub error: Option<Refusal>,
}

/// A received message; times in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedMessage {
    /// Its id.
    pub id: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The author's verified handle, else the account id.
    pub from: String,
    /// What the author wants to be called; proves nothing.
    pub name: Option<String>,
    /// The device that sealed it.
    pub device: DeviceId,
    /// Its kind: `text`, `rich_text`, `file`, `timer`, or one that this version does not know.
    pub kind: String,
    /// The text; empty for an unknown kind.
    pub text: String,
    /// The message that it answers.
    pub reply: Option<MessageId>,
    /// Accounts that it mentions.
    pub mentions: Vec<AccountId>,
    /// Seconds after which it disappears here.
    pub expires_after_s: Option<u64>,
    /// Of a `timer`: seconds after which what is said from now on goes, 0 for never.
    pub timer_s: Option<u64>,
    /// The file that it is about.
    pub file: Option<FileView>,
    /// When its author says it was written.
    pub sent_at: u64,
    /// When it was stored here.
    pub received_at: u64,
}

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The handle.
    pub handle: String,
    /// The account.
    pub account: String,
    /// The device.
    pub device: String,
    /// Whether the home knows us on this connection and holds key packages of ours.
    pub connected: bool,
    /// PeerIds of the homes.
    pub homes: Vec<String>,
    /// Texts without custody.
    pub outbox: usize,
    /// Conversations with a standing group.
    pub conversations: usize,
}
