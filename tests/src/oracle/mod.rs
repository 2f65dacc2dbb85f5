//! The differential oracle: a daemon's mind, the kernel's program on maps that mind filled, and the shared code on the
//! host, all asked the same thing about the same frame.
//!
//! * [`world`]: a configuration in force, with a core, loaded programs and a host copy of the maps, kept in step as the
//!   service keeps them.
//! * [`mind`]: engine and learner alone. [`host`]: the maps on the host.
//! * [`judge`]: one frame, three answers, and what must hold between them.
//! * [`lab`]: a world of known clients, for golden frames.
//! * [`client`]: clients in the styles of real ones. [`mutate`]: what may happen to their frames.
//! * [`run`]: many frames in a row, and the tally.
//!
//! Nothing is attached to an interface and no frame leaves this process.

pub mod client;
pub mod host;
pub mod judge;
pub mod lab;
pub mod mind;
pub mod mutate;
pub mod run;
pub mod world;
