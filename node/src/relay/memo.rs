//! What rows mean that are read for every message: verified once, believed for as long as the row's bytes are the same.
//!
//! It never answers for a row: the caller reads it each time, so a step that is undone leaves nothing behind here.

use super::Failure;
use lru::LruCache;
use roost_crypto::identity_log::VerifiedLog;
use roost_crypto::ids::AccountId;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Logs kept: a few KiB each, and so many people talk at a time.
const LOGS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);

/// Verified logs, each beside the bytes of the row that it was read from.
pub(super) struct Memo {
    logs: LruCache<AccountId, (Vec<u8>, Arc<VerifiedLog>)>,
}

impl Default for Memo {
    fn default() -> Self {
        Self { logs: LruCache::new(LOGS_MAX) }
    }
}

impl Memo {
    /// The log that `value`, the row of `account`, holds.
    ///
    /// # Errors
    /// Those of `verify`.
    pub fn log(
        &mut self,
        account: &AccountId,
        value: Vec<u8>,
        verify: impl FnOnce(&[u8]) -> Result<VerifiedLog, Failure>,
    ) -> Result<Arc<VerifiedLog>, Failure> {
        if let Some((of, log)) = self.logs.get(account)
            && *of == value
        {
            return Ok(Arc::clone(log));
        }
        let log = Arc::new(verify(&value)?);
        self.logs.put(*account, (value, Arc::clone(&log)));
        Ok(log)
    }
}
