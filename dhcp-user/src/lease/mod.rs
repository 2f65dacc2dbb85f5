//! Leases: what is kept of one ([`record`]), the table of all of them, the allocator and the durable store
//! ([`store`]).

pub mod allocate;
pub mod octets;
pub mod record;
pub mod store;
pub mod table;
