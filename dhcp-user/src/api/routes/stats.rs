//! Counters of kernel and daemon by reason, how fast they grow, and how long things take.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        Api,
        problem::{Parameters, Problem},
        trend::rates::RatesView,
    },
    lease::store::FLUSH_BOUNDS_US,
    server::{latency::LATENCY_BOUNDS_US, service::Query, view::StatsView},
};

/// How often something took how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Histogram {
    /// How often altogether.
    pub count: u64,
    /// How long altogether, microseconds.
    pub sum_us: u64,
    /// How often, by time; each is counted in one bucket.
    pub buckets: Vec<Bucket>,
}

/// What took longer than the bucket before says, and no longer than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// Microseconds; null for whatever is beyond.
    pub up_to_us: Option<u64>,
    /// How often.
    pub count: u64,
}

/// How long things take, since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LatencyView {
    /// Messages handled by the daemon: from the moment they are read until their replies, durable, are on their way.
    pub daemon: Histogram,
    /// Making a batch of leases durable.
    pub store_flush: Histogram,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct After {
    /// Samples after the one with this number; all that are kept if left out.
    #[param(minimum = 0, format = "uint64")]
    after: Option<u64>,
}

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

/// How fast the counters grow: second by second for the last ten minutes, and why frames were not answered in the kernel
/// on the average of the last one.
#[utoipa::path(
    get,
    path = "/api/v1/stats/rates",
    tag = "statistics",
    params(After),
    responses((status = 200, body = RatesView), (status = "default", body = Problem))
)]
pub(super) async fn rates(
    State(api): State<Api>,
    Parameters(query): Parameters<After>,
) -> Result<Json<RatesView>, Problem> {
    Ok(Json(api.trend.rates().view(query.after.unwrap_or(0))))
}

/// How long the daemon takes for messages and the store for flushes. What the kernel answers is not in it: that takes
/// less than reading a clock twice.
#[utoipa::path(
    get,
    path = "/api/v1/stats/latency",
    tag = "statistics",
    responses((status = 200, body = LatencyView), (status = "default", body = Problem))
)]
pub(super) async fn latency(State(api): State<Api>) -> Json<LatencyView> {
    let (counts, sum_us) = api.latency.snapshot();
    let flushes = api.flushes.snapshot();
    Json(LatencyView {
        daemon: histogram(&LATENCY_BOUNDS_US, &counts, sum_us),
        store_flush: histogram(&FLUSH_BOUNDS_US, &flushes.counts, flushes.sum_us),
    })
}

fn histogram(bounds_us: &[u64], counts: &[u64], sum_us: u64) -> Histogram {
    let bounds = bounds_us.iter().map(|bound| Some(*bound)).chain([None]);
    let buckets = bounds.zip(counts).map(|(up_to_us, &count)| Bucket { up_to_us, count }).collect();
    Histogram { count: counts.iter().sum(), sum_us, buckets }
}
