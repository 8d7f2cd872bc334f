//! `GET /v1/discover?handle=`: which bridges serve an account, for clients that know nothing but a handle.

use crate::Door;
use crate::home::Home;
use crate::limits::DISCOVER_WITHIN;
use crate::problem::Problem;
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

/// The query.
#[derive(Deserialize)]
pub(crate) struct Asked {
    handle: String,
}

/// The answer.
#[derive(Serialize)]
pub(crate) struct Found {
    handle: Handle,
    account: AccountId,
    bridges: Vec<FoundBridge>,
    /// RFC 3339, UTC.
    fresh_until: String,
}

/// A bridge that serves the account.
#[derive(Serialize)]
struct FoundBridge {
    url: String,
    org_id: OrgId,
    /// As libp2p prints it, the way every other command and log does.
    peer_id: String,
    region: String,
    load: f32,
}

/// Answers it.
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
