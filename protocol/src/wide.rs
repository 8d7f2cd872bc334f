//! Entries of wide conversations, as nodes gossip them: the topic, and the payload of a message.
//!
//! Speed and spared upload, never custody: what comes so is checked like what is delivered, and whoever gave no custody is
//! delivered to. Nothing here verifies a signature. Implements `docs/protocol.md`, section "Gossip of entries".

use crate::feed::{Entry, EntryError, EntryKind};
use crate::ids::{FeedId, GroupId, Hash};
use crate::limits;
use roost_crypto::codec::{self, CodecError};
use roost_crypto::ids::NodeId;
use roost_crypto::labels;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What every topic begins with.
const PREFIX: &str = "/roost/entries/1/";
/// Bytes of a hash that name a topic: nobody guesses 128 bits, and every message carries them.
const NAME_BYTES: usize = 16;

/// The topic of a conversation's entries in one epoch: known to whoever knows the group and what made the epoch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic([u8; NAME_BYTES]);

/// The payload of a message, canonical CBOR of at most [`limits::GOSSIP_ENTRIES_BYTES_MAX`]. It is what it says of itself, and no
/// more: whether it continues a feed, and who may read it, is its receiver's question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    entries: Vec<Entry>,
}

/// Why a message is no entries: whoever passes it on must have known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WideError {
    /// Not the topic of entries.
    #[error("not a topic of entries")]
    Topic,
    /// Too long, or not the canonical bytes of the type.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// None, or more than fit a `Deliver`.
    #[error("expected 1 to {max} entries, got {got}")]
    Count {
        /// At most.
        max: usize,
        /// What was found.
        got: usize,
    },
    /// A creation or a commit: these are delivered.
    #[error("expected messages only")]
    Kind,
    /// Entries of two feeds, or with a gap between them.
    #[error("expected neighbours in one feed")]
    Apart,
    /// Of a feed that another node writes than the one that publishes.
    #[error("a node publishes its own feed")]
    Foreign,
    /// An entry that contradicts itself.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl Topic {
    /// Of a group's epoch; `made_by` is the hash that the epoch's head signs. A home that is gone knows what made the epochs that it
    /// was there for and the one that removed it, and of no later one.
    pub fn of(group: &GroupId, made_by: &Hash) -> Self {
        let hash = labels::hash(labels::ENTRIES_TOPIC, &[group.as_bytes(), made_by.as_bytes()]);
        let mut name = [0; NAME_BYTES];
        name.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        Self(name)
    }

    /// Reads a topic's text: the prefix and 32 lower-case hex digits.
    ///
    /// # Errors
    /// [`WideError::Topic`].
    pub fn parse(text: &str) -> Result<Self, WideError> {
        let digits = text.strip_prefix(PREFIX).map(str::as_bytes).ok_or(WideError::Topic)?;
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(WideError::Topic),
        };
        let mut name = [0; NAME_BYTES];
        if digits.len() != 2 * NAME_BYTES {
            return Err(WideError::Topic);
        }
        for (byte, pair) in name.iter_mut().zip(digits.chunks_exact(2)) {
            for half in pair {
                *byte = (*byte << 4) | digit(half)?;
            }
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A topic is known to a conversation's nodes only: it stays out of logs.
impl fmt::Debug for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Topic(..)")
    }
}

impl Entries {
    /// Checks what entries say of themselves and of each other.
    ///
    /// # Errors
    /// [`WideError`].
    pub fn new(entries: Vec<Entry>) -> Result<Self, WideError> {
        let (got, max) = (entries.len(), limits::DELIVER_ENTRIES_MAX);
        if got == 0 || got > max {
            return Err(WideError::Count { max, got });
        }
        for entry in &entries {
            if entry.header.kind != EntryKind::Message {
                return Err(WideError::Kind);
            }
            entry.check()?;
        }
        for (entry, next) in entries.iter().zip(entries.iter().skip(1)) {
            let (before, after) = (&entry.header, &next.header);
            if before.feed != after.feed || before.seq.checked_add(1) != Some(after.seq) || after.prev != before.hash()
            {
                return Err(WideError::Apart);
            }
        }
        Ok(Self { entries })
    }

    /// Of one feed, as many from the front as one message takes; the others stay. `None` where the first is no message.
    pub fn take_from(waiting: &mut Vec<Entry>) -> Option<Self> {
        let mut bytes = ENVELOPE_BYTES;
        let fits = |entry: &&Entry| {
            bytes += codec::encode(*entry).len();
            entry.header.kind == EntryKind::Message && bytes <= limits::GOSSIP_ENTRIES_BYTES_MAX
        };
        let count = waiting.iter().take(limits::DELIVER_ENTRIES_MAX).take_while(fits).count();
        let rest = waiting.split_off(count);
        Self::new(std::mem::replace(waiting, rest)).ok()
    }

    /// Reads the data of a message.
    ///
    /// # Errors
    /// [`WideError`].
    pub fn read(bytes: &[u8]) -> Result<Self, WideError> {
        let read: Self = codec::decode_canonical(bytes, limits::GOSSIP_ENTRIES_BYTES_MAX)?;
        Self::new(read.entries)
    }

    /// Reads a message of `topic` whose envelope is signed by `source`.
    ///
    /// # Errors
    /// [`WideError`], one variant a rule.
    pub fn of_message(topic: &str, source: &NodeId, bytes: &[u8]) -> Result<(Topic, Self), WideError> {
        let (topic, read) = (Topic::parse(topic)?, Self::read(bytes)?);
        if read.feed().is_some_and(|feed| feed.node == *source) { Ok((topic, read)) } else { Err(WideError::Foreign) }
    }

    /// The data of the message.
    pub fn encoded(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The feed that they are of.
    pub fn feed(&self) -> Option<FeedId> {
        self.entries.first().map(|entry| entry.header.feed)
    }

    /// At least one, ascending and without a gap.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// What a message has beside its entries, bytes: the name of the field and two lengths.
const ENVELOPE_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::feed::{EntryHeader, payload_hash};
    use crate::ids::{Incarnation, MessageId};
    use roost_crypto::bytes::Bytes;
    use roost_crypto::ids::{AccountId, DeviceId};
    use roost_crypto::keys::SecretKey;

    fn chain(count: u64, bytes: usize) -> Vec<Entry> {
        let node = NodeId::of(SecretKey::from_seed(&[7; 32]).public_key());
        let feed = FeedId { group: GroupId([1; 32]), node, incarnation: Incarnation([2; 16]) };
        let mut entries: Vec<Entry> = Vec::new();
        for seq in 1..=count {
            let payload = Bytes(vec![u8::try_from(seq).unwrap(); bytes]);
            let header = EntryHeader {
                feed,
                seq,
                prev: entries.last().map_or(Hash([0; 32]), |entry| entry.header.hash()),
                kind: EntryKind::Message,
                epoch: 1,
                account: AccountId([3; 32]),
                device: DeviceId([4; 32]),
                message: MessageId([5; 16]),
                attempt: 0,
                payload_hash: payload_hash(payload.as_slice()),
            };
            entries.push(Entry { header, payload, silent: false });
        }
        entries
    }

    #[test]
    fn a_topic_is_read_as_it_is_written_and_in_no_other_spelling() {
        let topic = Topic::of(&GroupId([1; 32]), &Hash([2; 32]));
        let text = topic.to_string();
        assert_eq!(Topic::parse(&text), Ok(topic.clone()), "what is written is read");
        assert_ne!(topic, Topic::of(&GroupId([1; 32]), &Hash([3; 32])), "another epoch has another topic");
        for wrong in [text.to_uppercase(), format!("{text}0"), text.replace("entries", "directory"), String::new()] {
            assert_eq!(Topic::parse(&wrong), Err(WideError::Topic), "{wrong} is no topic");
        }
        assert_eq!(format!("{topic:?}"), "Topic(..)", "it does not get into a log by accident");
    }

    #[test]
    fn many_entries_leave_in_as_few_messages_as_they_fit() {
        let mut waiting = chain(40, 1_000);
        let mut told = Vec::new();
        while let Some(entries) = Entries::take_from(&mut waiting) {
            let data = entries.encoded();
            assert!(data.len() <= limits::GOSSIP_ENTRIES_BYTES_MAX, "no message is too long: {}", data.len());
            assert_eq!(Entries::read(&data), Ok(entries.clone()), "and each is read again");
            told.push(entries.entries().len());
        }
        assert_eq!(told.iter().sum::<usize>(), 40, "all of them leave");
        assert!(told.len() <= 3, "in few messages: {told:?}");
        let largest = Entries::take_from(&mut chain(1, limits::PAYLOAD_BYTES_MAX)).unwrap();
        assert!(largest.encoded().len() <= limits::GOSSIP_ENTRIES_BYTES_MAX, "the largest message fits one");
    }

    #[test]
    fn a_commit_ends_what_is_gossiped() {
        let mut waiting = chain(3, 10);
        waiting[1].header.kind = EntryKind::Commit;
        let first = Entries::take_from(&mut waiting).unwrap();
        assert_eq!((first.entries().len(), waiting.len()), (1, 2), "what comes before it leaves");
        assert_eq!(Entries::take_from(&mut waiting), None, "it stays");
    }
}
