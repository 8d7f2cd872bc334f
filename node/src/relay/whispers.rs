//! Whispers: what devices say in passing goes on to whoever is there now, or nowhere.
//!
//! Never writes a row, never repeats, never waits: whatever else a connection or a node has waiting goes first. What one lets
//! out here is decided at the end of a batch, when that is known. Implements `docs/protocol.md`, section "Whispers".

use super::conversations::{group_head, not_member};
use super::quotas::busy;
use super::requests::Pending;
use super::{ConnectionId, Failure, Output, Relay, Step, accounts};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_protocol::conversation::ConversationHead;
use roost_protocol::ids::GroupId;
use roost_protocol::limits;
use roost_protocol::peer::{NodeRequest, NodeResponse};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use std::collections::BTreeMap;

/// A whisper as it is passed on.
#[derive(Debug, Clone)]
pub(super) struct Whisper {
    pub group: GroupId,
    pub epoch: u64,
    pub account: AccountId,
    pub payload: Bytes,
}

/// What leaves at the end of the batch, if nothing else waits there.
pub(super) enum Passing {
    ToDevice(ConnectionId, Whisper),
    ToNode(NodeId, Vec<AccountId>, Whisper),
}

impl Relay {
    /// A device whispers. Over its rate, and in another epoch than this home's, it is dropped without a word.
    pub(super) fn whisper(
        &mut self,
        step: &Step<'_, '_>,
        connection: ConnectionId,
        device: &DeviceId,
        whisper: Whisper,
    ) -> Result<(), Failure> {
        if self.quotas.whisper.take(device, 1, step.now_ms).is_err() {
            return Ok(());
        }
        let head = may_be_whispered(step, &whisper)?;
        if head.epoch != whisper.epoch {
            return Ok(());
        }
        let mut elsewhere: BTreeMap<NodeId, Vec<AccountId>> = BTreeMap::new();
        for account in head.state.participants.iter().map(|participant| participant.account) {
            match accounts::home_of(step, &account) {
                Ok(home) if home == self.node => self.pass_to_devices(&account, Some(connection), &whisper),
                Ok(home) => elsewhere.entry(home).or_default().push(account),
                // Where it lives is learnt with the next message, not for this.
                Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        for (node, accounts) in elsewhere {
            self.passing.push(Passing::ToNode(node, accounts, whisper.clone()));
        }
        Ok(())
    }

    /// Another home passes a whisper of its own person on to people here.
    pub(super) fn whispered(
        &mut self,
        step: &Step<'_, '_>,
        peer: NodeId,
        accounts: &[AccountId],
        whisper: Whisper,
    ) -> Result<NodeResponse, Failure> {
        let what = "this node whispers too much";
        self.quotas.whispers_from.take(&peer, 1, step.now_ms).map_err(|wait| busy(what, wait))?;
        if accounts.is_empty() || accounts.len() > limits::MARKS_ACCOUNTS_MAX {
            let message = format!("expected 1 to {} accounts, got {}", limits::MARKS_ACCOUNTS_MAX, accounts.len());
            return Err(Refusal::never(Code::Malformed, message, "name the participants who live here").into());
        }
        let head = may_be_whispered(step, &whisper)?;
        if accounts::home_of(step, &whisper.account)? != peer {
            return Err(Refusal::later(
                Code::NotHome,
                "the author of the whisper lives at another node",
                "a node passes on what its own people whisper",
            )
            .into());
        }
        for account in accounts {
            accounts::check_at_home(step, account)?;
            if !head.state.has(account) {
                return Err(not_member());
            }
        }
        if head.epoch == whisper.epoch {
            for account in accounts {
                self.pass_to_devices(account, None, &whisper);
            }
        }
        Ok(NodeResponse::Done)
    }

    /// Ends a batch: what nothing else goes before leaves, the rest is forgotten.
    pub(super) fn let_whispers_pass(&mut self, now_ms: u64) {
        for passing in std::mem::take(&mut self.passing) {
            match passing {
                Passing::ToDevice(connection, whisper) if self.has_time(connection) => {
                    let Whisper { group, epoch, account, payload } = whisper;
                    let frame = ServerFrame::Whisper { group, epoch, account, payload };
                    self.outputs.push(Output::Send(connection, frame));
                }
                Passing::ToNode(node, accounts, whisper) if self.is_idle(&node) => {
                    if self.quotas.whispers_to.take(&node, 1, now_ms).is_ok() {
                        let Whisper { group, epoch, account, payload } = whisper;
                        let request = NodeRequest::Whisper { group, accounts, epoch, account, payload };
                        self.ask(Pending::Whisper, node, request);
                    }
                }
                Passing::ToDevice(..) | Passing::ToNode(..) => {}
            }
        }
    }

    fn pass_to_devices(&mut self, account: &AccountId, but: Option<ConnectionId>, whisper: &Whisper) {
        let present = self.present.get(account).into_iter().flatten().filter(|connection| but != Some(**connection));
        self.passing.extend(present.map(|connection| Passing::ToDevice(*connection, whisper.clone())));
    }

    /// Whether a device has asked for its inbox, and has all that may be sent to it.
    fn has_time(&self, connection: ConnectionId) -> bool {
        self.connections
            .get(&connection)
            .is_some_and(|state| state.sent.is_some_and(|sent| sent.saturating_sub(state.acked) < limits::INBOX_WINDOW))
    }

    fn is_idle(&self, node: &NodeId) -> bool {
        self.destinations.get(node).is_none_or(|destination| !destination.has_waiting())
    }
}

/// Checks length, conversation and author, as little as costs least first.
fn may_be_whispered(step: &Step<'_, '_>, whisper: &Whisper) -> Result<ConversationHead, Failure> {
    let Whisper { group, account, payload, .. } = whisper;
    if payload.len() > limits::WHISPER_BYTES_MAX {
        return Err(Refusal::never(Code::TooLarge, "the whisper is over 256 bytes", "send it as a message").into());
    }
    let head = group_head(step, group)?;
    if !head.state.has(account) {
        return Err(not_member());
    }
    if head.state.participants.len() > limits::MARKS_ACCOUNTS_MAX {
        let message = "too many take part in the conversation for whispers";
        return Err(Refusal::never(Code::TooLarge, message, "whisper among 32 accounts or fewer").into());
    }
    Ok(head)
}
