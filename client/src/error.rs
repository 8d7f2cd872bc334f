//! What can go wrong for the person at a device: a stable code, words, and what to do.
//!
//! Never carries a key, a text of a message or a recovery code.

use crate::core::DeviceError;
use roost_crypto::files::FileError;
use roost_protocol::content::KindError;
use roost_protocol::handle::HandleError;
use roost_protocol::refusal::{Code, Refusal};

/// Every failure of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process holds the directory.
    #[error("the directory is in use by another process")]
    Busy,
    /// The directory has an account already.
    #[error("the directory is not empty: {0}")]
    Exists(String),
    /// There is no account in the directory.
    #[error("no account in this directory: {0}")]
    NoAccount(String),
    /// The key file or passphrase is another one than the store was sealed with.
    #[error("the store does not open with this key")]
    WrongKey,
    /// A newer version wrote the store.
    #[error("expected store version {expected}, got {got}")]
    StoreVersion {
        /// What this version reads.
        expected: u8,
        /// What was found.
        got: u8,
    },
    /// Reading or writing failed.
    #[error("store: {0}")]
    Store(String),
    /// The address of the server can't be used.
    #[error("bad server address: {0}")]
    ServerUrl(String),
    /// No connection to the home.
    #[error("the home cannot be reached: {0}")]
    Unreachable(String),
    /// The home said something that does not verify.
    #[error("the home's answer is refused: {0}")]
    BadAnswer(String),
    /// The home refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// A handle that is none.
    #[error(transparent)]
    Handle(#[from] HandleError),
    /// A text over the limit.
    #[error("expected at most {max} bytes of text, got {got}")]
    TextTooLong {
        /// The bound.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// A conversation of too few or too many people.
    #[error("expected 2 to {max} people, got {got}")]
    GroupSize {
        /// The bound.
        max: usize,
        /// What was given, ourselves included.
        got: usize,
    },
    /// No conversation of many by this id, or we take no part in it any more.
    #[error("the conversation is not known, or you take no part in it")]
    UnknownConversation,
    /// Only an admin may do that.
    #[error("you are no admin of the conversation")]
    NotAdmin,
    /// A message to ourselves.
    #[error("this is your own handle")]
    ToSelf,
    /// A file of this machine cannot be read or written.
    #[error("file: {0}")]
    File(String),
    /// A file over the limit.
    #[error("expected a file of at most {max} bytes, got {got}")]
    FileTooLong {
        /// The bound.
        max: u64,
        /// What was given.
        got: u64,
    },
    /// There is something at a path already.
    #[error("there is a file already: {0}")]
    FileExists(String),
    /// What the home gives is not what the author of a file has sealed.
    #[error("the file is not what was sent: {0}")]
    BadFile(FileError),
    /// A content over the bounds of its kind.
    #[error(transparent)]
    Content(#[from] KindError),
    /// Nobody is known by this handle or id.
    #[error("nobody is known here by this name")]
    UnknownPerson,
    /// No message with this id is in the conversation.
    #[error("no such message is in this conversation")]
    NoSuchMessage,
    /// The message was deleted or has expired.
    #[error("the message is gone")]
    MessageGone,
    /// Only its author changes a message.
    #[error("the message is another author's")]
    NotYours,
    /// A change that no device would apply.
    #[error("not possible: {0}")]
    NotPossible(String),
    /// The account is blocked here.
    #[error("{0} is blocked here")]
    Blocked(String),
    /// Another account was found behind the handle.
    #[error("the account behind {0} is another one than before")]
    KeyChanged(String),
    /// The digits are not those of the safety number.
    #[error("the digits differ from the safety number")]
    DigitsDiffer,
    /// No active device of the account by this id.
    #[error("the account has no such device")]
    UnknownDevice,
    /// No message with this id was sent from here.
    #[error("no such message was sent from this directory")]
    UnknownMessage,
    /// The wanted state was not reached in time; the message stays queued.
    #[error("not reached in time")]
    TimedOut,
    /// The session has ended.
    #[error("the session is closed")]
    Closed,
    /// A bug or a damaged store.
    #[error("internal: {0}")]
    Device(#[from] DeviceError),
}

impl Error {
    /// The cause, stable for programs.
    pub fn code(&self) -> String {
        match self {
            Self::Busy => "busy".into(),
            Self::Exists(_) => "exists".into(),
            Self::NoAccount(_) => "no_account".into(),
            Self::WrongKey => "wrong_key".into(),
            Self::StoreVersion { .. } => "store_version".into(),
            Self::Store(_) => "store".into(),
            Self::ServerUrl(_) => "bad_server_url".into(),
            Self::Unreachable(_) => "unreachable".into(),
            Self::BadAnswer(_) => "bad_answer".into(),
            Self::Refused(refusal) => code_name(refusal.code),
            Self::Handle(_) => "bad_handle".into(),
            Self::TextTooLong { .. } => "too_large".into(),
            Self::GroupSize { .. } => "group_size".into(),
            Self::UnknownConversation => "unknown_conversation".into(),
            Self::NotAdmin => "not_admin".into(),
            Self::ToSelf => "to_self".into(),
            Self::File(_) => "io".into(),
            Self::FileTooLong { .. } => "too_large".into(),
            Self::FileExists(_) => "exists".into(),
            Self::BadFile(_) => "bad_file".into(),
            Self::Content(KindError::TooLong { .. }) => "too_large".into(),
            Self::Content(_) => "bad_content".into(),
            Self::UnknownPerson => "unknown_person".into(),
            Self::NoSuchMessage => "unknown_message".into(),
            Self::MessageGone => "message_gone".into(),
            Self::NotYours => "not_yours".into(),
            Self::NotPossible(_) => "not_possible".into(),
            Self::Blocked(_) => "blocked".into(),
            Self::KeyChanged(_) => "key_changed".into(),
            Self::DigitsDiffer => "digits_differ".into(),
            Self::UnknownDevice => "unknown_device".into(),
            Self::UnknownMessage => "unknown_message".into(),
            Self::TimedOut => "timed_out".into(),
            Self::Closed => "closed".into(),
            Self::Device(_) => "internal".into(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Busy => "end the other process that uses this directory".into(),
            Self::Exists(_) => "choose a directory that does not exist".into(),
            Self::NoAccount(_) => "create one with `roost account create`".into(),
            Self::WrongKey => "use the passphrase file or the store.key that the account was created with".into(),
            Self::StoreVersion { .. } => {
                "use the version of this program that made the directory; its account comes back with the recovery code"
                    .into()
            }
            Self::Store(_) => "check space and permissions of the directory".into(),
            Self::ServerUrl(_) => "give http://HOST:PORT".into(),
            Self::Unreachable(_) => "check the address and that the node is running".into(),
            Self::BadAnswer(_) => "do not trust this node; ask its operator".into(),
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::Handle(_) => "a handle looks like alice@acme".into(),
            Self::TextTooLong { .. } => "send it in parts".into(),
            Self::GroupSize { .. } => "name at least one person and fewer than a hundred".into(),
            Self::NotAdmin => "ask an admin; `roost chat group info` lists them".into(),
            Self::UnknownConversation => "list the conversations with `roost chat group info`".into(),
            Self::ToSelf => "name somebody else".into(),
            Self::File(_) => "check the path, its permissions and the free space".into(),
            Self::FileTooLong { .. } => "send it another way, or in parts".into(),
            Self::FileExists(_) => "choose another name".into(),
            Self::BadFile(_) => {
                "nothing of it was kept: somebody changed it, or a disk is damaged; try again, or ask for it anew"
                    .into()
            }
            Self::Content(_) => "see docs/protocol.md, section Content, for the bounds".into(),
            Self::UnknownPerson => "look at `chat requests`, or write to them first".into(),
            Self::NoSuchMessage => "look at `chat history` for the ids".into(),
            Self::MessageGone => "it was deleted or its time is over".into(),
            Self::NotYours => "only its author edits or deletes a message".into(),
            Self::NotPossible(_) => "look at `chat history` for what the message is".into(),
            Self::Blocked(_) => "`chat unblock` them first".into(),
            Self::KeyChanged(_) => "compare safety numbers, then `chat verify` or `chat accept-key`".into(),
            Self::DigitsDiffer => {
                "somebody may stand between you: ask the person by another way, and do not accept the key".into()
            }
            Self::UnknownDevice => "look at `roost chat devices`".into(),
            Self::UnknownMessage => "check the id".into(),
            Self::TimedOut => "the message stays queued and is sent when this directory is next in use".into(),
            Self::Closed => "open the directory again".into(),
            Self::Device(_) => "report this with the log".into(),
        }
    }
}

/// The name of a refusal's code, as on the wire.
fn code_name(code: Code) -> String {
    format!("{code:?}").chars().fold(String::new(), |mut name, character| {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
        name
    })
}
