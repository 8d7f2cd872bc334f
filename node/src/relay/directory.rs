//! Where accounts live, and what their devices may be reached by: lookups, newer identity logs, key packages of others.

use super::requests::Pending;
use super::{AccountRow, ConnectionId, Failure, Output, Relay, RequestToken, Step, accounts, rows};
use crate::store::{Read as _, StoreError};
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::signed::Signed;
use roost_protocol::handle::Handle;
use roost_protocol::peer::NodeRequest;
use roost_protocol::refusal::Refusal;
use roost_protocol::socket::{LookupReport, LookupSource, ServerFrame};
use std::sync::Arc;

impl Relay {
    pub(super) fn resolve(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        handle: Handle,
    ) -> Result<(), Failure> {
        let local = handle.org() == self.identity.name;
        let known = if local { accounts::local_handle(step, &handle)? } else { None };
        if let Some(AccountRow { log, handle_record }) = known {
            let lookup = LookupReport { source: LookupSource::Local, hops: 0, messages: 0, ms: 0 };
            self.send(connection, ServerFrame::Resolved { id, handle_record, log, lookup });
        } else {
            // A home that lost its store does not know its own people until they return; other nodes hold their records.
            let token = self.expect(Pending::Resolve { connection, id });
            self.outputs.push(Output::Resolve(token, handle));
        }
        Ok(())
    }

    pub(super) fn resolved(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        result: Result<(Signed, IdentityLog, LookupReport), Refusal>,
    ) -> Result<(), StoreError> {
        let Some(Pending::Resolve { connection, id }) = self.pending.remove(&token) else { return Ok(()) };
        match result {
            Ok((handle_record, log, lookup)) => {
                let frame = match self.learn_log(step, &log) {
                    Ok(newest) => ServerFrame::Resolved { id, handle_record, log: newest.log().clone(), lookup },
                    Err(Failure::Refused(error)) => ServerFrame::Refused { id: Some(id), error },
                    Err(Failure::Store(error)) => return Err(error),
                };
                self.send(connection, frame);
            }
            Err(error) => self.send(connection, ServerFrame::Refused { id: Some(id), error }),
        }
        Ok(())
    }

    pub(super) fn fetch_key_packages(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        id: u64,
        account: AccountId,
        requester: AccountId,
    ) -> Result<(), Failure> {
        self.may_fetch(step, &requester)?;
        let home = accounts::home_of(step, &account)?;
        if home == self.node {
            let (log, packages) = self.hand_out_key_packages(step, self.node, requester, account)?;
            self.has_fetched(step, connection);
            self.send(connection, ServerFrame::KeyPackages { id, log, packages });
        } else {
            let request = NodeRequest::KeyPackages { account, requester };
            self.ask(Pending::KeyPackages { connection, id }, home, request);
        }
        Ok(())
    }

    /// As [`accounts::learn_log`]; what rests on the log follows. What waits for the account goes to its new home, which has
    /// custody of nothing yet.
    pub(super) fn learn_log(
        &mut self,
        step: &mut Step<'_, '_>,
        log: &IdentityLog,
    ) -> Result<Arc<VerifiedLog>, Failure> {
        let account = accounts::verified(log)?.account();
        let held = accounts::known_log(step, &account)?;
        let known = accounts::learn_log(step, log)?;
        if held.as_ref().is_none_or(|held| held.homes().first() != known.homes().first()) {
            self.wide.homes_changed();
        }
        let Some(held) = held.filter(|held| held.head() != known.head()) else { return Ok(known) };
        self.devices_changed(step, &held, &known)?;
        if let (Some(before), Some(after)) = (held.homes().first().copied(), known.homes().first().copied())
            && before != after
        {
            self.moved(step, account, before, after)?;
        }
        Ok(known)
    }

    /// Asks a node for the log of somebody who lives there, once at a time.
    pub(super) fn ask_log(&mut self, account: AccountId, home: NodeId) {
        if self.asking_logs.insert(account) {
            self.ask(Pending::Log(account, home), home, NodeRequest::Log { account });
        }
    }

    /// The answer: it is believed of who lives at the node that was asked.
    pub(super) fn log_told(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        home: NodeId,
        log: &IdentityLog,
    ) -> Result<(), Failure> {
        let verified = accounts::verified(log)?;
        if verified.account() == account && verified.homes().first() == Some(&home) {
            self.learn_log(step, log)?;
        }
        Ok(())
    }

    /// A hint of the network: only an account that is known here is of interest, and a bad log of nobody's.
    pub(super) fn log_learned(&mut self, step: &mut Step<'_, '_>, log: &IdentityLog) -> Result<(), StoreError> {
        let outcome = accounts::verified(log).and_then(|verified| {
            let account = verified.account();
            let at_home = step.rows.get(&rows::account(&account))?.is_some();
            if at_home || step.rows.get(&rows::peer_log(&account))?.is_some() {
                self.learn_log(step, log)?;
            }
            Ok(())
        });
        match outcome {
            Err(Failure::Store(error)) => Err(error),
            Ok(()) | Err(Failure::Refused(_)) => Ok(()),
        }
    }
}
