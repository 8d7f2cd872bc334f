//! Groups: made once for a pair of accounts, entered by the first contact, checked against identity logs both ways.

use super::link::Pending;
use super::many::ConversationRow;
use super::rows::{self, GROUP, GroupRow, Target};
use super::{Device, DeviceError, Random};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{ConversationHead, ConversationState, Creation, Participant, Policy, Role};
use roost_protocol::ids::{ConversationId, GroupId, OperationId};
use roost_protocol::limits;
use roost_protocol::membership;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;

/// Epoch that a creation makes.
const FIRST_EPOCH: u64 = 1;

impl Device {
    pub(super) fn load_groups(&mut self) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<GroupRow>(&[GROUP])? {
            if let Some(group) = key.get(1..).and_then(GroupId::from_slice).filter(|_| !row.over) {
                self.groups.entry(row.peer).or_default().insert(group, row.head.is_some());
                if row.sealed {
                    self.sealed_groups.insert(group);
                }
            }
        }
        Ok(())
    }

    /// The group that takes new messages for an account: the lowest of those that stand.
    pub(super) fn standing_group(&self, account: &AccountId) -> Option<GroupId> {
        let groups = self.groups.get(account)?;
        let takes = |group: &GroupId, standing: bool| standing && !self.sealed_groups.contains(group);
        groups.iter().find_map(|(group, standing)| takes(group, *standing).then_some(*group))
    }

    /// A group with an account that is not sealed: one that stands, or our own that has no verdict yet.
    fn open_group(&self, account: &AccountId) -> Option<GroupId> {
        let groups = self.groups.get(account)?;
        groups.keys().find(|group| !self.sealed_groups.contains(group)).copied()
    }

    /// The hub of a conversation of two has lost its state and can't take a device in any more: another group is begun in its place.
    /// Whether the group is of two.
    pub(super) fn seal(&mut self, group: &GroupId) -> Result<bool, DeviceError> {
        let key = rows::group(group);
        let Some(mut row) = self.table.get::<GroupRow>(&key)? else { return Ok(false) };
        row.sealed = true;
        self.table.put(key, &row);
        self.sealed_groups.insert(*group);
        if self.open_group(&row.peer).is_none() {
            self.make_group(row.peer)?;
        }
        Ok(true)
    }

    /// Moves the making of a group with an account one step on.
    pub(super) fn make_group(&mut self, account: AccountId) -> Result<(), DeviceError> {
        self.outbox.occupy(&account);
        let own = self.open_group(&account);
        let begun = own.map(|group| self.table.get::<Creation>(&rows::creation(&group))).transpose()?.flatten();
        match begun {
            Some(creation) => {
                self.request(Pending::Create(account, creation.group), |id| ClientFrame::Create { id, creation });
            }
            None => {
                self.request(Pending::FetchKeyPackages(account), |id| ClientFrame::FetchKeyPackages { id, account });
            }
        }
        Ok(())
    }

    pub(super) fn key_packages_fetched(
        &mut self,
        account: AccountId,
        log: &IdentityLog,
        packages: &[(DeviceId, Bytes)],
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.outbox.free(&account);
        if self.open_group(&account).is_some() {
            return Ok(());
        }
        let log = match self.learn_log(log)? {
            Some(log) if log.account() == account => log,
            _ => return self.doubt(&account, Code::BadLog, "the identity log does not verify", random, now_ms),
        };
        let fits = !packages.is_empty()
            && packages.iter().all(|(device, package)| {
                (self.engine.inspect)(package.as_slice()).is_ok_and(|info| {
                    info.member.credential.device == *device && membership::admits(&log, &info.member)
                })
            });
        if !fits {
            return self.doubt(&account, Code::NoKeyPackage, "a key package does not verify", random, now_ms);
        }
        let Some(creation) = self.create(&log, packages, random)? else {
            return self.doubt(
                &account,
                Code::NoKeyPackage,
                "no group can be made of the key packages",
                random,
                now_ms,
            );
        };
        let group = creation.group;
        let row = GroupRow {
            conversation: creation.state.conversation,
            peer: account,
            epoch: FIRST_EPOCH,
            head: None,
            state: creation.state.clone(),
            over: false,
            sealed: false,
        };
        self.table.put(rows::group(&group), &row);
        self.table.put(rows::creation(&group), &creation);
        self.groups.entry(account).or_default().insert(group, false);
        Ok(())
    }

    fn create(
        &mut self,
        peer: &VerifiedLog,
        packages: &[(DeviceId, Bytes)],
        random: Random<'_>,
    ) -> Result<Option<Creation>, DeviceError> {
        let (low, high) = if self.me.account < peer.account() { (&self.me.log, peer) } else { (peer, &self.me.log) };
        let Some(hub) = low.homes().first().copied() else { return Ok(None) };
        let state = ConversationState {
            conversation: ConversationId::direct(&low.account(), &high.account()),
            generation: 0,
            term: 0,
            hub,
            successors: Vec::new(),
            participants: [low, high].map(|log| Participant { account: log.account(), role: Role::Admin }).to_vec(),
            policy: Policy::Direct,
        };
        let (mut group, mut operation) = (GroupId([0; 32]), OperationId([0; 16]));
        random(&mut group.0);
        random(&mut operation.0);
        let logs = vec![low.log().clone(), high.log().clone()];
        let packages: Vec<Bytes> = packages.iter().map(|(_, package)| package.clone()).collect();
        let made = self.engine.groups.create(&self.table, group.as_bytes(), &codec::encode(&state), &packages);
        let Ok((made, writes)) = made else { return Ok(None) };
        let creation = Creation {
            operation,
            group,
            state,
            logs,
            commit: made.commit,
            welcome: made.welcome,
            group_info: made.group_info,
            tree: made.tree,
        };
        if codec::encode(&creation).len() > limits::COMMIT_BYTES_MAX {
            return Ok(None);
        }
        self.table.apply_mls(writes);
        Ok(Some(creation))
    }

    /// The hub's verdict: ours stands, or another's does and ours goes.
    pub(super) fn created(
        &mut self,
        account: AccountId,
        ours: GroupId,
        signed: &Signed,
        creation: Creation,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.outbox.free(&account);
        let own: Option<GroupRow> = self.table.get(&rows::group(&ours))?;
        if let Some(mut row) = own.filter(|row| row.head.is_none()) {
            if self.is_creation(&ours, &creation)? {
                if check_head(signed, &creation).is_none() {
                    return self.doubt(&account, Code::Malformed, "the hub's head does not verify", random, now_ms);
                }
                row.head = Some(signed.clone());
                self.table.put(rows::group(&ours), &row);
                self.groups.entry(account).or_default().insert(ours, true);
                self.leaves.look();
                return Ok(());
            }
            if creation.state.conversation == row.conversation && !self.is_welcome_to(&creation) {
                // The conversation is older than this device: a member adds it.
                let hint = "it goes as soon as a device that is in the conversation was online";
                let error = Refusal::later(Code::NotMember, "waiting for a member", hint);
                return self.route_refused(&account, error, random, now_ms);
            }
            if creation.state.conversation != row.conversation || !self.enter(signed, creation)? {
                return self.doubt(&account, Code::Malformed, "the standing group cannot be entered", random, now_ms);
            }
            let writes = self.engine.groups.forget(&self.table, ours.as_bytes())?;
            self.table.apply_mls(writes);
            self.table.delete(rows::group(&ours));
            self.table.delete(rows::creation(&ours));
            self.groups.entry(account).or_default().remove(&ours);
        }
        Ok(())
    }

    /// Whether this is how a group began, as far as this device knows.
    pub(super) fn is_creation(&self, group: &GroupId, creation: &Creation) -> Result<bool, DeviceError> {
        Ok(self.table.get(&rows::creation(group))?.as_ref() == Some(creation))
    }

    /// Whether the log of ours that a creation shows has this device: else its Welcome is for others.
    fn is_welcome_to(&self, creation: &Creation) -> bool {
        let logs = creation.logs.iter().filter_map(|log| VerifiedLog::verify(log).ok());
        let mut ours = logs.filter(|log| log.account() == self.me.account);
        ours.any(|log| log.device_keys().contains_key(&self.me.device))
    }

    /// Enters a group by its first contact; `false` if anything of it does not verify. A known group is left alone.
    pub(super) fn enter(&mut self, signed: &Signed, creation: Creation) -> Result<bool, DeviceError> {
        let Some(head) = check_head(signed, &creation) else { return Ok(false) };
        let key = rows::group(&head.group);
        if let Some(mut row) = self.table.get::<GroupRow>(&key)? {
            if row.head.is_none() && self.is_creation(&head.group, &creation)? {
                row.head = Some(signed.clone());
                self.table.put(key, &row);
                self.groups.entry(row.peer).or_default().insert(head.group, true);
            }
            return Ok(true);
        }
        let [low, high] = creation.state.participants.as_slice() else { return Ok(false) };
        let peer = match (low.account == self.me.account, high.account == self.me.account) {
            (true, false) => high.account,
            (false, true) => low.account,
            _ => return Ok(false),
        };
        let (low, high) = (low.account, high.account);
        let mut logs = Vec::new();
        for log in &creation.logs {
            match self.learn_log(log)? {
                Some(log) => logs.push(log),
                None => return Ok(false),
            }
        }
        let hub_fits = logs.iter().any(|log| log.account() == low && log.homes().first() == Some(&head.state.hub));
        let direct = low < high
            && head.state.policy == Policy::Direct
            && (head.state.generation, head.state.term) == (0, 0)
            && head.state.conversation == ConversationId::direct(&low, &high)
            && head.epoch == FIRST_EPOCH;
        if !direct || !hub_fits {
            return Ok(false);
        }
        let (welcome, tree) = (creation.welcome.as_slice(), creation.tree.as_slice());
        let Ok((joined, writes)) = self.engine.groups.join(&self.table, welcome, tree) else { return Ok(false) };
        let members_fit =
            joined.members.iter().all(|member| logs.iter().any(|log| membership::has_admitted(log, member)))
                && [low, high]
                    .iter()
                    .all(|account| joined.members.iter().any(|member| member.credential.account == *account))
                && joined.members.iter().all(|member| head.state.has(&member.credential.account));
        if !members_fit
            || joined.group_id != head.group.as_bytes()
            || joined.epoch != head.epoch
            || joined.conv_state.as_slice() != codec::encode(&head.state)
        {
            return Ok(false);
        }
        self.joined_by(&writes)?;
        self.table.apply_mls(writes);
        let row = GroupRow {
            conversation: head.state.conversation,
            peer,
            epoch: head.epoch,
            head: Some(signed.clone()),
            state: head.state.clone(),
            over: false,
            sealed: false,
        };
        self.table.put(key, &row);
        self.table.put(rows::creation(&head.group), &creation);
        self.groups.entry(peer).or_default().insert(head.group, true);
        self.leaf_is_new(&head.group, true, self.last_now_ms);
        Ok(true)
    }

    /// Something that did not verify: the account's messages wait, and it is asked for again later.
    fn doubt(
        &mut self,
        account: &AccountId,
        code: Code,
        message: &str,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.route_refused(
            account,
            Refusal::later(code, message, "it is tried again; the node may lie"),
            random,
            now_ms,
        )
    }

    /// Puts a refusal on every target that means the account.
    pub(super) fn route_refused(
        &mut self,
        account: &AccountId,
        error: Refusal,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        for target in self.targets_of(account)? {
            self.target_refused(&target, error.clone(), &mut *random, now_ms)?;
        }
        Ok(())
    }

    pub(super) fn targets_of(&self, account: &AccountId) -> Result<Vec<Target>, DeviceError> {
        let mut targets = Vec::new();
        for target in self.outbox.targets() {
            let means = match &target {
                Target::Account(id) => id == account,
                Target::Conversation(_) => false,
                Target::Handle(handle) => self.account_of(handle)?.as_ref() == Some(account),
            };
            if means {
                targets.push(target);
            }
        }
        Ok(targets)
    }
}

impl GroupRow {
    /// As a conversation whose commits are followed.
    pub fn into_conversation(self, group: GroupId) -> ConversationRow {
        let Self { epoch, head, state, over, .. } = self;
        ConversationRow { group, state, epoch, head, over, leaving: false }
    }
}

fn check_head(signed: &Signed, creation: &Creation) -> Option<ConversationHead> {
    let head = ConversationHead::verify(signed).ok()?;
    let fits = head.made_by == creation.hash() && head.group == creation.group && head.state == creation.state;
    fits.then_some(head)
}
