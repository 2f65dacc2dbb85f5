//! Thousands of clients behind one relay agent, with the limits as they are by default: all get leases, all renewals are
//! the kernel's, and what one relay agent's clients use up is nobody else's. `cargo xtask bench relay` does it with 65,536.

use std::time::Duration;

use dhcp_tests::{
    lab::{Stats, set},
    load::{
        batch_socket::BatchSocket,
        fleet::Fleet,
        message::Kind,
        pace::{Pace, Patience},
        plan::Plan,
    },
    one_relay::{
        self, Extent,
        ground::{Ground, OTHER_RELAY, RELAY},
        report::Renewed,
    },
};
use serde_json::json;

#[test]
fn all_clients_of_one_relay_agent_get_leases_and_renew_in_the_kernel() {
    const CLIENTS: u32 = 4_096;
    let ground = Ground::new().unwrap();
    let daemon = ground.server.start(&ground.config(json!({}))).unwrap();
    let extent = Extent { clients: CLIENTS, scale: 0.25, time: Duration::from_secs(60) };
    let report = one_relay::run(&ground, &daemon, extent).unwrap();
    println!("{report}");
    let all = u64::from(CLIENTS);
    assert_eq!((report.bound, report.joined.done, report.joined.wrong()), (all, all, 0), "{report}");
    for Renewed { figures, by_kernel, by_daemon, .. } in [&report.straight, &report.relayed] {
        assert_eq!((figures.done, figures.wrong(), *by_daemon), (all, 0, 0), "{report}");
        // A renewal that was lost in a full queue of the cable came again.
        assert!(*by_kernel >= all && *by_kernel <= all + figures.retransmitted, "{report}");
    }
    for dropped in [&report.dropped, &report.straight.dropped, &report.relayed.dropped] {
        // Reasons that were never met are not there.
        for never in ["limited_relay", "limited_client"] {
            assert_eq!(dropped.get(never).copied().unwrap_or(0), 0, "{report}");
        }
    }
}

/// A relay agent whose tokens are used up is refused, for that reason and no other; clients behind another one are not.
#[test]
fn what_one_relay_agents_clients_use_up_is_nobody_elses() {
    const CROWD: u32 = 100;
    const BURST: u32 = 8;
    // DISCOVER and REQUEST of each: no more than the burst.
    const FEW: u32 = 3;
    let ground = Ground::new().unwrap();
    let limits = json!({"relay_per_sec": 1, "relay_burst": BURST});
    // An offer need not wait here until nobody has answered for its address.
    let mut config = ground.config(limits);
    set(&mut config, "/dhcp/conflict_detection", json!({"mode": "off"}));
    let daemon = ground.server.start(&config).unwrap();
    let run = |relay, pace, clients: (u32, u32)| {
        let mut fleet = Fleet::new(ground.way(relay), CROWD + FEW).unwrap();
        let mut socket = BatchSocket::open(&ground.clients, "c0").unwrap();
        let patience = Patience::GiveUp(Duration::from_secs(3));
        let time = Duration::from_secs(30);
        fleet.run(&mut socket, &Plan { begin: Kind::Discover, pace, patience, clients, time, mirror: false })
    };
    let crowd = run(RELAY, Pace::Window(CROWD), (0, CROWD)).unwrap();
    let then = Stats::of(&daemon).unwrap();
    let few = run(OTHER_RELAY, Pace::Window(1), (CROWD, FEW)).unwrap();
    let after = Stats::of(&daemon).unwrap();
    println!("{crowd}\n{few}\n{} dropped", after.passed("limited_relay"));
    assert_eq!((few.done, few.retransmitted, few.wrong()), (FEW.into(), 0, 0), "{few}");
    assert_eq!(after.passed("limited_relay"), then.passed("limited_relay"));
    // One token a second came in the meantime, for the seconds that the crowd waited.
    let let_through = crowd.sent - then.passed("limited_relay");
    let at_most = u64::from(BURST) + crowd.elapsed.as_secs() + 4;
    assert!((u64::from(BURST)..=at_most).contains(&let_through), "{let_through} of {}", crowd.sent);
    for never in ["limited_client", "limited_new", "limited_again", "limited_request", "limited_known"] {
        assert_eq!(after.passed(never), 0, "{never}: {:#}", after.0);
    }
}

/// A relay agent's clients that are too many for its limit get their leases all the same, later.
#[test]
fn clients_beyond_the_limit_of_their_relay_agent_come_again() {
    const CLIENTS: u32 = 300;
    let ground = Ground::new().unwrap();
    let limits = json!({"relay_per_sec": 400, "relay_burst": 40, "client_per_sec": 100, "client_burst": 100});
    let daemon = ground.server.start(&ground.config(limits)).unwrap();
    let mut fleet = Fleet::new(ground.way(RELAY), CLIENTS).unwrap();
    let mut socket = BatchSocket::open(&ground.clients, "c0").unwrap();
    let extent = Extent { clients: CLIENTS, scale: 0.1, time: Duration::from_secs(60) };
    let figures = one_relay::all_at_once(&mut fleet, &mut socket, Kind::Discover, extent).unwrap();
    let stats = Stats::of(&daemon).unwrap();
    println!("{figures}\n{} dropped", stats.passed("limited_relay"));
    assert_eq!((figures.done, figures.lost, figures.wrong()), (CLIENTS.into(), 0, 0), "{figures}");
    assert!(stats.passed("limited_relay") > 0, "{:#}", stats.0);
    assert_eq!(stats.0.pointer("/leases/bound"), Some(&json!(CLIENTS)));
}
