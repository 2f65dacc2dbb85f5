//! Asks a daemon: the one on this machine over its control socket, or another over HTTPS with a token.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::api::problem::Problem;

/// The longest answer taken, octets.
const ANSWER_MAX: usize = 64 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Whom to ask.
#[derive(Clone, Debug)]
pub enum Daemon {
    /// The one on this machine.
    Local(PathBuf),
    /// Another.
    Remote {
        /// Where, such as `https://node1:8081`.
        url: Uri,
        /// What proves who asks.
        token: Option<String>,
        /// How the other end is known; `None` for HTTP.
        tls: Option<Arc<ClientConfig>>,
    },
}

/// What is asked.
struct Question<'a> {
    method: Method,
    path: &'a str,
    body: Bytes,
    if_match: Option<&'a str>,
    last_event_id: Option<u64>,
}

impl<'a> Question<'a> {
    const fn new(method: Method, path: &'a str, body: Bytes) -> Self {
        Self { method, path, body, if_match: None, last_event_id: None }
    }
}

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
    /// The other machine does not answer.
    #[error("no daemon answers at {url}: {error}")]
    Remote {
        /// Where.
        url: Uri,
        /// Why.
        error: String,
    },
    /// The daemon refused.
    #[error("{detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// The conversation failed.
    #[error("{daemon} did not answer as it should: {error}")]
    Conversation {
        /// Whom it was asked.
        daemon: String,
        /// Why.
        error: String,
    },
}

impl Daemon {
    /// Its name in messages.
    fn name(&self) -> String {
        match self {
            Self::Local(path) => format!("the daemon on {}", path.display()),
            Self::Remote { url, .. } => url.to_string(),
        }
    }

    fn failed(&self, error: &impl ToString) -> AskError {
        AskError::Conversation { daemon: self.name(), error: error.to_string() }
    }

    /// Gets `path` (with its query), as JSON.
    ///
    /// # Errors
    /// If nobody answers, the daemon refuses, or what it says is not the shape asked for.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.send(Method::GET, path, None).await
    }

    /// Gets the pages of a listing one after the other, which are told apart by `after`: for each address in `next` once more.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        mut take: impl FnMut(T) -> Option<Ipv4Addr>,
    ) -> Result<(), AskError> {
        let mut next = take(self.get(path).await?);
        while let Some(after) = next {
            next = take(self.get(&format!("{path}?after={after}")).await?);
        }
        Ok(())
    }

    /// Asks with a method and a JSON body. An empty answer is taken as `null`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<T, AskError> {
        let text = body.map(ToString::to_string).unwrap_or_default();
        self.send_text(method, path, &text, None).await
    }

    /// Asks with a method and a body that is JSON already; with `if_match`, only if that is the version.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn send_text<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        text: &str,
        if_match: Option<&str>,
    ) -> Result<T, AskError> {
        let question = Question { if_match, ..Question::new(method, path, Bytes::from(text.to_owned())) };
        let exchange = async {
            let response = self.exchange(question).await?;
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|error| self.failed(&error))
        };
        let body = timeout(PATIENCE, exchange)
            .await
            .map_err(|_| self.failed(&format!("no answer within {} s", PATIENCE.as_secs())))??;
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(text).map_err(|error| self.failed(&error))
    }

    /// Gets `path` and hands its body on as it comes, however long it is.
    ///
    /// # Errors
    /// As [`get`](Self::get), if it ends too soon, or `take` fails.
    pub async fn stream(
        &self,
        path: &str,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), AskError> {
        self.stream_of(Method::GET, path, Some(PATIENCE), take).await
    }

    /// As [`stream`](Self::stream), for events: from the one after `last` on.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn events(
        &self,
        path: &str,
        last: Option<u64>,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), AskError> {
        let question = Question::new(Method::GET, path, Bytes::new());
        self.take_all(Question { last_event_id: last, ..question }, Some(PATIENCE), take).await
    }

    /// As [`stream`](Self::stream), by any method; each part may be waited for as long as `patience`, or for ever.
    ///
    /// # Errors
    /// As [`get`](Self::get), if it ends too soon, or `take` fails.
    pub async fn stream_of(
        &self,
        method: Method,
        path: &str,
        patience: Option<Duration>,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), AskError> {
        self.take_all(Question::new(method, path, Bytes::new()), patience, take).await
    }

    async fn take_all(
        &self,
        question: Question<'_>,
        patience: Option<Duration>,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), AskError> {
        let response = timeout(PATIENCE, self.exchange(question))
            .await
            .map_err(|_| self.failed(&"it begins to answer too late"))??;
        let mut body = response.into_body();
        loop {
            let frame = match patience {
                None => body.frame().await,
                Some(patience) => {
                    timeout(patience, body.frame()).await.map_err(|_| self.failed(&"its answer stalls"))?
                }
            };
            match frame {
                None => return Ok(()),
                Some(Err(error)) => return Err(self.failed(&error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        take(data).map_err(|error| self.failed(&error))?;
                    }
                }
            }
        }
    }

    async fn exchange(&self, question: Question<'_>) -> Result<Response<Incoming>, AskError> {
        match self {
            Self::Local(socket) => {
                let failed = |error| AskError::Connect { path: socket.clone(), error };
                let stream = UnixStream::connect(socket).await.map_err(failed)?;
                self.over(stream, "localhost", question).await
            }
            Self::Remote { url, tls, .. } => {
                let remote = |error: String| AskError::Remote { url: url.clone(), error };
                let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
                let port = url.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
                let stream = connect(host, port).await.map_err(|error| remote(error.to_string()))?;
                let authority = url.authority().map_or(host, |authority| authority.as_str());
                let Some(tls) = tls else { return self.over(stream, authority, question).await };
                let name =
                    ServerName::try_from(host.to_owned()).map_err(|error| remote(error.to_string()))?;
                let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
                let stream = stream.map_err(|error| remote(format!("{error} (--ca, --insecure)")))?;
                self.over(stream, authority, question).await
            }
        }
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        question: Question<'_>,
    ) -> Result<Response<Incoming>, AskError> {
        let Question { method, path, body, if_match, last_event_id } = question;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(&error))?;
        // It ends by itself once the answer is read or dropped.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(version) = if_match {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        if let Self::Remote { token: Some(token), .. } = self {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| self.failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.failed(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }
}

/// What a daemon said when it refused.
async fn refusal(response: Response<Incoming>) -> AskError {
    let status: StatusCode = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let detail = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => problem.detail,
        Err(_) => format!("{status}: {}", String::from_utf8_lossy(&body)),
    };
    AskError::Refused { status: status.as_u16(), detail }
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    TcpStream::connect(&*addresses).await
}
