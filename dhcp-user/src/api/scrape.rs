//! The figures for Prometheus, kept for a moment: however many ask and however often, one text is made a second.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{body::Bytes, http::StatusCode};

use super::{Api, kept::Kept, metrics, problem::Problem};
use crate::server::service::Query;

/// How old figures may be.
const KEPT: Duration = Duration::from_secs(1);

/// The latest text.
#[derive(Clone, Debug)]
pub struct Scrape(Kept<Bytes>);

impl Default for Scrape {
    fn default() -> Self {
        Self(Kept::new(KEPT))
    }
}

impl Scrape {
    /// The text, made now or a moment ago, shared by all who read it.
    ///
    /// # Errors
    /// 503 if the service does not answer.
    pub async fn text(&self, api: &Api) -> Result<Bytes, Problem> {
        self.0.get(async || make(api).await.map(Bytes::from)).await
    }
}

async fn make(api: &Api) -> Result<String, Problem> {
    let figures = metrics::Figures {
        stats: api.service.ask_for_itself(Query::Stats).await?,
        subnets: api.views.subnets().await?,
        flushes: api.flushes.snapshot(),
        latency: api.latency.snapshot(),
        certificate_expires_secs: api.expiry.secs(),
        changes_lost: api.changes.lost(),
        requests: api.requests.load(Ordering::Relaxed),
        refused_busy: api.service.refused(),
        capture_left_out: api.capture_left_out.load(Ordering::Relaxed),
        health: api.views.health().await?,
        sites: match &api.sites {
            Some(sites) => metrics::SiteFigures::of(sites, api.views.sites().await?.as_ref().as_ref()),
            None => None,
        },
    };
    metrics::text(&figures)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
