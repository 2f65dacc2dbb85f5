//! The load generator behind `cargo xtask load`: clients by the thousand on one cable, every reply looked at.
//!
//! * [`message`]: what clients send; [`reply`]: what they accept, and what is wrong with the rest.
//! * [`batch_socket`]: frames out and in, many to a system call.
//! * [`fleet`]: the clients and the exchanges they are in; [`pace`]: when they begin and when they ask again; [`plan`]: both,
//!   for a run.
//! * [`live`]: renewals by the kernel's own frame generator, for servers faster than any socket.
//! * [`figures`]: what came of it.
//! * [`abi`]: what the kernel's side of [`live`] shares with this one.

pub mod abi;
pub mod batch_socket;
pub mod figures;
pub mod fleet;
pub mod live;
pub mod message;
pub mod pace;
pub mod plan;
pub mod reply;

/// The hardware address of client `number`: locally administered.
pub use crate::bench::abi::mac;

/// The client a hardware address belongs to.
pub fn client_of(mac: &[u8]) -> Option<u32> {
    match *mac {
        [0x06, 0, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}
