//! Allowances without a network: time is the tick that the tests pass in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::tests::people::{Org, account};
use super::*;

fn changes() -> Changes {
    Changes::new(Arc::new(Lookups::new(BTreeMap::new())), mpsc::channel(1).0)
}

#[test]
fn a_source_has_fifty_messages_at_once_and_ten_a_second_and_is_not_heard_after_two_hundred_more() {
    let (mut changes, eve) = (changes(), PeerId::random());
    let at_once = (0..60).filter(|_| changes.take(&eve, 1) == Some(true)).count();
    assert_eq!(at_once, 50, "the burst");
    changes.tick(2);
    changes.tick(3);
    let a_second_later = (0..60).filter(|_| changes.take(&eve, 3) == Some(true)).count();
    assert_eq!(a_second_later, 10, "what comes back in a second");
    let bans = (0..1_000).filter(|_| changes.take(&eve, 3).is_none()).count();
    assert_eq!(bans, 1, "one ban, however long the flood");
    let freed: Vec<_> = (4..4 + BAN_TICKS).flat_map(|tick| changes.tick(tick)).collect();
    assert_eq!(freed, [eve], "which ends");
    changes.tick(5 + BAN_TICKS);
    assert!(changes.sources.is_empty(), "and leaves no trace");
}

#[test]
fn a_steady_ten_a_second_is_never_too_much() {
    let (mut changes, forwarder) = (changes(), PeerId::random());
    for tick in 0..2_000 {
        changes.tick(tick);
        for _ in 0..SOURCE_PER_TICK {
            assert_eq!(changes.take(&forwarder, tick), Some(true), "within the rate at tick {tick}");
        }
    }
}

#[test]
fn sources_beyond_the_bound_are_over_the_rate_and_not_counted() {
    let mut changes = changes();
    for _ in 0..SOURCES_MAX {
        changes.take(&PeerId::random(), 1);
    }
    let late = PeerId::random();
    assert_eq!(changes.take(&late, 1), Some(false), "over the rate");
    assert_eq!(changes.sources.len(), SOURCES_MAX, "the table keeps its bound");
}

#[test]
fn one_key_changes_ten_times_at_once_and_once_a_second_and_the_table_of_keys_is_bounded() {
    let mut changes = changes();
    let alice = RecordKey::Account(account(1));
    let mut taken = 0;
    for _ in 0..50 {
        if changes.may_change(&alice, 1) {
            changes.claimed(&alice, 1);
            changes.changed(&alice, 1);
            taken += 1;
        }
    }
    assert_eq!(taken, KEY_BURST, "the burst of a key");
    assert!(changes.may_change(&alice, 1 + KEY_TICKS), "one comes back a second later");
    for number in 0..RECENT_MAX as u64 + 100 {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        changes.changed(&RecordKey::Handle(id), 2 + number);
    }
    assert_eq!(changes.recent.len(), RECENT_MAX, "the table keeps its bound");
    assert!(!changes.is_recent(&alice, 3), "and the oldest went");
}

#[test]
fn a_false_claim_to_be_news_costs_its_key_and_makes_nothing_recent() {
    let mut changes = changes();
    let alice = RecordKey::Account(account(1));
    let looked_at = (0..50).filter(|_| {
        let may = changes.may_change(&alice, 1);
        if may {
            changes.claimed(&alice, 1);
        }
        may
    });
    assert_eq!(looked_at.count(), KEY_BURST as usize, "no more signatures are computed for one key");
    assert!(!changes.is_recent(&alice, 1), "and what proved to be none is not passed on as news");
    changes.tick(1 + RECENT_TICKS + 1);
    assert!(changes.recent.is_empty(), "nor remembered for long");
}

#[test]
fn a_change_of_ours_that_waits_is_replaced_by_the_next_of_the_same_record() {
    let mut changes = changes();
    let acme = Org::new(1, "acme.example");
    for seq in 1..=3 {
        let record = acme.record_at(seq, &[], 2_000_000_000);
        changes.queue(DirectoryChange::Org { record: Some(record), claim: None });
    }
    let newest = DirectoryChange::Org { record: Some(acme.record_at(3, &[], 2_000_000_000)), claim: None };
    let waiting: Vec<_> = changes.outgoing.into_iter().map(|(_, change)| change).collect();
    assert_eq!(waiting, [newest], "only the newest is told");
}

#[test]
fn clocks_and_later_versions_are_nobodys_fault() {
    let blame = |error: RecordError| sender_must_know(&error);
    assert!(!blame(RecordError::Expired { expires: 1, now: 2 }), "clocks differ");
    assert!(!blame(RecordError::LivesTooLong(1)), "in both directions");
    assert!(
        !blame(RecordError::Log(LogError::Homes(HomesError::Unsupported { got: 2 }))),
        "a later version has two homes"
    );
    assert!(blame(RecordError::OtherKey), "a record under another key is a lie");
    assert!(blame(RecordError::Log(LogError::Signature { seq: 1 })), "so is a signature that does not fit");
}
