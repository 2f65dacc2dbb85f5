//! Reservations made, changed and removed while the daemon runs: durable and in force when the answer comes, without a
//! reload. What is in the configuration file is changed there.

use axum::{
    Extension,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    addressed::Addressed,
    config::reloader,
    leases::{lease, unknown},
    reservations::{ReservationView, shown},
};
use crate::{
    api::{
        Api,
        access::{caller::Caller, gate::Note},
        problem::{Parameters, Problem, Text},
    },
    config::Made,
    server::{
        reload::reserve::{Edit, Refusal, Wish},
        reserve::ReserveError,
    },
};

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Force {
    /// Reserve the address even if another client holds it now: that one is refused when it next renews.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    even_if_held: bool,
}

/// How a lease's client is to be named in its reservation, and by what name it is known.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FromLease {
    /// Default: the hardware address if it is Ethernet's, which holds for every system the machine starts.
    #[serde(default)]
    identify_by: Option<IdentifyBy>,
    /// The client's host name, sent in option 12 and shown in listings.
    #[serde(default)]
    hostname: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum IdentifyBy {
    HwAddress,
    ClientId,
}

/// Keeps an address for one client, in force at once: the body is an entry of `reservations` as in the configuration file.
#[utoipa::path(
    post,
    path = "/api/v1/reservations",
    tag = "reservations",
    params(Force),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 201, body = ReservationView, headers(("Location" = String, description = "Where it is from now on"))),
        (status = 409, body = Problem),
        (status = 422, body = Problem),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn make(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Parameters(force): Parameters<Force>,
    Text(text): Text,
) -> Result<Response, Problem> {
    make_of(api, caller, force, parsed(&text)?).await
}

/// Keeps the address of a lease for the client that has it.
#[utoipa::path(
    post,
    path = "/api/v1/leases/{address}/reserve",
    tag = "reservations",
    params(
        ("address" = String, Path, description = "The address", format = "ipv4"),
        ("if-match" = Option<String>, Header, description = "Only if the lease still has this ETag")
    ),
    request_body(content = Option<FromLease>, content_type = "application/json"),
    responses(
        (status = 201, body = ReservationView, headers(("Location" = String, description = "Where it is from now on"))),
        (status = 409, body = Problem),
        (status = 412, body = Problem),
        (status = 422, body = Problem),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn from_lease(asked: Addressed, Text(text): Text) -> Result<Response, Problem> {
    asked.seen_or(unknown)?;
    let wanted: FromLease = match text.trim() {
        "" | "null" => FromLease::default(),
        text => serde_json::from_str(text)
            .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?,
    };
    let lease = lease(&asked).await?;
    let address = asked.address;
    if asked.expected().is_some_and(|expected| !expected.contains(&lease.version)) {
        let detail = format!("{address}: the lease has changed since it was looked at: look again");
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
    }
    let ethernet = lease.hw_address.split(':').count() == 6;
    let (key, value) = match (wanted.identify_by, lease.client_id) {
        (Some(IdentifyBy::HwAddress), _) => ("hw_address", lease.hw_address),
        (None, _) if ethernet => ("hw_address", lease.hw_address),
        (_, Some(id)) => ("client_id", format!("hex:{id}")),
        (_, None) => {
            let detail = format!("{address}: its client sends no client identifier");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
    };
    let entries = [("address", address.to_string()), (key, value)].into_iter();
    let entries = entries.chain(wanted.hostname.map(|hostname| ("hostname", hostname)));
    let entry: Map<String, Value> =
        entries.map(|(key, value)| (key.to_owned(), Value::String(value))).collect();
    // Of the client that has it: if it is another's by now, that is refused.
    make_of(asked.api, asked.caller, Force::default(), parsed(&Value::Object(entry).to_string())?).await
}

/// Puts another reservation in the place of an address's, at once; the body as for POST.
#[utoipa::path(
    put,
    path = "/api/v1/reservations/{address}",
    tag = "reservations",
    params(
        ("address" = String, Path, description = "The address", format = "ipv4"),
        ("if-match" = Option<String>, Header, description = "Only if the reservation still has this ETag"),
        Force
    ),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, body = ReservationView),
        (status = 409, body = Problem),
        (status = 412, body = Problem),
        (status = 422, body = Problem),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn change(
    asked: Addressed,
    Parameters(force): Parameters<Force>,
    Text(text): Text,
) -> Result<Response, Problem> {
    let made = parsed(&text)?;
    let address = asked.address;
    if made.address() != address {
        let detail = format!(
            "the body is about {}, the path about {address}: a reservation is moved by making another and removing this",
            made.address()
        );
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let wish = Wish {
        edit: Edit::Change(made.clone()),
        expected: asked.expected(),
        even_if_held: force.even_if_held,
        within: asked.caller.subnets.clone(),
    };
    carry_out(&asked, wish, StatusCode::OK, made.text().to_owned()).await
}

/// Removes a reservation, at once. Its client keeps the address for as long as it is promised, and if it is in a pool, for
/// as long as it renews.
#[utoipa::path(
    delete,
    path = "/api/v1/reservations/{address}",
    tag = "reservations",
    params(
        ("address" = String, Path, description = "The address", format = "ipv4"),
        ("if-match" = Option<String>, Header, description = "Only if the reservation still has this ETag")
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, body = Problem),
        (status = 412, body = Problem),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn remove(asked: Addressed) -> Result<Response, Problem> {
    let wish = Wish {
        edit: Edit::Remove(asked.address),
        expected: asked.expected(),
        even_if_held: false,
        within: asked.caller.subnets.clone(),
    };
    let note = format!("{} is reserved no more", asked.address);
    carry_out(&asked, wish, StatusCode::NO_CONTENT, note).await
}

fn parsed(text: &str) -> Result<Made, Problem> {
    Made::parse(text).map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

async fn make_of(api: Api, caller: Caller, force: Force, made: Made) -> Result<Response, Problem> {
    let wish = Wish {
        edit: Edit::Make(made.clone()),
        expected: None,
        even_if_held: force.even_if_held,
        within: caller.subnets.clone(),
    };
    let asked = Addressed::unconditional(api, caller, made.address());
    let mut response = carry_out(&asked, wish, StatusCode::CREATED, made.text().to_owned()).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/reservations/{}", asked.address)).ok();
    response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
    Ok(response)
}

async fn carry_out(
    asked: &Addressed,
    wish: Wish,
    status: StatusCode,
    note: String,
) -> Result<Response, Problem> {
    asked.seen_or(|address| match wish.edit {
        Edit::Make(_) => Problem::forbidden(format!("{address} is in no subnet of yours")),
        Edit::Change(_) | Edit::Remove(_) => refusal(&Refusal::Unknown(address)),
    })?;
    let reloader = reloader(&asked.api)?;
    let config = reloader.reserve(wish).await.map_err(|error| refusal(&error))?;
    let response = match status {
        StatusCode::NO_CONTENT => status.into_response(),
        _ => shown(status, &config, &asked.caller, asked.address)?,
    };
    Ok((Extension(Note(note)), response).into_response())
}

fn refusal(error: &Refusal) -> Problem {
    let status = match error {
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
        Refusal::Changed(_) => StatusCode::PRECONDITION_FAILED,
        Refusal::DoesNotFit(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Exists(_)
        | Refusal::InFile(_)
        | Refusal::Conflict(_)
        | Refusal::TooMany
        | Refusal::Refused(ReserveError::Held { .. }) => StatusCode::CONFLICT,
        Refusal::Refused(ReserveError::Elsewhere) => StatusCode::FORBIDDEN,
        Refusal::Refused(ReserveError::NotDurable(_)) => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::Refused(ReserveError::Failed(_))
        | Refusal::NotDecided(_)
        | Refusal::Undecided(_)
        | Refusal::NotHereYet(_)
        | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, error.to_string())
}
