//! What a figure depends on: the cores, the build, the clock; and what a process costs.
//!
//! The edge of the benchmarks: the only place here that reads a clock. What `/proc` does not tell is absent, never guessed.

use super::BenchError;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

/// Ticks a second of the times in `/proc/<pid>/stat` (`USER_HZ`): 100 on every Linux that Rust runs on.
const TICKS_PER_S: u64 = 100;
/// Descriptors beside the ones that are measured: stores, logs, libp2p.
const DESCRIPTORS_SPARE: u64 = 256;

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// All pages that are in RAM (`VmRSS`).
    pub(super) rss: u64,
    /// Those of them that no file backs (`RssAnon`): heap and stacks.
    pub(super) anonymous: u64,
}

/// Processors that may be used.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How this program was built.
pub(super) fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// Monotonic time.
#[expect(clippy::disallowed_methods, reason = "the edge of a benchmark: measuring is its purpose")]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the edge of a benchmark: its devices date their messages")]
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Processor time of a process so far, to 10 ms; `None` where the system does not tell.
pub(super) fn processor_time(pid: u32) -> Option<Duration> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold anything, also parentheses. Behind it utime and stime are fields 12 and 13.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_S))
}

/// Memory of a process now.
///
/// # Errors
/// [`BenchError::Unknown`] where the system does not tell.
pub(super) fn memory(pid: u32) -> Result<Memory, BenchError> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    parse_status(&status).ok_or(BenchError::Unknown { what: "the memory of a process (/proc/PID/status)" })
}

fn parse_status(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let kib: u64 =
            status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory { rss: field("VmRSS:")?, anonymous: field("RssAnon:")? })
}

/// Raises how many descriptors this process, and every one that it starts, may have open.
///
/// # Errors
/// [`BenchError::Descriptors`] when the system's hard limit is below.
pub(super) fn allow_descriptors(wanted: u64) -> Result<(), BenchError> {
    let wanted = wanted + DESCRIPTORS_SPARE;
    let allowed = rlimit::increase_nofile_limit(wanted).unwrap_or(0);
    if allowed < wanted { Err(BenchError::Descriptors { wanted, allowed }) } else { Ok(()) }
}

/// Raises it as far as the system lets, and tells how far.
pub(super) fn allow_most_descriptors() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_that_holds_parentheses() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(3)), "250 and 50 ticks are three seconds");
        assert_eq!(parse_stat("42 (a"), None, "what is cut is not guessed");
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\troost\nVmRSS:\t   2048 kB\nRssAnon:\t    1024 kB\n";
        assert_eq!(parse_status(status), Some(Memory { rss: 2 << 20, anonymous: 1 << 20 }), "kB there are KiB");
        assert_eq!(parse_status("VmRSS:\t1 kB\n"), None, "half of it is nothing");
    }

    #[test]
    fn this_process_has_used_memory() {
        if std::path::Path::new("/proc/self/status").exists() {
            let own = memory(std::process::id()).unwrap();
            assert!(own.rss > own.anonymous && own.anonymous > 0, "a running test has pages of both kinds: {own:?}");
        }
    }
}
