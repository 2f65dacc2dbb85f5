//! What is accepted, and what becomes of it.

use std::{net::Ipv4Addr, sync::Arc};

use super::*;
use crate::config::{
    digest,
    model::{AttachMode, HostIdentity, KernelLog, Link, OptionValue, VlanTags},
};

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let config = good(&dhcp(""));
    assert!(config.interfaces.is_empty() && config.subnets.is_empty() && config.multi_site.is_none());
    assert!(config.authoritative);
    assert_eq!(config.store.path.to_str(), Some("/var/lib/simple-dhcpd"));
    assert_eq!(config.control.socket.to_str(), Some("/run/simple-dhcpd/control.sock"));
    let fastpath = &config.fastpath;
    assert_eq!(fastpath.pin_path.to_str(), Some("/sys/fs/bpf/simple-dhcpd"));
    assert_eq!((fastpath.authority_secs, fastpath.horizon_permille), (3600, 2000));
    assert_eq!((fastpath.answers_max, fastpath.kernel_log), (4096, KernelLog::Off));

    let policy = Arc::clone(&good(&subnet("")).subnets[0].policy);
    assert_eq!(policy.lease_default_secs, 7200);
    assert_eq!((policy.lease_min_secs, policy.lease_max_secs), (7200, 7200));
    assert_eq!((policy.t1_permille, policy.t2_permille), (500, 875));
    assert_eq!(policy.next_server, Ipv4Addr::UNSPECIFIED);
    let mask = OptionValue { bytes: vec![255, 255, 0, 0], always: false };
    assert_eq!(
        policy.options.iter().collect::<Vec<_>>(),
        [(&1, &mask)],
        "the mask is derived, nothing else is"
    );
}

#[test]
fn interfaces_are_names_or_objects() {
    let text = dhcp(
        r#""interfaces": ["eth0", {"name": "eth1", "address": "198.18.0.1", "mode": "generic"}, {"name": "eth2"}]"#,
    );
    let config = good(&text);
    let list: Vec<_> = config.interfaces.iter().map(|i| (i.name.as_str(), i.address, i.mode)).collect();
    assert_eq!(
        list,
        [
            ("eth0", None, AttachMode::Auto),
            ("eth1", Some(Ipv4Addr::new(198, 18, 0, 1)), AttachMode::Generic),
            ("eth2", None, AttachMode::Auto),
        ]
    );
    let off = good(&text.replace("\"interfaces\"", r#""fastpath": {"enabled": false}, "interfaces""#));
    assert!(off.interfaces.iter().all(|interface| interface.mode == AttachMode::Off));
}

#[test]
fn subnets_and_pools_are_sorted_and_links_resolved() {
    let config = good(&dhcp(
        r#""interfaces": ["eth0", "eth1"],
           "subnets": [
             {"subnet": "198.19.0.0/24", "interface": "eth1", "vlans": [100, 7]},
             {"subnet": "198.18.0.0/16", "interface": "eth1", "vlan": 5,
              "pools": [{"range": "198.18.9.0/24"}, {"range": "198.18.1.0 - 198.18.1.9"}]},
             {"subnet": "198.19.1.0/24", "relays": ["198.19.2.1"]}
           ]"#,
    ));
    let prefixes: Vec<String> = config.subnets.iter().map(|subnet| subnet.prefix.to_string()).collect();
    assert_eq!(prefixes, ["198.18.0.0/16", "198.19.0.0/24", "198.19.1.0/24"]);
    let links: Vec<_> = config.subnets.iter().map(|subnet| subnet.link).collect();
    assert_eq!(
        links,
        [
            Some(Link { interface: 1, vlans: VlanTags { outer: 5, inner: 0 } }),
            Some(Link { interface: 1, vlans: VlanTags { outer: 100, inner: 7 } }),
            None,
        ]
    );
    assert_eq!(config.subnets[2].relays, [Ipv4Addr::new(198, 19, 2, 1)]);
    let pools: Vec<_> =
        config.subnets[0].pools.iter().map(|pool| format!("{}-{}", pool.first, pool.last)).collect();
    assert_eq!(pools, ["198.18.1.0-198.18.1.9", "198.18.9.0-198.18.9.255"]);
}

#[test]
fn subnets_on_one_link_are_a_shared_network() {
    good(&dhcp(
        r#""interfaces": ["eth0"],
           "subnets": [{"subnet": "198.18.0.0/24", "interface": "eth0", "relays": ["198.19.0.1"]},
                       {"subnet": "198.18.1.0/24", "interface": "eth0", "relays": ["198.19.0.1"]}]"#,
    ));
}

#[test]
fn point_to_point_subnets_use_all_their_addresses() {
    let config = good(&dhcp(
        r#""subnets": [{"subnet": "198.18.0.0/31", "pools": [{"range": "198.18.0.0/31"}]},
                       {"subnet": "198.18.0.2/32", "pools": [{"range": "198.18.0.2/32"}]}]"#,
    ));
    assert_eq!(config.subnets[1].pools[0].first, Ipv4Addr::new(198, 18, 0, 2));
}

const LEVELS: &str = r#"
    "lease_secs": 1000, "lease_max_secs": 5000, "next_server": "198.18.0.9", "boot_file": "global",
    "options": [{"name": "domain-name-servers", "value": ["198.18.0.53"]}, {"name": "domain-name", "value": "global"},
                {"code": 224, "type": "u16", "value": 1, "always": true}],
    "interfaces": ["eth0"],
    "subnets": [{
        "subnet": "198.18.0.0/16", "interface": "eth0", "lease_secs": 2000, "t1_percent": 33.3,
        "options": [{"name": "domain-name", "value": "subnet"}, {"name": "routers", "value": "198.18.0.1"}],
        "pools": [
            {"range": "198.18.1.0/24", "lease_secs": 3000, "boot_file": "",
             "options": [{"name": "domain-name", "value": null}, {"code": 224, "value": null}]},
            {"range": "198.18.2.0/24"}
        ],
        "reservations": [
            {"hw_address": "02:00:00:00:00:01", "address": "198.18.1.5", "hostname": "inside"},
            {"client_id": "text:abc", "address": "198.18.1.6", "next_server": "0.0.0.0", "lease_secs": 4000},
            {"circuit_id": "hex:00:0a", "address": "198.18.200.1"}
        ]
    }]"#;

#[test]
fn each_level_overrides_the_one_before() {
    let config = good(&dhcp(LEVELS));
    let subnet = &config.subnets[0];
    let text = |policy: &crate::config::model::Policy, code: u8| {
        policy.options.get(&code).map(|value| String::from_utf8_lossy(&value.bytes).into_owned())
    };

    assert_eq!((subnet.policy.lease_default_secs, subnet.policy.lease_max_secs), (2000, 5000));
    assert_eq!((subnet.policy.t1_permille, subnet.policy.t2_permille), (333, 875));
    assert_eq!(subnet.policy.lease_min_secs, 2000, "without a minimum of its own: the default");
    assert_eq!(text(&subnet.policy, 15).as_deref(), Some("subnet"));
    assert_eq!(subnet.policy.options[&224], OptionValue { bytes: vec![0, 1], always: true });
    assert_eq!(subnet.policy.options[&3].bytes, [198, 18, 0, 1]);

    let pool = &subnet.pools[0].policy;
    assert_eq!(pool.lease_default_secs, 3000);
    assert_eq!(pool.boot_file, b"");
    assert_eq!((text(pool, 15), text(pool, 224)), (None, None), "null takes away what is inherited");
    assert_eq!(pool.options[&6].bytes, [198, 18, 0, 53]);
    assert_eq!(pool.options[&1].bytes, [255, 255, 0, 0], "the mask is the subnet's");

    assert!(Arc::ptr_eq(&subnet.pools[1].policy, &subnet.policy), "equal policies are one");
    let [inside, own, outside] = &subnet.reservations[..] else { panic!("three reservations") };
    assert!(Arc::ptr_eq(&inside.policy, pool), "inside a pool, the pool's settings hold");
    assert_eq!(inside.hostname.as_deref(), Some("inside"));
    assert_eq!(inside.identity, HostIdentity::Hardware([2, 0, 0, 0, 0, 1]));
    assert_eq!((own.policy.lease_default_secs, own.policy.next_server), (4000, Ipv4Addr::UNSPECIFIED));
    assert_eq!(text(&own.policy, 15), None, "its own settings stand over the pool's, not the subnet's");
    assert_eq!(own.identity, HostIdentity::ClientId(b"abc".to_vec()));
    assert!(Arc::ptr_eq(&outside.policy, &subnet.policy));
    assert_eq!(outside.identity, HostIdentity::CircuitId(vec![0, 10]));
}

#[test]
fn the_digest_tells_what_shapes_replies_and_nothing_else() {
    let before = digest(&good(&dhcp(LEVELS)));
    assert_eq!(
        before[..8],
        [160, 231, 225, 39, 23, 120, 115, 7],
        "the digest of one configuration must stay the same between builds"
    );
    let with = |from: &str, to: &str| {
        assert!(LEVELS.contains(from));
        digest(&good(&dhcp(&LEVELS.replace(from, to))))
    };
    for (from, to) in [
        ("\"lease_secs\": 3000", "\"lease_secs\": 3001"),
        ("\"always\": true", "\"always\": false"),
        ("198.18.200.1", "198.18.200.2"),
        ("02:00:00:00:00:01", "02:00:00:00:00:02"),
        ("\"hostname\": \"inside\"", "\"hostname\": \"insider\""),
        ("\"interfaces\": [\"eth0\"]", "\"interfaces\": [{\"name\": \"eth0\", \"address\": \"198.18.0.1\"}]"),
        ("\"interface\": \"eth0\"", "\"interface\": \"eth0\", \"vlan\": 7"),
        ("\"interface\": \"eth0\"", "\"interface\": \"eth0\", \"relays\": [\"198.19.0.1\"]"),
        ("198.18.2.0/24", "198.18.2.0/25"),
        ("text:abc", "text:abd"),
        ("\"t1_percent\": 33.3", "\"t1_percent\": 33.4"),
        ("\"interfaces\"", "\"authoritative\": false, \"interfaces\""),
    ] {
        assert_ne!(with(from, to), before, "{from} -> {to}");
    }
    for (from, to) in [
        ("\"interfaces\"", "\"store\": {\"path\": \"/elsewhere\"}, \"interfaces\""),
        ("\"interfaces\": [\"eth0\"]", "\"interfaces\": [{\"name\": \"eth0\", \"mode\": \"off\"}]"),
        ("198.18.1.0/24", "198.18.1.0-198.18.1.255"),
        ("\"interfaces\"", "\"fastpath\": {\"authority_secs\": 60}, \"interfaces\""),
    ] {
        assert_eq!(with(from, to), before, "{from} -> {to}");
    }
    let two = |interfaces: &str| {
        digest(&good(&dhcp(
            &LEVELS.replace("\"interfaces\": [\"eth0\"]", &format!("\"interfaces\": {interfaces}")),
        )))
    };
    assert_eq!(two(r#"["eth0", "eth1"]"#), two(r#"["eth1", "eth0"]"#), "order is not meaning");
}
