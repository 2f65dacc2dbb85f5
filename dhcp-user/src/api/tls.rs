//! The certificate of the API: made on first start, or the operator's; read again when its files change, for connections
//! to come. Those there are go on with the one they began with. So with the certificates that sign clients': one that is taken
//! out of the file signs nobody's any more, not even one who was here before and resumes a session.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::model,
    privilege::trust::{self, Untrusted},
    whole_file,
};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file read, octets.
const FILE_MAX: u64 = 1 << 20;
const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {wanted} in PEM: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// Why.
        error: String,
    },
    /// Others could have written it, or read a key.
    #[error("the certificate or key {0}")]
    Untrusted(#[source] Untrusted),
    /// A directory that lets others put another file in its place.
    #[error("the directory of a certificate or key, {0}")]
    UntrustedDirectory(#[source] Untrusted),
    /// A certificate cannot be made.
    #[error("a certificate that signs itself cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not belong together, or are of no use.
    #[error("the certificate {} cannot be used: {error}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        error: String,
    },
}

/// When the certificate in use ends.
#[derive(Debug, Default)]
pub struct Expiry(AtomicI64);

impl Expiry {
    /// Seconds since the Unix epoch; `None` without a certificate.
    pub fn secs(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|secs| *secs != 0)
    }
}

/// The certificate in use and where it comes from.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    expiry: Arc<Expiry>,
}

/// What connections are accepted with: the certificate, and who signs those of clients.
#[derive(Debug)]
pub struct Tls {
    certificate: Arc<Certificate>,
    client_ca: Option<PathBuf>,
    current: RwLock<Arc<ServerConfig>>,
}

/// What tells whether files have changed.
type Stamp = Vec<(u64, u64, i64, i64)>;

impl Tls {
    /// Loads what is configured; the certificate as [`Certificate::open`] does.
    ///
    /// # Errors
    /// If there is none that can be used, or the certificates that sign clients' cannot.
    pub fn open(api: &model::Api, expiry: Arc<Expiry>) -> Result<Arc<Self>, TlsError> {
        let certificate = Certificate::open(api, expiry)?;
        let client_ca = api.client_ca.clone();
        let current = RwLock::new(certificate.server_config(client_ca.as_deref())?);
        Ok(Arc::new(Self { certificate, client_ca, current }))
    }

    /// What the next connection is accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }

    /// Loads all files anew. Sessions of before cannot be resumed.
    ///
    /// # Errors
    /// If they cannot be used; all that is in use stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        // Looked at first: nothing is half taken up.
        self.certificate.server_config(self.client_ca.as_deref())?;
        self.certificate.reload()?;
        let config = self.certificate.server_config(self.client_ca.as_deref())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Reloads whenever the files change, for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut seen = self.stamp();
        let mut told = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.stamp();
            if now == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => {
                    seen = now;
                    let certificate = self.certificate.certificate.display();
                    let client_ca = self.client_ca.as_ref().map(|path| path.display().to_string());
                    tracing::info!(%certificate, client_ca, "new certificates are in use");
                }
                // Often only one of the files is new yet, or not readable yet: this is tried again until it works.
                Err(error) if told != now => {
                    tracing::warn!(%error, "the certificates in use stay");
                    told = now;
                }
                Err(_) => {}
            }
        }
    }

    /// `None` if one of the files is not there.
    fn stamp(&self) -> Option<Stamp> {
        let of = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        let files = [&self.certificate.certificate, &self.certificate.key].into_iter().chain(&self.client_ca);
        files.map(|path| of(path)).collect()
    }
}

impl Certificate {
    /// Loads the configured certificate, or the one in the state directory, which is made if there is none.
    ///
    /// # Errors
    /// If there is none that can be used.
    pub fn open(api: &model::Api, expiry: Arc<Expiry>) -> Result<Arc<Self>, TlsError> {
        let (certificate, key) = match &api.certificate {
            Some((certificate, key)) => (certificate.clone(), key.clone()),
            None => self_signed(&api.state_path)?,
        };
        let (current, ends) = load(&certificate, &key)?;
        expiry.0.store(ends, Ordering::Relaxed);
        Ok(Arc::new(Self { certificate, key, current: RwLock::new(Arc::new(current)), expiry }))
    }

    /// Loads the files anew.
    ///
    /// # Errors
    /// If they cannot be used; the certificate in use stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let (current, ends) = load(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
        self.expiry.0.store(ends, Ordering::Relaxed);
        Ok(())
    }

    /// What connections are accepted with, as the files are now.
    ///
    /// # Errors
    /// If the certificates that sign clients' cannot be used.
    fn server_config(self: &Arc<Self>, client_ca: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let unusable = |path: &Path, error: String| TlsError::Unusable { path: path.to_owned(), error };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&self.certificate, error.to_string()))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in read_chain(path)? {
                    roots.add(certificate).map_err(|error| unusable(path, error.to_string()))?;
                }
                // Whoever has none may still have a token.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| unusable(path, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(self) as _;
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The common name of a certificate's subject.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

/// Certificate chain and key from PEM files, and when the first certificate ends, seconds since the Unix epoch.
///
/// # Errors
/// If they cannot be read or do not belong together.
pub(crate) fn load(certificate: &Path, key: &Path) -> Result<(CertifiedKey, i64), TlsError> {
    let chain = read_chain(certificate)?;
    let pem = read(key, trust::secret)?;
    let content =
        |wanted, path: &Path, error: String| TlsError::Content { path: path.to_owned(), wanted, error };
    let secret = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| content("private key", key, error.to_string()))?;
    let ends = chain
        .first()
        .and_then(|first| x509_parser::parse_x509_certificate(first).ok())
        .map(|(_, parsed)| parsed.validity().not_after.timestamp())
        .ok_or_else(|| content("certificate", certificate, "it cannot be parsed".to_owned()))?;
    let certified = CertifiedKey::from_der(chain, secret, &ring::default_provider())
        .map_err(|error| TlsError::Unusable { path: certificate.to_owned(), error: error.to_string() })?;
    Ok((certified, ends))
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// If it cannot be read or holds none.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, trust::file)?;
    let content = |error: String| TlsError::Content { path: path.to_owned(), wanted: "certificate", error };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| content(error.to_string()))?;
    if chain.is_empty() { Err(content("there is none".to_owned())) } else { Ok(chain) }
}

fn read(
    path: &Path,
    trusted: fn(&Path, &fs::Metadata) -> Result<(), Untrusted>,
) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Io { action: "read", path: path.to_owned(), error };
    let mut file = fs::File::open(path).map_err(failed)?;
    // Of the open file, not of the name: nobody can put another file in its place between check and use.
    let found = file.metadata().map_err(failed)?;
    trusted(path, &found).map_err(TlsError::Untrusted)?;
    let real = path.canonicalize().map_err(failed)?;
    if let Some(directory) = real.parent() {
        let found = directory.metadata().map_err(failed)?;
        trust::holding_directory(directory, &found).map_err(TlsError::UntrustedDirectory)?;
    }
    if found.len() > FILE_MAX {
        let error = format!("it has {} octets", found.len());
        return Err(TlsError::Content { path: path.to_owned(), wanted: "certificate or key", error });
    }
    let mut octets = Vec::new();
    file.read_to_end(&mut octets).map_err(failed)?;
    Ok(octets)
}

/// Certificate and key in the state directory, made if there are none. The key is written first: a certificate without
/// its key would stop the next start.
fn self_signed(folder: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if crate::config::is_domain_name(&host) {
        names.push(host.clone());
    }
    let mut parameters = rcgen::CertificateParams::new(names)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, host);
    // Not for ever, but nobody is to be locked out by a forgotten date; the end is a figure in the metrics.
    let today = crate::time::Timestamp(crate::server::clock::wall_ns()).to_string();
    let year: i32 = today.get(..4).and_then(|year| year.parse().ok()).unwrap_or(2024);
    parameters.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(year + 10, 1, 1);
    let pair = rcgen::KeyPair::generate()?;
    let made = parameters.self_signed(&pair)?;
    let write = |path: &Path, content: &str, mode| {
        whole_file::replace(path, content.as_bytes(), mode).map_err(|error| TlsError::Io {
            action: "write",
            path: path.to_owned(),
            error,
        })
    };
    write(&key, &pair.serialize_pem(), 0o600)?;
    write(&certificate, &made.pem(), 0o640)?;
    tracing::info!(certificate = %certificate.display(), "made a certificate that signs itself");
    Ok((certificate, key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn api(folder: &Path) -> model::Api {
        model::Api { state_path: folder.to_owned(), ..model::Api::default() }
    }

    #[test]
    fn a_certificate_is_made_once_and_reloaded_when_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let expiry = Arc::<Expiry>::default();
        let first = Certificate::open(&api(folder.path()), Arc::clone(&expiry)).unwrap();
        let shown = |of: &Arc<Certificate>| of.current.read().unwrap().cert.first().unwrap().clone();
        let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(expiry.secs().unwrap() > 1_700_000_000);
        let again = Certificate::open(&api(folder.path()), Arc::clone(&expiry)).unwrap();
        assert_eq!(shown(&first), shown(&again), "not made anew");

        let other = tempfile::tempdir().unwrap();
        let replacement = Certificate::open(&api(other.path()), Arc::default()).unwrap();
        fs::copy(other.path().join(CERTIFICATE_FILE), folder.path().join(CERTIFICATE_FILE)).unwrap();
        assert!(first.reload().is_err(), "the key is still the old one's");
        assert_eq!(shown(&first), shown(&again));
        fs::copy(other.path().join(KEY_FILE), folder.path().join(KEY_FILE)).unwrap();
        first.reload().unwrap();
        assert_eq!(shown(&first), shown(&replacement));
    }

    /// Somebody who signs clients' certificates: theirs, and one of a client with its key.
    fn authority(name: &str) -> (String, CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let own = parameters.self_signed(&key).unwrap().pem();
        let client = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(parameters, key);
        let signed = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
        let signed = signed.signed_by(&client, &issuer).unwrap();
        (own, signed.der().clone(), PrivateKeyDer::try_from(client.serialize_der()).unwrap())
    }

    #[tokio::test]
    async fn who_signs_clients_is_read_again_and_what_makes_no_sense_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("clients.pem");
        let (former, latter) = (authority("former"), authority("latter"));
        fs::write(&ca, &former.0).unwrap();
        let api = model::Api { client_ca: Some(ca.clone()), ..api(folder.path()) };
        let tls = Tls::open(&api, Arc::default()).unwrap();
        let ours = read_chain(&folder.path().join(CERTIFICATE_FILE)).unwrap().remove(0);
        let let_in = |(_, certificate, key): &(String, CertificateDer<'static>, PrivateKeyDer<'static>)| {
            let mut roots = RootCertStore::empty();
            roots.add(ours.clone()).unwrap();
            let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let (near, far) = tokio::io::duplex(1 << 16);
            let acceptor = tls.acceptor();
            async move {
                let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
                let (accepted, _) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
                accepted.is_ok()
            }
        };
        assert_eq!((let_in(&former).await, let_in(&latter).await), (true, false));
        let seen = tls.stamp();
        fs::write(&ca, "torn").unwrap();
        assert_ne!(tls.stamp(), seen, "a change of the file is noticed");
        assert!(tls.reload().unwrap_err().to_string().contains("clients.pem"));
        assert_eq!((let_in(&former).await, let_in(&latter).await), (true, false), "what was in use stays");
        fs::write(&ca, &latter.0).unwrap();
        tls.reload().unwrap();
        assert_eq!((let_in(&former).await, let_in(&latter).await), (false, true));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CERTIFICATE_FILE), "x").unwrap();
        fs::write(folder.path().join(KEY_FILE), "x").unwrap();
        let error = Certificate::open(&api(folder.path()), Arc::default()).unwrap_err().to_string();
        assert!(error.contains("certificate.pem") && error.contains("no certificate"), "{error}");
    }
}
