//! Options: own encodings against dhcproto's decoding, and what is refused.

use std::collections::BTreeSet;

use dhcproto::{Decodable, Decoder, v4::DhcpOption};
use serde_json::{Value, json};

use super::{
    table::{KNOWN, Kind},
    *,
};
use crate::config::wire::OptionEntry;

/// The octets or the messages of an option as written.
fn encoded(written: Value) -> Result<Vec<u8>, String> {
    let entry: OptionEntry = serde_json::from_value(written).unwrap();
    let mut problems = Problems::new("test");
    let change = change(&entry, &Path::ROOT.key("option"), &mut problems);
    match change {
        Some(change) if problems.is_empty() => Ok(change.value.map(|value| value.bytes).unwrap_or_default()),
        _ => Err(problems.to_string().replace("test: option", "@")),
    }
}

fn octets(written: Value) -> Vec<u8> {
    encoded(written).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(written: Value) -> String {
    encoded(written).expect_err("accepted")
}

/// A value for each kind, and what dhcproto is to make of it.
fn sample(kind: Kind) -> Value {
    match kind {
        Kind::Hex => json!("01:02:ff"),
        Kind::U8 => json!(4),
        Kind::U16 => json!(1500),
        Kind::U32 => json!(86400),
        Kind::I32 => json!(-3600),
        Kind::Bool => json!(true),
        Kind::String => json!("some text"),
        Kind::Ipv4 => json!("255.255.255.0"),
        Kind::Ipv4List => json!(["198.18.0.1", "198.18.0.2"]),
        Kind::FqdnList => json!(["eng.example.com", "example.com"]),
        Kind::Routes => {
            json!([{"to": "10.0.0.0/8", "via": "198.18.0.1"}, {"to": "0.0.0.0/0", "via": "198.18.0.2"}])
        }
        Kind::HostRoutes => json!([{"to": "10.0.0.1", "via": "198.18.0.1"}]),
    }
}

#[test]
fn the_table_is_in_order_and_without_doubles() {
    assert!(KNOWN.windows(2).all(|pair| pair[0].code < pair[1].code));
    assert_eq!(names().collect::<BTreeSet<_>>().len(), KNOWN.len());
    assert!(KNOWN.iter().all(|known| reserved(known.code).is_none()));
    for code in
        [1, 3, 4, 5, 6, 7, 9, 12, 13, 15, 17, 19, 23, 26, 28, 33, 35, 40, 41, 42, 43, 44, 46, 47, 48, 49]
            .into_iter()
            .chain([60, 64, 65, 66, 67, 69, 70, 72, 100, 101, 108, 114, 119, 121, 125, 138, 150, 252])
    {
        assert!(KNOWN.iter().any(|known| known.code == code), "{code} has no name");
    }
}

/// dhcproto decodes every named option it has a type for to the same option, and encodes that to the same octets.
#[test]
fn encodings_agree_with_dhcproto() {
    let mut typed = 0;
    for known in KNOWN {
        // No oracles: dhcproto 0.15 takes one address for 150, where RFC 5859 has one or more, and decodes 37 as 23.
        if matches!(known.code, 37 | 150) {
            continue;
        }
        let value = octets(json!({"name": known.name, "value": sample(known.kind)}));
        let mut framed = vec![known.code, u8::try_from(value.len()).unwrap()];
        framed.extend(&value);
        let option = DhcpOption::decode(&mut Decoder::new(&framed))
            .unwrap_or_else(|error| panic!("{}: {error}", known.name));
        if matches!(option, DhcpOption::Unknown(_)) {
            continue;
        }
        let mut again = Vec::new();
        dhcproto::Encodable::encode(&option, &mut dhcproto::Encoder::new(&mut again)).unwrap();
        assert_eq!(again, framed, "{} as {option:?}", known.name);
        typed += 1;
    }
    assert!(typed > 50, "{typed} options compared");
}

#[test]
fn every_kind_has_its_octets() {
    assert_eq!(octets(json!({"name": "time-offset", "value": -2})), [255, 255, 255, 254]);
    assert_eq!(octets(json!({"code": 224, "type": "u8", "value": 255})), [255]);
    assert_eq!(octets(json!({"code": 224, "type": "bool", "value": false})), [0]);
    assert_eq!(octets(json!({"code": 43, "value": "0102"})), [1, 2]);
    assert_eq!(octets(json!({"code": 43, "value": "hex:01 02"})), [1, 2]);
    assert_eq!(octets(json!({"code": 43, "value": "text:ab"})), b"ab");
    assert_eq!(octets(json!({"code": 43, "value": ""})), b"");
    assert_eq!(octets(json!({"name": "routers", "value": "198.18.0.1"})), [198, 18, 0, 1]);
    assert_eq!(octets(json!({"name": "ipv6-only-preferred", "value": 1800})), [0, 0, 7, 8]);
    assert_eq!(
        octets(json!({"code": 6, "type": "hex", "value": "0102"})),
        [1, 2],
        "a type given with a code stands over the table's"
    );
}

/// RFC 3442: only the significant octets of a destination are sent. The page's own examples.
#[test]
fn routes_are_descriptors_of_rfc_3442() {
    let routes = |list: &[(&str, &str)]| {
        let list: Vec<Value> = list.iter().map(|(to, via)| json!({"to": to, "via": via})).collect();
        octets(json!({"name": "classless-static-routes", "value": list}))
    };
    assert_eq!(routes(&[("0.0.0.0/0", "1.2.3.4")]), [0, 1, 2, 3, 4]);
    assert_eq!(routes(&[("10.0.0.0/8", "1.2.3.4")]), [8, 10, 1, 2, 3, 4]);
    assert_eq!(routes(&[("10.17.0.0/16", "1.2.3.4")]), [16, 10, 17, 1, 2, 3, 4]);
    assert_eq!(routes(&[("10.27.129.0/24", "1.2.3.4")]), [24, 10, 27, 129, 1, 2, 3, 4]);
    assert_eq!(routes(&[("10.229.0.128/25", "1.2.3.4")]), [25, 10, 229, 0, 128, 1, 2, 3, 4]);
    assert_eq!(routes(&[("10.198.122.47/32", "1.2.3.4")]), [32, 10, 198, 122, 47, 1, 2, 3, 4]);
}

/// RFC 3397 section 3 has this very example.
#[test]
fn search_lists_are_compressed() {
    let list = json!(["eng.apple.com", "marketing.apple.com."]);
    assert_eq!(
        octets(json!({"name": "domain-search", "value": list})),
        b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"
    );
    assert_eq!(
        octets(json!({"code": 224, "type": "fqdn-list", "value": list})),
        b"\x03eng\x05apple\x03com\x00\x09marketing\x05apple\x03com\x00",
        "elsewhere nobody expects pointers"
    );
    assert_eq!(octets(json!({"code": 119, "value": ["A.b", "a.B"]})), b"\x01A\x01b\x00\xc0\x00");
}

#[test]
fn the_protocols_own_options_are_refused_with_the_reason() {
    for code in [0, 50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 82, 255] {
        let message = refusal(json!({"code": code, "type": "hex", "value": "01"}));
        assert!(message.starts_with(&format!("@: option {code} cannot be configured: ")), "{message}");
    }
    assert_eq!(
        refusal(json!({"code": 51, "type": "u32", "value": 60})),
        "@: option 51 cannot be configured: the lease time is set by `lease_secs`, `lease_min_secs` and \
         `lease_max_secs`"
    );
    assert!(encoded(json!({"code": 56, "type": "string", "value": "x"})).is_ok());
}

#[test]
fn wrong_values_are_named() {
    for (written, message) in [
        (json!({"value": 1}), "@: an option needs a `name`, or a `code` and a `type`"),
        (
            json!({"name": "routers", "code": 3, "value": 1}),
            "@: an option is given by `name` or by `code`, not by both; remove one",
        ),
        (
            json!({"name": "router", "value": 1}),
            "@.name: no option is called \"router\"; did you mean `routers`?",
        ),
        (
            json!({"name": "zzz", "value": 1}),
            "@.name: no option is called \"zzz\"; give it by `code` and `type`",
        ),
        (
            json!({"name": "routers", "type": "hex", "value": 1}),
            "@.type: an option given by name has its own type; leave `type` out, or give `code` in place of `name`",
        ),
        (json!({"code": 224, "value": 1}), "@: option 224 has no name here, so its `type` must be given"),
        (
            json!({"code": 224, "type": "ipv4-lists", "value": 1}),
            "@.type: there is no option type \"ipv4-lists\"; did you mean `ipv4-list`?",
        ),
        (
            json!({"name": "routers", "value": ["198.18.0.1", "198.18.0.256"]}),
            "@.value[1]: routers (option 3): expected an IPv4 address such as \"198.18.0.1\", found \"198.18.0.256\"",
        ),
        (
            json!({"name": "routers", "value": []}),
            "@.value: routers (option 3): the array is empty; give null to remove the option",
        ),
        (
            json!({"name": "interface-mtu", "value": 65536}),
            "@.value: interface-mtu (option 26): expected a whole number from 0 to 65535, found 65536",
        ),
        (
            json!({"name": "interface-mtu", "value": 67}),
            "@.value: interface-mtu (option 26): 67 is below 68, the least allowed",
        ),
        (
            json!({"name": "netbios-node-type", "value": 3}),
            "@.value: netbios-node-type (option 46): 3 is not one of 1, 2, 4, 8",
        ),
        (
            json!({"name": "subnet-mask", "value": "255.0.255.0"}),
            "@.value: subnet-mask (option 1): not a subnet mask (ones, then zeros, in binary)",
        ),
        (
            json!({"name": "subnet-mask", "value": null}),
            "@: option 1 (subnet mask) cannot be removed: every client needs it",
        ),
        (
            json!({"name": "routers", "value": null, "always": true}),
            "@.always: an option that is removed (value null) cannot be sent always",
        ),
        (
            json!({"name": "domain-name", "value": ""}),
            "@.value: domain-name (option 15): an empty string cannot be sent; give null to remove the option",
        ),
        (
            json!({"name": "vendor-specific", "value": "0g"}),
            "@.value: vendor-specific (option 43): expected octets such as \"01:aa:bb\", \"hex:01aabb\" or \
             \"text:abc\", found \"0g\"",
        ),
        (
            json!({"name": "ip-forwarding", "value": 1}),
            "@.value: ip-forwarding (option 19): expected true or false, found 1",
        ),
        (
            json!({"name": "domain-search", "value": ["example..com"]}),
            "@.value[0]: domain-search (option 119): \"example..com\" is not a domain name such as \"example.com\"",
        ),
        (
            json!({"name": "classless-static-routes", "value": [{"to": "10.0.0.1/8", "via": "198.18.0.1"}]}),
            "@.value[0]: classless-static-routes (option 121): 10.0.0.1/8 has bits beyond its length; write 10.0.0.0/8",
        ),
        (
            json!({"name": "classless-static-routes", "value": [{"to": "10.0.0.0/8", "gw": "198.18.0.1"}]}),
            "@.value[0]: classless-static-routes (option 121): unknown key \"gw\" in a route; it has `to` and `via`",
        ),
        (
            json!({"name": "static-routes", "value": [{"to": "0.0.0.0", "via": "198.18.0.1"}]}),
            "@.value[0]: static-routes (option 33): 0.0.0.0 is no host (RFC 2132 section 5.8); use `routers` for a \
             default route",
        ),
        (
            json!({"name": "domain-name", "value": "x".repeat(1025)}),
            "@.value: domain-name (option 15): takes 1025 octets on the wire, 1024 are the most; shorten it",
        ),
    ] {
        assert_eq!(refusal(written.clone()), message, "{written}");
    }
}
