//! Which web pages may open a socket: an exact list.
//!
//! A policy, not the defence: nothing in a browser's keeping signs a device in. Programs send no `Origin` and pass.

use crate::config::BridgeError;
use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The origins that are let in.
#[derive(Debug, Clone)]
pub(crate) struct Origins(BTreeSet<String>);

impl Origins {
    /// The operator's list and the bridge's own origins at `bound`. Own ones are addresses, not the request's `Host`: a
    /// rebound name would otherwise be its own permission.
    ///
    /// # Errors
    /// [`BridgeError::Origin`] for an entry that no browser would send.
    pub(crate) fn new(listed: &[String], bound: SocketAddr) -> Result<Self, BridgeError> {
        let mut origins = BTreeSet::new();
        check_origins(listed)?;
        origins.extend(listed.iter().cloned());
        let mut hosts = vec![SocketAddr::new(bound.ip(), 0).to_string().trim_end_matches(":0").to_owned()];
        if bound.ip().is_loopback() {
            hosts.push("localhost".into());
        }
        for host in hosts {
            origins.insert(format!("http://{host}:{}", bound.port()));
            if bound.port() == 80 {
                origins.insert(format!("http://{host}"));
            }
        }
        Ok(Self(origins))
    }

    /// Whether a request with these headers is let in: no `Origin`, or exactly one that is on the list.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let mut found = headers.get_all(ORIGIN).iter();
        match (found.next(), found.next()) {
            (None, _) => true,
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| self.0.contains(origin)),
            (Some(_), Some(_)) => false,
        }
    }
}

/// Whether the bridge would take a list of origins.
///
/// # Errors
/// [`BridgeError::Origin`] for the first entry that no browser would send.
pub fn check_origins(listed: &[String]) -> Result<(), BridgeError> {
    let bad = listed.iter().find(|origin| !is_origin(origin));
    bad.map_or(Ok(()), |origin| Err(BridgeError::Origin(origin.clone())))
}

/// Scheme and authority in lower case, without a path, a query, user names or a wildcard.
fn is_origin(text: &str) -> bool {
    let Some(host) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    !host.is_empty()
        && host.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn origins() -> Origins {
        let listed = ["https://chat.acme.example".to_owned()];
        Origins::new(&listed, "127.0.0.1:8443".parse().expect("an address")).expect("the list is well formed")
    }

    #[test]
    fn twelve_spellings_and_only_the_exact_ones_pass() {
        let origins = origins();
        for (origin, expected) in [
            ("https://chat.acme.example", true),
            ("http://127.0.0.1:8443", true),
            ("http://localhost:8443", true),
            ("http://chat.acme.example", false),
            ("https://chat.acme.example:444", false),
            ("https://CHAT.acme.example", false),
            ("https://chat.acme.example/", false),
            ("https://chat.acme.example.eve.example", false),
            ("https://eve.example", false),
            ("https://evil-chat.acme.example", false),
            ("http://localhost:8444", false),
            ("null", false),
        ] {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            assert_eq!(origins.allow(&headers), expected, "origin {origin}");
        }
    }

    #[test]
    fn a_program_without_an_origin_passes_and_two_origins_do_not() {
        assert!(origins().allow(&HeaderMap::new()), "no Origin is no web page");
        let good = HeaderValue::from_static("https://chat.acme.example");
        let mut headers = HeaderMap::new();
        headers.append(ORIGIN, good.clone());
        headers.append(ORIGIN, good);
        assert!(!origins().allow(&headers), "two Origin headers are no browser's");
        let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(""))]);
        assert!(!origins().allow(&headers), "an empty Origin is on no list");
    }

    #[test]
    fn an_operators_typo_is_an_error_at_start() {
        let bound = "[::1]:80".parse().expect("an address");
        for wrong in ["chat.acme.example", "https://", "https://acme.example/", "https://*.acme.example", "*"] {
            assert!(Origins::new(&[wrong.to_owned()], bound).is_err(), "{wrong} is no origin");
        }
        let own = Origins::new(&[], bound).expect("an empty list is well formed");
        let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("http://[::1]"))]);
        assert!(own.allow(&headers), "browsers leave port 80 out");
    }
}
