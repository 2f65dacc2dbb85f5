//! The command line: one binary that is the daemon, and asks it.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong.

mod ask;
mod audit;
mod capture;
mod config;
mod daemon;
mod drill;
mod explain;
mod import;
mod leases;
mod manage;
mod manual;
mod pki;
mod progress;
mod remote;
mod reservations;
mod sites;
mod top;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use self::remote::Asking;

/// Exit code when the command line or the configuration is wrong.
const EXIT_USAGE: u8 = 2;
/// What was given is wrong: what a person or a file said, not what became of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);
const CONFIG_DEFAULT: &str = "/etc/simple-dhcpd/dhcp.json";

/// DHCP for datacenters: renewals are answered by an XDP program in the kernel, everything else by this daemon.
#[derive(Debug, Parser)]
#[command(name = "simple-dhcpd-datacenter", version, after_help = "Without a command the daemon runs.")]
pub struct CommandLine {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// Check a configuration file and say what is wrong with it, then exit.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    check_config: Option<PathBuf>,
    /// Say whether this version can take over from the daemon that serves the configuration: reads it, and the layout of the
    /// maps in use; changes nothing, then exits. What the package asks before it restarts the daemon.
    #[arg(long, conflicts_with = "check_config")]
    check_takeover: bool,
    /// Show the sites of the cluster; with --json, as the API has it.
    #[arg(long, conflicts_with = "check_config")]
    site_status: bool,
    /// With --site-status: print JSON.
    #[arg(long, requires = "site_status")]
    json: bool,
    /// With --site-status: the control socket of the daemon on this machine.
    #[arg(long, value_name = "PATH", requires = "site_status")]
    socket: Option<PathBuf>,
    /// Log as JSON, a line each.
    #[arg(long)]
    log_json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Leases of the running daemon.
    Leases {
        #[command(subcommand)]
        command: leases::Leases,
    },
    /// Counters of the kernel program and the daemon.
    Stats(Asking),
    /// Why a client gets the answer it gets, and which path gives it; nothing happens by asking.
    Explain(explain::Explain),
    /// Write a file of the frames that the kernel answered, which tcpdump cannot see; ctrl-C ends it.
    Capture(capture::Capture),
    /// What the node does, live in the terminal.
    Top(top::Top),
    /// Subnets and how full their pools are.
    Subnets(Asking),
    /// Addresses kept for one client each: list, add, change, remove.
    Reservations(reservations::Reservations),
    /// The configuration: check, compare, take up, go back.
    Config {
        #[command(subcommand)]
        command: config::Config,
    },
    /// Sites of a cluster: status, drills, and who is a member.
    #[command(visible_alias = "sites")]
    Site {
        #[command(subcommand)]
        command: sites::Site,
    },
    /// Certificates by which nodes know one another.
    Pki {
        #[command(subcommand)]
        command: pki::Pki,
    },
    /// Tokens with which the API lets programs in over the network.
    Token {
        #[command(subcommand)]
        command: manage::Token,
    },
    /// Who held an address, and when, by the audit log; works without a running daemon.
    Audit {
        /// The address.
        address: std::net::Ipv4Addr,
        /// Only at this moment: RFC 3339, such as 2026-01-31T12:00:00Z; UTC.
        #[arg(long, value_name = "TIME", value_parser = audit::moment)]
        at: Option<crate::audit::Moment>,
        /// The log's directory, in place of the configuration's.
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Detach the XDP program and remove its pins: for a daemon that is not to come back.
    Unload,
    /// Print what a shell needs to complete this command line.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them: `simple-dhcpd-datacenter man | man -l -`.
    Man {
        /// Write a page for each command into this directory.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Does what the command line asks; the exit code.
pub fn run(line: CommandLine) -> u8 {
    if let Some(path) = line.check_config {
        return daemon::check_config(&path);
    }
    if line.check_takeover {
        return daemon::check_takeover(&line.config);
    }
    let done = match line.command {
        None if line.site_status => sites::status(&Asking::local(line.socket, line.json)),
        None => return daemon::run(&line.config, line.log_json),
        Some(Command::Unload) => return daemon::unload(&line.config),
        Some(Command::Leases { command }) => leases::run(command),
        Some(Command::Audit { address, at, path, json }) => {
            return audit::audit(&line.config, address, at, path, json);
        }
        Some(Command::Stats(asking)) => ask::stats(&asking),
        Some(Command::Explain(command)) => explain::explain(&command),
        Some(Command::Capture(command)) => capture::capture(&command),
        Some(Command::Top(command)) => top::top(&command),
        Some(Command::Subnets(asking)) => manage::subnets(&asking),
        Some(Command::Reservations(command)) => reservations::run(&command),
        Some(Command::Config { command: config::Config::Check { file, json } }) => {
            return config::check(&file, json);
        }
        Some(Command::Config { command }) => config::config(command),
        Some(Command::Site { command }) => sites::run(command),
        Some(Command::Pki { command }) => pki::run(command),
        Some(Command::Token { command }) => manage::token(command),
        Some(Command::Completions { shell }) => manual::completions(shell),
        Some(Command::Man { dir }) => manual::man(dir),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error:#}");
            if error.is::<Wrong>() { EXIT_USAGE } else { 1 }
        }
    }
}
