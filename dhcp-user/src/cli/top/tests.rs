//! The picture as an operator sees it, from two looks.

use std::time::{Duration, Instant};

use super::{model::EVENTS_MAX, *};
use crate::server::feed::LeaseEvent;
use crate::server::view::{DaemonStats, KernelStats, LimitsView, PoolView, StatsView, SubnetView};

fn stats(answered: u64, passed: u64, acked: u64) -> StatsView {
    StatsView {
        kernel: Some(KernelStats {
            answered,
            reasons: [("fingerprint".to_owned(), passed), ("not_renewal".to_owned(), 7)].into(),
            limits: LimitsView {
                client_per_sec: 0,
                client_burst: 0,
                relay_per_sec: 0,
                relay_burst: 0,
                overall_per_sec: 0,
                overall_burst: 0,
            },
            interfaces: [("eth0".to_owned(), "driver".to_owned())].into(),
            answers: 1,
            answers_max: 8,
            lease_slots: 256,
            authority_secs: 3_600,
            authority_remaining_secs: 3_599,
            horizons_moved: 0,
        }),
        daemon: DaemonStats {
            acks: acked,
            messages: [("acked_renewal".to_owned(), acked), ("offered".to_owned(), 3)].into(),
            frames: [].into(),
            queue_drops: 0,
            queue_gave_way: 0,
            send_errors: 0,
            store_refusals: 0,
            commits: 0,
            unpublishable: 0,
            offers: 2,
            offers_gave_way: 0,
            quarantines_cut_short: 0,
        },
        leases: [("bound".to_owned(), 1_234)].into(),
        probes: None,
        audit: None,
    }
}

fn subnets() -> Vec<SubnetView> {
    let pool = |last: u8, free| PoolView::new([198, 18, last, 0].into(), [198, 18, last, 99].into(), free);
    vec![SubnetView {
        subnet: "198.18.0.0/16".parse().unwrap(),
        interface: Some("eth0".to_owned()),
        vlans: Vec::new(),
        pools: vec![pool(1, 80), pool(2, 5)],
        reservations: 0,
        lease_secs: 60,
    }]
}

fn screen(looks: &[(u64, u64, u64)]) -> Screen {
    let begun = Instant::now();
    let mut screen = Screen::default();
    for (n, &(answered, passed, acked)) in (0..).zip(looks) {
        let at = begun + Duration::from_secs(2 * n);
        screen.take(Sample {
            at,
            stats: stats(answered, passed, acked),
            subnets: subnets(),
            sites: Vec::new(),
        });
    }
    screen
}

fn event(id: u64) -> FeedEvent {
    FeedEvent::Lease(LeaseEvent {
        id,
        address: [198, 18, 1, 9].into(),
        state: "bound".to_owned(),
        hw_address: "02:00:00:00:00:09".to_owned(),
        hostname: None,
        at: String::new(),
        expires_at: String::new(),
    })
}

#[test]
fn two_looks_make_rates_reasons_pools_and_events() {
    let mut screen = screen(&[(1_000, 10, 100), (1_900, 30, 200)]);
    screen.happened(event(41));
    let text = picture(&screen, (110, 40)).unwrap();
    for part in [
        "on eth0 (driver)  authority 3599 s  1234 leases bound, 0 quarantined, 2 offered",
        "Renewals by the kernel: 450/s, 90.0% of all",
        "Renewals by the daemon: 50/s",
        "198.18.2.0-198.18.2.99",
        "95.0%, 5 free",
        "      41  198.18.1.9       bound        02:00:00:00:00:09",
        "q quits",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let line = |word: &str| text.lines().position(|line| line.contains(word)).unwrap();
    assert!(
        text.lines()
            .any(|line| line.contains("fingerprint") && line.contains("10.0/s") && line.contains("30"))
    );
    assert!(line("fingerprint") < line("not_renewal"), "the fastest first:\n{text}");
    assert!(line("198.18.2.0-") < line("198.18.1.0-"), "the fullest first:\n{text}");
}

#[test]
fn one_look_has_no_rates_and_a_restart_no_negative_ones() {
    assert_eq!(screen(&[(5, 5, 5)]).renewals(), (0.0, 0.0));
    assert_eq!(screen(&[(1_000, 0, 9), (40, 0, 2)]).renewals(), (20.0, 1.0));
}

#[test]
fn sites_are_shown_where_there_are_any() {
    let mut screen = screen(&[(0, 0, 0)]);
    assert!(!picture(&screen, (100, 40)).unwrap().contains("Sites"));
    let node = |lag: Option<u64>| serde_json::json!({"name": "n", "linked": true, "leads": false, "votes": true, "lag_updates": lag, "lag_secs": lag});
    let site = |name: &str, status: &str, nodes: Vec<serde_json::Value>| {
        serde_json::json!({"name": name, "status": status, "nodes": 2, "latency": 3, "last_sync": null, "reason": "",
            "priority": 1, "expected_latency": 5, "members": nodes})
    };
    let sites = serde_json::json!([
        site("east", "active", vec![node(Some(3)), node(Some(7))]),
        site("west", "down", vec![node(None)])
    ]);
    let mut sample = screen.now.clone().unwrap();
    sample.sites = serde_json::from_value(sites).unwrap();
    screen.take(sample);
    let text = picture(&screen, (100, 40)).unwrap();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("east").contains("active") && line("east").contains("7 updates, 7 s behind"), "{text}");
    assert!(line("west").contains("down") && line("west").ends_with('-'), "{text}");
}

#[test]
fn trouble_is_shown_until_the_next_look() {
    let mut screen = screen(&[(0, 0, 0)]);
    screen.trouble = Some("no daemon answers".to_owned());
    assert!(picture(&screen, (100, 40)).unwrap().contains("no daemon answers"));
    screen.take(screen.now.clone().unwrap());
    assert!(!picture(&screen, (100, 40)).unwrap().contains("no daemon answers"));
}

#[test]
fn no_terminal_is_too_small_and_no_history_too_long() {
    let mut screen = screen(&[(0, 0, 0), (100, 1, 1)]);
    for n in 0..500 {
        screen.take(screen.now.clone().unwrap());
        screen.happened(event(n));
    }
    assert!(screen.history.len() <= model::HISTORY_MAX && screen.events.len() <= EVENTS_MAX);
    for columns in [1, 2, 20, 80, 300] {
        for lines in [1, 2, 5, 23, 24, 100] {
            picture(&screen, (columns, lines)).unwrap();
        }
    }
    picture(&Screen::default(), (80, 24)).unwrap();
}

#[test]
fn lines_of_the_stream_are_told_apart() {
    let line = br#"data: {"id":7,"address":"198.18.0.7","state":"free","hw_address":"02:00:00:00:00:07","expires_at":"x"}"#;
    assert_eq!(read_event(line).map(|event| event.id()), Some(7));
    let line = br#"data: {"id":8,"at":"x","kind":"drained","site":"east","node":"e1","before":null,"now":null,"blocks":0,"detail":"e1 has handed on all that it held"}"#;
    let mut screen = screen(&[(0, 0, 0)]);
    screen.happened(read_event(line).unwrap());
    let text = picture(&screen, (100, 40)).unwrap();
    assert!(text.contains("       8  e1 has handed on all that it held"), "{text}");
    for other in [&b"event: lease"[..], b"data: 17", b": alive", b""] {
        assert!(read_event(other).is_none());
    }
}
