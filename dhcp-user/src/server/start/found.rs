//! What the store held: read before anything is decided, for the reservations in it are part of the configuration.

use super::StartError;
use crate::{
    config::{Made, model::Config},
    lease::{
        record::LeaseRecord,
        store::{LogStore, Options, Recovered},
    },
};

/// What the store held.
pub(super) struct Found {
    pub store: LogStore,
    pub recovered: Recovered,
    pub leases: Vec<LeaseRecord>,
}

impl Found {
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let mut leases = Vec::new();
        let (store, recovered) =
            LogStore::open(&config.store.path, &Options::default(), &mut |lease| leases.push(lease))?;
        Ok(Self { store, recovered, leases })
    }

    /// The reservations made by the API, by address.
    pub fn reservations(&self) -> Vec<Made> {
        let mut made = Vec::new();
        for stored in &self.recovered.reservations {
            match Made::parse(&String::from_utf8_lossy(&stored.bytes)) {
                Ok(reservation) => made.push(reservation),
                Err(error) => {
                    tracing::error!(address = %stored.address, %error, "a stored reservation cannot be read");
                }
            }
        }
        made.sort_unstable_by_key(Made::address);
        made
    }
}
