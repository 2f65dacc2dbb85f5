//! Twenty cycles of `cargo xtask torture`, smaller: the daemon killed and started under load keeps every promise. And two
//! deliberate faults, each of which the torture must find.

use dhcp_tests::torture::{Plan, Planted, run};

const PLAN: Plan = Plan {
    cycles: 20,
    leases: 1_000,
    seed: 7,
    lease_secs: 30,
    renewals_per_s: 800,
    planted: None,
    progress: false,
};

#[test]
fn twenty_kills_under_load_break_no_promise() {
    let report = run(&PLAN).unwrap();
    assert!(!report.violated(), "{report:#?}");
    assert_eq!(report.cycles, 20);
    // Nothing of that was idle.
    assert!(report.kills_while_starting > 0 && report.starts_from_other_file > 0, "{report:#?}");
    assert!(report.reloads > 0 && report.kills_while_reloading > 0, "{report:#?}");
    assert!(report.renewals_kernel_could > 200, "{report:#?}");
    assert!(report.renewals_daemon_down > 200 && report.renewals_daemon_starting > 100, "{report:#?}");
    assert!(report.renewals_answered >= 1_000 && report.new_leases > 1_000, "{report:#?}");
}

#[test]
fn a_kernel_without_its_program_is_found() {
    let report = run(&Plan { cycles: 2, leases: 200, planted: Some(Planted::Detach), ..PLAN }).unwrap();
    assert!(report.violated() && report.unanswered_in_kernel > 0, "{report:#?}");
}

#[test]
fn forgotten_leases_are_found() {
    let report = run(&Plan { cycles: 4, leases: 200, planted: Some(Planted::Forget), ..PLAN }).unwrap();
    let broken = report.broken;
    // Which of the two comes to light first is a matter of who asks when.
    assert!(broken.promises_lost > 0 || broken.double_bound > 0, "{report:#?}");
}
