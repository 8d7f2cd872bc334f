//! Coming back by an external commit (RFC 9420 section 12.4.3.2).
//!
//! OpenMLS merges an external commit as soon as it is made. Ours stands only once its hub has said so: what OpenMLS wrote
//! waits in one row, beside the state that there may still be, and replaces it when the commit is merged.

use super::super::commit_view::advance;
use super::super::former::Former;
use super::super::overlay::{CONFIRMATION_TAG, CONTEXT, INTERIM_TRANSCRIPT_HASH, Provider, TREE, row_key};
use super::super::public::{self, SUITE};
use super::super::public_state::{PublicState, StateStore};
use super::super::{
    Committed, GROUP_ID_MAX_BYTES, GROUP_INFO_MAX_BYTES, GroupError, Merged, Part, Rows, WriteSet, bounded,
};
use super::commit::committed;
use super::refusals::refused_external;
use super::{OpenMlsEngine, join_configuration, load, refuse_removed};
use crate::bytes::Bytes;
use crate::codec;
use openmls::prelude::{GroupId, MlsGroup, MlsMessageBodyIn};
use openmls_traits::OpenMlsProvider as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The row, in bytes: two states of a group of 300 leaves.
const ROW_MAX_BYTES: usize = 16 * 1024 * 1024;

/// An external commit of ours that is not merged.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PendingRejoin {
    /// The epoch that it makes.
    pub epoch: u64,
    /// The commit, as it was sent.
    pub commit: Bytes,
    /// Public state before it.
    pub before: Bytes,
    /// OpenMLS's rows after it.
    rows: BTreeMap<Bytes, Bytes>,
}

impl PendingRejoin {
    /// The row of a group.
    pub(super) fn read(rows: &dyn Rows, group_id: &[u8]) -> Result<Option<Self>, GroupError> {
        let read = |bytes: Vec<u8>| codec::decode(&bytes, ROW_MAX_BYTES).map_err(|_| GroupError::BadRow);
        rows.row(&row(group_id)).map(read).transpose()
    }

    /// Deletes the row.
    pub(super) fn delete(writes: &mut WriteSet, group_id: &[u8]) {
        writes.0.insert(row(group_id), None);
    }
}

impl OpenMlsEngine {
    /// See [`GroupEngine::rejoin`](super::GroupEngine::rejoin).
    pub(super) fn make_rejoin(
        &self,
        rows: &dyn Rows,
        group_info: &[u8],
        tree: &[u8],
    ) -> Result<(Committed, WriteSet), GroupError> {
        let tree = public::parse_tree(tree)?;
        let MlsMessageBodyIn::GroupInfo(group_info) =
            public::message(Part::GroupInfo, group_info, GROUP_INFO_MAX_BYTES)?
        else {
            return Err(GroupError::Malformed(Part::GroupInfo));
        };
        if group_info.ciphersuite() != SUITE {
            return Err(GroupError::WrongSuite);
        }
        let group_id = group_info.group_id().clone();
        bounded(Part::GroupId, group_id.as_slice(), GROUP_ID_MAX_BYTES)?;
        self.refuse_pending(rows, group_id.as_slice())?;

        let no_rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let provider = Provider::remembering(&no_rows);
        let (group, bundle) = MlsGroup::external_commit_builder()
            .with_ratchet_tree(tree)
            .with_config(join_configuration())
            // As with a Welcome: a member who was silent for long must not keep us out.
            .skip_lifetime_validation()
            .build_group(&provider, group_info, self.credential_with_key())
            .map_err(refused_external)?
            .leaf_node_parameters(self.leaf_parameters())
            .load_psks(provider.storage())
            .map_err(|_| GroupError::Engine)?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &self.signer(), |_| true)
            .map_err(|_| GroupError::InvalidGroupInfo)?
            .finalize(&provider)
            .map_err(|_| GroupError::Engine)?;
        let committed = committed(group.epoch().as_u64(), bundle)?;
        let before = state_before(&provider, &group_id)?;
        // Whatever its hub would refuse is not sent.
        let (mut public_group, store) = StateStore::load(before.as_slice())?;
        advance(&mut public_group, &store, committed.commit.as_slice())?;

        let written = provider.finish().0.into_iter();
        let pending = PendingRejoin {
            epoch: committed.epoch,
            commit: committed.commit.clone(),
            before,
            rows: written.filter_map(|(key, value)| value.map(|value| (Bytes(key), Bytes(value)))).collect(),
        };
        let row = (row(group_id.as_slice()), Some(codec::encode(&pending)));
        Ok((committed, WriteSet(BTreeMap::from([row]))))
    }

    fn refuse_pending(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<(), GroupError> {
        if PendingRejoin::read(rows, group_id)?.is_some() {
            return Err(GroupError::PendingCommit);
        }
        match load(&Provider::new(rows), group_id) {
            Ok(group) if group.pending_commit().is_some() => Err(GroupError::PendingCommit),
            // Rows that cannot be read are a reason to rejoin.
            Ok(_) | Err(GroupError::UnknownGroup | GroupError::BadRow) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts the state after our external commit in the place of what there is.
    pub(super) fn merge_rejoin(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        pending: PendingRejoin,
        now_ms: u64,
    ) -> Result<(Merged, WriteSet), GroupError> {
        self.held.borrow_mut().forget(group_id);
        let provider = Provider::new(rows);
        let mut kept = WriteSet::default();
        if let Ok(mut group) = load(&provider, group_id) {
            self.keep_epoch(rows, &mut kept, group_id, group.epoch().as_u64(), now_ms)?;
            group.delete(provider.storage()).map_err(|_| GroupError::BadRow)?;
        }
        let mut writes = provider.finish();
        writes.0.extend(kept.0);
        Former::delete(&mut writes, group_id);
        PendingRejoin::delete(&mut writes, group_id);
        writes.0.extend(pending.rows.into_iter().map(|(key, value)| (key.0, Some(value.0))));
        Ok((Merged { epoch: pending.epoch, removed_us: false }, writes))
    }
}

/// What everybody can see of the epoch that `rows` hold.
pub(super) fn public_state(rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError> {
    refuse_removed(rows, group_id)?;
    load(&Provider::new(rows), group_id)?;
    let group = GroupId::from_slice(group_id);
    let row = |table: &str| -> Result<Bytes, GroupError> {
        let key = row_key(table, &group).map_err(|_| GroupError::BadRow)?;
        rows.row(&key).map(Bytes).ok_or(GroupError::BadRow)
    };
    let state = PublicState {
        group_id: Bytes(group_id.to_vec()),
        tree: row(TREE)?,
        context: row(CONTEXT)?,
        interim_transcript_hash: row(INTERIM_TRANSCRIPT_HASH)?,
        confirmation_tag: row(CONFIRMATION_TAG)?,
    };
    Ok(Bytes(codec::encode(&state)))
}

/// The public state that the external commit was made from: what OpenMLS wrote before it merged.
fn state_before(provider: &Provider<'_>, group_id: &GroupId) -> Result<Bytes, GroupError> {
    let first = |table: &str| -> Result<Bytes, GroupError> {
        provider.first(table, group_id).map_err(|_| GroupError::Engine)?.map(Bytes).ok_or(GroupError::Engine)
    };
    let state = PublicState {
        group_id: Bytes(group_id.as_slice().to_vec()),
        tree: first(TREE)?,
        context: first(CONTEXT)?,
        interim_transcript_hash: first(INTERIM_TRANSCRIPT_HASH)?,
        confirmation_tag: first(CONFIRMATION_TAG)?,
    };
    Ok(Bytes(codec::encode(&state)))
}

fn row(group_id: &[u8]) -> Vec<u8> {
    [b"pending-rejoin/", group_id].concat()
}
