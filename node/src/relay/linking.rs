//! Linking: a new device and one of the account find each other through their home.
//!
//! The home passes sealed bytes on, once in each direction, and keeps nothing: it can read neither, and admits nobody. Implements
//! `docs/protocol.md`, section "Devices of an account".

use super::quotas::busy;
use super::{ConnectionId, Failure, Relay, Step, accounts};
use roost_crypto::bytes::Bytes;
use roost_crypto::ids::AccountId;
use roost_protocol::ids::LinkSession;
use roost_protocol::limits;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;
use std::collections::BTreeMap;

/// A new device that waits for an answer.
struct Waiting {
    connection: ConnectionId,
    account: AccountId,
    until_ms: u64,
}

/// All new devices that wait.
#[derive(Default)]
pub(super) struct Links(BTreeMap<LinkSession, Waiting>);

impl Links {
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.0.retain(|_, waiting| waiting.connection != connection);
    }

    /// No request outlives a clock that was set back.
    pub(super) fn clock_set_back(&mut self, now_ms: u64) {
        self.0.values_mut().for_each(|waiting| waiting.until_ms = waiting.until_ms.min(now_ms + limits::LINK_MS));
    }
}

impl Relay {
    /// A connection on which nobody is signed in asks an account's devices to link it.
    pub(super) fn link_request(
        &mut self,
        step: &Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        (session, sealed): (LinkSession, Bytes),
    ) -> Result<(), Failure> {
        check_size(&sealed, limits::LINK_REQUEST_BYTES_MAX)?;
        if self.connections.get(&connection).is_none_or(|state| state.device.is_some()) {
            let message = "this connection has a device already";
            return Err(Refusal::never(Code::Malformed, message, "ask on a connection of its own").into());
        }
        accounts::check_at_home(step, &account)?;
        let now_ms = step.now_ms;
        self.links.0.retain(|_, waiting| waiting.until_ms > now_ms);
        let waits = |of: &dyn Fn(&Waiting) -> bool| self.links.0.values().filter(|waiting| of(waiting)).count();
        if waits(&|waiting| waiting.connection == connection) > 0
            || waits(&|waiting| waiting.account == account) >= limits::LINKS_OF_ACCOUNT_MAX
            || self.links.0.len() >= limits::LINKS_MAX
        {
            return Err(busy("too many devices wait to be linked", limits::LINK_MS));
        }
        if self.links.0.contains_key(&session) {
            return Err(Refusal::never(Code::Malformed, "the session is in use", "draw another one").into());
        }
        let devices: Vec<ConnectionId> = self.present.get(&account).into_iter().flatten().copied().collect();
        if devices.is_empty() {
            let message = "no device of the account is connected";
            return Err(Refusal::later(Code::Unreachable, message, "open the other device and ask again").into());
        }
        for device in devices {
            self.send(device, ServerFrame::LinkRequested { session, sealed: sealed.clone() });
        }
        self.links.0.insert(session, Waiting { connection, account, until_ms: now_ms + limits::LINK_MS });
        self.send(connection, ServerFrame::Done { id });
        Ok(())
    }

    /// A device of the account answers, once.
    pub(super) fn link_answer(
        &mut self,
        step: &Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        (session, sealed): (LinkSession, Bytes),
    ) -> Result<(), Failure> {
        check_size(&sealed, limits::LINK_ANSWER_BYTES_MAX)?;
        let waiting = self.links.0.get(&session);
        let waiting = waiting.filter(|waiting| waiting.account == account && waiting.until_ms > step.now_ms);
        let Some(to) = waiting.map(|waiting| waiting.connection) else {
            let message = "nobody waits for this answer any more";
            return Err(Refusal::never(Code::NotFound, message, "let the new device ask again").into());
        };
        self.links.0.remove(&session);
        self.send(to, ServerFrame::LinkAnswered { session, sealed });
        self.send(connection, ServerFrame::Done { id });
        Ok(())
    }
}

fn check_size(sealed: &Bytes, max: usize) -> Result<(), Failure> {
    if sealed.len() > max {
        let message = format!("expected at most {max} sealed bytes, got {}", sealed.len());
        return Err(Refusal::never(Code::TooLarge, message, "seal less").into());
    }
    Ok(())
}
