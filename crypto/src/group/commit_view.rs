//! Reads a commit against a group's public state: what it does, and the state after it.
//!
//! The one judgement of hub and members alike: MLS signature, proposals, tree and parent hashes, uniqueness of keys, and
//! what Roost adds to them. Never decrypts; cannot check membership tag, confirmation tag or the secrets of the path.
//! Implements `docs/protocol.md`, section "Conversations".

use super::{
    ADDS_MAX, COMMIT_MAX_BYTES, CONV_STATE_EXTENSION, CommitView, GroupError, Member, Part, check_distinct, public,
};
use openmls::prelude::{
    ContentType, Extension, ExtensionType, Extensions, GroupContext, LeafNodeIndex, MlsMessageBodyIn,
    ProcessedMessageContent, Proposal, ProposalValidationError, ProtocolMessage, PublicGroup,
    PublicProcessMessageError, Sender, StageCommitError, StagedCommit,
};
use openmls::storage::PublicStorageProvider;
use openmls::treesync::errors::LeafNodeValidationError;
use openmls_rust_crypto::RustCrypto;
use std::collections::{BTreeMap, BTreeSet};

/// A commit that fits, and what a caller needs to check its companions.
pub(super) struct Judged {
    /// What it does.
    pub view: CommitView,
    /// The leaf of its author.
    pub committer: LeafNodeIndex,
    /// References of the key packages that it adds, in order.
    pub added_references: Vec<Vec<u8>>,
}

/// Reads the MLSMessage of a commit; nothing may follow it.
pub(super) fn read_commit(bytes: &[u8]) -> Result<ProtocolMessage, GroupError> {
    let message = match public::message(Part::Commit, bytes, COMMIT_MAX_BYTES)? {
        MlsMessageBodyIn::PublicMessage(message) => ProtocolMessage::from(message),
        MlsMessageBodyIn::PrivateMessage(_) => return Err(GroupError::NotCommit),
        _ => return Err(GroupError::Malformed(Part::Commit)),
    };
    if message.content_type() == ContentType::Commit { Ok(message) } else { Err(GroupError::NotCommit) }
}

/// Checks a commit and merges it into `group`, which is left unusable by an error.
pub(super) fn advance<S: PublicStorageProvider>(
    group: &mut PublicGroup,
    store: &S,
    commit: &[u8],
) -> Result<Judged, GroupError> {
    let message = read_commit(commit)?;
    if message.group_id() != group.group_id() {
        return Err(GroupError::WrongGroup);
    }
    let (expected, got) = (group.group_context().epoch().as_u64(), message.epoch().as_u64());
    if expected != got {
        return Err(GroupError::WrongEpoch { expected, got });
    }
    let before = leaves(group)?;
    let processed = group.process_message(&RustCrypto::default(), message).map_err(refused_commit)?;
    let author = match processed.sender() {
        Sender::Member(index) => Some(*index),
        Sender::NewMemberCommit => None,
        _ => return Err(GroupError::InvalidCommit),
    };
    let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
        return Err(GroupError::NotCommit);
    };
    // Without a path the author's leaf is not renewed, and whom it removed could follow with what it still knows.
    if staged.update_path_leaf_node().is_none() {
        return Err(GroupError::InvalidCommit);
    }
    check_proposals(&staged, group.group_context().extensions())?;
    let committer = match author {
        Some(index) => index,
        None => group.ext_commit_sender_index(&staged).map_err(|_| GroupError::InvalidCommit)?,
    };
    let (added, added_references) = added(&staged)?;
    let gone: BTreeSet<u32> =
        staged.remove_proposals().map(|proposal| proposal.remove_proposal().removed().u32()).collect();
    group.merge_commit(store, *staged).map_err(|_| GroupError::Engine)?;

    let after = leaves(group)?;
    let members: Vec<Member> = after.values().cloned().collect();
    check_distinct(&members)?;
    let author_leaf = after.get(&committer.u32()).ok_or(GroupError::InvalidCommit)?.clone();
    let removed: Vec<Member> = gone.iter().filter_map(|index| before.get(index).cloned()).collect();
    if author.is_none() && removed.iter().any(|leaf| leaf.credential.device != author_leaf.credential.device) {
        return Err(GroupError::ForbiddenChange);
    }
    let view = CommitView {
        epoch: group.group_context().epoch().as_u64(),
        committer: author_leaf,
        external: author.is_none(),
        added,
        removed,
        updated: updated(&before, &after, &gone)?,
        conv_state: public::conv_state(group.group_context().extensions())?,
        members,
    };
    Ok(Judged { view, committer, added_references })
}

/// Roost commits add, remove, change `conv_state` and join externally; all else would split those who know a secret, or
/// an extension, from those who do not.
fn check_proposals(staged: &StagedCommit, before: &Extensions<GroupContext>) -> Result<(), GroupError> {
    let known = staged.queued_proposals().all(|queued| {
        matches!(
            queued.proposal(),
            Proposal::Add(_) | Proposal::Remove(_) | Proposal::GroupContextExtensions(_) | Proposal::ExternalInit(_)
        )
    });
    let after = staged.group_context().extensions();
    let conv_state = ExtensionType::Unknown(CONV_STATE_EXTENSION);
    let others = |extensions: &Extensions<GroupContext>| -> Vec<Extension> {
        extensions.iter().filter(|extension| extension.extension_type() != conv_state).cloned().collect()
    };
    if known && others(before) == others(after) { Ok(()) } else { Err(GroupError::ForbiddenChange) }
}

fn added(staged: &StagedCommit) -> Result<(Vec<Member>, Vec<Vec<u8>>), GroupError> {
    let crypto = RustCrypto::default();
    let (mut members, mut references) = (Vec::new(), Vec::new());
    for proposal in staged.add_proposals() {
        let key_package = proposal.add_proposal().key_package();
        let leaf = key_package.leaf_node();
        members.push(public::member(leaf.credential(), leaf.signature_key().as_slice())?);
        let reference = key_package.hash_ref(&crypto).map_err(|_| GroupError::Engine)?;
        references.push(reference.as_slice().to_vec());
    }
    if members.len() > ADDS_MAX {
        return Err(GroupError::TooMany { max: ADDS_MAX, got: members.len() });
    }
    Ok((members, references))
}

/// Leaves that are neither new nor gone and changed: a leaf stays with its device.
fn updated(
    before: &BTreeMap<u32, Member>,
    after: &BTreeMap<u32, Member>,
    gone: &BTreeSet<u32>,
) -> Result<Vec<Member>, GroupError> {
    let mut updated = Vec::new();
    for (index, leaf) in after {
        let Some(old) = before.get(index).filter(|old| !gone.contains(index) && *old != leaf) else { continue };
        if old.credential.device != leaf.credential.device || old.credential.account != leaf.credential.account {
            return Err(GroupError::DeviceMismatch);
        }
        updated.push(leaf.clone());
    }
    Ok(updated)
}

fn leaves(group: &PublicGroup) -> Result<BTreeMap<u32, Member>, GroupError> {
    group.members().map(|leaf| Ok((leaf.index.u32(), public::member(&leaf.credential, &leaf.signature_key)?))).collect()
}

fn refused_commit(error: PublicProcessMessageError) -> GroupError {
    match error {
        // OpenMLS compares a key package's lifetime with the clock; this one cause depends on when one asks.
        PublicProcessMessageError::InvalidCommit(StageCommitError::ProposalValidationError(
            ProposalValidationError::LeafNodeValidation(LeafNodeValidationError::Lifetime(_)),
        )) => GroupError::InvalidKeyPackage,
        _ => GroupError::InvalidCommit,
    }
}
