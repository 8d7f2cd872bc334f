//! Spans: which positions of our feeds concern an account. Most concern all of them; who joined later or left has a row.
//!
//! An account that was removed and added again has a span for each time it took part.

use super::feeds;
use super::rows;
use crate::store::{Overlay, StoreError};
use roost_crypto::ids::AccountId;
use roost_protocol::ids::FeedId;
use serde::{Deserialize, Serialize};

/// Positions from `from` on, up to and including `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub from: u64,
    pub until: Option<u64>,
}

/// All spans of an account in a feed, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spans(Vec<Span>);

/// What of a feed is to be delivered next, bounds included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub from: u64,
    pub until: u64,
    /// What lies between the last position with custody and `from` does not concern the account.
    pub begins: bool,
}

impl Spans {
    /// Where the account takes part from the beginning on.
    fn whole() -> Self {
        Self(vec![Span { from: 1, until: None }])
    }

    /// What comes behind `custody` in a feed whose head is `head`.
    fn behind(&self, custody: u64, head: u64) -> Option<Due> {
        self.0.iter().find_map(|span| {
            let from = span.from.max(custody + 1);
            let until = span.until.unwrap_or(head).min(head);
            (from <= until).then_some(Due { from, until, begins: from > custody + 1 })
        })
    }

    /// How many positions behind `custody` concern the account.
    fn owed(&self, custody: u64, head: u64) -> u64 {
        let of = |span: &Span| (span.until.unwrap_or(head).min(head) + 1).saturating_sub(span.from.max(custody + 1));
        self.0.iter().map(of).sum()
    }
}

fn read(rows: &Overlay<'_>, feed: &FeedId, account: &AccountId) -> Result<Spans, StoreError> {
    Ok(rows::get(rows, &rows::span(feed, account))?.unwrap_or_else(Spans::whole))
}

/// What is to be delivered next to an account's home of a feed whose last position is `head`.
pub(super) fn due(
    rows: &Overlay<'_>,
    feed: &FeedId,
    account: &AccountId,
    custody: u64,
    head: u64,
) -> Result<Option<Due>, StoreError> {
    Ok(read(rows, feed, account)?.behind(custody, head))
}

/// How many entries an account's home has not given custody for.
pub(super) fn owed(rows: &Overlay<'_>, feed: &FeedId, account: &AccountId, custody: u64) -> Result<u64, StoreError> {
    Ok(read(rows, feed, account)?.owed(custody, feeds::head(rows, feed)?.seq))
}

/// From `from` on the account takes part.
pub(super) fn begin(rows: &mut Overlay<'_>, feed: &FeedId, account: &AccountId, from: u64) -> Result<(), StoreError> {
    let key = rows::span(feed, account);
    let known: Option<Spans> = rows::get(rows, &key)?;
    let mut spans = known.unwrap_or(Spans(Vec::new()));
    if spans.0.last().is_none_or(|span| span.until.is_some_and(|until| until < from)) {
        spans.0.push(Span { from, until: None });
        rows::put(rows, key, &spans);
    }
    Ok(())
}

/// Behind `until` the account takes no part.
pub(super) fn end(rows: &mut Overlay<'_>, feed: &FeedId, account: &AccountId, until: u64) -> Result<(), StoreError> {
    let mut spans = read(rows, feed, account)?;
    if let Some(last) = spans.0.last_mut().filter(|span| span.until.is_none()) {
        last.until = Some(until);
        rows::put(rows, rows::span(feed, account), &spans);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_skips_the_time_in_which_the_account_took_no_part() {
        let spans = Spans(vec![Span { from: 3, until: Some(5) }, Span { from: 9, until: None }]);
        let due = |from, until, begins| Some(Due { from, until, begins });
        assert_eq!(spans.behind(0, 4), due(3, 4, true), "it begins where the account joined");
        assert_eq!(spans.behind(3, 12), due(4, 5, false), "goes on to where it left");
        assert_eq!(spans.behind(5, 12), due(9, 12, true), "and again from where it was added");
        assert_eq!(spans.behind(5, 8), None, "nothing between concerns it");
        assert_eq!(spans.owed(3, 12), 6, "two of the first time, four of the second");
        assert_eq!(Spans::whole().behind(0, 2), due(1, 2, false), "whoever was there from the start gets all");
    }
}
