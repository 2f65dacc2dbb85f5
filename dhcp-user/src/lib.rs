//! The daemon of `simple-dhcpd-datacenter` as a library, so that tests, benches and the simulator run the real thing.
//!
//! Rooms: [`config`] (the JSON file and the validated model), [`engine`] (the pure DHCP engine), [`lease`] (lease
//! table, allocator, durable store), [`fastpath`] (the only user of `aya`), [`net`] (frames in and out),
//! [`api`] (management over HTTPS and the local socket), [`control`] (that socket and who asks on it), [`audit`] (who
//! held what when), [`privilege`], [`probe`] (is an address in use?), [`cli`], [`time`] (the one timeline all promises
//! are on).

pub mod api;
pub mod audit;
pub mod cli;
pub mod config;
pub mod control;
pub mod engine;
pub mod fastpath;
pub mod lease;
pub mod net;
pub mod privilege;
pub mod probe;
pub mod server;
pub mod site;
pub mod time;
pub mod timeline;
pub mod whole_file;
