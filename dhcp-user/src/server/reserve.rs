//! Reservations that are made, changed or taken away while the service runs, as far as it keeps promises.
//!
//! First it is made durable that nothing is known of the renewals of the leases concerned, which is true of any lease at any
//! time; then one batch has the reservation and the digest of the configuration with it; and only then does the engine judge
//! by it, and the kernel forget those leases. A start after a crash anywhere in between finds leases that the kernel may not
//! answer, never answers of another configuration.

use std::{net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;
use tokio::sync::oneshot;

use super::{
    keeper::{Keeper, KeeperError},
    service::Service,
    work::Work,
};
use crate::{
    config::model::Config,
    engine::ReservationChange,
    fastpath::lease_map::LeaseMap,
    lease::store::{Batch, LeaseStore, StoreError},
    time::Timestamp,
};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// The configuration with the reservations as they are to be.
    pub config: Arc<Config>,
    /// What differs from the one in force.
    pub changes: Vec<ReservationChange>,
    /// The reservation and the configuration's digest, to be made durable together.
    pub batch: Batch,
    /// Even if another client has the address: it is refused when it renews.
    pub even_if_held: bool,
    /// No lease outside of these prefixes may be concerned; empty for any may.
    pub within: Vec<Ipv4Net>,
}

/// Why the reservations stay as they were.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// Another client has the address.
    #[error(
        "{address} is held by {holder}: release its lease first (`leases release {address}`), or reserve it even if it is \
         held; its client is refused then when it next renews"
    )]
    Held {
        /// The address.
        address: Ipv4Addr,
        /// The other client's hardware address.
        holder: String,
    },
    /// Its client has leases that are none of the caller's business.
    #[error("the client has a lease outside of the subnets you have rights to, which this would concern")]
    Elsewhere,
    /// It cannot be made durable.
    #[error("it cannot be made durable, and everything stays as it was: {0}")]
    NotDurable(#[source] StoreError),
    /// The store failed: nothing more may be promised.
    #[error(transparent)]
    Failed(#[from] KeeperError),
}

/// An order for the service's thread.
#[derive(Debug)]
pub struct Order {
    /// What to do.
    pub reserve: Reserve,
    /// Nothing is to be done, only judged whether it could be.
    pub only_judge: bool,
    /// Where to say how it went.
    pub to: oneshot::Sender<Result<(), ReserveError>>,
}

impl<S: LeaseStore, K: LeaseMap> Keeper<S, K> {
    /// Whether anything is in the way of other reservations; the leases they concern.
    ///
    /// # Errors
    /// [`ReserveError::Held`] or [`ReserveError::Elsewhere`] if so.
    pub fn judge_reserve(&self, reserve: &Reserve) -> Result<Vec<Ipv4Addr>, ReserveError> {
        let engine = &self.core.engine;
        let touched = engine.touched_by(&reserve.changes);
        let may_concern = |address| reserve.within.iter().any(|prefix| prefix.contains(address));
        if !reserve.within.is_empty() && !touched.iter().all(may_concern) {
            return Err(ReserveError::Elsewhere);
        }
        let changes = reserve.changes.iter().filter(|_| !reserve.even_if_held);
        for change in changes.filter(|change| change.before != change.after) {
            let after = change.after.as_ref();
            if let Some(lease) = after.and_then(|after| engine.held_by_another(change.address, after)) {
                return Err(ReserveError::Held {
                    address: lease.address,
                    holder: lease.hardware.to_string(),
                });
            }
        }
        Ok(touched)
    }

    /// Puts other reservations in force, durably; what is left to do is to be [settled](Self::settle) at once.
    ///
    /// # Errors
    /// [`ReserveError`]: all but [`ReserveError::Failed`] leave everything as it was.
    pub fn reserve(&mut self, now: Timestamp, reserve: Reserve) -> Result<Work, ReserveError> {
        let touched = self.judge_reserve(&reserve)?;
        let Reserve { config, changes, batch, .. } = reserve;
        let engine = &self.core.engine;
        let mut unknown: Vec<_> =
            touched.iter().filter_map(|address| engine.leases().get(*address)).cloned().collect();
        unknown.iter_mut().for_each(|lease| lease.forms = [None, None]);
        for part in [Batch { leases: unknown, ..Batch::default() }, batch] {
            match self.store.commit_in_parts(&part) {
                Ok(()) => self.commits += 1,
                Err(error @ StoreError::Full { .. }) => return Err(ReserveError::NotDurable(error)),
                Err(error) => return Err(ReserveError::Failed(error.into())),
            }
        }
        self.core.engine.reserve(now, config, &changes, &touched);
        Ok(Work { withdraw: touched, ..Work::default() })
    }
}

impl Service {
    /// Carries out an order.
    ///
    /// # Errors
    /// If the store or the kernel fail: then nothing more may be promised.
    pub(super) fn carry_out(&mut self, now: Timestamp, order: Order) -> Result<(), KeeperError> {
        let Order { reserve, only_judge, to } = order;
        if only_judge {
            drop(to.send(self.keeper.judge_reserve(&reserve).map(drop)));
            return Ok(());
        }
        match self.keeper.reserve(now, reserve) {
            Ok(work) => {
                // Before anybody is told: the kernel has forgotten whom this concerns.
                self.settle(now, work)?;
                drop(to.send(Ok(())));
            }
            Err(ReserveError::Failed(error)) => return Err(error),
            Err(refused) => drop(to.send(Err(refused))),
        }
        Ok(())
    }
}
