//! What the lab of `cargo xtask run` shares with the end-to-end tests and the lab of a cluster.

pub mod signals;
pub mod xdp_pass;
