//! Any request to the management API, by anybody: answered without a fault of the server's, in words that can be read.
//!
//! An input is a request as text: `PEER METHOD TARGET`, header lines, an empty line, the body. The peer is `local`, `remote`
//! or `remote:NAME` with the certificate of that name; `TOKEN0` to `TOKEN2` in a header stand for tokens that are good.

use std::{
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Method, Request, Response, StatusCode, header},
};
use dhcp_user::api::access::caller::Peer;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::{runtime::Runtime, time::timeout};
use tower::ServiceExt as _;

use crate::api_world::ApiWorld;

/// The longest an answer may take: less than a handler is given.
const PATIENCE: Duration = Duration::from_secs(15);
/// An answer of this world is never larger.
const ANSWER_MAX: usize = 4 << 20;
/// Header lines taken from an input.
const HEADERS_MAX: usize = 16;
/// Requests answered by one world, at most: they are recorded in it.
const REQUESTS_MAX: u32 = 512;

/// What stays from input to input, as long as nothing has changed in it.
struct Stage {
    runtime: Runtime,
    world: ApiWorld,
    requests: u32,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .expect("a runtime");
        Self { runtime, world: ApiWorld::new(), requests: 0 }
    }
}

static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

/// Takes one input: a request.
///
/// # Panics
/// If the answer is a fault of the server's, or cannot be read.
pub fn run(octets: &[u8]) {
    let _ = status(octets);
}

/// How the request of an input is answered; `None` if it is none.
///
/// # Panics
/// As [`run`].
pub fn status(octets: &[u8]) -> Option<StatusCode> {
    let mut kept = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    // Taken out: a world in which something went wrong is not used again.
    let mut stage = kept.take().unwrap_or_else(Stage::new);
    let Some((peer, request)) = request(octets, &stage) else {
        *kept = Some(stage);
        return None;
    };
    let shown = format!("{} {}", request.method(), request.uri());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let router = stage.world.seen_by(peer);
    let status = stage.runtime.block_on(async {
        let Ok(answer) = router.oneshot(request).await;
        let status = answer.status();
        let read = timeout(PATIENCE, judge(answer, &shown)).await;
        assert!(read.is_ok(), "{shown}: no end of the answer");
        status
    });
    stage.requests += 1;
    // The next input is to meet the same world, so that what it does is its own doing.
    if (reads || !status.is_success()) && stage.requests < REQUESTS_MAX {
        *kept = Some(stage);
    }
    Some(status)
}

/// The request an input means; `None` if HTTP could not bring it this far.
fn request(octets: &[u8], stage: &Stage) -> Option<(Peer, Request<Body>)> {
    let (first, mut rest) = line(octets)?;
    let mut words = first.splitn(3, |octet| *octet == b' ');
    let peer = std::str::from_utf8(words.next()?).ok()?;
    let method = Method::from_bytes(words.next()?).ok()?;
    let mut request = Request::builder().method(method).uri(words.next()?);
    for _ in 0..HEADERS_MAX {
        let Some((header, after)) = line(rest) else { break };
        rest = after;
        if header.is_empty() {
            break;
        }
        let colon = header.iter().position(|octet| *octet == b':')?;
        let (name, value) = header.split_at(colon);
        let value = value.get(1..)?.trim_ascii();
        let token = value.strip_prefix(b"Bearer TOKEN").and_then(|number| match number {
            [digit] => stage.world.tokens.get(usize::from(digit.wrapping_sub(b'0'))),
            _ => None,
        });
        request = match token {
            Some(token) => request.header(name, format!("Bearer {token}")),
            None => request.header(name, value),
        };
    }
    let peer = match peer.split_once(':').unwrap_or((peer, "")) {
        ("local", _) => Peer::Local(None),
        (_, name) => {
            // Each from an address of its own: who guesses tokens is soon not listened to.
            let address = Ipv4Addr::from_bits(u32::from_be_bytes([198, 19, 0, 0]) + stage.requests);
            let certificate = (!name.is_empty()).then(|| name.to_owned());
            Peer::Remote { address: address.into(), certificate }
        }
    };
    Some((peer, request.body(Body::from(rest.to_vec())).ok()?))
}

/// The first line and what follows it.
fn line(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    if octets.is_empty() {
        return None;
    }
    match octets.iter().position(|octet| *octet == b'\n') {
        Some(end) => {
            let (line, rest) = octets.split_at(end);
            Some((line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..).unwrap_or_default()))
        }
        None => Some((octets, &[])),
    }
}

async fn judge(answer: Response<Body>, shown: &str) {
    let status = answer.status();
    assert!(!status.is_server_error(), "{shown}: {status}");
    assert!(answer.headers().contains_key("x-request-id"), "{shown}: not through the gate");
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    if kind.starts_with("text/event-stream") {
        // It ends when its reader goes.
        return;
    }
    let body = answer.into_body().collect().await;
    let body = body.unwrap_or_else(|error| panic!("{shown}: {status}, cut off: {error}")).to_bytes();
    assert!(body.len() <= ANSWER_MAX, "{shown}: {} octets", body.len());
    if kind.starts_with("application/problem+json") || kind.starts_with("application/json") {
        // The answer to HEAD has no body.
        if body.is_empty() {
            return;
        }
        let value: Value = serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{shown}: {error}: {}", body.escape_ascii()));
        if status.is_client_error() {
            assert_eq!(value["status"], Value::from(status.as_u16()), "{shown}: {value}");
            assert!(value["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{shown}: {value}");
        }
    } else {
        assert!(status != StatusCode::BAD_REQUEST || !body.is_empty(), "{shown}: refused without a word");
    }
}
