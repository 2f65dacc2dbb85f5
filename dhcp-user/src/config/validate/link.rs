//! Checks `link`: where nodes listen and are reached, and that leases do not travel in the open unless that is asked for.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
};

use super::{absolute, text};
use crate::config::{
    model::{Api, MultiSite, SiteLink},
    problem::{Path, Problems, quoted},
    wire,
};

/// The validated section; `None` if there is no way to make one. `store` is the directory of the leases.
pub(super) fn link(
    section: &wire::MultiSite,
    store: &FilePath,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<SiteLink> {
    let written = &section.link;
    let listen_path = path.key("listen");
    let listen: Option<SocketAddr> = written.listen.parse().ok().filter(|at: &SocketAddr| at.port() != 0);
    match listen {
        None => {
            let message = "is not an address with a port; write 0.0.0.0:8067 or [::]:8067";
            problems.add(&listen_path, format!("{} {message}", quoted(&written.listen)));
        }
        Some(listen)
            if section.enabled
                && !section.synchronization.encryption
                && !written.allow_unencrypted
                && !listen.ip().is_loopback() =>
        {
            let message = format!(
                "{listen} can be reached from elsewhere and synchronization.encryption is off: turn it on, or, where \
                 nobody else is on the way, set `allow_unencrypted`"
            );
            problems.add(&listen_path, message);
        }
        Some(_) => {}
    }
    let addresses = addresses(section, &path.key("addresses"), problems);
    let state_path = match &written.state_path {
        Some(written) => absolute(written, &path.key("state_path"), problems),
        None => store.join("sites"),
    };
    let mut file = |written: &Option<PathBuf>, key, default| match written {
        Some(written) => absolute(written, &path.key(key), problems),
        None => state_path.join(default),
    };
    Some(SiteLink {
        listen: listen?,
        addresses,
        certificate: file(&written.certificate, "certificate", "certificate.pem"),
        key: file(&written.key, "key", "key.pem"),
        ca: file(&written.ca, "ca", "ca.pem"),
        state_path,
    })
}

fn addresses(
    section: &wire::MultiSite,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Vec<(String, String, u16)> {
    let known: Vec<&str> =
        section.sites.iter().flat_map(|site| site.nodes.iter().map(String::as_str)).collect();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (index, entry) in section.link.addresses.iter().enumerate() {
        let path = path.index(index);
        let node = known.iter().find(|node| node.eq_ignore_ascii_case(&entry.node));
        let Some(node) = node else {
            let hint = problems.hint(&entry.node, &known);
            problems.add(&path.key("node"), format!("node {} is not in `sites`{hint}", quoted(&entry.node)));
            continue;
        };
        if !seen.insert(*node) {
            problems.add(&path.key("node"), format!("node `{node}` has an address already; remove one"));
        }
        let place = entry.address.rsplit_once(':').and_then(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = port.parse().ok().filter(|port| *port != 0)?;
            text::is_node(host).then(|| (host.to_owned(), port))
        });
        match place {
            Some((host, port)) => found.push(((*node).to_owned(), host, port)),
            None => {
                let message = "is not an address or host name with a port; write 198.18.0.1:8067";
                problems.add(&path.key("address"), format!("{} {message}", quoted(&entry.address)));
            }
        }
    }
    found
}

/// Refuses a port that the API has: which of the two got it would be chance.
pub(super) fn apart_from_the_api(section: &MultiSite, api: &Api, path: &Path<'_>, problems: &mut Problems) {
    let listen = section.link.listen;
    let ports = [api.enabled.then_some(api.listen), api.metrics_listen];
    if section.enabled && ports.into_iter().flatten().any(|taken| taken.port() == listen.port()) {
        let message = format!("port {} is the API's; choose another", listen.port());
        problems.add(&path.key("link").key("listen"), message);
    }
}
