//! What a commit changes, and what it turns out to change.
//!
//! Never reads a commit: `commit_view` does. Implements `docs/protocol.md`, section "Conversations".

use super::Member;
#[cfg(feature = "device")]
use super::{ADDS_MAX, CONV_STATE_MAX_BYTES, GroupError, Part, bounded, check_distinct};
use crate::bytes::Bytes;
use crate::ids::DeviceId;

/// What one commit changes. Every commit also renews the leaf of its author, so an empty change is a self-update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Key packages (MLSMessages) of whom it adds, at most [`ADDS_MAX`](super::ADDS_MAX).
    pub add: Vec<Bytes>,
    /// Devices whose leaves it removes; never our own.
    pub remove: Vec<DeviceId>,
    /// New content of GroupContext extension [`CONV_STATE_EXTENSION`](super::CONV_STATE_EXTENSION).
    pub conv_state: Option<Bytes>,
}

/// A commit of ours, all that goes to its hub in one submission. It is pending until it is merged, or dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The epoch that it makes.
    pub epoch: u64,
    /// MLSMessage with the PublicMessage of the commit.
    pub commit: Bytes,
    /// MLSMessage with the Welcome, without tree; iff the commit adds.
    pub welcome: Option<Bytes>,
    /// MLSMessage with the signed GroupInfo of `epoch`, without tree, with `external_pub`.
    pub group_info: Bytes,
}

/// What a commit does, read from the public state before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitView {
    /// The epoch that it makes.
    pub epoch: u64,
    /// The leaf of its author after the commit; for an external commit the new leaf.
    pub committer: Member,
    /// Whether its author entered by it (external commit, RFC 9420 section 12.4.3.2).
    pub external: bool,
    /// Whom it adds, in the order of its proposals.
    pub added: Vec<Member>,
    /// Whom it removes, in leaf order. The old leaf that an external commit of a member takes away is here.
    pub removed: Vec<Member>,
    /// Leaves that changed otherwise, as they are afterwards, in leaf order: the same devices under newer credentials.
    pub updated: Vec<Member>,
    /// `conv_state` after the commit.
    pub conv_state: Bytes,
    /// Members after the commit, in leaf order.
    pub members: Vec<Member>,
}

/// What [`GroupEngine::merge`](super::GroupEngine::merge) led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// The group's epoch now.
    pub epoch: u64,
    /// We are no member any more: only messages of kept epochs can still be opened.
    pub removed_us: bool,
}

/// Checks a change of `me` against the members before it; `added` is who the key packages stand for.
#[cfg(feature = "device")]
pub(super) fn check_change(
    change: &Change,
    me: DeviceId,
    before: &[Member],
    added: &[Member],
) -> Result<(), GroupError> {
    if let Some(conv_state) = &change.conv_state {
        bounded(Part::ConvState, conv_state.as_slice(), CONV_STATE_MAX_BYTES)?;
    }
    for device in &change.remove {
        if *device == me {
            return Err(GroupError::RemovesSelf);
        }
        if !before.iter().any(|member| member.credential.device == *device) {
            return Err(GroupError::NotMember);
        }
    }
    // Also a device that this commit removes: one commit does not give it a second leaf.
    if added.iter().any(|member| before.iter().any(|old| old.credential.device == member.credential.device)) {
        return Err(GroupError::DuplicateMember);
    }
    let stay = before.iter().filter(|member| !change.remove.contains(&member.credential.device));
    check_distinct(&stay.chain(added).cloned().collect::<Vec<_>>())
}

/// Checks how many a change adds, before any key package is read.
#[cfg(feature = "device")]
pub(super) fn check_adds(change: &Change) -> Result<(), GroupError> {
    match change.add.len() {
        got if got > ADDS_MAX => Err(GroupError::TooMany { max: ADDS_MAX, got }),
        _ => Ok(()),
    }
}
