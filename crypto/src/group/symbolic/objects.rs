//! What the twin sends: bodies with a tag. A tag of the wrong kind, key or bytes is refused.

use super::super::{GroupError, Member, Part, TREE_MAX_BYTES, bounded, check_distinct};
use super::LABEL;
use crate::bytes::Bytes;
use crate::codec;
use crate::ids::DeviceId;
use crate::labels;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Key of tags that anybody may check.
pub(super) const NO_KEY: &[u8] = &[];

/// Any object of the twin.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tagged {
    pub body: Bytes,
    pub tag: Bytes,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyPackage {
    pub member: Member,
    pub last_resort: bool,
    pub nonce: Bytes,
}

/// What members of one epoch agree on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Context {
    pub group_id: Bytes,
    pub epoch: u64,
    pub conv_state: Bytes,
    pub tree_hash: Bytes,
    /// Hash over all commits.
    pub transcript: Bytes,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Commit {
    pub group_id: Bytes,
    /// Epoch that it ends.
    pub epoch: u64,
    /// Hash of the context of that epoch: stands for what a signature over it would bind.
    pub context: Bytes,
    /// Leaf of the author; `None` for an external commit.
    pub author: Option<u32>,
    /// The author's leaf after the commit.
    pub leaf: Member,
    pub added: Vec<Bytes>,
    pub removed: Vec<u32>,
    pub conv_state: Option<Bytes>,
    /// Stands for the path: no two commits are equal.
    pub fresh: Bytes,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct GroupInfo {
    pub context: Context,
    pub confirmation: Bytes,
    pub signer: u32,
    pub external_pub: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Welcome {
    pub references: Vec<Bytes>,
    pub secret: Bytes,
    pub info: GroupInfo,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Message {
    pub group_id: Bytes,
    pub epoch: u64,
    pub sender: u32,
    pub generation: u32,
    pub plaintext: Bytes,
}

/// Reads the tree of a GroupInfo: leaves, blank ones included.
pub(super) fn read_tree(
    tree: &[u8],
    context: &Context,
    refused: GroupError,
) -> Result<Vec<Option<Member>>, GroupError> {
    let leaves: Vec<Option<Member>> = untag("tree", NO_KEY, tree, Part::Tree, TREE_MAX_BYTES, refused.clone())?;
    if hash(tree) != context.tree_hash {
        return Err(refused);
    }
    let members: Vec<Member> = leaves.iter().flatten().cloned().collect();
    members.iter().try_for_each(check_device)?;
    check_distinct(&members)?;
    Ok(leaves)
}

/// The tree of leaves.
pub(super) fn tree(leaves: &[Option<Member>]) -> Bytes {
    tag("tree", NO_KEY, &leaves)
}

/// Refuses a credential that names another device than the key.
pub(super) fn check_device(member: &Member) -> Result<(), GroupError> {
    if member.credential.device == DeviceId::of(&member.key) { Ok(()) } else { Err(GroupError::DeviceMismatch) }
}

/// Hash of anything.
pub(super) fn hash(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes(labels::hash(LABEL, &[bytes.as_ref()]).to_vec())
}

/// Reference of a key package.
pub(super) fn reference(package: &[u8]) -> [u8; 32] {
    labels::hash(LABEL, &[b"reference", package])
}

/// The tag of a body.
pub(super) fn tag_of(kind: &str, key: &[u8], body: &[u8]) -> [u8; 32] {
    labels::hash(LABEL, &[b"tag", kind.as_bytes(), key, body])
}

/// Makes an object of a kind.
pub(super) fn tag<T: Serialize>(kind: &str, key: &[u8], value: &T) -> Bytes {
    let body = codec::encode(value);
    let tag = Bytes(tag_of(kind, key, &body).to_vec());
    Bytes(codec::encode(&Tagged { body: Bytes(body), tag }))
}

/// Reads an object of a kind: `Malformed(part)` if it is no such object, `refused` if its tag does not fit.
pub(super) fn untag<T: DeserializeOwned>(
    kind: &str,
    key: &[u8],
    bytes: &[u8],
    part: Part,
    max: usize,
    refused: GroupError,
) -> Result<T, GroupError> {
    bounded(part, bytes, max)?;
    let tagged: Tagged = codec::decode(bytes, max).map_err(|_| GroupError::Malformed(part))?;
    if tagged.tag.as_slice() != tag_of(kind, key, tagged.body.as_slice()) {
        return Err(refused);
    }
    codec::decode(tagged.body.as_slice(), max).map_err(|_| GroupError::Malformed(part))
}
