//! The configuration's endpoints, as far as they refuse: nothing is put in force without a service.

use std::time::Duration;

use futures_util::{StreamExt as _, future::pending, stream::once};
use tokio::{sync::Notify, task::JoinHandle};

use super::*;
use crate::api::turn::Turns;

async fn put(world: &World, tag: Option<&str>, body: &str) -> (u16, String) {
    let mut question = request("PUT", "/api/v1/config", None, body);
    if let Some(tag) = tag {
        question.headers_mut().insert("if-match", tag.parse().unwrap());
    }
    let response = answer(&world.seen_by(Peer::Local(None)), question).await;
    (response.status().as_u16(), text(response).await)
}

#[tokio::test]
async fn what_was_looked_at_is_what_is_replaced() {
    let world = World::new(1);
    let found = answer(&world.seen_by(Peer::Local(None)), request("GET", "/api/v1/config", None, "")).await;
    let tag = found.headers()["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    assert_eq!(put(&world, None, CONFIG).await.0, 428);
    let (status, said) = put(&world, Some("\"0123\""), CONFIG).await;
    assert!(status == 412 && said.contains("another by now"), "{status} {said}");
    // The file is not what is in force: it is not there.
    let (status, said) = put(&world, Some(&tag), CONFIG).await;
    assert!(status == 409 && said.contains("is not overwritten"), "{status} {said}");
    let back = async |tag: &str| {
        let mut question = request("POST", "/api/v1/config/rollback", None, "");
        question.headers_mut().insert("if-match", tag.parse().unwrap());
        answer(&world.seen_by(Peer::Local(None)), question).await.status().as_u16()
    };
    let refused = (back("\"0123\"").await, back(&tag).await, back("*").await);
    assert_eq!(refused, (412, 409, 409), "there is no earlier one");
}

/// A request that sends this and then nothing more; when this comes back, that is taken.
async fn stalling(router: &Router, path: &str, first: String) -> JoinHandle<Response<Body>> {
    let taken = Arc::new(Notify::new());
    let begin = once(async move { Ok::<_, std::convert::Infallible>(first) });
    let end = once({
        let taken = Arc::clone(&taken);
        async move {
            taken.notify_one();
            pending().await
        }
    });
    let question = Request::post(path).body(Body::from_stream(begin.chain(end))).unwrap();
    let router = router.clone();
    let asking = tokio::spawn(async move { answer(&router, question).await });
    taken.notified().await;
    asking
}

#[tokio::test]
async fn one_configuration_is_judged_at_a_time() {
    let mut world = World::new(1);
    world.api.turns = Turns::new(1 << 20, Duration::from_millis(20));
    let local = world.seen_by(Peer::Local(None));
    let turn = world.api.turns.take().await.unwrap();
    for what in ["validate", "diff"] {
        let question = request("POST", &format!("/api/v1/config/{what}"), None, CONFIG);
        let busy = answer(&local, question).await;
        assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].as_bytes()), (503, &b"2"[..]));
    }
    drop(turn);
    for what in ["validate", "diff"] {
        // Twice: a turn is given back.
        assert_eq!(ask(&world, "POST", &format!("/api/v1/config/{what}"), CONFIG).await.0, 200);
        assert_eq!(ask(&world, "POST", &format!("/api/v1/config/{what}"), "{").await.0, 422);
    }
}

#[tokio::test]
async fn who_comes_while_another_is_judged_waits_for_it() {
    let world = World::new(1);
    let turn = world.api.turns.take().await.unwrap();
    let local = world.seen_by(Peer::Local(None));
    let question = request("POST", "/api/v1/config/validate", None, CONFIG);
    let waits = tokio::spawn(async move { answer(&local, question).await.status() });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    drop(turn);
    assert_eq!(waits.await.unwrap(), 200);
}

#[tokio::test]
async fn who_sends_slowly_keeps_nobody_waiting() {
    let world = World::new(1);
    let local = world.seen_by(Peer::Local(None));
    for what in ["validate", "diff"] {
        let path = format!("/api/v1/config/{what}");
        let slow = stalling(&local, &path, CONFIG.to_owned()).await;
        assert_eq!(ask(&world, "POST", &path, CONFIG).await.0, 200, "{what}");
        assert!(!slow.is_finished());
        slow.abort();
    }
}

#[tokio::test]
async fn all_bodies_together_have_bounded_room() {
    let mut world = World::new(1);
    world.api.turns = Turns::new(5 << 10, Duration::from_secs(5));
    let local = world.seen_by(Peer::Local(None));
    let slow = stalling(&local, "/api/v1/config/validate", " ".repeat(3 << 10)).await;
    let text = format!("{CONFIG}{}", " ".repeat(2 << 10));
    let small = async || ask(&world, "POST", "/api/v1/config/validate", &text).await;
    let refused = small().await;
    assert!(refused.0 == 503 && refused.1["detail"].as_str().unwrap().contains("being sent"), "{refused:?}");
    slow.abort();
    assert!(slow.await.is_err());
    assert_eq!(small().await.0, 200, "the room is given back");
    // As much as there is no room for at all, and as no configuration may be long.
    assert_eq!(ask(&world, "POST", "/api/v1/config/validate", &" ".repeat(6 << 10)).await.0, 503);
    world.api.turns = Turns::default();
    let text = " ".repeat((16 << 20) + 1);
    for (method, path) in [("POST", "validate"), ("POST", "diff"), ("PUT", "")] {
        let path = format!("/api/v1/config/{path}");
        assert_eq!(ask(&world, method, path.trim_end_matches('/'), &text).await.0, 413, "{method} {path}");
    }
    let question = Request::post("/api/v1/config/validate").body(Body::from(&b"{\"\xff\": 1}"[..])).unwrap();
    let refused = answer(&world.seen_by(Peer::Local(None)), question).await;
    assert_eq!(refused.status(), 400);
    assert!(super::text(refused).await.contains("UTF-8"));
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
