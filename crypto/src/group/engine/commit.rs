//! Making, reading and merging commits.

use super::super::change::{check_adds, check_change};
use super::super::commit_view::{advance, read_commit};
use super::super::former::Former;
use super::super::overlay::Provider;
use super::super::past_epochs::{self, Kept};
use super::super::public_state::StateStore;
use super::super::{
    COMMIT_MAX_BYTES, Change, CommitView, Committed, GROUP_INFO_MAX_BYTES, GroupError, Merged, Part, Rows,
    WELCOME_MAX_BYTES, WriteSet, bounded, public,
};
use super::configuration::{capabilities, conv_state_extension};
use super::refusals::refused_merge;
use super::rejoin::PendingRejoin;
use super::{OpenMlsEngine, encode, load, load_as_member, past_copy};
use crate::ids::DeviceId;
use openmls::prelude::{
    CommitMessageBundle, GroupId, LeafNodeIndex, LeafNodeParameters, MlsGroup, ProcessedMessageContent, PublicGroup,
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
        let mut group = load_as_member(&provider, rows, group_id)?;
        if group.pending_commit().is_some() {
            return Err(GroupError::PendingCommit);
        }
        let (mut added, mut key_packages) = (Vec::new(), Vec::new());
        for bytes in &change.add {
            let (key_package, info) = public::validate_key_package(bytes.as_slice())?;
            added.push(info.member);
            key_packages.push(key_package);
        }
        check_change(change, self.credential.device, &public::members(group.members())?, &added)?;
        let removed = leaves_of(&group, &change.remove)?;
        let context = match &change.conv_state {
            Some(conv_state) => {
                let mut extensions = group.extensions().clone();
                extensions
                    .add_or_replace(conv_state_extension(conv_state.as_slice()))
                    .map_err(|_| GroupError::Engine)?;
                Some(extensions)
            }
            None => None,
        };
        let builder = group
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
        let epoch = group.epoch().as_u64().checked_add(1).ok_or(GroupError::Engine)?;
        Ok((committed(epoch, bundle)?, provider.finish()))
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

    /// See [`GroupEngine::merge`](super::GroupEngine::merge); for all commits but our pending external one.
    pub(super) fn merge_commit(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        commit: &[u8],
        pending: Option<&PendingRejoin>,
        now_ms: u64,
    ) -> Result<(Merged, WriteSet), GroupError> {
        let view = self.view_commit(rows, group_id, commit)?;
        if view.external && view.committer.credential.device == self.credential.device {
            return Err(GroupError::RejoinNeeded);
        }
        let provider = Provider::new(rows);
        let mut group = load(&provider, group_id)?;
        let (epoch_before, leaf) = (group.epoch(), group.own_leaf_index().u32());
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
            // OpenMLS leaves the secrets of the last epoch with us in place; the copy has what late messages need.
            group.delete(provider.storage()).map_err(|_| GroupError::BadRow)?;
            provider
                .storage()
                .delete_encryption_epoch_key_pairs(group.group_id(), &epoch_before, leaf)
                .map_err(|_| GroupError::BadRow)?;
        }
        let mut writes = provider.finish();
        if removed_us {
            let former = Former { epoch: view.epoch, members: view.members, conv_state: view.conv_state };
            former.write(&mut writes, group_id);
        }
        self.keep_epoch(rows, &mut writes, group_id, epoch_before.as_u64(), now_ms)?;
        if pending.is_some_and(|pending| pending.epoch <= view.epoch) {
            PendingRejoin::delete(&mut writes, group_id);
        }
        Ok((Merged { epoch: view.epoch, removed_us }, writes))
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

fn leaves_of(group: &MlsGroup, devices: &[DeviceId]) -> Result<Vec<LeafNodeIndex>, GroupError> {
    let devices: BTreeSet<&DeviceId> = devices.iter().collect();
    let mut leaves = Vec::with_capacity(devices.len());
    for leaf in group.members() {
        let member = public::member(&leaf.credential, &leaf.signature_key)?;
        if devices.contains(&member.credential.device) {
            leaves.push(leaf.index);
        }
    }
    Ok(leaves)
}
