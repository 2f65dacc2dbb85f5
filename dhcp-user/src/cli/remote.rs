//! Which daemon a command asks, and how the other end is known: certificates of the system, of `--ca`, or (as with
//! `curl -k`) none.

use std::{fs, io::Read as _, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use hyper::Uri;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

use crate::control::client::Daemon;

const SOCKET_DEFAULT: &str = "/run/simple-dhcpd/control.sock";
/// Where Debian and many others keep what they trust.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The longest token file read, octets.
const TOKEN_FILE_MAX: u64 = 4_096;

/// How to ask and how to print.
#[derive(Clone, Debug, Args)]
pub(super) struct Asking {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The control socket of the daemon on this machine.
    #[arg(long, value_name = "PATH", default_value = SOCKET_DEFAULT)]
    socket: std::path::PathBuf,
    /// Ask a daemon on another machine, such as https://node1:8081.
    #[arg(long, value_name = "URL", requires = "token_file")]
    url: Option<Uri>,
    /// The file that holds the token for --url.
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// Certificates to trust for --url, in PEM, in place of the system's.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<std::path::PathBuf>,
    /// Take any certificate: whoever is on the way may read the token.
    #[arg(long, requires = "url", conflicts_with = "ca")]
    insecure: bool,
}

impl Asking {
    /// To ask the daemon on this machine.
    pub(super) fn local(socket: Option<std::path::PathBuf>, json: bool) -> Self {
        let socket = socket.unwrap_or_else(|| SOCKET_DEFAULT.into());
        Self { json, socket, url: None, token_file: None, ca: None, insecure: false }
    }

    /// The daemon to ask.
    pub(super) fn daemon(&self) -> Result<Daemon> {
        let Some(url) = &self.url else { return Ok(Daemon::Local(self.socket.clone())) };
        if url.host().is_none() || !matches!(url.path(), "" | "/") {
            bail!("{url} is not the address of a daemon: write https://HOST:PORT");
        }
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let tls = match url.scheme_str() {
            Some("https") => Some(self.tls()?),
            Some("http") if is_loopback(url) => None,
            Some("http") => bail!("{url}: a token is not sent without TLS; write https://"),
            _ => bail!("{url}: write https://HOST:PORT"),
        };
        Ok(Daemon::Remote { url: url.clone(), token, tls })
    }

    fn tls(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("no TLS")?;
        if self.insecure {
            let verifier = Arc::new(AnyCertificate(provider));
            let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
            return Ok(Arc::new(builder.with_no_client_auth()));
        }
        let file = self.ca.as_deref().unwrap_or(Path::new(SYSTEM_CA));
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(file)
            .with_context(|| format!("cannot read {}; name one with --ca", file.display()))?;
        for certificate in certificates {
            let certificate = certificate.with_context(|| format!("{} is not PEM", file.display()))?;
            let added = roots.add(certificate);
            // Among the system's there may be some that nobody understands.
            if self.ca.is_some() {
                added.with_context(|| format!("a certificate in {} is of no use", file.display()))?;
            }
        }
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read_token(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file =
        fs::File::open(path).with_context(|| format!("cannot open the token file {}", path.display()))?;
    let read = file.take(TOKEN_FILE_MAX).read_to_string(&mut text);
    read.with_context(|| format!("cannot read the token file {}", path.display()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        bail!("{} holds no token", path.display());
    }
    Ok(token.to_owned())
}

/// Takes any certificate, but only from whoever holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
