//! A member's row of a group in the twin, its copies of past epochs, and its pending external commit.

use super::super::former::Former;
use super::super::past_epochs::Dropped;
use super::super::{
    FORWARD_DISTANCE_MAX, GROUP_ID_MAX_BYTES, GroupError, OUT_OF_ORDER_TOLERANCE, Opened, Part, Rows, WriteSet, bounded,
};
use super::ROW_MAX_BYTES;
use super::objects::{Message, Tagged, tag_of};
use super::public::Public;
use crate::bytes::Bytes;
use crate::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Generations of one sender that were opened: all below `head` but those in `missing`.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Window {
    head: u32,
    missing: BTreeSet<u32>,
}

/// A group's row.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Group {
    pub public: Public,
    pub secret: Bytes,
    pub me: u32,
    pub next_generation: u32,
    pub windows: BTreeMap<u32, Window>,
    /// Our commit that waits for the hub's verdict.
    pub pending: Option<Bytes>,
}

/// An external commit of ours that is not merged.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingRejoin {
    pub commit: Bytes,
    pub before: Public,
    pub after: Group,
}

impl Group {
    /// A group that begins an epoch.
    pub(super) fn new(secret: Bytes, public: Public, me: u32) -> Self {
        Self { public, secret, me, next_generation: 0, windows: BTreeMap::new(), pending: None }
    }

    /// The group's row.
    pub(super) fn read(rows: &dyn Rows, group_id: &[u8]) -> Result<Self, GroupError> {
        bounded(Part::GroupId, group_id, GROUP_ID_MAX_BYTES)?;
        read_row(rows, &group_row(group_id))?.ok_or(GroupError::UnknownGroup)
    }

    /// As [`Self::read`], of a group that we were not removed from.
    pub(super) fn read_as_member(rows: &dyn Rows, group_id: &[u8]) -> Result<Self, GroupError> {
        match Former::read(rows, group_id)? {
            Some(_) => Err(GroupError::Removed),
            None => Self::read(rows, group_id),
        }
    }

    /// Writes the row.
    pub(super) fn write(&self, writes: &mut WriteSet, group_id: &[u8]) {
        writes.0.insert(group_row(group_id), Some(codec::encode(self)));
    }

    /// Opens a message of the group's epoch; `repeats` is the planted defect that lets one open again.
    pub(super) fn open(&mut self, tagged: &Tagged, message: Message, repeats: bool) -> Result<Opened, GroupError> {
        if tagged.tag.as_slice() != tag_of("message", self.secret.as_slice(), tagged.body.as_slice()) {
            return Err(GroupError::Undecryptable);
        }
        if message.sender == self.me {
            return Err(GroupError::OwnMessage);
        }
        let sender = usize::try_from(message.sender).ok().and_then(|index| self.public.leaves.get(index));
        let sender = sender.and_then(Option::as_ref).ok_or(GroupError::Undecryptable)?.credential.clone();
        match self.windows.entry(message.sender).or_default().take(message.generation) {
            Err(GroupError::AlreadyOpened) if repeats => {}
            taken => taken?,
        }
        Ok(Opened { sender, epoch: message.epoch, plaintext: message.plaintext.0 })
    }
}

impl Window {
    /// Marks `generation` as opened, by the rules of OpenMLS's sender ratchet.
    fn take(&mut self, generation: u32) -> Result<(), GroupError> {
        if generation > self.head.saturating_add(FORWARD_DISTANCE_MAX) {
            return Err(GroupError::TooFarAhead);
        }
        if generation < self.head {
            if self.head - generation > OUT_OF_ORDER_TOLERANCE {
                return Err(GroupError::TooOld);
            }
            return if self.missing.remove(&generation) { Ok(()) } else { Err(GroupError::AlreadyOpened) };
        }
        self.missing.extend(self.head..generation);
        self.head = generation.saturating_add(1);
        self.missing = self.missing.split_off(&self.head.saturating_sub(OUT_OF_ORDER_TOLERANCE));
        Ok(())
    }
}

impl PendingRejoin {
    /// The row of a group.
    pub(super) fn read(rows: &dyn Rows, group_id: &[u8]) -> Result<Option<Self>, GroupError> {
        read_row(rows, &rejoin_row(group_id))
    }

    /// Writes the row.
    pub(super) fn write(&self, writes: &mut WriteSet, group_id: &[u8]) {
        writes.0.insert(rejoin_row(group_id), Some(codec::encode(self)));
    }

    /// Deletes the row.
    pub(super) fn delete(writes: &mut WriteSet, group_id: &[u8]) {
        writes.0.insert(rejoin_row(group_id), None);
    }
}

/// The row of an epoch's copy.
pub(super) fn copy_row(group_id: &[u8], epoch: u64) -> Vec<u8> {
    let length = (group_id.len() as u64).to_be_bytes();
    [b"symbolic/past/".as_slice(), &length, group_id, &epoch.to_be_bytes()].concat()
}

/// Deletes a copy.
pub(super) fn delete_copy(writes: &mut WriteSet, dropped: &Dropped) {
    writes.0.insert(copy_row(&dropped.group_id, dropped.epoch), None);
}

/// The row of a group.
pub(super) fn group_row(group_id: &[u8]) -> Vec<u8> {
    [b"symbolic/group/", group_id].concat()
}

/// The row of a key package.
pub(super) fn key_package_row(reference: &[u8]) -> Vec<u8> {
    [b"symbolic/key-package/", reference].concat()
}

/// Reads a row.
pub(super) fn read_row<T: DeserializeOwned>(rows: &dyn Rows, key: &[u8]) -> Result<Option<T>, GroupError> {
    rows.row(key).map(|bytes| codec::decode(&bytes, ROW_MAX_BYTES).map_err(|_| GroupError::BadRow)).transpose()
}

fn rejoin_row(group_id: &[u8]) -> Vec<u8> {
    [b"symbolic/pending-rejoin/", group_id].concat()
}
