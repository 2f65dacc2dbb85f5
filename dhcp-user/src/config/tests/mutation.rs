//! No input makes the parser panic, hang or accept a model that breaks its own promises.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::{good, sites};
use crate::config::{Config, digest, parse};

const SEED: &str = r#"{"dhcp": {
    "interfaces": ["eth0", {"name": "eth1", "address": "198.18.0.1", "mode": "auto"}],
    "lease_secs": 600, "lease_min_secs": 60, "lease_max_secs": 6000, "t1_percent": 40, "t2_percent": 80.5,
    "options": [{"name": "domain-search", "value": ["a.example.com", "b.example.com"]},
                {"code": 121, "value": [{"to": "10.0.0.0/8", "via": "198.18.0.1"}]},
                {"code": 43, "type": "hex", "value": "01:02"}],
    "subnets": [{"subnet": "198.18.0.0/16", "interface": "eth0", "vlans": [1, 2], "relays": ["198.19.0.1"],
        "pools": [{"range": "198.18.1.0-198.18.1.255"}, {"range": "198.18.2.0/24", "lease_secs": 700}],
        "reservations": [{"hw_address": "02:00:00:00:00:01", "address": "198.18.1.7", "hostname": "a"},
                         {"client_id": "text:x", "address": "198.18.3.1"}]},
        {"subnet": "198.19.0.0/24", "pools": [{"range": "198.19.0.1-198.19.0.254"}]}],
    "fastpath": {"horizon_percent": 150}, "store": {"path": "/x"}, "control": {"socket": "/y"}}}"#;

/// What the model promises to everyone behind it.
fn check(config: &Config) {
    digest(config);
    let mut before = None;
    for subnet in &config.subnets {
        assert!(before < Some(subnet.prefix.network()), "subnets are sorted and apart");
        before = Some(subnet.prefix.broadcast());
        assert!(subnet.link.is_none_or(|link| link.interface < config.interfaces.len()));
        let mut end = None;
        for pool in &subnet.pools {
            assert!(end < Some(pool.first) && pool.first <= pool.last, "pools are sorted and apart");
            assert!(subnet.prefix.contains(&pool.first) && subnet.prefix.contains(&pool.last));
            end = Some(pool.last);
        }
        let policies = subnet.pools.iter().map(|pool| &pool.policy);
        let hosts = subnet.reservations.iter().map(|reservation| {
            assert!(subnet.prefix.contains(&reservation.address));
            &reservation.policy
        });
        for policy in policies.chain(hosts).chain([&subnet.policy]) {
            assert!(policy.lease_min_secs <= policy.lease_default_secs);
            assert!(policy.lease_default_secs <= policy.lease_max_secs);
            assert!(
                0 < policy.t1_permille
                    && policy.t1_permille < policy.t2_permille
                    && policy.t2_permille < 1000
            );
            assert!(policy.options.contains_key(&1));
            for (code, value) in &policy.options {
                assert!(!matches!(code, 0 | 50..=55 | 57..=59 | 61 | 82 | 255));
                assert!(value.bytes.len() <= 1024);
            }
        }
    }
    if let Some(sites) = &config.multi_site {
        let known = |name: &String| sites.sites.iter().any(|site| site.name == *name);
        assert!(known(&sites.local_site) || sites.sites.is_empty() && !sites.enabled);
        assert!(sites.allocation.fallback_sites.iter().all(known));
        assert!(sites.failover.detection_interval_secs < sites.failover.failover_timeout_secs);
    }
    assert!(config.fastpath.horizon_permille >= 1500);
}

/// Things a file might hold in place of what belongs there.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "-1",
            "0",
            "1e308",
            "1e999",
            "0.05",
            "4294967296",
            "99999999999999999999",
            "\"\"",
            "\"/\"",
            "{}",
            "[]",
            "[[",
            "\"198.18.0.0/0\"",
            "\"0.0.0.0\"",
            "\"255.255.255.255\"",
            "\"198.18.0.0/33\"",
            "\"255.255.255.255-0.0.0.0\"",
            "\"hex:\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"é\"",
            ",",
            ":",
            "\"dhcp\":",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,12}",
    ]
}

/// The offsets at which a mutation may cut `text`.
fn cut(text: &str, at: usize) -> usize {
    (0..=at % (text.len() + 1)).rev().find(|&n| text.is_char_boundary(n)).unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        guide in any::<bool>(),
        edits in prop::collection::vec((any::<usize>(), 0_usize..24, piece()), 1..4),
    ) {
        let mut text = if guide { sites::merged(5).to_string() } else { SEED.to_owned() };
        for (at, length, piece) in edits {
            let begin = cut(&text, at);
            let end = cut(&text, (begin + length).min(text.len()));
            text.replace_range(begin..end.max(begin), &piece);
        }
        if let Ok(config) = parse(&text, "mutated") {
            check(&config);
        }
    }

    #[test]
    fn mutated_values_never_panic(
        guide in any::<bool>(),
        edits in prop::collection::vec((any::<usize>(), piece()), 1..4),
    ) {
        // Syntax stays whole here, so that mutations reach what stands behind the parser.
        let text = if guide { sites::merged(5).to_string() } else { SEED.to_owned() };
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (at, piece) in edits {
            let count = leaves(&mut value, usize::MAX, &serde_json::Value::Null);
            let piece = serde_json::from_str(&piece).unwrap_or(serde_json::Value::String(piece));
            leaves(&mut value, at % count, &piece);
        }
        match parse(&value.to_string(), "mutated") {
            Ok(config) => {
                check(&config);
                let errors: Vec<_> = schema().iter_errors(&value).map(|error| error.to_string()).collect();
                prop_assert!(errors.is_empty(), "accepted, but not by the schema: {:?}\n{}", errors, value);
            }
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.lines().all(|line| line.starts_with("mutated:")), "{}", text);
            }
        }
    }
}

fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| jsonschema::validator_for(&crate::config::schema()).unwrap())
}

/// Replaces the leaf with this number; returns how many there are.
fn leaves(value: &mut serde_json::Value, number: usize, with: &serde_json::Value) -> usize {
    use serde_json::Value;
    let inner: Vec<&mut Value> = match value {
        Value::Object(members) if !members.is_empty() => members.values_mut().collect(),
        Value::Array(elements) if !elements.is_empty() => elements.iter_mut().collect(),
        leaf => {
            if number == 0 {
                *leaf = with.clone();
            }
            return 1;
        }
    };
    let mut seen = 0;
    for value in inner {
        seen += leaves(value, number.wrapping_sub(seen), with);
    }
    seen
}

#[test]
fn the_seeds_are_good() {
    check(&good(SEED));
    check(&good(&sites::merged(5).to_string()));
}
