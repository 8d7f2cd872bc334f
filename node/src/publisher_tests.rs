#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use roost_protocol::AccountId;
use std::sync::atomic::{AtomicUsize, Ordering};

const FAST: Rate = Rate { per_s: 100_000, burst: 100_000 };

fn offer(number: u32, value: u8, news: bool) -> Offer {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Offer { key: RecordKey::Account(AccountId(id)), value: vec![value], news, change: None }
}

/// A directory that has room for four at once, and stays silent now and then.
#[derive(Default)]
struct Directory {
    asked: AtomicUsize,
    busy: AtomicUsize,
    refused: AtomicUsize,
    at_once: AtomicUsize,
    arrived: Mutex<Vec<(RecordKey, Vec<u8>)>>,
}

impl Directory {
    async fn take(self: Arc<Self>, key: RecordKey, value: Vec<u8>) -> Result<(), NetworkError> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once.fetch_max(busy, Ordering::SeqCst);
        let outcome = if busy > 4 {
            Err(NetworkError::Busy)
        } else {
            tokio::time::sleep(Duration::from_millis(4)).await;
            if asked % 97 == 5 { Err(NetworkError::Timeout) } else { Ok(()) }
        };
        self.busy.fetch_sub(1, Ordering::SeqCst);
        match &outcome {
            Ok(()) => self.arrived.lock().unwrap().push((key, value)),
            Err(_) => drop(self.refused.fetch_add(1, Ordering::SeqCst)),
        }
        outcome
    }

    fn arrived(&self) -> Vec<(RecordKey, Vec<u8>)> {
        self.arrived.lock().unwrap().clone()
    }
}

fn run(publisher: &Publisher, directory: &Arc<Directory>, puts: Rate) -> tokio::task::JoinHandle<()> {
    let directory = Arc::clone(directory);
    let publish = move |key, value| Arc::clone(&directory).take(key, value);
    tokio::spawn(publisher.clone().run(puts, publish, |_| {}, |_| {}))
}

async fn until_idle(publisher: &Publisher) {
    let idle = async {
        while publisher.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), idle).await.expect("everything arrives in time");
}

#[tokio::test]
async fn four_thousand_records_of_two_thousand_accounts_all_arrive_at_a_directory_that_is_often_full() {
    let (publisher, directory) = (Publisher::default(), Arc::new(Directory::default()));
    let task = run(&publisher, &directory, FAST);
    for number in 0..4_000 {
        publisher.room().await;
        publisher.offer(offer(number, 1, false));
    }
    until_idle(&publisher).await;
    let keys: BTreeSet<_> = directory.arrived().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 4_000, "every record arrives");
    assert_eq!(directory.arrived().len(), 4_000, "and none twice");
    assert!(directory.refused.load(Ordering::SeqCst) > 0, "although some were refused or met silence at first");
    assert!(directory.at_once.load(Ordering::SeqCst) <= UNDER_WAY_MAX, "and no more than so many were under way");
    task.abort();
}

#[tokio::test]
async fn a_round_keeps_below_what_a_peer_takes_and_is_through_in_six_hours() {
    let puts = crate::network::Rates::PRODUCTION.puts;
    let per_s = per_s(puts);
    assert!(per_s < puts.per_s, "a peer that takes them all refuses none: {per_s}/s");
    assert!(per_s * 6 * 3_600 >= 200_000, "two records each of 100,000 accounts fit six hours: {per_s}/s");

    let (publisher, directory) = (Publisher::default(), Arc::new(Directory::default()));
    for number in 0..25 {
        publisher.offer(offer(number, 1, false));
    }
    let start = tokio::time::Instant::now();
    let task = run(&publisher, &directory, puts);
    until_idle(&publisher).await;
    let least = Duration::from_secs(24) / per_s;
    assert!(start.elapsed() >= least, "25 records have 24 pauses between them, and are not out sooner");
    task.abort();
}

#[tokio::test]
async fn alices_sign_up_goes_before_a_round_and_her_newest_log_is_the_only_one_sent() {
    let (publisher, directory) = (Publisher::default(), Arc::new(Directory::default()));
    for number in 0..100 {
        publisher.offer(offer(number, 1, false));
    }
    publisher.offer(offer(70, 2, false));
    publisher.offer(offer(1_000, 1, true));
    publisher.offer(offer(1_000, 2, true));
    publisher.offer(offer(50, 3, true));
    let task = run(&publisher, &directory, FAST);
    until_idle(&publisher).await;
    let arrived = directory.arrived();
    let first: BTreeSet<_> = arrived.iter().take(2).cloned().collect();
    let (alice, changed) = (offer(1_000, 2, true), offer(50, 3, true));
    assert_eq!(
        first,
        BTreeSet::from([(alice.key, alice.value), (changed.key, changed.value)]),
        "news is first, in its newest version"
    );
    assert_eq!(arrived.len(), 101, "each key is sent once");
    let again = offer(70, 2, false);
    assert!(arrived.contains(&(again.key, again.value)), "a newer version took the place of the one that waited");
    task.abort();
}

#[test]
fn a_version_that_comes_while_an_older_one_is_under_way_follows_it_and_replaces_it_where_it_failed() {
    let mut queue = Queue::default();
    assert!(queue.offer(offer(1, 1, false)), "there is room");
    let older = queue.take(false).unwrap();
    assert!(queue.offer(offer(1, 2, false)), "there is room");
    assert_eq!(queue.take(false), None, "two versions are never under way at once");
    queue.ended(&older.key.clone(), Some(older));
    assert_eq!(queue.take(false), Some(offer(1, 2, false)), "the older one is not tried again");
    assert!(queue.waiting.is_empty() && queue.routine.is_empty(), "and nothing is left");
}

#[test]
fn the_queue_has_an_end() {
    let mut queue = Queue::default();
    for number in 0..u32::try_from(WAITING_MAX).unwrap() {
        assert!(queue.offer(offer(number, 1, false)), "there is room");
    }
    assert!(!queue.offer(offer(u32::MAX, 1, true)), "one more is dropped");
    assert!(queue.offer(offer(7, 2, true)), "a newer version of what waits is not");
}
