//! The way of reservations between the API and consensus.

use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use super::Sites;
use crate::site::consensus::{
    cluster::{Entry, Outcome},
    propose::Undecided,
    reservations::{AgreedReservations, Edits},
};

impl Sites {
    /// The reservations that the nodes agree on, from now on.
    pub fn agreed_reservations(&self) -> watch::Receiver<AgreedReservations> {
        self.council.machine().reservations()
    }

    /// Has changes decided.
    ///
    /// # Errors
    /// If they are not, or not known to be.
    pub async fn decide_reservations(self: &Arc<Self>, edits: Edits) -> Result<Outcome, Undecided> {
        let sites = Arc::clone(self);
        let decided = self.runtime.spawn(async move { sites.council.decide(Entry::Reserve(edits)).await });
        decided.await.unwrap_or_else(|_| Err(Undecided::Unknown("this node is stopping".to_owned())))
    }

    /// Why the reservations that are agreed on are not in force here, if they are not.
    pub fn reservations_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says why they are not, or that they are; whether there was none before and is some now, or the other way round.
    pub fn set_reservations_trouble(&self, trouble: Option<String>) -> bool {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let turned = known.is_some() != trouble.is_some();
        *known = trouble;
        turned
    }
}
