//! Reads a commit against a group's public state: what it does, and the state after it.
//!
//! The one judgement of hub and members alike: MLS signature, proposals, tree and parent hashes, uniqueness of keys, and
//! what Roost adds to them. Never decrypts; cannot check membership tag, confirmation tag or the secrets of the path.
//! Implements `docs/protocol.md`, section "Conversations".

use super::{
    ADDS_MAX, COMMIT_MAX_BYTES, CONV_STATE_EXTENSION, CommitView, GroupError, Member, Part, check_distinct, public,
};
#[cfg(feature = "device")]
use crate::ids::DeviceId;
use openmls::prelude::{
    ContentType, Credential, Extension, ExtensionType, Extensions, GroupContext, LeafNodeIndex, MlsMessageBodyIn,
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
    let before = Leaves::read(group.members(), None)?;
    let processed = group.process_message(&RustCrypto::default(), message).map_err(refused_commit)?;
    let author = match processed.sender() {
        Sender::Member(index) => Some(*index),
        Sender::NewMemberCommit => None,
        _ => return Err(GroupError::InvalidCommit),
    };
    let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
        return Err(GroupError::NotCommit);
    };
    let plan = Plan::read(&staged, group.group_context().extensions())?;
    let committer = match author {
        Some(index) => index,
        None => group.ext_commit_sender_index(&staged).map_err(|_| GroupError::InvalidCommit)?,
    };
    group.merge_commit(store, *staged).map_err(|_| GroupError::Engine)?;

    let after = Leaves::read(group.members(), Some(&before))?;
    let context = group.group_context();
    let by = Author { leaf: committer, external: author.is_none() };
    let added_references = plan.added_references.clone();
    let view = plan.view((context.epoch().as_u64(), context.extensions()), by, &before, &after)?;
    Ok(Judged { view, committer, added_references })
}

/// Who made a commit.
pub(super) struct Author {
    /// The leaf after it.
    pub leaf: LeafNodeIndex,
    /// Whether the author entered by it.
    pub external: bool,
}

/// What a staged commit is going to do, by its proposals.
pub(super) struct Plan {
    added: Vec<Member>,
    added_references: Vec<Vec<u8>>,
    gone: BTreeSet<u32>,
}

impl Plan {
    /// Checks a staged commit against the context before it.
    pub(super) fn read(staged: &StagedCommit, before: &Extensions<GroupContext>) -> Result<Self, GroupError> {
        // Without a path the author's leaf is not renewed, and whom it removed could follow with what it still knows.
        if staged.update_path_leaf_node().is_none() {
            return Err(GroupError::InvalidCommit);
        }
        check_proposals(staged, before)?;
        let (added, added_references) = added(staged)?;
        let gone = staged.remove_proposals().map(|proposal| proposal.remove_proposal().removed().u32()).collect();
        Ok(Self { added, added_references, gone })
    }

    /// What it did, by the epoch, the context and the leaves after it.
    pub(super) fn view(
        self,
        (epoch, context): (u64, &Extensions<GroupContext>),
        author: Author,
        before: &Leaves,
        after: &Leaves,
    ) -> Result<CommitView, GroupError> {
        let members = after.members()?;
        let committer = after.member(author.leaf.u32()).ok_or(GroupError::InvalidCommit)?.clone();
        let removed: Vec<Member> = self.gone.iter().filter_map(|index| before.member(*index).cloned()).collect();
        if author.external && removed.iter().any(|leaf| leaf.credential.device != committer.credential.device) {
            return Err(GroupError::ForbiddenChange);
        }
        Ok(CommitView {
            epoch,
            committer,
            external: author.external,
            added: self.added,
            removed,
            updated: updated(before, after, &self.gone)?,
            conv_state: public::conv_state(context)?,
            members,
        })
    }
}

/// Leaves of an epoch, by index.
pub(super) struct Leaves(BTreeMap<u32, Leaf>);

struct Leaf {
    credential: Credential,
    key: Vec<u8>,
    member: Member,
}

impl Leaves {
    /// Reads them; those that are as they were before need not be read again.
    pub(super) fn read(
        leaves: impl Iterator<Item = openmls::prelude::Member>,
        before: Option<&Self>,
    ) -> Result<Self, GroupError> {
        let read = |leaf: openmls::prelude::Member| {
            let index = leaf.index.u32();
            let known = before.and_then(|before| before.0.get(&index));
            let known = known.filter(|known| known.credential == leaf.credential && known.key == leaf.signature_key);
            let member = match known {
                Some(known) => known.member.clone(),
                None => public::member(&leaf.credential, &leaf.signature_key)?,
            };
            Ok((index, Leaf { credential: leaf.credential, key: leaf.signature_key, member }))
        };
        leaves.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Members in leaf order, each device once.
    pub(super) fn members(&self) -> Result<Vec<Member>, GroupError> {
        let members: Vec<Member> = self.0.values().map(|leaf| leaf.member.clone()).collect();
        check_distinct(&members)?;
        Ok(members)
    }

    /// The leaf of a device.
    #[cfg(feature = "device")]
    pub(super) fn of(&self, device: &DeviceId) -> Option<u32> {
        self.0.iter().find(|(_, leaf)| leaf.member.credential.device == *device).map(|(index, _)| *index)
    }

    fn member(&self, index: u32) -> Option<&Member> {
        self.0.get(&index).map(|leaf| &leaf.member)
    }
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
fn updated(before: &Leaves, after: &Leaves, gone: &BTreeSet<u32>) -> Result<Vec<Member>, GroupError> {
    let mut updated = Vec::new();
    for (index, Leaf { member: leaf, .. }) in &after.0 {
        let Some(old) = before.member(*index).filter(|old| !gone.contains(index) && *old != leaf) else { continue };
        if old.credential.device != leaf.credential.device || old.credential.account != leaf.credential.account {
            return Err(GroupError::DeviceMismatch);
        }
        updated.push(leaf.clone());
    }
    Ok(updated)
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
