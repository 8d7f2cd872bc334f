//! Errors over HTTP: RFC 9457 problem details with the stable code of a refusal.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use roost_protocol::refusal::{Code, Refusal};
use serde::Serialize;
use utoipa::ToSchema;

/// An error answer.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    hint: String,
    retry_after_ms: Option<u64>,
}

/// An error, RFC 9457: its section 3.1 and our members.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// `urn:roost:problem:` and the code.
    #[schema(example = "urn:roost:problem:not_found")]
    r#type: String,
    /// The status in words.
    #[schema(example = "Not Found")]
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 404)]
    status: u16,
    /// What happened, for people.
    detail: &'a str,
    /// What happened, for programs: stable, lower case with underscores. New ones may come.
    #[schema(pattern = "^[a-z_]+$", example = "not_found")]
    code: &'a str,
    /// What to do about it, for people.
    hint: &'a str,
    /// Not before this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// An error body for the document; the words are not those of a real one.
pub(crate) fn example(status: u16, code: &str) -> serde_json::Value {
    let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    serde_json::json!({
        "type": format!("urn:roost:problem:{code}"), "title": title, "status": status, "code": code,
        "detail": "what happened", "hint": "what to do about it",
    })
}

impl Problem {
    /// A cause that only the door has; `code` is lower-case with underscores and never changes.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), hint: hint.into(), retry_after_ms: None }
    }

    /// When to come back.
    pub(crate) fn retry_after_ms(self, ms: u64) -> Self {
        Self { retry_after_ms: Some(ms), ..self }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Malformed | Code::Version => StatusCode::BAD_REQUEST,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::NotSignedIn | Code::BadSignIn | Code::Revoked | Code::BadInvite => StatusCode::FORBIDDEN,
            Code::NameConflict | Code::HandleTaken => StatusCode::CONFLICT,
            Code::Busy | Code::Unreachable | Code::Sealed => StatusCode::SERVICE_UNAVAILABLE,
            Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Code::Internal | Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            _ if refusal.later => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let code = serde_json::to_value(refusal.code).ok().and_then(|code| code.as_str().map(str::to_owned));
        Self {
            status,
            code: code.unwrap_or_else(|| "unknown".into()),
            detail: refusal.message,
            hint: refusal.hint,
            retry_after_ms: refusal.retry_after_ms,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("urn:roost:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: &self.code,
            hint: &self.hint,
            retry_after_ms: self.retry_after_ms,
        };
        // Text and numbers always encode; a failure would leave an empty body under the right status.
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }
}
