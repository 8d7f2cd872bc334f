//! Conversations: the state that members agree on, how one is created, and the head its hub signs.
//!
//! Implements `docs/protocol.md`, section "Conversations".

use crate::ids::{ConversationId, GroupId, Hash, OperationId};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::keys::SecretKey;
use roost_crypto::labels;
use roost_crypto::signed::{Signed, SignedError};
use serde::{Deserialize, Serialize};

/// Bytes of a signed head: 100 participants fit.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What a participant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May change the membership.
    Admin,
    /// May talk.
    Member,
}

/// One account of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Participant {
    /// The account.
    pub account: AccountId,
    /// Its role.
    pub role: Role,
}

/// Who may do what, beyond roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Two accounts for ever: no commit changes the participants.
    Direct,
    /// Admins change the membership.
    Admins,
}

/// GroupContext extension 0xF1C0: members agree on it through the key schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConversationState {
    /// The conversation.
    pub conversation: ConversationId,
    /// Counts the MLS groups that follow each other in one conversation.
    pub generation: u32,
    /// Counts the hubs of one generation.
    pub term: u32,
    /// Who puts commits in order.
    pub hub: NodeId,
    /// Who may follow it, in order.
    pub successors: Vec<NodeId>,
    /// The accounts, sorted.
    pub participants: Vec<Participant>,
    /// The rules.
    pub policy: Policy,
}

/// Everything that makes a conversation: one submission, one feed entry, one first contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Creation {
    /// The verdict is recorded under it.
    pub operation: OperationId,
    /// The MLS group.
    pub group: GroupId,
    /// What the group's context says.
    pub state: ConversationState,
    /// Identity logs of all participants, as the creator knows them.
    pub logs: Vec<IdentityLog>,
    /// The commit to epoch 1, an MLS PublicMessage.
    pub commit: Bytes,
    /// The Welcome to the other members.
    pub welcome: Bytes,
    /// GroupInfo of epoch 1.
    pub group_info: Bytes,
    /// The ratchet tree of epoch 1.
    pub tree: Bytes,
}

impl Creation {
    /// What the hub signs of it.
    pub fn hash(&self) -> Hash {
        Hash(labels::hash(labels::CREATION_HASH, &[&codec::encode(self)]))
    }
}

/// What a hub says of a conversation, signed: enough for a home that lost its store to admit chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationHead {
    /// The MLS group.
    pub group: GroupId,
    /// Its state at `epoch`.
    pub state: ConversationState,
    /// The epoch.
    pub epoch: u64,
    /// Hash of what made the epoch: for epoch 1 of the [`Creation`].
    pub made_by: Hash,
}

impl ConversationHead {
    /// Signs as the hub.
    pub fn sign(&self, hub: &SecretKey) -> Signed {
        Signed::new(labels::SIGN_CONVERSATION_HEAD, self, hub)
    }

    /// Verifies under the hub that it names.
    ///
    /// # Errors
    /// [`SignedError`].
    pub fn verify(signed: &Signed) -> Result<Self, SignedError> {
        let claimed: Self = signed.peek(HEAD_BYTES_MAX)?;
        signed.open(labels::SIGN_CONVERSATION_HEAD, claimed.state.hub.public_key(), HEAD_BYTES_MAX)
    }
}

impl ConversationState {
    /// Whether `account` takes part.
    pub fn has(&self, account: &AccountId) -> bool {
        self.participants.iter().any(|participant| participant.account == *account)
    }
}
