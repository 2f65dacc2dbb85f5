//! The management API in one process, before a service that is only a table of leases: the real router, gate, rights,
//! tokens and record of changes.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use axum::{Extension, Router};
use dhcp_user::{
    api::{
        Api,
        access::{caller::Peer, tokens::Tokens},
        ask::ServiceHandle,
        changes::Changes,
    },
    config::{
        self,
        model::{ApiRole, Config},
    },
    lease::{
        record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
        table::LeaseTable,
    },
    server::{
        desk::{self, Act, ActError, Change, ServiceHealth},
        explain::Explanation,
        reload::{InForce, Prospects, Reloader, decide::AskingBy},
        service::{Event, Query},
        view::{DaemonStats, LeaseView, StatsView},
    },
    time::{Span, Timestamp},
};

/// Leases from here on, every tenth of them free.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);
const LEASES: u32 = 300;
const CONFIG: &str = r#"{"dhcp": {"interfaces": ["no-such-port0"], "subnets": [
    {"subnet": "198.18.0.0/16", "interface": "no-such-port0", "pools": [{"range": "198.18.1.0-198.18.200.255"}],
     "reservations": [{"hw_address": "02:00:00:00:00:01", "address": "198.18.250.1", "hostname": "db1"},
                      {"client_id": "text:x", "address": "198.18.250.2"}]},
    {"subnet": "198.19.0.0/24", "relays": ["198.18.0.9"], "pools": [{"range": "198.19.0.10-198.19.0.19"}]}
  ], "api": {"state_path": "STATE", "requests_per_sec": 1000000, "client_ca": "/ca.pem", "client_certificates": [
     {"name": "ops", "role": "operator", "subnets": ["198.18.1.0/24"]}]}}}"#;

/// The API, and tokens of callers with ever more rights.
pub struct ApiWorld {
    api: Api,
    /// A viewer's, an operator's of one subnet, and an administrator's.
    pub tokens: [String; 3],
    _folder: tempfile::TempDir,
}

impl ApiWorld {
    /// A fresh one.
    ///
    /// # Panics
    /// If there is no room for its files.
    pub fn new() -> Self {
        // Thousands of worlds, and it is not flushing that is tested: in memory if that can be had.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let text = CONFIG.replace("STATE", &folder.path().display().to_string());
        let config = Arc::new(config::parse(&text, "the fuzzer's").expect("a sound configuration"));
        let (sender, receiver) = sync_channel(64);
        let served = Arc::clone(&config);
        // It ends with the API, which has the only sender.
        thread::spawn(move || serve(&served, &receiver));
        let (tokens, made) = tokens(folder.path());
        let changes = Changes::open(folder.path().join("changes.ndjson")).expect("an empty record");
        // There is no such interface: what is asked for is judged and never taken up.
        let in_force = InForce::of(config);
        let prospects =
            Prospects { in_force: in_force.clone(), pins: None, asking: AskingBy { arp: true, echo: true } };
        let reloader = Reloader::new(folder.path().join("dhcp.json"), prospects, sender.clone());
        let service = ServiceHandle::new(sender);
        let api = Api::new(service, Arc::default(), Arc::default(), in_force, tokens, changes);
        let api = Api { reloader: Some(Arc::new(reloader)), ..api };
        Self { api, tokens: made, _folder: folder }
    }

    /// The router as `peer` sees it.
    pub fn seen_by(&self, peer: Peer) -> Router {
        self.api.router().layer(Extension(peer))
    }
}

impl Default for ApiWorld {
    fn default() -> Self {
        Self::new()
    }
}

fn tokens(folder: &Path) -> (Tokens, [String; 3]) {
    let tokens = Tokens::open(folder.join("tokens.json")).expect("no tokens yet");
    let now = dhcp_user::server::clock::wall_ns() / 1_000_000_000;
    let made = [
        (ApiRole::Viewer, None),
        (ApiRole::Operator, Some("198.18.1.0/25".parse().expect("a prefix"))),
        (ApiRole::Admin, None),
    ]
    .map(|(role, subnet)| {
        let subnets = subnet.into_iter().collect();
        tokens.create(role.as_str().to_owned(), role, subnets, now, 86_400).expect("room for a token").1
    });
    (tokens, made)
}

fn lease(n: u32) -> LeaseRecord {
    let [_, a, b, c] = n.to_be_bytes();
    LeaseRecord {
        address: Ipv4Addr::from_bits(FIRST.to_bits() + n),
        state: if n % 10 == 9 { LeaseState::Free } else { LeaseState::Bound },
        client: ClientKey::Id(vec![1, a, b, c].into()),
        hardware: HardwareAddress::ethernet([2, 0, 0, a, b, c]),
        hostname: format!("host-{n},\"x\"\n").into_bytes().into(),
        relay_information: Box::default(),
        granted_at: Timestamp::ZERO,
        expires: Timestamp::ZERO + Span::from_secs(60),
        horizon: Timestamp::ZERO + Span::from_secs(120),
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    }
}

fn view(lease: &LeaseRecord) -> LeaseView {
    LeaseView::new(lease, Timestamp::ZERO, false, None)
}

fn serve(config: &Config, events: &Receiver<Event>) {
    let mut table = LeaseTable::from_records((0..LEASES).map(lease));
    // Whoever asked may be gone; that is theirs to know.
    while let Ok(Event::Query(query)) = events.recv() {
        match query {
            Query::Page(wanted, to) => {
                let between = |first, last| table.between(first, last);
                drop(to.send(desk::page(&wanted, between, |lease| Some(view(lease)))));
            }
            Query::Lease(address, to) => drop(to.send(table.get(address).map(view))),
            Query::Stats(to) => drop(to.send(stats())),
            Query::Subnets(to) => drop(to.send(desk::subnets(config, |_, _| 3))),
            Query::Sites(to) => drop(to.send(None)),
            Query::Health(to) => drop(to.send(ServiceHealth {
                fast_path_wanted: 1,
                fast_path_attached: 1,
                store_refusals: 0,
                commits: 1,
            })),
            Query::Explain(subject, to) => {
                drop(to.send(Explanation { summary: format!("{subject:?}"), ..Explanation::default() }));
            }
            Query::Change(change) => {
                let done = changed(&mut table, &change);
                drop(change.to.send(done));
            }
        }
    }
}

fn changed(table: &mut LeaseTable, change: &Change) -> Result<LeaseView, ActError> {
    let lease = table.get(change.address).cloned().ok_or(ActError::NoLease)?;
    if change.expected.as_ref().is_some_and(|tags| !tags.contains(&view(&lease).version)) {
        return Err(ActError::Changed);
    }
    if lease.state != LeaseState::Bound {
        return Err(ActError::NotBound);
    }
    let state = if change.act == Act::Release { LeaseState::Free } else { LeaseState::Bound };
    let changed = LeaseRecord { state, expires: Timestamp::ZERO + Span::from_secs(600), ..lease };
    table.put(changed.clone());
    Ok(view(&changed))
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
