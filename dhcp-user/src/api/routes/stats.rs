//! Counters of kernel and daemon, by reason.

use axum::{Json, extract::State};

use crate::{
    api::{Api, problem::Problem},
    server::{service::Query, view::StatsView},
};

/// Counters of the kernel program and the daemon, by reason, and leases by state.
#[utoipa::path(
    get,
    path = "/api/v1/stats",
    tag = "statistics",
    responses((status = 200, body = StatsView), (status = "default", body = Problem))
)]
pub(super) async fn stats(State(api): State<Api>) -> Result<Json<StatsView>, Problem> {
    api.service.ask(Query::Stats).await.map(Json)
}
