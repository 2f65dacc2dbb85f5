//! Finds a Rust that can build for `bpfel-unknown-none`: one with its library's source (the target ships no built
//! `core`) and with LLVM [`LLVM_MAJOR`]. rustup's toolchains come first, Debian's `rustc-web` second.

use std::{
    cmp::Ordering,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::LLVM_MAJOR;
use crate::{apt, process};

/// Debian's packages of a current Rust with its library's source.
pub const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The toolchain rustup brings where apt cannot: the newest stable release known to carry LLVM 22.
pub const RUSTUP_TOOLCHAIN: &str = "1.98.0";

/// The oldest Rust that builds this workspace (`rust-version` in Cargo.toml).
const RUST_MIN: Version = Version([1, 95, 0]);

/// `major.minor.patch`, of a rustc or an LLVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl Version {
    /// Reads `1.97.0-nightly` or `22.1.8`; a missing part counts as 0.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = [0; 3];
        let number = text.trim().split(['-', '+', ' ']).next()?;
        let mut words = number.split('.');
        for (index, part) in parts.iter_mut().enumerate() {
            match words.next() {
                Some(word) => *part = word.parse().ok()?,
                None if index == 0 => return None,
                None => {}
            }
        }
        Some(Self(parts))
    }

    /// The major version.
    pub fn major(self) -> u32 {
        self.0[0]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A Rust on this machine.
#[derive(Clone, Debug)]
pub struct Rust {
    /// Where it came from, for messages: `rustup toolchain nightly`.
    pub name: String,
    /// Its compiler.
    pub rustc: PathBuf,
    /// The cargo to drive it with.
    pub cargo: PathBuf,
    /// The compiler's version.
    pub version: Version,
    /// Whether it accepts unstable options by itself; others need `RUSTC_BOOTSTRAP=1`.
    pub nightly: bool,
    /// The LLVM inside.
    pub llvm: Version,
    /// Whether the library's source is in its sysroot.
    pub has_source: bool,
}

impl Rust {
    fn probe(name: String, rustc: &Path, cargo: &Path) -> Option<Self> {
        if !process::is_executable(rustc) || !process::is_executable(cargo) {
            return None;
        }
        let verbose = process::stdout(Command::new(rustc).arg("-vV")).ok()?;
        let sysroot = process::stdout(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
        let field = |key: &str| {
            verbose.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).map(str::trim)
        };
        let release = field("release")?;
        Some(Self {
            name,
            rustc: rustc.to_owned(),
            cargo: cargo.to_owned(),
            version: Version::parse(release)?,
            nightly: release.contains("nightly") || release.contains("dev"),
            llvm: Version::parse(field("LLVM version")?)?,
            has_source: Path::new(sysroot.trim())
                .join("lib/rustlib/src/rust/library/core/Cargo.toml")
                .is_file(),
        })
    }

    /// Why this Rust cannot build the XDP program; `None` if it can.
    pub fn unfit(&self) -> Option<String> {
        if self.llvm.major() != LLVM_MAJOR {
            return Some(format!("has LLVM {}, bpf-linker here reads {LLVM_MAJOR}", self.llvm));
        }
        if self.version < RUST_MIN {
            return Some(format!("is {}, {RUST_MIN} is the oldest that will do", self.version));
        }
        (!self.has_source).then(|| "has no library source (rust-src)".to_owned())
    }
}

impl fmt::Display for Rust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (rustc {}, LLVM {})", self.name, self.version, self.llvm)
    }
}

/// Every Rust on this machine, the one to prefer first: fit before unfit, rustup before Debian, newer before older.
pub fn candidates() -> Vec<Rust> {
    let mut found = rustup_toolchains();
    found.sort_by(|a, b| match a.has_source.cmp(&b.has_source).reverse() {
        Ordering::Equal => b.version.cmp(&a.version),
        other => other,
    });
    found.extend(debian());
    found.sort_by_key(|rust| rust.unfit().is_some());
    found
}

fn debian() -> Option<Rust> {
    Rust::probe("Debian's rustc-web".to_owned(), Path::new("/usr/bin/rustc"), Path::new("/usr/bin/cargo"))
}

/// The toolchains rustup has installed; their folders are read, because asking rustup's proxies could install some.
fn rustup_toolchains() -> Vec<Rust> {
    let home = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
    let Some(entries) = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = format!("rustup toolchain {}", entry.file_name().to_string_lossy());
            let bin = entry.path().join("bin");
            Rust::probe(name, &bin.join("rustc"), &bin.join("cargo"))
        })
        .collect()
}

/// The best Rust on this machine, installed first if there is none: with apt on Debian, else with rustup.
///
/// # Errors
///
/// When there is none and it cannot be installed; the error lists what was looked at and the commands that help.
pub fn find_or_install() -> Result<Rust> {
    if let Some(rust) = fit() {
        return Ok(rust);
    }
    let reason = "building the XDP program";
    let mut tried = Vec::new();
    if apt::is_debian() {
        match apt::ensure(&DEBIAN_PACKAGES, reason) {
            Ok(()) => {
                if let Some(rust) = fit() {
                    return Ok(rust);
                }
                tried.push("Debian's rustc-web is installed but does not fit".to_owned());
            }
            Err(error) => tried.push(format!("{error:#}")),
        }
    }
    if process::which("rustup").is_some() {
        eprintln!(
            "xtask: {reason} needs a Rust with LLVM {LLVM_MAJOR} and rust-src; asking rustup for {RUSTUP_TOOLCHAIN}"
        );
        match process::run(&mut rustup_install()) {
            Ok(()) => {
                if let Some(rust) = fit() {
                    return Ok(rust);
                }
                tried.push(format!("rustup's {RUSTUP_TOOLCHAIN} is installed but does not fit"));
            }
            Err(error) => tried.push(format!("{error:#}")),
        }
    }
    bail!("{}", advice(&candidates(), &tried));
}

fn fit() -> Option<Rust> {
    candidates().into_iter().find(|rust| rust.unfit().is_none())
}

fn rustup_install() -> Command {
    let mut command = Command::new("rustup");
    command.args([
        "toolchain",
        "install",
        RUSTUP_TOOLCHAIN,
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]);
    // rustup itself is none of our business; a mirror may even hold an older one.
    command.arg("--no-self-update");
    command
}

/// What to say when no Rust fits.
pub fn advice(candidates: &[Rust], tried: &[String]) -> String {
    let mut text = format!(
        "no Rust here can build the XDP program: it takes LLVM {LLVM_MAJOR} and the library's source"
    );
    for rust in candidates {
        if let Some(why) = rust.unfit() {
            text += &format!("\n  {} {why}", rust.name);
        }
    }
    for attempt in tried {
        text += &format!("\n  tried: {attempt}");
    }
    text += &format!("\nDebian: {}", apt::command_line(&DEBIAN_PACKAGES));
    text += &format!("\nelsewhere: {}", process::line(&rustup_install()));
    text
}

/// The folder of the installed LLVM's development files, with its exact version.
///
/// # Errors
///
/// When there is none of major version [`LLVM_MAJOR`].
pub fn llvm() -> Result<(PathBuf, Version)> {
    let asked = std::env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let usual = PathBuf::from(format!("/usr/lib/llvm-{LLVM_MAJOR}"));
    for prefix in asked.into_iter().chain([usual]) {
        let config = prefix.join("bin/llvm-config");
        if !process::is_executable(&config) {
            continue;
        }
        let text = process::stdout(Command::new(&config).arg("--version"))?;
        let version =
            Version::parse(&text).with_context(|| format!("{} --version says {text:?}", config.display()))?;
        if version.major() == LLVM_MAJOR {
            return Ok((prefix, version));
        }
    }
    bail!(
        "LLVM {LLVM_MAJOR}'s development files are missing (llvm-config in /usr/lib/llvm-{LLVM_MAJOR} or LLVM_PREFIX)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(version: &str, llvm: &str, has_source: bool) -> Rust {
        Rust {
            name: "rustup toolchain test".to_owned(),
            rustc: PathBuf::new(),
            cargo: PathBuf::new(),
            version: Version::parse(version).unwrap(),
            nightly: false,
            llvm: Version::parse(llvm).unwrap(),
            has_source,
        }
    }

    #[test]
    fn versions_are_read_and_ordered() {
        assert_eq!(Version::parse("1.97.0-nightly"), Some(Version([1, 97, 0])));
        assert_eq!(Version::parse("22.1.8\n"), Some(Version([22, 1, 8])));
        assert_eq!(Version::parse("22.1"), Some(Version([22, 1, 0])));
        assert_eq!(Version::parse(""), None);
        assert!(Version::parse("1.100.0") > Version::parse("1.98.0"));
    }

    #[test]
    fn what_does_not_fit_says_why() {
        assert_eq!(rust("1.98.0", "22.1.8", true).unfit(), None);
        assert!(rust("1.99.1", "23.1.1", true).unfit().unwrap().contains("LLVM 23.1.1"));
        assert!(rust("1.95.0", "22.1.2", false).unfit().unwrap().contains("rust-src"));
        assert!(rust("1.94.0", "22.1.0", true).unfit().unwrap().contains("1.94.0"));
    }

    #[test]
    fn the_advice_names_every_candidate_and_both_ways_out() {
        let text = advice(&[rust("1.99.1", "23.1.1", true)], &["no network".to_owned()]);
        for part in ["toolchain test", "23.1.1", "no network", "apt-get install", "rustup toolchain install"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
