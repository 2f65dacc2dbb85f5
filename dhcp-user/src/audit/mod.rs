//! The audit log: who held which address when, for questions asked months later, by people who were not there.
//!
//! The core says what happened ([`AuditEvent`]), the [`Journal`] decides which of it is a line and keeps account of what
//! could not be written, `files` rotates, and [`history`] reads it all back. Lines are written on the service's thread, into the
//! page cache unless `dhcp.audit.sync` wants more. What must not be here: decisions about leases, and anything the service
//! would have to stop for.

mod event;
mod files;
pub mod history;
mod journal;
mod line;

pub use event::{AuditEvent, End, Granter};
pub use files::{FilesError, list};
pub use journal::{AuditCounts, Journal, Known};
pub use line::{Kind, Line, Moment};

#[cfg(test)]
mod tests;
