//! The simulator of several nodes in the test run: some hundreds of seeds must be clean, every planted fault must be found.

use dhcp_tests::sim::{
    seeds::Seeds,
    sites::{
        campaign::{Campaign, Report},
        planted::Planted,
        run,
        scenario::{DISKS_FROM, POOLS_FROM, SLOW_DISKS_FROM, Scenario},
    },
};

fn campaign(first: u64, count: u64, (sites, nodes): (usize, usize), planted: Option<Planted>) -> Report {
    let seeds = Seeds { first, count, time_max: None, stop_at_first: planted.is_some() };
    Campaign { seeds, sites, nodes, planted }.run()
}

#[test]
fn three_sites_break_no_promise() {
    let report = campaign(0, 100, (3, 1), None);
    assert!(report.violated_seeds == 0, "{:#?}", report.violations);
    // Nothing of that was idle.
    assert!(report.renewals_by_kernel > 10_000 && report.acks_by_daemon > 5_000, "{report:?}");
    assert!(report.warm_renewals > 500, "{report:?}");
    assert!(
        report.crashes > 100 && report.disks_lost > 10 && report.takeovers > 100 && report.updates > 10_000,
        "{report:?}"
    );
}

#[test]
fn three_sites_of_two_nodes_break_no_promise() {
    let report = campaign(0, 20, (3, 2), None);
    assert!(report.violated_seeds == 0, "{:#?}", report.violations);
}

#[test]
fn full_disks_and_batches_in_parts_break_no_promise() {
    let report = campaign(DISKS_FROM, 30, (3, 1), None);
    assert!(report.violated_seeds == 0, "{:#?}", report.violations);
}

#[test]
fn other_pools_break_no_promise() {
    for (sites, nodes, count) in [(3, 1, 40), (2, 1, 20), (3, 2, 6)] {
        let report = campaign(POOLS_FROM, count, (sites, nodes), None);
        assert!(report.violated_seeds == 0, "{:#?}", report.violations);
        assert!(report.recuts * 4 > count, "{report:?}");
    }
}

#[test]
fn slow_disks_and_latecomers_break_no_promise() {
    let report = campaign(SLOW_DISKS_FROM, 40, (3, 1), None);
    assert!(report.violated_seeds == 0, "{:#?}", report.violations);
    assert!(report.slow_flushes > 100, "{report:?}");
}

#[test]
fn two_sites_break_no_promise_when_an_operator_says_that_one_is_down() {
    let report = campaign(0, 60, (2, 1), None);
    assert!(report.violated_seeds == 0, "{:#?}", report.violations);
    assert!(report.takeovers > 20 && report.renewals_by_kernel > 5_000, "{report:?}");
}

#[test]
fn two_sites_of_two_nodes_break_no_promise_when_an_operator_says_that_one_is_lost() {
    let report = campaign(0, 30, (2, 2), None);
    assert!(report.violated_seeds == 0, "{:#?}", report.violations);
    assert!(report.takeovers > 20 && report.renewals_by_kernel > 2_000, "{report:?}");
}

/// As while settings are changed on one node after the other: some hold on for longer than the others would wait.
#[test]
fn nodes_with_other_settings_break_no_promise() {
    for seed in 0..30 {
        let scenario = Scenario { even_delegation_secs: Some(60), ..Scenario::new(seed, 3, 1) };
        // Everything takes longer then than the simulation waits for: what must not suffer is any promise.
        let broken = run(&scenario, None, false).violation;
        let broken = broken.filter(|found| !["liveness", "converges"].contains(&found.invariant));
        assert_eq!(broken, None, "seed {seed}");
    }
}

#[test]
fn every_planted_fault_is_found() {
    for (name, planted) in Planted::ALL {
        let report = campaign(0, 1_000, (3, 1), Some(planted));
        let found = report.violations.first().unwrap_or_else(|| panic!("{name} was not found"));
        let without = run(&Scenario::new(found.seed, 3, 1), None, false);
        assert_eq!(without.violation, None, "seed {} without {name}", found.seed);
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let scenario = Scenario::new(5, 3, 1);
    let (first, second) = (run(&scenario, None, true), run(&scenario, None, true));
    assert!(first.history.len() > 100);
    assert_eq!(first.history, second.history);
}
