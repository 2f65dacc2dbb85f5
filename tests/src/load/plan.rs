//! What a run of the generator is to do.

use std::time::Duration;

use super::{
    message::Kind,
    pace::{Pace, Patience},
};

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What an exchange begins with: a DISCOVER, a renewal, or a REQUEST after a reboot.
    pub begin: Kind,
    /// When they begin.
    pub pace: Pace,
    /// What late clients do.
    pub patience: Patience,
    /// The first client's number, and how many there are. Renewals go round and round; new clients begin once each.
    pub clients: (u32, u32),
    /// The longest it may take to begin exchanges.
    pub time: Duration,
    /// Requests that come back unanswered count as answers: the far end is a mirror, to find the generator's ceiling.
    pub mirror: bool,
}

impl Plan {
    /// Clients that get the leases they are to renew.
    pub const fn acquire(clients: u32) -> Self {
        Self {
            begin: Kind::Discover,
            pace: Pace::Window(128),
            patience: Patience::BackOff { scale: 0.05 },
            clients: (0, clients),
            time: Duration::from_secs(600),
            mirror: false,
        }
    }
}
