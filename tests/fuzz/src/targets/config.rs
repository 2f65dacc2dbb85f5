//! Any text as a configuration: refused with words, or within every bound the model documents.

use std::net::Ipv4Addr;

use dhcp_user::config::{self, model::Policy};

/// Message texts stay readable however long the file is.
const WORDS_MAX: usize = 1 << 20;

/// Takes one input: a configuration file.
///
/// # Panics
/// If a bound does not hold.
pub fn run(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let config = match config::parse(&text, "fuzz") {
        Ok(config) => config,
        Err(error) => {
            let words = error.to_string();
            assert!(!words.is_empty() && words.len() < WORDS_MAX, "{} octets of words", words.len());
            return;
        }
    };
    let mut before: Option<Ipv4Addr> = None;
    for subnet in &config.subnets {
        assert!(before.is_none_or(|before| before < subnet.prefix.network()), "sorted, none overlapping");
        before = Some(subnet.prefix.broadcast());
        assert_eq!(subnet.prefix, subnet.prefix.trunc());
        if let Some(link) = subnet.link {
            assert!(link.interface < config.interfaces.len());
            assert!(link.vlans.outer < 4095 && link.vlans.inner < 4095);
            assert!(link.vlans.inner == 0 || link.vlans.outer != 0);
        }
        bounds(&subnet.policy);
        let mut last: Option<Ipv4Addr> = None;
        for pool in &subnet.pools {
            assert!(pool.first <= pool.last && last.is_none_or(|last| last < pool.first));
            assert!(subnet.prefix.contains(&pool.first) && subnet.prefix.contains(&pool.last));
            last = Some(pool.last);
            bounds(&pool.policy);
        }
        for reservation in &subnet.reservations {
            assert!(subnet.prefix.contains(&reservation.address));
            bounds(&reservation.policy);
        }
    }
    assert!(config.fastpath.horizon_permille >= 1500);
    if let Some(sites) = &config.multi_site {
        let named = |name: &String| sites.sites.iter().any(|site| site.name == *name);
        assert!(named(&sites.local_site) || (sites.sites.is_empty() && !sites.enabled));
        assert!(sites.failover.failover_timeout_secs > sites.failover.detection_interval_secs);
    }
    assert_eq!(config::digest(&config), config::digest(&config.clone()));
}

fn bounds(policy: &Policy) {
    assert!(policy.lease_min_secs <= policy.lease_default_secs);
    assert!(policy.lease_default_secs <= policy.lease_max_secs && policy.lease_min_secs > 0);
    assert!((1..999).contains(&policy.t1_permille));
    assert!(policy.t1_permille < policy.t2_permille && policy.t2_permille < 1000);
    assert!(policy.server_name.len() <= 63 && policy.boot_file.len() <= 127);
    assert!(policy.options.contains_key(&1));
    for (code, value) in &policy.options {
        assert!(!matches!(code, 0 | 50..=55 | 57..=59 | 61 | 82 | 255), "option {code} is the protocol's");
        assert!(value.bytes.len() <= 1024);
    }
}
