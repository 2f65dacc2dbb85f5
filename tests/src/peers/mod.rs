//! Other DHCP servers beside ours, on the same ground: `cargo xtask bench peers` and `bench storm`.
//!
//! * [`ground`]: the namespaces and cables, with a router in between that relays.
//! * [`server`]: starting each server; [`config`]: the same subnet, pool, options and lease time in each one's words;
//!   [`preload`]: leases in each one's own lease file.
//! * [`cpu`]: what answering costs; [`measure`]: rates, latencies, costs; [`added`]: what ours adds to a mirror's latency; [`perfdhcp`]: the same
//!   by another tool; [`report`]: all of it for people and programs.

pub mod added;
pub mod config;
pub mod cpu;
pub mod ground;
pub mod measure;
pub mod perfdhcp;
pub mod preload;
pub mod report;
pub mod server;
