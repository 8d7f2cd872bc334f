//! From a handle to the account behind it and the node it lives at: name, organisation, handle record, log, addresses.
//!
//! One lookup a handle at a time, answers kept for ten minutes. Never guesses: two claims to one name are an error that asks
//! to pin one. Implements `docs/protocol.md`, section "Directory records".

use super::addresses::{of_org, peer_of};
use super::swarm_task::Command;
use super::{Found, Lookup, Network, NetworkError, clock, wait};
use roost_protocol::handle::Handle;
use roost_protocol::records::{OrgRecord, RecordKey, VerifiedRecord};
use roost_protocol::socket::{LookupReport, LookupSource};
use roost_protocol::{AccountId, IdentityLog, NodeId, OrgId, Signed, VerifiedLog, codec, limits};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};

/// An answer is good for so long.
const POSITIVE_LIFE: Duration = Duration::from_secs(600);
/// That there is none is believed for so long.
const NEGATIVE_LIFE: Duration = Duration::from_secs(5);
/// Handles remembered.
const HANDLES_MAX: usize = 4_096;
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
    permits: Semaphore,
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
}

impl Lookups {
    pub(super) fn new(pins: BTreeMap<String, OrgId>) -> Self {
        Self { pins, slots: std::sync::Mutex::default(), permits: Semaphore::new(LOOKUPS_MAX) }
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
}

impl Remembered {
    fn is_fresh(&self) -> bool {
        let life = if self.outcome.is_ok() { POSITIVE_LIFE } else { NEGATIVE_LIFE };
        clock::instant().saturating_duration_since(self.at) < life
    }
}

impl Cost {
    /// Counts a query and gives what it found.
    fn add(&mut self, result: Result<Lookup, NetworkError>) -> Result<Found, NetworkError> {
        let lookup = result?;
        self.hops = self.hops.max(u32::from(lookup.messages > 0));
        self.messages = self.messages.saturating_add(lookup.messages);
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
            return known.outcome.clone().map(|resolution| Resolution { report, ..resolution });
        }
        let _permit = self.lookups.permits.acquire().await.map_err(|_| NetworkError::Closed)?;
        let mut cost = Cost::default();
        let outcome = self.look_up(handle, &mut cost).await;
        let worth_keeping = match &outcome {
            Ok(_) | Err(NetworkError::NameConflict { .. }) => true,
            // A node that is only starting has nobody to ask yet.
            Err(NetworkError::NotFound) => cost.messages > 0,
            Err(_) => false,
        };
        *remembered = worth_keeping.then(|| Remembered { outcome: outcome.clone(), at: clock::instant() });
        outcome
    }

    /// Forgets what is remembered of a handle: after a failure the next question goes to the directory.
    pub fn forget_handle(&self, handle: &Handle) {
        self.lookups.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(handle);
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
            Some(org) => of_org(org).for_each(|(node, addresses)| self.add_addresses(node, addresses)),
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

fn org_record(found: Found) -> Option<OrgRecord> {
    match found.record {
        VerifiedRecord::Org(record) => Some(record),
        _ => None,
    }
}
