//! What the endpoints answer.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn pages_join_to_all_leases_and_ask_the_service_for_little_at_a_time() {
    let world = World::new(20_000);
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let (status, page) = ask(&world, "GET", &format!("/api/v1/leases?limit=3000{after}"), "").await;
        assert_eq!(status, 200);
        let leases = page["leases"].as_array().unwrap();
        assert!(leases.len() <= 3_000);
        seen.extend(leases.iter().map(|lease| lease["address"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 20_000);
    assert_eq!(seen[19_999], "198.18.79.31");
    assert!(world.pages.load(Ordering::Relaxed) >= 20_000 / desk::PAGE_LEASES_MAX);
}

#[tokio::test]
async fn a_filter_that_little_passes_ends_in_a_cursor_and_not_in_endless_work() {
    let world = World::new(140_000);
    let (_, page) = ask(&world, "GET", "/api/v1/leases?hostname=nobody", "").await;
    assert_eq!(page["leases"].as_array().unwrap().len(), 0);
    assert!(page["next"].is_string());
    assert_eq!(world.pages.load(Ordering::Relaxed), 32);
}

#[tokio::test]
async fn filters_find_and_wrong_ones_are_refused() {
    let world = World::new(1_000);
    for (query, leases) in [
        ("address=198.18.1.7", 1),
        ("first=198.18.1.7&last=198.18.1.9", 3),
        ("subnet=198.18.2.0/24&limit=500", 256),
        ("hw_address=02-00-00-00-00-0A", 1),
        ("hw_address=", 0),
        ("client_id=0100000a", 1),
        ("hostname=HOST-99", 11),
        ("state=free&limit=500", 100),
        ("renewed_by=daemon&limit=1", 1),
        ("after=198.18.4.231", 0),
        ("address=198.18.1.7&first=198.18.1.8", 0),
    ] {
        let (status, page) = ask(&world, "GET", &format!("/api/v1/leases?{query}"), "").await;
        assert_eq!((status, page["leases"].as_array().map(Vec::len)), (200, Some(leases)), "{query}");
    }
    for query in [
        "limit=0",
        "limit=10001",
        "limit=x",
        "adress=1",
        "state=gone",
        "client_id=zz",
        "subnet=7",
        "first=1.2.3",
        "limit=1&limit=2",
    ] {
        let (status, problem) = ask(&world, "GET", &format!("/api/v1/leases?{query}"), "").await;
        assert_eq!((status, problem["status"].as_u64()), (400, Some(400)), "{query}: {problem}");
    }
}

#[tokio::test]
async fn leases_are_released_and_extended_only_as_they_were_looked_at() {
    let world = World::new(20);
    let router = world.seen_by(Peer::Local(None));
    let path = "/api/v1/leases/198.18.1.1";
    let shown = answer(&router, request("GET", path, None, "")).await;
    let tag = shown.headers()["etag"].to_str().unwrap().to_owned();
    let with_tag = |method: &str, path: &str, tag: &str| {
        Request::builder().method(method).uri(path).header("if-match", tag).body(Body::empty()).unwrap()
    };
    let extend = format!("{path}/extend");
    let status = async |request| answer(&router, request).await.status().as_u16();
    assert_eq!(status(with_tag("POST", &extend, "\"0\"")).await, 412);
    assert_eq!(status(with_tag("POST", &extend, &tag)).await, 200);
    assert_eq!(status(with_tag("DELETE", path, &tag)).await, 412, "it was extended since");
    assert_eq!(status(with_tag("DELETE", path, "*")).await, 202);
    assert_eq!(ask(&world, "DELETE", path, "").await.0, 409, "there is nothing to release any more");
    assert_eq!(ask(&world, "DELETE", "/api/v1/leases/198.18.99.1", "").await.0, 404);
    assert_eq!(ask(&world, "GET", "/api/v1/leases/198.18.1", "").await.0, 400);
}

#[tokio::test]
async fn exports_hold_every_lease_once() {
    let world = World::new(3_000);
    let router = world.seen_by(Peer::Local(None));
    let export = answer(&router, request("GET", "/api/v1/leases/export", None, "")).await;
    assert_eq!(export.headers()["content-type"], "application/x-ndjson");
    let lines: Vec<Value> =
        text(export).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[2_999]["address"]), (3_000, &Value::from("198.18.12.183")));
    let export = answer(&router, request("GET", "/api/v1/leases/export?format=csv", None, "")).await;
    let csv = text(export).await;
    assert_eq!(csv.lines().count(), 3_001);
    assert!(csv.lines().nth(8).unwrap().contains(r#","host-7,x","#), "{:?}", csv.lines().nth(8));
    // The filters are those of the listing.
    let lines = async |query: &str| {
        let question = request("GET", &format!("/api/v1/leases/export?{query}"), None, "");
        text(answer(&router, question).await).await.lines().count()
    };
    assert_eq!(lines("state=free").await, 300);
    assert_eq!(lines("format=csv&first=198.18.1.0&last=198.18.1.9").await, 11);
    for wrong in ["format=xml", "limit=1", "after=198.18.1.1", "nosuch=1"] {
        assert_eq!(ask(&world, "GET", &format!("/api/v1/leases/export?{wrong}"), "").await.0, 400, "{wrong}");
    }
    for path in ["/api/v1/leases/export", "/api/v1/leases"] {
        let (status, problem) = ask(&world, "GET", &format!("{path}?site=a"), "").await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 422 && detail.contains("multi_site is not enabled"), "{status} {detail}");
    }
    assert_eq!(ask(&world, "GET", "/api/v1/leases?format=csv", "").await.0, 400);
}

#[tokio::test]
async fn subnets_reservations_and_health_are_shown() {
    let world = World::new(1);
    let (_, page) = ask(&world, "GET", "/api/v1/subnets", "").await;
    let subnets = &page["subnets"];
    assert_eq!((&subnets[0]["interface"], &subnets[1]["interface"]), (&"eth0".into(), &Value::Null));
    assert_eq!(
        (&subnets[1]["pools"][0]["size"], &subnets[1]["pools"][0]["used_percent"]),
        (&10.into(), &70.0.into())
    );
    assert_eq!(page["next"], Value::Null);
    for path in ["/api/v1/subnets", "/api/v1/options"] {
        let (_, first) = ask(&world, "GET", &format!("{path}?limit=1"), "").await;
        assert_eq!(
            (&first["subnets"][0]["subnet"], &first["next"]),
            (&"198.18.0.0/16".into(), &"198.18.0.0".into())
        );
        let (_, rest) = ask(&world, "GET", &format!("{path}?limit=1&after=198.18.0.0"), "").await;
        assert_eq!((&rest["subnets"][0]["subnet"], &rest["next"]), (&"198.19.0.0/24".into(), &Value::Null));
        for wrong in ["limit=0", "limit=1001", "after=x", "first=198.18.0.0"] {
            assert_eq!(ask(&world, "GET", &format!("{path}?{wrong}"), "").await.0, 400, "{path}?{wrong}");
        }
    }
    let (_, first) = ask(&world, "GET", "/api/v1/reservations?limit=1", "").await;
    assert_eq!(first["reservations"][0]["hw_address"], "02:00:00:00:00:01");
    let (_, rest) =
        ask(&world, "GET", &format!("/api/v1/reservations?after={}", first["next"].as_str().unwrap()), "")
            .await;
    assert_eq!((&rest["reservations"][0]["client_id"], &rest["next"]), (&"78".into(), &Value::Null));
    assert_eq!(ask(&world, "GET", "/readyz", "").await.1["ready"], true);
    let (_, summary) = ask(&world, "POST", "/api/v1/config/validate", CONFIG).await;
    assert_eq!((&summary["subnets"], &summary["reservations"]), (&2.into(), &2.into()));
    let (status, problem) =
        ask(&world, "POST", "/api/v1/config/validate", r#"{"dhcp": {"subnts": []}}"#).await;
    assert!(
        status == 422 && problem["detail"].as_str().unwrap().contains("did you mean `subnets`"),
        "{problem}"
    );
}

#[tokio::test]
async fn without_a_service_the_health_endpoints_say_so() {
    let world = World::new(1);
    let (sender, receiver) = sync_channel(1);
    drop(receiver);
    let service = ServiceHandle::new(sender);
    let views = Views::new(service.clone(), world.api.in_force.clone());
    let api = Api { views, service, ..world.api.clone() };
    let router = api.router().layer(Extension(Peer::Local(None)));
    for path in ["/healthz", "/readyz", "/api/v1/leases", "/metrics"] {
        assert_eq!(answer(&router, request("GET", path, None, "")).await.status(), 503, "{path}");
    }
}

/// However many look at health and pools: the service is asked once in a while for all of them.
#[tokio::test]
async fn what_many_look_at_is_asked_for_once() {
    let world = World::new(1);
    let router = world.seen_by(Peer::Local(None));
    for (path, age) in [("/healthz", Duration::from_millis(200)), ("/api/v1/subnets", Duration::from_secs(1))]
    {
        let (began, before) = (std::time::Instant::now(), world.looks.load(Ordering::Relaxed));
        for _ in 0..200 {
            assert_eq!(answer(&router, request("GET", path, None, "")).await.status(), 200);
        }
        let asked = world.looks.load(Ordering::Relaxed) - before;
        let times = began.elapsed().as_millis() / age.as_millis() + 1;
        assert!(asked >= 1 && asked as u128 <= times, "{path}: asked {asked} times in {:?}", began.elapsed());
    }
}

/// Answers hold their room until they are read.
#[tokio::test]
async fn long_answers_have_room_for_all_of_them_together() {
    let mut world = World::new(3_000);
    world.api.room = Room::new(3 << 20, Duration::from_millis(50));
    let router = world.seen_by(Peer::Local(None));
    let listing = async || answer(&router, request("GET", "/api/v1/leases?limit=2000", None, "")).await;
    let mut unread = Vec::new();
    let refused = loop {
        let response = listing().await;
        if response.status() != 200 {
            break response;
        }
        unread.push(response);
        assert!(unread.len() < 20, "answers without end");
    };
    assert!(!unread.is_empty());
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true));
    let read: Value = serde_json::from_str(&text(unread.remove(0)).await).unwrap();
    assert_eq!(read["leases"].as_array().map(Vec::len), Some(2_000));
    drop(unread);
    assert_eq!(listing().await.status(), 200);
}

/// The export is looked at for its reader's rights at every page.
#[tokio::test]
async fn an_export_ends_with_the_rights_to_it() {
    let world = World::new(3_000);
    let token = world.token(ApiRole::Viewer, &[]);
    let id = token.split('_').nth(1).unwrap().to_owned();
    let router = world.remote();
    let export = answer(&router, request("GET", "/api/v1/leases/export", Some(&token), "")).await;
    let mut body = export.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.iter().filter(|octet| **octet == b'\n').count(), desk::PAGE_LEASES_MAX);
    world.api.tokens.revoke(&id).unwrap();
    let mut more = 0;
    let failed = loop {
        match body.frame().await {
            Some(Ok(_)) => more += 1,
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(failed && more <= 1, "{more} pages more, failed: {failed}");
}

#[tokio::test]
async fn metrics_name_reasons_pools_and_flushes() {
    let world = World::new(1);
    let (_, metrics) = ask(&world, "GET", "/metrics", "").await;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "dhcp_daemon_messages_total{reason=\"offered\"} 3",
        "dhcp_leases{state=\"bound\"} 9",
        "dhcp_pool_free_addresses{first=\"198.19.0.10\",last=\"198.19.0.19\",subnet=\"198.19.0.0/24\"} 3",
        "dhcp_pool_used_ratio{first=\"198.19.0.10\",last=\"198.19.0.19\",subnet=\"198.19.0.0/24\"} 0.7",
        "dhcp_store_flush_duration_seconds_bucket{le=\"+Inf\"} 0",
        "# TYPE dhcp_store_flush_duration_seconds histogram",
        "# TYPE dhcp_daemon_message_duration_seconds histogram",
        "dhcp_daemon_message_duration_seconds_bucket{le=\"0.00005\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let every: std::collections::HashSet<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let helped = metrics.lines().filter(|line| line.starts_with("# HELP ")).count();
    assert_eq!(every.len(), helped, "each has a help text");
}

#[tokio::test]
async fn figures_are_made_once_for_all_who_ask_within_a_second() {
    let world = World::new(1);
    let router = world.seen_by(Peer::Local(None));
    let scrape = async || {
        let body = answer(&router, request("GET", "/metrics", None, "")).await.into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    let began = std::time::Instant::now();
    let first = scrape().await;
    assert!(first.contains("dhcp_api_requests_total 1\n"), "{first}");
    // Each is a request more: texts made anew would say so.
    assert!(scrape().await == first || began.elapsed() >= Duration::from_secs(1));
    loop {
        let text = scrape().await;
        if text != first {
            assert!(began.elapsed() >= Duration::from_secs(1));
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "figures stay as they were");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
