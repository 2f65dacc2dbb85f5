//! `dhcp.api`, as written: where the management API listens, with which certificate, and who client certificates are.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Object;
use crate::config::model::ApiRole;

/// The management API over HTTPS.
#[derive(Clone, Debug, Deserialize, JsonSchema, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Api {
    /// Whether the API is served over the network; the local socket serves it anyway.
    pub(in crate::config) enabled: bool,
    /// Address and port.
    pub(in crate::config) listen: String,
    /// HTTPS; `false` (HTTP) is taken on loopback addresses only.
    pub(in crate::config) tls: bool,
    /// The certificate chain, PEM; read again when it changes. Default: one that signs itself, made on first start.
    pub(in crate::config) certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub(in crate::config) key: Option<PathBuf>,
    /// Certificates that sign clients' certificates, PEM. Without it clients are not asked for one.
    pub(in crate::config) client_ca: Option<PathBuf>,
    /// What clients with a certificate may do; one that is not named here may do nothing.
    pub(in crate::config) client_certificates: Vec<Object<ClientCertificate>>,
    /// The directory of certificate, key, tokens and record of changes. Default: `api` in the store's directory.
    pub(in crate::config) state_path: Option<PathBuf>,
    /// Address and port of a listener of its own for `/metrics`, `/healthz` and `/readyz` over HTTP, without a token.
    pub(in crate::config) metrics_listen: Option<String>,
    /// Requests one address may make in a second, in the long run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) requests_per_sec: u32,
}

/// What the holder of a client certificate may do.
#[derive(Clone, Debug, Deserialize, JsonSchema, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClientCertificate {
    /// The common name of the certificate's subject.
    pub(in crate::config) name: String,
    /// `viewer`, `operator` or `admin`.
    pub(in crate::config) role: ApiRole,
    /// The only subnets whose leases it may see and change. Default: all.
    #[serde(default)]
    pub(in crate::config) subnets: Vec<String>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "0.0.0.0:8081".to_owned(),
            tls: true,
            certificate: None,
            key: None,
            client_ca: None,
            client_certificates: Vec::new(),
            state_path: None,
            metrics_listen: None,
            requests_per_sec: 1_000,
        }
    }
}
