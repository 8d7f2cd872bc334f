//! The bridge's bounds that belong to no other file, with their unit and reason.

use std::time::Duration;

/// Bytes tungstenite reads at once, held by every connection: a short message and more. Its default is 128 KiB.
pub(crate) const READ_BUFFER_BYTES: usize = 768;
/// Bytes gathered before a write, where so many wait; what waits alone leaves at once.
pub(crate) const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Frames that leave together at most: the first must not wait for more to be encoded.
pub(crate) const FRAMES_A_WRITE: usize = 64;
/// Bytes that may wait for a slow reader in front of the kernel's buffer: eight of the largest messages.
pub(crate) const WRITE_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// Unreadable frames in a row before the connection is closed: a person at a prompt errs less often, a fuzzer more.
pub(crate) const UNREADABLE_IN_A_ROW_MAX: u32 = 8;
/// Refusals of the bridge's own that wait for the writer; a full queue stops the reader.
pub(crate) const REPLIES_WAITING_MAX: usize = 16;
/// How often a blocked write looks whether the node gave the connection up.
pub(crate) const BLOCKED_WRITE_CHECK: Duration = Duration::from_millis(100);
/// Life of a connection that does not become a WebSocket: ten seconds for the request head, ten for the answer.
pub(crate) const HTTP_CONNECTION_LIFE: Duration = Duration::from_secs(20);
/// Patience with one lookup: shorter than what is left of the connection's life.
pub(crate) const DISCOVER_WITHIN: Duration = Duration::from_secs(8);
/// Lookups at the same time: each may cost the node a walk through the directory.
pub(crate) const DISCOVERIES_MAX: usize = 64;
/// Parts of blobs on their way at the same time: 32 MiB, for each is held whole.
pub(crate) const TRANSFERS_MAX: usize = 64;
/// A request's target, bytes: the longest handle, percent-encoded, fits several times.
pub(crate) const TARGET_BYTES_MAX: usize = 2048;
/// All names and values of a request's headers, bytes.
pub(crate) const HEADER_BYTES_MAX: usize = 16 * 1024;
/// How long a connection closed for its size is read on, so that the close frame is not lost in a reset.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// Bytes read and dropped in that time.
pub(crate) const LINGER_BYTES_MAX: u64 = 1024 * 1024;
