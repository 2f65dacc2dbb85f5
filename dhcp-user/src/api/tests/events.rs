//! The stream of events: in order, resumed by number, and only what its reader may know.

use std::time::Duration;

use super::*;
use crate::server::feed::{SiteChange, SiteNews};

/// What comes on a stream.
struct Stream(Body);

impl Stream {
    /// Opened by somebody, after an event or with the latest ones.
    async fn open(router: &Router, path: &str, after: Option<u64>, token: Option<&str>) -> Self {
        let mut question = request("GET", path, token, "");
        if let Some(after) = after {
            question.headers_mut().insert("last-event-id", after.into());
        }
        let response = answer(router, question).await;
        assert_eq!(response.status(), 200);
        Self(response.into_body())
    }

    async fn next(&mut self) -> String {
        let frame = tokio::time::timeout(Duration::from_secs(10), self.0.frame()).await.expect("in time");
        let octets = frame.expect("an event").expect("no error").into_data().expect("octets");
        String::from_utf8(octets.to_vec()).expect("text")
    }
}

fn down(site: &str) -> SiteNews {
    SiteNews {
        kind: SiteChange::Status,
        site: Some(site.to_owned()),
        node: None,
        before: Some("suspect".to_owned()),
        now: Some("down".to_owned()),
        blocks: None,
        detail: format!("{site} is down: silent for 30 s"),
    }
}

#[tokio::test]
async fn events_come_as_they_happen_and_are_resumed() {
    let world = World::new(1);
    let records: Vec<_> = (0..3).map(record).collect();
    world.api.feed.leases(Timestamp::ZERO, records);
    let mut stream = Stream::open(&world.seen_by(Peer::Local(None)), "/api/v1/events", Some(1), None).await;
    let event = stream.next().await;
    assert!(
        event.contains("event: lease") && event.contains("id: 2") && event.contains("198.18.1.1"),
        "{event}"
    );
    assert!(stream.next().await.contains("id: 3"));
    world.api.feed.leases(Timestamp::ZERO, vec![record(7)]);
    let event = stream.next().await;
    assert!(event.contains("id: 4") && event.contains("198.18.1.7"), "{event}");
    let wrong = Request::get("/api/v1/events").header("last-event-id", "x").body(Body::empty()).unwrap();
    assert_eq!(answer(&world.seen_by(Peer::Local(None)), wrong).await.status(), 400);
}

#[tokio::test]
async fn what_happens_to_sites_comes_among_leases_and_is_resumed_by_the_same_numbers() {
    let world = World::new(1);
    world.api.feed.sites(Timestamp::ZERO, vec![down("east")]);
    world.api.feed.leases(Timestamp::ZERO, (0..40).map(record).collect());
    let local = world.seen_by(Peer::Local(None));
    let mut stream = Stream::open(&local, "/api/v1/events", Some(0), None).await;
    let event = stream.next().await;
    assert!(event.contains("event: site\n") && event.contains("id: 1\n"), "{event}");
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let said: Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (&said["kind"], &said["site"], &said["now"]),
        (&"status".into(), &"east".into(), &"down".into())
    );
    assert_eq!(said["detail"], "east is down: silent for 30 s");
    assert!(stream.next().await.contains("id: 2\n"));

    // Who resumes after it does not hear it again, and hears of what comes.
    let mut stream = Stream::open(&local, "/api/v1/events", Some(41), None).await;
    world.api.feed.sites(Timestamp::ZERO, vec![down("west")]);
    let event = stream.next().await;
    assert!(event.contains("id: 42\n") && event.contains("west"), "{event}");

    // A storm of leases hides nothing of sites from who comes now.
    let mut stream = Stream::open(&local, "/api/v1/events?recent=3", None, None).await;
    for number in [1, 40, 41, 42] {
        let event = stream.next().await;
        assert!(event.contains(&format!("id: {number}\n")), "{number}: {event}");
    }
}

#[tokio::test]
async fn who_is_restricted_hears_of_what_is_theirs() {
    let world = World::new(1);
    world.api.feed.leases(Timestamp::ZERO, (0..3).map(record).collect());
    world.api.feed.sites(Timestamp::ZERO, vec![down("east")]);
    world.api.feed.leases(Timestamp::ZERO, vec![record(7)]);
    let restricted = world.token(ApiRole::Viewer, &["198.18.1.7/32"]);
    let mut stream = Stream::open(&world.remote(), "/api/v1/events", Some(0), Some(&restricted)).await;
    assert!(stream.next().await.contains("id: 5\n"), "neither other leases nor sites");
    let mut stream = Stream::open(&world.remote(), "/api/v1/events?recent=2", None, Some(&restricted)).await;
    assert!(stream.next().await.contains("id: 5\n"));
    let viewer = world.token(ApiRole::Viewer, &[]);
    let mut stream = Stream::open(&world.remote(), "/api/v1/events", Some(3), Some(&viewer)).await;
    assert!(stream.next().await.contains("event: site\n"));
}
