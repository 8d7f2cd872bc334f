//! A lying node: the real relay, and what passes its door is changed. It can sign with its own key and with no other.

use super::scenario::Lie;
use super::world::World;
use roost_crypto::bytes::Bytes;
use roost_crypto::identity_log::IdentityLog;
use roost_node::relay::{Input, Output};
use roost_protocol::codec;
use roost_protocol::feed::{Entry, EntryKind, payload_hash};
use roost_protocol::ids::{FeedId, Hash};
use roost_protocol::limits;
use roost_protocol::peer::{Custody, Held, NodeRequest, NodeResponse};
use roost_protocol::records::RecordKey;
use roost_protocol::socket::ServerFrame;
use roost_protocol::wide::Entries;
use std::collections::BTreeMap;

/// What the liar told before: a lie must hang together.
#[derive(Default)]
pub(super) struct Told {
    /// Hash of the header at each position of its feeds, as told.
    chain: BTreeMap<(FeedId, u64), Hash>,
}

impl World {
    /// What leaves a node in place of an output.
    pub(super) fn lie_in(&mut self, node: usize, output: Output) -> Vec<Output> {
        let Some(lie) = self.nodes.get(node).and_then(|target| target.lie).filter(|_| !self.healed) else {
            return vec![output];
        };
        match (lie, output) {
            (Lie::Withhold, Output::Ask(token, _, NodeRequest::Deliver(_))) => {
                self.counters.fault("lie");
                self.feed(node, Input::Answered { token, response: None });
                Vec::new()
            }
            (Lie::CustodyBeyond, Output::Answer(token, NodeResponse::Custody(custodies))) => {
                self.counters.fault("lie");
                let beyond = custodies.into_iter().map(|custody| Custody { seq: custody.seq + 1_000, ..custody });
                vec![Output::Answer(token, NodeResponse::Custody(beyond.collect()))]
            }
            (Lie::Withhold, Output::Gossip(..)) => {
                self.counters.fault("lie");
                Vec::new()
            }
            (_, Output::Gossip(topic, entries)) => {
                let entries = self.lie_in_entries(node, lie, entries.entries().to_vec());
                Entries::new(entries).ok().map(|entries| Output::Gossip(topic, entries)).into_iter().collect()
            }
            (Lie::CustodyBeyond, Output::Ask(token, peer, NodeRequest::Held(held))) => {
                self.counters.fault("lie");
                vec![Output::Ask(token, peer, NodeRequest::Held(Held { seq: held.seq + 1_000, ..held }))]
            }
            (_, Output::Ask(token, peer, NodeRequest::Deliver(mut deliver))) => {
                deliver.entries = self.lie_in_entries(node, lie, deliver.entries);
                vec![Output::Ask(token, peer, NodeRequest::Deliver(deliver))]
            }
            (Lie::InventedEntry, Output::Send(connection, ServerFrame::Entry { inbox, entry })) => {
                self.counters.fault("lie");
                let mut invented = entry.clone();
                invented.header.message.0 = self.dice.bytes();
                let again = ServerFrame::Entry { inbox: None, entry: entry.clone() };
                let invented = ServerFrame::Entry { inbox: None, entry: invented };
                [invented, ServerFrame::Entry { inbox, entry }, again]
                    .map(|frame| Output::Send(connection, frame))
                    .into()
            }
            (_, output) => vec![output],
        }
    }

    /// An answer that a node gives without asking its rules.
    pub(super) fn lie_about(&mut self, node: usize, what: &NodeRequest) -> Option<NodeResponse> {
        let lie = self.nodes.get(node).and_then(|target| target.lie).filter(|_| !self.healed)?;
        match (lie, what) {
            (Lie::FalseCustody, NodeRequest::Deliver(deliver)) => {
                self.counters.fault("lie");
                let last = deliver.entries.last()?.header.clone();
                let custody = |account: &_| Custody { account: *account, feed: last.feed, seq: last.seq };
                Some(NodeResponse::Custody(deliver.accounts.iter().map(custody).collect()))
            }
            _ => None,
        }
    }

    /// The log that a node answers a lookup with; a liar also puts the older one at others.
    pub(super) fn lie_of_record(&mut self, node: usize, log: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let lie = self.nodes.get(node).and_then(|target| target.lie).filter(|_| !self.healed);
        if lie != Some(Lie::OlderRecord) {
            return log;
        }
        let mut older: IdentityLog = codec::decode(log.as_deref()?, limits::DHT_VALUE_BYTES_MAX).ok()?;
        older.0.truncate(1);
        let account = roost_crypto::identity_log::VerifiedLog::verify(&older).ok()?.account();
        let value = codec::encode(&older);
        self.counters.fault("lie");
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            let body = super::links::Body::Put { key: RecordKey::Account(account), value: value.clone() };
            self.transmit(super::links::Parcel { from: node, to, connection: None, stale: false, body });
        }
        Some(value)
    }

    fn lie_in_entries(&mut self, node: usize, lie: Lie, entries: Vec<Entry>) -> Vec<Entry> {
        let mut told = Vec::new();
        let mut last = None;
        for mut entry in entries {
            let header = &mut entry.header;
            if let Some(prev) = header.seq.checked_sub(1).and_then(|seq| self.told.chain.get(&(header.feed, seq))) {
                header.prev = *prev;
            }
            let message = header.kind == EntryKind::Message;
            let lied = match lie {
                Lie::ForgedAuthor if message => {
                    let other = self.people.iter().find(|person| {
                        person.account != header.account && (person.home == node || self.numbers.is_multiple_of(2))
                    });
                    if let Some(other) = other {
                        header.account = other.account;
                        header.device = other.device_id;
                    }
                    other.is_some()
                }
                Lie::AlteredPayload if message => {
                    if let Some(byte) = entry.payload.0.last_mut() {
                        *byte ^= 1;
                    }
                    header.payload_hash = payload_hash(entry.payload.as_slice());
                    true
                }
                Lie::WrongEpoch if message => {
                    header.epoch += 3;
                    true
                }
                Lie::ForgedHead if !message => match entry.first_contact() {
                    Ok(mut contact) => {
                        contact.head.signature.0.iter_mut().take(1).for_each(|byte| *byte ^= 1);
                        entry.payload = Bytes(codec::encode(&contact));
                        entry.header.payload_hash = payload_hash(entry.payload.as_slice());
                        true
                    }
                    Err(_) => false,
                },
                Lie::Replay => {
                    last = message.then(|| entry.clone()).or(last);
                    false
                }
                _ => false,
            };
            if lied {
                self.counters.fault("lie");
            }
            let header = &entry.header;
            self.told.chain.insert((header.feed, header.seq), header.hash());
            told.push(entry);
        }
        if let (Some(mut again), Some(end)) = (last, told.last()) {
            again.header.seq = end.header.seq + 1;
            again.header.prev = end.header.hash();
            again.header.message.0 = self.dice.bytes();
            self.counters.fault("lie");
            told.push(again);
        }
        told
    }
}
