//! `GET /v1/discover?handle=`: which bridges serve an account, for clients that know nothing but a handle.

use crate::Door;
use crate::home::Home;
use crate::limits::DISCOVER_WITHIN;
use crate::problem::{Body, Problem, example};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use roost_node::Discovery;
use roost_protocol::handle::Handle;
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::{AccountId, OrgId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// The query.
#[derive(Deserialize)]
pub(crate) struct Asked {
    handle: String,
}

/// Where an account is served.
#[derive(Serialize, ToSchema)]
#[schema(as = Discovery)]
pub(crate) struct Found {
    /// The handle that was asked for.
    #[schema(value_type = String, example = "alice@acme.example")]
    handle: Handle,
    /// Its account.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$", example = json!("5".repeat(64)))]
    account: AccountId,
    /// The bridges of its homes, best first; empty where no organisation lists them.
    bridges: Vec<FoundBridge>,
    /// Ask again after this; RFC 3339, UTC.
    #[schema(format = DateTime, example = "2026-11-24T08:00:00Z")]
    fresh_until: String,
}

/// A bridge that serves the account.
#[derive(Serialize, ToSchema)]
#[schema(as = Bridge)]
struct FoundBridge {
    /// Base URL; the socket is at `/v1/socket` below it.
    #[schema(example = "https://chat.acme.example")]
    url: String,
    /// The organisation.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$", example = json!("3".repeat(64)))]
    org_id: OrgId,
    /// The node, as libp2p prints it, the way every other command and log does.
    #[schema(pattern = "^12D3KooW", example = "12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzMJjPq7J6zzs")]
    peer_id: String,
    /// A hint for the nearest; may be empty.
    #[schema(example = "eu")]
    region: String,
    /// 0 idle, 1 full.
    #[schema(minimum = 0, maximum = 1)]
    load: f32,
}

/// The bridges that serve an account, for a client that knows nothing but a handle.
#[utoipa::path(
    get,
    path = "/v1/discover",
    tag = "clients",
    params(("handle" = String, Query, description = "name@organisation, lower case", example = "alice@acme.example")),
    responses(
        (status = 200, description = "Found.", body = Found),
        (
            status = 400,
            description = "`malformed`: no handle, or text that is none.",
            content_type = "application/problem+json",
            body = Body,
            example = json!(example(400, "malformed")),
        ),
        (
            status = 404,
            description = "`not_found`: nobody of this name was found; true for some seconds.",
            content_type = "application/problem+json",
            body = Body,
            example = json!(example(404, "not_found")),
        ),
        (
            status = 409,
            description = "`name_conflict`: several organisations claim the name, and the operator has pinned none.",
            content_type = "application/problem+json",
            body = Body,
            example = json!(example(409, "name_conflict")),
        ),
        (
            status = 503,
            description = "`busy`, `unreachable` or `bad_log`: ask again later, not before `retry_after_ms`.",
            content_type = "application/problem+json",
            body = Body,
            example = json!(example(503, "busy")),
        ),
    )
)]
pub(crate) async fn discover<H: Home>(
    State(door): State<Door<H>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Found>, Problem> {
    let Query(asked) = asked.map_err(|error| {
        let hint = "ask for /v1/discover?handle=alice@acme.example";
        Problem::new(StatusCode::BAD_REQUEST, "malformed", error.body_text(), hint)
    })?;
    let handle: Handle = asked.handle.parse().map_err(|error: roost_protocol::handle::HandleError| {
        let hint = "a handle is name@organisation in lower case";
        Problem::new(StatusCode::BAD_REQUEST, "malformed", error.to_string(), hint)
    })?;
    let Ok(_place) = door.discoveries.try_acquire() else {
        let mut refusal = Refusal::later(Code::Busy, "too many lookups at once", "ask again after the pause");
        refusal.retry_after_ms = Some(1_000);
        return Err(refusal.into());
    };
    match tokio::time::timeout(DISCOVER_WITHIN, door.home.discover(handle)).await {
        Ok(Ok(discovery)) => Ok(Json(found(discovery))),
        Ok(Err(refusal)) => Err(refusal.into()),
        Err(_) => {
            let message = format!("no answer within {} s", DISCOVER_WITHIN.as_secs());
            let hint = "the organisation's nodes may be down; ask again later";
            Err(Refusal::later(Code::Unreachable, message, hint).into())
        }
    }
}

fn found(discovery: Discovery) -> Found {
    let bridges = discovery.bridges.into_iter().map(|bridge| FoundBridge {
        url: bridge.url,
        org_id: bridge.org_id,
        peer_id: bridge.peer_id.to_string(),
        region: bridge.region,
        load: bridge.load,
    });
    Found {
        handle: discovery.handle,
        account: discovery.account,
        bridges: bridges.collect(),
        fresh_until: rfc3339(discovery.fresh_until_ms),
    }
}

/// Milliseconds since 1970 as text; times beyond the year 9999 read as 1970, that is: not fresh.
fn rfc3339(ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(1_700_000_000_250), "2023-11-14T22:13:20.25Z", "UTC with its fraction");
        assert_eq!(rfc3339(u64::MAX), "1970-01-01T00:00:00Z", "an absurd time is not fresh");
    }
}
