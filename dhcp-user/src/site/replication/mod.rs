//! How leases become known to the other nodes: the change log, and updates on the wire.

mod codec;
mod columns;
mod log;

pub use codec::{Identity, UPDATES_MAX, Update, WireError, compress, decode, decompress, encode};
pub use log::{ChangeLog, Changed, Cursor, RECEIVERS_MAX};
