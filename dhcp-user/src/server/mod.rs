//! The running service: the pure engine between frames, store and kernel.
//!
//! * [`core`]: engine and learner, still pure: frames in, [`work::Work`] out.
//! * [`learn`]: what the kernel is to be taught of a client's renewals.
//! * [`work`]: what must be done, in the order that keeps promises.
//! * [`keeper`]: does the work on store and kernel, in that order; the simulator runs it too.
//! * `begun`: the same while a batch becomes durable and the core thinks on.
//! * [`sweep`]: how far the kernel's marks are read.
//! * [`unsaved`]: what found no room on the disk, and whom that must be kept from.
//! * `cluster`: the keeper as one of several nodes.
//! * [`memory`]: what of the store still holds under today's configuration.
//! * [`changeover`]: another configuration under a running daemon; [`reload`]: the way there, from a file or the API.
//! * [`reserve`]: reservations that come and go meanwhile.
//! * [`takeover`]: what is remembered at a start, and how an earlier daemon's promises are taken over.
//! * [`inbox`]: how many frames may wait for the service, and which give way.
//! * [`start`]: from a configuration to a running service, taking over from an earlier one.
//! * [`service`]: the thread around the keeper; `outbox`: the way of its replies out.
//! * `ask`: whether an address is in use before it is offered.
//! * `alarm`: what is said at once when something has run out.
//! * `shown`: leases and counters as they are shown.
//! * [`desk`]: what management asks of the thread, in bounded portions; [`feed`]: what became of leases and sites lately.
//! * [`tap`]: captures of what the kernel answers.
//! * [`explain`]: why a client gets the answer it gets, without anything happening.
//! * `sites`: the thread's end of what connects nodes.
//! * [`clock`]: the boot clock on the timeline.

mod alarm;
mod ask;
mod begun;
pub mod changeover;
pub mod clock;
mod cluster;
pub mod core;
pub mod desk;
pub mod explain;
pub mod feed;
pub mod inbox;
pub mod keeper;
pub mod latency;
pub mod learn;
pub mod memory;
mod outbox;
pub mod queries;
pub mod reload;
pub mod reserve;
pub mod sealing;
pub mod service;
mod shared_address;
mod shown;
mod sites;
mod slice;
pub mod start;
pub mod sweep;
pub mod takeover;
pub mod tap;
pub mod unsaved;
pub mod view;
pub mod watch;
pub mod work;
