//! The rows of a node's store: one tag byte, then the parts of the key, so that a scan of a prefix is a scan of a noun.

use crate::store::{Overlay, Read as _, RowKey, StoreError};
use roost_crypto::codec;
use roost_crypto::ids::{AccountId, DeviceId, NodeId};
use roost_crypto::keys::PublicKey;
use roost_protocol::ids::{BlobId, ConversationId, FeedId, GroupId, MessageId, OperationId};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Account id → [`super::AccountRow`].
pub const ACCOUNT: u8 = b'a';
/// Local part of a handle → account id.
pub const HANDLE: u8 = b'h';
/// Key of an invite → its uses and end.
pub const INVITE: u8 = b'i';
/// Account, device, number → key package.
pub const KEY_PACKAGE: u8 = b'k';
/// Account, device → last-resort key package.
pub const LAST_RESORT: u8 = b'l';
/// Group id → its head.
pub const GROUP: u8 = b'c';
/// Group id → how it began: signed head and creation.
pub const CREATION: u8 = b'e';
/// Conversation id → the group that stands.
pub const CONVERSATION: u8 = b'd';
/// Operation id → the group that stood: the verdict.
pub const VERDICT: u8 = b'v';
/// Feed, position → entry.
pub const ENTRY: u8 = b'f';
/// Feed → its head.
pub const FEED_HEAD: u8 = b'g';
/// Device, message, attempt → position in our feed.
pub const SUBMITTED: u8 = b'm';
/// Account, inbox position → feed, position, bytes of payload ever put in before it.
pub const INBOX: u8 = b'n';
/// Account → how far its inbox goes: last and first position, bytes of payload ever put in, and before the first.
pub const INBOX_EXTENT: u8 = b'N';
/// Account → last inbox position; of earlier versions.
pub const INBOX_HEAD: u8 = b's';
/// Account → bytes of payload ever put into its inbox; of earlier versions.
pub const INBOX_BYTES: u8 = b't';
/// Account, device → acknowledged inbox position.
pub const CURSOR: u8 = b'q';
/// Account, device → when it was last seen, within a day, milliseconds since 1970.
pub const SEEN: u8 = b'D';
/// Account, device → key of a device that was ended.
pub const ENDED: u8 = b'F';
/// Account, feed → position up to which the account has the feed in its inbox: custody given.
pub const HELD: u8 = b'u';
/// Feed, account → position up to which the account's home has it: custody received.
pub const OUTBOX: u8 = b'o';
/// Feed, account → the positions that concern it, if not all do.
pub const SPAN: u8 = b'r';
/// Foreign feed → the position from which on it is held without a hole, if that is not the first.
pub const FEED_START: u8 = b'j';
/// Group id → the hub's newest signed head, if it is behind the first epoch.
pub const SIGNED_HEAD: u8 = b'x';
/// Group id, epoch → its participants, where they changed.
pub const PARTICIPANTS: u8 = b'y';
/// Group id → its public MLS state, at its hub.
pub const PUBLIC_STATE: u8 = b'z';
/// Group id, epoch → the ratchet tree that joiners of this epoch need, at its hub.
pub const TREE: u8 = b'b';
/// Group id → GroupInfo of the epoch of its public MLS state, at its hub.
pub const GROUP_INFO: u8 = b'G';
/// Group id, epoch → the head that its hub signed.
pub const HEAD: u8 = b'H';
/// Group id → the heads by which its hub changed.
pub const LINEAGE: u8 = b'L';
/// Group id → the succession with which its term began.
pub const BRANCH: u8 = b'B';
/// Group id → the branches that do not stand: their terms and the nodes that ordered them.
pub const RIVALS: u8 = b'R';
/// Group id → whom this node asks for the public MLS state, and of which epoch.
pub const WANTED_STATE: u8 = b'W';
/// Group id, node → the term in which the node was given the public MLS state, and the life of its store; at the hub.
pub const GIVEN_STATE: u8 = b'S';
/// Group id → the proof that its hub told two stories.
pub const EQUIVOCATION: u8 = b'E';
/// Operation id → what the hub said to a commit.
pub const COMMIT_VERDICT: u8 = b'V';
/// Group id, epoch → feed and position of the commit, or creation, that made it.
pub const COMMIT_AT: u8 = b'C';
/// Account that lives elsewhere → newest identity log known.
pub const PEER_LOG: u8 = b'p';
/// Node → the life of its store, last heard.
pub const PEER_LIFE: u8 = b'w';

/// Account, device → where it is woken.
pub const PUSH: u8 = b'P';
/// Account, position → chunk of its archive.
pub const ARCHIVE: u8 = b'A';
/// Account → how far its archive goes.
pub const ARCHIVE_HEAD: u8 = b'I';
/// Account, name → position of the chunk.
pub const ARCHIVE_NAME: u8 = b'J';

/// Blob → how long it is, how it stands, for whom it is kept.
pub const BLOB: u8 = b'K';
/// When it goes, blob → nothing.
pub const BLOB_UNTIL: u8 = b'M';
/// Account, blob → what is kept on its account, and since when.
pub const BLOB_OF: u8 = b'O';
/// Account → bytes that are kept on its account.
pub const BLOB_USAGE: u8 = b'U';
/// Blob → the node that it is fetched from, and its length.
pub const BLOB_WANTED: u8 = b'X';
/// Feed of ours, position → the blobs that the entry is about.
pub const ENTRY_BLOBS: u8 = b'Y';

/// A tag and parts of fixed length.
pub fn key(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![tag];
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The first key behind every key that starts with `prefix`.
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// A feed as a key part: 80 bytes.
pub fn feed(id: &FeedId) -> Vec<u8> {
    [&id.group.as_bytes()[..], id.node.public_key().as_bytes(), id.incarnation.as_bytes()].concat()
}

/// A position as a key part: sorts as the number.
pub fn position(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

pub fn account(id: &AccountId) -> Vec<u8> {
    key(ACCOUNT, &[id.as_bytes()])
}

pub fn group(id: &GroupId) -> Vec<u8> {
    key(GROUP, &[id.as_bytes()])
}

pub fn creation(id: &GroupId) -> Vec<u8> {
    key(CREATION, &[id.as_bytes()])
}

pub fn conversation(id: &ConversationId) -> Vec<u8> {
    key(CONVERSATION, &[id.as_bytes()])
}

pub fn verdict(id: &OperationId) -> Vec<u8> {
    key(VERDICT, &[id.as_bytes()])
}

pub fn entry(id: &FeedId, seq: u64) -> Vec<u8> {
    key(ENTRY, &[&feed(id), &position(seq)])
}

pub fn feed_head(id: &FeedId) -> Vec<u8> {
    key(FEED_HEAD, &[&feed(id)])
}

pub fn submitted(device: &DeviceId, message: &MessageId, attempt: u32) -> Vec<u8> {
    key(SUBMITTED, &[device.as_bytes(), message.as_bytes(), &attempt.to_be_bytes()])
}

pub fn inbox(id: &AccountId, seq: u64) -> Vec<u8> {
    key(INBOX, &[id.as_bytes(), &position(seq)])
}

pub fn inbox_extent(id: &AccountId) -> Vec<u8> {
    key(INBOX_EXTENT, &[id.as_bytes()])
}

pub fn inbox_head(id: &AccountId) -> Vec<u8> {
    key(INBOX_HEAD, &[id.as_bytes()])
}

pub fn inbox_bytes(id: &AccountId) -> Vec<u8> {
    key(INBOX_BYTES, &[id.as_bytes()])
}

pub fn cursor(id: &AccountId, device: &DeviceId) -> Vec<u8> {
    key(CURSOR, &[id.as_bytes(), device.as_bytes()])
}

pub fn seen(id: &AccountId, device: &DeviceId) -> Vec<u8> {
    key(SEEN, &[id.as_bytes(), device.as_bytes()])
}

pub fn ended(id: &AccountId, device: &DeviceId) -> Vec<u8> {
    key(ENDED, &[id.as_bytes(), device.as_bytes()])
}

pub fn held(id: &AccountId, of: &FeedId) -> Vec<u8> {
    key(HELD, &[id.as_bytes(), &feed(of)])
}

pub fn outbox(of: &FeedId, to: &AccountId) -> Vec<u8> {
    key(OUTBOX, &[&feed(of), to.as_bytes()])
}

pub fn archive(id: &AccountId, seq: u64) -> Vec<u8> {
    key(ARCHIVE, &[id.as_bytes(), &position(seq)])
}

pub fn archive_head(id: &AccountId) -> Vec<u8> {
    key(ARCHIVE_HEAD, &[id.as_bytes()])
}

pub fn archive_name(id: &AccountId, name: &OperationId) -> Vec<u8> {
    key(ARCHIVE_NAME, &[id.as_bytes(), name.as_bytes()])
}

pub fn push(id: &AccountId, device: &DeviceId) -> Vec<u8> {
    key(PUSH, &[id.as_bytes(), device.as_bytes()])
}

/// Account and device of a key made by [`push`].
pub fn parse_push(key: &[u8]) -> Option<(AccountId, DeviceId)> {
    let (account, device) = key.get(1..)?.split_at_checked(32)?;
    Some((AccountId::from_slice(account)?, DeviceId::from_slice(device)?))
}

pub fn blob(id: &BlobId) -> Vec<u8> {
    key(BLOB, &[id.as_bytes()])
}

pub fn blob_until(until_ms: u64, id: &BlobId) -> Vec<u8> {
    key(BLOB_UNTIL, &[&until_ms.to_be_bytes(), id.as_bytes()])
}

pub fn blobs_of(account: &AccountId) -> Vec<u8> {
    key(BLOB_OF, &[account.as_bytes()])
}

pub fn blob_of(account: &AccountId, id: &BlobId) -> Vec<u8> {
    key(BLOB_OF, &[account.as_bytes(), id.as_bytes()])
}

pub fn blob_usage(account: &AccountId) -> Vec<u8> {
    key(BLOB_USAGE, &[account.as_bytes()])
}

pub fn blob_wanted(id: &BlobId) -> Vec<u8> {
    key(BLOB_WANTED, &[id.as_bytes()])
}

pub fn entry_blobs(of: &FeedId, seq: u64) -> Vec<u8> {
    key(ENTRY_BLOBS, &[&feed(of), &position(seq)])
}

pub fn peer_log(id: &AccountId) -> Vec<u8> {
    key(PEER_LOG, &[id.as_bytes()])
}

pub fn span(id: &FeedId, account: &AccountId) -> Vec<u8> {
    key(SPAN, &[&feed(id), account.as_bytes()])
}

pub fn feed_start(id: &FeedId) -> Vec<u8> {
    key(FEED_START, &[&feed(id)])
}

pub fn signed_head(id: &GroupId) -> Vec<u8> {
    key(SIGNED_HEAD, &[id.as_bytes()])
}

pub fn participants(id: &GroupId, epoch: u64) -> Vec<u8> {
    key(PARTICIPANTS, &[id.as_bytes(), &position(epoch)])
}

pub fn public_state(id: &GroupId) -> Vec<u8> {
    key(PUBLIC_STATE, &[id.as_bytes()])
}

pub fn tree(id: &GroupId, epoch: u64) -> Vec<u8> {
    key(TREE, &[id.as_bytes(), &position(epoch)])
}

pub fn group_info(id: &GroupId) -> Vec<u8> {
    key(GROUP_INFO, &[id.as_bytes()])
}

pub fn commit_at(id: &GroupId, epoch: u64) -> Vec<u8> {
    key(COMMIT_AT, &[id.as_bytes(), &position(epoch)])
}

/// The epoch of a key made by [`commit_at`].
pub fn parse_commit_epoch(key: &[u8]) -> Option<u64> {
    key.last_chunk().copied().map(u64::from_be_bytes)
}

pub fn head(id: &GroupId, epoch: u64) -> Vec<u8> {
    key(HEAD, &[id.as_bytes(), &position(epoch)])
}

pub fn lineage(id: &GroupId) -> Vec<u8> {
    key(LINEAGE, &[id.as_bytes()])
}

pub fn branch(id: &GroupId) -> Vec<u8> {
    key(BRANCH, &[id.as_bytes()])
}

pub fn rivals(id: &GroupId) -> Vec<u8> {
    key(RIVALS, &[id.as_bytes()])
}

pub fn wanted_state(id: &GroupId) -> Vec<u8> {
    key(WANTED_STATE, &[id.as_bytes()])
}

/// The group of a key made by [`wanted_state`].
pub fn parse_wanted_state(key: &[u8]) -> Option<GroupId> {
    key.get(1..).and_then(GroupId::from_slice)
}

pub fn given_state(id: &GroupId, node: &NodeId) -> Vec<u8> {
    key(GIVEN_STATE, &[id.as_bytes(), node.public_key().as_bytes()])
}

pub fn equivocation(id: &GroupId) -> Vec<u8> {
    key(EQUIVOCATION, &[id.as_bytes()])
}

/// The heads of the feeds that a node has written for a group, as they are known here.
pub fn feeds_of(id: &GroupId, node: &NodeId) -> Vec<u8> {
    key(FEED_HEAD, &[id.as_bytes(), node.public_key().as_bytes()])
}

pub fn commit_verdict(id: &OperationId) -> Vec<u8> {
    key(COMMIT_VERDICT, &[id.as_bytes()])
}

pub fn peer_life(id: &NodeId) -> Vec<u8> {
    key(PEER_LIFE, &[id.public_key().as_bytes()])
}

/// The node of a key made by [`peer_life`].
pub fn parse_peer_life(key: &[u8]) -> Option<NodeId> {
    key.get(1..).and_then(PublicKey::from_slice).map(NodeId::of)
}

/// Largest row, bytes: the public state of a group of 300 leaves has about 600 KiB.
const ROW_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Reads and decodes a row.
///
/// # Errors
/// [`StoreError`]; a row that does not decode is [`StoreError::Corrupt`].
pub fn get<T: DeserializeOwned>(rows: &Overlay<'_>, key: &[u8]) -> Result<Option<T>, StoreError> {
    rows.get(key)?.map(|value| decode(key, &value)).transpose()
}

/// Decodes a row's value.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    codec::decode(value, ROW_BYTES_MAX).map_err(|_| StoreError::Corrupt { key: Some(RowKey(key.to_vec())) })
}

/// Encodes and writes a row.
pub fn put<T: Serialize>(rows: &mut Overlay<'_>, key: Vec<u8>, value: &T) {
    rows.put(key, codec::encode(value));
}
