//! Equivocation: a hub that signed two heads for one epoch told two stories, and whoever holds both can prove it to anybody.
//!
//! Never judges which of the two is the true one: neither is. Implements `docs/protocol.md`, section "Successors".

use crate::conversation::ConversationHead;
use roost_crypto::ids::NodeId;
use roost_crypto::signed::{Signed, SignedError};
use serde::{Deserialize, Serialize};

/// Two heads of one group and epoch, signed by one hub, that say different things. Nothing of it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EquivocationProof {
    /// One [`ConversationHead`].
    pub head_a: Signed,
    /// The other.
    pub head_b: Signed,
}

/// A proof that was checked: what the hub said twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivocation {
    /// The hub that signed both.
    pub hub: NodeId,
    /// The first of the two heads.
    pub head: ConversationHead,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EquivocationError {
    /// A head that does not verify.
    #[error("a head does not verify: {0}")]
    Head(#[from] SignedError),
    /// Heads about different things, or by different hubs.
    #[error("the heads are not of one hub, group and epoch")]
    Unrelated,
    /// The same head twice.
    #[error("the heads say the same")]
    Same,
}

impl EquivocationProof {
    /// The proof that two heads make, in the one order in which it is spelled; `None` if they prove nothing.
    pub fn of(one: &Signed, other: &Signed) -> Option<Self> {
        let (head_a, head_b) = if one.bytes.as_slice() <= other.bytes.as_slice() { (one, other) } else { (other, one) };
        let proof = Self { head_a: head_a.clone(), head_b: head_b.clone() };
        proof.verify().is_ok().then_some(proof)
    }

    /// Checks both heads. The epoch holds its term, so a successor's epoch is none of the hub before it.
    ///
    /// # Errors
    /// [`EquivocationError`].
    pub fn verify(&self) -> Result<Equivocation, EquivocationError> {
        let (a, b) = (ConversationHead::verify(&self.head_a)?, ConversationHead::verify(&self.head_b)?);
        if (a.group, a.epoch, a.orderer()) != (b.group, b.epoch, b.orderer()) {
            return Err(EquivocationError::Unrelated);
        }
        if a == b { Err(EquivocationError::Same) } else { Ok(Equivocation { hub: a.orderer(), head: a }) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::conversation::{ConversationState, Policy};
    use crate::epoch;
    use crate::ids::{ConversationId, GroupId, Hash};
    use roost_crypto::keys::SecretKey;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn head(hub: u8, epoch: u64, made_by: u8) -> ConversationHead {
        let group = GroupId([1; 32]);
        let state = ConversationState {
            conversation: ConversationId::of_group(&group),
            generation: 0,
            term: epoch::term(epoch),
            hub: NodeId::of(key(hub).public_key()),
            successors: vec![],
            participants: vec![],
            policy: Policy::Admins,
        };
        ConversationHead { group, state, epoch, made_by: Hash([made_by; 32]), ordered_by: None }
    }

    #[test]
    fn two_stories_of_one_epoch_prove_that_their_hub_lies_and_nothing_else_does() {
        let one = head(1, 5, 7).sign(&key(1));
        let proof = EquivocationProof::of(&one, &head(1, 5, 8).sign(&key(1))).unwrap();
        assert_eq!(proof.verify().unwrap().hub, NodeId::of(key(1).public_key()), "the hub is named");
        assert_eq!(EquivocationProof::of(&head(1, 5, 8).sign(&key(1)), &one), Some(proof), "in one spelling");
        let same = EquivocationProof { head_a: one.clone(), head_b: one.clone() };
        assert_eq!(same.verify(), Err(EquivocationError::Same), "a repetition is no lie");
        let unrelated = |other: Signed| EquivocationProof { head_a: one.clone(), head_b: other }.verify();
        assert_eq!(unrelated(head(1, 6, 8).sign(&key(1))), Err(EquivocationError::Unrelated), "another epoch");
        assert_eq!(
            unrelated(head(1, epoch::of(1, 5), 8).sign(&key(1))),
            Err(EquivocationError::Unrelated),
            "another term"
        );
        assert_eq!(unrelated(head(2, 5, 8).sign(&key(2))), Err(EquivocationError::Unrelated), "another hub");
        assert!(matches!(unrelated(head(1, 5, 8).sign(&key(2))), Err(EquivocationError::Head(_))), "a forged head");
    }
}
