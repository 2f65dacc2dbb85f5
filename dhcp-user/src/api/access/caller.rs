//! Who asks: where the connection comes from, and who its holder has proved to be.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::local_user::LocalUser;
use crate::config::model::{ApiClient, ApiRole};

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// On the local socket: its permissions have let them in. Which user, if the kernel tells.
    Local(Option<LocalUser>),
    /// On the network.
    Remote {
        /// Their address.
        address: IpAddr,
        /// The common name of the certificate they proved to hold.
        certificate: Option<String>,
    },
}

/// By what a caller is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    Nothing,
    /// They are on the local socket.
    LocalSocket,
    /// The token with this identifier.
    Token(String),
    /// The certificate of this name.
    Certificate(String),
}

/// Who asks, and what they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For the record of changes.
    pub name: String,
    /// What they may do; `None` for somebody unknown, who gets what is open to all.
    pub role: Option<ApiRole>,
    /// The only subnets they may see and change; empty for all.
    pub subnets: Vec<Ipv4Net>,
    /// By what that is known.
    pub proof: Proof,
}

impl Caller {
    /// Whoever is on the local socket.
    pub fn local(user: Option<&LocalUser>) -> Self {
        let name = match user {
            Some(user) => format!("local socket, {user}"),
            None => "local socket".to_owned(),
        };
        Self { name, role: Some(ApiRole::Admin), subnets: Vec::new(), proof: Proof::LocalSocket }
    }

    /// Whoever holds a certificate that the configuration names.
    pub fn of_certificate(client: &ApiClient) -> Self {
        Self {
            name: format!("certificate {}", client.name),
            role: Some(client.role),
            subnets: client.subnets.clone(),
            proof: Proof::Certificate(client.name.clone()),
        }
    }

    /// Somebody unknown.
    pub fn nobody() -> Self {
        Self { name: "anybody".to_owned(), role: None, subnets: Vec::new(), proof: Proof::Nothing }
    }

    /// Whether they may see and change an address.
    pub fn may_see(&self, address: Ipv4Addr) -> bool {
        self.subnets.is_empty() || self.subnets.iter().any(|subnet| subnet.contains(&address))
    }

    /// Whether they may see and change all of a prefix.
    pub fn may_see_all(&self, prefix: &Ipv4Net) -> bool {
        self.subnets.is_empty() || self.subnets.iter().any(|subnet| subnet.contains(prefix))
    }
}
