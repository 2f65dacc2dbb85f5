//! Every endpoint with every role, with and without authority; wrong tokens, restricted ones, certificates.

use std::time::Duration;

use super::*;
use crate::api::{
    access::{
        local_user::LocalUser,
        rights::{Need, RIGHTS},
    },
    changes::Which,
    problem::Problem,
};

/// A path that an endpoint's template fits.
fn example(path: &str) -> String {
    let path = path.replace("{address}", "198.18.1.1").replace("{id}", "00");
    let path = path.replace("{name}", "east").replace("{node}", "n1");
    assert!(!path.contains('{'), "{path}: say what stands for it");
    path
}

/// Whether somebody with a role, restricted or not, gets in.
fn expected(need: Need, role: Option<ApiRole>, restricted: bool) -> Option<u16> {
    match (need, role) {
        (Need::Nothing, _) => None,
        (_, None) => Some(401),
        (Need::Whole(needed), Some(role)) if role < needed || restricted => Some(403),
        (Need::Part(needed), Some(role)) if role < needed => Some(403),
        _ => None,
    }
}

#[tokio::test]
async fn every_endpoint_lets_in_whom_the_table_says_and_nobody_else() {
    let roles = [None, Some(ApiRole::Viewer), Some(ApiRole::Operator), Some(ApiRole::Admin)];
    let mut asked = 0;
    for (method, path, need) in RIGHTS {
        let world = World::new(20);
        let router = world.remote();
        for (role, restricted) in roles.iter().flat_map(|role| [(*role, false), (*role, true)]) {
            let subnets: &[&str] = if restricted { &["198.18.1.0/24"] } else { &[] };
            let token = role.map(|role| world.token(role, subnets));
            let response = answer(&router, request(method, &example(path), token.as_deref(), "{}")).await;
            let status = response.status().as_u16();
            let what = format!("{method} {path} as {role:?}, restricted: {restricted}: {status}");
            match expected(*need, role, restricted) {
                Some(refused) => {
                    assert_eq!(status, refused, "{what}");
                    let problem: Problem = serde_json::from_str(&text(response).await).unwrap();
                    assert_eq!(problem.status, refused);
                }
                None => assert!(!matches!(status, 401 | 403 | 405 | 429) && status < 500, "{what}"),
            }
            asked += 1;
        }
    }
    assert_eq!(asked, RIGHTS.len() * 8);
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_soon_cost_time_to_their_sender_alone() {
    let world = World::new(1);
    let right = world.token(ApiRole::Admin, &[]);
    let router = world.remote();
    let status = async |router: &Router, token: &str| {
        answer(router, request("GET", "/api/v1/stats", Some(token), "")).await.status().as_u16()
    };
    let mut wrong = right.clone();
    wrong.pop();
    for token in ["", "x", wrong.as_str(), &"y".repeat(4_000)] {
        assert_eq!(status(&router, token).await, 401);
    }
    assert_eq!(status(&router, &right).await, 200);
    for _ in 0..2 {
        assert_eq!(status(&router, &wrong).await, 401, "a right one in between changes nothing");
    }
    assert_eq!(status(&router, &wrong).await, 429, "wrong ones have to wait");
    assert_eq!(status(&router, &right).await, 200, "and keep nobody out who was there before");
    let guessed = world.token(ApiRole::Admin, &[]);
    assert_eq!(status(&router, &guessed).await, 429, "nor is a guess looked at that happens to be right");
    assert_eq!(status(&router, &wrong).await, 429);
    let other = world.seen_by(Peer::Remote { address: source(2), certificate: None });
    assert_eq!(status(&other, &right).await, 200);
    assert_eq!(answer(&other, request("GET", "/healthz", None, "")).await.status(), 200);
    let basic = Request::get("/api/v1/stats").header("authorization", format!("Basic {right}"));
    assert_eq!(answer(&other, basic.body(Body::empty()).unwrap()).await.status(), 401);
}

#[tokio::test]
async fn the_record_is_filled_by_those_with_rights_and_by_nobody_else() {
    let world = World::new(9);
    let router = world.remote();
    let path = format!("/api/v1/leases/{}", "9".repeat(5_000));
    for (method, status) in [("DELETE", 401), ("PATCH", 405)] {
        let refused = answer(&router, request(method, &path, Some("nonsense"), "")).await;
        assert_eq!(refused.status(), status);
        let allow = refused.headers().get("allow").map(|methods| methods.to_str().unwrap());
        assert_eq!(allow, (status == 405).then_some("GET, HEAD, DELETE"));
    }
    assert_eq!(world.api.changes.latest(Which::All, 9), []);
    let viewer = world.token(ApiRole::Viewer, &[]);
    assert_eq!(answer(&router, request("DELETE", &path, Some(&viewer), "")).await.status(), 403);
    let records = world.api.changes.latest(Which::All, 9);
    assert!(records.len() == 1 && records[0].path.len() == 256, "{records:?}");
}

#[tokio::test]
async fn a_viewer_cannot_push_what_was_done_out_of_the_record() {
    let world = World::new(20);
    let router = world.remote();
    let (viewer, operator) = (world.token(ApiRole::Viewer, &[]), world.token(ApiRole::Operator, &[]));
    let status = async |method: &str, path: &str, token: &str| {
        answer(&router, request(method, path, Some(token), "{}")).await.status().as_u16()
    };
    assert_eq!(status("DELETE", "/api/v1/leases/198.18.1.1", &operator).await, 202);
    for _ in 0..2_000 {
        assert_eq!(status("DELETE", "/api/v1/leases/198.18.1.1", &viewer).await, 403);
    }
    // Nor one that may, by what cannot be: and asking is no change.
    assert_eq!(status("DELETE", "/api/v1/leases/198.18.9.9", &operator).await, 404);
    assert_eq!(status("POST", "/api/v1/config/validate", &operator).await, 422);
    let done = ask(&world, "GET", "/api/v1/audit?refused=false", "").await.1;
    assert_eq!(done.as_array().map(Vec::len), Some(1), "{done:#}");
    let refused = ask(&world, "GET", "/api/v1/audit?refused=true&limit=1000", "").await.1;
    let refused = refused.as_array().unwrap();
    let count: u64 = refused.iter().map(|record| record["count"].as_u64().unwrap_or(1)).sum();
    assert_eq!(count, 2_001);
    assert!(refused.len() < 100, "{}", refused.len());
    assert!(!std::fs::read_to_string(world.folder.path().join("changes.ndjson")).unwrap().contains("403"));
}

#[tokio::test]
async fn who_hangs_up_in_the_middle_keeps_nothing_out_of_the_record() {
    let world = World::new(9);
    let operator = world.token(ApiRole::Operator, &[]);
    let router = world.remote();
    let asked = answer(&router, request("DELETE", "/api/v1/leases/198.18.1.1", Some(&operator), ""));
    drop(tokio::time::timeout(Duration::ZERO, asked).await);
    let recorded = async {
        while world.api.changes.latest(Which::All, 1).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), recorded).await.expect("it is recorded");
    assert_eq!(world.api.changes.latest(Which::All, 1)[0].status, 202);
}

#[tokio::test]
async fn the_record_names_the_local_user() {
    let world = World::new(9);
    let router = world.seen_by(Peer::Local(Some(LocalUser::new(4_294_000_000))));
    let released = answer(&router, request("DELETE", "/api/v1/leases/198.18.1.1", None, "")).await;
    assert_eq!(released.status(), 202);
    assert_eq!(world.api.changes.latest(Which::All, 1)[0].who, "local socket, uid 4294000000");
}

/// A handler that panics has done something or not: that is for the record, too.
#[tokio::test]
async fn what_breaks_off_is_recorded() {
    let world = World::new(9);
    async fn breaks() -> &'static str {
        panic!("for the test")
    }
    let router = Router::new()
        .route("/api/v1/leases/{address}", axum::routing::delete(breaks))
        .layer(axum::middleware::from_fn_with_state(world.api.clone(), crate::api::access::gate::gate))
        .layer(Extension(Peer::Local(None)));
    let response = answer(&router, request("DELETE", "/api/v1/leases/198.18.1.1", None, "")).await;
    assert_eq!(response.status(), 500);
    let record = world.api.changes.latest(Which::Done, 1).remove(0);
    assert!(record.status == 500 && record.detail.contains("half-way"), "{record:?}");
}

#[tokio::test]
async fn the_restricted_see_and_change_what_is_theirs() {
    let world = World::new(1_000);
    let token = world.token(ApiRole::Operator, &["198.18.1.0/28", "198.18.2.0/30"]);
    let router = world.remote();
    let get = async |path: &str| {
        let response = answer(&router, request("GET", path, Some(&token), "")).await;
        (response.status().as_u16(), text(response).await)
    };
    let (_, page) = get("/api/v1/leases?limit=1000").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["leases"].as_array().unwrap().len(), 20);
    for (subnet, leases) in [("198.18.0.0/16", 20), ("198.18.1.4/30", 4), ("198.18.3.0/24", 0)] {
        let (_, page) = get(&format!("/api/v1/leases?subnet={subnet}")).await;
        let page: Value = serde_json::from_str(&page).unwrap();
        assert_eq!(page["leases"].as_array().unwrap().len(), leases, "{subnet}");
    }
    assert_eq!(get("/api/v1/leases/export").await.1.lines().count(), 20);
    assert_eq!(get("/api/v1/leases/198.18.1.15").await.0, 200);
    assert_eq!(get("/api/v1/leases/198.18.1.16").await.0, 404, "as if there were none");
    assert_eq!(get("/api/v1/subnets").await.1, r#"{"subnets":[],"next":null}"#);
    for (method, path) in
        [("DELETE", "/api/v1/leases/198.18.1.16"), ("POST", "/api/v1/leases/198.18.1.16/extend")]
    {
        assert_eq!(answer(&router, request(method, path, Some(&token), "")).await.status(), 404);
    }
    assert_eq!(ask(&world, "GET", "/api/v1/leases/198.18.1.16", "").await.1["state"], "bound");
}

#[tokio::test]
async fn certificates_stand_for_those_the_configuration_names() {
    let world = World::new(20);
    let holder =
        |name: &str| world.seen_by(Peer::Remote { address: source(1), certificate: Some(name.to_owned()) });
    let status = async |router: &Router, method: &str, path: &str| {
        answer(router, request(method, path, None, "")).await.status().as_u16()
    };
    assert_eq!(status(&holder("ops"), "DELETE", "/api/v1/leases/198.18.1.1").await, 202);
    assert_eq!(status(&holder("ops"), "GET", "/api/v1/tokens").await, 403);
    assert_eq!(status(&holder("ops"), "GET", "/api/v1/stats").await, 403, "restricted");
    assert_eq!(status(&holder("stranger"), "GET", "/api/v1/leases").await, 401);
    // A browser sends its user's certificate along whoever asks: pages of other sites change nothing.
    let from = async |header: &str, value: &str| {
        let mut request = request("DELETE", "/api/v1/leases/198.18.1.2", None, "");
        request.headers_mut().insert("host", "dhcp.example:8081".parse().unwrap());
        let name = axum::http::HeaderName::from_bytes(header.as_bytes()).unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        answer(&holder("ops"), request).await.status().as_u16()
    };
    assert_eq!(from("sec-fetch-site", "cross-site").await, 403);
    assert_eq!(from("origin", "https://elsewhere.example").await, 403);
    assert_eq!(from("origin", "https://dhcp.example:8081").await, 202);
    assert_eq!(from("sec-fetch-site", "same-origin").await, 409, "it is released already");
    // Nothing is known of a connection that no listener of ours made.
    assert_eq!(status(&world.api.router(), "GET", "/healthz").await, 403);
}

#[tokio::test]
async fn what_changes_something_is_recorded_and_no_secret_is() {
    let world = World::new(20);
    let router = world.remote();
    let (viewer, admin) = (world.token(ApiRole::Viewer, &[]), world.token(ApiRole::Admin, &[]));
    answer(&router, request("DELETE", "/api/v1/leases/198.18.1.1", Some(&viewer), "")).await;
    let named = request("DELETE", "/api/v1/leases/198.18.1.1", Some(&admin), "");
    let (mut parts, body) = named.into_parts();
    parts.headers.insert("x-request-id", "ticket-42".parse().unwrap());
    let released = answer(&router, Request::from_parts(parts, body)).await;
    assert_eq!(released.headers()["x-request-id"], "ticket-42");
    let new = r#"{"name": "backup", "role": "viewer"}"#;
    let made = text(answer(&router, request("POST", "/api/v1/tokens", Some(&admin), new)).await).await;
    let secret = serde_json::from_str::<Value>(&made).unwrap()["token"].as_str().unwrap().to_owned();
    answer(&router, request("GET", "/api/v1/leases", Some(&admin), "")).await;

    let (_, record) = ask(&world, "GET", "/api/v1/audit?limit=10", "").await;
    let rows: Vec<_> = record
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["method"].as_str().unwrap(),
                row["status"].as_u64().unwrap(),
                row["detail"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(rows.len(), 3);
    assert!(matches!(rows[0], ("POST", 201, detail) if detail.contains("backup")), "{rows:?}");
    assert!(matches!(rows[1], ("DELETE", 202, detail) if detail.contains("02:00:00:00:00:01")), "{rows:?}");
    assert_eq!(rows[2], ("DELETE", 403, ""));
    assert_eq!(record[1]["request_id"], "ticket-42");
    assert!(record[1]["who"].as_str().unwrap().contains("(admin)"));
    for entry in std::fs::read_dir(&world.folder).unwrap() {
        let kept = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for token in [&viewer, &admin, &secret] {
            assert!(!kept.contains(token.rsplit('_').next().unwrap()));
        }
    }
}
