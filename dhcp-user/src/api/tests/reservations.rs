//! Reservations made, changed and removed: what fits, what is refused and how it is said, and who may.

use serde_json::json;

use super::*;
use crate::api::changes::Which;

const PATH: &str = "/api/v1/reservations";

fn entry(address: &str, mac: &str) -> String {
    json!({"address": address, "hw_address": mac}).to_string()
}

async fn addresses(world: &World) -> Vec<(String, String)> {
    let (_, page) = ask(world, "GET", PATH, "").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = page["reservations"].as_array().unwrap().iter();
    all.map(|one| (text(&one["address"]), text(&one["source"]))).collect()
}

#[tokio::test]
async fn they_are_made_looked_at_changed_and_removed() {
    let world = World::new(20);
    let router = world.seen_by(Peer::Local(None));
    let made = json!({"address": "198.18.250.9", "client_id": "text:y", "hostname": "y", "lease_secs": 60})
        .to_string();
    let response = answer(&router, request("POST", PATH, None, &made)).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["location"], "/api/v1/reservations/198.18.250.9");
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    let shown: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(
        (&shown["client_id"], &shown["hostname"], &shown["source"], &shown["written"]["lease_secs"]),
        (&json!("79"), &json!("y"), &json!("api"), &json!(60))
    );
    let configured = |address: &str| (address.to_owned(), "configuration".to_owned());
    let ours = ("198.18.250.9".to_owned(), "api".to_owned());
    assert_eq!(addresses(&world).await, [configured("198.18.250.1"), configured("198.18.250.2"), ours]);
    assert_eq!(
        world
            .api
            .in_force
            .config()
            .reservation("198.18.250.9".parse().unwrap())
            .unwrap()
            .policy
            .lease_default_secs,
        60
    );

    let path = format!("{PATH}/198.18.250.9");
    let with_tag = |method: &str, tag: &str, body: &str| {
        let mut request = request(method, &path, None, body);
        request.headers_mut().insert("if-match", tag.parse().unwrap());
        request
    };
    let other = entry("198.18.250.9", "02:00:00:00:00:77");
    assert_eq!(answer(&router, with_tag("PUT", "\"0\"", &other)).await.status(), 412);
    let changed = answer(&router, with_tag("PUT", &tag, &other)).await;
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"], *tag);
    assert_eq!(ask(&world, "GET", &path, "").await.1["hw_address"], "02:00:00:00:00:77");
    assert_eq!(answer(&router, with_tag("DELETE", &tag, "")).await.status(), 412, "it was changed since");
    assert_eq!(ask(&world, "DELETE", &path, "").await.0, 204);
    assert_eq!(ask(&world, "GET", &path, "").await.0, 404);
    assert_eq!(ask(&world, "DELETE", &path, "").await.0, 404);
    let changes = world.api.changes.latest(Which::All, 9);
    assert!(
        changes.iter().any(|change| change.method == "POST" && change.detail.contains("text:y")),
        "{changes:?}"
    );
    assert!(changes.iter().any(|change| change.status == 412), "{changes:?}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason_and_nothing_changes() {
    let world = World::new(20);
    let before = addresses(&world).await;
    for (body, status, because) in [
        (entry("198.20.0.1", "02:00:00:00:00:77"), 422, "198.20.0.1 is in no subnet of the configuration"),
        (entry("198.18.0.0", "02:00:00:00:00:77"), 422, "the network address"),
        (entry("198.18.0.1", "02:00:00:00:00:77"), 422, "this server's own address"),
        (
            entry("198.18.250.1", "02:00:00:00:00:77"),
            409,
            "198.18.250.1 is reserved in the configuration file",
        ),
        (entry("198.18.250.9", "02:00:00:00:00:01"), 409, "198.18.250.1 is reserved for the same client"),
        (entry("198.18.1.3", "02:00:00:00:00:77"), 409, "198.18.1.3 is held by 02:00:00:00:00:03: release"),
        (entry("198.18.250.9", "02:00:00:77"), 422, "hw_address"),
        (entry("198.18.250", "02:00:00:00:00:77"), 422, "address"),
        (json!({"address": "198.18.250.9"}).to_string(), 422, "nothing says whose it is"),
        (
            json!({"address": "198.18.250.9", "hw_adress": "02:00:00:00:00:77"}).to_string(),
            422,
            "did you mean `hw_address`",
        ),
        (
            json!({"address": "198.18.250.9", "hw_address": "02:00:00:00:00:77", "lease_secs": 1})
                .to_string(),
            422,
            "lease_secs",
        ),
        (
            format!("{{\"address\": \"198.18.250.9\", \"hostname\": \"{}\"}}", "x".repeat(5_000)),
            422,
            "4096 are the most",
        ),
        ("[]".to_owned(), 422, "an object"),
        (r#"{"address": "198.18.250.9", "address": "198.18.250.8"}"#.to_owned(), 422, "given twice"),
    ] {
        let (got, problem) = ask(&world, "POST", PATH, &body).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(got == status && detail.contains(because), "{body}: {got} {problem}");
    }
    assert_eq!(addresses(&world).await, before);
    let (status, problem) = ask(&world, "DELETE", &format!("{PATH}/198.18.250.1"), "").await;
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains("configuration file"), "{problem}");
    let (status, _) =
        ask(&world, "PUT", &format!("{PATH}/198.18.250.9"), &entry("198.18.250.9", "02:00:00:00:00:77"))
            .await;
    assert_eq!(status, 404, "a change makes nothing");
    assert_eq!(ask(&world, "POST", PATH, &entry("198.18.250.9", "02:00:00:00:00:77")).await.0, 201);
    let (status, problem) = ask(&world, "POST", PATH, &entry("198.18.250.9", "02:00:00:00:00:78")).await;
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains("already"), "{problem}");
    let (status, problem) = ask(&world, "POST", PATH, &entry("198.18.250.8", "02:00:00:00:00:77")).await;
    assert!(
        status == 409 && problem["detail"].as_str().unwrap().contains("198.18.250.9 is reserved"),
        "{problem}"
    );
    let (status, _) =
        ask(&world, "PUT", &format!("{PATH}/198.18.250.9"), &entry("198.18.250.8", "02:00:00:00:00:77"))
            .await;
    assert_eq!(status, 422, "it is not moved");
    let held = entry("198.18.1.3", "02:00:00:00:00:79");
    assert_eq!(ask(&world, "POST", &format!("{PATH}?even_if_held=true"), &held).await.0, 201);
}

#[tokio::test]
async fn a_lease_is_reserved_for_whoever_has_it() {
    let world = World::new(20);
    let reserve = |n: u8| format!("/api/v1/leases/198.18.1.{n}/reserve");
    let (status, shown) = ask(&world, "POST", &reserve(3), "").await;
    assert_eq!((status, &shown["hw_address"]), (201, &json!("02:00:00:00:00:03")), "{shown}");
    let body = json!({"identify_by": "client_id", "hostname": "four"}).to_string();
    let (status, shown) = ask(&world, "POST", &reserve(4), &body).await;
    assert_eq!(
        (status, &shown["client_id"], &shown["hostname"]),
        (201, &json!("01000004"), &json!("four")),
        "{shown}"
    );
    assert_eq!(ask(&world, "POST", &reserve(3), "").await.0, 409, "it is already");
    assert_eq!(ask(&world, "POST", &reserve(99), "").await.0, 404);
    assert_eq!(ask(&world, "POST", &reserve(5), r#"{"identify": 1}"#).await.0, 422);
    let mut stale = request("POST", &reserve(5), None, "");
    stale.headers_mut().insert("if-match", "\"0\"".parse().unwrap());
    assert_eq!(answer(&world.seen_by(Peer::Local(None)), stale).await.status(), 412);
}

#[tokio::test]
async fn operators_of_the_subnet_may_and_viewers_may_not() {
    let world = World::new(20);
    let router = world.remote();
    let viewer = world.token(ApiRole::Viewer, &[]);
    let operator = world.token(ApiRole::Operator, &["198.18.250.0/24"]);
    let (ours, others) =
        (entry("198.18.250.9", "02:00:00:00:00:77"), entry("198.18.251.9", "02:00:00:00:00:78"));
    let status = async |method: &str, path: &str, token: Option<&str>, body: &str| {
        answer(&router, request(method, path, token, body)).await.status().as_u16()
    };
    let one = format!("{PATH}/198.18.250.9");
    assert_eq!(status("POST", PATH, None, &ours).await, 401);
    assert_eq!(status("POST", PATH, Some(&viewer), &ours).await, 403);
    assert_eq!(status("POST", PATH, Some(&operator), &others).await, 403);
    assert_eq!(status("POST", PATH, Some(&operator), &ours).await, 201);
    assert_eq!(status("GET", &one, Some(&viewer), "").await, 200);
    assert_eq!(status("PUT", &one, Some(&viewer), &ours).await, 403);
    assert_eq!(status("DELETE", &one, Some(&viewer), "").await, 403);
    assert_eq!(status("POST", "/api/v1/leases/198.18.1.3/reserve", Some(&operator), "").await, 404);
    assert_eq!(ask(&world, "POST", PATH, &others).await.0, 201);
    let theirs = format!("{PATH}/198.18.251.9");
    assert_eq!(status("GET", &theirs, Some(&operator), "").await, 404);
    assert_eq!(status("DELETE", &theirs, Some(&operator), "").await, 404);
    assert_eq!(status("DELETE", &one, Some(&operator), "").await, 204);
}

/// Who has rights to a part of a subnet changes nothing of the rest of it, and learns nothing of it.
#[tokio::test]
async fn what_is_outside_of_the_callers_prefixes_is_neither_changed_nor_told() {
    let world = World::new(20);
    let router = world.remote();
    let operator = world.token(ApiRole::Operator, &["198.18.250.0/28"]);
    let post = async |body: &str| {
        let response = answer(&router, request("POST", PATH, Some(&operator), body)).await;
        (response.status().as_u16(), text(response).await)
    };
    // The client's lease is 198.18.1.3.
    let (status, detail) = post(&entry("198.18.250.9", "02:00:00:00:00:03")).await;
    assert!(status == 403 && !detail.contains("198.18.1.3"), "{status} {detail}");
    // Its reservation elsewhere, made by the API or in the file.
    assert_eq!(ask(&world, "POST", PATH, &entry("198.18.251.9", "02:00:00:00:00:77")).await.0, 201);
    for (mac, other) in [("02:00:00:00:00:77", "198.18.251.9"), ("02:00:00:00:00:01", "198.18.250.1")] {
        let (status, detail) = post(&entry("198.18.250.9", mac)).await;
        let told = detail.contains(other);
        assert!(status == 409 && told == (other == "198.18.250.1"), "{status} {detail}");
    }
    // Nor if the new one comes before the other.
    assert_eq!(ask(&world, "POST", PATH, &entry("198.18.251.10", "02:00:00:00:00:78")).await.0, 201);
    let (status, detail) = post(&entry("198.18.250.8", "02:00:00:00:00:78")).await;
    assert!(status == 409 && detail.contains("another reservation") && !detail.contains("251"), "{detail}");
    assert_eq!(post(&entry("198.18.250.9", "02:00:00:00:00:99")).await.0, 201);
}

#[tokio::test]
async fn what_the_file_says_wins_and_the_loser_is_named() {
    let world = World::new(1);
    for made in [entry("198.18.250.9", "02:00:00:00:00:77"), entry("198.19.0.15", "02:00:00:00:00:78")] {
        assert_eq!(ask(&world, "POST", PATH, &made).await.0, 201);
    }
    let made = world.api.in_force.config().made();
    let text = CONFIG
        .replace(r#""address": "198.18.250.2""#, r#""address": "198.18.250.9""#)
        .replace("198.19.0.0/24", "198.19.1.0/24")
        .replace("198.19.0.", "198.19.1.");
    let config = config::parse_with(&text, "test", &made).unwrap();
    assert_eq!(config.made(), made, "nothing is lost");
    let world = World { api: Api { in_force: InForce::of(config.into()), ..world.api.clone() }, ..world };
    let (_, page) = ask(&world, "GET", PATH, "").await;
    let all = page["reservations"].as_array().unwrap();
    let out: Vec<_> =
        all.iter().filter_map(|one| Some((one["address"].as_str()?, one["left_out"].as_str()?))).collect();
    assert_eq!(
        out,
        [
            ("198.18.250.9", "198.18.250.9 is reserved for another client already"),
            ("198.19.0.15", "198.19.0.15 is in no subnet of the configuration"),
        ]
    );
    assert_eq!(ask(&world, "GET", &format!("{PATH}/198.18.250.9"), "").await.1["client_id"], "78");
}

/// Pages join to all of them, in order, whatever their order in the file and wherever one is left out; and of each address
/// both are on one page.
#[tokio::test]
async fn pages_are_by_address_and_join() {
    let world = World::new(1);
    let written: Vec<_> = (0..40_u32)
        .map(|n| (n * 17) % 40)
        .map(|n| json!({"hw_address": format!("02:00:00:01:00:{n:02x}"), "address": format!("198.18.250.{n}")}))
        .collect();
    let mut text: Value = serde_json::from_str(CONFIG).unwrap();
    text["dhcp"]["subnets"][0]["reservations"] = json!(written);
    text["dhcp"]["subnets"][1]["reservations"] =
        json!([{"hw_address": "02:00:00:01:00:01", "address": "198.19.0.9"}]);
    let made: Vec<_> = ["198.18.1.1", "198.18.250.7", "198.18.250.8", "198.20.0.1"]
        .iter()
        .enumerate()
        .map(|(n, address)| config::Made::parse(&entry(address, &format!("02:00:00:02:00:{n:02x}"))).unwrap())
        .collect();
    let config = config::parse_with(&text.to_string(), "test", &made).unwrap();
    assert_eq!(config.left_out.len(), 3);
    let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    assert!(config.reservation(address("198.18.250.39")).is_some());
    assert!(config.reservation(address("198.18.250.40")).is_none());
    let world = World { api: Api { in_force: InForce::of(config.into()), ..world.api.clone() }, ..world };
    let everything = ask(&world, "GET", PATH, "").await.1["reservations"].clone();
    assert_eq!(everything.as_array().unwrap().len(), 45);
    let restricted = world.token(ApiRole::Viewer, &["198.19.0.0/16", "198.18.250.4/30", "198.18.250.6/31"]);
    for limit in [1, 2, 7, 1_000] {
        for (token, wanted) in [(None, 45), (Some(&restricted), 6)] {
            let (mut all, mut after) = (Vec::new(), String::new());
            loop {
                let question =
                    request("GET", &format!("{PATH}?limit={limit}{after}"), token.map(|t| &**t), "");
                let router = if token.is_some() { world.remote() } else { world.seen_by(Peer::Local(None)) };
                let page = super::text(answer(&router, question).await).await;
                let page: Value = serde_json::from_str(&page).unwrap();
                all.extend(page["reservations"].as_array().unwrap().clone());
                match page["next"].as_str() {
                    Some(next) => after = format!("&after={next}"),
                    None => break,
                }
            }
            let addresses: Vec<_> = all.iter().map(|one| address(one["address"].as_str().unwrap())).collect();
            assert!(addresses.is_sorted() && all.len() == wanted, "limit {limit}: {addresses:?}");
            if token.is_none() {
                assert_eq!(all, *everything.as_array().unwrap());
            }
        }
    }
    let of = |one: &Value| (one["address"].clone(), one.get("left_out").is_some());
    let twice: Vec<_> =
        everything.as_array().unwrap().iter().map(of).filter(|(a, _)| a == "198.18.250.7").collect();
    assert_eq!(twice, [("198.18.250.7".into(), false), ("198.18.250.7".into(), true)]);
}
