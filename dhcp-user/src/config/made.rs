//! Reservations that were made while the daemon runs, by the API: written as in the configuration file, kept in the lease
//! store, and judged together with the file every time. Where both cannot be had, what the file says wins.

use std::{net::Ipv4Addr, sync::Arc};

use super::{
    ConfigError, Problems,
    model::{Config, Reservation, Subnet},
    parse,
    problem::Path,
    validate::text,
    wire::{self, Object},
};

/// The longest text of a reservation, octets; one entry of the lease store.
pub const MADE_OCTETS_MAX: usize = 4096;
/// The most reservations made beside the configuration file. A hundred thousand belong into the file.
pub const MADE_MAX: usize = 16_384;

/// A reservation made by the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    address: Ipv4Addr,
    text: Arc<str>,
}

/// Why a reservation made by the API is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The reservation.
    pub made: Made,
    /// The address of the reservation that its client or its address is of already; else it does not fit the subnets.
    pub in_its_way: Option<Ipv4Addr>,
    /// In words, and the way out.
    pub why: String,
}

impl LeftOut {
    /// Why, for somebody who may not know of every address.
    pub fn why_for(&self, may_know_of: impl FnOnce(Ipv4Addr) -> bool) -> &str {
        match self.in_its_way {
            Some(other) if !may_know_of(other) => "another reservation is for the same client already",
            _ => &self.why,
        }
    }
}

impl Made {
    /// A reservation as the configuration file would have it: `{"address": ..., "hw_address": ...}`. Whether it fits the
    /// subnets is judged with the configuration ([`parse_with`](super::parse_with)).
    ///
    /// # Errors
    /// Everything that is wrong with its shape.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        const ORIGIN: &str = "the reservation";
        if text.len() > MADE_OCTETS_MAX {
            return Err(ConfigError::ReservationTooLong { octets: text.len() });
        }
        let mut problems = Problems::new(ORIGIN);
        let entry = parse::shape::<Object<wire::Reservation>>(text, &mut problems);
        let address =
            entry.and_then(|entry| text::address(&entry.address, &Path::ROOT.key("address"), &mut problems));
        // Known to be JSON by now: without what a human put between its parts.
        let compact = serde_json::from_str::<serde_json::Value>(text).map(|value| value.to_string());
        match (address, compact) {
            (Some(_), Ok(text)) if text.len() > MADE_OCTETS_MAX => {
                Err(ConfigError::ReservationTooLong { octets: text.len() })
            }
            (Some(address), Ok(text)) if problems.is_empty() => Ok(Self { address, text: text.into() }),
            _ => Err(ConfigError::Invalid(problems)),
        }
    }

    /// The address.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its text: JSON.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The reservation as written; `None` if another version of this program wrote what this one does not know.
    pub(super) fn entry(&self) -> Option<Object<wire::Reservation>> {
        serde_json::from_str(&self.text).ok()
    }
}

impl Config {
    /// The reservations made by the API, those that are not in force too, by address.
    pub fn made(&self) -> Vec<Made> {
        let in_force = self.subnets.iter().flat_map(|subnet| &subnet.reservations);
        let in_force = in_force.filter_map(|reservation| reservation.made.as_ref());
        let mut made: Vec<_> = in_force.chain(self.left_out.iter().map(|left| &left.made)).cloned().collect();
        made.sort_unstable_by_key(Made::address);
        made
    }

    /// The reservation of an address, by whomever it was made.
    pub fn reservation(&self, address: Ipv4Addr) -> Option<&Reservation> {
        let after = self.subnets.partition_point(|subnet| subnet.prefix.network() <= address);
        let subnet = self.subnets.get(after.checked_sub(1)?)?;
        subnet.reservation(address)
    }

    /// The reservations from an address on, with their subnets, by address.
    pub fn reservations_from(&self, first: Ipv4Addr) -> impl Iterator<Item = (&Subnet, &Reservation)> {
        let reached = self.subnets.partition_point(|subnet| subnet.prefix.broadcast() < first);
        let subnets = self.subnets.get(reached..).unwrap_or_default();
        subnets.iter().flat_map(move |subnet| {
            let before = subnet.reservations.partition_point(|reservation| reservation.address < first);
            let reservations = subnet.reservations.get(before..).unwrap_or_default();
            reservations.iter().map(move |reservation| (subnet, reservation))
        })
    }

    /// What is left out, from an address on, by address.
    pub fn left_out_from(&self, first: Ipv4Addr) -> &[LeftOut] {
        let before = self.left_out.partition_point(|left| left.made.address() < first);
        self.left_out.get(before..).unwrap_or_default()
    }
}

impl Subnet {
    /// The reservation of an address.
    pub fn reservation(&self, address: Ipv4Addr) -> Option<&Reservation> {
        let at = self.reservations.binary_search_by_key(&address, |reservation| reservation.address).ok()?;
        self.reservations.get(at)
    }
}
