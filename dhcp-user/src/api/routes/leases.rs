//! Leases: found, looked at, released and extended.

use std::net::Ipv4Addr;

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::addressed::{Addressed, tagged};
use crate::{
    api::{
        Api,
        access::{caller::Caller, gate::Note},
        problem::{Parameters, Problem, within},
        room,
        routes::listing::{Cursor, Filters, Listing},
    },
    server::{
        desk::{Act, ActError, Change, PAGE_LEASES_MAX, PAGE_SCAN_MAX},
        service::Query,
        view::LeaseView,
    },
};

/// The most leases one answer carries.
pub const LEASES_MAX: usize = 10_000;
/// The leases looked at for one answer: where few pass the filters, a page may be short of its limit, or empty, and have
/// a `next` all the same.
const SCAN_MAX: usize = 32 * PAGE_SCAN_MAX;

/// Octets that one lease takes, as it is found and in the answer.
pub(super) const OCTETS_OF_ONE: usize = 1_024;

/// A page of leases, by address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeasePage {
    /// The leases; fewer than asked for if many were looked at to find them.
    pub leases: Vec<LeaseView>,
    /// Ask again with this as `after`; null at the end.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub next: Option<Ipv4Addr>,
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
) -> Result<Response, Problem> {
    let (cursor, filters) = listing.page()?;
    let limit = within("limit", cursor.limit.unwrap_or(100), 1..=LEASES_MAX)?;
    let mut answer = LeasePage { leases: Vec::new(), next: None };
    let Some(mut wanted) = filters.wanted(&api, &caller)? else { return Ok(Json(answer).into_response()) };
    let held = api.room_for(limit * OCTETS_OF_ONE).await?;
    wanted.after = cursor.after;
    let mut scanned = 0;
    loop {
        wanted.limit = (limit - answer.leases.len()).min(PAGE_LEASES_MAX);
        let page = api.service.ask(|to| Query::Page(wanted.clone(), to)).await?;
        scanned += page.scanned;
        answer.leases.extend(page.leases);
        answer.next = page.next;
        if page.next.is_none() || answer.leases.len() >= limit || scanned >= SCAN_MAX {
            return room::json(&answer, held);
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
    let (address, expected) = (asked.address, asked.expected());
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
