//! What is refused, and with which words: the exact message is what an operator works with.

use super::*;

#[test]
fn text_that_is_not_json_is_shown_where_it_stops_making_sense() {
    assert_eq!(bad(""), "test.json:1:0: not valid JSON: EOF while parsing a value");
    assert_eq!(bad("{\n  \"dhcp\": {,}\n}"), "test.json:2:12: dhcp: not valid JSON: key must be a string");
    assert_eq!(bad("{\"dhcp\": {}} x"), "test.json:1:14: not valid JSON: trailing characters");
    assert_eq!(
        bad(&"[".repeat(200)).lines().count(),
        1,
        "nesting without end is one fault and no stack overflow"
    );
}

#[test]
fn unknown_keys_come_with_the_nearest_known_one() {
    assert_eq!(
        bad("{\n  \"dhcp\": {\n    \"subnts\": []\n  }\n}"),
        "test.json:3:15: dhcp.subnts: unknown key `subnts`; did you mean `subnets`?"
    );
    assert_eq!(
        messages(&subnet(r#""pools": [{"rnage": "198.18.1.0/24"}]"#)),
        ["dhcp.subnets[0].pools[0].rnage: unknown key `rnage`; did you mean `range`?"]
    );
    assert_eq!(
        messages(&dhcp(r#""interfaces": [{"name": "eth0", "adress": "198.18.0.1"}]"#)),
        ["dhcp.interfaces[0].adress: unknown key `adress`; did you mean `address`?"]
    );
    assert_eq!(
        messages(&dhcp(r#""store": {"directory": "/x"}"#)),
        ["dhcp.store.directory: unknown key `directory`; it may be `path`"]
    );
    assert_eq!(messages(r#"{"dhpc": {}}"#), ["dhpc: unknown key `dhpc`; did you mean `dhcp`?"]);
    assert_eq!(
        messages(&dhcp("\"store\": {\"a\\u001b`b\": 1}")),
        ["dhcp.store.a\\u{1b}`b: unknown key `a\\u{1b}`b`; it may be `path`"],
        "control characters of a file reach no terminal"
    );
}

#[test]
fn a_key_given_twice_is_refused_at_any_depth() {
    assert_eq!(
        bad("{\"dhcp\": {\n\"authoritative\": true,\n\"authoritative\": false}}"),
        "test.json:3:15: dhcp: the key `authoritative` is given twice in one object; keep one of them"
    );
    assert_eq!(
        messages(&dhcp(r#""options": [{"code": 249, "value": [{"to": "10.0.0.0/8", "to": "11.0.0.0/8"}]}]"#)),
        ["dhcp.options[0].value[0]: the key `to` is given twice in one object; keep one of them"]
    );
}

#[test]
fn wrong_types_are_named_as_json_has_them() {
    assert_eq!(bad("{}"), "test.json:1:1: the key `dhcp` is missing");
    for (text, message) in [
        ("[{}]".to_owned(), "test.json:1:1: invalid type: sequence, expected an object"),
        (
            dhcp(r#""store": ["/x"]"#),
            "test.json:1:20: dhcp.store: invalid type: sequence, expected an object",
        ),
        (
            dhcp(r#""subnets": [["198.18.0.0/16"]]"#),
            "test.json:1:23: dhcp.subnets[0]: invalid type: sequence, expected an object",
        ),
    ] {
        assert_eq!(bad(&text), message, "an array is no object, whatever the order of its values");
    }
    assert_eq!(
        messages(&dhcp(r#""authoritative": "yes""#)),
        ["dhcp.authoritative: invalid type: string \"yes\", expected true or false"]
    );
    assert_eq!(
        messages(&dhcp(r#""lease_secs": -1"#)),
        ["dhcp.lease_secs: invalid value: integer `-1`, expected a whole number from 0 to 4294967295"]
    );
    assert_eq!(
        messages(&dhcp(r#""lease_secs": 1.5"#)),
        ["dhcp.lease_secs: invalid type: floating point `1.5`, expected a whole number from 0 to 4294967295"]
    );
    assert_eq!(
        messages(&dhcp(r#""interfaces": [7]"#)),
        [
            "dhcp.interfaces[0]: invalid type: integer `7`, expected an interface name or an object with `name`"
        ]
    );
    assert_eq!(messages(&dhcp(r#""interfaces": [{}]"#)), ["dhcp.interfaces[0]: the key `name` is missing"]);
    assert_eq!(messages(&dhcp(r#""subnets": {}"#)), ["dhcp.subnets: invalid type: map, expected an array"]);
    assert_eq!(
        messages(&dhcp(r#""store": 3"#)),
        ["dhcp.store: invalid type: integer `3`, expected an object"]
    );
}

#[test]
fn all_faults_are_found_in_one_round_and_each_is_located() {
    let text = r#"{
  "dhcp": {
    "interfaces": ["eth0", "eth0"],
    "subnets": [
      {"subnet": "198.18.0.1/16", "interface": "eth1"},
      {"subnet": "198.19.0.0/24",
       "pools": [{"range": "198.19.0.0-198.19.0.9"}],
       "reservations": [{"address": "198.20.0.1"}]}
    ]
  }
}"#;
    assert_eq!(
        bad(text).lines().collect::<Vec<_>>(),
        [
            "test.json:3:28: dhcp.interfaces[1]: interface `eth0` is listed already at dhcp.interfaces[0]; remove one",
            "test.json:5:48: dhcp.subnets[0].interface: interface \"eth1\" is not in dhcp.interfaces; did you mean `eth0`?",
            "test.json:5:18: dhcp.subnets[0].subnet: 198.18.0.1/16 has bits beyond its prefix length; write 198.18.0.0/16",
            "test.json:7:28: dhcp.subnets[1].pools[0].range: 198.19.0.0-198.19.0.9 contains 198.19.0.0, the network \
             address of 198.19.0.0/24, which no host can have; write 198.19.0.1-198.19.0.9",
            "test.json:8:25: dhcp.subnets[1].reservations[0]: nothing says whose it is; give one of `hw_address`, \
             `client_id`, `circuit_id`",
        ]
    );
}

#[test]
fn a_flood_of_faults_is_cut() {
    let many = vec![r#"{"range": "x"}"#; 150].join(",");
    let text = bad(&subnet(&format!(r#""pools": [{many}]"#)));
    assert_eq!(text.lines().count(), 101);
    assert!(text.ends_with("\ntest.json: and 50 more"), "{text}");
}

#[test]
fn pools_must_lie_inside_and_apart() {
    let pools = |ranges: &[&str]| {
        let list: Vec<String> = ranges.iter().map(|range| format!(r#"{{"range": "{range}"}}"#)).collect();
        messages(&subnet(&format!(r#""pools": [{}]"#, list.join(","))))
    };
    assert_eq!(
        pools(&["198.18.1.0/24", "198.18.1.255-198.18.2.9"]),
        ["dhcp.subnets[0].pools[1].range: 198.18.1.255-198.18.2.9 overlaps dhcp.subnets[0].pools[0] \
          (198.18.1.0-198.18.1.255); make one of them shorter"]
    );
    assert_eq!(
        pools(&["198.18.1.0-198.18.9.0", "198.18.2.0/24", "198.18.4.0/24"]).len(),
        2,
        "a pool that holds two others overlaps both"
    );
    assert_eq!(
        pools(&["198.19.1.0/24"]),
        [
            "dhcp.subnets[0].pools[0].range: 198.19.1.0-198.19.1.255 is not inside the subnet 198.18.0.0/16; move or \
          shorten it"
        ]
    );
    assert_eq!(
        pools(&["198.18.0.0/16"]),
        [
            "dhcp.subnets[0].pools[0].range: 198.18.0.0-198.18.255.255 contains 198.18.0.0, the network address of \
          198.18.0.0/16, which no host can have; write 198.18.0.1-198.18.255.254"
        ]
    );
    assert_eq!(
        pools(&["198.18.255.0/24"]),
        [
            "dhcp.subnets[0].pools[0].range: 198.18.255.0-198.18.255.255 contains 198.18.255.255, the broadcast address \
          of 198.18.0.0/16, which no host can have; write 198.18.255.0-198.18.255.254"
        ]
    );
    assert_eq!(
        pools(&["198.18.1.9-198.18.1.3"]),
        ["dhcp.subnets[0].pools[0].range: the range ends before it begins; write 198.18.1.3-198.18.1.9"]
    );
    assert_eq!(
        pools(&["198.18.1.3"]),
        ["dhcp.subnets[0].pools[0].range: \"198.18.1.3\" is not a range of addresses; write it as \
          \"198.18.1.0-198.18.1.255\" or \"198.18.1.0/24\""]
    );
}

#[test]
fn no_client_gets_the_servers_own_address() {
    let text = dhcp(
        r#""interfaces": [{"name": "eth0", "address": "198.18.1.1"}],
           "subnets": [{"subnet": "198.18.0.0/16", "interface": "eth0", "pools": [{"range": "198.18.1.0/24"}],
             "reservations": [{"hw_address": "020000000001", "address": "198.18.1.1"}]}]"#,
    );
    assert_eq!(
        messages(&text),
        [
            "dhcp.subnets[0].pools[0].range: 198.18.1.0-198.18.1.255 contains 198.18.1.1, this server's own address; \
             split it in two around that",
            "dhcp.subnets[0].reservations[0].address: 198.18.1.1 is this server's own address; reserve another",
        ]
    );
}

#[test]
fn subnets_must_not_overlap() {
    let subnets = |prefixes: &[&str]| {
        let list: Vec<String> =
            prefixes.iter().map(|prefix| format!(r#"{{"subnet": "{prefix}"}}"#)).collect();
        dhcp(&format!(r#""subnets": [{}]"#, list.join(",")))
    };
    assert_eq!(
        messages(&subnets(&["198.18.4.0/24", "198.19.0.0/16", "198.18.0.0/16"])),
        [
            "dhcp.subnets[2].subnet: overlaps dhcp.subnets[0] (198.18.4.0/24 and 198.18.0.0/16); an address must belong \
          to one subnet"
        ]
    );
    assert_eq!(
        messages(&subnets(&["198.18.0.0/16", "198.18.1.0/24", "198.18.2.0/24"])).len(),
        2,
        "a subnet that holds two others overlaps both"
    );
    assert_eq!(messages(&subnets(&["198.18.0.0/16", "198.18.0.0/16"])).len(), 1);
    assert_eq!(
        messages(&subnets(&["224.0.0.0/24", "198.0.0.0/7", "here"])),
        [
            "dhcp.subnets[0].subnet: no host can have an address of 224.0.0.0/24; give a unicast network",
            "dhcp.subnets[1].subnet: 198.0.0.0/7 is wider than a /8; make smaller subnets of it",
            "dhcp.subnets[2].subnet: \"here\" is not a network and prefix length; write it as \"198.18.0.0/16\"",
        ]
    );
}

#[test]
fn the_number_of_addresses_is_bounded() {
    let list: Vec<String> = (10..12)
        .map(|n| {
            format!(r#"{{"subnet": "{n}.0.0.0/8", "pools": [{{"range": "{n}.0.0.1-{n}.255.255.254"}}]}}"#)
        })
        .collect();
    assert_eq!(
        messages(&dhcp(&format!(r#""subnets": [{}]"#, list.join(",")))),
        [
            "dhcp.subnets: pools and reservations have 33554428 addresses together, 16777216 are the most; make pools \
          smaller"
        ]
    );
    good(&dhcp(&format!(r#""subnets": [{}]"#, list[0])));
}

#[test]
fn reservations_are_one_client_and_one_address_each() {
    let list = |members: &str| messages(&subnet(&format!(r#""reservations": [{members}]"#)));
    assert_eq!(
        list(
            r#"{"hw_address": "02:00:00:00:00:01", "address": "198.18.0.5"},
               {"hw_address": "02-00-00-00-00-02", "address": "198.18.0.5"},
               {"hw_address": "020000000001", "address": "198.18.0.6"}"#
        ),
        [
            "dhcp.subnets[0].reservations[1].address: 198.18.0.5 is reserved already in reservations[0]; remove one",
            "dhcp.subnets[0].reservations[2]: this client has an address already in reservations[0]; remove one",
        ]
    );
    assert_eq!(
        list(r#"{"client_id": "hex:01", "circuit_id": "text:a", "address": "198.18.0.5"}"#),
        [
            "dhcp.subnets[0].reservations[0]: `hw_address`, `client_id` and `circuit_id` exclude one another; keep one"
        ]
    );
    assert_eq!(
        list(r#"{"client_id": "01:02", "address": "198.19.0.5"}"#),
        [
            "dhcp.subnets[0].reservations[0].client_id: \"01:02\" has no known form; write \"hex:01aabb\" or \"text:name\""
        ]
    );
    assert_eq!(
        list(r#"{"client_id": "hex:", "address": "198.19.0.5"}"#),
        ["dhcp.subnets[0].reservations[0].client_id: 0 octets; 1 to 255 can be on the wire"]
    );
    assert_eq!(
        list(r#"{"client_id": "hex:01", "address": "198.19.0.5"}"#),
        [
            "dhcp.subnets[0].reservations[0].address: 198.19.0.5 is not inside the subnet 198.18.0.0/16; move the \
          reservation or the address"
        ]
    );
    assert_eq!(
        list(r#"{"client_id": "hex:01", "address": "198.18.255.255", "hostname": "no spaces"}"#),
        [
            "dhcp.subnets[0].reservations[0].hostname: \"no spaces\" is not a host name; use letters, digits, `-`, \
             `_` and `.`, labels of 1 to 63 characters",
            "dhcp.subnets[0].reservations[0].address: 198.18.255.255 is the broadcast address of 198.18.0.0/16, which \
             no host can have",
        ]
    );
    assert_eq!(
        list(r#"{"hw_address": "01:00:5e:00:00:01", "address": "198.18.0.5"}"#),
        [
            "dhcp.subnets[0].reservations[0].hw_address: \"01:00:5e:00:00:01\" is a group's or nobody's address, not a \
          client's"
        ]
    );
    assert_eq!(
        list(r#"{"hw_address": "02:00:00:00:01", "address": "198.18.0.5"}"#),
        [
            "dhcp.subnets[0].reservations[0].hw_address: \"02:00:00:00:01\" is not an Ethernet address; write it as \
          \"02:00:00:00:00:01\""
        ]
    );
}

#[test]
fn times_must_agree_across_levels() {
    assert_eq!(
        messages(&dhcp(
            r#""lease_max_secs": 7200, "interfaces": [],
               "subnets": [{"subnet": "198.18.0.0/16", "lease_secs": 86400}]"#
        )),
        [
            "dhcp.subnets[0]: lease_secs 86400 (set in the subnet) is above lease_max_secs 7200 (set globally); set both \
          to agree"
        ]
    );
    assert_eq!(
        messages(&dhcp(r#""lease_min_secs": 9000"#)),
        ["dhcp: lease_secs 7200 (by default) is below lease_min_secs 9000 (set globally); set both to agree"]
    );
    assert_eq!(
        messages(&dhcp(r#""lease_secs": 3, "lease_max_secs": 4294967295"#)),
        [
            "dhcp.lease_secs: 3 is out of range; it may be 4 to 315360000 s",
            "dhcp.lease_max_secs: 4294967295 is out of range; it may be 4 to 315360000 s",
        ]
    );
    assert_eq!(
        messages(&dhcp(r#""t1_percent": 90"#)),
        ["dhcp: t1_percent 90 (set globally) must be below t2_percent 87.5 (by default)"]
    );
    assert_eq!(
        messages(&dhcp(r#""t1_percent": 33.33, "t2_percent": 100"#)),
        [
            "dhcp.t1_percent: 33.33 has more than one decimal; write 33.3",
            "dhcp.t2_percent: 100 is out of range; it may be 0.2 to 99.9 percent",
        ]
    );
}

#[test]
fn links_must_make_sense() {
    assert_eq!(
        messages(&subnet(r#""vlan": 10, "vlans": [10]"#)),
        ["dhcp.subnets[0]: `vlan` and `vlans` say the same thing; keep one"]
    );
    assert_eq!(
        messages(&subnet(r#""vlan": 4095"#)),
        ["dhcp.subnets[0].vlan: 4095 is out of range; it may be 1 to 4094 as a VLAN identifier"]
    );
    assert_eq!(
        messages(&subnet(r#""vlans": [1, 2, 3]"#)),
        ["dhcp.subnets[0].vlans: 3 tags; give one or two, the outermost first"]
    );
    assert_eq!(
        messages(&dhcp(r#""subnets": [{"subnet": "198.18.0.0/16", "vlan": 5}]"#)),
        ["dhcp.subnets[0].vlan: VLAN tags without an `interface`; name the interface they are on"]
    );
    assert_eq!(
        messages(&subnet(r#""relays": ["198.19.0.1", "198.19.0.1", "224.0.0.1", "relay"]"#)),
        [
            "dhcp.subnets[0].relays[1]: 198.19.0.1 is listed twice; remove one",
            "dhcp.subnets[0].relays[2]: 224.0.0.1 cannot be a relay agent's address; give a unicast address",
            "dhcp.subnets[0].relays[3]: \"relay\" is not an IPv4 address; write one such as \"198.18.0.1\"",
        ]
    );
}

#[test]
fn numbers_of_things_are_bounded() {
    let names: Vec<String> = (0..1025).map(|n| format!("\"e{n}\"")).collect();
    assert_eq!(
        messages(&dhcp(&format!(r#""interfaces": [{}]"#, names.join(",")))),
        ["dhcp.interfaces: 1025 interfaces, 1024 are the most; list fewer"]
    );
    let text = "x".repeat(1024);
    let options: Vec<String> = (200..216)
        .map(|code| format!(r#"{{"code": {code}, "type": "string", "value": "{text}"}}"#))
        .collect();
    let options = options.join(",").replace("\"code\": 209,", "\"code\": 220,");
    let config = format!(r#""options": [{options}]"#);
    good(&dhcp(&config));
    assert_eq!(
        messages(&dhcp(&format!(
            r#"{config}, "subnets": [{{"subnet": "198.18.0.0/24", "options": [{{"name": "domain-name", "value": "y"}}]}}]"#
        ))),
        [
            "dhcp.subnets[0].options: with what is inherited, options take 16385 octets, 16384 are the most; give fewer"
        ]
    );
}

/// The work for a file must grow with its length, not with the square of it.
#[test]
fn a_large_file_is_checked_in_good_time() {
    let pools: Vec<String> = (0..60_000_u32)
        .map(|n| format!(r#"{{"range":"{0}-{0}"}}"#, std::net::Ipv4Addr::from(0x0a00_0001 + 2 * n)))
        .collect();
    let hosts: Vec<String> = (0..60_000_u32)
        .map(|n| {
            let address = std::net::Ipv4Addr::from(0x0a00_0002 + 2 * n);
            format!(r#"{{"hw_address":"02:00:{:02x}:{:02x}:00:00","address":"{address}"}}"#, n >> 8, n & 255)
        })
        .collect();
    let text = format!(
        r#"{{"dhcp": {{"subnets": [{{"subnet": "10.0.0.0/8", "pools": [{}], "reservations": [{}]}}]}}}}"#,
        pools.join(","),
        hosts.join(",")
    );
    let begin = std::time::Instant::now();
    assert_eq!(good(&text).subnets[0].reservations.len(), 60_000);
    assert_eq!(bad(&text.replace("10.0.0.0/8", "11.0.0.0/8")).lines().count(), 101);
    let unknown = vec![r#""eu-west-17""#; 300_000].join(",");
    let sites: Vec<String> =
        (0..256).map(|n| format!(r#"{{"name": "site-{n}", "nodes": ["n{n}"]}}"#)).collect();
    let text = format!(
        r#"{{"dhcp": {{"datacenter": {{"multi_site": {{"local_site": "site-0", "sites": [{}],
            "allocation": {{"fallback_sites": [{unknown}]}}}}}}}}}}"#,
        sites.join(",")
    );
    assert_eq!(bad(&text).lines().count(), 101);
    let took = begin.elapsed();
    assert!(took.as_secs() < 30, "{took:?}");
}

#[test]
fn machine_settings_must_make_sense() {
    assert_eq!(
        messages(&dhcp(
            r#""interfaces": [{"name": "a/b", "address": "127.0.0.1", "mode": "drvier"}],
               "store": {"path": "leases"},
               "fastpath": {"horizon_percent": 149.9, "authority_secs": 0, "answers_max": 0}"#
        )),
        [
            "dhcp.interfaces[0]: \"a/b\" is not an interface name: 1 to 15 characters without spaces, `/` and `:`",
            "dhcp.interfaces[0].address: 127.0.0.1 cannot be a server's address; give a unicast address",
            "dhcp.interfaces[0].mode: \"drvier\" is not known here; did you mean `driver`?",
            "dhcp.store.path: \"leases\" is not an absolute path; begin it with /",
            "dhcp.fastpath.authority_secs: 0 is out of range; it may be 1 to 604800 s",
            "dhcp.fastpath.answers_max: 0 is out of range; it may be 1 to 1048576 answers",
            "dhcp.fastpath.horizon_percent: 149.9 is out of range; it may be 150 to 1000 percent",
        ]
    );
    let long = "x".repeat(120);
    assert_eq!(
        messages(&dhcp(&format!(r#""control": {{"socket": "/{long}"}}"#))),
        ["dhcp.control.socket: longer than the 107 octets a Unix socket's path can have; shorten it"]
    );
    assert_eq!(
        messages(&dhcp(&format!(
            r#""server_name": "{long}", "boot_file": "a\u0000b", "next_server": "boot""#
        ))),
        [
            "dhcp.next_server: \"boot\" is not an IPv4 address; write one such as \"198.18.0.1\"",
            "dhcp.server_name: 120 octets, the field holds 63; shorten it",
            "dhcp.boot_file: holds a zero character, which would end it; remove it",
        ]
    );
}
