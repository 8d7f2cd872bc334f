//! OpenMLS's storage over the device's rows: reads through, collects writes, applies none.
//!
//! A key is a table name, a zero byte and the CBOR of OpenMLS's key; a value is OpenMLS's value as [`packed`] writes it (it
//! accepts self-describing formats only). OpenMLS's trait knows no transaction and one merge makes about ten writes, so they are
//! collected here and become one [`WriteSet`].

use super::{Rows, WriteSet, packed};
use openmls::prelude::GroupId;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Why a row is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowError {
    /// Not CBOR of the type, or a queued proposal that is listed and missing.
    #[error("the row cannot be read")]
    Unreadable,
    /// A value that cannot be written as CBOR.
    #[error("the value cannot be written")]
    Unwritable,
}

/// Rows as they were when they were read; `None` where there was none.
type Noted = BTreeMap<Vec<u8>, Option<Zeroizing<Vec<u8>>>>;

/// Rows as one call sees them, its own writes included.
pub(super) struct Overlay<'a> {
    rows: &'a dyn Rows,
    writes: RefCell<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    /// What each row was written with first, where that is asked for.
    first: Option<RefCell<BTreeMap<Vec<u8>, Vec<u8>>>>,
    /// What was read of the rows, where that is asked for.
    noted: Option<RefCell<Noted>>,
}

impl<'a> Overlay<'a> {
    fn new(rows: &'a dyn Rows) -> Self {
        Self { rows, writes: RefCell::new(BTreeMap::new()), first: None, noted: None }
    }

    fn get<V: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<V>, RowError> {
        let value = match self.writes.borrow().get(key) {
            Some(written) => written.clone(),
            None => {
                let value = self.rows.row(key);
                if let Some(noted) = &self.noted {
                    noted.borrow_mut().insert(key.to_vec(), value.clone().map(Zeroizing::new));
                }
                value
            }
        };
        value.map(|bytes| read(&bytes)).transpose()
    }

    fn put<V: Serialize + ?Sized>(&self, key: Vec<u8>, value: &V) -> Result<(), RowError> {
        let value = written(value)?;
        if let Some(first) = &self.first {
            first.borrow_mut().entry(key.clone()).or_insert_with(|| value.clone());
        }
        self.writes.borrow_mut().insert(key, Some(value));
        Ok(())
    }

    fn delete(&self, key: Vec<u8>) {
        self.writes.borrow_mut().insert(key, None);
    }
}

/// OpenMLS's provider for one call.
pub(super) struct Provider<'a> {
    crypto: RustCrypto,
    overlay: Overlay<'a>,
}

impl<'a> Provider<'a> {
    /// Over `rows`.
    pub(super) fn new(rows: &'a dyn Rows) -> Self {
        Self { crypto: RustCrypto::default(), overlay: Overlay::new(rows) }
    }

    /// Over `rows`, for calls that write a group and then merge into it, where the state in between is wanted as well.
    pub(super) fn remembering(rows: &'a dyn Rows) -> Self {
        let overlay = Overlay { first: Some(RefCell::default()), ..Overlay::new(rows) };
        Self { crypto: RustCrypto::default(), overlay }
    }

    /// Over `rows`, for calls whose result is good as long as what they read is the same.
    pub(super) fn noting(rows: &'a dyn Rows) -> Self {
        let overlay = Overlay { noted: Some(RefCell::default()), ..Overlay::new(rows) };
        Self { crypto: RustCrypto::default(), overlay }
    }

    /// What was read since the last call, if it is noted.
    pub(super) fn noted(&self) -> BTreeMap<Vec<u8>, Option<Zeroizing<Vec<u8>>>> {
        self.overlay.noted.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// What a group's row of `table` was written with first; `None` if it was not written, or nobody remembers.
    pub(super) fn first(&self, table: &str, group_id: &GroupId) -> Result<Option<Vec<u8>>, RowError> {
        let key = row_key(table, group_id)?;
        Ok(self.overlay.first.as_ref().and_then(|first| first.borrow().get(&key).cloned()))
    }

    /// What was written.
    pub(super) fn finish(self) -> WriteSet {
        WriteSet(self.overlay.writes.into_inner())
    }
}

impl<'a> OpenMlsProvider for Provider<'a> {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = Overlay<'a>;

    fn storage(&self) -> &Overlay<'a> {
        &self.overlay
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &RustCrypto {
        &self.crypto
    }
}

/// The value of a row.
pub(super) fn written<V: Serialize + ?Sized>(value: &V) -> Result<Vec<u8>, RowError> {
    packed::encode(value).map_err(|_| RowError::Unwritable)
}

/// What the value of a row is.
pub(super) fn read<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, RowError> {
    packed::decode(bytes).map_err(|_| RowError::Unreadable)
}

/// The key of a row.
pub(super) fn row_key<K: Serialize + ?Sized>(table: &str, key: &K) -> Result<Vec<u8>, RowError> {
    let mut bytes = table.as_bytes().to_vec();
    bytes.push(0);
    ciborium::into_writer(key, &mut bytes).map_err(|_| RowError::Unwritable)?;
    Ok(bytes)
}

const KEY_PACKAGE: &str = "mls/key-package";
const PSK: &str = "mls/psk";
const ENCRYPTION_KEY_PAIR: &str = "mls/encryption-key-pair";
const SIGNATURE_KEY_PAIR: &str = "mls/signature-key-pair";
pub(super) const EPOCH_KEY_PAIRS: &str = "mls/epoch-key-pairs";
pub(super) const TREE: &str = "mls/tree";
pub(super) const CONTEXT: &str = "mls/context";
pub(super) const INTERIM_TRANSCRIPT_HASH: &str = "mls/interim-transcript-hash";
pub(super) const CONFIRMATION_TAG: &str = "mls/confirmation-tag";
pub(super) const JOIN_CONFIG: &str = "mls/join-config";
pub(super) const OWN_LEAF_NODES: &str = "mls/own-leaf-nodes";
pub(super) const GROUP_STATE: &str = "mls/group-state";
const QUEUED_PROPOSAL: &str = "mls/queued-proposal";
pub(super) const PROPOSAL_REFS: &str = "mls/proposal-refs";
pub(super) const OWN_LEAF_INDEX: &str = "mls/own-leaf-index";
pub(super) const EPOCH_SECRETS: &str = "mls/epoch-secrets";
pub(super) const RESUMPTION_PSKS: &str = "mls/resumption-psks";
pub(super) const MESSAGE_SECRETS: &str = "mls/message-secrets";

/// Setters of one value: the generics in the trait's order, then which of them is the key.
macro_rules! setters {
    ($($name:ident<$a:ident: $at:ident, $b:ident: $bt:ident>(key: $key:ident, value: $value:ident) in $table:ident;)+) => {
        $(fn $name<$a: traits::$at<CURRENT_VERSION>, $b: traits::$bt<CURRENT_VERSION>>(
            &self,
            key: &$key,
            value: &$value,
        ) -> Result<(), RowError> {
            self.put(row_key($table, key)?, value)
        })+
    };
}

/// Getters of one value.
macro_rules! getters {
    ($($name:ident<$a:ident: $at:ident, $b:ident: $bt:ident>(key: $key:ident, value: $value:ident) in $table:ident;)+) => {
        $(fn $name<$a: traits::$at<CURRENT_VERSION>, $b: traits::$bt<CURRENT_VERSION>>(
            &self,
            key: &$key,
        ) -> Result<Option<$value>, RowError> {
            self.get(&row_key($table, key)?)
        })+
    };
}

/// Deleters of one value.
macro_rules! deleters {
    ($($name:ident($key:ident) in $table:ident;)+) => {
        $(fn $name<K: traits::$key<CURRENT_VERSION>>(&self, key: &K) -> Result<(), RowError> {
            self.delete(row_key($table, key)?);
            Ok(())
        })+
    };
}

impl StorageProvider<CURRENT_VERSION> for Overlay<'_> {
    type Error = RowError;

    setters! {
        write_mls_join_config<K: GroupId, V: MlsGroupJoinConfig>(key: K, value: V) in JOIN_CONFIG;
        write_tree<K: GroupId, V: TreeSync>(key: K, value: V) in TREE;
        write_interim_transcript_hash<K: GroupId, V: InterimTranscriptHash>(key: K, value: V) in INTERIM_TRANSCRIPT_HASH;
        write_context<K: GroupId, V: GroupContext>(key: K, value: V) in CONTEXT;
        write_confirmation_tag<K: GroupId, V: ConfirmationTag>(key: K, value: V) in CONFIRMATION_TAG;
        write_group_state<V: GroupState, K: GroupId>(key: K, value: V) in GROUP_STATE;
        write_message_secrets<K: GroupId, V: MessageSecrets>(key: K, value: V) in MESSAGE_SECRETS;
        write_resumption_psk_store<K: GroupId, V: ResumptionPskStore>(key: K, value: V) in RESUMPTION_PSKS;
        write_own_leaf_index<K: GroupId, V: LeafNodeIndex>(key: K, value: V) in OWN_LEAF_INDEX;
        write_group_epoch_secrets<K: GroupId, V: GroupEpochSecrets>(key: K, value: V) in EPOCH_SECRETS;
        write_signature_key_pair<K: SignaturePublicKey, V: SignatureKeyPair>(key: K, value: V) in SIGNATURE_KEY_PAIR;
        write_encryption_key_pair<K: EncryptionKey, V: HpkeKeyPair>(key: K, value: V) in ENCRYPTION_KEY_PAIR;
        write_key_package<K: HashReference, V: KeyPackage>(key: K, value: V) in KEY_PACKAGE;
        write_psk<K: PskId, V: PskBundle>(key: K, value: V) in PSK;
    }

    getters! {
        mls_group_join_config<K: GroupId, V: MlsGroupJoinConfig>(key: K, value: V) in JOIN_CONFIG;
        tree<K: GroupId, V: TreeSync>(key: K, value: V) in TREE;
        group_context<K: GroupId, V: GroupContext>(key: K, value: V) in CONTEXT;
        interim_transcript_hash<K: GroupId, V: InterimTranscriptHash>(key: K, value: V) in INTERIM_TRANSCRIPT_HASH;
        confirmation_tag<K: GroupId, V: ConfirmationTag>(key: K, value: V) in CONFIRMATION_TAG;
        group_state<V: GroupState, K: GroupId>(key: K, value: V) in GROUP_STATE;
        message_secrets<K: GroupId, V: MessageSecrets>(key: K, value: V) in MESSAGE_SECRETS;
        resumption_psk_store<K: GroupId, V: ResumptionPskStore>(key: K, value: V) in RESUMPTION_PSKS;
        own_leaf_index<K: GroupId, V: LeafNodeIndex>(key: K, value: V) in OWN_LEAF_INDEX;
        group_epoch_secrets<K: GroupId, V: GroupEpochSecrets>(key: K, value: V) in EPOCH_SECRETS;
        signature_key_pair<K: SignaturePublicKey, V: SignatureKeyPair>(key: K, value: V) in SIGNATURE_KEY_PAIR;
        encryption_key_pair<V: HpkeKeyPair, K: EncryptionKey>(key: K, value: V) in ENCRYPTION_KEY_PAIR;
        key_package<K: HashReference, V: KeyPackage>(key: K, value: V) in KEY_PACKAGE;
        psk<V: PskBundle, K: PskId>(key: K, value: V) in PSK;
    }

    deleters! {
        delete_own_leaf_nodes(GroupId) in OWN_LEAF_NODES;
        delete_group_config(GroupId) in JOIN_CONFIG;
        delete_tree(GroupId) in TREE;
        delete_confirmation_tag(GroupId) in CONFIRMATION_TAG;
        delete_group_state(GroupId) in GROUP_STATE;
        delete_context(GroupId) in CONTEXT;
        delete_interim_transcript_hash(GroupId) in INTERIM_TRANSCRIPT_HASH;
        delete_message_secrets(GroupId) in MESSAGE_SECRETS;
        delete_all_resumption_psk_secrets(GroupId) in RESUMPTION_PSKS;
        delete_own_leaf_index(GroupId) in OWN_LEAF_INDEX;
        delete_group_epoch_secrets(GroupId) in EPOCH_SECRETS;
        delete_signature_key_pair(SignaturePublicKey) in SIGNATURE_KEY_PAIR;
        delete_encryption_key_pair(EncryptionKey) in ENCRYPTION_KEY_PAIR;
        delete_key_package(HashReference) in KEY_PACKAGE;
        delete_psk(PskId) in PSK;
    }

    fn append_own_leaf_node<G: traits::GroupId<CURRENT_VERSION>, L: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        leaf_node: &L,
    ) -> Result<(), RowError> {
        let key = row_key(OWN_LEAF_NODES, group_id)?;
        let mut nodes: Vec<L> = self.get(&key)?.unwrap_or_default();
        // The list takes ownership and `L` need not be `Clone`: the value goes through its own encoding.
        nodes.push(read(&written(leaf_node)?)?);
        self.put(key, &nodes)
    }

    fn own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>, L: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<Vec<L>, RowError> {
        Ok(self.get(&row_key(OWN_LEAF_NODES, group_id)?)?.unwrap_or_default())
    }

    fn queue_proposal<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        P: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
        proposal_ref: &R,
        proposal: &P,
    ) -> Result<(), RowError> {
        self.put(row_key(QUEUED_PROPOSAL, &(group_id, proposal_ref))?, proposal)?;
        let mut references = self.proposal_references::<G>(group_id)?;
        references.push(written(proposal_ref)?);
        self.put(row_key(PROPOSAL_REFS, group_id)?, &references)
    }

    fn queued_proposal_refs<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<Vec<R>, RowError> {
        self.proposal_references(group_id)?.iter().map(|reference| read(reference)).collect()
    }

    fn queued_proposals<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        P: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
    ) -> Result<Vec<(R, P)>, RowError> {
        let references: Vec<R> = self.queued_proposal_refs(group_id)?;
        references
            .into_iter()
            .map(|reference| {
                let proposal = self.get(&row_key(QUEUED_PROPOSAL, &(group_id, &reference))?)?;
                Ok((reference, proposal.ok_or(RowError::Unreadable)?))
            })
            .collect()
    }

    fn remove_proposal<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        proposal_ref: &R,
    ) -> Result<(), RowError> {
        let removed = written(proposal_ref)?;
        let mut references = self.proposal_references(group_id)?;
        references.retain(|reference| *reference != removed);
        self.put(row_key(PROPOSAL_REFS, group_id)?, &references)?;
        self.delete(row_key(QUEUED_PROPOSAL, &(group_id, proposal_ref))?);
        Ok(())
    }

    fn clear_proposal_queue<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<(), RowError> {
        let references: Vec<R> = self.queued_proposal_refs(group_id)?;
        for reference in references {
            self.delete(row_key(QUEUED_PROPOSAL, &(group_id, &reference))?);
        }
        self.delete(row_key(PROPOSAL_REFS, group_id)?);
        Ok(())
    }

    fn write_encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        P: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
        key_pairs: &[P],
    ) -> Result<(), RowError> {
        self.put(row_key(EPOCH_KEY_PAIRS, &(group_id, epoch, leaf_index))?, key_pairs)
    }

    fn encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        P: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<Vec<P>, RowError> {
        Ok(self.get(&row_key(EPOCH_KEY_PAIRS, &(group_id, epoch, leaf_index))?)?.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<G: traits::GroupId<CURRENT_VERSION>, E: traits::EpochKey<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<(), RowError> {
        self.delete(row_key(EPOCH_KEY_PAIRS, &(group_id, epoch, leaf_index))?);
        Ok(())
    }
}

impl Overlay<'_> {
    fn proposal_references<G: traits::GroupId<CURRENT_VERSION>>(&self, group_id: &G) -> Result<Vec<Vec<u8>>, RowError> {
        Ok(self.get(&row_key(PROPOSAL_REFS, group_id)?)?.unwrap_or_default())
    }
}
