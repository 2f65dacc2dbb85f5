//! The management API: HTTP and JSON over the local socket and, with TLS, over the network.
//!
//! * [`routes`]: an endpoint each, by resource. They hold no state; every answer comes from the service's thread ([`ask`]).
//! * [`access`]: callers, the table of rights, tokens, limits, and the gate all requests go through.
//! * [`page`]: the status page. [`trend`]: how figures moved before anybody looked.
//! * [`capture`]: captures as files. [`of_site`]: which addresses are a site's.
//! * [`changes`]: who changed what; [`hangup`]: the one change that does not come by a request. [`problem`]: errors as RFC 9457 has them. [`turn`]: whole configurations, judged one at a time.
//! * [`tls`]: the certificate, made, loaded and reloaded. [`listen`]: connections and their bounds.
//! * [`site_news`]: what happens to sites, noticed every second.
//! * [`views`]: what many look at, and [`scrape`]: figures for Prometheus, each made once for all who ask ([`kept`]).
//! * [`room`]: how much memory answers may hold together.
//! * [`start`]: all of it for a running service.

pub mod access;
pub mod ask;
pub mod capture;
pub mod changes;
#[doc(hidden)]
pub mod fake;
pub mod hangup;
mod histogram;
pub mod kept;
pub mod listen;
pub mod metrics;
pub mod of_site;
pub mod page;
pub mod problem;
pub mod room;
pub mod routes;
pub mod scrape;
pub mod site_news;
pub mod start;
pub mod tls;
pub mod trend;
pub mod turn;
pub mod views;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use axum::{Router, middleware};
use utoipa::{
    OpenApi as _,
    openapi::{Content, Header, HeaderBuilder, Object, Ref, RefOr, Type},
};

use self::{
    access::{
        limits::{Guesses, RequestRate},
        tokens::Tokens,
    },
    ask::ServiceHandle,
    changes::Changes,
    problem::Problem,
    room::{Held, Room},
    routes::history::Readers,
    scrape::Scrape,
    tls::Expiry,
    trend::Trend,
    turn::Turns,
    views::Views,
};
use crate::{
    lease::store::FlushTimes,
    server::{
        feed::Feed,
        latency::Latency,
        reload::{InForce, Reloader},
    },
    site::driver::Sites,
};

/// The largest body taken, octets; but for configurations, which may be as long as their file.
pub const BODY_MAX: usize = 1 << 20;

/// Room for all long answers together, octets: a few of the longest, or hundreds of pages of the usual length.
const ANSWERS_ROOM: usize = 64 << 20;
/// How long a request waits for room for its answer.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

/// What the endpoints work with.
#[derive(Clone, Debug)]
pub struct Api {
    /// The way to the service's thread.
    pub service: ServiceHandle,
    /// What becomes of leases and sites.
    pub feed: Arc<Feed>,
    /// How long the store's flushes take.
    pub flushes: Arc<FlushTimes>,
    /// The configuration in force.
    pub in_force: InForce,
    /// The way to another; `None` where there is no file.
    pub reloader: Option<Arc<Reloader>>,
    /// Bearer tokens.
    pub tokens: Arc<Tokens>,
    /// Who changed what.
    pub changes: Changes,
    /// Requests by address.
    pub rate: Arc<RequestRate>,
    /// Wrong tokens by address.
    pub guesses: Arc<Guesses>,
    /// When the certificate ends.
    pub expiry: Arc<Expiry>,
    /// Who reads the audit log.
    pub readers: Readers,
    /// Who sends or judges a configuration.
    pub turns: Turns,
    /// How figures moved lately.
    pub trend: Trend,
    /// How long messages take the daemon.
    pub latency: Arc<Latency>,
    /// Requests so far.
    pub requests: Arc<AtomicU64>,
    /// What many look at, as it was a moment ago.
    pub views: Views,
    /// The figures for Prometheus, as they were a moment ago.
    pub scrape: Scrape,
    /// For answers that are long.
    pub room: Room,
    /// The longest a handler may take until its answer begins.
    pub handler_time: Duration,
    /// Held while a capture is on: there is one at a time.
    pub capturing: Arc<tokio::sync::Mutex<()>>,
    /// Renewals that captures were to show, and did not.
    pub capture_left_out: Arc<AtomicU64>,
    /// The other nodes, if there are sites.
    pub sites: Option<Arc<Sites>>,
}

impl Api {
    /// An API in front of a service.
    pub fn new(
        service: ServiceHandle,
        feed: Arc<Feed>,
        flushes: Arc<FlushTimes>,
        in_force: InForce,
        tokens: Tokens,
        changes: Changes,
    ) -> Self {
        let now = Instant::now();
        let rate = RequestRate::new(in_force.config().api.requests_per_sec, now);
        Self {
            views: Views::new(service.clone(), in_force.clone()),
            service,
            feed,
            flushes,
            in_force,
            reloader: None,
            tokens: Arc::new(tokens),
            changes,
            rate: Arc::new(rate),
            guesses: Arc::new(Guesses::new(now)),
            expiry: Arc::default(),
            readers: Readers::default(),
            turns: Turns::default(),
            trend: Trend::default(),
            latency: Arc::default(),
            requests: Arc::default(),
            scrape: Scrape::default(),
            room: Room::new(ANSWERS_ROOM, ROOM_PATIENCE),
            handler_time: access::gate::HANDLER_TIME,
            capturing: Arc::default(),
            capture_left_out: Arc::default(),
            sites: None,
        }
    }

    /// Room for an answer of about so many octets, kept until its reader has taken it.
    ///
    /// # Errors
    /// 503 if others hold it for too long.
    pub async fn room_for(&self, octets: usize) -> Result<Held, Problem> {
        let held = self.room.take(octets).await;
        held.map_err(|_| Problem::unavailable("too many long answers are being read: ask for less, or again"))
    }

    /// All endpoints, behind the gate. Requests must carry an [`access::caller::Peer`].
    pub fn router(&self) -> Router {
        let (router, _) = routes::all().split_for_parts();
        router
            .fallback(page::serve)
            .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
            .layer(middleware::from_fn_with_state(self.clone(), access::gate::gate))
            .with_state(self.clone())
    }

    /// The endpoints of the listener for metrics: read by whoever reaches it.
    pub fn metrics_router(&self) -> Router {
        routes::health::open().with_state(self.clone())
    }
}

/// The description of the API (OpenAPI 3.1), from the code.
pub fn description() -> utoipa::openapi::OpenApi {
    let (_, mut openapi) = routes::all().split_for_parts();
    openapi.merge(routes::Description::openapi());
    describe_answers(&mut openapi);
    openapi
}

/// What is the same of many answers is said once: the attributes of fifty of them cannot forget it. Each names its request; a problem
/// has the media type of RFC 9457, and what is changed under a condition has its version.
fn describe_answers(openapi: &mut utoipa::openapi::OpenApi) {
    let components = openapi.components.get_or_insert_default();
    for (name, kind, description) in [
        ("ETag", Type::String, "The version of what is shown: sent back in If-Match, a change's condition."),
        ("Retry-After", Type::Integer, "When to ask again, seconds; absent where that would not help."),
        ("x-request-id", Type::String, "Names the request, in the log and in the record of changes too."),
    ] {
        let header = HeaderBuilder::new().schema(Some(Object::with_type(kind)));
        let header = header.description(Some(description)).build();
        components.headers.insert(name.to_owned(), RefOr::T(header));
    }
    for item in openapi.paths.paths.values_mut() {
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in methods.into_iter().flatten() {
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                response.headers.extend([described("x-request-id")]);
                for (kind, content) in std::mem::take(&mut response.content) {
                    let schema = schema_of(&content);
                    let is_problem = schema == Some("Problem");
                    let has_version = matches!(schema, Some("LeaseView" | "ReservationView"));
                    let may_help_later = is_problem && matches!(status.as_str(), "503" | "default");
                    response.headers.extend(has_version.then(|| described("ETag")));
                    response.headers.extend(may_help_later.then(|| described("Retry-After")));
                    let kind = if is_problem { "application/problem+json".to_owned() } else { kind };
                    response.content.insert(kind, content);
                }
            }
        }
    }
}

/// One of the headers that are described once.
fn described(name: &str) -> (String, RefOr<Header>) {
    (name.to_owned(), RefOr::Ref(Ref::new(format!("#/components/headers/{name}"))))
}

/// The name of what a body holds, if that is described by its name.
fn schema_of(content: &RefOr<Content>) -> Option<&str> {
    let RefOr::T(content) = content else { return None };
    let Some(RefOr::Ref(schema)) = &content.schema else { return None };
    schema.ref_location.rsplit('/').next()
}

#[cfg(test)]
mod tests;
