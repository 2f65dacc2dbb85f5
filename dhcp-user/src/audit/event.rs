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
    /// Another node of the cluster, or its kernel program: which of the two is on record there.
    Node,
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
        /// Who granted.
        by: Granter,
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
        /// [`Granter::Node`] if it ended at another node: manner and moment are what can be told from what that one says.
        by: Option<Granter>,
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

impl AuditEvent {
    /// Whether it happened even if what is to be durable with it finds no room on the disk. What the daemon would grant it
    /// does not grant then; what kernel or other nodes granted, and what ended, is so all the same.
    pub const fn stands_unsaved(&self) -> bool {
        match self {
            Self::Granted { by, .. } | Self::Renewed { by, .. } => !matches!(by, Granter::Daemon),
            Self::Ended { .. } | Self::QuarantineEnded { .. } | Self::Conflict { .. } => true,
        }
    }
}
