//! What others say in passing: opened, compared with what came before, and believed as far as it may be.

use crate::core::recipient::Place;
use crate::core::rows::{self, GroupRow};
use crate::core::{Device, DeviceError, Random};
use roost_crypto::bytes::Bytes;
use roost_crypto::group::GroupError;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::content::{Whisper, WhisperBody};
use roost_protocol::ids::{ConversationId, GroupId};
use roost_protocol::limits;
use std::collections::BTreeMap;

/// Devices whose newest whisper is remembered; of more the oldest is forgotten.
const DEVICES_MAX: usize = 1_024;

/// The time in the newest whisper of each device in each group: what is not newer is a repetition.
#[derive(Default)]
pub(in crate::core) struct Heard(BTreeMap<(GroupId, DeviceId), u64>);

impl Heard {
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether a whisper is news, by its own time and ours.
    fn is_news(&mut self, from: (GroupId, DeviceId), sent_at: u64, now_ms: u64) -> bool {
        let newest = self.0.get(&from).copied().unwrap_or(0);
        if sent_at.abs_diff(now_ms) > limits::WHISPER_AGE_MS_MAX || sent_at <= newest {
            return false;
        }
        if self.0.len() >= DEVICES_MAX && !self.0.contains_key(&from) {
            // Too old to be repeated; if none is, the oldest goes all the same.
            let fresh = |sent_at: &u64| sent_at.saturating_add(limits::WHISPER_AGE_MS_MAX) > now_ms;
            self.0.retain(|_, sent_at| fresh(sent_at));
            if let Some(oldest) = self.0.iter().min_by_key(|(_, sent_at)| **sent_at).map(|(from, _)| *from)
                && self.0.len() >= DEVICES_MAX
            {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(from, sent_at);
        true
    }
}

impl Device {
    /// The home passes a whisper on. What is not as it should be is dropped: it was said in passing.
    pub(in crate::core) fn whispered(
        &mut self,
        group: GroupId,
        epoch: u64,
        account: AccountId,
        payload: &Bytes,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        if account == self.me.account || !self.settings().presence {
            return Ok(());
        }
        let Some(place) = self.place_of_group(&group)? else { return Ok(()) };
        if !self.may_be_heard(&place, &account)? {
            return Ok(());
        }
        let opened = self.engine.groups.open_whisper(&self.table, group.as_bytes(), epoch, payload.as_slice());
        let opened = match opened {
            Ok(opened) if opened.sender.account == account => opened,
            Err(error @ (GroupError::BadRow | GroupError::Engine)) => return Err(error.into()),
            Ok(_) | Err(_) => return Ok(()),
        };
        let Ok(whisper) = Whisper::decode(&opened.plaintext) else { return Ok(()) };
        let device = opened.sender.device;
        if !self.whispers.heard.is_news((group, device), whisper.sent_at, now_ms) {
            return Ok(());
        }
        match whisper.body {
            WhisperBody::Typing(typing) => self.typed(place.conversation, account, typing.on, now_ms),
            WhisperBody::Presence(presence) if place.peer.is_some() => {
                self.presence_heard(account, device, &presence, now_ms);
            }
            WhisperBody::Watch(_) if place.peer.is_some() => self.watched_by(account, random, now_ms)?,
            // Of a conversation of many nobody watches all, and a kind that is not known is no harm.
            WhisperBody::Presence(_) | WhisperBody::Watch(_) | WhisperBody::Unknown { .. } => {}
        }
        Ok(())
    }

    /// A message of somebody came: it does not type any more.
    pub(in crate::core) fn said_it(&mut self, conversation: ConversationId, account: AccountId, now_ms: u64) {
        if self.whispers.typists.contains_key(&(conversation, account)) {
            self.typed(conversation, account, false, now_ms);
        }
    }

    fn place_of_group(&self, group: &GroupId) -> Result<Option<Place>, DeviceError> {
        if let Some(row) = self.table.get::<GroupRow>(&rows::group(group))? {
            return Ok(Some(Place { conversation: row.conversation, peer: Some(row.peer) }));
        }
        let of_many = ConversationId::of_group(group);
        Ok(self.group_of(&of_many)?.map(|_| Place::of_many(of_many)))
    }

    /// Whether the person wants to hear somebody there: of strangers what they wrote is a request, and nothing else.
    fn may_be_heard(&self, place: &Place, account: &AccountId) -> Result<bool, DeviceError> {
        match place.peer {
            Some(peer) => Ok(peer == *account && self.may_hear_of_us(account)?),
            None => Ok(!self.person(account)?.blocked),
        }
    }
}
