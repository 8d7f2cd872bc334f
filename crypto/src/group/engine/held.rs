//! Groups that stay in memory between two calls, each good only as long as its rows are what it was made of.
//!
//! To read a group from its rows takes longer than most of what is then done with it: the tree of 300 leaves alone has
//! some hundred KiB. A device opens many messages of one group in a row, and reads a commit twice: once for the rules of
//! the conversation, once to merge it. At every call what is held is compared with the rows, byte by byte, and dropped
//! where it differs: nothing here is ever ahead of the store, whatever became of a write set.

use super::super::commit_view;
use super::super::overlay::{
    CONFIRMATION_TAG, CONTEXT, EPOCH_SECRETS, GROUP_STATE, INTERIM_TRANSCRIPT_HASH, JOIN_CONFIG, MESSAGE_SECRETS,
    OWN_LEAF_INDEX, OWN_LEAF_NODES, PROPOSAL_REFS, Provider, RESUMPTION_PSKS, TREE, row_key,
};
use super::super::{CommitView, GROUP_ID_MAX_BYTES, GroupError, Member, Merged, Part, Rows, WriteSet, bounded};
use commit_view::Leaves;
use openmls::prelude::{GroupId, MlsGroup};
use openmls_traits::OpenMlsProvider as _;
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// Rows of all groups that are held, in bytes; the groups themselves take about as much again. A hundred small groups, or
/// a dozen of 300 leaves.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The rows that a group is read from. A queued proposal would be one more; Roost queues none, and a group that has one is
/// not held.
const TABLES: [&str; 12] = [
    TREE,
    CONTEXT,
    INTERIM_TRANSCRIPT_HASH,
    CONFIRMATION_TAG,
    EPOCH_SECRETS,
    OWN_LEAF_INDEX,
    MESSAGE_SECRETS,
    RESUMPTION_PSKS,
    JOIN_CONFIG,
    OWN_LEAF_NODES,
    GROUP_STATE,
    PROPOSAL_REFS,
];

/// A value as it was read; secrets among them.
type Value = Option<Zeroizing<Vec<u8>>>;

/// A group that a call works with.
pub(super) struct Working {
    pub group: MlsGroup,
    leaves: Option<Leaves>,
    /// What it was made of, by key.
    rows: BTreeMap<Vec<u8>, Value>,
}

/// A commit that was read and carried out on the group in memory, and not told to anybody yet.
pub(super) struct Prepared {
    pub group_id: Vec<u8>,
    pub commit: Vec<u8>,
    pub view: CommitView,
    pub merged: Merged,
    /// The epoch before it.
    pub epoch_before: u64,
    /// What it changes, without the copy of the epoch before.
    pub writes: WriteSet,
    /// The group after it; none if it removed us.
    pub after: Option<Working>,
    /// Everything that this rests on.
    pub rests_on: BTreeMap<Vec<u8>, Value>,
}

struct Group {
    working: Working,
    bytes: usize,
    used: u64,
}

/// What an engine holds.
#[derive(Default)]
pub(super) struct Held {
    groups: BTreeMap<Vec<u8>, Group>,
    prepared: Option<Box<Prepared>>,
    /// Counts the calls: the group that was used longest ago goes first.
    calls: u64,
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Held({} groups)", self.groups.len())
    }
}

impl Held {
    /// Takes a group out, if it is here and its rows are the same.
    fn take(&mut self, rows: &dyn Rows, group_id: &[u8]) -> Option<Working> {
        let working = self.groups.remove(group_id)?.working;
        is_same(rows, &working.rows).then_some(working)
    }

    /// Holds a group again; what was used longest ago goes.
    fn put(&mut self, group_id: &[u8], working: Working) {
        let length = |value: &Value| value.as_ref().map_or(0, |value| value.len());
        let bytes = working.rows.values().map(length).sum();
        if bytes > HELD_BYTES_MAX {
            return;
        }
        self.calls += 1;
        self.groups.insert(group_id.to_vec(), Group { working, bytes, used: self.calls });
        while self.groups.values().map(|group| group.bytes).sum::<usize>() > HELD_BYTES_MAX {
            let oldest = self.groups.iter().min_by_key(|(_, group)| group.used).map(|(group_id, _)| group_id.clone());
            let Some(oldest) = oldest else { break };
            self.groups.remove(&oldest);
        }
    }

    /// Forgets a group, and what a commit comes to.
    pub(super) fn forget(&mut self, group_id: &[u8]) {
        self.groups.remove(group_id);
        self.prepared = None;
    }

    /// Keeps what a commit comes to until it is merged; one at a time.
    pub(super) fn prepare(&mut self, prepared: Box<Prepared>) {
        self.prepared = Some(prepared);
    }

    /// What a commit comes to, if that is known and still true.
    pub(super) fn prepared(&mut self, rows: &dyn Rows, group_id: &[u8], commit: &[u8]) -> Option<Box<Prepared>> {
        let prepared = self.prepared.take()?;
        let fits = prepared.group_id == group_id && prepared.commit == commit && is_same(rows, &prepared.rests_on);
        fits.then_some(prepared)
    }
}

impl Working {
    /// A group that was made in this call; [`super::OpenMlsEngine::end`] finds its rows in what was written.
    pub(super) fn new(group: MlsGroup) -> Self {
        Self { group, leaves: None, rows: BTreeMap::new() }
    }

    /// Leaves of the group's epoch.
    pub(super) fn leaves(&mut self) -> Result<&Leaves, GroupError> {
        let leaves = match self.leaves.take() {
            Some(leaves) => leaves,
            None => Leaves::read(self.group.members(), None)?,
        };
        Ok(self.leaves.insert(leaves))
    }

    /// Members in leaf order, each device once.
    pub(super) fn members(&mut self) -> Result<Vec<Member>, GroupError> {
        self.leaves()?.members()
    }

    /// Reads the leaves again after a commit: those that it left alone are taken over. Returns them as they were before.
    pub(super) fn renew_leaves(&mut self) -> Result<Leaves, GroupError> {
        let before = match self.leaves.take() {
            Some(before) => before,
            None => return Err(GroupError::Engine),
        };
        self.leaves = Some(Leaves::read(self.group.members(), Some(&before))?);
        Ok(before)
    }

    /// The leaves, if they were read.
    pub(super) fn known_leaves(&self) -> Option<&Leaves> {
        self.leaves.as_ref()
    }

    /// What it was made of; [`Self::follow`] finds anew what stays.
    pub(super) fn take_rows(&mut self) -> BTreeMap<Vec<u8>, Value> {
        std::mem::take(&mut self.rows)
    }

    /// Notes what has become of its rows; `false` where the group must not be held.
    pub(super) fn follow(&mut self, rows: &dyn Rows, writes: &WriteSet) -> Result<bool, GroupError> {
        let group_id = self.group.group_id().clone();
        for table in TABLES {
            let key = row_key(table, &group_id).map_err(|_| GroupError::BadRow)?;
            match writes.0.get(&key) {
                Some(value) => {
                    self.rows.insert(key, value.clone().map(Zeroizing::new));
                }
                None if !self.rows.contains_key(&key) => {
                    let value = rows.row(&key).map(Zeroizing::new);
                    self.rows.insert(key, value);
                }
                None => {}
            }
        }
        let proposals = row_key(PROPOSAL_REFS, &group_id).map_err(|_| GroupError::BadRow)?;
        Ok(self.rows.get(&proposals).is_none_or(Option::is_none))
    }
}

impl super::OpenMlsEngine {
    /// A group to work with: as it is held, or read from its rows.
    pub(super) fn begin(
        &self,
        provider: &Provider<'_>,
        rows: &dyn Rows,
        group_id: &[u8],
    ) -> Result<Working, GroupError> {
        if let Some(working) = self.held.borrow_mut().take(rows, group_id) {
            return Ok(working);
        }
        bounded(Part::GroupId, group_id, GROUP_ID_MAX_BYTES)?;
        let group = MlsGroup::load(provider.storage(), &GroupId::from_slice(group_id))
            .map_err(|_| GroupError::BadRow)?
            .ok_or(GroupError::UnknownGroup)?;
        let mut working = Working::new(group);
        working.follow(rows, &WriteSet::default())?;
        Ok(working)
    }

    /// Ends a call: what it wrote, and the group is held as it is then.
    pub(super) fn end(
        &self,
        provider: Provider<'_>,
        rows: &dyn Rows,
        mut working: Working,
    ) -> Result<WriteSet, GroupError> {
        let writes = provider.finish();
        if working.follow(rows, &writes)? {
            self.hold(working);
        }
        Ok(writes)
    }

    /// Holds a group as its rows are.
    pub(super) fn hold(&self, working: Working) {
        let group_id = working.group.group_id().as_slice().to_vec();
        self.held.borrow_mut().put(&group_id, working);
    }

    /// Looks at a group without changing it.
    pub(super) fn look<T>(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        look: impl FnOnce(&Provider<'_>, &mut Working) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        let provider = Provider::new(rows);
        let mut working = self.begin(&provider, rows, group_id)?;
        let seen = look(&provider, &mut working);
        self.end(provider, rows, working)?;
        seen
    }
}

/// Whether all rows are as they were.
fn is_same(rows: &dyn Rows, were: &BTreeMap<Vec<u8>, Value>) -> bool {
    were.iter().all(|(key, value)| rows.holds(key, value.as_ref().map(|value| value.as_slice())))
}
