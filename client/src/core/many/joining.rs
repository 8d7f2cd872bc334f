//! Joining: by the Welcome of a commit, once the tree and the logs of all who take part are here.
//!
//! What comes in the conversation meanwhile is parked on disk and read after it.

use super::super::link::Pending;
use super::super::rows::{self, GroupRow, JOINING, PARKED};
use super::super::{Device, DeviceError, Output};
use super::ConversationRow;
use super::commits::MembershipReport;
use roost_crypto::codec;
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::AccountId;
use roost_crypto::signed::Signed;
use roost_protocol::conversation::{ConversationHead, ConversationState, Creation, Policy, Role};
use roost_protocol::epoch;
use roost_protocol::feed::{Entry, EntryKind, NextEpoch};
use roost_protocol::ids::{ConversationId, GroupId};
use roost_protocol::membership;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;

/// Pause before what the home did not have is asked for again, milliseconds.
const PAUSE_MS: u64 = 1_000;
/// Entries that are kept for groups that are being joined, or whose commits have not come.
const PARKED_MAX: usize = 10_000;

impl Device {
    /// Enters a group by its first contact; `false` if anything of it does not verify.
    pub(in super::super) fn enter_group(
        &mut self,
        signed: &Signed,
        creation: Creation,
        now_ms: u64,
    ) -> Result<bool, DeviceError> {
        let fits = ConversationHead::verify(signed).ok().filter(|head| {
            head.made_by == creation.hash() && head.group == creation.group && head.state == creation.state
        });
        let Some(head) = fits.filter(|head| head.state.conversation == ConversationId::of_group(&head.group)) else {
            return Ok(false);
        };
        if let Some(mut row) = self.conversation(&head.state.conversation)? {
            if row.head.is_none() && self.is_creation(&head.group, &creation)? {
                row.head = Some(signed.clone());
                self.table.put(rows::conversation(&head.state.conversation), &row);
            }
            return Ok(true);
        }
        let mut hub_fits = false;
        for log in &creation.logs {
            let Some(log) = self.learn_log(log)? else { return Ok(false) };
            hub_fits |=
                log.homes().first() == Some(&head.state.hub) && head.state.role(&log.account()) == Some(Role::Admin);
        }
        if !hub_fits || !head.state.has(&self.me.account) {
            return Ok(false);
        }
        let (welcome, tree) = (creation.welcome.as_slice(), creation.tree.as_slice());
        let joined = self.join_by(&head, signed, (welcome, tree), Some(creation.clone()))?;
        if joined {
            // The entry is the hub's own: a creation is an admin's.
            let mut admins = head.state.participants.iter().filter(|one| one.role == Role::Admin);
            if let Some(admin) = admins.next() {
                self.invited(&head, admin.account, now_ms)?;
            }
        }
        Ok(joined)
    }

    /// Joins by a Welcome, if all that it leads to is as the hub has signed and the logs admit.
    fn join_by(
        &mut self,
        head: &ConversationHead,
        signed: &Signed,
        (welcome, tree): (&[u8], &[u8]),
        creation: Option<Creation>,
    ) -> Result<bool, DeviceError> {
        let Ok((joined, writes)) = self.engine.groups.join(&self.table, welcome, tree) else { return Ok(false) };
        let mut admitted = true;
        for member in &joined.members {
            let log = self.log_of(&member.credential.account)?;
            admitted &= log.is_some_and(|log| membership::has_admitted(&log, member));
        }
        let fits = admitted
            && joined.group_id == head.group.as_bytes()
            && joined.epoch == epoch::mls(head.epoch)
            && joined.conv_state.as_slice() == codec::encode(&head.state)
            && (head.state.policy != Policy::Direct || self.is_direct(&head.state)?)
            && membership::check_first(&head.state, &joined.members).is_ok();
        if !fits {
            return Ok(false);
        }
        self.joined_by(&writes)?;
        self.table.apply_mls(writes);
        let row = ConversationRow {
            group: head.group,
            state: head.state.clone(),
            epoch: head.epoch,
            head: Some(signed.clone()),
            over: false,
            leaving: false,
        };
        match creation {
            Some(creation) => self.table.put(rows::creation(&head.group), &creation),
            // What was said before we were added does not concern us.
            None => self.begin_feeds_anew(&head.group)?,
        }
        self.goes_on(&row);
        self.leaf_is_new(&head.group, true, self.last_now_ms);
        if head.state.policy == Policy::Direct {
            return self.joined_direct(row);
        }
        self.table.put(rows::conversation(&head.state.conversation), &row);
        self.keep_head(head, signed)?;
        self.verify_names(&row)?;
        let report = MembershipReport {
            conversation: head.state.conversation,
            epoch: epoch::mls(head.epoch),
            by: String::new(),
            added: vec![self.me.row.handle.to_string()],
            removed: Vec::new(),
            over: false,
        };
        self.staged.push(Output::Membership(report));
        Ok(true)
    }

    /// A device of ours, or of the other, has added this one to a conversation of two.
    fn joined_direct(&mut self, row: ConversationRow) -> Result<bool, DeviceError> {
        let mut others = row.state.participants.iter().map(|one| one.account).filter(|one| *one != self.me.account);
        let Some(peer) = others.next() else { return Ok(true) };
        let ConversationRow { group, state, epoch, head, over, .. } = row;
        let row = GroupRow { conversation: state.conversation, peer, epoch, head, state, over, sealed: false };
        self.table.put(rows::group(&group), &row);
        self.groups.entry(peer).or_default().insert(group, true);
        self.outbox.free(&peer);
        self.outbox.due_at_once();
        self.verify_name(peer, self.last_now_ms)?;
        Ok(true)
    }

    /// Whether a state is that of the conversation of this account with another one.
    fn is_direct(&self, state: &ConversationState) -> Result<bool, DeviceError> {
        let [low, high] = state.participants.as_slice() else { return Ok(false) };
        let hub = self.log_of(&low.account)?.and_then(|log| log.homes().first().copied());
        Ok(hub == Some(state.hub)
            && state.has(&self.me.account)
            && low.account < high.account
            && state.conversation == ConversationId::direct(&low.account, &high.account)
            && (state.generation, state.term) == (0, 0))
    }

    pub(super) fn begin_joining(&mut self, group: GroupId, next: NextEpoch) -> Result<(), DeviceError> {
        self.table.put(rows::joining(&group), &next);
        Ok(())
    }

    /// Whether an entry waits until its group is joined.
    pub(in super::super) fn park(&mut self, entry: &Entry) -> Result<bool, DeviceError> {
        let group = entry.header.feed.group;
        if !self.table.has(&rows::joining(&group)) {
            return Ok(false);
        }
        self.park_early(entry)
    }

    /// Keeps an entry until the commit that it needs has come: the home may have heard of that through somebody else who lives
    /// there, and put the entry before it. `false` if too much is kept already.
    pub(in super::super) fn park_early(&mut self, entry: &Entry) -> Result<bool, DeviceError> {
        if self.table.count(&[PARKED]) >= PARKED_MAX {
            return Ok(false);
        }
        let group = entry.header.feed.group;
        let last = self.table.scan::<Entry>(&rows::parked_of(&group))?.pop();
        let last = last.and_then(|(key, _)| key.last_chunk().copied().map(u64::from_be_bytes));
        self.table.put(rows::parked(&group, last.map_or(0, |last| last.saturating_add(1))), entry);
        Ok(true)
    }

    /// Reads what came before the commit that led here.
    pub(in super::super) fn read_early(&mut self, group: &GroupId, now_ms: u64) -> Result<(), DeviceError> {
        let epoch = self.followed(group)?.map_or(u64::MAX, |row| row.epoch);
        for (key, entry) in self.table.scan::<Entry>(&rows::parked_of(group))? {
            if entry.header.kind == EntryKind::Message && entry.header.epoch <= epoch {
                self.table.delete(key);
                self.message(&entry, now_ms)?;
            }
        }
        Ok(())
    }

    pub(super) fn pump_joining(&mut self, now_ms: u64) -> Result<(), DeviceError> {
        for (_, next) in self.table.scan::<NextEpoch>(&[JOINING])? {
            let group = next.commit.group;
            let waits = self.intents.joining_at_ms.get(&group).is_some_and(|at| *at > now_ms);
            if !waits && !self.intents.asked.contains(&group) {
                self.intents.joining_at_ms.remove(&group);
                self.join_on(group, &next, now_ms)?;
            }
        }
        Ok(())
    }

    /// Asks for what is missing, or joins.
    fn join_on(&mut self, group: GroupId, next: &NextEpoch, now_ms: u64) -> Result<(), DeviceError> {
        let Ok(head) = ConversationHead::verify(&next.head) else { return self.join_failed(group, next, now_ms) };
        self.learn_from_parked(&head)?;
        match self.fetch_for(&head)? {
            Some(tree) => self.join_now(group, next, &head, &tree, now_ms),
            None => Ok(()),
        }
    }

    /// The tree of an epoch, once it and the logs of all who take part are here; what is missing is asked for.
    pub(super) fn fetch_for(&mut self, head: &ConversationHead) -> Result<Option<Vec<u8>>, DeviceError> {
        let group = head.group;
        let mut behind = None;
        for participant in &head.state.participants {
            if self.log_of(&participant.account)?.is_none() {
                self.ask_participants(group, head.epoch, behind);
                return Ok(None);
            }
            behind = Some(participant.account);
        }
        let epoch = head.epoch;
        if let Some(tree) = self.intents.trees.get(&(group, epoch)).filter(|tree| self.intents.is_whole(&group, tree)) {
            return Ok(Some(tree.clone()));
        }
        let offset = self.intents.trees.get(&(group, epoch)).map_or(0, |tree| tree.len() as u64);
        self.intents.asked.insert(group);
        self.request(Pending::FetchTree(group, epoch), |id| ClientFrame::FetchTree { id, group, epoch, offset });
        Ok(None)
    }

    /// Asks for the logs of all who take part, once an epoch and connection: a log that is known here may not have all the devices
    /// in the group yet. `false` where that was done.
    pub(super) fn refresh_logs(&mut self, group: GroupId, epoch: u64) -> bool {
        if !self.intents.refreshed.insert((group, epoch)) {
            return false;
        }
        self.intents.refreshing.insert(group);
        self.ask_participants(group, epoch, None);
        true
    }

    fn ask_participants(&mut self, group: GroupId, epoch: u64, behind: Option<AccountId>) {
        self.intents.asked.insert(group);
        let epoch = Some(epoch);
        self.request(Pending::FetchParticipants(group), |id| ClientFrame::FetchParticipants {
            id,
            group,
            epoch,
            behind,
        });
    }

    /// Learns the logs of those who took part when we were added and were removed since: the home tells of those who take part
    /// now, and the commits that wait bring the logs of whom they remove.
    fn learn_from_parked(&mut self, head: &ConversationHead) -> Result<(), DeviceError> {
        for (_, entry) in self.table.scan::<Entry>(&rows::parked_of(&head.group))? {
            let Ok(next) = entry.next_epoch() else { continue };
            for log in &next.commit.logs {
                let account = VerifiedLog::verify(log).ok().map(|log| log.account());
                let concerned = account.filter(|account| head.state.has(account));
                if let Some(account) = concerned
                    && self.log_of(&account)?.is_none()
                {
                    self.learn_log(log)?;
                }
            }
        }
        Ok(())
    }

    pub(in super::super) fn tree_part(
        &mut self,
        group: GroupId,
        epoch: u64,
        total: u64,
        part: &[u8],
    ) -> Result<(), DeviceError> {
        self.intents.asked.remove(&group);
        let max = roost_crypto::group::TREE_MAX_BYTES as u64;
        if total > max || part.is_empty() {
            return Ok(());
        }
        self.intents.totals.insert(group, total);
        let tree = self.intents.trees.entry((group, epoch)).or_default();
        let room = usize::try_from(total).unwrap_or(0).saturating_sub(tree.len());
        tree.extend(part.iter().take(room));
        Ok(())
    }

    pub(in super::super) fn participants_told(
        &mut self,
        group: GroupId,
        logs: &[IdentityLog],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.intents.asked.remove(&group);
        let (mut learnt, mut last) = (false, None);
        let joining: Option<NextEpoch> = self.table.get(&rows::joining(&group))?;
        let next = match joining {
            Some(next) => Some(next),
            None => self.table.get(&rows::astray(&group))?,
        };
        if let Some(next) = next
            && let Ok(head) = ConversationHead::verify(&next.head)
        {
            for log in logs {
                if let Ok(verified) = VerifiedLog::verify(log)
                    && head.state.has(&verified.account())
                {
                    let known = self.log_of(&verified.account())?;
                    last = Some(verified.account());
                    learnt |= self.learn_log(log)?.is_some_and(|log| known != Some(log));
                }
            }
            if self.intents.refreshing.contains(&group) {
                if last.is_some() {
                    self.ask_participants(group, head.epoch, last);
                    return Ok(());
                }
                self.intents.refreshing.remove(&group);
                return Ok(());
            }
        }
        if !learnt {
            self.intents.joining_at_ms.insert(group, now_ms + PAUSE_MS);
        }
        Ok(())
    }

    /// The home or the hub lacks what is needed, or we were removed again before we had joined.
    pub(in super::super) fn joining_refused(
        &mut self,
        group: GroupId,
        error: &Refusal,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.intents.asked.remove(&group);
        self.intents.refreshing.remove(&group);
        if error.code == Code::NotMember
            && let Some(next) = self.table.get::<NextEpoch>(&rows::joining(&group))?
            && self.is_removed_again(&group)?
        {
            return self.join_failed(group, &next, now_ms);
        }
        self.intents.joining_at_ms.insert(group, now_ms + PAUSE_MS);
        Ok(())
    }

    /// Whether a commit that removes us waits behind the one that added us.
    fn is_removed_again(&self, group: &GroupId) -> Result<bool, DeviceError> {
        let parked = self.table.scan::<Entry>(&rows::parked_of(group))?;
        let heads = parked.iter().filter_map(|(_, entry)| entry.next_epoch().ok());
        let states = heads.filter_map(|next| ConversationHead::verify(&next.head).ok());
        Ok(states.into_iter().any(|head| head.group == *group && !head.state.has(&self.me.account)))
    }

    fn join_now(
        &mut self,
        group: GroupId,
        next: &NextEpoch,
        head: &ConversationHead,
        tree: &[u8],
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let Some(welcome) = &next.commit.welcome else { return self.join_failed(group, next, now_ms) };
        let known = self.conversation(&head.state.conversation)?;
        if known.is_some_and(|row| !row.over && row.state.term < head.state.term) {
            // Who is added on the branch that stands leaves the other one behind.
            self.drop_pending_of(&group)?;
            self.table.delete(rows::astray(&group));
            let writes = self.engine.groups.forget(&self.table, group.as_bytes())?;
            self.table.apply_mls(writes);
        }
        if !self.join_by(head, &next.head, (welcome.as_slice(), tree), None)? {
            if self.refresh_logs(group, head.epoch) {
                return Ok(());
            }
            return self.join_failed(group, next, now_ms);
        }
        self.unpark(group, now_ms)
    }

    /// Reads what came meanwhile, in its order.
    fn unpark(&mut self, group: GroupId, now_ms: u64) -> Result<(), DeviceError> {
        for entry in self.end_joining(group)? {
            match entry.header.kind {
                // A commit among it may have removed us, and another one added us again.
                _ if self.park(&entry)? => {}
                EntryKind::Creation => {}
                EntryKind::Message => self.message(&entry, now_ms)?,
                EntryKind::Commit => self.commit_entry(&entry, now_ms)?,
            }
        }
        Ok(())
    }

    /// What was parked, in its order; nothing waits for the group any more.
    fn end_joining(&mut self, group: GroupId) -> Result<Vec<Entry>, DeviceError> {
        self.table.delete(rows::joining(&group));
        self.intents.trees.retain(|(of, _), _| *of != group);
        let parked = self.table.scan::<Entry>(&rows::parked_of(&group))?;
        for (key, _) in &parked {
            self.table.delete(key.clone());
        }
        Ok(parked.into_iter().map(|(_, entry)| entry).collect())
    }

    /// The Welcome leads nowhere: told once, and what waited for it becomes gaps, unless another Welcome is among it.
    fn join_failed(&mut self, group: GroupId, next: &NextEpoch, now_ms: u64) -> Result<(), DeviceError> {
        let conversation = ConversationHead::verify(&next.head).ok().map(|head| head.state.conversation);
        for entry in self.end_joining(group)? {
            match entry.header.kind {
                _ if self.park(&entry)? => {}
                EntryKind::Commit => self.commit_entry(&entry, now_ms)?,
                _ => self.gap(conversation, &entry.header, "the conversation cannot be entered"),
            }
        }
        Ok(())
    }
}
