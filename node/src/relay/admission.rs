//! Admission: whether somebody may cost this node something now. A refusal is always `busy` with a pause, never a silent drop.
//!
//! What only repeats is free: a submission that is known, a conversation that stands. Never decides whether a request is right.
//! Implements `docs/protocol.md`, section "Rates".

use super::quotas::busy;
use super::rows;
use super::{ConnectionId, Failure, Relay, Step, accounts};
use crate::store::{Read as _, StoreError};
use roost_crypto::bytes::Bytes;
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_protocol::conversation::Creation;
use roost_protocol::ids::{GroupId, MessageId};

/// How long the messages behind a refused one wait for it, milliseconds: a device comes back well before.
const HELD_MS: u64 = 60_000;
/// Conversations of a connection in which a refused message is waited for.
const HELD_MAX: usize = 64;
/// Pause of the messages behind a refused one, milliseconds.
const TURN_PAUSE_MS: u64 = 1_000;

impl Relay {
    /// Refuses a message while one before it was refused and has not come again: what one device says in a conversation keeps
    /// its order.
    pub(super) fn check_turn(
        &self,
        step: &Step<'_, '_>,
        connection: ConnectionId,
        group: &GroupId,
        message: &MessageId,
    ) -> Result<(), Failure> {
        let held = self.connections.get(&connection).and_then(|state| state.held.get(group));
        match held {
            Some((first, until)) if first != message && *until > step.now_ms => {
                Err(busy("a message before this one was refused; send that first", TURN_PAUSE_MS))
            }
            _ => Ok(()),
        }
    }

    /// Takes a message from its author's allowance.
    pub(super) fn may_submit(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let what = "too many messages at once";
        self.quotas.submit.take(account, 1, step.now_ms).map_err(|wait| busy(what, wait))
    }

    /// Whatever comes behind a message that was refused for now waits for it; one that waits already changes nothing.
    pub(super) fn hold_turn(&mut self, connection: ConnectionId, group: GroupId, message: MessageId, now_ms: u64) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        state.held.retain(|_, (_, until)| *until > now_ms);
        let waits = state.held.get(&group).is_some_and(|(first, _)| *first != message);
        if !waits && (state.held.len() < HELD_MAX || state.held.contains_key(&group)) {
            state.held.insert(group, (message, now_ms + HELD_MS));
        }
    }

    /// It came.
    pub(super) fn give_turn(&mut self, connection: ConnectionId, group: &GroupId) {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.held.remove(group);
        }
    }

    pub(super) fn may_put_key_packages(
        &mut self,
        step: &Step<'_, '_>,
        account: &AccountId,
        count: usize,
    ) -> Result<(), Failure> {
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let what = "too many key packages were uploaded";
        self.quotas.put_key_packages.take(account, count, step.now_ms).map_err(|wait| busy(what, wait))
    }

    pub(super) fn may_resolve(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        self.quotas.resolve.take(account, 1, step.now_ms).map_err(|wait| busy("too many lookups", wait))
    }

    pub(super) fn may_resume(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let what = "the inbox was read anew too often";
        self.quotas.resume.take(account, 1, step.now_ms).map_err(|wait| busy(what, wait))
    }

    pub(super) fn may_subscribe(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let what = "push subscriptions changed too often";
        self.quotas.push_subscribe.take(account, 1, step.now_ms).map_err(|wait| busy(what, wait))
    }

    /// Each is a connection to where the account says.
    pub(super) fn may_test_push(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        self.quotas.push_test.take(account, 1, step.now_ms).map_err(|wait| busy("pushes were tested too often", wait))
    }

    /// Each part is a request of its own.
    pub(super) fn may_move_blobs(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let what = "too many parts of files at once";
        self.quotas.blob_parts.take(account, 1, step.now_ms).map_err(|wait| busy(what, wait))
    }

    /// Charged by [`Self::has_created`] only: a hub that is down must not use up what others are created with.
    pub(super) fn may_create(
        &self,
        step: &Step<'_, '_>,
        account: &AccountId,
        creation: &Creation,
    ) -> Result<(), Failure> {
        if stands(step, creation)? {
            return Ok(());
        }
        self.quotas.create.check(account, step.now_ms).map_err(|wait| busy("too many new conversations", wait))
    }

    pub(super) fn has_created(&mut self, step: &Step<'_, '_>, connection: ConnectionId) {
        if let Some((account, _)) = self.connections.get(&connection).and_then(|state| state.device) {
            // An error means that several were on their way at once; the next is refused.
            let _ = self.quotas.create.take(&account, 1, step.now_ms);
        }
    }

    /// Each commit costs every member something.
    pub(super) fn may_commit(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let what = "too many changes of conversations";
        self.quotas.commit.take(account, 1, step.now_ms).map_err(|wait| busy(what, wait))
    }

    /// Each log is told to whoever knows the account.
    pub(super) fn may_append_log(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let what = "the identity log changed too often";
        self.quotas.append_log.take(account, 1, step.now_ms).map_err(|wait| busy(what, wait))
    }

    /// Charged by [`Self::has_fetched`] only, for the same reason.
    pub(super) fn may_fetch(&self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let what = "key packages of too many accounts were asked for";
        self.quotas.fetch.check(account, step.now_ms).map_err(|wait| busy(what, wait))
    }

    pub(super) fn has_fetched(&mut self, step: &Step<'_, '_>, connection: ConnectionId) {
        if let Some((account, _)) = self.connections.get(&connection).and_then(|state| state.device) {
            let _ = self.quotas.fetch.take(&account, 1, step.now_ms);
        }
    }

    pub(super) fn may_introduce(
        &mut self,
        step: &Step<'_, '_>,
        account: &AccountId,
        creation: &Creation,
    ) -> Result<(), Failure> {
        if is_known(step, &creation.group)? {
            return Ok(());
        }
        let what = "too many conversations were introduced";
        self.quotas.introduce.take(account, 1, step.now_ms).map_err(|wait| busy(what, wait))
    }

    pub(super) fn may_archive(&mut self, step: &Step<'_, '_>, account: &AccountId) -> Result<(), Failure> {
        let what = "too many chunks for the archive";
        self.quotas.archive.take(account, 1, step.now_ms).map_err(|wait| busy(what, wait))
    }

    /// Another node asks this hub for a conversation.
    pub(super) fn may_bring(&mut self, step: &Step<'_, '_>, peer: &NodeId, creation: &Creation) -> Result<(), Failure> {
        if stands(step, creation)? { Ok(()) } else { self.charge_conversation(step, peer, creation) }
    }

    /// Another node shows a conversation that its hub let stand.
    pub(super) fn may_show(&mut self, step: &Step<'_, '_>, peer: &NodeId, creation: &Creation) -> Result<(), Failure> {
        if is_known(step, &creation.group)? { Ok(()) } else { self.charge_conversation(step, peer, creation) }
    }

    fn charge_conversation(&mut self, step: &Step<'_, '_>, peer: &NodeId, creation: &Creation) -> Result<(), Failure> {
        let mut ours = Vec::new();
        // A state with more participants is refused by its form; none of them is looked up.
        for participant in creation.state.participants.iter().take(2) {
            if step.rows.get(&rows::account(&participant.account))?.is_some() {
                ours.push(participant.account);
            }
        }
        self.quotas.conversation(peer, &ours, step.now_ms)
    }

    /// Another node delivers a first contact.
    pub(super) fn may_begin(
        &mut self,
        step: &Step<'_, '_>,
        peer: &NodeId,
        group: &GroupId,
        accounts: &[AccountId],
    ) -> Result<(), Failure> {
        if is_known(step, group)? { Ok(()) } else { self.quotas.conversation(peer, accounts, step.now_ms) }
    }

    /// One key package of each device of an account that lives here, for `requester`, whose home `peer` is.
    pub(super) fn hand_out_key_packages(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        requester: AccountId,
        account: AccountId,
    ) -> Result<(IdentityLog, Vec<(DeviceId, Bytes)>), Failure> {
        accounts::home_log(step, &account)?;
        let now_ms = step.now_ms;
        let what = "too many key packages were asked for";
        // Whoever asks here lives here by invite, and has an allowance of its own.
        let other_node = (peer != self.node).then_some(peer);
        if other_node.is_some() {
            self.quotas.key_package_requests.take(&peer, 1, now_ms).map_err(|wait| busy(what, wait))?;
        }
        let pair = (peer, requester, account);
        self.quotas.key_packages_pair.take(&pair, 1, now_ms).map_err(|wait| busy(what, wait))?;
        let inspect = self.identity.inspector.key_package;
        let quotas = &mut self.quotas;
        let taken = accounts::take_key_packages(step, inspect, account, |device, held| {
            quotas.one_time_key_package(other_node, device, held, now_ms)
        });
        if taken.is_err() {
            // Who asks before the device was ever there must not wait once it is.
            self.quotas.key_packages_pair.give_back(&pair, now_ms);
        }
        taken
    }
}

fn is_known(step: &Step<'_, '_>, group: &GroupId) -> Result<bool, StoreError> {
    Ok(step.rows.get(&rows::group(group))?.is_some())
}

/// Whether the conversation exists here, so that a creation only asks for what stands.
fn stands(step: &Step<'_, '_>, creation: &Creation) -> Result<bool, StoreError> {
    Ok(step.rows.get(&rows::conversation(&creation.state.conversation))?.is_some())
}
