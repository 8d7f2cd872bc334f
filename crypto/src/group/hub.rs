//! A hub's side of a group: it follows the commits by their public part and is no member.
//!
//! Keeps nothing: a state is bytes that go in and come out, which the hub writes in the same batch as the verdict. Never
//! decrypts. Cannot check a membership tag, whether a confirmation tag is the right one, nor the secrets of a path: some
//! members may be unable to follow a commit that stands here. Implements `docs/protocol.md`, section "Conversations".

use super::commit_view::advance;
use super::public::{self, SUITE};
use super::public_state::StateStore;
use super::{
    COMMIT_MAX_BYTES, CommitView, GROUP_INFO_MAX_BYTES, GroupError, Part, PublicView, WELCOME_MAX_BYTES, bounded,
};
use crate::bytes::Bytes;
use openmls::prelude::{
    ExtensionType, GroupContext, LeafNodeIndex, MlsMessageBodyIn, OpenMlsSignaturePublicKey, PublicGroup,
    Verifiable as _,
};
use openmls_rust_crypto::RustCrypto;
use openmls_traits::types::SignatureScheme;
use tls_codec::{DeserializeBytes as _, Serialize as _, VLBytes};

/// Takes over a group at the epoch of a GroupInfo: [`inspect_creation`](super::inspect_creation), and the state that
/// [`judge`] goes on from.
///
/// # Errors
/// As there.
pub fn begin(group_info: &[u8], tree: &[u8]) -> Result<(PublicView, Bytes), GroupError> {
    let (view, store) = public::open_creation(group_info, tree)?;
    let state = store.into_bytes(&view.group_id);
    Ok((view, state))
}

/// Judges a commit, with the Welcome and the GroupInfo that came with it, against the state before it: the commit by
/// MLS and by what commits of Roost may do; the Welcome is there iff the commit adds, and is for exactly those; the
/// GroupInfo is of the new epoch, signed by the author's leaf, with the commit's confirmation tag and `external_pub`.
/// Returns what the commit does and the state after it. Roles, participants and identity logs are the caller's.
///
/// # Errors
/// [`GroupError::TooLong`], [`GroupError::Malformed`], [`GroupError::NotCommit`], [`GroupError::WrongGroup`],
/// [`GroupError::WrongEpoch`], [`GroupError::InvalidCommit`], [`GroupError::ForbiddenChange`],
/// [`GroupError::InvalidKeyPackage`] (its lifetime is over), [`GroupError::BadCredential`],
/// [`GroupError::DeviceMismatch`], [`GroupError::DuplicateMember`], [`GroupError::TooMany`],
/// [`GroupError::WelcomeMissing`], [`GroupError::WelcomeSuperfluous`], [`GroupError::InvalidWelcome`],
/// [`GroupError::InvalidGroupInfo`].
pub fn judge(
    state: &[u8],
    commit: &[u8],
    welcome: Option<&[u8]>,
    group_info: &[u8],
) -> Result<(CommitView, Bytes), GroupError> {
    bounded(Part::Commit, commit, COMMIT_MAX_BYTES)?;
    bounded(Part::Welcome, welcome.unwrap_or_default(), WELCOME_MAX_BYTES)?;
    bounded(Part::GroupInfo, group_info, GROUP_INFO_MAX_BYTES)?;
    let (mut group, store) = StateStore::load(state)?;
    let judged = advance(&mut group, &store, commit)?;
    check_welcome(welcome, &judged.added_references)?;
    check_group_info(&group, judged.committer, group_info)?;
    let state = store.into_bytes(group.group_id().as_slice());
    Ok((judged.view, state))
}

/// The ratchet tree of a state (`optional<Node> ratchet_tree<V>`), for joiners.
///
/// # Errors
/// [`GroupError::Malformed`], [`GroupError::TooLong`] of [`Part::State`].
pub fn tree_of(state: &[u8]) -> Result<Bytes, GroupError> {
    let (group, _) = StateStore::load(state)?;
    group.export_ratchet_tree().tls_serialize_detached().map(Bytes).map_err(|_| GroupError::Engine)
}

fn check_welcome(welcome: Option<&[u8]>, added: &[Vec<u8>]) -> Result<(), GroupError> {
    let Some(bytes) = welcome else {
        return if added.is_empty() { Ok(()) } else { Err(GroupError::WelcomeMissing) };
    };
    if added.is_empty() {
        return Err(GroupError::WelcomeSuperfluous);
    }
    let MlsMessageBodyIn::Welcome(welcome) = public::message(Part::Welcome, bytes, WELCOME_MAX_BYTES)? else {
        return Err(GroupError::Malformed(Part::Welcome));
    };
    let for_whom: Vec<Vec<u8>> =
        welcome.secrets().iter().map(|secrets| secrets.new_member().as_slice().to_vec()).collect();
    let fits = welcome.ciphersuite() == SUITE
        && for_whom.len() == added.len()
        && added.iter().all(|reference| for_whom.contains(reference));
    if fits { Ok(()) } else { Err(GroupError::InvalidWelcome) }
}

fn check_group_info(after: &PublicGroup, committer: LeafNodeIndex, bytes: &[u8]) -> Result<(), GroupError> {
    let invalid = || GroupError::InvalidGroupInfo;
    let MlsMessageBodyIn::GroupInfo(unverified) = public::message(Part::GroupInfo, bytes, GROUP_INFO_MAX_BYTES)? else {
        return Err(GroupError::Malformed(Part::GroupInfo));
    };
    // The whole context at once: id, epoch, tree hash, confirmed transcript hash and extensions.
    if unverified.group_context() != after.group_context() {
        return Err(invalid());
    }
    let only_external_pub =
        unverified.extensions().iter().map(|extension| extension.extension_type()).eq([ExtensionType::ExternalPub]);
    let tail = tail_of(bytes).ok_or(GroupError::Malformed(Part::GroupInfo))?;
    let tag = after.confirmation_tag().tls_serialize_detached().map_err(|_| GroupError::Engine)?;
    if !only_external_pub || tail.confirmation_tag != tag || tail.signer != committer.u32() {
        return Err(invalid());
    }
    let key = after.leaf(committer).ok_or_else(invalid)?.signature_key().as_slice().to_vec();
    let key = OpenMlsSignaturePublicKey::new(key.into(), SignatureScheme::ED25519).map_err(|_| invalid())?;
    unverified.verify(&RustCrypto::default(), &key).map(|_| ()).map_err(|_| invalid())
}

/// What stands in a GroupInfo behind its extensions (RFC 9420 section 12.4.3). OpenMLS reads both and shows neither.
struct Tail {
    confirmation_tag: Vec<u8>,
    signer: u32,
}

fn tail_of(group_info: &[u8]) -> Option<Tail> {
    // Version and wire format of the MLSMessage, two bytes each.
    let rest = group_info.get(4..)?;
    let (_, rest) = GroupContext::tls_deserialize_bytes(rest).ok()?;
    let (_, rest) = VLBytes::tls_deserialize_bytes(rest).ok()?;
    let (tag, rest) = VLBytes::tls_deserialize_bytes(rest).ok()?;
    let (signer, _) = u32::tls_deserialize_bytes(rest).ok()?;
    Some(Tail { confirmation_tag: tag.tls_serialize_detached().ok()?, signer })
}
