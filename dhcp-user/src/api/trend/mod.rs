//! How the node's figures move: looked at every second while it runs, so that a page or a person who comes late sees the
//! minutes before. Counters and pools come from the service's thread like everything else the API shows; what is kept is
//! bounded.

pub mod forecast;
pub mod rates;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use self::{forecast::Pools, rates::Rates};
use super::{ask::ServiceHandle, views::Views};
use crate::{
    server::{clock, service::Query},
    time::Timestamp,
};

/// How often counters are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so many looks at counters, pools are looked at.
const POOLS_EVERY: u32 = 60;

/// What is known of the past.
#[derive(Clone, Debug, Default)]
pub struct Trend {
    rates: Arc<Mutex<Rates>>,
    pools: Arc<Mutex<Pools>>,
}

impl Trend {
    /// How counters move.
    pub fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How pools fill.
    pub fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a service, for ever. A look that the service is too busy for is left out: rates are of the time that has
    /// really passed.
    pub async fn follow(self, service: ServiceHandle, views: Views) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        loop {
            ticks.tick().await;
            if let Ok(stats) = service.ask_for_itself(Query::Stats).await {
                self.rates().note(Instant::now(), Timestamp(clock::wall_ns()), &stats);
            }
            if looks.is_multiple_of(POOLS_EVERY)
                && let Ok(subnets) = views.subnets().await
            {
                self.pools().note(Instant::now(), &subnets);
            }
            looks = looks.wrapping_add(1);
        }
    }
}
