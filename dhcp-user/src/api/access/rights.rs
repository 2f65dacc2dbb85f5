//! The table of rights: what each endpoint asks of its caller. An endpoint that is not in it is closed to everybody.

use axum::http::Method;

use crate::config::model::ApiRole;

/// What an endpoint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it is open to all.
    Nothing,
    /// A role, and rights to all subnets, for the answer is about the whole node.
    Whole(ApiRole),
    /// A role; what the caller has no rights to is left out or not found.
    Part(ApiRole),
}

impl Need {
    /// The role asked for.
    pub const fn role(self) -> Option<ApiRole> {
        match self {
            Self::Nothing => None,
            Self::Whole(role) | Self::Part(role) => Some(role),
        }
    }
}

/// Method, path and need of every endpoint.
pub const RIGHTS: &[(&str, &str, Need)] = &[
    ("GET", "/healthz", Need::Nothing),
    ("GET", "/readyz", Need::Nothing),
    ("GET", "/metrics", Need::Whole(ApiRole::Viewer)),
    ("GET", "/api/v1/openapi.json", Need::Nothing),
    ("GET", "/api/v1/leases", Need::Part(ApiRole::Viewer)),
    ("GET", "/api/v1/leases/export", Need::Part(ApiRole::Viewer)),
    ("GET", "/api/v1/leases/{address}", Need::Part(ApiRole::Viewer)),
    ("DELETE", "/api/v1/leases/{address}", Need::Part(ApiRole::Operator)),
    ("POST", "/api/v1/leases/{address}/extend", Need::Part(ApiRole::Operator)),
    ("GET", "/api/v1/leases/{address}/history", Need::Part(ApiRole::Viewer)),
    ("GET", "/api/v1/subnets", Need::Part(ApiRole::Viewer)),
    ("GET", "/api/v1/options", Need::Part(ApiRole::Viewer)),
    ("POST", "/api/v1/leases/{address}/reserve", Need::Part(ApiRole::Operator)),
    ("GET", "/api/v1/reservations", Need::Part(ApiRole::Viewer)),
    ("POST", "/api/v1/reservations", Need::Part(ApiRole::Operator)),
    ("GET", "/api/v1/reservations/{address}", Need::Part(ApiRole::Viewer)),
    ("PUT", "/api/v1/reservations/{address}", Need::Part(ApiRole::Operator)),
    ("DELETE", "/api/v1/reservations/{address}", Need::Part(ApiRole::Operator)),
    ("GET", "/api/v1/stats", Need::Whole(ApiRole::Viewer)),
    ("GET", "/api/v1/stats/rates", Need::Whole(ApiRole::Viewer)),
    ("GET", "/api/v1/stats/latency", Need::Whole(ApiRole::Viewer)),
    ("POST", "/api/v1/capture", Need::Whole(ApiRole::Admin)),
    ("GET", "/api/v1/whoami", Need::Part(ApiRole::Viewer)),
    ("GET", "/api/v1/sites/status", Need::Whole(ApiRole::Viewer)),
    ("GET", "/api/v1/sites/{name}", Need::Whole(ApiRole::Viewer)),
    ("POST", "/api/v1/sites/{name}/drain", Need::Whole(ApiRole::Admin)),
    ("POST", "/api/v1/sites/{name}/resume", Need::Whole(ApiRole::Admin)),
    ("POST", "/api/v1/sites/{name}/partner-down", Need::Whole(ApiRole::Admin)),
    ("GET", "/api/v1/sync", Need::Whole(ApiRole::Viewer)),
    ("POST", "/api/v1/sync/partner-down", Need::Whole(ApiRole::Admin)),
    ("POST", "/api/v1/sync/members", Need::Whole(ApiRole::Admin)),
    ("DELETE", "/api/v1/sync/members/{node}", Need::Whole(ApiRole::Admin)),
    ("GET", "/api/v1/events", Need::Part(ApiRole::Viewer)),
    ("GET", "/api/v1/explain", Need::Whole(ApiRole::Viewer)),
    ("GET", "/api/v1/config", Need::Whole(ApiRole::Operator)),
    ("PUT", "/api/v1/config", Need::Whole(ApiRole::Admin)),
    ("POST", "/api/v1/config/validate", Need::Whole(ApiRole::Operator)),
    ("POST", "/api/v1/config/diff", Need::Whole(ApiRole::Operator)),
    ("POST", "/api/v1/config/reload", Need::Whole(ApiRole::Admin)),
    ("POST", "/api/v1/config/rollback", Need::Whole(ApiRole::Admin)),
    ("GET", "/api/v1/audit", Need::Whole(ApiRole::Admin)),
    ("GET", "/api/v1/tokens", Need::Whole(ApiRole::Admin)),
    ("POST", "/api/v1/tokens", Need::Whole(ApiRole::Admin)),
    ("DELETE", "/api/v1/tokens/{id}", Need::Whole(ApiRole::Admin)),
];

/// Whether nothing changes there, though it is asked with a body: it is not for the record of changes.
pub fn only_asks(path: &str) -> bool {
    matches!(path, "/api/v1/config/validate" | "/api/v1/config/diff")
}

/// The methods of a path, as the header `Allow` names them.
pub fn methods(path: &str) -> String {
    let of_path = RIGHTS.iter().filter(|(_, known, _)| *known == path);
    of_path
        .map(|(method, ..)| if *method == "GET" { "GET, HEAD" } else { method })
        .collect::<Vec<_>>()
        .join(", ")
}

/// What an endpoint asks for; `None` if it is not in the table.
pub fn need(method: &Method, path: &str) -> Option<Need> {
    // A HEAD is a GET without the body.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    RIGHTS.iter().find(|(m, p, _)| *m == method && *p == path).map(|(_, _, need)| *need)
}
