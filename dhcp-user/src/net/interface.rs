//! What the kernel knows of an interface.

use std::net::Ipv4Addr;

use nix::{ifaddrs::getifaddrs, net::if_::if_nametoindex};

/// An interface that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 addresses, in the kernel's order.
    pub addresses: Vec<Ipv4Addr>,
}

/// Why an interface cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// There is none of that name.
    #[error("there is no interface {name}: `ip link` lists those there are{}", namespace_hint())]
    Missing {
        /// The name.
        name: String,
    },
    /// The kernel does not list interfaces.
    #[error("the interfaces cannot be listed: {0}")]
    List(#[source] nix::Error),
    /// It is not Ethernet.
    #[error("{name} has no Ethernet address: only Ethernet interfaces can be served")]
    NotEthernet {
        /// The name.
        name: String,
    },
    /// It has no IPv4 address, and none is configured.
    #[error("{name} has no IPv4 address: give it one, or set `address` for it in dhcp.interfaces")]
    NoAddress {
        /// The name.
        name: String,
    },
}

const fn namespace_hint() -> &'static str {
    " (in this network namespace)"
}

impl InterfaceFacts {
    /// Looks an interface up.
    ///
    /// # Errors
    /// If there is none of that name, or it is not Ethernet.
    pub fn of(name: &str) -> Result<Self, InterfaceError> {
        let ifindex = if_nametoindex(name).map_err(|_| InterfaceError::Missing { name: name.to_owned() })?;
        let mut mac = None;
        let mut addresses = Vec::new();
        for entry in getifaddrs().map_err(InterfaceError::List)?.filter(|entry| entry.interface_name == name)
        {
            let Some(address) = entry.address else { continue };
            if let Some(ipv4) = address.as_sockaddr_in() {
                addresses.push(ipv4.ip());
            } else if let Some(link) = address.as_link_addr() {
                // An address of another kind of link is not an Ethernet one, even if as long.
                mac = link.addr().filter(|_| link.hatype() == libc::ARPHRD_ETHER);
            }
        }
        let mac = mac.ok_or_else(|| InterfaceError::NotEthernet { name: name.to_owned() })?;
        Ok(Self { name: name.to_owned(), ifindex, mac, addresses })
    }
}
