//! The twin without mathematics: the same calls, refusals and epochs, yet every byte follows from a seed.
//!
//! OpenMLS draws randomness and reads a clock that cannot be given to it, so simulations that must repeat byte by byte
//! run on this. It hides nothing and withstands no forger: a tag is a hash that finds damage, and a ciphertext shows its
//! plaintext. **Never for real messages**: a real hub refuses its objects.

use super::former::Former;
use super::past_epochs::{self, Bounds};
use super::whisper::{self, WHISPER_NONCE_BYTES, Whisper, WhisperKey};
use super::{
    CIPHERTEXT_MAX_BYTES, CONV_STATE_MAX_BYTES, Change, CommitView, Committed, Created, Credential, GROUP_ID_MAX_BYTES,
    GroupEngine, GroupError, Joined, KEY_PACKAGES_MAX, KeyPackageInfo, Member, Merged, Opened, PLAINTEXT_MAX_BYTES,
    Part, Rows, Sealed, WELCOME_MAX_BYTES, WriteSet, bounded, check_creation, check_distinct,
};
use crate::bytes::Bytes;
use crate::codec;
use crate::keys::PublicKey;
use crate::labels;
use crate::planted;
use crate::sabotage::Sabotage;
use group::{Group, PendingRejoin, copy_row, delete_copy, group_row, key_package_row, read_row};
use objects::{KeyPackage, Message, NO_KEY, Tagged, Welcome, read_tree, reference, tag, tree, untag};
use public::Public;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

mod commit;
mod group;
mod hub;
mod objects;
mod public;

pub use hub::{begin, inspect_creation, inspect_key_package, judge, tree_of};

/// Label of every hash of the twin. Nothing of the protocol is hashed under it.
const LABEL: &str = "roost/1/symbolic";
/// A row, in bytes: a group of 300 with full windows.
const ROW_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The twin's engine of one device.
#[derive(Debug)]
pub struct SymbolicEngine {
    me: Member,
    seed: u64,
    sabotage: Sabotage,
    past_epochs: Bounds,
}

impl SymbolicEngine {
    /// For the device of `key`, which `credential` names. Equal seeds and calls give equal bytes.
    pub fn new(credential: Credential, key: PublicKey, seed: u64) -> Self {
        Self { me: Member { credential, key }, seed, sabotage: Sabotage::NONE, past_epochs: Bounds::PRODUCT }
    }

    /// With a rule that is broken on purpose.
    #[must_use]
    pub fn sabotaged(self, sabotage: Sabotage) -> Self {
        Self { sabotage, ..self }
    }

    /// With other bounds of past epochs than the product's.
    #[cfg(test)]
    pub(super) fn with_past_epochs(self, past_epochs: Bounds) -> Self {
        Self { past_epochs, ..self }
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

    fn draw_one(&self, rows: &dyn Rows, writes: &mut WriteSet) -> Result<Bytes, GroupError> {
        self.draw(rows, writes, 1)?.pop().ok_or(GroupError::Engine)
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
        let added = infos.iter().map(|info| info.member.clone());
        check_distinct(&std::iter::once(self.me.clone()).chain(added).collect::<Vec<_>>())?;
        refuse_known(rows, group_id)?;

        let mut writes = WriteSet::default();
        let fresh = self.draw_one(rows, &mut writes)?;
        let mut public = Public::new(group_id, conv_state, self.me.clone());
        let commit = public.commit(Some(0), self.me.clone(), (key_packages.to_vec(), Vec::new(), None), fresh);
        let judged = public.advance(commit.as_slice())?;
        let info = public.group_info(0);
        let welcome =
            Welcome { references: judged.added_references, secret: judged.secret.clone(), info: info.clone() };
        let created = Created {
            group_id: group_id.to_vec(),
            epoch: public.context.epoch,
            commit,
            welcome: tag("welcome", NO_KEY, &welcome),
            group_info: tag("group-info", NO_KEY, &info),
            tree: tree(&public.leaves),
        };
        Group::new(judged.secret, public, 0).write(&mut writes, group_id);
        Ok((created, writes))
    }

    fn join(&mut self, rows: &dyn Rows, welcome: &[u8], tree: &[u8]) -> Result<(Joined, WriteSet), GroupError> {
        let welcome: Welcome =
            untag("welcome", NO_KEY, welcome, Part::Welcome, WELCOME_MAX_BYTES, GroupError::InvalidWelcome)?;
        let leaves = read_tree(tree, &welcome.info.context, GroupError::InvalidWelcome)?;
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
        let public = Public { context: welcome.info.context, leaves, confirmation: welcome.info.confirmation };
        let joined = Joined {
            group_id: public.context.group_id.0.clone(),
            epoch: public.context.epoch,
            conv_state: public.context.conv_state.clone(),
            members: public.members(),
        };
        bounded(Part::GroupId, &joined.group_id, GROUP_ID_MAX_BYTES)?;
        bounded(Part::ConvState, joined.conv_state.as_slice(), CONV_STATE_MAX_BYTES)?;
        refuse_known(rows, &joined.group_id)?;
        let me = public.leaf_of(&self.me).ok_or(GroupError::InvalidWelcome)?;
        Group::new(welcome.secret, public, me).write(&mut writes, &joined.group_id);
        Former::delete(&mut writes, &joined.group_id);
        PendingRejoin::delete(&mut writes, &joined.group_id);
        Ok((joined, writes))
    }

    fn commit(
        &mut self,
        rows: &dyn Rows,
        group_id: &[u8],
        change: &Change,
    ) -> Result<(Committed, WriteSet), GroupError> {
        self.make_commit(rows, group_id, change)
    }

    fn drop_pending(&mut self, rows: &dyn Rows, group_id: &[u8]) -> Result<WriteSet, GroupError> {
        let mut writes = WriteSet::default();
        if PendingRejoin::read(rows, group_id)?.is_some() {
            PendingRejoin::delete(&mut writes, group_id);
            return Ok(writes);
        }
        if Former::read(rows, group_id)?.is_some() {
            return Ok(writes);
        }
        let group = Group::read(rows, group_id)?;
        if group.pending.is_some() {
            Group { pending: None, ..group }.write(&mut writes, group_id);
        }
        Ok(writes)
    }

    fn has_pending(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<bool, GroupError> {
        if PendingRejoin::read(rows, group_id)?.is_some() {
            return Ok(true);
        }
        if Former::read(rows, group_id)?.is_some() {
            return Ok(false);
        }
        Ok(Group::read(rows, group_id)?.pending.is_some())
    }

    fn epoch(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<u64, GroupError> {
        match Former::read(rows, group_id)? {
            Some(former) => Ok(former.epoch),
            None => Group::read(rows, group_id).map(|group| group.public.context.epoch),
        }
    }

    fn conv_state(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError> {
        match Former::read(rows, group_id)? {
            Some(former) => Ok(former.conv_state),
            None => Group::read(rows, group_id).map(|group| group.public.context.conv_state),
        }
    }

    fn inspect_commit(&self, rows: &dyn Rows, group_id: &[u8], commit: &[u8]) -> Result<CommitView, GroupError> {
        self.view_commit(rows, group_id, commit)
    }

    fn merge(
        &mut self,
        rows: &dyn Rows,
        group_id: &[u8],
        commit: &[u8],
        now_ms: u64,
    ) -> Result<(Merged, WriteSet), GroupError> {
        match PendingRejoin::read(rows, group_id)? {
            Some(pending) if pending.commit.as_slice() == commit => self.merge_rejoin(rows, group_id, &pending, now_ms),
            pending => self.merge_commit(rows, group_id, commit, pending.as_ref(), now_ms),
        }
    }

    fn rejoin(&mut self, rows: &dyn Rows, group_info: &[u8], tree: &[u8]) -> Result<(Committed, WriteSet), GroupError> {
        self.make_rejoin(rows, group_info, tree)
    }

    fn public_state(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError> {
        Group::read_as_member(rows, group_id).map(|group| Bytes(codec::encode(&group.public)))
    }

    fn replay(
        &self,
        state: &[u8],
        commit: &[u8],
        welcome: Option<&[u8]>,
        group_info: &[u8],
    ) -> Result<(CommitView, Bytes), GroupError> {
        judge(state, commit, welcome, group_info)
    }

    fn seal(&mut self, rows: &dyn Rows, group_id: &[u8], plaintext: &[u8]) -> Result<(Sealed, WriteSet), GroupError> {
        bounded(Part::Plaintext, plaintext, PLAINTEXT_MAX_BYTES)?;
        let mut group = Group::read_as_member(rows, group_id)?;
        let epoch = group.public.context.epoch;
        let message = Message {
            group_id: Bytes(group_id.to_vec()),
            epoch,
            sender: group.me,
            generation: group.next_generation,
            plaintext: Bytes(plaintext.to_vec()),
        };
        group.next_generation = group.next_generation.checked_add(1).ok_or(GroupError::Engine)?;
        let ciphertext = tag("message", group.secret.as_slice(), &message);
        let mut writes = WriteSet::default();
        group.write(&mut writes, group_id);
        Ok((Sealed { epoch, ciphertext }, writes))
    }

    fn open(&mut self, rows: &dyn Rows, group_id: &[u8], ciphertext: &[u8]) -> Result<(Opened, WriteSet), GroupError> {
        // The header is read before the tag is checked, because it tells under which key: as with sender data in MLS.
        bounded(Part::Ciphertext, ciphertext, CIPHERTEXT_MAX_BYTES)?;
        let malformed = || GroupError::Malformed(Part::Ciphertext);
        let tagged: Tagged = codec::decode(ciphertext, CIPHERTEXT_MAX_BYTES).map_err(|_| malformed())?;
        let message: Message = codec::decode(tagged.body.as_slice(), CIPHERTEXT_MAX_BYTES).map_err(|_| malformed())?;
        let former = Former::read(rows, group_id)?;
        let group = if former.is_some() { None } else { Some(Group::read(rows, group_id)?) };
        if message.group_id.as_slice() != group_id {
            return Err(GroupError::WrongGroup);
        }
        let expected = match (&group, &former) {
            (Some(group), _) => group.public.context.epoch,
            (None, Some(former)) => former.epoch,
            (None, None) => return Err(GroupError::UnknownGroup),
        };
        // Either layer alone holds a duplicate off: the defect takes both away.
        let repeats = planted!(self.sabotage, NoDeviceDedupe);
        let (got, mut writes) = (message.epoch, WriteSet::default());
        if got < expected {
            if !past_epochs::is_kept(rows, group_id, got)? {
                return Err(GroupError::EpochGone { epoch: got });
            }
            let key = copy_row(group_id, got);
            let before = rows.row(&key).ok_or(GroupError::BadRow)?;
            let mut copy: Group = codec::decode(&before, ROW_MAX_BYTES).map_err(|_| GroupError::BadRow)?;
            let opened = copy.open(&tagged, message, repeats)?;
            let after = codec::encode(&copy);
            let sizes = (before.len() as u64, after.len() as u64);
            writes.0.insert(key, Some(after));
            past_epochs::resize(rows, &mut writes, group_id, got, sizes)?;
            return Ok((opened, writes));
        }
        let Some(mut group) = group else { return Err(GroupError::Removed) };
        if got > expected {
            return Err(GroupError::WrongEpoch { expected, got });
        }
        let opened = group.open(&tagged, message, repeats)?;
        group.write(&mut writes, group_id);
        Ok((opened, writes))
    }

    fn authenticator(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError> {
        let Group { secret, public, .. } = Group::read_as_member(rows, group_id)?;
        let parts: [&[u8]; 3] = [b"authenticator", secret.as_slice(), &codec::encode(&public)];
        Ok(Bytes(labels::hash(LABEL, &parts).to_vec()))
    }

    fn seal_whisper(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        nonce: [u8; WHISPER_NONCE_BYTES],
        plaintext: &[u8],
    ) -> Result<Sealed, GroupError> {
        let group = Group::read_as_member(rows, group_id)?;
        let epoch = group.public.context.epoch;
        let key = whisper_key(&group)?;
        let ciphertext = key.seal((group_id, epoch), &self.me.credential.device, nonce, plaintext)?;
        Ok(Sealed { epoch, ciphertext })
    }

    fn open_whisper(&self, rows: &dyn Rows, group_id: &[u8], epoch: u64, sealed: &[u8]) -> Result<Whisper, GroupError> {
        whisper::check_length(sealed)?;
        let group = Group::read_as_member(rows, group_id)?;
        let expected = group.public.context.epoch;
        if epoch != expected {
            return Err(GroupError::WrongEpoch { expected, got: epoch });
        }
        let opened = whisper_key(&group)?.open((group_id, epoch), sealed)?;
        whisper::of_member(group.public.members(), &self.me.credential.device, opened)
    }

    fn members(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Vec<Member>, GroupError> {
        match Former::read(rows, group_id)? {
            Some(former) => Ok(former.members),
            None => Group::read(rows, group_id).map(|group| group.public.members()),
        }
    }

    fn forget(&mut self, rows: &dyn Rows, group_id: &[u8]) -> Result<WriteSet, GroupError> {
        bounded(Part::GroupId, group_id, GROUP_ID_MAX_BYTES)?;
        let known = rows.row(&group_row(group_id)).is_some()
            || Former::read(rows, group_id)?.is_some()
            || PendingRejoin::read(rows, group_id)?.is_some();
        if !known {
            return Err(GroupError::UnknownGroup);
        }
        let mut writes = WriteSet(BTreeMap::from([(group_row(group_id), None)]));
        Former::delete(&mut writes, group_id);
        PendingRejoin::delete(&mut writes, group_id);
        for dropped in past_epochs::forget(rows, &mut writes, group_id)? {
            delete_copy(&mut writes, &dropped);
        }
        Ok(writes)
    }
}

/// What stands for the exporter: all of an epoch have one secret.
fn whisper_key(group: &Group) -> Result<WhisperKey, GroupError> {
    WhisperKey::new(&Zeroizing::new(labels::hash(LABEL, &[whisper::CONTEXT, group.secret.as_slice()]).to_vec()))
}

fn refuse_known(rows: &dyn Rows, group_id: &[u8]) -> Result<(), GroupError> {
    if rows.row(&group_row(group_id)).is_some() { Err(GroupError::GroupExists) } else { Ok(()) }
}
