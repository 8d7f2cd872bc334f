//! The engine over OpenMLS, suite 0x0003: handshakes as PublicMessage, application messages padded to 256 bytes.
//!
//! Loads the group from rows in every call and drops it afterwards, so that a refused or lost write set leaves no state
//! in memory that is ahead of the store. Never signs anything but what OpenMLS hands it.

use super::overlay::{Provider, RowError};
use super::public::{self, SUITE};
use super::{
    CIPHERTEXT_MAX_BYTES, CONV_STATE_EXTENSION, Created, Credential, FORWARD_DISTANCE_MAX, GROUP_ID_MAX_BYTES,
    GroupEngine, GroupError, Joined, KEY_PACKAGES_MAX, Member, OUT_OF_ORDER_TOLERANCE, Opened, PLAINTEXT_MAX_BYTES,
    Part, Rows, Sealed, WELCOME_MAX_BYTES, WriteSet, bounded, check_creation, check_distinct,
};
use crate::bytes::Bytes;
use crate::codec;
use crate::keys::SecretKey;
use openmls::framing::errors::MessageDecryptionError;
use openmls::prelude::{
    BasicCredential, Capabilities, ContentType, CredentialType, CredentialWithKey, Extension, ExtensionType,
    Extensions, GroupContext, GroupId, KeyPackage, MlsGroup, MlsGroupJoinConfig, MlsMessageBodyIn, MlsMessageOut,
    NewGroupError, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProcessMessageError, ProcessedMessageContent, ProtocolMessage,
    RequiredCapabilitiesExtension, SenderRatchetConfiguration, StagedWelcome, UnknownExtension, ValidationError,
    WelcomeError,
};
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::SignatureScheme;
use tls_codec::Serialize as _;

/// Application messages are padded to a multiple of this, in bytes.
const PADDING_BYTES: usize = 256;

/// The engine of one device.
#[derive(Debug)]
pub struct OpenMlsEngine {
    key: SecretKey,
    credential: Credential,
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
        Self { key: device_key, credential }
    }

    fn signer(&self) -> LeafSigner<'_> {
        LeafSigner(&self.key)
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
        Ok((created, provider.finish()))
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
        staged.into_group(&provider).map_err(refused_welcome)?;
        Ok((joined, provider.finish()))
    }

    fn seal(&mut self, rows: &dyn Rows, group_id: &[u8], plaintext: &[u8]) -> Result<(Sealed, WriteSet), GroupError> {
        bounded(Part::Plaintext, plaintext, PLAINTEXT_MAX_BYTES)?;
        let provider = Provider::new(rows);
        let mut group = load(&provider, group_id)?;
        let message = group.create_message(&provider, &self.signer(), plaintext).map_err(|_| GroupError::Engine)?;
        let sealed = Sealed { epoch: group.epoch().as_u64(), ciphertext: encode(&message)? };
        bounded(Part::Ciphertext, sealed.ciphertext.as_slice(), CIPHERTEXT_MAX_BYTES)?;
        Ok((sealed, provider.finish()))
    }

    fn open(&mut self, rows: &dyn Rows, group_id: &[u8], ciphertext: &[u8]) -> Result<(Opened, WriteSet), GroupError> {
        let message = match public::message(Part::Ciphertext, ciphertext, CIPHERTEXT_MAX_BYTES)? {
            MlsMessageBodyIn::PrivateMessage(message) => ProtocolMessage::from(message),
            MlsMessageBodyIn::PublicMessage(_) => return Err(GroupError::NotApplication),
            _ => return Err(GroupError::Malformed(Part::Ciphertext)),
        };
        let provider = Provider::new(rows);
        let mut group = load(&provider, group_id)?;
        if message.group_id() != group.group_id() {
            return Err(GroupError::WrongGroup);
        }
        let (expected, got) = (group.epoch().as_u64(), message.epoch().as_u64());
        if expected != got {
            return Err(GroupError::WrongEpoch { expected, got });
        }
        if message.content_type() != ContentType::Application {
            return Err(GroupError::NotApplication);
        }
        let processed = group.process_message(&provider, message).map_err(refused_message)?;
        let sender =
            BasicCredential::try_from(processed.credential().clone()).map_err(|_| GroupError::BadCredential)?;
        let sender = codec::decode_canonical(sender.identity(), super::CREDENTIAL_MAX_BYTES)
            .map_err(|_| GroupError::BadCredential)?;
        let plaintext = match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => message.into_bytes(),
            ProcessedMessageContent::OwnPrivateMessage => return Err(GroupError::OwnMessage),
            _ => return Err(GroupError::NotApplication),
        };
        Ok((Opened { sender, epoch: got, plaintext }, provider.finish()))
    }

    fn members(&self, rows: &dyn Rows, group_id: &[u8]) -> Result<Vec<Member>, GroupError> {
        let provider = Provider::new(rows);
        public::members(load(&provider, group_id)?.members())
    }

    fn forget(&mut self, rows: &dyn Rows, group_id: &[u8]) -> Result<WriteSet, GroupError> {
        let provider = Provider::new(rows);
        load(&provider, group_id)?.delete(provider.storage()).map_err(|_| GroupError::BadRow)?;
        Ok(provider.finish())
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

fn capabilities() -> Capabilities {
    let extensions = [ExtensionType::LastResort, ExtensionType::Unknown(CONV_STATE_EXTENSION)];
    Capabilities::new(None, Some(&[SUITE]), Some(&extensions), None, Some(&[CredentialType::Basic]))
}

fn context_extensions(conv_state: &[u8]) -> Result<Extensions<GroupContext>, GroupError> {
    let required = RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(CONV_STATE_EXTENSION)],
        &[],
        &[CredentialType::Basic],
    );
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(required),
        Extension::Unknown(CONV_STATE_EXTENSION, UnknownExtension(conv_state.to_vec())),
    ])
    .map_err(|_| GroupError::Engine)
}

fn ratchet_configuration() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER_TOLERANCE, FORWARD_DISTANCE_MAX)
}

fn join_configuration() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .padding_size(PADDING_BYTES)
        .max_past_epochs(0)
        .sender_ratchet_configuration(ratchet_configuration())
        .use_ratchet_tree_extension(false)
        .build()
}

fn refused_welcome(error: WelcomeError<RowError>) -> GroupError {
    match error {
        WelcomeError::NoMatchingKeyPackage | WelcomeError::JoinerSecretNotFound => GroupError::NoKeyPackage,
        WelcomeError::GroupAlreadyExists => GroupError::GroupExists,
        WelcomeError::StorageError(_) => GroupError::BadRow,
        _ => GroupError::InvalidWelcome,
    }
}

fn refused_message(error: ProcessMessageError<RowError>) -> GroupError {
    match error {
        ProcessMessageError::StorageError(_) => GroupError::BadRow,
        ProcessMessageError::ValidationError(ValidationError::UnableToDecrypt(
            MessageDecryptionError::SecretTreeError(error),
        )) => refused_generation(&format!("{error:?}")),
        _ => GroupError::Undecryptable,
    }
}

/// OpenMLS does not export the type of these errors, so they are told apart by name. The version is pinned and the
/// tests know each of them.
fn refused_generation(name: &str) -> GroupError {
    match name {
        "SecretReuseError" => GroupError::AlreadyOpened,
        "TooDistantInThePast" => GroupError::TooOld,
        "TooDistantInTheFuture" => GroupError::TooFarAhead,
        _ => GroupError::Undecryptable,
    }
}
