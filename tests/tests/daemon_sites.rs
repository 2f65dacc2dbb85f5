//! Real daemons as the nodes of one cluster: they find one another, share out addresses, tell each other of leases, and go
//! on without one of them.

use std::process::Command;

use dhcp_tests::{
    client::scripted::Scripted,
    cluster::{AGREED, Cluster, Node, pki},
    daemon::binary,
    lab::set,
    process::{self, Process},
    tools,
    wait::wait_until,
};
use serde_json::{Value, json};

fn is_active(status: &Value) -> bool {
    let sites = status["sites"].as_array().expect("it is there");
    !sites.is_empty() && sites.iter().all(|site| site["status"] == "active")
}

fn wait_active(node: &Node) -> Value {
    node.wait("all sites to be active", &["site", "status"], is_active).expect("a cluster in time")
}

fn lease_on(node: &Node, address: &str) -> Option<Value> {
    node.ask(&["leases", "show", address]).ok()
}

/// A node's stream of events: after this one, or with the latest.
fn events(node: &Node, after: Option<u64>) -> Process {
    let folder = node.server.folder.path();
    let mut curl = Command::new("curl");
    curl.args(["-sN", "--unix-socket"]).arg(folder.join("control.sock"));
    curl.args(after.map(|id| format!("-HLast-Event-ID: {id}")));
    curl.arg(format!("http://node/api/v1/events{}", if after.is_some() { "" } else { "?recent=1000" }));
    Process::start(&mut curl, &folder.join(format!("events-{}.log", after.unwrap_or(0))))
        .expect("curl starts")
}

/// The event in whose data this is.
fn event_with(stream: &Process, text: &str) -> Value {
    let output = stream.output();
    let data = output.lines().filter_map(|line| line.strip_prefix("data: ")).find(|data| data.contains(text));
    serde_json::from_str(data.expect("it was there")).expect("an event is JSON")
}

#[test]
fn three_nodes_become_a_cluster_and_go_on_without_one() {
    let mut cluster = Cluster::new(&[("us-east", 1), ("us-west", 1), ("eu-central", 1)], |_| {}).unwrap();
    cluster.start().unwrap();
    // The guide's reply, field by field, by command line and over HTTPS.
    let status = cluster.nodes[0]
        .wait("all sites to be active and in step", &["site", "status"], |status| {
            is_active(status)
                && status["sites"].as_array().unwrap().iter().all(|site| site["last_sync"].is_string())
        })
        .unwrap();
    let first = &status["sites"][1];
    let names: Vec<_> = first.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["name", "status", "nodes", "latency", "last_sync"]);
    assert_eq!((&first["name"], &first["nodes"]), (&json!("us-west"), &json!(1)));
    assert!(first["latency"].as_u64().is_some() && first["last_sync"].as_str().unwrap().ends_with('Z'));
    let socket = cluster.nodes[0].server.folder.path().join("control.sock");
    let table =
        process::stdout(Command::new(binary().unwrap()).arg("--site-status").arg("--socket").arg(&socket))
            .unwrap();
    assert!(table.contains("eu-central") && table.lines().count() == 4, "{table}");
    let json = cluster.nodes[0].ask(&["--site-status"]).unwrap();
    assert!(is_active(&json) && json["sites"][1].as_object().unwrap().keys().eq(&names), "{json}");
    // Over HTTPS, as the guide asks for it, for whoever has a token that may look.
    let token = cluster.nodes[0].ask(&["token", "create", "sites", "--role", "viewer"]).unwrap();
    let bearer = format!("Authorization: Bearer {}", token["token"].as_str().unwrap());
    let https = |with: &[&str]| {
        let mut curl = cluster.nodes[0].server.ns.command("curl");
        curl.args(["-ks", "--max-time", "20"]).args(with).arg("https://127.0.0.1:8081/api/v1/sites/status");
        serde_json::from_str::<Value>(&process::stdout(&mut curl).unwrap()).unwrap()
    };
    assert_eq!(https(&[])["status"], 401);
    let status = https(&["-H", &bearer]);
    assert!(is_active(&status) && status["sites"].as_array().unwrap().len() == 3, "{status}");
    assert!(status["sites"][1].as_object().unwrap().keys().eq(&names), "{status}");
    assert!(
        status["sites"][1]["latency"].is_u64() && status["sites"][1]["last_sync"].is_string(),
        "{status}"
    );
    // What only a node with sites has to say is in its figures, and in the form that Prometheus wants.
    let metrics = cluster.nodes[0].daemon.as_ref().unwrap().text("/metrics", AGREED).unwrap();
    for name in [
        "dhcp_site_status{",
        "dhcp_site_node_round_trip_seconds{",
        "dhcp_site_certificate_expiry_timestamp_seconds ",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert_eq!(tools::check_metrics(&metrics).unwrap(), "", "promtool check metrics");

    // Every node gets addresses to give out, and gives them to its clients; the others hear of it.
    for node in &cluster.nodes {
        node.wait("addresses to give out", &["site", "sync"], |sync| {
            sync["role"] == "active" && sync["blocks_held"].as_u64() > Some(0)
        })
        .unwrap();
    }
    let mut addresses = Vec::new();
    for (number, node) in (1..).zip(&cluster.nodes) {
        let lease = Scripted::new(&node.cable.socket, number).dora().unwrap();
        addresses.push(lease.address.to_string());
    }
    let distinct: std::collections::BTreeSet<_> = addresses.iter().collect();
    assert_eq!(distinct.len(), 3, "{addresses:?}");
    for node in &cluster.nodes {
        for address in &addresses {
            wait_until(AGREED, &format!("{} to know {address}", node.name), || {
                lease_on(node, address).is_some_and(|lease| lease["state"] == "bound")
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", node.log()));
        }
    }

    // Of which site's addresses a lease is, any of them can say.
    for (at, address) in addresses.iter().enumerate() {
        let (site, other) = (cluster.nodes[at].site.clone(), &cluster.nodes[(at + 1) % 3]);
        other
            .wait("the site's lease and no other", &["leases", "list", "--site", &site], |listed| {
                let listed = listed.as_array().unwrap().iter().map(|lease| lease["address"].as_str());
                listed.eq([Some(address.as_str())])
            })
            .unwrap();
    }
    let unknown = cluster.nodes[0].ask(&["leases", "list", "--site", "nowhere"]);
    assert!(unknown.is_err_and(|error| format!("{error:#}").contains("nowhere")));

    // One is killed. The others say so, and go on: its client is served by another.
    let leader = cluster.nodes[0].ask(&["site", "sync"]).unwrap()["leader"].as_str().unwrap().to_owned();
    let gone = cluster.nodes.iter().position(|node| node.name == leader).unwrap();
    let mut told = events(&cluster.nodes[(gone + 1) % 3], None);
    cluster.nodes[gone].daemon.take();
    let other = &cluster.nodes[(gone + 1) % 3];
    let site = cluster.nodes[gone].site.clone();
    other
        .wait("the dead node to be noticed", &["site", "status"], |status| {
            let sites = status["sites"].as_array().unwrap();
            sites.iter().any(|one| one["name"] == site && one["status"] == "down")
        })
        .unwrap();
    other
        .wait("another leader", &["site", "sync"], |sync| {
            sync["role"] == "active" && sync["leader"].as_str().is_some_and(|name| name != leader)
        })
        .unwrap();
    // Who follows the events hears of all that.
    let (down, taken) = (format!("{site} is down: "), "\"kind\":\"taken_over\"".to_owned());
    for text in [down.as_str(), "\"kind\":\"leader\"", taken.as_str()] {
        told.wait_output(text, AGREED).unwrap();
    }
    let event = event_with(&told, &taken);
    assert!(event["before"] == *leader && event["blocks"].as_u64() > Some(0), "{event:#}");
    let event = event_with(&told, &down);
    assert_eq!((&event["kind"], &event["now"]), (&"status".into(), &"down".into()), "{event:#}");
    let mut resumed = events(other, Some(event["id"].as_u64().unwrap() - 1));
    resumed.wait_output(&taken, AGREED).unwrap();
    let first = resumed.output().lines().find_map(|line| line.strip_prefix("id: ").map(str::to_owned));
    assert_eq!(first, Some(event["id"].to_string()), "not earlier ones");
    let client = u8::try_from(gone + 1).unwrap();
    let address = addresses[gone].parse().unwrap();
    let moved = Scripted::new(&other.cable.socket, client);
    let (reply, _) = moved.ask(&moved.rebinding(address)).unwrap();
    assert_eq!((reply.kind(), reply.yiaddr), (5, address), "its lease is known here");

    // It comes back, and is told what it missed.
    let late = Scripted::new(&other.cable.socket, 9).dora().unwrap().address.to_string();
    cluster.nodes[gone].start().unwrap();
    wait_active(&cluster.nodes[gone]);
    told.wait_output(&format!("{site} is active: "), AGREED).unwrap();
    wait_until(AGREED, "the node that came back to know what it missed", || {
        lease_on(&cluster.nodes[gone], &late).is_some_and(|lease| lease["state"] == "bound")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.nodes[gone].log()));
}

#[test]
fn what_differs_is_refused_and_named_and_a_certificate_can_be_replaced() {
    let mut cluster = Cluster::new(&[("a", 1), ("b", 1)], |config| {
        *config.pointer_mut("/dhcp/datacenter/multi_site/failover/enabled").unwrap() = json!(true);
    })
    .unwrap();
    let right = cluster.nodes[1].config.clone();
    *cluster.nodes[1].config.pointer_mut("/dhcp/subnets/0/pools/0/range").unwrap() =
        json!("198.18.1.0-198.18.1.127");
    cluster.start().unwrap();
    let sync = cluster.nodes[0]
        .wait("the difference", &["site", "sync"], |sync| {
            sync["failures"]["configuration"].as_u64() > Some(0)
        })
        .unwrap();
    let problems = sync["problems"].to_string();
    assert!(problems.contains("198.18.1.255") && problems.contains("198.18.1.127"), "{problems}");
    assert!(problems.contains("no node leads"), "{problems}");
    // With the same pools both begin. Two are too few for anything to move by itself, and they say so.
    cluster.nodes[1].daemon.take().unwrap().stop().unwrap();
    cluster.nodes[1].config = right;
    cluster.nodes[1].start().unwrap();
    for node in &cluster.nodes {
        wait_active(node);
    }
    let sync = cluster.nodes[0].ask(&["site", "sync"]).unwrap();
    assert_eq!(sync["automatic_failover"], false);
    assert!(sync["problems"].to_string().contains("partner-down"), "{sync}");

    // A new certificate is taken up without a break: the link is the one that was there before.
    let links = |cluster: &Cluster| {
        let to_b = cluster.nodes[0].get("sites/b").unwrap()["members"][0]["links"].clone();
        let to_a = cluster.nodes[1].get("sites/a").unwrap()["members"][0]["links"].clone();
        assert!(to_a.as_u64() > Some(0) && to_b.as_u64() > Some(0), "{to_a} {to_b}");
        (to_a, to_b)
    };
    let (linked, failures) = (links(&cluster), sync["failures"].clone());
    let ends = sync["certificate_expires_at"].clone();
    let state = cluster.nodes[0].server.folder.path().join("sites").display().to_string();
    let name = cluster.nodes[0].name.clone();
    pki(&["node", &name, "--out", &state, "--days", "9", "--authority"], &cluster.authority()).unwrap();
    let sync = cluster.nodes[0]
        .wait("the new certificate", &["site", "sync"], |sync| sync["certificate_expires_at"] != ends)
        .unwrap();
    // It goes on: something came over it after the change.
    let received = sync["received_octets"].as_u64();
    let sync = cluster.nodes[0]
        .wait("more to come", &["site", "sync"], |sync| sync["received_octets"].as_u64() > received)
        .unwrap();
    assert_eq!(links(&cluster), linked, "no link was lost: {sync}");
    assert_eq!(sync["failures"], failures, "{sync}");

    // Cut apart, they notice; healed, they link again.
    cluster.cut(1, true);
    let down = |status: &Value| status["sites"][1]["status"] == "down";
    cluster.nodes[0].wait("the cut to be noticed", &["site", "status"], down).unwrap();
    cluster.cut(1, false);
    wait_active(&cluster.nodes[0]);
    // That was another link, and the loss of the first is counted and was told once.
    let again = links(&cluster);
    assert!(again.0.as_u64() > linked.0.as_u64() && again.1.as_u64() > linked.1.as_u64(), "{again:?}");
    let lost = |sync: &Value| {
        sync["failures"]["silent"].as_u64().unwrap_or(0) + sync["failures"]["broken"].as_u64().unwrap_or(0)
    };
    assert!(lost(&cluster.nodes[0].ask(&["site", "sync"]).unwrap()) > 0);
    assert_eq!(cluster.nodes[0].log().matches("the link is lost").count(), 1, "{}", cluster.nodes[0].log());
}

#[test]
fn without_encryption_nodes_talk_and_say_so_loudly() {
    let mut cluster = Cluster::new(&[("a", 1), ("b", 1)], |config| {
        set(config, "/dhcp/datacenter/multi_site/synchronization/encryption", json!(false));
        set(config, "/dhcp/datacenter/multi_site/link/allow_unencrypted", json!(true));
    })
    .unwrap();
    cluster.start().unwrap();
    for node in &cluster.nodes {
        wait_active(node);
        assert!(node.log().contains("synchronization.encryption is OFF"), "{}", node.log());
        assert_eq!(node.ask(&["site", "sync"]).unwrap()["certificate_expires_at"], Value::Null);
    }
    // Where the links can be reached from elsewhere, that must be asked for.
    let node = &mut cluster.nodes[0];
    node.daemon.take().unwrap().stop().unwrap();
    set(&mut node.config, "/dhcp/datacenter/multi_site/link/allow_unencrypted", json!(false));
    let refused = format!("{:#}", node.start().unwrap_err());
    assert!(refused.contains("allow_unencrypted"), "{refused}");
}
