//! Leases: found, looked at, released and extended.

use std::net::Ipv4Addr;

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::addressed::{Addressed, tagged};
use crate::{
    api::{
        Api,
        access::{caller::Caller, gate::Note},
        of_site,
        problem::{Parameters, Problem, within},
        routes::export::Format,
    },
    lease::record::LeaseState,
    server::{
        desk::{Act, ActError, Change, PAGE_LEASES_MAX, PAGE_SCAN_MAX, Wanted},
        service::Query,
        view::LeaseView,
    },
};

/// The most leases one answer carries.
pub const LEASES_MAX: usize = 10_000;
/// The leases looked at for one answer: where few pass the filters, a page may be short of its limit, or empty, and have
/// a `next` all the same.
const SCAN_MAX: usize = 32 * PAGE_SCAN_MAX;

/// A page of leases, by address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeasePage {
    /// The leases; fewer than asked for if many were looked at to find them.
    pub leases: Vec<LeaseView>,
    /// Ask again with this as `after`; null at the end.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub next: Option<Ipv4Addr>,
}

/// Which state is wanted.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StateName {
    /// Promised to a client.
    Bound,
    /// Free, remembered for its last client.
    Free,
    /// Declined.
    Quarantined,
}

/// Who granted last.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Granter {
    /// The kernel program.
    Kernel,
    /// The daemon.
    Daemon,
}

/// Which leases are wanted; several filters must all fit.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filters {
    /// Of this address.
    #[param(value_type = Option<String>, format = "ipv4")]
    address: Option<Ipv4Addr>,
    /// Not before this address.
    #[param(value_type = Option<String>, format = "ipv4")]
    first: Option<Ipv4Addr>,
    /// Not after this address.
    #[param(value_type = Option<String>, format = "ipv4")]
    last: Option<Ipv4Addr>,
    /// Inside this prefix.
    #[param(value_type = Option<String>, pattern = r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$")]
    subnet: Option<Ipv4Net>,
    /// Of this hardware address, as listings show it.
    hw_address: Option<String>,
    /// With this option 61, hexadecimal.
    #[param(pattern = "^([0-9A-Fa-f]{2})*$", max_length = 510)]
    client_id: Option<String>,
    /// With this in the host name; upper and lower case are the same.
    #[param(max_length = 255)]
    hostname: Option<String>,
    /// In this state.
    #[param(inline)]
    state: Option<StateName>,
    /// Last granted by the kernel or by the daemon.
    #[param(inline)]
    renewed_by: Option<Granter>,
    /// In a block of addresses that a node of this site holds at present; addresses outside of all pools are in none.
    site: Option<String>,
}

impl Filters {
    /// What of it a caller may see; `None` if nothing can fit.
    pub(super) fn wanted(&self, api: &Api, caller: &Caller) -> Result<Option<Wanted>, Problem> {
        let client_id = match &self.client_id {
            None => None,
            Some(text) => {
                let octets = crate::config::hex(text).filter(|octets| octets.len() <= 255);
                Some(octets.ok_or_else(|| Problem::bad_request("client_id is not hexadecimal octets"))?)
            }
        };
        if self.hostname.as_ref().is_some_and(|name| name.len() > 255) {
            return Err(Problem::bad_request("no host name is longer than 255 octets"));
        }
        let within: Vec<Ipv4Net> = match (self.subnet, caller.subnets.is_empty()) {
            (None, _) => caller.subnets.clone(),
            (Some(subnet), true) => vec![subnet],
            // The smaller of two prefixes that overlap lies inside the other.
            (Some(subnet), false) => caller
                .subnets
                .iter()
                .filter_map(|own| match (own.contains(&subnet), subnet.contains(own)) {
                    (true, _) => Some(subnet),
                    (_, true) => Some(*own),
                    _ => None,
                })
                .collect(),
        };
        let ranges = self.site.as_deref().map(|site| of_site::ranges(api, site)).transpose()?;
        if within.is_empty() && !(self.subnet.is_none() && caller.subnets.is_empty()) {
            return Ok(None);
        }
        if ranges.as_ref().is_some_and(|ranges| ranges.is_empty()) {
            return Ok(None);
        }
        Ok(Some(Wanted {
            after: None,
            first: self.address.max(self.first),
            last: [self.address, self.last].into_iter().flatten().min(),
            within,
            ranges,
            hw_address: self.hw_address.as_ref().map(|text| text.to_lowercase().replace('-', ":")),
            client_id,
            hostname: self.hostname.as_ref().map(|text| text.to_lowercase()),
            state: self.state.map(|state| match state {
                StateName::Bound => LeaseState::Bound,
                StateName::Free => LeaseState::Free,
                StateName::Quarantined => LeaseState::Quarantined,
            }),
            by_kernel: self.renewed_by.map(|by| matches!(by, Granter::Kernel)),
            limit: PAGE_LEASES_MAX,
        }))
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Cursor {
    /// The cursor: addresses after this one, as `next` of the page before.
    #[param(value_type = Option<String>, format = "ipv4")]
    after: Option<Ipv4Addr>,
    /// The most to give, 1 to 10000; 100 if left out.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
}

/// All that the query of a listing may hold. One struct, for serde's `flatten` knows no numbers in a query.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    after: Option<Ipv4Addr>,
    limit: Option<usize>,
    address: Option<Ipv4Addr>,
    first: Option<Ipv4Addr>,
    last: Option<Ipv4Addr>,
    subnet: Option<Ipv4Net>,
    hw_address: Option<String>,
    client_id: Option<String>,
    hostname: Option<String>,
    state: Option<StateName>,
    renewed_by: Option<Granter>,
    site: Option<String>,
    format: Option<Format>,
}

impl Listing {
    /// What an export is to be like.
    pub(super) fn export(self) -> Result<(Option<Format>, Filters), Problem> {
        if self.after.is_some() || self.limit.is_some() {
            return Err(Problem::bad_request("an export has no `after` and no `limit`: it is all that fits"));
        }
        let format = self.format;
        Ok((format, self.parts().1))
    }

    fn parts(self) -> (Cursor, Filters) {
        let Self {
            after,
            limit,
            address,
            first,
            last,
            subnet,
            hw_address,
            client_id,
            hostname,
            state,
            renewed_by,
            site,
            format: _,
        } = self;
        let filters = Filters {
            address,
            first,
            last,
            subnet,
            hw_address,
            client_id,
            hostname,
            state,
            renewed_by,
            site,
        };
        (Cursor { after, limit }, filters)
    }
}

/// Leases, by address, a page at a time. The cursor is an address: leases that come and go meanwhile make no other lease
/// appear twice or be left out.
#[utoipa::path(
    get,
    path = "/api/v1/leases",
    tag = "leases",
    params(Cursor, Filters),
    responses((status = 200, body = LeasePage), (status = 422, body = Problem), (status = "default", body = Problem))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Parameters(listing): Parameters<Listing>,
) -> Result<Json<LeasePage>, Problem> {
    if listing.format.is_some() {
        return Err(Problem::bad_request("`format` is for /api/v1/leases/export"));
    }
    let (cursor, filters) = listing.parts();
    let limit = within("limit", cursor.limit.unwrap_or(100), 1..=LEASES_MAX)?;
    let mut answer = LeasePage { leases: Vec::new(), next: None };
    let Some(mut wanted) = filters.wanted(&api, &caller)? else { return Ok(Json(answer)) };
    wanted.after = cursor.after;
    let mut scanned = 0;
    loop {
        wanted.limit = (limit - answer.leases.len()).min(PAGE_LEASES_MAX);
        let page = api.service.ask(|to| Query::Page(wanted.clone(), to)).await?;
        scanned += page.scanned;
        answer.leases.extend(page.leases);
        answer.next = page.next;
        if page.next.is_none() || answer.leases.len() >= limit || scanned >= SCAN_MAX {
            return Ok(Json(answer));
        }
        wanted.after = page.next;
    }
}

/// One lease.
#[utoipa::path(
    get,
    path = "/api/v1/leases/{address}",
    tag = "leases",
    params(("address" = String, Path, description = "The address", format = "ipv4")),
    responses((status = 200, body = LeaseView), (status = "default", body = Problem))
)]
pub(super) async fn get(asked: Addressed) -> Result<Response, Problem> {
    asked.seen_or(unknown)?;
    Ok(shown(StatusCode::OK, lease(&asked).await?))
}

/// The lease that is asked about.
pub(super) async fn lease(asked: &Addressed) -> Result<LeaseView, Problem> {
    let lease = asked.api.service.ask(|to| Query::Lease(asked.address, to)).await?;
    lease.ok_or_else(|| unknown(asked.address))
}

/// Takes an address from its client, by the way a RELEASE goes: it is withdrawn from the kernel, and free once no program
/// can be using it. The client is not told; it is refused when it renews, and until then may go on using the address.
#[utoipa::path(
    delete,
    path = "/api/v1/leases/{address}",
    tag = "leases",
    params(
        ("address" = String, Path, description = "The address", format = "ipv4"),
        ("if-match" = Option<String>, Header, description = "Only if the lease still has this ETag")
    ),
    responses((status = 202, body = LeaseView), (status = "default", body = Problem))
)]
pub(super) async fn release(asked: Addressed) -> Result<Response, Problem> {
    let lease = change(&asked, Act::Release).await?;
    let note = Note(format!("release of {}", lease.hw_address));
    Ok((Extension(note), shown(StatusCode::ACCEPTED, lease)).into_response())
}

/// Grants a lease its lease time from now, as if its client had renewed it. The client is not told.
#[utoipa::path(
    post,
    path = "/api/v1/leases/{address}/extend",
    tag = "leases",
    params(
        ("address" = String, Path, description = "The address", format = "ipv4"),
        ("if-match" = Option<String>, Header, description = "Only if the lease still has this ETag")
    ),
    responses((status = 200, body = LeaseView), (status = "default", body = Problem))
)]
pub(super) async fn extend(asked: Addressed) -> Result<Response, Problem> {
    let lease = change(&asked, Act::Extend).await?;
    let note = Note(format!("extend of {}", lease.hw_address));
    Ok((Extension(note), shown(StatusCode::OK, lease)).into_response())
}

/// Carries out what is asked of a lease; the lease as it is then.
async fn change(asked: &Addressed, act: Act) -> Result<LeaseView, Problem> {
    asked.seen_or(unknown)?;
    let (address, expected) = (asked.address, asked.expected()?);
    let changed = asked.api.service.ask(|to| Query::Change(Change { address, act, expected, to })).await?;
    changed.map_err(|error| {
        let status = match error {
            ActError::NoLease => StatusCode::NOT_FOUND,
            ActError::Changed => StatusCode::PRECONDITION_FAILED,
            ActError::NotBound => StatusCode::CONFLICT,
            ActError::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        };
        Problem::new(status, format!("{address}: {error}"))
    })
}

fn shown(status: StatusCode, lease: LeaseView) -> Response {
    let version = lease.version.clone();
    tagged(Some(&version), (status, Json(lease)))
}

pub(super) fn unknown(address: Ipv4Addr) -> Problem {
    Problem::not_found(format!("there is no lease of {address}"))
}
