//! The metrics' own listener: `GET /metrics` in the OpenMetrics text format, and nothing else.
//!
//! Apart from the door, because what it shows is for the operator alone. It knows no TLS and no passwords: bind it to loopback
//! or to a network that only the scraper reaches.

use crate::config::BridgeError;
use crate::guard;
use crate::listener::{BoundedListener, Peer};
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use roost_node::NodeHandle;
use std::future::Future;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Scrapers at the same time; a person with a browser beside them.
const CONNECTIONS_MAX: usize = 16;
/// What scrapers ask for (OpenMetrics 1.0).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Shows a node's metrics until `shutdown` completes. Gives the bound address; port 0 takes a free one.
///
/// # Errors
/// [`BridgeError::Listen`].
pub async fn serve_metrics(
    listen: SocketAddr,
    handle: NodeHandle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(SocketAddr, JoinHandle<()>), BridgeError> {
    let failed = |source| BridgeError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let listener = BoundedListener::new(listener, CONNECTIONS_MAX, None);
    let hint = "only GET /metrics is answered here";
    let router = Router::new()
        .route("/metrics", get(metrics).head(method))
        .fallback(async move || Problem::new(StatusCode::NOT_FOUND, "not_found", "no such path", hint))
        .method_not_allowed_fallback(method)
        .layer(from_fn(guard))
        .with_state(handle);
    let service = router.into_make_service_with_connect_info::<Peer>();
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(shutdown).await {
            tracing::error!(%error, "the metrics' listener failed");
        }
    });
    Ok((bound, task))
}

async fn metrics(State(handle): State<NodeHandle>) -> Response {
    let mut response = handle.scrape().await.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
    response
}

async fn method() -> Problem {
    let hint = "only GET /metrics is answered here";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not take that method", hint)
}
