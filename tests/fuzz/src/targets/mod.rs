//! One module for each thing that takes octets from outside.

pub mod api;
pub mod config;
pub mod engine;
pub mod frame;
pub mod store;
pub mod sync;
