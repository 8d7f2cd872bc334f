//! What was said, found again: the texts that this device shows, folded into one string in memory, and where each stands in it.
//!
//! Nothing of it is stored: the rows are, sealed. It is made row by row while there is time for it, and follows them from then
//! on. What was deleted or has expired is not found; messages of strangers are not either.

use super::history::row::MessageRow;
use super::history::{HistoryItem, place};
use super::recipient::Recipient;
use super::rows::{self, HISTORY};
use super::{Device, DeviceError};
use crate::error::Error;
use roost_protocol::ids::{ConversationId, MessageId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of texts that are gone, beyond which the string is made anew, if they are half of it.
const GONE_BYTES_MAX: usize = 1 << 20;
/// Between two texts; no word holds it.
const BETWEEN: char = '\n';

/// Messages that hold every word of what was asked for, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The newest of them.
    pub items: Vec<HistoryItem>,
    /// How many there are.
    pub all: usize,
}

/// One text.
struct Slot {
    conversation: ConversationId,
    id: MessageId,
    start: usize,
    end: usize,
    /// It was replaced, or is gone.
    gone: bool,
}

/// The texts, and how far they have been read.
#[derive(Default)]
pub(super) struct Search {
    text: String,
    /// In the order of the string.
    slots: Vec<Slot>,
    of: BTreeMap<(ConversationId, MessageId), usize>,
    gone_bytes: usize,
    /// The last row that was read; `None` before the first.
    read: Option<Vec<u8>>,
    complete: bool,
}

impl Search {
    fn learn(&mut self, conversation: ConversationId, id: MessageId, row: Option<&MessageRow>) {
        let before = self.of.remove(&(conversation, id)).and_then(|at| self.slots.get_mut(at));
        if let Some(slot) = before {
            slot.gone = true;
            self.gone_bytes += slot.end - slot.start;
        }
        let Some(row) = row.filter(|row| row.gone.is_none() && !row.text.is_empty()) else { return };
        let start = self.text.len();
        self.text
            .extend(row.text.chars().map(|one| if one == BETWEEN { ' ' } else { one }).flat_map(char::to_lowercase));
        self.of.insert((conversation, id), self.slots.len());
        self.slots.push(Slot { conversation, id, start, end: self.text.len(), gone: false });
        self.text.push(BETWEEN);
    }

    /// Leaves out what is gone.
    fn tidy(&mut self) {
        if self.gone_bytes < GONE_BYTES_MAX.max(self.text.len() / 2) {
            return;
        }
        let before = std::mem::take(self);
        (self.read, self.complete) = (before.read, before.complete);
        for slot in before.slots.into_iter().filter(|slot| !slot.gone) {
            let start = self.text.len();
            self.text.push_str(before.text.get(slot.start..slot.end).unwrap_or_default());
            self.of.insert((slot.conversation, slot.id), self.slots.len());
            self.slots.push(Slot { start, end: self.text.len(), ..slot });
            self.text.push(BETWEEN);
        }
    }

    /// The texts that hold all `words`, in the order of the string.
    fn holding(&self, words: &[String]) -> Vec<&Slot> {
        let mut found = Vec::new();
        let Some(rarest) = words.iter().max_by_key(|word| word.len()) else { return found };
        let (mut at, mut from) = (0, 0);
        while let Some(hit) = self.text.get(from..).and_then(|rest| rest.find(rarest.as_str())) {
            let hit = from + hit;
            at += self.slots.get(at..).map_or(0, |rest| rest.partition_point(|slot| slot.end <= hit));
            let Some(slot) = self.slots.get(at) else { break };
            let text = self.text.get(slot.start..slot.end).unwrap_or_default();
            if !slot.gone && words.iter().all(|word| text.contains(word.as_str())) {
                found.push(slot);
            }
            from = slot.end + BETWEEN.len_utf8();
        }
        found
    }
}

impl Device {
    /// Reads up to `rows` more messages for [`Device::search`]; whether all have been read.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn prepare_search(&mut self, rows: usize) -> Result<bool, DeviceError> {
        self.table.follow(HISTORY);
        if !self.search.complete {
            let next = self.table.next::<MessageRow>(&[HISTORY], self.search.read.as_deref(), rows)?;
            self.search.complete = next.len() < rows;
            for (key, row) in &next {
                if let Some((conversation, id)) = place(key) {
                    self.search.learn(conversation, id, Some(row));
                }
            }
            self.search.read = next.into_iter().next_back().map(|(key, _)| key).or(self.search.read.take());
        }
        Ok(self.search.complete)
    }

    /// Up to `max` messages, of one conversation or of all, that hold every word of `text`, whatever their case. It finds
    /// among what [`Device::prepare_search`] has read.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Device`].
    pub fn search(&mut self, text: &str, of: Option<&Recipient>, max: usize) -> Result<Found, Error> {
        let wanted = of.map(|of| self.place_of(of)).transpose()?.map(|place| place.conversation);
        for key in self.table.take_followed() {
            // What has not been read yet comes as it then is.
            let is_read = self.search.complete || self.search.read.as_ref().is_some_and(|read| key <= *read);
            if let Some((conversation, id)) = place(&key).filter(|_| is_read) {
                let row: Option<MessageRow> = self.table.get(&key)?;
                self.search.learn(conversation, id, row.as_ref());
            }
        }
        self.search.tidy();
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let mut found: Vec<(MessageId, ConversationId)> = self
            .search
            .holding(&words)
            .into_iter()
            .filter(|slot| wanted.is_none_or(|wanted| wanted == slot.conversation))
            .map(|slot| (slot.id, slot.conversation))
            .collect();
        let shown = found.iter().map(|(_, conversation)| *conversation).collect::<BTreeSet<_>>();
        let shown = shown.into_iter().map(|one| Ok((one, self.is_shown(&one)?)));
        let shown: BTreeMap<ConversationId, bool> = shown.collect::<Result<_, DeviceError>>()?;
        found.retain(|(_, conversation)| shown.get(conversation).copied().unwrap_or_default());
        found.sort_unstable_by(|one, next| next.cmp(one));
        let all = found.len();
        let mut items = Vec::new();
        for (id, conversation) in found.into_iter().take(max) {
            if let Some(row) = self.table.get::<MessageRow>(&rows::history(&conversation, &id))? {
                items.push(self.item(conversation, id, row)?);
            }
        }
        Ok(Found { items, all })
    }
}
