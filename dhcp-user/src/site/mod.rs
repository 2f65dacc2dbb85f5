//! Sites: several nodes, one address space. Who may allocate from which block ([`blocks`], [`delegation`], [`authority`]), and how what
//! was promised becomes known to the others ([`replication`]); and the [`node`] that does both. `docs/sites.md` says why it is
//! safe.
//!
//! How nodes reach and know one another: [`roster`], [`link`], [`pki`]. Who can go on when some are lost: [`majority`].
//!
//! What must not be here: packets, DHCP decisions. In [`node`], [`delegation`] and [`replication`] there are no clocks either: time
//! is told.

pub mod authority;
pub mod blocks;
pub mod consensus;
pub mod delegation;
pub mod driver;
pub mod link;
pub mod majority;
pub mod node;
pub mod pki;
pub mod replication;
pub mod roster;
