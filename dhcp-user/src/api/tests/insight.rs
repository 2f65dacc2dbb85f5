//! What the API tells of how things go: rates, latencies, forecasts, options, histories, and who the caller is.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{World, answer, ask, request, stats_with, text};
use crate::{
    config::model::{ApiRole, Audit},
    server::{desk, latency::LATENCY_BOUNDS_US, reload::InForce},
    time::Timestamp,
};

#[tokio::test]
async fn rates_come_with_the_minutes_before_and_can_be_gone_on_with() {
    let world = World::new(0);
    let began = Instant::now();
    for second in 0..3 {
        let stats = stats_with(second * 500, &[("acked_new", second)], &[("no_lease", second * 2)]);
        world.api.trend.rates().note(began + Duration::from_secs(second), Timestamp::ZERO, &stats);
    }
    let (status, rates) = ask(&world, "GET", "/api/v1/stats/rates", "").await;
    assert_eq!(status, 200);
    assert_eq!(rates["samples"].as_array().unwrap().len(), 2);
    assert_eq!(
        rates["average"],
        json!({"kernel_renewals": 500.0, "daemon_renewals": 0.0, "grants": 1.0, "passed": 2.0})
    );
    let passed = &rates["passed"][0];
    assert_eq!(
        (&passed["reason"], &passed["total"], &passed["per_sec"]),
        (&json!("no_lease"), &json!(4), &json!(2.0))
    );
    let (_, more) = ask(&world, "GET", "/api/v1/stats/rates?after=1", "").await;
    assert_eq!(more["samples"][0]["number"], 2);
    assert_eq!(ask(&world, "GET", "/api/v1/stats/rates?after=x", "").await.0, 400);
}

#[tokio::test]
async fn latencies_are_counted_by_bucket() {
    let world = World::new(0);
    let (status, latency) = ask(&world, "GET", "/api/v1/stats/latency", "").await;
    assert_eq!(status, 200);
    let buckets = latency["daemon"]["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), LATENCY_BOUNDS_US.len() + 1);
    assert_eq!((&buckets[0]["up_to_us"], &buckets.last().unwrap()["up_to_us"]), (&json!(50), &json!(null)));
    assert_eq!(latency["store_flush"]["count"], 0);
}

#[tokio::test]
async fn a_pool_shows_its_forecast_once_enough_was_seen() {
    let world = World::new(0);
    let (_, page) = ask(&world, "GET", "/api/v1/subnets", "").await;
    assert!(page["subnets"][0]["pools"][0].get("forecast").is_none());
    // An hour before now, 63 addresses more were free than the 3 that are.
    let then = Instant::now().checked_sub(Duration::from_secs(3_600)).unwrap();
    world.api.trend.pools().note(
        then,
        &desk::subnets(&world.api.in_force.config(), std::net::Ipv4Addr::UNSPECIFIED, |_, _| 66).subnets,
    );
    let (_, page) = ask(&world, "GET", "/api/v1/subnets", "").await;
    let forecast = &page["subnets"][0]["pools"][0]["forecast"];
    assert_eq!((&forecast["taken_per_hour"], &forecast["seen_secs"]), (&json!(63.0), &json!(3_600)));
    assert_eq!(forecast["full_in_secs"].as_u64().unwrap() / 10, 3 * 3_600 / 63 / 10);
}

#[tokio::test]
async fn options_are_shown_as_words_and_octets() {
    let world = World::new(0);
    let (status, options) = ask(&world, "GET", "/api/v1/options", "").await;
    assert_eq!((status, &options["subnets"][0]["subnet"]), (200, &json!("198.18.0.0/16")));
    let options = &options["subnets"][0];
    let mask = &options["options"][0];
    assert_eq!(
        mask,
        &json!({"code": 1, "name": "subnet-mask", "value": "255.255.0.0", "hex": "ffff0000", "always": false})
    );
    assert_eq!(options["pools"], json!([]));
    let router = world.remote();
    let token = world.token(ApiRole::Viewer, &["198.19.0.0/24"]);
    let part = text(answer(&router, request("GET", "/api/v1/options", Some(&token), "")).await).await;
    assert!(part.contains("198.19.0.0/24") && !part.contains("198.18.0.0/16"), "{part}");
}

#[tokio::test]
async fn the_history_of_an_address_comes_from_the_audit_log() {
    let mut world = World::new(0);
    let path = "/api/v1/leases/198.18.1.7/history";
    let (status, problem) = ask(&world, "GET", path, "").await;
    assert_eq!(status, 404, "no log yet: {problem}");
    let folder = world.folder.path().join("audit");
    std::fs::create_dir(&folder).unwrap();
    let line = |at: &str, event: &str, address: &str| {
        format!(
            "{{\"at\":\"{at}\",\"event\":\"{event}\",\"address\":\"{address}\",\"hw_address\":\"02:00:00:00:00:07\",\"until\":\"2026-01-01T01:00:00Z\"}}\n"
        )
    };
    let lines = line("2026-01-01T00:00:00Z", "granted", "198.18.1.7")
        + &line("2026-01-01T00:10:00Z", "granted", "198.18.1.8")
        + &line("2026-01-01T00:30:00Z", "released", "198.18.1.7");
    std::fs::write(folder.join("audit-0000000001.jsonl"), lines).unwrap();
    let mut config = (*world.api.in_force.config()).clone();
    config.audit = Some(Audit {
        path: folder,
        file_octets: 1 << 20,
        files_max: 2,
        days_max: None,
        renewals_secs: 60,
        sync: false,
    });
    world.api.in_force = InForce::of(config.into());
    let (status, history) = ask(&world, "GET", path, "").await;
    assert_eq!((status, &history["complete"]), (200, &json!(true)));
    assert_eq!(history["holdings"].as_array().unwrap().len(), 1);
    let holding = &history["holdings"][0];
    assert_eq!(
        (&holding["hw_address"], &holding["ended"]),
        (&json!("02:00:00:00:00:07"), &json!("released"))
    );
    let other = world.token(ApiRole::Viewer, &["198.19.0.0/24"]);
    let refused = answer(&world.remote(), request("GET", path, Some(&other), "")).await;
    assert_eq!(refused.status().as_u16(), 404, "not theirs to see");
}

#[tokio::test]
async fn a_caller_is_told_who_they_are() {
    let world = World::new(0);
    let (_, me) = ask(&world, "GET", "/api/v1/whoami", "").await;
    assert_eq!(me, json!({"name": "local socket", "role": "admin", "subnets": []}));
    let token = world.token(ApiRole::Operator, &["198.18.0.0/24"]);
    let router = world.remote();
    let me = text(answer(&router, request("GET", "/api/v1/whoami", Some(&token), "")).await).await;
    assert!(me.contains("\"operator\"") && me.contains("198.18.0.0/24"), "{me}");
    assert_eq!(answer(&router, request("GET", "/api/v1/whoami", None, "")).await.status().as_u16(), 401);
}

#[tokio::test]
async fn the_page_is_open_to_all_and_takes_nothing_from_elsewhere() {
    let world = World::new(0);
    let page = answer(&world.remote(), request("GET", "/", None, "")).await;
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(
        answer(&world.remote(), request("GET", "/page/none.js", None, "")).await.status().as_u16(),
        404
    );
    assert_eq!(answer(&world.remote(), request("POST", "/", None, "")).await.status().as_u16(), 405);
}
