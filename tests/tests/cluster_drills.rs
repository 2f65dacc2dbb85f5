//! Real daemons, real frames and one ledger over all nodes: a node is lost, a site is cut off, a process stands still, an
//! operator moves things by hand. Longer ones: `cargo xtask cluster --drill NAME`.

use dhcp_tests::cluster::{
    drill::{Stage, links, machines, operator, sync},
    traffic::Load,
};

fn stage() -> Stage {
    let load = Load { clients_per_site: 12, ..Load::default() };
    Stage::of_the_guide(&load).unwrap_or_else(|error| panic!("{error:#}"))
}

/// One cluster for several drills: to begin takes longer than each of them.
#[test]
fn six_nodes_keep_every_promise_while_one_is_lost_a_site_is_cut_off_and_a_process_stands_still() {
    let mut stage = stage();
    let drills = links::short_cut(&mut stage, 2)
        .and_then(|()| {
            stage.traffic.set_load(60, 60);
            machines::kill(&mut stage, 2)
        })
        .and_then(|()| links::cut(&mut stage, 1))
        .and_then(|()| machines::pause(&mut stage, 0))
        .and_then(|()| operator::hand_over(&mut stage, 2));
    let told = stage.traffic.report().told;
    drills.unwrap_or_else(|error| panic!("{error:#}\n{told:#?}"));
    let figures = stage.finish().unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).unwrap());
    assert!(figures.clients.renewals_answered > 100 && figures.clients.new_leases > 36);
}

#[test]
fn of_two_nodes_one_goes_on_when_an_operator_says_that_the_other_is_down() {
    let load = Load { clients_per_site: 12, ..Load::default() };
    let figures = operator::partner_down(&load).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).unwrap());
}

#[test]
fn in_mode_sync_an_acknowledged_lease_survives_the_immediate_loss_of_who_granted_it() {
    let figures = sync::run(2).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", serde_json::to_string_pretty(&figures.figures).unwrap());
}
