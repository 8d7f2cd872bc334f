//! `roost chat expires`: after which time what is said in a conversation disappears.

use super::LOOKUP_WAIT;
use crate::output::{Failure, Printer, duration};
use roost_client::Session;
use roost_client::core::Recipient;
use roost_client::core::message::State;
use serde_json::json;
use std::str::FromStr;
use std::time::Duration;

/// A time, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Option<Duration>);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        duration(text).map(|time| Self(Some(time))).map_err(|error| format!("{error}; or off"))
    }
}

pub(super) async fn run(
    session: &Session,
    to: &Recipient,
    time: Option<Time>,
    timeout: Duration,
    out: Printer,
) -> Result<(), Failure> {
    let name = match to {
        Recipient::Handle(handle) => {
            // Looks the account up where it is not known yet.
            session.safety_number(&handle.to_string(), LOOKUP_WAIT).await?;
            handle.to_string()
        }
        Recipient::Id(id) => id.to_string(),
    };
    if let Some(Time(time)) = time {
        let told = session.set_timer(to, time.map(|time| time.as_secs())).await?;
        session.wait(told, State::Accepted, timeout).await?;
    }
    let expires_after_s = session.timer(to).await?;
    let value = json!({ "peer": name, "expires_after_s": expires_after_s });
    out.print(&value, words(expires_after_s.unwrap_or(0)))
}

/// What a timer of so many seconds means; 0 for none.
pub fn words(seconds: u64) -> String {
    match seconds {
        0 => "what is said from now on stays".to_owned(),
        seconds => format!("what is said from now on disappears after {}", short(seconds)),
    }
}

/// Seconds as people say them, in the largest unit that fits.
pub fn short(seconds: u64) -> String {
    let units = [(7 * 24 * 3600, "week"), (24 * 3600, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, "second"));
    match seconds / unit {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_the_largest_unit_that_fits() {
        for (seconds, said) in [(5, "5 seconds"), (3600, "1 hour"), (90, "90 seconds"), (604_800, "1 week")] {
            assert_eq!(short(seconds), said, "{seconds} s");
        }
        assert_eq!("off".parse(), Ok(Time(None)), "off is a time, too");
        assert_eq!("1d".parse(), Ok(Time(Some(Duration::from_secs(86_400)))), "a day");
        assert!("never".parse::<Time>().is_err_and(|why| why.contains("off")), "it says which forms there are");
    }
}
