//! Requests about one address: who asks, about which, and, for what changes it, which version of it they have looked at
//! (RFC 9110 section 13.1.1). Whatever is shown with an ETag is changed under this condition.

use std::net::Ipv4Addr;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use crate::api::{
    Api,
    access::caller::Caller,
    problem::{Problem, Segment},
};

/// The most versions taken from an If-Match.
const VERSIONS_MAX: usize = 16;

/// A request with an address in its path.
pub(super) struct Addressed {
    pub(super) api: Api,
    pub(super) caller: Caller,
    pub(super) address: Ipv4Addr,
    if_match: Option<HeaderValue>,
}

impl FromRequestParts<Api> for Addressed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(|| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has not come through the gate")
        })?;
        let Segment(address) = Segment::from_request_parts(parts, api).await?;
        let if_match = parts.headers.get(header::IF_MATCH).cloned();
        Ok(Self { if_match, ..Self::unconditional(api.clone(), caller, address) })
    }
}

impl Addressed {
    /// About an address that is named elsewhere than in the path.
    pub(super) fn unconditional(api: Api, caller: Caller, address: Ipv4Addr) -> Self {
        Self { api, caller, address, if_match: None }
    }

    /// Refuses callers who may not see the address; they are told the same as if nothing were known of it.
    pub(super) fn seen_or(&self, unknown: impl FnOnce(Ipv4Addr) -> Problem) -> Result<(), Problem> {
        if self.caller.may_see(self.address) { Ok(()) } else { Err(unknown(self.address)) }
    }

    /// The versions that If-Match allows; `None` for any.
    pub(super) fn expected(&self) -> Result<Option<Vec<String>>, Problem> {
        let Some(value) = &self.if_match else { return Ok(None) };
        let text = value.to_str().map_err(|_| Problem::bad_request("If-Match is not text"))?;
        if text.trim() == "*" {
            return Ok(None);
        }
        let tags = text.split(',').map(|tag| tag.trim().trim_matches('"').to_owned());
        Ok(Some(tags.take(VERSIONS_MAX).collect()))
    }
}

/// An answer with the ETag of a version, if it has one that can stand in a header.
pub(super) fn tagged(version: Option<&str>, answer: impl IntoResponse) -> Response {
    let tag = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok());
    let mut response = answer.into_response();
    response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
    response
}
