//! Why a client gets the answer it gets: a question that changes nothing.

use std::net::Ipv4Addr;

use axum::{
    Json,
    extract::{Query as UrlQuery, State, rejection::QueryRejection},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::{Api, problem::Problem},
    server::{
        explain::{Explanation, FRAME_MAX, Subject},
        service::Query,
    },
};

/// What to explain: one of `frame`, `hw_address` and `address`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct About {
    /// An Ethernet frame in hexadecimal, at most 4096 octets; colons and white space do not matter.
    frame: Option<String>,
    /// The interface the frame comes in by; without, the one it is addressed to.
    interface: Option<String>,
    /// A client's Ethernet address: what it gets when it comes for the first time.
    hw_address: Option<String>,
    /// An address: whose it is, and who answers the next renewal.
    #[param(value_type = Option<String>)]
    address: Option<Ipv4Addr>,
}

/// Why a client gets the answer it gets, and who gives it. Nothing is counted, offered or granted.
#[utoipa::path(
    get,
    path = "/api/v1/explain",
    tag = "statistics",
    params(About),
    responses((status = 200, body = Explanation), (status = "default", body = Problem))
)]
pub(super) async fn explain(
    State(api): State<Api>,
    about: Result<UrlQuery<About>, QueryRejection>,
) -> Result<Json<Explanation>, Problem> {
    let UrlQuery(about) = about.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let subject = about.subject()?;
    api.service.ask(|to| Query::Explain(subject, to)).await.map(Json)
}

impl About {
    fn subject(self) -> Result<Subject, Problem> {
        match (self.frame, self.hw_address, self.address) {
            (Some(frame), None, None) => {
                let octets = octets(&frame)
                    .filter(|octets| (14..=FRAME_MAX).contains(&octets.len()))
                    .ok_or_else(|| Problem::bad_request("frame is 14 to 4096 octets in hexadecimal"))?;
                Ok(Subject::Frame { interface: self.interface, octets })
            }
            (None, Some(mac), None) => octets(&mac)
                .and_then(|octets| octets.try_into().ok())
                .map(Subject::Client)
                .ok_or_else(|| Problem::bad_request("hw_address is six octets, such as 02:00:00:00:00:01")),
            (None, None, Some(address)) => Ok(Subject::Address(address)),
            _ => Err(Problem::bad_request("name one of frame, hw_address and address")),
        }
    }
}

/// Octets in hexadecimal, with or without colons, dashes and white space between them.
fn octets(text: &str) -> Option<Vec<u8>> {
    let mut digits = text.bytes().filter(|c| !matches!(c, b':' | b'-') && !c.is_ascii_whitespace());
    let mut octets = Vec::with_capacity(text.len() / 2);
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    while let Some(high) = digits.next() {
        octets.push(value(high)? << 4 | value(digits.next()?)?);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_read_as_people_write_them() {
        assert_eq!(octets("02:00:5e-00 0f\n10"), Some(vec![2, 0, 0x5e, 0, 15, 16]));
        assert_eq!(octets("123"), None);
        assert_eq!(octets("+1"), None);
        assert_eq!(octets("é0"), None);
    }

    #[test]
    fn exactly_one_thing_is_explained() {
        let about = |frame: Option<&str>, mac: Option<&str>| {
            About { frame: frame.map(str::to_owned), hw_address: mac.map(str::to_owned), ..About::default() }
                .subject()
        };
        assert!(about(None, None).is_err());
        assert!(about(Some("00"), None).is_err());
        assert!(about(Some(&"00".repeat(14)), Some("020000000001")).is_err());
        assert!(about(None, Some("0200000001")).is_err());
        assert!(about(Some(&"00".repeat(FRAME_MAX + 1)), None).is_err());
        assert_eq!(about(None, Some("02:00:00:00:00:01")).unwrap(), Subject::Client([2, 0, 0, 0, 0, 1]));
    }
}
