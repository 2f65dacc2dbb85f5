//! `cargo xtask`: build, check, test and try the project. Every task is one module; this file only picks one.

mod apt;
mod bench;
mod check;
mod check_api;
mod cli;
mod cluster;
mod dist;
mod doctor;
mod ebpf;
mod fuzz;
mod lab;
mod load;
mod netif;
mod peers;
mod power_loss;
mod process;
mod progress;
mod python;
mod run;
mod sim;
mod suite;
mod torture;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::run(&cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
