//! Planning: an intent becomes a creation or a commit, from the group's state at that moment.

use super::super::leaves::Difference;
use super::super::link::Pending;
use super::super::rows::{self, Target};
use super::super::{Device, DeviceError, Random};
use super::ConversationRow;
use super::intents::{Fetched, GroupChange, IntentRow, PendingRow};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::group::Change;
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::planted;
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{Commit, ConversationState, Creation, Participant, Policy, Role};
use roost_protocol::epoch;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, GroupId, OperationId};
use roost_protocol::limits;
use roost_protocol::membership::{self, admits};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;
use std::collections::BTreeSet;

/// Bytes that a submission leaves for what the hub puts beside it.
const HUB_ROOM: usize = 16 * 1024;

/// Somebody to be added.
struct Newcomer {
    handle: Handle,
    account: AccountId,
}

/// A commit to be made.
struct Plan {
    change: Change,
    after: ConversationState,
    logs: Vec<IdentityLog>,
    leaves: Vec<Signed>,
}

impl Plan {
    /// A commit that changes nothing but the state.
    fn of_state(after: ConversationState) -> Self {
        Self { change: Change::default(), after, logs: Vec::new(), leaves: Vec::new() }
    }
}

impl Device {
    /// Moves every intent one step on.
    pub(in super::super) fn pump_intents(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        if !self.link.is_ready() {
            return Ok(());
        }
        let due = |attempt: &super::intents::Attempt| attempt.awaited == 0 && attempt.not_before_ms <= now_ms;
        let numbers: Vec<u64> =
            self.intents.open.iter().filter(|(_, attempt)| due(attempt)).map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(attempt) = self.intents.open.get_mut(&number) {
                attempt.not_before_ms = 0;
                attempt.resolving = false;
            }
            self.advance(number, &mut *random, now_ms)?;
        }
        self.pump_joining(now_ms)
    }

    fn advance(&mut self, number: u64, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        let Some(row) = self.table.get::<IntentRow>(&rows::intent(number))? else { return Ok(()) };
        if let GroupChange::Create(handles) = &row.change {
            return match self.conversation(&row.conversation)? {
                Some(ConversationRow { head: Some(_), .. }) => {
                    self.end_intent(number, row.conversation, None);
                    Ok(())
                }
                _ => match self.table.get(&rows::creation(&row.group))? {
                    Some(creation) => {
                        self.submit_creation(number, row.group, creation);
                        Ok(())
                    }
                    None => self.plan_creation(number, &row, handles.clone(), random, now_ms),
                },
            };
        }
        if self.is_astray(&row.group) != (row.change == GroupChange::Rejoin) {
            // A branch that we are not on is entered first; whoever is on it has come over.
            if row.change == GroupChange::Rejoin {
                self.end_intent(number, row.conversation, None);
            }
            return Ok(());
        }
        if self.is_lost(&row.group) && row.change != GroupChange::Rejoin {
            return Ok(());
        }
        if let GroupChange::Succeed { term, .. } = &row.change {
            self.make_way(number, &row.group, *term)?;
        }
        // One commit of a group at a time; it may be another intent's.
        if let Some(pending) = self.table.get::<PendingRow>(&rows::pending(&row.group))? {
            if !pending.stands && pending.intent == number {
                self.submit_commit(pending);
            }
            return Ok(());
        }
        let Some(known) = self.followed(&row.group)?.filter(|known| !known.over) else {
            let error = Refusal::never(Code::NotMember, "you take no part in the conversation", "ask to be added");
            self.end_intent(number, row.conversation, Some(error));
            return Ok(());
        };
        if known.head.is_none() {
            // What it begins with has no verdict yet.
            return Ok(());
        }
        let plan = match &row.change {
            GroupChange::Rejoin => return self.plan_rejoin(number, row, random, now_ms),
            GroupChange::Succeed { to, term } if term.is_none_or(|term| term >= known.state.term) => {
                let to = *to;
                return self.plan_succession(number, row, &known, to, random, now_ms);
            }
            GroupChange::Create(_) | GroupChange::Succeed { .. } => None,
            GroupChange::Move(Some(to)) if !self.lives_at(&known.state, to)? => {
                let error = Refusal::never(Code::NotHub, "nobody who takes part lives at that node", "name another");
                self.end_intent(number, row.conversation, Some(error));
                return Ok(());
            }
            GroupChange::Move(None) if known.state.successors.is_empty() => {
                let error =
                    Refusal::never(Code::NotHub, "everybody who takes part lives at the hub", "name another node");
                self.end_intent(number, row.conversation, Some(error));
                return Ok(());
            }
            GroupChange::Move(to) => self.moved(number, &known.state, *to)?.map(Plan::of_state),
            GroupChange::Add(handles) => self.plan_add(number, &known, handles.clone(), now_ms)?,
            GroupChange::Remove(accounts) => self.plan_remove(number, &known, accounts, Vec::new())?,
            GroupChange::Role(account, role) => match role_given(&known, account, *role) {
                Some(after) => Some(Plan::of_state(self.with_participants(number, &known.state, after, false)?)),
                None => None,
            },
            GroupChange::Release(leaves) => self.plan_release(number, &known, leaves)?,
            GroupChange::Leaves => self.plan_leaves(number, &known, &mut *random, now_ms)?,
            // Every commit makes the leaf of its author anew.
            GroupChange::Renew => Some(Plan::of_state(known.state.clone())),
        };
        match plan {
            Some(plan) => self.make_commit(number, row, &known, plan, random, now_ms),
            // Nothing is left to be changed, or answers are awaited.
            None if self
                .intents
                .open
                .get(&number)
                .is_some_and(|attempt| attempt.awaited > 0 || attempt.resolving || attempt.not_before_ms > 0) =>
            {
                Ok(())
            }
            None => {
                self.end_intent(number, row.conversation, None);
                Ok(())
            }
        }
    }

    /// Nobody waits for a hub that is lost: a commit that it has no verdict for gives way to its successor.
    fn make_way(&mut self, number: u64, group: &GroupId, term: Option<u32>) -> Result<(), DeviceError> {
        let Some(pending) = self.table.get::<PendingRow>(&rows::pending(group))? else { return Ok(()) };
        let known = self.conversation(&ConversationId::of_group(group))?;
        let lost = known.is_some_and(|known| term.is_none_or(|term| term >= known.state.term));
        if pending.intent != number && lost {
            self.drop_pending_of(group)?;
            if pending.succeeds.is_some() {
                let error = Refusal::never(Code::NotHub, "another successor was named since", "nothing is to be done");
                self.end_intent(pending.intent, ConversationId::of_group(group), Some(error));
            }
        }
        Ok(())
    }

    /// The accounts of handles, once all are known; until then they are looked up.
    fn resolve_all(
        &mut self,
        number: u64,
        handles: Vec<Handle>,
        now_ms: u64,
    ) -> Result<Option<Vec<Newcomer>>, DeviceError> {
        let (mut found, mut missing) = (Vec::new(), false);
        for handle in handles {
            match self.account_of(&handle)? {
                Some(account) => found.push(Newcomer { handle, account }),
                None => {
                    missing = true;
                    let route = self.outbox.route(&Target::Handle(handle.clone()));
                    let (busy, not_before_ms, error) = (route.busy, route.not_before_ms(), route.error());
                    if !busy && not_before_ms <= now_ms {
                        self.ask_for(&handle);
                    } else if let Some(attempt) = self.intents.open.get_mut(&number).filter(|_| !busy) {
                        attempt.not_before_ms = not_before_ms;
                        attempt.error = error;
                    }
                    if let Some(attempt) = self.intents.open.get_mut(&number) {
                        attempt.resolving |= attempt.not_before_ms == 0;
                    }
                }
            }
        }
        Ok((!missing).then_some(found))
    }

    /// Lets the home look up an account again whose key packages it does not find, by the handle that the intent names.
    pub(in super::super) fn ask_for_handle_of_intent(
        &mut self,
        number: u64,
        account: &AccountId,
    ) -> Result<(), DeviceError> {
        let Some(row) = self.table.get::<IntentRow>(&rows::intent(number))? else { return Ok(()) };
        let (GroupChange::Create(handles) | GroupChange::Add(handles)) = row.change else { return Ok(()) };
        for handle in handles {
            let busy = self.outbox.route(&Target::Handle(handle.clone())).busy;
            if !busy && self.account_of(&handle)?.as_ref() == Some(account) {
                self.ask_for(&handle);
            }
        }
        Ok(())
    }

    /// Whether the key packages of all are there; until then they are fetched.
    fn fetch_all(&mut self, number: u64, newcomers: &[Newcomer]) -> bool {
        self.fetch_of(number, newcomers.iter().map(|newcomer| newcomer.account))
    }

    fn fetch_of(&mut self, number: u64, accounts: impl Iterator<Item = AccountId>) -> bool {
        let known: BTreeSet<AccountId> = self
            .intents
            .open
            .get(&number)
            .map(|attempt| attempt.fetched.keys().chain(&attempt.postponed).copied().collect())
            .unwrap_or_default();
        let missing: Vec<AccountId> = accounts.filter(|account| !known.contains(account)).collect();
        if let Some(attempt) = self.intents.open.get_mut(&number) {
            attempt.awaited += missing.len();
        }
        for account in &missing {
            let account = *account;
            self.request(Pending::FetchForIntent(number, account), |id| ClientFrame::FetchKeyPackages { id, account });
        }
        missing.is_empty()
    }

    /// Those of newcomers whose key packages are there, and those for whom they come later. Where there are none yet, the intent
    /// waits.
    fn ready(&mut self, number: u64, newcomers: Vec<Newcomer>) -> (Vec<Newcomer>, Vec<Newcomer>) {
        let Some(attempt) = self.intents.open.get_mut(&number) else { return (Vec::new(), newcomers) };
        let (ready, later): (Vec<_>, Vec<_>) =
            newcomers.into_iter().partition(|newcomer| attempt.fetched.contains_key(&newcomer.account));
        if ready.is_empty() {
            attempt.not_before_ms = attempt.postponed_until_ms;
            attempt.postponed.clear();
        }
        (ready, later)
    }

    pub(in super::super) fn packages_for_intent(
        &mut self,
        number: u64,
        account: AccountId,
        log: &IdentityLog,
        packages: Vec<(DeviceId, Bytes)>,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let log = self.learn_log(log)?.filter(|log| log.account() == account);
        let fits = log.as_ref().is_some_and(|log| {
            !packages.is_empty()
                && packages.iter().all(|(device, package)| {
                    (self.engine.inspect)(package.as_slice())
                        .is_ok_and(|info| info.member.credential.device == *device && admits(log, &info.member))
                })
        });
        let Some(log) = log.filter(|_| fits) else {
            let error = Refusal::later(Code::NoKeyPackage, "a key package does not verify", "the node may lie");
            self.intent_failed(number, error, random, now_ms);
            return Ok(());
        };
        if let Some(attempt) = self.intents.open.get_mut(&number) {
            attempt.awaited = attempt.awaited.saturating_sub(1);
            attempt.fetched.insert(account, Fetched { log, packages });
        }
        Ok(())
    }

    fn plan_creation(
        &mut self,
        number: u64,
        row: &IntentRow,
        handles: Vec<Handle>,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let Some(newcomers) = self.resolve_all(number, handles, now_ms)? else { return Ok(()) };
        if !self.fetch_all(number, &newcomers) {
            return Ok(());
        }
        let (newcomers, postponed) = self.ready(number, newcomers);
        if newcomers.is_empty() {
            return Ok(());
        }
        let Some(hub) = self.me.log.homes().first().copied() else { return Ok(()) };
        let mut operation = OperationId([0; 16]);
        random(&mut operation.0);
        // As many as one entry carries; the others are added at once afterwards.
        let mut count = newcomers.len().min(roost_crypto::group::ADDS_MAX);
        loop {
            let (now, later) = newcomers.split_at(count);
            let mut participants = vec![Participant { account: self.me.account, role: Role::Admin }];
            participants
                .extend(now.iter().map(|newcomer| Participant { account: newcomer.account, role: Role::Member }));
            participants.sort_by_key(|participant| participant.account);
            let state = ConversationState {
                conversation: row.conversation,
                generation: 0,
                term: 0,
                hub,
                successors: Vec::new(),
                participants,
                policy: Policy::Admins,
            };
            let state = ConversationState { successors: self.homes_of(&state, &hub)?, ..state };
            let (mut logs, packages) = self.fetched_of(number, now);
            logs.push(self.me.log.log().clone());
            let made = if packages.len() > roost_crypto::group::ADDS_MAX {
                None
            } else {
                self.engine.groups.create(&self.table, row.group.as_bytes(), &codec::encode(&state), &packages).ok()
            };
            if let Some((made, writes)) = made {
                let creation = Creation {
                    operation,
                    group: row.group,
                    state: state.clone(),
                    logs,
                    commit: made.commit,
                    welcome: made.welcome,
                    group_info: made.group_info,
                    tree: made.tree,
                };
                if codec::encode(&creation).len() <= limits::COMMIT_BYTES_MAX - HUB_ROOM {
                    self.table.apply_mls(writes);
                    let known =
                        ConversationRow { group: row.group, state, epoch: 1, head: None, over: false, leaving: false };
                    self.table.put(rows::conversation(&row.conversation), &known);
                    self.table.put(rows::creation(&row.group), &creation);
                    self.put_intent(number, &IntentRow { operation: Some(operation), ..row.clone() });
                    if !later.is_empty() || !postponed.is_empty() {
                        let handles = later.iter().chain(&postponed).map(|newcomer| newcomer.handle.clone()).collect();
                        let next = self.intend(row.conversation, row.group, GroupChange::Add(handles));
                        self.hand_on(number, next, now);
                    }
                    self.submit_creation(number, row.group, creation);
                    return Ok(());
                }
            }
            if count <= 1 {
                let error = Refusal::later(Code::NoKeyPackage, "no group can be made of the key packages", "try again");
                self.intent_failed(number, error, random, now_ms);
                return Ok(());
            }
            count /= 2;
        }
    }

    /// What was fetched for an intent is good for the one that goes on with it.
    fn hand_on(&mut self, number: u64, next: u64, done: &[Newcomer]) {
        let done: Vec<AccountId> = done.iter().map(|newcomer| newcomer.account).collect();
        if let Some(mut attempt) = self.intents.open.remove(&number) {
            let mut going_on = std::mem::take(&mut attempt);
            going_on.goes_on(&done);
            self.intents.open.insert(next, going_on);
            self.intents.open.insert(number, attempt);
        }
    }

    /// Logs and key packages of newcomers, all devices of each.
    fn fetched_of(&self, number: u64, newcomers: &[Newcomer]) -> (Vec<IdentityLog>, Vec<Bytes>) {
        let (mut logs, mut packages) = (Vec::new(), Vec::new());
        let Some(attempt) = self.intents.open.get(&number) else { return (logs, packages) };
        for newcomer in newcomers {
            if let Some(fetched) = attempt.fetched.get(&newcomer.account) {
                logs.push(fetched.log.log().clone());
                packages.extend(fetched.packages.iter().map(|(_, package)| package.clone()));
            }
        }
        (logs, packages)
    }

    fn plan_add(
        &mut self,
        number: u64,
        known: &ConversationRow,
        handles: Vec<Handle>,
        now_ms: u64,
    ) -> Result<Option<Plan>, DeviceError> {
        let Some(mut newcomers) = self.resolve_all(number, handles, now_ms)? else { return Ok(None) };
        newcomers.retain(|newcomer| !known.state.has(&newcomer.account));
        if known.state.participants.len() + newcomers.len() > limits::PARTICIPANTS_MAX {
            let error = Refusal::never(Code::TooLarge, "the conversation is full", "at most 100 people");
            self.end_intent(number, known.state.conversation, Some(error));
            return Ok(None);
        }
        if newcomers.is_empty() || !self.fetch_all(number, &newcomers) {
            return Ok(None);
        }
        let (newcomers, _) = self.ready(number, newcomers);
        if newcomers.is_empty() {
            return Ok(None);
        }
        let mut count = newcomers.len();
        loop {
            let now = newcomers.get(..count).unwrap_or_default();
            let (logs, add) = self.fetched_of(number, now);
            let bytes: usize = logs.iter().map(|log| log.encoded().len()).sum::<usize>()
                + 2 * add.iter().map(Bytes::len).sum::<usize>();
            if count > 1
                && (bytes > (limits::COMMIT_BYTES_MAX - HUB_ROOM) / 2 || add.len() > roost_crypto::group::ADDS_MAX)
            {
                count /= 2;
                continue;
            }
            let mut after = known.state.participants.clone();
            after.extend(now.iter().map(|newcomer| Participant { account: newcomer.account, role: Role::Member }));
            after.sort_by_key(|participant| participant.account);
            let change = Change { add, ..Change::default() };
            let after = self.with_participants(number, &known.state, after, true)?;
            return Ok(Some(Plan { change, after, logs, leaves: Vec::new() }));
        }
    }

    fn plan_remove(
        &mut self,
        number: u64,
        known: &ConversationRow,
        accounts: &[AccountId],
        leaves: Vec<Signed>,
    ) -> Result<Option<Plan>, DeviceError> {
        let gone: BTreeSet<AccountId> = accounts
            .iter()
            .copied()
            .filter(|account| known.state.has(account) && *account != self.me.account)
            .collect();
        if gone.is_empty() {
            return Ok(None);
        }
        let mut logs = Vec::new();
        for account in &gone {
            if let Some(log) = self.peer_log(account)? {
                logs.push(log.log().clone());
            }
        }
        let members = self.engine.groups.members(&self.table, known.group.as_bytes())?;
        let remove = members.iter().filter(|member| gone.contains(&member.credential.account));
        let change = Change { remove: remove.map(|member| member.credential.device).collect(), ..Change::default() };
        let after = membership::without(&known.state.participants, &gone);
        let after = self.with_participants(number, &known.state, after, false)?;
        Ok(Some(Plan { change, after, logs, leaves }))
    }

    fn plan_release(
        &mut self,
        number: u64,
        known: &ConversationRow,
        leaves: &[Signed],
    ) -> Result<Option<Plan>, DeviceError> {
        let mut valid = Vec::new();
        let mut accounts = Vec::new();
        for signed in leaves {
            if let Some(leave) = self.leave_of(signed)?
                && known.state.has(&leave.account)
            {
                accounts.push(leave.account);
                valid.push(signed.clone());
            }
        }
        self.plan_remove(number, known, &accounts, valid)
    }

    /// Devices that are missing come, ended ones go.
    fn plan_leaves(
        &mut self,
        number: u64,
        known: &ConversationRow,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<Option<Plan>, DeviceError> {
        let Difference { missing, ended } = self.difference(known)?;
        if (missing.is_empty() && ended.is_empty()) || !self.fetch_of(number, missing.keys().copied()) {
            return Ok(None);
        }
        let (mut add, mut touched, mut came) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        if let Some(attempt) = self.intents.open.get(&number) {
            for (account, devices) in &missing {
                let packages =
                    attempt.fetched.get(account).map(|fetched| fetched.packages.as_slice()).unwrap_or_default();
                for (_, package) in packages.iter().filter(|(device, _)| devices.contains(device)) {
                    add.push(package.clone());
                    came.insert(*account);
                }
            }
        }
        touched.extend(came.iter().copied());
        let mut remove = Vec::new();
        for (account, devices) in ended {
            // Whoever would be left without a leaf stays until there is a device to take the place.
            if came.contains(&account) || !missing.contains_key(&account) || account == self.me.account {
                touched.insert(account);
                remove.extend(devices);
            }
        }
        if add.is_empty() && remove.is_empty() {
            let hint = "it is added once it was online";
            let error = Refusal::later(Code::NoKeyPackage, "a device has no key package", hint);
            self.intent_failed(number, error, random, now_ms);
            return Ok(None);
        }
        let mut logs = Vec::new();
        for account in touched {
            if let Some(log) = self.log_of(&account)? {
                logs.push(log.log().clone());
            }
        }
        let change = Change { add, remove, ..Change::default() };
        Ok(Some(Plan { change, after: known.state.clone(), logs, leaves: Vec::new() }))
    }

    fn make_commit(
        &mut self,
        number: u64,
        row: IntentRow,
        known: &ConversationRow,
        mut plan: Plan,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let after = plan.after;
        plan.change.conv_state = (after != known.state).then(|| Bytes(codec::encode(&after)));
        let Ok((made, writes)) = self.engine.groups.commit(&self.table, row.group.as_bytes(), &plan.change) else {
            let error = Refusal::later(Code::NoKeyPackage, "no commit can be made of this", "it is planned again");
            self.intent_failed(number, error, random, now_ms);
            return Ok(());
        };
        let mut operation = OperationId([0; 16]);
        random(&mut operation.0);
        let commit = Commit {
            operation,
            group: row.group,
            epoch: epoch::of(known.state.term, made.epoch),
            commit: made.commit,
            welcome: made.welcome,
            group_info: made.group_info,
            logs: plan.logs,
            leaves: plan.leaves,
        };
        self.table.apply_mls(writes);
        if planted!(self.engine.sabotage, MergedEarly)
            && let Ok((_, writes)) =
                self.engine.groups.merge(&self.table, row.group.as_bytes(), commit.commit.as_slice(), now_ms)
        {
            self.table.apply_mls(writes);
        }
        let pending = PendingRow { intent: number, commit, stands: false, succeeds: None };
        self.table.put(rows::pending(&row.group), &pending);
        self.put_intent(number, &IntentRow { operation: Some(operation), ..row });
        self.submit_commit(pending);
        Ok(())
    }
}

/// The participants once somebody has a role; `None` if that is so.
fn role_given(known: &ConversationRow, account: &AccountId, role: Role) -> Option<Vec<Participant>> {
    let mut after = known.state.participants.clone();
    let participant = after.iter_mut().find(|participant| participant.account == *account)?;
    if participant.role == role {
        return None;
    }
    participant.role = role;
    Some(after)
}
