//! The machine's clocks, as everybody on it sees them; true time is nobody's.

use dhcp_user::{
    time::Timestamp,
    timeline::{BootId, Timeline},
};

use super::{planted::Planted, scenario::SEC, start::WALL_NS, world::World};

/// What the boot clock shows at boot.
const BOOT_NS: u64 = 10 * SEC;

impl World {
    /// The boot clock.
    pub fn boot_ns(&self) -> u64 {
        self.now_ns - self.machine.booted_ns + BOOT_NS
    }

    /// The clock that programs go by: the boot clock.
    pub fn program_ns(&self) -> u64 {
        // With this fault planted it is one that stands still while the machine sleeps.
        let stood =
            if self.planted == Some(Planted::ClockStopsInSleep) { self.conditions.slept_ns } else { 0 };
        self.boot_ns().saturating_sub(stood)
    }

    /// Whether the machine sleeps.
    pub const fn asleep(&self) -> bool {
        self.now_ns < self.conditions.asleep_until_ns
    }

    /// The wall clock.
    pub fn wall_ns(&self) -> u64 {
        (WALL_NS + self.now_ns).saturating_add_signed(self.machine.wall_error_ns)
    }

    /// What the machine says of which boot it is.
    pub fn boot_id(&self) -> BootId {
        // With this fault planted every daemon takes itself for the first of its boot, and asks the wall clock.
        let forgetful = self.planted == Some(Planted::ClockStepShiftsHorizons);
        let start = if forgetful { self.listener.unwrap_or(0) } else { 0 };
        let mut id = [self.machine.boot; 16];
        id[..4].copy_from_slice(&start.to_le_bytes());
        BootId::new(id)
    }

    /// How wrong the wall clock was when it showed `wall_ns` at a moment of the boot clock.
    pub fn wall_error_of(&self, boot_ns: u64, wall_ns: u64) -> i64 {
        let right_ns = WALL_NS + self.machine.booted_ns + boot_ns.saturating_sub(BOOT_NS);
        wall_ns.cast_signed() - right_ns.cast_signed()
    }
}

/// A moment of true time on a daemon's timeline.
pub fn timestamp(timeline: Option<Timeline>, booted_ns: u64, true_ns: u64) -> Timestamp {
    let boot_ns = (true_ns + BOOT_NS).saturating_sub(booted_ns);
    timeline.map_or(Timestamp::ZERO, |timeline| timeline.timestamp(boot_ns))
}
