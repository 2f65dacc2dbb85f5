//! Who the caller is to this API: what an interface for people hides or shows by.

use axum::{Extension, Json};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{access::caller::Caller, problem::Problem};

/// The caller and what they may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// As in the record of changes.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// The only subnets they may see and change; empty for all.
    #[schema(value_type = Vec<String>)]
    pub subnets: Vec<Ipv4Net>,
}

/// Who the caller is and what they may do.
#[utoipa::path(
    get,
    path = "/api/v1/whoami",
    tag = "access",
    responses((status = 200, body = WhoAmI), (status = "default", body = Problem))
)]
pub(super) async fn whoami(Extension(caller): Extension<Caller>) -> Json<WhoAmI> {
    let Caller { name, role, subnets, proof: _ } = caller;
    let role = role.map_or("", |role| role.as_str()).to_owned();
    Json(WhoAmI { name, role, subnets })
}
