//! What anybody can check about MLS objects without a secret: a hub before it takes a creation, an adder before it adds.
//!
//! Never decrypts and keeps no state. Cannot check a confirmation tag, and does not compare a member with its identity
//! log: the caller does. Implements `docs/protocol.md`, section "Conversations".

use super::public_state::StateStore;
use super::{
    CONV_STATE_EXTENSION, CONV_STATE_MAX_BYTES, Credential, GROUP_ID_MAX_BYTES, GROUP_INFO_MAX_BYTES, GroupError,
    KEY_PACKAGE_MAX_BYTES, Member, Part, TREE_MAX_BYTES, bounded, check_distinct,
};
use crate::bytes::Bytes;
use crate::keys::PublicKey;
use openmls::prelude::{
    BasicCredential, Ciphersuite, CreationFromExternalError, ExtensionType, Extensions, GroupContext, KeyPackage,
    MlsMessageBodyIn, MlsMessageIn, ProposalStore, ProtocolVersion, PublicGroup, RatchetTreeIn,
};
use openmls_rust_crypto::RustCrypto;
use tls_codec::DeserializeBytes as _;

/// The one cipher suite of Roost: 0x0003.
pub(super) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

/// A key package that was validated: signatures, lifetime, suite, capabilities, form of the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPackageInfo {
    /// Who it stands for; compare with the identity log.
    pub member: Member,
    /// Its reference (RFC 9420 section 5.2): seen twice for one that is not of last resort, somebody hands it out twice.
    pub reference: [u8; 32],
    /// Whether it may serve several joins.
    pub last_resort: bool,
}

/// What a GroupInfo and its tree say about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicView {
    /// Id of the group.
    pub group_id: Vec<u8>,
    /// Epoch of the GroupInfo.
    pub epoch: u64,
    /// `conv_state` of the GroupContext.
    pub conv_state: Bytes,
    /// Members in leaf order.
    pub members: Vec<Member>,
}

/// Validates a key package (an MLSMessage).
///
/// # Errors
/// [`GroupError::TooLong`], [`GroupError::Malformed`], [`GroupError::WrongSuite`], [`GroupError::InvalidKeyPackage`],
/// [`GroupError::BadCredential`], [`GroupError::DeviceMismatch`].
pub fn inspect_key_package(bytes: &[u8]) -> Result<KeyPackageInfo, GroupError> {
    validate_key_package(bytes).map(|(_, info)| info)
}

/// As [`inspect_key_package`], with the key package.
pub(super) fn validate_key_package(bytes: &[u8]) -> Result<(KeyPackage, KeyPackageInfo), GroupError> {
    let crypto = RustCrypto::default();
    let MlsMessageBodyIn::KeyPackage(unverified) = message(Part::KeyPackage, bytes, KEY_PACKAGE_MAX_BYTES)? else {
        return Err(GroupError::Malformed(Part::KeyPackage));
    };
    let key_package =
        unverified.validate(&crypto, ProtocolVersion::Mls10).map_err(|_| GroupError::InvalidKeyPackage)?;
    if key_package.ciphersuite() != SUITE {
        return Err(GroupError::WrongSuite);
    }
    let leaf = key_package.leaf_node();
    let able = leaf.capabilities().extensions().contains(&ExtensionType::Unknown(CONV_STATE_EXTENSION));
    if !able || !key_package.life_time().has_acceptable_range() {
        return Err(GroupError::InvalidKeyPackage);
    }
    let member = member(leaf.credential(), leaf.signature_key().as_slice())?;
    let reference = key_package.hash_ref(&crypto).map_err(|_| GroupError::Engine)?;
    let reference = reference.as_slice().try_into().map_err(|_| GroupError::Engine)?;
    let last_resort = key_package.last_resort();
    Ok((key_package, KeyPackageInfo { member, reference, last_resort }))
}

/// Checks a GroupInfo (an MLSMessage) against its ratchet tree: signature of a member, tree hash, parent hashes, leaf
/// signatures and lifetimes, one leaf a device, `external_pub` and `conv_state` present.
///
/// # Errors
/// [`GroupError::TooLong`], [`GroupError::Malformed`], [`GroupError::WrongSuite`], [`GroupError::InvalidGroupInfo`],
/// [`GroupError::NoConvState`], [`GroupError::BadCredential`], [`GroupError::DeviceMismatch`],
/// [`GroupError::DuplicateMember`], [`GroupError::TooMany`].
pub fn inspect_creation(group_info: &[u8], tree: &[u8]) -> Result<PublicView, GroupError> {
    open_creation(group_info, tree).map(|(view, _)| view)
}

/// As [`inspect_creation`], with the public state.
pub(super) fn open_creation(group_info: &[u8], tree: &[u8]) -> Result<(PublicView, StateStore), GroupError> {
    let tree = parse_tree(tree)?;
    let MlsMessageBodyIn::GroupInfo(unverified) = message(Part::GroupInfo, group_info, GROUP_INFO_MAX_BYTES)? else {
        return Err(GroupError::Malformed(Part::GroupInfo));
    };
    if unverified.ciphersuite() != SUITE {
        return Err(GroupError::WrongSuite);
    }
    let store = StateStore::default();
    let (group, group_info) =
        PublicGroup::from_external(&RustCrypto::default(), &store, tree, unverified, ProposalStore::new()).map_err(
            |error| match error {
                CreationFromExternalError::DuplicateSignatureKey => GroupError::DuplicateMember,
                _ => GroupError::InvalidGroupInfo,
            },
        )?;
    if group_info.extensions().external_pub().is_none() {
        return Err(GroupError::InvalidGroupInfo);
    }
    let context = group.group_context();
    let group_id = context.group_id().as_slice().to_vec();
    bounded(Part::GroupId, &group_id, GROUP_ID_MAX_BYTES)?;
    let view = PublicView {
        group_id,
        epoch: context.epoch().as_u64(),
        conv_state: conv_state(context.extensions())?,
        members: members(group.members())?,
    };
    Ok((view, store))
}

/// Reads an MLSMessage; nothing may follow it.
pub(super) fn message(part: Part, bytes: &[u8], max: usize) -> Result<MlsMessageBodyIn, GroupError> {
    bounded(part, bytes, max)?;
    MlsMessageIn::tls_deserialize_exact_bytes(bytes).map(MlsMessageIn::extract).map_err(|_| GroupError::Malformed(part))
}

/// Reads a ratchet tree; nothing may follow it.
pub(super) fn parse_tree(bytes: &[u8]) -> Result<RatchetTreeIn, GroupError> {
    bounded(Part::Tree, bytes, TREE_MAX_BYTES)?;
    RatchetTreeIn::tls_deserialize_exact_bytes(bytes).map_err(|_| GroupError::Malformed(Part::Tree))
}

/// `conv_state` of a group.
pub(super) fn conv_state(extensions: &Extensions<GroupContext>) -> Result<Bytes, GroupError> {
    let state = extensions.unknown(CONV_STATE_EXTENSION).ok_or(GroupError::NoConvState)?;
    bounded(Part::ConvState, &state.0, CONV_STATE_MAX_BYTES)?;
    Ok(Bytes(state.0.clone()))
}

/// Members in leaf order, each device once.
pub(super) fn members(members: impl Iterator<Item = openmls::prelude::Member>) -> Result<Vec<Member>, GroupError> {
    let members: Vec<Member> =
        members.map(|leaf| member(&leaf.credential, &leaf.signature_key)).collect::<Result<_, _>>()?;
    check_distinct(&members)?;
    Ok(members)
}

/// The member of a leaf.
pub(super) fn member(credential: &openmls::prelude::Credential, key: &[u8]) -> Result<Member, GroupError> {
    let key = PublicKey::from_slice(key).ok_or(GroupError::BadCredential)?;
    let basic = BasicCredential::try_from(credential.clone()).map_err(|_| GroupError::BadCredential)?;
    Ok(Member { credential: Credential::parse(basic.identity(), &key)?, key })
}
