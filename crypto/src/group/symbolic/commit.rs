//! Making, reading and merging commits in the twin, external ones included.

use super::super::change::{check_adds, check_change};
use super::super::former::Former;
use super::super::past_epochs::{self, Kept};
use super::super::{
    COMMIT_MAX_BYTES, Change, CommitView, Committed, GroupError, Member, Merged, Part, Rows, WriteSet, bounded,
};
use super::group::{Group, PendingRejoin, copy_row, delete_copy, group_row};
use super::objects::{NO_KEY, Welcome, tag};
use super::{SymbolicEngine, hub, inspect_key_package};
use crate::codec;

impl SymbolicEngine {
    /// See [`GroupEngine::commit`].
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
        let mut group = Group::read_as_member(rows, group_id)?;
        if group.pending.is_some() {
            return Err(GroupError::PendingCommit);
        }
        let added: Vec<Member> = change
            .add
            .iter()
            .map(|bytes| inspect_key_package(bytes.as_slice()).map(|info| info.member))
            .collect::<Result<_, _>>()?;
        let before = group.public.members();
        check_change(change, self.me.credential.device, &before, &added)?;
        let leaves = before.iter().filter(|member| change.remove.contains(&member.credential.device));
        let removed = leaves.filter_map(|member| group.public.leaf_of(member)).collect();

        let mut writes = WriteSet::default();
        let fresh = self.draw_one(rows, &mut writes)?;
        let parts = (change.add.clone(), removed, change.conv_state.clone());
        let commit = group.public.commit(Some(group.me), self.me.clone(), parts, fresh);
        bounded(Part::Commit, commit.as_slice(), COMMIT_MAX_BYTES)?;
        let mut after = group.public.clone();
        let judged = after.advance(commit.as_slice())?;
        let info = after.group_info(group.me);
        let welcome = Welcome { references: judged.added_references, secret: judged.secret, info: info.clone() };
        let committed = Committed {
            epoch: after.context.epoch,
            commit: commit.clone(),
            welcome: (!change.add.is_empty()).then(|| tag("welcome", NO_KEY, &welcome)),
            group_info: tag("group-info", NO_KEY, &info),
        };
        group.pending = Some(commit);
        group.write(&mut writes, group_id);
        Ok((committed, writes))
    }

    /// See [`GroupEngine::inspect_commit`].
    pub(super) fn view_commit(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        commit: &[u8],
    ) -> Result<CommitView, GroupError> {
        bounded(Part::Commit, commit, COMMIT_MAX_BYTES)?;
        let pending = PendingRejoin::read(rows, group_id)?;
        if let Some(pending) = pending.as_ref().filter(|pending| pending.commit.as_slice() == commit) {
            return pending.before.clone().advance(commit).map(|judged| judged.view);
        }
        match Group::read_as_member(rows, group_id) {
            Ok(mut group) => group.public.advance(commit).map(|judged| judged.view),
            Err(GroupError::UnknownGroup) if pending.is_some() => Err(GroupError::RejoinNeeded),
            Err(error) => Err(error),
        }
    }

    /// See [`GroupEngine::merge`]; for all commits but our pending external one.
    pub(super) fn merge_commit(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        commit: &[u8],
        pending: Option<&PendingRejoin>,
        now_ms: u64,
    ) -> Result<(Merged, WriteSet), GroupError> {
        let view = self.view_commit(rows, group_id, commit)?;
        let group = Group::read(rows, group_id)?;
        // A real device cannot read the path of its own commit: what it made for it is gone with the pending one.
        let ours = view.committer.credential.device == self.me.credential.device;
        let is_pending = group.pending.as_ref().is_some_and(|pending| pending.as_slice() == commit);
        if ours && !is_pending {
            return Err(GroupError::RejoinNeeded);
        }
        let removed_us = view.removed.iter().any(|leaf| leaf.credential.device == self.me.credential.device);
        let mut writes = WriteSet::default();
        if removed_us {
            writes.0.insert(group_row(group_id), None);
            let former = Former { epoch: view.epoch, members: view.members, conv_state: view.conv_state };
            former.write(&mut writes, group_id);
        } else {
            let mut public = group.public.clone();
            let judged = public.advance(commit)?;
            Group::new(judged.secret, public, group.me).write(&mut writes, group_id);
        }
        self.keep_epoch(rows, &mut writes, group_id, group, now_ms)?;
        if pending.is_some_and(|pending| pending.after.public.context.epoch <= view.epoch) {
            PendingRejoin::delete(&mut writes, group_id);
        }
        Ok((Merged { epoch: view.epoch, removed_us }, writes))
    }

    /// Copies an epoch, and drops copies beyond the bounds.
    fn keep_epoch(
        &self,
        rows: &dyn Rows,
        writes: &mut WriteSet,
        group_id: &[u8],
        group: Group,
        now_ms: u64,
    ) -> Result<(), GroupError> {
        let epoch = group.public.context.epoch;
        let copy = codec::encode(&Group { pending: None, ..group });
        let kept = Kept { epoch, kept_ms: now_ms, bytes: copy.len() as u64 };
        writes.0.insert(copy_row(group_id, epoch), Some(copy));
        for dropped in past_epochs::keep(rows, writes, self.past_epochs, group_id, kept)? {
            delete_copy(writes, &dropped);
        }
        Ok(())
    }

    /// See [`GroupEngine::rejoin`].
    pub(super) fn make_rejoin(
        &self,
        rows: &dyn Rows,
        group_info: &[u8],
        tree: &[u8],
    ) -> Result<(Committed, WriteSet), GroupError> {
        let before = hub::open_creation(group_info, tree)?;
        let group_id = before.context.group_id.0.clone();
        if PendingRejoin::read(rows, &group_id)?.is_some() {
            return Err(GroupError::PendingCommit);
        }
        match Group::read(rows, &group_id) {
            Ok(group) if group.pending.is_some() => return Err(GroupError::PendingCommit),
            Ok(_) | Err(GroupError::UnknownGroup | GroupError::BadRow) => {}
            Err(error) => return Err(error),
        }
        let mut writes = WriteSet::default();
        let fresh = self.draw_one(rows, &mut writes)?;
        let removed = before.leaf_of(&self.me).into_iter().collect();
        let commit = before.commit(None, self.me.clone(), (Vec::new(), removed, None), fresh);
        let mut after = before.clone();
        let judged = after.advance(commit.as_slice())?;
        let committed = Committed {
            epoch: after.context.epoch,
            commit: commit.clone(),
            welcome: None,
            group_info: tag("group-info", NO_KEY, &after.group_info(judged.committer)),
        };
        let after = Group::new(judged.secret, after, judged.committer);
        PendingRejoin { commit, before, after }.write(&mut writes, &group_id);
        Ok((committed, writes))
    }

    /// Puts the state after our external commit in the place of what there is.
    pub(super) fn merge_rejoin(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        pending: &PendingRejoin,
        now_ms: u64,
    ) -> Result<(Merged, WriteSet), GroupError> {
        let mut writes = WriteSet::default();
        if let Ok(group) = Group::read(rows, group_id) {
            self.keep_epoch(rows, &mut writes, group_id, group, now_ms)?;
        }
        Former::delete(&mut writes, group_id);
        PendingRejoin::delete(&mut writes, group_id);
        pending.after.write(&mut writes, group_id);
        Ok((Merged { epoch: pending.after.public.context.epoch, removed_us: false }, writes))
    }
}
