//! The directory: publishing, finding the best record, repairing stale holders, judging what peers put.
//!
//! Kademlia itself validates and selects nothing: every record passes through `selection.rs` here and in the store. Puts of
//! peers are judged elsewhere, see `judge.rs`.

use super::judge::{Judged, Put as PutOfPeer};
use super::record_store::{FRESH_S, Origin, check_shape, fresh_until_s};
use super::selection::{Candidate, Choice, choose};
use super::swarm_task::SwarmTask;
use super::{Found, Lookup, NetworkError, clock};
use libp2p::PeerId;
use libp2p::kad::{
    GetClosestPeersError, GetClosestPeersOk, GetRecordOk, InboundRequest, PutRecordError, QueryId, QueryResult,
    QueryStats, Quorum, Record,
};
use roost_protocol::records::RecordKey;
use std::collections::{BTreeSet, HashMap};
use tokio::sync::oneshot;

/// Valid answers after which a lookup ends; where fewer servers are, it waits for all of them.
pub(super) const ANSWERS_ENOUGH: usize = 4;
/// Answers kept of one lookup that verify, and as many that do not: more than the k closest nodes give.
const ANSWERS_MAX: usize = 32;
/// Stale holders that one lookup repairs.
const REPAIRS_MAX: usize = 5;
/// Ticks after which a lookup that has a record no longer waits for silent servers: 2 s.
const PATIENCE_TICKS: u64 = 4;
/// Queries of our own that run at once.
const QUERIES_MAX: usize = 256;
/// Records that were published while nobody took them, and wait for other nodes.
const UNSENT_MAX: usize = 65_536;
/// How many of them are put out a tick, at most: fewer where the puts of a peer come back more slowly.
const UNSENT_PER_TICK_MAX: u32 = 64;
/// Records handed on a tick: four a second, so a full store takes little more than an hour.
const HANDED_ON_PER_TICK: usize = 2;
/// Ticks from a new node to putting them out: 1 s, in which it is identified.
const UNSENT_TICKS: u64 = 2;
/// Ticks between two sweeps of the store: one minute.
const SWEEP_TICKS: u64 = 120;

/// Queries under way.
#[derive(Default)]
pub(super) struct Queries {
    gets: HashMap<QueryId, Get>,
    puts: HashMap<QueryId, Put>,
    finds: HashMap<QueryId, (PeerId, oneshot::Sender<u32>)>,
    unsent: BTreeSet<Vec<u8>>,
    unsent_at: Option<u64>,
    #[cfg(test)]
    started: u64,
}

#[cfg(test)]
impl Queries {
    /// Lookups since the start.
    pub(super) fn started(&self) -> u64 {
        self.started
    }
}

struct Get {
    key: RecordKey,
    local: Option<Candidate>,
    since: u64,
    /// What each server answered; `None` where it does not verify.
    answers: Vec<(PeerId, Option<Candidate>)>,
    reply: oneshot::Sender<Result<Lookup, NetworkError>>,
}

struct Put {
    key: Vec<u8>,
    reply: Option<oneshot::Sender<Result<(), NetworkError>>>,
}

impl SwarmTask {
    /// Stores a record here, then at the closest nodes.
    pub(super) fn publish(&mut self, key: &RecordKey, value: &[u8], reply: oneshot::Sender<Result<(), NetworkError>>) {
        let now_s = clock::now_s();
        let key = key.to_bytes();
        let store = self.swarm.behaviour_mut().kademlia.store_mut();
        let outcome = if self.queries.puts.len() >= QUERIES_MAX {
            Err(NetworkError::Busy)
        } else {
            store.admit(&key, value, now_s.saturating_add(FRESH_S), Origin::Own, now_s).map_err(NetworkError::from)
        };
        match outcome {
            Ok(()) => self.put_out(key, Some(reply)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Starts a lookup.
    pub(super) fn get(&mut self, key: RecordKey, reply: oneshot::Sender<Result<Lookup, NetworkError>>) {
        if self.queries.gets.len() >= QUERIES_MAX {
            drop(reply.send(Err(NetworkError::Busy)));
            return;
        }
        #[cfg(test)]
        {
            self.queries.started += 1;
        }
        let id = self.swarm.behaviour_mut().kademlia.get_record(key.to_bytes().into());
        self.queries.gets.insert(id, Get { key, local: None, since: self.tick, answers: Vec::new(), reply });
    }

    /// Asks the closest nodes where a node is; its addresses go to the book.
    pub(super) fn find_node(&mut self, peer: PeerId, reply: oneshot::Sender<u32>) {
        if self.queries.finds.len() < QUERIES_MAX {
            let id = self.swarm.behaviour_mut().kademlia.get_closest_peers(peer);
            self.queries.finds.insert(id, (peer, reply));
        }
    }

    /// Takes a record that a peer puts: what costs nothing to check is checked here, signatures by the judge. It is
    /// acknowledged whatever comes of it: libp2p gives no other choice.
    pub(super) fn put_by_peer(&mut self, request: InboundRequest) {
        let InboundRequest::PutRecord { source, record: Some(record), .. } = request else { return };
        let now_s = clock::now_s();
        let fresh_until_s = fresh_until_s(&record, now_s);
        let store = self.swarm.behaviour_mut().kademlia.store_mut();
        let key = match check_shape(record.key.as_ref(), &record.value) {
            Ok(key) => key,
            Err(error) => return tracing::debug!(%error, "a put was dropped"),
        };
        // A record put again takes nothing from its sender's allowance, so each round of republishing gets further.
        if store.refresh(record.key.as_ref(), &record.value, fresh_until_s, now_s) {
            return;
        }
        if !store.has_room(record.key.as_ref(), source) {
            return tracing::debug!("a put was dropped: there is no room for it");
        }
        let held = store.value(record.key.as_ref()).map(<[u8]>::to_vec);
        if !self.allowances.puts.take(&source) {
            return tracing::debug!("a put was dropped: its sender is over its rate");
        }
        if !self.judge.push(PutOfPeer { source, key, value: record.value, fresh_until_s, held }) {
            tracing::debug!("a put was dropped: too many wait");
        }
        self.judge.start(now_s);
    }

    /// Stores what was judged. What is held may have changed meanwhile: then it is judged again.
    pub(super) fn judged(&mut self, batch: Result<Vec<Judged>, tokio::task::JoinError>) {
        let now_s = clock::now_s();
        let batch = batch.unwrap_or_else(|error| {
            tracing::error!(%error, "a batch of puts was not judged");
            Vec::new()
        });
        for Judged { put, chosen } in batch {
            let key = put.key.to_bytes();
            let store = self.swarm.behaviour_mut().kademlia.store_mut();
            let held = store.value(&key);
            let stored = match chosen {
                Ok(_) if held != put.held.as_deref() => {
                    let held = held.map(<[u8]>::to_vec);
                    if !self.judge.push(PutOfPeer { held, ..put }) {
                        tracing::debug!("a put was dropped: too many wait");
                    }
                    continue;
                }
                Ok(chosen) => store.take(&key, chosen, put.fresh_until_s, Origin::Foreign(put.source), now_s),
                Err(error) => Err(error),
            };
            match stored {
                Ok(()) => self.learned_from_store(&key, put.held.as_deref()),
                Err(error) => tracing::debug!(%error, "a put was not stored"),
            }
        }
        self.judge.start(now_s);
    }

    pub(super) fn progressed(&mut self, id: QueryId, result: QueryResult, stats: &QueryStats, last: bool) {
        match result {
            QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) => {
                self.answered(id, found.peer, &found.record.value)
            }
            QueryResult::GetRecord(Ok(GetRecordOk::FinishedWithNoAdditionalRecord { cache_candidates })) => {
                self.got(id, cache_candidates.into_values().collect(), stats.num_requests());
            }
            QueryResult::GetRecord(Err(_)) => self.got(id, Vec::new(), stats.num_requests()),
            QueryResult::PutRecord(result) => {
                if let Some(put) = self.queries.puts.remove(&id) {
                    let taken_by_none = matches!(
                        &result,
                        Err(PutRecordError::QuorumFailed { success, .. } | PutRecordError::Timeout { success, .. })
                            if success.is_empty()
                    );
                    if taken_by_none && self.queries.unsent.len() < UNSENT_MAX {
                        self.queries.unsent.insert(put.key);
                    }
                    // It is stored here, which is all that a node alone can do.
                    drop(put.reply.map(|reply| reply.send(Ok(()))));
                }
            }
            QueryResult::GetClosestPeers(result) if last => {
                if let Some((peer, reply)) = self.queries.finds.remove(&id) {
                    let peers = match result {
                        Ok(GetClosestPeersOk { peers, .. }) | Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                    };
                    for info in peers.into_iter().filter(|info| info.peer_id == peer) {
                        self.book.add(peer, info.addrs);
                    }
                    let _ = reply.send(stats.num_requests());
                }
            }
            _ => {}
        }
    }

    /// Records that nobody took are put out again soon: a node came.
    pub(super) fn flush_unsent_soon(&mut self) {
        if !self.queries.unsent.is_empty() {
            self.queries.unsent_at.get_or_insert(self.tick + UNSENT_TICKS);
        }
    }

    pub(super) fn tend_directory(&mut self) {
        if self.tick.is_multiple_of(SWEEP_TICKS) {
            self.swarm.behaviour_mut().kademlia.store_mut().sweep(clock::now_s());
        }
        self.hand_on();
        let answered = |get: &Get| get.local.is_some() || get.answers.iter().any(|(_, answer)| answer.is_some());
        for (id, _) in
            self.queries.gets.iter().filter(|(_, get)| self.tick >= get.since + PATIENCE_TICKS && answered(get))
        {
            if let Some(mut query) = self.swarm.behaviour_mut().kademlia.query_mut(id) {
                query.finish();
            }
        }
        if self.queries.unsent_at.is_some_and(|at| at <= self.tick) {
            // Two fifths of what comes back a second, so that a peer takes it all and still has room for others' news.
            for _ in 0..(self.rates.puts.per_s * 2 / 5).clamp(1, UNSENT_PER_TICK_MAX) {
                match self.queries.unsent.pop_first() {
                    Some(key) => self.put_out(key, None),
                    None => break,
                }
            }
            self.queries.unsent_at = (!self.queries.unsent.is_empty()).then_some(self.tick + 1);
        }
    }

    /// Every record goes to the closest nodes again when nobody put it for a while: nodes come and go, homes end.
    fn hand_on(&mut self) {
        let queries_left = QUERIES_MAX.saturating_sub(self.queries.puts.len());
        if self.links.connected() == 0 || queries_left < QUERIES_MAX / 2 {
            return;
        }
        let after_s = self.rates.replicate_after_s;
        let store = self.swarm.behaviour_mut().kademlia.store_mut();
        for key in store.take_due(after_s, HANDED_ON_PER_TICK, clock::now_s()) {
            self.put_out(key, None);
        }
    }

    /// Puts what the store holds under a key to the closest nodes.
    fn put_out(&mut self, key: Vec<u8>, reply: Option<oneshot::Sender<Result<(), NetworkError>>>) {
        let kademlia = &mut self.swarm.behaviour_mut().kademlia;
        let value = kademlia.store_mut().value(&key).map(<[u8]>::to_vec);
        let put = value.map(|value| kademlia.put_record(Record::new(key.clone(), value), Quorum::One));
        match put {
            Some(Ok(id)) => drop(self.queries.puts.insert(id, Put { key, reply })),
            // It was stored a moment ago, and its time has run out since.
            Some(Err(_)) | None => drop(reply.map(|reply| reply.send(Ok(())))),
        }
    }

    fn answered(&mut self, id: QueryId, server: Option<PeerId>, value: &[u8]) {
        let Some(get) = self.queries.gets.get_mut(&id) else { return };
        // Most answers are alike: the same bytes are verified once.
        let mut known = get.answers.iter().filter_map(|(_, candidate)| candidate.as_ref()).chain(&get.local);
        let candidate = match known.find(|known| known.value == value) {
            Some(known) => Some(known.clone()),
            None => Candidate::verify(&get.key, value, clock::now_s()).ok(),
        };
        let store = self.swarm.behaviour_mut().kademlia.store_mut();
        let candidate = candidate.filter(|candidate| store.is_news(&get.key.to_bytes(), candidate).is_ok());
        let count = |valid: bool| get.answers.iter().filter(|(_, answer)| answer.is_some() == valid).count();
        match server {
            None => get.local = candidate,
            // Those that verify are counted apart: no crowd of forgers crowds them out.
            Some(server) if count(candidate.is_some()) < ANSWERS_MAX => get.answers.push((server, candidate)),
            Some(_) => {}
        }
        let valid = get.answers.iter().filter(|(_, candidate)| candidate.is_some()).count();
        if valid >= ANSWERS_ENOUGH
            && let Some(mut query) = self.swarm.behaviour_mut().kademlia.query_mut(&id)
        {
            query.finish();
        }
    }

    /// A lookup has ended: select, repair, reply. `lacking` are close servers without the record.
    fn got(&mut self, id: QueryId, lacking: Vec<PeerId>, messages: u32) {
        let Some(get) = self.queries.gets.remove(&id) else { return };
        let answers = get.answers.iter().filter_map(|(_, candidate)| candidate.clone());
        let Some(best) = get.local.clone().into_iter().chain(answers).reduce(better) else {
            let doubtful = !get.answers.is_empty();
            drop(get.reply.send(Ok(Lookup { found: None, messages, doubtful })));
            return;
        };
        let is_stale = |held: &Candidate| matches!(choose(held, &best), Choice::Offered | Choice::Merged(_));
        let stale =
            get.answers.iter().filter(|(_, held)| held.as_ref().is_none_or(is_stale)).map(|(server, _)| *server);
        let repairs: Vec<_> = stale.chain(lacking).take(REPAIRS_MAX).collect();
        let key = get.key.to_bytes();
        let kademlia = &mut self.swarm.behaviour_mut().kademlia;
        if !repairs.is_empty() {
            kademlia.put_record_to(Record::new(key.clone(), best.value.clone()), repairs.into_iter(), Quorum::One);
        }
        // The last known good record: it answers when nobody else does, and nothing older is believed again.
        let now_s = clock::now_s();
        let fresh_until_s = now_s.saturating_add(FRESH_S);
        if let Err(error) = kademlia.store_mut().take(&key, best.clone(), fresh_until_s, Origin::Wanted, now_s) {
            tracing::debug!(%error, "a found record was not kept");
        }
        let hops = u32::from(messages > 0);
        let found = Found { value: best.value, record: best.record, from_cache: messages == 0, hops, messages };
        drop(get.reply.send(Ok(Lookup { found: Some(found), messages, doubtful: false })));
    }
}

/// Of two branches of one identity log the first found stays: only the account's root key can end the conflict.
fn better(held: Candidate, offered: Candidate) -> Candidate {
    match choose(&held, &offered) {
        Choice::Offered => offered,
        Choice::Merged(merged) => *merged,
        Choice::Equal | Choice::Held | Choice::Branched => held,
    }
}
