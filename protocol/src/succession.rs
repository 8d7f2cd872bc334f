//! Successors: how the hub of a conversation changes, and which of two successors of a lost hub stands.
//!
//! A hub that lives moves by a commit that it orders itself. One that is lost is followed by a node that its last state names, with
//! the next term. Never says that a hub is lost: an admin does. Implements `docs/protocol.md`, section "Successors".

use crate::conversation::{Commit, ConversationHead, ConversationState};
use crate::epoch;
use crate::feed::NextEpoch;
use crate::ids::{GroupId, Hash};
use crate::limits;
use roost_crypto::ids::NodeId;
use roost_crypto::signed::{Signed, SignedError};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// The wish of an admin that `hub` follows a hub that is lost: to the node that is to become it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Successor {
    /// The node that is to become the hub.
    pub hub: NodeId,
    /// [`ConversationHead`] of the epoch that it forks from, signed by the hub that is lost.
    pub from: Signed,
    /// The commit on top of that epoch.
    pub commit: Commit,
}

/// A successor's first head, with the head that it forks from; both verified, and that one allows the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    from: ConversationHead,
    head: ConversationHead,
    index: usize,
}

/// Which of two successors of one term stands: the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Precedence {
    /// The later it forks, the less is lost.
    fork: u64,
    index: Reverse<usize>,
    hash: Reverse<Hash>,
}

/// Why a change of the hub is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionError {
    /// A head that does not verify.
    #[error("a head does not verify: {0}")]
    Head(#[from] SignedError),
    /// Heads of different groups.
    #[error("the heads are of different groups")]
    OtherGroup,
    /// Not the epoch that follows in the next term.
    #[error("a successor begins with epoch {expected}, got {got}")]
    Epoch {
        /// By the head that it forks from.
        expected: u64,
        /// What it says.
        got: u64,
    },
    /// A node that the head it forks from does not name.
    #[error("the node is none of the successors")]
    NotNamed,
    /// A successor changes the hub and the successors, nothing else.
    #[error("a successor's state differs in more than its hub")]
    State,
    /// A head that neither the hub nor a successor has ordered.
    #[error("a head of the lineage is ordered by neither the hub nor a successor of it")]
    Lineage,
    /// More than [`limits::LINEAGE_MAX`] heads.
    #[error("at most {max} heads, got {got}")]
    TooMany {
        /// The bound.
        max: usize,
        /// What was found.
        got: usize,
    },
}

impl Succession {
    /// Checks that the node that signed `head` may follow the hub that signed `from`, and forks from there.
    ///
    /// # Errors
    /// [`SuccessionError`].
    pub fn verify(from: &Signed, head: &Signed) -> Result<Self, SuccessionError> {
        let (from, head) = (ConversationHead::verify(from)?, ConversationHead::verify(head)?);
        if from.group != head.group {
            return Err(SuccessionError::OtherGroup);
        }
        let expected = epoch::succeeding(from.epoch);
        if head.epoch != expected || head.ordered_by.is_some() {
            return Err(SuccessionError::Epoch { expected, got: head.epoch });
        }
        let named = from.state.successors.iter().position(|node| *node == head.state.hub);
        let index = named.ok_or(SuccessionError::NotNamed)?;
        if !changes_only_hub(&from.state, &head.state) {
            return Err(SuccessionError::State);
        }
        Ok(Self { from, head, index })
    }

    /// The head that it forks from.
    pub fn from(&self) -> &ConversationHead {
        &self.from
    }

    /// The successor's first head.
    pub fn head(&self) -> &ConversationHead {
        &self.head
    }

    /// Compares it with other successors of the same term.
    pub fn precedence(&self) -> Precedence {
        Precedence { fork: self.from.epoch, index: Reverse(self.index), hash: Reverse(self.head.made_by) }
    }
}

impl NextEpoch {
    /// The succession that it begins, if it begins one; its evidence may also stand beside a later commit.
    pub fn begins_term(&self, head: &ConversationHead) -> bool {
        self.from.as_ref().is_some_and(|from| {
            ConversationHead::verify(from).is_ok_and(|from| epoch::succeeding(from.epoch) == head.epoch)
        })
    }

    /// Whether its evidence shows that the node which ordered `head` follows `hub` in the next term.
    pub fn follows(&self, head: &ConversationHead, hub: &NodeId) -> bool {
        let Some(Ok(from)) = self.from.as_ref().map(ConversationHead::verify) else { return false };
        from.group == head.group
            && from.state.hub == *hub
            && head.ordered_by.is_none()
            && head.state.term == from.state.term.saturating_add(1)
            && head.epoch >= epoch::succeeding(from.epoch)
            && from.state.successors.contains(&head.state.hub)
    }
}

/// Whether `after` is `before` in the next term, with another hub and other successors.
pub fn changes_only_hub(before: &ConversationState, after: &ConversationState) -> bool {
    let expected = ConversationState {
        term: before.term.saturating_add(1),
        hub: after.hub,
        successors: after.successors.clone(),
        ..before.clone()
    };
    expected == *after
}

/// Follows the heads by which a conversation's hub changed, from the hub that its creation names: the hub at their end, and its
/// term. A move is one head, ordered by the hub before; a succession is two, the one that it forks from and its own.
///
/// # Errors
/// [`SuccessionError`].
pub fn follow_lineage(group: &GroupId, first: NodeId, lineage: &[Signed]) -> Result<(NodeId, u32), SuccessionError> {
    if lineage.len() > limits::LINEAGE_MAX {
        return Err(SuccessionError::TooMany { max: limits::LINEAGE_MAX, got: lineage.len() });
    }
    let (mut hub, mut term) = (first, 0);
    let mut before: Option<&Signed> = None;
    for signed in lineage {
        let head = ConversationHead::verify(signed)?;
        if head.group != *group {
            return Err(SuccessionError::OtherGroup);
        }
        let ordered_by_hub = head.orderer() == hub && head.state.term == term;
        if !ordered_by_hub {
            Succession::verify(before.ok_or(SuccessionError::Lineage)?, signed)?;
        }
        (hub, term) = (head.state.hub, head.state.term);
        before = Some(signed);
    }
    Ok((hub, term))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::conversation::{Participant, Policy, Role};
    use crate::ids::ConversationId;
    use roost_crypto::ids::AccountId;
    use roost_crypto::keys::SecretKey;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn node(seed: u8) -> NodeId {
        NodeId::of(key(seed).public_key())
    }

    /// A head of the hub `hub`, which may be followed by nodes 2 and 3.
    fn head(hub: u8, term: u32, mls_epoch: u64) -> ConversationHead {
        let group = GroupId([1; 32]);
        let state = ConversationState {
            conversation: ConversationId::of_group(&group),
            generation: 0,
            term,
            hub: node(hub),
            successors: [2, 3].into_iter().filter(|seed| *seed != hub).map(node).collect(),
            participants: vec![Participant { account: AccountId([9; 32]), role: Role::Admin }],
            policy: Policy::Admins,
        };
        let epoch = epoch::of(term, mls_epoch);
        ConversationHead { group, state, epoch, made_by: Hash([hub; 32]), ordered_by: None }
    }

    fn verify(
        from: &ConversationHead,
        by: u8,
        successor: &ConversationHead,
        of: u8,
    ) -> Result<Precedence, SuccessionError> {
        Succession::verify(&from.sign(&key(by)), &successor.sign(&key(of))).map(|succession| succession.precedence())
    }

    #[test]
    fn a_successor_is_believed_only_as_its_predecessor_allows() {
        let from = head(1, 0, 5);
        assert!(verify(&from, 1, &head(2, 1, 6), 2).is_ok(), "a node that is named, in the next term");
        assert!(
            matches!(verify(&from, 2, &head(2, 1, 6), 2), Err(SuccessionError::Head(_))),
            "of what the hub has signed"
        );
        assert!(matches!(verify(&from, 1, &head(2, 1, 6), 3), Err(SuccessionError::Head(_))), "signed by itself");
        assert_eq!(verify(&from, 1, &head(4, 1, 6), 4), Err(SuccessionError::NotNamed), "nobody else");
        let late = verify(&from, 1, &head(2, 1, 7), 2);
        assert!(matches!(late, Err(SuccessionError::Epoch { .. })), "on top of that epoch");
        let mut grown = head(2, 1, 6);
        grown.state.participants.push(Participant { account: AccountId([10; 32]), role: Role::Member });
        assert_eq!(verify(&from, 1, &grown, 2), Err(SuccessionError::State), "with exactly its members");
        let mut other = head(2, 1, 6);
        other.group = GroupId([2; 32]);
        assert_eq!(verify(&from, 1, &other, 2), Err(SuccessionError::OtherGroup), "and of its group");
    }

    #[test]
    fn of_two_successors_the_later_fork_stands_then_the_lower_index_then_the_lower_hash() {
        let successor = |from: u64, hub: u8, hash: u8| {
            let made = ConversationHead { made_by: Hash([hash; 32]), ..head(hub, 1, from + 1) };
            verify(&head(1, 0, from), 1, &made, hub).unwrap()
        };
        assert!(successor(6, 3, 9) > successor(5, 2, 1), "the later fork loses less");
        assert!(successor(5, 2, 9) > successor(5, 3, 1), "then the order of the successors counts");
        assert!(successor(5, 2, 1) > successor(5, 2, 9), "then the lower hash");
    }

    #[test]
    fn a_lineage_leads_from_the_first_hub_to_the_last() {
        let moved = ConversationHead { ordered_by: Some(node(1)), ..head(2, 0, 4) };
        let lost = head(2, 0, 6);
        let successor = head(3, 1, 7);
        let lineage = [moved.sign(&key(1)), lost.sign(&key(2)), successor.sign(&key(3))];
        let follow = |lineage: &[Signed]| follow_lineage(&GroupId([1; 32]), node(1), lineage);
        assert_eq!(follow(&lineage), Ok((node(3), 1)), "a move, then a successor");
        assert_eq!(follow(&[]), Ok((node(1), 0)), "without a change the first is the hub");
        assert_eq!(follow(&lineage[1..]), Err(SuccessionError::Lineage), "a step is missing");
        assert!(follow(&[lineage[0].clone(), lineage[2].clone()]).is_err(), "of a succession both heads are shown");
        let many = vec![lineage[0].clone(); limits::LINEAGE_MAX + 1];
        assert!(matches!(follow(&many), Err(SuccessionError::TooMany { .. })), "no more than are bounded");
        let usurper = head(4, 1, 7).sign(&key(4));
        assert!(follow(&[lineage[0].clone(), lineage[1].clone(), usurper]).is_err(), "a node that nobody named");
    }
}
