//! Bearer tokens: made, listed and revoked.

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        Api,
        access::{
            gate::Note,
            tokens::{TokenError, TokenRecord},
        },
        problem::{Body, Problem, Segment, within},
    },
    config::model::ApiRole,
    server::clock,
    time::Timestamp,
};

/// How long a token is good for if nothing else is said: 90 days.
const LASTS_DEFAULT_SECS: u64 = 90 * 86_400;
/// The longest a token may be good for: ten years.
const LASTS_MAX_SECS: u64 = 3_650 * 86_400;
const NAME_MAX: usize = 64;
const SUBNETS_MAX: usize = 256;

/// The token to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for, 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// What its holder may do.
    pub role: ApiRole,
    /// The only subnets its holder may see and change; all if left out.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub subnets: Vec<Ipv4Net>,
    /// How long it is good for, seconds; 90 days if left out, ten years at most.
    #[schema(minimum = 1, maximum = 315360000)]
    pub lasts_secs: Option<u64>,
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its identifier, no secret.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What its holder may do.
    pub role: ApiRole,
    /// The only subnets its holder may see and change; empty for all.
    #[schema(value_type = Vec<String>)]
    pub subnets: Vec<Ipv4Net>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it ends, RFC 3339.
    pub expires_at: String,
    /// Whether it has ended.
    pub expired: bool,
    /// The token itself, only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

fn now_secs() -> u64 {
    Timestamp(clock::wall_ns()).as_secs()
}

fn shown(record: TokenRecord, token: Option<String>) -> TokenView {
    let at = |secs| (Timestamp::ZERO + crate::time::Span::from_secs(secs)).to_string();
    TokenView {
        created_at: at(record.created_secs),
        expires_at: at(record.expires_secs),
        expired: record.expires_secs <= now_secs(),
        id: record.id,
        name: record.name,
        role: record.role,
        subnets: record.subnets,
        token,
    }
}

/// All tokens, without their secrets.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    tag = "tokens",
    responses((status = 200, body = [TokenView]), (status = "default", body = Problem))
)]
pub(super) async fn list(State(api): State<Api>) -> Json<Vec<TokenView>> {
    Json(api.tokens.list().into_iter().map(|record| shown(record, None)).collect())
}

/// Makes a token. The answer holds it, this once.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "tokens",
    request_body = NewToken,
    responses((status = 201, body = TokenView), (status = "default", body = Problem))
)]
pub(super) async fn create(State(api): State<Api>, Body(new): Body<NewToken>) -> Result<Response, Problem> {
    let plain = |name: &str| !name.is_empty() && name.chars().count() <= NAME_MAX;
    if !plain(&new.name) || new.name.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!("a name has 1 to {NAME_MAX} printable characters")));
    }
    if new.subnets.len() > SUBNETS_MAX {
        return Err(Problem::bad_request(format!("{SUBNETS_MAX} subnets are the most")));
    }
    let lasts_secs = within("lasts_secs", new.lasts_secs.unwrap_or(LASTS_DEFAULT_SECS), 1..=LASTS_MAX_SECS)?;
    let made = tokio::task::spawn_blocking(move || {
        api.tokens.create(new.name, new.role, new.subnets, now_secs(), lasts_secs)
    });
    let (record, token) = made.await.map_err(|_| unwritten())?.map_err(|error| refused(&error))?;
    let note = Note(format!("token {} ({}), {}", record.id, record.name, record.role.as_str()));
    Ok((StatusCode::CREATED, Extension(note), Json(shown(record, Some(token)))).into_response())
}

/// Revokes a token: it is worth nothing from now on.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{id}",
    tag = "tokens",
    params(("id" = String, Path, description = "Its identifier")),
    responses((status = 204, description = "It is revoked"), (status = "default", body = Problem))
)]
pub(super) async fn revoke(
    State(api): State<Api>,
    Segment(id): Segment<String>,
) -> Result<StatusCode, Problem> {
    let revoked = tokio::task::spawn_blocking(move || api.tokens.revoke(&id));
    revoked.await.map_err(|_| unwritten())?.map_err(|error| refused(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

fn unwritten() -> Problem {
    Problem::unavailable("the tokens could not be written")
}

fn refused(error: &TokenError) -> Problem {
    let status = match error {
        TokenError::Unknown(_) => StatusCode::NOT_FOUND,
        TokenError::TooMany => StatusCode::CONFLICT,
        TokenError::Io { .. } | TokenError::Damaged { .. } | TokenError::Random(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Problem::new(status, error.to_string())
}
