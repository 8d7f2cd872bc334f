//! What the operator decides about the bridge, and why it may refuse to start.

use roost_node::relay::Rate;
use roost_protocol::limits;
use std::net::SocketAddr;
use std::time::Duration;

/// Open connections of a bridge, unless told: 16,000 of 3.6 KB, each a descriptor.
pub const CONNECTIONS_MAX: usize = 16_000;

/// Where the bridge listens and whom it lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Web origins whose pages may connect, spelled as browsers send them (`https://chat.acme.example`). The bridge's own
    /// loopback origin is always allowed; behind a proxy, name the public one here.
    pub origins: Vec<String>,
    /// A TLS proxy stands in front: plain HTTP may listen beyond loopback, and the last address in `X-Forwarded-For` is
    /// the client's.
    pub trusted_proxy: bool,
    /// Open connections; more are dropped at once. Below the descriptors that a process may have.
    pub connections_max: usize,
    /// Connections without a signed-in device from one IPv4 address or IPv6 /64; more get 429.
    pub pending_per_address_max: usize,
    /// WebSockets from one IPv4 address or IPv6 /64; more get 429. Without a proxy, more than twice as many TCP connections are
    /// dropped at once.
    pub sockets_per_address_max: usize,
    /// Handshakes of one address; more get 429.
    pub handshakes: Rate,
    /// Accounts that one address may make.
    pub sign_ups: Rate,
    /// Sign-ins, invites and restored accounts of one address that fail; when they are used up, all of its tries are refused.
    pub sign_in_failures: Rate,
    /// Requests of one address to link a device.
    pub link_requests: Rate,
    /// A device signs in within this time.
    pub sign_in_within: Duration,
    /// Whoever asks to be linked signs in within this time: a person looks at two screens, and the device signs in behind it.
    pub link_within: Duration,
    /// A ping goes out this often: less than the idle limit of common proxies (60 s).
    pub ping_every: Duration,
    /// Nothing heard for this long, not even a pong: the device is gone. Two pings and a half.
    pub silence_max: Duration,
    /// One frame is written within this time, else the device reads too slowly.
    pub write_within: Duration,
    /// Patience with the other side's close frame.
    pub close_within: Duration,
    /// Patience with all connections at shutdown; `roost serve` has 10 s.
    pub drain_within: Duration,
    /// Frames that a connection may send at once; what comes faster is read later.
    pub frames_burst: u32,
    /// Frames a second that are read of a connection over time.
    pub frames_per_s: u32,
}

impl BridgeConfig {
    /// The defaults at `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            origins: Vec::new(),
            trusted_proxy: false,
            connections_max: CONNECTIONS_MAX,
            pending_per_address_max: 20,
            sockets_per_address_max: 50,
            handshakes: Rate::new(20, 10, 1_000),
            sign_ups: Rate::new(3, 3, 3_600_000),
            sign_in_failures: Rate::new(5, 5, 60_000),
            link_requests: Rate::new(5, 5, 600_000),
            sign_in_within: Duration::from_secs(10),
            link_within: Duration::from_millis(limits::LINK_MS + 10_000),
            ping_every: Duration::from_secs(30),
            silence_max: Duration::from_secs(75),
            write_within: Duration::from_secs(10),
            close_within: Duration::from_secs(3),
            drain_within: Duration::from_secs(6),
            frames_burst: 2_000,
            frames_per_s: 1_000,
        }
    }
}

/// Why the bridge does not start.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// Plain HTTP would cross a network.
    #[error(
        "{0} is not a loopback address and this door speaks plain HTTP: listen on 127.0.0.1 behind a TLS proxy, or set \
         trusted_proxy = true if the proxy reaches it over a private network"
    )]
    PlainHttp(SocketAddr),
    /// An origin that no browser would send.
    #[error("expected an origin such as https://chat.acme.example (scheme, host, no path), got {0:?}")]
    Origin(String),
    /// The address cannot be bound.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
}
