//! `cargo xtask doctor`: what this machine has of what building and running take, what it lacks, and the command that
//! mends that. It looks and changes nothing.

mod build;
mod ethtool;
mod interface;
mod kernel;
mod netdev;
mod queues;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::workspace::Workspace;

/// What to look at.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print a JSON array of findings: `area`, `name`, `state` (ok, warning, missing), `found`, `fix`.
    #[arg(long)]
    json: bool,
    /// Look at this network interface too: driver, XDP, VLAN offload, queues and their interrupts.
    #[arg(long)]
    iface: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Works, but something is lost or could not be looked at.
    Warning,
    /// Something does not work without it.
    Missing,
}

/// One thing looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it is a part of: `kernel`, `rights`, `build`, `interface`.
    pub area: &'static str,
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it, a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(area: &'static str, name: &'static str, found: impl Into<String>) -> Self {
        Self { area, name, state: State::Ok, found: found.into(), fix: None }
    }

    /// Not as it should be; `fix` mends it.
    pub fn fault(
        state: State,
        area: &'static str,
        name: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { area, name, state, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything. Exit code 1 if something is missing.
///
/// # Errors
///
/// When the findings cannot be printed as JSON.
pub fn run(workspace: &Workspace, args: &DoctorArgs) -> Result<ExitCode> {
    let mut findings = kernel::findings();
    findings.extend(build::findings(workspace));
    if let Some(name) = &args.iface {
        findings.extend(interface::findings(name));
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        print(&findings);
    }
    let missing = findings.iter().any(|finding| finding.state == State::Missing);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(findings: &[Finding]) {
    for finding in findings {
        let mark = match finding.state {
            State::Ok => "ok     ",
            State::Warning => "warning",
            State::Missing => "MISSING",
        };
        println!("{mark}  {:9} {:20} {}", finding.area, finding.name, finding.found);
        if let Some(fix) = &finding.fix {
            let word = if finding.state == State::Ok { "if need be" } else { "fix" };
            println!("{:40} {word}: {fix}", "");
        }
    }
}
