//! `config`: looking at another configuration, and putting it in force. What is wrong with a file is said by the name the
//! operator gave it, whoever found it, and is exit code 2.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Subcommand;
use hyper::{Method, StatusCode};
use serde::Serialize;

use super::{
    EXIT_USAGE, Wrong,
    ask::{print_json, wait},
    daemon::{check_config, warnings},
    progress::Progress,
    remote::Asking,
};
use crate::{
    api::routes::config::{ConfigDiff, ConfigSummary},
    config::{self, ConfigError, FILE_OCTETS_MAX, Fault},
    control::client::AskError,
    server::reload::{Reloaded, version},
};

/// What to do with configurations.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Check a configuration file and say what is wrong with it; no daemon is needed.
    Check {
        /// The file.
        file: PathBuf,
        /// Print JSON: a summary, or the faults with line, column and path.
        #[arg(long)]
        json: bool,
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
            let found = compare(&file, &text, &asking)?;
            // What is replaced is what the file was compared with just now.
            let done = change(Method::PUT, "/api/v1/config", Some((text, found.version)), &asking);
            done.map_err(|error| by_its_name(&file, error))
        }
        Config::Rollback(asking) => {
            // Twice is back again: of two who go back at once the second is refused, and does not undo what the first did.
            let version = version_in_force(&asking)?;
            change(Method::POST, "/api/v1/config/rollback", Some((String::new(), version)), &asking)
        }
    }
}

/// What `config check --json` says.
#[derive(Serialize)]
struct Checked<'a> {
    file: &'a Path,
    good: bool,
    #[serde(flatten)]
    holds: Option<ConfigSummary>,
    /// What an operator should know, though nothing is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<Fault>,
    /// Faults beyond those listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

/// `config check`; the exit code.
pub(super) fn check(file: &Path, json: bool) -> u8 {
    if !json {
        return check_config(file);
    }
    let empty =
        Checked { file, good: true, holds: None, warnings: Vec::new(), faults: Vec::new(), more: None };
    let bad = |faults, more| Checked { file, good: false, holds: None, warnings: Vec::new(), faults, more };
    let checked = match config::load(file) {
        Ok(config) => {
            Checked { holds: Some(ConfigSummary::of(&config)), warnings: warnings(&config), ..empty }
        }
        Err(ConfigError::Invalid(problems)) => {
            let faults: Vec<_> = problems.faults().collect();
            let more = problems.count() - faults.len();
            bad(faults, (more > 0).then_some(more))
        }
        Err(error) => bad(vec![Fault { message: error.to_string(), ..Fault::default() }], None),
    };
    match print_json(&checked) {
        Ok(()) if checked.good => 0,
        Ok(()) => EXIT_USAGE,
        Err(error) => {
            eprintln!("{error:#}");
            1
        }
    }
}

fn diff(file: &Path, asking: &Asking) -> Result<()> {
    let found = compare(file, &read(file)?, asking)?;
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

fn compare(file: &Path, text: &str, asking: &Asking) -> Result<ConfigDiff> {
    let daemon = asking.daemon()?;
    let _progress = Progress::of_waiting_for("the daemon compares");
    let found = wait(async { Ok(daemon.send_text(Method::POST, "/api/v1/config/diff", text, None).await?) });
    found.map_err(|error| by_its_name(file, error))
}

fn version_in_force(asking: &Asking) -> Result<String> {
    let daemon = asking.daemon()?;
    let text = wait(async {
        let mut text = Vec::new();
        let take = |part: &[u8]| {
            text.extend_from_slice(part);
            Ok(())
        };
        daemon.stream("/api/v1/config", take).await?;
        Ok(text)
    })?;
    Ok(version(&String::from_utf8_lossy(&text)))
}

/// The daemon knows what is wrong with a file, and not its name: it calls it `request`.
fn by_its_name(file: &Path, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(AskError::Refused { status, detail }) if *status == StatusCode::UNPROCESSABLE_ENTITY => {
            let file = file.display();
            let lines = detail.lines().map(|line| match line.strip_prefix("request:") {
                Some(rest) => format!("{file}:{rest}"),
                None => line.to_owned(),
            });
            Wrong(lines.collect::<Vec<_>>().join("\n")).into()
        }
        _ => error,
    }
}

fn change(method: Method, path: &str, body: Option<(String, String)>, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let (text, version) = body.unzip();
    let text = text.unwrap_or_default();
    let progress = Progress::of_waiting_for("the daemon takes the configuration up");
    let done: Reloaded =
        wait(async { Ok(daemon.send_text(method, path, &text, version.as_deref()).await?) })?;
    drop(progress);
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

/// The text of a file; one that cannot be read is a wrong command line, as for `config check`.
fn read(file: &Path) -> Result<String> {
    let shown = file.display();
    let failed = |error: std::io::Error| Wrong(format!("{shown}: cannot be read: {error}"));
    let octets = fs::metadata(file).map_err(failed)?.len();
    if octets > FILE_OCTETS_MAX {
        let error = ConfigError::TooLarge { origin: shown.to_string() };
        return Err(Wrong(error.to_string()).into());
    }
    Ok(fs::read_to_string(file).map_err(failed)?)
}
