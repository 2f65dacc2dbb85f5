//! The kernel fast path: the only room that uses `aya`.
//!
//! * [`render`]: an answer from the reply the engine would send, proven by replaying it on the host.
//! * [`predict`]: the renewals a client is going to send, from the request it has just sent.
//! * [`answers`]: the table of answers that leases share.
//! * [`layout`]: which address has which index in the lease map.
//! * [`lease_map`]: what a running daemon asks of the maps.
//! * [`kernel`]: the maps and programs of a running daemon; [`predecessor`]: what is left of those before.
//! * [`attach`], [`pins`], [`pin_set`]: links and maps and what keeps them; [`memory`], [`grace`]: mapped map memory, and the wait until no
//!   program uses what was withdrawn.
//! * `foresee`: what the program would make of a frame, without running it.
//! * [`tap`]: captures of what the kernel answers.
//! * [`trial`]: one run of a loaded program over one frame, for tests and for shadow checks.
//!
//! No DHCP decision is made here.

pub mod answers;
pub mod attach;
pub mod error;
mod foresee;
pub mod grace;
pub mod kernel;
pub mod layout;
pub mod lease_map;
mod memory;
pub mod pin_set;
pub mod pins;
pub mod predecessor;
pub mod predict;
pub mod render;
pub mod stored;
pub mod tap;
pub mod trial;
