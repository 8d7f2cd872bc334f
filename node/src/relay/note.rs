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
    /// A delivery was not answered; it is tried again.
    Silent,
    /// A delivery was refused or brought nothing; it is tried again.
    Refused,
}
