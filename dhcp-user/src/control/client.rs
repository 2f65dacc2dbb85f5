//! Asks a running daemon over its control socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

/// The longest answer taken, octets.
const ANSWER_MAX: usize = 64 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no daemon answers on {}: {error}; is it running, and is this its dhcp.control.socket (--socket)?",
        path.display()
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The daemon refused; what it said.
    #[error("{0}")]
    Refused(String),
    /// There is no such thing; what the daemon said.
    #[error("{0}")]
    NotFound(String),
    /// The conversation failed.
    #[error("the daemon on {} did not answer: {error}", path.display())]
    Conversation {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: String,
    },
}

/// Gets `uri` from the daemon on the socket `path`.
///
/// # Errors
/// If nobody answers, the daemon refuses, or what it says is not the shape asked for.
pub async fn get<T: DeserializeOwned>(path: &Path, uri: &str) -> Result<T, AskError> {
    let failed = |error: String| AskError::Conversation { path: path.to_owned(), error };
    match timeout(PATIENCE, exchange(path, uri)).await {
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
        Ok(Err(error)) => Err(error),
        Ok(Ok((status, body))) => match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| failed(error.to_string())),
            StatusCode::NOT_FOUND => Err(AskError::NotFound(String::from_utf8_lossy(&body).into_owned())),
            _ => Err(AskError::Refused(String::from_utf8_lossy(&body).into_owned())),
        },
    }
}

async fn exchange(path: &Path, uri: &str) -> Result<(StatusCode, Bytes), AskError> {
    let failed = |error: String| AskError::Conversation { path: path.to_owned(), error };
    let stream = UnixStream::connect(path)
        .await
        .map_err(|error| AskError::Connect { path: path.to_owned(), error })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let request = Request::get(uri)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX)
        .collect()
        .await
        .map_err(|error| failed(error.to_string()))?;
    connection.abort();
    Ok((status, body.to_bytes()))
}
