//! The rules of the tree that neither rustfmt nor clippy knows: small files that say why they exist, nothing put off.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::process;

/// The most lines a file may have, its `#[cfg(test)]` part not counted.
const LINES_MAX: usize = 500;

/// Words that put work off. Written in halves, so that this file does not accuse itself.
const PUT_OFF: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("#[ig", "nore")];

/// A rule broken, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Every broken rule in the files git knows or would add.
///
/// # Errors
///
/// When git cannot list the files or one cannot be read.
pub fn check(root: &Path) -> Result<Vec<Fault>> {
    let list = process::stdout(Command::new("git").current_dir(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "*.rs",
    ]))?;
    let mut faults = Vec::new();
    for name in list.lines() {
        let path = root.join(name);
        // A file that is deleted but not yet committed is still listed.
        if path.exists() {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            faults.extend(file_faults(Path::new(name), &text));
        }
    }
    Ok(faults)
}

fn file_faults(file: &Path, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |line, what| faults.push(Fault { file: file.to_owned(), line, what });
    if !text.starts_with("//! ") {
        fault(1, "does not open with `//!` and why the file exists".to_owned());
    }
    let code_lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    if code_lines > LINES_MAX && !is_test(file) {
        fault(
            LINES_MAX,
            format!("has {code_lines} lines without its tests; split it, {LINES_MAX} are the limit"),
        );
    }
    for (index, line) in text.lines().enumerate() {
        for word in PUT_OFF {
            if line.contains(word) {
                fault(index + 1, format!("has `{word}`: do it now or file an issue"));
            }
        }
    }
    faults
}

/// Whether a file holds tests only.
fn is_test(file: &Path) -> bool {
    file.starts_with("tests/tests")
        || file.file_name().is_some_and(|name| name == "tests.rs")
        || file.components().any(|part| part.as_os_str() == "tests") && !file.starts_with("tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(file: &str, text: &str) -> Vec<String> {
        file_faults(Path::new(file), text).into_iter().map(|fault| fault.what).collect()
    }

    #[test]
    fn a_tidy_file_has_no_fault() {
        assert!(whats("a.rs", "//! Why.\nfn main() {}\n").is_empty());
    }

    #[test]
    fn each_rule_can_be_broken() {
        assert!(whats("a.rs", "fn main() {}\n")[0].contains("`//!`"));
        let long = format!("//! Why.\n{}", "\n".repeat(LINES_MAX));
        assert!(whats("a.rs", &long)[0].contains("501 lines"));
        for word in PUT_OFF {
            assert!(whats("a.rs", &format!("//! Why.\n// {word} later\n"))[0].contains(word));
        }
    }

    #[test]
    fn tests_may_be_long() {
        let long = "\n".repeat(LINES_MAX);
        assert!(whats("a.rs", &format!("//! Why.\n#[cfg(test)]\nmod tests {{{long}}}")).is_empty());
        assert!(whats("tests/tests/a.rs", &format!("//! Why.\n{long}\n")).is_empty());
        assert_eq!(whats("tests/src/a.rs", &format!("//! Why.\n{long}\n")).len(), 1);
    }

    #[test]
    fn this_tree_is_tidy() {
        let faults = check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(text.is_empty(), "{}", text.join("\n"));
    }
}
