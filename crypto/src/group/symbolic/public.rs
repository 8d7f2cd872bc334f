//! The twin's public state of a group, and how a commit moves it on: one rule for hub and members.

use super::super::{
    ADDS_MAX, COMMIT_MAX_BYTES, CONV_STATE_MAX_BYTES, CommitView, GroupError, Member, Part, bounded, check_distinct,
};
use super::objects::{Commit, Context, GroupInfo, NO_KEY, check_device, hash, tag, tree, untag};
use super::{LABEL, inspect_key_package};
use crate::bytes::Bytes;
use crate::codec;
use crate::labels;
use serde::{Deserialize, Serialize};

/// What a hub keeps of a group, and a member besides its secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Public {
    pub context: Context,
    /// By leaf; blank where somebody was removed. The last is never blank.
    pub leaves: Vec<Option<Member>>,
    pub confirmation: Bytes,
}

/// A commit that fits.
pub(super) struct Judged {
    pub view: CommitView,
    pub committer: u32,
    pub added_references: Vec<Bytes>,
    /// Secret of the epoch that it makes.
    pub secret: Bytes,
}

impl Public {
    /// A group of its creator alone, in epoch 0.
    pub(super) fn new(group_id: &[u8], conv_state: &[u8], creator: Member) -> Self {
        let leaves = vec![Some(creator)];
        let context = Context {
            group_id: Bytes(group_id.to_vec()),
            epoch: 0,
            conv_state: Bytes(conv_state.to_vec()),
            tree_hash: hash(tree(&leaves)),
            transcript: Bytes::default(),
        };
        Self { context, leaves, confirmation: Bytes::default() }
    }

    /// Checks a commit and moves on to the epoch that it makes.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Judged, GroupError> {
        let refused = GroupError::InvalidCommit;
        let commit: Commit = untag("commit", NO_KEY, bytes, Part::Commit, COMMIT_MAX_BYTES, refused)?;
        if commit.group_id != self.context.group_id {
            return Err(GroupError::WrongGroup);
        }
        let (expected, got) = (self.context.epoch, commit.epoch);
        if expected != got {
            return Err(GroupError::WrongEpoch { expected, got });
        }
        if commit.context != hash(codec::encode(&self.context)) {
            return Err(GroupError::InvalidCommit);
        }
        check_device(&commit.leaf)?;
        let before = self.leaves.clone();
        let removed = self.remove(&commit)?;
        let committer = self.place_author(&commit, &removed, &before)?;
        let (added, added_references) = self.add(&commit)?;
        let members = self.members();
        check_distinct(&members)?;
        if let Some(conv_state) = &commit.conv_state {
            bounded(Part::ConvState, conv_state.as_slice(), CONV_STATE_MAX_BYTES)?;
            self.context.conv_state = conv_state.clone();
        }
        self.context.epoch = expected.checked_add(1).ok_or(GroupError::Engine)?;
        self.context.tree_hash = hash(tree(&self.leaves));
        let transcript = labels::hash(LABEL, &[b"transcript", self.context.transcript.as_slice(), bytes]);
        self.context.transcript = Bytes(transcript.to_vec());
        self.confirmation = Bytes(labels::hash(LABEL, &[b"confirmation", &transcript]).to_vec());

        let changed = |leaf: &&Member| before.iter().flatten().any(|old| old.key == leaf.key && old != *leaf);
        let stayed = |leaf: &&Member| commit.author.is_some() || leaf.key != commit.leaf.key;
        let view = CommitView {
            epoch: self.context.epoch,
            committer: commit.leaf.clone(),
            external: commit.author.is_none(),
            added,
            removed,
            updated: members.iter().filter(changed).filter(stayed).cloned().collect(),
            conv_state: self.context.conv_state.clone(),
            members,
        };
        let secret = Bytes(labels::hash(LABEL, &[b"epoch", bytes]).to_vec());
        Ok(Judged { view, committer, added_references, secret })
    }

    fn remove(&mut self, commit: &Commit) -> Result<Vec<Member>, GroupError> {
        let mut removed = Vec::with_capacity(commit.removed.len());
        for index in &commit.removed {
            if commit.author == Some(*index) {
                return Err(GroupError::InvalidCommit);
            }
            let leaf = usize::try_from(*index).ok().and_then(|index| self.leaves.get_mut(index));
            removed.push(leaf.and_then(Option::take).ok_or(GroupError::InvalidCommit)?);
        }
        Ok(removed)
    }

    /// Renews the author's leaf, or gives it one.
    fn place_author(
        &mut self,
        commit: &Commit,
        removed: &[Member],
        before: &[Option<Member>],
    ) -> Result<u32, GroupError> {
        let Some(index) = commit.author else {
            if removed.iter().any(|leaf| leaf.credential.device != commit.leaf.credential.device) {
                return Err(GroupError::ForbiddenChange);
            }
            let known = before.iter().flatten().filter(|leaf| leaf.key == commit.leaf.key).count();
            if known > removed.len() {
                return Err(GroupError::InvalidCommit);
            }
            return self.place(commit.leaf.clone());
        };
        let leaf = usize::try_from(index).ok().and_then(|index| self.leaves.get_mut(index)).and_then(Option::as_mut);
        let leaf = leaf.ok_or(GroupError::InvalidCommit)?;
        if leaf.key != commit.leaf.key {
            return Err(GroupError::InvalidCommit);
        }
        if leaf.credential.account != commit.leaf.credential.account {
            return Err(GroupError::DeviceMismatch);
        }
        *leaf = commit.leaf.clone();
        Ok(index)
    }

    fn add(&mut self, commit: &Commit) -> Result<(Vec<Member>, Vec<Bytes>), GroupError> {
        let (mut added, mut references) = (Vec::new(), Vec::new());
        for package in &commit.added {
            let info = inspect_key_package(package.as_slice()).map_err(|_| GroupError::InvalidCommit)?;
            if self.leaves.iter().flatten().any(|leaf| leaf.key == info.member.key) {
                return Err(GroupError::InvalidCommit);
            }
            self.place(info.member.clone())?;
            added.push(info.member);
            references.push(Bytes(info.reference.to_vec()));
        }
        if added.len() > ADDS_MAX {
            return Err(GroupError::TooMany { max: ADDS_MAX, got: added.len() });
        }
        while self.leaves.last().is_some_and(Option::is_none) {
            self.leaves.pop();
        }
        Ok((added, references))
    }

    /// Puts a leaf in the leftmost free place.
    fn place(&mut self, member: Member) -> Result<u32, GroupError> {
        let index = self.leaves.iter().position(Option::is_none).unwrap_or(self.leaves.len());
        match self.leaves.get_mut(index) {
            Some(free) => *free = Some(member),
            None => self.leaves.push(Some(member)),
        }
        u32::try_from(index).map_err(|_| GroupError::Engine)
    }

    /// Members in leaf order.
    pub(super) fn members(&self) -> Vec<Member> {
        self.leaves.iter().flatten().cloned().collect()
    }

    /// The leaf of a member.
    pub(super) fn leaf_of(&self, member: &Member) -> Option<u32> {
        let index = self.leaves.iter().position(|leaf| leaf.as_ref().is_some_and(|leaf| leaf.key == member.key))?;
        u32::try_from(index).ok()
    }

    /// GroupInfo of the epoch.
    pub(super) fn group_info(&self, signer: u32) -> GroupInfo {
        GroupInfo { context: self.context.clone(), confirmation: self.confirmation.clone(), signer, external_pub: true }
    }

    /// A commit of the epoch, as it travels.
    pub(super) fn commit(
        &self,
        author: Option<u32>,
        leaf: Member,
        (added, removed, conv_state): (Vec<Bytes>, Vec<u32>, Option<Bytes>),
        fresh: Bytes,
    ) -> Bytes {
        let commit = Commit {
            group_id: self.context.group_id.clone(),
            epoch: self.context.epoch,
            context: hash(codec::encode(&self.context)),
            author,
            leaf,
            added,
            removed,
            conv_state,
            fresh,
        };
        tag("commit", NO_KEY, &commit)
    }
}
