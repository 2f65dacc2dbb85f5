//! The API in one process: the real router and gate before a service that is only a table of leases.

mod access;
mod bounds;
mod configuration;
mod dashboards;
mod documents;
mod insight;
mod reservations;
mod resources;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
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
    access::{caller::Peer, tokens::Tokens},
    ask::ServiceHandle,
    changes::Changes,
};
use crate::{
    config::{
        self,
        model::{ApiRole, Config, FrameRate, Limits},
    },
    engine::is_of,
    lease::{
        record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
        store::FlushTimes,
        table::LeaseTable,
    },
    server::{
        desk::{self, Act, ActError, ServiceHealth},
        explain::{Explanation, Subject},
        feed::Feed,
        reload::{
            InForce, Prospects, Reloader,
            decide::{AskingBy, Standing},
        },
        reserve::{Reserve, ReserveError},
        service::{Event, Query},
        view::{DaemonStats, KernelStats, LeaseView, StatsView},
    },
    time::{Span, Timestamp},
};

/// A service that is only a table of leases: addresses 198.18.1.0 and on, all bound but every tenth.
pub(super) struct World {
    pub api: Api,
    pub folder: tempfile::TempDir,
    pub pages: Arc<AtomicUsize>,
}

pub(super) const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);
const CONFIG: &str = r#"{"dhcp": {"interfaces": ["eth0"], "subnets": [
    {"subnet": "198.18.0.0/16", "interface": "eth0", "pools": [{"range": "198.18.1.0-198.18.200.255"}],
     "reservations": [{"hw_address": "02:00:00:00:00:01", "address": "198.18.250.1", "hostname": "db1"},
                      {"client_id": "text:x", "address": "198.18.250.2"}]},
    {"subnet": "198.19.0.0/24", "relays": ["198.18.0.9"], "pools": [{"range": "198.19.0.10-198.19.0.19"}]}
  ], "api": {"requests_per_sec": 1000000, "client_ca": "/ca.pem", "client_certificates": [
     {"name": "ops", "role": "operator", "subnets": ["198.18.1.0/24"]}]}}}"#;

pub(super) fn record(n: u32) -> LeaseRecord {
    let [_, a, b, c] = n.to_be_bytes();
    let hardware = HardwareAddress::ethernet([2, 0, 0, a, b, c]);
    LeaseRecord {
        address: Ipv4Addr::from_bits(FIRST.to_bits() + n),
        state: if n % 10 == 9 { LeaseState::Free } else { LeaseState::Bound },
        client: ClientKey::Id(vec![1, a, b, c].into()),
        hardware,
        hostname: format!("host-{n},x").into_bytes().into(),
        relay_information: Box::default(),
        granted_at: Timestamp::ZERO,
        expires: Timestamp::ZERO + Span::from_secs(60),
        horizon: Timestamp::ZERO + Span::from_secs(120),
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    }
}

fn serve(mut table: LeaseTable, config: &Config, events: &Receiver<Event>, pages: &AtomicUsize) {
    let view = |lease: &LeaseRecord| LeaseView::new(lease, Timestamp::ZERO, false, None);
    while let Ok(event) = events.recv() {
        let query = match event {
            Event::Query(query) => query,
            Event::Reserve(order) => {
                drop(order.to.send(reserved(&table, &order.reserve)));
                continue;
            }
            _ => return,
        };
        match query {
            Query::Page(wanted, to) => {
                pages.fetch_add(1, Ordering::Relaxed);
                let between = |first, last| table.between(first, last);
                drop(to.send(desk::page(&wanted, between, |lease| Some(view(lease)))));
            }
            Query::Lease(address, to) => drop(to.send(table.get(address).map(view))),
            Query::Stats(to) => drop(to.send(stats())),
            Query::Subnets(to) => drop(to.send(desk::subnets(config, |_, _| 3))),
            Query::Health(to) => {
                let health = ServiceHealth {
                    fast_path_wanted: 1,
                    fast_path_attached: 1,
                    store_refusals: 0,
                    commits: 1,
                };
                drop(to.send(health));
            }
            Query::Explain(subject, to) => drop(to.send(explained(&subject))),
            Query::Sites(to) => drop(to.send(None)),
            Query::Change(change) => {
                let found = table.get(change.address).cloned();
                let done = match found {
                    None => Err(ActError::NoLease),
                    Some(lease)
                        if change.expected.is_some_and(|tags| !tags.contains(&view(&lease).version)) =>
                    {
                        Err(ActError::Changed)
                    }
                    Some(lease) if lease.state != LeaseState::Bound => Err(ActError::NotBound),
                    Some(lease) => {
                        let state = match change.act {
                            Act::Release => LeaseState::Free,
                            Act::Extend => LeaseState::Bound,
                        };
                        let changed = LeaseRecord { state, expires: Timestamp(u64::MAX / 2), ..lease };
                        table.put(changed.clone());
                        Ok(view(&changed))
                    }
                };
                drop(change.to.send(done));
            }
        }
    }
}

fn reserved(table: &LeaseTable, reserve: &Reserve) -> Result<(), ReserveError> {
    for change in &reserve.changes {
        let Some(identity) = change.after.as_ref().filter(|_| !reserve.even_if_held) else { continue };
        let held = table.get(change.address).filter(|lease| lease.state == LeaseState::Bound);
        if let Some(lease) = held.filter(|lease| !is_of(lease, identity)) {
            let holder = lease.hardware.to_string();
            return Err(ReserveError::Held { address: change.address, holder });
        }
    }
    Ok(())
}

fn explained(subject: &Subject) -> Explanation {
    Explanation { summary: format!("{subject:?}"), ..Explanation::default() }
}

fn stats() -> StatsView {
    StatsView {
        kernel: None,
        daemon: DaemonStats {
            acks: 7,
            messages: [("offered".to_owned(), 3)].into(),
            frames: [("received".to_owned(), 9)].into(),
            queue_drops: 0,
            queue_gave_way: 0,
            offers_gave_way: 0,
            quarantines_cut_short: 0,
            send_errors: 0,
            store_refusals: 0,
            commits: 5,
            unpublishable: 0,
            offers: 0,
        },
        leases: [("bound".to_owned(), 9)].into(),
        probes: None,
        audit: None,
    }
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
        let config = Arc::new(config::parse(CONFIG, "test").unwrap());
        let (sender, receiver) = sync_channel(64);
        let pages = Arc::<AtomicUsize>::default();
        let (served, counted) = (Arc::clone(&config), Arc::clone(&pages));
        thread::spawn(move || {
            let table = LeaseTable::from_records((0..leases).map(record));
            serve(table, &served, &receiver, &counted);
        });
        let tokens = Tokens::open(folder.path().join("tokens.json")).unwrap();
        let changes = Changes::open(folder.path().join("changes.ndjson")).unwrap();
        let flushes = Arc::<FlushTimes>::default();
        let in_force = InForce::new(Standing {
            text: CONFIG.into(),
            config,
            facts: Vec::new(),
            servers: vec![Ipv4Addr::new(198, 18, 0, 1)],
        });
        let prospects =
            Prospects { in_force: in_force.clone(), pins: None, asking: AskingBy { arp: true, echo: true } };
        let reloader = Reloader::new(folder.path().join("dhcp.json"), prospects, sender.clone());
        let service = ServiceHandle::new(sender);
        let api = Api::new(service, Arc::<Feed>::default(), flushes, in_force, tokens, changes);
        let api = Api { reloader: Some(Arc::new(reloader)), ..api };
        Self { api, folder, pages }
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
    let response = answer(&world.seen_by(Peer::Local), request(method, path, None, body)).await;
    let status = response.status().as_u16();
    let text = text(response).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
