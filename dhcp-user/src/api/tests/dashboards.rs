//! What is shipped for Prometheus and Grafana, and docs/metrics.md, know the metrics by the names they have.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::json;

use crate::{
    api::metrics::{Figures, SiteFigures, text},
    audit::AuditCounts,
    config::{model::Limits, parse},
    engine::ProbeCounts,
    lease::store::FlushSnapshot,
    server::{
        desk::{self, ServiceHealth},
        latency::Latency,
        view::{KernelStats, ProbeStats},
    },
};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A site of two nodes, one of which is away, as the API shows it.
fn site_figures() -> SiteFigures {
    let node = |name: &str, linked: bool| {
        json!({"name": name, "linked": linked, "leads": linked, "votes": true, "round_trip_ms": 1.5,
            "lag_updates": 7, "lag_secs": 3})
    };
    let site = json!({"name": "us-west", "status": "degraded", "nodes": 2, "latency": 1, "last_sync": null,
        "reason": "a node is not linked", "priority": 1, "expected_latency": 0,
        "members": [node("a", true), node("b", false)]});
    let sync = json!({"node": "a", "site": "us-west", "mode": "async", "term": 1, "voters": ["a", "b"], "votes": true,
        "automatic_failover": false, "sites_without_failover": ["us-west"], "applied_index": 1, "blocks": 64, "blocks_held": 32, "blocks_closed": 1,
        "bandwidth_cap": 125_000, "bandwidth_used": 10, "bandwidth_waits": 1, "sent_octets": 2,
        "received_octets": 3, "compression_saved_octets": 4, "dropped_messages": 5,
        "failures": {"certificate": 6}, "problems": []});
    SiteFigures {
        sync: serde_json::from_value(sync).unwrap(),
        sites: vec![serde_json::from_value(site).unwrap()],
        certificate_expires_secs: Some(1),
    }
}

/// A scrape of a daemon in which every part is switched on.
fn scrape() -> String {
    let config = parse(super::CONFIG, "test").unwrap();
    let mut stats = super::stats();
    stats.kernel = Some(KernelStats {
        answered: 5,
        reasons: [("limited_client".to_owned(), 2), ("horizon".to_owned(), 1)].into(),
        limits: Limits::default().into(),
        interfaces: [("eth0".to_owned(), "driver".to_owned())].into(),
        answers: 1,
        answers_max: 10,
        lease_slots: 256,
        authority_secs: 3_600,
        authority_remaining_secs: 3_599,
        horizons_moved: 4,
    });
    stats.probes = Some(ProbeStats { engine: ProbeCounts::default(), send_errors: 0 });
    stats.audit = Some(AuditCounts::default());
    let figures = Figures {
        stats,
        subnets: desk::subnets(&config, std::net::Ipv4Addr::UNSPECIFIED, |_, _| 3).subnets.into(),
        flushes: FlushSnapshot::default(),
        latency: Latency::default().snapshot(),
        certificate_expires_secs: Some(1),
        changes_lost: 0,
        refused_busy: 0,
        capture_left_out: 0,
        requests: 8,
        health: ServiceHealth {
            fast_path_wanted: 1,
            fast_path_attached: 1,
            interfaces_lost: 0,
            attached_again: 0,
            problems: Vec::new(),
            store_refusals: 0,
            commits: 1,
        },
        sites: Some(site_figures()),
    };
    text(&figures).unwrap()
}

fn names(scrape: &str) -> BTreeSet<&str> {
    scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// The metrics that a text speaks of: words that begin as ours do.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| (word.starts_with("dhcp_") || word.starts_with("process_")) && !word.contains(':'))
        // A histogram's series.
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_are_there() {
    let scrape = scrape();
    let there = names(&scrape);
    for path in [
        "packaging/prometheus/simple-dhcpd.rules.yml",
        "packaging/prometheus/simple-dhcpd.test.yml",
        "packaging/grafana/simple-dhcpd.json",
    ] {
        let text = read(path);
        let unknown: Vec<_> = named(&text).difference(&there).copied().collect();
        assert!(unknown.is_empty(), "{path} names what the daemon does not have: {unknown:?}");
        assert!(named(&text).len() >= 5, "{path} names metrics");
    }
    serde_json::from_str::<serde_json::Value>(&read("packaging/grafana/simple-dhcpd.json")).unwrap();
}

#[test]
fn the_page_on_metrics_has_all_of_them_and_no_other() {
    let scrape = scrape();
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), names(&scrape));
}

#[test]
fn every_alert_has_a_way_out_in_the_documents() {
    let rules = read("packaging/prometheus/simple-dhcpd.rules.yml");
    let page = read("docs/troubleshooting.md");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(
            page.contains(&format!("`{alert}`")),
            "docs/troubleshooting.md does not tell what to do about {alert}"
        );
    }
}

#[test]
fn what_is_dropped_is_not_called_passed_and_what_never_happened_is_there() {
    let scrape = scrape();
    for line in [
        "dhcp_kernel_dropped_total{reason=\"limited_client\"} 2",
        "dhcp_kernel_passed_total{reason=\"horizon\"} 1",
        "dhcp_kernel_passed_total{reason=\"fingerprint\"} 0",
        "dhcp_daemon_messages_total{reason=\"acked_renewal\"} 0",
        "dhcp_kernel_authority_remaining_seconds 3599",
        "dhcp_site_status{site=\"us-west\",status=\"degraded\"} 1",
        "dhcp_site_status{site=\"us-west\",status=\"down\"} 0",
        "dhcp_site_node_linked{node=\"b\",site=\"us-west\"} 0",
        "dhcp_site_node_round_trip_seconds{node=\"a\",site=\"us-west\"} 0.0015",
        "dhcp_site_link_failures_total{reason=\"certificate\"} 6",
    ] {
        assert!(scrape.lines().any(|found| found == line), "{line} is not in\n{scrape}");
    }
    assert!(!scrape.contains("dhcp_kernel_passed_total{reason=\"limited"));
    assert!(!scrape.contains("dhcp_kernel_passed_total{reason=\"answered"));
}
