//! What the commands print and how they end: results on stdout, failures on stderr, exit codes by the contract.
//!
//! It never prints keys or the content of messages but where a command's result is exactly that.

use roost_node::NodeError;
use roost_node::store::StoreError;
use roost_protocol::refusal::Refusal;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Done,
    /// 1.
    Failed,
    /// 2: usage or input.
    Usage,
    /// 3.
    TimedOut,
    /// 4: the directory is locked by another process.
    Busy,
}

impl Exit {
    /// The number for the shell.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::TimedOut => 3,
            Self::Busy => 4,
        }
    }
}

/// Why a command did not do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    #[serde(skip)]
    pub exit: Exit,
    /// Stable, for programs.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Failure {
    /// Exit 1.
    pub fn failed(code: &str, message: impl Display, hint: impl Display) -> Self {
        Self { exit: Exit::Failed, code: code.into(), message: message.to_string(), hint: hint.to_string() }
    }

    /// Exit 2.
    pub fn usage(code: &str, message: impl Display, hint: impl Display) -> Self {
        Self { exit: Exit::Usage, ..Self::failed(code, message, hint) }
    }

    /// Exit 3.
    pub fn timed_out(message: impl Display, hint: impl Display) -> Self {
        Self { exit: Exit::TimedOut, ..Self::failed("timed_out", message, hint) }
    }

    /// Exit 4.
    pub fn busy(message: impl Display, hint: impl Display) -> Self {
        Self { exit: Exit::Busy, ..Self::failed("busy", message, hint) }
    }

    /// Exit 1 for a file or socket; `doing` is what failed.
    pub fn io(doing: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::failed("io", format_args!("{doing}: {error}"), "check that the path exists and is yours")
    }

    /// As it goes to stderr.
    pub fn render(&self, json: bool) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            error: &'a Failure,
        }
        if json {
            serde_json::to_string(&Line { error: self }).unwrap_or_default()
        } else if self.hint.is_empty() {
            format!("error: {}", self.message)
        } else {
            format!("error: {}\n  hint: {}", self.message, self.hint)
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = serde_json::to_value(refusal.code).ok();
        let code = code.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unknown");
        Self::failed(code, &refusal.message, &refusal.hint)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Store(StoreError::Locked) => {
                Self::busy("another process has this directory open", "stop the other `roost serve` first")
            }
            NodeError::Store(error) => {
                Self::failed("store", error, "look at the store directory; `roost check` tells more")
            }
            NodeError::Network(error) => {
                Self::failed("network", error, "is the port free, and is the listen address one of this machine?")
            }
            error => Self::failed("node", error, ""),
        }
    }
}

impl From<roost_client::Error> for Failure {
    fn from(error: roost_client::Error) -> Self {
        use roost_client::Error;
        let exit = match &error {
            Error::Busy => Exit::Busy,
            Error::TimedOut => Exit::TimedOut,
            Error::Exists(_)
            | Error::NoAccount(_)
            | Error::ServerUrl(_)
            | Error::Handle(_)
            | Error::TextTooLong { .. }
            | Error::GroupSize { .. }
            | Error::ToSelf
            | Error::Content(_)
            | Error::FileTooLong { .. }
            | Error::FileExists(_)
            | Error::UnknownPerson
            | Error::NoSuchMessage
            | Error::NotYours
            | Error::NotPossible(_)
            | Error::UnknownDevice
            | Error::UnknownMessage => Exit::Usage,
            _ => Exit::Failed,
        };
        Self { exit, code: error.code(), message: error.to_string(), hint: error.hint() }
    }
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    /// One JSON object a line instead of words.
    pub json: bool,
}

impl Printer {
    /// One result, flushed.
    ///
    /// # Errors
    /// [`Failure`] when stdout is closed.
    pub fn print(self, value: &impl Serialize, words: impl Display) -> Result<(), Failure> {
        let line = if self.json {
            serde_json::to_string(value).map_err(|error| Failure::failed("json", error, ""))?
        } else {
            words.to_string()
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(Failure::io("writing to stdout"))
    }
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(ms: u64) -> String {
    let nanos = i128::from(ms) * 1_000_000;
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// `500ms`, `30s`, `5m`, `12h`, `7d`.
///
/// # Errors
/// Words that say which forms there are.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a number with ms, s, m, h or d, like 30s; got {text:?}");
    let split = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the command line is an edge: it dates invites")]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Random bytes of the operating system.
///
/// # Errors
/// [`Failure`] when it has none.
#[expect(clippy::disallowed_methods, reason = "the command line is an edge: it draws keys and invites")]
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::failed("random", error, ""))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_protocol::refusal::Code;

    #[test]
    fn each_way_to_end_has_the_number_of_the_contract() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::TimedOut, Exit::Busy];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4], "scripts rely on these numbers");
    }

    #[test]
    fn a_locked_store_is_busy_and_any_other_fault_is_not() {
        assert_eq!(Failure::from(NodeError::Store(StoreError::Locked)).exit, Exit::Busy, "locked is exit 4");
        assert_eq!(Failure::from(NodeError::Store(StoreError::Poisoned)).exit, Exit::Failed, "poisoned is exit 1");
    }

    #[test]
    fn a_client_in_use_is_busy_and_a_wait_in_vain_timed_out() {
        use roost_client::Error;
        assert_eq!(Failure::from(Error::Busy).exit, Exit::Busy, "exit 4");
        assert_eq!(Failure::from(Error::TimedOut).exit, Exit::TimedOut, "exit 3");
        assert_eq!(Failure::from(Error::ToSelf).exit, Exit::Usage, "exit 2");
        assert_eq!(Failure::from(Error::Closed).exit, Exit::Failed, "exit 1");
    }

    #[test]
    fn a_refusal_keeps_its_code_and_hint() {
        let failure = Failure::from(Refusal::never(Code::BadInvite, "used up", "ask for a new one"));
        assert_eq!(
            failure.render(true),
            r#"{"error":{"code":"bad_invite","message":"used up","hint":"ask for a new one"}}"#,
            "programs read this line"
        );
        assert_eq!(failure.render(false), "error: used up\n  hint: ask for a new one", "people read these");
    }

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        assert_eq!(rfc3339(1_700_000_000_007), "2023-11-14T22:13:20.007Z", "UTC, three digits");
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)), "days");
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)), "milliseconds");
        for bad in ["", "7", "d", "7y", "-1s", "99999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad:?} is no duration");
        }
    }
}
