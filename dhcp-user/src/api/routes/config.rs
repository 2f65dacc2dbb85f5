//! The configuration: what is in force, whether another could be, and putting it in force.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::addressed::{IfMatch, tagged};
use crate::{
    api::{Api, access::gate::Note, problem::Problem, room, turn::WholeText},
    config::{
        self,
        difference::{Difference, differences},
        model::Config,
    },
    server::reload::{ReloadError, Reloaded, Reloader, TakenUp, decide::Decision, version},
};

/// What a configuration holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigSummary {
    /// Interfaces served.
    pub interfaces: usize,
    /// Subnets.
    pub subnets: usize,
    /// Pools of all subnets.
    pub pools: usize,
    /// Reservations of all subnets.
    pub reservations: usize,
}

impl ConfigSummary {
    /// What this one holds.
    pub fn of(config: &Config) -> Self {
        Self {
            interfaces: config.interfaces.len(),
            subnets: config.subnets.len(),
            pools: config.subnets.iter().map(|subnet| subnet.pools.len()).sum(),
            reservations: config.subnets.iter().map(|subnet| subnet.reservations.len()).sum(),
        }
    }
}

/// Checks the configuration in the body; every fault is in `detail`, a line each, with its place and way out.
#[utoipa::path(
    post,
    path = "/api/v1/config/validate",
    tag = "configuration",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, body = ConfigSummary),
        (status = 422, body = Problem),
        (status = 503, body = Problem, description = "Another is being judged; see Retry-After"),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn validate(
    State(api): State<Api>,
    text: WholeText,
) -> Result<Json<ConfigSummary>, Problem> {
    let judged = judged(&api, text, |text| config::parse(text, "request")).await?;
    let config = judged.map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    Ok(Json(ConfigSummary::of(&config)))
}

/// Judges a configuration. Millions of reservations may be in it: not on a thread that others wait for, and the turn is
/// over when that is done, whether anybody still waits for it or not.
async fn judged<T: Send + 'static>(
    api: &Api,
    text: WholeText,
    judge: impl FnOnce(&str) -> T + Send + 'static,
) -> Result<T, Problem> {
    let turn = api.turns.take().await?;
    let judged = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        judge(text.as_str())
    });
    judged.await.map_err(|_| Problem::unavailable("the configuration could not be judged"))
}

/// What another configuration would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigDiff {
    /// The ETag of what is in force, without its quotes: to be sent back in If-Match.
    pub version: String,
    /// Values that differ in the files, the first 1000.
    pub differences: Vec<Difference>,
    /// Whether putting it in force would change anything.
    pub changes: bool,
    /// Why it could not be put in force by a running daemon; absent if it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The configuration in force, as its file says it. Its ETag changes with it.
#[utoipa::path(
    get,
    path = "/api/v1/config",
    tag = "configuration",
    responses(
        (status = 200, body = Object, headers(("ETag" = String, description = "Its version, for If-Match"))),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn get(State(api): State<Api>) -> Result<Response, Problem> {
    let standing = reloader(&api)?.in_force().standing();
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok(tagged(Some(&version(&standing.text)), (json, room::octets_of(Arc::clone(&standing.text)))))
}

/// Compares the configuration in the body with what is in force, and says whether a running daemon could take it up.
#[utoipa::path(
    post,
    path = "/api/v1/config/diff",
    tag = "configuration",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, body = ConfigDiff),
        (status = 422, body = Problem),
        (status = 503, body = Problem, description = "Another is being judged; see Retry-After"),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn diff(State(api): State<Api>, text: WholeText) -> Result<Json<ConfigDiff>, Problem> {
    let reloader = reloader(&api)?;
    let compared = judged(&api, text, move |text| {
        let standing = reloader.in_force().standing();
        let (changes, refused) = match reloader.judge(text) {
            Ok((_, decision)) => (decision == Decision::Change, None),
            Err(error @ ReloadError::Config(_)) => return Err(error),
            Err(error) => (true, Some(error.to_string())),
        };
        let (version, differences) = (version(&standing.text), differences(&standing.text, text));
        Ok(ConfigDiff { version, differences, changes, refused })
    });
    compared.await?.map(Json).map_err(|error| refusal(&error))
}

/// Writes the configuration in the body to its file and puts it in force, all or nothing. Leases stay, and each client's
/// next renewal comes to the daemon.
#[utoipa::path(
    put,
    path = "/api/v1/config",
    tag = "configuration",
    params(("if-match" = String, Header, description = "The ETag of the configuration that is to be replaced; * for any")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, body = Reloaded),
        (status = 409, body = Problem),
        (status = 412, body = Problem),
        (status = 422, body = Problem),
        (status = 428, body = Problem),
        (status = 503, body = Problem, description = "Too many are being sent; see Retry-After"),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn apply(
    State(api): State<Api>,
    headers: HeaderMap,
    text: WholeText,
) -> Result<Response, Problem> {
    let if_match = IfMatch::of(&headers)?;
    if if_match == IfMatch::Absent {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "send If-Match with the ETag of GET /api/v1/config: what was looked at is what is replaced",
        ));
    }
    // What is put in force has its turn at the service. The room for the text is kept for as long as the text is.
    told(reloader(&api)?.apply(text, if_match.versions()).await)
}

/// Takes up the configuration file as it is now, as SIGHUP does.
#[utoipa::path(
    post,
    path = "/api/v1/config/reload",
    tag = "configuration",
    responses(
        (status = 200, body = Reloaded),
        (status = 409, body = Problem),
        (status = 422, body = Problem),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn reload(State(api): State<Api>) -> Result<Response, Problem> {
    told(reloader(&api)?.reload().await)
}

/// Puts the configuration in force again that was before this one, and writes it to the file. Twice is back again: of two who go
/// back at once, If-Match refuses the second.
#[utoipa::path(
    post,
    path = "/api/v1/config/rollback",
    tag = "configuration",
    params(("if-match" = Option<String>, Header, description = "Only if the configuration in force still has this ETag")),
    responses(
        (status = 200, body = Reloaded),
        (status = 409, body = Problem),
        (status = 412, body = Problem),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn rollback(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    let expected = IfMatch::of(&headers)?.versions();
    told(reloader(&api)?.roll_back(expected).await)
}

/// The way to another configuration.
pub(super) fn reloader(api: &Api) -> Result<Arc<Reloader>, Problem> {
    api.reloader.clone().ok_or_else(|| Problem::unavailable("this daemon has no configuration file"))
}

fn told(done: Result<TakenUp, ReloadError>) -> Result<Response, Problem> {
    let taken_up = done.map_err(|error| refusal(&error))?;
    Ok((Extension(Note(taken_up.to_string())), Json(taken_up.reloaded)).into_response())
}

/// How a refusal is told.
pub(in crate::api) fn refusal(error: &ReloadError) -> Problem {
    let status = match error {
        ReloadError::Config(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadError::Changed(_) => StatusCode::PRECONDITION_FAILED,
        ReloadError::Machine(_)
        | ReloadError::NeedsRestart(_)
        | ReloadError::Edited { .. }
        | ReloadError::NoPrevious { .. } => StatusCode::CONFLICT,
        ReloadError::Write { .. } | ReloadError::Kernel(_) | ReloadError::Swap(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        ReloadError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, error.to_string())
}
