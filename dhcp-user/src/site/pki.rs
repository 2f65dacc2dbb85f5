//! A certificate authority for the nodes of a lab or a small site: its own, so that no other authority can make a node.
//!
//! `pki init` makes the authority, `pki node NAME` a folder with all that one node needs. Keys are for their owner alone.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use crate::{server::clock, whole_file};

/// The authority's certificate, beside its key and in every node's folder.
pub const CA_FILE: &str = "ca.pem";
/// The authority's key.
pub const CA_KEY_FILE: &str = "ca-key.pem";
/// A node's certificate.
pub const CERTIFICATE_FILE: &str = "certificate.pem";
/// A node's key.
pub const KEY_FILE: &str = "key.pem";
/// How long an authority is good for, days.
const CA_DAYS: u32 = 3_650;
/// How far before now a certificate begins to be good: clocks differ.
const EARLIER: Duration = Duration::from_secs(86_400);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
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
    /// There is an authority already, and every node's certificate would be worth nothing with another.
    #[error("{} is an authority's already; to begin anew, remove it and every node's certificate", path.display())]
    Exists {
        /// Its certificate.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no authority in {}: make one by `simple-dhcpd-datacenter pki init`", path.display())]
    NoAuthority {
        /// Where.
        path: PathBuf,
    },
    /// The name is none.
    #[error(
        "{0:?} is neither a host name nor an IP address: give the node's name as in dhcp.datacenter.multi_site.sites"
    )]
    Name(String),
    /// No certificate can be made of this.
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes an authority in a folder, which is made too.
///
/// # Errors
/// If there is one already, or it cannot be written.
pub fn init(folder: &Path) -> Result<(), PkiError> {
    let path = folder.join(CA_FILE);
    if path.exists() {
        return Err(PkiError::Exists { path });
    }
    make_folder(folder)?;
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = named("simple-dhcpd-datacenter nodes");
    // It signs nodes, and no other authorities.
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let lasts = Duration::from_secs(u64::from(CA_DAYS) * 86_400);
    valid_for(&mut parameters, clock::wall_ns(), lasts);
    let certificate = parameters.self_signed(&key)?;
    // The key first: a certificate without its key would be in the way of the next attempt.
    write(&folder.join(CA_KEY_FILE), &key.serialize_pem(), 0o600)?;
    write(&path, &certificate.pem(), 0o640)
}

/// Makes key and certificate of a node in `out`, with the authority's certificate beside them, good for `lasts`. What is
/// there is replaced: a daemon that uses it goes over to it by itself.
///
/// # Errors
/// If there is no authority in `folder`, the name is none, or the files cannot be written.
pub fn node(folder: &Path, name: &str, out: &Path, lasts: Duration) -> Result<(), PkiError> {
    node_at(folder, name, out, clock::wall_ns(), lasts)
}

/// As [`node`], at another moment than now: nanoseconds since the Unix epoch.
///
/// # Errors
/// As [`node`].
pub fn node_at(
    folder: &Path,
    name: &str,
    out: &Path,
    now_wall_ns: u64,
    lasts: Duration,
) -> Result<(), PkiError> {
    if name.parse::<std::net::IpAddr>().is_err() && !crate::config::is_domain_name(name) {
        return Err(PkiError::Name(name.to_owned()));
    }
    let ca_path = folder.join(CA_FILE);
    if !ca_path.exists() {
        return Err(PkiError::NoAuthority { path: folder.to_owned() });
    }
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| PkiError::Io {
            action: "read",
            path: path.to_owned(),
            error,
        })
    };
    let ca = read(&ca_path)?;
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&read(&folder.join(CA_KEY_FILE))?)?)?;
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new([name.to_owned()])?;
    parameters.distinguished_name = named(name);
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Every node calls and is called.
    parameters.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    parameters.use_authority_key_identifier_extension = true;
    valid_for(&mut parameters, now_wall_ns, lasts);
    let certificate = parameters.signed_by(&key, &issuer)?;
    make_folder(out)?;
    write(&out.join(CA_FILE), &ca, 0o640)?;
    write(&out.join(KEY_FILE), &key.serialize_pem(), 0o600)?;
    write(&out.join(CERTIFICATE_FILE), &certificate.pem(), 0o640)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid_for(parameters: &mut CertificateParams, now_wall_ns: u64, lasts: Duration) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_nanos(now_wall_ns);
    parameters.not_before = now - EARLIER;
    parameters.not_after = now + lasts;
}

fn make_folder(path: &Path) -> Result<(), PkiError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| PkiError::Io { action: "make", path: path.to_owned(), error })
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), PkiError> {
    whole_file::replace(path, content.as_bytes(), mode).map_err(|error| PkiError::Io {
        action: "write",
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn an_authority_is_made_once_and_keys_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("pki");
        let refused = node(&ca, "a.example", &folder.path().join("a"), DAY).unwrap_err();
        assert!(matches!(refused, PkiError::NoAuthority { .. }), "{refused}");
        init(&ca).unwrap();
        assert!(matches!(init(&ca), Err(PkiError::Exists { .. })));
        let out = folder.path().join("a");
        for name in ["a.example", "198.18.0.1", "2001:db8::1"] {
            node(&ca, name, &out, DAY).unwrap();
        }
        assert!(matches!(node(&ca, "a b", &out, DAY), Err(PkiError::Name(_))));
        for (file, mode) in
            [(ca.join(CA_KEY_FILE), 0o600), (out.join(KEY_FILE), 0o600), (out.join(CERTIFICATE_FILE), 0o640)]
        {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, mode, "{}", file.display());
        }
        assert_eq!(fs::metadata(&ca).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
