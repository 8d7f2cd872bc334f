//! The twin without mathematics: the same calls, refusals and epochs, yet every byte follows from a seed.
//!
//! OpenMLS draws randomness and reads a clock that cannot be given to it, so simulations that must repeat byte by byte
//! run on this. It hides nothing and withstands no forger: a tag is a hash that finds damage, and a ciphertext shows its
//! plaintext. **Never for real messages**: a real hub refuses its objects.

use super::{
    CIPHERTEXT_MAX_BYTES, CONV_STATE_MAX_BYTES, Created, Credential, FORWARD_DISTANCE_MAX, GROUP_ID_MAX_BYTES,
    GROUP_INFO_MAX_BYTES, GroupEngine, GroupError, Joined, KEY_PACKAGE_MAX_BYTES, KEY_PACKAGES_MAX, KeyPackageInfo,
    Member, OUT_OF_ORDER_TOLERANCE, Opened, PLAINTEXT_MAX_BYTES, Part, PublicView, Rows, Sealed, TREE_MAX_BYTES,
    WELCOME_MAX_BYTES, WriteSet, bounded, check_creation, check_distinct,
};
use crate::bytes::Bytes;
use crate::codec;
use crate::ids::DeviceId;
use crate::keys::PublicKey;
use crate::labels;
use crate::planted;
use crate::sabotage::Sabotage;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Label of every hash of the twin. Nothing of the protocol is hashed under it.
const LABEL: &str = "roost/1/symbolic";
/// Key of tags that anybody may check.
const NO_KEY: &[u8] = &[];
/// A row, in bytes: a group of 300 with full windows.
const ROW_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Epoch after creation, as with OpenMLS.
const FIRST_EPOCH: u64 = 1;

/// The twin's engine of one device.
#[derive(Debug)]
pub struct SymbolicEngine {
    me: Member,
    seed: u64,
    sabotage: Sabotage,
}

/// Any object of the twin: a tag of the wrong kind, key or bytes is refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tagged {
    body: Bytes,
    tag: Bytes,
}

#[derive(Serialize, Deserialize)]
struct KeyPackage {
    member: Member,
    last_resort: bool,
    nonce: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Commit {
    group_id: Bytes,
    added: Vec<Member>,
}

#[derive(Clone, Serialize, Deserialize)]
struct GroupInfo {
    group_id: Bytes,
    epoch: u64,
    conv_state: Bytes,
    tree_hash: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Welcome {
    references: Vec<Bytes>,
    secret: Bytes,
    info: GroupInfo,
}

#[derive(Serialize, Deserialize)]
struct Message {
    group_id: Bytes,
    epoch: u64,
    sender: u32,
    generation: u32,
    plaintext: Bytes,
}

/// Generations of one sender that were opened: all below `head` but those in `missing`.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Window {
    head: u32,
    missing: BTreeSet<u32>,
}

/// A group's row.
#[derive(Serialize, Deserialize)]
struct Group {
    epoch: u64,
    secret: Bytes,
    members: Vec<Member>,
    me: u32,
    next_generation: u32,
    windows: BTreeMap<u32, Window>,
}

impl SymbolicEngine {
    /// For the device of `key`, which `credential` names. Equal seeds and calls give equal bytes.
    pub fn new(credential: Credential, key: PublicKey, seed: u64) -> Self {
        Self { me: Member { credential, key }, seed, sabotage: Sabotage::NONE }
    }

    /// With a rule that is broken on purpose.
    #[must_use]
    pub fn sabotaged(self, sabotage: Sabotage) -> Self {
        Self { sabotage, ..self }
    }

    /// Draws `count` values and moves the counter, which is a row: a dropped write set draws the same values again.
    fn draw(&self, rows: &dyn Rows, writes: &mut WriteSet, count: u64) -> Result<Vec<Bytes>, GroupError> {
        let key = b"symbolic/counter".to_vec();
        let from: u64 = read_row(rows, &key)?.unwrap_or(0);
        let until = from.saturating_add(count);
        writes.0.insert(key, Some(codec::encode(&until)));
        let device = self.me.credential.device;
        Ok((from..until)
            .map(|n| {
                let parts: [&[u8]; 3] = [device.as_bytes(), &self.seed.to_be_bytes(), &n.to_be_bytes()];
                Bytes(labels::hash(LABEL, &parts).to_vec())
            })
            .collect())
    }
}

impl GroupEngine for SymbolicEngine {
    fn key_packages(
        &mut self,
        rows: &dyn Rows,
        count: usize,
        last_resort: bool,
    ) -> Result<(Vec<Bytes>, WriteSet), GroupError> {
        if count > KEY_PACKAGES_MAX {
            return Err(GroupError::TooMany { max: KEY_PACKAGES_MAX, got: count });
        }
        let mut writes = WriteSet::default();
        let mut packages = Vec::with_capacity(count);
        for nonce in self.draw(rows, &mut writes, count as u64)? {
            let package = tag("key-package", NO_KEY, &KeyPackage { member: self.me.clone(), last_resort, nonce });
            writes.0.insert(key_package_row(&reference(package.as_slice())), Some(codec::encode(&last_resort)));
            packages.push(package);
        }
        Ok((packages, writes))
    }

    fn create(
        &mut self,
        rows: &dyn Rows,
        group_id: &[u8],
        conv_state: &[u8],
        key_packages: &[Bytes],
    ) -> Result<(Created, WriteSet), GroupError> {
        check_creation(group_id, conv_state, key_packages)?;
        let infos: Vec<KeyPackageInfo> =
            key_packages.iter().map(|bytes| inspect_key_package(bytes.as_slice())).collect::<Result<_, _>>()?;
        let added: Vec<Member> = infos.iter().map(|info| info.member.clone()).collect();
        let members: Vec<Member> = std::iter::once(self.me.clone()).chain(added.iter().cloned()).collect();
        check_distinct(&members)?;
        refuse_known(rows, group_id)?;

        let mut writes = WriteSet::default();
        let secret = self.draw(rows, &mut writes, 1)?.pop().ok_or(GroupError::Engine)?;
        let tree = tag("tree", NO_KEY, &members);
        let info = GroupInfo {
            group_id: Bytes(group_id.to_vec()),
            epoch: FIRST_EPOCH,
            conv_state: Bytes(conv_state.to_vec()),
            tree_hash: hash(&tree),
        };
        let references = infos.iter().map(|info| Bytes(info.reference.to_vec())).collect();
        let created = Created {
            group_id: group_id.to_vec(),
            epoch: FIRST_EPOCH,
            commit: tag("commit", NO_KEY, &Commit { group_id: Bytes(group_id.to_vec()), added }),
            welcome: tag("welcome", NO_KEY, &Welcome { references, secret: secret.clone(), info: info.clone() }),
            group_info: tag("group-info", NO_KEY, &info),
            tree,
        };
        write_group(&mut writes, group_id, &Group::new(secret, FIRST_EPOCH, members, 0));
        Ok((created, writes))
    }

    fn join(&mut self, rows: &dyn Rows, welcome: &[u8], tree: &[u8]) -> Result<(Joined, WriteSet), GroupError> {
        let welcome: Welcome =
            untag("welcome", NO_KEY, welcome, Part::Welcome, WELCOME_MAX_BYTES, GroupError::InvalidWelcome)?;
        let members = read_tree(tree, &welcome.info, GroupError::InvalidWelcome)?;
        let mut writes = WriteSet::default();
        let mut found = false;
        for reference in &welcome.references {
            let key = key_package_row(reference.as_slice());
            if let Some(last_resort) = read_row::<bool>(rows, &key)? {
                found = true;
                if !last_resort {
                    writes.0.insert(key, None);
                }
                break;
            }
        }
        if !found {
            return Err(GroupError::NoKeyPackage);
        }
        let GroupInfo { group_id, epoch, conv_state, .. } = welcome.info;
        bounded(Part::GroupId, group_id.as_slice(), GROUP_ID_MAX_BYTES)?;
        bounded(Part::ConvState, conv_state.as_slice(), CONV_STATE_MAX_BYTES)?;
        refuse_known(rows, group_id.as_slice())?;
        let me = members.iter().position(|member| *member == self.me).ok_or(GroupError::InvalidWelcome)?;
        let me = u32::try_from(me).map_err(|_| GroupError::InvalidWelcome)?;
        write_group(&mut writes, group_id.as_slice(), &Group::new(welcome.secret, epoch, members.clone(), me));
        Ok((Joined { group_id: group_id.0, epoch, conv_state, members }, writes))
    }

    fn seal(&mut self, rows: &dyn Rows, group_id: &[u8], plaintext: &[u8]) -> Result<(Sealed, WriteSet), GroupError> {
        bounded(Part::Plaintext, plaintext, PLAINTEXT_MAX_BYTES)?;
        let mut group = read_group(rows, group_id)?;
        let message = Message {
            group_id: Bytes(group_id.to_vec()),
            epoch: group.epoch,
            sender: group.me,
            generation: group.next_generation,
            plaintext: Bytes(plaintext.to_vec()),
        };
        group.next_generation = group.next_generation.checked_add(1).ok_or(GroupError::Engine)?;
        let ciphertext = tag("message", group.secret.as_slice(), &message);
        let mut writes = WriteSet::default();
        write_group(&mut writes, group_id, &group);
        Ok((Sealed { epoch: group.epoch, ciphertext }, writes))
    }

    fn open(&mut self, rows: &dyn Rows, group_id: &[u8], ciphertext: &[u8]) -> Result<(Opened, WriteSet), GroupError> {
        // The header is read before the tag is checked, because it tells under which key: as with sender data in MLS.
        bounded(Part::Ciphertext, ciphertext, CIPHERTEXT_MAX_BYTES)?;
        let malformed = || GroupError::Malformed(Part::Ciphertext);
        let tagged: Tagged = codec::decode(ciphertext, CIPHERTEXT_MAX_BYTES).map_err(|_| malformed())?;
        let message: Message = codec::decode(tagged.body.as_slice(), CIPHERTEXT_MAX_BYTES).map_err(|_| malformed())?;
        let mut group = read_group(rows, group_id)?;
        if message.group_id.as_slice() != group_id {
            return Err(GroupError::WrongGroup);
        }
        if message.epoch != group.epoch {
            return Err(GroupError::WrongEpoch { expected: group.epoch, got: message.epoch });
        }
        if tagged.tag.as_slice() != tag_of("message", group.secret.as_slice(), tagged.body.as_slice()) {
            return Err(GroupError::Undecryptable);
        }
        if message.sender == group.me {
            return Err(GroupError::OwnMessage);
        }
        let sender = usize::try_from(message.sender).ok().and_then(|index| group.members.get(index));
        let sender = sender.ok_or(GroupError::Undecryptable)?.credential.clone();
        match group.windows.entry(message.sender).or_default().take(message.generation) {
            // Either layer alone holds a duplicate off: the defect takes both away.
            Err(GroupError::AlreadyOpened) if planted!(self.sabotage, NoDeviceDedupe) => {}
            taken => taken?,
        }
        let mut writes = WriteSet::default();
        write_group(&mut writes, group_id, &group);
        Ok((Opened { sender, epoch: message.epoch, plaintext: message.plaintext.0 }, writes))
    }

    fn members(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Vec<Member>, GroupError> {
        read_group(rows, group_id).map(|group| group.members)
    }

    fn forget(&mut self, rows: &dyn Rows, group_id: &[u8]) -> Result<WriteSet, GroupError> {
        read_group(rows, group_id)?;
        Ok(WriteSet(BTreeMap::from([(group_row(group_id), None)])))
    }
}

/// As [`super::inspect_key_package`], for the twin's key packages.
///
/// # Errors
/// As there.
pub fn inspect_key_package(bytes: &[u8]) -> Result<KeyPackageInfo, GroupError> {
    let refused = GroupError::InvalidKeyPackage;
    let package: KeyPackage = untag("key-package", NO_KEY, bytes, Part::KeyPackage, KEY_PACKAGE_MAX_BYTES, refused)?;
    check_device(&package.member)?;
    Ok(KeyPackageInfo { member: package.member, reference: reference(bytes), last_resort: package.last_resort })
}

/// As [`super::inspect_creation`], for the twin's GroupInfo and tree.
///
/// # Errors
/// As there.
pub fn inspect_creation(group_info: &[u8], tree: &[u8]) -> Result<PublicView, GroupError> {
    let refused = GroupError::InvalidGroupInfo;
    let info: GroupInfo = untag("group-info", NO_KEY, group_info, Part::GroupInfo, GROUP_INFO_MAX_BYTES, refused)?;
    bounded(Part::GroupId, info.group_id.as_slice(), GROUP_ID_MAX_BYTES)?;
    bounded(Part::ConvState, info.conv_state.as_slice(), CONV_STATE_MAX_BYTES)?;
    let members = read_tree(tree, &info, GroupError::InvalidGroupInfo)?;
    Ok(PublicView { group_id: info.group_id.0, epoch: info.epoch, conv_state: info.conv_state, members })
}

impl Group {
    fn new(secret: Bytes, epoch: u64, members: Vec<Member>, me: u32) -> Self {
        Self { epoch, secret, members, me, next_generation: 0, windows: BTreeMap::new() }
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

fn check_device(member: &Member) -> Result<(), GroupError> {
    if member.credential.device == DeviceId::of(&member.key) { Ok(()) } else { Err(GroupError::DeviceMismatch) }
}

fn read_tree(tree: &[u8], info: &GroupInfo, refused: GroupError) -> Result<Vec<Member>, GroupError> {
    let members: Vec<Member> = untag("tree", NO_KEY, tree, Part::Tree, TREE_MAX_BYTES, refused.clone())?;
    if hash(tree) != info.tree_hash {
        return Err(refused);
    }
    members.iter().try_for_each(check_device)?;
    check_distinct(&members)?;
    Ok(members)
}

fn hash(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes(labels::hash(LABEL, &[bytes.as_ref()]).to_vec())
}

fn reference(package: &[u8]) -> [u8; 32] {
    labels::hash(LABEL, &[b"reference", package])
}

fn tag_of(kind: &str, key: &[u8], body: &[u8]) -> [u8; 32] {
    labels::hash(LABEL, &[b"tag", kind.as_bytes(), key, body])
}

fn tag<T: Serialize>(kind: &str, key: &[u8], value: &T) -> Bytes {
    let body = codec::encode(value);
    let tag = Bytes(tag_of(kind, key, &body).to_vec());
    Bytes(codec::encode(&Tagged { body: Bytes(body), tag }))
}

/// Reads an object of a kind: `Malformed(part)` if it is no such object, `refused` if its tag does not fit.
fn untag<T: DeserializeOwned>(
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

fn key_package_row(reference: &[u8]) -> Vec<u8> {
    [b"symbolic/key-package/", reference].concat()
}

fn group_row(group_id: &[u8]) -> Vec<u8> {
    [b"symbolic/group/", group_id].concat()
}

fn read_row<T: DeserializeOwned>(rows: &dyn Rows, key: &[u8]) -> Result<Option<T>, GroupError> {
    rows.row(key).map(|bytes| codec::decode(&bytes, ROW_MAX_BYTES).map_err(|_| GroupError::BadRow)).transpose()
}

fn read_group(rows: &dyn Rows, group_id: &[u8]) -> Result<Group, GroupError> {
    bounded(Part::GroupId, group_id, GROUP_ID_MAX_BYTES)?;
    read_row(rows, &group_row(group_id))?.ok_or(GroupError::UnknownGroup)
}

fn refuse_known(rows: &dyn Rows, group_id: &[u8]) -> Result<(), GroupError> {
    if rows.row(&group_row(group_id)).is_some() { Err(GroupError::GroupExists) } else { Ok(()) }
}

fn write_group(writes: &mut WriteSet, group_id: &[u8], group: &Group) {
    writes.0.insert(group_row(group_id), Some(codec::encode(group)));
}
