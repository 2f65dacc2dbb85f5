//! The boot clock, which counts suspended time and cannot be set, and where it stands on the timeline.

use rustix::time::{ClockId, clock_gettime};

use crate::{time::Timestamp, timeline::Timeline};

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// The time source of a running daemon.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    timeline: Timeline,
}

impl Clock {
    /// A clock that shows `timeline`.
    pub const fn new(timeline: Timeline) -> Self {
        Self { timeline }
    }

    /// Now, on the timeline.
    pub fn now(&self) -> Timestamp {
        self.timeline.timestamp(boot_ns())
    }

    /// Where boot-clock time stands on the timeline.
    pub const fn timeline(&self) -> &Timeline {
        &self.timeline
    }
}

/// `CLOCK_BOOTTIME` in nanoseconds: what `bpf_ktime_get_boot_ns` gives in the kernel.
pub fn boot_ns() -> u64 {
    nanoseconds(ClockId::Boottime)
}

/// The wall clock in nanoseconds since the Unix epoch; looked at only when a boot's timeline begins.
pub fn wall_ns() -> u64 {
    nanoseconds(ClockId::Realtime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither clock is ever negative on a machine of this century.
    let (secs, nanos) = (time.tv_sec.max(0).unsigned_abs(), time.tv_nsec.max(0).unsigned_abs());
    secs.saturating_mul(NANOS_PER_SEC).saturating_add(nanos)
}
