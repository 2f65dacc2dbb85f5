//! The endpoints, by resource.

#![allow(unused_qualifications, reason = "what utoipa's macro makes of `params(T)`")]

mod addressed;
pub mod audit;
pub mod by_network;
pub mod capture;
pub mod config;
pub mod events;
pub mod explain;
pub mod export;
pub mod health;
pub mod history;
pub mod leases;
mod listing;
pub mod openapi;
pub mod options;
pub mod reservation_changes;
pub mod reservations;
pub mod sites;
pub mod stats;
pub mod subnets;
pub mod tokens;
pub mod whoami;

use axum::extract::DefaultBodyLimit;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Api;
use crate::config::FILE_OCTETS_MAX;

/// What is said of the API as a whole.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "simple-dhcpd-datacenter",
        description = "Management of a DHCP node. Roles and a tour: docs/api.md. Errors are RFC 9457 problem details."
    ),
    security(("token" = []), ("certificate" = [])),
    modifiers(&Security)
)]
pub struct Description;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let description = "In place of a token: a certificate that `dhcp.api.client_ca` signed, and whose common name is in \
            `dhcp.api.client_certificates`.";
        let description = Some(description.to_owned());
        let certificate = SecurityScheme::MutualTls { description, deprecated: None, extensions: None };
        components.add_security_scheme("certificate", certificate);
    }
}

/// All endpoints.
pub(super) fn all() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::description))
        .routes(routes!(leases::list))
        .routes(routes!(export::export))
        .routes(routes!(leases::get, leases::release))
        .routes(routes!(leases::extend))
        .routes(routes!(history::history))
        .routes(routes!(subnets::list))
        .routes(routes!(options::list))
        .routes(routes!(reservations::list, reservation_changes::make))
        .routes(routes!(reservations::get, reservation_changes::change, reservation_changes::remove))
        .routes(routes!(reservation_changes::from_lease))
        .routes(routes!(stats::stats))
        .routes(routes!(stats::rates))
        .routes(routes!(stats::latency))
        .routes(routes!(whoami::whoami))
        .routes(routes!(capture::capture))
        .routes(routes!(sites::status))
        .routes(routes!(sites::site))
        .routes(routes!(sites::drain))
        .routes(routes!(sites::resume))
        .routes(routes!(sites::sync))
        .routes(routes!(sites::partner_down))
        .routes(routes!(sites::site_down))
        .routes(routes!(sites::add_member))
        .routes(routes!(sites::remove_member))
        .routes(routes!(events::events))
        .routes(routes!(explain::explain))
        .routes(routes!(audit::audit))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .merge(configuration())
}

/// What takes a whole configuration, which may be as long as its file.
fn configuration() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(config::get, config::apply))
        .routes(routes!(config::validate))
        .routes(routes!(config::diff))
        .routes(routes!(config::reload))
        .routes(routes!(config::rollback))
        .layer(DefaultBodyLimit::max(usize::try_from(FILE_OCTETS_MAX).unwrap_or(usize::MAX)))
}
