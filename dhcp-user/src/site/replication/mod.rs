//! How leases become known to the other nodes: the change log.

mod log;

pub use log::{ChangeLog, Changed, Cursor, RECEIVERS_MAX};
