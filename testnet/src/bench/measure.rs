//! Figures: durations and counts, gathered and told as percentiles.
//!
//! It never averages percentiles and never drops a sample; a percentile is right to three digits.

use super::BenchError;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The longest that is told apart: an hour, in nanoseconds.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Digits that a percentile keeps.
const DIGITS: u8 = 3;
/// A millisecond in nanoseconds.
const MS: f64 = 1_000_000.0;

/// Durations.
#[derive(Debug, Clone)]
pub struct Durations(Histogram<u64>);

/// Counts: hops, messages.
#[derive(Debug, Clone)]
pub struct Counts(Histogram<u64>);

/// Percentiles. Of durations in milliseconds, of counts as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the samples are at or below.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// The two percentiles that a disk is told by, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Disk {
    /// Half of the samples are at or below.
    pub p50: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
}

impl Durations {
    /// Without a sample.
    ///
    /// # Errors
    /// [`BenchError::Histogram`]: never with the bounds above.
    pub fn new() -> Result<Self, BenchError> {
        Ok(Self(Histogram::new_with_max(LONGEST_NS, DIGITS)?))
    }

    /// Takes a sample; longer than an hour counts as an hour.
    pub fn record(&mut self, sample: Duration) {
        self.0.saturating_record(u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many samples there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In milliseconds, to the microsecond.
    pub fn spread(&self) -> Spread {
        spread(&self.0, |ns| round(ns / MS))
    }

    /// In milliseconds, to the microsecond.
    pub fn disk(&self) -> Disk {
        let Spread { p50, p99, .. } = self.spread();
        Disk { p50, p99 }
    }
}

impl Counts {
    /// Without a sample.
    ///
    /// # Errors
    /// [`BenchError::Histogram`]: never with the bounds above.
    pub fn new() -> Result<Self, BenchError> {
        Ok(Self(Histogram::new_with_max(LONGEST_NS, DIGITS)?))
    }

    /// Takes a sample.
    pub fn record(&mut self, sample: u32) {
        self.0.saturating_record(u64::from(sample));
    }

    /// As they are.
    pub fn spread(&self) -> Spread {
        spread(&self.0, |count| count)
    }

    /// Their mean, to three decimals.
    pub fn mean(&self) -> f64 {
        round(self.0.mean())
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, max } = self;
        write!(formatter, "p50 {p50:>9.3}   p90 {p90:>9.3}   p99 {p99:>9.3}   max {max:>9.3}")
    }
}

/// Three decimals.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A duration in milliseconds, to the microsecond.
pub(super) fn ms(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1000.0)
}

/// The middle one of several; of an even number the upper of the two.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "an hour in nanoseconds is far below 2^53")]
fn spread(histogram: &Histogram<u64>, unit: impl Fn(f64) -> f64) -> Spread {
    let at = |quantile| unit(histogram.value_at_quantile(quantile) as f64);
    Spread { p50: at(0.50), p90: at(0.90), p99: at(0.99), max: unit(histogram.max() as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64) -> bool {
        (got - expected).abs() <= expected / 500.0
    }

    #[test]
    fn percentiles_of_a_thousand_known_durations_are_right_to_three_digits() {
        let mut durations = Durations::new().unwrap();
        // In an order that is not theirs: 7919 has no divisor in common with 1000.
        for number in 0..1000_u64 {
            durations.record(Duration::from_micros((number * 7919 % 1000 + 1) * 100));
        }
        let spread = durations.spread();
        for (name, got, expected) in [
            ("p50", spread.p50, 50.0),
            ("p90", spread.p90, 90.0),
            ("p99", spread.p99, 99.0),
            ("max", spread.max, 100.0),
        ] {
            assert!(near(got, expected), "{name}: expected about {expected} ms, got {got}");
        }
        assert_eq!(durations.len(), 1000, "no sample is dropped");
        assert_eq!(durations.disk().p99, spread.p99, "a disk is told by the same percentiles");
    }

    #[test]
    fn one_slow_sample_in_a_hundred_is_the_maximum_and_not_the_middle() {
        let mut durations = Durations::new().unwrap();
        for _ in 0..99 {
            durations.record(Duration::from_millis(1));
        }
        durations.record(Duration::from_secs(2));
        let spread = durations.spread();
        assert!(near(spread.p50, 1.0) && near(spread.p90, 1.0), "the middle is not moved: {spread:?}");
        assert!(near(spread.max, 2000.0), "the slow one is told: {spread:?}");
    }

    #[test]
    fn counts_keep_their_unit_and_what_is_longer_than_the_longest_is_not_lost() {
        let mut counts = Counts::new().unwrap();
        for count in [1, 2, 3, 4, 40] {
            counts.record(count);
        }
        assert_eq!(counts.spread(), Spread { p50: 3.0, p90: 40.0, p99: 40.0, max: 40.0 }, "counts stay whole");
        assert_eq!(counts.mean(), 10.0, "the mean is the sum by the number");
        let mut durations = Durations::new().unwrap();
        durations.record(Duration::from_secs(100 * 3600));
        assert_eq!(durations.len(), 1, "it counts");
    }

    #[test]
    fn the_median_is_the_middle_and_of_nothing_there_is_none() {
        assert_eq!(median(vec![5.0, 1.0, 9.0]), Some(5.0), "sorted first");
        assert_eq!(median(Vec::new()), None, "nothing has no middle");
    }
}
