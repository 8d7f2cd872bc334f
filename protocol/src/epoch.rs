//! An epoch of a conversation: the MLS epoch, and above it the term of the hub that ordered it, in one number.
//!
//! Two branches of a group have the same MLS epochs; by their terms their epochs differ, and every epoch of a later term is later.
//! Implements `docs/protocol.md`, section "Successors".

/// Bits of the MLS epoch: one commit a second for 136 years.
const MLS_BITS: u32 = 32;

/// The epoch of a term, by its MLS epoch.
pub const fn of(term: u32, mls_epoch: u64) -> u64 {
    ((term as u64) << MLS_BITS) | (mls_epoch & u32::MAX as u64)
}

/// Its MLS epoch.
pub const fn mls(epoch: u64) -> u64 {
    epoch & u32::MAX as u64
}

/// Its term.
pub const fn term(epoch: u64) -> u32 {
    (epoch >> MLS_BITS) as u32
}

/// The epoch with which a successor begins that forks from `epoch`.
pub const fn succeeding(epoch: u64) -> u64 {
    of(term(epoch).saturating_add(1), mls(epoch).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_term_is_later_and_the_first_term_has_the_numbers_of_mls() {
        assert_eq!(of(0, 7), 7, "without a successor nothing changes");
        assert_eq!((term(succeeding(7)), mls(succeeding(7))), (1, 8), "the next MLS epoch, in the next term");
        assert!(succeeding(7) > 1_000_000, "whatever the old hub orders meanwhile is earlier");
        assert_eq!(succeeding(of(3, 9)), of(4, 10), "and so on");
    }
}
