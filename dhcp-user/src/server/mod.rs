//! The running service: the pure engine between frames, store and kernel.
//!
//! * [`core`]: engine and learner, still pure: frames in, [`work::Work`] out.
//! * [`learn`]: what the kernel is to be taught of a client's renewals.
//! * [`work`]: what must be done, in the order that keeps promises.
//! * [`start`]: from a configuration to a running service, taking over from an earlier one.
//! * [`service`]: the thread that does the work.
//! * [`clock`]: the boot clock on the timeline.

pub mod clock;
pub mod core;
pub mod learn;
pub mod service;
pub mod start;
pub mod view;
pub mod work;
