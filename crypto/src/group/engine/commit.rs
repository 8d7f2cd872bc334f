//! Making, reading and merging commits.

use super::super::change::{check_adds, check_change};
use super::super::commit_view::{Author, Leaves, Plan, advance, read_commit};
use super::super::former::Former;
use super::super::overlay::Provider;
use super::super::past_epochs::{self, Kept};
use super::super::public_state::StateStore;
use super::super::{
    COMMIT_MAX_BYTES, Change, CommitView, Committed, GROUP_INFO_MAX_BYTES, GroupError, Merged, Part, Rows,
    WELCOME_MAX_BYTES, WriteSet, bounded, public,
};
use super::configuration::{capabilities, conv_state_extension};
use super::held::Prepared;
use super::refusals::refused_merge;
use super::rejoin::PendingRejoin;
use super::{OpenMlsEngine, encode, past_copy};
use crate::ids::DeviceId;
use openmls::prelude::{
    CommitMessageBundle, GroupEpoch, GroupId, LeafNodeIndex, LeafNodeParameters, MlsGroup, ProcessedMessageContent,
    PublicGroup, Sender,
};
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::storage::StorageProvider as _;
use std::collections::BTreeSet;

impl OpenMlsEngine {
    /// See [`GroupEngine::commit`](super::GroupEngine::commit).
    pub(super) fn make_commit(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        change: &Change,
    ) -> Result<(Committed, WriteSet), GroupError> {
        check_adds(change)?;
        if PendingRejoin::read(rows, group_id)?.is_some() {
            return Err(GroupError::PendingCommit);
        }
        let provider = Provider::new(rows);
        let mut working = self.begin_as_member(&provider, rows, group_id)?;
        if working.group.pending_commit().is_some() {
            self.hold(working);
            return Err(GroupError::PendingCommit);
        }
        let (mut added, mut key_packages) = (Vec::new(), Vec::new());
        for bytes in &change.add {
            let (key_package, info) = public::validate_key_package(bytes.as_slice())?;
            added.push(info.member);
            key_packages.push(key_package);
        }
        check_change(change, self.credential.device, &working.members()?, &added)?;
        let removed = leaves_of(working.leaves()?, &change.remove);
        let context = match &change.conv_state {
            Some(conv_state) => {
                let mut extensions = working.group.extensions().clone();
                extensions
                    .add_or_replace(conv_state_extension(conv_state.as_slice()))
                    .map_err(|_| GroupError::Engine)?;
                Some(extensions)
            }
            None => None,
        };
        let builder = working
            .group
            .commit_builder()
            .consume_proposal_store(false)
            .force_self_update(true)
            .leaf_node_parameters(self.leaf_parameters())
            .propose_adds(key_packages)
            .propose_removals(removed);
        let builder = match context {
            Some(extensions) => builder.propose_group_context_extensions(extensions).map_err(|_| GroupError::Engine)?,
            None => builder,
        };
        let bundle = builder
            .load_psks(provider.storage())
            .map_err(|_| GroupError::Engine)?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &self.signer(), |_| true)
            // All else was checked; what is left are key packages whose keys or capabilities do not fit this group.
            .map_err(|_| if change.add.is_empty() { GroupError::Engine } else { GroupError::InvalidKeyPackage })?
            .stage_commit(&provider)
            .map_err(|_| GroupError::Engine)?;
        let epoch = working.group.epoch().as_u64().checked_add(1).ok_or(GroupError::Engine)?;
        Ok((committed(epoch, bundle)?, self.end(provider, rows, working)?))
    }

    /// What a commit makes of our leaf: our credential of now, which may name a later entry of the identity log.
    pub(super) fn leaf_parameters(&self) -> LeafNodeParameters {
        LeafNodeParameters::builder()
            .with_credential_with_key(self.credential_with_key())
            .with_capabilities(capabilities())
            .build()
    }

    /// See [`GroupEngine::inspect_commit`](super::GroupEngine::inspect_commit).
    pub(super) fn view_commit(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        commit: &[u8],
    ) -> Result<CommitView, GroupError> {
        bounded(Part::Commit, commit, COMMIT_MAX_BYTES)?;
        let pending = PendingRejoin::read(rows, group_id)?;
        if let Some(pending) = pending.as_ref().filter(|pending| pending.commit.as_slice() == commit) {
            let (mut group, store) = StateStore::load(pending.before.as_slice())?;
            return advance(&mut group, &store, commit).map(|judged| judged.view);
        }
        if Former::read(rows, group_id)?.is_some() {
            return Err(GroupError::Removed);
        }
        if let Some(prepared) = self.prepare_commit(rows, group_id, commit) {
            let view = prepared.view.clone();
            self.held.borrow_mut().prepare(prepared);
            return Ok(view);
        }
        let provider = Provider::new(rows);
        let group = PublicGroup::load(provider.storage(), &GroupId::from_slice(group_id));
        let Some(mut group) = group.map_err(|_| GroupError::BadRow)? else {
            return Err(if pending.is_some() { GroupError::RejoinNeeded } else { GroupError::UnknownGroup });
        };
        // The overlay is dropped, and with it what the commit made of the group.
        match advance(&mut group, provider.storage(), commit) {
            Ok(judged) => Ok(judged.view),
            Err(GroupError::InvalidKeyPackage) => Err(GroupError::RejoinNeeded),
            Err(error) => Err(error),
        }
    }

    /// Reads a member's commit, ours or another's, and carries it out in memory, for whoever merges it next. `None` wherever
    /// that does not work, or for an external commit: then the public state says what is the matter.
    fn prepare_commit(&self, rows: &dyn Rows, group_id: &[u8], commit: &[u8]) -> Option<Box<Prepared>> {
        let provider = Provider::noting(rows);
        let mut working = self.begin(&provider, rows, group_id).ok()?;
        let message = read_commit(commit).ok()?;
        if message.group_id() != working.group.group_id() || message.epoch() != working.group.epoch() {
            self.hold(working);
            return None;
        }
        working.leaves().ok()?;
        let mut rests_on = working.take_rows();
        let group = &mut working.group;
        let (epoch_before, own) = (group.epoch(), group.own_leaf_index());
        let processed = group.process_message(&provider, message).ok()?;
        let Sender::Member(leaf) = *processed.sender() else { return None };
        let (plan, removed_us) = match processed.into_content() {
            ProcessedMessageContent::OwnPendingCommit => {
                let plan = Plan::read(group.pending_commit()?, group.extensions()).ok()?;
                group.merge_pending_commit(&provider).ok()?;
                (plan, false)
            }
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let plan = Plan::read(&staged, group.extensions()).ok()?;
                let removed_us = staged.self_removed();
                group.merge_staged_commit(&provider, *staged).ok()?;
                (plan, removed_us)
            }
            _ => return None,
        };
        let before = working.renew_leaves().ok()?;
        let author = Author { leaf, external: false };
        let context = (working.group.epoch().as_u64(), working.group.extensions());
        let view = plan.view(context, author, &before, working.known_leaves()?).ok()?;
        if removed_us {
            end_membership(&provider, &mut working.group, epoch_before, own).ok()?;
        }
        rests_on.extend(provider.noted());
        let mut writes = provider.finish();
        if removed_us {
            Former::of(&view).write(&mut writes, group_id);
        }
        let is_held = working.follow(rows, &writes).ok()? && !removed_us;
        Some(Box::new(Prepared {
            group_id: group_id.to_vec(),
            commit: commit.to_vec(),
            merged: Merged { epoch: view.epoch, removed_us },
            view,
            epoch_before: epoch_before.as_u64(),
            writes,
            after: is_held.then_some(working),
            rests_on,
        }))
    }

    /// See [`GroupEngine::merge`](super::GroupEngine::merge); for all commits but our pending external one.
    pub(super) fn merge_commit(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        commit: &[u8],
        pending: Option<&PendingRejoin>,
        now_ms: u64,
    ) -> Result<(Merged, WriteSet), GroupError> {
        let mut prepared = self.held.borrow_mut().prepared(rows, group_id, commit);
        let mut view = None;
        if prepared.is_none() {
            view = Some(self.view_commit(rows, group_id, commit)?);
            prepared = self.held.borrow_mut().prepared(rows, group_id, commit);
        }
        let (merged, epoch_before, mut writes) = match (prepared, view) {
            (Some(prepared), _) => {
                let Prepared { merged, epoch_before, writes, after, .. } = *prepared;
                if let Some(after) = after {
                    self.hold(after);
                }
                (merged, epoch_before, writes)
            }
            (None, Some(view)) => self.merge_viewed(rows, group_id, commit, &view)?,
            (None, None) => return Err(GroupError::Engine),
        };
        self.keep_epoch(rows, &mut writes, group_id, epoch_before, now_ms)?;
        if pending.is_some_and(|pending| pending.epoch <= merged.epoch) {
            PendingRejoin::delete(&mut writes, group_id);
        }
        Ok((merged, writes))
    }

    /// Merges a commit that stands by the public state, and could not be prepared: an external one, or one that we cannot
    /// follow. Returns the epoch before it as well.
    fn merge_viewed(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        commit: &[u8],
        view: &CommitView,
    ) -> Result<(Merged, u64, WriteSet), GroupError> {
        if view.external && view.committer.credential.device == self.credential.device {
            return Err(GroupError::RejoinNeeded);
        }
        let provider = Provider::new(rows);
        let mut working = self.begin(&provider, rows, group_id)?;
        let group = &mut working.group;
        let (epoch_before, own) = (group.epoch(), group.own_leaf_index());
        let processed = group.process_message(&provider, read_commit(commit)?).map_err(refused_merge)?;
        let removed_us = match processed.into_content() {
            ProcessedMessageContent::OwnPendingCommit => {
                group.merge_pending_commit(&provider).map_err(|_| GroupError::Engine)?;
                false
            }
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let removed_us = staged.self_removed();
                group.merge_staged_commit(&provider, *staged).map_err(|_| GroupError::Engine)?;
                removed_us
            }
            _ => return Err(GroupError::NotCommit),
        };
        if removed_us {
            end_membership(&provider, group, epoch_before, own)?;
        }
        let mut writes = provider.finish();
        if removed_us {
            Former::of(view).write(&mut writes, group_id);
        }
        Ok((Merged { epoch: view.epoch, removed_us }, epoch_before.as_u64(), writes))
    }

    /// Copies the epoch that `rows` hold, and drops copies beyond the bounds.
    pub(super) fn keep_epoch(
        &self,
        rows: &dyn Rows,
        writes: &mut WriteSet,
        group_id: &[u8],
        epoch: u64,
        now_ms: u64,
    ) -> Result<(), GroupError> {
        let bytes = past_copy::copy(rows, writes, group_id, epoch)?;
        let kept = Kept { epoch, kept_ms: now_ms, bytes };
        for dropped in past_epochs::keep(rows, writes, self.past_epochs, group_id, kept)? {
            past_copy::delete(writes, &dropped)?;
        }
        Ok(())
    }
}

/// What a built commit sends.
pub(super) fn committed(epoch: u64, bundle: CommitMessageBundle) -> Result<Committed, GroupError> {
    let (commit, welcome, group_info) = bundle.into_messages();
    let committed = Committed {
        epoch,
        commit: encode(&commit)?,
        welcome: welcome.as_ref().map(encode).transpose()?,
        group_info: encode(&group_info.ok_or(GroupError::Engine)?)?,
    };
    bounded(Part::Commit, committed.commit.as_slice(), COMMIT_MAX_BYTES)?;
    if let Some(welcome) = &committed.welcome {
        bounded(Part::Welcome, welcome.as_slice(), WELCOME_MAX_BYTES)?;
    }
    bounded(Part::GroupInfo, committed.group_info.as_slice(), GROUP_INFO_MAX_BYTES)?;
    Ok(committed)
}

fn leaves_of(leaves: &Leaves, devices: &[DeviceId]) -> Vec<LeafNodeIndex> {
    let devices: BTreeSet<&DeviceId> = devices.iter().collect();
    let found: BTreeSet<u32> = devices.into_iter().filter_map(|device| leaves.of(device)).collect();
    found.into_iter().map(LeafNodeIndex::new).collect()
}

/// Deletes a group that we were removed from: OpenMLS leaves the secrets of the last epoch with us in place; the copy has
/// what late messages need.
fn end_membership(
    provider: &Provider<'_>,
    group: &mut MlsGroup,
    epoch_before: GroupEpoch,
    own: LeafNodeIndex,
) -> Result<(), GroupError> {
    group.delete(provider.storage()).map_err(|_| GroupError::BadRow)?;
    provider
        .storage()
        .delete_encryption_epoch_key_pairs(group.group_id(), &epoch_before, own.u32())
        .map_err(|_| GroupError::BadRow)
}
