//! What every simulated daemon starts from, and how it ends.

use std::sync::Arc;

use dhcp_user::{
    config::model::Config,
    fastpath::stored::KEY_LEN,
    lease::{
        record::LeaseRecord,
        store::{MemoryStore, Recovered, StoredAnswer},
    },
    server::{
        keeper::KeeperError,
        takeover::{RememberError, Surroundings},
    },
    timeline::BootId,
};
use rand::{Rng as _, rngs::SmallRng};

use super::{
    kernel::INTERFACE,
    scenario::{MS, SEC, SERVER},
};

/// As `server::service` has it.
pub const SWEEP_EVERY_NS: u64 = 500 * MS;
/// Marks read at once: fewer than there are, as with a large map.
pub const SWEEP_PART: u32 = 5;
/// As `server::service` has it.
pub const ANCHOR_EVERY_NS: u64 = 60 * SEC;
/// What a right wall clock shows at the start.
pub const WALL_NS: u64 = 1_764_000_000 * SEC;

/// Why a daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Nothing could be remembered.
    #[error(transparent)]
    Remember(#[from] RememberError),
    /// Store or kernel failed.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

/// What a daemon finds on its disk.
pub fn found(disk: &MemoryStore) -> (Recovered, Vec<LeaseRecord>) {
    let durable = disk.durable();
    let answers = durable.answers.iter().map(|(id, bytes)| StoredAnswer { id: *id, bytes: bytes.clone() });
    let recovered = Recovered {
        answers: answers.collect(),
        meta: durable.meta.iter().map(|(key, value)| (*key, value.clone())).collect(),
        ..Recovered::default()
    };
    (recovered, durable.leases.values().cloned().collect())
}

/// What a daemon finds around it; `clocks` are the boot clock and the wall clock.
pub fn surroundings(
    config: &Arc<Config>,
    boot_id: BootId,
    clocks: (u64, u64),
    rng: &mut SmallRng,
) -> Surroundings {
    let (boot_ns, wall_ns) = clocks;
    let random_key = random_key(rng);
    Surroundings {
        config: Arc::clone(config),
        servers: vec![SERVER],
        interfaces: vec![INTERFACE],
        local: vec![SERVER],
        boot_id,
        boot_ns,
        wall_ns,
        random_key,
        seed: rng.random(),
    }
}

/// A fingerprint key.
pub fn random_key(rng: &mut SmallRng) -> Vec<u8> {
    let mut key = vec![0; KEY_LEN];
    rng.fill(&mut key[..]);
    key
}
