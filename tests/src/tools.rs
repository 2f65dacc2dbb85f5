//! Programs that tests drive and that are not installed but brought into the project's own folder of tools.

use std::path::PathBuf;

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
