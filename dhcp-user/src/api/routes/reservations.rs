//! Addresses kept for one client each.

use std::net::Ipv4Addr;

use axum::{Extension, Json, extract::State};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        Api,
        access::caller::Caller,
        problem::{Parameters, Problem},
    },
    config::model::HostIdentity,
};

/// The most reservations one answer carries.
const PAGE_MAX: usize = 1_000;

/// An address kept for one client, named by one of `hw_address`, `client_id` and `circuit_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReservationView {
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// The subnet it is in.
    #[schema(value_type = String)]
    pub subnet: Ipv4Net,
    /// The client's Ethernet address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hw_address: Option<String>,
    /// The client's option 61 in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Option 82, sub-option 1, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_id: Option<String>,
    /// The client's host name.
    pub hostname: Option<String>,
}

/// A page of reservations, by address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReservationPage {
    /// The reservations.
    pub reservations: Vec<ReservationView>,
    /// Ask again with this as `after`; null at the end.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub next: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The cursor: addresses after this one.
    #[param(value_type = Option<String>, format = "ipv4")]
    after: Option<Ipv4Addr>,
    /// The most to give, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The reservations of the configuration.
#[utoipa::path(
    get,
    path = "/api/v1/reservations",
    tag = "reservations",
    params(Page),
    responses((status = 200, body = ReservationPage), (status = "default", body = Problem))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<ReservationPage>, Problem> {
    let limit = page.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit may be 1 to {PAGE_MAX}")));
    }
    let config = api.in_force.config();
    let mut found: Vec<_> = config
        .subnets
        .iter()
        .flat_map(|subnet| subnet.reservations.iter().map(move |reservation| (subnet.prefix, reservation)))
        .filter(|(_, reservation)| page.after.is_none_or(|after| reservation.address > after))
        .filter(|(_, reservation)| caller.may_see(reservation.address))
        .collect();
    found.sort_unstable_by_key(|(_, reservation)| reservation.address);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(|(_, reservation)| reservation.address).filter(|_| more);
    let reservations = found.into_iter().map(|(subnet, reservation)| {
        let mut view = ReservationView {
            address: reservation.address,
            subnet,
            hw_address: None,
            client_id: None,
            circuit_id: None,
            hostname: reservation.hostname.clone(),
        };
        match &reservation.identity {
            HostIdentity::Hardware(mac) => {
                view.hw_address = Some(crate::lease::record::HardwareAddress::ethernet(*mac).to_string());
            }
            HostIdentity::ClientId(octets) => view.client_id = Some(hex(octets)),
            HostIdentity::CircuitId(octets) => view.circuit_id = Some(hex(octets)),
        }
        view
    });
    Ok(Json(ReservationPage { reservations: reservations.collect(), next }))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
