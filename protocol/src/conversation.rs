//! Conversations: the state that members agree on, how one is created, and the head its hub signs.
//!
//! Implements `docs/protocol.md`, section "Conversations".

use crate::epoch;
use crate::ids::{ConversationId, GroupId, Hash, OperationId};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::keys::{BadSignature, SecretKey};
use roost_crypto::labels;
use roost_crypto::signed::{Signed, SignedError};
use serde::{Deserialize, Serialize};

/// Bytes of a signed head: 100 participants fit.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a signed wish to leave: it has five short fields.
const LEAVE_BYTES_MAX: usize = 512;

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
    /// Counts the successors of one generation: hubs that followed one that was lost.
    pub term: u32,
    /// Who puts commits in order.
    pub hub: NodeId,
    /// Who may follow it, in order: at most [`crate::limits::SUCCESSORS_MAX`].
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

/// A change of a group's members or state: one submission to the hub, one feed entry for everybody whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Commit {
    /// The verdict is recorded under it.
    pub operation: OperationId,
    /// The MLS group.
    pub group: GroupId,
    /// The epoch that it makes, with its term: see [`crate::epoch`].
    pub epoch: u64,
    /// An MLS PublicMessage.
    pub commit: Bytes,
    /// The Welcome to the members that it adds; absent if it adds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub welcome: Option<Bytes>,
    /// GroupInfo of the epoch that it makes.
    pub group_info: Bytes,
    /// Identity logs of the accounts whose devices it adds or removes, as the committer knows them.
    pub logs: Vec<IdentityLog>,
    /// Each a [`Leave`], signed by a device: why a member who is no admin may remove an account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<Signed>,
}

impl Commit {
    /// What the hub signs of it.
    pub fn hash(&self) -> Hash {
        Hash(labels::hash(labels::COMMIT_HASH, &[&codec::encode(self)]))
    }
}

/// An account's wish to leave: an MLS member cannot commit its own removal, so another member does, and shows this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its generation: who was added again in a later one stays.
    pub generation: u32,
    /// Who leaves.
    pub account: AccountId,
    /// The epoch at which it wished to leave: who was added again since stays.
    pub epoch: u64,
    /// The device that signs.
    pub device: DeviceId,
}

impl Leave {
    /// Signs as the device.
    pub fn sign(&self, device: &SecretKey) -> Signed {
        Signed::new(labels::SIGN_LEAVE, self, device)
    }

    /// Verifies under a device that the leaver's log admits.
    ///
    /// # Errors
    /// [`SignedError`], also where the log admits no such device.
    pub fn verify(signed: &Signed, log: &VerifiedLog) -> Result<Self, SignedError> {
        let claimed: Self = signed.peek(LEAVE_BYTES_MAX)?;
        let key = log.device_keys().get(&claimed.device).filter(|_| log.account() == claimed.account);
        let (key, _) = key.ok_or(SignedError::Signature(BadSignature))?;
        signed.open(labels::SIGN_LEAVE, key, LEAVE_BYTES_MAX)
    }
}

/// What a hub says of a conversation, signed: enough for a home that lost its store to admit chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationHead {
    /// The MLS group.
    pub group: GroupId,
    /// Its state at `epoch`.
    pub state: ConversationState,
    /// The epoch, with its term: see [`crate::epoch`].
    pub epoch: u64,
    /// Hash of what made the epoch: of the [`Creation`] for epoch 1, of the [`Commit`] for later ones.
    pub made_by: Hash,
    /// Who ordered it and signs, where that is not the hub of its state: the hub before, which moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_by: Option<NodeId>,
}

impl ConversationHead {
    /// Signs as the hub.
    pub fn sign(&self, hub: &SecretKey) -> Signed {
        Signed::new(labels::SIGN_CONVERSATION_HEAD, self, hub)
    }

    /// Verifies under the hub that it names, or under the one that moved.
    ///
    /// # Errors
    /// [`SignedError`]; also where the hub is spelled out a second time, or the epoch is not of the state's term.
    pub fn verify(signed: &Signed) -> Result<Self, SignedError> {
        let claimed: Self = signed.peek(HEAD_BYTES_MAX)?;
        if claimed.ordered_by == Some(claimed.state.hub) || epoch::term(claimed.epoch) != claimed.state.term {
            return Err(SignedError::Signature(BadSignature));
        }
        signed.open(labels::SIGN_CONVERSATION_HEAD, claimed.orderer().public_key(), HEAD_BYTES_MAX)
    }

    /// Who put the epoch in order, and signs.
    pub fn orderer(&self) -> NodeId {
        self.ordered_by.unwrap_or(self.state.hub)
    }
}

impl ConversationState {
    /// What `account` may do, if it takes part.
    pub fn role(&self, account: &AccountId) -> Option<Role> {
        self.participants.iter().find(|participant| participant.account == *account).map(|found| found.role)
    }

    /// Whether `account` takes part.
    pub fn has(&self, account: &AccountId) -> bool {
        self.participants.iter().any(|participant| participant.account == *account)
    }
}
