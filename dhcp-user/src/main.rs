//! `simple-dhcpd-datacenter`: the daemon and its command line.

use std::process::ExitCode;

use clap::Parser;
use dhcp_user::cli::{CommandLine, run};
use mimalloc::MiMalloc;

/// Frames and records are made by one thread and dropped by another, tens of thousands a second: with the C library's
/// allocator that is a sixth of what a new lease costs (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(run(CommandLine::parse()))
}
