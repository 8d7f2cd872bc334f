//! Successors: how the hub of a conversation changes, which of two branches a home follows, and hubs that tell two stories.
//!
//! A node never decides that a hub is lost; an admin does. A commit that is not followed is held all the same: the feed that it
//! is in goes on. Implements `docs/protocol.md`, section "Successors".

use super::commits::{Rules, is_home_of_one, record, recorded};
use super::conversations::{CreationRow, group_head, not_member};
use super::feeds;
use super::inbox::Filling;
use super::requests::Pending;
use super::{ConnectionId, Failure, Relay, Step, accounts, rows};
use crate::store::{Overlay, Read as _, StoreError};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{Commit, ConversationHead, ConversationState, Participant, Role};
use roost_protocol::epoch;
use roost_protocol::equivocation::{Equivocation, EquivocationProof};
use roost_protocol::feed::{Entry, FeedHead, NextEpoch};
use roost_protocol::ids::{FeedId, GroupId};
use roost_protocol::limits;
use roost_protocol::peer::{Deliver, NodeRequest};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use roost_protocol::succession::{Precedence, Succession, Successor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Feeds of a lost hub that are fetched of one that is asked: one for each life of its store.
const LIVES_MAX: usize = 8;

/// The succession with which a group's term began.
#[derive(Serialize, Deserialize)]
struct BranchRow {
    /// The head that it forks from, signed by the hub before.
    from: Signed,
    precedence: Precedence,
}

/// What a home does with a commit that is delivered to it.
pub(super) enum Standing {
    /// It makes the next epoch here.
    Next,
    /// It is known, or of a branch that does not stand: held, and not followed.
    Past,
}

impl Relay {
    /// A device wants another node to follow a hub that is lost: decided here if this is the node, else asked of it.
    pub(super) fn succeed(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        successor: Successor,
    ) -> Result<(), Failure> {
        let group = successor.commit.group;
        if !group_head(step, &group)?.state.has(&account) {
            return Err(not_member());
        }
        if successor.hub == self.node {
            let frame = match self.succeed_here(step, &successor, None)? {
                Ok(head) => ServerFrame::Committed { id, head },
                Err(error) => ServerFrame::Refused { id: Some(id), error },
            };
            self.send(connection, frame);
        } else {
            let node = successor.hub;
            self.ask(Pending::Succeed { connection, id, group, node }, node, NodeRequest::Succeed(successor));
        }
        Ok(())
    }

    /// As the node that is to follow a hub: the recorded verdict of an operation, or a new one.
    pub(super) fn succeed_here(
        &mut self,
        step: &mut Step<'_, '_>,
        successor: &Successor,
        peer: Option<NodeId>,
    ) -> Result<Result<Signed, Refusal>, Failure> {
        let commit = &successor.commit;
        if let Some(verdict) = recorded(step, &commit.operation)? {
            return Ok(verdict);
        }
        let known = group_head(step, &commit.group)?;
        let taken = match self.check_successor(step, &known, successor, peer) {
            Ok(state) => match self.judge(step, &known, &state, commit, Rules::Succession) {
                Ok(judged) => self.take_commit(step, &known, judged, commit, Some(successor.from.clone())),
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        record(step, &commit.operation, taken)
    }

    /// Whether this node may follow the hub from there, and its public state of that epoch.
    fn check_successor(
        &mut self,
        step: &mut Step<'_, '_>,
        known: &ConversationHead,
        successor: &Successor,
        peer: Option<NodeId>,
    ) -> Result<Bytes, Failure> {
        let malformed =
            |message: &str| Failure::from(Refusal::never(Code::Malformed, message, "show what the hub has signed"));
        let from = ConversationHead::verify(&successor.from).map_err(|error| malformed(&error.to_string()))?;
        if from.group != known.group || successor.commit.group != known.group {
            return Err(malformed("the head is of another group"));
        }
        if successor.hub != self.node || !from.state.successors.contains(&self.node) {
            let message = "this node is none of the successors";
            return Err(Refusal::never(Code::NotHub, message, "ask one that the state names").into());
        }
        if from.epoch < known.epoch {
            let message = "commits behind this epoch are known here";
            return Err(Refusal::never(Code::WrongEpoch, message, "merge what the inbox holds and try again").into());
        }
        if from.epoch > known.epoch {
            if let Some(peer) = peer {
                self.catch_up(step, &known.group, peer)?;
            }
            let message = "commits before this epoch are missing here";
            return Err(Refusal::later(Code::WrongEpoch, message, "they are fetched; try again").into());
        }
        if from != *known {
            return Err(malformed("the hub has signed another head of this epoch"));
        }
        rows::get(step.rows, &rows::public_state(&known.group))?.ok_or_else(|| {
            let message = "this node does not keep the group's state";
            Refusal::later(Code::Sealed, message, "ask another of the successors").into()
        })
    }

    /// Who asks a node that was the hub: a successor has sealed its chain, or it moved.
    pub(super) fn not_hub_any_more(&self, step: &Step<'_, '_>, head: &ConversationHead) -> Result<Refusal, StoreError> {
        let branch: Option<BranchRow> = rows::get(step.rows, &rows::branch(&head.group))?;
        let sealed = branch
            .is_some_and(|branch| ConversationHead::verify(&branch.from).is_ok_and(|from| from.state.hub == self.node));
        Ok(if sealed {
            Refusal::later(Code::Sealed, "a successor follows this hub", "merge what the inbox holds and plan anew")
        } else {
            Refusal::never(Code::NotHub, "this node is not the conversation's hub", "ask its hub")
        })
    }

    /// A hub moves only to a node that keeps its state, and only as often as can be proven; and it stays a home of somebody.
    pub(super) fn check_move(
        &self,
        step: &Step<'_, '_>,
        before: &ConversationHead,
        after: &ConversationState,
    ) -> Result<(), Failure> {
        if after.hub != before.state.hub {
            let lineage: Vec<Signed> = rows::get(step.rows, &rows::lineage(&before.group))?.unwrap_or_default();
            if lineage.len() >= limits::LINEAGE_MAX {
                let message = "the hub has changed as often as an introduction can prove";
                return Err(Refusal::never(Code::TooLarge, message, "begin a new conversation").into());
            }
            if !self.has_state(step, before, &after.hub)? {
                let message = "the node that is to become the hub has not fetched the group's state yet";
                return Err(self.wait_or_name_another(step, before, after, message)?);
            }
        }
        let serves_before = is_home_of_one(step, &before.state.participants, &before.state.hub)?;
        if serves_before && !is_home_of_one(step, &after.participants, &after.hub)? {
            let message = "nobody who takes part would live at the hub";
            return Err(Refusal::never(Code::Malformed, message, "move the hub with the same commit").into());
        }
        Ok(())
    }

    /// Nobody need wait for a successor that may never get the state, where another one could go on at once.
    fn wait_or_name_another(
        &self,
        step: &Step<'_, '_>,
        before: &ConversationHead,
        after: &ConversationState,
        message: &str,
    ) -> Result<Failure, Failure> {
        for node in &before.state.successors {
            if self.has_state(step, before, node)? && is_home_of_one(step, &after.participants, node)? {
                return Ok(Refusal::never(Code::Sealed, message, "name another successor").into());
            }
        }
        Ok(super::quotas::busy(message, limits::RETRY_DELAY_MS_MIN))
    }

    /// What a home does with a commit of a conversation that it knows.
    pub(super) fn standing(
        &mut self,
        step: &mut Step<'_, '_>,
        (known, head): (&ConversationHead, &ConversationHead),
        next: &NextEpoch,
        author: &AccountId,
        begins: bool,
    ) -> Result<Standing, Failure> {
        let held: Option<Signed> = rows::get(step.rows, &rows::head(&head.group, head.epoch))?;
        if let Some(proof) = held.and_then(|held| EquivocationProof::of(&held, &next.head)) {
            self.accused(step, &proof)?;
            return Ok(Standing::Past);
        }
        if next.begins_term(head) {
            return self.successor_standing(step, (known, head), next, author);
        }
        let orderer = head.orderer();
        if head.state.term < known.state.term {
            return Ok(Standing::Past);
        }
        if head.state.term > known.state.term && next.follows(head, &known.state.hub) {
            return Ok(Standing::Next);
        }
        if head.state.term == known.state.term && orderer == known.state.hub {
            if head.epoch <= known.epoch {
                return Ok(Standing::Past);
            }
            if head.epoch == known.epoch + 1 || begins {
                return Ok(Standing::Next);
            }
            let message = "the commit's epoch is not the next one here";
            return Err(Refusal::later(Code::WrongEpoch, message, "deliver the commits before it").into());
        }
        if begins && head.epoch > known.epoch && !is_home_of_one(step, &known.state.participants, &self.node)? {
            // Nobody here takes part any more, so that nobody told this home how the hub changed: as good as unknown.
            return Ok(Standing::Next);
        }
        if is_rival(step, &head.group, known, head)? {
            return Ok(Standing::Past);
        }
        if head.state.term == known.state.term && head.epoch <= known.epoch {
            if self.was_hub(step, &head.group, &orderer)? {
                return Ok(Standing::Past);
            }
            let message = "the conversation has another hub";
            return Err(Refusal::never(Code::NotHub, message, "see the protocol's Commits").into());
        }
        // The hub moved there, or was lost, and this home was not told: whoever is the hub now was.
        self.catch_up(step, &head.group, orderer)?;
        let message = "commits before this one are missing here";
        Err(Refusal::later(Code::WrongEpoch, message, "they are fetched").into())
    }

    /// As [`Self::standing`], of a successor's first commit.
    fn successor_standing(
        &mut self,
        step: &mut Step<'_, '_>,
        (known, head): (&ConversationHead, &ConversationHead),
        next: &NextEpoch,
        author: &AccountId,
    ) -> Result<Standing, Failure> {
        let malformed = |message: &str| Failure::from(Refusal::never(Code::Malformed, message, "see Successors"));
        let from_signed = next.from.as_ref().ok_or_else(|| malformed("no head to fork from"))?;
        let succession = Succession::verify(from_signed, &next.head).map_err(|error| malformed(&error.to_string()))?;
        let from = succession.from();
        if from.state.role(author) != Some(Role::Admin) {
            return Err(malformed("a successor is begun by an admin"));
        }
        if known.state.term > head.state.term {
            return Ok(Standing::Past);
        }
        if known.state.term == head.state.term {
            let ours: Option<BranchRow> = rows::get(step.rows, &rows::branch(&head.group))?;
            let better = ours.is_some_and(|ours| succession.precedence() > ours.precedence);
            return if better { Ok(Standing::Next) } else { void(step, head) };
        }
        if from.state.term != known.state.term || from.epoch > known.epoch {
            self.catch_up(step, &head.group, head.state.hub)?;
            let message = "commits before the successor's are missing here";
            return Err(Refusal::later(Code::WrongEpoch, message, "they are fetched").into());
        }
        let held: Option<Signed> = rows::get(step.rows, &rows::head(&head.group, from.epoch))?;
        if let Some(held) = held.filter(|held| held != from_signed) {
            if let Some(proof) = EquivocationProof::of(&held, from_signed) {
                self.accused(step, &proof)?;
            }
            return void(step, head);
        }
        let lost = self.lost_its_author(step, &head.group, (from.epoch, known.epoch), author)?;
        if lost { void(step, head) } else { Ok(Standing::Next) }
    }

    /// Whether a commit behind `from`, up to `until`, removed or demoted an account that was an admin.
    fn lost_its_author(
        &self,
        step: &Step<'_, '_>,
        group: &GroupId,
        (from, until): (u64, u64),
        author: &AccountId,
    ) -> Result<bool, StoreError> {
        let (first, end) = (rows::head(group, from + 1), rows::head(group, until + 1));
        for (key, value) in step.rows.scan(&first, &end, usize::MAX)? {
            let signed: Signed = rows::decode(&key, &value)?;
            if ConversationHead::verify(&signed).is_ok_and(|head| head.state.role(author) != Some(Role::Admin)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a node was the hub once, from the beginning or by a move: what it ordered then is held.
    fn was_hub(&self, step: &Step<'_, '_>, group: &GroupId, node: &NodeId) -> Result<bool, StoreError> {
        let lineage: Vec<Signed> = rows::get(step.rows, &rows::lineage(group))?.unwrap_or_default();
        let creation: Option<CreationRow> = rows::get(step.rows, &rows::creation(group))?;
        Ok(lineage
            .iter()
            .chain(creation.iter().map(|creation| &creation.signed))
            .filter_map(|signed| ConversationHead::verify(signed).ok())
            .any(|head| head.orderer() == *node || head.state.hub == *node))
    }

    /// A node that was led in by a later epoch's commit learns how the hub moved before.
    pub(super) fn note_earlier_move(
        &self,
        step: &mut Step<'_, '_>,
        head: &ConversationHead,
        signed: &Signed,
    ) -> Result<(), StoreError> {
        let key = rows::lineage(&head.group);
        let mut lineage: Vec<Signed> = rows::get(step.rows, &key)?.unwrap_or_default();
        let first = lineage.first().and_then(|first| ConversationHead::verify(first).ok());
        if head.ordered_by.is_some()
            && first.is_none_or(|first| head.epoch < first.epoch)
            && self.was_hub(step, &head.group, &head.orderer())?
        {
            lineage.insert(0, signed.clone());
            rows::put(step.rows, key, &lineage);
        }
        Ok(())
    }

    /// Remembers how the hub changes with an epoch that is about to be followed.
    pub(super) fn note_hub(
        &mut self,
        step: &mut Step<'_, '_>,
        before: &ConversationState,
        head: &ConversationHead,
        next: &NextEpoch,
    ) -> Result<(), StoreError> {
        let key = rows::lineage(&head.group);
        let succession = next.from.as_ref().and_then(|from| Succession::verify(from, &next.head).ok());
        if let (Some(succession), Some(from)) = (succession, &next.from) {
            if before.term == head.state.term {
                // The branch that was followed so far does not stand: its epochs have the numbers of this one's.
                note_rival(step, &head.group, (before.term, before.hub))?;
                self.forget_branch(step, &head.group, head.state.term)?;
            }
            let lineage: Vec<Signed> = rows::get(step.rows, &key)?.unwrap_or_default();
            let mut standing = Vec::new();
            for signed in lineage {
                let Ok(earlier) = ConversationHead::verify(&signed) else { continue };
                if earlier.epoch < succession.from().epoch {
                    standing.push(signed);
                } else if earlier.state.term == head.state.term {
                    note_rival(step, &head.group, (head.state.term, earlier.orderer()))?;
                }
            }
            standing.extend([from.clone(), next.head.clone()]);
            rows::put(step.rows, key, &standing);
            let branch = BranchRow { from: from.clone(), precedence: succession.precedence() };
            rows::put(step.rows, rows::branch(&head.group), &branch);
        } else if head.ordered_by.is_some() {
            let mut lineage: Vec<Signed> = rows::get(step.rows, &key)?.unwrap_or_default();
            lineage.push(next.head.clone());
            rows::put(step.rows, key, &lineage);
        }
        Ok(())
    }

    fn forget_branch(&self, step: &mut Step<'_, '_>, group: &GroupId, term: u32) -> Result<(), StoreError> {
        let (first, end) = (epoch::of(term, 0), epoch::of(term.saturating_add(1), 0));
        for (first, end) in [
            (rows::participants(group, first), rows::participants(group, end)),
            (rows::head(group, first), rows::head(group, end)),
        ] {
            for (key, _) in step.rows.scan(&first, &end, usize::MAX)? {
                step.rows.delete(key);
            }
        }
        Ok(())
    }

    /// The head from which the group's term began, if a successor began it.
    pub(super) fn term_began(&self, step: &Step<'_, '_>, group: &GroupId) -> Result<Option<Signed>, StoreError> {
        let branch: Option<BranchRow> = rows::get(step.rows, &rows::branch(group))?;
        Ok(branch.map(|branch| branch.from))
    }

    /// Fetches what is missing of the hub's feed from another holder: the hub may be lost. Where this node was the hub itself, it is
    /// what it wrote in an earlier life.
    pub(super) fn catch_up(&mut self, step: &Step<'_, '_>, group: &GroupId, node: NodeId) -> Result<(), StoreError> {
        let known: Option<ConversationHead> = rows::get(step.rows, &rows::group(group))?;
        let Some(known) = known.filter(|_| node != self.node) else { return Ok(()) };
        let mut feeds = feeds_of(step, group, &known.state.hub)?;
        feeds.retain(|held| held.feed != self.own_feed(group));
        if feeds.is_empty() {
            self.ask(Pending::Feeds(*group, node), node, NodeRequest::Feeds { group: *group, node: known.state.hub });
        }
        for FeedHead { feed, seq, .. } in feeds {
            self.fetch_feed(feed, seq + 1, node);
        }
        Ok(())
    }

    fn fetch_feed(&mut self, feed: FeedId, from: u64, node: NodeId) {
        if self.fetching.insert(feed) {
            let limit = u32::try_from(limits::DELIVER_ENTRIES_MAX).unwrap_or(u32::MAX);
            self.ask(Pending::Fetched(feed), node, NodeRequest::Fetch { feed, from, limit });
        }
    }

    /// Another holder named the feeds of a hub of which nothing is held here.
    pub(super) fn feeds_told(
        &mut self,
        step: &Step<'_, '_>,
        group: &GroupId,
        node: NodeId,
        feeds: Vec<FeedId>,
    ) -> Result<(), StoreError> {
        let known: Option<ConversationHead> = rows::get(step.rows, &rows::group(group))?;
        let Some(known) = known else { return Ok(()) };
        let own = self.own_feed(group);
        let of_hub = |feed: &FeedId| (feed.group, feed.node) == (*group, known.state.hub) && *feed != own;
        for feed in feeds.into_iter().filter(of_hub).take(LIVES_MAX) {
            if rows::get::<FeedHead>(step.rows, &rows::feed_head(&feed))?.is_none() {
                self.fetch_feed(feed, 1, node);
            }
        }
        Ok(())
    }

    /// Takes entries of a hub's feed as if the hub had delivered them: each stands by the chain and the hub's signatures.
    pub(super) fn fetched(
        &mut self,
        step: &mut Step<'_, '_>,
        feed: &FeedId,
        entries: Vec<Entry>,
    ) -> Result<(), StoreError> {
        self.fetching.remove(feed);
        for entry in entries {
            if entry.header.feed != *feed {
                break;
            }
            let mut above = Overlay::new(&*step.rows);
            let taken = self.take_fetched(&mut Step { rows: &mut above, now_ms: step.now_ms, memo: step.memo }, entry);
            let batch = above.into_batch();
            match taken {
                Ok(()) => step.rows.absorb(batch),
                Err(Failure::Refused(_)) => break,
                Err(Failure::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_fetched(&mut self, step: &mut Step<'_, '_>, entry: Entry) -> Result<(), Failure> {
        let head = group_head(step, &entry.header.feed.group)?;
        let writer = entry.header.feed.node;
        let conversation = head.state.conversation;
        let deliver = Deliver {
            conversation,
            entries: vec![entry],
            accounts: vec![],
            begins: false,
            log: None,
            blobs: Vec::new(),
        };
        let Some(entry) = deliver.entries.first() else { return Ok(()) };
        let audience = self.admit(step, writer, &deliver, entry)?;
        let is_first = feeds::head(step.rows, &entry.header.feed)?.seq == 0;
        feeds::hold(step, entry, is_first)?;
        let seq = entry.header.seq;
        for Participant { account, .. } in audience.participants {
            if accounts::check_at_home(step, &account).is_err() {
                continue;
            }
            let mut filling = Filling::begin(step.rows, account, entry.header.feed)?;
            let held = filling.held();
            // Who is added begins here; of others, what is missing before it comes by the hub itself.
            if (held == 0 || held + 1 == seq) && filling.has_room() {
                filling.put(step.rows, seq, entry.payload.len());
                self.filled(step, &filling);
            }
        }
        Ok(())
    }

    /// Somebody takes this node for the hub: it may have become it by a move that nobody told it, for the hub before is gone.
    pub(super) fn hear_of_move(&mut self, step: &Step<'_, '_>, commit: &Commit, peer: NodeId) -> Result<(), Failure> {
        let known = group_head(step, &commit.group)?;
        if known.state.hub != self.node && commit.epoch > known.epoch + 1 {
            self.catch_up(step, &commit.group, peer)?;
        }
        Ok(())
    }

    /// A proof that a hub told two stories: kept, and told to the homes and devices of who takes part.
    pub(super) fn accused(&mut self, step: &mut Step<'_, '_>, proof: &EquivocationProof) -> Result<(), Failure> {
        let told = verified(proof)?;
        let group = told.head.group;
        let known = group_head(step, &group)?;
        let key = rows::equivocation(&group);
        let earlier: Option<EquivocationProof> = rows::get(step.rows, &key)?;
        let is_news = match earlier.map(|earlier| earlier.verify()) {
            Some(Ok(earlier)) => earlier.head.state.term < told.head.state.term,
            _ => true,
        };
        if !is_news {
            return Ok(());
        }
        rows::put(step.rows, key, proof);
        let mut homes = BTreeSet::new();
        for Participant { account, .. } in &known.state.participants {
            for connection in self.present.get(account).cloned().unwrap_or_default() {
                self.send(connection, ServerFrame::Equivocation { proof: proof.clone() });
            }
            homes.extend(accounts::home_of(step, account).ok().filter(|home| *home != self.node));
        }
        for home in homes {
            self.ask(Pending::Told, home, NodeRequest::Equivocation(proof.clone()));
        }
        Ok(())
    }

    /// Tells a device that resumes what was proven of the hubs of its conversations.
    pub(super) fn tell_equivocations(
        &mut self,
        step: &Step<'_, '_>,
        connection: ConnectionId,
        account: &AccountId,
    ) -> Result<(), Failure> {
        let prefix = [rows::EQUIVOCATION];
        for (key, value) in step.rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)? {
            let proof: EquivocationProof = rows::decode(&key, &value)?;
            if let Ok(told) = proof.verify()
                && group_head(step, &told.head.group)?.state.has(account)
            {
                self.send(connection, ServerFrame::Equivocation { proof });
            }
        }
        Ok(())
    }

    /// Nothing is asked of a hub that told two stories in this term: it is as lost as one that is gone.
    pub(super) fn check_undoubted(&self, step: &Step<'_, '_>, head: &ConversationHead) -> Result<(), Failure> {
        let proof: Option<EquivocationProof> = rows::get(step.rows, &rows::equivocation(&head.group))?;
        let doubted = proof
            .and_then(|proof| proof.verify().ok())
            .is_some_and(|told| (told.hub, told.head.state.term) == (head.state.hub, head.state.term));
        if doubted {
            let message = "the hub has signed two heads for one epoch";
            return Err(Refusal::later(Code::Sealed, message, "wait for a successor").into());
        }
        Ok(())
    }
}

/// A branch that does not stand here, by its first head.
fn void(step: &mut Step<'_, '_>, head: &ConversationHead) -> Result<Standing, Failure> {
    note_rival(step, &head.group, (head.state.term, head.state.hub))?;
    Ok(Standing::Past)
}

fn note_rival(step: &mut Step<'_, '_>, group: &GroupId, rival: (u32, NodeId)) -> Result<(), StoreError> {
    let key = rows::rivals(group);
    let mut rivals: Vec<(u32, NodeId)> = rows::get(step.rows, &key)?.unwrap_or_default();
    if !rivals.contains(&rival) {
        rivals.push(rival);
        let surplus = rivals.len().saturating_sub(limits::LINEAGE_MAX);
        rivals.drain(..surplus);
        rows::put(step.rows, key, &rivals);
    }
    Ok(())
}

/// Whether a head is of a branch that does not stand: what is ordered there is held, never followed.
fn is_rival(
    step: &Step<'_, '_>,
    group: &GroupId,
    known: &ConversationHead,
    head: &ConversationHead,
) -> Result<bool, StoreError> {
    let rivals: Vec<(u32, NodeId)> = rows::get(step.rows, &rows::rivals(group))?.unwrap_or_default();
    let of_a_later_term = head.state.term > known.state.term;
    Ok(rivals.iter().any(|(term, hub)| *term == head.state.term && (of_a_later_term || *hub == head.orderer())))
}

/// Whether a node ordered a branch of a term that it gave up: it never orders another of that term.
pub(super) fn gave_up(step: &Step<'_, '_>, head: &ConversationHead, node: &NodeId) -> Result<bool, StoreError> {
    let rivals: Vec<(u32, NodeId)> = rows::get(step.rows, &rows::rivals(&head.group))?.unwrap_or_default();
    Ok(rivals.contains(&(head.state.term, *node)))
}

/// The heads of the feeds that a node has written in a group, as far as they are held here.
pub(super) fn feeds_of(step: &Step<'_, '_>, group: &GroupId, node: &NodeId) -> Result<Vec<FeedHead>, StoreError> {
    let prefix = rows::feeds_of(group, node);
    let found = step.rows.scan(&prefix, &rows::end_of(&prefix), usize::MAX)?;
    found.iter().map(|(key, value)| rows::decode(key, value)).collect()
}

/// What a proof proves.
fn verified(proof: &EquivocationProof) -> Result<Equivocation, Failure> {
    proof
        .verify()
        .map_err(|error| Refusal::never(Code::Malformed, error.to_string(), "show two heads that differ").into())
}

/// The group of whose hub something is proven.
pub(super) fn group_of_proof(proof: &EquivocationProof) -> Result<GroupId, Failure> {
    Ok(verified(proof)?.head.group)
}
