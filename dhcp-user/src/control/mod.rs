//! The local control socket: what the command line asks a running service, as HTTP and JSON over a Unix socket.
//!
//! The socket's permissions (owner and group) say who may ask. [`server`] makes it, [`crate::api`] answers, [`client`] asks.

pub mod client;
pub mod server;
