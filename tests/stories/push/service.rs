//! A push service as far as a home sees it: takes what is posted, and answers what the story says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    pub at: Instant,
    pub path: String,
    /// All of the head, as it came.
    pub head: String,
    headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Posted {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("the request has {name}: {}", self.head))
    }
}

#[derive(Default)]
struct State {
    posted: VecDeque<Posted>,
    /// By path: status lines with headers; the last one stays.
    answers: BTreeMap<String, VecDeque<String>>,
    connections: usize,
}

/// The service; its thread ends with the process.
pub struct PushService {
    pub port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
    /// Its certificate, PEM, where it speaks TLS.
    pub certificate: Option<String>,
    scheme: &'static str,
}

impl PushService {
    pub fn start() -> Self {
        Self::run(None, None)
    }

    /// With TLS, by a certificate for `localhost` that nobody else believes.
    pub fn start_with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self::run(Some(TlsAcceptor::from(Arc::new(config))), Some(made.cert.pem()))
    }

    fn run(tls: Option<TlsAcceptor>, certificate: Option<String>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<(Mutex<State>, Condvar)>::default();
        let shared = Arc::clone(&state);
        let scheme = if tls.is_some() { "https" } else { "http" };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    shared.0.lock().unwrap().connections += 1;
                    let (shared, tls) = (Arc::clone(&shared), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, &shared).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, &shared).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        Self { port, state, certificate, scheme }
    }

    /// An address of a subscription here.
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.port)
    }

    /// What is answered there, one after the other; the last for ever. Without it: 201.
    pub fn answer(&self, path: &str, answers: &[&str]) {
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
        self.state.0.lock().unwrap().answers.insert(path.to_owned(), answers);
    }

    /// The next that was posted.
    pub fn next(&self, within: Duration) -> Option<Posted> {
        let (lock, condition) = &*self.state;
        let deadline = Instant::now() + within;
        let mut state = lock.lock().unwrap();
        loop {
            if let Some(posted) = state.posted.pop_front() {
                return Some(posted);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = condition.wait_timeout(state, left).unwrap().0;
        }
    }

    /// How often somebody connected.
    pub fn connections(&self) -> usize {
        self.state.0.lock().unwrap().connections
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &(Mutex<State>, Condvar)) {
    let mut bytes = Vec::new();
    let (head, body_at) = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        bytes.extend_from_slice(&part[..count]);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&bytes[..at]).into_owned(), at + 4);
        }
    };
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(body_at);
    while body.len() < length {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        body.extend_from_slice(&part[..count]);
    }
    let answer = {
        let mut state = state.0.lock().unwrap();
        let answers = state.answers.entry(path.clone()).or_default();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        state.posted.push_back(Posted { at: Instant::now(), path, head, headers, body });
        answer.unwrap_or_else(|| "201 Created".into())
    };
    state.1.notify_all();
    if answer == "hang up" {
        return;
    }
    let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
    let _ = stream.shutdown().await;
}
