//! What goes into the model, what comes out, and what its parts are called.

use crate::interactive::keys::Key;
use crate::interactive::snapshot::{MyDevice, Snapshot, Wanted};
use roost_client::core::linking::LinkReport;
use roost_client::core::people::Whom;
use roost_client::core::{GroupChange, Recipient};
use roost_crypto::ids::DeviceId;
use roost_crypto::safety_number::SafetyNumber;
use roost_protocol::AccountId;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};

/// What happens.
#[derive(Debug)]
pub enum Input {
    Key(Key),
    /// Columns and rows of the terminal.
    Size(u16, u16),
    /// The session holds something else than before.
    Altered,
    /// A message came that was not shown yet.
    Received(ConversationId),
    Snapshot(Box<Snapshot>),
    /// The text that was not finished in a conversation.
    Draft(ConversationId, String),
    /// An account was found.
    Found(Handle, AccountId, ConversationId),
    /// A conversation of many was wanted and will have this id.
    Begun(ConversationId),
    SafetyNumber {
        with: Handle,
        number: SafetyNumber,
        /// What the other's device can read instead.
        code: String,
    },
    /// The devices of the account.
    Devices(Vec<MyDevice>),
    /// The device that is to be ended, if the person says so once more.
    RevokeAsked(MyDevice),
    /// The code for another device.
    Linking(String),
    /// A device asks with it; `None` if none did in time.
    LinkAsked(Option<LinkReport>),
    /// A message was not written; its text comes back.
    NotWritten {
        conversation: ConversationId,
        text: String,
        why: String,
    },
    /// Something was done, or not.
    Notice(Notice),
    /// Drafts are to be kept now.
    Pause,
}

/// What is to be done with the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Refresh(Option<Wanted>),
    MarkRead(ConversationId, Recipient),
    Send {
        conversation: ConversationId,
        to: Recipient,
        text: String,
        reply: Option<MessageId>,
    },
    Edit {
        to: Recipient,
        message: MessageId,
        text: String,
    },
    Delete {
        to: Recipient,
        message: MessageId,
    },
    React {
        to: Recipient,
        message: MessageId,
        emoji: String,
        remove: bool,
    },
    LoadDraft(ConversationId),
    SaveDraft(ConversationId, String),
    LookUp(Handle),
    Group(Vec<Handle>),
    Change(ConversationId, GroupChange),
    Leave(ConversationId),
    Accept(Whom),
    Block(Whom, bool),
    SafetyNumber(Handle),
    Verify(Handle, String),
    AcceptKey(Handle),
    KeyChangeShown(Handle),
    /// In passing.
    Active,
    Typing(Recipient, bool),
    Watch(Recipient),
    Unwatch(Recipient),
    Title(ConversationId, String),
    Timer(Recipient, Option<u64>),
    Devices,
    NameDevice(String),
    /// Asks first; by number of the list, or by id.
    AskToRevoke(String),
    Revoke(DeviceId),
    Link,
    AwaitLink,
    AcceptLink,
    EndLink,
}

/// One line for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub text: String,
    /// Something did not work.
    pub failed: bool,
}

impl Notice {
    pub fn done(text: impl Into<String>) -> Self {
        Self { text: text.into(), failed: false }
    }

    pub fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), failed: true }
    }
}

/// What keys go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    List,
    Talk,
}

/// A place of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Requests,
    Conversation(ConversationId),
}

/// What lies over everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overlay {
    /// Keys and commands, from this row on.
    Help(usize),
    /// To be compared.
    SafetyNumber { with: Handle, number: SafetyNumber, code: String },
    /// To be read, from this row on.
    Page { title: String, lines: Vec<String>, from: usize },
    /// Asks once more.
    Revoke(MyDevice),
    /// The code for another device.
    Link(String),
    /// A device asks with it: its digits are to be compared.
    LinkAsked(LinkReport),
}
