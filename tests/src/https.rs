//! A client of the management API over TLS that keeps its connection: for tests and benchmarks that ask thousands of times,
//! where a program started for each request would be what is measured.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::netns::NetNs;

/// The longest an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer taken.
const BODY_MAX: usize = 16 << 20;

/// Whose certificates are trusted.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts the certificates in these PEM files.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn in_files(files: &[&Path]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for file in files {
            let certificate = CertificateDer::from_pem_file(file)
                .with_context(|| format!("no certificate in {}", file.display()))?;
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// A connection.
#[derive(Debug)]
pub struct Https {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    token: String,
}

impl Https {
    /// Connects to an address inside a namespace, as the holder of a token.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or shows a certificate that is not trusted.
    pub fn connect(ns: &NetNs, address: SocketAddr, trust: &Trust, token: &str) -> Result<Self> {
        let tcp = ns.run(|| TcpStream::connect_timeout(&address, PATIENCE))??;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let connection = ClientConnection::new(Arc::clone(&trust.0), name)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).context("no TLS handshake")?;
        }
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream), token: token.to_owned() })
    }

    /// The certificate the server showed.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.stream.get_ref().conn.peer_certificates()?.first()
    }

    /// Asks for all of `paths` at once; the answers come in the same order.
    ///
    /// # Errors
    ///
    /// When the connection breaks or an answer makes no sense.
    pub fn get_all(&mut self, paths: &[String]) -> Result<Vec<(u16, Vec<u8>)>> {
        let mut requests = String::new();
        for path in paths {
            let head =
                ["GET ", path, " HTTP/1.1\r\nhost: node\r\nauthorization: Bearer ", &self.token, "\r\n\r\n"];
            head.iter().for_each(|part| requests.push_str(part));
        }
        self.stream.get_mut().write_all(requests.as_bytes())?;
        self.stream.get_mut().flush()?;
        paths.iter().map(|_| self.answer()).collect()
    }

    fn answer(&mut self) -> Result<(u16, Vec<u8>)> {
        let (mut line, mut status, mut length) = (String::new(), None, 0);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                bail!("the connection ended");
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if status.is_none() {
                status =
                    Some(text.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?);
            } else if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().context("no length")?;
            }
        }
        if length > BODY_MAX {
            bail!("an answer of {length} octets");
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status.context("no status")?, body))
    }
}
