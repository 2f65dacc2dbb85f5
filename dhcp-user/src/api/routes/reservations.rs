//! Addresses kept for one client each, as they are.

use std::net::Ipv4Addr;

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    addressed::{Addressed, tagged},
    listing::ranges_of,
};
use crate::{
    api::{
        Api,
        access::caller::Caller,
        problem::{Parameters, Problem, within},
        room,
    },
    config::{
        Config, Made,
        made::{LeftOut, MADE_OCTETS_MAX},
        model::{HostIdentity, Reservation},
    },
    server::reload::version,
};

/// The most reservations one answer carries.
const PAGE_MAX: usize = 1_000;

/// Octets that one may take, beside its answer: its text may be as long.
const OCTETS_OF_ONE: usize = 2 * MADE_OCTETS_MAX;

/// Where a reservation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReservationSource)]
pub enum Source {
    /// In the configuration file.
    Configuration,
    /// In the lease store, by the API.
    Api,
}

/// An address kept for one client, named by one of `hw_address`, `client_id` and `circuit_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReservationView {
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// The subnet it is in; null if there is none, and it is not in force.
    #[schema(value_type = Option<String>)]
    pub subnet: Option<Ipv4Net>,
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
    /// Where it is written.
    pub source: Source,
    /// Why it is not in force; absent if it is. One made by the API gives way to what the configuration file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// As it was made by the API, with all its settings; absent for one in the configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub written: Option<Value>,
}

impl ReservationView {
    fn of(subnet: Ipv4Net, reservation: &Reservation) -> Self {
        let mut view = Self {
            address: reservation.address,
            subnet: Some(subnet),
            hw_address: None,
            client_id: None,
            circuit_id: None,
            hostname: reservation.hostname.clone(),
            source: if reservation.made.is_some() { Source::Api } else { Source::Configuration },
            left_out: None,
            written: reservation.made.as_ref().and_then(written),
        };
        match &reservation.identity {
            HostIdentity::Hardware(mac) => {
                view.hw_address = Some(crate::lease::record::HardwareAddress::ethernet(*mac).to_string());
            }
            HostIdentity::ClientId(octets) => view.client_id = Some(hex(octets)),
            HostIdentity::CircuitId(octets) => view.circuit_id = Some(hex(octets)),
        }
        view
    }

    fn of_left_out(left: &LeftOut, caller: &Caller) -> Self {
        let written = written(&left.made);
        let said = |key: &str| written.as_ref()?.get(key)?.as_str().map(str::to_owned);
        Self {
            address: left.made.address(),
            subnet: None,
            hw_address: said("hw_address"),
            client_id: said("client_id"),
            circuit_id: said("circuit_id"),
            hostname: said("hostname"),
            source: Source::Api,
            left_out: Some(left.why_for(|other| caller.may_see(other)).to_owned()),
            written,
        }
    }
}

fn written(made: &Made) -> Option<Value> {
    serde_json::from_str(made.text()).ok()
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

/// One that is there, in force or not.
#[derive(Clone, Copy)]
enum Found<'a> {
    InForce(Ipv4Net, &'a Reservation),
    LeftOut(&'a LeftOut),
}

impl Found<'_> {
    /// By address; of one address, what is in force first.
    fn order(&self) -> (Ipv4Addr, bool) {
        match self {
            Self::InForce(_, reservation) => (reservation.address, false),
            Self::LeftOut(left) => (left.made.address(), true),
        }
    }

    /// As a caller who may see it is to see it.
    fn view(&self, caller: &Caller) -> ReservationView {
        match self {
            Self::InForce(subnet, reservation) => ReservationView::of(*subnet, reservation),
            Self::LeftOut(left) => ReservationView::of_left_out(left, caller),
        }
    }
}

/// All in a range of addresses, in order. Both lists are sorted: what is before the range costs nothing.
fn between(config: &Config, first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = Found<'_>> {
    let in_force = config.reservations_from(first);
    let mut in_force =
        in_force.map(|(subnet, reservation)| Found::InForce(subnet.prefix, reservation)).peekable();
    let mut left_out = config.left_out_from(first).iter().map(Found::LeftOut).peekable();
    let merged = std::iter::from_fn(move || match (in_force.peek(), left_out.peek()) {
        (Some(a), Some(b)) if a.order() > b.order() => left_out.next(),
        (None, _) => left_out.next(),
        _ => in_force.next(),
    });
    merged.take_while(move |found| found.order().0 <= last)
}

/// The addresses a caller may see, as ranges that have nothing in common, in order.
fn seen_by(caller: &Caller) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    if caller.subnets.is_empty() {
        return vec![(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)];
    }
    ranges_of(&caller.subnets).to_vec()
}

/// The reservations, those of the configuration and those made by the API.
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
) -> Result<Response, Problem> {
    let limit = within("limit", page.limit.unwrap_or(PAGE_MAX), 1..=PAGE_MAX)?;
    let held = api.room_for(limit * OCTETS_OF_ONE).await?;
    let config = api.in_force.config();
    let after = |found: &Found<'_>| page.after.is_none_or(|after| found.order().0 > after);
    let ranges =
        seen_by(&caller).into_iter().filter(|(_, last)| page.after.is_none_or(|after| *last > after));
    let mut found = ranges
        .flat_map(|(first, last)| between(&config, page.after.map_or(first, |after| first.max(after)), last))
        .filter(after)
        .peekable();
    let mut answer = ReservationPage { reservations: Vec::new(), next: None };
    let mut last = None;
    // The cursor is an address: of the two that one may have, none is left for the next page.
    while let Some(next) =
        found.next_if(|next| answer.reservations.len() < limit || last == Some(next.order().0))
    {
        last = Some(next.order().0);
        answer.reservations.push(next.view(&caller));
    }
    answer.next = last.filter(|_| found.peek().is_some());
    room::json(&answer, held)
}

/// One reservation. One made by the API has an ETag.
#[utoipa::path(
    get,
    path = "/api/v1/reservations/{address}",
    tag = "reservations",
    params(("address" = String, Path, description = "The address", format = "ipv4")),
    responses((status = 200, body = ReservationView), (status = "default", body = Problem))
)]
pub(super) async fn get(asked: Addressed) -> Result<Response, Problem> {
    shown(StatusCode::OK, &asked.api.in_force.config(), &asked.caller, asked.address)
}

/// The reservation of an address as it is in a configuration, with its ETag.
pub(super) fn shown(
    status: StatusCode,
    config: &Config,
    caller: &Caller,
    address: Ipv4Addr,
) -> Result<Response, Problem> {
    let found = between(config, address, address).next().filter(|_| caller.may_see(address));
    let found = found.ok_or_else(|| Problem::not_found(format!("there is no reservation of {address}")))?;
    let made = match found {
        Found::InForce(_, reservation) => reservation.made.as_ref(),
        Found::LeftOut(left) => Some(&left.made),
    };
    let version = made.map(|made| version(made.text()));
    Ok(tagged(version.as_deref(), (status, Json(found.view(caller)))))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
