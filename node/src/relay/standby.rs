//! Standby: a successor keeps the group's public state, so that it can follow a hub that is lost without asking anybody.
//!
//! It gets the state from the hub once a term, for one life of its store, and moves it on with every commit that it follows. A
//! node in a new life is given none: in an earlier one it may have taken the conversation over. Implements `docs/protocol.md`,
//! section "Successors".

use super::conversations::{group_head, not_member};
use super::requests::Pending;
use super::successors::gave_up;
use super::{Failure, Relay, Step, rows};
use crate::store::{Overlay, Read as _, StoreError};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::ids::NodeId;
use roost_protocol::conversation::ConversationHead;
use roost_protocol::epoch;
use roost_protocol::feed::NextEpoch;
use roost_protocol::ids::{GroupId, Incarnation};
use roost_protocol::limits;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A state that is wanted: of whom, and of which epoch.
#[derive(Serialize, Deserialize)]
pub(super) struct WantedRow {
    pub node: NodeId,
    pub epoch: u64,
}

/// How asking for a state goes.
#[derive(Default)]
struct Attempt {
    asked: bool,
    failures: u32,
    not_before_ms: u64,
}

/// Groups whose state is wanted; rebuilt from rows.
#[derive(Default)]
pub(super) struct Standby(BTreeMap<GroupId, Attempt>);

impl Standby {
    pub(super) fn wake_at(&self) -> Option<u64> {
        self.0.values().filter(|attempt| !attempt.asked).map(|attempt| attempt.not_before_ms).min()
    }

    /// Every pause is over: the clock was set back.
    pub(super) fn due_at_once(&mut self) {
        self.0.values_mut().for_each(|attempt| attempt.not_before_ms = 0);
    }
}

impl Relay {
    pub(super) fn load_standby(&mut self, rows: &Overlay<'_>) -> Result<(), StoreError> {
        let prefix = [rows::WANTED_STATE];
        for (key, _) in rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            self.standby.0.extend(rows::parse_wanted_state(&key).map(|group| (group, Attempt::default())));
        }
        Ok(())
    }

    /// Moves the state on with a commit that was followed, wants it where it is missing, and drops it where it has no use.
    pub(super) fn keep_state(
        &mut self,
        step: &mut Step<'_, '_>,
        before: Option<&ConversationHead>,
        head: &ConversationHead,
        next: &NextEpoch,
    ) -> Result<(), StoreError> {
        let commit = &next.commit;
        let key = rows::public_state(&head.group);
        let state: Option<Bytes> = rows::get(step.rows, &key)?;
        if !self.needs_state(step, head)? {
            if state.is_some() {
                step.rows.delete(key);
            }
            return self.want_no_state(step, &head.group);
        }
        let welcome = commit.welcome.as_ref().map(Bytes::as_slice);
        let (bytes, info) = (commit.commit.as_slice(), commit.group_info.as_slice());
        let judged = state.map(|state| (self.identity.inspector.judge)(state.as_slice(), bytes, welcome, info));
        match judged {
            Some(Ok((view, after))) if view.conv_state.as_slice() == codec::encode(&head.state) => {
                if welcome.is_some()
                    && let Ok(tree) = (self.identity.inspector.tree)(after.as_slice())
                {
                    rows::put(step.rows, rows::tree(&head.group, head.epoch), &tree);
                }
                rows::put(step.rows, key, &after);
                rows::put(step.rows, rows::group_info(&head.group), &commit.group_info);
                // A hub that moved away keeps what it had: when it may follow again, the hub does not know that.
                let comes = before.is_none_or(|before| !before.state.successors.contains(&self.node));
                self.register(step, head, comes || next.begins_term(head))
            }
            _ => {
                step.rows.delete(key);
                self.want_state(step, head)
            }
        }
    }

    /// Asks for the state of a group whose successor this node is.
    pub(super) fn want_state(&mut self, step: &mut Step<'_, '_>, head: &ConversationHead) -> Result<(), StoreError> {
        // A hub that is shown what it has ordered in another life is given nothing: it must not judge an epoch twice.
        let (node, group) = (head.orderer(), head.group);
        if node != self.node && self.needs_state(step, head)? {
            rows::put(step.rows, rows::wanted_state(&group), &WantedRow { node, epoch: head.epoch });
            self.standby.0.insert(group, Attempt::default());
        }
        Ok(())
    }

    /// A hub moves only to who asked it for the state in its term: after a move, when a successor begins a term, and when this node
    /// `begins` to be one that may follow, the others ask the new one, though they keep the state. So does the hub that has moved, if it may follow in its turn.
    pub(super) fn register(
        &mut self,
        step: &mut Step<'_, '_>,
        head: &ConversationHead,
        begins: bool,
    ) -> Result<(), StoreError> {
        let key = rows::wanted_state(&head.group);
        let wanted: Option<WantedRow> = rows::get(step.rows, &key)?;
        let waits = wanted.is_some_and(|wanted| wanted.node == head.state.hub);
        let asks = (waits || begins || head.ordered_by.is_some()) && self.needs_state(step, head)?;
        if head.state.hub == self.node || !asks {
            return self.want_no_state(step, &head.group);
        }
        self.ask_hub(step, head)
    }

    /// The state is here, but the hub does not know that.
    fn ask_hub(&mut self, step: &mut Step<'_, '_>, head: &ConversationHead) -> Result<(), StoreError> {
        let row = WantedRow { node: head.state.hub, epoch: head.epoch };
        rows::put(step.rows, rows::wanted_state(&head.group), &row);
        self.standby.0.insert(head.group, Attempt::default());
        Ok(())
    }

    fn needs_state(&self, step: &Step<'_, '_>, head: &ConversationHead) -> Result<bool, StoreError> {
        let may_follow = head.state.successors.contains(&self.node) && !gave_up(step, head, &self.node)?;
        Ok(head.state.hub == self.node || may_follow)
    }

    pub(super) fn want_no_state(&mut self, step: &mut Step<'_, '_>, group: &GroupId) -> Result<(), StoreError> {
        self.standby.0.remove(group);
        let key = rows::wanted_state(group);
        if step.rows.get(&key)?.is_some() {
            step.rows.delete(key);
        }
        Ok(())
    }

    /// Asks for the states whose time has come.
    pub(super) fn pump_standby(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let due = |attempt: &Attempt| !attempt.asked && attempt.not_before_ms <= step.now_ms;
        let due: Vec<GroupId> =
            self.standby.0.iter().filter(|(_, attempt)| due(attempt)).map(|(group, _)| *group).collect();
        for group in due {
            let row: Option<WantedRow> = rows::get(step.rows, &rows::wanted_state(&group))?;
            let Some(WantedRow { node, epoch }) = row else {
                self.standby.0.remove(&group);
                continue;
            };
            if let Some(attempt) = self.standby.0.get_mut(&group) {
                attempt.asked = true;
            }
            let incarnation = self.identity.incarnation;
            self.ask(Pending::PublicState(group), node, NodeRequest::PublicState { group, epoch, incarnation });
        }
        Ok(())
    }

    /// The hub's answer.
    pub(super) fn state_told(
        &mut self,
        step: &mut Step<'_, '_>,
        group: GroupId,
        response: Option<NodeResponse>,
    ) -> Result<(), StoreError> {
        let row: Option<WantedRow> = rows::get(step.rows, &rows::wanted_state(&group))?;
        let head: Option<ConversationHead> = rows::get(step.rows, &rows::group(&group))?;
        let (Some(row), Some(head)) = (row, head) else { return Ok(()) };
        match response {
            Some(NodeResponse::PublicState { group_info, tree }) if row.epoch == head.epoch => {
                let begun = (self.identity.inspector.begin)(group_info.as_slice(), tree.as_slice());
                let fits = begun.ok().filter(|(view, _)| {
                    view.group_id == group.as_bytes()
                        && view.epoch == epoch::mls(head.epoch)
                        && view.conv_state.as_slice() == codec::encode(&head.state)
                });
                if let Some((_, state)) = fits {
                    rows::put(step.rows, rows::public_state(&group), &state);
                    rows::put(step.rows, rows::group_info(&group), &group_info);
                    let by_hub = row.node == head.state.hub || head.state.hub == self.node;
                    return if by_hub { self.want_no_state(step, &group) } else { self.ask_hub(step, &head) };
                }
            }
            // Another life of this store had the state: this one never gets it in this term.
            Some(NodeResponse::Refused(refusal))
                if refusal.code == Code::Sealed && !refusal.later && head.state.hub != self.node =>
            {
                return self.want_no_state(step, &group);
            }
            _ => {}
        }
        if let Some(attempt) = self.standby.0.get_mut(&group) {
            let delay = limits::RETRY_DELAY_MS_MIN.saturating_mul(1 << attempt.failures.min(16));
            attempt.asked = false;
            attempt.failures = attempt.failures.saturating_add(1);
            attempt.not_before_ms = step.now_ms + delay.min(limits::RETRY_DELAY_MS_MAX);
        }
        Ok(())
    }

    /// As the hub, or as the one that has moved: the state of the newest epoch, for a successor in one life of its store.
    pub(super) fn give_state(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: &NodeId,
        group: &GroupId,
        epoch: u64,
        incarnation: Incarnation,
    ) -> Result<(Bytes, Bytes), Failure> {
        let head = group_head(step, group)?;
        if head.state.hub != *peer && !head.state.successors.contains(peer) {
            return Err(not_member());
        }
        if head.orderer() != self.node && head.state.hub != self.node {
            return Err(Refusal::never(Code::NotHub, "this node is not the conversation's hub", "ask its hub").into());
        }
        if head.epoch != epoch {
            let message = format!("the conversation is at epoch {}, asked for {epoch}", head.epoch);
            return Err(Refusal::later(Code::WrongEpoch, message, "follow what is delivered").into());
        }
        let sealed = |message: &str| Failure::from(Refusal::never(Code::Sealed, message, "name another successor"));
        let key = rows::given_state(group, peer);
        let given: Option<(u32, Incarnation)> = rows::get(step.rows, &key)?;
        if given.is_some_and(|(term, life)| term == head.state.term && life != incarnation) {
            return Err(sealed("the state was given to another life of the node's store"));
        }
        let state: Option<Bytes> = rows::get(step.rows, &rows::public_state(group))?;
        let info: Option<Bytes> = rows::get(step.rows, &rows::group_info(group))?;
        let (Some(state), Some(info)) = (state, info) else {
            return Err(sealed("the hub has lost the group's state"));
        };
        let tree = (self.identity.inspector.tree)(state.as_slice())
            .map_err(|error| Failure::from(Refusal::later(Code::Internal, error.to_string(), "ask again")))?;
        rows::put(step.rows, key, &(head.state.term, incarnation));
        Ok((info, tree))
    }

    /// Whether a node was given the state in this term: only such a one can go on when the hub moves to it.
    pub(super) fn has_state(
        &self,
        step: &Step<'_, '_>,
        head: &ConversationHead,
        node: &NodeId,
    ) -> Result<bool, StoreError> {
        let given: Option<(u32, Incarnation)> = rows::get(step.rows, &rows::given_state(&head.group, node))?;
        Ok(given.is_some_and(|(term, _)| term == head.state.term))
    }
}
