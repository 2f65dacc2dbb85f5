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
    caller::{Caller, Peer, Proof},
    rights::{Need, methods, need, only_asks},
};
use crate::{
    api::{
        Api,
        changes::{ChangeRecord, Changes},
        problem::Problem,
    },
    server::clock,
    time::Timestamp,
};

/// The longest a handler may take until its answer begins: bodies that trickle in are cut off by this.
pub const HANDLER_TIME: Duration = Duration::from_secs(30);
/// Names a request in answers, log and record.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest identifier taken from a caller.
const REQUEST_ID_MAX: usize = 64;
/// What of a path is recorded, characters.
const PATH_MAX: usize = 256;

/// What an endpoint has to say for the record of changes.
#[derive(Clone, Debug)]
pub struct Note(pub String);

/// Lets a request through, or says why not.
pub async fn gate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = request_id(&api.requests, &request);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let changing = !is_reading(&method) && matched.as_deref().is_some_and(|path| !only_asks(path));
    let recording = |who: String| Recording {
        changes: api.changes.clone(),
        request_id: id.clone(),
        who,
        method: method.to_string(),
        path: path.chars().take(PATH_MAX).collect(),
    };
    let mut response = match admit(&api, &request, matched.as_deref()) {
        Err((who, problem)) => {
            tracing::debug!(request_id = id, %method, path, who, status = problem.status, "refused");
            let response = allowing(problem.into_response(), matched.as_deref());
            match who {
                Some(who) if changing => recording(who).record(response).await,
                // The record is of what those with rights did or tried: strangers are not to fill it.
                _ => response,
            }
        }
        Ok(caller) if changing => {
            let recording = recording(caller.name.clone());
            request.extensions_mut().insert(caller);
            // On a task of its own: who hangs up in the middle stops nothing that has begun, and keeps nothing out of
            // the record.
            let time = api.handler_time;
            let done = tokio::spawn(async move {
                // And one of its own for what is done: however that ends, it is recorded.
                let handled = tokio::spawn(handle(time, next, request)).await;
                recording.record(handled.unwrap_or_else(|_| broken_off())).await
            });
            done.await.unwrap_or_else(|_| broken_off())
        }
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            handle(api.handler_time, next, request).await
        }
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What is written about a request that is to change something.
struct Recording {
    changes: Changes,
    request_id: String,
    who: String,
    method: String,
    path: String,
}

impl Recording {
    async fn record(self, mut response: Response) -> Response {
        let note = response.extensions_mut().remove::<Note>().map(|Note(note)| note);
        let record = ChangeRecord {
            at: Timestamp(clock::wall_ns()).to_string(),
            request_id: self.request_id,
            who: self.who,
            method: self.method,
            path: self.path,
            status: response.status().as_u16(),
            detail: note.unwrap_or_default(),
            count: 1,
        };
        self.changes.add(record).await;
        response
    }
}

async fn handle(time: Duration, next: Next, request: Request) -> Response {
    timeout(time, next.run(request)).await.unwrap_or_else(|_| {
        let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long");
        let mut response = problem.into_response();
        response.extensions_mut().insert(Note("not waited for to its end: it may have been done".to_owned()));
        response
    })
}

/// The answer of a handler that ended in the middle of its work.
fn broken_off() -> Response {
    let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed half-way: see the log");
    let mut response = problem.into_response();
    response.extensions_mut().insert(Note("it failed half-way: it may have been done".to_owned()));
    response
}

/// Says which methods there are, where the one asked for is none of them (RFC 9110 section 15.5.6).
fn allowing(mut response: Response, matched: Option<&str>) -> Response {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(methods) = HeaderValue::from_str(&methods(matched.unwrap_or_default()))
    {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}

/// The caller's identifier for the request if it is harmless in a log, else one of ours.
fn request_id(counter: &AtomicU64, request: &Request) -> String {
    let number = counter.fetch_add(1, Ordering::Relaxed);
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=REQUEST_ID_MAX).contains(&id.len())
            && id.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'))
    };
    given.filter(harmless).map_or_else(|| format!("{:x}-{number:x}", clock::boot_ns()), str::to_owned)
}

/// Who asks, if they may; else who it is, if that is known, and the refusal.
fn admit(api: &Api, request: &Request, matched: Option<&str>) -> Result<Caller, (Option<String>, Problem)> {
    let nobody = |problem| (None, problem);
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
        return Err((Some(caller.name), Problem::forbidden(detail)));
    }
    if matches!(need, Need::Whole(_)) && !caller.subnets.is_empty() {
        let detail = "this is about the whole node, and your rights are restricted to subnets";
        return Err((Some(caller.name), Problem::forbidden(detail)));
    }
    Ok(caller)
}

/// Whether a browser says that it was a page from elsewhere that asked: a user's certificate goes along whoever asks.
fn asked_by_another_site(request: &Request) -> bool {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    match (text(HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, host)| host) != text(header::HOST),
        (None, None) => false,
    }
}

fn identify(api: &Api, request: &Request, peer: &Peer, now: Instant) -> Result<Caller, Problem> {
    let (address, certificate) = match peer {
        Peer::Local(user) => return Ok(Caller::local(user.as_ref())),
        Peer::Remote { address, certificate } => (address, certificate),
    };
    let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
    let Some(header) = request.headers().get(header::AUTHORIZATION) else {
        let config = api.in_force.config();
        let known = |name: &String| config.api.clients.iter().find(|client| client.name == *name);
        let client = certificate.as_ref().and_then(known).ok_or_else(|| {
            unauthorized("send `Authorization: Bearer TOKEN`; `token create` on the server makes one")
        })?;
        if !is_reading(request.method()) && asked_by_another_site(request) {
            return Err(Problem::forbidden("a page of another site asked for this, with your certificate"));
        }
        return Ok(Caller::of_certificate(client));
    };
    let token = header.to_str().ok().and_then(|value| value.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map_or("", |(_, token)| token.trim());
    // While its address waits no token is looked at, or waiting would slow nobody down who guesses; but for those that were
    // right from there before: others who guess keep nobody out who is known.
    if let Some(wait) = api.guesses.wait(*address, token, now) {
        let wait_secs = wait.as_secs() + 1;
        let detail = format!("too many wrong tokens: try again in {wait_secs} s");
        return Err(Problem::too_many(detail, wait_secs));
    }
    match api.tokens.caller(token, now_secs()) {
        Some(caller) => {
            api.guesses.succeeded(*address, token);
            Ok(caller)
        }
        None => {
            api.guesses.failed(*address, token, now);
            Err(unauthorized("the token is wrong, revoked or has ended"))
        }
    }
}

fn now_secs() -> u64 {
    Timestamp(clock::wall_ns()).as_secs()
}

/// Whether a caller who was let in still has the rights of then: for answers that take long.
pub fn still_may(api: &Api, caller: &Caller) -> bool {
    match &caller.proof {
        Proof::Nothing | Proof::LocalSocket => true,
        Proof::Token(id) => api.tokens.holder(id, now_secs()).as_ref() == Some(caller),
        Proof::Certificate(name) => {
            let config = api.in_force.config();
            let client = config.api.clients.iter().find(|client| client.name == *name);
            client.is_some_and(|client| Caller::of_certificate(client) == *caller)
        }
    }
}
