//! The same device by OpenMLS alone, with its own store in memory: what it costs without our rows, checks and copies.
//!
//! Configured as our engine is: suite, wire format, padding, ratchets, capabilities, extensions, the tree outside the
//! Welcome. The group stays in memory between two calls, as OpenMLS means it to.

use super::{Begun, GROUP, Made, Person, Side, What, present};
use crate::bench::BenchError;
use ed25519_dalek::{Signer as _, SigningKey};
use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CredentialType, CredentialWithKey, DeserializeBytes as _, Extension,
    ExtensionType, Extensions, GroupContext, GroupId, KeyPackage, KeyPackageIn, MlsGroup, MlsGroupJoinConfig,
    MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, OpenMlsProvider as _, PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
    ProcessedMessageContent, ProposalStore, ProtocolMessage, ProtocolVersion, PublicGroup, RatchetTreeIn,
    RequiredCapabilitiesExtension, SenderRatchetConfiguration, SignatureScheme, StagedWelcome, UnknownExtension,
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::signatures::{Signer, SignerError};
use roost_crypto::group::{CONV_STATE_EXTENSION, FORWARD_DISTANCE_MAX, OUT_OF_ORDER_TOLERANCE};
use roost_crypto::ids::DeviceId;
use roost_protocol::codec;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;
const STATE: ExtensionType = ExtensionType::Unknown(CONV_STATE_EXTENSION);
/// As our engine pads, in bytes.
const PADDING_BYTES: usize = 256;

/// A device.
pub(super) struct Bare {
    provider: OpenMlsRustCrypto,
    key: Key,
    credential: CredentialWithKey,
    device: DeviceId,
    group: Option<MlsGroup>,
}

/// A hub that keeps its group.
pub(super) struct Hub {
    provider: OpenMlsRustCrypto,
    group: PublicGroup,
}

/// The device's key.
struct Key(SigningKey);

impl Signer for Key {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_bytes().to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl Bare {
    fn group(&self) -> Result<&MlsGroup, BenchError> {
        present(self.group.as_ref(), "the group")
    }
}

impl Side for Bare {
    type Hub = Hub;

    fn new(Person { key, credential }: Person) -> Self {
        let device = credential.device;
        let signature_key = key.public_key().as_bytes().to_vec().into();
        let credential = BasicCredential::new(codec::encode(&credential)).into();
        Self {
            provider: OpenMlsRustCrypto::default(),
            key: Key(SigningKey::from_bytes(&key.seed())),
            credential: CredentialWithKey { credential, signature_key },
            device,
            group: None,
        }
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn key_package(&mut self) -> Result<Vec<u8>, BenchError> {
        let builder = KeyPackage::builder().leaf_node_capabilities(capabilities());
        let bundle = builder.build(SUITE, &self.provider, &self.key, self.credential.clone());
        let package = MlsMessageOut::from(bundle.map_err(BenchError::wire)?.into_key_package());
        package.to_bytes().map_err(BenchError::wire)
    }

    fn found(&mut self, state: &[u8], key_package: &[u8]) -> Result<Begun, BenchError> {
        let package = read_key_package(&self.provider, key_package)?;
        let required = RequiredCapabilitiesExtension::new(&[STATE], &[], &[CredentialType::Basic]);
        let context: Extensions<GroupContext> =
            Extensions::from_vec(vec![Extension::RequiredCapabilities(required), state_extension(state)])
                .map_err(BenchError::wire)?;
        let mut group = MlsGroup::builder()
            .with_group_id(GroupId::from_slice(GROUP.as_bytes()))
            .ciphersuite(SUITE)
            .with_wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .padding_size(PADDING_BYTES)
            .max_past_epochs(0)
            .sender_ratchet_configuration(ratchets())
            .use_ratchet_tree_extension(false)
            .with_capabilities(capabilities())
            .with_group_context_extensions(context)
            .build(&self.provider, &self.key, self.credential.clone())
            .map_err(BenchError::wire)?;
        let bundle = group
            .commit_builder()
            .propose_adds([package])
            .load_psks(self.provider.storage())
            .map_err(BenchError::wire)?
            .create_group_info(true)
            .build(self.provider.rand(), self.provider.crypto(), &self.key, |_| true)
            .map_err(BenchError::wire)?
            .stage_commit(&self.provider)
            .map_err(BenchError::wire)?;
        group.merge_pending_commit(&self.provider).map_err(BenchError::wire)?;
        let (_, welcome, group_info) = bundle.into_messages();
        let tree = group.export_ratchet_tree().tls_serialize_detached().map_err(BenchError::wire)?;
        self.group = Some(group);
        let welcome = present(welcome, "a Welcome")?.to_bytes().map_err(BenchError::wire)?;
        let group_info = present(group_info, "a GroupInfo")?.to_bytes().map_err(BenchError::wire)?;
        Ok(Begun { welcome, group_info, tree })
    }

    fn commit(&mut self, what: What<'_>, state: &[u8]) -> Result<Made, BenchError> {
        let group = present(self.group.as_mut(), "the group")?;
        let mut context = group.extensions().clone();
        context.add_or_replace(state_extension(state)).map_err(BenchError::wire)?;
        let mut removals = Vec::new();
        if let What::Remove(device) = &what {
            let is_it = |key: &[u8]| roost_protocol::PublicKey::from_slice(key).map(|key| DeviceId::of(&key));
            let leaf = group.members().find(|leaf| is_it(&leaf.signature_key) == Some(*device));
            removals.push(present(leaf, "a member")?.index);
        }
        let adds = match what {
            What::Add(package) => vec![read_key_package(&self.provider, package)?],
            _ => Vec::new(),
        };
        let bundle = group
            .commit_builder()
            .consume_proposal_store(false)
            .force_self_update(true)
            .propose_adds(adds)
            .propose_removals(removals)
            .propose_group_context_extensions(context)
            .map_err(BenchError::wire)?
            .load_psks(self.provider.storage())
            .map_err(BenchError::wire)?
            .create_group_info(true)
            .build(self.provider.rand(), self.provider.crypto(), &self.key, |_| true)
            .map_err(BenchError::wire)?
            .stage_commit(&self.provider)
            .map_err(BenchError::wire)?;
        let (commit, welcome, group_info) = bundle.into_messages();
        let made = Made {
            commit: commit.to_bytes().map_err(BenchError::wire)?,
            welcome: welcome.map(|welcome| welcome.to_bytes()).transpose().map_err(BenchError::wire)?,
            group_info: present(group_info, "a GroupInfo")?.to_bytes().map_err(BenchError::wire)?,
        };
        group.merge_pending_commit(&self.provider).map_err(BenchError::wire)?;
        Ok(made)
    }

    fn follow(&mut self, commit: &[u8]) -> Result<(), BenchError> {
        let message = read_commit(commit)?;
        let group = present(self.group.as_mut(), "the group")?;
        let processed = group.process_message(&self.provider, message).map_err(BenchError::wire)?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(BenchError::wire("a commit was expected"));
        };
        group.merge_staged_commit(&self.provider, *staged).map_err(BenchError::wire)
    }

    fn join(&mut self, welcome: &[u8], tree: &[u8]) -> Result<(), BenchError> {
        let MlsMessageBodyIn::Welcome(welcome) = read(welcome)? else {
            return Err(BenchError::wire("a Welcome was expected"));
        };
        let tree = RatchetTreeIn::tls_deserialize_exact_bytes(tree).map_err(BenchError::wire)?;
        let configuration = MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .padding_size(PADDING_BYTES)
            .max_past_epochs(0)
            .sender_ratchet_configuration(ratchets())
            .use_ratchet_tree_extension(false)
            .build();
        let staged = StagedWelcome::build_from_welcome(&self.provider, &configuration, welcome)
            .map_err(BenchError::wire)?
            .with_ratchet_tree(tree)
            .skip_lifetime_validation()
            .build()
            .map_err(BenchError::wire)?;
        self.group = Some(staged.into_group(&self.provider).map_err(BenchError::wire)?);
        Ok(())
    }

    fn authenticator(&self) -> Result<Vec<u8>, BenchError> {
        Ok(self.group()?.epoch_authenticator().as_slice().to_vec())
    }

    fn hub(begun: &Begun) -> Result<Hub, BenchError> {
        let provider = OpenMlsRustCrypto::default();
        let MlsMessageBodyIn::GroupInfo(info) = read(&begun.group_info)? else {
            return Err(BenchError::wire("a GroupInfo was expected"));
        };
        let tree = RatchetTreeIn::tls_deserialize_exact_bytes(&begun.tree).map_err(BenchError::wire)?;
        let group = PublicGroup::from_external(provider.crypto(), provider.storage(), tree, info, ProposalStore::new());
        let (group, _) = group.map_err(BenchError::wire)?;
        Ok(Hub { provider, group })
    }

    fn judge(Hub { provider, group }: &mut Hub, made: &Made) -> Result<(), BenchError> {
        let processed =
            group.process_message(provider.crypto(), read_commit(&made.commit)?).map_err(BenchError::wire)?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(BenchError::wire("a commit was expected"));
        };
        group.merge_commit(provider.storage(), *staged).map_err(BenchError::wire)
    }

    fn tree(hub: &Hub) -> Result<Vec<u8>, BenchError> {
        hub.group.export_ratchet_tree().tls_serialize_detached().map_err(BenchError::wire)
    }
}

fn capabilities() -> Capabilities {
    let extensions = [ExtensionType::LastResort, STATE];
    Capabilities::new(None, Some(&[SUITE]), Some(&extensions), None, Some(&[CredentialType::Basic]))
}

fn ratchets() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER_TOLERANCE, FORWARD_DISTANCE_MAX)
}

fn state_extension(state: &[u8]) -> Extension {
    Extension::Unknown(CONV_STATE_EXTENSION, UnknownExtension(state.to_vec()))
}

fn read(bytes: &[u8]) -> Result<MlsMessageBodyIn, BenchError> {
    MlsMessageIn::tls_deserialize_exact_bytes(bytes).map(MlsMessageIn::extract).map_err(BenchError::wire)
}

fn read_commit(bytes: &[u8]) -> Result<ProtocolMessage, BenchError> {
    match read(bytes)? {
        MlsMessageBodyIn::PublicMessage(message) => Ok(message.into()),
        _ => Err(BenchError::wire("a PublicMessage was expected")),
    }
}

fn read_key_package(provider: &OpenMlsRustCrypto, bytes: &[u8]) -> Result<KeyPackage, BenchError> {
    let package: KeyPackageIn = match read(bytes)? {
        MlsMessageBodyIn::KeyPackage(package) => package,
        _ => return Err(BenchError::wire("a key package was expected")),
    };
    package.validate(provider.crypto(), ProtocolVersion::Mls10).map_err(BenchError::wire)
}
