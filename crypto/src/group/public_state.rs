//! A group's public state as bytes: four values that OpenMLS stores of a `PublicGroup`.
//!
//! Holds no secret. Never finds a queued proposal: commits of Roost carry theirs inline.

use super::{GroupError, Part, bounded, packed};
use crate::bytes::Bytes;
use crate::codec;
use openmls::prelude::{GroupId, PublicGroup};
use openmls_traits::public_storage::PublicStorageProvider;
use openmls_traits::storage::{CURRENT_VERSION, traits};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// A hub's state of a group, in bytes: a tree of 300 leaves takes about 600 KiB in OpenMLS's own form.
const STATE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The values, each OpenMLS's as [`packed`] writes it; empty as long as it is not written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublicState {
    pub group_id: Bytes,
    pub tree: Bytes,
    pub context: Bytes,
    pub interim_transcript_hash: Bytes,
    pub confirmation_tag: Bytes,
}

/// OpenMLS's storage over one [`PublicState`].
#[derive(Default)]
pub(super) struct StateStore(RefCell<PublicState>);

impl StateStore {
    /// Reads a state that [`Self::into_bytes`] wrote, and its group.
    pub(super) fn load(bytes: &[u8]) -> Result<(PublicGroup, Self), GroupError> {
        bounded(Part::State, bytes, STATE_MAX_BYTES)?;
        let malformed = || GroupError::Malformed(Part::State);
        let state: PublicState = codec::decode(bytes, STATE_MAX_BYTES).map_err(|_| malformed())?;
        let group_id = GroupId::from_slice(state.group_id.as_slice());
        let store = Self(RefCell::new(state));
        let group = PublicGroup::load(&store, &group_id).map_err(|_| malformed())?.ok_or_else(malformed)?;
        if *group.group_id() == group_id { Ok((group, store)) } else { Err(malformed()) }
    }

    /// The state as it was last written.
    pub(super) fn into_bytes(self, group_id: &[u8]) -> Bytes {
        let state = PublicState { group_id: Bytes(group_id.to_vec()), ..self.0.into_inner() };
        Bytes(codec::encode(&state))
    }
}

/// A value that cannot be read back, or is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StateError {
    /// Not CBOR of the type.
    #[error("the state cannot be read")]
    Unreadable,
}

fn write<V: Serialize>(slot: &mut Bytes, value: &V) {
    // What does not encode leaves nothing, which does not read.
    *slot = Bytes(packed::encode(value).unwrap_or_default());
}

fn read<V: DeserializeOwned>(slot: &Bytes) -> Result<Option<V>, StateError> {
    if slot.is_empty() {
        return Ok(None);
    }
    packed::decode(slot.as_slice()).map(Some).map_err(|_| StateError::Unreadable)
}

/// Writers, readers and deleters of the four values.
macro_rules! values {
    ($($write:ident $read:ident $delete:ident: $bound:ident in $slot:ident;)+) => {
        $(
            fn $write<G: traits::GroupId<CURRENT_VERSION>, V: traits::$bound<CURRENT_VERSION>>(
                &self,
                _: &G,
                value: &V,
            ) -> Result<(), StateError> {
                write(&mut self.0.borrow_mut().$slot, value);
                Ok(())
            }

            fn $read<G: traits::GroupId<CURRENT_VERSION>, V: traits::$bound<CURRENT_VERSION>>(
                &self,
                _: &G,
            ) -> Result<Option<V>, StateError> {
                read(&self.0.borrow().$slot)
            }

            fn $delete<G: traits::GroupId<CURRENT_VERSION>>(&self, _: &G) -> Result<(), StateError> {
                self.0.borrow_mut().$slot = Bytes::default();
                Ok(())
            }
        )+
    };
}

impl PublicStorageProvider<CURRENT_VERSION> for StateStore {
    type PublicError = StateError;

    values! {
        write_tree tree delete_tree: TreeSync in tree;
        write_context group_context delete_context: GroupContext in context;
        write_interim_transcript_hash interim_transcript_hash delete_interim_transcript_hash: InterimTranscriptHash
            in interim_transcript_hash;
        write_confirmation_tag confirmation_tag delete_confirmation_tag: ConfirmationTag in confirmation_tag;
    }

    fn queue_proposal<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        _: &R,
        _: &V,
    ) -> Result<(), StateError> {
        Ok(())
    }

    fn queued_proposals<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Vec<(R, V)>, StateError> {
        Ok(Vec::new())
    }

    fn remove_proposal<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        _: &G,
        _: &R,
    ) -> Result<(), StateError> {
        Ok(())
    }

    fn clear_proposal_queue<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<(), StateError> {
        Ok(())
    }
}
