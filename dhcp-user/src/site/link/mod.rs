//! Links between nodes: one connection to each of the others, both ends known by certificate, over which everything goes.
//!
//! * [`greet`]: TLS, hellos and verdicts. [`hello`]: what is said; [`terms`]: what two configurations must agree in.
//! * [`connection`]: a link at work. [`wire`]: messages on lanes, in chunks.
//! * [`shaper`]: the cap on what is sent. [`round_trip`]: what the other node's clock shows.
//! * [`tls`]: certificates, read again when they change. [`counts`]: what is counted, and told once.
//! * [`shared`]: what all links share, and the way to send.
//! * [`reach`]: calling and listening.

pub mod connection;
pub mod counts;
pub mod greet;
pub mod hello;
pub mod reach;
pub mod round_trip;
pub mod shaper;
pub mod shared;
pub mod terms;
pub mod tls;
pub mod wire;

#[cfg(test)]
mod tests;
