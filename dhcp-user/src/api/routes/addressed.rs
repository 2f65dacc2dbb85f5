//! Requests about one address: who asks, about which, and, for what changes it, which version of it they have looked at
//! (RFC 9110 section 13.1.1). Whatever is shown with an ETag is changed under this condition.

use std::net::Ipv4Addr;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use crate::api::{
    Api,
    access::caller::Caller,
    problem::{Problem, Segment},
};

/// The most versions taken from an If-Match.
const VERSIONS_MAX: usize = 16;

/// Which versions of what is to be changed a caller has looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// It is not said.
    Absent,
    /// Whatever it is, as long as there is one.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// As the header's lines say, which are one list together (RFC 9110 section 5.3).
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut lines = Vec::new();
        for line in headers.get_all(header::IF_MATCH) {
            lines.push(line.to_str().map_err(|_| Problem::bad_request("If-Match is not text"))?);
        }
        if lines.is_empty() {
            return Ok(Self::Absent);
        }
        let text = lines.join(",");
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let tags = tags(&text).ok_or_else(|| {
            Problem::bad_request(format!(
                "If-Match is `*`, or up to {VERSIONS_MAX} ETags with commas between"
            ))
        })?;
        Ok(Self::OneOf(tags))
    }

    /// The versions it allows; `None` for any.
    pub(super) fn versions(&self) -> Option<Vec<String>> {
        match self {
            Self::Absent | Self::Any => None,
            Self::OneOf(versions) => Some(versions.clone()),
        }
    }
}

/// The entity tags of a list, without their quotes; without them, too, they are taken. A weak one matches nothing here.
fn tags(list: &str) -> Option<Vec<String>> {
    let (mut tags, mut rest) = (Vec::new(), list.trim_start());
    while !rest.is_empty() {
        let weak = rest.strip_prefix("W/");
        let (tag, after) = match weak.unwrap_or(rest).strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find([',', ' ', '\t']).unwrap_or(rest.len())),
        };
        if !tag.is_empty() && weak.is_none() {
            tags.push(tag.to_owned());
        }
        let after = after.trim_start();
        rest = if after.is_empty() { after } else { after.strip_prefix(',')?.trim_start() };
    }
    (tags.len() <= VERSIONS_MAX).then_some(tags)
}

/// A request with an address in its path.
pub(super) struct Addressed {
    pub(super) api: Api,
    pub(super) caller: Caller,
    pub(super) address: Ipv4Addr,
    if_match: IfMatch,
}

impl FromRequestParts<Api> for Addressed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(|| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has not come through the gate")
        })?;
        let Segment(address) = Segment::from_request_parts(parts, api).await?;
        let if_match = IfMatch::of(&parts.headers)?;
        Ok(Self { if_match, ..Self::unconditional(api.clone(), caller, address) })
    }
}

impl Addressed {
    /// About an address that is named elsewhere than in the path.
    pub(super) fn unconditional(api: Api, caller: Caller, address: Ipv4Addr) -> Self {
        Self { api, caller, address, if_match: IfMatch::Absent }
    }

    /// Refuses callers who may not see the address; they are told the same as if nothing were known of it.
    pub(super) fn seen_or(&self, unknown: impl FnOnce(Ipv4Addr) -> Problem) -> Result<(), Problem> {
        if self.caller.may_see(self.address) { Ok(()) } else { Err(unknown(self.address)) }
    }

    /// The versions that If-Match allows; `None` for any.
    pub(super) fn expected(&self) -> Option<Vec<String>> {
        self.if_match.versions()
    }
}

/// An answer with the ETag of a version, if it has one that can stand in a header.
pub(super) fn tagged(version: Option<&str>, answer: impl IntoResponse) -> Response {
    let tag = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok());
    let mut response = answer.into_response();
    response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&'static str]) -> Option<IfMatch> {
        let lines = lines.iter().map(|line| (header::IF_MATCH, HeaderValue::from_static(line)));
        IfMatch::of(&lines.collect()).ok()
    }

    #[test]
    fn if_match_is_a_list_on_one_line_or_several() {
        let of = |tags: &[&str]| Some(IfMatch::OneOf(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        assert_eq!(read(&[]), Some(IfMatch::Absent));
        assert_eq!(read(&[" * "]), Some(IfMatch::Any));
        assert_eq!(read(&["\"a\", \"b\"", "\"c\""]), of(&["a", "b", "c"]));
        assert_eq!(read(&["a , \"b\""]), of(&["a", "b"]));
        assert_eq!(read(&["\"x,b\""]), of(&["x,b"]), "a comma in a tag is the tag's");
        assert_eq!(read(&["W/\"a\", \"b\""]), of(&["b"]));
        assert_eq!(read(&[""]), of(&[]));
        for wrong in ["\"a", "\"a\" \"b\"", "\"1\",2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"] {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
        assert_eq!(read(&["*", "\"a\""]), of(&["*", "a"]), "no version is called so");
    }
}
