//! What anybody, and a hub, can check about the twin's objects: the twins of the functions in `group`.

use super::super::{
    COMMIT_MAX_BYTES, CONV_STATE_MAX_BYTES, CommitView, GROUP_ID_MAX_BYTES, GROUP_INFO_MAX_BYTES, GroupError,
    KEY_PACKAGE_MAX_BYTES, KeyPackageInfo, Part, PublicView, WELCOME_MAX_BYTES, bounded,
};
use super::ROW_MAX_BYTES;
use super::objects::{GroupInfo, KeyPackage, NO_KEY, Welcome, check_device, read_tree, reference, tree, untag};
use super::public::Public;
use crate::bytes::Bytes;
use crate::codec;

/// As [`inspect_key_package`](super::super::inspect_key_package), for the twin's key packages.
///
/// # Errors
/// As there.
pub fn inspect_key_package(bytes: &[u8]) -> Result<KeyPackageInfo, GroupError> {
    let refused = GroupError::InvalidKeyPackage;
    let package: KeyPackage = untag("key-package", NO_KEY, bytes, Part::KeyPackage, KEY_PACKAGE_MAX_BYTES, refused)?;
    check_device(&package.member)?;
    Ok(KeyPackageInfo { member: package.member, reference: reference(bytes), last_resort: package.last_resort })
}

/// As [`inspect_creation`](super::super::inspect_creation), for the twin's GroupInfo and tree.
///
/// # Errors
/// As there.
pub fn inspect_creation(group_info: &[u8], tree: &[u8]) -> Result<PublicView, GroupError> {
    begin(group_info, tree).map(|(view, _)| view)
}

/// As [`begin`](super::super::begin), for the twin's GroupInfo and tree.
///
/// # Errors
/// As there.
pub fn begin(group_info: &[u8], tree: &[u8]) -> Result<(PublicView, Bytes), GroupError> {
    let public = open_creation(group_info, tree)?;
    let view = PublicView {
        group_id: public.context.group_id.0.clone(),
        epoch: public.context.epoch,
        conv_state: public.context.conv_state.clone(),
        members: public.members(),
    };
    Ok((view, Bytes(codec::encode(&public))))
}

/// As [`judge`](super::super::judge), for the twin's objects.
///
/// # Errors
/// As there.
pub fn judge(
    state: &[u8],
    commit: &[u8],
    welcome: Option<&[u8]>,
    group_info: &[u8],
) -> Result<(CommitView, Bytes), GroupError> {
    bounded(Part::Commit, commit, COMMIT_MAX_BYTES)?;
    bounded(Part::Welcome, welcome.unwrap_or_default(), WELCOME_MAX_BYTES)?;
    bounded(Part::GroupInfo, group_info, GROUP_INFO_MAX_BYTES)?;
    let mut public = read_state(state)?;
    let judged = public.advance(commit)?;
    check_welcome(welcome, &judged.added_references)?;
    let info = read_group_info(group_info)?;
    let fits = info.context == public.context
        && info.confirmation == public.confirmation
        && info.signer == judged.committer
        && info.external_pub;
    if !fits {
        return Err(GroupError::InvalidGroupInfo);
    }
    Ok((judged.view, Bytes(codec::encode(&public))))
}

/// As [`tree_of`](super::super::tree_of), for the twin's states.
///
/// # Errors
/// As there.
pub fn tree_of(state: &[u8]) -> Result<Bytes, GroupError> {
    read_state(state).map(|public| tree(&public.leaves))
}

/// Reads GroupInfo and tree that belong together.
pub(super) fn open_creation(group_info: &[u8], tree: &[u8]) -> Result<Public, GroupError> {
    let info = read_group_info(group_info)?;
    bounded(Part::GroupId, info.context.group_id.as_slice(), GROUP_ID_MAX_BYTES)?;
    bounded(Part::ConvState, info.context.conv_state.as_slice(), CONV_STATE_MAX_BYTES)?;
    let leaves = read_tree(tree, &info.context, GroupError::InvalidGroupInfo)?;
    if !info.external_pub {
        return Err(GroupError::InvalidGroupInfo);
    }
    Ok(Public { context: info.context, leaves, confirmation: info.confirmation })
}

/// Reads a state.
pub(super) fn read_state(state: &[u8]) -> Result<Public, GroupError> {
    bounded(Part::State, state, ROW_MAX_BYTES)?;
    codec::decode(state, ROW_MAX_BYTES).map_err(|_| GroupError::Malformed(Part::State))
}

fn read_group_info(bytes: &[u8]) -> Result<GroupInfo, GroupError> {
    let refused = GroupError::InvalidGroupInfo;
    untag("group-info", NO_KEY, bytes, Part::GroupInfo, GROUP_INFO_MAX_BYTES, refused)
}

fn check_welcome(welcome: Option<&[u8]>, added: &[Bytes]) -> Result<(), GroupError> {
    let Some(bytes) = welcome else {
        return if added.is_empty() { Ok(()) } else { Err(GroupError::WelcomeMissing) };
    };
    if added.is_empty() {
        return Err(GroupError::WelcomeSuperfluous);
    }
    let refused = GroupError::InvalidWelcome;
    let welcome: Welcome = untag("welcome", NO_KEY, bytes, Part::Welcome, WELCOME_MAX_BYTES, refused)?;
    if welcome.references == added { Ok(()) } else { Err(GroupError::InvalidWelcome) }
}
