//! The figures for Prometheus, kept for a moment: however many ask and however often, the service's thread counts its pools once a
//! second, and one text is made.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio::sync::Mutex;

use super::{Api, metrics, problem::Problem};
use crate::server::service::Query;

/// How old figures may be.
const KEPT: Duration = Duration::from_secs(1);

/// When a text was made, and it.
type Kept = Option<(Instant, Arc<str>)>;

/// The latest text.
#[derive(Clone, Debug, Default)]
pub struct Scrape(Arc<Mutex<Kept>>);

impl Scrape {
    /// The text, made now or a moment ago. Those who ask meanwhile wait for it.
    ///
    /// # Errors
    /// 503 if the service does not answer; then the next one asks anew.
    pub async fn text(&self, api: &Api) -> Result<Arc<str>, Problem> {
        let mut kept = self.0.lock().await;
        if let Some((made, text)) = &*kept
            && made.elapsed() < KEPT
        {
            return Ok(Arc::clone(text));
        }
        let text: Arc<str> = make(api).await?.into();
        *kept = Some((Instant::now(), Arc::clone(&text)));
        Ok(text)
    }
}

async fn make(api: &Api) -> Result<String, Problem> {
    let figures = metrics::Figures {
        stats: api.service.ask(Query::Stats).await?,
        subnets: api.service.ask(Query::Subnets).await?,
        flushes: api.flushes.snapshot(),
        latency: api.latency.snapshot(),
        certificate_expires_secs: api.expiry.secs(),
        changes_lost: api.changes.lost(),
        requests: api.requests.load(std::sync::atomic::Ordering::Relaxed),
        refused_busy: api.service.refused(),
        health: api.service.ask(Query::Health).await?,
        sites: match &api.sites {
            Some(sites) => metrics::SiteFigures::of(sites, api.service.ask(Query::Sites).await?.as_ref()),
            None => None,
        },
    };
    metrics::text(&figures)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
