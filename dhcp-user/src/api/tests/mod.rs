//! The API in one process: the real router and gate before a service that is only a table of leases.

mod access;
mod bounds;
mod configuration;
mod dashboards;
mod documents;
mod events;
mod insight;
mod reservations;
mod resources;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
};

use axum::{
    Extension, Router,
    body::Body,
    http::{Request, Response},
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{
    Api,
    access::caller::Peer,
    ask::ServiceHandle,
    fake::{Fake, stats},
    room::Room,
    views::Views,
};
use crate::{
    config::{
        self,
        model::{ApiRole, FrameRate, Limits},
    },
    lease::record::LeaseRecord,
    server::{
        desk,
        reload::InForce,
        view::{KernelStats, StatsView},
    },
    time::Timestamp,
};

/// The API before a fake service: leases of 198.18.1.0 and on, all bound but every tenth.
pub(super) struct World {
    pub api: Api,
    pub folder: tempfile::TempDir,
    pub pages: Arc<AtomicUsize>,
    pub looks: Arc<AtomicUsize>,
}

const CONFIG: &str = r#"{"dhcp": {"interfaces": ["eth0"], "subnets": [
    {"subnet": "198.18.0.0/16", "interface": "eth0", "pools": [{"range": "198.18.1.0-198.18.200.255"}],
     "reservations": [{"hw_address": "02:00:00:00:00:01", "address": "198.18.250.1", "hostname": "db1"},
                      {"client_id": "text:x", "address": "198.18.250.2"}]},
    {"subnet": "198.19.0.0/24", "relays": ["198.18.0.9"], "pools": [{"range": "198.19.0.10-198.19.0.19"}]}
  ], "api": {"requests_per_sec": 1000000, "client_ca": "/ca.pem", "client_certificates": [
     {"name": "ops", "role": "operator", "subnets": ["198.18.1.0/24"]}]}}}"#;

fn hostname(n: u32) -> String {
    format!("host-{n},x")
}

pub(super) fn record(n: u32) -> LeaseRecord {
    Fake::new(0, hostname).record(n)
}

/// Statistics with these counts.
pub(super) fn stats_with(answered: u64, messages: &[(&str, u64)], reasons: &[(&str, u64)]) -> StatsView {
    let counts = |of: &[(&str, u64)]| of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let none = FrameRate { per_sec: 0, burst: 0 };
    let kernel = KernelStats {
        answered,
        reasons: counts(reasons),
        limits: Limits { client: none, relay: none, overall: none }.into(),
        interfaces: BTreeMap::new(),
        answers: 0,
        answers_max: 0,
        lease_slots: 0,
        authority_secs: 0,
        authority_remaining_secs: 0,
        horizons_moved: 0,
    };
    let mut stats = stats();
    stats.kernel = Some(kernel);
    stats.daemon.messages = counts(messages);
    stats
}

impl World {
    pub fn new(leases: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new(leases, hostname);
        let api = fake.api(CONFIG, folder.path()).unwrap();
        Self { api, folder, pages: fake.pages, looks: fake.looks }
    }

    /// The router as somebody from the network sees it.
    pub fn remote(&self) -> Router {
        self.seen_by(Peer::Remote { address: source(1), certificate: None })
    }

    pub fn seen_by(&self, peer: Peer) -> Router {
        self.api.router().layer(Extension(peer))
    }

    pub fn token(&self, role: ApiRole, subnets: &[&str]) -> String {
        let subnets = subnets.iter().map(|subnet| subnet.parse().unwrap()).collect();
        let now = crate::server::clock::wall_ns() / 1_000_000_000;
        self.api.tokens.create(role.as_str().to_owned(), role, subnets, now, 600).unwrap().1
    }
}

pub(super) fn source(n: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, 9, n).into()
}

pub(super) fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

pub(super) async fn answer(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

pub(super) async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Status and JSON of the answer to a caller on the local socket.
pub(super) async fn ask(world: &World, method: &str, path: &str, body: &str) -> (u16, Value) {
    let response = answer(&world.seen_by(Peer::Local(None)), request(method, path, None, body)).await;
    let status = response.status().as_u16();
    let text = text(response).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
