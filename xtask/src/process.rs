//! Starting other programs: one way to run them, one wording when they fail.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Runs `command` with our stdout and stderr, and waits for it.
///
/// # Errors
///
/// When it cannot be started or ends with another status than 0.
pub fn run(command: &mut Command) -> Result<()> {
    let name = line(command);
    run_named(command, &name)
}

/// As [`run`], for a command line too long to show.
///
/// # Errors
///
/// As [`run`].
pub fn run_named(command: &mut Command, name: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed ({status})");
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to stdout.
///
/// # Errors
///
/// When it cannot be started, fails (its stderr is in the error) or prints something that is not UTF-8.
pub fn stdout(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no UTF-8", line(command)))
}

/// Whether `command` starts and ends with status 0; what it prints is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Finds `program` on `PATH` or in the directories of system tools that a user's `PATH` often lacks.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| is_executable(file))
}

/// Whether `file` is a regular file somebody may execute.
pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The command as one would type it, for messages.
pub fn line(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(text, " {}", quoted(argument));
    }
    text
}

fn quoted(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_its_words() {
        let error = stdout(Command::new("sh").args(["-c", "echo no such pool >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("no such pool") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn arguments_a_shell_would_split_are_quoted() {
        assert_eq!(line(Command::new("x").args(["a b", "", "it's", "-p=1"])), r"x 'a b' '' 'it'\''s' -p=1");
    }
}
