//! Every domain label of a hash, signature or key derivation, in one table.
//!
//! A label is never reused: two things that are computed with one key must not be exchangeable. Implements
//! `docs/protocol.md`, section "Labels".

/// Hash of R's public key: the account id.
pub const ACCOUNT_ID: &str = "roost/1/account-id";
/// Hash of a device's public key: the device id.
pub const DEVICE_ID: &str = "roost/1/device-id";
/// Hash of an organisation's root public key: the organisation id.
pub const ORG_ID: &str = "roost/1/org-id";
/// Hash of (organisation id, handle): the DHT key of a handle.
pub const HANDLE_KEY: &str = "roost/1/handle-key";
/// Hash of an organisation's name: the DHT key of a name.
pub const NAME_KEY: &str = "roost/1/name-key";
/// Hash of two account ids: the id of their 1:1 conversation.
pub const DIRECT_CONVERSATION: &str = "roost/1/direct-conversation";
/// Hash of a group's id: the id of the conversation that it begins.
pub const GROUP_CONVERSATION: &str = "roost/1/group-conversation";
/// Hash of a message's content and salt: the tail of its id.
pub const MESSAGE_ID: &str = "roost/1/message-id";
/// Hash of a feed entry's header: the link of the feed's chain.
pub const ENTRY_HASH: &str = "roost/1/entry";
/// Hash of an identity log entry: its `prev`.
pub const LOG_ENTRY_HASH: &str = "roost/1/identity-log-entry";
/// Hash of a conversation's creation: what the hub signs.
pub const CREATION_HASH: &str = "roost/1/creation";

/// Hash of a commit with what travels beside it: what the hub signs.
pub const COMMIT_HASH: &str = "roost/1/commit";

/// Hash of a group and what made its epoch: the topic of its entries.
pub const ENTRIES_TOPIC: &str = "roost/1/entries-topic";

/// Hash of an invite's token: the seed of its key. The node knows the public half only.
pub const INVITE: &str = "roost/1/invite";

/// Hash of a push subscription's secret and a conversation: the tag of its pushes.
pub const PUSH_TAG: &str = "roost/1/push-tag";

/// Signature over an identity log entry.
pub const SIGN_LOG_ENTRY: &str = "roost/1/sign/identity-log-entry";
/// Signature over a sign-in challenge.
pub const SIGN_IN: &str = "roost/1/sign/sign-in";
/// Signature with an invite's key: its holder wants to sign up.
pub const SIGN_INVITE: &str = "roost/1/sign/invite";
/// Signature over an organisation record, by its root and by each node.
pub const SIGN_ORG_RECORD: &str = "roost/1/sign/org-record";
/// Signature over a handle record.
pub const SIGN_HANDLE_RECORD: &str = "roost/1/sign/handle-record";
/// Signature over a claim to an organisation's name.
pub const SIGN_NAME_CLAIM: &str = "roost/1/sign/name-claim";
/// Signature of a hub over a conversation's head.
pub const SIGN_CONVERSATION_HEAD: &str = "roost/1/sign/conversation-head";
/// Signature of a device over its account's wish to leave a conversation.
pub const SIGN_LEAVE: &str = "roost/1/sign/leave";
/// Signature of a writer over the head of its feed.
pub const SIGN_FEED_HEAD: &str = "roost/1/sign/feed-head";

/// Derivation of R from the recovery code.
pub const DERIVE_ACCOUNT_KEY: &str = "roost/1/derive/account-key";
/// Derivation of the archive key from the recovery code.
pub const DERIVE_ARCHIVE_KEY: &str = "roost/1/derive/archive-key";
/// Derivation of a store's value key.
pub const DERIVE_STORE_KEY: &str = "roost/1/derive/store-key";
/// Derivation of the key of a sealed box (X25519).
pub const DERIVE_SEALED_BOX: &str = "roost/1/derive/sealed-box";
/// Export of the key of a group's whispers from the MLS exporter.
pub const EXPORT_WHISPER: &str = "roost/1/export/whisper";
/// Hash of a salt and a passphrase: the secret that a store's key is derived from.
pub const STORE_PASSPHRASE: &str = "roost/1/store-passphrase";
/// Hash of a handle or a name: the key of its row in a device's store.
pub const CONTACT_ROW: &str = "roost/1/contact-row";
/// What a chunk of an account's archive is sealed to, before the account id.
pub const ARCHIVE: &str = "roost/1/archive";
/// Hash of a row in an archive, for the device alone.
pub const ARCHIVE_ROW: &str = "roost/1/archive-row";
/// What a new device's request to be linked is sealed to, before the account id.
pub const LINK_REQUEST: &str = "roost/1/link-request";
/// What the answer to it is sealed to, before the account id.
pub const LINK_ANSWER: &str = "roost/1/link-answer";
/// Derivation of the key that two devices seal under from the secret of a link code.
pub const DERIVE_LINK_KEY: &str = "roost/1/derive/link-key";
/// Hash of a link's secret and the new device's key: the digits that a person compares.
pub const LINK_DIGITS: &str = "roost/1/link-digits";
/// What a message that is given again is sealed to, before group, author's and asker's device.
pub const RESEALED: &str = "roost/1/resealed";
/// Hash of a blob's bytes: its name.
pub const BLOB_ID: &str = "roost/1/blob-id";
/// What every chunk of a file is sealed to.
pub const FILE: &str = "roost/1/file";
/// Iterated hash of the safety number.
pub const SAFETY_NUMBER: &str = "roost/1/safety-number";

/// All of the above, for the test that none is used twice.
pub const ALL: &[&str] = &[
    ACCOUNT_ID,
    DEVICE_ID,
    ORG_ID,
    HANDLE_KEY,
    NAME_KEY,
    DIRECT_CONVERSATION,
    GROUP_CONVERSATION,
    MESSAGE_ID,
    ENTRY_HASH,
    LOG_ENTRY_HASH,
    CREATION_HASH,
    COMMIT_HASH,
    ENTRIES_TOPIC,
    INVITE,
    PUSH_TAG,
    SIGN_LOG_ENTRY,
    SIGN_IN,
    SIGN_INVITE,
    SIGN_ORG_RECORD,
    SIGN_HANDLE_RECORD,
    SIGN_NAME_CLAIM,
    SIGN_CONVERSATION_HEAD,
    SIGN_LEAVE,
    SIGN_FEED_HEAD,
    DERIVE_ACCOUNT_KEY,
    DERIVE_ARCHIVE_KEY,
    DERIVE_STORE_KEY,
    DERIVE_SEALED_BOX,
    EXPORT_WHISPER,
    STORE_PASSPHRASE,
    CONTACT_ROW,
    ARCHIVE,
    ARCHIVE_ROW,
    LINK_REQUEST,
    LINK_ANSWER,
    DERIVE_LINK_KEY,
    LINK_DIGITS,
    RESEALED,
    BLOB_ID,
    FILE,
    SAFETY_NUMBER,
];

/// SHA-256 of a label and parts, each preceded by its length (8 bytes, big-endian), so that no two lists of parts give
/// one input.
pub fn hash(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for part in std::iter::once(&label.as_bytes()).chain(parts) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// What is signed: the label, a zero byte, the message. Labels hold no zero byte.
pub fn labelled(label: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(label.len() + 1 + message.len());
    bytes.extend_from_slice(label.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_label_is_used_twice_or_prefixes_another() {
        let labels: BTreeSet<_> = ALL.iter().collect();
        assert_eq!(labels.len(), ALL.len(), "two purposes share one label");
        assert!(ALL.iter().all(|label| !label.contains('\0')), "the separator must not occur in a label");
    }
}
