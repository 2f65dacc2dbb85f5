//! Starts the API of a running service. DHCP goes on without it: a port that is taken is told, and tried for again.

use std::{
    fs, io, net::SocketAddr, os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc, time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, UnixListener},
    time::sleep,
};

use super::{
    Api,
    access::tokens::{TokenError, Tokens},
    ask::ServiceHandle,
    changes::Changes,
    listen::{serve_local, serve_tcp},
    site_news,
    tls::{Expiry, Tls, TlsError},
};
use crate::{
    config::model,
    lease::store::FlushTimes,
    privilege::trust::{self, Untrusted},
    server::{feed::Feed, latency::Latency, reload::Reloader},
    site::driver::Sites,
};

/// How long until a port that was taken is tried for again.
const BIND_AGAIN: Duration = Duration::from_secs(5);

/// Why there is no API.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Its directory or a file in it cannot be used.
    #[error("the API's directory {}: {error}; dhcp.api.state_path names another", path.display())]
    State {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else could change who may do what.
    #[error("the API's directory {0}")]
    Untrusted(#[source] Untrusted),
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// All that can be refused, looked at before the service starts.
pub struct Prepared {
    tokens: Tokens,
    changes: Changes,
    expiry: Arc<Expiry>,
    tls: Option<Arc<Tls>>,
}

/// Makes the state directory, opens what is in it, and makes or loads the certificate.
///
/// # Errors
/// If the directory, or a certificate that is asked for, cannot be used.
pub fn prepare(api: &model::Api) -> Result<Prepared, ApiError> {
    let path = &api.state_path;
    let failed = |path: PathBuf| move |error| ApiError::State { path, error };
    // Nobody else is to look into it.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path.clone()))?;
    // What is in it says who may do what.
    let found = fs::metadata(path).map_err(failed(path.clone()))?;
    trust::directory(path, &found).map_err(ApiError::Untrusted)?;
    let record = path.join("changes.ndjson");
    let changes = Changes::open(record.clone()).map_err(failed(record))?;
    let tokens = Tokens::open(path.join("tokens.json"))?;
    let expiry = Arc::<Expiry>::default();
    let tls = if api.enabled && api.tls { Some(Tls::open(api, Arc::clone(&expiry))?) } else { None };
    Ok(Prepared { tokens, changes, expiry, tls })
}

impl Prepared {
    /// The record of changes.
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// Serves on the local socket and, as configured, over the network, in front of a service; returns at once.
    pub fn serve(self, started: Behind, local: UnixListener) {
        let Self { tokens, changes, expiry, tls } = self;
        let Behind { service, feed, flushes, latency, reloader, sites } = started;
        let in_force = reloader.in_force().clone();
        let api = Api::new(service, feed, flushes, in_force, tokens, changes);
        let api = Api { expiry, latency, sites, reloader: Some(reloader), ..api };
        tokio::spawn(api.trend.clone().follow(api.service.clone(), api.views.clone()));
        if let Some(sites) = &api.sites {
            tokio::spawn(site_news::follow(Arc::clone(sites), api.views.clone(), Arc::clone(&api.feed)));
        }
        let router = api.router();
        tokio::spawn(serve_local(local, router.clone()));
        let config = api.in_force.config();
        let config = &config.api;
        if let Some(address) = config.metrics_listen {
            tokio::spawn(serve_network("metrics", address, None, api.metrics_router()));
        }
        if config.enabled {
            if let Some(tls) = &tls {
                tokio::spawn(Arc::clone(tls).follow());
            }
            tokio::spawn(serve_network("API", config.listen, tls, router));
        }
    }
}

/// The service an API is in front of.
#[derive(Clone, Debug)]
pub struct Behind {
    /// The way to its thread.
    pub service: ServiceHandle,
    /// What becomes of leases and sites.
    pub feed: Arc<Feed>,
    /// How long the store's flushes take.
    pub flushes: Arc<FlushTimes>,
    /// How long messages take.
    pub latency: Arc<Latency>,
    /// The configuration it serves, and the way to another.
    pub reloader: Arc<Reloader>,
    /// The other nodes, if there are sites.
    pub sites: Option<Arc<Sites>>,
}

async fn serve_network(what: &'static str, address: SocketAddr, tls: Option<Arc<Tls>>, router: Router) {
    let mut told = false;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) if !told => {
                told = true;
                tracing::error!(%address, %error, "the {what} cannot be served there; trying until it can");
            }
            Err(_) => {}
        }
        sleep(BIND_AGAIN).await;
    };
    tracing::info!(%address, tls = tls.is_some(), "serving the {what}");
    serve_tcp(listener, tls, router).await;
}
