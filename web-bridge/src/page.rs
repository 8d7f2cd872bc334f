//! The page: what `make web` built, embedded in the binary, with the headers that keep it to itself.
//!
//! A debug build reads the files from the source tree each time; a release build holds them. Where none were built, the door
//! says what else is here. Never writes a byte of its own into a page.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

/// What the page may do: its own scripts and styles, its own socket, nothing inline, nothing of anybody else. The two names of
/// policies are Svelte's, which makes its templates by it, and the page's own, for the address of its worker.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; \
    img-src 'self' blob:; style-src 'self'; manifest-src 'self'; require-trusted-types-for 'script'; \
    trusted-types svelte-trusted-html roost-worker; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Files whose names hold a hash of their content.
const HASHED: &str = "assets/";

#[derive(RustEmbed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Files;

/// The files of the page by their names, with the SHA-256 of each: what an operator compares with a build of their own.
pub fn page_files() -> Vec<(String, [u8; 32])> {
    let hash = |name: &str| Files::get(name).map(|file| file.metadata.sha256_hash());
    let mut files: Vec<_> =
        Files::iter().filter_map(|name| hash(&name).map(|hash| (name.into_owned(), hash))).collect();
    files.sort();
    files
}

/// The front page; without a page, what is here in words.
pub(crate) async fn front(headers: HeaderMap) -> Response {
    match Files::get("index.html") {
        Some(file) => answer("index.html", file, &headers),
        None => WELCOME.into_response(),
    }
}

/// A file of the page, if there is one by this path.
pub(crate) fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let name = path.trim_start_matches('/');
    Files::get(name).map(|file| answer(name, file, headers))
}

fn answer(name: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", hex(&file.metadata.sha256_hash()));
    let known = headers.get_all(IF_NONE_MATCH).iter().any(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(file.data.into_owned()))
    };
    let cache = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let own = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, cache),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "geolocation=(), payment=(), usb=(), serial=()"),
    ];
    let all = response.headers_mut();
    for (name, value) in own {
        all.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [(CONTENT_TYPE, file.metadata.mimetype()), (ETAG, tag.as_str())] {
        if let Ok(value) = HeaderValue::from_str(value) {
            all.insert(name, value);
        }
    }
    response
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const WELCOME: &str = "This is the door of a Roost node: end-to-end encrypted chat between organisations.\n\
     \n\
     /v1/socket                 WebSocket, sub-protocols roost.v1.cbor and roost.v1.json\n\
     /v1/discover?handle=a@b    the bridges that serve an account\n\
     /livez, /readyz            whether the process lives, whether it serves\n\
     /openapi.json              these paths for programs, OpenAPI 3.1\n\
     \n\
     This build has no page: `make web` makes it.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_the_page_allows_nothing_inline_and_nobody_else() {
        for forbidden in ["unsafe-inline", "'unsafe-eval'", "http:", "https:", "*", "data:"] {
            assert!(!POLICY.contains(forbidden), "{forbidden} would let others in");
        }
        assert!(POLICY.starts_with("default-src 'none'"), "what is not named is refused");
    }

    #[test]
    fn a_path_that_leaves_the_page_is_no_file() {
        for path in ["/../Cargo.toml", "/assets/../../../Cargo.toml", "/%2e%2e/Cargo.toml", "//etc/hostname", "/"] {
            assert!(file(path, &HeaderMap::new()).is_none(), "{path} is not served");
        }
    }
}
