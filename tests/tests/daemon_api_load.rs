//! The API while much is asked of it: the operator's certificates change under connections that never stop asking, and nobody
//! notices.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use dhcp_tests::{
    client::scripted::Scripted,
    cluster::pki,
    https::{Https, Trust},
    lab::{Cable, Server, set},
    wait::{wait_for, wait_until},
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// How often the certificate changes.
const ROTATIONS: usize = 3;

#[test]
fn certificates_rotate_under_load_and_no_request_fails() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let [authority, first, second, used] =
        ["authority", "first", "second", "used"].map(|name| server.folder.path().join(name));
    pki(&["init", "--authority"], &authority).unwrap();
    for out in [&first, &second] {
        let out = out.display().to_string();
        pki(&["node", &API.ip().to_string(), "--out", &out, "--authority"], &authority).unwrap();
    }
    let put = |from: &Path| {
        let copy = |file: &str| fs::copy(from.join(file), used.join(file)).map(drop);
        ["key.pem", "certificate.pem"].into_iter().try_for_each(copy)
    };
    fs::create_dir(&used).unwrap();
    put(&first).unwrap();
    let mut config = server.config();
    let (certificate, key) = (used.join("certificate.pem"), used.join("key.pem"));
    let api = json!({"requests_per_sec": 1_000_000, "certificate": certificate, "key": key});
    set(&mut config, "/dhcp/api", api);
    let daemon = server.start(&config).unwrap();
    let address = Scripted::new(&cable.socket, 1).dora().unwrap().address;
    let token = daemon.ask(&["token", "create", "load", "--role", "viewer"]).unwrap();
    let token = token["token"].as_str().unwrap();

    let trust = Trust::in_files(&[&authority.join("ca.pem")]).unwrap();
    let connect = || Https::connect(&server.ns, API, &trust, token);
    wait_until(SOON, "the API to listen", || connect().is_ok()).unwrap();

    let (stop, asked, opened) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let path = format!("/api/v1/leases/{address}");
    let ask = |connection: &mut Https| {
        for (status, body) in connection.get_all(&[path.clone(), path.clone()]).unwrap() {
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        // One that stays, and one that is always new.
        scope.spawn(|| {
            let mut connection = connect().unwrap();
            while !stop.load(Ordering::Relaxed) {
                ask(&mut connection);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ask(&mut connect().unwrap());
                opened.fetch_add(1, Ordering::Relaxed);
            }
        });
        let rotated = (0..ROTATIONS).try_for_each(|turn| {
            let from = if turn % 2 == 0 { &second } else { &first };
            let before = connect()?.certificate().cloned();
            put(from)?;
            let (asked_then, opened_then) = (asked.load(Ordering::Relaxed), opened.load(Ordering::Relaxed));
            wait_for(SOON, "the new certificate", || {
                Ok((connect()?.certificate() != before.as_ref()).then_some(()))
            })?;
            wait_until(SOON, "requests on connections old and new", || {
                asked.load(Ordering::Relaxed) > asked_then + 100
                    && opened.load(Ordering::Relaxed) > opened_then + 1
            })
        });
        stop.store(true, Ordering::Relaxed);
        rotated.unwrap();
    });
}
