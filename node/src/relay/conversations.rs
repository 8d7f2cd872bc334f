//! Conversations: created once at their hub, known to the homes of their participants, and the admission of messages.

use super::accounts::{home_of, known_log, verified};
use super::commits::{is_home_of_one, participants_at};
use super::feeds::{self, Author};
use super::inbox::Reference;
use super::requests::Pending;
use super::rows;
use super::{ConnectionId, Failure, Note, Relay, Step};
use crate::store::{Read as _, StoreError};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::planted;
use roost_crypto::signed::Signed;
use roost_protocol::content::BlobRef;
use roost_protocol::conversation::{ConversationHead, Creation, Participant, Policy, Role};
use roost_protocol::feed::{EntryKind, FirstContact};
use roost_protocol::ids::{ConversationId, FeedId, GroupId, MessageId};
use roost_protocol::limits;
use roost_protocol::membership;
use roost_protocol::peer::NodeRequest;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use roost_protocol::succession::follow_lineage;
use serde::{Deserialize, Serialize};

/// Bytes that a first contact needs beside its creation: the hub's signed head.
const HEAD_ROOM: usize = 4 * 1024;

/// The epoch that a creation makes.
const FIRST_EPOCH: u64 = 1;

/// How a group began, for whoever asks; its head has a small row of its own, which is read for every message.
#[derive(Serialize, Deserialize)]
pub(super) struct CreationRow {
    pub signed: Signed,
    creation: Creation,
}

#[cfg(test)]
impl CreationRow {
    /// What the conversation began with.
    pub(super) fn creation(&self) -> &Creation {
        &self.creation
    }
}

impl Relay {
    /// A device wants a conversation: decided here if this node is its hub, else asked of the hub.
    pub(super) fn create(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        creation: Creation,
    ) -> Result<(), Failure> {
        if !creation.state.has(&account) {
            return Err(not_member());
        }
        check_logs(&creation)?;
        for log in &creation.logs {
            self.learn_log(step, log)?;
        }
        if creation.state.hub == self.node {
            let (head, creation) = self.create_here(step, creation)?;
            self.has_created(step, connection);
            self.send(connection, ServerFrame::Created { id, head, creation });
        } else {
            let hub = creation.state.hub;
            let pending = Pending::Create { connection, id, creation: Box::new(creation.clone()) };
            self.ask(pending, hub, NodeRequest::Create(creation));
        }
        Ok(())
    }

    /// Create if absent, as the hub; the verdict is recorded with the entry, in one batch.
    pub(super) fn create_here(
        &mut self,
        step: &mut Step<'_, '_>,
        creation: Creation,
    ) -> Result<(Signed, Creation), Failure> {
        self.check_creation(step, &creation)?;
        if creation.state.hub != self.node || !self.may_be_hub(step, &creation)? {
            return Err(Refusal::never(
                Code::NotHub,
                "this node is not the conversation's hub",
                "ask the first home of the smaller account id of two, the home of an admin of a group",
            )
            .into());
        }
        let standing: Option<GroupId> = match rows::get(step.rows, &rows::verdict(&creation.operation))? {
            Some(group) => Some(group),
            None => rows::get(step.rows, &rows::conversation(&creation.state.conversation))?,
        };
        if standing.is_some_and(|group| group != creation.group) {
            // Who has lost its devices, and which it has now, may be news.
            for log in &creation.logs {
                self.learn_log(step, log)?;
            }
        }
        // Also for a creation that was told before what stands: it comes again until its author is in.
        let standing = match standing {
            Some(group) if group != creation.group && self.is_abandoned(step, &group)? => None,
            standing => standing,
        };
        if let Some(group) = standing {
            let head = group_head(step, &group)?;
            if head.state.conversation != creation.state.conversation {
                let message = "the operation id was used for another conversation";
                return Err(Refusal::never(Code::Malformed, message, "draw a new operation id").into());
            }
            rows::put(step.rows, rows::verdict(&creation.operation), &group);
            let CreationRow { signed, creation } =
                rows::get(step.rows, &rows::creation(&group))?.ok_or_else(unknown_conversation)?;
            return Ok((signed, creation));
        }
        let head = ConversationHead {
            group: creation.group,
            state: creation.state.clone(),
            epoch: FIRST_EPOCH,
            made_by: creation.hash(),
            ordered_by: None,
        };
        let signed = head.sign(&self.identity.node_key);
        rows::put(step.rows, rows::verdict(&creation.operation), &creation.group);
        self.know(step, &head, &signed, &creation)?;
        // Only here: a hub that lost its store must not judge a second time what follows the first epoch.
        let begun = (self.identity.inspector.begin)(creation.group_info.as_slice(), creation.tree.as_slice());
        let (_, state) = begun
            .map_err(|error| Failure::from(Refusal::never(Code::Malformed, error.to_string(), "create it anew")))?;
        rows::put(step.rows, rows::public_state(&creation.group), &state);
        rows::put(step.rows, rows::group_info(&creation.group), &creation.group_info);
        rows::put(step.rows, rows::conversation(&creation.state.conversation), &creation.group);
        self.append_first_contact(step, &head, &signed, &creation)?;
        Ok((signed, creation))
    }

    /// Whether another group must be allowed to begin in a conversation of two: every device with a leaf was ended by its account, so
    /// that nobody is left to add new ones, or this hub has lost the group's state, so that nobody can be added.
    fn is_abandoned(&self, step: &Step<'_, '_>, group: &GroupId) -> Result<bool, Failure> {
        let head: Option<ConversationHead> = rows::get(step.rows, &rows::group(group))?;
        let info: Option<Bytes> = rows::get(step.rows, &rows::group_info(group))?;
        let state: Option<Bytes> = rows::get(step.rows, &rows::public_state(group))?;
        let Some(head) = head.filter(|head| head.state.policy == Policy::Direct) else { return Ok(false) };
        let (Some(info), Some(state)) = (info, state) else { return Ok(head.state.hub == self.node) };
        let inspector = &self.identity.inspector;
        let tree = (inspector.tree)(state.as_slice());
        let Ok(view) = tree.and_then(|tree| (inspector.creation)(info.as_slice(), tree.as_slice())) else {
            return Ok(false);
        };
        for member in &view.members {
            let log = known_log(step, &member.credential.account)?;
            if log.is_none_or(|log| !membership::has_revoked(&log, member)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The hub answered a creation of one of our devices.
    pub(super) fn created_elsewhere(
        &mut self,
        step: &mut Step<'_, '_>,
        asked: &Creation,
        signed: &Signed,
        stands: &Creation,
    ) -> Result<(), Failure> {
        let head = self.check_head(signed, &[], stands)?;
        self.check_creation(step, stands)?;
        if head.state.conversation != asked.state.conversation || head.state.hub != asked.state.hub {
            return Err(
                Refusal::later(Code::Malformed, "the hub answered for another conversation", "try again").into()
            );
        }
        self.know(step, &head, signed, stands)
    }

    /// A node does not know a conversation any more in which something is delivered to it: its store was lost. If it is the hub,
    /// maybe no device there has heard of the conversation yet, and nobody else's feed brings a creation.
    pub(super) fn show_conversation(
        &mut self,
        step: &mut Step<'_, '_>,
        node: NodeId,
        group: &GroupId,
    ) -> Result<(), StoreError> {
        let row: Option<CreationRow> = rows::get(step.rows, &rows::creation(group))?;
        if let Some(CreationRow { signed, creation }) = row {
            let head = rows::get(step.rows, &rows::signed_head(group))?.unwrap_or(signed);
            let lineage = rows::get(step.rows, &rows::lineage(group))?.unwrap_or_default();
            self.ask(Pending::Introduction, node, NodeRequest::Introduce { head, creation, lineage });
        }
        Ok(())
    }

    /// A device shows a conversation that this home lacks: after its store was lost.
    pub(super) fn introduce(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        (signed, lineage): (&Signed, &[Signed]),
        creation: &Creation,
    ) -> Result<(), Failure> {
        let head = self.check_head(signed, lineage, creation)?;
        if !head.state.has(&account) {
            return Err(not_member());
        }
        self.take_in(step, &head, (signed, lineage), creation)
    }

    /// Another node shows a conversation that this one lacks: by the hub's signature, as the hub or a home of a participant.
    pub(super) fn introduced_by_node(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: &NodeId,
        (signed, lineage): (&Signed, &[Signed]),
        creation: &Creation,
    ) -> Result<(), Failure> {
        let head = self.check_head(signed, lineage, creation)?;
        let mut concerns_us = head.state.hub == self.node;
        for participant in &head.state.participants {
            concerns_us |= step.rows.get(&rows::account(&participant.account))?.is_some();
        }
        if !concerns_us {
            return Err(not_member());
        }
        self.take_in(step, &head, (signed, lineage), creation)?;
        self.check_member_node(step, &head.group, peer)
    }

    /// Remembers a conversation that was forgotten here. Who else takes part may not know yet that this store is a new one.
    fn take_in(
        &mut self,
        step: &mut Step<'_, '_>,
        head: &ConversationHead,
        (signed, lineage): (&Signed, &[Signed]),
        creation: &Creation,
    ) -> Result<(), Failure> {
        let own = self.own_feed(&head.group);
        let began_here = (creation.state.hub, head.state.hub) == (self.node, self.node);
        let begins = began_here && feeds::head(step.rows, &own)?.seq == 0;
        if !begins && rows::get(step.rows, &rows::group(&head.group))?.as_ref() == Some(head) {
            return Ok(());
        }
        self.check_creation(step, creation)?;
        if !lineage.is_empty() && step.rows.get(&rows::group(&head.group))?.is_none() {
            rows::put(step.rows, rows::lineage(&head.group), &lineage);
        }
        self.know(step, head, signed, creation)?;
        if begins {
            self.append_first_contact(step, head, signed, creation)?;
        }
        self.must_meet(step, head.state.hub)?;
        for participant in &head.state.participants {
            // Of whom nothing is known here the hub is asked; that must not keep the conversation out.
            if known_log(step, &participant.account)?.is_some() {
                let home = home_of(step, &participant.account)?;
                self.must_meet(step, home)?;
            }
        }
        Ok(())
    }

    /// Remembers a conversation whose head was checked; the first group of a conversation stands.
    pub(super) fn know(
        &mut self,
        step: &mut Step<'_, '_>,
        head: &ConversationHead,
        signed: &Signed,
        creation: &Creation,
    ) -> Result<(), Failure> {
        for log in &creation.logs {
            self.learn_log(step, log)?;
        }
        // A node that was led in by a later epoch's commit, or shown one, learns how the conversation began.
        if step.rows.get(&rows::creation(&head.group))?.is_none() {
            let row = CreationRow { signed: signed.clone(), creation: creation.clone() };
            rows::put(step.rows, rows::creation(&head.group), &row);
        }
        let participants = rows::participants(&head.group, head.epoch);
        if step.rows.get(&participants)?.is_none() {
            rows::put(step.rows, participants, &head.state.participants);
        }
        let key = rows::group(&head.group);
        if step.rows.get(&key)?.is_none() {
            rows::put(step.rows, key, head);
            rows::put(step.rows, rows::head(&head.group, head.epoch), signed);
            self.want_state(step, head)?;
            if head.epoch > FIRST_EPOCH {
                rows::put(step.rows, rows::signed_head(&head.group), signed);
                self.ask_participants(step, head)?;
            }
        }
        let by_conversation = rows::conversation(&head.state.conversation);
        let standing: Option<GroupId> = rows::get(step.rows, &by_conversation)?;
        let stays = match standing {
            // As the hub, one that began after this store was lost stays.
            Some(standing) => standing < head.group || step.rows.get(&rows::public_state(&standing))?.is_some(),
            None => false,
        };
        if !stays {
            rows::put(step.rows, by_conversation, &head.group);
        }
        Ok(())
    }

    pub(super) fn own_feed(&self, group: &GroupId) -> FeedId {
        FeedId { group: *group, node: self.node, incarnation: self.identity.incarnation }
    }

    fn append_first_contact(
        &mut self,
        step: &mut Step<'_, '_>,
        head: &ConversationHead,
        signed: &Signed,
        creation: &Creation,
    ) -> Result<(), Failure> {
        let payload = Bytes(codec::encode(&FirstContact { head: signed.clone(), creation: creation.clone() }));
        if payload.len() > limits::COMMIT_BYTES_MAX {
            return Err(
                Refusal::never(Code::TooLarge, "the creation is over 96 KiB", "create with fewer members").into()
            );
        }
        let feed = self.own_feed(&head.group);
        // The hub's own entry: its author is the conversation, not a device.
        let author = Author {
            account: AccountId([0; 32]),
            device: DeviceId([0; 32]),
            message: MessageId::of(step.now_ms, head.made_by.as_bytes()),
            attempt: 0,
            silent: false,
        };
        let bytes = payload.len();
        let seq = feeds::append(step, feed, EntryKind::Creation, head.epoch, author, payload)?;
        super::log::note(step, &head.group, head.epoch, &feed, seq);
        self.spread(step, &head.state, Reference { feed, seq, bytes, wakes: false }, None)?;
        Ok(())
    }

    /// A sealed message of a device: admitted, appended, spread; accepted once the batch is durable.
    #[expect(clippy::too_many_arguments, reason = "the fields of one frame")]
    pub(super) fn submit(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        group: GroupId,
        epoch: u64,
        author: Author,
        (payload, blobs): (Bytes, Vec<BlobRef>),
    ) -> Result<(), Failure> {
        if payload.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(Refusal::never(Code::TooLarge, "the message is over 24 KiB", "send a shorter one").into());
        }
        let feed = self.own_feed(&group);
        let dedupe = rows::submitted(&author.device, &author.message, author.attempt);
        let head = group_head(step, &group)?;
        let known = rows::get::<u64>(step.rows, &dedupe)?;
        let (seq, held_by) = match known.filter(|_| !planted!(self.identity.sabotage, NoSubmitDedupe)) {
            // Also for whoever takes part no more: what was admitted is said again.
            Some(seq) => {
                self.notes.push(Note::Repeated);
                let mut held_by = Vec::new();
                for Participant { account, .. } in participants_at(step, &group, epoch.min(head.epoch))? {
                    if self.custody_of(step, &feed, &account)? >= seq {
                        held_by.push(account);
                    }
                }
                (seq, held_by)
            }
            None if !head.state.has(&author.account) => return Err(not_member()),
            None => {
                if epoch != head.epoch {
                    let message = format!("the conversation is at epoch {}, the message at {epoch}", head.epoch);
                    return Err(
                        Refusal::never(Code::WrongEpoch, message, "merge what the inbox holds and seal again").into()
                    );
                }
                self.check_turn(step, connection, &group, &author.message)?;
                self.check_blobs(step, &author.account, &blobs)?;
                self.may_submit(step, &author.account)?;
                let bytes = payload.len();
                let seq = feeds::append(step, feed, EntryKind::Message, epoch, author, payload)?;
                rows::put(step.rows, dedupe, &seq);
                self.note_blobs(step, &feed, seq, &blobs);
                self.tell_widely(&group, feed, seq);
                // Of what is new nobody else has custody yet but who lives here.
                let reference = Reference { feed, seq, bytes, wakes: !author.silent };
                let held_by = self.spread(step, &head.state, reference, Some(&author.account))?;
                self.give_turn(connection, &group);
                self.notes.push(Note::Accepted);
                (seq, held_by)
            }
        };
        self.send(connection, ServerFrame::Accepted { id, feed, seq });
        for account in held_by.into_iter().filter(|account| *account != author.account) {
            self.send(connection, ServerFrame::Custody { account, group, messages: vec![author.message] });
        }
        Ok(())
    }

    /// Whether a node is a home of a participant, or the hub: only these may ask for a conversation's entries.
    pub(super) fn check_member_node(&self, step: &Step<'_, '_>, group: &GroupId, peer: &NodeId) -> Result<(), Failure> {
        let state = group_head(step, group)?.state;
        let allowed = state.hub == *peer || is_home_of_one(step, &state.participants, peer)?;
        if allowed { Ok(()) } else { Err(not_member()) }
    }

    /// Whether this node is the hub that the participants' logs allow: of two the first home of the smaller account id, of a group
    /// the home of an admin.
    fn may_be_hub(&self, step: &Step<'_, '_>, creation: &Creation) -> Result<bool, Failure> {
        let participants = &creation.state.participants;
        match creation.state.policy {
            Policy::Direct => match participants.first() {
                Some(smallest) => Ok(home_of(step, &smallest.account)? == self.node),
                None => Ok(false),
            },
            Policy::Admins => {
                let admins: Vec<Participant> =
                    participants.iter().filter(|participant| participant.role == Role::Admin).cloned().collect();
                is_home_of_one(step, &admins, &self.node)
            }
        }
    }

    pub(super) fn check_head(
        &self,
        signed: &Signed,
        lineage: &[Signed],
        creation: &Creation,
    ) -> Result<ConversationHead, Failure> {
        let bad = |message: &str| {
            Failure::from(Refusal::never(Code::Malformed, message, "show the head that the hub signed"))
        };
        let head = if planted!(self.identity.sabotage, HeadUnsigned) {
            signed.peek(limits::COMMIT_BYTES_MAX).map_err(|error| bad(&error.to_string()))?
        } else {
            ConversationHead::verify(signed).map_err(|error| bad(&error.to_string()))?
        };
        let fits = match head.epoch {
            FIRST_EPOCH => head.made_by == creation.hash() && head.state == creation.state,
            // Of a later epoch the hub's signature is all there is: the hub that the creation names, or one that follows it.
            _ => {
                let hub = follow_lineage(&head.group, creation.state.hub, lineage);
                let (hub, term) = hub.map_err(|error| bad(&error.to_string()))?;
                let by_hub = (head.state.hub, head.state.term) == (hub, term);
                by_hub
                    && (head.ordered_by.is_none() || lineage.last() == Some(signed))
                    && head.state.conversation == creation.state.conversation
                    && head.state.policy == creation.state.policy
            }
        };
        if !fits || head.group != creation.group {
            return Err(bad("the head is about another creation"));
        }
        Ok(head)
    }

    /// Everything that can be checked of a creation without being a member.
    pub(super) fn check_creation(&mut self, step: &mut Step<'_, '_>, creation: &Creation) -> Result<(), Failure> {
        let bad =
            |message: String| Failure::from(Refusal::never(Code::Malformed, message, "create the conversation anew"));
        let state = &creation.state;
        if codec::encode(creation).len() > limits::COMMIT_BYTES_MAX - HEAD_ROOM {
            return Err(
                Refusal::never(Code::TooLarge, "the creation is over 92 KiB", "create with fewer members").into()
            );
        }
        check_first_state(creation).map_err(|message| bad(message.into()))?;
        let view = (self.identity.inspector.creation)(creation.group_info.as_slice(), creation.tree.as_slice())
            .map_err(|error| bad(error.to_string()))?;
        if view.group_id != creation.group.as_bytes()
            || view.epoch != FIRST_EPOCH
            || view.conv_state.as_slice() != codec::encode(state)
        {
            return Err(bad("the group's context does not say what the creation says".into()));
        }
        check_logs(creation)?;
        let mut logs = Vec::new();
        for log in &creation.logs {
            // As the creator knew them: an account that has moved since keeps its conversations.
            let as_given = verified(log)?;
            let decides = state.policy == Policy::Direct
                && state.participants.first().is_some_and(|low| low.account == as_given.account());
            if decides && as_given.homes().first() != Some(&state.hub) {
                return Err(Refusal::never(
                    Code::NotHub,
                    "the hub is not the first home of the smaller account id",
                    "create with that hub",
                )
                .into());
            }
            // A move that is learnt here takes along what waits for the account. What was revoked since changes nothing of how the
            // group began.
            self.learn_log(step, log)?;
            logs.push(as_given);
        }
        for member in &view.members {
            let admitted = logs.iter().any(|log| membership::admits(log, member));
            if !admitted || !state.has(&member.credential.account) {
                return Err(bad("a leaf is not a device that a participant's identity log admits".into()));
            }
        }
        membership::check_first(state, &view.members)
            .map_err(|error| Refusal::never(error.code(), error.to_string(), "create the conversation anew").into())
    }
}

/// What a conversation may begin as: two for ever, or a group named after its first MLS group.
fn check_first_state(creation: &Creation) -> Result<(), &'static str> {
    let Creation { state, group, .. } = creation;
    let first = (state.generation, state.term) == (0, 0);
    let fits = match (state.policy, state.participants.as_slice()) {
        (Policy::Direct, [low, high]) => {
            low.account < high.account && state.conversation == ConversationId::direct(&low.account, &high.account)
        }
        (Policy::Direct, _) => return Err("expected 2 participants of a conversation of two"),
        (Policy::Admins, _) => state.conversation == ConversationId::of_group(group),
    };
    if first && fits { Ok(()) } else { Err("not the state that a conversation begins with") }
}

pub(super) fn group_head(step: &Step<'_, '_>, group: &GroupId) -> Result<ConversationHead, Failure> {
    let key = rows::group(group);
    let value = step.rows.get(&key)?.ok_or_else(unknown_conversation)?;
    let head = step.memo().heads.of(*group, value, |value| rows::decode(&key, value))?;
    Ok(ConversationHead::clone(&head))
}

fn unknown_conversation() -> Failure {
    Refusal::later(Code::UnknownConversation, "the conversation is not known here", "introduce it with its head").into()
}

/// One log of each participant and no other: a creation is no way to make this node keep logs of anybody.
fn check_logs(creation: &Creation) -> Result<(), Failure> {
    let mut missing: Vec<_> = creation.state.participants.iter().map(|participant| participant.account).collect();
    for log in &creation.logs {
        let account = verified(log)?.account();
        let found = missing.iter().position(|wanted| *wanted == account);
        missing.swap_remove(found.ok_or_else(|| {
            let message = "expected one identity log of each participant, got another one";
            Failure::from(Refusal::never(Code::Malformed, message, "send the logs of the participants only"))
        })?);
    }
    Ok(())
}
pub(super) fn not_member() -> Failure {
    Refusal::never(Code::NotMember, "the account takes no part in the conversation", "ask a member to add it").into()
}
