//! Times as people read them, in their zone.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// What "now" and "today" are.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    pub zone: TimeZone,
}

impl Clock {
    /// Hours and minutes.
    pub fn time(&self, at_ms: u64) -> String {
        self.at(at_ms).strftime("%H:%M").to_string()
    }

    /// The day, as a heading.
    pub fn day(&self, at_ms: u64) -> String {
        let (day, today) = (self.date(at_ms), self.date(self.now_ms));
        if day == today {
            "Today".to_owned()
        } else if today.yesterday().ok() == Some(day) {
            "Yesterday".to_owned()
        } else {
            day.strftime("%A, %-d %B %Y").to_string()
        }
    }

    /// Hours and minutes of today, else the day: for a list.
    pub fn short(&self, at_ms: u64) -> String {
        let (day, today) = (self.date(at_ms), self.date(self.now_ms));
        if day == today {
            self.time(at_ms)
        } else if day.year() == today.year() {
            day.strftime("%-d %b").to_string()
        } else {
            day.strftime("%Y").to_string()
        }
    }

    /// Hours and minutes, with the day unless it is today.
    pub fn full(&self, at_ms: u64) -> String {
        if self.date(at_ms) == self.date(self.now_ms) {
            self.time(at_ms)
        } else {
            self.at(at_ms).strftime("%-d %b %H:%M").to_string()
        }
    }

    pub fn date(&self, at_ms: u64) -> Date {
        self.at(at_ms).date()
    }

    /// A time of another's making may be beyond what a calendar holds.
    fn at(&self, at_ms: u64) -> DateTime {
        let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        self.zone.to_datetime(at.unwrap_or(Timestamp::UNIX_EPOCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_where_they_are_near() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        // 2026-11-24 01:30 two hours east of Greenwich, where it is still the 23rd.
        let clock = Clock { now_ms: 1_795_476_600_000, zone };
        let hour = 3_600_000;
        assert_eq!(clock.time(clock.now_ms), "01:30", "in the person's zone");
        assert_eq!(clock.day(clock.now_ms - hour), "Today", "after midnight there");
        assert_eq!(clock.day(clock.now_ms - 2 * hour), "Yesterday", "before it");
        assert_eq!(clock.day(clock.now_ms - 50 * hour), "Saturday, 21 November 2026", "with its name before that");
        assert_eq!(clock.short(clock.now_ms - 50 * hour), "21 Nov", "a list has less room");
        assert_eq!(clock.full(clock.now_ms - 50 * hour), "21 Nov 23:30", "a detail has more");
        assert_eq!(clock.short(clock.now_ms - 400 * 24 * hour), "2025", "years ago");
        assert_eq!(clock.time(u64::MAX), "02:00", "a time beyond the calendar harms nothing");
    }
}
