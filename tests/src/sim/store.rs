//! The disk as the daemon sees it: a flush takes its time, while the world goes on, and the daemon may die of it.

use dhcp_user::lease::store::{Batch, Failure, LeaseStore, StoreError};
use rand::Rng as _;

use super::world::{Shared, lock};

/// The daemon's hold on the disk.
pub struct SimStore(pub Shared);

impl LeaseStore for SimStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut world = lock(&self.0);
        let dead = || Err(StoreError::Poisoned { path: "sim: the daemon died".into() });
        if world.burn() {
            return dead();
        }
        let (shadowing, end_ns) = (world.shadowing, world.now_ns + world.flush_ns());
        world.shadowing = false;
        world.run_until(end_ns, false);
        world.shadowing = shadowing;
        if world.death.is_some() {
            // Written but not waited for: nobody knows.
            if world.rng.random_bool(0.5) {
                let _ = world.disk.commit(batch);
            }
            return dead();
        }
        let (until_ns, percent) = world.conditions.full_disk;
        if world.now_ns < until_ns && world.rng.random_range(0..100) < percent {
            world.disk.fail_next(Failure::Full);
        } else if let Some(kept) = world.conditions.flush_fails.take() {
            world.disk.fail_next(if kept { Failure::FlushKept } else { Failure::FlushLost });
        }
        let done = world.disk.commit(batch);
        if done.is_ok() {
            for lease in &batch.leases {
                world.note(Some(lease.address), None, || {
                    format!(
                        "durable: {:?} of {} until {}, horizon {}",
                        lease.state,
                        lease.hardware,
                        lease.expires.0 / 1_000_000,
                        lease.horizon.0 / 1_000_000
                    )
                });
            }
        }
        done
    }
}
