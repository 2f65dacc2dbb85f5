//! `dhcp.limits`: rates and bursts within their bounds. A relay's limit above that of all has no effect, and
//! does no harm.

use super::text;
use crate::config::{
    model::{FrameRate, Limits},
    problem::{Path, Problems},
    wire,
};

/// A million frames a second of one client: no limit in all but name.
const CLIENT_MAX: u32 = 1_000_000;
/// More than any network card brings.
const ALL_MAX: u32 = 10_000_000;
/// Each of four shares has an eighth: less than a frame is none.
const OVERALL_MIN: u32 = 8;

/// The limits in force.
pub(super) fn limits(written: &wire::Limits, path: &Path<'_>, problems: &mut Problems) -> Limits {
    let &wire::Limits {
        enabled,
        client_per_sec,
        client_burst,
        relay_per_sec,
        relay_burst,
        overall_per_sec,
        overall_burst,
    } = written;
    let mut within = |value, least, most, key| {
        text::within(value, least, most, "frames", &path.key(key), problems);
    };
    within(client_per_sec, 0, CLIENT_MAX, "client_per_sec");
    within(client_burst, 1, CLIENT_MAX, "client_burst");
    within(relay_per_sec, 0, ALL_MAX, "relay_per_sec");
    within(relay_burst, 1, ALL_MAX, "relay_burst");
    within(overall_per_sec, 0, ALL_MAX, "overall_per_sec");
    within(overall_burst, OVERALL_MIN, ALL_MAX, "overall_burst");
    let rate = |per_sec, burst| FrameRate { per_sec: if enabled { per_sec } else { 0 }, burst };
    Limits {
        client: rate(client_per_sec, client_burst),
        relay: rate(relay_per_sec, relay_burst),
        overall: rate(overall_per_sec, overall_burst),
    }
}
