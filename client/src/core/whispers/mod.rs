//! What is said in passing: who is typing, and who is there. Nothing of it is kept, and nothing of it is owed.
//!
//! Presence is told to who asks for it: a device that shows a conversation of two watches the other, who answers while that
//! is fresh. A stranger, a blocked account, and anybody at all while the person does not want it, hears nothing.
//! Implements `docs/protocol.md`, section "Whispers".

mod hearing;
mod presence;

pub use presence::{PresenceReport, Seen};

use self::hearing::Heard;
use self::presence::{Watched, Watcher};
use super::recipient::{Place, Recipient};
use super::{Device, DeviceError, Output, Random};
use crate::error::Error;
use roost_crypto::group::{GroupError, WHISPER_NONCE_BYTES};
use roost_crypto::ids::AccountId;
use roost_protocol::content::{Typing, Whisper, WhisperBody};
use roost_protocol::ids::{ConversationId, GroupId};
use roost_protocol::limits;
use roost_protocol::socket::ClientFrame;
use std::collections::BTreeMap;

/// The feature of a home that passes whispers on.
pub(super) const FEATURE: &str = "whispers";

/// What was said and heard in passing; nothing of it outlives the process.
#[derive(Default)]
pub(super) struct Whispers {
    /// The time in our newest whisper.
    sent_at: u64,
    /// When the person last did something here; 0 before the first connection.
    active_at: u64,
    /// Where we said that we type, and when.
    typing: BTreeMap<ConversationId, u64>,
    /// Who types where, and until when that is believed.
    typists: BTreeMap<(ConversationId, AccountId), u64>,
    watched: BTreeMap<AccountId, Watched>,
    watchers: BTreeMap<AccountId, Watcher>,
    heard: Heard,
}

impl Whispers {
    /// The home is gone: who is shown is asked for anew on the next connection.
    pub fn disconnected(&mut self) {
        self.typing.clear();
        self.watched.values_mut().for_each(Watched::again);
    }

    /// The clock was set back: nothing waits for the time to come round again.
    pub fn due_at_once(&mut self, now_ms: u64) {
        self.active_at = self.active_at.min(now_ms);
        self.typing.clear();
        self.typists.values_mut().for_each(|until| *until = now_ms);
        self.watched.values_mut().for_each(Watched::again);
        self.watchers.values_mut().for_each(|watcher| watcher.due_at_once(now_ms));
        self.heard.forget();
    }
}

impl Device {
    /// The person types, or stopped. Said at most every [`limits::TYPING_AGAIN_MS`], and to nobody who must not hear of us.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`]; after [`Error::Device`] drop the device.
    pub fn typing(&mut self, to: &Recipient, on: bool, random: Random<'_>, now_ms: u64) -> Result<(), Error> {
        let place = self.place_of(to)?;
        if on {
            self.active(now_ms);
        }
        let said = self.whispers.typing.get(&place.conversation).copied();
        let due = match said {
            Some(said) => !on || said.saturating_add(limits::TYPING_AGAIN_MS) <= now_ms,
            None => on,
        };
        if !due {
            return Ok(());
        }
        match self.group_for_whispers(&place)? {
            Some(group) if on => {
                self.whispers.typing.insert(place.conversation, now_ms);
                self.say(&group, WhisperBody::Typing(Typing { on }), random, now_ms)?;
            }
            Some(group) => {
                self.whispers.typing.remove(&place.conversation);
                self.say(&group, WhisperBody::Typing(Typing { on }), random, now_ms)?;
            }
            None => {
                self.whispers.typing.remove(&place.conversation);
            }
        }
        Ok(())
    }

    /// Who types in a conversation now.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Device`].
    pub fn typists(&self, of: &Recipient) -> Result<Vec<AccountId>, Error> {
        let conversation = self.place_of(of)?.conversation;
        let there = self.whispers.typists.keys().filter(|(place, _)| *place == conversation);
        Ok(there.map(|(_, account)| *account).collect())
    }

    /// Who types now, and where.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn typists_everywhere(&self) -> Result<Vec<(ConversationId, String)>, DeviceError> {
        let typists = self.whispers.typists.keys();
        typists.map(|(conversation, account)| Ok((*conversation, self.name_of(account)?))).collect()
    }

    /// The person did something on this device: whoever watches hears that it is no longer away.
    pub fn active(&mut self, now_ms: u64) {
        self.whispers.active_at = self.whispers.active_at.max(now_ms);
    }

    /// A message of ours is written: whoever reads it knows that we typed.
    pub(super) fn stops_typing(&mut self, conversation: &ConversationId) {
        self.whispers.typing.remove(conversation);
    }

    /// Says what is due and forgets what is over.
    pub(super) fn pump_whispers(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        self.whispers.typing.retain(|_, said| said.saturating_add(limits::TYPING_MS) > now_ms);
        let over = self.whispers.typists.iter().filter(|(_, until)| **until <= now_ms);
        for (conversation, account) in over.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.typed(conversation, account, false, now_ms);
        }
        self.pump_presence(random, now_ms)
    }

    pub(super) fn whispers_wake_at(&self) -> Option<u64> {
        let typists = self.whispers.typists.values().copied();
        typists.chain(self.presence_wake_at()).min()
    }

    /// Somebody types in a conversation, or stopped.
    pub(super) fn typed(&mut self, conversation: ConversationId, account: AccountId, on: bool, now_ms: u64) {
        let key = (conversation, account);
        let until = now_ms.saturating_add(limits::TYPING_MS);
        let before = if on { self.whispers.typists.insert(key, until) } else { self.whispers.typists.remove(&key) };
        if before.is_some() != on {
            self.staged.push(Output::Typing { conversation, account, on });
        }
    }

    /// The group in which whispers to a conversation are sealed; `None` where nobody there may hear of us, or too many would.
    fn group_for_whispers(&self, place: &Place) -> Result<Option<GroupId>, DeviceError> {
        if !self.settings().presence {
            return Ok(None);
        }
        Ok(match place.peer {
            Some(peer) if self.may_hear_of_us(&peer)? => self.standing_group(&peer),
            Some(_) => None,
            None => {
                let row = self.group_of(&place.conversation)?;
                row.filter(|row| row.state.participants.len() <= limits::MARKS_ACCOUNTS_MAX).map(|row| row.group)
            }
        })
    }

    /// Seals a whisper and lets it go, if there is a home that passes it on. Whether it did is not known.
    fn say(
        &mut self,
        group: &GroupId,
        body: WhisperBody,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<bool, DeviceError> {
        if !self.link.hears_whispers() {
            return Ok(false);
        }
        let mut nonce = [0; WHISPER_NONCE_BYTES];
        random(&mut nonce);
        // Above the one before, also within a millisecond: the other side believes no earlier one.
        let sent_at = now_ms.max(self.whispers.sent_at.saturating_add(1));
        // A clock that was set back counts from where it is: what is far ahead is not believed either.
        let sent_at = if sent_at > now_ms.saturating_add(limits::WHISPER_AGE_MS_MAX) { now_ms } else { sent_at };
        self.whispers.sent_at = sent_at;
        let plaintext = Whisper { sent_at, body }.encode();
        match self.engine.groups.seal_whisper(&self.table, group.as_bytes(), nonce, &plaintext) {
            Ok(sealed) => {
                let (group, epoch, payload) = (*group, sealed.epoch, sealed.ciphertext);
                self.staged.push(Output::Send(Box::new(ClientFrame::Whisper { group, epoch, payload })));
                Ok(true)
            }
            Err(error @ (GroupError::BadRow | GroupError::Engine)) => Err(error.into()),
            // Removed, or not entered yet.
            Err(_) => Ok(false),
        }
    }
}
