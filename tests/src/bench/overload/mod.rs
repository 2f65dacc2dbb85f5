//! `cargo xtask bench overload`: renewals and new clients while DISCOVERs from random hardware addresses come in at ten
//! times what the daemon can do.
//!
//! * [`stage`]: a real daemon, a cable, and clients with leases.
//! * [`mixture`]: makes the traffic on the client's end of the cable, and sorts what comes back.
//! * [`share`]: how much of a processor the daemon has.
//! * [`report`]: the figures.
//!
//! Traffic is made by `BPF_PROG_TEST_RUN` in live frames on the last processor, which does the work of the network card,
//! of the kernel program and of the clients; the daemon has a part of another one, so that ten times what it can do is
//! within what the generator can make. How many renewals a second that processor can
//! make and answer says little while it must make the flood as well, so what is compared is this: renewals at the same
//! modest rate with and without the flood, and which fraction of them is answered.

pub mod mixture;
pub mod report;
pub mod share;
pub mod stage;
