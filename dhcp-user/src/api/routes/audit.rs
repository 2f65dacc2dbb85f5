//! Who changed what through the API.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{
    Api,
    changes::{ChangeRecord, RECORDS_SHOWN, Which},
    problem::{Parameters, Problem, within},
};

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Latest {
    /// The most to give, 1 to 1000; 100 if left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `true`: only those refused; `false`: only those that changed something or may have; left out: both.
    refused: Option<bool>,
}

/// The latest requests that were to change something, done or refused, the newest first. Older ones are in the files
/// `changes.ndjson` (done) and `refused.ndjson` of `dhcp.api.state_path`. Refused ones of a caller within a second share a
/// record with their `count`.
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
    let which = match latest.refused {
        None => Which::All,
        Some(true) => Which::Refused,
        Some(false) => Which::Done,
    };
    let limit = within("limit", latest.limit.unwrap_or(100), 1..=RECORDS_SHOWN)?;
    Ok(Json(api.changes.latest(which, limit)))
}
