//! Checks `dhcp.api`: an API that could be reached without TLS from elsewhere is refused here, not at start.

use std::{
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
};

use super::{absolute, text};
use crate::config::{
    model::{Api, ApiClient},
    problem::{Path, Problems, quoted},
    wire,
};

/// More than anybody keeps by hand.
const CLIENTS_MAX: usize = 1_024;
/// A common name has at most 64 characters (RFC 5280, ub-common-name).
const NAME_MAX: usize = 64;

/// The API's part of the configuration; `store` is the directory of the leases.
pub(super) fn api(written: &wire::Api, store: &FilePath, path: &Path<'_>, problems: &mut Problems) -> Api {
    let defaults = Api::default();
    let listen_path = path.key("listen");
    let listen = socket(&written.listen, &listen_path, problems).unwrap_or(defaults.listen);
    if !written.tls && !listen.ip().is_loopback() {
        let message =
            format!("{listen} can be reached from elsewhere; leave `tls` on, or listen on 127.0.0.1");
        problems.add(&listen_path, message);
    }
    let metrics_path = path.key("metrics_listen");
    let metrics_listen =
        written.metrics_listen.as_deref().and_then(|written| socket(written, &metrics_path, problems));
    if metrics_listen == Some(listen) && written.enabled {
        problems.add(&metrics_path, "is `listen` again; give it another port or leave it out");
    }
    let mut file = |written: &Option<PathBuf>, key| {
        written.as_deref().map(|written| absolute(written, &path.key(key), problems))
    };
    let (certificate, key, client_ca) = (
        file(&written.certificate, "certificate"),
        file(&written.key, "key"),
        file(&written.client_ca, "client_ca"),
    );
    let state_path = file(&written.state_path, "state_path").unwrap_or_else(|| store.join("api"));
    let certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            problems.add(path, "`certificate` without `key`; give both, or none for one that signs itself");
            None
        }
        (None, Some(_)) => {
            problems.add(path, "`key` without `certificate`; give both, or none for one that signs itself");
            None
        }
    };
    let rate_path = path.key("requests_per_sec");
    text::within(written.requests_per_sec, 1, 1_000_000, "requests a second", &rate_path, problems);
    let clients = clients(written, path, problems);
    Api {
        enabled: written.enabled,
        listen,
        tls: written.tls,
        certificate,
        client_ca,
        clients,
        state_path,
        metrics_listen,
        requests_per_sec: written.requests_per_sec,
    }
}

/// What is to be known of a listener for metrics that is not refused: it may well be where only the scraper comes, which nothing here
/// can tell.
pub(crate) fn open_figures(api: &Api) -> Option<String> {
    let listen = api.metrics_listen.filter(|listen| !listen.ip().is_loopback())?;
    Some(format!(
        "dhcp.api.metrics_listen: whoever reaches {listen} reads metrics and health, over HTTP and without a token; let only the \
         scraper come there, or have it read /metrics at `listen` with a token"
    ))
}

fn clients(written: &wire::Api, path: &Path<'_>, problems: &mut Problems) -> Vec<ApiClient> {
    let path = path.key("client_certificates");
    let entries = &written.client_certificates;
    if entries.len() > CLIENTS_MAX {
        problems.add(&path, format!("{} entries, {CLIENTS_MAX} are the most; list fewer", entries.len()));
        return Vec::new();
    }
    if !entries.is_empty() && written.client_ca.is_none() {
        problems.add(&path, "nothing says who signs these; give `client_ca`");
    }
    let mut clients: Vec<ApiClient> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let path = path.index(index);
        if entry.name.is_empty() || entry.name.chars().count() > NAME_MAX {
            let message = format!("a common name has 1 to {NAME_MAX} characters");
            problems.add(&path.key("name"), message);
        }
        if clients.iter().any(|client| client.name == entry.name) {
            problems.add(&path.key("name"), format!("{} is listed already; remove one", quoted(&entry.name)));
        }
        let subnets_path = path.key("subnets");
        let subnets = entry.subnets.iter().enumerate();
        let subnets = subnets
            .filter_map(|(index, written)| text::prefix(written, &subnets_path.index(index), problems));
        let subnets = subnets.collect();
        clients.push(ApiClient { name: entry.name.clone(), role: entry.role, subnets });
    }
    clients
}

fn socket(written: &str, path: &Path<'_>, problems: &mut Problems) -> Option<SocketAddr> {
    match written.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let message = "is not an address with a port; write 0.0.0.0:8081 or [::]:8081";
            problems.add(path, format!("{} {message}", quoted(written)));
            None
        }
    }
}
