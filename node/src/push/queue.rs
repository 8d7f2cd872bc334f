//! What waits to be pushed, and when: pure, time is an input.
//!
//! One conversation of a device waits once; a device has one push on its way at a time, and none while its push service wants a
//! pause. What is dropped here wakes nobody, and is lost to nobody: the inbox keeps it.

use crate::relay::{Quota, Rate, Subscription};
use roost_crypto::ids::{AccountId, DeviceId};
use roost_protocol::ids::PushTag;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Devices for which something waits.
const DEVICES_MAX: usize = 4_096;
/// Conversations that wait for one device: who is woken by so many is awake.
const TAGS_MAX: usize = 32;
/// First pause after a failure, and the longest, milliseconds.
const PAUSE_MS_MIN: u64 = 5_000;
const PAUSE_MS_MAX: u64 = 10 * 60 * 1000;
/// How long something waits at most, milliseconds: six hours.
const WAIT_MS_MAX: u64 = 6 * 3600 * 1000;

/// What is to be sent now.
pub(super) struct Job {
    pub to: Subscription,
    pub tag: PushTag,
    since_ms: u64,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// It waits.
    Queued,
    /// Its conversation waits already.
    Collapsed,
    /// Too much waits.
    Full,
}

/// What a push service made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken, or never to be.
    Over,
    /// To be tried again; not before so many milliseconds, if it said.
    Later(Option<u64>),
}

/// What waits for a device.
struct Waiting {
    to: Subscription,
    /// Conversations, with since when.
    tags: VecDeque<(PushTag, u64)>,
    due_ms: u64,
    failures: u32,
    in_flight: bool,
}

/// All that waits.
pub(super) struct Queue {
    devices: BTreeMap<DeviceId, Waiting>,
    /// Devices with nothing on its way, by when they are looked at.
    due: BTreeSet<(u64, DeviceId)>,
    by_device: Quota<DeviceId>,
    by_account: Quota<AccountId>,
}

impl Queue {
    pub const fn new(device: Rate, account: Rate) -> Self {
        Self {
            devices: BTreeMap::new(),
            due: BTreeSet::new(),
            by_device: Quota::new(device),
            by_account: Quota::new(account),
        }
    }

    /// Something is new in a conversation of a device.
    pub fn offer(&mut self, to: Subscription, tag: PushTag, now_ms: u64) -> Offered {
        if !self.devices.contains_key(&to.device) && self.devices.len() >= DEVICES_MAX {
            return Offered::Full;
        }
        let device = to.device;
        let waiting = self.devices.entry(device).or_insert_with(|| Waiting {
            to: to.clone(),
            tags: VecDeque::new(),
            due_ms: now_ms,
            failures: 0,
            in_flight: false,
        });
        if waiting.to.endpoint != to.endpoint {
            // Another push service owes nothing to what the one before had asked for.
            waiting.failures = 0;
            self.due.remove(&(waiting.due_ms, device));
            waiting.due_ms = now_ms;
        }
        waiting.to = to;
        if waiting.tags.iter().any(|(known, _)| *known == tag) {
            return Offered::Collapsed;
        }
        if waiting.tags.len() >= TAGS_MAX {
            return Offered::Full;
        }
        waiting.tags.push_back((tag, now_ms));
        if !waiting.in_flight {
            self.due.insert((waiting.due_ms, device));
        }
        Offered::Queued
    }

    /// The next push that may leave.
    pub fn next(&mut self, now_ms: u64) -> Option<Job> {
        while let Some(&(due_ms, device)) = self.due.first()
            && due_ms <= now_ms
        {
            self.due.remove(&(due_ms, device));
            let Some(waiting) = self.devices.get_mut(&device) else { continue };
            if waiting.tags.is_empty() {
                self.devices.remove(&device);
                continue;
            }
            let account = waiting.to.account;
            let given = self.by_account.check(&account, now_ms).and_then(|()| self.by_device.take(&device, 1, now_ms));
            if let Err(wait_ms) = given {
                waiting.due_ms = now_ms.saturating_add(wait_ms.max(1));
                self.due.insert((waiting.due_ms, device));
                continue;
            }
            // It was there a moment ago.
            let _ = self.by_account.take(&account, 1, now_ms);
            let Some((tag, since_ms)) = waiting.tags.pop_front() else { continue };
            waiting.in_flight = true;
            return Some(Job { to: waiting.to.clone(), tag, since_ms });
        }
        None
    }

    /// A push has ended; `true` if it is given up.
    pub fn ended(&mut self, job: &Job, verdict: Verdict, now_ms: u64) -> bool {
        let device = job.to.device;
        let Some(waiting) = self.devices.get_mut(&device) else { return false };
        waiting.in_flight = false;
        let mut given_up = false;
        match verdict {
            // The push service is another one by now.
            _ if waiting.to.endpoint != job.to.endpoint => waiting.due_ms = now_ms,
            Verdict::Over => {
                waiting.failures = 0;
                waiting.due_ms = now_ms;
            }
            Verdict::Later(asked_ms) => {
                let pause_ms = PAUSE_MS_MIN.saturating_mul(1 << waiting.failures.min(16)).min(PAUSE_MS_MAX);
                waiting.failures = waiting.failures.saturating_add(1);
                waiting.due_ms = now_ms.saturating_add(asked_ms.unwrap_or(pause_ms));
                given_up = waiting.due_ms > job.since_ms.saturating_add(WAIT_MS_MAX);
                let known = waiting.tags.iter().any(|(tag, _)| *tag == job.tag);
                if !given_up && !known {
                    waiting.tags.push_front((job.tag, job.since_ms));
                }
            }
        }
        // Also where nothing waits: so long the pause is kept for what comes.
        self.due.insert((waiting.due_ms, device));
        given_up
    }

    /// Nothing need be pushed to a device; how much waited. What the push service asked for stays.
    pub fn forget(&mut self, device: &DeviceId) -> usize {
        self.devices.get_mut(device).map_or(0, |waiting| waiting.tags.drain(..).count())
    }

    /// When something may leave; `None` where nothing waits.
    pub fn wake_at(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Pushes that wait.
    pub fn len(&self) -> usize {
        self.devices.values().map(|waiting| waiting.tags.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use roost_protocol::Bytes;

    fn to(device: u8) -> Subscription {
        Subscription {
            account: AccountId([device / 10; 32]),
            device: DeviceId([device; 32]),
            endpoint: format!("https://push.example.com/{device}"),
            p256dh: Bytes(vec![4; 65]),
            auth: Bytes(vec![9; 16]),
        }
    }

    fn tag(number: u8) -> PushTag {
        PushTag([number; 16])
    }

    fn fast() -> Queue {
        Queue::new(Rate::new(1_000, 1, 1), Rate::new(1_000, 1, 1))
    }

    #[test]
    fn a_conversation_waits_once_and_a_device_has_one_push_on_its_way() {
        let mut queue = fast();
        assert_eq!(queue.offer(to(1), tag(1), 0), Offered::Queued);
        assert_eq!(queue.offer(to(1), tag(1), 5), Offered::Collapsed, "it waits already");
        assert_eq!(queue.offer(to(1), tag(2), 5), Offered::Queued, "another conversation");
        let first = queue.next(10).unwrap();
        assert_eq!(first.tag, tag(1), "the first");
        assert!(queue.next(10).is_none(), "one at a time");
        assert_eq!(queue.offer(to(1), tag(1), 11), Offered::Queued, "what comes while it is on its way is news again");
        assert!(!queue.ended(&first, Verdict::Over, 12), "it was taken");
        assert_eq!(queue.next(12).map(|job| job.tag), Some(tag(2)), "then the next");
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_also_by_what_comes_later() {
        let mut queue = fast();
        queue.offer(to(1), tag(1), 0);
        let job = queue.next(0).unwrap();
        assert!(!queue.ended(&job, Verdict::Later(Some(60_000)), 100), "it is kept");
        queue.offer(to(1), tag(2), 200);
        assert!(queue.next(60_099).is_none(), "not before");
        assert_eq!(queue.wake_at(), Some(60_100), "then");
        assert_eq!(queue.next(60_100).map(|job| job.tag), Some(tag(1)), "the same first");
        queue.offer(to(2), tag(1), 200);
        assert!(queue.next(60_100).is_some(), "other devices are not concerned");
    }

    #[test]
    fn pauses_grow_and_at_last_it_is_given_up() {
        let (mut queue, mut now, mut tries) = (fast(), 0, 0);
        queue.offer(to(1), tag(1), 0);
        loop {
            let job = queue.next(now).unwrap();
            tries += 1;
            let over = queue.ended(&job, Verdict::Later(None), now);
            if over {
                break;
            }
            let at = queue.wake_at().unwrap();
            assert!(at - now >= PAUSE_MS_MIN && at - now <= PAUSE_MS_MAX, "a pause of {} ms", at - now);
            now = at;
        }
        assert!((20..60).contains(&tries) && now > WAIT_MS_MAX - PAUSE_MS_MAX, "{tries} tries until {now}");
        assert_eq!(queue.len(), 0, "nothing waits");
        assert!(queue.next(now + PAUSE_MS_MAX).is_none() && queue.wake_at().is_none(), "and the device is forgotten");
    }

    #[test]
    fn a_device_that_is_here_is_not_woken() {
        let mut queue = fast();
        queue.offer(to(1), tag(1), 0);
        queue.offer(to(1), tag(2), 0);
        assert_eq!(queue.forget(&to(1).device), 2, "two waited");
        assert!(queue.next(0).is_none(), "none leaves");
        assert_eq!(queue.forget(&to(1).device), 0, "and there is nothing more");
    }

    #[test]
    fn too_much_is_dropped() {
        let mut queue = fast();
        for number in 0..=u8::MAX {
            queue.offer(to(1), tag(number), 0);
        }
        assert_eq!(queue.len(), TAGS_MAX, "so many of a device");
        for number in 0..u32::try_from(DEVICES_MAX).unwrap() + 10 {
            let mut device = [0; 32];
            device[..4].copy_from_slice(&number.to_be_bytes());
            queue.offer(Subscription { device: DeviceId(device), ..to(9) }, tag(1), 0);
        }
        assert_eq!(queue.devices.len(), DEVICES_MAX, "so many devices");
    }

    #[test]
    fn rates_delay_and_lose_nothing() {
        let mut queue = Queue::new(Rate::new(2, 1, 1_000), Rate::new(3, 1, 1_000));
        for device in [11, 12] {
            for number in 0..3 {
                queue.offer(to(device), tag(number), 0);
            }
        }
        let drain = |queue: &mut Queue, now| {
            let mut sent = 0;
            while let Some(job) = queue.next(now) {
                queue.ended(&job, Verdict::Over, now);
                sent += 1;
            }
            sent
        };
        assert_eq!(drain(&mut queue, 0), 3, "two of a device, three of an account");
        assert_eq!(drain(&mut queue, 500), 0, "not yet");
        let later: usize = (1..=10).map(|second| drain(&mut queue, second * 1_000)).sum();
        assert_eq!(later, 3, "the rest, one after the other");
    }

    #[test]
    fn another_push_service_owes_nothing_to_the_pause_of_the_one_before() {
        let mut queue = fast();
        queue.offer(to(1), tag(1), 0);
        let job = queue.next(0).unwrap();
        queue.ended(&job, Verdict::Later(Some(3_600_000)), 0);
        let moved = Subscription { endpoint: "https://other.example.com/1".into(), ..to(1) };
        queue.offer(moved, tag(2), 10);
        assert_eq!(queue.next(10).map(|job| job.to.endpoint).unwrap(), "https://other.example.com/1");
    }
}
