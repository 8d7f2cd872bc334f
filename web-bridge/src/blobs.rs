//! `PUT` and `GET /v1/blobs/{blob}`: one part of a blob, for a ticket that the socket handed out.
//!
//! A ticket is all that counts: nothing that a browser keeps lets anybody in, so a foreign page has nothing to ride on. The `Origin` is
//! held to the list of the socket all the same. Bytes are sealed; the door neither opens nor stores them.

use crate::Door;
use crate::home::Home;
use crate::problem::{Body as ProblemBody, Problem, example};
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_RANGE,
    CONTENT_TYPE, ORIGIN, RANGE, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use roost_node::blobs::{Part, PartError};
use roost_protocol::ids::{BlobId, BlobTicket};
use roost_protocol::limits::BLOB_PART_BYTES_MAX;
use serde::Serialize;
use utoipa::ToSchema;

/// How a ticket is shown: `Authorization: Roost-Ticket` and its 64 hex digits.
const SCHEME: &str = "Roost-Ticket";

/// How much of a blob is at the node.
#[derive(Serialize, ToSchema)]
pub(crate) struct Have {
    /// Bytes; once they are all, they are on disk.
    #[schema(example = 524_288)]
    have: u64,
}

/// Leaves the part of a blob that a ticket from `put_blob` is for: it continues the bytes that the node had then.
#[utoipa::path(
    put,
    path = "/v1/blobs/{blob}",
    tag = "devices",
    params(
        ("blob" = String, Path, description = "its name, 64 hex digits"),
        ("authorization" = String, Header, description = "`Roost-Ticket` and the ticket, 64 hex digits"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "1 to 524,288 bytes"),
    responses(
        (status = 200, description = "Taken.", body = Have),
        (
            status = 400,
            description = "`malformed`: no name of a blob, no body with a `Content-Length`, or all bytes came and are not \
                           those of the blob: begin anew.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(400, "malformed")),
        ),
        (
            status = 403,
            description = "`bad_ticket`: none, unknown, used, over, or for something else: ask for another over the \
                           socket. `origin`: this web origin may not.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(403, "bad_ticket")),
        ),
        (
            status = 409,
            description = "`out_of_order`: the node has other bytes by now: ask for another ticket.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(409, "out_of_order")),
        ),
        (
            status = 413,
            description = "`too_large`: more than a part, or than the blob has left.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(413, "too_large")),
        ),
        (
            status = 503,
            description = "`busy`: too many at once, or the disk is nearly full; not before `retry_after_ms`.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(503, "busy")),
        ),
    )
)]
pub(crate) async fn put<H: Home>(
    State(door): State<Door<H>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Have>, Problem> {
    let (blob, ticket) = (name(&blob)?, ticket(&headers)?);
    let _place = place(&door)?;
    let part = to_bytes(body, BLOB_PART_BYTES_MAX).await.map_err(|error| {
        let hint = "send the part again, with a new ticket";
        Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("the part did not come whole: {error}"), hint)
    })?;
    let have = door.home.put_blob(blob, ticket, part.into()).await.map_err(problem)?;
    Ok(Json(Have { have }))
}

/// Gives a part of the blob that a ticket from `fetch_blob` is for, from anywhere in it.
#[utoipa::path(
    get,
    path = "/v1/blobs/{blob}",
    tag = "devices",
    params(
        ("blob" = String, Path, description = "its name, 64 hex digits"),
        ("authorization" = String, Header, description = "`Roost-Ticket` and the ticket, 64 hex digits"),
        ("range" = Option<String>, Header, description = "`bytes=1048576-`: from where on; absent: from the beginning"),
    ),
    responses(
        (
            status = 206,
            description = "At most 524,288 bytes from there on; `Content-Range` says which.",
            content_type = "application/octet-stream",
            body = Vec<u8>,
        ),
        (
            status = 400,
            description = "`malformed`: no name of a blob, or a range that is none.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(400, "malformed")),
        ),
        (
            status = 403,
            description = "`bad_ticket`, `origin`: as above.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(403, "bad_ticket")),
        ),
        (
            status = 404,
            description = "`not_found`: it is not here any more; ask for it again over the socket.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(404, "not_found")),
        ),
        (
            status = 416,
            description = "`range`: it is shorter.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(416, "range")),
        ),
        (
            status = 503,
            description = "`busy`: too many at once; not before `retry_after_ms`.",
            content_type = "application/problem+json",
            body = ProblemBody,
            example = json!(example(503, "busy")),
        ),
    )
)]
pub(crate) async fn get<H: Home>(
    State(door): State<Door<H>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (blob, ticket, offset) = (name(&blob)?, ticket(&headers)?, offset(&headers)?);
    let _place = place(&door)?;
    let Part { total, bytes } = door.home.get_blob(blob, ticket, offset).await.map_err(problem)?;
    let Some(last) = (bytes.len() as u64).checked_sub(1) else {
        let hint = "ask for a part that begins before its end";
        return Err(Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", format!("it has {total} bytes"), hint));
    };
    let mut response = (StatusCode::PARTIAL_CONTENT, bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(range) = HeaderValue::from_str(&format!("bytes {offset}-{}/{total}", offset + last)) {
        headers.insert(CONTENT_RANGE, range);
    }
    Ok(response)
}

/// What a browser asks before it sends a page's request to another origin than the page's.
pub(crate) async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, PUT"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type, range"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Pages of the listed origins may ask and read; others are refused before anything is looked at.
pub(crate) async fn cross_origin<H: Home>(State(door): State<Door<H>>, request: Request, next: Next) -> Response {
    if !door.origins.allow(request.headers()) {
        let hint = "the operator adds this origin to the bridge's list, exactly as the browser spells it";
        return Problem::new(StatusCode::FORBIDDEN, "origin", "this web origin may not connect here", hint)
            .into_response();
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = next.run(request).await;
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("content-range, retry-after"));
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    response
}

fn place<H>(door: &Door<H>) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    std::sync::Arc::clone(&door.transfers).try_acquire_owned().map_err(|_| {
        let detail = "too many parts of files are on their way";
        let hint = "ask for another ticket after the pause";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, hint).retry_after_ms(1_000)
    })
}

fn name(blob: &str) -> Result<BlobId, Problem> {
    blob.parse().map_err(|error: roost_protocol::BadHex| {
        let hint = "a blob's name is 64 lower-case hex digits";
        Problem::new(StatusCode::BAD_REQUEST, "malformed", error.to_string(), hint)
    })
}

fn ticket(headers: &HeaderMap) -> Result<BlobTicket, Problem> {
    let mut found = headers.get_all(AUTHORIZATION).iter();
    let shown = match (found.next(), found.next()) {
        (Some(shown), None) => shown.to_str().ok(),
        _ => None,
    };
    let ticket = shown.and_then(|shown| shown.split_once(' ')).filter(|(scheme, _)| *scheme == SCHEME);
    ticket.and_then(|(_, ticket)| ticket.parse().ok()).ok_or_else(bad_ticket)
}

fn bad_ticket() -> Problem {
    let detail = "the ticket is missing, unknown, used, over, or for something else";
    let hint = "ask for one over the socket: it is for one part, once, within a minute";
    Problem::new(StatusCode::FORBIDDEN, "bad_ticket", detail, hint)
}

/// The first byte of the range; where it ends does not matter, a part is no longer than it may be.
fn offset(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(range) = headers.get(RANGE) else { return Ok(0) };
    let first = range.to_str().ok().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    first.and_then(|(first, _)| first.parse().ok()).ok_or_else(|| {
        let hint = "ask for one range, such as bytes=1048576-";
        Problem::new(StatusCode::BAD_REQUEST, "malformed", "the range is none", hint)
    })
}

fn problem(error: PartError) -> Problem {
    let again = "ask for another ticket, and go on from what it says";
    match &error {
        PartError::Ticket => bad_ticket(),
        PartError::Offset { .. } => Problem::new(StatusCode::CONFLICT, "out_of_order", error.to_string(), again),
        PartError::Length { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string(), "send the part in parts")
        }
        PartError::Name => {
            let hint = "they were removed: put it again from the beginning";
            Problem::new(StatusCode::BAD_REQUEST, "malformed", error.to_string(), hint)
        }
        PartError::Full => {
            let hint = "it is taken later; the node's operator has to make room";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string(), hint).retry_after_ms(10_000)
        }
        PartError::Gone => Problem::new(StatusCode::NOT_FOUND, "not_found", error.to_string(), "ask for it again"),
        PartError::Io(error) => {
            tracing::error!(%error, "the place of blobs failed");
            let detail = "the node cannot read or write its blobs";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail, "tell the node's operator")
        }
    }
}
