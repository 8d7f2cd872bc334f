//! Every number of the protocol, with its unit and why it is what it is.
//!
//! Implements `docs/protocol.md`, section "Limits".

/// Sealed text, bytes: longer than any message a person types.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Payload of a message entry, bytes: the text, feed heads, MLS framing and padding.
pub const PAYLOAD_BYTES_MAX: usize = 24 * 1024;
/// A commit with its Welcomes, GroupInfo and logs, bytes: 50 adds.
pub const COMMIT_BYTES_MAX: usize = 96 * 1024;
/// A WebSocket message and each of its frames, bytes: a commit and its envelope.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// A DHT value, bytes: fits a Kademlia packet (16 KiB) with its keys and peers.
pub const DHT_VALUE_BYTES_MAX: usize = 4 * 1024;
/// Data of a gossip message, bytes: a full identity log (4 KiB), a handle record and their envelope.
pub const GOSSIP_MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// A frame of gossip, bytes: a few messages and what controls the mesh.
pub const GOSSIP_FRAME_BYTES_MAX: usize = 32 * 1024;
/// Control part of a gossip frame, bytes: 350 message ids, more than are new in the seconds that one covers.
pub const GOSSIP_CONTROL_BYTES_MAX: usize = 8 * 1024;
/// Homes other than a writer's own from which on a conversation is wide: its entries are gossiped.
pub const WIDE_HOMES_MIN: usize = 8;
/// Wide conversations whose entries a node hears by gossip; of more, those that were quiet longest are delivered only.
pub const WIDE_CONVERSATIONS_MAX: usize = 32;
/// Data of a gossip message with entries, bytes: the largest payload of a message with its header; it fits a frame.
pub const GOSSIP_ENTRIES_BYTES_MAX: usize = 28 * 1024;
/// How long a writer waits for the custody of what it has gossiped before it delivers it, milliseconds: a few hops, an fsync at
/// each end, and the way back.
pub const GOSSIP_CUSTODY_MS: u64 = 1_000;
/// A request or a response between nodes, bytes.
pub const NODE_MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Entries of one `Deliver`: one fsync at the receiver covers them.
pub const DELIVER_ENTRIES_MAX: usize = 64;
/// Bytes of payload after which a `Deliver` is closed even if more entries wait: half a request.
pub const DELIVER_BYTES_MAX: usize = 512 * 1024;
/// `Deliver` requests in flight to one node: hides the round trip, bounds what must be repeated.
pub const DELIVER_WINDOW: usize = 4;
/// Key packages kept for a device: one is used up by each new conversation.
pub const KEY_PACKAGES_MAX: usize = 100;
/// Active devices of an account.
pub const DEVICES_MAX: usize = 5;
/// Accounts of a conversation.
pub const PARTICIPANTS_MAX: usize = 100;
/// Devices of a conversation: each is a leaf of its MLS group.
pub const LEAVES_MAX: usize = 300;
/// Within how long after joining a device makes the keys of its leaf anew, milliseconds: a day, for those that it joined with
/// lay at a node.
pub const LEAF_JOINED_MS: u64 = 24 * 3600 * 1000;
/// How old the keys of a leaf become, milliseconds, a day more at most: 30 days bound what a copy of a device opens.
pub const LEAF_RENEW_MS: u64 = 30 * 24 * 3600 * 1000;
/// Nodes that may follow a hub that is lost: each keeps the group's public state.
pub const SUCCESSORS_MAX: usize = 3;
/// Heads that prove how a conversation's hub changed: as many as an introduction carries beside its creation.
pub const LINEAGE_MAX: usize = 32;
/// Bytes of one part of a ratchet tree on its way to a device: half a WebSocket message.
pub const TREE_PART_BYTES_MAX: usize = 64 * 1024;
/// Bytes of identity logs after which a page of participants ends: with one log more it fits a WebSocket message.
pub const PARTICIPANT_LOGS_BYTES_MAX: usize = 64 * 1024;
/// Homes of an account on the wire; this version accepts exactly one.
pub const HOMES_MAX: usize = 2;
/// Nodes of an organisation's record: it must fit [`DHT_VALUE_BYTES_MAX`].
pub const ORG_NODES_MAX: usize = 8;
/// Addresses of one node in an organisation's record.
pub const NODE_ADDRESSES_MAX: usize = 8;
/// Claims to one name that are kept side by side.
pub const NAME_CLAIMS_MAX: usize = 4;
/// Waiting inbox entries of an account, after which its home answers `later` and the sender keeps the message.
pub const INBOX_ENTRIES_MAX: u64 = 10_000;
/// Waiting bytes of payload of an account's inbox, with the same consequence.
pub const INBOX_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// When what a node refused for want of disk space may be sent again, milliseconds: room is made by people, not by waiting.
pub const LOW_SPACE_RETRY_MS: u64 = 10_000;
/// After how long a device that was not seen no longer holds back what its account's inbox keeps, milliseconds: 30 days, as long
/// as a writer keeps what it has sent.
pub const DEVICE_UNSEEN_MS: u64 = 30 * 24 * 3600 * 1000;
/// Sealed bytes by which a new device asks to be linked: its keys and a name.
pub const LINK_REQUEST_BYTES_MAX: usize = 2 * 1024;
/// Sealed bytes by which a device answers: the log, a key, and what the new device begins with.
pub const LINK_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a request to be linked waits for an answer, milliseconds: two minutes, so that a person can look at both screens.
pub const LINK_MS: u64 = 2 * 60 * 1000;
/// Requests to be linked that wait at a node: each is a connection and some 100 bytes.
pub const LINKS_MAX: usize = 1024;
/// Requests to be linked that wait for one account: whoever knows its id can ask its devices.
pub const LINKS_OF_ACCOUNT_MAX: usize = 4;
/// Inbox entries sent to a device before it must acknowledge: bounds what a slow reader costs.
pub const INBOX_WINDOW: u64 = 256;
/// Longest life of a signed record, seconds: 30 days. A node renews at half of it.
pub const RECORD_LIFE_S_MAX: u64 = 30 * 24 * 3600;
/// Life of the records that this version signs, seconds: a day less than the longest, so that a record of a signer whose clock
/// was ahead by up to a day is believed all the same.
pub const RECORD_LIFE_S: u64 = RECORD_LIFE_S_MAX - 24 * 3600;
/// Clock skew that a signed time may show, milliseconds: five minutes.
pub const CLOCK_SKEW_MS_MAX: u64 = 5 * 60 * 1000;
/// Retention of payloads at their writer, milliseconds, whatever custody says: 30 days.
pub const RETENTION_MS: u64 = 30 * 24 * 3600 * 1000;
/// First pause before a failed delivery is repeated, milliseconds.
pub const RETRY_DELAY_MS_MIN: u64 = 500;
/// Longest pause before a failed delivery is repeated, milliseconds: a node that returns is found within a minute.
pub const RETRY_DELAY_MS_MAX: u64 = 30_000;
/// Pause between two greetings of a node with which something was exchanged, milliseconds, within a quarter: ten minutes. So long
/// a node that nobody writes to may go without hearing that another's store is a new one.
pub const CONTACT_MS: u64 = 10 * 60 * 1000;
/// Feed heads inside one message: the feeds of a conversation with two homes each, and former ones.
pub const FEED_HEADS_MAX: usize = 16;
/// Message ids of one receipt: about 5 KiB.
pub const RECEIPT_MESSAGES_MAX: usize = 256;
/// Accounts of a conversation whose members send receipts and read marks: each goes to everybody, so they grow with the square.
pub const MARKS_ACCOUNTS_MAX: usize = 32;
/// Title of a conversation of many, bytes: a line on a screen.
pub const TITLE_BYTES_MAX: usize = 128;
/// Description of a conversation of many, bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 2048;
/// Bytes of one chunk of an archive: as text of a JSON frame it fits a WebSocket message.
pub const ARCHIVE_CHUNK_BYTES_MAX: usize = 48 * 1024;
/// Bytes of chunks after which a page of an archive ends.
pub const ARCHIVE_PAGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an account's archive: some hundred thousand messages.
pub const ARCHIVE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Chunks of an account's archive.
pub const ARCHIVE_CHUNKS_MAX: u64 = 16_384;
/// Emoji of a reaction, bytes: the longest family with skin tones has 41.
pub const EMOJI_BYTES_MAX: usize = 64;
/// Emojis that one account may have on one message, taken back ones counted: nobody needs more, and a row stays small.
pub const REACTIONS_MAX: usize = 16;
/// Accounts that one text mentions: all of the largest group.
pub const MENTIONS_MAX: usize = 100;
/// Longest timer of a text that disappears, seconds: a year.
pub const EXPIRES_AFTER_S_MAX: u64 = 365 * 24 * 3600;
/// Name of a profile, bytes: about 30 letters of any script.
pub const PROFILE_NAME_BYTES_MAX: usize = 128;
/// A picture of an account or a conversation, bytes: with its framing it fits a message, and it is as sharp as a list needs.
pub const PICTURE_BYTES_MAX: usize = 16 * 1024;
/// A file, bytes: a minute of film; what is larger belongs on a disk.
pub const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Bytes of a file that are sealed together: what is lost of one that does not open, and what is held of it in memory.
pub const FILE_CHUNK_BYTES: usize = 64 * 1024;
/// Name of a file, bytes: what file systems take.
pub const FILE_NAME_BYTES_MAX: usize = 255;
/// Media type of a file, bytes.
pub const MEDIA_TYPE_BYTES_MAX: usize = 127;
/// What is said about a file, bytes: beside its thumbnail, mentions and feed heads it fits a message.
pub const CAPTION_BYTES_MAX: usize = 4 * 1024;
/// Thumbnail of a file, bytes: it comes with the message, before the file is asked for.
pub const THUMBNAIL_BYTES_MAX: usize = 8 * 1024;
/// A blob, bytes: the longest file, and 16 bytes for each of its chunks.
pub const BLOB_BYTES_MAX: u64 = 104_883_200;
/// Bytes of a blob that travel at once, between a device and its home and between nodes: half a request.
pub const BLOB_PART_BYTES_MAX: usize = 512 * 1024;
/// Blobs that one message is about: a file, and room for how it looks in full.
pub const BLOBS_OF_MESSAGE_MAX: usize = 4;
/// How long a ticket may be used, milliseconds: a minute, so that one who finds it later finds nothing.
pub const BLOB_TICKET_MS: u64 = 60_000;
/// Changes of messages that are not there yet, of one conversation: more than get ahead of their messages in practice.
pub const WAITING_CHANGES_MAX: usize = 256;
/// Messages of a stranger that are stored before the stranger is accepted; the rest is told as gaps.
pub const REQUEST_MESSAGES_MAX: usize = 32;
/// Text of a stranger that is shown with the request, bytes: enough to say who one is.
pub const REQUEST_TEXT_BYTES_MAX: usize = 1024;
/// A sealed whisper, bytes: what is said in passing is short, and all are padded to this.
pub const WHISPER_BYTES_MAX: usize = 256;
/// How old a whisper may be, or how far ahead its author's clock, milliseconds: bounds what a node that repeats it can pretend.
pub const WHISPER_AGE_MS_MAX: u64 = 5 * 60 * 1000;
/// Pause between two whispers that say that somebody still types, milliseconds: below the time that one is believed.
pub const TYPING_AGAIN_MS: u64 = 4_000;
/// How long somebody is shown as typing after the last word of it, milliseconds: a lost `off` is over soon.
pub const TYPING_MS: u64 = 6_000;
/// Pause between two `watch` of a conversation that is shown, milliseconds: two thirds of the time that one counts.
pub const WATCH_AGAIN_MS: u64 = 120_000;
/// How long a `watch` counts, milliseconds: who looks away is told nothing more after three minutes.
pub const WATCH_MS: u64 = 180_000;
/// Pause between two `presence` for one who watches, milliseconds.
pub const PRESENCE_AGAIN_MS: u64 = 60_000;
/// Longest time that a `presence` is believed, milliseconds: one and a half pauses, so that a late one changes nothing.
pub const PRESENCE_MS_MAX: u64 = 90_000;
/// Time without input of the person after which a device says `away`, milliseconds: five minutes.
pub const AWAY_AFTER_MS: u64 = 5 * 60 * 1000;
/// Address of a push subscription, bytes: the longest that push services give have some 800.
pub const PUSH_ENDPOINT_BYTES_MAX: usize = 2048;
/// Conversations that a device is not woken for: with their ids as text the frame fits a WebSocket message.
pub const PUSH_MUTED_MAX: usize = 1024;
/// What a push says before it is sealed, bytes: all have this length.
pub const PUSH_PAYLOAD_BYTES: usize = 64;
/// How long a push service keeps what it cannot deliver, seconds: a week, then the device finds out when it comes back.
pub const PUSH_TTL_S: u64 = 7 * 24 * 3600;
/// Messages of a report, the newest: evidence that a person can read.
pub const REPORT_MESSAGES_MAX: usize = 256;
