//! Real daemons, real frames and one ledger over all nodes: a node or a site is lost or stands still, a site is cut off, for
//! good, for a moment or in one direction; clocks are apart, links come and go; one of two nodes, or of two sites, is
//! said to be down; whoever granted is lost at once; nodes come and go. All others: `cargo xtask cluster --drill NAME`.

use std::time::Duration;

use anyhow::Result;
use dhcp_tests::cluster::{
    drill::{
        Stage,
        links::{self, Deaf},
        machines, members, oddities, operator, pools, sync,
    },
    traffic::Load,
};

/// One cluster for several drills: to begin takes about as long as each of them.
fn six_nodes(drills: impl FnOnce(&mut Stage) -> Result<()>) {
    let load = Load { clients_per_site: 12, renewals_per_s: 30, ..Load::default() };
    on(Stage::of_the_guide(&load), drills);
}

fn on(stage: Result<Stage>, drills: impl FnOnce(&mut Stage) -> Result<()>) {
    let mut stage = stage.unwrap_or_else(|error| panic!("{error:#}"));
    let done = drills(&mut stage);
    let told = stage.traffic.report().told;
    done.unwrap_or_else(|error| panic!("{error:#}\n{told:#?}"));
    let figures = stage.finish().unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).expect("figures are JSON"));
    assert!(figures.clients.renewals_answered > 100 && figures.clients.new_leases > 36);
}

#[test]
fn every_promise_is_kept_while_a_node_is_lost_then_a_whole_site_and_links_flap() {
    six_nodes(|stage| {
        machines::kill(stage, 2)?;
        machines::kill_site(stage, 1)?;
        links::flap(stage, 0, Duration::from_secs(10))
    });
}

/// The sites' wall clocks are 5 and 10 s apart meanwhile.
#[test]
fn every_promise_is_kept_while_a_daemon_stands_still_a_site_is_cut_off_and_only_one_direction_works() {
    let load = Load { clients_per_site: 12, renewals_per_s: 30, ..Load::default() };
    on(oddities::with_clocks_apart(&load), |stage| {
        machines::pause(stage, 0)?;
        links::cut(stage, 1)?;
        links::one_way(stage, 2, Deaf::Others)?;
        links::one_way(stage, 2, Deaf::Site)
    });
}

#[test]
fn a_site_that_is_cut_off_for_a_moment_is_told_only_what_it_missed() {
    let load = Load { clients_per_site: 12, renewals_per_s: 30, releases_per_mille: 0, ..Load::default() };
    on(Stage::of_the_guide(&load), |stage| links::short_cut(stage, 1));
}

#[test]
fn a_site_is_added_and_a_node_refused_replaced_and_removed_while_clients_go_on() {
    let load = Load { clients_per_site: 8, renewals_per_s: 30, ..Load::default() };
    let figures = members::run(&load).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).expect("figures are JSON"));
}

#[test]
fn pools_are_changed_on_one_node_after_the_other_while_clients_go_on() {
    let load = Load { clients_per_site: 12, renewals_per_s: 30, ..Load::default() };
    let figures = pools::run(&load).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).expect("figures are JSON"));
}

#[test]
fn an_operator_says_which_of_two_nodes_is_down() {
    let load = Load { clients_per_site: 12, renewals_per_s: 30, ..Load::default() };
    let figures = operator::partner_down(&load).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).expect("figures are JSON"));
}

#[test]
fn an_operator_says_which_of_two_sites_is_lost_and_then_the_other() {
    let load = Load { clients_per_site: 12, renewals_per_s: 30, ..Load::default() };
    let figures = operator::site_partner_down(&load).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).expect("figures are JSON"));
}

#[test]
fn in_mode_sync_an_acknowledged_lease_survives_the_immediate_loss_of_who_granted_it_and_none_is_where_it_is_cut_off()
 {
    let figures = sync::run(1).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).expect("figures are JSON"));
}
