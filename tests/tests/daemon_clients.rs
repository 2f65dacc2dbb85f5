//! Real clients and the daemon: leases from userspace, every renewal and rebinding from the kernel, and nothing from the
//! kernel for a lease that was given back.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Context as _, Result};
use dhcp_tests::{
    client::{self, Client, Kind},
    daemon::Daemon,
    hop::Way,
    lab::{self, INTERFACE, LongCable, SERVER, Server, Stats, set, wait_lease},
    parse::Message,
    veth,
    wait::wait_until,
};
use serde_json::{Value, json};

/// Time for what a client or the daemon does at once.
const SOON: Duration = Duration::from_secs(15);

/// Time for what a client does when one of its times has come.
const LATER: Duration = Duration::from_secs(60);

/// How old what `leases show` says of a renewal in the kernel may be.
const SEEN_BY: Duration = Duration::from_secs(1);

/// Renewals of each client that are counted.
const ROUNDS: usize = 5;

/// Runs `work` for every client at once; a panic of one fails the test when all have ended.
fn for_every_client(work: impl Fn(&'static str) -> Result<()> + Sync) {
    let work = &work;
    let failed: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> =
            client::ALL.into_iter().map(|name| (name, scope.spawn(move || work(name)))).collect();
        let ended = threads.into_iter().map(|(name, thread)| (name, thread.join()));
        ended
            .filter_map(|(name, end)| match end {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{name}: {error:#}")),
                Err(_) => Some(format!("{name}: see its panic above")),
            })
            .collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Asserts that the kernel answered `count` renewals and nobody else any.
fn assert_all_in_the_kernel(daemon: &Daemon, count: usize, when: &str) -> Result<()> {
    let stats = Stats::of(daemon)?;
    assert_eq!(stats.renewals_passed(), [], "{when}: {:#}", stats.0);
    assert_eq!(stats.renewed_by_daemon(), 0, "{when}: {:#}", stats.0);
    assert_eq!(stats.answered(), count as u64, "{when}: {:#}", stats.0);
    Ok(())
}

/// Lease time, T1 and T2 that make a client do everything soon: udhcpc knows only the first.
fn times(name: &str) -> (u32, f64, f64) {
    match name {
        "udhcpc" => (20, 50.0, 87.5),
        "dhcpcd" => (60, 16.7, 23.4),
        _ => (60, 7.0, 14.0),
    }
}

#[test]
fn each_client_is_bound_renews_rebinds_and_releases() {
    for_every_client(life);
}

fn life(name: &'static str) -> Result<()> {
    let server = Server::new()?;
    let cable = LongCable::new(&server, INTERFACE, SERVER, 0)?;
    let mut config = server.config();
    let (lease_secs, t1, t2) = times(name);
    for (key, value) in
        [("lease_secs", json!(lease_secs)), ("t1_percent", json!(t1)), ("t2_percent", json!(t2))]
    {
        set(&mut config, &format!("/dhcp/{key}"), value);
    }
    let daemon = server.start(&config)?;
    let mut client = client::start(name, &cable.client, "c0")?;

    let (bound, event) = client.wait_event(Kind::Bound, 0, SOON)?;
    let address = event.address.context("the client says no address")?;
    let held = lab::lease(&daemon, address)?;
    assert_eq!((&held["state"], &held["renewed_by"]), (&json!("bound"), &json!("daemon")));
    assert_eq!(held["kernel"]["forms"], json!(["direct"]));

    let renewing = |m: &Message| m.kind() == 3 && m.dst == SERVER && m.ciaddr == address;
    client.renew()?;
    let (at, _, renewal) = cable.hop.wait_message(LATER, "a renewal", Way::ToServer, 0, renewing)?;
    let (renewed, event) = client.wait_event(Kind::Renewed, bound + 1, SOON)?;
    assert!(event.lease_secs.is_none_or(|secs| secs == lease_secs), "{name}: {event:?}");
    assert_all_in_the_kernel(&daemon, 1, &format!("{name} after the first renewal"))?;
    let by_kernel = |lease: &Value| lease["renewed_by"] == "kernel";
    wait_lease(&daemon, address, SEEN_BY, "the renewal to be seen", by_kernel)?;

    cable.hop.set_lose_unicast(true);
    let rebinding = |m: &Message| m.kind() == 3 && m.dst.is_broadcast() && m.ciaddr == address;
    cable.hop.wait_message(LATER, "a rebinding", Way::ToServer, at + 1, rebinding)?;
    client.wait_event(Kind::Renewed, renewed + 1, SOON)?;
    assert_all_in_the_kernel(&daemon, 2, &format!("{name} after rebinding"))?;
    // What the kernel answers is addressed as RFC 2131 section 4.1 wants: to the client's address.
    for (reply, _) in cable.hop.messages(Way::ToClient).iter().filter(|(m, _)| m.kind() == 5).skip(1) {
        assert_eq!((reply.src, reply.dst, reply.dst_port), (SERVER, address, 68), "{name}");
        assert_eq!(reply.option_u32(51), Some(lease_secs), "{name}");
    }

    cable.hop.set_lose_unicast(false);
    client.release()?;
    let freed = |lease: &Value| lease["state"] == "free" && lease["kernel"].is_null();
    wait_lease(&daemon, address, SOON, "the lease to be free", freed)?;
    let before = Stats::of(&daemon)?;
    cable.hop.inject(&renewal)?;
    wait_until(SOON, "the kernel to pass the renewal of a lease that was given back", || {
        Stats::of(&daemon).is_ok_and(|now| now.passed("no_lease") == before.passed("no_lease") + 1)
    })?;
    assert_eq!(Stats::of(&daemon)?.answered(), before.answered());
    Ok(())
}

/// What is needed to renew with one client after the other was bound.
struct Attached {
    client: Box<dyn Client>,
    _cable: LongCable,
}

#[test]
fn steady_renewals_of_all_clients_stay_in_the_kernel() {
    let server = Server::new().unwrap();
    let mut config = server.config();
    let (mut interfaces, mut subnets, mut cables) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..4_u8 {
        let name = format!("s{number}");
        let network = |last| Ipv4Addr::new(198, 18, number * 64, last);
        cables.push(LongCable::new(&server, &name, network(1), number).unwrap());
        server.ns.ip(&format!("address delete {}/16 dev {name}", network(1))).unwrap();
        veth::add_address(&server.ns, &name, network(1), 18).unwrap();
        interfaces.push(json!(name));
        subnets.push(json!({
            "subnet": format!("{}/18", network(0)),
            "interface": name,
            "pools": [{"range": format!("{}-{}", network(10), network(20))}],
        }));
    }
    set(&mut config, "/dhcp/interfaces", Value::from(interfaces));
    set(&mut config, "/dhcp/subnets", Value::from(subnets));
    set(&mut config, "/dhcp/lease_secs", json!(40));
    set(&mut config, "/dhcp/t1_percent", json!(10));
    let daemon = server.start(&config).unwrap();

    let cables = std::sync::Mutex::new(cables);
    for_every_client(|name| {
        let cable = cables.lock().unwrap().pop().context("a cable for each client")?;
        let client = client::start(name, &cable.client, "c0")?;
        let mut attached = Attached { client, _cable: cable };
        let (mut at, _) = attached.client.wait_event(Kind::Bound, 0, SOON)?;
        for _ in 0..ROUNDS {
            attached.client.renew()?;
            (at, _) = attached.client.wait_event(Kind::Renewed, at + 1, LATER)?;
        }
        Ok(())
    });
    let stats = Stats::of(&daemon).unwrap();
    let passed: u64 = stats.renewals_passed().iter().map(|(_, count)| count).sum();
    let all = stats.answered() + passed;
    assert!(all >= (ROUNDS * client::ALL.len()) as u64, "{:#}", stats.0);
    let share_percent = stats.answered() as f64 * 100.0 / all as f64;
    println!("{} of {all} renewals were answered in the kernel: {share_percent:.1} %", stats.answered());
    assert!(share_percent >= 99.0, "{share_percent:.1} %: {:#}", stats.0);
}
