//! The parts of the toolchain, and the programs lab and tests use.

use super::{Finding, State};
use crate::{
    apt,
    ebpf::{LLVM_MAJOR, linker, rustc},
    process, suite,
    workspace::Workspace,
};

/// Everything building and testing take. What `cargo xtask build` brings in by itself is a warning, not an error.
pub fn findings(workspace: &Workspace) -> Vec<Finding> {
    let mut found = vec![rust(), llvm(), bpf_linker(workspace), object(workspace)];
    found.extend(packages());
    found
}

fn brings(name: &'static str, found: String) -> Finding {
    Finding::fault(State::Warning, "build", name, found, "cargo xtask build")
}

fn rust() -> Finding {
    let candidates = rustc::candidates();
    match candidates.iter().find(|rust| rust.unfit().is_none()) {
        Some(rust) => Finding::ok("build", "Rust for eBPF", rust.to_string()),
        None => brings("Rust for eBPF", rustc::advice(&candidates, &[])),
    }
}

fn llvm() -> Finding {
    match rustc::llvm() {
        Ok((prefix, version)) => Finding::ok("build", "LLVM", format!("{version} in {}", prefix.display())),
        Err(error) => Finding::fault(
            State::Warning,
            "build",
            "LLVM",
            format!("{error:#}"),
            apt::command_line(&[&format!("llvm-{LLVM_MAJOR}-dev")]),
        ),
    }
}

fn bpf_linker(workspace: &Workspace) -> Finding {
    match linker::find(workspace) {
        Some(linker) => Finding::ok("build", "bpf-linker", linker.path.display().to_string()),
        None => {
            brings("bpf-linker", format!("{} is not in {}", linker::VERSION, workspace.tools().display()))
        }
    }
}

fn object(workspace: &Workspace) -> Finding {
    let path = workspace.ebpf_object();
    if path.is_file() {
        Finding::ok("build", "XDP object", path.display().to_string())
    } else {
        brings("XDP object", format!("{} is not built", path.display()))
    }
}

fn packages() -> Vec<Finding> {
    if !apt::is_debian() {
        let programs = ["ip", "bpftool", "udhcpc", "dhclient", "dhcpcd", "dhcrelay", "perfdhcp"];
        let lacking: Vec<&str> =
            programs.into_iter().filter(|program| process::which(program).is_none()).collect();
        return vec![if lacking.is_empty() {
            Finding::ok("build", "test programs", programs.join(" "))
        } else {
            let fix = "install them from your distribution; the tests use them";
            Finding::fault(
                State::Warning,
                "build",
                "test programs",
                format!("without {}", lacking.join(" ")),
                fix,
            )
        }];
    }
    vec![match apt::missing(&suite::DEBIAN_PACKAGES) {
        Ok(missing) if missing.is_empty() => {
            Finding::ok("build", "test programs", suite::DEBIAN_PACKAGES.join(" "))
        }
        Ok(missing) => Finding::fault(
            State::Warning,
            "build",
            "test programs",
            format!("without {}; `cargo xtask test` installs them", missing.join(" ")),
            apt::command_line(&missing),
        ),
        Err(error) => Finding::fault(
            State::Warning,
            "build",
            "test programs",
            format!("{error:#}"),
            "dpkg --configure -a",
        ),
    }]
}
