//! Sites: several nodes, one address space. Who may allocate from which block ([`blocks`], [`delegation`], [`authority`]), and how what
//! was promised becomes known to the others ([`replication`]); and the [`node`] that does both. `docs/sites.md` says why it is
//! safe.
//!
//! What must not be here: packets, DHCP decisions, clocks: time is told.

pub mod authority;
pub mod blocks;
pub mod delegation;
pub mod node;
pub mod replication;
