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
    server::desk::ServiceHealth,
    site::node::Role,
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
    /// What the node does in the cluster, as `role` in `GET /api/v1/sync` says; absent on a single node. Ready are `active`
    /// and `draining`: in all other roles it gives no addresses to new clients, whatever it may still do for those it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<Role>,
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
    api.views.health().await?;
    Ok("alive\n")
}

/// Whether the node can grant leases durably and answers renewals in the kernel where it should, and, with sites, whether it is in
/// the cluster and can give out addresses. As it was within the last second.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses(
        (status = 200, body = Readiness),
        (status = 503, body = Readiness),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let health = api.views.health().await;
    let sites = match &api.sites {
        Some(_) => {
            let view = api.views.sites().await;
            Some(view.ok().and_then(|view| Some(view.as_ref().as_ref()?.role)))
        }
        None => None,
    };
    let readiness = Readiness::of(health.as_ref(), !api.flushes.snapshot().failing, sites);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

impl Readiness {
    /// By what the service says of its parts, whether its store works, and, with sites, what the node does there as far as
    /// that is known.
    fn of(health: Result<&ServiceHealth, &Problem>, store: bool, sites: Option<Option<Role>>) -> Self {
        let mut problems = Vec::new();
        let fast_path = health.is_ok_and(|health| {
            let (has, wants) = (health.fast_path_attached, health.fast_path_wanted);
            if has < wants {
                problems.push(format!("the kernel program runs on {has} of {wants} interfaces"));
            }
            problems.extend(health.problems.iter().cloned());
            has >= wants
        });
        let interfaces = health.is_ok_and(|health| health.interfaces_lost == 0);
        if let Err(problem) = health {
            problems.push(problem.detail.clone());
        }
        if !store {
            problems.push("the last batch of leases could not be made durable".to_owned());
        }
        let in_cluster = match sites {
            None => true,
            Some(role) => {
                let unknown = "nothing is known yet of this node's place in the cluster";
                let trouble = role.map_or(Some(unknown), Role::trouble);
                problems.extend(trouble.map(str::to_owned));
                trouble.is_none()
            }
        };
        let service = health.is_ok();
        let ready = service && store && fast_path && interfaces && in_cluster;
        Self { ready, service, store, fast_path, interfaces, sites: sites.flatten(), problems }
    }
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
    let text = api.scrape.text(&api).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_whose_parts_are_there_and_which_can_give_addresses_out() {
        let health = ServiceHealth {
            fast_path_wanted: 1,
            fast_path_attached: 1,
            interfaces_lost: 0,
            attached_again: 0,
            problems: Vec::new(),
            store_refusals: 0,
            commits: 0,
        };
        let of = |sites| Readiness::of(Ok(&health), true, sites);
        assert!(of(None).ready && of(None).problems.is_empty());
        for (role, ready) in [
            (Role::Active, true),
            (Role::Draining, true),
            (Role::Waiting, false),
            (Role::Stranger, false),
            (Role::Differs, false),
            (Role::HasLeases, false),
            (Role::Out, false),
            (Role::Joining, false),
            (Role::Cut, false),
        ] {
            let found = of(Some(Some(role)));
            assert_eq!((found.ready, found.sites, found.problems.is_empty()), (ready, Some(role), ready));
        }
        assert!(!of(Some(None)).ready);
        let gone = Readiness::of(Err(&Problem::unavailable("gone")), true, None);
        assert!(!gone.ready && !gone.service && gone.problems == ["gone"]);
        assert!(!Readiness::of(Ok(&health), false, None).ready);
        let lost = ServiceHealth { interfaces_lost: 1, ..health.clone() };
        assert!(!Readiness::of(Ok(&lost), true, None).ready);
    }
}
