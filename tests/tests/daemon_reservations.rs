//! Reservations made by the command line under a running daemon: clients move to what is reserved for them at their next
//! renewal, the kernel answers nothing that is not so any more, nobody else is disturbed, and all of it survives a kill.

use std::{fs, net::Ipv4Addr, thread, time::Duration};

use dhcp_tests::{
    client::{Client as _, Kind, scripted::Scripted, udhcpc::Udhcpc},
    daemon::Daemon,
    lab::{self, Cable, INTERFACE, LongCable, SERVER, Server, Stats, set},
    wait::wait_until,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);
const KEPT: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 200);

fn mac(client: u8) -> String {
    format!("02:00:00:00:01:{client:02x}")
}

fn refused(daemon: &Daemon, words: &[&str]) -> String {
    format!("{:#}", daemon.ask(words).expect_err("refused"))
}

/// Renewals answered by the kernel, granted by the daemon, and refused for a reservation elsewhere.
fn counts(daemon: &Daemon) -> (u64, u64, u64) {
    let stats = Stats::of(daemon).expect("as arranged");
    (stats.answered(), stats.messages("acked_renewal"), stats.messages("nak_reserved_elsewhere"))
}

fn renew(client: &Scripted<'_>, address: Ipv4Addr) -> u8 {
    client.ask(&client.renewal(address)).expect("an answer").0.kind()
}

#[test]
fn a_client_moves_to_its_reservation_and_nobody_else_is_disturbed() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(600));
    let mut daemon = server.start(&config).unwrap();
    let (one, two) = (Scripted::new(&cable.socket, 1), Scripted::new(&cable.socket, 2));
    let (first, second) = (one.dora().unwrap().address, two.dora().unwrap().address);
    assert_eq!((renew(&one, first), renew(&two, second)), (5, 5));
    assert_eq!(counts(&daemon), (2, 0, 0));

    let said = refused(&daemon, &["reservations", "add", &second.to_string(), "--hw-address", &mac(1)]);
    assert!(said.contains(&format!("{second} is held by {}", mac(2))), "{said}");
    let said = refused(&daemon, &["reservations", "add", "198.19.0.1", "--hw-address", &mac(1)]);
    assert!(said.contains("198.19.0.1 is in no subnet"), "{said}");

    let made = daemon.ask(&["reservations", "add", &KEPT.to_string(), "--hw-address", &mac(1)]).unwrap();
    assert_eq!((&made["source"], &made["subnet"]), (&json!("api"), &json!("198.18.0.0/16")), "{made}");
    // The other's renewals stay with the kernel; this one's does not, and is told to move.
    assert_eq!((renew(&two, second), renew(&one, first)), (5, 6));
    assert_eq!(counts(&daemon), (3, 0, 1));
    assert_eq!(one.dora().unwrap().address, KEPT);
    assert_eq!(renew(&one, KEPT), 5);
    assert_eq!(counts(&daemon), (4, 0, 1));

    // From a lease: its entry in the kernel is made anew by one renewal, for the answer has a host name now.
    let lease = daemon.ask(&["leases", "reserve", &second.to_string(), "--hostname", "two"]).unwrap();
    assert_eq!(lease["hw_address"], json!(mac(2)), "{lease}");
    let known = |address: Ipv4Addr| lab::lease(&daemon, address).expect("a lease")["kernel"]["forms"].clone();
    wait_until(SOON, "the kernel to forget what it knew", || known(second) != json!(["direct"])).unwrap();
    assert_eq!((renew(&two, second), renew(&two, second)), (5, 5));
    assert_eq!(counts(&daemon), (5, 1, 1));

    // A kill and a restart: the kernel goes on meanwhile and afterwards, under the same generation.
    daemon.kill().unwrap();
    assert_eq!((renew(&one, KEPT), renew(&two, second)), (5, 5));
    daemon.restart(&server.ns).unwrap();
    assert_eq!((renew(&one, KEPT), renew(&two, second)), (5, 5));
    assert_eq!(counts(&daemon), (2, 0, 0));
    let listed = daemon.ask(&["reservations"]).unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed:#}");

    // What the file says wins, and the loser is named; it comes back when there is room again.
    let file = server.folder.path().join("dhcp.json");
    let mut other = config.clone();
    let kept = json!([{"address": KEPT, "hw_address": mac(9)}]);
    set(&mut other, "/dhcp/subnets/0/reservations", kept);
    fs::write(&file, other.to_string()).unwrap();
    daemon.ask(&["config", "reload"]).unwrap();
    let left = |listed: &Value| {
        listed
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|one| one["left_out"].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let listed = daemon.ask(&["reservations"]).unwrap();
    assert_eq!(left(&listed), [format!("{KEPT} is reserved for another client already")], "{listed:#}");
    assert!(daemon.log().contains("a reservation made by the API is not in force"), "{}", daemon.log());
    assert_eq!(renew(&one, KEPT), 6);
    fs::write(&file, config.to_string()).unwrap();
    daemon.signal(Signal::HUP).unwrap();
    wait_until(SOON, "the reservation to be in force again", || {
        left(&daemon.ask(&["reservations"]).expect("a list")).is_empty()
    })
    .unwrap();
    assert_eq!(renew(&one, KEPT), 5);

    // Removed: its client keeps the address, which is in the pool.
    daemon.ask(&["reservations", "remove", &KEPT.to_string()]).unwrap();
    assert_eq!(renew(&one, KEPT), 5);
    let listed = daemon.ask(&["reservations"]).unwrap();
    assert_eq!(listed[0]["address"], json!(second), "{listed:#}");
    assert!(listed.as_array().map(Vec::len) == Some(1), "{listed:#}");
}

#[test]
fn a_real_client_moves_at_its_next_renewal() {
    let server = Server::new().unwrap();
    let cable = LongCable::new(&server, INTERFACE, SERVER, 0).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let mut client = Udhcpc::start(&cable.client, "c0").unwrap();
    let (at, bound) = client.wait_event(Kind::Bound, 0, SOON).unwrap();
    let address = bound.address.expect("an address");
    assert!(client.renew().unwrap());
    let (at, _) = client.wait_event(Kind::Renewed, at + 1, SOON).unwrap();
    let lease = lab::lease(&daemon, address).unwrap();
    let mac = lease["hw_address"].as_str().expect("an address").to_owned();
    daemon.ask(&["reservations", "add", &KEPT.to_string(), "--hw-address", &mac]).unwrap();
    assert!(client.renew().unwrap());
    let (at, _) = client.wait_event(Kind::Lost, at + 1, SOON).unwrap();
    let (_, moved) = client.wait_event(Kind::Bound, at + 1, SOON).unwrap();
    assert_eq!(moved.address, Some(KEPT));
    assert_eq!(lab::lease(&daemon, KEPT).unwrap()["state"], json!("bound"));
}

/// Two operators and a client that renews all the time: whatever is reserved when, nobody is ever granted an address that
/// is reserved for another, and a reservation that was made is there.
#[test]
fn changes_at_the_same_time_come_one_after_the_other() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let address = client.dora().unwrap().address;
    let made = |first: u8| {
        (first..first + 6)
            .map(|n| daemon.ask(&["reservations", "add", &format!("198.18.1.{n}"), "--hw-address", &mac(n)]))
            .filter(Result::is_ok)
            .count()
    };
    let made = thread::scope(|scope| {
        // They want the same addresses, half of them.
        let operators = [100, 103].map(|first| scope.spawn(move || made(first)));
        for _ in 0..20 {
            assert_eq!(renew(&client, address), 5);
        }
        operators.map(|operator| operator.join().expect("no panic"))
    });
    let listed = daemon.ask(&["reservations"]).unwrap();
    assert_eq!((made[0] + made[1], listed.as_array().map(Vec::len)), (9, Some(9)), "{listed:#}");
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((stats.answered(), stats.messages("acked_renewal")), (20, 0), "the client was disturbed");
}
