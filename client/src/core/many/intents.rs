//! Intents: what the person wants of a conversation of many, on disk until it is true or can never be.

use super::super::rows::{self, INTENT};
use super::super::{Device, DeviceError, Output, Random};
use crate::error::Error;
use roost_crypto::bytes::Bytes;
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{Commit, Role};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, GroupId, OperationId};
use roost_protocol::limits;
use roost_protocol::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Longest pause before an intent is tried again, milliseconds: a person waits for it.
const RETRY_DELAY_MS_MAX: u64 = 10_000;

/// What a person wants of a conversation of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupChange {
    /// A new one, with these people.
    Create(Vec<Handle>),
    /// More people.
    Add(Vec<Handle>),
    /// Fewer.
    Remove(Vec<AccountId>),
    /// Another role for somebody.
    Role(AccountId, Role),
    /// Without those who wish to leave; each a signed [`roost_protocol::conversation::Leave`].
    Release(Vec<Signed>),
    /// A leaf for each active device, and none for an ended one.
    Leaves,
    /// Another hub, which the present one hands over to; without a node, the first of the successors.
    Move(Option<NodeId>),
    /// Another hub in place of one that is lost.
    Succeed {
        /// One of the successors; without, the first.
        to: Option<NodeId>,
        /// The term of the hub that is lost; [`Device::change_group`] fills it in.
        term: Option<u32>,
    },
    /// Our own state on the branch that stands: this device wants it by itself.
    Rejoin,
    /// New keys for the leaf of this device, which it wants by itself from time to time.
    Renew,
}

/// An intent.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct IntentRow {
    pub conversation: ConversationId,
    pub group: GroupId,
    pub change: GroupChange,
    /// The commit or creation that carries it now.
    pub operation: Option<OperationId>,
}

/// How an intent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentReport {
    /// Number of the intent.
    pub intent: u64,
    /// Of which conversation.
    pub conversation: ConversationId,
    /// Why it can never be true; `None`: it is true.
    pub error: Option<Refusal>,
}

/// A commit of ours that the hub has not put in order yet, or whose entry has not come.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingRow {
    pub intent: u64,
    pub commit: Commit,
    /// The hub said yes.
    pub stands: bool,
    /// The node that it lets follow a hub that is lost, and the head that it forks from.
    pub succeeds: Option<(NodeId, Signed)>,
}

/// What was fetched for an intent.
pub(super) struct Fetched {
    pub log: VerifiedLog,
    pub packages: Vec<(DeviceId, Bytes)>,
}

/// How an intent stands on this connection.
#[derive(Default)]
pub(super) struct Attempt {
    /// Answers that are awaited.
    pub awaited: usize,
    /// A handle is being looked up, for whoever asked for it first.
    pub resolving: bool,
    pub fetched: BTreeMap<AccountId, Fetched>,
    /// Accounts whose key packages are to be had later: the others do not wait for them.
    pub postponed: BTreeSet<AccountId>,
    pub postponed_until_ms: u64,
    pub failures: u32,
    pub not_before_ms: u64,
    pub error: Option<Refusal>,
}

/// All intents; what is in memory can be rebuilt from rows.
#[derive(Default)]
pub(in super::super) struct Intents {
    next: u64,
    pub(super) open: BTreeMap<u64, Attempt>,
    /// Conversations in which we wished to leave and an epoch has begun since: in this batch.
    pub(super) leave_due: BTreeSet<ConversationId>,
    /// Commits whose verdict is awaited on this connection.
    pub(super) submitted: BTreeSet<GroupId>,
    pub(super) trees: BTreeMap<(GroupId, u64), Vec<u8>>,
    pub(super) totals: BTreeMap<GroupId, u64>,
    pub(super) asked: BTreeSet<GroupId>,
    pub(super) joining_at_ms: BTreeMap<GroupId, u64>,
    /// Groups of which the logs of all who take part are being asked for, and epochs for which that was done: what is known of
    /// somebody may be older than its devices there.
    pub(super) refreshing: BTreeSet<GroupId>,
    pub(super) refreshed: BTreeSet<(GroupId, u64)>,
    /// Conversations whose newcomers were not told what they are called.
    pub(super) about_due: BTreeSet<ConversationId>,
    /// Intents about leaves, which no person waits for.
    renewing: BTreeMap<u64, GroupId>,
}

impl Intents {
    /// Nothing that was asked on the connection is answered any more.
    pub fn disconnected(&mut self) {
        self.submitted.clear();
        self.trees.clear();
        self.asked.clear();
        self.joining_at_ms.clear();
        self.refreshing.clear();
        self.refreshed.clear();
        for attempt in self.open.values_mut() {
            *attempt = Attempt::default();
        }
    }

    /// Whether an intent about leaves makes its way.
    pub fn is_renewing(&self) -> bool {
        self.renewing.keys().any(|number| self.open.get(number).is_some_and(|attempt| attempt.failures == 0))
    }

    /// Groups whose leaves stay as they are, because their hub gives no verdict any more: one a waiting intent.
    pub(super) fn sealed(&self) -> impl Iterator<Item = GroupId> {
        let is_sealed = |attempt: &Attempt| attempt.error.as_ref().is_some_and(|error| error.code == Code::Sealed);
        let sealed = move |number: &u64| self.open.get(number).is_some_and(is_sealed);
        self.renewing.iter().filter(move |(number, _)| sealed(number)).map(|(_, group)| *group)
    }

    /// Whether there is an intent about the leaves of a group.
    pub fn renews(&self, group: &GroupId) -> bool {
        self.renewing.values().any(|of| of == group)
    }

    /// Every pause is over: the clock was set back.
    pub fn due_at_once(&mut self) {
        self.open.values_mut().for_each(|attempt| attempt.not_before_ms = 0);
        self.joining_at_ms.values_mut().for_each(|at| *at = 0);
    }

    pub(super) fn is_whole(&self, group: &GroupId, tree: &[u8]) -> bool {
        self.totals.get(group) == Some(&(tree.len() as u64))
    }

    /// One of several, the next one each time that an intent has failed.
    pub(super) fn in_turn<T: Copy>(&self, number: u64, among: &[T]) -> Option<T> {
        let failures = self.open.get(&number).map_or(0, |attempt| attempt.failures);
        among.get(failures as usize % among.len().max(1)).copied()
    }

    pub fn wake_at(&self) -> Option<u64> {
        let attempts = self
            .open
            .values()
            .filter(|attempt| attempt.awaited == 0 && !attempt.resolving)
            .map(|attempt| attempt.not_before_ms);
        attempts.chain(self.joining_at_ms.values().copied()).filter(|at| *at > 0).min()
    }
}

impl Attempt {
    /// A part of it is done; what was fetched for the rest is still good.
    pub fn goes_on(&mut self, done: &[AccountId]) {
        let mut before = std::mem::take(self);
        before.fetched.retain(|account, _| !done.contains(account));
        *self = Self {
            fetched: before.fetched,
            postponed: before.postponed,
            postponed_until_ms: before.postponed_until_ms,
            ..Self::default()
        };
    }

    pub fn failed(&mut self, error: Refusal, random: Random<'_>, now_ms: u64) {
        let delay = limits::RETRY_DELAY_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_DELAY_MS_MAX);
        let delay = delay.max(error.retry_after_ms.unwrap_or(0));
        let mut jitter = [0];
        random(&mut jitter);
        self.failures = self.failures.saturating_add(1);
        self.not_before_ms = now_ms + delay + delay * u64::from(jitter[0]) / 512;
        self.error = Some(error);
        self.fetched.clear();
        self.postponed.clear();
        self.awaited = 0;
    }
}

impl Device {
    pub(in super::super) fn load_intents(&mut self) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<IntentRow>(&[INTENT])? {
            let number = key.get(1..).and_then(|tail| tail.try_into().ok()).map_or(0, u64::from_be_bytes);
            self.intents.next = self.intents.next.max(number + 1);
            self.intents.open.insert(number, Attempt::default());
            if matches!(row.change, GroupChange::Leaves | GroupChange::Renew) {
                self.intents.renewing.insert(number, row.group);
            }
        }
        Ok(())
    }

    /// Makes a conversation with these people; it stands once the hub has said so.
    ///
    /// # Errors
    /// [`Error::GroupSize`] changes nothing; after [`Error::Device`] drop the device.
    pub fn create_group(&mut self, members: Vec<Handle>, random: Random<'_>) -> Result<(u64, ConversationId), Error> {
        let others: BTreeSet<Handle> = members.into_iter().filter(|handle| *handle != self.me.row.handle).collect();
        if others.is_empty() || others.len() >= limits::PARTICIPANTS_MAX {
            return Err(Error::GroupSize { max: limits::PARTICIPANTS_MAX, got: others.len() + 1 });
        }
        let mut group = GroupId([0; 32]);
        random(&mut group.0);
        let conversation = ConversationId::of_group(&group);
        let intent = self.intend(conversation, group, GroupChange::Create(others.into_iter().collect()));
        Ok((intent, conversation))
    }

    /// Wants a change of a conversation; gives the number under which its end is told.
    ///
    /// # Errors
    /// [`Error::UnknownConversation`] changes nothing; after [`Error::Device`] drop the device.
    pub fn change_group(&mut self, conversation: ConversationId, change: GroupChange) -> Result<u64, Error> {
        let row = self.group_of(&conversation)?.ok_or(Error::UnknownConversation)?;
        let change = match change {
            GroupChange::Succeed { to, .. } => GroupChange::Succeed { to, term: Some(row.state.term) },
            change => change,
        };
        Ok(self.intend(conversation, row.group, change))
    }

    pub(super) fn intend(&mut self, conversation: ConversationId, group: GroupId, change: GroupChange) -> u64 {
        let number = self.intents.next;
        self.intents.next += 1;
        self.table.put(rows::intent(number), &IntentRow { conversation, group, change, operation: None });
        self.intents.open.insert(number, Attempt::default());
        number
    }

    /// Puts the leaves of a group right, or makes ours anew, not before `at_ms`.
    pub(in super::super) fn renew(
        &mut self,
        conversation: ConversationId,
        group: GroupId,
        change: GroupChange,
        at_ms: u64,
    ) {
        let number = self.intend(conversation, group, change);
        self.intents.renewing.insert(number, group);
        if let Some(attempt) = self.intents.open.get_mut(&number) {
            attempt.not_before_ms = at_ms;
        }
    }

    pub(super) fn put_intent(&mut self, number: u64, row: &IntentRow) {
        self.table.put(rows::intent(number), row);
    }

    /// An intent is true, or never will be.
    pub(super) fn end_intent(&mut self, number: u64, conversation: ConversationId, error: Option<Refusal>) {
        self.intents.open.remove(&number);
        self.table.delete(rows::intent(number));
        if self.intents.renewing.remove(&number).is_some() {
            // What is refused for good is not tried again before something has changed.
            if error.is_none() {
                self.leaves.look();
            }
            return;
        }
        self.staged.push(Output::Intent(IntentReport { intent: number, conversation, error }));
    }

    pub(in super::super) fn intent_failed(&mut self, number: u64, error: Refusal, random: Random<'_>, now_ms: u64) {
        if let Some(attempt) = self.intents.open.get_mut(&number) {
            attempt.failed(error, random, now_ms);
        }
    }

    /// The key packages of somebody are to be had later, because many were asked for: the others are taken in meanwhile.
    pub(in super::super) fn fetch_postponed(
        &mut self,
        number: u64,
        account: AccountId,
        error: Refusal,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let row: Option<IntentRow> = self.table.get(&rows::intent(number))?;
        let by_name = row.is_some_and(|row| matches!(row.change, GroupChange::Create(_) | GroupChange::Add(_)));
        match self.intents.open.get_mut(&number).filter(|_| by_name) {
            Some(attempt) => {
                let pause = error.retry_after_ms.unwrap_or(0).max(RETRY_DELAY_MS_MAX);
                attempt.awaited = attempt.awaited.saturating_sub(1);
                attempt.postponed.insert(account);
                attempt.postponed_until_ms = now_ms.saturating_add(pause);
                attempt.error = Some(error);
            }
            None => self.intent_failed(number, error, random, now_ms),
        }
        Ok(())
    }

    /// Why an intent waits.
    pub fn intent_error(&self, number: u64) -> Option<Refusal> {
        self.intents.open.get(&number).and_then(|attempt| attempt.error.clone())
    }
}
