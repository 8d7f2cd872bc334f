//! From a handle to the account behind it and the node it lives at: name, organisation, handle record, log, addresses.
//!
//! One lookup a handle at a time, answers kept for ten minutes. Never guesses: two claims to one name are an error that asks
//! to pin one. Implements `docs/protocol.md`, section "Directory records".

use super::addresses::{of_org, peer_of};
use super::selection::Candidate;
use super::swarm_task::Command;
use super::{Found, Lookup, Network, NetworkError, clock, wait};
use roost_protocol::handle::Handle;
use roost_protocol::records::{HandleRecord, OrgRecord, RecordKey, VerifiedRecord};
use roost_protocol::socket::{LookupReport, LookupSource};
use roost_protocol::{AccountId, IdentityLog, NodeId, OrgId, Signed, VerifiedLog, codec, limits};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};

/// An answer is good for so long.
const POSITIVE_LIFE: Duration = Duration::from_secs(600);
/// That there is none is believed for so long.
const NEGATIVE_LIFE: Duration = Duration::from_secs(5);
/// Handles remembered.
const HANDLES_MAX: usize = 4_096;
/// Changes kept for an answer that is being looked up; where there are more, it is not remembered.
const TOUCHED_MAX: usize = 8;
/// Handles looked at for the record of one key.
const HANDLES_ASKED_MAX: usize = 16;
/// Nodes of which is remembered who lists them, as many as the address book holds.
const NODES_MAX: usize = 10_000;
/// A node that does not answer is looked up again no more often than this.
const AGAIN: Duration = Duration::from_secs(10);
/// Lookups under way at once.
const LOOKUPS_MAX: usize = 8;

/// Where a handle leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The organisation's word that binds the handle to the account.
    pub handle_record: Signed,
    /// The account's identity log, verified.
    pub log: IdentityLog,
    /// The account's first home.
    pub home: NodeId,
    /// The organisation that lists the home, where it was found.
    pub home_org: Option<OrgRecord>,
    /// What it cost.
    pub report: LookupReport,
}

/// What is remembered of lookups.
#[derive(Debug)]
pub(super) struct Lookups {
    pins: BTreeMap<String, OrgId>,
    slots: std::sync::Mutex<HashMap<Handle, Slot>>,
    /// Which handles rest on a record.
    index: std::sync::Mutex<Index>,
    /// Which organisation lists a node, and when it was last looked up because it did not answer.
    nodes: std::sync::Mutex<BTreeMap<NodeId, Listed>>,
    permits: Semaphore,
}

#[derive(Debug, Default)]
struct Index {
    by_key: BTreeMap<RecordKey, BTreeSet<Handle>>,
    /// What changed of a handle while it was looked up: the answer follows it.
    touched: BTreeMap<Handle, Vec<Candidate>>,
    added: usize,
}

#[derive(Debug, Default)]
struct Listed {
    org: Option<OrgId>,
    asked_at: Option<Instant>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Remembered>>>;

#[derive(Debug)]
struct Remembered {
    outcome: Result<Resolution, NetworkError>,
    at: Instant,
}

/// Costs of the queries of one lookup.
#[derive(Default)]
struct Cost {
    hops: u32,
    messages: u32,
    doubtful: bool,
}

impl Lookups {
    pub(super) fn new(pins: BTreeMap<String, OrgId>) -> Self {
        Self {
            pins,
            slots: std::sync::Mutex::default(),
            index: std::sync::Mutex::default(),
            nodes: std::sync::Mutex::default(),
            permits: Semaphore::new(LOOKUPS_MAX),
        }
    }

    /// Whether an answer for a handle is kept.
    #[cfg(test)]
    pub(super) async fn remembers(&self, handle: &Handle) -> bool {
        self.slot(handle).lock().await.is_some()
    }

    /// The slot of a handle; its lock is held by whoever looks it up.
    fn slot(&self, handle: &Handle) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= HANDLES_MAX && !slots.contains_key(handle) {
            slots.retain(|_, slot| {
                Arc::strong_count(slot) > 1
                    || slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(Remembered::is_fresh))
            });
            let idle = slots.iter().find(|(_, slot)| Arc::strong_count(slot) == 1).map(|(handle, _)| handle.clone());
            if let Some(idle) = idle.filter(|_| slots.len() >= HANDLES_MAX) {
                slots.remove(&idle);
            }
        }
        Arc::clone(slots.entry(handle.clone()).or_default())
    }

    /// What is remembered follows a record that is newer: it is replaced where that is all that changed, else forgotten.
    pub(super) fn refresh(&self, changed: &Candidate) {
        let mut handles = BTreeSet::new();
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut resting_on = |key: RecordKey| handles.extend(index.by_key.get(&key).into_iter().flatten().cloned());
        match &changed.record {
            VerifiedRecord::Account(log) => resting_on(RecordKey::Account(log.account())),
            VerifiedRecord::Org(record) => {
                self.list(record);
                resting_on(RecordKey::Org(OrgId::of(&record.root)));
                resting_on(RecordKey::of_name(&record.name));
            }
            VerifiedRecord::Name(claims) => {
                claims.iter().for_each(|(claim, _)| resting_on(RecordKey::of_name(&claim.name)));
            }
            VerifiedRecord::Handle(record) => drop(handles.insert(record.handle.clone())),
        }
        drop(index);
        for handle in handles {
            let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(&handle).map(Arc::clone);
            let Some(slot) = slot else { continue };
            match slot.try_lock() {
                Ok(mut slot) => {
                    if slot.as_mut().is_some_and(|remembered| !remembered.follow(&handle, changed)) {
                        *slot = None;
                    }
                }
                Err(_) => {
                    let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
                    let touched = index.touched.entry(handle).or_default();
                    if touched.len() < TOUCHED_MAX {
                        touched.push(changed.clone());
                    }
                }
            }
        }
    }

    /// The age of the record of a key that an answer in memory rests on; claims to a name have none.
    pub(super) fn age(&self, key: &RecordKey) -> Option<(u64, u64)> {
        let resolution = self.resting_on(key)?;
        match key {
            RecordKey::Account(_) => Some(roost_protocol::gossip::age_of_log(&resolution.log)),
            RecordKey::Handle(_) => roost_protocol::gossip::age(key, &codec::encode(&resolution.handle_record)),
            RecordKey::Org(_) => resolution.home_org.map(|org| (org.seq, org.expires)),
            RecordKey::Name(_) => None,
        }
    }

    /// Whether a verified record is newer than the one that an answer in memory rests on.
    pub(super) fn is_newer(&self, candidate: &Candidate) -> bool {
        let VerifiedRecord::Account(log) = &candidate.record else { return true };
        let known = self.resting_on(&RecordKey::Account(log.account()));
        known.is_some_and(|known| replaces(&known.log, log))
    }

    fn resting_on(&self, key: &RecordKey) -> Option<Resolution> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let handles: Vec<_> = index.by_key.get(key)?.iter().take(HANDLES_ASKED_MAX).cloned().collect();
        drop(index);
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        handles.iter().filter_map(|handle| slots.get(handle)).find_map(|slot| {
            slot.try_lock().ok().and_then(|slot| slot.as_ref().and_then(|known| known.outcome.clone().ok()))
        })
    }

    /// Remembers on which records the answer for a handle rests.
    fn rest(&self, handle: &Handle, resolution: Option<&Resolution>) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = vec![RecordKey::of_name(handle.org())];
        if let Some(resolution) = resolution {
            let record = resolution.handle_record.peek::<HandleRecord>(limits::DHT_VALUE_BYTES_MAX).ok();
            if let Some(record) = record {
                keys.push(RecordKey::Account(record.account));
                keys.push(RecordKey::Handle(record.handle.key(&OrgId::of(&record.root))));
                keys.push(RecordKey::Org(OrgId::of(&record.root)));
            }
            keys.extend(resolution.home_org.iter().map(|org| RecordKey::Org(OrgId::of(&org.root))));
        }
        index.added += 1;
        if index.added > HANDLES_MAX {
            index.added = 0;
            index.by_key.retain(|_, handles| {
                handles.retain(|handle| slots.contains_key(handle));
                !handles.is_empty()
            });
        }
        for key in keys {
            index.by_key.entry(key).or_default().insert(handle.clone());
        }
    }

    fn take_touched(&self, handle: &Handle) -> Vec<Candidate> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).touched.remove(handle).unwrap_or_default()
    }

    /// Remembers which organisation lists which node.
    fn list(&self, record: &OrgRecord) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for node in &record.nodes {
            if !nodes.contains_key(&node.node) && nodes.len() >= NODES_MAX {
                nodes.pop_first();
            }
            nodes.entry(node.node).or_default().org = Some(OrgId::of(&record.root));
        }
    }

    /// The organisation of a node that did not answer; `None` when it was looked up a moment ago.
    fn look_again(&self, node: NodeId) -> Option<Option<OrgId>> {
        let now = clock::instant();
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if !nodes.contains_key(&node) && nodes.len() >= NODES_MAX {
            nodes.pop_first();
        }
        let listed = nodes.entry(node).or_default();
        if listed.asked_at.is_some_and(|at| now.saturating_duration_since(at) < AGAIN) {
            return None;
        }
        listed.asked_at = Some(now);
        Some(listed.org)
    }
}

impl Remembered {
    fn is_fresh(&self) -> bool {
        let life = if self.outcome.is_ok() { POSITIVE_LIFE } else { NEGATIVE_LIFE };
        clock::instant().saturating_duration_since(self.at) < life
    }

    /// Takes over a newer record; `false` when the answer as a whole no longer holds.
    fn follow(&mut self, handle: &Handle, changed: &Candidate) -> bool {
        let Ok(resolution) = &mut self.outcome else { return false };
        match &changed.record {
            VerifiedRecord::Account(log) if !replaces(&resolution.log, log) => true,
            VerifiedRecord::Account(log) => {
                resolution.log = log.log().clone();
                log.homes().first() == Some(&resolution.home)
            }
            VerifiedRecord::Handle(record) => {
                let known = resolution.handle_record.peek::<HandleRecord>(limits::DHT_VALUE_BYTES_MAX);
                let signed = codec::decode_canonical::<Signed>(&changed.value, limits::DHT_VALUE_BYTES_MAX);
                match (known, signed) {
                    (Ok(known), Ok(signed)) if known.handle == *handle && known.root == record.root => {
                        if (record.seq, record.expires) > (known.seq, known.expires) {
                            resolution.handle_record = signed;
                        }
                        known.account == record.account
                    }
                    _ => true,
                }
            }
            VerifiedRecord::Org(record) => match &resolution.home_org {
                Some(known) if known.root != record.root => true,
                Some(known) if (record.seq, record.expires) <= (known.seq, known.expires) => true,
                _ if record.nodes.iter().any(|node| node.node == resolution.home) => {
                    resolution.home_org = Some(record.clone());
                    true
                }
                known => known.is_none(),
            },
            VerifiedRecord::Name(claims) => {
                let root = resolution.handle_record.peek::<HandleRecord>(limits::DHT_VALUE_BYTES_MAX);
                root.is_ok_and(|record| claims.iter().all(|(claim, _)| claim.root == record.root))
            }
        }
    }
}

impl Cost {
    /// Counts a query and gives what it found.
    fn add(&mut self, result: Result<Lookup, NetworkError>) -> Result<Found, NetworkError> {
        let lookup = result?;
        self.hops = self.hops.max(u32::from(lookup.messages > 0));
        self.messages = self.messages.saturating_add(lookup.messages);
        self.doubtful |= lookup.found.is_none() && lookup.doubtful;
        lookup.found.ok_or(NetworkError::NotFound)
    }
}

impl Network {
    /// Finds the account of a handle and its home, whose addresses go to the address book. A repeated question within ten
    /// minutes is answered from memory ([`LookupSource::Cache`]) and sends nothing.
    ///
    /// # Errors
    /// [`NetworkError::NameConflict`]; [`NetworkError::NotFound`], believed for 5 s if anybody was asked; and those of
    /// [`Network::get`].
    pub async fn resolve_handle(&self, handle: &Handle) -> Result<Resolution, NetworkError> {
        let slot = self.lookups.slot(handle);
        let mut remembered = slot.lock().await;
        if let Some(known) = remembered.as_ref().filter(|known| known.is_fresh()) {
            let report = LookupReport { source: LookupSource::Cache, hops: 0, messages: 0, ms: 0 };
            let outcome = known.outcome.clone().map(|resolution| Resolution { report, ..resolution });
            return self.metrics.looked_up(outcome, true);
        }
        let _permit = self.lookups.permits.acquire().await.map_err(|_| NetworkError::Closed)?;
        let mut cost = Cost::default();
        self.lookups.take_touched(handle);
        self.lookups.rest(handle, None);
        let outcome = self.look_up(handle, &mut cost).await;
        self.lookups.rest(handle, outcome.as_ref().ok());
        let worth_keeping = match &outcome {
            Ok(_) | Err(NetworkError::NameConflict { .. }) => true,
            // A node that is only starting has nobody to ask yet, and who answers with forgeries is no witness.
            Err(NetworkError::NotFound) => cost.messages > 0 && !cost.doubtful,
            Err(_) => false,
        };
        let mut known = Remembered { outcome: outcome.clone(), at: clock::instant() };
        let touched = self.lookups.take_touched(handle);
        let holds = touched.len() < TOUCHED_MAX && touched.iter().all(|changed| known.follow(handle, changed));
        *remembered = (worth_keeping && holds).then_some(known);
        self.metrics.looked_up(outcome, false)
    }

    /// Forgets what is remembered of a handle: after a failure the next question goes to the directory.
    pub fn forget_handle(&self, handle: &Handle) {
        self.lookups.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(handle);
    }

    /// Looks for a node that does not answer at its last known addresses: by the organisation that listed it, else by the
    /// routing tables of others. No more than once in ten seconds a node.
    pub async fn find_again(&self, node: NodeId) {
        let Some(org) = self.lookups.look_again(node) else { return };
        let mut cost = Cost::default();
        let found = match org {
            Some(org) => cost.add(self.find(RecordKey::Org(org)).await).ok(),
            None => None,
        };
        if let Some(Found { value, record, .. }) = &found {
            self.lookups.refresh(&Candidate { value: value.clone(), record: record.clone() });
        }
        self.reach(node, found.and_then(org_record), &mut cost).await;
    }

    /// Finds an account's log and its first home, whose addresses go to the address book where they are found.
    ///
    /// # Errors
    /// Those of [`Network::get`].
    pub async fn resolve_account(&self, account: AccountId) -> Result<(IdentityLog, NodeId), NetworkError> {
        let mut cost = Cost::default();
        let (log, home) = self.find_account(account, &mut cost).await?;
        let org = match log.handle() {
            Some((_, org)) => self.find_org(org, &mut cost).await,
            None => None,
        };
        self.reach(home, org, &mut cost).await;
        Ok((log.log().clone(), home))
    }

    async fn look_up(&self, handle: &Handle, cost: &mut Cost) -> Result<Resolution, NetworkError> {
        let started = clock::instant();
        let org = self.org_of(handle.org(), cost).await?;
        // Independent of each other, so asked at once.
        let (found, org_found) =
            tokio::join!(self.find(RecordKey::Handle(handle.key(&org))), self.find(RecordKey::Org(org)));
        let org_found = cost.add(org_found).ok();
        let found = cost.add(found)?;
        let record = match &found.record {
            VerifiedRecord::Handle(record) if record.handle == *handle => record,
            _ => return Err(NetworkError::NotFound),
        };
        let handle_record: Signed =
            codec::decode_canonical(&found.value, limits::DHT_VALUE_BYTES_MAX).map_err(|_| NetworkError::NotFound)?;
        let (log, home) = self.find_account(record.account, cost).await?;
        let home_org = self.reach(home, org_found.and_then(org_record), cost).await;
        let ms = clock::instant().saturating_duration_since(started).as_millis();
        let report = LookupReport {
            source: LookupSource::Dht,
            hops: cost.hops,
            messages: cost.messages,
            ms: u64::try_from(ms).unwrap_or(u64::MAX),
        };
        Ok(Resolution { handle_record, log: log.log().clone(), home, home_org, report })
    }

    /// By the operator's pin, else by the one claim to the name.
    async fn org_of(&self, name: &str, cost: &mut Cost) -> Result<OrgId, NetworkError> {
        if let Some(org) = self.lookups.pins.get(name) {
            return Ok(*org);
        }
        let found = cost.add(self.find(RecordKey::of_name(name)).await)?;
        let VerifiedRecord::Name(claims) = found.record else {
            return Err(NetworkError::NotFound);
        };
        let orgs: Vec<_> = claims.iter().map(|(claim, _)| OrgId::of(&claim.root)).collect();
        match orgs.as_slice() {
            [org] => Ok(*org),
            _ => Err(NetworkError::NameConflict { name: name.into(), orgs }),
        }
    }

    async fn find_account(&self, account: AccountId, cost: &mut Cost) -> Result<(VerifiedLog, NodeId), NetworkError> {
        let found = cost.add(self.find(RecordKey::Account(account)).await)?;
        match found.record {
            VerifiedRecord::Account(log) => match log.homes().first() {
                Some(home) => Ok((log.clone(), *home)),
                None => Err(NetworkError::NotFound),
            },
            _ => Err(NetworkError::NotFound),
        }
    }

    async fn find_org(&self, org: OrgId, cost: &mut Cost) -> Option<OrgRecord> {
        cost.add(self.find(RecordKey::Org(org)).await).ok().and_then(org_record)
    }

    /// Takes the addresses of the home: from the organisation if it lists the home, else from the routing tables of others.
    async fn reach(&self, home: NodeId, org: Option<OrgRecord>, cost: &mut Cost) -> Option<OrgRecord> {
        let listing = org.filter(|org| org.nodes.iter().any(|node| node.node == home));
        match &listing {
            Some(org) => {
                self.lookups.list(org);
                of_org(org).for_each(|(node, addresses)| self.add_addresses(node, addresses));
            }
            None => {
                let (reply, done) = oneshot::channel();
                let peer = peer_of(&home)?;
                self.command(Command::FindNode { peer, reply }).ok()?;
                cost.messages += wait(done, super::DIRECTORY_TIMEOUT).await.unwrap_or(0);
            }
        }
        listing
    }
}

/// Whether a log takes the place of one that is held.
fn replaces(held: &IdentityLog, log: &VerifiedLog) -> bool {
    VerifiedLog::verify(held).is_ok_and(|held| held.relation(log).replaces())
}

fn org_record(found: Found) -> Option<OrgRecord> {
    match found.record {
        VerifiedRecord::Org(record) => Some(record),
        _ => None,
    }
}
