//! The management API in one process, before a service that is only a table of leases: the real router, gate, rights,
//! tokens and record of changes.

use axum::{Extension, Router};
use dhcp_user::{
    api::{Api, access::caller::Peer, fake::Fake},
    config::model::ApiRole,
};

/// Leases of the fake service.
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
        let fake = Fake::new(LEASES, |n| format!("host-{n},\"x\"\n"));
        let api = fake.api(&text, folder.path()).expect("a sound configuration and an empty folder");
        let tokens = tokens(&api);
        Self { api, tokens, _folder: folder }
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

fn tokens(api: &Api) -> [String; 3] {
    let now = dhcp_user::server::clock::wall_ns() / 1_000_000_000;
    [
        (ApiRole::Viewer, None),
        (ApiRole::Operator, Some("198.18.1.0/25".parse().expect("a prefix"))),
        (ApiRole::Admin, None),
    ]
    .map(|(role, subnet)| {
        let subnets = subnet.into_iter().collect();
        let made = api.tokens.create(role.as_str().to_owned(), role, subnets, now, 86_400);
        made.expect("room for a token").1
    })
}
