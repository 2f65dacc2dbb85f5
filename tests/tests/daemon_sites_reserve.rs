//! Reservations made at one node of a cluster: decided by a majority, in force at all nodes, and known again by whoever was
//! away; what was reserved before there was a cluster goes into it.

use std::{collections::BTreeMap, net::Ipv4Addr, thread, time::Duration};

use dhcp_tests::{
    client::scripted::Scripted,
    cluster::{AGREED, Cluster, Node},
    lab::set,
    wait::wait_until,
};
use serde_json::{Value, json};

/// How long until all nodes have heard of what one of them said is in force.
const HEARD: Duration = Duration::from_secs(15);

const KEPT: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 200);

fn mac(client: u8) -> String {
    format!("02:00:00:00:01:{client:02x}")
}

fn add(node: &Node, address: &str, client: u8) -> Result<Value, String> {
    said(node, &["reservations", "add", address, "--hw-address", &mac(client)])
}

fn said(node: &Node, words: &[&str]) -> Result<Value, String> {
    node.ask(words).map_err(|error| format!("{error:#}"))
}

/// Who has what reserved at a node; an address that is not in force is nobody's.
fn reserved(node: &Node) -> BTreeMap<String, Option<String>> {
    let listed = node.ask(&["reservations"]).expect("a list");
    let all = listed.as_array().expect("a list").iter().map(|one| {
        let text = |key: &str| one[key].as_str().map(str::to_owned);
        let client = if one["left_out"].is_null() { text("hw_address") } else { None };
        (text("address").expect("an address"), client)
    });
    all.collect()
}

fn wait_reserved(node: &Node, wanted: &[(&str, Option<u8>)]) {
    let wanted: BTreeMap<_, _> =
        wanted.iter().map(|(address, client)| ((*address).to_owned(), client.map(mac))).collect();
    wait_until(HEARD, &format!("{wanted:?} at {}", node.name), || reserved(node) == wanted)
        .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", reserved(node), node.log()));
}

/// Tries the same at two nodes at once; how many of both were done.
fn at_once(
    nodes: [&Node; 2],
    what: impl Fn(usize, &Node) -> Result<Value, String> + Sync,
) -> Vec<Result<Value, String>> {
    thread::scope(|scope| {
        let what = &what;
        let tries: Vec<_> =
            nodes.iter().enumerate().map(|(n, node)| scope.spawn(move || what(n, node))).collect();
        tries.into_iter().map(|one| one.join().expect("no panic")).collect()
    })
}

#[test]
fn a_reservation_made_at_one_node_is_in_force_at_all_and_known_again_by_who_was_away() {
    let mut cluster = Cluster::new(&[("a", 1), ("b", 1), ("c", 1)], |config| {
        set(config, "/dhcp/lease_secs", json!(120));
    })
    .unwrap();
    // One of them was there before, alone.
    let with_sites = cluster.nodes[0].config.clone();
    cluster.nodes[0].config["dhcp"].as_object_mut().unwrap().remove("datacenter");
    cluster.nodes[0].start().unwrap();
    for (address, client) in [("198.18.1.77", 7), ("198.18.200.1", 8)] {
        add(&cluster.nodes[0], address, client).unwrap();
    }
    cluster.nodes[0].daemon.take().unwrap().stop().unwrap();
    cluster.nodes[0].config = with_sites;
    cluster.start().unwrap();
    cluster.wait_in_step().unwrap();
    // What is outside of all pools could be two clients' for a moment: it is kept, and not in force.
    let mut all = vec![("198.18.1.77", Some(7)), ("198.18.200.1", None)];
    cluster.nodes.iter().for_each(|node| wait_reserved(node, &all));
    let refused = add(&cluster.nodes[1], "198.18.200.2", 9).unwrap_err();
    assert!(refused.contains("198.18.200.2 is in no pool") && refused.contains("every node"), "{refused}");

    // Made at one: in force there at once, and at the others soon. Its client gets it where its block is held, and what
    // has been granted is renewed everywhere.
    add(&cluster.nodes[1], "198.18.1.200", 1).unwrap();
    assert_eq!(reserved(&cluster.nodes[1])["198.18.1.200"], Some(mac(1)));
    all.push(("198.18.1.200", Some(1)));
    cluster.nodes.iter().for_each(|node| wait_reserved(node, &all));
    let held =
        |node: &Node| node.ask(&["leases", "show", "198.18.1.200"]).is_ok_and(|l| l["state"] == "bound");
    // As clients do, it asks again until it is answered.
    let asks = |node: &Node| {
        let client = Scripted::new(&node.cable.socket, 1);
        client.dora_patiently(Duration::from_secs(1), 10).is_ok_and(|(address, _)| address == KEPT)
    };
    let mut holder = 0;
    wait_until(AGREED, "the node that holds the block to give it", || {
        holder = (holder + 1) % 3;
        asks(&cluster.nodes[holder])
    })
    .unwrap();
    for node in &cluster.nodes {
        wait_until(AGREED, &format!("{} to know the lease", node.name), || held(node) && asks(node))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", node.log()));
    }
    let other = add(&cluster.nodes[(holder + 1) % 3], "198.18.1.200", 2).unwrap_err();
    assert!(other.contains("already"), "{other}");

    // Two operators at two nodes at once: for one address, and for one client.
    let both = [&cluster.nodes[0], &cluster.nodes[2]];
    let done = at_once(both, |n, node| add(node, "198.18.1.210", 10 + n as u8));
    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 1, "{done:?}");
    let first = if done[0].is_ok() { 10 } else { 11 };
    let done = at_once(both, |n, node| add(node, ["198.18.1.220", "198.18.1.221"][n], 12));
    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 1, "{done:?}");
    let second = if done[0].is_ok() { "198.18.1.220" } else { "198.18.1.221" };
    all.extend([("198.18.1.210", Some(first)), (second, Some(12))]);
    cluster.nodes.iter().for_each(|node| wait_reserved(node, &all));

    // One is gone: what is changed meanwhile it knows when it is back. From the disk it knows the rest at once.
    cluster.nodes[2].lose().unwrap();
    let (node, held) = (&cluster.nodes[0], "198.18.1.200");
    let refused = said(node, &["reservations", "change", held, "--hw-address", &mac(20)]).unwrap_err();
    assert!(refused.contains(&format!("held by {}", mac(1))), "{refused}");
    said(node, &["reservations", "change", held, "--hw-address", &mac(20), "--even-if-held"]).unwrap();
    said(&cluster.nodes[1], &["reservations", "remove", "198.18.1.77"]).unwrap();
    all.retain(|(address, _)| *address != "198.18.1.77" && *address != held);
    all.push((held, Some(20)));
    cluster.nodes[2].start().unwrap();
    assert!(reserved(&cluster.nodes[2]).contains_key("198.18.1.210"), "from its own disk");
    cluster.nodes.iter().for_each(|node| wait_reserved(node, &all));

    // Without a majority nothing is decided, and that is said.
    for away in [1, 2] {
        cluster.nodes[away].lose().unwrap();
    }
    let refused = add(&cluster.nodes[0], "198.18.1.230", 30).unwrap_err();
    let nothing = refused.contains("cannot decide it now, and nothing has changed");
    assert!(nothing || refused.contains("it is not known yet"), "{refused}");
    wait_reserved(&cluster.nodes[0], &all);
    // With one again, it is the same everywhere.
    cluster.nodes[1].start().unwrap();
    wait_until(AGREED, "a reservation to be decided again", || {
        add(&cluster.nodes[1], "198.18.1.231", 31).is_ok()
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.nodes[1].log()));
    all.push(("198.18.1.231", Some(31)));
    let late = reserved(&cluster.nodes[1]).contains_key("198.18.1.230");
    assert!(!(nothing && late), "it was said that nothing has changed");
    all.extend(late.then_some(("198.18.1.230", Some(30))));
    cluster.nodes[..2].iter().for_each(|node| wait_reserved(node, &all));
}
