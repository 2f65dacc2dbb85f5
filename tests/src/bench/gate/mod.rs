//! `cargo xtask bench gate`: costs that are the same in every run, compared with those in the tree, so that what makes
//! the product slower is seen before it is merged.
//!
//! * [`programs`]: what the kernel says of the programs: instructions verified and translated, octets of machine code.
//! * [`executed`]: instructions that frames take through the XDP program, counted by [`crate::bpf`].
//! * [`steps`]: what the daemon does for a client, as instructions (valgrind) and allocations ([`count`]).
//! * [`subject`]: the daemon's mind with some clients, which both are measured on.
//! * [`baseline`]: the comparison.

pub mod baseline;
pub mod count;
pub mod executed;
pub mod programs;
pub mod steps;
pub mod subject;
