//! From a TCP connection to a link: TLS, hellos, verdicts; all of it in bounded time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    counts::Counts,
    hello::{self, Hello, Refusal},
    shared::Shared,
    tls::{is_for, server_name},
    wire::{Assembler, Lane, Message, Outgoing, ReadError},
};
use crate::site::roster::{Node, NodeKey};

/// The longest a chunk waits for the cap before it is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to a node that may be talked to.
pub struct Greeted {
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// What reads it.
    pub assembler: Assembler,
    /// The other node.
    pub peer: NodeKey,
    /// What it said.
    pub hello: Hello,
}

impl std::fmt::Debug for Greeted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greeted").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Why there is no link, or no more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It cannot be reached.
    #[error("it cannot be reached: {0}")]
    Connect(std::io::Error),
    /// TLS was not agreed on: mostly a certificate.
    #[error("no TLS: {0}")]
    Tls(std::io::Error),
    /// It says nothing, or does not listen.
    #[error("{0}")]
    Silent(&'static str),
    /// What it sends is no stream of messages.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// Writing failed.
    #[error("cannot send: {0}")]
    Write(std::io::Error),
    /// It may not be talked to, or does not want to talk.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It is slower than what it is told.
    #[error("it is too far behind: what waits for it is more than may; it begins anew")]
    Behind,
    /// Its messages can be read, and make no sense.
    #[error("it sends messages that make no sense; it begins anew")]
    Message,
    /// Another connection has taken its place.
    #[error("another connection has taken its place")]
    Replaced,
}

impl LinkError {
    /// Its name in counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Silent(_) => "silent",
            Self::Read(ReadError::CutShort) => "truncated",
            Self::Read(ReadError::Closed) => "closed",
            Self::Read(ReadError::Nonsense) => "nonsense",
            Self::Read(ReadError::TooLong) => "too_long",
            Self::Read(ReadError::Io(_)) | Self::Write(_) => "broken",
            Self::Refused(refusal) => refusal.kind(),
            Self::Behind => "behind",
            Self::Message => "message",
            Self::Replaced => "replaced",
        }
    }
}

/// Greets whoever called.
///
/// # Errors
/// Why there is no link.
pub async fn accept(shared: &Arc<Shared>, stream: impl Stream + 'static) -> Result<Greeted, LinkError> {
    let greeting = async {
        let Some(tls) = &shared.tls else { return converse(shared, Box::new(stream), None, None).await };
        let stream = TlsAcceptor::from(tls.server()).accept(stream).await.map_err(LinkError::Tls)?;
        let certificate = leaf(stream.get_ref().1.peer_certificates());
        converse(shared, Box::new(stream), certificate, None).await
    };
    within(shared, greeting).await
}

/// Greets a node that was called.
///
/// # Errors
/// Why there is no link.
pub async fn call(
    shared: &Arc<Shared>,
    stream: impl Stream + 'static,
    node: &Node,
) -> Result<Greeted, LinkError> {
    let greeting = async {
        let Some(tls) = &shared.tls else {
            return converse(shared, Box::new(stream), None, Some(node)).await;
        };
        let name = server_name(&node.name).ok_or_else(|| Refusal::Name { said: node.name.clone() })?;
        let stream = TlsConnector::from(tls.client()).connect(name, stream).await.map_err(LinkError::Tls)?;
        let certificate = leaf(stream.get_ref().1.peer_certificates());
        converse(shared, Box::new(stream), certificate, Some(node)).await
    };
    within(shared, greeting).await
}

fn leaf(chain: Option<&[CertificateDer<'_>]>) -> Option<CertificateDer<'static>> {
    chain?.first().map(|certificate| certificate.clone().into_owned())
}

async fn within(
    shared: &Shared,
    greeting: impl Future<Output = Result<Greeted, LinkError>>,
) -> Result<Greeted, LinkError> {
    timeout(shared.timing.greeting_max, greeting)
        .await
        .unwrap_or(Err(LinkError::Silent("it does not greet in time")))
}

async fn converse(
    shared: &Arc<Shared>,
    mut stream: Box<dyn Stream>,
    certificate: Option<CertificateDer<'static>>,
    expected: Option<&Node>,
) -> Result<Greeted, LinkError> {
    let ours = shared.hello();
    send(shared, &mut stream, ours.message()).await?;
    let mut assembler = Assembler::default();
    let mut octets = 0;
    let theirs = Hello::read(&assembler.read(&mut stream, &mut octets).await?);
    let judged = match &theirs {
        Ok(theirs) => known(shared, theirs, certificate.as_ref(), expected).and_then(|()| ours.judge(theirs)),
        Err(refusal) => Err(refusal.clone()),
    };
    let nonce = theirs.as_ref().map_or(0, |theirs| theirs.nonce);
    let sent = send(shared, &mut stream, hello::verdict(nonce, &judged)).await;
    if let Err(refusal) = judged {
        // The reason is on its way; whoever it is for reads it before it sees the end, or has gone for a reason of its own.
        drop(stream.shutdown().await);
        // Whoever calls keeps what was wrong; of one that called, it is to be seen here too.
        if expected.is_none()
            && let Ok(theirs) = &theirs
            && known(shared, theirs, certificate.as_ref(), None).is_ok()
            && let Some(mut peer) = shared.peer(NodeKey::of(&theirs.node))
        {
            peer.trouble = Some(refusal.to_string());
        }
        return Err(refusal.into());
    }
    sent?;
    let theirs = theirs?;
    hello::read_verdict(&assembler.read(&mut stream, &mut octets).await?, ours.nonce)?;
    let unshared = ours.terms.unshared_nodes(&theirs.terms);
    if !unshared.is_empty() && shared.counts.failed(&theirs.node, "unshared_nodes") {
        let nodes = unshared.join(", ");
        tracing::warn!(node = theirs.node, nodes, "these nodes are in only one of the two configurations");
    }
    Ok(Greeted { stream, assembler, peer: NodeKey::of(&theirs.node), hello: theirs })
}

/// Whether somebody is who they say, and somebody we know.
fn known(
    shared: &Shared,
    theirs: &Hello,
    certificate: Option<&CertificateDer<'_>>,
    expected: Option<&Node>,
) -> Result<(), Refusal> {
    let said = theirs.node.clone();
    if let Some(expected) = expected.filter(|expected| !expected.name.eq_ignore_ascii_case(&said)) {
        return Err(Refusal::Other { said, expected: expected.name.clone() });
    }
    if shared.tls.is_some() && !certificate.is_some_and(|certificate| is_for(certificate, &said)) {
        return Err(Refusal::Name { said });
    }
    let key = NodeKey::of(&said);
    if shared.roster.others().any(|node| node.key == key) { Ok(()) } else { Err(Refusal::Unknown { said }) }
}

/// Sends a message of a greeting, within the cap as everything else: all nodes may be greeted in the same moment.
async fn send(shared: &Shared, stream: &mut Box<dyn Stream>, message: Message) -> Result<(), LinkError> {
    let mut outgoing = Outgoing::new(message);
    let (mut chunk, mut last) = (Vec::new(), false);
    while !last {
        while let Err(wait) = shared.shaper.take(Lane::Control, outgoing.next_len(), Instant::now()) {
            sleep(wait.min(LOOK_AGAIN)).await;
        }
        chunk.clear();
        last = outgoing.put_next(&mut chunk);
        stream.write_all(&chunk).await.map_err(LinkError::Write)?;
        Counts::add(&shared.counts.sent, chunk.len() as u64);
    }
    stream.flush().await.map_err(LinkError::Write)
}
