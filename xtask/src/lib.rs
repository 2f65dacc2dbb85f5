//! What the lab of `cargo xtask run` shares with the end-to-end tests.

pub mod xdp_pass;
