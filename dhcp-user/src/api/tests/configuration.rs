//! The configuration's endpoints, as far as they refuse: nothing is put in force without a service.

use std::sync::atomic::AtomicBool;

use futures_util::stream::once;

use super::*;

async fn put(world: &World, tag: Option<&str>, body: &str) -> (u16, String) {
    let mut question = request("PUT", "/api/v1/config", None, body);
    if let Some(tag) = tag {
        question.headers_mut().insert("if-match", tag.parse().unwrap());
    }
    let response = answer(&world.seen_by(Peer::Local), question).await;
    (response.status().as_u16(), text(response).await)
}

#[tokio::test]
async fn what_was_looked_at_is_what_is_replaced() {
    let world = World::new(1);
    let found = answer(&world.seen_by(Peer::Local), request("GET", "/api/v1/config", None, "")).await;
    let tag = found.headers()["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    assert_eq!(put(&world, None, CONFIG).await.0, 428);
    let (status, said) = put(&world, Some("\"0123\""), CONFIG).await;
    assert!(status == 412 && said.contains("another by now"), "{status} {said}");
    // The file is not what is in force: it is not there.
    let (status, said) = put(&world, Some(&tag), CONFIG).await;
    assert!(status == 409 && said.contains("is not overwritten"), "{status} {said}");
}

#[tokio::test]
async fn one_configuration_is_judged_at_a_time_and_no_other_body_is_taken() {
    let world = World::new(1);
    let local = world.seen_by(Peer::Local);
    let turn = world.api.turns.take().unwrap();
    for what in ["validate", "diff"] {
        let taken = Arc::new(AtomicBool::new(false));
        let body = once({
            let taken = Arc::clone(&taken);
            async move {
                taken.store(true, Ordering::Relaxed);
                Ok::<_, std::convert::Infallible>(CONFIG)
            }
        });
        let question = Request::post(format!("/api/v1/config/{what}")).body(Body::from_stream(body)).unwrap();
        let busy = answer(&local, question).await;
        assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].as_bytes()), (503, &b"2"[..]));
        assert!(!taken.load(Ordering::Relaxed), "{what}: of its body nothing is taken");
    }
    drop(turn);
    for what in ["validate", "diff"] {
        // Twice: a turn is given back.
        assert_eq!(ask(&world, "POST", &format!("/api/v1/config/{what}"), CONFIG).await.0, 200);
        assert_eq!(ask(&world, "POST", &format!("/api/v1/config/{what}"), "{").await.0, 422);
    }
}

#[tokio::test]
async fn every_refusal_says_why() {
    let world = World::new(1);
    let elsewhere = CONFIG.replace("eth0", "nosuch0");
    let (status, diff) = ask(&world, "POST", "/api/v1/config/diff", &elsewhere).await;
    assert_eq!((status, &diff["changes"]), (200, &Value::Bool(true)), "{diff:#}");
    assert!(diff["refused"].as_str().unwrap().contains("there is no interface nosuch0"), "{diff:#}");
    for (path, body, wanted, because) in [
        ("diff", "{}", 422, "dhcp"),
        ("diff", "{", 422, "not valid JSON"),
        ("reload", "", 422, "there is no such file"),
        ("rollback", "", 409, "no earlier configuration"),
    ] {
        let (status, said) = ask(&world, "POST", &format!("/api/v1/config/{path}"), body).await;
        let detail = said["detail"].as_str().unwrap();
        assert!(status == wanted && detail.contains(because), "{path}: {status} {said:#}");
    }
}
