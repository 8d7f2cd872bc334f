//! Changes of the directory: what is told to others by gossip, and what becomes of what is heard.
//!
//! Never believes the sender: records are judged as in the directory. Never lets a flood cost more than its share: a bucket
//! a source for what is no news, a bucket a key for what is. Implements `docs/protocol.md`, section "Gossip".

use super::addresses::{of_org, peer_of};
use super::clock;
use super::gossip::{BANNED_SCORE, CERTIFIED_SCORE};
use super::lookup::Lookups;
use super::record_store::{FRESH_S, Origin, StoreError};
use super::selection::Candidate;
use super::swarm_task::SwarmTask;
use libp2p::gossipsub::{Event, IdentTopic, Message, MessageAcceptance, MessageId, PublishError};
use libp2p::{PeerId, identify};
use roost_crypto::identity_log::{HomesError, LogError};
use roost_protocol::IdentityLog;
use roost_protocol::gossip::{ClaimedRecord, DirectoryChange, age, claims_newer};
use roost_protocol::records::{RecordError, RecordKey, VerifiedRecord};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Own changes that wait to be told; the oldest goes when there are more. Each is a hint that a lookup makes up for.
const OUTGOING_MAX: usize = 4_096;
/// Messages told at once, and a tick: what a listener takes from one source.
const OUTGOING_BURST: u32 = 40;
const OUTGOING_PER_TICK: u32 = 5;
/// Messages of one source that are looked at though they are no news, at once and a tick: 50, then 10 a second.
const SOURCE_BURST: u32 = 50;
const SOURCE_PER_TICK: u32 = 5;
/// Messages over that rate, after which a source is no longer heard; one is forgiven a tick.
const EXCESS_MAX: u32 = 200;
/// Ticks for which it is not heard: 10 minutes.
const BAN_TICKS: u64 = 1_200;
/// Sources that are counted; whoever comes beyond is over the rate at once.
const SOURCES_MAX: usize = 8_192;
/// Changes of one key that are passed on at once; one comes back every two ticks. Only the key's owner can use them up.
const KEY_BURST: u32 = 10;
const KEY_TICKS: u64 = 2;
/// Keys that changed lately; the oldest goes.
const RECENT_MAX: usize = 4_096;
/// Ticks for which a record counts as changed just now: one minute. Meanwhile what others tell of it is passed on.
const RECENT_TICKS: u64 = 120;
/// Ticks after which a connected peer that speaks gossip and takes no part in our topics is connected anew: 30 s.
const DEAF_TICKS: u64 = 60;
/// Ticks between two looks for such peers, and before one is connected anew again: 10 minutes.
const DEAF_LOOK_TICKS: u64 = 20;
const RENEWAL_TICKS: u64 = 1_200;
/// Identity logs that wait for the relay.
pub(super) const LEARNED_MAX: usize = 256;

/// What is remembered of changes.
pub(super) struct Changes {
    pub(super) lookups: Arc<Lookups>,
    learned: mpsc::Sender<IdentityLog>,
    outgoing: VecDeque<(RecordKey, DirectoryChange)>,
    outgoing_spent: u32,
    sources: BTreeMap<PeerId, Source>,
    recent: BTreeMap<RecordKey, Recent>,
    /// Peers that have said by identify that they speak gossip, and whether they still say so.
    speakers: BTreeMap<PeerId, bool>,
    renewed: BTreeMap<PeerId, u64>,
    redial: Vec<PeerId>,
}

#[derive(Default)]
struct Source {
    spent: u32,
    excess: u32,
    banned_until: u64,
}

struct Recent {
    /// `None`: it only claimed to be news.
    changed_at: Option<u64>,
    spent: u32,
    counted_at: u64,
}

impl Recent {
    fn seen_at(&self) -> u64 {
        self.changed_at.unwrap_or(0).max(self.counted_at)
    }
}

/// What a record of a message is to us, before a signature is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Newer,
    Same,
    Older,
    Unknown,
}

/// What comes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is passed on.
    News,
    /// It is not passed on, and nobody is to blame.
    NoNews,
    /// Whoever passed it on must have known that it is bad.
    Bad,
}

impl Changes {
    pub(super) fn new(lookups: Arc<Lookups>, learned: mpsc::Sender<IdentityLog>) -> Self {
        Self {
            lookups,
            learned,
            outgoing: VecDeque::new(),
            outgoing_spent: 0,
            sources: BTreeMap::new(),
            recent: BTreeMap::new(),
            speakers: BTreeMap::new(),
            renewed: BTreeMap::new(),
            redial: Vec::new(),
        }
    }

    /// Queues a change of ours; one that waits for the same key is replaced.
    fn queue(&mut self, change: DirectoryChange) {
        let Some(key) = change.records().ok().and_then(|records| records.into_iter().next()).map(|record| record.key)
        else {
            return;
        };
        self.outgoing.retain(|(waiting, _)| *waiting != key);
        if self.outgoing.len() >= OUTGOING_MAX {
            self.outgoing.pop_front();
        }
        self.outgoing.push_back((key, change));
    }

    /// Takes one message from a source's allowance; `None` when the source has just used up all patience.
    fn take(&mut self, source: &PeerId, now: u64) -> Option<bool> {
        if !self.sources.contains_key(source) && self.sources.len() >= SOURCES_MAX {
            return Some(false);
        }
        let known = self.sources.entry(*source).or_default();
        if known.spent < SOURCE_BURST {
            known.spent += 1;
            return Some(true);
        }
        known.excess += 1;
        if known.excess > EXCESS_MAX && known.banned_until <= now {
            known.banned_until = now + BAN_TICKS;
            return None;
        }
        Some(false)
    }

    /// Takes one change from a key's allowance.
    fn may_change(&mut self, key: &RecordKey, now: u64) -> bool {
        let Some(recent) = self.recent.get_mut(key) else { return true };
        let back = now.saturating_sub(recent.counted_at) / KEY_TICKS;
        recent.spent = recent.spent.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX));
        recent.counted_at += back * KEY_TICKS;
        recent.spent < KEY_BURST
    }

    /// A claim to be news costs its key, whatever comes of it: it is verified here.
    fn claimed(&mut self, key: &RecordKey, now: u64) {
        self.recent_of(key, now).spent += 1;
    }

    fn changed(&mut self, key: &RecordKey, now: u64) {
        self.recent_of(key, now).changed_at = Some(now);
    }

    fn recent_of(&mut self, key: &RecordKey, now: u64) -> &mut Recent {
        if !self.recent.contains_key(key) && self.recent.len() >= RECENT_MAX {
            let oldest = self.recent.iter().min_by_key(|(_, recent)| recent.seen_at()).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.recent.remove(&oldest));
        }
        self.recent.entry(key.clone()).or_insert(Recent { changed_at: None, spent: 0, counted_at: now })
    }

    fn is_recent(&self, key: &RecordKey, now: u64) -> bool {
        self.recent.get(key).and_then(|recent| recent.changed_at).is_some_and(|at| at + RECENT_TICKS >= now)
    }

    /// Time passes: allowances come back. Gives the sources whose ban ends.
    fn tick(&mut self, now: u64) -> Vec<PeerId> {
        let mut free = Vec::new();
        self.outgoing_spent = self.outgoing_spent.saturating_sub(OUTGOING_PER_TICK);
        self.sources.retain(|peer, source| {
            source.spent = source.spent.saturating_sub(SOURCE_PER_TICK);
            source.excess = source.excess.saturating_sub(1);
            if source.banned_until == now {
                free.push(*peer);
            }
            source.spent > 0 || source.excess > 0 || source.banned_until >= now
        });
        self.recent.retain(|_, recent| recent.seen_at() + RECENT_TICKS >= now);
        self.renewed.retain(|_, at| *at + RENEWAL_TICKS >= now);
        free
    }
}

impl SwarmTask {
    /// Tells others of a change of ours, at the pace that they listen at.
    pub(super) fn announce_change(&mut self, change: DirectoryChange) {
        self.changes.queue(change);
        self.tell_changes();
    }

    pub(super) fn gossip_event(&mut self, event: Event) {
        match event {
            Event::Message { propagation_source, message_id, message } => {
                self.heard_change(&propagation_source, &message_id, &message);
            }
            Event::Subscribed { .. } => self.tell_changes(),
            Event::GossipsubNotSupported { peer_id } => {
                if let Some(speaks) = self.changes.speakers.get_mut(&peer_id) {
                    *speaks = false;
                }
            }
            Event::Unsubscribed { .. } | Event::SlowPeer { .. } => {}
        }
    }

    /// A record of the directory is newer than what was known, wherever it came from: what rests on the old one follows.
    pub(super) fn learned(&mut self, key: &RecordKey, candidate: &Candidate) {
        self.changes.changed(key, self.tick);
        self.changes.lookups.refresh(candidate);
        match &candidate.record {
            VerifiedRecord::Org(record) => {
                for (node, addresses) in of_org(record) {
                    if let Some(peer) = peer_of(&node) {
                        self.book.add(peer, addresses);
                    }
                }
            }
            VerifiedRecord::Account(log) => {
                if self.changes.learned.try_send(log.log().clone()).is_err() {
                    tracing::debug!("a changed identity log was not told to the relay: it is busy");
                }
            }
            VerifiedRecord::Handle(_) | VerifiedRecord::Name(_) => {}
        }
    }

    /// As [`Self::learned`], for what the record store holds under a key now, if it is not what it held `before`.
    pub(super) fn learned_from_store(&mut self, key: &[u8], before: Option<&[u8]>) {
        let held = self.swarm.behaviour_mut().kademlia.store_mut().value(key).map(<[u8]>::to_vec);
        let Some(value) = held.filter(|value| Some(value.as_slice()) != before) else { return };
        if let Ok(key) = RecordKey::parse(key)
            && let Ok(candidate) = Candidate::verify(&key, &value, clock::now_s())
        {
            self.learned(&key, &candidate);
        }
    }

    /// Sets what a peer is worth beyond what gossip counts by itself.
    pub(super) fn score(&mut self, peer: &PeerId) {
        let banned = self.changes.sources.get(peer).is_some_and(|source| source.banned_until > self.tick);
        let certified = self.links.is_greeted(peer);
        let score = if banned {
            BANNED_SCORE
        } else if certified {
            CERTIFIED_SCORE
        } else {
            0.0
        };
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gossip.set_application_score(peer, score);
        behaviour.entries.set_application_score(peer, score);
    }

    pub(super) fn heard_protocols(&mut self, peer: PeerId, info: &identify::Info) {
        let speaks = info.protocols.iter().any(|protocol| protocol.as_ref().starts_with("/meshsub/"));
        if speaks {
            self.changes.speakers.insert(peer, true);
        } else if let Some(spoke) = self.changes.speakers.get_mut(&peer) {
            *spoke = false;
        }
    }

    pub(super) fn tend_changes(&mut self) {
        for peer in self.changes.tick(self.tick) {
            self.score(&peer);
        }
        self.tell_changes();
        for peer in std::mem::take(&mut self.changes.redial) {
            if !self.swarm.is_connected(&peer) {
                self.dial_again(peer);
            }
        }
        if self.tick.is_multiple_of(DEAF_LOOK_TICKS) {
            self.renew_deaf_links();
        }
    }

    fn tell_changes(&mut self) {
        while self.changes.outgoing_spent < OUTGOING_BURST
            && let Some((key, change)) = self.changes.outgoing.pop_front()
        {
            let topic = IdentTopic::new(change.topic());
            match self.swarm.behaviour_mut().gossip.publish(topic, change.encoded()) {
                Ok(_) => self.changes.outgoing_spent += 1,
                Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                    self.changes.outgoing.push_front((key, change));
                    break;
                }
                Err(error) => tracing::debug!(%error, "a change was not told"),
            }
        }
    }

    fn heard_change(&mut self, source: &PeerId, id: &MessageId, message: &Message) {
        let records = DirectoryChange::read(message.topic.as_str(), &message.data);
        let acceptance = match records {
            // The gate has read it before; this does not happen.
            Err(_) => MessageAcceptance::Reject,
            Ok(records) => match self.judge(source, &records) {
                Verdict::News => MessageAcceptance::Accept,
                Verdict::NoNews => MessageAcceptance::Ignore,
                Verdict::Bad => MessageAcceptance::Reject,
            },
        };
        self.swarm.behaviour_mut().gossip.report_message_validation_result(id, source, acceptance);
    }

    fn judge(&mut self, source: &PeerId, records: &[ClaimedRecord]) -> Verdict {
        let claims: Vec<_> = records.iter().map(|record| (record, self.claim(record))).collect();
        let within_rate = match self.changes.take(source, self.tick) {
            Some(within_rate) => within_rate,
            None => {
                tracing::info!("a peer floods the directory's topics and is not heard for ten minutes");
                self.score(source);
                false
            }
        };
        let mut verdict = Verdict::NoNews;
        for (record, claim) in claims {
            let of_record = match claim {
                // What claims to be news of a record that is known is looked at whatever its source's rate: else whoever
                // floods could silence a change by telling it first, because the same bytes are heard once.
                Claim::Newer if self.changes.may_change(&record.key, self.tick) => {
                    self.changes.claimed(&record.key, self.tick);
                    self.take_in(record, true, *source)
                }
                Claim::Unknown if within_rate => self.take_in(record, false, *source),
                // It came by another way a moment ago, and may not have come to those behind us.
                Claim::Same if self.changes.is_recent(&record.key, self.tick) => Verdict::News,
                _ => Verdict::NoNews,
            };
            match of_record {
                Verdict::Bad => return Verdict::Bad,
                Verdict::News => verdict = Verdict::News,
                Verdict::NoNews => {}
            }
        }
        verdict
    }

    /// Compares a record with what is known of its key, by what both claim.
    fn claim(&mut self, record: &ClaimedRecord) -> Claim {
        let ClaimedRecord { key, value } = record;
        if let Some(held) = self.swarm.behaviour_mut().kademlia.store_mut().value(&key.to_bytes()) {
            if claims_newer(key, held, value) {
                return Claim::Newer;
            }
            return if held == value { Claim::Same } else { Claim::Older };
        }
        match (self.changes.lookups.age(key), age(key, value)) {
            (None, _) | (_, None) => Claim::Unknown,
            (Some(held), Some(offered)) => match offered.cmp(&held) {
                Ordering::Greater => Claim::Newer,
                Ordering::Equal => Claim::Same,
                Ordering::Less => Claim::Older,
            },
        }
    }

    /// Verifies a record and lets it replace what is known. A record of a key that nobody here knows is no news to pass on.
    fn take_in(&mut self, record: &ClaimedRecord, known: bool, source: PeerId) -> Verdict {
        let now_s = clock::now_s();
        let key = record.key.to_bytes();
        let candidate = match Candidate::verify(&record.key, &record.value, now_s) {
            Ok(candidate) => candidate,
            Err(error) if sender_must_know(&error) => return Verdict::Bad,
            Err(_) => return Verdict::NoNews,
        };
        let store = self.swarm.behaviour_mut().kademlia.store_mut();
        let before = store.value(&key).map(<[u8]>::to_vec);
        if let Some(before) = before {
            let fresh_until_s = now_s.saturating_add(FRESH_S);
            return match store.admit(&key, &record.value, fresh_until_s, Origin::Foreign(source), now_s) {
                Ok(()) => {
                    self.learned_from_store(&key, Some(&before));
                    Verdict::News
                }
                Err(StoreError::Record(error)) if sender_must_know(&error) => Verdict::Bad,
                Err(_) => Verdict::NoNews,
            };
        }
        if known && !self.changes.lookups.is_newer(&candidate) {
            return Verdict::NoNews;
        }
        self.learned(&record.key, &candidate);
        if known { Verdict::News } else { Verdict::NoNews }
    }

    /// Gossipsub announces subscriptions once a peer, and gives a stream up for good after five attempts; neither is
    /// repeated while a connection stays. A peer that speaks gossip and takes no part is therefore connected anew.
    fn renew_deaf_links(&mut self) {
        let subscribed: Vec<PeerId> = self
            .swarm
            .behaviour()
            .gossip
            .all_peers()
            .filter(|(_, topics)| !topics.is_empty())
            .map(|(peer, _)| *peer)
            .collect();
        let quiet = self.links.quiet_since(self.tick.saturating_sub(DEAF_TICKS));
        self.changes.speakers.retain(|peer, _| self.swarm.is_connected(peer));
        for peer in quiet {
            let Some(speaks) = self.changes.speakers.get(&peer) else { continue };
            let deaf = !speaks || !subscribed.contains(&peer);
            if deaf && !self.changes.renewed.contains_key(&peer) {
                tracing::debug!("a peer takes no part in gossip and is connected anew");
                self.changes.renewed.insert(peer, self.tick);
                self.changes.redial.push(peer);
                // An error means that it is disconnected already.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
        }
    }
}

/// Whether whoever passed a record on must have known that it does not verify. Times depend on clocks, and what a later
/// version admits is not known to this one.
fn sender_must_know(error: &RecordError) -> bool {
    !matches!(
        error,
        RecordError::Expired { .. }
            | RecordError::LivesTooLong(_)
            | RecordError::Log(LogError::Homes(HomesError::Unsupported { .. }))
    )
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
