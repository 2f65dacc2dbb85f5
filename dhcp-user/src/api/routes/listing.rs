//! Which leases are wanted: all that the query of a listing or an export may hold.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{Api, access::caller::Caller, of_site, problem::Problem},
    lease::record::{LeaseState, NoHardwareAddress},
    server::desk::{PAGE_LEASES_MAX, Ranges, Wanted},
};

/// How the leases are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// A JSON object on each line.
    #[default]
    Ndjson,
    /// Comma-separated values (RFC 4180) with a header.
    Csv,
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
    /// Of this hardware address, as listings show it; of a client that has none, nothing, or its type alone: `32/`.
    #[param(pattern = r"^(\d{1,2}/)?([0-9A-Fa-f]{1,2}([:-][0-9A-Fa-f]{1,2}){0,15})?$")]
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
        let hw_address = self.hw_address.as_ref().map(|text| {
            text.parse()
                .map_err(|error: NoHardwareAddress| Problem::bad_request(format!("hw_address: {error}")))
        });
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
        let of_site = self.site.as_deref().map(|site| of_site::ranges(api, site)).transpose()?;
        let within = (self.subnet.is_some() || !caller.subnets.is_empty()).then(|| ranges_of(&within));
        let ranges = match (within, of_site) {
            (Some(within), Some(of_site)) => Some(in_both(&within, &of_site)),
            (one, other) => one.or(other),
        };
        if ranges.as_ref().is_some_and(|ranges| ranges.is_empty()) {
            return Ok(None);
        }
        Ok(Some(Wanted {
            after: None,
            first: self.address.max(self.first),
            last: [self.address, self.last].into_iter().flatten().min(),
            ranges,
            hw_address: hw_address.transpose()?,
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

/// The addresses of prefixes.
pub(super) fn ranges_of(prefixes: &[Ipv4Net]) -> Ranges {
    // Aggregated in order, and then with nothing in common.
    Ipv4Net::aggregate(&prefixes.to_vec())
        .iter()
        .map(|prefix| (prefix.network(), prefix.broadcast()))
        .collect()
}

/// What is in ranges and in other ranges too.
fn in_both(these: &Ranges, those: &Ranges) -> Ranges {
    let mut both = Vec::new();
    let (mut a, mut b) = (these.iter().peekable(), those.iter().peekable());
    while let (Some((from_a, to_a)), Some((from_b, to_b))) = (a.peek(), b.peek()) {
        let (from, to) = ((*from_a).max(*from_b), (*to_a).min(*to_b));
        if from <= to {
            both.push((from, to));
        }
        if to_a < to_b {
            a.next()
        } else {
            b.next()
        };
    }
    both.into()
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Cursor {
    /// The cursor: addresses after this one, as `next` of the page before.
    #[param(value_type = Option<String>, format = "ipv4")]
    pub(super) after: Option<Ipv4Addr>,
    /// The most to give, 1 to 10000; 100 if left out.
    #[param(minimum = 1, maximum = 10000)]
    pub(super) limit: Option<usize>,
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
    /// Where a page begins, and what is to be on it.
    pub(super) fn page(self) -> Result<(Cursor, Filters), Problem> {
        if self.format.is_some() {
            return Err(Problem::bad_request("`format` is for /api/v1/leases/export"));
        }
        Ok(self.parts())
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_both_is_in_order_and_in_each() {
        let prefixes =
            |all: &[&str]| -> Vec<Ipv4Net> { all.iter().map(|one| one.parse().unwrap()).collect() };
        let shown = |ranges: &Ranges| -> Vec<String> {
            ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect()
        };
        let these =
            ranges_of(&prefixes(&["198.18.8.0/24", "198.18.0.0/24", "198.18.0.0/25", "198.18.2.0/24"]));
        assert_eq!(
            shown(&these),
            ["198.18.0.0-198.18.0.255", "198.18.2.0-198.18.2.255", "198.18.8.0-198.18.8.255"]
        );
        let those =
            ranges_of(&prefixes(&["198.18.0.128/25", "198.18.1.0/24", "198.18.2.16/30", "198.18.2.32/30"]));
        let both = ["198.18.0.128-198.18.0.255", "198.18.2.16-198.18.2.19", "198.18.2.32-198.18.2.35"];
        assert_eq!(shown(&in_both(&these, &those)), both);
        assert_eq!(shown(&in_both(&those, &these)), both);
        assert_eq!(shown(&in_both(&these, &Ranges::from([]))), Vec::<String>::new());
    }
}
