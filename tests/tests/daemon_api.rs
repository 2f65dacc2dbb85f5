//! The management API of a running daemon: TLS with the certificate of the first start, tokens from the command line,
//! clients with certificates, a lease that is found, released and given back, a stream of events, certificates that change under
//! connections, and the listener for figures.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use dhcp_tests::{
    client::scripted::Scripted,
    cluster::pki,
    daemon::{Daemon, binary},
    lab::{Cable, Server, Stats, lease, set, wait_lease},
    process::{Process, stdout},
    tools,
    wait::{wait_for, wait_until},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// What `curl -k` gets of the API inside the server's namespace, and the status.
fn curl(server: &Server, arguments: &[&str], path: &str) -> Result<(u16, String)> {
    curl_url(server, arguments, &format!("https://127.0.0.1:8081{path}"))
}

/// As [`curl`], of any URL.
fn curl_url(server: &Server, arguments: &[&str], url: &str) -> Result<(u16, String)> {
    let mut command = server.ns.command("curl");
    command.args(["-k", "-s", "--max-time", "20", "-w", "\n%{http_code}"]).args(arguments);
    let text = stdout(command.arg(url))?;
    let (body, status) = text.rsplit_once('\n').context("curl wrote no status")?;
    Ok((status.parse().context("no status")?, body.to_owned()))
}

/// A token made by the command line, in a file that only its owner reads, as the header that curl sends.
fn token(daemon: &Daemon, folder: &Path, role: &str) -> Result<String> {
    let made = daemon.ask(&["token", "create", role, "--role", role])?;
    let token = made["token"].as_str().context("no token")?.to_owned();
    fs::write(folder.join(role), &token)?;
    fs::set_permissions(folder.join(role), fs::Permissions::from_mode(0o600))?;
    Ok(format!("Authorization: Bearer {token}"))
}

#[test]
fn a_lease_is_found_and_released_over_tls() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    wait_until(SOON, "the API to listen", || curl(&server, &[], "/healthz").is_ok()).unwrap();
    let folder = server.folder.path();
    let (viewer, operator) =
        (token(&daemon, folder, "viewer").unwrap(), token(&daemon, folder, "operator").unwrap());

    let (status, ready) = curl(&server, &[], "/readyz").unwrap();
    assert_eq!(status, 200, "{ready}");
    let (status, problem) = curl(&server, &[], "/api/v1/leases").unwrap();
    assert!(status == 401 && problem.contains("about:blank"), "{status}: {problem}");

    let first = Scripted::new(&cable.socket, 1);
    let address = first.dora().unwrap().address;
    let path = format!("/api/v1/leases/{address}");
    let (status, page) = curl(&server, &["-H", &viewer], "/api/v1/leases?state=bound").unwrap();
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((status, &page["leases"][0]["address"]), (200, &Value::from(address.to_string())));

    // A renewal in the kernel, an extension, and the kernel goes on.
    first.ask(&first.renewal(address)).unwrap();
    let before = lease(&daemon, address).unwrap();
    let (status, extended) =
        curl(&server, &["-H", &operator, "-X", "POST"], &format!("{path}/extend")).unwrap();
    assert_eq!(status, 200, "{extended}");
    let answered = Stats::of(&daemon).unwrap().answered();
    first.ask(&first.renewal(address)).unwrap();
    assert_eq!(Stats::of(&daemon).unwrap().answered(), answered + 1, "{before}");

    // Released: not by a viewer, not for a tag that is not its, but by an operator; and then its client is refused.
    let delete = |with: &[&str]| curl(&server, &[with, &["-X", "DELETE"]].concat(), &path).unwrap();
    assert_eq!(delete(&["-H", &viewer]).0, 403);
    assert_eq!(delete(&["-H", &operator, "-H", "If-Match: \"0\""]).0, 412);
    assert_eq!(delete(&["-H", &operator]).0, 202);
    wait_lease(&daemon, address, SOON, "the lease to be free", |lease| lease["state"] == "free").unwrap();
    let answered = Stats::of(&daemon).unwrap().answered();
    first.ask(&first.renewal(address)).unwrap();
    assert_eq!(Stats::of(&daemon).unwrap().answered(), answered, "the kernel has forgotten it");

    let log = folder.join("events.log");
    let mut events = server.ns.command("curl");
    events.args(["-ksN", "-H", &viewer, "-H", "Last-Event-ID: 0", "https://127.0.0.1:8081/api/v1/events"]);
    let mut events = Process::start(&mut events, &log).unwrap();
    events.wait_output("\"state\":\"bound\"", SOON).unwrap();
    events.wait_output("\"state\":\"free\"", SOON).unwrap();

    let (_, metrics) = curl(&server, &["-H", &viewer], "/metrics").unwrap();
    for name in [
        "dhcp_kernel_answered_total ",
        "dhcp_kernel_passed_total{reason=",
        "dhcp_api_certificate_expiry_timestamp_seconds ",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert_eq!(tools::check_metrics(&metrics).unwrap(), "", "promtool check metrics");
    // The secret is nowhere but with its holder.
    let secret = fs::read_to_string(folder.join("operator")).unwrap();
    let secret = secret.rsplit('_').next().unwrap();
    let changes = fs::read_to_string(server.store().join("api/changes.ndjson")).unwrap();
    assert!(changes.lines().count() >= 4 && !changes.contains(secret) && !daemon.log().contains(secret));
    let refused = fs::read_to_string(server.store().join("api/refused.ndjson")).unwrap();
    assert!(!changes.contains("412") && refused.contains("412") && refused.contains("403"), "{refused}");
}

#[test]
fn figures_have_a_listener_of_their_own_where_nothing_else_is() {
    let server = Server::new().unwrap();
    let _cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/api", json!({"metrics_listen": "127.0.0.1:9547"}));
    let _daemon = server.start(&config).unwrap();
    let ask = |path: &str| curl_url(&server, &[], &format!("http://127.0.0.1:9547{path}"));
    wait_until(SOON, "the listener for figures", || ask("/healthz").is_ok()).unwrap();
    let (status, metrics) = ask("/metrics").unwrap();
    assert!(status == 200 && metrics.contains("dhcp_kernel_answered_total "), "{status}: {metrics}");
    for path in ["/api/v1/leases", "/api/v1/tokens", "/"] {
        assert_eq!(ask(path).unwrap().0, 404, "{path}");
    }
}

/// An authority in `folder`, and certificate and key for each of `names` in a folder below it.
fn authority(folder: &Path, names: &[&str]) -> Result<()> {
    pki(&["init", "--authority"], folder)?;
    names.iter().try_for_each(|name| pki(&["node", name, "--authority"], folder).map(drop))
}

#[test]
fn clients_with_a_certificate_may_do_what_the_configuration_says_of_their_name() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let (ours, foreign) = (server.folder.path().join("ours"), server.folder.path().join("foreign"));
    authority(&ours, &["watcher", "keeper", "stranger"]).unwrap();
    authority(&foreign, &["watcher"]).unwrap();
    let mut config = server.config();
    let known = json!([{"name": "watcher", "role": "viewer"}, {"name": "keeper", "role": "operator"}]);
    set(&mut config, "/dhcp/api", json!({"client_ca": ours.join("ca.pem"), "client_certificates": known}));
    let daemon = server.start(&config).unwrap();
    // Who shows no certificate is let in, and needs a token as ever.
    wait_until(SOON, "the API to listen", || curl(&server, &[], "/healthz").is_ok()).unwrap();
    assert_eq!(curl(&server, &[], "/api/v1/whoami").unwrap().0, 401);
    let viewer = token(&daemon, server.folder.path(), "viewer").unwrap();
    assert_eq!(curl(&server, &["-H", &viewer], "/api/v1/whoami").unwrap().0, 200);

    let ask = |authority: &Path, name: &str, method: &str, path: &str| {
        let (certificate, key) =
            (authority.join(name).join("certificate.pem"), authority.join(name).join("key.pem"));
        let shown = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap(), "-X", method];
        curl(&server, &shown, path)
    };
    let (status, who) = ask(&ours, "watcher", "GET", "/api/v1/whoami").unwrap();
    let who: Value = serde_json::from_str(&who).unwrap();
    assert_eq!((status, &who["name"], &who["role"]), (200, &json!("certificate watcher"), &json!("viewer")));

    let address = Scripted::new(&cable.socket, 1).dora().unwrap().address;
    let path = format!("/api/v1/leases/{address}");
    assert_eq!(ask(&ours, "watcher", "GET", &path).unwrap().0, 200);
    assert_eq!(ask(&ours, "watcher", "DELETE", &path).unwrap().0, 403);
    assert_eq!(ask(&ours, "stranger", "GET", &path).unwrap().0, 401, "our authority's, and not named");
    assert_eq!(ask(&ours, "stranger", "GET", "/healthz").unwrap().0, 200);
    assert_eq!(ask(&ours, "keeper", "DELETE", &path).unwrap().0, 202);
    let changes = fs::read_to_string(server.store().join("api/changes.ndjson")).unwrap();
    assert!(changes.contains("certificate keeper"), "{changes}");

    // A name that is known, of another authority that calls itself the same: no handshake, and so not even what is open to all.
    // curl has several words for being cut off; that it lacks a file, or waited in vain, is none of them.
    let refused = ask(&foreign, "watcher", "GET", "/healthz").unwrap_err().to_string();
    let cut_off = ["35", "52", "55", "56"].iter().any(|code| refused.contains(&format!("status: {code})")));
    assert!(cut_off, "{refused}");
}

#[test]
fn the_command_line_asks_from_elsewhere_and_trusts_what_it_is_told_to() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    wait_until(SOON, "the API to listen", || curl(&server, &[], "/healthz").is_ok()).unwrap();
    token(&daemon, server.folder.path(), "admin").unwrap();
    let address = Scripted::new(&cable.socket, 1).dora().unwrap().address;
    let certificate = server.store().join("api/certificate.pem");
    let remote = |words: &[&str], how: &[&str]| -> Result<String> {
        let mut command = server.ns.command(binary()?);
        command.args(words).args(["--url", "https://127.0.0.1:8081", "--token-file"]);
        stdout(command.arg(server.folder.path().join("admin")).args(how))
    };
    let ca = ["--ca", certificate.to_str().unwrap()];
    let show = ["leases", "show", &address.to_string()];
    assert!(remote(&show, &ca).unwrap().contains("bound"));
    assert!(remote(&show, &["--insecure"]).unwrap().contains("bound"));
    let refused = remote(&show, &[]).unwrap_err().to_string();
    assert!(refused.contains("--insecure") && refused.contains("certificate"), "{refused}");
    assert_eq!(remote(&["leases", "export", "--format", "csv"], &ca).unwrap().lines().count(), 2);
    assert!(remote(&["subnets"], &ca).unwrap().contains("198.18.0.0/16"));
    let tokens: Value = serde_json::from_str(&remote(&["token", "list", "--json"], &ca).unwrap()).unwrap();
    let id = tokens[0]["id"].as_str().unwrap().to_owned();
    remote(&["token", "revoke", &id], &ca).unwrap();
    let refused = remote(&show, &ca).unwrap_err().to_string();
    assert!(refused.contains("revoked"), "{refused}");
}

#[test]
fn a_new_certificate_is_taken_up_and_connections_go_on() {
    let (server, other) = (Server::new().unwrap(), Server::new().unwrap());
    let (cable, _other_cable) = (Cable::new(&server).unwrap(), Cable::new(&other).unwrap());
    let daemon = server.start(&server.config()).unwrap();
    // The other one's only use is to make another certificate.
    drop(other.start(&other.config()).unwrap());
    wait_until(SOON, "the API to listen", || curl(&server, &[], "/healthz").is_ok()).unwrap();
    let viewer = token(&daemon, server.folder.path(), "viewer").unwrap();
    let log = server.folder.path().join("events.log");
    let mut stream = server.ns.command("curl");
    stream.args(["-ksN", "-H", &viewer, "https://127.0.0.1:8081/api/v1/events"]);
    let mut stream = Process::start(&mut stream, &log).unwrap();

    let (from, to) = (other.store().join("api"), server.store().join("api"));
    for file in ["key.pem", "certificate.pem"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let presented = || -> Result<String> {
        let mut command = server.ns.command("curl");
        command.args(["-s", "--cacert"]).arg(from.join("certificate.pem"));
        stdout(command.arg("https://127.0.0.1:8081/healthz"))
    };
    wait_for(SOON, "the new certificate", || Ok(presented().ok())).unwrap();
    assert!(stream.ended().unwrap().is_none(), "the stream of events ended");
    // It hears of what happens now.
    Scripted::new(&cable.socket, 1).dora().unwrap();
    stream.wait_output("event: lease", SOON).unwrap();
}
