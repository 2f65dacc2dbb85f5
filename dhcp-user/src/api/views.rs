//! What many look at and nobody needs fresher than a moment ago: health, pools and sites. However many ask, the service's thread is
//! asked once in that moment, on their behalf and in portions, so that no flood of them takes its time from DHCP or their places
//! from others.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use super::{ask::ServiceHandle, kept::Kept, problem::Problem};
use crate::{
    config::Config,
    server::{desk::ServiceHealth, reload::InForce, service::Query, view::SubnetView},
    site::node::View,
};

/// How old what is told of health may be: less than anybody waits between two looks at it.
const HEALTH_AGE: Duration = Duration::from_millis(200);
/// How old all else may be.
const AGE: Duration = Duration::from_secs(1);

/// The latest looks.
#[derive(Clone, Debug)]
pub struct Views {
    service: ServiceHandle,
    health: Kept<ServiceHealth>,
    in_force: InForce,
    subnets: Kept<(Arc<Config>, Arc<[SubnetView]>)>,
    sites: Kept<Arc<Option<View>>>,
}

impl Views {
    /// Looks at this service, in which that configuration is in force.
    pub fn new(service: ServiceHandle, in_force: InForce) -> Self {
        let health = Kept::new(HEALTH_AGE);
        Self { service, health, in_force, subnets: Kept::new(AGE), sites: Kept::new(AGE) }
    }

    /// Whether all parts are there.
    ///
    /// # Errors
    /// 503 if the service does not answer.
    pub async fn health(&self) -> Result<ServiceHealth, Problem> {
        self.health.get(async || self.service.ask_for_itself(Query::Health).await).await
    }

    /// All subnets with their pools, by address: those of the configuration in force, as whoever has just changed it expects.
    ///
    /// # Errors
    /// 503 if the service does not answer.
    pub async fn subnets(&self) -> Result<Arc<[SubnetView]>, Problem> {
        // Put in force when the service has it: what was looked at before that is of the one before.
        let config = self.in_force.config();
        let look = async || {
            let (mut all, mut from) = (Vec::new(), Some(Ipv4Addr::UNSPECIFIED));
            while let Some(first) = from {
                let part = self.service.ask_for_itself(|to| Query::Subnets(first, to)).await?;
                all.extend(part.subnets);
                from = part.next;
            }
            Ok((Arc::clone(&config), all.into()))
        };
        let (_, all) = self.subnets.get_if(|(of, _)| Arc::ptr_eq(of, &config), look).await?;
        Ok(all)
    }

    /// What the node of a cluster shows; none on a single node.
    ///
    /// # Errors
    /// 503 if the service does not answer.
    pub async fn sites(&self) -> Result<Arc<Option<View>>, Problem> {
        let look = async || self.service.ask_for_itself(Query::Sites).await.map(Arc::new);
        self.sites.get(look).await
    }
}
