//! The address of a subscription, as far as it can be judged without asking anybody.

use super::address::may_connect;
use http::Uri;
use roost_protocol::limits;
use roost_protocol::push::PushLeg;
use std::net::IpAddr;

/// Where a node pushes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// This machine, any port, and without TLS: for tests.
    pub loopback: bool,
    /// The ports; all but a few push services have 443.
    pub ports: Vec<u16>,
}

impl Policy {
    /// For people.
    pub const PRODUCTION: Self = Self { loopback: false, ports: Vec::new() };
    /// For programs on one machine.
    pub const TESTNET: Self = Self { loopback: true, ports: Vec::new() };

    fn takes_port(&self, port: u16) -> bool {
        self.loopback || port == HTTPS || self.ports.contains(&port)
    }
}

/// The port that is always allowed.
const HTTPS: u16 = 443;

/// Why an address cannot be pushed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Longer than push services give them.
    #[error("the address is over {} bytes", limits::PUSH_ENDPOINT_BYTES_MAX)]
    TooLong,
    /// No URL.
    #[error("the address is no URL of a push service")]
    NoUrl,
    /// Another scheme.
    #[error("the address has another scheme than https")]
    Scheme,
    /// A port that is not allowed.
    #[error("the address has a port that this home does not connect to")]
    Port,
    /// A number that leads where a home never connects to.
    #[error("the address is none of the public internet")]
    Address,
}

impl EndpointError {
    /// As a leg of a push.
    pub const fn leg(self) -> PushLeg {
        match self {
            Self::Address => PushLeg::Address,
            _ => PushLeg::Endpoint,
        }
    }
}

/// An address that a node may try.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// With TLS.
    pub(super) tls: bool,
    /// A name, or a number without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As it stands in the request.
    pub(super) path: String,
    /// As it stands in `Host`.
    pub(super) authority: String,
}

/// It is a secret: whoever has it can push.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Endpoint(..)")
    }
}

impl Endpoint {
    /// Reads an address.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, EndpointError> {
        if text.len() > limits::PUSH_ENDPOINT_BYTES_MAX {
            return Err(EndpointError::TooLong);
        }
        let uri: Uri = text.parse().map_err(|_| EndpointError::NoUrl)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if policy.loopback => false,
            Some(_) => return Err(EndpointError::Scheme),
            None => return Err(EndpointError::NoUrl),
        };
        let authority = uri.authority().ok_or(EndpointError::NoUrl)?;
        // A name before the host is no part of any subscription, and fools who reads it.
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(EndpointError::NoUrl);
        }
        let port = match (authority.port(), tls) {
            (Some(port), _) => port.as_u16(),
            (None, _) if authority.as_str() != authority.host() => return Err(EndpointError::NoUrl),
            (None, true) => HTTPS,
            (None, false) => 80,
        };
        if !policy.takes_port(port) {
            return Err(EndpointError::Port);
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_ascii_lowercase();
        if host.parse::<IpAddr>().is_ok_and(|address| !may_connect(address, policy)) {
            return Err(EndpointError::Address);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let default = if tls { HTTPS } else { 80 };
        let named = authority.host().to_ascii_lowercase();
        let authority = if port == default { named } else { format!("{named}:{port}") };
        Ok(Self { tls, host, port, path, authority })
    }

    /// Scheme, host and port: what a VAPID token is for (RFC 8292, section 2).
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let parsed = Endpoint::parse("https://Push.example.com/send/a?b=c", &Policy::PRODUCTION).unwrap();
        assert_eq!((parsed.host.as_str(), parsed.port, parsed.path.as_str()), ("push.example.com", 443, "/send/a?b=c"));
        assert_eq!(parsed.origin(), "https://push.example.com", "the port of https is left out");
        let other = Policy { ports: vec![8443], ..Policy::PRODUCTION };
        let parsed = Endpoint::parse("https://push.example.com:8443/a", &other).unwrap();
        assert_eq!(parsed.origin(), "https://push.example.com:8443", "another port is part of the origin");
        assert_eq!(Endpoint::parse("https://[2606:4700::1111]/a", &other).unwrap().host, "2606:4700::1111");
    }

    #[test]
    fn what_no_push_service_gives_is_refused() {
        for (text, error) in [
            ("", EndpointError::NoUrl),
            ("/a", EndpointError::NoUrl),
            ("push.example.com", EndpointError::NoUrl),
            ("https://", EndpointError::NoUrl),
            ("https:///a", EndpointError::NoUrl),
            ("https://user@push.example.com/a", EndpointError::NoUrl),
            ("https://push.example.com@127.0.0.1/a", EndpointError::NoUrl),
            ("https://push.example.com:/a", EndpointError::NoUrl),
            ("https://push.example.com:99999/a", EndpointError::NoUrl),
            ("https://a b/c", EndpointError::NoUrl),
            ("http://push.example.com/a", EndpointError::Scheme),
            ("ftp://push.example.com/a", EndpointError::Scheme),
            ("file:///etc/passwd", EndpointError::NoUrl),
            ("https://push.example.com:22/a", EndpointError::Port),
            ("https://push.example.com:8443/a", EndpointError::Port),
            ("https://127.0.0.1/a", EndpointError::Address),
            ("https://10.1.2.3/a", EndpointError::Address),
            ("https://169.254.169.254/latest", EndpointError::Address),
            ("https://[::1]/a", EndpointError::Address),
            ("https://[::ffff:10.0.0.1]/a", EndpointError::Address),
            ("https://[fe80::1]/a", EndpointError::Address),
        ] {
            let refused = Endpoint::parse(text, &Policy::PRODUCTION).unwrap_err();
            assert!(refused == error || text.starts_with("file"), "{text}: {refused:?}");
        }
        let long = format!("https://push.example.com/{}", "a".repeat(limits::PUSH_ENDPOINT_BYTES_MAX));
        assert_eq!(Endpoint::parse(&long, &Policy::PRODUCTION), Err(EndpointError::TooLong));
    }

    #[test]
    fn a_testnet_pushes_to_its_machine_without_tls() {
        let parsed = Endpoint::parse("http://127.0.0.1:9999/a", &Policy::TESTNET).unwrap();
        assert_eq!((parsed.tls, parsed.port), (false, 9999));
        assert_eq!(Endpoint::parse("http://10.0.0.1/a", &Policy::TESTNET), Err(EndpointError::Address));
    }

    #[test]
    fn no_log_holds_an_address() {
        let parsed = Endpoint::parse("https://push.example.com/secret", &Policy::PRODUCTION).unwrap();
        assert_eq!(format!("{parsed:?}"), "Endpoint(..)");
    }
}
