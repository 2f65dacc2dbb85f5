//! How leases become known to the other nodes: the change log, updates on the wire, and what they make of a standby's records.

mod book;
mod codec;
mod columns;
mod dictionary;
mod log;
mod milestone;
mod replica;
mod template;

pub use book::{Asked, Book, TEMPLATES_MAX};
pub use codec::{
    BATCH_OCTETS_MAX, Identity, PLAIN_OCTETS_MAX, UPDATES_MAX, Update, WireError, compress, decode,
    decompress, encode,
};
pub use columns::{Reader, put_number};
pub use log::{ChangeLog, Changed, Cursor, RECEIVERS_MAX};
pub use milestone::Milestone;
pub use replica::updated;
pub use template::{TEMPLATE_OCTETS_MAX, Template, Way};
