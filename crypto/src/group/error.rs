//! Why an engine or a check refuses: one list for all of `group`.

#[cfg(doc)]
use super::{Credential, FORWARD_DISTANCE_MAX, OUT_OF_ORDER_TOLERANCE};

/// What is measured by [`GroupError::TooLong`] or cannot be read by [`GroupError::Malformed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A key package.
    KeyPackage,
    /// A Welcome.
    Welcome,
    /// A GroupInfo.
    GroupInfo,
    /// A ratchet tree.
    Tree,
    /// A sealed message.
    Ciphertext,
    /// What is to be sealed.
    Plaintext,
    /// `conv_state`.
    ConvState,
    /// A group id.
    GroupId,
    /// A commit.
    Commit,
    /// A hub's public state of a group.
    State,
    /// What is said in passing.
    Whisper,
}

/// Why an engine or a check refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Longer than allowed; found before anything is read.
    #[error("{part:?}: expected at most {max} bytes, got {got}")]
    TooLong {
        /// What is too long.
        part: Part,
        /// The bound, in bytes.
        max: usize,
        /// Its length, in bytes.
        got: usize,
    },
    /// Not the encoding of such a thing.
    #[error("{0:?}: malformed")]
    Malformed(Part),
    /// More items than one call takes.
    #[error("expected at most {max} items, got {got}")]
    TooMany {
        /// The bound.
        max: usize,
        /// What was asked for.
        got: usize,
    },
    /// A group of ourselves alone.
    #[error("expected at least one key package")]
    NoAdds,
    /// Another cipher suite than the one of Roost.
    #[error("expected cipher suite 0x0003")]
    WrongSuite,
    /// A key package with a bad signature, out of its lifetime, or without the capabilities that groups require.
    #[error("the key package is not valid")]
    InvalidKeyPackage,
    /// A credential that is no canonical [`Credential`].
    #[error("the credential is not valid")]
    BadCredential,
    /// A credential that names another device than the leaf's key.
    #[error("the credential names another device than the key")]
    DeviceMismatch,
    /// One device twice in one group.
    #[error("a device occurs twice")]
    DuplicateMember,
    /// No rows for the group.
    #[error("unknown group")]
    UnknownGroup,
    /// There are rows for the group already.
    #[error("the group exists already")]
    GroupExists,
    /// A Welcome for none of our key packages, or for one that was used.
    #[error("no private key for the Welcome")]
    NoKeyPackage,
    /// A Welcome whose signature, keys or tree do not fit.
    #[error("the Welcome or its tree is not valid")]
    InvalidWelcome,
    /// A GroupInfo whose signature or tree does not fit, or without `external_pub`.
    #[error("the GroupInfo or its tree is not valid")]
    InvalidGroupInfo,
    /// A group without `conv_state`.
    #[error("the group has no conv_state")]
    NoConvState,
    /// A message of another group.
    #[error("the message belongs to another group")]
    WrongGroup,
    /// A message of another epoch.
    #[error("expected a message of epoch {expected}, got {got}")]
    WrongEpoch {
        /// Our epoch.
        expected: u64,
        /// The message's.
        got: u64,
    },
    /// Our own message: a sender keeps what it sent, it cannot open it.
    #[error("our own message")]
    OwnMessage,
    /// A message that was opened before: its key is gone.
    #[error("opened already")]
    AlreadyOpened,
    /// Further behind than [`OUT_OF_ORDER_TOLERANCE`].
    #[error("too far behind the sender's newest message")]
    TooOld,
    /// Further ahead than [`FORWARD_DISTANCE_MAX`].
    #[error("too far ahead of the sender's newest message")]
    TooFarAhead,
    /// Keys or signature do not fit.
    #[error("the message cannot be opened")]
    Undecryptable,
    /// A message of an epoch before ours of which no copy is kept: its keys are gone.
    #[error("no keys of epoch {epoch} are kept")]
    EpochGone {
        /// The message's epoch.
        epoch: u64,
    },
    /// A commit of ours waits for the hub's verdict: merge or drop it first.
    #[error("a commit of ours is pending")]
    PendingCommit,
    /// The commit stands and our state cannot follow it: our own pending commit was lost, or its keys do not open with
    /// ours. Only [`GroupEngine::rejoin`](super::GroupEngine::rejoin) leads on.
    #[error("our state cannot follow the commit: rejoin")]
    RejoinNeeded,
    /// We are no member any more.
    #[error("we were removed from the group")]
    Removed,
    /// The device is no member: it cannot be removed, and a whisper cannot be its.
    #[error("the device is no member")]
    NotMember,
    /// Nobody removes the own leaf by its own commit (RFC 9420 section 12.2).
    #[error("a commit cannot remove its author")]
    RemovesSelf,
    /// A commit whose signature, tree, keys or proposals do not fit the group, or without a path.
    #[error("the commit is not valid")]
    InvalidCommit,
    /// A commit with a proposal that Roost does not use, or one that changes more of the GroupContext than `conv_state`,
    /// or an external one that removes another device than its author's.
    #[error("the commit does what commits must not do")]
    ForbiddenChange,
    /// Something else where a commit was expected.
    #[error("not a commit")]
    NotCommit,
    /// A commit that adds and comes without a Welcome.
    #[error("expected a Welcome")]
    WelcomeMissing,
    /// A Welcome with a commit that adds nobody.
    #[error("expected no Welcome")]
    WelcomeSuperfluous,
    /// A handshake where an application message was expected.
    #[error("not an application message")]
    NotApplication,
    /// Rows that cannot be read: a damaged store.
    #[error("a row of the store cannot be read or written")]
    BadRow,
    /// The engine failed where it must not: a bug.
    #[error("the engine failed")]
    Engine,
}
