//! Messages that no copy opens: their author's device is asked for them, and seals them again for the device that asks.
//!
//! Question and answer are sealed in the conversation like anything else that is said there, so nodes decide nothing and need not
//! be believed. Never gives a message to an account that took no part in the epoch in which it was said. Implements
//! `docs/protocol.md`, section "Sealed again"; see also `docs/decisions/0008-reseal.md`.

use super::recipient::Place;
use super::rows::{self, GroupRow, MISSING, SENT, Target};
use super::{Device, DeviceError, Output, Random};
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::ids::{AccountId, DeviceId};
use roost_crypto::labels;
use roost_crypto::sealing::{BoxPublicKey, BoxSecretKey, SealedBox};
use roost_protocol::content::{Again, Body, Content, Reseal, Resealed};
use roost_protocol::feed::EntryHeader;
use roost_protocol::ids::{ConversationId, GroupId, MessageId};
use roost_protocol::limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// How long a message that cannot be opened waits before it is asked for, milliseconds: others come with it, and the archive may
/// bring it.
const ASK_DELAY_MS: u64 = 2_000;
/// Pause before it is asked for again, milliseconds: a day.
const ASK_AGAIN_MS: u64 = 24 * 3_600 * 1_000;
/// How often it is asked for.
const ASKED_MAX: u32 = 3;
/// Messages that are remembered as missing; what is beyond is told as a gap and not asked for.
const MISSING_MAX: usize = 4_096;
/// Messages of one answer's bytes: with its frame around it, it fits a message.
const ANSWER_BYTES: usize = 14 * 1_024;
/// Messages that an account is given again in a day: as many as it can miss.
const ANSWERED_MAX: u64 = MISSING_MAX as u64;
/// Bytes of own messages that are kept for others, each with what its row needs beside it: some ten thousand.
const SENT_BYTES_MAX: usize = 16 * 1_024 * 1_024;
const SENT_ROW_BYTES: usize = 256;

/// A message of ours as it was sealed.
#[derive(Serialize, Deserialize)]
struct SentRow {
    group: GroupId,
    epoch: u64,
    /// The message that it changes.
    about: Option<MessageId>,
    /// Nobody misses it: only that is remembered.
    receipt: bool,
    /// Empty once it was deleted, or its time is over.
    content: Bytes,
}

/// A message that this device could not open.
#[derive(Serialize, Deserialize)]
struct MissingRow {
    header: EntryHeader,
    asked: u32,
    /// Its author does not have it any more.
    gone: bool,
}

/// How much of our own was given to an account again.
#[derive(Default, Serialize, Deserialize)]
struct AnsweredRow {
    since: u64,
    count: u64,
}

/// Who asks for messages of ours.
struct Question {
    group: GroupId,
    place: Place,
    account: AccountId,
    device: DeviceId,
    reseal: Reseal,
}

/// What is asked for and kept; rebuilt from rows but for the questions, which are answered in the batch in which they come.
#[derive(Default)]
pub(super) struct Reseals {
    /// When each missing message is asked for, milliseconds since 1970.
    due: BTreeMap<(GroupId, DeviceId, MessageId), u64>,
    questions: Vec<Question>,
    /// Own messages that are kept, in the order of their times, with their bytes and the epochs in which they were sealed.
    sent: BTreeMap<MessageId, (usize, (GroupId, u64))>,
    sent_bytes: usize,
    /// How many of them are of an epoch.
    epochs: BTreeMap<(GroupId, u64), usize>,
    /// Changes among them, by the message that they change.
    changes: BTreeMap<MessageId, BTreeSet<MessageId>>,
    /// Messages of ours that went in this batch.
    went: BTreeSet<MessageId>,
}

impl Reseals {
    /// Gives the epoch of which nothing is kept any more, if that changes it.
    fn keeps(&mut self, id: MessageId, row: &SentRow) -> Option<(GroupId, u64)> {
        let (bytes, epoch) = (row.content.len() + SENT_ROW_BYTES, (row.group, row.epoch));
        let before = self.forgets(&id);
        self.sent.insert(id, (bytes, epoch));
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
        *self.epochs.entry(epoch).or_default() += 1;
        if let Some(about) = row.about {
            self.changes.entry(about).or_default().insert(id);
        }
        before.filter(|before| *before != epoch)
    }

    /// Gives the epoch of which nothing is kept any more, if that was the last of it.
    fn forgets(&mut self, id: &MessageId) -> Option<(GroupId, u64)> {
        let (bytes, epoch) = self.sent.remove(id)?;
        self.sent_bytes = self.sent_bytes.saturating_sub(bytes);
        let left = self.epochs.get(&epoch).copied().unwrap_or(0).saturating_sub(1);
        if left > 0 {
            self.epochs.insert(epoch, left);
            return None;
        }
        self.epochs.remove(&epoch);
        Some(epoch)
    }

    /// A message of ours was deleted, or its time is over.
    pub fn goes(&mut self, id: MessageId) {
        self.went.insert(id);
    }

    /// Every pause is over: the clock was set back.
    pub fn due_at_once(&mut self) {
        self.due.values_mut().for_each(|at| *at = 0);
    }
}

impl Device {
    pub(super) fn load_reseals(&mut self) -> Result<(), DeviceError> {
        for (key, row) in self.table.scan::<SentRow>(&[SENT])? {
            if let Some(id) = key.get(1..).and_then(MessageId::from_slice) {
                self.reseals.keeps(id, &row);
            }
        }
        for (_, row) in self.table.scan::<MissingRow>(&[MISSING])? {
            if !row.gone && row.asked < ASKED_MAX {
                let EntryHeader { feed, device, message, .. } = row.header;
                self.reseals.due.insert((feed.group, device, message), 0);
            }
        }
        Ok(())
    }

    /// How many messages this device knows of and could not open.
    pub fn missing(&self) -> usize {
        self.table.count(&[MISSING])
    }

    /// Keeps a message of ours as it is sealed, for whoever will not be able to open it; of a receipt only that it was one.
    pub(super) fn keep_sent(&mut self, id: MessageId, (group, epoch): (GroupId, u64), content: &Bytes) {
        let Ok(decoded) = Content::decode(content.as_slice()) else { return };
        let receipt = decoded.body.is_receipt();
        let about = match &decoded.body {
            Body::Edit(edit) => Some(edit.message),
            Body::Reaction(reaction) => Some(reaction.message),
            _ => None,
        };
        let content = if receipt { Bytes(Vec::new()) } else { content.clone() };
        let row = SentRow { group, epoch, about, receipt, content };
        self.table.put(rows::sent(&id), &row);
        if let Some((group, epoch)) = self.reseals.keeps(id, &row) {
            self.table.delete(rows::audience(&group, epoch));
        }
    }

    /// Notes who takes part in an epoch in which we say something.
    pub(super) fn keep_audience(&mut self, group: &GroupId, epoch: u64, accounts: Vec<AccountId>) {
        let key = rows::audience(group, epoch);
        if !self.table.has(&key) {
            self.table.put(key, &accounts);
        }
    }

    /// A message of ours went: nobody is given it again, nor what it said after it was changed.
    fn forget_sent(&mut self, id: &MessageId) -> Result<(), DeviceError> {
        let changes = self.reseals.changes.remove(id).unwrap_or_default();
        for id in changes.into_iter().chain([*id]) {
            if let Some(row) = self.table.get::<SentRow>(&rows::sent(&id))?.filter(|row| !row.content.is_empty()) {
                let row = SentRow { content: Bytes(Vec::new()), about: None, ..row };
                self.table.put(rows::sent(&id), &row);
                self.reseals.keeps(id, &row);
            }
        }
        Ok(())
    }

    /// A message is of an epoch of which there is no copy any more: it is told once, and asked for.
    pub(super) fn missed(&mut self, place: &Place, header: &EntryHeader, now_ms: u64) {
        let key = rows::missing(&header.feed.group, &header.device, &header.message);
        if self.table.has(&key) {
            return;
        }
        if self.table.count(&[MISSING]) >= MISSING_MAX {
            self.gap(Some(place.conversation), header, "the message cannot be opened");
            return;
        }
        self.gap(Some(place.conversation), header, "the message cannot be opened yet: its author is asked for it");
        self.table.put(key, &MissingRow { header: header.clone(), asked: 0, gone: false });
        let missing = (header.feed.group, header.device, header.message);
        self.reseals.due.insert(missing, now_ms.saturating_add(ASK_DELAY_MS));
    }

    /// Somebody could not open messages of ours, or of somebody else.
    pub(super) fn asked_again(
        &mut self,
        header: &EntryHeader,
        place: Place,
        reseal: Reseal,
    ) -> Result<(), DeviceError> {
        let EntryHeader { account, device, .. } = *header;
        // Whom we do not want to hear of us hears nothing; and a stranger of a conversation of two was told nothing.
        let hears = match place.peer {
            Some(peer) if account != self.me.account => self.may_hear_of_us(&peer)?,
            _ => !self.person(&account)?.blocked,
        };
        if reseal.device == self.me.device && hears {
            let group = header.feed.group;
            self.reseals.questions.push(Question { group, place, account, device, reseal });
        }
        Ok(())
    }

    /// An author's device gives us what we could not open.
    pub(super) fn sealed_again(
        &mut self,
        header: &EntryHeader,
        place: Place,
        resealed: &Resealed,
        now_ms: u64,
    ) -> Result<(), DeviceError> {
        let group = header.feed.group;
        if resealed.to != self.me.device {
            return Ok(());
        }
        let Some(key) = self.reseal_key()? else { return Ok(()) };
        let sealed: Result<SealedBox, _> = codec::decode(resealed.sealed.as_slice(), limits::PAYLOAD_BYTES_MAX);
        let context = context(&group, &header.device, &self.me.device);
        let Some(plain) = sealed.ok().and_then(|sealed| sealed.open(&key, &context).ok()) else { return Ok(()) };
        let Ok(given) = codec::decode::<Vec<(MessageId, Again)>>(&plain, limits::PAYLOAD_BYTES_MAX) else {
            return Ok(());
        };
        for (id, again) in given {
            let key = rows::missing(&group, &header.device, &id);
            let Some(row) = self.table.get::<MissingRow>(&key)? else { continue };
            match again {
                Again::Gone => self.table.put(key, &MissingRow { gone: true, ..row }),
                Again::Nothing => self.table.delete(key),
                Again::Content(content) => {
                    // The one who says so is the device that said it, by its leaf's signature: the id must fit as always.
                    let nested = Content::decode(content.as_slice())
                        .is_ok_and(|content| matches!(content.body, Body::Reseal(_) | Body::Resealed(_)));
                    let author_fits = row.header.account == header.account;
                    if !author_fits || nested || !row.header.message.fits(content.as_slice()) {
                        continue;
                    }
                    self.table.delete(key);
                    self.opened(&row.header, place, content.as_slice(), now_ms)?;
                }
            }
            self.reseals.due.remove(&(group, header.device, id));
            if !self.table.has(&rows::missing(&group, &header.device, &id)) {
                self.staged.push(Output::GapClosed { message: id });
            }
        }
        if self.table.count(&[MISSING]) == 0 {
            // Nothing that was sealed to it can be opened any more.
            self.table.delete(rows::reseal_key());
        }
        Ok(())
    }

    /// Answers what was asked, asks for what is missing, and forgets what is too old.
    pub(super) fn pump_reseals(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        for id in std::mem::take(&mut self.reseals.went) {
            self.forget_sent(&id)?;
        }
        for question in std::mem::take(&mut self.reseals.questions) {
            self.answer(question, &mut *random, now_ms)?;
        }
        if self.link.is_ready() {
            self.ask_again(random, now_ms)?;
        }
        self.trim_sent(now_ms);
        Ok(())
    }

    pub(super) fn reseals_wake_at(&self) -> Option<u64> {
        self.reseals.due.values().min().copied().filter(|_| self.link.is_ready())
    }

    fn answer(&mut self, question: Question, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        let Question { group, place, account, device, reseal } = question;
        let Some(key) = BoxPublicKey::from_slice(reseal.key.as_slice()) else { return Ok(()) };
        let row = rows::answered(&account);
        let mut answered: AnsweredRow = self.table.get(&row)?.unwrap_or_default();
        if now_ms.saturating_sub(answered.since) > ASK_AGAIN_MS || now_ms < answered.since {
            answered = AnsweredRow { since: now_ms, count: 0 };
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for id in reseal.messages {
            if answered.count >= ANSWERED_MAX {
                break;
            }
            answered.count += 1;
            let again = self.again(&group, &account, &id)?;
            let length = if let Again::Content(content) = &again { content.len() } else { 0 };
            if bytes + length > ANSWER_BYTES && !batch.is_empty() {
                self.give(&place, (group, device), &key, std::mem::take(&mut batch), (&mut *random, now_ms))?;
                bytes = 0;
            }
            bytes += length + 64;
            batch.push((id, again));
        }
        self.table.put(row, &answered);
        if batch.is_empty() { Ok(()) } else { self.give(&place, (group, device), &key, batch, (random, now_ms)) }
    }

    /// What an account is given of a message of ours.
    fn again(&self, group: &GroupId, account: &AccountId, id: &MessageId) -> Result<Again, DeviceError> {
        let Some(row) = self.table.get::<SentRow>(&rows::sent(id))? else { return Ok(Again::Gone) };
        if row.receipt {
            return Ok(Again::Nothing);
        }
        let audience: Vec<AccountId> = self.table.get(&rows::audience(&row.group, row.epoch))?.unwrap_or_default();
        let is_for_them = row.group == *group && audience.contains(account);
        Ok(if is_for_them && !row.content.is_empty() { Again::Content(row.content) } else { Again::Gone })
    }

    fn give(
        &mut self,
        place: &Place,
        (group, device): (GroupId, DeviceId),
        key: &BoxPublicKey,
        batch: Vec<(MessageId, Again)>,
        (random, now_ms): (Random<'_>, u64),
    ) -> Result<(), DeviceError> {
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut seed[..]);
        let context = context(&group, &self.me.device, &device);
        let Ok(sealed) = SealedBox::seal(key, &context, &codec::encode(&batch), seed) else { return Ok(()) };
        let body = Body::Resealed(Resealed { to: device, sealed: Bytes(codec::encode(&sealed)) });
        self.write(target(place), place.peer, body, random, now_ms).map(|_| ())
    }

    /// Asks the authors' devices for what is due, all that one of them has said in one question.
    fn ask_again(&mut self, random: Random<'_>, now_ms: u64) -> Result<(), DeviceError> {
        let mut due: BTreeMap<(GroupId, DeviceId), Vec<MessageId>> = BTreeMap::new();
        for ((group, device, message), at) in &self.reseals.due {
            if *at <= now_ms {
                due.entry((*group, *device)).or_default().push(*message);
            }
        }
        for ((group, device), messages) in due {
            let place = self.people_of_group(&group)?;
            let mut wanted = Vec::new();
            for id in messages {
                self.reseals.due.remove(&(group, device, id));
                let key = rows::missing(&group, &device, &id);
                let (Some(row), Some((place, people))) = (self.table.get::<MissingRow>(&key)?, &place) else {
                    continue;
                };
                if self.table.has(&rows::history(&place.conversation, &id)) {
                    // The archive brought it.
                    self.table.delete(key);
                    self.staged.push(Output::GapClosed { message: id });
                } else if people.contains(&row.header.account) {
                    let asked = row.asked.saturating_add(1);
                    self.table.put(key, &MissingRow { asked, ..row });
                    if asked < ASKED_MAX {
                        self.reseals.due.insert((group, device, id), now_ms.saturating_add(ASK_AGAIN_MS));
                    }
                    wanted.push(id);
                }
            }
            let Some((place, _)) = place.filter(|_| !wanted.is_empty()) else { continue };
            let key = Bytes(self.new_reseal_key(&mut *random)?.public_key().as_bytes().to_vec());
            for messages in wanted.chunks(limits::RECEIPT_MESSAGES_MAX) {
                let body = Body::Reseal(Reseal { device, messages: messages.to_vec(), key: key.clone() });
                self.write(target(&place), place.peer, body, &mut *random, now_ms)?;
            }
        }
        Ok(())
    }

    /// Where a group's words are said, and by whom; `None` if we have no part in it.
    fn people_of_group(&self, group: &GroupId) -> Result<Option<(Place, Vec<AccountId>)>, DeviceError> {
        if let Some(row) = self.table.get::<GroupRow>(&rows::group(group))?.filter(|row| !row.over) {
            let people = row.state.participants.iter().map(|one| one.account).collect();
            return Ok(Some((Place { conversation: row.conversation, peer: Some(row.peer) }, people)));
        }
        let conversation = ConversationId::of_group(group);
        let row = self.group_of(&conversation)?;
        Ok(row
            .map(|row| (Place::of_many(conversation), row.state.participants.iter().map(|one| one.account).collect())))
    }

    /// The key that answers are sealed to, while something is missing.
    fn reseal_key(&self) -> Result<Option<BoxSecretKey>, DeviceError> {
        let seed: Option<Bytes> = self.table.get(&rows::reseal_key())?;
        let seed = seed.and_then(|seed| <[u8; 32]>::try_from(seed.as_slice()).ok()).map(Zeroizing::new);
        Ok(seed.map(|seed| BoxSecretKey::from_seed(&seed)))
    }

    fn new_reseal_key(&mut self, random: Random<'_>) -> Result<BoxSecretKey, DeviceError> {
        if let Some(key) = self.reseal_key()? {
            return Ok(key);
        }
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut seed[..]);
        self.table.put(rows::reseal_key(), &Bytes(seed.to_vec()));
        Ok(BoxSecretKey::from_seed(&seed))
    }

    /// What is older than writers keep what they have sent, and what is too much, goes.
    fn trim_sent(&mut self, now_ms: u64) {
        while let Some(id) = self.reseals.sent.first_key_value().map(|(id, _)| *id) {
            let too_old = now_ms.saturating_sub(id.at_ms()) > limits::RETENTION_MS;
            if !too_old && self.reseals.sent_bytes <= SENT_BYTES_MAX {
                break;
            }
            self.table.delete(rows::sent(&id));
            self.reseals.changes.remove(&id);
            if let Some((group, epoch)) = self.reseals.forgets(&id) {
                self.table.delete(rows::audience(&group, epoch));
            }
        }
    }
}

fn target(place: &Place) -> Target {
    place.peer.map_or(Target::Conversation(place.conversation), Target::Account)
}

/// Which group, by whom, for whom: a box that is moved opens nothing.
fn context(group: &GroupId, author: &DeviceId, to: &DeviceId) -> Vec<u8> {
    [labels::RESEALED.as_bytes(), group.as_bytes(), author.as_bytes(), to.as_bytes()].concat()
}
