//! Who changed what through the API.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{
    Api,
    changes::{ChangeRecord, RECORDS_SHOWN},
    problem::{Parameters, Problem, within},
};

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Latest {
    /// The most to give, 1 to 1000; 100 if left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The latest requests that were to change something, allowed or not, the newest first. Older ones are in the file
/// `changes.ndjson` of `dhcp.api.state_path`.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    params(Latest),
    responses((status = 200, body = [ChangeRecord]), (status = "default", body = Problem))
)]
pub(super) async fn audit(
    State(api): State<Api>,
    Parameters(latest): Parameters<Latest>,
) -> Result<Json<Vec<ChangeRecord>>, Problem> {
    let limit = within("limit", latest.limit.unwrap_or(100), 1..=RECORDS_SHOWN)?;
    Ok(Json(api.changes.latest(limit)))
}
