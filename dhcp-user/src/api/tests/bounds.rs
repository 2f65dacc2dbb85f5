//! What is malformed, too much or too slow is refused in the form all errors have.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    api::{
        BODY_MAX,
        listen::{Patience, serve_tcp, serve_tcp_with},
        problem::Problem,
        tls::Tls,
    },
    config::model,
};

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let world = World::new(1);
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(BODY_MAX));
    for (method, path, body, status) in [
        ("GET", "/nowhere", "", 404),
        ("GET", "/api/v1/leases/x/y/z", "", 404),
        ("PATCH", "/api/v1/leases", "", 405),
        ("DELETE", "/healthz", "", 405),
        ("POST", "/api/v1/tokens", "", 400),
        ("POST", "/api/v1/tokens", "{", 400),
        ("POST", "/api/v1/tokens", "{}", 422),
        ("POST", "/api/v1/tokens", r#"{"name": "x", "role": "king"}"#, 422),
        ("POST", "/api/v1/tokens", r#"{"name": "x", "role": "viewer", "more": 1}"#, 422),
        ("POST", "/api/v1/tokens", r#"{"name": "", "role": "viewer"}"#, 400),
        ("POST", "/api/v1/tokens", r#"{"name": "a\u0007", "role": "viewer"}"#, 400),
        ("POST", "/api/v1/tokens", r#"{"name": "x", "role": "viewer", "lasts_secs": 0}"#, 400),
        ("POST", "/api/v1/tokens", &huge, 413),
        ("DELETE", "/api/v1/tokens/%ff", "", 400),
        ("DELETE", "/api/v1/tokens/77", "", 404),
        ("GET", "/api/v1/audit?limit=0", "", 400),
        ("GET", "/api/v1/reservations?limit=1001", "", 400),
    ] {
        let response = answer(&world.seen_by(Peer::Local(None)), request(method, path, None, body)).await;
        let found =
            (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap().to_owned());
        assert!(response.headers().contains_key("x-request-id"));
        let problem = text(response).await;
        assert_eq!(found, (status, "application/problem+json".to_owned()), "{method} {path}: {problem}");
        let problem: Problem = serde_json::from_str(&problem).unwrap();
        assert!(problem.status == status && !problem.detail.is_empty());
    }
}

#[tokio::test]
async fn requests_have_their_rate() {
    let mut world = World::new(1);
    let now = Instant::now();
    world.api.rate = Arc::new(crate::api::access::limits::RequestRate::new(5, now));
    let router = world.remote();
    let mut refused = 0;
    for _ in 0..50 {
        let status = answer(&router, request("GET", "/healthz", None, "")).await.status();
        refused += usize::from(status == 429);
    }
    assert!(refused > 0, "fifty in no time are more than five a second");
    let local = answer(&world.seen_by(Peer::Local(None)), request("GET", "/healthz", None, "")).await;
    assert_eq!(local.status(), 200, "the local socket has no rate");
}

/// What a real connection answers to octets that are no request, and that it ends.
#[tokio::test]
async fn connections_that_make_no_sense_are_ended() {
    let world = World::new(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_tcp(listener, None, world.api.router()));
    let head = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n", "y".repeat(64 << 10));
    let fields: String = (0..100).map(|n| format!("x{n}: y\r\n")).collect();
    for (octets, starts) in [
        ("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "HTTP/1.1 200"),
        ("\u{16}\u{3}\u{1} this is TLS\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (head, "HTTP/1.1 431"),
        (format!("GET /healthz HTTP/1.1\r\n{fields}\r\n"), "HTTP/1.1 431"),
        ("POST /api/v1/tokens HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(), "HTTP/1.1 4"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be refused, and the connection closed, before all of it is sent.
        let _ = stream.write_all(octets.as_bytes()).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(read.is_ok(), "the connection stays open after {:?}", octets.get(..40));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(starts), "{:?}: {answer}", octets.get(..40));
    }
    // Half-closed in the middle of a head: nothing to answer, and no connection is left.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /hea").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
}

/// One address may hold only so many connections, and others are served all the same.
#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let world = World::new(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve_tcp(listener, None, world.api.router()));
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    // Those beyond what one address may hold are closed at once; the others stay, for a head may take its time.
    let mut closed = 0;
    for stream in &mut silent {
        let ended = tokio::time::timeout(Duration::from_millis(20), stream.read_u8()).await;
        closed += usize::from(ended.is_ok());
    }
    assert_eq!(closed, 100 - 64);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), other.read_to_string(&mut answer)).await;
    assert!(read.is_ok() && answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A listener with little patience, and where it is.
async fn impatient(world: &World, tls: Option<Arc<Tls>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let patience = Patience { handshake: Duration::from_millis(300), head: Duration::from_millis(300) };
    tokio::spawn(serve_tcp_with(listener, tls, world.api.router(), patience));
    address
}

/// What comes until the connection ends, which must be soon.
async fn until_the_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends_its_connection() {
    let world = World::new(1);
    let config = model::Api { state_path: world.folder.path().to_owned(), ..model::Api::default() };
    let address = impatient(&world, Some(Tls::open(&config, Arc::default()).unwrap())).await;
    // Nothing at all, and the first octets of a handshake.
    for octets in [&b""[..], b"\x16\x03\x01\x02"] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(octets).await.unwrap();
        assert_eq!(until_the_end(&mut stream).await, "");
        assert!(began.elapsed() >= Duration::from_millis(300), "not before its time was over");
    }
}

#[tokio::test]
async fn a_head_that_trickles_ends_its_connection() {
    let world = World::new(1);
    let address = impatient(&world, None).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let began = Instant::now();
    // An octet every now and then: no single wait is long.
    let (mut reading, mut writing) = stream.split();
    let trickle = async {
        for octet in "GET /healthz HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'y')) {
            if writing.write_all(&[octet]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = trickle => {}
        ended = tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut answer)) => {
            assert!(ended.is_ok(), "the connection stays open");
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "not before its time was over");
    // One that is idle after an answer goes the same way.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(until_the_end(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_trickles_or_ends_half_way_ends_its_request_and_nothing_is_done() {
    let mut world = World::new(20);
    world.api.handler_time = Duration::from_millis(300);
    let token = world.token(ApiRole::Admin, &[]);
    let address = impatient(&world, None).await;
    for path in ["/api/v1/tokens", "/api/v1/config/validate", "/api/v1/leases/198.18.1.1/reserve"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: 100\r\n\r\n{{"
        );
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(head.as_bytes()).await.unwrap();
        let answer = until_the_end(&mut slow).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        // Half-closed: what is there is not taken for all of it.
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(head.as_bytes()).await.unwrap();
        half.shutdown().await.unwrap();
        let answer = until_the_end(&mut half).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    let listed = ask(&world, "GET", "/api/v1/tokens", "").await.1;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "no token was made: {listed}");
    assert_eq!(ask(&world, "GET", "/api/v1/reservations/198.18.1.1", "").await.0, 404);
}

/// Who closes their half after a whole request has given up, as far as anybody can tell: no connection is left.
#[tokio::test]
async fn a_connection_half_closed_after_its_request_is_ended() {
    let world = World::new(1);
    let address = impatient(&world, None).await;
    for path in ["/healthz", "/api/v1/events"] {
        let token = world.token(ApiRole::Viewer, &[]);
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = until_the_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}
