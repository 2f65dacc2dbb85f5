//! Whether the node lives, whether it serves, and its figures.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{Api, problem::Problem},
    server::service::Query,
};

/// Whether the node serves, and what of it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether all is well.
    pub ready: bool,
    /// The service's thread answers.
    pub service: bool,
    /// The last batch of leases was made durable.
    pub store: bool,
    /// The kernel program runs on every interface it should run on.
    pub fast_path: bool,
    /// Every interface is there, and the one it was at the start.
    #[serde(default)]
    pub interfaces: bool,
    /// What is wrong, in words; empty if nothing is.
    pub problems: Vec<String>,
}

/// The endpoints that the listener for metrics has.
pub(crate) fn open() -> Router<Api> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
}

/// Whether the service's thread answers: if not, a restart is in order.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    security(()),
    responses((status = 200, description = "It lives", body = String), (status = "default", body = Problem))
)]
pub(super) async fn healthz(State(api): State<Api>) -> Result<&'static str, Problem> {
    api.service.ask(Query::Health).await?;
    Ok("alive\n")
}

/// Whether the node can grant leases durably and answers renewals in the kernel where it should.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let mut problems = Vec::new();
    let health = api.service.ask(Query::Health).await;
    let fast_path = health.as_ref().is_ok_and(|health| {
        let (has, wants) = (health.fast_path_attached, health.fast_path_wanted);
        if has < wants {
            problems.push(format!("the kernel program runs on {has} of {wants} interfaces"));
        }
        problems.extend(health.problems.iter().cloned());
        has >= wants
    });
    let interfaces = health.as_ref().is_ok_and(|health| health.interfaces_lost == 0);
    if let Err(problem) = &health {
        problems.push(problem.detail.clone());
    }
    let store = !api.flushes.snapshot().failing;
    if !store {
        problems.push("the last batch of leases could not be made durable".to_owned());
    }
    let service = health.is_ok();
    let ready = service && store && fast_path && interfaces;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, service, store, fast_path, interfaces, problems })).into_response()
}

/// Figures for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "statistics",
    responses(
        (status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain"),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = api.scrape.text(&api).await?.to_string();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
