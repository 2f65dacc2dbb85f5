//! Programs that tests drive and that are not installed but brought into the project's own folder of tools.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

/// `promtool`: the one on `PATH`, or the one that `cargo xtask test` has brought in.
///
/// # Errors
///
/// When there is neither.
pub fn promtool() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
    let own = std::env::current_exe().context("cannot tell where this test's binary is")?;
    let brought = own.ancestors().skip(1).take(4).map(|folder| folder.join("tools/bin/promtool"));
    installed
        .chain(brought)
        .find(|file| file.is_file())
        .context("promtool is missing: `cargo xtask test` brings it in, or `apt-get install prometheus`")
}

/// What `promtool check metrics` has to say of a scrape; nothing if all is well.
///
/// # Errors
///
/// When there is no promtool, or it does not take the text.
pub fn check_metrics(scrape: &str) -> Result<String> {
    let mut child = Command::new(promtool()?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start promtool")?;
    child.stdin.take().context("promtool has no stdin")?.write_all(scrape.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
}
