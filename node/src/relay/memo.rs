//! What rows mean that are read for every message: verified once, believed for as long as the row's bytes are the same.
//!
//! It never answers for a row: the caller reads it each time, so a step that is undone leaves nothing behind here.

use lru::LruCache;
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::AccountId;
use roost_protocol::conversation::{ConversationHead, Participant};
use roost_protocol::ids::GroupId;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Logs kept: a few KiB each, and so many people talk at a time.
const LOGS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);
/// Heads of groups kept, and lists of participants: 10 KiB each where a hundred take part.
const GROUPS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Meanings, each beside the bytes of the row that it was read from.
pub(super) struct Believed<K: Hash + Eq, V>(LruCache<K, (Vec<u8>, Arc<V>)>);

impl<K: Hash + Eq, V> Believed<K, V> {
    /// What `value`, the row of `key`, means.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn of<E>(&mut self, key: K, value: Vec<u8>, read: impl FnOnce(&[u8]) -> Result<V, E>) -> Result<Arc<V>, E> {
        if let Some((of, meaning)) = self.0.get(&key)
            && *of == value
        {
            return Ok(Arc::clone(meaning));
        }
        let meaning = Arc::new(read(&value)?);
        self.0.put(key, (value, Arc::clone(&meaning)));
        Ok(meaning)
    }
}

/// What is believed.
pub(super) struct Memo {
    /// Verified logs.
    pub logs: Believed<AccountId, VerifiedLog>,
    /// Heads of groups.
    pub heads: Believed<GroupId, ConversationHead>,
    /// Participants, by the keys of their rows.
    pub participants: Believed<Vec<u8>, Vec<Participant>>,
}

impl Default for Memo {
    fn default() -> Self {
        Self {
            logs: Believed(LruCache::new(LOGS_MAX)),
            heads: Believed(LruCache::new(GROUPS_MAX)),
            participants: Believed(LruCache::new(GROUPS_MAX)),
        }
    }
}
