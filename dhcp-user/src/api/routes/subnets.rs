//! Subnets and how full their pools are.

use std::{net::Ipv4Addr, time::Instant};

use axum::{Extension, extract::State, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::by_network::Page;
use crate::{
    api::{
        Api,
        access::caller::Caller,
        problem::{Parameters, Problem},
        room,
    },
    server::view::SubnetView,
};

/// Octets that a subnet and a pool take, as they are shown and in the answer.
const OCTETS_OF_ONE: usize = 512;

/// A page of subnets, by address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubnetPage {
    /// The subnets.
    pub subnets: Vec<SubnetView>,
    /// Ask again with this as `after`; null at the end.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub next: Option<Ipv4Addr>,
}

/// The subnets of the configuration, by address, with the utilisation of their pools as it was within the last second.
#[utoipa::path(
    get,
    path = "/api/v1/subnets",
    tag = "subnets",
    params(Page),
    responses((status = 200, body = SubnetPage), (status = "default", body = Problem))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Parameters(page): Parameters<Page>,
) -> Result<Response, Problem> {
    let limit = page.limit()?;
    let all = api.views.subnets().await?;
    let network = |subnet: &SubnetView| subnet.subnet.network();
    let (found, next) = page.of(limit, &all, network, |subnet| caller.may_see_all(&subnet.subnet));
    let shown: usize = found.iter().map(|subnet| 1 + subnet.pools.len()).sum();
    let held = api.room_for(shown * OCTETS_OF_ONE).await?;
    let mut answer = SubnetPage { subnets: found.into_iter().cloned().collect(), next };
    {
        let (seen, now) = (api.trend.pools(), Instant::now());
        for pool in answer.subnets.iter_mut().flat_map(|subnet| &mut subnet.pools) {
            pool.forecast = seen.forecast(now, pool);
        }
    }
    room::json(&answer, held)
}
