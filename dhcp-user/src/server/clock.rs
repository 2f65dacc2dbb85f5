//! The boot clock, which counts suspended time and cannot be set, and where it stands on the timeline.

use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    time::Timestamp,
    timeline::{Step, Timeline, step},
};

const NANOS_PER_SEC: u64 = 1_000_000_000;
/// How often the time reached is noted in the store, for a restart with a wrong wall clock.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// How long until that is tried again when the disk had no room for it.
const NOTE_AGAIN: Duration = Duration::from_secs(1);

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

/// Watches the wall clock beside the boot clock: when it is set, that is to be told, and the time to be noted at once.
#[derive(Debug)]
pub struct ClockWatch {
    seen: (u64, u64),
    note_at: Instant,
}

impl ClockWatch {
    /// As it is just after the time was noted.
    pub fn just_noted() -> Self {
        Self { seen: (boot_ns(), wall_ns()), note_at: Instant::now() + NOTE_EVERY }
    }

    /// Looks at both clocks; how the wall clock was set since the last look, and what both show if that is to be noted
    /// now.
    pub fn look(&mut self) -> (Option<Step>, Option<(u64, u64)>) {
        self.compare((boot_ns(), wall_ns()), Instant::now())
    }

    fn compare(&mut self, clocks: (u64, u64), now: Instant) -> (Option<Step>, Option<(u64, u64)>) {
        let step = step(self.seen, clocks);
        self.seen = clocks;
        if step.is_some() {
            self.note_at = now;
        }
        (step, (now >= self.note_at).then_some(clocks))
    }

    /// The time was noted, or could not be for want of room.
    pub fn noted(&mut self, durable: bool) {
        self.note_at = Instant::now() + if durable { NOTE_EVERY } else { NOTE_AGAIN };
    }
}

/// `CLOCK_BOOTTIME` in nanoseconds: what `bpf_ktime_get_boot_ns` gives in the kernel.
pub fn boot_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    // Never negative.
    let (secs, nanos) = (time.tv_sec.max(0).unsigned_abs(), time.tv_nsec.max(0).unsigned_abs());
    secs.saturating_mul(NANOS_PER_SEC).saturating_add(nanos)
}

/// The wall clock in nanoseconds since the Unix epoch, 0 before it: looked at only when a boot's timeline begins, and to
/// tell what it shows. By way of the C library, where a test can stand in for it: nobody sets a machine's clock to test.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn a_step_is_told_once_and_noted_until_there_is_room() {
        let mut watch = ClockWatch::just_noted();
        let ((boot, wall), now) = (watch.seen, Instant::now());
        let hour = 3_600 * NANOS_PER_SEC;
        assert_eq!(watch.compare((boot + 9, wall + 9), now), (None, None));
        let back = (boot + 10, wall + 10 - hour);
        assert_eq!(watch.compare(back, now), (Some(Step::Back(Span(hour))), Some(back)));
        watch.noted(false);
        assert_eq!(watch.compare(back, now), (None, None), "not at every turn");
        let soon = Instant::now() + NOTE_AGAIN;
        assert_eq!(watch.compare(back, soon), (None, Some(back)));
        watch.noted(true);
        assert_eq!(watch.compare(back, soon), (None, None));
        let later = (back.0 + 60 * NANOS_PER_SEC, back.1 + 60 * NANOS_PER_SEC);
        assert_eq!(watch.compare(later, Instant::now() + NOTE_EVERY), (None, Some(later)));
    }
}
