//! The API while much is asked of it: certificates change under connections that never stop asking, and nobody notices.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use dhcp_tests::{
    client::scripted::Scripted,
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
    let (server, other) = (Server::new().unwrap(), Server::new().unwrap());
    let (cable, _other_cable) = (Cable::new(&server).unwrap(), Cable::new(&other).unwrap());
    let mut config = server.config();
    set(&mut config, "/dhcp/api", json!({"requests_per_sec": 1_000_000}));
    let daemon = server.start(&config).unwrap();
    // The other one's only use is to make another certificate.
    drop(other.start(&other.config()).unwrap());
    let address = Scripted::new(&cable.socket, 1).dora().unwrap().address;
    let token = daemon.ask(&["token", "create", "load", "--role", "viewer"]).unwrap();
    let token = token["token"].as_str().unwrap();

    let used = server.store().join("api");
    let (first, second) = (server.folder.path().join("first"), other.store().join("api"));
    fs::create_dir(&first).unwrap();
    for file in ["key.pem", "certificate.pem"] {
        fs::copy(used.join(file), first.join(file)).unwrap();
    }
    let trust = Trust::in_files(&[&first.join("certificate.pem"), &second.join("certificate.pem")]).unwrap();
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
            for file in ["key.pem", "certificate.pem"] {
                fs::copy(from.join(file), used.join(file))?;
            }
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
