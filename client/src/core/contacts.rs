//! Other people: whose account a handle means, and what is known of their identity logs.
//!
//! A handle counts only by its organisation's record together with the account's own log; the home's word is none.

use super::link::Pending;
use super::rows::{self, OrgRow, PeerRow, Target};
use super::{Device, DeviceError, Output, Random};
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, OrgId};
use roost_crypto::keys::PublicKey;
use roost_crypto::signed::Signed;
use roost_protocol::handle::Handle;
use roost_protocol::records::HandleRecord;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ClientFrame;

impl Device {
    /// The account that a handle was found to mean.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn account_of(&self, handle: &Handle) -> Result<Option<AccountId>, DeviceError> {
        self.table.get(&rows::contact(handle))
    }

    /// Public half of somebody's R, once the account is known: what safety numbers are made of.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn root_of(&self, account: &AccountId) -> Result<Option<PublicKey>, DeviceError> {
        Ok(self.peer_log(account)?.map(|log| *log.root()))
    }

    pub(super) fn lookup(&mut self, handle: Handle) -> Result<(), DeviceError> {
        match self.account_of(&handle)? {
            Some(account) => self.staged.push(Output::LookedUp(handle, Ok(account))),
            None => {
                self.wanted.insert(handle);
            }
        }
        Ok(())
    }

    pub(super) fn ask_for(&mut self, handle: &Handle) {
        self.outbox.route(&Target::Handle(handle.clone())).busy = true;
        let handle = handle.clone();
        self.request(Pending::Resolve(handle.clone()), |id| ClientFrame::Resolve { id, handle });
    }

    /// Lets the home look an account up again, by the handle that its messages are addressed to.
    pub(super) fn ask_for_handle_of(&mut self, account: &AccountId) -> Result<(), DeviceError> {
        for target in self.targets_of(account)? {
            if let Target::Handle(handle) = target
                && !self.outbox.route(&Target::Handle(handle.clone())).busy
            {
                self.ask_for(&handle);
            }
        }
        Ok(())
    }

    pub(super) fn peer_log(&self, account: &AccountId) -> Result<Option<VerifiedLog>, DeviceError> {
        let row: Option<PeerRow> = self.table.get(&rows::peer(account))?;
        Ok(row.map(|row| VerifiedLog::verify(&row.log)).transpose()?)
    }

    /// The verified handle of an account, else its id.
    pub(super) fn name_of(&self, account: &AccountId) -> Result<String, DeviceError> {
        if *account == self.me.account {
            return Ok(self.me.row.handle.to_string());
        }
        let row: Option<PeerRow> = self.table.get(&rows::peer(account))?;
        Ok(row.and_then(|row| row.handle).map_or_else(|| account.to_string(), |handle| handle.to_string()))
    }

    /// Keeps the newer of the known and the given log; `None` if they contradict each other or the given one is invalid.
    pub(super) fn learn_log(&mut self, log: &IdentityLog) -> Result<Option<VerifiedLog>, DeviceError> {
        let Ok(log) = VerifiedLog::verify(log) else { return Ok(None) };
        let account = log.account();
        if account == self.me.account {
            return self.learn_own_log(&log);
        }
        let known: Option<PeerRow> = self.table.get(&rows::peer(&account))?;
        let (log, handle) = match known {
            None => (log, None),
            Some(known) => match VerifiedLog::verify(&known.log)?.supersede(&log) {
                Ok(newer) => {
                    if *newer.log() != known.log {
                        self.leaves.look();
                    }
                    (newer, known.handle)
                }
                Err(_) => return Ok(None),
            },
        };
        self.table.put(rows::peer(&account), &PeerRow { log: log.log().clone(), handle });
        self.log_learnt(&log)?;
        Ok(Some(log))
    }

    pub(super) fn resolved(
        &mut self,
        handle: &Handle,
        handle_record: &Signed,
        log: &IdentityLog,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.outbox.route(&Target::Handle(handle.clone())).freed();
        let Some(account) = self.check_handle(handle, handle_record, log, now_ms)? else {
            let refusal = Refusal::later(
                Code::BadLog,
                format!("the answer for {handle} does not verify"),
                "compare safety numbers with the person; the node may lie",
            );
            return self.resolve_refused(handle, refusal, random, now_ms);
        };
        if self.watch_key(handle, account, now_ms)? {
            // Messages of the other account are not shown under the handle that the person knows.
            self.inbox.named(&account);
            return Ok(());
        }
        let known: Option<PeerRow> = self.table.get(&rows::peer(&account))?;
        if let Some(mut row) = known {
            row.handle = Some(handle.clone());
            self.table.put(rows::peer(&account), &row);
        }
        self.table.put(rows::contact(handle), &account);
        self.inbox.named(&account);
        if self.wanted.remove(handle) {
            self.staged.push(Output::LookedUp(handle.clone(), Ok(account)));
        }
        Ok(())
    }

    pub(super) fn resolve_refused(
        &mut self,
        handle: &Handle,
        error: Refusal,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        self.inbox.unnamed(handle);
        if self.wanted.remove(handle) {
            self.staged.push(Output::LookedUp(handle.clone(), Err(error.clone())));
        }
        let target = Target::Handle(handle.clone());
        self.outbox.route(&target).freed();
        self.target_refused(&target, error, random, now_ms)
    }

    /// The account that the record and the log agree on.
    fn check_handle(
        &mut self,
        handle: &Handle,
        handle_record: &Signed,
        log: &IdentityLog,
        now_ms: u64,
    ) -> Result<Option<AccountId>, DeviceError> {
        let Ok(record) = HandleRecord::verify(handle_record, now_ms / 1000) else { return Ok(None) };
        let Ok(claimed) = VerifiedLog::verify(log) else { return Ok(None) };
        let org = OrgId::of(&record.root);
        let agreed = record.handle == *handle
            && record.account == claimed.account()
            && claimed.handle() == Some((handle.to_string().as_str(), org));
        if !agreed || !self.is_org(handle.org(), org)? {
            return Ok(None);
        }
        Ok(self.learn_log(log)?.map(|log| log.account()))
    }

    /// Whether a name means this organisation: ours by our own log, others as they were first seen.
    fn is_org(&mut self, name: &str, org: OrgId) -> Result<bool, DeviceError> {
        if name == self.me.row.handle.org() {
            return Ok(self.me.log.handle().is_some_and(|(_, ours)| ours == org));
        }
        match self.table.get::<OrgRow>(&rows::org(name))? {
            Some(first_seen) => Ok(first_seen == org),
            None => {
                self.table.put(rows::org(name), &org);
                Ok(true)
            }
        }
    }
}
