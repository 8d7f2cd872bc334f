//! Commits: ours on their way to the hub, and everybody's as their entries come.

use super::super::link::Pending;
use super::super::rows::{self, CONVERSATION, INTENT, Target};
use super::super::{Device, DeviceError, Output, Random};
use super::intents::{Attempt, IntentRow, PendingRow};
use super::succession::Standing;
use super::{ConversationRow, GroupChange};
use crate::error::Error;
use roost_crypto::codec;
use roost_crypto::group::{CommitView, GroupError};
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::AccountId;
use roost_crypto::signed::Signed;
use roost_protocol::content::Body;
use roost_protocol::conversation::{Commit, ConversationHead, ConversationState, Creation, Leave, Policy};
use roost_protocol::epoch;
use roost_protocol::feed::{Entry, NextEpoch};
use roost_protocol::ids::{ConversationId, GroupId, OperationId};
use roost_protocol::limits;
use roost_protocol::membership::{self, Judge};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;
use std::collections::{BTreeMap, BTreeSet};

/// A change of a conversation's people that has happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MembershipReport {
    /// The conversation.
    pub conversation: ConversationId,
    /// The epoch that it made.
    pub epoch: u64,
    /// Who did it: the verified handle, else the account id.
    pub by: String,
    /// Who came.
    pub added: Vec<String>,
    /// Who went.
    pub removed: Vec<String>,
    /// We take no part any more.
    pub over: bool,
}

impl Device {
    pub(super) fn submit_creation(&mut self, number: u64, group: GroupId, creation: Creation) {
        if self.intents.submitted.insert(group) {
            self.request(Pending::CreateGroup(number, group), |id| ClientFrame::Create { id, creation });
        }
    }

    pub(super) fn submit_commit(&mut self, PendingRow { intent, commit, succeeds, .. }: PendingRow) {
        if self.intents.submitted.insert(commit.group) {
            let pending = Pending::Commit(intent, commit.group, commit.operation);
            self.request(pending, |id| Self::frame_of(id, commit, succeeds));
        }
    }

    /// Shows the conversations of many to a home in a new life. Who joined later cannot: other homes show theirs.
    pub(in super::super) fn introduce_conversations(&mut self) -> Result<(), DeviceError> {
        for (_, row) in self.table.scan::<ConversationRow>(&[CONVERSATION])? {
            if let ConversationRow { head: Some(head), over: false, group, .. } = row
                && let Some(creation) = self.table.get(&rows::creation(&group))?
                && let Some(lineage) = self.lineage_beside(&creation)?
            {
                let frame = |id| ClientFrame::Introduce { id, head, creation, lineage };
                self.request(Pending::IntroduceGroup, frame);
            }
        }
        Ok(())
    }

    /// The hub let our group stand.
    pub(in super::super) fn group_created(
        &mut self,
        number: u64,
        group: GroupId,
        signed: &Signed,
        creation: &Creation,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.intents.submitted.remove(&group);
        let conversation = ConversationId::of_group(&group);
        let Some(mut row) = self.conversation(&conversation)? else { return Ok(()) };
        if row.head.is_some() {
            return Ok(());
        }
        let fits = self.is_creation(&group, creation)?
            && ConversationHead::verify(signed).is_ok_and(|head| {
                head.made_by == creation.hash() && head.group == group && head.state == creation.state
            });
        if fits {
            row.head = Some(signed.clone());
            self.table.put(rows::conversation(&conversation), &row);
            self.table.put(rows::head(&group, row.epoch), signed);
        } else {
            let error = Refusal::later(Code::Malformed, "the hub's head does not verify", "the node may lie");
            self.intent_failed(number, error, random, now_ms);
        }
        Ok(())
    }

    /// The hub put our commit in order: its entry comes.
    pub(in super::super) fn committed(&mut self, group: GroupId, signed: &Signed) -> Result<(), DeviceError> {
        let Some(mut pending) = self.table.get::<PendingRow>(&rows::pending(&group))? else { return Ok(()) };
        if ConversationHead::verify(signed).is_ok_and(|head| head.made_by == pending.commit.hash()) {
            pending.stands = true;
            self.table.put(rows::pending(&group), &pending);
        }
        Ok(())
    }

    /// The hub or a home refused a creation: it is submitted again.
    pub(in super::super) fn creation_refused(
        &mut self,
        number: u64,
        group: GroupId,
        error: Refusal,
        random: Random<'_>,
        now_ms: u64,
    ) {
        self.intents.submitted.remove(&group);
        self.intent_failed(number, error, random, now_ms);
    }

    /// The hub or a home refused a commit. Only a recorded no drops what is pending.
    pub(in super::super) fn commit_refused(
        &mut self,
        number: u64,
        group: GroupId,
        operation: OperationId,
        error: Refusal,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let pending: Option<PendingRow> = self.table.get(&rows::pending(&group))?;
        let Some(pending) = pending.filter(|pending| pending.commit.operation == operation) else {
            // The entry of another's commit was here before the hub's no: the next one may be under way already.
            return Ok(());
        };
        self.intents.submitted.remove(&group);
        // What has made way for a successor is answered all the same.
        let no = !error.later
            && (matches!(
                error.code,
                Code::WrongEpoch | Code::Sealed | Code::Malformed | Code::TooLarge | Code::GroupFull
            ) || (pending.succeeds.is_some() && error.code == Code::NotHub));
        // Of two there is no successor, and the next group takes in who is missing.
        let no = no || (error.code == Code::Sealed && self.seal(&group)?);
        if !no {
            self.intent_failed(number, error, random, now_ms);
            return Ok(());
        }
        self.table.delete(rows::pending(&group));
        let writes = self.engine.groups.drop_pending(&self.table, group.as_bytes())?;
        self.table.apply_mls(writes);
        if error.code == Code::WrongEpoch || (error.code == Code::Sealed && !self.sealed_groups.contains(&group)) {
            // Another's commit is on its way here: what it leaves to do is planned when it has come. Or the hub was to move to a node
            // that cannot go on: the next plan names another.
            self.intent_failed(number, error, random, now_ms);
        } else {
            self.end_intent(number, ConversationId::of_group(&group), Some(error));
        }
        Ok(())
    }

    /// A commit's entry: it makes the next epoch, or leads us into a group.
    pub(in super::super) fn commit_entry(&mut self, entry: &Entry, now_ms: u64) -> Result<(), DeviceError> {
        let next = match entry.next_epoch() {
            Ok(next) => next,
            Err(_) => return self.no_commit(None, entry, "the commit cannot be read"),
        };
        let head = match ConversationHead::verify(&next.head) {
            Ok(head)
                if head.made_by == next.commit.hash()
                    && head.group == entry.header.feed.group
                    && head.orderer() == entry.header.feed.node =>
            {
                head
            }
            _ => return self.no_commit(None, entry, "the commit is not what its hub has signed"),
        };
        let conversation = head.state.conversation;
        match self.followed(&head.group)? {
            // A home in a new life is brought all of it again, also how we joined before we were removed.
            Some(row) if row.group == head.group && row.over && head.epoch <= row.epoch => Ok(()),
            Some(row)
                if row.group == head.group && !row.over && self.is_lost(&row.group) && !self.is_astray(&row.group) =>
            {
                self.lost_commit(row, &head, &next, entry)
            }
            Some(row) if row.group == head.group && !row.over => {
                match self.standing_of(&row, &head, &next, &entry.header.account)? {
                    Standing::Next => self.follow_commit(row, &head, &next, entry, now_ms),
                    Standing::Astray => self.go_astray(&row, &head, &next),
                    Standing::OnBranch => self.follow_branch(row, &head, &next, entry, now_ms),
                    Standing::Joins => self.begin_joining(head.group, next),
                    Standing::Past => Ok(()),
                    Standing::Broken => {
                        self.stays(&row, &entry.header, "it does not follow the epoch here");
                        self.no_commit(Some(conversation), entry, "the commit does not follow the epoch here")
                    }
                }
            }
            _ if next.commit.welcome.is_some() && head.state.has(&self.me.account) => {
                if head.state.policy != Policy::Direct {
                    self.invited(&head, entry.header.account, now_ms)?;
                }
                self.begin_joining(head.group, next)
            }
            Some(_) => Ok(()),
            None => self.no_commit(Some(conversation), entry, "the conversation is not known"),
        }
    }

    fn follow_commit(
        &mut self,
        mut row: ConversationRow,
        head: &ConversationHead,
        next: &NextEpoch,
        entry: &Entry,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let (conversation, commit) = (Some(head.state.conversation), &next.commit);
        if let Err(reason) = self.check_commit(&row, head, commit)? {
            self.stays(&row, &entry.header, &reason);
            return self.no_commit(conversation, entry, "the commit breaks a rule of the conversation");
        }
        let merged = self.engine.groups.merge(&self.table, head.group.as_bytes(), commit.commit.as_slice(), now_ms);
        let (merged, writes) = match merged {
            Ok(merged) => merged,
            Err(error @ (GroupError::BadRow | GroupError::Engine)) => return Err(error.into()),
            // Our own, given up for a successor before its hub was heard of again, and it stands: we come over to what it made as
            // anybody else.
            Err(GroupError::RejoinNeeded) if next.begins_term(head) || entry.header.device == self.me.device => {
                return self.go_astray(&row, head, next);
            }
            Err(error) => {
                self.stays(&row, &entry.header, &error.to_string());
                return self.no_commit(conversation, entry, "the commit cannot be merged");
            }
        };
        self.table.apply_mls(writes);
        let came = head.state.participants.iter().filter(|participant| !row.state.has(&participant.account));
        let went = row.state.participants.iter().filter(|participant| !head.state.has(&participant.account));
        let (came, went): (Vec<AccountId>, Vec<AccountId>) = (
            came.map(|participant| participant.account).collect(),
            went.map(|participant| participant.account).collect(),
        );
        row.state = head.state.clone();
        row.epoch = head.epoch;
        row.head = Some(next.head.clone());
        row.over = merged.removed_us;
        if row.leaving && !row.over {
            self.intents.leave_due.insert(head.state.conversation);
        }
        self.keep_followed(&row)?;
        self.goes_on(&row);
        self.note_head(head, next)?;
        self.verify_names(&row)?;
        if let Some(pending) = self.table.get::<PendingRow>(&rows::pending(&head.group))? {
            // Ours is done, or was overtaken: then what it leaves to do is planned anew.
            self.table.delete(rows::pending(&head.group));
            self.intents.submitted.remove(&head.group);
            if pending.commit.operation == commit.operation {
                self.note_done(&head.group, head.epoch, pending.intent)?;
                self.leaf_is_new(&head.group, false, now_ms);
                if !came.is_empty() {
                    self.about_is_due(&head.state.conversation)?;
                }
            }
            let ours = pending.commit.operation == commit.operation;
            if ours && !self.has_more(pending.intent, &row)? {
                self.end_intent(pending.intent, head.state.conversation, None);
            } else if let Some(attempt) = self.intents.open.get_mut(&pending.intent).filter(|_| ours) {
                attempt.goes_on(&came);
            } else if let Some(attempt) = self.intents.open.get_mut(&pending.intent) {
                *attempt = Attempt::default();
            }
        }
        let names =
            |accounts: &[AccountId]| accounts.iter().map(|account| self.name_of(account)).collect::<Result<_, _>>();
        let report = MembershipReport {
            conversation: head.state.conversation,
            epoch: epoch::mls(head.epoch),
            by: self.name_of(&entry.header.account)?,
            added: names(&came)?,
            removed: names(&went)?,
            over: row.over,
        };
        if row.state.policy != Policy::Direct {
            self.staged.push(Output::Membership(report));
        }
        self.leaves.look();
        self.read_early(&head.group, now_ms)
    }

    /// Looks up who takes part and was never named.
    pub(super) fn verify_names(&mut self, row: &ConversationRow) -> Result<(), DeviceError> {
        for participant in &row.state.participants {
            if participant.account != self.me.account {
                self.verify_name(participant.account, self.last_now_ms)?;
            }
        }
        Ok(())
    }

    /// Whether an intent has more to do than its last commit did.
    fn has_more(&self, number: u64, row: &ConversationRow) -> Result<bool, DeviceError> {
        let Some(intent) = self.table.get::<IntentRow>(&rows::intent(number))? else { return Ok(false) };
        let handles = match intent.change {
            GroupChange::Add(handles) => handles,
            GroupChange::Move(to) => return Ok(to.is_some_and(|to| to != row.state.hub)),
            _ => return Ok(false),
        };
        for handle in handles {
            if self.account_of(&handle)?.is_none_or(|account| !row.state.has(&account)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves a conversation: the others are told, and one of them commits it.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`] changes nothing; after [`Error::Device`] drop the device.
    pub fn leave_group(&mut self, conversation: ConversationId, random: Random<'_>, now_ms: u64) -> Result<(), Error> {
        let mut row = self.group_of(&conversation)?.ok_or(Error::UnknownConversation)?;
        row.leaving = true;
        self.table.put(rows::conversation(&conversation), &row);
        let leave = self.wish_to_leave(&row);
        self.write(Target::Conversation(conversation), None, Body::Leave(leave), random, now_ms)?;
        Ok(())
    }

    /// Says again that we wish to leave, where an epoch has begun with us still in it.
    pub(in super::super) fn leave_again(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        for conversation in std::mem::take(&mut self.intents.leave_due) {
            if let Some(row) = self.group_of(&conversation)?.filter(|row| row.leaving) {
                let leave = self.wish_to_leave(&row);
                self.write(Target::Conversation(conversation), None, Body::Leave(leave), &mut *random, now_ms)?;
            }
        }
        Ok(())
    }

    /// The rules that the hub checked, checked again; otherwise which one is broken.
    fn check_commit(
        &mut self,
        row: &ConversationRow,
        head: &ConversationHead,
        commit: &Commit,
    ) -> Result<Result<(), String>, DeviceError> {
        let view = match self.engine.groups.inspect_commit(&self.table, head.group.as_bytes(), commit.commit.as_slice())
        {
            Ok(view) => view,
            Err(error @ (GroupError::BadRow | GroupError::Engine)) => return Err(error.into()),
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.check_view(&row.state, head, commit, &view)
    }

    /// As [`Self::check_commit`], of a commit that was read already.
    pub(super) fn check_view(
        &mut self,
        before: &ConversationState,
        head: &ConversationHead,
        commit: &Commit,
        view: &CommitView,
    ) -> Result<Result<(), String>, DeviceError> {
        let broken = |reason: &str| Ok(Err(reason.to_owned()));
        let after = codec::decode_canonical::<ConversationState>(view.conv_state.as_slice(), limits::COMMIT_BYTES_MAX);
        if after.as_ref() != Ok(&head.state) || view.epoch != epoch::mls(head.epoch) {
            return broken("its hub signed another state than the commit makes");
        }
        for log in &commit.logs {
            let Ok(log) = VerifiedLog::verify(log) else { return broken("an identity log beside it does not verify") };
            let concerned = before.has(&log.account()) || head.state.has(&log.account());
            if !concerned || self.learn_log(log.log())?.is_none() {
                return broken("an identity log beside it is of nobody who takes part, or branches from the known one");
            }
        }
        let members =
            view.added.iter().chain(&view.removed).chain(&view.updated).chain(std::iter::once(&view.committer));
        let accounts: BTreeSet<AccountId> = members.map(|member| member.credential.account).collect();
        let mut logs = BTreeMap::new();
        for account in accounts {
            if let Some(log) = self.log_of(&account)? {
                logs.insert(account, log);
            }
        }
        let mut leaves = Vec::new();
        for signed in &commit.leaves {
            match self.leave_of(signed)? {
                Some(leave) => leaves.push(leave),
                None => return broken("a wish to leave beside it is not signed by its account"),
            }
        }
        let log_of = |account: &AccountId| logs.get(account);
        let verdict = if head.state.term == before.term {
            membership::check(before, &head.state, view, log_of, &leaves, Judge::Member)
        } else {
            membership::check_succession(before, &head.state, view, log_of, Judge::Member)
        };
        Ok(verdict.map_err(|error| error.to_string()))
    }

    /// The log of anybody, ourselves included.
    pub(in super::super) fn log_of(&self, account: &AccountId) -> Result<Option<VerifiedLog>, DeviceError> {
        if *account == self.me.account { Ok(Some(self.me.log.clone())) } else { self.peer_log(account) }
    }

    pub(super) fn leave_of(&self, signed: &Signed) -> Result<Option<Leave>, DeviceError> {
        let Ok(claimed) = signed.peek::<Leave>(limits::DHT_VALUE_BYTES_MAX) else { return Ok(None) };
        Ok(self.log_of(&claimed.account)?.and_then(|log| Leave::verify(signed, &log).ok()))
    }

    /// Our wish to leave: what is sealed to the others, who commit it.
    fn wish_to_leave(&self, row: &ConversationRow) -> Signed {
        let leave = Leave {
            conversation: row.state.conversation,
            generation: row.state.generation,
            account: self.me.account,
            epoch: row.epoch,
            device: self.me.device,
        };
        leave.sign(&self.me.key)
    }

    /// Somebody wishes to leave: whoever is first removes it, an admin at once, others if no admin did.
    pub(in super::super) fn leave_wished(&mut self, group: &GroupId, signed: Signed) -> Result<(), DeviceError> {
        let Some(row) = self.group_of(&ConversationId::of_group(group))? else { return Ok(()) };
        let Some(leave) = self.leave_of(&signed)? else { return Ok(()) };
        let fits = (leave.conversation, leave.generation) == (row.state.conversation, row.state.generation);
        if !fits || !row.state.has(&leave.account) || leave.account == self.me.account {
            return Ok(());
        }
        // It is said again in each epoch: one intent is enough.
        let same = |other: &Signed| {
            other.peek::<Leave>(limits::DHT_VALUE_BYTES_MAX).is_ok_and(|other| other.account == leave.account)
        };
        for (_, intent) in self.table.scan::<IntentRow>(&[INTENT])? {
            let here = intent.conversation == row.state.conversation;
            if matches!(&intent.change, GroupChange::Release(leaves) if here && leaves.iter().any(same)) {
                return Ok(());
            }
        }
        let number = self.intend(row.state.conversation, row.group, GroupChange::Release(vec![signed]));
        // Admins go first, then one after the other, so that few commits are made in vain.
        let place = row.state.participants.iter().filter(|one| one.account != leave.account);
        let place = place.clone().position(|one| one.account == self.me.account).unwrap_or(0) as u64;
        let admin = row.state.role(&self.me.account) == Some(roost_protocol::conversation::Role::Admin);
        let pause_ms = if admin { place * 500 } else { 5_000 + place * 1_000 };
        if let Some(attempt) = self.intents.open.get_mut(&number) {
            attempt.not_before_ms = self.last_now_ms + pause_ms;
        }
        Ok(())
    }

    fn no_commit(
        &mut self,
        conversation: Option<ConversationId>,
        entry: &Entry,
        reason: &'static str,
    ) -> Result<(), DeviceError> {
        self.gap(conversation, &entry.header, reason);
        Ok(())
    }
}
