//! TLS 1.3 between nodes: both sides show a certificate that the nodes' own authority signed, and its names are the
//! node's identity. The files are read again when they change; connections there are go on.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::SingleCertAndKey,
    version::TLS13,
};
use x509_parser::extensions::GeneralName;

use crate::{
    api::tls::{TlsError, load, read_chain},
    config::model::SiteLink,
};

/// What is spoken inside: nobody takes a link for a web page.
const ALPN: &[u8] = b"simple-dhcpd-sites";

/// Certificates in use, for connections to come.
#[derive(Debug)]
pub struct Tls {
    files: SiteLink,
    me: String,
    current: RwLock<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    ends_secs: i64,
    stamp: Stamp,
}

/// What tells whether files have changed.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

impl Tls {
    /// Loads certificate, key and authority. The certificate must be good for the node `me`, or nobody would talk to it.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub fn open(files: &SiteLink, me: &str) -> Result<Self, TlsError> {
        let current = read(files, me)?;
        Ok(Self { files: files.clone(), me: me.to_owned(), current: RwLock::new(current) })
    }

    /// Loads the files anew if they have changed; whether they had.
    ///
    /// # Errors
    /// If they cannot be used; what is in use stays.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        if stamp(&self.files) == self.current().stamp {
            return Ok(false);
        }
        let fresh = read(&self.files, &self.me)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For a connection that comes in.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.current().server
    }

    /// For a connection to another node.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.current().client
    }

    /// When this node's certificate ends, seconds since the Unix epoch.
    pub fn ends_secs(&self) -> i64 {
        self.current().ends_secs
    }
}

fn stamp(files: &SiteLink) -> Stamp {
    let of = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    vec![of(&files.certificate), of(&files.key), of(&files.ca)]
}

fn read(files: &SiteLink, me: &str) -> Result<Current, TlsError> {
    // Before the files: if they change while they are read, they are read again.
    let stamp = stamp(files);
    let unusable = |path: &Path, error: String| TlsError::Unusable { path: path.to_owned(), error };
    let chain = read_chain(&files.certificate)?;
    if !chain.first().is_some_and(|certificate| is_for(certificate, me)) {
        let error =
            format!("it is not made out to {me}: make one by `simple-dhcpd-datacenter pki node {me}`");
        return Err(unusable(&files.certificate, error));
    }
    let (own, ends_secs) = load(&files.certificate, &files.key)?;
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(&files.ca)? {
        roots.add(certificate).map_err(|error| unusable(&files.ca, error.to_string()))?;
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable(&files.ca, error.to_string()))?;
    let failed = |error: rustls::Error| unusable(&files.certificate, error.to_string());
    let own = Arc::new(SingleCertAndKey::from(own));
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&own) as _);
    server.alpn_protocols = vec![ALPN.to_vec()];
    // Every connection shows its certificate: what was true of an earlier one is not taken over.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_client_cert_resolver(own);
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    Ok(Current { server: Arc::new(server), client: Arc::new(client), ends_secs, stamp })
}

/// Whether a certificate is made out to this node: a name or an address among its alternative names. Which names there
/// are is all that counts; patterns such as `*.example.com` are nobody's identity.
pub fn is_for(certificate: &CertificateDer<'_>, node: &str) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    let address = node.parse::<std::net::IpAddr>().ok().map(|address| match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    });
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) => name.eq_ignore_ascii_case(node),
        GeneralName::IPAddress(octets) => address.as_deref() == Some(*octets),
        _ => false,
    })
}

/// A node's name as TLS asks for it.
pub fn server_name(node: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(node.to_owned()).ok()
}
