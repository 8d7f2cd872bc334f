//! One request to a push service (RFC 8030, section 5): resolve, look at the address, connect to that address, TLS, POST.
//!
//! There is no pool, no proxy, no redirect and no second look at the name: what was looked at is what is connected to.

use super::address::may_connect;
use super::{Endpoint, Policy, PushError};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use roost_protocol::push::PushLeg;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// For each leg.
const LEG_WAIT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// For what Retry-After is believed at all, milliseconds: a day.
const RETRY_AFTER_MS_MAX: u64 = 24 * 3600 * 1000;

/// What is posted.
pub(super) struct Post {
    /// Sealed.
    pub body: Vec<u8>,
    pub authorization: String,
    pub ttl_s: u64,
    /// Of several with one topic a push service keeps the last.
    pub topic: Option<String>,
}

/// What a push service said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    /// When it wants to be asked again.
    pub retry_after_ms: Option<u64>,
}

impl Answer {
    pub fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The subscription is over.
    pub fn is_gone(&self) -> bool {
        matches!(self.status, 404 | 410)
    }

    /// The same may be taken later.
    pub fn is_later(&self) -> bool {
        self.status == 429 || (500..600).contains(&self.status)
    }
}

type Failed = (PushLeg, String);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What all requests share.
pub(super) struct Client {
    tls: TlsConnector,
}

impl Client {
    /// With the public certificates, and those of a file.
    ///
    /// # Errors
    /// [`PushError`].
    pub fn new(certificates: Option<&Path>) -> Result<Self, PushError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = certificates {
            let failed = PushError::Certificates;
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder =
            builder.with_safe_default_protocol_versions().map_err(|error| PushError::Tls(error.to_string()))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// # Errors
    /// The leg that failed, and why.
    pub async fn post(&self, to: &Endpoint, policy: &Policy, post: Post, now_ms: u64) -> Result<Answer, Failed> {
        let stream = self.connect(to, policy).await?;
        within(PushLeg::Answer, "an answer", exchange(to, stream, post, now_ms)).await
    }

    async fn connect(&self, to: &Endpoint, policy: &Policy) -> Result<Box<dyn Stream>, Failed> {
        let addresses = within(PushLeg::Resolve, "the name", resolve(to)).await?;
        let allowed: Vec<_> = addresses.into_iter().filter(|address| may_connect(address.ip(), policy)).collect();
        if allowed.is_empty() {
            let message = "the host is where a home never connects to: this machine, or a network that is not public";
            return Err((PushLeg::Address, message.into()));
        }
        let mut last = (PushLeg::Connect, String::new());
        for address in allowed.into_iter().take(ADDRESSES_MAX) {
            let connecting =
                async { TcpStream::connect(address).await.map_err(|error| (PushLeg::Connect, words(&error))) };
            match within(PushLeg::Connect, "a connection", connecting).await {
                Ok(stream) if to.tls => return within(PushLeg::Tls, "TLS", self.handshake(to, stream)).await,
                Ok(stream) => return Ok(Box::new(stream)),
                Err(failed) => last = failed,
            }
        }
        Err(last)
    }

    async fn handshake(&self, to: &Endpoint, stream: TcpStream) -> Result<Box<dyn Stream>, Failed> {
        let failed = |error: String| (PushLeg::Tls, format!("TLS: {error}"));
        let name = ServerName::try_from(to.host.clone()).map_err(|error| failed(error.to_string()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| failed(error.to_string()))?;
        Ok(Box::new(stream))
    }
}

async fn within<T>(leg: PushLeg, what: &str, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let late = |_| (leg, format!("waited {} seconds for {what}", LEG_WAIT.as_secs()));
    tokio::time::timeout(LEG_WAIT, work).await.map_err(late)?
}

/// The kind alone: what an operating system adds can hold addresses.
fn words(error: &std::io::Error) -> String {
    error.kind().to_string()
}

async fn resolve(to: &Endpoint) -> Result<Vec<SocketAddr>, Failed> {
    if let Ok(address) = to.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, to.port)]);
    }
    let failed = |_| (PushLeg::Resolve, "the name of the push service was not found".to_owned());
    let found = tokio::net::lookup_host((to.host.as_str(), to.port)).await.map_err(failed)?;
    Ok(found.collect())
}

async fn exchange(to: &Endpoint, stream: Box<dyn Stream>, post: Post, now_ms: u64) -> Result<Answer, Failed> {
    let failed = |error: String| (PushLeg::Answer, format!("no answer: {error}"));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
    let Post { body, authorization, ttl_s, topic } = post;
    let mut request = Request::post(&to.path)
        .header(HOST, &to.authority)
        .header(USER_AGENT, "roost")
        .header(AUTHORIZATION, authorization)
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_ENCODING, "aes128gcm")
        .header("ttl", ttl_s)
        .header("urgency", "high");
    if let Some(topic) = topic {
        request = request.header("topic", topic);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| failed(error.to_string()))?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    // What comes behind the head of the answer is nobody's business: the connection ends here.
    let response = tokio::select! {
        response = &mut answer => response,
        // What was read before its end is handed over.
        _ = connection => answer.await,
    };
    let response = response.map_err(|error| failed(error.to_string()))?;
    let status = response.status();
    let retry_after_ms = retry_after_ms(response.headers(), now_ms).filter(|_| asks_for_pause(status));
    Ok(Answer { status: status.as_u16(), retry_after_ms })
}

fn asks_for_pause(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// Retry-After, as seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after_ms(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait_ms = match text.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1000),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            u64::try_from(at.as_millis()).ok()?.saturating_sub(now_ms)
        }
    };
    Some(wait_ms.min(RETRY_AFTER_MS_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let wait = |text: &str, now_ms| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after_ms(&headers, now_ms)
        };
        assert_eq!(wait("120", 0), Some(120_000), "seconds");
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT", 946_684_790_000), Some(9_000), "a date");
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT", 2_000_000_000_000), Some(0), "one that is over");
        assert_eq!(wait("99999999999999999", 0), Some(RETRY_AFTER_MS_MAX), "no more than a day");
        assert_eq!(wait("soon", 0), None, "neither");
    }

    #[test]
    fn answers_are_told_apart() {
        let answer = |status| Answer { status, retry_after_ms: None };
        assert!([200, 201, 204].into_iter().all(|status| answer(status).is_taken()), "taken");
        assert!([404, 410].into_iter().all(|status| answer(status).is_gone()), "gone");
        assert!([429, 500, 503].into_iter().all(|status| answer(status).is_later()), "later");
        for status in [301, 302, 307, 308, 400, 401, 403, 413] {
            let answer = answer(status);
            assert!(
                !answer.is_taken() && !answer.is_gone() && !answer.is_later(),
                "{status} ends it, and is not followed"
            );
        }
    }
}
