//! `dhcp.limits`: its defaults, and how it is turned off as a whole and in part.

use super::*;
use crate::config::model::{FrameRate, Limits};

fn limits(written: &str) -> Limits {
    parse(&format!(r#"{{"dhcp": {{"limits": {written}}}}}"#), "test").unwrap().limits
}

#[test]
fn all_limits_have_defaults() {
    let expected = Limits {
        client: FrameRate { per_sec: 5, burst: 30 },
        relay: FrameRate { per_sec: 50_000, burst: 16_000 },
        overall: FrameRate { per_sec: 100_000, burst: 16_000 },
    };
    assert_eq!(limits("{}"), expected);
    assert_eq!(parse(r#"{"dhcp": {}}"#, "test").unwrap().limits, expected);
}

#[test]
fn limits_are_off_as_a_whole_or_in_part() {
    assert_eq!(limits(r#"{"enabled": false}"#).for_kernel(), dhcp_common::limit::Limits::OFF);
    let part = limits(r#"{"client_per_sec": 0, "overall_per_sec": 800, "overall_burst": 80}"#);
    assert_eq!((part.client.per_sec, part.relay.per_sec), (0, 50_000));
    let kernel = part.for_kernel();
    assert_eq!(kernel.client.interval_ns, 0);
    let [own, .., common] = kernel.shares;
    assert_eq!((own.interval_ns, own.ahead_ns), (10_000_000, 90_000_000), "100 a second, 10 at once");
    assert_eq!((common.interval_ns, common.ahead_ns), (2_500_000, 97_500_000), "400 a second, 40 at once");
}

#[test]
fn limits_out_of_bounds_are_named() {
    let written =
        r#"{"dhcp": {"limits": {"client_per_sec": 1000001, "client_burst": 0, "overall_burst": 7}}}"#;
    let said = parse(written, "test").unwrap_err().to_string();
    for wrong in [
        "dhcp.limits.client_per_sec: 1000001 is out of range; it may be 0 to 1000000 frames",
        "dhcp.limits.client_burst: 0 is out of range; it may be 1 to 1000000 frames",
        "dhcp.limits.overall_burst: 7 is out of range; it may be 8 to 10000000 frames",
    ] {
        assert!(said.contains(wrong), "{said}");
    }
}
