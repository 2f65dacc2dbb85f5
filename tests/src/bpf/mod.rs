//! A machine that runs the XDP programs instruction by instruction and counts: how many instructions a frame takes is
//! the same on every processor and under every load, which no clock can say.
//!
//! * [`object`]: the object file, relocated as a loader does it.
//! * [`memory`]: packet, stack, context and maps at addresses of their own; every access is checked.
//! * [`machine`]: the instructions. [`helper`]: the few functions of the kernel that the programs call.
//!
//! It stands for the kernel only as far as our programs go: arrays, XDP, no tail calls, no atomics. What it does not know
//! is an error, never a guess.

pub mod helper;
pub mod machine;
pub mod memory;
pub mod object;

pub use self::{
    machine::{Machine, Run},
    object::Object,
};

/// Why a program cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Outside of everything there is.
    #[error("{octets} octets at {at:#x} are in no region")]
    Memory {
        /// Where.
        at: u64,
        /// How much.
        octets: usize,
    },
    /// An instruction this machine does not know.
    #[error("instruction {at} has the unknown code {code:#04x}")]
    Unknown {
        /// Its index.
        at: usize,
        /// Its code.
        code: u8,
    },
    /// A jump out of the program.
    #[error("there is no instruction {0}")]
    NoInstruction(i64),
    /// A helper this machine does not have.
    #[error("the program calls helper {0}, which this machine does not have")]
    Helper(i32),
    /// It goes on and on.
    #[error("more than {0} instructions")]
    Endless(u64),
    /// Calls in calls in calls.
    #[error("calls more than {0} deep")]
    Deep(usize),
    /// There is no such map.
    #[error("there is no map number {0}")]
    NoMap(u64),
}
