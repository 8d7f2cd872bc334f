//! What a device remembers of a group that it was removed from: no key, only what it last saw.

use super::{CommitView, GroupError, Member, Rows, WriteSet};
use crate::bytes::Bytes;
use crate::codec;
use serde::{Deserialize, Serialize};

/// A row, in bytes: 300 members and `conv_state`.
const ROW_MAX_BYTES: usize = 256 * 1024;

/// The group as the commit that removed us left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Former {
    pub epoch: u64,
    pub members: Vec<Member>,
    pub conv_state: Bytes,
}

impl Former {
    /// The row of a group, if we were removed from it.
    pub(super) fn read(rows: &dyn Rows, group_id: &[u8]) -> Result<Option<Self>, GroupError> {
        let read = |bytes: Vec<u8>| codec::decode(&bytes, ROW_MAX_BYTES).map_err(|_| GroupError::BadRow);
        rows.row(&row(group_id)).map(read).transpose()
    }

    /// As the commit left it that a view is of.
    pub(super) fn of(view: &CommitView) -> Self {
        Self { epoch: view.epoch, members: view.members.clone(), conv_state: view.conv_state.clone() }
    }

    /// Writes the row.
    pub(super) fn write(&self, writes: &mut WriteSet, group_id: &[u8]) {
        writes.0.insert(row(group_id), Some(codec::encode(self)));
    }

    /// Deletes the row.
    pub(super) fn delete(writes: &mut WriteSet, group_id: &[u8]) {
        writes.0.insert(row(group_id), None);
    }
}

fn row(group_id: &[u8]) -> Vec<u8> {
    [b"former-group/", group_id].concat()
}
