//! Configuration, as far as it can be judged without putting it in force.

use axum::{Json, body::Bytes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::problem::Problem,
    config::{self, model::Config},
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
    fn of(config: &Config) -> Self {
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
        (status = "default", body = Problem)
    )
)]
pub(super) async fn validate(octets: Bytes) -> Result<Json<ConfigSummary>, Problem> {
    let text = String::from_utf8(octets.into())
        .map_err(|error| Problem::bad_request(format!("the configuration is not UTF-8 text: {error}")))?;
    // Millions of reservations may be in it: not on a thread that others wait for.
    let judged = tokio::task::spawn_blocking(move || config::parse(&text, "request")).await;
    match judged {
        Ok(Ok(config)) => Ok(Json(ConfigSummary::of(&config))),
        Ok(Err(error)) => Err(Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, error.to_string())),
        Err(_) => Err(Problem::unavailable("the configuration could not be judged")),
    }
}
