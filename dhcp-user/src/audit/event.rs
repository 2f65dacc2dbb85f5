//! What happened to an address, as the core says it: before it is known whether it becomes a line.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    lease::record::{HardwareAddress, LeaseRecord},
    time::Timestamp,
};

/// Who granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Granter {
    /// The daemon.
    Daemon,
    /// The kernel program.
    Kernel,
}

/// How a holding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its time ran out.
    Expired,
    /// Its client gave it back (RELEASE), or took another address.
    Released,
    /// Its client found somebody else there (DECLINE).
    Declined,
}

/// Something that happened to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// A client was given the address.
    Granted {
        /// The lease as granted.
        lease: Box<LeaseRecord>,
        /// When.
        at: Timestamp,
    },
    /// Its holder was granted more time. Without the record: a million of these may come at once.
    Renewed {
        /// The address.
        address: Ipv4Addr,
        /// Who granted.
        by: Granter,
        /// When, really: the moment of the kernel's mark if it was the kernel.
        at: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// Its holder holds it no more.
    Ended {
        /// The lease as it was.
        lease: Box<LeaseRecord>,
        /// How it ended.
        how: End,
        /// When the holding ended, which may be before it was noticed.
        at: Timestamp,
    },
    /// A quarantined address may be given again.
    QuarantineEnded {
        /// The address.
        address: Ipv4Addr,
        /// When.
        at: Timestamp,
    },
    /// An address that nobody holds was found in use.
    Conflict {
        /// The address.
        address: Ipv4Addr,
        /// Who answered there, if that is known.
        hardware: Option<HardwareAddress>,
        /// When.
        at: Timestamp,
        /// Until when nobody is given it.
        until: Timestamp,
    },
}
