//! The load generator against our daemon: new leases, renewals, a small storm; every reply is right and none is missing.

use std::time::Duration;

use dhcp_tests::{
    lab::{Cable, SERVER, SERVER_MAC, Server, set},
    load::{
        batch_socket::BatchSocket,
        fleet::Fleet,
        message::{Kind, Way},
        pace::{Pace, Patience},
        plan::Plan,
    },
};
use serde_json::json;

#[test]
fn every_client_of_the_generator_is_served() {
    const CLIENTS: u32 = 200;
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(600));
    let _daemon = server.start(&config).unwrap();
    let way = Way { server: SERVER, server_mac: SERVER_MAC, relay: None, vlan: None };
    let mut fleet = Fleet::new(way, CLIENTS).unwrap();
    let mut socket = BatchSocket::open(&cable.ns, "c0").unwrap();
    for (begin, pace) in
        [(Kind::Discover, Pace::Window(16)), (Kind::Renew, Pace::Rate(1000.0)), (Kind::Reboot, Pace::Storm)]
    {
        let plan = Plan {
            begin,
            pace,
            patience: match pace {
                Pace::Rate(_) => Patience::GiveUp(Duration::from_secs(4)),
                _ => Patience::BackOff { scale: 0.1 },
            },
            clients: (0, CLIENTS),
            time: Duration::from_secs(if begin == Kind::Renew { 1 } else { 20 }),
            mirror: false,
        };
        let figures = fleet.run(&mut socket, &plan).unwrap();
        assert_eq!((figures.wrong(), figures.lost), (0, 0), "{begin:?}:\n{figures}");
        assert!(figures.done >= u64::from(CLIENTS), "{begin:?}:\n{figures}");
    }
}
