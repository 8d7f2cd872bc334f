//! What the rules did with an input, for whoever counts: numbers, never decisions.

use roost_crypto::ids::AccountId;
use roost_protocol::ids::FeedId;

/// One thing that happened. Valid once the input's rows are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A message was appended to our feed.
    Accepted,
    /// A message that we have was submitted again.
    Repeated,
    /// Entries wait for the custody of the account's home.
    Owed {
        /// The feed.
        feed: FeedId,
        /// For whom.
        account: AccountId,
        /// First position.
        from: u64,
        /// Last position.
        to: u64,
    },
    /// The account's home gave custody up to a position.
    Custody {
        /// The feed.
        feed: FeedId,
        /// For whom.
        account: AccountId,
        /// Last position.
        to: u64,
    },
    /// So many entries were put into an inbox here.
    Inboxed(u64),
    /// So many entries were found waiting in inboxes, at start.
    Waiting(u64),
    /// A device acknowledged so many of them.
    Acknowledged(u64),
    /// All of a blob is here now.
    BlobHeld {
        /// Its length.
        bytes: u64,
    },
    /// A blob is not kept any more.
    BlobGone {
        /// Its length; 0 if it was not whole.
        bytes: u64,
    },
    /// So many blobs were found whole, at start.
    BlobsFound {
        /// How many.
        blobs: u64,
        /// Their length.
        bytes: u64,
    },
    /// A delivery was not answered; it is tried again.
    Silent,
    /// A delivery was refused or brought nothing; it is tried again.
    Refused,
}
