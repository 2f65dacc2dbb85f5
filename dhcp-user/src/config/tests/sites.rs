//! The customer's guide is a contract: its fragments are taken as they stand there, and its contradictions refused.

use serde_json::{Value, json};

use super::{bad, good, messages};
use crate::config::model::{MultiSite, Strategy, SyncMode};

/// The configuration fragments of the guide, as printed there.
pub(super) const FRAGMENTS: [&str; 5] = [
    r#"{"dhcp": {"datacenter": {"multi_site": {"enabled": true, "local_site": "us-east", "sites": [
        {"name": "us-east", "nodes": ["node1-us-east.example.com", "node2-us-east.example.com"],
         "priority": 1, "latency": 0},
        {"name": "us-west", "nodes": ["node1-us-west.example.com", "node2-us-west.example.com"],
         "priority": 2, "latency": 50},
        {"name": "eu-central", "nodes": ["node1-eu.example.com", "node2-eu.example.com"],
         "priority": 3, "latency": 100}]}}}}"#,
    r#"{"dhcp": {"datacenter": {"multi_site": {"synchronization": {"mode": "async", "interval": 60,
        "batch_size": 1000, "compression": true, "encryption": true}}}}}"#,
    r#"{"dhcp": {"datacenter": {"multi_site": {"allocation": {"strategy": "geographic", "prefer_local": true,
        "fallback_sites": ["us-west", "eu-central"]}}}}}"#,
    r#"{"dhcp": {"datacenter": {"multi_site": {"failover": {"enabled": true, "detection_interval": 10,
        "failover_timeout": 30, "preferred_sites": ["us-east", "us-west"]}}}}}"#,
    r#"{"dhcp": {"datacenter": {"multi_site": {"bandwidth": {"optimization": true, "max_bandwidth": 1000,
        "compression": true, "deduplication": true}}}}}"#,
];

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The first `count` fragments, merged.
pub(super) fn merged(count: usize) -> Value {
    let mut whole = Value::Null;
    for fragment in &FRAGMENTS[..count] {
        merge(&mut whole, serde_json::from_str(fragment).unwrap());
    }
    whole
}

fn section(config: &Value) -> MultiSite {
    good(&config.to_string()).multi_site.unwrap()
}

/// The messages for the guide's configuration with the value at `pointer` (inside `multi_site`) replaced.
fn with(pointer: &str, value: Value) -> Vec<String> {
    let mut whole = merged(5);
    *whole.pointer_mut(&format!("/dhcp/datacenter/multi_site{pointer}")).unwrap() = value;
    messages(&whole.to_string())
        .into_iter()
        .map(|message| message.strip_prefix("dhcp.datacenter.multi_site.").unwrap_or(&message).to_owned())
        .collect()
}

#[test]
fn the_guides_fragments_are_accepted_and_understood() {
    let guide = section(&merged(5));
    assert!(guide.enabled);
    assert_eq!(guide.local_site, "us-east");
    assert_eq!(guide.sites.len(), 3);
    assert_eq!((guide.sites[1].priority, guide.sites[1].latency_ms), (2, 50));
    assert_eq!(guide.sites[2].nodes, ["node1-eu.example.com", "node2-eu.example.com"]);
    let sync = &guide.synchronization;
    assert_eq!((sync.mode, sync.interval_secs, sync.batch_size), (SyncMode::Async, 60, 1000));
    assert!(sync.compression && sync.encryption);
    assert_eq!(guide.allocation.strategy, Strategy::Geographic);
    assert_eq!(guide.allocation.fallback_sites, ["us-west", "eu-central"]);
    assert_eq!((guide.failover.detection_interval_secs, guide.failover.failover_timeout_secs), (10, 30));
    assert_eq!(guide.failover.preferred_sites, ["us-east", "us-west"]);
    assert!(guide.failover.enabled && guide.bandwidth.optimization && guide.bandwidth.deduplication);
    assert_eq!(guide.bandwidth.max_mbit_per_s, 1000);
}

#[test]
fn every_section_may_be_left_out() {
    let alone = section(&merged(1));
    assert!(!alone.failover.enabled && !alone.bandwidth.optimization && alone.allocation.prefer_local);
    assert_eq!(
        alone.synchronization,
        section(&merged(5)).synchronization,
        "the guide's values are the defaults"
    );
    for count in 1..=5 {
        section(&merged(count));
    }
    let off = section(&json!({"dhcp": {"datacenter": {"multi_site": {"enabled": false}}}}));
    assert!(!off.enabled && off.sites.is_empty() && off.local_site.is_empty());
    assert!(good(r#"{"dhcp": {"datacenter": {}}}"#).multi_site.is_none());
}

#[test]
fn switched_off_it_is_accepted_and_still_checked() {
    let mut whole = merged(5);
    whole["dhcp"]["datacenter"]["multi_site"]["enabled"] = json!(false);
    assert!(!section(&whole).enabled);
    whole["dhcp"]["datacenter"]["multi_site"]["local_site"] = json!("mars");
    assert_eq!(
        messages(&whole.to_string()),
        [
            "dhcp.datacenter.multi_site.local_site: site \"mars\" is not in `sites`; it may be `us-east`, `us-west`, \
          `eu-central`"
        ]
    );
}

#[test]
fn contradictions_are_named() {
    assert_eq!(
        with("/local_site", json!("us-eats")),
        ["local_site: site \"us-eats\" is not in `sites`; did you mean `us-east`?"]
    );
    assert_eq!(
        with("/sites/1/name", json!("us-east")),
        [
            "sites[1].name: site `us-east` is listed already in sites[0]; rename one",
            "allocation.fallback_sites[0]: site \"us-west\" is not in `sites`; did you mean `us-east`?",
            "failover.preferred_sites[1]: site \"us-west\" is not in `sites`; did you mean `us-east`?",
        ]
    );
    assert_eq!(
        with("/sites/1/nodes/0", json!("Node1-US-East.example.com")),
        [
            "sites[1].nodes[0]: node `Node1-US-East.example.com` is listed already in sites[0]; a node has one site"
        ]
    );
    assert_eq!(
        with("/sites/2/nodes", json!([])),
        ["sites[2].nodes: a site needs at least one node; list host names or IP addresses"]
    );
    assert_eq!(
        with("/sites/2/nodes", json!(["a b", "2001:db8::1"])),
        ["sites[2].nodes[0]: \"a b\" is neither a host name nor an IP address"]
    );
    assert_eq!(
        with("/sites/2", json!({"name": "eu central", "nodes": ["x"], "priority": 0, "latency": 60001})),
        [
            "sites[2].name: \"eu central\" cannot be a site's name; use letters, digits, `-`, `_` and `.`, at most 63",
            "sites[2].priority: 0 is out of range; it may be 1 to 4294967295 (1 is the most preferred)",
            "sites[2].latency: 60001 is out of range; it may be 0 to 60000 ms",
            "allocation.fallback_sites[1]: site \"eu-central\" is not in `sites`; did you mean `eu central`?",
        ]
    );
    assert_eq!(
        with("/allocation/fallback_sites", json!(["us-west", "us-west"])),
        ["allocation.fallback_sites[1]: site \"us-west\" is listed twice; remove one"]
    );
    assert_eq!(
        with("/failover/failover_timeout", json!(10)),
        [
            "failover.failover_timeout: 10 s is not above detection_interval (10 s): a site must be suspect before it is \
          given up; raise it"
        ]
    );
    assert_eq!(
        with("/failover/detection_interval", json!(0)),
        ["failover.detection_interval: 0 is out of range; it may be 1 to 3600 s"]
    );
    assert_eq!(
        with("/synchronization", json!({"mode": "asynch", "interval": 0, "batch_size": 0})),
        [
            "synchronization.mode: \"asynch\" is not known here; did you mean `async`?",
            "synchronization.interval: 0 is out of range; it may be 1 to 86400 s",
            "synchronization.batch_size: 0 is out of range; it may be 1 to 1000000 updates",
        ]
    );
    assert_eq!(
        with("/bandwidth/compression", json!(false)),
        ["bandwidth.compression: false, but synchronization.compression is true; make them agree"]
    );
    assert_eq!(
        with("/bandwidth/deduplication", json!(false)),
        [
            "bandwidth.deduplication: what is sent of a lease is always the latest of its updates, never several: leave \
          it true"
        ]
    );
    assert_eq!(
        with("/bandwidth/max_bandwidth", json!(0)),
        ["bandwidth.max_bandwidth: 0 is out of range; it may be 1 to 1000000 Mbit/s"]
    );
    assert_eq!(
        with("/allocation/strategy", json!("nearest")),
        [
            "allocation.strategy: \"nearest\" is not known here; it may be `geographic`, `priority`, `balanced`"
        ]
    );
}

#[test]
fn what_needs_a_second_party_is_refused_without() {
    let alone = json!({"dhcp": {"datacenter": {"multi_site": {
        "enabled": true, "local_site": "a", "sites": [{"name": "a", "nodes": ["n"]}],
        "failover": {"enabled": true}, "synchronization": {"mode": "sync"}}}}});
    assert_eq!(
        messages(&alone.to_string()),
        [
            "dhcp.datacenter.multi_site.failover.enabled: failover needs a second site to move addresses to; list \
             one, or set this to false",
            "dhcp.datacenter.multi_site.synchronization.mode: in mode `sync` a client's answer waits for a peer, and \
             there is none; list one, or use `async`",
        ]
    );
    assert_eq!(
        bad(r#"{"dhcp": {"datacenter": {"multi_site": {"enabled": true}}}}"#),
        "test.json:1:40: dhcp.datacenter.multi_site: the key `local_site` is missing; name the site this node belongs \
         to\n\
         test.json:1:40: dhcp.datacenter.multi_site: enabled without `sites`; list the sites, or set `enabled` to false"
    );
}

#[test]
fn unknown_keys_of_the_contract_are_refused() {
    assert_eq!(
        messages(r#"{"dhcp": {"datacenter": {"multi_site": {"failover": {"detection_intervall": 3}}}}}"#),
        [
            "dhcp.datacenter.multi_site.failover.detection_intervall: unknown key `detection_intervall`; did you mean \
          `detection_interval`?"
        ]
    );
}

#[test]
fn what_the_guide_leaves_open_has_keys_and_defaults() {
    let guide = section(&merged(5));
    assert_eq!(guide.link.listen, "0.0.0.0:8067".parse().unwrap());
    assert_eq!(guide.link.state_path, std::path::Path::new("/var/lib/simple-dhcpd/sites"));
    assert_eq!(guide.link.ca, guide.link.state_path.join("ca.pem"));
    assert_eq!((guide.failover.mclt_secs, guide.failover.delegation_secs), (3_600, 30));
    let mut whole = merged(5);
    let written = &mut whole["dhcp"]["datacenter"]["multi_site"];
    written["node"] = json!("NODE2-us-east.example.com");
    written["link"] = json!({"listen": "198.18.0.1:99", "state_path": "/x", "key": "/k", "addresses": [
        {"node": "node1-eu.example.com", "address": "[2001:db8::1]:7"},
        {"node": "node2-eu.example.com", "address": "eu2.example.com:8"}]});
    let link = section(&whole).link;
    let at = |host: &str, node: &str, port| (node.to_owned(), host.to_owned(), port);
    assert_eq!(
        link.addresses,
        [at("2001:db8::1", "node1-eu.example.com", 7), at("eu2.example.com", "node2-eu.example.com", 8)]
    );
    assert_eq!((link.key.to_str(), link.certificate.to_str()), (Some("/k"), Some("/x/certificate.pem")));
}

/// The messages for the guide's configuration with these keys added to `multi_site`.
fn added(keys: Value) -> Vec<String> {
    let mut whole = merged(5);
    merge(&mut whole["dhcp"]["datacenter"]["multi_site"], keys);
    messages(&whole.to_string())
        .into_iter()
        .map(|message| message.strip_prefix("dhcp.datacenter.multi_site.").unwrap_or(&message).to_owned())
        .collect()
}

#[test]
fn contradictions_of_links_are_named() {
    assert_eq!(
        added(json!({"node": "node1-us-west.example.com"})),
        ["node: node \"node1-us-west.example.com\" is not of the local site, `us-east`; did you mean \
          `node1-us-east.example.com`?"]
    );
    assert_eq!(
        added(json!({"synchronization": {"encryption": false}})),
        [
            "link.listen: 0.0.0.0:8067 can be reached from elsewhere and synchronization.encryption is off: turn it \
             on, or, where nobody else is on the way, set `allow_unencrypted`"
        ]
    );
    for allowed in [json!({"allow_unencrypted": true}), json!({"listen": "127.0.0.1:8067"})] {
        let mut whole = merged(5);
        let written = &mut whole["dhcp"]["datacenter"]["multi_site"];
        written["synchronization"]["encryption"] = json!(false);
        written["link"] = allowed;
        assert!(!section(&whole).synchronization.encryption);
    }
    assert_eq!(
        added(json!({"link": {"listen": "0.0.0.0:8081"}})),
        ["link.listen: port 8081 is the API's; choose another"]
    );
    assert_eq!(
        added(
            json!({"link": {"listen": "8067", "addresses": [{"node": "node3-eu.example.com", "address": "x:1"},
            {"node": "node1-eu.example.com", "address": "x"}]}})
        ),
        [
            "link.listen: \"8067\" is not an address with a port; write 0.0.0.0:8067 or [::]:8067",
            "link.addresses[0].node: node \"node3-eu.example.com\" is not in `sites`; did you mean \
             `node1-eu.example.com`?",
            "link.addresses[1].address: \"x\" is not an address or host name with a port; write 198.18.0.1:8067",
        ]
    );
    assert_eq!(
        added(json!({"failover": {"delegation_secs": 31, "mclt_secs": 0}})),
        [
            "failover.mclt_secs: 0 is out of range; it may be 1 to 86400 s",
            "failover.delegation_secs: 31 s is above failover_timeout (30 s), after which others take over what this \
             node may still give out; lower it",
        ]
    );
}

/// Two interfaces, a subnet, and two sites of which these are the service addresses.
fn sharing(interface: &str, local: &str, other: &str, enabled: bool) -> String {
    format!(
        r#"{{"dhcp": {{"interfaces": ["eth0", {interface}], "subnets": [{{"subnet": "198.18.0.0/16", "interface": "eth0",
            "pools": [{{"range": "198.18.1.0/24"}}]}}],
            "datacenter": {{"multi_site": {{"enabled": {enabled}, "local_site": "a", "sites": [
                {{"name": "a", "nodes": ["x"], "service_addresses": [{local}]}},
                {{"name": "b", "nodes": ["y"], "service_addresses": [{other}]}}]}}}}}}}}"#
    )
}

#[test]
fn service_addresses_become_the_servers_addresses_of_their_interfaces() {
    let shared = r#"{"address": "198.18.0.2", "interface": "eth1"}"#;
    let other = r#"{"address": "198.18.0.3", "interface": "of-another"}"#;
    let config = good(&sharing(r#""eth1""#, shared, other, true));
    let address = Some([198, 18, 0, 2].into());
    assert_eq!((config.interfaces[0].address, config.interfaces[1].address), (None, address));
    let here: Vec<_> =
        config.shared_addresses().map(|shared| (Some(shared.address), shared.interface)).collect();
    assert_eq!(here, [(address, 1)]);
    // The same address may be written at both places.
    good(&sharing(r#"{"name": "eth1", "address": "198.18.0.2"}"#, shared, other, true));
    let off = good(&sharing(r#""eth1""#, shared, other, false));
    assert_eq!((off.interfaces[1].address, off.shared_addresses().count()), (None, 0));
}

#[test]
fn service_addresses_that_cannot_be_are_named() {
    let path = "dhcp.datacenter.multi_site.sites[0].service_addresses[0]";
    let refused =
        |interface: &str, local: &str, other: &str| messages(&sharing(interface, local, other, true));
    assert_eq!(
        refused(r#""eth1""#, r#"{"address": "198.18.0.2"}"#, ""),
        [format!("{path}.interface: there are 2 interfaces; name the one of dhcp.interfaces it lives on")]
    );
    assert_eq!(
        refused(r#""eth1""#, r#"{"address": "198.18.0.2", "interface": "wlan7"}"#, ""),
        [format!("{path}.interface: \"wlan7\" is not in dhcp.interfaces; it may be `eth0`, `eth1`")]
    );
    assert_eq!(
        refused(r#""eth1""#, r#"{"address": "198.18.1.2", "interface": "eth1"}"#, ""),
        [format!(
            "{path}.address: 198.18.1.2 is given to clients of subnet 198.18.0.0/16; take it out of there"
        )]
    );
    let here = r#"{"address": "198.18.0.2", "interface": "eth1"}"#;
    assert_eq!(
        refused(r#""eth1""#, here, here),
        [
            "dhcp.datacenter.multi_site.sites[1].service_addresses[0].address: 198.18.0.2 is an address of sites[0] \
          already; a site has its own"
        ]
    );
    let two = refused(r#"{"name": "eth1", "address": "198.18.0.9"}"#, here, "");
    assert!(two[0].starts_with(&format!("{path}.address: ")) && two[0].contains("198.18.0.9"), "{two:?}");
    let multicast = refused(r#""eth1""#, r#"{"address": "224.0.0.1", "interface": "eth1"}"#, "");
    assert!(multicast[0].contains("unicast"), "{multicast:?}");
}
