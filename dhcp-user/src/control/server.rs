//! The control socket, made so that two daemons never share one. What is asked on it is the API's to answer.

use std::{
    fs, io,
<<<<<<< HEAD
    os::unix::fs::PermissionsExt,
=======
    net::Ipv4Addr,
    os::unix::{fs::PermissionsExt, net::UnixListener},
>>>>>>> main
    path::{Path, PathBuf},
};

<<<<<<< HEAD
use tokio::net::UnixListener;
=======
use axum::{
    Json, Router,
    extract::{Path as Segment, Query as Parameters, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::server::service::{Event, Query};

/// The most leases one answer carries.
pub const PAGE_MAX: usize = 10_000;
>>>>>>> main

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A daemon is answering there.
    #[error("a daemon is answering on {}: stop it, or give this one its own dhcp.control.socket", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("the control socket {} cannot be made ({call}): {error}{}", path.display(), privileges(error))]
    Io {
        /// The socket.
        path: PathBuf,
        /// The call.
        call: &'static str,
        /// Why.
        error: io::Error,
    },
}

fn privileges(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (run as root, or set dhcp.control.socket to a path this user may write)"
        }
        _ => "",
    }
}

/// Makes the socket, readable and writable by owner and group. One that no daemon answers on any more is replaced.
///
/// # Errors
/// If a daemon answers there, or it cannot be made.
pub fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    let failed = |call| move |error| ControlError::Io { path: path.to_owned(), call, error };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("mkdir"))?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(ControlError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => fs::remove_file(path).map_err(failed("unlink"))?,
    }
    let listener = UnixListener::bind(path).map_err(failed("bind"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed("chmod"))?;
    listener.set_nonblocking(true).map_err(failed("fcntl"))?;
    Ok(listener)
}
<<<<<<< HEAD
=======

/// Answers until the process ends.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: UnixListener, events: SyncSender<Event>) -> io::Result<()> {
    let routes = Router::new()
        .route("/api/v1/leases", get(leases))
        .route("/api/v1/leases/{address}", get(lease))
        .route("/api/v1/stats", get(stats))
        .with_state(events);
    axum::serve(tokio::net::UnixListener::from_std(listener)?, routes).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<Ipv4Addr>,
    limit: Option<usize>,
}

async fn leases(State(events): State<SyncSender<Event>>, Parameters(page): Parameters<Page>) -> Response {
    let limit = page.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    ask(&events, |to| Query::Leases { after: page.after, limit, to })
        .await
        .map_or_else(IntoResponse::into_response, |leases| Json(leases).into_response())
}

async fn lease(State(events): State<SyncSender<Event>>, Segment(address): Segment<Ipv4Addr>) -> Response {
    match ask(&events, |to| Query::Lease(address, to)).await {
        Ok(Some(lease)) => Json(lease).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, format!("there is no lease of {address}")).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn stats(State(events): State<SyncSender<Event>>) -> Response {
    ask(&events, Query::Stats)
        .await
        .map_or_else(IntoResponse::into_response, |stats| Json(stats).into_response())
}

async fn ask<T>(
    events: &SyncSender<Event>,
    query: impl FnOnce(oneshot::Sender<T>) -> Query,
) -> Result<T, (StatusCode, &'static str)> {
    let (to, answer) = oneshot::channel();
    events
        .try_send(Event::Query(query(to)))
        .map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "the service is too busy to answer; ask again"))?;
    answer.await.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "the service is stopping"))
}
>>>>>>> main
