//! Connections and their bounds: how many there may be, how long a handshake and a request's head may take, how large a
//! head may be. Whoever is slow holds one connection of a few, and nothing else.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{
    access::{caller::Peer, limits::source, local_user::LocalUser},
    tls::{Tls, common_name},
};

/// Connections of a listener at one time.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections of one address at one time.
const CONNECTIONS_OF_ONE_MAX: u32 = 64;
/// How long things may take at a connection.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A TLS handshake.
    pub handshake: Duration,
    /// The head of a request, and being idle before the next one.
    pub head: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), head: Duration::from_secs(15) }
    }
}

/// The most octets of a request's head.
const HEAD_MAX: usize = 32 << 10;
/// The most header fields.
const FIELDS_MAX: usize = 64;
/// How long accepting rests after it failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How long a peer may leave what was sent to it untaken: beyond that the kernel ends the connection.
const UNTAKEN_MS: u32 = 30_000;

/// Connections by address.
#[derive(Clone, Debug, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One connection of an address, until dropped.
struct Held {
    sources: Sources,
    address: IpAddr,
}

impl Sources {
    fn hold(&self, address: IpAddr) -> Option<Held> {
        let address = source(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= CONNECTIONS_OF_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(Held { sources: self.clone(), address })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Serves connections over the network, for ever.
pub async fn serve_tcp(listener: TcpListener, tls: Option<Arc<Tls>>, router: Router) {
    serve_tcp_with(listener, tls, router, Patience::default()).await;
}

/// As [`serve_tcp`], with so much patience.
pub async fn serve_tcp_with(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    patience: Patience,
) {
    let (room, sources) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Sources::default());
    loop {
        let permit = take(&room).await;
        let (stream, address) = match listener.accept().await {
            Ok((stream, address)) => (stream, address.ip()),
            Err(error) => {
                rest(&error).await;
                continue;
            }
        };
        let Some(held) = sources.hold(address) else { continue };
        // Or the second of several short answers waits until its reader's kernel is pleased to acknowledge the first: 40 ms.
        drop(stream.set_nodelay(true));
        if let Err(error) = set_tcp_user_timeout(&stream, UNTAKEN_MS) {
            tracing::debug!(%address, %error, "a reader that stalls holds its connection");
        }
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let _held = (permit, held);
            let done = match tls {
                None => {
                    let peer = Peer::Remote { address, certificate: None };
                    serve_one(stream, router, peer, patience.head).await
                }
                Some(tls) => {
                    let Ok(Ok(stream)) = timeout(patience.handshake, tls.acceptor().accept(stream)).await
                    else {
                        tracing::debug!(%address, "no TLS handshake");
                        return;
                    };
                    let chain = stream.get_ref().1.peer_certificates();
                    let certificate = chain.and_then(|chain| common_name(chain.first()?));
                    serve_one(stream, router, Peer::Remote { address, certificate }, patience.head).await
                }
            };
            if let Err(error) = done {
                tracing::debug!(%address, %error, "a connection ended badly");
            }
        });
    }
}

/// Serves connections on the local socket, for ever.
pub async fn serve_local(listener: UnixListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = take(&room).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    let user = stream.peer_cred().ok().map(|user| LocalUser::new(user.uid()));
                    let served = serve_one(stream, router, Peer::Local(user), Patience::default().head).await;
                    if let Err(error) = served {
                        tracing::debug!(%error, "a local connection ended badly");
                    }
                });
            }
            Err(error) => rest(&error).await,
        }
    }
}

/// A place for one more connection.
async fn take(room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // It is never closed.
    Arc::clone(room).acquire_owned().await.ok()
}

async fn rest(error: &io::Error) {
    tracing::warn!(%error, "no connection can be accepted; trying until it works");
    sleep(ACCEPT_AGAIN).await;
}

async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    peer: Peer,
    head_time: Duration,
) -> hyper::Result<()> {
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(HEAD_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_connections() {
        let sources = Sources::default();
        let address: IpAddr = std::net::Ipv4Addr::new(198, 18, 0, 1).into();
        let mut held: Vec<_> = (0..CONNECTIONS_OF_ONE_MAX).map(|_| sources.hold(address).unwrap()).collect();
        assert!(sources.hold(address).is_none());
        held.pop();
        assert!(sources.hold(address).is_some());
        drop(held);
        assert!(sources.0.lock().unwrap().is_empty());
    }
}
