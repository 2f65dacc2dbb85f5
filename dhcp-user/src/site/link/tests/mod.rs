//! Links in one process: real TLS, greetings and tasks over pipes in memory.

mod greeting;
mod talking;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::DuplexStream,
    sync::mpsc::{Receiver, channel},
    time::timeout,
};

use super::{
    connection,
    greet::{Greeted, LinkError, accept, call},
    shaper::Shaper,
    shared::{Identity, LinkEvent, Shared, Timing},
    terms::Terms,
    tls::Tls,
};
use crate::{
    config::{self, Config},
    site::{
        pki,
        roster::{Node, Roster},
    },
    time::Timestamp,
};

const DAY: Duration = Duration::from_secs(86_400);
/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A configuration of the nodes a.example and b.example, each a site, on `node`, whose certificates are in `folder`.
pub(super) fn config(node: &str, folder: &Path, pool: &str) -> Config {
    let site = node.split('.').next().unwrap();
    let state = folder.join(site).display().to_string();
    let text = format!(
        r#"{{"dhcp": {{"interfaces": ["eth0"], "subnets": [{{"subnet": "198.18.0.0/16", "interface": "eth0",
            "pools": [{{"range": "{pool}"}}]}}],
            "datacenter": {{"multi_site": {{"enabled": true, "local_site": "{site}", "node": "{node}",
              "sites": [{{"name": "a", "nodes": ["a.example"]}}, {{"name": "b", "nodes": ["b.example"]}}],
              "link": {{"state_path": "{state}"}}}}}}}}}}"#
    );
    config::parse(&text, "test").unwrap()
}

pub(super) const POOL: &str = "198.18.1.0/24";

/// Certificates of both nodes, of one authority.
pub(super) fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("pki");
    pki::init(&ca).unwrap();
    for name in ["a", "b"] {
        pki::node(&ca, &format!("{name}.example"), &folder.path().join(name), DAY).unwrap();
    }
    folder
}

/// A node's end.
pub(super) struct End {
    pub shared: Arc<Shared>,
    pub events: Receiver<LinkEvent>,
}

/// Ways to differ from what is right.
#[derive(Default)]
pub(super) struct Odd<'a> {
    pub pool: Option<&'a str>,
    pub cluster: Option<[u8; 16]>,
    pub unencrypted: bool,
    pub cap_mbit_per_s: Option<u32>,
    pub ahead: u64,
    pub patience: Option<Duration>,
    /// Another name than the configuration's.
    pub roster: Option<Roster>,
}

pub(super) fn end(node: &str, folder: &Path, odd: Odd<'_>) -> End {
    let config = config(node, folder, odd.pool.unwrap_or(POOL));
    let sites = config.multi_site.as_ref().unwrap();
    let tls = (!odd.unencrypted).then(|| Tls::open(&sites.link, node).unwrap());
    let identity = Identity {
        roster: odd.roster.unwrap_or_else(|| Roster::of(sites, "?").unwrap()),
        terms: Terms::of(&config),
        cluster: odd.cluster,
        incarnation: 1,
        tls,
    };
    let timing = Timing {
        ping_every: Duration::from_millis(20),
        silence_max: odd.patience.unwrap_or(SOON),
        greeting_max: odd.patience.unwrap_or(SOON),
        write_max: odd.patience.unwrap_or(SOON),
        again_min: Duration::from_millis(10),
        again_max: Duration::from_millis(100),
        lasted: Duration::from_millis(300),
    };
    let (sender, events) = channel(64);
    let (start, ahead) = (Instant::now(), odd.ahead);
    let now = Arc::new(move || {
        Timestamp(1_000_000_000_000 + ahead + u64::try_from(start.elapsed().as_nanos()).unwrap())
    });
    let shared = Shared::new(identity, Shaper::new(odd.cap_mbit_per_s), true, timing, now, sender);
    End { shared: Arc::new(shared), events }
}

/// The other node, as this one knows it.
pub(super) fn other(end: &End) -> Node {
    end.shared.roster.others().next().unwrap().clone()
}

/// Both greet over a pipe; `a` calls.
pub(super) async fn greet(a: &End, b: &End) -> (Result<Greeted, LinkError>, Result<Greeted, LinkError>) {
    let (one, two) = tokio::io::duplex(1 << 16);
    greet_over(a, b, one, two).await
}

pub(super) async fn greet_over(
    a: &End,
    b: &End,
    one: DuplexStream,
    two: DuplexStream,
) -> (Result<Greeted, LinkError>, Result<Greeted, LinkError>) {
    let node = other(a);
    tokio::join!(call(&a.shared, one, &node), accept(&b.shared, two))
}

/// Links both for good.
pub(super) async fn link(a: &mut End, b: &mut End) {
    let (one, two) = greet(a, b).await;
    for (end, greeted) in [(&mut *a, one.unwrap()), (b, two.unwrap())] {
        let shared = Arc::clone(&end.shared);
        tokio::spawn(async move { connection::run(&shared, greeted).await });
        // The end of an earlier link may be heard of first.
        while !matches!(next(end).await, LinkEvent::Up(..)) {}
    }
}

pub(super) async fn next(end: &mut End) -> LinkEvent {
    timeout(SOON, end.events.recv()).await.expect("an event in time").expect("an event")
}

/// Waits until something holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
