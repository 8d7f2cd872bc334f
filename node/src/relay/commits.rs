//! Commits: put in order by the hub, followed by everybody else.
//!
//! The hub keeps a group's public MLS state and takes one commit an epoch; its verdict, yes or no, is a row before it is told.
//! Other homes take the hub's signed word. Implements `docs/protocol.md`, section "Commits".

use super::accounts::{home_of, known_log};
use super::conversations::{group_head, not_member};
use super::feeds::{self, Author};
use super::inbox::Reference;
use super::requests::Pending;
use super::successors::Standing;
use super::{ConnectionId, Failure, Relay, Step, rows, spans};
use crate::store::{Read as _, StoreError};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::group::{CommitView, Member};
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::planted;
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{Commit, ConversationHead, ConversationState, Leave, Participant, Policy};
use roost_protocol::epoch;
use roost_protocol::feed::{Entry, EntryKind, NextEpoch};
use roost_protocol::ids::{GroupId, MessageId, OperationId};
use roost_protocol::limits;
use roost_protocol::membership::{self, Judge};
use roost_protocol::peer::{Deliver, NodeRequest};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes that a commit's entry needs beside it: the hub's signed head.
const HEAD_ROOM: usize = 16 * 1024;

/// What the hub said to an operation.
#[derive(Serialize, Deserialize)]
enum Verdict {
    Yes(Signed),
    No(Refusal),
}

/// By which rules a commit is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// A change that the hub orders.
    Ordinary,
    /// The first commit of a successor.
    Succession,
}

/// The verdict of an operation, if there is one.
pub(super) fn recorded(
    step: &Step<'_, '_>,
    operation: &OperationId,
) -> Result<Option<Result<Signed, Refusal>>, StoreError> {
    Ok(rows::get(step.rows, &rows::commit_verdict(operation))?.map(|verdict| match verdict {
        Verdict::Yes(head) => Ok(head),
        Verdict::No(refusal) => Err(refusal),
    }))
}

/// Writes the verdict of an operation. What may be otherwise later is no verdict: it is asked again.
pub(super) fn record(
    step: &mut Step<'_, '_>,
    operation: &OperationId,
    judged: Result<Signed, Failure>,
) -> Result<Result<Signed, Refusal>, Failure> {
    let verdict = match judged {
        Ok(head) => Verdict::Yes(head),
        Err(Failure::Refused(refusal)) if !refusal.later => Verdict::No(refusal),
        Err(failure) => return Err(failure),
    };
    rows::put(step.rows, rows::commit_verdict(operation), &verdict);
    Ok(match verdict {
        Verdict::Yes(head) => Ok(head),
        Verdict::No(refusal) => Err(refusal),
    })
}

impl Relay {
    /// A device wants the next epoch: decided here if this node is the hub, else asked of it.
    pub(super) fn commit(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        commit: Commit,
    ) -> Result<(), Failure> {
        let head = group_head(step, &commit.group)?;
        if !head.state.has(&account) {
            return Err(not_member());
        }
        self.check_undoubted(step, &head)?;
        if head.state.hub == self.node {
            let frame = match self.commit_here(step, &commit)? {
                Ok(head) => ServerFrame::Committed { id, head },
                Err(error) => ServerFrame::Refused { id: Some(id), error },
            };
            self.send(connection, frame);
        } else {
            self.ask(Pending::Commit { connection, id }, head.state.hub, NodeRequest::Commit(commit));
        }
        Ok(())
    }

    /// As the hub: the recorded verdict of an operation, or a new one. A refusal that is recorded is no failure: it is written.
    pub(super) fn commit_here(
        &mut self,
        step: &mut Step<'_, '_>,
        commit: &Commit,
    ) -> Result<Result<Signed, Refusal>, Failure> {
        if let Some(verdict) = recorded(step, &commit.operation)? {
            return Ok(verdict);
        }
        let head = group_head(step, &commit.group)?;
        if head.state.hub != self.node {
            return Err(self.not_hub_any_more(step, &head)?.into());
        }
        if step.rows.get(&rows::wanted_state(&commit.group))?.is_some() {
            let message = "this node takes the conversation over from its hub before";
            return Err(super::quotas::busy(message, limits::RETRY_DELAY_MS_MIN));
        }
        let state: Option<Bytes> = rows::get(step.rows, &rows::public_state(&commit.group))?;
        let Some(state) = state else {
            let message = "the hub has lost the group's state";
            return Err(Refusal::later(Code::Sealed, message, "wait for a successor").into());
        };
        if commit.epoch == head.epoch && planted!(self.identity.sabotage, SecondCommit) {
            let second = ConversationHead { made_by: commit.hash(), ..head };
            return Ok(Ok(second.sign(&self.identity.node_key)));
        }
        let taken = match self.judge(step, &head, &state, commit, Rules::Ordinary) {
            Ok(judged) => self.take_commit(step, &head, judged, commit, None),
            Err(failure) => Err(failure),
        };
        record(step, &commit.operation, taken)
    }

    /// Everything that can be checked of a commit without being a member.
    pub(super) fn judge(
        &mut self,
        step: &mut Step<'_, '_>,
        head: &ConversationHead,
        state: &Bytes,
        commit: &Commit,
        rules: Rules,
    ) -> Result<(CommitView, ConversationState, Bytes), Failure> {
        let bad = |message: String| Failure::from(Refusal::never(Code::Malformed, message, "plan the change anew"));
        if codec::encode(commit).len() > limits::COMMIT_BYTES_MAX - HEAD_ROOM {
            return Err(Refusal::never(Code::TooLarge, "the commit is over 80 KiB", "add fewer at once").into());
        }
        let expected = match rules {
            Rules::Ordinary => head.epoch + 1,
            Rules::Succession => epoch::succeeding(head.epoch),
        };
        if commit.epoch != expected {
            let message = format!("the conversation is at epoch {}, the commit makes {}", head.epoch, commit.epoch);
            return Err(Refusal::never(Code::WrongEpoch, message, "merge what the inbox holds and plan anew").into());
        }
        let welcome = commit.welcome.as_ref().map(Bytes::as_slice);
        let judged = (self.identity.inspector.judge)(
            state.as_slice(),
            commit.commit.as_slice(),
            welcome,
            commit.group_info.as_slice(),
        );
        let (view, state_after) = judged.map_err(|error| bad(error.to_string()))?;
        self.may_commit(step, &view.committer.credential.account)?;
        let after: ConversationState = codec::decode_canonical(view.conv_state.as_slice(), limits::COMMIT_BYTES_MAX)
            .map_err(|error| bad(error.to_string()))?;
        for log in &commit.logs {
            let account = super::accounts::verified(log)?.account();
            if !head.state.has(&account) && !after.has(&account) {
                return Err(bad("an identity log of nobody who takes part".into()));
            }
            self.learn_log(step, log)?;
        }
        let logs = logs_of(step, &view)?;
        let mut leaves = Vec::new();
        for signed in &commit.leaves {
            let claimed: Leave = signed.peek(limits::DHT_VALUE_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
            let log = known_log(step, &claimed.account)?.ok_or_else(|| bad("a leave of nobody known".into()))?;
            leaves.push(Leave::verify(signed, &log).map_err(|error| bad(error.to_string()))?);
        }
        let log_of = |account: &AccountId| logs.get(account).map(Arc::as_ref);
        let checked = match rules {
            Rules::Ordinary => membership::check(&head.state, &after, &view, log_of, &leaves, Judge::Hub),
            Rules::Succession => membership::check_succession(&head.state, &after, &view, log_of, Judge::Hub),
        };
        checked
            .map_err(|error| Failure::from(Refusal::never(error.code(), error.to_string(), "plan the change anew")))?;
        match rules {
            Rules::Ordinary => self.check_move(step, head, &after)?,
            Rules::Succession if after.hub != self.node => return Err(bad("another node would follow".into())),
            Rules::Succession => {}
        }
        Ok((view, after, state_after))
    }

    /// The commit stands: the next epoch begins with its entry. A successor shows from which head its term began.
    pub(super) fn take_commit(
        &mut self,
        step: &mut Step<'_, '_>,
        before: &ConversationHead,
        (view, after, state_after): (CommitView, ConversationState, Bytes),
        commit: &Commit,
        from: Option<Signed>,
    ) -> Result<Signed, Failure> {
        let ordered_by = (after.hub != self.node).then_some(self.node);
        let (group, epoch, made_by) = (commit.group, commit.epoch, commit.hash());
        let head = ConversationHead { group, state: after, epoch, made_by, ordered_by };
        let signed = head.sign(&self.identity.node_key);
        // Who is added may know the conversation under the hub before.
        let from = match (from, &commit.welcome) {
            (None, Some(_)) => self.term_began(step, &group)?,
            (from, _) => from,
        };
        let next = NextEpoch { head: signed.clone(), commit: commit.clone(), from };
        let payload = Bytes(codec::encode(&next));
        if commit.welcome.is_some() {
            let tree = (self.identity.inspector.tree)(state_after.as_slice()).map_err(|error| {
                Failure::from(Refusal::never(Code::Malformed, error.to_string(), "plan the change anew"))
            })?;
            rows::put(step.rows, rows::tree(&commit.group, commit.epoch), &tree);
        }
        rows::put(step.rows, rows::public_state(&commit.group), &state_after);
        rows::put(step.rows, rows::group_info(&commit.group), &commit.group_info);
        self.register(step, &head, false)?;
        let Member { credential, .. } = &view.committer;
        let author = Author {
            account: credential.account,
            device: credential.device,
            message: MessageId::of(step.now_ms, head.made_by.as_bytes()),
            attempt: 0,
        };
        let (feed, bytes) = (self.own_feed(&commit.group), payload.len());
        // Whoever joins does so with this entry, whoever goes sees it as the last.
        let own = feeds::head(step.rows, &feed)?.seq + 1;
        self.follow(step, &before.state, &head, &next, (own, own))?;
        let seq = feeds::append(step, feed, EntryKind::Commit, head.epoch, author, payload)?;
        super::log::note(step, &head.group, head.epoch, &feed, seq);
        let audience = ConversationState { participants: everybody(&before.state, &head.state), ..head.state.clone() };
        self.spread(step, &audience, Reference { feed, seq, bytes }, None)?;
        Ok(signed)
    }

    /// Another home delivers a commit of the hub it is. Gives the state whose participants it is for.
    pub(super) fn admit_commit(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        deliver: &Deliver,
        entry: &Entry,
    ) -> Result<ConversationState, Failure> {
        let never = |code, message: &str| Failure::from(Refusal::never(code, message, "see the protocol's Commits"));
        let next = entry.next_epoch().map_err(|error| never(Code::Malformed, &error.to_string()))?;
        let head = ConversationHead::verify(&next.head).map_err(|error| never(Code::Malformed, &error.to_string()))?;
        let fits = head.made_by == next.commit.hash()
            && head.group == next.commit.group
            && head.epoch == next.commit.epoch
            && head.epoch == entry.header.epoch;
        if !fits {
            return Err(never(Code::Malformed, "the head is about another commit"));
        }
        if head.orderer() != peer || head.group != entry.header.feed.group {
            return Err(never(Code::NotHub, "only the hub's feed holds commits, of its own group"));
        }
        if head.state.conversation != deliver.conversation {
            return Err(never(Code::Malformed, "the commit is of another conversation than the delivery"));
        }
        let known: Option<ConversationHead> = rows::get(step.rows, &rows::group(&head.group))?;
        // Whether it is of the chain that this node follows, if it lies behind.
        let mut past = None;
        let earlier = |step: &Step<'_, '_>| participants_at(step, &head.group, head.epoch.saturating_sub(1));
        let before = match &known {
            None => {
                self.may_begin(step, &peer, &head.group, &deliver.accounts)?;
                ConversationState { participants: Vec::new(), ..head.state.clone() }
            }
            Some(known) => match self.standing(step, (known, &head), &next, &entry.header.account, deliver.begins)? {
                Standing::Next => known.state.clone(),
                // Followed already, or shown a later epoch after a loss: then this is how the epochs before it are learnt.
                Standing::Past => {
                    past = Some(head.state.term == known.state.term && head.orderer() == known.state.hub);
                    ConversationState { participants: earlier(step)?, ..head.state.clone() }
                }
            },
        };
        for log in &next.commit.logs {
            let account = super::accounts::verified(log)?.account();
            if before.has(&account) || head.state.has(&account) {
                self.learn_log(step, log)?;
            }
        }
        if past != Some(false) {
            super::log::note(step, &head.group, head.epoch, &entry.header.feed, entry.header.seq);
        }
        if let Some(of_chain) = past {
            self.note_earlier_move(step, &head, &next.head)?;
            let row = rows::participants(&head.group, head.epoch);
            if of_chain && step.rows.get(&row)?.is_none() && before.participants != head.state.participants {
                rows::put(step.rows, row, &head.state.participants);
            }
        } else {
            let own = feeds::head(step.rows, &self.own_feed(&head.group))?.seq;
            self.follow(step, &before, &head, &next, (own + 1, own))?;
            self.keep_state(step, known.as_ref(), &head, &next)?;
            self.ask_participants(step, &head)?;
        }
        Ok(ConversationState { participants: everybody(&before, &head.state), ..head.state })
    }

    /// Goes to an epoch. In our own feed, who joins begins at the first of the two positions, who goes ends at the second.
    fn follow(
        &mut self,
        step: &mut Step<'_, '_>,
        before: &ConversationState,
        head: &ConversationHead,
        next: &NextEpoch,
        (from, until): (u64, u64),
    ) -> Result<(), Failure> {
        self.note_hub(step, before, head, next)?;
        rows::put(step.rows, rows::group(&head.group), head);
        rows::put(step.rows, rows::signed_head(&head.group), &next.head);
        rows::put(step.rows, rows::head(&head.group, head.epoch), &next.head);
        let by_conversation = rows::conversation(&head.state.conversation);
        if step.rows.get(&by_conversation)?.is_none() {
            rows::put(step.rows, by_conversation, &head.group);
        }
        if before.participants != head.state.participants || before.term != head.state.term {
            rows::put(step.rows, rows::participants(&head.group, head.epoch), &head.state.participants);
        }
        let feed = self.own_feed(&head.group);
        for Participant { account, .. } in &head.state.participants {
            if !before.has(account) {
                spans::begin(step.rows, &feed, account, from)?;
            }
        }
        for Participant { account, .. } in &before.participants {
            if !head.state.has(account) && !planted!(self.identity.sabotage, RemovedServed) {
                spans::end(step.rows, &feed, account, until)?;
            }
        }
        Ok(())
    }

    /// Asks the hub where participants live of whom nothing is known here. Some may have left since.
    pub(super) fn ask_participants(&mut self, step: &Step<'_, '_>, head: &ConversationHead) -> Result<(), Failure> {
        self.ask_people(step, head, Some(head.epoch), &head.state.participants)
    }

    fn ask_people(
        &mut self,
        step: &Step<'_, '_>,
        head: &ConversationHead,
        epoch: Option<u64>,
        people: &[Participant],
    ) -> Result<(), Failure> {
        let (hub, group) = (head.state.hub, head.group);
        if hub == self.node || self.asking_participants.contains(&group) {
            return Ok(());
        }
        let mut behind = None;
        for Participant { account, .. } in people {
            if known_log(step, account)?.is_none() {
                self.asking_participants.insert(group);
                self.ask(Pending::Participants(group, epoch), hub, NodeRequest::Participants { group, epoch, behind });
                break;
            }
            behind = Some(*account);
        }
        Ok(())
    }

    /// The hub's answer: only who takes part, or did, is learnt, and what is still missing is asked for.
    pub(super) fn participants_told(
        &mut self,
        step: &mut Step<'_, '_>,
        (group, epoch): (GroupId, Option<u64>),
        logs: &[roost_crypto::identity_log::IdentityLog],
    ) -> Result<(), Failure> {
        self.asking_participants.remove(&group);
        let head = group_head(step, &group)?;
        let people = people_of(step, &head, epoch)?;
        let mut learnt = false;
        for log in logs.iter().take(limits::PARTICIPANTS_MAX) {
            let account = super::accounts::verified(log)?.account();
            let concerned = people.iter().any(|participant| participant.account == account);
            if concerned && known_log(step, &account)?.is_none() {
                self.learn_log(step, log)?;
                let home = home_of(step, &account)?;
                self.must_meet(step, home)?;
                learnt = true;
            }
        }
        if learnt { self.ask_people(step, &head, epoch, &people) } else { Ok(()) }
    }

    /// A device wants the logs of who takes part, or of who took part in an epoch that it joins late.
    pub(super) fn fetch_participants(
        &mut self,
        step: &Step<'_, '_>,
        account: AccountId,
        (group, epoch): (GroupId, Option<u64>),
        behind: Option<AccountId>,
    ) -> Result<Vec<roost_crypto::identity_log::IdentityLog>, Failure> {
        let head = group_head(step, &group)?;
        let people = people_of(step, &head, epoch)?;
        if !head.state.has(&account) && people.iter().all(|participant| participant.account != account) {
            return Err(not_member());
        }
        // An answer of the hub that never came must not keep a joiner out: it is asked again with each question.
        self.ask_people(step, &head, epoch, &people)?;
        self.participants_page(step, &group, epoch, behind)
    }

    /// The logs of those who take part, or took part in an epoch, as far as they are known here, a page at a time.
    pub(super) fn participants_page(
        &self,
        step: &Step<'_, '_>,
        group: &GroupId,
        epoch: Option<u64>,
        behind: Option<AccountId>,
    ) -> Result<Vec<roost_crypto::identity_log::IdentityLog>, Failure> {
        let (mut logs, mut bytes) = (Vec::new(), 0);
        for Participant { account, .. } in people_of(step, &group_head(step, group)?, epoch)? {
            if behind.is_none_or(|behind| account > behind)
                && let Some(log) = known_log(step, &account)?
            {
                bytes += log.encoded().len();
                logs.push(log.log().clone());
            }
            if bytes >= limits::PARTICIPANT_LOGS_BYTES_MAX {
                break;
            }
        }
        Ok(logs)
    }

    /// As the hub: the tree that the joiners of an epoch need, and who comes back to the newest.
    pub(super) fn tree_of(&self, step: &Step<'_, '_>, group: &GroupId, epoch: u64) -> Result<Bytes, Failure> {
        if let Some(tree) = rows::get(step.rows, &rows::tree(group, epoch))? {
            return Ok(tree);
        }
        let head = group_head(step, group)?;
        let state: Option<Bytes> = rows::get(step.rows, &rows::public_state(group))?;
        let not_found = || Refusal::never(Code::NotFound, "no Welcome leads to this epoch", "ask for a newer epoch");
        let state = state.filter(|_| head.epoch == epoch && head.state.hub == self.node).ok_or_else(not_found)?;
        Ok((self.identity.inspector.tree)(state.as_slice()).map_err(|_| not_found())?)
    }

    /// A device wants a part of a tree: ours, or that of the node which ordered the epoch.
    pub(super) fn fetch_tree(
        &mut self,
        step: &Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        (group, epoch, offset): (GroupId, u64, u64),
    ) -> Result<(), Failure> {
        let head = group_head(step, &group)?;
        // Who joined and is removed again meanwhile still joins the epoch that it was added in.
        let joined = participants_at(step, &group, epoch)?;
        if !head.state.has(&account) && joined.iter().all(|participant| participant.account != account) {
            return Err(not_member());
        }
        // The tree that a Welcome leads to lies where that was ordered, and with who may follow a hub that is lost.
        let ordered: Option<Signed> = rows::get(step.rows, &rows::head(&group, epoch))?;
        let ordered = ordered.and_then(|signed| ConversationHead::verify(&signed).ok());
        let keeper = match ordered {
            Some(ordered) if ordered.state.term == head.state.term => ordered.orderer(),
            _ => head.state.hub,
        };
        if keeper == self.node {
            let tree = self.tree_of(step, &group, epoch)?;
            self.send(connection, part_of(id, &tree, offset));
        } else {
            let pending = Pending::Tree { connection, id, offset };
            self.ask(pending, keeper, NodeRequest::Tree { group, epoch });
        }
        Ok(())
    }
}

/// A part of a tree, as a device gets it.
pub(super) fn part_of(id: u64, tree: &Bytes, offset: u64) -> ServerFrame {
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    let part: Vec<u8> = tree.0.iter().skip(from).take(limits::TREE_PART_BYTES_MAX).copied().collect();
    ServerFrame::Tree { id, total: tree.len() as u64, part: Bytes(part) }
}

/// Who took part in an epoch; nobody where this node was shown a later one after a loss and has not learnt the earlier ones yet. In
/// a conversation of two that is always the same.
pub(super) fn participants_at(
    step: &Step<'_, '_>,
    group: &GroupId,
    epoch: u64,
) -> Result<Vec<Participant>, StoreError> {
    let (first, end) = (rows::participants(group, 0), rows::participants(group, epoch.saturating_add(1)));
    match step.rows.last(&first, &end)? {
        Some((key, value)) => {
            let read = |value: &[u8]| rows::decode(&key, value);
            step.memo().participants.of(key.clone(), value, read).map(|participants| participants.to_vec())
        }
        None => {
            let head: Option<ConversationHead> = rows::get(step.rows, &rows::group(group))?;
            let of_two = head.filter(|head| head.state.policy == Policy::Direct);
            Ok(of_two.map_or_else(Vec::new, |head| head.state.participants))
        }
    }
}

/// Who takes part in the newest epoch, or took part in an earlier one.
pub(super) fn people_of(
    step: &Step<'_, '_>,
    head: &ConversationHead,
    epoch: Option<u64>,
) -> Result<Vec<Participant>, StoreError> {
    match epoch.filter(|epoch| *epoch < head.epoch) {
        Some(epoch) => participants_at(step, &head.group, epoch),
        None => Ok(head.state.participants.clone()),
    }
}

/// The participants before and after a commit.
fn everybody(before: &ConversationState, after: &ConversationState) -> Vec<Participant> {
    let gone = before.participants.iter().filter(|participant| !after.has(&participant.account));
    let mut all: Vec<Participant> = after.participants.iter().chain(gone).cloned().collect();
    all.sort_by_key(|participant| participant.account);
    all
}

/// The logs that the rules about a commit's leaves need.
fn logs_of(step: &Step<'_, '_>, view: &CommitView) -> Result<BTreeMap<AccountId, Arc<VerifiedLog>>, Failure> {
    let members = view.added.iter().chain(&view.removed).chain(&view.updated).chain(std::iter::once(&view.committer));
    let accounts: BTreeSet<AccountId> = members.map(|member| member.credential.account).collect();
    let mut logs = BTreeMap::new();
    for account in accounts {
        if let Some(log) = known_log(step, &account)? {
            logs.insert(account, log);
        }
    }
    Ok(logs)
}

/// Whether a node is the home of somebody of `participants`.
pub(super) fn is_home_of_one(
    step: &Step<'_, '_>,
    participants: &[Participant],
    node: &NodeId,
) -> Result<bool, Failure> {
    for Participant { account, .. } in participants {
        // Of whom nothing is known here yet, nothing can be said.
        if known_log(step, account)?.is_some() && home_of(step, account)? == *node {
            return Ok(true);
        }
    }
    Ok(false)
}
