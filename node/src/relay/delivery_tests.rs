//! What a changed home does to what waits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::{Destination, Identity, Input, Relay};
use super::*;
use crate::store::MemoryStore;
use roost_crypto::identity_log::{IdentityLog, Operation, Signer, VerifiedLog};
use roost_crypto::keys::SecretKey;
use roost_crypto::sabotage::Sabotage;
use std::sync::Mutex;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn node(seed: u8) -> NodeId {
    NodeId::of(key(seed).public_key())
}

fn relay(rows: &mut Overlay<'_>) -> Relay {
    let identity = Identity {
        org_key: key(200),
        node_key: key(1),
        name: "acme.example".into(),
        open: true,
        limits: super::super::Limits::PRODUCTION,
        push: None,
        inspector: super::super::Inspector::default(),
        sabotage: Sabotage::NONE,
        incarnation: Incarnation([1; 16]),
    };
    Relay::open(identity, rows).unwrap()
}

/// Bob, who lives at node 2, and the same log when he has moved to node 3.
fn bob() -> (VerifiedLog, VerifiedLog) {
    let log = VerifiedLog::create(&key(100), &key(150).public_key(), vec![node(2)]).unwrap();
    let moved = log.append(Operation::SetHomes { homes: vec![node(3)] }, Signer::Root, &key(100)).unwrap();
    (log, moved)
}

fn known(step: &Step<'_, '_>, account: &AccountId) -> Option<IdentityLog> {
    accounts::known_log(step, account).ok().flatten().map(|log| log.log().clone())
}

#[test]
fn what_waits_for_an_account_goes_to_the_home_that_its_newer_log_names() {
    let store = MemoryStore::new([1; 16]);
    let mut rows = Overlay::new(&store);
    let mut relay = relay(&mut rows);
    let (log, moved) = bob();
    let account = log.account();
    let feed = FeedId { group: GroupId([5; 32]), node: node(1), incarnation: Incarnation([1; 16]) };
    rows::put(&mut rows, rows::peer_log(&account), log.log());
    rows::put(&mut rows, rows::outbox(&feed, &account), &7_u64);
    relay.destinations.entry(node(2)).or_default().enqueue((feed, account), 0);
    let memo = Mutex::default();
    let mut step = Step { rows: &mut rows, now_ms: 1_000, memo: &memo };
    relay.log_learned(&mut step, moved.log()).unwrap();
    assert_eq!(relay.destinations[&node(2)].wake_at(), None, "nothing waits for the old home");
    assert_eq!(relay.destinations[&node(3)].wake_at(), Some(0), "it waits for the new one");
    let custody: Option<u64> = rows::get(step.rows, &rows::outbox(&feed, &account)).unwrap();
    assert_eq!(custody, Some(0), "which has custody of nothing yet");

    let asked = Asked { peer: node(2), accounts: vec![account], feed, last: 9, life: None };
    let late = NodeResponse::Custody(vec![Custody { account, feed, seq: 9 }]);
    relay.delivery_answered(&mut step, asked, Some(late)).unwrap();
    let custody: Option<u64> = rows::get(step.rows, &rows::outbox(&feed, &account)).unwrap();
    assert_eq!(custody, Some(0), "a late receipt of the old home does not count");
}

#[test]
fn of_what_others_tell_only_the_newer_log_of_a_known_account_is_kept() {
    let store = MemoryStore::new([1; 16]);
    let mut rows = Overlay::new(&store);
    let mut relay = relay(&mut rows);
    let (log, moved) = bob();
    let account = log.account();
    let mut told = |rows: &mut Overlay<'_>, log: &VerifiedLog| {
        relay.handle(Input::LogLearned(log.log().clone()), rows, 1_000).unwrap();
        known(&Step { rows, now_ms: 1_000, memo: &Mutex::default() }, &account)
    };
    assert_eq!(told(&mut rows, &log), None, "nobody here knows bob");
    rows::put(&mut rows, rows::peer_log(&account), log.log());
    assert_eq!(told(&mut rows, &moved).as_ref(), Some(moved.log()), "now his newer log is kept");
    assert_eq!(told(&mut rows, &log).as_ref(), Some(moved.log()), "an older one changes nothing");
    let branch = log.append(Operation::SetHomes { homes: vec![node(4)] }, Signer::Root, &key(100)).unwrap();
    assert_eq!(told(&mut rows, &branch).as_ref(), Some(moved.log()), "nor does a branch");
}

#[test]
fn a_refused_feed_waits_as_long_as_the_node_asks_at_most_ten_minutes_and_holds_back_no_other() {
    let item = |number: u8| {
        let feed = FeedId { group: GroupId([number; 32]), node: node(1), incarnation: Incarnation([1; 16]) };
        (feed, AccountId([9; 32]))
    };
    let alone = |number: u8| (item(number).0, vec![AccountId([9; 32])]);
    let due_after = |asked_ms: u64| {
        let mut destination = Destination::default();
        destination.enqueue(item(1), 1_000);
        assert_eq!(destination.next(1_000), Some(alone(1)), "it is due");
        destination.answered(&[item(1)]);
        destination.refused(item(1), asked_ms, 1_000, 7);
        destination.wake_at().unwrap() - 1_000
    };
    let own = due_after(0);
    assert!((500..=625).contains(&own), "a first refusal costs half a second and a quarter of jitter, got {own}");
    assert_eq!(due_after(1), own, "a shorter pause than ours changes nothing");
    assert_eq!(due_after(90_000), 90_000, "a longer one is kept");
    assert_eq!(due_after(u64::MAX), 600_000, "and no node stops us for longer than ten minutes");

    let mut destination = Destination::default();
    destination.enqueue(item(1), 0);
    assert_eq!(destination.next(1_000), Some(alone(1)), "it is due");
    destination.answered(&[item(1)]);
    destination.refused(item(1), 90_000, 1_000, 7);
    // More is written meanwhile, to this feed and to another.
    destination.enqueue(item(1), 2_000);
    destination.enqueue(item(2), 2_000);
    assert_eq!(destination.next(2_000), Some(alone(2)), "another feed goes at once");
    assert_eq!(destination.next(90_999), None, "what is behind the refused entry waits with it");
    assert_eq!(destination.next(91_000), Some(alone(1)), "and goes from it on, in the order of the feed");
    destination.answered(&[item(1)]);
    destination.refused(item(1), 90_000, 91_000, 7);
    destination.due_at_once();
    assert_eq!(destination.next(91_000), Some(alone(1)), "a Hello of the node ends every pause");
}

#[test]
fn what_a_peer_says_in_retry_after_ms_reaches_the_pause() {
    let store = MemoryStore::new([1; 16]);
    let mut rows = Overlay::new(&store);
    let mut relay = relay(&mut rows);
    let (log, _) = bob();
    let account = log.account();
    let feed = FeedId { group: GroupId([5; 32]), node: node(1), incarnation: Incarnation([1; 16]) };
    rows::put(&mut rows, rows::peer_log(&account), log.log());
    rows::put(&mut rows, rows::outbox(&feed, &account), &0_u64);
    relay.destinations.entry(node(2)).or_default().in_flight.insert((feed, account));
    let memo = Mutex::default();
    let mut step = Step { rows: &mut rows, now_ms: 1_000, memo: &memo };
    let refusal = Refusal { retry_after_ms: Some(77_000), ..Refusal::later(Code::Busy, "too many", "later") };
    let asked = Asked { peer: node(2), accounts: vec![account], feed, last: 1, life: None };
    relay.delivery_answered(&mut step, asked, Some(NodeResponse::Refused(refusal))).unwrap();
    assert_eq!(relay.destinations[&node(2)].wake_at(), Some(78_000), "it is asked again when it was told to");
}

#[test]
fn a_feed_goes_to_all_of_its_accounts_at_a_node_in_one_request_and_to_each_alone_once_refused() {
    let feed = |number: u8| FeedId { group: GroupId([number; 32]), node: node(1), incarnation: Incarnation([1; 16]) };
    let people: Vec<AccountId> = (1..=3).map(|number| AccountId([number; 32])).collect();
    let mut destination = Destination::default();
    people.iter().for_each(|account| destination.enqueue((feed(1), *account), 0));
    destination.enqueue((feed(2), people[0]), 0);
    assert_eq!(destination.next(1), Some((feed(1), people.clone())), "one request for the three");
    assert_eq!(destination.next(1), Some((feed(2), vec![people[0]])), "another feed is another request");
    let items = items_of(feed(1), &people);
    destination.answered(&items);
    destination.part(&items, 1);
    for account in &people {
        assert_eq!(destination.next(1), Some((feed(1), vec![*account])), "refused as one, each goes alone");
    }
    items.iter().for_each(|item| destination.answered(&[*item]));
    destination.refused(items[0], 0, 1, 7);
    destination.took(items[1]);
    destination.took(items[2]);
    people.iter().for_each(|account| destination.enqueue((feed(1), *account), 2));
    assert_eq!(destination.next(2), Some((feed(1), people[1..].to_vec())), "who was not refused goes together again");
}
