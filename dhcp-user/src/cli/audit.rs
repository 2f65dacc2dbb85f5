//! `audit ADDRESS`: reads the audit log, as a table for people and JSON for programs.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{EXIT_USAGE, ask, progress::Progress};
use crate::{
    audit::{
        Moment,
        history::{self, History, Holding},
    },
    config,
};

/// Reads `--at`.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text).ok_or_else(|| "not a time: write it as 2026-01-31T12:00:00Z".to_owned())
}

/// Prints who held `address`; the exit code.
pub(super) fn audit(
    configuration: &Path,
    address: Ipv4Addr,
    at: Option<Moment>,
    path: Option<PathBuf>,
    json: bool,
) -> u8 {
    let path = match path {
        Some(path) => path,
        None => match config::load(configuration) {
            Ok(config) => match config.audit {
                Some(audit) => audit.path,
                None => {
                    eprintln!(
                        "dhcp.audit.enabled is false in {}: no audit log is kept",
                        configuration.display()
                    );
                    return 1;
                }
            },
            Err(error) => {
                eprintln!("{error}");
                return EXIT_USAGE;
            }
        },
    };
    let progress = Progress::of_waiting_for("reading the audit log");
    let history = history::of(&path, address, at);
    drop(progress);
    let shown = history.context("no answer").and_then(|history| {
        if json { ask::print_json(&history) } else { table(&history).context("cannot print") }
    });
    match shown {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error:#}");
            1
        }
    }
}

fn table(history: &History) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match (history.at, history.holdings.is_empty()) {
        (Some(at), true) => writeln!(out, "nobody held {} at {at}", history.address)?,
        (None, true) => writeln!(out, "nobody is on record for {}", history.address)?,
        (at, false) => {
            if let Some(at) = at {
                writeln!(out, "{} at {at}:", history.address)?;
            }
            writeln!(
                out,
                "{:<24}  {:<24}  {:<9}  {:<17}  CLIENT ID, HOST NAME",
                "FROM", "TO", "ENDED", "HARDWARE"
            )?;
            for holding in &history.holdings {
                row(&mut out, holding)?;
            }
        }
    }
    for line in &history.conflicts {
        let who = line.hw_address.as_deref().unwrap_or("an unknown host");
        writeln!(out, "{}: {who} was found there without a lease", line.at)?;
    }
    for doubt in &history.doubts {
        writeln!(out, "not all is known between {} and {} ({:?})", doubt.from, doubt.to, doubt.what)?;
    }
    if history.unreadable_lines != 0 {
        writeln!(out, "{} lines cannot be read", history.unreadable_lines)?;
    }
    Ok(())
}

fn row(out: &mut dyn std::io::Write, holding: &Holding) -> std::io::Result<()> {
    let from = format!("{}{}", if holding.from_earlier { "<=" } else { "" }, holding.from);
    let (to, ended) = match (holding.to, holding.ended) {
        (Some(to), Some(ended)) => (to.to_string(), format!("{ended:?}").to_lowercase()),
        (Some(to), None) => (to.to_string(), "unknown".to_owned()),
        (None, _) => (format!("{}?", holding.granted_until), "no".to_owned()),
    };
    let hardware = holding.hw_address.as_deref().unwrap_or("-");
    let names: Vec<&str> =
        [&holding.client_id, &holding.hostname].into_iter().flatten().map(String::as_str).collect();
    writeln!(out, "{from:<24}  {to:<24}  {ended:<9}  {hardware:<17}  {}", names.join(" "))
}
