//! `GET /openapi.json`: the paths of the door for programs, OpenAPI 3.1, made from the handlers themselves.
//!
//! `docs/openapi.json` is the same document; a story fails when they differ and names the command that renews it.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Roost's door",
        description = "What a node answers over plain HTTP. Nothing here needs an account: what does goes over the \
                       WebSocket at `/v1/socket` (`docs/protocol.md`, `docs/socket.schema.json`), which also hands out \
                       the tickets that let parts of files through here. No other request body is accepted. Beyond the answers named here every path may give 413, 414 and 431 `too_large`, an \
                       unknown one 404 `not_found`, a known one 405 `method`, all as problem+json.",
        license(name = "MIT", identifier = "MIT"),
    ),
    paths(crate::discover::discover, crate::blobs::put, crate::blobs::get, crate::live, crate::ready, document),
    tags(
        (name = "clients", description = "For clients that are not signed in."),
        (name = "devices", description = "For devices that have asked over the socket."),
        (name = "operators", description = "For probes and people."),
    ),
    security(()),
    servers((url = "/", description = "this bridge")),
)]
struct Document;

/// The document as text.
pub(crate) fn text() -> String {
    let mut document = Document::openapi();
    // The version of the surface, not of the program: the file changes when the surface does.
    document.info.version = format!("v{}", roost_protocol::VERSION);
    // Strings, numbers and maps with text keys always encode.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// These paths for programs.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operators",
    responses((status = 200, description = "This document.", content_type = "application/json", body = Object))
)]
pub(crate) async fn document() -> Response {
    let mut response = text().into_response();
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_committed_document_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("RENEW").is_some() {
            std::fs::write(path, text()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text(),
            "docs/openapi.json is old; renew it: RENEW=1 cargo nextest run -p roost-web-bridge the_committed_document"
        );
    }

    #[test]
    fn every_path_is_documented_with_its_errors_and_needs_no_account() {
        let document: Value = serde_json::from_str(&text()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "OpenAPI 3.1");
        assert_eq!(document["security"], serde_json::json!([{}]), "no credentials exist");
        let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let all = ["/livez", "/openapi.json", "/readyz", "/v1/blobs/{blob}", "/v1/discover"];
        assert_eq!(paths, all, "the whole surface but the socket");
        for (path, item) in document["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().values();
            for (status, response) in methods.flat_map(|method| method["responses"].as_object().unwrap()) {
                let content = response["content"].as_object().unwrap();
                let (kind, body) = content.iter().next().unwrap();
                if status.starts_with('2') {
                    continue;
                }
                assert_eq!(kind, "application/problem+json", "{path} {status}: an error is a problem");
                let example = &body["example"];
                for member in ["type", "title", "status", "detail", "code", "hint"] {
                    assert!(!example[member].is_null(), "{path} {status}: the example has {member}");
                }
            }
        }
    }
}
