//! Twenty cycles of `cargo xtask torture`, smaller: the daemon killed and started under load keeps every promise.

use dhcp_tests::torture::{Plan, run};

#[test]
fn twenty_kills_under_load_break_no_promise() {
    let plan =
        Plan { cycles: 20, leases: 1_000, seed: 7, lease_secs: 30, renewals_per_s: 400, progress: false };
    let report = run(&plan).unwrap();
    assert!(!report.violated(), "{report:#?}");
    assert_eq!(report.cycles, 20);
    // Nothing of that was idle.
    assert!(report.kills_while_starting > 0 && report.starts_from_other_file > 0, "{report:#?}");
    assert!(report.renewals_daemon_down > 200 && report.renewals_daemon_starting > 100, "{report:#?}");
    assert!(report.renewals_answered >= 1_000 && report.new_leases > 1_000, "{report:#?}");
    println!("{report:#?}");
}
