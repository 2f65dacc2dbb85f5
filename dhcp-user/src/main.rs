//! `simple-dhcpd-datacenter`: the daemon and its command line.

use std::process::ExitCode;

use clap::Parser;
use dhcp_user::cli::{CommandLine, run};

fn main() -> ExitCode {
    ExitCode::from(run(CommandLine::parse()))
}
