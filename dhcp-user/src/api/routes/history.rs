//! Who held an address, as the audit log tells it. Reading it is reading files: beside the service's thread, one request
//! at a time, and of the newest so many octets.

use std::sync::Arc;

use axum::{Json, http::StatusCode};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::addressed::Addressed;
use crate::{
    api::problem::Problem,
    audit::history::{self, History},
};

/// The most octets of the log that are read for one answer, the newest ones.
pub const READ_OCTETS_MAX: u64 = 256 << 20;

/// Lets one request at a time read the log.
#[derive(Clone, Debug)]
pub struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// Who held an address and when, from the audit log. Of a long log the newest 256 MiB are read; `complete` says whether
/// that was all of it.
#[utoipa::path(
    get,
    path = "/api/v1/leases/{address}/history",
    tag = "leases",
    params(("address" = String, Path, description = "The address", format = "ipv4")),
    responses((status = 200, body = History), (status = "default", body = Problem))
)]
pub(super) async fn history(asked: Addressed) -> Result<Json<History>, Problem> {
    asked.seen_or(|address| Problem::not_found(format!("nothing is known of {address}")))?;
    let Addressed { api, address, .. } = asked;
    let config = api.in_force.config();
    let Some(audit) = &config.audit else {
        return Err(Problem::not_found("no audit log is kept; dhcp.audit in the configuration asks for one"));
    };
    let path = audit.path.clone();
    let busy = |_| Problem::unavailable("the service is stopping");
    let turn = Arc::clone(&api.readers.0).acquire_owned().await.map_err(busy)?;
    let read = spawn_blocking(move || {
        let _turn = turn;
        history::latest(&path, address, READ_OCTETS_MAX)
    });
    let failed = |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail);
    let history = read.await.map_err(|error| failed(error.to_string()))?;
    history.map(Json).map_err(|error| {
        if error.is_missing() { Problem::not_found(error.to_string()) } else { failed(error.to_string()) }
    })
}
