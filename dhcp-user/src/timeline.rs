//! The timeline kept across restarts and reboots, so that a stepped wall clock moves no promise.
//!
//! Within a boot, time is the boot clock plus an offset fixed once and kept in the store: where the wall clock stands when
//! the daemon is started again is only compared with where it would have come to, so that a wrong one is told. After a reboot the boot clock has begun anew, and only the wall clock can tell how
//! long the machine was away: by how far it has moved since it was last noted, not by where it stands, for it may have
//! been stepped since the timeline began. If it is behind, time goes on from the latest time noted, so that promises last
//! longer than they must and never shorter.
//!
//! Pure but for [`BootId::of_this_machine`]; the clocks are the caller's. The caller stores [`Timeline::anchor`] under
//! [`MetaKey::TimelineAnchor`](crate::lease::store::MetaKey::TimelineAnchor) on start, whenever it sees the wall clock
//! stepped ([`step`]) and else now and then: how far `latest` lags behind is how far time can step back when the wall
//! clock is wrong after a reboot.

use std::{fmt, fs, io};

use crate::time::{Span, Timestamp};

const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
const ANCHOR_VERSION: u8 = 2;
/// A wall clock that is further off than this was set, not slewed.
const STEP_MIN: Span = Span::from_secs(1);
/// Octets of a stored [`Anchor`].
pub const ANCHOR_BYTES: usize = 1 + 16 + 8 + 8 + 8;

/// Which boot of which machine it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BootId([u8; 16]);

/// Why the timeline cannot be resumed.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The kernel does not tell the boot's id.
    #[error("cannot read {BOOT_ID_FILE}, which tells this boot from the last: {0}; is /proc mounted?")]
    BootId(#[source] io::Error),
    /// The kernel's answer is no id.
    #[error("{BOOT_ID_FILE} holds {0:?}, which is not a boot id")]
    BootIdForm(String),
    /// The stored anchor cannot be read.
    #[error(
        "the stored timeline anchor has {octets} octets and version {version}, wanted are {ANCHOR_BYTES} octets \
         and version {ANCHOR_VERSION}; run the version of this program that wrote it"
    )]
    Anchor {
        /// Its length in octets.
        octets: usize,
        /// Its version, 0 for none.
        version: u8,
    },
}

impl BootId {
    /// From its 16 octets.
    pub const fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The id of this boot, as `/proc/sys/kernel/random/boot_id` tells.
    ///
    /// # Errors
    /// [`TimelineError::BootId`], [`TimelineError::BootIdForm`].
    pub fn of_this_machine() -> Result<Self, TimelineError> {
        let text = fs::read_to_string(BOOT_ID_FILE).map_err(TimelineError::BootId)?;
        Self::parse(text.trim()).ok_or(TimelineError::BootIdForm(text))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let right = digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
        Some(Self(u128::from_str_radix(right.then_some(digits.as_str())?, 16).ok()?.to_be_bytes()))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// What must be kept of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The boot the offset belongs to.
    pub boot_id: BootId,
    /// The timeline's time at the boot clock's zero, in nanoseconds since the Unix epoch. May be negative: a machine
    /// whose wall clock starts at the epoch has been up longer than that.
    pub offset_ns: i64,
    /// The latest time known to have been reached.
    pub latest: Timestamp,
    /// What the wall clock showed then, in nanoseconds since the Unix epoch.
    pub wall_ns: u64,
}

impl Anchor {
    /// The anchor's octets, [`ANCHOR_BYTES`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ANCHOR_BYTES);
        out.push(ANCHOR_VERSION);
        out.extend_from_slice(&self.boot_id.0);
        out.extend_from_slice(&self.offset_ns.to_le_bytes());
        out.extend_from_slice(&self.latest.0.to_le_bytes());
        out.extend_from_slice(&self.wall_ns.to_le_bytes());
        out
    }

    /// Reads an anchor back.
    ///
    /// # Errors
    /// [`TimelineError::Anchor`].
    pub fn decode(octets: &[u8]) -> Result<Self, TimelineError> {
        let refused =
            || TimelineError::Anchor { octets: octets.len(), version: octets.first().copied().unwrap_or(0) };
        let whole: &[u8; ANCHOR_BYTES] = octets.try_into().map_err(|_| refused())?;
        let (version, rest) = whole.split_first().ok_or_else(refused)?;
        let (boot_id, rest) = rest.split_first_chunk().ok_or_else(refused)?;
        let (offset_ns, rest) = rest.split_first_chunk().ok_or_else(refused)?;
        let (latest, rest) = rest.split_first_chunk().ok_or_else(refused)?;
        let wall_ns = rest.first_chunk().ok_or_else(refused)?;
        if *version != ANCHOR_VERSION {
            return Err(refused());
        }
        Ok(Self {
            boot_id: BootId(*boot_id),
            offset_ns: i64::from_le_bytes(*offset_ns),
            latest: Timestamp(u64::from_le_bytes(*latest)),
            wall_ns: u64::from_le_bytes(*wall_ns),
        })
    }
}

/// How the timeline was resumed; worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// There was nothing to resume.
    First,
    /// The same boot: time goes by the boot clock alone.
    SameBoot {
        /// How the wall clock was set since the store noted it, if it was.
        step: Option<Step>,
    },
    /// The machine was started again and the wall clock went on.
    NewBoot {
        /// How long the machine was away, by the wall clock and the latest time stored.
        away: Span,
    },
    /// The machine was started again and the wall clock is behind what had been reached: time goes on from there.
    WallBehind {
        /// By how much it is behind.
        by: Span,
    },
}

/// How the wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It shows so much more than it would have.
    Ahead(Span),
    /// It shows so much less.
    Back(Span),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead(by) => write!(f, "ahead by {} s", whole_secs(*by)),
            Self::Back(by) => write!(f, "back by {} s", whole_secs(*by)),
        }
    }
}

/// Rounded: the two clocks are looked at one after the other, so an hour may come out a moment short.
const fn whole_secs(by: Span) -> u64 {
    by.0.saturating_add(500_000_000) / 1_000_000_000
}

/// Boot-clock nanoseconds to moments on the timeline and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    boot_id: BootId,
    offset_ns: i64,
}

impl Timeline {
    /// Resumes the timeline at the boot-clock time `boot_ns`, when the wall clock shows `wall_ns` since the Unix epoch.
    ///
    /// The time it shows then is never before the anchor's `latest`.
    pub fn resume(anchor: Option<Anchor>, boot_id: BootId, boot_ns: u64, wall_ns: u64) -> (Self, Resume) {
        let at = |now_ns: u64| Self { boot_id, offset_ns: offset(now_ns, boot_ns) };
        let Some(anchor) = anchor else { return (at(wall_ns), Resume::First) };
        if anchor.boot_id == boot_id {
            // Within a boot the boot clock does not step back; a `latest` ahead of it is a copied store or a restored
            // virtual machine, and must not be fallen behind of either.
            let same = Self { boot_id, offset_ns: anchor.offset_ns };
            let shown = same.timestamp(boot_ns);
            if shown >= anchor.latest {
                let noted = (same.boot_ns(anchor.latest), anchor.wall_ns);
                return (same, Resume::SameBoot { step: step(noted, (boot_ns, wall_ns)) });
            }
            return (at(anchor.latest.0), Resume::WallBehind { by: anchor.latest.since(shown) });
        }
        match wall_ns.checked_sub(anchor.wall_ns).map(Span) {
            Some(away) => (at((anchor.latest + away).0), Resume::NewBoot { away }),
            None => (at(anchor.latest.0), Resume::WallBehind { by: Span(anchor.wall_ns - wall_ns) }),
        }
    }

    /// The moment at a boot-clock time in nanoseconds.
    pub const fn timestamp(&self, boot_ns: u64) -> Timestamp {
        Timestamp(boot_ns.saturating_add_signed(self.offset_ns))
    }

    /// The boot-clock time in nanoseconds of a moment; 0 for a moment before the boot.
    pub const fn boot_ns(&self, moment: Timestamp) -> u64 {
        if self.offset_ns < 0 {
            moment.0.saturating_add(self.offset_ns.unsigned_abs())
        } else {
            moment.0.saturating_sub(self.offset_ns.unsigned_abs())
        }
    }

    /// What to store at the boot-clock time `boot_ns`, when the wall clock shows `wall_ns` since the Unix epoch.
    pub const fn anchor(&self, boot_ns: u64, wall_ns: u64) -> Anchor {
        Anchor { boot_id: self.boot_id, offset_ns: self.offset_ns, latest: self.timestamp(boot_ns), wall_ns }
    }
}

/// How the wall clock was set, if by more than a second, between two looks at both clocks (boot-clock and wall-clock
/// nanoseconds each). Slewing is slower than that.
pub fn step((boot_before, wall_before): (u64, u64), (boot_ns, wall_ns): (u64, u64)) -> Option<Step> {
    let went = boot_ns.saturating_sub(boot_before);
    let expected = wall_before.saturating_add(went);
    let by = Span(expected.abs_diff(wall_ns));
    let step = if wall_ns > expected { Step::Ahead(by) } else { Step::Back(by) };
    (by > STEP_MIN).then_some(step)
}

/// `now - boot`, held within `i64`: the year 2262 either way.
fn offset(now_ns: u64, boot_ns: u64) -> i64 {
    let difference = i128::from(now_ns) - i128::from(boot_ns);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEC: u64 = 1_000_000_000;
    const WALL: u64 = 1_764_000_000 * SEC;
    const THIS: BootId = BootId::new([1; 16]);
    const LAST: BootId = BootId::new([2; 16]);

    #[test]
    fn first_start_takes_the_wall_clock() {
        let (timeline, resume) = Timeline::resume(None, THIS, 5 * SEC, WALL);
        assert_eq!(resume, Resume::First);
        assert_eq!(timeline.timestamp(5 * SEC), Timestamp(WALL));
        assert_eq!(timeline.timestamp(7 * SEC), Timestamp(WALL + 2 * SEC));
        assert_eq!(timeline.boot_ns(Timestamp(WALL + 2 * SEC)), 7 * SEC);
        assert_eq!(timeline.boot_ns(Timestamp(9)), 0, "before the boot");
    }

    #[test]
    fn a_restart_ignores_a_stepped_wall_clock() {
        let (before, _) = Timeline::resume(None, THIS, 5 * SEC, WALL);
        let anchor = before.anchor(60 * SEC, WALL + 55 * SEC);
        // What it would have come to.
        let right = WALL + 85 * SEC;
        let day = Span::from_secs(86_400);
        for (wall_ns, step) in [
            (right, None),
            (right - SEC / 2, None),
            (0, Some(Step::Back(Span(right)))),
            (right - day.0, Some(Step::Back(day))),
            (right + day.0, Some(Step::Ahead(day))),
            (u64::MAX, Some(Step::Ahead(Span(u64::MAX - right)))),
        ] {
            let (after, resume) = Timeline::resume(Some(anchor), THIS, 90 * SEC, wall_ns);
            assert_eq!((after, resume), (before, Resume::SameBoot { step }));
        }
    }

    #[test]
    fn a_reboot_takes_the_wall_clock_unless_it_is_behind() {
        let anchor = Anchor { boot_id: LAST, offset_ns: 77, latest: Timestamp(WALL), wall_ns: WALL };
        let (timeline, resume) = Timeline::resume(Some(anchor), THIS, SEC, WALL + 30 * SEC);
        assert_eq!(resume, Resume::NewBoot { away: Span::from_secs(30) });
        assert_eq!(timeline.timestamp(SEC), Timestamp(WALL + 30 * SEC));
        let (timeline, resume) = Timeline::resume(Some(anchor), THIS, SEC, WALL - 30 * SEC);
        assert_eq!(resume, Resume::WallBehind { by: Span::from_secs(30) });
        assert_eq!(timeline.timestamp(SEC), Timestamp(WALL));
        // A wall clock that starts at the epoch.
        let (timeline, _) = Timeline::resume(None, THIS, 40 * SEC, SEC);
        assert_eq!(timeline.timestamp(40 * SEC), Timestamp(SEC));
        assert_eq!(timeline.boot_ns(Timestamp(SEC)), 40 * SEC);
    }

    #[test]
    fn a_wall_clock_stepped_while_running_moves_nothing_at_a_reboot() {
        // The timeline began three hours behind; then the wall clock was set right, and noted.
        let hours = 3 * 3_600 * SEC;
        let (before, _) = Timeline::resume(None, LAST, SEC, WALL - hours);
        let anchor = before.anchor(61 * SEC, WALL + 60 * SEC);
        let (after, resume) = Timeline::resume(Some(anchor), THIS, SEC, WALL + 90 * SEC);
        assert_eq!(resume, Resume::NewBoot { away: Span::from_secs(30) });
        assert_eq!(after.timestamp(SEC), before.timestamp(91 * SEC));
    }

    #[test]
    fn steps_are_told_from_slewing() {
        let before = (5 * SEC, WALL);
        assert_eq!(step(before, (65 * SEC, WALL + 60 * SEC)), None);
        assert_eq!(step(before, (65 * SEC, WALL + 60 * SEC + SEC / 2)), None);
        let (ahead, back) = (step(before, (65 * SEC, WALL + 62 * SEC)), step(before, (65 * SEC, WALL)));
        assert_eq!(ahead, Some(Step::Ahead(Span::from_secs(2))));
        assert_eq!(back.map(|step| step.to_string()).as_deref(), Some("back by 60 s"));
    }

    #[test]
    fn a_store_from_the_future_of_this_boot_is_not_fallen_behind() {
        let anchor = Anchor { boot_id: THIS, offset_ns: 0, latest: Timestamp(100), wall_ns: WALL };
        let (timeline, resume) = Timeline::resume(Some(anchor), THIS, 40, WALL);
        assert_eq!(resume, Resume::WallBehind { by: Span(60) });
        assert_eq!(timeline.timestamp(40), Timestamp(100));
    }

    #[test]
    fn reads_this_boot_and_refuses_what_is_no_id() {
        assert_eq!(BootId::of_this_machine().unwrap(), BootId::of_this_machine().unwrap());
        let id = BootId::parse("01234567-89ab-cdef-0123-456789abcdef").unwrap();
        assert_eq!(format!("{id:?}"), "BootId(0123456789abcdef0123456789abcdef)");
        for wrong in
            ["", "0123", "+1234567-89ab-cdef-0123-456789abcdef", "g1234567-89ab-cdef-0123-456789abcdef"]
        {
            assert_eq!(BootId::parse(wrong), None);
        }
    }

    #[test]
    fn refuses_another_version_of_the_anchor() {
        let mut octets = Anchor { boot_id: THIS, offset_ns: 0, latest: Timestamp(1), wall_ns: 1 }.encode();
        octets[0] = 9;
        let error = Anchor::decode(&octets).unwrap_err();
        assert!(error.to_string().contains("41 octets and version 9"), "{error}");
        assert!(Anchor::decode(&octets[..40]).is_err() && Anchor::decode(&[]).is_err());
    }

    proptest! {
        #[test]
        fn never_falls_behind_and_survives_its_codec(
            boot: bool,
            offset_ns in -(1_i64 << 61)..1_i64 << 61,
            latest in 0..1_u64 << 62,
            boot_ns in 0..1_u64 << 60,
            wall_ns in 0..1_u64 << 62,
        ) {
            let boot_id = if boot { THIS } else { LAST };
            let anchor = Anchor { boot_id, offset_ns, latest: Timestamp(latest), wall_ns: latest / 2 };
            prop_assert_eq!(Anchor::decode(&anchor.encode()).unwrap(), anchor);
            let (timeline, _) = Timeline::resume(Some(anchor), THIS, boot_ns, wall_ns);
            prop_assert!(timeline.timestamp(boot_ns) >= anchor.latest);
            let later = boot_ns + 12_345;
            prop_assert_eq!(timeline.boot_ns(timeline.timestamp(later)), later);
        }
    }
}
