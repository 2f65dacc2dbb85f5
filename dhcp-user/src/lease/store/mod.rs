//! The durable lease store: what must survive is here before anybody is told of it.
//!
//! [`LeaseStore`] is the narrow waist the daemon writes through; [`LogStore`] is the one on disk, a log of
//! checksummed batches with cleaning built in, and [`MemoryStore`] the one for simulation. Why a log and not an
//! embedded database, with the figures, and what damage can be told from a crash: `docs/store.md`.
//!
//! What must not be here: packets, decisions about leases, and but for [`TimedStore`] clocks and threads.

mod batch;
mod clean;
mod codec;
mod directory;
mod disk;
mod error;
mod frame;
mod index;
mod log;
mod mark;
mod memory;
mod recover;
mod segment;
mod survey;
mod timed;
mod worker;

use std::sync::Arc;

pub use batch::{
    ANSWER_BYTES_MAX, Batch, META_BYTES_MAX, MetaKey, RESERVATION_BYTES_MAX, StoredAnswer, StoredReservation,
};
pub use codec::{CodecError, FIELD_OCTETS_MAX, decode_lease, encode_lease};
pub use directory::make_ready;
pub use error::StoreError;
pub use log::{LogStore, StoreSize};
pub use memory::{Contents, Failure, MemoryStore};
pub use recover::{Options, Recovered, Report};
pub use timed::{FLUSH_BOUNDS_US, FlushSnapshot, FlushTimes, TimedStore};

/// Where batches of changes are made durable.
pub trait LeaseStore: Send {
    /// Makes the whole batch durable, or none of it: when this returns `Ok`, the batch survives a power cut.
    ///
    /// # Errors
    /// A batch that breaks a bound ([`StoreError::Codec`], [`StoreError::TooLong`], [`StoreError::BatchTooLarge`])
    /// and a disk too full for the next segment ([`StoreError::Full`]) leave the store as it was: the next batch may
    /// succeed. After any other error nobody knows what reached the disk; the store is poisoned and every later
    /// commit fails until the store is opened again.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// As [`Self::commit`], but a batch too large for one flush is made durable in parts ([`Batch::parts`]): of what
    /// nobody is told before all of it is durable, a crash may leave some, of which no part depends on one after it.
    ///
    /// # Errors
    /// As [`Self::commit`], but for [`StoreError::BatchTooLarge`]; after [`StoreError::Full`] some of it may be durable.
    fn commit_in_parts(&mut self, batch: &Batch) -> Result<(), StoreError> {
        match self.commit(batch) {
            Err(StoreError::BatchTooLarge { bytes_max, .. }) => {
                batch.parts(bytes_max).iter().try_for_each(|part| self.commit(part))
            }
            done => done,
        }
    }

    /// Begins to make a batch durable as [`Self::commit_in_parts`] does, if the store can do that beside its caller: then this
    /// is `None`, and [`Self::end`] says what came of it. What is asked of the store meanwhile waits.
    fn begin(&mut self, batch: &Arc<Batch>) -> Option<Result<(), StoreError>> {
        Some(self.commit_in_parts(batch))
    }

    /// Whether [`Self::end`] would not wait.
    fn has_ended(&mut self) -> bool {
        true
    }

    /// Waits for what was begun, and says what came of it.
    ///
    /// # Errors
    /// As [`Self::commit_in_parts`].
    fn end(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
