//! The engine over OpenMLS, suite 0x0003: handshakes as PublicMessage, application messages padded to 256 bytes.
//!
//! A group that stays in memory between two calls is used only where its rows are still what it was made of, so that a
//! refused or lost write set leaves no state that is ahead of the store; after an error it is dropped. Never signs anything
//! but what OpenMLS hands it.

use super::former::Former;
use super::overlay::Provider;
use super::past_epochs::{self, Bounds};
use super::public::{self, SUITE};
use super::whisper::{self, WHISPER_NONCE_BYTES, Whisper, WhisperKey};
use super::{
    CIPHERTEXT_MAX_BYTES, Change, CommitView, Committed, Created, Credential, GROUP_ID_MAX_BYTES, GroupEngine,
    GroupError, Joined, KEY_PACKAGES_MAX, Member, Merged, Opened, PLAINTEXT_MAX_BYTES, Part, Rows, Sealed,
    WELCOME_MAX_BYTES, WriteSet, bounded, check_creation, check_distinct,
};
use crate::bytes::Bytes;
use crate::codec;
use crate::keys::SecretKey;
use crate::labels;
use configuration::{PADDING_BYTES, capabilities, context_extensions, join_configuration, ratchet_configuration};
use held::{Held, Working};
use openmls::prelude::{
    BasicCredential, CredentialWithKey, GroupId, KeyPackage, MlsGroup, MlsMessageBodyIn, MlsMessageOut, NewGroupError,
    PURE_PLAINTEXT_WIRE_FORMAT_POLICY, StagedWelcome,
};
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::SignatureScheme;
use refusals::refused_welcome;
use rejoin::PendingRejoin;
use std::cell::RefCell;
use tls_codec::Serialize as _;
use zeroize::Zeroizing;

mod commit;
mod configuration;
mod held;
mod open;
mod past_copy;
mod refusals;
mod rejoin;
#[cfg(test)]
mod tests;

/// The engine of one device.
#[derive(Debug)]
pub struct OpenMlsEngine {
    key: SecretKey,
    credential: Credential,
    past_epochs: Bounds,
    held: RefCell<Held>,
}

/// Signs what OpenMLS hands it. Not an `impl` for [`SecretKey`] itself: nobody else may sign without one of our labels.
struct LeafSigner<'a>(&'a SecretKey);

impl Signer for LeafSigner<'_> {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign_raw(payload).0.to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl OpenMlsEngine {
    /// For the device that holds `device_key`, which `credential` names.
    pub fn new(device_key: SecretKey, credential: Credential) -> Self {
        Self { key: device_key, credential, past_epochs: Bounds::PRODUCT, held: RefCell::default() }
    }

    /// With other bounds of past epochs than the product's.
    #[cfg(test)]
    pub(super) fn with_past_epochs(self, past_epochs: Bounds) -> Self {
        Self { past_epochs, ..self }
    }

    fn signer(&self) -> LeafSigner<'_> {
        LeafSigner(&self.key)
    }

    /// As [`Self::begin`], of a group that we were not removed from.
    fn begin_as_member(
        &self,
        provider: &Provider<'_>,
        rows: &dyn Rows,
        group_id: &[u8],
    ) -> Result<Working, GroupError> {
        refuse_removed(rows, group_id)?;
        self.begin(provider, rows, group_id)
    }

    fn credential_with_key(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(codec::encode(&self.credential)).into(),
            signature_key: self.key.public_key().as_bytes().to_vec().into(),
        }
    }
}

impl GroupEngine for OpenMlsEngine {
    fn key_packages(
        &mut self,
        rows: &dyn Rows,
        count: usize,
        last_resort: bool,
    ) -> Result<(Vec<Bytes>, WriteSet), GroupError> {
        if count > KEY_PACKAGES_MAX {
            return Err(GroupError::TooMany { max: KEY_PACKAGES_MAX, got: count });
        }
        let provider = Provider::new(rows);
        let key_packages = (0..count)
            .map(|_| {
                let builder = KeyPackage::builder().leaf_node_capabilities(capabilities());
                let builder = if last_resort { builder.mark_as_last_resort() } else { builder };
                let bundle = builder
                    .build(SUITE, &provider, &self.signer(), self.credential_with_key())
                    .map_err(|_| GroupError::Engine)?;
                encode(&MlsMessageOut::from(bundle.into_key_package()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok((key_packages, provider.finish()))
    }

    fn create(
        &mut self,
        rows: &dyn Rows,
        group_id: &[u8],
        conv_state: &[u8],
        key_packages: &[Bytes],
    ) -> Result<(Created, WriteSet), GroupError> {
        check_creation(group_id, conv_state, key_packages)?;
        let mut members = vec![Member { credential: self.credential.clone(), key: self.key.public_key() }];
        let mut adds = Vec::with_capacity(key_packages.len());
        for bytes in key_packages {
            let (key_package, info) = public::validate_key_package(bytes.as_slice())?;
            members.push(info.member);
            adds.push(key_package);
        }
        check_distinct(&members)?;

        let provider = Provider::new(rows);
        let mut group = MlsGroup::builder()
            .with_group_id(GroupId::from_slice(group_id))
            .ciphersuite(SUITE)
            .with_wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .padding_size(PADDING_BYTES)
            .max_past_epochs(0)
            .sender_ratchet_configuration(ratchet_configuration())
            .use_ratchet_tree_extension(false)
            .with_capabilities(capabilities())
            .with_group_context_extensions(context_extensions(conv_state)?)
            .build(&provider, &self.signer(), self.credential_with_key())
            .map_err(|error| match error {
                NewGroupError::GroupAlreadyExists => GroupError::GroupExists,
                NewGroupError::StorageError(_) => GroupError::BadRow,
                _ => GroupError::Engine,
            })?;
        let bundle = group
            .commit_builder()
            .propose_adds(adds)
            .load_psks(provider.storage())
            .map_err(|_| GroupError::Engine)?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &self.signer(), |_| true)
            .map_err(|_| GroupError::InvalidKeyPackage)?
            .stage_commit(&provider)
            .map_err(|_| GroupError::Engine)?;
        group.merge_pending_commit(&provider).map_err(|_| GroupError::Engine)?;

        let (commit, welcome, group_info) = bundle.into_messages();
        let tree = group.export_ratchet_tree().tls_serialize_detached().map_err(|_| GroupError::Engine)?;
        let created = Created {
            group_id: group_id.to_vec(),
            epoch: group.epoch().as_u64(),
            commit: encode(&commit)?,
            welcome: encode(&welcome.ok_or(GroupError::Engine)?)?,
            group_info: encode(&group_info.ok_or(GroupError::Engine)?)?,
            tree: Bytes(tree),
        };
        bounded(Part::Welcome, created.welcome.as_slice(), WELCOME_MAX_BYTES)?;
        Ok((created, self.end(provider, rows, Working::new(group))?))
    }

    fn join(&mut self, rows: &dyn Rows, welcome: &[u8], tree: &[u8]) -> Result<(Joined, WriteSet), GroupError> {
        let MlsMessageBodyIn::Welcome(welcome) = public::message(Part::Welcome, welcome, WELCOME_MAX_BYTES)? else {
            return Err(GroupError::Malformed(Part::Welcome));
        };
        let tree = public::parse_tree(tree)?;
        let provider = Provider::new(rows);
        let staged = StagedWelcome::build_from_welcome(&provider, &join_configuration(), welcome)
            .map_err(refused_welcome)?
            .with_ratchet_tree(tree)
            .skip_lifetime_validation()
            .build()
            .map_err(refused_welcome)?;
        if staged.group_context().ciphersuite() != SUITE {
            return Err(GroupError::WrongSuite);
        }
        let context = staged.group_context();
        let joined = Joined {
            group_id: context.group_id().as_slice().to_vec(),
            epoch: context.epoch().as_u64(),
            conv_state: public::conv_state(context.extensions())?,
            members: public::members(staged.members())?,
        };
        bounded(Part::GroupId, &joined.group_id, GROUP_ID_MAX_BYTES)?;
        let group = staged.into_group(&provider).map_err(refused_welcome)?;
        let mut writes = self.end(provider, rows, Working::new(group))?;
        // Whoever is added again has left behind what it knew, and any attempt to come back by itself.
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
        if PendingRejoin::read(rows, group_id)?.is_some() {
            let mut writes = WriteSet::default();
            PendingRejoin::delete(&mut writes, group_id);
            return Ok(writes);
        }
        if Former::read(rows, group_id)?.is_some() {
            return Ok(WriteSet::default());
        }
        let provider = Provider::new(rows);
        let mut working = self.begin(&provider, rows, group_id)?;
        working.group.clear_pending_commit(provider.storage()).map_err(|_| GroupError::BadRow)?;
        self.end(provider, rows, working)
    }

    fn has_pending(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<bool, GroupError> {
        if PendingRejoin::read(rows, group_id)?.is_some() {
            return Ok(true);
        }
        if Former::read(rows, group_id)?.is_some() {
            return Ok(false);
        }
        self.look(rows, group_id, |_, working| Ok(working.group.pending_commit().is_some()))
    }

    fn epoch(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<u64, GroupError> {
        if let Some(former) = Former::read(rows, group_id)? {
            return Ok(former.epoch);
        }
        self.look(rows, group_id, |_, working| Ok(working.group.epoch().as_u64()))
    }

    fn conv_state(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError> {
        if let Some(former) = Former::read(rows, group_id)? {
            return Ok(former.conv_state);
        }
        self.look(rows, group_id, |_, working| public::conv_state(working.group.extensions()))
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
            Some(pending) if pending.commit.as_slice() == commit => self.merge_rejoin(rows, group_id, pending, now_ms),
            pending => self.merge_commit(rows, group_id, commit, pending.as_ref(), now_ms),
        }
    }

    fn rejoin(&mut self, rows: &dyn Rows, group_info: &[u8], tree: &[u8]) -> Result<(Committed, WriteSet), GroupError> {
        self.make_rejoin(rows, group_info, tree)
    }

    fn public_state(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError> {
        rejoin::public_state(rows, group_id)
    }

    fn replay(
        &self,
        state: &[u8],
        commit: &[u8],
        welcome: Option<&[u8]>,
        group_info: &[u8],
    ) -> Result<(CommitView, Bytes), GroupError> {
        super::hub::judge(state, commit, welcome, group_info)
    }

    fn seal(&mut self, rows: &dyn Rows, group_id: &[u8], plaintext: &[u8]) -> Result<(Sealed, WriteSet), GroupError> {
        bounded(Part::Plaintext, plaintext, PLAINTEXT_MAX_BYTES)?;
        let provider = Provider::new(rows);
        let mut working = self.begin_as_member(&provider, rows, group_id)?;
        let group = &mut working.group;
        let message = group.create_message(&provider, &self.signer(), plaintext).map_err(|_| GroupError::Engine)?;
        let sealed = Sealed { epoch: group.epoch().as_u64(), ciphertext: encode(&message)? };
        bounded(Part::Ciphertext, sealed.ciphertext.as_slice(), CIPHERTEXT_MAX_BYTES)?;
        Ok((sealed, self.end(provider, rows, working)?))
    }

    fn open(&mut self, rows: &dyn Rows, group_id: &[u8], ciphertext: &[u8]) -> Result<(Opened, WriteSet), GroupError> {
        self.open_message(rows, group_id, ciphertext)
    }

    fn authenticator(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Bytes, GroupError> {
        refuse_removed(rows, group_id)?;
        self.look(rows, group_id, |_, working| Ok(Bytes(working.group.epoch_authenticator().as_slice().to_vec())))
    }

    fn seal_whisper(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        nonce: [u8; WHISPER_NONCE_BYTES],
        plaintext: &[u8],
    ) -> Result<Sealed, GroupError> {
        refuse_removed(rows, group_id)?;
        self.look(rows, group_id, |provider, working| {
            let epoch = working.group.epoch().as_u64();
            let key = whisper_key(provider, &working.group)?;
            let ciphertext = key.seal((group_id, epoch), &self.credential.device, nonce, plaintext)?;
            Ok(Sealed { epoch, ciphertext })
        })
    }

    fn open_whisper(&self, rows: &dyn Rows, group_id: &[u8], epoch: u64, sealed: &[u8]) -> Result<Whisper, GroupError> {
        whisper::check_length(sealed)?;
        refuse_removed(rows, group_id)?;
        self.look(rows, group_id, |provider, working| {
            let expected = working.group.epoch().as_u64();
            if epoch != expected {
                return Err(GroupError::WrongEpoch { expected, got: epoch });
            }
            let opened = whisper_key(provider, &working.group)?.open((group_id, epoch), sealed)?;
            whisper::of_member(working.members()?, &self.credential.device, opened)
        })
    }

    fn members(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Vec<Member>, GroupError> {
        if let Some(former) = Former::read(rows, group_id)? {
            return Ok(former.members);
        }
        self.look(rows, group_id, |_, working| working.members())
    }

    fn forget(&mut self, rows: &dyn Rows, group_id: &[u8]) -> Result<WriteSet, GroupError> {
        self.held.borrow_mut().forget(group_id);
        let provider = Provider::new(rows);
        let member = match load(&provider, group_id) {
            Ok(mut group) => group.delete(provider.storage()).map(|()| true).map_err(|_| GroupError::BadRow)?,
            Err(GroupError::UnknownGroup) => false,
            Err(error) => return Err(error),
        };
        let known = member || Former::read(rows, group_id)?.is_some() || PendingRejoin::read(rows, group_id)?.is_some();
        if !known {
            return Err(GroupError::UnknownGroup);
        }
        let mut writes = provider.finish();
        Former::delete(&mut writes, group_id);
        PendingRejoin::delete(&mut writes, group_id);
        for dropped in past_epochs::forget(rows, &mut writes, group_id)? {
            past_copy::delete(&mut writes, &dropped)?;
        }
        Ok(writes)
    }
}

fn load(provider: &Provider<'_>, group_id: &[u8]) -> Result<MlsGroup, GroupError> {
    bounded(Part::GroupId, group_id, GROUP_ID_MAX_BYTES)?;
    MlsGroup::load(provider.storage(), &GroupId::from_slice(group_id))
        .map_err(|_| GroupError::BadRow)?
        .ok_or(GroupError::UnknownGroup)
}

fn encode(message: &MlsMessageOut) -> Result<Bytes, GroupError> {
    message.to_bytes().map(Bytes).map_err(|_| GroupError::Engine)
}

/// The key of the group's whispers, in its epoch.
fn whisper_key(provider: &Provider<'_>, group: &MlsGroup) -> Result<WhisperKey, GroupError> {
    let exported = group
        .export_secret(provider.crypto(), labels::EXPORT_WHISPER, whisper::CONTEXT, whisper::KEY_BYTES)
        .map_err(|_| GroupError::Engine)?;
    WhisperKey::new(&Zeroizing::new(exported))
}

fn refuse_removed(rows: &dyn Rows, group_id: &[u8]) -> Result<(), GroupError> {
    if Former::read(rows, group_id)?.is_some() { Err(GroupError::Removed) } else { Ok(()) }
}
