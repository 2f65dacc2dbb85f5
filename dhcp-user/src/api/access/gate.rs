//! The gate every request goes through: who is it, may they, and not too fast. What changes something is recorded here,
//! so that no endpoint can forget to.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{
    caller::{Caller, Peer},
    rights::{Need, need},
};
use crate::{
    api::{Api, changes::ChangeRecord, problem::Problem},
    server::clock,
    time::Timestamp,
};

/// The longest a handler may take until its answer begins: bodies that trickle in are cut off by this.
const HANDLER_TIME: Duration = Duration::from_secs(30);
/// Names a request in answers, log and record.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest identifier taken from a caller.
const REQUEST_ID_MAX: usize = 64;

/// What an endpoint has to say for the record of changes.
#[derive(Clone, Debug)]
pub struct Note(pub String);

/// Lets a request through, or says why not.
pub async fn gate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = request_id(&api.requests, &request);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let admitted = admit(&api, &request, matched.as_deref());
    let (who, mut response) = match admitted {
        Err((who, problem)) => {
            tracing::debug!(%method, path, who, status = problem.status, "refused");
            (who, problem.into_response())
        }
        Ok(caller) => {
            let who = caller.name.clone();
            request.extensions_mut().insert(caller);
            let answered = timeout(HANDLER_TIME, next.run(request)).await;
            let response = answered.unwrap_or_else(|_| {
                Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
            });
            (who, response)
        }
    };
    let changes = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && matched.is_some() {
        let note = response.extensions_mut().remove::<Note>().map(|Note(note)| note);
        let record = ChangeRecord {
            at: Timestamp(clock::wall_ns()).to_string(),
            request_id: id.clone(),
            who,
            method: method.to_string(),
            path,
            status: response.status().as_u16(),
            detail: note.unwrap_or_default(),
        };
        api.changes.add(record).await;
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The caller's identifier for the request if it is harmless in a log, else one of ours.
fn request_id(counter: &AtomicU64, request: &Request) -> String {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=REQUEST_ID_MAX).contains(&id.len())
            && id.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'))
    };
    given.filter(harmless).map_or_else(
        || format!("{:x}-{:x}", clock::boot_ns(), counter.fetch_add(1, Ordering::Relaxed)),
        str::to_owned,
    )
}

/// Who asks, if they may; else who seems to, and the refusal.
fn admit(api: &Api, request: &Request, matched: Option<&str>) -> Result<Caller, (String, Problem)> {
    let nobody = |problem| (Caller::nobody().name, problem);
    let Some(peer) = request.extensions().get::<Peer>() else {
        return Err(nobody(Problem::forbidden("nothing is known of this connection")));
    };
    let now = Instant::now();
    if let Peer::Remote { address, .. } = peer
        && !api.rate.take(*address, now)
    {
        let detail = format!("more than {} requests a second", api.in_force.config().api.requests_per_sec);
        return Err(nobody(Problem::too_many(detail, 1)));
    }
    let need = match matched {
        // Where nothing is, the answer is "not found" for everybody.
        None => Need::Nothing,
        Some(path) => need(request.method(), path).ok_or_else(|| {
            let detail = format!("{} is not for this path, or closed", request.method());
            nobody(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail))
        })?,
    };
    let Some(role) = need.role() else { return Ok(Caller::nobody()) };
    let caller = identify(api, request, peer, now).map_err(nobody)?;
    if caller.role.is_none_or(|has| has < role) {
        let detail = format!("this takes the role {}", role.as_str());
        return Err((caller.name, Problem::forbidden(detail)));
    }
    if matches!(need, Need::Whole(_)) && !caller.subnets.is_empty() {
        let detail = "this is about the whole node, and your rights are restricted to subnets";
        return Err((caller.name, Problem::forbidden(detail)));
    }
    Ok(caller)
}

fn identify(api: &Api, request: &Request, peer: &Peer, now: Instant) -> Result<Caller, Problem> {
    let Peer::Remote { address, certificate } = peer else { return Ok(Caller::local()) };
    let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
    let Some(header) = request.headers().get(header::AUTHORIZATION) else {
        let config = api.in_force.config();
        let known = |name: &String| config.api.clients.iter().find(|client| client.name == *name);
        let client = certificate.as_ref().and_then(known).ok_or_else(|| {
            unauthorized("send `Authorization: Bearer TOKEN`; `token create` on the server makes one")
        })?;
        let name = format!("certificate {}", client.name);
        return Ok(Caller { name, role: Some(client.role), subnets: client.subnets.clone() });
    };
    let wait = api.guesses.wait(*address, now);
    if !wait.is_zero() {
        let wait_secs = wait.as_secs() + 1;
        return Err(Problem::too_many(
            format!("too many wrong tokens: try again in {wait_secs} s"),
            wait_secs,
        ));
    }
    let token = header.to_str().ok().and_then(|value| value.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let now_secs = Timestamp(clock::wall_ns()).as_secs();
    match token.and_then(|(_, token)| api.tokens.caller(token.trim(), now_secs)) {
        Some(caller) => {
            api.guesses.succeeded(*address);
            Ok(caller)
        }
        None => {
            api.guesses.failed(*address, now);
            Err(unauthorized("the token is wrong, revoked or has ended"))
        }
    }
}
