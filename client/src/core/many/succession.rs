//! How the hub changes, at a device: which branch of a group it is on, coming over to another, and what is done again there.
//!
//! A device whose MLS state is not of the branch that stands is *astray*: it follows that branch by what its hub signs, and comes
//! back by an external commit. Never decides that a hub is lost. Implements `docs/protocol.md`, section "Successors".

use super::super::link::Pending;
use super::super::rows::{self, INTENT};
use super::super::{Device, DeviceError, Output, Random};
use super::ConversationRow;
use super::commits::MembershipReport;
use super::intents::{Attempt, GroupChange, IntentRow, PendingRow};
use roost_crypto::codec;
use roost_crypto::group::GroupError;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{Commit, ConversationHead, ConversationState, Policy, Role};
use roost_protocol::epoch;
use roost_protocol::equivocation::EquivocationProof;
use roost_protocol::feed::{Entry, NextEpoch};
use roost_protocol::ids::{ConversationId, GroupId, OperationId};
use roost_protocol::limits;
use roost_protocol::membership::{self, Judge};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;
use roost_protocol::succession::{Precedence, Succession, Successor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Commits of ours that are remembered for a group, should its hub be lost: what the last of them did is done again.
const DONE_MAX: usize = 64;
/// Heads that are remembered of a group.
const HEADS_MAX: usize = 256;
/// Bytes that an introduction has for its creation and its lineage.
const INTRODUCTION_BYTES_MAX: usize = limits::SOCKET_MESSAGE_BYTES_MAX - 8 * 1024;

/// The succession with which a group's term began.
#[derive(Serialize, Deserialize)]
struct BranchRow {
    precedence: Precedence,
}

/// A hub that cannot be believed any more: it has signed two heads for one epoch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EquivocationReport {
    /// The conversation.
    pub conversation: ConversationId,
    /// PeerId of the hub.
    pub hub: String,
    /// The MLS epoch of which it told two stories.
    pub epoch: u64,
}

/// What a device does with a commit of a conversation in which it takes part.
pub(super) enum Standing {
    /// It makes the next epoch here.
    Next,
    /// It begins a branch that stands, and that our state is not on.
    Astray,
    /// It makes the next epoch of the branch that we come over to.
    OnBranch,
    /// It adds us anew.
    Joins,
    /// It is known, or of a branch that does not stand.
    Past,
    /// It is nothing that could follow.
    Broken,
}

impl Device {
    pub(super) fn standing_of(
        &mut self,
        row: &ConversationRow,
        head: &ConversationHead,
        next: &NextEpoch,
        author: &AccountId,
    ) -> Result<Standing, DeviceError> {
        let held: Option<Signed> = self.table.get(&rows::head(&head.group, head.epoch))?;
        if let Some(proof) = held.and_then(|held| EquivocationProof::of(&held, &next.head)) {
            self.accuse(&proof)?;
            return Ok(Standing::Past);
        }
        let astray = self.branch_head(&head.group)?;
        if next.begins_term(head) {
            return self.successor_standing(row, head, (next, astray.as_ref()), author);
        }
        if let Some(branch) = astray {
            let on = head.orderer() == branch.state.hub && head.epoch == branch.epoch + 1;
            return Ok(if on { Standing::OnBranch } else { Standing::Past });
        }
        if head.state.term > row.state.term {
            let joins = next.commit.welcome.is_some() && head.state.has(&self.me.account);
            return Ok(if joins { Standing::Joins } else { Standing::Past });
        }
        if head.state.term < row.state.term || head.epoch <= row.epoch {
            return Ok(Standing::Past);
        }
        if head.orderer() != row.state.hub {
            // What a successor that does not stand has ordered is in its feed all the same.
            let lost = self.table.has(&rows::branch(&head.group));
            return Ok(if lost { Standing::Past } else { Standing::Broken });
        }
        Ok(if head.epoch == row.epoch + 1 { Standing::Next } else { Standing::Broken })
    }

    /// As [`Self::standing_of`], of a successor's first commit.
    fn successor_standing(
        &mut self,
        row: &ConversationRow,
        head: &ConversationHead,
        (next, astray): (&NextEpoch, Option<&ConversationHead>),
        author: &AccountId,
    ) -> Result<Standing, DeviceError> {
        let Some(from_signed) = &next.from else { return Ok(Standing::Broken) };
        let Ok(succession) = Succession::verify(from_signed, &next.head) else { return Ok(Standing::Broken) };
        let from = succession.from();
        if from.state.role(author) != Some(Role::Admin) || head.state.conversation != row.state.conversation {
            return Ok(Standing::Broken);
        }
        let term = astray.map_or(row.state.term, |branch| branch.state.term);
        if term > head.state.term {
            return Ok(Standing::Past);
        }
        if term == head.state.term {
            let ours: Option<BranchRow> = self.table.get(&rows::branch(&head.group))?;
            let better = ours.is_some_and(|ours| succession.precedence() > ours.precedence);
            return Ok(if better { Standing::Astray } else { Standing::Past });
        }
        let held: Option<Signed> = self.table.get(&rows::head(&head.group, from.epoch))?;
        if let Some(held) = held.filter(|held| held != from_signed) {
            if let Some(proof) = EquivocationProof::of(&held, from_signed) {
                self.accuse(&proof)?;
            }
            return Ok(Standing::Past);
        }
        for (_, signed) in self.table.scan::<Signed>(&rows::heads_of(&head.group))? {
            let voids = ConversationHead::verify(&signed).is_ok_and(|behind| {
                behind.epoch > from.epoch
                    && behind.state.term == from.state.term
                    && behind.state.role(author) != Some(Role::Admin)
            });
            if voids {
                return Ok(Standing::Past);
            }
        }
        let here = astray.is_none() && from.epoch == row.epoch;
        Ok(if here { Standing::Next } else { Standing::Astray })
    }

    /// The newest head of the branch that stands, where our state is not on it.
    fn branch_head(&self, group: &GroupId) -> Result<Option<ConversationHead>, DeviceError> {
        let next: Option<NextEpoch> = self.table.get(&rows::astray(group))?;
        Ok(next.and_then(|next| ConversationHead::verify(&next.head).ok()))
    }

    pub(in super::super) fn is_astray(&self, group: &GroupId) -> bool {
        self.table.has(&rows::astray(group))
    }

    /// Remembers a head that is followed: what was signed, who is the hub, and why.
    pub(super) fn note_head(&mut self, head: &ConversationHead, next: &NextEpoch) -> Result<(), DeviceError> {
        self.keep_head(head, &next.head)?;
        let key = rows::lineage(&head.group);
        let succession = next.from.as_ref().and_then(|from| Succession::verify(from, &next.head).ok());
        if let (Some(succession), Some(from)) = (succession, &next.from) {
            let mut lineage: Vec<Signed> = self.table.get(&key)?.unwrap_or_default();
            lineage.retain(|signed| {
                ConversationHead::verify(signed).is_ok_and(|earlier| earlier.epoch < succession.from().epoch)
            });
            lineage.extend([from.clone(), next.head.clone()]);
            self.table.put(key, &lineage);
            let branch = BranchRow { precedence: succession.precedence() };
            self.table.put(rows::branch(&head.group), &branch);
        } else if head.ordered_by.is_some() {
            let mut lineage: Vec<Signed> = self.table.get(&key)?.unwrap_or_default();
            lineage.push(next.head.clone());
            self.table.put(key, &lineage);
        }
        Ok(())
    }

    /// Keeps what a hub has signed, to hold it to its word.
    pub(super) fn keep_head(&mut self, head: &ConversationHead, signed: &Signed) -> Result<(), DeviceError> {
        self.table.put(rows::head(&head.group, head.epoch), signed);
        self.trim(&rows::heads_of(&head.group), HEADS_MAX);
        Ok(())
    }

    /// How the hub of a group changed, for a home that lost it; `None` if it is too much for one frame.
    pub(super) fn lineage_beside(
        &self,
        creation: &roost_protocol::conversation::Creation,
    ) -> Result<Option<Vec<Signed>>, DeviceError> {
        let lineage: Vec<Signed> = self.table.get(&rows::lineage(&creation.group))?.unwrap_or_default();
        let bytes = codec::encode(creation).len() + codec::encode(&lineage).len();
        Ok((lineage.is_empty() || bytes <= INTRODUCTION_BYTES_MAX).then_some(lineage))
    }

    /// Remembers what a commit of ours did: on a branch that does not stand it is undone.
    pub(super) fn note_done(&mut self, group: &GroupId, epoch: u64, intent: u64) -> Result<(), DeviceError> {
        if let Some(row) = self.table.get::<IntentRow>(&rows::intent(intent))? {
            self.table.put(rows::done(group, epoch), &row.change);
            self.trim(&rows::done_of(group), DONE_MAX);
        }
        Ok(())
    }

    fn trim(&mut self, prefix: &[u8], max: usize) {
        let kept = self.table.keys_under(prefix);
        let beyond = kept.len().saturating_sub(max);
        for key in kept.into_iter().take(beyond) {
            self.table.delete(key);
        }
    }

    /// Another branch stands than the one our state is on: what we wanted is planned anew there, once we have come over.
    pub(super) fn go_astray(
        &mut self,
        row: &ConversationRow,
        head: &ConversationHead,
        next: &NextEpoch,
    ) -> Result<(), DeviceError> {
        let from = next.from.as_ref().filter(|_| next.begins_term(head));
        let (fork, role) = match from.map(ConversationHead::verify) {
            Some(Ok(from)) => (from.epoch, from.state.role(&self.me.account)),
            Some(Err(_)) => return Ok(()),
            // The next epoch of our own branch, which we have no secrets of.
            None => (row.epoch, row.state.role(&self.me.account)),
        };
        self.drop_pending_of(&head.group)?;
        self.note_head(head, next)?;
        self.goes_on(row);
        // On the branch that stands others may have taken part, at other times.
        self.begin_feeds_anew(&head.group)?;
        self.table.put(rows::astray(&head.group), next);
        self.intents.trees.retain(|(of, _), _| *of != head.group);
        let leads = role == Some(Role::Admin);
        for (key, change) in self.table.scan::<GroupChange>(&rows::done_of(&head.group))? {
            let behind = rows::done_epoch(&key).is_some_and(|epoch| epoch > fork);
            if !behind {
                continue;
            }
            self.table.delete(key);
            let again = match &change {
                GroupChange::Release(_) => true,
                GroupChange::Add(_) | GroupChange::Remove(_) | GroupChange::Role(..) => leads,
                // Leaves are compared anew.
                GroupChange::Create(_)
                | GroupChange::Leaves
                | GroupChange::Move(_)
                | GroupChange::Succeed { .. }
                | GroupChange::Rejoin
                // Coming over makes a leaf anew.
                | GroupChange::Renew => false,
            };
            if again {
                self.intend(row.state.conversation, row.group, change);
            }
        }
        let comes = |row: &IntentRow| row.group == head.group && row.change == GroupChange::Rejoin;
        if !self.table.scan::<IntentRow>(&[INTENT])?.iter().any(|(_, row)| comes(row)) {
            self.intend(row.state.conversation, row.group, GroupChange::Rejoin);
        }
        Ok(())
    }

    /// Gives up a commit of ours: its chain has ended, or its hub is lost. Whatever comes of it, we can come back.
    pub(super) fn drop_pending_of(&mut self, group: &GroupId) -> Result<(), DeviceError> {
        if let Some(pending) = self.table.get::<PendingRow>(&rows::pending(group))? {
            self.table.delete(rows::pending(group));
            self.intents.submitted.remove(group);
            if let Some(attempt) = self.intents.open.get_mut(&pending.intent) {
                *attempt = Attempt::default();
            }
        }
        match self.engine.groups.drop_pending(&self.table, group.as_bytes()) {
            Ok(writes) => self.table.apply_mls(writes),
            Err(GroupError::UnknownGroup) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The next epoch of the branch that we come over to: with our external commit we are there.
    pub(super) fn follow_branch(
        &mut self,
        mut row: ConversationRow,
        head: &ConversationHead,
        next: &NextEpoch,
        entry: &Entry,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let Some(branch) = self.branch_head(&head.group)? else { return Ok(()) };
        self.note_head(head, next)?;
        let pending: Option<PendingRow> = self.table.get(&rows::pending(&head.group))?;
        let ours = pending.filter(|pending| pending.commit.operation == next.commit.operation);
        if !head.state.has(&self.me.account) {
            self.drop_pending_of(&head.group)?;
            self.table.delete(rows::astray(&head.group));
            (row.state, row.epoch, row.over) = (head.state.clone(), head.epoch, true);
            row.head = Some(next.head.clone());
            self.found_again(&head.group);
            self.keep_followed(&row)?;
            return self.report_branch(&row, entry);
        }
        let Some(pending) = ours else {
            if self.is_lost(&head.group) {
                return self.log_has_grown(&head.group);
            }
            self.drop_pending_of(&head.group)?;
            self.table.put(rows::astray(&head.group), next);
            self.intents.trees.retain(|(of, _), _| *of != head.group);
            return Ok(());
        };
        if !self.may_come_over(&branch, head, &next.commit)? {
            self.drop_pending_of(&head.group)?;
            self.table.put(rows::astray(&head.group), next);
            let reason = "the branch that stands cannot be entered";
            self.stays(&row, &entry.header, reason);
            self.gap(Some(head.state.conversation), &entry.header, reason);
            return Ok(());
        }
        let commit = next.commit.commit.as_slice();
        let (_, writes) = self.engine.groups.merge(&self.table, head.group.as_bytes(), commit, now_ms)?;
        self.table.apply_mls(writes);
        self.table.delete(rows::pending(&head.group));
        self.table.delete(rows::astray(&head.group));
        self.intents.submitted.remove(&head.group);
        (row.state, row.epoch) = (head.state.clone(), head.epoch);
        row.head = Some(next.head.clone());
        self.found_again(&head.group);
        self.keep_followed(&row)?;
        self.goes_on(&row);
        self.verify_names(&row)?;
        self.end_intent(pending.intent, head.state.conversation, None);
        self.leaf_is_new(&head.group, false, now_ms);
        self.report_branch(&row, entry)?;
        self.read_early(&head.group, now_ms)
    }

    pub(super) fn report_branch(&mut self, row: &ConversationRow, entry: &Entry) -> Result<(), DeviceError> {
        let report = MembershipReport {
            conversation: row.state.conversation,
            epoch: epoch::mls(row.epoch),
            by: self.name_of(&entry.header.account)?,
            added: Vec::new(),
            removed: Vec::new(),
            over: row.over,
        };
        if row.state.policy != Policy::Direct {
            self.staged.push(Output::Membership(report));
        }
        Ok(())
    }

    /// Whether our external commit leads to what the hub has signed, among devices that their logs admit and nobody else.
    fn may_come_over(
        &self,
        before: &ConversationHead,
        after: &ConversationHead,
        commit: &Commit,
    ) -> Result<bool, DeviceError> {
        let view = self.engine.groups.inspect_commit(&self.table, after.group.as_bytes(), commit.commit.as_slice());
        let Ok(view) = view else { return Ok(false) };
        let state = codec::decode_canonical::<ConversationState>(view.conv_state.as_slice(), limits::COMMIT_BYTES_MAX);
        let mut logs = BTreeMap::new();
        for member in &view.members {
            let Some(log) = self.log_of(&member.credential.account)? else { return Ok(false) };
            if !membership::has_admitted(&log, member) {
                return Ok(false);
            }
            logs.insert(member.credential.account, log);
        }
        Ok(state.as_ref() == Ok(&after.state)
            && view.external
            && view.epoch == epoch::mls(after.epoch)
            && membership::check(&before.state, &after.state, &view, |account| logs.get(account), &[], Judge::Member)
                .is_ok())
    }

    /// Moves our coming over one step on: tree and logs are fetched, then an external commit goes to the hub.
    pub(super) fn plan_rejoin(
        &mut self,
        number: u64,
        row: IntentRow,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let Some(next) = self.table.get::<NextEpoch>(&rows::astray(&row.group))? else {
            self.end_intent(number, row.conversation, None);
            return Ok(());
        };
        let Ok(branch) = ConversationHead::verify(&next.head) else { return Ok(()) };
        if self.intents.asked.contains(&row.group) {
            return Ok(());
        }
        match self.intents.joining_at_ms.get(&row.group) {
            Some(at) if *at > now_ms => return Ok(()),
            _ => self.intents.joining_at_ms.remove(&row.group),
        };
        let Some(tree) = self.fetch_for(&branch)? else { return Ok(()) };
        if let Err(at) = self.may_come_back(&row.group, now_ms)? {
            if let Some(attempt) = self.intents.open.get_mut(&number) {
                attempt.not_before_ms = at;
            }
            return Ok(());
        }
        let info = next.commit.group_info.as_slice();
        let failed = || Refusal::later(Code::Malformed, "the branch that stands cannot be entered", "the node may lie");
        let Ok((made, writes)) = self.engine.groups.rejoin(&self.table, info, &tree) else {
            self.intents.trees.retain(|(of, _), _| *of != row.group);
            self.intent_failed(number, failed(), random, now_ms);
            return Ok(());
        };
        self.table.apply_mls(writes);
        let mut operation = OperationId([0; 16]);
        random(&mut operation.0);
        let commit = Commit {
            operation,
            group: row.group,
            epoch: epoch::of(branch.state.term, made.epoch),
            commit: made.commit,
            welcome: None,
            group_info: made.group_info,
            logs: Vec::new(),
            leaves: Vec::new(),
        };
        let after = ConversationHead { epoch: commit.epoch, ..branch.clone() };
        if !self.may_come_over(&branch, &after, &commit)? {
            self.drop_pending_of(&row.group)?;
            if !self.refresh_logs(row.group, branch.epoch) {
                self.intent_failed(number, failed(), random, now_ms);
            }
            return Ok(());
        }
        let pending = PendingRow { intent: number, commit, stands: false, succeeds: None };
        self.table.put(rows::pending(&row.group), &pending);
        self.put_intent(number, &IntentRow { operation: Some(operation), ..row });
        self.submit_commit(pending);
        Ok(())
    }

    /// Lets a successor follow a hub that is lost, from the epoch that we are at.
    pub(super) fn plan_succession(
        &mut self,
        number: u64,
        row: IntentRow,
        known: &ConversationRow,
        to: Option<NodeId>,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let never = |code, message: &str, hint: &str| Some(Refusal::never(code, message, hint));
        let named = match to {
            Some(node) => known.state.successors.contains(&node).then_some(node),
            None => known.state.successors.first().copied(),
        };
        let (Some(hub), Some(from)) = (named, known.head.clone()) else {
            let error = never(Code::NotHub, "the node is none of the conversation's successors", "name one of them");
            self.end_intent(number, row.conversation, error);
            return Ok(());
        };
        if known.state.role(&self.me.account) != Some(Role::Admin) {
            let error = never(Code::NotMember, "a successor is begun by an admin", "ask one of them");
            self.end_intent(number, row.conversation, error);
            return Ok(());
        }
        let after = ConversationState {
            term: known.state.term.saturating_add(1),
            hub,
            successors: self.homes_of(&known.state, &hub)?,
            ..known.state.clone()
        };
        let change = roost_crypto::group::Change {
            conv_state: Some(roost_crypto::bytes::Bytes(codec::encode(&after))),
            ..Default::default()
        };
        let Ok((made, writes)) = self.engine.groups.commit(&self.table, row.group.as_bytes(), &change) else {
            let error = Refusal::later(Code::Malformed, "no commit can be made of this", "it is planned again");
            self.intent_failed(number, error, random, now_ms);
            return Ok(());
        };
        let mut operation = OperationId([0; 16]);
        random(&mut operation.0);
        let commit = Commit {
            operation,
            group: row.group,
            epoch: epoch::of(after.term, made.epoch),
            commit: made.commit,
            welcome: None,
            group_info: made.group_info,
            logs: Vec::new(),
            leaves: Vec::new(),
        };
        self.table.apply_mls(writes);
        let pending = PendingRow { intent: number, commit, stands: false, succeeds: Some((hub, from)) };
        self.table.put(rows::pending(&row.group), &pending);
        self.put_intent(number, &IntentRow { operation: Some(operation), ..row });
        self.submit_commit(pending);
        Ok(())
    }

    /// Who may follow `hub`: the homes of those who take part, admins' first.
    pub(super) fn homes_of(&self, state: &ConversationState, hub: &NodeId) -> Result<Vec<NodeId>, DeviceError> {
        let (mut homes, mut seen) = (Vec::new(), BTreeSet::from([*hub]));
        for role in [Role::Admin, Role::Member] {
            for participant in state.participants.iter().filter(|participant| participant.role == role) {
                let home = self.log_of(&participant.account)?.and_then(|log| log.homes().first().copied());
                homes.extend(home.filter(|home| seen.insert(*home)));
            }
        }
        homes.truncate(limits::SUCCESSORS_MAX);
        Ok(homes)
    }

    /// The state after a change of its people: successors are renewed, and the hub moves when nobody would live there any more, to
    /// another one each time that `number`, the intent, has failed.
    pub(super) fn with_participants(
        &self,
        number: u64,
        before: &ConversationState,
        participants: Vec<roost_protocol::conversation::Participant>,
        adds: bool,
    ) -> Result<ConversationState, DeviceError> {
        let mut after = ConversationState { participants, ..before.clone() };
        if after.participants == before.participants {
            return Ok(after);
        }
        if !adds && self.lives_at(before, &before.hub)? && !self.lives_at(&after, &before.hub)? {
            let mut inhabited = Vec::new();
            for node in &before.successors {
                if self.lives_at(&after, node)? {
                    inhabited.push(*node);
                }
            }
            after.hub = self.intents.in_turn(number, &inhabited).unwrap_or(before.hub);
        }
        after.successors = self.homes_of(&after, &after.hub)?;
        Ok(after)
    }

    /// Whether a node is the home of somebody who takes part.
    pub(super) fn lives_at(&self, state: &ConversationState, node: &NodeId) -> Result<bool, DeviceError> {
        for participant in &state.participants {
            if self.log_of(&participant.account)?.is_some_and(|log| log.homes().first() == Some(node)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The state by which the hub moves to a node, or by which that node is made a successor first; `None` once it is the hub.
    pub(super) fn moved(
        &self,
        number: u64,
        before: &ConversationState,
        to: Option<NodeId>,
    ) -> Result<Option<ConversationState>, DeviceError> {
        let Some(to) = to.or_else(|| self.intents.in_turn(number, &before.successors)) else { return Ok(None) };
        if to == before.hub {
            return Ok(None);
        }
        let mut after = before.clone();
        if before.successors.contains(&to) {
            after.hub = to;
            after.successors = self.homes_of(before, &to)?;
        } else {
            after.successors.insert(0, to);
            after.successors.truncate(limits::SUCCESSORS_MAX);
        }
        Ok(Some(after))
    }

    /// We hold two heads of one epoch: people and our home are told.
    pub(super) fn accuse(&mut self, proof: &EquivocationProof) -> Result<(), DeviceError> {
        if self.accused(proof)? {
            let proof = proof.clone();
            self.request(Pending::Accuse, |id| ClientFrame::Accuse { id, proof });
        }
        Ok(())
    }

    /// A proof that a hub told two stories; whether it is news.
    pub(in super::super) fn accused(&mut self, proof: &EquivocationProof) -> Result<bool, DeviceError> {
        let Ok(told) = proof.verify() else { return Ok(false) };
        let key = rows::equivocation(&told.head.group);
        let earlier: Option<EquivocationProof> = self.table.get(&key)?;
        let earlier = earlier.and_then(|earlier| earlier.verify().ok());
        let is_news = earlier.is_none_or(|earlier| earlier.head.state.term < told.head.state.term);
        let conversation = ConversationId::of_group(&told.head.group);
        if !is_news || self.conversation(&conversation)?.is_none() {
            return Ok(false);
        }
        self.table.put(key, proof);
        let report = EquivocationReport { conversation, hub: told.hub.to_string(), epoch: epoch::mls(told.head.epoch) };
        self.staged.push(Output::Equivocation(report));
        Ok(true)
    }

    /// What a commit that waits is sent as.
    pub(super) fn frame_of(id: u64, commit: Commit, succeeds: Option<(NodeId, Signed)>) -> ClientFrame {
        match succeeds {
            Some((hub, from)) => ClientFrame::Succeed { id, successor: Successor { hub, from, commit } },
            None => ClientFrame::Commit { id, commit },
        }
    }
}
