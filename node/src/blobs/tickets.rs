//! Tickets: each lets whoever holds it carry one part of one blob, in one direction, once, within a minute.
//!
//! They are in memory alone: after a restart every one is over, and a device asks for another.

use crate::network::clock;
use roost_protocol::content::BlobRef;
use roost_protocol::ids::{BlobId, BlobTicket};
use roost_protocol::limits::BLOB_TICKET_MS;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Tickets that are out: each is some 100 bytes, and few are out for longer than a round trip.
const TICKETS_MAX: usize = 4_096;

/// In which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a device.
    Put {
        /// First byte of the part.
        offset: u64,
    },
    /// To a device.
    Get,
}

/// Those that are out.
#[derive(Default)]
pub(super) struct Tickets(BTreeMap<BlobTicket, (BlobRef, Way, Instant)>);

impl Tickets {
    /// A new one, unless too many are out.
    #[expect(clippy::disallowed_methods, reason = "the edge: a ticket is 32 random bytes that nobody guesses")]
    pub fn give(&mut self, of: BlobRef, way: Way) -> Option<BlobTicket> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        self.insert(BlobTicket(bytes), of, way, clock::instant())
    }

    /// What a ticket is for, if it is for this blob. It is used up, whatever comes of it.
    pub fn take(&mut self, blob: &BlobId, ticket: &BlobTicket) -> Option<(BlobRef, Way)> {
        self.take_at(blob, ticket, clock::instant())
    }

    fn insert(&mut self, ticket: BlobTicket, of: BlobRef, way: Way, now: Instant) -> Option<BlobTicket> {
        if self.0.len() >= TICKETS_MAX {
            self.0.retain(|_, (.., until)| *until > now);
        }
        if self.0.len() >= TICKETS_MAX {
            return None;
        }
        self.0.insert(ticket, (of, way, now + Duration::from_millis(BLOB_TICKET_MS)));
        Some(ticket)
    }

    fn take_at(&mut self, blob: &BlobId, ticket: &BlobTicket, now: Instant) -> Option<(BlobRef, Way)> {
        let (of, way, until) = self.0.remove(ticket)?;
        (of.blob == *blob && until > now).then_some((of, way))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OF: BlobRef = BlobRef { blob: BlobId([1; 32]), bytes: 10 };

    #[test]
    fn a_ticket_is_good_for_one_blob_once_and_for_a_minute() {
        let (mut tickets, now) = (Tickets::default(), clock::instant());
        let one = tickets.give(OF, Way::Get).unwrap();
        assert_eq!(tickets.take(&OF.blob, &BlobTicket([9; 32])), None, "no guess is one");
        assert_eq!(tickets.take(&OF.blob, &one), Some((OF, Way::Get)), "its holder is let through");
        assert_eq!(tickets.take(&OF.blob, &one), None, "once");
        let one = tickets.give(OF, Way::Put { offset: 3 }).unwrap();
        assert_eq!(tickets.take(&BlobId([2; 32]), &one), None, "for its blob");
        assert_eq!(tickets.take(&OF.blob, &one), None, "a wrong try uses it up as well");
        let one = tickets.insert(BlobTicket([3; 32]), OF, Way::Get, now).unwrap();
        assert_eq!(tickets.take_at(&OF.blob, &one, now + Duration::from_secs(61)), None, "for a minute");
    }

    #[test]
    fn tickets_that_are_out_are_bounded_and_old_ones_make_room() {
        let (mut tickets, now) = (Tickets::default(), clock::instant());
        let ticket = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            BlobTicket(bytes)
        };
        for number in 0..TICKETS_MAX {
            assert!(tickets.insert(ticket(number), OF, Way::Get, now).is_some(), "{number}");
        }
        assert!(tickets.insert(ticket(TICKETS_MAX), OF, Way::Get, now).is_none(), "no more");
        let later = now + Duration::from_secs(61);
        assert!(tickets.insert(ticket(TICKETS_MAX), OF, Way::Get, later).is_some(), "a minute later all are over");
    }
}
