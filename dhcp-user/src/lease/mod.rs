//! Leases: what is kept of one ([`record`], and what is read of it: [`relay_information`]), the table of all of them, the allocator and the durable store
//! ([`store`]).

pub mod allocate;
pub mod octets;
pub mod record;
pub mod relay_information;
pub mod store;
pub mod table;
