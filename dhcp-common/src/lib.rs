//! What the kernel program and the daemon share.
//!
//! * [`abi`]: the map layouts. The daemon writes [`abi::LeaseEntry`], [`abi::Answer`], [`abi::Block`] and
//!   [`abi::Control`]; the kernel reads them and writes only the renewal mark of an entry and the counters.
//! * [`request`]: a frame is, or is not, a BOOTP request for us.
//! * [`renewal`]: the decision: which of the reasons in [`reason`] a frame meets, and where the answer is.
//! * [`reply`]: the answer written over the request.
//! * [`limit`]: how much of what is not answered may go up.
//! * [`frame`]: the packet as a trait, with a host backend; the kernel's backend is in `dhcp-ebpf`.
//!
//! Everything is pure and compiles for both sides, so what the tests and the simulator run is what the kernel runs.
#![no_std]
#![warn(clippy::indexing_slicing)]

pub mod abi;
pub mod blocks;
pub mod capture;
pub mod checksum;
pub mod fingerprint;
pub mod frame;
pub mod lease_cell;
pub mod limit;
pub mod reason;
pub mod renewal;
pub mod reply;
pub mod request;
pub mod wire;
