//! Calling the other nodes and listening for them. Of two nodes the one with the lower key calls, so that there is one
//! connection between them.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::Rng as _;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    time::{sleep, timeout},
};

use super::{
    connection,
    greet::{LinkError, accept, call},
    shared::Shared,
};
use crate::site::roster::Node;

/// How long a call may ring.
const CALL_MAX: Duration = Duration::from_secs(3);
/// Greetings under way, at most; and from one address.
const GREETINGS_MAX: usize = 128;
const GREETINGS_PER_ADDRESS: usize = 16;
/// How long until a port that was taken is tried for again.
const BIND_AGAIN: Duration = Duration::from_secs(2);
/// How often certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Calls those nodes that are to be called and listens for the others, for ever.
pub fn start(shared: &Arc<Shared>, listen: SocketAddr) {
    let source = Some(listen.ip()).filter(|address| !address.is_unspecified());
    for node in shared.roster.others().filter(|node| shared.roster.me().key < node.key) {
        tokio::spawn(keep_calling(Arc::clone(shared), node.clone(), source));
    }
    tokio::spawn(keep_listening(Arc::clone(shared), listen));
    if shared.tls.is_some() {
        tokio::spawn(follow(Arc::clone(shared)));
    }
}

/// Takes new certificates into use.
async fn follow(shared: Arc<Shared>) {
    while let Some(tls) = &shared.tls {
        sleep(LOOK_EVERY).await;
        match tls.refresh() {
            Ok(true) => {
                shared.counts.well("certificates");
                tracing::info!("new certificates are in use for links to other nodes");
            }
            Ok(false) => {}
            // Often only one of the files is new yet: the others follow, and this is tried again.
            Err(error) if shared.counts.failed("certificates", "certificate_files") => {
                tracing::warn!(%error, "the certificates of links stay as they are");
            }
            Err(_) => {}
        }
    }
}

async fn keep_calling(shared: Arc<Shared>, node: Node, source: Option<IpAddr>) {
    let mut wait = shared.timing.again_min;
    loop {
        let began = Instant::now();
        match reach(&shared, &node, source).await {
            Ok(stream) => match call(&shared, stream, &node).await {
                // Why it ended is counted and told there, at both ends alike.
                Ok(greeted) => drop(connection::run(&shared, greeted).await),
                Err(error) => failed(&shared, &node.name, &error, Some(&node)),
            },
            Err(error) => failed(&shared, &node.name, &LinkError::Connect(error), Some(&node)),
        }
        if shared.events.is_closed() {
            return;
        }
        wait = if began.elapsed() >= shared.timing.lasted { shared.timing.again_min } else { wait * 2 };
        wait = wait.min(shared.timing.again_max);
        // Nodes that lost one another at the same moment do not all call at the same moment.
        let jitter = rand::rng().random_range(0.75..1.25);
        sleep(wait.mul_f64(jitter)).await;
    }
}

/// Counts that there is no link, and tells why the first time.
fn failed(shared: &Shared, with: &str, error: &LinkError, node: Option<&Node>) {
    if shared.counts.failed(with, error.kind()) {
        tracing::warn!(with, reason = %error, "no link");
    }
    if let Some(mut state) = node.and_then(|node| shared.peer(node.key)) {
        state.trouble = Some(error.to_string());
    }
}

async fn reach(shared: &Shared, node: &Node, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let attempt = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", node.host));
        for address in lookup_host((node.host.as_str(), node.port)).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
                socket.set_reuseaddr(true)?;
                socket.bind(SocketAddr::new(source, 0))?;
            }
            limit_buffer(shared, |octets| socket.set_send_buffer_size(octets))?;
            match socket.connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    timeout(CALL_MAX, attempt).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

/// What the kernel holds back for a slow link it sends at once when it can: with a cap that must not be a second's worth.
fn limit_buffer(shared: &Shared, set: impl Fn(u32) -> io::Result<()>) -> io::Result<()> {
    match shared.shaper.used(Instant::now()).1 {
        Some(cap) => set(u32::try_from((cap / 16).clamp(16 << 10, 1 << 20)).unwrap_or(1 << 20)),
        None => Ok(()),
    }
}

async fn keep_listening(shared: Arc<Shared>, at: SocketAddr) {
    let mut told = false;
    let listener = loop {
        match listen(&shared, at) {
            Ok(listener) => break listener,
            Err(error) if !told => {
                told = true;
                tracing::error!(%at, %error, "other nodes cannot reach this one there; trying until they can");
            }
            Err(_) => {}
        }
        if shared.events.is_closed() {
            return;
        }
        sleep(BIND_AGAIN).await;
    };
    let greetings = Arc::<Greetings>::default();
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if shared.counts.failed("listener", "accept") {
                        tracing::warn!(%error, "a connection from another node was lost");
                    }
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = shared.events.closed() => return,
        };
        let Some(place) = Greetings::place(&greetings, from.ip()) else {
            if shared.counts.failed(&from.ip().to_string(), "too_many_greetings") {
                tracing::warn!(from = %from.ip(), "too many connections that have not said who they are");
            }
            continue;
        };
        drop(stream.set_nodelay(true));
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let greeted = accept(&shared, stream).await;
            drop(place);
            match greeted {
                Ok(greeted) => drop(connection::run(&shared, greeted).await),
                Err(error) => failed(&shared, &from.ip().to_string(), &error, None),
            }
        });
    }
}

fn listen(shared: &Shared, at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    limit_buffer(shared, |octets| socket.set_send_buffer_size(octets))?;
    socket.bind(at)?;
    socket.listen(256)
}

/// Who is being greeted: nobody who does not say who they are keeps others from doing so.
#[derive(Debug, Default)]
struct Greetings(Mutex<HashMap<IpAddr, usize>>);

struct Place(Arc<Greetings>, IpAddr);

impl Greetings {
    fn place(this: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let mut places = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = places.values().sum();
        let here = places.entry(from).or_default();
        if total >= GREETINGS_MAX || *here >= GREETINGS_PER_ADDRESS {
            return None;
        }
        *here += 1;
        Some(Place(Arc::clone(this), from))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = places.get_mut(&self.1) {
            *here -= 1;
            if *here == 0 {
                places.remove(&self.1);
            }
        }
    }
}
