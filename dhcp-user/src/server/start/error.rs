//! Why the service cannot start, in the operator's words.

use std::net::Ipv4Addr;

use crate::{
    audit::FilesError,
    fastpath::error::FastPathError,
    lease::store::StoreError,
    net::interface::InterfaceError,
    privilege::capability::PrivilegeError,
    server::{keeper::KeeperError, takeover::RememberError},
    site::roster::RosterError,
    timeline::TimelineError,
};

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No interface is configured.
    #[error("no interface is configured: name at least one in dhcp.interfaces")]
    NoInterface,
    /// The reservations made by the API and the configuration are too much together.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// An interface cannot be served.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The address found on an interface is one that clients are given.
    #[error(
        "{interface} has the address {address}, which pools give to clients: take it out of dhcp.subnets' pools"
    )]
    AddressInPool {
        /// The interface.
        interface: String,
        /// Its address.
        address: Ipv4Addr,
    },
    /// Another program has the DHCP server port.
    #[error(
        "UDP port 67 on {interface} is taken: another DHCP server is running (`ss -lunp 'sport = 67'` names it)"
    )]
    PortTaken {
        /// The interface.
        interface: String,
    },
    /// A socket was refused.
    #[error("no {what} on {interface}: {error}{}", privileges(error))]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The interface.
        interface: String,
        /// Why.
        error: std::io::Error,
    },
    /// The store was refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The timeline cannot be resumed.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The kernel program would go by another clock.
    #[error(
        "the boot clock of this process is {by_secs} s off the machine's, by which the kernel program goes (a time \
         namespace, see time_namespaces(7)): what is promised would not be what is kept. Run outside of it, or with \
         dhcp.fastpath.enabled false"
    )]
    BootClockOff {
        /// By so many seconds.
        by_secs: i64,
    },
    /// It is not known which clock this process has.
    #[error(
        "cannot tell this process's clocks from the machine's (/proc/self/timens_offsets): {0}; is /proc mounted?"
    )]
    Clocks(#[source] std::io::Error),
    /// The kernel refused.
    #[error(transparent)]
    FastPath(#[from] FastPathError),
    /// There is no randomness.
    #[error("the kernel gives no random key: {0}")]
    Random(String),
    /// The store's content cannot be taken up.
    #[error(transparent)]
    Remember(#[from] RememberError),
    /// Store or kernel failed while an earlier daemon's renewals were taken note of.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// It is not clear which of several nodes this is.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The audit log cannot be kept.
    #[error(transparent)]
    Audit(#[from] FilesError),
    /// More privileges would stay than are needed.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// A thread was refused.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

fn privileges(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            " (run as root, or with CAP_NET_RAW, CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_BPF and CAP_PERFMON)"
        }
        _ => "",
    }
}
