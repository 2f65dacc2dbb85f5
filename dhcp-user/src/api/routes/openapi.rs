//! The description of the API, for programs that make clients of it. It is the same for as long as the program runs, and
//! anybody may ask for it: it is made once.

use std::sync::OnceLock;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::{
    api::{self, problem::Problem},
    server::reload::version,
};

static MADE: OnceLock<Option<(HeaderValue, Bytes)>> = OnceLock::new();

/// This description. Its ETag is another only in another version of the program.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "description",
    security(()),
    params(("if-none-match" = Option<String>, Header, description = "The ETag of the description that is known already")),
    responses(
        (status = 200, description = "OpenAPI 3.1", body = Object, headers(
            ("ETag" = String, description = "Its version, for If-None-Match")
        )),
        (status = 304, description = "It is known already"),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn description(headers: HeaderMap) -> Result<Response, Problem> {
    let made = MADE.get_or_init(|| {
        let text = api::description().to_json().ok()?;
        let tag = HeaderValue::from_str(&format!("\"{}\"", version(&text))).ok()?;
        Some((tag, text.into()))
    });
    let (tag, text) = made.as_ref().ok_or_else(|| Problem::unavailable("there is no description"))?;
    let own = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|tags| tags.split(',')).map(|known| known.trim().trim_start_matches("W/"));
    if known.any(|known| known == "*" || known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, own).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((own, kind, text.clone()).into_response())
}
