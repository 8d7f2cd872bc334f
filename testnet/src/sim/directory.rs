//! The directory: every node holds records, verified and selected by the real rules, and is asked for them.
//!
//! Kademlia's routing is left out: with eight nodes everybody is close to every key. Names are pinned.

use super::links::{Body, Parcel};
use super::schedule::{Event, Millis};
use super::world::World;
use roost_crypto::identity_log::{IdentityLog, VerifiedLog};
use roost_crypto::ids::{AccountId, OrgId};
use roost_crypto::planted;
use roost_crypto::signed::Signed;
use roost_node::network::{Candidate, Choice, choose};
use roost_node::relay::{Input, RequestToken};
use roost_protocol::codec;
use roost_protocol::handle::Handle;
use roost_protocol::limits;
use roost_protocol::records::{HandleRecord, RecordKey, VerifiedRecord};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::{LookupReport, LookupSource};
use std::collections::BTreeMap;

/// A lookup waits so long for those who do not answer.
const PATIENCE_MS: Millis = 3_000;

/// A question under way.
pub(super) struct Lookup {
    node: usize,
    process: u64,
    token: RequestToken,
    handle: Handle,
    record: Option<Candidate>,
    logs: BTreeMap<AccountId, Candidate>,
    waiting: usize,
}

impl World {
    /// Offers a record to a holder.
    pub(super) fn admit(&mut self, node: usize, key: &RecordKey, value: &[u8]) {
        let now_s = self.node_clock(node) / 1000;
        let Ok(offered) = Candidate::verify(key, value, now_s) else {
            self.counters.reach("records_refused");
            return;
        };
        let sabotage = self.options.sabotage();
        let Some(holder) = self.nodes.get_mut(node) else { return };
        let held = holder.records.get(key).and_then(|held| Candidate::verify(key, held, now_s).ok());
        let chosen = match held.as_ref().map(|held| choose(held, &offered)) {
            None | Some(Choice::Offered) => offered,
            Some(Choice::Merged(merged)) => *merged,
            Some(Choice::Held | Choice::Branched) if planted!(sabotage, OlderRecord) => offered,
            Some(Choice::Held) => {
                self.counters.reach("older_records_refused");
                return;
            }
            Some(Choice::Equal | Choice::Branched) => return,
        };
        if held.as_ref().is_some_and(|held| matches!(choose(held, &chosen), Choice::Held)) {
            self.violated("I6", format!("node {node} let an older record replace a newer one"));
        }
        if let Some(holder) = self.nodes.get_mut(node) {
            holder.records.insert(key.clone(), chosen.value);
        }
    }

    /// A node puts an account's records into the directory, and tells the others what is new.
    pub(super) fn publish(&mut self, node: usize, log: &IdentityLog, handle_record: &Signed, changed: bool) {
        for to in (0..self.nodes.len()).filter(|to| changed && *to != node) {
            let body = Body::Hint { log: log.clone() };
            self.transmit(Parcel { from: node, to, connection: None, stale: false, body });
        }
        let Ok(account) = VerifiedLog::verify(log).map(|log| log.account()) else { return };
        let Ok(record) = handle_record.peek::<HandleRecord>(limits::DHT_VALUE_BYTES_MAX) else { return };
        let handle = RecordKey::Handle(record.handle.key(&OrgId::of(&record.root)));
        for (key, value) in [(RecordKey::Account(account), codec::encode(log)), (handle, codec::encode(handle_record))]
        {
            self.admit(node, &key, &value);
            for to in (0..self.nodes.len()).filter(|to| *to != node) {
                let body = Body::Put { key: key.clone(), value: value.clone() };
                self.transmit(Parcel { from: node, to, connection: None, stale: false, body });
            }
        }
    }

    /// The rules of a node look a handle up.
    pub(super) fn look_up(&mut self, node: usize, token: RequestToken, handle: &Handle) {
        self.numbers += 1;
        let (lookup, process, others) = (self.numbers, self.process_of(node), self.nodes.len().saturating_sub(1));
        let (record, log) = self.records_of(node, handle);
        let open = Lookup {
            node,
            process,
            token,
            handle: handle.clone(),
            record: None,
            logs: BTreeMap::new(),
            waiting: others + 1,
        };
        self.lookups.insert(lookup, open);
        self.schedule.at(self.now + PATIENCE_MS, Event::LookupEnds { lookup });
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            let body = Body::Get { lookup, handle: handle.clone() };
            self.transmit(Parcel { from: node, to, connection: None, stale: false, body });
        }
        self.found_at(lookup, node, record, log);
    }

    /// A node is asked for what it holds.
    pub(super) fn looked_up_at(&mut self, node: usize, by: usize, lookup: u64, handle: &Handle) {
        let (handle_record, log) = self.records_of(node, handle);
        let log = self.lie_of_record(node, log);
        let body = Body::Got { lookup, handle_record, log };
        self.transmit(Parcel { from: node, to: by, connection: None, stale: false, body });
    }

    /// One holder's answer.
    pub(super) fn found_at(&mut self, lookup: u64, _holder: usize, record: Option<Vec<u8>>, log: Option<Vec<u8>>) {
        let Some(open) = self.lookups.get(&lookup) else { return };
        let now_s = self.node_clock(open.node) / 1000;
        let key = self.org_of(open.handle.org()).map(|org| RecordKey::Handle(open.handle.key(&org)));
        let Some(open) = self.lookups.get_mut(&lookup) else { return };
        if let (Some(key), Some(value)) = (key, record)
            && let Ok(offered) = Candidate::verify(&key, &value, now_s)
        {
            open.record = Some(better(open.record.take(), offered));
        }
        let account = log
            .as_deref()
            .and_then(|value| codec::decode::<IdentityLog>(value, limits::DHT_VALUE_BYTES_MAX).ok())
            .and_then(|log| VerifiedLog::verify(&log).ok())
            .map(|log| log.account());
        if let (Some(account), Some(value)) = (account, log)
            && let Ok(offered) = Candidate::verify(&RecordKey::Account(account), &value, now_s)
        {
            let known = open.logs.remove(&account);
            open.logs.insert(account, better(known, offered));
        }
        open.waiting = open.waiting.saturating_sub(1);
        if open.waiting == 0 {
            self.lookup_ends(lookup);
        }
    }

    /// A lookup has all answers, or has waited long enough.
    pub(super) fn lookup_ends(&mut self, lookup: u64) {
        let Some(open) = self.lookups.remove(&lookup) else { return };
        if self.process_of(open.node) != open.process {
            return;
        }
        let found = open.record.as_ref().and_then(|candidate| match &candidate.record {
            VerifiedRecord::Handle(record) if record.handle == open.handle => {
                let signed: Signed = codec::decode(&candidate.value, limits::DHT_VALUE_BYTES_MAX).ok()?;
                let log = open.logs.get(&record.account)?;
                let log: IdentityLog = codec::decode(&log.value, limits::DHT_VALUE_BYTES_MAX).ok()?;
                Some((signed, log))
            }
            _ => None,
        });
        let report = LookupReport { source: LookupSource::Dht, hops: 1, messages: 1, ms: 0 };
        let result = match found {
            Some((record, log)) => {
                self.counters.reach("lookups_found");
                Ok((record, log, report))
            }
            None => {
                self.counters.reach("lookups_not_found");
                Err(Refusal::later(Code::NotFound, "nobody of this name was found", "wait until the other node is up"))
            }
        };
        self.feed(open.node, Input::Resolved { token: open.token, result });
    }

    pub(super) fn records_of(&self, node: usize, handle: &Handle) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let Some(holder) = self.nodes.get(node) else { return (None, None) };
        let record =
            self.org_of(handle.org()).and_then(|org| holder.records.get(&RecordKey::Handle(handle.key(&org))).cloned());
        let account = record
            .as_deref()
            .and_then(|value| codec::decode::<Signed>(value, limits::DHT_VALUE_BYTES_MAX).ok())
            .and_then(|signed| signed.peek::<HandleRecord>(limits::DHT_VALUE_BYTES_MAX).ok())
            .map(|record| record.account);
        let log = account.and_then(|account| holder.records.get(&RecordKey::Account(account)).cloned());
        (record, log)
    }

    fn org_of(&self, name: &str) -> Option<OrgId> {
        self.nodes.iter().find(|node| node.name == name).map(|node| OrgId::of(&node.org.public_key()))
    }
}

/// The newer of two, as the real lookup does.
fn better(held: Option<Candidate>, offered: Candidate) -> Candidate {
    let Some(held) = held else { return offered };
    match choose(&held, &offered) {
        Choice::Offered => offered,
        Choice::Merged(merged) => *merged,
        Choice::Equal | Choice::Held | Choice::Branched => held,
    }
}
