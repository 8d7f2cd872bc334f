//! For how long what is said in a conversation is to be seen: a word that all who take part know, and that each of their devices
//! gives every text along.
//!
//! Of two, anybody says so; of many, an admin. Implements `docs/protocol.md`, section "Content".

use super::history::Arrived;
use super::recipient::{Place, Recipient};
use super::rows::{self, TIMER, Target};
use super::{Device, DeviceError, Extras, Output, Random};
use crate::error::Error;
use roost_crypto::ids::AccountId;
use roost_protocol::content::{Body, Timer};
use roost_protocol::conversation::Role;
use roost_protocol::ids::{ConversationId, MessageId};
use serde::{Deserialize, Serialize};

/// The timer of a conversation, and whether somebody who joined by our commit is to be told.
#[derive(Serialize, Deserialize)]
pub(super) struct TimerRow {
    pub timer: Timer,
    pub due: bool,
}

impl Device {
    /// After how many seconds a text that is written now will go, where nothing else is said with it.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::Device`].
    pub fn timer(&self, of: &Recipient) -> Result<Option<u64>, Error> {
        Ok(self.timer_in(&self.place_of(of)?.conversation)?)
    }

    /// Gives everything that is said in a conversation from now on a timer, or takes it off.
    ///
    /// # Errors
    /// [`Error::UnknownPerson`], [`Error::UnknownConversation`], [`Error::NotAdmin`], [`Error::Content`],
    /// [`Error::Blocked`], [`Error::KeyChanged`] change nothing; after [`Error::Device`] drop the device.
    pub fn set_timer(
        &mut self,
        to: &Recipient,
        expires_after_s: Option<u64>,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<MessageId, Error> {
        let address = self.address(to)?;
        let place = address.place.ok_or(Error::UnknownPerson)?;
        if !self.may_set_timer(&place, &self.me.account)? {
            return Err(Error::NotAdmin);
        }
        let key = rows::timer(&place.conversation);
        let known: Option<TimerRow> = self.table.get(&key)?;
        // The clock may have been set back since the last word.
        let changed_at = known.map_or(0, |known| known.timer.changed_at + 1).max(now_ms);
        let timer = Timer { expires_after_s, changed_at };
        let body = Body::Timer(timer.clone());
        body.check()?;
        if let Some(account) = address.account() {
            self.accept(&account)?;
        }
        self.table.put(key, &TimerRow { timer, due: false });
        self.staged.push(Output::Named(place.conversation));
        Ok(self.write(address.target, place.peer, body, random, now_ms)?)
    }

    /// A text with the timer of its conversation, unless it has one of its own.
    pub(super) fn with_timer(&self, extras: Extras, place: Option<&Place>) -> Result<Extras, DeviceError> {
        match (extras.expires_after_s, place) {
            (None, Some(place)) => Ok(Extras { expires_after_s: self.timer_in(&place.conversation)?, ..extras }),
            _ => Ok(extras),
        }
    }

    /// Somebody says for how long things are to be seen. Whether that is news: it is none if it was said before, or late, or is
    /// not theirs to say, which is a gap.
    pub(super) fn learn_timer(&mut self, arrived: &Arrived<'_>, timer: &Timer) -> Result<bool, DeviceError> {
        let Arrived { header, place } = arrived;
        if !self.may_set_timer(place, &header.account)? {
            self.gap(Some(place.conversation), header, "somebody who is no admin gives the conversation a timer");
            return Ok(false);
        }
        let key = rows::timer(&place.conversation);
        let newest = |timer: &Timer| (timer.changed_at, timer.expires_after_s);
        let known: Option<TimerRow> = self.table.get(&key)?;
        let news = known.as_ref().is_none_or(|known| newest(&known.timer) < newest(timer));
        if news {
            self.table.put(key, &TimerRow { timer: timer.clone(), due: false });
            self.staged.push(Output::Named(place.conversation));
        }
        Ok(news)
    }

    /// Tells who joined, if that is due.
    pub(super) fn tell_timer(
        &mut self,
        conversation: ConversationId,
        random: Random<'_>,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let key = rows::timer(&conversation);
        let Some(row) = self.table.get::<TimerRow>(&key)?.filter(|row| row.due) else { return Ok(()) };
        if self.group_of(&conversation)?.is_some() {
            let body = Body::Timer(row.timer.clone());
            let id = self.write(Target::Conversation(conversation), None, body, random, now_ms)?;
            // It was said before, and is no news to anybody else.
            self.table.delete(rows::history(&conversation, &id));
        }
        self.table.put(key, &TimerRow { due: false, ..row });
        Ok(())
    }

    /// Conversations whose newcomers were not told.
    pub(super) fn timers_due(&self) -> Result<Vec<ConversationId>, DeviceError> {
        let due = self.table.scan::<TimerRow>(&[TIMER])?.into_iter().filter(|(_, row)| row.due);
        Ok(due.filter_map(|(key, _)| key.get(1..).and_then(ConversationId::from_slice)).collect())
    }

    pub(super) fn timer_in(&self, conversation: &ConversationId) -> Result<Option<u64>, DeviceError> {
        let row: Option<TimerRow> = self.table.get(&rows::timer(conversation))?;
        Ok(row.and_then(|row| row.timer.expires_after_s))
    }

    fn may_set_timer(&self, place: &Place, account: &AccountId) -> Result<bool, DeviceError> {
        Ok(match place.peer {
            Some(_) => true,
            None => {
                self.conversation(&place.conversation)?.and_then(|row| row.state.role(account)) == Some(Role::Admin)
            }
        })
    }
}
