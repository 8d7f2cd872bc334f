//! Roost's door: HTTP and WebSocket for the users of a node.
//!
//! Turns connections into frames and back and bounds what a stranger may cost. Never decides what a frame means, never
//! stores anything, never holds a key, and speaks plain HTTP only on loopback or behind a TLS proxy.

mod blobs;
mod config;
mod discover;
mod frames;
mod gate;
mod home;
mod limits;
mod listener;
mod metrics;
mod openapi;
mod origin;
mod page;
mod problem;
mod rate;
mod replies;
mod socket;
#[cfg(test)]
mod stories;

pub use config::{BridgeConfig, BridgeError, CONNECTIONS_MAX};
pub use metrics::serve_metrics;
pub use origin::check_origins;
pub use page::page_files;

use crate::frames::SubProtocol;
use crate::gate::Gate;
use crate::home::Home;
use crate::limits::{
    DISCOVERIES_MAX, HEADER_BYTES_MAX, READ_BUFFER_BYTES, TARGET_BYTES_MAX, TRANSFERS_MAX, WRITE_BUFFER_BYTES,
    WRITE_BUFFER_BYTES_MAX,
};
use crate::listener::{BoundedListener, Peer};
use crate::origin::Origins;
use crate::problem::Problem;
use crate::rate::{Places, Rates};
use crate::socket::Session;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, REFERRER_POLICY, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use roost_node::NodeHandle;
use roost_protocol::limits::{BLOB_PART_BYTES_MAX, SOCKET_MESSAGE_BYTES_MAX};
use roost_protocol::{SOCKET_CBOR, SOCKET_JSON};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What every request sees.
#[derive(Clone)]
pub(crate) struct Door<H> {
    home: H,
    config: Arc<BridgeConfig>,
    origins: Arc<Origins>,
    pending: Places,
    sockets: Places,
    handshakes: Rates,
    sign_ups: Rates,
    sign_in_failures: Rates,
    link_requests: Rates,
    discoveries: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

/// Opens the door of a node until `shutdown` completes. Gives the bound address, and a task that ends when every
/// connection is closed (with 1012) or `drain_within` is over.
///
/// # Errors
/// [`BridgeError`]: an address beyond loopback without a proxy, an origin that is none, an address in use.
pub async fn serve(
    config: BridgeConfig,
    handle: NodeHandle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(SocketAddr, JoinHandle<()>), BridgeError> {
    open(config, handle, shutdown).await
}

/// [`serve`], for any home.
async fn open<H: Home>(
    config: BridgeConfig,
    home: H,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(SocketAddr, JoinHandle<()>), BridgeError> {
    let listen = config.listen;
    if !listen.ip().is_loopback() && !config.trusted_proxy {
        return Err(BridgeError::PlainHttp(listen));
    }
    let failed = |source| BridgeError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    // Behind a proxy all connections have its address, and the proxy bounds them.
    let of_address = (!config.trusted_proxy).then(|| Places::new(config.sockets_per_address_max.saturating_mul(2)));
    let listener = BoundedListener::new(listener, config.connections_max, of_address);
    let now = Instant::now();
    let (drain, draining) = watch::channel(false);
    let (alive, mut all_gone) = mpsc::channel(1);
    let door = Door {
        home,
        origins: Arc::new(Origins::new(&config.origins, bound)?),
        pending: Places::new(config.pending_per_address_max),
        sockets: Places::new(config.sockets_per_address_max),
        handshakes: Rates::new(config.handshakes, now),
        sign_ups: Rates::new(config.sign_ups, now),
        sign_in_failures: Rates::new(config.sign_in_failures, now),
        link_requests: Rates::new(config.link_requests, now),
        discoveries: Arc::new(Semaphore::new(DISCOVERIES_MAX)),
        transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
        config: Arc::new(config),
        draining: draining.clone(),
        alive,
    };
    let drain_within = door.config.drain_within;
    let service = router(door).into_make_service_with_connect_info::<Peer>();
    let task = tokio::spawn(async move {
        let server = async move {
            let mut draining = draining;
            // An error means that the sender is gone, which is a stop as well.
            let stop = async move {
                let _ = draining.wait_for(|draining| *draining).await;
            };
            if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
                tracing::error!(%error, "the door failed");
            }
            while all_gone.recv().await.is_some() {}
        };
        let limit = async move {
            shutdown.await;
            drain.send_replace(true);
            tokio::time::sleep(drain_within).await;
        };
        tokio::select! {
            () = server => {}
            () = limit => tracing::warn!("connections were still open when the time to drain was over"),
        }
    });
    Ok((bound, task))
}

fn router<H: Home>(door: Door<H>) -> Router {
    let blobs = get(blobs::get::<H>).put(blobs::put::<H>).options(blobs::preflight);
    let blobs = blobs.layer(from_fn_with_state(door.clone(), blobs::cross_origin::<H>));
    Router::new()
        .route("/", get(page::front))
        .route("/livez", get(live))
        .route("/readyz", get(ready::<H>))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/discover", get(discover::discover::<H>))
        .route("/v1/blobs/{blob}", blobs)
        .route("/v1/socket", get(upgrade::<H>))
        .fallback(async |method: Method, uri: Uri, headers: HeaderMap| {
            let readable = method == Method::GET || method == Method::HEAD;
            readable.then(|| page::file(uri.path(), &headers)).flatten().ok_or_else(|| {
                let hint = "docs/openapi.json lists what is here";
                Problem::new(StatusCode::NOT_FOUND, "not_found", "no such path", hint)
            })
        })
        .method_not_allowed_fallback(async || {
            let hint = "this door answers GET and HEAD; everything else goes over the socket";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not take that method", hint)
        })
        .layer(from_fn(guard))
        .with_state(door)
}

/// Refuses bodies and oversized requests before anything looks at them, and marks every answer.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = match check(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    // The page's files bring their own.
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if !upgraded {
        // A connection lives for one request: its time limit then needs no second one for idleness.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn check(request: &Request) -> Option<Problem> {
    let headers = request.headers();
    if request.method() == Method::PUT && request.uri().path().starts_with("/v1/blobs/") {
        return check_part(headers).or_else(|| check_head(request));
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    if has_body {
        let hint = "send what you have to say over /v1/socket";
        return Some(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "no request body is accepted", hint));
    }
    check_head(request)
}

/// The only body that is accepted: a part of a blob, whose length is said before.
fn check_part(headers: &HeaderMap) -> Option<Problem> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (Some(length), None) if !headers.contains_key(TRANSFER_ENCODING) => {
            length.to_str().ok().and_then(|length| length.parse::<usize>().ok())
        }
        _ => None,
    };
    let Some(length) = length else {
        let hint = "say with Content-Length how long the part is";
        return Some(Problem::new(StatusCode::BAD_REQUEST, "malformed", "the length of the part is missing", hint));
    };
    if length > BLOB_PART_BYTES_MAX {
        let detail = format!("expected a part of at most {BLOB_PART_BYTES_MAX} bytes, got {length}");
        return Some(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, "send it in several parts"));
    }
    None
}

fn check_head(request: &Request) -> Option<Problem> {
    let headers = request.headers();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES_MAX {
        let detail = format!("expected a target of at most {TARGET_BYTES_MAX} bytes, got {target}");
        return Some(Problem::new(StatusCode::URI_TOO_LONG, "too_large", detail, "shorten the query"));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let detail = format!("expected headers of at most {HEADER_BYTES_MAX} bytes, got {bytes}");
        return Some(Problem::new(status, "too_large", detail, "send fewer headers; no cookies are used here"));
    }
    None
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operators",
    responses((status = 200, description = "It lives.", content_type = "text/plain", body = str, example = "alive\n"))
)]
async fn live() -> &'static str {
    "alive\n"
}

/// Whether the node serves devices: 200 from the moment it is announced until it drains.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operators",
    responses(
        (status = 200, description = "It serves.", content_type = "text/plain", body = str, example = "ready\n"),
        (
            status = 503,
            description = "It starts or stops: `not_ready`.",
            content_type = "application/problem+json",
            body = problem::Body,
            example = json!(problem::example(503, "not_ready")),
        ),
    )
)]
async fn ready<H: Home>(State(door): State<Door<H>>) -> Result<&'static str, Problem> {
    if door.home.is_ready() && !*door.draining.borrow() { Ok("ready\n") } else { Err(not_serving()) }
}

fn not_serving() -> Problem {
    let hint = "it starts or stops; try again in a moment, or another home";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "the node does not serve now", hint)
        .retry_after_ms(1_000)
}

async fn upgrade<H: Home>(
    State(door): State<Door<H>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if !door.origins.allow(&headers) {
        let hint = "the operator adds this origin to the bridge's list, exactly as the browser spells it";
        return Err(Problem::new(StatusCode::FORBIDDEN, "origin", "this web origin may not connect here", hint));
    }
    let upgrade = upgrade.map_err(|rejection| {
        let hint = "open this path with a WebSocket client (RFC 6455, version 13)";
        Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", rejection.body_text(), hint)
    })?;
    let sub_protocol = SubProtocol::choose(&headers).ok_or_else(|| {
        let hint = format!("offer {SOCKET_CBOR} or {SOCKET_JSON} in Sec-WebSocket-Protocol");
        Problem::new(StatusCode::BAD_REQUEST, "sub_protocol", "no sub-protocol in common", hint)
    })?;
    if *door.draining.borrow() {
        return Err(not_serving());
    }
    let address = client_address(&door.config, &peer, &headers);
    door.handshakes.take(address, Instant::now()).map_err(|wait| {
        let hint = "connect once and stay connected";
        let detail = "too many handshakes from this address";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail, hint).retry_after_ms(wait)
    })?;
    let socket_place = door.sockets.enter(address).ok_or_else(|| {
        let hint = "close connections that are not used any more";
        let detail = "too many connections from this address";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail, hint).retry_after_ms(10_000)
    })?;
    let place = door.pending.enter(address).ok_or_else(|| {
        let hint = "sign in on the connections that are open, or close them";
        let detail = "too many connections from this address have not signed in";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail, hint).retry_after_ms(2_000)
    })?;
    peer.marks.upgraded();
    let session = Session {
        metrics: door.home.metrics(),
        home: door.home,
        config: door.config,
        sub_protocol,
        marks: peer.marks,
        place,
        _socket: socket_place,
        gate: Gate::new(address, door.sign_ups, door.sign_in_failures, door.link_requests),
        draining: door.draining,
        _alive: door.alive,
    };
    let upgrade = upgrade
        .protocols([sub_protocol.name()])
        .max_message_size(SOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(SOCKET_MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX);
    // A task of its own: that of the upgrade holds memory that is of no more use.
    Ok(upgrade.on_upgrade(async move |socket| drop(tokio::spawn(session.run(socket)))))
}

/// Whose connection it is: the peer's address or, behind a trusted proxy, the last one that the proxy added.
fn client_address(config: &BridgeConfig, peer: &Peer, headers: &HeaderMap) -> IpAddr {
    let forwarded = || {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?;
        last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    let direct = peer.address.ip();
    if config.trusted_proxy { forwarded().unwrap_or(direct) } else { direct }
}
