//! Subnets and how full their pools are.

use std::time::Instant;

use axum::{Extension, Json, extract::State};

use crate::{
    api::{Api, access::caller::Caller, problem::Problem},
    server::{service::Query, view::SubnetView},
};

/// The subnets of the configuration, with the utilisation of their pools.
#[utoipa::path(
    get,
    path = "/api/v1/subnets",
    tag = "subnets",
    responses((status = 200, body = [SubnetView]), (status = "default", body = Problem))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<SubnetView>>, Problem> {
    let mut subnets = api.service.ask(Query::Subnets).await?;
    subnets.retain(|subnet| caller.may_see_all(&subnet.subnet));
    let (seen, now) = (api.trend.pools(), Instant::now());
    for pool in subnets.iter_mut().flat_map(|subnet| &mut subnet.pools) {
        pool.forecast = seen.forecast(now, pool);
    }
    Ok(Json(subnets))
}
