//! `config`: looking at another configuration, and putting it in force.

use std::{fs, io::Write as _, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use hyper::Method;

use super::{
    ask::{print_json, wait},
    remote::Asking,
};
use crate::{api::routes::config::ConfigDiff, config::FILE_OCTETS_MAX, server::reload::Reloaded};

/// What to do with configurations.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Check a configuration file and say what is wrong with it; no daemon is needed.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Show what a file would change of the configuration in force, and whether a running daemon can take it up.
    Diff {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// Take up the daemon's configuration file as it is now, all or nothing.
    Reload(Asking),
    /// Write a file over the daemon's configuration file and take it up, all or nothing.
    Apply {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// Go back to the configuration that was in force before this one.
    Rollback(Asking),
}

/// Does it; `check` is not asked of a daemon.
pub(super) fn config(command: Config) -> Result<()> {
    match command {
        Config::Check { .. } => Ok(()),
        Config::Diff { file, asking } => diff(&file, &asking),
        Config::Reload(asking) => change(Method::POST, "/api/v1/config/reload", None, &asking),
        Config::Apply { file, asking } => {
            let text = read(&file)?;
            let found = compare(&text, &asking)?;
            // What is replaced is what the file was compared with just now.
            change(Method::PUT, "/api/v1/config", Some((text, found.version)), &asking)
        }
        Config::Rollback(asking) => change(Method::POST, "/api/v1/config/rollback", None, &asking),
    }
}

fn diff(file: &std::path::Path, asking: &Asking) -> Result<()> {
    let found = compare(&read(file)?, asking)?;
    if asking.json {
        return print_json(&found);
    }
    let mut out = std::io::stdout().lock();
    for difference in &found.differences {
        writeln!(out, "{}", difference.path)?;
        for (sign, value) in [('-', &difference.before), ('+', &difference.after)] {
            if let Some(value) = value {
                writeln!(out, "  {sign} {value}")?;
            }
        }
    }
    match found.refused {
        Some(refused) => writeln!(out, "cannot be put in force: {refused}")?,
        None if found.changes => writeln!(out, "can be put in force: `config apply`")?,
        None => writeln!(out, "changes nothing")?,
    }
    Ok(())
}

fn compare(text: &str, asking: &Asking) -> Result<ConfigDiff> {
    let daemon = asking.daemon()?;
    wait(async { Ok(daemon.send_text(Method::POST, "/api/v1/config/diff", text, None).await?) })
}

fn change(method: Method, path: &str, body: Option<(String, String)>, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let (text, version) = body.unzip();
    let text = text.unwrap_or_default();
    let done: Reloaded =
        wait(async { Ok(daemon.send_text(method, path, &text, version.as_deref()).await?) })?;
    if asking.json {
        return print_json(&done);
    }
    let mut out = std::io::stdout().lock();
    if done.changed {
        writeln!(
            out,
            "in force; generation {}, the service was busy with it for {} ms",
            done.generation, done.blocked_ms
        )?;
    } else {
        writeln!(out, "nothing changed")?;
    }
    if !done.in_file {
        writeln!(
            out,
            "the daemon may not write its configuration file: this is kept beside the API's files, and stands for the file \
             until somebody edits that"
        )?;
    }
    Ok(())
}

fn read(file: &std::path::Path) -> Result<String> {
    let shown = file.display();
    let octets = fs::metadata(file).with_context(|| format!("cannot read {shown}"))?.len();
    if octets > FILE_OCTETS_MAX {
        bail!("{shown} is larger than {} MiB: is it the right file?", FILE_OCTETS_MAX >> 20);
    }
    fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))
}
