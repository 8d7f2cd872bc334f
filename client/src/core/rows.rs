//! The rows of a device, and the table that holds them in memory and collects what changes.
//!
//! Keys hold no names of people: the store seals values only.

use super::DeviceError;
use super::message::State;
use super::people::Settings;
use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::group::{Rows, WriteSet};
use roost_crypto::identity_log::IdentityLog;
use roost_crypto::ids::{AccountId, DeviceId, OrgId};
use roost_crypto::labels;
use roost_crypto::signed::Signed;
use roost_protocol::content::BlobRef;
use roost_protocol::conversation::ConversationState;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, FeedId, GroupId, Incarnation, MessageId};
use roost_protocol::records::SignedOrgRecord;
use roost_protocol::refusal::Refusal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

const ACCOUNT: u8 = b'a';
const ARCHIVE: u8 = b'A';
pub(super) const ABOUT: u8 = b'b';
const ANSWERED: u8 = b'Q';
pub(super) const ABOUT_PICTURE: u8 = b'V';
const ASTRAY: u8 = b'G';
const AUDIENCE: u8 = b'P';
const BRANCH: u8 = b'B';
pub(super) const BROKEN: u8 = b'X';
const DONE: u8 = b'O';
const EQUIVOCATION: u8 = b'E';
const HEAD: u8 = b'H';
const LATER: u8 = b'J';
const LEAF: u8 = b'U';
const LINEAGE: u8 = b'L';
const CREATION: u8 = b'C';
pub(super) const CONTACT: u8 = b'c';
pub(super) const CONVERSATION: u8 = b'n';
/// A row that the archive does not have as it is.
pub(super) const DIRTY: u8 = b'D';
const DEDUPE: u8 = b'd';
pub(super) const DEVICE_NAME: u8 = b'N';
pub(super) const FEED: u8 = b'f';
pub(super) const GROUP: u8 = b'g';
pub(super) const HISTORY: u8 = b'h';
const CURSOR: u8 = b'i';
pub(super) const INTENT: u8 = b'w';
pub(super) const INVITATION: u8 = b'v';
pub(super) const FOLLOWED: u8 = b'F';
pub(super) const JOINING: u8 = b'j';
pub(super) const MISSING: u8 = b'M';
const LAST_RESORT: u8 = b'Z';
pub(super) const MADE: u8 = b'W';
const MLS: u8 = b'm';
pub(super) const OLD_LOG: u8 = b'l';
pub(super) const OUTBOX: u8 = b'o';
pub(super) const PARKED: u8 = b'k';
pub(super) const PEER: u8 = b'p';
pub(super) const PENDING: u8 = b'e';
pub(super) const LOST: u8 = b'R';
pub(super) const ORG: u8 = b'q';
pub(super) const OWN_PICTURE: u8 = b'I';
pub(super) const RECEIVED: u8 = b'r';
pub(super) const PERSON: u8 = b's';
pub(super) const PICTURE: u8 = b'Y';
pub(super) const DRAFT: u8 = b't';
const PUSH: u8 = b'0';
const RESEAL_KEY: u8 = b'K';
pub(super) const SENT: u8 = b'S';
pub(super) const SETTINGS: u8 = b'x';
pub(super) const KEY_CHANGE: u8 = b'y';
pub(super) const SEEN: u8 = b'u';
pub(super) const TIMER: u8 = b'T';
const WAITING: u8 = b'z';

/// The kinds of rows that the account's other devices are to have.
pub(super) const ARCHIVED: &[u8] = &[
    HISTORY,
    PERSON,
    PICTURE,
    OWN_PICTURE,
    SETTINGS,
    DRAFT,
    CONTACT,
    PEER,
    ORG,
    ABOUT,
    ABOUT_PICTURE,
    TIMER,
    DEVICE_NAME,
];

/// Who this device is.
#[derive(Clone, Serialize, Deserialize)]
pub struct AccountRow {
    /// Base URL of the home.
    pub server: String,
    /// Seed of the device's key.
    pub device_seed: Bytes,
    /// The account's log.
    pub log: IdentityLog,
    /// The handle.
    pub handle: Handle,
    /// The organisation's word for it: brings the account back to a home that lost its store.
    pub handle_record: Signed,
    /// The organisation's record.
    pub org: SignedOrgRecord,
    /// Opens the account's archive; absent where none is kept.
    pub archive_key: Option<Bytes>,
}

/// Somebody else's account.
#[derive(Serialize, Deserialize)]
pub(super) struct PeerRow {
    pub log: IdentityLog,
    /// Verified by a handle record.
    pub handle: Option<Handle>,
}

/// A group of a conversation.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct GroupRow {
    pub conversation: ConversationId,
    pub peer: AccountId,
    pub epoch: u64,
    /// Signed by the hub; absent while our own creation has no verdict.
    pub head: Option<Signed>,
    /// What its members agree on; for a conversation of two it never changes.
    pub state: ConversationState,
    /// This device was removed: what was received stays.
    pub over: bool,
    /// Its hub has lost its state, so its devices stay those that it has: what comes in it is read, and another group takes its place.
    #[serde(default)]
    pub sealed: bool,
}

/// What a person calls a device of the account, and since when, milliseconds since 1970.
#[derive(Serialize, Deserialize)]
pub(super) struct DeviceNameRow {
    pub name: String,
    pub changed_at: u64,
}

/// Where an outgoing message goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Target {
    Handle(Handle),
    Account(AccountId),
    Conversation(ConversationId),
}

/// A message as it was sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct SealedRow {
    pub group: GroupId,
    pub epoch: u64,
    pub payload: Bytes,
}

/// An outgoing message.
#[derive(Serialize, Deserialize)]
pub(super) struct OutboxRow {
    pub order: u64,
    pub target: Target,
    pub receipt: bool,
    pub account: Option<AccountId>,
    /// Accounts of a conversation of many whose homes do not have it yet; set when it is sealed.
    pub waiting: BTreeSet<AccountId>,
    pub conversation: Option<ConversationId>,
    /// Empty once the recipient's home has custody.
    pub content: Bytes,
    pub sealed: Option<SealedRow>,
    pub attempt: u32,
    pub state: State,
    pub submitted_at: u64,
    pub accepted_at: Option<u64>,
    pub custody_at: Option<u64>,
    pub delivered_at: Option<u64>,
    pub error: Option<Refusal>,
    /// The blobs that it is about: they go to the home first.
    #[serde(default)]
    pub blobs: Vec<BlobRef>,
    /// They are there.
    #[serde(default)]
    pub uploaded: bool,
}

impl OutboxRow {
    /// Whether it waits for its blobs.
    pub fn is_parked(&self) -> bool {
        !self.blobs.is_empty() && !self.uploaded
    }
}

/// A received message, in the order in which it is handed out; what it says is in its row of the history.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ReceivedRow {
    pub id: MessageId,
    pub conversation: ConversationId,
    pub account: AccountId,
    pub device: DeviceId,
    pub shown: bool,
}

/// What the person decided about another account.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct PersonRow {
    /// We wrote to it, or said that it may write to us.
    pub accepted: bool,
    pub blocked: bool,
    /// The safety number was compared.
    pub verified: bool,
    /// What it wants to be called, and the message that said so.
    pub profile: Option<(MessageId, String)>,
    /// The profile of ours that it was told.
    pub told: Option<String>,
    /// When the picture of ours that it was told was chosen.
    pub picture_told: Option<u64>,
    /// Milliseconds since 1970: among devices of an account the later word counts.
    pub changed_at: u64,
}

/// What the person chose, and when, milliseconds since 1970.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct SettingsRow {
    pub settings: Settings,
    pub changed_at: u64,
}

/// A text that was not finished, and when it was left, milliseconds since 1970; empty once it was sent.
#[derive(Serialize, Deserialize)]
pub(super) struct DraftRow {
    pub text: String,
    pub changed_at: u64,
}

/// Another account than the known one was found behind a handle; nothing is sent there until the person decides.
#[derive(Serialize, Deserialize)]
pub(super) struct KeyChangeRow {
    pub handle: Handle,
    pub account: AccountId,
    pub seen_at: u64,
    /// The person saw it.
    pub shown: bool,
}

/// When somebody last did something, by its own word, and when that was heard, milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeenRow {
    pub last_active_at: u64,
    pub heard_at: u64,
}

/// How far the inbox is read.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CursorRow {
    pub incarnation: Incarnation,
    pub after: u64,
}

pub(super) fn account() -> Vec<u8> {
    vec![ACCOUNT]
}

pub(super) fn archive() -> Vec<u8> {
    vec![ARCHIVE]
}

pub(super) fn dirty(row: &[u8]) -> Vec<u8> {
    key(DIRTY, &[row])
}

pub(super) fn push() -> Vec<u8> {
    vec![PUSH]
}

pub(super) fn cursor() -> Vec<u8> {
    vec![CURSOR]
}

pub(super) fn contact(handle: &Handle) -> Vec<u8> {
    key(CONTACT, &[&labels::hash(labels::CONTACT_ROW, &[b"handle", handle.to_string().as_bytes()])])
}

pub(super) fn org(name: &str) -> Vec<u8> {
    key(ORG, &[&labels::hash(labels::CONTACT_ROW, &[b"org", name.as_bytes()])])
}

pub(super) fn peer(account: &AccountId) -> Vec<u8> {
    key(PEER, &[account.as_bytes()])
}

pub(super) fn group(group: &GroupId) -> Vec<u8> {
    key(GROUP, &[group.as_bytes()])
}

pub(super) fn conversation(id: &ConversationId) -> Vec<u8> {
    key(CONVERSATION, &[id.as_bytes()])
}

pub(super) fn about(conversation: &ConversationId) -> Vec<u8> {
    key(ABOUT, &[conversation.as_bytes()])
}

pub(super) fn about_picture(conversation: &ConversationId) -> Vec<u8> {
    key(ABOUT_PICTURE, &[conversation.as_bytes()])
}

pub(super) fn timer(conversation: &ConversationId) -> Vec<u8> {
    key(TIMER, &[conversation.as_bytes()])
}

pub(super) fn own_picture() -> Vec<u8> {
    vec![OWN_PICTURE]
}

pub(super) fn picture(account: &AccountId) -> Vec<u8> {
    key(PICTURE, &[account.as_bytes()])
}

pub(super) fn seen(account: &AccountId) -> Vec<u8> {
    key(SEEN, &[account.as_bytes()])
}

pub(super) fn last_resort() -> Vec<u8> {
    vec![LAST_RESORT]
}

/// Private halves of key packages, by when they go.
pub(super) fn made(until: u64, first: &[u8]) -> Vec<u8> {
    key(MADE, &[&until.to_be_bytes(), first])
}

pub(super) fn invitation(conversation: &ConversationId) -> Vec<u8> {
    key(INVITATION, &[conversation.as_bytes()])
}

pub(super) fn intent(number: u64) -> Vec<u8> {
    key(INTENT, &[&number.to_be_bytes()])
}

pub(super) fn pending(group: &GroupId) -> Vec<u8> {
    key(PENDING, &[group.as_bytes()])
}

pub(super) fn astray(group: &GroupId) -> Vec<u8> {
    key(ASTRAY, &[group.as_bytes()])
}

/// A group whose state this device has lost.
pub(super) fn lost(group: &GroupId) -> Vec<u8> {
    key(LOST, &[group.as_bytes()])
}

pub(super) fn branch(group: &GroupId) -> Vec<u8> {
    key(BRANCH, &[group.as_bytes()])
}

/// How a group began; absent for a device that joined later. Apart from the group's row, which is read far more often.
pub(super) fn creation(group: &GroupId) -> Vec<u8> {
    key(CREATION, &[group.as_bytes()])
}

/// Since when our leaf of a group is as it is.
pub(super) fn leaf(group: &GroupId) -> Vec<u8> {
    key(LEAF, &[group.as_bytes()])
}

pub(super) fn lineage(group: &GroupId) -> Vec<u8> {
    key(LINEAGE, &[group.as_bytes()])
}

pub(super) fn equivocation(group: &GroupId) -> Vec<u8> {
    key(EQUIVOCATION, &[group.as_bytes()])
}

pub(super) fn heads_of(group: &GroupId) -> Vec<u8> {
    key(HEAD, &[group.as_bytes()])
}

pub(super) fn head(group: &GroupId, epoch: u64) -> Vec<u8> {
    key(HEAD, &[group.as_bytes(), &epoch.to_be_bytes()])
}

pub(super) fn done_of(group: &GroupId) -> Vec<u8> {
    key(DONE, &[group.as_bytes()])
}

pub(super) fn done(group: &GroupId, epoch: u64) -> Vec<u8> {
    key(DONE, &[group.as_bytes(), &epoch.to_be_bytes()])
}

/// The epoch of a key made by [`done`].
pub(super) fn done_epoch(key: &[u8]) -> Option<u64> {
    key.get(33..).and_then(|tail| tail.try_into().ok()).map(u64::from_be_bytes)
}

pub(super) fn joining(group: &GroupId) -> Vec<u8> {
    key(JOINING, &[group.as_bytes()])
}

pub(super) fn parked_of(group: &GroupId) -> Vec<u8> {
    key(PARKED, &[group.as_bytes()])
}

pub(super) fn parked(group: &GroupId, number: u64) -> Vec<u8> {
    key(PARKED, &[group.as_bytes(), &number.to_be_bytes()])
}

pub(super) fn outbox(id: &MessageId) -> Vec<u8> {
    key(OUTBOX, &[id.as_bytes()])
}

/// A message of ours, for whoever could not open it.
pub(super) fn sent(id: &MessageId) -> Vec<u8> {
    key(SENT, &[id.as_bytes()])
}

/// Who took part in an epoch in which we said something.
pub(super) fn audience(group: &GroupId, epoch: u64) -> Vec<u8> {
    key(AUDIENCE, &[group.as_bytes(), &epoch.to_be_bytes()])
}

/// A message that we could not open.
pub(super) fn missing(group: &GroupId, device: &DeviceId, message: &MessageId) -> Vec<u8> {
    key(MISSING, &[group.as_bytes(), device.as_bytes(), message.as_bytes()])
}

pub(super) fn reseal_key() -> Vec<u8> {
    vec![RESEAL_KEY]
}

/// How much an account was given again.
pub(super) fn answered(account: &AccountId) -> Vec<u8> {
    key(ANSWERED, &[account.as_bytes()])
}

pub(super) fn received(order: u64) -> Vec<u8> {
    key(RECEIVED, &[&order.to_be_bytes()])
}

pub(super) fn dedupe(device: &DeviceId, id: &MessageId) -> Vec<u8> {
    key(DEDUPE, &[device.as_bytes(), id.as_bytes()])
}

pub(super) fn settings() -> Vec<u8> {
    vec![SETTINGS]
}

pub(super) fn person(account: &AccountId) -> Vec<u8> {
    key(PERSON, &[account.as_bytes()])
}

pub(super) fn key_change(handle: &Handle) -> Vec<u8> {
    key(KEY_CHANGE, &[&labels::hash(labels::CONTACT_ROW, &[b"handle", handle.to_string().as_bytes()])])
}

pub(super) fn device_name(device: &DeviceId) -> Vec<u8> {
    key(DEVICE_NAME, &[device.as_bytes()])
}

pub(super) fn draft(conversation: &ConversationId) -> Vec<u8> {
    key(DRAFT, &[conversation.as_bytes()])
}

pub(super) fn history(conversation: &ConversationId, id: &MessageId) -> Vec<u8> {
    key(HISTORY, &[conversation.as_bytes(), id.as_bytes()])
}

pub(super) fn history_of(conversation: &ConversationId) -> Vec<u8> {
    key(HISTORY, &[conversation.as_bytes()])
}

/// A change of a message that is not there yet.
pub(super) fn waiting(conversation: &ConversationId, message: &MessageId, change: &MessageId) -> Vec<u8> {
    key(WAITING, &[conversation.as_bytes(), message.as_bytes(), change.as_bytes()])
}

pub(super) fn waiting_for(conversation: &ConversationId, message: &MessageId) -> Vec<u8> {
    key(WAITING, &[conversation.as_bytes(), message.as_bytes()])
}

pub(super) fn waiting_of(conversation: &ConversationId) -> Vec<u8> {
    key(WAITING, &[conversation.as_bytes()])
}

pub(super) fn feed(feed: &FeedId) -> Vec<u8> {
    let FeedId { group, node, incarnation } = feed;
    key(FEED, &[group.as_bytes(), node.public_key().as_bytes(), incarnation.as_bytes()])
}

pub(super) fn feeds_of(group: &GroupId) -> Vec<u8> {
    key(FEED, &[group.as_bytes()])
}

/// How far a feed goes by more than what came of it, and what is missing; absent where nothing is.
pub(super) fn followed(feed: &FeedId) -> Vec<u8> {
    let FeedId { group, node, incarnation } = feed;
    key(FOLLOWED, &[group.as_bytes(), node.public_key().as_bytes(), incarnation.as_bytes()])
}

pub(super) fn followed_of(group: &GroupId) -> Vec<u8> {
    key(FOLLOWED, &[group.as_bytes()])
}

/// There where the feeds of a group concern us from some later position on, not from the first.
pub(super) fn later(group: &GroupId) -> Vec<u8> {
    key(LATER, &[group.as_bytes()])
}

/// A change of a group that its hub put in order and that this device does not follow.
pub(super) fn broken(group: &GroupId) -> Vec<u8> {
    key(BROKEN, &[group.as_bytes()])
}

/// A newer log of an account than the home tells of.
pub(super) fn old_log(account: &AccountId) -> Vec<u8> {
    key(OLD_LOG, &[account.as_bytes()])
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// Rows that stay read: a conversation of a hundred has about 10 KiB.
const READ_MAX: usize = 128;

/// The value of an organisation's row: the first id that was seen for a name.
pub(super) type OrgRow = OrgId;

/// All rows of the device in memory, and what changed since it was last asked.
pub(super) struct Table {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Rows that are looked at again and again, as [`Table::look`] has read them.
    read: RefCell<BTreeMap<Vec<u8>, Box<dyn Any + Send>>>,
    writes: WriteSet,
    /// Keys of rows of the kinds that are archived which got another value.
    changed: BTreeSet<Vec<u8>>,
    /// The kind whose changes somebody follows, and the keys of the rows that were written since they were last taken.
    followed: Option<(u8, BTreeSet<Vec<u8>>)>,
}

impl Table {
    pub fn new(rows: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        Self { rows, read: RefCell::default(), writes: WriteSet::default(), changed: BTreeSet::new(), followed: None }
    }

    /// From now on it is noted which rows of a kind are written.
    pub fn follow(&mut self, kind: u8) {
        self.followed.get_or_insert((kind, BTreeSet::new()));
    }

    /// The keys of the followed rows that were written since the last call.
    pub fn take_followed(&mut self) -> BTreeSet<Vec<u8>> {
        self.followed.as_mut().map(|(_, keys)| std::mem::take(keys)).unwrap_or_default()
    }

    pub fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.write(key, Some(codec::encode(value)));
    }

    pub fn delete(&mut self, key: Vec<u8>) {
        self.write(key, None);
    }

    /// Takes over what an MLS call changed.
    pub fn apply_mls(&mut self, writes: WriteSet) {
        for (mls_key, value) in writes.0 {
            self.write(key(MLS, &[&mls_key]), value);
        }
    }

    /// What changed since the last call: to be committed as one.
    pub fn take_writes(&mut self) -> WriteSet {
        std::mem::take(&mut self.writes)
    }

    /// Which rows got another value since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Vec<u8>> {
        std::mem::take(&mut self.changed)
    }

    /// A row as it is stored.
    pub fn raw(&self, key: &[u8]) -> Option<&[u8]> {
        self.rows.get(key).map(Vec::as_slice)
    }

    /// The keys of all rows under some kinds.
    pub fn keys_of(&self, kinds: &[u8]) -> Vec<Vec<u8>> {
        let of = |kind: u8| self.rows.range(vec![kind]..).take_while(move |(key, _)| key.first() == Some(&kind));
        kinds.iter().flat_map(|kind| of(*kind)).map(|(key, _)| key.clone()).collect()
    }

    pub fn has(&self, key: &[u8]) -> bool {
        self.rows.contains_key(key)
    }

    pub fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, DeviceError> {
        self.rows.get(key).map(|value| decode(value)).transpose()
    }

    /// As [`Self::get`], for rows that are looked at several times with each message: the state of a conversation of a hundred
    /// takes as long to read as the message to open. Each kind of row is of one type.
    pub fn look<T: DeserializeOwned + Clone + Send + 'static>(&self, key: &[u8]) -> Result<Option<T>, DeviceError> {
        if let Some(known) = self.read.borrow().get(key).and_then(|known| known.downcast_ref::<T>()) {
            return Ok(Some(known.clone()));
        }
        let row: Option<T> = self.get(key)?;
        if let Some(row) = &row {
            let mut read = self.read.borrow_mut();
            if read.len() >= READ_MAX {
                read.clear();
            }
            read.insert(key.to_vec(), Box::new(row.clone()));
        }
        Ok(row)
    }

    pub fn scan<T: DeserializeOwned>(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, T)>, DeviceError> {
        self.rows
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| Ok((key.clone(), decode(value)?)))
            .collect()
    }

    /// The keys of the rows under a prefix.
    pub fn keys_under(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let under = self.rows.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        under.map(|(key, _)| key.clone()).collect()
    }

    /// How many rows there are under a prefix.
    pub fn count(&self, prefix: &[u8]) -> usize {
        self.rows.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix)).count()
    }

    /// The first rows under a prefix whose keys are above `after`, in their order.
    pub fn next<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, DeviceError> {
        let begin = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.rows
            .range::<[u8], _>((begin, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(max)
            .map(|(key, value)| Ok((key.clone(), decode(value)?)))
            .collect()
    }

    /// The last rows under a prefix whose keys are below `before`, last first.
    pub fn newest<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        before: Option<Vec<u8>>,
        max: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, DeviceError> {
        let end = before.unwrap_or_else(|| prefix.iter().copied().chain([0xff; 33]).collect());
        self.rows
            .range(prefix.to_vec()..end)
            .rev()
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(max)
            .map(|(key, value)| Ok((key.clone(), decode(value)?)))
            .collect()
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.read.get_mut().remove(&key);
        let before = match &value {
            Some(value) => self.rows.insert(key.clone(), value.clone()),
            None => self.rows.remove(&key),
        };
        if before != value && key.first().is_some_and(|kind| ARCHIVED.contains(kind)) {
            self.changed.insert(key.clone());
        }
        if let Some((kind, keys)) = &mut self.followed
            && key.first() == Some(kind)
        {
            keys.insert(key.clone());
        }
        self.writes.0.insert(key, value);
    }
}

/// The engine's view of the table.
impl Rows for Table {
    fn row(&self, mls_key: &[u8]) -> Option<Vec<u8>> {
        self.rows.get(&key(MLS, &[mls_key])).cloned()
    }

    fn holds(&self, mls_key: &[u8], value: Option<&[u8]>) -> bool {
        self.rows.get(&key(MLS, &[mls_key])).map(Vec::as_slice) == value
    }
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, DeviceError> {
    codec::decode(value, usize::MAX).map_err(DeviceError::Row)
}
