//! The boot clock, which counts suspended time and cannot be set, and where it stands on the timeline.

use std::{
    fs, io,
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    time::{Span, Timestamp},
    timeline::{Step, Timeline, step},
};

const NANOS_PER_SEC: u64 = 1_000_000_000;
/// How often the time reached is noted in the store, for a restart with a wrong wall clock.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// How long until that is tried again when the disk had no room for it.
const NOTE_AGAIN: Duration = Duration::from_secs(1);
/// The clocks are looked at one after the other, and the thread may stand still in between; what is more is sleep.
const SLEEP_MIN: Span = Span::from_secs(1);
/// By how much the clocks of this process are off those of the machine (`time_namespaces(7)`).
const OFFSETS_FILE: &str = "/proc/self/timens_offsets";

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

/// Watches the wall clock and the monotonic clock beside the boot clock: when the one is set, or the other has stood still
/// while the machine slept, that is to be told, and the time to be noted at once.
#[derive(Debug)]
pub struct ClockWatch {
    seen: (u64, u64),
    seen_at: Instant,
    note_at: Instant,
}

/// What a look at the clocks has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// How the wall clock was set since the last look.
    pub step: Option<Step>,
    /// How long the machine has slept since.
    pub slept: Option<Span>,
    /// What boot clock and wall clock show, if that is to be noted now.
    pub to_note: Option<(u64, u64)>,
}

impl ClockWatch {
    /// As it is just after the time was noted.
    pub fn just_noted() -> Self {
        let now = Instant::now();
        Self { seen: (boot_ns(), wall_ns()), seen_at: now, note_at: now + NOTE_EVERY }
    }

    /// Looks at the clocks.
    pub fn look(&mut self) -> Look {
        let clocks = (boot_ns(), wall_ns());
        self.compare(clocks, Instant::now())
    }

    /// `now` is on the monotonic clock, which stands still while the machine sleeps: what the boot clock has gone more is
    /// sleep.
    fn compare(&mut self, clocks: (u64, u64), now: Instant) -> Look {
        let went_ns =
            u64::try_from(now.saturating_duration_since(self.seen_at).as_nanos()).unwrap_or(u64::MAX);
        let slept = Span(clocks.0.saturating_sub(self.seen.0).saturating_sub(went_ns));
        let slept = (slept > SLEEP_MIN).then_some(slept);
        let step = step(self.seen, clocks);
        (self.seen, self.seen_at) = (clocks, now);
        if step.is_some() || slept.is_some() {
            self.note_at = now;
        }
        Look { step, slept, to_note: (now >= self.note_at).then_some(clocks) }
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

/// By how many seconds this process's boot clock is off the machine's, by which the kernel program goes: not 0 only in a
/// time namespace that was made so. A kernel without time namespaces has none.
///
/// # Errors
/// If the kernel tells what cannot be read.
pub fn boot_clock_off_by_secs() -> io::Result<i64> {
    match fs::read_to_string(OFFSETS_FILE) {
        Ok(offsets) => off_by_secs(&offsets).ok_or_else(|| io::Error::other(format!("it says {offsets:?}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Lines of a clock's name, seconds and nanoseconds. Less than a second counts as one.
fn off_by_secs(offsets: &str) -> Option<i64> {
    let line = offsets.lines().find_map(|line| line.trim().strip_prefix("boottime"))?;
    let mut numbers = line.split_whitespace().map(str::parse::<i64>);
    let (secs, nanos) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(if secs == 0 { nanos.signum() } else { secs })
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

    const HOUR_NS: u64 = 3_600 * NANOS_PER_SEC;

    fn looked(step: Option<Step>, slept: Option<Span>, to_note: Option<(u64, u64)>) -> Look {
        Look { step, slept, to_note }
    }

    #[test]
    fn a_step_is_told_once_and_noted_until_there_is_room() {
        let mut watch = ClockWatch::just_noted();
        let ((boot, wall), now) = (watch.seen, watch.seen_at);
        assert_eq!(watch.compare((boot + 9, wall + 9), now), Look::default());
        let back = (boot + 10, wall + 10 - HOUR_NS);
        assert_eq!(watch.compare(back, now), looked(Some(Step::Back(Span(HOUR_NS))), None, Some(back)));
        watch.noted(false);
        assert_eq!(watch.compare(back, now), Look::default(), "not at every turn");
        let soon = Instant::now() + NOTE_AGAIN;
        assert_eq!(watch.compare(back, soon), looked(None, None, Some(back)));
        watch.noted(true);
        assert_eq!(watch.compare(back, soon), Look::default());
        let later = (back.0 + 60 * NANOS_PER_SEC, back.1 + 60 * NANOS_PER_SEC);
        assert_eq!(watch.compare(later, Instant::now() + NOTE_EVERY), looked(None, None, Some(later)));
    }

    #[test]
    fn sleep_is_what_the_boot_clock_went_and_the_monotonic_clock_did_not() {
        let mut watch = ClockWatch::just_noted();
        let ((boot, wall), now) = (watch.seen, watch.seen_at);
        // Awake for a quarter of a minute: both went.
        let quarter = 15 * NANOS_PER_SEC;
        let (awake, then) = ((boot + quarter, wall + quarter), now + Duration::from_secs(15));
        assert_eq!(watch.compare(awake, then), Look::default());
        // Asleep for an hour: no step of the wall clock, which went as well, and noted without waiting for the minute.
        let woken = (awake.0 + HOUR_NS, awake.1 + HOUR_NS);
        assert_eq!(watch.compare(woken, then), looked(None, Some(Span(HOUR_NS)), Some(woken)));
        watch.noted(true);
        assert_eq!(watch.compare(woken, then), Look::default(), "told once");
        // A thread that stood still has not slept.
        let stood = (woken.0 + HOUR_NS, woken.1 + HOUR_NS);
        assert_eq!(watch.compare(stood, then + Duration::from_secs(3_600)).slept, None);
    }

    #[test]
    fn the_boot_clocks_offset_is_read() {
        assert_eq!(
            off_by_secs("monotonic           0         0\nboottime            0         0\n"),
            Some(0)
        );
        assert_eq!(off_by_secs("monotonic 9 0\nboottime       -3600         0\n"), Some(-3_600));
        assert_eq!(off_by_secs("boottime 0 1\n"), Some(1));
        for wrong in ["", "monotonic 0 0\n", "boottime\n", "boottime 1\n", "boottime a b\n"] {
            assert_eq!(off_by_secs(wrong), None, "{wrong:?}");
        }
        assert_eq!(boot_clock_off_by_secs().unwrap(), 0, "here");
    }
}
