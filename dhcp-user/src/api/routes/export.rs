//! All leases in one answer, as it is made: pages are asked for as fast as the reader takes them, as long as the reader has the
//! rights, and never is more than one of them held.

use std::time::Duration;

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::time::sleep;
use utoipa::IntoParams;

use super::leases::OCTETS_OF_ONE;
use crate::{
    api::{
        Api,
        access::{caller::Caller, gate::still_may},
        problem::{Parameters, Problem},
        room::{self, Held},
        routes::listing::{Filters, Format, Listing},
    },
    server::{
        desk::{PAGE_LEASES_MAX, Page, Wanted},
        service::Query,
        view::LeaseView,
    },
};

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// `ndjson` or `csv`.
    #[param(inline)]
    #[expect(dead_code, reason = "for the description; what is asked is read by `Listing`")]
    format: Option<Format>,
}

const CSV_HEADER: &str =
    "address,state,hw_address,client_id,hostname,renewed_at,renewed_by,expires_at,horizon\r\n";

/// How often a page is asked for that the service is too busy for, and how long after.
const TRIES: u32 = 10;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Where an export is.
struct Export {
    api: Api,
    caller: Caller,
    format: Format,
    wanted: Option<Wanted>,
    begun: bool,
}

/// All leases the caller may see, or those of them that fit every filter. If the service stops half-way, or the
/// caller's rights end, the answer ends without its end: `curl` says so.
#[utoipa::path(
    get,
    path = "/api/v1/leases/export",
    tag = "leases",
    params(How, Filters),
    responses(
        (status = 422, body = Problem),
        (status = 200, description = "A stream", content(
            (String = "application/x-ndjson"), (String = "text/csv")
        )),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn export(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Parameters(listing): Parameters<Listing>,
) -> Result<Response, Problem> {
    let (format, filters) = listing.export()?;
    let format = format.unwrap_or_default();
    let wanted = filters.wanted(&api, &caller)?;
    let export = Export { api, caller, format, wanted, begun: false };
    let kind = match format {
        Format::Ndjson => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8; header=present",
    };
    let stream = unfold(export, |export| async move { export.next().await });
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(stream)).into_response())
}

impl Export {
    async fn next(mut self) -> Option<(Result<Bytes, Problem>, Self)> {
        let mut wanted = self.wanted.take()?;
        if !still_may(&self.api, &self.caller) {
            return Some((Err(Problem::forbidden("the rights to this have ended or changed")), self));
        }
        let (held, page) = match self.page(&wanted).await {
            Ok(found) => found,
            Err(problem) => return Some((Err(problem), self)),
        };
        let mut text = String::new();
        if self.format == Format::Csv && !self.begun {
            text.push_str(CSV_HEADER);
        }
        self.begun = true;
        for lease in &page.leases {
            match self.format {
                Format::Csv => csv_line(&mut text, lease),
                Format::Ndjson => match serde_json::to_string(lease) {
                    Ok(line) => {
                        text.push_str(&line);
                        text.push('\n');
                    }
                    Err(error) => return Some((Err(Problem::unavailable(error.to_string())), self)),
                },
            }
        }
        self.wanted = page.next.map(|next| {
            wanted.after = Some(next);
            wanted
        });
        Some((Ok(room::octets_with(text.into_bytes(), held)), self))
    }

    /// A page, and room for it. Whatever the service is busy with may pass: an export is not given up for the first refusal.
    async fn page(&self, wanted: &Wanted) -> Result<(Held, Page), Problem> {
        let mut tries = 1;
        loop {
            let held = self.api.room_for(PAGE_LEASES_MAX * OCTETS_OF_ONE).await?;
            match self.api.service.ask(|to| Query::Page(wanted.clone(), to)).await {
                Ok(page) => return Ok((held, page)),
                Err(problem) if tries == TRIES => return Err(problem),
                Err(_) => tries += 1,
            }
            drop(held);
            sleep(TRY_AGAIN).await;
        }
    }
}

fn csv_line(out: &mut String, lease: &LeaseView) {
    let address = lease.address.to_string();
    let client_id = lease.client_id.as_deref().unwrap_or("");
    let hostname = lease.hostname.as_deref().unwrap_or("");
    let fields = [
        &address,
        &lease.state,
        &lease.hw_address,
        client_id,
        hostname,
        &lease.renewed_at,
        &lease.renewed_by,
        &lease.expires_at,
        &lease.horizon,
    ];
    for (n, field) in fields.into_iter().enumerate() {
        write_field(out, n, field);
    }
    out.push_str("\r\n");
}

/// A field as RFC 4180 has it. A host name is a client's to choose: one that a spreadsheet would take for a formula gets
/// an apostrophe in front.
fn write_field(out: &mut String, n: usize, field: &str) {
    if n > 0 {
        out.push(',');
    }
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula || field.contains([',', '"', '\r', '\n']) {
        out.push_str(if formula { "\"'" } else { "\"" });
        out.push_str(&field.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cannot_break_out_of_their_line_or_be_formulas() {
        for (field, written) in [
            ("web1", "web1"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("@x", "\"'@x\""),
        ] {
            let mut out = String::new();
            write_field(&mut out, 0, field);
            assert_eq!(out, written);
        }
    }
}
